"""Tables of measured times, made from the files in ``benchmarks/results`` when the docs are built.

``.. speed-table:: train-NAME`` lists the networks of a file of ``python -m benchmarks train``; ``:only:`` names some of
them, and ``:limit:`` adds the share of the machine's limit.
"""

import json
import statistics
from pathlib import Path

from docutils.parsers.rst import directives
from registry_tables import _list_table, _Table

from benchmarks.report import ratio

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
PEERS = {"scikit-learn": "scikit-learn", "torch": "PyTorch", "jax": "JAX"}


def _hidden(sizes):
    """Layers as Python writes them, many equal ones once."""
    return f"({sizes[0]},) * {len(sizes)}" if len(set(sizes)) == 1 and len(sizes) > 2 else str(tuple(sizes))


def _network(case):
    work = case["workload"]
    words = [f"*{work['name']}*: {work['n_rows']:,} x {work['n_features']:,}"]
    if work["density"] < 1:
        words.append(f"{100 * work['density']:g} % stored")
    words.append(_hidden(work["hidden"]))
    if work["solver"] == "lbfgs":
        words.append("all rows, an iteration of L-BFGS")
    else:
        words.append(f"batches of {work['batch_size']:,}")
    if work["solver"] == "sgd":
        words.append("SGD")
    if case["dtype"] != "float32":
        words.append(case["dtype"])
    return ", ".join(words)


def _times(case, peer):
    value = ratio(case, peer)
    return "\N{EN DASH}" if value is None else f"{_rounded(value)} x"


def _rounded(value):
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


class SpeedTable(_Table):
    """One row for each network: the time of an epoch, and how many times as long others take."""

    required_arguments = 1
    option_spec = {"only": directives.unchanged, "limit": directives.flag}

    def run(self):
        path = RESULTS / f"{self.arguments[0]}.json"
        self.env.note_dependency(str(path))
        cases = json.loads(path.read_text(encoding="utf-8"))["cases"]
        if "only" in self.options:
            names = [name.strip() for name in self.options["only"].split(",")]
            cases = [case for case in cases if case["name"] in names]
        headings = ["network", "skbackprop", *PEERS.values()]
        rows = []
        for case in cases:
            median = statistics.median(case["results"]["skbackprop"]["times"])
            rows.append([_network(case), f"{_rounded(1e3 * median)} ms", *(_times(case, peer) for peer in PEERS)])
            if "limit" in self.options:
                rows[-1].append(f"{100 * case['limit'] / median:.0f} %")
        if "limit" in self.options:
            headings.append("of the limit")
        return self._parse(_list_table(headings, rows, style="figures"))


def setup(app):
    """Register the directive."""
    app.add_directive("speed-table", SpeedTable)
    return {"parallel_read_safe": True, "version": "1"}
