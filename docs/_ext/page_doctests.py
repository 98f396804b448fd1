"""Run the doctests of the pages, and fail the build (under ``-W``) if an output differs from the page.

Pages made by other extensions are left out: the gallery runs its own code, and the API pages repeat docstrings.
"""

import doctest
import warnings
from io import StringIO

import numpy as np
from sphinx.util import logging

logger = logging.getLogger(__name__)

MADE_ELSEWHERE = ("auto_examples/", "generated/")


def check(app, env):
    """Report differing outputs as warnings."""
    runner = doctest.DocTestRunner(verbose=False)
    parser = doctest.DocTestParser()
    for name in sorted(env.found_docs):
        if name.startswith(MADE_ELSEWHERE):
            continue
        path = env.doc2path(name)
        with open(path, encoding="utf-8") as file:
            test = parser.get_doctest(file.read(), {"__name__": "__main__"}, name, path, 0)
        report = StringIO()
        # A page may set print options and warning filters, which must not leak into the next page.
        with np.printoptions(), warnings.catch_warnings():
            runner.run(test, out=report.write)
        if report.getvalue():
            logger.warning("doctests: %s", report.getvalue(), location=name)


def setup(app):
    """Connect to the build."""
    app.connect("env-check-consistency", check)
    return {"parallel_read_safe": True, "version": "1"}
