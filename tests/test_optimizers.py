"""Optimizers: against PyTorch and scikit-learn, on a parabola, in both precisions, and as objects with settings."""

import json
import math
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from numba import types
from sklearn.base import clone
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer

from skbackprop._compile import JIT, formula, invoke, kernel
from skbackprop.backends.cpu.memory import at
from skbackprop.functions.elementary import number
from skbackprop.functions.optimizers import (
    CARRIED,
    N_CONSTANTS,
    N_SETTINGS,
    OPTIMIZERS,
    SGD,
    Adam,
    Optimizer,
    optimizer_loops,
)

DTYPES = [np.float32, np.float64]
NUMBA_TYPES = {np.float32: types.float32, np.float64: types.float64}
REFERENCE = json.loads((Path(__file__).parent / "data" / "optimizer_reference.json").read_text())

# With every kind of kernel in it.
OBJECTS = [
    *(kind() for kind in OPTIMIZERS.values()),
    SGD(nesterov=False),
    OPTIMIZERS["rmsprop"](momentum=0.9),
    OPTIMIZERS["rmsprop"](centered=True, momentum=0.5),
    OPTIMIZERS["adagrad"](initial_accumulator_value=0.1),
    OPTIMIZERS["lion"](weight_decay=0.1),
]

ZERO = np.int64(0)


@kernel
def run_prepare(address, rate, step, settings, constants):
    invoke(address, (rate, step, at(settings, ZERO), at(constants, ZERO)))


@kernel
def run_step(address, constants, share, l2, decays, params, grads, slots, stride, start, stop):
    invoke(
        address,
        (
            at(constants, ZERO),
            share,
            l2,
            decays,
            at(params, start),
            at(grads, start),
            at(slots, start),
            stride,
            stop - start,
        ),
    )


class Run:
    """An optimizer at work on an array of parameters."""

    def __init__(self, optimizer, start, dtype=np.float64):
        pointer, doubles = types.CPointer(NUMBA_TYPES[dtype]), types.CPointer(types.float64)
        f, i = types.float64, types.int64
        prepare, step = optimizer_loops(optimizer.kernel_kind())
        self.prepare = prepare.address(f, i, doubles, doubles)
        self.step = step.address(doubles, f, f, f, pointer, pointer, pointer, i, i)
        self.settings = np.zeros(N_SETTINGS)
        self.settings[: len(optimizer.settings())] = optimizer.settings()
        self.constants = np.zeros(N_CONSTANTS)
        self.params = np.array(start, dtype=dtype)
        self.slots = np.zeros((optimizer.n_slots, self.params.size), dtype=dtype)
        self.slots[:] = np.array(optimizer.initial_slots(), dtype=dtype)[:, np.newaxis]
        self.n_steps = 0

    def update(self, gradient, rate, share=1.0, l2=0.0, decays=1.0, cuts=()):
        self.n_steps += 1
        run_prepare(self.prepare, float(rate), self.n_steps, self.settings, self.constants)
        gradient = np.asarray(gradient, dtype=self.params.dtype)
        slots, n = self.slots.reshape(-1), self.params.size
        for start, stop in zip((0, *cuts), (*cuts, n), strict=True):
            run_step(self.step, self.constants, share, l2, decays, self.params, gradient, slots, n, start, stop)
        return self.params


def rate_of(optimizer):
    """A learning rate that suits gradients of about 1."""
    return 1.0 if optimizer.name == "adadelta" else 0.01


@pytest.mark.parametrize(
    "case", REFERENCE["cases"], ids=lambda case: f"{case['name']}-{case['settings']}-{case['decays']}"
)
def test_agrees_with_pytorch(case):
    run = Run(OPTIMIZERS[case["name"]](**case["settings"]), REFERENCE["start"])
    deviations = {}
    expected = iter(case["params"])
    for step, gradient in enumerate(REFERENCE["gradients"], 1):
        params = run.update(gradient, case["rate"], REFERENCE["share"], case["l2"], case["decays"])
        if step in REFERENCE["checkpoints"]:
            target = np.array(next(expected))
            deviations[step] = np.max(np.abs(params - target) / np.abs(target))
    assert next(expected, None) is None
    assert max(deviations.values()) <= 1e-12, f"largest relative deviation after each number of updates: {deviations}"


def test_the_reference_covers_every_optimizer():
    cases = {name: [case for case in REFERENCE["cases"] if case["name"] == name] for name in OPTIMIZERS}
    assert all(len(of_name) >= 2 for of_name in cases.values()), cases.keys()


@pytest.mark.parametrize("epsilon", [1e-8, 1e-2])
def test_adam_agrees_with_sklearn(epsilon, rng):
    start = rng.normal(size=9)
    theirs = AdamOptimizer([start.copy()], learning_rate_init=0.01, beta_1=0.8, beta_2=0.95, epsilon=epsilon)
    run = Run(Adam(0.8, 0.95, epsilon), start)
    params = start.copy()
    for _ in range(50):
        gradient = rng.normal(size=9) * epsilon
        theirs.update_params([params], [gradient])
        run.update(gradient, 0.01)
    np.testing.assert_allclose(run.params, params, rtol=1e-13)


@pytest.mark.parametrize("nesterov", [True, False])
def test_sgd_agrees_with_sklearn_while_the_rate_changes(nesterov, rng):
    start = rng.normal(size=9)
    theirs = SGDOptimizer([start.copy()], learning_rate_init=0.1, momentum=0.7, nesterov=nesterov)
    run = Run(SGD(0.7, nesterov), start)
    params = start.copy()
    for step in range(50):
        theirs.learning_rate = 0.1 / (1 + step)
        gradient = rng.normal(size=9)
        theirs.update_params([params], [gradient])
        run.update(gradient, theirs.learning_rate)
    np.testing.assert_allclose(run.params, params, rtol=1e-14)


@pytest.mark.parametrize("optimizer", OBJECTS, ids=repr)
def test_finds_the_minimum_of_a_parabola(optimizer):
    target = np.array([1.0, -2.0, 0.5])
    rate = {"adadelta": 10.0, "adagrad": 1.0, "adamax": 0.2}.get(optimizer.name, 0.05)
    run = Run(optimizer, np.zeros(3))
    n_steps = 600
    for step in range(n_steps):
        # Where changes do not shrink with the gradient, the rate has to. With decay the minimum would be another one.
        run.update(run.params - target, rate * 0.01 ** (step / n_steps), decays=0.0)
    np.testing.assert_allclose(run.params, target, atol=2e-3)


@pytest.mark.parametrize("optimizer", OBJECTS, ids=repr)
def test_single_precision_is_close_to_double(optimizer, rng):
    start = rng.normal(size=37)
    single, double = Run(optimizer, start, np.float32), Run(optimizer, start)
    for _ in range(30):
        gradient = rng.normal(size=37)
        single.update(gradient, rate_of(optimizer), 0.5, 1e-2)
        double.update(gradient, rate_of(optimizer), 0.5, 1e-2)
    np.testing.assert_allclose(single.params, double.params, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", OBJECTS, ids=repr)
def test_the_type_is_kept(optimizer, dtype):
    kind = optimizer.kernel_kind()
    constants = namedtuple("Constants", kind.constants)
    if JIT:
        number = NUMBA_TYPES[dtype]
        state = types.UniTuple(number, kind.n_slots)
        signature = number, number, number, state, types.NamedUniTuple(number, len(kind.constants), constants)
        kind.update.compile(signature)
        made = kind.update.overloads[signature].signature.return_type
    else:
        number = dtype
        one = dtype(1.0)
        values = kind.update(one, one, one, (one,) * kind.n_slots, constants(*[dtype(0.5)] * len(kind.constants)))
        made = [type(value) for value in values]
    assert list(made) == [number] * (1 + kind.n_slots)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", OBJECTS, ids=repr)
def test_the_same_however_parameters_are_divided(optimizer, dtype, rng):
    start, gradients = rng.normal(size=101), rng.normal(size=(5, 101))
    whole, parts = Run(optimizer, start, dtype), Run(optimizer, start, dtype)
    for gradient in gradients:
        whole.update(gradient, rate_of(optimizer), 0.1, 0.01)
        parts.update(gradient, rate_of(optimizer), 0.1, 0.01, cuts=(1, 20, 83))
    np.testing.assert_array_equal(whole.params, parts.params)
    np.testing.assert_array_equal(whole.slots, parts.slots)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", OBJECTS, ids=repr)
def test_nan_gradient_gives_nan_parameter(optimizer, dtype):
    run = Run(optimizer, np.ones(11), dtype)
    gradient = np.full(11, 0.5)
    run.update(gradient, 0.01)
    gradient[4] = np.nan
    params = run.update(gradient, 0.01)
    np.testing.assert_array_equal(np.isnan(params), np.isnan(gradient))
    # It stays, although the next gradient is a number.
    assert np.isnan(run.update(np.ones(11), 0.01)[4])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", OBJECTS, ids=repr)
def test_without_gradient_and_decay_nothing_changes(optimizer, dtype, rng):
    start = rng.normal(size=11).astype(dtype)
    run = Run(optimizer, start, dtype)
    for _ in range(3):
        run.update(np.zeros(11), 0.1, decays=0.0)
    np.testing.assert_array_equal(run.params, start)


@pytest.mark.parametrize("name", ["adamw", "lion"])
def test_weights_decay_by_a_share_and_intercepts_not(name):
    optimizer = OPTIMIZERS[name](weight_decay=0.5)
    weights, intercepts = Run(optimizer, [2.0, -4.0]), Run(optimizer, [2.0, -4.0])
    weights.update(np.zeros(2), 0.1, decays=1.0)
    intercepts.update(np.zeros(2), 0.1, decays=0.0)
    np.testing.assert_allclose(weights.params, [1.9, -3.8], rtol=1e-15)
    np.testing.assert_array_equal(intercepts.params, [2.0, -4.0])


def test_centered_rmsprop_bears_a_gradient_that_does_not_change():
    """The variance is then zero, or by rounding less."""
    run = Run(OPTIMIZERS["rmsprop"](rho=0.5, centered=True), np.ones(5))
    for _ in range(200):
        run.update([0.1, 0.3, 0.7, 1.1, 1.3], 1e-9)
    assert np.isfinite(run.params).all()


def test_an_optimizer_without_state_can_be_added():
    class Descent(Optimizer):
        name = "descent"
        n_slots = 0

        @staticmethod
        @formula
        def prepare(rate, step, s, kept):
            return (rate / step,)

        @staticmethod
        @formula
        def update(w, g, decays, s, c):
            return (w - c[0] * g,)

    run = Run(Descent(), np.ones(5))
    run.update(np.ones(5), 0.5)
    np.testing.assert_array_equal(run.update(np.full(5, 2.0), 0.5, share=0.5), np.full(5, 0.25))


class FourSlots(Optimizer):
    """Two averages of the gradient over the root of the largest average of its square: an optimizer of one's own."""

    name = "four_slots"
    n_slots = 4
    constants = ("rate", "decay", "rest", "share")

    def __init__(self, share=0.5, decay=0.9):
        self.share = share
        self.decay = decay

    @staticmethod
    @formula
    def prepare(rate, step, s, kept):
        return rate / (1.0 - s.decay**step), s.decay, 1.0 - s.decay, s.share

    @staticmethod
    @formula
    def update(w, g, decays, state, c):
        one, fast, slow, square, largest = number(1.0, w), *state
        fast = c.decay * fast + c.rest * g
        slow = c.decay * slow + c.rest * fast
        square = c.decay * square + c.rest * (g * g)
        largest = square if square > largest else largest
        direction = c.share * fast + (one - c.share) * slow
        return w - c.rate * direction / (one + number(math.sqrt(largest), w)), fast, slow, square, largest


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_optimizer_with_four_slots_and_two_settings_can_be_added(dtype, rng):
    w, share, decay = rng.normal(size=23), 0.3, 0.8
    run = Run(FourSlots(share, decay), w, dtype)
    fast, slow, square, largest = np.zeros((4, 23))
    for step in range(1, 6):
        g = rng.normal(size=23)
        run.update(g, 0.1, cuts=(4, 11))
        fast = decay * fast + (1 - decay) * g
        slow = decay * slow + (1 - decay) * fast
        square = decay * square + (1 - decay) * g**2
        largest = np.maximum(square, largest)
        w -= 0.1 / (1 - decay**step) * (share * fast + (1 - share) * slow) / (1 + np.sqrt(largest))
    tolerance = 1e-5 if dtype == np.float32 else 1e-13
    np.testing.assert_allclose(run.params, w, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(run.slots, [fast, slow, square, largest], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("optimizer", [*OBJECTS, FourSlots()], ids=repr)
def test_every_constant_has_a_name(optimizer):
    kind = optimizer.kernel_kind()
    settings = namedtuple("Settings", kind.setting_names())
    kept = namedtuple("Kept", kind.constants[CARRIED:])
    if JIT:
        f = types.float64
        signature = f, types.int64, *(types.NamedUniTuple(f, len(one._fields), one) for one in (settings, kept))
        kind.prepare.compile(signature)
        n_constants = len(kind.prepare.overloads[signature].signature.return_type)
    else:
        numbers = map(np.float64, optimizer.settings())
        n_constants = len(kind.prepare(0.1, 1, settings(*numbers), kept(*[0.0] * len(kept._fields))))
    assert n_constants == len(kind.constants) <= N_CONSTANTS


@pytest.mark.parametrize("kind", OPTIMIZERS.values(), ids=list(OPTIMIZERS))
def test_is_described(kind):
    optimizer = kind()
    assert kind.definition
    assert kind.reference
    assert kind.default_rate > 0
    assert kind.__name__.lower() == kind.name
    assert len(optimizer.settings()) <= N_SETTINGS
    assert len(optimizer.initial_slots()) == kind.n_slots
    for parameter, value in optimizer.get_params().items():
        assert f"    {parameter} : {type(value).__name__}, default=" in kind.__doc__
        assert parameter in kind._parameter_constraints


@pytest.mark.parametrize("kind", OPTIMIZERS.values(), ids=list(OPTIMIZERS))
def test_is_an_object_with_settings(kind):
    optimizer = OPTIMIZERS.get_function(kind.name)
    assert type(optimizer) is kind
    assert repr(optimizer) == f"{kind.__name__}()"
    for parameter, value in optimizer.get_params().items():
        changed = (not value) if isinstance(value, bool) else value / 2 + 0.25
        other = clone(optimizer).set_params(**{parameter: changed})
        assert OPTIMIZERS.get_function(other) is other
        assert other.get_params()[parameter] == changed
        assert clone(other).key() == other.key() != optimizer.key()
        assert f"{parameter}={changed}" in repr(other)


@pytest.mark.parametrize("kind", OPTIMIZERS.values(), ids=list(OPTIMIZERS))
def test_invalid_settings_are_refused(kind):
    for parameter in kind().get_params():
        for value in (-1.0, np.nan, "much", None):
            with pytest.raises(ValueError, match=f"The '{parameter}' parameter of {kind.__name__} must be"):
                OPTIMIZERS.get_function(kind(**{parameter: value}))


@pytest.mark.parametrize(
    ("name", "parameter", "value"), [("adam", "beta_1", 1.0), ("adam", "epsilon", 0.0), ("sgd", "momentum", 1.1)]
)
def test_limits_are_refused(name, parameter, value):
    with pytest.raises(ValueError, match=parameter):
        OPTIMIZERS.get_function(OPTIMIZERS[name](**{parameter: value}))


def test_names_take_the_estimators_parameters():
    parameters = {"momentum": 0.3, "nesterovs_momentum": False, "beta_1": 0.7, "beta_2": 0.8, "epsilon": 1e-3}
    assert OPTIMIZERS["sgd"].from_parameters(parameters).key() == SGD(0.3, False).key()
    assert OPTIMIZERS["adam"].from_parameters(parameters).key() == Adam(0.7, 0.8, 1e-3).key()
    for name in set(OPTIMIZERS) - {"sgd", "adam"}:
        assert OPTIMIZERS[name].from_parameters(parameters).key() == OPTIMIZERS[name]().key()


def test_loops_are_made_once():
    assert optimizer_loops(SGD().kernel_kind()) is optimizer_loops(SGD(0.5).kernel_kind())
    assert optimizer_loops(SGD().kernel_kind()) is not optimizer_loops(SGD(nesterov=False).kernel_kind())
