"""Fail the build if an HTML page is not what it should be.

A page has the title of its source: Sphinx writes a page of its own for searches, for example, and would replace a
document named ``search``. It shows no path of the machine that has built it, as warnings of the gallery's examples do.
And it loads nothing from elsewhere, as the gallery's pages of computation times do.
"""

import re
from html import unescape
from pathlib import Path

from sphinx.errors import ExtensionError


def faults(app):
    """What is wrong with the pages written."""
    for name, title in app.env.titles.items():
        source = Path(app.builder.get_outfilename(name)).read_text(encoding="utf-8")
        page = unescape(source)
        written = re.search(r"<title>(.*?)</title>", page, re.DOTALL)[1]
        if title.astext() not in written:
            yield f"{name} has the title {written.strip()!r} instead of {title.astext()!r}"
        if str(app.srcdir) in page:
            yield f"{name} shows the path {app.srcdir}"
        for address in re.findall(r"""<(?:script|link|img)\b[^>]+(?:src|href)=["'](https?://[^"']+)""", source):
            yield f"{name} loads {address}"


def check(app, exception):
    """Raise an error that lists the faults."""
    if exception is None and app.builder.format == "html" and (found := "; ".join(faults(app))):
        raise ExtensionError(found)


def setup(app):
    """Connect to the build."""
    app.connect("build-finished", check)
    return {"parallel_read_safe": True, "version": "1"}
