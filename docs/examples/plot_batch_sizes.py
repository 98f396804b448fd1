"""
Batch, mini-batch and stochastic gradient descent
=================================================

`batch_size` is the number of rows from which each update takes its gradient. All rows: *batch* descent, one update an epoch. One
row: *stochastic* descent. Something between the two: *mini-batches*.
"""

# %%
# The same network, the same start, the same learning rate, without momentum. Only the size of the batches differs.

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
# Epoch for epoch, smaller batches learn faster: they make more updates from the same rows. An epoch of them also takes longer, because many small
# products of matrices cost more time than a large one. The right panel shows the outcome: mini-batches are a compromise, which is why they are the
# default.
#
# The gradient of a small batch is a noisy estimate of that of all rows. The noise grows with the learning rate, so that small batches
# need smaller ones. Here are single rows with three learning rates. With too large a rate the loss jumps up and down, and may not fall at all.

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
