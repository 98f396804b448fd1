"""Optimizers: from a gradient to a change of the parameters.

To add one: a class with its two formulas, `prepare` and `update`, and its place in `OPTIMIZERS`. The estimators' checks, the
tests of every optimizer and the documentation follow.
"""

import math
from functools import cache
from numbers import Real

from skbackprop._compile import formula, loop
from skbackprop._sklearn import Interval
from skbackprop.functions._function import N_SETTINGS, Function, named
from skbackprop.functions._registry import Registry
from skbackprop.functions._tuples import named_numbers, state_access
from skbackprop.functions.elementary import natural, number

__all__ = [
    "CARRIED",
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

#: Numbers that `prepare` leaves for the update of all parameters, at most.
N_CONSTANTS = 8
#: The first of those that also persist from update to update.
CARRIED = N_CONSTANTS - 2

_FRACTION = [Interval(Real, 0, 1, closed="left")]
_MOMENTUM = [Interval(Real, 0, 1, closed="both")]
_NOT_NEGATIVE = [Interval(Real, 0, None, closed="left")]
_POSITIVE = [Interval(Real, 0, None, closed="neither")]


class Optimizer(Function):
    r"""A stochastic optimizer: what one mini-batch's gradient g does to a parameter w.

    A class has two formulas as static methods. They take and give numbers and tuples, never arrays, so that one source
    serves every backend:

    - ``prepare(rate, step, s, kept)``: the constants, which are the same for all parameters, once for each update and in
      float64, from the learning rate :math:`\eta`, the number of the update t (from 1), the settings s, a named tuple, and
      the seventh and the eighth of the constants as the update before left them (zeros at first); these must not depend on the
      learning rate, of which groups of parameters may have several. Gives a tuple of at most `N_CONSTANTS` numbers, in the
      order of `constants`.
    - ``update(w, g, decays, state, c)``: one parameter, from its gradient, from 1 if it decays or 0 if it does not (weights
      do, intercepts do not) or another factor of its decay, from the tuple of its state and from the constants, a named tuple, all of one type. Gives a
      tuple: the new w, followed by the new state.

    The learning rate is not an optimizer's setting but the estimators' ``learning_rate_init``.

    Attributes
    ----------
    n_slots : int
        Numbers of state kept for each parameter.
    constants : tuple of str
        The names by which `update` finds what `prepare` gives; by position it does without them.
    default_rate : float
        The learning rate that the source recommends, or PyTorch's; for the documentation: the estimators' default is 0.001
        for all.
    gradient_degree : int
        0 if the change of a parameter stays the same where all gradients are larger by a factor (apart from epsilon), 1 if it
        grows by the same factor; for ``parametrization='ntp'``.
    """

    n_slots: int
    constants: tuple = ()
    default_rate = 1e-3
    gradient_degree = 0

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

    @classmethod
    def named_constants(cls):
        """What reads the constants for `update`.

        Returns
        -------
        named : formula
            See `functions._tuples.named_numbers`.
        """
        return named_numbers(cls.constants, N_CONSTANTS)

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
    constants = ("rate", "momentum")
    gradient_degree = 1
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
        return _NesterovMomentum if self.nesterov else SGD

    @staticmethod
    @formula
    def prepare(rate, step, s, kept):
        return rate, s.momentum

    @staticmethod
    @formula
    def update(w, g, decays, state, c):
        (velocity,) = state
        velocity = c.momentum * velocity - c.rate * g
        return w + velocity, velocity


class _NesterovMomentum(SGD):
    @staticmethod
    @formula
    def update(w, g, decays, state, c):
        (velocity,) = state
        change = c.rate * g
        velocity = c.momentum * velocity - change
        return w + (c.momentum * velocity - change), velocity


@formula
def _moments(g, m, v, c):
    """Moving averages of the gradient and of its square."""
    return c.beta_1 * m + c.rest_1 * g, c.beta_2 * v + c.rest_2 * (g * g)


@formula
def _corrected(rate, step, s):
    """Adam's constants with the bias of both averages corrected.

    ``m / (1 - beta_1**t)`` over ``sqrt(v / (1 - beta_2**t)) + epsilon``, with the corrections moved into the learning rate and
    epsilon, which spares each parameter a division.
    """
    root = _root(1.0 - s.beta_2**step)
    rate = rate * root / (1.0 - s.beta_1**step)
    return rate, s.beta_1, s.beta_2, 1.0 - s.beta_1, 1.0 - s.beta_2, s.epsilon * root


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
    constants = ("rate", "beta_1", "beta_2", "rest_1", "rest_2", "epsilon")
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
        rate = rate * _root(1.0 - s.beta_2**step) / (1.0 - s.beta_1**step)
        return rate, s.beta_1, s.beta_2, 1.0 - s.beta_1, 1.0 - s.beta_2, s.epsilon

    @staticmethod
    @formula
    def update(w, g, decays, state, c):
        m, v = state
        m, v = _moments(g, m, v, c)
        return w - c.rate * m / (_root(v) + c.epsilon), m, v


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
    constants = (*Adam.constants, "decay")
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
        return *_corrected(rate, step, s), rate * s.weight_decay

    @staticmethod
    @formula
    def update(w, g, decays, state, c):
        m, v = state
        m, v = _moments(g, m, v, c)
        return w - decays * c.decay * w - c.rate * m / (_root(v) + c.epsilon), m, v


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
    constants = Adam.constants
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
    def update(w, g, decays, state, c):
        m, v, largest = state
        m, v = _moments(g, m, v, c)
        largest = v if v > largest else largest
        return w - c.rate * m / (_root(largest) + c.epsilon), m, v, largest


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
    # The product stands where it persists.
    constants = (*Adam.constants, "rate_of_average", "product")
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
        root = _root(1.0 - s.beta_2**step)
        momentum = s.beta_1 * (1.0 - 0.5 * 0.96 ** (step * s.momentum_decay))
        next_momentum = s.beta_1 * (1.0 - 0.5 * 0.96 ** ((step + 1) * s.momentum_decay))
        # The product over all updates has no closed form: it is carried along.
        product = momentum * (1.0 if step == 1 else kept.product)
        of_gradient = rate * root * (1.0 - momentum) / (1.0 - product)
        of_average = rate * root * next_momentum / (1.0 - product * next_momentum)
        rest_1, rest_2 = 1.0 - s.beta_1, 1.0 - s.beta_2
        return of_gradient, s.beta_1, s.beta_2, rest_1, rest_2, s.epsilon * root, of_average, product

    @staticmethod
    @formula
    def update(w, g, decays, state, c):
        m, v = state
        m, v = _moments(g, m, v, c)
        return w - (c.rate * g + c.rate_of_average * m) / (_root(v) + c.epsilon), m, v


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
    constants = ("rate", "beta_1", "beta_2", "rest_1", "epsilon")
    default_rate = 2e-3
    _parameter_constraints = {"beta_1": _FRACTION, "beta_2": _FRACTION, "epsilon": _POSITIVE}

    def __init__(self, beta_1=0.9, beta_2=0.999, epsilon=1e-8):
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon

    @staticmethod
    @formula
    def prepare(rate, step, s, kept):
        return rate / (1.0 - s.beta_1**step), s.beta_1, s.beta_2, 1.0 - s.beta_1, s.epsilon

    @staticmethod
    @formula
    def update(w, g, decays, state, c):
        m, largest = state
        m = c.beta_1 * m + c.rest_1 * g
        size, faded = abs(g) + c.epsilon, c.beta_2 * largest
        largest = size if size > faded else faded
        return w - c.rate * m / largest, m, largest


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
    constants = ("rate", "rho", "rest", "epsilon", "momentum")
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

    @staticmethod
    @formula
    def prepare(rate, step, s, kept):
        return rate, s.rho, 1.0 - s.rho, s.epsilon, s.momentum


class _PlainRMSprop(RMSprop):
    n_slots = 1

    @staticmethod
    @formula
    def update(w, g, decays, state, c):
        (v,) = state
        v = c.rho * v + c.rest * (g * g)
        return w - c.rate * g / (_root(v) + c.epsilon), v


class _MomentumRMSprop(RMSprop):
    n_slots = 2

    @staticmethod
    @formula
    def update(w, g, decays, state, c):
        v, change = state
        v = c.rho * v + c.rest * (g * g)
        change = c.momentum * change + g / (_root(v) + c.epsilon)
        return w - c.rate * change, v, change


class _CenteredRMSprop(RMSprop):
    @staticmethod
    @formula
    def update(w, g, decays, state, c):
        v, change, m = state
        v = c.rho * v + c.rest * (g * g)
        m = c.rho * m + c.rest * g
        variance, zero = v - m * m, number(0.0, w)
        # Rounding takes the variance of gradients that hardly change below zero; a NaN must stay a NaN.
        variance = zero if variance < zero else variance
        change = c.momentum * change + g / (_root(variance) + c.epsilon)
        return w - c.rate * change, v, change, m


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
    constants = ("rate", "epsilon")
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
        return rate, s.epsilon

    @staticmethod
    @formula
    def update(w, g, decays, state, c):
        (v,) = state
        v = v + g * g
        return w - c.rate * g / (_root(v) + c.epsilon), v


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
    constants = ("rate", "rho", "rest", "epsilon")
    default_rate = 1.0
    _parameter_constraints = {"rho": _FRACTION, "epsilon": _POSITIVE}

    def __init__(self, rho=0.9, epsilon=1e-6):
        self.rho = rho
        self.epsilon = epsilon

    @staticmethod
    @formula
    def prepare(rate, step, s, kept):
        return rate, s.rho, 1.0 - s.rho, s.epsilon

    @staticmethod
    @formula
    def update(w, g, decays, state, c):
        v, d = state
        v = c.rho * v + c.rest * (g * g)
        delta = _root(d + c.epsilon) / _root(v + c.epsilon) * g
        return w - c.rate * delta, v, c.rho * d + c.rest * (delta * delta)


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
    constants = ("rate", "beta_1", "beta_2", "rest_1", "rest_2", "decay")
    default_rate = 1e-4
    _parameter_constraints = {"beta_1": _FRACTION, "beta_2": _FRACTION, "weight_decay": _NOT_NEGATIVE}

    def __init__(self, beta_1=0.9, beta_2=0.99, weight_decay=0.0):
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.weight_decay = weight_decay

    @staticmethod
    @formula
    def prepare(rate, step, s, kept):
        return rate, s.beta_1, s.beta_2, 1.0 - s.beta_1, 1.0 - s.beta_2, rate * s.weight_decay

    @staticmethod
    @formula
    def update(w, g, decays, state, c):
        (m,) = state
        zero, one = number(0.0, w), number(1.0, w)
        direction = c.beta_1 * m + c.rest_1 * g
        # What is neither is 0 or NaN, and stays so.
        sign = one if direction > zero else (-one if direction < zero else direction)
        return w - decays * c.decay * w - c.rate * sign, c.beta_2 * m + c.rest_2 * g


OPTIMIZERS = Registry(
    "solver",
    Optimizer,
    [SGD, Adam, AdamW, AMSGrad, NAdam, Adamax, RMSprop, Adagrad, Adadelta, Lion],
)


def prepare(rate, step, s, kept):
    """Name under which the templates call the formula."""
    raise NotImplementedError


update = named_constants = named_kept = load = store = prepare


@formula
def mean_gradient(total, weight, penalty, share):
    """Gradient of the penalised mean over the rows, from the sum over them; `penalty` is the strength of the squares."""
    return (total + penalty * weight) * share


def _prepare(rate, step, settings, constants):
    made = prepare(rate, step, named(settings, constants), named_kept(constants, constants))
    for position in range(len(made)):
        constants[position] = made[position]


def _step(constants, share, l2, decays, params, grads, slots, stride, n):
    c = named_constants(constants, params)
    share, l2, decays = number(share, params), number(l2, params), number(decays, params)
    for position in range(n):
        i = natural(position)
        w = params[i]
        made = update(w, mean_gradient(grads[i], w, l2, share), decays, load(slots, i, stride), c)
        params[i] = made[0]
        store(slots, i, stride, made)


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
        the gradient ``(grads[i] + l2 * params[i]) * share``, and the factor of the decay: of weights 1.0, else 0.0;
        with pointers to the parameters, gradients and the first slot of these parameters, all of one type; and with two
        int64: the distance from one slot of a parameter to its next one, and n.
    """
    load, store = state_access(kind.n_slots)
    return (
        kind.loop(_prepare, prepare=kind.prepare, named_kept=named_numbers(kind.constants[CARRIED:], 2, CARRIED)),
        loop(_step, update=kind.update, named_constants=kind.named_constants(), load=load, store=store),
    )
