"""The types that skops is to trust when it loads this package's models."""

import inspect

from skbackprop._sklearn import TYPES_IN_SEARCHES

__all__ = ["skops_trusted_types"]


def skops_trusted_types() -> list[str]:
    """Return the names of this package's types for the argument `trusted` of :func:`skops.io.load`.

    They are the estimators, their searches, the functions that parameters may be, the encoder of tables and the state
    of an optimizer, and two scikit-learn types that each fitted search contains. All hold numbers, text and each other:
    creating them runs no code from the file and reads or writes no other file. Callbacks are therefore not among them,
    such as a :class:`~skbackprop.Checkpoint`, whose folder the file would choose. skops knows most of scikit-learn's
    types already, and asks for others, such as splitters, calibrators and classes of your own: add those that you trust.

    Returns
    -------
    names : list of str
        In alphabetical order.

    See Also
    --------
    skbackprop.load : Load a model file, which holds a single network or ensemble.

    Examples
    --------
    >>> import skops.io as sio
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> import skbackprop
    >>> X, y = load_iris(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), skbackprop.BackpropClassifier(solver="lbfgs", random_state=0)).fit(X, y)
    >>> data = sio.dumps(model)
    >>> loaded = sio.loads(data, trusted=skbackprop.skops_trusted_types())
    >>> bool((loaded.predict(X) == model.predict(X)).all())
    True
    """
    # Not at import: searches and ensembles take longer to import than the rest of the package.
    from skbackprop import estimators, functions, model_selection, preprocessing
    from skbackprop.training.progress import OptimizerState

    modules = estimators, functions, model_selection, preprocessing
    public = {getattr(module, name) for module in modules for name in module.__all__} | {OptimizerState}
    types = {kind for kind in public if inspect.isclass(kind)} - {estimators.Checkpoint}
    names = [f"{kind.__module__}.{kind.__qualname__}" for kind in types]
    return sorted([*names, *_SCORERS, *TYPES_IN_SEARCHES])


# Functions that estimators for tables give to their networks.
_SCORERS = ("skbackprop.estimators.tabular._negative_scaled_log_loss",)
