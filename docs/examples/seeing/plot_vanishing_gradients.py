"""
Vanishing gradients
===================

The error that backpropagation propagates back through a deep network is a product of many factors. The derivative of
the logistic function is at most 1/4, so little reaches the first layers: see :ref:`vanishing_gradients` for the
calculation. This example shows the gradients of each layer on handwritten digits, and their effect on training.
"""

# %%
# All networks have eight hidden layers of 32 units, and differ only in the activation function.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from skbackprop import BackpropClassifier

X, y = load_digits(return_X_y=True)
X = X / 16.0
hidden_layer_sizes = (32,) * 8
activations = ["logistic", "tanh", "relu"]

# %%
# A step of plain gradient descent over all rows is the learning rate times the gradient. So the weights before a step
# minus those after it, divided by the learning rate, are the gradient. The first call of `partial_fit` creates the
# network and takes a small step; the second step is measured.


def gradients(activation):
    """Root mean square of the gradients of each layer's weights, in a network that is hardly trained yet."""
    model = BackpropClassifier(
        hidden_layer_sizes,
        activation=activation,
        solver="sgd",
        momentum=0.0,
        learning_rate_init=0.01,
        alpha=0.0,
        batch_size=len(X),
        random_state=0,
    )
    before = [coef.copy() for coef in model.partial_fit(X, y, classes=range(10)).coefs_]
    after = model.partial_fit(X, y).coefs_
    return [np.sqrt(np.mean(((old - new) / 0.01) ** 2)) for old, new in zip(before, after, strict=True)]


fig, ax = plt.subplots(layout="constrained")
for activation in activations:
    sizes = gradients(activation)
    print(f"{activation:8}: first layer {sizes[0]:.1e}, last layer {sizes[-1]:.1e}, ratio {sizes[0] / sizes[-1]:.1e}")
    ax.plot(range(1, len(sizes) + 1), sizes, marker="o", label=activation)
ax.set(xlabel="layer of weights, from inputs to outputs", ylabel="size of the gradients", yscale="log")
ax.set_title("Gradients at the start of training")
ax.legend()
plt.show()

# %%
# With the logistic function, the gradients shrink by the same factor from each layer to the previous one, and almost
# nothing reaches the first. With tanh and ReLU they differ by less than a factor of ten. Now each network is trained
# for thirty epochs.

fig, ax = plt.subplots(layout="constrained")
for activation in activations:
    model = BackpropClassifier(
        hidden_layer_sizes,
        activation=activation,
        solver="sgd",
        learning_rate_init=0.02,
        batch_size=32,
        max_iter=30,
        n_iter_no_change=np.inf,
        random_state=0,
    )
    model.fit(X, y)
    print(f"{activation:8}: accuracy on training data {model.score(X, y):.3f}")
    ax.plot(range(1, model.n_iter_ + 1), model.loss_curve_, label=activation)
ax.axhline(np.log(10), color="gray", linestyle=":", label="guessing")
ax.set(xlabel="epoch", ylabel="training loss", title="Digits, eight hidden layers of 32 units")
ax.legend()
plt.show()

# %%
# The network with logistic units stays at the loss of guessing, ln 10 for ten classes, while the other two learn. The
# derivative of tanh is close to one as long as its inputs are small, as they are at the start of training. The
# derivative of ReLU, the default, is one for every positive input, however large.
