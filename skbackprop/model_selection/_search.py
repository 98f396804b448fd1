"""scikit-learn's searches, with all candidates trained at the same time."""

from sklearn import model_selection
from sklearn.experimental import enable_halving_search_cv  # noqa: F401

from skbackprop.model_selection._population import trained_together

__all__ = ["GridSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV", "RandomizedSearchCV"]


class _PopulationSearch:
    """What the searches do otherwise than scikit-learn's."""

    def fit(self, X, y=None, **params):
        """Search, as scikit-learn does it, and train the networks at the same time.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Training data; held once, however many candidates are trained.
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
            return super().fit(X, y, **params)


def _searched(search):
    """Names of the parameters that are searched over."""
    given = getattr(search, "param_grid", None) or getattr(search, "param_distributions", None) or {}
    spaces = [given] if hasattr(given, "keys") else given
    return {name for space in spaces for name in space}


class GridSearchCV(_PopulationSearch, model_selection.GridSearchCV):
    """Search over every combination of parameters, with all candidates trained at the same time.

    It is scikit-learn's :class:`~sklearn.model_selection.GridSearchCV` with the same parameters, attributes and results, and the
    same bits in the scores. Where the estimator is one of this package, or a :class:`~sklearn.pipeline.Pipeline` that ends with
    one, the candidates are trained on threads, one network a core, without processes and without copies of the data, and the
    pipeline's earlier steps are fitted once for each fold and parameter set. Any other estimator is left to scikit-learn.

    Parameters
    ----------
    estimator : object
        What to fit.
    param_grid : dict or list of dict
        Names of parameters and the values to try.
    n_jobs : int, default=None
        Candidates that are trained at the same time, each on a thread of its own. None for as many as there are cores, and -1.
        Under another backend of joblib's :class:`~joblib.parallel_config`, as scikit-learn has it.
    scoring, refit, cv, verbose, pre_dispatch, error_score, return_train_score : object
        As in scikit-learn's class.

    See Also
    --------
    sklearn.model_selection.GridSearchCV : What all parameters and attributes mean.

    Notes
    -----
    ``mean_fit_time`` and ``mean_score_time`` are seconds of a candidate's own thread, from the beginning of its fit to the end,
    while other candidates are trained beside it: their sum over all candidates is about the search's time multiplied by the
    threads. What is shared counts where it happens: the validation of the data for none, the earlier steps of a pipeline for the
    first candidate that needs them.

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

    It is scikit-learn's :class:`~sklearn.model_selection.RandomizedSearchCV` with the same parameters, attributes and results, and the
    same bits in the scores. Where the estimator is one of this package, or a :class:`~sklearn.pipeline.Pipeline` that ends with
    one, the candidates are trained on threads, one network a core, without processes and without copies of the data, and the
    pipeline's earlier steps are fitted once for each fold and parameter set. Any other estimator is left to scikit-learn.

    Parameters
    ----------
    estimator : object
        What to fit.
    param_distributions : dict or list of dict
        Names of parameters, and lists of values or distributions to draw them from.
    n_jobs : int, default=None
        Candidates that are trained at the same time, each on a thread of its own. None for as many as there are cores, and -1.
        Under another backend of joblib's :class:`~joblib.parallel_config`, as scikit-learn has it.
    n_iter, scoring, refit, cv, verbose, pre_dispatch, random_state, error_score, return_train_score : object
        As in scikit-learn's class.

    See Also
    --------
    sklearn.model_selection.RandomizedSearchCV : What all parameters and attributes mean.

    Notes
    -----
    ``mean_fit_time`` and ``mean_score_time`` are seconds of a candidate's own thread, from the beginning of its fit to the end,
    while other candidates are trained beside it: their sum over all candidates is about the search's time multiplied by the
    threads. What is shared counts where it happens: the validation of the data for none, the earlier steps of a pipeline for the
    first candidate that needs them.
    """


class HalvingGridSearchCV(_PopulationSearch, model_selection.HalvingGridSearchCV):
    """Successive halving of every combination of parameters, with all candidates of a round trained at the same time.

    It is scikit-learn's :class:`~sklearn.model_selection.HalvingGridSearchCV` with the same parameters, attributes and results, and the
    same bits in the scores. Where the estimator is one of this package, or a :class:`~sklearn.pipeline.Pipeline` that ends with
    one, the candidates are trained on threads, one network a core, without processes and without copies of the data, and the
    pipeline's earlier steps are fitted once for each fold and parameter set. Any other estimator is left to scikit-learn.

    Parameters
    ----------
    estimator : object
        What to fit.
    param_grid : dict or list of dict
        Names of parameters and the values to try.
    n_jobs : int, default=None
        Candidates that are trained at the same time, each on a thread of its own. None for as many as there are cores, and -1.
        Under another backend of joblib's :class:`~joblib.parallel_config`, as scikit-learn has it.
    factor, resource, max_resources, min_resources, aggressive_elimination, cv, scoring, refit, error_score, return_train_score, random_state, verbose : object
        As in scikit-learn's class.

    See Also
    --------
    sklearn.model_selection.HalvingGridSearchCV : What all parameters and attributes mean.

    Notes
    -----
    ``mean_fit_time`` and ``mean_score_time`` are seconds of a candidate's own thread, from the beginning of its fit to the end,
    while other candidates are trained beside it: their sum over all candidates is about the search's time multiplied by the
    threads. What is shared counts where it happens: the validation of the data for none, the earlier steps of a pipeline for the
    first candidate that needs them.
    """


class HalvingRandomSearchCV(_PopulationSearch, model_selection.HalvingRandomSearchCV):
    """Successive halving of parameters drawn at random, with all candidates of a round trained at the same time.

    It is scikit-learn's :class:`~sklearn.model_selection.HalvingRandomSearchCV` with the same parameters, attributes and results, and the
    same bits in the scores. Where the estimator is one of this package, or a :class:`~sklearn.pipeline.Pipeline` that ends with
    one, the candidates are trained on threads, one network a core, without processes and without copies of the data, and the
    pipeline's earlier steps are fitted once for each fold and parameter set. Any other estimator is left to scikit-learn.

    Parameters
    ----------
    estimator : object
        What to fit.
    param_distributions : dict or list of dict
        Names of parameters, and lists of values or distributions to draw them from.
    n_jobs : int, default=None
        Candidates that are trained at the same time, each on a thread of its own. None for as many as there are cores, and -1.
        Under another backend of joblib's :class:`~joblib.parallel_config`, as scikit-learn has it.
    n_candidates, factor, resource, max_resources, min_resources, aggressive_elimination, cv, scoring, refit, error_score, return_train_score, random_state, verbose : object
        As in scikit-learn's class.

    See Also
    --------
    sklearn.model_selection.HalvingRandomSearchCV : What all parameters and attributes mean.

    Notes
    -----
    ``mean_fit_time`` and ``mean_score_time`` are seconds of a candidate's own thread, from the beginning of its fit to the end,
    while other candidates are trained beside it: their sum over all candidates is about the search's time multiplied by the
    threads. What is shared counts where it happens: the validation of the data for none, the earlier steps of a pipeline for the
    first candidate that needs them.
    """
