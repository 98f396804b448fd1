"""Mutation testing: faults that cosmic-ray makes in a sample of places, and the share of them that the tests notice.

    python tests/mutation/run.py cover          # which test runs which line, in both lanes; takes half an hour
    python tests/mutation/run.py test -n 420    # goes on where it was ended
    python tests/mutation/run.py show           # the score, and the mutants that survived

All of it happens in a copy of the repository's tracked files in ``--work``. Takes cosmic-ray, beside what the tests take, and `fork`.

A place is an operator, a number, a condition, a loop or the like; of what cosmic-ray can do there, one is drawn. No place is what cannot
matter: annotations, decorators that only compile or remember, and code that only writes LLVM code (it has a Python twin, and is
left out of the coverage for the same reason).

A mutant is given to the tests that run its line, the fastest first, and sooner the first cases of many tests than many cases of one,
up to the first that fails, or to as many as take `BUDGET` seconds without a fault. Formulas and kernels are tested as plain
Python: compiled they would be compiled anew for each mutant.
"""

import argparse
import ast
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections import Counter, defaultdict
from difflib import unified_diff
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ["estimators", "training", "functions", "model_selection", "persistence"]
LANES = {
    "interpreted": "not parity and not process and not trains",
    "compiled": "not parity and not process",
}
COMPILES = {"formula", "kernel", "native", "specialise"}
WITHOUT_EFFECT = COMPILES | {"lru_cache", "cache"}
#: Seconds that a mutant's tests take without the mutation, at most.
BUDGET = 40.0
#: Exit code of a test run that says nothing.
BROKEN = 100


def make_copy(work):
    """The tracked files as they are now, and the times of the files before them, by which Python knows its bytecode."""
    copy = work / "copy"
    for name in subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split():
        if (ROOT / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    return copy


def prepare(work, lane):
    """Environment of a lane, for this process and those that it starts."""
    os.environ |= {"NUMBA_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    if lane == "interpreted":
        os.environ["NUMBA_DISABLE_JIT"] = "1"
    os.chdir(work / "copy")
    sys.path[:0] = [str(work / "copy"), str(Path(__file__).parent)]
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[:2])


class Times:
    """A plugin for pytest that writes the seconds of each test."""

    def __init__(self, path):
        self.path, self.seconds = path, defaultdict(float)

    def pytest_runtest_logreport(self, report):
        self.seconds[report.nodeid] += report.duration

    def pytest_sessionfinish(self):
        self.path.write_text(json.dumps(self.seconds))


def cover(work, lane):
    """Run a lane with coverage by test."""
    import pytest

    prepare(work, lane)
    os.environ["COVERAGE_FILE"] = str(work / f"{lane}.coverage")
    options = ["-q", "-m", LANES[lane], "--cov", "--cov-context=test", "--cov-report=", "--ignore=tests/stress"]
    options += [f"--ignore=tests/test_{name}.py" for name in ("sklearn_suite", "conformance", "docs")]
    pytest.main(options, plugins=[Times(work / f"{lane}.json")])


class Source:
    """A module's places to mutate, and what is known of its lines."""

    def __init__(self, path):
        self.path, self.code = path, path.read_text(encoding="utf-8")
        tree = ast.parse(self.code)
        self.excluded, self.numeric, self.functions = [], [], []
        self.has_kernels = "skbackprop._compile import" in self.code
        loops = {
            node.args[0].id
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            and getattr(node.func, "id", "") == "loop"
            and isinstance(node.args[0], ast.Name)
        }
        for node in ast.walk(tree):
            self.excluded += [getattr(node, name) for name in ("annotation", "returns") if getattr(node, name, None)]
            decorators = {self._name(one): one for one in getattr(node, "decorator_list", [])}
            self.excluded += [one for name, one in decorators.items() if name in WITHOUT_EFFECT]
            if isinstance(node, ast.FunctionDef):
                self.functions.append(node)
                if node.name.startswith("_build_") or decorators.keys() & {"native", "specialise"}:
                    self.excluded.append(node)
                if decorators.keys() & COMPILES or node.name in loops:
                    self.numeric.append(node)

    @staticmethod
    def _name(decorator):
        decorator = decorator.func if isinstance(decorator, ast.Call) else decorator
        return getattr(decorator, "id", getattr(decorator, "attr", ""))

    @staticmethod
    def _within(spans, position):
        return any(
            (node.lineno, node.col_offset) <= position < (node.end_lineno, node.end_col_offset) for node in spans
        )

    def is_numeric(self, position):
        """Whether Numba compiles what stands there."""
        return self._within(self.numeric, position)

    def statement(self, position):
        """First and last line of the innermost statement; of one with a body only of its head."""
        best = None
        for node in ast.walk(ast.parse(self.code)):
            if isinstance(node, ast.stmt) and node.lineno <= position[0] <= node.end_lineno:
                last = node.body[0].lineno - 1 if getattr(node, "body", None) else node.end_lineno
                if position[0] <= max(last, node.lineno):
                    best = node.lineno, max(last, node.lineno)
        return best or (position[0], position[0])

    def places(self):
        """What cosmic-ray can do, by place."""
        from cosmic_ray.ast import ast_nodes, get_ast
        from cosmic_ray.plugins import get_operator, operator_names

        places, nodes = defaultdict(list), list(ast_nodes(get_ast(self.code)))
        for name in sorted(operator_names()):
            try:
                operator = get_operator(name)()
            except TypeError:
                continue  # takes settings
            positions = [place for node in nodes for place in operator.mutation_positions(node)]
            for occurrence, (start, stop) in enumerate(positions):
                # At the decorator's name, behind its sign.
                here = (start[0], start[1] + 1) if name.endswith("RemoveDecorator") else start
                if not self._within(self.excluded, here):
                    places[start, stop].append((name, occurrence))
        return places

    def mutate(self, operator, occurrence):
        from cosmic_ray.mutating import mutate_code
        from cosmic_ray.plugins import get_operator

        return mutate_code(self.code, get_operator(operator)(), occurrence)


def _is_python(code):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(code, "mutant", "exec")
    except SyntaxError:
        return False
    return True


def draw(copy, n, seed):
    """The sample: each folder's share of it is that of all places."""
    places = defaultdict(list)
    for folder in FOLDERS:
        for path in sorted((copy / "skbackprop" / folder).rglob("*.py")):
            for (start, _), kinds in sorted(Source(path).places().items()):
                places[folder].append((str(path.relative_to(copy)), start, kinds))
    print({folder: len(of) for folder, of in places.items()}, "places", file=sys.stderr)
    total, rng, sample = sum(map(len, places.values())), random.Random(seed), []
    for folder in FOLDERS:
        for path, (line, column), kinds in rng.sample(places[folder], round(n * len(places[folder]) / total)):
            operator, occurrence = rng.choice(kinds)
            if not _is_python(Source(copy / path).mutate(operator, occurrence)):
                continue  # a star of `**settings` taken for an operator
            sample.append(
                {"path": path, "line": line, "column": column, "operator": operator, "occurrence": occurrence}
            )
    # So that the first of them are a sample, too.
    rng.shuffle(sample)
    return sample


class Cases:
    """The tests of a lane: which run a line, and how long they take."""

    def __init__(self, work, lane):
        from coverage import CoverageData

        # Those that are still there: a name that pytest does not know would look like a failure.
        listing = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", LANES[lane], "--ignore=tests/stress"]
        known = set(subprocess.run(listing, capture_output=True, text=True, check=True).stdout.splitlines())
        seconds = json.loads((work / f"{lane}.json").read_text())
        self.seconds = {name: seconds[name] for name in seconds.keys() & known}
        self.data = CoverageData(str(work / f"{lane}.coverage"))
        self.data.read()
        self.files = {Path(name).relative_to(work / "copy").as_posix(): name for name in self.data.measured_files()}

    def running(self, path, lines):
        """The tests that run some of the lines, with their seconds; of a line that only imports run, those of the module."""
        if path not in self.files:
            return {}
        by_line = self.data.contexts_by_lineno(self.files[path])
        found = {name for line in lines for name in by_line.get(line, ())} - {""}
        if not found and any(line in by_line for line in lines):
            found = {name for names in by_line.values() for name in names} - {""}
        found = {name.partition("|")[0] for name in found} & self.seconds.keys()
        # The first case of a test rather than a tenth one.
        urgency, n_cases = {}, Counter()
        for name in sorted(found, key=lambda name: (self.seconds[name], name)):
            n_cases[name.partition("[")[0]] += 1
            urgency[name] = (self.seconds[name] + 0.005) * n_cases[name.partition("[")[0]]
        chosen = {}
        for name in sorted(urgency, key=urgency.get):
            if sum(chosen.values()) + self.seconds[name] <= BUDGET:
                chosen[name] = self.seconds[name]
        return chosen


def kill(copy, path, code, tests, digest):
    """What becomes of a mutant in a child of this process: "killed", "timeout" or "survived".

    `tests` has their seconds. A loop without an end is told by a single test that takes five times as long as the slowest of them,
    and twenty seconds more.
    """
    longest = 20 + 5 * max(tests.values())
    options = ["-x", "-q", "-p", "no:cacheprovider"]
    options += ["-o", f"faulthandler_timeout={longest}", "-o", "faulthandler_exit_on_timeout=true"]
    file = copy / path
    original, times = file.read_bytes(), file.stat()
    # A time of its own, and no bytecode: the next import reads the source.
    file.write_text(code, encoding="utf-8")
    os.utime(file, (times.st_atime, times.st_mtime + 1 + random.SystemRandom().randrange(10**6)))
    child = os.fork()
    if child == 0:
        os.setsid()
        with open(os.devnull, "w") as sink:
            os.dup2(sink.fileno(), 1)
            os.dup2(sink.fileno(), 2)
        sys.dont_write_bytecode = True
        result = 1
        try:
            # The compiled kernels are those of the sources without the mutation.
            import_module("skbackprop._kernel_files")._environment_digest = lambda: digest
            result = BROKEN
            result = import_module("pytest").main([*options, *tests])
        except Exception:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(int(result))
    limit = time.monotonic() + longest + 3 * sum(tests.values())
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() > limit:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            break
        time.sleep(0.02)
    file.write_bytes(original)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    if not done:
        return "timeout"
    if os.waitstatus_to_exitcode(status) == BROKEN:
        raise RuntimeError("pytest itself failed")
    return "survived" if status == 0 else "killed"


def test(work, lane, mutants, control):
    """Test the mutants of a lane, a line of JSON for each."""
    prepare(work, lane)
    copy = work / "copy"
    # What does not change is imported once.
    for name in (
        "pytest",
        "numba",
        "pandas",
        "matplotlib.pyplot",
        "scipy.stats",
        "sklearn.model_selection",
        "sklearn.neural_network",
    ):
        import_module(name)
    code = "from skbackprop import _kernel_files; print(_kernel_files._environment_digest())"
    digest = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    cases = Cases(work, lane)
    sources = {}
    for mutant in mutants:
        path = mutant["path"]
        source = sources.setdefault(path, Source(copy / path))
        first, last = source.statement((mutant["line"], mutant["column"]))
        tests = cases.running(path, range(first, last + 1))
        began = time.monotonic()
        code = source.mutate(mutant["operator"], mutant["occurrence"])
        code = source.code if control else code
        result = kill(copy, path, code, tests, digest) if tests else "not run"
        diff = [line for line in unified_diff(source.code.splitlines(), code.splitlines(), lineterm="", n=0)][3:]
        record = {
            **mutant,
            "lane": lane,
            "result": result,
            "tests": len(tests),
            "seconds": time.monotonic() - began,
            "diff": diff,
        }
        with (work / ("control.jsonl" if control else "results.jsonl")).open("a") as file:
            file.write(json.dumps(record) + "\n")
        print(result, path, mutant["line"], *diff, flush=True)


def identity(mutant):
    return mutant["path"], mutant["line"], mutant["column"], mutant["operator"], mutant["occurrence"]


def read(work):
    """Results so far: of a mutant that both lanes tested, the better one."""
    results = {}
    path = work / "results.jsonl"
    for line in path.read_text().splitlines() if path.exists() else ():
        record = json.loads(line)
        before = results.get(identity(record))
        if before is None or before["result"] not in ("killed", "timeout"):
            lanes = [record["lane"]] + (before["lanes"] if before else [])
            results[identity(record)] = {**record, "lanes": lanes}
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("action", choices=["cover", "test", "show"])
    parser.add_argument("--work", type=Path, default=Path("/tmp/skbackprop-mutation"))
    parser.add_argument("--lane", choices=LANES, help="only this one")
    parser.add_argument("-n", type=int, default=420, help="mutants in the sample")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=FOLDERS, help="folders of the sample to test now")
    parser.add_argument("--again", action="store_true", help="test those again that survived")
    parser.add_argument("--control", action="store_true", help="leave the mutations out: all have to survive")
    options = parser.parse_args()
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    copy = work / "copy" if options.action == "show" else make_copy(work)
    results = {} if options.control else read(work)
    if options.action == "show":
        counts = Counter(record["result"] for record in results.values())
        for record in results.values():
            if record["result"] in ("survived", "not run"):
                print(
                    f"{record['result']}: {record['path']}:{record['line']} {record['operator']}, {record['tests']} tests"
                )
                print(*(f"    {line}" for line in record["diff"]), sep="\n")
        killed = counts["killed"] + counts["timeout"]
        print(dict(counts), f"{100 * killed / max(len(results), 1):.1f} % killed of {len(results)}")
        return
    for lane in [options.lane] if options.lane else LANES:
        # Each lane in a process of its own: Numba reads its settings once.
        if os.fork() == 0:
            if options.action == "cover":
                cover(work, lane)
                os._exit(0)
            mutants = []
            for mutant in draw(copy, options.n, options.seed):
                source = Source(copy / mutant["path"])
                numeric = source.is_numeric((mutant["line"], mutant["column"]))
                here = lane == "interpreted" if numeric else (lane == "compiled" or source.has_kernels)
                before = results.get(identity(mutant), {})
                done = lane in before.get("lanes", ()) or before.get("result") in ("killed", "timeout")
                if options.again and before.get("result") in ("survived", "not run"):
                    done = False
                if here and not done and mutant["path"].split("/")[1] in options.only:
                    mutants.append(mutant)
            print(len(mutants), "mutants to test,", lane, file=sys.stderr)
            test(work, lane, mutants, options.control)
            os._exit(0)
        os.wait()
        results = {} if options.control else read(work)


if __name__ == "__main__":
    main()
