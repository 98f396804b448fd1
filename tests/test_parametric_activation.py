"""Activations that are mixed with the identity in trained proportions, through the estimators."""

import pickle

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.preprocessing import StandardScaler

from skbackprop import BackpropClassifier, BackpropEmbedding, BackpropEnsembleClassifier, BackpropRegressor
from skbackprop._compile import JIT
from skbackprop.estimators._choices import choose_network
from skbackprop.estimators._state import flat_state, layer_units
from skbackprop.testing import reference_predict

pytestmark = pytest.mark.filterwarnings(f"ignore::{ConvergenceWarning.__module__}.ConvergenceWarning")

X, Y = load_breast_cancer(return_X_y=True)
X = StandardScaler().fit_transform(X)[:200, :8]
Y = Y[:200]


def make(**settings):
    own = {"hidden_layer_sizes": (6, 5), "parametric_activation": True, "learning_rate_init": 0.01, "max_iter": 5}
    return BackpropClassifier(**{**own, "random_state": 0, **settings})


def arrays(model):
    return [*model.coefs_, *model.intercepts_, *model.activation_alphas_]


def assert_same(model, other):
    for array, expected in zip(arrays(model), arrays(other), strict=True):
        np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_predictions_are_those_of_the_attributes(dtype):
    model = make(dtype=dtype).fit(X, Y)
    assert [alphas.shape for alphas in model.activation_alphas_] == [(6,), (5,)]
    assert all(alphas.dtype == dtype and (alphas != 1).any() for alphas in model.activation_alphas_)
    units = X.astype(dtype)
    for layer, alphas in enumerate(model.activation_alphas_):
        z = units @ model.coefs_[layer] + model.intercepts_[layer]
        units = np.where(z > 0, z, (1 - alphas) * z)
    raw = (units @ model.coefs_[-1] + model.intercepts_[-1])[:, 0]
    tolerance = 1e-4 if dtype == "float32" else 1e-11
    np.testing.assert_allclose(model.decision_function(X), raw, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "settings",
    [
        {"activation": ["gelu", "tanh"], "normalization": "layer"},
        {"normalization": "batch", "input_layers": "periodic", "solver": "sgd"},
        {"parametrization": "ntp", "learning_rate_init": 0.04, "solver": "adamw", "input_layers": "scale"},
        {"solver": "lbfgs", "activation": "softplus"},
    ],
    ids=str,
)
def test_predictions_are_those_of_the_naive_network(settings):
    model = make(**settings).fit(X, Y)
    network = choose_network(model, layer_units(model))
    params, running = flat_state(model, network, np.dtype(float))
    expected = reference_predict(network, params, X, running)[:, 0]
    np.testing.assert_allclose(model.predict_proba(X)[:, 1], expected, rtol=1e-9, atol=1e-12)


def test_outputs_of_a_hidden_layer():
    model = make().fit(X, Y)
    z = X @ model.coefs_[0] + model.intercepts_[0]
    embedding = BackpropEmbedding(FrozenEstimator(model), layer=0).fit(X, Y)
    expected = np.where(z > 0, z, (1 - model.activation_alphas_[0]) * z)
    np.testing.assert_allclose(embedding.transform(X), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.trains
def test_members_of_ensembles_are_as_on_their_own():
    ensemble = BackpropEnsembleClassifier(make(), n_estimators=3, bootstrap=False, random_state=0).fit(X, Y)
    for member in ensemble.estimators_:
        assert_same(member, clone(member).fit(X, ensemble.classes_.searchsorted(Y)))


def test_a_slope_below_zero_is_learnt():
    """The targets are a rectifier's, with a slope of 0.3 for negative numbers."""
    x = np.linspace(-2, 2, 201)[:, np.newaxis]
    y = np.where(x > 0, x, 0.3 * x)[:, 0]
    given = [np.ones((1, 1)), np.ones((1, 1))], [np.zeros(1), np.zeros(1)]
    settings = {"solver": "lbfgs", "alpha": 0.0, "max_iter": 200 if JIT else 20, "tol": 1e-12, "weight_init": given}
    model = BackpropRegressor(hidden_layer_sizes=(1,), parametric_activation=True, **settings).fit(x, y)
    np.testing.assert_allclose(model.predict(x), y, atol=1e-4)
    assert model.activation_alphas_[0][0] == pytest.approx(0.7, abs=1e-3)


def test_neither_penalties_nor_weight_decay_nor_limits_of_norms_change_the_proportions():
    """With a rate so small that nothing else changes them either."""
    still = {"learning_rate_init": 1e-300, "alpha": 1e3, "l1_ratio": 0.5, "max_norm": 1e-3, "max_iter": 2}
    for settings in (still, {"solver": "adamw", **still}):
        for alphas in make(**settings).fit(X, Y).activation_alphas_:
            np.testing.assert_array_equal(alphas, 1.0)


def test_rates_of_the_proportions():
    """A first update by Adam changes each parameter by its rate."""
    settings = {"max_iter": 1, "batch_size": len(X), "alpha": 0.0, "epsilon": 1e-30, "activation": "tanh"}
    for parametrization, factor in (("standard", 1.0), ("ntp", 0.1)):
        model = make(**settings, parametrization=parametrization, weight_init="glorot_uniform").fit(X, Y)
        for alphas in model.activation_alphas_:
            np.testing.assert_allclose(np.abs(alphas - 1), 0.01 * factor, rtol=1e-6)


@pytest.mark.parametrize(
    "settings", [{}, {"dropout": 0.3, "normalization": "batch"}, {"clip_norm": 0.1, "averaging": 0.9}], ids=str
)
def test_the_same_bits_for_any_number_of_threads(settings):
    big = {"hidden_layer_sizes": (70, 33), "batch_size": 150, "max_iter": 2, **settings}
    assert_same(make(n_jobs=1, **big).fit(X, Y), make(n_jobs=2, **big).fit(X, Y))


def test_sparse_rows_give_the_same_model():
    dense, other = make(dropout=(0.1, 0.2, 0.2)).fit(X, Y), make(dropout=(0.1, 0.2, 0.2)).fit(sparse.csr_array(X), Y)
    for array, expected in zip(arrays(other), arrays(dense), strict=True):
        np.testing.assert_allclose(array, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_fits_go_on(solver):
    model = make(solver=solver, warm_start=True, max_iter=2).fit(X, Y)
    before = [alphas.copy() for alphas in model.activation_alphas_]
    model.fit(X, Y)
    assert any((alphas != old).any() for alphas, old in zip(model.activation_alphas_, before, strict=True))
    if solver == "adam":
        one, two = make(shuffle=False), make(shuffle=False)
        for _ in range(3):
            one.partial_fit(X, Y, classes=[0, 1])
            two = pickle.loads(pickle.dumps(two.partial_fit(X, Y, classes=[0, 1])))
        assert_same(one, two)


def test_weights_of_another_estimator():
    still = {"learning_rate_init": 1e-300, "max_iter": 1}
    source, plain = make().fit(X, Y), make(parametric_activation=False).fit(X, Y)
    assert_same(clone(make(weight_init=FrozenEstimator(source), **still)).fit(X, Y), source)
    model = make(weight_init=plain, **still).fit(X, Y)
    np.testing.assert_array_equal(model.predict_proba(X), plain.predict_proba(X))
    with pytest.raises(ValueError, match="weight_init comes from a network with parametric_activation=True"):
        make(weight_init=source, parametric_activation=False).fit(X, Y)
    frozen = make(weight_init=source, frozen_layers=[0]).fit(X, Y)
    np.testing.assert_array_equal(frozen.activation_alphas_[0], source.activation_alphas_[0])
    assert (frozen.activation_alphas_[1] != source.activation_alphas_[1]).any()


def test_the_choice_cannot_change_after_fit():
    model = make().fit(X, Y).set_params(parametric_activation=False)
    for call in (lambda: model.predict(X), lambda: model.partial_fit(X, Y)):
        with pytest.raises(ValueError, match=r"the fitted network has parametric_activation=True, but .*=False"):
            call()
    assert not hasattr(model.fit(X, Y), "activation_alphas_")
    with pytest.raises(ValueError, match=r"the fitted network has parametric_activation=False, but .*=True"):
        model.set_params(parametric_activation=True).predict(X)


@pytest.mark.parametrize("value", ["yes", 1.0, None])
def test_what_is_no_boolean_is_refused(value):
    with pytest.raises(ValueError, match="The 'parametric_activation' parameter of BackpropClassifier must be"):
        make(parametric_activation=value).fit(X, Y)


def test_without_hidden_layers_there_is_nothing_to_mix():
    model = make(hidden_layer_sizes=()).fit(X, Y)
    np.testing.assert_array_equal(
        model.coefs_[0], make(hidden_layer_sizes=(), parametric_activation=False).fit(X, Y).coefs_[0]
    )
    assert not hasattr(model, "activation_alphas_")


def test_estimators_of_earlier_versions_have_none():
    model = make(parametric_activation=False).fit(X, Y)
    state = model.__getstate__()
    del state["parametric_activation"]
    old = object.__new__(BackpropClassifier)
    old.__setstate__(state)
    assert old.get_params()["parametric_activation"] is False
    np.testing.assert_array_equal(old.predict_proba(X), model.predict_proba(X))
