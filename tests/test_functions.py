"""Formulas: elementary functions, registries, activations, initialisation."""

import numpy as np
import pytest
from numba import types
from scipy import special
from sklearn.base import clone

from skbackprop import BackpropClassifier
from skbackprop._compile import formula, invoke, kernel
from skbackprop.backends.cpu.memory import at
from skbackprop.functions import elementary
from skbackprop.functions._function import N_SETTINGS
from skbackprop.functions._registry import Registry
from skbackprop.functions.activations import ACTIVATIONS, ELU, GELU, Activation, LeakyReLU, ReLU, activation_loops
from skbackprop.functions.elementary import number
from skbackprop.functions.initializers import INITIALIZERS, draw_layer
from skbackprop.functions.input_layers import INPUT_LAYERS
from skbackprop.functions.losses import LOSSES
from skbackprop.functions.normalizations import NORMALIZATIONS
from skbackprop.functions.optimizers import OPTIMIZERS
from skbackprop.functions.schedules import SCHEDULES

DTYPES = [np.float32, np.float64]


@kernel
def apply_exp(x, y):
    for i in range(x.size):
        y[i] = elementary.exp(x[i])


@kernel
def apply_log(x, y):
    for i in range(x.size):
        y[i] = elementary.log(x[i])


@kernel
def apply_tanh(x, y):
    for i in range(x.size):
        y[i] = elementary.tanh(x[i])


@kernel
def apply_logistic(x, y):
    for i in range(x.size):
        y[i] = elementary.logistic(x[i])


@kernel
def apply_erf(x, y):
    for i in range(x.size):
        y[i] = elementary.erf(x[i])


@kernel
def apply_cos_turns(x, y):
    for i in range(x.size):
        y[i] = elementary.cos_turns(x[i])


@kernel
def apply_sin_turns(x, y):
    for i in range(x.size):
        y[i] = elementary.sin_turns(x[i])


@kernel
def run_activate(address, z, slopes, settings):
    zero = np.int64(0)
    invoke(address, (at(z, zero), at(slopes, zero), z.size, at(settings, zero)))


@kernel
def run_derive(address, a, slopes, delta, settings):
    zero = np.int64(0)
    invoke(address, (at(a, zero), at(slopes, zero), at(delta, zero), a.size, at(settings, zero)))


def activation_pass(activation, z, keeps):
    """Outputs and slopes of an activation for weighted inputs."""
    number = types.float32 if z.dtype == np.float32 else types.float64
    own, settings = types.CPointer(number), types.CPointer(types.float64)
    forth, back = activation_loops(type(activation), keeps)
    numbers = np.zeros(N_SETTINGS)
    numbers[: len(activation.settings())] = activation.settings()
    a, slopes, delta = z.copy(), np.zeros_like(z), np.ones_like(z)
    run_activate(forth.address(own, own, types.intp, settings), a, slopes, numbers)
    run_derive(back.address(own, own, own, types.intp, settings), a, slopes, delta, numbers)
    return a, delta


def in_turns(function):
    """Reduce exactly: an angle in radians of a large number of turns has few digits of its last turn."""
    pi = np.longdouble("3.14159265358979323846")
    return lambda t: function(2 * pi * (t - np.round(t)))


ELEMENTARY = {
    # name: (compiled loop, reference, range, largest error in units in the last place as its docstring states)
    "exp": (apply_exp, np.exp, (-80.0, 80.0), 2),
    "log": (apply_log, np.log, (1e-6, 1e6), 2),
    "tanh": (apply_tanh, np.tanh, (-12.0, 12.0), 3),
    "logistic": (apply_logistic, lambda x: 1 / (1 + np.exp(-x)), (-80.0, 80.0), 4),
    # SciPy's is good to a unit of float64 itself.
    "erf": (apply_erf, lambda x: special.erf(x.astype(np.float64)), (-7.0, 7.0), 3),
    "cos_turns": (apply_cos_turns, in_turns(np.cos), (-40.0, 40.0), 3),
    "sin_turns": (apply_sin_turns, in_turns(np.sin), (-40.0, 40.0), 3),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ELEMENTARY)
def test_elementary_functions_keep_their_stated_error(name, dtype, rng):
    loop, reference, (low, high), units = ELEMENTARY[name]
    x = np.concatenate([rng.uniform(low, high, 3000), rng.uniform(low, high, 3000) * 1e-2 + max(low, 0) * 2])
    x = x.astype(dtype)
    y = np.empty_like(x)
    loop(x, y)
    exact = reference(x.astype(np.longdouble))
    error = np.abs(y - exact) / np.spacing(np.abs(exact).astype(dtype))
    assert error.max() <= units


@pytest.mark.parametrize("dtype", DTYPES)
def test_elementary_functions_at_the_edges(dtype):
    inf, nan = np.inf, np.nan
    expected = {
        "exp": [(0.0, 1.0), (-0.0, 1.0), (inf, inf), (-inf, 0.0), (1e4, inf), (-1e4, 0.0), (nan, nan)],
        "log": [(1.0, 0.0), (0.0, -inf), (inf, inf), (-1.0, nan), (-inf, nan), (nan, nan)],
        "tanh": [(0.0, 0.0), (inf, 1.0), (-inf, -1.0), (1e4, 1.0), (-1e4, -1.0), (nan, nan)],
        "logistic": [(0.0, 0.5), (inf, 1.0), (-inf, 0.0), (1e4, 1.0), (-1e4, 0.0), (nan, nan)],
        "erf": [(0.0, 0.0), (inf, 1.0), (-inf, -1.0), (1e4, 1.0), (-1e4, -1.0), (nan, nan)],
        # The largest numbers that are no whole number of turns, of either type, and some beyond.
        "cos_turns": [(0.0, 1.0), (0.5, -1.0), (0.25, 0.0), (-1.75, 0.0), (2.0**22 + 0.5, -1.0), (2.0**23 - 0.5, -1.0),
                      (2.0**51 + 1.0, 1.0), (1e15, 1.0), (-1e30, 1.0), (inf, nan), (-inf, nan), (nan, nan)],
        "sin_turns": [(0.0, 0.0), (0.25, 1.0), (-0.25, -1.0), (0.75, -1.0), (0.5, 0.0), (-3.5, 0.0), (2.0**22 - 0.5, 0.0),
                      (2.0**51 + 1.0, 0.0), (1e15, 0.0), (-1e30, 0.0), (inf, nan), (-inf, nan), (nan, nan)],
    }  # fmt: skip
    for name, pairs in expected.items():
        x = np.array([pair[0] for pair in pairs], dtype=dtype)
        y = np.empty_like(x)
        with np.errstate(all="ignore"):
            ELEMENTARY[name][0](x, y)
        np.testing.assert_array_equal(y, np.array([pair[1] for pair in pairs], dtype=dtype), err_msg=name)


@pytest.mark.parametrize("dtype", DTYPES)
def test_exponentials_and_logarithms_over_the_whole_range_of_the_type(dtype):
    tiny, largest = np.finfo(dtype).tiny, np.finfo(dtype).max
    ends = np.log(largest) + np.linspace(-0.01, 0.01, 401)
    x = np.concatenate([np.linspace(np.log(tiny) - 3, np.log(largest) + 3, 3001), ends]).astype(dtype)
    y, exact = np.empty_like(x), np.exp(x.astype(np.longdouble))
    apply_exp(x, y)
    np.testing.assert_array_equal(np.isinf(y), exact > largest)
    # Near the smallest numbers the result is flushed to zero.
    flushed, ordinary = exact < 3 * tiny, (exact >= 3 * tiny) & (exact <= largest / 2)
    assert (y[flushed] <= 3 * tiny).all()
    assert (y[exact < tiny / 2] == 0).all()
    assert (np.abs(y - exact)[ordinary] <= 2 * np.spacing(exact[ordinary].astype(dtype))).all()
    near_the_end = (exact > largest / 2) & (exact <= largest)
    np.testing.assert_allclose(y[near_the_end], exact[near_the_end], rtol=2 * np.finfo(dtype).eps)
    x = np.geomspace(tiny, largest / 2, 3001, dtype=dtype)
    y, exact = np.empty_like(x), np.log(x.astype(np.longdouble))
    apply_log(x, y)
    assert (np.abs(y - exact) <= 2 * np.spacing(np.abs(exact).astype(dtype))).all()


def test_elementary_functions_do_not_depend_on_the_place_in_an_array(rng):
    """A vector's lanes and a loop's remainder give the same bits."""
    x = rng.uniform(-5, 5, 67).astype(np.float32)
    whole, single = np.empty_like(x), np.empty_like(x)
    apply_tanh(x, whole)
    for i in range(x.size):
        apply_tanh(x[i : i + 1], single[i : i + 1])
    np.testing.assert_array_equal(whole, single)


def test_registries_explain_unknown_names():
    for registry in (ACTIVATIONS, INPUT_LAYERS, LOSSES, NORMALIZATIONS, OPTIMIZERS, SCHEDULES):
        with pytest.raises(ValueError, match=f"{registry.kind}='nonsense' is not known; choose one of '"):
            registry["nonsense"]
        with pytest.raises(TypeError, match=f"{registry.kind}=3 is not a function of this kind"):
            registry.get_function(3)
        assert "nonsense" not in registry
        for name, kind in registry.items():
            assert kind.name == name
            assert kind.definition
            assert registry.get_function(name).key() == registry.get_key(name) == registry.get_key(kind())


def test_registry_refuses_a_name_twice():
    with pytest.raises(ValueError, match="share a name"):
        Registry("thing", ReLU, [ReLU, ReLU])


def test_functions_are_searched_and_cloned_like_estimators():
    activation = LeakyReLU(0.2)
    assert clone(activation).get_params() == {"negative_slope": 0.2}
    assert repr(activation) == "LeakyReLU(negative_slope=0.2)"
    model = BackpropClassifier(activation=activation).set_params(activation__negative_slope=0.3)
    assert model.get_params()["activation__negative_slope"] == 0.3
    with pytest.raises(ValueError, match="'negative_slope' parameter of LeakyReLU"):
        ACTIVATIONS.get_function(LeakyReLU(-1))


@pytest.mark.parametrize("keeps", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ACTIVATIONS.values(), ids=list(ACTIVATIONS))
def test_activation_derivatives_are_numerical_gradients(kind, dtype, keeps):
    if kind.slope_of_input and not keeps:
        keeps = True
    activation = kind()
    z = np.array([-30.0, -2.9, -0.7, 0.4, 2.0, 30.0])
    step = 1e-6
    high, low = (activation_pass(activation, z + side, keeps)[0] for side in (step, -step))
    a, delta = activation_pass(activation, z.astype(dtype), keeps)
    np.testing.assert_allclose(delta, (high - low) / (2 * step), rtol=2e-5 if dtype == np.float32 else 1e-7, atol=2e-6)
    assert a.dtype == delta.dtype == dtype


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", [*(kind() for kind in ACTIVATIONS.values()), GELU("tanh"), ELU(0.3)], ids=repr)
def test_activations_have_their_values(activation, dtype, rng):
    z = np.concatenate([rng.uniform(-4, 4, 40), [-100.0, 100.0]]).astype(dtype)
    expected = activation.naive(z.astype(float), *activation.settings())
    a, _ = activation_pass(activation, z, False)
    np.testing.assert_allclose(
        a, expected, rtol=3e-6 if dtype == np.float32 else 1e-13, atol=1e-6 if dtype == np.float32 else 1e-15
    )


class Ramp(Activation):
    """An activation of one's own, whose formulas take the settings by name or by position."""

    name = "ramp"

    def __init__(self, slope_above=2.0, slope_below=0.5):
        self.slope_above = slope_above
        self.slope_below = slope_below

    @staticmethod
    @formula
    def value(z, s):
        return s.slope_above * z if z > number(0.0, z) else s.slope_below * z

    @staticmethod
    @formula
    def slope(a, c):
        return c[0] if a > number(0.0, a) else c[1]


class Corner(Ramp):
    """One that gives its formulas other numbers than its parameters', which have no names, or names of its own."""

    def settings(self):
        return self.slope_above, self.slope_above - self.slope_below

    @staticmethod
    @formula
    def value(z, c):
        return c[0] * z if z > number(0.0, z) else (c[0] - c[1]) * z

    @staticmethod
    @formula
    def slope(a, c):
        return c[0] if a > number(0.0, a) else c[0] - c[1]


class NamedCorner(Corner):
    @classmethod
    def setting_names(cls):
        return "above", "step"

    @staticmethod
    @formula
    def slope(a, s):
        return s.above if a > number(0.0, a) else s.above - s.step


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", [Ramp, Corner, NamedCorner])
def test_formulas_take_settings_by_name_and_by_position(kind, dtype):
    a, delta = activation_pass(kind(3.0, 0.25), np.array([-2.0, 2.0], dtype=dtype), True)
    np.testing.assert_array_equal(a, [-0.5, 6.0])
    np.testing.assert_array_equal(delta, [0.25, 3.0])
    assert a.dtype == delta.dtype == dtype


@pytest.mark.parametrize("kind", ACTIVATIONS.values(), ids=list(ACTIVATIONS))
def test_activations_pass_nan_on(kind):
    for keeps in (False, True):
        a, _ = activation_pass(kind(), np.array([np.nan, 1.0]), keeps)
        assert np.isnan(a[0])
        assert not np.isnan(a[1])


def test_gelu_approximation():
    z = np.linspace(-6, 6, 101)
    exact, approximate = (activation_pass(GELU(how), z, True)[0] for how in ("none", "tanh"))
    assert 1e-5 < np.abs(exact - approximate).max() < 5e-4


@pytest.mark.parametrize("name", INITIALIZERS)
def test_initial_weights(name):
    weights, intercepts = draw_layer(name, np.random.RandomState(0), 400, 200)
    assert weights.shape == (400, 200)
    assert intercepts.shape == (200,)
    if name == "auto":
        bound = np.sqrt(6 / 600)
        for array in (weights, intercepts):
            assert 0.9 * bound < np.abs(array).max() <= bound
        return
    if name == "ntp":
        assert intercepts.var() == pytest.approx(1.0, rel=0.2)
        assert abs(intercepts.mean()) < 0.2
    else:
        assert (intercepts == 0).all()
    if name == "orthogonal":
        np.testing.assert_allclose(weights.T @ weights, np.eye(200), atol=1e-12)
        wide, _ = draw_layer(name, np.random.RandomState(0), 3, 5)
        np.testing.assert_allclose(wide @ wide.T, np.eye(3), atol=1e-12)
        return
    variance = {"glorot": 2 / 600, "he": 2 / 400, "lecun": 1 / 400, "ntp": 1 / 400}[name.split("_")[0]]
    assert weights.var() == pytest.approx(variance, rel=0.02)
    assert abs(weights.mean()) < 1e-3
    # A normal distribution has a kurtosis of 3, a uniform one of 1.8.
    kurtosis = (weights**4).mean() / weights.var() ** 2
    assert kurtosis == pytest.approx(3.0 if name.endswith(("normal", "ntp")) else 1.8, rel=0.05)
