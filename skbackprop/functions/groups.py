"""Groups of parameters, to which the optimizer applies the learning rate and its weight decay in different measure.

A parametrization that multiplies weights by a constant need not be computed: to an optimizer it is another learning
rate of these weights, and another initialization. So the kernels know factors only.
"""

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

__all__ = ["DENSE", "PARAMETRIZATIONS", "Group", "group_tables"]


class Group(NamedTuple):
    """How the optimizer treats some parameters.

    Parameters
    ----------
    rate : float, default=1.0
        Factor of the learning rate.
    decay : float, default=1.0
        Factor of the optimizer's own weight decay, by which that of the learning rate is multiplied; 0 for none.
    """

    rate: float = 1.0
    decay: float = 1.0


#: Of a dense layer: of its weights; and of its stage's other parameters, which do not decay.
DENSE = Group(), Group(decay=0.0)


def _standard(fan_in, degree):
    return DENSE


def _ntp(fan_in, degree):
    scale = 1.0 / math.sqrt(fan_in)
    rate = scale ** (1 + degree)
    # What decays is a share of the weight, whatever its scale: the factor of the rate is taken out again.
    return Group(rate, 1.0 / rate), Group(0.1, 0.0)


#: Names of `parametrization`, each with the groups of a dense layer as a function of its fan-in and the optimizer's
#: `gradient_degree`.
PARAMETRIZATIONS = {"standard": _standard, "ntp": _ntp}


@lru_cache(maxsize=64)
def group_tables(groups: tuple[Any, ...], n_stages: int) -> tuple[np.ndarray, Any, np.ndarray]:
    """Return groups as the kernels expect them; the arrays are shared, and only read.

    Parameters
    ----------
    groups : tuple of tuple of Group
        For each stage, that of its weights and that of its other parameters; empty for `DENSE` throughout.
    n_stages : int

    Returns
    -------
    rates : ndarray of shape (n_rates,)
        The different factors of the learning rate: for each the optimizer prepares its constants once.
    index : ndarray of shape (n_stages, 2), int64
        Which of them is that of each group.
    decays : ndarray of shape (n_stages, 2)
    """
    groups = groups or (DENSE,) * n_stages
    rates, decays = np.array(groups, dtype=np.float64).transpose(2, 0, 1)
    factors, index = np.unique(rates, return_inverse=True)
    return factors, index.reshape(rates.shape).astype(np.int64), np.ascontiguousarray(decays)
