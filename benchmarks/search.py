"""Seconds of a grid search: 18 candidates, 5 folds, digits, one hidden layer of 64 units, 50 epochs."""

import time

from benchmarks.measure import Pool, Results, choose_peers
from benchmarks.peers import ScikitLearn, Skbackprop

_GRID = {"alpha": [1e-4, 1e-2, 1.0], "learning_rate_init": [3e-4, 1e-3, 3e-3], "batch_size": [32, 200]}
_SETTINGS = {
    "hidden_layer_sizes": (64,), "max_iter": 50, "tol": 0, "n_iter_no_change": float("inf"), "random_state": 0,
}  # fmt: skip


class Search:
    """A grid search with scikit-learn's MLPClassifier.

    Parameters
    ----------
    n_jobs : int
        Fits at the same time.
    quick : bool
        Whether to search two candidates over a few epochs only.
    """

    name, available = ScikitLearn.name, ScikitLearn.available

    def __init__(self, n_jobs, quick):
        self._n_jobs = n_jobs
        self._quick = quick

    def estimator(self, **settings):
        """Its estimator."""
        from sklearn.neural_network import MLPClassifier

        return MLPClassifier(**settings)

    def prepare(self):
        """Load the data; start joblib's workers and compile in them, which is not timed."""
        from sklearn.datasets import load_digits

        self._X, self._y = load_digits(return_X_y=True)
        self._X /= 16
        self._search({"alpha": _GRID["alpha"]}, max_iter=2)

    def run(self, n):
        """Search `n` times; gives seconds and `n`."""
        start = time.perf_counter()
        for _ in range(n):
            if self._quick:
                self._model = self._search({"alpha": _GRID["alpha"][:2]}, max_iter=5)
            else:
                self._model = self._search(_GRID)
        return time.perf_counter() - start, n

    def check(self):
        """Accuracy of the best candidate."""
        return float(self._model.best_score_)

    def _search(self, grid, **settings):
        from sklearn.model_selection import GridSearchCV

        model = GridSearchCV(self.estimator(**_SETTINGS | settings), grid, cv=5, n_jobs=self._n_jobs)
        return model.fit(self._X, self._y)


class SkbackpropSearch(Search):
    """The same with BackpropClassifier."""

    name, available = Skbackprop.name, Skbackprop.available

    def estimator(self, **settings):
        """Its estimator."""
        from skbackprop import BackpropClassifier

        return BackpropClassifier(**settings)


PEERS = {peer.name: peer for peer in (SkbackpropSearch, Search)}


def run(options):
    """Run the benchmark with the command line's options."""
    results = Results(options)
    with Pool("search", choose_peers(PEERS, options.peers), options.threads) as pool:
        for n_jobs in sorted({1, options.threads}):
            measured = pool.measure({"n_jobs": n_jobs, "quick": options.quick}, options.rounds, min_seconds=0)
            results.add(f"n_jobs={n_jobs}", measured, unit="s")
    results.finish()
