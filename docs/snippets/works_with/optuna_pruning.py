"""End the trials of an Optuna study that fall behind."""

import optuna
from sklearn.datasets import load_digits

from skbackprop import BackpropClassifier
from skbackprop.callbacks import OptunaPruning

X, y = load_digits(return_X_y=True)


def objective(trial):
    model = BackpropClassifier(
        (trial.suggest_int("units", 8, 64, log=True),),
        learning_rate_init=trial.suggest_float("learning_rate_init", 1e-5, 1e-1, log=True),
        early_stopping=True,
        random_state=0,
    )
    return model.set_callbacks(OptunaPruning(trial)).fit(X / 16, y).best_validation_score_


optuna.logging.set_verbosity(optuna.logging.WARNING)
pruner = optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=3)
study = optuna.create_study(direction="maximize", pruner=pruner, sampler=optuna.samplers.TPESampler(seed=0))
study.optimize(objective, n_trials=16)
print("pruned:", len(study.get_trials(states=[optuna.trial.TrialState.PRUNED])), "of", len(study.trials))
print(f"best accuracy on the validation rows: {study.best_value:.2f}")
