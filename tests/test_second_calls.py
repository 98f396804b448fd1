"""A call that is refused or interrupted leaves the estimator as it was, and a second call trains on what the first was about."""

import copy
import os
import pickle
import signal
import threading
import time
import warnings

import joblib
import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.callback import ProgressBar
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale

import skbackprop
from skbackprop import BackpropClassifier, BackpropRegressor
from skbackprop.backends import get_backend
from skbackprop.backends.data import as_rows
from skbackprop.estimators._choices import start_optimizer
from skbackprop.exceptions import TrainingWarning
from skbackprop.functions import Quantile
from skbackprop.functions.losses import LOSSES, LogLoss
from skbackprop.functions.penalties import Penalties
from skbackprop.functions.schedules import SCHEDULES
from skbackprop.network import Network
from skbackprop.training.progress import OptimizerState

pytestmark = [pytest.mark.trains, pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")]

X, Y = load_iris(return_X_y=True)
X = scale(X)
ONE_HOT = np.eye(3, dtype=int)[Y]
#: Targets of each kind, of the same three classes or labels.
KINDS = {
    "binary": np.minimum(Y, 1),
    "multiclass": Y,
    "text": np.array(["0", "1", "2"])[Y],
    "multilabel": ONE_HOT,
    "sparse multilabel": sparse.csr_array(ONE_HOT),
    "two labels": ONE_HOT[:, :2],
    "columns": np.column_stack([Y, 2 - Y]),
    "three columns": np.column_stack([Y, 2 - Y, Y]),
}
#: Those that may follow one another: the same kind, or some of the classes.
SAME = {
    ("multilabel", "sparse multilabel"),
    ("sparse multilabel", "multilabel"),
    ("multiclass", "binary"),
    ("columns", "two labels"),
    ("three columns", "multilabel"),
}


def classifier(**settings):
    return BackpropClassifier(**{"hidden_layer_sizes": (8,), "max_iter": 5, "random_state": 0, **settings})


def regressor(**settings):
    return BackpropRegressor(**{"hidden_layer_sizes": (8,), "max_iter": 5, "random_state": 0, **settings})


def state(model):
    """What a fitted model is, in bytes."""
    return pickle.dumps(
        {name: value for name, value in vars(model).items() if name not in model.get_params(deep=False)}
    )


def first_call(kind):
    classes = {"columns": [[0, 1, 2]] * 2, "three columns": [[0, 1, 2]] * 3, "two labels": [0, 1]}.get(
        kind, np.unique(KINDS["text"] if kind == "text" else Y)
    )
    if kind == "binary":
        classes = [0, 1]
    return classifier().partial_fit(X, KINDS[kind], classes=classes)


# --- Targets of another kind


@pytest.mark.parametrize("second", KINDS)
@pytest.mark.parametrize("first", KINDS)
def test_targets_of_another_kind_are_refused_by_partial_fit(first, second):
    model = first_call(first)
    before = state(model)
    if first == second or (first, second) in SAME:
        model.partial_fit(X, KINDS[second])
        return
    with pytest.raises(ValueError, match=r"has to be of the same kind as|classes not in `self.classes_`|has classes"):
        model.partial_fit(X, KINDS[second])
    assert state(model) == before


@pytest.mark.parametrize("second", KINDS)
@pytest.mark.parametrize("first", KINDS)
def test_targets_of_another_kind_are_refused_with_warm_start(first, second):
    model = classifier(warm_start=True).fit(X, KINDS[first])
    before = state(model)
    if first == second or frozenset((first, second)) == frozenset(("multilabel", "sparse multilabel")):
        model.fit(X, KINDS[second])
        return
    with pytest.raises(
        ValueError, match=r"has to be of the same kind as|same classes as in the previous call|has classes"
    ):
        model.fit(X, KINDS[second])
    assert state(model) == before
    # Without, it is another fit.
    model.set_params(warm_start=False).fit(X, KINDS[second])
    np.testing.assert_array_equal(model.coefs_[0], classifier().fit(X, KINDS[second]).coefs_[0])


def test_targets_of_another_kind_say_what_was_expected():
    with pytest.raises(
        ValueError, match=r"y has to be .* labels in one dimension, got an array of shape \(150, 3\); to start anew"
    ):
        first_call("multiclass").partial_fit(X, ONE_HOT)
    with pytest.raises(
        ValueError, match=r"y has to be .* an indicator matrix with as many columns \(3\), got .* \(150,\)"
    ):
        first_call("multilabel").partial_fit(X, Y)
    with pytest.raises(ValueError, match=r"y has to be .* 2 columns of classes, got .* \(150, 3\)"):
        first_call("columns").partial_fit(X, KINDS["three columns"])


def test_another_number_of_targets_is_refused():
    model = regressor(warm_start=True).fit(X, X[:, :2])
    before = state(model)
    for call in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match=r"the fitted network has layers of \[4, 8, 2\] units"):
            call(X, X[:, 0])
    assert state(model) == before


def test_other_classes_are_refused_by_a_later_call_of_partial_fit():
    for kind, others in (("multiclass", [0, 1, 5]), ("columns", [[0, 1, 2], [0, 1, 5]])):
        model = first_call(kind)
        before = state(model)
        with pytest.raises(ValueError, match="is not the same as on last call to partial_fit"):
            model.partial_fit(X, KINDS[kind], classes=others)
        assert state(model) == before


def test_text_is_no_number_of_the_same_name():
    model = first_call("text")
    with pytest.raises(ValueError, match="classes not in"):
        model.partial_fit(X, Y)
    with pytest.raises(ValueError, match="y_val has classes that are not in y"):
        classifier(early_stopping=True).fit(X, KINDS["text"], X_val=X, y_val=Y)


# --- Kernels


def session_of(loss, n_outputs, targets, weights=None, average=None):
    network = Network((4, n_outputs), (), loss)
    return network, get_backend("cpu").Session(
        network, np.float64, as_rows(X, np.float64), targets, weights, 10, len(X), 1, Penalties(average=average)
    )


@pytest.mark.parametrize(
    ("loss", "n_outputs", "targets"),
    [
        (LogLoss().for_task("multiclass").key(), 3, ONE_HOT.astype(float)),
        (LogLoss().for_task("multiclass").key(), 2, Y[:, None].astype(float)),
        (LogLoss().for_task("multiclass").key(), 3, Y[:, None] - 1.0),
        (LogLoss().for_task("binary").key(), 1, ONE_HOT.astype(float)),
        (LogLoss().for_outputs([3, 2]).key(), 5, np.column_stack([Y, Y]).astype(float)),
        (LogLoss().for_outputs([3, 3]).key(), 6, Y[:, None].astype(float)),
        (LOSSES.get_key("squared_error"), 2, X[:, :1]),
        (LOSSES.get_key("squared_error"), 1, X[:10, :1]),
        (LOSSES.get_key("gaussian_nll"), 3, X[:, :2]),
        (Quantile([0.1, 0.9]).key(), 2, X[:, 0]),
    ],
)
def test_kernels_get_no_targets_of_another_shape(loss, n_outputs, targets):
    with pytest.raises(ValueError, match="targets"):
        session_of(loss, n_outputs, targets)


def test_kernels_get_no_weights_or_columns_of_another_number():
    with pytest.raises(ValueError, match="sample weights of shape"):
        session_of(LOSSES.get_key("squared_error"), 1, X[:, :1], np.ones(10))
    network = Network((5, 1), (), LOSSES.get_key("squared_error"))
    with pytest.raises(ValueError, match="rows of 4 columns for a network with 5 inputs"):
        get_backend("cpu").Session(network, np.float64, as_rows(X, np.float64), X[:, :1], None, 10, 150, 1, Penalties())


@pytest.mark.parametrize("name", ["params", "slots", "average", "running", "carried"])
def test_kernels_write_to_no_array_that_is_not_theirs(name):
    network, session = session_of(LOSSES.get_key("squared_error"), 1, X[:, :1], average=0.9)
    params = np.zeros(network.n_params)
    classifier_ = regressor()
    optimizer = OptimizerState.start(
        start_optimizer(classifier_, params).optimizer, SCHEDULES["constant"](), 0.001, 0.5, 5, params, averages=True
    )

    def run(array):
        arrays = {"params": params}
        if name == "params":
            arrays["params"] = array
        else:
            setattr(optimizer, name, array)
        with session:
            session.run_epochs(np.arange(150), np.full(15, 0.001), arrays["params"], optimizer)

    good = params if name == "params" else getattr(optimizer, name)
    frozen = good.copy()
    frozen.setflags(write=False)
    strided = np.zeros((*good.shape, 2))[..., 0] if good.size else np.zeros(3)
    unaligned = (
        np.zeros(good.nbytes + 1, dtype=np.uint8)[1:].view(good.dtype).reshape(good.shape) if good.size else np.zeros(3)
    )
    for bad in (frozen, strided, unaligned, good.astype(np.float32), np.zeros(7)):
        with pytest.raises(ValueError, match=f"{name} has to be an array of float64"):
            run(bad)
    run(good)


# --- Refused calls

INVALID = {
    "weights": ({}, {"sample_weight": -np.ones(150)}),
    "weights of another number": ({}, {"sample_weight": np.ones(10)}),
    "class_weight": ({"class_weight": {7: 1.0, 8: 2.0}}, {}),
    "class_weight of nothing": ({"class_weight": {0: 0.0, 1: 0.0, 2: 0.0}}, {}),
    "activation": ({"activation": ["relu", "tanh"]}, {}),
    "dropout": ({"dropout": [0.1, 0.2, 0.3]}, {}),
    "frozen_layers": ({"frozen_layers": (7,)}, {}),
    "normalization": ({"normalization": "batch", "batch_size": 1}, {}),
    "weight_init": ({"weight_init": BackpropClassifier()}, {}),
    "hidden_layer_sizes": ({"hidden_layer_sizes": (0,)}, {}),
    "device": ({"device": "tpu"}, {}),
    "solver": ({"solver": "lbfgs", "dropout": 0.5}, {}),
    "output_bias": ({"output_bias": "prior", "loss": "hinge"}, {}),
    "X_val": ({"early_stopping": True}, {"X_val": X[:, :2], "y_val": Y}),
    "y_val": ({"early_stopping": True}, {"X_val": X, "y_val": Y + 7}),
    "validation_fraction": ({"early_stopping": True, "validation_fraction": 0.001}, {}),
    "scoring": ({"early_stopping": True, "scoring": "no score"}, {}),
    "groups": ({}, {"groups": Y}),
    "precision": ({"precision": "tf32"}, {}),
    "averaging": ({"averaging": -0.5}, {}),
    "beta_1": ({"beta_1": 1.5}, {}),
    "warm classes": ({}, {"y": np.full(150, np.nan)}),
}


@pytest.mark.parametrize("case", INVALID)
def test_refused_first_fit_leaves_no_trace(case):
    settings, arguments = INVALID[case]
    model = classifier(**settings)
    with pytest.raises((ValueError, TypeError)):
        model.fit(**{"X": X, "y": Y, **arguments})
    assert vars(model).keys() == vars(classifier()).keys()
    # The next fit is about other classes.
    model.set_params(**classifier().get_params()).fit(X, KINDS["binary"])
    np.testing.assert_array_equal(model.classes_, [0, 1])


@pytest.mark.parametrize("case", INVALID)
@pytest.mark.parametrize("warm_start", [False, True])
def test_refused_fit_leaves_the_model(case, warm_start):
    settings, arguments = INVALID[case]
    if warm_start and case in ("weight_init", "output_bias"):
        pytest.skip("with warm_start nothing is initialised")
    model = classifier().fit(X, Y)
    before = state(model)
    model.set_params(warm_start=warm_start, **settings)
    with pytest.raises((ValueError, TypeError)):
        model.fit(**{"X": X, "y": Y, **arguments})
    assert state(model) == before


@pytest.mark.parametrize(
    ("settings", "arguments"),
    [
        ({}, {"classes": None}),
        ({}, {"classes": [0, 1]}),
        ({}, {"sample_weight": -np.ones(150)}),
        ({"class_weight": {7: 1.0}}, {"classes": [7, 8]}),
        ({"dropout": [0.1] * 5}, {}),
        ({"frozen_layers": (7,)}, {}),
        ({"early_stopping": True}, {}),
        ({"class_weight": "balanced"}, {}),
        ({}, {"y": ONE_HOT[:10]}),
        ({"normalization": "batch", "batch_size": 1}, {}),
    ],
)
def test_refused_first_partial_fit_leaves_no_trace(settings, arguments):
    model = classifier(**settings)
    with pytest.raises(ValueError):  # noqa: PT011 (any of them)
        model.partial_fit(**{"X": X, "y": Y, "classes": [0, 1, 2], **arguments})
    assert vars(model).keys() == vars(classifier()).keys()
    model.set_params(**classifier().get_params()).partial_fit(X, KINDS["binary"], classes=[0, 1])
    np.testing.assert_array_equal(model.classes_, [0, 1])


@pytest.mark.parametrize("make", [classifier, regressor])
def test_refused_fit_of_a_regressor_or_classifier_keeps_names_and_units(make):
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(X, columns=[*"abcd"])
    model = make(**({"standardize_target": True} if make is regressor else {})).fit(table, Y)
    before = state(model)
    with pytest.raises(ValueError, match="frozen_layers"):
        model.set_params(frozen_layers=(9,)).fit(X[:, :2], Y)
    assert state(model) == before
    assert list(model.feature_names_in_) == [*"abcd"]


def test_another_thread_predicts_with_the_whole_model_during_a_fit():
    model = classifier(max_iter=2).fit(X, Y)
    other = np.column_stack([X] * 5)
    errors = []
    stop = threading.Event()

    def predict():
        while not stop.is_set():
            for data in (X, other):
                try:
                    assert model.predict(data).shape == (150,)
                except ValueError as error:  # of the other model
                    if "features" not in str(error):
                        errors.append(error)

    thread = threading.Thread(target=predict)
    thread.start()
    for _ in range(20):
        model.fit(other, KINDS["text"])
        model.fit(X, Y)
    stop.set()
    thread.join()
    assert not errors


# --- Arrays of others


@pytest.mark.parametrize(
    "settings", [{}, {"averaging": 0.9}, {"solver": "sgd"}, {"normalization": "batch"}, {"early_stopping": True}]
)
@pytest.mark.parametrize("make", [classifier, regressor])
def test_read_only_models_can_be_trained_on(make, settings, tmp_path):
    model = make(**settings).fit(X, Y)
    joblib.dump(model, tmp_path / "model")
    stored = (tmp_path / "model").read_bytes()
    buffers = []
    pickled = pickle.dumps(model, protocol=5, buffer_callback=buffers.append)
    buffers = [bytes(buffer.raw()) for buffer in buffers]
    expected = pickle.loads(pickle.dumps(model)).set_params(early_stopping=False)
    warm = pickle.loads(pickle.dumps(model)).set_params(warm_start=True).fit(X, Y)
    frozen = pickle.loads(pickle.dumps(model))
    params = frozen.coefs_[0].base
    for array in (*frozen.coefs_, *frozen.intercepts_, *([params] if params is not None else [])):
        array.setflags(write=False)
    for _ in range(2):
        expected.partial_fit(X, Y)
    for other in (joblib.load(tmp_path / "model", mmap_mode="r"), pickle.loads(pickled, buffers=buffers), frozen):
        np.testing.assert_array_equal(other.predict(X), model.predict(X))
        other.set_params(early_stopping=False)
        for _ in range(2):
            other.partial_fit(X, Y)
        np.testing.assert_array_equal(other.predict(X), expected.predict(X))
    again = joblib.load(tmp_path / "model", mmap_mode="r").set_params(warm_start=True).fit(X, Y)
    np.testing.assert_array_equal(again.predict(X), warm.predict(X))
    assert (tmp_path / "model").read_bytes() == stored


def test_training_on_writes_into_no_arrays_that_others_hold():
    for settings in ({}, {"averaging": 0.9}, {"normalization": "batch"}):
        model = classifier(**settings).fit(X, Y)
        held = model.coefs_, model._optimizer
        values = [coef.copy() for coef in held[0]], held[1].slots.copy(), held[1].average.copy()
        model.partial_fit(X, Y)
        for array, value in zip(held[0], values[0], strict=True):
            np.testing.assert_array_equal(array, value)
        np.testing.assert_array_equal(held[1].slots, values[1])
        np.testing.assert_array_equal(held[1].average, values[2])


def test_averaging_may_be_switched_between_calls():
    model = classifier().fit(X, Y).set_params(averaging=0.5)
    model.partial_fit(X, Y)
    with_average = [coef.copy() for coef in model.coefs_]
    model.set_params(averaging=None).partial_fit(X, Y)
    first = [coef.copy() for coef in model.coefs_]
    model.partial_fit(X, Y)
    for coefs in (with_average, first):
        assert any((one != other).any() for one, other in zip(coefs, model.coefs_, strict=True))
    assert np.isfinite(model.predict_proba(X)).all()


# --- Ctrl-C


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT can be sent to a process of one's own there")
def test_interrupted_partial_fit_can_be_made_again():
    rng = np.random.default_rng(0)
    data, labels = rng.standard_normal((100_000, 30)), rng.integers(0, 3, 100_000)
    model = BackpropClassifier((256, 256), random_state=0, averaging=0.9)
    undisturbed = clone(model)
    for network in (model, undisturbed):
        network.partial_fit(data[:1000], labels[:1000], classes=[0, 1, 2])

    def interrupt():
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGINT)

    states = []

    def loop():
        for _ in range(100):
            states.append(state(model))
            model.partial_fit(data, labels)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        loop()
    thread.join()
    assert state(model) == states[-1]
    for _ in states[1:]:
        undisturbed.partial_fit(data, labels)
    for network in (model, undisturbed):
        network.partial_fit(data[:5000], labels[:5000])
    np.testing.assert_array_equal(model.coefs_[0], undisturbed.coefs_[0])


@pytest.mark.parametrize(
    "settings", [{}, {"dropout": 0.2, "averaging": 0.9}, {"random_state": np.random.RandomState(3)}]
)
def test_loop_of_partial_fit_goes_on_from_its_file_to_the_same_bits(settings, tmp_path):
    pytest.importorskip("safetensors")

    def run(path, chunks):
        model = skbackprop.load(path) if path.exists() else classifier(**copy.deepcopy(settings))
        for start in range(getattr(model, "t_", 0), len(X), 40):
            if chunks == 0:
                return None
            chunks -= 1
            chunk = slice(start, start + 40)
            model.partial_fit(X[chunk], Y[chunk], classes=[0, 1, 2])
            model.save(path)
        return model

    undisturbed = run(tmp_path / "one", 10)
    assert run(tmp_path / "two", 1) is None
    assert run(tmp_path / "two", 2) is None
    resumed = run(tmp_path / "two", 10)
    np.testing.assert_array_equal(resumed.coefs_[0], undisturbed.coefs_[0])
    assert resumed.t_ == 150


def test_callbacks_that_partial_fit_does_not_call_are_named():
    model = classifier().set_callbacks(ProgressBar())
    with pytest.warns(
        TrainingWarning, match="partial_fit calls no callbacks, and nothing comes of ProgressBar. To be able to go on"
    ):
        model.partial_fit(X, Y, classes=[0, 1, 2])
    model.set_callbacks().partial_fit(X, Y)


# --- What a subclass predicts


def test_scores_are_those_of_an_overridden_predict():
    class Clipped(BackpropRegressor):
        def predict(self, X):
            return np.clip(super().predict(X), 0, 1)

    class Constant(BackpropClassifier):
        def predict(self, X):
            return np.full(len(X), self.classes_[0])

    model = Clipped(max_iter=5, random_state=0).fit(X, Y)
    assert model.score(X, Y) == r2_score(Y, model.predict(X)) != BackpropRegressor.score(regressor().fit(X, Y), X, Y)
    assert Constant(max_iter=5, random_state=0).fit(X, Y).score(X, Y) == pytest.approx(1 / 3)
    quantiles = Clipped(loss=Quantile([0.1, 0.5]), max_iter=5, random_state=0).fit(X, Y)
    assert quantiles.score(X, Y) == r2_score(Y, quantiles.predict(X)[:, 1])


# --- The end of a schedule


@pytest.mark.parametrize("schedule", ["cosine", "one_cycle", "polynomial"])
def test_schedules_over_max_iter_run_to_their_end_in_silence(schedule):
    settings = {"learning_rate": schedule, "solver": "sgd", "max_iter": 60, "learning_rate_init": 1e-6}
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        assert classifier(**settings).fit(X, Y).n_iter_ == 60
    # Unless the user says otherwise.
    assert classifier(**settings, n_iter_no_change=5).fit(X, Y).n_iter_ < 60
    assert classifier(**settings, early_stopping=True).fit(X, Y).n_iter_ < 60


def test_all_epochs_that_were_asked_for_are_no_failure_to_converge():
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        for solver in ("sgd", "adam"):
            model = classifier(n_iter_no_change=np.inf, max_iter=20, solver=solver, warm_start=True).fit(X, Y)
            assert model.n_iter_ == 20
            assert model.set_params(max_iter=5).fit(X, Y).n_iter_ == 5
            assert len(model.loss_curve_) == 25
    with pytest.warns(ConvergenceWarning, match="Maximum iterations"):
        classifier(max_iter=20).fit(X, Y)


def test_warnings_point_to_the_users_line():
    for settings in (
        {"max_iter": 2},
        {"max_iter": 2, "solver": "lbfgs"},
        {"batch_size": 1000, "n_iter_no_change": np.inf},
    ):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            classifier(**settings).fit(X, Y)
        assert caught
        assert {warning.filename for warning in caught} == {__file__}


# --- What else a review found


def test_losses_that_give_the_outputs_another_meaning_are_refused():
    model = regressor().fit(X, X[:, :2])
    before = state(model)
    model.set_params(loss="gaussian_nll")
    for call in (lambda: model.partial_fit(X, X[:, 0]), lambda: model.set_params(warm_start=True).fit(X, X[:, 0])):
        with pytest.raises(
            ValueError, match="gives the network's outputs another meaning than the loss that it was fitted with"
        ):
            call()
    assert state(model) == before
    with pytest.raises(ValueError, match="loss='gaussian_nll' is not what the network was fitted with"):
        model.predict(X, return_std=True)
    other = classifier(loss="log_loss").fit(X, Y).set_params(loss="hinge").partial_fit(X, Y)
    assert other.out_activation_ == "identity"


@pytest.mark.parametrize(
    "settings",
    [{"averaging": 2.0}, {"batch_size": 0}, {"l1_ratio": 7}, {"clip_norm": -1}, {"n_jobs": 0}, {"alpha": np.nan}],
)
def test_parameters_are_validated_in_every_call_of_partial_fit(settings):
    model = classifier().partial_fit(X, Y, classes=[0, 1, 2])
    before = state(model)
    with pytest.raises(ValueError, match=f"The '{next(iter(settings))}' parameter"):
        model.set_params(**settings).partial_fit(X, Y)
    assert state(model) == before


def test_callback_that_sets_a_parameter_at_the_beginning_is_heard():
    class Faster:
        max_propagation_depth = 0

        def setup(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context, *, X, y, metadata):
            if context.task_name == "fit":
                estimator.learning_rate_init = 0.5

        def on_fit_task_end(self, estimator, context, *, fitted_estimator):
            pass

        def teardown(self, estimator, context):
            pass

    model = classifier().set_callbacks(Faster()).fit(X, Y)
    assert model.learning_rate_init == model.history_[-1]["learning_rate"] == 0.5


def test_shallow_copy_shares_no_list_with_the_model():
    model = classifier().fit(X, Y)
    other = copy.copy(model)
    other.partial_fit(X, Y)
    other.set_params(warm_start=True).fit(X, Y)
    assert len(model.loss_curve_) == len(model.history_) == 5
    assert len(other.loss_curve_) == len(other.history_) == 11


def test_early_stopping_goes_by_what_a_subclass_predicts():
    class Shifted(BackpropRegressor):
        def predict(self, X):
            return super().predict(X) + 100

    class Scored(BackpropClassifier):
        def score(self, X, y, sample_weight=None):
            return 42.0

    target = Y.astype(float)
    model = Shifted(hidden_layer_sizes=(8,), max_iter=5, random_state=0, early_stopping=True).fit(X, target)
    assert max(model.validation_scores_) < -1000
    assert set(Scored(max_iter=5, random_state=0, early_stopping=True).fit(X, Y).validation_scores_) == {42.0}


@pytest.mark.parametrize(
    ("weights", "size"), [(np.full(150, 1e-44, dtype=np.float32), "small"), (np.full(150, 1e307), "large")]
)
def test_weights_whose_sum_is_no_divisor_are_refused(weights, size):
    with pytest.raises(ValueError, match=f"sample_weight, with class_weight, is too {size} for {weights.dtype}"):
        classifier(dtype=weights.dtype.name).fit(X, Y, sample_weight=weights)


def test_weights_to_begin_with_that_are_none_are_refused():
    fitted = classifier().fit(X, Y)
    pipeline = make_pipeline(StandardScaler(), fitted)
    for given, message in (
        (pipeline, "is no network: give the fitted network in it"),
        (FrozenEstimator(pipeline), "is no network"),
        ((1, 2, 3), r"has to be \(coefs_, intercepts_\)"),
        (([np.full_like(coef, np.nan) for coef in fitted.coefs_], fitted.intercepts_), "values that are not finite"),
    ):
        with pytest.raises(ValueError, match=message):
            classifier(weight_init=given).fit(X, Y)


def test_settings_of_what_has_none_are_refused():
    for name in ("normalization__momentum", "validation_fraction__n_splits", "weight_init__x", "dropout__x"):
        with pytest.raises(ValueError, match=f"{name} cannot be set"):
            classifier().set_params(**{name: 1})
    with pytest.raises(ValueError, match="Invalid parameter 'nothing'"):
        classifier().set_params(nothing__x=1)


def test_scores_of_missing_labels_say_so():
    with pytest.raises(ValueError, match="y has missing labels"):
        classifier().fit(X, KINDS["text"]).score(X, np.array([None, *KINDS["text"][1:]], dtype=object))
