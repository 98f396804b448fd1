"""How outputs change with the inputs: the backward pass that training does not need, down to the inputs.

The activations are the loops that training uses, in their form that keeps the slopes, so that it makes no difference whether
a slope is found from a unit's input or from its output. The products are NumPy's: this is asked for once, and not for
each mini-batch.
"""

import numpy as np
from scipy import sparse

from skbackprop._compile import invoke, kernel
from skbackprop.backends.cpu.calls import layer_calls
from skbackprop.backends.cpu.memory import at

__all__ = ["input_gradient"]

# Of the units and the slopes of a block of rows.
_BLOCK_BYTES = 1 << 22


@kernel
def _activate(address, units, slopes, settings):
    """Run an activation's loop over a flat array of weighted inputs, which become outputs, and write their slopes."""
    invoke(address, (at(units, 0), at(slopes, 0), units.size, at(settings, 0)))


def input_gradient(network, params, rows, outputs, running=None):
    """Gradient of one raw output of each row with respect to the row's inputs.

    Parameters
    ----------
    network : Network
    params : ndarray of shape (n_params,)
        Its dtype is that of the arithmetic.
    rows : Rows
        Data of the same dtype.
    outputs : ndarray of shape (n_rows,), int
        Which output, for each row.
    running : ndarray of shape (n_running,), float64, or None
        Running means and variances, where hidden units are normalized by them.

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
        # As in the kernels, what overflows shows in the result.
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
    """The normalization of a layer's weighted inputs, and the way back; see `functions.normalizations`."""

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
        """The gradient with respect to the inputs, from that with respect to the outputs."""
        deltas = deltas * self._scale
        if not self._over_batch:
            along = (deltas * self._normal).mean(axis=1, keepdims=True)
            deltas = deltas - deltas.mean(axis=1, keepdims=True) - self._normal * along
        return (deltas / self._deviation).astype(self.outputs.dtype, copy=False)


def _take(rows, start, stop):
    """Some of the rows, as a matrix that can be multiplied."""
    if not rows.is_sparse:
        return rows.X[start:stop]
    low, high = rows.indptr[start], rows.indptr[stop]
    entries = rows.data[low:high], rows.indices[low:high], rows.indptr[start : stop + 1] - low
    return sparse.csr_array(entries, shape=(stop - start, rows.shape[1]))
