"""Workers of a Dask cluster, with a core each, beside one process with as many threads: time per epoch, and of a round.

Beside them, `partial_fit` goes from partition to partition, as dask-ml's ``Incremental`` does, and Spark's own network is
fitted to the rows and for the iterations of ours there. ``--only`` takes parts of cases' names.

An epoch's time is the difference between a fit of some epochs and one of twice as many, so that neither the start of the
tasks nor the first pass over the data counts. Rows per second are the rows divided by it.
"""

import copy
import os
import statistics
import sys
import time
import warnings
from functools import partial

import numpy as np
import pandas as pd

from benchmarks.measure import Results
from skbackprop import BackpropClassifier

_N_FEATURES = 50
#: Hidden layers by name: 2,000, 40,000 and 2 million parameters, about.
_NETWORKS = {"2k": (32,), "40k": (256, 100), "2M": (1400, 1350)}
#: Rows for each of them, and beside Spark's own network: an epoch takes seconds at most.
_N_ROWS = {"2k": 128_000, "40k": 128_000, "2M": 64_000, "Spark": 64_000}
_N_PARTITIONS = 4
_BATCH_SIZES = (1_000, 8_000, 64_000)
_ROUND_SIZES = {"2k": 2_000, "40k": 40_000, "2M": 2_000_000}
# L-BFGS may converge, after which more epochs take no more time.
_MOST_EPOCHS = 256


def run(options):
    """Run the benchmark with the command line's options."""
    import distributed

    os.environ["NUMBA_NUM_THREADS"] = str(options.threads)
    results = Results(options)
    n_rows = dict.fromkeys(_N_ROWS, 2_000) if options.quick else _N_ROWS
    rng = np.random.RandomState(0)
    X = rng.standard_normal((max(n_rows.values()), _N_FEATURES)).astype(np.float32)
    y = (X[:, :10] @ rng.standard_normal((10, 10))).argmax(axis=1)
    variables = {"distributed.nanny.environ": {"NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}}
    clusters = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fixed epochs do not converge
        import dask

        with dask.config.set(variables):
            for n_workers in sorted({1, options.threads}):
                cluster = distributed.LocalCluster(n_workers=n_workers, threads_per_worker=1, dashboard_address=":0")
                clusters[n_workers] = cluster, distributed.Client(cluster, set_as_default=False)
        # Dask limits the threads of its workers in the process that begins them, too.
        os.environ["OMP_NUM_THREADS"] = str(options.threads)
        try:
            for name, hidden in _NETWORKS.items():
                _measure_epochs(options, results, name, hidden, X[: n_rows[name]], y[: n_rows[name]], clusters)
            _measure_rounds(options, results, clusters)
        finally:
            for cluster, client in clusters.values():
                client.close()
                cluster.close()
    _measure_spark(options, results, X[: n_rows["Spark"]], y[: n_rows["Spark"]])
    results.finish()


def _measure_epochs(options, results, name, hidden, X, y, clusters):
    import dask.array as da

    from skbackprop.dask import DaskBackpropClassifier

    n_rows = len(X)
    parts = da.from_array(X, chunks=(n_rows // _N_PARTITIONS, -1)), da.from_array(y, chunks=n_rows // _N_PARTITIONS)
    parts = {n_workers: client.persist(parts) for n_workers, (_, client) in clusters.items()}
    cases = {f"adam with batches of {min(size, n_rows)}": ("adam", min(size, n_rows)) for size in _BATCH_SIZES}
    cases["lbfgs"] = ("lbfgs", n_rows)
    for text, (solver, batch_size) in cases.items():
        case = f"{name} parameters: {text}"
        if not _is_wanted(options, case):
            continue
        settings = {"hidden_layer_sizes": hidden, "solver": solver, "batch_size": batch_size}
        settings |= {"random_state": 0, "n_iter_no_change": np.inf, "tol": 0.0}
        fits = {"one process": lambda max_iter: BackpropClassifier(**settings, max_iter=max_iter).fit(X, y)}  # noqa: B023
        for n_workers, (_, client) in clusters.items():
            model = DaskBackpropClassifier(**settings, client=client)
            fits[f"{n_workers} worker{'s' if n_workers > 1 else ''}"] = partial(_fit, model, parts[n_workers])
        if solver == "adam":
            # A batch cannot have more rows than a partition.
            local = BackpropClassifier(**settings | {"batch_size": min(batch_size, n_rows // _N_PARTITIONS)})
            _, client = clusters[options.threads]
            fits["partial_fit in sequence"] = partial(_fit_in_sequence, client, local, parts[options.threads])
        times, waited = {peer: [] for peer in fits}, {peer: [] for peer in fits}
        for _, client in clusters.values():
            client.run(_watch_sums)
        n_epochs = {peer: _n_epochs(fit, options.min_seconds) for peer, fit in fits.items()}
        _seconds_of_sums(clusters)
        for _ in range(options.rounds):
            for peer, fit in fits.items():
                times[peer].append(_seconds_per_epoch(fit, n_epochs[peer]))
                waited[peer].append(_seconds_of_sums(clusters) / (3 * n_epochs[peer]))
        columns = {
            peer: {"times": own, "share in sums": statistics.median(waited[peer]) / statistics.median(own)}
            for peer, own in times.items()
        }
        for peer, own in times.items():
            # Neighbours on a shared machine slow both, so the ratio is taken within each round.
            ratios = [base / one for base, one in zip(times["one process"], own, strict=True)]
            columns[peer] |= {"speed": statistics.median(ratios), "rows/s": n_rows / statistics.median(own)}
        results.add(case, columns, rows=n_rows, network=name, solver=solver, batch_size=batch_size)


def _fit(model, parts, max_iter):
    model.set_params(max_iter=max_iter).fit(*parts)


def _is_wanted(options, case):
    return not options.only or any(part in case for part in options.only)


def _fit_in_sequence(client, network, parts, max_iter):
    """Hand a network from partition to partition, each of which is one call of `partial_fit`."""
    (X, y), classes = parts, np.arange(10)
    blocks = list(zip(X.to_delayed().ravel(), y.to_delayed().ravel(), strict=True))
    for _ in range(max_iter):
        for rows, labels in blocks:
            network = client.submit(_partial_fit, network, *client.compute([rows, labels]), classes, pure=False)
    return network.result()


def _partial_fit(network, X, y, classes):
    return copy.deepcopy(network).partial_fit(X, y, classes=classes)


def _watch_sums(dask_worker):
    """Add up the time that a worker spends in sums, from their call to their end, and in trainings."""
    from skbackprop.distributed._rabit import RabitCollective

    dask_worker.seconds_of_sums = 0.0
    if hasattr(RabitCollective, "unwatched"):
        return
    RabitCollective.unwatched = RabitCollective.sum

    def watched(self, *arguments, **keywords):
        started = time.perf_counter()
        try:
            return self.unwatched(*arguments, **keywords)
        finally:
            dask_worker.seconds_of_sums += time.perf_counter() - started

    RabitCollective.sum = watched


def _seconds_of_sums(clusters):
    """Return the seconds that workers of one cluster have spent in sums since the last call, as their mean."""

    def take(dask_worker):
        seconds, dask_worker.seconds_of_sums = dask_worker.seconds_of_sums, 0.0
        return seconds

    return max(float(np.mean(list(client.run(take).values()))) for _, client in clusters.values())


def _measure_spark(options, results, X, y):
    """Fit Spark's own network and ours to the same dataframe for the same number of iterations of L-BFGS."""
    networks = {
        name: hidden for name, hidden in _NETWORKS.items() if _is_wanted(options, _spark_case(name)) and name != "2M"
    }
    if not networks:
        return
    from pyspark.ml.functions import array_to_vector
    from pyspark.sql import SparkSession

    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    settings = SparkSession.builder.master(f"local[{options.threads}]").config("spark.ui.enabled", "false")
    spark = settings.config("spark.driver.memory", "3g").config("spark.driver.host", "127.0.0.1").getOrCreate()
    try:
        table = pd.DataFrame({"rows": list(X.astype(float)), "label": y.astype(float)})
        frame = spark.createDataFrame(table).select(array_to_vector("rows").alias("features"), "label")
        frame = frame.repartition(options.threads).cache()
        frame.count()
        # The default of Spark's own.
        n_iter = 2 if options.quick else 100
        for name, hidden in networks.items():
            for fit in _spark_fits(hidden, 2).values():
                fit(frame)  # whatever is done once
            fits = _spark_fits(hidden, n_iter)
            times = {peer: [] for peer in fits}
            for _ in range(options.rounds):
                for peer, fit in fits.items():
                    started = time.perf_counter()
                    fit(frame)
                    times[peer].append(time.perf_counter() - started)
            columns = {peer: {"times": own} for peer, own in times.items()}
            for peer, own in times.items():
                ratios = [base / one for base, one in zip(times["Spark's own"], own, strict=True)]
                columns[peer]["speed"] = statistics.median(ratios)
            results.add(_spark_case(name), columns, rows=len(X), iterations=n_iter)
    finally:
        spark.stop()


def _spark_case(name):
    return f"spark: {name} parameters, lbfgs"


def _spark_fits(hidden, n_iter):
    """Return the `fit` of each peer."""
    from pyspark.ml.classification import MultilayerPerceptronClassifier

    from skbackprop.spark import SparkBackpropClassifier

    ours = partial(
        SparkBackpropClassifier,
        hiddenLayerSizes=hidden,
        maxIter=n_iter,
        activation="logistic",
        solver="lbfgs",
        tol=0.0,
        randomState=0,
        nJobs=1,
    )
    theirs = MultilayerPerceptronClassifier(layers=[_N_FEATURES, *hidden, 10], maxIter=n_iter, tol=0.0, seed=0)
    return {"ours": ours().fit, "ours in float32": ours(dtype="float32").fit, "Spark's own": theirs.fit}


def _timed(fit, max_iter):
    started = time.perf_counter()
    fit(max_iter)
    return time.perf_counter() - started


def _n_epochs(fit, min_seconds):
    """Return so many epochs that they take this time if they can: starts of fits on a cluster differ by tenths of seconds."""
    fit(1)
    n_epochs = 1
    while n_epochs < _MOST_EPOCHS and _timed(fit, 2 * n_epochs) - _timed(fit, n_epochs) < min_seconds:
        n_epochs *= 2
    return n_epochs


def _seconds_per_epoch(fit, n_epochs):
    return max(_timed(fit, 2 * n_epochs) - _timed(fit, n_epochs), 1e-9) / n_epochs


def _sum(address, rank, size, n_numbers, n_rounds):
    """Return the seconds of each round of sums, on one of the workers."""
    from skbackprop.distributed._rabit import RabitCollective

    numbers, seconds = np.zeros(n_numbers + 1), []
    with RabitCollective(address, rank, size) as workers:
        for _ in range(n_rounds):
            started = time.perf_counter()
            workers.sum(numbers)
            seconds.append(time.perf_counter() - started)
    return seconds


def _measure_rounds(options, results, clusters):
    from skbackprop.distributed._rabit import Tracker

    for name, n_numbers in _ROUND_SIZES.items():
        if not _is_wanted(options, f"a round of sums, {name} parameters"):
            continue
        columns = {}
        for n_workers, (_, client) in clusters.items():
            if n_workers == 1:
                continue
            tracker = Tracker("127.0.0.1", n_workers)
            addresses = sorted(client.nthreads())
            futures = [
                client.submit(_sum, tracker.address, rank, n_workers, n_numbers, 20, workers=[address], pure=False)
                for rank, address in enumerate(addresses)
            ]
            columns[f"{n_workers} workers"] = {"times": client.gather(futures)[0][2:]}
            tracker.close()
        if columns:
            results.add(f"a round of sums, {name} parameters", columns)
