"""Seconds per epoch of one network with varying rows, features, width, depth, batch size or threads."""

from dataclasses import asdict, replace

from benchmarks.limits import time_limit
from benchmarks.measure import OURS, Pool, Results, choose_peers, measure_limits
from benchmarks.peers import PEERS, ScikitLearn
from benchmarks.workloads import WORKLOADS, Workload

_BASE = Workload("base", 10_000, 50, (100,), 200, n_classes=10, loss_epochs=1)
_CHANGES = {
    "rows": [(n, {"n_rows": n}) for n in (1_000, 10_000, 100_000, 1_000_000)],
    "features": [(n, {"n_features": n}) for n in (10, 100, 1_000, 10_000)],
    "width": [(n, {"hidden": (n,)}) for n in (16, 64, 256, 1024, 4096)],
    "depth": [(n, {"hidden": (100,) * n}) for n in (1, 2, 4, 8, 16)],
    "batch size": [(n, {"batch_size": n}) for n in (1, 10, 100, 1_000, 10_000)],
}
_LARGE = (10_000_000, {"n_rows": 10_000_000, "memmap": True})
# Larger epochs are measured for skbackprop only, because scikit-learn would take minutes.
_PEER_FLOPS = 4e10


def run(options):
    """Run the benchmark with the command line's options."""
    limits = measure_limits(options.threads)
    results = Results(options, limits)
    peers = choose_peers(PEERS, options.peers or [OURS, ScikitLearn.name])

    def add(pool, group, x, workload, wanted):
        workload = workload.quick() if options.quick else workload
        case = {**asdict(workload), "dtype": "float32"}
        measured = pool.measure(case, options.rounds, options.min_seconds, wanted)
        limit = time_limit(workload, "float32", limits)
        results.add(f"{group} {x}", measured, group=group, axis=group, x=x, limit=limit, workload=asdict(workload))

    with Pool("train", peers, options.threads) as pool:
        for group, changes in _CHANGES.items():
            if options.only and group not in options.only:
                continue
            for x, change in [*changes, _LARGE] if options.large and group == "rows" else changes:
                workload = replace(_BASE, **change)
                small = workload.flops < _PEER_FLOPS and workload.batch_size > 1
                add(pool, group, x, workload, peers if small else [OURS])
    if not options.only or "threads" in options.only:
        medium = next(workload for workload in WORKLOADS if workload.name == "medium")
        for n_threads in range(1, options.threads + 1):
            with Pool("train", [OURS], n_threads) as pool:
                add(pool, "threads", n_threads, medium, [OURS])
    results.finish()
