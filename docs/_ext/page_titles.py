"""Fail the build if an HTML page has another title than its source: something else was then written over it.

Sphinx writes a page of its own for searches, for example, and would replace a document named ``search``.
"""

import re
from html import unescape
from pathlib import Path

from sphinx.errors import ExtensionError


def check(app, exception):
    """Compare the title of each page written with that of its source."""
    if exception is not None or app.builder.format != "html":
        return
    wrong = []
    for name, title in app.env.titles.items():
        page = Path(app.builder.get_outfilename(name)).read_text(encoding="utf-8")
        written = unescape(re.search(r"<title>(.*?)</title>", page, re.DOTALL)[1])
        if title.astext() not in written:
            wrong.append(f"{name}: {written.strip()!r} instead of {title.astext()!r}")
    if wrong:
        raise ExtensionError(f"pages with titles of something else: {'; '.join(wrong)}")


def setup(app):
    """Connect to the build."""
    app.connect("build-finished", check)
    return {"parallel_read_safe": True, "version": "1"}
