"""Bagging ensembles of networks that are trained at the same time."""

from functools import partial
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
from sklearn.base import clone
from sklearn.ensemble import BaggingClassifier, BaggingRegressor
from sklearn.utils.validation import check_is_fitted, validate_data

from skbackprop._sklearn import BAGGING_DRAWS, refuse_older
from skbackprop.estimators._arrays import refuse_misread
from skbackprop.estimators._canonical import new_strings
from skbackprop.estimators._checks import (
    check_array,
    check_classes,
    check_count,
    check_number,
    check_places,
    require,
)
from skbackprop.estimators._class_weight import class_factors
from skbackprop.estimators._labels import refuse_misread_labels, refuse_other_classes, unknown_labels
from skbackprop.estimators._model_file import SavesToFile
from skbackprop.estimators._state import Fitted, copy_state, publish_state
from skbackprop.estimators._turns import one_at_a_time
from skbackprop.estimators.classifier import BackpropClassifier
from skbackprop.estimators.regressor import BackpropRegressor
from skbackprop.training.population import models_at_a_time, population
from skbackprop.training.warned import WarningSummary, begin_fit, summarized

if TYPE_CHECKING:
    from typing import Self

__all__ = ["BackpropEnsembleClassifier", "BackpropEnsembleRegressor"]


_at_least_one = partial(check_count, least=1)

_SEEDS, *_COUNTS, _WEIGHT = BAGGING_DRAWS

#: Fitted attributes of an ensemble.
_ENSEMBLE = (
    Fitted("estimators_", "members"),
    Fitted("estimators_features_", "members"),
    Fitted("classes_", "targets", canonical=new_strings),
    Fitted("n_features_in_", "data", _at_least_one),
    Fitted("feature_names_in_", "data", canonical=new_strings),
    Fitted("oob_score_", "members", partial(check_number, or_none=False)),
    Fitted("oob_decision_function_", "members"),
    Fitted("oob_prediction_", "members"),
    # From these, `estimators_samples_` draws the samples of each network again.
    Fitted(_SEEDS, "samples"),
    *(Fitted(count, "samples", _at_least_one) for count in _COUNTS),
    Fitted(_WEIGHT, "samples"),
)


class _Ensemble(SavesToFile):
    """Mixin that trains the members of scikit-learn's bagging ensembles together."""

    # For type checkers only: fitting sets them.
    estimator_: Any
    estimators_: list[Any]
    n_classes_: int
    estimators_features_: list[np.ndarray]
    estimators_samples_: list[np.ndarray]
    n_features_in_: int
    feature_names_in_: np.ndarray
    oob_score_: float

    _fitted = _ENSEMBLE

    def __init__(
        self,
        estimator: Any = None,
        n_estimators: Any = 10,
        *,
        max_samples: Any = None,
        max_features: Any = 1.0,
        bootstrap: Any = True,
        bootstrap_features: Any = False,
        oob_score: Any = False,
        warm_start: Any = False,
        n_jobs: Any = None,
        random_state: Any = None,
        verbose: Any = 0,
    ) -> None:
        super().__init__(  # type: ignore[call-arg]
            estimator=estimator,
            n_estimators=n_estimators,
            max_samples=max_samples,
            max_features=max_features,
            bootstrap=bootstrap,
            bootstrap_features=bootstrap_features,
            oob_score=oob_score,
            warm_start=warm_start,
            n_jobs=n_jobs,
            random_state=random_state,
            verbose=verbose,
        )

    @one_at_a_time
    def fit(self, X: Any, y: Any, sample_weight: Any = None, **fit_params: Any) -> "Self":
        """Train the networks.

        Their warnings are summarized in one. A call that fails leaves the ensemble unchanged.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data, which the networks share.
        y : array-like of shape (n_samples,)
            Target values: class labels or numbers.
        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights; samples are drawn with probabilities proportional to them. None for equal weights.
        **fit_params : dict
            Metadata for the networks' `fit`.

        Returns
        -------
        self : object
            The fitted ensemble.

        Raises
        ------
        TypeError
            If an argument is a masked array.
        ValueError
            If an argument is invalid, or if the training of a network diverges.
        """
        refuse_older(type(self).__name__)
        refuse_misread(X=X, sample_weight=sample_weight)
        self._refuse_targets(y, "y")
        fit_params = self._for_members(y, fit_params)
        draft = copy_state(self)
        before = dict(vars(draft))
        draft._summary = summary = WarningSummary()
        if self._goes_on():
            # New members need the features of the present ones.
            validate_data(draft, X, reset=False, skip_check_array=True)
            # Copied, because scikit-learn appends to these lists.
            draft.estimators_ = list(self.estimators_)
            draft.estimators_features_ = list(self.estimators_features_)
        n_before = len(self.estimators_) if self._goes_on() else 0

        def train(function, *arguments, **keywords):
            with summarized(summary):
                return function(*arguments, **keywords)

        device = getattr(self._get_estimator(), "device", "cpu")
        with population(models_at_a_time(device, 0), train):
            super(_Ensemble, draft).fit(X, y, sample_weight=sample_weight, **fit_params)  # type: ignore[misc]
        del draft._summary
        publish_state(draft, before, self)
        summary.give(len(self.estimators_) - n_before)
        return self

    def _goes_on(self):
        """Whether `fit` adds to the present networks."""
        return self.warm_start and hasattr(self, "estimators_")

    def _refuse_targets(self, y, name):
        """Raise an error for targets that validation would misread, or refuse without a clear message."""
        refuse_misread(**{name: y})

    def _for_members(self, y, fit_params):
        """Convert metadata from the ensemble's classes to those of the members."""
        return fit_params

    def _make_estimator(self, append=True, random_state=None):
        member = super()._make_estimator(append, random_state)
        # Assigns the following warnings of this thread to the member, which it fits next.
        begin_fit(self._summary, member)
        return member

    def _get_estimator(self):
        return self._default_estimator() if self.estimator is None else self.estimator

    def _restore(self):
        _check_members(self)
        self.estimator_ = self._get_estimator()
        if hasattr(self, "classes_"):
            self.n_classes_ = len(self.classes_)

    def predict_spread(self, X: Any) -> np.ndarray:
        """Compute the standard deviation of the networks' predictions, a measure of their disagreement.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Data.

        Returns
        -------
        spread : ndarray of shape (n_samples,) or (n_samples, n_classes)
            For a classifier, of the probability of each class, in the order of `classes_`; for a regressor, in the
            units of `y`.

        References
        ----------
        .. [1] Lakshminarayanan, B., Pritzel, A., and Blundell, C. (2017). "Simple and scalable predictive uncertainty
           estimation using deep ensembles". Advances in Neural Information Processing Systems 30.
        """
        check_is_fitted(self)
        refuse_misread(X=X)
        X = validate_data(self, X, accept_sparse=["csr", "csc"], dtype=None, ensure_all_finite=False, reset=False)
        networks = zip(self.estimators_, self.estimators_features_, strict=True)
        return np.std([self._predict_member(network, X[:, features]) for network, features in networks], axis=0)  # type: ignore[attr-defined]

    def predict(self, X: Any, **params: Any) -> np.ndarray:
        """Predict the mean of the networks' predictions, or the class with the highest mean probability.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Data.
        **params : dict
            Metadata for the networks.

        Returns
        -------
        y : ndarray of shape (n_samples,)
        """
        refuse_misread(X=X)
        # Each network's prediction is multithreaded already.
        with joblib.parallel_config("sequential"):
            return super().predict(X, **params)  # type: ignore[misc]


class BackpropEnsembleClassifier(_Ensemble, BaggingClassifier):
    """Several networks trained at the same time, whose probabilities are averaged.

    scikit-learn's :class:`~sklearn.ensemble.BaggingClassifier`, with the networks trained on threads, one per core, on
    one copy of the data; samples are drawn with probabilities proportional to their weights.

    Parameters
    ----------
    estimator : BackpropClassifier, default=None
        The network, which is cloned for every member, each with its own seed; None for one with default parameters. Its
        `class_weight` refers to the classes by their labels; the members number them from 0, in the order of
        `classes_`.
    n_estimators : int, default=10
        Number of networks.
    max_samples : int, float or None, default=None
        Number of samples that each network draws; None for the number of rows of `X`, regardless of their weights. A
        float is a fraction of the samples, or of the sum of their weights.
    max_features : int or float, default=1.0
        Number of features that each network draws, or fraction of them.
    bootstrap : bool, default=True
        Whether samples are drawn with replacement. If they are not, and all samples are drawn, the networks differ only
        in their initial weights and the order of the samples.
    bootstrap_features : bool, default=False
        Whether features are drawn with replacement.
    oob_score : bool, default=False
        Whether to compute out-of-bag predictions: each sample is predicted by the networks that did not draw it.
        Requires `bootstrap`.
    warm_start : bool, default=False
        Whether `fit` keeps the existing networks and adds more.
    n_jobs : int, default=None
        Number of networks trained at the same time, each in a thread; None for one per core.
    random_state : int, RandomState instance or None, default=None
        Determines the seeds and the samples of the networks.
    verbose : int, default=0
        Whether to print progress.

    Attributes
    ----------
    estimators_ : list of BackpropClassifier
        The networks.
    estimators_features_, estimators_samples_ : list of ndarray
        The features and the samples that each network drew.
    n_features_in_ : int
        Number of columns of `X` in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns of `X` in `fit`, if `X` had names.
    oob_score_ : float
        Score of the out-of-bag predictions; only with `oob_score`.
    oob_decision_function_ : ndarray of shape (n_samples, n_classes)
        Out-of-bag predictions; only with `oob_score`.
    classes_ : ndarray of shape (n_classes,)
        Labels of the classes.
    n_classes_ : int
        Number of classes.

    See Also
    --------
    BackpropEnsembleRegressor : The ensemble for continuous targets.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skbackprop import BackpropClassifier, BackpropEnsembleClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> network = BackpropClassifier((8,), solver="lbfgs", max_iter=1000)
    >>> ensemble = BackpropEnsembleClassifier(network, n_estimators=30, oob_score=True, random_state=0)
    >>> bool(ensemble.fit(X, y).oob_score_ > 0.9)
    True
    >>> ensemble.predict_spread(X[:2]).shape
    (2, 3)
    """

    # For type checkers only: fitting sets them.
    estimators_: list[BackpropClassifier]
    classes_: np.ndarray
    n_classes_: int
    oob_decision_function_: np.ndarray

    def predict_proba(self, X: Any, **params: Any) -> np.ndarray:
        """Compute the mean of the networks' probabilities.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Data.
        **params : dict
            Metadata for the networks.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
            In the order of `classes_`.
        """
        refuse_misread(X=X)
        with joblib.parallel_config("sequential"):
            return super().predict_proba(X, **params)

    def predict_log_proba(self, X: Any, **params: Any) -> np.ndarray:
        """Compute the logarithm of the mean of the networks' probabilities.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Data.
        **params : dict
            Metadata for the networks.

        Returns
        -------
        log_probabilities : ndarray of shape (n_samples, n_classes)
            In the order of `classes_`.
        """
        refuse_misread(X=X)
        with joblib.parallel_config("sequential"):
            return super().predict_log_proba(X, **params)

    @property
    def decision_function(self) -> Any:
        """Not available: a mean of raw outputs need not agree with the mean of probabilities."""
        raise AttributeError("the networks' probabilities are averaged, and not their raw outputs: use predict_proba")

    _default_estimator = BackpropClassifier

    def _refuse_targets(self, y, name):
        refuse_misread_labels(y, name)

    def _for_members(self, y, fit_params):
        if fit_params.get("y_val") is None:
            return fit_params
        self._refuse_targets(fit_params["y_val"], "y_val")
        return {**fit_params, "y_val": _numbers_of(fit_params["y_val"], np.unique(y))}

    def _validate_y(self, y):
        fitted = self.classes_ if self._goes_on() else None
        y = super()._validate_y(y)
        if fitted is not None:
            # Members are fitted to integer codes, which mean the same only with the same classes.
            refuse_other_classes(self.classes_, fitted)
        return y

    def _validate_estimator(self, default=None):
        super()._validate_estimator(default)
        # Members get integer codes instead of labels.
        weights = {
            name: dict(enumerate(class_factors(value, [self.classes_], None, None)[0].tolist()))
            for name, value in self.estimator_.get_params().items()
            if name.rpartition("__")[2] == "class_weight" and isinstance(value, dict)
        }
        if weights:
            self.estimator_ = clone(self.estimator_).set_params(**weights)

    def _predict_member(self, network, X):
        probabilities = np.zeros((X.shape[0], self.n_classes_))
        # The member's classes are codes of the ensemble's classes; its samples may lack some.
        probabilities[:, network.classes_] = network.predict_proba(X)
        return probabilities


def _numbers_of(labels, classes):
    """Return the integer codes of labels, by which the members know the classes."""
    labels = np.asarray(labels)
    unknown = unknown_labels(np.unique(labels), classes)
    if len(unknown):
        raise ValueError(f"y_val has labels that y has not: {unknown.tolist()}")
    return np.searchsorted(classes, labels)


class BackpropEnsembleRegressor(_Ensemble, BaggingRegressor):
    """Several networks trained at the same time, whose predictions are averaged.

    scikit-learn's :class:`~sklearn.ensemble.BaggingRegressor`, with the networks trained on threads, one per core, on
    one copy of the data; samples are drawn with probabilities proportional to their weights.

    Parameters
    ----------
    estimator : BackpropRegressor, default=None
        The network, which is cloned for every member, each with its own seed; None for one with default parameters.
    n_estimators : int, default=10
        Number of networks.
    max_samples : int, float or None, default=None
        Number of samples that each network draws; None for the number of rows of `X`, regardless of their weights. A
        float is a fraction of the samples, or of the sum of their weights.
    max_features : int or float, default=1.0
        Number of features that each network draws, or fraction of them.
    bootstrap : bool, default=True
        Whether samples are drawn with replacement. If they are not, and all samples are drawn, the networks differ only
        in their initial weights and the order of the samples.
    bootstrap_features : bool, default=False
        Whether features are drawn with replacement.
    oob_score : bool, default=False
        Whether to compute out-of-bag predictions: each sample is predicted by the networks that did not draw it.
        Requires `bootstrap`.
    warm_start : bool, default=False
        Whether `fit` keeps the existing networks and adds more.
    n_jobs : int, default=None
        Number of networks trained at the same time, each in a thread; None for one per core.
    random_state : int, RandomState instance or None, default=None
        Determines the seeds and the samples of the networks.
    verbose : int, default=0
        Whether to print progress.

    Attributes
    ----------
    estimators_ : list of BackpropRegressor
        The networks.
    estimators_features_, estimators_samples_ : list of ndarray
        The features and the samples that each network drew.
    n_features_in_ : int
        Number of columns of `X` in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns of `X` in `fit`, if `X` had names.
    oob_score_ : float
        Score of the out-of-bag predictions; only with `oob_score`.
    oob_prediction_ : ndarray of shape (n_samples,)
        Out-of-bag predictions; only with `oob_score`.

    See Also
    --------
    BackpropEnsembleClassifier : The ensemble for classes.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skbackprop import BackpropEnsembleRegressor, BackpropRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> network = BackpropRegressor(hidden_layer_sizes=(8,), solver="lbfgs", max_iter=1000, standardize_target=True)
    >>> ensemble = BackpropEnsembleRegressor(network, n_estimators=5, random_state=0).fit(X, y)
    >>> ensemble.predict_spread(X[:2]).shape
    (2,)
    """

    # For type checkers only: fitting sets them.
    estimators_: list[BackpropRegressor]
    oob_prediction_: np.ndarray

    _default_estimator = BackpropRegressor

    def _predict_member(self, network, X):
        return network.predict(X)


def _check_members(ensemble):
    """Raise ModelFileError if an ensemble's networks do not match its other attributes."""
    networks, features = ensemble.estimators_, ensemble.estimators_features_
    kind = ensemble._default_estimator
    require(isinstance(networks, list) and networks, "estimators_ has to be a list of networks")
    require(
        all(type(network) is kind and hasattr(network, "coefs_") for network in networks),
        f"estimators_ has to hold fitted networks, each a {kind.__name__}",
    )
    for entry in ensemble._fitted:
        if entry.check is not None:
            # `oob_score_` is optional.
            entry.check(getattr(ensemble, entry.name, 0.0), entry.name)
    require(len(features) == len(networks), "estimators_features_ has to hold the columns of each network")
    for network, columns in zip(networks, features, strict=True):
        check_places(columns, (network.n_features_in_,), ensemble.n_features_in_, "estimators_features_")
    check_places(getattr(ensemble, _SEEDS), (len(networks),), np.iinfo(np.int32).max, _SEEDS)
    weight, n_samples = getattr(ensemble, _WEIGHT), getattr(ensemble, _COUNTS[0])
    if weight is not None:
        check_array(weight, (n_samples,), np.float64, _WEIGHT)
    _check_classes(ensemble)


def _check_classes(ensemble):
    """Raise ModelFileError if the networks do not match the ensemble's classes."""
    networks, kind = ensemble.estimators_, ensemble._default_estimator
    if not hasattr(ensemble, "classes_"):
        require(kind._numeric_targets, "classes_ is missing")
        require(all(network.n_outputs_ == 1 for network in networks), "networks have to have one output")
        return
    require(not kind._numeric_targets, "a regressor has no classes_")
    check_classes(ensemble.classes_)
    for network in networks:
        # The members' classes are codes of the ensemble's.
        require(isinstance(network.classes_, np.ndarray), "networks have to have one column of classes")
        check_places(network.classes_, network.classes_.shape, len(ensemble.classes_), "classes_ of a network")
