"""exp, log, tanh, erf, cosine and sine as polynomials that the compiler vectorizes.

Calls of the C library's versions prevent a loop from being vectorized. These are branch-free, use explicit fused
multiply-adds, and give the same bits in a vector lane and in the remainder of a loop. They are for float32 and float64
and keep the type of their argument. The largest errors against correctly rounded values, in units in the last place,
are stated in each docstring and tested.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from skbackprop._compile import JIT, cgutils, formula, native, specialise, types

__all__ = [
    "SCRATCH",
    "cos_turns",
    "erf",
    "exp",
    "fma",
    "log",
    "logistic",
    "natural",
    "number",
    "scratch",
    "sin_turns",
    "tanh",
]

#: Numbers that a `scratch` holds: a vector of float32 of the widest processors.
SCRATCH = 16


def _fma_twin(a, b, c):
    return a * b + c


@native(_fma_twin)
def fma(typing_context, a, b, c):
    """`a * b + c` with one rounding; all three of one floating type."""
    if not (isinstance(a, types.Float) and a == b == c):
        return None

    def build(context, builder, signature, args):
        return builder.fma(*args)

    return a(a, a, a), build


def _natural_twin(i):
    return i & _ADDRESSES


# No address exceeds this.
_ADDRESSES = 0xFFFFFFFFFFFF


@native(_natural_twin)
def natural(typing_context, i):
    """`i`, an index or a count that the caller guarantees to be non-negative.

    Numba lets negative indices count from the end, and LLVM vectorizes a loop only if it can prove that they do not
    occur. Clearing the sign and the bits beyond any address proves it; this has to be done where an array is indexed,
    not at the bounds of a loop's range. On a GPU, where nothing is vectorized, the bits are not cleared: the compiler
    then knows that indices differ by a constant, and keeps them in one register.
    """
    on_gpu = ".cuda" in type(typing_context).__module__
    made = types.uint64 if on_gpu else types.int64

    def build(context, builder, signature, args):
        value = context.cast(builder, args[0], signature.args[0], made)
        return value if on_gpu else builder.and_(value, value.type(_ADDRESSES))

    return made(i), build


def _scratch_twin(like):
    return np.empty(SCRATCH, dtype=like.dtype)


@native(_scratch_twin)
def scratch(typing_context, like):
    """Memory for `SCRATCH` numbers of the type of `like`, on the stack: between two loops that are vectorized apart.

    Two calls in a formula give two memories; a call in a loop gives the same one each time. It is a pointer on all
    devices: indices need no `natural`.
    """
    if not isinstance(like, types.Float):
        return None

    def build(context, builder, signature, args):
        kind = context.get_data_type(like)
        return cgutils.alloca_once(builder, kind, size=SCRATCH)

    return types.CPointer(like)(like), build


def _pairs():
    return {types.float32: types.int32, types.float64: types.int64}


def _bits_twin(x):
    return x.view(np.int32 if isinstance(x, np.float32) else np.int64)


@native(_bits_twin)
def bits_of(typing_context, x):
    """The bits of the float `x` as an integer of the same width."""
    made = _pairs().get(x)
    if made is None:
        return None

    def build(context, builder, signature, args):
        return builder.bitcast(args[0], context.get_value_type(signature.return_type))

    return made(x), build


def _float_twin(i):
    return i.view(np.float32 if isinstance(i, np.int32) else np.float64)


@native(_float_twin)
def float_of(typing_context, i):
    """The bits of the integer `i` as a float of the same width."""
    for floating, integer in _pairs().items():
        if i == integer:

            def build(context, builder, signature, args):
                return builder.bitcast(args[0], context.get_value_type(signature.return_type))

            return floating(i), build
    return None


def _by_type(single: Any, double: Any) -> Callable[[Any], Any]:
    """A function that calls `single` for float32 arguments and `double` for float64."""

    def function(x: Any) -> Any:
        return single(x) if isinstance(x, np.float32) else double(x)

    if JIT:

        @specialise(function)
        def choose(x):
            implementation = {types.float32: single, types.float64: double}.get(x)
            return None if implementation is None else lambda x: implementation(x)

    return function


def number(value: float, like: Any) -> Any:
    """Cast a constant to the type of another number, so that it does not promote float32 to float64.

    Parameters
    ----------
    value : float
    like : float32, float64, or a pointer to numbers of one of them

    Returns
    -------
    number : float32 or float64
    """
    return like.dtype.type(value)


if JIT:

    @specialise(number)
    def _number(value, like):
        kind = getattr(like, "dtype", like)
        if kind == types.float32:
            return lambda value, like: np.float32(value)
        return (lambda value, like: np.float64(value)) if kind == types.float64 else None


_F32 = np.float32
_F64 = np.float64

# Adding 1.5 * 2**(mantissa bits) rounds to an integer, which is then in the low bits.
_ROUND32 = _F32(12582912.0)
_ROUND64 = _F64(6755399441055744.0)
_LOG2E32 = _F32(1.4426950408889634)
_LOG2E64 = _F64(1.4426950408889634)
# ln 2 in two parts, the first with trailing zeros so that its small multiples are exact.
_LN2_HIGH32 = _F32(0.693359375)
_LN2_LOW32 = _F32(-2.12194440e-4)
_LN2_HIGH64 = _F64(6.93147180369123816490e-01)
_LN2_LOW64 = _F64(1.90821492927058770002e-10)
# Below the first, the result is flushed to zero; above the second, it is infinite.
_EXP_LOW32, _EXP_HIGH32 = _F32(-86.6433975699931637), _F32(88.7228391116729996)
_EXP_LOW64, _EXP_HIGH64 = _F64(-707.7032713652975), _F64(709.782712893383996)
_HALF32, _ONE32, _TWO32 = _F32(0.5), _F32(1.0), _F32(2.0)
_HALF64, _ONE64, _TWO64 = _F64(0.5), _F64(1.0), _F64(2.0)
# exp(r) = 1 + r + r**2 (1 / 2! + r / 3! + r**2 / 4! + ...)
_E32 = tuple(_F32(1 / math.factorial(k)) for k in range(7, 1, -1))
_E64 = tuple(_F64(1 / math.factorial(k)) for k in range(13, 1, -1))


@formula
def _polynomial(x, coefficients):
    """A polynomial by Horner's rule; the coefficient of the highest power comes first."""
    p = coefficients[0]
    for c in coefficients[1:]:
        p = fma(p, x, c)
    return p


@formula
def _exp32(x):
    shifted = fma(x, _LOG2E32, _ROUND32)
    n = shifted - _ROUND32
    r = fma(n, -_LN2_HIGH32, x)
    r = fma(n, -_LN2_LOW32, r)
    p = _polynomial(r, _E32)
    p = fma(p * r, r, r) + _ONE32
    # 2**(n - 1), then doubled, because 2**128 overflows float32, but exp(88.7) does not.
    scale = float_of(np.int32((np.int64(bits_of(shifted)) + 126) << 23))
    y = p * scale * _TWO32
    y = _F32(0.0) if x < _EXP_LOW32 else y
    return _F32(np.inf) if x > _EXP_HIGH32 else y


@formula
def _exp64(x):
    shifted = fma(x, _LOG2E64, _ROUND64)
    n = shifted - _ROUND64
    r = fma(n, -_LN2_HIGH64, x)
    r = fma(n, -_LN2_LOW64, r)
    p = _polynomial(r, _E64)
    p = fma(p * r, r, r) + _ONE64
    scale = float_of((bits_of(shifted) + np.int64(1022)) << np.int64(52))
    y = p * scale * _TWO64
    y = _F64(0.0) if x < _EXP_LOW64 else y
    return _F64(np.inf) if x > _EXP_HIGH64 else y


# The series of log((1 + s) / (1 - s)) / (2 s) beyond 1, in s**2.
_L32 = tuple(_F32(2 / k) for k in range(9, 1, -2))
_L64 = tuple(_F64(2 / k) for k in range(21, 1, -2))
_SQRT_HALF32 = 0x3F3504F3  # bits of sqrt(1/2)
_SQRT_HALF64 = 0x3FE6A09E667F3BCD
_TINY32 = _F32(1.17549435e-38)
_TINY64 = _F64(2.2250738585072014e-308)


@formula
def _log32(x):
    bits = np.int64(bits_of(x))
    exponent = (bits - _SQRT_HALF32) >> 23
    k = _F32(np.int32(exponent))
    f = float_of(np.int32(bits - (exponent << 23))) - _ONE32
    s = f / (_TWO32 + f)
    z = s * s
    p = _polynomial(z, _L32)
    # log(1 + f) = f - s * (f - R), where R is the series: f is exact, so little accuracy is lost.
    y = fma(-s, f - p * z, f)
    y = fma(k, _LN2_HIGH32, fma(k, _LN2_LOW32, y))
    y = -_F32(np.inf) if x < _TINY32 else y
    y = _F32(np.nan) if x < _F32(0.0) else y
    # False for NaN, too.
    return y if x < _F32(np.inf) else x


@formula
def _log64(x):
    bits = bits_of(x)
    exponent = (bits - np.int64(_SQRT_HALF64)) >> np.int64(52)
    k = _F64(exponent)
    f = float_of(bits - (exponent << np.int64(52))) - _ONE64
    s = f / (_TWO64 + f)
    z = s * s
    p = _polynomial(z, _L64)
    y = fma(-s, f - p * z, f)
    y = fma(k, _LN2_HIGH64, fma(k, _LN2_LOW64, y))
    y = -_F64(np.inf) if x < _TINY64 else y
    y = _F64(np.nan) if x < _F64(0.0) else y
    return y if x < _F64(np.inf) else x


# Near zero, tanh's polynomial and rational approximations of Cephes (S. L. Moshier,
# Methods and Programs for Mathematical Functions, 1989; tanhf.c and tanh.c).
_TANH_SMALL32 = _F32(0.625)
_TANH_SMALL64 = _F64(0.625)
_T32 = tuple(
    _F32(c)
    for c in (
        -5.70498872745e-3,
        2.06390887954e-2,
        -5.37397155531e-2,
        1.33314422036e-1,
        -3.33332819422e-1,
    )
)
_TP64 = tuple(_F64(c) for c in (-9.64399179425052238628e-1, -9.92877231001918586564e1, -1.61468768441708447952e3))
_TQ64 = tuple(_F64(c) for c in (1.12811678491632931402e2, 2.23548839060100448583e3, 4.84406305325125486048e3))


@formula
def _tanh32(x):
    size = abs(x)
    z = x * x
    p = _polynomial(z, _T32)
    small = fma(p * z, x, x)
    large = _ONE32 - _TWO32 / (_exp32(size + size) + _ONE32)
    large = -large if x < _F32(0.0) else large
    return small if size < _TANH_SMALL32 else large


@formula
def _tanh64(x):
    size = abs(x)
    z = x * x
    p = fma(fma(_TP64[0], z, _TP64[1]), z, _TP64[2])
    q = fma(fma(z + _TQ64[0], z, _TQ64[1]), z, _TQ64[2])
    small = fma(p / q * z, x, x)
    large = _ONE64 - _TWO64 / (_exp64(size + size) + _ONE64)
    large = -large if x < _F64(0.0) else large
    return small if size < _TANH_SMALL64 else large


@formula
def _logistic32(x):
    return _ONE32 / (_ONE32 + _exp32(-x))


@formula
def _logistic64(x):
    return _ONE64 / (_ONE64 + _exp64(-x))


# erf(x) / x as a polynomial in x**2 up to 1, and exp(x**2) erfc(x) as one in (x - 2) / (x + 2) beyond, up to where
# erf(x) is 1: interpolated at Chebyshev nodes with 60 digits; their errors are an eighth and a fifteenth of a rounding
# error.
_ERF_END32, _ERF_END64 = _F32(4.1), _F64(6.1)
_ES32 = tuple(
    _F32(c)
    for c in (
        7.87587506e-5,
        -8.01686429e-4,
        5.18908742e-3,
        -2.6854212e-2,
        1.12835947e-1,
        -3.76126267e-1,
        1.12837917,
    )
)
_EL32 = tuple(
    _F32(c)
    for c in (
        -8.7349156e-4,
        6.80584329e-3,
        3.73748111e-3,
        -7.89676971e-2,
        2.41658025e-1,
        -4.27186003e-1,
        2.55395677e-1,
    )
)
_ES64 = tuple(
    _F64(c)
    for c in (
        -7.7958988270021422e-10,
        1.3720064546777686e-8,
        -1.6208483801871706e-7,
        1.6447424703317362e-6,
        -1.492473690741966e-5,
        1.2055294904839708e-4,
        -8.5483259753896921e-4,
        5.2239776071164227e-3,
        -2.686617064323777e-2,
        1.1283791670945006e-1,
        -3.761263890318354e-1,
        1.1283791670955126,
    )
)
_EL64 = tuple(
    _F64(c)
    for c in (
        -1.1551174620338113e-6,
        1.2958000412630588e-6,
        4.0124705266974916e-6,
        1.2965196760697503e-6,
        -1.3996555366426936e-5,
        -2.7560705758424431e-5,
        2.7526785940354556e-5,
        1.7435934951691821e-4,
        4.3555622864819521e-5,
        -9.8197693543691555e-4,
        -8.4714325460976568e-4,
        6.9974617368320138e-3,
        3.7328924044316371e-3,
        -7.8978581015704457e-2,
        2.4165819424246559e-1,
        -4.2718584741395849e-1,
        2.5539567631050574e-1,
    )
)

#: The coefficients of float64's erf, for implementations in other operators, such as ONNX's.
ERF_BELOW_ONE, ERF_BEYOND_ONE, ERF_END = _ES64, _EL64, _ERF_END64


@formula
def _erf32(x):
    size = abs(x)
    small = x * _polynomial(x * x, _ES32)
    size = _ERF_END32 if size > _ERF_END32 else size
    t = (size - _TWO32) / (size + _TWO32)
    large = fma(-_exp32(-size * size), _polynomial(t, _EL32), _ONE32)
    large = -large if x < _F32(0.0) else large
    return small if size < _ONE32 else large


@formula
def _erf64(x):
    size = abs(x)
    small = x * _polynomial(x * x, _ES64)
    size = _ERF_END64 if size > _ERF_END64 else size
    t = (size - _TWO64) / (size + _TWO64)
    large = fma(-_exp64(-size * size), _polynomial(t, _EL64), _ONE64)
    large = -large if x < _F64(0.0) else large
    return small if size < _ONE64 else large


# sin(2 pi q) / q as a polynomial in q**2 up to q = 1/4, interpolated as those of erf; its errors are a ninth and less
# than a hundredth of a rounding error.
_S32 = tuple(_F32(c) for c in (39.759827, -76.58117, 81.60248, -41.341682, 6.2831855))
_S64 = tuple(
    _F64(c)
    for c in (
        0.10089695501646812,
        -0.7177337921413454,
        3.8199280942271643,
        -15.0946416761179,
        42.058693925428685,
        -76.70585975282492,
        81.60524927607362,
        -41.341702240399755,
        6.283185307179586,
    )
)
_QUARTER32, _QUARTER64 = _F32(0.25), _F64(0.25)


# Numbers beyond the range in which adding `_ROUND` rounds are whole or, just beyond, multiples of a half: what is left
# of the former may exceed a half, and is then 0.
@formula
def _turn32(t):
    r = t - ((t + _ROUND32) - _ROUND32)
    return _F32(0.0) if abs(r) > _HALF32 else r


@formula
def _turn64(t):
    r = t - ((t + _ROUND64) - _ROUND64)
    return _F64(0.0) if abs(r) > _HALF64 else r


@formula
def _cos_turns32(t):
    q = _QUARTER32 - abs(_turn32(t))
    return q * _polynomial(q * q, _S32)


@formula
def _cos_turns64(t):
    q = _QUARTER64 - abs(_turn64(t))
    return q * _polynomial(q * q, _S64)


@formula
def _sin_turns32(t):
    r = _turn32(t)
    size = abs(r)
    q = _HALF32 - size if size > _QUARTER32 else size
    q = -q if r < _F32(0.0) else q
    return q * _polynomial(q * q, _S32)


@formula
def _sin_turns64(t):
    r = _turn64(t)
    size = abs(r)
    q = _HALF64 - size if size > _QUARTER64 else size
    q = -q if r < _F64(0.0) else q
    return q * _polynomial(q * q, _S64)


exp: Callable[[Any], Any] = _by_type(_exp32, _exp64)
exp.__name__ = "exp"
exp.__doc__ = """The exponential function.

Results below 2**-125 (float32) or 2**-1021 (float64) are flushed to zero.

Parameters
----------
x : float32 or float64

Returns
-------
y : same type
    Within 2 units in the last place; NaN for NaN.
"""
log: Callable[[Any], Any] = _by_type(_log32, _log64)
log.__name__ = "log"
log.__doc__ = """The natural logarithm.

Parameters
----------
x : float32 or float64

Returns
-------
y : same type
    Within 2 units in the last place; -inf for zero and subnormal numbers, NaN for negative
    numbers and NaN.
"""
tanh: Callable[[Any], Any] = _by_type(_tanh32, _tanh64)
tanh.__name__ = "tanh"
tanh.__doc__ = """The hyperbolic tangent.

Parameters
----------
x : float32 or float64

Returns
-------
y : same type
    Within 3 units in the last place; NaN for NaN.
"""
logistic: Callable[[Any], Any] = _by_type(_logistic32, _logistic64)
logistic.__name__ = "logistic"
logistic.__doc__ = """The logistic sigmoid, 1 / (1 + exp(-x)).

Parameters
----------
x : float32 or float64

Returns
-------
y : same type
    Within 4 units in the last place; NaN for NaN.
"""
erf: Callable[[Any], Any] = _by_type(_erf32, _erf64)
erf.__name__ = "erf"
erf.__doc__ = """The error function.

Parameters
----------
x : float32 or float64

Returns
-------
y : same type
    Within 3 units in the last place; NaN for NaN.
"""
cos_turns: Callable[[Any], Any] = _by_type(_cos_turns32, _cos_turns64)
cos_turns.__name__ = "cos_turns"
cos_turns.__doc__ = """The cosine of an angle in full turns, cos(2 pi t).

Parameters
----------
t : float32 or float64

Returns
-------
y : same type
    Within 3 units in the last place; NaN for NaN and infinities.
"""
sin_turns: Callable[[Any], Any] = _by_type(_sin_turns32, _sin_turns64)
sin_turns.__name__ = "sin_turns"
sin_turns.__doc__ = """The sine of an angle in full turns, sin(2 pi t).

Parameters
----------
t : float32 or float64

Returns
-------
y : same type
    Within 3 units in the last place; NaN for NaN and infinities.
"""
