"""Stochastic optimizers: updates of the parameters from gradients.

To add one, write a class with the formulas `prepare` and `update`, and list it in `OPTIMIZERS`. The estimators' checks,
the tests of every optimizer and the documentation follow.
"""

import math
from functools import cache
from numbers import Real
from typing import Any

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

#: Maximum number of constants that `prepare` returns.
N_CONSTANTS = 8
#: Index of the first constant that persists from update to update.
CARRIED = N_CONSTANTS - 2

_FRACTION = [Interval(Real, 0, 1, closed="left")]
_MOMENTUM = [Interval(Real, 0, 1, closed="both")]
_NOT_NEGATIVE = [Interval(Real, 0, None, closed="left")]
_POSITIVE = [Interval(Real, 0, None, closed="neither")]


class Optimizer(Function):
    r"""Base class of stochastic optimizers, which update a parameter w from the gradient g of a mini-batch.

    A class has two formulas as static methods. Their arguments and results are numbers and tuples, never arrays, so
    that all backends share them:

    - ``prepare(rate, step, s, kept)`` computes the constants, which are the same for all parameters of a group, once
      per update and in float64, from the learning rate :math:`\eta`, the number t of the update (from 1), the settings
      s, a named tuple, and the seventh and eighth constants of the previous update (zeros at first), which must not
      depend on the learning rate: groups of parameters may have several. It returns a tuple of at most `N_CONSTANTS`
      numbers, in the order of `constants`.
    - ``update(w, g, decays, state, c)`` updates one parameter from its gradient; `decays`, which is 0 for parameters
      that do not decay, and for weights 1 or another factor of their decay; the tuple of its state; and the constants,
      a named tuple; all of one type. It returns a
      tuple: the new w, followed by the new state.

    The learning rate is not a setting of the optimizer but the estimators' ``learning_rate_init``.

    Attributes
    ----------
    n_slots : int
        Number of state variables per parameter.
    constants : tuple of str
        Names of the constants that `prepare` returns; unnamed ones are accessed by position.
    default_rate : float
        Learning rate recommended by the source, or PyTorch's default. For the documentation: the estimators' default is
        0.001 for all.
    gradient_degree : int
        0 if an update stays the same when all gradients are multiplied by a factor (apart from epsilon), 1 if it is
        multiplied by the same factor; for ``parametrization='ntp'``.
    """

    n_slots: int
    constants: tuple[str, ...] = ()
    default_rate: float = 1e-3
    gradient_degree = 0

    @classmethod
    def from_parameters(cls, parameters: dict[str, Any]) -> Any:
        """Create the optimizer for its name.

        Parameters
        ----------
        parameters : dict
            The estimator's parameters. "sgd" and "adam" take their settings from scikit-learn's parameters.

        Returns
        -------
        optimizer : Optimizer
        """
        return cls()

    def kernel_kind(self) -> Any:
        """Return the class with the formulas for these settings, which `optimizer_loops` takes.

        Returns
        -------
        kind : type
        """
        return type(self)

    @classmethod
    def named_constants(cls) -> Any:
        """Return the formula that reads the constants into a named tuple.

        Returns
        -------
        named : formula
            See `functions._tuples.named_numbers`.
        """
        return named_numbers(cls.constants, N_CONSTANTS)

    def initial_slots(self) -> tuple[float, ...]:
        """Return the initial state of a parameter.

        Returns
        -------
        values : tuple of float
            `n_slots` numbers.
        """
        return (0.0,) * self.n_slots


@formula
def _root(x):
    """Compute the square root; Numba does not support `np.sqrt` for CUDA."""
    return number(math.sqrt(x), x)


class SGD(Optimizer):
    """Stochastic gradient descent with momentum, as in scikit-learn.

    Needs a tuned learning rate, often 0.01 to 0.1, and benefits from a schedule that lowers it; then it often
    generalizes best.

    Parameters
    ----------
    momentum : float, default=0.9
        Momentum: fraction of the previous update that is added to this one; in [0, 1].
    nesterov : bool, default=True
        Whether to use Nesterov's momentum, which evaluates the gradient as if after the momentum step.
    """

    name = "sgd"
    definition = (
        r"v \leftarrow \mu v - \eta g,\quad w \leftarrow w + v \ (\text{Nesterov: } w \leftarrow w + \mu v - \eta g)"
    )
    reference = "Sutskever, Martens, Dahl and Hinton (2013), equations 1-4"
    n_slots = 1
    constants: tuple[str, ...] = ("rate", "momentum")
    gradient_degree = 1
    _parameter_constraints = {"momentum": _MOMENTUM, "nesterov": ["boolean"]}

    def __init__(self, momentum: float = 0.9, nesterov: bool = True) -> None:
        self.momentum = momentum
        self.nesterov = nesterov

    @classmethod
    def from_parameters(cls, parameters: Any) -> Any:
        """Create the optimizer with the estimator's `momentum` and `nesterovs_momentum`."""
        return cls(parameters["momentum"], parameters["nesterovs_momentum"])

    def kernel_kind(self) -> Any:
        """Return a class per kind of momentum, so that loops need no branch."""
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
    """Update the moving averages of the gradient and of its square."""
    return c.beta_1 * m + c.rest_1 * g, c.beta_2 * v + c.rest_2 * (g * g)


@formula
def _corrected(rate, step, s):
    """Compute Adam's constants with bias correction.

    The step is ``m / (1 - beta_1**t)`` divided by ``sqrt(v / (1 - beta_2**t)) + epsilon``. The corrections are moved
    into the learning rate and epsilon, which saves divisions per parameter.
    """
    root = _root(1.0 - s.beta_2**step)
    rate = rate * root / (1.0 - s.beta_1**step)
    return rate, s.beta_1, s.beta_2, 1.0 - s.beta_1, 1.0 - s.beta_2, s.epsilon * root


class Adam(Optimizer):
    r"""Adam (adaptive moment estimation), as in scikit-learn.

    A good first choice: it adapts to each parameter's scale and works with default settings on most data.

    As in scikit-learn, epsilon is not bias-corrected. PyTorch, and the other variants of Adam here, add it to the
    bias-corrected root, which corresponds to :math:`\epsilon \sqrt{1 - \beta_2^t}` here. The difference matters only
    for gradients as small as epsilon.

    Parameters
    ----------
    beta_1 : float, default=0.9
        Decay of the moving average of the gradients; in [0, 1).
    beta_2 : float, default=0.999
        Decay of the moving average of their squares; in [0, 1).
    epsilon : float, default=1e-8
        Added to the denominator for numerical stability; positive.
    """

    name = "adam"
    definition = (
        r"m \leftarrow \beta_1 m + (1 - \beta_1) g,\quad v \leftarrow \beta_2 v + (1 - \beta_2) g^2,\quad "
        r"w \leftarrow w - \eta \frac{\sqrt{1 - \beta_2^t}}{1 - \beta_1^t} \frac{m}{\sqrt{v} + \epsilon}"
    )
    reference = "Kingma and Ba (2015), Algorithm 1 in the more efficient order of section 2"
    n_slots = 2
    constants: tuple[str, ...] = ("rate", "beta_1", "beta_2", "rest_1", "rest_2", "epsilon")
    _parameter_constraints = {"beta_1": _FRACTION, "beta_2": _FRACTION, "epsilon": _POSITIVE}

    def __init__(self, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8) -> None:
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon

    @classmethod
    def from_parameters(cls, parameters: Any) -> Any:
        """Create the optimizer with the estimator's `beta_1`, `beta_2` and `epsilon`."""
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
    r"""Adam with decoupled weight decay.

    Adam scales the gradient of an L2 penalty like the rest of the gradient; here, every weight shrinks by the same
    fraction. Use it with ``alpha=0`` if a network overfits; values from 0.001 to 0.1 are common.

    As in PyTorch, the decay is multiplied by the learning rate, whereas the paper multiplies it by the schedule's
    factor only, and epsilon is added to the bias-corrected root. Unlike in PyTorch, intercepts do not decay.

    Parameters
    ----------
    beta_1 : float, default=0.9
        Decay of the moving average of the gradients; in [0, 1).
    beta_2 : float, default=0.999
        Decay of the moving average of their squares; in [0, 1).
    epsilon : float, default=1e-8
        Added to the denominator for numerical stability; positive.
    weight_decay : float, default=0.01
        Fraction by which each update shrinks the weights at a learning rate of 1; non-negative.
    """

    name = "adamw"
    definition = (
        r"m, v \text{ as for adam},\quad w \leftarrow w - \eta \lambda w - "
        r"\eta \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}"
    )
    reference = "Loshchilov and Hutter (2019), Algorithm 2, with PyTorch's scale of the decay"
    n_slots = 2
    constants: tuple[str, ...] = (*Adam.constants, "decay")
    _parameter_constraints = {
        "beta_1": _FRACTION,
        "beta_2": _FRACTION,
        "epsilon": _POSITIVE,
        "weight_decay": _NOT_NEGATIVE,
    }

    def __init__(
        self, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8, weight_decay: float = 1e-2
    ) -> None:
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
    """Adam with a denominator that never shrinks, so that rare large gradients have a lasting effect.

    Worth trying if the loss with Adam does not settle late in training. As in PyTorch, the maximum is taken before the
    bias correction, and epsilon is added to the bias-corrected root; the paper has no bias correction.

    Parameters
    ----------
    beta_1 : float, default=0.9
        Decay of the moving average of the gradients; in [0, 1).
    beta_2 : float, default=0.999
        Decay of the moving average of their squares; in [0, 1).
    epsilon : float, default=1e-8
        Added to the denominator for numerical stability; positive.
    """

    name = "amsgrad"
    definition = (
        r"m, v \text{ as for adam},\quad u \leftarrow \max(u, v),\quad "
        r"w \leftarrow w - \eta \frac{m / (1 - \beta_1^t)}{\sqrt{u / (1 - \beta_2^t)} + \epsilon}"
    )
    reference = "Reddi, Kale and Kumar (2018), Algorithm 2, with Adam's correction of the bias"
    n_slots = 3
    constants: tuple[str, ...] = Adam.constants
    _parameter_constraints = {"beta_1": _FRACTION, "beta_2": _FRACTION, "epsilon": _POSITIVE}

    def __init__(self, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8) -> None:
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
    r"""Adam with Nesterov's momentum, which increases during training.

    Often slightly faster than Adam at the beginning. As in PyTorch, epsilon is added to the bias-corrected root.

    Parameters
    ----------
    beta_1 : float, default=0.9
        Decay of the moving average of the gradients, and limit of the momentum; in [0, 1).
    beta_2 : float, default=0.999
        Decay of the moving average of their squares; in [0, 1).
    epsilon : float, default=1e-8
        Added to the denominator for numerical stability; positive.
    momentum_decay : float, default=0.004
        Rate at which the momentum increases from about half of `beta_1` to `beta_1`: :math:`\psi` in
        :math:`\mu_t = \beta_1 (1 - 0.96^{t \psi} / 2)`; non-negative.
    """

    name = "nadam"
    definition = (
        r"m, v \text{ as for adam},\quad \mu_t = \beta_1 (1 - 0.96^{t \psi} / 2),\quad w \leftarrow w - \eta "
        r"\frac{(1 - \mu_t) g / (1 - \prod_{i \le t} \mu_i) + \mu_{t+1} m / (1 - \prod_{i \le t+1} \mu_i)}"
        r"{\sqrt{v / (1 - \beta_2^t)} + \epsilon}"
    )
    reference = "Dozat (2016), Incorporating Nesterov Momentum into Adam, with PyTorch's parameters"
    n_slots = 2
    # The product is at an index that persists between updates.
    constants: tuple[str, ...] = (*Adam.constants, "rate_of_average", "product")
    default_rate: float = 2e-3
    _parameter_constraints = {
        "beta_1": _FRACTION,
        "beta_2": _FRACTION,
        "epsilon": _POSITIVE,
        "momentum_decay": _NOT_NEGATIVE,
    }

    def __init__(
        self, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8, momentum_decay: float = 4e-3
    ) -> None:
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
        # The product over all updates has no closed form, so it is kept between updates.
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
    """Adam with a decaying maximum of the absolute gradients instead of their root mean square.

    More stable than Adam if single gradients are much larger than the others. As in PyTorch, epsilon is added to the
    absolute value of each gradient; the paper has none.

    Parameters
    ----------
    beta_1 : float, default=0.9
        Decay of the moving average of the gradients; in [0, 1).
    beta_2 : float, default=0.999
        Decay of the maximum; in [0, 1).
    epsilon : float, default=1e-8
        Added to the absolute gradients for numerical stability; positive.
    """

    name = "adamax"
    definition = (
        r"m \leftarrow \beta_1 m + (1 - \beta_1) g,\quad u \leftarrow \max(\beta_2 u, |g| + \epsilon),\quad "
        r"w \leftarrow w - \frac{\eta}{1 - \beta_1^t} \frac{m}{u}"
    )
    reference = "Kingma and Ba (2015), section 7.1"
    n_slots = 2
    constants: tuple[str, ...] = ("rate", "beta_1", "beta_2", "rest_1", "epsilon")
    default_rate: float = 2e-3
    _parameter_constraints = {"beta_1": _FRACTION, "beta_2": _FRACTION, "epsilon": _POSITIVE}

    def __init__(self, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8) -> None:
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
    """Gradient descent with gradients divided by the root of a moving average of their squares.

    It has no bias correction, so the first updates are large. For targets that drift, as in a stream of `partial_fit`
    calls.

    Parameters
    ----------
    rho : float, default=0.99
        Decay of the moving averages; in [0, 1). The default is that of PyTorch, where it is called alpha; the source
        uses 0.9.
    epsilon : float, default=1e-8
        Added to the denominator for numerical stability; positive.
    momentum : float, default=0.0
        Momentum: fraction of the previous update that is added to this one; in [0, 1].
    centered : bool, default=False
        Whether to divide by the standard deviation of the gradients instead, by subtracting the square of their moving
        average.
    """

    name = "rmsprop"
    definition = (
        r"v \leftarrow \rho v + (1 - \rho) g^2,\quad b \leftarrow \mu b + \frac{g}{\sqrt{v} + \epsilon},\quad "
        r"w \leftarrow w - \eta b \ (\text{centered: } v - m^2 \text{ in the place of } v,\ "
        r"m \leftarrow \rho m + (1 - \rho) g)"
    )
    reference = "Tieleman and Hinton (2012), lecture 6.5; centered: Graves (2013), equations 38-41"
    # Allocated for all settings, so that these can change between calls of partial_fit; unused slots are not touched.
    n_slots = 3
    constants: tuple[str, ...] = ("rate", "rho", "rest", "epsilon", "momentum")
    _parameter_constraints = {
        "rho": _FRACTION,
        "epsilon": _POSITIVE,
        "momentum": _MOMENTUM,
        "centered": ["boolean"],
    }

    def __init__(self, rho: float = 0.99, epsilon: float = 1e-8, momentum: float = 0.0, centered: bool = False) -> None:
        self.rho = rho
        self.epsilon = epsilon
        self.momentum = momentum
        self.centered = centered

    def kernel_kind(self) -> Any:
        """Return the class that updates only the state that these settings need."""
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
        # Rounding can make the variance of nearly constant gradients negative; NaN must stay NaN.
        variance = zero if variance < zero else variance
        change = c.momentum * change + g / (_root(variance) + c.epsilon)
        return w - c.rate * change, v, change, m


class Adagrad(Optimizer):
    """Gradient descent with gradients divided by the root of the sum of all their squares, so that updates shrink.

    For sparse features, whose weights get learning rates of their own, and for few epochs.

    Parameters
    ----------
    epsilon : float, default=1e-10
        Added to the denominator for numerical stability; positive.
    initial_accumulator_value : float, default=0.0
        Initial value of the sum; non-negative. A larger value makes the first updates smaller.
    """

    name = "adagrad"
    definition = r"v \leftarrow v + g^2,\quad w \leftarrow w - \eta \frac{g}{\sqrt{v} + \epsilon}"
    reference = "Duchi, Hazan and Singer (2011), with diagonal matrices"
    n_slots = 1
    constants: tuple[str, ...] = ("rate", "epsilon")
    default_rate: float = 1e-2
    _parameter_constraints = {"epsilon": _POSITIVE, "initial_accumulator_value": _NOT_NEGATIVE}

    def __init__(self, epsilon: float = 1e-10, initial_accumulator_value: float = 0.0) -> None:
        self.epsilon = epsilon
        self.initial_accumulator_value = initial_accumulator_value

    def initial_slots(self) -> Any:
        """Return `initial_accumulator_value`."""
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
    """Gradient descent with gradients scaled by the ratio of past updates to past gradients, both root mean squares.

    The paper has no learning rate: set ``learning_rate_init=1.0``. It starts slowly, but needs no tuning.

    Parameters
    ----------
    rho : float, default=0.9
        Decay of the moving averages; in [0, 1). The default is PyTorch's; the paper uses 0.95.
    epsilon : float, default=1e-6
        Added to both mean squares; determines the size of the first updates; positive.
    """

    name = "adadelta"
    definition = (
        r"v \leftarrow \rho v + (1 - \rho) g^2,\quad \delta = \frac{\sqrt{d + \epsilon}}{\sqrt{v + \epsilon}} g,\quad "
        r"d \leftarrow \rho d + (1 - \rho) \delta^2,\quad w \leftarrow w - \eta \delta"
    )
    reference = "Zeiler (2012), Algorithm 1"
    n_slots = 2
    constants: tuple[str, ...] = ("rate", "rho", "rest", "epsilon")
    default_rate: float = 1.0
    _parameter_constraints = {"rho": _FRACTION, "epsilon": _POSITIVE}

    def __init__(self, rho: float = 0.9, epsilon: float = 1e-6) -> None:
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
    """Lion (evolved sign momentum): every update has the size of the learning rate, in either direction.

    It has half as much state as Adam. Use a learning rate 3 to 10 times smaller than Adam's, with a weight decay larger
    by the same factor, and large batches.

    Parameters
    ----------
    beta_1 : float, default=0.9
        Weight of the moving average in the direction of the update; the gradient has the rest. In [0, 1).
    beta_2 : float, default=0.99
        Decay of the moving average of the gradients; in [0, 1).
    weight_decay : float, default=0.0
        Fraction by which each update shrinks the weights at a learning rate of 1; non-negative. Intercepts do not
        decay.
    """

    name = "lion"
    definition = (
        r"w \leftarrow w - \eta \lambda w - \eta \operatorname{sign}(\beta_1 m + (1 - \beta_1) g),\quad "
        r"m \leftarrow \beta_2 m + (1 - \beta_2) g"
    )
    reference = "Chen et al. (2023), Algorithm 2"
    n_slots = 1
    constants: tuple[str, ...] = ("rate", "beta_1", "beta_2", "rest_1", "rest_2", "decay")
    default_rate: float = 1e-4
    _parameter_constraints = {"beta_1": _FRACTION, "beta_2": _FRACTION, "weight_decay": _NOT_NEGATIVE}

    def __init__(self, beta_1: float = 0.9, beta_2: float = 0.99, weight_decay: float = 0.0) -> None:
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
        # The last case is 0 or NaN.
        sign = one if direction > zero else (-one if direction < zero else direction)
        return w - decays * c.decay * w - c.rate * sign, c.beta_2 * m + c.rest_2 * g


OPTIMIZERS = Registry(
    "solver",
    Optimizer,
    [SGD, Adam, AdamW, AMSGrad, NAdam, Adamax, RMSprop, Adagrad, Adadelta, Lion],
)


def prepare(rate: Any, step: Any, s: Any, kept: Any) -> Any:
    """Placeholder for the formula that the templates call."""
    raise NotImplementedError


update = named_constants = named_kept = load = store = prepare


@formula
def mean_gradient(total, weight, penalty, share):
    """Compute the gradient of the penalized mean loss from the sum over the rows; `penalty` is the L2 strength."""
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
def optimizer_loops(kind: Any) -> tuple[Any, Any]:
    """Return the loops of an optimizer.

    Parameters
    ----------
    kind : type
        Class from `Optimizer.kernel_kind`.

    Returns
    -------
    prepare : Loop
        Called once per update with the learning rate (float64); the number of the update, from 1 (int64); and pointers
        to float64: `N_SETTINGS` settings, and `N_CONSTANTS` constants, which are overwritten. The last two constants
        have to be zeros before the first update, and those of the previous update afterwards.
    step : Loop
        Updates n consecutive parameters. Called with a pointer to the constants; with three float64: `share` and `l2`
        of the gradient ``(grads[i] + l2 * params[i]) * share``, and the factor of the decay, 0.0 for parameters that do
        not decay; with pointers to the parameters, the gradients and the first slot of these parameters, all of one
        type; and with two int64: the distance between consecutive slots of a parameter, and n.
    """
    load, store = state_access(kind.n_slots)
    return (
        kind.loop(_prepare, prepare=kind.prepare, named_kept=named_numbers(kind.constants[CARRIED:], 2, CARRIED)),
        loop(_step, update=kind.update, named_constants=kind.named_constants(), load=load, store=store),
    )
