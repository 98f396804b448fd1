"""Compile kernels ahead of time, beside the sources: ``python -m skbackprop.build_kernels``.

For builders of wheels and of container images. Kernels are compiled for a level of x86-64, or for aarch64, instead of
for one processor, and kept in the package's folder, where every process finds those of its processor's level: nobody
waits for the compiler, and nothing has to be written. They fit the sources and the version of Python that they were
compiled with; all others are ignored.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from skbackprop._kernel_files import PACKAGED, package_digest
from skbackprop._machine_code import HAS_IMAGES
from skbackprop._processor import LEVELS, supported, variables

__all__ = ["build"]

# The functions of scikit-learn's networks; further ones are compiled where they are first used.
_WARM_UP = """
import skbackprop
from skbackprop import BackpropClassifier, BackpropRegressor

for kind in BackpropClassifier, BackpropRegressor:
    chosen = [{"activation": name} for name in ("identity", "logistic", "tanh")]
    chosen += [{"solver": name} for name in ("sgd", "adamw", "lbfgs")]
    skbackprop.warmup(kind(), *(kind(**one) for one in chosen))
"""


def build(levels: list[Any] | None = None, folder: Any = PACKAGED) -> Any:
    """Compile the kernels of common estimators for levels of processors.

    Parameters
    ----------
    levels : list of {"x86-64-v3", "x86-64-v4", "armv8-a"} or None, default=None
        None means all that this machine supports: kernels also run once.
    folder : path-like, default=the package's
        Where to keep them, in a folder for these sources and this version of Python.

    Returns
    -------
    folder : pathlib.Path

    Raises
    ------
    RuntimeError
        If this machine cannot compile for a level.
    """
    possible = supported() if HAS_IMAGES else []
    levels = possible if levels is None else levels
    missing = [level for level in levels or LEVELS if level not in possible]
    if missing:
        raise RuntimeError(
            f"kernels for {missing[0]} cannot be built here: that takes Linux on a processor of this level; "
            f"this machine has {', '.join(possible) or 'none of them'}"
        )
    folder = Path(folder) / package_digest()
    folder.mkdir(parents=True, exist_ok=True)
    for level in levels:
        with TemporaryDirectory() as cache:
            environment = os.environ | variables(level) | {"NUMBA_CACHE_DIR": cache}
            subprocess.run([sys.executable, "-c", _WARM_UP], env=environment, check=True)
            for file in Path(cache).rglob("*.kernel"):
                shutil.copy2(file, folder)
    return folder


def main(arguments: Any = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m skbackprop.build_kernels", description=__doc__.partition("\n")[0])
    parser.add_argument("--level", action="append", choices=LEVELS, help="default: all that this machine supports")
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
