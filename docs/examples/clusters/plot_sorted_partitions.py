"""
Partitions that are sorted by label
===================================

The rows of a cluster often lie as they came: one worker has the first classes, and another the last. Networks that are
trained on each worker by itself, and averaged, would learn little from them. Here each worker computes the gradient of
its share of every mini-batch, and all make the same update: the training is that of one machine, however the rows lie.
"""

# %%
# A cluster of two workers. On a real one, give ``Client`` the address of its scheduler.

import warnings

import dask.array as da
import matplotlib.pyplot as plt
import numpy as np
from distributed import Client, LocalCluster
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from skbackprop import BackpropClassifier
from skbackprop.dask import DaskBackpropClassifier

warnings.simplefilter("ignore", ConvergenceWarning)
X, y = load_digits(return_X_y=True)
X = X / 16
settings = {"hidden_layer_sizes": (32,), "batch_size": 64, "max_iter": 20, "n_iter_no_change": 100}

# %%
# Six partitions, sorted by label: the first three, with digits up to 4, go to the first worker.

order = np.argsort(y, kind="stable")
with (
    LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
    Client(cluster),
):
    rows, labels = da.from_array(X[order], chunks=(300, -1)), da.from_array(y[order], chunks=300)
    model = DaskBackpropClassifier(**settings, random_state=0).fit(rows, labels)
    print(f"accuracy on the training data: {model.score(rows, labels):.3f}")
    predictions = model.predict(rows)
print(predictions)

# %%
# The loss curve beside those of ten seeds on one machine.

fig, ax = plt.subplots(layout="constrained")
for seed in range(10):
    one = BackpropClassifier(**settings, random_state=seed).fit(X, y)
    ax.plot(one.loss_curve_, color="0.75", label="one machine, ten seeds" if seed == 0 else None)
ax.plot(model.loss_curve_, color="C0", label="two workers, sorted by label")
ax.set(xlabel="epoch", ylabel="training loss", yscale="log", title="Digits")
ax.legend()
plt.show()

# %%
# The fitted estimator is that of one machine, to be saved and deployed without Dask.

local = model.to_local()
print(local.predict(X[:5]), y[:5])
