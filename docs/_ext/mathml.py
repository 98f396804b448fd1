"""Formulas as MathML, which browsers draw themselves: pages need neither a script nor a network.

docutils translates LaTeX when the docs are built, and refuses what it does not know.
"""

import re

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.errors import ExtensionError

#: The space that LaTeX sets on both sides of a function's name, and docutils does not.
_BEFORE = re.compile(r"(?<=[\w)}])\s+(?=\\(?:exp|ln|log|tanh)\b)")
_AFTER = re.compile(r"(\\(?:exp|ln|log|tanh))\s+(?=[\w\\])")
#: Within text, LaTeX needs a backslash before an underscore, and docutils shows it.
_UNDERSCORE = re.compile(r"(?<=\w)\\_(?=\w+})")


def _formula(node, **options):
    formula = _UNDERSCORE.sub("_", _AFTER.sub(r"\1\\,", _BEFORE.sub(r"\\,", node.astext())))
    try:
        return tex2mathml(formula, **options)
    except MathError as error:
        raise ExtensionError(f"a formula cannot be translated: {node.astext()!r}: {error}") from None


def visit_math(self, node):
    """Write a formula in a line of text."""
    self.body.append(_formula(node))
    raise nodes.SkipNode


def visit_displayed_math(self, node):
    """Write a formula of its own lines."""
    self.body.append(f'<div class="math">{_formula(node, as_block=True)}</div>')
    raise nodes.SkipNode


def setup(app):
    """Register the renderer."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_displayed_math, None))
    return {"parallel_read_safe": True, "version": "1"}
