"""What a fit asks of the other workers that fit the same model to rows of their own; without workers, of nobody.

In all functions, `workers` is a Collective, or None for a fit on one machine.
"""

import numpy as np

__all__ = ["average", "check_agreement", "count", "is_any", "labels_of_all", "weighted_sums"]


def count(n, workers):
    """Return the sum of a number of rows, or of an array of counts, over all workers."""
    return n if workers is None else workers.total(n)


def is_any(values, workers):
    """Whether any of the workers' values is nonzero."""
    found = bool(np.any(values))
    return found if workers is None else any(workers.gather(found))


def weighted_sums(values, weights, workers):
    """Sum columns over all rows of all workers.

    Parameters
    ----------
    values : ndarray of shape (n_rows, n_columns)
    weights : ndarray of shape (n_rows,) or None
        None for ones.
    workers : Collective

    Returns
    -------
    sums : ndarray of shape (n_columns,), float64
    total : float
        Sum of the weights.
    """
    weights = np.ones(len(values)) if weights is None else weights.astype(np.float64)
    sums = workers.total(np.append((values * weights[:, np.newaxis]).sum(axis=0), weights.sum()))
    return sums[:-1], sums[-1]


def average(values, weights, workers):
    """Return the mean of each column over all rows of all workers; see `weighted_sums`."""
    if workers is None:
        return np.average(values, axis=0, weights=weights)
    sums, total = weighted_sums(values, weights, workers)
    return sums / total


def check_agreement(workers, **facts):
    """Raise the same error on all workers if their data differ in what has to be the same.

    Parameters
    ----------
    workers : Collective
    **facts : object
        What has to be the same, by its name in words with underscores.

    Raises
    ------
    ValueError
        Names the first difference and two of the workers.
    """
    first, *others = workers.gather(facts)
    for rank, other in enumerate(others, start=1):
        for name, value in first.items():
            if other[name] != value:
                raise ValueError(
                    f"the workers' data differ in {name.replace('_', ' ')}: worker 0 has {value}, and worker {rank} {other[name]}; "
                    "give all partitions the same"
                )


def labels_of_all(y, workers):
    """Return a small array of targets of the same kind and with the same labels as those of all workers together.

    Parameters
    ----------
    y : ndarray of shape (n_rows,) or (n_rows, n_columns)
        Validated targets of this worker.
    workers : Collective

    Returns
    -------
    y : ndarray
        In two dimensions, columns repeat their labels up to the length of the longest.
    """
    y = y.toarray() if hasattr(y, "toarray") else y
    if y.ndim == 1:
        return np.unique(np.concatenate(workers.gather(np.unique(y))))
    labels = [np.unique(column) for column in y.T]
    n_rows = max(map(len, labels))
    return np.concatenate(workers.gather(np.column_stack([np.resize(column, n_rows) for column in labels])))
