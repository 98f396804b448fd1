"""`BackpropEmbedding`: outputs of hidden layers."""

import numpy as np
import pytest
import sklearn
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbackprop import BackpropClassifier, BackpropEmbedding, BackpropRegressor
from skbackprop.functions.activations import ACTIVATIONS
from skbackprop.functions.losses import LOSSES
from skbackprop.network import Network
from skbackprop.testing import reference_predict

pytestmark = [pytest.mark.trains, pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")]

X, Y = load_iris(return_X_y=True)
X = X - X.mean(axis=0)


def network(**settings):
    settings = {"hidden_layer_sizes": (7, 3), "max_iter": 5, "random_state": 0, **settings}
    return BackpropClassifier(**settings)


def reference_units(model, X, n_layers):
    """Layer by layer, each as the only hidden layer of a network with the identity behind it."""
    units = np.asarray(X, dtype=np.float64)
    for coef, intercept in list(zip(model.coefs_, model.intercepts_, strict=True))[:n_layers]:
        n_in, n_out = coef.shape
        one = Network((n_in, n_out, n_out), (ACTIVATIONS.get_key(model.activation),), LOSSES.get_key("squared_error"))
        params = np.concatenate([coef.ravel(), intercept, np.eye(n_out).ravel(), np.zeros(n_out)])
        units = reference_predict(one, params, units)
    return units


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("layer", "n_layers"), [(0, 1), (1, 2), (-1, 2), (-2, 1)])
def test_outputs_of_the_layer(activation, layer, n_layers):
    embedding = BackpropEmbedding(network(activation=activation), layer=layer).fit(X, Y)
    units = embedding.transform(X)
    assert units.shape == (150, (7, 3)[n_layers - 1])
    np.testing.assert_allclose(units, reference_units(embedding.estimator_, X, n_layers), rtol=1e-9, atol=1e-12)


def test_last_layer_of_the_network_gives_its_predictions():
    embedding = BackpropEmbedding(network()).fit(X, Y)
    raw = embedding.transform(X) @ embedding.estimator_.coefs_[-1] + embedding.estimator_.intercepts_[-1]
    np.testing.assert_array_equal(raw.argmax(axis=1), embedding.estimator_.predict(X))


@pytest.mark.parametrize("container", [sparse.csr_array, sparse.csc_matrix])
def test_sparse(container):
    data = np.where(X > 0, X, 0)
    embedding = BackpropEmbedding(network()).fit(container(data), Y)
    np.testing.assert_allclose(embedding.transform(container(data)), embedding.transform(data), rtol=1e-12)


def test_float32():
    units = BackpropEmbedding(network()).fit(X.astype(np.float32), Y).transform(X)
    assert units.dtype == np.float32


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_set_output(library):
    pytest.importorskip(library)
    embedding = BackpropEmbedding(network()).set_output(transform=library)
    table = embedding.fit_transform(X, Y)
    assert list(table.columns) == [f"backpropembedding{i}" for i in range(3)]
    assert list(embedding.get_feature_names_out()) == list(table.columns)


def test_dataframes_keep_their_names():
    frames = pytest.importorskip("pandas")
    data = frames.DataFrame(X, columns=list("abcd"))
    embedding = BackpropEmbedding(network()).fit(data, Y)
    np.testing.assert_array_equal(embedding.feature_names_in_, list("abcd"))
    np.testing.assert_array_equal(embedding.estimator_.feature_names_in_, list("abcd"))
    embedding.transform(data)
    with pytest.raises(ValueError, match="feature names"):
        embedding.transform(data[list("bacd")])


def test_frozen_network_is_used_as_it_is():
    frames = pytest.importorskip("pandas")
    data = frames.DataFrame(X, columns=list("abcd"))
    fitted = network().fit(data, Y)
    before = fitted.coefs_[0].copy()
    embedding = BackpropEmbedding(FrozenEstimator(fitted)).fit(data[:10], None)
    np.testing.assert_array_equal(fitted.coefs_[0], before)
    np.testing.assert_array_equal(embedding.transform(data), BackpropEmbedding(network()).fit(data, Y).transform(data))
    assert clone(embedding).estimator.estimator is fitted


def test_estimator_is_cloned():
    own = network()
    BackpropEmbedding(own).fit(X, Y)
    assert not hasattr(own, "coefs_")


@pytest.mark.parametrize(
    ("y", "kind"),
    [
        (Y, BackpropClassifier),
        (np.array(["a", "b", "c"])[Y], BackpropClassifier),
        (np.eye(3, dtype=int)[Y], BackpropClassifier),
        (Y + 0.5, BackpropRegressor),
        (np.column_stack([Y, Y + 5]), BackpropRegressor),
        (np.column_stack([Y, Y]) / 3, BackpropRegressor),
    ],
)
def test_default_network_suits_the_targets(y, kind):
    embedding = BackpropEmbedding(random_state=0).fit(X[::10], y[::10])
    assert type(embedding.estimator_) is kind
    assert embedding.transform(X).shape == (150, 100)


def test_pipeline_and_search():
    model = make_pipeline(StandardScaler(), BackpropEmbedding(network(max_iter=100)), KNeighborsClassifier())
    search = GridSearchCV(
        model, {"backpropembedding__layer": [0, 1], "backpropembedding__estimator__alpha": [0.1]}, cv=2
    )
    assert search.fit(X, Y).best_score_ > 0.8
    for layer in (0, 1):
        model.set_params(**{"backpropembedding__layer": layer, "backpropembedding__estimator__alpha": 0.1}).fit(X, Y)
        assert model[:-1].transform(X).shape[1] == model[1].estimator_.coefs_[layer].shape[1]
        assert model[1].estimator_.alpha == 0.1


def test_arguments_reach_the_network():
    weights = np.where(Y == 0, 0.0, 1.0)
    weighted = BackpropEmbedding(network()).fit(X, Y, sample_weight=weights)
    reference = network().fit(X, Y, weights)
    np.testing.assert_array_equal(weighted.estimator_.coefs_[0], reference.coefs_[0])
    with sklearn.config_context(enable_metadata_routing=True):
        requesting = network().set_fit_request(sample_weight=True)
        model = make_pipeline(BackpropEmbedding(requesting), LogisticRegression().set_fit_request(sample_weight=False))
        model.fit(X, Y, sample_weight=weights)
    np.testing.assert_array_equal(model[0].estimator_.coefs_[0], reference.coefs_[0])


@pytest.mark.parametrize(
    ("estimator", "layer", "error", "message"),
    [
        (network(), 2, ValueError, "layer=2 is not one of the network's hidden layers, of which there are 2"),
        (network(), -3, ValueError, "layer=-3 is not one"),
        (network(hidden_layer_sizes=()), -1, ValueError, "of which there are 0"),
        (network(), 0.5, ValueError, "layer"),
        (
            LogisticRegression(),
            -1,
            TypeError,
            "has to be a BackpropClassifier or BackpropRegressor.*LogisticRegression",
        ),
    ],
)
def test_errors(estimator, layer, error, message):
    with pytest.raises(error, match=message):
        BackpropEmbedding(estimator, layer).fit(X, Y)


@pytest.mark.parametrize("normalization", ["batch", "layer"])
def test_normalized_layers(normalization):
    embedding = BackpropEmbedding(network(normalization=normalization)).fit(X, Y)
    model = embedding.estimator_
    raw = embedding.transform(X) @ model.coefs_[-1] + model.intercepts_[-1]
    np.testing.assert_allclose(raw, model._predict(X, link=False)[1], rtol=1e-9, atol=1e-12)
