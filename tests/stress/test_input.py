"""Input of every form, odd and hostile: it gives the model of the plain array, or an error that says what is wrong.

`SKBACKPROP_EXAMPLES` sets the number of cases, and ``--hypothesis-seed`` which; `docs/promises.rst` tells of long runs.
"""

import faulthandler
import os
import pickle
import re
import warnings

import numpy as np
import pytest
from scipy import sparse

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning  # noqa: E402

from skbackprop import BackpropClassifier, BackpropRegressor  # noqa: E402
from skbackprop.exceptions import TrainingWarning  # noqa: E402

pytestmark = pytest.mark.trains

N_EXAMPLES = int(os.environ.get("SKBACKPROP_EXAMPLES", "300"))

# A case that takes longer hangs: the traceback of all threads, and the end.
HANGS = 120

VALUES = [0.0, 1.0, -1.0, 0.5, 2.0, -3.25, 7.0, 1e-3, 100.0]
ODD_VALUES = [np.nan, np.inf, -np.inf, 1e300, -1e300, 1e-320, -0.0, 2.0**63, 1e39]

DTYPES = [
    "f2",
    "f4",
    "f8",
    "g",
    "i1",
    "i2",
    "i4",
    "i8",
    "u1",
    "u2",
    "u4",
    "u8",
    "?",
    ">f4",
    ">f8",
    ">i2",
    "O",
    "c16",
    "U4",
    "S4",
    "M8[D]",
]
LAYOUTS = ["C", "F", "rows strided", "columns strided", "reversed", "unaligned", "read-only", "subclass"]
CONTAINERS = ["array"] * 4 + ["list", "tuple", "DataFrame", "masked", "matrix"]
FORMATS = ["csr", "csc", "coo", "bsr", "dia", "lil", "dok", "csr int64", "coo twice", "csr unsorted", "csr zeros"]

#: Settings, good ones and bad ones. Few kinds of kernels, so that cases and not compilations take the time.
SETTINGS = {
    "hidden_layer_sizes": [
        (3,),
        2,
        (),
        [2, 3],
        np.array([3]),
        (np.int8(2),),
        0,
        -1,
        (2.5,),
        "3",
        None,
        (True,),
        [[2]],
        10**12,
    ],
    "activation": ["relu", "tanh", ["tanh"], ["relu", "tanh"], "step", 3, None, []],
    "solver": ["adam", "sgd", "lbfgs", "newton", None, 1],
    "alpha": [0, 1e-4, 10.0, np.float32(0.1), -1, np.nan, np.inf, "1", None],
    "batch_size": ["auto", 1, 5, 10**6, np.int64(4), 0, -1, 2.5, "all", None],
    "learning_rate": ["constant", "invscaling", "adaptive", "cosine", "slow", 3],
    "learning_rate_init": [0.001, 0.1, 10.0, 1e10, 0, -1, np.nan, "x"],
    "max_iter": [1, 2, 3, np.int32(2), 0, -1, 1.5, "2", None],
    "shuffle": [True, False, 0, "no", None],
    "random_state": [0, np.int64(1), np.random.RandomState(0), -1, "x", 1.5],
    "tol": [1e-4, 0.0, np.inf, -1, np.nan, "x"],
    "momentum": [0.9, 0, 1, 2, -1, np.nan],
    "early_stopping": [False, False, True, 1, "yes", None],
    "validation_fraction": [0.1, 0.3, 0.0, 0.999, 1.0, -0.1, np.nan],
    "n_iter_no_change": [1, 10, np.inf, 0, -1, np.nan, 2.5],
    "dropout": [0.0, 0.5, [0.1, 0.2], 1.0, -0.1, np.nan, "x", [], ["x"], [None]],
    "clip_norm": [None, 1.0, 1e-300, 0, -1, np.nan],
    "averaging": [None, 0.9, 0, 1, np.nan],
    "l1_ratio": [0.0, 0.5, 1, 2, -1, np.nan],
    "normalization": [None, None, "layer", "batch", "group", 1],
    "frozen_layers": [(), [0], [-1], [5], "x", [0.5], None, ["x"], [True]],
    "output_bias": ["auto", "prior", "zero", None],
    "n_jobs": [None, 1, 2, -1, 0, 1.5, "all"],
    "device": ["cpu", "abacus", None, 1],
    "max_norm": [None, 1.0, 0, -1, np.nan],
}
CLASS_WEIGHTS = [
    None,
    None,
    "balanced",
    {0: 2.0},
    {"a": 1.0},
    {0: -1.0},
    {0: np.nan},
    {},
    [1],
    "equal",
    {0: 0.0, 1: 0.0, 2: 0.0},
]


@st.composite
def matrices(draw, n_rows):
    """Data of some form, and a description."""
    n_columns = draw(st.integers(1, 4))
    odd = draw(st.integers(0, 9)) == 0
    values = st.sampled_from(VALUES + (ODD_VALUES if odd else []))
    plain = np.array(draw(st.lists(values, min_size=n_rows * n_columns, max_size=n_rows * n_columns)))
    plain = plain.reshape(n_rows, n_columns)
    form = draw(st.integers(0, 19))
    if form == 0:
        return draw(
            st.sampled_from(
                [
                    None,
                    3.0,
                    "text",
                    plain[:, 0],
                    plain[None],
                    plain[:0],
                    plain[:, :0],
                    object(),
                    [[]],
                    {},
                    [[1], [1, 2]],
                ]
            )
        )
    if form <= 5:
        return as_sparse(plain, draw(st.sampled_from(FORMATS)), draw(st.sampled_from(["f4", "f8", "i4", "?"])))
    dtype = draw(st.sampled_from(DTYPES if form <= 9 else DTYPES[:15]))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            array = plain.astype(np.int64).astype(dtype) if dtype[0] == "M" else plain.astype(dtype)
        except (ValueError, TypeError, OverflowError):
            array = plain
    array = in_layout(array, draw(st.sampled_from(LAYOUTS)))
    return in_container(array, draw(st.sampled_from(CONTAINERS)))


class Subclass(np.ndarray):
    """An array of another class."""


def in_layout(array, layout):
    if layout == "F":
        return np.asfortranarray(array)
    if layout == "rows strided":
        return np.repeat(array, 2, axis=0)[::2]
    if layout == "columns strided":
        return np.repeat(array, 3, axis=1)[:, ::3]
    if layout == "reversed":
        return np.ascontiguousarray(array[::-1, ::-1])[::-1, ::-1]
    if layout == "unaligned" and array.dtype.kind != "O":
        return np.frombuffer(bytearray(b"\0" + array.tobytes()), np.uint8)[1:].view(array.dtype).reshape(array.shape)
    if layout == "read-only":
        array = array.copy()
        array.flags.writeable = False
    return array.view(Subclass) if layout == "subclass" else array


def in_container(array, container):
    if container == "list":
        return array.tolist()
    if container == "tuple":
        return tuple(map(tuple, array.tolist()))
    if container == "masked":
        mask = np.zeros(array.shape, dtype=bool)
        mask[0] = True
        return np.ma.masked_array(array, mask)
    if container == "matrix":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PendingDeprecationWarning)
            return np.asmatrix(array)
    if container == "DataFrame" and array.dtype.kind not in "cMgS" and array.dtype.isnative:
        pandas = pytest.importorskip("pandas")
        return pandas.DataFrame(array, columns=[f"column {i}" for i in range(array.shape[1])])
    return array


def as_sparse(plain, form, dtype):
    with np.errstate(all="ignore"):
        matrix = sparse.csr_array(plain.astype(dtype))
    name, _, special = form.partition(" ")
    if special == "int64":
        matrix.indices, matrix.indptr = matrix.indices.astype(np.int64), matrix.indptr.astype(np.int64)
    elif special == "twice":
        coo = matrix.tocoo()
        halves = np.r_[coo.data, coo.data]
        matrix = sparse.coo_array((halves, (np.r_[coo.row, coo.row], np.r_[coo.col, coo.col])), shape=coo.shape)
    elif special == "unsorted":
        for start, stop in zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True):
            matrix.indices[start:stop] = matrix.indices[start:stop][::-1].copy()
            matrix.data[start:stop] = matrix.data[start:stop][::-1].copy()
        matrix.has_sorted_indices = False
    elif special == "zeros" and matrix.nnz:
        matrix.data[0] = 0
    return matrix if special else matrix.asformat(name)


@st.composite
def labels(draw, n_rows):
    """Labels of some type."""
    codes = np.array(draw(st.lists(st.integers(0, 2), min_size=n_rows, max_size=n_rows)))
    kind = draw(st.integers(0, 23))
    texts, large = np.array(["a", "ß", "c"]), np.array([2**53, 2**53 + 1, 2**53 + 2])
    forms = [
        codes, codes.astype("i1"), codes.astype("u8"), codes.astype(">i4"), codes == 1, texts[codes], texts.astype(object)[codes],
        large[codes], codes - 1.0, codes.tolist(), texts[codes].tolist(), codes.reshape(-1, 1),
        np.eye(3, dtype=int)[codes], sparse.csr_array(np.eye(3, dtype=int)[codes]), np.column_stack([codes, codes[::-1]]), codes[::-1][::-1],
        codes[:-1], codes / 3, codes * np.nan, np.array([1, "a", None], dtype=object)[codes], codes * 1j, None, "text", codes.astype("M8[D]"),
    ]  # fmt: skip
    return forms[kind]


@st.composite
def targets(draw, n_rows):
    """Numbers to predict."""
    values = np.array(draw(st.lists(st.sampled_from(VALUES), min_size=n_rows, max_size=n_rows)))
    kind = draw(st.integers(0, 17))
    with np.errstate(all="ignore"):
        forms = [
            values, values.astype("f4"), values.astype("f2"), values.astype(np.longdouble), values.astype(int), values > 0, values.tolist(),
            values.reshape(-1, 1), np.column_stack([values, -values]), values.astype(">f8"), np.repeat(values, 2)[::2], np.abs(values),
            values[:-1], values * 1e300, values * np.inf, values.astype("U8"), values * 1j, None,
        ]  # fmt: skip
    return forms[kind]


@st.composite
def sample_weights(draw, n_rows):
    """Weights of the samples."""
    values = np.array(draw(st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.0]), min_size=n_rows, max_size=n_rows)))
    kind = draw(st.integers(0, 24))
    forms = [
        values, values.astype("f4"), values.tolist(), values.astype(int), np.repeat(values, 2)[::2], 2, values - 1, values[:-1], values * np.nan,
        values.astype("U4"), values.reshape(-1, 1), "all", values * 1j, values * 0,
    ]  # fmt: skip
    return forms[kind] if kind < len(forms) else None


@st.composite
def cases(draw):
    """An estimator's class, its parameters, and the arguments of fit."""
    n_rows = draw(st.integers(1, 24))
    classifies = draw(st.booleans())
    names = draw(st.lists(st.sampled_from(sorted(SETTINGS)), max_size=3, unique=True))
    parameters = {}
    for name in names:
        # Good settings come first, and shall be drawn more often.
        values = SETTINGS[name]
        index = draw(st.one_of(st.integers(0, max(0, len(values) // 3)), st.integers(0, len(values) - 1)))
        parameters[name] = values[index]
    if classifies:
        parameters["class_weight"] = draw(st.sampled_from(CLASS_WEIGHTS))
        y = draw(labels(n_rows))
    else:
        parameters["standardize_target"] = draw(st.booleans())
        y = draw(targets(n_rows))
    return classifies, parameters, draw(matrices(n_rows)), y, draw(sample_weights(n_rows))


def snapshot(value):
    """What tells whether a value was changed."""
    if isinstance(value, np.ndarray) and value.dtype.kind != "O":
        mask = np.ma.getmaskarray(value).tobytes() if isinstance(value, np.ma.MaskedArray) else b""
        return value.dtype.str, value.shape, np.asarray(value).tobytes(), mask
    if sparse.issparse(value):
        coo = value.tocoo()
        return value.format, value.dtype.str, coo.data.tobytes(), coo.coords[0].tobytes(), coo.coords[1].tobytes()
    return pickle.dumps(value) if type(value) is not object else None


def plain(X):
    """The same data as a C-ordered array of float64."""
    X = X.toarray() if sparse.issparse(X) else X
    return np.array(X, dtype=np.float64, order="C")


NAMED = [*SETTINGS, "X", "y", "sample_weight", "class_weight", "standardize_target", "validation_fraction", "classes"]
#: What scikit-learn and NumPy say of arguments that have to be arrays, and the estimators of trainings.
SENTENCES = [
    "Expected 2D", "Expected a 2-dimensional", "Found array with", "inconsistent numbers? of samples", "could not convert string to float", "Complex data",
    "dtype='numeric'", "inhomogeneous", "[Ss]ample weights?", "bad input shape", "Singleton array", "float\\(\\) argument", "The validation set is too small", "not converted",
    "Cannot (cast|convert)", "Solver produced non-finite", "multiclass-multioutput", "Unknown label type", "Input contains NaN", "y_true", "Masked", "array must be",
    "batch normalization", "no supported conversion", "Multioutput", "Unsupported type", "sparse", "fewer|at least", "dimension", "must be real number", "scalar", "np.matrix",
]  # fmt: skip
EXPLAINS = re.compile("|".join([*(rf"\b{name}\b" for name in NAMED), *SENTENCES]))


def outcome(classifies, parameters, X, y, sample_weight):
    """Predictions, or the error."""
    kind = BackpropClassifier if classifies else BackpropRegressor
    parameters = {"hidden_layer_sizes": (3,), "max_iter": 2, "random_state": 0, "dtype": "float64", **parameters}
    if isinstance(parameters["random_state"], np.random.RandomState):
        parameters["random_state"] = np.random.RandomState(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for expected in (
            ConvergenceWarning,
            TrainingWarning,
            DataConversionWarning,
            PendingDeprecationWarning,
            FutureWarning,
        ):
            warnings.simplefilter("ignore", expected)
        warnings.filterwarnings("ignore", "Got `batch_size`")
        warnings.filterwarnings("ignore", "The number of unique classes|The least populated class")
        warnings.filterwarnings("ignore", "overflow encountered in cast", RuntimeWarning)
        try:
            model = kind(**parameters).fit(X, y, sample_weight)
        except (ValueError, TypeError) as error:
            return error
        predictions = [model.predict(X)]
        if classifies:
            proba = model.predict_proba(X)
            predictions += proba if isinstance(proba, list) else [proba]
        assert all(np.isfinite(coef).all() for coef in (*model.coefs_, *model.intercepts_))
        return predictions


@settings(
    max_examples=N_EXAMPLES, deadline=None, database=None, derandomize="SKBACKPROP_EXAMPLES" not in os.environ,
    suppress_health_check=list(hypothesis.HealthCheck),
)  # fmt: skip
@given(cases())
def test_input_gives_the_model_of_the_plain_array_or_an_error_that_says_why(case):
    faulthandler.dump_traceback_later(HANGS, exit=True)
    try:
        classifies, parameters, X, y, sample_weight = case
        before = [snapshot(value) for value in (X, y, sample_weight)]
        result = outcome(*case)
        assert [snapshot(value) for value in (X, y, sample_weight)] == before, "an argument was changed"
        if isinstance(result, Exception):
            assert EXPLAINS.search(str(result)), f"{type(result).__name__}: {result}"
            return
        expected = outcome(classifies, parameters, plain(X), y, sample_weight)
        assert not isinstance(expected, Exception), f"the plain array is refused: {expected}"
        for one, other in zip(result, expected, strict=True):
            assert one.dtype == other.dtype
            if sparse.issparse(X) and one.dtype.kind == "f":
                # Sums over the entries that are there have another order.
                np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9)
            elif not sparse.issparse(X):
                np.testing.assert_array_equal(one, other)
    finally:
        faulthandler.cancel_dump_traceback_later()
