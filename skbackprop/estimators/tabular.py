"""Estimators for tables as they are: an encoder of the columns, and an ensemble of networks with tuned defaults."""

import math
import time
from functools import partial
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from joblib import effective_n_jobs
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from sklearn.base import ClassifierMixin, RegressorMixin, is_classifier
from sklearn.model_selection import GroupShuffleSplit, KFold, train_test_split
from sklearn.preprocessing import TargetEncoder
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import (
    assert_all_finite,
    check_array,
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
)

from skbackprop._parameters import NamedOnce
from skbackprop._sklearn import (
    HasMethods,
    Interval,
    StrOptions,
    _check_sample_weight,
    _fit_context,
    _VisualBlock,
    refuse_older,
)
from skbackprop.backends.data import as_rows
from skbackprop.estimators._callbacks import IdleCallback
from skbackprop.estimators._class_weight import class_factors
from skbackprop.estimators._labels import refuse_misread_labels
from skbackprop.estimators._model_file import SavesToFile
from skbackprop.estimators._prediction import get_ready, predict_ready
from skbackprop.estimators._table_file import TABULAR, check_tabular
from skbackprop.estimators._validation import first_split
from skbackprop.estimators.classifier import BackpropClassifier
from skbackprop.estimators.regressor import BackpropRegressor
from skbackprop.functions.activations import ACTIVATIONS, Activation
from skbackprop.functions.input_layers import InputScale, PeriodicEmbedding, PiecewiseLinearEmbedding
from skbackprop.functions.losses import LogLoss
from skbackprop.functions.optimizers import AdamW
from skbackprop.functions.schedules import CosineLog
from skbackprop.preprocessing import TableEncoder
from skbackprop.preprocessing._table_encoder import SCALED
from skbackprop.training.population import models_at_a_time, population
from skbackprop.training.warned import WarningSummary, begin_fit, summarized, warn

if TYPE_CHECKING:
    from typing import Self

__all__ = ["BackpropTabularClassifier", "BackpropTabularRegressor"]

# Levels of piecewise linear embeddings, and outputs of all of them together: at most 8 a column, and at least 2.
_N_LEVELS = 7
_N_EMBEDDED = 128
_MOST_OUTPUTS, _FEWEST_OUTPUTS = 8, 2
# Epochs and rows of the trial whether to embed numbers. Sixteen epochs tell what 64 would, where it matters; eight do
# not.
_TRIAL_EPOCHS = 16
_TRIAL_ROWS = 10_000
# Epochs, and how many rows have all of them. More rows take as many steps, so time does not grow with them, until there
# are too few epochs for the cycles of the schedule.
_MOST_EPOCHS, _FEWEST_EPOCHS = 64, 8
_ROWS_OF_MOST_EPOCHS = 100_000
# Fewer rows than this leave none for validation.
_MIN_SPLIT = 5


class _Watch(IdleCallback):
    """Callback of a member: stops it at a valley of the learning rate whose cycle brought no better epoch, or in time.

    Parameters
    ----------
    valleys : list of int
        Epochs at which the learning rate is lowest.
    deadline : float
        `time.monotonic` at which training ends.
    """

    def __init__(self, valleys: list[int], deadline: float) -> None:
        self._valleys = valleys
        self._deadline = deadline

    @property
    def max_propagation_depth(self) -> Any:
        """Only the tasks of the network itself are watched."""
        return 0

    def on_fit_task_end(self, estimator: Any, context: Any, *, fitted_estimator: Any = None) -> Any:
        """Return whether to stop after an epoch."""
        if context.task_name != "epoch":
            return False
        if time.monotonic() > self._deadline:
            return True
        scores = fitted_estimator.validation_scores_
        if not scores or len(scores) not in self._valleys:
            return False
        # Of equal epochs the later one is better: it has seen more.
        known = [(score, epoch) for epoch, score in enumerate(scores, start=1) if not math.isnan(score)]
        _, best_epoch = max(known, default=(None, 0))
        return best_epoch <= [0, *self._valleys][self._valleys.index(len(scores))]


def _logits(raw):
    """Return raw predictions with a column per class, in float64."""
    raw = np.asarray(raw, dtype=np.float64)
    if raw.ndim == 1:
        raw = raw[:, np.newaxis]
    return np.hstack([np.zeros_like(raw), raw]) if raw.shape[1] == 1 else raw


def _scaled_log_loss(raw, labels, weights):
    """Compute the log loss after temperature scaling, and the inverse temperature (Guo et al., 2017).

    One more row with a uniform prediction keeps the loss of few rows, all of them right, from vanishing (as Berta et
    al., 2025, do it).
    """
    z = _logits(raw)
    n_rows, n_classes = z.shape
    z = z - z.max(axis=1, keepdims=True)
    own = z[np.arange(n_rows), labels]

    def loss(log_beta):
        # Not SciPy's logsumexp, which takes twenty times as long: this runs ten times an epoch, and no z is above 0.
        exponents = math.exp(log_beta) * z
        p = np.exp(math.exp(log_beta) * own) / np.exp(exponents, out=exponents).sum(axis=1)
        return float(np.average(-np.log((n_rows * p + 1.0 / n_classes) / (n_rows + 1.0)), weights=weights))

    found = minimize_scalar(loss, bounds=(math.log(0.02), math.log(50.0)), method="bounded", options={"xatol": 1e-3})
    return found.fun, math.exp(found.x)


def _negative_scaled_log_loss(network, X, y, sample_weight=None):
    """Score validation rows; the scorer of the members of a classifier."""
    labels = np.searchsorted(network.classes_, y)
    return -_scaled_log_loss(network.decision_function(X), labels, sample_weight)[0]


def _n_epochs(n_rows):
    """Return the epochs of `max_iter="auto"`."""
    return min(_MOST_EPOCHS, max(_FEWEST_EPOCHS, math.ceil(_MOST_EPOCHS * _ROWS_OF_MOST_EPOCHS / n_rows)))


def _for_networks(encoded):
    """Return encoded rows as networks take them; if nothing varies, with a column of zeros to learn a constant from."""
    encoded = np.ascontiguousarray(encoded)
    return encoded if encoded.shape[1] else np.zeros((len(encoded), 1), dtype=np.float32)


class _Rows(NamedTuple):
    """Encoded rows, and what belongs to them."""

    Z: np.ndarray
    targets: np.ndarray
    weights: np.ndarray | None
    groups: Any
    held_out: tuple | None  # encoded rows, targets and weights to validate on; None splits them off
    common: tuple | None  # indices of rows to train and to validate on that are the same for all networks

    def columns(self, columns):
        """Return the same rows with some of the columns."""
        held_out = self.held_out and (_for_networks(self.held_out[0][:, columns]), *self.held_out[1:])
        return self._replace(Z=_for_networks(self.Z[:, columns]), held_out=held_out)

    def some(self, indices):
        """Return some of the rows to train on."""
        parts = [None if part is None else np.asarray(part)[indices] for part in self[:4]]
        return _Rows(*parts, *self[4:])


class _Tabular(SavesToFile, NamedOnce):
    """What the two estimators share."""

    _fitted = TABULAR

    # With metadata routing, a search's groups go to its splitter only.
    __metadata_request__fit = {"groups": False}

    # For type checkers only: fitting sets them.
    encoder_: TableEncoder
    n_iter_: int
    n_features_in_: int
    feature_names_in_: np.ndarray

    _parameter_constraints: dict[Any, Any] = {
        "n_estimators": [Interval(Integral, 1, None, closed="left")],
        "categorical_features": TableEncoder._parameter_constraints["categorical_features"],
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(ACTIVATIONS)), Activation, "array-like"],
        "numerical_embeddings": [StrOptions({"auto", "piecewise_linear", "periodic"}), None],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "dropout": [Interval(Real, 0, 1, closed="left"), "array-like"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither"), HasMethods(["split", "get_n_splits"])],
        "max_time": [Interval(Real, 0, None, closed="neither"), None],
        "n_jobs": [Integral, None],
        "device": [str],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
        groups: Any = None,
    ) -> "Self":
        """Encode the table and train the networks.

        Parameters
        ----------
        X : {dataframe, array-like} of shape (n_samples, n_features)
            The table, as :class:`~skbackprop.preprocessing.TableEncoder` takes it.
        y : array-like of shape (n_samples,)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.
        X_val, y_val, sample_weight_val : {dataframe, array-like}, array-like, array-like, default=None
            Validation data for all networks; None splits off a part of the training data for each of them.
        groups : array-like of shape (n_samples,), default=None
            Samples of a group are never divided between training and validation.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        TypeError, ValueError
            If an argument is invalid; the message names the column or the parameter.
        """
        refuse_older(type(self).__name__)
        if (X_val is None) != (y_val is None):
            raise ValueError("X_val and y_val belong together: give both, or neither")
        if X_val is None and sample_weight_val is not None:
            raise ValueError("sample_weight_val is for X_val: give both, or only sample_weight")
        if X_val is not None and groups is not None:
            raise ValueError("groups divide the training data into training and validation: leave them out with X_val")
        targets, held_targets, attributes = self._read_targets(y, y_val)
        check_consistent_length(X, targets, groups)
        weights = (
            None if sample_weight is None else _check_sample_weight(sample_weight, targets, ensure_non_negative=True)
        )
        seeds = check_random_state(self.random_state).randint(np.iinfo(np.int32).max, size=self.n_estimators)
        deadline = np.inf if self.max_time is None else time.monotonic() + self.max_time
        settings = self._settings(attributes)
        held = None if X_val is None else (X_val, held_targets, sample_weight_val)
        embeddings = self.numerical_embeddings
        encoder, rows = self._encode(X, targets, weights, groups, held, embeddings in ("auto", "piecewise_linear"))
        if embeddings == "auto":
            embeddings = self._choose_embeddings(encoder, rows, int(seeds[0]), deadline, settings)
            if embeddings is None:
                encoder, rows = self._encode(X, targets, weights, groups, held, False)
        members = self._train(rows, self._layers(encoder, embeddings), seeds, deadline, settings)
        networks, temperatures = zip(*members, strict=True)
        attributes |= {"encoder_": encoder, "estimators_": list(networks), "n_features_in_": encoder.n_features_in_}
        attributes["n_iter_"] = max(network.n_iter_ for network in networks)
        if is_classifier(self):
            attributes["temperatures_"] = np.array(temperatures)
        self.__dict__.pop("feature_names_in_", None)
        if hasattr(encoder, "feature_names_in_"):
            attributes["feature_names_in_"] = encoder.feature_names_in_
        attributes["_ready"] = [get_ready(network) for network in networks]
        self.__dict__.update(attributes)
        return self

    def _encode(self, X, targets, weights, groups, held_out, has_quantiles):
        """Return a fitted encoder and the encoded rows."""
        encoder = TableEncoder(
            categorical_features=self.categorical_features,
            high_cardinality=self._high_cardinality,
            dtype="float32",
            n_quantiles=2**_N_LEVELS + 1 if has_quantiles else None,
        )
        # Categories of many levels are encoded by the first of several targets.
        Z = _for_networks(encoder.fit_transform(X, targets if targets.ndim == 1 else targets[:, 0]))
        common = None
        if held_out is not None:
            X_val, *others = held_out
            held_out = (_for_networks(encoder.transform(X_val)), *others)
        elif not isinstance(self.validation_fraction, Real):
            common = self._known_only(*first_split(self.validation_fraction, Z, targets, groups), targets)
        return encoder, _Rows(Z, targets, weights, groups, held_out, common)

    def _choose_embeddings(self, encoder, rows, seed, deadline, settings):
        """Return the embeddings of numbers, or None, after a short training with and one without them.

        Few columns are embedded in any case: it takes little time, and steps in single columns matter more.
        """
        n_columns = np.count_nonzero(encoder.output_kinds_ == "quantile")
        if n_columns * _MOST_OUTPUTS < _N_EMBEDDED:
            return "piecewise_linear"
        rows = self._sample(rows, seed)
        # Quantiles are the last outputs.
        trials = {"piecewise_linear": rows, None: rows.columns(slice(-n_columns))}

        def loss(kind, summary):
            network = self._network(self._layers(encoder, kind), seed, _TRIAL_EPOCHS, deadline, settings)
            begin_fit(summary, network)
            self._fit_member(network, trials[kind])
            scores = network.validation_scores_
            return -max(scores) if scores else np.nan

        (embedded, plain), _ = self._together([partial(loss, kind) for kind in trials], rows.Z.nbytes)
        chosen = None if plain < embedded else "piecewise_linear"
        if self.verbose:
            print(
                f"numerical_embeddings={chosen!r}: after {_TRIAL_EPOCHS} epochs, loss {embedded:.4g} with embeddings, {plain:.4g} without"
            )
        return chosen

    def _sample(self, rows, seed):
        """Return some of many rows, in their order, with all classes."""
        known = np.arange(len(rows.Z)) if rows.weights is None else np.flatnonzero(rows.weights)
        if rows.common is not None or len(known) <= _TRIAL_ROWS:
            return rows
        chosen = check_random_state(seed).choice(known, _TRIAL_ROWS, replace=False)
        if is_classifier(self):
            chosen = np.append(chosen, np.unique(rows.targets, return_index=True)[1])
        return rows.some(np.unique(chosen))

    def _train(self, rows, layers, seeds, deadline, settings):
        """Train the members as a population; each has a copy of its training rows."""
        max_iter = _n_epochs(len(rows.Z)) if self.max_iter == "auto" else self.max_iter

        def one(number, seed, summary):
            if number and time.monotonic() > deadline:
                return None
            network = self._network(layers, int(seed), max_iter, deadline, settings)
            begin_fit(summary, network)
            member = self._fit_member(network, rows)
            if self.verbose:
                print(f"network {number + 1} of {len(seeds)}: {network.n_iter_} epochs, loss {network.loss_:.4g}")
            return member

        fits = [partial(one, number, seed) for number, seed in enumerate(seeds)]
        members, summary = self._together(fits, rows.Z.nbytes)
        members = [member for member in members if member is not None]
        summary.give(len(members))
        if len(members) < len(seeds):
            warn(f"max_time={self.max_time} ended training after {len(members)} of n_estimators={len(seeds)} networks.")
        return members

    def _together(self, fits, n_bytes):
        """Call functions that fit networks, each with a summary of warnings, as a population; return results and summary."""
        summary = WarningSummary()

        def call(function, *arguments, **keywords):
            with summarized(summary):
                return function(*arguments, **keywords)

        with population(models_at_a_time(self.device, n_bytes), call):
            # Fewer networks than cores share them.
            n_jobs = min(effective_n_jobs(self.n_jobs), len(fits))
            return Parallel(n_jobs=n_jobs)(delayed(fit)(summary) for fit in fits), summary

    def _network(self, layers, seed, max_iter, deadline, settings):
        """Return an unfitted member: after RealMLP (Holzmüller et al., 2024, table A.1)."""
        schedule = CosineLog()
        network = self._kind(
            hidden_layer_sizes=self.hidden_layer_sizes,
            activation=self.activation,
            solver=AdamW(beta_2=0.95, weight_decay=0.02),
            learning_rate=schedule,
            learning_rate_init=self.learning_rate_init,
            max_iter=max_iter,
            alpha=0.0,
            dropout=self.dropout,
            parametrization="ntp",
            input_layers=layers,
            n_iter_no_change=np.inf,
            dtype="float32",
            device=self.device,
            random_state=seed,
            **settings,
        )
        valleys = [math.ceil(max_iter * valley) for valley in schedule.valleys()] if self.early_stopping else []
        return network.set_callbacks(_Watch(valleys, deadline))

    def _layers(self, encoder, kind):
        """Return the input layers: embeddings of the numbers, if there are to be any, and a scale of each input."""
        is_periodic = kind == "periodic"
        columns = np.flatnonzero(np.isin(encoder.output_kinds_, SCALED if is_periodic else ("quantile",))).tolist()
        if kind is None or not columns:
            return [InputScale()]
        if is_periodic:
            return [PeriodicEmbedding(columns), InputScale()]
        n_outputs = min(max(_N_EMBEDDED // len(columns), _FEWEST_OUTPUTS), _MOST_OUTPUTS)
        return [PiecewiseLinearEmbedding(columns, _N_LEVELS, n_outputs, self._level_scale), InputScale()]

    def _fit_member(self, network, rows):
        """Fit a network on its own split of the rows; return it with its temperature."""
        Z, targets, weights, _, held_out, common = rows
        train = np.arange(len(Z))
        if held_out is None:
            train, held = common or self._split(rows, network.random_state)
            held_out = (Z[held], targets[held], None if weights is None else weights[held]) if len(held) else None
        own_weights = None if weights is None else weights[train]
        network.set_params(batch_size=min(self.batch_size, len(train)))
        if held_out is None:
            network.fit(Z[train], targets[train], own_weights)
        else:
            network.set_params(early_stopping=True, restore_best_weights=True)
            X_val, y_val, weight_val = held_out
            network.fit(Z[train], targets[train], own_weights, X_val=X_val, y_val=y_val, sample_weight_val=weight_val)
        network.set_callbacks()
        return network, self._temperature(network, held_out)

    def _split(self, rows, seed):
        """Return the indices of rows to train on and of rows to validate on."""
        Z, targets, weights, groups, *_ = rows
        indices = np.arange(len(Z))
        if groups is not None:
            if len(np.unique(groups)) < 2:
                return indices, indices[:0]
            splitter = GroupShuffleSplit(1, test_size=self.validation_fraction, random_state=seed)
            return self._known_only(*first_split(splitter, Z, targets, groups), targets)
        if len(indices) < _MIN_SPLIT:
            return indices, indices[:0]
        train, held_out = self._random_split(indices, targets, seed)
        has_weight = weights is None or (weights[train].any() and weights[held_out].any())
        return (train, held_out) if has_weight else (indices, indices[:0])

    def _known_only(self, train, held_out, targets):
        """Leave out validation rows that tell nothing of a network trained on the others."""
        return train, held_out

    def _temperature(self, network, held_out):
        """Return the temperature of a network's raw predictions; None if there is none."""

    def _outputs(self, X, link):
        """Yield each network with the kind of its targets and its outputs for a table, which is encoded once."""
        if not hasattr(self, "_ready"):
            check_is_fitted(self)
        rows = as_rows(_for_networks(self.encoder_.transform(X)), np.float32)
        for network, ready in zip(self.estimators_, self._ready, strict=True):
            yield network, *predict_ready(network, ready, rows, link)

    def _restore(self):
        check_tabular(self)
        self._make_ready()

    def _make_ready(self):
        for network in self.estimators_:
            if network.scoring is None:
                # Files and pickles have no function.
                network.scoring = _negative_scaled_log_loss
        self._ready = [get_ready(network) for network in self.estimators_]

    def __getstate__(self):
        return {name: value for name, value in super().__getstate__().items() if name != "_ready"}

    def __setstate__(self, state):
        super().__setstate__(state)
        if "estimators_" in state:
            self._make_ready()

    def _sk_visual_block_(self):
        """Show the encoder and the networks in the HTML representation; an error, if unfitted, leaves it to the parameters."""
        check_is_fitted(self)
        names = [f"network {number}" for number in range(1, len(self.estimators_) + 1)]
        networks = _VisualBlock("parallel", self.estimators_, names=names)
        return _VisualBlock("serial", [self.encoder_, networks], names=["encoder", "networks"], dash_wrapped=False)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        return tags


class BackpropTabularClassifier(ClassifierMixin, _Tabular):
    """Classifier for tables as they are: raw DataFrame in, calibrated probabilities out, without tuning.

    An ensemble of networks whose defaults suit tables: after RealMLP [1]_, with piecewise linear embeddings of numbers [2]_
    and temperature scaling. It encodes numbers, categories, dates and missing values by a
    :class:`~skbackprop.preprocessing.TableEncoder`. Each network keeps the weights of its best epoch on validation rows of
    its own.

    Parameters
    ----------
    n_estimators : int, default=4
        Number of networks, whose probabilities are averaged.

    categorical_features : array-like of {bool, int, str}, "from_dtype" or None, default="from_dtype"
        Which columns are categorical, as in :class:`~skbackprop.preprocessing.TableEncoder`.

    hidden_layer_sizes : array-like of int, default=(128, 128)
        Units of the hidden layers.

    activation : str, Activation or sequence of them, default='selu'
        Activation of the hidden layers.

    numerical_embeddings : {'auto', 'piecewise_linear', 'periodic'} or None, default='auto'
        'piecewise_linear' puts a :class:`~skbackprop.functions.PiecewiseLinearEmbedding` of the place of each number among
        quantiles beside the number; 'periodic' a :class:`~skbackprop.functions.PeriodicEmbedding` in its place; None
        leaves numbers as they are. 'auto' is 'piecewise_linear'; but if there are 16 numbers or more, two networks are
        trained for 16 epochs first, on 10,000 rows at most, and None is chosen if its validation loss is lower.

    learning_rate_init : float, default=0.04
        Highest learning rate of the schedule :class:`~skbackprop.functions.CosineLog`, in the neural tangent
        parametrization.

    batch_size : int, default=256
        Rows per mini-batch; all rows if there are fewer.

    max_iter : int or 'auto', default='auto'
        Epochs of the whole schedule. 'auto' is 64 for up to 100,000 rows in `fit`; for more rows, as many as make the
        same number of steps, but at least 8.

    dropout : float or array-like of float, default=0.0
        Dropout rate of the hidden layers.

    label_smoothing : float, default=0.1
        Label smoothing of the log loss; temperature scaling takes it out of the probabilities.

    early_stopping : bool, default=True
        Whether a network stops at the end of a cycle of the schedule in which its best epoch did not lie.

    validation_fraction : float or splitter, default=0.2
        Fraction of the rows that each network keeps for validation, stratified; or a splitter, whose first split all
        networks use. Not used with `X_val`.

    max_time : float or None, default=None
        Seconds after which training ends with the best weights so far.

    class_weight : dict, 'balanced' or None, default=None
        Weights of the classes.

    n_jobs : int or None, default=None
        Number of networks trained at the same time; None for one per core.

    device : {'cpu', 'cuda', 'cuda:N', 'auto'}, default='cpu'
        Device of the computation.

    random_state : int, RandomState instance or None, default=None
        Determines the splits, the initial weights and the order of the rows.

    verbose : bool, default=False
        Whether to print a line for each network.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes, sorted.

    encoder_ : TableEncoder
        The fitted encoder.

    estimators_ : list of BackpropClassifier
        The networks, whose classes are indices of `classes_`. Their `loss_curve_` and `validation_scores_` show how
        they were trained.

    temperatures_ : ndarray of shape (n_estimators,)
        The networks' temperatures, by which raw predictions are divided.

    n_iter_ : int
        Largest number of epochs of a network.

    n_features_in_ : int
        Number of columns of `X` in `fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of `X` in `fit`. Only if `X` had column names that were all strings.

    See Also
    --------
    BackpropTabularRegressor : The same for numbers.
    BackpropClassifier : A single network, with scikit-learn's defaults.

    References
    ----------
    .. [1] Holzmüller, D., Grinsztajn, L., and Steinwart, I. (2024). "Better by default: strong pre-tuned MLPs and boosted
       trees on tabular data". Advances in Neural Information Processing Systems 37.

    .. [2] Gorishniy, Y., Rubachev, I., and Babenko, A. (2022). "On embeddings for numerical features in tabular deep
       learning". Advances in Neural Information Processing Systems 35.

    Examples
    --------
    >>> import pandas as pd
    >>> from skbackprop import BackpropTabularClassifier
    >>> table = pd.DataFrame({"size": [1.0, 2.0, None, 4.0] * 15, "colour": ["red", "blue", "green", "red"] * 15})
    >>> model = BackpropTabularClassifier(n_estimators=2, max_iter=30, random_state=0).fit(table, ["a", "b", "b", "a"] * 15)
    >>> model.predict(table[:2])
    array(['a', 'b'], dtype='<U1')
    """

    # For type checkers only: fitting sets them.
    classes_: np.ndarray
    estimators_: list[BackpropClassifier]
    temperatures_: np.ndarray

    _kind = BackpropClassifier
    _high_cardinality = "target"
    # Classes change more smoothly with numbers than targets of regressions do.
    _level_scale = 0.5

    _parameter_constraints: dict[Any, Any] = {
        **_Tabular._parameter_constraints,
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }

    def __init__(
        self,
        n_estimators: int = 4,
        *,
        categorical_features: Any = "from_dtype",
        hidden_layer_sizes: Any = (128, 128),
        activation: Any = "selu",
        numerical_embeddings: str | None = "auto",
        learning_rate_init: float = 0.04,
        batch_size: int = 256,
        max_iter: int | str = "auto",
        dropout: Any = 0.0,
        label_smoothing: float = 0.1,
        early_stopping: bool = True,
        validation_fraction: Any = 0.2,
        max_time: float | None = None,
        class_weight: "dict[Any, float] | list[dict[Any, float] | str] | str | None" = None,
        n_jobs: int | None = None,
        device: str = "cpu",
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        self.n_estimators = n_estimators
        self.categorical_features = categorical_features
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.numerical_embeddings = numerical_embeddings
        self.learning_rate_init = learning_rate_init
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.dropout = dropout
        self.label_smoothing = label_smoothing
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.max_time = max_time
        self.class_weight = class_weight
        self.n_jobs = n_jobs
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def _read_targets(self, y, y_val):
        refuse_misread_labels(y, "y")
        y = column_or_1d(y, warn=True)
        assert_all_finite(y, input_name="y")
        check_classification_targets(y)
        classes, codes = np.unique(y, return_inverse=True)
        if y_val is None:
            return codes, None, {"classes_": classes}
        refuse_misread_labels(y_val, "y_val")
        y_val = column_or_1d(y_val)
        unknown = np.setdiff1d(y_val, classes)
        if len(unknown):
            raise ValueError(f"y_val has classes that y has not: {unknown.tolist()}")
        return codes, np.searchsorted(classes, y_val), {"classes_": classes}

    def _settings(self, attributes):
        weight = self.class_weight
        if isinstance(weight, dict):
            # The networks know the classes by their codes.
            weight = dict(enumerate(class_factors(weight, [attributes["classes_"]], None, None)[0].tolist()))
        return {
            "loss": LogLoss(label_smoothing=self.label_smoothing),
            "scoring": _negative_scaled_log_loss,
            "class_weight": weight,
        }

    def _random_split(self, rows, targets, seed):
        """Split stratified; classes of too few rows are trained on."""
        counts = np.bincount(targets)
        often = counts[targets] >= 2
        n_often, n_classes = np.count_nonzero(often), np.count_nonzero(counts >= 2)
        n_held = math.ceil(self.validation_fraction * n_often)
        if n_held < max(n_classes, 1) or n_often - n_held < n_classes:
            train, held_out = train_test_split(rows, test_size=self.validation_fraction, random_state=seed)
            # A class has to be trained on.
            missing = ~np.isin(targets[held_out], targets[train])
            return np.concatenate([train, held_out[missing]]), held_out[~missing]
        train, held_out = train_test_split(
            rows[often], test_size=self.validation_fraction, random_state=seed, stratify=targets[often]
        )
        return np.concatenate([train, rows[~often]]), held_out

    def _known_only(self, train, held_out, targets):
        """Leave out validation rows of classes that are not trained on."""
        return train, held_out[np.isin(targets[held_out], targets[train])]

    def _temperature(self, network, held_out):
        if held_out is None or len(network.classes_) < 2:
            return 1.0
        X_val, y_val, weight_val = held_out
        labels = np.searchsorted(network.classes_, y_val)
        return 1.0 / _scaled_log_loss(network.decision_function(X_val), labels, weight_val)[1]

    def _member_proba(self, X):
        """Return each network's calibrated probabilities, of shape (n_estimators, n_samples, n_classes)."""
        logits = []
        for member, (network, _, raw) in enumerate(self._outputs(X, link=False)):
            # A class that a network does not know has the probability 0.
            own = np.full((len(raw), len(self.classes_)), -np.inf)
            own[:, network.classes_] = _logits(raw) / self.temperatures_[member] if len(network.classes_) > 1 else 0.0
            logits.append(own)
        return softmax(np.stack(logits), axis=2)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict calibrated probabilities: the mean of the networks'.

        Parameters
        ----------
        X : {dataframe, array-like} of shape (n_samples, n_features)
            The table.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes), float64
            In the order of `classes_`.
        """
        return self._member_proba(X).mean(axis=0)

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Predict the logarithms of the probabilities.

        Parameters
        ----------
        X : {dataframe, array-like} of shape (n_samples, n_features)
            The table.

        Returns
        -------
        log_probabilities : ndarray of shape (n_samples, n_classes), float64
        """
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def predict(self, X: Any) -> np.ndarray:
        """Predict the class with the highest probability.

        Parameters
        ----------
        X : {dataframe, array-like} of shape (n_samples, n_features)
            The table.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
        """
        best = self.predict_proba(X).argmax(axis=1)
        return self.classes_[best]

    def predict_spread(self, X: Any) -> np.ndarray:
        """Return how far the networks disagree: the standard deviation of their probabilities.

        Parameters
        ----------
        X : {dataframe, array-like} of shape (n_samples, n_features)
            The table.

        Returns
        -------
        spread : ndarray of shape (n_samples, n_classes)
        """
        return self._member_proba(X).std(axis=0)


class BackpropTabularRegressor(RegressorMixin, _Tabular):
    """Regressor for tables as they are: raw DataFrame in, predictions out, without tuning.

    An ensemble of networks whose defaults suit tables: after RealMLP [1]_, with piecewise linear embeddings of numbers
    [2]_. It encodes numbers, categories, dates and missing values by a
    :class:`~skbackprop.preprocessing.TableEncoder`. Each network keeps the weights of its best epoch on validation rows of
    its own. Predictions are never outside the range of `y`.

    Parameters
    ----------
    n_estimators : int, default=4
        Number of networks, whose predictions are averaged.

    categorical_features : array-like of {bool, int, str}, "from_dtype" or None, default="from_dtype"
        Which columns are categorical, as in :class:`~skbackprop.preprocessing.TableEncoder`.

    hidden_layer_sizes : array-like of int, default=(128, 128)
        Units of the hidden layers.

    activation : str, Activation or sequence of them, default='mish'
        Activation of the hidden layers.

    numerical_embeddings : {'auto', 'piecewise_linear', 'periodic'} or None, default='auto'
        'piecewise_linear' puts a :class:`~skbackprop.functions.PiecewiseLinearEmbedding` of the place of each number among
        quantiles beside the number; 'periodic' a :class:`~skbackprop.functions.PeriodicEmbedding` in its place; None
        leaves numbers as they are. 'auto' is 'piecewise_linear'; but if there are 16 numbers or more, two networks are
        trained for 16 epochs first, on 10,000 rows at most, and None is chosen if its validation loss is lower.

    learning_rate_init : float, default=0.07
        Highest learning rate of the schedule :class:`~skbackprop.functions.CosineLog`, in the neural tangent
        parametrization.

    batch_size : int, default=256
        Rows per mini-batch; all rows if there are fewer.

    max_iter : int or 'auto', default='auto'
        Epochs of the whole schedule. 'auto' is 64 for up to 100,000 rows in `fit`; for more rows, as many as make the
        same number of steps, but at least 8.

    dropout : float or array-like of float, default=0.0
        Dropout rate of the hidden layers.

    early_stopping : bool, default=True
        Whether a network stops at the end of a cycle of the schedule in which its best epoch did not lie.

    validation_fraction : float or splitter, default=0.2
        Fraction of the rows that each network keeps for validation; or a splitter, whose first split all networks use.
        Not used with `X_val`.

    max_time : float or None, default=None
        Seconds after which training ends with the best weights so far.

    n_jobs : int or None, default=None
        Number of networks trained at the same time; None for one per core.

    device : {'cpu', 'cuda', 'cuda:N', 'auto'}, default='cpu'
        Device of the computation.

    random_state : int, RandomState instance or None, default=None
        Determines the splits, the initial weights and the order of the rows.

    verbose : bool, default=False
        Whether to print a line for each network.

    Attributes
    ----------
    encoder_ : TableEncoder
        The fitted encoder.

    estimators_ : list of BackpropRegressor
        The networks, whose targets are `y` minus `target_mean_`, divided by `target_scale_`. Their `loss_curve_` and
        `validation_scores_` show how they were trained.

    target_mean_, target_scale_ : float, or ndarray of shape (n_outputs,)
        Mean and standard deviation of `y` in `fit`.

    target_range_ : ndarray of shape (2,) or (2, n_outputs)
        Smallest and largest target in `fit`.

    n_iter_ : int
        Largest number of epochs of a network.

    n_features_in_ : int
        Number of columns of `X` in `fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of `X` in `fit`. Only if `X` had column names that were all strings.

    See Also
    --------
    BackpropTabularClassifier : The same for classes.
    BackpropRegressor : A single network, with scikit-learn's defaults.

    References
    ----------
    .. [1] Holzmüller, D., Grinsztajn, L., and Steinwart, I. (2024). "Better by default: strong pre-tuned MLPs and boosted
       trees on tabular data". Advances in Neural Information Processing Systems 37.

    .. [2] Gorishniy, Y., Rubachev, I., and Babenko, A. (2022). "On embeddings for numerical features in tabular deep
       learning". Advances in Neural Information Processing Systems 35.

    Examples
    --------
    >>> import pandas as pd
    >>> from skbackprop import BackpropTabularRegressor
    >>> table = pd.DataFrame({"size": [1.0, 2.0, None, 4.0] * 15, "colour": ["red", "blue", "green", "red"] * 15})
    >>> model = BackpropTabularRegressor(n_estimators=2, max_iter=30, random_state=0).fit(table, [1.0, 2.0, 3.0, 4.0] * 15)
    >>> model.predict(table[:2]).shape
    (2,)
    """

    # For type checkers only: fitting sets them.
    estimators_: list[BackpropRegressor]
    target_mean_: np.ndarray
    target_scale_: np.ndarray
    target_range_: np.ndarray

    _kind = BackpropRegressor
    _level_scale = 0.7
    # Numbers are no classes, even if they are whole ones.
    _high_cardinality = TargetEncoder(target_type="continuous", cv=KFold(5, shuffle=True, random_state=0))

    def __init__(
        self,
        n_estimators: int = 4,
        *,
        categorical_features: Any = "from_dtype",
        hidden_layer_sizes: Any = (128, 128),
        activation: Any = "mish",
        numerical_embeddings: str | None = "auto",
        learning_rate_init: float = 0.07,
        batch_size: int = 256,
        max_iter: int | str = "auto",
        dropout: Any = 0.0,
        early_stopping: bool = True,
        validation_fraction: Any = 0.2,
        max_time: float | None = None,
        n_jobs: int | None = None,
        device: str = "cpu",
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        self.n_estimators = n_estimators
        self.categorical_features = categorical_features
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.numerical_embeddings = numerical_embeddings
        self.learning_rate_init = learning_rate_init
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.dropout = dropout
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.max_time = max_time
        self.n_jobs = n_jobs
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def _read_targets(self, y, y_val):
        def read(values, name):
            values = check_array(values, ensure_2d=False, dtype=np.float64, input_name=name)
            return column_or_1d(values, warn=True) if values.ndim == 2 and values.shape[1] == 1 else values

        if y is None:
            raise ValueError("requires y to be passed, but the target y is None")
        y = read(y, "y")
        mean, scale = y.mean(axis=0), y.std(axis=0)
        # In float64: the networks compute in float32.
        scale = np.where(scale > 0, scale, 1.0)
        held_targets = None if y_val is None else (read(y_val, "y_val") - mean) / scale
        target_range = np.stack([y.min(axis=0), y.max(axis=0)])
        attributes = {"target_range_": target_range, "target_mean_": mean, "target_scale_": scale}
        return (y - mean) / scale, held_targets, attributes

    def _settings(self, attributes):
        return {"standardize_target": True, "scoring": "loss"}

    def _random_split(self, rows, targets, seed):
        return train_test_split(rows, test_size=self.validation_fraction, random_state=seed)

    def _member_predictions(self, X):
        predictions = [targets.decode(outputs) for _, targets, outputs in self._outputs(X, link=True)]
        shape = (len(predictions), len(predictions[0]), *self.target_range_.shape[1:])
        predictions = np.stack(predictions).astype(np.float64, copy=False).reshape(shape)
        return predictions * self.target_scale_ + self.target_mean_

    def predict(self, X: Any) -> np.ndarray:
        """Predict the mean of the networks' predictions.

        Parameters
        ----------
        X : {dataframe, array-like} of shape (n_samples, n_features)
            The table.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs), float64
        """
        return np.clip(self._member_predictions(X).mean(axis=0), *self.target_range_)

    def predict_spread(self, X: Any) -> np.ndarray:
        """Return how far the networks disagree: the standard deviation of their predictions.

        Parameters
        ----------
        X : {dataframe, array-like} of shape (n_samples, n_features)
            The table.

        Returns
        -------
        spread : ndarray of shape (n_samples,) or (n_samples, n_outputs), in the units of `y`
        """
        return self._member_predictions(X).std(axis=0)
