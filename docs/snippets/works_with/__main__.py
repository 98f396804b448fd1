"""Run the scripts beside this file for which the libraries are installed, and note what they print and with which versions.

``python docs/snippets/works_with [NAME ...]`` writes outcomes.json, from which the page is made. A build of the
documentation and the tests run the scripts, too, and only look whether they succeed.
"""

import ast
import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import date
from importlib.metadata import packages_distributions, version
from importlib.util import find_spec
from pathlib import Path

FOLDER = Path(__file__).parent
OUTCOMES = FOLDER / "outcomes.json"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__main__")

# What the package itself needs, of which all tell the same.
_OWN = {"skbackprop", "joblib"}


def modules(name):
    """Return the modules outside of the standard library that a script imports."""
    tree = ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8"))
    found = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    found |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return sorted({module.split(".")[0] for module in found} - set(sys.stdlib_module_names) - _OWN)


def missing(name):
    """Return the modules of a script that are not installed."""
    return [module for module in modules(name) if find_spec(module) is None]


def run(name):
    """Run a script in an empty folder and return its process, with `returncode`, `stdout` and `stderr`."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        # The package that is imported here, in the processes of a cluster as well.
        paths = os.pathsep.join(path for path in sys.path if path and Path(path).resolve() != FOLDER.resolve())
        environment = {**os.environ, "PYTHONPATH": paths, "PYTHONWARNINGS": "ignore"}
        command = [sys.executable, str(FOLDER / f"{name}.py")]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)


def outcome(name):
    """Return what a script prints today, with the versions of what it imports."""
    process = run(name)
    if process.returncode:
        raise SystemExit(f"{name} fails:\n{process.stderr}")
    distributions = packages_distributions()
    # Some modules are parts of several distributions, of which one has their name.
    used = sorted({module if module in distributions[module] else distributions[module][0] for module in modules(name)})
    return {
        "date": str(date.today()),
        "versions": {"Python": platform.python_version(), **{one: version(one) for one in used}},
        "printed": process.stdout.splitlines(),
    }


def main(names):
    """Run scripts and update the file of outcomes."""
    outcomes = json.loads(OUTCOMES.read_text(encoding="utf-8")) if OUTCOMES.exists() else {}
    for name in names or NAMES:
        if lacking := missing(name):
            print(f"{name}: left out, needs {', '.join(lacking)}")
            continue
        outcomes[name] = outcome(name)
        print(f"{name}:", *outcomes[name]["printed"], sep="\n  ")
    text = json.dumps(outcomes, indent=2, sort_keys=True, ensure_ascii=False)
    OUTCOMES.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
