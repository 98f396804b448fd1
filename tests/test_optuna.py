"""Optuna's searches over the estimators: trials pruned by a callback, and its own search class."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_wine
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbackprop import BackpropClassifier

optuna = pytest.importorskip("optuna")

pytestmark = [
    pytest.mark.trains,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::skbackprop.exceptions.TrainingWarning"),
]

X, Y = load_wine(return_X_y=True)
X = StandardScaler().fit_transform(X)


class Prune:
    """Reports each epoch's validation score, and ends the trial when its pruner says so."""

    def __init__(self, trial):
        self.trial = trial
        self.n_epochs = 0

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        if context.task_name != "epoch":
            return
        self.n_epochs += 1
        self.trial.report(fitted_estimator.validation_scores_[-1], step=context.task_id)
        if self.trial.should_prune():
            raise optuna.TrialPruned


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def test_trials_are_pruned_by_a_callback():
    epochs = []

    def objective(trial):
        rate = trial.suggest_float("learning_rate_init", 1e-6, 1e-1, log=True)
        model = BackpropClassifier(
            (8,), learning_rate_init=rate, max_iter=30, early_stopping=True, n_iter_no_change=30, random_state=0
        )
        callback = Prune(trial)
        try:
            model.set_callbacks(callback).fit(X, Y)
        finally:
            epochs.append(callback.n_epochs)
        return model.best_validation_score_

    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.RandomSampler(seed=0),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=5),
    )
    study.optimize(objective, n_trials=15)
    pruned = [trial.number for trial in study.trials if trial.state == optuna.trial.TrialState.PRUNED]
    assert pruned
    assert all(5 < epochs[number] < 30 for number in pruned)
    assert all(len(trial.intermediate_values) == n for trial, n in zip(study.trials, epochs, strict=True))
    assert study.best_value > 0.9


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
