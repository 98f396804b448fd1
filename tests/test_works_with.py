"""The scripts of the page on other tools: each runs by itself, where its tool is installed."""

import json
import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
RUNNER = runpy.run_path(str(DOCS / "snippets" / "works_with" / "__main__.py"), run_name="runner")

pytestmark = [pytest.mark.process, pytest.mark.trains]


@pytest.mark.parametrize("name", RUNNER["NAMES"])
def test_script(name):
    if missing := RUNNER["missing"](name):
        pytest.skip(f"{name}.py needs {', '.join(missing)}; outcomes.json has its last run with them")
    process = RUNNER["run"](name)
    assert process.returncode == 0, process.stderr
    assert process.stdout
    assert "False" not in process.stdout


def test_the_page_shows_every_script_with_its_outcome():
    page = (DOCS / "works_with.rst").read_text(encoding="utf-8")
    outcomes = json.loads(RUNNER["OUTCOMES"].read_text(encoding="utf-8"))
    assert sorted(outcomes) == RUNNER["NAMES"]
    for name, outcome in outcomes.items():
        assert f".. works-with:: {name}\n" in page
        assert outcome["printed"]
        assert not any("False" in line for line in outcome["printed"])
