"""Seconds per epoch, every workload with every peer."""

from dataclasses import asdict

from benchmarks.limits import time_limit
from benchmarks.measure import Pool, Results, choose_peers, measure_limits
from benchmarks.peers import PEERS, ScikitLearn64
from benchmarks.workloads import FLOAT64, WORKLOADS


def run(options):
    """Run the benchmark with the command line's options."""
    limits = measure_limits(options.threads)
    results = Results(options, limits)
    peers = choose_peers(PEERS, options.peers)
    cases = [(workload, "float32") for workload in WORKLOADS]
    cases += [(workload, "float64") for workload in WORKLOADS if workload.name in FLOAT64]
    with Pool("train", peers, options.threads) as pool:
        for workload, dtype in cases:
            if (options.only and workload.name not in options.only) or options.dtype not in (None, dtype):
                continue
            if options.quick:
                workload = workload.quick()
            wanted = [peer for peer in peers if dtype == "float32" or peer != ScikitLearn64.name]
            measured = pool.measure({**asdict(workload), "dtype": dtype}, options.rounds, options.min_seconds, wanted)
            name = workload.name if dtype == "float32" else f"{workload.name} float64"
            results.add(
                name, measured, limit=time_limit(workload, dtype, limits), workload=asdict(workload), dtype=dtype
            )
    results.finish()
