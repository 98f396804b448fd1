"""What the classifier and the regressor share."""

from abc import ABC, abstractmethod
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.callback import CallbackSupportMixin, with_callbacks

from skbackprop._parameters import NamedOnce
from skbackprop._sklearn import HasMethods, Interval, Options, StrOptions, _fit_context
from skbackprop.estimators._arrays import refuse_misread
from skbackprop.estimators._fit import Arguments, Fit
from skbackprop.estimators._inputs import read
from skbackprop.estimators._model_file import SavesToFile
from skbackprop.estimators._prediction import predict_raw
from skbackprop.estimators._problem import make_problem
from skbackprop.estimators._restored import restore_network
from skbackprop.estimators._state import NETWORK, copy_state
from skbackprop.estimators._training import prepare
from skbackprop.estimators._turns import one_at_a_time
from skbackprop.functions.activations import ACTIVATIONS, Activation
from skbackprop.functions.initializers import INITIALIZERS
from skbackprop.functions.losses import LOSSES
from skbackprop.functions.normalizations import NORMALIZATIONS, Normalization
from skbackprop.functions.optimizers import OPTIMIZERS, Optimizer
from skbackprop.functions.schedules import SCHEDULES, Schedule
from skbackprop.training.trainer import DivergenceError

__all__ = ["BaseBackprop", "has_partial_fit"]


def has_partial_fit(estimator):
    """Whether the solver is one that `partial_fit` can use; raises AttributeError if not."""
    if estimator.solver == "lbfgs":
        raise AttributeError(
            f"partial_fit is only available for stochastic optimizers. {estimator.solver} is not stochastic."
        )
    return True


class BaseBackprop(SavesToFile, CallbackSupportMixin, NamedOnce, ABC):
    """The parameters and the methods of a multilayer perceptron."""

    _fitted = NETWORK

    # For type checkers only: fitting sets them.
    coefs_: list[np.ndarray]
    intercepts_: list[np.ndarray]
    scales_: list[np.ndarray]
    offsets_: list[np.ndarray]
    running_means_: list[np.ndarray]
    running_variances_: list[np.ndarray]
    loss_: float
    loss_curve_: list[float]
    best_loss_: float | None
    validation_scores_: list[float] | None
    validation_loss_curve_: list[float] | None
    best_validation_score_: float | None
    history_: list[dict[str, Any]]
    device_: str
    n_iter_: int
    n_layers_: int
    n_outputs_: int
    out_activation_: str
    t_: int
    n_features_in_: int
    feature_names_in_: np.ndarray

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

    def _refuse_targets(self, y, name):
        """Raise an error for targets that validation would misread, or would refuse without saying why."""
        refuse_misread(**{name: y})

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
        return self._fit(Arguments(X, y, sample_weight, X_val, y_val, sample_weight_val, groups))

    # Whatever NumPy is told to do about it: what is too small for a type is zero here.
    @one_at_a_time
    @np.errstate(under="ignore")
    def _fit(self, arguments, *, incremental=False):
        fit = Fit(self, incremental)
        inputs = read(fit, arguments)
        fit.begin(inputs.arguments)
        problem = make_problem(fit, inputs)
        with prepare(fit, problem, inputs.scorer) as training:
            if not incremental:
                fit.publish()
            try:
                training.run(fit)
            except DivergenceError:
                # Its weights are the last finite ones, and its history tells of it.
                fit.publish()
                raise
            fit.end()
        return self

    def _means_other_outputs(self, targets):
        """Whether the loss was changed to one for which a fitted network's outputs mean something else; not known of older files."""
        return getattr(self, "_outputs_form", None) not in (None, targets.outputs_form)

    def _predict(self, X, link=True):
        """The kind of targets, and predictions: of one model, whatever other threads fit in the meantime."""
        model = copy_state(self)
        predictions = predict_raw(model, X, link)
        return model._targets, predictions

    def _restore(self):
        restore_network(self)

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
