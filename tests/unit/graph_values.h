// What the tests of the interpreter of graphs share: a graph that is built operation by operation, its inputs, and the
// outputs to expect.
#ifndef TEGULA_TESTS_UNIT_GRAPH_VALUES_H
#define TEGULA_TESTS_UNIT_GRAPH_VALUES_H

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

static inline void setup(void)
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

static inline void teardown(void)
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

static inline struct type *tensor(enum dtype t, int rank, const dim *dims)
{
    return type_tensor(m, t, rank, dims);
}

static inline dim symbol(const char *name)
{
    return dim_symbol(module_symbol(m, name, strlen(name)));
}

static inline void fill(struct interp_tensor *x, enum dtype t, int rank, const int64_t *dims, int n,
                        const double *values)
{
    *x = (struct interp_tensor){.dtype = t, .rank = rank, .bytes = dtype_array_bytes(t, n)};
    memcpy(x->dims, dims, sizeof *dims * (size_t)rank);
    x->data = calloc(1, (size_t)x->bytes + 1);
    for (int i = 0; i < n; i++)
        dtype_array_store(t, x->data, i, dtype_cast(t, DTYPE_F64, (union scalar){.f = values[i]}));
}

// A parameter with its value, whose sizes are the type's.
static inline struct value *input(enum dtype t, int rank, const dim *dims, int n, const double *values)
{
    fill(&inputs[b.function->n_params], t, rank, dims, n, values);
    return function_add_param(b.function, "x", tensor(t, rank, dims));
}

// An input of the stated type whose real sizes are given.
static inline struct value *sized(const char *name, enum dtype t, int rank, const dim *type, const int64_t *dims, int n,
                                  const double *values)
{
    fill(&inputs[b.function->n_params], t, rank, dims, n, values);
    return function_add_param(b.function, name, tensor(t, rank, type));
}

static inline struct value *make(enum opcode code, int n, struct value *const *operands, int n_attrs,
                                 const struct attr *attrs, struct type *type)
{
    return build_value(&b, code, n, operands, n_attrs, attrs, type);
}

static inline int run_for(int n, struct value *const *results, int64_t budget)
{
    build_yield(&b, n, results);
    b.function->n_inputs = b.function->n_params;
    b.function->n_outputs = n;
    ck_assert_msg(!b.failed && verify_module(m, &diags), "%s", diag_string(&diags));
    int status = interp_graph(b.function, inputs, outputs, budget, &diags);
    n_outputs = status ? 0 : n;
    return status;
}

static inline void run(int n, struct value *const *results)
{
    int status = run_for(n, results, 0);
    ck_assert_msg(!status, "%s", diag_string(&diags));
}

static inline void fails_with(const char *text)
{
    ck_assert(diags.n_errors == 1);
    ck_assert_msg(strstr(diag_string(&diags), text), "%s", diag_string(&diags));
}

static inline void expect_output(const struct interp_tensor *x, enum dtype t, int rank, const dim *dims, int n,
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

static inline void expect(struct value *v, enum dtype t, int rank, const dim *dims, int n, const double *values)
{
    run(1, &v);
    expect_output(&outputs[0], t, rank, dims, n, values);
}

// The program's tests, each on a graph of its own.
static inline int run_tests(const char *name, size_t n, const TTest *const tests[])
{
    Suite *s = suite_create(name);
    TCase *c = tcase_create(name);
    tcase_set_timeout(c, 120);
    tcase_add_checked_fixture(c, setup, teardown);
    for (size_t i = 0; i < n; i++)
        tcase_add_test(c, tests[i]);
    suite_add_tcase(s, c);
    return suite_run(s, CK_FORK_GETENV);
}

#endif
