"""What the classifier and the regressor share."""

from abc import ABC, abstractmethod
from contextlib import nullcontext
from dataclasses import replace
from itertools import pairwise
from numbers import Integral, Real
from types import SimpleNamespace

import numpy as np
from sklearn.base import BaseEstimator, _fit_context
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import check_scoring
from sklearn.model_selection import train_test_split
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils._array_api import _matching_numpy_dtype
from sklearn.utils._param_validation import HasMethods, Interval, Options, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_consistent_length, check_is_fitted, validate_data

from skbackprop._parameters import NamedOnce
from skbackprop.backends import (
    get_backend,
    get_prediction_backend,
    gpu_of,
    memory_limit,
    prediction_device,
    training_device,
)
from skbackprop.backends.data import as_rows
from skbackprop.estimators._arrays import as_numpy, library_of, refuse_misread
from skbackprop.estimators._class_weight import weigh_rows
from skbackprop.estimators._model_file import SavesToFile
from skbackprop.estimators._problem import Problem, Training
from skbackprop.estimators._shared import SharedRows
from skbackprop.estimators._state import (
    STATE_ATTRIBUTES,
    check_same_normalization,
    copy_state,
    flat_state,
    given_state,
    initial_running,
    layer_units,
    publish_state,
    state_attributes,
    weights_dtype,
)
from skbackprop.estimators._turns import one_at_a_time
from skbackprop.estimators._validation import HeldOut, Validation, first_split
from skbackprop.exceptions import TrainingWarning
from skbackprop.functions.activations import ACTIVATIONS, Activation
from skbackprop.functions.initializers import INITIALIZERS, draw_layer
from skbackprop.functions.losses import LOSSES
from skbackprop.functions.normalizations import NORMALIZATIONS, Normalization
from skbackprop.functions.optimizers import OPTIMIZERS, Optimizer
from skbackprop.functions.penalties import Penalties
from skbackprop.functions.schedules import SCHEDULES, Schedule
from skbackprop.network import Network
from skbackprop.training.diagnosis import MIN_EPOCHS, diagnose
from skbackprop.training.lbfgs import minimize
from skbackprop.training.progress import OptimizerState, Progress, TrainingPoint
from skbackprop.training.trainer import DivergenceError, train
from skbackprop.training.warned import warn


def has_partial_fit(estimator):
    """Whether the solver is one that `partial_fit` can use; raises AttributeError if not."""
    if estimator.solver == "lbfgs":
        raise AttributeError(
            f"partial_fit is only available for stochastic optimizers. {estimator.solver} is not stochastic."
        )
    return True


def _check_range(targets, dtype, name):
    if targets.dtype.kind == "f" and max(targets.max(), -targets.min()) > np.finfo(dtype).max:
        raise ValueError(f"{name} contains values too large for {dtype}; scale y, or use dtype='float64'")


def _check_size(weights):
    """Raise ValueError for weights of rows by whose sum a gradient cannot be divided."""
    if weights is None or not weights.any():
        return
    with np.errstate(over="ignore"):
        total = weights.sum()
    if not np.isfinite(total) or weights.max() < np.finfo(weights.dtype).tiny:
        raise ValueError(
            f"sample_weight, with class_weight, is too {'small' if np.isfinite(total) else 'large'} for {weights.dtype}: multiply all "
            "weights by a number that brings them near 1"
        )


def _as_given(given, validated):
    """Data for scorers: the user's own DataFrame, with its names, otherwise what validation made of it."""
    return given if hasattr(given, "columns") else validated


def _one_column(y):
    return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y


def _brought(X, device):
    """Data where kernels can read them: arrays on the GPU that computes as they are, those of other libraries as NumPy's."""
    return X if device != "cpu" and gpu_of(X) is not None else as_numpy(X)


def _dtype(X):
    """NumPy's type for the numbers of validated data."""
    return X.dtype if isinstance(X.dtype, np.dtype) else _matching_numpy_dtype(X)


def _rows_of(X, rows):
    """Some rows of validated data."""
    return X[rows] if library_of(X) is None else _safe_indexing(X, rows)


def _labels_like(X, y):
    """Targets in the library of validated data, if it has such a type."""
    library = library_of(X)
    return y if library is None or y.dtype.kind not in "biuf" else library.take(y)


class BaseBackprop(SavesToFile, CallbackSupportMixin, NamedOnce, ABC):
    """Validation, initialisation and training of a multilayer perceptron."""

    # With metadata routing, the groups of a search's splitter pass by the networks, unless a network asks for them by
    # `set_fit_request`: only a splitter in `validation_fraction` has a use for them.
    __metadata_request__fit = {"groups": False}

    # scikit-learn's HTML representation shows the parameters' documentation only for estimators with a link: to the
    # representation itself, as long as the documentation has no fixed address.
    _doc_link_module = "skbackprop"
    _doc_link_template = "#"

    _parameter_constraints: dict = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(ACTIVATIONS)), Activation, "array-like"],
        "solver": [StrOptions({"lbfgs", *OPTIMIZERS}), Optimizer],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "l1_ratio": [Interval(Real, 0, 1, closed="both")],
        "dropout": [Interval(Real, 0, 1, closed="left"), "array-like"],
        "max_norm": [Interval(Real, 0, None, closed="neither"), None],
        "clip_norm": [Interval(Real, 0, None, closed="neither"), None],
        "clip_value": [Interval(Real, 0, None, closed="neither"), None],
        "averaging": [Interval(Real, 0, 1, closed="neither"), None],
        "weight_init": [StrOptions(set(INITIALIZERS)), tuple, BaseEstimator],
        "output_bias": [StrOptions({"auto", "prior"})],
        "frozen_layers": ["array-like"],
        "normalization": [StrOptions(set(NORMALIZATIONS)), Normalization, None],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions(set(SCHEDULES)), Schedule],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        # A splitter has both methods; a string has the first of them.
        "validation_fraction": [Interval(Real, 0, 1, closed="left"), HasMethods(["split", "get_n_splits"])],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "scoring": [str, callable, None],
        "restore_best_weights": ["boolean"],
        "dtype": [StrOptions({"float32", "float64"}), None],
        "precision": [StrOptions({"full", "tf32"})],
        "n_jobs": [Interval(Integral, 1, None, closed="left"), Interval(Integral, None, -1, closed="right"), None],
        "device": [str],
    }

    @property
    @abstractmethod
    def _targets(self):
        """The kind of targets that the network was fitted to, under the present parameters."""

    @abstractmethod
    def _read_targets(self, y, first_pass, memory, incremental, classes):
        """The kind of validated targets, and these encoded for the kernels; `memory` is for what need not be found out twice."""

    def set_params(self, **params):
        """Set parameters, also of those that are objects: ``solver__momentum``.

        Parameters
        ----------
        **params : dict
            Parameters by name.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If there is no such parameter, or if it belongs to an object and there is only a name, such as ``solver="sgd"``.
        """
        for key in params:
            name, nested, setting = key.partition("__")
            choice = params.get(name, getattr(self, name, None))
            if not nested or name not in self._get_param_names() or hasattr(choice, "set_params"):
                continue
            known = _REGISTRIES.get(name)
            if known is None or not isinstance(choice, str):
                raise ValueError(
                    f"{key} cannot be set, because {name}={choice!r} is no object with parameters of its own"
                )
            example = f", such as {name}={known[choice].__name__}()" if choice in known else ""
            raise ValueError(
                f"{key} cannot be set, because {name}={choice!r} is a name, which has no settings: set {name} to an object of "
                f"skbackprop.functions{example}, and then its {setting}"
            )
        return super().set_params(**params)

    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None, *, X_val=None, y_val=None, sample_weight_val=None, groups=None):
        """Train the network from new initial weights, or from the present ones if `warm_start`.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Training data. float32 stays float32; other types become float64, unless `dtype` says otherwise. It is not
            copied if it is C-contiguous and of the right dtype already; CSC is converted to CSR. With scikit-learn's
            ``array_api_dispatch``, arrays of other libraries are taken as they are: those on the GPU that `device` names
            stay there.
        y : {array-like, sparse matrix} of shape (n_samples,) or (n_samples, n_outputs)
            Class labels, a binary indicator matrix for several labels a sample, or numbers.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the samples; None for equal ones.
        X_val : {array-like, sparse matrix, dataframe} of shape (n_val, n_features), default=None
            Validation data for `early_stopping` or `restore_best_weights`, in the place of rows split off `X`. They decide
            when training stops and which weights are kept, and are not trained on. In a :class:`~sklearn.pipeline.Pipeline`,
            ``Pipeline(..., transform_input=["X_val"])`` transforms them as `X`.
        y_val : {array-like, sparse matrix} of shape (n_val,) or (n_val, n_outputs), default=None
            Their targets, of the same kind as `y`; a classifier's classes have to be some of those in `y`.
        sample_weight_val : array-like of shape (n_val,), default=None
            Their non-negative weights in the validation score and loss; None for equal ones.
        groups : array-like of shape (n_samples,), default=None
            Groups of the samples, for a splitter in `validation_fraction` that keeps groups together.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If an argument is invalid, or if the loss or a weight becomes non-finite (the estimator then has the last finite
            weights).
        TypeError
            If an argument is a masked array.
        """
        return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val), groups, incremental=False)

    # Whatever NumPy is told to do about it: what is too small for a type is zero here.
    @one_at_a_time
    @np.errstate(under="ignore")
    def _fit(self, X, y, sample_weight, validation_data=(None, None, None), groups=None, *, incremental, classes=None):
        # What can be refused happens to a draft: a call that is refused leaves no trace, and until the new model is there as a
        # whole, other threads may predict with the present one.
        draft = copy_state(self)
        before = dict(vars(draft))
        training = draft._prepare(self, X, y, sample_weight, validation_data, groups, incremental, classes)
        # The session of other validation rows is entered second: it is left the threads that training does not use.
        with training.session, training.validation or nullcontext():
            if not incremental:
                publish_state(draft, before, self)
                self._train(training)
                return self
            try:
                draft._train(training)
            except DivergenceError:
                # Its weights are the last finite ones, and its history tells of it.
                publish_state(draft, before, self)
                raise
            publish_state(draft, before, self)
        return self

    def _prepare(self, owner, X, y, sample_weight, validation_data, groups, incremental, classes):
        """Validate all arguments, and make what training needs.

        Parameters
        ----------
        owner : BaseBackprop
            The estimator whose `fit` was called, as callbacks know it; this one is its draft.
        X, y, sample_weight, groups, classes
            Arguments of `fit` or `partial_fit`.
        validation_data : tuple
            Its `X_val`, `y_val` and `sample_weight_val`.
        incremental : bool
            Whether it is `partial_fit`.

        Returns
        -------
        training : Training
        """
        if incremental and hasattr(self, "coefs_"):
            # scikit-learn's wrapper leaves this out in all calls but the first.
            self._validate_params()
        # An unusable device is an error before anything is done.
        get_backend(self.device, precision=self.precision)
        hidden = self._hidden_units()
        for name in ("early_stopping", "restore_best_weights"):
            if incremental and getattr(self, name):
                raise ValueError(f"partial_fit does not support {name}=True")
        if incremental and getattr(self, "_skl_callbacks", ()):
            self._check_callbacks_of_partial_fit()
        is_stochastic = self.solver != "lbfgs"
        has_validation_data = self._has_validation_data(*validation_data)
        splits = self.early_stopping and is_stochastic and not has_validation_data
        self._check_groups(groups, splits)
        scorer = None if self.scoring in (None, "loss") else check_scoring(self, scoring=self.scoring)
        first_pass = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        given = X, y
        device = training_device(self.device, X)
        X, y, groups = _brought(X, device), as_numpy(y), as_numpy(groups)
        X, y = self._validate(X, y, reset=first_pass)
        if groups is not None:
            check_consistent_length(y, groups)
        memory = X.memory_of(y) if isinstance(X, SharedRows) else {}
        kind, targets = self._read_targets(y, first_pass, memory, incremental, classes)
        self._take_targets(kind)
        dtype = _dtype(X) if first_pass else weights_dtype(self.coefs_)
        if self.precision == "tf32" and dtype != np.float32:
            raise ValueError(
                f"precision='tf32' is for weights of float32, and these are {dtype}: set dtype='float32', or precision='full'"
            )
        sample_weight = self._check_weight("sample_weight", sample_weight, targets, dtype)
        factors = kind.class_factors(targets, sample_weight)
        loss_weight = weigh_rows(factors, targets, sample_weight, dtype)
        if not (incremental or loss_weight is None or loss_weight.any()):
            raise ValueError("class_weight leaves no sample a weight: give a class a positive one")
        _check_size(loss_weight)
        _check_range(targets, dtype, "y")
        held_out = None
        if has_validation_data:
            held_out = self._validate_held_out(*validation_data, kind, targets.shape[1], factors, dtype, device)
        callbacks = None
        if not incremental:
            names = ("sample_weight", "X_val", "y_val", "sample_weight_val", "groups")
            metadata = dict(zip(names, (sample_weight, *validation_data, groups), strict=True))
            callbacks = _Callbacks(owner, given, metadata)
            # A callback may have set other parameters.
            vars(self).update(owner.get_params(deep=False))
            kind = self._targets
        random_state = check_random_state(self.random_state)
        if callbacks is not None:
            random_state = callbacks.begin_draws(random_state)

        n_units = (X.shape[1], *hidden, kind.n_outputs(targets.shape[1]))
        self._check_memory(n_units, dtype)
        network = self._network(n_units)
        if first_pass:
            self._initialize(network, random_state, dtype)
        else:
            self._check_same_network(network)
        params, running = flat_state(self, network, dtype)
        if not first_pass:
            # Training writes into arrays of its own: the present ones may be read-only, or others' too.
            params = np.array(params)
        vars(self).update(state_attributes(network, params, running))
        rows = as_rows(X, dtype)
        train_rows = np.arange(len(targets))
        if splits:
            train_rows, held_out = self._split_off(
                given[0], X, y, targets, sample_weight, loss_weight, groups, random_state
            )

        if first_pass:
            kind = kind.fit_units(
                targets[train_rows], None if sample_weight is None else sample_weight[train_rows], dtype
            )
            self._take_targets(kind)
        targets = kind.in_units(targets, dtype)
        if held_out is not None:
            held_out.targets = kind.in_units(held_out.targets, dtype)

        if first_pass and self.output_bias == "prior":
            seen_weight = None if loss_weight is None else loss_weight[train_rows]
            self.intercepts_[-1][:] = kind.prior_outputs(targets[train_rows].astype(np.float64), seen_weight)
        backend = get_backend(device, 6.0 * len(train_rows) * network.n_weights, self.precision)
        self.device_ = backend.device
        problem = Problem(backend, network, params, running, rows, targets, loss_weight, train_rows, held_out)
        if callbacks is not None:
            callbacks.watch(problem)
        if is_stochastic:
            return self._prepare_stochastic(problem, random_state, scorer, callbacks, incremental)
        return self._prepare_lbfgs(problem, callbacks)

    def _take_targets(self, targets):
        for name in ("target_mean_", "target_scale_"):
            vars(self).pop(name, None)
        vars(self).update(targets.attributes)

    def _train(self, training):
        """Train, and set the attributes that tell how it went."""
        if self.solver == "lbfgs":
            self._train_lbfgs(training)
        else:
            self._train_stochastic(training)
        if training.callbacks is not None:
            training.callbacks.end_fit()

    def _hidden_units(self):
        sizes = self.hidden_layer_sizes
        sizes = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
        if any(not isinstance(size, Integral) or isinstance(size, bool) for size in sizes):
            raise ValueError(f"hidden_layer_sizes must be whole numbers, got {sizes}.")
        if any(size <= 0 for size in sizes):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
        return tuple(int(size) for size in sizes)

    def _check_memory(self, n_units, dtype):
        """Raise ValueError for a network that is larger than the memory, before any is taken."""
        n_params = sum(fan_in * fan_out + fan_out for fan_in, fan_out in pairwise(n_units))
        # The weights, their gradient, what the solver remembers, the copies that are worked on and those to fall back on.
        n_slots = None if self.solver == "lbfgs" else OPTIMIZERS.get_function(self.solver).n_slots
        n_vectors = _LBFGS_VECTORS if n_slots is None else 4 + 3 * n_slots
        n_bytes = n_params * n_vectors * np.dtype(dtype).itemsize
        limit = memory_limit() if n_bytes > _ALWAYS_THERE else n_bytes
        if n_bytes > limit:
            raise ValueError(
                f"hidden_layer_sizes={self.hidden_layer_sizes!r} makes a network of {n_params:,} parameters; to train it takes at "
                f"least {n_bytes:,} bytes ({n_bytes / 2**30:,.1f} GiB), and this process may have {limit:,}. Choose smaller layers"
            )

    def _network(self, n_units):
        """The network of given layers with the functions that the parameters choose."""
        n_hidden = len(n_units) - 2
        choice = self.activation
        if isinstance(choice, str | Activation):
            activations = (ACTIVATIONS.get_key(choice),) * n_hidden
        else:
            activations = tuple(ACTIVATIONS.get_key(one) for one in choice)
            if len(activations) != n_hidden:
                raise ValueError(
                    f"activation has {len(activations)} entries, but hidden_layer_sizes={self.hidden_layer_sizes!r} makes "
                    f"{n_hidden} hidden layers; give one for each, or a single one for all"
                )
        normalization = None
        if self.normalization is not None and n_hidden:
            normalization = NORMALIZATIONS.get_key(self.normalization)
            if not normalization[0].over_batch and 1 in n_units[1:-1]:
                raise ValueError(
                    f"normalization={self.normalization!r} takes means over the units of a layer, and hidden_layer_sizes="
                    f"{self.hidden_layer_sizes!r} has a layer of one, which it would make constant; use two or more"
                )
        return Network.cached(n_units, activations, self._targets.loss_key(), normalization)

    def _penalties(self, n_layers):
        """What the parameters say of penalties, dropout and limits, for a network of so many layers of weights."""
        rates = self.dropout
        if isinstance(rates, Real):
            rates = (0.0, *(float(rates),) * (n_layers - 1))
        if len(rates) != n_layers or not all(isinstance(rate, Real) and 0 <= rate < 1 for rate in rates):
            raise ValueError(
                f"dropout={self.dropout!r} must be a number from 0 to below 1 for all hidden layers, or a sequence of {n_layers} "
                "of them, for the inputs and for each hidden layer"
            )
        rates = tuple(float(rate) for rate in rates)
        # True and False, as of a mask, would be taken for the layers 1 and 0.
        are_layers = (
            isinstance(layer, Integral) and not isinstance(layer, bool) and -n_layers <= layer < n_layers
            for layer in self.frozen_layers
        )
        if not all(are_layers):
            raise ValueError(
                f"frozen_layers={self.frozen_layers!r} must be numbers of layers of weights, from 0 to {n_layers - 1} here"
            )
        return Penalties(
            alpha=float(self.alpha),
            l1_ratio=float(self.l1_ratio),
            dropout=rates if any(rates) else (),
            clip_norm=self.clip_norm,
            clip_value=self.clip_value,
            max_norm=self.max_norm,
            average=self.averaging,
            frozen=tuple(range(n_layers)[layer] for layer in self.frozen_layers),
        )

    def _start_optimizer(self, params):
        parameters = vars(self)
        solver, schedule = self.solver, self.learning_rate
        optimizer = OPTIMIZERS[solver].from_parameters(parameters) if isinstance(solver, str) else solver
        if solver == "adam" and schedule in _SCIKIT_LEARN_SCHEDULES:
            # As in scikit-learn, where these apply to 'sgd' only.
            schedule = "constant"
        return OptimizerState.start(
            OPTIMIZERS.get_function(optimizer),
            SCHEDULES.get_function(schedule),
            self.learning_rate_init,
            self.power_t,
            self.max_iter,
            params,
            averages=self.averaging is not None,
        )

    def _validate(self, X, y, reset, suffix=""):
        refuse_misread(**{f"X{suffix}": X})
        self._refuse_targets(y, f"y{suffix}")
        dtype = (np.float64, np.float32) if self.dtype is None else np.dtype(self.dtype)
        library = library_of(X)
        if library is not None:
            dtype = library.float_types(self.dtype)
        y_checks = {"multi_output": True, "y_numeric": self._numeric_targets}
        # What overflows in float32, and what is infinite, is refused: that says it all.
        with np.errstate(over="ignore", invalid="ignore"):
            if isinstance(X, SharedRows):
                # The targets first: their validation knows of no features' names, and would delete them.
                memory, checked = X.memory_of(y), ("valid", self._numeric_targets)
                if checked not in memory:
                    y = validate_data(self, y=y, **y_checks)
                    memory[checked] = True
                return X.validate(self, dtype, reset), y
            return validate_data(self, X, y, accept_sparse="csr", dtype=dtype, reset=reset, **y_checks)

    def _refuse_targets(self, y, name):
        """Raise an error for targets that validation would misread, or would refuse without saying why."""
        refuse_misread(**{name: y})

    def _has_validation_data(self, X_val, y_val, sample_weight_val):
        """Whether there are any; raises ValueError if they are incomplete, or if nothing would use them."""
        given = {"X_val": X_val, "y_val": y_val, "sample_weight_val": sample_weight_val}
        for name, value in given.items():
            for needed in ("X_val", "y_val"):
                if value is not None and given[needed] is None:
                    raise ValueError(f"{name} is provided, but {needed} was not provided.")
        if X_val is None:
            return False
        if self.solver == "lbfgs":
            raise ValueError(
                f"X_val and y_val are passed to fit, but solver={self.solver!r} has no early stopping; leave them out, or use "
                f"one of {', '.join(map(repr, OPTIMIZERS))}"
            )
        if not (self.early_stopping or self.restore_best_weights):
            raise ValueError(
                "X_val and y_val are passed to fit while at the same time early_stopping is False. Set early_stopping=True, "
                "or restore_best_weights=True, for them to be used."
            )
        return True

    def _check_callbacks_of_partial_fit(self):
        """Warn that scikit-learn's callbacks are those of `fit`: who has set a Checkpoint relies on its files."""
        names = ", ".join(type(callback).__name__ for callback in self._skl_callbacks)
        warn(
            f"partial_fit calls no callbacks, and nothing comes of {names}. To be able to go on after an interruption, save the "
            "estimator between the calls, for example with its method save; set_callbacks() without arguments removes them.",
            TrainingWarning,
        )

    def _check_groups(self, groups, splits):
        """Raise ValueError if groups would be ignored, which means that they would not be kept together."""
        if groups is not None and (isinstance(self.validation_fraction, Real) or not splits):
            raise ValueError(
                "groups are passed to fit, but nothing uses them: set early_stopping=True, set validation_fraction to a splitter "
                "for groups such as GroupShuffleSplit, and leave out X_val"
            )

    def _check_weight(self, name, weight, targets, dtype):
        """Validated weights of the rows whose targets are given; None for none."""
        if weight is None:
            return None
        refuse_misread(**{name: weight})
        return _check_sample_weight(as_numpy(weight), targets, dtype=dtype, ensure_non_negative=True)

    def _validate_held_out(self, X_val, y_val, sample_weight, kind, n_targets, factors, dtype, device):
        """The validation data that the user gave."""
        brought = _brought(X_val, device)
        try:
            X, y = self._validate(brought, as_numpy(y_val), reset=False, suffix="_val")
        except ValueError as error:
            raise ValueError(f"In the validation data, X_val and y_val: {error}") from error
        targets = kind.read(y, "y_val", same=self.warm_start)
        if targets.shape[1] != n_targets:
            raise ValueError(f"y_val has {targets.shape[1]} column(s), but y has {n_targets}")
        try:
            sample_weight = self._check_weight("sample_weight_val", sample_weight, targets, dtype)
        except ValueError as error:
            raise ValueError(f"In the validation data, sample_weight_val: {error}") from error
        _check_range(targets, dtype, "y_val")
        loss_weight = weigh_rows(factors, targets, sample_weight, dtype)
        if loss_weight is not None and not loss_weight.any():
            raise ValueError(
                "class_weight leaves no sample in X_val a weight: give one of the classes in y_val a positive one"
            )
        return HeldOut(
            as_rows(X, dtype),
            targets,
            sample_weight,
            loss_weight,
            _as_given(X_val, X),
            _labels_like(X, _one_column(y)),
        )

    def _split_off(self, given, X, y, targets, sample_weight, loss_weight, groups, random_state):
        """The rows to train on, and those split off for validation."""
        if isinstance(self.validation_fraction, Real):
            train_rows, validation_rows = self._split(targets, random_state)
        else:
            train_rows, validation_rows = first_split(self.validation_fraction, X, y, groups)
        for side, place in ((train_rows, "outside"), (validation_rows, "in")):
            if loss_weight is not None and not loss_weight[side].any():
                raise ValueError(
                    f"sample_weight is zero for every sample {place} early stopping's validation set; weigh more samples, "
                    f"or change validation_fraction={self.validation_fraction} or random_state"
                )
        sample_weight, loss_weight = (
            None if weights is None else weights[validation_rows] for weights in (sample_weight, loss_weight)
        )
        held_out = HeldOut(
            as_rows(_rows_of(X, validation_rows), weights_dtype(self.coefs_)),
            targets[validation_rows],
            sample_weight,
            loss_weight,
            _safe_indexing(_as_given(given, X), validation_rows),
            _labels_like(X, _one_column(y[validation_rows])),
            validation_rows,
        )
        return train_rows, held_out

    def _initialize(self, network, random_state, dtype):
        params, running = np.empty(network.n_params, dtype=dtype), initial_running(network)
        self._initialize_weights(network, random_state, params, running)
        attributes = state_attributes(network, params, running)
        vars(self).update(attributes)
        self.n_layers_ = len(network.layer_units)
        self.n_outputs_ = network.layer_units[-1]
        self.out_activation_ = network.loss[0].out_activation
        self._outputs_form = self._targets.outputs_form
        self.n_iter_ = 0
        self.t_ = 0
        for attribute in ({*STATE_ATTRIBUTES} - attributes.keys()) | {"_optimizer", "loss_", *_STOCHASTIC_ATTRIBUTES}:
            self.__dict__.pop(attribute, None)

    def _initialize_weights(self, network, random_state, params, running):
        given = self.weight_init
        if not isinstance(given, str):
            params[:], given_running = given_state(given, network, params.dtype)
            if given_running is not None:
                running[:] = given_running
            return
        scales, offsets = network.normalizer_views(params)
        for scale, offset in zip(scales, offsets, strict=True):
            scale[...], offset[...] = 1, 0
        # scikit-learn knows one activation; the output layer goes with the last hidden one.
        factors = [kind.init_factor for kind, _ in network.activations] or [6.0]
        for coef, intercept, factor in zip(*network.views(params), [*factors, factors[-1]], strict=False):
            coef[...], intercept[...] = draw_layer(given, random_state, *coef.shape, factor)

    def _check_same_network(self, network):
        fitted = [*layer_units(self.coefs_)]
        if list(network.layer_units) != fitted:
            raise ValueError(
                f"the fitted network has layers of {fitted} units, but this call asks for {list(network.layer_units)}; "
                "warm_start and partial_fit go on with the fitted network: call fit with warm_start=False to start anew"
            )
        check_same_normalization(self, network)
        if self._means_other_outputs():
            raise ValueError(
                f"loss={self.loss!r} gives the network's outputs another meaning than the loss that it was fitted with; warm_start and "
                "partial_fit go on with the fitted network: call fit with warm_start=False to start anew"
            )
        self.out_activation_ = network.loss[0].out_activation

    def _means_other_outputs(self):
        """Whether the loss was changed to one for which a fitted network's outputs mean something else; not known of older files."""
        return getattr(self, "_outputs_form", None) not in (None, self._targets.outputs_form)

    def _progress(self, validated):
        progress = Progress(
            bool(self.early_stopping), validated, bool(self.early_stopping or self.restore_best_weights)
        )
        if hasattr(self, "loss_curve_"):
            progress.n_seen = self.t_
            # Lists of its own: the present ones may be those of a shallow copy, too.
            progress.loss_curve = list(self.loss_curve_)
            progress.history = list(self.history_)
            progress.no_improvement_count = self._no_improvement_count
            if validated and self.validation_scores_ is not None:
                progress.validation_scores = list(self.validation_scores_)
                progress.validation_loss_curve = list(self.validation_loss_curve_)
                progress.best_score = self.best_validation_score_
            if self.best_loss_ is not None:
                progress.best_loss = self.best_loss_
            # Weights that were best by scores are not the best by losses.
            if validated == (self.validation_scores_ is not None):
                progress.best_params, progress.best_running = self._best_params, self._best_running
        return progress

    def _take_over(self, model, problem):
        """Be where another estimator's training stood."""
        params, running = flat_state(model, problem.network, problem.params.dtype)
        problem.params[:], problem.running[:] = params, running
        for name in ("_optimizer", "loss_", "n_iter_", "t_", *_STOCHASTIC_ATTRIBUTES):
            setattr(self, name, getattr(model, name))
        self._optimizer.max_epochs = self.max_iter

    def _publish(self, progress):
        """Set the fitted attributes that tell how training went."""
        for name, value in _attributes(progress).items():
            setattr(self, name, value)

    def _prepare_stochastic(self, problem, random_state, scorer, callbacks, incremental):
        params, running = problem.params, problem.running
        resumed = None if callbacks is None else callbacks.resumed
        if resumed is not None:
            self._take_over(resumed.model, problem)
        elif incremental and hasattr(self, "_optimizer") and self._optimizer.slots.shape[1] == params.size:
            self._optimizer = self._optimizer.copy(params.dtype)
            self._optimizer.take_settings(self.learning_rate_init, self.averaging is not None, params)
        else:
            self._optimizer = self._start_optimizer(params)
        if self._optimizer.raw_params is not None:
            params[:] = self._optimizer.raw_params
        self._optimizer.running = running
        progress = self._progress(problem.held_out is not None)
        progress.n_iter = 0 if resumed is None else self.n_iter_
        penalties = self._penalties(len(problem.network.layout))
        n_train = len(problem.train_rows)
        batch_rows = self._batch_rows(n_train)
        # Drawn only where it is needed: everything else is drawn as scikit-learn does it.
        seed = random_state.randint(2**31) if penalties.dropout else 0
        session = problem.session(batch_rows, self.n_jobs, penalties, seed)
        shown = params if self.averaging is None else self._optimizer.average
        order, max_iter = problem.train_rows, 1 if incremental else self.max_iter - progress.n_iter
        if callbacks is not None:
            callbacks.params = shown
        if resumed is not None:
            order = resumed.check_order(order)
            random_state.set_state(resumed.point.random_state)
            max_iter = 0 if resumed.point.finished else max_iter
        validation = self._validation(problem, shown, session, scorer) if problem.held_out is not None else None
        return Training(
            problem,
            session,
            validation,
            callbacks,
            progress,
            penalties,
            random_state,
            order,
            batch_rows,
            max_iter,
            incremental,
        )

    def _train_stochastic(self, training):
        problem, progress, callbacks = training.problem, training.progress, training.callbacks
        params, running, random_state = problem.params, problem.running, training.random_state
        watched = callbacks is not None and callbacks.active

        def end_epoch(order, finished):
            optimizer = self._optimizer if self.averaging is None else replace(self._optimizer, raw_params=params)
            point = TrainingPoint(callbacks.first_random_state, random_state.get_state(), order, finished)
            return callbacks.end_task({**_attributes(progress), "_optimizer": optimizer, "_point": point})

        try:
            converged = train(
                training.session,
                params,
                self._optimizer,
                progress,
                rows=training.order,
                random_state=random_state,
                shuffle=self.shuffle,
                max_iter=training.max_iter,
                tol=self.tol,
                n_iter_no_change=self._patience(),
                verbose=self.verbose,
                validate=training.validation,
                begin_epoch=callbacks.begin_task if watched else None,
                end_epoch=end_epoch if watched else None,
                ends_on_interrupt=not training.incremental,
            )
        finally:
            self._publish(progress)
            if self.averaging is not None:
                # Training goes on from where it was, and not from the average.
                self._optimizer.raw_params = params.copy()
                params[:] = self._optimizer.average
            if progress.keeps_best and progress.best_params is not None:
                params[:], running[:] = progress.best_params, progress.best_running
        if training.incremental:
            return
        if callbacks.resumed is not None and callbacks.resumed.point.finished:
            converged = True
        if not (converged or self._runs_to_the_end()):
            warn(
                f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the optimization hasn't "
                "converged yet.",
                ConvergenceWarning,
            )
        findings = diagnose(
            progress.history[len(progress.history) - progress.n_iter :],
            problem.rows,
            problem.train_rows,
            batch_rows=(len(problem.train_rows) - 1) % training.batch_rows + 1,
            frozen=training.penalties.frozen,
            estimator=self,
            read=(lambda rows: as_numpy(_safe_indexing(problem.rows.X, rows))) if problem.rows.is_on_gpu else None,
        )
        if progress.n_iter >= MIN_EPOCHS:
            findings += self._targets.diagnose(problem, self.output_bias, self.n_jobs)
        if findings:
            warn(" ".join(findings), TrainingWarning)

    def _patience(self):
        """Epochs without improvement after which training stops: `n_iter_no_change`, unless its default would cut a schedule short."""
        is_default = self.n_iter_no_change == 10 and not self.early_stopping
        return np.inf if is_default and self._ends_with_max_iter() else self.n_iter_no_change

    def _runs_to_the_end(self):
        """Whether training is meant to end after `max_iter` epochs, which then tells nothing of convergence."""
        return self.n_iter_no_change == np.inf or self._ends_with_max_iter()

    def _ends_with_max_iter(self):
        """Whether the schedule is laid out over `max_iter` epochs."""
        return self._optimizer.schedule.ends_with_max_iter

    def _has_own(self, *methods):
        """Whether a subclass of a user's has one of these methods of its own."""
        return not all(getattr(type(self), name).__module__.startswith("skbackprop.") for name in methods)

    def _batch_rows(self, n_rows):
        if self.batch_size == "auto":
            return min(200, n_rows)
        if self.batch_size > n_rows:
            warn(
                f"Got `batch_size` less than 1 or larger than sample size. It is going to be clipped: {self.batch_size} to "
                f"{n_rows}."
            )
        return min(self.batch_size, n_rows)

    def _split(self, targets, random_state):
        """Rows for training and for validation, drawn as scikit-learn draws them."""
        rows = np.arange(len(targets))
        kind = self._targets
        stratify = kind.stratification(targets, self.validation_fraction)
        try:
            train_rows, validation_rows = train_test_split(
                rows, random_state=random_state, test_size=self.validation_fraction, stratify=stratify
            )
        except ValueError as error:
            rare = [] if stratify is None else kind.rare_classes(stratify)
            named = f" (in the words of y: {', '.join(rare)})" if rare else ""
            raise ValueError(f"early_stopping=True could not split off a validation set: {error}{named}") from error
        if len(validation_rows) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )
        return train_rows, validation_rows

    def _validation(self, problem, params, session, scorer):
        """Measures the weights in `params`: those being trained, or their average."""
        held_out, running, targets = problem.held_out, problem.running, self._targets

        def score_predictions(loss):
            predictions = problem.predict(held_out.rows, self.n_jobs, params)
            if not np.isfinite(predictions).all():
                return np.nan
            # With the classes' factors: the score would otherwise choose weights against them.
            return targets.score(held_out.targets, predictions, held_out.loss_weight)

        # A view of this estimator: its coefs_ are those being trained, or their average, and what a scorer sets on it is lost.
        view = copy_state(self)
        vars(view).update(state_attributes(problem.network, params, running))
        weight = held_out.sample_weight
        if scorer is None and self._has_own("predict", "score"):
            scorer, weight = check_scoring(self, scoring=None), held_out.loss_weight
        weights = {} if weight is None else {"sample_weight": weight}

        def score_view(loss):
            # Scorers are not made for predictions that are not finite, of which the loss tells.
            return float(scorer(view, held_out.X, held_out.y, **weights)) if np.isfinite(loss) else np.nan

        if self.scoring == "loss":
            score = np.negative
        else:
            score = score_predictions if scorer is None else score_view
        if held_out.order is not None:
            return Validation(params, running, session, held_out.order, score)
        n_rows = len(held_out.targets)
        own_session = problem.validation_session(self.n_jobs)
        return Validation(params, running, own_session, np.arange(n_rows), score, owns_session=True)

    def _prepare_lbfgs(self, problem, callbacks):
        if problem.network.over_batch:
            raise ValueError(
                f"normalization={self.normalization!r} is for stochastic solvers: solver='lbfgs' has no mini-batches; choose "
                "normalization='layer', or solver='adam'"
            )
        penalties = self._penalties(len(problem.network.layout))
        for name in ("dropout", "clip_norm", "clip_value", "max_norm", "average", "frozen"):
            if getattr(penalties, name):
                raise ValueError(
                    f"{name} is for stochastic solvers; solver='lbfgs' needs it off, or choose solver='adam'"
                )
        self.n_iter_, self.loss_ = 0, np.nan  # what an error leaves behind
        return Training(problem, problem.session(len(problem.train_rows), self.n_jobs, penalties), None, callbacks)

    def _train_lbfgs(self, training):
        callbacks = training.callbacks

        def end_iteration(loss):
            return callbacks.end_task({"loss_": loss})

        self.n_iter_, self.loss_ = minimize(
            training.session,
            training.problem.params,
            rows=training.problem.train_rows,
            max_iter=self.max_iter,
            max_fun=self.max_fun,
            tol=self.tol,
            begin_iteration=callbacks.begin_task if callbacks.active else None,
            end_iteration=end_iteration if callbacks.active else None,
        )

    def _predict(self, X, link=True):
        """The kind of targets, and predictions: of one model, whatever other threads fit in the meantime."""
        model = copy_state(self)
        predictions = model._predict_raw(X, link)
        return model._targets, predictions

    def _predict_raw(self, X, link=True):
        """Predictions, after the link or before, of shape (n_samples, n_outputs), in the model's dtype and the library of `X`."""
        network, params, running, rows = self._for_backend(X)
        return self._predict_rows(X, network, params, rows, link, running)

    def _predict_rows(self, X, network, params, rows, link, running):
        """The same, of data that are validated, and a network."""
        flops = 2.0 * rows.shape[0] * network.n_weights
        backend = get_prediction_backend(prediction_device(self.device, X), flops, self.precision)
        library = library_of(X)
        if rows.is_on_gpu:
            out = library.empty((rows.shape[0], network.layer_units[-1]), params.dtype)
            return backend.predict(network, params, rows, self.n_jobs, link, running, out)
        predictions = backend.predict(network, params, rows, self.n_jobs, link, running)
        return predictions if library is None else library.take(predictions)

    def _hidden_units_of(self, X, layer):
        """Outputs of a hidden layer, of shape (n_samples, n_units), in the model's dtype.

        Those of a network that ends there, with the identity as its output layer: the kernels apply no activation to the last
        layer, and multiplication by one and addition of zeros change no finite number.
        """
        whole, _, _, rows = self._for_backend(X)
        n_layers = range(len(self.coefs_) - 1)[layer] + 1
        dtype = weights_dtype(self.coefs_)
        units = whole.layer_units[: n_layers + 1]
        hidden = {name: getattr(self, name)[:n_layers] for name in STATE_ATTRIBUTES if hasattr(self, name)}
        hidden["coefs_"] = [*hidden["coefs_"], np.eye(units[-1], dtype=dtype)]
        hidden["intercepts_"] = [*hidden["intercepts_"], np.zeros(units[-1], dtype=dtype)]
        network = Network(
            (*units, units[-1]), whole.activations[:n_layers], LOSSES.get_key("squared_error"), whole.normalization
        )
        params, running = flat_state(SimpleNamespace(**hidden), network, dtype)
        return self._predict_rows(X, network, params, rows, True, running)

    def _for_backend(self, X):
        """The fitted network, its parameters and running statistics, and data after validation, as a backend takes them."""
        if not hasattr(self, "coefs_"):
            check_is_fitted(self)
        dtype = weights_dtype(self.coefs_)
        if isinstance(X, SharedRows):
            X = X.validate(self, dtype, reset=False)
        elif not self._is_valid(X, dtype):
            refuse_misread(X=X)
            X = _brought(X, get_prediction_backend(prediction_device(self.device, X)).device)
            library = library_of(X)
            checked = dtype if library is None else library.float_types(dtype.name)
            with np.errstate(over="ignore", invalid="ignore", under="ignore"):
                X = validate_data(self, X, accept_sparse="csr", dtype=checked, reset=False)
        network = self._network(layer_units(self.coefs_))
        if network.normalization is not None or hasattr(self, "scales_"):
            check_same_normalization(self, network)
        return network, *flat_state(self, network, dtype), as_rows(X, dtype)

    def _is_valid(self, X, dtype):
        """Whether `validate_data` would return X as it is; for a few rows to find that out takes it longer than to predict."""
        return (
            type(X) is np.ndarray
            and X.dtype == dtype
            and X.ndim == 2
            and X.shape[1] == self.n_features_in_
            and 0 < X.size <= _SMALL_SIZE
            and X.flags.c_contiguous
            and not hasattr(self, "feature_names_in_")
            and bool(np.isfinite(X).all())
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.array_api_support = True
        return tags


# Parameters that take names or objects.
_REGISTRIES = {
    "activation": ACTIVATIONS,
    "solver": OPTIMIZERS,
    "loss": LOSSES,
    "learning_rate": SCHEDULES,
    "normalization": NORMALIZATIONS,
}

# Bytes that no limit is looked up for.
_ALWAYS_THERE = 1e8

# SciPy's L-BFGS-B keeps ten pairs of vectors, and a few more.
_LBFGS_VECTORS = 24

_SCIKIT_LEARN_SCHEDULES = ("constant", "invscaling", "adaptive")

# Numbers in an array whose prediction may take no longer than scikit-learn's validation.
_SMALL_SIZE = 100_000

_STOCHASTIC_ATTRIBUTES = (
    "loss_curve_",
    "history_",
    "best_loss_",
    "validation_scores_",
    "validation_loss_curve_",
    "best_validation_score_",
    "_no_improvement_count",
    "_best_params",
    "_best_running",
)


def _attributes(progress):
    """The fitted attributes of a progress."""
    validated = progress.validated
    attributes = {
        "n_iter_": progress.n_iter,
        "t_": progress.n_seen,
        "loss_curve_": progress.loss_curve,
        "history_": progress.history,
        "best_loss_": None if progress.early_stopping else progress.best_loss,
        "validation_scores_": progress.validation_scores if validated else None,
        "validation_loss_curve_": progress.validation_loss_curve if validated else None,
        "best_validation_score_": progress.best_score if validated else None,
        "_no_improvement_count": progress.no_improvement_count,
        "_best_params": progress.best_params,
        "_best_running": progress.best_running,
    }
    if progress.loss_curve:
        attributes["loss_"] = progress.loss_curve[-1]
    return attributes


class _Callbacks:
    """scikit-learn's callbacks around a fit: one task for each epoch or L-BFGS iteration.

    Parameters
    ----------
    estimator : BaseBackprop
    data : tuple
        X and y as the user gave them.
    metadata : dict
        What else `fit` was given; None for what it was not.

    Attributes
    ----------
    resumed : ResumedTraining or None
        A training that a callback has found interrupted, and that is to go on.
    """

    def __init__(self, estimator, data, metadata):
        self._estimator = estimator
        given = {name: value for name, value in metadata.items() if value is not None}
        self._arguments = {"estimator": estimator, "X": data[0], "y": data[1], "metadata": given or None}
        self._context = estimator._init_callback_context(max_subtasks=estimator.max_iter)
        self._context.call_on_fit_task_begin(**self._arguments)
        self.resumed = vars(estimator).pop("_resumed", None)
        self._task = None

    def begin_draws(self, random_state):
        """The generator to draw from: in the state in which a resumed training found it, otherwise as it is."""
        if self.resumed is not None:
            # Everything is drawn once more. What NumPy's own generator gives to others is left alone.
            random_state = np.random.RandomState() if self._estimator.random_state is None else random_state
            random_state.set_state(self.resumed.point.first_random_state)
        self.first_random_state = random_state.get_state()
        return random_state

    def watch(self, problem):
        """From now on, the callbacks see this problem's parameters."""
        self._network, self.params, self._running = problem.network, problem.params, problem.running

    @property
    def active(self):
        """Whether there is a callback to call."""
        return hasattr(self._estimator, "_skl_callbacks")

    def begin_task(self):
        name = "lbfgs-iter" if self._estimator.solver == "lbfgs" else "epoch"
        self._task = self._context.subcontext(task_name=name)
        self._task.call_on_fit_task_begin(**self._arguments)

    def end_task(self, attributes):
        """Report the end of an epoch; True if a callback asks to stop."""

        def reconstruct():
            arrays = state_attributes(self._network, self.params.copy(), self._running.copy())
            # Training goes on in the lists and the optimizer's arrays that there are.
            live = list, OptimizerState
            copies = {key: value.copy() if isinstance(value, live) else value for key, value in attributes.items()}
            return {**arrays, **copies}

        return self._task.call_on_fit_task_end(**self._arguments, reconstruction_attributes=reconstruct)

    def end_fit(self):
        self._context.call_on_fit_task_end(**self._arguments, reconstruction_attributes={})
