"""Gradients of outputs with respect to the inputs: a backward pass down to the inputs, which training does not need.

Activations are the loops of training, in the variant that stores slopes; so it does not matter whether a slope is
computed from a unit's input or its output. Products use NumPy: this runs once, not for each mini-batch.
"""

import numpy as np
from scipy import sparse

from skbackprop._compile import run
from skbackprop.backends.cpu.calls import activation_types, layer_calls
from skbackprop.backends.cpu.state import FORTH
from skbackprop.layers import ActivationLayer

__all__ = ["input_gradient"]

# Limit for the units and slopes of a block of rows.
_BLOCK_BYTES = 1 << 22


def input_gradient(network, params, rows, outputs, running=None):
    """Compute the gradient of one raw output per row with respect to the row's inputs.

    Parameters
    ----------
    network : Network
    params : ndarray of shape (n_params,)
        The arithmetic uses its dtype.
    rows : Rows
        Data of the same dtype.
    outputs : ndarray of shape (n_rows,), int
        Index of the output for each row.
    running : ndarray of shape (n_running,), float64, or None
        Running means and variances, if hidden units are batch-normalized.

    Returns
    -------
    gradients : ndarray of shape (n_rows, n_features)
    """
    n_rows, n_features = rows.shape
    n_hidden, last = len(network.activations), len(network.layers) - 1
    calls = layer_calls(network, params.dtype, (True,) * n_hidden)
    pairs = network.arrays_by_layer(params, running if network.n_running else None)
    gradients = np.empty((n_rows, n_features), dtype=params.dtype)
    block_rows = max(1, _BLOCK_BYTES // (2 * params.itemsize * sum(network.stage_units)))
    for start in range(0, n_rows, block_rows):
        stop = min(start + block_rows, n_rows)
        units, kept = _take(rows, start, stop), []
        # As in the kernels, overflow shows in the result.
        with np.errstate(over="ignore", invalid="ignore"):
            for layer, arrays in pairs[:last]:
                kept.append(units)
                if isinstance(layer, ActivationLayer):
                    before, units = units, np.array(units, order="C")
                    slopes = np.empty_like(units)
                    arguments = units.reshape(-1), slopes.reshape(-1), units.size, network.settings[layer.stage]
                    run(calls[layer.stage, FORTH], activation_types(params.dtype), *arguments)
                    units, kept[-1] = layer.mixed(before, units, arrays), layer.mixed(1, slopes, arrays)
                else:
                    units = layer.naive(units, arrays).astype(params.dtype, copy=False)
            deltas = pairs[last][1]["coefs_"].T[outputs[start:stop]]
            for (layer, arrays), x in zip(reversed(pairs[:last]), reversed(kept), strict=True):
                deltas = deltas * x if isinstance(layer, ActivationLayer) else layer.pull_back(x, arrays, deltas)
        gradients[start:stop] = deltas
    return gradients


def _take(rows, start, stop):
    """Return a range of rows as an array or sparse array for products."""
    if not rows.is_sparse:
        return rows.X[start:stop]
    low, high = rows.indptr[start], rows.indptr[stop]
    entries = rows.data[low:high], rows.indices[low:high], rows.indptr[start : stop + 1] - low
    return sparse.csr_array(entries, shape=(stop - start, rows.shape[1]))
