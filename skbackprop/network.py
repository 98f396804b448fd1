"""Definition of a network: layer sizes, functions, and the layout of all parameters in one flat vector."""

import weakref
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from skbackprop._lazy import lazy
from skbackprop.functions._function import N_SETTINGS

__all__ = ["Network"]

#: Columns of `Network.layout`, which has one row per layer of weights.
FAN_IN, FAN_OUT, WEIGHTS, INTERCEPTS, UNPENALISED, RUNNING = range(6)


@dataclass(frozen=True)
class Network:
    """A multilayer perceptron, without its parameters.

    Parameters
    ----------
    layer_units : tuple of int
        Number of units per layer, from inputs to outputs.
    activations : tuple
        `Function.key` of each hidden layer's activation: its class and its numeric settings.
    loss : tuple
        `Function.key` of the loss, which determines the link of the outputs.
    normalization : tuple or None, default=None
        `Function.key` of the normalization of all hidden layers; None for none.
    """

    layer_units: tuple
    activations: tuple
    loss: tuple
    normalization: tuple | None = None

    def __hash__(self):
        return self._hash

    @lazy
    def _hash(self):
        # Cached: each prediction needs it several times.
        return hash((self.layer_units, self.activations, self.loss, self.normalization))

    @classmethod
    @lru_cache(maxsize=64)
    def cached(cls, layer_units, activations, loss, normalization):
        """Return the same object for the same arguments, so that derived values are computed once."""
        return cls(layer_units, activations, loss, normalization)

    @property
    def over_batch(self):
        """Whether hidden units are normalized over mini-batches, which needs running means and variances."""
        return self.normalization is not None and self.normalization[0].over_batch

    @lazy
    def layout(self):
        """Sizes and offsets for the kernels.

        ndarray of shape (n_layers - 1, 6), int64; the columns are fan-in, fan-out, offset of the weights, offset of the
        intercepts, the number of unpenalized parameters that start there (intercepts, and in normalized layers scales
        and offsets), and the offset of the layer's running means and variances among those of all layers.
        """
        rows = []
        offset = running = 0
        for layer, (fan_in, fan_out) in enumerate(pairwise(self.layer_units)):
            is_normalized = self.normalization is not None and layer < len(self.layer_units) - 2
            intercepts = offset + fan_in * fan_out
            n_unpenalised = 3 * fan_out if is_normalized else fan_out
            rows.append((fan_in, fan_out, offset, intercepts, n_unpenalised, running))
            offset = intercepts + n_unpenalised
            if self.over_batch and is_normalized:
                running += 2 * fan_out + 1
        return np.array(rows, dtype=np.int64)

    @lazy
    def _layout_rows(self):
        return self.layout.tolist()

    @lazy
    def settings(self):
        """Settings of the activations, of the loss, and of the normalization if there is one.

        ndarray of shape (n_layers - 1, N_SETTINGS) or (n_layers, N_SETTINGS), float64.
        """
        keys = [*self.activations, self.loss]
        if self.normalization is not None:
            keys.append(self.normalization)
        rows = np.zeros((len(keys), N_SETTINGS))
        for row, (_, numbers) in zip(rows, keys, strict=True):
            row[: len(numbers)] = numbers
        return rows

    @lazy
    def n_params(self):
        """Number of weights, intercepts, scales and offsets."""
        _, _, _, intercepts, n_unpenalised, _ = self._layout_rows[-1]
        return intercepts + n_unpenalised

    @lazy
    def n_running(self):
        """Size of the flat vector that `running_views` takes."""
        return sum(2 * n_units + 1 for n_units in self.layer_units[1:-1]) if self.over_batch else 0

    @lazy
    def n_weights(self):
        """Number of weights, without intercepts."""
        return sum(fan_in * fan_out for fan_in, fan_out in pairwise(self.layer_units))

    def views(self, params):
        """Return weights and intercepts as views into a flat vector.

        Parameters
        ----------
        params : ndarray of shape (n_params,)
            ``[W0 b0 W1 b1 ...]``, each W in C order; in a normalized layer, scales and offsets follow b.

        Returns
        -------
        coefs : list of ndarray of shape (fan_in, fan_out)
        intercepts : list of ndarray of shape (fan_out,)
        """
        coefs, intercepts = [], []
        for fan_in, fan_out, weights, biases, _, _ in self._layout_rows:
            coefs.append(params[weights:biases].reshape(fan_in, fan_out))
            intercepts.append(params[biases : biases + fan_out])
        return coefs, intercepts

    def normalizer_views(self, params):
        """Return scales and offsets of the normalized layers as views into a flat vector.

        Parameters
        ----------
        params : ndarray of shape (n_params,)

        Returns
        -------
        scales, offsets : list of ndarray of shape (n_units,)
            One array per hidden layer; empty lists without normalization.
        """
        scales, offsets = [], []
        for _, fan_out, _, biases, n_unpenalised, _ in self._layout_rows:
            if n_unpenalised > fan_out:
                scales.append(params[biases + fan_out : biases + 2 * fan_out])
                offsets.append(params[biases + 2 * fan_out : biases + 3 * fan_out])
        return scales, offsets

    def running_views(self, running):
        """Return running means and variances as views into a flat vector.

        Parameters
        ----------
        running : ndarray of shape (n_running,), float64

        Returns
        -------
        means, variances : list of ndarray of shape (n_units,)
            One array per hidden layer; empty lists without batch normalization.
        counts : list of ndarray of shape (1,)
            Number of mini-batches seen so far.
        """
        means, variances, counts = [], [], []
        for _, n_units, _, _, _, start in self._layout_rows[:-1] if self.over_batch else ():
            means.append(running[start : start + n_units])
            variances.append(running[start + n_units : start + 2 * n_units])
            counts.append(running[start + 2 * n_units : start + 2 * n_units + 1])
        return means, variances, counts

    def flatten_running(self, means, variances, counts):
        """Copy running means and variances into a flat vector.

        Parameters
        ----------
        means, variances, counts : list of array-like
            As returned by `running_views`.

        Returns
        -------
        running : ndarray of shape (n_running,), float64
            A copy.

        Raises
        ------
        ValueError
            If a shape does not match the network.
        """
        running = np.empty(self.n_running)
        own = self.running_views(running)
        _copy_arrays((("running_means_", means), ("running_variances_", variances), ("counts", counts)), own)
        return running

    def fold(self, params, running):
        """Fold batch normalization into a factor and a summand per hidden unit, for predictions.

        Parameters
        ----------
        params : ndarray of shape (n_params,)
        running : ndarray of shape (n_running,), float64

        Returns
        -------
        folded : ndarray of shape (n_running,), float64
            Factors replace the means, summands the variances; empty without batch normalization.
        """
        folded = np.zeros(self.n_running)
        if self.over_batch:
            kind, (epsilon, *_) = self.normalization
            means, variances, _ = self.running_views(running)
            factors, summands, _ = self.running_views(folded)
            arrays = zip(*self.normalizer_views(params), means, variances, factors, summands, strict=True)
            for scale, offset, mean, variance, factor, summand in arrays:
                factor[:], summand[:] = kind.fold(scale, offset, mean, variance, epsilon)
        return folded

    def flatten(self, coefs, intercepts, dtype, scales=(), offsets=()):
        """Return the flat vector of weights and intercepts, and of scales and offsets of normalized layers.

        No copy is made if the arrays already are views into one vector.

        Parameters
        ----------
        coefs : list of array-like of shape (fan_in, fan_out)
        intercepts : list of array-like of shape (fan_out,)
        dtype : numpy.dtype
        scales, offsets : list of array-like of shape (n_units,), default=()

        Returns
        -------
        params : ndarray of shape (n_params,)

        Raises
        ------
        ValueError
            If a shape does not match the network.
        """
        params = coefs[0].base if isinstance(coefs[0], np.ndarray) else None
        if (
            isinstance(params, np.ndarray)
            and params.shape == (self.n_params,)
            and params.dtype == dtype
            and params.flags.c_contiguous
            and self._are_views(params, coefs, intercepts, scales, offsets)
        ):
            return params
        params = np.empty(self.n_params, dtype=dtype)
        given = (("coefs_", coefs), ("intercepts_", intercepts), ("scales_", scales), ("offsets_", offsets))
        _copy_arrays(given, (*self.views(params), *self.normalizer_views(params)))
        return params

    def _are_views(self, params, *groups):
        # Predictions of single rows pass the same arrays again and again; checking their addresses takes longer than
        # the prediction itself.
        arrays = [params]
        for group in groups:
            arrays += group
        seen = self.__dict__.get("_seen", ())
        if len(seen) == len(arrays) and all(known() is array for known, array in zip(seen, arrays, strict=True)):
            return True
        if not self._lie_in(params, groups):
            return False
        self.__dict__["_seen"] = [weakref.ref(array) for array in arrays]
        return True

    def _lie_in(self, params, groups):
        start = params.ctypes.data
        for places, arrays in zip(self._places, groups, strict=True):
            if len(places) != len(arrays):
                return False
            for (offset, shape), array in zip(places, arrays, strict=True):
                if not (
                    isinstance(array, np.ndarray)
                    and array.base is params
                    and array.shape == shape
                    and array.flags.c_contiguous
                    and array.ctypes.data == start + offset * params.itemsize
                ):
                    return False
        return True

    @lazy
    def _places(self):
        """Offsets and shapes of the weights, the intercepts, the scales and the offsets."""
        coefs, intercepts, scales, offsets = [], [], [], []
        for fan_in, fan_out, weights, biases, n_unpenalised, _ in self._layout_rows:
            coefs.append((weights, (fan_in, fan_out)))
            intercepts.append((biases, (fan_out,)))
            if n_unpenalised > fan_out:
                scales.append((biases + fan_out, (fan_out,)))
                offsets.append((biases + 2 * fan_out, (fan_out,)))
        return coefs, intercepts, scales, offsets


def _copy_arrays(given, own):
    """Copy lists of arrays, given with the names of their attributes, into the network's own arrays; check shapes."""
    for (name, sources), targets in zip(given, own, strict=True):
        if len(targets) != len(sources):
            raise ValueError(f"{name} has {len(sources)} arrays; this network has {len(targets)} layers of them")
        for index, (target, source) in enumerate(zip(targets, sources, strict=True)):
            if target.shape != np.shape(source):
                raise ValueError(f"{name}[{index}] has shape {np.shape(source)}; this network needs {target.shape}")
            target[...] = source
