"""Estimators on Spark: a real session with two tasks at a time."""

import os
import shutil
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

from skbackprop import BackpropClassifier, BackpropRegressor
from skbackprop.exceptions import WorkerLostError

pyspark = pytest.importorskip("pyspark", reason="pyspark is not installed")
pytest.importorskip("pyarrow", reason="pyarrow is not installed")
pytest.importorskip("xgboost", reason="xgboost is not installed")
if shutil.which("java") is None:
    pytest.skip("Java is not installed", allow_module_level=True)

import killing  # noqa: E402
from pyspark import cloudpickle  # noqa: E402
from pyspark.ml import Pipeline, PipelineModel  # noqa: E402
from pyspark.ml.evaluation import MulticlassClassificationEvaluator, RegressionEvaluator  # noqa: E402
from pyspark.ml.feature import VectorAssembler  # noqa: E402
from pyspark.ml.linalg import Vectors  # noqa: E402
from pyspark.ml.tuning import CrossValidator, ParamGridBuilder  # noqa: E402
from pyspark.sql import SparkSession  # noqa: E402
from pyspark.sql import functions as F  # noqa: E402, N812

import skbackprop.spark  # noqa: E402
from skbackprop.spark import (  # noqa: E402
    SparkBackpropClassificationModel,
    SparkBackpropClassifier,
    SparkBackpropRegressionModel,
    SparkBackpropRegressor,
)

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.process,
    pytest.mark.trains,
    pytest.mark.filterwarnings("ignore"),
]

X, Y = load_digits(return_X_y=True)
X, Y = X[:400, :20] / 16, Y[:400] % 3
NUMBERS = X @ np.random.RandomState(0).rand(20)
NAMES = [f"pixel{index}" for index in range(20)]
SETTINGS = {"hidden_layer_sizes": (8,), "max_iter": 5, "random_state": 0, "dtype": "float64", "batch_size": 400}
PARAMS = {"hiddenLayerSizes": (8,), "maxIter": 5, "randomState": 0, "dtype": "float64", "batchSize": 400}


@pytest.fixture(scope="module")
def spark():
    os.environ["PYSPARK_PYTHON"] = sys.executable
    settings = {"spark.ui.enabled": "false", "spark.sql.shuffle.partitions": "2", "spark.driver.host": "127.0.0.1"}
    builder = SparkSession.builder.master("local[2]")
    for name, value in settings.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    yield session
    session.stop()


@pytest.fixture(scope="module")
def frame(spark):
    rows = [
        (Vectors.dense(row), *row.tolist(), float(label), float(number), float(index % 3 + 1), index % 4 == 0)
        for index, (row, label, number) in enumerate(zip(X, Y, NUMBERS, strict=True))
    ]
    return spark.createDataFrame(rows, ["features", *NAMES, "label", "number", "weight", "held_out"]).cache()


def assert_same(model, other, tolerance=0.0):
    for name in ("coefs_", "intercepts_"):
        for array, expected in zip(getattr(model, name), getattr(other, name), strict=True):
            np.testing.assert_allclose(array, expected, rtol=tolerance, atol=tolerance)


def predicted(model, frame, *columns):
    rows = model.transform(frame).select(*columns).collect()
    return [np.array([row[column] for row in rows]) for column in columns]


def test_the_model_of_one_machine(spark, frame, tmp_path):
    model = SparkBackpropClassifier(**PARAMS).fit(frame)
    local = model.to_local()
    assert_same(local, BackpropClassifier(**SETTINGS).fit(X, Y.astype(float)), 1e-12)
    assert model.numClasses == 3
    labels, probabilities, raw = predicted(model, frame, "prediction", "probability", "rawPrediction")
    np.testing.assert_array_equal(labels, local.predict(X))
    np.testing.assert_array_equal(probabilities, local.predict_proba(X))
    np.testing.assert_array_equal(raw, local.decision_function(X))
    accuracy = MulticlassClassificationEvaluator(metricName="accuracy").evaluate(model.transform(frame))
    assert accuracy == pytest.approx(local.score(X, Y))
    model.write().overwrite().save(f"file://{tmp_path}/model")
    loaded = SparkBackpropClassificationModel.load(f"file://{tmp_path}/model")
    assert (loaded.uid, loaded.getHiddenLayerSizes()) == (model.uid, [8])
    np.testing.assert_array_equal(predicted(loaded, frame, "probability")[0], probabilities)
    assert_same(loaded.to_local(), local)


def test_batches_are_normalized_over_all_tasks(frame):
    local = SparkBackpropClassifier(**PARAMS | {"normalization": "batch"}).fit(frame).to_local()
    whole = BackpropClassifier(**SETTINGS, normalization="batch").fit(X, Y.astype(float))
    assert_same(local, whole, 1e-12)
    np.testing.assert_allclose(local.running_variances_[0], whole.running_variances_[0], rtol=1e-12)


def test_the_same_rows_give_the_same_bits(frame):
    estimator = SparkBackpropClassifier(**PARAMS | {"batchSize": 32})
    model = estimator.fit(frame).to_local()
    assert_same(estimator.fit(frame).to_local(), model)
    # As arrays, and as a list of columns.
    arrays = frame.withColumn("features", F.array(*NAMES))
    assert_same(estimator.fit(arrays).to_local(), model)
    assert_same(estimator.copy().setFeaturesCol(NAMES).fit(frame).to_local(), model)
    # Rows that Spark has sent around come in any order.
    moved = frame.repartition(5, "pixel2", "pixel3")
    assert_same(estimator.fit(moved).to_local(), estimator.fit(moved).to_local())


def test_weights_and_validation_rows(frame):
    params = PARAMS | {"weightCol": "weight", "validationIndicatorCol": "held_out", "earlyStopping": True}
    estimator = SparkBackpropRegressor(**params, labelCol="number", standardizeTarget=True, numWorkers=2)
    estimator.setBatchSize(300)
    model = estimator.fit(frame).to_local()
    index = np.arange(400)
    weight, held_out = index % 3 + 1.0, index % 4 == 0
    settings = SETTINGS | {"early_stopping": True, "standardize_target": True, "batch_size": 300}
    whole = BackpropRegressor(**settings).fit(
        X[~held_out], NUMBERS[~held_out], weight[~held_out],
        X_val=X[held_out], y_val=NUMBERS[held_out], sample_weight_val=weight[held_out],
    )  # fmt: skip
    assert_same(model, whole, 1e-12)
    np.testing.assert_allclose(model.validation_scores_, whole.validation_scores_, rtol=1e-9)


def test_pipelines_searches_and_files(frame, tmp_path):
    frame = frame.drop("features")
    network = SparkBackpropRegressor(**PARAMS, labelCol="number")
    pipeline = Pipeline(stages=[VectorAssembler(inputCols=NAMES, outputCol="features"), network])
    evaluator = RegressionEvaluator(labelCol="number", metricName="r2")
    grid = ParamGridBuilder().addGrid(network.learningRateInit, [1e-3, 1e-1]).build()
    search = CrossValidator(estimator=pipeline, estimatorParamMaps=grid, evaluator=evaluator, numFolds=2, seed=0)
    found = search.fit(frame)
    assert found.avgMetrics[1] > found.avgMetrics[0]
    best = found.bestModel.stages[-1]
    assert isinstance(best, SparkBackpropRegressionModel)
    assert best.getLearningRateInit() == 0.1
    found.bestModel.write().save(f"file://{tmp_path}/pipeline")
    loaded = PipelineModel.load(f"file://{tmp_path}/pipeline")
    np.testing.assert_array_equal(
        predicted(loaded, frame, "prediction")[0], predicted(found.bestModel, frame, "prediction")[0]
    )


def test_parameters(frame):
    estimator = SparkBackpropClassifier(alpha=0.5)
    assert estimator.getAlpha() == 0.5
    assert estimator.getMaxIter() == 200
    assert estimator.setMaxIter(3) is estimator
    assert "hidden_layer_sizes of BackpropClassifier" in estimator.explainParam("hiddenLayerSizes")
    with pytest.raises(TypeError, match="max_iter"):
        SparkBackpropClassifier(max_iter=3)
    with pytest.raises(ValueError, match="alpha"):
        SparkBackpropClassifier(alpha=-1.0).fit(frame)


@pytest.mark.parametrize(
    ("params", "change", "words"),
    [
        ({}, lambda frame: frame.withColumn("label", F.lit("a")), "StringIndexer"),
        ({}, lambda frame: frame.filter("label < 0"), "the dataset has no rows"),
        (
            {"featuresCol": "list"},
            lambda frame: frame.withColumn("list", F.lit(None).cast("array<double>")),
            "features column has",
        ),
        (
            {"featuresCol": "list"},
            lambda frame: frame.withColumn("list", F.array_repeat(F.lit(1.0), (1 + F.col("label")).cast("int"))),
            "not all have",
        ),
        ({}, lambda frame: frame.withColumn("label", F.when(F.col("label") > 0, F.col("label"))), "label column has"),
        ({"featuresCol": NAMES}, lambda frame: frame.withColumn("pixel3", F.lit(float("nan"))), "contains NaN"),
        ({"device": "auto"}, lambda frame: frame, "set device='cpu'"),
    ],
    ids=["text", "empty", "nulls", "lengths", "null", "nan", "device"],
)
def test_data_that_do_not_fit_are_refused_on_the_driver(frame, params, change, words):
    with pytest.raises(ValueError, match=words):
        SparkBackpropClassifier(**PARAMS | params).fit(change(frame))


class _Faulty(skbackprop.spark._Training):
    """A task with faults at some of its sums."""

    def __init__(self, faults, *arguments):
        super().__init__(*arguments)
        self.faults = faults

    def _fit(self, rank, batches):
        act, arguments, number = self.faults.get(rank, (lambda: None, (), 0))
        killing.at("sum", act, *arguments, number=number)
        try:
            return super()._fit(rank, batches)
        finally:
            killing.restore()


@pytest.fixture
def faulty(monkeypatch):
    """A function that prepares the tasks of the next fit: what is called, by rank, with which arguments, from which sum on."""
    # Spark's workers cannot import these modules.
    for module in (sys.modules[__name__], killing):
        cloudpickle.register_pickle_by_value(module)
    return lambda faults: monkeypatch.setattr(
        skbackprop.spark, "_Training", lambda *arguments: _Faulty(faults, *arguments)
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda frame: frame,
        lambda frame: frame.repartition(2).cache(),
        lambda frame: frame.repartition(5, "pixel2", "pixel3"),
    ],
    ids=["in place", "moved", "moved by the fit"],
)
def test_a_task_that_is_killed_changes_no_bit(frame, tmp_path, faulty, change):
    frame = change(frame)
    estimator = SparkBackpropClassifier(**PARAMS | {"batchSize": 20, "maxIter": 50, "nIterNoChange": 1000})
    undisturbed = estimator.fit(frame).to_local()
    (tmp_path / "once").touch()
    faulty({1: (killing.kill, (tmp_path,), 300)})
    model = estimator.fit(frame).to_local()
    assert not list(tmp_path.iterdir())
    assert_same(model, undisturbed)


def test_tasks_that_are_killed_again_and_again(frame, tmp_path, faulty):
    for number in range(10):
        (tmp_path / str(number)).touch()
    faulty({1: (killing.kill, (tmp_path,), 0)})
    with pytest.raises(WorkerLostError, match="4 trainings in a row; the last one ended with: "):
        SparkBackpropClassifier(**PARAMS).fit(frame)
    assert len(list(tmp_path.iterdir())) == 10 - 4


def test_tasks_that_train_listen_only_where_spark_does(frame, tmp_path, faulty):
    pytest.importorskip("psutil", reason="psutil is not installed")
    faulty({rank: (killing.write_hosts, (tmp_path / str(rank),), 4) for rank in range(2)})
    SparkBackpropClassifier(**PARAMS).fit(frame)
    assert [path.read_text(encoding="utf-8") for path in tmp_path.iterdir()] == ["", ""]


def test_a_driver_that_tasks_cannot_reach(frame, monkeypatch):
    monkeypatch.setattr(skbackprop.spark.Tracker, "__init__", _begin_and_end)
    with pytest.raises(
        WorkerLostError, match=r"a task cannot reach the driver at 127.0.0.1:\d+, .* set spark.driver.host"
    ):
        SparkBackpropClassifier(**PARAMS).fit(frame)


def _begin_and_end(tracker, host, size, begin=skbackprop.spark.Tracker.__init__):
    begin(tracker, host, size)
    assert tracker.address
    tracker.close()


def _note(path):
    with open(path, "a", encoding="utf-8") as file:
        file.write("x")


def test_a_training_goes_on_from_the_last_checkpoint(spark, frame, tmp_path, monkeypatch, faulty):
    estimator = SparkBackpropClassifier(**PARAMS | {"batchSize": 20, "maxIter": 100, "nIterNoChange": 1000})
    undisturbed = estimator.fit(frame).to_local()
    (tmp_path / "kills").mkdir()
    (tmp_path / "kills" / "once").touch()
    monkeypatch.setattr(skbackprop.spark, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    faulty({0: (_note, (tmp_path / "sums",), 0), 1: (killing.kill, (tmp_path / "kills",), 1800)})
    model = estimator.fit(frame).to_local()
    assert_same(model, undisturbed)
    assert not list((tmp_path / "kills").iterdir())
    assert 2000 < (tmp_path / "sums").stat().st_size < 3000
    assert not [name for name in os.listdir(pyspark.SparkFiles.getRootDirectory()) if "skbackprop-fit" in name]
