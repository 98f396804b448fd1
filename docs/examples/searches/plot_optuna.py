"""
Pruning trials with Optuna
==========================

Optuna proposes each candidate based on the results of the previous ones, and prunes those that fall behind during
training. A scikit-learn callback reports the validation score of each epoch to it.
"""

# %%
# `fitted_estimator` is the network at the end of the epoch; with `early_stopping`, it has the scores on the validation
# rows. An exception raised by a callback ends the training.

import matplotlib.pyplot as plt
import optuna
from sklearn.datasets import load_digits

from skbackprop import BackpropClassifier


class Prune:
    """Report to a trial after each epoch, and end it when Optuna's pruner says so."""

    def __init__(self, trial):
        self.trial = trial

    def setup(self, estimator, context):
        """Nothing to begin with."""

    def teardown(self, estimator, context):
        """Nothing to end with."""

    def on_fit_task_begin(self, estimator, context):
        """An epoch begins."""

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        """An epoch has ended, or all of the training."""
        if context.task_name == "epoch":
            self.trial.report(fitted_estimator.validation_scores_[-1], step=context.task_id)
            if self.trial.should_prune():
                raise optuna.TrialPruned


# %%
# Forty trials. A trial is pruned if it is worse than the median of the earlier trials at the same epoch.

X, y = load_digits(return_X_y=True)
X = X / 16.0


def objective(trial):
    """Best validation score of the parameters that a trial proposes."""
    model = BackpropClassifier(
        hidden_layer_sizes=(trial.suggest_int("units", 8, 128, log=True),),
        learning_rate_init=trial.suggest_float("learning_rate_init", 1e-5, 1e-1, log=True),
        alpha=trial.suggest_float("alpha", 1e-5, 10.0, log=True),
        early_stopping=True,
        max_iter=60,
        random_state=0,
    )
    model.set_callbacks(Prune(trial)).fit(X, y)
    return model.best_validation_score_


optuna.logging.set_verbosity(optuna.logging.WARNING)
study = optuna.create_study(
    direction="maximize",
    sampler=optuna.samplers.TPESampler(seed=0),
    pruner=optuna.pruners.MedianPruner(n_startup_trials=8, n_warmup_steps=5),
)
study.optimize(objective, n_trials=40)
pruned = study.get_trials(states=[optuna.trial.TrialState.PRUNED])
print(f"best: {study.best_params}, accuracy {study.best_value:.3f}; {len(pruned)} of 40 trials were pruned")

# %%
# The scores that each trial reported.

fig, ax = plt.subplots(layout="constrained")
for trial in study.trials:
    ended = trial.state == optuna.trial.TrialState.PRUNED
    epochs, scores = zip(*sorted(trial.intermediate_values.items()), strict=True)
    ax.plot(epochs, scores, color="tab:red" if ended else "tab:blue", alpha=0.5, linewidth=1)
ax.plot([], [], color="tab:blue", label="went on")
ax.plot([], [], color="tab:red", label="pruned")
ax.set(xlabel="epoch", ylabel="validation accuracy", title="Trials")
ax.legend()
plt.show()
