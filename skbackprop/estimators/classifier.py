"""The classifier."""

import numpy as np
from scipy import sparse
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.metrics import accuracy_score
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels
from sklearn.utils.validation import column_or_1d

from skbackprop.estimators._base import BaseBackprop, has_partial_fit

__all__ = ["BackpropClassifier"]


class BackpropClassifier(ClassifierMixin, BaseBackprop):
    """DOC"""

    _numeric_targets = False

    def __init__(
        self,
        hidden_layer_sizes=(100,),
        activation="relu",
        *,
        solver="adam",
        alpha=0.0001,
        batch_size="auto",
        learning_rate="constant",
        learning_rate_init=0.001,
        power_t=0.5,
        max_iter=200,
        shuffle=True,
        random_state=None,
        tol=1e-4,
        verbose=False,
        warm_start=False,
        momentum=0.9,
        nesterovs_momentum=True,
        early_stopping=False,
        validation_fraction=0.1,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        n_iter_no_change=10,
        max_fun=15000,
        dtype=None,
        n_jobs=None,
        device="cpu",
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.loss = "log_loss"
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.dtype = dtype
        self.n_jobs = n_jobs
        self.device = device

    def _set_classes(self, y):
        target_type = type_of_target(y, input_name="y")
        if "multioutput" in target_type:
            raise ValueError(
                f"y is of type {target_type!r}: several columns of labels are supported as a binary indicator matrix only"
            )
        self.classes_ = unique_labels(y)
        self._target_type = target_type

    def _encode_targets(self, y, keep_classes):
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if keep_classes or (hasattr(self, "classes_") and not hasattr(self, "coefs_")):
            self._check_classes(y)
        else:
            self._set_classes(y)
        if self._target_type == "multilabel-indicator":
            y = y.toarray() if sparse.issparse(y) else y
            return y.reshape(len(y), -1)
        if self._target_type == "multiclass":
            return np.searchsorted(self.classes_, y)[:, np.newaxis]
        return (y == self.classes_[-1])[:, np.newaxis] & (len(self.classes_) > 1)

    def _check_classes(self, y):
        classes = unique_labels(y)
        if self.warm_start and set(classes) != set(self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. Previously "
                f"got {self.classes_}, `y` has {classes}"
            )
        if len(np.setdiff1d(classes, self.classes_, assume_unique=True)):
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. 'y' has {classes}."
            )

    def _loss_name(self):
        return "multiclass_log_loss" if self._target_type == "multiclass" else "binary_log_loss"

    def _n_outputs(self, targets):
        return len(self.classes_) if self._target_type == "multiclass" else targets.shape[1]

    def _stratification(self, targets):
        if self._target_type == "multilabel-indicator":
            return None
        return targets[:, 0].astype(bool if self._target_type == "binary" else int)

    def _explain_split(self, error, stratify):
        message = super()._explain_split(error, stratify)
        if stratify is not None:
            codes, counts = np.unique(stratify, return_counts=True)
            rare = [str(self.classes_[int(code)]) for code in codes[counts < 2]]
            if rare:
                message += f" (in the words of y: {', '.join(rare)})"
        return message

    def _score_predictions(self, targets, predictions, sample_weight):
        if self._target_type == "multiclass":
            labels, expected = predictions.argmax(axis=1), targets[:, 0].astype(np.intp)
        else:
            labels, expected = (predictions > 0.5).astype(np.intp), targets.astype(np.intp)
            if self._target_type != "multilabel-indicator":
                labels, expected = labels[:, 0], expected[:, 0]
        return accuracy_score(expected, labels, sample_weight=sample_weight)

    @available_if(has_partial_fit)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, sample_weight=None, classes=None):
        """Train for one epoch over the given data, from the present weights if there are any.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Class labels, some of `classes`.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the samples; None for equal ones.
        classes : array-like of shape (n_classes,), default=None
            All classes that any call will bring. Required at the first call, may be omitted later.

        Returns
        -------
        self : object
            The estimator after the epoch.

        Raises
        ------
        ValueError
            If an argument is invalid, with `early_stopping`, or if training diverges.
        """
        if _check_partial_fit_first_call(self, classes):
            indicator = type_of_target(y).startswith("multilabel")
            self._set_classes(y if indicator else self.classes_)
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X):
        """Predict classes.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Data; converted to the model's dtype.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_classes)
            The most probable class; for multilabel problems, an indicator matrix.
        """
        probabilities = self._predict_raw(X)
        if self._target_type == "multiclass":
            return self.classes_[probabilities.argmax(axis=1)]
        positive = (probabilities > 0.5).astype(np.intp)
        if self._target_type == "multilabel-indicator":
            return positive
        return self.classes_[np.minimum(positive[:, 0], len(self.classes_) - 1)]

    def predict_proba(self, X):
        """Probabilities of the classes.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Data; converted to the model's dtype.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
            In the order of `classes_` and in the model's dtype. Rows sum to one, except for multilabel problems.
        """
        probabilities = self._predict_raw(X)
        if self._target_type != "binary":
            return probabilities
        if len(self.classes_) == 1:
            return np.ones_like(probabilities)
        return np.hstack([1 - probabilities, probabilities])

    def predict_log_proba(self, X):
        """Logarithms of the probabilities of the classes.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Data; converted to the model's dtype.

        Returns
        -------
        log_probabilities : ndarray of shape (n_samples, n_classes)
            ``log(predict_proba(X))``; -inf for a probability of zero.
        """
        probabilities = self.predict_proba(X)
        with np.errstate(divide="ignore"):
            return np.log(probabilities, out=probabilities)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
