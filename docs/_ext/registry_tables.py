"""Tables of the package's functions, made from its registries when the docs are built.

``.. registry-table:: activations`` (or input_layers, losses, normalizations, optimizers, schedules) lists a registry;
``.. elementary-table::`` lists the elementary functions with the errors that their docstrings state;
``.. score-table::`` lists the scores of all options, as written by ``python -m benchmarks options``.
The pages of the functions get their name, formula and source from the registries, too.
"""

import inspect
import json
import statistics
from itertools import groupby
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from numpydoc.docscrape import FunctionDoc
from sphinx.util.docutils import SphinxDirective

from skbackprop.functions import elementary
from skbackprop.functions._function import Function
from skbackprop.functions.activations import ACTIVATIONS
from skbackprop.functions.input_layers import INPUT_LAYERS
from skbackprop.functions.losses import LOSSES
from skbackprop.functions.normalizations import NORMALIZATIONS
from skbackprop.functions.optimizers import OPTIMIZERS
from skbackprop.functions.schedules import SCHEDULES

SCORES = Path(__file__).parents[2] / "benchmarks" / "results" / "options.json"


def _code(*words):
    return ", ".join(f"``{word}``" for word in words) or "none"


def _formula(entry):
    return f":math:`{entry.definition}`"


def _reference(entry):
    return entry.reference or "definition"


def _class(entry):
    settings = ", ".join(f"{name}={value!r}" for name, value in entry().get_params(deep=False).items())
    return f"``{entry.__name__}({settings})``"


def _tasks(entry):
    return ", ".join(sorted({"binary": "binary, multilabel"}.get(task, task) for task in entry.kinds()))


def _out_activations(entry):
    return _code(*sorted({kind.out_activation for kind in entry.kinds().values()}))


# For each registry: its entries, and its columns as (heading, function that makes the cell).
REGISTRIES = {
    "activations": (
        ACTIVATIONS,
        [
            ("``activation``", lambda entry: _code(entry.name)),
            ("class and settings", _class),
            ("activation of a unit", _formula),
            ("reference", _reference),
        ],
    ),
    "input_layers": (
        INPUT_LAYERS,
        [
            ("``input_layers``", lambda entry: _code(entry.name)),
            ("class and settings", _class),
            ("outputs of a column x", _formula),
            ("reference", _reference),
        ],
    ),
    "losses": (
        LOSSES,
        [
            ("``loss``", lambda entry: _code(entry.name)),
            ("class and settings", _class),
            ("used for", _tasks),
            ("loss of one row with raw prediction z", _formula),
            ("``out_activation_``", _out_activations),
            ("reference", _reference),
        ],
    ),
    "normalizations": (
        NORMALIZATIONS,
        [
            ("``normalization``", lambda entry: _code(entry.name)),
            ("class and settings", _class),
            ("output", _formula),
            ("reference", _reference),
        ],
    ),
    "optimizers": (
        OPTIMIZERS,
        [
            ("``solver``", lambda entry: _code(entry.name)),
            ("update", _formula),
            ("class and settings", _class),
            ("state variables per parameter", lambda entry: str(entry.n_slots)),
            ("reference", _reference),
        ],
    ),
    "schedules": (
        SCHEDULES,
        [
            ("``learning_rate``", lambda entry: _code(entry.name)),
            ("class and settings", _class),
            ("rate", _formula),
            ("reference", _reference),
        ],
    ),
}


def _list_table(headings, rows, style="formulas"):
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: auto", f"   :class: {style}", ""]
    for row in [headings, *rows]:
        for index, cell in enumerate(row):
            lines.append(f"   {'* -' if index == 0 else '  -'} {cell}")
    return lines


class _Table(SphinxDirective):
    def _parse(self, lines):
        container = nodes.container()
        self.state.nested_parse(StringList(lines, source="registry"), self.content_offset, container)
        return container.children


class RegistryTable(_Table):
    """The table of one registry."""

    required_arguments = 1

    def run(self):
        entries, columns = REGISTRIES[self.arguments[0]]
        rows = [[cell(entry) for _, cell in columns] for entry in entries.values()]
        return self._parse(_list_table([heading for heading, _ in columns], rows))


class ElementaryTable(_Table):
    """The elementary functions and their errors."""

    def run(self):
        rows = []
        for name in ("exp", "log", "tanh", "logistic", "erf", "cos_turns", "sin_turns"):
            doc = FunctionDoc(getattr(elementary, name))
            remarks = " ".join(doc["Extended Summary"]).strip()
            rows.append([_code(name), " ".join(doc["Returns"][0].desc), remarks or "none"])
        return self._parse(_list_table(["function", "result", "remark"], rows))


def _values(case, column):
    values = case["results"].get(column, {}).get("values")
    if not values:
        return ""
    return f"{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}" if len(values) > 1 else f"{values[0]:.4g}"


class ScoreTable(_Table):
    """The scores of all options, a table for each group."""

    def run(self):
        content = json.loads(SCORES.read_text(encoding="utf-8"))
        packages = ", ".join(f"{name} {content['versions'][name]}" for name in ("scikit-learn", "numpy", "numba"))
        lines = [
            f"{content['date'][:10]}, {content['machine']['processor']}, Python {content['versions']['python']}, {packages}."
        ]
        for group, cases in groupby(content["cases"], key=lambda case: case["group"]):
            rows = []
            for case in cases:
                option, _, data = case["name"].partition("; ")
                columns = (_values(case, name) for name in ("skbackprop", "default", "scikit-learn"))
                rows.append([_code(option), f"{data}: {case['unit']}" if data else case["unit"], *columns])
            headings = [f"**{group}**", "data and score", "with option", "without", "scikit-learn with option"]
            empty = [index for index in range(len(headings)) if not any(row[index] for row in rows)]
            table = [[cell for index, cell in enumerate(row) if index not in empty] for row in (headings, *rows)]
            lines += ["", *_list_table(table[0], table[1:]), ""]
        return self._parse(lines)


def describe_function(app, what, name, obj, options, lines):
    """Add name, formula and source to the docstring of a function that a registry holds."""
    if inspect.isclass(obj) and issubclass(obj, Function) and getattr(obj, "definition", None):
        lines[1:1] = ["", f"Name ``{obj.name!r}``: {_formula(obj)}. Source: {_reference(obj)}.", ""]


def setup(app):
    """Register the directives."""
    app.add_directive("registry-table", RegistryTable)
    app.add_directive("elementary-table", ElementaryTable)
    app.add_directive("score-table", ScoreTable)
    app.connect("autodoc-process-docstring", describe_function, priority=100)  # before numpydoc
    # Sphinx does not know the sources of the tables: pages with tables are read again in each build.
    app.connect("env-get-outdated", _always_read)
    return {"parallel_read_safe": True, "version": "1"}


def _always_read(app, env, added, changed, removed):
    return [name for name in ("user_guide", "how_kernels_work", "options") if name in env.found_docs]
