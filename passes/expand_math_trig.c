// Sine, cosine, tangent and their inverses.
#include "passes/expand_math_functions.h"

#define TWO_OVER_PI 0x1.45f306p-1f
#define PI_OVER_2 0x1.921fb6p+0f
#define PI_OVER_2_LO (-0x1.777a5cp-25f)
#define PI 0x1.921fb6p+1f
#define PI_LO (-0x1.777a5cp-24f)
// up to here a quotient by pi/2 has 13 bits, and its product with an 11-bit part of pi/2 is exact
#define CODY_WAITE_MAX 12867.0f

// a = q pi/2 + r + tail, |r| <= pi/4 (1 + 2^-10); the low two bits of q count.
struct quadrant {
    V q, r, tail;
};

// For 0 <= a <= CODY_WAITE_MAX, by Cody and Waite's method. Only the third of the four subtractions rounds; the tail
// holds what it lost, less the fourth.
static struct quadrant reduce_pio2(B *b, V a)
{
    V magic = cst(b, ROUNDER);
    V t = fma_(b, a, cst(b, TWO_OVER_PI), magic);
    V n = sub(b, t, magic);
    V head = fma_(b, n, cst(b, -0x1.92p+0f), a);
    head = fma_(b, n, cst(b, -0x1.fb4p-12f), head);
    V third = cst(b, -0x1.444p-24f);
    V r = fma_(b, n, third, head);
    V tail = fma_(b, n, third, sub(b, head, r));
    tail = fma_(b, n, cst(b, -0x1.68c234p-39f), tail);
    return (struct quadrant){bits(b, t), r, tail};
}

// The same for finite a >= 2^13, by Payne and Hanek's method: a = M 2^E with an integer M, and of the binary expansion
// of 2/pi only 96 bits matter: those above give multiples of 4 quadrants, those below less than 2^-62 of one.
static struct quadrant reduce_pio2_large(B *b, V a)
{
    // 2/pi behind 12 zero bits, so that the window for an exponent field of 140 (2^13) starts at bit 0
    static const uint32_t two_over_pi[7] = {0x000a2f98, 0x36e4e441, 0x529fc275, 0x7d1f534d,
                                            0xdc0db629, 0x5993c439, 0x041fe516};
    V ia = bits(b, a);
    V m = ior(b, iand(b, ia, icst(b, 0x7fffff)), icst(b, 0x800000));
    V pos = isub(b, ishr(b, ia, icst(b, 23)), icst(b, 140));
    // four words from word pos / 32 on: 0..3
    V zero = icst(b, 0);
    V even = iceq(b, iand(b, pos, icst(b, 32)), zero);
    V near = iceq(b, iand(b, pos, icst(b, 64)), zero);
    V w[6], h[3];
    for (int i = 0; i < 6; i++)
        w[i] = sel(b, even, icst(b, two_over_pi[i]), icst(b, two_over_pi[i + 1]));
    for (int i = 0; i < 4; i++)
        w[i] = sel(b, near, w[i], w[i + 2]);
    V left = iand(b, pos, icst(b, 31));
    V right = ixor(b, left, icst(b, 31));
    for (int i = 0; i < 3; i++)
        h[i] = ior(b, ishl(b, w[i], left), ishr(b, ishr(b, w[i + 1], icst(b, 1)), right));
    // quadrants, as a fixed point number with 30 + 32 bits after the point
    V mid = imul(b, m, h[1]);
    V lo = iadd(b, mid, umulh(b, m, h[2]));
    V carry = sel(b, iult(b, lo, mid), icst(b, 1), zero);
    V hi = iadd(b, iadd(b, imul(b, m, h[0]), umulh(b, m, h[1])), carry);
    V q = ishr(b, iadd(b, hi, icst(b, 1u << 29)), icst(b, 30));
    hi = isub(b, hi, ishl(b, q, icst(b, 30)));
    // to f32, without its sign: the leading 24 bits, the rest of the word, 24 bits more
    V sign = isar(b, hi, icst(b, 31));
    hi = ixor(b, hi, sign);
    lo = ixor(b, lo, sign);
    V f = tofloat(b, iand(b, hi, icst(b, 0xffffffc0u)));
    V rest = tofloat(b, iand(b, hi, icst(b, 0x3fu)));
    rest = fma_(b, tofloat(b, ishr(b, lo, icst(b, 8))), cst(b, 0x1p-24f), rest);
    V s = add(b, f, rest);
    rest = sub(b, rest, sub(b, s, f));
    // times pi/2; without FMA the rounding error of r is lost
    V factor = cst(b, PI_OVER_2 * 0x1p-30f);
    V r = mul(b, s, factor);
    V tail = fma_(b, s, factor, neg(b, r));
    tail = fma_(b, s, cst(b, PI_OVER_2_LO * 0x1p-30f), tail);
    tail = fma_(b, rest, factor, tail);
    sign = iand(b, sign, icst(b, 0x80000000u));
    return (struct quadrant){q, flip_sign(b, r, sign), flip_sign(b, tail, sign)};
}

// Any a >= 0. Both ways are computed; NaN for inf and NaN.
static struct quadrant reduce_pio2_any(B *b, V a)
{
    V small = clt(b, a, cst(b, CODY_WAITE_MAX));
    struct quadrant s = reduce_pio2(b, a), l = reduce_pio2_large(b, a);
    V r = add(b, sel(b, small, s.r, l.r), sub(b, a, a));
    return (struct quadrant){sel(b, small, s.q, l.q), r, sel(b, small, s.tail, l.tail)};
}

// the sine of (q + ahead) pi/2 + r + tail, its sign flipped by `sign`; minimax, errors 0.067 (sine), 0.002 (cosine)
static V sine_of(B *b, struct quadrant a, bool ahead, V sign)
{
    V u = mul(b, a.r, a.r);
    V s = POLY(b, u, -0x1.9953fep-13f, 0x1.110778p-7f, -0x1.555546p-3f);
    s = add(b, a.r, fma_(b, mul(b, u, a.r), s, a.tail));
    V c = POLY(b, u, 0x1.99e90ep-16f, -0x1.6c0c2ap-10f, 0x1.55554ap-5f, -0.5f, 1.0f);
    V q = ahead ? iadd(b, a.q, icst(b, 1)) : a.q;
    V even = iceq(b, iand(b, q, icst(b, 1)), icst(b, 0));
    V negate = iand(b, ishl(b, q, icst(b, 30)), icst(b, 0x80000000u));
    return flip_sign(b, sel(b, even, s, c), ixor(b, negate, sign));
}

// minimax, error 0.30
static V tangent_of(B *b, struct quadrant a, V sign)
{
    V u = mul(b, a.r, a.r);
    V t = POLY(b, u, 0x1.33ba98p-7f, 0x1.97984ep-9f, 0x1.906004p-6f, 0x1.b5873p-5f, 0x1.112dep-3f, 0x1.5554dep-2f);
    V tail = fma_(b, a.tail, u, a.tail); // times 1 + tan^2, about
    t = add(b, a.r, fma_(b, mul(b, u, a.r), t, tail));
    V even = iceq(b, iand(b, a.q, icst(b, 1)), icst(b, 0));
    return flip_sign(b, sel(b, even, t, divi(b, cst(b, -1.0f), t)), sign);
}

V expand_math_sin(B *b, V x)
{
    return sine_of(b, reduce_pio2_any(b, absf(b, x)), false, sign_bit(b, x));
}
V expand_math_cos(B *b, V x)
{
    return sine_of(b, reduce_pio2_any(b, absf(b, x)), true, icst(b, 0));
}
V expand_math_tan(B *b, V x)
{
    return tangent_of(b, reduce_pio2_any(b, absf(b, x)), sign_bit(b, x));
}

// atan(t), |t| <= 1: t + t^3 P(t^2), minimax, error 0.28
static V atan_poly(B *b, V t)
{
    V u = mul(b, t, t);
    V p = POLY(b, u, 0x1.7ec1c4p-9f, -0x1.0c23fep-6f, 0x1.61f756p-5f, -0x1.3553f4p-4f, 0x1.b4dfdcp-4f, -0x1.230abp-3f,
               0x1.9978eep-3f, -0x1.5554dcp-2f);
    return fma_(b, mul(b, u, t), p, t);
}

// |x| > 1: pi/2 - atan(1/x)
V expand_math_atan(B *b, V x)
{
    V a = absf(b, x);
    V inverse = cgt(b, a, cst(b, 1.0f));
    V p = atan_poly(b, sel(b, inverse, divi(b, cst(b, -1.0f), a), a));
    V y = sel(b, inverse, add(b, add(b, p, cst(b, PI_OVER_2_LO)), cst(b, PI_OVER_2)), p);
    return with_sign(b, y, sign_bit(b, x));
}

// The angle of the point (x, y), its sign that of y: base + side * atan(t), with t the quotient of the smaller of |x|
// and |y| by the larger.
V expand_math_atan2(B *b, V y, V x)
{
    V zero = cst(b, 0.0f);
    V ax = absf(b, x), ay = absf(b, y), sign = sign_bit(b, x);
    V steep = cgt(b, ay, ax);
    V least = sel(b, steep, ax, ay), most = sel(b, steep, ay, ax);
    // 0 of two zeros, 1 of two infinities
    V t = sel(b, ceq(b, least, most), sel(b, ceq(b, most, zero), zero, cst(b, 1.0f)), divi(b, least, most));
    V right = iceq(b, sign, icst(b, 0));
    V hi = sel(b, steep, cst(b, PI_OVER_2), sel(b, right, zero, cst(b, PI)));
    V lo = sel(b, steep, cst(b, PI_OVER_2_LO), sel(b, right, zero, cst(b, PI_LO)));
    V side = ixor(b, sel(b, steep, icst(b, 0x80000000u), icst(b, 0)), sign);
    V p = flip_sign(b, atan_poly(b, t), side);
    return with_sign(b, add(b, hi, add(b, p, lo)), sign_bit(b, y));
}

// (asin(t) - t) / t for t^2 = u, |t| <= 0.5; minimax, error 0.08
static V asin_poly(B *b, V u)
{
    return mul(b, u, POLY(b, u, 0x1.596a7ep-5f, 0x1.8c30b4p-6f, 0x1.747cbep-5f, 0x1.3301fep-4f, 0x1.5555c8p-3f));
}

// |x| <= 1/2 directly; above: pi/2 - 2 asin(t), t = sqrt((1 - |x|) / 2)
V expand_math_asin(B *b, V x)
{
    V a = absf(b, x);
    V half = cst(b, 0.5f);
    V large = cgt(b, a, half);
    V w = fma_(b, a, cst(b, -0.5f), half);
    V u = sel(b, large, w, mul(b, a, a));
    V t = sel(b, large, root(b, w), a);
    V p = fma_(b, t, asin_poly(b, u), t);
    V high = sub(b, cst(b, PI_OVER_2), fma_(b, p, cst(b, 2.0f), cst(b, -PI_OVER_2_LO)));
    return with_sign(b, sel(b, large, high, p), sign_bit(b, x));
}

// |x| <= 1/2: pi/2 - asin(x); above: 2 asin(t), or pi minus that for x < 0
V expand_math_acos(B *b, V x)
{
    V a = absf(b, x);
    V half = cst(b, 0.5f), zero = cst(b, 0.0f);
    V large = cgt(b, a, half);
    V w = fma_(b, a, cst(b, -0.5f), half);
    V u = sel(b, large, w, mul(b, a, a));
    V t = sel(b, large, root(b, w), a);
    V p = fma_(b, t, asin_poly(b, u), t);
    p = sel(b, large, add(b, p, p), p);
    // base + side * p, with the constants' low parts added to p first
    V negative = clt(b, x, zero);
    V hi = sel(b, large, sel(b, negative, cst(b, PI), zero), cst(b, PI_OVER_2));
    V lo = sel(b, large, sel(b, negative, cst(b, PI_LO), zero), cst(b, PI_OVER_2_LO));
    V minus = sel(b, large, icst(b, 0x80000000u), icst(b, 0));
    p = flip_sign(b, p, ixor(b, ixor(b, minus, sign_bit(b, x)), icst(b, 0x80000000u)));
    return add(b, hi, add(b, p, lo));
}
