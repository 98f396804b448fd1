"""
Backpropagation in forty lines of NumPy
=======================================

The steps of backpropagation train a network on real data, with ReLU in the hidden layers and softmax at the output. The
package is checked against them: same initial weights, same batches, same final weights.

:doc:`/backpropagation_by_hand` explains each step with a tiny network.
"""

# %%
# The data: handwritten digits. A row of `Y` has a one in the column of its class.

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from skbackprop import BackpropClassifier

X, y = load_digits(return_X_y=True)
X = X / 16.0
Y = np.eye(10)[y]


# %%
# Initial weights, as scikit-learn and this package draw them.


def initialise(units, random_state):
    """Weights and intercepts of each layer."""
    layers = []
    for n_in, n_out in pairwise(units):
        bound = np.sqrt(6.0 / (n_in + n_out))
        layers.append([random_state.uniform(-bound, bound, (n_in, n_out)), random_state.uniform(-bound, bound, n_out)])
    return layers


# %%
# The forward pass computes the probabilities, the backward pass the gradients. The error of the output layer is the
# probabilities minus the targets; the derivative of ReLU is one where the unit is active.


def forward(X, layers):
    """Outputs of all layers, the input's own first."""
    outputs = [X]
    for W, b in layers[:-1]:
        outputs.append(np.maximum(outputs[-1] @ W + b, 0.0))
    W, b = layers[-1]
    z = outputs[-1] @ W + b
    exponentials = np.exp(z - z.max(axis=1, keepdims=True))  # without the subtraction, large numbers overflow
    outputs.append(exponentials / exponentials.sum(axis=1, keepdims=True))
    return outputs


def backward(outputs, Y, layers):
    """Gradients of the mean cross-entropy, layer by layer."""
    gradients = []
    delta = (outputs[-1] - Y) / len(Y)
    for (W, _), a in zip(reversed(layers), reversed(outputs[:-1]), strict=True):
        gradients.append([a.T @ delta, delta.sum(axis=0)])
        delta = (delta @ W.T) * (a > 0)
    return gradients[::-1]


# %%
# Gradient descent with momentum, over mini-batches in the order of the rows.


def train(X, Y, layers, n_epochs, batch_size, rate, momentum):
    """Mean loss of each epoch; the layers change in place."""
    velocities = [[np.zeros_like(array) for array in layer] for layer in layers]
    curve = []
    for _ in range(n_epochs):
        total = 0.0
        for start in range(0, len(X), batch_size):
            rows = slice(start, start + batch_size)
            outputs = forward(X[rows], layers)
            total -= np.log(outputs[-1][Y[rows] == 1]).sum()
            for layer, velocity, gradient in zip(layers, velocities, backward(outputs, Y[rows], layers), strict=True):
                for i in range(2):
                    velocity[i] = momentum * velocity[i] - rate * gradient[i]
                    layer[i] += velocity[i]
        curve.append(total / len(X))
    return curve


layers = initialise((64, 40, 20, 10), np.random.RandomState(0))
curve = train(X, Y, layers, n_epochs=30, batch_size=100, rate=0.05, momentum=0.9)

# %%
# The package, with the same settings. `alpha=0` turns off the L2 penalty.

model = BackpropClassifier(
    hidden_layer_sizes=(40, 20),
    activation="relu",
    solver="sgd",
    momentum=0.9,
    nesterovs_momentum=False,
    learning_rate_init=0.05,
    alpha=0.0,
    batch_size=100,
    shuffle=False,
    max_iter=30,
    n_iter_no_change=np.inf,
    random_state=0,
)
model.fit(X, y)

np.testing.assert_allclose(model.loss_curve_, curve, rtol=1e-9)
for (W, b), coef, intercept in zip(layers, model.coefs_, model.intercepts_, strict=True):
    np.testing.assert_allclose(coef, W, rtol=0.0, atol=1e-9)
    np.testing.assert_allclose(intercept, b, rtol=0.0, atol=1e-9)
largest = max(np.abs(W - coef).max() for (W, _), coef in zip(layers, model.coefs_, strict=True))
print(f"no weight differs by more than {largest:.0e}")

# %%
# The crosses lie on the line: the losses agree.

fig, ax = plt.subplots(layout="constrained")
ax.plot(range(1, 31), curve, label="by hand")
ax.plot(range(1, 31), model.loss_curve_, "x", label="BackpropClassifier")
ax.set(xlabel="epoch", ylabel="training loss", yscale="log", title="Digits, two hidden layers")
ax.legend()
plt.show()
