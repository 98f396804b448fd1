"""Seconds per prediction of class probabilities, for one row, a thousand and a million, and for one row of a table."""

import time
import warnings
from abc import ABC, abstractmethod
from importlib.util import find_spec

import numpy as np

from benchmarks.measure import OURS, Pool, Results, choose_peers
from benchmarks.peers import Jax, ScikitLearn, Skbackprop, Torch
from benchmarks.workloads import Workload, initial_params, load

_N_ROWS = {"1 row": 1, "1k rows": 1_000, "1M rows": 1_000_000}
#: Libraries of the tables of which a row is predicted.
_TABLES = {"1 row of pandas": "pandas", "1 row of polars": "polars"}
_UNITS = {"1 row": "us", "1k rows": "ms", "1M rows": "s", **dict.fromkeys(_TABLES, "ms")}
# Frameworks get many rows in chunks whose activations stay in the cache, which is faster than all at once.
_CHUNK_ROWS = 2048


class Predictor(ABC):
    """A way to predict with a given network, float32.

    Parameters
    ----------
    n_rows : int
    n_threads : int
    """

    def __init__(self, n_rows, n_threads):
        self.n_threads = n_threads
        self.workload = Workload("predict", n_rows, 50, (256, 128), 200, n_classes=10)
        self.X, _ = load(self.workload, "float32")
        self.layers = [(W.astype(np.float32), b.astype(np.float32)) for W, b in initial_params(self.workload)]

    @classmethod
    @abstractmethod
    def available(cls):
        """Whether it is installed."""

    @abstractmethod
    def prepare(self):
        """Create `predict`, a function of rows."""

    def run(self, n):
        """Predict all rows, `n` times; gives seconds and `n`."""
        start = time.perf_counter()
        for _ in range(n):
            self._probabilities = self.predict(self.X)
        return time.perf_counter() - start, n

    def check(self):
        """Mean probability of the first class."""
        return float(np.asarray(self._probabilities)[:, 0].mean())


class _EstimatorPredictor(Predictor):
    """`predict_proba` of one of the two packages, with all its validation."""

    def prepare(self):
        """Fit an estimator, and give it the network's weights."""
        # One row of each class: fit has to learn the classes.
        X, y = np.zeros((10, self.workload.n_features), dtype=np.float32), np.arange(10)
        model = self.estimator_class()(hidden_layer_sizes=self.workload.hidden, max_iter=1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(X, y)
        for arrays, values in zip((model.coefs_, model.intercepts_), zip(*self.layers, strict=True), strict=True):
            for array, value in zip(arrays, values, strict=True):
                array[:] = value
        self.model, self.predict = model, model.predict_proba

    @abstractmethod
    def estimator_class(self):
        """Its class."""


class SkbackpropPredictor(_EstimatorPredictor):
    """The package itself."""

    name, package, available = Skbackprop.name, Skbackprop.package, Skbackprop.available

    def estimator_class(self):
        """The class."""
        from skbackprop import BackpropClassifier

        return BackpropClassifier


class ScikitLearnPredictor(_EstimatorPredictor):
    """scikit-learn's own multilayer perceptron."""

    name, package, available = ScikitLearn.name, ScikitLearn.package, ScikitLearn.available

    def estimator_class(self):
        """The class."""
        from sklearn.neural_network import MLPClassifier

        return MLPClassifier


class TorchPredictor(Predictor):
    """PyTorch in inference mode, from and to NumPy arrays, which costs no copy."""

    name, package, available = Torch.name, Torch.package, Torch.available

    def prepare(self):
        """Define the network."""
        import torch

        torch.set_num_threads(self.n_threads)
        layers = [(torch.from_numpy(np.ascontiguousarray(W.T)), torch.from_numpy(b)) for W, b in self.layers]

        @torch.inference_mode()
        def predict(X):
            X = torch.from_numpy(X)
            for index, (weights, intercepts) in enumerate(layers):
                X = torch.nn.functional.linear(X if index == 0 else X.relu_(), weights, intercepts)
            return X.softmax(dim=1).numpy()

        self.predict = _in_chunks(predict)


class JaxPredictor(Predictor):
    """JAX, jitted, from and to NumPy arrays."""

    name, package, available = Jax.name, Jax.package, Jax.available

    def prepare(self):
        """Define the network."""
        import jax

        layers = jax.device_put(self.layers)

        @jax.jit
        def predict(layers, X):
            for index, (weights, intercepts) in enumerate(layers):
                X = (X if index == 0 else jax.nn.relu(X)) @ weights + intercepts
            return jax.nn.softmax(X)

        # Chunks are dispatched one after the other; only the end waits.
        self.predict = _in_chunks(lambda X: predict(layers, X))


class OnnxPredictor(Predictor):
    """ONNX Runtime on scikit-learn's model, converted by skl2onnx."""

    name, package = "onnxruntime", "onnxruntime skl2onnx"

    @classmethod
    def available(cls):
        """Whether both packages are installed."""
        return all(find_spec(package) for package in cls.package.split())

    def prepare(self):
        """Translate the model."""
        import onnxruntime
        from skl2onnx import to_onnx

        source = ScikitLearnPredictor(1, self.n_threads)
        source.prepare()
        # zipmap would make a dictionary of each row.
        onnx = to_onnx(source.model, source.X, options={"zipmap": False})
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.n_threads
        session = onnxruntime.InferenceSession(onnx.SerializeToString(), options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        self.predict = _in_chunks(lambda X: session.run(["probabilities"], {name: X})[0])


def _in_chunks(predict):
    def predict_chunks(X):
        if len(X) <= _CHUNK_ROWS:
            return np.asarray(predict(X))
        return np.concatenate([predict(X[start : start + _CHUNK_ROWS]) for start in range(0, len(X), _CHUNK_ROWS)])

    return predict_chunks


class TablePredictor(Predictor):
    """`BackpropTabularClassifier` with a row of a DataFrame as it is: numbers, categories, text, booleans and a date.

    Parameters
    ----------
    library : {"pandas", "polars"}
    n_threads : int
    """

    def __init__(self, library, n_threads):
        self._library = library
        self.n_threads = n_threads

    @classmethod
    def available(cls):
        """Whether it is installed."""
        return Skbackprop.available()

    def prepare(self):
        """Fit an estimator with its defaults, but for a few epochs only."""
        from skbackprop import BackpropTabularClassifier

        table, y = _drawn_table()
        if self._library == "polars":
            import polars

            table = polars.from_pandas(table)
        self.X = table[:1]
        self.predict = BackpropTabularClassifier(max_iter=16, random_state=0).fit(table, y).predict_proba


def _drawn_table(n_rows=1_000):
    """25 columns of a DataFrame, and classes that depend on two of them."""
    import pandas as pd

    rng = np.random.default_rng(0)
    columns = {f"number {i}": rng.standard_normal(n_rows) for i in range(11)}
    columns["number 0"][::10] = np.nan
    columns |= {f"count {i}": rng.integers(0, 50, n_rows) for i in range(4)}
    levels = np.array([f"level {i}" for i in range(8)], dtype=object)
    columns |= {f"category {i}": pd.Categorical(rng.choice(levels, n_rows)) for i in range(4)}
    columns |= {f"text {i}": rng.choice(levels, n_rows) for i in range(3)}
    columns |= {f"flag {i}": rng.random(n_rows) < 0.5 for i in range(2)}
    columns["date"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 1000, n_rows), unit="D")
    return pd.DataFrame(columns), (columns["number 1"] + columns["flag 0"] > 0.5).astype(int)


PEERS = {
    predictor.name: predictor
    for predictor in (SkbackpropPredictor, ScikitLearnPredictor, TorchPredictor, JaxPredictor, OnnxPredictor)
}


def make_peer(peer, case, n_threads):
    """The predictor of a peer for a case: a table's library, or a number of rows."""
    return TablePredictor(case["table"], n_threads) if "table" in case else PEERS[peer](case["n_rows"], n_threads)


def run(options):
    """Run the benchmark with the command line's options."""
    results = Results(options)
    with Pool("predict", choose_peers(PEERS, options.peers), options.threads) as pool:
        for name, n_rows in _N_ROWS.items():
            if options.only and name not in options.only:
                continue
            n_rows = min(n_rows, 5_000) if options.quick else n_rows
            measured = pool.measure({"n_rows": n_rows}, options.rounds, options.min_seconds)
            results.add(name, measured, unit=_UNITS[name])
        for name, library in _TABLES.items():
            if (options.only and name not in options.only) or (options.peers and OURS not in options.peers):
                continue
            if find_spec(library) is None:
                print(f"{name} is left out: pip install {library}")
                continue
            measured = pool.measure({"table": library}, options.rounds, options.min_seconds, [OURS])
            results.add(name, measured, unit=_UNITS[name])
    results.finish()
