"""Compile kernels ahead of time, beside the sources: ``python -m skbackprop.build_kernels``.

For builders of wheels and of container images. Kernels are compiled for a level of x86-64, or for aarch64, instead of
for one processor, and kept in the package's folder, where every process finds those of its processor's level: nobody
waits for the compiler, and nothing has to be written. They fit the sources and the version of Python that they were
compiled with; all others are ignored.
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from skbackprop._kernel_files import PACKAGED, package_digest
from skbackprop._machine_code import HAS_IMAGES, image_of, load
from skbackprop._processor import LEVELS, supported, variables

__all__ = ["build", "translated"]

# The functions of scikit-learn's networks; further ones are compiled where they are first used.
_WARM_UP = """
import skbackprop
from skbackprop import BackpropClassifier, BackpropRegressor

for kind in BackpropClassifier, BackpropRegressor:
    chosen = [{"activation": name} for name in ("identity", "logistic", "tanh")]
    chosen += [{"solver": name} for name in ("sgd", "adamw", "lbfgs")]
    skbackprop.warmup(kind(), *(kind(**one) for one in chosen))
"""
# Reports of slow compilations would name a temporary folder.
_SILENCE = """
import logging

logging.getLogger("skbackprop").setLevel(logging.ERROR)
"""
# Before a program whose kernels this machine cannot run.
_TRANSLATE = """
from skbackprop import _compile, build_kernels

_compile.Loop._image_address = build_kernels.translated
"""


def _possible():
    """Return the levels of this machine's architecture; none where there are no images."""
    is_x86 = platform.machine() == "x86_64"
    return [level for level in LEVELS if level.startswith("x86") == is_x86] if HAS_IMAGES else []


def translated(loop: Any, signature: Any) -> int:
    """Keep a loop's image for the processor that Numba's variables name; return the address of code for this one.

    Both are made of the same optimized code: so a machine without AVX-512 builds the kernels that one with it would.

    Parameters
    ----------
    loop : skbackprop._compile.Loop
    signature : tuple of str

    Returns
    -------
    address : int
    """
    from llvmlite import binding

    result = loop.compiled(signature)
    loop.keep(signature, result)
    machine = binding.Target.from_default_triple().create_target_machine(
        binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten(), opt=3, codemodel="large", jit=True
    )
    own = machine.emit_object(binding.parse_assembly(result.library.get_llvm_str()))
    return load(image_of(own, result.fndesc.llvm_func_name))


def build(levels: list[Any] | None = None, folder: Any = PACKAGED, program: str = _WARM_UP) -> Any:
    """Compile the kernels of common estimators for levels of processors.

    Parameters
    ----------
    levels : list of {"x86-64-v3", "x86-64-v4", "armv8-a"} or None, default=None
        None means all of this machine's architecture, also those that its processor does not support.
    folder : path-like, default=the package's
        Where to keep them, in a folder for these sources and this version of Python.
    program : str, default=fits of networks with scikit-learn's functions
        A Python program, all of whose kernels are kept.

    Returns
    -------
    folder : pathlib.Path

    Raises
    ------
    RuntimeError
        If this machine cannot compile for a level.
    """
    possible = _possible()
    levels = possible if levels is None else levels
    missing = [level for level in levels or LEVELS if level not in possible]
    if missing:
        raise RuntimeError(
            f"kernels for {missing[0]} cannot be built here: that takes Linux on its architecture; "
            f"this machine has {', '.join(possible) or 'none of them'}"
        )
    folder = Path(folder) / package_digest()
    folder.mkdir(parents=True, exist_ok=True)
    for level in levels:
        code = _SILENCE + (program if level in supported() else _TRANSLATE + program)
        with TemporaryDirectory() as cache:
            environment = os.environ | variables(level) | {"NUMBA_CACHE_DIR": cache}
            subprocess.run([sys.executable, "-c", code], env=environment, check=True)
            for file in Path(cache).rglob("*.kernel"):
                shutil.copy2(file, folder)
    return folder


def main(arguments: Any = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m skbackprop.build_kernels", description=__doc__.partition("\n")[0])
    parser.add_argument("--level", action="append", choices=LEVELS, help="default: all of this machine's architecture")
    parser.add_argument("--folder", default=PACKAGED, help="default: %(default)s")
    chosen = parser.parse_args(arguments)
    try:
        folder = build(chosen.level, chosen.folder)
    except RuntimeError as error:
        parser.error(str(error))
    files = list(folder.glob("*.kernel"))
    size = sum(file.stat().st_size for file in files)
    print(f"{len(files)} kernels, {size / 2**20:.1f} MiB, in {folder}")


if __name__ == "__main__":
    main()
