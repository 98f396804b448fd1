"""Losses: gradients, extremes, links, domains and settings, for every loss of the registry."""

from itertools import pairwise

import numpy as np
import pytest
from numba import types
from scipy.special import logsumexp
from scipy.stats import norm
from sklearn._loss import loss as reference
from sklearn.base import clone

from skbackprop._compile import formula, invoke, kernel
from skbackprop.backends.cpu.memory import at
from skbackprop.functions._function import N_SETTINGS
from skbackprop.functions.elementary import number
from skbackprop.functions.losses import LOSSES, loss_link, loss_loops

DTYPES = [np.float32, np.float64]

#: Settings beside the defaults.
SETTINGS = {
    "log_loss": [{"label_smoothing": 0.1}],
    "focal": [{"gamma": 0.0}, {"gamma": 0.5}, {"gamma": 1.0}, {"gamma": 5.0}],
    "huber": [{"delta": 0.3}],
    "quantile": [{"quantile": 0.9}, {"quantile": [0.25]}, {"quantile": (0.1, 0.5, 0.8)}],
    "tweedie": [{"power": power} for power in (-0.5, 0, 0.5, 1, 1.1, 1.9, 2, 2.5, 3.0)],
}
CASES = [
    pytest.param(kind(**settings).for_task(task), id=f"{name}-{task}-{settings}")
    for name, kind in LOSSES.items()
    for task in kind.kinds()
    for settings in [{}, *SETTINGS.get(name, [])]
]


@kernel
def run_evaluate(address, z, y, n_rows, n_outputs, n_targets, delta, losses, settings):
    zero = np.int64(0)
    invoke(
        address,
        (
            at(z, zero),
            at(y, zero),
            n_rows,
            n_outputs,
            n_targets,
            at(delta, zero),
            at(losses, zero),
            at(settings, zero),
        ),
    )


@kernel
def run_link(address, z, n_rows, n_outputs, settings):
    zero = np.int64(0)
    invoke(address, (at(z, zero), n_rows, n_outputs, at(settings, zero)))


def pointers(dtype):
    return types.CPointer(types.float32 if dtype == np.float32 else types.float64), types.CPointer(types.float64)


def padded(loss):
    settings = np.zeros(N_SETTINGS)
    settings[: len(loss.settings())] = loss.settings()
    return settings


def evaluate(loss, Z, Y):
    """Each row's loss, and the gradient."""
    Y = Y.astype(Z.dtype)
    number, double = pointers(Z.dtype)
    n = types.int64
    address = loss_loops(type(loss))[0].address(number, number, n, n, n, number, double, double)
    losses, delta = np.full(len(Z), np.nan), np.full_like(Z, np.nan)
    run_evaluate(
        address, Z.ravel().copy(), Y.ravel(), len(Z), Z.shape[1], Y.shape[1], delta.reshape(-1), losses, padded(loss)
    )
    return losses, delta


def predict(loss, Z):
    number, double = pointers(Z.dtype)
    out = Z.copy()
    address = loss_loops(type(loss))[1].address(number, types.int64, types.int64, double)
    run_link(address, out.reshape(-1), len(Z), Z.shape[1], padded(loss))
    return out


def data(loss, n_targets, rng, n_rows=7):
    """Raw predictions in float64, and targets from the loss's domain with the domain's bound among them."""
    n_outputs = n_targets * loss.outputs_per_target()
    Z = 1.5 * rng.standard_normal((n_rows, n_outputs))
    if loss.n_codes:
        return Z, rng.integers(0, n_outputs, (n_rows, 1)).astype(float)
    if loss.task == "binary":
        return Z, rng.integers(0, 2, Z.shape).astype(float)
    Y = 2 * rng.standard_normal((n_rows, n_targets)).round(2)
    if loss.lower == 0:
        Y = np.abs(Y) + (0 if loss.lower_inclusive else 0.1)
        Y[0] = 0.0 if loss.lower_inclusive else 0.1
    return Z, Y


def reported_to_gradient(loss, n_outputs):
    """The reported squared error is a mean over the outputs, the gradient that of the sum."""
    return n_outputs if loss.name == "squared_error" else 1


@pytest.mark.parametrize("n_targets", [1, 3])
@pytest.mark.parametrize("loss", CASES)
def test_gradients_are_numerical_gradients(loss, n_targets, rng):
    Z, Y = data(loss, n_targets, rng)
    _, delta = evaluate(loss, Z, Y)
    step = 1e-6
    for j in range(Z.shape[1]):
        shift = np.zeros_like(Z)
        shift[:, j] = step
        slope = (evaluate(loss, Z + shift, Y)[0] - evaluate(loss, Z - shift, Y)[0]) / (2 * step)
        slope *= reported_to_gradient(loss, Z.shape[1])
        np.testing.assert_allclose(delta[:, j], slope, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("n_targets", [1, 3])
@pytest.mark.parametrize("loss", CASES)
def test_float32_agrees_with_float64(loss, n_targets, rng):
    Z, Y = (part.astype(np.float32) for part in data(loss, n_targets, rng))
    single, double = evaluate(loss, Z, Y), evaluate(loss, Z.astype(np.float64), Y)
    assert single[1].dtype == np.float32
    np.testing.assert_allclose(single[1], double[1], rtol=2e-5, atol=2e-6)
    np.testing.assert_allclose(single[0], double[0], rtol=5e-5, atol=1e-5)
    np.testing.assert_allclose(predict(loss, Z), predict(loss, Z.astype(np.float64)), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", CASES)
def test_losses_and_links_at_extremes_are_finite(loss, dtype, rng):
    _, Y = data(loss, 2, rng, 5)
    ends = np.array([[-30, 30], [30, -30], [30, 30], [-30, -30], [0, 0]], dtype=dtype)
    Z = np.repeat(ends, loss.outputs_per_target(), axis=1)
    losses, delta = evaluate(loss, Z, Y)
    assert np.isfinite(losses).all()
    assert np.isfinite(delta).all()
    assert np.isfinite(predict(loss, Z)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", CASES)
def test_classifiers_stay_finite_far_out(loss, dtype, rng):
    if loss.task == "regression":
        return
    Z, Y = data(loss, 3, rng)
    losses, delta = evaluate(loss, (1000 * Z).astype(dtype), Y)
    assert np.isfinite(losses).all()
    assert (losses >= 0).all()
    assert np.isfinite(delta).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_targets", [1, 3])
@pytest.mark.parametrize("loss", CASES)
def test_nan_passes_on(loss, n_targets, dtype, rng):
    Z, Y = data(loss, n_targets, rng)
    Z = Z.astype(dtype)
    for j in range(Z.shape[1]):
        bad = Z.copy()
        bad[2, j] = np.nan
        losses, delta = evaluate(loss, bad, Y)
        np.testing.assert_array_equal(np.isnan(losses), np.arange(len(Z)) == 2)
        assert np.isnan(delta[2, j])
        linked = predict(loss, bad)
        assert np.isnan(linked[2, j])
        for part in (delta, linked):
            assert np.isfinite(np.delete(part, 2, axis=0)).all()


def of_sklearn(make):
    """scikit-learn's loss, number by number, with the constant that makes a perfect prediction's zero."""

    def losses(Z, Y, settings):
        made = make(settings)
        z, y = np.ascontiguousarray(Z.ravel()), np.ascontiguousarray(Y.ravel())
        return (made.loss(y, z) + made.constant_to_optimal_zero(y)).reshape(Z.shape).sum(axis=1)

    return losses


#: Losses of rows as other libraries compute them.
REFERENCES = {
    "absolute_error": of_sklearn(lambda settings: reference.AbsoluteError()),
    "huber": of_sklearn(lambda settings: reference.HuberLoss(delta=settings[0])),
    "poisson": of_sklearn(lambda settings: reference.HalfPoissonLoss()),
    "gamma": of_sklearn(lambda settings: reference.HalfGammaLoss()),
    "tweedie": of_sklearn(lambda settings: reference.HalfTweedieLoss(power=settings[0])),
    "gaussian_nll": lambda Z, Y, settings: -norm.logpdf(Y, Z[:, ::2], np.exp(Z[:, 1::2] / 2)).sum(axis=1),
}


@pytest.mark.parametrize("n_targets", [1, 3])
@pytest.mark.parametrize("loss", CASES)
def test_losses_agree_with_their_formulas(loss, n_targets, rng):
    Z, Y = data(loss, n_targets, rng)
    losses, _ = evaluate(loss, Z, Y)
    expected = loss.naive(Z, Y, *loss.settings()).sum(axis=1) / reported_to_gradient(loss, Z.shape[1])
    np.testing.assert_allclose(losses, expected, rtol=1e-12, atol=1e-12)
    if loss.name in REFERENCES:
        np.testing.assert_allclose(losses, REFERENCES[loss.name](Z, Y, loss.settings()), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (LOSSES["log_loss"]().for_task("binary"), reference.HalfBinomialLoss()),
        (LOSSES["absolute_error"](), reference.AbsoluteError()),
        (LOSSES["huber"](delta=0.7), reference.HuberLoss(delta=0.7)),
        (LOSSES["quantile"](quantile=0.3), reference.PinballLoss(quantile=0.3)),
        (LOSSES["poisson"](), reference.HalfPoissonLoss()),
        (LOSSES["gamma"](), reference.HalfGammaLoss()),
        (LOSSES["tweedie"](power=1.3), reference.HalfTweedieLoss(power=1.3)),
        (LOSSES["squared_error"](), reference.HalfSquaredError()),
    ],
    ids=str,
)
def test_gradients_and_links_agree_with_scikit_learn(made, expected, rng):
    Z, Y = data(made, 1, rng, 50)
    z, y = Z.ravel(), Y.ravel()
    np.testing.assert_allclose(evaluate(made, Z, Y)[1].ravel(), expected.gradient(y, z), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(predict(made, Z).ravel(), expected.link.inverse(z), rtol=1e-14)


def test_multiclass_gradient_agrees_with_scikit_learn(rng):
    loss = LOSSES["log_loss"]().for_task("multiclass")
    Z, Y = data(loss, 4, rng, 50)
    gradient, probabilities = reference.HalfMultinomialLoss(n_classes=4).gradient_proba(Y.ravel(), Z)
    np.testing.assert_allclose(evaluate(loss, Z, Y)[1], gradient, atol=1e-15)
    np.testing.assert_allclose(predict(loss, Z), probabilities, rtol=1e-14)


@pytest.mark.parametrize("loss", CASES)
def test_link_gives_what_out_activation_says(loss, rng):
    Z, _ = data(loss, 3, rng)
    activation = {
        "identity": lambda Z: Z,
        "exp": np.exp,
        "logistic": lambda Z: 1 / (1 + np.exp(-Z)),
        "softmax": lambda Z: np.exp(Z - logsumexp(Z, axis=1, keepdims=True)),
    }[loss.out_activation]
    linked = predict(loss, Z)
    np.testing.assert_allclose(linked, loss_link(type(loss)).naive(Z, *loss.settings()), rtol=1e-14)
    means = slice(None, None, 2 if loss.has_std else 1)
    np.testing.assert_allclose(linked[:, means], activation(Z)[:, means], rtol=1e-14)
    if loss.has_std:
        np.testing.assert_allclose(linked[:, 1::2], np.exp(Z[:, 1::2] / 2), rtol=1e-14)
    if loss.has_proba:
        assert ((linked > 0) & (linked < 1)).all()
    # The threshold is the prediction from a raw one that decides for neither label.
    if loss.task == "binary":
        assert predict(loss, np.zeros((1, 1))).item() == loss.threshold


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", CASES)
def test_perfect_predictions_have_no_gradient(loss, dtype):
    """By convention the gradient of losses with a kink is 0 there."""
    if loss.task != "regression" or loss.has_std:
        return
    Y = np.ones((3, 2))
    Z = loss_link(type(loss)).link(Y)
    losses, delta = evaluate(loss, np.repeat(Z, loss.outputs_per_target(), axis=1).astype(dtype), Y)
    np.testing.assert_allclose(delta, 0, atol=1e-15)
    np.testing.assert_allclose(losses, 0, atol=5e-6 if dtype == np.float32 else 1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
def test_hinge_has_no_gradient_on_the_margin(dtype):
    for task, Z, Y in (
        ("binary", [[1.0, -1.0]], [[1.0, 0.0]]),
        ("multiclass", [[1.0, -1.0]], [[0.0]]),
    ):
        losses, delta = evaluate(LOSSES["hinge"]().for_task(task), np.array(Z, dtype=dtype), np.array(Y))
        assert not losses.any()
        assert not delta.any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_reported_log_losses_clip_probabilities_but_not_their_gradient(dtype):
    end = -np.log(np.finfo(dtype).eps)
    binary, multiclass = (LOSSES["log_loss"]().for_task(task) for task in ("binary", "multiclass"))
    losses, delta = evaluate(binary, np.array([[-1000.0], [1000.0]], dtype=dtype), np.array([[1.0], [0.0]]))
    np.testing.assert_allclose(losses, end, rtol=1e-6)
    np.testing.assert_array_equal(delta, [[-1], [1]])
    losses, delta = evaluate(multiclass, np.array([[-1000.0, 0.0]], dtype=dtype), np.array([[0.0]]))
    np.testing.assert_allclose(losses, end, rtol=1e-6)
    np.testing.assert_array_equal(delta, [[-1, 1]])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1.0, 1000.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_log_loss_of_several_columns_is_the_sum_of_theirs(smoothing, scale, dtype, rng):
    counts = (3, 2, 4)
    starts = np.cumsum((0, *counts))
    Z = (scale * rng.standard_normal((7, 9))).astype(dtype)
    Y = np.column_stack([rng.integers(0, count, 7) for count in counts]).astype(float)
    together = LOSSES["log_loss"](smoothing).for_outputs(counts)
    of_one = LOSSES["log_loss"](smoothing).for_task("multiclass")
    losses, delta = evaluate(together, Z, Y)
    links, total = predict(together, Z), 0.0
    for column, (start, stop) in enumerate(pairwise(starts)):
        own, own_delta = evaluate(of_one, Z[:, start:stop].copy(), Y[:, [column]])
        total += own
        tolerance = 8 * np.finfo(dtype).eps
        np.testing.assert_allclose(delta[:, start:stop], own_delta, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(links[:, start:stop], predict(of_one, Z[:, start:stop].copy()), rtol=tolerance)
    np.testing.assert_allclose(losses, total, rtol=1e-5 if dtype == np.float32 else 1e-13)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["squared_error", "absolute_error", "huber", "log_cosh", "quantile"])
def test_losses_of_small_errors_are_not_negative(name, dtype, rng):
    loss = LOSSES[name]().for_task("regression")
    errors = np.geomspace(1e-9, 1.0, 1000) * rng.choice([-1, 1], 1000)
    losses, _ = evaluate(loss, errors[:, np.newaxis].astype(dtype), np.zeros((1000, 1)))
    assert (losses >= 0).all()


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_focal_with_gamma_0_is_log_loss(task, rng):
    focal, log_loss = LOSSES["focal"](gamma=0.0).for_task(task), LOSSES["log_loss"]().for_task(task)
    Z, Y = data(focal, 3, rng)
    for ours, expected in zip(evaluate(focal, Z, Y), evaluate(log_loss, Z, Y), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_is_exact_where_probabilities_round_to_one(gamma, dtype):
    """``log(p)`` and ``1 - p`` taken naively are 0 there."""
    rest = np.exp(-20.0)
    expected = rest**gamma * rest  # (1 - p)**gamma * -log(p), to first order
    focal = LOSSES["focal"](gamma=gamma)
    binary = evaluate(focal.for_task("binary"), np.array([[20.0]], dtype=dtype), np.ones((1, 1)))
    classes = evaluate(focal.for_task("multiclass"), np.array([[20.0, 0.0]], dtype=dtype), np.zeros((1, 1)))
    for losses, delta in (binary, classes):
        np.testing.assert_allclose(losses, expected, rtol=1e-5)
        np.testing.assert_allclose(delta[0, 0], -(1 + gamma) * expected, rtol=1e-5)
    np.testing.assert_allclose(classes[1][0, 1], -classes[1][0, 0], rtol=1e-5)


def test_quantiles_of_a_target_stand_side_by_side():
    levels = (0.2, 0.7)
    _, delta = evaluate(LOSSES["quantile"](quantile=levels), np.zeros((1, 4)), np.array([[1.0, -1.0]]))
    np.testing.assert_allclose(delta, [[-0.2, -0.7, 0.8, 0.3]])


@pytest.mark.parametrize("dtype", DTYPES)
def test_gaussian_is_clipped_with_a_gradient_that_leads_back(dtype):
    loss = LOSSES["gaussian_nll"]()
    Z = np.array([[0, -50], [0, -50], [0, 50], [0, 50]], dtype=dtype)
    Y = np.array([[0.0], [1.0], [0.0], [1e10]])
    losses, delta = evaluate(loss, Z, Y)
    assert np.isfinite(losses).all()
    assert np.isfinite(delta).all()
    # Too small and right: stay. Too small and wrong: grow. Too large: shrink, unless the error is as large.
    np.testing.assert_array_equal(np.sign(delta[:, 1]), [0, -1, 1, 0])
    np.testing.assert_allclose(predict(loss, Z)[:, 1], np.exp([-15, -15, 15, 15]), rtol=1e-6)


@pytest.mark.parametrize(
    ("loss", "y", "message"),
    [
        (LOSSES["poisson"](), -7.9, r"loss='poisson' is defined for y >= 0, but y has -7\.9; use loss='squared_error'"),
        (LOSSES["gamma"](), -2, r"loss='gamma' is defined for y > 0, but y has -2; use loss='squared_error'"),
        (LOSSES["gamma"](), 0, r"loss='gamma' is defined for y > 0, but y has 0; use loss='poisson'"),
        (
            LOSSES["tweedie"](),
            -1,
            r"loss='tweedie' with power=1\.5 is defined for y >= 0, but y has -1; use loss='squared",
        ),
        (LOSSES["tweedie"](power=3), 0, r"loss='tweedie' with power=3 is defined for y > 0, but y has 0; use"),
    ],
)
def test_targets_outside_the_domain_are_refused(loss, y, message):
    with pytest.raises(ValueError, match=message):
        loss.check_targets(np.array([[1.0, 2.0], [y, 3.0]]))


@pytest.mark.parametrize("loss", CASES)
def test_targets_inside_the_domain_pass(loss, rng):
    loss.check_targets(data(loss, 2, rng)[1])


@pytest.mark.parametrize(
    ("power", "lowest"), [(-0.5, -2.0), (0, -2.0), (0.5, 0.0), (1, 0.0), (1.9, 0.0), (2, 1e-300), (3, 1e-300)]
)
def test_the_domain_of_tweedie_depends_on_its_power(power, lowest):
    loss = LOSSES["tweedie"](power=power)
    loss.check_targets(np.array([[lowest], [1.0]]))
    if lowest >= 0:
        with pytest.raises(ValueError, match=f"with power={power} is defined for y >"):
            loss.check_targets(np.array([[lowest - 1e-3], [1.0]]))


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("log_loss", {"label_smoothing": 1.0}, "'label_smoothing' parameter of LogLoss must be"),
        ("log_loss", {"label_smoothing": -0.1}, "'label_smoothing' parameter of LogLoss must be"),
        ("focal", {"gamma": -1.0}, "'gamma' parameter of Focal must be"),
        ("huber", {"delta": 0}, "'delta' parameter of Huber must be"),
        ("tweedie", {"power": "high"}, "'power' parameter of Tweedie must be"),
        ("tweedie", {"power": np.inf}, "'power' parameter of Tweedie must be"),
        ("quantile", {"quantile": 1.0}, "'quantile' parameter of Quantile must be"),
        ("quantile", {"quantile": [0.5, 1.0]}, r"quantile=\[0\.5, 1\.0\] of Quantile must be a number between 0 and 1"),
        ("quantile", {"quantile": [[0.5]]}, r"quantile=\[\[0\.5\]\] of Quantile must be a number"),
        ("quantile", {"quantile": ["a"]}, r"quantile=\['a'\] of Quantile must be a number"),
        ("quantile", {"quantile": [np.nan]}, r"quantile=\[nan\] of Quantile must be a number"),
        (
            "quantile",
            {"quantile": [0.5] * (N_SETTINGS + 1)},
            f"has {N_SETTINGS + 1} levels: one loss takes 1 to {N_SETTINGS}; fit another estimator for more",
        ),
    ],
)
def test_settings_are_validated(name, settings, message):
    with pytest.raises(ValueError, match=message):
        LOSSES.get_function(LOSSES[name](**settings))


@pytest.mark.parametrize("loss", CASES)
def test_losses_are_objects_as_scikit_learn_has_them(loss):
    chosen = LOSSES[loss.public_name](**loss.get_params())
    assert LOSSES.get_function(chosen) is chosen
    assert len(loss.settings()) <= N_SETTINGS
    copy = clone(chosen)
    assert copy is not chosen
    assert copy.get_params() == chosen.get_params()
    assert copy.key() == chosen.key()
    assert type(chosen)().set_params(**chosen.get_params()).key() == chosen.key()
    assert repr(chosen).startswith(f"{type(chosen).__name__}(")
    # The kernel's variant has the same settings, and serves its own task.
    assert chosen.for_task(loss.task).key() == loss.key()
    assert loss.for_task(loss.task) is loss
    assert loss.public_name == chosen.name
    assert loss.definition


def test_repr_shows_settings():
    assert repr(LOSSES["huber"](delta=2.0)) == "Huber(delta=2.0)"


def test_names_stand_for_defaults():
    for name, kind in LOSSES.items():
        assert LOSSES.get_function(name).key() == kind().key()
        assert kind.name == kind.public_name == name


def test_unknown_names_and_other_objects_are_refused():
    with pytest.raises(ValueError, match="loss='nonsense' is not known; choose one of '"):
        LOSSES.get_function("nonsense")
    with pytest.raises(TypeError, match="is not a function of this kind: give one of the names '"):
        LOSSES.get_function(3)


def test_losses_refuse_tasks_that_they_do_not_serve():
    message = "loss='huber' is for regression targets, not for binary ones: use one of log_loss, "
    with pytest.raises(ValueError, match=message):
        LOSSES["huber"]().for_task("binary")
    message = "loss='focal' is for binary and multiclass targets, not for regression ones: use one of squared_error, "
    with pytest.raises(ValueError, match=message):
        LOSSES["focal"]().for_task("regression")


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_subclass_of_a_variant_is_what_runs(task):
    kind = LOSSES["hinge"]().kinds()[task]

    class Doubled(kind):
        name = f"doubled_{task}_hinge"

        @staticmethod
        @formula
        def loss_gradient(z, y, c):
            margin, slope = number(2.0, z), z - z
            return margin, slope

    assert type(Doubled().for_task(task)) is Doubled
    losses, _ = evaluate(Doubled().for_task(task), np.zeros((2, 3)), np.zeros((2, 1 if task == "multiclass" else 3)))
    np.testing.assert_array_equal(losses, 6.0)
