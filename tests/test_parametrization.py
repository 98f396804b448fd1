"""The neural tangent parametrization: rates of groups of parameters that make it of the standard one."""

import math
import pickle
from itertools import pairwise

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_digits
from sklearn.preprocessing import StandardScaler
from test_optimizers import OBJECTS, Run

from skbackprop import BackpropClassifier, BackpropRegressor, load
from skbackprop._compile import SIMULATED
from skbackprop.functions import SGD, AdamW, CosineLog, Lion
from skbackprop.functions.groups import DENSE, PARAMETRIZATIONS, Group, group_tables
from skbackprop.functions.initializers import draw_layer

X, Y = load_diabetes(return_X_y=True)
X, Y = StandardScaler().fit_transform(X)[:60], (Y[:60] - 150) / 80
UNITS = (10, 12, 7, 1)
N_STEPS = 20 if SIMULATED else 200

# All rows in each update, in their order; epsilon belongs to one of the two parametrizations.
SETTINGS = {
    "hidden_layer_sizes": UNITS[1:-1],
    "activation": "tanh",
    "alpha": 0.0,
    "batch_size": len(X),
    "shuffle": False,
    "learning_rate_init": 0.01,
    "max_iter": N_STEPS,
    "n_iter_no_change": np.inf,
    "epsilon": 1e-200,
    "random_state": 0,
}


def ntp_regressor(**settings):
    return BackpropRegressor(parametrization="ntp", **{**SETTINGS, **settings})


def ntp_gradient(V, b):
    """The gradients of half the mean squared error of a network with factors ``1 / sqrt(n_in)`` in front of its weights."""
    scales = [1 / math.sqrt(len(v)) for v in V]
    units = [X]
    for v, intercepts, scale in zip(V, b, scales, strict=True):
        units.append(scale * (units[-1] @ v) + intercepts)
        if len(units) <= len(V):
            units[-1] = np.tanh(units[-1])
    delta = (units[-1] - Y[:, np.newaxis]) / len(X)
    of_weights, of_intercepts = [], []
    for layer in reversed(range(len(V))):
        of_weights.insert(0, scales[layer] * (units[layer].T @ delta))
        of_intercepts.insert(0, delta.sum(axis=0))
        delta = scales[layer] * (delta @ V[layer].T) * (1 - units[layer] ** 2)
    return of_weights, of_intercepts


def train_ntp(V, b, change, rate):
    """The arrays after some updates; `change` gives what is subtracted, from gradient, parameters, rate and time."""
    states = [{} for _ in [*V, *b]]
    for step in range(1, N_STEPS + 1):
        gradients = [g for of_kind in ntp_gradient(V, b) for g in of_kind]
        for place, (array, g, state) in enumerate(zip([*V, *b], gradients, states, strict=True)):
            is_weight = place < len(V)
            array -= change(g, array, rate if is_weight else 0.1 * rate, step, state, is_weight)
    return V, b


def adam_change(g, array, rate, step, state, is_weight, decay=0.0):
    m = state["m"] = 0.9 * state.get("m", 0.0) + 0.1 * g
    v = state["v"] = 0.999 * state.get("v", 0.0) + 0.001 * g**2
    root = np.sqrt(v / (1 - 0.999**step))
    direction = np.divide(m / (1 - 0.9**step), root, out=np.zeros_like(g), where=root > 0)
    return rate * direction + rate * decay * is_weight * array


def adamw_change(*arguments):
    return adam_change(*arguments, decay=0.5)


def sgd_change(g, array, rate, step, state, is_weight):
    change = rate * g
    state["v"] = 0.9 * state.get("v", 0.0) - change
    return change - 0.9 * state["v"]


def start():
    """Standard normal numbers in the order of the layers, and zeros in the last one."""
    draws = np.random.RandomState(0)
    V, b = [], []
    for fan_in, fan_out in pairwise(UNITS[:-1]):
        V.append(draws.normal(size=(fan_in, fan_out)))
        b.append(draws.normal(size=fan_out))
    return [*V, np.zeros(UNITS[-2:])], [*b, np.zeros(1)]


@pytest.mark.usefixtures("_everywhere_the_device")
@pytest.mark.parametrize(
    ("solver", "change", "rate"),
    [
        ("adam", adam_change, 0.01),
        (AdamW(epsilon=1e-200, weight_decay=0.5), adamw_change, 0.01),
        ("sgd", sgd_change, 0.1),
    ],
    ids=["adam", "adamw", "sgd"],
)
def test_training_is_that_of_the_network_with_factors(solver, change, rate, backend):
    """Computed here with the factors in place; there are two ways to write one training."""
    V, b = train_ntp(*start(), change, rate)
    device = "cpu" if backend.device == "cpu" else "cuda"
    model = ntp_regressor(solver=solver, learning_rate_init=rate, device=device).fit(X, Y)
    for coef, intercepts, v, expected in zip(model.coefs_, model.intercepts_, V, b, strict=True):
        np.testing.assert_allclose(coef * math.sqrt(len(v)), v, rtol=0, atol=1e-11)
        np.testing.assert_allclose(intercepts, expected, rtol=0, atol=1e-11)
    assert np.abs(V[-1]).min() > 1e-4  # it has learned


@pytest.mark.parametrize("optimizer", OBJECTS, ids=repr)
@pytest.mark.parametrize("fan_in", [1, 16, 1000])
def test_rates_and_decays_of_weights_with_a_factor(optimizer, fan_in, rng):
    """Of every optimizer: weights that count 1 / sqrt(fan_in), and the same weights with the factor in them."""
    epsilon = {"epsilon": 1e-14} if "epsilon" in optimizer.get_params() else {}
    optimizer = type(optimizer)(**{**optimizer.get_params(), **epsilon})
    scale = 1 / math.sqrt(fan_in)
    (group, of_others) = PARAMETRIZATIONS["ntp"](fan_in, optimizer.gradient_degree)
    assert of_others == Group(0.1, 0.0)
    if optimizer.get_params().get("initial_accumulator_value"):
        pytest.skip("what the sum starts from is a gradient of one of the two parametrizations")
    start, target = rng.normal(size=(2, 20))
    with_factor, without = Run(optimizer, start), Run(optimizer, scale * start)
    for _ in range(30):
        with_factor.update(scale * np.sinh(scale * with_factor.params - target), 0.01)
        without.update(np.sinh(without.params - target), 0.01 * group.rate, decays=group.decay)
    np.testing.assert_allclose(without.params, scale * with_factor.params, rtol=1e-9)


def test_tables_of_groups():
    rates, index, decays = group_tables((), 2)
    np.testing.assert_array_equal(rates, [1.0])
    np.testing.assert_array_equal(index, np.zeros((2, 2)))
    np.testing.assert_array_equal(decays, [[1, 0], [1, 0]])
    rates, index, decays = group_tables(((Group(6.0, 0.0),) * 2, DENSE, (Group(0.5, 2.0), Group(6.0, 0.0))), 3)
    assert sorted(rates) == [0.5, 1.0, 6.0]
    np.testing.assert_array_equal(rates[index], [[6.0, 6.0], [1.0, 1.0], [0.5, 6.0]])
    np.testing.assert_array_equal(decays, [[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]])


@pytest.mark.parametrize("parametrization", PARAMETRIZATIONS)
def test_rates_of_input_layers(parametrization):
    """Where all draws are the same, the first updates of Adam are as large as the rates."""
    settings = {**SETTINGS, "max_iter": 1, "weight_init": "he_normal", "input_layers": "scale"}
    model = BackpropRegressor(parametrization=parametrization, **settings).fit(X, Y)
    start = BackpropRegressor(parametrization=parametrization, **{**settings, "learning_rate_init": 1e-300}).fit(X, Y)
    changes = [
        np.abs(after - before).max()
        for after, before in zip(
            [model.input_params_[0], model.coefs_[1], model.intercepts_[1]],
            [start.input_params_[0], start.coefs_[1], start.intercepts_[1]],
            strict=True,
        )
    ]
    factors = [1.0, 1.0, 1.0] if parametrization == "standard" else [6.0, 1 / math.sqrt(12), 0.1]
    np.testing.assert_allclose(changes, 0.01 * np.array(factors), rtol=1e-9)


def test_initial_weights():
    weights, intercepts = draw_layer("ntp", np.random.RandomState(0), 400, 200)
    assert weights.var() == pytest.approx(1 / 400, rel=0.02)
    assert intercepts.var() == pytest.approx(1.0, rel=0.2)
    weights, intercepts = draw_layer("ntp", np.random.RandomState(0), 400, 200, is_last=True)
    assert not weights.any()
    assert not intercepts.any()


@pytest.mark.parametrize("parametrization", PARAMETRIZATIONS)
@pytest.mark.parametrize("weight_init", ["auto", "ntp", "he_normal"])
def test_initial_weights_are_those_asked_for(parametrization, weight_init):
    settings = {**SETTINGS, "learning_rate_init": 1e-300, "max_iter": 1}
    model = BackpropRegressor(parametrization=parametrization, weight_init=weight_init, **settings).fit(X, Y)
    meant = parametrization if (parametrization, weight_init) == ("ntp", "auto") else weight_init
    draws = np.random.RandomState(0)
    for layer, coef in enumerate(model.coefs_):
        weights, intercepts = draw_layer(meant, draws, *coef.shape, is_last=layer == 2)
        np.testing.assert_allclose(coef, weights, rtol=0, atol=1e-200)
        np.testing.assert_allclose(model.intercepts_[layer], intercepts, rtol=0, atol=1e-200)


@pytest.mark.trains
def test_layers_of_any_width_learn_at_the_same_rate():
    changes = {}
    for parametrization in PARAMETRIZATIONS:
        for width in (20, 2000):
            settings = {**SETTINGS, "hidden_layer_sizes": (width,), "learning_rate_init": 0.04, "max_iter": 1}
            model = BackpropRegressor(parametrization=parametrization, weight_init="ntp", **settings)
            model.fit(X, Y)
            changes[parametrization, width] = np.abs(model.predict(X)).mean()
    # In the standard one, the outputs of a hundred times as many units change a hundred times as much.
    assert 30 < changes["standard", 2000] / changes["standard", 20] < 300
    assert 3 < changes["ntp", 2000] / changes["ntp", 20] < 30


@pytest.mark.trains
@pytest.mark.parametrize("solver", ["adam", AdamW(beta_2=0.95), Lion(), SGD()], ids=repr)
def test_digits_are_learnt(solver):
    features, labels = load_digits(return_X_y=True)
    features = features / 16
    rate = {"Lion()": 0.01, "SGD()": 1.0}.get(repr(solver), 0.04)
    model = BackpropClassifier(
        (64, 64),
        activation="selu",
        solver=solver,
        parametrization="ntp",
        learning_rate=CosineLog(),
        learning_rate_init=rate,
        max_iter=30,
        random_state=0,
    ).fit(features[:1200], labels[:1200])
    assert model.score(features[1200:], labels[1200:]) > 0.85


@pytest.mark.trains
def test_lbfgs_has_no_rates():
    message = "parametrization='ntp' is for stochastic solvers; solver='lbfgs' needs parametrization='standard'"
    with pytest.raises(ValueError, match=message):
        ntp_regressor(solver="lbfgs").fit(X, Y)
    # Its initial weights are another matter.
    BackpropRegressor(solver="lbfgs", alpha=1.0, tol=1e-2, weight_init="ntp", random_state=0).fit(X, Y)


def test_unknown_parametrizations_are_refused():
    with pytest.raises(ValueError, match=r"The 'parametrization' parameter of BackpropRegressor must be .*'ntp'"):
        BackpropRegressor(parametrization="mup").fit(X, Y)


@pytest.mark.trains
def test_training_goes_on_as_if_nothing_had_been_between(tmp_path):
    whole = ntp_regressor(batch_size=20).fit(X, Y)
    parts = [whole, pickle.loads(pickle.dumps(whole))]
    whole.save(tmp_path / "model.safetensors")
    parts.append(load(tmp_path / "model.safetensors"))
    for model in parts:
        assert model.parametrization == "ntp"
        model.partial_fit(X, Y)
        np.testing.assert_array_equal(model.coefs_[0], whole.coefs_[0])
    # The rates are those of the parametrization in the call.
    standard, same = (pickle.loads(pickle.dumps(whole)) for _ in range(2))
    standard.set_params(parametrization="standard").partial_fit(X, Y)
    same.partial_fit(X, Y)
    assert (standard.coefs_[0] != same.coefs_[0]).any()


def test_pickles_from_before_there_was_the_parameter():
    model = BackpropRegressor(**{**SETTINGS, "max_iter": 3}).fit(X, Y)
    state = pickle.loads(pickle.dumps(model.__getstate__()))
    del state["parametrization"]
    old = object.__new__(BackpropRegressor)
    old.__setstate__(state)
    assert old.get_params()["parametrization"] == "standard"
    np.testing.assert_array_equal(old.partial_fit(X, Y).coefs_[0], model.partial_fit(X, Y).coefs_[0])
