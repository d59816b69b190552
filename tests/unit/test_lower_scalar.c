// Every row of the scalar table, and casts, as machine code.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "passes/expand_math.h"
#include "tests/unit/kernel_code.h"
#include "tests/unit/suite.h"

#define N 19
static const char *row_names[2 * SCALAR_COUNT];

static const char *row_name(int64_t element)
{
    return row_names[element / N];
}

static enum dtype row_dtype;

// A multiply-add of f32 or f64 has two roundings where there is no instruction for it; narrow floats are rounded twice;
// a reciprocal root has two roundings.
static double row_tolerance(int64_t element, const char *level)
{
    const char *name = row_names[element / N];
    bool narrow = dtype_info[row_dtype].bits < 32;
    if (!strcmp(name, "rsqrt"))
        return narrow ? 1e-2 : row_dtype == DTYPE_F32 ? 1e-6 : 1e-15;
    return !strcmp(name, "fma") && (narrow || !strcmp(level, LEAST_LEVEL)) ? 1e-2 : 0;
}

// All operations on one element type: a row of the last parameter each. Comparisons come out as 0 and 1 of the type.
// Each has a block of its own: LLVM's scheduler takes quadratic time over long ones.
static void scalar_rows(enum dtype t, int lanes, bool constant, bool machine_lacks_levels)
{
    static const int64_t divisors[] = {0, 1, 7, 8};
    const char *name = dtype_info[t].name;
    char *text = malloc(131072), *body = malloc(131072), *at = body, layout[16];
    int rows = 0;
    row_dtype = t;
    snprintf(layout, sizeof layout, lanes > 1 ? "v0x%d" : "s", lanes);
    for (int c = 0; c < SCALAR_COUNT; c++) {
        // Functions that are written out have no code; math_exhaustive tests them, and scalef, which only AVX-512 has,
        // in them.
        if (!scalar_is_defined((enum opcode)c, t) || expand_math_has((enum opcode)c, t) || c == OP_SCALEF)
            continue;
        enum scalar_types types = op_info[c].types;
        bool compares = (types == SCALAR_TYPES_C || types == SCALAR_TYPES_D) && t != DTYPE_I1,
             chooses = types == SCALAR_TYPES_S;
        int n = op_info[c].n_operands;
        bool by_constant = constant && dtype_is_int(t) && n == 2;
        for (int i = 0; i < (by_constant ? 4 : 1); i++, rows++) {
            row_names[rows] = op_info[c].name;
            at += sprintf(at, "  if %%go {\n    %%r = window %%out[%d, 0] (d0) -> (0, d0)\n", rows);
            for (int x = 0; x < 3; x++)
                at += sprintf(at, "    %%%c = load %%%c[0] : tile<%dx%s, %s>\n", 'a' + x, 'x' + x, N, name, layout);
            at += sprintf(at, "    %%p = lt %%a, %%b\n    %%v = %s %s%%a", op_info[c].name, chooses ? "%p, " : "");
            if (by_constant)
                at += sprintf(at, ", %lld", (long long)divisors[i]);
            else if (n > 1)
                at += sprintf(at, n > 2 && !chooses ? ", %%b, %%c" : ", %%b");
            at += sprintf(at,
                          compares ? "\n    %%w = cast %s %%v\n    store %%w, %%r[0]\n  }\n"
                                   : "\n    store %%v, %%r[0]\n  }\n",
                          name);
        }
    }
    sprintf(text,
            "kernel @k(%%go: i1, %%x: view<%dx%s>, %%y: view<%dx%s>, %%z: view<%dx%s>,\n    %%out: view<%dx%dx%s>) "
            "grid [1] {\n%s}\n",
            N, name, N, name, N, name, rows, N, name, body);
    check_run(&(struct run){.text = text,
                            .fill = fill_special,
                            .row = row_name,
                            .row_tolerance = row_tolerance,
                            .scalars = {{.i = 1}},
                            .once = true,
                            .machine_lacks_levels = machine_lacks_levels});
    free(text);
    free(body);
}

START_TEST(test_scalar_rows)
{
    scalar_rows((enum dtype)_i, 16, false, false);
}
END_TEST

START_TEST(test_scalar_rows_other_layouts)
{
    scalar_rows((enum dtype)_i, _i % 2 ? 1 : 4, dtype_is_int((enum dtype)_i), false);
}
END_TEST

// What is done about a level that this machine lacks.
START_TEST(test_scalar_rows_compile)
{
    scalar_rows((enum dtype)_i, 16, false, true);
}
END_TEST

START_TEST(test_casts)
{
    const char *from = dtype_info[_i].name;
    char text[8192], *at = text;
    at += sprintf(at, "kernel @k(%%x: view<128x%s>", from);
    for (int t = 0; t < DTYPE_COUNT - 1; t++)
        at += sprintf(at, ", %%r%d: view<128x%s>", t, dtype_info[t].name);
    at += sprintf(at, ") grid [1] {\n");
    for (int t = 0; t < DTYPE_COUNT - 1; t++)
        at += sprintf(
            at,
            "  for %%i = 0 to 128 step 16 {\n    %%a = load %%x[%%i] : tile<16x%s, v0x16>\n    %%v = cast %s %%a\n"
            "    store %%v, %%r%d[%%i]\n  }\n",
            from, dtype_info[t].name, t);
    sprintf(at, "}\n");
    check_run(&(struct run){.text = text, .fill = fill_special, .once = true});
}
END_TEST

START_TEST(test_bitcast)
{
    CHECK(.text = "kernel @k(%x: view<40xf32>, %y: view<40xu32>, %h: view<40xbf16>, %g: view<40xf16>) grid [1] {\n"
                  "  %a = load %x[0] : tile<40xf32, v0x8>\n  %b = bitcast u32 %a\n  store %b, %y[0]\n"
                  "  %c = load %h[0] : tile<40xbf16, v0x8>\n  %d = bitcast f16 %c\n  store %d, %g[0]\n}\n");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("lower_scalar");
    TCase *c = tcase_create("scalars");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, test_scalar_rows, 0, DTYPE_COUNT);
    tcase_add_loop_test(c, test_scalar_rows_other_layouts, 0, DTYPE_COUNT);
    tcase_add_loop_test(c, test_scalar_rows_compile, DTYPE_F32, DTYPE_F32 + 1);
    tcase_add_loop_test(c, test_casts, 0, DTYPE_COUNT);
    tcase_add_test(c, test_bitcast);
    suite_add_tcase(s, c);
    return suite_run(s, CK_FORK_GETENV);
}
