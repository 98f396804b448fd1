"""
When another model is the better one
====================================

On a plain table, a linear model or boosted trees are often as good as a network or better, and trained in less time.
This example compares the three by cross-validation, with settings that one would try first.
"""

# %%
# Two tables of classes and two of numbers: tumours, wines, patients with diabetes, and a function of five of ten
# columns that is smooth, which suits networks. All models get standardized columns; nothing is tuned.

import time

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import is_classifier
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine, make_friedman1
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbackprop import BackpropClassifier, BackpropRegressor

network = {"hidden_layer_sizes": (64,), "learning_rate_init": 0.01, "early_stopping": True, "random_state": 0}
classifiers = {
    "linear": LogisticRegression(),
    "boosted trees": HistGradientBoostingClassifier(random_state=0),
    "network": BackpropClassifier(**network),
}
regressors = {
    "linear": Ridge(),
    "boosted trees": HistGradientBoostingRegressor(random_state=0),
    "network": BackpropRegressor(**network, standardize_target=True),
}
tables = {
    "tumours\n(accuracy)": (load_breast_cancer(return_X_y=True), classifiers),
    "wines\n(accuracy)": (load_wine(return_X_y=True), classifiers),
    "diabetes\n(R²)": (load_diabetes(return_X_y=True), regressors),
    "smooth function\n(R²)": (make_friedman1(2000, noise=1.0, random_state=0), regressors),
}

# %%
# Means over five folds, and the seconds that all of them take.

scores = np.zeros((3, len(tables)))
for column, (name, ((X, y), models)) in enumerate(tables.items()):
    print(name.replace("\n", " "))
    for row, (label, model) in enumerate(models.items()):
        folds = (StratifiedKFold if is_classifier(model) else KFold)(5, shuffle=True, random_state=0)
        start = time.perf_counter()
        scores[row, column] = cross_val_score(make_pipeline(StandardScaler(), model), X, y, cv=folds).mean()
        print(f"    {label:15} {scores[row, column]:.3f}   {time.perf_counter() - start:.2f} s")

# %%
# The network is the best model of the smooth function only. On the three others the linear model is: they have few rows,
# and effects that mostly add up. See :doc:`/choosing` for more.

fig, ax = plt.subplots(layout="constrained")
for row, label in enumerate(classifiers):
    ax.bar(np.arange(len(tables)) + 0.27 * (row - 1), scores[row], width=0.25, label=label)
ax.set(xticks=range(len(tables)), xticklabels=tables, ylabel="score in cross-validation", title="Nothing is tuned")
fig.legend(loc="outside lower center", ncols=3)
plt.show()
