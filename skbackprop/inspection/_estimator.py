"""Which estimators can be inspected, and the network inside a pipeline."""

from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skbackprop.estimators import BackpropClassifier, BackpropRegressor

__all__ = ["check_network", "find_network"]


def check_network(estimator):
    """Raise if an estimator is not this package's, or is not fitted.

    Parameters
    ----------
    estimator : object

    Raises
    ------
    TypeError
        If it is something else.
    sklearn.exceptions.NotFittedError
        If it is not fitted.
    """
    if not isinstance(estimator, BackpropClassifier | BackpropRegressor):
        raise TypeError(
            f"estimator={estimator!r} must be a BackpropClassifier or a BackpropRegressor; for a meta-estimator, give the "
            "one inside, such as the best_estimator_ of a search"
        )
    check_is_fitted(estimator)


def find_network(estimator):
    """A fitted network, or the one that is the last step of a pipeline.

    Parameters
    ----------
    estimator : object

    Returns
    -------
    network : BackpropClassifier or BackpropRegressor

    Raises
    ------
    TypeError
        If it is something else.
    sklearn.exceptions.NotFittedError
        If it is not fitted.
    """
    while isinstance(estimator, Pipeline):
        estimator = estimator[-1]
    check_network(estimator)
    return estimator
