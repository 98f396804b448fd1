"""Translate an estimator's parameters into a network, penalties and an optimizer."""

from itertools import pairwise
from numbers import Integral, Real

import numpy as np

from skbackprop.backends import memory_limit
from skbackprop.functions.activations import ACTIVATIONS, Activation
from skbackprop.functions.input_layers import INPUT_LAYERS, InputLayer, bound_layers
from skbackprop.functions.normalizations import NORMALIZATIONS
from skbackprop.functions.optimizers import OPTIMIZERS
from skbackprop.functions.penalties import Penalties
from skbackprop.functions.schedules import SCHEDULES, Schedule
from skbackprop.network import Network
from skbackprop.training.progress import OptimizerState
from skbackprop.training.warned import warn

__all__ = [
    "accepted_dtypes",
    "accepted_sparse",
    "batch_rows",
    "check_memory",
    "choose_init",
    "choose_network",
    "choose_penalties",
    "choose_schedules",
    "hidden_units",
    "patience",
    "runs_to_the_end",
    "start_optimizer",
]

# Smaller networks are not checked, which saves small fits from looking up the memory limit. In bytes.
_ALWAYS_THERE = 1e8

# SciPy's L-BFGS-B stores ten pairs of vectors and a few more.
_LBFGS_VECTORS = 24

_SCIKIT_LEARN_SCHEDULES = ("constant", "invscaling", "adaptive")


def hidden_units(estimator):
    """Return the units of each hidden layer as a tuple of int; raise ValueError if `hidden_layer_sizes` is invalid."""
    sizes = estimator.hidden_layer_sizes
    sizes = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
    if any(not isinstance(size, Integral) or isinstance(size, bool) for size in sizes):
        raise ValueError(f"hidden_layer_sizes must be whole numbers, got {sizes}.")
    if any(size <= 0 for size in sizes):
        raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
    return tuple(int(size) for size in sizes)


def check_memory(estimator, n_units, dtype):
    """Raise ValueError if training the network needs more memory than there is, before any is allocated."""
    n_params = sum(fan_in * fan_out + fan_out for fan_in, fan_out in pairwise(n_units))
    # Weights, gradient, optimizer slots, the session's working copies, and the copies to restore from.
    n_slots = None if estimator.solver == "lbfgs" else OPTIMIZERS.get_function(estimator.solver).n_slots
    n_vectors = _LBFGS_VECTORS if n_slots is None else 4 + 3 * n_slots
    n_bytes = n_params * n_vectors * np.dtype(dtype).itemsize
    limit = memory_limit() if n_bytes > _ALWAYS_THERE else n_bytes
    if n_bytes > limit:
        raise ValueError(
            f"hidden_layer_sizes={estimator.hidden_layer_sizes!r} makes a network of {n_params:,} parameters; to train it takes at "
            f"least {n_bytes:,} bytes ({n_bytes / 2**30:,.1f} GiB), and this process may have {limit:,}. Choose smaller layers"
        )


def choose_network(estimator, n_units):
    """Return the network for these layer sizes, the estimator's functions, and the form of the loss for its targets."""
    n_hidden = len(n_units) - 2
    choice = estimator.activation
    if isinstance(choice, str | Activation):
        activations = (ACTIVATIONS.get_key(choice),) * n_hidden
    else:
        activations = tuple(ACTIVATIONS.get_key(one) for one in choice)
        if len(activations) != n_hidden:
            raise ValueError(
                f"activation has {len(activations)} entries, but hidden_layer_sizes={estimator.hidden_layer_sizes!r} makes "
                f"{n_hidden} hidden layers; give one for each, or a single one for all"
            )
    normalization = None
    if estimator.normalization is not None and n_hidden:
        normalization = NORMALIZATIONS.get_key(estimator.normalization)
        if not normalization[0].over_batch and 1 in n_units[1:-1]:
            raise ValueError(
                f"normalization={estimator.normalization!r} takes means over the units of a layer, and hidden_layer_sizes="
                f"{estimator.hidden_layer_sizes!r} has a layer of one, which it would make constant; use two or more"
            )
    inputs = bound_layers(input_layers(estimator), n_units[0])
    parametric = bool(estimator.parametric_activation and n_hidden)
    return Network.cached(n_units, activations, estimator._targets.loss_key(), normalization, inputs, parametric)


def input_layers(estimator):
    """Return the layers in front of the first dense one that the parameters choose.

    Parameters
    ----------
    estimator : BaseBackprop

    Returns
    -------
    layers : sequence of InputLayer
    """
    choice = estimator.input_layers
    if choice is None:
        return ()
    choices = [choice] if isinstance(choice, str | InputLayer) else choice
    return [INPUT_LAYERS.get_function(one) for one in choices]


def accepted_dtypes(estimator):
    """Return NumPy's dtypes that validation keeps; it converts others to the first one."""
    return (np.float64, np.float32) if estimator.dtype is None else np.dtype(estimator.dtype)


def accepted_sparse(estimator):
    """Return the format of sparse data that the network takes, as validation wants to know it; False for none."""
    return "csr" if estimator.input_layers is None else False


def choose_init(estimator):
    """`weight_init`, with what 'auto' means for the parametrization."""
    name, parametrization = estimator.weight_init, estimator.parametrization
    is_auto = isinstance(name, str) and name == "auto"
    return parametrization if is_auto and parametrization != "standard" else name


def choose_penalties(estimator, network):
    """Penalties, dropout, limits and groups of parameters for a network."""
    n_layers = len(network.layer_units) - 1
    rates = estimator.dropout
    if isinstance(rates, Real):
        rates = (0.0, *(float(rates),) * (n_layers - 1))
    if len(rates) != n_layers or not all(isinstance(rate, Real) and 0 <= rate < 1 for rate in rates):
        raise ValueError(
            f"dropout={estimator.dropout!r} must be a number from 0 to below 1 for all hidden layers, or a sequence of {n_layers} "
            "of them, for the inputs and for each hidden layer"
        )
    rates = tuple(float(rate) for rate in rates)
    if rates[0] > 0 and estimator.input_layers is not None:
        raise ValueError(
            f"dropout={estimator.dropout!r} drops inputs, which does not go together with input_layers="
            f"{estimator.input_layers!r}: set the first of the rates to 0"
        )
    # Booleans are refused: in a mask, True and False would be read as the layers 1 and 0.
    are_layers = (
        isinstance(layer, Integral) and not isinstance(layer, bool) and -n_layers <= layer < n_layers
        for layer in estimator.frozen_layers
    )
    if not all(are_layers):
        raise ValueError(
            f"frozen_layers={estimator.frozen_layers!r} must be numbers of layers of weights, from 0 to {n_layers - 1} here"
        )
    return Penalties(
        alpha=float(estimator.alpha),
        l1_ratio=float(estimator.l1_ratio),
        dropout=rates if any(rates) else (),
        clip_norm=estimator.clip_norm,
        clip_value=estimator.clip_value,
        max_norm=estimator.max_norm,
        average=estimator.averaging,
        frozen=tuple(range(n_layers)[layer] for layer in estimator.frozen_layers),
        groups=_choose_groups(estimator, network),
    )


def _choose_groups(estimator, network):
    """The groups of the parameters of each stage; empty if all have the same rate."""
    if estimator.parametrization == "standard":
        return ()
    solver = estimator.solver
    degree = 0 if solver == "lbfgs" else OPTIMIZERS.get_function(solver).gradient_degree
    return tuple(first.parameter_groups(estimator.parametrization, degree) for first, *_ in network.stages)


def choose_schedules(estimator):
    """The schedules of the dropout and of the weight decay; None for one that has none."""
    found = []
    for name in ("dropout_schedule", "weight_decay_schedule"):
        choice = getattr(estimator, name)
        schedule = None if choice is None else SCHEDULES.get_function(choice)
        if schedule is not None and type(schedule).on_plateau is not Schedule.on_plateau:
            raise ValueError(
                f"{name}={choice!r} responds to plateaus, which are the learning rate's: choose one that follows the updates, such "
                "as 'flat_cosine'"
            )
        found.append(schedule)
    return tuple(found)


def start_optimizer(estimator, params):
    """Return the initial state of an optimizer for these network parameters."""
    solver, schedule = estimator.solver, estimator.learning_rate
    optimizer = OPTIMIZERS[solver].from_parameters(vars(estimator)) if isinstance(solver, str) else solver
    if solver == "adam" and schedule in _SCIKIT_LEARN_SCHEDULES:
        # As in scikit-learn, where these schedules apply to 'sgd' only.
        schedule = "constant"
    return OptimizerState.start(
        OPTIMIZERS.get_function(optimizer),
        SCHEDULES.get_function(schedule),
        estimator.learning_rate_init,
        estimator.power_t,
        estimator.max_iter,
        params,
        averages=estimator.averaging is not None,
    )


def batch_rows(estimator, n_rows):
    """Return the number of rows of a mini-batch for `n_rows` training rows; warn if `batch_size` is clipped."""
    if estimator.batch_size == "auto":
        return min(200, n_rows)
    if estimator.batch_size > n_rows:
        warn(
            f"Got `batch_size` less than 1 or larger than sample size. It is going to be clipped: {estimator.batch_size} to "
            f"{n_rows}."
        )
    return min(estimator.batch_size, n_rows)


def patience(estimator, schedule):
    """Return `n_iter_no_change`, or infinity if its default would stop before a schedule that spans `max_iter` ends."""
    is_default = estimator.n_iter_no_change == 10 and not estimator.early_stopping
    return np.inf if is_default and schedule.ends_with_max_iter else estimator.n_iter_no_change


def runs_to_the_end(estimator, schedule):
    """Whether training is meant to end after `max_iter` epochs, so that reaching it is no sign of non-convergence."""
    return estimator.n_iter_no_change == np.inf or schedule.ends_with_max_iter
