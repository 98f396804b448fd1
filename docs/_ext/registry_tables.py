"""Tables of the package's functions, made from its registries when the docs are built.

``.. registry-table:: activations`` (or losses, normalizations, optimizers, schedules) lists a registry;
``.. elementary-table::`` lists the elementary functions with the errors that their docstrings state.
"""

from docutils import nodes
from docutils.statemachine import StringList
from numpydoc.docscrape import FunctionDoc
from sphinx.util.docutils import SphinxDirective

from skbackprop.functions import elementary
from skbackprop.functions.activations import ACTIVATIONS
from skbackprop.functions.losses import LOSSES
from skbackprop.functions.normalizations import NORMALIZATIONS
from skbackprop.functions.optimizers import OPTIMIZERS
from skbackprop.functions.schedules import SCHEDULES


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


# For each registry: its entries, and its columns as (heading, what stands there).
REGISTRIES = {
    "activations": (
        ACTIVATIONS,
        [
            ("``activation``", lambda entry: _code(entry.name)),
            ("class and settings", _class),
            ("output of a unit", _formula),
            ("reference", _reference),
        ],
    ),
    "losses": (
        LOSSES,
        [
            ("``loss``", lambda entry: _code(entry.name)),
            ("class and settings", _class),
            ("used for", _tasks),
            ("of one row, z being the raw prediction", _formula),
            ("``out_activation_``", _out_activations),
            ("reference", _reference),
        ],
    ),
    "normalizations": (
        NORMALIZATIONS,
        [
            ("``normalization``", lambda entry: _code(entry.name)),
            ("class and settings", _class),
            ("what z becomes", _formula),
            ("reference", _reference),
        ],
    ),
    "optimizers": (
        OPTIMIZERS,
        [
            ("``solver``", lambda entry: _code(entry.name)),
            ("update", _formula),
            ("class and settings", _class),
            ("numbers of state for each parameter", lambda entry: str(entry.n_slots)),
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


def _list_table(headings, rows):
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: auto", ""]
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
        for name in ("exp", "log", "tanh", "logistic"):
            doc = FunctionDoc(getattr(elementary, name))
            remarks = " ".join(doc["Extended Summary"]).strip()
            rows.append([_code(name), " ".join(doc["Returns"][0].desc), remarks or "none"])
        return self._parse(_list_table(["function", "result", "remark"], rows))


def setup(app):
    """Register the directives."""
    app.add_directive("registry-table", RegistryTable)
    app.add_directive("elementary-table", ElementaryTable)
    # The sources of the tables: a page that shows one is read anew in each build.
    app.connect("env-get-outdated", _always_read)
    return {"parallel_read_safe": True, "version": "1"}


def _always_read(app, env, added, changed, removed):
    return [name for name in ("user_guide", "how_kernels_work") if name in env.found_docs]
