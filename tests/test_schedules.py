"""Schedules of the learning rate, all of them, and each against a source other than its own code."""

import pickle
from itertools import pairwise

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.neural_network._stochastic_optimizers import SGDOptimizer

from skbackprop.functions import schedules
from skbackprop.functions._function import N_SETTINGS, Function
from skbackprop.functions.schedules import SCHEDULES, Clock, Schedule

RATE = 0.1
#: Settings other than the defaults, which a few tests need more than one of.
VARIANTS = [
    *(SCHEDULES[name]() for name in SCHEDULES),
    schedules.StepDecay(every=0.5, factor=0.9),
    schedules.Polynomial(power=2.5, final_fraction=0.1),
    schedules.Cosine(restart_epochs=3),
    schedules.Cosine(restart_epochs=0.35, restart_factor=1.3, final_fraction=0.01),
    schedules.FlatCosine(flat_fraction=0.0),
    schedules.FlatCosine(flat_fraction=1.0, final_fraction=0.5),
    schedules.CosineLog(n_cycles=1),
    schedules.CosineLog(n_cycles=50),
    schedules.OneCycle(peak_fraction=0.0),
    schedules.OneCycle(peak_fraction=1.0),
]
every_schedule = pytest.mark.parametrize("schedule", VARIANTS, ids=repr)
every_name = pytest.mark.parametrize("name", SCHEDULES)


def make_clock(steps_per_epoch=10, n_epochs=20, n_seen=0, rate=RATE, power_t=0.5):
    return Clock(
        steps_per_epoch=steps_per_epoch,
        max_steps=n_epochs * steps_per_epoch,
        n_seen=n_seen,
        rows_per_epoch=7 * steps_per_epoch,
        power_t=power_t,
        rate=rate,
    )


def rates_in_chunks(schedule, epochs, **settings):
    """Rates of the given numbers of epochs, each asked for in a call of its own."""
    chunks, n_done = [], 0
    for n_epochs in epochs:
        clock = make_clock(n_seen=n_done * make_clock(**settings).rows_per_epoch, **settings)
        chunks.append(schedule.rates(RATE, n_done * clock.steps_per_epoch, n_epochs * clock.steps_per_epoch, clock))
        n_done += n_epochs
    return np.concatenate(chunks)


@every_name
def test_registered_as_functions(name):
    schedule = SCHEDULES.get_function(name)
    assert isinstance(schedule, Schedule)
    assert isinstance(schedule, Function)
    assert SCHEDULES.get_function(schedule) is schedule
    assert schedule.definition
    assert "Parameters\n" in type(schedule).__doc__
    assert type(schedule)(0.5).warmup_epochs == 0.5


@every_name
def test_parameters(name):
    schedule = SCHEDULES[name]()
    assert repr(schedule) == f"{type(schedule).__name__}()"
    assert schedule.warmup_epochs == 0
    assert set(schedule.get_params()) == set(schedule._parameter_constraints)
    schedule.set_params(warmup_epochs=2.5)
    assert repr(schedule) == f"{type(schedule).__name__}(warmup_epochs=2.5)"
    copy = clone(schedule)
    assert copy is not schedule
    assert copy.get_params() == schedule.get_params()
    assert copy.key() == schedule.key() == pickle.loads(pickle.dumps(schedule)).key()
    assert copy.key() != type(schedule)().key()


@every_schedule
def test_settings_are_numbers(schedule):
    settings = schedule.settings()
    assert len(settings) == len(schedule.get_params()) <= N_SETTINGS
    assert all(type(value) is float and np.isfinite(value) for value in settings)


@every_schedule
@pytest.mark.parametrize("warmup_epochs", [0, 0.5, 3, 100])
@pytest.mark.parametrize(("steps_per_epoch", "n_epochs"), [(1, 1), (1, 2), (1, 20), (3, 1), (10, 20)])
def test_positive_and_finite(schedule, warmup_epochs, steps_per_epoch, n_epochs):
    schedule = clone(schedule).set_params(warmup_epochs=warmup_epochs)
    rates = schedule.rates(RATE, 0, 400 * steps_per_epoch, make_clock(steps_per_epoch, n_epochs))
    assert rates.shape == (400 * steps_per_epoch,)
    assert rates.dtype == np.float64
    assert np.isfinite(rates).all()
    assert (rates > 0).all()
    assert (rates <= RATE * (1 + 1e-15)).all()


@every_schedule
def test_never_negative_in_the_end(schedule):
    clock = make_clock(n_seen=10**15, power_t=1e3)
    with np.errstate(all="raise", under="ignore"):
        rates = schedule.rates(RATE, 10**12, 30, clock)
    assert np.isfinite(rates).all()
    assert (rates >= 0).all()


@every_schedule
@pytest.mark.parametrize("warmup_epochs", [0, 1.7])
def test_chunks_equal_one_call(schedule, warmup_epochs):
    schedule = clone(schedule).set_params(warmup_epochs=warmup_epochs)
    expected = rates_in_chunks(schedule, [30])
    assert expected.shape == (300,)
    np.testing.assert_array_equal(rates_in_chunks(schedule, [15, 15]), expected)
    np.testing.assert_array_equal(rates_in_chunks(schedule, [1] * 30), expected)


@every_schedule
def test_no_updates(schedule):
    assert schedule.rates(RATE, 10, 0, make_clock()).shape == (0,)


@every_schedule
@pytest.mark.parametrize(("warmup_epochs", "n_warmup"), [(0.1, 1), (0.5, 5), (3, 30)])
def test_warmup_is_linear_and_comes_before_the_schedule(schedule, warmup_epochs, n_warmup):
    # After it, the same rates as without, in a training that is shorter by it.
    warm = clone(schedule).set_params(warmup_epochs=warmup_epochs).rates(RATE, 0, 100, make_clock())
    clock = make_clock()
    shorter = Clock(10, clock.max_steps - n_warmup, 0, clock.rows_per_epoch, clock.power_t, RATE)
    cold = schedule.rates(RATE, 0, 100, shorter)
    np.testing.assert_allclose(warm[:n_warmup], cold[0] * np.arange(1, n_warmup + 1) / n_warmup, rtol=1e-14)
    # The rate of "invscaling" changes where epochs begin, which a warm-up does not move.
    if schedule.name != "invscaling" or n_warmup % 10 == 0:
        np.testing.assert_array_equal(warm[n_warmup:], cold[: 100 - n_warmup])


def test_warmup_within_an_epoch_of_inverse_scaling():
    rates = schedules.InverseScaling(warmup_epochs=0.5).rates(RATE, 0, 30, make_clock())
    np.testing.assert_allclose(rates[:5], RATE * np.arange(1, 6) / 5)
    np.testing.assert_array_equal(rates[5:10], RATE)
    # Ten updates are 70 rows, of which the warm-up has had 35.
    np.testing.assert_array_equal(rates[10:20], RATE / (35 + 1) ** 0.5)
    np.testing.assert_array_equal(rates[20:], RATE / (105 + 1) ** 0.5)


def sklearn_rates(name, n_epochs, rows, n_seen=0, power_t=0.5, plateaus=()):
    """The rate of each epoch in scikit-learn's optimizer, until it stops."""
    optimizer = SGDOptimizer([], learning_rate_init=RATE, lr_schedule=name, power_t=power_t)
    rates = []
    for epoch in range(n_epochs):
        rates.append(optimizer.learning_rate)
        n_seen += rows
        optimizer.iteration_ends(n_seen)
        if epoch in plateaus and optimizer.trigger_stopping("", verbose=False):
            break
    return rates


@pytest.mark.parametrize("name", ["constant", "invscaling", "adaptive"])
@pytest.mark.parametrize("power_t", [0.0, 0.5, 0.37])
@pytest.mark.parametrize("n_seen", [0, 12345])
def test_equal_to_sklearn(name, power_t, n_seen):
    clock = make_clock(n_seen=n_seen, power_t=power_t)
    rates = SCHEDULES[name]().rates(RATE, 0, 100, clock)
    expected = sklearn_rates(name, 10, clock.rows_per_epoch, n_seen, power_t)
    np.testing.assert_array_equal(rates, np.repeat(expected, 10))


def test_inverse_scaling_of_partial_fit():
    # Calls with different numbers of rows: what counts is the rows that were seen.
    schedule, n_seen, n_steps, rates = schedules.InverseScaling(), 0, 0, []
    for rows, steps in [(100, 1), (250, 2), (30, 1)]:
        clock = Clock(steps, 200 * steps, n_seen, rows, 0.5, RATE)
        rates.append(schedule.rates(RATE, n_steps, steps, clock).tolist())
        n_seen += rows
        n_steps += steps
    assert rates == [[RATE], [RATE / 101**0.5] * 2, [RATE / 351**0.5]]


@pytest.mark.parametrize("name", ["constant", "invscaling", "adaptive"])
def test_plateaus_equal_to_sklearn(name):
    plateaus = range(2, 100, 3)
    expected = sklearn_rates(name, 100, 70, plateaus=plateaus)
    schedule, rate, rates = SCHEDULES[name](), RATE, []
    for epoch in range(100):
        clock = make_clock(n_seen=70 * epoch, rate=rate)
        rates.extend(schedule.rates(RATE, 10 * epoch, 10, clock)[:1])
        if epoch in plateaus:
            rate = schedule.on_plateau(rate)
            if rate is None:
                break
    assert rates == expected


@every_name
def test_plateaus_come_to_an_end(name):
    schedule, rates = SCHEDULES[name](), [RATE]
    while (rate := schedule.on_plateau(rates[-1])) is not None:
        assert 0 < rate < rates[-1]
        # The rate in force is the caller's to remember, so warm-up does not touch it.
        assert schedule.rates(RATE, 0, 1, make_clock(rate=rate)) == [rate]
        rates.append(rate)
    assert len(rates) == {"adaptive": 9, "reduce_on_plateau": 6}.get(name, 1)


def test_reduce_on_plateau():
    schedule = schedules.ReduceOnPlateau(factor=0.3, min_rate=0.01)
    assert schedule.on_plateau(0.1) == pytest.approx(0.03)
    assert schedule.on_plateau(0.03) == 0.01
    assert schedule.on_plateau(0.01) is None
    assert schedules.ReduceOnPlateau(min_rate=0).on_plateau(5e-324) == 0
    assert schedules.ReduceOnPlateau(min_rate=0).on_plateau(0.0) is None


# The numbers of PyTorch 2.13: the rate before each update of SGD with lr=0.1, by the scheduler in the comment. Here an
# epoch has four.
TORCH = {
    # StepLR(optimizer, step_size=8, gamma=0.3)
    "step": (
        schedules.StepDecay(every=2, factor=0.3),
        24,
        """
        0.1 0.1 0.1 0.1 0.1 0.1 0.1 0.1 0.03 0.03 0.03 0.03 0.03 0.03 0.03 0.03 0.009 0.009 0.009 0.009
        0.009 0.009 0.009 0.009
        """,
    ),
    # LambdaLR(optimizer, lambda step: 0.9 ** (step / 4)); ExponentialLR(optimizer, gamma=0.9) where an epoch begins
    "exponential": (
        schedules.Exponential(factor=0.9),
        12,
        """
        0.1 0.0974003746425 0.0948683298051 0.0924021086472 0.09 0.0876603371783 0.0853814968245
        0.0831618977825 0.081 0.0788943034604 0.0768433471421 0.0748457080043
        """,
    ),
    # PolynomialLR(optimizer, total_iters=12, power=2.0)
    "polynomial": (
        schedules.Polynomial(power=2),
        12,
        """
        0.1 0.0840277777778 0.0694444444444 0.05625 0.0444444444444 0.0340277777778 0.025 0.0173611111111
        0.0111111111111 0.00625 0.00277777777778 0.000694444444444
        """,
    ),
    # CosineAnnealingLR(optimizer, T_max=12, eta_min=0.01)
    "cosine": (
        schedules.Cosine(final_fraction=0.1),
        12,
        """
        0.1 0.098466662183 0.0939711431703 0.0868198051534 0.0775 0.0666468570296 0.055 0.0433531429704
        0.0325 0.0231801948466 0.0160288568297 0.011533337817
        """,
    ),
    # CosineAnnealingWarmRestarts(optimizer, T_0=4, T_mult=2, eta_min=0.01)
    "restarts, longer": (
        schedules.Cosine(restart_epochs=1, restart_factor=2, final_fraction=0.1),
        16,
        """
        0.1 0.0868198051534 0.055 0.0231801948466 0.1 0.096574578963 0.0868198051534 0.0722207544564 0.055
        0.0377792455436 0.0231801948466 0.013425421037 0.1 0.0991353376181 0.096574578963 0.0924161325536
        """,
    ),
    # CosineAnnealingWarmRestarts(optimizer, T_0=4)
    "restarts": (
        schedules.Cosine(restart_epochs=1),
        12,
        """
        0.1 0.0853553390593 0.05 0.0146446609407 0.1 0.0853553390593 0.05 0.0146446609407 0.1
        0.0853553390593 0.05 0.0146446609407
        """,
    ),
    # OneCycleLR(optimizer, max_lr=0.1, total_steps=20)
    "one cycle": (
        schedules.OneCycle(),
        20,
        """
        0.004 0.01316718427 0.03716718427 0.06683281573 0.09083281573 0.1 0.0987464006235 0.0950484632013
        0.0890916177571 0.081174565395 0.0716943001791 0.0611262021936 0.0500002 0.0388741978064
        0.0283060998209 0.018825834605 0.0109087822429 0.00495193679865 0.00125399937649 4e-07
        """,
    ),
    # OneCycleLR(optimizer, max_lr=0.1, total_steps=16, pct_start=0.4, div_factor=10, final_div_factor=100)
    "one cycle, settings": (
        schedules.OneCycle(peak_fraction=0.4, start_divisor=10, final_divisor=100),
        16,
        """
        0.01 0.0174030484864 0.0371764105282 0.062814167995 0.0858808737041 0.0987870191761 0.0990402247561
        0.093307968919 0.0829843234642 0.0691650374466 0.053316886305 0.0371219886971 0.0222992668607
        0.0104220006525 0.00275084003172 0.0001
        """,
    ),
    # SequentialLR(optimizer, [LambdaLR(optimizer, lambda step: (step + 1) / 4), CosineAnnealingLR(optimizer, T_max=8)],
    # milestones=[4])
    "warm-up, cosine": (
        schedules.Cosine(warmup_epochs=1),
        12,
        """
        0.025 0.05 0.075 0.1 0.1 0.0961939766256 0.0853553390593 0.0691341716183 0.05 0.0308658283817
        0.0146446609407 0.00380602337444
        """,
    ),
}


@pytest.mark.parametrize("case", TORCH)
def test_equal_to_pytorch(case):
    schedule, n_steps, expected = TORCH[case]
    rates = schedule.rates(0.1, 0, n_steps, make_clock(4, n_steps // 4))
    np.testing.assert_allclose(rates, np.array(expected.split(), dtype=float), rtol=1e-10)


@every_schedule
def test_keeps_its_last_rate_if_laid_out_over_max_iter(schedule):
    clock = make_clock()
    rates = schedule.rates(RATE, 0, clock.max_steps + 50, clock)
    if schedule.ends_with_max_iter:
        np.testing.assert_array_equal(rates[clock.max_steps :], rates[clock.max_steps - 1])
    elif schedule.name in ("step", "exponential"):
        assert rates[-1] < rates[clock.max_steps - 1]


@pytest.mark.parametrize("flat_fraction", [0.0, 0.5, 0.9])
def test_flat_cosine_is_flat_and_then_a_cosine(flat_fraction):
    rates = schedules.FlatCosine(flat_fraction=flat_fraction).rates(RATE, 0, 200, make_clock())
    n_flat = round(200 * flat_fraction)
    assert (rates[: n_flat + 1] == RATE).all()
    cosine = schedules.Cosine().rates(RATE, 0, 200 - n_flat, make_clock(1, 200 - n_flat))
    np.testing.assert_allclose(rates[n_flat:], cosine, rtol=1e-9)


@pytest.mark.parametrize("n_steps", [15, 256, 10_000])
def test_cosine_log_is_the_papers(n_steps):
    """Half an update apart: here the fraction of the training is that at the middle of an update."""
    # The paper's formula, with the cosine and four cycles.
    t = (np.arange(n_steps) + 0.5) / n_steps
    expected = RATE * (1 - np.cos(2 * np.pi * np.log2(1 + 15 * t))) / 2
    rates = schedules.CosineLog().rates(RATE, 0, n_steps, make_clock(1, n_steps))
    np.testing.assert_allclose(rates, expected, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("n_cycles", [1, 2, 4, 5])
def test_cosine_log_is_smallest_at_its_valleys(n_cycles):
    schedule, n_steps = schedules.CosineLog(n_cycles=n_cycles), 30_000
    rates = schedule.rates(RATE, 0, n_steps, make_clock(1, n_steps))
    valleys = schedule.valleys()
    assert len(valleys) == n_cycles
    np.testing.assert_allclose(valleys, (2.0 ** np.arange(1, n_cycles + 1) - 1) / (2**n_cycles - 1))
    starts = np.round(np.array([0.0, *valleys]) * n_steps).astype(int)
    for start, stop in pairwise(starts):
        cycle = rates[start:stop]
        assert cycle.max() == pytest.approx(RATE, rel=1e-4)
        assert cycle[[0, -1]].max() < 1e-5 * RATE
        # Once up, once down.
        assert (np.diff(np.sign(np.diff(cycle))) != 0).sum() == 1


def test_cosine_log_has_no_update_without_a_rate():
    """Also where valleys lie between updates, or there are fewer updates than cycles."""
    for n_steps in [*range(1, 200), 15 * 2**20]:
        for n_cycles in (1, 4, 10):
            rates = schedules.CosineLog(n_cycles=n_cycles).rates(RATE, 0, n_steps, make_clock(1, n_steps))
            assert rates.min() > 0


def test_restarts_with_rounded_lengths():
    # 3.5 updates, 5.25, 7.875: each cycle is a whole number of them, and begins with the initial rate.
    schedule = schedules.Cosine(restart_epochs=0.35, restart_factor=1.5)
    rates = schedule.rates(RATE, 0, 30, make_clock())
    assert np.flatnonzero(rates == RATE).tolist() == [0, 4, 10, 19]


def test_restarts_that_grow_beyond_all_bounds():
    schedule = schedules.Cosine(restart_epochs=1, restart_factor=1e300)
    np.testing.assert_allclose(schedule.rates(RATE, 0, 30, make_clock())[10:], RATE)
    assert schedules.StepDecay(every=1e300).rates(RATE, 0, 30, make_clock()).tolist() == [RATE] * 30
    assert (schedules.InverseScaling(warmup_epochs=1e308).rates(RATE, 0, 30, make_clock()) > 0).all()


@pytest.mark.parametrize(("peak_fraction", "highest"), [(0.0, 0), (0.3, 59), (1.0, 199)])
def test_place_of_one_cycles_peak(peak_fraction, highest):
    clock = make_clock()
    rates = schedules.OneCycle(peak_fraction=peak_fraction).rates(RATE, 0, clock.max_steps, clock)
    assert rates.argmax() == highest
    assert rates.max() == pytest.approx(RATE)


INVALID = [
    *((name, "warmup_epochs", value) for name in SCHEDULES for value in (-1, np.nan, np.inf, "1", None)),
    *(("step", "every", value) for value in (0, -1, np.inf, None)),
    *((name, "factor", value) for name in ("step", "exponential") for value in (0, 1.5, np.nan)),
    *(("reduce_on_plateau", "factor", value) for value in (0, 1)),
    ("reduce_on_plateau", "min_rate", -1e-9),
    *((name, "final_fraction", value) for name in ("polynomial", "cosine", "flat_cosine") for value in (-0.1, 1.1)),
    *(("flat_cosine", "flat_fraction", value) for value in (-0.1, 1.1, None)),
    *(("polynomial", "power", value) for value in (0, np.inf)),
    *(("cosine", "restart_epochs", value) for value in (0, -1, np.inf)),
    *(("cosine", "restart_factor", value) for value in (0.5, np.inf)),
    *(("cosine_log", "n_cycles", value) for value in (0, 1.5, 51, None)),
    *(("one_cycle", "peak_fraction", value) for value in (-0.1, 1.1)),
    *(("one_cycle", divisor, value) for divisor in ("start_divisor", "final_divisor") for value in (0.5, np.inf)),
]


def test_every_setting_has_invalid_values():
    assert {(name, setting) for name, setting, _ in INVALID} == {
        (name, setting) for name in SCHEDULES for setting in SCHEDULES[name]().get_params()
    }


@pytest.mark.parametrize(("name", "setting", "value"), INVALID)
def test_invalid_settings(name, setting, value):
    schedule = SCHEDULES[name]().set_params(**{setting: value})
    with pytest.raises(ValueError, match=rf"'{setting}' parameter of .* must be .* Got .*{value}"):
        SCHEDULES.get_function(schedule)


def test_unknown_schedule():
    with pytest.raises(ValueError, match="learning_rate='trapezoid' is not known; choose one of 'adaptive'"):
        SCHEDULES.get_function("trapezoid")
    with pytest.raises(TypeError, match=r"learning_rate=0\.1 is not a function"):
        SCHEDULES.get_function(0.1)
