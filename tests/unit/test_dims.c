#include <stdlib.h>
#include <string.h>

#include "ir/dims.h"
#include "tests/unit/suite.h"

static struct module *m;
static dim N, S;

static void setup(void)
{
    m = module_create();
    N = dim_symbol(module_symbol(m, "N", 1));
    S = dim_symbol(module_symbol(m, "S", 1));
}

static void teardown(void)
{
    module_destroy(m);
}

static const char *name(dim d)
{
    return m->symbols[dim_symbol_id(d)];
}

START_TEST(constants)
{
    ck_assert_int_eq(dims_add(m, 3, 4), 7);
    ck_assert_int_eq(dims_sub(m, 4, 4), 0);
    ck_assert_int_eq(dims_mul(m, 3, 4), 12);
    ck_assert_int_eq(dims_floordiv(m, 7, 2), 3);
    ck_assert_int_eq(dims_ceildiv(m, 7, 2), 4);
    ck_assert_int_eq(dims_mod(m, 7, 4), 3);
    ck_assert_int_eq(dims_min(m, 7, 4), 4);
    ck_assert_int_eq(dims_max(m, 7, 4), 7);
    ck_assert_int_eq(dims_floordiv(m, 7, 0), DIM_UNKNOWN);
    ck_assert_int_eq(dims_mul(m, (int64_t)1 << 40, (int64_t)1 << 40), DIM_UNKNOWN);
    ck_assert_int_eq(dims_add(m, (int64_t)1 << 62, (int64_t)1 << 62), DIM_UNKNOWN);
    ck_assert_int_eq(dims_add(m, DIM_UNKNOWN, 1), DIM_UNKNOWN);
}
END_TEST

START_TEST(equal_expressions_are_equal)
{
    dim a = dims_mul(m, dims_add(m, N, 1), dims_add(m, S, 2));
    dim b = dims_add(m, dims_mul(m, N, S), dims_add(m, dims_mul(m, 2, N), dims_add(m, S, 2)));
    ck_assert_int_eq(a, b);
    ck_assert_int_eq(dims_sub(m, a, b), 0);
    ck_assert_int_eq(dims_sub(m, dims_add(m, N, 5), 5), N);
    ck_assert_str_eq(name(dims_add(m, dims_mul(m, 2, N), 1)), "(2 * N + 1)");
}
END_TEST

// Another module may meet the symbols in another order, as one does that reads what this one prints.
START_TEST(text_does_not_depend_on_order)
{
    dim swapped = dims_add(m, dims_mul(m, 2, S), dims_mul(m, N, dims_mul(m, S, S)));
    ck_assert_str_eq(name(swapped), "(N * S * S + 2 * S)");
    struct module *other = module_create();
    dim s = dim_symbol(module_symbol(other, "S", 1)), n = dim_symbol(module_symbol(other, "N", 1));
    dim same = dims_add(other, dims_mul(other, 2, s), dims_mul(other, n, dims_mul(other, s, s)));
    ck_assert_str_eq(other->symbols[dim_symbol_id(same)], name(swapped));
    dim least = dims_min(other, s, n), sum = dims_add(other, s, n);
    ck_assert_str_eq(other->symbols[dim_symbol_id(least)], name(dims_min(m, N, S)));
    ck_assert_str_eq(other->symbols[dim_symbol_id(sum)], name(dims_add(m, N, S)));
    ck_assert(dims_is_expression(other, sum));
    ck_assert(!dims_is_expression(other, n));
    ck_assert(!dims_is_expression(other, 4));
    ck_assert(dims_is_expression(other, dims_from_int(other, -1)));
    module_destroy(other);
}
END_TEST

START_TEST(division)
{
    ck_assert_int_eq(dims_floordiv(m, dims_mul(m, 6, N), 2), dims_mul(m, 3, N));
    ck_assert_int_eq(dims_floordiv(m, dims_add(m, dims_mul(m, 4, N), 3), 2), dims_add(m, dims_mul(m, 2, N), 1));
    ck_assert_str_eq(name(dims_floordiv(m, dims_add(m, N, 1), 2)), "floordiv((N + 1), 2)");
    ck_assert_int_eq(dims_exact(m, dims_mul(m, dims_mul(m, 6, N), S), dims_mul(m, 2, N)), dims_mul(m, 3, S));
    ck_assert_int_eq(dims_exact(m, N, S), DIM_UNKNOWN);
    ck_assert_int_eq(dims_exact(m, dims_add(m, N, 1), 2), DIM_UNKNOWN);
    ck_assert_int_eq(dims_mod(m, dims_mul(m, 8, N), 4), 0);
}
END_TEST

START_TEST(extremes)
{
    ck_assert_int_eq(dims_max(m, dims_add(m, N, 1), N), dims_add(m, N, 1));
    ck_assert_int_eq(dims_min(m, dims_add(m, N, 1), N), N);
    ck_assert_int_eq(dims_max(m, N, 0), N);
    ck_assert_int_eq(dims_min(m, N, S), dims_min(m, S, N));
}
END_TEST

START_TEST(broadcasts)
{
    dim K = dim_symbol(module_symbol(m, "K", 1)), both = dims_broadcast(m, N, S), more = dims_add(m, N, 2);
    ck_assert_str_eq(name(both), "broadcast(N, S)");
    ck_assert_int_eq(dims_broadcast(m, S, N), both);
    ck_assert_int_eq(dims_broadcast(m, both, N), both);
    ck_assert_str_eq(name(dims_broadcast(m, both, K)), "broadcast(broadcast(K, N), S)");
    ck_assert_int_eq(dims_broadcast(m, dims_broadcast(m, K, S), both), dims_broadcast(m, both, K));
    ck_assert_int_eq(dims_broadcast(m, N, N), N);
    ck_assert_int_eq(dims_broadcast(m, N, 1), N);
    ck_assert_int_eq(dims_broadcast(m, 1, N), N);
    ck_assert_int_eq(dims_broadcast(m, N, 4), 4);
    ck_assert_int_eq(dims_broadcast(m, 0, N), 0);
    ck_assert_int_eq(dims_broadcast(m, more, S), more);
    ck_assert_int_eq(dims_broadcast(m, N, DIM_UNKNOWN), DIM_UNKNOWN);
    ck_assert(dims_may_be_one(m, both) && dims_may_be_one(m, 1));
    ck_assert(!dims_may_be_one(m, more) && !dims_may_be_one(m, dims_mul(m, 2, N)) && !dims_may_be_one(m, 0));
    ck_assert(dims_stretches(m, N, both) && dims_stretches(m, N, N) && dims_stretches(m, 1, N));
    ck_assert(dims_stretches(m, N, 4) && dims_stretches(m, N, more));
    ck_assert(!dims_stretches(m, N, S) && !dims_stretches(m, both, N) && !dims_stretches(m, N, K));
    ck_assert(!dims_stretches(m, 3, 4) && !dims_stretches(m, 4, N) && !dims_stretches(m, more, S));
    int64_t symbols[64] = {0}, got;
    for (int n = 0; n < 5; n++)
        for (int s = 0; s < 5; s++) {
            symbols[dim_symbol_id(N)] = n;
            symbols[dim_symbol_id(S)] = s;
            if (n == s || n == 1 || s == 1) {
                ck_assert(dims_eval(m, both, symbols, &got));
                ck_assert_int_eq(got, n == 1 ? s : n);
            }
            ck_assert(dims_eval(m, dims_unless_one(m, N), symbols, &got));
            ck_assert_int_eq(got, n > 1);
        }
    ck_assert_int_eq(dims_unless_one(m, 4), 1);
    ck_assert_int_eq(dims_unless_one(m, more), 1);
}
END_TEST

// Chains of operations on sizes end rather than grow without bound.
START_TEST(expressions_have_an_end)
{
    dim deep = N, wide = S;
    for (int i = 0; i < 90; i++)
        deep = dims_floordiv(m, dims_add(m, deep, 1), 2);
    ck_assert_int_ne(deep, DIM_UNKNOWN);
    ck_assert_int_eq(dims_floordiv(m, dims_add(m, deep, 1), 2), DIM_UNKNOWN);
    ck_assert_int_ne(dims_add(m, deep, 1), DIM_UNKNOWN);
    for (int i = 0; i < 20; i++)
        wide = dims_add(m, dims_floordiv(m, dims_add(m, wide, 1), 2), dims_floordiv(m, dims_add(m, wide, 1), 3));
    ck_assert_int_eq(wide, DIM_UNKNOWN);
}
END_TEST

// The value of an expression is what the same arithmetic on numbers gives.
START_TEST(values)
{
    srand(1);
    for (int round = 0; round < 3000; round++) {
        int64_t x[2] = {rand() % 50, rand() % 50}, v[8] = {x[0], x[1], 3, 1};
        dim d[8] = {N, S, 3, 1};
        for (int i = 4; i < 8; i++) {
            int a = rand() % i, b = rand() % i, f = rand() % 6;
            if (f >= 3 && f <= 4 && v[b] <= 0)
                f = 0;
            if (f == 0)
                d[i] = dims_add(m, d[a], d[b]), v[i] = v[a] + v[b];
            if (f == 1)
                d[i] = dims_sub(m, d[a], d[b]), v[i] = v[a] - v[b];
            if (f == 2)
                d[i] = dims_mul(m, d[a], d[b]), v[i] = v[a] * v[b];
            if (f == 3)
                d[i] = dims_floordiv(m, d[a], d[b]), v[i] = v[a] / v[b] - (v[a] % v[b] < 0);
            if (f == 4)
                d[i] = dims_mod(m, d[a], d[b]), v[i] = v[a] % v[b] + (v[a] % v[b] < 0 ? v[b] : 0);
            if (f == 5)
                d[i] = dims_max(m, d[a], d[b]), v[i] = v[a] > v[b] ? v[a] : v[b];
            if (d[i] == DIM_UNKNOWN)
                break;
            int64_t symbols[4096] = {0}, got, lo, hi;
            ck_assert_int_lt(m->n_symbols, 4096);
            symbols[dim_symbol_id(N)] = x[0];
            symbols[dim_symbol_id(S)] = x[1];
            ck_assert(dims_eval(m, d[i], symbols, &got));
            ck_assert_int_eq(got, v[i]);
            dims_range(m, d[i], &lo, &hi);
            ck_assert_int_le(lo, got);
            ck_assert_int_ge(hi, got);
        }
        if (m->n_symbols > 3000) {
            teardown();
            setup();
        }
    }
}
END_TEST

// What stands for a size is read again, in any module.
START_TEST(texts)
{
    struct module *other = module_create();
    int64_t sizes[16] = {0};
    sizes[module_symbol(other, "S", 1)] = 3;
    sizes[module_symbol(other, "N", 1)] = 10;
    static const struct {
        const char *text;
        int64_t value;
    } known[] = {
        {"12", 12},
        {"N", 10},
        {"(2 * N + 3 * S + -1)", 28},
        {"floordiv((N + S), 2)", 6},
        {"(4 * min(N, S) + mod(N, 4))", 14},
        {"max(N, 40)", 40},
        {"broadcast(N, S)", 10},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        int64_t value;
        dim here = dims_parse(m, known[i].text);
        ck_assert_str_eq(dim_string(&m->arena, m, here), known[i].text);
        ck_assert(dims_eval(other, dims_parse(other, known[i].text), sizes, &value));
        ck_assert_int_eq(value, known[i].value);
    }
    static const char *const unknown[] = {"", "?", "N +", "N N", "(N", "floordiv(N, 0)", "1.5", "9999999999999999999"};
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++)
        ck_assert_int_eq(dims_parse(m, unknown[i]), DIM_UNKNOWN);
    module_destroy(other);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("dims");
    TCase *c = tcase_create("dims");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, constants);
    tcase_add_test(c, equal_expressions_are_equal);
    tcase_add_test(c, text_does_not_depend_on_order);
    tcase_add_test(c, division);
    tcase_add_test(c, extremes);
    tcase_add_test(c, broadcasts);
    tcase_add_test(c, expressions_have_an_end);
    tcase_add_test(c, values);
    tcase_add_test(c, texts);
    suite_add_tcase(s, c);
    return suite_run(s, CK_FORK_GETENV);
}
