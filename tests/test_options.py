"""Initialisation, penalties, averages and limits through the estimators."""

import pickle

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, PredefinedSplit, train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from skbackprop import BackpropClassifier, BackpropRegressor
from skbackprop.backends.cpu import Session
from skbackprop.estimators._choices import start_optimizer
from skbackprop.functions import (
    AdamW,
    Cosine,
    FlatCosine,
    Gaussian,
    LeakyReLU,
    LogLoss,
    Polynomial,
    Quantile,
    ReduceOnPlateau,
)
from skbackprop.functions.activations import ACTIVATIONS
from skbackprop.functions.initializers import INITIALIZERS
from skbackprop.functions.links import REALS
from skbackprop.functions.losses import LOSSES, loss_link
from skbackprop.functions.normalizations import NORMALIZATIONS
from skbackprop.functions.optimizers import OPTIMIZERS
from skbackprop.functions.schedules import SCHEDULES

pytestmark = [pytest.mark.trains, pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")]

X_DIGITS, Y_DIGITS = load_digits(return_X_y=True)
X_DIGITS = X_DIGITS / 16
X_CANCER, Y_CANCER = load_breast_cancer(return_X_y=True)
X_CANCER = StandardScaler().fit_transform(X_CANCER)
X_DIABETES, Y_DIABETES = load_diabetes(return_X_y=True)
X_DIABETES = StandardScaler().fit_transform(X_DIABETES)


def classifier(**settings):
    return BackpropClassifier(**{"hidden_layer_sizes": (30,), "max_iter": 20, "random_state": 0, **settings})


def regressor(**settings):
    return BackpropRegressor(**{"hidden_layer_sizes": (20,), "max_iter": 60, "random_state": 0, **settings})


SCHEDULED = {"solver": "sgd", "learning_rate_init": 0.1, "power_t": 0.1, "n_iter_no_change": np.inf}
#: For the schedules that wait for the loss to stop falling, which it soon does.
WAITING = {name: {"tol": 0.02, "n_iter_no_change": 2} for name in ("adaptive", "reduce_on_plateau")}

#: Each choice, and what is set besides.
CHOICES = [
    *(({"activation": name}, {}) for name in ACTIVATIONS),
    *(({"loss": name}, {}) for name, kind in LOSSES.items() if "multiclass" in kind.kinds()),
    *(({"learning_rate": name}, {**SCHEDULED, **WAITING.get(name, {})}) for name in SCHEDULES),
    *(
        ({"solver": name}, {"learning_rate_init": {"sgd": 0.1, "lion": 2e-3}.get(name, 5 * kind.default_rate)})
        for name, kind in OPTIMIZERS.items()
    ),
    *(({"weight_init": name}, {}) for name in INITIALIZERS),
    *(({"normalization": name}, {}) for name in NORMALIZATIONS),
    ({"dropout": 0.3}, {}),
    ({"dropout": (0.1, 0.3)}, {}),
    ({"alpha": 1e-2}, {}),
    ({"l1_ratio": 0.5}, {"alpha": 1e-2}),
    ({"max_norm": 2.0}, {}),
    ({"clip_norm": 1.0}, {}),
    ({"clip_value": 0.1}, {}),
    ({"averaging": 0.9}, {}),
    ({"output_bias": "prior"}, {}),
    ({"parametrization": "ntp"}, {"learning_rate_init": 0.04}),
    ({"parametric_activation": True}, {}),
    ({"dropout_schedule": "flat_cosine"}, {"dropout": 0.3}),
    ({"weight_decay_schedule": FlatCosine(flat_fraction=0.2)}, {"solver": AdamW(weight_decay=0.5)}),
    ({"restore_best_weights": True}, {"learning_rate_init": 0.03}),
]


@pytest.mark.filterwarnings("ignore:100% of the units")  # Adam's, at a rate that suits another solver
@pytest.mark.parametrize(("choice", "settings"), CHOICES, ids=str)
def test_digits_are_learnt_with_every_choice(choice, settings):
    settings = {"learning_rate_init": 5e-3, **settings}
    model = classifier(**settings, **choice).fit(X_DIGITS[:1200], Y_DIGITS[:1200])
    assert model.score(X_DIGITS[1200:], Y_DIGITS[1200:]) > 0.8
    # A choice that were ignored would give the model of the default.
    default = classifier(**settings)
    is_default = choice.items() <= default.get_params().items()
    default.fit(X_DIGITS[:1200], Y_DIGITS[:1200])
    assert np.array_equal(model.coefs_[0], default.coefs_[0]) == is_default


def one_update(start, **settings):
    """What one update by the gradient of all rows changes, and the model after it."""
    plain = {"solver": "sgd", "momentum": 0.0, "learning_rate_init": 1.0, "max_iter": 1, "batch_size": len(X_DIGITS)}
    model = classifier(**{**plain, **settings}, weight_init=start).fit(X_DIGITS, Y_DIGITS)
    arrays = zip([*model.coefs_, *model.intercepts_], [*start[0], *start[1]], strict=True)
    return np.concatenate([(after - before).ravel() for after, before in arrays]), model


@pytest.fixture(scope="module")
def start():
    model = classifier(max_iter=1).fit(X_DIGITS, Y_DIGITS)
    return model.coefs_, model.intercepts_


def test_gradients_are_clipped_at_what_is_asked_for(start):
    change, _ = one_update(start)
    assert np.linalg.norm(change) > 0.1
    clipped, _ = one_update(start, clip_norm=0.1)
    np.testing.assert_allclose(clipped, change * 0.1 / np.linalg.norm(change), rtol=1e-6, atol=1e-12)
    clipped, _ = one_update(start, clip_value=1e-3)
    np.testing.assert_allclose(clipped, np.clip(change, -1e-3, 1e-3), rtol=1e-6, atol=1e-12)
    assert (np.abs(change) > 1e-3).any()


def test_weights_into_a_unit_have_the_largest_norm_that_is_asked_for(start):
    _, model = one_update(start, max_norm=1.0)
    norms = np.linalg.norm(model.coefs_[0], axis=0)
    assert norms.max() == pytest.approx(1.0)
    free = np.linalg.norm(one_update(start)[1].coefs_[0], axis=0)
    np.testing.assert_allclose(norms, np.minimum(free, 1.0), rtol=1e-9)


def test_one_rate_of_dropout_is_that_of_the_hidden_layers(start):
    of_all, _ = one_update(start, dropout=0.3)
    np.testing.assert_array_equal(of_all, one_update(start, dropout=(0.0, 0.3))[0])
    for other in (0.0, 0.4, (0.3, 0.3), (0.3, 0.0)):
        assert not np.array_equal(of_all, one_update(start, dropout=other)[0])


SCHEDULED_PARAMETERS = {
    "dropout_schedule": {"dropout": (0.2, 0.3)},
    "weight_decay_schedule": {"solver": AdamW(weight_decay=0.5)},
}


@pytest.mark.parametrize("parameter", SCHEDULED_PARAMETERS)
@pytest.mark.parametrize(
    "schedule", ["cosine", FlatCosine(), Polynomial(warmup_epochs=3, power=2.0), "invscaling"], ids=str
)
def test_factors_of_dropout_and_weight_decay_are_those_of_the_schedule(parameter, schedule, monkeypatch):
    kept, run_epochs = [], Session.run_epochs

    def spy(session, order, rates, params, optimizer, factors=None):
        kept.append(factors)
        return run_epochs(session, order, rates, params, optimizer, factors)

    monkeypatch.setattr(Session, "run_epochs", spy)
    settings = {**SCHEDULED_PARAMETERS[parameter], "max_iter": 8, "batch_size": 100, "learning_rate_init": 0.01}
    model = classifier(**settings, **{parameter: schedule}).fit(X_CANCER, Y_CANCER)
    factors = np.concatenate(kept)
    # The learning rates of another training, from 1.
    rates, rated = (
        [],
        classifier(solver="sgd", learning_rate=schedule, learning_rate_init=1.0, max_iter=8, batch_size=100),
    )
    state = start_optimizer(rated, np.zeros(1))
    for epoch in range(8):
        rates.append(state.next_rates(1, 6, epoch * len(X_CANCER), len(X_CANCER)))
        state.n_epochs += 1
    column = [*SCHEDULED_PARAMETERS].index(parameter)
    np.testing.assert_array_equal(factors[:, column], np.concatenate(rates))
    np.testing.assert_array_equal(factors[:, 1 - column], 1.0)
    # One by one, the epochs are the same.
    again = classifier(**settings, **{parameter: schedule}, restore_best_weights=True).fit(X_CANCER, Y_CANCER)
    np.testing.assert_array_equal(again.loss_curve_, model.loss_curve_)


@pytest.mark.parametrize("parameter", SCHEDULED_PARAMETERS)
def test_constant_schedules_are_none(parameter):
    settings = {**SCHEDULED_PARAMETERS[parameter], "max_iter": 3}
    plain, constant = (
        classifier(**settings, **{parameter: schedule}).fit(X_CANCER, Y_CANCER) for schedule in (None, "constant")
    )
    np.testing.assert_array_equal(plain.coefs_[0], constant.coefs_[0])


@pytest.mark.parametrize("parameter", SCHEDULED_PARAMETERS)
@pytest.mark.parametrize("schedule", ["adaptive", ReduceOnPlateau()], ids=str)
def test_schedules_that_wait_for_plateaus_are_the_learning_rates(parameter, schedule):
    with pytest.raises(ValueError, match=rf"{parameter}=.* responds to plateaus, which are the learning rate's"):
        classifier(**{parameter: schedule}).fit(X_CANCER, Y_CANCER)


@pytest.mark.parametrize("name", [name for name, kind in LOSSES.items() if "regression" in kind.kinds()])
def test_diabetes_is_learnt_with_every_loss(name):
    if loss_link(LOSSES[name]).domain != REALS:
        y, settings = Y_DIABETES / 100, {}
    else:
        y, settings = Y_DIABETES, {"standardize_target": True}
    settings["learning_rate_init"] = 5e-3
    model = regressor(loss=name, **settings).fit(X_DIABETES, y)
    assert model.score(X_DIABETES, y) > 0.35
    squared = regressor(**settings).fit(X_DIABETES, y)
    assert np.array_equal(model.coefs_[0], squared.coefs_[0]) == (name == "squared_error")


def test_activation_of_each_layer():
    model = classifier(hidden_layer_sizes=(10, 8), activation=["tanh", LeakyReLU(0.2)]).fit(X_CANCER, Y_CANCER)
    units = np.tanh(X_CANCER @ model.coefs_[0] + model.intercepts_[0])
    units = units @ model.coefs_[1] + model.intercepts_[1]
    units = np.where(units > 0, units, 0.2 * units)
    scores = (units @ model.coefs_[2] + model.intercepts_[2])[:, 0]
    np.testing.assert_allclose(model.decision_function(X_CANCER), scores, rtol=1e-9, atol=1e-12)
    with pytest.raises(ValueError, match="activation has 1 entries, but hidden_layer_sizes"):
        classifier(hidden_layer_sizes=(10, 8), activation=["tanh"]).fit(X_CANCER, Y_CANCER)
    with pytest.raises(ValueError, match="activation='swish' is not known"):
        classifier(activation=["swish"]).fit(X_CANCER, Y_CANCER)


def test_settings_are_searched_and_pickled():
    model = classifier(solver=AdamW(weight_decay=0.1), learning_rate=Cosine(warmup_epochs=1), loss=LogLoss(0.1))
    search = GridSearchCV(model, {"solver__weight_decay": [0.0, 0.5], "loss__label_smoothing": [0.0, 0.1]}, cv=2)
    search.fit(X_CANCER, Y_CANCER)
    assert len(set(search.cv_results_["mean_test_score"])) > 1
    best = search.best_estimator_
    assert clone(best).get_params()["solver__weight_decay"] == search.best_params_["solver__weight_decay"]
    again = pickle.loads(pickle.dumps(best))
    np.testing.assert_array_equal(again.predict_proba(X_CANCER), best.predict_proba(X_CANCER))
    again.partial_fit(X_CANCER, Y_CANCER)
    best.partial_fit(X_CANCER, Y_CANCER)
    np.testing.assert_array_equal(again.coefs_[0], best.coefs_[0])


def test_names_of_scikit_learns_solvers_take_the_estimators_parameters():
    by_name = classifier(solver="sgd", momentum=0.5, nesterovs_momentum=False).fit(X_CANCER, Y_CANCER)
    by_object = classifier(solver=OPTIMIZERS["sgd"](momentum=0.5, nesterov=False)).fit(X_CANCER, Y_CANCER)
    np.testing.assert_array_equal(by_name.coefs_[0], by_object.coefs_[0])
    # As in scikit-learn, its schedules leave its Adam alone, unless they are asked for by an object.
    plain = classifier().fit(X_CANCER, Y_CANCER)
    named = classifier(learning_rate="invscaling").fit(X_CANCER, Y_CANCER)
    scaled = classifier(learning_rate=SCHEDULES["invscaling"]()).fit(X_CANCER, Y_CANCER)
    np.testing.assert_array_equal(plain.coefs_[0], named.coefs_[0])
    assert (plain.coefs_[0] != scaled.coefs_[0]).any()


def test_average_of_the_weights():
    """Reproduced by one epoch at a time, a full batch each."""
    settings = {"batch_size": len(X_CANCER), "solver": "sgd", "shuffle": False}
    averaged = classifier(averaging=0.6, max_iter=3, **settings).fit(X_CANCER, Y_CANCER)
    model = classifier(max_iter=1, **settings)
    start = classifier(max_iter=1, learning_rate_init=1e-300, **settings).fit(X_CANCER, Y_CANCER).coefs_[0]
    average = start.copy()
    for _ in range(3):
        model.partial_fit(X_CANCER, Y_CANCER, classes=[0, 1])
        average = 0.6 * average + 0.4 * model.coefs_[0]
    np.testing.assert_allclose(averaged.coefs_[0], average, rtol=1e-12)
    # partial_fit goes on from the weights and not from their average.
    resumed = classifier(averaging=0.6, max_iter=1, **settings)
    for _ in range(3):
        resumed.partial_fit(X_CANCER, Y_CANCER, classes=[0, 1])
    np.testing.assert_allclose(resumed.coefs_[0], average, rtol=1e-12)


def test_early_stopping_keeps_the_best_average():
    model = classifier(averaging=0.9, early_stopping=True, validation_fraction=0.3).fit(X_CANCER, Y_CANCER)
    assert model.best_validation_score_ == max(model.validation_scores_)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", [{}, {"max_norm": 0.01}, {"averaging": 0.99}, {"alpha": 1.0, "solver": "adamw"}])
def test_fine_tuning(options, dtype):
    source = classifier(hidden_layer_sizes=(20, 10), dtype=dtype).fit(X_DIGITS[:900], Y_DIGITS[:900])
    settings = {"hidden_layer_sizes": (20, 10), "max_iter": 2, "weight_init": FrozenEstimator(source), "dtype": dtype}
    settings |= options
    tuned = clone(classifier(frozen_layers=[0, -1], **settings)).fit(X_DIGITS[900:], Y_DIGITS[900:])
    for layer, same in ((0, True), (1, False), (2, True)):
        assert (tuned.coefs_[layer] == source.coefs_[layer]).all() == same
        assert (tuned.intercepts_[layer] == source.intercepts_[layer]).all() == same
    given = classifier(
        hidden_layer_sizes=(20, 10),
        weight_init=(source.coefs_, source.intercepts_),
        frozen_layers=range(3),
        dtype=dtype,
    )
    given.fit(X_DIGITS[900:], Y_DIGITS[900:])
    np.testing.assert_array_equal(given.predict_proba(X_DIGITS), source.predict_proba(X_DIGITS))
    with pytest.raises(ValueError, match=r"coefs_\[0\] has shape \(64, 20\); this network needs \(64, 7\)"):
        classifier(hidden_layer_sizes=(7, 10), weight_init=FrozenEstimator(source)).fit(X_DIGITS, Y_DIGITS)


@pytest.mark.parametrize("layers", [[5], [-3], [0.5], ["first"], [None], [True, False]])
def test_frozen_layers_that_are_no_numbers_of_layers_are_refused(layers):
    with pytest.raises(ValueError, match=r"frozen_layers=\[.*\] must be numbers of layers of weights, from 0 to 1"):
        classifier(frozen_layers=layers).fit(X_DIGITS, Y_DIGITS)


@pytest.mark.parametrize("rates", [["a", "b"], [None, 0.5], [0.1, 1.0], [0.1]])
def test_dropout_that_is_no_rate_for_each_layer_is_refused(rates):
    with pytest.raises(ValueError, match=r"dropout=\[.*\] must be a number from 0 to below 1"):
        classifier(dropout=rates).fit(X_DIGITS, Y_DIGITS)


def test_prior_outputs():
    rare = np.where(np.arange(len(X_CANCER)) % 50 == 0, "rare", "often")
    settings = {"hidden_layer_sizes": (), "learning_rate_init": 1e-300, "max_iter": 1, "output_bias": "prior"}
    model = classifier(**settings).fit(np.zeros((len(rare), 2)), rare)
    np.testing.assert_allclose(model.predict_proba([[0, 0]])[0, 1], (rare == "rare").mean(), atol=1e-3)
    model = classifier(**settings).fit(np.zeros_like(X_DIGITS), Y_DIGITS)
    np.testing.assert_allclose(
        model.predict_proba(X_DIGITS[:1] * 0)[0], np.bincount(Y_DIGITS) / len(Y_DIGITS), atol=1e-3
    )
    weights = np.arange(len(Y_DIABETES))
    mean = np.average(Y_DIABETES, weights=weights)
    for loss in ("squared_error", "poisson", Quantile([0.2, 0.8]), Gaussian()):
        model = regressor(loss=loss, **settings).fit(np.zeros_like(X_DIABETES), Y_DIABETES, weights)
        np.testing.assert_allclose(model.predict(X_DIABETES[:1] * 0), mean, rtol=1e-9)
    deviation = np.sqrt(np.average((Y_DIABETES - mean) ** 2, weights=weights))
    np.testing.assert_allclose(model.predict(X_DIABETES[:1] * 0, return_std=True)[1], deviation, rtol=1e-9)
    # Rows to validate on are not seen.
    side = np.where(np.arange(len(Y_CANCER)) < 100, 0, -1)
    model = classifier(**settings, early_stopping=True, validation_fraction=PredefinedSplit(side))
    model.fit(np.zeros_like(X_CANCER), Y_CANCER)
    np.testing.assert_allclose(model.predict_proba(X_CANCER[:1] * 0)[0, 1], Y_CANCER[100:].mean(), atol=1e-3)
    with pytest.raises(ValueError, match="output_bias='prior' needs a loss with probabilities"):
        classifier(loss="hinge", output_bias="prior").fit(X_CANCER, Y_CANCER)


def test_l1_makes_small_weights_smaller():
    ridge, lasso = (
        classifier(alpha=5.0, l1_ratio=ratio, max_iter=200, learning_rate_init=5e-3, tol=0).fit(X_CANCER, Y_CANCER)
        for ratio in (0.0, 1.0)
    )
    small = [(np.abs(model.coefs_[0]) < 0.01).mean() for model in (ridge, lasso)]
    assert small[1] > 2 * small[0]


def test_quantiles_and_spreads():
    many = regressor(loss=Quantile([0.1, 0.5, 0.9]), standardize_target=True, max_iter=300, learning_rate_init=5e-3)
    predictions = many.fit(X_DIABETES, Y_DIABETES).predict(X_DIABETES)
    assert predictions.shape == (len(Y_DIABETES), 3)
    shares = (predictions > Y_DIABETES[:, np.newaxis]).mean(axis=0)
    np.testing.assert_allclose(shares, [0.1, 0.5, 0.9], atol=0.1)
    spread = regressor(loss="gaussian_nll", standardize_target=True).fit(X_DIABETES, Y_DIABETES)
    means, deviations = spread.predict(X_DIABETES, return_std=True)
    np.testing.assert_array_equal(spread.predict(X_DIABETES), means)
    assert deviations.shape == means.shape
    assert 20 < deviations.mean() < 80
    with pytest.raises(ValueError, match="return_std=True needs loss='gaussian_nll'"):
        regressor(standardize_target=True).fit(X_DIABETES, Y_DIABETES).predict(X_DIABETES, return_std=True)


def test_losses_without_probabilities():
    model = classifier(loss="hinge").fit(X_CANCER, Y_CANCER)
    assert not hasattr(model, "predict_proba")
    assert not hasattr(model, "predict_log_proba")
    np.testing.assert_array_equal(model.predict(X_CANCER), model.decision_function(X_CANCER) > 0)
    multilabel = np.column_stack([Y_CANCER, 1 - Y_CANCER])
    model = classifier(loss="squared_hinge").fit(X_CANCER, multilabel)
    np.testing.assert_array_equal(model.predict(X_CANCER), model.decision_function(X_CANCER) > 0)


def test_decision_function_belongs_to_the_probabilities():
    model = classifier().fit(X_CANCER, Y_CANCER)
    scores = model.decision_function(X_CANCER)
    np.testing.assert_allclose(1 / (1 + np.exp(-scores)), model.predict_proba(X_CANCER)[:, 1], rtol=1e-9)
    model = classifier().fit(X_DIGITS, Y_DIGITS)
    # Log probabilities: without a constant that is free for each row.
    scores = model.decision_function(X_DIGITS)
    np.testing.assert_allclose(np.exp(scores), model.predict_proba(X_DIGITS), rtol=1e-9)
    np.testing.assert_allclose(scores, model.predict_log_proba(X_DIGITS), rtol=1e-9)
    single = classifier(dtype="float32").fit(X_DIGITS, Y_DIGITS)
    assert single.decision_function(X_DIGITS).dtype == np.float32
    # Hinges have no probabilities: raw outputs.
    model = classifier(loss="hinge").fit(X_DIGITS, Y_DIGITS)
    np.testing.assert_array_equal(model.decision_function(X_DIGITS), model._predict(X_DIGITS, link=False)[1])


def test_sigmoid_calibration_of_several_classes_is_as_good_as_scikit_learns():
    # scikit-learn has no `decision_function` and calibrates probabilities: raw outputs, free up to a constant for each row, lost by
    # 40 % here.
    settings = {"hidden_layer_sizes": (30,), "max_iter": 60, "random_state": 0}
    X_train, X_test, y_train, y_test = train_test_split(X_DIGITS, Y_DIGITS, random_state=0)
    losses = [
        log_loss(
            y_test, CalibratedClassifierCV(network, method="sigmoid", cv=3).fit(X_train, y_train).predict_proba(X_test)
        )
        for network in (BackpropClassifier(**settings), MLPClassifier(**settings))
    ]
    assert losses[0] < 1.05 * losses[1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dropout": (0.1, 0.2, 0.3)}, "must be a number from 0 to below 1 for all hidden layers, or a sequence of 2"),
        ({"dropout": (0.1, 1.0)}, "must be a number from 0 to below 1"),
        ({"solver": "lbfgs", "dropout": 0.5}, "dropout is for stochastic solvers"),
        ({"solver": "lbfgs", "clip_norm": 1.0}, "clip_norm is for stochastic solvers"),
        ({"solver": AdamW(weight_decay=-1.0)}, "'weight_decay' parameter of AdamW"),
        ({"loss": "huber"}, "'loss' parameter of BackpropClassifier"),
        ({"loss": LOSSES["huber"]()}, "loss='huber' is for regression targets"),
    ],
)
def test_errors(settings, message):
    with pytest.raises(ValueError, match=message):
        classifier(**settings).fit(X_CANCER, Y_CANCER)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_dropout_of_sparse_inputs(n_jobs):
    settings = {"dropout": (0.3, 0.2), "max_iter": 3, "dtype": "float64", "batch_size": 100, "n_jobs": n_jobs}
    dense = classifier(**settings).fit(X_DIGITS, Y_DIGITS)
    for container in (sparse.csr_array, sparse.csc_array):
        model = classifier(**settings).fit(container(X_DIGITS), Y_DIGITS)
        for ours, same in zip(model.coefs_, dense.coefs_, strict=True):
            np.testing.assert_allclose(ours, same, rtol=1e-9, atol=1e-12)
    kept = classifier(**{**settings, "dropout": (0.0, 0.2)}).fit(sparse.csr_array(X_DIGITS), Y_DIGITS)
    assert not np.allclose(kept.coefs_[0], dense.coefs_[0], rtol=1e-3)
