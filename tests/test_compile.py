"""The disk cache of compiled kernels, in processes of their own."""

import os
import platform
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from sklearn.exceptions import NotFittedError

import skbackprop
from skbackprop import build_kernels
from skbackprop._compile import JIT
from skbackprop._machine_code import HAS_IMAGES
from skbackprop._processor import level

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not JIT, reason="nothing is compiled, so nothing is cached"),
]

PACKAGE = Path(skbackprop.__file__).parent

# A package of two modules stands for skbackprop: the same _compile.py, kernels that compile in a moment.
CALLEE = """
from fake._compile import formula

@formula
def term(x):
    return x + {constant}
"""
KERNELS = """
from fake._compile import kernel
from fake.callee import term

@kernel
def add(x):
    return term(x)

def variant(sign):
    if sign > 0:
        @kernel
        def body(x):
            return x * 2
    else:
        @kernel
        def body(x):
            return x * 2 + 1
    return body
"""
COUNT = """
import fake._compile as c
original = c.KernelFiles.save
compiled = []
def counting(self, *arguments):
    compiled.append(self.name)
    return original(self, *arguments)
c.KernelFiles.save = counting
"""


@pytest.fixture
def fake(tmp_path):
    """A copy of the compile machinery around two small kernels."""
    root = tmp_path / "site"
    package = root / "fake"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    for name in ("_compile", "_kernel_files", "_lazy", "_machine_code", "_processor", "build_kernels"):
        source = (PACKAGE / f"{name}.py").read_text()
        source = source.replace("from skbackprop", "from fake")
        (package / f"{name}.py").write_text(source)
    (package / "callee.py").write_text(CALLEE.format(constant=1))
    (package / "kernels.py").write_text(KERNELS)
    return root


def run(root, code, check=True, **environment):
    settings = {key: value for key, value in os.environ.items() if not key.startswith("NUMBA_CACHE")}
    settings |= {"PYTHONPATH": str(root), "NUMBA_NUM_THREADS": "2", **environment}
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env=settings,
        timeout=300,
        check=False,
    )
    assert not check or done.returncode == 0, done.stderr
    return done


def kernels(folder):
    return {file: file.stat().st_mtime_ns for file in Path(folder).rglob("*.kernel")}


ADD = COUNT + "from fake.kernels import add\nprint(add(1), add(1.5), len(compiled))\n"


def test_second_process_compiles_nothing_and_writes_nothing(fake):
    assert run(fake, ADD).stdout == "2 2.5 2\n"
    files = kernels(fake)
    assert len(files) == 2
    assert run(fake, ADD).stdout == "2 2.5 0\n"
    assert kernels(fake) == files


def test_edited_callee_is_compiled_anew(fake):
    run(fake, ADD)
    (fake / "fake" / "callee.py").write_text(CALLEE.format(constant=10))
    assert run(fake, ADD).stdout == "11 11.5 2\n"
    assert run(fake, ADD).stdout == "11 11.5 0\n"


OWN = """
from fake._compile import formula, loop

SUMMAND = {summand}

@formula
def term(x):
    return x + SUMMAND

@formula
def value(x):
    return {factor} * term(x)

def template(x):
    x[0] = value(x[0])

made = loop(template, value=value)
"""


def test_edited_formulas_outside_the_package_are_compiled_anew(fake):
    """A user's, and what it calls, are not among the sources that name the folder."""
    for factor, summand in ((1, 1), (2, 1), (2, 5), (2, 5)):
        (fake / "own.py").write_text(OWN.format(factor=factor, summand=summand))
        code = COUNT + "import numpy as np; from own import made; x = np.ones(1); made(x); print(x[0], len(compiled))"
        result, n_compiled = run(fake, code, PYTHONDONTWRITEBYTECODE="1").stdout.split()
        assert float(result) == factor * (1 + summand)
    assert n_compiled == "0"


LOADED = """
import sys, numpy as np
from own import made
x = np.linspace(0.5, 2, 4)
made.address("float64*", "int64")
from fake._compile import run
run(made.address("float64*", "int64"), ("float64*", "int64"), x, 4)
print(x.sum(), len(compiled), "numba" in sys.modules, "llvmlite" in sys.modules)
"""
LOOP = """
import math
from fake._compile import formula, loop

@formula
def value(x):
    {body}

def template(x, n):
    for i in range(n):
        x[i] = value(x[i])

made = loop(template, value=value)
"""


@pytest.mark.skipif(not HAS_IMAGES, reason="Numba loads its files on this system")
@pytest.mark.parametrize("body", ["return 2 * x", "return math.exp(x)", "if x < 0: raise ValueError\n    return x"])
def test_a_second_process_loads_kernels_without_numba(fake, body):
    (fake / "own.py").write_text(LOOP.format(body=body))
    first, again = (run(fake, COUNT + LOADED).stdout.split() for _ in range(2))
    assert first[1:] == ["1", "True", "True"]
    assert again == [first[0], "0", "False", "False"]


@pytest.mark.skipif(not HAS_IMAGES, reason="Numba loads its files on this system")
@pytest.mark.parametrize("refused", ["image_of", "load"])
def test_what_cannot_be_loaded_without_numba_is_loaded_by_numba(fake, refused):
    (fake / "own.py").write_text(LOOP.format(body="return 2 * x"))
    code = COUNT + f"def refuse(*arguments): raise c.UnsuitableError\nc.{refused} = refuse\n" + LOADED
    first, again = (run(fake, code).stdout.split() for _ in range(2))
    assert first[1:] == ["2", "True", "True"]  # a note or an image, and Numba's file
    assert again == [first[0], "0", "True", "True"]


BUILD = """
from fake import build_kernels
build = build_kernels.build
program = "from own import made; made.address('float64*', 'int64')"
"""


@pytest.fixture
def buildable(fake):
    """The fake package with a kernel that can be packaged for this machine's level."""
    if not HAS_IMAGES or level() is None:
        pytest.skip("nothing can be packaged here")
    (fake / "own.py").write_text(LOOP.format(body="return 2 * x"))
    return fake


@pytest.fixture
def packaged(buildable):
    """The same with the kernel beside the sources."""
    run(buildable, BUILD + f"build(['{level()}'], program=program)")
    return buildable


def test_packaged_kernels_are_loaded_where_nothing_can_be_written(packaged, tmp_path):
    done = run(packaged, COUNT + LOADED, **_blocked(packaged, tmp_path))
    assert done.stdout.split() == ["10.0", "0", "False", "False"]
    assert not done.stderr


def test_packaged_kernels_of_other_sources_are_ignored(packaged):
    with (packaged / "fake" / "callee.py").open("a") as file:
        file.write("# edited")
    assert run(packaged, COUNT + LOADED).stdout.split() == ["10.0", "1", "True", "True"]


def test_packaged_kernels_that_are_damaged_are_compiled(packaged):
    (file,) = (packaged / "fake" / "kernels").rglob("*.kernel")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert run(packaged, COUNT + LOADED).stdout.split() == ["10.0", "1", "True", "True"]
    assert run(packaged, COUNT + LOADED).stdout.split() == ["10.0", "0", "False", "False"]


def test_packaged_kernels_of_another_level_are_ignored(packaged):
    """As on a processor that has none of the levels."""
    lacking = "import fake._processor as p; p._cpuinfo = lambda: {'flags': 'sse2'}\n"
    assert run(packaged, lacking + COUNT + LOADED).stdout.split() == ["10.0", "1", "True", "True"]


@pytest.mark.parametrize("variable", ["NUMBA_BOUNDSCHECK", "NUMBA_OPT"])
def test_packaged_kernels_are_ignored_where_others_are_asked_for(packaged, variable):
    assert run(packaged, COUNT + LOADED, **{variable: "1"}).stdout.split() == ["10.0", "1", "True", "True"]


def test_kernels_are_built_for_processors_that_this_machine_is_not(buildable):
    """What runs while they are built is a translation, and what is kept is the code of the level."""
    files = []
    for lacking in "", "build_kernels.supported = lambda: []\n":
        folder = buildable / f"kernels-{len(files)}"
        run(buildable, BUILD + lacking + f"build(['{level()}'], {str(folder)!r}, program)")
        files.append({file.name: file.read_bytes() for file in folder.rglob("*.kernel")})
    assert len(files[0]) == 1
    assert files[0] == files[1]


@pytest.mark.skipif(not HAS_IMAGES, reason="no kernels can be packaged on this system")
@pytest.mark.parametrize(("machine", "level"), [("x86_64", "armv8-a"), ("aarch64", "x86-64-v3")])
def test_kernels_are_not_built_for_other_architectures(machine, level, monkeypatch, capsys):
    monkeypatch.setattr(platform, "machine", lambda: machine)
    with pytest.raises(SystemExit):
        build_kernels.main(["--level", level])
    assert f"kernels for {level} cannot be built here" in capsys.readouterr().err


def test_kernels_are_not_built_where_there_are_no_images(monkeypatch):
    monkeypatch.setattr(build_kernels, "HAS_IMAGES", False)
    with pytest.raises(RuntimeError, match="this machine has none of them"):
        build_kernels.build()


def test_kernels_for_a_named_processor_serve_every_machine(fake):
    """One image of a container: Numba's variables stand for the machine."""
    (fake / "own.py").write_text(LOOP.format(body="return 2 * x"))
    named = {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": ""}
    assert run(fake, COUNT + LOADED, **named).stdout.split()[1] == "1"
    other = "import fake._processor as p; p._cpuinfo = lambda: {'vendor_id': 'another', 'flags': 'avx2 sse2'}\n"
    assert run(fake, other + COUNT + LOADED, **named).stdout.split()[1] == "0"
    assert run(fake, other + COUNT + LOADED).stdout.split()[1] == "1"


def test_variants_of_one_name_do_not_mix(fake):
    code = COUNT + "from fake.kernels import variant\nprint(variant(1)(3), variant(-1)(3), len(compiled))\n"
    assert run(fake, code).stdout == "6 7 2\n"
    assert run(fake, code).stdout == "6 7 0\n"


def test_compile_options_are_part_of_the_key(fake):
    run(fake, ADD)
    assert run(fake, ADD, NUMBA_BOUNDSCHECK="1").stdout == "2 2.5 2\n"
    assert run(fake, ADD).stdout == "2 2.5 0\n"


@pytest.mark.parametrize("damage", ["empty", "truncated", "flipped", "foreign", "swapped"])
def test_damaged_files_heal(fake, damage):
    run(fake, ADD)
    files = sorted(kernels(fake))
    for file in files:
        content = file.read_bytes()
        file.write_bytes(
            {
                "empty": b"",
                "truncated": content[: len(content) // 2],
                "flipped": content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
                "foreign": b"something else",
                "swapped": files[1 - files.index(file)].read_bytes() if file == files[0] else content,
            }[damage]
        )
    assert run(fake, ADD).stdout == ("2 2.5 1\n" if damage == "swapped" else "2 2.5 2\n")
    assert run(fake, ADD).stdout == "2 2.5 0\n"


def test_processes_that_compile_at_once(fake):
    """Both signatures at once, in opposite orders, many times over."""
    settings = os.environ | {"PYTHONPATH": str(fake)}
    code = [
        "from fake.kernels import add; print(add(1), add(1.5))",
        "from fake.kernels import add; print(add(1.5), add(1))",
    ]
    for _ in range(3):
        for file in kernels(fake):
            file.unlink()
        processes = [
            subprocess.Popen([sys.executable, "-c", code[i % 2]], stdout=subprocess.PIPE, text=True, env=settings)
            for i in range(4)
        ]
        outputs = [process.communicate(timeout=300)[0] for process in processes]
        assert outputs == ["2 2.5\n", "2.5 2\n"] * 2
        assert len(kernels(fake)) == 2
        assert not list(fake.rglob("*.tmp"))
        assert run(fake, ADD).stdout == "2 2.5 0\n"


def _blocked(fake, tmp_path):
    """Files where the candidates' folders would be: not even root can create a folder there."""
    cached = fake / "fake" / "__pycache__"
    shutil.rmtree(cached, ignore_errors=True)  # of bytecode, if this system writes any
    cached.write_text("")
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    return {
        "XDG_CACHE_HOME": str(blocked),
        "HOME": str(blocked),
        "LOCALAPPDATA": str(blocked),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def test_read_only_installation_works_with_one_warning(fake, tmp_path):
    done = run(fake, ADD, **_blocked(fake, tmp_path))
    assert done.stdout == "2 2.5 2\n"
    assert done.stderr.count("found no folder in which it may keep its compiled kernels") == 1
    assert "NUMBA_CACHE_DIR" in done.stderr


def test_read_only_package_falls_back_to_the_users_folder(fake, tmp_path):
    environment = _blocked(fake, tmp_path) | {
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "LOCALAPPDATA": str(tmp_path / "cache"),
    }
    if sys.platform == "darwin":
        environment["HOME"] = str(tmp_path / "cache")
    assert run(fake, ADD, **environment).stdout == "2 2.5 2\n"
    assert run(fake, ADD, **environment).stdout == "2 2.5 0\n"
    assert kernels(tmp_path / "cache")


def test_numba_cache_dir_is_respected(fake, tmp_path):
    folder = tmp_path / "mine"
    run(fake, ADD, NUMBA_CACHE_DIR=str(folder))
    assert len(kernels(folder)) == 2
    assert not kernels(fake)


def test_full_disk_is_no_error(fake):
    code = (
        COUNT
        + """
        import os
        from fake.kernels import add
        def full(*arguments):
            raise OSError(28, "No space left on device")
        os.replace = full
        print(add(1), len(compiled))
        """.replace("\n        ", "\n")
    )
    assert run(fake, code).stdout == "2 1\n"
    assert not list(fake.rglob("*.tmp"))


def test_flush_and_disable(fake):
    code = (
        COUNT
        + """
        from fake.kernels import add
        add(1)
        add._cache.flush()
        add._cache.disable()
        add(1.5)
        add._cache.enable()
        print(add._cache.cache_path)
        """.replace("\n        ", "\n")
    )
    run(fake, code)
    assert not kernels(fake)


def test_folders_of_old_versions_go(fake):
    old = fake / "fake" / "__pycache__" / "kernels" / "0123456789abcdef"
    old.mkdir(parents=True)
    (old / "a.kernel").write_text("")
    os.utime(old, (0, 0))
    run(fake, ADD)
    assert not old.exists()


def test_slow_compilation_says_so_in_one_line(fake):
    code = COUNT + "c._SLOW_COMPILE_SECONDS = 0.0\nfrom fake.kernels import add\nadd(1)\n"
    lines = run(fake, code).stderr.splitlines()
    assert len([line for line in lines if re.search(r"compiled .*add for this processor in [\d.]+ s", line)]) == 1
    assert not run(fake, code).stderr


@pytest.mark.skipif(not HAS_IMAGES, reason="Numba loads its files on this system")
def test_a_process_whose_kernels_are_on_disk_does_not_import_numba():
    code = """
    import sys, warnings
    import numpy as np
    warnings.simplefilter("ignore")
    import skbackprop
    X = np.random.default_rng(0).standard_normal((60, 4))
    skbackprop.BackpropClassifier(random_state=0, max_iter=3).fit(X, X[:, 0] > 0).predict(X)
    skbackprop.BackpropRegressor(random_state=0, max_iter=3).fit(X, X[:, 0]).predict(X[:1])
    print({"numba", "llvmlite"} & sys.modules.keys())
    """
    run(PACKAGE.parent, code)
    assert run(PACKAGE.parent, code).stdout == "set()\n"


def test_import_compiles_nothing_and_loads_no_cuda():
    code = """
    import sys
    import numba, numba.extending, joblib, sklearn.callback, sklearn.model_selection
    from numba.core import event
    recorder = event.RecordingListener()
    event.register("numba:compile", recorder)
    before = {name.split(".")[0] for name in sys.modules}
    import skbackprop
    assert not recorder.buffer
    assert not [name for name in sys.modules if name.startswith(("numba_cuda", "numba.cuda.cudadrv"))]
    assert {name.split(".")[0] for name in sys.modules} - before - sys.stdlib_module_names <= {"skbackprop"}
    """
    run(PACKAGE.parent, code)


def test_fits_in_a_second_process_hit_the_cache_and_have_the_same_bits():
    code = """
    import hashlib, warnings
    import numpy as np
    from numba.core import event
    recorder = event.RecordingListener()
    event.register("numba:compile", recorder)
    warnings.simplefilter("ignore")
    from skbackprop import BackpropClassifier
    X = np.random.default_rng(0).standard_normal((60, 4))
    model = BackpropClassifier(random_state=0, max_iter=3).fit(X, X[:, 0] > 0)
    print(hashlib.sha256(model.coefs_[0].tobytes() + model.predict_proba(X).tobytes()).hexdigest(), len(recorder.buffer))
    """
    first = run(PACKAGE.parent, code).stdout.split()[0]
    assert run(PACKAGE.parent, code).stdout.split() == [first, "0"]


def test_warmup_of_predictions_leaves_nothing_to_compile():
    code = """
    import sys, warnings
    import numpy as np
    warnings.simplefilter("ignore")
    import skbackprop
    import skbackprop._compile as c
    X = np.random.default_rng(0).standard_normal((2000, 4)).astype(np.float32)
    model = skbackprop.BackpropClassifier(max_iter=1, dtype="float32").fit(X, X[:, 0] > 0)
    skbackprop.warmup(model, predict_only=True)
    def fail(self, *signature):
        raise AssertionError(f"{self._function} is loaded or compiled after warmup")
    c.Loop._image_address = c.Loop._kernel_address = fail
    for n_rows in (1, 2, 3, 50, 2000, 2000):
        for _ in range(3):
            model.predict_proba(X[:n_rows]), model.decision_function(X[:n_rows])
            model.set_params(n_jobs=2)
    """
    run(PACKAGE.parent, code)


def test_warmup_of_predictions_needs_fitted_estimators():
    with pytest.raises(ValueError, match="needs fitted estimators"):
        skbackprop.warmup(predict_only=True)
    with pytest.raises(NotFittedError):
        skbackprop.warmup(skbackprop.BackpropRegressor(), predict_only=True)


def test_warmup_leaves_nothing_to_compile():
    settings = "skbackprop.BackpropClassifier(solver=solver, hidden_layer_sizes=(5,))"
    warm = f"skbackprop.warmup(skbackprop.BackpropClassifier(), *[{settings} for solver in ('sgd', 'lbfgs')])"
    exec(warm)
    code = f"""
    import numpy as np, warnings
    from scipy import sparse
    warnings.simplefilter("ignore")
    import skbackprop._compile as c
    import skbackprop
    {warm}
    def fail(self, *signature):
        raise AssertionError(f"{{self._function}} is loaded or compiled after warmup")
    c.Loop._image_address = c.Loop._kernel_address = fail
    X = np.random.default_rng(0).standard_normal((60, 4))
    for dtype in ("float32", "float64"):
        for container in (np.asarray, sparse.csr_array):
            for solver in ("sgd", "adam", "lbfgs"):
                for early in (False, True):
                    m = skbackprop.BackpropClassifier(solver=solver, dtype=dtype, max_iter=2, early_stopping=early)
                    m.fit(container(X), X[:, 0] > 0, sample_weight=np.ones(60))
                    for n_jobs in (None, 1, 2, 2):
                        m.set_params(n_jobs=n_jobs).predict(container(X)), m.predict(container(X))
    """
    run(PACKAGE.parent, code)
