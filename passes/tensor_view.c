#include "passes/tensor_view.h"

#include <string.h>

#include "ir/dims.h"

// What the dimension outside of one strides by: a tensor without elements has strides too, for 0 says "broadcast".
static dim step_over(struct module *m, dim stride, dim size)
{
    return size == 0 ? stride : dims_mul(m, stride, size);
}

struct tensor_view tensor_view_create(struct module *m, const struct type *t, const int *order)
{
    struct tensor_view v = {.rank = t->rank};
    dim stride = 1;
    for (int i = t->rank - 1; i >= 0; i--) {
        int d = order ? order[i] : i;
        v.sizes[d] = t->dims[d];
        v.strides[d] = stride;
        stride = step_over(m, stride, t->dims[d]);
    }
    return v;
}

bool tensor_view_is_layout(const struct op *op)
{
    return op->code == OP_TRANSPOSE || op->code == OP_RESHAPE || op->code == OP_BROADCAST || op->code == OP_SLICE ||
           op->code == OP_DYNAMIC_SLICE;
}

static bool apply_transpose(const struct op *op, struct tensor_view *v)
{
    struct tensor_view from = *v;
    struct ints axes = op_ints(op, ATTR_AXES);
    for (int d = 0; d < v->rank; d++) {
        v->sizes[d] = from.sizes[axes.v[d]];
        v->strides[d] = from.strides[axes.v[d]];
    }
    return true;
}

// What a dimension that may be 1 at run time strides by, the host finds out.
static bool apply_broadcast(struct module *m, const struct op *op, struct tensor_view *v)
{
    const struct type *to = op->results[0]->type;
    struct tensor_view from = *v;
    v->rank = to->rank;
    for (int d = 0; d < to->rank; d++) {
        int f = d - to->rank + from.rank;
        v->sizes[d] = to->dims[d];
        if (f < 0 || from.sizes[f] == 1)
            v->strides[d] = to->dims[d] == 1 && f >= 0 ? from.strides[f] : 0;
        else if (from.sizes[f] == to->dims[d])
            v->strides[d] = from.strides[f];
        else
            v->strides[d] = dims_mul(m, from.strides[f], dims_unless_one(m, from.sizes[f]));
    }
    return true;
}

static bool apply_slice(struct module *m, const struct op *op, struct tensor_view *v)
{
    const struct type *to = op->results[0]->type;
    struct dims starts = op_attr(op, ATTR_STARTS)->dims;
    struct ints steps = op_ints(op, ATTR_STEPS);
    for (int d = 0; d < v->rank; d++)
        if (steps.n && steps.v[d] < 0)
            return false;
    for (int d = 0; d < v->rank; d++) {
        v->offset = dims_add(m, v->offset, dims_mul(m, starts.v[d], v->strides[d]));
        v->sizes[d] = to->dims[d];
        v->strides[d] = dims_mul(m, v->strides[d], steps.n ? steps.v[d] : 1);
    }
    return true;
}

// Runs of dimensions of equal products correspond: [A, B * C] and [A, B, C]. Within a run the old dimensions must lie
// without gaps to become new ones; one old dimension always does.
static bool apply_reshape(struct module *m, const struct op *op, struct tensor_view *v)
{
    const struct type *to = op->results[0]->type;
    struct tensor_view new = {.rank = to->rank, .offset = v->offset};
    int i = 0, j = 0;
    for (int d = 0; d < v->rank; d++)
        if (v->sizes[d] == 0) { // no elements: any strides will do
            new = tensor_view_create(m, to, NULL);
            new.offset = v->offset;
            *v = new;
            return true;
        }
    while (i < v->rank || j < to->rank) {
        int first = i, from = j;
        dim old_product = 1, new_product = 1;
        // Take one dimension of either side until the products agree.
        if (i < v->rank)
            old_product = v->sizes[i++];
        if (j < to->rank)
            new_product = to->dims[j++];
        while (old_product != new_product) {
            bool grow_old = j == to->rank || (i < v->rank && dims_exact(m, new_product, old_product) != DIM_UNKNOWN);
            if (grow_old && i < v->rank)
                old_product = dims_mul(m, old_product, v->sizes[i++]);
            else if (j < to->rank)
                new_product = dims_mul(m, new_product, to->dims[j++]);
            else
                return false;
        }
        // Trailing ones belong to the run before them.
        while (i == v->rank && j < to->rank && to->dims[j] == 1)
            j++;
        int inner = -1;
        for (int d = first; d < i; d++) {
            if (v->sizes[d] == 1)
                continue;
            if (inner >= 0 && v->strides[inner] != step_over(m, v->strides[d], v->sizes[d]))
                return false;
            inner = d;
        }
        dim stride = inner >= 0 ? v->strides[inner] : 0;
        for (int d = j - 1; d >= from; d--) {
            new.sizes[d] = to->dims[d];
            new.strides[d] = stride;
            stride = step_over(m, stride, to->dims[d]);
        }
    }
    *v = new;
    return true;
}

bool tensor_view_apply(struct module *m, const struct op *op, struct tensor_view *v)
{
    if (v->tensor_rank)
        return false;
    switch (op->code) {
    case OP_TRANSPOSE:
        return apply_transpose(op, v);
    case OP_BROADCAST:
        return apply_broadcast(m, op, v);
    case OP_SLICE:
        return apply_slice(m, op, v);
    case OP_RESHAPE:
        return apply_reshape(m, op, v);
    default:
        return false;
    }
}

bool tensor_view_invert(struct module *m, const struct op *op, struct tensor_view *v)
{
    const struct type *from = op->operands[0]->type;
    if (v->tensor_rank)
        return false;
    if (op->code == OP_TRANSPOSE) {
        struct tensor_view result = *v;
        struct ints axes = op_ints(op, ATTR_AXES);
        for (int d = 0; d < v->rank; d++) {
            v->sizes[axes.v[d]] = result.sizes[d];
            v->strides[axes.v[d]] = result.strides[d];
        }
        return true;
    }
    if (op->code != OP_RESHAPE)
        return false;
    struct value operand = {.type = (struct type *)from}, *operands[1] = {&operand}, *results[1] = {&operand};
    struct op back = {.code = OP_RESHAPE, .n_operands = 1, .operands = operands, .n_results = 1, .results = results};
    return tensor_view_apply(m, &back, v);
}

void tensor_view_order(struct module *m, const struct tensor_view *v, int *order)
{
    dim strides[MAX_RANK];
    for (int d = 0; d < v->rank; d++) {
        strides[d] = v->strides[d] == 0 && d ? strides[d - 1] : v->strides[d];
        order[d] = d;
    }
    for (int pass = 0; pass < v->rank; pass++)
        for (int d = 0; d + 1 < v->rank; d++) {
            dim a = strides[order[d]], b = strides[order[d + 1]];
            if (a != b && a != 0 && b != 0 && dims_exact(m, b, a) != DIM_UNKNOWN) {
                int t = order[d];
                order[d] = order[d + 1];
                order[d + 1] = t;
            }
        }
}
