"""Sphinx configuration. ``sphinx-build -W -b html docs docs/_build/html`` needs no network."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))
# A source tree that is not installed; an installed package comes first otherwise.
sys.path.append(str(HERE.parent))

import skbackprop  # noqa: E402

# Otherwise the first example would show how long the kernels took to compile, and where they are kept.
skbackprop.warmup(dtypes=["float64"])

project = "skbackprop"
author = "the skbackprop developers"
copyright = f"2026, {author}"
version = release = skbackprop.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
    "page_doctests",
    "registry_tables",
    "house_map",
    "page_titles",
    "public_names",
    "scikit_learn_links",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "auto_examples/*.ipynb", "auto_examples/*.py", "examples"]
default_role = "code"
nitpicky = False

autosummary_generate = True
# Members are listed by _templates/autosummary/class.rst.
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

html_theme = "pydata_sphinx_theme"
html_title = "skbackprop"
html_theme_options = {
    "show_prev_next": False,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "header_links_before_dropdown": 7,
}
html_show_sourcelink = False

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"/plot_",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "min_reported_time": 1,
    "plot_gallery": True,
}
