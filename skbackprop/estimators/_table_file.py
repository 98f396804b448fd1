"""Table encoders, and estimators for tables, in model files: their fitted attributes, and how values that may be damaged or forged are checked."""

from functools import partial
from math import prod

import numpy as np

from skbackprop.estimators._canonical import new_strings
from skbackprop.estimators._checks import check_array, check_classes, check_count, check_places, require
from skbackprop.estimators._state import Fitted, copy_state
from skbackprop.preprocessing import TableEncoder
from skbackprop.preprocessing._formulas import CYCLES
from skbackprop.preprocessing._table_encoder import SCALED

__all__ = ["ENCODER", "TABULAR", "check_tabular", "restore_encoder"]


def _new_levels(levels):
    return [None if column is None else new_strings(column) for column in levels]


def _without_scorers(networks):
    """Copy networks without a function for `scoring`, which neither files nor pickles are to name."""
    copies = [copy_state(network) for network in networks]
    for network in copies:
        network.scoring = None if callable(network.scoring) else network.scoring
    return copies


#: All fitted attributes of a table encoder.
ENCODER = (
    Fitted("n_features_in_", "data", partial(check_count, least=1)),
    Fitted("feature_names_in_", "data", canonical=new_strings),
    Fitted("kinds_", "columns"),
    Fitted("categories_", "columns", canonical=_new_levels),
    Fitted("groups_", "columns"),
    Fitted("encodings_", "columns"),
    Fitted("zones_", "columns"),
    Fitted("target_classes_", "columns", canonical=lambda classes: None if classes is None else new_strings(classes)),
    Fitted("sources_", "outputs"),
    Fitted("output_kinds_", "outputs"),
    Fitted("cardinalities_", "outputs"),
    Fitted("centers_", "outputs"),
    Fitted("scales_", "outputs"),
    Fitted("quantiles_", "outputs"),
)

#: All fitted attributes of an estimator for tables.
TABULAR = (
    Fitted("n_features_in_", "data", partial(check_count, least=1)),
    Fitted("feature_names_in_", "data", canonical=new_strings),
    Fitted("classes_", "targets", canonical=new_strings),
    Fitted("target_mean_", "targets"),
    Fitted("target_scale_", "targets"),
    Fitted("target_range_", "targets"),
    Fitted("encoder_", "encoder"),
    Fitted("estimators_", "members", canonical=_without_scorers),
    Fitted("temperatures_", "members"),
    Fitted("n_iter_", "members", check_count),
)

#: Kinds of output, by the kind of the column that they come from; "missing" comes from all but categories.
_OUTPUTS = {
    "number": {"number", "other", "missing", "quantile"},
    "duration": {"number", "other", "missing", "quantile"},
    "category": {"target", "code", "sign", "level", "quantile"},
    "date": {
        "trend",
        "missing",
        "quantile",
        *CYCLES,
        *(f"{cycle}_{part}" for cycle in CYCLES for part in ("sin", "cos")),
    },
    "time": {"day_sin", "day_cos", "day", "missing", "quantile"},
    "missing": set(),
}


def restore_encoder(encoder):
    """Check the attributes read from a file, and put at hand what `transform` needs.

    Parameters
    ----------
    encoder : TableEncoder
        With the attributes of the file.

    Raises
    ------
    ModelFileError
        If the attributes are inconsistent.
    """
    n_columns = encoder.n_features_in_
    check_count(n_columns, "n_features_in_", least=1)
    _check_words(encoder.kinds_, _OUTPUTS, "kinds_")
    require(len(encoder.kinds_) == n_columns, "kinds_ has to hold a kind for each column")
    lists = [encoder.categories_, encoder.groups_, encoder.encodings_, encoder.zones_]
    require(all(isinstance(one, list) and len(one) == n_columns for one in lists), "lists have to have all columns")
    for kind, *column in zip(encoder.kinds_, *lists, strict=True):
        _check_column(kind, *column)
    _check_outputs(encoder)
    encoder._prepare()


def _check_words(words, known, name):
    is_text = isinstance(words, np.ndarray) and words.ndim == 1 and words.dtype.kind == "U"
    require(is_text and set(words.tolist()) <= set(known), f"{name} has to hold some of {sorted(known)}")


def _check_column(kind, levels, groups, encodings, zone):
    require(zone is None or (isinstance(zone, str) and kind == "date"), "only dates have a zone")
    if kind != "category":
        require(levels is groups is encodings is None, f"a {kind} column has no levels")
        return
    require(isinstance(levels, np.ndarray) and levels.ndim == 1 and levels.dtype.kind in "biufO", "levels are no array")
    require(0 < len(levels) == len(set(levels.tolist())), "levels have to be different")
    # One each for unknown and missing values, and -1 for no group.
    check_places(groups + 1, (len(levels) + 2,), len(levels) + 1, "groups_")
    numbers = np.unique(groups[groups >= 0])
    require(np.array_equal(numbers, np.arange(len(numbers))), "groups_ has to leave out no number")
    require(groups[-1] == -1, "missing values are of no group")
    if encodings is not None:
        check_array(encodings, (len(levels) + 2, *encodings.shape[1:]), np.float64, "encodings_")
        require(encodings.ndim == 2, "encodings_ have to be matrices")


def _check_outputs(encoder):
    sources, kinds = encoder.sources_, encoder.output_kinds_
    shape = (len(sources),)
    check_places(sources, shape, encoder.n_features_in_, "sources_")
    _check_words(kinds, set().union(*_OUTPUTS.values()), "output_kinds_")
    require(len(kinds) == len(sources), "output_kinds_ has to hold a kind for each of sources_")
    is_scaled = np.isin(kinds, SCALED)
    for name in ("centers_", "scales_"):
        values = getattr(encoder, name)
        require(
            isinstance(values, np.ndarray) and values.shape == shape, f"{name} has to hold a number for each output"
        )
        check_array(np.where(is_scaled, values, 0.0), shape, np.float64, name)
    check_places(encoder.cardinalities_, shape, np.iinfo(np.int64).max, "cardinalities_")
    for source, kind in set(zip(sources.tolist(), kinds.tolist(), strict=True)):
        require(kind in _OUTPUTS[encoder.kinds_[source]], f"a {encoder.kinds_[source]} column has no output {kind!r}")
        places = np.flatnonzero((sources == source) & (kinds == kind))
        require(np.ptp(places) == len(places) - 1, f"outputs {kind!r} of a column are apart")
        expected = 1
        if kind == "sign":
            require(encoder.groups_[source].max() == 1, "a sign is of two groups")
        elif kind == "level":
            expected = encoder.groups_[source].max() + 1
        elif kind == "target":
            require(encoder.encodings_[source] is not None, "encodings_ is missing")
            expected = encoder.encodings_[source].shape[1]
        elif kind == "quantile":
            expected = np.count_nonzero(is_scaled & (sources == source))
        require(len(places) == expected, f"{len(places)} outputs {kind!r} in the place of {expected}")
    _check_quantiles(encoder, sources[is_scaled], sources[kinds == "quantile"])
    classes = encoder.target_classes_
    require(classes is None or (isinstance(classes, np.ndarray) and classes.ndim == 1), "target_classes_ is no array")


def _check_quantiles(encoder, of_scaled, of_quantiles):
    quantiles = encoder.quantiles_
    require(
        isinstance(quantiles, list) and len(quantiles) == len(of_quantiles),
        "quantiles_ have to be those of the outputs",
    )
    if len(of_quantiles):
        require(np.array_equal(of_scaled, of_quantiles), "there has to be a quantile for each scaled column")
        is_last = encoder.output_kinds_[-len(of_quantiles) :] == "quantile"
        require(is_last.all(), "quantiles have to be the last outputs")
    for knots in quantiles:
        check_array(knots, (2, *np.shape(knots)[1:]), np.float64, "quantiles_")
        require(knots.ndim == 2 and knots.shape[1] > 1 and (np.diff(knots[0]) > 0).all(), "quantiles_ have to ascend")


def check_tabular(model):
    """Check the attributes of an estimator for tables that were read from a file.

    Parameters
    ----------
    model : BackpropTabularClassifier or BackpropTabularRegressor

    Raises
    ------
    ModelFileError
        If the attributes are inconsistent.
    """
    encoder, networks = model.encoder_, model.estimators_
    require(type(encoder) is TableEncoder and hasattr(encoder, "sources_"), "encoder_ has to be a fitted TableEncoder")
    require(encoder.n_features_in_ == model.n_features_in_, "encoder_ has to be of the same columns")
    are_ours = isinstance(networks, list) and networks and all(type(network) is model._kind for network in networks)
    require(are_ours, f"estimators_ has to hold networks, each a {model._kind.__name__}")
    n_inputs = max(len(encoder.sources_), 1)
    are_alike = all(hasattr(network, "coefs_") and network.n_features_in_ == n_inputs for network in networks)
    require(are_alike, f"estimators_ have to be fitted to the {n_inputs} columns of the encoder")
    check_count(model.n_iter_, "n_iter_")
    (_check_numbers if model._kind._numeric_targets else _check_classes)(model, networks)


def _check_classes(model, networks):
    check_classes(model.classes_)
    check_array(model.temperatures_, (len(networks),), np.float64, "temperatures_")
    require((model.temperatures_ > 0).all(), "temperatures_ have to be positive")
    for network in networks:
        require(isinstance(network.classes_, np.ndarray), "networks have to have one column of classes")
        check_places(network.classes_, network.classes_.shape, len(model.classes_), "classes_ of a network")


def _check_numbers(model, networks):
    shape = np.shape(model.target_range_)[1:]
    check_array(model.target_range_, (2, *shape), np.float64, "target_range_")
    for name in ("target_mean_", "target_scale_"):
        check_array(np.asarray(getattr(model, name)), shape, np.float64, name)
    n_targets = prod(shape)
    require(all(network.n_outputs_ == n_targets for network in networks), f"networks have to have {n_targets} outputs")
