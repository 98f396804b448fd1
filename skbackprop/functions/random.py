"""Counter-based random numbers: the same for any number of threads, on any device, and in a resumed training.

Philox4x32-10 (Salmon, Moraes, Dror and Shaw 2011, Parallel random numbers: as easy as 1, 2, 3) maps a counter and a key
to four numbers, by ten rounds of multiplications. There is no state between draws.
"""

import numpy as np

from skbackprop._compile import formula

__all__ = ["draw_units", "philox"]

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_ROUNDS = 10


@formula
def philox(c0, c1, c2, c3, k0, k1):
    """Four random numbers for a counter.

    Parameters
    ----------
    c0, c1, c2, c3 : uint64
        The counter, each below 2**32.
    k0, k1 : uint64
        The key, each below 2**32.

    Returns
    -------
    r0, r1, r2, r3 : uint64
        Uniform below 2**32.
    """
    for _ in range(_ROUNDS):
        p0 = _M0 * c0
        p1 = _M1 * c2
        c0, c1, c2, c3 = (p1 >> _HALF) ^ c1 ^ k0, p1 & _LOW, (p0 >> _HALF) ^ c3 ^ k1, p0 & _LOW
        k0 = (k0 + _W0) & _LOW
        k1 = (k1 + _W1) & _LOW
    return c0, c1, c2, c3


@formula
def draw_units(seed, step, layer, row, quad):
    """Random numbers for the dropout of four consecutive units of a row.

    Parameters
    ----------
    seed, step, layer, row, quad : int
        The seed, the update, the layer, the row of the data, and the index of the group of four units.

    Returns
    -------
    r0, r1, r2, r3 : uint64
        Uniform below 2**32; a unit is dropped if its number is below the dropout probability times 2**32.
    """
    return philox(
        np.uint64(quad), np.uint64(row) & _LOW, np.uint64(layer), np.uint64(step) & _LOW, np.uint64(seed), np.uint64(0)
    )
