"""Save estimators to files and load them: which values a file holds, and how they are checked."""

import json
import os
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import fields
from inspect import signature
from typing import Any

import numpy as np
from sklearn import model_selection, preprocessing
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

import skbackprop.estimators as estimators
from skbackprop.estimators._checks import require
from skbackprop.estimators._choices import start_optimizer
from skbackprop.estimators._restored import check_network
from skbackprop.estimators._state import Fitted
from skbackprop.estimators._table_file import ENCODER, restore_encoder
from skbackprop.exceptions import ModelFileError
from skbackprop.persistence.container import FORMAT, read, write
from skbackprop.persistence.encoding import decode, encode
from skbackprop.preprocessing import TableEncoder

__all__ = ["SavesToFile", "describe", "describe_parameters", "load", "name_only", "refuse", "restore", "save"]

# Key of the state's format number in pickles.
_STATE_FORMAT = "_skbackprop_format"

#: Classes of scikit-learn that files may name, by their parameters alone.
_OF_SKLEARN = {
    name: getattr(module, name)
    for module, names in (
        (preprocessing, ["TargetEncoder"]),
        (model_selection, ["KFold", "StratifiedKFold", "GroupKFold", "StratifiedGroupKFold"]),
    )
    for name in names
}

#: Errors that inconsistent values of a file may raise.
_CONTRADICTIONS = (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, OverflowError)


class SavesToFile:
    """Mixin of estimators that can be saved; equal fits give equal files, pickles and joblib hashes."""

    #: Fitted attributes, in the order of the file.
    _fitted: tuple[Fitted, ...]

    @abstractmethod
    def _restore(self):
        """Check the attributes read from a file and set derived ones; raise an error if they are inconsistent."""

    def __getstate__(self) -> Any:
        state = {**super().__getstate__(), _STATE_FORMAT: FORMAT}  # type: ignore[dict-item]
        state |= {entry.name: entry.canonical(state[entry.name]) for entry in self._fitted if entry.name in state}
        # Sorted, because the order of attributes depends on the history of calls.
        return dict(sorted(state.items()))

    def __setstate__(self, state: Any) -> None:
        state = dict(state)
        found = state.pop(_STATE_FORMAT, 0)
        if found > FORMAT:
            raise ModelFileError(
                f"this {type(self).__name__} was pickled by a later version of skbackprop, in format {found}; this version reads "
                f"formats up to {FORMAT}: install the version that pickled it, or a later one"
            )
        # Earlier versions had fewer parameters.
        missing = [name for name in self._get_param_names() if name not in state]  # type: ignore[attr-defined]
        if missing:
            parameters = signature(type(self)).parameters
            state |= {name: parameters[name].default for name in missing}
        super().__setstate__(state)  # type: ignore[misc]
        if found < 1 and hasattr(self, "_optimizer") and "optimizer" not in vars(self._optimizer):
            # Format 0 stored only the optimizer's key.
            self._optimizer.optimizer = start_optimizer(self, np.zeros(1)).optimizer

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save the fitted estimator to a file that is safe to load.

        The file has the safetensors format and holds only numbers and text: parameters, weights, classes, history and
        the optimizer state, so that `partial_fit` continues as if there had been no interruption. Writing is atomic:
        after a crash, `path` is either the old file or the new one. Callbacks and metadata requests are not saved.
        Parameters that are other objects are an error: functions, scikit-learn's random splitters, and classes of your
        own, subclasses of this one included. Use :mod:`pickle` or skops for these.

        Parameters
        ----------
        path : str or path-like
            File name, by convention with the suffix ``.safetensors``. An existing file is replaced.

        Raises
        ------
        ValueError
            If a parameter or an attribute cannot be saved, or if :func:`~skbackprop.load` would refuse it; the message
            names it. Nothing is written then.
        OSError
            If the file cannot be written.
        ImportError
            If safetensors is not installed.

        See Also
        --------
        skbackprop.load : Read the file.
        """
        _save(self, path)


def save(model: Any, path: str | os.PathLike[str]) -> None:
    """Save a fitted estimator of this package to a file that is safe to load.

    The same as the estimator's method `save`. Models that contain other estimators, such as a Pipeline or a search, are
    an error that explains how to save them with skops.

    Parameters
    ----------
    model : BackpropClassifier, BackpropRegressor, BackpropEmbedding, an ensemble, an estimator for tables, or TableEncoder
        Fitted estimator.
    path : str or path-like
        File name, by convention with the suffix ``.safetensors``. An existing file is replaced.

    Raises
    ------
    TypeError
        If `model` is not an estimator of this package.
    ValueError
        If a parameter or an attribute cannot be saved, or if :func:`~skbackprop.load` would refuse it.
    OSError
        If the file cannot be written.
    ImportError
        If safetensors is not installed.

    See Also
    --------
    skbackprop.load : Read the file.

    Examples
    --------
    >>> import os, tempfile
    >>> import skbackprop
    >>> from sklearn.datasets import load_iris
    >>> model = skbackprop.BackpropClassifier(random_state=0, solver="lbfgs").fit(*load_iris(return_X_y=True))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     skbackprop.save(model, os.path.join(folder, "iris.safetensors"))
    """
    if isinstance(model, SavesToFile):
        model.save(path)
    elif _is_ours(type(model)):
        _save(model, path)
    else:
        network = "" if not hasattr(model, "steps") else ", or save(model[-1], path), the last step by itself"
        raise TypeError(
            f"model files hold estimators of skbackprop, and no {type(model).__name__}: use skops.io.dump(model, path), and "
            "skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path)) after a look at these types, which begin with "
            f"'skbackprop.' or 'sklearn.' if nothing of anybody else's is in it{network}"
        )


def _save(model, path):
    check_is_fitted(model)
    if not _is_ours(type(model)):
        raise ValueError(
            f"{type(model).__name__} cannot be kept in a model file: it is a class of your own, and load makes objects of this "
            "package's classes only; use pickle or skops.io"
        )
    arrays = {}
    tree = describe(model, arrays)
    try:
        _build(json.loads(json.dumps(tree)), arrays)
    except _CONTRADICTIONS as error:
        raise ValueError(
            f"this {type(model).__name__} cannot be kept in a model file, as load would refuse it: {error}"
        ) from error
    write(path, "model", {"model": tree}, arrays)


def load(path: str | os.PathLike[str]) -> Any:
    """Load an estimator from a file.

    Safe for files from untrusted sources: loading executes no code from the file, which can only hold numbers, text,
    and names from a fixed list of classes, this package's and scikit-learn's target encoder and splitters into folds. The
    checksum, the format version, and the types, shapes and
    values are checked before an estimator is created. Loading takes no more memory than the size of the file.

    Parameters
    ----------
    path : str or path-like
        File written by :meth:`BackpropClassifier.save`, or by a :class:`~skbackprop.Checkpoint`, which gives the
        estimator after that epoch.

    Returns
    -------
    estimator : BackpropClassifier, BackpropRegressor, BackpropEmbedding, an ensemble, an estimator for tables, or TableEncoder
        The saved estimator, with the same parameters and bitwise identical predictions.

    Raises
    ------
    ModelFileError
        If the file is damaged, was not written by this package or was written by a later version, or is inconsistent.
    OSError
        If the file cannot be opened.
    ImportError
        If safetensors is not installed.

    Examples
    --------
    >>> import os, tempfile
    >>> import skbackprop
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = skbackprop.BackpropClassifier(random_state=0, solver="lbfgs").fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "iris.safetensors")
    ...     model.save(path)
    ...     loaded = skbackprop.load(path)
    >>> bool((loaded.predict_proba(X) == model.predict_proba(X)).all())
    True
    """
    kind, content, arrays = read(path)
    try:
        if kind not in ("model", "checkpoint"):
            raise ModelFileError(f"it holds a {kind!r}")
        return _build(content["model"], arrays)
    except ModelFileError as error:
        raise ModelFileError(f"{path} holds no estimator that can be used: {error}") from error
    except _CONTRADICTIONS as error:
        raise ModelFileError(f"{path} holds no estimator that can be used: {error!r}") from error


def refuse(value: Any, path: Any) -> Any:
    """Raise ValueError for a value that cannot be saved."""
    raise ValueError(
        f"{path.removeprefix('model.')}={value!r} cannot be kept in a model file, which holds numbers, text and this package's own "
        "objects; set another value before you save, or use pickle or skops.io"
    )


def name_only(value: Any, path: Any) -> Any:
    """Encode a value that cannot be saved as its name or its class's, from which `load` recreates nothing."""
    named = value if callable(value) and hasattr(value, "__qualname__") else type(value)
    return {"unsupported": f"{named.__module__}.{named.__qualname__}"}


def describe(estimator: Any, arrays: dict[str, Any], path: str = "model", unsupported: Any = refuse) -> dict[str, Any]:
    """Encode an estimator as JSON.

    Parameters
    ----------
    estimator : estimator
        Estimator of this package.
    arrays : dict of ndarray
        Arrays in the estimator are added here.
    path : str
        Prefix of the arrays' names.
    unsupported : callable, default=refuse
        Encodes values that cannot be saved; called with the value and its path.

    Returns
    -------
    tree : dict
        JSON-compatible.
    """
    kind = type(estimator)
    if hasattr(estimator, "coefs_"):
        check_network(estimator)
    attributes = {
        entry.name: entry.canonical(getattr(estimator, entry.name))
        for entry in _fitted_of(estimator)
        if entry.saved and hasattr(estimator, entry.name)
    }
    state = attributes.get("_optimizer")
    if state is not None:
        attributes["_optimizer"] = {field.name: getattr(state, field.name) for field in fields(state)}
    return {
        "estimator": kind.__name__ if _is_ours(kind) else f"{kind.__module__}.{kind.__qualname__}",
        "parameters": describe_parameters(estimator.get_params(deep=False), arrays, path, unsupported),
        "attributes": {
            name: encode(value, f"{path}.{name}", arrays, _other(arrays, unsupported))
            for name, value in attributes.items()
        },
    }


def _is_ours(kind):
    return kind is TableEncoder or kind is getattr(estimators, kind.__name__, None)


def _fitted_of(estimator):
    return ENCODER if isinstance(estimator, TableEncoder) else estimator._fitted


def describe_parameters(parameters: Any, arrays: Any, path: Any = "model", unsupported: Any = refuse) -> Any:
    """Encode parameters as JSON; see `describe`."""
    return {
        name: encode(value, f"{path}.{name}", arrays, _other(arrays, unsupported)) for name, value in parameters.items()
    }


def _other(arrays, unsupported):
    def other(value, path):
        if _is_ours(type(value)):
            return describe(value, arrays, path, unsupported)
        if type(value) is FrozenEstimator:
            return {"frozen": other(value.estimator, path)}
        if type(value) in _OF_SKLEARN.values():
            settings = {name: getattr(value, name) for name in signature(type(value)).parameters}
            return {
                "sklearn": type(value).__name__,
                "parameters": describe_parameters(settings, arrays, path, unsupported),
            }
        return unsupported(value, path)

    return other


def _build(tree, arrays):
    """Create the estimator that `describe` encoded."""

    def other(tree):
        if "frozen" in tree:
            return FrozenEstimator(other(tree["frozen"]))
        if "estimator" in tree:
            return _build(tree, arrays)
        if "sklearn" in tree:
            return _OF_SKLEARN[tree["sklearn"]](**parameters_of(tree))
        if "unsupported" in tree:
            raise ModelFileError(f"the value {tree['unsupported']} of a parameter is not in the file")
        raise ModelFileError(f"the header has an entry of unknown kind, {list(tree)[:1]}")

    def parameters_of(tree):
        return {key: decode(value, arrays, other) for key, value in tree["parameters"].items()}

    name = tree["estimator"]
    if name != TableEncoder.__name__ and (name not in estimators.__all__ or not name.startswith("Backprop")):
        raise ModelFileError(f"{name!r} is no estimator of skbackprop")
    kind = TableEncoder if name == TableEncoder.__name__ else getattr(estimators, name)
    estimator = kind(**parameters_of(tree))
    estimator._validate_params()
    return restore(estimator, tree["attributes"], arrays, other)


def restore(estimator: Any, attributes: dict[str, Any], arrays: dict[str, Any], other: Callable | None = None) -> Any:
    """Set the fitted attributes of an estimator.

    Parameters
    ----------
    estimator : estimator
        Estimator whose parameters are set.
    attributes : dict
        As returned by `describe`.
    arrays : dict of ndarray
    other : callable, optional
        Decodes other types; see `decode`.

    Returns
    -------
    estimator : estimator
        The same object.

    Raises
    ------
    ModelFileError
        If the attributes are inconsistent.
    """
    unknown = set(attributes) - {entry.name for entry in _fitted_of(estimator) if entry.saved}
    if unknown:
        raise ModelFileError(f"the header has attributes that no estimator has: {sorted(unknown)}")
    for name, tree in attributes.items():
        setattr(estimator, name, decode(tree, arrays, other))
    if attributes and isinstance(estimator, TableEncoder):
        restore_encoder(estimator)
    elif attributes:
        estimator._restore()
    names = getattr(estimator, "feature_names_in_", None)
    if names is not None:
        is_fitting = (
            isinstance(names, np.ndarray) and names.dtype.kind == "O" and names.shape == (estimator.n_features_in_,)
        )
        require(is_fitting, "feature_names_in_ has to hold a name for each column")
    return estimator
