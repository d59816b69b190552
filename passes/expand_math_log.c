// Logarithms, what is made of them, and powers.
#include "passes/expand_math_functions.h"

#define LOG2E 0x1.715476p+0f
#define LN2 0x1.62e43p-1f
#define TWO_THIRDS_BITS 0x3f2aaaabu
#define EXPONENT_BITS 0xff800000u

// log(1 + f), 2/3 <= 1 + f < 4/3; minimax, error 0.44
static V log_poly(B *b, V f)
{
    V q = POLY(b, f, 0x1.1f1bbap-3f, -0x1.3b0c38p-3f, 0x1.1eaacap-3f, -0x1.5038e4p-3f, 0x1.99d398p-3f, -0x1.00144ep-2f,
               0x1.5554fcp-2f, -0x1.ffffd6p-2f);
    return fma_(b, mul(b, f, f), q, f);
}

// x = 2^e (1 + f) for finite x > 0
static V log_reduce(B *b, V x, V *e)
{
    V tiny = clt(b, x, cst(b, 0x1p-126f));
    V ix = bits(b, sel(b, tiny, mul(b, x, cst(b, 0x1p+23f)), x));
    V k = iand(b, isub(b, ix, icst(b, TWO_THIRDS_BITS)), icst(b, EXPONENT_BITS));
    V base = sel(b, tiny, cst(b, -23.0f), cst(b, 0.0f));
    *e = fma_(b, tofloat(b, k), cst(b, 0x1p-23f), base);
    return sub(b, flt(b, isub(b, ix, k)), cst(b, 1.0f));
}

// y where x is finite and above `pole`; -inf at the pole, NaN below it, x for +inf and NaN
static V log_special(B *b, V x, V y, float pole)
{
    V below = sel(b, ceq(b, x, cst(b, pole)), cst(b, -INF), quiet_nan(b));
    y = sel(b, clt(b, x, cst(b, INF)), y, x);
    return sel(b, cle(b, x, cst(b, pole)), below, y);
}

V expand_math_log(B *b, V x)
{
    V e;
    V p = log_poly(b, log_reduce(b, x, &e));
    return log_special(b, x, fma_(b, e, cst(b, LN2), p), 0.0f);
}

// A polynomial of its own, for log_poly times log2(e) would round twice; minimax, error 0.49.
V expand_math_log2(B *b, V x)
{
    V e;
    V f = log_reduce(b, x, &e);
    V q = POLY(b, f, 0x1.9aa9p-3f, -0x1.c4a66cp-3f, 0x1.9e8a66p-3f, -0x1.e577a6p-3f, 0x1.2794f2p-2f, -0x1.716e6ap-2f,
               0x1.ec708cp-2f, -0x1.71546p-1f);
    V y = fma_(b, f, cst(b, LOG2E), mul(b, mul(b, f, f), q));
    return log_special(b, x, add(b, e, y), 0.0f);
}

// log1p(x) + extra ln2 for finite x > -1. The exponent k is that of 1 + x; then f = x 2^-k + (2^-k - 1), where the
// first product is exact and the second term too. 4 2^-k is used since 2^-k itself may be denormal.
static V log1p_finite(B *b, V x, const V *extra)
{
    V k = iand(b, isub(b, bits(b, add(b, x, cst(b, 1.0f))), icst(b, TWO_THIRDS_BITS)), icst(b, EXPONENT_BITS));
    V four = flt(b, isub(b, icst(b, 0x40800000u), k));
    V f = add(b, flt(b, isub(b, bits(b, x), k)), fma_(b, four, cst(b, 0.25f), cst(b, -1.0f)));
    V e = tofloat(b, k);
    e = extra ? fma_(b, e, cst(b, 0x1p-23f), *extra) : mul(b, e, cst(b, 0x1p-23f));
    return fma_(b, e, cst(b, LN2), log_poly(b, f));
}

V expand_math_log1p(B *b, V x)
{
    V y = log_special(b, x, log1p_finite(b, x, NULL), -1.0f);
    return flt(b, ior(b, bits(b, y), sign_bit(b, x))); // -0
}

// log(1 + exp(x)) = max(x, 0) + log1p(exp(-|x|))
V expand_math_softplus(B *b, V x)
{
    V y = log1p_finite(b, expand_math_exp_accurate(b, neg(b, absf(b, x))), NULL);
    return add(b, at_least(b, x, 0.0f), y);
}

// log1p(|x| + x^2 / (1 + sqrt(1 + x^2))); from 2^30 on, where the square will soon overflow, log|x| + ln2
V expand_math_asinh(B *b, V x)
{
    V a = absf(b, x);
    V u = mul(b, x, x);
    V one = cst(b, 1.0f);
    V t = add(b, a, divi(b, u, add(b, one, root(b, add(b, u, one)))));
    V large = cge(b, a, cst(b, 0x1p+30f));
    V extra = sel(b, large, one, cst(b, 0.0f));
    V y = log1p_finite(b, sel(b, large, a, t), &extra);
    y = sel(b, clt(b, a, cst(b, INF)), y, a);
    return with_sign(b, y, sign_bit(b, x));
}

// log1p(d + sqrt(d (d + 2))), d = x - 1; from 2^30 on log x + ln2
V expand_math_acosh(B *b, V x)
{
    V d = sub(b, x, cst(b, 1.0f));
    V t = add(b, d, root(b, mul(b, d, add(b, d, cst(b, 2.0f)))));
    V large = cge(b, x, cst(b, 0x1p+30f));
    V extra = sel(b, large, cst(b, 1.0f), cst(b, 0.0f));
    V y = log1p_finite(b, sel(b, large, x, t), &extra);
    y = sel(b, clt(b, x, cst(b, INF)), y, x);
    return sel(b, cge(b, x, cst(b, 1.0f)), y, quiet_nan(b));
}

// log1p(2a / (1 - a)) / 2, a = |x|
V expand_math_atanh(B *b, V x)
{
    V a = absf(b, x);
    V t = divi(b, add(b, a, a), sub(b, cst(b, 1.0f), a));
    V y = mul(b, log1p_finite(b, t, NULL), cst(b, 0.5f));
    V special = sel(b, ceq(b, a, cst(b, 1.0f)), cst(b, INF), quiet_nan(b));
    return with_sign(b, sel(b, clt(b, a, cst(b, 1.0f)), y, special), sign_bit(b, x));
}

// ---- Powers -----------------------------------------------------------------------------------------------------

// the upper 12 bits of the significand: the product of two such values is exact in f32
static V upper_half(B *b, V x)
{
    return flt(b, iand(b, bits(b, x), icst(b, 0xfffff000u)));
}

// 2^(y log2|x|). log2|x| is computed as an unevaluated sum of two f32 (error about 2^-35), after the method of fdlibm's
// e_pow.c: with s = (m - 1) / (m + 1), 3 atanh(s) = s (3 + s^2 + r(s^2)). Every product whose rounding error would
// matter has factors of 12 bits and is exact, so FMA is not needed.
V expand_math_pow(B *b, V x, V y)
{
    V one = cst(b, 1.0f), zero = cst(b, 0.0f), inf = cst(b, INF);
    V a = absf(b, x);

    V tiny = clt(b, a, cst(b, 0x1p-126f));
    V ia = bits(b, sel(b, tiny, mul(b, a, cst(b, 0x1p+23f)), a));
    V k = iand(b, isub(b, ia, icst(b, 0x3f3504f3u)), icst(b, EXPONENT_BITS)); // sqrt(1/2) <= m < sqrt(2)
    V e = fma_(b, tofloat(b, k), cst(b, 0x1p-23f), sel(b, tiny, cst(b, -23.0f), zero));
    V m = flt(b, isub(b, ia, k));

    V f = sub(b, m, one);
    V d = add(b, m, one);
    V d_hi = upper_half(b, d);
    V d_lo = sub(b, m, sub(b, d_hi, one));
    V inv = divi(b, one, d);
    V s = mul(b, f, inv);
    V s_hi = upper_half(b, s);
    V s_lo = mul(b, sub(b, sub(b, f, mul(b, s_hi, d_hi)), mul(b, s_hi, d_lo)), inv);

    V z = mul(b, s, s);
    V z_hi = mul(b, s_hi, s_hi);
    V r = mul(b, mul(b, z, z), POLY(b, z, 0x1.2c6efp-2f, 0x1.54adccp-2f, 0x1.b6dd92p-2f, 0x1.333332p-1f)); // refit
    r = fma_(b, s_lo, add(b, s_hi, s), r);
    V three = cst(b, 3.0f);
    V t_hi = upper_half(b, add(b, add(b, z_hi, three), r));
    V t_lo = sub(b, r, sub(b, sub(b, t_hi, three), z_hi));
    V p0 = mul(b, s_hi, t_hi);
    V p1 = fma_(b, t_lo, s, mul(b, s_lo, t_hi));
    V p_hi = upper_half(b, add(b, p0, p1));
    V p_lo = sub(b, p1, sub(b, p_hi, p0));
    // times 2 / (3 ln2), in two parts
    V l0 = mul(b, p_hi, cst(b, 0x1.ec6p-1f));
    V l1 = fma_(b, p_lo, cst(b, 0x1.ec709ep-1f), mul(b, p_hi, cst(b, 0x1.09dc3ap-13f)));
    V log_hi = upper_half(b, add(b, add(b, l0, l1), e));
    V log_lo = sub(b, l1, sub(b, sub(b, log_hi, e), l0));

    // beyond 2^40, y log2|x| overflows either way unless |x| = 1
    V c = at_most(b, at_least(b, y, -0x1p+40f), 0x1p+40f);
    V y_hi = upper_half(b, c);
    V v_lo = fma_(b, sub(b, c, y_hi), log_hi, mul(b, c, log_lo));
    V v_hi = mul(b, y_hi, log_hi);
    V v = at_most(b, at_least(b, v_hi, -160.0f), 160.0f);
    v_lo = sel(b, ceq(b, v, v_hi), v_lo, zero);
    V magic = cst(b, ROUNDER + 254);
    V n = at_most(b, at_least(b, add(b, v, v_lo), -151.0f), 129.0f);
    V t = add(b, n, magic);
    n = sub(b, t, magic);
    V frac = at_most(b, at_least(b, add(b, sub(b, v, n), v_lo), -1.0f), 1.0f);
    V result = expand_math_scale(b, expand_math_exp2_poly(b, frac), n, bits(b, t));

    // |x| = 0 or inf: |x| or its inverse, by the sign of y
    V edge = bor(b, ceq(b, a, zero), ceq(b, a, inf));
    V inverse = flt(b, isub(b, icst(b, 0x7f800000u), bits(b, a)));
    result = sel(b, edge, sel(b, clt(b, y, zero), inverse, a), result);
    // x < 0: the sign of an odd y; NaN for finite x where y is no integer
    V half_y = mul(b, y, cst(b, 0.5f));
    V integer = ceq(b, rnd(b, y), y);
    V odd = cne(b, rnd(b, half_y), half_y);
    V sign = sel(b, band(b, integer, odd), sign_bit(b, x), icst(b, 0));
    result = flip_sign(b, result, sign);
    V finite_negative = band(b, clt(b, x, zero), cgt(b, x, cst(b, -INF)));
    result = sel(b, finite_negative, sel(b, integer, result, quiet_nan(b)), result);
    result = sel(b, ceq(b, x, x), result, x);
    result = sel(b, ceq(b, y, y), result, y);
    return sel(b, bor(b, ceq(b, x, one), ceq(b, y, zero)), one, result);
}
