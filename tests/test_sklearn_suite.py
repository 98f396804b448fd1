"""scikit-learn's own tests of its MLP, run on our estimators in the place of its own.

The installed test module is imported afresh, its two classes are exchanged, and its tests become ours.
"""

import importlib.util

import pytest
import sklearn.neural_network

import skbackprop

#: Tests that reach into private attributes, with what they reach for.
PRIVATE = {
    "test_fit": "builds a half-initialised estimator by hand from private attributes",
    "test_gradient": "calls the private _loss_grad_lbfgs, _label_binarizer and _forward_pass",
}

#: Tests of what is meant to be otherwise here, see docs/differences.
OTHERWISE = {
    "test_mlp_warm_start_no_convergence": "wants a ConvergenceWarning where n_iter_no_change=inf asked for all epochs; what else it "
    "wants is in test_second_calls::test_all_epochs_that_were_asked_for_are_no_failure_to_converge",
}


def _load():
    spec = importlib.util.find_spec("sklearn.neural_network.tests.test_mlp")
    if spec is None:  # some distributions of scikit-learn leave its tests out
        return None
    originals = sklearn.neural_network.MLPClassifier, sklearn.neural_network.MLPRegressor
    sklearn.neural_network.MLPClassifier = skbackprop.BackpropClassifier
    sklearn.neural_network.MLPRegressor = skbackprop.BackpropRegressor
    try:
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sklearn.neural_network.MLPClassifier, sklearn.neural_network.MLPRegressor = originals
    return module


_module = _load()

if _module is None:

    @pytest.mark.skip(reason="this scikit-learn was installed without its tests")
    def test_scikit_learn_suite_is_installed():
        """Stands for the whole suite."""

else:
    assert _module.MLPClassifier is skbackprop.BackpropClassifier
    for _name, _test in vars(_module).items():
        if _name.startswith("test_") and _name not in {**PRIVATE, **OTHERWISE}:
            globals()[_name] = _test


@pytest.fixture
def global_random_seed():
    """The seed that scikit-learn's test configuration gives by default."""
    return 42


# scikit-learn's own test configuration does not turn warnings into errors.
pytestmark = pytest.mark.filterwarnings("default")
