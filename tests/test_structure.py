"""Imports go one way and in no circle, and only one module names Numba's options."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import skbackprop

PACKAGE = Path(skbackprop.__file__).parent
#: From the mathematics up to the promises to users; a module may import its own layer and those before it.
LAYERS = [
    "exceptions",
    "_lazy",
    "_names",
    "_parameters",
    "_compile",
    "functions",
    "network",
    "backends",
    "training",
    "persistence",
    "estimators",
    "inspection",
    "model_selection",
]
#: Entry points for people, which no part of the package imports (`__init__` offers `warmup`).
ENTRIES = {"", "__main__", "warmup"}


def imported_modules(path):
    """Names of the package's modules that a file imports, also within functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def part(module):
    """The package's part that a module belongs to: "functions" for "skbackprop.functions.losses"."""
    return (module + ".").split(".")[1]


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        yield name, path


MODULES = dict(modules())


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_one_way(name):
    own = [module for module in imported_modules(MODULES[name]) if module.split(".")[0] == "skbackprop"]
    if part(name) in ENTRIES:
        return
    allowed = LAYERS if part(name) == "testing" else LAYERS[: LAYERS.index(part(name)) + 1]
    assert {part(module) for module in own} <= set(allowed)
    # Devices know nothing of each other.
    if name.startswith("skbackprop.backends."):
        device = name.split(".")[2]
        assert all(
            module.split(".")[2:3] in ([], [device], ["data"], ["together"])
            for module in own
            if part(module) == "backends"
        )


def test_no_circle_of_imports():
    files = {name for name, path in MODULES.items() if path.name != "__init__.py"}  # these offer names, also lazily
    graph = {name: set() for name in files}
    for name in files:
        for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                graph[name] |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)} & files
            elif isinstance(node, ast.Import):
                graph[name] |= {alias.name for alias in node.names} & files
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the modules


@pytest.mark.parametrize("name", MODULES)
def test_only_kernels_know_numba(name):
    uses_numba = any(module.split(".")[0] in ("numba", "llvmlite") for module in imported_modules(MODULES[name]))
    assert not (uses_numba and part(name) in ("network", "training", "estimators"))
    source = MODULES[name].read_text(encoding="utf-8")
    if part(name) not in ("_compile", "testing"):
        assert not any(option in source for option in ("@njit", "@jit", "fastmath=", "nogil=", "parallel="))
