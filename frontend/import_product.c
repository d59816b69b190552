// Matrix products: einsum.
#include <string.h>

#include "frontend/import_internal.h"

struct value *import_einsum(struct import *im, const char *labels, struct value *a, struct value *b)
{
    return build_value(&im->b, OP_EINSUM, 2, (struct value *[]){a, b}, 1,
                       &(struct attr){ATTR_LABELS, {.string = labels}}, NULL);
}

// A factor of MatMul: its matrix dimensions, the last two, and the batch dimensions in front of them.
struct factor {
    struct value *v;
    int batch; // dimensions
    char labels[MAX_RANK + 1];
    int n_labels;
};

static void add_label(struct factor *f, char c)
{
    f->labels[f->n_labels++] = c;
}

// Drops the dimensions that are marked, which are 1.
static struct value *drop(struct import *im, struct value *v, const bool *dropped)
{
    dim dims[MAX_RANK];
    int rank = 0;
    for (int d = 0; d < v->type->rank; d++)
        if (!dropped[d])
            dims[rank++] = v->type->dims[d];
    return import_reshape(im, v, rank, dims);
}

static struct value *stretch(struct import *im, struct value *v, int axis, dim size)
{
    dim dims[MAX_RANK];
    memcpy(dims, v->type->dims, sizeof dims);
    dims[axis] = size;
    return import_stretch(im, v, dims);
}

// The product of two tensors as numpy's matmul has it. An einsum's label is of one size, so a batch dimension of 1
// against a larger one is dropped first.
static struct value *matmul(struct node *n, struct value *x, struct value *y)
{
    struct import *im = n->im;
    struct factor f[2] = {{x}, {y}};
    struct factor result = {0};
    if (!x->type->rank || !y->type->rank) {
        node_error(n, "input %d has no dimension", x->type->rank ? 2 : 1);
        return NULL;
    }
    for (int i = 0; i < 2; i++)
        f[i].batch = f[i].v->type->rank > 2 ? f[i].v->type->rank - 2 : 0;
    int batch = f[0].batch > f[1].batch ? f[0].batch : f[1].batch;
    bool dropped[2][MAX_RANK] = {{false}};
    for (int d = 0; d < batch; d++) {
        int at[2] = {d - (batch - f[0].batch), d - (batch - f[1].batch)};
        dim size[2] = {1, 1};
        for (int i = 0; i < 2; i++)
            if (at[i] >= 0)
                size[i] = f[i].v->type->dims[at[i]];
        dim both = import_broadcast_size(n, size[0], size[1]);
        if (both == DIM_UNKNOWN)
            return NULL;
        for (int i = 0; i < 2; i++) {
            if (at[i] < 0)
                continue;
            dropped[i][at[i]] = size[i] == 1 && size[1 - i] != 1;
            if (dropped[i][at[i]])
                continue;
            f[i].v = stretch(im, f[i].v, at[i], both);
            add_label(&f[i], (char)('a' + d));
        }
        add_label(&result, (char)('a' + d));
    }
    bool row = x->type->rank > 1, column = y->type->rank > 1;
    dim sum = import_agree(n, x->type->dims[x->type->rank - 1], y->type->dims[column ? y->type->rank - 2 : 0]);
    if (sum == DIM_UNKNOWN)
        return NULL;
    f[0].v = import_match(n, f[0].v, x->type->rank - 1, sum);
    f[1].v = import_match(n, f[1].v, column ? y->type->rank - 2 : 0, sum);
    if (row) {
        add_label(&f[0], 'm');
        add_label(&result, 'm');
    }
    add_label(&f[0], 'k');
    add_label(&f[1], 'k');
    if (column) {
        add_label(&f[1], 'n');
        add_label(&result, 'n');
    }
    const char *labels = arena_printf(&im->arena, "%s,%s->%s", f[0].labels, f[1].labels, result.labels);
    return import_einsum(im, labels, drop(im, f[0].v, dropped[0]), drop(im, f[1].v, dropped[1]));
}

static bool check_factors(struct node *n)
{
    enum dtype t = node_type(n, 0)->dtype, u = node_type(n, 1)->dtype;
    if (t != u || t == DTYPE_I1)
        node_error(n, "inputs %s, %s, and %s, %s, must be of one type of numbers",
                   model_quote(n->im->model, n->inputs[0]->name), dtype_info[t].name,
                   model_quote(n->im->model, n->inputs[1]->name), dtype_info[u].name);
    return !n->failed;
}

void import_op_matmul(struct node *n)
{
    if (check_factors(n))
        node_output(n, 0, matmul(n, node_input(n, 0), node_input(n, 1)));
}

// A factor of MatMulInteger in i32, less its zero point: one number, or one for each row of the first factor or column
// of the second.
static struct value *shifted(struct node *n, int i)
{
    struct import *im = n->im;
    struct value *v = import_cast(im, node_input(n, i), DTYPE_I32);
    if (!node_has_input(n, 2 + i))
        return v;
    struct value *zero = import_cast(im, node_input(n, 2 + i), DTYPE_I32);
    if (node_type(n, 2 + i)->dtype != node_type(n, i)->dtype) {
        node_error(n, "the zero point is %s and its factor %s; they must be of one type",
                   dtype_info[node_type(n, 2 + i)->dtype].name, dtype_info[node_type(n, i)->dtype].name);
        return NULL;
    }
    if (i == 0 && zero->type->rank == 1 && v->type->rank > 1) {
        dim dims[2] = {zero->type->dims[0], 1};
        zero = import_reshape(im, zero, 2, dims);
    }
    return import_binary(n, OP_SUB, v, zero);
}

void import_op_matmul_integer(struct node *n)
{
    for (int i = 0; i < 2; i++)
        if (node_type(n, i)->dtype != DTYPE_I8 && node_type(n, i)->dtype != DTYPE_U8) {
            node_error(n, "input %s must be i8 or u8, not %s", model_quote(n->im->model, n->inputs[i]->name),
                       dtype_info[node_type(n, i)->dtype].name);
            return;
        }
    struct value *x = shifted(n, 0), *y = shifted(n, 1);
    if (x && y)
        node_output(n, 0, matmul(n, x, y));
}

// ---- Gemm ------------------------------------------------------------------------------------------------------

static struct value *scaled(struct node *n, struct value *v, double factor)
{
    enum dtype t = v->type->dtype;
    if (factor == 1)
        return v;
    if (!dtype_is_float(t) && factor != (double)(int64_t)factor) {
        node_error(n, "'alpha' and 'beta' must be whole numbers for %s", dtype_info[t].name);
        return NULL;
    }
    return import_binary(n, OP_MUL, v, import_number(n, t, factor));
}

void import_op_gemm(struct node *n)
{
    bool trans_a = node_int(n, "transA", 0), trans_b = node_int(n, "transB", 0);
    double alpha = node_float(n, "alpha", 1), beta = node_float(n, "beta", 1);
    for (int i = 0; i < 2; i++)
        if (node_type(n, i)->rank != 2) {
            node_error(n, "input %s must be a matrix, not %s", model_quote(n->im->model, n->inputs[i]->name),
                       type_string(&n->im->arena, n->im->module, node_type(n, i)));
            return;
        }
    if (!check_factors(n))
        return;
    struct value *a = node_input(n, 0), *b = node_input(n, 1);
    dim sum = import_agree(n, a->type->dims[!trans_a], b->type->dims[trans_b]);
    if (sum == DIM_UNKNOWN)
        return;
    a = import_match(n, a, !trans_a, sum);
    b = import_match(n, b, trans_b, sum);
    char labels[] = "mk,kn->mn";
    memcpy(labels, trans_a ? "km" : "mk", 2);
    memcpy(labels + 3, trans_b ? "nk" : "kn", 2);
    struct value *v = scaled(n, import_einsum(n->im, labels, a, b), alpha);
    if (v && node_has_input(n, 2) && beta != 0) {
        struct value *c = node_input(n, 2);
        if (c->type->dtype != v->type->dtype || c->type->rank > 2) {
            node_error(n, "input %s, %s, cannot be added to %s", model_quote(n->im->model, n->inputs[2]->name),
                       type_string(&n->im->arena, n->im->module, c->type),
                       type_string(&n->im->arena, n->im->module, v->type));
            return;
        }
        c = scaled(n, c, beta);
        c = c ? import_stretch_onto(n, c, v->type) : NULL;
        v = c ? import_binary(n, OP_ADD, v, c) : NULL;
    }
    node_output(n, 0, v);
}
