"""Optimizers: from a gradient to a change of the parameters.

To add one: a class with its two formulas, `prepare` and `update`, and its place in `OPTIMIZERS`. The estimators' checks, the
tests of every optimizer and the documentation follow.
"""

import math
from functools import cache
from numbers import Real

from skbackprop._compile import formula, loop
from skbackprop._sklearn import Interval
from skbackprop.functions._function import N_SETTINGS, Function
from skbackprop.functions._registry import Registry
from skbackprop.functions.elementary import natural, number, numbers

__all__ = [
    "N_CONSTANTS",
    "N_SETTINGS",
    "OPTIMIZERS",
    "SGD",
    "AMSGrad",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "NAdam",
    "Optimizer",
    "RMSprop",
    "mean_gradient",
    "optimizer_loops",
]

#: Numbers that `prepare` leaves for the update of all parameters. The last two also persist from update to update.
N_CONSTANTS = 8

_FRACTION = [Interval(Real, 0, 1, closed="left")]
_MOMENTUM = [Interval(Real, 0, 1, closed="both")]
_NOT_NEGATIVE = [Interval(Real, 0, None, closed="left")]
_POSITIVE = [Interval(Real, 0, None, closed="neither")]


class Optimizer(Function):
    r"""A stochastic optimizer: what one mini-batch's gradient g does to a parameter w.

    A class has two formulas as static methods. They take and give numbers and tuples, never arrays, so that one source
    serves every backend:

    - ``prepare(rate, step, s, kept)``: what is the same for all parameters, once for each update and in float64, from the
      learning rate :math:`\eta`, the number of the update t (from 1), the settings s in the alphabetical order of their
      names, and the last two of the constants as the update before left them (zeros at first). Gives a tuple of at most
      `N_CONSTANTS` numbers.
    - ``update(w, g, decays, s, c)``: one parameter, from its gradient, from 1 if it decays or 0 if it does not (weights do,
      intercepts do not), from the tuple of its state and from the constants, all of one type. Gives a tuple: the new w,
      followed by the new state.

    The learning rate is not an optimizer's setting but the estimators' ``learning_rate_init``.

    Attributes
    ----------
    n_slots : int
        Numbers of state kept for each parameter.
    default_rate : float
        The learning rate that the source recommends, or PyTorch's; for the documentation: the estimators' default is 0.001
        for all.
    """

    n_slots: int
    default_rate = 1e-3

    @classmethod
    def from_parameters(cls, parameters):
        """The object that the optimizer's name stands for.

        Parameters
        ----------
        parameters : dict
            The estimators' parameters. "sgd" and "adam" take their settings from those that scikit-learn has for them.

        Returns
        -------
        optimizer : Optimizer
        """
        return cls()

    def kernel_kind(self):
        """What `optimizer_loops` takes: the class whose formulas these settings ask for.

        Returns
        -------
        kind : type
        """
        return type(self)

    def initial_slots(self):
        """What each parameter's state starts from.

        Returns
        -------
        values : tuple of float
            `n_slots` of them.
        """
        return (0.0,) * self.n_slots


@formula
def _root(x):
    """The square root: not `np.sqrt`, which is missing among the functions that Numba has for CUDA."""
    return number(math.sqrt(x), x)


class _ClassicalMomentum:
    n_slots = 1

    @staticmethod
    @formula
    def prepare(rate, step, s, kept):
        return rate, s[0]

    @staticmethod
    @formula
    def update(w, g, decays, s, c):
        velocity = c[1] * s[0] - c[0] * g
        return w + velocity, velocity


class _NesterovMomentum:
    n_slots = 1
    prepare = _ClassicalMomentum.prepare

    @staticmethod
    @formula
    def update(w, g, decays, s, c):
        change = c[0] * g
        velocity = c[1] * s[0] - change
        return w + (c[1] * velocity - change), velocity


class SGD(Optimizer):
    """Stochastic gradient descent with momentum; scikit-learn's arithmetic.

    Needs a well chosen learning rate, often 0.01 to 0.1, and gains from a schedule that lowers it; then it often generalises
    best.

    Parameters
    ----------
    momentum : float, default=0.9
        Share of the last change that is made again; in [0, 1].
    nesterov : bool, default=True
        Whether the gradient counts as that of the point to which the momentum leads.
    """

    name = "sgd"
    definition = (
        r"v \leftarrow \mu v - \eta g,\quad w \leftarrow w + v \ (\text{Nesterov: } w \leftarrow w + \mu v - \eta g)"
    )
    reference = "Sutskever, Martens, Dahl and Hinton (2013), equations 1-4"
    n_slots = 1
    _parameter_constraints = {"momentum": _MOMENTUM, "nesterov": ["boolean"]}

    def __init__(self, momentum=0.9, nesterov=True):
        self.momentum = momentum
        self.nesterov = nesterov

    @classmethod
    def from_parameters(cls, parameters):
        """With the estimators' `momentum` and `nesterovs_momentum`."""
        return cls(parameters["momentum"], parameters["nesterovs_momentum"])

    def kernel_kind(self):
        """One for each kind of momentum, so that no loop has to ask."""
        return _NesterovMomentum if self.nesterov else _ClassicalMomentum


@formula
def _moments(g, m, v, c):
    """Moving averages of the gradient and of its square."""
    return c[1] * m + c[3] * g, c[2] * v + c[4] * (g * g)


@formula
def _corrected(rate, step, s):
    """Adam's constants with the bias of both averages corrected.

    ``m / (1 - beta_1**t)`` over ``sqrt(v / (1 - beta_2**t)) + epsilon``, with the corrections moved into the learning rate and
    epsilon, which spares each parameter a division.
    """
    root = _root(1.0 - s[1] ** step)
    return rate * root / (1.0 - s[0] ** step), s[0], s[1], 1.0 - s[0], 1.0 - s[1], s[2] * root


class Adam(Optimizer):
    r"""Adaptive moments, as scikit-learn computes them.

    A good first choice: it adapts to each parameter's scale and works with its default settings on most data.

    Epsilon is added without the bias correction, as in scikit-learn. In PyTorch, and here in the other members of the family,
    it stands beside the corrected root: as if it were :math:`\epsilon \sqrt{1 - \beta_2^t}` here. The two differ where
    gradients are as small as epsilon.

    Parameters
    ----------
    beta_1 : float, default=0.9
        Decay of the moving average of the gradients; in [0, 1).
    beta_2 : float, default=0.999
        Decay of the moving average of their squares; in [0, 1).
    epsilon : float, default=1e-8
        Keeps the denominator from zero; positive.
    """

    name = "adam"
    definition = (
        r"m \leftarrow \beta_1 m + (1 - \beta_1) g,\quad v \leftarrow \beta_2 v + (1 - \beta_2) g^2,\quad "
        r"w \leftarrow w - \eta \frac{\sqrt{1 - \beta_2^t}}{1 - \beta_1^t} \frac{m}{\sqrt{v} + \epsilon}"
    )
    reference = "Kingma and Ba (2015), Algorithm 1 in the more efficient order of section 2"
    n_slots = 2
    _parameter_constraints = {"beta_1": _FRACTION, "beta_2": _FRACTION, "epsilon": _POSITIVE}

    def __init__(self, beta_1=0.9, beta_2=0.999, epsilon=1e-8):
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon

    @classmethod
    def from_parameters(cls, parameters):
        """With the estimators' `beta_1`, `beta_2` and `epsilon`."""
        return cls(parameters["beta_1"], parameters["beta_2"], parameters["epsilon"])

    @staticmethod
    @formula
    def prepare(rate, step, s, kept):
        rate = rate * _root(1.0 - s[1] ** step) / (1.0 - s[0] ** step)
        return rate, s[0], s[1], 1.0 - s[0], 1.0 - s[1], s[2]

    @staticmethod
    @formula
    def update(w, g, decays, s, c):
        m, v = _moments(g, s[0], s[1], c)
        return w - c[0] * m / (_root(v) + c[5]), m, v


class AdamW(Optimizer):
    r"""Adam with weight decay that is decoupled from the gradient.

    Where Adam divides the gradient of an L2 penalty by the size of the gradients like any other, here every weight shrinks by
    the same share. Use it instead of `alpha`, set to 0, when a network overfits; values from 0.001 to 0.1 are common.

    As in PyTorch the decay is multiplied by the learning rate, where the paper multiplies it by its schedule alone, and
    epsilon stands beside the bias-corrected root. Unlike PyTorch's, intercepts do not decay.

    Parameters
    ----------
    beta_1 : float, default=0.9
        Decay of the moving average of the gradients; in [0, 1).
    beta_2 : float, default=0.999
        Decay of the moving average of their squares; in [0, 1).
    epsilon : float, default=1e-8
        Keeps the denominator from zero; positive.
    weight_decay : float, default=0.01
        Share of a weight that is lost in each update, for a learning rate of 1; not negative.
    """

    name = "adamw"
    definition = (
        r"m, v \text{ as for adam},\quad w \leftarrow w - \eta \lambda w - "
        r"\eta \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}"
    )
    reference = "Loshchilov and Hutter (2019), Algorithm 2, with PyTorch's scale of the decay"
    n_slots = 2
    _parameter_constraints = {
        "beta_1": _FRACTION,
        "beta_2": _FRACTION,
        "epsilon": _POSITIVE,
        "weight_decay": _NOT_NEGATIVE,
    }

    def __init__(self, beta_1=0.9, beta_2=0.999, epsilon=1e-8, weight_decay=1e-2):
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.weight_decay = weight_decay

    @staticmethod
    @formula
    def prepare(rate, step, s, kept):
        return *_corrected(rate, step, s), rate * s[3]

    @staticmethod
    @formula
    def update(w, g, decays, s, c):
        m, v = _moments(g, s[0], s[1], c)
        return w - decays * c[6] * w - c[0] * m / (_root(v) + c[5]), m, v


class AMSGrad(Optimizer):
    """Adam whose denominator never shrinks, so that rare large gradients are not forgotten.

    A choice where Adam's loss does not settle late in training. As in PyTorch the maximum is taken before the bias is
    corrected, and epsilon stands beside the corrected root; the paper corrects no bias.

    Parameters
    ----------
    beta_1 : float, default=0.9
        Decay of the moving average of the gradients; in [0, 1).
    beta_2 : float, default=0.999
        Decay of the moving average of their squares; in [0, 1).
    epsilon : float, default=1e-8
        Keeps the denominator from zero; positive.
    """

    name = "amsgrad"
    definition = (
        r"m, v \text{ as for adam},\quad u \leftarrow \max(u, v),\quad "
        r"w \leftarrow w - \eta \frac{m / (1 - \beta_1^t)}{\sqrt{u / (1 - \beta_2^t)} + \epsilon}"
    )
    reference = "Reddi, Kale and Kumar (2018), Algorithm 2, with Adam's correction of the bias"
    n_slots = 3
    _parameter_constraints = {"beta_1": _FRACTION, "beta_2": _FRACTION, "epsilon": _POSITIVE}

    def __init__(self, beta_1=0.9, beta_2=0.999, epsilon=1e-8):
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon

    @staticmethod
    @formula
    def prepare(rate, step, s, kept):
        return _corrected(rate, step, s)

    @staticmethod
    @formula
    def update(w, g, decays, s, c):
        m, v = _moments(g, s[0], s[1], c)
        largest = v if v > s[2] else s[2]
        return w - c[0] * m / (_root(largest) + c[5]), m, v, largest


class NAdam(Optimizer):
    r"""Adam with Nesterov's momentum, which grows with the updates.

    Often a little faster than Adam at the start. As in PyTorch, epsilon stands beside the bias-corrected root.

    Parameters
    ----------
    beta_1 : float, default=0.9
        Decay of the moving average of the gradients, and the limit of the momentum; in [0, 1).
    beta_2 : float, default=0.999
        Decay of the moving average of their squares; in [0, 1).
    epsilon : float, default=1e-8
        Keeps the denominator from zero; positive.
    momentum_decay : float, default=0.004
        How fast the momentum grows from about half of `beta_1` to `beta_1`: :math:`\psi` in
        :math:`\mu_t = \beta_1 (1 - 0.96^{t \psi} / 2)`; not negative.
    """

    name = "nadam"
    definition = (
        r"m, v \text{ as for adam},\quad \mu_t = \beta_1 (1 - 0.96^{t \psi} / 2),\quad w \leftarrow w - \eta "
        r"\frac{(1 - \mu_t) g / (1 - \prod_{i \le t} \mu_i) + \mu_{t+1} m / (1 - \prod_{i \le t+1} \mu_i)}"
        r"{\sqrt{v / (1 - \beta_2^t)} + \epsilon}"
    )
    reference = "Dozat (2016), Incorporating Nesterov Momentum into Adam, with PyTorch's parameters"
    n_slots = 2
    default_rate = 2e-3
    _parameter_constraints = {
        "beta_1": _FRACTION,
        "beta_2": _FRACTION,
        "epsilon": _POSITIVE,
        "momentum_decay": _NOT_NEGATIVE,
    }

    def __init__(self, beta_1=0.9, beta_2=0.999, epsilon=1e-8, momentum_decay=4e-3):
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.momentum_decay = momentum_decay

    @staticmethod
    @formula
    def prepare(rate, step, s, kept):
        root = _root(1.0 - s[1] ** step)
        momentum = s[0] * (1.0 - 0.5 * 0.96 ** (step * s[3]))
        next_momentum = s[0] * (1.0 - 0.5 * 0.96 ** ((step + 1) * s[3]))
        # The product over all updates has no closed form: it is carried along.
        product = momentum * (1.0 if step == 1 else kept[1])
        of_gradient = rate * root * (1.0 - momentum) / (1.0 - product)
        of_average = rate * root * next_momentum / (1.0 - product * next_momentum)
        return of_gradient, s[0], s[1], 1.0 - s[0], 1.0 - s[1], s[2] * root, of_average, product

    @staticmethod
    @formula
    def update(w, g, decays, s, c):
        m, v = _moments(g, s[0], s[1], c)
        return w - (c[0] * g + c[6] * m) / (_root(v) + c[5]), m, v


class Adamax(Optimizer):
    """Adam with a decaying maximum of the gradients in the place of their root mean square.

    Steadier than Adam where single gradients are much larger than the others. As in PyTorch, epsilon is added to the size of
    each gradient; the paper has none.

    Parameters
    ----------
    beta_1 : float, default=0.9
        Decay of the moving average of the gradients; in [0, 1).
    beta_2 : float, default=0.999
        Decay of the maximum; in [0, 1).
    epsilon : float, default=1e-8
        Keeps the denominator from zero; positive.
    """

    name = "adamax"
    definition = (
        r"m \leftarrow \beta_1 m + (1 - \beta_1) g,\quad u \leftarrow \max(\beta_2 u, |g| + \epsilon),\quad "
        r"w \leftarrow w - \frac{\eta}{1 - \beta_1^t} \frac{m}{u}"
    )
    reference = "Kingma and Ba (2015), section 7.1"
    n_slots = 2
    default_rate = 2e-3
    _parameter_constraints = {"beta_1": _FRACTION, "beta_2": _FRACTION, "epsilon": _POSITIVE}

    def __init__(self, beta_1=0.9, beta_2=0.999, epsilon=1e-8):
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon

    @staticmethod
    @formula
    def prepare(rate, step, s, kept):
        return rate / (1.0 - s[0] ** step), s[0], s[1], 1.0 - s[0], s[2]

    @staticmethod
    @formula
    def update(w, g, decays, s, c):
        m = c[1] * s[0] + c[3] * g
        size, faded = abs(g) + c[4], c[2] * s[1]
        largest = size if size > faded else faded
        return w - c[0] * m / largest, m, largest


class _PlainRMSprop:
    n_slots = 1

    @staticmethod
    @formula
    def prepare(rate, step, s, kept):
        epsilon, momentum, rho = s[1], s[2], s[3]
        return rate, rho, 1.0 - rho, epsilon, momentum

    @staticmethod
    @formula
    def update(w, g, decays, s, c):
        v = c[1] * s[0] + c[2] * (g * g)
        return w - c[0] * g / (_root(v) + c[3]), v


class _MomentumRMSprop:
    n_slots = 2
    prepare = _PlainRMSprop.prepare

    @staticmethod
    @formula
    def update(w, g, decays, s, c):
        v = c[1] * s[0] + c[2] * (g * g)
        change = c[4] * s[1] + g / (_root(v) + c[3])
        return w - c[0] * change, v, change


class _CenteredRMSprop:
    n_slots = 3
    prepare = _PlainRMSprop.prepare

    @staticmethod
    @formula
    def update(w, g, decays, s, c):
        v = c[1] * s[0] + c[2] * (g * g)
        m = c[1] * s[2] + c[2] * g
        variance, zero = v - m * m, number(0.0, w)
        # Rounding takes the variance of gradients that hardly change below zero; a NaN must stay a NaN.
        variance = zero if variance < zero else variance
        change = c[4] * s[1] + g / (_root(variance) + c[3])
        return w - c[0] * change, v, change, m


class RMSprop(Optimizer):
    """The gradient, divided by the root of a moving average of its squares.

    Without Adam's momentum and correction of the bias: the first updates are large. A choice for targets that drift, as in
    streams of `partial_fit`.

    Parameters
    ----------
    rho : float, default=0.99
        Decay of the moving averages; in [0, 1). The default is that of PyTorch, where it is called alpha; the source has 0.9.
    epsilon : float, default=1e-8
        Keeps the denominator from zero; positive.
    momentum : float, default=0.0
        Share of the last change that is made again; in [0, 1].
    centered : bool, default=False
        Whether to divide by the standard deviation of the gradients instead: the square of their moving average is subtracted.
    """

    name = "rmsprop"
    definition = (
        r"v \leftarrow \rho v + (1 - \rho) g^2,\quad b \leftarrow \mu b + \frac{g}{\sqrt{v} + \epsilon},\quad "
        r"w \leftarrow w - \eta b \ (\text{centered: } v - m^2 \text{ in the place of } v,\ "
        r"m \leftarrow \rho m + (1 - \rho) g)"
    )
    reference = "Tieleman and Hinton (2012), lecture 6.5; centered: Graves (2013), equations 38-41"
    # Allocated whatever the settings, which can so change between two calls of partial_fit; only those in use are touched.
    n_slots = 3
    _parameter_constraints = {
        "rho": _FRACTION,
        "epsilon": _POSITIVE,
        "momentum": _MOMENTUM,
        "centered": ["boolean"],
    }

    def __init__(self, rho=0.99, epsilon=1e-8, momentum=0.0, centered=False):
        self.rho = rho
        self.epsilon = epsilon
        self.momentum = momentum
        self.centered = centered

    def kernel_kind(self):
        """The one that keeps no more state than these settings need."""
        if self.centered:
            return _CenteredRMSprop
        return _MomentumRMSprop if self.momentum > 0 else _PlainRMSprop


class Adagrad(Optimizer):
    """The gradient, divided by the root of the sum of all its squares: the updates become ever smaller.

    Made for sparse features, each of which keeps a learning rate of its own, and for few epochs.

    Parameters
    ----------
    epsilon : float, default=1e-10
        Keeps the denominator from zero; positive.
    initial_accumulator_value : float, default=0.0
        What the sum starts from; not negative. A larger value makes the first updates smaller.
    """

    name = "adagrad"
    definition = r"v \leftarrow v + g^2,\quad w \leftarrow w - \eta \frac{g}{\sqrt{v} + \epsilon}"
    reference = "Duchi, Hazan and Singer (2011), with diagonal matrices"
    n_slots = 1
    default_rate = 1e-2
    _parameter_constraints = {"epsilon": _POSITIVE, "initial_accumulator_value": _NOT_NEGATIVE}

    def __init__(self, epsilon=1e-10, initial_accumulator_value=0.0):
        self.epsilon = epsilon
        self.initial_accumulator_value = initial_accumulator_value

    def initial_slots(self):
        """The sum starts from `initial_accumulator_value`."""
        return (float(self.initial_accumulator_value),)

    @staticmethod
    @formula
    def prepare(rate, step, s, kept):
        return rate, s[0]

    @staticmethod
    @formula
    def update(w, g, decays, s, c):
        v = s[0] + g * g
        return w - c[0] * g / (_root(v) + c[1]), v


class Adadelta(Optimizer):
    """The gradient, scaled by the ratio of past changes to past gradients: changes have the parameters' unit.

    The paper has no learning rate: set ``learning_rate_init=1.0``. It starts slowly, but nothing has to be tuned.

    Parameters
    ----------
    rho : float, default=0.9
        Decay of the moving averages; in [0, 1). The default is PyTorch's; the paper uses 0.95.
    epsilon : float, default=1e-6
        Size of the squares from which both averages start, and so of the first changes; positive.
    """

    name = "adadelta"
    definition = (
        r"v \leftarrow \rho v + (1 - \rho) g^2,\quad \delta = \frac{\sqrt{d + \epsilon}}{\sqrt{v + \epsilon}} g,\quad "
        r"d \leftarrow \rho d + (1 - \rho) \delta^2,\quad w \leftarrow w - \eta \delta"
    )
    reference = "Zeiler (2012), Algorithm 1"
    n_slots = 2
    default_rate = 1.0
    _parameter_constraints = {"rho": _FRACTION, "epsilon": _POSITIVE}

    def __init__(self, rho=0.9, epsilon=1e-6):
        self.rho = rho
        self.epsilon = epsilon

    @staticmethod
    @formula
    def prepare(rate, step, s, kept):
        epsilon, rho = s[0], s[1]
        return rate, rho, 1.0 - rho, epsilon

    @staticmethod
    @formula
    def update(w, g, decays, s, c):
        v = c[1] * s[0] + c[2] * (g * g)
        delta = _root(s[1] + c[3]) / _root(v + c[3]) * g
        return w - c[0] * delta, v, c[1] * s[1] + c[2] * (delta * delta)


class Lion(Optimizer):
    """The sign of a moving average: every parameter changes by the learning rate, up or down.

    Keeps half of Adam's state. It wants a learning rate 3 to 10 times smaller than Adam's and a weight decay as many times
    larger, and does best with large batches.

    Parameters
    ----------
    beta_1 : float, default=0.9
        Share of the moving average in the direction of the update, beside the gradient; in [0, 1).
    beta_2 : float, default=0.99
        Decay of the moving average of the gradients; in [0, 1).
    weight_decay : float, default=0.0
        Share of a weight that is lost in each update, for a learning rate of 1; not negative. Intercepts do not decay.
    """

    name = "lion"
    definition = (
        r"w \leftarrow w - \eta \lambda w - \eta \operatorname{sign}(\beta_1 m + (1 - \beta_1) g),\quad "
        r"m \leftarrow \beta_2 m + (1 - \beta_2) g"
    )
    reference = "Chen et al. (2023), Algorithm 2"
    n_slots = 1
    default_rate = 1e-4
    _parameter_constraints = {"beta_1": _FRACTION, "beta_2": _FRACTION, "weight_decay": _NOT_NEGATIVE}

    def __init__(self, beta_1=0.9, beta_2=0.99, weight_decay=0.0):
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.weight_decay = weight_decay

    @staticmethod
    @formula
    def prepare(rate, step, s, kept):
        return rate, s[0], s[1], 1.0 - s[0], 1.0 - s[1], rate * s[2]

    @staticmethod
    @formula
    def update(w, g, decays, s, c):
        zero, one = number(0.0, w), number(1.0, w)
        direction = c[1] * s[0] + c[3] * g
        # What is neither is 0 or NaN, and stays so.
        sign = one if direction > zero else (-one if direction < zero else direction)
        return w - decays * c[5] * w - c[0] * sign, c[2] * s[0] + c[4] * g


OPTIMIZERS = Registry(
    "solver",
    Optimizer,
    [SGD, Adam, AdamW, AMSGrad, NAdam, Adamax, RMSprop, Adagrad, Adadelta, Lion],
)


def prepare(rate, step, s, kept):
    """Name under which the templates call the formula."""
    raise NotImplementedError


def update(w, g, decays, s, c):
    """Name under which the templates call the formula."""
    raise NotImplementedError


@formula
def _constants(constants, like):
    """The constants, as a tuple of numbers of the type of another."""
    return (
        number(constants[0], like),
        number(constants[1], like),
        number(constants[2], like),
        number(constants[3], like),
        number(constants[4], like),
        number(constants[5], like),
        number(constants[6], like),
        number(constants[7], like),
    )


@formula
def mean_gradient(total, weight, penalty, share):
    """Gradient of the penalised mean over the rows, from the sum over them; `penalty` is the strength of the squares."""
    return (total + penalty * weight) * share


def _prepare(rate, step, settings, constants):
    made = prepare(rate, step, numbers(settings, constants), (constants[6], constants[7]))
    for position in range(len(made)):
        constants[position] = made[position]


# A template for each number of slots: with a tuple of another length their loads and stores are others.


def _step_0(constants, share, l2, decays, params, grads, slots, stride, n):
    c = _constants(constants, params)
    share, l2, decays = number(share, params), number(l2, params), number(decays, params)
    for position in range(n):
        i = natural(position)
        w = params[i]
        (params[i],) = update(w, mean_gradient(grads[i], w, l2, share), decays, (), c)


def _step_1(constants, share, l2, decays, params, grads, slots, stride, n):
    c = _constants(constants, params)
    share, l2, decays = number(share, params), number(l2, params), number(decays, params)
    for position in range(n):
        i = natural(position)
        w = params[i]
        params[i], slots[i] = update(w, mean_gradient(grads[i], w, l2, share), decays, (slots[i],), c)


def _step_2(constants, share, l2, decays, params, grads, slots, stride, n):
    c = _constants(constants, params)
    share, l2, decays = number(share, params), number(l2, params), number(decays, params)
    for position in range(n):
        i = natural(position)
        second = stride + i
        w = params[i]
        g = mean_gradient(grads[i], w, l2, share)
        params[i], slots[i], slots[second] = update(w, g, decays, (slots[i], slots[second]), c)


def _step_3(constants, share, l2, decays, params, grads, slots, stride, n):
    c = _constants(constants, params)
    share, l2, decays = number(share, params), number(l2, params), number(decays, params)
    for position in range(n):
        i = natural(position)
        second = stride + i
        third = stride + second
        w = params[i]
        g = mean_gradient(grads[i], w, l2, share)
        state = slots[i], slots[second], slots[third]
        params[i], slots[i], slots[second], slots[third] = update(w, g, decays, state, c)


_STEPS = (_step_0, _step_1, _step_2, _step_3)


@cache
def optimizer_loops(kind):
    """The loops of an optimizer.

    Parameters
    ----------
    kind : type
        From `Optimizer.kernel_kind`.

    Returns
    -------
    prepare : Loop
        Called once for each update with the learning rate (float64); the number of the update, from 1 (int64); and pointers
        to float64: `N_SETTINGS` settings, and `N_CONSTANTS` constants, which are overwritten. The last two constants must
        be zeros before the first update, and those of the update before it from then on.
    step : Loop
        Updates n consecutive parameters. Called with a pointer to the constants; with three float64: the `share` and `l2` of
        the gradient ``(grads[i] + l2 * params[i]) * share``, and 1.0 if the parameters are weights, which decay, else 0.0;
        with pointers to the parameters, gradients and the first slot of these parameters, all of one type; and with two
        int64: the distance from one slot of a parameter to its next one, and n.
    """
    return loop(_prepare, prepare=kind.prepare), loop(_STEPS[kind.n_slots], update=kind.update)
