"""Images of machine code: as the compiler's own, wherever they lie in memory."""

import ctypes
import mmap
import re

import numpy as np
import pytest

from skbackprop import _machine_code
from skbackprop._compile import JIT
from skbackprop._machine_code import HAS_IMAGES, UnsuitableError, caller, image_of, load

pytestmark = pytest.mark.skipif(not (JIT and HAS_IMAGES), reason="this system has no images")

NUMBERS = "float64*", "int64"


def compiled(function):
    """The object file of a function of numbers and their count, and its symbol."""
    numba = pytest.importorskip("numba")
    kinds = numba.types.CPointer(numba.types.float64), numba.types.int64
    made = numba.njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True, _nrt=False)(function)
    made.compile(kinds)
    result = made.overloads[kinds]
    return result.library.serialize_using_object_code()[2][0], result.fndesc.llvm_func_name


def powers(numbers, count):
    for i in range(count):
        numbers[i] = numbers[i] ** 0.3 + 1.25 * i


TABLE = np.arange(1.0, 9.0)


def looked_up(numbers, count):
    for i in range(count):
        numbers[i] *= TABLE[i]


@pytest.mark.parametrize("function", [powers, looked_up])
def test_images_compute_the_same_at_every_address(function):
    image = image_of(*compiled(function))
    expected = np.linspace(0.5, 4, 8)
    function(expected, 8)
    addresses = [load(image) for _ in range(3)]
    assert len(set(addresses)) == 3
    for address in addresses:
        numbers = np.linspace(0.5, 4, 8)
        caller(address, NUMBERS)(numbers.ctypes.data, 8)
        np.testing.assert_allclose(numbers, expected, rtol=1e-15)


def test_images_do_not_all_begin_at_the_same_place_of_a_page():
    # They would compete for the same lines of the processor's caches.
    image = image_of(*compiled(powers))
    assert len({load(image) % mmap.PAGESIZE for _ in range(4)}) > 1


def test_memory_is_not_writable_once_it_is_executable():
    address = load(image_of(*compiled(powers)))
    with open("/proc/self/maps") as file:
        areas = [line.split()[:2] for line in file]
    (rights,) = [
        rights for area, rights in areas if int(area.split("-")[0], 16) <= address < int(area.split("-")[1], 16)
    ]
    assert rights == "r-xp"


def test_errors_of_compiled_code_are_raised():
    def refuse(numbers, count):
        if count > 1:
            raise ValueError

    content, name = compiled(refuse)
    try:
        image = image_of(content, name)
    except UnsuitableError:
        pytest.skip("the description of an error refers to Numba")
    call = caller(load(image), NUMBERS)
    call(None, 1)
    with pytest.raises(SystemError, match="status"):
        call(None, 2)


def test_what_images_cannot_hold_is_refused(monkeypatch):
    content, name = compiled(powers)
    with pytest.raises(UnsuitableError, match="not an object file"):
        image_of(b"MZ" + content, name)
    with pytest.raises(UnsuitableError, match="no function 'another'"):
        image_of(content, "another")
    monkeypatch.setattr(_machine_code, "_KINDS", {processor: {} for processor in _machine_code._KINDS})
    with pytest.raises(UnsuitableError, match="an address of kind"):
        image_of(content, name)


def test_functions_that_only_numba_has_are_refused(monkeypatch):
    content, name = compiled(powers)
    monkeypatch.setattr(_machine_code, "_OWN", ("pow",))
    with pytest.raises(UnsuitableError, match="refers to 'pow'"):
        image_of(content, name)


def test_a_missing_function_of_the_c_library_is_refused():
    image = image_of(*compiled(powers)).replace(b'"pow"', b'"puw"')
    with pytest.raises(UnsuitableError, match="no function 'puw'"):
        load(image)


def test_arguments_are_passed_by_their_types():
    received = []

    @ctypes.CFUNCTYPE(
        ctypes.c_int32,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_int64,
        ctypes.c_double,
        ctypes.c_void_p,
        ctypes.c_bool,
    )
    def function(result, error, *arguments):
        received.append(arguments)
        return 0

    address = ctypes.cast(function, ctypes.c_void_p).value
    caller(address, ("int64", "float64", "float32*", "bool"))(-3, 0.5, 1 << 40, True)
    assert received == [(-3, 0.5, 1 << 40, True)]


def compiled_for_arm(function):
    """The object file of a function, as Numba's compiler makes it on aarch64, and its symbol."""
    numba, binding = pytest.importorskip("numba"), pytest.importorskip("llvmlite.binding")
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    try:
        target = binding.Target.from_triple("aarch64-unknown-linux-gnu")
    except RuntimeError:
        pytest.skip("this LLVM compiles for no other processors")
    kinds = numba.types.CPointer(numba.types.float64), numba.types.int64
    made = numba.njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True, _nrt=False)(function)
    made.compile(kinds)
    result = made.overloads[kinds]
    text = re.sub(r"target (triple|datalayout) = .*", "", result.library.get_llvm_str())
    module = binding.parse_assembly(text)
    module.triple = "aarch64-unknown-linux-gnu"
    machine = target.create_target_machine("generic", "+neon", opt=3, codemodel="jitdefault", jit=True)
    return machine.emit_object(module), result.fndesc.llvm_func_name


def instructions_at(address, count):
    return np.ctypeslib.as_array(ctypes.cast(address, ctypes.POINTER(ctypes.c_uint32)), (count,)).copy()


def test_addresses_in_moves_of_aarch64():
    address = load(image_of(*compiled_for_arm(looked_up)))
    registers, found = {}, set()
    for instruction in instructions_at(address, 128).tolist():
        is_first, is_next = instruction >> 23 == 0b110100101, instruction >> 23 == 0b111100101
        if is_first or is_next:
            part = (instruction >> 5 & 0xFFFF) << 16 * (instruction >> 21 & 3)
            number = instruction & 31
            registers[number] = (registers.get(number, 0) if is_next else 0) | part
            found.add(registers[number])
    begin = TABLE.tobytes()
    starts = [aim for aim in found if address < aim < address + (1 << 12)]
    assert begin in {ctypes.string_at(aim, len(begin)) for aim in starts}


def test_branches_of_aarch64_to_the_c_library():
    address = load(image_of(*compiled_for_arm(powers)))
    words = instructions_at(address, 128).tolist()
    aims = {4 * (place + (word & 0x03FFFFFF)) for place, word in enumerate(words) if word >> 26 == 0b100101}
    (aim,) = aims
    assert instructions_at(address + aim, 2).tobytes() == _machine_code._FAR_BRANCH
    (function,) = np.frombuffer(ctypes.string_at(address + aim + 8, 8), np.uint64).tolist()
    assert function == ctypes.cast(ctypes.CDLL(None).pow, ctypes.c_void_p).value
