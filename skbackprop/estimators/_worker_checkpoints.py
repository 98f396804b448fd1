"""Checkpoints of a training on several workers, from which it goes on after a worker was lost.

Between two epochs the state of a training is the same on all workers, so that each keeps it on its own, and nothing is
sent while all goes well. Only the order of a worker's rows differs, and is drawn again.
"""

import pickle
import time
from contextlib import suppress
from types import SimpleNamespace

import numpy as np

from skbackprop.training.warned import warn

__all__ = ["WorkerCheckpoints"]

# Most of a training's time that its checkpoints may take.
_MOST_OF_TIME = 0.05


class WorkerCheckpoints:
    """What one worker knows of the checkpoints; all workers make it at the same time.

    Parameters
    ----------
    workers : Collective
    store : object
        Keeps this worker's newest checkpoint, which may be of an earlier attempt at the same training: `read` returns
        bytes, none if there is no checkpoint, and `write` takes bytes; both may raise OSError.
    seconds : float
        Least time between two checkpoints; infinite for none.

    Attributes
    ----------
    resumed : ResumedPart or None
        The training at the newest checkpoint of all workers; None to begin at the start.
    """

    def __init__(self, workers, store, seconds):
        self._store, self._seconds = store, seconds
        content, n_epochs = b"", -1
        with suppress(OSError, EOFError, pickle.UnpicklingError):
            content = store.read()
            n_epochs = pickle.loads(content)["attributes"]["n_iter_"]
        found = workers.gather(n_epochs)
        newest = int(np.argmax(found))
        self.resumed = None
        if found[newest] >= 0:
            # In bytes, so that threads of a process share no arrays.
            content = workers.gather(content if workers.rank == newest else None)[newest]
            self.resumed = ResumedPart(**pickle.loads(content))
        self._due = time.monotonic() + seconds

    def after_epochs(self, make_state):
        """Keep the state of the training if it is time to.

        Parameters
        ----------
        make_state : callable
            Returns the arguments of `ResumedPart` as a dict.
        """
        started = time.monotonic()
        if started < self._due:
            return
        try:
            self._store.write(pickle.dumps(make_state(), protocol=pickle.HIGHEST_PROTOCOL))
        except (OSError, MemoryError) as error:
            self._due = np.inf
            warn(
                f"A checkpoint could not be kept ({error}), so there will be no more of them. Training goes on; if a worker is lost, "
                "it begins again from the newest checkpoint that there is, or from the start."
            )
            return
        ended = time.monotonic()
        self._due = ended + max(self._seconds, (ended - started) / _MOST_OF_TIME)


class ResumedPart:
    """One worker's part in a training to resume.

    Parameters
    ----------
    attributes : dict
        Fitted attributes at the checkpoint: weights, progress and optimizer.
    first_random_state : tuple
        State of the generator that all workers share, before its first draw for this training.
    """

    #: A training that has ended has no checkpoint.
    finished = False

    def __init__(self, attributes, first_random_state):
        self.model = SimpleNamespace(**attributes)
        self.first_random_state = first_random_state

    def restore_order(self, fit, train_rows):
        """Repeat the draws of this worker's rows, and return their order in the last epoch."""
        order = train_rows
        for _ in range(self.model.n_iter_ if fit.model.shuffle else 0):
            order = fit.draw_orders(order, 1, fit.row_draws)[0]
        return order
