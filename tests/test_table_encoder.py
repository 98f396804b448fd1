"""Tables as numbers: what becomes of each kind of column, from any library, and what is refused."""

import copy
import datetime
import decimal
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.preprocessing import OneHotEncoder, RobustScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from skbackprop.preprocessing import TableEncoder

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
        TableEncoder(categorical_features=None, zero_iqr="indicator"),
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
    table = pd.DataFrame({"city": [f"c{i}" for i in rng.integers(20, size=200)]})
    y = rng.normal(size=200)
    with pytest.raises(ValueError, match=r"column 'city' has more than max_onehot=12 levels.*pass y to fit"):
        TableEncoder().fit(table)
    assert TableEncoder().fit_transform(table, y).shape == (200, 1)
    assert TableEncoder(max_onehot=None).fit_transform(table).shape == (200, 20)
    codes = TableEncoder(high_cardinality="ordinal").fit_transform(table)[:, 0]
    assert set(codes) == set(range(1, 21))


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
    with pytest.raises(TypeError, match="column 'b' held categories in fit, and holds numbers now"):
        encoder.transform(pd.DataFrame({"a": [1.0], "b": [1.0]}))


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
