"""Arrays of other libraries: in without a detour, and the same kind out."""

import numpy as np
import pytest
import sklearn
from sklearn.datasets import load_iris
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbackprop import BackpropClassifier, BackpropEmbedding, BackpropRegressor
from skbackprop._compile import SIMULATED
from skbackprop.backends import gpu_of, prediction_device, training_device
from skbackprop.estimators._arrays import as_numpy, library_of
from skbackprop.inspection import InputGradientDisplay, input_gradient

strict = pytest.importorskip("array_api_strict")

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::skbackprop.exceptions.TrainingWarning"),
]

METHODS = ("predict", "predict_proba", "predict_log_proba", "decision_function")
SETTINGS = {"hidden_layer_sizes": (6,), "max_iter": 3, "batch_size": 10, "random_state": 0}


@pytest.fixture
def dispatch(monkeypatch):
    """scikit-learn takes the arrays of other libraries as they are."""
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    with sklearn.config_context(array_api_dispatch=True):
        yield


@pytest.fixture(params=["array_api_strict", "array_api_strict device1", "torch"])
def library(request, dispatch):
    """Libraries whose arrays lie in the host's memory, or as good as."""
    if request.param == "torch":
        return library_of(pytest.importorskip("torch").zeros(1))
    device = strict.Device("device1" if "device1" in request.param else "CPU_DEVICE")
    return library_of(strict.asarray(0, device=device))


@pytest.fixture
def device_library(backend, dispatch, monkeypatch):
    """A library whose arrays lie on the device of the backend: on a simulated one, a stand-in that has what such arrays have.

    NumPy cannot read these arrays by itself.
    """
    if backend.device != "cpu" and not SIMULATED:
        torch = pytest.importorskip("torch")
        if not torch.cuda.is_available():
            pytest.skip("PyTorch without a GPU")
        return library_of(torch.zeros(1, device="cuda:0"))
    gpu = strict.Device("device1")
    if backend.device != "cpu":
        kind = type(strict.asarray(0))
        elsewhere = kind.__dlpack_device__

        def interface(array):
            if array.device != gpu:
                raise AttributeError("not on the GPU")
            return array._array.__array_interface__

        monkeypatch.setattr(
            kind, "__dlpack_device__", lambda array: (2, 0) if array.device == gpu else elsewhere(array)
        )
        monkeypatch.setattr(kind, "__cuda_array_interface__", property(interface), raising=False)
    return library_of(strict.asarray(0, device=gpu))


def make_data(library, n_classes=3, dtype=np.float32):
    """Some of iris, as NumPy's arrays and as others."""
    X, y = load_iris(return_X_y=True)
    X, y = X[y < n_classes][::5].astype(dtype), y[y < n_classes][::5]
    return X, y, library.take(X), library.take(y)


def assert_same_kind(array, library, expected, rtol=0.0):
    expected = np.asarray(expected)
    assert library_of(array) == library
    numbers = as_numpy(array)
    assert numbers.dtype == expected.dtype
    # Logarithms are the library's own.
    np.testing.assert_allclose(numbers, expected, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.usefixtures("_everywhere_the_device")
def test_classifiers_give_the_kind_they_get(backend, device_library, n_classes):
    device = "cpu" if backend.device == "cpu" else "cuda"
    X, y, given, labels = make_data(device_library, n_classes)
    expected = BackpropClassifier(**SETTINGS, device=device).fit(X, y)
    model = BackpropClassifier(**SETTINGS, device=device).fit(given, labels)
    assert all(type(coef) is np.ndarray for coef in model.coefs_)
    for ours, theirs in zip(model.coefs_, expected.coefs_, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for method in METHODS:
        result = getattr(model, method)(given)
        assert_same_kind(
            result, device_library, getattr(expected, method)(X), 1e-6 if method == "predict_log_proba" else 0.0
        )
        # The model's own arrays are NumPy's: it takes any other kind as well.
        assert type(getattr(model, method)(X)) is np.ndarray
    assert model.score(given, labels) == pytest.approx(expected.score(X, y))
    assert_same_kind(
        BackpropEmbedding(model).fit(given, labels).transform(given),
        device_library,
        BackpropEmbedding(expected).fit(X, y).transform(X),
    )


@pytest.mark.usefixtures("_everywhere_the_device")
def test_other_layouts_and_types_are_copied_on_the_device(backend, device_library, monkeypatch):
    device = "cpu" if backend.device == "cpu" else "cuda"
    X, _, given, _ = make_data(device_library, dtype=np.float64)
    xp = device_library.xp
    turned = xp.permute_dims(xp.asarray(xp.permute_dims(given, (1, 0)), copy=True), (1, 0))
    settings = {**SETTINGS, "dtype": "float32", "warm_start": True}
    models = [BackpropRegressor(**settings, device=device) for _ in range(2)]
    for model, data in zip(models, (X, turned), strict=True):
        model.fit(data, data)
        # Of validated float64, in a network of float32.
        model.set_params(dtype=None).partial_fit(data, data)
    if backend.device != "cpu":
        monkeypatch.setattr("skbackprop.backends.cuda.session._block_rows", lambda network, itemsize, n_rows: 7)
    assert_same_kind(models[1].predict(turned), device_library, models[0].predict(X))


@pytest.mark.usefixtures("_everywhere_the_device")
def test_data_on_the_device_stay_there(backend, device_library, monkeypatch):
    if backend.device == "cpu":
        pytest.skip("of the GPU's memory")
    _, _, given, labels = make_data(device_library)
    moved = []

    def spy(array, xp, device):
        moved.append((xp is np, array.shape))
        return sklearn.utils._array_api.move_to(array, xp=xp, device=device)

    monkeypatch.setattr("skbackprop.estimators._arrays.move_to", spy)
    model = BackpropClassifier(**SETTINGS, device="cuda", early_stopping=True, validation_fraction=0.3)
    model.fit(given, labels).predict_proba(given)
    # The labels, which become numbers of classes, and the rows that are looked at for bad scaling.
    assert [shape for to_host, shape in moved if to_host] == [(30,), (21, 4)]


@pytest.mark.usefixtures("_everywhere_the_device")
def test_arrays_that_only_speak_dlpack(backend, device_library, monkeypatch):
    if backend.device == "cpu" or not SIMULATED:
        pytest.skip("of a device whose arrays can be changed")
    _, _, given, labels = make_data(device_library)
    monkeypatch.delattr(type(given), "__cuda_array_interface__")
    with pytest.raises(TypeError, match=r"without __cuda_array_interface__: give cupy\.from_dlpack\(X\)"):
        BackpropClassifier(**SETTINGS, device="cuda").fit(given, labels)


@pytest.mark.parametrize(
    "options", [{"early_stopping": True, "validation_fraction": 0.3, "scoring": "accuracy"}, {"solver": "lbfgs"}]
)
@pytest.mark.usefixtures("_everywhere_the_device")
@pytest.mark.filterwarnings("ignore:lbfgs failed")
def test_validation_and_weights(backend, device_library, options):
    device = "cpu" if backend.device == "cpu" else "cuda"
    X, y, given, labels = make_data(device_library)
    settings = {**SETTINGS, **options, "device": device, "class_weight": "balanced"}
    weights = np.linspace(0.5, 1.5, len(y))
    expected = BackpropClassifier(**settings).fit(X, y, weights)
    model = BackpropClassifier(**settings).fit(given, labels, device_library.take(weights))
    assert_same_kind(model.predict_proba(given), device_library, expected.predict_proba(X))
    if "early_stopping" in options:
        assert model.validation_scores_ == pytest.approx(expected.validation_scores_, rel=1e-6)
        own = {"X_val": given, "y_val": labels, "sample_weight_val": device_library.take(weights)}
        model.fit(given, labels, **own)
        expected.fit(X, y, X_val=X, y_val=y, sample_weight_val=weights)
        assert model.validation_scores_ == pytest.approx(expected.validation_scores_, rel=1e-6)


def test_every_kind_of_target(library, rng):
    X = rng.standard_normal((40, 3))
    given = library.take(X)
    words = np.array(["ja", "nein"])[rng.integers(0, 2, 40)]
    indicator = rng.integers(0, 2, (40, 3))
    columns = rng.integers(0, 3, (40, 2))
    for y in (words, indicator, columns, np.zeros(40, dtype=np.int64)):
        labels = y if y.dtype.kind == "U" else library.take(y)
        expected = BackpropClassifier(**SETTINGS).fit(X, y)
        model = BackpropClassifier(**SETTINGS).fit(given, labels)
        for method in METHODS:
            results, wanted = getattr(model, method)(given), getattr(expected, method)(X)
            if not isinstance(wanted, list):
                results, wanted = [results], [wanted]
            for result, one in zip(results, wanted, strict=True):
                if one.dtype.kind == "U":
                    # No other library has text.
                    np.testing.assert_array_equal(result, one)
                else:
                    assert_same_kind(result, library, one, 1e-6)
        assert model.score(given, labels) == pytest.approx(expected.score(X, y))


def test_regressors(library, rng):
    X, Y = rng.standard_normal((2, 40, 3))
    given = library.take(X)
    for targets in (Y, Y[:, 0]):
        settings = {**SETTINGS, "standardize_target": True, "loss": "gaussian_nll"}
        expected = BackpropRegressor(**settings).fit(X, targets)
        model = BackpropRegressor(**settings).fit(given, library.take(targets.copy()))
        results, wanted = model.predict(given, return_std=True), expected.predict(X, return_std=True)
        for result, one in zip(results, wanted, strict=True):
            assert_same_kind(result, library, one, 1e-12)
        assert model.score(given, library.take(targets.copy())) == pytest.approx(expected.score(X, targets))
    assert_same_kind(input_gradient(model, given), library, input_gradient(expected, X))
    InputGradientDisplay.from_estimator(model, given, multiply_by_std=True)


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # of StandardScaler
def test_batches_and_pipelines(library):
    X, y, given, labels = make_data(library, dtype=np.float64)
    expected = BackpropClassifier(**SETTINGS).partial_fit(X, y, classes=np.arange(3)).partial_fit(X, y)
    model = BackpropClassifier(**SETTINGS).partial_fit(given, labels, classes=library.take(np.arange(3)))
    assert_same_kind(model.partial_fit(given, labels).predict_proba(given), library, expected.predict_proba(X))
    pipelines = [make_pipeline(StandardScaler(), BackpropClassifier(**SETTINGS)) for _ in range(2)]
    pipelines[0].fit(X, y)
    pipelines[1].fit(given, labels)
    assert_same_kind(pipelines[1].predict_proba(given), library, pipelines[0].predict_proba(X), 1e-9)


def test_mixed_libraries(library):
    """Results follow X, whatever y is."""
    X, y, given, labels = make_data(library)
    for data, targets in ((X, labels), (given, y)):
        model = BackpropClassifier(**SETTINGS).fit(data, targets)
        assert type(model.predict(data)) is type(data)
        assert model.score(given, labels) == pytest.approx(model.score(X, y))


def test_nothing_is_copied_in_the_host_s_memory(dispatch):
    torch = pytest.importorskip("torch")
    tensor = torch.zeros((5, 3))
    assert as_numpy(tensor).ctypes.data == tensor.data_ptr()
    array = np.zeros((5, 3))
    assert library_of(tensor).take(array).data_ptr() == array.ctypes.data


def test_without_dispatch_all_arrays_are_numpy_s(rng):
    """As in scikit-learn."""
    X, y = rng.standard_normal((30, 3)), rng.integers(0, 2, 30)
    model = BackpropClassifier(**SETTINGS).fit(strict.asarray(X), strict.asarray(y))
    assert type(model.predict(strict.asarray(X))) is np.ndarray


class OnGPU:
    """What tells where an array lies."""

    def __init__(self, index):
        self._index = index

    def __dlpack_device__(self):
        return (2, self._index)


def test_arrays_on_a_gpu_need_dispatch(rng):
    X, y = rng.standard_normal((30, 3)), rng.integers(0, 2, 30)
    message = r" is an array on a GPU, and NumPy arrays are expected: .*set_config\(array_api_dispatch=True\)"
    with pytest.raises(TypeError, match="X" + message):
        BackpropClassifier(**SETTINGS).fit(OnGPU(0), y)
    with pytest.raises(TypeError, match="y" + message):
        BackpropClassifier(**SETTINGS).fit(X, OnGPU(0))
    model = BackpropClassifier(**SETTINGS).fit(X, y)
    with pytest.raises(TypeError, match="X" + message):
        model.predict(OnGPU(0))


def test_where_the_data_are(monkeypatch):
    monkeypatch.setattr("skbackprop.backends._reason", lambda device: None if device != "cuda:5" else "none")
    assert [gpu_of(array) for array in (OnGPU(1), np.zeros(3), [1.0], None)] == [1, None, None, None]
    for device in ("cpu", "cuda", "auto"):
        assert training_device(device, np.zeros(3)) == prediction_device(device, np.zeros(3)) == device
    assert training_device("cuda", OnGPU(0)) == "cuda"
    assert [training_device("auto", OnGPU(index)) for index in (2, 5)] == ["cuda:2", "cpu"]
    with pytest.raises(ValueError, match="X lies on GPU 1, but device='cuda': set device='cuda:1', or copy X"):
        training_device("cuda", OnGPU(1))
    assert [prediction_device(device, OnGPU(1)) for device in ("cpu", "cuda", "auto")] == ["cpu", "cuda:1", "cuda:1"]
