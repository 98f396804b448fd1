"""Checkpoints: what was interrupted, in whatever way, ends with the bits of what was not."""

import errno
import functools
import importlib
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris
from sklearn.metrics import fbeta_score, make_scorer
from sklearn.model_selection import GridSearchCV, GroupKFold, GroupShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skbackprop
from skbackprop import BackpropClassifier, BackpropRegressor, Checkpoint
from skbackprop._sklearn import HAS_CALLBACKS
from skbackprop.estimators._checkpoint import _depends_on_max_iter, _key
from skbackprop.estimators._identity import identify
from skbackprop.functions import Adaptive, Cosine, FlatCosine, OneCycle, Polynomial, ReduceOnPlateau
from skbackprop.functions.normalizations import NORMALIZATIONS
from skbackprop.functions.optimizers import OPTIMIZERS
from skbackprop.functions.schedules import SCHEDULES
from skbackprop.persistence import container

pytest.importorskip("safetensors")
pytestmark = [
    pytest.mark.skipif(not HAS_CALLBACKS, reason="checkpoints are a callback, which take scikit-learn 1.9"),
    pytest.mark.trains,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::skbackprop.exceptions.TrainingWarning"),
]

X, Y = load_iris(return_X_y=True)
X_DIABETES, Y_DIABETES = load_diabetes(return_X_y=True)
N_EPOCHS = 9


class StoppedError(Exception):
    """Stands for whatever ends a process."""


class StopAfter:
    """Raises at the end of an epoch."""

    def __init__(self, n_epochs):
        self.n_epochs = n_epochs

    def setup(self, estimator, context):
        self.seen = 0

    def teardown(self, estimator, context): ...

    def on_fit_task_begin(self, estimator, context): ...

    def on_fit_task_end(self, estimator, context):
        self.seen += 1
        if self.seen == self.n_epochs:
            raise StoppedError


def classifier(**settings):
    return BackpropClassifier(
        **{"hidden_layer_sizes": (6, 5), "max_iter": N_EPOCHS, "random_state": 3, "batch_size": 32, **settings}
    )


def regressor(**settings):
    return BackpropRegressor(**{"hidden_layer_sizes": (6,), "max_iter": N_EPOCHS, "random_state": 3, **settings})


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def stop_after(estimator, n_epochs, folder, *data, epochs=1, **arguments):
    """Train for some epochs, as far as `folder` shows."""
    estimator.set_callbacks(Checkpoint(folder, epochs=epochs), StopAfter(n_epochs))
    with pytest.raises(StoppedError):
        estimator.fit(*data, **arguments)
    estimator.set_callbacks()


def assert_same_training(one, other):
    """Bits of everything that training leaves, but for the times."""
    one, other = ({name: value for name, value in vars(model).items() if name[:4] != "_skl"} for model in (one, other))
    times = [[record.pop("seconds") for record in attributes["history_"]] for attributes in (one, other)]
    try:
        assert one.keys() == other.keys()
        for name in one:
            assert same(one[name], other[name]), name
    finally:
        for attributes, seconds in zip((one, other), times, strict=True):
            for record, value in zip(attributes["history_"], seconds, strict=True):
                record["seconds"] = value


def same(one, other):
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    if isinstance(one, list | tuple) and not isinstance(one, str):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, np.random.RandomState):
        return same(one.get_state(), other.get_state())
    if hasattr(one, "slots"):
        return same({**vars(one), "key": one.key}, {**vars(other), "key": other.key})
    if hasattr(one, "get_params") and not isinstance(one, type):
        return type(one) is type(other) and same(one.get_params(), other.get_params())
    return one == other or (one != one and other != other)


SETTINGS = {
    **{name: (classifier, {"solver": name}) for name in OPTIMIZERS},
    **{f"schedule {name}": (classifier, {"solver": "sgd", "learning_rate": name}) for name in SCHEDULES},
    **{name: (classifier, {"normalization": name}) for name in NORMALIZATIONS},
    "plateau": (classifier, {"learning_rate": ReduceOnPlateau(), "tol": 1.0, "n_iter_no_change": 2}),
    "adaptive": (classifier, {"learning_rate": Adaptive(), "tol": 1.0, "n_iter_no_change": 1}),
    "warm-up": (classifier, {"learning_rate": OneCycle(warmup_epochs=2)}),
    "dropout": (classifier, {"dropout": 0.3}),
    "dropout of inputs": (classifier, {"dropout": [0.2, 0.1, 0.4]}),
    "early stopping": (classifier, {"early_stopping": True, "validation_fraction": 0.2}),
    "averaging": (classifier, {"averaging": 0.9}),
    "schedules": (
        classifier,
        {
            "solver": "adamw",
            "dropout": 0.3,
            "dropout_schedule": FlatCosine(),
            "weight_decay_schedule": "polynomial",
        },
    ),
    "parametrization": (classifier, {"parametrization": "ntp", "solver": "nadam"}),
    "parametric activation": (classifier, {"parametric_activation": True, "normalization": "layer", "dropout": 0.2}),
    "best weights": (classifier, {"restore_best_weights": True, "learning_rate_init": 0.3}),
    "all together": (
        classifier,
        {
            "early_stopping": True,
            "averaging": 0.8,
            "dropout": 0.2,
            "normalization": "batch",
            "learning_rate": Cosine(warmup_epochs=1),
            "scoring": "neg_log_loss",
            "class_weight": "balanced",
            "clip_norm": 1.0,
            "max_norm": 2.0,
            "l1_ratio": 0.5,
            "dtype": "float32",
        },
    ),
    "no shuffling": (classifier, {"shuffle": False}),
    "stochastic": (classifier, {"batch_size": 1, "hidden_layer_sizes": (1,)}),
    "regressor": (regressor, {"standardize_target": True, "early_stopping": True}),
    "gaussian": (regressor, {"loss": "gaussian_nll", "output_bias": "prior"}),
    "ends early": (classifier, {"tol": 1.0, "n_iter_no_change": 3}),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_resumed_training_has_the_bits_of_an_uninterrupted_one(name, tmp_path, rng):
    make, settings = SETTINGS[name]
    data = (X_DIABETES, Y_DIABETES) if make is regressor else (X, Y)
    whole = make(**settings).fit(*data)
    for n_epochs in rng.integers(1, min(4, whole.n_iter_ // 2), size=2, endpoint=True):
        # The second time, what was resumed is interrupted once more.
        stop_after(make(**settings, n_jobs=1), n_epochs, tmp_path, *data)
    resumed = make(**settings, n_jobs=2).set_callbacks(Checkpoint(tmp_path)).fit(*data)
    assert_same_training(resumed.set_params(n_jobs=None), whole)
    # What has ended is not trained again.
    again = make(**settings).set_callbacks(Checkpoint(tmp_path)).fit(*data)
    assert_same_training(again, whole)
    # Times are not kept, from training to training.
    assert all(record["seconds"] is None for record in again.history_)


@pytest.mark.parametrize("kind", ["csr", "float32", "list", "dataframe"])
def test_data_of_every_form(kind, tmp_path):
    data = {"csr": sparse.csr_array(X), "float32": X.astype(np.float32), "list": X.tolist()}.get(kind, X)
    if kind == "dataframe":
        data = pytest.importorskip("pandas").DataFrame(X, columns=list("abcd"))
    labels = np.array(["a", "b", "c"])[Y]
    weights = np.linspace(0.5, 1.5, len(Y))
    whole = classifier().fit(data, labels, sample_weight=weights)
    stop_after(classifier(), 3, tmp_path, data, labels, sample_weight=weights)
    resumed = classifier().set_callbacks(Checkpoint(tmp_path)).fit(data, labels, sample_weight=weights)
    assert_same_training(resumed, whole)


def test_validation_data(tmp_path):
    split = {"X_val": X[::3], "y_val": Y[::3], "sample_weight_val": np.linspace(0.5, 1, 50)}
    settings = {"early_stopping": True, "n_iter_no_change": 2}
    whole = classifier(**settings).fit(X, Y, **split)
    stop_after(classifier(**settings), 2, tmp_path, X, Y, **split)
    assert_same_training(classifier(**settings).set_callbacks(Checkpoint(tmp_path)).fit(X, Y, **split), whole)


def test_random_state_none_is_drawn_as_before(tmp_path):
    settings = {"random_state": None, "early_stopping": True, "dropout": 0.1}
    stop_after(classifier(**settings), 4, tmp_path, X, Y)
    (last,) = [skbackprop.load(path) for path in tmp_path.iterdir() if path.name.endswith("4.safetensors")]
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    resumed = classifier(**settings).set_callbacks(Checkpoint(tmp_path)).fit(X, Y)
    assert resumed.validation_scores_[:4] == last.validation_scores_
    assert resumed.loss_curve_[:4] == last.loss_curve_
    assert resumed.n_iter_ == N_EPOCHS
    # What others draw from NumPy's generator is left alone.
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_random_state_object_ends_in_the_same_state(tmp_path):
    generators = [np.random.RandomState(5) for _ in range(3)]
    whole = classifier(random_state=generators[0]).fit(X, Y)
    stop_after(classifier(random_state=generators[1]), 5, tmp_path, X, Y)
    resumed = classifier(random_state=generators[2]).set_callbacks(Checkpoint(tmp_path)).fit(X, Y)
    assert_same_training(resumed, whole)


def test_warm_start_is_another_training_than_the_one_before(tmp_path):
    whole = classifier(warm_start=True).fit(X, Y).fit(X, Y)
    model = classifier(warm_start=True).set_callbacks(Checkpoint(tmp_path, epochs=1)).fit(X, Y)
    begun = pickle.loads(pickle.dumps(model.set_callbacks()))
    stop_after(model, 4, tmp_path, X, Y)
    resumed = begun.set_callbacks(Checkpoint(tmp_path)).fit(X, Y)
    assert_same_training(resumed, whole)
    assert len(resumed.loss_curve_) == 2 * N_EPOCHS


@pytest.mark.parametrize("name", ["coefs_", "scales_", "offsets_", "running_means_"])
def test_warm_start_from_another_model_is_another_training(name):
    model = classifier(warm_start=True, normalization="batch").fit(X, Y)
    before = _key(model, X, Y, {})
    assert _key(pickle.loads(pickle.dumps(model)), X, Y, {}) == before
    getattr(model, name)[0][..., 0] += 1.0
    assert _key(model, X, Y, {}) != before


def test_more_epochs_go_on_where_the_rates_allow_it(tmp_path):
    trained = []

    class Count(StopAfter):
        def on_fit_task_begin(self, estimator, context):
            trained.append(context.task_name)

    for rate, n_more in (("constant", 3), ("cosine", N_EPOCHS + 3)):
        whole = classifier(learning_rate=rate, solver="sgd", max_iter=N_EPOCHS + 3).fit(X, Y)
        model = classifier(learning_rate=rate, solver="sgd").set_callbacks(Checkpoint(tmp_path)).fit(X, Y)
        trained.clear()
        model.set_params(max_iter=N_EPOCHS + 3).set_callbacks(Checkpoint(tmp_path), Count(-1)).fit(X, Y)
        assert trained.count("epoch") == n_more
        assert_same_training(model, whole)


def test_fewer_epochs_start_anew(tmp_path):
    classifier().set_callbacks(Checkpoint(tmp_path)).fit(X, Y)
    model = classifier(max_iter=4).set_callbacks(Checkpoint(tmp_path)).fit(X, Y)
    assert_same_training(model, classifier(max_iter=4).fit(X, Y))


@pytest.mark.parametrize(
    "change",
    [
        lambda model, X, y: (model.set_params(alpha=0.1), X, y),
        lambda model, X, y: (model, X + 1e-9, y),
        lambda model, X, y: (model, X, y[::-1].copy()),
        lambda model, X, y: (model.set_params(random_state=4), X, y),
        lambda model, X, y: (model.set_params(class_weight={0: 2.0}), X, y),
    ],
)
def test_another_training_starts_anew(change, tmp_path):
    stop_after(classifier(), 4, tmp_path, X, Y)
    model, *data = change(classifier(), X, Y)
    whole = clone(model).fit(*data)
    assert_same_training(model.set_callbacks(Checkpoint(tmp_path)).fit(*data), whole)
    # The interrupted one is still there.
    assert_same_training(classifier().set_callbacks(Checkpoint(tmp_path)).fit(X, Y), classifier().fit(X, Y))


def test_resume_false_starts_anew_and_replaces(tmp_path):
    stop_after(classifier(), 5, tmp_path, X, Y)
    stop = StopAfter(2)
    model = classifier().set_callbacks(Checkpoint(tmp_path, epochs=1, resume=False), stop)
    with pytest.raises(StoppedError):
        model.fit(X, Y)
    assert [name[-18:] for name in files(tmp_path)] == ["000001.safetensors", "000002.safetensors"]


@pytest.mark.parametrize(
    ("epochs", "seconds", "expected"), [(4, None, [4, 8, 9]), (None, 0, [7, 8, 9]), (None, 60, [9])]
)
def test_when_and_how_many_are_kept(epochs, seconds, expected, tmp_path):
    classifier().set_callbacks(Checkpoint(tmp_path, epochs=epochs, seconds=seconds, keep=3)).fit(X, Y)
    assert [int(name[-18:-12]) for name in files(tmp_path)] == expected


def test_loading_a_checkpoint_gives_the_estimator_after_its_epoch(tmp_path):
    stop_after(classifier(averaging=0.9), 3, tmp_path, X, Y)
    loaded = skbackprop.load(tmp_path / files(tmp_path)[-1])
    np.testing.assert_array_equal(
        loaded.predict_proba(X), classifier(averaging=0.9, max_iter=3).fit(X, Y).predict_proba(X)
    )


def test_parameters_that_no_file_can_hold_are_compared_and_named(tmp_path):
    def scorer(estimator, X, y):
        return estimator.score(X, y)

    splitter = GroupShuffleSplit(n_splits=1, test_size=0.3, random_state=0)
    settings = {"scoring": scorer, "validation_fraction": splitter, "early_stopping": True}
    groups = np.arange(len(Y)) // 5
    whole = classifier(**settings).fit(X, Y, groups=groups)
    stop_after(classifier(**settings), 2, tmp_path, X, Y, groups=groups)
    resumed = classifier(**settings).set_callbacks(Checkpoint(tmp_path)).fit(X, Y, groups=groups)
    assert_same_training(resumed, whole)
    with pytest.raises(skbackprop.exceptions.ModelFileError, match="scorer"):
        skbackprop.load(tmp_path / files(tmp_path)[-1])


def closure(share):
    return lambda estimator, X, y: share * estimator.score(X, y)


def with_default(share):
    def scorer(estimator, X, y, *, share=share):
        return share * estimator.score(X, y)

    return scorer


def with_global(share):
    """As if a line of the program had been changed."""
    source = f"""
SHARE = {share}
def helper(score):
    return SHARE * score
def scorer(estimator, X, y):
    return helper(estimator.score(X, y))
"""
    names = {"__name__": "__main__"}
    exec(source, names)
    return names["scorer"]


def with_helper(share):
    names = {"__name__": "__main__"}
    exec(
        f"def helper(s): return {share} * s\ndef scorer(e, X, y): return helper(e.score(X, y)) if X is not None else scorer",
        names,
    )
    return names["scorer"]


def weighted(estimator, X, y, share):
    return share * estimator.score(X, y)


class Weighted:
    def __init__(self, share):
        self.share = share
        self.itself = self

    def __call__(self, estimator, X, y):
        return weighted(estimator, X, y, self.share)

    def method(self, estimator, X, y):
        return self(estimator, X, y)


def with_attribute(share):
    def scorer(estimator, X, y):
        return scorer.share * estimator.score(X, y)

    scorer.share = share
    return scorer


def own_class(share):
    return type("Own", (Weighted,), {"__call__": lambda self, estimator, X, y: share * estimator.score(X, y)})(1.0)


def bound_to_class(share):
    kind = type("Own", (), {"share": share, "score": classmethod(lambda cls, estimator, X, y: cls.share)})
    return kind.score


SCORERS = {
    "lambda": lambda share: eval(f"lambda estimator, X, y: {share} * estimator.score(X, y)"),
    "name in the code": lambda share: eval(
        f"lambda estimator, X, y: float(estimator.n_iter_ {'*' if share > 0.6 else '-'} 2)"
    ),
    "closure": closure,
    "default": with_default,
    "global value": with_global,
    "function that it calls": with_helper,
    "attribute of the function": with_attribute,
    "partial": lambda share: functools.partial(weighted, share=share),
    "partial of a closure": lambda share: functools.partial(functools.partial(closure(share))),
    "object": Weighted,
    "method": lambda share: Weighted(share).method,
    "class of one's own": own_class,
    "method of a class": bound_to_class,
    "cached": lambda share: functools.partial(
        lambda estimator, X, y, cached: cached(len(X)), cached=functools.lru_cache(lambda n: share * n)
    ),
    "scikit-learn's": lambda share: make_scorer(fbeta_score, beta=share, average="macro"),
    "scikit-learn's of one's own": lambda share: make_scorer(
        functools.partial(fbeta_score, beta=share, average="macro")
    ),
    "array": lambda share: functools.partial(weighted, share=np.array(share)),
    "set": lambda share: functools.partial(
        lambda e, X, y, shares: max(shares) * e.score(X, y), shares={share, 0.1, 0.2}
    ),
    "generator of random numbers": lambda share: functools.partial(
        lambda e, X, y, rng: e.score(X, y), rng=np.random.default_rng(int(10 * share))
    ),
}


def trainings(folder):
    return {name[:-18] for name in files(folder)}


def assert_same_by_share(make_scorer, folder):
    """Two shares are two trainings, and each the same again when its scorer is made anew, as when the program is run again."""

    def fit(share):
        model = classifier(early_stopping=True, max_iter=2, scoring=make_scorer(share))
        return model.set_callbacks(Checkpoint(folder)).fit(X, Y).validation_scores_

    scores = {share: fit(share) for share in (0.5, 1.0)}
    assert len(trainings(folder)) == 2
    for share in scores:
        assert fit(share) == scores[share]
    assert len(trainings(folder)) == 2


@pytest.mark.parametrize("name", SCORERS)
def test_functions_are_the_same_by_their_code_and_state(name, tmp_path):
    assert_same_by_share(SCORERS[name], tmp_path)


# Programs whose scorer takes its function from modules of one's own: beside it, in a folder without __init__.py, and in a package.
SCORERS_IN_MODULES = {
    "attribute of a module": "import own_cost\ndef scorer(*data): return own_cost.cost(*data)",
    "of another name": "import own_cost as some\ndef scorer(*data): return some.cost(*data)",
    "imported in the function": "def scorer(*data):\n import own_cost\n return own_cost.cost(*data)",
    "from it in the function": "def scorer(*data):\n from own_cost import cost\n return cost(*data)",
    "in a function within": "def scorer(*data):\n def inner():\n  import own_cost as c\n  return c.cost(*data)\n return inner()",
    "of a folder": "import own_folder.cost\ndef scorer(*data): return own_folder.cost.cost(*data)",
    "of a folder, in the function": "def scorer(*data):\n import own_folder.cost as c\n return c.cost(*data)",
    "from a folder, in the function": "def scorer(*data):\n from own_folder import cost\n return cost.cost(*data)",
    "of a package": "import own_package\ndef scorer(*data): return own_package.cost.cost(*data)",
    "relative": "__package__ = 'own_package'\ndef scorer(*data):\n from . import cost\n return cost.cost(*data)",
    "by a name that is computed": "import own_cost\ndef scorer(*data): return getattr(own_cost, 'co' + 'st')(*data)",
    "passed on": "import own_cost\ndef help(m, *d): return m.cost(*d)\ndef scorer(*d): return help(own_cost, *d)",
    "closure": "def make():\n import own_cost\n def scorer(*data): return own_cost.cost(*data)\n return scorer\nscorer = make()",
    "default": "import own_cost\ndef scorer(*data, m=own_cost): return m.cost(*data)",
    "attribute of a class": "import own_cost\nclass S:\n m = own_cost\n def __call__(s, *d): return s.m.cost(*d)\nscorer = S()",
    "module of a module": "import own_more\ndef scorer(*data): return own_more.cost(*data)",
}


@pytest.mark.parametrize("name", SCORERS_IN_MODULES)
def test_functions_in_modules_of_ones_own_are_the_same_by_what_is_in_the_modules(name, tmp_path, monkeypatch):
    modules = tmp_path / "modules"
    for folder in (modules / "own_folder", modules / "own_package"):
        folder.mkdir(parents=True)
    monkeypatch.syspath_prepend(modules)
    # The files are written faster than their times tell.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def scorer(share):
        text = f"def cost(estimator, X, y): return {share} * estimator.score(X, y)\n"
        for file in ("own_cost.py", "own_folder/cost.py", "own_package/cost.py"):
            (modules / file).write_text(text)
        (modules / "own_package" / "__init__.py").write_text("from . import cost\n")
        (modules / "own_more.py").write_text("import own_cost\ndef cost(*data): return own_cost.cost(*data)\n")
        forget()
        names = {"__name__": "__main__"}
        exec(SCORERS_IN_MODULES[name], names)
        return names["scorer"]

    def forget():
        for module in [module for module in sys.modules if module.startswith("own_")]:
            del sys.modules[module]
        importlib.invalidate_caches()

    try:
        assert_same_by_share(scorer, tmp_path / "checkpoints")
    finally:
        forget()


def test_values_that_a_program_sets_in_a_module_are_compared(tmp_path, monkeypatch):
    (tmp_path / "own_settings.py").write_text("share = None\n")
    monkeypatch.syspath_prepend(tmp_path)
    own_settings = importlib.import_module("own_settings")

    def scorer(share):
        own_settings.share = share
        return lambda estimator, X, y: own_settings.share * estimator.score(X, y)

    try:
        assert_same_by_share(scorer, tmp_path / "checkpoints")
    finally:
        del sys.modules["own_settings"]


def test_modules_of_libraries_are_known_by_their_names():
    import json

    def scorer(estimator, X, y):
        import email
        from xml import dom

        return json, np.linalg, email, dom

    parts = identify(scorer, "scoring", {})["function"]["map"]
    assert parts.keys() == {"code", "defaults", "closure", "globals"}
    assert parts["closure"] == [{"module": "json"}]
    assert parts["globals"]["map"]["np"] == {"module": "numpy"}


def random_splitter(seed):
    return GroupShuffleSplit(n_splits=1, test_size=0.3, random_state=np.random.RandomState(seed))


@pytest.mark.parametrize(
    "splitter",
    [random_splitter, lambda fold: GroupKFold(5, shuffle=True, random_state=np.random.RandomState(fold))],
)
def test_splitters_are_the_same_by_their_state(splitter, tmp_path):
    groups = np.arange(len(Y)) // 5
    settings = {"early_stopping": True}
    whole = [classifier(**settings, validation_fraction=splitter(i)).fit(X, Y, groups=groups) for i in range(2)]
    for _ in range(2):
        for i in range(2):
            model = classifier(**settings, validation_fraction=splitter(i))
            stop_after(model, 2, tmp_path, X, Y, groups=groups)
    assert len(trainings(tmp_path)) == 2
    for i in range(2):
        model = classifier(**settings, validation_fraction=splitter(i)).set_callbacks(Checkpoint(tmp_path))
        assert model.fit(X, Y, groups=groups).validation_scores_ == whole[i].validation_scores_


def test_estimators_are_the_same_by_the_code_of_their_class(tmp_path):
    for _ in range(2):
        for n_rows in (10, 20):
            body = {"own": eval(f"lambda self: {n_rows}")}
            kind = type("Own", (BackpropClassifier,), body)
            kind((3,), max_iter=2, random_state=0).set_callbacks(Checkpoint(tmp_path)).fit(X, Y)
    assert len(trainings(tmp_path)) == 2


@pytest.mark.parametrize("value", [threading.Lock(), (number for number in [1.0])])
def test_function_that_cannot_be_compared_is_refused_before_training(value, tmp_path):
    scorer = functools.partial(lambda estimator, X, y, value: 1.0, value=value)
    model = classifier(early_stopping=True, scoring=scorer).set_callbacks(Checkpoint(tmp_path))
    with pytest.raises(
        ValueError, match=r"(?s)cannot tell whether scoring=.* is the same.*cannot pickle.*Pass a function"
    ):
        model.fit(X, Y)
    assert not hasattr(model, "coefs_")
    assert not files(tmp_path)


IN_ANOTHER_PROCESS = """
import functools, sys
import numpy as np
from sklearn.datasets import load_iris
from sklearn.model_selection import GroupShuffleSplit
from skbackprop import BackpropClassifier, Checkpoint
SHARES = {"a", "b", "c"}
class Scorer:
    weights = {"x": 1.0, "y": np.ones(2)}
    def __call__(self, estimator, X, y, names=frozenset(SHARES)):
        return len(SHARES | names | {"d"}) * self.weights["x"] * estimator.score(X, y)
X, y = load_iris(return_X_y=True)
splitter = GroupShuffleSplit(1, test_size=0.3, random_state=np.random.RandomState(0))
model = BackpropClassifier(
    (3,), max_iter=1, random_state=0, early_stopping=True, validation_fraction=splitter, scoring=functools.partial(Scorer())
)
model.set_callbacks(Checkpoint(sys.argv[1])).fit(X, y, groups=np.arange(150) // 5)
"""


@pytest.mark.process
def test_functions_are_the_same_in_another_process(tmp_path):
    for seed in "012":
        arguments = [sys.executable, "-W", "ignore", "-c", IN_ANOTHER_PROCESS, str(tmp_path)]
        subprocess.run(arguments, check=True, env={**os.environ, "PYTHONHASHSEED": seed})
    assert len(trainings(tmp_path)) == 1


def test_splitter_without_seed_is_refused_when_it_splits_otherwise(tmp_path):
    settings = {"validation_fraction": GroupShuffleSplit(n_splits=1, test_size=0.3), "early_stopping": True}
    groups = np.arange(len(Y)) // 5
    stop_after(classifier(**settings), 2, tmp_path, X, Y, groups=groups)
    with pytest.raises(ValueError, match="set its random_state"):
        classifier(**settings).set_callbacks(Checkpoint(tmp_path)).fit(X, Y, groups=groups)


@pytest.mark.parametrize("n_jobs", [1, pytest.param(2, marks=pytest.mark.process)])
def test_each_candidate_of_a_search_has_checkpoints_of_its_own(n_jobs, tmp_path):
    model = make_pipeline(StandardScaler(), classifier(max_iter=3))
    plain = GridSearchCV(model, {"backpropclassifier__alpha": [0.1, 0.2]}, cv=3).fit(X, Y)
    model[-1].set_callbacks(Checkpoint(tmp_path, keep=1))
    search = GridSearchCV(model, {"backpropclassifier__alpha": [0.1, 0.2]}, cv=3, n_jobs=n_jobs).fit(X, Y)
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"])
    assert len(files(tmp_path)) == 2 * 3 + 1
    assert same(search.best_estimator_[-1].coefs_, plain.best_estimator_[-1].coefs_)


def test_where_it_does_not_belong(tmp_path):
    with pytest.raises(TypeError, match="not for Pipeline"):
        make_pipeline(classifier()).set_callbacks(Checkpoint(tmp_path)).fit(X, Y)
    with pytest.raises(ValueError, match="solver='lbfgs' keeps no state"):
        classifier(solver="lbfgs").set_callbacks(Checkpoint(tmp_path)).fit(X, Y)


@pytest.mark.parametrize(
    "settings", [{"epochs": 0}, {"epochs": 1.5}, {"epochs": True}, {"seconds": -1}, {"seconds": "1"}, {"keep": 0}]
)
def test_bad_settings_are_named(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        Checkpoint("folder", **settings)


def test_without_safetensors_the_error_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(ImportError, match=r"pip install safetensors"):
        classifier().set_callbacks(Checkpoint(tmp_path)).fit(X, Y)


@pytest.mark.parametrize("damage", ["truncated", "bit", "empty", "other"])
def test_damaged_checkpoint_is_left_out(damage, tmp_path):
    stop_after(classifier(), 5, tmp_path, X, Y)
    newest = tmp_path / files(tmp_path)[-1]
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes({"truncated": bytes(data[:1000]), "bit": bytes(data), "empty": b"", "other": b"PK\3\4"}[damage])
    with pytest.warns(UserWarning, match="A checkpoint is left out.*000005"):
        resumed = classifier().set_callbacks(Checkpoint(tmp_path)).fit(X, Y)
    assert_same_training(resumed, classifier().fit(X, Y))


def full_disk(*arguments):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_failed_write_leaves_the_checkpoint_before(call, monkeypatch, tmp_path):
    stop_after(classifier(), 3, tmp_path, X, Y, epochs=2)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    model = classifier().set_callbacks(Checkpoint(tmp_path, epochs=1))
    with monkeypatch.context() as patch:
        patch.setattr(os, call, full_disk)
        with pytest.raises(OSError, match=r"safetensors could not be written \(No space left"):
            model.fit(X, Y)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    model.predict(X)
    assert_same_training(model.fit(X, Y), classifier().fit(X, Y))


FULL = """
import resource, sys
from sklearn.datasets import load_iris
from skbackprop import BackpropClassifier, Checkpoint
X, y = load_iris(return_X_y=True)
model = BackpropClassifier((6, 5), max_iter=9, random_state=3, batch_size=32, n_jobs=1)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    model.set_callbacks(Checkpoint(sys.argv[1], epochs=1)).fit(X, y)
except OSError as error:
    model.predict(X)
    print(error)
"""


@pytest.mark.process
def test_file_that_grows_too_large_for_the_disk(tmp_path):
    stop_after(classifier(), 3, tmp_path, X, Y)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    limit = str(max(map(len, before.values())) // 2)
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path), limit], capture_output=True, text=True, check=True
    )
    assert "000004.safetensors could not be written" in done.stdout
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_folder_that_cannot_be_made_is_an_error_before_training(tmp_path):
    (tmp_path / "file").write_text("")
    model = classifier()
    with pytest.raises(OSError, match=r"folder of Checkpoint.*nothing was trained"):
        model.set_callbacks(Checkpoint(tmp_path / "file")).fit(X, Y)
    assert not hasattr(model, "coefs_")


def _fit_without_rights(folder, results):
    if os.getuid() == 0:
        os.setuid(65534)
    try:
        classifier().set_callbacks(Checkpoint(folder, epochs=1)).fit(X, Y)
    except OSError as error:
        results.put((type(error).__name__, str(error)))


@pytest.mark.process
def test_read_only_folder_is_an_error_before_training(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    stop_after(classifier(), 3, folder, X, Y)
    before = files(folder)
    for path in (*folder.parents[:3], folder):
        path.chmod(0o555 if path == folder else 0o755)
    results = FORK.Queue()
    process = FORK.Process(target=_fit_without_rights, args=(folder, results))
    process.start()
    kind, message = results.get(timeout=60)
    process.join()
    folder.chmod(0o755)
    assert kind == "PermissionError"
    assert "nothing was trained" in message
    assert files(folder) == before


def test_temporaries_of_the_dead_go_and_those_of_the_living_stay(tmp_path):
    stop_after(classifier(), 2, tmp_path, X, Y)
    name = files(tmp_path)[-1]
    dead = tmp_path / f".{name}.{2**30}-0.tmp"
    dead.write_bytes(b"half")
    other = tmp_path / ".else.tmp"
    other.write_bytes(b"not ours")
    descriptor, living = container._open_temporary(tmp_path / name)
    classifier().set_callbacks(Checkpoint(tmp_path)).fit(X, Y)
    assert not dead.exists()
    assert other.exists()
    assert living.exists()
    os.close(descriptor)


FORK = multiprocessing.get_context("fork")


def _train_to_the_end(folder, settings):
    classifier(**settings, n_jobs=1).set_callbacks(Checkpoint(folder, epochs=1)).fit(X, Y)
    os._exit(0)


@pytest.mark.process
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_killed_at_random_moments(sent, tmp_path, rng):
    settings = {"max_iter": 60, "averaging": 0.9, "dropout": 0.2, "normalization": "batch", "early_stopping": True}
    settings["n_iter_no_change"] = np.inf
    whole = classifier(**settings, n_jobs=1).fit(X, Y)
    n_kills, seen = 0, set()
    while True:
        process = FORK.Process(target=_train_to_the_end, args=(tmp_path, settings))
        process.start()
        process.join(timeout=rng.uniform(0.02, 0.15))
        if process.exitcode is None:
            os.kill(process.pid, sent)
            process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -sent
        n_kills += 1
        # Whatever is there is whole.
        for path in tmp_path.glob("*.safetensors"):
            seen.add(skbackprop.load(path).n_iter_)
        assert n_kills < 200, "no progress"
    assert n_kills > 2
    assert len(seen) > 2
    resumed = classifier(**settings, n_jobs=1).set_callbacks(Checkpoint(tmp_path)).fit(X, Y)
    assert_same_training(resumed, whole)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("schedule", [*SCHEDULES, Cosine(restart_epochs=5), Polynomial(warmup_epochs=3)], ids=str)
def test_schedules_tell_whether_their_rates_depend_on_the_end(schedule):
    model = BackpropClassifier(solver="sgd", learning_rate=schedule, max_iter=20)
    depends = SCHEDULES.get_function(schedule).ends_with_max_iter
    assert _depends_on_max_iter(model) == depends
    if schedule not in ("adaptive", "reduce_on_plateau"):
        for name in ("dropout_schedule", "weight_decay_schedule"):
            assert _depends_on_max_iter(BackpropClassifier(**{name: schedule}, max_iter=20)) == depends
