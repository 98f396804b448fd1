"""Multilayer perceptrons for scikit-learn, trained by backpropagation in Numba kernels."""

from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

from skbackprop import _room_for_imports, estimators  # the former first: it imports scikit-learn  # noqa: F401
from skbackprop._trusted import skops_trusted_types
from skbackprop.estimators import BackpropClassifier, BackpropRegressor, load, save
from skbackprop.warmup import warmup

if TYPE_CHECKING:
    from skbackprop.estimators import (
        BackpropEmbedding,
        BackpropEnsembleClassifier,
        BackpropEnsembleRegressor,
        BackpropTabularClassifier,
        BackpropTabularRegressor,
        Checkpoint,
        register_onnx_converters,
        to_onnx,
        to_sklearn,
    )

__version__: str

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
    if name == "__version__":
        try:
            return metadata.version("skbackprop")
        except metadata.PackageNotFoundError:  # a source tree that is not installed
            return "0.0.0+source"
    if name in __all__:
        return getattr(estimators, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
