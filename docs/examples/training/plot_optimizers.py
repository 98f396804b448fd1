"""
Loss curves of the optimizers
=============================

The solvers on the handwritten digits that scikit-learn includes. All runs start from the same weights and see the rows
in the same order, because they share `random_state`.
"""

# %%
# Pixels are between 0 and 16. Scaling them to [0, 1] is enough here.

import contextlib
import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from skbackprop import BackpropClassifier
from skbackprop.exceptions import TrainingWarning
from skbackprop.functions import SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, AMSGrad, Lion, NAdam, RMSprop

# The warnings say that training did not converge in so few epochs, and that units die if the rate is too large: both
# are intended here.
warnings.simplefilter("ignore", TrainingWarning)

X, y = load_digits(return_X_y=True)
X = X / 16.0

# %%
# First the solvers that scikit-learn has, too. Each entry lists what differs from the defaults.

settings = {
    "sgd, no momentum": {"solver": "sgd", "momentum": 0.0, "learning_rate_init": 0.1},
    "sgd, momentum": {"solver": "sgd", "nesterovs_momentum": False, "learning_rate_init": 0.1},
    "sgd, Nesterov's momentum": {"solver": "sgd", "learning_rate_init": 0.1},
    "sgd, invscaling": {
        "solver": "sgd",
        "learning_rate": "invscaling",
        "power_t": 0.25,
        "learning_rate_init": 0.1,
    },
    "adam": {"solver": "adam", "learning_rate_init": 0.01},
}

# %%
# `loss_curve_` holds one number for each epoch: the mean over the batches of the loss with its penalty, computed before
# the update of each batch.

fig, ax = plt.subplots(layout="constrained")
for label, setting in settings.items():
    model = BackpropClassifier(
        hidden_layer_sizes=(50,), batch_size=100, max_iter=40, n_iter_no_change=np.inf, random_state=0, **setting
    )
    model.fit(X, y)
    ax.plot(range(1, model.n_iter_ + 1), model.loss_curve_, label=label)
ax.set(xlabel="epoch", ylabel="training loss", yscale="log", title="Digits, one hidden layer of 50 units")
ax.legend()
plt.show()

# %%
# Now all solvers, over a wide range of learning rates: the loss after ten epochs. With too low a rate nothing has
# happened yet; with too high a rate the loss jumps, or becomes NaN (which is an error, and leaves no point in the
# plot). Solvers differ less in the loss that they reach than in their best rate, and in how wide the range of good
# rates is.

solvers = [SGD(), Adam(), AdamW(), AMSGrad(), NAdam(), Adamax(), RMSprop(), Adagrad(), Adadelta(), Lion()]
rates = np.geomspace(1e-4, 10, 11)
fig, ax = plt.subplots(figsize=(8, 5), layout="constrained")
for index, solver in enumerate(solvers):
    losses = np.full(len(rates), np.nan)
    for position, rate in enumerate(rates):
        model = BackpropClassifier(
            hidden_layer_sizes=(50,),
            solver=solver,
            learning_rate_init=rate,
            batch_size=100,
            max_iter=10,
            n_iter_no_change=np.inf,
            random_state=0,
        )
        with contextlib.suppress(ValueError):
            losses[position] = model.fit(X, y).loss_
    best = np.nanargmin(losses)
    print(f"{solver!r:10}: loss {losses[best]:.3f} with learning_rate_init={rates[best]:.2g}")
    ax.plot(rates, losses, marker=".", color=f"C{index}", label=f"{solver}")
ax.set(xlabel="learning_rate_init", xscale="log", ylabel="loss after ten epochs", yscale="log", ylim=(0.01, 10))
ax.set_title("Digits, one hidden layer of 50 units")
ax.legend(ncols=2, fontsize=8)
plt.show()
