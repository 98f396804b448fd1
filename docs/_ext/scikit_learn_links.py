"""Links to scikit-learn's documentation, made without reading its index: a build needs no network.

Classes, functions and glossary terms get the address that scikit-learn gives them. Other labels of its guide, which
stand in inherited docstrings, become plain text.
"""

from docutils import nodes

BASE = "https://scikit-learn.org/stable"


def resolve(app, env, node, contnode):
    """Answer a reference that this project does not define."""
    kind, target = node.get("reftype"), node.get("reftarget", "")
    if kind in ("class", "func", "obj") and target.startswith("sklearn."):
        address = f"{BASE}/modules/generated/{target}.html"
    elif kind == "term":
        address = f"{BASE}/glossary.html#term-{target}"
    elif kind == "ref" and "docstring of sklearn." in (node.source or node.parent.source or ""):
        return contnode
    else:
        return None
    return nodes.reference("", "", contnode, internal=False, refuri=address)


def setup(app):
    """Connect to the build."""
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "version": "1"}
