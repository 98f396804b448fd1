"""Columns of tables, whatever library holds them, as one of a few kinds of NumPy arrays.

Knows what is in a column, and not what is done with it.
"""

import datetime
import sys
from collections import namedtuple
from decimal import Decimal
from numbers import Real

import numpy as np
from sklearn.utils import check_array

from skbackprop._extras import how_to_install

__all__ = ["Column", "is_missing", "missing_values", "named", "nw", "opened", "read_table"]


class _Narwhals:
    """narwhals' stable API, imported when the first table is read: scikit-learn brings it along from version 1.9 on."""

    def __getattr__(self, name):
        try:
            import narwhals.stable.v2 as narwhals
        except ImportError as error:
            raise ImportError(f"reading tables needs narwhals: {how_to_install('tables')}") from error
        value = getattr(narwhals, name)
        setattr(self, name, value)
        return value


nw = _Narwhals()

#: What a column holds, and `values` as
#:
#: - "number": float64, NaN for missing; "boolean" the same, with 0 and 1; "duration" the same, in seconds; "time" of
#:   the day the same, in seconds since midnight;
#: - "date": datetime64[us], NaT for missing, as a clock on the wall shows it in the time zone `zone` (None where it has
#:   none);
#: - "string": object, with str and what `is_missing`;
#: - "category": integers, indices into `levels`, a sequence or pandas' Index, and -1 for missing; `ordered` if the
#:   order of the levels is of the user's making;
#: - "missing": nothing but missing values, which may be of any other kind.
Column = namedtuple("Column", ["kind", "values", "levels", "ordered", "zone"], defaults=(None, False, None))

_MICROSECONDS = "datetime64[us]"
_SECOND = np.timedelta64(1, "s")
_PLAIN_NUMBERS = "fiu"


def is_missing(value):
    """Whether a Python object stands for a missing value.

    Parameters
    ----------
    value : object

    Returns
    -------
    missing : bool
        True for None, for NaN of any type, and for the NA and NaT of pandas and NumPy.
    """
    # NaN and NaT are unlike themselves; for pandas' NA this is no bool.
    return value is None or type(value).__name__ == "NAType" or (isinstance(value, _WITH_NAN) and bool(value != value))


_WITH_NAN = (float, Decimal, np.floating, datetime.datetime, np.datetime64, np.timedelta64, datetime.timedelta)


def missing_values(kind, n_samples):
    """Values of a column in which all are missing.

    Parameters
    ----------
    kind : {"number", "boolean", "duration", "time", "date"}
    n_samples : int

    Returns
    -------
    values : ndarray
    """
    return np.full(n_samples, "NaT", _MICROSECONDS) if kind == "date" else np.full(n_samples, np.nan)


def opened(X):
    """A table of which scikit-learn knows the names of the columns, without a copy of the data.

    Parameters
    ----------
    X : object

    Returns
    -------
    X : object
        The same, except that lists become arrays, in which numbers stay numbers where others are text, a record batch
        of pyarrow becomes a table, and narwhals' frames are unwrapped.

    Raises
    ------
    TypeError
        If it is a table that has not been computed yet.
    """
    if isinstance(X, np.ndarray) or _is_pandas(X):
        return X
    if isinstance(X, list | tuple):
        return np.asarray(X, dtype=object)
    X = nw.to_native(X, pass_through=True)
    pyarrow = sys.modules.get("pyarrow")
    if pyarrow is not None and isinstance(X, pyarrow.RecordBatch):
        return pyarrow.Table.from_batches([X])
    if hasattr(X, "collect") and not nw.dependencies.is_into_dataframe(X):
        raise TypeError(f"X is a {type(X).__name__}, which has no rows yet: pass X.collect()")
    return X


def read_table(X, zones=None, estimator=None):
    """The columns of a table.

    Parameters
    ----------
    X : dataframe or array-like of shape (n_samples, n_features)
        As `opened`: of pandas, polars, pyarrow, or another library that narwhals knows; or what NumPy turns into an
        array.
    zones : sequence of {str, None} of length n_features, default=None
        Time zones to convert dates to; None leaves them in their own.
    estimator : object, default=None
        For the words of errors.

    Returns
    -------
    names : list or None
        Names of the columns; None for arrays.
    columns : list of Column

    Raises
    ------
    TypeError, ValueError
        For a column that cannot be read; the message names it, and says what to do.
    """
    if _is_pandas(X):
        names, columns = X.columns.tolist(), _pandas_columns(X)
        read = _read_pandas
    elif nw.dependencies.is_into_dataframe(X):
        X = nw.from_native(X, eager_only=True)
        names, columns = X.columns, list(X.iter_columns())
        read = _read_narwhals
    else:
        X = _as_array(X, estimator)
        names, columns = None, list(X.T)
        read = _read_array
    if min(shape := X.shape) == 0:
        # The words of `check_array`.
        what = "sample" if shape[0] == 0 else "feature"
        by = "" if estimator is None else f" by {type(estimator).__name__}"
        raise ValueError(f"Found array with 0 {what}(s) (shape={shape}) while a minimum of 1 is required{by}.")
    for place, column in enumerate(columns):
        if not isinstance(column, Column):
            zone = zones[place] if zones is not None and place < len(zones) else None
            columns[place] = read(column, place if names is None else names[place], zone)
    return names, columns


def _is_pandas(X):
    """Whether a table is a DataFrame of pandas; what has not been imported has made none."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(X, pandas.DataFrame)


def _pandas_columns(X):
    """The columns of a DataFrame as arrays of NumPy or of pandas, to be read only.

    pandas' own iterator takes a microsecond for each, and to make a series of it ten times as long.
    """
    if hasattr(X, "_iter_column_arrays"):
        return list(X._iter_column_arrays())
    return [X.iloc[:, place].array for place in range(X.shape[1])]


def _as_array(X, estimator):
    """A two-dimensional array, in which what is masked is missing."""
    if isinstance(X, np.ma.MaskedArray):
        is_number = X.dtype.kind in _PLAIN_NUMBERS
        data = X.data.astype(np.float64 if is_number else object)
        X = np.where(np.ma.getmaskarray(X), np.nan if is_number else None, data)
    return check_array(X, dtype=None, ensure_all_finite=False, estimator=estimator, input_name="X")


def _read_array(values, label, zone=None):
    kind = values.dtype.kind
    if kind in _PLAIN_NUMBERS:
        return Column("number", values.astype(np.float64, copy=False))
    if kind == "b":
        return Column("boolean", values.astype(np.float64))
    if kind == "M":
        return _from_dates(values)
    if kind == "m":
        return Column("duration", values / _SECOND)
    if kind in "UT":
        return Column("string", values.astype(object))
    if kind == "O":
        return _read_objects(values, label)
    raise _unreadable(label, f"values of dtype {values.dtype}")


def _from_dates(values, zone=None):
    return Column("date", values.astype(_MICROSECONDS, copy=False), zone=zone)


def _read_objects(values, label):
    """A column of Python objects, by the types that occur in it."""
    types = {kind for kind in set(map(type, values)) if kind is not type(None) and kind.__name__ not in _MISSING_TYPES}
    if all(issubclass(kind, str) for kind in types):
        return Column("string", values) if types else Column("missing", values)
    missing = np.fromiter(map(is_missing, values), dtype=bool, count=len(values))
    if missing.any():
        types = set(map(type, values[~missing]))
    for kind, (accepted, convert) in _OBJECTS.items():
        if types and all(issubclass(one, accepted) for one in types):
            result = missing_values(kind, len(values))
            result[~missing] = [convert(value) for value in values[~missing]]
            return Column(kind, result)
    if not types:
        return Column("missing", values)
    if all(issubclass(one, str) for one in types):
        return Column("string", values)
    words = " and ".join(sorted(one.__name__ for one in types))
    if all(issubclass(one, (str, *_SCALARS)) for one in types):
        raise TypeError(
            f"{named(label)} mixes values of the types {words}: convert it to one of them, for example to text with "
            "`.astype(str)`"
        )
    raise _unreadable(label, f"objects of type {words}")


_MISSING_TYPES = {"NAType", "NaTType"}
_SCALARS = (Real, Decimal, datetime.date, datetime.time, datetime.timedelta, np.generic)


#: Kinds of columns, by the types of the objects in them; and what these become.
_OBJECTS = {
    "boolean": ((bool, np.bool_), float),
    "number": ((Real, Decimal, np.bool_), float),
    "date": (
        (datetime.date, np.datetime64),
        lambda date: np.datetime64(date.replace(tzinfo=None) if getattr(date, "tzinfo", None) else date, "us"),
    ),
    "duration": ((datetime.timedelta, np.timedelta64), lambda span: np.timedelta64(span) / _SECOND),
    "time": (
        (datetime.time,),
        lambda time: time.hour * 3600 + time.minute * 60 + time.second + time.microsecond * 1e-6,
    ),
}


def _read_pandas(values, label, zone):
    """A column of a pandas DataFrame: what is common without narwhals, which takes ten times as long for one row."""
    dtype = values.dtype
    if isinstance(dtype, np.dtype):
        return _read_array(np.asarray(values), label)
    pandas = sys.modules["pandas"]
    if isinstance(dtype, pandas.CategoricalDtype):
        return Column("category", values.codes, values.categories, bool(dtype.ordered))
    if isinstance(dtype, pandas.StringDtype):
        return Column("string", values.to_numpy(dtype=object))
    if isinstance(dtype, pandas.SparseDtype):
        return _read_array(np.asarray(values), label)
    if isinstance(dtype, pandas.PeriodDtype):
        return _from_dates(values.to_timestamp().to_numpy())
    return _read_narwhals(nw.from_native(pandas.Series(values), series_only=True), label, zone)


def _read_narwhals(series, label, zone=None):
    """A column of another library."""
    dtype = series.dtype
    # Not by `==`: narwhals' comparisons would take about as long as reading a row.
    is_boolean = isinstance(dtype, nw.Boolean)
    if is_boolean or dtype.is_numeric():
        is_foreign = isinstance(dtype, (nw.Boolean, nw.Decimal, nw.Int128, nw.UInt128))
        values = None if is_foreign else series.to_numpy()
        if values is None or values.dtype.kind not in _PLAIN_NUMBERS:
            values = series.cast(nw.Float64).to_numpy()
        return Column("boolean" if is_boolean else "number", values.astype(np.float64, copy=False))
    if isinstance(dtype, nw.Enum):
        codes = {level: code for code, level in enumerate(dtype.categories)}
        values = [codes.get(value, -1) for value in series.to_list()]
        return Column("category", np.array(values, dtype=np.intp), dtype.categories, True)
    if isinstance(dtype, nw.String):
        return Column("string", _as_objects(series))
    if isinstance(dtype, nw.Categorical):
        column = _read_objects(_as_objects(series), label)
        if column.kind in ("string", "missing"):
            return column
        levels, codes = np.unique(column.values, return_inverse=True)
        return Column("category", np.where(np.isnan(column.values), -1, codes), levels)
    if isinstance(dtype, nw.Datetime):
        if dtype.time_zone is not None:
            zone = zone or dtype.time_zone
            return _from_dates(
                series.dt.convert_time_zone(zone).dt.replace_time_zone(None).to_numpy().astype(_MICROSECONDS), zone
            )
        return _from_dates(series.to_numpy().astype(_MICROSECONDS))
    if isinstance(dtype, nw.Date):
        return _from_dates(series.cast(nw.Datetime("us")).to_numpy().astype(_MICROSECONDS))
    if isinstance(dtype, nw.Duration):
        return Column("duration", series.to_numpy() / _SECOND)
    if isinstance(dtype, (nw.Time, nw.Object, nw.Unknown)):
        return _read_objects(_as_objects(series), label)
    raise _unreadable(label, f"values of type {dtype}")


def _as_objects(series):
    values = np.empty(len(series), dtype=object)
    values[:] = series.to_list()
    return values


def named(label):
    """A column's name, for messages.

    Parameters
    ----------
    label : object
        The name, or the index where columns have none.

    Returns
    -------
    text : str
    """
    return f"column {label!r}"


def _unreadable(label, what):
    return TypeError(
        f"{named(label)} has {what}, from which nothing can be learned: drop it, or turn it into numbers, text or "
        "categories first (a list into a column for each of its items, a dict into a column for each of its keys)"
    )
