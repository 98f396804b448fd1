"""Tables as numbers: what becomes of each kind of column, from any library, and what is refused."""

import copy
import datetime
import decimal
import pickle
import time

import narwhals as nw
import narwhals.stable.v2 as nw_v2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, QuantileTransformer, RobustScaler, TargetEncoder
from sklearn.utils.estimator_checks import parametrize_with_checks

from skbackprop import BackpropClassifier
from skbackprop.preprocessing import TableEncoder

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")
pa = pytest.importorskip("pyarrow")

NAN = np.nan


def encoded(table, y=None, **settings):
    """A DataFrame of the output, for the rows of `fit`."""
    return TableEncoder(**settings).set_output(transform="pandas").fit(table, y).transform(table)


def clipped(z):
    return z / np.sqrt(1 + (z / 3) ** 2)


@parametrize_with_checks(
    [
        TableEncoder(),
        TableEncoder(high_cardinality="ordinal", min_frequency=2, sparse_output=True, dtype="float32"),
        TableEncoder(categorical_features=None, zero_iqr="indicator", n_quantiles=5),
    ]
)
def test_estimator_checks(estimator, check):
    check(estimator)


def test_numbers_are_scaled_as_by_robust_scaler(rng):
    X = rng.normal(size=(50, 3)) * [1, 10, 1e-3]
    expected = clipped(RobustScaler().fit_transform(X))
    np.testing.assert_allclose(TableEncoder().fit_transform(X), expected, rtol=1e-12)


@pytest.mark.parametrize("factor", [1e-300, 1, 1e299])
def test_numbers_of_any_size(factor):
    x = np.array([[-2.0], [-1], [0], [1], [2]])
    expected = clipped(x / 2)
    np.testing.assert_allclose(TableEncoder().fit_transform(x * factor), expected, rtol=1e-12)


def test_missing_numbers_are_the_median_and_an_indicator():
    table = pd.DataFrame({"x": [1.0, NAN, 3.0, 5.0]})
    expected = [[clipped(-1.0), 0], [0, 1], [0, 0], [clipped(1.0), 0]]
    found = encoded(table)
    assert list(found) == ["x", "x_missing"]
    np.testing.assert_allclose(found, expected)
    # Where none is missing in fit, there is no indicator.
    encoder = TableEncoder().fit(table.dropna())
    np.testing.assert_array_equal(encoder.transform(pd.DataFrame({"x": [NAN]})), [[0.0]])


def test_infinities_are_the_limits():
    X = np.array([[1.0], [2], [3], [np.inf], [-np.inf]])
    np.testing.assert_allclose(TableEncoder().fit_transform(X)[3:], [[3.0], [-3.0]])
    np.testing.assert_allclose(TableEncoder().fit_transform(X[2:])[1:], [[3.0], [-3.0]])


def test_levels_are_those_of_onehotencoder():
    table = pd.DataFrame({"colour": ["red", "blue", "green", "red"], "size": pd.Categorical([1, 2, 3, 1])})
    encoder = OneHotEncoder(sparse_output=False).set_output(transform="pandas")
    pd.testing.assert_frame_equal(encoded(table), encoder.fit_transform(table))


def test_two_levels_are_a_sign():
    table = pd.DataFrame({"answer": ["yes", "no", None, "yes"], "on": [True, False, False, True]})
    found = encoded(table)
    assert list(found) == ["answer_yes", "on_True"]
    np.testing.assert_array_equal(found, [[1, 1], [-1, -1], [0, -1], [1, 1]])


def test_unknown_and_missing_levels_are_zeros():
    encoder = TableEncoder().fit(pd.DataFrame({"x": ["a", "b", "c"]}))
    np.testing.assert_array_equal(
        encoder.transform(pd.DataFrame({"x": ["d", None, "a"]})), [[0] * 3, [0] * 3, [1, 0, 0]]
    )


def test_many_levels_need_the_target(rng):
    table = pd.DataFrame({"city": [f"c{i}" for i in rng.integers(80, size=2000)]})
    y = rng.normal(size=2000)
    with pytest.raises(ValueError, match=r"column 'city' has more than max_onehot=64 levels.*pass y to fit"):
        TableEncoder().fit(table)
    with pytest.raises(ValueError, match=r"column 'city' .*: pass a single column of targets"):
        TableEncoder().fit(table, np.column_stack([y, y]))
    assert TableEncoder().fit_transform(table, y).shape == (2000, 1)
    assert TableEncoder(max_onehot=None).fit_transform(table).shape == (2000, 80)
    codes = TableEncoder(max_onehot=12, high_cardinality="ordinal").fit_transform(table)[:, 0]
    assert set(codes) == set(range(1, 81))


SAME = {
    "number": [1.0, 2.0, 4.0, 8.0],
    "integer": [3, 1, 4, 9],
    "text": ["a", "b", "c", "a"],
    "flag": [True, False, True, True],
    "date": [datetime.datetime(2020, month, 1) for month in (1, 3, 6, 7)],
}


@pytest.mark.parametrize("make", [pl.DataFrame, pa.table, pd.DataFrame], ids=["polars", "pyarrow", "pandas"])
def test_the_same_for_every_library(make):
    encoder = TableEncoder().fit(pd.DataFrame(SAME))
    other = TableEncoder().fit(make(SAME))
    expected = encoder.transform(pd.DataFrame(SAME))
    np.testing.assert_array_equal(encoder.transform(make(SAME)), expected)
    np.testing.assert_array_equal(other.transform(make(SAME)), expected)
    assert list(other.get_feature_names_out()) == list(encoder.get_feature_names_out())


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ([[1], [2]], "objects of type list"),
        ([{"a": 1}, {}], "objects of type dict"),
        ([b"a", b"b"], "objects of type bytes"),
        ([1j, 2j], "complex"),
        (["a", 1], "mixes values of the types int and str"),
    ],
)
def test_what_nothing_can_be_learned_from_is_refused(values, what):
    with pytest.raises(TypeError, match=f"column 'x' .*{what}"):
        TableEncoder().fit(pd.DataFrame({"y": [1, 2], "x": values}))


def test_written_text_is_refused():
    table = pd.DataFrame({"note": [f"the customer has called {i} times" for i in range(20)]})
    with pytest.raises(ValueError, match="column 'note' seems to be written text"):
        TableEncoder().fit(table)
    assert TableEncoder(categorical_features=["note"], max_onehot=None).fit_transform(table).shape == (20, 20)
    assert TableEncoder(max_onehot=None).fit_transform(table.astype("category")).shape == (20, 20)


def test_columns_that_differ_are_refused():
    encoder = TableEncoder().fit(pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]}))
    with pytest.raises(ValueError, match="The feature names should match those that were passed during fit"):
        encoder.transform(pd.DataFrame({"b": ["x"], "a": [1.0]}))
    with pytest.raises(TypeError, match="column 'a' held numbers in fit, and holds text now"):
        encoder.transform(pd.DataFrame({"a": ["x"], "b": ["x"]}))
    for categories in (pd.Categorical(["x"]), pd.Categorical(["x"], categories=["x", *map(str, range(200))])):
        with pytest.raises(TypeError, match="column 'a' held numbers in fit, and holds categories now"):
            encoder.transform(pd.DataFrame({"a": categories, "b": ["x"]}))
    with pytest.raises(TypeError, match="column 'b' held categories in fit, and holds numbers now"):
        encoder.transform(pd.DataFrame({"a": [1.0], "b": [1.0]}))
    with pytest.raises(TypeError, match="column 'b' held categories in fit, and holds categories that are numbers now"):
        encoder.transform(pd.DataFrame({"a": [1.0], "b": pd.Categorical([1])}))
    encoder = TableEncoder(categorical_features=[0]).fit([[1], [2], [3]])
    with pytest.raises(TypeError, match="column 0 held categories that are numbers in fit, and holds text now"):
        encoder.transform([["one"]])
    np.testing.assert_array_equal(encoder.transform(np.array([[3.0], [NAN], [4]])), [[0, 0, 1], [0, 0, 0], [0, 0, 0]])


def test_numbers_in_other_forms_than_in_fit():
    encoder = TableEncoder().fit(pd.DataFrame({"x": [0, 1, 2, 3]}))
    expected = encoder.transform(pd.DataFrame({"x": [1.0, 0.0, NAN]}))
    for values in (
        pd.Series([True, False, None], dtype="boolean"),
        pd.Categorical([1, 0, None]),
        pd.Series([1, 0, None], dtype="Int64"),
        pd.Series([decimal.Decimal(1), False, None], dtype=object),
    ):
        np.testing.assert_array_equal(encoder.transform(pd.DataFrame({"x": values})), expected)


def test_arrays_of_any_type():
    spans = np.array([[1], [2], [4]], dtype="timedelta64[h]")
    np.testing.assert_array_equal(TableEncoder().fit_transform(spans), TableEncoder().fit_transform([[1], [2], [4]]))
    expected = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    np.testing.assert_array_equal(TableEncoder().fit_transform(np.array([["a"], ["b"], ["c"]])), expected)
    objects = np.array([["a", NAN], [NAN, NAN], ["b", NAN]], dtype=object)
    np.testing.assert_array_equal(TableEncoder().fit_transform(objects), [[-1], [0], [1]])


def test_columns_that_bring_nothing_are_left_out():
    table = pd.DataFrame(
        {"a": [1, 2, 3], "same": [5, 5, 5], "none": [None, None, None], "again": [1, 2, 3], "word": ["x"] * 3}
    )
    assert list(encoded(table)) == ["a"]


def test_copies_transform_alike():
    table = pd.DataFrame(SAME)
    encoder = TableEncoder().fit(table)
    expected = encoder.transform(table)
    for other in (pickle.loads(pickle.dumps(encoder)), copy.deepcopy(encoder), clone(encoder).fit(table)):
        np.testing.assert_array_equal(other.transform(table), expected)


def test_decimals_are_numbers():
    values = [decimal.Decimal("1.5"), None, decimal.Decimal("2.5")]
    np.testing.assert_array_equal(
        TableEncoder().fit_transform(pd.DataFrame({"x": values})),
        TableEncoder().fit_transform(pd.DataFrame({"x": [1.5, NAN, 2.5]})),
    )


# Numbers


def naive_number(fitted, values, zero_iqr="indicator"):
    """The columns of a number column, row by row."""
    finite = [value for value in fitted if np.isfinite(value)]
    low, center, high = np.quantile(finite, [0.25, 0.5, 0.75])
    rest = [value for value in finite if value != center]
    spread = high - low
    is_flat = spread == 0 and len(set(rest)) > 1
    if spread == 0 and zero_iqr == "std":
        spread = np.std(finite)
    elif is_flat and zero_iqr == "indicator":
        spread = np.quantile(rest, 0.75) - np.quantile(rest, 0.25)
    if spread == 0:
        spread = (max(finite) - min(finite)) / 2
    columns = []
    if spread > 0:
        numbers = [
            0.0 if np.isnan(v) else np.sign(v) * 3 if np.isinf(v) else clipped((v - center) / spread) for v in values
        ]
        columns.append(numbers)
        if is_flat and zero_iqr == "indicator":
            columns.append([float(not np.isnan(v) and v != center) for v in values])
    if np.isnan(fitted).any():
        columns.append([float(np.isnan(v)) for v in values])
    return np.array(columns).reshape(-1, len(values)).T


NUMBERS = st.lists(
    st.sampled_from([NAN, 0.0, 0.0, 0.0, 1.0, -2.5, 7.0, 1e6]) | st.integers(-5, 5).map(float), min_size=4, max_size=20
)


@given(fitted=NUMBERS, others=NUMBERS, zero_iqr=st.sampled_from(["indicator", "range", "std"]))
@settings(deadline=None, max_examples=200)
def test_numbers_are_those_of_a_naive_loop(fitted, others, zero_iqr):
    fitted, others = np.array([*fitted, 0.0]), np.array([*others, np.inf, -np.inf, NAN])
    encoder = TableEncoder(zero_iqr=zero_iqr).fit(fitted[:, np.newaxis])
    expected = naive_number(fitted, others, zero_iqr)
    found = encoder.transform(others[:, np.newaxis])
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_many_zeros_and_a_few_numbers():
    x = np.array([[0.0]] * 16 + [[100.0], [200], [300], [500]])
    spread = 350 - 175
    numbers = clipped(x / spread)
    np.testing.assert_allclose(TableEncoder().fit_transform(x), np.hstack([numbers, x > 0]))
    assert list(TableEncoder().fit(x).get_feature_names_out()) == ["x0", "x0_other"]
    np.testing.assert_allclose(TableEncoder(zero_iqr="range").fit_transform(x), clipped(x / 250))
    np.testing.assert_allclose(TableEncoder(zero_iqr="std").fit_transform(x), clipped(x / x.std()))
    # With two different numbers there is nothing to tell apart.
    assert TableEncoder().fit_transform(x > 0).shape == (20, 1)
    assert TableEncoder().fit_transform((x > 0) * 1.0).shape == (20, 1)


def test_missing_values_are_those_of_simpleimputer(rng):
    X = rng.normal(size=(40, 3))
    X[rng.random((40, 3)) < 0.2] = NAN
    encoder = TableEncoder().fit(X)
    is_missing = encoder.output_kinds_ == "missing"
    filled = SimpleImputer(strategy="median").fit_transform(X)
    scale = 1 / np.subtract(*np.nanpercentile(X, [75, 25], axis=0))
    expected = clipped((filled - np.nanmedian(X, axis=0)) * scale)
    np.testing.assert_allclose(encoder.transform(X)[:, ~is_missing], expected, atol=1e-12)
    np.testing.assert_array_equal(encoder.transform(X)[:, is_missing], MissingIndicator().fit_transform(X))


def test_equal_indicators_of_missing_values_are_one():
    table = pd.DataFrame({"a": [1, 2, NAN, 4], "b": [5, 3, NAN, 1], "c": [NAN, 1, 2, 0]})
    assert list(encoded(table)) == ["a", "a_missing", "b", "c", "c_missing"]


def test_a_number_and_nothing_is_an_indicator():
    assert encoded(pd.DataFrame({"x": [7.0, NAN]})).to_dict("list") == {"x_missing": [0.0, 1.0]}


@pytest.mark.parametrize("values", [[5.0, np.inf, 5.0], [np.inf, -np.inf, np.inf], [np.inf, NAN, np.inf]])
def test_infinities_beside_a_single_number(values):
    x = np.array(values)[:, np.newaxis]
    found = TableEncoder().fit_transform(x)
    assert np.all(np.isfinite(found))
    np.testing.assert_array_equal(found[np.isinf(x[:, 0]), 0], np.sign(x[np.isinf(x)]) * 3)


# Categories

LEVELS = st.lists(st.sampled_from(["a", "b", "c", "dd", "e", None]), min_size=1, max_size=30)


def naive_levels(fitted, values, min_frequency):
    """The columns of text with few levels, row by row."""
    counts = {level: fitted.count(level) for level in sorted({v for v in fitted if v is not None})}
    frequent = [level for level in counts if counts[level] >= (min_frequency or 0)]
    groups = [[level] for level in frequent]
    rare = [level for level in counts if level not in frequent]
    groups += [rare] * bool(rare)

    def hot(value):
        if value is not None and value not in counts and rare:
            value = rare[0]
        return [float(value in group) for group in groups]

    rows = np.array([hot(value) for value in values]).reshape(len(values), len(groups))
    if len(groups) == 2:
        return rows[:, 1:] - rows[:, :1]
    return rows[:, : 0 if len(groups) == 1 and None not in fitted else None]


@given(fitted=LEVELS, others=LEVELS, min_frequency=st.sampled_from([None, 2, 3]), as_category=st.booleans())
@settings(deadline=None, max_examples=200)
def test_levels_are_those_of_a_naive_loop(fitted, others, min_frequency, as_category):
    others = [*others, "unknown"]
    tables = [pd.DataFrame({"x": pd.Series(values, dtype=object)}) for values in (fitted, others)]
    tables = [table.astype("category") if as_category else table for table in tables]
    encoder = TableEncoder(min_frequency=min_frequency).fit(tables[0])
    for table, values in zip(tables, (fitted, others), strict=True):
        np.testing.assert_array_equal(encoder.transform(table), naive_levels(fitted, values, min_frequency))


@pytest.mark.parametrize("min_frequency", [10, 0.15])
def test_infrequent_levels_are_those_of_onehotencoder(rng, min_frequency):
    table = pd.DataFrame({"x": rng.choice(list("abcdefgh"), p=[0.4, 0.3, 0.2, 0.02, 0.02, 0.02, 0.02, 0.02], size=100)})
    other = OneHotEncoder(min_frequency=min_frequency, handle_unknown="infrequent_if_exist", sparse_output=False)
    other.set_output(transform="pandas").fit(table)
    encoder = TableEncoder(min_frequency=min_frequency).set_output(transform="pandas").fit(table)
    new = pd.DataFrame({"x": ["a", "h", "d", "unknown"]})
    pd.testing.assert_frame_equal(encoder.transform(new), other.transform(new))


def test_codes_are_those_of_ordinalencoder(rng):
    table = pd.DataFrame({"x": rng.choice([f"c{i}" for i in range(30)], size=300)})
    found = TableEncoder(max_onehot=12, high_cardinality="ordinal").fit_transform(table)
    np.testing.assert_array_equal(found, OrdinalEncoder().fit_transform(table) + 1)
    encoder = TableEncoder(max_onehot=12, high_cardinality="ordinal").fit(table)
    assert list(encoder.output_kinds_) == ["code"]
    assert list(encoder.cardinalities_) == [31]
    np.testing.assert_array_equal(encoder.transform(pd.DataFrame({"x": ["new", None, "c0"]})), [[0], [0], [1]])


def test_orders_of_levels_are_kept():
    sizes = pd.CategoricalDtype(["small", "medium", "large"], ordered=True)
    table = pd.DataFrame({"size": pd.Series(["large", "small", "medium"], dtype=sizes)})
    assert list(encoded(table)) == ["size_small", "size_medium", "size_large"]
    enum = pl.DataFrame({"size": pl.Series(["large", "small", "medium"], dtype=pl.Enum(["small", "medium", "large"]))})
    np.testing.assert_array_equal(TableEncoder().fit_transform(enum), encoded(table))
    assert list(encoded(table.astype(str))) == ["size_large", "size_medium", "size_small"]


def test_levels_of_another_categorical_dtype_are_found():
    encoder = TableEncoder().fit(pd.DataFrame({"x": pd.Categorical(["a", "b", "c"])}))
    for values in (
        pd.Categorical(["c", "a", None], categories=["z", "c", "a", "y"]),
        pd.Series(["c", "a", None], dtype="string"),
        pd.Series(["c", "a", None], dtype=object),
        pd.Categorical(["c", "a", None], categories=["c", "a", *map(str, range(1000))]),
    ):
        for _ in range(2):
            found = encoder.transform(pd.DataFrame({"x": values}))
            np.testing.assert_array_equal(found, [[0, 0, 1], [1, 0, 0], [0, 0, 0]])


def test_columns_for_chosen_categories():
    X = np.array([[1, 10], [2, 20], [3, 30], [1, 10]])
    expected = OneHotEncoder(sparse_output=False).fit_transform(X[:, :1])
    for chosen in ([0], [True, False]):
        found = TableEncoder(categorical_features=chosen).fit_transform(X)
        np.testing.assert_array_equal(found[:, :3], expected)
        assert found.shape == (4, 4)
    table = pd.DataFrame(X, columns=["a", "b"])
    assert list(encoded(table, categorical_features=["a"])) == ["a_1", "a_2", "a_3", "b"]
    # Categories that are numbers are numbers where they are not chosen.
    found = TableEncoder(categorical_features=None).fit_transform(table.astype("category"))
    np.testing.assert_array_equal(found[:, 0], TableEncoder().fit_transform(X)[:, 0])


@pytest.mark.parametrize("chosen", [None, [False], []])
def test_text_that_is_not_chosen_is_refused(chosen):
    with pytest.raises(ValueError, match="column 'x' holds text, and is not among the categorical_features"):
        TableEncoder(categorical_features=chosen).fit(pd.DataFrame({"x": ["a", "b"]}))


def test_wrong_choices_are_refused_as_by_histgradientboosting():
    table = pd.DataFrame({"x": [1, 2, 1, 2]})
    for chosen in (["y"], [3], [True, False], [0.5]):
        with pytest.raises(ValueError, match="categorical_features") as theirs:
            HistGradientBoostingClassifier(categorical_features=chosen).fit(table, [0, 1, 0, 1])
        with pytest.raises(ValueError, match="categorical_features") as ours:
            TableEncoder(categorical_features=chosen).fit(table)
        assert str(ours.value) == str(theirs.value)


def test_booleans_are_numbers_where_they_are_not_chosen():
    table = pd.DataFrame({"x": [True, False, True, True]})
    expected = TableEncoder().fit_transform(table.astype(float))
    np.testing.assert_array_equal(TableEncoder(categorical_features=None).fit_transform(table), expected)


def test_levels_by_the_ten_thousand(rng):
    values = rng.integers(30_000, size=100_000)
    table = pd.DataFrame({"x": pd.Series(values).map("level {}".format), "y": rng.normal(size=100_000)})
    start = time.process_time()
    encoder = TableEncoder(max_onehot=None, sparse_output=True).fit(table)
    found = encoder.transform(table)
    assert time.process_time() - start < 20
    assert found.shape == (100_000, len(set(values)) + 1)
    assert found.nnz == 200_000
    assert TableEncoder().fit_transform(table, values % 2).shape == (100_000, 2)


def test_sparse_output_is_the_same(rng):
    table = pd.DataFrame(
        {
            "number": rng.normal(size=60),
            "few": rng.choice(list("abcd"), size=60),
            "two": rng.choice(["yes", "no"], size=60),
            "many": rng.choice([f"c{i}" for i in range(40)], size=60),
        }
    )
    settings = {"max_onehot": None, "dtype": "float32"}
    found = TableEncoder(sparse_output=True, **settings).fit_transform(table)
    assert isinstance(found, sparse.csr_array)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found.toarray(), TableEncoder(**settings).fit_transform(table))


# Places among quantiles


def test_places_are_those_of_quantiletransformer(rng):
    X, others = rng.normal(size=(200, 3)), 2 * rng.normal(size=(50, 3))
    encoder, scaler = TableEncoder(n_quantiles=17).fit(X), TableEncoder().fit(X)
    transformer = QuantileTransformer(n_quantiles=17).fit(scaler.transform(X))
    for rows in (X, others):
        scaled, places = np.hsplit(encoder.transform(rows), 2)
        np.testing.assert_array_equal(scaled, scaler.transform(rows))
        np.testing.assert_allclose(places, transformer.transform(scaled), atol=1e-12)
    assert set(encoder.output_kinds_[3:]) == {"quantile"}
    np.testing.assert_array_equal(encoder.sources_, [0, 1, 2, 0, 1, 2])


def test_equal_quantiles_have_the_mean_of_their_places():
    X = np.array([0.0] * 60 + [1, 2, 3, 4] * 10)[:, np.newaxis]
    places = TableEncoder(n_quantiles=11).fit(X).transform([[0.0], [1.0], [2.5], [4.0], [NAN], [-9.0], [1e9]])[:, -1]
    # Of the quantiles 0, 0.1, ..., 1 the first six are 0.
    assert places[0] == pytest.approx(0.25)
    assert places[3] == 1
    assert places[4] == places[5] == places[0]
    assert places[6] == places[3]
    assert np.all(np.diff(places[:4]) > 0)


def test_places_of_every_scaled_column(rng):
    table = pd.DataFrame(
        {
            "town": rng.choice([f"town {i}" for i in range(9)], size=90),
            "number": np.where(rng.random(90) < 0.2, NAN, rng.normal(size=90)),
            "colour": rng.choice(["red", "blue"], size=90),
            "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 1000, size=90), unit="D"),
        }
    )
    settings = {"n_quantiles": 5, "max_onehot": 4}
    found = encoded(table, rng.choice(["a", "b", "c"], size=90), **settings)
    assert list(found)[-7:] == [
        "town_a_quantile",
        "town_b_quantile",
        "town_c_quantile",
        "number_quantile",
        "day_quantile",
        "day_year_quantile",
        "day_week_quantile",
    ]
    assert found.iloc[:, -7:].min().min() == 0
    assert found.iloc[:, -7:].max().max() == 1
    y = rng.normal(size=90)
    held = TableEncoder(**settings).fit(table, y)
    mostly = TableEncoder(**settings, sparse_output=True).fit(table, y)
    np.testing.assert_array_equal(mostly.transform(table).toarray(), held.transform(table))


# What the target says


@pytest.fixture
def cities(rng):
    codes = rng.integers(25, size=400)
    names = np.array([f"c{i:02}" for i in range(25)], dtype=object)[codes]
    names[:20] = None
    return pd.DataFrame({"city": names, "x": rng.normal(size=400)}), codes + rng.normal(size=400)


@pytest.mark.parametrize("classes", [0, 2, 3])
def test_targets_are_those_of_targetencoder(cities, classes):
    table, y = cities
    y = np.digitize(y, [12, 20][: classes - 1]) if classes else y
    encoder = TableEncoder(max_onehot=12).fit(table, y)
    n_outputs = classes if classes == 3 else 1
    assert encoder.output_kinds_[:n_outputs].tolist() == ["target"] * n_outputs
    cv = KFold(5, shuffle=True, random_state=0)
    theirs = TargetEncoder(cv=cv)
    crossed = theirs.fit_transform(table[["city"]], y)
    center, scale = encoder.centers_[:n_outputs], encoder.scales_[:n_outputs]
    scaler = RobustScaler().fit(crossed)
    np.testing.assert_allclose(center, scaler.center_, rtol=1e-12)
    np.testing.assert_allclose(scale, 1 / scaler.scale_, rtol=1e-12)
    found = encoder.fit_transform(table, y)[:, :n_outputs]
    np.testing.assert_allclose(found, clipped((crossed - center) * scale), atol=1e-12)
    new = pd.DataFrame({"city": ["c03", None, "elsewhere"], "x": 0.0})
    expected = clipped((theirs.transform(new[["city"]]) - center) * scale)
    np.testing.assert_allclose(encoder.transform(new)[:, :n_outputs], expected, atol=1e-12)
    names = encoder.get_feature_names_out()[:-1]
    assert list(names) == (["city_0", "city_1", "city_2"] if classes == 3 else ["city"])


def test_a_target_encoder_of_ones_own(cities):
    table, y = cities
    own = TargetEncoder(target_type="continuous", smooth=10.0, cv=KFold(3))
    encoder = TableEncoder(max_onehot=12, high_cardinality=own).fit(table, np.rint(y))
    assert encoder.get_params()["high_cardinality__smooth"] == 10.0
    np.testing.assert_allclose(
        encoder.encodings_[0][:25], own.fit(table[["city"]], np.rint(y)).encodings_[0][:25, np.newaxis]
    )
    # It is cloned.
    assert encoder.high_cardinality is own


def test_groups_are_routed_to_the_folds(cities):
    table, y = cities
    groups = np.arange(400) // 50
    with pytest.raises(ValueError, match="enable_metadata_routing"):
        TableEncoder(max_onehot=12).fit(table, y, groups=groups)
    with config_context(enable_metadata_routing=True):
        own = TargetEncoder(cv=GroupKFold(4))
        encoder = TableEncoder(max_onehot=12, high_cardinality=own)
        pipeline = make_pipeline(encoder, LogisticRegression()).fit(table, y > 12, groups=groups)
        found = encoder.fit_transform(table, y > 12, groups=groups)[:, 0]
        crossed = own.fit_transform(table[["city"]], y > 12, groups=groups)[:, 0]
        np.testing.assert_allclose(found, clipped((crossed - encoder.centers_[0]) * encoder.scales_[0]), atol=1e-12)
        assert pipeline.score(table, y > 12) > 0.8
        # Without groups.
        assert TableEncoder(max_onehot=12).fit(table, y > 12).encodings_[0] is not None
        with pytest.raises(TypeError, match="groups"):
            TableEncoder(max_onehot=12).fit(table, y, groups=groups)


def test_the_same_rows_become_the_same_numbers(cities):
    one, other = (TableEncoder(max_onehot=12).fit_transform(*cities) for _ in range(2))
    np.testing.assert_array_equal(one, other)


# Dates


def test_dates_are_a_trend_and_cycles():
    dates = pd.date_range("2020-01-01", "2021-12-31 23:00", freq="7h")
    found = encoded(pd.DataFrame({"t": dates}))
    assert list(found) == [
        "t_trend",
        *(f"t_{cycle}_{part}" for cycle in ("year", "week", "day") for part in ("sin", "cos")),
    ]
    days = dates.to_numpy().astype("datetime64[s]").astype(float)[:, np.newaxis] / 86400
    np.testing.assert_allclose(
        found["t_trend"], clipped(RobustScaler().fit_transform(days))[:, 0], rtol=1e-9, atol=1e-9
    )
    length = np.where(dates.is_leap_year, 366, 365)
    year = (dates.day_of_year - 1 + dates.hour / 24) / length
    for cycle, part in (("year", year), ("week", dates.day_of_week / 7), ("day", dates.hour / 24)):
        np.testing.assert_allclose(found[f"t_{cycle}_sin"], np.sin(2 * np.pi * part), atol=1e-9)
        np.testing.assert_allclose(found[f"t_{cycle}_cos"], np.cos(2 * np.pi * part), atol=1e-9)


def test_cycles_that_the_rows_do_not_go_round_are_left_out():
    table = pd.DataFrame({"t": pd.date_range("2020-01-01", periods=30)})
    assert list(encoded(table)) == ["t_trend", "t_week_sin", "t_week_cos"]
    assert list(encoded(table[::7])) == ["t_trend"]
    assert list(encoded(table[:1])) == []


def test_missing_dates_are_zeros_and_an_indicator():
    table = pd.DataFrame({"t": pd.to_datetime(["2020-01-01", None, "2021-06-01", "2023-02-02"])})
    found = encoded(table)
    assert found["t_missing"].tolist() == [0, 1, 0, 0]
    assert not found.drop(columns="t_missing").iloc[1].any()


def test_places_in_cycles_have_quantiles_of_their_own():
    dates = pd.date_range("2020-01-01", "2021-12-31 23:00", freq="7h", tz="Europe/Berlin")
    times = [datetime.time(hour) for hour in range(24)]
    table = pd.DataFrame({"t": dates, "clock": pd.Series([times[i % 24] for i in range(len(dates))], dtype=object)})
    table.loc[5, "t"] = pd.NaT
    encoder = TableEncoder(n_quantiles=33).set_output(transform="pandas")
    found = encoder.fit_transform(table)
    plain = encoded(table)
    more = ["t_year", "t_week", "t_day", "clock_day"]
    assert [name for name in found if name not in plain] == [
        *more,
        *(f"{name}_quantile" for name in ["t", *more]),
    ]
    pd.testing.assert_frame_equal(found[plain.columns], plain)
    known = np.arange(len(dates)) != 5
    wall = dates.tz_localize(None)
    year = (wall.day_of_year - 1 + wall.hour / 24) / np.where(wall.is_leap_year, 366, 365)
    parts = [year[known], wall.day_of_week[known] / 7, wall.hour[known] / 24, np.arange(len(dates)) % 24 / 24]
    for name, part in zip(more, parts, strict=True):
        rows = known if name.startswith("t_") else slice(None)
        expected = clipped(RobustScaler().fit_transform(np.asarray(part)[:, np.newaxis]))[:, 0]
        np.testing.assert_allclose(found.loc[rows, name], expected, atol=1e-9)
        assert found[f"{name}_quantile"].between(0, 1).all()
    assert not found.loc[5, more[:3]].any()
    # In each week day, the same place.
    places = found.loc[known, "t_week_quantile"].groupby(wall.day_of_week[known]).agg(["min", "max"])
    np.testing.assert_allclose(places["min"], places["max"], atol=1e-9)
    assert places["min"].is_monotonic_increasing
    arrow = pa.table({"t": pa.array(table["t"]), "clock": pa.array(table["clock"])})
    for other in (table, pl.from_arrow(arrow), arrow):
        np.testing.assert_array_equal(encoder.set_output(transform="default").transform(other), found)
    assert "t_year" not in TableEncoder(n_quantiles=9).fit(table[:60]).get_feature_names_out()


def test_time_zones_are_those_of_fit():
    times = pd.date_range("2020-01-01", periods=1000, freq="37h", tz="Europe/Berlin")
    table = pd.DataFrame({"t": times})
    encoder = TableEncoder().fit(table)
    assert encoder.zones_ == ["Europe/Berlin"]
    expected = TableEncoder().fit_transform(pd.DataFrame({"t": times.tz_localize(None)}))
    np.testing.assert_array_equal(encoder.transform(table), expected)
    np.testing.assert_array_equal(encoder.transform(pd.DataFrame({"t": times.tz_convert("Asia/Tokyo")})), expected)
    np.testing.assert_array_equal(encoder.transform(pl.from_pandas(table)), expected)
    with pytest.raises(TypeError, match="column 't' held dates of the zone Europe/Berlin in fit, and holds dates now"):
        encoder.transform(pd.DataFrame({"t": times.tz_localize(None)}))


MOMENTS = [datetime.datetime(2020, 1, 1, 12), None, datetime.datetime(2021, 3, 2, 6), datetime.datetime(2022, 5, 6)]


@pytest.mark.parametrize(
    "values",
    [
        pd.Series(MOMENTS, dtype="datetime64[ns]"),
        pd.Series(MOMENTS, dtype="datetime64[s]"),
        pd.Series(MOMENTS, dtype=object),
        pd.Series(MOMENTS, dtype=pd.ArrowDtype(pa.timestamp("ms"))),
        pd.Series(pd.PeriodIndex(pd.to_datetime(MOMENTS), freq="h")),
    ],
    ids=["ns", "s", "object", "arrow", "period"],
)
def test_dates_of_any_type(values):
    expected = TableEncoder().fit_transform(np.array(MOMENTS, dtype="datetime64[us]")[:, np.newaxis])
    np.testing.assert_array_equal(TableEncoder().fit_transform(pd.DataFrame({"t": values})), expected)
    for table in (pl.DataFrame({"t": MOMENTS}), pa.table({"t": MOMENTS})):
        np.testing.assert_array_equal(TableEncoder().fit_transform(table), expected)


def test_days_times_and_durations():
    days = [datetime.date(2020, 1, 1), datetime.date(2021, 1, 2), None, datetime.date(2022, 1, 1)]
    times = [datetime.time(0), datetime.time(6), None, datetime.time(18)]
    spans = [datetime.timedelta(hours=hours) for hours in (1, 2, 4, 9)]
    columns = {"day": days, "time": times, "span": spans}
    table = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()})
    encoder = TableEncoder().fit(table)
    assert list(encoder.kinds_) == ["date", "time", "duration"]
    found = dict(zip(encoder.get_feature_names_out(), encoder.transform(table).T, strict=True))
    np.testing.assert_allclose(found["time_day_sin"], [0, 1, 0, -1], atol=1e-12)
    np.testing.assert_allclose(found["time_day_cos"], [1, 0, 0, 0], atol=1e-12)
    np.testing.assert_allclose(found["span"], TableEncoder().fit_transform([[1], [2], [4], [9]])[:, 0])
    for other in (pl.DataFrame(columns), pa.table(columns)):
        np.testing.assert_array_equal(encoder.transform(other), encoder.transform(table))


# Tables

NULLABLE = {
    "Int8": [1, None, 3, 5],
    "UInt32": [1, None, 3, 5],
    "Float32": [1.5, None, 3, 5],
    "boolean": [True, None, False, True],
    "string": ["a", None, "b", "a"],
}


@pytest.mark.parametrize("dtype", NULLABLE)
def test_nullable_and_arrow_backed_types(dtype):
    values = NULLABLE[dtype]
    expected = TableEncoder().fit_transform(pd.DataFrame({"x": pd.Series(values, dtype=object)}))
    arrow = {"boolean": pa.bool_()}.get(dtype) or pa.type_for_alias(dtype.lower().replace("float32", "float"))
    tables = [
        pd.DataFrame({"x": pd.Series(values, dtype=dtype)}),
        pd.DataFrame({"x": pd.Series(values, dtype=pd.ArrowDtype(arrow))}),
        pl.DataFrame({"x": values}),
        pa.table({"x": pa.array(values, type=arrow)}),
        np.array(values, dtype=object)[:, np.newaxis],
    ]
    for table in tables:
        encoder = TableEncoder().fit(table)
        np.testing.assert_array_equal(encoder.transform(table), expected)
        # One row, and none of its values.
        np.testing.assert_array_equal(encoder.transform(table[:1]), expected[:1])
        np.testing.assert_array_equal(encoder.transform(table[1:2]), expected[1:2])


@pytest.mark.parametrize(
    "column",
    [
        pl.Series(["b", "a", None, "c"], dtype=pl.Categorical),
        pl.Series(["b", "a", None, "c"], dtype=pl.Enum(["a", "b", "c"])),
        pa.array(["b", "a", None, "c"]).dictionary_encode(),
        pd.Series(["b", "a", None, "c"], dtype=pd.ArrowDtype(pa.dictionary(pa.int8(), pa.string()))),
    ],
    ids=["polars categorical", "polars enum", "pyarrow", "pandas"],
)
def test_categories_of_other_libraries(column):
    make = (
        pd.DataFrame if isinstance(column, pd.Series) else pl.DataFrame if isinstance(column, pl.Series) else pa.table
    )
    expected = [[0, 1, 0], [1, 0, 0], [0, 0, 0], [0, 0, 1]]
    np.testing.assert_array_equal(TableEncoder().fit_transform(make({"x": column})), expected)


def test_intervals_of_cut_are_categories():
    table = pd.DataFrame({"x": pd.cut([1, 5, 9, 9], [0, 3, 6, 10])})
    assert list(encoded(table)) == ["x_(0, 3]", "x_(3, 6]", "x_(6, 10]"]


def test_sparse_columns_of_pandas():
    values = [0.0, 0.0, 1.0, 5.0]
    table = pd.DataFrame({"x": pd.arrays.SparseArray(values)})
    np.testing.assert_array_equal(TableEncoder().fit_transform(table), encoded(pd.DataFrame({"x": values})))


def test_many_columns_of_numbers_are_read_at_once(rng):
    table = pd.DataFrame({f"x{i}": rng.normal(size=30) for i in range(40)} | {"text": ["a", "b", "c"] * 10})
    table["x3"] = rng.integers(9, size=30)
    expected = [TableEncoder().fit_transform(table[[name]]) for name in table]
    np.testing.assert_allclose(TableEncoder().fit_transform(table), np.hstack(expected))
    np.testing.assert_allclose(TableEncoder().fit_transform(table.iloc[:, :40]), np.hstack(expected[:-1]))


def test_lists_of_numbers_and_text():
    rows = [[1.0, "a"], [2.0, "b"], [4.0, "a"]]
    np.testing.assert_array_equal(TableEncoder().fit_transform(rows), TableEncoder().fit_transform(pd.DataFrame(rows)))


def test_dates_are_no_categories():
    table = pd.DataFrame({"t": pd.date_range("2020-01-01", periods=3)})
    with pytest.raises(TypeError, match="column 't' holds dates, which have no levels"):
        TableEncoder(categorical_features=["t"]).fit(table)


def test_columns_without_values_are_taken_in_transform():
    table = pd.DataFrame(SAME)
    encoder = TableEncoder().fit(table)
    for make in (pd.DataFrame, pl.DataFrame, pa.table):
        assert not encoder.transform(make({name: [None] for name in SAME})).any()


def test_what_is_left_out_is_not_looked_at():
    encoder = TableEncoder().fit(pd.DataFrame({"a": [1, 2], "same": [5, 5]}))
    assert encoder.transform(pd.DataFrame({"a": [1], "same": ["text"]})).shape == (1, 1)


def test_a_table_without_any_difference_has_no_columns():
    found = encoded(pd.DataFrame({"a": [1, 1], "b": ["x", "x"]}))
    assert found.shape == (2, 0)


@pytest.mark.parametrize("table", [pd.DataFrame({"x": []}), pl.DataFrame({"x": []}), pd.DataFrame(index=[1, 2])])
def test_empty_tables_are_refused(table):
    with pytest.raises(ValueError, match=r"Found array with 0 (sample|feature)\(s\)"):
        TableEncoder().fit(table)


def test_unnamed_columns_are_counted():
    with pytest.raises(TypeError, match="column 1 has objects of type list"):
        TableEncoder().fit(np.array([[1, [2]], [2, [3]]], dtype=object))


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_outputs_of_other_libraries(library):
    found = TableEncoder().set_output(transform=library).fit_transform(pd.DataFrame(SAME))
    assert type(found).__module__.startswith(library)
    assert "date_trend" in found.columns


@pytest.mark.trains
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_in_pipelines_and_column_transformers(rng):
    table = pd.DataFrame({"x": rng.normal(size=90), "c": rng.choice(list("abc"), size=90), "text": ["one two"] * 90})
    y = (table["x"] > 0).to_numpy() ^ (table["c"] == "a").to_numpy()
    network = BackpropClassifier((8,), max_iter=200, learning_rate_init=0.02, random_state=0)
    assert cross_val_score(make_pipeline(TableEncoder(), network), table, y, cv=3).mean() > 0.8
    some = ColumnTransformer([("table", TableEncoder(), ["x", "c"]), ("length", "drop", ["text"])])
    np.testing.assert_array_equal(some.fit_transform(table, y), TableEncoder().fit_transform(table[["x", "c"]]))
    assert list(some.get_feature_names_out()) == ["table__x", "table__c_a", "table__c_b", "table__c_c"]


def test_skops_needs_to_trust_this_package_only(cities):
    skops = pytest.importorskip("skops.io")
    table, y = cities
    table = table.assign(**{"few": ["a", "b", "c", "d"] * 100, "t": pd.date_range("2020-01-01", periods=400)})
    encoder = TableEncoder(max_onehot=12, high_cardinality=TargetEncoder(smooth=3.0)).fit(table, y)
    dumped = skops.dumps(encoder)
    untrusted = skops.get_untrusted_types(data=dumped)
    assert all(name.startswith("skbackprop.") for name in untrusted)
    loaded = skops.loads(dumped, trusted=untrusted)
    np.testing.assert_array_equal(loaded.transform(table), encoder.transform(table))
    assert list(loaded.get_feature_names_out()) == list(encoder.get_feature_names_out())


def test_pickles_hold_what_is_documented_only(cities):
    state = TableEncoder(max_onehot=12).fit(*cities).__getstate__()
    private = {name for name in state if name.startswith("_")}
    assert not private


def test_tables_in_other_wrappings():
    table = pd.DataFrame(SAME)
    encoder = TableEncoder().fit(table)
    expected = encoder.transform(table)
    arrow = pa.table(SAME)
    for other in (nw.from_native(table), nw_v2.from_native(pl.DataFrame(SAME)), arrow.to_batches()[0]):
        np.testing.assert_array_equal(encoder.transform(other), expected)
        assert list(TableEncoder().fit(other).feature_names_in_) == list(SAME)
    with pytest.raises(TypeError, match=r"X is a LazyFrame, which has no rows yet: pass X.collect\(\)"):
        encoder.transform(pl.DataFrame(SAME).lazy())


def test_masked_numbers_are_missing():
    masked = np.ma.masked_array([[1.0, 9], [2, 8], [4, 7]], mask=[[0, 1], [0, 0], [0, 0]])
    expected = TableEncoder().fit_transform([[1, NAN], [2, 8], [4, 7]])
    np.testing.assert_array_equal(TableEncoder().fit_transform(masked), expected)
    booleans = np.ma.masked_array([[True], [False], [True]], mask=[[0], [0], [1]])
    np.testing.assert_array_equal(TableEncoder().fit_transform(booleans), [[1], [-1], [0]])


@pytest.mark.parametrize(
    "table",
    [
        pl.DataFrame({"x": pl.Series([1, None, 3], dtype=pl.Int128)}),
        pl.DataFrame({"x": [decimal.Decimal(1), None, decimal.Decimal(3)]}),
        pa.table({"x": [decimal.Decimal(1), None, decimal.Decimal(3)]}),
        pd.DataFrame({"x": pd.Series([1, None, 3], dtype=pd.ArrowDtype(pa.decimal128(5, 2)))}),
    ],
    ids=["int128", "polars", "pyarrow", "pandas"],
)
def test_numbers_that_numpy_lacks(table):
    np.testing.assert_array_equal(TableEncoder().fit_transform(table), TableEncoder().fit_transform([[1], [NAN], [3]]))


@pytest.mark.parametrize(
    "values",
    [pa.array([3, 1, None, 2]).dictionary_encode(), pd.Categorical([3, 1, None, 2])],
    ids=["pyarrow", "pandas"],
)
def test_numbers_as_categories(values):
    table = (pa.table if isinstance(values, pa.Array) else pd.DataFrame)({"x": values})
    assert list(TableEncoder().fit(table).get_feature_names_out()) == ["x_1", "x_2", "x_3"]
    np.testing.assert_array_equal(TableEncoder().fit_transform(table), [[0, 0, 1], [1, 0, 0], [0, 0, 0], [0, 1, 0]])


@pytest.mark.parametrize("dtype", [pl.List(pl.Int64), pl.Struct({"a": pl.Int64}), pl.Binary])
def test_columns_of_polars_that_hold_several_values_are_refused(dtype):
    with pytest.raises(TypeError, match="column 'x' has values of type"):
        TableEncoder().fit(pl.DataFrame({"x": pl.Series([None, None], dtype=dtype)}))


COLUMNS = {
    "number": st.none() | st.floats(-1e6, 1e6) | st.just(0.0),
    "count": st.integers(0, 3),
    "flag": st.none() | st.booleans(),
    "text": st.none() | st.sampled_from(["red", "green", "blue", "", "Zürich", "a b"]),
    "date": st.none() | st.datetimes(datetime.datetime(1990, 1, 1), datetime.datetime(2030, 1, 1)),
}


@given(
    data=st.data(),
    n_samples=st.integers(1, 25),
    max_onehot=st.sampled_from([3, 64]),
    dtype=st.sampled_from(["float32", "float64"]),
)
@settings(deadline=None, max_examples=60)
def test_any_table(data, n_samples, max_onehot, dtype):
    columns = {
        name: data.draw(st.lists(values, min_size=n_samples, max_size=n_samples)) for name, values in COLUMNS.items()
    }
    objects = {name: pd.Series(values, dtype=object) for name, values in columns.items()}
    table = pd.DataFrame(objects).assign(text=lambda table: table["text"].astype("string"))
    encoder = TableEncoder(max_onehot=max_onehot, high_cardinality="ordinal", dtype=dtype).fit(table)
    found = encoder.transform(table)
    names = encoder.get_feature_names_out()
    assert found.shape == (n_samples, len(names))
    assert found.dtype == dtype
    assert len(set(names)) == len(names)
    assert np.all(np.isfinite(found))
    assert np.all(np.abs(found[:, encoder.output_kinds_ != "code"]) <= 3)
    # No row depends on others, and no number on the library.
    for row in range(n_samples):
        np.testing.assert_array_equal(encoder.transform(table[row : row + 1])[0], found[row])
    sparse_one = clone(encoder).set_params(sparse_output=True).fit(table)
    np.testing.assert_array_equal(sparse_one.transform(table).toarray(), found)
    for other in (pl.DataFrame(columns, strict=False), pa.table(columns)):
        np.testing.assert_array_equal(clone(encoder).fit(other).transform(table), found)
        np.testing.assert_array_equal(encoder.transform(other), found)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(encoder)).transform(table), found)


def test_columns_are_the_same_without_the_iterator_of_pandas(monkeypatch):
    table = pd.DataFrame(
        {
            "number": [1.5, np.nan, 3.0],
            "integer": [1, 2, 3],
            "nullable": pd.array([1, None, 3], dtype="Int64"),
            "text": ["a", None, "b"],
            "category": pd.Categorical(["x", "y", None]),
            "flag": [True, False, True],
            "date": pd.to_datetime(["2020-01-01", None, "2021-05-05"]),
            "zoned": pd.to_datetime(["2020-01-01", None, "2021-05-05"], utc=True),
            "period": pd.period_range("2020-01", periods=3, freq="M"),
            "sparse": pd.arrays.SparseArray([0.0, 0.0, 1.0]),
        }
    )
    encoder = TableEncoder().fit(table)
    expected = [encoder.transform(rows) for rows in (table, table[1:2])]
    monkeypatch.delattr(pd.DataFrame, "_iter_column_arrays")
    for rows, encoded in zip((table, table[1:2]), expected, strict=True):
        np.testing.assert_array_equal(encoder.transform(rows), encoded)
        np.testing.assert_array_equal(TableEncoder().fit(table).transform(rows), encoded)
