"""Multilayer perceptrons for scikit-learn, trained by backpropagation in Numba kernels."""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from skbackprop import estimators
from skbackprop.estimators import (
    BackpropClassifier,
    BackpropEmbedding,
    BackpropRegressor,
    Checkpoint,
    load,
    register_onnx_converters,
    save,
    to_onnx,
)
from skbackprop.warmup import warmup

try:
    __version__ = version("skbackprop")
except PackageNotFoundError:  # a source tree that is not installed
    __version__ = "0.0.0+source"

__all__ = [
    "BackpropClassifier",
    "BackpropEmbedding",
    "BackpropEnsembleClassifier",
    "BackpropEnsembleRegressor",
    "BackpropRegressor",
    "BackpropTabularClassifier",
    "BackpropTabularRegressor",
    "Checkpoint",
    "__version__",
    "load",
    "register_onnx_converters",
    "save",
    "to_onnx",
    "warmup",
]


def __getattr__(name: Any) -> Any:
    if name.startswith(("BackpropEnsemble", "BackpropTabular")) and name in __all__:
        return getattr(estimators, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
