"""Orders of the rows: bitwise NumPy's draws, in compiled code that releases the GIL."""

import ctypes
from functools import lru_cache

import numpy as np

from skbackprop._compile import entry, formula

__all__ = ["draw_orders", "draw_orders_in_blocks"]

# For more rows, NumPy draws 64 bits per row.
_MOST_ROWS = 1 << 32

# Constants of the generator MT19937.
_N_WORDS = 624
_DISTANCE = 397
_UPPER, _LOWER = np.uint32(0x80000000), np.uint32(0x7FFFFFFF)
_MATRIX = np.uint32(0x9908B0DF)
_MASK_B, _MASK_C = np.uint32(0x9D2C5680), np.uint32(0xEFC60000)


def draw_orders(order, n_epochs, random_state):
    """Shuffle rows repeatedly.

    The draws are bitwise those of :meth:`numpy.random.RandomState.shuffle`, with which scikit-learn shuffles. NumPy
    takes 12 ns per row for them and holds the GIL: for a small network, a sixth of the training time.

    Parameters
    ----------
    order : ndarray of shape (n_rows,), int64
        The initial order; not modified.
    n_epochs : int
        At least 1.
    random_state : numpy.random.RandomState
        Advanced.

    Returns
    -------
    orders : ndarray of shape (n_epochs, n_rows), int64
        Each row is a shuffled copy of the previous one.

    References
    ----------
    M. Matsumoto and T. Nishimura (1998). Mersenne Twister: a 623-dimensionally equidistributed uniform pseudo-random
    number generator. ACM Transactions on Modeling and Computer Simulation 8, 3-30.
    """
    orders = np.empty((n_epochs, len(order)), dtype=np.int64)
    generator = random_state._bit_generator
    if type(generator) is not np.random.MT19937 or len(order) > _MOST_ROWS or not _knows_state():
        for shuffled in orders:
            shuffled[:] = order
            random_state.shuffle(shuffled)
            order = shuffled
        return orders
    # Other threads may draw from NumPy's global generator at the same time.
    with generator.lock:
        words = np.empty(_N_WORDS, dtype=np.uint32)
        order = np.ascontiguousarray(order, dtype=np.int64)
        _shuffle(_state(generator), words, order, orders.reshape(-1), len(order), orders.size)
    return orders


def draw_orders_in_blocks(rows, n_epochs, random_state, block_rows, window_rows):
    """Shuffle blocks of rows, and then the rows within windows of several blocks, for rows that a disk reads in blocks.

    Rows of one window are read together, so that a small part of the rows has to be in memory at a time; windows are made
    of other blocks in each epoch.

    Parameters
    ----------
    rows : ndarray of shape (n_rows,), int64
        In the order in which they are stored.
    n_epochs : int
        At least 1.
    random_state : numpy.random.RandomState
        Advanced.
    block_rows, window_rows : int
        Rows of a block, which stay together, and of a window.

    Returns
    -------
    orders : ndarray of shape (n_epochs, n_rows), int64
        Epochs are independent of each other.
    """
    orders = np.empty((n_epochs, len(rows)), dtype=np.int64)
    for shuffled in orders:
        starts = np.arange(0, len(rows), block_rows)
        random_state.shuffle(starts)
        n_taken = 0
        for start in starts.tolist():
            block = rows[start : start + block_rows]
            shuffled[n_taken : n_taken + len(block)] = block
            n_taken += len(block)
        for first in range(0, len(rows), window_rows):
            window = shuffled[first : first + window_rows]
            window[:] = draw_orders(window, 1, random_state)[0]
    return orders


def _state(generator):
    """Return a view of a generator's words and of the number used; NumPy takes 40 us to return a copy."""
    return np.frombuffer((ctypes.c_uint32 * (_N_WORDS + 1)).from_address(generator.ctypes.state_address), np.uint32)


@lru_cache
def _knows_state():
    """Whether this version of NumPy has this memory layout."""
    generator = np.random.MT19937(0)
    generator.random_raw(3)
    copy = generator.state["state"]
    return _state(generator).tolist() == [*copy["key"].tolist(), copy["pos"]]


@entry("uint32*", "uint32*", "int64*", "int64*", "int64", "int64")
def _shuffle(state, words, order, orders, n_rows, n_orders):
    """Shuffle by Fisher-Yates, from the last row on, with as few bits per draw as possible and rejection sampling."""
    for i in range(n_rows):
        orders[i] = order[i]
    all_bits = 1
    while all_bits < n_rows - 1:
        all_bits = 2 * all_bits + 1
    position = np.int64(state[_N_WORDS])
    _temper(state, words)
    for first in range(0, n_orders, max(n_rows, 1)):
        if first > 0:
            for i in range(first, first + n_rows):
                orders[i] = orders[i - n_rows]
        last, bits = n_rows - 1, all_bits
        while last > 0:
            while last > bits >> 1:
                if position == _N_WORDS:
                    _twist(state)
                    _temper(state, words)
                    position = 0
                other = np.int64(words[position]) & bits
                position += 1
                # No branch, because it could not be predicted: if the number is too large, the row is swapped with
                # itself.
                moves = other <= last
                other = other if moves else last
                row = orders[first + last]
                orders[first + last] = orders[first + other]
                orders[first + other] = row
                last -= np.int64(moves)
            bits >>= 1
    state[_N_WORDS] = position


@formula
def _twist(key):
    """Generate the next words, in place."""
    # In two parts, because the words of the second depend on the first.
    for i in range(_N_WORDS - _DISTANCE):
        key[i] = _next_word(key[i], key[i + 1], key[i + _DISTANCE])
    for i in range(_N_WORDS - _DISTANCE, _N_WORDS - 1):
        key[i] = _next_word(key[i], key[i + 1], key[i + _DISTANCE - _N_WORDS])
    key[_N_WORDS - 1] = _next_word(key[_N_WORDS - 1], key[0], key[_DISTANCE - 1])


@formula
def _next_word(word, following, distant):
    joined = (word & _UPPER) | (following & _LOWER)
    odd = _MATRIX if joined & np.uint32(1) else np.uint32(0)
    return distant ^ (joined >> np.uint32(1)) ^ odd


@formula
def _temper(key, words):
    """Temper the words: the output of the generator."""
    for i in range(_N_WORDS):
        word = key[i]
        word ^= word >> np.uint32(11)
        word ^= (word << np.uint32(7)) & _MASK_B
        word ^= (word << np.uint32(15)) & _MASK_C
        words[i] = word ^ (word >> np.uint32(18))
