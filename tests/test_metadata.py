"""scikit-learn's metadata routing: groups pass by the networks, unless they ask for them."""

import numpy as np
import pytest
from sklearn import config_context
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris
from sklearn.feature_selection import RFECV
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, GroupShuffleSplit, cross_val_predict, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.metadata_routing import get_routing_for_object

from skbackprop import BackpropClassifier, BackpropRegressor, model_selection

pytestmark = [pytest.mark.trains, pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")]

X, Y = load_iris(return_X_y=True)
GROUPS = np.arange(150) % 7
WEIGHTS = np.linspace(0.5, 2, 150)


@pytest.fixture(autouse=True)
def _routing():
    with config_context(enable_metadata_routing=True):
        yield


def network(kind=BackpropClassifier, **settings):
    return kind(hidden_layer_sizes=(5,), max_iter=5, random_state=0, **settings)


@pytest.mark.parametrize("kind", [BackpropClassifier, BackpropRegressor])
@pytest.mark.parametrize("module", ["sklearn", "skbackprop"])
@pytest.mark.parametrize("in_pipeline", [False, True])
def test_groups_of_a_splitter_pass_by_the_network(kind, module, in_pipeline):
    estimator = make_pipeline(StandardScaler(), network(kind)) if in_pipeline else network(kind)
    search = GridSearchCV if module == "sklearn" else model_selection.GridSearchCV
    validate = cross_validate if module == "sklearn" else model_selection.cross_validate
    predict = cross_val_predict if module == "sklearn" else model_selection.cross_val_predict
    name = f"{estimator.steps[-1][0]}__alpha" if in_pipeline else "alpha"
    folds = GroupKFold(3)
    fitted = search(estimator, {name: [1e-4, 1.0]}, cv=folds).fit(X, Y, groups=GROUPS)
    with config_context(enable_metadata_routing=False):
        expected = search(estimator, {name: [1e-4, 1.0]}, cv=folds).fit(X, Y, groups=GROUPS)
    np.testing.assert_array_equal(fitted.cv_results_["mean_test_score"], expected.cv_results_["mean_test_score"])
    assert len(validate(estimator, X, Y, cv=folds, params={"groups": GROUPS})["test_score"]) == 3
    assert predict(estimator, X, Y, cv=folds, params={"groups": GROUPS}).shape == (150,)


def test_groups_of_calibration_and_feature_selection_pass_by_the_network():
    CalibratedClassifierCV(network(), cv=GroupKFold(3)).fit(X, Y, groups=GROUPS)
    select = RFECV(network(), cv=GroupKFold(3), importance_getter=lambda model: np.abs(model.coefs_[0]).sum(axis=1))
    assert select.fit(X, Y, groups=GROUPS).n_features_ >= 1


def test_a_network_that_asks_for_groups_gets_them():
    class Recording(GroupShuffleSplit):
        seen = None

        def split(self, X, y=None, groups=None):
            type(self).seen = groups
            return super().split(X, y, groups)

    asking = network(early_stopping=True, validation_fraction=Recording(random_state=0)).set_fit_request(groups=True)
    GridSearchCV(asking, {"alpha": [1.0]}, cv=GroupKFold(3), refit=False).fit(X, Y, groups=GROUPS)
    assert set(Recording.seen) < set(GROUPS)
    assert len(Recording.seen) < 150


@pytest.mark.parametrize("kind", [BackpropClassifier, BackpropRegressor])
def test_requests_are_those_of_scikit_learns_estimators_and_no_groups(kind):
    requests = get_routing_for_object(network(kind)).fit.requests
    assert requests.pop("groups") is False
    assert set(requests) == {"sample_weight", "X_val", "y_val", "sample_weight_val"}
    assert set(requests.values()) == {None}
    # As for scikit-learn's own: who passes weights says what they are for.
    assert get_routing_for_object(LogisticRegression()).fit.requests["sample_weight"] is None
    weighted = network(kind).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
    GridSearchCV(weighted, {"alpha": [1.0]}, cv=3).fit(X, Y, sample_weight=WEIGHTS)
