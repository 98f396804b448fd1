"""Training and prediction on an NVIDIA GPU, compared with PyTorch and JAX on the GPU, and with the CPU.

One command compiles, checks the results, measures and writes them::

    pip install ".[cuda]" torch "jax[cuda13]"
    python -m benchmarks gpu

Kernels whose results are wrong are not measured. Without a GPU, ``--device cpu`` runs the same code on the CPU.
"""

import importlib.util
import time
from dataclasses import asdict

import numpy as np

from benchmarks import search
from benchmarks.limits import time_limit
from benchmarks.measure import OURS, Pool, Results, ask_once, choose_peers, measure_limits
from benchmarks.peers import Jax, Skbackprop, Torch, TorchCompile
from benchmarks.predict import _CHUNK_ROWS, Predictor
from benchmarks.workloads import Workload

#: Sizes of the three tiers; whole batches only, as graphs ask for. Batches of one row are an optimizer's memory
#: traffic.
WORKLOADS = (
    Workload("32-64-10", 64_000, 32, (64,), 32, n_classes=10),
    Workload("784-100-10", 60_000, 784, (100,), 200, n_classes=10),
    Workload("50-256-128-10", 102_400, 50, (256, 128), 256, n_classes=10),
    Workload("256-1024-1024-1", 51_200, 256, (1024, 1024), 1024, n_classes=0, loss_epochs=1),
    Workload("4096-4096-1 by rows", 64, 4096, (4096,), 1, n_classes=0, loss_epochs=1),
)

_PREDICTED_ROWS = 1_000_000
_GEMM_SIZE = 8192
_COPY_BYTES = 1 << 30
_REPEATS = 10


class OnGpu(Skbackprop):
    """The package on the GPU; all of `fit` is timed, with the copies of the data."""

    device = "cuda"

    def estimator(self, **settings):
        """The estimator for the workload's task."""
        return super().estimator(**settings).set_params(device=self.device)


class OnCpu(Skbackprop):
    """The package on the CPU."""

    name = "skbackprop on the CPU"


class _OnTorchDevice(Torch):
    """Base class of PyTorch's modes: data and weights on the device, and its timing."""

    device = "cuda"

    def prepare(self):
        """Preload the data."""
        super().prepare()
        self._torch.backends.cuda.matmul.allow_tf32 = False
        self._X, self._y = self._X.to(self.device), self._y.to(self.device)

    def run(self, n_epochs):
        """Train; see `Peer.run`."""
        torch = self._torch
        self._reset()
        step = self._make_step()
        self._synchronize()
        start = time.perf_counter()
        for _ in range(n_epochs):
            for rows in torch.randperm(len(self._y), device=self.device).split(self.workload.batch_size):
                step(rows)
        self._synchronize()
        return time.perf_counter() - start, n_epochs

    def params(self):
        """Weights and intercepts of the last run."""
        self._params = [param.detach().cpu() for param in self._params]
        return super().params()

    def _reset(self):
        super()._reset()
        self._params = [param.detach().to(self.device).requires_grad_() for param in self._params]

    def _synchronize(self):
        if self.device == "cuda":
            self._torch.cuda.synchronize()


class TorchEager(_OnTorchDevice):
    """PyTorch in eager mode, with its fused optimizer."""

    name = "torch eager"


class TorchGraph(_OnTorchDevice, TorchCompile):
    """The whole step compiled into one function, whose kernels are replayed as one CUDA graph."""

    name = "torch.compile, graph"

    def _make_step(self):
        torch = self._torch
        step = super()._make_step()
        if self.device != "cuda":
            return step
        # A graph reads and writes fixed addresses. It is captured after a warm-up on a side stream, as PyTorch's notes
        # on CUDA require; the weights are then restored.
        saved = [param.clone() for param in self._params]
        fixed = torch.arange(self.workload.batch_size, device=self.device)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                step(fixed)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step(fixed)
        # Adam's moments of the warm-up fade within the first epoch; the check allows for them.
        for param, value in zip(self._params, saved, strict=True):
            param.copy_(value)

        def replay(rows):
            fixed.copy_(rows)
            graph.replay()

        return replay


class JaxScan(Jax):
    """JAX on its default device, the GPU if it has one: a jitted scan over the batches of an epoch."""

    name = "jax scan"


class OursPredict(Predictor):
    """`predict_proba` of the package, from rows in host memory to probabilities in host memory."""

    name = package = OURS
    device = "cuda"

    @classmethod
    def available(cls):
        """Whether it is installed."""
        return True

    def prepare(self):
        """Fit an estimator, and give it the network's weights."""
        from skbackprop import BackpropClassifier

        X, y = np.zeros((10, self.workload.n_features), dtype=np.float32), np.arange(10)
        model = BackpropClassifier(self.workload.hidden, max_iter=1, device=self.device)
        model.fit(X, y)
        model.coefs_, model.intercepts_ = map(list, zip(*self.layers, strict=True))
        self.predict = model.predict_proba


class TorchPredict(Predictor):
    """PyTorch in eager mode, likewise."""

    name = package = "torch eager"
    device = "cuda"

    @classmethod
    def available(cls):
        """Whether it is installed."""
        return importlib.util.find_spec("torch") is not None

    def prepare(self):
        """Move the network to the device."""
        import torch

        layers = [[torch.from_numpy(array).to(self.device) for array in layer] for layer in self.layers]
        chunk = _CHUNK_ROWS if self.device == "cpu" else len(self.X)

        @torch.no_grad()
        def predict(X):
            parts = []
            for start in range(0, len(X), chunk):
                units = torch.from_numpy(X[start : start + chunk]).to(self.device)
                for index, (weights, intercepts) in enumerate(layers):
                    units = torch.addmm(intercepts, units if index == 0 else torch.relu(units), weights)
                parts.append(torch.softmax(units, dim=1).cpu())
            return torch.cat(parts).numpy()

        self.predict = predict


PEERS = {peer.name: peer for peer in (OnGpu, OnCpu, TorchEager, TorchGraph, JaxScan)}
PREDICTORS = {peer.name: peer for peer in (OursPredict, TorchPredict)}


def make_peer(case, peer, n_threads):
    """A peer for a case, in its own process.

    Parameters
    ----------
    case : dict
        A workload's fields, "dtype" and "device"; or "n_rows" and "device" of a prediction.
    peer : str
    n_threads : int

    Returns
    -------
    peer : Peer or Predictor
    """
    case = dict(case)
    device = case.pop("device")
    if "predicts" in case:
        kind = PREDICTORS[peer]
        made = kind(case["n_rows"], n_threads)
    else:
        dtype = case.pop("dtype")
        made = PEERS[peer](Workload(**{**case, "hidden": tuple(case["hidden"])}), dtype, n_threads)
    made.device = device
    return made


def check(device):
    """Check the results of the kernels before they are measured.

    Parameters
    ----------
    device : str

    Returns
    -------
    facts : dict
        The largest relative error of a gradient in float32 against float64, and of the losses against the CPU's.

    Raises
    ------
    AssertionError
        If one of them is too large, or two runs differ.
    """
    from sklearn.datasets import load_digits

    from skbackprop import BackpropClassifier
    from skbackprop.backends import get_backend
    from skbackprop.backends.data import as_rows
    from skbackprop.estimators._choices import choose_network
    from skbackprop.functions.penalties import Penalties
    from skbackprop.network import Network

    X, y = load_digits(return_X_y=True)
    X = X / 16
    settings = {"hidden_layer_sizes": (64, 32), "max_iter": 20, "tol": 0, "n_iter_no_change": np.inf, "random_state": 0}
    models = [
        BackpropClassifier(**settings, device=one).fit(X.astype(np.float32), y) for one in ("cpu", device, device)
    ]
    curves = [np.array(model.loss_curve_) for model in models]
    np.testing.assert_array_equal(curves[1], curves[2])
    loss_error = float(np.max(np.abs(curves[1] / curves[0] - 1)))
    network = Network(
        (64, 64, 32, 10),
        *(getattr(choose_network(models[0], (64, 64, 32, 10)), name) for name in ("activations", "loss")),
    )
    gradients = []
    for one, dtype in (("cpu", np.float64), (device, np.float32)):
        params = np.concatenate(
            [np.concatenate([w.ravel(), b]) for w, b in zip(models[0].coefs_, models[0].intercepts_, strict=True)]
        )
        rows, targets = as_rows(X.astype(dtype), np.dtype(dtype)), y[:, None].astype(dtype)
        with get_backend(one).Session(
            network, dtype, rows, targets, None, len(X), len(X), None, Penalties()
        ) as session:
            gradients.append(session.loss_gradient(np.arange(len(X)), params.astype(dtype))[1].astype(np.float64))
    gradient_error = float(np.linalg.norm(gradients[1] - gradients[0]) / np.linalg.norm(gradients[0]))
    assert gradient_error < 1e-5, f"gradient: relative error {gradient_error:.1e}"
    assert loss_error < 1e-4, f"losses of 20 epochs: relative error {loss_error:.1e}"
    bits = all(np.array_equal(ours, theirs) for ours, theirs in zip(models[1].coefs_, models[0].coefs_, strict=True))
    return {"gradient_error": gradient_error, "loss_error": loss_error, "same_bits_as_the_cpu": bits}


def measure_device():
    """Limits of the GPU, measured with PyTorch: the float32 rate of cuBLAS and the rate of a copy.

    Returns
    -------
    limits : dict
        "name"; "float32" in operations and "memory" in bytes, per second.
    """
    import torch

    torch.backends.cuda.matmul.allow_tf32 = False
    a, b = torch.randn(2, _GEMM_SIZE, _GEMM_SIZE, device="cuda")
    source = torch.ones(_COPY_BYTES // 4, device="cuda")
    target = torch.empty_like(source)
    return {
        "name": torch.cuda.get_device_name(),
        "float32": 2 * _GEMM_SIZE**3 / _fastest(torch, lambda: torch.mm(a, b)),
        "memory": 2 * _COPY_BYTES / _fastest(torch, lambda: target.copy_(source)),
    }


def _fastest(torch, do):
    seconds = []
    for _ in range(_REPEATS):
        torch.cuda.synchronize()
        start = time.perf_counter()
        do()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def measure_search(options, results):
    """A search of 264 small networks, in steps per second: all at once on the GPU, with JAX there, and on the CPU.

    Parameters
    ----------
    options : argparse.Namespace
    results : Results
    """
    case = {"search": search.ON_GPU, "n_jobs": options.threads, "quick": options.quick, "device": options.device}
    n_steps = search.Ours(**case).n_steps
    peers = [name for name, peer in search.GPU_PEERS.items() if peer.available()]
    with Pool("search", peers, options.threads, chooses_threads=False) as pool:
        measured = pool.measure(case, options.rounds, min_seconds=0)
    for result in measured.values():
        if "times" in result:
            result["model_steps_per_second"] = n_steps / float(np.median(result["times"]))
            print(f"{result['model_steps_per_second']:.3g} steps of a network a second", flush=True)
    results.add(search.ON_GPU, measured, unit="s", n_model_steps=n_steps)


def run(options):
    """Run the benchmark with the command line's options."""
    facts = check(options.device)
    print(", ".join(f"{name} {value}" for name, value in facts.items()), flush=True)
    peers = choose_peers(PEERS, options.peers)
    if options.device == "cpu":
        limits = measure_limits(options.threads)
    elif importlib.util.find_spec("torch") is None:
        limits = None
    else:
        limits = ask_once("gpu", TorchEager.name, 1, "device_limits")
    results = Results(options, limits)
    with Pool("gpu", peers, options.threads) as pool:
        for workload in WORKLOADS:
            if options.only and workload.name not in options.only:
                continue
            if options.quick:
                workload = workload.quick()
            case = {**asdict(workload), "dtype": "float32", "device": options.device}
            measured = pool.measure(case, options.rounds, options.min_seconds)
            limit = {} if limits is None else {"limit": time_limit(workload, "float32", limits)}
            for result in measured.values():
                if "times" in result:
                    result["steps_per_second"] = workload.n_steps / float(np.median(result["times"]))
            results.add(f"{workload.name}, epoch", measured, workload=asdict(workload), check=facts, **limit)
        if not options.only or "predict" in options.only:
            n_rows = 1000 if options.quick else _PREDICTED_ROWS
            wanted = [name for name in PREDICTORS if name in peers]
            case = {"predicts": True, "n_rows": n_rows, "device": options.device}
            results.add(f"predict {n_rows} x 50", pool.measure(case, options.rounds, options.min_seconds, wanted))
    if not options.only or search.ON_GPU in options.only:
        measure_search(options, results)
    results.finish()
