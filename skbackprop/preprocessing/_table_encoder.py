"""Raw tables as numbers for a network: the transformer, and what it learns of each column."""

from hashlib import blake2b
from itertools import groupby
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse
from sklearn.base import TransformerMixin
from sklearn.preprocessing import TargetEncoder
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from skbackprop._parameters import NamedOnce
from skbackprop._sklearn import (
    Interval,
    Options,
    StrOptions,
    _check_categorical_features,
    _check_feature_names,
    _check_feature_names_in,
    _check_n_features,
    _fit_context,
    _raise_for_params,
)
from skbackprop.preprocessing._categories import (
    MISSING,
    UNKNOWN,
    Lookup,
    as_categories,
    as_numbers,
    grouped,
    in_words,
    numbers_of,
    target_encoded,
)
from skbackprop.preprocessing._columns import missing_values, named, opened, read_table
from skbackprop.preprocessing._formulas import (
    CYCLES,
    angle,
    cycles,
    passed,
    quantile_places,
    robust_scale,
    smooth_clip,
    trend,
)

if TYPE_CHECKING:
    from typing import Self

__all__ = ["SCALED", "SIGNS", "TableEncoder"]

#: Kinds of columns that are numbers as they come, and those that may be categories.
_NUMBERS = ("number", "duration")
_CATEGORIES = ("boolean", "category", "string")
#: Kinds of output that are centred, scaled and clipped.
SCALED = ("number", "target", "trend", *CYCLES)
#: What becomes of the two groups of a "sign", and of none.
SIGNS = np.array([-1.0, 1.0, 0.0])
_PARTS = {"sin": np.sin, "cos": np.cos}
#: What `_prepare` sets.
_PREPARED = {"_names", "_runs", "_used", "_lookups", "_scaled", "_places"}


class TableEncoder(TransformerMixin, NamedOnce):
    """Columns of a table as numbers that a network learns well from.

    Takes a table as it is, with numbers, categories, text for categories, booleans, dates and missing values, and needs
    no settings. Numbers are centred at their median, divided by their interquartile range, and clipped smoothly, so
    that outliers do not get in the way. Categories become a column for each level, or beyond `max_onehot` levels what
    is known of the target. Dates become a trend and their place in the year, the week and the day.

    Parameters
    ----------
    categorical_features : array-like of bool, int or str, "from_dtype" or None, default="from_dtype"
        Which columns are categorical. "from_dtype": those of a categorical dtype, of text and of booleans. A mask,
        indices or names: these columns, whatever their dtype. None: none; booleans are the numbers 0 and 1 then. Text
        in other columns is an error.

    max_onehot : int or None, default=64
        A categorical column with at most so many levels, infrequent ones counted as one, gets a column for each of
        them. None: every categorical column does.

    high_cardinality : {"target", "ordinal"} or TargetEncoder, default="target"
        What a column with more levels becomes. "target": the mean target of a row's level, or for more than two classes
        the frequency of each class, from scikit-learn's :class:`~sklearn.preprocessing.TargetEncoder`; `fit_transform`
        cross-fits it, so that no row sees its own target. It needs `y`. A TargetEncoder of your own for other folds,
        another `smooth` or `target_type`. "ordinal": an integer for each level, for a network that embeds it: 0 for
        what is missing or unknown, and the levels from 1.

    min_frequency : int, float or None, default=None
        Levels of fewer rows, or if a float of a smaller fraction of the rows, are grouped into one level. Unknown
        levels then count among them. Not in columns that `high_cardinality` encodes by their target, which smooths
        instead.

    zero_iqr : {"indicator", "range", "std"}, default="indicator"
        The spread of a number column whose quartiles are equal: most often many zeros and a few other numbers.
        "indicator": the interquartile range of the numbers other than the median, and a further column that is 1 for
        these and 0 for the median. "range": half the range, which the others fall back to, too. "std": the standard
        deviation.

    sparse_output : bool, default=False
        Whether `transform` returns a SciPy CSR array.

    dtype : {"float64", "float32"}, default="float64"
        Type of the output. All is computed in float64.

    n_quantiles : int or None, default=None
        At the end of the output there is for each scaled column its place among so many quantiles of `fit`, between 0 and
        1: what :class:`~skbackprop.functions.PiecewiseLinearEmbedding` takes. Dates and times then also have their place
        in the year, the week and the day as scaled columns, so that a network can learn steps in it, such as holidays.
        None: there is not.

    Attributes
    ----------
    kinds_ : ndarray of str of shape (`n_features_in_`,)
        What each column is taken for: "number", "duration" (in seconds), "category", "date", "time", or "missing" if no
        row has a value.

    categories_ : list of length `n_features_in_`
        For a categorical column an array of its levels, otherwise None.

    groups_ : list of length `n_features_in_`
        For a categorical column an array of integers: for each level, for an unknown one, and for a missing value its
        group, counted from 0, or -1 for none. Otherwise None.

    encodings_ : list of length `n_features_in_`
        For a column that is encoded by its target an array of shape (n_levels + 2, n_targets): for each level, for an
        unknown one, and for a missing value what the target encoder says. Otherwise None.

    target_classes_ : ndarray or None
        The classes that "target" columns are for, where there are more than two; otherwise None.

    zones_ : list of length `n_features_in_`
        For a column of dates with a time zone its name, otherwise None.

    sources_ : ndarray of int of shape (n_features_out,)
        For each column of the output that column of the table from which it comes.

    output_kinds_ : ndarray of str of shape (n_features_out,)
        For each column of the output what it is: "number", "target", "trend", "year", "week" and "day" are centred,
        scaled and clipped; "missing" and "other" are 1 where the table has no value, or another one than the median,
        otherwise 0; "level" is 1 for one group of levels; "sign" is -1 and 1 for two of them; "code" is an integer for
        each group; "year_sin" and "year_cos", and the same for "week" and "day", are a cycle of the calendar;
        "quantile" is the place of one of the scaled columns, which are in the same order.

    cardinalities_ : ndarray of int of shape (n_features_out,)
        For each "code" how many there are, 0 among them; 0 for other columns of the output.

    centers_ : ndarray of shape (n_features_out,)
        What is subtracted; for "other" the median; NaN for columns that are not scaled.

    scales_ : ndarray of shape (n_features_out,)
        What the difference is multiplied by; NaN for columns that are not scaled.

    quantiles_ : list of ndarray of shape (2, n_knots)
        For each "quantile" the different quantiles of the scaled column, and their places. Linear in between.

    n_features_in_ : int
        Number of columns of `X` in `fit`.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of `X` in `fit`. Only if `X` had column names that were all strings.

    See Also
    --------
    sklearn.compose.ColumnTransformer : Other transformers for columns of your choice.
    sklearn.preprocessing.OneHotEncoder : A column for each level.
    sklearn.preprocessing.RobustScaler : The same scale, without the clip.

    Notes
    -----
    In detail, for a column with

    - numbers: *m* is the median, and *s* = 1 / (upper quartile - lower quartile); if these are equal, what `zero_iqr`
      says. The output is *z* / sqrt(1 + (*z* / 3)²) with *z* = *s* (*x* - *m*), between -3 and 3. Infinities become
      these limits. Missing numbers become 0, which is the median, and if there were any in `fit`, there is a further
      column that is 1 for them.
    - two levels or booleans: one column of -1 and 1, with 0 for missing and unknown.
    - more levels: a column for each, all 0 for missing and unknown. Unknown levels count as infrequent where there
      is such a group. Only levels that occur in `fit` count.
    - dates: days as a number; sine and cosine of their place in the year, the week (whole days) and the day, where the
      rows of `fit` go round that cycle. A date with a time zone counts by the clock in that zone. Times of the day are
      that last cycle only. With `n_quantiles`, the place itself comes after them, centred, scaled and clipped.

    Columns whose values are all the same, or all missing, and those that repeat an earlier one of the same kind in all
    rows of `fit` have no column in the output. `transform` ignores what they hold.

    Text that is written rather than chosen, such as comments, is refused: columns of text with more than half as many
    different values as there are rows (ten or more), of four words or more on average. A categorical dtype, and naming
    the column in `categorical_features`, turn this off.

    References
    ----------
    D. Holzmüller, L. Grinsztajn, I. Steinwart. Better by default: strong pre-tuned MLPs and boosted trees on tabular
    data. arXiv 2407.04491.

    Examples
    --------
    >>> import pandas as pd
    >>> from skbackprop.preprocessing import TableEncoder
    >>> table = pd.DataFrame({"size": [1.0, 2.0, None, 4.0], "colour": ["red", "blue", "green", "red"]})
    >>> encoder = TableEncoder().set_output(transform="pandas")
    >>> encoder.fit_transform(table).round(2)
       size  size_missing  colour_blue  colour_green  colour_red
    0 -0.65           0.0          0.0           0.0         1.0
    1  0.00           0.0          1.0           0.0         0.0
    2  0.00           1.0          0.0           1.0         0.0
    3  1.22           0.0          0.0           0.0         1.0
    """

    _parameter_constraints: dict[Any, Any] = {
        "categorical_features": ["array-like", StrOptions({"from_dtype"}), None],
        "max_onehot": [Interval(Integral, 0, None, closed="left"), None],
        "high_cardinality": [StrOptions({"target", "ordinal"}), TargetEncoder],
        "min_frequency": [
            Interval(Integral, 1, None, closed="left"),
            Interval(Real, 0, 1, closed="neither"),
            None,
        ],
        "zero_iqr": [StrOptions({"indicator", "range", "std"})],
        "sparse_output": ["boolean"],
        "dtype": [StrOptions({"float64", "float32"}), Options(type, {np.float64, np.float32})],
        "n_quantiles": [Interval(Integral, 2, None, closed="left"), None],
    }

    # For type checkers only.
    kinds_: np.ndarray
    categories_: list[Any]
    zones_: list[Any]
    groups_: list[Any]
    encodings_: list[Any]
    target_classes_: Any
    sources_: np.ndarray
    output_kinds_: np.ndarray
    cardinalities_: np.ndarray
    centers_: np.ndarray
    scales_: np.ndarray
    quantiles_: list[np.ndarray]

    def __init__(
        self,
        *,
        categorical_features: Any = "from_dtype",
        max_onehot: int | None = 64,
        high_cardinality: Any = "target",
        min_frequency: float | None = None,
        zero_iqr: str = "indicator",
        sparse_output: bool = False,
        dtype: str = "float64",
        n_quantiles: int | None = None,
    ) -> None:
        self.categorical_features = categorical_features
        self.max_onehot = max_onehot
        self.high_cardinality = high_cardinality
        self.min_frequency = min_frequency
        self.zero_iqr = zero_iqr
        self.sparse_output = sparse_output
        self.dtype = dtype
        self.n_quantiles = n_quantiles

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None, **params: Any) -> "Self":
        """Learn scales, levels and what else there is to know of the columns.

        Parameters
        ----------
        X : {dataframe, array-like} of shape (n_samples, n_features)
            The table: of pandas, polars, pyarrow or another library that narwhals knows, or an array.
        y : array-like of shape (n_samples,), default=None
            Targets; needed only for columns that are encoded by them.
        **params : dict
            With metadata routing: what the target encoder's folds request, such as `groups`.

        Returns
        -------
        self : object
            The fitted transformer.

        Raises
        ------
        TypeError
            If a column has values from which nothing can be learned, such as lists.
        ValueError
            If a column is written text, or needs `y`.
        """
        self._fit(X, y, params)
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def fit_transform(self, X: Any, y: Any = None, **params: Any) -> Any:
        """Fit, and transform the same rows.

        The same as `fit` and then `transform`, except for columns that are encoded by the target: theirs are
        cross-fitted here.

        Parameters
        ----------
        X : {dataframe, array-like} of shape (n_samples, n_features)
            The table.
        y : array-like of shape (n_samples,), default=None
            Targets; needed only for columns that are encoded by them.
        **params : dict
            With metadata routing: what the target encoder's folds request, such as `groups`.

        Returns
        -------
        encoded : {ndarray, sparse array} of shape (n_samples, n_features_out)
            In the `dtype`.
        """
        return self._encode(*self._fit(X, y, params))

    def transform(self, X: Any) -> Any:
        """Numbers for a table with the same columns.

        Parameters
        ----------
        X : {dataframe, array-like} of shape (n_samples, n_features)
            The table.

        Returns
        -------
        encoded : {ndarray, sparse array} of shape (n_samples, n_features_out)

        Raises
        ------
        TypeError, ValueError
            If names, order or kinds of the columns differ from those in `fit`.
        """
        if not hasattr(self, "sources_"):
            check_is_fitted(self)
        X = opened(X)
        names, columns = read_table(X, self.zones_, self)
        if names is None or names != self._names:
            _check_feature_names(self, X, reset=False)
            _check_n_features(self, X, reset=False)
        values = {source: self._values(source, columns[source]) for source in self._used}
        return self._encode(values, self._clipped(values, len(columns[0].values)))

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the columns of the output.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of the columns of the table, which have to be those of `fit`. None: these, or "x0", "x1", ...

        Returns
        -------
        names : ndarray of str of shape (n_features_out,)
            The column's name, and after "_" what the column of the output is of it: the level, as in
            :class:`~sklearn.preprocessing.OneHotEncoder`; the class; "missing", "other", "trend", "year_sin", "quantile"
            and so on.
            The name alone for numbers, codes and what a single target says.
        """
        check_is_fitted(self)
        names = _check_feature_names_in(self, input_features)
        found = []
        for source, kind, start, stop in self._runs:
            found += [f"{names[source]}{suffix}" for suffix in self._suffixes(source, kind, stop - start)]
        return np.array(found, dtype=object)

    def _suffixes(self, source, kind, n_outputs):
        if kind in ("number", "code") or (kind == "target" and n_outputs == 1):
            return [""]
        if kind == "target":
            return [f"_{label}" for label in self.target_classes_]
        if kind == "quantile" and self.kinds_[source] in ("date", "time"):
            scaled = self.output_kinds_[self._scaled[self.sources_[self._scaled] == source]]
            return [f"_{kind}" if of == "trend" else f"_{of}_{kind}" for of in scaled]
        if kind == "quantile" and n_outputs > 1:
            return [f"_{label}_{kind}" for label in self.target_classes_]
        if kind not in ("level", "sign"):
            return [f"_{kind}"]
        groups = self.groups_[source]
        labels = dict(zip(groups, self.categories_[source], strict=False))
        if groups[UNKNOWN] >= 0:
            labels[groups[UNKNOWN]] = "infrequent_sklearn"
        return [f"_{labels[group]}" for group in (range(n_outputs) if kind == "level" else [1])]

    def get_metadata_routing(self) -> Any:
        """Arguments that `fit` and `fit_transform` pass on to a target encoder.

        Returns
        -------
        routing : MetadataRouter
        """
        router = MetadataRouter(owner=self)
        if isinstance(self.high_cardinality, TargetEncoder):
            mapping = MethodMapping()
            for caller in ("fit", "fit_transform"):
                mapping.add(caller=caller, callee="fit_transform")
            router.add(high_cardinality=self.high_cardinality, method_mapping=mapping)
        return router

    def _fit(self, X, y, params):
        """Learn all; return the columns' values, and their scaled columns, those of the target cross-fitted."""
        _raise_for_params(params, self, "fit")
        process_routing(self, "fit", **params)
        X = opened(X)
        names, columns = read_table(X, estimator=self)
        if y is not None:
            check_consistent_length(columns[0].values, y)
        _check_feature_names(self, X, reset=True)
        _check_n_features(self, X, reset=True)
        labels = range(len(columns)) if names is None else names
        is_categorical, is_asked_for = self._categorical(X, columns)
        columns = [
            as_categories(column, label, is_asked_for) if categorical else as_numbers(column, label)
            for column, label, categorical in zip(columns, labels, is_categorical, strict=True)
        ]
        self.kinds_ = np.array([column.kind for column in columns], dtype=np.str_)
        self.categories_ = [column.levels for column in columns]
        self.zones_ = [column.zone for column in columns]
        self.groups_ = [
            None if column.levels is None else grouped(column.values, len(column.levels), self.min_frequency)
            for column in columns
        ]
        crossed = self._fit_targets(columns, labels, y, params)
        self._fit_outputs(columns, crossed)
        self._prepare()
        values = [column.values for column in columns]
        scaled = self._clipped(values, len(values[0]), crossed)
        if self.n_quantiles is not None:
            self._fit_quantiles(scaled)
            self._prepare()
        return values, scaled

    def _categorical(self, X, columns):
        """Which columns are categorical, and whether the user has named them."""
        if isinstance(self.categorical_features, str):
            return [column.kind in _CATEGORIES for column in columns], False
        chosen = _check_categorical_features(X, self.categorical_features)
        return [False] * len(columns) if chosen is None else chosen, True

    def _fit_targets(self, columns, labels, y, params):
        """What the target says of columns with many levels: kept for the levels, and returned for the rows."""
        self.encodings_, self.target_classes_ = [None] * len(columns), None
        many = [source for source in range(len(columns)) if self._has_many(source)]
        if not many or self.high_cardinality == "ordinal":
            return {}
        if y is None or np.shape(y)[1:] not in ((), (1,)):
            raise ValueError(
                f"{named(labels[many[0]])} has more than max_onehot={self.max_onehot} levels and is to be encoded by "
                f"the target: pass {'y to fit' if y is None else 'a single column of targets'}, or set "
                'high_cardinality="ordinal", or another max_onehot'
            )
        tables, crossed, self.target_classes_ = target_encoded(
            [columns[source].values for source in many],
            [len(columns[source].levels) for source in many],
            y,
            self.high_cardinality,
            process_routing(self, "fit", **params).high_cardinality.fit_transform,
        )
        for source, table in zip(many, tables, strict=True):
            self.encodings_[source] = table
        return dict(zip(many, crossed, strict=True))

    def _has_many(self, source):
        """Whether a column has more levels than get a column each."""
        groups = self.groups_[source]
        return groups is not None and self.max_onehot is not None and groups.max() >= self.max_onehot

    def _fit_outputs(self, columns, crossed):
        """The columns of the output."""
        outputs, seen = [], set()

        def is_new(what, values):
            digest = what, blake2b(np.ascontiguousarray(values)).digest()
            return digest not in seen and not seen.add(digest)

        for source, column in enumerate(columns):
            # A column that repeats an earlier one brings nothing, and neither do the same rows without values.
            if column.kind != "missing" and is_new(column.kind, column.values):
                for kind, center, scale in self._outputs(source, column, crossed.get(source)):
                    if kind != "missing" or is_new("missing", np.isnan(column.values)):
                        outputs.append((source, kind, center, scale))
        sources, kinds, centers, scales = zip(*outputs, strict=True) if outputs else ((), (), (), ())
        self.sources_ = np.array(sources, dtype=np.intp)
        self.output_kinds_ = np.array(kinds, dtype=np.str_)
        self.cardinalities_ = np.array(
            [
                self.groups_[source].max() + 2 if kind == "code" else 0
                for source, kind in zip(sources, kinds, strict=True)
            ],
            dtype=np.intp,
        )
        self.centers_ = np.array(centers, dtype=np.float64)
        self.scales_ = np.array(scales, dtype=np.float64)
        self.quantiles_ = []

    def _fit_quantiles(self, scaled):
        """Add the places of all scaled columns to the output."""
        self.quantiles_ = [quantile_places(values, self.n_quantiles) for values in scaled]
        n_more = len(scaled)
        self.sources_ = np.append(self.sources_, self.sources_[self._scaled])
        self.output_kinds_ = np.append(self.output_kinds_, np.full(n_more, "quantile"))
        self.cardinalities_ = np.append(self.cardinalities_, np.zeros(n_more, dtype=np.intp))
        for name in ("centers_", "scales_"):
            setattr(self, name, np.append(getattr(self, name), np.full(n_more, np.nan)))

    def _outputs(self, source, column, crossed):
        """What a column becomes: kinds of output, with center and scale."""
        if column.kind == "category":
            yield from self._category_outputs(source, column.values, crossed)
            return
        if column.kind in _NUMBERS:
            yield from self._number_outputs(column.values)
        elif column.kind == "date":
            center, scale, _ = robust_scale(trend(column.values))
            if scale > 0:
                yield "trend", center, scale
        for cycle in cycles(column.kind, column.values):
            for part in _PARTS:
                yield f"{cycle}_{part}", np.nan, np.nan
            if self.n_quantiles is not None:
                center, scale, _ = robust_scale(passed(column.kind, column.values, cycle))
                yield cycle, center, scale
        if np.isnan(column.values).any():
            yield "missing", np.nan, np.nan

    def _number_outputs(self, values):
        center, scale, is_flat = robust_scale(values, "rest" if self.zero_iqr == "indicator" else self.zero_iqr)
        if scale > 0:
            yield "number", center, scale
            if is_flat and self.zero_iqr == "indicator":
                yield "other", center, np.nan

    def _category_outputs(self, source, codes, crossed):
        n_groups = self.groups_[source].max() + 1
        if crossed is not None:
            for values in crossed.T:
                center, scale, _ = robust_scale(values)
                yield "target", center, scale
        elif self._has_many(source):
            yield "code", np.nan, np.nan
        elif n_groups == 2:
            yield "sign", np.nan, np.nan
        elif n_groups > 2 or np.any(codes == MISSING):
            # One group alone tells apart what is there from what is missing.
            for _ in range(n_groups):
                yield "level", np.nan, np.nan

    def _prepare(self):
        """Put at hand what `transform` needs, which follows from the attributes."""
        names = getattr(self, "feature_names_in_", None)
        self._names = None if names is None else names.tolist()
        keys = zip(self.sources_.tolist(), self.output_kinds_.tolist(), strict=True)
        runs = [(*key, len(list(outputs))) for key, outputs in groupby(keys)]
        stops = np.cumsum([n_outputs for *_, n_outputs in runs], dtype=np.intp).tolist()
        self._runs = [
            (source, kind, stop - n_outputs, stop) for (source, kind, n_outputs), stop in zip(runs, stops, strict=True)
        ]
        self._used = list(dict.fromkeys(self.sources_.tolist()))
        self._lookups = [None if levels is None else Lookup(levels) for levels in self.categories_]
        self._scaled = np.flatnonzero(np.isin(self.output_kinds_, SCALED))
        self._places = np.flatnonzero(self.output_kinds_ == "quantile")

    def __getstate__(self) -> Any:
        return {name: value for name, value in super().__getstate__().items() if name not in _PREPARED}

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)
        if "sources_" in state:
            self._prepare()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    def _encode(self, values, scaled):
        """The output for the columns' values, and for their scaled columns."""
        held, is_held, ones = self._parts(values, scaled)
        if self.sparse_output:
            return _joined(held, np.flatnonzero(is_held), ones, len(self.sources_))
        for rows, outputs in ones:
            held[rows, outputs] = 1
        return held

    def _clipped(self, values, n_samples, crossed=None):
        """The scaled columns as rows, or with what the target says of the rows of `fit`."""
        rows = []
        for source, kind, *_ in self._runs:
            if kind == "target":
                rows.extend((crossed[source] if crossed else self.encodings_[source][values[source]]).T)
            elif kind in CYCLES:
                rows.append(passed(self.kinds_[source], values[source], kind))
            elif kind in SCALED:
                rows.append(trend(values[source]) if kind == "trend" else values[source])
        z = np.array(rows, dtype=np.float64).reshape(len(rows), n_samples)
        z -= self.centers_[self._scaled, np.newaxis]
        with np.errstate(over="ignore"):
            z *= self.scales_[self._scaled, np.newaxis]
        z = smooth_clip(z)
        z[np.isnan(z)] = 0
        return z

    def _parts(self, values, scaled):
        """The output in parts: an array, which columns it has, and the ones elsewhere."""
        # A sparse output has its ones apart.
        is_held = (self.output_kinds_ != "level") | (not self.sparse_output)
        places = np.cumsum(is_held) - 1
        held = np.zeros((scaled.shape[1], np.count_nonzero(is_held)), dtype=self.dtype)
        ones = []
        for source, kind, start, _ in self._runs:
            if kind == "level":
                groups = self.groups_[source][values[source]]
                rows = np.flatnonzero(groups >= 0)
                ones.append((rows, start + groups[rows]))
            elif kind not in SCALED and kind != "quantile":
                held[:, places[start]] = self._held(source, kind, start, values[source])
        held[:, places[self._scaled]] = scaled.T
        # Without `n_quantiles`, none.
        for output, z, knots in zip(self._places, scaled, self.quantiles_, strict=False):
            held[:, places[output]] = np.interp(z, *knots)
        return held, is_held, ones

    def _held(self, source, kind, output, values):
        """A column of the output that is not scaled."""
        if kind == "sign":
            return SIGNS[self.groups_[source][values]]
        if kind == "code":
            return self.groups_[source][values] + 1
        if kind == "missing":
            return np.isnan(values)
        if kind == "other":
            return (values != self.centers_[output]) & ~np.isnan(values)
        cycle, part = kind.split("_")
        parts = _PARTS[part](angle(self.kinds_[source], values, cycle))
        # For a row, NumPy's nan_to_num would take longer than all else here.
        return np.where(np.isnan(parts), 0.0, parts)

    def _values(self, source, column):
        """A column as what it was in `fit`: numbers, dates, or codes."""
        kind, levels = self.kinds_[source], self.categories_[source]
        if column.kind == "missing" and levels is None:
            return missing_values(kind, len(column.values))
        if levels is not None:
            values = self._lookups[source].codes(column)
        else:
            numbers = numbers_of(column)
            is_alike = numbers is not None and numbers.kind == kind
            is_alike = is_alike and (column.zone is None) == (self.zones_[source] is None)
            values = numbers.values if is_alike else None
        if values is not None:
            return values
        raise TypeError(
            f"{named(self._label(source))} held {in_words(kind, levels, self.zones_[source])} "
            f"in fit, and holds {in_words(column.kind, column.levels, column.zone)} now: convert it to what it was"
        )

    def _label(self, source):
        return source if self._names is None else self._names[source]


def _joined(held, places, ones, n_outputs):
    """A sparse array of the dense columns of the output, at their places, and of ones."""
    rows, columns = np.nonzero(held)
    data = [held[rows, columns], *(np.ones(len(rows), dtype=held.dtype) for rows, _ in ones)]
    rows = [rows, *(rows for rows, _ in ones)]
    columns = [places[columns], *(columns for _, columns in ones)]
    shape = len(held), n_outputs
    return sparse.coo_array((np.concatenate(data), (np.concatenate(rows), np.concatenate(columns))), shape).tocsr()
