"""Orders of rows: NumPy's own draws, bit for bit."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.utils import check_random_state

from skbackprop.training import shuffling
from skbackprop.training.shuffling import draw_orders, draw_orders_in_blocks


def shuffled_by_numpy(order, n_epochs, random_state):
    """What scikit-learn does before each epoch."""
    orders = []
    for _ in range(n_epochs):
        permutation = np.arange(len(order))
        random_state.shuffle(permutation)
        order = order[permutation]
        orders.append(order)
    return np.reshape(orders, (n_epochs, len(order)))


def check_same(order, n_epochs, ours, numpys):
    before = order.copy()
    assert_array_equal(draw_orders(order, n_epochs, ours), shuffled_by_numpy(order, n_epochs, numpys))
    assert_array_equal(order, before)
    # Both go on from the same place, with the normal number that NumPy keeps for later, too.
    assert_array_equal(ours.standard_normal(3), numpys.standard_normal(3))
    assert_array_equal(ours.randint(2**31, size=700), numpys.randint(2**31, size=700))


@pytest.mark.parametrize("n_rows", [0, 1, 2, 3, 4, 5, 8, 9, 31, 32, 33, 623, 624, 625, 1000, 5000])
def test_the_orders_are_those_of_numpy(n_rows):
    order = np.random.RandomState(5).permutation(np.arange(7, n_rows + 7))
    ours, numpys = np.random.RandomState(n_rows), np.random.RandomState(n_rows)
    for n_drawn in (0, 1, 300):
        # From several places among the words that the generator makes at a time.
        ours.bytes(4 * n_drawn), numpys.bytes(4 * n_drawn)
        assert ours.standard_normal() == numpys.standard_normal()
        check_same(order, 3, ours, numpys)


@pytest.mark.parametrize("generator", [np.random.PCG64, np.random.Philox, np.random.SFC64])
def test_other_generators_are_numpys(generator):
    check_same(np.arange(50), 2, np.random.RandomState(generator(1)), np.random.RandomState(generator(1)))


@pytest.mark.parametrize(("name", "value"), [("_MOST_ROWS", 10), ("_knows_state", lambda: False)])
def test_what_compiled_code_cannot_do_is_left_to_numpy(monkeypatch, name, value):
    def refuse(*arguments):
        raise AssertionError("compiled code was called")

    monkeypatch.setattr(shuffling, name, value)
    monkeypatch.setattr(shuffling, "_shuffle", refuse)
    check_same(np.arange(50), 2, np.random.RandomState(1), np.random.RandomState(1))


def test_this_numpy_keeps_the_state_where_it_is_looked_for():
    assert shuffling._knows_state()


def test_numpys_global_generator_is_advanced():
    shared = check_random_state(None)
    expected = np.random.RandomState()
    expected.set_state(shared.get_state())
    check_same(np.arange(100), 2, shared, expected)


@pytest.mark.parametrize(("n_rows", "block_rows", "window_rows"), [(0, 3, 6), (1, 3, 6), (50, 1, 50), (103, 5, 20)])
def test_orders_in_blocks(n_rows, block_rows, window_rows):
    rows = np.arange(n_rows) * 3
    orders = draw_orders_in_blocks(rows, 4, np.random.RandomState(0), block_rows, window_rows)
    assert_array_equal(draw_orders_in_blocks(rows, 4, np.random.RandomState(0), block_rows, window_rows), orders)
    assert_array_equal(np.sort(orders), np.tile(rows, (4, 1)))
    for order in orders:
        for first in range(0, n_rows, window_rows):
            blocks = np.unique(np.searchsorted(rows, order[first : first + window_rows]) // block_rows)
            # The last block of all is shorter, so that a window may begin and end within a block.
            assert len(blocks) <= window_rows // block_rows + 1
    if n_rows > window_rows:
        assert not np.array_equal(orders[0], orders[1])
        assert np.abs(np.diff(orders[0])).max() > 3
