"""The collective between processes: what it adds, and that nothing keeps it waiting or outlives it."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing, suppress

import numpy as np
import pytest

pytest.importorskip("xgboost", reason="xgboost is not installed")
pytest.importorskip("psutil", reason="psutil is not installed")

import killing

from skbackprop.distributed import _rabit
from skbackprop.distributed._rabit import RabitCollective, Tracker
from skbackprop.exceptions import WorkerLostError

pytestmark = [pytest.mark.cluster, pytest.mark.process]


@pytest.fixture(autouse=True)
def _nothing_is_left():
    yield
    for _ in range(100):
        if not killing.processes_of_xgboost():
            return
        time.sleep(0.1)
    raise AssertionError(f"processes are left: {killing.processes_of_xgboost()}")


@pytest.fixture
def tracker():
    trackers = []

    def begin(size):
        trackers.append(Tracker("127.0.0.1", size))
        return trackers[-1]

    yield begin
    for own in trackers:
        own.close()


def on_all(size, address, function):
    """Return what a function returns for each of as many workers, in threads of this process, or the error it raises."""

    def call(rank):
        with RabitCollective(address, rank, size) as workers:
            return function(workers)

    with ThreadPoolExecutor(size) as pool:
        futures = [pool.submit(call, rank) for rank in range(size)]
        done, _ = wait(futures, timeout=60)
        assert len(done) == size, "some wait for others"
        return [future.exception() or future.result() for future in futures]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_sums_of_arrays_that_grow_and_shrink(tracker, size):
    def add(workers):
        sums = []
        for n in (3, 200_000, 1, 7):
            array = np.arange(n) * 0.1 + workers.rank
            workers.sum(array)
            sums.append(array)
        return sums

    first, *others = on_all(size, tracker(size).address, add)
    for own in others:
        for one, other in zip(own, first, strict=True):
            np.testing.assert_array_equal(one, other)
    for array in first:
        np.testing.assert_allclose(array, size * np.arange(len(array)) * 0.1 + size * (size - 1) / 2, rtol=1e-14)


def test_sums_are_the_same_bits_each_time(tracker):
    def add(workers):
        array = np.random.default_rng(workers.rank).standard_normal(1001)
        workers.sum(array)
        return array.tobytes()

    assert len({bits for _ in range(3) for bits in on_all(3, tracker(3).address, add)}) == 1


def test_any_values_are_gathered(tracker):
    values = [None, {"classes": np.array(["a", "bc"], dtype=object)}, "x" * 100_000]
    for gathered in on_all(3, tracker(3).address, lambda workers: workers.gather(values[workers.rank])):
        assert gathered[0] is None
        assert gathered[1]["classes"].tolist() == ["a", "bc"]
        assert gathered[2] == values[2]


def test_totals_of_a_matrix(tracker):
    assert [
        total.tolist() for total in on_all(2, tracker(2).address, lambda own: own.total([[1.0, 2.0], [3.0, 4.0]]))
    ] == [[[2.0, 4.0], [6.0, 8.0]]] * 2


def test_nothing_listens_while_workers_add(tracker):
    own = tracker(2)

    def listen(workers):
        workers.sum(np.zeros(1))
        own.close()
        workers.sum(np.zeros(1))
        return killing.listening()

    before = killing.listening() - {own.address}
    assert on_all(2, own.address, listen) == [before, before]


def add_forever(workers):
    array = np.zeros(400)
    with suppress(WorkerLostError):
        while True:
            workers.sum(array)
    return "lost"


@pytest.mark.parametrize("size", [2, 3])
def test_a_process_that_is_killed_in_a_sum_keeps_no_other_waiting(tracker, size):
    # Often enough for XGBoost to wait for itself: some 1 in 10.
    for number in range(12):
        address = tracker(size).address
        killer = threading.Timer(0.3 + 0.02 * number, _kill_one_worker)
        killer.start()
        try:
            # As an engine does, stop those that have not noticed.
            assert _stopped_after(2.0, size, address) == ["lost"] * size
        finally:
            killer.join()


def _kill_one_worker():
    import psutil

    for pid in sorted(killing.processes_of_xgboost()):
        with suppress(psutil.Error):
            if "worker" in psutil.Process(pid).cmdline():
                os.kill(pid, signal.SIGKILL)
                return


def _stopped_after(seconds, size, address):
    collectives, results = [], [None] * size

    def call(rank):
        collectives.append(RabitCollective(address, rank, size))
        with suppress(WorkerLostError), collectives[-1] as workers:
            add_forever(workers)
        results[rank] = "lost"

    threads = [threading.Thread(target=call, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds)
    for own in collectives:
        own.stop()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    return results


@pytest.mark.parametrize("seconds", [None, 0.0, 0.5])
def test_a_worker_that_waits_for_others_can_be_stopped(tracker, seconds):
    workers = RabitCollective(tracker(2).address, 0, 2)
    if seconds is None:
        workers.stop()
    else:
        threading.Timer(seconds, workers.stop).start()
    started = time.monotonic()
    with pytest.raises(WorkerLostError, match="the training was stopped"), workers:
        pass
    assert time.monotonic() - started < 10


def test_a_tracker_that_is_gone_is_noticed(tracker):
    own = tracker(2)
    threading.Timer(0.5, own.close).start()
    with (
        pytest.raises(WorkerLostError, match="another worker has left the training: "),
        RabitCollective(own.address, 0, 2),
    ):
        pass
    with (
        pytest.raises(WorkerLostError, match="another worker has left the training: "),
        RabitCollective(own.address, 0, 2),
    ):
        pass


def test_a_tracker_closes_although_a_worker_that_has_come_is_silent(tracker):
    own = tracker(3)
    with socket.create_connection(own.address) as first, socket.create_connection(own.address) as second:
        first.settimeout(10)
        first.recv(1)  # the tracker listens to this one only
        own.close()
        second.settimeout(10)
        with pytest.raises(ConnectionResetError):
            second.recv(1)


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_a_tracker_that_cannot_listen_says_where(host):
    with (
        closing(Tracker(host, 2)) as tracker,
        pytest.raises(OSError, match=f"workers cannot meet at '{host}', the address that the engine gave: "),
    ):
        assert tracker.address


def test_a_stranger_does_not_end_the_tracker(tracker):
    own = tracker(2)
    with socket.create_connection(own.address) as stranger:
        stranger.sendall(b"GET / HTTP/1.0\r\n\r\n")
    assert on_all(2, own.address, lambda workers: workers.gather(workers.rank)) == [[0, 1], [0, 1]]


def test_files_where_there_are_none_in_memory(tracker, monkeypatch):
    monkeypatch.delattr(os, "memfd_create", raising=False)
    assert on_all(2, tracker(2).address, lambda workers: workers.gather(workers.rank)) == [[0, 1], [0, 1]]


def test_a_worker_of_another_number_is_refused(tracker, monkeypatch):
    address, answer = tracker(1).address, _rabit._Process.first_answer
    monkeypatch.setattr(_rabit._Process, "first_answer", lambda own: answer(own) + 1)
    with pytest.raises(RuntimeError, match="the tracker gave worker 0 the rank 1"), RabitCollective(address, 0, 1):
        pass


_WAITS = """
import sys
from skbackprop.distributed._rabit import RabitCollective, Tracker
tracker = Tracker("127.0.0.1", 2)
print("begun", flush=True)
with RabitCollective(tracker.address, 0, 2):
    pass
"""


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_processes_end_with_the_worker(sent):
    worker = subprocess.Popen([sys.executable, "-c", _WAITS], stdout=subprocess.PIPE)
    assert worker.stdout.readline()
    while len(killing.processes_of_xgboost()) < 2:
        time.sleep(0.01)
    worker.send_signal(sent)
    assert worker.wait(10) == -sent
    worker.stdout.close()


def test_ctrl_c_is_the_engines_affair():
    worker = subprocess.Popen([sys.executable, "-c", _WAITS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert worker.stdout.readline()
    while len(killing.processes_of_xgboost()) < 2:
        time.sleep(0.01)
    worker.send_signal(signal.SIGINT)
    _, errors = worker.communicate(timeout=30)
    assert errors.splitlines()[-1] == "KeyboardInterrupt"


def test_without_xgboost(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="training on several workers needs xgboost: "):
        _rabit.check_installed()
