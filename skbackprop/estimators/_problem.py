"""The state of a fit after validation: a network, its weights, and the data."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from skbackprop.backends import Backend, get_backend
from skbackprop.backends.data import Rows, as_rows
from skbackprop.estimators._arrays import as_numpy
from skbackprop.estimators._choices import check_memory, choose_init, choose_network, hidden_units
from skbackprop.estimators._state import (
    check_same_layers,
    flat_state,
    given_state,
    layer_attributes,
    layer_units,
    reset_state,
    state_attributes,
    take_targets,
)
from skbackprop.estimators._validation import HeldOut, split_off
from skbackprop.estimators._workers import count
from skbackprop.functions.penalties import Penalties
from skbackprop.network import Network

__all__ = ["Problem", "make_problem"]


@dataclass
class Problem:
    """A network, the weights that training updates, and the data.

    Parameters
    ----------
    backend : Backend
        Backend that trains and predicts.
    network : Network
    params : ndarray of shape (n_params,)
        Updated by training, as `running`.
    running : ndarray of shape (n_running,), float64
    rows : Rows
        All rows, including those split off for validation.
    targets : ndarray of shape (n_rows, n_targets)
        In the model's dtype.
    loss_weight : ndarray of shape (n_rows,) or None
        Sample weights times class weights.
    train_rows : ndarray of int64
        Indices of the training rows.
    held_out : HeldOut or None
        Validation rows.
    workers : Collective or None, default=None
        All workers of a training on several, which have other rows; the data here are this worker's.
    """

    backend: Backend
    network: Network
    params: np.ndarray
    running: np.ndarray
    rows: Rows
    targets: np.ndarray
    loss_weight: np.ndarray | None
    train_rows: np.ndarray
    held_out: HeldOut | None
    workers: Any = None

    def count_trained(self):
        """Return the number of training rows, those of other workers included."""
        return int(count(len(self.train_rows), self.workers))

    def predict(self, rows, n_jobs, params=None):
        """Predict rows with the current weights or with `params`."""
        params = self.params if params is None else params
        return self.backend.predict(self.network, params, rows, n_jobs, running=self.running)

    def session(self, batch_size, n_jobs, penalties, seed=0):
        """Return a session that trains on these data.

        Parameters
        ----------
        batch_size : int
        n_jobs : int or None
        penalties : Penalties
        seed : int, default=0
            Seed of the dropout.

        Returns
        -------
        session : Session
        """
        return self.backend.Session(
            self.network,
            self.params.dtype,
            self.rows,
            self.targets,
            self.loss_weight,
            batch_size,
            len(self.train_rows),
            n_jobs,
            penalties,
            seed,
            **self._shared,
        )

    def validation_session(self, n_jobs):
        """Return a session for the losses of validation rows that are not among `rows`."""
        held_out = self.held_out
        n_rows = len(held_out.targets)
        return self.backend.Session(
            self.network,
            self.params.dtype,
            held_out.rows,
            held_out.targets,
            held_out.loss_weight,
            n_rows,
            n_rows,
            n_jobs,
            Penalties(),
            trains=False,
            **self._shared,
        )

    @property
    def _shared(self):
        return {} if self.workers is None else {"workers": self.workers}


def make_problem(fit, inputs):
    """Draw the network's weights, or take the current ones, and split off validation rows.

    Parameters
    ----------
    fit : Fit
        Attributes that describe the network are set on its model.
    inputs : Inputs

    Returns
    -------
    problem : Problem
    """
    model, dtype, encoded = fit.model, inputs.dtype, inputs.encoded
    # According to the current parameters.
    targets = model._targets
    n_units = (inputs.X.shape[1], *hidden_units(model), targets.n_outputs(encoded.shape[1]))
    check_memory(model, n_units, dtype)
    network = choose_network(model, n_units)
    rows = as_rows(inputs.X, dtype)
    _check_codes(network, rows, "X")
    if inputs.held_out is not None:
        _check_codes(network, inputs.held_out.rows, "X_val")
    if fit.first_pass:
        params, running = np.empty(network.n_params, dtype=dtype), network.initial_running()
        _draw_weights(choose_init(model), network, fit.random_state, params, running)
        reset_state(model)
    else:
        _check_same_network(model, network, targets)
        params, running = flat_state(model, network, dtype)
        # Train on a copy: the current arrays may be read-only or shared.
        params = np.array(params)
    vars(model).update(state_attributes(network, params, running) | layer_attributes(network, targets))
    fit.begin_row_draws()
    train_rows, held_out = np.arange(inputs.n_own), inputs.held_out
    if inputs.splits:
        train_rows, held_out = split_off(inputs, model.validation_fraction, fit.row_draws, fit.workers)
    if rows.mapped is not None:
        fit.draw_in_blocks(train_rows, rows.mapped)
    if fit.first_pass:
        weight = inputs.arguments.sample_weight
        weight = None if weight is None else weight[train_rows]
        targets = targets.fit_units(encoded[train_rows], weight, dtype, fit.workers)
        take_targets(model, targets)
    in_units = targets.in_units(encoded, dtype)
    if held_out is not None:
        held_out.targets = targets.in_units(held_out.targets, dtype)
    if fit.first_pass and model.output_bias == "prior":
        weight = None if inputs.loss_weight is None else inputs.loss_weight[train_rows]
        model.intercepts_[-1][:] = targets.prior_outputs(in_units[train_rows].astype(np.float64), weight, fit.workers)
    backend = get_backend(inputs.device, 6.0 * len(train_rows) * network.n_weights, model.precision)
    model.device_ = backend.device
    return Problem(
        backend, network, params, running, rows, in_units, inputs.loss_weight, train_rows, held_out, fit.workers
    )


def _check_codes(network, rows, name):
    """Raise ValueError if an input layer takes numbers as codes of categories that cannot be any."""
    for column in network.code_columns if not rows.is_sparse else ():
        if column < 0:
            raise ValueError(
                "an input layer takes as codes of categories what another one before it has made of a column: columns are counted "
                "among the outputs of the layer before; put layers that take codes first"
            )
        codes = as_numpy(rows.X[:, column])
        wrong = codes[codes != np.floor(codes)]
        if len(wrong):
            raise ValueError(
                f"column {column} of {name} has {wrong[0]:g}, and an input layer that takes codes of categories, which are whole "
                "numbers from 0, or -1 for none: encode the column by sklearn.preprocessing.OrdinalEncoder, or take it out of "
                "the layer's columns"
            )


def _draw_weights(given, network, random_state, params, running):
    """Draw initial weights by the initializer of this name, or copy those of another network."""
    if not isinstance(given, str):
        params[:], given_running = given_state(given, network, params.dtype, random_state)
        if given_running is not None:
            running[:] = given_running
        return
    network.draw(params, given, random_state)


def _check_same_network(model, network, targets):
    """Raise ValueError if the fitted network does not match the current parameters."""
    fitted = [*layer_units(model)]
    if list(network.layer_units) != fitted:
        raise ValueError(
            f"the fitted network has layers of {fitted} units, but this call asks for {list(network.layer_units)}; "
            "warm_start and partial_fit go on with the fitted network: call fit with warm_start=False to start anew"
        )
    check_same_layers(model, network)
    if model._means_other_outputs(targets):
        raise ValueError(
            f"loss={model.loss!r} gives the network's outputs another meaning than the loss that it was fitted with; warm_start and "
            "partial_fit go on with the fitted network: call fit with warm_start=False to start anew"
        )
