"""The doctests of the documentation's pages, and docstrings that say the same of the same thing."""

import doctest
import inspect
import re
import runpy
import textwrap
import warnings
from pathlib import Path

import numpy as np
import pytest
import tomllib

import skbackprop
from skbackprop.exceptions import TrainingWarning

pytestmark = pytest.mark.trains

DOCS = Path(__file__).parent.parent / "docs"
PAGES = [path for path in sorted(DOCS.glob("*.rst")) if ">>>" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_page(path):
    with np.printoptions():
        result = doctest.testfile(str(path), module_relative=False, encoding="utf-8")
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize("path", sorted(DOCS.glob("snippets/*.py")), ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_snippets(path):
    runpy.run_path(str(path))


def blocks(text):
    """Blocks of Python with the number of their first line, those of snippets as well."""
    for match in re.finditer(r"^( *)\.\. code-block:: python\n((?:\1 +.*\n|\n)+)", text, re.MULTILINE):
        yield text[: match.start()].count("\n") + 3, textwrap.dedent(match[2])
    for match in re.finditer(r"^# \[(?!end)[^\]]+\]\n(.*?)^# \[end", text, re.MULTILINE | re.DOTALL):
        yield text[: match.start()].count("\n") + 2, match[1]


BLOCKS = [
    pytest.param(code, id=f"{path.stem}:{line}")
    for path in sorted([*DOCS.glob("*.rst"), *DOCS.glob("snippets/*.py")])
    for line, code in blocks(path.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize("code", BLOCKS)
@pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning", "ignore:.*interactive", "ignore:PySpark:FutureWarning"
)
def test_blocks_run_alone(code, tmp_path, monkeypatch):
    """As somebody pastes them from a page."""
    if 'device="cuda"' in code:
        pytest.skip("needs a GPU")
    for module in re.findall(r"^(?:import|from) (\w+)", code, re.MULTILINE):
        pytest.importorskip(module)
    if "# warns" in code:
        warnings.simplefilter("ignore", TrainingWarning)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    # Blocks that need it set it, and afterwards it is what it was.
    monkeypatch.setenv("SCIPY_ARRAY_API", "0")
    exec(compile(code, "block", "exec"), {"__name__": "__main__"})


def test_no_page_has_a_name_that_sphinx_takes():
    # Sphinx writes pages of its own over them; docs/_ext/page_checks.py checks what a build has made.
    assert {path.stem for path in DOCS.glob("*.rst")}.isdisjoint({"search", "genindex", "py-modindex", "modindex"})


def test_tests_that_promises_name_are_there():
    folder = Path(__file__).parent
    page = (folder.parent / "docs" / "promises.rst").read_text(encoding="utf-8")
    names = set(re.findall(r"(?:::|``)(?:stress/)?(test_\w+)", page))
    files = {path.stem: path.read_text(encoding="utf-8") for path in folder.rglob("test_*.py")}
    source = "\n".join(files.values())
    assert names
    assert [name for name in names if name not in files and f"def {name}(" not in source] == []


def descriptions(kind):
    """What a class's docstring says of its parameters and fitted attributes, with their types, by name."""
    texts, name = {}, None
    for line in inspect.cleandoc(kind.__doc__).split("\nSee Also\n")[0].split("\n"):
        if (entry := re.match(r"(\w+(?:, \w+)*) : ", line)) is not None:
            name = entry[1]
        if name is not None and line not in ("Attributes", "----------"):
            texts[name] = f"{texts.get(name, '')}\n{line}".strip()
    return texts


@pytest.mark.parametrize(
    ("kinds", "different"),
    [
        (
            "Backprop",
            # What depends on the targets.
            {"hidden_layer_sizes", "warm_start", "early_stopping", "loss", "output_bias", "scoring"}
            | {"n_outputs_", "out_activation_"},
        ),
        ("BackpropEnsemble", {"estimator", "estimators_"}),
        (
            "BackpropTabular",
            {"n_estimators", "activation", "learning_rate_init", "validation_fraction"} | {"estimators_"},
        ),
    ],
)
def test_classifiers_and_regressors_say_the_same_of_what_they_share(kinds, different):
    classifier, regressor = (
        descriptions(getattr(skbackprop, f"{kinds}{name}")) for name in ("Classifier", "Regressor")
    )
    shared = classifier.keys() & regressor.keys()
    assert len(shared) > 10
    assert {name for name in shared if classifier[name] != regressor[name]} == different


def test_citation_and_recipe_say_what_the_package_says():
    root = DOCS.parent
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"\nversion: {project['version']}\n" in (DOCS / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nVersion {project['version']}\n" in (DOCS / "whats_new.rst").read_text(encoding="utf-8")
    recipe = (root / ".conda" / "recipe.yaml").read_text(encoding="utf-8")
    requirements = [*project["dependencies"], f"python{project['requires-python']}"]
    assert f'version: "{project["version"]}"' in recipe
    assert [
        line for line in requirements if f"    - {line.replace('>=', ' >=')}\n" not in recipe.split("  run:")[1]
    ] == []


@pytest.mark.parametrize("name", [name for name in skbackprop.__all__ if name.startswith("Backprop")])
def test_type_checkers_know_the_fitted_attributes(name):
    kind = getattr(skbackprop, name)
    lines = re.findall(r"^(\w+_(?:, \w+_)*) : ", inspect.cleandoc(kind.__doc__), re.MULTILINE)
    documented = {attribute for line in lines for attribute in line.split(", ")}
    annotated = set().union(*(inspect.get_annotations(base) for base in kind.__mro__))
    assert documented
    assert documented <= annotated
