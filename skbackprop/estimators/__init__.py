"""Public estimators: validation, encoding of targets, scikit-learn's API. No compiled code."""

from typing import Any

from skbackprop.estimators._checkpoint import Checkpoint
from skbackprop.estimators._model_file import load, save
from skbackprop.estimators._onnx import register_onnx_converters, to_onnx
from skbackprop.estimators._to_sklearn import to_sklearn
from skbackprop.estimators.classifier import BackpropClassifier
from skbackprop.estimators.embedding import BackpropEmbedding
from skbackprop.estimators.regressor import BackpropRegressor

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


def __getattr__(name: Any) -> Any:
    # Importing scikit-learn's ensembles takes longer than importing all of this package.
    if name.startswith("BackpropEnsemble") and name in __all__:
        from skbackprop.estimators import ensemble

        return getattr(ensemble, name)
    if name.startswith("BackpropTabular") and name in __all__:
        from skbackprop.estimators import tabular

        return getattr(tabular, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
