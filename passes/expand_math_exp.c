// Exponentials and what is made of them.
#include "passes/expand_math_functions.h"

#define LOG2E 0x1.715476p+0f
// ln 2 in two parts; the first has 15 bits, so its product with an integer below 512 is exact
#define LN2_HI 0x1.62e4p-1f
#define LN2_LO 0x1.7f7d1cp-20f
#define LN2 0x1.62e43p-1f // 1.9e-9 too large

// x = n ln2 + r, |r| <= ln2 / 2. `shifted` holds n + bias in its low 22 bits.
struct reduced {
    V n, r, shifted;
};

// In one step the product must not be rounded, and n times the error of LN2 is left in r.
static struct reduced reduce_by(B *b, V x, int bias, bool one_step)
{
    V magic = cst(b, ROUNDER + (float)bias);
    V t = fma_(b, x, cst(b, LOG2E), magic);
    V n = sub(b, t, magic);
    V r = fma_(b, n, cst(b, one_step ? -LN2 : -LN2_HI), x);
    if (!one_step)
        r = fma_(b, n, cst(b, -LN2_LO), r);
    return (struct reduced){n, r, bits(b, t)};
}

static struct reduced reduce_ln2(B *b, V x, int bias)
{
    return reduce_by(b, x, bias, false);
}

// 2^n from the low bits n + 127 of `shifted`
static V power_of_two(B *b, V shifted)
{
    return flt(b, ishl(b, shifted, icst(b, 23)));
}

// Two factors, of which each is normal, so that only the last product rounds, overflows or is denormal: the same as one
// instruction gives where there is one.
V expand_math_scale(B *b, V p, V n, V shifted)
{
    if (b->has_scalef)
        return build_binary(&b->builder, OP_SCALEF, p, n);
    V half = ishr(b, shifted, icst(b, 1));
    V first = power_of_two(b, half);
    V second = power_of_two(b, isub(b, shifted, half));
    return mul(b, mul(b, p, first), second);
}

// exp(r), |r| <= 0.347; minimax, error 0.053
static V exp_poly(B *b, V r)
{
    return POLY(b, r, 0x1.6a5e34p-10f, 0x1.123adp-7f, 0x1.5558a2p-5f, 0x1.55549p-3f, 0x1.fffffcp-2f, 1.0f, 1.0f);
}

// The same with a term less; minimax, error 1.6. For exp itself, whose cost is softmax's.
static V exp_poly_short(B *b, V r)
{
    return POLY(b, r, 0x1.0fa46cp-7f, 0x1.573ba8p-5f, 0x1.555a7ap-3f, 0x1.fffdc2p-2f, 0x1.fffff6p-1f, 1.0f);
}

static V exp_by(B *b, V x, V (*polynomial_of)(B *, V), bool one_step)
{
    x = at_least(b, x, -104.0f);
    if (!b->not_positive)
        x = at_most(b, x, 89.0f);
    struct reduced a = reduce_by(b, x, 254, one_step);
    return expand_math_scale(b, polynomial_of(b, a.r), a.n, a.shifted);
}

// Softmax's own is a step shorter and off by up to |x| / 21 ulp more: that is below 2^-29 throughout, and one of the
// row's terms is 1. Alone it is no more exact than that: 4.6 ulp at x = -86.23972, say.
V expand_math_exp(B *b, V x)
{
    return exp_by(b, x, exp_poly_short, b->not_positive && b->has_fma);
}

// Within 0.9 ulp, 1.2 without FMA: for functions that go on from there.
V expand_math_exp_accurate(B *b, V x)
{
    return exp_by(b, x, exp_poly, false);
}

// 2^r, |r| <= 0.5; minimax, error 0.061
V expand_math_exp2_poly(B *b, V r)
{
    return POLY(b, r, 0x1.3fa206p-13f, 0x1.5f0b82p-10f, 0x1.3b30ap-7f, 0x1.c6af76p-5f, 0x1.ebfbd8p-3f, 0x1.62e43p-1f,
                1.0f);
}

V expand_math_exp2(B *b, V x)
{
    x = at_most(b, at_least(b, x, -151.0f), 129.0f);
    V magic = cst(b, ROUNDER + 254);
    V t = add(b, x, magic);
    V n = sub(b, t, magic);
    V r = sub(b, x, n);
    return expand_math_scale(b, expand_math_exp2_poly(b, r), n, bits(b, t));
}

// expm1(x) = 2^n expm1(r) + (2^n - 1), with all terms halved against overflow at n = 128. Below 2^-25 the result is x:
// this keeps -0 and the last bit of denormals. Minimax on r, error 0.23.
V expand_math_expm1(B *b, V x)
{
    V c = at_most(b, at_least(b, x, -18.0f), 89.0f);
    struct reduced a = reduce_ln2(b, c, 126);
    V half = power_of_two(b, a.shifted);
    V q = POLY(b, a.r, 0x1.6b71a8p-10f, 0x1.1227c2p-7f, 0x1.555718p-5f, 0x1.5554bp-3f, 0x1.fffffep-2f);
    V p = fma_(b, mul(b, a.r, a.r), q, a.r);
    V y = fma_(b, p, half, sub(b, half, cst(b, 0.5f)));
    y = add(b, y, y);
    return sel(b, clt(b, absf(b, x), cst(b, 0x1p-25f)), x, y);
}

// exp(-x) 2^-down for |x| ln2 below about 126 - down: p 2^n
struct negative_exp {
    V p, power;
};

static struct negative_exp exp_of_negative(B *b, V x, int down)
{
    V magic = cst(b, ROUNDER + 127 - (float)down);
    V t = fma_(b, x, cst(b, -LOG2E), magic);
    V n = sub(b, t, magic);
    V r = fma_(b, n, cst(b, LN2_HI), x); // of the opposite sign: exp_poly(-r)
    r = fma_(b, n, cst(b, LN2_LO), r);
    V p = POLY(b, r, 0x1.6a5e34p-10f, -0x1.123adp-7f, 0x1.5558a2p-5f, -0x1.55549p-3f, 0x1.fffffcp-2f, -1.0f, 1.0f);
    return (struct negative_exp){p, power_of_two(b, bits(b, t))};
}

// 2^-24 / (2^-24 + exp(-x) 2^-24): the common factor lets the quotient run down through the denormals
V expand_math_sigmoid(B *b, V x)
{
    struct negative_exp e = exp_of_negative(b, at_most(b, at_least(b, x, -104.5f), 60.0f), 24);
    V one = cst(b, 0x1p-24f);
    return divi(b, one, fma_(b, e.p, e.power, one));
}

// x 2^-48 / (2^-48 + exp(-x) 2^-48), where x is scaled after the division, for it may be small. Above 50 this is x. At
// minus infinity it is the limit, -0.
V expand_math_silu(B *b, V x)
{
    V c = at_least(b, x, -112.0f);
    V limit = cst(b, 50.0f), one = cst(b, 0x1p-48f);
    V large = cgt(b, x, limit);
    struct negative_exp e = exp_of_negative(b, sel(b, large, limit, c), 48);
    V y = mul(b, divi(b, c, fma_(b, e.p, e.power, one)), one);
    return sel(b, large, x, y);
}

// |x| < 0.55: x + x^3 P(x^2), minimax, error 0.62. Above: 1 - 1 / ((exp(2a) + 1) / 2), a = n ln2 / 2 + h; the
// polynomial for exp(2h) is exp_poly with its coefficients scaled.
V expand_math_tanh(B *b, V x)
{
    V a = absf(b, x);
    V u = mul(b, x, x);
    V p = POLY(b, u, 0x1.0d5184p-6f, -0x1.af7d38p-5f, 0x1.10cefcp-3f, -0x1.555452p-2f);
    V low = fma_(b, mul(b, u, a), p, a);

    V c = at_most(b, a, 9.02f);
    V magic = cst(b, ROUNDER + 127 - 1);
    V t = fma_(b, c, cst(b, 2 * LOG2E), magic);
    V n = sub(b, t, magic);
    V h = fma_(b, n, cst(b, -LN2_HI / 2), c);
    h = fma_(b, n, cst(b, -LN2_LO / 2), h);
    V e = POLY(b, h, 0x1.6a5e34p-4f, 0x1.123adp-2f, 0x1.5558a2p-1f, 0x1.55549p+0f, 0x1.fffffcp+0f, 2.0f, 1.0f);
    V one = cst(b, 1.0f);
    V d = fma_(b, e, power_of_two(b, bits(b, t)), cst(b, 0.5f));
    V high = sub(b, one, divi(b, one, d));
    return with_sign(b, sel(b, clt(b, a, cst(b, 0.55f)), low, high), sign_bit(b, x));
}

// |x| < 1.125: x + x P(x^2), refit, error 0.11. Above: 1 - Q(|x|)^4, where Q fits erfc^(1/4); refit, absolute error
// 0.15. Q runs to 4, where erf rounds to 1.
V expand_math_erf(B *b, V x)
{
    V a = absf(b, x);
    V u = mul(b, x, x);
    V p = POLY(b, u, 0x1.282a16p-14f, -0x1.971c3cp-11f, 0x1.522d3ep-8f, -0x1.b7bbacp-6f, 0x1.ce2982p-4f,
               -0x1.81272ep-2f, 0x1.06eba8p-3f);
    V low = fma_(b, x, p, x);
    V q = POLY(b, at_most(b, a, 4.0f), -0x1.7866c6p-13f, 0x1.a7e2eep-9f, -0x1.6becccp-6f, 0x1.0ed1d4p-4f,
               -0x1.9d7804p-5f, -0x1.03d31ep-4f, -0x1.3c311cp-2f, 0x1.016846p+0f);
    q = mul(b, q, q);
    V high = fma_(b, neg(b, q), q, cst(b, 1.0f));
    return sel(b, clt(b, a, cst(b, 1.125f)), low, with_sign(b, high, sign_bit(b, x)));
}

// x/2 (1 + erf(x / sqrt 2)). The bound is on the absolute error, in ulps of x: the sum cancels for x < 0.
V expand_math_gelu(B *b, V x)
{
    x = at_least(b, x, -8.0f);
    V half = mul(b, x, cst(b, 0.5f));
    V e = expand_math_erf(b, mul(b, x, cst(b, 0x1.6a09e6p-1f)));
    return mul(b, half, add(b, e, cst(b, 1.0f)));
}

// exp(x) / 2 for 0 <= x <= 89.5
static V half_exp(B *b, V x)
{
    struct reduced a = reduce_ln2(b, x, 127 - 2);
    V p = exp_poly(b, a.r);
    return mul(b, add(b, p, p), power_of_two(b, a.shifted));
}

// |x| < 1: x + x^3 P(x^2), minimax, error 0.40
V expand_math_sinh(B *b, V x)
{
    V a = absf(b, x);
    V u = mul(b, x, x);
    V p = POLY(b, u, 0x1.ab3fdp-13f, 0x1.10f768p-7f, 0x1.555598p-3f);
    V low = fma_(b, mul(b, u, x), p, x);
    V h = half_exp(b, at_most(b, a, 89.5f));
    V high = sub(b, h, divi(b, cst(b, 0.25f), h));
    return sel(b, clt(b, a, cst(b, 1.0f)), low, with_sign(b, high, sign_bit(b, x)));
}

V expand_math_cosh(B *b, V x)
{
    V h = half_exp(b, at_most(b, absf(b, x), 89.5f));
    return add(b, h, divi(b, cst(b, 0.25f), h));
}
