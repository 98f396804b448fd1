"""Imports go one way and in no circle, only one module names Numba's options, and only one scikit-learn's private names."""

import ast
import inspect
import re
import runpy
import sys
from graphlib import TopologicalSorter
from pathlib import Path
from xml.etree import ElementTree

import pytest
import sklearn

import skbackprop
from skbackprop import _sklearn, functions, model_selection, preprocessing

PACKAGE = Path(skbackprop.__file__).parent
#: From the mathematics up to the promises to users; a module may import its own layer and those before it.
LAYERS = [
    "_room_for_imports",
    "exceptions",
    "_lazy",
    "_processor",
    "_kernel_files",
    "_machine_code",
    "_names",
    "_extras",
    "_sklearn",
    "_parameters",
    "_compile",
    "functions",
    "layers",
    "network",
    "backends",
    "training",
    "persistence",
    "preprocessing",
    "estimators",
    "distributed",
    "callbacks",
    "inspection",
    "model_selection",
    "dask",
    "spark",
]
#: Entry points for people, which no part of the package imports (`__init__` offers `warmup` and `skops_trusted_types`).
ENTRIES = {"", "__main__", "_trusted", "build_kernels", "warmup"}


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
            module.split(".")[2:3] in ([], [device], ["batch_plan"], ["data"], ["exchange"], ["record"], ["together"])
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


def named(tree):
    """The identifiers that a module reads, also those in strings, and those that it defines."""
    read, defined = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined.add(node.name)
        elif isinstance(node, ast.Attribute | ast.Name):
            name = node.attr if isinstance(node, ast.Attribute) else node.id
            (defined if isinstance(node.ctx, ast.Store) else read).add(name)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            read.add(node.value)
        elif (
            isinstance(node, ast.Call)
            and getattr(node.func, "id", "") == "Fitted"
            and isinstance(node.args[0], ast.Constant)
        ):
            # The declaration of a fitted attribute.
            defined.add(node.args[0].value)
        elif isinstance(node, ast.Dict):
            defined.update(key.value for key in node.keys if isinstance(key, ast.Constant))
        elif isinstance(node, ast.alias):
            defined.add(node.asname or node.name)
    return read, defined


def test_only_one_module_names_privates_of_scikit_learn():
    root = Path(sklearn.__file__).parent
    sources = (path.read_text(encoding="utf-8") for path in root.rglob("*.py") if "tests" not in path.parts)
    theirs = set().union(*(re.findall(r"\b_[a-z]\w*", source) for source in sources))
    # Kernels have nothing to do with it: their privates are Numba's.
    trees = {
        name: ast.parse(path.read_text(encoding="utf-8"))
        for name, path in MODULES.items()
        if part(name) not in ("_sklearn", "_compile", "backends")
    }
    ours = set().union(*(named(tree)[1] for tree in trees.values()))
    for name, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                modules = [node.module] if isinstance(node, ast.ImportFrom) else []
                words = ".".join([*modules, *(alias.name for alias in node.names)]).split(".")
                private = [word for word in words if word.startswith("_") and not word.startswith("__")]
                assert words[0] != "sklearn" or not private, f"{name}: import {private} from skbackprop._sklearn"
        reached = (named(tree)[0] & theirs) - ours
        assert not reached, f"{name}: {sorted(reached)} are scikit-learn's, and belong into skbackprop/_sklearn.py"


def test_no_private_of_scikit_learn_is_left_over():
    nodes = [node for path in MODULES.values() for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    imports = [n for n in nodes if isinstance(n, ast.ImportFrom) and n.module == "skbackprop._sklearn"]
    used = {alias.name for node in imports for alias in node.names}
    tree = ast.parse(MODULES["skbackprop._sklearn"].read_text(encoding="utf-8"))
    imported = [
        node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module.startswith("sklearn")
    ]
    offered = {alias.name for node in imported for alias in node.names}
    # Those that the module itself uses.
    assert offered - used == {"HistGradientBoostingRegressor", "_convert_to_numpy", "cross_validate"}


def test_hooks_are_what_classes_define_for_scikit_learn():
    # The ensembles are imported on demand.
    modules = [skbackprop, functions, model_selection, preprocessing]
    kinds = {getattr(module, name) for module in modules for name in module.__all__}
    found = set()
    for kind in filter(inspect.isclass, kinds):
        ours = [base for base in kind.__mro__ if base.__module__.startswith("skbackprop.")]
        theirs = {base.__module__ for base in kind.__mro__ if base.__module__.startswith("sklearn.")}
        known = set().union(*(re.findall(r"\b_[a-z]\w*", inspect.getsource(sys.modules[name])) for name in theirs))
        # Some are set by scikit-learn itself when a class is made.
        found |= {name for base in ours for name in vars(base) if name in known and not name.startswith("_sklearn_")}
    # A name too many may be an accident: a method of ours that scikit-learn takes for its own.
    assert found == _sklearn.HOOKS.keys()


DOCS = PACKAGE.parent / "docs"
has_docs = pytest.mark.skipif(not DOCS.is_dir(), reason="no checkout")


@has_docs
def test_the_map_shows_every_part_above_all_that_it_imports():
    house_map = runpy.run_path(str(DOCS / "_ext" / "house_map.py"))
    edges = house_map["imports"](house_map["parts"]())
    assert edges.keys() - {"skbackprop"} == {part(name) for name in MODULES} - {""}
    assert edges["training"] >= {"backends", "functions"}
    assert "network" not in house_map["reduced"](edges)["training"]
    rows = house_map["rows"](edges)
    assert all(rows[name] < rows[other] for name, inner in edges.items() for other in inner)
    drawing = ElementTree.fromstring(house_map["draw"]())
    names = [element.text for element in drawing.iter() if element.get("class") == "name"]
    assert sorted(names) == sorted(edges)


@has_docs
def test_pages_for_developers_name_what_is_there():
    page = (DOCS / "development.rst").read_text(encoding="utf-8")
    root = PACKAGE.parent
    paths = set(re.findall(r"``((?:skbackprop|tests|docs|benchmarks)/[\w./]*)``", page))
    assert paths
    assert [path for path in paths if not (root / path).exists()] == []
    words = re.findall(r"^\*\*(\w+)\*\*$", page, re.MULTILINE)
    assert words
    source = "\n".join(path.read_text(encoding="utf-8") for path in MODULES.values())
    assert [word for word in words if not re.search(rf"\b{word}s?\b", source)] == []
