"""Multilayer perceptrons for scikit-learn, trained by backpropagation in Numba kernels."""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from skbackprop import estimators
from skbackprop._trusted import skops_trusted_types
from skbackprop.estimators import (
    BackpropClassifier,
    BackpropEmbedding,
    BackpropRegressor,
    Checkpoint,
    load,
    register_onnx_converters,
    save,
    to_onnx,
    to_sklearn,
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
    "skops_trusted_types",
    "to_onnx",
    "to_sklearn",
    "warmup",
]

#: Modules that are imported when they are first used, as scikit-learn's are.
_MODULES = ("callbacks", "dask", "functions", "inspection", "model_selection", "preprocessing", "spark", "testing")


def __getattr__(name: Any) -> Any:
    if name in _MODULES:
        return import_module(f"skbackprop.{name}")
    if name.startswith(("BackpropEnsemble", "BackpropTabular")) and name in __all__:
        return getattr(estimators, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
