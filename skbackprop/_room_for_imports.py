"""Import scikit-learn in the same time wherever the import is called from.

Python 3.11 and later keep frames in pieces of memory of 16 KB. A call that does not fit into the current piece maps a new one,
and unmaps it when it returns; if a loop that makes such calls happens to run near the end of a piece, each of them pays for
that in page faults. Importing scikit-learn has such loops, nested deep, so that its seconds vary by a tenth with the depth of
the stack from which it is called. A frame larger than a piece gets one of the next power of two, the rest of which is room
for the calls under it.
"""


def _import_scikit_learn():
    import sklearn  # noqa: F401


# Entries of 8 bytes: 160,000 bytes in a piece of 262,144 leave 100,000 for what the import calls.
_import_scikit_learn.__code__ = _import_scikit_learn.__code__.replace(co_stacksize=20_000)
_import_scikit_learn()
