"""Tables in ONNX: the inputs of a graph for raw columns, and the operators that encode them as `TableEncoder` does.

Everything is computed in float64, as there. Text is looked up, and dates are integers from which the calendar is
computed.
"""

from functools import partial

import numpy as np

from skbackprop.preprocessing._categories import MISSING, UNKNOWN
from skbackprop.preprocessing._columns import named, nw, opened
from skbackprop.preprocessing._formulas import CYCLES, LIMIT, STEEP
from skbackprop.preprocessing._table_encoder import SCALED, SIGNS

__all__ = ["encode", "table_inputs"]

#: What onnxruntime makes of None, NaN, pandas' NA and NaT in an array of objects, and what other runtimes have for text
#: that is missing.
_MISSING_TEXTS = ("", "None", "nan", "<NA>", "NaT")
_NOT_A_TIME = np.iinfo(np.int64).min
_DAY = 86_400_000_000
#: From the start of the year 0 to that of 1970, in days; and the mean length of a year.
_DAYS_TO_1970, _YEAR = 719_528, 365.2425
#: Beyond it float64 does not hold all integers.
_WHOLE = 2.0**53


def table_inputs(encoder, X):
    """Choose the inputs of a graph: one for each column of a table, with its name.

    Parameters
    ----------
    encoder : TableEncoder
        Fitted.
    X : {dataframe, array-like} or None
        A table whose types of numbers the inputs get.

    Returns
    -------
    types : list of (str, object) or None
        For skl2onnx's `initial_types`. None where a single input does: for arrays of numbers.
    """
    from skl2onnx.common import data_types

    names = getattr(encoder, "feature_names_in_", [f"x{place}" for place in range(encoder.n_features_in_)])
    columns = zip(encoder.kinds_, encoder.categories_, strict=True)
    kinds = [_kind_of_input(kind, levels) for kind, levels in columns]
    X = None if X is None else opened(X)
    if X is not None and nw.dependencies.is_into_dataframe(X):
        schema = nw.from_native(X, eager_only=True).schema
        kinds = [_kind_in_table(kind, dtype) for kind, dtype in zip(kinds, schema.values(), strict=True)]
        names = list(schema)
    elif not hasattr(encoder, "feature_names_in_") and (
        X.dtype.kind in "biuf" if X is not None else set(kinds) <= {"Double"}
    ):
        return None if X is not None else [("X", data_types.DoubleTensorType([None, len(kinds)]))]
    types = [getattr(data_types, f"{kind}TensorType") for kind in kinds]
    return [(str(name), type_([None, 1])) for name, type_ in zip(names, types, strict=True)]


def _kind_of_input(kind, levels):
    """Which of ONNX's types a column has as an input, if nothing else is known of it."""
    if levels is None:
        return "Int64" if kind == "date" else "Double"
    return {"O": "String", "b": "Boolean", "f": "Double"}.get(levels.dtype.kind, "Int64")


def _kind_in_table(kind, dtype):
    """The same where the table says what type its numbers are of."""
    if kind == "String" or not (dtype.is_numeric() or dtype == nw.Boolean):
        return kind
    return (
        "Boolean"
        if dtype == nw.Boolean
        else "Int64"
        if dtype.is_integer()
        else "Float"
        if dtype == nw.Float32
        else "Double"
    )


def encode(g, encoder, columns):
    """Add the operators of a fitted encoder to a graph.

    Parameters
    ----------
    g : callable
        Builder of a graph in float64.
    encoder : TableEncoder
    columns : list of (str, str)
        For each column its name in the graph, of shape (n_samples, 1), and its type there: "text", "whole" or "number".

    Returns
    -------
    name : str
        Of the output of shape (n_samples, n_features_out), float64. Without any column of output, a column of zeros.

    Raises
    ------
    ValueError
        If a column has a type that the encoder has not seen in it.
    """
    if not len(encoder.sources_):
        rows = g("Slice", g("Shape", columns[0][0]), *(g.constant(np.array([i])) for i in (0, 1)))
        return g("Expand", g.constant(np.zeros((1, 1))), g("Concat", rows, g.constant(np.array([1])), axis=0))
    parts, scaled = {}, {}
    for source, kind, start, stop in encoder._runs:
        if kind == "quantile":
            # They come last, and follow from the scaled columns.
            break
        part = _output(g, encoder, source, kind, start, *columns[source])
        (scaled if kind in SCALED else parts)[start, stop] = part
    places = [place for pair in (*parts, *scaled) for place in range(*pair)]
    names = list(parts.values())
    if scaled:
        rows = np.concatenate([np.arange(*pair) for pair in scaled])
        z = _scaled(g, _joined(g, scaled.values()), encoder.centers_[rows], encoder.scales_[rows])
        names.append(z)
        for column, (knots, output) in enumerate(zip(encoder.quantiles_, encoder._places.tolist(), strict=True)):
            places.append(output)
            names.append(_place(g, g("Gather", z, g.constant(np.array([column])), axis=1), *knots))
    return g("Gather", _joined(g, names), g.constant(np.argsort(places)), axis=1)


def _joined(g, names):
    names = list(names)
    return names[0] if len(names) == 1 else g("Concat", *names, axis=1)


def _scaled(g, x, centers, scales):
    """Center, scale and clip smoothly; what is missing becomes 0."""
    z = g("Mul", g("Sub", x, g.constant(centers[np.newaxis])), g.constant(scales[np.newaxis]))
    z = g.clip(g("Where", g("IsNaN", z), 0.0, z), -STEEP, STEEP)
    bend = g("Div", z, LIMIT)
    return g("Div", z, g("Sqrt", g("Add", g("Mul", bend, bend), 1.0)))


def _place(g, z, quantiles, places):
    """Interpolate between quantiles: a sum of what is covered of the distances between them."""
    covered = g.clip(g("Div", g("Sub", z, g.constant(quantiles[:-1])), g.constant(np.diff(quantiles))), 0.0, 1.0)
    return g("Add", g("MatMul", covered, g.constant(np.diff(places)[:, np.newaxis])), float(places[0]))


def _output(g, encoder, source, kind, start, name, type_):
    """Add what one run of columns of the output is of a column of the table, before it is scaled."""
    label = named(encoder._label(source))
    kind_of_column, levels = encoder.kinds_[source], encoder.categories_[source]
    if levels is not None:
        return _of_category(g, encoder, source, kind, _codes(g, name, type_, levels, label))
    if type_ == "text" or (kind_of_column == "date" and type_ != "whole"):
        wanted = "int64, microseconds since 1970," if kind_of_column == "date" else "numbers"
        raise ValueError(
            f"{label} held {kind_of_column}s in fit: give it as {wanted} in X or initial_types, and not as {type_}, which skl2onnx also "
            "makes of numbers that a ColumnTransformer selects together with text"
        )
    if kind_of_column == "date":
        return _of_date(g, kind, name)
    x = g.number(name)
    if kind == "number":
        return x
    if kind == "missing":
        return g.number(g("IsNaN", x))
    if kind == "other":
        unlike = g("Not", g("Equal", x, float(encoder.centers_[start])))
        return g.number(g("And", unlike, g("Not", g("IsNaN", x))))
    # Seconds since midnight.
    return _in_cycle(g, kind, g("Div", x, 86400.0))


def _of_category(g, encoder, source, kind, codes):
    """The output of a category, by its code; those of unknown and of missing values come after those of the levels."""
    if kind == "target":
        encodings = encoder.encodings_[source]
        return g("Reshape", g("Gather", g.constant(encodings), codes), g.constant(np.array([-1, encodings.shape[1]])))
    groups = encoder.groups_[source]
    if kind == "level":
        own = g("Gather", g.constant(groups.astype(np.int64)), codes)
        return g.number(g("Equal", own, g.constant(np.arange(groups.max() + 1)[np.newaxis])))
    table = SIGNS[groups] if kind == "sign" else groups + 1.0
    return g("Gather", g.constant(table), codes)


def _codes(g, name, type_, levels, label):
    """Each row's code: the index of its level; then one for unknown levels, and one for missing values."""
    n_levels = len(levels)
    unknown, missing = range(n_levels + 2)[UNKNOWN], range(n_levels + 2)[MISSING]
    is_text = levels.dtype == object
    if is_text != (type_ == "text"):
        was = "text" if is_text else "numbers"
        raise ValueError(
            f"{label} held categories that are {was} in fit: give it as {was} in X or initial_types, and not as {type_}"
        )
    look_up = partial(g, "LabelEncoder", op_domain="ai.onnx.ml", op_version=2, default_int64=unknown)
    if is_text:
        codes = dict.fromkeys(_MISSING_TEXTS, missing) | {level: code for code, level in enumerate(levels)}
        return look_up(name, keys_strings=list(codes), values_int64s=list(codes.values()))
    whole = levels.dtype.kind != "f"
    keys = {"keys_int64s": levels.astype(np.int64).tolist(), "values_int64s": list(range(n_levels))} if whole else {}
    if whole and type_ == "whole":
        return look_up(g.integer(name), **keys)
    x = g.number(name)
    if whole:
        is_known = g("And", g("Equal", x, g("Floor", x)), g("Less", g("Abs", x), _WHOLE))
        codes = look_up(g.integer(g("Where", is_known, x, 0.0)), **keys)
    else:
        codes = g("ArgMax", g.number(g("Equal", x, g.constant(levels[np.newaxis]))), axis=1, keepdims=1)
        is_known = g("Equal", x, g("Gather", g.constant(levels), codes))
    codes = g("Where", is_known, codes, g.constant(np.array(unknown)))
    return g("Where", g("IsNaN", x), g.constant(np.array(missing)), codes)


def _of_date(g, kind, name):
    """The output of a date: microseconds since 1970, as a clock on the wall shows them."""
    whole = partial(_whole, g)
    is_missing = g("Equal", name, g.constant(np.array(_NOT_A_TIME)))
    if kind == "missing":
        return g.number(is_missing)
    # Any date, so that there is nothing to overflow.
    time = g("Where", is_missing, g.constant(np.array(0)), name)
    # Remainders are of the divisor's sign.
    of_day = g("Mod", time, g.constant(np.array(_DAY)))
    days = whole("Div", g("Sub", time, of_day), _DAY)
    if kind == "trend":
        part = g("Div", g.number(time), float(_DAY))
        return g("Where", is_missing, g.constant(np.array(np.nan)), part)
    cycle = kind.split("_")[0]
    if cycle == "day":
        part = g("Div", g.number(of_day), float(_DAY))
    elif cycle == "week":
        # 1970 began on a Thursday.
        part = g("Div", g.number(g("Mod", whole("Add", days, 3), g.constant(np.array(7)))), 7.0)
    else:
        part = _of_year(g, days, of_day)
    return _in_cycle(g, kind, g("Where", is_missing, g.constant(np.array(np.nan)), part))


def _of_year(g, days, of_day):
    """How much of the year has passed, from 0 to 1."""
    whole = partial(_whole, g)
    days = whole("Add", days, _DAYS_TO_1970)

    def start(year):
        # Every fourth year is a leap year, but for those of centuries, every fourth of which is one; the year 0 is.
        leaps = g("Sub", whole("Div", whole("Add", year, 3), 4), whole("Div", whole("Add", year, 99), 100))
        leaps = g("Add", leaps, whole("Div", whole("Add", year, 399), 400))
        return g("Add", whole("Mul", year, 365), leaps)

    # Within one of it.
    year = g.integer(g("Floor", g("Div", g.number(days), _YEAR)))
    year = g("Sub", year, g.integer(g("Greater", start(year), days)))
    year = g("Add", year, g.integer(g("LessOrEqual", start(whole("Add", year, 1)), days)))
    first = start(year)
    length = g.number(g("Sub", start(whole("Add", year, 1)), first))
    passed = g("Add", g.number(g("Sub", days, first)), g("Div", g.number(of_day), float(_DAY)))
    return g("Div", passed, length)


def _whole(g, operator, x, number):
    """Add an operator of integers."""
    return g(operator, x, g.constant(np.array(number)))


def _in_cycle(g, kind, part):
    """How much of a cycle has passed, before it is scaled; or its sine or cosine, 0 where it is missing."""
    if kind in CYCLES:
        return part
    value = g(kind.split("_")[1].capitalize(), g("Mul", part, 2 * np.pi))
    return g("Where", g("IsNaN", value), 0.0, value)
