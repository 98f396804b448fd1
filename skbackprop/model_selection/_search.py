"""scikit-learn's searches, with all candidates trained at the same time."""

from typing import TYPE_CHECKING, Any

from sklearn import model_selection
from sklearn.experimental import enable_halving_search_cv  # noqa: F401

from skbackprop.model_selection._population import trained_together

if TYPE_CHECKING:
    from typing import Self

__all__ = ["GridSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV", "RandomizedSearchCV"]


class _PopulationSearch:
    """Mixin that trains all candidates of scikit-learn's searches at the same time."""

    # For type checkers only: parameters of scikit-learn's searches.
    estimator: Any
    scoring: Any
    cv: Any

    def fit(self, X: Any, y: Any = None, **params: Any) -> "Self":
        """Run the search as in scikit-learn, with all networks trained at the same time.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Training data. All candidates share one copy.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Targets.
        **params : dict of str -> object
            Metadata for the estimator, the scorer and the splitter.

        Returns
        -------
        self : object
            The fitted search.

        Raises
        ------
        KeyboardInterrupt
            On Ctrl-C, as soon as the kernels have stopped.
        """
        with trained_together(
            self.estimator, X, searched=_searched(self), scoring=self.scoring, cv=self.cv, search=self
        ):
            return super().fit(X, y, **params)  # type: ignore[misc]


def _searched(search):
    """Return the names of the parameters that are searched over."""
    given = getattr(search, "param_grid", None) or getattr(search, "param_distributions", None) or {}
    spaces = [given] if hasattr(given, "keys") else given
    return {name for space in spaces for name in space}


class GridSearchCV(_PopulationSearch, model_selection.GridSearchCV):
    """Search over every combination of parameters, with all candidates trained at the same time.

    It is scikit-learn's :class:`~sklearn.model_selection.GridSearchCV` with the same parameters, attributes and
    results, and bitwise identical scores. If the estimator is one of this package, or a
    :class:`~sklearn.pipeline.Pipeline` that ends with one, the candidates are trained on threads, one network per core,
    without processes and without copies of the data, and the pipeline's earlier steps are fitted once for each fold and
    parameter set. Any other estimator is passed on to scikit-learn.

    Parameters
    ----------
    estimator : object
        The estimator to fit.
    param_grid : dict or list of dict
        Names of parameters and the values to try for each.
    n_jobs : int, default=None
        Number of candidates that are trained at the same time, each in a thread of its own. None and -1 mean as many as
        there are cores. Under another backend of joblib's :class:`~joblib.parallel_config`, as in scikit-learn; under one
        of Dask, Ray or Spark, the number of shares of the fits, each of which one worker trains.
    scoring, refit, cv, verbose, pre_dispatch, error_score, return_train_score : object
        As in scikit-learn's class.

    See Also
    --------
    sklearn.model_selection.GridSearchCV : All parameters and attributes.

    Notes
    -----
    ``mean_fit_time`` and ``mean_score_time`` are seconds of a candidate's own thread, from the start of its fit to the
    end, while other candidates are trained at the same time: their sum over all candidates is about the time of the
    search multiplied by the number of threads. Shared work counts where it happens: the validation of the data for no
    candidate, the earlier steps of a pipeline for the first candidate that needs them.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skbackprop import BackpropClassifier
    >>> from skbackprop.model_selection import GridSearchCV
    >>> X, y = load_wine(return_X_y=True)
    >>> network = make_pipeline(StandardScaler(), BackpropClassifier((8,), solver="lbfgs", random_state=0))
    >>> search = GridSearchCV(network, {"backpropclassifier__alpha": [1e-4, 1e-1, 10.0]}, cv=3).fit(X, y)
    >>> bool(search.best_score_ > 0.95)
    True
    """


class RandomizedSearchCV(_PopulationSearch, model_selection.RandomizedSearchCV):
    """Search over parameters drawn at random, with all candidates trained at the same time.

    It is scikit-learn's :class:`~sklearn.model_selection.RandomizedSearchCV` with the same parameters, attributes and
    results, and bitwise identical scores. If the estimator is one of this package, or a
    :class:`~sklearn.pipeline.Pipeline` that ends with one, the candidates are trained on threads, one network per core,
    without processes and without copies of the data, and the pipeline's earlier steps are fitted once for each fold and
    parameter set. Any other estimator is passed on to scikit-learn.

    Parameters
    ----------
    estimator : object
        The estimator to fit.
    param_distributions : dict or list of dict
        Names of parameters, and lists of values or distributions to draw them from.
    n_jobs : int, default=None
        Number of candidates that are trained at the same time, each in a thread of its own. None and -1 mean as many as
        there are cores. Under another backend of joblib's :class:`~joblib.parallel_config`, as in scikit-learn; under one
        of Dask, Ray or Spark, the number of shares of the fits, each of which one worker trains.
    n_iter, scoring, refit, cv, verbose, pre_dispatch, random_state, error_score, return_train_score : object
        As in scikit-learn's class.

    See Also
    --------
    sklearn.model_selection.RandomizedSearchCV : All parameters and attributes.

    Notes
    -----
    ``mean_fit_time`` and ``mean_score_time`` are seconds of a candidate's own thread, from the start of its fit to the
    end, while other candidates are trained at the same time: their sum over all candidates is about the time of the
    search multiplied by the number of threads. Shared work counts where it happens: the validation of the data for no
    candidate, the earlier steps of a pipeline for the first candidate that needs them.
    """


class HalvingGridSearchCV(_PopulationSearch, model_selection.HalvingGridSearchCV):
    """Successive halving of every combination of parameters, with all candidates of a round trained at the same time.

    It is scikit-learn's :class:`~sklearn.model_selection.HalvingGridSearchCV` with the same parameters, attributes and
    results, and bitwise identical scores. If the estimator is one of this package, or a
    :class:`~sklearn.pipeline.Pipeline` that ends with one, the candidates are trained on threads, one network per core,
    without processes and without copies of the data, and the pipeline's earlier steps are fitted once for each fold and
    parameter set. Any other estimator is passed on to scikit-learn.

    Parameters
    ----------
    estimator : object
        The estimator to fit.
    param_grid : dict or list of dict
        Names of parameters and the values to try for each.
    n_jobs : int, default=None
        Number of candidates that are trained at the same time, each in a thread of its own. None and -1 mean as many as
        there are cores. Under another backend of joblib's :class:`~joblib.parallel_config`, as in scikit-learn; under one
        of Dask, Ray or Spark, the number of shares of the fits, each of which one worker trains.
    factor, resource, max_resources, min_resources, aggressive_elimination, cv, scoring, refit, error_score, return_train_score, random_state, verbose : object
        As in scikit-learn's class.

    See Also
    --------
    sklearn.model_selection.HalvingGridSearchCV : All parameters and attributes.

    Notes
    -----
    ``mean_fit_time`` and ``mean_score_time`` are seconds of a candidate's own thread, from the start of its fit to the
    end, while other candidates are trained at the same time: their sum over all candidates is about the time of the
    search multiplied by the number of threads. Shared work counts where it happens: the validation of the data for no
    candidate, the earlier steps of a pipeline for the first candidate that needs them.
    """


class HalvingRandomSearchCV(_PopulationSearch, model_selection.HalvingRandomSearchCV):
    """Successive halving of parameters drawn at random, with all candidates of a round trained at the same time.

    It is scikit-learn's :class:`~sklearn.model_selection.HalvingRandomSearchCV` with the same parameters, attributes
    and results, and bitwise identical scores. If the estimator is one of this package, or a
    :class:`~sklearn.pipeline.Pipeline` that ends with one, the candidates are trained on threads, one network per core,
    without processes and without copies of the data, and the pipeline's earlier steps are fitted once for each fold and
    parameter set. Any other estimator is passed on to scikit-learn.

    Parameters
    ----------
    estimator : object
        The estimator to fit.
    param_distributions : dict or list of dict
        Names of parameters, and lists of values or distributions to draw them from.
    n_jobs : int, default=None
        Number of candidates that are trained at the same time, each in a thread of its own. None and -1 mean as many as
        there are cores. Under another backend of joblib's :class:`~joblib.parallel_config`, as in scikit-learn; under one
        of Dask, Ray or Spark, the number of shares of the fits, each of which one worker trains.
    n_candidates, factor, resource, max_resources, min_resources, aggressive_elimination, cv, scoring, refit, error_score, return_train_score, random_state, verbose : object
        As in scikit-learn's class.

    See Also
    --------
    sklearn.model_selection.HalvingRandomSearchCV : All parameters and attributes.

    Notes
    -----
    ``mean_fit_time`` and ``mean_score_time`` are seconds of a candidate's own thread, from the start of its fit to the
    end, while other candidates are trained at the same time: their sum over all candidates is about the time of the
    search multiplied by the number of threads. Shared work counts where it happens: the validation of the data for no
    candidate, the earlier steps of a pipeline for the first candidate that needs them.
    """
