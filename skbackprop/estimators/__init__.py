"""Public estimators: validation, encoding of targets, scikit-learn's API. No compiled code."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from skbackprop.estimators._model_file import load, save
from skbackprop.estimators.classifier import BackpropClassifier
from skbackprop.estimators.regressor import BackpropRegressor

if TYPE_CHECKING:
    from skbackprop.estimators._checkpoint import Checkpoint
    from skbackprop.estimators._onnx import register_onnx_converters, to_onnx
    from skbackprop.estimators._to_sklearn import to_sklearn
    from skbackprop.estimators.embedding import BackpropEmbedding
    from skbackprop.estimators.ensemble import BackpropEnsembleClassifier, BackpropEnsembleRegressor
    from skbackprop.estimators.tabular import BackpropTabularClassifier, BackpropTabularRegressor

__all__ = [
    "BackpropClassifier",
    "BackpropEmbedding",
    "BackpropEnsembleClassifier",
    "BackpropEnsembleRegressor",
    "BackpropRegressor",
    "BackpropTabularClassifier",
    "BackpropTabularRegressor",
    "Checkpoint",
    "load",
    "register_onnx_converters",
    "save",
    "to_onnx",
    "to_sklearn",
]

#: Modules that are imported when one of their names is first used: scikit-learn's ensembles alone take longer than all of
#: this package.
_MODULES = {
    "BackpropEmbedding": "embedding",
    "BackpropEnsembleClassifier": "ensemble",
    "BackpropEnsembleRegressor": "ensemble",
    "BackpropTabularClassifier": "tabular",
    "BackpropTabularRegressor": "tabular",
    "Checkpoint": "_checkpoint",
    "register_onnx_converters": "_onnx",
    "to_onnx": "_onnx",
    "to_sklearn": "_to_sklearn",
}


def __getattr__(name: Any) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
