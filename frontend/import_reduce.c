// Reductions along axes, and scans.
#include <math.h>
#include <string.h>

#include "frontend/import_internal.h"

// The reduced dimensions, which are 1, are dropped unless they are to be kept.
static struct value *finish(struct node *n, struct value *v, const bool *axes)
{
    dim dims[MAX_RANK];
    int rank = 0;
    if (!v || node_int(n, "keepdims", 1))
        return v;
    for (int d = 0; d < v->type->rank; d++)
        if (!axes[d])
            dims[rank++] = v->type->dims[d];
    return import_reshape(n->im, v, rank, dims);
}

// The elements that were reduced to one, as a number of the type.
static struct value *count_of(struct node *n, const struct type *t, const bool *axes)
{
    dim count = 1;
    int64_t x;
    for (int d = 0; d < t->rank; d++)
        if (axes[d])
            count = dims_mul(n->im->module, count, t->dims[d]);
    if (dims_to_int(n->im->module, count, &x))
        return import_number(n, t->dtype, (double)x);
    return import_size(n->im, count, t->dtype);
}

// log(sum(exp(x))), which stays finite where exp(x) would not; the functions are of type `in`.
static struct value *log_sum_exp(struct node *n, struct value *x, const bool *axes, enum dtype in)
{
    struct import *im = n->im;
    struct value *high = import_reduce(im, OP_MAXIMUM, x, axes), *zero = import_number(n, x->type->dtype, 0);
    high = import_select(n, import_unary(n, OP_ISINF, high), zero, high);
    struct value *e = import_unary(n, OP_EXP, import_cast(im, import_binary(n, OP_SUB, x, high), in));
    struct value *log = import_unary(n, OP_LOG, import_reduce(im, OP_ADD, e, axes));
    return import_binary(n, OP_ADD, high, import_cast(im, log, x->type->dtype));
}

// A function of the reals, of integers: rounded towards 0 as ONNX's definitions of these reductions have it. f64 holds
// 32 bits exactly, and has a square root; its exponential and logarithm are left to f32.
static struct value *reduce_integers(struct node *n, struct value *x, const bool *axes)
{
    struct import *im = n->im;
    enum dtype t = x->type->dtype;
    struct value *y;
    if (n->row->parameter == REDUCE_L2) {
        y = import_reduce(im, OP_ADD, import_binary(n, OP_MUL, x, x), axes);
        y = import_unary(n, OP_SQRT, import_cast(im, y, DTYPE_F64));
    } else if (n->row->parameter == REDUCE_LOG_SUM) {
        y = import_unary(n, OP_LOG, import_cast(im, import_reduce(im, OP_ADD, x, axes), DTYPE_F32));
    } else {
        y = log_sum_exp(n, import_cast(im, x, DTYPE_F64), axes, DTYPE_F32);
    }
    return import_cast(im, y, t);
}

static struct value *reduce_in_type(struct node *n, struct value *x, const bool *axes)
{
    struct import *im = n->im;
    bool is_float = dtype_is_float(x->type->dtype), is_bool = x->type->dtype == DTYPE_I1;
    enum reduction kind = (enum reduction)n->row->parameter;
    if (!is_float && (kind == REDUCE_L2 || kind == REDUCE_LOG_SUM || kind == REDUCE_LOG_SUM_EXP))
        return reduce_integers(n, x, axes);
    switch (kind) {
    case REDUCE_L1:
        return import_reduce(im, OP_ADD, import_unary(n, OP_ABS, x), axes);
    case REDUCE_L2:
        return import_unary(n, OP_SQRT, import_reduce(im, OP_ADD, import_binary(n, OP_MUL, x, x), axes));
    case REDUCE_LOG_SUM:
        return import_unary(n, OP_LOG, import_reduce(im, OP_ADD, x, axes));
    case REDUCE_LOG_SUM_EXP:
        return log_sum_exp(n, x, axes, x->type->dtype);
    case REDUCE_MAX:
        return import_reduce(im, is_bool ? OP_OR : is_float ? OP_MAXIMUM : OP_MAX, x, axes);
    case REDUCE_MIN:
        return import_reduce(im, is_bool ? OP_AND : is_float ? OP_MINIMUM : OP_MIN, x, axes);
    case REDUCE_MEAN:
        return import_binary(n, OP_DIV, import_reduce(im, OP_ADD, x, axes), count_of(n, x->type, axes));
    case REDUCE_PROD:
        return import_reduce(im, OP_MUL, x, axes);
    case REDUCE_SUM:
        return import_reduce(im, OP_ADD, x, axes);
    case REDUCE_SUM_SQUARE:
        return import_reduce(im, OP_ADD, import_binary(n, OP_MUL, x, x), axes);
    }
    return NULL;
}

// What is more than one reduction goes on with the sum, which a narrow float may not hold.
static struct value *reduce(struct node *n, struct value *x, const bool *axes)
{
    enum dtype t = x->type->dtype;
    enum reduction kind = (enum reduction)n->row->parameter;
    bool alone = kind == REDUCE_MAX || kind == REDUCE_MIN || kind == REDUCE_PROD || kind == REDUCE_SUM;
    struct value *y = reduce_in_type(n, alone ? x : import_cast(n->im, x, import_wide(t)), axes);
    return y ? import_cast(n->im, y, t) : NULL;
}

// ReduceProd and its like of a list of sizes.
static bool reduce_list(struct node *n)
{
    enum reduction kind = (enum reduction)n->row->parameter;
    enum opcode code = kind == REDUCE_PROD  ? OP_MUL
                       : kind == REDUCE_SUM ? OP_ADD
                       : kind == REDUCE_MAX ? OP_MAX
                       : kind == REDUCE_MIN ? OP_MIN
                                            : OP_NONE;
    struct list all = n->inputs[0]->list, one;
    enum dtype t = node_type(n, 0)->dtype;
    if (code == OP_NONE || !all.v || !all.n || t == DTYPE_I1)
        return false;
    struct list *elements = ARENA_ARRAY(&n->im->arena, struct list, all.n);
    for (int i = 0; i < all.n; i++)
        elements[i] = (struct list){1, &all.v[i]};
    if (all.n == 1)
        one = all;
    else if (!import_list_arithmetic(n->im, code, t, all.n, elements, &one))
        return false;
    node_output_list(n, 0, t, node_int(n, "keepdims", 1) ? node_type(n, 0)->rank : 0, one);
    return true;
}

void import_op_reduce(struct node *n)
{
    struct ints list = node_ints(n, "axes");
    bool axes[MAX_RANK], none = node_int(n, "noop_with_empty_axes", 0);
    const struct type *t = node_type(n, 0);
    enum reduction kind = (enum reduction)n->row->parameter;
    if (node_has_input(n, 1) && !node_constants(n, 1, "the list of axes", &list))
        return;
    if (!node_axes(n, list, t->rank, axes))
        return;
    for (int d = 0; d < t->rank && !list.n && !none; d++)
        axes[d] = true;
    if (t->dtype == DTYPE_I1 && kind != REDUCE_MAX && kind != REDUCE_MIN) {
        node_error(n, "is not supported for %s, the type of input %s; cast it to a float", dtype_info[t->dtype].name,
                   model_quote(n->im->model, n->inputs[0]->name));
        return;
    }
    if (!list.n && none) // of each element alone
        node_output(n, 0, reduce(n, node_input(n, 0), axes));
    else if (!reduce_list(n))
        node_output(n, 0, finish(n, reduce(n, node_input(n, 0), axes), axes));
}

// The position of the extreme: the first (or last) index whose element is the extreme. NaN counts as the infinity that
// is one: min(NaN, inf) is inf.
void import_op_arg(struct node *n)
{
    struct value *x = node_input(n, 0);
    enum dtype t = x->type->dtype;
    bool last = node_int(n, "select_last_index", 0), axes[MAX_RANK] = {false};
    int axis;
    if (t == DTYPE_I1) {
        node_error(n, "is not defined for %s", dtype_info[t].name);
        return;
    }
    if (!node_axis(n, node_int(n, "axis", 0), x->type->rank, &axis))
        return;
    axes[axis] = true;
    enum opcode code = (enum opcode)n->row->parameter;
    if (dtype_is_float(t)) {
        bool least = code == OP_MIN;
        x = import_binary(n, least ? OP_MAX : OP_MIN, x, import_number(n, t, (double)(least ? -INFINITY : INFINITY)));
    }
    struct value *best = import_binary(n, OP_EQ, x, import_reduce(n->im, code, x, axes));
    dim dims[MAX_RANK];
    for (int d = 0; d < x->type->rank; d++)
        dims[d] = d == axis ? x->type->dims[d] : 1;
    struct value *index = import_iota(n->im, DTYPE_I64, x->type->rank, dims, axis);
    index = import_select(n, best, index, import_number(n, DTYPE_I64, last ? -1 : INT32_MAX));
    node_output(n, 0, finish(n, import_reduce(n->im, last ? OP_MAX : OP_MIN, index, axes), axes));
}

void import_op_scan(struct node *n)
{
    struct value *x = node_input(n, 0);
    struct ints list;
    int axis;
    if (!node_constants(n, 1, "the axis", &list))
        return;
    if (list.n != 1) {
        node_error(n, "the axis must be one number, not %d", list.n);
        return;
    }
    if (x->type->dtype == DTYPE_I1) {
        node_error(n, "is not defined for %s", dtype_info[x->type->dtype].name);
        return;
    }
    if (!node_axis(n, list.v[0], x->type->rank, &axis))
        return;
    struct attr attrs[4] = {{ATTR_COMBINE, {.opcode = (enum opcode)n->row->parameter}}, {ATTR_AXIS, {.i = axis}}};
    int count = 2;
    if (node_int(n, "exclusive", 0))
        attrs[count++] = (struct attr){ATTR_EXCLUSIVE, {.i = 1}};
    if (node_int(n, "reverse", 0))
        attrs[count++] = (struct attr){ATTR_REVERSE, {.i = 1}};
    node_output(n, 0, build_value(&n->im->b, OP_SCAN, 1, &x, count, attrs, NULL));
}
