"""What the classifier and the regressor share."""

import warnings
from abc import ABC, abstractmethod
from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator, _fit_context
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from skbackprop.backends import get_backend
from skbackprop.backends.data import as_rows
from skbackprop.functions.activations import ACTIVATIONS
from skbackprop.functions.initializers import glorot_uniform
from skbackprop.functions.losses import LOSSES
from skbackprop.functions.optimizers import OPTIMIZERS
from skbackprop.functions.schedules import SCHEDULES
from skbackprop.network import Network
from skbackprop.training.lbfgs import minimize
from skbackprop.training.progress import OptimizerState, Progress
from skbackprop.training.trainer import train


def has_partial_fit(estimator):
    """Whether the solver is one that `partial_fit` can use; raises AttributeError if not."""
    if estimator.solver not in OPTIMIZERS:
        raise AttributeError(
            f"partial_fit is only available for stochastic optimizers. {estimator.solver} is not stochastic."
        )
    return True


def refuse_masked(**arrays):
    """Raise TypeError for a masked array, whose mask scikit-learn's validation would drop silently."""
    for name, array in arrays.items():
        if np.ma.isMaskedArray(array):
            raise TypeError(
                f"{name} is a masked array, whose mask would be lost; fill it first, for example with "
                f"{name}.filled(np.nan) and an imputer"
            )


class BaseBackprop(CallbackSupportMixin, BaseEstimator, ABC):
    """Validation, initialisation and training of a multilayer perceptron."""

    # scikit-learn's HTML representation shows the parameters' documentation only for estimators with a link: to the
    # representation itself, as long as the documentation has no fixed address.
    _doc_link_module = "skbackprop"
    _doc_link_template = "#"

    _parameter_constraints: dict = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "solver": [StrOptions({"lbfgs", *OPTIMIZERS})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions(set(SCHEDULES))],
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
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "dtype": [StrOptions({"float32", "float64"}), None],
        "n_jobs": [Interval(Integral, 1, None, closed="left"), Interval(Integral, None, -1, closed="right"), None],
        "device": [str],
    }

    @abstractmethod
    def _encode_targets(self, y, keep_classes):
        """Targets for the kernels: an array of shape (n_rows, n_targets)."""

    @abstractmethod
    def _loss_name(self):
        """Name of the loss in `LOSSES`."""

    @abstractmethod
    def _n_outputs(self, targets):
        """Units of the output layer."""

    @abstractmethod
    def _stratification(self, targets):
        """What to stratify the validation split by, or None."""

    @abstractmethod
    def _score_predictions(self, targets, predictions, sample_weight):
        """Validation score."""

    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Train the network from new initial weights, or from the present ones if `warm_start`.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Training data. float32 stays float32; other types become float64, unless `dtype` says otherwise. It is not
            copied if it is C-contiguous and of the right dtype already; CSC is converted to CSR.
        y : {array-like, sparse matrix} of shape (n_samples,) or (n_samples, n_outputs)
            Class labels, a binary indicator matrix for several labels a sample, or numbers.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the samples; None for equal ones.

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
        return self._fit(X, y, sample_weight, incremental=False)

    def _fit(self, X, y, sample_weight, incremental):
        backend = get_backend(self.device)
        hidden = self._hidden_units()
        if incremental and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        first_pass = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        given = X, y
        X, y = self._validate(X, y, reset=first_pass)
        targets = self._encode_targets(y, keep_classes=not first_pass)
        dtype = X.dtype if first_pass else self.coefs_[0].dtype
        if sample_weight is not None:
            refuse_masked(sample_weight=sample_weight)
            sample_weight = _check_sample_weight(sample_weight, X, dtype=dtype, ensure_non_negative=True)
        with np.errstate(over="ignore"):
            targets = targets.astype(dtype, copy=False)
        if not np.isfinite(targets).all():
            raise ValueError(f"y contains values too large for {dtype}; scale y, or use dtype='float64'")
        random_state = check_random_state(self.random_state)

        network = Network((X.shape[1], *hidden, self._n_outputs(targets)), self.activation, self._loss_name())
        if first_pass:
            self._initialize(network, random_state, dtype)
        else:
            self._check_same_network(network)
        params = network.flatten(self.coefs_, self.intercepts_, dtype)
        self.coefs_, self.intercepts_ = network.views(params)
        rows = as_rows(X, dtype)

        callbacks = _Callbacks(self, network, params, given, sample_weight) if not incremental else None
        if self.solver in OPTIMIZERS:
            self._fit_stochastic(
                backend, network, params, rows, X, targets, sample_weight, random_state, incremental, callbacks
            )
        else:
            self._fit_lbfgs(backend, network, params, rows, targets, sample_weight, callbacks)
        if callbacks is not None:
            callbacks.end_fit()
        return self

    def _hidden_units(self):
        sizes = self.hidden_layer_sizes
        sizes = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
        if any(not isinstance(size, Integral) or isinstance(size, bool) for size in sizes):
            raise ValueError(f"hidden_layer_sizes must be whole numbers, got {sizes}.")
        if any(size <= 0 for size in sizes):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
        return tuple(int(size) for size in sizes)

    def _validate(self, X, y, reset):
        refuse_masked(X=X, y=y)
        return validate_data(
            self,
            X,
            y,
            accept_sparse="csr",
            multi_output=True,
            y_numeric=self._numeric_targets,
            dtype=(np.float64, np.float32) if self.dtype is None else np.dtype(self.dtype),
            reset=reset,
        )

    def _initialize(self, network, random_state, dtype):
        self.n_layers_ = len(network.layer_units)
        self.n_outputs_ = network.layer_units[-1]
        self.out_activation_ = LOSSES[network.loss].out_activation
        params = np.empty(network.n_params, dtype=dtype)
        self.coefs_, self.intercepts_ = network.views(params)
        factor = ACTIVATIONS[network.activation].init_factor
        for coef, intercept in zip(self.coefs_, self.intercepts_, strict=True):
            coef[...], intercept[...] = glorot_uniform(random_state, *coef.shape, factor)
        self.n_iter_ = 0
        self.t_ = 0
        for attribute in ("_optimizer", "loss_", *_STOCHASTIC_ATTRIBUTES):
            self.__dict__.pop(attribute, None)

    def _check_same_network(self, network):
        fitted = [len(self.coefs_[0]), *(coef.shape[1] for coef in self.coefs_)]
        if list(network.layer_units) != fitted:
            raise ValueError(
                f"the fitted network has layers of {fitted} units, but this call asks for {list(network.layer_units)}; "
                "warm_start and partial_fit go on with the fitted network: call fit with warm_start=False to start anew"
            )

    def _progress(self, incremental):
        progress = Progress(bool(self.early_stopping))
        if hasattr(self, "loss_curve_"):
            progress.n_seen = self.t_
            progress.loss_curve = self.loss_curve_
            progress.no_improvement_count = self._no_improvement_count
            if self.validation_scores_ is not None:
                progress.validation_scores = self.validation_scores_
                progress.best_score = self.best_validation_score_
                progress.best_params = getattr(self, "_best_params", None)
            if self.best_loss_ is not None:
                progress.best_loss = self.best_loss_
        return progress

    def _publish(self, progress):
        """Set the fitted attributes that tell how training went."""
        for name, value in _attributes(progress).items():
            setattr(self, name, value)

    def _fit_stochastic(
        self, backend, network, params, rows, X, targets, sample_weight, random_state, incremental, callbacks
    ):
        if not (incremental and hasattr(self, "_optimizer")):
            self._optimizer = OptimizerState.start(self.solver, self.get_params(deep=False), params)
        progress = self._progress(incremental)
        n_rows = len(targets)
        score = None
        train_rows = np.arange(n_rows)
        if self.early_stopping:
            train_rows, validation_rows = self._split(targets, random_state)
            score = self._scorer(backend, network, params, X, targets, sample_weight, validation_rows)
            for side, place in ((train_rows, "outside"), (validation_rows, "in")):
                if sample_weight is not None and not sample_weight[side].any():
                    raise ValueError(
                        f"sample_weight is zero for every sample {place} early stopping's validation set; weigh more samples, "
                        f"or change validation_fraction={self.validation_fraction} or random_state"
                    )
        session = backend.Session(
            network,
            params.dtype,
            rows,
            targets,
            sample_weight,
            self._batch_rows(len(train_rows)),
            len(train_rows),
            self.n_jobs,
        )

        def end_epoch():
            return callbacks.end_task(_attributes(progress))

        try:
            with session:
                converged = train(
                    session,
                    params,
                    self._optimizer,
                    progress,
                    rows=train_rows,
                    random_state=random_state,
                    shuffle=self.shuffle,
                    max_iter=1 if incremental else self.max_iter,
                    alpha=float(self.alpha),
                    tol=self.tol,
                    n_iter_no_change=self.n_iter_no_change,
                    verbose=self.verbose,
                    score=score,
                    begin_epoch=callbacks.begin_task if callbacks is not None and callbacks.active else None,
                    end_epoch=end_epoch if callbacks is not None and callbacks.active else None,
                )
        finally:
            self._publish(progress)
            if self.early_stopping and progress.best_params is not None:
                params[:] = progress.best_params
        if not converged and not incremental:
            warnings.warn(
                f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the optimization hasn't "
                "converged yet.",
                ConvergenceWarning,
                stacklevel=2,
            )

    def _batch_rows(self, n_rows):
        if self.batch_size == "auto":
            return min(200, n_rows)
        if self.batch_size > n_rows:
            warnings.warn(
                f"Got `batch_size` less than 1 or larger than sample size. It is going to be clipped: {self.batch_size} to "
                f"{n_rows}.",
                stacklevel=2,
            )
        return min(self.batch_size, n_rows)

    def _split(self, targets, random_state):
        """Rows for training and for validation, drawn as scikit-learn draws them."""
        rows = np.arange(len(targets))
        stratify = self._stratification(targets)
        try:
            train_rows, validation_rows = train_test_split(
                rows, random_state=random_state, test_size=self.validation_fraction, stratify=stratify
            )
        except ValueError as error:
            raise ValueError(self._explain_split(error, stratify)) from error
        if len(validation_rows) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )
        return train_rows, validation_rows

    def _explain_split(self, error, stratify):
        return f"early_stopping=True could not split off a validation set: {error}"

    def _scorer(self, backend, network, params, X, targets, sample_weight, validation_rows):
        rows = as_rows(X[validation_rows], params.dtype)
        expected = targets[validation_rows]
        weights = None if sample_weight is None else sample_weight[validation_rows]

        def score():
            predictions = backend.predict(network, params, rows, self.n_jobs)
            if not np.isfinite(predictions).all():
                return np.nan
            return self._score_predictions(expected, predictions, weights)

        return score

    def _fit_lbfgs(self, backend, network, params, rows, targets, sample_weight, callbacks):
        n_rows = len(targets)
        session = backend.Session(network, params.dtype, rows, targets, sample_weight, n_rows, n_rows, self.n_jobs)
        active = callbacks is not None and callbacks.active

        def end_iteration(loss):
            return callbacks.end_task({"loss_": loss})

        self.n_iter_, self.loss_ = 0, np.nan  # what an error leaves behind
        with session:
            self.n_iter_, self.loss_ = minimize(
                session,
                params,
                rows=np.arange(n_rows),
                max_iter=self.max_iter,
                max_fun=self.max_fun,
                alpha=float(self.alpha),
                tol=self.tol,
                begin_iteration=callbacks.begin_task if active else None,
                end_iteration=end_iteration if active else None,
            )

    def _predict_raw(self, X):
        """Predictions after the link, of shape (n_samples, n_outputs), in the model's dtype."""
        if not hasattr(self, "coefs_"):
            check_is_fitted(self)
        dtype = self.coefs_[0].dtype
        if not self._is_valid(X, dtype):
            refuse_masked(X=X)
            X = validate_data(self, X, accept_sparse="csr", dtype=dtype, reset=False)
        units = (len(self.coefs_[0]), *(coef.shape[1] for coef in self.coefs_))
        network = Network.cached(units, self.activation, self._loss_name())
        params = network.flatten(self.coefs_, self.intercepts_, dtype)
        return get_backend(self.device).predict(network, params, as_rows(X, dtype), self.n_jobs)

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
        return tags


# Numbers in an array whose prediction takes about as long as scikit-learn's validation.
_SMALL_SIZE = 10_000

_STOCHASTIC_ATTRIBUTES = (
    "loss_curve_",
    "best_loss_",
    "validation_scores_",
    "best_validation_score_",
    "_no_improvement_count",
    "_best_params",
)


def _attributes(progress):
    """The fitted attributes of a progress."""
    stopping = progress.early_stopping
    attributes = {
        "n_iter_": progress.n_iter,
        "t_": progress.n_seen,
        "loss_curve_": progress.loss_curve,
        "best_loss_": None if stopping else progress.best_loss,
        "validation_scores_": progress.validation_scores if stopping else None,
        "best_validation_score_": progress.best_score if stopping else None,
        "_no_improvement_count": progress.no_improvement_count,
        "_best_params": progress.best_params,
    }
    if progress.loss_curve:
        attributes["loss_"] = progress.loss_curve[-1]
    return attributes


class _Callbacks:
    """scikit-learn's callbacks around a fit: one task for each epoch or L-BFGS iteration.

    Parameters
    ----------
    estimator : BaseBackprop
    network : Network
    params : ndarray of shape (n_params,)
    data : tuple
        X and y as the user gave them.
    sample_weight : ndarray or None
    """

    def __init__(self, estimator, network, params, data, sample_weight):
        self._estimator = estimator
        self._network = network
        self._params = params
        self._arguments = {
            "estimator": estimator,
            "X": data[0],
            "y": data[1],
            "metadata": None if sample_weight is None else {"sample_weight": sample_weight},
        }
        self._context = estimator._init_callback_context(max_subtasks=estimator.max_iter)
        self._context.call_on_fit_task_begin(**self._arguments)
        self._task = None

    @property
    def active(self):
        """Whether there is a callback to call."""
        return hasattr(self._estimator, "_skl_callbacks")

    def begin_task(self):
        name = "epoch" if self._estimator.solver in OPTIMIZERS else "lbfgs-iter"
        self._task = self._context.subcontext(task_name=name)
        self._task.call_on_fit_task_begin(**self._arguments)

    def end_task(self, attributes):
        """Report the end of an epoch; True if a callback asks to stop."""

        def reconstruct():
            coefs, intercepts = self._network.views(self._params.copy())
            copies = {key: list(value) if isinstance(value, list) else value for key, value in attributes.items()}
            return {"coefs_": coefs, "intercepts_": intercepts, **copies}

        return self._task.call_on_fit_task_end(**self._arguments, reconstruction_attributes=reconstruct)

    def end_fit(self):
        self._context.call_on_fit_task_end(**self._arguments, reconstruction_attributes={})
