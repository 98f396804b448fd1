"""Optuna's searches over the estimators: trials pruned by a callback, and its own search class."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_wine
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbackprop import BackpropClassifier
from skbackprop.callbacks import OptunaPruning

optuna = pytest.importorskip("optuna")

pytestmark = [
    pytest.mark.trains,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::skbackprop.exceptions.TrainingWarning"),
]

X, Y = load_wine(return_X_y=True)
X = StandardScaler().fit_transform(X)


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def test_trials_are_pruned_by_a_callback():
    def objective(trial):
        rate = trial.suggest_float("learning_rate_init", 1e-6, 1e-1, log=True)
        model = BackpropClassifier(
            (8,), learning_rate_init=rate, max_iter=30, early_stopping=True, n_iter_no_change=30, random_state=0
        )
        return model.set_callbacks(OptunaPruning(trial)).fit(X, Y).best_validation_score_

    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.RandomSampler(seed=0),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=5),
    )
    study.optimize(objective, n_trials=15)
    reported = [list(trial.intermediate_values) for trial in study.trials]
    pruned = [trial.number for trial in study.trials if trial.state == optuna.trial.TrialState.PRUNED]
    assert pruned
    assert all(5 < len(reported[number]) < 30 for number in pruned)
    assert all(epochs == list(range(len(epochs))) for epochs in reported)
    assert study.best_value > 0.9


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_losses_are_reported_to_studies_that_minimize(solver):
    trial = optuna.create_study(direction="minimize").ask()
    model = BackpropClassifier((8,), solver=solver, max_iter=5, random_state=0)
    model.set_callbacks(OptunaPruning(trial, "loss")).fit(X, Y)
    values = trial.study.trials[0].intermediate_values
    assert list(values) == list(range(5))
    assert values[4] == model.loss_


def test_losses_on_validation_data_are_reported():
    trial = optuna.create_study(direction="minimize").ask()
    model = BackpropClassifier((8,), max_iter=5, restore_best_weights=True, random_state=0)
    model.set_callbacks(OptunaPruning(trial, "validation_loss")).fit(X[::2], Y[::2], X_val=X[1::2], y_val=Y[1::2])
    assert trial.study.trials[0].intermediate_values == dict(enumerate(model.validation_loss_curve_))


def test_what_a_trial_cannot_be_judged_by():
    trial = optuna.create_study(direction="maximize").ask()
    with pytest.raises(
        ValueError, match="monitor='accuracy' must be one of 'loss', 'validation_loss', 'validation_score'"
    ):
        OptunaPruning(trial, "accuracy")
    with pytest.raises(
        ValueError, match="monitor='loss' goes with a study whose direction is 'minimize', got one with 'max"
    ):
        OptunaPruning(trial, "loss")
    model = BackpropClassifier((8,), max_iter=5, random_state=0).set_callbacks(OptunaPruning(trial))
    with pytest.raises(
        ValueError, match="'validation_score', which this training does not have: set early_stopping=True"
    ):
        model.fit(X, Y)


def test_trials_with_fixed_parameters_are_never_pruned():
    trial = optuna.trial.FixedTrial({})
    model = BackpropClassifier((8,), max_iter=5, early_stopping=True, random_state=0)
    assert model.set_callbacks(OptunaPruning(trial)).fit(X, Y).n_iter_ == 5


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning", "ignore::FutureWarning")
def test_its_search_class_takes_the_estimators():
    integration = pytest.importorskip("optuna_integration")
    network = BackpropClassifier((8,), max_iter=20, random_state=0)
    for estimator, prefix in ((network, ""), (make_pipeline(StandardScaler(), network), "backpropclassifier__")):
        space = {
            f"{prefix}alpha": optuna.distributions.FloatDistribution(1e-5, 1.0, log=True),
            f"{prefix}learning_rate_init": optuna.distributions.FloatDistribution(1e-3, 1e-1, log=True),
        }
        search = integration.OptunaSearchCV(estimator, space, cv=3, n_trials=4, random_state=0).fit(X, Y)
        assert len(search.trials_) == 4
        assert search.best_score_ > 0.8
        best = clone(estimator).set_params(**search.best_params_).fit(X, Y)
        np.testing.assert_array_equal(search.predict(X), best.predict(X))
