"""Base class of the classifier and the regressor."""

from abc import ABC, abstractmethod
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator

from skbackprop._parameters import NamedOnce
from skbackprop._sklearn import (
    CallbackSupportMixin,
    HasMethods,
    Interval,
    Options,
    StrOptions,
    _fit_context,
    with_callbacks,
)
from skbackprop.estimators._arrays import refuse_misread
from skbackprop.estimators._choices import accepted_sparse
from skbackprop.estimators._fit import Arguments, Fit
from skbackprop.estimators._inputs import read
from skbackprop.estimators._model_file import SavesToFile
from skbackprop.estimators._prediction import predict_with_targets
from skbackprop.estimators._problem import make_problem
from skbackprop.estimators._restored import restore_network
from skbackprop.estimators._state import NETWORK
from skbackprop.estimators._training import prepare
from skbackprop.estimators._turns import one_at_a_time
from skbackprop.functions.activations import ACTIVATIONS, Activation
from skbackprop.functions.groups import PARAMETRIZATIONS
from skbackprop.functions.initializers import INITIALIZERS
from skbackprop.functions.input_layers import INPUT_LAYERS, InputLayer
from skbackprop.functions.losses import LOSSES
from skbackprop.functions.normalizations import NORMALIZATIONS, Normalization
from skbackprop.functions.optimizers import OPTIMIZERS, Optimizer
from skbackprop.functions.schedules import SCHEDULES, Schedule
from skbackprop.training.trainer import DivergenceError

if TYPE_CHECKING:
    from typing import Self

__all__ = ["BaseBackprop", "has_partial_fit"]


def has_partial_fit(estimator: Any) -> Any:
    """Whether `partial_fit` supports the solver; raises AttributeError if not, as `available_if` expects."""
    if estimator.solver == "lbfgs":
        raise AttributeError(
            f"partial_fit is only available for stochastic optimizers. {estimator.solver} is not stochastic."
        )
    return True


class BaseBackprop(SavesToFile, CallbackSupportMixin, NamedOnce, ABC):
    """Parameters and methods that the classifier and the regressor share."""

    _fitted = NETWORK

    # For type checkers only: fitting sets them.
    coefs_: list[np.ndarray]
    intercepts_: list[np.ndarray]
    scales_: list[np.ndarray]
    offsets_: list[np.ndarray]
    activation_alphas_: list[np.ndarray]
    input_params_: list[np.ndarray]
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

    # With metadata routing, a search's groups go to its splitter only, unless a network requests them with
    # `set_fit_request`: only a splitter in `validation_fraction` uses them.
    __metadata_request__fit = {"groups": False}

    # scikit-learn's HTML representation shows parameter descriptions only for estimators with a documentation link. The
    # documentation has no fixed address yet, so the link leads to the representation itself.
    _doc_link_module = "skbackprop"
    _doc_link_template = "#"

    _parameter_constraints: dict[Any, Any] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(ACTIVATIONS)), Activation, "array-like"],
        "parametric_activation": ["boolean"],
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
        "input_layers": [StrOptions(set(INPUT_LAYERS)), InputLayer, "array-like", None],
        "parametrization": [StrOptions(set(PARAMETRIZATIONS))],
        "dropout_schedule": [StrOptions(set(SCHEDULES)), Schedule, None],
        "weight_decay_schedule": [StrOptions(set(SCHEDULES)), Schedule, None],
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
        # `split` alone would accept a str.
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
        """Targets of the fitted network, with the current parameters."""

    @abstractmethod
    def _read_targets(self, y, first_pass, memory, incremental, classes, workers):
        """Return the kind of validated targets and their encoding; cache results for other fits in `memory`."""

    def _refuse_targets(self, y, name):
        """Raise an error for targets that validation would misread, or refuse without a clear message."""
        refuse_misread(**{name: y})

    def set_params(self, **params: Any) -> "Self":
        """Set parameters, and settings of parameters that are objects, such as ``solver__momentum``.

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
            If there is no such parameter, or if a setting is given for a parameter that is a name, such as
            ``solver="sgd"``.
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
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
        groups: Any = None,
    ) -> "Self":
        """Fit the network to the training data, from new initial weights or, with `warm_start`, from the current ones.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Training data. float32 is kept and other dtypes are converted to float64, unless `dtype` is set. It is not
            copied if it is C-contiguous and has the right dtype; CSC is converted to CSR. With scikit-learn's
            ``array_api_dispatch``, arrays of other libraries are accepted, and those on the GPU of `device` stay there.
        y : {array-like, sparse matrix} of shape (n_samples,) or (n_samples, n_outputs)
            Target values: class labels, a binary indicator matrix for multilabel problems, or numbers.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative sample weights; None for equal weights.
        X_val : {array-like, sparse matrix, dataframe} of shape (n_val, n_features), default=None
            Validation data for `early_stopping` or `restore_best_weights`, instead of rows split off `X`. They decide
            when training stops and which weights are kept, and are not trained on. In a
            :class:`~sklearn.pipeline.Pipeline`, ``Pipeline(..., transform_input=["X_val"])`` transforms them like `X`.
        y_val : {array-like, sparse matrix} of shape (n_val,) or (n_val, n_outputs), default=None
            Targets of `X_val`, of the same kind as `y`; for a classifier, all classes have to occur in `y`.
        sample_weight_val : array-like of shape (n_val,), default=None
            Non-negative weights of `X_val` in the validation score and loss; None for equal weights.
        groups : array-like of shape (n_samples,), default=None
            Group labels of the samples, for a splitter in `validation_fraction` that keeps groups together.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If an argument is invalid, or if the loss or a weight becomes non-finite; the estimator then keeps the last
            finite weights.
        TypeError
            If an argument is a masked array.
        """
        return self._fit(Arguments(X, y, sample_weight, X_val, y_val, sample_weight_val, groups))

    def to_sklearn(self) -> Any:
        """Convert the fitted network to scikit-learn's `MLPClassifier` or `MLPRegressor`.

        The same as :func:`skbackprop.to_sklearn`, which describes what is converted, and what is refused.

        Returns
        -------
        converted : MLPClassifier or MLPRegressor
            With the same predictions, up to rounding.

        Raises
        ------
        ValueError
            If no network of scikit-learn has the same predictions; the message names each reason.
        sklearn.exceptions.NotFittedError
            If the network is not fitted.
        """
        # Otherwise each import of this package would import scikit-learn's networks.
        from skbackprop.estimators._to_sklearn import to_sklearn

        return to_sklearn(self)

    # Underflow to zero is harmless here, whatever np.seterr asks for.
    @one_at_a_time
    @np.errstate(under="ignore")
    def _fit(self, arguments, *, incremental=False, workers=None, checkpoints=None):
        fit = Fit(self, incremental, workers, checkpoints)
        inputs = read(fit, arguments)
        fit.begin(inputs.arguments)
        problem = make_problem(fit, inputs)
        with prepare(fit, problem, inputs.scorer) as training:
            if not incremental:
                fit.publish()
            try:
                training.run(fit)
            except DivergenceError:
                # The model keeps the last finite weights; its history shows the divergence.
                fit.publish()
                raise
            fit.end()
        return self

    def _means_other_outputs(self, targets):
        """Whether `loss` was changed after `fit` so that the outputs mean something else; False for older files."""
        return getattr(self, "_outputs_form", None) not in (None, targets.outputs_form)

    def _predict(self, X, link=True):
        """Return the kind of targets and the predictions, both of the same model, even if another thread fits now."""
        return predict_with_targets(self, X, link)

    def _restore(self):
        restore_network(self)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = bool(accepted_sparse(self))
        tags.array_api_support = True
        return tags


# Parameters that accept names or objects.
_REGISTRIES = {
    "activation": ACTIVATIONS,
    "solver": OPTIMIZERS,
    "loss": LOSSES,
    "learning_rate": SCHEDULES,
    "normalization": NORMALIZATIONS,
    "input_layers": INPUT_LAYERS,
    "dropout_schedule": SCHEDULES,
    "weight_decay_schedule": SCHEDULES,
}
