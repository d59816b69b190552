// The elementary functions on f32, written as sequences of the operations of expand_math_ops.h.
//
// Each takes a builder and operands and returns the result; none branches, calls or loads. NaN gives NaN; a pole gives
// the infinity of IEEE 754, an argument outside the domain NaN; odd functions keep the sign of zero; results below
// 2^-126 are rounded to denormals. Bounds on the error stand in expand_math.def.
//
// The operations must not be reassociated or contracted: the error terms rely on the order as written. Minimum and
// maximum are written sel(clt(x,c),c,x), which x86 has as one instruction and which passes NaN through.
//
// Coefficients: "minimax" means sollya's fpminimax with f32 coefficients; "refit" means an iteratively reweighted least
// squares fit (Lawson's method, tending to the uniform norm) in which the coefficients are rounded to f32 one after
// another, and the rest is fitted again. Errors are quoted as multiples of 2^-24, relative to the function, before any
// rounding in the evaluation.
#ifndef TEGULA_PASSES_EXPAND_MATH_FUNCTIONS_H
#define TEGULA_PASSES_EXPAND_MATH_FUNCTIONS_H

#include "passes/expand_math_ops.h"

#define MATH_1(e, name, ...) V expand_math_##name(B *b, V x);
#define MATH_2(e, name, ...) V expand_math_##name(B *b, V x, V y);
#include "passes/expand_math.def"
#undef MATH_1
#undef MATH_2

// 2^r, |r| <= 0.5
V expand_math_exp2_poly(B *b, V r);
V expand_math_exp_accurate(B *b, V x);
// p * 2^n, -151 <= n <= 129; the low bits of `shifted` are n + 254
V expand_math_scale(B *b, V p, V n, V shifted);

// ---- Shared by all -----------------------------------------------------------------------------------------------

#define INF __builtin_inff()
#define LEN(a) (int)(sizeof(a) / sizeof *(a))
// Adding 1.5 * 2^23 rounds to an integer (to nearest even), which then stands in the low bits of the sum.
#define ROUNDER 12582912.0f

// coefficients from the highest power down; the Horner form
static inline V polynomial(B *b, V x, const float *c, int n)
{
    V y = cst(b, c[0]);
    for (int i = 1; i < n; i++)
        y = fma_(b, y, x, cst(b, c[i]));
    return y;
}

#define POLY(b, x, ...) polynomial(b, x, (const float[]){__VA_ARGS__}, LEN(((const float[]){__VA_ARGS__})))

static inline V at_least(B *b, V x, float c)
{
    return sel(b, clt(b, x, cst(b, c)), cst(b, c), x);
}

static inline V at_most(B *b, V x, float c)
{
    return sel(b, cgt(b, x, cst(b, c)), cst(b, c), x);
}

static inline V sign_bit(B *b, V x)
{
    return iand(b, bits(b, x), icst(b, 0x80000000u));
}

// y, which is not negative, with the given sign bit
static inline V with_sign(B *b, V y, V sign)
{
    return flt(b, ior(b, bits(b, y), sign));
}

static inline V flip_sign(B *b, V y, V sign)
{
    return flt(b, ixor(b, bits(b, y), sign));
}

static inline V quiet_nan(B *b)
{
    return flt(b, icst(b, 0x7fc00000u));
}

#endif
