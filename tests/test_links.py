"""Links: those of the package against NumPy and scikit-learn, and losses with a link of one's own, from fit to files."""

import pickle

import numpy as np
import pytest
from scipy import special
from sklearn._loss import link as reference
from sklearn.datasets import load_iris

from skbackprop import BackpropClassifier, BackpropRegressor, Checkpoint, to_onnx
from skbackprop._compile import formula, loop
from skbackprop.backends.data import as_rows
from skbackprop.functions import Huber, LogLoss, Poisson, Softplus
from skbackprop.functions.activations import ACTIVATIONS
from skbackprop.functions.elementary import erf, exp, log, logistic, natural, number
from skbackprop.functions.links import LINKS, REALS, Link, LogLink
from skbackprop.functions.losses import Loss, MulticlassHinge, loss_link
from skbackprop.functions.penalties import Penalties
from skbackprop.network import Network
from skbackprop.testing import numerical_gradient, reference_loss, reference_predict

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

DTYPES = ["float32", "float64"]
X, Y = load_iris(return_X_y=True)
X = (X - X.mean(axis=0)) / X.std(axis=0)
COUNTS = np.random.default_rng(0).poisson(np.exp(X[:, 0])).astype(float)


def regressor(**settings):
    return BackpropRegressor(**{"hidden_layer_sizes": (6,), "max_iter": 30, "random_state": 0, **settings})


def classifier(**settings):
    return BackpropClassifier(**{"hidden_layer_sizes": (6,), "max_iter": 30, "random_state": 0, **settings})


# --- The package's


@pytest.mark.parametrize("name", LINKS)
def test_links_agree_with_scikit_learn(name, rng):
    made, expected = {
        "identity": (LINKS["identity"], reference.IdentityLink()),
        "exp": (LINKS["exp"], reference.LogLink()),
        "logistic": (LINKS["logistic"], reference.LogitLink()),
        "softmax": (LINKS["softmax"], reference.MultinomialLogit()),
    }[name]
    z = 2 * rng.standard_normal((7, 3))
    predictions = made.naive(z)
    np.testing.assert_allclose(predictions, expected.inverse(z), rtol=1e-13)
    low, high = made.domain
    assert (low, high) == (expected.interval_y_pred.low, expected.interval_y_pred.high)
    assert ((predictions > low) & (predictions < high)).all()
    # Those of classes are free up to a constant for each row.
    shift = z.mean(axis=1, keepdims=True) if name == "softmax" else 0.0
    raw = made.link(predictions)
    np.testing.assert_allclose(
        raw - (raw.mean(axis=1, keepdims=True) if name == "softmax" else 0.0), z - shift, rtol=1e-10
    )


# --- One's own


class SoftplusLink(Link):
    """Positive predictions, which large raw ones do not make huge; of two settings of the loss, one is the link's."""

    name = "softplus"
    domain = (0.0, np.inf)

    @staticmethod
    @formula
    def inverse(z, s):
        zero, one = number(0.0, z), number(1.0, z)
        return s.scale * ((zero if z < zero else z) + log(one + exp(-abs(z))))

    @staticmethod
    def naive(z, power, scale):
        return scale * np.logaddexp(0, z)

    @staticmethod
    def link(predictions, power, scale):
        return np.log(np.expm1(np.maximum(predictions, 1e-30) / scale))

    @staticmethod
    def onnx(g, raw, power, scale):
        return g("Mul", Softplus.onnx(g, raw), scale)


class SoftplusCounts(Loss):
    """Squared errors of a power of the predictions."""

    public_name = "softplus counts"
    task = "regression"
    link = SoftplusLink()
    lower = 0.0

    def __init__(self, scale=1.0, power=1.0):
        self.scale = scale
        self.power = power

    @staticmethod
    def naive(z, y, power, scale):
        p = scale * np.logaddexp(0, z)
        return power * (p - y * np.log(p))

    @staticmethod
    @formula
    def loss_gradient(z, y, s):
        zero, one = number(0.0, z), number(1.0, z)
        p = s.scale * ((zero if z < zero else z) + log(one + exp(-abs(z))))
        return s.power * (p - y * log(p)), s.power * (one - y / p) * s.scale * logistic(z)


class ProbitLink(Link):
    """Probabilities by the normal distribution."""

    name = "probit"
    domain = (0.0, 1.0)

    @staticmethod
    @formula
    def inverse(z, s):
        return number(0.5, z) * (number(1.0, z) + erf(z * number(np.sqrt(0.5), z)))

    naive = staticmethod(lambda z: special.ndtr(z))
    link = staticmethod(lambda predictions: special.ndtri(predictions))

    @staticmethod
    def onnx(g, raw):
        return g("Mul", g("Add", g.erf(g("Mul", raw, np.sqrt(0.5))), 1.0), 0.5)


class ProbitLoss(Loss):
    """Squared errors of the probabilities, with which gradients stay finite."""

    public_name = "probit"
    task = "binary"
    link = ProbitLink()
    has_proba = True

    @staticmethod
    def naive(z, y):
        return 0.5 * (special.ndtr(z) - y) ** 2

    @staticmethod
    @formula
    def loss_gradient(z, y, s):
        half, one = number(0.5, z), number(1.0, z)
        error = half * (one + erf(z * number(np.sqrt(0.5), z))) - y
        return half * error * error, error * number(1 / np.sqrt(2 * np.pi), z) * exp(-half * z * z)


def invert_shares(z, n_rows, n_outputs, settings):
    for row in range(n_rows):
        total = number(0.0, z)
        for k in range(row * n_outputs, (row + 1) * n_outputs):
            z[natural(k)] = logistic(z[natural(k)])
            total += z[natural(k)]
        for k in range(row * n_outputs, (row + 1) * n_outputs):
            z[natural(k)] = z[natural(k)] / total


class ShareLink(Link):
    """Probabilities of classes, each by its own logistic function; a link of whole rows."""

    name = "shares"
    domain = (0.0, 1.0)

    def loop(self, kind):
        return loop(invert_shares)

    @staticmethod
    def naive(z):
        return special.expit(z) / special.expit(z).sum(axis=1, keepdims=True)

    @staticmethod
    def link(predictions):
        return special.logit(predictions)

    @staticmethod
    def onnx(g, raw):
        p = g("Sigmoid", raw)
        return g("Div", p, g("MatMul", p, g.constant(np.ones((3, 3), dtype=g.dtype))))


class Shares(MulticlassHinge):
    """The log loss, one class versus the rest."""

    public_name = "shares"
    kinds = vars(Loss)["kinds"]
    link = ShareLink()
    has_proba = True

    @staticmethod
    def naive(z, y):
        hot = np.eye(z.shape[1])[y[:, 0].astype(int)]
        return np.logaddexp(0, z) - hot * z

    @staticmethod
    @formula
    def loss_gradient(z, y, s):
        zero, one = number(0.0, z), number(1.0, z)
        return (zero if z < zero else z) + log(one + exp(-abs(z))) - y * z, logistic(z) - y


OWN = {
    "regression": (SoftplusCounts(scale=2.0, power=0.5), 2, COUNTS[:, np.newaxis] * [1.0, 0.5]),
    "binary": (ProbitLoss(), 2, np.column_stack([Y == 0, Y > 1]).astype(float)),
    "multiclass": (Shares(), 3, Y[:, np.newaxis].astype(float)),
}


def network_of(task):
    loss, n_outputs, targets = OWN[task]
    return Network((4, 5, n_outputs), (ACTIVATIONS.get_key("tanh"),), loss.key()), targets


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("task", OWN)
def test_own_links_on_each_backend(task, dtype, backend, rng):
    """Predictions and gradients of a loss with a link of one's own."""
    network, targets = network_of(task)
    params = rng.standard_normal(network.n_params)
    rows, given = as_rows(X[:40].astype(dtype), np.dtype(dtype)), targets[:40].astype(dtype)
    single = dtype == "float32"
    predictions = backend.predict(network, params.astype(dtype), rows, 1)
    np.testing.assert_allclose(
        predictions,
        reference_predict(network, params, X[:40]),
        rtol=1e-4 if single else 1e-12,
        atol=1e-6 if single else 0,
    )
    with backend.Session(network, np.dtype(dtype), rows, given, None, 40, 40, 1, Penalties()) as session:
        loss, gradient = session.loss_gradient(np.arange(40), params.astype(dtype))
    expected = numerical_gradient(lambda values: reference_loss(network, values, X[:40], targets[:40]), params)
    assert loss == pytest.approx(reference_loss(network, params, X[:40], targets[:40]), rel=1e-4 if single else 1e-10)
    np.testing.assert_allclose(gradient, expected, rtol=1e-3 if single else 1e-6, atol=1e-4 if single else 1e-8)


@pytest.mark.trains
def test_regressor_with_an_own_link():
    loss = SoftplusCounts(scale=2.0)
    model = regressor(loss=loss, max_iter=200, learning_rate_init=0.01).fit(X, COUNTS)
    assert model.out_activation_ == "softplus"
    assert model.score(X, COUNTS) > 0.3
    assert (model.predict(X) > 0).all()
    with pytest.raises(ValueError, match=r"predictions may be any number, .* has out_activation_='softplus'; set"):
        regressor(loss=loss, standardize_target=True).fit(X, COUNTS)


@pytest.mark.trains
def test_prior_by_an_own_link():
    """The first predictions are the mean, whichever the link."""
    start = {"output_bias": "prior", "max_iter": 1, "learning_rate_init": 1e-9, "hidden_layer_sizes": ()}
    zeros = np.zeros_like(X)
    model = regressor(loss=SoftplusCounts(scale=2.0), **start).fit(zeros, COUNTS)
    np.testing.assert_allclose(model.predict(zeros), COUNTS.mean(), rtol=1e-6)
    for loss, labels in ((ProbitLoss(), Y > 0), (Shares(), Y[:120])):
        model = classifier(loss=loss, **start).fit(zeros[: len(labels)], labels)
        shares = np.bincount(labels) / len(labels)
        np.testing.assert_allclose(model.predict_proba(zeros[:1])[0], shares, atol=0.01)


@pytest.mark.trains
def test_prior_without_a_way_back_is_refused():
    class OneWay(SoftplusLink):
        link = Link.link

    class Counts(SoftplusCounts):
        link = OneWay()

    with pytest.raises(ValueError, match="output_bias='prior' needs the raw prediction of a mean, and OneWay has no"):
        regressor(loss=Counts(), output_bias="prior").fit(X, COUNTS)


@pytest.mark.trains
def test_classifiers_with_an_own_link():
    for loss, labels in ((ProbitLoss(), Y > 0), (Shares(), Y)):
        model = classifier(loss=loss, max_iter=200, learning_rate_init=0.01).fit(X, labels)
        assert model.score(X, labels) > 0.9
        assert model.out_activation_ == loss.link.name
        np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1, rtol=1e-12)
        # The raw outputs, which are no logarithms.
        scores = model.decision_function(X)
        raw = np.column_stack([-scores, scores]) if scores.ndim == 1 else scores
        np.testing.assert_allclose(model.predict_proba(X), loss_link(type(loss)).naive(raw), rtol=1e-10, atol=1e-15)


@pytest.mark.trains
@pytest.mark.parametrize("dtype", DTYPES)
def test_own_links_in_onnx(dtype):
    onnxruntime = pytest.importorskip("onnxruntime")
    tolerance = 1e-6 if dtype == "float32" else 1e-12

    def run(model):
        session = onnxruntime.InferenceSession(to_onnx(model).SerializeToString())
        return session.run(None, {"X": X.astype(dtype)})

    model = regressor(loss=SoftplusCounts(scale=2.0), dtype=dtype).fit(X, COUNTS)
    np.testing.assert_allclose(run(model)[0][:, 0], model.predict(X), rtol=10 * tolerance)
    for loss, y in ((ProbitLoss(), Y > 0), (Shares(), Y)):
        model = classifier(loss=loss, dtype=dtype).fit(X, y)
        labels, probabilities = run(model)
        np.testing.assert_array_equal(labels, model.predict(X))
        np.testing.assert_allclose(probabilities, model.predict_proba(X), atol=tolerance)


class Half(LogLink):
    """A link of one's own that has the form of another one."""

    @staticmethod
    @formula
    def inverse(z, s):
        return number(0.5, z) * exp(z)


class HalfPoisson(Poisson):
    link = Half()


class Same(LogLink):
    """A link of one's own that says that it has the form of another one."""

    name = "mean"
    onnx = staticmethod(LogLink.onnx)


class SamePoisson(Poisson):
    link = Same()


@pytest.mark.trains
def test_own_link_without_a_form_in_onnx_is_refused():
    pytest.importorskip("skl2onnx")
    with pytest.raises(
        ValueError, match="loss HalfPoisson have no form in ONNX: its link Half has no method onnx of its own"
    ):
        to_onnx(regressor(loss=HalfPoisson()).fit(X, COUNTS))
    model = regressor(loss=SamePoisson()).fit(X, COUNTS)
    assert model.out_activation_ == "mean"
    to_onnx(model)


@pytest.mark.trains
def test_own_links_in_pickles_and_files(tmp_path):
    pytest.importorskip("safetensors")
    model = regressor(loss=SoftplusCounts(scale=2.0)).fit(X, COUNTS)
    loaded = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    with pytest.raises(ValueError, match=r"loss=SoftplusCounts\(.*cannot be kept in a model file"):
        model.save(tmp_path / "model.safetensors")


class Inverted(Half):
    @staticmethod
    @formula
    def inverse(z, s):
        return exp(-z)


@pytest.mark.trains
def test_training_with_an_own_link_goes_on_from_a_checkpoint(tmp_path):
    pytest.importorskip("safetensors")

    def series():
        """Which trainings there are files of."""
        return {path.name.rpartition("-")[0] for path in tmp_path.iterdir()}

    class Fresh(Poisson):
        link = Half()

    whole = regressor(loss=Fresh()).fit(X, COUNTS)
    regressor(loss=Fresh(), max_iter=10).set_callbacks(Checkpoint(tmp_path)).fit(X, COUNTS)
    before = series()
    resumed = regressor(loss=Fresh()).set_callbacks(Checkpoint(tmp_path)).fit(X, COUNTS)
    np.testing.assert_array_equal(resumed.coefs_[0], whole.coefs_[0])
    assert series() == before
    # With another link it is another training.
    Fresh.link = Inverted()
    regressor(loss=Fresh()).set_callbacks(Checkpoint(tmp_path)).fit(X, COUNTS)
    assert len(series()) == len(before) + 1


# --- Losses with a formula in the place of a link


class Twice(Huber):
    @staticmethod
    @formula
    def inverse_link(z, s):
        return z + z


class TwiceNamed(Twice):
    out_activation = "exp"


class Relinked(TwiceNamed):
    link = LINKS["identity"]


class Renamed(LogLoss):
    out_activation = "odds"


def test_a_formula_in_the_place_of_a_link():
    link = loss_link(Twice)
    assert (link.name, link.domain) == ("identity", REALS)
    link = loss_link(TwiceNamed)
    assert (link.name, link.domain) == ("exp", LINKS["exp"].domain)
    assert link.link(np.ones(1)) == 0
    # What the most derived class says counts.
    assert loss_link(Relinked) is LINKS["identity"]
    assert loss_link(Poisson) is Poisson.link
    assert Poisson.inverse_link is Poisson.link.inverse
    assert (Poisson.out_activation, Renamed.out_activation) == ("exp", "odds")


@pytest.mark.trains
def test_predictions_by_a_formula_in_the_place_of_a_link():
    plain = regressor(loss="huber").fit(X, COUNTS)
    twice = regressor(loss=Twice()).fit(X, COUNTS)
    np.testing.assert_array_equal(twice.predict(X), 2 * plain.predict(X))
    assert regressor(loss=TwiceNamed()).fit(X, COUNTS).out_activation_ == "exp"
    relinked = regressor(loss=Relinked()).fit(X, COUNTS)
    np.testing.assert_array_equal(relinked.predict(X), plain.predict(X))
    with pytest.raises(ValueError, match="out_activation_='exp'; set standardize_target=False"):
        regressor(loss=TwiceNamed(), standardize_target=True).fit(X, COUNTS)
