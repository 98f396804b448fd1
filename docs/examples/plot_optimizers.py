"""
Loss curves of the optimizers
=============================

The stochastic optimizers and learning rate schedules, on the handwritten digits that scikit-learn brings along. All
runs start from the same weights and see the rows in the same order, because they share `random_state`.
"""

# %%
# Pixels are between 0 and 16. Scaling them to [0, 1] is enough here.

import warnings

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from skbackprop import BackpropClassifier

X, y = load_digits(return_X_y=True)
X = X / 16.0

# %%
# Each entry is what differs from the defaults.

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
# Forty epochs are too few to converge, and the warning that says so is not wanted here. `loss_curve_` holds one number
# an epoch: the mean over the batches of the loss with its penalty, as it was when each batch was trained on.

fig, ax = plt.subplots(layout="constrained")
for label, setting in settings.items():
    model = BackpropClassifier(hidden_layer_sizes=(50,), batch_size=100, max_iter=40, random_state=0, **setting)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, y)
    ax.plot(range(1, model.n_iter_ + 1), model.loss_curve_, label=label)
ax.set(xlabel="epoch", ylabel="training loss", yscale="log", title="Digits, one hidden layer of 50 units")
ax.legend()
plt.show()
