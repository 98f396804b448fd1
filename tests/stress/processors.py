"""Fits whose digests are compared between processors, and kernels for a processor that this machine is not.

    python tests/stress/processors.py > here
    python tests/stress/processors.py --kernels x86-64-v4
    python tests/stress/processors.py > there

The second line runs the same fits, and puts their kernels into the package's folder, compiled for a level that this machine need
not support. The third one is for a machine, or an emulator, of that level. It needs no Numba, and compiles nothing.
"""

import argparse
import hashlib
import warnings
from itertools import product

import numpy as np
from scipy import sparse

from skbackprop._processor import LEVELS
from skbackprop.build_kernels import build

N_ROWS = 120
LOSSES_OF_CLASSES = ("log_loss", "hinge", "squared_hinge", "focal")
COMMON = {"hidden_layer_sizes": (13, 7), "max_iter": 3, "random_state": 5, "batch_size": 32, "n_jobs": 1}


def settings():
    """Yield a classifier's settings: of each kind, and one of its training's options at a time."""
    from skbackprop.functions.activations import ACTIVATIONS
    from skbackprop.functions.input_layers import CategoryEmbedding
    from skbackprop.functions.optimizers import OPTIMIZERS
    from skbackprop.functions.schedules import SCHEDULES

    averaged = {"averaging": 0.9, "normalization": "batch"}
    for solver in ("lbfgs", *OPTIMIZERS):
        yield {"solver": solver}
    for solver, threads in product(OPTIMIZERS, (1, 2)):
        yield {"solver": solver, "n_jobs": threads, **averaged}
    yield from ({"activation": name} for name in ACTIVATIONS)
    yield from ({"activation": name, "parametric_activation": True} for name in ACTIVATIONS)
    yield from ({"learning_rate": name, "solver": "sgd"} for name in SCHEDULES)
    for normalization, dropout in product(("batch", "layer"), (0.0, 0.3)):
        yield {"normalization": normalization, "dropout": dropout, "activation": "tanh"}
    for layers, parametrization in product(("scale", "periodic", ("scale", "periodic")), ("standard", "ntp")):
        yield {"input_layers": layers, "parametrization": parametrization}
    yield {"input_layers": CategoryEmbedding([3], [5])}
    yield {"dropout": 0.2, "dropout_schedule": "flat_cosine", "solver": "adamw", "weight_decay_schedule": "cosine"}
    yield {"early_stopping": True, "scoring": "accuracy"}
    yield {"early_stopping": True, **averaged}
    yield {"l1_ratio": 0.5, "alpha": 0.01}
    for name, value in [("max_norm", 1.0), ("clip_norm", 0.5), ("clip_value", 0.1), ("restore_best_weights", True)]:
        yield {name: value}
    for name, value in [("frozen_layers", (0,)), ("output_bias", "prior"), ("class_weight", "balanced")]:
        yield {name: value}
    for name, value in [("shuffle", False), ("weight_init", "he_normal")]:
        yield {name: value}
    for size in (1, 2, 3, 5, 8, 12, 13, 17, 31, 33, 47, 64, 65):
        yield {"hidden_layer_sizes": (size, 66 - size), "batch_size": size, "max_iter": 1}


def cases(dtype):
    """Yield names, estimators and data."""
    from skbackprop import BackpropClassifier, BackpropRegressor
    from skbackprop.functions.losses import LOSSES

    random = np.random.RandomState(1)
    X = random.randn(N_ROWS, 23).astype(dtype)
    X[:, 3] = np.arange(N_ROWS) % 5  # also codes of categories
    y, targets = random.randint(0, 3, N_ROWS), random.rand(N_ROWS, 3) + 0.5
    # Several panels, blocks of the inner index and of rows, and threads.
    wide = [((130, 70), 300, 90, 150), ((257,), 200, 1100, 97), ((48, 48, 48), 400, 90, 400)]
    for (sizes, n_rows, n_columns, batch), solver, threads in product(wide, ("adam", "lbfgs"), (1, 2)):
        rows, classes = random.randn(n_rows, n_columns).astype(dtype), random.randint(0, 11, n_rows)
        some = {"hidden_layer_sizes": sizes, "batch_size": batch, "max_iter": 2, "solver": solver, "n_jobs": threads}
        yield some, BackpropClassifier(**COMMON | some), rows, classes
    for some in settings():
        yield some, BackpropClassifier(**COMMON | some), X, y
    for loss in LOSSES:
        if loss in LOSSES_OF_CLASSES:
            yield (loss, 3), BackpropClassifier(**COMMON, loss=loss), X, y
            yield (loss, 2), BackpropClassifier(**COMMON, loss=loss), X, y > 0
        else:
            for columns in targets[:, 0], *([targets] if loss != "gaussian_nll" else []):
                yield (loss, columns.shape), BackpropRegressor(loss, **COMMON), X, columns
    yield "sparse", BackpropClassifier(**COMMON), sparse.csr_matrix(np.where(X > 1, X, 0)), y


def digest(model, X):
    """Digest all numbers of a fitted model, and its predictions."""
    outputs = model.predict_proba(X) if hasattr(model, "predict_proba") else model.predict(X)
    found = hashlib.sha256()
    for array in (*model.coefs_, *model.intercepts_, np.array(getattr(model, "loss_curve_", ())), outputs):
        found.update(np.ascontiguousarray(array))
    return found.hexdigest()[:16]


def run():
    """Print a line per fit."""
    warnings.simplefilter("ignore")
    for both in zip(cases("float32"), cases("float64"), strict=True):
        for name, model, X, y in both:
            model.set_params(dtype=X.dtype.name).fit(X, y)
            print(digest(model, X), X.dtype, name, flush=True)


def main():
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kernels", choices=LEVELS, help="compile for this level")
    level = parser.parse_args().kernels
    if level is None:
        run()
    else:
        build([level], program=f"import runpy; runpy.run_path({__file__!r}, run_name='__main__')")


if __name__ == "__main__":
    main()
