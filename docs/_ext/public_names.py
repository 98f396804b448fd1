"""Fail the build (under ``-W``) where a public name is undocumented.

Every name in ``skbackprop.__all__``, and in that of its public modules, must be listed in api.rst and have a docstring
that documents all its parameters; so must every public method that this package defines.
"""

import inspect
import re

from numpydoc.validate import validate
from sphinx.util import logging

import skbackprop
import skbackprop.callbacks
import skbackprop.functions
import skbackprop.inspection
import skbackprop.model_selection
import skbackprop.preprocessing

logger = logging.getLogger(__name__)

#: numpydoc's codes: no docstring, parameters undocumented, parameters unknown, no Returns, no Yields.
CHECKS = {"GL08", "PR01", "PR02", "RT01", "YD01"}


def _is_generated(name):
    """Whether scikit-learn generates the method, for metadata routing."""
    return name.endswith("_request") or name == "get_metadata_routing"


def public_names():
    """Dotted names of the public objects and of their own methods."""
    for name in skbackprop.functions.__all__:
        # Their methods are internal.
        yield f"skbackprop.functions.{name}"
    for module in (skbackprop.callbacks, skbackprop.inspection, skbackprop.model_selection, skbackprop.preprocessing):
        for name in module.__all__:
            yield f"{module.__name__}.{name}"
    for name in skbackprop.__all__:
        if name.startswith("__"):
            continue
        yield f"skbackprop.{name}"
        member = getattr(skbackprop, name)
        if inspect.isclass(member):
            for method in sorted(dir(member)):
                attribute = getattr(member, method)
                if method.startswith("_") or not callable(attribute) or _is_generated(method):
                    continue
                if (getattr(attribute, "__module__", None) or "").startswith("skbackprop"):
                    yield f"skbackprop.{name}.{method}"


def check(app, env):
    """Report missing documentation as warnings."""
    documented = env.get_domain("py").objects
    for name in public_names():
        if name not in documented:
            logger.warning("public name %s is in no page: add it to api.rst", name)
        for code, message in validate(name)["errors"]:
            if code in CHECKS:
                logger.warning("docstring of %s: %s (%s)", name, message, code)


def skip_member(app, what, name, member, skip, options):
    """Leave out what scikit-learn generates for metadata routing: one page of its own guide explains it."""
    return True if _is_generated(name) else skip


def quote_shapes(app, what, name, obj, options, lines):
    """Keep reStructuredText from taking an attribute in a shape, as in ``(n_features_in_,)``, for a link."""
    lines[:] = [re.sub(r"(?<![`\w])(\w+_)(?=,\))", r"``\1``", line) if ":" in line else line for line in lines]


def setup(app):
    """Connect to the build."""
    app.connect("env-check-consistency", check)
    app.connect("autodoc-skip-member", skip_member)
    app.connect("autodoc-process-docstring", quote_shapes, priority=900)  # after numpydoc
    return {"parallel_read_safe": True, "version": "1"}
