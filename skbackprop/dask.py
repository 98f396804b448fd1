"""The estimators on Dask: they train where the partitions of arrays and dataframes are, and predict lazily."""

import asyncio
import copy
import threading
import time
import uuid
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeoutError  # the built-in one from Python 3.11 on
from contextlib import contextmanager, nullcontext, suppress
from inspect import Parameter, signature

import numpy as np
from scipy import sparse

from skbackprop._extras import how_to_install
from skbackprop.distributed import (
    MOST_RESTARTS,
    SECONDS_BETWEEN_CHECKPOINTS,
    MemoryStore,
    PartWriter,
    cause_of,
    fit_part,
)
from skbackprop.distributed._rabit import RabitCollective, Tracker, check_installed
from skbackprop.estimators import BackpropClassifier, BackpropRegressor
from skbackprop.estimators._state import NETWORK
from skbackprop.exceptions import WorkerLostError
from skbackprop.training.warned import WarningSummary, summarized, warn

try:
    import dask
    import distributed
    from dask.delayed import Delayed
except ImportError:
    raise ImportError(f"skbackprop.dask needs dask and distributed: {how_to_install('dask')}") from None

__all__ = ["DaskBackpropClassifier", "DaskBackpropRegressor"]

# How long a training that is begun again waits for workers that come back.
_SECONDS_TO_COME_BACK = 20
# How much longer if none is left.
_SECONDS_FOR_ONE = 300
# How often the client looks for lost workers, and how long the others have to notice that one was.
_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_TO_NOTICE = 30

#: Fitted attributes, which are all that a fit changes.
_FITTED = {entry.name for entry in NETWORK}
_ROWS_ARE_GONE = "a worker has begun anew, without the rows on its disk"
_ARGUMENTS = ("X", "y", "sample_weight", "X_val", "y_val", "sample_weight_val")


# On the workers.

#: Trackers of this process by the name of their training.
_trackers: dict[str, Tracker] = {}
#: Collectives of this process by the name of their training, from its announcement until it is stopped; a process may
#: have several of Dask's workers.
_collectives: dict[str, list[RabitCollective]] = {}
#: Checkpoints by the name of their fit, which may begin several trainings.
_stores: dict[str, MemoryStore] = {}
#: Parts on this process's disk by the name of their fit, and the number of their group; whether they are complete.
_written: dict[str, dict[int, tuple[PartWriter, bool]]] = {}
# The client's calls and Dask's tasks have threads of their own.
_lock = threading.Lock()


def _announce(fit, training):
    """Let tasks of a training begin in this process."""
    _stores.setdefault(fit, MemoryStore())
    _collectives.setdefault(training, [])


def _start_tracker(training, size, dask_worker):
    host = distributed.comm.get_address_host(dask_worker.address)
    _trackers[training] = Tracker(host, size)
    return _trackers[training].address


def _stop(training):
    """Make a training in this process fail at its next sum, and tasks of it that have not begun yet at once."""
    with _lock:
        for collective in _collectives.pop(training, ()):
            collective.stop()


def _forget(fit):
    _stores.pop(fit, None)
    for writer, _ in _written.pop(fit, {}).values():
        writer.close()


def _ranks_written(fit):
    """Return the numbers of the groups on this process's disk, to which more may be written from now on."""
    return sorted(rank for rank, (_, is_complete) in _written.setdefault(fit, {}).items() if is_complete)


def _write_partition(fit, rank, number, is_last, estimator, dtype, suffix, X, y, sample_weight):
    """Write a partition of a group to this worker's disk."""
    for name, one in (("y", y), ("sample_weight", sample_weight)):
        if one is not None:
            _check_lengths(f"{name}{suffix}", f"X{suffix}", one, X, f"number {number} of a worker's")
    own = _written.get(fit)
    if own is not None and number == 0:
        if rank in own:
            own[rank][0].close()
        own[rank] = PartWriter(distributed.get_worker().local_directory, estimator, dtype), False
    if own is None or rank not in own or own[rank][0].n_partitions != number:
        raise WorkerLostError(_ROWS_ARE_GONE)
    own[rank][0].append(X, y, sample_weight, suffix)
    own[rank] = own[rank][0], is_last


def _rows_on_disk(fit, rank):
    try:
        return _join(_written[fit][rank][0].parts())
    except KeyError:
        raise WorkerLostError(_ROWS_ARE_GONE) from None


def _close_tracker(training):
    tracker = _trackers.pop(training, None)
    if tracker is not None:
        tracker.close()


def _joined(parts):
    """Concatenate partitions; a single one is not copied, and of none there is None."""
    if not parts or len(parts) == 1:
        return parts[0] if parts else None
    filled = [part for part in parts if part.shape[0]] or parts[:1]
    if hasattr(filled[0], "iloc"):
        import pandas as pd

        return pd.concat(filled)
    if sparse.issparse(filled[0]):
        return sparse.vstack(filled, format="csr")
    return np.concatenate(filled)


def _rows_of(parts):
    """Join the partitions of one worker's arguments, which have to match."""
    for name, own in parts.items():
        base = "X_val" if name.endswith("_val") else "X"
        if own is None or parts[base] is None:
            continue
        for index, (one, other) in enumerate(zip(own, parts[base], strict=True)):
            _check_lengths(name, base, one, other, f"number {index} of a worker's {len(own)}")
    return _join(parts)


def _check_lengths(name, base, one, other, which):
    """Raise ValueError if a partition of an argument has not as many rows as that of the argument that it goes with."""
    if one.shape[0] != other.shape[0]:
        raise ValueError(
            f"a partition of {name} has {one.shape[0]} rows, and that of {base} {other.shape[0]} ({which}): give both the same "
            "partitions"
        )


def _join(parts):
    rows = {name: _joined(own) for name, own in parts.items()}
    return {name: own if own is None or name.startswith("X") else np.asarray(own) for name, own in rows.items()}


def _fit_groups(fit, training, estimator, address, size, groups, seconds):
    """Fit this worker's groups of partitions, in a thread each, of which the first keeps the process's checkpoints.

    Partitions of groups whose rows are on this worker's disk are None.

    Returns
    -------
    result : tuple of (BaseBackprop, list) or None
        The model and the warnings, if the first group is one of them.
    """
    results, collectives = {}, [RabitCollective(address, rank, size) for rank in groups]
    with _lock:
        # Dask may run a task long after the client has given it up, when nobody would stop it any more.
        if training not in _collectives:
            raise WorkerLostError("the training was over before this task began")
        _collectives[training] += collectives
        store = _stores[fit]
    summary = WarningSummary()

    def fit_group(collective, parts):
        rank = collective.rank
        try:
            with summarized(summary), collective:
                own = _rows_on_disk(fit, rank) if parts is None else _rows_of(parts)
                own |= {"store": store, "seconds": seconds if rank == min(groups) else np.inf}
                results[rank] = fit_part(copy.deepcopy(estimator), collective, **own)
        except BaseException as error:
            results[rank] = error

    threads = [threading.Thread(target=fit_group, args=pair) for pair in zip(collectives, groups.values(), strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    errors = [results[rank] for rank in sorted(results) if isinstance(results[rank], BaseException)]
    if errors:
        raise cause_of(errors)
    return (results[0], summary.messages()) if 0 in results else None


def _predict_part(part, model, method, columns):
    """Predict a partition; in a dataframe, if it is one."""
    predictions = getattr(model, method)(part) if part.shape[0] else _sample(model, method)[:0]
    if columns is None:
        return predictions
    import pandas as pd

    if predictions.ndim == 1:
        return pd.Series(predictions, index=part.index)
    return pd.DataFrame(predictions, index=part.index, columns=columns)


def _sample(model, method):
    """Return what a method predicts for one row, to learn its form."""
    row = np.zeros((1, model.n_features_in_), dtype=model.coefs_[0].dtype)
    if hasattr(model, "feature_names_in_"):
        import pandas as pd

        row = pd.DataFrame(row, columns=model.feature_names_in_)
    predictions = getattr(model, method)(row)
    if isinstance(predictions, list):
        raise ValueError(
            f"{method} gives a list for several columns of classes: use to_local().{method} on each partition"
        )
    return predictions


def _score_part(model, X, y, sample_weight, mean):
    """Return sums from which a score is computed: of weights, and of hits; or of targets, or of squares."""
    if not X.shape[0]:
        return 0.0
    y = np.asarray(y)
    weight = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    if hasattr(model, "classes_"):
        return np.array([weight.sum(), weight.sum() * model.score(X, y, sample_weight)])
    y = y.reshape(len(y), -1).astype(np.float64)
    if mean is None:
        return np.vstack([np.full(y.shape[1], weight.sum()), weight @ y])
    targets = model._targets
    predictions = model.predict(X).reshape(len(y), -1)
    if predictions.shape[1] != y.shape[1]:
        predictions = targets.points(predictions)
    return np.vstack([weight @ (y - predictions) ** 2, weight @ (y - mean) ** 2])


# On the client.


def _is_distributed(X):
    return dask.is_dask_collection(X) or (
        isinstance(X, list | tuple) and len(X) > 0 and all(isinstance(part, Delayed) for part in X)
    )


def _blocks(collection, name):
    """Return the partitions of a collection, as delayed objects."""
    if isinstance(collection, list | tuple) and all(isinstance(part, Delayed) for part in collection):
        return list(collection)
    if not dask.is_dask_collection(collection) or not hasattr(collection, "to_delayed"):
        raise TypeError(
            f"{name} has to be a Dask Array, a Dask DataFrame or a list of delayed partitions, as X is, got {type(collection).__name__}"
        )
    if getattr(collection, "ndim", 1) == 2 and hasattr(collection, "chunks") and len(collection.chunks[1]) > 1:
        collection = collection.rechunk({1: -1})
    return np.ravel(collection.to_delayed()).tolist()


def _aligned(y, X):
    """Cut an array of targets or weights like the rows, where both know their chunks."""
    chunks = getattr(X, "chunks", None), getattr(y, "chunks", None)
    if (
        None in chunks
        or np.isnan(np.sum(chunks[0][0]))
        or np.isnan(np.sum(chunks[1][0]))
        or chunks[0][0] == chunks[1][0]
    ):
        return y
    return y.rechunk({0: chunks[0][0]})


def _all_blocks(arguments):
    """Return the partitions of all arguments, which have to match.

    Returns
    -------
    blocks : dict of list of Delayed, or of None
    """
    blocks = {}
    for name, given in arguments.items():
        base = arguments["X_val" if name.endswith("_val") else "X"]
        blocks[name] = None if given is None else _blocks(given if given is base else _aligned(given, base), name)
        reference = blocks["X_val" if name.endswith("_val") else "X"]
        if given is not None and reference is not None and len(blocks[name]) != len(reference):
            raise ValueError(
                f"{name} has {len(blocks[name])} partitions, and its rows {len(reference)}: give both the same partitions"
            )
    return blocks


@contextmanager
def _computed_parts(client, blocks):
    """Compute the partitions of all arguments, wherever Dask likes, and let go of them at the end.

    Yields
    ------
    parts : dict of list of Future, or of None
    """
    flat = client.compute([block for own in blocks.values() for block in own or ()])
    try:
        distributed.wait(flat)
        for future in flat:
            if future.status != "finished":
                future.result()  # raises the error of a partition that could not be computed
        futures = iter(flat)
        yield {name: None if own is None else [next(futures) for _ in own] for name, own in blocks.items()}
    finally:
        # An error, which somebody may keep, has them in its traceback.
        for future in flat:
            future.release()


def _grouped(parts, n_groups):
    """Divide the partitions into groups of neighbours: the sums of a training depend on these, and on nothing else.

    Returns
    -------
    groups : list of dict
        Partitions by argument.
    """
    groups = [{} for _ in range(n_groups)]
    for name, own in parts.items():
        n_parts = 0 if own is None else len(own)
        for rank, group in enumerate(groups):
            first, last = rank * n_parts // n_groups, (rank + 1) * n_parts // n_groups
            group[name] = None if own is None else own[first:last]
    return groups


def _assigned(client, groups, workers):
    """Assign each group to a worker, preferably the one that has most of its partitions.

    Returns
    -------
    assigned : dict of list of int
        Numbers of groups by address.
    """
    if not workers:
        raise WorkerLostError("the cluster has lost all of its workers")
    has = client.who_has([future for group in groups for own in group.values() for future in own or ()])
    wanted = [
        (-sum(address in has[future.key] for own in group.values() for future in own or ()), rank, address)
        for rank, group in enumerate(groups)
        for address in workers
    ]
    most = -(-len(groups) // len(workers))
    assigned, left = {address: [] for address in workers}, set(range(len(groups)))
    for _, rank, address in sorted(wanted):
        if rank in left and len(assigned[address]) < most:
            assigned[address].append(rank)
            left.remove(rank)
    return {address: sorted(ranks) for address, ranks in assigned.items() if ranks}


def _workers(client):
    # Not of `scheduler_info`, which another thread of the client overwrites now and then by one that lists no workers.
    return sorted(client.nthreads())


def _check_there(client, workers):
    """Raise WorkerLostError if Dask has lost a worker: tasks that only this one may run would wait forever."""
    lost = set(workers).difference(_workers(client))
    if lost:
        raise WorkerLostError(f"Dask lost {', '.join(sorted(lost))}")


def _train(client, estimator, arguments, external_memory):
    """Train, and go on from the newest checkpoint if a worker is lost; return the model and its warnings."""
    fit = f"skbackprop-fit-{uuid.uuid4().hex}"
    try:
        return _train_with_restarts(client, fit, estimator, arguments, external_memory)
    finally:
        _run_on(client, _workers(client), _forget, fit)


def _train_with_restarts(client, fit, estimator, arguments, external_memory):
    n_workers = len(_workers(client))
    if not n_workers:
        raise RuntimeError(f"the cluster of {client!r} has no workers")
    for is_last in [False] * MOST_RESTARTS + [True]:
        blocks = _all_blocks(arguments)
        n_groups = min(n_workers, len(blocks["X"]))
        with nullcontext() if external_memory else _computed_parts(client, blocks) as parts:
            if external_memory:
                assigned = _write_groups(client, fit, estimator, _grouped(blocks, n_groups), n_workers)
                groups = dict.fromkeys(range(n_groups))
            else:
                assigned, groups = None, _grouped(parts, n_groups)
            try:
                return _train_once(client, fit, estimator, groups, assigned)
            except (WorkerLostError, OSError, distributed.KilledWorker) as error:
                if is_last:
                    raise WorkerLostError(
                        f"workers were lost in {MOST_RESTARTS + 1} trainings in a row; the last one ended with: {error}"
                    ) from error
        _wait_for_workers(client, n_workers)
    raise AssertionError  # the last turn returns or raises


def _wait_for_workers(client, n_workers):
    """Wait until a worker that was lost has come back, but not forever."""
    try:
        client.wait_for_workers(n_workers, timeout=_SECONDS_TO_COME_BACK)
    except TimeoutError:
        # Those that are left train the same groups, with the same bits.
        _wait_for_one(client)


def _wait_for_one(client):
    try:
        client.wait_for_workers(1, timeout=_SECONDS_FOR_ONE)
    except TimeoutError:
        seconds = _SECONDS_TO_COME_BACK + _SECONDS_FOR_ONE
        raise WorkerLostError(f"all workers were lost, and none has come back in {seconds:g} seconds") from None


def _write_groups(client, fit, estimator, groups, n_workers):
    """Have workers write the groups that none of them has on its disk.

    Returns
    -------
    assigned : dict of list of int
        Numbers of groups by address.
    """
    error = None
    # Each turn also sees what the last one has written.
    for n_written in range(MOST_RESTARTS + 2):
        assigned = client.run(_ranks_written, fit, workers=_workers(client), on_error="ignore")
        missing = set(range(len(groups))).difference(*assigned.values())
        if not missing:
            return {address: ranks for address, ranks in assigned.items() if ranks}
        if n_written > MOST_RESTARTS:
            break
        homes = {}
        for rank in sorted(missing):
            homes[rank] = min(assigned, key=lambda address: (len(assigned[address]), address))
            assigned[homes[rank]].append(rank)
        try:
            _write(client, fit, estimator, homes, groups)
        except WorkerLostError as lost:
            error = lost
            _wait_for_workers(client, n_workers)
    raise WorkerLostError(
        f"workers were lost {MOST_RESTARTS + 1} times in a row while external_memory=True wrote rows to their disks; the last time: "
        f"{error}"
    ) from error


def _write(client, fit, estimator, homes, groups):
    """Have workers compute and write partitions of groups, of each group one at a time, so that no more are in memory."""
    dtype = estimator.coefs_[0].dtype if hasattr(estimator, "coefs_") else None
    checker = type(estimator)(dtype=estimator.dtype)
    left = {rank: _steps(groups[rank]) for rank in homes}
    futures = {}
    # Of an own name: Dask may still know the tasks of workers that were lost, which only those can run.
    writing = f"skbackprop-write-{uuid.uuid4().hex}"
    try:
        while left or futures:
            for rank in left.keys() - futures.keys():
                number, is_last, suffix, partition = next(left[rank])
                if is_last:
                    del left[rank]
                step = dask.delayed(_write_partition)(
                    fit,
                    rank,
                    number,
                    is_last,
                    checker,
                    dtype,
                    suffix,
                    *partition,
                    dask_key_name=f"{writing}-{rank}-{number}",
                )
                futures[rank] = client.compute(step, workers=[homes[rank]], allow_other_workers=False)
            with suppress(TimeoutError, CancelledError):
                distributed.wait(list(futures.values()), _SECONDS_BETWEEN_LOOKS, "FIRST_COMPLETED")
            _check_there(client, [homes[rank] for rank in futures])
            for rank, future in list(futures.items()):
                if future.status == "pending":
                    continue
                try:
                    future.result()
                except (CancelledError, distributed.KilledWorker) as error:
                    raise WorkerLostError(f"a partition could not be written: {error}") from error
                future.release()
                del futures[rank]
    finally:
        client.cancel(list(futures.values()))


def _steps(group):
    """Yield the partitions of a group in order: their numbers, whether it is the last one, and its arguments."""
    kinds = [suffix for suffix in ("", "_val") if group[f"X{suffix}"] is not None]
    steps = [(suffix, index) for suffix in kinds for index in range(len(group[f"X{suffix}"]))]
    for number, (suffix, index) in enumerate(steps):
        own = [group[f"{name}{suffix}"] for name in ("X", "y", "sample_weight")]
        yield number, number == len(steps) - 1, suffix, [None if blocks is None else blocks[index] for blocks in own]


def _train_once(client, fit, estimator, groups, assigned):
    """Train once, where the groups are assigned or else belong; return the first group's result."""
    training = f"skbackprop-{uuid.uuid4().hex}"
    if assigned is None:
        assigned = _assigned(client, groups, _workers(client))
    # Two trainings at a time on the same workers would wait for each other.
    with distributed.MultiLock(sorted(assigned), client=client):
        futures = {}
        try:
            client.run(_announce, fit, training, workers=list(assigned))
            first = next(worker for worker, ranks in assigned.items() if 0 in ranks)
            address = client.run(_start_tracker, training, len(groups), workers=[first])[first]
            for worker, ranks in assigned.items():
                futures[worker] = client.submit(
                    _fit_groups, fit, training, estimator, address, len(groups), {rank: groups[rank] for rank in ranks},
                    SECONDS_BETWEEN_CHECKPOINTS,
                    key=f"{training}-{ranks[0]}", workers=[worker], allow_other_workers=False, pure=False, retries=0,
                )  # fmt: skip
            _await(client, futures)
            return _fetched(client, futures[first], first)
        finally:
            # Also after Ctrl-C: a task that runs cannot be cancelled, but its next sum fails.
            _run_on(client, assigned, _stop, training)
            # Before the tasks are waited for: some may wait to join.
            _run_on(client, assigned, _close_tracker, training)
            with suppress(TimeoutError, CancelledError):
                there = _workers(client)
                left = [future for worker, future in futures.items() if worker in there]
                distributed.wait(left, timeout=_SECONDS_TO_NOTICE)
            client.cancel(list(futures.values()))


def _run_on(client, workers, function, training):
    """Call a function on those of the workers that are left."""
    left = sorted(set(workers).intersection(_workers(client)))
    with suppress(OSError):  # one is lost at this very moment
        client.run(function, training, workers=left, on_error="ignore")


def _await(client, futures):
    """Wait until the tasks of all workers have finished; raise the error that was the cause of the others."""
    deadline = np.inf
    while True:
        pending = [future for future in futures.values() if future.status == "pending"]
        with suppress(TimeoutError, CancelledError):
            distributed.wait(pending, timeout=_SECONDS_BETWEEN_LOOKS)
        states = [future.status for future in futures.values()]
        errors = [future.exception() for future in futures.values() if future.status == "error"]
        for error in errors:
            if not isinstance(error, WorkerLostError | distributed.KilledWorker):
                raise error
        if set(states) == {"finished"}:
            return
        _check_there(client, futures)
        if set(states) <= {"finished", "pending"}:
            continue
        # What another worker says in a moment may be the cause.
        deadline = min(deadline, time.monotonic() + _SECONDS_TO_NOTICE)
        if "pending" not in states or time.monotonic() > deadline:
            raise errors[0] if errors else WorkerLostError(f"tasks ended as {', '.join(states)}")


def _fetched(client, future, worker):
    """Return the result of a task, which is lost if its worker is lost now."""
    result = asyncio.run_coroutine_threadsafe(client.gather(future, asynchronous=True), client.loop.asyncio_loop)
    try:
        while True:
            with suppress(FutureTimeoutError):
                return result.result(timeout=_SECONDS_BETWEEN_LOOKS)
            _check_there(client, [worker])
    finally:
        result.cancel()


def _fitted_of(model):
    return {name: value for name, value in vars(model).items() if name in _FITTED}


class _OnDask:
    """What the classifier and the regressor share: fits and predictions of Dask's collections.

    Parameters
    ----------
    *arguments
        Positional parameters of the local estimator.
    client : distributed.Client or None, default=None
        None for the current one. It is no parameter of the estimator: clones and pickles do not have it.
    external_memory : bool, default=False
        Whether workers write their rows to disk, and read them anew in each epoch.
    **parameters
        Further parameters of the local estimator.
    """

    #: The estimator on one machine.
    _local: type

    def __init_subclass__(cls, **settings):
        super().__init_subclass__(**settings)

        def __init__(self, *arguments, client=None, external_memory=False, **parameters):  # noqa: N807
            cls._local.__init__(self, *arguments, **parameters)
            self.client = client
            self.external_memory = external_memory

        # scikit-learn reads names and defaults of parameters off the constructor.
        local = signature(cls._local.__init__)
        own = [
            Parameter("client", Parameter.KEYWORD_ONLY, default=None),
            Parameter("external_memory", Parameter.KEYWORD_ONLY, default=False),
        ]
        __init__.__signature__ = local.replace(parameters=[*local.parameters.values(), *own])
        cls.__init__ = __init__
        cls._parameter_constraints = cls._parameter_constraints | {"external_memory": ["boolean"]}

    @classmethod
    def _get_param_names(cls):
        return sorted([*cls._local._get_param_names(), "external_memory"])

    def _local_params(self):
        return {name: getattr(self, name) for name in self._local._get_param_names()}

    def __getstate__(self):
        return {name: value for name, value in super().__getstate__().items() if name != "client"}

    def __setstate__(self, state):
        super().__setstate__({"external_memory": False, **state})
        self.client = None

    @property
    def _client(self):
        return distributed.get_client() if self.client is None else self.client

    def to_local(self):
        """Return the estimator on one machine, with the same parameters and fitted attributes.

        Returns
        -------
        estimator : BackpropClassifier or BackpropRegressor
        """
        local = self._local(**self._local_params())
        vars(local).update(_fitted_of(self))
        return local

    def save(self, path):
        """Save the fitted estimator on one machine, see :meth:`to_local`, to a file that is safe to load.

        Parameters
        ----------
        path : str or path-like
            File name.
        """
        self.to_local().save(path)

    def fit(self, X, y, sample_weight=None, *, X_val=None, y_val=None, sample_weight_val=None):
        """Fit the network to partitions, where they are; arrays and dataframes of this process are fitted in it.

        Parameters
        ----------
        X : {Dask Array, Dask DataFrame, list of Delayed} of shape (n_samples, n_features)
            Training data. Blocks of arrays may be sparse matrices of SciPy's, unless `external_memory` is set; sizes of
            chunks may be unknown.
        y : {Dask Array, Dask DataFrame, Dask Series, list of Delayed} of shape (n_samples,) or (n_samples, n_outputs)
            Target values, in the same partitions.
        sample_weight : {Dask Array, Dask Series, list of Delayed} of shape (n_samples,), default=None
            Non-negative sample weights; None for equal weights.
        X_val, y_val, sample_weight_val : default=None
            Validation data for `early_stopping` or `restore_best_weights`, in partitions as well.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If an argument is invalid, or partitions do not match, or if the loss or a weight becomes non-finite.
        OSError
            If a worker's disk is full.
        WorkerLostError
            If workers were lost again and again; the estimator is as it was before.
        """
        given = X, y, sample_weight, X_val, y_val, sample_weight_val
        if not _is_distributed(X):
            return super().fit(*given[:3], X_val=X_val, y_val=y_val, sample_weight_val=sample_weight_val)
        check_installed()
        self._validate_params()
        estimator = self.to_local() if self.warm_start else self._local(**self._local_params())
        client = self._client
        # Dask's own functions, such as `wait`, take the current one.
        with client.as_current():
            arguments = dict(zip(_ARGUMENTS, given, strict=True))
            model, caught = _train(client, estimator, arguments, self.external_memory)
        for name in _FITTED & vars(self).keys():
            delattr(self, name)
        vars(self).update(_fitted_of(model))
        for message, category in caught:
            warn(message, category)
        return self

    def _lazily(self, method, X, **settings):
        """Predict a collection lazily; others, and single partitions on the workers, as on one machine."""
        if not _is_distributed(X):
            return getattr(super(), method)(X, **settings)
        model = self.to_local()
        sample = _sample(model, method)
        shared = dask.delayed(model)
        if isinstance(X, list | tuple):
            predict = dask.delayed(_predict_part)
            return [predict(part, shared, method, None) for part in X]
        if not hasattr(X, "chunks"):
            columns = None if sample.ndim == 1 else self._columns(sample)
            meta = _predict_part(X._meta_nonempty, model, method, columns or ())
            return X.map_partitions(_predict_part, shared, method, columns or (), meta=meta)
        X = X if len(X.chunks[1]) == 1 else X.rechunk({1: -1})
        form = {"drop_axis": 1} if sample.ndim == 1 else {"chunks": (X.chunks[0], (sample.shape[1],))}
        return X.map_blocks(_predict_part, shared, method, None, dtype=sample.dtype, meta=sample[:0], **form)

    def _columns(self, sample):
        """Names of the columns of predictions."""
        n_columns = sample.shape[1]
        classes = getattr(self, "classes_", ())
        return list(classes) if len(classes) == n_columns else list(range(n_columns))

    def score(self, X, y, sample_weight=None):
        """Compute the estimator's score on all partitions: the accuracy, or the coefficient of determination.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.

        Returns
        -------
        score : float
        """
        if not _is_distributed(X):
            return super().score(X, y, sample_weight)
        model, client = dask.delayed(self.to_local()), self._client
        parts = [_blocks(X, "X"), _blocks(_aligned(y, X), "y")]
        parts.append(
            [None] * len(parts[0]) if sample_weight is None else _blocks(_aligned(sample_weight, X), "sample_weight")
        )

        def sums(mean):
            own = [dask.delayed(_score_part)(model, *part, mean) for part in zip(*parts, strict=True)]
            return np.sum(client.gather(client.compute(own)), axis=0)

        if hasattr(self, "classes_"):
            total, hits = sums(None)
            return float(hits / total)
        totals, weighted = sums(None)
        unexplained, variance = sums(weighted / totals)
        return float(np.mean(1.0 - unexplained / variance))


class DaskBackpropClassifier(_OnDask, BackpropClassifier):  # type: ignore[misc]
    """:class:`~skbackprop.BackpropClassifier` for Dask's collections, trained where their partitions are.

    Parameters and fitted attributes are those of :class:`~skbackprop.BackpropClassifier`, and `client`, the
    :class:`distributed.Client` to use, which is the current one by default. It is not among the parameters of
    `get_params`, and clones and pickles do not have it. One parameter is added, which holds for fits of collections:
    `external_memory`, by default False. If True, workers write their rows to disk, partition by partition, and read them
    anew in each epoch, see :ref:`external_memory`: for rows that are larger than the workers' memory.

    Each worker holds its partitions and makes the same updates as all others, after the gradients have been summed over
    them: the result is that of one machine, see :doc:`/clusters`. `predict`, `predict_proba` and `decision_function` of
    collections are lazy.

    See Also
    --------
    skbackprop.BackpropClassifier : The same network on one machine.

    Notes
    -----
    Partitions that are not in memory are computed before the training, and stay there until its end, unless
    `external_memory` is set; neighbouring ones are joined on each worker, which copies them if it has several. Callbacks
    are not called. Of the settings of one machine, `device` other than 'cpu', and `scoring` other than None and 'loss' are
    refused.
    """

    _local = BackpropClassifier

    def predict(self, X):
        """Predict class labels; lazily for collections, see :meth:`BackpropClassifier.predict`."""
        return self._lazily("predict", X)

    def predict_proba(self, X):
        """Estimate the probabilities of the classes; lazily for collections."""
        return self._lazily("predict_proba", X)

    def decision_function(self, X):
        """Compute the scores of the classes; lazily for collections."""
        return self._lazily("decision_function", X)


class DaskBackpropRegressor(_OnDask, BackpropRegressor):  # type: ignore[misc]
    """:class:`~skbackprop.BackpropRegressor` for Dask's collections, trained where their partitions are.

    See :class:`DaskBackpropClassifier`, of which all holds for numbers as well.

    See Also
    --------
    skbackprop.BackpropRegressor : The same network on one machine.
    """

    _local = BackpropRegressor

    def predict(self, X, return_std=False):
        """Predict targets; lazily for collections, of which `return_std` has to be False."""
        if return_std and _is_distributed(X):
            raise ValueError("return_std=True gives two arrays: use to_local().predict on each partition")
        return self._lazily("predict", X, **({"return_std": True} if return_std else {}))
