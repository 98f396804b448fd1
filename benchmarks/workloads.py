"""Workloads: networks, data sizes, and the losses.

Data are synthetic, learnable and the same in every process: a random teacher network plus noise. All peers minimise
scikit-learn's objective: the mean loss of a mini-batch plus ``alpha / (2 * rows of the batch) * sum of squared
weights``.
"""

import tempfile
from dataclasses import dataclass, replace

import numpy as np

ALPHA = 1e-4
LEARNING_RATE = 1e-3
MOMENTUM = 0.9
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8

_TEACHER_UNITS = 16
_NOISE = 0.3
_CHUNK_ROWS = 100_000
# Parameters and optimizer state beyond this size come from memory in every step, on any common processor.
_CACHE_BYTES = 32 << 20


@dataclass(frozen=True)
class Workload:
    """A network and the data it is trained on.

    Parameters
    ----------
    name : str
    n_rows, n_features : int
    hidden : tuple of int
        Units of the hidden layers, relu.
    batch_size : int
        Rows of a mini-batch; those of the data for lbfgs.
    n_classes : int, default=2
        0 is regression with one target.
    solver : {"adam", "sgd", "lbfgs"}, default="adam"
        'sgd' has Nesterov's momentum. For 'lbfgs', an iteration takes the place of an epoch.
    density : float, default=1.0
        Below one, X is a CSR matrix with this fraction of stored entries.
    loss_epochs : int, default=3
        Number of epochs after which the losses of all peers are compared.
    memmap : bool, default=False
        Whether X is a memory-mapped file.
    """

    name: str
    n_rows: int
    n_features: int
    hidden: tuple
    batch_size: int
    n_classes: int = 2
    solver: str = "adam"
    density: float = 1.0
    loss_epochs: int = 3
    memmap: bool = False

    def quick(self):
        """A much smaller network of the same kind."""
        n_rows = min(self.n_rows, 600)
        return replace(
            self,
            n_rows=n_rows,
            n_features=min(self.n_features, 50),
            hidden=tuple(min(units, 16) for units in self.hidden),
            batch_size=min(self.batch_size, n_rows if self.solver == "lbfgs" else 128),
            density=max(self.density, 0.05),
            loss_epochs=min(self.loss_epochs, 10),
        )

    @property
    def layer_units(self):
        """Units of all layers, inputs and outputs included."""
        return (self.n_features, *self.hidden, self.n_classes if self.n_classes > 2 else 1)

    @property
    def shapes(self):
        """Shapes of the weight matrices."""
        return list(zip(self.layer_units[:-1], self.layer_units[1:], strict=True))

    @property
    def n_params(self):
        """Weights and intercepts."""
        return sum((fan_in + 1) * fan_out for fan_in, fan_out in self.shapes)

    @property
    def n_steps(self):
        """Updates in an epoch."""
        return -(-self.n_rows // self.batch_size)

    @property
    def flops(self):
        """Minimum number of additions and multiplications in an epoch."""
        first, *others = (fan_in * fan_out for fan_in, fan_out in self.shapes)
        # Two products in the first layer, three in the others; about ten operations per parameter in Adam's update,
        # four in SGD's.
        update = 10 if self.solver == "adam" else 4
        return self.n_rows * (4 * first * self.density + 6 * sum(others)) + self.n_steps * self.n_params * update

    def n_bytes(self, itemsize):
        """Minimum memory traffic of an epoch in bytes: the data, and parameters that no cache holds."""
        data = self.n_rows * self.n_features * itemsize
        if self.density < 1:
            data *= self.density * (1 + 4 / itemsize)  # a column index of four bytes with each number
        # Adam reads the gradient, the weights and two moments, and writes the last three.
        n_arrays, n_moves = (4, 7) if self.solver == "adam" else (3, 5)
        state = self.n_params * itemsize
        return data + (self.n_steps * n_moves * state if n_arrays * state > _CACHE_BYTES else 0)


WORKLOADS = (
    Workload("sgd1", 10_000, 20, (32,), 1, solver="sgd", loss_epochs=1),
    Workload("tiny", 569, 30, (100,), 200, loss_epochs=20),
    Workload("small", 10_000, 20, (32,), 32),
    Workload("medium", 100_000, 50, (256, 128), 256, n_classes=10),
    Workload("mnist", 60_000, 784, (100,), 200, n_classes=10),
    Workload("deep", 50_000, 64, (128,) * 6, 128),
    Workload("wide", 50_000, 256, (1024, 1024), 1024, n_classes=0, loss_epochs=1),
    Workload("lbfgs", 10_000, 50, (100,), 10_000, solver="lbfgs", loss_epochs=100),
    Workload("sparse", 20_000, 50_000, (64,), 200, density=0.001),
)

#: Workloads that are also measured in float64.
FLOAT64 = ("small", "medium", "mnist")


def initial_params(workload):
    """Weights and intercepts as scikit-learn draws them for ``random_state=0``.

    Parameters
    ----------
    workload : Workload

    Returns
    -------
    params : list of tuple of ndarray
        Weights of shape (fan_in, fan_out) and intercepts of each layer, float64.
    """
    random_state = np.random.RandomState(0)
    params = []
    for fan_in, fan_out in workload.shapes:
        bound = np.sqrt(6 / (fan_in + fan_out))  # Glorot and Bengio (2010), equation 16
        weights = random_state.uniform(-bound, bound, (fan_in, fan_out))
        params.append((weights, random_state.uniform(-bound, bound, fan_out)))
    return params


def load(workload, dtype):
    """Data of a workload.

    Parameters
    ----------
    workload : Workload
    dtype : str
        "float32" or "float64".

    Returns
    -------
    X : ndarray or csr_array of shape (n_rows, n_features)
    y : ndarray of shape (n_rows,)
        Class labels from 0, or standardised numbers of dtype `dtype`.
    """
    if workload.name == "tiny":
        return _breast_cancer(workload, dtype)
    rng = np.random.default_rng(0)
    units = workload.layer_units
    spread = np.sqrt(workload.n_features * workload.density)
    hidden = (rng.standard_normal((units[0], _TEACHER_UNITS)) / spread).astype(np.float32)
    output = rng.standard_normal((_TEACHER_UNITS, units[-1])) / np.sqrt(_TEACHER_UNITS)
    X = _inputs(workload, dtype, rng)
    scores = np.empty((workload.n_rows, units[-1]))
    for start in range(0, workload.n_rows, _CHUNK_ROWS):
        chunk = slice(start, start + _CHUNK_ROWS)
        scores[chunk] = np.tanh(X[chunk] @ hidden) @ output
    scores += _NOISE * rng.standard_normal(scores.shape)
    if workload.n_classes == 0:
        return X, ((scores - scores.mean()) / scores.std()).ravel().astype(dtype)
    return X, (scores.argmax(axis=1) if workload.n_classes > 2 else (scores[:, 0] > 0).astype(np.int64))


def _breast_cancer(workload, dtype):
    from sklearn.datasets import load_breast_cancer

    X, y = load_breast_cancer(return_X_y=True)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    return np.ascontiguousarray(X[: workload.n_rows], dtype=dtype), y[: workload.n_rows].astype(np.int64)


def _inputs(workload, dtype, rng):
    shape = (workload.n_rows, workload.n_features)
    if workload.density < 1:
        from scipy.sparse import random_array

        return random_array(
            shape, density=workload.density, format="csr", dtype=dtype, rng=rng, data_sampler=rng.standard_normal
        )
    if workload.memmap:
        with tempfile.TemporaryFile() as file:  # freed with the array, which keeps it open
            X = np.memmap(file, dtype=dtype, mode="w+", shape=shape)
    else:
        X = np.empty(shape, dtype=dtype)
    for start in range(0, len(X), _CHUNK_ROWS):
        chunk = X[start : start + _CHUNK_ROWS]
        chunk[...] = rng.standard_normal(chunk.shape, dtype=np.float32)  # float64 data are the same numbers
    return X


def mean_loss(workload, params, X, y):
    """Loss without penalty, the same function for every peer.

    Parameters
    ----------
    workload : Workload
    params : list of tuple of ndarray
        Like those of `initial_params`.
    X, y
        From `load`.

    Returns
    -------
    loss : float
        Mean log loss, or half the mean squared error.
    """
    total = 0.0
    for start in range(0, len(y), _CHUNK_ROWS):
        raw, expected = X[start : start + _CHUNK_ROWS], y[start : start + _CHUNK_ROWS]
        for layer, (weights, intercepts) in enumerate(params):
            raw = (raw if layer == 0 else np.maximum(raw, 0)) @ weights + intercepts
        raw = raw.astype(np.float64)
        if workload.n_classes > 2:
            total += np.logaddexp.reduce(raw, axis=1).sum() - raw[np.arange(len(raw)), expected].sum()
        elif workload.n_classes == 2:
            total += np.logaddexp(0, np.where(expected, -raw[:, 0], raw[:, 0])).sum()
        else:
            total += 0.5 * np.sum((raw[:, 0] - expected) ** 2)
    return float(total / len(y))
