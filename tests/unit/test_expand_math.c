// What expand-math writes out, run by the interpreter, against the C library in double precision.
#include "passes/expand_math.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/target.h"
#include "ir/interp.h"
#include "ir/scalar.h"
#include "passes/pass.h"
#include "tests/ulp.h"
#include "tests/unit/suite.h"

#define EXPECT(condition, ...)                                                                                         \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            ck_abort_msg(__VA_ARGS__);                                                                                 \
    } while (0)

static struct diags diags;
static struct arena scratch;
static struct target_desc target;

static void setup(void)
{
    diag_init(&diags);
    arena_init(&scratch);
    ck_assert(!target_parse("x86-64-v3", &target, NULL));
}

// Some functions are shorter where the target has scalef.
static void setup_avx512(void)
{
    setup();
    ck_assert(!target_parse("x86-64-v4", &target, NULL));
}

static void teardown(void)
{
    diag_finish(&diags);
    arena_finish(&scratch);
}

static struct module *read_module(const char *text)
{
    struct module *m = parse_module(text, strlen(text), "test", 0, NULL, &diags);
    ck_assert_msg(m && verify_module(m, &diags), "%s\n%s", diag_string(&diags), text);
    return m;
}

static bool run_pass(struct module *m)
{
    struct pass_context c = {.target = &target, .diags = &diags, .scratch = &scratch};
    return pass_expand_math(m, &c);
}

static void check_nothing_left(const struct module *m)
{
    ck_assert_msg(verify_module((struct module *)m, &diags), "%s", diag_string(&diags));
    for (const struct function *k = m->first_function; k; k = k->next)
        for (const struct op *op = k->body->first; op; op = op->next)
            EXPECT(!expand_math_has(op->code, DTYPE_F32), "%s is left", op_info[op->code].name);
}

// Expands and runs a kernel of views.
static void run_kernel(const char *text, int n, void *const *data, const int64_t *bytes)
{
    struct module *m = read_module(text);
    ck_assert(run_pass(m));
    check_nothing_left(m);
    struct interp_arg args[3] = {0};
    for (int i = 0; i < n; i++) {
        ck_assert(!interp_view_fill(&args[i].view, m->first_function->params[i]->type, NULL));
        args[i].view.data = data[i];
        args[i].view.bytes = bytes[i];
    }
    ck_assert_msg(!interp_run(m->first_function, args, NULL, 0, &diags), "%s", diag_string(&diags));
    module_destroy(m);
}

// r = code(x), or code(x, y), of n elements of type t.
static void apply(enum opcode code, enum dtype t, int64_t n, void *x, void *y, void *r)
{
    char text[512];
    const char *name = dtype_info[t].name;
    long long size = n;
    snprintf(text, sizeof text,
             "kernel @k(%%x: view<%lldx%s>, %%y: view<%lldx%s>, %%r: view<%lldx%s>) grid [1] {\n"
             "  %%a = load %%x[0] : tile<%lldx%s>\n  %%b = load %%y[0] : tile<%lldx%s>\n  %%v = %s %%a%s\n"
             "  store %%v, %%r[0]\n}\n",
             size, name, size, name, size, name, size, name, size, name, op_info[code].name,
             op_info[code].n_operands > 1 ? ", %b" : "");
    int64_t bytes = n * dtype_bytes(t);
    run_kernel(text, 3, (void *[]){x, y, r}, (int64_t[]){bytes, bytes, bytes});
}

static double reference(enum opcode code, double x, double y)
{
    return scalar_eval(code, DTYPE_F64, (union scalar){.f = x}, (union scalar){.f = y}, (union scalar){0}).f;
}

static const float specials[] = {0,
                                 -0.0f,
                                 INFINITY,
                                 -INFINITY,
                                 NAN,
                                 1,
                                 -1,
                                 0.5f,
                                 -0.5f,
                                 2,
                                 -2,
                                 3,
                                 -3,
                                 2.5f,
                                 0x1p-149f,
                                 -0x1p-149f,
                                 0x1p-126f,
                                 -0x1p-126f,
                                 0x1.fffffep127f,
                                 -0x1.fffffep127f,
                                 0x1.fffffep-1f,
                                 0x1.000002p0f,
                                 -0x1.fffffep-1f,
                                 0x1p24f,
                                 -0x1p24f,
                                 0x1.fffffep23f,
                                 0x1p41f,
                                 0x1p-40f,
                                 89,
                                 -104,
                                 8192,
                                 12867};
#define N_SPECIALS (int)(sizeof specials / sizeof *specials)

START_TEST(f32_within_bounds)
{
    enum { N = 20000 };
    const struct expand_math_row *row = &expand_math_rows[_i];
    float *x = malloc(3 * N * sizeof *x), *y = x + N, *r = y + N;
    bool two = op_info[row->code].n_operands > 1;
    for (int i = 0; i < N; i++) {
        uint32_t bits = (uint32_t)i * 214748u; // through all of them
        memcpy(&x[i], &bits, sizeof bits);
        y[i] = 0;
        if (i < N_SPECIALS)
            x[i] = specials[i];
        if (two && i < N_SPECIALS * N_SPECIALS) {
            x[i] = specials[i % N_SPECIALS];
            y[i] = specials[i / N_SPECIALS];
        } else if (two) {
            ulp_second_operand(row->code, (uint32_t)i, &x[i], &y[i]);
        }
    }
    apply(row->code, DTYPE_F32, N, x, y, r);
    for (int i = 0; i < N; i++) {
        double want = reference(row->code, x[i], y[i]);
        double error = ulp_error(r[i], want, row->of_argument ? x[i] : want);
        EXPECT(error <= row->ulp, "%s %a, %a is %a, not %a: %.2f ulp", op_info[row->code].name, x[i], y[i], r[i], want,
               error);
    }
    free(x);
}
END_TEST

// What is known to be at most 0, as x minus its row's maximum is, takes a shorter way.
START_TEST(exp_of_softmax)
{
    enum { N = 10000 };
    static float x[N][2], r[N][2];
    for (int i = 0; i < N; i++)
        x[i][1] = i == 0 ? -INFINITY : i < 1000 ? -0.001f * (float)(i - 1) : -0.0117f * (float)(i - 1000);
    run_kernel("kernel @k(%x: view<10000x2xf32>, %r: view<10000x2xf32>) grid [1] {\n"
               "  %a = load %x[0, 0] : tile<10000x2xf32>\n  %top = reduce max %a, 1\n  %b = sub %a, %top\n"
               "  %e = exp %b\n  store %e, %r[0, 0]\n}\n",
               2, (void *[]){x, r}, (int64_t[]){sizeof x, sizeof r});
    for (int i = 0; i < N; i++) {
        double want = exp(x[i][1]), error = ulp_error(r[i][1], want, want);
        EXPECT(error <= 2 + fmin(-x[i][1], 104) / 21, "exp(%a) is %a, not %a: %.2f ulp", x[i][1], r[i][1], want, error);
        ck_assert(r[i][0] == 1);
    }
}
END_TEST

// Every element of a 16-bit or 8-bit type: computed in f32 and rounded, so nearly always the nearest.
START_TEST(narrow_floats)
{
    static const enum dtype types[] = {DTYPE_F16, DTYPE_BF16, DTYPE_F8E4M3, DTYPE_F8E5M2};
    enum dtype t = types[_i % 4];
    enum opcode code = _i / 4 ? OP_TANH : OP_EXP;
    int64_t n = (int64_t)1 << dtype_info[t].bits, size = dtype_bytes(t);
    char *x = malloc((size_t)(2 * n * size)), *r = x + n * size;
    for (int64_t i = 0; i < n; i++)
        dtype_store(t, x + i * size, dtype_from_bits(t, (uint64_t)i));
    apply(code, t, n, x, x, r);
    for (int64_t i = 0; i < n; i++) {
        double a = dtype_load(t, x + i * size).f, have = dtype_load(t, r + i * size).f;
        double want = reference(code, a, 0), low = dtype_round(t, want * (1 - 0x1p-22)),
               high = dtype_round(t, want * (1 + 0x1p-22));
        EXPECT(isnan(high) ? isnan(have) : have == low || have == high, "%s %s %a is %a, not %a", dtype_info[t].name,
               op_info[code].name, a, have, want);
    }
    free(x);
}
END_TEST

START_TEST(f64_is_refused)
{
    struct module *m = read_module("kernel @k(%x: view<4xf64>) grid [1] {\n  %a = load %x[0] : tile<4xf64>\n"
                                   "  %b = erf %a\n  store %b, %x[0]\n}\n");
    ck_assert(!run_pass(m));
    ck_assert_int_eq(diags.n_errors, 1);
    ck_assert_str_eq(diags.first->text, "erf of f64 is not available yet on this target; cast to f32");
    ck_assert_int_eq(diags.first->loc.line, 3);
    module_destroy(m);
}
END_TEST

// Operands of different shapes, register layouts, nesting, a result that the next function takes.
START_TEST(shapes)
{
    struct module *m = read_module("kernel @k(%x: view<8x32xf32>, %y: view<32xf32>, %s: f32) grid [1] {\n"
                                   "  %a = load %x[0, 0] : tile<8x32xf32, v1x16>\n"
                                   "  %b = load %y[0] : tile<32xf32, v0x16>\n"
                                   "  %t = exp %s\n"
                                   "  for %i = 0 to 4 step 1 {\n"
                                   "    %c = pow %a, %t\n"
                                   "    %d = atan2 %c, %b\n"
                                   "    %e = sin %d\n"
                                   "    store %e, %x[0, 0]\n  }\n}\n");
    ck_assert(run_pass(m));
    check_nothing_left(m);
    ck_assert(!run_pass(m));
    module_destroy(m);
}
END_TEST

// Functions that targets have no code for are those from exp to silu, and three of two operands. The remainder is
// exact.
START_TEST(every_function_has_a_row)
{
    for (int code = OP_EXP; code <= OP_SILU; code++)
        EXPECT(expand_math_has((enum opcode)code, DTYPE_F32), "%s has no row", op_info[code].name);
    ck_assert(expand_math_has(OP_POW, DTYPE_F32) && expand_math_has(OP_ATAN2, DTYPE_F32) &&
              expand_math_has(OP_REM, DTYPE_F32));
    for (int i = 0; i < EXPAND_MATH_ROWS; i++) {
        bool exact = expand_math_rows[i].code == OP_REM;
        ck_assert(expand_math_rows[i].ulp == 0 ? exact : !exact && expand_math_rows[i].ulp_without_fma > 0);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("expand_math");
    TCase *c = tcase_create("expand_math");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, 240);
    tcase_add_loop_test(c, f32_within_bounds, 0, EXPAND_MATH_ROWS);
    tcase_add_loop_test(c, narrow_floats, 0, 8);
    tcase_add_test(c, exp_of_softmax);
    tcase_add_test(c, f64_is_refused);
    tcase_add_test(c, shapes);
    tcase_add_test(c, every_function_has_a_row);
    suite_add_tcase(s, c);
    c = tcase_create("avx512");
    tcase_add_checked_fixture(c, setup_avx512, teardown);
    tcase_set_timeout(c, 240);
    tcase_add_loop_test(c, f32_within_bounds, 0, EXPAND_MATH_ROWS);
    tcase_add_test(c, exp_of_softmax);
    suite_add_tcase(s, c);
    return suite_run(s, CK_FORK_GETENV);
}
