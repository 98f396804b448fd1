"""What is said where a parameter is invalid: the names to choose from, and the one that was meant."""

import re
from pathlib import Path

import numpy as np
import pytest
import tomllib
from sklearn.compose import TransformedTargetRegressor
from sklearn.utils._param_validation import InvalidParameterError, StrOptions

from skbackprop import BackpropClassifier, BackpropRegressor
from skbackprop._extras import _LIBRARIES, how_to_install
from skbackprop._names import did_you_mean
from skbackprop.functions import GELU
from skbackprop.functions.activations import ACTIVATIONS
from skbackprop.functions.losses import LOSSES
from skbackprop.functions.normalizations import NORMALIZATIONS
from skbackprop.functions.optimizers import OPTIMIZERS
from skbackprop.functions.schedules import SCHEDULES

X = np.random.default_rng(0).standard_normal((20, 3))
Y = X[:, 0]

MEANT = [
    ("activation", "swish", "silu"),
    ("activation", "sigmoid", "logistic"),
    ("activation", "linear", "identity"),
    ("activation", "ReLU", "relu"),
    ("activation", "LeakyReLU", "leaky_relu"),
    ("activation", "leaky-relu", "leaky_relu"),
    ("activation", "hardtanh", "hard_tanh"),
    ("loss", "mse", "squared_error"),
    ("loss", "mae", "absolute_error"),
    ("loss", "mean_squared_error", "squared_error"),
    ("loss", "pinball", "quantile"),
    ("loss", "log-cosh", "log_cosh"),
    ("solver", "AdamW", "adamw"),
    ("solver", "adm", "adam"),
    ("solver", "RMSProp", "rmsprop"),
    ("solver", "nesterov", "sgd"),
    ("learning_rate", "plateau", "reduce_on_plateau"),
    ("learning_rate", "cosine_annealing", "cosine"),
    ("learning_rate", "inverse_scaling", "invscaling"),
    ("learning_rate", "linear", "polynomial"),
    ("learning_rate", "OneCycle", "one_cycle"),
    ("weight_init", "xavier", "glorot_uniform"),
    ("weight_init", "kaiming_normal", "he_normal"),
    ("normalization", "batchnorm", "batch"),
    ("normalization", "layer_norm", "layer"),
]
REGISTRIES = {registry.kind: registry for registry in (ACTIVATIONS, LOSSES, OPTIMIZERS, SCHEDULES, NORMALIZATIONS)}


def names_in(message):
    """The names that a message lists."""
    return re.findall(r"'(\w+)'", re.search(r"among \{(.*?)\}", message)[1])


@pytest.mark.parametrize(("parameter", "given", "meant"), MEANT)
def test_the_name_that_was_meant_is_said(parameter, given, meant):
    message = rf"The '{parameter}' parameter of .* Got '{given}' instead\. Did you mean '{meant}'\?"
    with pytest.raises(InvalidParameterError, match=message) as caught:
        BackpropRegressor(**{parameter: given}).fit(X, Y)
    (options,) = (
        kind.options for kind in BackpropRegressor._parameter_constraints[parameter] if isinstance(kind, StrOptions)
    )
    assert names_in(str(caught.value)) == sorted(options)
    if parameter in REGISTRIES:
        with pytest.raises(ValueError, match=f"={given!r} is not known; did you mean {meant!r}\\? Choose one of '"):
            REGISTRIES[parameter][given]


def test_cross_entropy_is_the_log_loss():
    for given in ("cross_entropy", "categorical_crossentropy", "bce", "LogLoss", "softmax"):
        with pytest.raises(InvalidParameterError, match=r"instead\. Did you mean 'log_loss'\?"):
            BackpropClassifier(loss=given).fit(X, Y > 0)


def test_names_that_are_like_none_are_only_answered_with_the_choices():
    with pytest.raises(InvalidParameterError, match=r"Got 'bogus' instead\.$"):
        BackpropRegressor(activation="bogus").fit(X, Y)
    for registry in REGISTRIES.values():
        with pytest.raises(ValueError, match="is not known; choose one of '") as caught:
            registry["bogus"]
        assert re.findall(r"'(\w+)'", str(caught.value))[1:] == sorted(registry)
        with pytest.raises(TypeError, match="is not a function of this kind: give one of the names") as caught:
            registry.get_function(3)
        assert re.findall(r"'(\w+)'", str(caught.value)) == sorted(registry)


@pytest.mark.parametrize("registry", REGISTRIES.values(), ids=REGISTRIES)
def test_every_name_is_meant_by_itself_however_it_is_written(registry):
    for name, kind in registry.items():
        assert did_you_mean(name.upper(), registry) == name
        assert did_you_mean(name.replace("_", "-"), registry) == name
        assert did_you_mean(kind.__name__, registry) in (name, None)


def test_settings_of_functions_and_of_one_layer_have_names_too():
    with pytest.raises(InvalidParameterError, match=r"'approximate' parameter of GELU .* Did you mean 'tanh'\?"):
        BackpropRegressor(activation=GELU(approximate="tan")).fit(X, Y)
    with pytest.raises(ValueError, match=r"activation='swish' is not known; did you mean 'silu'\?"):
        BackpropRegressor(activation=["swish"]).fit(X, Y)
    with pytest.raises(InvalidParameterError, match=r"Got 'prio' instead\. Did you mean 'prior'\?"):
        BackpropRegressor(output_bias="prio").fit(X, Y)


@pytest.mark.parametrize("sizes", [(64, 32), [64], 64, np.array([64, 32])], ids=repr)
def test_sizes_of_layers_in_the_place_of_the_loss(sizes):
    hint = f"The first argument of BackpropRegressor is loss: did you mean hidden_layer_sizes={sizes!r}?"
    model = BackpropRegressor(sizes)
    with pytest.raises(InvalidParameterError, match=re.escape(hint)):
        model.fit(X, Y)
    # What asks for an estimator's properties comes before fit.
    assert not model.__sklearn_tags__().target_tags.positive_only
    with pytest.raises(InvalidParameterError, match=r"Got 3\.5 instead\.$"):
        BackpropRegressor(3.5).fit(X, Y)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_deviations_cannot_be_transformed_back():
    network = BackpropRegressor("gaussian_nll", (3,), max_iter=5, random_state=0)
    model = TransformedTargetRegressor(network, func=np.arcsinh, inverse_func=np.sinh).fit(X, Y)
    with pytest.raises(AttributeError, match=r"gives a tuple .* use standardize_target=True") as caught:
        model.predict(X, return_std=True)
    assert "\n" not in str(caught.value)
    means, deviations = model.regressor_.predict(X, return_std=True)
    assert means.shape == deviations.shape == (20,)
    np.testing.assert_array_equal(model.predict(X), np.sinh(means))


@pytest.mark.parametrize("extra", _LIBRARIES)
def test_errors_say_how_to_install_what_an_extra_requires(extra):
    """Also without an index that has this package."""
    content = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    requirements = content["project"]["optional-dependencies"][extra]
    libraries = [requirement.partition(">")[0] for requirement in requirements]
    assert [library.strip('"') for library in _LIBRARIES[extra].split()] == libraries
    assert f"pip install {_LIBRARIES[extra]}, or" in how_to_install(extra)
    assert f'".[{extra}]"' in how_to_install(extra)
