"""Scripts that use other tools, with what they printed: ``.. works-with:: NAME``.

A build runs those for which everything is installed, and fails (under ``-W``) if one does not succeed; what the page
shows is the outcome that ``python docs/snippets/works_with`` has noted.
"""

import json
import runpy

from registry_tables import _Table
from sphinx.util import logging

logger = logging.getLogger(__name__)


class WorksWith(_Table):
    """A script, what it printed, and the versions of what it imports."""

    required_arguments = 1

    def run(self):
        name = self.arguments[0]
        self.env.note_dependency(str(runner(self.env.srcdir)["OUTCOMES"]))
        outcome = json.loads(runner(self.env.srcdir)["OUTCOMES"].read_text(encoding="utf-8"))[name]
        versions = ", ".join(f"{one} {number}" for one, number in outcome["versions"].items())
        return self._parse(
            [
                f".. literalinclude:: snippets/works_with/{name}.py",
                "   :language: python",
                "",
                f"It printed, on {outcome['date']} with {versions}:",
                "",
                ".. code-block:: text",
                "",
                *(f"   {line}" for line in outcome["printed"]),
            ]
        )


def runner(srcdir):
    """Return the names of the program that runs the scripts."""
    return runpy.run_path(f"{srcdir}/snippets/works_with/__main__.py", run_name="runner")


def check(app, env):
    """Report scripts that fail as warnings."""
    program = runner(app.srcdir)
    for name in program["NAMES"]:
        if not program["missing"](name) and (process := program["run"](name)).returncode:
            logger.warning("%s fails: %s", name, process.stderr, location="works_with")


def setup(app):
    """Connect to the build."""
    app.add_directive("works-with", WorksWith)
    app.connect("env-check-consistency", check)
    return {"parallel_read_safe": True, "version": "1"}
