// Operations as the importer builds them.
#include <string.h>

#include "frontend/import_internal.h"

static struct value *make(struct import *im, enum opcode code, struct value *x, int n_attrs, const struct attr *attrs,
                          struct type *type)
{
    return build_value(&im->b, code, 1, &x, n_attrs, attrs, type);
}

struct value *import_unary(struct node *n, enum opcode code, struct value *x)
{
    return build_unary(&n->im->b, code, x);
}

struct value *import_binary(struct node *n, enum opcode code, struct value *x, struct value *y)
{
    struct value *v[] = {x, y};
    struct type shape;
    return import_broadcast(n, 2, v, &shape) ? build_binary(&n->im->b, code, v[0], v[1]) : x;
}

struct value *import_select(struct node *n, struct value *c, struct value *x, struct value *y)
{
    struct value *v[] = {c, x, y};
    struct type shape;
    return import_broadcast(n, 3, v, &shape) ? build_select(&n->im->b, v[0], v[1], v[2]) : x;
}

struct value *import_number(struct node *n, enum dtype t, double x)
{
    struct type *type = type_scalar(n->im->module, t);
    return dtype_is_float(t) ? build_float(&n->im->b, type, x) : build_int(&n->im->b, type, (int64_t)x);
}

struct value *import_reshape(struct import *im, struct value *v, int rank, const dim *dims)
{
    struct type *type = type_tensor(im->module, v->type->dtype, rank, dims);
    return type == v->type ? v : make(im, OP_RESHAPE, v, 0, NULL, type);
}

struct value *import_cast(struct import *im, struct value *v, enum dtype t)
{
    return v->type->dtype == t ? v : build_cast(&im->b, t, v);
}

struct value *import_transpose(struct import *im, struct value *v, const int64_t *axes)
{
    bool moves = false;
    for (int d = 0; d < v->type->rank; d++)
        moves |= axes[d] != d;
    return moves ? make(im, OP_TRANSPOSE, v, 1, &(struct attr){ATTR_AXES, {.ints = {v->type->rank, axes}}}, NULL) : v;
}

struct value *import_slice(struct import *im, struct value *v, const dim *starts, const int64_t *steps,
                           const dim *sizes)
{
    int rank = v->type->rank;
    bool plain = true, whole = true;
    for (int d = 0; d < rank; d++) {
        plain &= steps[d] == 1;
        whole &= starts[d] == 0 && sizes[d] == v->type->dims[d];
    }
    if (plain && whole)
        return v;
    struct attr attrs[] = {{ATTR_STARTS, {.dims = {rank, starts}}}, {ATTR_STEPS, {.ints = {rank, steps}}}};
    return make(im, OP_SLICE, v, plain ? 1 : 2, attrs, type_tensor(im->module, v->type->dtype, rank, sizes));
}

struct value *import_slice_axis(struct import *im, struct value *v, int axis, dim start, int64_t step, dim size)
{
    dim starts[MAX_RANK] = {0}, sizes[MAX_RANK];
    int64_t steps[MAX_RANK] = {1, 1, 1, 1, 1, 1, 1, 1};
    memcpy(sizes, v->type->dims, sizeof sizes);
    starts[axis] = start;
    steps[axis] = step;
    sizes[axis] = size;
    return import_slice(im, v, starts, steps, sizes);
}

struct value *import_dynamic_slice(struct import *im, struct value *v, struct value *index, int axis, dim size)
{
    dim dims[MAX_RANK];
    memcpy(dims, v->type->dims, sizeof dims);
    dims[axis] = size;
    return build_value(&im->b, OP_DYNAMIC_SLICE, 2, (struct value *[]){v, index}, 1,
                       &(struct attr){ATTR_AXIS, {.i = axis}},
                       type_tensor(im->module, v->type->dtype, v->type->rank, dims));
}

struct value *import_slice_update(struct import *im, struct value *v, struct value *part, struct value *index, int axis)
{
    return build_value(&im->b, OP_SLICE_UPDATE, 3, (struct value *[]){v, part, index}, 1,
                       &(struct attr){ATTR_AXIS, {.i = axis}}, NULL);
}

struct value *import_concat(struct import *im, int axis, int count, struct value *const *v)
{
    struct value *parts[MAX_OPERANDS];
    int n = 0, group = (count + MAX_OPERANDS - 1) / MAX_OPERANDS;
    if (count == 1)
        return v[0];
    if (group == 1)
        return build_value(&im->b, OP_CONCAT, count, v, 1, &(struct attr){ATTR_AXIS, {.i = axis}}, NULL);
    for (int i = 0; i < count; i += group) // more than an operation takes
        parts[n++] = import_concat(im, axis, count - i < group ? count - i : group, v + i);
    return import_concat(im, axis, n, parts);
}

struct value *import_broadcast_to(struct import *im, struct value *v, int rank, const dim *dims)
{
    struct type *type = type_tensor(im->module, v->type->dtype, rank, dims);
    return type == v->type ? v : make(im, OP_BROADCAST, v, 0, NULL, type);
}

enum dtype import_wide(enum dtype t)
{
    return dtype_is_float(t) && dtype_info[t].bits < 32 ? DTYPE_F32 : t;
}

struct value *import_reduce(struct import *im, enum opcode combine, struct value *v, const bool *axes)
{
    int64_t list[MAX_RANK];
    int n = 0;
    for (int d = 0; d < v->type->rank; d++)
        if (axes[d])
            list[n++] = d;
    struct attr attrs[] = {{ATTR_COMBINE, {.opcode = combine}}, {ATTR_AXES, {.ints = {n, list}}}};
    return n ? make(im, OP_REDUCE, v, 2, attrs, NULL) : v;
}

struct value *import_iota(struct import *im, enum dtype t, int rank, const dim *dims, int axis)
{
    return build_value(&im->b, OP_IOTA, 0, NULL, 1, &(struct attr){ATTR_AXIS, {.i = axis}},
                       type_tensor(im->module, t, rank, dims));
}

struct op *import_composite(struct import *im, const char *name, int count, struct value *const *operands,
                            int n_results)
{
    struct builder *b = &im->b;
    struct attr attr = {ATTR_NAME, {.string = name}};
    struct op *op = build_op(b, OP_COMPOSITE, count, operands, 1, &attr, n_results, NULL);
    for (int i = 0; i < count; i++)
        block_add_arg(b->function, op->blocks[0], NULL, operands[i]->type);
    build_enter(b, op->blocks[0]);
    return op;
}

void import_composite_end(struct import *im, struct op *op, struct value *const *results)
{
    build_yield(&im->b, op->n_results, results);
    build_end(&im->b, op);
}
