"""The estimators on Spark: they train in the tasks of a barrier stage, and predict batches of rows in Arrow's format.

Names of parameters, columns and methods are those of :mod:`pyspark.ml`; ``hiddenLayerSizes`` is `hidden_layer_sizes`.
"""

import pickle
import re
import socket
import tempfile
import uuid
from contextlib import closing
from inspect import signature
from pathlib import Path

import numpy as np

from skbackprop._extras import how_to_install
from skbackprop.distributed import MOST_RESTARTS, SECONDS_BETWEEN_CHECKPOINTS, FileStore, cause_of, fit_part
from skbackprop.distributed._rabit import RabitCollective, Tracker, check_installed
from skbackprop.estimators import BackpropClassifier, BackpropRegressor, load
from skbackprop.exceptions import WorkerLostError
from skbackprop.training.warned import WarningSummary, summarized, warn

try:
    import pandas as pd
    import pyarrow as pa
    from py4j.protocol import Py4JJavaError
    from pyspark import BarrierTaskContext, SparkContext, SparkFiles
    from pyspark.errors import PySparkException
    from pyspark.ml import Estimator, Model
    from pyspark.ml.functions import array_to_vector, vector_to_array
    from pyspark.ml.linalg import VectorUDT
    from pyspark.ml.param import Param, Params, TypeConverters
    from pyspark.ml.param.shared import (
        HasLabelCol,
        HasPredictionCol,
        HasProbabilityCol,
        HasRawPredictionCol,
        HasValidationIndicatorCol,
        HasWeightCol,
    )
    from pyspark.ml.util import DefaultParamsReader, DefaultParamsWriter, MLReadable, MLReader, MLWritable, MLWriter
    from pyspark.sql import functions as F  # noqa: N812
    from pyspark.sql.types import NumericType
except ImportError as error:
    raise ImportError(
        f"skbackprop.spark needs pyspark, pandas and pyarrow ({error}): {how_to_install('spark')}"
    ) from None

__all__ = [
    "SparkBackpropClassificationModel",
    "SparkBackpropClassifier",
    "SparkBackpropRegressionModel",
    "SparkBackpropRegressor",
]

# How long a task tries to reach the driver.
_SECONDS_TO_REACH = 30

_FEATURES, _LABEL, _WEIGHT, _IS_VALIDATION = "features", "label", "weight", "is_validation"


# In the tasks.


class _Training:
    """The function of a task: fit this partition's rows, together with all other tasks of the stage.

    Parameters
    ----------
    estimator : BaseBackprop
    size : int
        Number of tasks.
    seconds_between_checkpoints : float
    """

    #: Of the tracker, which each attempt has anew.
    address: tuple[str, int]
    #: Whether Spark has sent rows around, so that their order is by chance; of each attempt, too.
    is_shuffled: bool

    def __init__(self, estimator, size, seconds_between_checkpoints):
        self.name = f"skbackprop-fit-{uuid.uuid4().hex}"
        self.seconds = seconds_between_checkpoints
        self.estimator, self.size = estimator, size

    def __call__(self, batches):
        rank = BarrierTaskContext.get().partitionId()
        try:
            result = self._fit(rank, list(batches))
        except WorkerLostError:
            # The next attempt goes on from the checkpoint.
            raise
        except Exception as error:
            # As a result, so that the driver raises it as it is, and Spark does not try again what will fail again.
            result = error
        self._store().remove()
        yield pa.RecordBatch.from_pydict({"rank": pa.array([rank], pa.int32()), "result": [pickle.dumps(result)]})

    def _store(self):
        # In the application's own folder on each machine, which Spark removes at the end. Tasks of a machine share the file.
        return FileStore(Path(SparkFiles.getRootDirectory()) / self.name)

    def _fit(self, rank, batches):
        _check_reached(self.address)
        summary = WarningSummary()
        with summarized(summary), RabitCollective(self.address, rank, self.size) as workers:
            arguments = self._arguments(batches, workers) | {"store": self._store(), "seconds": self.seconds}
            model = fit_part(self.estimator, workers, **arguments)
        return (model, summary.messages()) if rank == 0 else None

    def _arguments(self, batches, workers):
        """Return the arguments of `fit` for the rows of Arrow batches, which may be none."""
        batches = [batch for batch in batches if len(batch)]
        names = batches[0].schema.names if batches else [_FEATURES, _LABEL]
        for batch in batches:
            for name in names:
                if batch.column(name).null_count:
                    n_nulls = batch.column(name).null_count
                    raise ValueError(f"the {name} column has {n_nulls} nulls in a batch of {len(batch)} rows")
        found = workers.gather([len(batch.column(_FEATURES)[0]) for batch in batches[:1]])
        if not any(found):
            raise ValueError("the dataset has no rows")
        n_features = next(own[0] for own in found if own)
        columns = {name: [] for name in names}
        for batch in batches:
            for name, own in columns.items():
                column = batch.column(name)
                own.append(_rows(column, n_features) if name == _FEATURES else column.to_numpy(zero_copy_only=False))
        if not batches:
            return {"X": np.empty((0, n_features)), "y": np.empty(0)}
        columns = {name: np.concatenate(own) for name, own in columns.items()}
        if self.is_shuffled:
            order = _canonical_order(columns)
            columns = {name: column[order] for name, column in columns.items()}
        is_validation = columns.pop(_IS_VALIDATION, None)
        parts = {"": slice(None)}
        if is_validation is not None:
            parts = {"": ~is_validation.astype(bool), "_val": is_validation.astype(bool)}
        names = {_FEATURES: "X", _LABEL: "y", _WEIGHT: "sample_weight"}
        return {f"{names[name]}{end}": columns[name][rows] for end, rows in parts.items() for name in columns}


def _rows(column, n_features):
    values = column.flatten()
    if values.null_count or len(values) != len(column) * n_features:
        raise ValueError(f"rows of features have nulls, or not all have {n_features} values")
    return values.to_numpy(zero_copy_only=False).reshape(len(column), n_features)


def _check_reached(address):
    """Raise WorkerLostError if there is no way to the driver: XGBoost would try for as long as it waits for workers."""
    try:
        socket.create_connection(address, timeout=_SECONDS_TO_REACH).close()
    except OSError as error:
        raise WorkerLostError(
            f"a task cannot reach the driver at {address[0]}:{address[1]}, where tasks meet ({error}): set spark.driver.host to an "
            "address of the driver that executors reach, and let them connect to any of its ports"
        ) from None


def _canonical_order(columns):
    """Return an order of rows that depends on their values only; those of equal rows does not matter."""
    table = np.column_stack([column.reshape(len(column), -1).astype(np.float64) for column in columns.values()])
    keys = np.ascontiguousarray(table).view(np.dtype((np.void, table.itemsize * table.shape[1])))
    return np.argsort(keys.ravel(), kind="stable")


# On the driver.


def _collected(training, plan):
    """Run a training, again if a task is lost, which ends the stage: Spark does not begin that again."""
    settings = SparkContext.getOrCreate().getConf()
    host = settings.get("spark.driver.host")
    for _ in range(MOST_RESTARTS + 1):
        # Where Spark's own ports of the driver are, which is elsewhere only if that is set.
        with closing(Tracker(settings.get("spark.driver.bindAddress", host), training.size)) as tracker:
            # While the tracker begins, and for each attempt: after a shuffle, a dataframe raises its first error again
            # without running anything.
            rows, training.is_shuffled = plan()
            training.address = host, tracker.address[1]
            trained = rows.mapInArrow(training, "rank int, result binary", barrier=True)
            try:
                return trained.collect()
            except (Py4JJavaError, PySparkException) as error:
                if "barrier" not in str(error):
                    raise
                lost = error
    raise WorkerLostError(
        f"tasks were lost in {MOST_RESTARTS + 1} trainings in a row; the last one ended with: {lost}"
    ) from lost


def _camel(name):
    return re.sub(r"_(\w)", lambda match: match[1].upper(), name)


def _columns(value):
    """Convert `featuresCol`: the name of a column, or a list of names."""
    return value if isinstance(value, str) else [str(name) for name in value]


class _Columns(HasLabelCol, HasPredictionCol, HasWeightCol, HasValidationIndicatorCol):
    """Columns and parameters that an estimator and its model share."""

    featuresCol = Param(  # noqa: N815
        Params._dummy(), "featuresCol", "name of a vector or array column, or list of numeric columns", _columns
    )
    numWorkers = Param(Params._dummy(), "numWorkers", "number of tasks that train together", TypeConverters.toInt)  # noqa: N815

    #: The estimator on one machine.
    _local: type

    def __init_subclass__(cls, **settings):
        super().__init_subclass__(**settings)
        if "_local" not in vars(cls):
            return
        cls._names = {}
        for name, parameter in signature(cls._local).parameters.items():
            camel = _camel(name)
            cls._names[camel] = name, parameter.default
            text = f"{name} of {cls._local.__name__}, {parameter.default!r} by default"
            setattr(cls, camel, Param(Params._dummy(), camel, text))
        for name in dir(cls):
            if isinstance(getattr(cls, name, None), Param):
                _add_accessors(cls, name)

    def _set_defaults(self):
        self._setDefault(**{camel: default for camel, (_, default) in self._names.items() if default is not None})
        self._setDefault(featuresCol="features")

    def _local_parameters(self):
        """Return the parameters that are set, by the names of the local estimator."""
        return {name: self.getOrDefault(camel) for camel, (name, _) in self._names.items() if self.isSet(camel)}

    def _features(self, dataset):
        """Return the features of a dataset as a column of arrays."""
        chosen = self.getOrDefault("featuresCol")
        if not isinstance(chosen, str):
            return F.array(*[F.col(name).cast("double") for name in chosen])
        if isinstance(dataset.schema[chosen].dataType, VectorUDT):
            return vector_to_array(F.col(chosen))
        return F.col(chosen).cast("array<double>")


def _add_accessors(cls, name):
    """Add getX and setX, as pyspark's own classes have them."""
    getter, setter = f"get{name[0].upper()}{name[1:]}", f"set{name[0].upper()}{name[1:]}"

    def get(self):
        return self.getOrDefault(name) if self.hasDefault(name) or self.isSet(name) else None

    def set_(self, value):
        self.set(self.getParam(name), value)
        return self

    get.__doc__, set_.__doc__ = f"Return `{name}`.", f"Set `{name}`, and return the object."
    get.__name__, set_.__name__ = getter, setter
    setattr(cls, getter, get)
    setattr(cls, setter, set_)


class _SparkEstimator(_Columns, Estimator, MLWritable, MLReadable):
    """What the classifier and the regressor share.

    Parameters
    ----------
    **params
        Parameters by their names in Spark.
    """

    _model: type

    def __init__(self, **params):
        super().__init__()
        self._set_defaults()
        self.setParams(**params)

    def setParams(self, **params):  # noqa: N802
        """Set parameters by name, and return the estimator."""
        for name in params:
            if not self.hasParam(name):
                raise TypeError(
                    f"{name!r} is no parameter of {type(self).__name__}; names are as in Spark, such as hiddenLayerSizes"
                )
            self.set(self.getParam(name), params[name])
        return self

    def _fit(self, dataset):
        check_installed()
        local = self._local(**self._local_parameters())
        local._validate_params()
        size = (
            self.getOrDefault("numWorkers")
            if self.isSet("numWorkers")
            else SparkContext.getOrCreate().defaultParallelism
        )
        training = _Training(local, size, SECONDS_BETWEEN_CHECKPOINTS)
        found = _collected(training, lambda: self._planned(dataset, size))
        results = {row["rank"]: pickle.loads(row["result"]) for row in found}
        errors = [result for _, result in sorted(results.items()) if isinstance(result, Exception)]
        if errors:
            raise cause_of(errors)
        model, caught = results[0]
        for message, category in caught:
            warn(message, category)
        return self._copyValues(self._model(model))

    def _planned(self, dataset, size):
        """Return the rows to train on in as many partitions, and whether they had to be shuffled for that."""
        rows = self._selected(dataset)
        # What `rows.rdd` has, without planning the query again for rows as Python's objects.
        is_shuffled = rows._jdf.queryExecution().toRdd().getNumPartitions() != size
        return rows.repartition(size) if is_shuffled else rows, is_shuffled

    def _selected(self, dataset):
        """Return the columns to train on, under fixed names."""
        label = dataset.schema[self.getOrDefault("labelCol")]
        if not isinstance(label.dataType, NumericType):
            raise ValueError(
                f"labelCol={label.name!r} has {label.dataType.simpleString()}, and needs numbers: encode text by "
                "pyspark.ml.feature.StringIndexer"
            )
        columns = [self._features(dataset).alias(_FEATURES), F.col(label.name).cast("double").alias(_LABEL)]
        if self.isSet("weightCol"):
            columns.append(F.col(self.getOrDefault("weightCol")).cast("double").alias(_WEIGHT))
        if self.isSet("validationIndicatorCol"):
            columns.append(F.col(self.getOrDefault("validationIndicatorCol")).cast("boolean").alias(_IS_VALIDATION))
        return dataset.select(*columns)

    def write(self):
        """Return a writer, for `save` on any of Hadoop's file systems."""
        return _Writer(self)

    @classmethod
    def read(cls):
        """Return a reader, for `load`."""
        return _Reader(cls)


class _SparkModel(_Columns, Model, MLWritable, MLReadable):
    """What the models share.

    Parameters
    ----------
    local : BaseBackprop
        The fitted estimator on one machine.
    """

    def __init__(self, local=None):
        super().__init__()
        self._set_defaults()
        self._fitted = local

    def to_local(self):
        """Return the fitted estimator on one machine.

        Returns
        -------
        estimator : BackpropClassifier or BackpropRegressor
        """
        return pickle.loads(pickle.dumps(self._fitted))

    #: Fields of a prediction: for each the parameter that names its column, its type, and whether it is a vector.
    _outputs: tuple[tuple[str, str, bool], ...] = (("predictionCol", "double", False),)

    def _transform(self, dataset):
        outputs = [(self.getOrDefault(param), kind, vector) for param, kind, vector in self._outputs]
        model = SparkContext.getOrCreate().broadcast(self._fitted)
        fields = ",".join(f"field{index}:{kind}" for index, (_, kind, _) in enumerate(outputs))
        predict = F.pandas_udf(_Prediction(model, self._predictions), f"struct<{fields}>")
        # A name that no dataset has.
        found = "_skbackprop_predictions"
        predicted = dataset.withColumn(found, predict(self._features(dataset)))
        for index, (name, _, vector) in enumerate(outputs):
            if name:
                field = F.col(f"{found}.field{index}")
                predicted = predicted.withColumn(name, array_to_vector(field) if vector else field)
        return predicted.drop(found)

    def write(self):
        """Return a writer, for `save` on any of Hadoop's file systems."""
        return _Writer(self, self._fitted)

    @classmethod
    def read(cls):
        """Return a reader, for `load`."""
        return _Reader(cls)


class _Prediction:
    """The function of a task: predict a batch of rows.

    Parameters
    ----------
    model : Broadcast
    predictions : callable
        Returns the columns of predictions.
    """

    def __init__(self, model, predictions):
        self.model, self.predictions = model, predictions
        self.__annotations__ = {}

    def __call__(self, features):
        X = np.stack(features.to_numpy())
        columns = self.predictions(self.model.value, X)
        return pd.DataFrame({f"field{index}": list(column) for index, column in enumerate(columns)})


class _Writer(MLWriter):
    """Writes parameters as Spark's own classes do, and beside them our model file, as a column of bytes."""

    def __init__(self, instance, fitted=None):
        super().__init__()
        self._instance, self._fitted = instance, fitted

    def saveImpl(self, path):  # noqa: N802
        """Save to a folder."""
        DefaultParamsWriter.saveMetadata(self._instance, path, self.sparkSession)
        if self._fitted is not None:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "model.safetensors"
                self._fitted.save(file)
                content = bytearray(file.read_bytes())
            self.sparkSession.createDataFrame([(content,)], "model binary").coalesce(1).write.parquet(f"{path}/model")


class _Reader(MLReader):
    """Reads what `_Writer` has written; runs no code of the file."""

    def __init__(self, cls):
        super().__init__()
        self._cls = cls

    def load(self, path):
        """Load from a folder."""
        metadata = DefaultParamsReader.loadMetadata(path, self.sparkSession)
        instance = self._cls()
        if isinstance(instance, _SparkModel):
            content = self.sparkSession.read.parquet(f"{path}/model").first()["model"]
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "model.safetensors"
                file.write_bytes(content)
                instance._fitted = load(file)
        instance._resetUid(metadata["uid"])
        DefaultParamsReader.getAndSetParams(instance, metadata)
        return instance


class _ClassifierColumns(HasProbabilityCol, HasRawPredictionCol):
    """Further columns of classifiers."""


class SparkBackpropClassificationModel(_SparkModel, _ClassifierColumns):
    """What :class:`SparkBackpropClassifier` has fitted.

    `transform` adds the predicted class, the vector of probabilities, and that of raw predictions, which is Spark's
    name for scores: with two classes, that of the second and its negative.
    """

    _local = BackpropClassifier
    _outputs = (
        ("predictionCol", "double", False),
        ("probabilityCol", "array<double>", True),
        ("rawPredictionCol", "array<double>", True),
    )

    @staticmethod
    def _predictions(model, X):
        raw = model.decision_function(X)
        raw = np.column_stack([-raw, raw]) if raw.ndim == 1 else raw
        proba = model.predict_proba(X) if hasattr(model, "predict_proba") else np.zeros((len(X), 0))
        return model.predict(X).astype(np.float64), proba.astype(np.float64), raw.astype(np.float64)

    @property
    def numClasses(self):  # noqa: N802
        """Number of classes."""
        return len(self._fitted.classes_)


class SparkBackpropClassifier(_SparkEstimator, _ClassifierColumns):
    """:class:`~skbackprop.BackpropClassifier` for Spark's dataframes, with the interface of :mod:`pyspark.ml`.

    Parameters are those of :class:`~skbackprop.BackpropClassifier` in camel case, such as `hiddenLayerSizes` and
    `randomState`, each with a getter and a setter, and the following.

    Parameters
    ----------
    featuresCol : str or list of str, default='features'
        A column of vectors, dense or sparse, or of arrays; or a list of numeric columns. Sparse vectors are made dense.
    labelCol : str, default='label'
        Numeric labels.
    weightCol : str, optional
        Sample weights.
    validationIndicatorCol : str, optional
        Boolean column: true for rows of the validation set of `earlyStopping` or `restoreBestWeights`.
    predictionCol, probabilityCol, rawPredictionCol : str
        Columns that the model adds, 'prediction', 'probability' and 'rawPrediction' by default.
    numWorkers : int, optional
        Number of tasks that train together, for all of which there must be room at a time; Spark's default parallelism
        by default. A dataset of as many partitions is not moved.

    See Also
    --------
    skbackprop.BackpropClassifier : The same network on one machine.
    """

    _local, _model = BackpropClassifier, SparkBackpropClassificationModel


class SparkBackpropRegressionModel(_SparkModel):
    """What :class:`SparkBackpropRegressor` has fitted; `transform` adds the predictions."""

    _local = BackpropRegressor

    @staticmethod
    def _predictions(model, X):
        predictions = model.predict(X)
        if predictions.ndim == 2:
            predictions = model._targets.points(predictions)[:, 0]
        return (predictions.astype(np.float64),)


class SparkBackpropRegressor(_SparkEstimator):
    """:class:`~skbackprop.BackpropRegressor` for Spark's dataframes, with the interface of :mod:`pyspark.ml`.

    See :class:`SparkBackpropClassifier`, of which all but probabilities and raw predictions holds for numbers as well.

    See Also
    --------
    skbackprop.BackpropRegressor : The same network on one machine.
    """

    _local, _model = BackpropRegressor, SparkBackpropRegressionModel
