"""Seconds of grid searches, and the memory that they add: many small networks, trained at the same time or one by one.

"digits" has 18 candidates, 5 folds, one hidden layer of 64 units and 50 epochs; "table" 100 candidates, 5 folds, 10,000
rows of 20 features, one hidden layer of 32 units and 10 epochs; "mixed" 300 candidates, 5 folds, 2,000 rows of 8
numbers and 3 categories, which a ColumnTransformer prepares, one hidden layer of 16 units and 5 epochs. "264 models" is
for `benchmarks.gpu`. Each is timed twice: a search without imports, compilation and the start of processes; and the
first search of a new process with all of these except scikit-learn's own import, as in a script with a single search.
What can be cached on disk, such as compiled kernels, is there already.
"""

import contextlib
import importlib.util
import itertools
import os
import threading
import time
from abc import ABC, abstractmethod
from pathlib import Path

import joblib
import numpy as np

from benchmarks.measure import OURS, PeerError, Pool, Results, ask_once, choose_peers

#: The search that `python -m benchmarks gpu` measures: 66 candidates and 4 folds of a network 32-64-10.
ON_GPU = "264 models"
#: The search over a pipeline.
MIXED = "mixed"
_SEARCHES = {
    "digits": (
        64,
        50,
        {"alpha": [1e-4, 1e-2, 1.0], "learning_rate_init": [3e-4, 1e-3, 3e-3], "batch_size": [32, 200]},
    ),
    "table": (
        32,
        10,
        {
            "alpha": np.logspace(-5, 0, 10).tolist(),
            "learning_rate_init": np.logspace(-4, -2, 10).tolist(),
            "batch_size": [32],
        },
    ),
    MIXED: (
        16,
        5,
        {
            "alpha": np.logspace(-5, 0, 20).tolist(),
            "learning_rate_init": np.logspace(-4, -1, 15).tolist(),
            "batch_size": [200],
        },
    ),
    ON_GPU: (
        64,
        5,
        {
            "alpha": np.logspace(-5, 0, 11).tolist(),
            "learning_rate_init": np.logspace(-4, -2, 6).tolist(),
            "batch_size": [32],
        },
    ),
}


def _load(name):
    if name == "digits":
        from sklearn.datasets import load_digits

        X, y = load_digits(return_X_y=True)
        return (X / 16).astype(np.float32), y
    if name == MIXED:
        return _mixed()
    from sklearn.datasets import make_classification

    if name == ON_GPU:
        X, y = make_classification(85_400, 32, n_informative=16, n_classes=10, random_state=0)
    else:
        X, y = make_classification(10_000, 20, n_informative=10, random_state=0)
    return X.astype(np.float32), y


def _mixed():
    """Numbers, some of them missing, and categories as text."""
    import pandas as pd

    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(2000, 8)), columns=[f"number {column}" for column in range(8)])
    for n_categories in (3, 5, 12):
        X[f"category {n_categories}"] = np.array([f"v{i}" for i in range(n_categories)])[
            rng.integers(n_categories, size=len(X))
        ]
    y = (X["number 0"] + X["number 1"] * X["number 2"] + (X["category 3"] == "v1") > 0.3).astype(int).to_numpy()
    X.iloc[::17, 2] = np.nan
    return X, y


def _prepared(network):
    """A pipeline for such a table."""
    from sklearn.compose import make_column_selector, make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline, make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), make_column_selector(dtype_include="number")),
        (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_exclude="number")),
    )
    return Pipeline([("columns", columns), ("network", network)])


class Search(ABC):
    """A way to search.

    Parameters
    ----------
    search : str
        "digits", "table", "mixed" or "264 models".
    n_jobs : int
        Number of fits at the same time.
    quick : bool
        Whether to search two candidates over a few epochs only.
    device : str, default="cpu"
        Device of the peers that can choose it.

    Attributes
    ----------
    n_steps : int
        Number of mini-batches of all networks together.
    """

    name = package = None
    takes_pipelines = False

    def __init__(self, search, n_jobs, quick, device="cpu"):
        if search == MIXED and not self.takes_pipelines:
            raise ValueError(f"{self.name} has no pipelines")
        self._is_mixed = search == MIXED
        self._n_jobs = n_jobs
        self._device = device
        self._n_splits = 4 if search == ON_GPU else 5
        self._n_hidden, self._n_epochs, self._grid = _SEARCHES[search]
        if quick:
            self._n_epochs, self._grid = (
                3,
                {key: values[:1] for key, values in self._grid.items()} | {"alpha": [1e-4, 1.0]},
            )
        self._X, self._y = _load(search)
        if quick:
            self._X, self._y = self._X[:1000], self._y[:1000]
        n_train = len(self._y) - len(self._y) // self._n_splits
        n_candidates = len(self._grid["alpha"]) * len(self._grid["learning_rate_init"])
        n_batches = sum(-(-n_train // size) for size in self._grid["batch_size"])
        self.n_steps = n_candidates * self._n_splits * self._n_epochs * n_batches

    @classmethod
    def available(cls):
        """Whether it is installed."""
        return importlib.util.find_spec(cls.package) is not None

    @abstractmethod
    def prepare(self):
        """Compile, and start workers, which is not timed."""

    @abstractmethod
    def run(self, n):
        """Search `n` times; gives seconds and `n`."""

    def first(self):
        """Seconds of the first search of this process, without `prepare`."""
        return self.run(1)[0]

    @abstractmethod
    def check(self):
        """Accuracy of the best candidate."""


class ScikitLearn(Search):
    """scikit-learn's grid search with its own estimator."""

    name, package = "scikit-learn", "sklearn"
    takes_pipelines = True

    def prepare(self):
        """A search over few epochs."""
        self._search(2)

    def run(self, n):
        """Search; see `Search.run`."""
        start = time.perf_counter()
        for _ in range(n):
            self._model = self._search(self._n_epochs)
        return time.perf_counter() - start, n

    def check(self):
        """Accuracy of the best candidate."""
        return float(self._model.best_score_)

    def _search(self, n_epochs):
        estimator = self._estimator(
            hidden_layer_sizes=(self._n_hidden,), max_iter=n_epochs, tol=0, n_iter_no_change=np.inf, random_state=0
        )
        grid = self._grid if n_epochs == self._n_epochs else {key: values[:2] for key, values in self._grid.items()}
        if self._is_mixed:
            estimator, grid = _prepared(estimator), {f"network__{key}": values for key, values in grid.items()}
        search = self._kind()(estimator, grid, cv=self._n_splits, n_jobs=self._n_jobs, refit=False)
        with self._workers():
            return search.fit(self._X, self._y)

    def _workers(self):
        # The benchmark's variables allow each process all cores, which would oversubscribe them.
        return joblib.parallel_config("loky", inner_max_num_threads=1)

    def _kind(self):
        from sklearn.model_selection import GridSearchCV

        return GridSearchCV

    def _estimator(self, **settings):
        from sklearn.neural_network import MLPClassifier

        return MLPClassifier(**settings)


class OneByOne(ScikitLearn):
    """scikit-learn's grid search with our estimator, in processes."""

    name, package = f"{OURS} in scikit-learn's search", "numba"

    def _estimator(self, **settings):
        from skbackprop import BackpropClassifier

        return BackpropClassifier(**settings)


class Ours(OneByOne):
    """Our grid search."""

    name = OURS

    def _kind(self):
        from skbackprop.model_selection import GridSearchCV

        return GridSearchCV

    def _workers(self):
        return contextlib.nullcontext()


class OursOnGpu(Ours):
    """Our grid search on a device, with as many networks at a time as it can hold."""

    name = f"{OURS} on the GPU"

    def __init__(self, *arguments, **settings):
        super().__init__(*arguments, **settings)
        self._n_jobs = None

    def _estimator(self, **settings):
        return super()._estimator(**settings).set_params(device=self._device)


class Skorch(ScikitLearn):
    """scikit-learn's grid search with PyTorch behind skorch, a process for each job."""

    name = package = "skorch"
    takes_pipelines = False

    def _estimator(self, hidden_layer_sizes, max_iter, random_state, **settings):
        import skorch
        import torch

        torch.manual_seed(random_state)
        torch.set_num_threads(1)
        n_hidden, n_classes = hidden_layer_sizes[0], len(np.unique(self._y))
        module = torch.nn.Sequential(
            torch.nn.Linear(self._X.shape[1], n_hidden), torch.nn.ReLU(), torch.nn.Linear(n_hidden, n_classes)
        )
        return skorch.NeuralNetClassifier(
            module,
            criterion=torch.nn.CrossEntropyLoss,
            optimizer=torch.optim.Adam,
            optimizer__fused=True,
            max_epochs=max_iter,
            iterator_train__shuffle=True,
            train_split=None,
            callbacks="disable",
            verbose=0,
        )

    def _search(self, n_epochs):
        own = self._grid
        names = {"alpha": "optimizer__weight_decay", "learning_rate_init": "lr"}
        self._grid = {names.get(key, key): values for key, values in own.items()}
        try:
            return super()._search(n_epochs)
        finally:
            self._grid = own


class JaxVmap(Search):
    """JAX: all candidates of a batch size and all folds in one call, by `vmap` over a jitted scan of an epoch."""

    name, package = "jax vmap", "jax"
    _together = True

    def prepare(self):
        """Preload the data; compile for each batch size."""
        self._define()
        n_epochs, self._n_epochs = self._n_epochs, 1
        self.run(1)
        self._n_epochs = n_epochs

    def first(self):
        """Seconds of the first search of this process; see `Search.first`."""
        start = time.perf_counter()
        self._define()
        self.run(1)
        return time.perf_counter() - start

    def _define(self):
        import jax
        from sklearn.model_selection import StratifiedKFold

        self._jax = jax
        jnp = jax.numpy
        n_classes = len(np.unique(self._y))
        self._device_X, self._device_y = jax.device_put(self._X), jax.device_put(self._y.astype(np.int32))
        self._folds = list(StratifiedKFold(self._n_splits).split(self._X, self._y))
        self._n_train = min(len(train) for train, _ in self._folds)
        self._n_test = min(len(test) for _, test in self._folds)
        rng = np.random.default_rng(0)
        sizes = (self._X.shape[1], self._n_hidden, n_classes)
        self._start = [
            (
                rng.uniform(-1, 1, pair).astype(np.float32) * np.float32(np.sqrt(6 / sum(pair))),
                np.zeros(pair[1], np.float32),
            )
            for pair in itertools.pairwise(sizes)
        ]

        def raw(params, X):
            (first, first_bias), (second, second_bias) = params
            return jax.nn.relu(X @ first + first_bias) @ second + second_bias

        def objective(params, X, y, alpha):
            log_probabilities = jax.nn.log_softmax(raw(params, X))
            penalty = sum(jnp.vdot(weights, weights) for weights, _ in params)
            return -jnp.take_along_axis(log_probabilities, y[:, None], 1).mean() + alpha / (2 * len(y)) * penalty

        def epoch(carry, order, alpha, rate, X, y):
            def step(carry, rows):
                params, means, squares, n_steps = carry
                gradients = jax.grad(objective)(params, X[rows], y[rows], alpha)
                n_steps = n_steps + 1
                means = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, means, gradients)
                squares = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, squares, gradients)
                now = rate * jnp.sqrt(1 - 0.999**n_steps) / (1 - 0.9**n_steps)
                params = jax.tree.map(lambda p, m, v: p - now * m / (jnp.sqrt(v) + 1e-8), params, means, squares)
                return (params, means, squares, n_steps), None

            return jax.lax.scan(step, carry, order)[0]

        def score(params, test, X, y):
            return (raw(params, X[test]).argmax(axis=1) == y[test]).mean()

        if self._together:
            # The outer axis is the fold, with its rows; the inner axis is the candidate, with its settings.
            candidates = jax.vmap(epoch, in_axes=(0, None, 0, 0, None, None))
            epoch = jax.vmap(candidates, in_axes=(0, 0, None, None, None, None))
            score = jax.vmap(jax.vmap(score, in_axes=(0, None, None, None)), in_axes=(0, 0, None, None))
        self._epoch, self._score = jax.jit(epoch, donate_argnums=0), jax.jit(score)

    def run(self, n):
        """Search; see `Search.run`."""
        start = time.perf_counter()
        for _ in range(n):
            self._scores = np.concatenate([self._batch_size(size) for size in self._grid["batch_size"]])
        return time.perf_counter() - start, n

    def check(self):
        """Accuracy of the best candidate."""
        return float(self._scores.mean(axis=1).max())

    def _batch_size(self, size):
        """Scores of the candidates with a batch size, of shape (n_candidates, n_splits)."""
        pairs = list(itertools.product(self._grid["alpha"], self._grid["learning_rate_init"]))
        alphas, rates = np.array(pairs, dtype=np.float32).T
        tests = np.stack([test[: self._n_test] for _, test in self._folds]).astype(np.int32)
        if self._together:
            shape = len(self._folds), len(pairs)
            carry, rng = self._fresh(shape), np.random.default_rng(0)
            for _ in range(self._n_epochs):
                orders = np.stack([self._order(rng, fold, size) for fold in range(len(self._folds))])
                carry = self._epoch(carry, orders, alphas, rates, self._device_X, self._device_y)
            return np.asarray(self._score(carry[0], tests, self._device_X, self._device_y)).T
        scores = np.empty((len(pairs), len(self._folds)))
        for fold in range(len(self._folds)):
            for candidate in range(len(pairs)):
                carry, rng = self._fresh(()), np.random.default_rng(0)
                for _ in range(self._n_epochs):
                    order = self._order(rng, fold, size)
                    carry = self._epoch(
                        carry, order, alphas[candidate], rates[candidate], self._device_X, self._device_y
                    )
                scores[candidate, fold] = self._score(carry[0], tests[fold], self._device_X, self._device_y)
        return scores

    def _fresh(self, shape):
        jax = self._jax
        params = jax.tree.map(lambda array: np.broadcast_to(array, (*shape, *array.shape)).copy(), self._start)
        params = jax.device_put(params)
        means, squares = (jax.tree.map(jax.numpy.zeros_like, params) for _ in range(2))
        return params, means, squares, jax.numpy.zeros(shape, np.float32)

    def _order(self, rng, fold, size):
        """The rows of a fold in batches; the last, smaller one is filled up from the beginning."""
        rows = self._folds[fold][0][: self._n_train][rng.permutation(self._n_train)]
        return np.resize(rows, (-(-self._n_train // size), size)).astype(np.int32)


class JaxLoop(JaxVmap):
    """JAX: one candidate and fold after the other, by a jitted scan over an epoch's batches."""

    name = "jax loop"
    _together = False


PEERS = {peer.name: peer for peer in (Ours, OneByOne, ScikitLearn, Skorch, JaxVmap, JaxLoop)}
#: Peers of the search on a device.
GPU_PEERS = {peer.name: peer for peer in (OursOnGpu, Ours, JaxVmap)}


def added_memory(function):
    """Bytes by which the memory of this process and its children grows, at its peak, while a function runs.

    Shared pages are divided among the processes that share them.
    """
    done, peak, before = threading.Event(), 0, _memory()

    def watch():
        nonlocal peak
        while not done.wait(0.02):
            peak = max(peak, _memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        function()
    finally:
        done.set()
        watcher.join()
    return max(0, peak - before)


def _memory():
    total, processes = 0, [os.getpid()]
    while processes:
        process = Path("/proc") / str(processes.pop())
        try:
            lines = (process / "smaps_rollup").read_text().splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) << 10
            for task in (process / "task").iterdir():
                processes += map(int, (task / "children").read_text().split())
        except (OSError, StopIteration):  # it has ended
            continue
    return total


def run(options):
    """Run the benchmark with the command line's options."""
    results = Results(options)
    peers = choose_peers(PEERS, options.peers)
    with Pool("search", peers, options.threads, chooses_threads=False) as pool:
        for name in options.only or ("digits", "table", MIXED):
            case = {"search": name, "n_jobs": options.threads, "quick": options.quick}
            able = [peer for peer in peers if name != MIXED or PEERS[peer].takes_pipelines]
            measured = pool.measure(case, options.rounds, min_seconds=0, peers=able)
            results.add(name, measured, unit="s")
            results.add(f"{name}, first search of a process", _first(case, measured, options), unit="s")
            if Path("/proc/self/smaps_rollup").exists():
                results.add(f"{name}, memory", pool.added_memory(case, measured), unit="MiB")
    results.finish()


def _first(case, peers, options):
    """Seconds of first searches, each in a new process, with the peers in turn."""
    results = {peer: {"times": []} for peer in peers}
    for _ in range(options.rounds):
        for peer in [peer for peer, result in results.items() if "error" not in result]:
            try:
                answer = ask_once("search", peer, options.threads, "first_search", case=case)
                results[peer]["times"].append(answer["seconds"])
            except PeerError as error:
                results[peer] = {"error": str(error)}
    return results
