"""scikit-learn's callbacks on the estimators, in a Pipeline and through a search."""

import numpy as np
import pytest
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbackprop import BackpropClassifier
from skbackprop.callbacks import EpochLogger

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True)


def model(**settings):
    return BackpropClassifier(**{"hidden_layer_sizes": (5,), "max_iter": 6, "random_state": 0, **settings})


class Recorder:
    """Notes what it is told, and stops when told to."""

    def __init__(self, stop_after=None, raise_after=None):
        self.stop_after, self.raise_after = stop_after, raise_after
        self.names, self.scores, self.torn_down = [], [], False

    def setup(self, estimator, context):
        self.root = context

    def teardown(self, estimator, context):
        self.torn_down = True

    def on_fit_task_begin(self, estimator, context):
        self.names.append((context.task_name, context.task_id))

    def on_fit_task_end(self, estimator, context, *, X, y, metadata, fitted_estimator):
        if context.parent is None:
            return False
        self.metadata = metadata
        self.fitted = fitted_estimator
        self.scores.append(fitted_estimator.score(X, y))
        if self.raise_after == len(self.scores):
            raise RuntimeError("callback failed")
        return self.stop_after == len(self.scores)


@pytest.mark.parametrize(("solver", "name"), [("adam", "epoch"), ("sgd", "epoch"), ("lbfgs", "lbfgs-iter")])
def test_each_epoch_is_a_task(solver, name):
    recorder = Recorder()
    estimator = model(solver=solver).set_callbacks(recorder).fit(X, Y, sample_weight=np.ones(150))
    assert recorder.names[1:] == [(name, i) for i in range(6)]
    assert recorder.root.max_subtasks == 6
    assert recorder.torn_down
    assert len(recorder.scores) == 6
    assert recorder.scores[-1] == estimator.score(X, Y)
    assert set(recorder.metadata) == {"sample_weight"}


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_true_stops_training(solver):
    recorder = Recorder(stop_after=3)
    estimator = model(solver=solver, max_iter=50).set_callbacks(recorder).fit(X, Y)
    assert estimator.n_iter_ == 3
    assert estimator.score(X, Y) == recorder.scores[-1]


def test_fitted_estimator_is_a_copy_that_predicts():
    recorder = Recorder()
    estimator = model(early_stopping=True).set_callbacks(recorder).fit(X, Y)
    assert recorder.fitted is not estimator
    assert recorder.fitted.n_iter_ == 6
    before = recorder.fitted.coefs_[0].copy()
    estimator.coefs_[0].fill(0)
    np.testing.assert_array_equal(recorder.fitted.coefs_[0], before)


@pytest.mark.parametrize("averaging", [None, 0.9])
def test_fitted_estimator_goes_on_from_its_own_epoch(averaging):
    class Keeper(Recorder):
        kept = None

        def on_fit_task_end(self, estimator, context, *, fitted_estimator):
            if context.parent is not None and self.kept is None:
                self.kept = fitted_estimator

    keeper = Keeper()
    model(averaging=averaging).set_callbacks(keeper).fit(X, Y)
    stopped = model(averaging=averaging, max_iter=1).fit(X, Y)
    again = [one.partial_fit(X, Y).coefs_[0] for one in (keeper.kept.set_callbacks(), stopped)]
    np.testing.assert_array_equal(*again)


def test_fitted_estimator_is_not_built_unless_asked_for(monkeypatch):
    class Idle:
        def setup(self, estimator, context): ...
        def teardown(self, estimator, context): ...
        def on_fit_task_begin(self, estimator, context): ...
        def on_fit_task_end(self, estimator, context): ...

    monkeypatch.setattr("sklearn.callback._callback_context._from_reconstruction_attributes", None)
    model().set_callbacks(Idle()).fit(X, Y)


def test_failing_callback_leaves_a_usable_estimator():
    recorder = Recorder(raise_after=2)
    estimator = model().set_callbacks(recorder)
    with pytest.raises(RuntimeError, match="callback failed"):
        estimator.fit(X, Y)
    assert recorder.torn_down
    estimator.predict(X)
    estimator.set_callbacks().fit(X, Y)


def test_scoring_monitor():
    monitor = ScoringMonitor(scoring="accuracy")
    estimator = model().set_callbacks(monitor).fit(X, Y)
    rows = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(rows) == 6
    assert rows[-1]["accuracy"] == estimator.score(X, Y)


@pytest.mark.parametrize("meta", ["none", "pipeline", "search"])
def test_progress_bar(meta, capsys):
    pytest.importorskip("rich")
    estimator = model()
    if meta != "none":
        estimator = make_pipeline(StandardScaler(), estimator)
    if meta == "search":
        estimator = GridSearchCV(estimator, {"backpropclassifier__alpha": [0.1, 0.2]}, cv=2)
    estimator.set_callbacks(ProgressBar()).fit(X, Y)
    outermost = {"none": "BackpropClassifier", "pipeline": "Pipeline", "search": "GridSearchCV"}[meta]
    assert outermost in capsys.readouterr().out


def test_scoring_monitor_in_a_search():
    monitor = ScoringMonitor(scoring="accuracy")
    estimator = model().set_callbacks(monitor)
    GridSearchCV(estimator, {"alpha": [0.1, 0.2]}, cv=2, refit=False).fit(X, Y)
    epochs = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(epochs) == 2 * 2 * 6
    assert all(0 < row["accuracy"] <= 1 for row in epochs)


def test_no_callback_no_task(monkeypatch):
    estimator = model()

    def fail(self):
        raise AssertionError("a task was begun for nobody")

    monkeypatch.setattr("skbackprop.estimators._callbacks.Callbacks.begin_task", fail)
    estimator.fit(X, Y)


def test_epochs_are_logged():
    logged = []
    logger = EpochLogger(lambda metrics, step: logged.append((step, metrics)))
    estimator = make_pipeline(StandardScaler(), model(warm_start=True))
    estimator[-1].set_callbacks(logger)
    # The second fit goes on, and so does its history.
    network = estimator.fit(X, Y).fit(X, Y)[-1]
    assert [step for step, _ in logged] == list(range(1, 13))
    for (step, metrics), entry in zip(logged, network.history_, strict=True):
        assert {"epoch": step, "validation_loss": None, "validation_score": None, **metrics} == entry


def test_logged_values_can_be_chosen():
    logged = []
    logger = EpochLogger(lambda metrics, step: logged.append(metrics), names=["validation_score", "loss"])
    estimator = model(early_stopping=True).set_callbacks(logger).fit(X, Y)
    assert [values["validation_score"] for values in logged] == estimator.validation_scores_
    assert all(values.keys() == {"validation_score", "loss"} for values in logged)


def test_iterations_of_lbfgs_are_logged():
    logged = {}
    logger = EpochLogger(lambda metrics, step: logged.update({step: metrics["loss"]}))
    estimator = model(solver="lbfgs").set_callbacks(logger).fit(X, Y)
    assert list(logged) == list(range(1, 7))
    assert logged[6] == estimator.loss_


def test_a_log_is_a_function():
    with pytest.raises(TypeError, match="log='losses' must be a function"):
        EpochLogger("losses")
