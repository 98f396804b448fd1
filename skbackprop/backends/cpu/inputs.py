"""Gradients of outputs with respect to the inputs: a backward pass down to the inputs, which training does not need.

Activations are the loops of training, in the variant that stores slopes; so it does not matter whether a slope is
computed from a unit's input or its output. Products use NumPy: this runs once, not for each mini-batch.
"""

import numpy as np
from scipy import sparse

from skbackprop._compile import invoke, kernel
from skbackprop.backends.cpu.calls import layer_calls
from skbackprop.backends.cpu.memory import at

__all__ = ["input_gradient"]

# Limit for the units and slopes of a block of rows.
_BLOCK_BYTES = 1 << 22


@kernel
def _activate(address, units, slopes, settings):
    """Run an activation's loop in place over a flat array of weighted inputs, and write the slopes."""
    invoke(address, (at(units, 0), at(slopes, 0), units.size, at(settings, 0)))


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
    coefs, intercepts = network.views(params)
    n_hidden = len(network.activations)
    calls = layer_calls(network, params.dtype, (True,) * n_hidden)[:, 0]
    gradients = np.empty((n_rows, n_features), dtype=params.dtype)
    block_rows = max(1, _BLOCK_BYTES // (2 * params.itemsize * sum(network.layer_units)))
    for start in range(0, n_rows, block_rows):
        stop = min(start + block_rows, n_rows)
        units = _take(rows, start, stop)
        slopes, normalizers = [], []
        # As in the kernels, overflow shows in the result.
        with np.errstate(over="ignore", invalid="ignore"):
            for layer in range(n_hidden):
                units = units @ coefs[layer] + intercepts[layer]
                if network.normalization is not None:
                    normalizers.append(_Normalizer(network, params, running, layer, units))
                    units = normalizers[layer].outputs
                units = np.ascontiguousarray(units)
                slopes.append(np.empty_like(units))
                _activate(calls[layer], units.reshape(-1), slopes[-1].reshape(-1), network.settings[layer])
            deltas = coefs[-1].T[outputs[start:stop]]
            for layer in reversed(range(n_hidden)):
                deltas = deltas * slopes[layer]
                if network.normalization is not None:
                    deltas = normalizers[layer].back(deltas)
                deltas = deltas @ coefs[layer].T
        gradients[start:stop] = deltas
    return gradients


class _Normalizer:
    """Forward and backward normalization of a layer's weighted inputs; see `functions.normalizations`."""

    def __init__(self, network, params, running, layer, inputs):
        self._over_batch = network.over_batch
        scales, offsets = network.normalizer_views(params)
        epsilon = network.normalization[1][0]
        if self._over_batch:
            means, variances, *_ = network.running_views(running)
            mean, variance = means[layer], variances[layer]
        else:
            mean, variance = inputs.mean(axis=1, keepdims=True), inputs.var(axis=1, keepdims=True)
        self._scale = scales[layer]
        self._deviation = np.sqrt(variance + epsilon)
        self._normal = (inputs - mean) / self._deviation
        self.outputs = (self._normal * self._scale + offsets[layer]).astype(params.dtype, copy=False)

    def back(self, deltas):
        """Compute the gradient with respect to the inputs from that with respect to the outputs."""
        deltas = deltas * self._scale
        if not self._over_batch:
            along = (deltas * self._normal).mean(axis=1, keepdims=True)
            deltas = deltas - deltas.mean(axis=1, keepdims=True) - self._normal * along
        return (deltas / self._deviation).astype(self.outputs.dtype, copy=False)


def _take(rows, start, stop):
    """Return a range of rows as an array or sparse array for products."""
    if not rows.is_sparse:
        return rows.X[start:stop]
    low, high = rows.indptr[start], rows.indptr[stop]
    entries = rows.data[low:high], rows.indices[low:high], rows.indptr[start : stop + 1] - low
    return sparse.csr_array(entries, shape=(stop - start, rows.shape[1]))
