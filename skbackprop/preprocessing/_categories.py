"""Categories as codes: the levels of a column, which of them are grouped, and what the target says of them."""

from itertools import repeat
from numbers import Real

import numpy as np
from sklearn import config_context
from sklearn.base import clone
from sklearn.model_selection import KFold
from sklearn.preprocessing import OrdinalEncoder, TargetEncoder

from skbackprop.preprocessing._columns import Column, is_missing, named

__all__ = [
    "MISSING",
    "UNKNOWN",
    "Lookup",
    "as_categories",
    "as_numbers",
    "grouped",
    "in_words",
    "numbers_of",
    "target_encoded",
]

#: In place of codes. What is looked up by codes ends with an entry for each of the two.
UNKNOWN, MISSING = -2, -1

#: Text is written, rather than chosen, if there are as many rows, and levels have as many words on average.
_WRITTEN_ROWS, _WRITTEN_WORDS = 10, 4
#: Rows for which a column's levels are not all looked up: less than one in so many levels.
_SHARE = 100


def as_categories(column, label, is_asked_for):
    """A column of codes and levels, as learned in `fit`.

    Parameters
    ----------
    column : Column
    label : object
        The column's name.
    is_asked_for : bool
        Whether the user has said that it is categorical.

    Returns
    -------
    column : Column
        Of the kind "category", with the levels that occur; or "missing" if there are none.

    Raises
    ------
    TypeError
        If it holds dates, times or durations.
    ValueError
        If it holds text that is written, not chosen, and the user has not said that it is categorical.
    """
    if column.kind in ("date", "time", "duration"):
        raise TypeError(
            f"{named(label)} holds {in_words(column.kind)}, which have no levels: leave it out of "
            "categorical_features, or convert it to text"
        )
    levels = _distinct(column) if column.kind != "missing" else ()
    if len(levels) == 0:
        return Column("missing", column.values)
    codes = Lookup(levels).codes(column)
    if column.kind == "string" and not is_asked_for and _is_written(levels, np.count_nonzero(codes >= 0)):
        raise ValueError(
            f"{named(label)} seems to be written text ({_shortened(levels[0])!r}), from which nothing is learned as "
            "categories: drop it, or turn it into numbers, for example with TfidfVectorizer in a ColumnTransformer; if "
            "these are categories, name the column in categorical_features, or convert it to a categorical dtype"
        )
    return Column("category", codes, levels)


def as_numbers(column, label):
    """A column that is not categorical: numbers, dates, times or durations.

    Parameters
    ----------
    column : Column
    label : object
        The column's name.

    Returns
    -------
    column : Column
        Of the kind "number", "date", "time" or "duration"; or "missing" if there are no values.

    Raises
    ------
    ValueError
        If it holds text.
    """
    numbers = numbers_of(column)
    if numbers is None:
        raise ValueError(
            f"{named(label)} holds text, and is not among the categorical_features: add it to them, drop it, or "
            "convert it to numbers"
        )
    return numbers if np.any(numbers.values == numbers.values) else Column("missing", numbers.values)


def numbers_of(column):
    """A column that is not categorical, with numbers for booleans, and for categories that are numbers.

    Parameters
    ----------
    column : Column

    Returns
    -------
    column : Column or None
        None for text.
    """
    if column.kind == "boolean":
        return Column("number", column.values)
    if column.kind == "category":
        levels = _level_objects(column.levels)
        return None if _are_text(levels) else Column("number", np.append(levels.astype(float), np.nan)[column.values])
    return None if column.kind == "string" else column


def in_words(kind, levels=None, zone=None):
    """What a column holds, for messages.

    Parameters
    ----------
    kind : str
    levels : ndarray or None, default=None
    zone : str or None, default=None

    Returns
    -------
    text : str
    """
    if kind == "category":
        return "categories" if levels is None or _are_text(_level_objects(levels)) else "categories that are numbers"
    return {"string": "text", "time": "times of the day"}.get(kind, f"{kind}s") + (
        f" of the zone {zone}" if zone else ""
    )


def _shortened(text):
    return text if len(text) <= 40 else f"{text[:37]}..."


def _distinct(column):
    """The levels that occur in a column.

    Parameters
    ----------
    column : Column
        Text, categories, booleans or numbers.

    Returns
    -------
    levels : ndarray
        Sorted, except for categories that have an order of their own. Objects if they are text, otherwise bool, int or
        float.
    """
    if column.kind == "string":
        levels = sorted(level for level in set(column.values) if not is_missing(level))
        return np.array(levels, dtype=object)
    if column.kind == "category":
        levels = _level_objects(column.levels)[np.unique(column.values[column.values >= 0])].tolist()
        levels = levels if column.ordered else sorted(levels)
        return np.array(levels, dtype=object) if _are_text(levels) else _narrowed(np.array(levels))
    levels = np.unique(column.values[~np.isnan(column.values)])
    return levels.astype(bool) if column.kind == "boolean" else _narrowed(levels)


def _level_objects(levels):
    """Levels as objects, which are text or numbers; others become text."""
    levels = np.asarray(levels, dtype=object)
    types = set(map(type, levels))
    if all(issubclass(kind, str) for kind in types) or all(issubclass(kind, Real | np.bool_) for kind in types):
        return levels
    return np.array([str(level) for level in levels], dtype=object)


def _are_text(levels):
    return len(levels) > 0 and isinstance(levels[0], str)


def _narrowed(levels):
    """Numbers as integers where they are, so that names have no ".0"."""
    if levels.dtype.kind == "f" and np.all(np.abs(levels) < 2**53) and np.all(levels == np.rint(levels)):
        return levels.astype(np.int64)
    return levels


class Lookup:
    """The codes of levels: their indices among those known from `fit`.

    Parameters
    ----------
    levels : ndarray
        As they are in a TableEncoder's `categories_`.
    """

    def __init__(self, levels):
        self._is_text = levels.dtype == object
        self._codes = {level: code for code, level in enumerate(levels.tolist())} | {None: MISSING, np.nan: MISSING}
        # Codes of the levels of the last categorical column: pandas' slices of a table share one object.
        self._last = None, None

    def codes(self, column):
        """Each row's code.

        Parameters
        ----------
        column : Column

        Returns
        -------
        codes : ndarray of int or None
            `UNKNOWN` and `MISSING` for other values; None if the column holds text in place of numbers, dates, or the
            other way round.
        """
        values = column.values
        if column.kind == "missing":
            return np.full(len(values), MISSING)
        if column.kind == "category":
            return self._codes_of_category(column)
        if column.kind == "string":
            return self._looked_up(values) if self._is_text else None
        if column.kind not in ("number", "boolean") or self._is_text:
            return None
        levels, inverse = np.unique(values, return_inverse=True)
        return self._looked_up(levels.tolist())[inverse]

    def _codes_of_category(self, column):
        levels, codes = self._last
        if column.levels is not levels:
            levels, rows = column.levels, column.values
            if len(rows) < len(levels) / _SHARE:
                # A few look-ups, in place of one for each level.
                used, rows = np.unique(rows, return_inverse=True)
                rows = rows - (used[0] < 0)
                levels = (
                    levels[used[used >= 0]] if hasattr(levels, "take") else [levels[code] for code in used if code >= 0]
                )
            objects = _level_objects(levels)
            if len(objects) and _are_text(objects) != self._is_text:
                return None
            # NumPy takes the last one for -1, which is a missing value.
            codes = np.append(self._looked_up(objects), MISSING)
            if levels is not column.levels:
                return codes[rows]
            self._last = levels, codes
        return codes[column.values]

    def _looked_up(self, values):
        codes = np.fromiter(map(self._codes.get, values, repeat(UNKNOWN)), dtype=np.intp, count=len(values))
        for row in np.flatnonzero(codes == UNKNOWN):
            if is_missing(values[row]):
                codes[row] = MISSING
        return codes


def _is_written(levels, n_present):
    """Whether text is written, such as a comment, rather than chosen among categories.

    Parameters
    ----------
    levels : ndarray of str
    n_present : int
        Rows that have a value.

    Returns
    -------
    written : bool
    """
    if n_present < _WRITTEN_ROWS or len(levels) <= n_present / 2:
        return False
    return sum(len(level.split()) for level in levels) >= _WRITTEN_WORDS * len(levels)


def grouped(codes, n_levels, min_frequency):
    """Groups of levels: one for each, but the infrequent ones together in the last.

    Parameters
    ----------
    codes : ndarray of int
        Those of the rows of `fit`.
    n_levels : int
    min_frequency : int, float or None
        As in :class:`~sklearn.preprocessing.OrdinalEncoder`, which decides.

    Returns
    -------
    groups : ndarray of int of shape (n_levels + 2,)
        Each level's group; at the end, that of unknown levels, which is the infrequent group or -1 for none, and -1.
    """
    encoder = OrdinalEncoder(
        min_frequency=min_frequency, handle_unknown="use_encoded_value", unknown_value=-1, dtype=np.intp
    )
    encoder.set_output(transform="default").fit(codes[codes >= 0, np.newaxis])
    groups = encoder.transform(np.arange(n_levels)[:, np.newaxis])[:, 0]
    has_infrequent = min_frequency is not None and encoder.infrequent_categories_[0] is not None
    return np.append(groups, [groups.max() if has_infrequent else -1, -1])


def target_encoded(codes, n_levels, y, encoder, params):
    """What the target says of levels.

    Parameters
    ----------
    codes : list of ndarray of int
        Those of the rows of `fit`, for each column.
    n_levels : list of int
        For each column.
    y : array-like of shape (n_samples,)
    encoder : TargetEncoder or "target"
        Is cloned.
    params : dict
        Further arguments of its `fit_transform`.

    Returns
    -------
    tables : list of ndarray of shape (n_levels + 2, n_targets)
        For each column, for each level; at the end, for unknown and for missing values.
    crossed : list of ndarray of shape (n_samples, n_targets)
        For each column, for each row of `fit`, by the targets of rows in other folds.
    classes : ndarray or None
        The classes of the targets, if there are several for each column.
    """
    if isinstance(encoder, TargetEncoder):
        encoder = clone(encoder)
    else:
        # Shuffled: rows are often in an order. By a fixed seed: the same rows always become the same numbers.
        encoder = TargetEncoder(cv=KFold(np.clip(len(codes[0]), 2, 5), shuffle=True, random_state=0))
    # A missing value is a level of its own, and -1 no level at all.
    rows = np.column_stack([np.where(code == MISSING, n, code) for code, n in zip(codes, n_levels, strict=True)])
    # With metadata routing, scikit-learn 1.9's target encoder demands groups, also for folds that take none.
    with config_context(enable_metadata_routing=bool(params)):
        crossed = encoder.set_output(transform="default").fit_transform(rows, y, **params)
    levels = np.arange(max(n_levels) + 1)[:, np.newaxis]
    asked = np.vstack([np.where(levels < n_levels, levels, -1), np.array(n_levels)[np.newaxis]])
    tables = encoder.transform(asked)
    n_targets = tables.shape[1] // len(codes)
    tables = np.hsplit(tables, len(codes))
    # The last two rows: -1, and a missing value.
    tables = [np.vstack([table[:n], table[-2:]]) for table, n in zip(tables, n_levels, strict=True)]
    return tables, np.hsplit(crossed, len(codes)), encoder.classes_ if n_targets > 1 else None
