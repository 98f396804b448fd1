"""Products for a single row, as in stochastic descent, straight from the weights as they lie.

To pack the weights would take longer than to use them once. The sums have the order and the roundings of `gemm`'s.
"""

from skbackprop._compile import formula
from skbackprop.functions.elementary import fma, natural

__all__ = ["backward_row", "forward_row", "gradient_row"]


@formula
def forward_row(units, source, params, weights, intercepts, target, fan_in, fan_out):
    """Weighted inputs of a layer: ``z = b + a W``.

    Parameters
    ----------
    units : ndarray, flat
        Holds a from `source` on; z is written from `target` on.
    source : int
    params : ndarray, flat
        Holds W, of shape (fan_in, fan_out), from `weights` on and b from `intercepts` on.
    weights, intercepts, target, fan_in, fan_out : int
    """
    for j in range(fan_out):
        units[natural(target + j)] = params[natural(intercepts + j)]
    for k in range(fan_in):
        x = units[natural(source + k)]
        start = weights + k * fan_out
        for j in range(fan_out):
            unit = natural(target + j)
            units[unit] = fma(x, params[natural(start + j)], units[unit])


@formula
def backward_row(deltas, source, params, weights, target, fan_in, fan_out):
    """Gradient with respect to a layer's inputs: ``W d``.

    Parameters
    ----------
    deltas : ndarray, flat
        Holds d from `source` on; the gradient is written from `target` on.
    source : int
    params : ndarray, flat
        Holds W, of shape (fan_in, fan_out), from `weights` on.
    weights, target, fan_in, fan_out : int
    """
    zero = deltas.dtype.type(0.0)
    # Four sums at a time, because each of one sum's additions waits for the one before.
    for k in range(0, fan_in - 3, 4):
        start = weights + k * fan_out
        s0, s1, s2, s3 = zero, zero, zero, zero
        for j in range(fan_out):
            delta = deltas[natural(source + j)]
            s0 = fma(delta, params[natural(start + j)], s0)
            s1 = fma(delta, params[natural(start + fan_out + j)], s1)
            s2 = fma(delta, params[natural(start + 2 * fan_out + j)], s2)
            s3 = fma(delta, params[natural(start + 3 * fan_out + j)], s3)
        deltas[natural(target + k)] = s0
        deltas[natural(target + k + 1)] = s1
        deltas[natural(target + k + 2)] = s2
        deltas[natural(target + k + 3)] = s3
    for k in range(fan_in // 4 * 4, fan_in):
        total = zero
        for j in range(fan_out):
            total = fma(deltas[natural(source + j)], params[natural(weights + k * fan_out + j)], total)
        deltas[natural(target + k)] = total


@formula
def gradient_row(units, u_start, deltas, d_start, first, last, grads, weights, fan_out):
    """Gradient with respect to rows `first` to `last` of a layer's weights: the outer product of a and d.

    Parameters
    ----------
    units, deltas : ndarray, flat
        Hold a from `u_start` on and d from `d_start` on.
    u_start, d_start, first, last : int
    grads : ndarray, flat
        The gradient of W, of shape (fan_in, fan_out), is written from `weights` on.
    weights, fan_out : int
    """
    for k in range(first, last):
        x = units[natural(u_start + k)]
        start = weights + k * fan_out
        for j in range(fan_out):
            grads[natural(start + j)] = x * deltas[natural(d_start + j)]
