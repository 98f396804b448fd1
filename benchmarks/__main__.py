"""The command line; see the package's docstring."""

import argparse
import importlib
import json
from pathlib import Path

import joblib

from benchmarks import report

_BENCHMARKS = {
    "train": "seconds per epoch of every workload with every peer",
    "predict": "prediction of one row, a thousand, a million",
    "search": "a grid search over digits",
    "cold": "imports, and the first fit of a new process",
    "memory": "peak of memory that fit adds to the data",
    "scaling": "time per epoch against rows, features, width, depth, batch size, threads",
    "gpu": "an NVIDIA GPU beside PyTorch and JAX there, and beside the CPU",
    "cluster": "workers of a Dask cluster beside one process with as many threads",
    "threads": "from how much work on another thread pays",
    "options": "a fit of every option, with its score",
    "tables": "real tables, with every estimator's defaults: quality and CPU seconds",
    "meta_estimators": "scikit-learn's meta-estimators around our network and its own",
}
_QUICK = {"rounds": 2, "min_seconds": 0.01}


def _names(text):
    return text.split(",")


def _parser():
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Benchmarks of skbackprop.")
    commands = parser.add_subparsers(dest="benchmark", required=True)
    for name, summary in _BENCHMARKS.items():
        command = commands.add_parser(name, help=summary)
        command.add_argument("--quick", action="store_true", help="tiny sizes, two short rounds: a test of the code")
        command.add_argument("--rounds", type=int, default=7, help="measurements of each (default: %(default)s)")
        command.add_argument(
            "--min-seconds", type=float, default=0.5, help="shortest measurement (default: %(default)s)"
        )
        command.add_argument("--only", type=_names, metavar="NAME,...", help="some of the workloads or cases")
        command.add_argument("--peers", type=_names, metavar="NAME,...", help="some of the peers, ours among them")
        command.add_argument(
            "--threads", type=int, default=joblib.cpu_count(), help="threads allowed (default: all, %(default)s)"
        )
        command.add_argument("--output", metavar="FILE", help="result file (default: in benchmarks/results)")
        if name == "train":
            command.add_argument("--dtype", choices=["float32", "float64"], help="one of the two only")
        if name == "gpu":
            command.add_argument("--device", default="cuda", help="'cpu' tries the code where there is no GPU")
        if name == "tables":
            command.add_argument(
                "--growth", action="store_true", help="a drawn table of 1,000 to 1,000,000 rows instead"
            )
            command.add_argument(
                "--ingredients", action="store_true", help="ours with other settings or parts, instead of peers"
            )
        if name == "scaling":
            command.add_argument("--large", action="store_true", help="ten million rows in a file, too")
    for name, summary in (("table", "print a result file as Markdown"), ("plot", "draw the figures of result files")):
        command = commands.add_parser(name, help=summary)
        command.add_argument("files", nargs="+", metavar="FILE")
    return parser


def main():
    """Run a subcommand."""
    options = _parser().parse_args()
    if options.benchmark == "table":
        for file in options.files:
            print(report.table(json.loads(Path(file).read_text())))
    elif options.benchmark == "plot":
        for file in options.files:
            print(*report.plot(file), sep="\n")
    else:
        if options.quick:
            vars(options).update(_QUICK)
        importlib.import_module(f"benchmarks.{options.benchmark}").run(options)


if __name__ == "__main__":
    main()
