"""The doctests of the documentation's pages."""

import doctest
import re
import runpy
from pathlib import Path

import numpy as np
import pytest

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


def test_tests_that_promises_name_are_there():
    folder = Path(__file__).parent
    page = (folder.parent / "docs" / "promises.rst").read_text(encoding="utf-8")
    names = set(re.findall(r"(?:::|``)(?:stress/)?(test_\w+)", page))
    files = {path.stem: path.read_text(encoding="utf-8") for path in folder.rglob("test_*.py")}
    source = "\n".join(files.values())
    assert names
    assert [name for name in names if name not in files and f"def {name}(" not in source] == []
