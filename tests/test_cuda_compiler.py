"""Kernels for CUDA compiled to machine code, for devices that are not there.

The lane that finds what a simulator cannot: types that do not fit, too many registers, memory for registers that were not enough, and
arithmetic in float64 where float32 was asked for.
"""

import contextlib
import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from skbackprop._compile import JIT, SIMULATED
from skbackprop.backends.data import as_rows
from skbackprop.functions.activations import ACTIVATIONS, ReLU
from skbackprop.functions.elementary import SCRATCH
from skbackprop.functions.input_layers import INPUT_LAYERS, bound_layers
from skbackprop.functions.losses import LOSSES
from skbackprop.functions.normalizations import NORMALIZATIONS
from skbackprop.functions.optimizers import OPTIMIZERS
from skbackprop.functions.penalties import Penalties
from skbackprop.functions.schedules import SCHEDULES
from skbackprop.network import Network
from skbackprop.training.progress import OptimizerState

CAPABILITIES = [(7, 5), (8, 0), (9, 0)]


def _missing():
    """Why nothing can be compiled, or None."""
    if not JIT or SIMULATED:
        return "Numba does not compile in this lane"
    try:
        from numba import cuda
        from numba.cuda.cudadrv import nvvm
    except ImportError as error:
        return f"numba.cuda cannot be imported: {error}"
    if getattr(cuda, "implementation", None) != "NVIDIA":
        return "numba-cuda is not installed"
    return None if nvvm.is_available() else "NVVM is not installed"


MISSING = _missing()
pytestmark = [
    pytest.mark.compiles,
    pytest.mark.skipif(MISSING is not None, reason=MISSING or "nothing is missing"),
]


class Processor:
    """What numba-cuda asks a device for while it compiles."""

    id = 0
    compute_capability = CAPABILITIES[-1]


@pytest.fixture
def launches(monkeypatch):
    """The launches of a session on a device of which only the types are real: pairs of a kernel and its arguments."""
    from numba.cuda import compiler, dispatcher
    from numba.cuda.cudadrv import devices

    from skbackprop.backends.cuda import population, session

    class Context:
        device = Processor()

    for module in (compiler, dispatcher):
        monkeypatch.setattr(module, "get_current_device", Processor)
    monkeypatch.setattr(devices, "get_context", lambda *_: Context())
    recorded = []

    class Device(session.Device):
        """Arrays of the host in the place of the device's, and no device."""

        n_processors = 132
        stream = None

        def __init__(self, index):
            self.index = index

        def active(self):
            return contextlib.nullcontext()

        def free_bytes(self):
            return np.inf

        def address(self, array):
            return array.__array_interface__["data"][0]

        def cooperative_blocks(self, kernel, arguments, n_threads, shared_bytes):
            return self.n_processors

        def upload(self, array):
            return np.array(array) if array.size else np.zeros(1, dtype=array.dtype)

        def empty(self, shape, dtype):
            return np.zeros(max(1, int(np.prod(shape))), dtype=dtype)

        def write(self, source, target):
            pass

        def read(self, source, target):
            pass

    def configure(kernel, n_blocks, n_threads, stream, shared_bytes=0):
        return lambda *arguments: recorded.append((kernel, arguments))

    class Stream:
        def synchronize(self):
            pass

    Device.stream = Stream()
    for module in (population, session):
        monkeypatch.setattr(module, "Device", Device)
        monkeypatch.setattr(module, "configure", configure)
    return recorded


def build(kernel, arguments):
    """A kernel compiled for the types of arguments."""
    from numba.cuda.dispatcher import _Kernel

    return _Kernel(kernel.py_func, tuple(map(kernel.typeof_pyval, arguments)), **kernel.targetoptions)


def code_of(built, capability):
    """PTX and machine code."""
    library = built._codelibrary
    target = (*capability, "")
    return library.get_asm_str(cc=target), bytes(getattr(library.get_cubin(cc=target), "code", b""))


def dump(cubin, tmp_path, option):
    """What cuobjdump tells of machine code."""
    tool = shutil.which("cuobjdump")
    for folder in map(Path, sys.path):
        tool = tool or next(map(str, folder.glob("nvidia/cu*/bin/cuobjdump*")), None)
    if tool is None:
        pytest.skip("cuobjdump is not installed: pip install nvidia-cuda-cuobjdump")
    if option == "-sass" and not (shutil.which("nvdisasm") or [*Path(tool).parent.glob("nvdisasm*")]):
        pytest.skip("nvdisasm is not installed: pip install nvidia-cuda-nvdisasm")
    file = tmp_path / "kernel.cubin"
    file.write_bytes(cubin)
    return subprocess.run([tool, option, str(file)], capture_output=True, text=True, check=True).stdout


def usage(cubin, tmp_path):
    """Registers, and bytes of the stack, of a kernel's machine code."""
    # The kernel comes after what it is linked with.
    shown = dump(cubin, tmp_path, "-res-usage")
    registers, stack = re.findall(r"Function (?:\S*cuda\S*):\s*REG:(\d+) STACK:(\d+)", shown)[-1]
    return int(registers), int(stack)


def make_network(
    activation=ReLU, loss="log_loss", task="multiclass", normalization=None, hidden=(64, 64), parametric=False
):
    normalizing = None if normalization is None else NORMALIZATIONS.get_key(normalization)
    kinds = (activation().key(),) * 2
    return Network((8, *hidden, 3), kinds, LOSSES[loss]().for_task(task).key(), normalizing, (), parametric)


def run(network, tier, dtype, penalties, optimizer="adam", is_sparse=False):
    """An epoch of a session, and a prediction; what is launched is recorded."""
    from skbackprop.backends import cuda

    X = np.ones((64, 8), dtype=dtype)
    rows = as_rows(sparse.csr_array(X) if is_sparse else X, np.dtype(dtype))
    params = np.zeros(network.n_params, dtype=dtype)
    averages = penalties.average is not None
    state = OptimizerState.start(OPTIMIZERS[optimizer](), SCHEDULES["constant"](), 0.01, 0.5, 1, params, averages)
    state.running = np.zeros(network.n_running)
    n_targets = 1 if network.loss[0].n_codes else 3
    targets = np.zeros((64, n_targets), dtype=dtype)
    session = cuda.Session(network, dtype, rows, targets, None, 32, 64, None, penalties, tier=tier)
    with session:
        session.run_epochs(np.arange(64), np.full(2, 0.01), params, state)
        session.loss_gradient(np.arange(32), params)
        session.loss(np.arange(32), params, state.running)
    cuda.predict(network, params, rows, running=state.running)


EVERYTHING = Penalties(1e-3, 0.5, (0.1, 0.3, 0.3), clip_norm=0.5, clip_value=0.2, max_norm=1.0, average=0.9)


@pytest.mark.parametrize("tier", ["resident", "staged", "cooperative"])
def test_training_kernels_for_all_processors(tier, launches, tmp_path):
    # 64 units do not fit the shared memory of every block.
    network = make_network(hidden=(24, 24) if tier == "staged" else (64, 64))
    run(network, tier.replace("staged", "resident"), np.float32, Penalties(1e-4))
    kernel, arguments = launches[0]
    assert kernel.py_func.__name__ == tier
    built = build(kernel, arguments)
    for capability in CAPABILITIES:
        ptx, cubin = code_of(built, capability)
        registers, stack = usage(cubin, tmp_path)
        threads = 256 if tier == "cooperative" else 512
        assert registers * threads <= 65536
        # Waiting for all blocks is a call, with a frame of its own.
        assert stack <= (16 if tier == "cooperative" else 0), f"registers are spilled for {capability}"
        assert ".local" not in ptx
        # Of the network's numbers; the resident tier has addresses there.
        assert bool(re.search(r"ld\.shared\.(v\d\.)?f32", ptx)) == (tier != "resident")


@pytest.mark.parametrize(
    ("normalization", "is_sparse", "dtype", "parametric"),
    [
        (None, True, np.float64, False),
        ("batch", False, np.float32, False),
        ("layer", True, np.float32, False),
        ("layer", False, np.float32, True),
    ],
)
def test_all_steps_compile(normalization, is_sparse, dtype, parametric, launches):
    """Every kernel of a session of which everything is asked, and of its predictions."""
    run(
        make_network(ACTIVATIONS["gelu"], normalization=normalization, parametric=parametric),
        "resident",
        dtype,
        EVERYTHING,
        "nadam",
        is_sparse,
    )
    seen = set()
    for kernel, arguments in launches:
        if id(kernel) not in seen:
            seen.add(id(kernel))
            code_of(build(kernel, arguments), CAPABILITIES[-1])
    # Training, gradient, loss, prediction.
    assert len(seen) == 4


# The losses' sums, the means of normalizations, and norms of a whole gradient are sums of many numbers.
_SUMS = {"loss", "total", "factor", "limit"}


@pytest.mark.parametrize(("is_sparse", "parametric"), [(False, False), (True, False), (False, True)])
def test_steps_in_float32_have_no_float64(is_sparse, parametric, launches, tmp_path):
    from skbackprop.backends.cuda import steps

    network = make_network(parametric=parametric)
    run(network, "stepwise", np.float32, EVERYTHING, is_sparse=is_sparse)
    _, (_, *arguments) = launches[0]
    functions = steps.Functions(
        ((ReLU, True),),
        LOSSES["log_loss"]().for_task("multiclass").key()[0],
        parametric=parametric,
        differentiates=True,
        optimizer=OPTIMIZERS["adam"],
        finishes=True,
        clips_norm=True,
        tiles=importlib.import_module("skbackprop.backends.cuda.session")._TILES[np.dtype(np.float32)],
        dtype="float32",
    )
    names = dict.fromkeys(call.step for call in steps.training_calls(network, functions, is_sparse, EVERYTHING))
    for name in names:
        if name in _SUMS:
            continue
        kernel = steps.make_kernels((name,), functions, 512, 256).stepwise
        ptx, cubin = code_of(build(kernel, (0, *arguments)), CAPABILITIES[-1])
        assert ".f64" not in ptx, name
        registers, stack = usage(cubin, tmp_path)
        assert (stack, registers * 256 <= 65536) == (0, True), (name, registers, stack)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_compiles(activation, launches):
    from skbackprop.backends.cuda import steps

    run(make_network(ACTIVATIONS[activation]), "resident", np.float32, Penalties())
    kernel, arguments = launches[-1]  # of the prediction
    for step in ("forward", "backward"):
        functions = steps.Functions(((ACTIVATIONS[activation], False),), make_network().loss[0], dtype="float32")
        kernel = steps.make_kernels((step,), functions, 512, 256).stepwise
        ptx, _ = code_of(build(kernel, arguments), CAPABILITIES[-1])
        assert ".f64" not in ptx


def layered_network():
    """A network with all input layers, one behind the other."""
    network = make_network()
    layers = [kind([0, 3], n_categories=[2, 5]) if kind.takes_codes else kind([0, 3]) for kind in INPUT_LAYERS.values()]
    return Network(network.layer_units, network.activations, network.loss, None, bound_layers(layers, 8))


def test_training_with_all_input_layers_compiles(launches):
    run(layered_network(), "resident", np.float32, EVERYTHING)
    kernel, arguments = launches[0]
    code_of(build(kernel, arguments), CAPABILITIES[0])


@pytest.mark.parametrize("name", INPUT_LAYERS)
def test_every_input_layer_compiles(name, launches, tmp_path):
    """In float32, but for the settings; only what a formula keeps between two loops is on the stack."""
    from skbackprop.backends.cuda import steps

    network = layered_network()
    run(network, "stepwise", np.float32, Penalties())
    _, (_, *arguments) = launches[0]
    functions = steps.Functions(
        ((ReLU, False),), network.loss[0], (INPUT_LAYERS[name],), differentiates=True, dtype="float32"
    )
    for step in ("transform_0", "transform_gradient_0", "transform_backward_0"):
        kernel = steps.make_kernels((step,), functions, 512, 256).stepwise
        ptx, cubin = code_of(build(kernel, (0, *arguments)), CAPABILITIES[-1])
        assert ".f64" not in re.sub(r"ld\.global\.f64|cvt\.rn\.f32\.f64", "", ptx), step
        registers, stack = usage(cubin, tmp_path)
        assert registers * 256 <= 65536
        assert stack <= (5 * 4 * SCRATCH if name == "periodic" else 0), step


@pytest.mark.parametrize("loss", [loss().for_task(task) for loss in LOSSES.values() for task in loss.kinds()], ids=repr)
def test_every_loss_compiles(loss, launches):
    from skbackprop.backends.cuda import steps

    run(make_network(), "stepwise", np.float32, Penalties())
    _, arguments = launches[0]
    for step in ("loss", "link"):
        functions = steps.Functions(((ReLU, False),), type(loss), dtype="float32")
        code_of(build(steps.make_kernels((step,), functions, 512, 256).stepwise, arguments), CAPABILITIES[-1])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_compiles(optimizer, launches):
    from skbackprop.backends.cuda import steps

    run(make_network(), "stepwise", np.float32, Penalties())
    _, arguments = launches[0]
    kind = OPTIMIZERS[optimizer]().kernel_kind()
    functions = steps.Functions(
        ((ReLU, False),), make_network().loss[0], differentiates=True, optimizer=kind, dtype="float32"
    )
    ptx, _ = code_of(build(steps.make_kernels(("update",), functions, 512, 256).stepwise, arguments), CAPABILITIES[-1])
    assert ".f64" not in ptx


def test_rows_of_other_libraries_compile(launches):
    """What brings rows of another type or layout, of which the lines are not next to each other, into the kernels' form."""
    from skbackprop.backends.cuda.device import _copy_kernel

    source = np.zeros((8, 6))[:, ::2]
    kernel = _copy_kernel()
    ptx, _ = code_of(build(kernel, (source, np.zeros(24, dtype=np.float32))), CAPABILITIES[0])
    assert "cvt.rn.f32.f64" in ptx


@pytest.mark.parametrize("name", ["forward", "backward", "gradient"])
def test_large_products_on_tensor_cores(name, launches, tmp_path):
    from skbackprop.backends.cuda import steps

    session = importlib.import_module("skbackprop.backends.cuda.session")
    run(make_network(), "stepwise", np.float32, Penalties())
    _, (_, *arguments) = launches[0]
    loss = LOSSES["log_loss"]().for_task("multiclass").key()[0]
    functions = steps.Functions(
        ((ReLU, True),), loss, differentiates=True, tiles=session._TENSOR_TILES, dtype="float32"
    )
    kernel = steps.make_kernels((name,), functions, 512, 256).stepwise
    ptx, cubin = code_of(build(kernel, (0, *arguments)), CAPABILITIES[1])
    assert ".f64" not in ptx
    assert "cvt.rna.tf32.f32" in ptx
    registers, stack = usage(cubin, tmp_path)
    assert (stack, registers * 256 <= 65536) == (0, True)
    # Two by two parts of a warp, each for two pieces of eight.
    assert len(re.findall(r"HMMA\.1688\.F32\.TF32", dump(cubin, tmp_path, "-sass"))) == 8
