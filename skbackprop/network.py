"""Definition of a network: a sequence of layers, and the layout of their parameters in one flat vector."""

import weakref
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from operator import attrgetter
from typing import NamedTuple

import numpy as np

from skbackprop._lazy import lazy
from skbackprop.functions._function import N_SETTINGS
from skbackprop.layers import (
    ActivationLayer,
    BatchNormalizationLayer,
    ColumnLayer,
    Dense,
    Dropout,
    LayerNormalizationLayer,
    ParametricActivationLayer,
)

__all__ = ["Network"]

#: Columns of `Network.layout`, which has one row per stage.
FAN_IN, FAN_OUT, WEIGHTS, INTERCEPTS, UNPENALISED, RUNNING, ROWS, GROUPS = range(8)
N_LAYOUT = 8


class Place(NamedTuple):
    """An array of a layer in a flat vector.

    Parameters
    ----------
    layer : int
        Index of the layer.
    attribute : str
        The fitted attribute that lists arrays of this kind.
    offset : int
    shape : tuple of int
    """

    layer: int
    attribute: str
    offset: int
    shape: tuple

    def view(self, vector):
        """Return the array as a view into the vector."""
        return vector[self.offset : self.offset + self.size].reshape(self.shape)

    @property
    def size(self):
        """Number of elements."""
        return prod(self.shape)


def _places(arrays_of_layers):
    places, offset = [], 0
    for index, arrays in enumerate(arrays_of_layers):
        for attribute, shape in zip(*arrays, strict=True):
            places.append(Place(index, attribute, offset, shape))
            offset += places[-1].size
    return places


def _by_attribute(places, vector):
    arrays = {}
    for place in places:
        arrays.setdefault(place.attribute, []).append(place.view(vector))
    return arrays


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
    inputs : tuple, default=()
        `InputLayer.bound` of each layer in front of the first dense one.
    parametric : bool, default=False
        Whether the activations are mixed with the identity in trained proportions.
    """

    layer_units: tuple
    activations: tuple
    loss: tuple
    normalization: tuple | None = None
    inputs: tuple = ()
    parametric: bool = False

    def __hash__(self):
        return self._hash

    @lazy
    def _hash(self):
        # Cached: each prediction needs it several times.
        return hash((self.layer_units, self.activations, self.loss, self.normalization, self.inputs, self.parametric))

    @classmethod
    @lru_cache(maxsize=64)
    def cached(cls, layer_units, activations, loss, normalization, inputs=(), parametric=False):
        """Return the same object for the same arguments, so that derived values are computed once."""
        return cls(layer_units, activations, loss, normalization, inputs, parametric)

    @lazy
    def layers(self):
        """The layers, from the inputs to the outputs; the only list of them.

        A tuple of `Layer`.
        """
        layers, n_units = [], self.layer_units[0]
        for key in self.inputs:
            layers.append(ColumnLayer.from_key(len(layers), n_units, key))
            n_units = layers[-1].n_units
        n_hidden = len(self.layer_units) - 2
        # scikit-learn knows one activation; the output layer's initial weights go with the last hidden one.
        factors = [kind.init_factor for kind, _ in self.activations] or [6.0]
        for index, n_outputs in enumerate(self.layer_units[1:]):
            place = len(self.inputs) + index, n_units, n_outputs
            factor = factors[min(index, len(factors) - 1)]
            layers += [Dropout(*place), Dense(*place, factor, is_last=index == n_hidden)]
            if index < n_hidden:
                if self.normalization is not None:
                    over_batch = self.normalization[0].over_batch
                    kind = BatchNormalizationLayer if over_batch else LayerNormalizationLayer
                    layers.append(kind(*place, self.normalization))
                kind = ParametricActivationLayer if self.parametric else ActivationLayer
                layers.append(kind(*place, self.activations[index]))
            n_units = n_outputs
        return tuple(layers)

    @lazy
    def n_front(self):
        """Number of stages in front of the first dense layer."""
        return len(self.inputs)

    @lazy
    def code_columns(self):
        """Columns of `X` that input layers take as codes of categories; -1 for what another layer has made of one.

        A list of int.
        """
        origins, found = np.arange(self.layer_units[0]), []
        for layer in self.layers[: self.n_front]:
            found += origins[layer.columns].tolist() if layer.kind.takes_codes else []
            origins = layer.origins(origins)
        return found

    def forward_steps(self, trains, dropped=()):
        """Return the steps of the forward pass.

        Parameters
        ----------
        trains : bool
            False for predictions.
        dropped : collection of int, default=()
            Stages whose inputs are dropped.

        Returns
        -------
        pairs : list of (Layer, list of str)
            The layers in order, each with the names of its steps.
        """
        return [
            (layer, [step for step in layer.forward_steps(trains) if step != "drop" or layer.stage in dropped])
            for layer in self.layers
        ]

    @lazy
    def stages(self):
        """The layers of each stage.

        A list of tuples of `Layer`; the first of each makes the stage's units.
        """
        stages = [[] for _ in range(self.n_front + len(self.layer_units) - 1)]
        for layer in self.layers:
            stages[layer.stage].append(layer)
        return [tuple(sorted(stage, key=lambda layer: not layer.makes_units)) for stage in stages]

    @lazy
    def stage_units(self):
        """Number of units before, between and after the stages; `layer_units` if there is nothing in front."""
        return (self.layer_units[0], *(first.n_units for first, *_ in self.stages))

    @lazy
    def over_batch(self):
        """Whether hidden units are normalized over mini-batches, which needs running means and variances."""
        return any(layer.over_batch for layer in self.layers)

    @lazy
    def normalizes(self):
        """Whether hidden units are normalized."""
        return self.normalization is not None

    @lazy
    def n_barriers(self):
        """Number of barriers of the layers' steps per block of rows."""
        return sum(layer.n_barriers for layer in self.layers)

    @lazy
    def _params(self):
        return _places((layer.attributes, layer.shapes()) for layer in self.layers)

    @lazy
    def _state(self):
        return _places((layer.state_attributes, layer.state_shapes()) for layer in self.layers)

    @lazy
    def attributes(self):
        """Names of the fitted attributes that list the parameters; then of those that list the state."""
        names = tuple(dict.fromkeys(place.attribute for place in self._params))
        return names, tuple(dict.fromkeys(place.attribute for place in self._state))

    @lazy
    def params_of(self):
        """Function that returns the lists of an object's parameters, in the order of `attributes`."""
        return attrgetter(*self.attributes[0])

    @lazy
    def layout(self):
        """Sizes and offsets for the kernels.

        ndarray of shape (n_stages, 8), int64; the columns are fan-in, fan-out, offset of the weights, offset of the
        intercepts, the number of unpenalized parameters that start there (intercepts, in normalized layers scales
        and offsets, and the proportions of a parametric activation, which are the last of them; all parameters of an
        input layer), the offset of the stage's running means and variances among
        those of all stages, the number of rows of weights, and the index of the first of an input layer's groups.
        """
        sizes = np.zeros((2, len(self.stages)), dtype=np.int64)
        for size, places in zip(sizes, (self._params, self._state), strict=True):
            for place in places:
                size[self.layers[place.layer].stage] += place.size
        offsets = np.cumsum(sizes, axis=1) - sizes
        rows, groups = [], 0
        for (first, *_), n_params, offset, running in zip(self.stages, sizes[0], *offsets, strict=True):
            n_weights = first.n_weights
            unpenalised = offset + n_weights, n_params - n_weights
            rows.append(
                (first.n_inputs, first.n_units, offset, *unpenalised, running, n_weights // first.n_units, groups)
            )
            groups += len(first.groups)
        return np.array(rows, dtype=np.int64)

    @lazy
    def groups(self):
        """The input layers' tables of columns, one after another; see `functions.input_layers`.

        ndarray of shape (n_groups, 3), int64.
        """
        return np.concatenate([first.groups for first, *_ in self.stages])

    @lazy
    def settings(self):
        """Settings of the input layers, of the activations, of the loss, and of the normalization if there is one.

        ndarray of shape (n_stages, N_SETTINGS) or (n_stages + 1, N_SETTINGS), float64.
        """
        keys = [*self.inputs, *self.activations, self.loss]
        if self.normalization is not None:
            keys.append(self.normalization)
        rows = np.zeros((len(keys), N_SETTINGS))
        for row, (_, numbers, *_) in zip(rows, keys, strict=True):
            row[: len(numbers)] = numbers
        return rows

    @lazy
    def n_params(self):
        """Number of parameters of all layers."""
        return sum(place.size for place in self._params)

    @lazy
    def n_running(self):
        """Number of running means and variances, and of their counts."""
        return sum(place.size for place in self._state)

    @lazy
    def n_weights(self):
        """Number of weights, without intercepts."""
        return sum(layer.n_weights for layer in self.layers)

    def arrays(self, params, running=None):
        """Return the fitted arrays as views into the flat vectors.

        Parameters
        ----------
        params : ndarray of shape (n_params,)
            The parameters of all layers, one layer after another; weights in C order.
        running : ndarray of shape (n_running,), float64, or None, default=None
            What layers keep between batches; None leaves it out.

        Returns
        -------
        arrays : dict of list of ndarray
            For each of `attributes`, the arrays of all layers that have one.
        """
        arrays = _by_attribute(self._params, params)
        return arrays if running is None else arrays | _by_attribute(self._state, running)

    def arrays_by_layer(self, params, running=None):
        """Return each layer's arrays as views into the flat vectors.

        Parameters
        ----------
        params, running : ndarray or None
            As for `arrays`; None leaves one out.

        Returns
        -------
        pairs : list of (Layer, dict of ndarray)
            The layers in order, each with its arrays by attribute.
        """
        pairs = [(layer, {}) for layer in self.layers]
        for places, vector in ((self._params, params), (self._state, running)):
            for place in places if vector is not None else ():
                pairs[place.layer][1][place.attribute] = place.view(vector)
        return pairs

    def views(self, params):
        """Return weights and intercepts of the dense layers as views into a flat vector.

        Parameters
        ----------
        params : ndarray of shape (n_params,)

        Returns
        -------
        coefs : list of ndarray of shape (fan_in, fan_out)
        intercepts : list of ndarray of shape (fan_out,)
        """
        arrays = self.arrays(params)
        return arrays["coefs_"], arrays["intercepts_"]

    def draw(self, params, initializer, random_state):
        """Initialize the parameters, layer by layer, in place.

        Parameters
        ----------
        params : ndarray of shape (n_params,)
        initializer : str
            A name of `weight_init`.
        random_state : numpy.random.RandomState
        """
        for layer, arrays in self.arrays_by_layer(params):
            layer.draw(arrays, initializer, random_state)

    def initial_running(self):
        """Return what layers keep between batches, before the first batch.

        Returns
        -------
        running : ndarray of shape (n_running,), float64
        """
        running = np.zeros(self.n_running)
        for layer, arrays in self.arrays_by_layer(None, running):
            layer.start(arrays)
        return running

    def fold(self, params, running):
        """Fold what layers keep between batches into what predictions need of it.

        Parameters
        ----------
        params : ndarray of shape (n_params,)
        running : ndarray of shape (n_running,), float64

        Returns
        -------
        folded : ndarray of shape (n_running,), float64
        """
        folded = np.zeros(self.n_running)
        if self.n_running:
            targets = self.arrays_by_layer(None, folded)
            for (layer, arrays), (_, target) in zip(self.arrays_by_layer(params, running), targets, strict=True):
                layer.fold(arrays, target)
        return folded

    def flatten(self, groups, dtype):
        """Return the flat vector of parameters.

        No copy is made if the arrays already are views into one vector.

        Parameters
        ----------
        groups : list of list of array-like
            In the order of `attributes`.
        dtype : numpy.dtype

        Returns
        -------
        params : ndarray of shape (n_params,)

        Raises
        ------
        ValueError
            If a shape does not match the network.
        """
        params = getattr(groups[0][0], "base", None) if len(groups[0]) else None
        if (
            isinstance(params, np.ndarray)
            and params.shape == (self.n_params,)
            and params.dtype == dtype
            and params.flags.c_contiguous
            and self._are_views(params, *groups)
        ):
            return params
        params = np.empty(self.n_params, dtype=dtype)
        _copy_arrays(self.attributes[0], groups, self.arrays(params))
        return params

    def flatten_running(self, groups):
        """Copy what layers keep between batches into a flat vector.

        Parameters
        ----------
        groups : list of list of array-like
            In the order of `attributes`.

        Returns
        -------
        running : ndarray of shape (n_running,), float64

        Raises
        ------
        ValueError
            If a shape does not match the network.
        """
        running = np.empty(self.n_running)
        _copy_arrays(self.attributes[1], groups, _by_attribute(self._state, running))
        return running

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
        for attribute, arrays in zip(self.attributes[0], groups, strict=True):
            places = [place for place in self._params if place.attribute == attribute]
            if len(places) != len(arrays):
                return False
            for place, array in zip(places, arrays, strict=True):
                if not (
                    isinstance(array, np.ndarray)
                    and array.base is params
                    and array.shape == place.shape
                    and array.flags.c_contiguous
                    and array.ctypes.data == start + place.offset * params.itemsize
                ):
                    return False
        return True


def _copy_arrays(attributes, given, own):
    """Copy lists of arrays, given in the order of their attributes, into the network's own arrays; check shapes."""
    for name, sources in zip(attributes, given, strict=True):
        # An attribute that is not public is named by what it holds.
        targets, name = own[name], name.removeprefix("_running_") if name.startswith("_") else name
        if len(targets) != len(sources):
            raise ValueError(f"{name} has {len(sources)} arrays; this network has {len(targets)} layers of them")
        for index, (target, source) in enumerate(zip(targets, sources, strict=True)):
            if target.shape != np.shape(source):
                raise ValueError(f"{name}[{index}] has shape {np.shape(source)}; this network needs {target.shape}")
            target[...] = source
