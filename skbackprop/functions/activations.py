"""Activation functions of the hidden layers and their derivatives.

To add one, write a class with the formulas `value` and `slope` and the NumPy and ONNX forms `naive` and `onnx`, and
list it in `__all__` and `ACTIVATIONS`. The estimators' checks, the gradient tests and the documentation follow.
"""

import math
from functools import cache
from numbers import Real
from typing import Any

import numpy as np
from scipy import special

from skbackprop._compile import formula, loop
from skbackprop._sklearn import Interval, StrOptions
from skbackprop.functions._function import Function, named
from skbackprop.functions._registry import Registry
from skbackprop.functions.elementary import erf, exp, log, logistic, natural, number, tanh

__all__ = [
    "ACTIVATIONS",
    "ELU",
    "GELU",
    "SELU",
    "Activation",
    "HardSigmoid",
    "HardTanh",
    "Identity",
    "LeakyReLU",
    "Logistic",
    "Mish",
    "ReLU",
    "SiLU",
    "Softplus",
    "Softsign",
    "Tanh",
    "activation_loops",
]


class Activation(Function):
    """Base class of activations: elementwise functions of the pre-activations z.

    A class has two formulas as static methods, whose last argument s is a named tuple of the settings:

    - ``value(z, s)``: the output a;
    - ``slope(a, s)``: the derivative, computed from the output a, so that z need not be stored. If that is impossible,
      set `slope_of_input` to True; the formula then gets z.

    Two more static methods are used outside the kernels:

    - ``naive(z, *settings)``: the output in plain NumPy, for the tests;
    - ``onnx(g, z, *settings)``: adds operators to a graph, as in ``g("Tanh", z)``, and returns the output's name.
      `to_onnx` refuses a class without its own `onnx`; to inherit it, write ``onnx = staticmethod(Tanh.onnx)``.

    Attributes
    ----------
    slope_of_input : bool
        Whether `slope` takes z. Slopes are then stored in the forward pass for the backward pass.
    init_factor : float
        Numerator of the bound of the default initialization, see `functions.initializers`.
    """

    slope_of_input = False
    init_factor: float = 6.0


class Identity(Activation):
    """Identity: the network stays linear, however many layers it has.

    Useful to compare a network with a linear model, or for a narrow layer between others, as in a factorization.
    """

    name = "identity"
    definition = "z"

    @staticmethod
    def naive(z: Any) -> Any:
        return z

    @staticmethod
    def onnx(g: Any, z: Any) -> Any:
        return z

    @staticmethod
    @formula
    def value(z, s):
        return z

    @staticmethod
    @formula
    def slope(a, s):
        return number(1.0, a)


class Logistic(Activation):
    """Logistic function (sigmoid), between 0 and 1.

    Its slope is at most 1/4, so gradients vanish in networks of more than two or three hidden layers. For small
    networks and to reproduce older results; otherwise use `Tanh` or `ReLU`.
    """

    name = "logistic"
    definition = r"1 / (1 + e^{-z})"
    reference = "Rumelhart, Hinton and Williams (1986)"
    init_factor: float = 2.0

    @staticmethod
    def naive(z: Any) -> Any:
        return special.expit(z)

    @staticmethod
    def onnx(g: Any, z: Any) -> Any:
        return g("Sigmoid", z)

    @staticmethod
    @formula
    def value(z, s):
        return logistic(z)

    @staticmethod
    @formula
    def slope(a, s):
        return a * (number(1.0, a) - a)


class Tanh(Activation):
    """Hyperbolic tangent, between -1 and 1, smooth and centered.

    For small networks, smooth targets, and ``solver='lbfgs'``, which needs smooth functions. Goes with
    ``weight_init='glorot_uniform'``.
    """

    name = "tanh"
    definition = r"\tanh z"
    reference = "LeCun et al. (1998), Efficient BackProp"

    @staticmethod
    def naive(z: Any) -> Any:
        return np.tanh(z)

    @staticmethod
    def onnx(g: Any, z: Any) -> Any:
        return g("Tanh", z)

    @staticmethod
    @formula
    def value(z, s):
        return tanh(z)

    @staticmethod
    @formula
    def slope(a, s):
        return number(1.0, a) - a * a


class ReLU(Activation):
    """Rectified linear unit: the cheapest, and it does not saturate for large z. The default.

    A unit that is zero for all rows has no gradient and is dead; if there are many, lower the learning rate or use
    `LeakyReLU`. In deep networks, use ``weight_init='he_normal'``.
    """

    name = "relu"
    definition = r"\max(0, z)"
    reference = "Nair and Hinton (2010)"

    @staticmethod
    def naive(z: Any) -> Any:
        return np.maximum(z, 0.0)

    @staticmethod
    def onnx(g: Any, z: Any) -> Any:
        return g("Relu", z)

    @staticmethod
    @formula
    def value(z, s):
        zero = number(0.0, z)
        # Not `max`, which drops NaN. Adding zero makes LLVM store unconditionally, which is six times as fast.
        return (zero if z < zero else z) + zero

    @staticmethod
    @formula
    def slope(a, s):
        return number(0.0, a) if a == number(0.0, a) else number(1.0, a)


class LeakyReLU(Activation):
    """Rectified linear unit with a small slope for negative z, so that no unit dies.

    Parameters
    ----------
    negative_slope : float, default=0.01
        Slope for negative z; positive.
    """

    name = "leaky_relu"
    definition = r"z \text{ if } z > 0, \text{ else } s z"
    reference = "Maas, Hannun and Ng (2013)"
    _parameter_constraints = {"negative_slope": [Interval(Real, 0, None, closed="neither")]}

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = negative_slope

    @staticmethod
    def naive(z: Any, negative_slope: Any) -> Any:
        return np.where(z > 0, z, negative_slope * z)

    @staticmethod
    def onnx(g: Any, z: Any, negative_slope: Any) -> Any:
        return g("Add", g("Relu", z), g("Mul", g("Min", z, 0.0), negative_slope))

    @staticmethod
    @formula
    def value(z, s):
        zero = number(0.0, z)
        return (s.negative_slope * z if z < zero else z) + zero

    @staticmethod
    @formula
    def slope(a, s):
        return number(1.0, a) if a > number(0.0, a) else s.negative_slope


def _exponential_below(g, z, slope, scale):
    """Add ``slope * z`` for positive z and ``scale * (exp(z) - 1)`` for negative z to an ONNX graph."""
    below = g("Mul", g("Sub", g("Exp", g("Min", z, 0.0)), 1.0), scale)
    return g("Add", g("Mul", g("Relu", z), slope), below)


class ELU(Activation):
    """Exponential linear unit: negative outputs bring the mean closer to zero.

    Smooth with the default `alpha`, and no unit dies. For deep networks without normalization.

    Parameters
    ----------
    alpha : float, default=1.0
        The output tends to ``-alpha`` for very negative z; positive.
    """

    name = "elu"
    definition = r"z \text{ if } z > 0, \text{ else } \alpha (e^z - 1)"
    reference = "Clevert, Unterthiner and Hochreiter (2016)"
    _parameter_constraints = {"alpha": [Interval(Real, 0, None, closed="neither")]}

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha

    @staticmethod
    def naive(z: Any, alpha: Any) -> Any:
        return np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0)))

    @staticmethod
    def onnx(g: Any, z: Any, alpha: Any) -> Any:
        return _exponential_below(g, z, 1.0, alpha)

    @staticmethod
    @formula
    def value(z, s):
        zero = number(0.0, z)
        return (z if z > zero else s.alpha * (exp(z) - number(1.0, z))) + zero

    @staticmethod
    @formula
    def slope(a, s):
        return number(1.0, a) if a > number(0.0, a) else a + s.alpha


_SELU_SCALE = 1.0507009873554805
_SELU_ALPHA = 1.6732632423543772


class SELU(Activation):
    """Scaled exponential linear unit, which keeps outputs at mean 0 and variance 1 from layer to layer.

    For deep fully connected networks without `normalization`, with ``weight_init="lecun_normal"`` and standardized
    columns.
    """

    name = "selu"
    definition = (
        r"\lambda z \text{ if } z > 0, \text{ else } \lambda \alpha (e^z - 1);\ \lambda = 1.0507,\ \alpha = 1.6733"
    )
    reference = "Klambauer et al. (2017)"

    @staticmethod
    def naive(z: Any) -> Any:
        return _SELU_SCALE * ELU.naive(z, _SELU_ALPHA)

    @staticmethod
    def onnx(g: Any, z: Any) -> Any:
        return _exponential_below(g, z, _SELU_SCALE, _SELU_SCALE * _SELU_ALPHA)

    @staticmethod
    @formula
    def value(z, s):
        zero = number(0.0, z)
        below = number(_SELU_SCALE * _SELU_ALPHA, z) * (exp(z) - number(1.0, z))
        return (number(_SELU_SCALE, z) * z if z > zero else below) + zero

    @staticmethod
    @formula
    def slope(a, s):
        scale = number(_SELU_SCALE, a)
        return scale if a > number(0.0, a) else a + number(_SELU_SCALE * _SELU_ALPHA, a)


class GELU(Activation):
    r"""Gaussian error linear unit: z times the cumulative distribution function of the standard normal distribution.

    A smooth rectifier, slightly negative below zero; common in large networks. Worth trying in deep networks.

    Parameters
    ----------
    approximate : {"none", "tanh"}, default="none"
        "tanh" is the paper's approximation, which differs by less than 0.0005:
        ``0.5 z (1 + tanh(sqrt(2 / pi) (z + 0.044715 z ** 3)))``.
    """

    name = "gelu"
    definition = r"z\,\Phi(z)"
    reference = "Hendrycks and Gimpel (2016)"
    slope_of_input = True
    _parameter_constraints = {"approximate": [StrOptions({"none", "tanh"})]}

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = approximate

    def settings(self) -> Any:
        """Return 1 for the approximation, otherwise 0."""
        return (float(self.approximate == "tanh"),)

    @classmethod
    def setting_names(cls) -> Any:
        """Return the name of the parameter."""
        return ("approximate",)

    @staticmethod
    def naive(z: Any, approximate: Any) -> Any:
        if approximate:
            return 0.5 * z * (1 + np.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))
        return z * special.ndtr(z)

    @staticmethod
    def onnx(g: Any, z: Any, approximate: Any) -> Any:
        if approximate:
            cube = g("Mul", g("Mul", z, z), g("Mul", z, 0.044715))
            inner = g("Tanh", g("Mul", g("Add", z, cube), math.sqrt(2 / math.pi)))
        else:
            inner = g.erf(g("Mul", z, math.sqrt(0.5)))
        return g("Mul", g("Mul", z, 0.5), g("Add", inner, 1.0))

    @staticmethod
    @formula
    def value(z, s):
        half, one = number(0.5, z), number(1.0, z)
        if s.approximate == one:
            inner = number(math.sqrt(2 / math.pi), z) * (z + number(0.044715, z) * z * z * z)
            return half * z * (one + tanh(inner))
        return half * z * (one + erf(z * number(math.sqrt(0.5), z)))

    @staticmethod
    @formula
    def slope(z, s):
        half, one = number(0.5, z), number(1.0, z)
        if s.approximate == one:
            scale, cube = number(math.sqrt(2 / math.pi), z), number(0.044715, z)
            t = tanh(scale * (z + cube * z * z * z))
            return half * (one + t) + half * z * (one - t * t) * scale * (one + number(3.0, z) * cube * z * z)
        density = number(1 / math.sqrt(2 * math.pi), z) * exp(-half * z * z)
        return half * (one + erf(z * number(math.sqrt(0.5), z))) + z * density


class SiLU(Activation):
    """Sigmoid linear unit, also called swish: similar to `GELU`, with a simpler formula."""

    name = "silu"
    definition = r"z / (1 + e^{-z})"
    reference = "Elfwing, Uchibe and Doya (2018)"
    slope_of_input = True

    @staticmethod
    def naive(z: Any) -> Any:
        return z * special.expit(z)

    @staticmethod
    def onnx(g: Any, z: Any) -> Any:
        return g("Mul", z, g("Sigmoid", z))

    @staticmethod
    @formula
    def value(z, s):
        return z * logistic(z)

    @staticmethod
    @formula
    def slope(z, s):
        p = logistic(z)
        return p * (number(1.0, z) + z * (number(1.0, z) - p))


@formula
def _tanh_softplus(z):
    """Compute ``tanh(log(1 + exp(z)))`` as a ratio of polynomials in exp(z)."""
    top = number(20.0, z)
    e = exp(top if z > top else z)
    ratio = e * (e + number(2.0, z))
    return ratio / (ratio + number(2.0, z))


class Mish(Activation):
    """Mish: smooth and not monotonic, similar to `SiLU` with a slightly deeper minimum. An alternative to it."""

    name = "mish"
    definition = r"z \tanh \ln(1 + e^z)"
    reference = "Misra (2020)"
    slope_of_input = True

    @staticmethod
    def naive(z: Any) -> Any:
        return z * np.tanh(np.logaddexp(0, z))

    @staticmethod
    def onnx(g: Any, z: Any) -> Any:
        return g("Mul", z, g("Tanh", Softplus.onnx(g, z)))

    @staticmethod
    @formula
    def value(z, s):
        return z * _tanh_softplus(z)

    @staticmethod
    @formula
    def slope(z, s):
        t = _tanh_softplus(z)
        return t + z * (number(1.0, z) - t * t) * logistic(z)


class Softplus(Activation):
    """Smooth rectifier, always positive.

    For smooth functions of the inputs, with derivatives of all orders. Its outputs are not centered, so it trains more
    slowly than `ReLU`.
    """

    name = "softplus"
    definition = r"\ln(1 + e^z)"
    reference = "Dugas et al. (2001)"

    @staticmethod
    def naive(z: Any) -> Any:
        return np.logaddexp(0, z)

    @staticmethod
    def onnx(g: Any, z: Any) -> Any:
        # The exponential of a positive number could overflow.
        return g("Add", g("Relu", z), g("Log", g("Add", g("Exp", g("Neg", g("Abs", z))), 1.0)))

    @staticmethod
    @formula
    def value(z, s):
        zero, one = number(0.0, z), number(1.0, z)
        # exp of a negative number only: it cannot overflow.
        return (zero if z < zero else z) + log(one + exp(-abs(z)))

    @staticmethod
    @formula
    def slope(a, s):
        return number(1.0, a) - exp(-a)


class Softsign(Activation):
    """Softsign, between -1 and 1: units saturate later than with `Tanh`, to which it is an alternative."""

    name = "softsign"
    definition = r"z / (1 + |z|)"
    reference = "Glorot and Bengio (2010)"

    @staticmethod
    def naive(z: Any) -> Any:
        return z / (1 + np.abs(z))

    @staticmethod
    def onnx(g: Any, z: Any) -> Any:
        return g("Div", z, g("Add", g("Abs", z), 1.0))

    @staticmethod
    @formula
    def value(z, s):
        return z / (number(1.0, z) + abs(z))

    @staticmethod
    @formula
    def slope(a, s):
        rest = number(1.0, a) - abs(a)
        return rest * rest


class HardSigmoid(Activation):
    """Piecewise linear logistic function: cheap, exactly 0 and 1 at the ends, without a gradient there."""

    name = "hard_sigmoid"
    definition = r"\min(1, \max(0, z / 6 + 1 / 2))"
    reference = "Courbariaux, Bengio and David (2015), with the slope of PyTorch and Keras 3"

    @staticmethod
    def naive(z: Any) -> Any:
        return np.clip(z / 6 + 0.5, 0, 1)

    @staticmethod
    def onnx(g: Any, z: Any) -> Any:
        return g.clip(g("Add", g("Div", z, 6.0), 0.5), 0.0, 1.0)

    @staticmethod
    @formula
    def value(z, s):
        zero, one = number(0.0, z), number(1.0, z)
        a = z * number(1.0 / 6.0, z) + number(0.5, z)
        a = zero if a < zero else a
        return (one if a > one else a) + zero

    @staticmethod
    @formula
    def slope(a, s):
        zero = number(0.0, a)
        inside = a > zero and a < number(1.0, a)
        return number(1.0 / 6.0, a) if inside else zero


class HardTanh(Activation):
    """Piecewise linear hyperbolic tangent: cheap, exactly -1 and 1 at the ends, without a gradient there."""

    name = "hard_tanh"
    definition = r"\min(1, \max(-1, z))"
    reference = "Collobert (2004)"

    @staticmethod
    def naive(z: Any) -> Any:
        return np.clip(z, -1, 1)

    @staticmethod
    def onnx(g: Any, z: Any) -> Any:
        return g.clip(z, -1.0, 1.0)

    @staticmethod
    @formula
    def value(z, s):
        one = number(1.0, z)
        a = -one if z < -one else z
        return (one if a > one else a) + number(0.0, z)

    @staticmethod
    @formula
    def slope(a, s):
        one = number(1.0, a)
        return one if a > -one and a < one else number(0.0, a)


ACTIVATIONS = Registry(
    "activation",
    Activation,
    [
        Identity,
        Logistic,
        Tanh,
        ReLU,
        LeakyReLU,
        ELU,
        SELU,
        GELU,
        SiLU,
        Mish,
        Softplus,
        Softsign,
        HardSigmoid,
        HardTanh,
    ],
)


def value(z: Any, s: Any) -> Any:
    """Placeholder for the formula that the templates call."""
    return z


def slope(a: Any, s: Any) -> Any:
    """Placeholder for the formula that the templates call."""
    return a


def _activate(z, slopes, n, settings):
    s = named(settings, z)
    for position in range(n):
        i = natural(position)
        z[i] = value(z[i], s)


def _activate_keeping_input(z, slopes, n, settings):
    s = named(settings, z)
    for position in range(n):
        i = natural(position)
        x = z[i]
        slopes[i] = slope(x, s)
        z[i] = value(x, s)


def _activate_keeping_output(z, slopes, n, settings):
    s = named(settings, z)
    for position in range(n):
        i = natural(position)
        a = value(z[i], s)
        slopes[i] = slope(a, s)
        z[i] = a


def _derive(a, slopes, delta, n, settings):
    s = named(settings, a)
    for position in range(n):
        i = natural(position)
        delta[i] = delta[i] * slope(a[i], s)


def _derive_kept(a, slopes, delta, n, settings):
    for position in range(n):
        i = natural(position)
        delta[i] = delta[i] * slopes[i]


@cache
def activation_loops(kind: Any, keeps: bool) -> tuple[Any, Any]:
    """Return the loops of an activation.

    Parameters
    ----------
    kind : type
        Class in `ACTIVATIONS`.
    keeps : bool
        Whether the forward pass stores the slopes for the backward pass.

    Returns
    -------
    activate : Loop
        Called with pointers to n pre-activations, which are overwritten with the outputs, and to n slopes, which are
        written if `keeps`; with n; and with a pointer to the settings.
    derive : Loop
        Called with pointers to n outputs, to the slopes, and to the gradient with respect to the outputs, which is
        overwritten with the gradient with respect to the pre-activations; with n; and with a pointer to the settings.
    """
    if not keeps:
        return kind.loop(_activate, value=kind.value), kind.loop(_derive, slope=kind.slope)
    template = _activate_keeping_input if kind.slope_of_input else _activate_keeping_output
    return kind.loop(template, value=kind.value, slope=kind.slope), loop(_derive_kept)
