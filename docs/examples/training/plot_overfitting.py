"""
Overfitting, and two ways to stop it
====================================

A network with many weights and few rows memorizes the rows: the error on them falls, while the error on other rows
rises. The L2 penalty `alpha` and early stopping prevent that.
"""

# %%
# The data: the progression of diabetes in 442 patients, with ten features each. Half of the patients are set aside for
# validation. The target is scaled to mean 0 and variance 1, so that always predicting the mean has an error of 1.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.metrics import mean_squared_error
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from skbackprop import BackpropRegressor

X, y = load_diabetes(return_X_y=True)
X_train, X_val, y_train, y_val = train_test_split(X, y, test_size=0.5, random_state=0)
scaler = StandardScaler().fit(X_train)
X_train, X_val = scaler.transform(X_train), scaler.transform(X_val)
mean, scale = y_train.mean(), y_train.std()
y_train, y_val = (y_train - mean) / scale, (y_val - mean) / scale

# %%
# `partial_fit` trains one epoch per call, so both errors can be measured in between. A `RandomState` object gives each
# epoch a different order of the rows; an integer would give all epochs the same order.


def curves(alpha, n_epochs=200):
    """Mean squared errors on training and on validation data after each epoch."""
    model = BackpropRegressor(
        hidden_layer_sizes=(100,),
        alpha=alpha,
        learning_rate_init=0.003,
        batch_size=32,
        random_state=np.random.RandomState(0),
    )
    errors = []
    for _ in range(n_epochs):
        model.partial_fit(X_train, y_train)
        errors.append([mean_squared_error(y, model.predict(X)) for X, y in [(X_train, y_train), (X_val, y_val)]])
    return np.array(errors)


alphas = [0.0, 1.0, 10.0]
results = {alpha: curves(alpha) for alpha in alphas}
for alpha, errors in results.items():
    best = errors[:, 1].argmin()
    print(
        f"alpha={alpha:4}: after the last epoch {errors[-1, 0]:.2f} on training data, {errors[-1, 1]:.2f} on validation data; "
        f"smallest on validation data {errors[best, 1]:.2f}, in epoch {best + 1}"
    )

fig, axes = plt.subplots(1, len(alphas), figsize=(10, 3.5), sharey=True, layout="constrained")
for ax, (alpha, errors) in zip(axes, results.items(), strict=True):
    epochs = range(1, len(errors) + 1)
    ax.plot(epochs, errors[:, 0], label="training data")
    ax.plot(epochs, errors[:, 1], label="validation data")
    ax.axvline(errors[:, 1].argmin() + 1, color="gray", linestyle=":", label="smallest on validation data")
    ax.set(xlabel="epoch", title=f"alpha={alpha}")
axes[0].set(ylabel="mean squared error", ylim=(0, 1.5))
axes[0].legend()
plt.show()

# %%
# Without the penalty, the two curves diverge after a few epochs, and the validation error keeps rising. With `alpha=1`
# they level off with a gap between them, with `alpha=10` without one: then the number of epochs does not matter, but
# the network fits the training data less well than it could.
#
# Early stopping needs no such plot. It sets some of the training rows aside, stops when the score on them no longer
# improves, and keeps the weights of the best epoch.

settings = {
    "neither": {"alpha": 0.0, "n_iter_no_change": np.inf},
    "alpha=10": {"alpha": 10.0, "n_iter_no_change": np.inf},
    "early stopping": {"alpha": 0.0, "early_stopping": True, "validation_fraction": 0.2},
}
for label, setting in settings.items():
    model = BackpropRegressor(
        hidden_layer_sizes=(100,), learning_rate_init=0.003, batch_size=32, max_iter=200, random_state=0, **setting
    )
    model.fit(X_train, y_train)
    error = mean_squared_error(y_val, model.predict(X_val))
    print(f"{label:14}: {model.n_iter_:3} epochs, mean squared error on validation data {error:.2f}")
