"""The CPU backend against naive NumPy, and its promise of equal bits."""

import numpy as np
import pytest
from scipy import sparse

from skbackprop._compile import JIT, kernel
from skbackprop.backends import cpu, get_backend
from skbackprop.backends.cpu import gemm
from skbackprop.backends.cpu.memory import at
from skbackprop.backends.data import as_rows
from skbackprop.functions.activations import ACTIVATIONS
from skbackprop.functions.losses import LOSSES
from skbackprop.network import Network
from skbackprop.testing import numerical_gradient, reference_loss, reference_predict
from skbackprop.training.progress import OptimizerState

DTYPES = [np.float32, np.float64]


@kernel
def product(a, a_row, a_inner, b, transposed, m, k, n, c, panels, scratch):
    zero = np.int64(0)
    if transposed:
        gemm.pack_transposed(b, zero, zero, n, k, n, panels, zero)
    else:
        gemm.pack(b, zero, zero, k, k, n, panels, zero)
    gemm.multiply(
        at(a, zero), a_row, a_inner, at(panels, zero), m, k, n, at(c, zero), n, at(c, zero), n, at(scratch, zero)
    )


SHAPES = [(1, 1, 1), (6, 4, 16), (7, 3, 17), (13, 300, 5), (5, 2, 40), (12, 257, 33), (2, 9, 1)]
if JIT:
    SHAPES += [(64, 600, 310), (100, 31, 200)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("a_transposed", [False, True])
@pytest.mark.parametrize("b_transposed", [False, True])
def test_products_are_sums_in_order(shape, a_transposed, b_transposed, dtype, rng):
    m, k, n = shape
    A, B = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
    C = rng.standard_normal((m, n)).astype(dtype)
    expected = C.astype(np.float64) + A.astype(np.float64) @ B.astype(np.float64)
    panels = np.zeros(gemm.packed_size(k, n, A.itemsize), dtype=dtype)
    scratch = np.empty(gemm.SCRATCH_SIZE, dtype=dtype)
    flat_a = np.ravel(A.T if a_transposed else A).copy()
    flat_b = np.ravel(B.T if b_transposed else B).copy()
    flat_c = C.ravel().copy()
    steps = (1, m) if a_transposed else (k, 1)
    product(flat_a, *steps, flat_b, b_transposed, m, k, n, flat_c, panels, scratch)
    scale = np.finfo(dtype).eps * (np.abs(A).astype(float) @ np.abs(B).astype(float) + np.abs(C)) * (k + 1)
    assert (np.abs(flat_c.reshape(m, n) - expected) <= scale).all()
    if JIT and m == 7:
        # In order, with one rounding for each multiplication and addition.
        exact = C.astype(np.longdouble)
        for i in range(k):
            exact = (A[:, i : i + 1].astype(np.longdouble) * B[i].astype(np.longdouble) + exact).astype(dtype)
            exact = exact.astype(np.longdouble)
        if dtype == np.float32:
            np.testing.assert_array_equal(flat_c.reshape(m, n), exact.astype(dtype))


def make_problem(loss, activation, hidden, dtype, rng, n_rows=23, n_features=5, is_sparse=False):
    n_outputs = 3 if loss in ("multiclass_log_loss", "squared_error") else 2
    network = Network((n_features, *hidden, n_outputs), activation, loss)
    X = rng.standard_normal((n_rows, n_features)) * (rng.random((n_rows, n_features)) < 0.6)
    if loss == "multiclass_log_loss":
        Y = rng.integers(0, n_outputs, (n_rows, 1)).astype(float)
    elif loss == "binary_log_loss":
        Y = rng.integers(0, 2, (n_rows, n_outputs)).astype(float)
    else:
        Y = rng.poisson(1.0, (n_rows, n_outputs)).astype(float)
    params = (rng.standard_normal(network.n_params) * 0.4).astype(dtype)
    data = as_rows(sparse.csr_array(X) if is_sparse else X.astype(dtype), np.dtype(dtype))
    return network, params, X.astype(dtype), Y.astype(dtype), data


@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize("hidden", [(), (4,), (7, 6)])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_are_numerical_gradients(loss, activation, hidden, is_sparse, rng):
    network, params, X, Y, data = make_problem(loss, activation, hidden, np.float64, rng, is_sparse=is_sparse)
    weights = rng.uniform(0.2, 2.0, len(X))
    order = np.arange(len(X))
    with cpu.Session(network, params.dtype, data, Y, weights, len(X), len(X), 1) as session:
        loss_value, gradient = session.loss_gradient(order, params, 0.1)
    expected = numerical_gradient(lambda p: reference_loss(network, p, X, Y, weights, 0.1), params)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-7)
    if loss != "squared_error":
        assert loss_value == pytest.approx(reference_loss(network, params, X, Y, weights, 0.1), rel=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
def test_predictions_are_those_of_the_naive_network(loss, is_sparse, dtype, rng):
    network, params, X, _, data = make_problem(loss, "tanh", (9, 17), dtype, rng, is_sparse=is_sparse)
    predictions = cpu.predict(network, params, data, 1)
    tolerance = 1e-4 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(predictions, reference_predict(network, params, X), rtol=tolerance, atol=tolerance)
    assert predictions.dtype == dtype


PARAMETERS = {
    "learning_rate_init": 0.01,
    "learning_rate": "constant",
    "power_t": 0.5,
    "momentum": 0.9,
    "nesterovs_momentum": True,
    "beta_1": 0.9,
    "beta_2": 0.999,
    "epsilon": 1e-8,
}


def train_bits(n_threads, dtype, is_sparse, batch_size, n_epochs=3):
    rng = np.random.default_rng(1)
    network, params, _, Y, data = make_problem(
        "multiclass_log_loss", "tanh", (70, 33), dtype, rng, n_rows=301, n_features=40, is_sparse=is_sparse
    )
    optimizer = OptimizerState.start("adam", PARAMETERS, params)
    weights = rng.uniform(0.5, 1.5, 301)
    losses = []
    with cpu.Session(network, params.dtype, data, Y, weights, batch_size, 301, n_threads) as session:
        assert session._team.n_threads == n_threads
        for _ in range(n_epochs):
            losses.extend(session.run_epochs(rng.permutation(301), [0.01], params, optimizer, 1e-3))
    return params, np.array(losses), cpu.predict(network, params, data, n_threads)


@pytest.fixture
def _four_cores(monkeypatch):
    monkeypatch.setattr("skbackprop.backends.cpu.threads.available_threads", lambda: 4)


@pytest.mark.skipif(not JIT, reason="interpreted kernels run on one thread")
@pytest.mark.usefixtures("_four_cores")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize("batch_size", [1, 50, 301])
def test_same_bits_for_any_number_of_threads(batch_size, is_sparse, dtype):
    reference = train_bits(1, dtype, is_sparse, batch_size)
    for n_threads in (2, 3, 4):
        for ours, one in zip(train_bits(n_threads, dtype, is_sparse, batch_size), reference, strict=True):
            np.testing.assert_array_equal(ours, one)


@pytest.mark.skipif(not JIT, reason="the promise is the compiled kernels'")
def test_same_bits_for_any_block_of_rows(monkeypatch):
    reference = train_bits(1, np.float32, False, 301)
    monkeypatch.setattr(cpu, "_block_rows", lambda network, itemsize, n_rows: 24)
    for ours, one in zip(train_bits(1, np.float32, False, 301), reference, strict=True):
        np.testing.assert_array_equal(ours, one)


@pytest.mark.parametrize("batch_size", [1, 7, 23])
def test_several_epochs_in_one_call(batch_size, rng):
    network, start, _, Y, data = make_problem("poisson", "logistic", (6,), np.float64, rng)
    orders = [rng.permutation(23) for _ in range(3)]
    rates = [0.05, 0.02, 0.01]
    together, one_by_one = start.copy(), start.copy()
    with cpu.Session(network, start.dtype, data, Y, None, batch_size, 23, 1) as session:
        optimizer = OptimizerState.start("adam", PARAMETERS, start)
        losses = session.run_epochs(np.concatenate(orders), rates, together, optimizer, 0.1)
        optimizer = OptimizerState.start("adam", PARAMETERS, start)
        for order, rate, loss in zip(orders, rates, losses, strict=True):
            assert session.run_epochs(order, [rate], one_by_one, optimizer, 0.1) == [loss]
    np.testing.assert_array_equal(together, one_by_one)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.skipif(not JIT, reason="hundreds of updates take long when they are interpreted")
def test_single_rows_agree_with_and_without_panels(monkeypatch, dtype):
    # Each update multiplies what rounding has made different: one epoch of them.
    unpacked = train_bits(1, dtype, False, 1, n_epochs=1)
    monkeypatch.setattr(cpu, "_block_rows", lambda network, itemsize, n_rows: 2)
    # Only the order of the sums in the backward pass differs.
    tolerance = 1e-3 if dtype == np.float32 else 1e-11
    for ours, packed in zip(train_bits(1, dtype, False, 1, n_epochs=1), unpacked, strict=True):
        np.testing.assert_allclose(ours, packed, rtol=tolerance, atol=tolerance)


def test_batch_without_weight_is_skipped(rng):
    network, params, _, Y, data = make_problem("squared_error", "relu", (4,), np.float64, rng, n_rows=20)
    weights = np.ones(20)
    weights[:10] = 0
    optimizer = OptimizerState.start("sgd", PARAMETERS, params)
    with cpu.Session(network, params.dtype, data, Y, weights, 10, 20, 1) as session:
        before = params.copy()
        assert session.run_epochs(np.arange(10), [0.01], params, optimizer, 0.0) == 0.0
        np.testing.assert_array_equal(params, before)
        assert optimizer.n_steps == 0
        assert session.run_epochs(np.arange(20), [0.01], params, optimizer, 0.0) > 0.0
        assert optimizer.n_steps == 1


def test_non_finite_loss_stops_the_epoch(rng):
    network, params, _, Y, data = make_problem("squared_error", "identity", (4,), np.float64, rng, n_rows=40)
    params[:] = 1e200
    optimizer = OptimizerState.start("sgd", PARAMETERS, params)
    with cpu.Session(network, params.dtype, data, Y, None, 1, 40, 1) as session, np.errstate(all="ignore"):
        assert np.isnan(session.run_epochs(np.arange(40), [0.01], params, optimizer, 0.0))


def test_flat_vector_and_views(rng):
    network = Network((3, 4, 2), "relu", "squared_error")
    params = rng.standard_normal(network.n_params)
    coefs, intercepts = network.views(params)
    assert network.flatten(coefs, intercepts, params.dtype) is params
    replaced = [coefs[0].copy(), coefs[1]]
    packed = network.flatten(replaced, intercepts, params.dtype)
    assert packed is not params
    np.testing.assert_array_equal(packed, params)
    assert network.flatten(coefs, intercepts, np.dtype(np.float32)).dtype == np.float32
    with pytest.raises(ValueError, match=r"coefs_\[0\] has shape \(4, 3\)"):
        network.flatten([coefs[0].T, coefs[1]], intercepts, params.dtype)
    with pytest.raises(ValueError, match="intercepts_ has 1 arrays"):
        network.flatten(coefs, intercepts[:1], params.dtype)


def test_rows_share_memory_when_they_can(rng):
    X = rng.standard_normal((10, 3))
    assert np.shares_memory(as_rows(X, X.dtype).X, X)
    assert as_rows(X, X.dtype).density == 1.0
    assert not np.shares_memory(as_rows(X[::2], X.dtype).X, X)
    matrix = sparse.random_array((10, 4), density=0.5, format="csr", rng=0)
    rows = as_rows(matrix, matrix.dtype)
    assert np.shares_memory(rows.data, matrix.data)
    assert rows.density == pytest.approx(0.5)
    wide = matrix.copy()
    wide.indices = wide.indices.astype(np.int64)
    assert as_rows(wide, matrix.dtype).indices.dtype == np.int32


def test_unsorted_and_corrupt_sparse_rows():
    unsorted = sparse.csr_array(([1.0, 2.0], [2, 0], [0, 2]), shape=(1, 3))
    rows = as_rows(unsorted, np.dtype(float))
    np.testing.assert_array_equal(rows.indices, [0, 2])
    np.testing.assert_array_equal(rows.data, [2.0, 1.0])
    corrupt = sparse.csr_array(([1.0, 2.0], [0, 1], [0, 2]), shape=(1, 3))
    corrupt.indices[1] = 10**6
    with pytest.raises(ValueError, match="indices"):
        as_rows(corrupt, np.dtype(float))


def test_unknown_device_says_what_is_missing():
    assert get_backend("cpu") is cpu
    with pytest.raises(ValueError, match=r"device='cuda' is not available.*CUDA kernels are still to come"):
        get_backend("cuda")
    with pytest.raises(ValueError, match="device='tpu' is not available"):
        get_backend("tpu")
