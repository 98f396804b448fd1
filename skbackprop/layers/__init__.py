"""The layers of a network, one kind per file: what each one is to the kernels, to NumPy, to ONNX and to files.

`network` puts layers in sequence; all else follows from iterating over them.
"""

from skbackprop.layers._layer import Layer
from skbackprop.layers.activation import ActivationLayer, ParametricActivationLayer
from skbackprop.layers.dense import Dense
from skbackprop.layers.dropout import Dropout
from skbackprop.layers.inputs import ColumnLayer
from skbackprop.layers.normalization import BatchNormalizationLayer, LayerNormalizationLayer

#: The kinds of layers that have arrays; then the fitted attributes that list these, in the order in which files have
#: them.
_KINDS = (Dense, LayerNormalizationLayer, BatchNormalizationLayer, ColumnLayer, ParametricActivationLayer)
ATTRIBUTES = tuple(dict.fromkeys(name for kind in _KINDS for name in (*kind.attributes, *kind.state_attributes)))

__all__ = [
    "ATTRIBUTES",
    "ActivationLayer",
    "BatchNormalizationLayer",
    "ColumnLayer",
    "Dense",
    "Dropout",
    "Layer",
    "LayerNormalizationLayer",
    "ParametricActivationLayer",
]
