"""What goes wrong with data, numbers and memory ends in an error that says so, and leaves an estimator that can be used.

`docs/promises.rst` lists these tests beside those of the other faults.
"""

import datetime
import os
import re
import subprocess
import sys
import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.frozen import FrozenEstimator

from skbackprop import BackpropClassifier, BackpropRegressor
from skbackprop import backends as backends_module
from skbackprop.backends import cpu
from skbackprop.exceptions import TrainingWarning
from skbackprop.functions import SGD, Exponential

pytestmark = [pytest.mark.trains, pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")]

X, Y = load_iris(return_X_y=True)


def classifier(**settings):
    return BackpropClassifier(**{"hidden_layer_sizes": (5,), "max_iter": 5, "random_state": 0, **settings})


def regressor(**settings):
    return BackpropRegressor(**{"hidden_layer_sizes": (5,), "max_iter": 5, "random_state": 0, **settings})


def spoilt(array, value):
    array = np.array(array, dtype=float)
    array.flat[3] = value
    return array


def assert_usable(model, X=X, y=Y):
    """Predicts finite numbers, and can be fitted anew."""
    assert np.isfinite(model.predict(X)).all()
    model.set_params(learning_rate_init=0.001).fit(X, y)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array], ids=["dense", "sparse"])
def test_values_that_are_not_finite_are_refused(kind, value):
    bad = kind(spoilt(X, value))
    with pytest.raises(ValueError, match="Input X contains"):
        classifier().fit(bad, Y)
    model = regressor(early_stopping=True)
    with pytest.raises(ValueError, match="Input y contains"):
        model.fit(X, spoilt(Y, value))
    with pytest.raises(ValueError, match="sample_weight contains"):
        model.fit(X, Y, sample_weight=spoilt(np.ones(150), value))
    with pytest.raises(ValueError, match=r"X_val.*Input X contains"):
        model.fit(X, Y, X_val=bad, y_val=Y)
    with pytest.raises(ValueError, match=r"y_val.*Input y contains"):
        model.fit(X, Y, X_val=X, y_val=spoilt(Y, value))
    with pytest.raises(ValueError, match="sample_weight_val"):
        model.fit(X, Y, X_val=X, y_val=Y, sample_weight_val=spoilt(np.ones(150), value))
    model = classifier().fit(X, Y)
    for method in (model.predict, model.predict_proba, model.decision_function):
        with pytest.raises(ValueError, match="Input X contains"):
            method(bad)


def test_huge_value_in_the_data_is_told():
    huge = spoilt(X, 1e300)
    with pytest.warns(TrainingWarning, match="scale X"):
        classifier().fit(huge, Y)
    with pytest.raises(ValueError, match="preprocessed"):
        classifier(solver="lbfgs").fit(huge, Y)
    with pytest.raises(ValueError, match=r"X contains infinity or a value too large for dtype\('float32'\)"):
        classifier(dtype="float32").fit(huge, Y)
    with pytest.raises(ValueError, match=r"too large for dtype\('float32'\)"):
        classifier(dtype="float32").fit(X, Y).predict(huge)


@pytest.mark.parametrize(
    "settings", [{}, {"early_stopping": True}, {"solver": "lbfgs"}, {"restore_best_weights": True}]
)
def test_huge_targets_are_told(settings):
    model = regressor(**settings)
    with pytest.raises(ValueError, match="no longer finite"):
        model.fit(X, Y * 1e200)
    assert_usable(model)


@pytest.mark.parametrize("make", [classifier, regressor])
def test_huge_learning_rate_is_told(make):
    model = make(solver="sgd", learning_rate_init=1e10, max_iter=50)
    with pytest.raises((ValueError, TrainingWarning), match=r"finite|explode"):
        model.fit(X, Y)
    assert_usable(model)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_one_sample_and_constant_columns(solver):
    for make in (classifier, regressor):
        model = make(solver=solver).fit(X[:1], Y[:1])
        assert np.isfinite(model.predict(X)).all()
        model = make(solver=solver, activation="tanh")
        if solver == "adam":
            with pytest.warns(TrainingWarning, match="one output for all rows"):
                model.fit(np.ones_like(X), Y)
        else:
            model.fit(np.ones_like(X), Y)
        assert np.isfinite(model.predict(X)).all()


@pytest.mark.parametrize("shape", [(), (4,), (0, 4), (150, 0), (150, 4, 1)])
def test_wrong_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"array|sample|feature"):
        classifier().fit(np.ones(shape), Y[: shape[0] if shape else 1])


def dates(library):
    if library == "numpy":
        return np.arange(150).astype("datetime64[D]").reshape(-1, 1)
    if library == "durations":
        return np.arange(150).astype("timedelta64[D]").reshape(-1, 1)
    if library == "objects":
        return np.array([[datetime.date(2020, 1, 1)]] * 150, dtype=object)
    frames = pytest.importorskip(library)
    column = np.arange(150).astype("datetime64[ms]")
    return frames.DataFrame({"when": column, "x": X[:, 0]})


@pytest.mark.parametrize("library", ["numpy", "durations", "objects", "pandas", "polars"])
def test_dates_are_no_numbers(library):
    with pytest.raises(TypeError, match=r"X has dates|float\(\) argument must be"):
        classifier().fit(dates(library), Y)
    if library != "objects":
        with pytest.raises(TypeError, match="X has dates"):
            classifier().fit(X[:, :2], Y).predict(dates(library))


def test_dates_are_labels_but_no_targets():
    when = np.array(["2020-01-01", "2021-01-01", "2022-01-01"], dtype="datetime64[D]")[Y]
    assert classifier().fit(X, when).predict(X).dtype == when.dtype
    with pytest.raises(TypeError, match="y has dates"):
        regressor().fit(X, when)


@pytest.mark.parametrize("what", ["X", "y", "sample_weight"])
def test_complex_numbers_are_refused(what):
    arguments = {"X": X, "y": Y, "sample_weight": np.ones(150)}
    arguments[what] = arguments[what] * 1j
    with pytest.raises(ValueError, match="Complex data not supported"):
        regressor().fit(**arguments)


@pytest.mark.parametrize("kind", [object, "U1", "S1"])
def test_text_in_the_data_is_refused(kind):
    with pytest.raises(ValueError, match=r"could not convert|dtype='numeric' is not compatible"):
        classifier().fit(np.full((150, 4), "a", dtype=kind), Y)


def test_text_is_no_target():
    with pytest.raises(ValueError, match="y has to hold numbers, got an array of type <U1"):
        regressor().fit(X, np.full(150, "1"))
    with pytest.raises(ValueError, match="y_val has to hold numbers"):
        regressor(early_stopping=True).fit(X, Y, X_val=X, y_val=np.full(150, "1"))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1, "a", 2], "y has labels of mixed types"),
        ([1, "a", None], r"y has missing labels \(50 of 150\)"),
        (["a", None, "b"], r"y has missing labels \(50 of 150\)"),
        (["a", np.nan, "b"], r"y has missing labels \(50 of 150\)"),
        ([1.0, np.nan, None], r"y has missing labels \(100 of 150\)"),
    ],
)
@pytest.mark.parametrize("container", [list, lambda labels: np.array(labels, dtype=object)], ids=["list", "array"])
def test_labels_without_an_order_are_refused(container, labels, message):
    with pytest.raises(ValueError, match=message):
        classifier().fit(X, container(labels * 50))
    with pytest.raises(ValueError, match=message.replace("y has", "y_val has")):
        classifier(early_stopping=True).fit(X, np.array(["a", "b", "c"])[Y], X_val=X, y_val=container(labels * 50))


@pytest.mark.parametrize("kind", ["object", "str", "string", "category", "Int64", "float64", "datetime64[ns]"])
def test_missing_labels_of_pandas_are_counted(kind):
    pandas = pytest.importorskip("pandas")
    labels = [1, None, 2] if kind[0] in "If" else ["2020-01-01", None, "2021-01-01"]
    labels = pandas.Series(labels * 50).astype(kind)
    for given in (labels, labels.to_numpy(), labels.tolist()):
        with pytest.raises(ValueError, match=r"^y has missing labels \(50 of 150\): leave these rows out"):
            classifier().fit(X, given)


def test_missing_labels_of_others_are_counted():
    polars, pyarrow = pytest.importorskip("polars"), pytest.importorskip("pyarrow")
    values = ["a", None, "b"] * 50
    for labels in (polars.Series(values), polars.Series(values, dtype=polars.Categorical), pyarrow.array(values)):
        with pytest.raises(ValueError, match=r"y has missing labels \(50 of 150\)"):
            classifier().fit(X, labels)
    with pytest.raises(ValueError, match=r"y has missing labels \(50 of 150\)"):
        classifier().fit(X, np.array(["2020-01-01", "NaT", "2021-01-01"] * 50, dtype="M8[D]"))


@pytest.mark.parametrize("kind", [int, float, bool])
def test_numbers_among_objects_are_refused_with_their_type(kind):
    table = np.column_stack([X.astype(object), Y.astype(kind).astype(object)])
    with pytest.raises(
        ValueError,
        match=rf"Unknown label type: y is an array of objects, which are numbers: give y.astype\('{np.dtype(kind).name}'\)",
    ):
        classifier().fit(X, table[:, -1])


def test_lazy_frames_are_refused():
    polars = pytest.importorskip("polars")
    lazy = polars.DataFrame(X).lazy()
    with pytest.raises(TypeError, match=r"X is a LazyFrame, which holds no data yet: give X.collect\(\)"):
        classifier().fit(lazy, Y)
    with pytest.raises(TypeError, match="X is a LazyFrame"):
        classifier().fit(X, Y).predict(lazy)


def test_settings_of_a_name_cannot_be_set():
    for name, choice, example in (
        ("solver", "sgd", "SGD"),
        ("loss", "log_loss", "LogLoss"),
        ("learning_rate", "cosine", "Cosine"),
    ):
        with pytest.raises(
            ValueError, match=rf"{name}__momentum cannot be set, because {name}='{choice}' is a name.*{example}\(\)"
        ):
            classifier(**{name: choice}).set_params(**{f"{name}__momentum": 0.5})
    changed = classifier(solver="sgd").set_params(solver__momentum=0.5, solver=SGD())
    assert changed.solver.momentum == 0.5


def test_unfitted_weights_are_refused():
    fitted = classifier().fit(X, Y)
    with pytest.raises(ValueError, match=r"weight_init=.* is not fitted.*FrozenEstimator"):
        clone(classifier(weight_init=fitted)).fit(X, Y)
    frozen = clone(classifier(weight_init=FrozenEstimator(fitted), learning_rate_init=1e-9, max_iter=1)).fit(X, Y)
    np.testing.assert_allclose(frozen.coefs_[0], fitted.coefs_[0], atol=1e-6)


@pytest.mark.parametrize("kind", ["int64", "float16", ">f8", ">f4", "longdouble"])
def test_weights_of_any_numbers_can_be_set_by_hand(kind):
    model = classifier(solver="adam", averaging=0.9).fit(X, Y)
    given = classifier(solver="adam", averaging=0.9).fit(X, Y)
    rounded = [np.round(8 * coef) for coef in model.coefs_], [np.round(8 * part) for part in model.intercepts_]
    model.coefs_, model.intercepts_ = ([part.astype(kind) for part in parts] for parts in rounded)
    own = np.float32 if kind in ("float16", ">f4") else np.float64
    given.coefs_, given.intercepts_ = ([part.astype(own) for part in parts] for parts in rounded)
    np.testing.assert_array_equal(model.predict_proba(X), given.predict_proba(X))
    for network in (model, given):
        network.partial_fit(X, Y)
    np.testing.assert_array_equal(model.predict_proba(X), given.predict_proba(X))
    model.coefs_ = [coef.astype(complex) for coef in model.coefs_]
    with pytest.raises(TypeError, match=r"coefs_\[0\] has to hold real numbers, got an array of complex128"):
        model.predict(X)
    model.coefs_ = [coef.tolist() for coef in given.coefs_]
    with pytest.raises(TypeError, match="coefs_ has to be a list of arrays"):
        model.predict(X)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_numpy_is_told_to_raise_changes_nothing(dtype):
    def train():
        fits = [
            classifier(
                learning_rate=Exponential(factor=0.1), max_iter=700, n_iter_no_change=np.inf, tol=0, dtype=dtype
            ).fit(X, Y),
            classifier(dtype=dtype).fit(X * 1e-200, Y, sample_weight=np.full(150, 1e-30)),
            regressor(dtype=dtype, standardize_target=True).fit(X, Y * 1e-200),
        ]
        return [model._predict(X)[1] for model in fits] + [fits[0].set_params(dtype=dtype).decision_function(X * 1e3)]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrainingWarning)
        expected = train()
        with np.errstate(all="raise"):
            for one, other in zip(train(), expected, strict=True):
                np.testing.assert_array_equal(one, other)


def test_class_weights_that_overflow_are_refused():
    with pytest.raises(ValueError, match="class_weight and sample_weight give rows weights too large for float32"):
        classifier(class_weight={0: 1e300, 1: 1.0, 2: 1.0}, dtype="float32").fit(X, Y)


def test_mixed_classes_of_partial_fit_are_refused():
    with pytest.raises(ValueError, match="classes has labels of mixed types"):
        classifier().partial_fit(X, Y, classes=[0, 1, "2"])


def test_negative_and_zero_weights():
    with pytest.raises(ValueError, match="Negative values in data passed to `sample_weight`"):
        classifier().fit(X, Y, sample_weight=-np.ones(150))
    for method in ("fit", "partial_fit"):
        arguments = {"classes": [0, 1, 2]} if method == "partial_fit" else {}
        with pytest.raises(ValueError, match="at least one non-zero"):
            getattr(classifier(), method)(X, Y, sample_weight=np.zeros(150), **arguments)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_batch_without_weight_changes_nothing(solver):
    settings = {"solver": solver, "shuffle": False, "batch_size": 50, "alpha": 0.1}
    weights = np.r_[np.zeros(50), np.ones(100)]
    with_zeros = classifier(**settings).fit(X, Y, sample_weight=weights)
    without = classifier(**settings).fit(X[50:], np.r_[Y[50:]], sample_weight=weights[50:])
    # Without the first 50 rows there is one class less, so compare with the same rows of any value instead.
    other = classifier(**settings).fit(np.r_[X[:50] * 100, X[50:]], Y, sample_weight=weights)
    np.testing.assert_array_equal(with_zeros.coefs_[0], other.coefs_[0])
    assert without._optimizer.n_steps == with_zeros._optimizer.n_steps == 2 * 5


@pytest.mark.parametrize("size", [10**9, [10**5, 10**6], 2**40, 10**19])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_network_that_does_not_fit_is_refused_before_memory_is_taken(size, solver):
    model = classifier(hidden_layer_sizes=size, solver=solver)
    with pytest.raises(ValueError, match=r"hidden_layer_sizes=.* parameters; .* at least [\d,]+ bytes"):
        model.fit(X, Y)
    assert not hasattr(model, "coefs_")
    with pytest.raises(ValueError, match="bytes") as caught:
        model.fit(X, Y)
    n_bytes, gibibytes = re.search(r"([\d,]+) bytes \(([\d,.]+) GiB\)", str(caught.value)).groups()
    assert float(gibibytes.replace(",", "")) == pytest.approx(int(n_bytes.replace(",", "")) / 2**30, abs=0.1)


def test_refused_network_leaves_the_fitted_one():
    model = classifier().fit(X, Y)
    before = model.predict_proba(X)
    with pytest.raises(ValueError, match="bytes"):
        model.set_params(hidden_layer_sizes=10**9).fit(X, Y)
    np.testing.assert_array_equal(model.predict_proba(X), before)


def test_limits_of_memory_are_those_of_the_process(monkeypatch, tmp_path):
    assert 2**20 < backends_module.memory_limit() < 2**60
    group = tmp_path / "memory.max"
    group.write_text("12345\n")
    monkeypatch.setattr(backends_module, "Path", lambda path: group)
    assert backends_module.memory_limit() == 12345
    group.write_text("max\n")
    assert backends_module.memory_limit() > 12345


@pytest.mark.parametrize("place", ["workspace", "epoch"])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_no_memory_in_the_middle_of_a_fit(place, solver, monkeypatch):
    """The error arrives, threads are given back, and the next fit has the result of a first one."""
    expected = classifier(solver=solver, n_jobs=2).fit(X, Y).coefs_[0].copy()
    model = classifier(solver=solver, n_jobs=2)
    with monkeypatch.context() as patch:

        def fail(*arguments, **settings):
            raise MemoryError("Unable to allocate 7. GiB")

        patch.setattr(cpu.Session, "_allocate" if place == "workspace" else "_run", fail)
        with pytest.raises(MemoryError, match="Unable to allocate"):
            model.fit(X, Y)
    assert cpu.threads.cores_in_use() == 0
    np.testing.assert_array_equal(model.fit(X, Y).coefs_[0], expected)


LIMITED = """
import resource, numpy as np
from skbackprop import BackpropClassifier
rng = np.random.default_rng(0)
X, y = rng.normal(size=(1000, 100)), rng.integers(3, size=1000)
model = BackpropClassifier((16,), max_iter=2, random_state=0, tol=0).fit(X, y)
wide = BackpropClassifier((4_000_000,), max_iter=1, batch_size=8, random_state=0)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + GROWTH,) * 2)
try:
    wide.fit(X, y)
except (MemoryError, ValueError) as error:
    print(type(error).__name__, error)
again = BackpropClassifier((16,), max_iter=2, random_state=0, tol=0).fit(X, y)
print((again.coefs_[0] == model.coefs_[0]).all())
"""


@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="limits of the address space are Linux's")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("growth", "error"), [(10**9, "ValueError hidden_layer_sizes"), (24 * 10**9, "MemoryError Unable")]
)
def test_limit_of_the_address_space(growth, error):
    code = LIMITED.replace("GROWTH", str(growth))
    if growth > 10**10:  # past the estimate, into an allocation that fails
        code = code.replace(
            "import resource,", "import resource, skbackprop.estimators._choices as choices, math,"
        ).replace(
            "try:",
            "choices.memory_limit = lambda: math.inf\nresource.setrlimit(resource.RLIMIT_AS, (used + 10**9,) * 2)\ntry:",
            1,
        )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert error in done.stdout
    assert done.stdout.split()[-1] == "True"


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "tpu"])
def test_device_that_is_not_there_is_named(device):
    with pytest.raises((ValueError, RuntimeError), match=f"device='{device}' (is not known|cannot be used)"):
        classifier(device=device).fit(X, Y)


@pytest.mark.parametrize("kind", ["readonly", "fortran", "strided", "unaligned", "big-endian", "memmap"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_given_arrays_are_never_changed(kind, dtype, tmp_path):
    base = X.astype(dtype)
    if kind == "readonly":
        given = base.copy()
        given.flags.writeable = False
    elif kind == "fortran":
        given = np.asfortranarray(base)
    elif kind == "strided":
        given = np.repeat(base, 2, axis=1)[:, ::2]
    elif kind == "unaligned":
        given = np.frombuffer(b"\0" + base.tobytes(), dtype=np.uint8)[1:].view(dtype).reshape(base.shape)
    elif kind == "big-endian":
        given = base.astype(np.dtype(dtype).newbyteorder(">"))
    else:
        base.tofile(tmp_path / "X")
        given = np.memmap(tmp_path / "X", dtype=dtype, mode="r+", shape=base.shape)
    before = given.tobytes()
    weights = np.linspace(0.5, 1, 150)
    kept = weights.copy(), Y.copy()
    model = classifier(early_stopping=True).fit(given, Y, sample_weight=weights)
    expected = classifier(early_stopping=True).fit(base.astype(model.coefs_[0].dtype), Y, sample_weight=weights)
    np.testing.assert_array_equal(model.predict_proba(given), expected.predict_proba(base))
    assert given.tobytes() == before
    np.testing.assert_array_equal(weights, kept[0])
    np.testing.assert_array_equal(Y, kept[1])


SIMULATED = """
import numpy as np
from skbackprop import BackpropClassifier
from skbackprop.backends import is_usable
assert not is_usable("cuda")
try:
    BackpropClassifier((2,), device="cuda").fit(np.eye(4), [0, 1, 0, 1])
except RuntimeError as error:
    print(error)
"""


@pytest.mark.process
def test_simulator_of_a_gpu_with_machine_code_is_refused():
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_DISABLE_JIT"}
    done = subprocess.run(
        [sys.executable, "-c", SIMULATED],
        capture_output=True,
        text=True,
        check=True,
        env={**environment, "NUMBA_ENABLE_CUDASIM": "1"},
    )
    assert "needs NUMBA_DISABLE_JIT=1, too: set both" in done.stdout
