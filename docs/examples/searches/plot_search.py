"""
Hundreds of candidates at once
==============================

A grid over two parameters, fine enough to show the landscape of the scores: every network, for every fold, is trained
in a thread of its own, on one copy of the data.
"""

# %%
# The data: 178 wines of three cultivars, with 13 measurements each. The pipeline's scaler is fitted once for each fold,
# not once for each candidate.

import time
import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn import model_selection
from sklearn.datasets import load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbackprop import BackpropClassifier
from skbackprop.exceptions import TrainingWarning
from skbackprop.model_selection import GridSearchCV

X, y = load_wine(return_X_y=True)
settings = {"hidden_layer_sizes": (16,), "batch_size": 32, "max_iter": 20, "random_state": 0}
warnings.simplefilter("ignore", ConvergenceWarning)  # twenty epochs are enough to compare
warnings.simplefilter("ignore", TrainingWarning)  # the largest rates kill units, which the map shows

# %%
# 20 penalty strengths and 20 learning rates are 400 candidates, and with five folds 2,000 fits.

alphas, rates = np.logspace(-5, 2, 20), np.logspace(-4, 0, 20)


def grid(prefix, step=1):
    """Every `step`-th value of both parameters."""
    return {f"{prefix}__alpha": alphas[::step], f"{prefix}__learning_rate_init": rates[::step]}


network = make_pipeline(StandardScaler(), BackpropClassifier(**settings))
network.fit(X, y)  # compiles, the first time
search = GridSearchCV(network, grid("backpropclassifier"), scoring="neg_log_loss", cv=5)
start = time.perf_counter()
search.fit(X, y)
seconds = time.perf_counter() - start
print(f"{len(search.cv_results_['params']) * search.n_splits_} trainings in {seconds:.1f} s")
best = search.best_params_
rate, alpha = best["backpropclassifier__learning_rate_init"], best["backpropclassifier__alpha"]
print(f"best: learning_rate_init={rate:.2g}, alpha={alpha:.2g}, log loss {-search.best_score_:.3f}")

# %%
# scikit-learn's search over its own network, with all cores: a sixteenth of the candidates is enough to measure its
# time per candidate.

few = model_selection.GridSearchCV(
    make_pipeline(StandardScaler(), MLPClassifier(**settings)),
    grid("mlpclassifier", step=4),
    scoring="neg_log_loss",
    cv=5,
    n_jobs=-1,
)
few.fit(X, y)  # starts the processes
start = time.perf_counter()
few.fit(X, y)
n_few = len(few.cv_results_["params"])
few_seconds = time.perf_counter() - start
print(f"a candidate takes {1e3 * seconds / 400:.1f} ms here, {1e3 * few_seconds / n_few:.1f} ms there")

# %%
# The heat map. The best learning rates form a ridge, which a grid of three or four values per parameter would miss or
# hit by luck; with a strong penalty nothing is learned, whatever the rate.

loss = -search.cv_results_["mean_test_score"].reshape(len(alphas), len(rates))
fig, ax = plt.subplots(layout="constrained")
mesh = ax.pcolormesh(rates, alphas, loss, norm="log", cmap="viridis_r", shading="nearest")
ax.plot(rate, alpha, "r*", markersize=14, label="best")
ax.set(xscale="log", yscale="log", xlabel="learning_rate_init", ylabel="alpha", title="400 candidates, five folds")
fig.colorbar(mesh, label="log loss in cross-validation")
ax.legend()
plt.show()
