"""
A table as it is
================

:class:`~skbackprop.BackpropTabularRegressor` takes numbers in their own units, categories and missing values. Here are
the ages, measurements and blood values of 442 diabetes patients, with the sex as a category and some values removed;
the target is how the disease progressed in a year.
"""

# %%
# Nothing is scaled, encoded or filled in.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.inspection import permutation_importance
from sklearn.metrics import r2_score
from sklearn.model_selection import cross_val_predict, train_test_split

from skbackprop import BackpropTabularRegressor

X, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
X["sex"] = X["sex"].map({1: "one", 2: "the other"}).astype("category")
X = X.mask(np.random.default_rng(0).random(X.shape) < 0.05)
X.head()

# %%
# Out-of-fold predictions, beside those of boosted trees.
fig, axes = plt.subplots(1, 2, figsize=(9, 4), sharey=True, layout="constrained")
models = [BackpropTabularRegressor(random_state=0), HistGradientBoostingRegressor(random_state=0)]
for ax, model in zip(axes, models, strict=True):
    predictions = cross_val_predict(model, X, y)
    ax.scatter(predictions, y, s=8, alpha=0.6)
    ax.axline((y.mean(), y.mean()), slope=1, color="0.5", linewidth=1)
    ax.set(xlabel="prediction", title=f"{type(model).__name__}\n$R^2$ {r2_score(y, predictions):.2f}")
axes[0].set_ylabel("progression after a year")

# %%
# Where the networks of the ensemble disagree, predictions are less certain; errors are larger there on average.
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
model = BackpropTabularRegressor(random_state=0).fit(X_train, y_train)
spread, errors = model.predict_spread(X_test), np.abs(model.predict(X_test) - y_test)
halves = np.array_split(np.argsort(spread), 2)
print("mean error where they agree:   ", errors.iloc[halves[0]].mean().round(1))
print("mean error where they disagree:", errors.iloc[halves[1]].mean().round(1))

# %%
# scikit-learn's tools work on the columns of the table, categories among them.
importance = permutation_importance(model, X_test, y_test, n_repeats=10, random_state=0)
order = importance.importances_mean.argsort()
fig, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
ax.barh(X.columns[order], importance.importances_mean[order], xerr=importance.importances_std[order])
ax.set(xlabel="loss of $R^2$ when the column is shuffled", title="Importance of the columns")
plt.show()
