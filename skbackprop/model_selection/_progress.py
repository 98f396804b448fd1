"""An addition to scikit-learn's progress bar of a search: the best score so far, and its parameters."""

import textwrap
import threading

import numpy as np

from skbackprop._sklearn import ProgressBar, lower

__all__ = ["BestSoFar", "only_progress_bars"]


def only_progress_bars(callbacks):
    """Whether all callbacks are scikit-learn's progress bars, which use the names of tasks only, not the data."""
    return all(type(callback) is ProgressBar for callback in callbacks)


_INDENT, _WIDTH = " " * 8, 40


class BestSoFar:
    """Shows the best mean score so far, and its parameters, in the progress bar of a search.

    For the bar it is a task of the search, whose line is redrawn for each new best score. Each iteration of successive
    halving has its own line, because the scores of different iterations come from different amounts of data. Individual
    fits have no lines; they count as one level deeper than in scikit-learn.

    Parameters
    ----------
    search : object
        A search of scikit-learn or a subclass.
    """

    def __init__(self, search):
        self._search = search
        self._lock = threading.Lock()
        self._rounds = {}

    def begin(self, task):
        """Record that a fit is about to begin.

        Parameters
        ----------
        task : dict
            The arguments of scikit-learn's function for one candidate and one fold, by name. Those of other functions
            and of other searches are ignored.
        """
        if task.get("caller") is not self._search or task["callback_ctx"] is None:
            return
        lower(task["callback_ctx"])
        context = task["callback_ctx"].parent
        with self._lock:
            if id(context) not in self._rounds:
                self._rounds[id(context)] = _Round(self._search, context)

    def end(self, task, result):
        """Record the result of a fit.

        Parameters
        ----------
        task : dict
            See `begin`.
        result : dict
            The result of scikit-learn's function.
        """
        if task.get("caller") is not self._search or task["callback_ctx"] is None:
            return
        score = result["test_scores"]
        if isinstance(score, dict):
            # With several metrics, `refit` names the one to compare; a callable `refit` decides only at the end.
            score = score.get(self._search.refit) if isinstance(self._search.refit, str) else None
        if score is None:
            return
        with self._lock:
            self._rounds[id(task["callback_ctx"].parent)].add(task, score)


class _Round:
    """Comparable scores: those of the tasks of one callback context."""

    def __init__(self, search, context):
        self._search = search
        self._context = context
        self._scores = {}
        self._best = -np.inf
        self._task = None
        self._task_id = context.max_subtasks
        # One task more than the bar counts. No task has ended yet, so the bar will be redrawn.
        context.max_subtasks += 1
        context.call_on_fit_task_begin(estimator=search)

    def add(self, task, score):
        (candidate, _), (_, n_splits) = task["candidate_progress"], task["split_progress"]
        scores = self._scores.setdefault(candidate, [])
        scores.append(score)
        if len(scores) == n_splits and np.mean(scores) > self._best:
            self._best = np.mean(scores)
            if self._task is None:
                # Only a task with subtasks has a line.
                self._task = self._context.subcontext(task_id=self._task_id, max_subtasks=1)
            self._task.task_name = f"best so far {self._best:.4g}{_settings(task['parameters'])}"
            self._task.call_on_fit_task_begin(estimator=self._search)
            self._task.call_on_fit_task_end(estimator=self._search)


def _settings(parameters):
    """Format parameters in lines that leave room for the bar, without step names if the last parts are unique."""
    from rich.markup import escape

    last = {name: name.rpartition("__")[2] for name in parameters}
    names = last if len(set(last.values())) == len(last) else {name: name for name in parameters}
    text = ", ".join(f"{names[name]}={value!r}" for name, value in parameters.items())
    return escape("".join(f"\n{_INDENT}{line}" for line in textwrap.wrap(text, _WIDTH)))
