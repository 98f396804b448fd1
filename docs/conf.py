"""Sphinx configuration. ``sphinx-build -W -b html docs docs/_build/html`` needs no network."""

import logging
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))
# A source tree that is not installed; an installed package comes first otherwise.
sys.path.append(str(HERE.parent))

import skbackprop  # noqa: E402

# Otherwise examples would show how long kernels took to compile, and where they are kept.
logging.getLogger("skbackprop").setLevel(logging.ERROR)
skbackprop.warmup(dtypes=["float64"])

project = "skbackprop"
author = "the skbackprop developers"
copyright = f"2026, {author}"
version = release = skbackprop.__version__

extensions = [
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
    "page_doctests",
    "registry_tables",
    "speed_tables",
    "house_map",
    "mathml",
    "page_checks",
    "public_names",
    "scikit_learn_links",
    "works_with",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "auto_examples/**.ipynb", "auto_examples/**.py", "examples"]
default_role = "code"
toc_object_entries_show_parents = "hide"
nitpicky = False
# Docstrings have the types in words.
autodoc_typehints = "none"

autosummary_generate = True
# Members are listed by _templates/autosummary/class.rst.
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

html_theme = "pydata_sphinx_theme"
html_title = "skbackprop"
html_theme_options = {
    "show_prev_next": False,
    "navigation_with_keys": False,
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
# Nothing lies beside these pages: a sidebar would be empty.
html_sidebars = {"index": [], "api": [], "search": [], "genindex": []}
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_math_renderer = "mathml"
html_show_sourcelink = False
# Prompts and outputs are not copied.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "auto_examples",
    "subsection_order": [
        f"examples/{section}" for section in ("start", "tables", "searches", "training", "clusters", "seeing")
    ],
    "within_subsection_order": "ExampleTitleSortKey",
    "filename_pattern": r"/plot_",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "min_reported_time": 1,
    # Pages that load scripts from elsewhere.
    "write_computation_times": False,
    "plot_gallery": True,
}
