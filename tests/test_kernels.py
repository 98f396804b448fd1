"""The CPU backend against naive NumPy, and its promise of equal bits."""

from itertools import pairwise
from itertools import product as product_of

import numba
import numpy as np
import pytest
from scipy import sparse

from skbackprop._compile import JIT, SIMULATED, formula, kernel, settle
from skbackprop.backends import cpu
from skbackprop.backends.cpu import gemm
from skbackprop.backends.cpu.layers import chunk_rows, own_rows
from skbackprop.backends.cpu.memory import at
from skbackprop.backends.cpu.state import FORM, Model
from skbackprop.backends.data import as_rows
from skbackprop.backends.record import Record
from skbackprop.functions.activations import ACTIVATIONS
from skbackprop.functions.groups import DENSE, Group
from skbackprop.functions.losses import LOSSES
from skbackprop.functions.optimizers import OPTIMIZERS
from skbackprop.functions.penalties import Penalties
from skbackprop.functions.random import draw_units, philox
from skbackprop.functions.schedules import SCHEDULES
from skbackprop.network import Network
from skbackprop.testing import numerical_gradient, reference_loss, reference_predict, reference_raw_predict
from skbackprop.training.progress import OptimizerState

DTYPES = [np.float32, np.float64]
# A simulated launch takes a second: each dtype and each kind of rows, but not all combinations.
SIMULATED_KINDS = [(np.float32, False), (np.float64, True)]


_pack, _pack_transposed, _multiply = (
    formula(template) for template in (gemm.pack, gemm.pack_transposed, gemm.multiply)
)


@kernel
def product(a, a_row, a_inner, b, packing, m, k, n, c, panels, scratch):
    zero = np.int64(0)
    right, b_row = at(panels, zero), zero
    if packing == 0:
        right, b_row = at(b, zero), n
    elif packing == 1:
        _pack(at(b, zero), zero, k, k, n, right)
    else:
        _pack_transposed(at(b, zero), zero, n, k, n, right)
    _multiply(at(a, zero), a_row, a_inner, right, b_row, m, k, n, at(c, zero), n, at(c, zero), n, at(scratch, zero))


@kernel
def _deal(layout, layer, step, thread, n_threads, out):
    out[0], out[1] = own_rows(layout, layer, step, thread, n_threads)


def dealt_rows(*arguments):
    out = np.zeros(2, dtype=np.int64)
    _deal(*arguments, out)
    return tuple(out.tolist())


SHAPES = [
    (1, 1, 1),
    (6, 4, 16),
    (7, 3, 17),
    (9, 8, 31),
    (13, 300, 5),
    (5, 2, 40),
    (12, 257, 33),
    (2, 9, 1),
    (33, 7, 45),
]
if JIT:
    SHAPES += [(64, 600, 310), (100, 31, 200), (43, 2100, 75)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("a_transposed", [False, True])
@pytest.mark.parametrize("packing", ["as is", "packed", "packed transposed"])
def test_products_are_sums_in_order(shape, a_transposed, packing, dtype, rng):
    m, k, n = shape
    A, B = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
    C = rng.standard_normal((m, n)).astype(dtype)
    expected = C.astype(np.float64) + A.astype(np.float64) @ B.astype(np.float64)
    panels = np.zeros(gemm.packed_size(k, n, A.itemsize), dtype=dtype)
    scratch = np.empty(gemm.SCRATCH_SIZE, dtype=dtype)
    flat_a = np.ravel(A.T if a_transposed else A).copy()
    flat_b = np.ravel(B.T if packing == "packed transposed" else B).copy()
    flat_c = C.ravel().copy()
    steps = (1, m) if a_transposed else (k, 1)
    packings = "as is", "packed", "packed transposed"
    product(flat_a, *steps, flat_b, packings.index(packing), m, k, n, flat_c, panels, scratch)
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


@pytest.mark.skipif(not JIT, reason="interpreted, there are no registers")
@pytest.mark.parametrize("tile_rows", [gemm.TILE_ROWS, 2 * gemm.TILE_ROWS])
def test_products_do_not_depend_on_the_number_of_registers(tile_rows, monkeypatch, rng):
    kinds = {"_tall": (2, False), "_tall_edge": (2, True), "_tall_half": (1, True)}
    monkeypatch.setattr(gemm, "_TALL_ROWS", tile_rows)
    for name, kind in kinds.items():
        monkeypatch.setattr(gemm, name, gemm._make_tile(tile_rows, *kind))
    multiply = numba.njit(settle(gemm.multiply))

    @numba.njit
    @settle
    def multiply_arrays(a, a_row, a_inner, b, m, k, n, c, scratch):
        multiply(at(a, 0), a_row, a_inner, at(b, 0), n, m, k, n, at(c, 0), n, at(c, 0), n, at(scratch, 0))

    for m, k, n in [(33, 7, 45), (43, 400, 75), (11, 3, 10), (25, 1100, 310)]:
        a, b, c = (rng.standard_normal(size).astype(np.float32) for size in (m * k, k * n, m * n))
        scratch = np.empty(gemm.SCRATCH_SIZE, dtype=np.float32)
        for steps in ((k, 1), (1, m)):
            expected = c.copy()
            product(a, *steps, b, 0, m, k, n, expected, b, scratch)
            own = c.copy()
            multiply_arrays(a, *steps, b, m, k, n, own, scratch)
            np.testing.assert_array_equal(own, expected)


#: Every loss in every form that runs.
LOSS_KINDS = [loss().for_task(task) for loss in LOSSES.values() for task in loss.kinds()]


def make_problem(loss, activation, hidden, dtype, rng, n_rows=23, n_features=5, is_sparse=False, parametric=False):
    """A network, parameters and data for a loss, a `Loss` or the name of a class that runs."""
    if isinstance(loss, str):
        loss = next(kind for kind in LOSS_KINDS if type(kind).__name__ == loss)
    n_targets = 3 if type(loss).__name__ == "SquaredError" else 2
    n_outputs = 3 if loss.n_codes else n_targets * loss.outputs_per_target()
    activations = (ACTIVATIONS.get_key(activation),) * len(hidden)
    network = Network((n_features, *hidden, n_outputs), activations, loss.key(), parametric=parametric)
    X = rng.standard_normal((n_rows, n_features)) * (rng.random((n_rows, n_features)) < 0.6)
    if loss.n_codes:
        Y = rng.integers(0, n_outputs, (n_rows, 1)).astype(float)
    elif loss.task == "binary":
        Y = rng.integers(0, 2, (n_rows, n_outputs)).astype(float)
    elif loss.lower_inclusive:
        Y = rng.poisson(1.0, (n_rows, n_targets)).astype(float)
    else:
        Y = rng.gamma(2.0, 1.0, (n_rows, n_targets))
    params = (rng.standard_normal(network.n_params) * 0.4).astype(dtype)
    data = as_rows(sparse.csr_array(X) if is_sparse else X.astype(dtype), np.dtype(dtype))
    return network, params, X.astype(dtype), Y.astype(dtype), data


def check_gradient(backend, network, params, X, Y, data, rng, penalties):
    weights = rng.uniform(0.2, 2.0, len(X))
    with backend.Session(network, params.dtype, data, Y, weights, len(X), len(X), 1, penalties) as session:
        loss_value, gradient = session.loss_gradient(np.arange(len(X)), params)
    expected = numerical_gradient(lambda p: reference_loss(network, p, X, Y, weights, penalties), params)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-7)
    if network.loss[0].__name__ != "SquaredError":
        assert loss_value == pytest.approx(reference_loss(network, params, X, Y, weights, penalties), rel=1e-12)


@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS if JIT else ["relu", "gelu"])  # all of them take minutes interpreted
@pytest.mark.parametrize("loss", LOSS_KINDS, ids=lambda loss: type(loss).__name__)
def test_gradients_are_numerical_gradients(loss, activation, is_sparse, backend, rng):
    problem = make_problem(loss, activation, (7, 6), np.float64, rng, is_sparse=is_sparse)
    check_gradient(backend, *problem, rng, Penalties(0.1, l1_ratio=0.5 if is_sparse else 0.0))


@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize("hidden", [(7, 6), (1,)])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_of_parametric_activations(activation, hidden, is_sparse, backend, rng):
    problem = make_problem(
        "MulticlassLogLoss", activation, hidden, np.float64, rng, is_sparse=is_sparse, parametric=True
    )
    check_gradient(backend, *problem, rng, Penalties(0.1, l1_ratio=0.5))


def test_penalties_are_off_unless_they_are_asked_for():
    np.testing.assert_array_equal(Penalties().numbers(), np.zeros(6))
    assert not Penalties().finishes
    assert Penalties().dropout == Penalties().frozen == Penalties().groups == ()
    np.testing.assert_array_equal(Penalties(0.5).numbers(), [0.5, 0, 0, 0, 0, 0])
    everything = Penalties(0.5, 0.25, clip_norm=1, clip_value=2, max_norm=3, average=0.9)
    np.testing.assert_array_equal(everything.numbers(), [0.375, 0.125, 1, 2, 3, 0.9])


@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize("hidden", [(), (4,), (1,)])
@pytest.mark.parametrize("loss", ["SquaredError", "BinaryLogLoss", "MulticlassLogLoss"])
def test_gradients_of_networks_of_other_shapes(loss, hidden, is_sparse, backend_tier, rng):
    problem = make_problem(loss, "tanh", hidden, np.float64, rng, is_sparse=is_sparse)
    check_gradient(backend_tier, *problem, rng, Penalties(0.1))


@pytest.mark.parametrize(
    ("dtype", "is_sparse"), SIMULATED_KINDS if SIMULATED else list(product_of(DTYPES, [False, True]))
)
@pytest.mark.parametrize("loss", LOSS_KINDS, ids=lambda loss: type(loss).__name__)
def test_predictions_are_those_of_the_naive_network(loss, is_sparse, dtype, backend, rng):
    network, params, X, _, data = make_problem(loss, "tanh", (9, 17), dtype, rng, is_sparse=is_sparse)
    tolerance = 1e-4 if dtype == np.float32 else 1e-12
    for link, reference in ((True, reference_predict), (False, reference_raw_predict)):
        predictions = backend.predict(network, params, data, 1, link)
        np.testing.assert_allclose(predictions, reference(network, params, X), rtol=tolerance, atol=tolerance)
        assert predictions.dtype == dtype


def start_optimizer(name, params, averages=False):
    return OptimizerState.start(OPTIMIZERS[name](), SCHEDULES["constant"](), 0.01, 0.5, 1, params, averages)


def run_epochs(session, order, rate, params, optimizer):
    """Losses of epochs of one learning rate."""
    n_epochs = len(order) // session._batches.n_trained
    return session.run_epochs(order, np.full(n_epochs * session.n_batches, rate), params, optimizer).losses


EVERYTHING = Penalties(
    1e-3,
    0.5,
    (0.1, 0.3, 0.3),
    clip_norm=0.5,
    clip_value=0.2,
    max_norm=1.0,
    average=0.9,
    frozen=(1,),
    groups=((Group(0.5), Group(0.1)), (Group(2.0), Group(3.0)), DENSE),
)


def train_bits(
    n_threads, dtype, is_sparse, batch_size, n_epochs=3, penalties=None, activation="tanh", parametric=False
):
    rng = np.random.default_rng(1)
    network, params, _, Y, data = make_problem(
        "MulticlassLogLoss", activation, (70, 33), dtype, rng, 301, 40, is_sparse, parametric
    )
    penalties = Penalties(1e-3) if penalties is None else penalties
    optimizer = start_optimizer("adam", params, averages=penalties.average is not None)
    weights = rng.uniform(0.5, 1.5, 301)
    losses = []
    with cpu.Session(network, params.dtype, data, Y, weights, batch_size, 301, n_threads, penalties) as session:
        assert session._team.n_threads == n_threads
        for _ in range(n_epochs):
            losses.extend(run_epochs(session, rng.permutation(301), 0.01, params, optimizer))
    return params, np.array(losses), cpu.predict(network, params, data, n_threads), optimizer.average


@pytest.fixture
def _four_cores(monkeypatch):
    monkeypatch.setattr("skbackprop.backends.cpu.threads.available_threads", lambda: 4)


@pytest.mark.skipif(not JIT, reason="interpreted kernels run on one thread")
@pytest.mark.usefixtures("_four_cores")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize("batch_size", [1, 50, 301])
@pytest.mark.parametrize("parametric", [False, True])
def test_same_bits_for_any_number_of_threads(parametric, batch_size, is_sparse, dtype):
    reference = train_bits(1, dtype, is_sparse, batch_size, parametric=parametric)
    for n_threads in (2, 3, 4):
        own = train_bits(n_threads, dtype, is_sparse, batch_size, parametric=parametric)
        for ours, one in zip(own, reference, strict=True):
            np.testing.assert_array_equal(ours, one)


@pytest.mark.skipif(not JIT, reason="interpreted kernels run on one thread")
@pytest.mark.usefixtures("_four_cores")
@pytest.mark.parametrize(("activation", "parametric"), [("tanh", False), ("gelu", False), ("gelu", True)])
def test_same_bits_for_any_number_of_threads_with_everything_on(activation, parametric):
    settings = {"penalties": EVERYTHING, "activation": activation, "parametric": parametric}
    reference = train_bits(1, np.float32, False, 50, **settings)
    for n_threads in (2, 3):
        ours = train_bits(n_threads, np.float32, False, 50, **settings)
        for array, one in zip(ours, reference, strict=True):
            np.testing.assert_array_equal(array, one)


@pytest.mark.skipif(not JIT, reason="the promise is the compiled kernels'")
def test_same_bits_for_any_block_of_rows(monkeypatch):
    reference = train_bits(1, np.float32, False, 301)
    monkeypatch.setattr(cpu, "_block_rows", lambda network, itemsize, n_rows: 24)
    for ours, one in zip(train_bits(1, np.float32, False, 301), reference, strict=True):
        np.testing.assert_array_equal(ours, one)


@pytest.mark.skipif(not JIT, reason="the promise is the compiled kernels'")
@pytest.mark.usefixtures("_four_cores")
@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize(
    "penalties",
    [
        Penalties(1e-3),
        Penalties(1e-3, dropout=(0.0, 0.2, 0.2), average=0.9, frozen=(1,)),
        Penalties(groups=EVERYTHING.groups),
    ],
)
def test_same_bits_for_any_strips_of_weights(penalties, is_sparse, monkeypatch):
    reference = train_bits(1, np.float32, is_sparse, 50, penalties=penalties)
    monkeypatch.setattr(cpu, "_STRIP_BYTES", 1)
    cpu._offsets_of.cache_clear()
    try:
        for n_threads in (1, 3):
            ours = train_bits(n_threads, np.float32, is_sparse, 50, penalties=penalties)
            for array, one in zip(ours, reference, strict=True):
                np.testing.assert_array_equal(array, one)
    finally:
        cpu._offsets_of.cache_clear()


@pytest.mark.skipif(not JIT, reason="without addresses, nothing can be misread")
@pytest.mark.parametrize(
    "values",
    [
        {"order": np.arange(3, dtype=np.int32)},
        {"rates": np.zeros(3, dtype=np.float32)},
        {"params": np.zeros(3)},
        {"params": np.zeros(6, dtype=np.float32)[::2]},
        {"norms": np.zeros(3)},
    ],
)
def test_records_take_no_array_that_kernels_would_misread(values):
    record = Record(FORM, np.float32, Model(*[np.zeros(3, dtype=np.float32)] * 4, np.zeros(0)))
    words = record.words.copy()
    with pytest.raises(TypeError, match=next(iter(values))):
        record.set(**values)
    np.testing.assert_array_equal(record.words, words)


@pytest.mark.parametrize("n_threads", [1, 2, 3, 16])
@pytest.mark.parametrize("units", [(30, 100, 1), (1, 1), (784, 100, 10), (64, 128, 128, 128, 3), (5, 3000, 2)])
def test_each_weight_is_dealt_to_one_thread(units, n_threads):
    network = Network(units, (ACTIVATIONS.get_key("relu"),) * (len(units) - 2), LOSSES.get_key("squared_error"))
    sizes = np.zeros(n_threads)
    chunks = []
    for layer, (fan_in, fan_out) in enumerate(pairwise(units)):
        step = chunk_rows(fan_out)
        chunks.append(step * fan_out)
        ranges = [dealt_rows(network.layout, layer, step, thread, n_threads) for thread in range(n_threads)]
        assert [low for low, _ in ranges] == [0, *(high for _, high in ranges[:-1])]
        assert ranges[-1][1] == fan_in
        assert all(low % step == 0 or low == fan_in for low, _ in ranges)
        sizes += [(high - low) * fan_out for low, high in ranges]
    # A thread's part may exceed its share of all parameters by what is not divided.
    assert sizes.max() <= network.n_params / n_threads + max(chunks)


@pytest.mark.parametrize("batch_size", [7, 23] if SIMULATED else [1, 7, 23])
def test_several_epochs_in_one_call(batch_size, backend_tier, rng):
    network, start, _, Y, data = make_problem("Poisson", "logistic", (6,), np.float64, rng)
    orders = [rng.permutation(23) for _ in range(3)]
    together, one_by_one = start.copy(), start.copy()
    with backend_tier.Session(network, start.dtype, data, Y, None, batch_size, 23, 1, Penalties(0.1)) as session:
        rates = np.repeat([0.05, 0.02, 0.01], session.n_batches)
        optimizer = start_optimizer("nadam", start)
        epochs = session.run_epochs(np.concatenate(orders), rates, together, optimizer)
        optimizer = start_optimizer("nadam", start)
        for order, *row in zip(orders, rates.reshape(3, -1), *epochs, strict=True):
            alone = session.run_epochs(order, row[0], one_by_one, optimizer)
            for ours, expected in zip(alone, row[1:], strict=True):
                np.testing.assert_array_equal(ours[0], expected)
    np.testing.assert_array_equal(together, one_by_one)


def one_update(backend, penalties, rng, solver="sgd", dropout_seed=0, activation="tanh", loss="SquaredError"):
    """Parameters before and after one full-batch update of rate 0.01 from rest, and what the session tells."""
    network, params, X, Y, data = make_problem(loss, activation, (7, 6), np.float64, rng)
    before = params.copy()
    optimizer = start_optimizer(solver, params, averages=penalties.average is not None)
    with backend.Session(network, params.dtype, data, Y, None, 23, 23, 1, penalties, dropout_seed) as session:
        epochs = session.run_epochs(np.arange(23), np.full(1, 0.01), params, optimizer)
    gradient = numerical_gradient(lambda p: reference_loss(network, p, X, Y, None, penalties), before)
    return network, before, params, gradient, optimizer, epochs


def test_gradients_are_clipped(backend, rng):
    _, before, after, gradient, *_ = one_update(backend, Penalties(0.1, clip_value=0.05), rng)
    assert np.abs(gradient).max() > 0.1
    # Nesterov's first step from rest is 1.9 times the gradient's.
    np.testing.assert_allclose(before - after, 0.019 * np.clip(gradient, -0.05, 0.05), atol=1e-8)
    _, before, after, gradient, *_ = one_update(backend, Penalties(0.1, 0.3, clip_norm=0.1), rng)
    norm = np.linalg.norm(gradient)
    assert norm > 0.2
    np.testing.assert_allclose(before - after, 0.019 * gradient * 0.1 / norm, atol=1e-8)
    _, before, after, gradient, *_ = one_update(backend, Penalties(0.1, clip_norm=1e6), rng)
    np.testing.assert_allclose(before - after, 0.019 * gradient, atol=1e-7)


def test_weights_into_hidden_units_are_limited(backend, rng):
    network, _, after, *_ = one_update(backend, Penalties(max_norm=0.5), rng)
    coefs, _ = network.views(after)
    for coef in coefs[:-1]:
        assert np.linalg.norm(coef, axis=0).max() == pytest.approx(0.5)
    assert np.linalg.norm(coefs[-1], axis=0).max() > 0.5


def test_frozen_layers_stay(backend, rng):
    everything = Penalties(0.1, 0.5, clip_norm=1.0, max_norm=1e-3, average=0.9, frozen=(0, 2))
    network, before, after, _, optimizer, _ = one_update(backend, everything, rng)
    for array in (before, after):
        assert len(network.views(array)[0]) == 3
    averages = network.views(optimizer.average)
    for kind in range(2):
        old, new = network.views(before)[kind], network.views(after)[kind]
        np.testing.assert_array_equal(old[0], new[0])
        np.testing.assert_array_equal(old[2], new[2])
        np.testing.assert_array_equal(old[0], averages[kind][0])
        assert (old[1] != new[1]).all()


def test_average_follows_the_parameters(backend, rng):
    _, before, after, _, optimizer, _ = one_update(backend, Penalties(average=0.75), rng)
    np.testing.assert_allclose(optimizer.average, 0.75 * before + 0.25 * after, rtol=1e-12)


@pytest.mark.skipif(SIMULATED, reason="hundreds of launches; everything at once is compared with the CPU instead")
def test_dropout_is_a_gradient_of_the_thinned_network(backend, rng):
    """What is dropped depends on the seed only, so that the loss of a seed is a function whose gradient can be checked."""
    network, params, _, Y, data = make_problem("SquaredError", "tanh", (7, 6), np.float64, rng)
    penalties = Penalties(dropout=(0.2, 0.5, 0.3))

    def loss_gradient(values, seed):
        with backend.Session(network, params.dtype, data, Y, None, 23, 23, 1, penalties, seed) as session:
            loss, gradient = session.loss_gradient(np.arange(23), values)
            return loss, gradient.copy()

    loss, gradient = loss_gradient(params, 5)
    # The reported squared error is a mean over three outputs, the gradient that of the sum.
    expected = numerical_gradient(lambda p: 3 * loss_gradient(p, 5)[0], params)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-7)
    assert loss_gradient(params, 5)[0] == loss
    assert loss_gradient(params, 6)[0] != loss


@kernel
def run_philox(c, k, out):
    out[0], out[1], out[2], out[3] = philox(c[0], c[1], c[2], c[3], k[0], k[1])


def test_philox_known_answers():
    """The known answers that Random123, the authors' own implementation, comes with (kat_vectors, philox4x32 10)."""
    ones = 0xFFFFFFFF
    for counter, key, expected in [
        ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([ones] * 4, [ones] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ]:
        out = np.zeros(4, dtype=np.uint64)
        run_philox(np.array(counter, dtype=np.uint64), np.array(key, dtype=np.uint64), out)
        np.testing.assert_array_equal(out, np.array(expected, dtype=np.uint64))


@kernel
def run_draw_units(seed, step, layer, row, quad, out):
    out[0], out[1], out[2], out[3] = draw_units(seed, step, layer, row, quad)


def test_numbers_of_the_masks_are_those_of_their_counter():
    # The order is part of every checkpoint: another one would go on with other masks.
    drawn, expected = np.zeros((2, 4), dtype=np.uint64)
    run_draw_units(5, 2**32 + 7, 3, 2**33 + 11, 2, drawn)
    run_philox(np.array([2, 11, 3, 7], dtype=np.uint64), np.array([5, 0], dtype=np.uint64), expected)
    np.testing.assert_array_equal(drawn, expected)


def test_dropped_share_and_scale(rng):
    """The first layer passes its inputs on, so that the outputs are the inputs' dropout."""
    n_rows, n_features = 400, 50
    network = Network((n_features, n_features), (), LOSSES["squared_error"]().key())
    params = np.concatenate([np.eye(n_features).ravel(), np.zeros(n_features)])
    data = as_rows(np.ones((n_rows, n_features)), np.dtype(float))
    penalties = Penalties(dropout=(0.3,))
    with cpu.Session(
        network, params.dtype, data, np.zeros((n_rows, n_features)), None, n_rows, n_rows, 1, penalties
    ) as session:
        session.loss_gradient(np.arange(n_rows), params)
        outputs = session._work("units")[session._offsets.table[0, 0] :][: n_rows * n_features]
    assert set(outputs) == {0.0, 1 / 0.7}
    assert (outputs == 0).mean() == pytest.approx(0.3, abs=0.01)


def test_gradient_norms_and_constant_units(backend, rng):
    network, _, _, gradient, _, epochs = one_update(backend, Penalties(), rng, activation="relu")
    norms = [np.linalg.norm(coef) for coef in network.views(gradient)[0]]
    np.testing.assert_allclose(epochs.gradient_norms[0], norms, rtol=1e-5)
    assert epochs.constant_units.shape == (1, 2)
    network, params, _, Y, data = make_problem("SquaredError", "relu", (7, 6), np.float64, rng)
    _, intercepts = network.views(params)
    intercepts[0][:3] = -100
    with backend.Session(network, params.dtype, data, Y, None, 23, 23, 1, Penalties()) as session:
        epochs = session.run_epochs(np.arange(23), np.zeros(1), params, start_optimizer("sgd", params))
    assert epochs.constant_units[0, 0] >= 3 / 7


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


def test_batch_without_weight_is_skipped(backend, rng):
    network, params, _, Y, data = make_problem("SquaredError", "relu", (4,), np.float64, rng, n_rows=20)
    weights = np.ones(20)
    weights[:10] = 0
    optimizer = start_optimizer("sgd", params)
    with backend.Session(network, params.dtype, data, Y, weights, 10, 10, 1, Penalties()) as session:
        before = params.copy()
        assert run_epochs(session, np.arange(10), 0.01, params, optimizer) == 0.0
        np.testing.assert_array_equal(params, before)
        assert optimizer.n_steps == 0
        assert run_epochs(session, np.arange(10, 20), 0.01, params, optimizer) > 0.0
        assert optimizer.n_steps == 1


def test_non_finite_loss_stops_the_epoch(backend, rng):
    network, params, _, Y, data = make_problem("SquaredError", "identity", (4,), np.float64, rng, n_rows=40)
    params[:] = 1e200
    optimizer = start_optimizer("sgd", params)
    with (
        backend.Session(network, params.dtype, data, Y, None, 1, 40, 1, Penalties()) as session,
        np.errstate(all="ignore"),
    ):
        assert np.isnan(run_epochs(session, np.arange(40), 0.01, params, optimizer))


def test_flat_vector_and_views(rng):
    network = Network((3, 4, 2), (ACTIVATIONS.get_key("relu"),), LOSSES["squared_error"]().key())
    params = rng.standard_normal(network.n_params)
    coefs, intercepts = network.views(params)
    for _ in range(2):
        assert network.flatten([coefs, intercepts], params.dtype) is params
    replaced = [coefs[0].copy(), coefs[1]]
    packed = network.flatten([replaced, intercepts], params.dtype)
    assert packed is not params
    np.testing.assert_array_equal(packed, params)
    assert network.flatten([coefs, intercepts], np.dtype(np.float32)).dtype == np.float32
    with pytest.raises(ValueError, match=r"coefs_\[0\] has shape \(4, 3\)"):
        network.flatten([[coefs[0].T, coefs[1]], intercepts], params.dtype)
    with pytest.raises(ValueError, match="intercepts_ has 1 arrays"):
        network.flatten([coefs, intercepts[:1]], params.dtype)


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
