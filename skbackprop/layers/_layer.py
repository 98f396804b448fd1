"""What all layers have in common."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

__all__ = ["Layer"]

_NO_GROUPS = np.zeros((0, 3), dtype=np.int64)


@dataclass(frozen=True)
class Layer:
    """A layer of a network: its parameters, its formulas in NumPy and in ONNX, and the names of its steps in the kernels.

    A layer either makes new units from those before it, and begins a stage, or works in place on the units of its
    stage. Kernels index their tables by stage.

    Parameters
    ----------
    stage : int
        Index of the stage.
    n_inputs, n_units : int
        Units before and after the stage.

    Attributes
    ----------
    attributes, state_attributes : tuple of str
        The fitted attributes that list the arrays of `shapes` and of `state_shapes`, one for each.
    makes_units : bool
        Whether the layer begins a stage.
    is_hidden : bool
        Whether it ends a hidden stage, whose constant units are counted.
    has_onnx : bool
        Whether it has a form in ONNX.
    over_batch : bool
        Whether it takes statistics over the rows of a mini-batch.
    n_barriers : int
        Barriers of its steps per block of rows.
    """

    stage: int
    n_inputs: int
    n_units: int

    attributes: ClassVar[tuple] = ()
    state_attributes: ClassVar[tuple] = ()
    makes_units: ClassVar[bool] = False
    is_hidden: ClassVar[bool] = False
    has_onnx: ClassVar[bool] = True
    over_batch: ClassVar[bool] = False
    n_barriers: ClassVar[int] = 0

    def shapes(self):
        """Return the shapes of the parameters, which training updates, in their order in the flat vector.

        Returns
        -------
        shapes : tuple of tuple of int
            Penalized weights come first.
        """
        return ()

    def state_shapes(self):
        """Return the shapes of the float64 arrays that the layer keeps between batches.

        Returns
        -------
        shapes : tuple of tuple of int
        """
        return ()

    @property
    def n_weights(self):
        """Number of penalized parameters."""
        return 0

    @property
    def groups(self):
        """The kernels' table of the columns that the layer transforms one by one, if it is an input layer.

        ndarray of shape (n_groups, 3), int64; see `functions.input_layers` for its columns.
        """
        return _NO_GROUPS

    def parameter_groups(self, parametrization, degree):
        """Return how the optimizer treats the parameters of the stage that the layer begins.

        Parameters
        ----------
        parametrization : str
            A name of `functions.groups.PARAMETRIZATIONS`.
        degree : int
            The optimizer's `gradient_degree`.

        Returns
        -------
        groups : tuple of Group
            Of the penalized weights, and of the other parameters.
        """
        raise NotImplementedError

    def n_stored(self, block_rows):
        """Return how many float64 numbers the layer stores from the forward to the backward pass of a block of rows."""
        return 0

    def forward_steps(self, trains):
        """Return the names of the steps of the forward pass; `trains` is False for predictions."""
        return ()

    def backward_steps(self):
        """Return the names of the steps that backpropagate from the layer's units to its inputs."""
        return ()

    def gradient_steps(self):
        """Return the names of the steps that compute the gradient of the parameters."""
        return ()

    def draw(self, arrays, initializer, random_state):
        """Initialize the parameters in place.

        Parameters
        ----------
        arrays : dict of ndarray
            The layer's parameters and state by attribute, here and below.
        initializer : str
            A name of `weight_init`.
        random_state : numpy.random.RandomState
        """

    def start(self, arrays):
        """Initialize the state in place."""

    def fold(self, arrays, folded):
        """Write to `folded`, arrays like the state, what predictions need of the parameters and the state."""

    def naive(self, x, arrays):
        """Compute the layer's outputs in the most straightforward way, in NumPy.

        Parameters
        ----------
        x : ndarray of shape (n_rows, n_inputs)
        arrays : dict of ndarray
            Without the state, batch statistics are used, as in training.

        Returns
        -------
        outputs : ndarray of shape (n_rows, n_units)
        """
        return x

    def pull_back(self, x, arrays, deltas):
        """Compute the gradient with respect to the inputs in NumPy, for a fitted network.

        Parameters
        ----------
        x : ndarray of shape (n_rows, n_inputs)
        arrays : dict of ndarray
        deltas : ndarray of shape (n_rows, n_units)
            Gradient with respect to the outputs.

        Returns
        -------
        gradient : ndarray of shape (n_rows, n_inputs)
        """
        return deltas

    def onnx(self, g, x, arrays):
        """Add the layer to an ONNX graph.

        Parameters
        ----------
        g : callable
            ``g(operator, *inputs)`` adds an operator and returns the name of its output.
        x : str
            Name of the inputs.
        arrays : dict of ndarray

        Returns
        -------
        name : str
            Name of the outputs.
        """
        return x
