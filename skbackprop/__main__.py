"""The command line: a demonstration on real data, and information about the installation.

``python -m skbackprop`` searches a small grid on two data sets that scikit-learn ships, once with this package's
estimators and once with scikit-learn's, fits one table as it is beside scikit-learn's boosted trees, and prints the scores
and times of this run. ``python -m skbackprop info``
prints versions, threads, the cache of compiled kernels and similar facts, for bug reports.
"""

import argparse
import platform
import shutil
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.datasets import load_diabetes, load_digits
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, ParameterGrid, train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

import skbackprop
from skbackprop import BackpropClassifier, BackpropRegressor
from skbackprop._compile import JIT, cache_folder
from skbackprop._extras import how_to_install
from skbackprop._kernel_files import packaged_folder
from skbackprop._sklearn import HAS_CALLBACKS
from skbackprop.backends.cpu import gemm
from skbackprop.backends.cpu.threads import available_threads

_DESCRIPTION = """\
Neural networks for scikit-learn, trained in compiled code.

commands:
  demo    Search a small grid on two real data sets, with this package's estimators and with scikit-learn's, and
          compare scores and times; and one table as it is, beside scikit-learn's boosted trees. Takes a minute. This
          is what runs without a command.
  info    Show versions, processor, threads, the folder of compiled kernels, and GPU, as a bug report needs them.
"""

_FOLDS = 3


@dataclass(frozen=True)
class Problem:
    """A data set with the two estimators that are compared on it.

    Parameters
    ----------
    name : str
        Name in the table.
    load : callable
        scikit-learn's loader of the data set.
    ours, theirs : type
        This package's estimator and scikit-learn's.
    metric : str
        Name of the metric that `score` returns.
    settings : dict
        Parameters of both estimators. The number of epochs is fixed; training does not wait for convergence.
    grid : dict
        The values to search.
    """

    name: str
    load: Callable
    ours: type
    theirs: type
    metric: str
    settings: dict
    grid: dict


PROBLEMS = (
    Problem(
        "digits",
        load_digits,
        BackpropClassifier,
        MLPClassifier,
        "accuracy",
        {"batch_size": 32, "learning_rate_init": 0.003, "max_iter": 30, "random_state": 0},
        {"hidden_layer_sizes": [(32,), (64,)], "alpha": [0.001, 0.1]},
    ),
    Problem(
        "diabetes",
        load_diabetes,
        BackpropRegressor,
        MLPRegressor,
        "R^2",
        {"batch_size": 16, "learning_rate_init": 0.01, "max_iter": 60, "random_state": 0},
        {"hidden_layer_sizes": [(8,), (16,)], "alpha": [0.1, 1.0]},
    ),
)


@dataclass(frozen=True)
class Outcome:
    """Result of a search.

    Parameters
    ----------
    params : dict
        The best parameters.
    score : float
        Score on the test data.
    seconds : float
        Time of the whole search.
    """

    params: dict
    score: float
    seconds: float


def split(problem):
    """Load a problem's data.

    Parameters
    ----------
    problem : Problem

    Returns
    -------
    data : list
        X_train, X_test, y_train, y_test.
    """
    X, y = problem.load(return_X_y=True)
    return train_test_split(X, y, stratify=y if is_classifier(problem.ours()) else None, random_state=0)


def pipeline(estimator):
    """A pipeline that scales the columns and fits the network."""
    return Pipeline([("scale", StandardScaler()), ("network", estimator)])


def search(problem, estimator_class, data, callbacks=()):
    """Search the grid of a problem with one of its estimators.

    Parameters
    ----------
    problem : Problem
    estimator_class : type
        `problem.ours` or `problem.theirs`.
    data : list
        See `split`.
    callbacks : iterable of callback, default=()
        scikit-learn's callbacks, for the search.

    Returns
    -------
    outcome : Outcome
    """
    X_train, X_test, y_train, y_test = data
    grid = {f"network__{name}": values for name, values in problem.grid.items()}
    model = GridSearchCV(pipeline(estimator_class(**problem.settings)), grid, cv=_FOLDS)
    if callbacks:
        model.set_callbacks(*callbacks)
    start = time.perf_counter()
    model.fit(X_train, y_train)
    seconds = time.perf_counter() - start
    params = {name.removeprefix("network__"): value for name, value in model.best_params_.items()}
    return Outcome(params, model.score(X_test, y_test), seconds)


def compare_fits(problem, params, data, n_repeats):
    """Fit both estimators in turn, with the same parameters.

    Parameters
    ----------
    problem : Problem
    params : dict
        Parameters in addition to the problem's settings.
    data : list
        See `split`.
    n_repeats : int
        Number of fits of each estimator, in turn, so that other load on the machine affects both.

    Returns
    -------
    seconds : tuple of float
        Median time of a fit of the pipeline: ours, theirs.
    difference : float
        Largest difference between the two models' predictions (probabilities, for classifiers) for the test data,
        relative to the largest prediction.
    """
    X_train, X_test, y_train, _ = data
    classes = (problem.ours, problem.theirs)
    times = {cls: [] for cls in classes}
    predictions = {}
    for _ in range(n_repeats):
        for cls in classes:
            model = pipeline(cls(**problem.settings, **params))
            start = time.perf_counter()
            model.fit(X_train, y_train)
            times[cls].append(time.perf_counter() - start)
            predictions[cls] = model.predict_proba(X_test) if is_classifier(model) else model.predict(X_test)
    ours, theirs = (predictions[cls] for cls in classes)
    difference = np.abs(ours - theirs).max() / np.abs(theirs).max()
    return tuple(statistics.median(times[cls]) for cls in classes), float(difference)


def progress_bars():
    """A list with scikit-learn's progress bar; empty if rich is not installed."""
    from sklearn.callback import ProgressBar

    try:
        # Only the bar of the search: one bar for each fit would scroll it away.
        return [ProgressBar(max_propagation_depth=0)]
    except ImportError:
        print(f"No progress bar, because rich is not installed: {how_to_install('progress')}")
        return []


def compare(problem, n_repeats, callbacks=()):
    """Run a problem with both estimators.

    Parameters
    ----------
    problem : Problem
    n_repeats : int
        See `compare_fits`.
    callbacks : iterable of callback, default=()
        scikit-learn's callbacks, for the searches.

    Returns
    -------
    rows : list of tuple of str
        Rows of the table: one for each estimator, one with the ratio of times.
    difference : float
        See `compare_fits`.
    """
    data = split(problem)
    outcomes = []
    for cls in (problem.ours, problem.theirs):
        n_fits = _FOLDS * len(ParameterGrid(problem.grid)) + 1
        print(f"\n{problem.name}: {cls.__name__}, {n_fits} fits", flush=True)
        outcomes.append(search(problem, cls, data, callbacks))
    seconds, difference = compare_fits(problem, outcomes[0].params, data, n_repeats)
    rows = [
        (
            problem.name,
            cls.__name__,
            ", ".join(f"{name}={value!r}" for name, value in outcome.params.items()),
            f"{problem.metric} {outcome.score:.3f}",
            f"{outcome.seconds:.2f} s",
            f"{1000 * fit_seconds:.0f} ms",
        )
        for cls, outcome, fit_seconds in zip((problem.ours, problem.theirs), outcomes, seconds, strict=True)
    ]
    search_ratio = outcomes[1].seconds / outcomes[0].seconds
    rows.append(("", "times as fast", "", "", f"{search_ratio:.1f}", f"{seconds[1] / seconds[0]:.1f}"))
    return rows, difference


def print_table(header, rows):
    """Print a table: with rich on a terminal if it is installed, otherwise as plain text.

    Parameters
    ----------
    header : tuple of str
        One title for each column.
    rows : list of tuple of str
        A row with an empty first cell ends a group. The last two columns are numbers.
    """
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        console = None
    else:
        console = Console()
    if console is not None and console.is_terminal:
        table = Table()
        for column, title in enumerate(header):
            table.add_column(title, justify="right" if column >= len(header) - 2 else "left")
        for row in rows:
            table.add_row(*row, end_section=not row[0])
        console.print(table)
        return
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, tuple("-" * width for width in widths), *rows):
        cells = [cell.ljust(width) for cell, width in zip(row[:-2], widths, strict=False)]
        cells += [cell.rjust(width) for cell, width in zip(row[-2:], widths[-2:], strict=True)]
        print("  ".join(cells))


def compare_on_table(**settings):
    """Fit the diabetes data as a table, in its own units and with a category, without any preparation.

    Parameters
    ----------
    **settings : dict
        Parameters of the networks other than the defaults.

    Returns
    -------
    rows : list of tuple of str
        For `print_table`.
    """
    data = split(replace(PROBLEMS[1], load=partial(load_diabetes, scaled=False)))
    X_train, X_test, y_train, y_test = data
    rows = []
    for kind, few, own in (
        (skbackprop.BackpropTabularRegressor, {"n_estimators": 1, "max_iter": 1}, settings),
        (HistGradientBoostingRegressor, {"max_iter": 1}, {}),
    ):
        # The second column is the sex.
        model = kind(categorical_features=[1], random_state=0, **own)
        # What is compiled or loaded is not to be timed.
        clone(model).set_params(**few).fit(X_train, y_train).predict(X_test)
        begin = time.perf_counter()
        model.fit(X_train, y_train)
        seconds = time.perf_counter() - begin
        score = f"R^2 {model.score(X_test, y_test):.3f}"
        rows.append(("" if rows else "diabetes", type(model).__name__, "defaults", score, f"{seconds:.2f} s"))
    return rows


def demonstrate(problems=PROBLEMS, n_repeats=5):
    """Compare this package with scikit-learn on real data.

    Parameters
    ----------
    problems : iterable of Problem, default=PROBLEMS
        Problems to run.
    n_repeats : int, default=5
        Number of fits of each estimator with the best parameters; the median of their times is shown.
    """
    begin = time.perf_counter()
    print("Warm-up: loading the compiled kernels, or compiling them if this is the first time ...", flush=True)
    skbackprop.warmup(dtypes=["float64"])
    print(f"Warm-up took {time.perf_counter() - begin:.1f} s. Threads available: {available_threads()}.")
    bars = progress_bars()
    table, differences = [], []
    with warnings.catch_warnings():
        # The number of epochs is fixed on purpose; otherwise each of the many fits would warn that it has not
        # converged.
        warnings.simplefilter("ignore", ConvergenceWarning)
        for problem in problems:
            rows, difference = compare(problem, n_repeats, bars)
            table += rows
            differences.append(f"{problem.name} {difference:.0e}")
    print()
    print_table(("data", "estimator", "best parameters", "on test data", "grid search", "one fit"), table)
    print(
        f"\nOne fit: median of {n_repeats}, both estimators in turn with the first one's best parameters."
        f"\nThe two models' predictions then differ by at most (relative): {', '.join(differences)}."
    )
    if HAS_CALLBACKS:
        print("\nThe same data as a table, in its own units and with a category:\n")
        print_table(("data", "estimator", "parameters", "on test data", "fit"), compare_on_table())
    print(f"\nEverything, warm-up included, took {time.perf_counter() - begin:.0f} s.")


def installed(distribution):
    """Version of an installed distribution, or None."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def nvidia_devices():
    """Names of the NVIDIA GPUs, from nvidia-smi; empty if it is missing or fails."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    command = [tool, "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]


def kernels_in(folder):
    """Number and size of the compiled kernels in a folder, as text."""
    sizes = [file.stat().st_size for file in folder.glob("*.kernel")] if folder is not None else []
    return f"{len(sizes)} files, {sum(sizes) / 2**20:.2f} MiB"


def facts():
    """Facts about the installation.

    Returns
    -------
    facts : dict of str to str
    """
    from llvmlite import binding

    result = {"skbackprop": skbackprop.__version__, "Python": f"{platform.python_version()} ({platform.platform()})"}
    for distribution in ("numpy", "scipy", "scikit-learn", "numba", "llvmlite", "rich"):
        result[distribution] = installed(distribution) or "not installed"
    result["processor"] = f"{binding.get_host_cpu_name()}, vectors of {8 * gemm.VECTOR_BYTES} bits"
    result["threads"] = f"{available_threads()} available"
    result["threading layer"] = "none of Numba's is used: kernels run in plain Python threads and release the GIL"
    result["compiler"] = "on" if JIT else "off (NUMBA_DISABLE_JIT)"
    packaged, cached = packaged_folder(), cache_folder()
    result["packaged kernels"] = kernels_in(packaged) if packaged else "none for this processor and this Python"
    result["cache folder"] = str(cached or "none: no folder is writable, so each process compiles anew")
    result["cache size"] = kernels_in(cached)
    result["GPU"] = (
        f"numba-cuda {installed('numba-cuda') or 'not installed, without which there is only the CPU'}; "
        f"NVIDIA devices: {', '.join(nvidia_devices()) or 'none found'}"
    )
    return result


def show_info():
    """Print the facts about this installation."""
    lines = facts()
    width = max(map(len, lines))
    for name, value in lines.items():
        print(f"{name.ljust(width)}  {value}")


COMMANDS = {"demo": demonstrate, "info": show_info}


def main(arguments=None):
    """Run a command.

    Parameters
    ----------
    arguments : list of str, default=None
        Command-line arguments; None for those of this process.
    """
    parser = argparse.ArgumentParser(
        prog="python -m skbackprop", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "command", nargs="?", choices=list(COMMANDS), default="demo", help="what to do (default: %(default)s)"
    )
    parser.add_argument("--version", action="version", version=f"skbackprop {skbackprop.__version__}")
    COMMANDS[parser.parse_args(arguments).command]()


if __name__ == "__main__":
    sys.exit(main())
