"""Promises to users: validation, labels, scikit-learn's contract. No compiled code."""

from skbackprop.estimators._checkpoint import Checkpoint
from skbackprop.estimators._model_file import load
from skbackprop.estimators._onnx import to_onnx
from skbackprop.estimators.classifier import BackpropClassifier
from skbackprop.estimators.embedding import BackpropEmbedding
from skbackprop.estimators.regressor import BackpropRegressor

__all__ = ["BackpropClassifier", "BackpropEmbedding", "BackpropRegressor", "Checkpoint", "load", "to_onnx"]
