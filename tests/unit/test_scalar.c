// Scalar operations against plain C.
#include "ir/scalar.h"
#include "tests/unit/suite.h"

#include <math.h>
#include <stdlib.h>

// ck_assert costs too much in the innermost loops.
#define EXPECT(condition, ...)                                                                                         \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            ck_abort_msg(__VA_ARGS__);                                                                                 \
    } while (0)

static union scalar of_int(int64_t i)
{
    return (union scalar){.i = i};
}

static union scalar of_float(double f)
{
    return (union scalar){.f = f};
}

static int64_t eval_i(enum opcode code, enum dtype t, int64_t a, int64_t b)
{
    return scalar_eval(code, t, of_int(a), of_int(b), of_int(0)).i;
}

static double eval_f(enum opcode code, enum dtype t, double a, double b, double c)
{
    return scalar_eval(code, t, of_float(a), of_float(b), of_float(c)).f;
}

static bool compares(enum opcode code)
{
    return op_info[code].types == SCALAR_TYPES_C || op_info[code].types == SCALAR_TYPES_D;
}

static bool same_float(double a, double b)
{
    return isnan(a) ? isnan(b) != 0 : a == b && !signbit(a) == !signbit(b);
}

// ---- Integers --------------------------------------------------------------------------------------------------

// Every pair of 8-bit numbers; the reference works in int, where nothing overflows.
static int reference_8(enum opcode code, int a, int b)
{
    int quotient = b ? a / b : 0, rem = b ? a % b : 0;
    bool down = rem && (a < 0) != (b < 0), up = rem && (a < 0) == (b < 0);
    unsigned count = (unsigned)b & 255;
    switch (code) {
    case OP_ADD:
        return a + b;
    case OP_SUB:
        return a - b;
    case OP_MUL:
        return a * b;
    case OP_DIV:
        return quotient;
    case OP_REM:
        return rem;
    case OP_FLOORDIV:
        return quotient - down;
    case OP_CEILDIV:
        return quotient + up;
    case OP_MOD:
        return down ? rem + b : rem;
    case OP_MAX:
        return a > b ? a : b;
    case OP_MIN:
        return a < b ? a : b;
    case OP_AND:
        return a & b;
    case OP_OR:
        return a | b;
    case OP_XOR:
        return a ^ b;
    case OP_NOT:
        return ~a;
    case OP_NEG:
        return -a;
    case OP_ABS:
        return a < 0 ? -a : a;
    case OP_SIGN:
        return (a > 0) - (a < 0);
    case OP_RELU:
        return a < 0 ? 0 : a;
    case OP_IDENTITY:
        return a;
    case OP_SHL:
        return count < 8 ? a * (1 << count) : 0;
    case OP_SHR:
        return (int)floor(ldexp(a, count < 8 ? -(int)count : -8));
    case OP_EQ:
        return a == b;
    case OP_NE:
        return a != b;
    case OP_LT:
        return a < b;
    case OP_LE:
        return a <= b;
    case OP_GT:
        return a > b;
    case OP_GE:
        return a >= b;
    default:
        ck_abort_msg("no reference for %s", op_info[code].name);
    }
    return 0;
}

START_TEST(integers_of_8_bits)
{
    for (int s = 0; s < 2; s++) {
        enum dtype t = s ? DTYPE_I8 : DTYPE_U8;
        int first = s ? -128 : 0;
        for (int code = 0; code < SCALAR_COUNT; code++) {
            if (!scalar_is_defined((enum opcode)code, t) || code == OP_SELECT)
                continue;
            for (int a = first; a < first + 256; a++)
                for (int b = first; b < first + 256; b++) {
                    int want = reference_8((enum opcode)code, a, b);
                    if (!compares((enum opcode)code))
                        want = s ? (int8_t)want : (uint8_t)want;
                    int64_t have = eval_i((enum opcode)code, t, a, b);
                    EXPECT(have == want, "%s %d, %d of %s: %lld, not %d", op_info[code].name, a, b, dtype_info[t].name,
                           (long long)have, want);
                }
        }
    }
}
END_TEST

START_TEST(integers_of_64_bits)
{
    const int64_t least = INT64_MIN, most = INT64_MAX;
    ck_assert_int_eq(eval_i(OP_DIV, DTYPE_I64, least, -1), least);
    ck_assert_int_eq(eval_i(OP_REM, DTYPE_I64, least, -1), 0);
    ck_assert_int_eq(eval_i(OP_FLOORDIV, DTYPE_INDEX, least, -1), least);
    ck_assert_int_eq(eval_i(OP_CEILDIV, DTYPE_INDEX, least, -1), least);
    ck_assert_int_eq(eval_i(OP_MOD, DTYPE_INDEX, least, -1), 0);
    ck_assert_int_eq(eval_i(OP_FLOORDIV, DTYPE_INDEX, -7, 2), -4);
    ck_assert_int_eq(eval_i(OP_CEILDIV, DTYPE_INDEX, 7, 2), 4);
    ck_assert_int_eq(eval_i(OP_MOD, DTYPE_INDEX, -7, 4), 1);
    ck_assert_int_eq(eval_i(OP_MOD, DTYPE_INDEX, 7, -4), -1);
    ck_assert_int_eq(eval_i(OP_ABS, DTYPE_I64, least, 0), least);
    ck_assert_int_eq(eval_i(OP_NEG, DTYPE_I64, least, 0), least);
    ck_assert_int_eq(eval_i(OP_ADD, DTYPE_I64, most, 1), least);
    ck_assert_int_eq(eval_i(OP_MUL, DTYPE_I64, most, 2), -2);
    ck_assert_int_eq(eval_i(OP_SHR, DTYPE_I64, least, 63), -1);
    ck_assert_int_eq(eval_i(OP_SHR, DTYPE_I64, least, 64), -1);
    ck_assert_int_eq(eval_i(OP_SHR, DTYPE_I64, most, -1), 0);
    ck_assert_int_eq(eval_i(OP_SHL, DTYPE_I64, 1, 63), least);
    ck_assert_int_eq(eval_i(OP_SHL, DTYPE_I64, 1, 64), 0);
    // Unsigned: -1 is the greatest number.
    ck_assert_int_eq(eval_i(OP_DIV, DTYPE_U64, -1, 2), most);
    ck_assert_int_eq(eval_i(OP_CEILDIV, DTYPE_U64, -1, 2), least);
    ck_assert_int_eq(eval_i(OP_FLOORDIV, DTYPE_U64, -1, 2), most);
    ck_assert_int_eq(eval_i(OP_REM, DTYPE_U64, -1, 10), 5);
    ck_assert_int_eq(eval_i(OP_MOD, DTYPE_U64, -1, 10), 5);
    ck_assert_int_eq(eval_i(OP_LT, DTYPE_U64, 1, -1), 1);
    ck_assert_int_eq(eval_i(OP_MAX, DTYPE_U64, 1, -1), -1);
    ck_assert_int_eq(eval_i(OP_SHR, DTYPE_U64, -1, 63), 1);
    ck_assert_int_eq(eval_i(OP_ABS, DTYPE_U64, -1, 0), -1);
    ck_assert_int_eq(eval_i(OP_SIGN, DTYPE_U64, -1, 0), 1);
    ck_assert_int_eq(eval_i(OP_RELU, DTYPE_U64, -1, 0), -1);
    ck_assert_int_eq(eval_i(OP_MUL, DTYPE_U32, 0xffffffff, 0xffffffff), 1);
    ck_assert_int_eq(eval_i(OP_ADD, DTYPE_I16, 32767, 1), -32768);
}
END_TEST

START_TEST(booleans)
{
    for (int a = 0; a < 2; a++) {
        ck_assert_int_eq(eval_i(OP_NOT, DTYPE_I1, a, 0), !a);
        for (int b = 0; b < 2; b++) {
            ck_assert_int_eq(eval_i(OP_AND, DTYPE_I1, a, b), a && b);
            ck_assert_int_eq(eval_i(OP_OR, DTYPE_I1, a, b), a || b);
            ck_assert_int_eq(eval_i(OP_XOR, DTYPE_I1, a, b), a != b);
            ck_assert_int_eq(eval_i(OP_LT, DTYPE_I1, a, b), a < b);
            ck_assert_int_eq(eval_i(OP_GE, DTYPE_I1, a, b), a >= b);
        }
    }
}
END_TEST

// ---- Floats ----------------------------------------------------------------------------------------------------

static float random_float(void)
{
    uint32_t bits = (uint32_t)rand() << 16 ^ (uint32_t)rand();
    return (float)dtype_from_bits(DTYPE_F32, bits).f;
}

START_TEST(f32_is_that_of_c)
{
    srand(1);
    for (int i = 0; i < 200000; i++) {
        float a = random_float(), b = random_float(), c = random_float();
        if (i % 2) { // of like sizes
            a = (float)rand() / (float)RAND_MAX;
            b = (float)rand() / (float)RAND_MAX;
            c = -a * b;
        }
        EXPECT(same_float(eval_f(OP_ADD, DTYPE_F32, a, b, 0), a + b), "add of %a, %a", a, b);
        EXPECT(same_float(eval_f(OP_SUB, DTYPE_F32, a, b, 0), a - b), "sub of %a, %a", a, b);
        EXPECT(same_float(eval_f(OP_MUL, DTYPE_F32, a, b, 0), a * b), "mul of %a, %a", a, b);
        EXPECT(same_float(eval_f(OP_DIV, DTYPE_F32, a, b, 0), a / b), "div of %a, %a", a, b);
        EXPECT(same_float(eval_f(OP_REM, DTYPE_F32, a, b, 0), fmodf(a, b)), "rem of %a, %a", a, b);
        EXPECT(same_float(eval_f(OP_SQRT, DTYPE_F32, a, 0, 0), sqrtf(a)), "sqrt of %a, %a", a, b);
        EXPECT(same_float(eval_f(OP_FMA, DTYPE_F32, a, b, c), fmaf(a, b, c)), "fma of %a, %a", a, b);
        EXPECT(same_float(eval_f(OP_ROUND, DTYPE_F32, a, 0, 0), rintf(a)), "round of %a, %a", a, b);
        EXPECT(scalar_eval(OP_LT, DTYPE_F32, of_float(a), of_float(b), of_int(0)).i == (a < b), "lt");
        EXPECT(scalar_eval(OP_NE, DTYPE_F32, of_float(a), of_float(b), of_int(0)).i == (a != b), "ne");
    }
}
END_TEST

START_TEST(fma_rounds_once)
{
    double a = 1 + ldexp(1, -12), c = -1 - ldexp(1, -11);
    ck_assert(eval_f(OP_FMA, DTYPE_F32, a, a, c) == ldexp(1, -24));
    a = 1 + ldexp(1, -30);
    c = -1 - ldexp(1, -29);
    ck_assert(eval_f(OP_FMA, DTYPE_F64, a, a, c) == ldexp(1, -60));
}
END_TEST

START_TEST(nan_in_max_and_maximum)
{
    const enum dtype t = DTYPE_F32;
    ck_assert(eval_f(OP_MAX, t, NAN, 2, 0) == 2);
    ck_assert(isnan(eval_f(OP_MAX, t, 2, NAN, 0)));
    ck_assert(eval_f(OP_MIN, t, NAN, 2, 0) == 2);
    ck_assert(isnan(eval_f(OP_MAXIMUM, t, NAN, 2, 0)) && isnan(eval_f(OP_MAXIMUM, t, 2, NAN, 0)));
    ck_assert(isnan(eval_f(OP_MINIMUM, t, NAN, 2, 0)) && isnan(eval_f(OP_MINIMUM, t, 2, NAN, 0)));
    ck_assert(!signbit(eval_f(OP_MAXIMUM, t, -0.0, 0.0, 0)) && !signbit(eval_f(OP_MAXIMUM, t, 0.0, -0.0, 0)));
    ck_assert(signbit(eval_f(OP_MINIMUM, t, -0.0, 0.0, 0)) && signbit(eval_f(OP_MINIMUM, t, 0.0, -0.0, 0)));
    ck_assert(eval_f(OP_MAXIMUM, t, 3, 5, 0) == 5 && eval_f(OP_MINIMUM, t, 3, 5, 0) == 3);
    ck_assert(isnan(eval_f(OP_RELU, t, NAN, 0, 0)) && isnan(eval_f(OP_SIGN, t, NAN, 0, 0)));
    ck_assert_int_eq(scalar_eval(OP_ISNAN, t, of_float(NAN), of_int(0), of_int(0)).i, 1);
    ck_assert_int_eq(scalar_eval(OP_ISINF, t, of_float(-INFINITY), of_int(0), of_int(0)).i, 1);
    ck_assert_int_eq(scalar_eval(OP_ISINF, t, of_float(1), of_int(0), of_int(0)).i, 0);
    ck_assert_int_eq(scalar_eval(OP_EQ, t, of_float(NAN), of_float(NAN), of_int(0)).i, 0);
    ck_assert_int_eq(scalar_eval(OP_NE, t, of_float(NAN), of_float(NAN), of_int(0)).i, 1);
}
END_TEST

START_TEST(activations)
{
    for (double x = -30; x <= 30; x += 0.125) {
        double sigmoid = 1 / (1 + exp(-x));
        ck_assert_double_eq_tol(eval_f(OP_SIGMOID, DTYPE_F64, x, 0, 0), sigmoid, 1e-15);
        ck_assert_double_eq_tol(eval_f(OP_SILU, DTYPE_F64, x, 0, 0), x * sigmoid, 1e-13);
        ck_assert_double_eq_tol(eval_f(OP_SOFTPLUS, DTYPE_F64, x, 0, 0), log(1 + exp(x)), 1e-13);
        ck_assert_double_eq_tol(eval_f(OP_GELU, DTYPE_F64, x, 0, 0), x / 2 * (1 + erf(x / sqrt(2))), 1e-13);
    }
    ck_assert(eval_f(OP_SOFTPLUS, DTYPE_F64, 1e4, 0, 0) == 1e4);
    ck_assert(eval_f(OP_SIGMOID, DTYPE_F32, -1e30, 0, 0) == 0);
    ck_assert(eval_f(OP_RSQRT, DTYPE_F32, 4, 0, 0) == 0.5);
}
END_TEST

// ---- All rows --------------------------------------------------------------------------------------------------

static const double floats[] = {0.0,   -0.0, 1,    -1,    0.5,   3,        -7.25,     448,
                                65504, 1e-8, 1e30, -1e30, 1e300, INFINITY, -INFINITY, NAN};
static const int64_t ints[] = {0,   1,   -1,  2,     7,         -7,        63,        64,
                               127, 128, 255, 65535, INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN};
#define EDGES 16

static union scalar edge(enum dtype t, int i)
{
    return dtype_is_float(t) ? of_float(dtype_round(t, floats[i])) : of_int(dtype_wrap(t, ints[i]));
}

static bool in_type(enum dtype t, union scalar x)
{
    return dtype_is_float(t) ? same_float(dtype_round(t, x.f), x.f) : dtype_wrap(t, x.i) == x.i;
}

START_TEST(results_lie_in_their_type)
{
    for (int code = 0; code < SCALAR_COUNT; code++)
        for (int t = 0; t < DTYPE_COUNT; t++)
            for (int i = 0; scalar_is_defined((enum opcode)code, (enum dtype)t) && i < EDGES * EDGES; i++) {
                union scalar a = edge((enum dtype)t, i % EDGES), b = edge((enum dtype)t, i / EDGES);
                union scalar c = edge((enum dtype)t, i % 7);
                if (code == OP_SELECT)
                    a = of_int(i & 1);
                union scalar x = scalar_eval((enum opcode)code, (enum dtype)t, a, b, c);
                enum dtype result = compares((enum opcode)code) ? DTYPE_I1 : (enum dtype)t;
                EXPECT(in_type(result, x), "%s of %s", op_info[code].name, dtype_info[t].name);
            }
}
END_TEST

static bool same(enum dtype t, union scalar a, union scalar b)
{
    return dtype_is_float(t) ? (isnan(a.f) && isnan(b.f)) || a.f == b.f : a.i == b.i;
}

START_TEST(identities_are_neutral)
{
    for (int code = 0; code < SCALAR_COUNT; code++) {
        bool associates = op_info[code].flags & SCALAR_ASSOCIATES;
        ck_assert_int_eq(associates, op_info[code].identity != IDENTITY_NONE);
        for (int t = 0; associates && t < DTYPE_COUNT; t++) {
            if (!scalar_is_defined((enum opcode)code, (enum dtype)t))
                continue;
            union scalar identity = scalar_identity((enum opcode)code, (enum dtype)t);
            ck_assert(in_type((enum dtype)t, identity));
            for (int i = 0; i < EDGES; i++) {
                union scalar x = edge((enum dtype)t, i);
                union scalar y = scalar_eval((enum opcode)code, (enum dtype)t, identity, x, of_int(0));
                EXPECT(same((enum dtype)t, x, y), "%s of %s, edge %d", op_info[code].name, dtype_info[t].name, i);
            }
        }
    }
}
END_TEST

START_TEST(commuting_rows_commute)
{
    for (int code = 0; code < SCALAR_COUNT; code++)
        for (int t = 0; (op_info[code].flags & SCALAR_COMMUTES) && t < DTYPE_COUNT; t++)
            for (int i = 0; scalar_is_defined((enum opcode)code, (enum dtype)t) && i < EDGES * EDGES; i++) {
                union scalar a = edge((enum dtype)t, i % EDGES), b = edge((enum dtype)t, i / EDGES);
                enum dtype result = compares((enum opcode)code) ? DTYPE_I1 : (enum dtype)t;
                EXPECT(same(result, scalar_eval((enum opcode)code, (enum dtype)t, a, b, of_int(0)),
                            scalar_eval((enum opcode)code, (enum dtype)t, b, a, of_int(0))),
                       "%s of %s", op_info[code].name, dtype_info[t].name);
            }
}
END_TEST

START_TEST(select_and_literals)
{
    ck_assert(scalar_eval(OP_SELECT, DTYPE_F32, of_int(1), of_float(2), of_float(3)).f == 2);
    ck_assert(scalar_eval(OP_SELECT, DTYPE_F32, of_int(0), of_float(2), of_float(3)).f == 3);
    ck_assert(scalar_from_number(DTYPE_F16, (struct number){.is_float = true, .f = 0.1}).f ==
              dtype_round(DTYPE_F16, 0.1));
    ck_assert(scalar_from_number(DTYPE_F32, (struct number){.i = 16777217}).f == 16777216);
    ck_assert_int_eq(scalar_from_number(DTYPE_U8, (struct number){.i = -1}).i, 255);
    ck_assert_int_eq(scalar_from_number(DTYPE_I1, (struct number){.i = 1}).i, 1);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("scalar");
    TCase *c = tcase_create("scalar");
    tcase_set_timeout(c, 120);
    tcase_add_test(c, integers_of_8_bits);
    tcase_add_test(c, integers_of_64_bits);
    tcase_add_test(c, booleans);
    tcase_add_test(c, f32_is_that_of_c);
    tcase_add_test(c, fma_rounds_once);
    tcase_add_test(c, nan_in_max_and_maximum);
    tcase_add_test(c, activations);
    tcase_add_test(c, results_lie_in_their_type);
    tcase_add_test(c, identities_are_neutral);
    tcase_add_test(c, commuting_rows_commute);
    tcase_add_test(c, select_and_literals);
    suite_add_tcase(s, c);
    return suite_run(s, CK_FORK_GETENV);
}
