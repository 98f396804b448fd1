"""What scikit-learn's progress bar does not show of a search: the best score so far, and whose it is."""

import threading

import numpy as np
from sklearn.callback import ProgressBar

__all__ = ["BestSoFar", "only_progress_bars"]


def only_progress_bars(callbacks):
    """Whether all callbacks are scikit-learn's progress bars, which look at the names of tasks only, and not at data."""
    return all(type(callback) is ProgressBar for callback in callbacks)


class BestSoFar:
    """Tells a search's callbacks of each mean score that is better than those before.

    To them it is a task of the search with a task for each of these scores, whose names scikit-learn's progress bar shows. The
    iterations of successive halving have one each: their scores come from different amounts of data.

    Parameters
    ----------
    search : object
        scikit-learn's, or a subclass.
    """

    def __init__(self, search):
        self._search = search
        self._lock = threading.Lock()
        self._rounds = {}

    def __call__(self, arguments, result):
        """Take note of a fit.

        Parameters
        ----------
        arguments : dict
            The keyword arguments of scikit-learn's function for one candidate and one fold. Other tasks, such as those of a forest
            among the steps of a pipeline that is fitted once more in the end, are passed over.
        result : dict
            What it has returned.
        """
        if arguments.get("callback_ctx") is None or "candidate_progress" not in arguments:
            return
        score = result["test_scores"]
        if isinstance(score, dict):
            # The others are told apart by what `refit` names; a function decides at the end only.
            score = score.get(self._search.refit) if isinstance(self._search.refit, str) else None
        if score is None:
            return
        context = arguments["callback_ctx"].parent
        with self._lock:
            if id(context) not in self._rounds:
                self._rounds[id(context)] = _Round(self._search, context)
            self._rounds[id(context)].add(arguments, score)


class _Round:
    """Scores that can be compared: those of the tasks of one callback context."""

    def __init__(self, search, context):
        self._search = search
        self._scores = {}
        self._n_scores = 0
        self._best = -np.inf
        task_id = context.max_subtasks
        # One more than the bar counts, which has been drawn: it is full when the candidates are done.
        context.max_subtasks += 1
        self._task = context.subcontext("best so far", task_id=task_id, max_subtasks=None)
        self._task.call_on_fit_task_begin(estimator=search)

    def add(self, arguments, score):
        (candidate, n_candidates), (_, n_splits) = arguments["candidate_progress"], arguments["split_progress"]
        scores = self._scores.setdefault(candidate, [])
        scores.append(score)
        self._n_scores += 1
        if len(scores) == n_splits and np.mean(scores) > self._best:
            self._best = np.mean(scores)
            # Its number, as in messages of a verbose search: parameters would fill the line. Only a task with subtasks has one.
            name = f"{self._best:.4g} by candidate {candidate + 1}/{n_candidates}"
            found = self._task.subcontext(name, max_subtasks=1)
            found.call_on_fit_task_begin(estimator=self._search)
            found.call_on_fit_task_end(estimator=self._search)
        if self._n_scores == n_candidates * n_splits:
            self._task.call_on_fit_task_end(estimator=self._search)
