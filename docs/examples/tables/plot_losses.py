"""
Losses: means, intervals and standard deviations
================================================

The loss determines what is predicted. The squared error predicts means. The quantile loss gives intervals, and the
Gaussian likelihood gives each prediction its own standard deviation. Robust losses limit the influence of outliers.
"""

# %%
# The data: the progress of diabetes in 442 patients. `standardize_target` trains the network in units of the target's
# standard deviation; predictions are in the original units. The penalty `alpha` prevents overfitting.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.metrics import mean_absolute_error
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbackprop import BackpropRegressor
from skbackprop.functions import Huber, Quantile

# The warning says that training did not converge in so few epochs, which does not matter here.

X, y = load_diabetes(return_X_y=True)
folds = KFold(10, shuffle=True, random_state=0)


def network(loss, alpha=3.0):
    """A scaler and a regressor with a given loss."""
    return make_pipeline(
        StandardScaler(),
        BackpropRegressor(
            hidden_layer_sizes=(20,),
            loss=loss,
            standardize_target=True,
            alpha=alpha,
            batch_size=32,
            learning_rate_init=0.003,
            max_iter=60,
            n_iter_no_change=np.inf,
            random_state=0,
        ),
    )


# %%
# One network predicts three quantiles: a tenth of the targets should lie below the lowest, and another tenth above the
# highest. Each patient is predicted by a network that was trained on others.

levels = [0.1, 0.5, 0.9]
quantiles = np.sort(cross_val_predict(network(Quantile(levels)), X, y, cv=folds), axis=1)
for level, column in zip(levels, quantiles.T, strict=True):
    print(f"below the quantile {level}: {np.mean(y < column):.2f} of the targets")

order = np.argsort(quantiles[:, 1])
fig, ax = plt.subplots(figsize=(8, 4), layout="constrained")
ax.fill_between(range(len(y)), *quantiles[order][:, [0, 2]].T, alpha=0.3, label="from 0.1 to 0.9")
ax.plot(quantiles[order, 1], label="median")
ax.plot(y[order], ".", color="black", markersize=4, label="patients")
ax.set(xlabel="patients by predicted median", ylabel="progress of the disease", title="Quantiles")
ax.legend()
plt.show()

# %%
# `loss="gaussian_nll"` learns a mean and a standard deviation for each patient. If the standard deviations are right,
# errors divided by them are about one, for patients with small and with large standard deviations alike.

means, spreads = np.empty_like(y), np.empty_like(y)
for train, test in folds.split(X):
    model = network("gaussian_nll").fit(X[train], y[train])
    scaled = model[:-1].transform(X[test])
    means[test], spreads[test] = model[-1].predict(scaled, return_std=True)
errors = y - means
thirds = np.array_split(np.argsort(spreads), 3)
for third in thirds:
    print(
        f"predicted standard deviation {spreads[third].min():.0f} to {spreads[third].max():.0f}: "
        f"root mean square error {np.sqrt(np.mean(errors[third] ** 2)):.0f}, "
        f"divided by the prediction {np.sqrt(np.mean((errors[third] / spreads[third]) ** 2)):.2f}"
    )

fig, ax = plt.subplots(figsize=(8, 4), layout="constrained")
ax.plot(spreads, errors, ".", color="black", markersize=4, label="patients")
line = np.linspace(spreads.min(), spreads.max())
ax.fill_between(line, -line, line, alpha=0.3, label="one standard deviation")
ax.fill_between(line, -2 * line, 2 * line, alpha=0.15, color="C0", label="two")
ax.set(xlabel="predicted standard deviation", ylabel="error of the predicted mean", title="Gaussian likelihood")
ax.legend(loc="upper left")
plt.show()

# %%
# The error is larger where the network predicts it to be.
#
# With the squared error, an *outlier* counts by the square of its error, and can spoil a mean. Now every tenth target
# of the training data is wrong: it got a digit too many. With the absolute error, an outlier pulls no harder than any
# other row. With `Huber`, this holds for errors above `delta`. `delta` is in units of the standardised target, and
# outliers inflate the standard deviation: the default of 1.35 is too large here. A smaller `delta` gives smaller
# gradients, so `alpha` has to be smaller, too. The errors are measured on the correct targets.

rng = np.random.default_rng(0)
losses = {"squared_error": 3.0, "absolute_error": 3.0, Huber(): 3.0, Huber(delta=0.1): 0.3}
fig, axes = plt.subplots(1, len(losses), figsize=(11, 3.2), sharex=True, sharey=True, layout="constrained")
y_wrong = np.where(rng.random(len(y)) < 0.1, 10 * y, y)
for ax, (loss, alpha) in zip(axes, losses.items(), strict=True):
    predictions = np.empty_like(y)
    for train, test in folds.split(X):
        predictions[test] = network(loss, alpha).fit(X[train], y_wrong[train]).predict(X[test])
    print(f"{loss!s:20}: mean absolute error {mean_absolute_error(y, predictions):.0f}")
    ax.plot(predictions, y, ".", markersize=4)
    ax.axline((150, 150), slope=1, color="gray", linestyle=":")
    ax.set(title=loss, xlabel="prediction", ylim=(0, 360))
axes[0].set(ylabel="progress of the disease")
plt.show()
