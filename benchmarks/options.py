"""Scores of every option, compared with the default, and with scikit-learn if it has the option.

Scores are means over the folds of a cross-validation. They show that an option trains, not that it is a good choice:
nothing is tuned. The functions come from the package's registries, so new ones appear in the table without a change
here. If pytest is installed, two more things are measured: how far solvers are from their reference values, and how
many numerical gradients agree.
"""

import sys
import warnings
from dataclasses import dataclass, field
from functools import cache, partial

import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import get_scorer, make_scorer, mean_pinball_loss
from sklearn.model_selection import GroupShuffleSplit, KFold, ShuffleSplit
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MultiLabelBinarizer, StandardScaler
from sklearn.utils._param_validation import InvalidParameterError

from benchmarks.measure import OURS, ROOT, Results
from skbackprop import BackpropClassifier, BackpropEmbedding, BackpropRegressor
from skbackprop.exceptions import TrainingWarning
from skbackprop.functions import (
    SGD,
    AdamW,
    BatchNormalization,
    Cosine,
    Focal,
    Gaussian,
    Huber,
    LeakyReLU,
    Lion,
    LogLoss,
    OneCycle,
    Quantile,
    RMSprop,
    Tweedie,
)
from skbackprop.functions.activations import ACTIVATIONS
from skbackprop.functions.initializers import INITIALIZERS
from skbackprop.functions.losses import LOSSES, loss_link
from skbackprop.functions.normalizations import NORMALIZATIONS
from skbackprop.functions.optimizers import OPTIMIZERS
from skbackprop.functions.schedules import SCHEDULES

DEFAULT, SKLEARN = "default", "scikit-learn"
_SEED = 0


@cache
def _load(name):
    """Data by name: X and y, with X of a scale that suits networks."""
    if name.startswith("digits"):
        X, y = load_digits(return_X_y=True)
        X = X / 16
        if name == "digits, several labels":
            # Labels of a digit: even, above four, has a closed loop.
            traits = [[trait for trait, has in enumerate((d % 2 == 0, d > 4, d in (0, 4, 6, 8, 9))) if has] for d in y]
            y = MultiLabelBinarizer(classes=range(3)).fit_transform(traits)
        elif name == "digits, two columns":
            y = np.column_stack([y % 3, y // 5])
        elif name == "digits, second half":
            X, y = X[len(y) // 2 :], y[len(y) // 2 :]
        return X, y
    if name == "breast cancer":
        X, y = load_breast_cancer(return_X_y=True)
        return StandardScaler().fit_transform(X), y
    X, y = load_diabetes(return_X_y=True)
    if name == "diabetes, fast progress":
        y = (y > 240).astype(int)
    elif name == "diabetes, positive":
        y = y / 100
    elif name == "diabetes, two targets":
        y = np.column_stack([y, X[:, 2]])
        X = np.delete(X, 2, axis=1)
    return StandardScaler().fit_transform(X), y


#: Parameters of all fits on the data, and the scorer.
_CLASSIFIER = {"hidden_layer_sizes": (50,), "learning_rate_init": 5e-3, "batch_size": 50, "max_iter": 30}
_REGRESSOR = {"hidden_layer_sizes": (20,), "learning_rate_init": 5e-3, "batch_size": 50, "max_iter": 60, "alpha": 1.0}


@dataclass
class Option:
    """A fit with some parameters, compared with one without them.

    Parameters
    ----------
    group : str
        The parameter that is tried, or the purpose of several of them.
    settings : dict
        Parameters of the option.
    data : str
        For `_load`.
    base : dict
        Further parameters of both fits, in addition to those of all fits on the data.
    scoring : str or scorer
        None for accuracy and R^2.
    unit : str
        Name of the score.
    fit : callable
        Maps the row indices of a fold to those to train on and further arguments of `fit`.
    final : callable
        Wraps the estimator, for example in a pipeline that ends in another one.
    label : str
        Name in the table; the settings by default.
    """

    group: str
    settings: dict
    data: str = "digits"
    base: dict = field(default_factory=dict)
    scoring: object = None
    unit: str = ""
    fit: object = None
    final: object = None
    label: str = ""

    @property
    def is_regression(self):
        """Whether the data need a regressor."""
        return self.data.startswith("diabetes") and self.data != "diabetes, fast progress"

    @property
    def has_default(self):
        """Whether the score makes sense without the option, too."""
        return self.scoring not in (_within_quantiles, _within_one_std)

    @property
    def name(self):
        """Name in the table."""
        text = self.label or ", ".join(f"{key}={value!r}" for key, value in self.settings.items()) or "defaults"
        return f"{text}; {self.data}"

    def parameters(self, with_option):
        """Parameters of the estimator."""
        common = _REGRESSOR if self.is_regression else _CLASSIFIER
        return {**common, "random_state": _SEED, **self.base, **(self.settings if with_option else {})}


def _options():
    """All of them, from the registries where there is one."""
    yield from _functions()
    yield from _regularisation()
    yield from _starts_and_weights()
    yield from _validation()
    yield from _outputs()


def _functions():
    for activation in (*ACTIVATIONS, LeakyReLU(0.2)):
        yield Option("activation", {"activation": activation})
    yield Option("activation", {"activation": ["tanh", "gelu"]}, base={"hidden_layer_sizes": (50, 30)})
    for activation in ("relu", "silu"):
        label = f"parametric_activation=True, activation={activation!r}"
        yield Option("activation", {"parametric_activation": True}, base={"activation": activation}, label=label)

    classifier_losses = [name for name, kind in LOSSES.items() if "multiclass" in kind.kinds()]
    for loss in (*classifier_losses, LogLoss(label_smoothing=0.1), Focal(gamma=1.0)):
        for data in ("digits", "breast cancer"):
            yield Option("loss", {"loss": loss}, data)
    for name, kind in LOSSES.items():
        if "regression" in kind.kinds():
            positive = loss_link(kind).domain[0] == 0
            data, base = ("diabetes, positive", {}) if positive else ("diabetes", {"standardize_target": True})
            yield Option("loss", {"loss": name}, data, base)
    yield Option("loss", {"loss": Huber(delta=0.5)}, "diabetes", {"standardize_target": True})
    yield Option("loss", {"loss": Tweedie(power=1.2)}, "diabetes, positive")

    # Rates at which each has learned something after these epochs; those of the papers are for longer trainings.
    rates = {"sgd": 0.1, "lion": 2e-3}
    for name, kind in OPTIMIZERS.items():
        rate = rates.get(name, 5 * kind.default_rate)
        for data in ("digits", "breast cancer", "diabetes"):
            base = {"standardize_target": True} if data == "diabetes" else {}
            yield Option("solver", {"solver": name, "learning_rate_init": rate}, data, base)
    for data in ("digits", "breast cancer", "diabetes"):
        yield Option("solver", {"solver": "lbfgs"}, data)
    for solver, rate in (
        (SGD(momentum=0.5, nesterov=False), 0.1),
        (AdamW(weight_decay=0.1), 5e-3),
        (RMSprop(centered=True), 5e-3),
        (Lion(weight_decay=0.1), 2e-3),
    ):
        yield Option("solver", {"solver": solver, "learning_rate_init": rate})

    # scikit-learn's schedules have no effect on 'adam' if they are given by name.
    sgd = {"solver": "sgd", "learning_rate_init": 0.1, "n_iter_no_change": np.inf}
    for name in SCHEDULES:
        yield Option("learning_rate", {"learning_rate": name}, base=sgd)
        yield Option("learning_rate", {"learning_rate": SCHEDULES[name](warmup_epochs=3)}, base=sgd)
    for schedule in (Cosine(restart_epochs=10), OneCycle(peak_fraction=0.2)):
        yield Option("learning_rate", {"learning_rate": schedule}, base=sgd)


def _regularisation():
    for settings in (
        {"alpha": 1.0},
        {"alpha": 0.1, "l1_ratio": 0.5},
        {"alpha": 0.1, "l1_ratio": 1.0},
        {"dropout": 0.3},
        {"dropout": (0.1, 0.3)},
        {"max_norm": 2.0},
        {"clip_norm": 1.0},
        {"clip_value": 0.1},
        {"averaging": 0.99},
    ):
        yield Option("regularisation", settings)
        yield Option("regularisation", settings, "diabetes", {"standardize_target": True})
    deep = {"hidden_layer_sizes": (32,) * 6, "activation": "logistic"}
    for normalization in (*NORMALIZATIONS, BatchNormalization(momentum=0.99)):
        yield Option("normalization", {"normalization": normalization})
        yield Option(
            "normalization",
            {"normalization": normalization},
            base=deep,
            label=f"normalization={normalization!r}, six layers",
        )


def _starts_and_weights():
    for name in INITIALIZERS:
        yield Option("weight_init", {"weight_init": name}, base={"hidden_layer_sizes": (50, 50)})
    yield Option(
        "weight_init",
        {"parametrization": "ntp", "learning_rate_init": 0.04},
        base={"hidden_layer_sizes": (50, 50)},
    )
    X, y = _load("digits")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        source = BackpropClassifier(**_CLASSIFIER, random_state=_SEED).fit(X[: len(y) // 2], y[: len(y) // 2])
    network = {"weight_init": FrozenEstimator(source)}
    for settings, label in (
        (network, "another network"),
        ({"weight_init": (source.coefs_, source.intercepts_)}, "arrays"),
        ({**network, "frozen_layers": [0]}, "another network, frozen_layers=[0]"),
    ):
        # Two epochs, so that the transferred weights show.
        yield Option("weight_init", settings, "digits, second half", {"max_iter": 2}, label=f"weight_init={label}")
    for data in ("digits", "diabetes, positive"):
        base = {"loss": "poisson"} if data != "digits" else {}
        yield Option("output_bias", {"output_bias": "prior"}, data, {**base, "max_iter": 3})

    rare = {"alpha": 1.0}
    for weights in ("balanced", {1: 3.0}):
        yield Option(
            "class_weight",
            {"class_weight": weights},
            "diabetes, fast progress",
            rare,
            "balanced_accuracy",
            "balanced accuracy",
        )
    yield Option("class_weight", {"class_weight": "balanced"})
    yield Option("class_weight", {"class_weight": [{0: 1, 1: 2}] * 3}, "digits, several labels")


def _validation():
    early = {"early_stopping": True, "max_iter": 200}
    groups = np.arange(len(_load("digits")[1])) // 10
    for settings, fit, label in (
        (early, None, "early_stopping"),
        ({**early, "scoring": "loss"}, None, "scoring='loss'"),
        ({**early, "scoring": "neg_log_loss"}, None, "scoring='neg_log_loss'"),
        ({**early, "scoring": get_scorer("balanced_accuracy")}, None, "scoring=a scorer"),
        ({**early, "validation_fraction": 0.2}, None, "validation_fraction=0.2"),
        (
            {**early, "validation_fraction": ShuffleSplit(1, test_size=0.2, random_state=_SEED)},
            None,
            "validation_fraction=ShuffleSplit",
        ),
        (
            {**early, "validation_fraction": GroupShuffleSplit(1, test_size=0.2, random_state=_SEED)},
            lambda rows: (rows, {"groups": groups[rows]}),
            "validation_fraction=GroupShuffleSplit",
        ),
        (early, _held_out_rows, "X_val"),
        ({"restore_best_weights": True}, None, "restore_best_weights"),
        ({"restore_best_weights": True}, _held_out_rows, "restore_best_weights, X_val"),
    ):
        yield Option("validation", settings, fit=fit, label=label)


def _held_out_rows(rows):
    """Every fifth training row as validation data."""
    X, y = _load("digits")
    held_out, others = rows[::5], np.setdiff1d(rows, rows[::5])
    return others, {"X_val": X[held_out], "y_val": y[held_out]}


def _outputs():
    yield Option("outputs", {}, "breast cancer", label="two classes")
    yield Option("outputs", {}, "digits", label="ten classes")
    yield Option("outputs", {}, "digits, several labels", label="multilabel")
    yield Option("outputs", {}, "digits, two columns", label="multiclass-multioutput")
    yield Option("outputs", {}, "diabetes, two targets", label="two targets")
    for data in ("diabetes", "diabetes, two targets"):
        yield Option("outputs", {"standardize_target": True}, data)
    standardized = {"standardize_target": True}
    levels = [0.1, 0.5, 0.9]
    yield Option(
        "outputs",
        {"loss": Quantile(levels)},
        "diabetes",
        standardized,
        _within_quantiles,
        "share in the interval, wanted 0.8",
        label="Quantile([0.1, 0.5, 0.9])",
    )
    yield Option(
        "outputs",
        {"loss": Quantile(0.9)},
        "diabetes",
        standardized,
        make_scorer(mean_pinball_loss, alpha=0.9),
        "pinball loss",
        label="Quantile(0.9)",
    )
    yield Option(
        "outputs",
        {"loss": Gaussian()},
        "diabetes",
        standardized,
        _within_one_std,
        "share within one standard deviation, wanted 0.68",
        label="return_std",
    )
    yield Option("outputs", {}, final=_neighbours, label="BackpropEmbedding and nearest neighbours")


def _within_quantiles(model, X, y):
    predictions = model.predict(X)
    return np.mean((y > predictions[:, 0]) & (y < predictions[:, -1]))


def _within_one_std(model, X, y):
    means, deviations = model.predict(X, return_std=True)
    return np.mean(np.abs(y - means) < deviations)


def _neighbours(network):
    return make_pipeline(BackpropEmbedding(network), KNeighborsClassifier())


def _scores(option, estimator, n_folds, fit=None):
    """Score of each fold, and the seconds it took."""
    X, y = _load(option.data)
    scorer = get_scorer(option.scoring) if isinstance(option.scoring, str) else option.scoring
    values = []
    for train, test in KFold(n_folds, shuffle=True, random_state=_SEED).split(X):
        rows, arguments = fit(train) if fit else (train, {})
        model = clone(estimator).fit(X[rows], y[rows], **arguments)
        values.append(float(scorer(model, X[test], y[test]) if scorer else model.score(X[test], y[test])))
    return {"values": values}


def _same_of_sklearn(option, parameters):
    """Scikit-learn's network with the same parameters, or None if it does not have them."""
    model = (MLPRegressor if option.is_regression else MLPClassifier)()
    defaults = (BackpropRegressor if option.is_regression else BackpropClassifier)().get_params()
    parameters = {
        name: value for name, value in parameters.items() if name not in defaults or value is not defaults[name]
    }
    if option.fit or option.final or not set(parameters) <= set(model.get_params()):
        return None
    try:
        model.set_params(**parameters)._validate_params()
    except InvalidParameterError:
        return None
    return model


def _measure(option, n_folds, quick):
    """Scores of the option, of the default, and of scikit-learn if it has the option."""
    kind = BackpropRegressor if option.is_regression else BackpropClassifier
    short = {"max_iter": 2} if quick else {}
    parameters = {**option.parameters(True), **short}
    estimator = kind(**parameters)
    results = {OURS: _scores(option, option.final(estimator) if option.final else estimator, n_folds, option.fit)}
    if (option.settings or option.final) and option.has_default:
        results[DEFAULT] = _scores(option, kind(**{**option.parameters(False), **short}), n_folds)
    theirs = _same_of_sklearn(option, parameters)
    if theirs is not None:
        try:
            results[SKLEARN] = _scores(option, theirs, n_folds)
        except ValueError as error:  # for example several columns of classes
            results[SKLEARN] = {"error": str(error)}
    return results


def _solver_deviations():
    """Largest relative deviation of each solver's parameters from its reference values, after up to 50 updates."""
    import test_optimizers as tests

    for name, kind in OPTIMIZERS.items():
        values = []
        for case in tests.REFERENCE["cases"]:
            if case["name"] != name:
                continue
            run = tests.Run(kind(**case["settings"]), tests.REFERENCE["start"])
            expected = iter(case["params"])
            for step, gradient in enumerate(tests.REFERENCE["gradients"], 1):
                params = run.update(gradient, case["rate"], tests.REFERENCE["share"], case["l2"], case["decays"])
                if step in tests.REFERENCE["checkpoints"]:
                    target = np.array(next(expected))
                    values.append(float(np.max(np.abs(params - target) / np.abs(target))))
        yield name, max(values)


class _Count:
    """Counts how tests end; a plugin of pytest."""

    def __init__(self):
        self.passed = self.failed = 0

    def pytest_runtest_logreport(self, report):
        """Count a test's call."""
        if report.when == "call":
            self.passed += report.passed
            self.failed += report.failed


def _gradient_checks():
    """How many combinations of functions have gradients that agree with numerical ones, and how many do not."""
    import pytest

    count = _Count()
    pytest.main(["-q", "--no-header", "-k", "numerical_gradients", str(ROOT / "tests")], plugins=[count])
    return count.passed, count.failed


def run(options):
    """Run the benchmark; `--only` takes names of groups, `--rounds` is the number of folds."""
    results = Results(options)
    wanted = partial(_is_wanted, options.only)
    with warnings.catch_warnings():
        # Trainings are short, and some options are expected to fail in the comparison.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", TrainingWarning)
        for option in _options():
            if wanted(option.group):
                unit = option.unit or ("R^2" if option.is_regression else "accuracy")
                results.add(option.name, _measure(option, options.rounds, options.quick), unit, group=option.group)
    try:
        import pytest  # noqa: F401
    except ImportError:
        print("deviations of solvers and numerical gradients are left out: pytest is not installed")
    else:
        sys.path.insert(0, str(ROOT / "tests"))
        if wanted("deviations"):
            unit = "largest relative deviation"
            for name, deviation in _solver_deviations():
                results.add(f"solver={name!r}", {OURS: {"values": [deviation]}}, unit, group="deviations")
        if wanted("gradients") and not options.quick:
            for name, number in zip(("agree", "do not agree"), _gradient_checks(), strict=True):
                results.add(name, {OURS: {"values": [number]}}, "combinations of functions", group="gradients")
    results.finish()


def _is_wanted(only, group):
    return not only or group in only
