"""Formulas: elementary functions, registries, activations, losses, optimizers, schedules, initialisation."""

import numpy as np
import pytest

from skbackprop._compile import kernel
from skbackprop.functions import elementary
from skbackprop.functions._registry import Entry, Registry
from skbackprop.functions.activations import ACTIVATIONS, activate, derive
from skbackprop.functions.initializers import glorot_uniform
from skbackprop.functions.losses import LOSSES, evaluate, link
from skbackprop.functions.optimizers import OPTIMIZERS, corrected_rate, step_params
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
def run_activate(code, z):
    activate(code, z)


@kernel
def run_derive(code, a, delta):
    derive(code, a, delta)


@kernel
def run_link(code, z, n_outputs):
    link(code, z, n_outputs)


@kernel
def run_evaluate(code, z, y, n_outputs, delta, losses):
    evaluate(code, z, y, n_outputs, delta, losses)


@kernel
def run_step(code, rate, step, settings, params, grads, slots, start, stop):
    rate = corrected_rate(code, rate, step, settings)
    step_params(code, rate, settings, 0.0, 1.0, params, grads, slots, start, stop)


ELEMENTARY = {
    # name: (compiled loop, reference, range, largest error in units in the last place as its docstring states)
    "exp": (apply_exp, np.exp, (-80.0, 80.0), 2),
    "log": (apply_log, np.log, (1e-6, 1e6), 2),
    "tanh": (apply_tanh, np.tanh, (-12.0, 12.0), 3),
    "logistic": (apply_logistic, lambda x: 1 / (1 + np.exp(-x)), (-80.0, 80.0), 4),
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
    }
    for name, pairs in expected.items():
        x = np.array([pair[0] for pair in pairs], dtype=dtype)
        y = np.empty_like(x)
        with np.errstate(all="ignore"):
            ELEMENTARY[name][0](x, y)
        np.testing.assert_array_equal(y, np.array([pair[1] for pair in pairs], dtype=dtype), err_msg=name)


def test_elementary_functions_do_not_depend_on_the_place_in_an_array(rng):
    """A vector's lanes and a loop's remainder give the same bits."""
    x = rng.uniform(-5, 5, 67).astype(np.float32)
    whole, single = np.empty_like(x), np.empty_like(x)
    apply_tanh(x, whole)
    for i in range(x.size):
        apply_tanh(x[i : i + 1], single[i : i + 1])
    np.testing.assert_array_equal(whole, single)


def test_registries_explain_unknown_names():
    for registry in (ACTIVATIONS, LOSSES, OPTIMIZERS, SCHEDULES):
        with pytest.raises(ValueError, match=f"{registry.kind}='nonsense' is not known; choose one of '"):
            registry["nonsense"]
        assert "nonsense" not in registry
        assert len({entry.code for entry in registry.values()}) == len(registry)
        for name, entry in registry.items():
            assert entry.name == name
            assert entry.formula


def test_registry_refuses_a_code_twice():
    with pytest.raises(ValueError, match="share a code"):
        Registry("thing", [Entry("a", 0, "", ""), Entry("b", 0, "", "")])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_derivatives_are_numerical_gradients(name, dtype):
    code = ACTIVATIONS[name].code
    z = np.array([-30.0, -3.0, -0.7, 0.4, 2.0, 30.0])
    step = 1e-6
    high, low, a = z + step, z - step, z.astype(dtype)
    for values in (high, low, a):
        run_activate(code, values)
    delta = np.ones_like(a)
    run_derive(code, a, delta)
    np.testing.assert_allclose(delta, (high - low) / (2 * step), rtol=2e-5 if dtype == np.float32 else 1e-7, atol=2e-6)
    assert delta.dtype == dtype


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_pass_nan_on(name):
    z = np.array([np.nan, 1.0])
    run_activate(ACTIVATIONS[name].code, z)
    assert np.isnan(z[0])
    assert not np.isnan(z[1])


def test_unknown_codes_end_in_nan():
    z = np.ones(2)
    run_activate(99, z)
    assert np.isnan(z).all()
    delta = np.ones(2)
    run_derive(99, np.ones(2), delta)
    assert np.isnan(delta).all()
    z = np.ones(2)
    run_link(99, z, 1)
    assert np.isnan(z).all()
    delta, losses = np.ones(2), np.ones(2)
    run_evaluate(99, np.ones(2), np.ones(2), 1, delta, losses)
    assert np.isnan(delta).all()
    assert np.isnan(losses).all()
    params = np.ones(2)
    run_step(99, 0.1, 1, np.zeros(4), params, np.ones(2), np.zeros((2, 2)), 0, 2)
    assert np.isnan(params).all()


def _targets(name, n_rows, n_outputs, rng):
    if name == "multiclass_log_loss":
        return rng.integers(0, n_outputs, n_rows).astype(float)
    if name == "binary_log_loss":
        return rng.integers(0, 2, n_rows * n_outputs).astype(float)
    return np.abs(rng.standard_normal(n_rows * n_outputs)).round(1) * rng.integers(0, 2, n_rows * n_outputs)


def _losses(name, z, y, n_outputs):
    losses, delta = np.empty(z.size // n_outputs), np.empty_like(z)
    run_evaluate(LOSSES[name].code, z.copy(), y, n_outputs, delta, losses)
    return losses, delta


@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("name", LOSSES)
def test_loss_gradients_are_numerical_gradients(name, n_outputs, rng):
    z = rng.standard_normal(4 * n_outputs) * 2
    y = _targets(name, 4, n_outputs, rng)
    _, delta = _losses(name, z, y, n_outputs)
    # The reported squared error is a mean over the outputs, the gradient that of the sum.
    scale = n_outputs if name == "squared_error" else 1
    for i in range(z.size):
        shift = np.zeros_like(z)
        shift[i] = 1e-6
        upper, lower = _losses(name, z + shift, y, n_outputs)[0], _losses(name, z - shift, y, n_outputs)[0]
        np.testing.assert_allclose(scale * (upper.sum() - lower.sum()) / 2e-6, delta[i], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_links_at_extremes(name, dtype):
    z = np.array([-30.0, 30.0, 0.0, 0.0], dtype=dtype)
    y = np.array([1.0, 0.0], dtype=dtype) if LOSSES[name].n_codes else np.array([1.0, 0.0, 0.0, 1.0], dtype=dtype)
    losses, delta = np.empty(2), np.empty_like(z)
    run_evaluate(LOSSES[name].code, z.copy(), y, 2, delta, losses)
    assert np.isfinite(losses).all()
    assert np.isfinite(delta).all()
    linked = z.copy()
    run_link(LOSSES[name].code, linked, 2)
    assert np.isfinite(linked).all()
    if name == "multiclass_log_loss":
        np.testing.assert_allclose(linked.reshape(2, 2).sum(axis=1), 1, rtol=1e-6)
    bad = np.array([np.nan, 1.0], dtype=dtype)
    run_link(LOSSES[name].code, bad, 2)
    assert np.isnan(bad[0])


def _reference_step(name, params, grads, slots, step, rate):
    """The papers' updates, one number at a time."""
    out = params.copy()
    for i, g in enumerate(grads):
        if name == "adam":
            slots[0, i] = 0.9 * slots[0, i] + 0.1 * g
            slots[1, i] = 0.99 * slots[1, i] + 0.01 * g * g
            out[i] -= rate * np.sqrt(1 - 0.99**step) / (1 - 0.9**step) * slots[0, i] / (np.sqrt(slots[1, i]) + 1e-8)
        else:
            slots[0, i] = 0.9 * slots[0, i] - rate * g
            out[i] += 0.9 * slots[0, i] - rate * g if name == "nesterov" else slots[0, i]
    return out


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("name", "rule", "settings"),
    [("sgd", "momentum", (0.9, 0.0)), ("sgd", "nesterov", (0.9, 1.0)), ("adam", "adam", (0.9, 0.99, 1e-8))],
)
def test_optimizers_follow_their_papers(name, rule, settings, dtype, rng):
    entry = OPTIMIZERS[name]
    params = rng.standard_normal(19).astype(dtype)
    expected = params.astype(float)
    slots = np.zeros((entry.n_slots, 19), dtype=dtype)
    reference_slots = np.zeros((entry.n_slots, 19))
    numbers = np.zeros(4)
    numbers[: len(settings)] = settings
    for step in range(1, 6):
        grads = rng.standard_normal(19).astype(dtype)
        run_step(entry.code, 0.05, step, numbers, params, grads, slots, 0, 19)
        expected = _reference_step(rule, expected, grads.astype(float), reference_slots, step, 0.05)
    np.testing.assert_allclose(params, expected, rtol=1e-4 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_find_the_minimum_of_a_parabola(name):
    entry = OPTIMIZERS[name]
    settings = {"momentum": 0.5, "nesterovs_momentum": 1.0, "beta_1": 0.9, "beta_2": 0.99, "epsilon": 1e-8}
    numbers = np.array([settings[key] for key in entry.settings] + [0.0] * (4 - len(entry.settings)))
    params, slots = np.array([3.0, -2.0]), np.zeros((entry.n_slots, 2))
    for step in range(1, 1500):
        run_step(entry.code, 0.01, step, numbers, params, params - 1.0, slots, 0, 2)
    np.testing.assert_allclose(params, 1.0, atol=1e-2)


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name):
    entry = SCHEDULES[name]
    rate = entry.after_epoch(0.3, 0.3, 99, 0.5)
    assert rate == pytest.approx(0.03 if name == "invscaling" else 0.3)
    lowered = entry.on_plateau(0.5)
    assert lowered == (0.1 if name == "adaptive" else None)
    assert entry.on_plateau(1e-6) is None


def test_glorot_bound():
    weights, intercepts = glorot_uniform(np.random.RandomState(0), 40, 20)
    bound = np.sqrt(6 / 60)
    assert weights.shape == (40, 20)
    assert intercepts.shape == (20,)
    for array in (weights, intercepts):
        assert 0.8 * bound < np.abs(array).max() <= bound
