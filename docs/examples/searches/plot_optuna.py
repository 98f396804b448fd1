"""
Pruning trials with Optuna
==========================

Optuna proposes each candidate based on the results of the previous ones, and prunes those that fall behind during
training: :class:`~skbackprop.callbacks.OptunaPruning` reports the validation score of each epoch to it.
"""

# %%
# Forty trials. A trial is pruned if it is worse than the median of the earlier trials at the same epoch. With
# `early_stopping`, a part of the rows is set aside for the score.

import warnings

import matplotlib.pyplot as plt
import optuna
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from skbackprop import BackpropClassifier
from skbackprop.callbacks import OptunaPruning

warnings.simplefilter("ignore", ConvergenceWarning)  # sixty epochs are enough to compare
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
    return model.set_callbacks(OptunaPruning(trial)).fit(X, y).best_validation_score_


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
