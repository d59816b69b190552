// The remainder of a division, which is exact.
#include <math.h>

#include "passes/expand_math_functions.h"

// A quotient of floats is below 2^(128 + 149), and is taken apart in digits of so many bits. The product of a digit and
// a float then fits in f64's 53 bits.
#define DIGIT_BITS 28
#define DIGITS 10

EXPAND_MATH_CONVERT(wide, OP_CAST, DTYPE_F64)
EXPAND_MATH_CONVERT(narrow, OP_CAST, DTYPE_F32)
EXPAND_MATH_UNARY(trunc_, OP_TRUNC)

static V wide_cst(B *b, double c)
{
    return build_float(&b->builder, type_scalar(b->builder.function->module, DTYPE_F64), c);
}

// In f64, with s = |y| 2^28k from the highest k down: r -= trunc(r / s) s. The subtraction is exact: all terms are
// multiples of the last place of x or s, whichever is lower, and the result is below s and |x|. A rounded quotient is
// never below the next lower integer, but may be that above, and then r is negative.
// x = inf and y = 0 give NaN by themselves; y = inf counts as 2^128, which is above all finite x.
V expand_math_rem(B *b, V x, V y)
{
    V r = wide(b, absf(b, x)), divisor = wide(b, absf(b, y)), zero = wide_cst(b, 0);
    divisor = sel(b, ceq(b, divisor, wide_cst(b, (double)INF)), wide_cst(b, 0x1p128), divisor);
    for (int k = DIGITS - 1; k >= 0; k--) {
        V s = k ? mul(b, divisor, wide_cst(b, ldexp(1, DIGIT_BITS * k))) : divisor;
        r = sub(b, r, mul(b, trunc_(b, divi(b, r, s)), s));
        r = sel(b, clt(b, r, zero), add(b, r, s), r);
    }
    return with_sign(b, absf(b, narrow(b, r)), sign_bit(b, x));
}
