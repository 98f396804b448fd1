"""Batch and layer normalization: gradients, running statistics, and what estimators keep of them."""

import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy import sparse
from scipy.special import softmax
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV

from skbackprop import BackpropClassifier, BackpropRegressor
from skbackprop._compile import JIT, SIMULATED
from skbackprop.backends import cpu
from skbackprop.backends.data import as_rows
from skbackprop.functions import BatchNormalization, LayerNormalization
from skbackprop.functions.activations import ACTIVATIONS
from skbackprop.functions.losses import LOSSES
from skbackprop.functions.normalizations import NORMALIZATIONS
from skbackprop.functions.optimizers import OPTIMIZERS
from skbackprop.functions.penalties import Penalties
from skbackprop.functions.schedules import SCHEDULES
from skbackprop.network import Network
from skbackprop.testing import numerical_gradient, reference_loss, reference_predict
from skbackprop.training.collective import ThreadCollective
from skbackprop.training.progress import OptimizerState

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

DTYPES = [np.float32, np.float64]
#: Losses by name, the task and the numbers of targets and of outputs.
TASKS = {"log_loss": ("multiclass", 1, 3), "squared_error": ("regression", 1, 1), "poisson": ("regression", 2, 2)}


def make_problem(normalization, loss, activation, rng, dtype=np.float64, hidden=(7, 6), n_rows=23, is_sparse=False):
    """A network with random parameters, and data for it."""
    task, n_targets, n_outputs = TASKS[loss]
    network = Network(
        (5, *hidden, n_outputs),
        (ACTIVATIONS.get_key(activation),) * len(hidden),
        LOSSES[loss]().for_task(task).key(),
        NORMALIZATIONS.get_key(normalization),
    )
    X = rng.standard_normal((n_rows, 5)) * (rng.random((n_rows, 5)) < 0.7)
    Y = rng.integers(0, 3, (n_rows, n_targets)).astype(float)
    params = rng.standard_normal(network.n_params) * 0.4
    for scale in network.arrays(params)["scales_"]:
        scale += 1.0
    data = as_rows(sparse.csr_array(X) if is_sparse else X.astype(dtype), np.dtype(dtype))
    return network, params.astype(dtype), X.astype(dtype), Y.astype(dtype), data


def start_optimizer(network, params, solver="sgd", averages=False):
    optimizer = OptimizerState.start(OPTIMIZERS[solver](), SCHEDULES["constant"](), 0.01, 0.5, 1, params, averages)
    optimizer.running = network.initial_running()
    return optimizer


def weighted_inputs(network, params, X):
    """The weighted inputs of the first hidden layer."""
    coefs, intercepts = network.views(params.astype(float))
    return X @ coefs[0] + intercepts[0]


@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize(
    "activation", ["tanh", "gelu"] if SIMULATED else ["tanh", "relu", "gelu", "logistic", "softplus"]
)
@pytest.mark.parametrize("loss", TASKS)
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_gradients_are_numerical_gradients(normalization, loss, activation, is_sparse, backend, rng):
    network, params, X, Y, data = make_problem(normalization, loss, activation, rng, is_sparse=is_sparse)
    weights = rng.uniform(0.2, 2.0, len(X))
    penalties = Penalties(0.1, l1_ratio=0.5 if is_sparse else 0.0)
    with backend.Session(network, params.dtype, data, Y, weights, len(X), len(X), 1, penalties) as session:
        loss_value, gradient = session.loss_gradient(np.arange(len(X)), params)
    expected = numerical_gradient(lambda p: reference_loss(network, p, X, Y, weights, penalties), params)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-7)
    assert loss_value == pytest.approx(reference_loss(network, params, X, Y, weights, penalties), rel=1e-12)


@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("stops", [[11], [0, 5, 6], [23]], ids=str)
def test_batches_of_several_workers_are_normalized_together(stops, n_jobs, is_sparse, rng):
    network, params, X, Y, _ = make_problem("batch", "log_loss", "tanh", rng)
    weights, n_rows = rng.uniform(0.2, 2.0, len(X)), len(X)

    def run(rows, workers):
        order = np.arange(rows.start, rows.stop)
        own = as_rows(X[rows] if not is_sparse else sparse.csr_array(X[rows]), params.dtype)
        arguments = own, Y[rows], weights[rows], n_rows, len(order), n_jobs, Penalties(0.1)
        with cpu.Session(network, params.dtype, *arguments, workers=workers) as session:
            loss, gradient = session.loss_gradient(order - rows.start, params)
            gradient, trained, optimizer = gradient.copy(), params.copy(), start_optimizer(network, params)
            losses = session.run_epochs(np.tile(order - rows.start, 2), np.full(2, 0.1), trained, optimizer).losses
            after = session.loss(order - rows.start, trained, optimizer.running)
        return np.hstack((loss, gradient, losses, trained, optimizer.running, after))

    whole = run(slice(0, n_rows), None)
    bounds = [0, *stops, n_rows]
    workers = ThreadCollective.team(len(bounds) - 1)
    with ThreadPoolExecutor(len(workers)) as pool:
        parts = list(pool.map(run, map(slice, bounds[:-1], bounds[1:]), workers))
    for part in parts:
        np.testing.assert_array_equal(part, parts[0])
        np.testing.assert_allclose(part, whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("n_units", [2, 5, 16, 19])
def test_gradients_for_layers_of_any_width(n_units, normalization, backend, rng):
    network, params, X, Y, data = make_problem(normalization, "squared_error", "tanh", rng, hidden=(n_units,), n_rows=8)
    with backend.Session(network, params.dtype, data, Y, None, 8, 8, 1, Penalties()) as session:
        gradient = session.loss_gradient(np.arange(8), params)[1]
    expected = numerical_gradient(lambda p: reference_loss(network, p, X, Y), params)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_gradients_through_dropout(normalization, rng):
    network, params, _, Y, data = make_problem(normalization, "squared_error", "tanh", rng)

    def loss_gradient(values):
        penalties = Penalties(dropout=(0.2, 0.5, 0.3))
        with cpu.Session(network, params.dtype, data, Y, None, 23, 23, 1, penalties, 5) as session:
            loss, gradient = session.loss_gradient(np.arange(23), values)
            return loss, gradient.copy()

    expected = numerical_gradient(lambda p: loss_gradient(p)[0], params)
    np.testing.assert_allclose(loss_gradient(params)[1], expected, rtol=1e-5, atol=1e-7)


def test_layer_normalization_in_blocks(monkeypatch, rng):
    problem = make_problem("layer", "log_loss", "tanh", rng, n_rows=50)
    network, params, _, Y, data = problem

    def gradient():
        with cpu.Session(network, params.dtype, data, Y, None, 50, 50, 1, Penalties()) as session:
            return session.loss_gradient(np.arange(50), params)[1].copy()

    whole = gradient()
    monkeypatch.setattr(cpu, "_block_rows", lambda network, itemsize, n_rows: 24)
    blocks = gradient()
    if JIT:
        np.testing.assert_array_equal(blocks, whole)
    else:
        np.testing.assert_allclose(blocks, whole, rtol=1e-10, atol=1e-12)


def test_intercepts_before_batch_normalization_stay(backend, rng):
    """Their gradient is zero, not what rounding leaves of it, from which Adam would make full steps."""
    network, params, _, Y, data = make_problem("batch", "squared_error", "tanh", rng)
    before = [intercept.copy() for intercept in network.views(params)[1]]
    optimizer = start_optimizer(network, params, "adam")
    with backend.Session(network, params.dtype, data, Y, None, 8, 23, 1, Penalties()) as session:
        session.run_epochs(np.arange(23), np.full(3, 0.01), params, optimizer)
    after = network.views(params)[1]
    for old, new in zip(before[:-1], after[:-1], strict=True):
        np.testing.assert_array_equal(old, new)
    assert (before[-1] != after[-1]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_running_means_and_variances(dtype, backend, rng):
    """Plain averages of the first mini-batches, then a moving one; variances unbiased."""
    network, params, X, Y, data = make_problem(BatchNormalization(momentum=0.6), "log_loss", "relu", rng, dtype)
    optimizer = start_optimizer(network, params)
    batches = [np.arange(start, min(start + 6, 23)) for start in range(0, 23, 6)]
    with backend.Session(network, params.dtype, data, Y, None, 6, 23, 1, Penalties()) as session:
        session.run_epochs(np.tile(np.arange(23), 2), np.zeros(8), params, optimizer)
    mean, variance = 0.0, 1.0
    for count, batch in enumerate(batches * 2):
        z = weighted_inputs(network, params, X[batch])
        rate = max(0.4, 1 / (count + 1))
        mean = (1 - rate) * mean + rate * z.mean(axis=0)
        variance = (1 - rate) * variance + rate * z.var(axis=0, ddof=1)
    means, variances, counts = [network.arrays(params, optimizer.running)[name] for name in network.attributes[1]]
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(means[0], mean, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(variances[0], variance, rtol=tolerance, atol=tolerance)
    assert [count[0] for count in counts] == [8, 8]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_predictions_and_losses_are_those_of_the_naive_network(normalization, is_sparse, dtype, backend, rng):
    network, params, X, Y, data = make_problem(normalization, "poisson", "silu", rng, dtype, is_sparse=is_sparse)
    running = rng.uniform(0.5, 2.0, network.n_running)
    expected = reference_predict(network, params, X, running)
    tolerance = 1e-4 if dtype == np.float32 else 1e-12
    for rows, part in ((data, slice(None)), (as_rows(X[:1], np.dtype(dtype)), slice(1))):
        predictions = backend.predict(network, params, rows, 1, running=running)
        np.testing.assert_allclose(predictions, expected[part], rtol=tolerance)
    with backend.Session(network, params.dtype, data, Y, None, 23, 23, 1, Penalties(), trains=False) as session:
        loss = session.loss(np.arange(23), params, running)
    terms = expected - Y * np.log(expected)
    known = np.where(Y > 0, Y * np.log(np.maximum(Y, 1)) - Y, 0.0)
    assert loss == pytest.approx((terms + known).sum(axis=1).mean(), rel=tolerance)


def train_bits(normalization, n_threads, dtype, is_sparse=False, batch_size=50, penalties=None, activation="tanh"):
    rng = np.random.default_rng(1)
    network, params, _, Y, data = make_problem(
        normalization, "log_loss", activation, rng, dtype, (70, 33), n_rows=303, is_sparse=is_sparse
    )
    penalties = penalties or Penalties(1e-3)
    optimizer = start_optimizer(network, params, "adam", averages=penalties.average is not None)
    weights = rng.uniform(0.5, 1.5, 303)
    losses = []
    with cpu.Session(network, params.dtype, data, Y, weights, batch_size, 303, n_threads, penalties) as session:
        assert session._team.n_threads == n_threads
        for _ in range(3):
            rates = np.full(session.n_batches, 0.01)
            losses.extend(session.run_epochs(rng.permutation(303), rates, params, optimizer).losses)
    predictions = cpu.predict(network, params, data, n_threads, running=optimizer.running)
    return params, np.array(losses), predictions, optimizer.average, optimizer.running


EVERYTHING = Penalties(
    1e-3, 0.5, (0.1, 0.3, 0.3), clip_norm=0.5, clip_value=0.2, max_norm=1.0, average=0.9, frozen=(1,)
)


@pytest.mark.skipif(not JIT, reason="interpreted kernels run on one thread")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", [{}, {"is_sparse": True}, {"batch_size": 303}, {"penalties": EVERYTHING}])
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_same_bits_for_any_number_of_threads(normalization, options, dtype, monkeypatch):
    monkeypatch.setattr("skbackprop.backends.cpu.threads.available_threads", lambda: 4)
    reference = train_bits(normalization, 1, dtype, **options)
    for n_threads in (2, 3):
        for ours, one in zip(train_bits(normalization, n_threads, dtype, **options), reference, strict=True):
            np.testing.assert_array_equal(ours, one)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_several_epochs_in_one_call(normalization, backend, rng):
    network, start, _, Y, data = make_problem(normalization, "poisson", "gelu", rng)
    orders = [rng.permutation(23) for _ in range(3)]
    together, one_by_one = start.copy(), start.copy()
    with backend.Session(network, start.dtype, data, Y, None, 11, 23, 1, Penalties(0.1)) as session:
        optimizer = start_optimizer(network, start)
        first = session.run_epochs(np.concatenate(orders), np.full(3 * session.n_batches, 0.01), together, optimizer)
        running = optimizer.running
        optimizer = start_optimizer(network, start)
        losses = [
            session.run_epochs(order, np.full(session.n_batches, 0.01), one_by_one, optimizer).losses[0]
            for order in orders
        ]
    np.testing.assert_array_equal(together, one_by_one)
    np.testing.assert_array_equal(running, optimizer.running)
    np.testing.assert_array_equal(first.losses, losses)


def test_last_batch_of_one_row_is_left_out(backend, rng):
    network, params, _, Y, data = make_problem("batch", "log_loss", "relu", rng, n_rows=21)
    shorter = params.copy()
    order = rng.permutation(21)
    with backend.Session(network, params.dtype, data, Y, None, 10, 21, 1, Penalties()) as session:
        assert session.n_batches == 2
        optimizer = start_optimizer(network, params)
        loss = session.run_epochs(np.tile(order, 2), np.full(4, 0.1), params, optimizer).losses
    with backend.Session(network, params.dtype, data, Y, None, 10, 20, 1, Penalties()) as session:
        expected = session.run_epochs(
            np.tile(order[:20], 2), np.full(4, 0.1), shorter, start_optimizer(network, params)
        ).losses
    np.testing.assert_array_equal(loss, expected)
    np.testing.assert_array_equal(params, shorter)


def test_flat_vectors_and_views(rng):
    network, params, *_ = make_problem("batch", "poisson", "relu", rng)
    running = rng.standard_normal(network.n_running)
    arrays = network.arrays(params, running)
    coefs, intercepts, scales, offsets = groups = [arrays[name] for name in network.attributes[0]]
    assert [array.shape for array in (*scales, *offsets)] == [(7,), (6,)] * 2
    assert sum(array.size for array in (*coefs, *intercepts, *scales, *offsets)) == network.n_params == params.size
    for _ in range(2):
        assert network.flatten(groups, params.dtype) is params
    copied = network.flatten([coefs, intercepts, [scales[0].copy(), scales[1]], offsets], params.dtype)
    assert copied is not params
    np.testing.assert_array_equal(copied, params)
    with pytest.raises(ValueError, match="scales_ has 0 arrays; this network has 2 layers"):
        network.flatten([coefs, intercepts, [], []], params.dtype)
    np.testing.assert_array_equal(network.flatten_running([arrays[name] for name in network.attributes[1]]), running)


# Estimators

X, Y = load_digits(return_X_y=True)
X, Y = X / 16, Y
# Interpreted, few rows take long enough.
X_TRAIN, Y_TRAIN, X_TEST, Y_TEST = (X[:1200], Y[:1200], X[1200:], Y[1200:]) if JIT else (X[:60], Y[:60], X[:40], Y[:40])
compiled_only = pytest.mark.skipif(not JIT, reason="interpreted training of a real model takes long")


def make(normalization, **settings):
    settings = {"hidden_layer_sizes": (16, 12), "max_iter": 8 if JIT else 2, "random_state": 0, **settings}
    return BackpropClassifier(normalization=normalization, **settings)


def naive_probabilities(model, rows):
    """A fitted network, written out."""
    a = rows
    for layer, (coef, intercept) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        z = a @ coef + intercept
        if layer == len(model.coefs_) - 1:
            return softmax(z, axis=1)
        if hasattr(model, "running_means_"):
            z = (z - model.running_means_[layer]) / np.sqrt(model.running_variances_[layer] + 1e-5)
        else:
            z = (z - z.mean(axis=1, keepdims=True)) / np.sqrt(z.var(axis=1, keepdims=True) + 1e-5)
        a = np.maximum(0, model.scales_[layer] * z + model.offsets_[layer])


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"dropout": 0.2},
        {"early_stopping": True},
        {"restore_best_weights": True},
        {"averaging": 0.9},
        {"early_stopping": True, "averaging": 0.9, "scoring": "accuracy"},
    ],
    ids=lambda settings: "-".join(settings),
)
def test_predictions_after_training(settings, normalization):
    model = make(normalization, **settings).fit(X_TRAIN, Y_TRAIN)
    expected = naive_probabilities(model, X_TEST)
    np.testing.assert_allclose(model.predict_proba(X_TEST), expected, rtol=1e-9, atol=1e-12)
    for copy in (pickle.loads(pickle.dumps(model)), model.__class__(**model.get_params()).fit(X_TRAIN, Y_TRAIN)):
        np.testing.assert_array_equal(copy.predict_proba(X_TEST), model.predict_proba(X_TEST))
    if settings.get("early_stopping"):
        assert model.best_validation_score_ == max(model.validation_scores_)


@compiled_only
@pytest.mark.parametrize("normalization", [*NORMALIZATIONS, BatchNormalization(momentum=0.99, epsilon=1e-3)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_digits(dtype, normalization):
    model = make(normalization, dtype=dtype, hidden_layer_sizes=(40, 40), max_iter=40).fit(X_TRAIN, Y_TRAIN)
    assert model.score(X_TEST, Y_TEST) > 0.88
    assert model.score(X_TRAIN, Y_TRAIN) > 0.98
    assert model.scales_[0].dtype == model.coefs_[0].dtype == dtype
    assert all((scale != 1).any() for scale in model.scales_)


@compiled_only
@pytest.mark.filterwarnings("ignore::skbackprop.exceptions.TrainingWarning")
def test_deep_logistic_network_trains_with_batch_normalization():
    deep = {
        "hidden_layer_sizes": (20,) * 8,
        "activation": "logistic",
        "learning_rate_init": 0.01,
        "max_iter": 60,
        "n_iter_no_change": 100,
    }
    assert make(None, **deep).fit(X_TRAIN, Y_TRAIN).score(X_TEST, Y_TEST) < 0.2
    assert make("batch", **deep).fit(X_TRAIN, Y_TRAIN).score(X_TEST, Y_TEST) > 0.85


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("through_pickle", [False, True])
@pytest.mark.parametrize("averaging", [None, 0.9])
def test_partial_fit_goes_on_as_fit_does(averaging, through_pickle, normalization):
    """Without shuffling, several epochs are several calls."""
    settings = {"shuffle": False, "averaging": averaging, "tol": 0.0}
    whole = make(normalization, **settings, max_iter=4).fit(X_TRAIN, Y_TRAIN)
    parts = make(normalization, **settings)
    for _ in range(4):
        parts.partial_fit(X_TRAIN, Y_TRAIN, classes=np.unique(Y_TRAIN))
        if through_pickle:
            parts = pickle.loads(pickle.dumps(parts))
    np.testing.assert_array_equal(parts.predict_proba(X_TEST), whole.predict_proba(X_TEST))
    for name in ("scales_", "offsets_", *(["running_means_"] if normalization == "batch" else [])):
        for ours, expected in zip(getattr(parts, name), getattr(whole, name), strict=True):
            np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_warm_start_goes_on_with_everything(normalization):
    settings = {"shuffle": False, "solver": "sgd", "momentum": 0.0, "tol": 0.0}
    whole = make(normalization, **settings, max_iter=4).fit(X_TRAIN, Y_TRAIN)
    parts = make(normalization, **settings, max_iter=2, warm_start=True).fit(X_TRAIN, Y_TRAIN).fit(X_TRAIN, Y_TRAIN)
    np.testing.assert_array_equal(parts.predict_proba(X_TEST), whole.predict_proba(X_TEST))


def test_running_means_of_the_best_epoch_are_kept():
    settings = {"solver": "sgd", "learning_rate_init": 2.0, "n_iter_no_change": 50, "early_stopping": True}
    seen = []

    class Watch:
        def setup(self, estimator, context):
            pass

        def teardown(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
            if hasattr(fitted_estimator, "running_means_") and context.task_name == "epoch":
                seen.append(fitted_estimator)

    model = make("batch", **settings).set_callbacks(Watch()).fit(X_TRAIN, Y_TRAIN)
    best = seen[int(np.argmax(model.validation_scores_))]
    assert best is not seen[-1] or not JIT
    for name in ("coefs_", "running_means_", "running_variances_"):
        for ours, expected in zip(getattr(model, name), getattr(best, name), strict=True):
            np.testing.assert_array_equal(ours, expected)
    np.testing.assert_array_equal(model.predict_proba(X_TEST), best.predict_proba(X_TEST))


def test_divergence_restores_the_running_means():
    model = BackpropRegressor(
        hidden_layer_sizes=(8, 8), solver="sgd", normalization="batch", batch_size=20, random_state=0, shuffle=False
    )
    targets = Y_TRAIN.astype(float)
    model.partial_fit(X_TRAIN, targets)
    kept = [array.copy() for array in (*model.running_means_, *model.running_variances_, *model.scales_)]
    model.set_params(learning_rate_init=1e300)
    with pytest.raises(ValueError, match="no longer finite"):
        model.partial_fit(X_TRAIN, targets)
    now = (*model.running_means_, *model.running_variances_, *model.scales_)
    for old, new in zip(kept, now, strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_weights_of_another_estimator(normalization):
    source = make(normalization).fit(X_TRAIN, Y_TRAIN)
    model = make(normalization, weight_init=FrozenEstimator(source), learning_rate_init=1e-300, max_iter=1)
    model.fit(X_TRAIN, Y_TRAIN)
    np.testing.assert_allclose(model.scales_[0], source.scales_[0], rtol=1e-12)
    if normalization == "batch":
        # Not one batch's, but the running ones gone on with.
        assert model._running_counts[0] > source._running_counts[0]
    plain = make(None).fit(X_TRAIN, Y_TRAIN)
    for given in (plain, (plain.coefs_, plain.intercepts_)):
        model = make(normalization, weight_init=given, learning_rate_init=1e-300, max_iter=1).fit(X_TRAIN, Y_TRAIN)
        np.testing.assert_array_equal(model.coefs_[0], plain.coefs_[0])
        np.testing.assert_array_equal(model.scales_[0], np.ones(16))
    with pytest.raises(ValueError, match=f"weight_init comes from normalization='{normalization}'"):
        make(None, weight_init=source).fit(X_TRAIN, Y_TRAIN)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_frozen_layers_keep_scales_and_offsets(normalization):
    source = make(normalization).fit(X_TRAIN, Y_TRAIN)
    settings = {"frozen_layers": [0], "solver": "adamw", "averaging": 0.9, "max_norm": 0.1}
    model = make(normalization, weight_init=source, **settings).fit(X_TRAIN, Y_TRAIN)
    for name in ("coefs_", "intercepts_", "scales_", "offsets_"):
        np.testing.assert_array_equal(getattr(model, name)[0], getattr(source, name)[0])
        assert (getattr(model, name)[1] != getattr(source, name)[1]).any() or (name, normalization) == (
            "intercepts_",
            "batch",
        )


def test_normalization_cannot_change_after_fit():
    model = make("batch").fit(X_TRAIN, Y_TRAIN)
    model.set_params(normalization="layer")
    with pytest.raises(ValueError, match="the fitted network has normalization='batch', but normalization='layer'"):
        model.predict(X_TEST)
    with pytest.raises(ValueError, match="the fitted network has normalization='batch'"):
        model.partial_fit(X_TRAIN, Y_TRAIN)
    model.fit(X_TRAIN, Y_TRAIN)
    assert not hasattr(model, "running_means_")
    plain = make(None).fit(X_TRAIN[:60], Y_TRAIN[:60]).set_params(normalization="batch")
    with pytest.raises(ValueError, match="the fitted network has normalization=None, but normalization='batch'"):
        plain.predict(X_TEST)
    model.set_params(normalization=None)
    with pytest.raises(ValueError, match="the fitted network has normalization='layer', but normalization=None"):
        model.predict(X_TEST)
    assert not hasattr(model.fit(X_TRAIN, Y_TRAIN), "scales_")


def test_lbfgs_takes_layer_normalization_only():
    model = make("layer", solver="lbfgs", max_iter=30 if JIT else 2).fit(X_TRAIN, Y_TRAIN)
    np.testing.assert_allclose(model.predict_proba(X_TEST), naive_probabilities(model, X_TEST), rtol=1e-9, atol=1e-12)
    if JIT:
        assert model.score(X_TRAIN, Y_TRAIN) > 0.9
    with pytest.raises(ValueError, match="normalization='batch' is for stochastic solvers"):
        make("batch", solver="lbfgs").fit(X_TRAIN, Y_TRAIN)


def test_batches_that_cannot_be_normalized():
    with pytest.raises(ValueError, match="mini-batches of at least 2 rows"):
        make("batch", batch_size=1).fit(X_TRAIN, Y_TRAIN)
    model = make("batch").fit(X_TRAIN, Y_TRAIN)
    with pytest.raises(ValueError, match="mini-batches of at least 2 rows"):
        model.partial_fit(X_TRAIN[:1], Y_TRAIN[:1])
    with pytest.raises(ValueError, match="a layer of one"):
        make("layer", hidden_layer_sizes=(4, 1)).fit(X_TRAIN, Y_TRAIN)
    make("batch", hidden_layer_sizes=(4, 1)).fit(X_TRAIN, Y_TRAIN)


def test_without_hidden_layers_there_is_nothing_to_normalize():
    for normalization in NORMALIZATIONS:
        model = make(normalization, hidden_layer_sizes=()).fit(X_TRAIN, Y_TRAIN)
        expected = make(None, hidden_layer_sizes=()).fit(X_TRAIN, Y_TRAIN)
        np.testing.assert_array_equal(model.predict_proba(X_TEST), expected.predict_proba(X_TEST))
        assert not hasattr(model, "scales_")


def test_names_stand_for_objects():
    for name, normalization in {"batch": BatchNormalization(), "layer": LayerNormalization()}.items():
        one, other = (make(choice).fit(X_TRAIN, Y_TRAIN) for choice in (name, normalization))
        np.testing.assert_array_equal(one.predict_proba(X_TEST), other.predict_proba(X_TEST))
        assert clone(other).normalization.get_params() == normalization.get_params()
    model = make(BatchNormalization()).set_params(normalization__momentum=1.5)
    with pytest.raises(ValueError, match="'momentum' parameter of BatchNormalization"):
        model.fit(X_TRAIN, Y_TRAIN)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_sparse_rows_give_the_same_model(normalization):
    dense = make(normalization).fit(X_TRAIN, Y_TRAIN)
    other = make(normalization).fit(sparse.csr_array(X_TRAIN), Y_TRAIN)
    np.testing.assert_allclose(
        other.predict_proba(sparse.csr_array(X_TEST)), dense.predict_proba(X_TEST), rtol=1e-8, atol=1e-10
    )


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_validation_loss_is_that_of_predictions(normalization):
    model = make(normalization, early_stopping=True, n_iter_no_change=100, scoring="loss")
    model.fit(X_TRAIN, Y_TRAIN, X_val=X_TEST, y_val=Y_TEST)
    probabilities = model.predict_proba(X_TEST)
    columns = np.searchsorted(model.classes_, Y_TEST)
    loss = -np.log(probabilities[np.arange(len(Y_TEST)), columns]).mean()
    assert -model.best_validation_score_ == pytest.approx(loss, rel=1e-9)
    monitored = make(normalization, early_stopping=True, n_iter_no_change=100, scoring="neg_log_loss")
    monitored.fit(X_TRAIN, Y_TRAIN, X_val=X_TEST, y_val=Y_TEST)
    if len(np.unique(Y_TEST)) == len(model.classes_):
        np.testing.assert_allclose(monitored.validation_scores_, model.validation_scores_, rtol=1e-6)


@compiled_only
def test_search_over_normalizations():
    search = GridSearchCV(make(None), {"normalization": [None, "batch", "layer", BatchNormalization(0.5)]}, cv=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        search.fit(X_TRAIN, Y_TRAIN)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_estimator_.normalization is not None


@pytest.mark.parametrize("normalization", [None, *NORMALIZATIONS])
def test_scorers_see_the_average_of_the_weights(normalization):
    settings = {"averaging": 0.9, "early_stopping": True, "n_iter_no_change": 100}
    own, scorer = (make(normalization, scoring=scoring, **settings) for scoring in (None, "accuracy"))
    for model in (own, scorer):
        model.fit(X_TRAIN, Y_TRAIN, X_val=X_TEST, y_val=Y_TEST)
    assert own.validation_scores_ == scorer.validation_scores_
