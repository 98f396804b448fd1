"""How the rows of a training are cut into batches, blocks and calls, and what is kept for their backward pass: the same on all devices."""

from dataclasses import dataclass

import numpy as np

__all__ = ["BatchPlan", "plan_batches", "row_flops"]

# Epochs that one call runs at most.
_MAX_EPOCHS = 64


@dataclass(frozen=True)
class BatchPlan:
    """What a session decides before it allocates anything.

    Parameters
    ----------
    batch_size : int
        Rows of a mini-batch.
    block_rows : int
        Rows of a batch that the workspace holds.
    n_given, n_trained : int
        Rows of an epoch, and those of them that are trained on.
    n_batches : int
        Batches of an epoch.
    epoch_flops : float
        Operations of an epoch: of the rows' passes forward and backward, and of the updates.
    max_epochs : int
        Epochs that one call should run at most: all of them together are short.
    dropout : tuple of float
        Share of the inputs of each layer of weights that is dropped.
    keeps : tuple of bool
        Which hidden layers keep their slopes for the backward pass.
    """

    batch_size: int
    block_rows: int
    n_given: int
    n_trained: int
    n_batches: int
    epoch_flops: float
    max_epochs: int
    dropout: tuple
    keeps: tuple

    def trained(self, order):
        """The order of the rows that are trained on; `order` is that of those given, epoch by epoch."""
        if self.n_trained == self.n_given:
            return order
        return np.ascontiguousarray(order.reshape(-1, self.n_given)[:, : self.n_trained]).reshape(-1)


def row_flops(network, density):
    """Multiplications and additions of one row's forward pass.

    Parameters
    ----------
    network : Network
    density : float
        Stored share of the inputs.

    Returns
    -------
    flops : float
    """
    first = network.layer_units[0] * network.layer_units[1]
    return 2.0 * (network.n_weights - first * (1.0 - density))


def plan_batches(network, rows, batch_size, n_trained, penalties, trains, *, block_rows, call_flops):
    """Decide on the batches of a training.

    Parameters
    ----------
    network : Network
    rows : Rows
    batch_size, n_trained : int
        Rows of a mini-batch, and of an epoch.
    penalties : Penalties
    trains : bool
        Whether there is more to do than to compute losses.
    block_rows : callable
        A device's rows of a block, for a number of rows.
    call_flops : float
        Operations of a call on the device.

    Returns
    -------
    plan : BatchPlan

    Raises
    ------
    ValueError
        If a mini-batch of one row would be normalized. A last mini-batch of one row is left out instead.
    """
    batch_size, n_given = int(batch_size), n_trained
    normalizes_batches = network.over_batch and trains
    if normalizes_batches:
        if min(batch_size, n_trained) < 2:
            raise ValueError(
                "normalization='batch' takes means over mini-batches of at least 2 rows, but here they have 1 sample: "
                "set a larger batch_size, or give more rows"
            )
        n_trained -= n_trained % batch_size == 1
    n_batches = -(-n_trained // batch_size)
    # About ten operations a parameter for the update.
    batch_flops = 3.0 * row_flops(network, rows.density) * batch_size + 10.0 * network.n_params
    epoch_flops = batch_flops * n_batches
    dropout = penalties.dropout or (0.0,) * len(network.layout)
    return BatchPlan(
        batch_size=batch_size,
        # Means are taken over a whole batch.
        block_rows=batch_size if normalizes_batches else block_rows(batch_size),
        n_given=n_given,
        n_trained=n_trained,
        n_batches=n_batches,
        epoch_flops=epoch_flops,
        max_epochs=int(max(1, min(_MAX_EPOCHS, call_flops // epoch_flops))),
        dropout=dropout,
        # Where units are dropped, what was kept of them is kept with the slopes.
        keeps=tuple(
            kind.slope_of_input or rate > 0 for (kind, _), rate in zip(network.activations, dropout[1:], strict=True)
        ),
    )
