"""The command line: what `info` tells, and the demonstration on data small enough for a test."""

import re
import subprocess
import sys
from dataclasses import replace

import numba
import numpy as np
import pytest
import sklearn
from sklearn.utils import Bunch

import skbackprop
from skbackprop import __main__ as command_line


def few_rows(load):
    """A loader of every twelfth row of a data set, as a user's loader would give them."""

    def load_few(return_X_y):
        X, y = load(return_X_y=return_X_y)
        return X[::12], y[::12]

    return load_few


# Nothing improves by `tol`, so that training stops after three epochs, without a ConvergenceWarning.
QUICK = {"batch_size": 16, "tol": 1e9, "n_iter_no_change": 1, "random_state": 0}
GRID = {"hidden_layer_sizes": [(3,)], "alpha": [0.01, 1.0]}
PROBLEMS = [
    replace(problem, load=few_rows(problem.load), settings=QUICK, grid=GRID) for problem in command_line.PROBLEMS
]


@pytest.fixture(params=PROBLEMS, ids=lambda problem: problem.name)
def problem(request):
    return request.param


def test_search_returns_a_point_of_the_grid_and_its_test_score(problem):
    data = command_line.split(problem)
    outcome = command_line.search(problem, problem.ours, data)
    assert set(outcome.params) == {"hidden_layer_sizes", "alpha"}
    assert outcome.params["alpha"] in (0.01, 1.0)
    assert np.isfinite(outcome.score)
    assert outcome.seconds > 0


def test_both_estimators_give_the_same_model(problem):
    data = command_line.split(problem)
    seconds, difference = command_line.compare_fits(problem, {"hidden_layer_sizes": (3,)}, data, n_repeats=1)
    assert len(seconds) == 2
    assert min(seconds) > 0
    assert difference < 1e-10


@pytest.mark.trains
def test_demonstration_prints_a_row_for_each_estimator(capsys):
    command_line.demonstrate(PROBLEMS, n_repeats=1)
    out = capsys.readouterr().out
    for name in ("BackpropClassifier", "MLPClassifier", "BackpropRegressor", "MLPRegressor"):
        assert re.search(rf"{name} +alpha=\S+, hidden_layer_sizes=\(3,\) +(accuracy|R\^2) -?\d", out), out
    assert out.count("times as fast") == 2
    assert re.search(r"Warm-up took \d", out)
    assert "Warning" not in out


@pytest.mark.trains
def test_a_table_is_fitted_as_it_is_beside_boosted_trees():
    rows = command_line.compare_on_table(n_estimators=2, max_iter=16)
    assert [row[1] for row in rows] == ["BackpropTabularRegressor", "HistGradientBoostingRegressor"]
    assert all(float(score.removeprefix("R^2 ")) > 0.1 for *_, score, _ in rows)


def test_demonstration_shows_a_progress_bar(capsys):
    pytest.importorskip("rich")
    command_line.compare(PROBLEMS[0], 1, command_line.progress_bars())
    assert "GridSearchCV" in capsys.readouterr().out


@pytest.mark.trains
def test_demonstration_says_so_once_if_there_is_no_progress_bar(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    command_line.demonstrate(PROBLEMS, n_repeats=1)
    out = capsys.readouterr().out
    assert out.count("rich is not installed") == 1
    assert "GridSearchCV" not in out
    assert "times as fast" in out


HEADER = ("data", "estimator", "time")
ROWS = [("digits", "A", "10 ms"), ("", "times as fast", "3.0")]


def test_plain_table_has_aligned_columns(capsys):
    command_line.print_table(HEADER, ROWS)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert len({len(line) for line in lines}) == 1
    assert lines[2].startswith("digits")
    assert lines[3].endswith("  3.0")


def test_table_on_a_terminal_is_drawn_by_rich(monkeypatch, capsys):
    pytest.importorskip("rich")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    command_line.print_table(HEADER, ROWS)
    out = capsys.readouterr().out
    assert "─" in out
    assert "times as fast" in out


def test_info_tells_versions_threads_cache_and_gpu(capsys):
    command_line.main(["info"])
    lines = dict(re.split(r"  +", line, maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["skbackprop"] == skbackprop.__version__
    assert lines["scikit-learn"] == sklearn.__version__
    assert lines["numba"] == numba.__version__
    assert {"Python", "numpy", "scipy", "llvmlite", "threading layer", "compiler"} <= set(lines)
    assert re.fullmatch(r"\d+ available", lines["threads"])
    assert re.search(r"vectors of (128|256|512) bits", lines["processor"])
    assert lines["cache folder"]
    assert re.fullmatch(r"\d+ files, \d+\.\d\d MiB", lines["cache size"])
    assert "numba-cuda" in lines["GPU"]


@pytest.mark.parametrize("name", ["cache_folder", "packaged_folder"])
def test_info_counts_the_kernels(name, monkeypatch, tmp_path):
    (tmp_path / "a.kernel").write_bytes(bytes(1 << 20))
    (tmp_path / "b.kernel").write_bytes(bytes(1 << 19))
    monkeypatch.setattr(command_line, name, lambda: tmp_path)
    assert "2 files, 1.50 MiB" in command_line.facts().values()


def test_info_without_a_folder_of_kernels(monkeypatch):
    for name in "cache_folder", "packaged_folder":
        monkeypatch.setattr(command_line, name, lambda: None)
    found = command_line.facts()
    assert found["packaged kernels"].startswith("none")
    assert found["cache folder"].startswith("none")
    assert found["cache size"] == "0 files, 0.00 MiB"


def test_info_without_an_optional_distribution():
    assert command_line.installed("no-such-distribution") is None


@pytest.mark.parametrize("tool", [None, "/no/such/tool", sys.executable], ids=["none", "missing", "failing"])
def test_no_nvidia_devices_where_the_tool_does_not_work(monkeypatch, tool):
    monkeypatch.setattr(command_line.shutil, "which", lambda name: tool)
    assert command_line.nvidia_devices() == []


def test_nvidia_devices_are_named(monkeypatch):
    monkeypatch.setattr(command_line.shutil, "which", lambda name: name)
    answer = Bunch(stdout="NVIDIA H100\nNVIDIA L4\n")
    monkeypatch.setattr(command_line.subprocess, "run", lambda *args, **kwargs: answer)
    assert command_line.nvidia_devices() == ["NVIDIA H100", "NVIDIA L4"]
    assert "NVIDIA H100, NVIDIA L4" in command_line.facts()["GPU"]


def test_unknown_command_is_an_error_that_names_the_commands(capsys):
    with pytest.raises(SystemExit) as caught:
        command_line.main(["bench"])
    assert caught.value.code == 2
    message = capsys.readouterr().err
    assert "'bench'" in message
    assert "demo" in message
    assert "info" in message


def test_help_explains_the_commands(capsys):
    with pytest.raises(SystemExit) as caught:
        command_line.main(["--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert "demo    Search a small grid" in out
    assert "info    Show versions" in out


def test_demonstration_is_what_runs_without_a_command(monkeypatch):
    calls = []
    monkeypatch.setitem(command_line.COMMANDS, "demo", lambda: calls.append("demo"))
    command_line.main([])
    assert calls == ["demo"]


@pytest.mark.process
def test_info_in_a_process_of_its_own_imports_no_cuda():
    code = (
        "import runpy, sys; sys.argv = ['skbackprop', 'info']\n"
        "try:\n    runpy.run_module('skbackprop', run_name='__main__')\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "assert 'numba.cuda' not in sys.modules and 'numba_cuda' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "threads" in done.stdout
    assert done.stderr == ""
