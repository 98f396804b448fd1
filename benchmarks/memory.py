"""Peak memory that fit adds to the data, measured in separate processes after a small fit has loaded everything.

torch.compile is left out, because compiling takes more than training; JAX's compiler is included.
"""

from dataclasses import asdict

from benchmarks.measure import PeerError, Results, ask_once, choose_peers
from benchmarks.peers import PEERS, TorchCompile
from benchmarks.workloads import WORKLOADS

_NAMES = ("medium", "mnist")


def run(options):
    """Run the benchmark with the command line's options."""
    results = Results(options)
    peers = choose_peers({name: peer for name, peer in PEERS.items() if name != TorchCompile.name}, options.peers)
    for workload in WORKLOADS:
        if workload.name not in (options.only or _NAMES):
            continue
        warmup_case = {**asdict(workload.quick()), "dtype": "float32"}
        case = warmup_case if options.quick else {**asdict(workload), "dtype": "float32"}
        measured = {}
        for peer in peers:
            try:
                measured[peer] = {"times": [_added(peer, case, warmup_case, options) for _ in range(options.rounds)]}
            except PeerError as error:
                measured[peer] = {"error": str(error)}
        results.add(workload.name, measured, unit="MiB")
    results.finish()


def _added(peer, case, warmup_case, options):
    return ask_once("train", peer, options.threads, "added_memory", case=case, warmup_case=warmup_case)["bytes"]
