"""What users rely on beyond scikit-learn's own checks."""

import copy
import pickle
import re
import warnings

import joblib
import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_iris, make_regression
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

from skbackprop import BackpropClassifier, BackpropEnsembleRegressor, BackpropRegressor
from skbackprop._sklearn import HAS_CALLBACKS
from skbackprop.estimators._validation import random_split
from skbackprop.functions.activations import ACTIVATIONS
from skbackprop.functions.schedules import SCHEDULES

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X_IRIS, Y_IRIS = load_iris(return_X_y=True)
X_REG, Y_REG = make_regression(80, 6, noise=1.0, random_state=0)
Y_REG = Y_REG / 50


needs_recent = pytest.mark.skipif(
    not HAS_CALLBACKS, reason="scikit-learn before 1.9 checks, lists or shows other things"
)


def classifier(**settings):
    return BackpropClassifier(**{"hidden_layer_sizes": (8,), "max_iter": 8, "random_state": 0, **settings})


def regressor(**settings):
    return BackpropRegressor(**{"hidden_layer_sizes": (8,), "max_iter": 8, "random_state": 0, **settings})


@needs_recent
@pytest.mark.parametrize(("ours", "theirs"), [(BackpropClassifier, MLPClassifier), (BackpropRegressor, MLPRegressor)])
def test_signature_extends_scikit_learns(ours, theirs):
    own, reference = ours().get_params(), theirs().get_params()
    assert {name: own[name] for name in reference} == reference
    own, reference = ours.__init__.__code__, theirs.__init__.__code__
    assert own.co_varnames[: reference.co_argcount] == reference.co_varnames[: reference.co_argcount]
    n_reference = reference.co_argcount + reference.co_kwonlyargcount
    assert own.co_varnames[:n_reference] == reference.co_varnames[:n_reference]
    missing = {name for name in dir(theirs) if not name.startswith("_")} - set(dir(ours))
    assert not missing


@pytest.mark.parametrize("labels", [np.int64, np.int8, np.uint16, bool, float, str])
@pytest.mark.parametrize("weighted", [False, True])
def test_score_is_the_accuracy(labels, weighted):
    y = (Y_IRIS > 0).astype(np.int64).astype(labels)
    model = classifier(max_iter=2).fit(X_IRIS, y)
    weights = np.linspace(0, 1, len(y)) if weighted else None
    # Rows that are wrong, and a number of rows by which no fraction is exact.
    expected = accuracy_score(
        y[2:149], model.predict(X_IRIS[:147]), sample_weight=None if weights is None else weights[:147]
    )
    score = model.score(X_IRIS[:147], y[2:149], None if weights is None else weights[:147])
    assert type(score) is float
    assert score == expected


@pytest.mark.parametrize(
    "y",
    [Y_IRIS, Y_IRIS > 0, Y_IRIS.astype(np.uint8), Y_IRIS.astype(str), np.column_stack([Y_IRIS, Y_IRIS % 2])],
    ids=["int", "bool", "uint8", "str", "columns"],
)
def test_classes_have_plain_types(y):
    model = classifier(max_iter=2).fit(X_IRIS, y)
    for classes in model.classes_ if y.ndim == 2 else [model.classes_]:
        assert classes.dtype.metadata is None
        assert classes.dtype.kind == y.dtype.kind
    assert model.predict(X_IRIS).dtype.metadata is None


def test_score_refuses_labels_of_another_length():
    model = classifier(max_iter=2).fit(X_IRIS, Y_IRIS)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.score(X_IRIS, Y_IRIS[:-1])
    with pytest.raises(ValueError, match="X has 3 features"):
        model.score(X_IRIS[:, :3], Y_IRIS)


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_fitted_attributes_are_scikit_learns(solver, early_stopping):
    settings = {"solver": solver, "early_stopping": early_stopping, "max_iter": 5}
    ours, theirs = classifier(**settings).fit(X_IRIS, Y_IRIS), MLPClassifier(**settings).fit(X_IRIS, Y_IRIS)
    expected = {name for name in vars(theirs) if name.endswith("_") and not name.startswith("_")} | {"device_"}
    if solver != "lbfgs":
        expected |= {"history_", "validation_loss_curve_"}
    assert {name for name in vars(ours) if name.endswith("_") and not name.startswith("_")} == expected
    assert type(ours.coefs_) is list


def test_weights_are_views_of_one_vector():
    model = classifier().fit(X_IRIS, Y_IRIS)
    base = model.coefs_[0].base
    assert all(array.base is base for array in (*model.coefs_, *model.intercepts_))
    assert base.size == sum(array.size for array in (*model.coefs_, *model.intercepts_))


def test_changed_weights_are_used():
    model = regressor().fit(X_REG, Y_REG)
    before = model.predict(X_REG)
    model.coefs_ = [coef * 2 for coef in model.coefs_]
    assert not np.allclose(model.predict(X_REG), before)
    model.intercepts_[-1][:] += 1
    model.partial_fit(X_REG, Y_REG)


@pytest.mark.parametrize("dump", [pickle.dumps, None])
def test_pickles_and_goes_on(dump, tmp_path):
    model = classifier().partial_fit(X_IRIS, Y_IRIS, classes=[0, 1, 2])
    if dump:
        loaded = pickle.loads(dump(model))
    else:
        joblib.dump(model, tmp_path / "model")
        loaded = joblib.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict_proba(X_IRIS), model.predict_proba(X_IRIS))
    for one in (model, loaded, copied := copy.deepcopy(model)):
        one.partial_fit(X_IRIS, Y_IRIS)
    np.testing.assert_array_equal(loaded.coefs_[0], model.coefs_[0])
    np.testing.assert_array_equal(copied.coefs_[0], loaded.coefs_[0])
    assert not hasattr(clone(model), "coefs_")


@pytest.mark.parametrize("given", ["float16", "int32", "bool", ">f8", "float32", "longdouble"])
def test_dtypes_of_data(given):
    X = (X_IRIS * 4).round().astype(given)
    model = classifier().fit(X, Y_IRIS)
    reference = classifier().fit(np.asarray(X, dtype=np.float32 if given == "float32" else np.float64), Y_IRIS)
    np.testing.assert_array_equal(model.coefs_[0], reference.coefs_[0])
    assert model.coefs_[0].dtype == (np.float32 if given == "float32" else np.float64)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("given", ["float32", "float64"])
def test_dtype_parameter_forces(given, solver, dtype):
    model = regressor(dtype=dtype, solver=solver).fit(X_REG.astype(given), Y_REG)
    assert {array.dtype.name for array in (*model.coefs_, *model.intercepts_)} == {dtype}
    assert model.predict(X_REG).dtype == dtype


def test_layouts_of_data_give_the_same_bits(tmp_path):
    reference = classifier().fit(X_IRIS, Y_IRIS).coefs_[0]
    padded = np.zeros((150, 8))
    padded[:, ::2] = X_IRIS
    unaligned = np.frombuffer(b"x" + X_IRIS.tobytes(), dtype=np.uint8)[1:].view(np.float64).reshape(X_IRIS.shape)
    np.save(tmp_path / "X.npy", X_IRIS)
    memmap = np.load(tmp_path / "X.npy", mmap_mode="r")
    for X in (np.asfortranarray(X_IRIS), padded[:, ::2], unaligned, memmap):
        before = np.array(X)
        np.testing.assert_array_equal(classifier().fit(X, Y_IRIS).coefs_[0], reference)
        np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize("container", [sparse.csr_array, sparse.csc_array, sparse.csr_matrix, sparse.coo_array])
def test_sparse_containers(container):
    X = np.where(X_IRIS > 3, X_IRIS, 0)
    dense = classifier().fit(X, Y_IRIS)
    model = classifier().fit(container(X), Y_IRIS)
    np.testing.assert_allclose(model.coefs_[0], dense.coefs_[0], rtol=1e-10)
    np.testing.assert_allclose(model.predict_proba(container(X)), dense.predict_proba(X), rtol=1e-10)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_dataframes(library):
    frames = pytest.importorskip(library)
    X = frames.DataFrame({name: X_IRIS[:, j] for j, name in enumerate("abcd")})
    model = classifier(early_stopping=True).fit(X, Y_IRIS)
    np.testing.assert_array_equal(model.feature_names_in_, list("abcd"))
    model.predict(X)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(X[["b", "a", "c", "d"]])


@pytest.mark.parametrize(
    "labels",
    [
        np.array([2**53 + 1, 2**53 + 2, 2**53 + 3]),
        np.array([2**64 - 1, 1, 5], dtype=np.uint64),
        np.array(["a", "b", "c"]),
        np.array(["a", "b", "c"], dtype=object),
        np.array([True, False]),
        np.array([-1, 1]),
    ],
    ids=str,
)
def test_labels_come_back_exactly(labels):
    y = labels[Y_IRIS % len(labels)]
    model = classifier(max_iter=60, learning_rate_init=0.05).fit(X_IRIS, y)
    np.testing.assert_array_equal(model.classes_, np.unique(labels))
    predicted = model.predict(X_IRIS)
    assert predicted.dtype == model.classes_.dtype
    assert set(predicted) <= set(labels.tolist())
    assert np.mean(predicted == y) > 0.5


def test_one_class_has_one_column():
    model = classifier().fit(X_IRIS, np.full(150, "only"))
    np.testing.assert_array_equal(model.predict_proba(X_IRIS), np.ones((150, 1)))
    np.testing.assert_array_equal(model.predict_log_proba(X_IRIS), np.zeros((150, 1)))
    assert set(model.predict(X_IRIS)) == {"only"}


@pytest.mark.parametrize("container", [sparse.csr_array, sparse.csc_matrix])
def test_multilabel_takes_sparse_indicator(container):
    Y = np.eye(3, dtype=int)[Y_IRIS]
    a, b = classifier().fit(X_IRIS, container(Y)), classifier().fit(X_IRIS, Y)
    assert type(a.predict(X_IRIS)) is np.ndarray
    np.testing.assert_array_equal(a.predict(X_IRIS), b.predict(X_IRIS))
    assert a.predict(X_IRIS).shape == (150, 3)
    assert a.out_activation_ == "logistic"


def test_log_proba():
    model = classifier().fit(X_IRIS, Y_IRIS)
    np.testing.assert_allclose(np.exp(model.predict_log_proba(X_IRIS)), model.predict_proba(X_IRIS))


@pytest.mark.parametrize(
    ("estimator", "y", "settings", "message"),
    [
        (classifier, Y_IRIS, {"device": "tpu"}, "device='tpu' is not known"),
        (classifier, Y_IRIS, {"activation": "swish"}, "activation"),
        (classifier, Y_IRIS, {"dtype": "float16"}, "dtype"),
        (classifier, Y_IRIS, {"n_jobs": 0}, "n_jobs"),
        (classifier, Y_IRIS, {"hidden_layer_sizes": (3, 0)}, "hidden_layer_sizes must be > 0"),
        (classifier, Y_IRIS, {"hidden_layer_sizes": (2.5,)}, "hidden_layer_sizes must be whole numbers"),
        (regressor, -X_IRIS[:, 0], {"loss": "poisson"}, "loss='poisson' is defined for y >= 0, but y has -7.9"),
        (regressor, X_IRIS[:, 0] * 1e300, {"dtype": "float32"}, "y contains values too large for float32"),
        (classifier, X_IRIS[:, :2], {}, "y is of type 'continuous-multioutput', but labels of classes are needed"),
    ],
)
def test_errors_name_the_parameter(estimator, y, settings, message):
    with pytest.raises(ValueError, match=message):
        estimator(**settings).fit(X_IRIS, y)


def test_accepted_values_come_from_the_registries():
    with pytest.raises(ValueError, match="activation") as caught:
        classifier(activation="nonsense").fit(X_IRIS, Y_IRIS)
    assert all(repr(name) in str(caught.value) for name in ACTIVATIONS)
    with pytest.raises(ValueError, match="learning_rate") as caught:
        classifier(learning_rate="nonsense").fit(X_IRIS, Y_IRIS)
    assert all(repr(name) in str(caught.value) for name in SCHEDULES)


@needs_recent
def test_weights_of_samples_are_checked():
    with pytest.raises(ValueError, match=r"[Nn]egative"):
        classifier().fit(X_IRIS, Y_IRIS, sample_weight=np.full(150, -1.0))
    with pytest.raises(ValueError, match="at least one non-zero"):
        classifier().fit(X_IRIS, Y_IRIS, sample_weight=np.zeros(150))


@needs_recent
def test_weights_that_vanish_in_float32_are_refused():
    with pytest.raises(ValueError, match="at least one non-zero"):
        classifier(dtype="float32").fit(X_IRIS, Y_IRIS, sample_weight=np.full(150, 1e-60))


def test_refused_call_leaves_the_fitted_model():
    model = regressor(dtype="float32").fit(X_REG, Y_REG)
    before = model.predict(X_REG)
    with pytest.raises(ValueError, match="y contains values too large"):
        model.fit(X_REG, np.full_like(Y_REG, 1e300))
    np.testing.assert_array_equal(model.predict(X_REG), before)


def test_weights_are_needed_on_both_sides_of_the_validation_split():
    weights = np.zeros(150)
    weights[0] = 1
    messages = []
    # The only row of any weight is a validation row in about one split of ten: either side lacks it.
    for seed in range(40):
        with pytest.raises(ValueError, match="validation set; weigh more samples") as caught:
            classifier(early_stopping=True, random_state=seed, max_iter=1).fit(X_IRIS, Y_IRIS, sample_weight=weights)
        messages.append(str(caught.value))
    for place in ("in", "outside"):
        assert any(f"every sample {place} early stopping" in message for message in messages)


def test_masked_arrays_are_refused():
    masked = np.ma.masked_array(X_IRIS, mask=X_IRIS > 7)
    with pytest.raises(TypeError, match="X is a masked array"):
        classifier().fit(masked, Y_IRIS)
    with pytest.raises(TypeError, match="y is a masked array"):
        classifier().fit(X_IRIS, np.ma.masked_array(Y_IRIS))
    with pytest.raises(TypeError, match="sample_weight is a masked array"):
        classifier().fit(X_IRIS, Y_IRIS, sample_weight=np.ma.ones(150))
    with pytest.raises(TypeError, match="X is a masked array"):
        classifier().fit(X_IRIS, Y_IRIS).predict(masked)


def test_nan_validation_scores_stop_training():
    rng = np.random.RandomState(0)
    X = rng.randn(100, 2)
    y = rng.poisson(np.exp(0.3 * X[:, 0])).astype(float)
    model = regressor(
        loss="poisson",
        hidden_layer_sizes=(),
        early_stopping=True,
        max_iter=40,
        n_iter_no_change=3,
        learning_rate_init=0.01,
    )
    X[random_split(model._targets, y[:, np.newaxis], model.validation_fraction, np.random.RandomState(0))[1][0]] = 1e4
    with np.errstate(all="ignore"):
        model.fit(X, y)
    assert np.isnan(model.validation_scores_).any()
    assert model.n_iter_ < 40


def test_corrupt_sparse_matrix_is_refused():
    X = sparse.csr_array(X_IRIS)
    X.indices[3] = 10**6
    with pytest.raises(ValueError, match=r"indices|index"):
        classifier().fit(X, Y_IRIS)


def test_other_architecture_cannot_warm_start():
    model = classifier(warm_start=True).fit(X_IRIS, Y_IRIS)
    with pytest.raises(ValueError, match=r"layers of \[4, 8, 3\] units, but this call asks for \[4, 9, 3\]"):
        model.set_params(hidden_layer_sizes=(9,)).fit(X_IRIS, Y_IRIS)


@pytest.mark.parametrize("estimator", [classifier, regressor])
def test_partial_fit_needs_a_stochastic_solver(estimator):
    assert not hasattr(estimator(solver="lbfgs"), "partial_fit")
    with pytest.raises(ValueError, match="partial_fit does not support early_stopping"):
        estimator(early_stopping=True).partial_fit(
            X_IRIS, Y_IRIS, **({"classes": [0, 1, 2]} if estimator is classifier else {})
        )


def test_failed_partial_fit_changes_nothing():
    model = classifier().fit(X_IRIS, Y_IRIS)
    before = model.coefs_[0].copy()
    with pytest.raises(ValueError, match="classes not in"):
        model.partial_fit(X_IRIS, Y_IRIS + 1)
    np.testing.assert_array_equal(model.coefs_[0], before)


def test_warm_start_with_early_stopping_keeps_the_best_weights():
    model = classifier(
        warm_start=True, early_stopping=True, max_iter=4, solver="sgd", learning_rate_init=0.3, validation_fraction=0.3
    )
    for _ in range(4):
        model.fit(X_IRIS, Y_IRIS)
    rows = random_split(
        model._targets, Y_IRIS[:, np.newaxis].astype(float), model.validation_fraction, np.random.RandomState(0)
    )[1]
    assert model.score(X_IRIS[rows], Y_IRIS[rows]) == model.best_validation_score_


def test_early_stopping_is_stratified_for_several_classes():
    model = classifier(early_stopping=True).fit(X_IRIS, Y_IRIS)
    rows = random_split(
        model._targets, Y_IRIS[:, np.newaxis].astype(float), model.validation_fraction, np.random.RandomState(0)
    )[1]
    np.testing.assert_array_equal(np.bincount(Y_IRIS[rows]), [5, 5, 5])


def test_early_stopping_names_a_class_that_is_too_rare():
    y = np.array(["common"] * 75 + ["rare"] + ["usual"] * 74)
    with pytest.raises(ValueError, match="in the words of y: rare"):
        classifier(early_stopping=True).fit(X_IRIS, y)


@pytest.mark.parametrize(
    "settings",
    [
        {"max_iter": 37},
        {"tol": 0.1, "n_iter_no_change": 3},
        {"solver": "sgd", "learning_rate": "invscaling", "max_iter": 20},
        {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.05, "n_iter_no_change": 2},
        {"solver": "sgd", "activation": "identity", "learning_rate_init": 5.0, "max_iter": 50},
    ],
    ids=["max_iter", "converges", "invscaling", "adaptive", "diverges"],
)
def test_epochs_run_ahead_change_nothing(monkeypatch, settings):
    outcomes = []
    for most in (64, 1):
        monkeypatch.setattr("skbackprop.backends.batch_plan._MAX_EPOCHS", most)
        model = regressor(**settings)
        try:
            model.fit(X_REG, Y_REG)
            error = None
        except ValueError as caught:
            error = str(caught)
        outcomes.append((model.n_iter_, model.t_, error, model.loss_curve_, model.coefs_[0].tolist()))
    np.testing.assert_equal(*outcomes)
    assert (outcomes[0][2] is not None) == (settings.get("learning_rate_init") == 5.0)


def test_divergence_keeps_the_last_finite_weights():
    model = regressor(solver="sgd", activation="identity", learning_rate_init=5.0, max_iter=50)
    with pytest.raises(ValueError, match=r"no longer finite in epoch (\d+)") as caught:
        model.fit(X_REG, Y_REG)
    assert f"epoch {model.n_iter_};" in str(caught.value)
    assert len(model.loss_curve_) == model.n_iter_
    assert not np.isfinite(model.loss_curve_[-1])
    assert all(np.isfinite(array).all() for array in (*model.coefs_, *model.intercepts_))
    model.set_params(learning_rate_init=0.001).fit(X_REG, Y_REG).predict(X_REG)


def test_divergence_with_early_stopping_keeps_the_best_weights():
    model = regressor(
        solver="sgd", activation="identity", learning_rate_init=0.5, max_iter=300, early_stopping=True, batch_size=72
    )
    with pytest.warns(ConvergenceWarning, match="The weights of the best validation score are kept"):
        model.fit(X_REG, Y_REG)
    assert np.isnan(model.validation_scores_[-1])
    random_state = np.random.RandomState(0)
    random_state.uniform(size=model.coefs_[0].base.size)  # the initial weights are drawn before the split
    rows = random_split(model._targets, Y_REG[:, np.newaxis], model.validation_fraction, random_state)[1]
    assert model.score(X_REG[rows], Y_REG[rows]) == pytest.approx(model.best_validation_score_)


def test_lbfgs_reports_non_finite_solutions():
    with pytest.raises(ValueError, match="Solver produced non-finite parameter weights"), np.errstate(all="ignore"):
        regressor(solver="lbfgs").fit(X_REG * 1e200, Y_REG * 1e200)


def test_verbose_tells_each_epoch(capsys):
    regressor(verbose=True, early_stopping=True, max_iter=40, tol=10.0, n_iter_no_change=2).fit(X_REG, Y_REG)
    out = capsys.readouterr().out
    assert "Iteration 1, loss = " in out
    assert "Validation score: " in out
    assert "Validation score did not improve more than tol=10.000000 for 2 consecutive epochs. Stopping." in out
    regressor(verbose=True, solver="sgd", learning_rate="adaptive", tol=10.0, n_iter_no_change=2).fit(X_REG, Y_REG)
    assert "Setting learning rate to 0.000200" in capsys.readouterr().out


def test_oversized_batch_is_clipped():
    with pytest.warns(UserWarning, match="going to be clipped: 999 to 150"):
        classifier(batch_size=999, max_iter=2).fit(X_IRIS, Y_IRIS)


def test_not_fitted():
    with pytest.raises(NotFittedError):
        classifier().predict(X_IRIS)


def test_tags():
    tags = get_tags(BackpropClassifier())
    assert tags.input_tags.sparse
    assert tags.classifier_tags.multi_label
    assert get_tags(BackpropRegressor(loss="poisson")).target_tags.positive_only


@needs_recent
def test_html_repr_documents_the_parameters():
    for estimator in (BackpropClassifier(), BackpropRegressor()):
        html = estimator._repr_html_()
        for name in estimator.get_params():
            assert re.search(rf"<b>{name}:|{name}: ", html), name


def test_pipeline_search_and_routing():
    search = GridSearchCV(
        make_pipeline(StandardScaler(), classifier(max_iter=20)),
        {"backpropclassifier__alpha": [1e-4, 1e-2], "backpropclassifier__hidden_layer_sizes": [(4,), ()]},
        cv=2,
    )
    # Who has weights of zero is not learnt.
    weights = (Y_IRIS != 2).astype(float)
    search.fit(X_IRIS, Y_IRIS, backpropclassifier__sample_weight=weights)
    assert set(search.predict(X_IRIS)) == {0, 1}
    import sklearn

    with sklearn.config_context(enable_metadata_routing=True):
        routed = classifier().set_fit_request(sample_weight=True).set_score_request(sample_weight=False)
        routed = GridSearchCV(routed, {"alpha": [0.1]}, cv=2).fit(X_IRIS, Y_IRIS, sample_weight=weights)
    assert set(routed.predict(X_IRIS)) <= {0, 1}


def test_same_model_for_any_n_jobs():
    reference = classifier(hidden_layer_sizes=(100,), n_jobs=1).fit(X_IRIS, Y_IRIS)
    for n_jobs in (2, -1, None):
        model = classifier(hidden_layer_sizes=(100,), n_jobs=n_jobs).fit(X_IRIS, Y_IRIS)
        np.testing.assert_array_equal(model.coefs_[0], reference.coefs_[0])


def test_no_warning_without_reason():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classifier(max_iter=300, tol=0.5).fit(X_IRIS, Y_IRIS).predict(X_IRIS)


def test_what_takes_a_later_scikit_learn_says_so():
    if HAS_CALLBACKS:
        pytest.skip("this version has them")
    with pytest.raises(NotImplementedError, match=r"set_callbacks needs scikit-learn 1\.9 or later, and this is"):
        classifier().set_callbacks(object())
    with pytest.raises(NotImplementedError, match=r"BackpropEnsembleRegressor needs scikit-learn 1\.9 or later"):
        BackpropEnsembleRegressor().fit(X_REG, Y_REG)
