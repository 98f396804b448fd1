"""
Batch, mini-batch and stochastic gradient descent
=================================================

`batch_size` is the number of rows whose gradient each update uses. All rows: *batch* gradient descent, with one update
per epoch. One row: *stochastic* gradient descent. Anything in between: *mini-batch* gradient descent.
"""

# %%
# All networks have the same architecture, initial weights and learning rate, without momentum. Only the batch size
# differs.

import time

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from skbackprop import BackpropClassifier

X, y = load_digits(return_X_y=True)
X = X / 16.0
names = {len(X): "batch: all rows", 200: "mini-batches of 200", 32: "mini-batches of 32", 1: "stochastic: one row"}

fig, (left, right) = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
for batch_size, label in names.items():
    model = BackpropClassifier(
        hidden_layer_sizes=(30,),
        solver="sgd",
        momentum=0.0,
        learning_rate_init=0.1,
        batch_size=batch_size,
        max_iter=50,
        tol=0.0,
        n_iter_no_change=np.inf,
        random_state=0,
    )
    start = time.perf_counter()
    model.fit(X, y)
    seconds = time.perf_counter() - start
    n_updates = int(np.ceil(len(X) / batch_size))
    epochs = np.arange(1, model.n_iter_ + 1)
    print(f"{label:20}: {n_updates:4} updates an epoch, last loss {model.loss_:.4f}")
    left.plot(epochs, model.loss_curve_, label=label)
    right.plot(epochs * seconds / model.n_iter_, model.loss_curve_, label=label)
left.set(xlabel="epoch", ylabel="training loss", yscale="log")
right.set(xlabel="seconds of training", xscale="log")
left.legend()
plt.show()

# %%
# Per epoch, smaller batches learn faster, because they make more updates from the same rows. But their epochs take
# longer, because many small matrix products take more time than a large one. The right panel shows the result:
# mini-batches are a compromise, which is why they are the default.
#
# The gradient of a small batch is a noisy estimate of the gradient of all rows. The effect of the noise grows with the
# learning rate, so small batches need a smaller one. Here are batches of one row with three learning rates. If the rate
# is too large, the loss jumps up and down, and may not fall at all.

fig, ax = plt.subplots(layout="constrained")
for rate in (0.2, 0.1, 0.01):
    model = BackpropClassifier(
        hidden_layer_sizes=(30,),
        solver="sgd",
        momentum=0.0,
        learning_rate_init=rate,
        batch_size=1,
        max_iter=30,
        tol=0.0,
        n_iter_no_change=np.inf,
        random_state=0,
    )
    model.fit(X, y)
    print(f"learning rate {rate:4}: last loss {model.loss_:.4f}")
    ax.plot(range(1, model.n_iter_ + 1), model.loss_curve_, label=f"learning rate {rate}")
ax.set(xlabel="epoch", ylabel="training loss", yscale="log", title="Batches of one row")
ax.legend()
plt.show()
