// The interpreter of graphs against values computed by hand. tests/unit/interp_graph_random.py compares it with numpy.
#include "ir/interp_graph.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ir/dims.h"
#include "ir/scalar.h"
#include "tests/unit/suite.h"

#define MOST_INPUTS 4

static struct module *m;
static struct diags diags;
static struct builder b;
static struct interp_tensor inputs[MOST_INPUTS], outputs[4];
static int n_outputs;

static void setup(void)
{
    m = module_create();
    diag_init(&diags);
    memset(inputs, 0, sizeof inputs);
    memset(outputs, 0, sizeof outputs);
    n_outputs = 0;
    struct function *g = function_create(m, "g", (struct loc){.file = "test", .line = 1});
    g->kind = FUNCTION_GRAPH;
    b = (struct builder){.function = g, .block = g->body, .loc = {.file = "test", .line = 2}, .diags = &diags};
}

static void teardown(void)
{
    for (int i = 0; i < MOST_INPUTS; i++)
        free(inputs[i].data);
    for (int i = 0; i < n_outputs; i++)
        free(outputs[i].data);
    module_destroy(m);
    diag_finish(&diags);
}

// Lists that may be empty.
#define LIST(type, ...) ((int)(sizeof((type[]){0, ##__VA_ARGS__}) / sizeof(type)) - 1), ((type[]){0, ##__VA_ARGS__}) + 1
#define DIMS(...) LIST(dim, ##__VA_ARGS__)
#define REAL(...) LIST(double, ##__VA_ARGS__)
#define COUNT(...)                                                                                                     \
    ((int)(sizeof((struct value *[]){__VA_ARGS__}) / sizeof(struct value *))), (struct value *[])                      \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }
#define ATTRS(...)                                                                                                     \
    ((int)(sizeof((struct attr[]){__VA_ARGS__}) / sizeof(struct attr))), (struct attr[])                               \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }
#define INTS(key, ...)                                                                                                 \
    (struct attr)                                                                                                      \
    {                                                                                                                  \
        ATTR_##key,                                                                                                    \
        {                                                                                                              \
            .ints = {(int)(sizeof((int64_t[]){__VA_ARGS__}) / 8), (int64_t[]){__VA_ARGS__} }                           \
        }                                                                                                              \
    }
#define SIZES(key, ...)                                                                                                \
    (struct attr)                                                                                                      \
    {                                                                                                                  \
        ATTR_##key,                                                                                                    \
        {                                                                                                              \
            .dims = {(int)(sizeof((dim[]){__VA_ARGS__}) / 8), (dim[]){__VA_ARGS__} }                                   \
        }                                                                                                              \
    }
#define COMBINE(e)                                                                                                     \
    (struct attr)                                                                                                      \
    {                                                                                                                  \
        ATTR_COMBINE,                                                                                                  \
        {                                                                                                              \
            .opcode = OP_##e                                                                                           \
        }                                                                                                              \
    }
#define AXIS(x)                                                                                                        \
    (struct attr)                                                                                                      \
    {                                                                                                                  \
        ATTR_AXIS,                                                                                                     \
        {                                                                                                              \
            .i = (x)                                                                                                   \
        }                                                                                                              \
    }

static struct type *tensor(enum dtype t, int rank, const dim *dims)
{
    return type_tensor(m, t, rank, dims);
}

static dim symbol(const char *name)
{
    return dim_symbol(module_symbol(m, name, strlen(name)));
}

static void fill(struct interp_tensor *x, enum dtype t, int rank, const int64_t *dims, int n, const double *values)
{
    *x = (struct interp_tensor){.dtype = t, .rank = rank, .bytes = dtype_array_bytes(t, n)};
    memcpy(x->dims, dims, sizeof *dims * (size_t)rank);
    x->data = calloc(1, (size_t)x->bytes + 1);
    for (int i = 0; i < n; i++)
        dtype_array_store(t, x->data, i, dtype_cast(t, DTYPE_F64, (union scalar){.f = values[i]}));
}

// A parameter with its value, whose sizes are the type's.
static struct value *input(enum dtype t, int rank, const dim *dims, int n, const double *values)
{
    fill(&inputs[b.function->n_params], t, rank, dims, n, values);
    return function_add_param(b.function, "x", tensor(t, rank, dims));
}

static struct value *make(enum opcode code, int n, struct value *const *operands, int n_attrs, const struct attr *attrs,
                          struct type *type)
{
    return build_value(&b, code, n, operands, n_attrs, attrs, type);
}

static int run_for(int n, struct value *const *results, int64_t budget)
{
    build_yield(&b, n, results);
    b.function->n_inputs = b.function->n_params;
    b.function->n_outputs = n;
    ck_assert_msg(!b.failed && verify_module(m, &diags), "%s", diag_string(&diags));
    int status = interp_graph(b.function, inputs, outputs, budget, &diags);
    n_outputs = status ? 0 : n;
    return status;
}

static void run(int n, struct value *const *results)
{
    int status = run_for(n, results, 0);
    ck_assert_msg(!status, "%s", diag_string(&diags));
}

static void fails_with(const char *text)
{
    ck_assert(diags.n_errors == 1);
    ck_assert_msg(strstr(diag_string(&diags), text), "%s", diag_string(&diags));
}

static void expect_output(const struct interp_tensor *x, enum dtype t, int rank, const dim *dims, int n,
                          const double *values)
{
    ck_assert_int_eq(x->dtype, t);
    ck_assert_int_eq(x->rank, rank);
    int64_t elements = 1;
    for (int d = 0; d < rank; d++) {
        ck_assert_int_eq(x->dims[d], dims[d]);
        elements *= dims[d];
    }
    ck_assert_int_eq(elements, n);
    ck_assert_int_eq(x->bytes, dtype_array_bytes(t, n));
    for (int i = 0; i < n; i++) {
        union scalar have = dtype_array_load(t, x->data, i);
        double y = dtype_is_float(t) ? have.f : (double)have.i;
        ck_assert_msg(y == values[i] || (isnan(y) && isnan(values[i])), "[%d] is %.17g, not %.17g", i, y, values[i]);
    }
}

static void expect(struct value *v, enum dtype t, int rank, const dim *dims, int n, const double *values)
{
    run(1, &v);
    expect_output(&outputs[0], t, rank, dims, n, values);
}

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

// An input of the stated type whose real sizes are given.
static struct value *sized(const char *name, enum dtype t, int rank, const dim *type, const int64_t *dims, int n,
                           const double *values)
{
    fill(&inputs[b.function->n_params], t, rank, dims, n, values);
    return function_add_param(b.function, name, tensor(t, rank, type));
}

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
        adds_with_broadcasting, adds_a_tensor_of_rank_0, rounds_f16, rounds_bf16, wraps_i8, wraps_u8,
        compares_and_selects, casts, makes_constants_data_and_iota, gives_sizes, binds_symbols,
        refuses_sizes_that_disagree, refuses_other_constants, refuses_expressions_that_disagree,
        refuses_sizes_without_a_value, refuses_negative_sizes, refuses_other_types_ranks_and_bytes,
        reshapes_transposes_and_broadcasts, broadcasts_open_sizes, refuses_sizes_that_do_not_broadcast, slices, slices_nothing, refuses_slices_beyond_the_end,
        refuses_slices_that_overflow, slices_one_element_by_any_step, pads_and_crops, pads_nothing_into_something,
        concatenates, takes, takes_nothing_and_from_nothing, extracts, refuses_to_extract_from_nothing, reduces,
        sums_in_double_and_rounds_once, reduces_nothing, scans, multiplies_matrices, multiplies_empty_matrices,
        convolves, convolves_nothing, reduces_windows, takes_branches, runs_loops, runs_composites, asserts,
        gives_up_on_long_graphs, gives_up_on_large_windows, gives_up_on_large_tensors, gives_up_on_sizes_that_overflow,
        frees_what_is_read_no_more, runs_one_operation, runs_one_composite, leaves_one_operation_undecided,
        reports_the_fault_of_one_operation
    };
    // clang-format on
    Suite *s = suite_create("interp_graph");
    TCase *c = tcase_create("interp_graph");
    tcase_set_timeout(c, 120);
    tcase_add_checked_fixture(c, setup, teardown);
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        tcase_add_test(c, tests[i]);
    suite_add_tcase(s, c);
    return suite_run(s, CK_FORK_GETENV);
}
