"""What a network is: its layers' sizes and functions, and where each parameter lies in one flat vector."""

import weakref
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from skbackprop.functions._function import N_SETTINGS

__all__ = ["Network"]

#: Columns of `Network.layout`, one row for each layer of weights.
FAN_IN, FAN_OUT, WEIGHTS, INTERCEPTS = range(4)


@dataclass(frozen=True)
class Network:
    """A multilayer perceptron, without its parameters.

    Parameters
    ----------
    layer_units : tuple of int
        Units of every layer, from the inputs to the outputs.
    activations : tuple
        `Function.key` of each hidden layer's activation: its class and the numbers of its settings.
    loss : tuple
        The same of the loss, and with it of the outputs' link.
    """

    layer_units: tuple
    activations: tuple
    loss: tuple

    @cached_property
    def layout(self):
        """Sizes and offsets for the kernels.

        ndarray of shape (n_layers - 1, 4), int64; the columns are fan in, fan out, offset of the weights and offset of the
        intercepts.
        """
        rows = []
        offset = 0
        for fan_in, fan_out in pairwise(self.layer_units):
            rows.append((fan_in, fan_out, offset, offset + fan_in * fan_out))
            offset += (fan_in + 1) * fan_out
        return np.array(rows, dtype=np.int64)

    @cached_property
    def _layout_rows(self):
        return self.layout.tolist()

    @cached_property
    def settings(self):
        """Settings of the activations, and in the last row those of the loss.

        ndarray of shape (n_layers - 1, N_SETTINGS), float64.
        """
        rows = np.zeros((len(self.layer_units) - 1, N_SETTINGS))
        for row, (_, numbers) in zip(rows, (*self.activations, self.loss), strict=True):
            row[: len(numbers)] = numbers
        return rows

    @cached_property
    def n_params(self):
        """Number of weights and intercepts."""
        return sum((fan_in + 1) * fan_out for fan_in, fan_out in pairwise(self.layer_units))

    @cached_property
    def n_weights(self):
        """Number of weights, intercepts not counted."""
        return sum(fan_in * fan_out for fan_in, fan_out in pairwise(self.layer_units))

    def views(self, params):
        """Weights and intercepts as views into a flat vector.

        Parameters
        ----------
        params : ndarray of shape (n_params,)
            ``[W0 b0 W1 b1 ...]``, each W in C order.

        Returns
        -------
        coefs : list of ndarray of shape (fan_in, fan_out)
        intercepts : list of ndarray of shape (fan_out,)
        """
        coefs, intercepts = [], []
        for fan_in, fan_out, weights, biases in self._layout_rows:
            coefs.append(params[weights:biases].reshape(fan_in, fan_out))
            intercepts.append(params[biases : biases + fan_out])
        return coefs, intercepts

    def flatten(self, coefs, intercepts, dtype):
        """The flat vector of given weights and intercepts.

        No copy is made where they are views into one already.

        Parameters
        ----------
        coefs : list of array-like of shape (fan_in, fan_out)
        intercepts : list of array-like of shape (fan_out,)
        dtype : numpy.dtype

        Returns
        -------
        params : ndarray of shape (n_params,)

        Raises
        ------
        ValueError
            If a shape is not that of the network.
        """
        params = coefs[0].base if isinstance(coefs[0], np.ndarray) else None
        if (
            isinstance(params, np.ndarray)
            and params.shape == (self.n_params,)
            and params.dtype == dtype
            and params.flags.c_contiguous
            and self._are_views(params, coefs, intercepts)
        ):
            return params
        params = np.empty(self.n_params, dtype=dtype)
        own_coefs, own_intercepts = self.views(params)
        for name, own, given in (("coefs_", own_coefs, coefs), ("intercepts_", own_intercepts, intercepts)):
            if len(own) != len(given):
                raise ValueError(f"{name} has {len(given)} arrays; this network has {len(own)} layers of them")
            for index, (target, source) in enumerate(zip(own, given, strict=True)):
                if target.shape != np.shape(source):
                    raise ValueError(f"{name}[{index}] has shape {np.shape(source)}; this network needs {target.shape}")
                target[...] = source
        return params

    def _are_views(self, params, coefs, intercepts):
        # Predictions of single rows ask again and again for the same arrays, and to look at their addresses takes longer
        # than to predict.
        arrays = [params, *coefs, *intercepts]
        seen = self.__dict__.get("_seen", ())
        if len(seen) == len(arrays) and all(known() is array for known, array in zip(seen, arrays, strict=True)):
            return True
        if not self._lie_in(params, coefs, intercepts):
            return False
        self.__dict__["_seen"] = [weakref.ref(array) for array in arrays]
        return True

    def _lie_in(self, params, coefs, intercepts):
        if not len(coefs) == len(intercepts) == len(self.layout):
            return False
        start = params.ctypes.data
        for (fan_in, fan_out, weights, biases), *arrays in zip(self._layout_rows, coefs, intercepts, strict=True):
            for array, offset, shape in zip(arrays, (weights, biases), ((fan_in, fan_out), (fan_out,)), strict=True):
                if not (
                    isinstance(array, np.ndarray)
                    and array.base is params
                    and array.shape == shape
                    and array.flags.c_contiguous
                    and array.ctypes.data == start + offset * params.itemsize
                ):
                    return False
        return True
