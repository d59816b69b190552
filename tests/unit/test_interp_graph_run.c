// The interpreter of graphs as a whole: sizes that are symbols, control flow, limits, and operations one at a time.
#include "tests/unit/graph_values.h"

// ---- Symbols ---------------------------------------------------------------------------------------------------

START_TEST(binds_symbols)
{
    dim n = symbol("N"), next = dims_add(m, n, 1);
    struct value *x = sized("x", DTYPE_F32, 1, &next, (int64_t[]){3}, REAL(1, 2, 3)); // before N is bound
    struct value *y = sized("y", DTYPE_F32, DIMS(n, 1), (int64_t[]){2, 1}, REAL(10, 20));
    expect(build_binary(&b, OP_ADD, x, y), DTYPE_F32, DIMS(2, 3), REAL(11, 12, 13, 21, 22, 23));
}
END_TEST

START_TEST(refuses_sizes_that_disagree)
{
    dim n = symbol("N");
    static const char *const names[] = {"first", "second"};
    struct value *x = sized("x", DTYPE_F32, 1, &n, (int64_t[]){3}, REAL(1, 2, 3));
    sized("y", DTYPE_F32, 1, &n, (int64_t[]){2}, REAL(1, 2));
    b.function->input_names = (const char **)names;
    ck_assert(run_for(1, &x, 0));
    fails_with("input 1 'second' has size 2 in dimension 0; N = 3 is wanted");
}
END_TEST

START_TEST(refuses_other_constants)
{
    struct value *x = sized("x", DTYPE_F32, DIMS(4), (int64_t[]){3}, REAL(1, 2, 3));
    ck_assert(run_for(1, &x, 0));
    fails_with("input 0 'x' has size 3 in dimension 0; 4 is wanted");
}
END_TEST

START_TEST(refuses_expressions_that_disagree)
{
    dim n = symbol("N"), twice = dims_mul(m, n, 2);
    sized("x", DTYPE_F32, 1, &n, (int64_t[]){3}, REAL(1, 2, 3));
    struct value *y = sized("y", DTYPE_F32, 1, &twice, (int64_t[]){5}, REAL(1, 2, 3, 4, 5));
    ck_assert(run_for(1, &y, 0));
    fails_with("input 1 'y' has size 5 in dimension 0; (2 * N) = 6 is wanted");
}
END_TEST

START_TEST(refuses_sizes_without_a_value)
{
    dim n = symbol("N"), twice = dims_mul(m, n, 2);
    struct value *x = sized("x", DTYPE_F32, 1, &twice, (int64_t[]){4}, REAL(1, 2, 3, 4));
    ck_assert(run_for(1, &x, 0));
    fails_with("the size (2 * N) has no value: N is not the size of an input");
}
END_TEST

START_TEST(refuses_negative_sizes)
{
    dim n = symbol("N"), less = dims_sub(m, n, 5);
    sized("x", DTYPE_F32, 1, &n, (int64_t[]){3}, REAL(1, 2, 3));
    struct value *x = build_float(&b, tensor(DTYPE_F32, 1, &less), 0);
    ck_assert(run_for(1, &x, 0));
    fails_with("is -2 for these inputs");
}
END_TEST

START_TEST(refuses_other_types_ranks_and_bytes)
{
    struct value *x = sized("x", DTYPE_F32, DIMS(2), (int64_t[]){2}, REAL(1, 2));
    build_yield(&b, COUNT(x));
    struct interp_tensor good = inputs[0], bad = good;
    bad.dtype = DTYPE_I32;
    ck_assert(interp_graph(b.function, &bad, outputs, 0, &diags));
    bad = good;
    bad.rank = 0;
    ck_assert(interp_graph(b.function, &bad, outputs, 0, &diags));
    bad = good;
    bad.bytes = 7;
    ck_assert(interp_graph(b.function, &bad, outputs, 0, &diags));
    bad = good;
    bad.data = NULL;
    ck_assert(interp_graph(b.function, &bad, outputs, 0, &diags));
    bad = good;
    bad.dims[0] = -2;
    ck_assert(interp_graph(b.function, &bad, outputs, 0, &diags));
    bad = good;
    bad.dims[0] = INT64_MAX;
    ck_assert(interp_graph(b.function, &bad, outputs, 0, &diags));
    ck_assert_int_eq(diags.n_errors, 6);
    const char *all = diag_string(&diags);
    static const char *const texts[] = {"holds i32; give f32",           "has 0 dimensions; give 1",
                                        "has 7 bytes; its sizes take 8", "has 0 bytes; its sizes take 8",
                                        "has size -2 in dimension 0",    "is too large"};
    for (int i = 0; i < 6; i++)
        ck_assert_msg(strstr(all, texts[i]), "%s not in %s", texts[i], all);
    ck_assert_ptr_null(outputs[0].data);
}
END_TEST

// ---- Control ---------------------------------------------------------------------------------------------------

START_TEST(takes_branches)
{
    struct value *c = input(DTYPE_I1, DIMS(), REAL(0)), *x = input(DTYPE_I32, DIMS(2), REAL(1, 2));
    struct value *condition = make(OP_EXTRACT, COUNT(c), 0, NULL, NULL);
    struct op *op = build_if(&b, condition, 1, &x->type);
    build_yield(&b, COUNT(x));
    build_enter(&b, op->blocks[1]);
    build_yield(&b, COUNT(build_unary(&b, OP_NEG, x)));
    build_end(&b, op);
    expect(op->results[0], DTYPE_I32, DIMS(2), REAL(-1, -2));
}
END_TEST

START_TEST(runs_loops)
{
    // x doubles n times, and a while halves it back until its first element is below 3.
    dim n = symbol("N");
    struct value *x = sized("x", DTYPE_F32, 1, &n, (int64_t[]){3}, REAL(1, 5, 7));
    struct value *end = function_symbol(b.function, dim_symbol_id(n));
    struct value *two = build_float(&b, tensor(DTYPE_F32, DIMS()), 2);
    struct op *loop = build_for(&b, build_index(&b, 0), end, build_index(&b, 1), 1, &x);
    build_yield(&b, COUNT(build_binary(&b, OP_MUL, loop->blocks[0]->args[1], two)));
    build_end(&b, loop);
    struct value *start = loop->results[0];
    struct op *again = build_op(&b, OP_WHILE, 1, &start, 0, NULL, 1, &start->type);
    struct value *test = block_add_arg(b.function, again->blocks[0], NULL, start->type);
    struct value *body = block_add_arg(b.function, again->blocks[1], NULL, start->type);
    build_enter(&b, again->blocks[0]);
    struct value *first = make(OP_EXTRACT, COUNT(test, build_index(&b, 0)), 0, NULL, NULL);
    struct value *more = build_binary(&b, OP_GE, first, build_float(&b, type_scalar(m, DTYPE_F32), 3));
    build_op(&b, OP_CONDITION, COUNT(more), 0, NULL, 0, NULL);
    build_enter(&b, again->blocks[1]);
    build_yield(&b, COUNT(build_binary(&b, OP_DIV, body, two)));
    build_end(&b, again);
    run(COUNT(loop->results[0], again->results[0]));
    expect_output(&outputs[0], DTYPE_F32, DIMS(3), REAL(8, 40, 56));
    expect_output(&outputs[1], DTYPE_F32, DIMS(3), REAL(2, 10, 14));
}
END_TEST

static struct op *composite(struct value *x)
{
    struct attr name = {ATTR_NAME, {.string = "twice"}};
    struct op *op = build_op(&b, OP_COMPOSITE, 1, &x, 1, &name, 1, &x->type);
    struct value *arg = block_add_arg(b.function, op->blocks[0], NULL, x->type);
    build_enter(&b, op->blocks[0]);
    struct value *sum = build_binary(&b, OP_ADD, arg, arg);
    build_yield(&b, COUNT(sum));
    build_end(&b, op);
    return op;
}

START_TEST(runs_composites)
{
    struct value *x = input(DTYPE_I32, DIMS(2), REAL(3, 4));
    expect(composite(composite(x)->results[0])->results[0], DTYPE_I32, DIMS(2), REAL(12, 16));
}
END_TEST

START_TEST(asserts)
{
    struct value *x = input(DTYPE_I1, DIMS(2), REAL(1, 0));
    struct attr message = {ATTR_MESSAGE, {.string = "the second is wrong"}};
    for (int i = 0; i < 2; i++) {
        struct value *c = make(OP_EXTRACT, COUNT(x, build_index(&b, i)), 0, NULL, NULL);
        build_op(&b, OP_ASSERT, COUNT(c), 1, &message, 0, NULL);
    }
    ck_assert(run_for(1, &x, 0));
    fails_with("assert: the second is wrong");
}
END_TEST

// ---- Limits ----------------------------------------------------------------------------------------------------

START_TEST(gives_up_on_long_graphs)
{
    struct value *x = input(DTYPE_F32, DIMS(3), REAL(1, 2, 3));
    struct op *loop = build_for(&b, build_index(&b, 0), build_index(&b, INT64_MAX), build_index(&b, 1), 1, &x);
    build_yield(&b, COUNT(build_binary(&b, OP_MUL, loop->blocks[0]->args[1], x)));
    build_end(&b, loop);
    ck_assert(run_for(1, loop->results, 1000));
    fails_with("the graph runs too long");
}
END_TEST

START_TEST(gives_up_on_large_windows)
{
    int64_t size = (int64_t)1 << 61;
    struct value *x = input(DTYPE_F32, DIMS(3), REAL(1, 2, 3));
    struct value *sum =
        make(OP_WINDOW_REDUCE, COUNT(x), ATTRS(COMBINE(ADD), INTS(SIZES, size), SIZES(PADS, size, 1)), NULL);
    ck_assert(run_for(1, &sum, 0));
    fails_with("the graph runs too long");
}
END_TEST

START_TEST(gives_up_on_large_tensors)
{
    struct value *x = build_int(&b, tensor(DTYPE_I8, DIMS((int64_t)1 << 40)), 1);
    ck_assert(run_for(1, &x, 0));
    fails_with("more memory than the interpreter takes");
}
END_TEST

START_TEST(gives_up_on_sizes_that_overflow)
{
    struct value *x = build_int(&b, tensor(DTYPE_I8, DIMS((int64_t)1 << 40, (int64_t)1 << 40, 0)), 1);
    ck_assert(run_for(1, &x, 0));
    fails_with("the tensor is too large");
}
END_TEST

// A chain whose values together are more than may lie in memory at a time, but each lives for a moment only.
START_TEST(frees_what_is_read_no_more)
{
    struct value *x = build_int(&b, tensor(DTYPE_I8, DIMS(1 << 21)), 1);
    struct value *one = build_int(&b, tensor(DTYPE_I8, DIMS()), 1), *unused = NULL;
    for (int i = 0; i < 140; i++) {
        x = i < 4 ? build_binary(&b, OP_ADD, x, one) : make(OP_RESHAPE, COUNT(x), 0, NULL, x->type);
        unused = make(OP_RESHAPE, COUNT(x), 0, NULL, x->type);
    }
    ck_assert_ptr_nonnull(unused);
    struct value *sum = make(OP_REDUCE, COUNT(x), ATTRS(COMBINE(MAX), INTS(AXES, 0)), NULL);
    expect(sum, DTYPE_I8, DIMS(1), REAL(5));
}
END_TEST

// ---- Single operations -----------------------------------------------------------------------------------------

START_TEST(runs_one_operation)
{
    struct value *x = input(DTYPE_I32, DIMS(2), REAL(3, 4)), *y = input(DTYPE_I32, DIMS(2), REAL(10, 20));
    const struct op *op = build_binary(&b, OP_SUB, y, x)->def;
    struct interp_tensor operands[] = {inputs[1], inputs[0]};
    ck_assert_int_eq(interp_graph_op(op, b.function, operands, outputs, 0, &diags), 0);
    n_outputs = 1;
    expect_output(&outputs[0], DTYPE_I32, DIMS(2), REAL(7, 16));
}
END_TEST

START_TEST(runs_one_composite)
{
    struct value *x = input(DTYPE_I32, DIMS(2), REAL(3, 4));
    ck_assert_int_eq(interp_graph_op(composite(x), b.function, inputs, outputs, 0, &diags), 0);
    n_outputs = 1;
    expect_output(&outputs[0], DTYPE_I32, DIMS(2), REAL(6, 8));
}
END_TEST

START_TEST(leaves_one_operation_undecided)
{
    dim n = symbol("N");
    struct value *x = input(DTYPE_I32, DIMS(2), REAL(3, 4));
    const struct op *sizes = make(OP_SIZES, 0, NULL, ATTRS(SIZES(DIMS, n)), NULL)->def;
    const struct op *sum = build_binary(&b, OP_ADD, x, x)->def;
    ck_assert_int_eq(interp_graph_op(sizes, b.function, NULL, outputs, 0, &diags), 2);
    ck_assert_int_eq(
        interp_graph_op(sum, b.function, (struct interp_tensor[]){inputs[0], inputs[0]}, outputs, 1, &diags), 2);
    ck_assert_int_eq(diags.n_errors, 0);
    ck_assert_ptr_null(outputs[0].data);
}
END_TEST

START_TEST(reports_the_fault_of_one_operation)
{
    struct value *x = input(DTYPE_I8, DIMS(3), REAL(0, 1, 2));
    const struct op *op = make(OP_SLICE, COUNT(x), ATTRS(SIZES(STARTS, 3)), tensor(DTYPE_I8, DIMS(1)))->def;
    ck_assert_int_eq(interp_graph_op(op, b.function, inputs, outputs, 0, &diags), 1);
    fails_with("slice: 1 elements from 3 on");
}
END_TEST

int main(void)
{
    // clang-format off
    const TTest *const tests[] = {
        binds_symbols, refuses_sizes_that_disagree, refuses_other_constants, refuses_expressions_that_disagree,
        refuses_sizes_without_a_value, refuses_negative_sizes, refuses_other_types_ranks_and_bytes, takes_branches,
        runs_loops, runs_composites, asserts, gives_up_on_long_graphs, gives_up_on_large_windows,
        gives_up_on_large_tensors, gives_up_on_sizes_that_overflow, frees_what_is_read_no_more, runs_one_operation,
        runs_one_composite, leaves_one_operation_undecided, reports_the_fault_of_one_operation
    };
    // clang-format on
    return run_tests("interp_graph_run", sizeof tests / sizeof *tests, tests);
}
