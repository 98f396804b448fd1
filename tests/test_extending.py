"""Functions of a user's own, each defined in one place, go wherever the package's go."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skbackprop import BackpropClassifier, BackpropRegressor, Checkpoint, model_selection
from skbackprop._compile import formula
from skbackprop.backends.data import as_rows
from skbackprop.functions.activations import Activation
from skbackprop.functions.elementary import exp, log, logistic, natural, number
from skbackprop.functions.initializers import INITIALIZERS
from skbackprop.functions.input_layers import InputLayer, InputScale
from skbackprop.functions.links import Link
from skbackprop.functions.losses import Loss
from skbackprop.functions.optimizers import Optimizer
from skbackprop.functions.penalties import Penalties
from skbackprop.functions.schedules import Schedule
from skbackprop.network import Network
from skbackprop.testing import numerical_gradient, reference_loss, reference_predict
from skbackprop.training.progress import OptimizerState

pytestmark = pytest.mark.filterwarnings(f"ignore::{ConvergenceWarning.__module__}.ConvergenceWarning")


class Squash(Activation):
    """``z / (1 + sharpness |z|)``."""

    name = "squash"

    def __init__(self, sharpness=1.0):
        self.sharpness = sharpness

    @staticmethod
    def naive(z, sharpness):
        return z / (1 + sharpness * np.abs(z))

    @staticmethod
    def onnx(g, z, sharpness):
        return g("Div", z, g("Add", g("Mul", g("Abs", z), sharpness), 1.0))

    @staticmethod
    @formula
    def value(z, s):
        return z / (number(1.0, z) + s.sharpness * abs(z))

    @staticmethod
    @formula
    def slope(a, s):
        rest = number(1.0, a) - s.sharpness * abs(a)
        return rest * rest


class Softplus(Link):
    """Positive predictions."""

    name = "softplus"
    domain = (0.0, np.inf)

    @staticmethod
    @formula
    def inverse(z, s):
        zero, one = number(0.0, z), number(1.0, z)
        return (zero if z < zero else z) + log(one + exp(-abs(z)))

    @staticmethod
    def naive(z, *settings):
        return np.logaddexp(0, z)

    @staticmethod
    def link(predictions, *settings):
        return np.log(np.expm1(predictions))

    @staticmethod
    def onnx(g, raw, *settings):
        # Runtimes have no Softplus of float64.
        rest = g("Log", g("Add", g("Exp", g("Neg", g("Abs", raw))), 1.0))
        return g("Add", g("Relu", raw), rest)


class Shortfall(Loss):
    """Half the squared error, of which that of too small predictions weighs more."""

    public_name = "shortfall"
    task = "regression"
    link = Softplus()
    lower = 0.0

    def __init__(self, factor=2.0):
        self.factor = factor

    @staticmethod
    def naive(z, y, factor):
        error = np.logaddexp(0, z) - y
        return 0.5 * np.where(error < 0, factor, 1.0) * error**2

    @staticmethod
    @formula
    def loss_gradient(z, y, s):
        zero, half, one = number(0.0, z), number(0.5, z), number(1.0, z)
        error = (zero if z < zero else z) + log(one + exp(-abs(z))) - y
        scaled = (s.factor if error < zero else one) * error
        return half * scaled * error, scaled * logistic(z)


class Blend(Optimizer):
    """A step along a mixture of the gradient and its average."""

    name = "blend"
    n_slots = 1
    constants = ("rate", "decay", "share")

    def __init__(self, decay=0.9, share=0.5):
        self.decay = decay
        self.share = share

    @staticmethod
    @formula
    def prepare(rate, step, s, kept):
        return rate, s.decay, s.share

    @staticmethod
    @formula
    def update(w, g, decays, state, c):
        one, (mean,) = number(1.0, w), state
        mean = c.decay * mean + (one - c.decay) * g
        return w - c.rate * (c.share * mean + (one - c.share) * g), mean


class Sawtooth(Schedule):
    """Falls to a share of the initial rate within some updates, again and again."""

    name = "sawtooth"

    def __init__(self, n_teeth=5, lowest=0.2):
        self.n_teeth = n_teeth
        self.lowest = lowest

    def after_warmup(self, initial_rate, steps, clock):
        return initial_rate * (1 - (1 - self.lowest) * (steps % self.n_teeth) / self.n_teeth)


class Bend(InputLayer):
    """A column, and beside it a parabola of it: ``strength p x^2 + q``."""

    name = "bend"

    def __init__(self, columns=None, strength=1.0):
        self.columns = columns
        self.strength = strength

    def n_outputs(self):
        return 2

    def n_params(self, column):
        return 2

    @staticmethod
    def draw(random_state, sizes, strength):
        return random_state.normal(size=sum(sizes))

    @staticmethod
    @formula
    def forward(x, params, p, n, out, o, s):
        out[natural(o)] = x
        out[natural(o + 1)] = s.strength * params[natural(p)] * x * x + params[natural(p + 1)]

    @staticmethod
    @formula
    def gradient(x, params, p, n, deltas, d, grads, s):
        delta = deltas[natural(d + 1)]
        grads[natural(p)] += s.strength * delta * x * x
        grads[natural(p + 1)] += delta

    @staticmethod
    @formula
    def slope(x, params, p, n, deltas, d, s):
        two = number(2.0, x)
        return deltas[natural(d)] + two * s.strength * params[natural(p)] * x * deltas[natural(d + 1)]

    @staticmethod
    def naive(x, params, strength):
        factors, summands = np.transpose(params)
        return np.stack([x, strength * factors * x**2 + summands], axis=2)

    @staticmethod
    def naive_slope(x, params, deltas, strength):
        return deltas[:, :, 0] + 2 * strength * np.transpose(params)[0] * x * deltas[:, :, 1]

    @staticmethod
    def onnx(g, x, params, strength):
        factors, summands = np.transpose(params)
        bent = g("Add", g("Mul", g("Mul", x, x), g.constant(strength * factors)), g.constant(summands.copy()))
        pairs = [g("Unsqueeze", name, g.constant(np.array([2]))) for name in (x, bent)]
        return g("Reshape", g("Concat", *pairs, axis=2), g.constant(np.array([-1, 2 * len(params)])))


@pytest.fixture
def _own_initializer(monkeypatch):
    monkeypatch.setitem(INITIALIZERS, "narrow", (lambda fan_in, fan_out: 0.1 / fan_in, "normal"))


rng = np.random.default_rng(0)
X = rng.standard_normal((150, 4))
Y = np.exp(0.5 * X[:, 0]) + 0.2 * X[:, 1] ** 2


def network(**settings):
    settings = {"hidden_layer_sizes": (6,), "max_iter": 25, "batch_size": 30, "random_state": 0, **settings}
    own = {"activation": Squash(0.5), "loss": Shortfall(1.5), "solver": Blend(0.8), "learning_rate": Sawtooth(7)}
    own["input_layers"] = [Bend([0, 1], 0.5), "scale"]
    return BackpropRegressor(learning_rate_init=0.05, **{**own, **settings})


@pytest.mark.trains
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training(dtype):
    model = network(dtype=dtype).fit(X, Y)
    assert model.loss_curve_[-1] < 0.5 * model.loss_curve_[0]
    assert model.score(X, Y) > 0.5
    assert model.out_activation_ == "softplus"
    assert (model.predict(X) > 0).all()
    again = network(dtype=dtype, n_jobs=2).fit(X, Y)
    np.testing.assert_array_equal(again.predict(X), model.predict(X))


@pytest.mark.trains
def test_activation_of_a_classifier():
    labels = (np.median(Y) < Y).astype(int)
    model = BackpropClassifier((6,), activation=Squash(2.0), solver=Blend(), max_iter=300, random_state=0)
    assert model.set_params(learning_rate_init=0.3).fit(X, labels).score(X, labels) > 0.8


def own_network():
    inputs = Bend(strength=0.3).bound(4), Bend([1, 6], 2.0).bound(8), InputScale([0]).bound(10)
    return Network((4, 5, 1), (Squash(0.7).key(),), Shortfall(1.5).key(), inputs=inputs)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_on_each_backend(backend, dtype):
    own = own_network()
    params, targets = np.random.default_rng(1).standard_normal(own.n_params), Y[:40, np.newaxis]
    rows = as_rows(X[:40].astype(dtype), np.dtype(dtype))
    tolerance = 1e-3 if dtype == "float32" else 1e-6
    with backend.Session(own, np.dtype(dtype), rows, targets.astype(dtype), None, 40, 40, 1, Penalties()) as session:
        loss, gradient = session.loss_gradient(np.arange(40), params.astype(dtype))
    assert loss == pytest.approx(reference_loss(own, params, X[:40], targets), rel=tolerance)
    expected = numerical_gradient(lambda values: reference_loss(own, values, X[:40], targets), params)
    np.testing.assert_allclose(gradient, expected, rtol=tolerance, atol=tolerance)
    predictions = backend.predict(own, params.astype(dtype), rows, 1)
    np.testing.assert_allclose(predictions, reference_predict(own, params, X[:40]), rtol=tolerance, atol=tolerance)


def test_updates_on_each_backend(backend):
    own = own_network()
    params, targets = np.random.default_rng(1).standard_normal(own.n_params), Y[:40, np.newaxis]
    expected, mean = params.copy(), 0.0
    state = OptimizerState.start(Blend(0.8, 0.3), Sawtooth(), 0.1, 0.5, 1, params)
    rates = np.array([0.1, 0.05, 0.2])
    with backend.Session(
        own, np.dtype(float), as_rows(X[:40], float), targets, None, 40, 40, 1, Penalties()
    ) as session:
        for rate in rates:
            _, gradient = session.loss_gradient(np.arange(40), expected)
            mean = 0.8 * mean + 0.2 * gradient
            expected -= rate * (0.3 * mean + 0.7 * gradient)
            session.run_epochs(np.arange(40), np.array([rate]), params, state)
    np.testing.assert_allclose(params, expected, rtol=1e-10, atol=1e-12)


def test_schedule():
    # Five updates an epoch; the history has the rate of the last of them.
    model = network(max_iter=3).fit(X, Y)
    expected = 0.05 * (1 - 0.8 * (np.array([4, 9, 14]) % 7) / 7)
    np.testing.assert_allclose([record["learning_rate"] for record in model.history_], expected)


@pytest.mark.trains
def test_searches_by_settings():
    grid = {
        "activation__sharpness": [0.5, 2.0],
        "loss__factor": [1.0, 3.0],
        "solver__share": [0.1, 0.9],
        "learning_rate__lowest": [0.5],
        "input_layers": [[Bend(strength=0.5)]],
    }
    search = model_selection.GridSearchCV(network(max_iter=5), grid, cv=2, error_score="raise").fit(X, Y)
    assert len(np.unique(search.cv_results_["mean_test_score"])) == 8
    assert search.best_estimator_.activation.sharpness == search.best_params_["activation__sharpness"]


@pytest.mark.trains
def test_copies_and_files(tmp_path):
    model = network().fit(X, Y)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))
    np.testing.assert_array_equal(clone(model).fit(X, Y).predict(X), model.predict(X))
    # A file is loaded without running code of anybody's own.
    for own, advice in ((model, "Squash"), (BackpropRegressor(input_layers=Bend(), max_iter=2).fit(X, Y), "Bend")):
        with pytest.raises(ValueError, match=rf"{advice}.* cannot be kept in a model file"):
            own.save(tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.trains
def test_checkpoints(tmp_path):
    whole = network(max_iter=8).fit(X, Y)
    network(max_iter=3).set_callbacks(Checkpoint(tmp_path, epochs=1)).fit(X, Y)
    resumed = network(max_iter=8).set_callbacks(Checkpoint(tmp_path, epochs=1)).fit(X, Y)
    assert len(resumed.loss_curve_) == 8
    np.testing.assert_array_equal(resumed.predict(X), whole.predict(X))


@pytest.mark.trains
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_onnx(dtype):
    onnxruntime = pytest.importorskip("onnxruntime")
    from skbackprop import to_onnx

    model = network(dtype=dtype).fit(X, Y)
    session = onnxruntime.InferenceSession(to_onnx(model).SerializeToString())
    (predictions,) = session.run(None, {"X": X.astype(dtype)})
    np.testing.assert_allclose(predictions[:, 0], model.predict(X), rtol=1e-5 if dtype == "float32" else 1e-12)


@pytest.mark.usefixtures("_own_initializer")
def test_initializer():
    from skbackprop.functions.initializers import draw_layer

    weights, intercepts = draw_layer("narrow", np.random.RandomState(0), 400, 50)
    assert weights.std() == pytest.approx(np.sqrt(0.1 / 400), rel=0.05)
    assert not intercepts.any()
