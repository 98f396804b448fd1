"""What a model for tables is needed for after it has been fitted: files, graphs in ONNX, predictions in other places."""

import json
import pickle

import joblib
import numpy as np
import pytest
from sklearn import config_context
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import VotingRegressor
from sklearn.inspection import PartialDependenceDisplay, permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_html_repr

from skbackprop import BackpropTabularClassifier, BackpropTabularRegressor, load, save, to_onnx
from skbackprop.estimators._model_file import describe, restore
from skbackprop.exceptions import ModelFileError
from skbackprop.inspection import LossCurveDisplay
from skbackprop.persistence import container
from skbackprop.preprocessing import TableEncoder

pytestmark = pytest.mark.trains
pd = pytest.importorskip("pandas")

SMALL = {"n_estimators": 2, "hidden_layer_sizes": (16,), "max_iter": 5, "random_state": 0}
N_ROWS = 200


def every_kind_of_column():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "number": np.where(rng.random(N_ROWS) < 0.1, np.nan, rng.standard_normal(N_ROWS)),
            "whole": rng.integers(0, 1000, N_ROWS),
            "mostly zeros": np.where(rng.random(N_ROWS) < 0.8, 0.0, rng.exponential(size=N_ROWS)),
            "colour": pd.Categorical(rng.choice(["red", "blue", "green"], N_ROWS)),
            "code": pd.Categorical(rng.integers(0, 5, N_ROWS)),
            "grade": pd.Categorical(rng.choice([1.5, 2.0, 7.25], N_ROWS)),
            "is_new": rng.random(N_ROWS) < 0.5,
            "town": rng.choice([f"town {i}" for i in range(80)], N_ROWS),
            "day": pd.Timestamp("2019-01-01") + pd.to_timedelta(rng.integers(0, 2_000_000, N_ROWS), unit="min"),
            "here": pd.Timestamp("1985-03-01", tz="Europe/Paris")
            + pd.to_timedelta(rng.integers(0, 15_000, N_ROWS), unit="D"),
            "span": pd.to_timedelta(rng.integers(0, 1000, N_ROWS), unit="s"),
            "constant": 1.0,
        }
    )
    frame.loc[3:9, "town"] = None
    frame.loc[5:12, "day"] = pd.NaT
    frame.loc[7:8, "grade"] = None
    y = frame["number"].fillna(0) + (frame["colour"] == "red") + 0.1 * rng.standard_normal(N_ROWS)
    return frame, y.to_numpy()


def other_rows(X):
    """The same columns with levels that were not in `fit`, missing ones, and numbers of any size."""
    X = X.copy()
    X[["colour", "town"]] = X[["colour", "town"]].astype(object)
    X[["code", "grade"]] = X[["code", "grade"]].astype(float)
    X.loc[20:25, ["colour", "town"]] = "elsewhere"
    X.loc[26:30, "colour"] = None
    X.loc[31:35, "code"] = [7, np.nan, 1.5, np.inf, -1]
    X.loc[36:38, "grade"] = [2.5, 1.5, np.nan]
    X.loc[39:42, "number"] = [np.inf, -np.inf, 1e300, -1e30]
    return X


@pytest.fixture(scope="module")
def table():
    return every_kind_of_column()


@pytest.fixture(scope="module")
def models(table):
    X, y = table
    labels = np.array(["low", "middle", "high"])[np.digitize(y, [-0.3, 0.7])]
    return {
        "three classes": BackpropTabularClassifier(**SMALL).fit(X, labels),
        "two classes": BackpropTabularClassifier(**SMALL, numerical_embeddings="periodic").fit(X, y > 0),
        "numbers": BackpropTabularRegressor(**SMALL).fit(X, 1000 * y + 5),
        "two numbers": BackpropTabularRegressor(**SMALL).fit(X, np.column_stack([y, 1 - y])),
    }


NAMES = ["three classes", "two classes", "numbers", "two numbers"]


def predictions(model, X):
    return model.predict_proba(X) if hasattr(model, "classes_") else model.predict(X)


@pytest.mark.parametrize("name", NAMES)
def test_files(name, models, table, tmp_path):
    pytest.importorskip("safetensors")
    X, _ = table
    model = models[name]
    model.save(tmp_path / "model")
    loaded = load(tmp_path / "model")
    np.testing.assert_array_equal(predictions(loaded, X), predictions(model, X))
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    np.testing.assert_array_equal(loaded.predict_spread(X), model.predict_spread(X))
    assert str(loaded.get_params()) == str(model.get_params())
    save(loaded, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "model").read_bytes()
    assert loaded.fit(X[:50], np.arange(50) % 2).predict(X).shape == (N_ROWS,)


ENCODERS = [
    TableEncoder(),
    TableEncoder(max_onehot=2, high_cardinality="ordinal", dtype="float32"),
    TableEncoder(n_quantiles=9, max_onehot=4),
    TableEncoder(min_frequency=5, zero_iqr="std", categorical_features=["colour", "town", "whole"], max_onehot=100),
]


@pytest.mark.parametrize("encoder", ENCODERS)
def test_files_of_encoders(encoder, table, tmp_path):
    pytest.importorskip("safetensors")
    X, y = table
    X = X if encoder.categorical_features == "from_dtype" else X.drop(columns=["code", "grade"])
    encoder.fit(X, np.digitize(y, [0, 1]))
    save(encoder, tmp_path / "encoder")
    loaded = load(tmp_path / "encoder")
    rows = other_rows(X) if "code" in X else X
    np.testing.assert_array_equal(loaded.transform(rows), encoder.transform(rows))
    np.testing.assert_array_equal(loaded.get_feature_names_out(), encoder.get_feature_names_out())


def test_unfitted_encoders_and_those_of_ones_own_are_not_saved(table, tmp_path):
    class Own(TableEncoder):
        pass

    with pytest.raises(ValueError, match="not fitted"):
        save(TableEncoder(), tmp_path / "encoder")
    with pytest.raises(TypeError, match="no Own: use skops"):
        save(Own().fit(table[0], table[1]), tmp_path / "encoder")


def _change(name, change):
    return pytest.param(name, change, id=name)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        _change("groups_", lambda groups: [None if g is None else g + 5 for g in groups]),
        _change("sources_", lambda sources: sources + 100),
        _change("output_kinds_", lambda kinds: np.where(kinds == "number", "level", kinds)),
        _change("kinds_", lambda kinds: kinds[::-1].copy()),
        _change("scales_", lambda scales: scales * np.inf),
        _change("categories_", lambda levels: [None if column is None else column[:1] for column in levels]),
        _change("encodings_", lambda encodings: [None if e is None else e[:, :0] for e in encodings]),
        _change("n_features_in_", lambda n: n + 1),
        _change("quantiles_", lambda quantiles: [knots[:, ::-1] for knots in quantiles]),
        _change("output_kinds_", lambda kinds: np.where(kinds == "week", "number", kinds)),
    ],
)
def test_what_does_not_fit_together_is_refused(name, change, table, tmp_path):
    pytest.importorskip("safetensors")
    X, y = table
    encoder = TableEncoder(n_quantiles=9).fit(X, y)
    save(encoder, tmp_path / "encoder")
    setattr(encoder, name, change(getattr(encoder, name)))
    with pytest.raises(ValueError, match="load would refuse it"):
        save(encoder, tmp_path / "encoder")
    assert load(tmp_path / "encoder").n_features_in_ == X.shape[1]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        _change("temperatures_", lambda temperatures: -temperatures),
        _change("classes_", lambda classes: classes[:1]),
        _change("estimators_", lambda networks: []),
        _change("encoder_", lambda encoder: TableEncoder()),
        _change("n_features_in_", lambda n: n + 1),
    ],
)
def test_models_that_do_not_fit_together_are_refused(name, change, models, tmp_path):
    pytest.importorskip("safetensors")
    model = pickle.loads(pickle.dumps(models["three classes"]))
    setattr(model, name, change(getattr(model, name)))
    with pytest.raises(ValueError, match="load would refuse it"):
        model.save(tmp_path / "model")


@pytest.mark.filterwarnings("ignore:X has feature names")
def test_what_is_loaded_can_be_used(table):
    X, y = table
    arrays, rng = {}, np.random.default_rng(0)
    tree = describe(TableEncoder().fit(X, y), arrays)
    n_refused = 0
    for _ in range(300):
        changed = {name: array.copy() for name, array in arrays.items()}
        array = changed[rng.choice(list(arrays))].reshape(-1)
        array[rng.integers(array.size)] = rng.choice([-1, 0, 1, 2, 5, 100])
        attributes = {name: 3 if rng.random() < 0.02 else value for name, value in tree["attributes"].items()}
        try:
            encoder = restore(TableEncoder(), attributes, changed)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError):
            n_refused += 1
            continue
        encoder.transform(X)
        encoder.get_feature_names_out()
    assert 0 < n_refused < 300


def test_files_name_no_other_classes(models, tmp_path):
    pytest.importorskip("safetensors")
    models["numbers"].save(tmp_path / "model")
    kind, content, arrays = container.read(tmp_path / "model")
    text = json.dumps(content)
    assert '"sklearn": "TargetEncoder"' in text
    forged = json.loads(text.replace('"sklearn": "KFold"', '"sklearn": "Pipeline"'))
    container.write(tmp_path / "forged", kind, forged, arrays)
    with pytest.raises(ModelFileError, match="Pipeline"):
        load(tmp_path / "forged")


@pytest.mark.parametrize("name", NAMES)
def test_skops_asks_for_this_package_only(name, models, table):
    io = pytest.importorskip("skops.io")
    X, _ = table
    dumped = io.dumps(models[name])
    untrusted = io.get_untrusted_types(data=dumped)
    assert all(type_.startswith(("skbackprop.", "sklearn.model_selection.")) for type_ in untrusted)
    np.testing.assert_array_equal(predictions(io.loads(dumped, trusted=untrusted), X), predictions(models[name], X))


def test_other_processes(models, table):
    X, _ = table
    model = models["three classes"]
    (found,) = joblib.Parallel(n_jobs=2, backend="loky")([joblib.delayed(model.predict_proba)(X)])
    np.testing.assert_array_equal(found, model.predict_proba(X))


def test_pickled_searches(table):
    X, y = table
    search = GridSearchCV(BackpropTabularRegressor(**SMALL), {"dropout": [0.0, 0.1]}, cv=2).fit(X, y)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(search)).predict(X), search.predict(X))


def test_second_fits_leave_nothing_of_the_first(table):
    X, y = table
    model = BackpropTabularClassifier(**SMALL).fit(X, np.digitize(y, [-1, 0, 1]))
    numbers = X[["number", "whole"]].to_numpy()
    model.fit(numbers, y > 0)
    assert not hasattr(model, "feature_names_in_")
    assert model.predict(numbers).dtype == bool
    fresh = BackpropTabularClassifier(**SMALL).fit(numbers, y > 0)
    np.testing.assert_array_equal(model.predict_proba(numbers), fresh.predict_proba(numbers))


def test_columns_of_other_types_than_in_fit(models, table):
    polars, pyarrow = pytest.importorskip("polars"), pytest.importorskip("pyarrow")
    X, _ = table
    model = models["three classes"]
    expected = model.predict_proba(X)
    other = X.assign(colour=X["colour"].astype(object), whole=X["whole"].astype(float), code=X["code"].astype("Int64"))
    other = other.assign(is_new=X["is_new"].astype("boolean"), town=X["town"].astype("category"))
    for frame in (other, polars.from_pandas(X), pyarrow.Table.from_pandas(X, preserve_index=False)):
        np.testing.assert_array_equal(model.predict_proba(frame), expected)
    assert model.predict(X.assign(number=3)).shape == (N_ROWS,)


def test_read_only_arrays(table):
    _, y = table
    X, labels, weights = np.random.default_rng(0).standard_normal((N_ROWS, 3)), y > 0, np.ones(N_ROWS)
    for array in (X, labels, weights):
        array.setflags(write=False)
    assert BackpropTabularClassifier(**SMALL).fit(X, labels, weights).predict(X).shape == (N_ROWS,)


def test_changed_weights_are_seen(models, table):
    X, _ = table
    model = pickle.loads(pickle.dumps(models["numbers"]))
    before = model.predict(X)
    network = model.estimators_[0]
    network.coefs_ = [0 * coef for coef in network.coefs_]
    assert (model.predict(X) != before).any()


def test_scorers_of_networks_are_no_part_of_files(models, table, tmp_path):
    pytest.importorskip("safetensors")
    model = models["three classes"]
    scorer = model.estimators_[0].scoring
    assert callable(scorer)
    assert b"scaled_log_loss" not in pickle.dumps(model)
    model.save(tmp_path / "model")
    for other in (load(tmp_path / "model"), pickle.loads(pickle.dumps(model))):
        assert all(network.scoring is scorer for network in other.estimators_)
    assert all(network.scoring == "loss" for network in models["numbers"].estimators_)


def test_html_shows_the_encoder_and_the_networks(models):
    assert "TableEncoder" not in estimator_html_repr(BackpropTabularClassifier())
    text = estimator_html_repr(models["three classes"])
    for part in ("BackpropTabularClassifier", "TableEncoder", "network 1", "network 2", "BackpropClassifier"):
        assert part in text


def test_curves_of_networks(models):
    pytest.importorskip("matplotlib").use("agg")
    ax = None
    for number, network in enumerate(models["three classes"].estimators_):
        display = LossCurveDisplay.from_estimator(network, ax=ax, name=f"network {number}")
        ax = display.ax_
    assert len(ax.lines) >= 2


def test_importances_of_raw_columns(table):
    X, y = table
    model = BackpropTabularRegressor(**{**SMALL, "max_iter": 60}).fit(X, y)
    found = permutation_importance(model, X, y, n_repeats=2, random_state=0)
    importances = dict(zip(X, found.importances_mean, strict=True))
    assert importances["constant"] == 0
    assert importances["number"] == max(importances.values())


def test_dependence_on_raw_columns(models, table):
    pytest.importorskip("matplotlib").use("agg")
    # scikit-learn's grids have no place for missing numbers.
    X = table[0].fillna({"number": 0.0})
    columns = ["number", "mostly zeros", "colour", "code", "is_new", ("number", "mostly zeros"), ("colour", "code")]
    display = PartialDependenceDisplay.from_estimator(
        models["numbers"], X, columns, categorical_features=["colour", "code", "is_new"], grid_resolution=4
    )
    averages = [found["average"] for found in display.pd_results]
    assert [average.shape[1:] for average in averages] == [(4,), (4,), (3,), (5,), (2,), (4, 4), (3, 5)]
    assert all(np.ptp(average) > 0 for average in averages)


def test_outputs_of_transformers_are_set_for_all(table):
    X, y = table
    expected = BackpropTabularClassifier(**SMALL).fit(X, y > 0).predict_proba(X)
    for library in ("pandas", "polars"):
        pytest.importorskip(library)
        with config_context(transform_output=library):
            model = BackpropTabularClassifier(**SMALL).fit(X, y > 0)
            np.testing.assert_array_equal(model.predict_proba(X), expected)


def test_metadata_is_routed(table):
    X, y = table
    weights, groups = np.linspace(0, 2, N_ROWS), np.arange(N_ROWS) // 20
    with config_context(enable_metadata_routing=True):
        model = (
            BackpropTabularRegressor(**SMALL).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        )
        search = GridSearchCV(model, {"max_iter": [3]}, cv=GroupKFold(2))
        search.fit(X, y, sample_weight=weights, groups=groups)
        weighted = make_pipeline(model).fit(X, y, sample_weight=weights)
    expected = BackpropTabularRegressor(**SMALL).fit(X, y, weights).predict(X)
    np.testing.assert_array_equal(weighted.predict(X), expected)


# Graphs in ONNX.


def session(model, X=None, **settings):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("skl2onnx")
    graph = to_onnx(model, X, **settings)
    return onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])


TYPES = {
    "tensor(double)": "f8",
    "tensor(float)": "f4",
    "tensor(int64)": "i8",
    "tensor(bool)": "?",
    "tensor(string)": "O",
}


def fed(graph, X):
    """The columns as a user converts them."""
    columns = {}
    for one, name in zip(graph.get_inputs(), X, strict=True):
        column = X[name]
        if column.dtype.kind == "M":
            column = column.dt.tz_localize(None).astype("datetime64[us]").to_numpy()
        elif column.dtype.kind == "m":
            column = column.dt.total_seconds()
        columns[one.name] = np.asarray(column).astype(TYPES[one.type]).reshape(-1, 1)
    return columns


@pytest.mark.parametrize("name", NAMES)
def test_graphs_of_raw_columns(name, models, table):
    X, model = other_rows(table[0]), models[name]
    graph = session(model, X)
    *labels, found = graph.run(None, fed(graph, X))
    expected = predictions(model, X).reshape(N_ROWS, -1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * np.abs(expected).max())
    for label in labels:
        np.testing.assert_array_equal(label, model.predict(X))
    if not labels:
        low, high = np.reshape(model.target_range_, (2, -1))
        assert (low <= found).all()
        assert (found <= high).all()


@pytest.mark.parametrize("encoder", ENCODERS[:3])
def test_graphs_of_encoders(encoder, table):
    X, y = table
    encoder.fit(X, np.digitize(y, [0, 1]))
    for rows, given in ((X.drop(index=[7, 8]), None), (other_rows(X), other_rows(X))):
        graph = session(encoder, given)
        (found,) = graph.run(None, fed(graph, rows))
        expected = encoder.transform(rows)
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_inputs_of_graphs(models, table):
    X, _ = table
    types = {one.name: one.type for one in session(models["numbers"]).get_inputs()}
    assert list(types) == [name.replace(" ", "_") for name in X]
    of_columns = {"number": "double", "whole": "double", "colour": "string", "code": "int64", "grade": "double"}
    for name, type_ in (of_columns | {"is_new": "bool", "day": "int64", "span": "double"}).items():
        assert types[name] == f"tensor({type_})"
    types = {one.name: one.type for one in session(models["numbers"], X.astype({"number": "f4"})).get_inputs()}
    assert (types["number"], types["whole"]) == ("tensor(float)", "tensor(int64)")


# Leap years, those of centuries, and the seconds around New Year.
DATES = [
    "0004-02-29",
    "1600-12-31T23:59:59",
    "1899-12-31",
    "1900-01-01",
    "1900-02-28",
    "1900-03-01",
    "1969-12-31T23:59:59",
]
DATES += ["1970-01-01", "2000-02-29T12:00", "2000-12-31", "2024-12-31T23:59:59.999999", "2100-03-01", "9999-12-31"]


@pytest.mark.parametrize("n_quantiles", [None, 9])
def test_calendars_in_graphs(n_quantiles):
    X = np.array(DATES, dtype="datetime64[us]")[:, np.newaxis]
    encoder = TableEncoder(n_quantiles=n_quantiles).fit(X)
    graph = session(encoder)
    (found,) = graph.run(None, {"x0": np.vstack([X, np.full((1, 1), "NaT", X.dtype)]).astype(np.int64)})
    np.testing.assert_allclose(found[:-1], encoder.transform(X), rtol=0, atol=1e-9)
    np.testing.assert_array_equal(found[-1, encoder.output_kinds_ != "quantile"], 0)


def test_graphs_of_arrays(table):
    X = table[0][["number", "whole", "mostly zeros"]].to_numpy()
    model = BackpropTabularRegressor(**SMALL).fit(X, table[1])
    for dtype in (np.float64, np.float32):
        graph = session(model, X.astype(dtype))
        (found,) = graph.run(None, {"X": X.astype(dtype)})
        np.testing.assert_allclose(found[:, 0], model.predict(X.astype(dtype)), rtol=0, atol=1e-5)
    calibrated = CalibratedClassifierCV(BackpropTabularClassifier(**SMALL), cv=2).fit(X, table[1] > 0)
    _, found = session(calibrated, X, options={"zipmap": False}).run(None, {"X": X})
    np.testing.assert_allclose(found, calibrated.predict_proba(X), rtol=0, atol=1e-6)


def test_graphs_of_what_is_around(table):
    X, y = table
    X = X.drop(index=[7, 8])
    y = y[X.index]
    pipeline = make_pipeline(TableEncoder(), LogisticRegression()).fit(X, y > 0)
    graph = session(pipeline, options={"zipmap": False})
    np.testing.assert_allclose(graph.run(None, fed(graph, X))[1], pipeline.predict_proba(X), rtol=0, atol=1e-6)
    voting = VotingRegressor([("a", BackpropTabularRegressor(**SMALL))]).fit(X, y)
    graph = session(voting)
    np.testing.assert_allclose(graph.run(None, fed(graph, X))[0][:, 0], voting.predict(X), rtol=0, atol=1e-5)
    search = GridSearchCV(BackpropTabularRegressor(**SMALL), {"max_iter": [2]}, cv=2).fit(X, y)
    graph = session(search)
    np.testing.assert_allclose(graph.run(None, fed(graph, X))[0][:, 0], search.predict(X), rtol=0, atol=1e-5)
    calibrated = CalibratedClassifierCV(BackpropTabularClassifier(**SMALL), cv=2).fit(X, y > 0)
    with pytest.raises(ValueError, match="around a single input, and a table has one for each column"):
        to_onnx(calibrated)


@pytest.mark.filterwarnings("ignore:100% of the units")
def test_graphs_without_a_column():
    X = pd.DataFrame({"a": [1.0] * 40})
    model = BackpropTabularClassifier(**SMALL).fit(X, np.arange(40) % 2)
    _, found = session(model).run(None, {"a": np.ones((3, 1))})
    np.testing.assert_allclose(found, model.predict_proba(X[:3]), rtol=0, atol=1e-6)


def test_inputs_of_another_kind_are_refused(models, table):
    types = pytest.importorskip("skl2onnx").common.data_types
    X, y = table
    model = BackpropTabularRegressor(**SMALL).fit(X[["day", "town"]], y)
    text, number = types.StringTensorType([None, 1]), types.DoubleTensorType([None, 1])
    with pytest.raises(ValueError, match=r"column 'day' held dates in fit: give it as int64, microseconds"):
        to_onnx(model, initial_types=[("day", number), ("town", text)])
    with pytest.raises(ValueError, match=r"column 'town' held categories that are text in fit"):
        to_onnx(model, initial_types=[("day", types.Int64TensorType([None, 1])), ("town", number)])
