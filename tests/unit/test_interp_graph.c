// The operations of graphs, interpreted, against values computed by hand; tests/fuzz/random_folding.py has random ones.
#include "tests/unit/graph_values.h"

// ---- Element by element ----------------------------------------------------------------------------------------

START_TEST(adds_with_broadcasting)
{
    struct value *x = input(DTYPE_F32, DIMS(2, 3), REAL(1, 2, 3, 4, 5, 6));
    struct value *y = input(DTYPE_F32, DIMS(3), REAL(10, 20, 30));
    expect(build_binary(&b, OP_ADD, x, y), DTYPE_F32, DIMS(2, 3), REAL(11, 22, 33, 14, 25, 36));
}
END_TEST

START_TEST(adds_a_tensor_of_rank_0)
{
    struct value *x = input(DTYPE_F32, DIMS(2), REAL(1, 2)), *y = input(DTYPE_F32, DIMS(), REAL(0.5));
    expect(build_binary(&b, OP_MUL, x, y), DTYPE_F32, DIMS(2), REAL(0.5, 1));
}
END_TEST

static void sums_round(enum dtype t, double x, double y, double sum)
{
    struct value *a = input(t, DIMS(1), REAL(x)), *c = input(t, DIMS(1), REAL(y));
    expect(build_binary(&b, OP_ADD, a, c), t, DIMS(1), REAL(sum));
}

START_TEST(rounds_f16)
{
    sums_round(DTYPE_F16, 2048, 1, 2048);
}
END_TEST

START_TEST(rounds_bf16)
{
    sums_round(DTYPE_BF16, 256, 3, 260);
}
END_TEST

START_TEST(wraps_i8)
{
    sums_round(DTYPE_I8, 127, 2, -127);
}
END_TEST

START_TEST(wraps_u8)
{
    sums_round(DTYPE_U8, 250, 10, 4);
}
END_TEST

START_TEST(compares_and_selects)
{
    struct value *x = input(DTYPE_I32, DIMS(4), REAL(1, -2, 3, -4)), *y = input(DTYPE_I32, DIMS(4), REAL(0, 0, 5, -9));
    struct value *less = build_binary(&b, OP_LT, x, y), *low = build_select(&b, less, x, y);
    run(COUNT(less, low));
    expect_output(&outputs[0], DTYPE_I1, DIMS(4), REAL(0, 1, 1, 0));
    expect_output(&outputs[1], DTYPE_I32, DIMS(4), REAL(0, -2, 3, -9));
}
END_TEST

START_TEST(casts)
{
    struct value *x = input(DTYPE_F32, DIMS(4), REAL(300.7, -1.5, NAN, 2));
    struct value *i = build_cast(&b, DTYPE_I8, x);
    struct value *bits = make(OP_BITCAST, COUNT(i), ATTRS((struct attr){ATTR_TO, {.dtype = DTYPE_U8}}), NULL);
    run(COUNT(i, bits, build_cast(&b, DTYPE_I1, i)));
    expect_output(&outputs[0], DTYPE_I8, DIMS(4), REAL(127, -1, 0, 2));
    expect_output(&outputs[1], DTYPE_U8, DIMS(4), REAL(127, 255, 0, 2));
    expect_output(&outputs[2], DTYPE_I1, DIMS(4), REAL(1, 1, 0, 1));
}
END_TEST

// ---- Sources ---------------------------------------------------------------------------------------------------

START_TEST(makes_constants_data_and_iota)
{
    static const unsigned char bytes[] = {1, 0, 0, 0, 254, 255, 255, 255};
    struct attr data = {ATTR_DATA, {.data = {"w", bytes, sizeof bytes}}};
    struct value *c = build_int(&b, tensor(DTYPE_I32, DIMS(2)), 5);
    struct value *d = make(OP_DATA, 0, NULL, 1, &data, tensor(DTYPE_I32, DIMS(2)));
    struct value *i = make(OP_IOTA, 0, NULL, ATTRS(AXIS(1)), tensor(DTYPE_I8, DIMS(2, 3)));
    run(COUNT(c, d, i, build_binary(&b, OP_MUL, c, d)));
    expect_output(&outputs[0], DTYPE_I32, DIMS(2), REAL(5, 5));
    expect_output(&outputs[1], DTYPE_I32, DIMS(2), REAL(1, -2));
    expect_output(&outputs[2], DTYPE_I8, DIMS(2, 3), REAL(0, 1, 2, 0, 1, 2));
    expect_output(&outputs[3], DTYPE_I32, DIMS(2), REAL(5, -10));
}
END_TEST

START_TEST(gives_sizes)
{
    dim n = symbol("N"), twice = dims_mul(m, n, 2), minus = dims_from_int(m, -1);
    sized("x", DTYPE_F32, 1, &n, (int64_t[]){3}, REAL(1, 2, 3));
    struct value *v = make(OP_SIZES, 0, NULL, ATTRS(SIZES(DIMS, n, twice, minus, 7)), NULL);
    struct value *zero = make(OP_SIZES, 0, NULL, ATTRS(SIZES(DIMS, twice)), tensor(DTYPE_I32, DIMS()));
    struct value *size = function_symbol(b.function, dim_symbol_id(n));
    struct value *d = make(OP_DIM, COUNT(b.function->params[0]), ATTRS((struct attr){ATTR_DIM, {.i = 0}}), NULL);
    d = build_binary(&b, OP_ADD, d, build_index(&b, 10));
    run(COUNT(v, zero, make(OP_BROADCAST, COUNT(size), 0, NULL, tensor(DTYPE_INDEX, DIMS())),
              make(OP_BROADCAST, COUNT(d), 0, NULL, tensor(DTYPE_INDEX, DIMS()))));
    expect_output(&outputs[0], DTYPE_I64, DIMS(4), REAL(3, 6, -1, 7));
    expect_output(&outputs[1], DTYPE_I32, DIMS(), REAL(6));
    expect_output(&outputs[2], DTYPE_INDEX, DIMS(), REAL(3));
    expect_output(&outputs[3], DTYPE_INDEX, DIMS(), REAL(13));
}
END_TEST

// ---- Rearranging -----------------------------------------------------------------------------------------------

START_TEST(reshapes_transposes_and_broadcasts)
{
    struct value *x = input(DTYPE_I32, DIMS(2, 3), REAL(1, 2, 3, 4, 5, 6));
    struct value *r = make(OP_RESHAPE, COUNT(x), 0, NULL, tensor(DTYPE_I32, DIMS(3, 2)));
    struct value *t = make(OP_TRANSPOSE, COUNT(x), ATTRS(INTS(AXES, 1, 0)), NULL);
    struct value *c =
        make(OP_BROADCAST, COUNT(input(DTYPE_I32, DIMS(2, 1), REAL(7, 8))), 0, NULL, tensor(DTYPE_I32, DIMS(2, 2, 2)));
    run(COUNT(r, t, c));
    expect_output(&outputs[0], DTYPE_I32, DIMS(3, 2), REAL(1, 2, 3, 4, 5, 6));
    expect_output(&outputs[1], DTYPE_I32, DIMS(3, 2), REAL(1, 4, 2, 5, 3, 6));
    expect_output(&outputs[2], DTYPE_I32, DIMS(2, 2, 2), REAL(7, 7, 8, 8, 7, 7, 8, 8));
}
END_TEST

START_TEST(broadcasts_open_sizes)
{
    dim n = symbol("N"), k = symbol("K"), both = dims_broadcast(b.function->module, n, k);
    struct value *x = sized("x", DTYPE_I32, 1, &n, (int64_t[]){1}, REAL(7));
    struct value *y = sized("y", DTYPE_I32, 1, &k, (int64_t[]){3}, REAL(1, 2, 3));
    struct value *z = make(OP_BROADCAST, COUNT(x), 0, NULL, type_tensor(b.function->module, DTYPE_I32, 1, &both));
    struct value *w = make(OP_BROADCAST, COUNT(y), 0, NULL, z->type);
    run(COUNT(z, w));
    expect_output(&outputs[0], DTYPE_I32, DIMS(3), REAL(7, 7, 7));
    expect_output(&outputs[1], DTYPE_I32, DIMS(3), REAL(1, 2, 3));
}
END_TEST

START_TEST(refuses_sizes_that_do_not_broadcast)
{
    dim n = symbol("N"), k = symbol("K"), both = dims_broadcast(b.function->module, n, k);
    struct value *x = sized("x", DTYPE_I32, 1, &n, (int64_t[]){2}, REAL(7, 8));
    struct value *y = sized("y", DTYPE_I32, 1, &k, (int64_t[]){3}, REAL(1, 2, 3));
    struct type *t = type_tensor(b.function->module, DTYPE_I32, 1, &both);
    struct value *results[] = {make(OP_BROADCAST, COUNT(x), 0, NULL, t), make(OP_BROADCAST, COUNT(y), 0, NULL, t)};
    ck_assert(run_for(2, results, 0));
    fails_with("which does not broadcast to");
}
END_TEST

START_TEST(slices)
{
    struct value *x = input(DTYPE_I8, DIMS(2, 5), REAL(0, 1, 2, 3, 4, 5, 6, 7, 8, 9));
    struct value *s =
        make(OP_SLICE, COUNT(x), ATTRS(SIZES(STARTS, 1, 4), INTS(STEPS, -1, -2)), tensor(DTYPE_I8, DIMS(2, 3)));
    expect(s, DTYPE_I8, DIMS(2, 3), REAL(9, 7, 5, 4, 2, 0));
}
END_TEST

START_TEST(slices_nothing)
{
    struct value *x = input(DTYPE_I8, DIMS(3), REAL(0, 1, 2));
    struct value *s = make(OP_SLICE, COUNT(x), ATTRS(SIZES(STARTS, 99)), tensor(DTYPE_I8, DIMS(0)));
    expect(s, DTYPE_I8, DIMS(0), REAL());
}
END_TEST

START_TEST(refuses_slices_beyond_the_end)
{
    struct value *x = input(DTYPE_I8, DIMS(3), REAL(0, 1, 2));
    struct value *s = make(OP_SLICE, COUNT(x), ATTRS(SIZES(STARTS, 1), INTS(STEPS, 2)), tensor(DTYPE_I8, DIMS(2)));
    ck_assert(run_for(1, &s, 0));
    fails_with("2 elements from 1 on by 2 steps are not within the size 3 of dimension 0");
}
END_TEST

START_TEST(refuses_slices_that_overflow)
{
    struct value *x = input(DTYPE_I8, DIMS(3), REAL(0, 1, 2));
    struct value *s =
        make(OP_SLICE, COUNT(x), ATTRS(SIZES(STARTS, 1), INTS(STEPS, INT64_MAX)), tensor(DTYPE_I8, DIMS(3)));
    ck_assert(run_for(1, &s, 0));
    fails_with("are not within the size 3");
}
END_TEST

START_TEST(slices_one_element_by_any_step)
{
    struct value *x = input(DTYPE_I8, DIMS(3, 2), REAL(0, 1, 2, 3, 4, 5));
    struct value *s =
        make(OP_SLICE, COUNT(x), ATTRS(SIZES(STARTS, 1, 0), INTS(STEPS, INT64_MIN, 1)), tensor(DTYPE_I8, DIMS(1, 2)));
    expect(s, DTYPE_I8, DIMS(1, 2), REAL(2, 3));
}
END_TEST

START_TEST(pads_and_crops)
{
    struct value *x = input(DTYPE_F32, DIMS(2, 3), REAL(1, 2, 3, 4, 5, 6));
    struct attr value = {ATTR_VALUE, {.number = {.is_float = true, .f = -1}}};
    struct value *p =
        make(OP_PAD, COUNT(x), ATTRS(SIZES(LOW, 0, 2), SIZES(HIGH, 1, dims_from_int(m, -1)), value), NULL);
    expect(p, DTYPE_F32, DIMS(3, 4), REAL(-1, -1, 1, 2, -1, -1, 4, 5, -1, -1, -1, -1));
}
END_TEST

START_TEST(pads_nothing_into_something)
{
    struct value *x = input(DTYPE_I32, DIMS(0), REAL());
    expect(make(OP_PAD, COUNT(x), ATTRS(SIZES(LOW, 1), SIZES(HIGH, 1)), NULL), DTYPE_I32, DIMS(2), REAL(0, 0));
}
END_TEST

START_TEST(concatenates)
{
    struct value *x = input(DTYPE_I32, DIMS(2, 2), REAL(1, 2, 3, 4)), *e = input(DTYPE_I32, DIMS(2, 0), REAL());
    struct value *y = input(DTYPE_I32, DIMS(2, 1), REAL(5, 6));
    run(COUNT(make(OP_CONCAT, COUNT(x, e, y), ATTRS(AXIS(1)), NULL),
              make(OP_CONCAT, COUNT(x, x), ATTRS(AXIS(0)), NULL)));
    expect_output(&outputs[0], DTYPE_I32, DIMS(2, 3), REAL(1, 2, 5, 3, 4, 6));
    expect_output(&outputs[1], DTYPE_I32, DIMS(4, 2), REAL(1, 2, 3, 4, 1, 2, 3, 4));
}
END_TEST

START_TEST(takes)
{
    struct value *x = input(DTYPE_F32, DIMS(2, 3), REAL(1, 2, 3, 4, 5, 6));
    struct value *i = input(DTYPE_I64, DIMS(2, 2), REAL(2, 0, -1, 3)), *row = input(DTYPE_I32, DIMS(), REAL(1));
    run(COUNT(make(OP_TAKE, COUNT(x, i), ATTRS(AXIS(1)), NULL), make(OP_TAKE, COUNT(x, row), ATTRS(AXIS(0)), NULL)));
    expect_output(&outputs[0], DTYPE_F32, DIMS(2, 2, 2), REAL(3, 1, 0, 0, 6, 4, 0, 0));
    expect_output(&outputs[1], DTYPE_F32, DIMS(3), REAL(4, 5, 6));
}
END_TEST

START_TEST(takes_nothing_and_from_nothing)
{
    struct value *x = input(DTYPE_F32, DIMS(0, 2), REAL()), *y = input(DTYPE_F32, DIMS(3), REAL(1, 2, 3));
    struct value *i = input(DTYPE_I64, DIMS(1), REAL(0)), *none = input(DTYPE_I64, DIMS(0), REAL());
    run(COUNT(make(OP_TAKE, COUNT(x, i), ATTRS(AXIS(0)), NULL), make(OP_TAKE, COUNT(y, none), ATTRS(AXIS(0)), NULL)));
    expect_output(&outputs[0], DTYPE_F32, DIMS(1, 2), REAL(0, 0));
    expect_output(&outputs[1], DTYPE_F32, DIMS(0), REAL());
}
END_TEST

START_TEST(extracts)
{
    struct value *x = input(DTYPE_I32, DIMS(), REAL(5)), *y = input(DTYPE_I32, DIMS(2), REAL(6, 7));
    struct value *sum = build_binary(&b, OP_ADD, make(OP_EXTRACT, COUNT(x), 0, NULL, NULL),
                                     make(OP_EXTRACT, COUNT(y, build_index(&b, 1)), 0, NULL, NULL));
    expect(make(OP_BROADCAST, COUNT(sum), 0, NULL, tensor(DTYPE_I32, DIMS())), DTYPE_I32, DIMS(), REAL(12));
}
END_TEST

START_TEST(refuses_to_extract_from_nothing)
{
    struct value *x = input(DTYPE_I32, DIMS(0), REAL());
    struct value *e = make(OP_EXTRACT, COUNT(x, build_index(&b, 0)), 0, NULL, NULL);
    e = make(OP_BROADCAST, COUNT(e), 0, NULL, tensor(DTYPE_I32, DIMS()));
    ck_assert(run_for(1, &e, 0));
    fails_with("index 0 is 0");
}
END_TEST

// ---- Combining -------------------------------------------------------------------------------------------------

START_TEST(reduces)
{
    struct value *x = input(DTYPE_I8, DIMS(2, 3), REAL(100, 20, 30, 4, 5, -6));
    run(COUNT(make(OP_REDUCE, COUNT(x), ATTRS(COMBINE(ADD), INTS(AXES, 1)), NULL),
              make(OP_REDUCE, COUNT(x), ATTRS(COMBINE(MAX), INTS(AXES, 0, 1)), NULL)));
    expect_output(&outputs[0], DTYPE_I8, DIMS(2, 1), REAL(-106, 3));
    expect_output(&outputs[1], DTYPE_I8, DIMS(1, 1), REAL(100));
}
END_TEST

START_TEST(sums_in_double_and_rounds_once)
{
    struct value *x = input(DTYPE_F16, DIMS(5), REAL(2048, 1, 1, 1, 1));
    expect(make(OP_REDUCE, COUNT(x), ATTRS(COMBINE(ADD), INTS(AXES, 0)), NULL), DTYPE_F16, DIMS(1), REAL(2052));
}
END_TEST

START_TEST(reduces_nothing)
{
    struct value *x = input(DTYPE_F32, DIMS(2, 0), REAL()), *y = input(DTYPE_I8, DIMS(0, 3), REAL());
    run(COUNT(make(OP_REDUCE, COUNT(x), ATTRS(COMBINE(MUL), INTS(AXES, 1)), NULL),
              make(OP_REDUCE, COUNT(y), ATTRS(COMBINE(MAX), INTS(AXES, 0)), NULL),
              make(OP_REDUCE, COUNT(x), ATTRS(COMBINE(ADD), INTS(AXES, 0)), NULL)));
    expect_output(&outputs[0], DTYPE_F32, DIMS(2, 1), REAL(1, 1));
    expect_output(&outputs[1], DTYPE_I8, DIMS(1, 3), REAL(-128, -128, -128));
    expect_output(&outputs[2], DTYPE_F32, DIMS(1, 0), REAL());
}
END_TEST

START_TEST(scans)
{
    struct value *x = input(DTYPE_I32, DIMS(2, 3), REAL(1, 2, 3, 4, 5, 6)), *e = input(DTYPE_I32, DIMS(2, 0), REAL());
    struct attr exclusive = {ATTR_EXCLUSIVE, {.i = 0}}, reverse = {ATTR_REVERSE, {.i = 0}};
    run(COUNT(make(OP_SCAN, COUNT(x), ATTRS(COMBINE(ADD), AXIS(1)), NULL),
              make(OP_SCAN, COUNT(x), ATTRS(COMBINE(MUL), AXIS(1), exclusive, reverse), NULL),
              make(OP_SCAN, COUNT(e), ATTRS(COMBINE(ADD), AXIS(1)), NULL)));
    expect_output(&outputs[0], DTYPE_I32, DIMS(2, 3), REAL(1, 3, 6, 4, 9, 15));
    expect_output(&outputs[1], DTYPE_I32, DIMS(2, 3), REAL(6, 3, 1, 30, 6, 1));
    expect_output(&outputs[2], DTYPE_I32, DIMS(2, 0), REAL());
}
END_TEST

static struct value *einsum(const char *labels, struct value *x, struct value *y, enum dtype to)
{
    struct attr attrs[] = {{ATTR_LABELS, {.string = labels}}, {ATTR_TO, {.dtype = to}}};
    return make(OP_EINSUM, COUNT(x, y), 2, attrs, NULL);
}

START_TEST(multiplies_matrices)
{
    struct value *x = input(DTYPE_I8, DIMS(2, 2), REAL(100, 100, -3, 4)), *y = input(DTYPE_I8, DIMS(2, 1), REAL(2, 3));
    run(COUNT(einsum("mk,kn->nm", x, y, DTYPE_I32), einsum("mk,kn->mn", x, y, DTYPE_I8)));
    expect_output(&outputs[0], DTYPE_I32, DIMS(1, 2), REAL(500, 6));
    expect_output(&outputs[1], DTYPE_I8, DIMS(2, 1), REAL(-12, 6));
}
END_TEST

START_TEST(multiplies_empty_matrices)
{
    struct value *x = input(DTYPE_F32, DIMS(2, 0), REAL()), *y = input(DTYPE_F32, DIMS(0, 3), REAL());
    run(COUNT(einsum("mk,kn->mn", x, y, DTYPE_F32), einsum("mk,lk->ml", y, y, DTYPE_F32)));
    expect_output(&outputs[0], DTYPE_F32, DIMS(2, 3), REAL(0, 0, 0, 0, 0, 0));
    expect_output(&outputs[1], DTYPE_F32, DIMS(0, 0), REAL());
}
END_TEST

START_TEST(convolves)
{
    struct value *x = input(DTYPE_F32, DIMS(1, 2, 5), REAL(1, 2, 3, 4, 5, 10, 20, 30, 40, 50));
    struct value *w = input(DTYPE_F32, DIMS(2, 1, 2), REAL(1, 100, 1, -1));
    // Two groups of a channel and a filter each; output o reads 2 * o - 1 and 2 * o + 2.
    struct value *c = make(
        OP_CONV, COUNT(x, w),
        ATTRS(INTS(STRIDES, 2), INTS(DILATIONS, 3), SIZES(PADS, 1, 2), (struct attr){ATTR_GROUPS, {.i = 2}}), NULL);
    expect(c, DTYPE_F32, DIMS(1, 2, 3), REAL(300, 502, 4, -30, -30, 40));
}
END_TEST

START_TEST(convolves_nothing)
{
    struct value *x = input(DTYPE_F32, DIMS(0, 1, 3), REAL()), *w = input(DTYPE_F32, DIMS(1, 1, 2), REAL(1, 1));
    struct value *narrow = input(DTYPE_F32, DIMS(1, 1, 1), REAL(7)), *none = input(DTYPE_F32, DIMS(1, 1, 0), REAL());
    run(COUNT(make(OP_CONV, COUNT(x, w), 0, NULL, NULL), make(OP_CONV, COUNT(narrow, w), 0, NULL, NULL),
              make(OP_CONV, COUNT(none, w), ATTRS(SIZES(PADS, 1, 2)), NULL)));
    expect_output(&outputs[0], DTYPE_F32, DIMS(0, 1, 2), REAL());
    expect_output(&outputs[1], DTYPE_F32, DIMS(1, 1, 0), REAL());
    expect_output(&outputs[2], DTYPE_F32, DIMS(1, 1, 2), REAL(0, 0));
}
END_TEST

START_TEST(reduces_windows)
{
    struct value *x = input(DTYPE_F32, DIMS(2, 4), REAL(-1, -2, -3, -4, 5, 6, 7, 8));
    struct value *max =
        make(OP_WINDOW_REDUCE, COUNT(x),
             ATTRS(COMBINE(MAX), INTS(SIZES, 1, 2), INTS(STRIDES, 1, 3), SIZES(PADS, 0, 1, 0, 1)), NULL);
    struct value *sum =
        make(OP_WINDOW_REDUCE, COUNT(x), ATTRS(COMBINE(ADD), INTS(SIZES, 2, 2), INTS(DILATIONS, 1, 3)), NULL);
    struct value *narrow = input(DTYPE_F16, DIMS(1, 2), REAL(65504, 65504));
    struct attr to = {ATTR_TO, {.dtype = DTYPE_F32}};
    struct value *wide = make(OP_WINDOW_REDUCE, COUNT(narrow), ATTRS(COMBINE(ADD), INTS(SIZES, 1, 2), to), NULL);
    run(COUNT(max, sum, wide));
    expect_output(&outputs[0], DTYPE_F32, DIMS(2, 2), REAL(-1, -3, 5, 8));
    expect_output(&outputs[1], DTYPE_F32, DIMS(1, 1), REAL(8));
    expect_output(&outputs[2], DTYPE_F32, DIMS(1, 1), REAL(131008));
}
END_TEST

int main(void)
{
    // clang-format off
    const TTest *const tests[] = {
        adds_with_broadcasting, adds_a_tensor_of_rank_0, rounds_f16, rounds_bf16, wraps_i8, wraps_u8,
        compares_and_selects, casts, makes_constants_data_and_iota, gives_sizes, reshapes_transposes_and_broadcasts,
        broadcasts_open_sizes, refuses_sizes_that_do_not_broadcast, slices, slices_nothing,
        refuses_slices_beyond_the_end, refuses_slices_that_overflow, slices_one_element_by_any_step, pads_and_crops,
        pads_nothing_into_something, concatenates, takes, takes_nothing_and_from_nothing, extracts,
        refuses_to_extract_from_nothing, reduces, sums_in_double_and_rounds_once, reduces_nothing, scans,
        multiplies_matrices, multiplies_empty_matrices, convolves, convolves_nothing, reduces_windows
    };
    // clang-format on
    return run_tests("interp_graph", sizeof tests / sizeof *tests, tests);
}
