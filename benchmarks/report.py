"""Result files as tables and figures."""

import json
import statistics
from itertools import groupby
from pathlib import Path

_OURS = "skbackprop"
# Of the machines that are reckoned with: seconds from one to the next, and bytes a second (10 Gbit/s).
_LATENCY, _BANDWIDTH = 50e-6, 1.25e9
_SCALES = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "MiB": float(1 << 20)}


def describe(case):
    """A case as lines of plain text: medians, spread, and further facts."""
    scale, unit = _SCALES.get(case["unit"], 1.0), case["unit"]
    lines = [case["name"] + (f"  limit {case['limit'] / scale:.3g} {unit}" if "limit" in case else "")]
    for peer, result in case["results"].items():
        if "error" in result:
            lines.append(f"  {peer:20} {result['error']}")
            continue
        if "values" in result:
            lines.append(f"  {peer:20} {_mean(result['values'])} {unit}")
            continue
        times = [time / scale for time in result["times"]]
        line = f"  {peer:20} {statistics.median(times):9.4g} {unit} [{min(times):.4g}, {max(times):.4g}]"
        times_ours = ratio(case, peer)
        line += f"  {times_ours:.3g}x" if times_ours else ""
        line += f"  at most {result['n_threads']} threads" if "n_threads" in result else ""
        line += f"  check {result['check']:.6g}" if "check" in result else ""
        lines.append(line)
    return "\n".join(lines)


def table(content):
    """A result file as a Markdown table: medians, and their ratios to skbackprop's."""
    cases = content["cases"]
    columns = list(dict.fromkeys(column for case in cases for column in case["results"]))
    has_limit = any("limit" in case for case in cases)
    rows = [["", *columns, *(["limit"] if has_limit else [])]]
    for case in cases:
        row = [f"{case['name']}, {case['unit']}", *(_cell(case, column) for column in columns)]
        if has_limit:
            row.append(f"{case['limit'] / _SCALES[case['unit']]:.3g}" if "limit" in case else "")
        rows.append(row)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * width for width in widths])
    lines = (" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(f"| {line} |" for line in lines)


def plot(file):
    """Draw the figure of a result file next to it, as PNG and SVG: curves if there are any, else bars of ratios."""
    import matplotlib

    matplotlib.use("agg")
    content = json.loads(Path(file).read_text())
    if any("of" in case for case in content["cases"]):
        figure = _quality(content)
    elif content["benchmark"] == "cluster":
        figure = _machines(content)
    else:
        figure = _curves(content) if "x" in content["cases"][0] else _bars(content)
    machine = content["machine"]
    figure.suptitle(
        f"{content['benchmark']}: {machine['processor']}, threads allowed: {machine['threads']}", fontsize=10
    )
    files = [Path(file).with_suffix(suffix) for suffix in (".png", ".svg")]
    for target in files:
        figure.savefig(target, dpi=150)
    return files


def ratio(case, peer):
    """Median over the rounds of the ratio to skbackprop; None if one is missing, and for skbackprop itself."""
    ours, theirs = (case["results"].get(name, {}).get("times") for name in (_OURS, peer))
    if not ours or not all(ours) or not theirs or peer == _OURS:
        return None
    return statistics.median(b / a for a, b in zip(ours, theirs, strict=True))


def _mean(values):
    """Scores, or a single number."""
    if len(values) == 1:
        return f"{values[0]:.4g}"
    return f"{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}"


def _cell(case, peer):
    result = case["results"].get(peer, {})
    if "values" in result:
        return _mean(result["values"])
    if "times" not in result:
        return "-"
    text = f"{result['median'] / _SCALES[case['unit']]:.3g}"
    times_ours = ratio(case, peer)
    return f"{text} ({times_ours:.3g}x)" if times_ours else text


def _bars(content):
    from matplotlib import pyplot as plt

    cases = content["cases"]
    peers = [peer for peer in dict.fromkeys(peer for case in cases for peer in case["results"]) if peer != _OURS]
    figure, axes = plt.subplots(figsize=(max(6, 1.3 * len(cases)), 4), layout="constrained")
    width = 0.8 / max(len(peers), 1)
    for index, peer in enumerate(peers):
        heights = [ratio(case, peer) or 0 for case in cases]
        axes.bar([x + (index + 0.5) * width - 0.4 for x in range(len(cases))], heights, width, label=peer)
    axes.axhline(1, color="black", linewidth=1)
    axes.set(yscale="log", ylabel=f"times slower than {_OURS}")
    axes.set_xticks(range(len(cases)), [case["name"] for case in cases])
    axes.legend(ncols=3, fontsize=8)
    return figure


def _quality(content):
    """Means over all tables against the CPU seconds of all fits: better and faster is further down and left."""
    from matplotlib import pyplot as plt

    means = {case["of"]: case["results"] for case in content["cases"] if "of" in case}
    seconds = means.pop("fit")
    scores = [name for name in means if name not in ("predict", "row")]
    figure, grid = plt.subplots(1, len(scores), figsize=(3.6 * len(scores), 3.8), layout="constrained", squeeze=False)
    for axes, name in zip(grid.flat, scores, strict=True):
        for peer, result in means[name].items():
            if "values" in result and "values" in seconds[peer]:
                (x,), (y,) = seconds[peer]["values"], result["values"]
                axes.plot(x, y, marker="o", color="C0" if peer.startswith(_OURS) else "C1")
                axes.annotate(peer, (x, y), xytext=(4, 4), textcoords="offset points", fontsize=7)
        axes.set(xscale="log", title=name, xlabel="CPU seconds of all fits")
        axes.margins(x=0.4, y=0.1)
    return figure


def reckoned_speed(n_machines, n_params, batch_size, rows_per_second, seconds_of_round):
    """Reckon how many times as fast as one machine several machines train.

    Each machine takes its share of a batch at the rate that one was measured at. A round of sums takes as long as it was
    measured between two processes, and in addition what the network of a ring takes: a message of each machine after
    the other, there and back, and every gradient through each machine's connection, there and back, in float64.

    Parameters
    ----------
    n_machines, n_params, batch_size : int
    rows_per_second : float
        Of one machine.
    seconds_of_round : float
        Between two processes of one machine.

    Returns
    -------
    speed : float
    """
    if n_machines == 1:
        return 1.0
    network = 2 * (n_machines - 1) * (_LATENCY + 8 * n_params / n_machines / _BANDWIDTH)
    alone = batch_size / rows_per_second
    return alone / (alone / n_machines + seconds_of_round + network)


def _machines(content):
    """Draw the reckoned speed of 1 to 64 machines for each network and batch size that were measured."""
    from matplotlib import pyplot as plt

    cases = {case["name"]: case for case in content["cases"]}
    networks = list(dict.fromkeys(case["network"] for case in content["cases"] if "network" in case))
    figure, grid = plt.subplots(
        1, len(networks), figsize=(3.6 * len(networks), 3.6), layout="constrained", squeeze=False, sharey=True
    )
    machines = [1, 2, 4, 8, 16, 32, 64]
    for axes, network in zip(grid.flat, networks, strict=True):
        size = int(float(network[:-1]) * {"k": 1e3, "M": 1e6}[network[-1]])
        seconds = cases[f"a round of sums, {network} parameters"]["results"]["2 workers"]["median"]
        for case in content["cases"]:
            if case.get("network") == network:
                solver, batch_size = case["solver"], case["batch_size"]
                rate = case["results"]["one process"]["rows/s"]
                speeds = [reckoned_speed(n, size, batch_size, rate, seconds) for n in machines]
                axes.plot(machines, speeds, marker=".", label=f"{solver}, batches of {batch_size:,}")
        axes.plot(machines, machines, color="gray", linestyle="--", label="limit")
        axes.set(xscale="log", yscale="log", title=f"{network} parameters", xlabel="machines")
        axes.set_xticks(machines, machines)
        axes.legend(fontsize=7)
    grid[0, 0].set_ylabel("times as fast as one machine")
    return figure


def _curves(content):
    from matplotlib import pyplot as plt

    groups = [(group, list(cases)) for group, cases in groupby(content["cases"], key=lambda case: case["group"])]
    n_columns = min(3, len(groups))
    n_rows = -(-len(groups) // n_columns)
    figure, grid = plt.subplots(
        n_rows, n_columns, figsize=(3.2 * n_columns + 1, 3.2 * n_rows), layout="constrained", squeeze=False
    )
    for axes in grid.flat[len(groups) :]:
        axes.remove()
    for axes, (group, cases) in zip(grid.flat, groups, strict=False):
        scale = _SCALES[cases[0]["unit"]]
        for peer in dict.fromkeys(peer for case in cases for peer in case["results"]):
            points = [(case["x"], case["results"][peer]["median"]) for case in cases if _cell(case, peer) != "-"]
            axes.plot([x for x, _ in points], [y / scale for _, y in points], marker=".", label=peer)
        limits = [(case["x"], case["limit"] / scale) for case in cases if case.get("limit")]
        if limits:
            axes.plot(*zip(*limits, strict=True), color="gray", linestyle="--", label="limit")
        axes.set(xscale="log", yscale="log", title=group, xlabel=cases[0]["axis"], ylabel=cases[0]["unit"])
        axes.legend(fontsize=8)
    return figure
