"""Multilayer perceptrons for scikit-learn, trained by backpropagation in Numba kernels."""

from importlib.metadata import PackageNotFoundError, version

from skbackprop.estimators import BackpropClassifier, BackpropEmbedding, BackpropRegressor
from skbackprop.warmup import warmup

try:
    __version__ = version("skbackprop")
except PackageNotFoundError:  # a source tree that is not installed
    __version__ = "0.0.0+source"

__all__ = ["BackpropClassifier", "BackpropEmbedding", "BackpropRegressor", "__version__", "warmup"]
