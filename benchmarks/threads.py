"""The work from which another thread pays off: the basis of `_FLOPS_PER_THREAD` in backends/cpu/threads.py."""

import math
import warnings

import numpy as np

from benchmarks.measure import Results
from benchmarks.peers import Skbackprop
from benchmarks.workloads import Workload
from skbackprop.backends.batch_plan import row_flops
from skbackprop.backends.cpu import _block_rows
from skbackprop.backends.cpu.threads import _FLOPS_PER_THREAD
from skbackprop.functions.activations import ACTIVATIONS
from skbackprop.functions.losses import LogLoss
from skbackprop.network import Network

_WIDTHS = (8, 16, 32, 64, 128, 256, 512)
_BATCH_SIZES = (32, 128, 512)
_N_BATCHES = 32


def run(options):
    """Run the benchmark with the command line's options."""
    results = Results(options)
    choices = sorted({1, *(2**k for k in range(1, options.threads.bit_length())), options.threads})
    points = []
    for batch_size in _BATCH_SIZES:
        for width in _WIDTHS[:2] if options.quick else _WIDTHS:
            workload = Workload("threads", batch_size * _N_BATCHES, width, (width, width), batch_size)
            flops = _flops_between_barriers(workload)
            times = _times_per_step(workload, choices, options)
            points.append((flops, {n_threads: np.median(times[n_threads]) for n_threads in choices}))
            columns = {f"{n} thread{'s' if n > 1 else ''}": {"times": times[n]} for n in choices}
            results.add(
                f"{width} units, batch {batch_size}, {flops:.2g} flops",
                columns,
                unit="us",
                x=flops,
                axis="flops between barriers",
                group=f"batch of {batch_size} rows",
            )
    results.finish()
    for n_threads in choices[1:]:
        flops = _crossover(points, n_threads)
        print(
            f"{n_threads} threads pay from {flops:.2g} flops on: _FLOPS_PER_THREAD = {flops / n_threads:.2g} "
            f"(now {_FLOPS_PER_THREAD:.2g})"
        )


def _flops_between_barriers(workload):
    """The number by which the package chooses the threads, see `skbackprop.backends.cpu.Session`."""
    # Only the sizes matter here.
    kinds = (ACTIVATIONS.get_key("relu"),) * (len(workload.layer_units) - 2)
    network = Network(workload.layer_units, kinds, LogLoss().for_task("multiclass").key())
    return 3 * row_flops(network, workload.density) * _block_rows(network, 4, workload.batch_size) / 2


def _times_per_step(workload, choices, options):
    """Lists of seconds by number of threads, measured in turn."""
    peers, n_epochs, times = {}, {}, {n_threads: [] for n_threads in choices}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fixed epochs do not converge
        for n_threads in choices:
            peers[n_threads] = peer = Skbackprop(workload, "float32", n_threads)
            peer.n_jobs = n_threads
            peer.run(1)
            seconds, _ = peer.run(2)
            n_epochs[n_threads] = max(2, math.ceil(2 * options.min_seconds / seconds))
        for _ in range(options.rounds):
            for n_threads, peer in peers.items():
                seconds, _ = peer.run(n_epochs[n_threads])
                times[n_threads].append(seconds / (n_epochs[n_threads] * workload.n_steps))
    return times


def _crossover(points, n_threads):
    """The best threshold for choosing between one and `n_threads` threads, by the sum of log times."""
    points = sorted(points, key=lambda point: point[0])
    flops = [point[0] for point in points]
    serial, threaded = (np.log([times[n] for _, times in points]) for n in (1, n_threads))
    costs = [serial[:split].sum() + threaded[split:].sum() for split in range(len(points) + 1)]
    best = int(np.argmin(costs))
    if best in (0, len(points)):
        return flops[0] if best == 0 else math.inf
    return math.sqrt(flops[best - 1] * flops[best])
