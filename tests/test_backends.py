"""Devices: which there are, what is said where one is missing, and the same trainings on all of them."""

import pickle
import subprocess
import sys
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_iris
from test_optimizers import FourSlots, Run

from skbackprop import BackpropClassifier, BackpropRegressor
from skbackprop._compile import JIT, SIMULATED
from skbackprop._extras import how_to_install
from skbackprop.backends import cpu, get_backend, get_prediction_backend
from skbackprop.backends.data import as_rows
from skbackprop.functions.activations import ACTIVATIONS
from skbackprop.functions.groups import DENSE, Group
from skbackprop.functions.input_layers import INPUT_LAYERS, InputScale, bound_layers
from skbackprop.functions.losses import LOSSES
from skbackprop.functions.normalizations import NORMALIZATIONS
from skbackprop.functions.optimizers import OPTIMIZERS, RMSprop
from skbackprop.functions.penalties import Penalties
from skbackprop.functions.schedules import SCHEDULES
from skbackprop.network import Network
from skbackprop.testing import numerical_gradient, reference_loss, reference_raw_predict
from skbackprop.training.progress import OptimizerState

RATE = 0.01
GROUPS = (Group(0.5, 3.0), Group(0.1, 0.0)), (Group(2.0), Group()), (Group(0.1, 0.2), Group(3.0, 0.5))
EVERYTHING = Penalties(
    1e-3,
    0.5,
    (0.1, 0.3, 0.3),
    clip_norm=0.5,
    clip_value=0.2,
    max_norm=1.0,
    average=0.9,
    frozen=(1,),
    groups=GROUPS,
)


class Problem(NamedTuple):
    network: Network
    params: np.ndarray
    data: object
    X: np.ndarray
    Y: np.ndarray
    weights: np.ndarray


def make_problem(
    rng,
    dtype=np.float64,
    is_sparse=False,
    normalization=None,
    activations=("tanh", "gelu"),
    input_layers=(),
    parametric=False,
):
    """A classifier's network with an activation whose slope comes from the output and one whose slope does not."""
    X = (rng.standard_normal((17, 6)) * (rng.random((17, 6)) < 0.7)).astype(dtype)
    Y = rng.integers(0, 3, (17, 1)).astype(dtype)
    kinds = tuple(ACTIVATIONS.get_key(name) for name in activations)
    normalizing = None if normalization is None else NORMALIZATIONS.get_key(normalization)
    loss = LOSSES["log_loss"]().for_task("multiclass").key()
    network = Network((6, 8, 7, 3), kinds, loss, normalizing, bound_layers(input_layers, 6), parametric)
    params = (rng.standard_normal(network.n_params) * 0.4).astype(dtype)
    for name in ("scales_", "activation_alphas_"):
        for factors in network.arrays(params).get(name, []):
            factors[:] = rng.uniform(0.5, 1.5, factors.size)
    data = as_rows(sparse.csr_array(X) if is_sparse else X, np.dtype(dtype))
    return Problem(network, params, data, X, Y, np.random.default_rng(3).uniform(0.2, 2.0, 17))


def order_of_rows(n_rows, n_epochs):
    rng = np.random.default_rng(4)
    return np.concatenate([rng.permutation(n_rows) for _ in range(n_epochs)])


def train(session_of, problem, optimizer, penalties, n_epochs=2, batch_size=9, factors=None):
    """Everything that two epochs leave behind."""
    network, start, data, _, Y, weights = problem
    params = start.copy()
    state = OptimizerState.start(
        optimizer, SCHEDULES["constant"](), RATE, 0.5, 1, params, averages=penalties.average is not None
    )
    state.running = np.zeros(network.n_running)
    order = order_of_rows(len(Y), n_epochs)
    with session_of(network, params.dtype, data, Y, weights, batch_size, len(Y), 1, penalties, 7) as session:
        rates = np.full(n_epochs * session.n_batches, RATE)
        epochs = session.run_epochs(order, rates, params, state, factors)
        loss = session.loss(np.arange(len(Y)), params, state.running)
    return params, state.slots, state.average, state.carried, state.running, np.array([loss, state.n_steps]), *epochs


def train_naively(problem, optimizer, penalties, n_epochs=2, batch_size=9):
    """The parameters, their average and the epochs' losses, by numerical gradients of the naive network, without dropout."""
    network, start, _, X, Y, weights = problem
    params = start.astype(np.float64)
    average, losses = params.copy(), []
    coefs, _ = network.views(params)
    # Each group has its own rate and decay; layers that are frozen stay.
    groups = penalties.groups or (DENSE,) * len(network.stages)
    member, is_trained = np.empty((2, len(params))), np.ones(len(params), dtype=bool)
    for numbers, name in zip(member, ("rate", "decay"), strict=True):
        for layer, arrays in network.arrays_by_layer(numbers):
            of_weights, of_others = groups[layer.stage]
            for attribute, view in arrays.items():
                view[:] = getattr(of_weights if attribute == "coefs_" else of_others, name)
    for layer, arrays in network.arrays_by_layer(is_trained):
        for view in arrays.values() if layer.stage in penalties.frozen_stages(network.n_front) else ():
            view[:] = False
    kinds = {kind: np.equal(member.T, kind).all(axis=1) for kind in set(map(tuple, member.T))}
    runs = {kind: Run(optimizer, params[places]) for kind, places in kinds.items()}
    for order in order_of_rows(len(Y), n_epochs).reshape(n_epochs, -1):
        total = 0.0
        for rows in np.split(order, np.arange(batch_size, len(Y), batch_size)):

            def loss(values, rows=rows):
                return reference_loss(network, values, X[rows], Y[rows], weights[rows], penalties)

            # As scikit-learn's, each batch counts by its rows and not by their weights.
            total += loss(params) * len(rows)
            gradient = numerical_gradient(loss, params)
            if penalties.clip_value is not None:
                gradient = np.clip(gradient, -penalties.clip_value, penalties.clip_value)
            if penalties.clip_norm is not None:
                gradient *= min(1.0, penalties.clip_norm / np.linalg.norm(gradient))
            before = params.copy()
            for (rate, decay), run in runs.items():
                places = kinds[rate, decay]
                # What the limit of the norms and frozen layers have made of the last update.
                run.params[:] = params[places]
                params[places] = run.update(gradient[places], RATE * rate, decays=decay)
            if penalties.max_norm is not None:
                for coef in coefs[:-1]:
                    coef *= np.minimum(1.0, penalties.max_norm / np.linalg.norm(coef, axis=0))
            params[~is_trained] = before[~is_trained]
            average += (1.0 - (penalties.average or 0.0)) * (params - average)
        losses.append(total / len(Y))
    return params, average, np.array(losses)


def check_training(backend, problem, optimizer, penalties, tolerance=1e-9, **extent):
    """Training on the CPU is that of the naive network, and on other devices what it is on the CPU."""
    if backend.device != "cpu":
        expected = train(cpu.Session, problem, optimizer, penalties, **extent)
        assert_same(train(backend.Session, problem, optimizer, penalties, **extent), expected, tolerance)
        return
    # Which units are dropped only the kernels know.
    penalties = replace(penalties, dropout=())
    params, _, average, *_, losses, _, _ = train(cpu.Session, problem, optimizer, penalties, **extent)
    ours = params, params if penalties.average is None else average, losses
    expected = train_naively(problem, optimizer, penalties, **extent)
    assert_same(ours, expected, 2e-4 if params.dtype == np.float32 else 1e-6)


def assert_same(ours, expected, tolerance):
    for array, other in zip(ours, expected, strict=True):
        np.testing.assert_allclose(array, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("dtype", "is_sparse"), [(np.float32, False), (np.float64, True)])
def test_training_with_everything_at_once(dtype, is_sparse, backend_tier, rng):
    # Adam divides by roots of squares: what rounding makes of a tiny gradient shows in full.
    tolerance = 1e-4 if dtype == np.float32 else 1e-9
    check_training(
        backend_tier, make_problem(rng, dtype, is_sparse), OPTIMIZERS["nadam"](), EVERYTHING, tolerance=tolerance
    )


@pytest.mark.parametrize(
    ("name", "is_sparse", "normalization"),
    # Numerical gradients of intercepts before a batch normalization are noise, which Adam would scale up.
    [("adamw", False, "layer"), ("adamw", True, None), ("sgd", False, "batch"), ("sgd", True, None)],
)
def test_training_with_groups_of_parameters(name, is_sparse, normalization, backend, rng):
    """Each with its own factors of the learning rate and of the weight decay; weights are updated as soon as they can be."""
    settings = {"weight_decay": 0.5} if name == "adamw" else {}
    problem = make_problem(rng, is_sparse=is_sparse, normalization=normalization)
    check_training(backend, problem, OPTIMIZERS[name](**settings), Penalties(1e-2, groups=GROUPS))


@pytest.mark.parametrize("is_sparse", [False, True])
def test_factors_of_dropout_and_weight_decay(is_sparse, backend_tier, rng):
    """Half of them in the second epoch: as by another session, whose dropout and decay are half as large."""
    problem = make_problem(rng, is_sparse=is_sparse)
    network, start, data, _, Y, weights = problem
    rates = (0.25, 0.5, 0.25)
    factors = np.repeat([[1.0, 1.0], [0.5, 0.25]], 2, axis=0)
    ours = train(
        backend_tier.Session,
        problem,
        OPTIMIZERS["adamw"](weight_decay=0.5),
        Penalties(1e-2, 0.0, rates),
        factors=factors,
    )
    params, state = start.copy(), None
    for order, (of_dropout, of_decay) in zip(order_of_rows(17, 2).reshape(2, -1), factors[::2], strict=True):
        optimizer = OPTIMIZERS["adamw"](weight_decay=0.5 * of_decay)
        before, state = state, OptimizerState.start(optimizer, SCHEDULES["constant"](), RATE, 0.5, 1, params)
        if before is not None:
            state.restore(before)
        penalties = Penalties(1e-2, 0.0, tuple(of_dropout * rate for rate in rates))
        with backend_tier.Session(network, params.dtype, data, Y, weights, 9, 17, 1, penalties, 7) as session:
            session.run_epochs(order, np.full(2, RATE), params, state)
    np.testing.assert_array_equal(ours[0], params)
    np.testing.assert_array_equal(ours[1], state.slots)
    whole = train(backend_tier.Session, problem, OPTIMIZERS["adamw"](weight_decay=0.5), Penalties(1e-2, 0.0, rates))
    assert (whole[0] != params).any()


def test_groups_of_a_rate_are_as_without(backend, rng):
    problem = make_problem(rng, np.float32)
    plain, grouped = (
        train(backend.Session, problem, OPTIMIZERS["adamw"](), Penalties(1e-2, groups=groups))
        for groups in ((), (DENSE,) * 3)
    )
    for array, other in zip(plain, grouped, strict=True):
        np.testing.assert_array_equal(array, other)


@pytest.mark.parametrize("is_sparse", [False, True])
def test_rows_in_the_memory_of_others(is_sparse, backend, rng, monkeypatch):
    """Also with dropout, whose masks depend on the rows' numbers among those to train on, nothing is copied."""
    problem = make_problem(rng, is_sparse=is_sparse)
    index = rng.permutation(17)[:11]
    together = problem._replace(data=problem.data.selected(index), Y=problem.Y[:11], weights=problem.weights[:11])
    apart = together._replace(data=together.data.gathered())
    expected = train(backend.Session, apart, OPTIMIZERS["adam"](), EVERYTHING)
    if backend.device == "cpu":
        monkeypatch.setattr("skbackprop.backends.data.Rows.gathered", None)
    ours = train(backend.Session, together, OPTIMIZERS["adam"](), EVERYTHING)
    for array, other in zip(ours, expected, strict=True):
        np.testing.assert_array_equal(array, other)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_training_with_normalization(normalization, backend_tier, rng):
    problem = make_problem(rng, normalization=normalization)
    check_training(backend_tier, problem, OPTIMIZERS["sgd"](), Penalties(1e-2, dropout=(0.0, 0.2, 0.2)))


@pytest.mark.parametrize(
    "optimizer",
    [
        *(kind() for kind in OPTIMIZERS.values()),
        OPTIMIZERS["sgd"](nesterov=False),
        RMSprop(centered=True, momentum=0.5),
        FourSlots(share=0.3, decay=0.8),
    ],
    ids=repr,
)
def test_training_with_every_optimizer(optimizer, backend, rng):
    check_training(backend, make_problem(rng), optimizer, Penalties(1e-2))


@pytest.mark.parametrize("kind", INPUT_LAYERS.values())
@pytest.mark.parametrize("others", [False, True])
def test_training_with_every_input_layer(kind, others, backend_tier, rng):
    """Also two of them, of some columns each, with everything else at once."""
    columns, counts = ([5, 0, 2], [1, 2, 3]) if others else (None, [1, 2, 3, 2, 2, 1])
    layer = kind(columns, n_categories=counts) if kind.takes_codes else kind(columns)
    layers = [layer, InputScale()] if others else [layer]
    problem = make_problem(rng, input_layers=layers, normalization="layer" if others else None)
    if kind.takes_codes:
        # Also of categories that are not known, and numbers that are no codes.
        places = slice(None) if columns is None else columns
        problem.X[:, places] = rng.choice([-1.0, 0.0, 0.0, 0.5, 1.0, 2.0, 3.0], (17, len(counts)))
    groups = (Group(), Group(6.0, 0.0)), (Group(), Group(0.1, 0.0)), *GROUPS
    penalties = Penalties(1e-2)
    if others:
        # Inputs are not dropped together with input layers.
        penalties = replace(EVERYTHING, dropout=(0.0, 0.3, 0.3), frozen=(1,), groups=groups)
    # Adam divides by roots of squares: with a small epsilon, the noise of a tiny numerical gradient would show in full.
    check_training(backend_tier, problem, OPTIMIZERS["adam"](epsilon=1e-3), penalties)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_training_with_every_activation(activation, backend, rng):
    problem = make_problem(rng, activations=(activation, "relu"))
    check_training(backend, problem, OPTIMIZERS["sgd"](), Penalties(), n_epochs=1, batch_size=17)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_training_with_every_parametric_activation(activation, dtype, backend, rng):
    problem = make_problem(rng, dtype, activations=(activation, "relu"), parametric=True)
    penalties = Penalties(1e-2, groups=GROUPS)
    tolerance = 1e-4 if dtype == np.float32 else 1e-9
    check_training(backend, problem, OPTIMIZERS["sgd"](), penalties, tolerance, n_epochs=1, batch_size=9)


@pytest.mark.parametrize(
    ("dtype", "is_sparse", "normalization", "input_layers"),
    [
        (np.float32, False, None, ()),
        (np.float64, True, None, ()),
        (np.float64, True, "batch", ()),
        (np.float64, False, "layer", [InputScale()]),
    ],
)
def test_parametric_activations_with_everything_at_once(
    dtype, is_sparse, normalization, input_layers, backend_tier, rng
):
    problem = make_problem(
        rng, dtype, is_sparse, normalization, input_layers=input_layers, activations=("tanh", "gelu"), parametric=True
    )
    penalties = EVERYTHING
    if input_layers:
        groups = (Group(), Group(6.0, 0.0)), *GROUPS
        penalties = replace(EVERYTHING, dropout=(0.0, 0.3, 0.3), groups=groups)
    tolerance = 1e-4 if dtype == np.float32 else 1e-9
    # Adam would scale up the noise of numerical gradients of intercepts before a batch normalization.
    optimizer = OPTIMIZERS["sgd"]() if normalization == "batch" else OPTIMIZERS["adam"](epsilon=1e-3)
    check_training(backend_tier, problem, optimizer, penalties, tolerance)


@pytest.mark.parametrize("normalization", [None, *NORMALIZATIONS])
def test_gradients_of_parametric_activations_go_through_dropout(normalization, backend, rng):
    """The units that are dropped are the same whenever the gradient is computed."""
    problem = make_problem(rng, normalization=normalization, activations=("relu", "gelu"), parametric=True)
    network, params, data, _, Y, weights = problem
    penalties, order = Penalties(dropout=(0.2, 0.4, 0.4)), np.arange(17)
    with backend.Session(network, params.dtype, data, Y, weights, 17, 17, 1, penalties, 7) as session:
        _, gradient = session.loss_gradient(order, params)
        gradient = gradient.copy()
        expected = numerical_gradient(lambda values: session.loss_gradient(order, values)[0], params)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-7)
    with backend.Session(network, params.dtype, data, Y, weights, 17, 17, 1, Penalties(), 7) as session:
        _, whole = session.loss_gradient(order, params)
    for ours, other in zip(*(network.arrays(grads)["activation_alphas_"] for grads in (gradient, whole)), strict=True):
        assert (ours != other).any()


def test_parametric_activations_begin_as_the_activations(backend, rng):
    """The same bits; a gradient of the activation's own parameters besides."""
    plain, own = (make_problem(np.random.default_rng(0), np.float32, parametric=choice) for choice in (False, True))
    for views in own.network.arrays(own.params).values():
        for view in views:
            view[...] = 1
    for name, views in plain.network.arrays(plain.params).items():
        for view, other in zip(own.network.arrays(own.params)[name], views, strict=True):
            view[...] = other
    results, penalties = [], Penalties(1e-3, 0.5, (0.1, 0.3, 0.3))
    for network, params, data, _, Y, weights in (plain, own):
        with backend.Session(network, params.dtype, data, Y, weights, 17, 17, 1, penalties, 7) as session:
            loss, gradient = session.loss_gradient(np.arange(17), params)
            results.append((loss, network.arrays(gradient.copy()), backend.predict(network, params, data, 1)))
    (loss, arrays, predictions), (own_loss, own_arrays, own_predictions) = results
    np.testing.assert_array_equal(own_predictions, predictions)
    assert own_loss == loss
    for name, views in arrays.items():
        for view, other in zip(own_arrays[name], views, strict=True):
            np.testing.assert_array_equal(view, other)
    assert all(alphas.any() for alphas in own_arrays["activation_alphas_"])


def test_sums_of_parametric_activations_over_blocks_of_rows(backend_tier, rng, monkeypatch):
    problem = make_problem(rng, normalization="layer", parametric=True)
    expected = train(cpu.Session, problem, OPTIMIZERS["sgd"](), Penalties(1e-2))
    owner = "cpu" if backend_tier.device == "cpu" else "cuda.session"
    monkeypatch.setattr(f"skbackprop.backends.{owner}._block_rows", lambda network, itemsize, n_rows: 4)
    ours = train(backend_tier.Session, problem, OPTIMIZERS["sgd"](), Penalties(1e-2))
    assert_same(ours[:-1], expected[:-1], 1e-9)


def test_blocks_of_rows(backend_tier, rng, monkeypatch):
    """A batch that does not fit the workspace is the same batch."""
    problem = make_problem(rng, normalization="layer")
    expected = train(cpu.Session, problem, OPTIMIZERS["sgd"](), Penalties(1e-2))
    owner = "cpu" if backend_tier.device == "cpu" else "cuda.session"
    monkeypatch.setattr(f"skbackprop.backends.{owner}._block_rows", lambda network, itemsize, n_rows: 4)
    ours = train(backend_tier.Session, problem, OPTIMIZERS["sgd"](), Penalties(1e-2))
    # Units are constant over the rows of a block.
    assert_same(ours[:-1], expected[:-1], 1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_networks_that_do_not_fit_a_block_s_own_memory(dtype, backend, rng, monkeypatch):
    if backend.device == "cpu":
        pytest.skip("of the GPU's memory")
    problem = make_problem(rng, dtype)
    staged = train(backend.Session, problem, OPTIMIZERS["adam"](), Penalties(1e-2))
    monkeypatch.setattr("skbackprop.backends.cuda.session._SHARED_BYTES", 0)
    for array, other in zip(
        train(backend.Session, problem, OPTIMIZERS["adam"](), Penalties(1e-2)), staged, strict=True
    ):
        np.testing.assert_array_equal(array, other)


def test_the_same_bits_on_every_run(backend, rng):
    problem = make_problem(rng, np.float32)
    runs = [train(backend.Session, problem, OPTIMIZERS["adam"](), EVERYTHING) for _ in range(2)]
    for array, other in zip(*runs, strict=True):
        np.testing.assert_array_equal(array, other)


@pytest.mark.parametrize("tier", ["cooperative", "stepwise"])
def test_products_on_tensor_cores(tier, backend, rng):
    """Forward, backward and gradient of layers that are large for the simulator; edges of tiles lie within all of them."""
    if backend.device == "cpu":
        pytest.skip("of the GPU's products")
    rows, hidden = (9, 17) if SIMULATED else (300, 170)
    X, Y = rng.standard_normal((2, rows, 7 if SIMULATED else 130)).astype(np.float32)
    loss = LOSSES["squared_error"]().for_task("regression").key()
    network = Network((X.shape[1], hidden, Y.shape[1]), (ACTIVATIONS.get_key("tanh"),), loss, None)
    params = (rng.standard_normal(network.n_params) * 0.3).astype(np.float32)
    weights = np.ones(rows)
    problem = Problem(network, params, as_rows(X, np.dtype(np.float32)), X, Y, weights)
    training = {"optimizer": OPTIMIZERS["sgd"](), "penalties": Penalties(), "n_epochs": 1, "batch_size": rows}
    session = partial(backend.Session.func, tier=tier)
    expected = train(cpu.Session, problem, **training)
    ours = train(partial(session, precision="tf32"), problem, **training)
    # Of ten bits of fraction.
    assert_same(ours, expected, 1e-3)
    assert np.abs(ours[0] - expected[0]).max() > 1e-7
    again = train(partial(session, precision="tf32"), problem, **training)
    for array, other in zip(again if tier == "stepwise" else ours, ours, strict=True):
        np.testing.assert_array_equal(array, other)
    predictions = backend.predict(network, params, problem.data, precision="tf32")
    full = cpu.predict(network, params, problem.data, 1)
    np.testing.assert_allclose(predictions, full, rtol=2e-3, atol=2e-3)
    assert np.abs(predictions - full).max() > 1e-6


def test_rounding_to_tf32(backend):
    if not SIMULATED:
        pytest.skip("of the simulator's twin")
    from skbackprop.backends.cuda.tensor_cores import to_tf32

    given = [0.0, -0.0, 1.0, 1 + 2**-10, 1 + 2**-11, -1 - 2**-11, 1 + 2**-12, np.pi, np.inf, -np.inf]
    expected = [0.0, -0.0, 1.0, 1 + 2**-10, 1 + 2**-10, -1 - 2**-10, 1.0, 3.140625, np.inf, -np.inf]
    ours = np.array([to_tf32(np.float32(x)) for x in given])
    np.testing.assert_array_equal(ours, expected)
    assert np.isnan(to_tf32(np.float32(np.nan)))
    assert list(np.signbit(ours[:2])) == [False, True]


def test_tensor_cores_that_are_not_there(monkeypatch, rng):
    X, y = rng.standard_normal((30, 4)), rng.integers(0, 2, 30)
    with pytest.raises(ValueError, match="precision='tf32' is for GPUs, but device='cpu': set precision='full'"):
        BackpropClassifier(precision="tf32").fit(X, y)
    with pytest.raises(ValueError, match="precision='tf32' is for weights of float32, and these are float64"):
        BackpropClassifier(precision="tf32", device="auto").fit(X, y)
    # There is too little work to go to a GPU.
    settings = {"solver": "lbfgs", "alpha": 1.0, "random_state": 0}
    model = BackpropClassifier((3,), precision="tf32", device="auto", **settings).fit(X.astype(np.float32), y)
    assert model.device_ == "cpu"
    assert model.predict(X.astype(np.float32)).shape == (30,)
    monkeypatch.setattr("skbackprop.backends._reason", lambda device: None)
    monkeypatch.setattr("skbackprop.backends._capability", lambda device: (7, 5))
    message = r"precision='tf32' needs a GPU of compute capability 8\.0 or later, and device='cuda' has 7\.5"
    with pytest.raises(RuntimeError, match=message):
        get_backend("cuda", precision="tf32")
    if SIMULATED:
        # Models of other GPUs predict there nevertheless.
        assert get_prediction_backend("cuda", precision="tf32").predict.keywords["precision"] == "full"


def test_predictions_in_parts(backend, rng, monkeypatch):
    owner = "cpu" if backend.device == "cpu" else "cuda.session"
    for is_sparse in (False, True):
        network, params, data, X, *_ = make_problem(rng, is_sparse=is_sparse)
        monkeypatch.setattr(f"skbackprop.backends.{owner}._block_rows", lambda network, itemsize, n_rows: 7)
        predictions = backend.predict(network, params, data, 1, link=False)
        np.testing.assert_allclose(predictions, reference_raw_predict(network, params, X), rtol=1e-12)


OPTIONS = {
    "plain": {"alpha": 0.01, "dropout": 0.2},
    "early stopping": {"early_stopping": True, "n_iter_no_change": 1, "validation_fraction": 0.3},
    "lbfgs": {"solver": "lbfgs", "max_iter": 4},
    "averaging": {"averaging": 0.9, "restore_best_weights": True, "early_stopping": True, "normalization": "batch"},
    "schedule": {
        "solver": "sgd",
        "learning_rate": "adaptive",
        "learning_rate_init": 0.1,
        "tol": 1.0,
        "n_iter_no_change": 1,
    },
}


@pytest.mark.usefixtures("_everywhere_the_device")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:lbfgs failed")
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_estimators_are_as_on_the_cpu(options, backend):
    if backend.device == "cpu":
        pytest.skip("of other devices")
    X, y = load_iris(return_X_y=True)
    X, y = X[::5], y[::5]
    settings = {"hidden_layer_sizes": (6,), "max_iter": 3, "batch_size": 15, "random_state": 0, **options}
    expected = BackpropClassifier(**settings).fit(X, y)
    ours = BackpropClassifier(**settings, device="cuda").fit(X, y)
    assert ours.n_iter_ == expected.n_iter_
    np.testing.assert_allclose(ours.loss_, expected.loss_, rtol=1e-7)
    np.testing.assert_allclose(ours.predict_proba(X), expected.predict_proba(X), rtol=1e-6, atol=1e-9)
    assert all(type(coef) is np.ndarray for coef in ours.coefs_)


@pytest.mark.usefixtures("_everywhere_the_device")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_trainings_that_go_on_are_as_on_the_cpu(backend):
    if backend.device == "cpu":
        pytest.skip("of other devices")
    X, y = load_iris(return_X_y=True)
    X, y = X[::5].astype(np.float32), X[::5, 0]
    models = []
    for device in ("cpu", "cuda"):
        model = BackpropRegressor(hidden_layer_sizes=(5,), max_iter=2, random_state=0, warm_start=True, device=device)
        models.append(model.fit(X, y).fit(X, y).partial_fit(X, y).partial_fit(X, y))
    np.testing.assert_allclose(models[1].loss_curve_, models[0].loss_curve_, rtol=1e-4)
    np.testing.assert_allclose(models[1].predict(X), models[0].predict(X), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_device_of_a_fit(rng):
    X, y = rng.standard_normal((30, 4)), rng.integers(0, 2, 30)
    model = BackpropClassifier((3,), max_iter=5).fit(X, y)
    assert model.device_ == "cpu"
    # There is too little work to go anywhere else.
    assert BackpropClassifier((3,), max_iter=5, device="auto").fit(X, y).device_ == "cpu"


@pytest.mark.parametrize("device", ["tpu", "cuda:", "cuda:-1", "gpu", ""])
def test_unknown_devices(device, rng):
    for get in (get_backend, get_prediction_backend):
        with pytest.raises(ValueError, match=f"device='{device}' is not known; choose 'cpu', 'cuda'"):
            get(device)
    with pytest.raises(ValueError, match="is not known"):
        BackpropClassifier(device=device).fit(rng.standard_normal((9, 2)), np.arange(9) % 2)


@pytest.fixture
def _no_gpu(monkeypatch):
    monkeypatch.setattr(
        "skbackprop.backends._reason", lambda device: None if device == "cpu" else "no GPU: pip install it"
    )


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.usefixtures("_no_gpu")
def test_a_missing_gpu_is_an_error_of_training_only(rng):
    X, y = rng.standard_normal((30, 4)), rng.integers(0, 2, 30)
    model = BackpropClassifier((3,), max_iter=5).fit(X, y)
    trained_there = pickle.loads(pickle.dumps(model.set_params(device="cuda:0")))
    np.testing.assert_array_equal(trained_there.predict_proba(X), model.set_params(device="cpu").predict_proba(X))
    with pytest.raises(
        RuntimeError, match="device='cuda:0' cannot be used: no GPU: pip install it; or choose device='cpu'"
    ):
        trained_there.fit(X, y)
    # What it was before the failure.
    assert hasattr(trained_there, "coefs_")
    assert get_backend("auto", 1e15).device == "cpu"


@pytest.mark.skipif(SIMULATED, reason="the simulator is a device")
def test_what_is_missing_is_said():
    """In words of what to install, whichever of the three it is."""
    from skbackprop.backends.cuda import unavailable_reason

    reason = unavailable_reason()
    if reason is None:
        assert "numbered from 0" in unavailable_reason(10**6)
    else:
        assert how_to_install("cuda") in reason
        with pytest.raises(RuntimeError, match=r"device='cuda' cannot be used: .*numba-cuda\[cu13\]"):
            get_backend("cuda")


@pytest.mark.process
@pytest.mark.skipif(not JIT, reason="the package itself is what is asked about")
def test_the_cpu_imports_no_cuda():
    code = (
        "import sys, numpy as np; from skbackprop import BackpropClassifier; "
        "BackpropClassifier((3,), max_iter=5).fit(np.eye(6), [0, 1] * 3).predict(np.eye(6)); "
        "assert not any(name.startswith(('numba.cuda', 'numba_cuda')) for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_memory_is_estimated_before_it_is_taken(backend, rng, monkeypatch):
    if backend.device == "cpu":
        pytest.skip("of the GPU's memory")
    from skbackprop.backends.cuda.device import Device

    network, params, data, _, Y, _ = make_problem(rng)
    session = partial(backend.Session, network, params.dtype, data, Y, None, 17, 17, 1, Penalties())
    monkeypatch.setattr(Device, "free_bytes", lambda self: 1000.0)
    with pytest.raises(
        MemoryError, match=r"this training needs 0\.00 GiB of memory on the GPU, of which 0\.00 GiB is free"
    ):
        session().__enter__()
    with pytest.raises(MemoryError, match="this prediction needs"):
        backend.predict(network, params, data)
    monkeypatch.undo()

    def full(*_):
        raise RuntimeError("[CUresult.CUDA_ERROR_OUT_OF_MEMORY] Call to cuMemAlloc results in an error")

    monkeypatch.setattr(Device, "upload", full)
    with pytest.raises(MemoryError, match="this training needs"):
        session().__enter__()
    monkeypatch.undo()
    # The device stays usable.
    with session() as open_session:
        assert np.isfinite(open_session.loss(np.arange(17), params))


@pytest.mark.gpu
def test_digits_on_a_gpu():
    """What the benchmark asks before it measures: gradients within 1e-5 of float64, losses within 1e-4 of the CPU's."""
    from skbackprop.backends.cuda import unavailable_reason

    if SIMULATED or (reason := unavailable_reason()) is not None:
        pytest.skip("the simulator would take hours" if SIMULATED else reason)
    pytest.importorskip("benchmarks.gpu").check("cuda")
