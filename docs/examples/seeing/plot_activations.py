"""
Activations, and a choice for each layer
========================================

`activation` is the activation function of the hidden layers: one of fourteen functions for all layers, or a sequence
with one for each. This example plots the functions and their derivatives, as computed by the network itself, and
compares how well they train.
"""

# %%
# A network with one input, one hidden unit and one output, with all weights one and all layers frozen, just applies its
# activation function. `BackpropEmbedding` returns the output of the hidden unit, and `input_gradient` the derivative.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split

from skbackprop import BackpropClassifier, BackpropEmbedding, BackpropRegressor
from skbackprop.functions import GELU, SELU, LeakyReLU
from skbackprop.inspection import input_gradient

# The warning says that training did not converge in so few epochs, which does not matter here.

families = {
    "rectifiers": ["relu", "leaky_relu", "elu", "selu", "softplus"],
    "smooth and not monotone": ["gelu", "silu", "mish"],
    "bounded": ["logistic", "hard_sigmoid", "tanh", "hard_tanh", "softsign"],
}
z = np.linspace(-4, 4, 400)[:, np.newaxis]
ones = [np.ones((1, 1)), np.ones((1, 1))], [np.zeros(1), np.zeros(1)]

fig, axes = plt.subplots(2, 3, figsize=(10, 5.5), sharex=True, sharey="row", layout="constrained")
for (family, names), (upper, lower) in zip(families.items(), axes.T, strict=True):
    for name in names:
        unit = BackpropRegressor(
            hidden_layer_sizes=(1,),
            activation=name,
            weight_init=ones,
            frozen_layers=[0, 1],
            max_iter=1,
            n_iter_no_change=np.inf,
        )
        unit.fit(z, z.ravel())
        upper.plot(z, BackpropEmbedding(FrozenEstimator(unit)).fit(z, z.ravel()).transform(z), label=name)
        lower.plot(z, input_gradient(unit, z), label=name)
    upper.set(title=family)
    upper.legend()
    lower.set(xlabel="z")
axes[0, 0].set(ylabel="output", ylim=(-2.2, 4.2))
axes[1, 0].set(ylabel="slope")
plt.show()

# %%
# Backpropagation multiplies the error by this derivative in each layer. The derivative of the bounded functions is
# nearly zero away from the middle, and that of the logistic function is at most 1/4: see
# :ref:`sphx_glr_auto_examples_seeing_plot_vanishing_gradients.py`. The derivative of ReLU is zero for negative z, so that a
# unit may die, which its variants prevent.
#
# Does it matter? Here are networks with five hidden layers on handwritten digits, trained for a few epochs from initial
# weights that suit the function.

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16.0, y, random_state=0)
choices = {
    "identity": ("identity", "lecun_normal"),
    "logistic": ("logistic", "glorot_normal"),
    "tanh": ("tanh", "glorot_normal"),
    "softsign": ("softsign", "glorot_normal"),
    "relu": ("relu", "he_normal"),
    "LeakyReLU(0.1)": (LeakyReLU(0.1), "he_normal"),
    "SELU()": (SELU(), "lecun_normal"),
    "GELU()": (GELU(), "he_normal"),
    "tanh, then relu": (["tanh", "tanh", "relu", "relu", "relu"], "he_normal"),
}
epochs = [3, 30]
scores = []
for label, (activation, weight_init) in choices.items():
    model = BackpropClassifier(
        (40,) * 5,
        activation=activation,
        weight_init=weight_init,
        batch_size=50,
        random_state=0,
        max_iter=epochs[0],
        n_iter_no_change=np.inf,
    )
    row = [model.fit(X_train, y_train).score(X_test, y_test)]
    row.append(model.set_params(max_iter=epochs[1]).fit(X_train, y_train).score(X_test, y_test))
    print(f"{label:16}: accuracy {row[0]:.3f} after {epochs[0]} epochs, {row[1]:.3f} after {epochs[1]}")
    scores.append(row)

fig, ax = plt.subplots(layout="constrained")
places = np.arange(len(scores))
for shift, column, n_epochs in zip((-0.2, 0.2), np.array(scores).T, epochs, strict=True):
    ax.barh(places + shift, column, height=0.4, label=f"{n_epochs} epochs")
ax.set_yticks(places, list(choices))
ax.invert_yaxis()
ax.set(xlabel="accuracy on test data", title="Digits, five hidden layers of 40 units")
fig.legend(loc="outside lower center", ncols=2)
plt.show()
