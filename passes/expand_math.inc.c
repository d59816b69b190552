// Elementary functions on f32, written as sequences of the scalar operations that every target has.
//
// Each function below takes a builder and operands and returns the result; none branches, calls or loads, so a loop
// that applies one can be vectorised as it stands. Bounds on the error stand in EXPAND_MATH at the end of the file;
// they hold for all 2^32 arguments (pow: by sampling). An error is counted in units in the last place of the exact
// result (2^-149 where that is below 2^-126; 2^128 stands for infinity).
//
// Always: NaN gives NaN; a pole gives the infinity of IEEE 754, an argument outside the domain NaN; odd functions keep
// the sign of zero; results below 2^-126 are rounded to denormals, except in exp_flush.
//
// Operations used (`B` is the builder, `V` a value; all values are 32 bits wide, comparisons give i1):
//   cst(c), icst(c)                      f32 and i32 constants
//   add sub mul divi root fma_           f32; divi and root (square root) correctly rounded. fma_(x,y,z) = x*y + z with
//                                        one rounding, or two on a target without FMA: the bounds state both
//   neg absf rnd                         f32 sign bit (also of NaN); to the nearest even integer
//   ceq cne clt cle cgt cge              f32 comparisons, ordered (false where an operand is NaN)
//   iceq iult                            i32 comparisons: equal, unsigned less
//   band bor                             on i1
//   sel(c,x,y)                           x where c holds, else y
//   bits flt                             bit cast f32 -> i32, i32 -> f32
//   iadd isub imul iand ior ixor         i32, wrapping
//   ishl isar ishr                       i32 shift left, arithmetic right, logical right; by 0..31 only
//   umulh                                high half of the 64-bit product of two u32
//   toint tofloat                        f32 -> i32 (argument in range), i32 -> f32 (to nearest even)
//
// No operation here may be reassociated or contracted: the error terms rely on the order as written. Minimum and
// maximum are written sel(clt(x,c),c,x), which x86 has as one instruction and which passes NaN through.
//
// Coefficients: "minimax" means sollya's fpminimax with f32 coefficients; "refit" means an iteratively reweighted least
// squares fit (Lawson's method, tending to the uniform norm) in which the coefficients are rounded to f32 one after
// another, and the rest is fitted again. Errors are quoted as multiples of 2^-24, relative to the function, before any
// rounding in the evaluation.

#define INF __builtin_inff()
#define LEN(a) (int)(sizeof(a) / sizeof *(a))

// coefficients from the highest power down; the Horner form
static V polynomial(B *b, V x, const float *c, int n)
{
    V y = cst(b, c[0]);
    for (int i = 1; i < n; i++)
        y = fma_(b, y, x, cst(b, c[i]));
    return y;
}

#define POLY(b, x, ...) polynomial(b, x, (const float[]){__VA_ARGS__}, LEN(((const float[]){__VA_ARGS__})))

static V at_least(B *b, V x, float c)
{
    return sel(b, clt(b, x, cst(b, c)), cst(b, c), x);
}
static V at_most(B *b, V x, float c)
{
    return sel(b, cgt(b, x, cst(b, c)), cst(b, c), x);
}
static V sign_bit(B *b, V x)
{
    return iand(b, bits(b, x), icst(b, 0x80000000u));
}
// y, which is not negative, with the given sign bit
static V with_sign(B *b, V y, V sign)
{
    return flt(b, ior(b, bits(b, y), sign));
}
static V flip_sign(B *b, V y, V sign)
{
    return flt(b, ixor(b, bits(b, y), sign));
}
static V quiet_nan(B *b)
{
    return flt(b, icst(b, 0x7fc00000u));
}
// the upper 12 bits of the significand: the product of two such values is exact in f32
static V upper_half(B *b, V x)
{
    return flt(b, iand(b, bits(b, x), icst(b, 0xfffff000u)));
}

// ---------------------------------------------------------------------------------------------------- exponentials

#define LOG2E 0x1.715476p+0f
// ln 2 in two parts; the first has 15 bits, so its product with an integer below 512 is exact
#define LN2_HI 0x1.62e4p-1f
#define LN2_LO 0x1.7f7d1cp-20f
// Adding 1.5 * 2^23 rounds to an integer (to nearest even), which then stands in the low bits of the sum.
#define ROUNDER 12582912.0f

// x = n ln2 + r, |r| <= ln2 / 2. `shifted` holds n + bias in its low 22 bits.
typedef struct {
    V n, r, shifted;
} Reduced;

static Reduced reduce_ln2(B *b, V x, int bias)
{
    V magic = cst(b, ROUNDER + (float)bias);
    V t = fma_(b, x, cst(b, LOG2E), magic);
    V n = sub(b, t, magic);
    V r = fma_(b, n, cst(b, -LN2_HI), x);
    r = fma_(b, n, cst(b, -LN2_LO), r);
    return (Reduced){n, r, bits(b, t)};
}

// 2^n from the low bits n + 127 of `shifted`
static V power_of_two(B *b, V shifted)
{
    return flt(b, ishl(b, shifted, icst(b, 23)));
}

// p * 2^n, -151 <= n <= 129, from the low bits n + 254 of `shifted`: two factors, of which each is normal, so that only
// the last product rounds, overflows or is denormal.
static V scale(B *b, V p, V shifted)
{
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

static V math_exp(B *b, V x)
{
    x = at_most(b, at_least(b, x, -104.0f), 89.0f);
    Reduced a = reduce_ln2(b, x, 254);
    return scale(b, exp_poly(b, a.r), a.shifted);
}

// exp for softmax and attention, where a result below 2^-125.5 may be 0, at two thirds of the cost. The polynomial
// (minimax, error 1.6) is doubled, so that at n = 128 the product overflows only where exp does; at n = -126 the factor
// is +0.
static V math_exp_flush(B *b, V x)
{
    x = at_most(b, at_least(b, x, -0x1.5d589ep+6f), 89.0f);
    Reduced a = reduce_ln2(b, x, 126);
    V p = POLY(b, a.r, 0x1.0fa46cp-6f, 0x1.573ba8p-4f, 0x1.555a7ap-2f, 0x1.fffdc2p-1f, 0x1.fffff6p+0f, 2.0f);
    return mul(b, p, power_of_two(b, a.shifted));
}

// 2^r, |r| <= 0.5; minimax, error 0.061
static V exp2_poly(B *b, V r)
{
    return POLY(b, r, 0x1.3fa206p-13f, 0x1.5f0b82p-10f, 0x1.3b30ap-7f, 0x1.c6af76p-5f, 0x1.ebfbd8p-3f, 0x1.62e43p-1f,
                1.0f);
}

static V math_exp2(B *b, V x)
{
    x = at_most(b, at_least(b, x, -151.0f), 129.0f);
    V magic = cst(b, ROUNDER + 254);
    V t = add(b, x, magic);
    V r = sub(b, x, sub(b, t, magic));
    return scale(b, exp2_poly(b, r), bits(b, t));
}

// expm1(x) = 2^n expm1(r) + (2^n - 1), with all terms halved against overflow at n = 128. Below 2^-12 the result is x:
// this keeps -0 and the last bit of denormals. Minimax on r, error 0.23.
static V math_expm1(B *b, V x)
{
    V c = at_most(b, at_least(b, x, -18.0f), 89.0f);
    Reduced a = reduce_ln2(b, c, 126);
    V half = power_of_two(b, a.shifted);
    V q = POLY(b, a.r, 0x1.6b71a8p-10f, 0x1.1227c2p-7f, 0x1.555718p-5f, 0x1.5554bp-3f, 0x1.fffffep-2f);
    V p = fma_(b, mul(b, a.r, a.r), q, a.r);
    V y = fma_(b, p, half, sub(b, half, cst(b, 0.5f)));
    y = add(b, y, y);
    return sel(b, clt(b, absf(b, x), cst(b, 0x1p-25f)), x, y);
}

// 2^-24 / (2^-24 + exp(-x) 2^-24): the common factor lets the quotient run down through the denormals
static V math_sigmoid(B *b, V x)
{
    x = at_most(b, at_least(b, x, -104.5f), 60.0f);
    V magic = cst(b, ROUNDER + 127 - 24);
    V t = fma_(b, x, cst(b, -LOG2E), magic);
    V n = sub(b, t, magic);
    V r = fma_(b, n, cst(b, LN2_HI), x); // of the opposite sign: exp_poly(-r)
    r = fma_(b, n, cst(b, LN2_LO), r);
    V p = POLY(b, r, 0x1.6a5e34p-10f, -0x1.123adp-7f, 0x1.5558a2p-5f, -0x1.55549p-3f, 0x1.fffffcp-2f, -1.0f, 1.0f);
    V one = cst(b, 0x1p-24f);
    return divi(b, one, fma_(b, p, power_of_two(b, bits(b, t)), one));
}

// |x| < 0.55: x + x^3 P(x^2), minimax, error 0.62. Above: 1 - 1 / ((exp(2a) + 1) / 2), a = n ln2 / 2 + h; the
// polynomial for exp(2h) is exp_poly with its coefficients scaled.
static V math_tanh(B *b, V x)
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

// tanh at two thirds of the cost, with about three times the error: x P(x^2) / Q(x^2) on |x| <= 9.02, where tanh rounds
// to 1; refit of a rational approximation, error 0.1. All large coefficients are positive, so neither sum cancels.
static V math_tanh_fast(B *b, V x)
{
    x = at_most(b, at_least(b, x, -9.02f), 9.02f);
    V u = mul(b, x, x);
    V p = POLY(b, u, -0x1.ad311ap-37f, 0x1.06b822p-25f, 0x1.d5e3fap-16f, 0x1.fb07cep-9f, 0x1.182a3p-3f, 1.0f);
    V q = POLY(b, u, 0x1.5993e8p-20f, 0x1.9cff36p-12f, 0x1.be6576p-6f, 0x1.e16a6cp-2f, 1.0f);
    return at_most(b, at_least(b, divi(b, mul(b, x, p), q), -1.0f), 1.0f);
}

// |x| < 1.125: x + x P(x^2), refit, error 0.11. Above: 1 - Q(|x|)^4, where Q fits erfc^(1/4); refit, absolute error
// 0.15. Q runs to 4, where erf rounds to 1.
static V math_erf(B *b, V x)
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
static V math_gelu(B *b, V x)
{
    x = at_least(b, x, -8.0f);
    V half = mul(b, x, cst(b, 0.5f));
    V e = math_erf(b, mul(b, x, cst(b, 0x1.6a09e6p-1f)));
    return mul(b, half, add(b, e, cst(b, 1.0f)));
}

// exp(x) / 2 for 0 <= x <= 89.5
static V half_exp(B *b, V x)
{
    Reduced a = reduce_ln2(b, x, 127 - 2);
    V p = exp_poly(b, a.r);
    return mul(b, add(b, p, p), power_of_two(b, a.shifted));
}

// |x| < 1: x + x^3 P(x^2), minimax, error 0.40
static V math_sinh(B *b, V x)
{
    V a = absf(b, x);
    V u = mul(b, x, x);
    V p = POLY(b, u, 0x1.ab3fdp-13f, 0x1.10f768p-7f, 0x1.555598p-3f);
    V low = fma_(b, mul(b, u, x), p, x);
    V h = half_exp(b, at_most(b, a, 89.5f));
    V high = sub(b, h, divi(b, cst(b, 0.25f), h));
    return sel(b, clt(b, a, cst(b, 1.0f)), low, with_sign(b, high, sign_bit(b, x)));
}

static V math_cosh(B *b, V x)
{
    V h = half_exp(b, at_most(b, absf(b, x), 89.5f));
    return add(b, h, divi(b, cst(b, 0.25f), h));
}

// ------------------------------------------------------------------------------------------------------ logarithms

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

static V math_log(B *b, V x)
{
    V e;
    V p = log_poly(b, log_reduce(b, x, &e));
    return log_special(b, x, fma_(b, e, cst(b, LN2), p), 0.0f);
}

// A polynomial of its own, for log_poly times log2(e) would round twice; minimax, error 0.49.
static V math_log2(B *b, V x)
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

static V math_log1p(B *b, V x)
{
    V y = log_special(b, x, log1p_finite(b, x, NULL), -1.0f);
    return flt(b, ior(b, bits(b, y), sign_bit(b, x))); // -0
}

// log(1 + exp(x)) = max(x, 0) + log1p(exp(-|x|))
static V math_softplus(B *b, V x)
{
    V y = log1p_finite(b, math_exp(b, neg(b, absf(b, x))), NULL);
    return add(b, at_least(b, x, 0.0f), y);
}

// log1p(|x| + x^2 / (1 + sqrt(1 + x^2))); from 2^30 on, where the square will soon overflow, log|x| + ln2
static V math_asinh(B *b, V x)
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
static V math_acosh(B *b, V x)
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
static V math_atanh(B *b, V x)
{
    V a = absf(b, x);
    V t = divi(b, add(b, a, a), sub(b, cst(b, 1.0f), a));
    V y = mul(b, log1p_finite(b, t, NULL), cst(b, 0.5f));
    V special = sel(b, ceq(b, a, cst(b, 1.0f)), cst(b, INF), quiet_nan(b));
    return with_sign(b, sel(b, clt(b, a, cst(b, 1.0f)), y, special), sign_bit(b, x));
}

// ---------------------------------------------------------------------------------------------------- trigonometry

#define TWO_OVER_PI 0x1.45f306p-1f
#define PI_OVER_2 0x1.921fb6p+0f
#define PI_OVER_2_LO (-0x1.777a5cp-25f)
#define PI 0x1.921fb6p+1f
#define PI_LO (-0x1.777a5cp-24f)
// up to here a quotient by pi/2 has 13 bits, and its product with an 11-bit part of pi/2 is exact
#define CODY_WAITE_MAX 12867.0f

// a = q pi/2 + r + tail, |r| <= pi/4 (1 + 2^-10); the low two bits of q count.
typedef struct {
    V q, r, tail;
} Quadrant;

// For 0 <= a <= CODY_WAITE_MAX, by Cody and Waite's method. Only the third of the four subtractions rounds; the tail
// holds what it lost, less the fourth.
static Quadrant reduce_pio2(B *b, V a)
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
    return (Quadrant){bits(b, t), r, tail};
}

// The same for finite a >= 2^13, by Payne and Hanek's method: a = M 2^E with an integer M, and of the binary expansion
// of 2/pi only 96 bits matter: those above give multiples of 4 quadrants, those below less than 2^-62 of one.
static Quadrant reduce_pio2_large(B *b, V a)
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
    // to f32, without its sign: the leading 30 bits rounded, what that left over, 24 bits more
    V sign = isar(b, hi, icst(b, 31));
    hi = ixor(b, hi, sign);
    lo = ixor(b, lo, sign);
    V f = tofloat(b, hi);
    V rest = tofloat(b, isub(b, hi, toint(b, f)));
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
    return (Quadrant){q, flip_sign(b, r, sign), flip_sign(b, tail, sign)};
}

// Any a >= 0. Both ways are computed; NaN for inf and NaN.
static Quadrant reduce_pio2_any(B *b, V a)
{
    V small = clt(b, a, cst(b, CODY_WAITE_MAX));
    Quadrant s = reduce_pio2(b, a), l = reduce_pio2_large(b, a);
    V r = add(b, sel(b, small, s.r, l.r), sub(b, a, a));
    return (Quadrant){sel(b, small, s.q, l.q), r, sel(b, small, s.tail, l.tail)};
}

// the sine of (q + ahead) pi/2 + r + tail, its sign flipped by `sign`; minimax, errors 0.067 (sine), 0.002 (cosine)
static V sine_of(B *b, Quadrant a, bool ahead, V sign)
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
static V tangent_of(B *b, Quadrant a, V sign)
{
    V u = mul(b, a.r, a.r);
    V t = POLY(b, u, 0x1.33ba98p-7f, 0x1.97984ep-9f, 0x1.906004p-6f, 0x1.b5873p-5f, 0x1.112dep-3f, 0x1.5554dep-2f);
    V tail = fma_(b, a.tail, u, a.tail); // times 1 + tan^2, about
    t = add(b, a.r, fma_(b, mul(b, u, a.r), t, tail));
    V even = iceq(b, iand(b, a.q, icst(b, 1)), icst(b, 0));
    return flip_sign(b, sel(b, even, t, divi(b, cst(b, -1.0f), t)), sign);
}

static V math_sin(B *b, V x)
{
    return sine_of(b, reduce_pio2_any(b, absf(b, x)), false, sign_bit(b, x));
}
static V math_cos(B *b, V x)
{
    return sine_of(b, reduce_pio2_any(b, absf(b, x)), true, icst(b, 0));
}
static V math_tan(B *b, V x)
{
    return tangent_of(b, reduce_pio2_any(b, absf(b, x)), sign_bit(b, x));
}

// For arguments known to lie within CODY_WAITE_MAX; anything above gives garbage.
static V math_sin_bounded(B *b, V x)
{
    return sine_of(b, reduce_pio2(b, absf(b, x)), false, sign_bit(b, x));
}
static V math_cos_bounded(B *b, V x)
{
    return sine_of(b, reduce_pio2(b, absf(b, x)), true, icst(b, 0));
}
static V math_tan_bounded(B *b, V x)
{
    return tangent_of(b, reduce_pio2(b, absf(b, x)), sign_bit(b, x));
}

// |x| <= 1: x + x^3 P(x^2), minimax, error 0.28; above: pi/2 - atan(1/x)
static V math_atan(B *b, V x)
{
    V a = absf(b, x);
    V inverse = cgt(b, a, cst(b, 1.0f));
    V t = sel(b, inverse, divi(b, cst(b, -1.0f), a), a);
    V u = mul(b, t, t);
    V p = POLY(b, u, 0x1.7ec1c4p-9f, -0x1.0c23fep-6f, 0x1.61f756p-5f, -0x1.3553f4p-4f, 0x1.b4dfdcp-4f, -0x1.230abp-3f,
               0x1.9978eep-3f, -0x1.5554dcp-2f);
    p = fma_(b, mul(b, u, t), p, t);
    V y = sel(b, inverse, add(b, add(b, p, cst(b, PI_OVER_2_LO)), cst(b, PI_OVER_2)), p);
    return with_sign(b, y, sign_bit(b, x));
}

// (asin(t) - t) / t for t^2 = u, |t| <= 0.5; minimax, error 0.08
static V asin_poly(B *b, V u)
{
    return mul(b, u, POLY(b, u, 0x1.596a7ep-5f, 0x1.8c30b4p-6f, 0x1.747cbep-5f, 0x1.3301fep-4f, 0x1.5555c8p-3f));
}

// |x| <= 1/2 directly; above: pi/2 - 2 asin(t), t = sqrt((1 - |x|) / 2)
static V math_asin(B *b, V x)
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
static V math_acos(B *b, V x)
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

// ----------------------------------------------------------------------------------------------------------- powers

static V math_rsqrt(B *b, V x)
{
    return divi(b, cst(b, 1.0f), root(b, x));
}

// 2^(y log2|x|). log2|x| is computed as an unevaluated sum of two f32 (error about 2^-35), after the method of fdlibm's
// e_pow.c: with s = (m - 1) / (m + 1), 3 atanh(s) = s (3 + s^2 + r(s^2)). Every product whose rounding error would
// matter has factors of 12 bits and is exact, so FMA is not needed.
static V math_pow(B *b, V x, V y)
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
    V result = scale(b, exp2_poly(b, frac), bits(b, t));

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

// ------------------------------------------------------------------------------------------------------------ table

// X(name, arity, function, error bound in ulp with FMA, without)
#define EXPAND_MATH(X)                                                                                                 \
    X(exp, 1, math_exp, 0.9, 1.2)                                                                                      \
    X(exp_flush, 1, math_exp_flush, 2.0, 2.3)                                                                          \
    X(exp2, 1, math_exp2, 0.9, 1.1)                                                                                    \
    X(expm1, 1, math_expm1, 1.6, 1.7)                                                                                  \
    X(sigmoid, 1, math_sigmoid, 2.5, 2.5)                                                                              \
    X(tanh, 1, math_tanh, 1.6, 1.6)                                                                                    \
    X(tanh_fast, 1, math_tanh_fast, 4.9, 6.3)                                                                          \
    X(erf, 1, math_erf, 1.4, 1.6)                                                                                      \
    X(gelu, 1, math_gelu, 1.6, 1.6)                                                                                    \
    X(sinh, 1, math_sinh, 1.7, 1.7)                                                                                    \
    X(cosh, 1, math_cosh, 1.4, 1.6)                                                                                    \
    X(log, 1, math_log, 1.1, 1.3)                                                                                      \
    X(log2, 1, math_log2, 1.9, 2.3)                                                                                    \
    X(log1p, 1, math_log1p, 1.9, 2.0)                                                                                  \
    X(softplus, 1, math_softplus, 2.3, 2.4)                                                                            \
    X(asinh, 1, math_asinh, 2.2, 2.3)                                                                                  \
    X(acosh, 1, math_acosh, 2.8, 2.7)                                                                                  \
    X(atanh, 1, math_atanh, 2.4, 2.6)                                                                                  \
    X(sin, 1, math_sin, 1.7, 2.0)                                                                                      \
    X(cos, 1, math_cos, 1.8, 2.0)                                                                                      \
    X(tan, 1, math_tan, 2.1, 2.8)                                                                                      \
    X(atan, 1, math_atan, 1.6, 1.8)                                                                                    \
    X(asin, 1, math_asin, 2.4, 2.5)                                                                                    \
    X(acos, 1, math_acos, 1.2, 1.2)                                                                                    \
    X(rsqrt, 1, math_rsqrt, 1.5, 1.5)                                                                                  \
    X(pow, 2, math_pow, 1.1, 1.4)

// the same, for |x| <= CODY_WAITE_MAX
#define EXPAND_MATH_BOUNDED(X)                                                                                         \
    X(sin_bounded, 1, math_sin_bounded, 1.4, 1.7)                                                                      \
    X(cos_bounded, 1, math_cos_bounded, 1.4, 1.7)                                                                      \
    X(tan_bounded, 1, math_tan_bounded, 2.1, 2.0)
