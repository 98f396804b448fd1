"""Plan of a training, the same on all devices: batches, blocks and calls, and what the backward pass needs kept."""

from dataclasses import dataclass

import numpy as np

__all__ = ["LEAST_NORMALIZED", "BatchPlan", "check_normalized", "plan_batches", "row_flops"]

#: Least rows of a mini-batch whose means and variances are taken.
LEAST_NORMALIZED = 2

# Maximum number of epochs per call.
_MAX_EPOCHS = 64


@dataclass(frozen=True)
class BatchPlan:
    """Decisions that a session makes before it allocates anything.

    Parameters
    ----------
    batch_size : int
        Rows per mini-batch.
    block_rows : int
        Rows of a batch that the workspace holds at a time.
    n_given, n_trained : int
        Rows per epoch, and how many of them are trained on.
    n_batches : int
        Batches per epoch.
    epoch_flops : float
        Operations per epoch: forward passes, backward passes and updates.
    max_epochs : int
        Maximum number of epochs per call, so that a call stays short.
    dropout : tuple of float
        Dropout rate of the inputs of each stage.
    keeps : tuple of bool
        Which hidden layers store their slopes for the backward pass.
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

    @property
    def bounds(self):
        """First row of each batch of an epoch, and the epoch's number of rows: ndarray of shape (n_batches + 1,)."""
        return np.minimum(np.arange(self.n_batches + 1) * self.batch_size, self.n_trained)

    def trained(self, order):
        """Restrict `order`, the order of the given rows epoch by epoch, to the rows that are trained on."""
        if self.n_trained == self.n_given:
            return order
        return np.ascontiguousarray(order.reshape(-1, self.n_given)[:, : self.n_trained]).reshape(-1)


def row_flops(network, density):
    """Count the multiplications and additions of one row's forward pass.

    Parameters
    ----------
    network : Network
    density : float
        Fraction of the inputs that is stored.

    Returns
    -------
    flops : float
    """
    first = network.layer_units[0] * network.layer_units[1]
    return 2.0 * (network.n_weights - first * (1.0 - density))


def check_normalized(batch_size, n_rows):
    """Raise ValueError if mini-batches of one row would be normalized.

    Parameters
    ----------
    batch_size, n_rows : int
        Rows per mini-batch and per epoch.
    """
    if min(batch_size, n_rows) < LEAST_NORMALIZED:
        raise ValueError(
            "normalization='batch' takes means over mini-batches of at least 2 rows, but here they have 1 sample: "
            "set a larger batch_size, or give more rows"
        )


def plan_batches(network, rows, batch_size, n_trained, penalties, trains, *, block_rows, call_flops, exchange=None):
    """Plan the batches of a training.

    Parameters
    ----------
    network : Network
    rows : Rows
    batch_size, n_trained : int
        Rows per mini-batch and per epoch.
    penalties : Penalties
    trains : bool
        False if only losses are computed.
    block_rows : callable
        Returns the device's rows per block for a given number of rows.
    call_flops : float
        Target operations per call on the device.
    exchange : Exchange or None, default=None
        Of several workers, on which batches have other numbers of rows, or none.

    Returns
    -------
    plan : BatchPlan

    Raises
    ------
    ValueError
        If mini-batches of one row would be normalized. A last mini-batch of one row is dropped instead.
    """
    normalizes_batches = network.over_batch and trains
    if exchange is not None:
        batch_size, n_trained = exchange.most_rows, max(n_trained, 1)
    batch_size, n_given = int(batch_size), n_trained
    if normalizes_batches and exchange is None:
        check_normalized(batch_size, n_trained)
        n_trained -= n_trained % batch_size == 1
    n_batches = -(-n_trained // batch_size)
    # An update takes about ten operations per parameter.
    batch_flops = 3.0 * row_flops(network, rows.density) * batch_size + 10.0 * network.n_params
    epoch_flops = batch_flops * n_batches
    dropout = penalties.dropout_by_stage(len(network.layout), network.n_front)
    return BatchPlan(
        batch_size=batch_size,
        # Batch normalization needs the whole batch in one block.
        block_rows=batch_size if normalizes_batches else block_rows(batch_size),
        n_given=n_given,
        n_trained=n_trained,
        n_batches=n_batches,
        epoch_flops=epoch_flops,
        max_epochs=int(max(1, min(_MAX_EPOCHS, call_flops // epoch_flops))),
        dropout=dropout,
        # With dropout, the slopes also store the factors of the kept units; with parametric activations, the mixture.
        keeps=tuple(
            network.parametric or kind.slope_of_input or rate > 0
            for (kind, _), rate in zip(network.activations, dropout[network.n_front + 1 :], strict=True)
        ),
    )
