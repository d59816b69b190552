// The rules of the operations of graphs and host functions.
#include <string.h>

#include "ir/check_internal.h"
#include "ir/dims.h"
#include "ir/einsum.h"

static const char *check_tensor(const struct checker *c, int i)
{
    NEED(operand(c, i)->kind == TYPE_TENSOR, "operand %d must be a tensor, not %s", i + 1, text(c, operand(c, i)));
    return NULL;
}

static bool is_index(const struct type *t)
{
    return t->kind == TYPE_SCALAR && t->dtype == DTYPE_INDEX;
}

const char *check_reshape_tensor(const struct checker *c)
{
    const struct type *from = operand(c, 0), *to = stated(c, 0);
    dim have = dims_product(c->m, from->rank, from->dims), want = dims_product(c->m, to->rank, to->dims);
    NEED(have == want && have != DIM_UNKNOWN, "%s has %s elements and %s has %s", text(c, from), dim_text(c, have),
         text(c, to), dim_text(c, want));
    c->types[0] = (struct type *)to;
    return NULL;
}

const char *check_data(const struct checker *c)
{
    const struct type *t = stated(c, 0);
    NEED(t && (t->kind == TYPE_TENSOR || t->kind == TYPE_VIEW), "needs a tensor type");
    int64_t bits = t->dtype == DTYPE_I1 ? 8 : dtype_info[t->dtype].bits;
    for (int d = 0; d < t->rank; d++) {
        NEED(t->dims[d] >= 0, "needs constant sizes, not %s", text(c, t));
        NEED(!__builtin_mul_overflow(bits, t->dims[d], &bits), "%s is too large", text(c, t));
    }
    struct data data = op_attr(c->op, ATTR_DATA)->data;
    NEED(data.size == bits / 8 + (bits % 8 != 0), "%s takes %lld bytes and %lld are given", text(c, t),
         (long long)(bits / 8 + (bits % 8 != 0)), (long long)data.size);
    c->types[0] = (struct type *)t;
    return NULL;
}

const char *check_sizes(const struct checker *c)
{
    struct dims dims = op_attr(c->op, ATTR_DIMS)->dims;
    const struct type *t = stated(c, 0);
    if (!t)
        t = type_tensor(c->m, DTYPE_I64, 1, (dim[]){dims.n});
    NEED(t->kind == TYPE_TENSOR && dtype_is_int(t->dtype), "gives a tensor of integers, not %s", text(c, t));
    NEED(t->rank == 1 ? t->dims[0] == dims.n : !t->rank && dims.n == 1, "%d sizes do not make %s", dims.n, text(c, t));
    c->types[0] = (struct type *)t;
    return NULL;
}

const char *check_einsum(const struct checker *c)
{
    const char *fault = check_tensor(c, 0);
    if (!fault)
        fault = check_tensor(c, 1);
    if (fault)
        return fault;
    struct einsum e;
    fault = einsum_parse(op_attr(c->op, ATTR_LABELS)->string, &e);
    NEED(!fault, "%s", fault);
    struct type t = {.rank = e.rank[2]};
    dim sizes[EINSUM_LABELS];
    bool known[EINSUM_LABELS] = {false};
    for (int i = 0; i < 2; i++) {
        const struct type *u = operand(c, i);
        NEED(u->rank == e.rank[i], "operand %d, %s, has %d labels", i + 1, text(c, u), e.rank[i]);
        for (int d = 0; d < u->rank; d++) {
            int axis = e.axis[i][d];
            NEED(!known[axis] || sizes[axis] == u->dims[d], "axis '%c' is %s and %s long", e.label[axis],
                 dim_text(c, sizes[axis]), dim_text(c, u->dims[d]));
            sizes[axis] = u->dims[d];
            known[axis] = true;
        }
    }
    for (int d = 0; d < t.rank; d++) {
        NEED(known[e.axis[2][d]], "no operand has axis '%c' of the result", e.label[e.axis[2][d]]);
        t.dims[d] = sizes[e.axis[2][d]];
    }
    const struct attr *to = op_attr(c->op, ATTR_TO);
    enum dtype a = operand(c, 0)->dtype, b = operand(c, 1)->dtype, d = to ? to->dtype : a;
    NEED(dtype_is_float(a) == dtype_is_float(d) && dtype_is_float(b) == dtype_is_float(d) && a != DTYPE_I1 &&
             b != DTYPE_I1 && d != DTYPE_I1,
         "products of %s and %s cannot be summed in %s", dtype_info[a].name, dtype_info[b].name, dtype_info[d].name);
    c->types[0] = type_tensor(c->m, d, t.rank, t.dims);
    return NULL;
}

// A list attribute of n entries, or absent.
static const char *check_count(const struct checker *c, enum attr_key key, int n)
{
    const struct attr *a = op_attr(c->op, key);
    int have = !a ? n : attr_info[key].kind == ATTR_KIND_DIMS ? a->dims.n : a->ints.n;
    NEED(have == n, "'%s' has %d entries where %d are wanted", attr_info[key].name, have, n);
    return NULL;
}

static const char *check_positive(const struct checker *c, enum attr_key key)
{
    struct ints v = op_ints(c->op, key);
    for (int i = 0; i < v.n; i++)
        NEED(v.v[i] > 0, "'%s' must be positive", attr_info[key].name);
    return NULL;
}

static dim windows(const struct checker *c, dim size, dim window, int d, int n)
{
    struct module *m = c->m;
    const struct attr *pads = op_attr(c->op, ATTR_PADS);
    struct ints strides = op_ints(c->op, ATTR_STRIDES), dilations = op_ints(c->op, ATTR_DILATIONS);
    if (pads)
        size = dims_add(m, size, dims_add(m, pads->dims.v[d], pads->dims.v[n + d]));
    dim reach = dims_mul(m, dims_sub(m, window, 1), dilations.n ? dilations.v[d] : 1);
    dim last = dims_sub(m, size, dims_add(m, reach, 1));
    dim count = dims_add(m, dims_floordiv(m, last, strides.n ? strides.v[d] : 1), 1);
    return dims_max(m, count, 0);
}

static const char *check_windows(const struct checker *c, int n)
{
    static const enum attr_key keys[] = {ATTR_STRIDES, ATTR_DILATIONS};
    for (int i = 0; i < 2; i++) {
        const char *fault = check_count(c, keys[i], n);
        if (!fault)
            fault = check_positive(c, keys[i]);
        if (fault)
            return fault;
    }
    return check_count(c, ATTR_PADS, 2 * n);
}

const char *check_conv(const struct checker *c)
{
    const char *fault = check_tensor(c, 0);
    if (!fault)
        fault = check_tensor(c, 1);
    if (fault)
        return fault;
    const struct type *x = operand(c, 0), *w = operand(c, 1);
    NEED(x->rank >= 3 && x->rank == w->rank, "%s and %s must have the same rank of at least 3", text(c, x), text(c, w));
    NEED(x->dtype == w->dtype && dtype_is_float(x->dtype), "multiplies floats of one type, not %s and %s", text(c, x),
         text(c, w));
    int n = x->rank - 2;
    fault = check_windows(c, n);
    if (fault)
        return fault;
    int64_t groups = op_int(c->op, ATTR_GROUPS, 1);
    NEED(groups > 0, "'groups' must be positive");
    NEED(dims_mul(c->m, w->dims[1], groups) == x->dims[1], "%s has %s channels; %lld groups of %s take %s", text(c, x),
         dim_text(c, x->dims[1]), (long long)groups, text(c, w), dim_text(c, dims_mul(c->m, w->dims[1], groups)));
    NEED(groups == 1 || dims_mod(c->m, w->dims[0], groups) == 0, "%s filters do not make %lld groups",
         dim_text(c, w->dims[0]), (long long)groups);
    dim dims[MAX_RANK] = {x->dims[0], w->dims[0]};
    for (int d = 0; d < n; d++)
        dims[2 + d] = windows(c, x->dims[2 + d], w->dims[2 + d], d, n);
    c->types[0] = type_tensor(c->m, x->dtype, x->rank, dims);
    return NULL;
}

const char *check_window_reduce(const struct checker *c)
{
    const char *fault = check_tensor(c, 0);
    if (!fault)
        fault = check_combine(c, operand(c, 0)->dtype);
    if (!fault)
        fault = check_count(c, ATTR_SIZES, operand(c, 0)->rank);
    if (!fault)
        fault = check_positive(c, ATTR_SIZES);
    if (!fault)
        fault = check_windows(c, operand(c, 0)->rank);
    if (fault)
        return fault;
    const struct type *x = operand(c, 0);
    const struct attr *to = op_attr(c->op, ATTR_TO);
    enum dtype t = to ? to->dtype : x->dtype;
    NEED(t == x->dtype || (dtype_is_float(t) && dtype_is_float(x->dtype)), "%s cannot be combined in %s",
         dtype_info[x->dtype].name, dtype_info[t].name);
    struct ints sizes = op_ints(c->op, ATTR_SIZES);
    dim dims[MAX_RANK];
    for (int d = 0; d < x->rank; d++)
        dims[d] = windows(c, x->dims[d], sizes.v[d], d, x->rank);
    c->types[0] = type_tensor(c->m, t, x->rank, dims);
    return NULL;
}

const char *check_slice(const struct checker *c)
{
    const char *fault = check_tensor(c, 0);
    if (!fault)
        fault = check_count(c, ATTR_STARTS, operand(c, 0)->rank);
    if (!fault)
        fault = check_count(c, ATTR_STEPS, operand(c, 0)->rank);
    if (fault)
        return fault;
    const struct type *from = operand(c, 0), *to = stated(c, 0);
    NEED(to && to->kind == TYPE_TENSOR && to->rank == from->rank && to->dtype == from->dtype,
         "needs the type of the slice");
    struct ints steps = op_ints(c->op, ATTR_STEPS);
    for (int d = 0; d < steps.n; d++)
        NEED(steps.v[d], "a step cannot be 0");
    c->types[0] = (struct type *)to;
    return NULL;
}

// A part of a tensor is as large as it, but for the axis along which it is cut out. Whether it fits there is seen when
// the graph runs: it may stand in a loop that does not.
static const char *check_part(const struct checker *c, const struct type *whole, const struct type *part, int index)
{
    int64_t axis = op_int(c->op, ATTR_AXIS, 0);
    NEED(axis >= 0 && axis < whole->rank, "axis %lld is not one of %s", (long long)axis, text(c, whole));
    NEED(is_index(operand(c, index)), "the place must be an index, not %s", text(c, operand(c, index)));
    bool fits = part->rank == whole->rank && part->dtype == whole->dtype;
    for (int d = 0; fits && d < whole->rank; d++)
        fits = d == axis || part->dims[d] == whole->dims[d];
    NEED(fits, "%s and its part %s differ in more than axis %lld", text(c, whole), text(c, part), (long long)axis);
    return NULL;
}

const char *check_dynamic_slice(const struct checker *c)
{
    const char *fault = check_tensor(c, 0);
    if (fault)
        return fault;
    NEED(stated(c, 0) && stated(c, 0)->kind == TYPE_TENSOR, "needs the type of the slice");
    c->types[0] = (struct type *)stated(c, 0);
    return check_part(c, operand(c, 0), stated(c, 0), 1);
}

const char *check_slice_update(const struct checker *c)
{
    const char *fault = check_tensor(c, 0);
    if (!fault)
        fault = check_tensor(c, 1);
    if (fault)
        return fault;
    c->types[0] = (struct type *)operand(c, 0);
    return check_part(c, operand(c, 0), operand(c, 1), 2);
}

const char *check_pad_tensor(const struct checker *c)
{
    const char *fault = check_tensor(c, 0);
    if (!fault)
        fault = check_count(c, ATTR_LOW, operand(c, 0)->rank);
    if (!fault)
        fault = check_count(c, ATTR_HIGH, operand(c, 0)->rank);
    if (fault)
        return fault;
    const struct type *x = operand(c, 0);
    struct dims low = op_attr(c->op, ATTR_LOW)->dims, high = op_attr(c->op, ATTR_HIGH)->dims;
    dim dims[MAX_RANK];
    for (int d = 0; d < x->rank; d++)
        dims[d] = dims_add(c->m, x->dims[d], dims_add(c->m, low.v[d], high.v[d]));
    const struct attr *value = op_attr(c->op, ATTR_VALUE);
    NEED(!value || !value->number.is_float || dtype_is_float(x->dtype), "the padding of %s must be a whole number",
         text(c, x));
    c->types[0] = type_tensor(c->m, x->dtype, x->rank, dims);
    return NULL;
}

const char *check_concat(const struct checker *c)
{
    NEED(c->op->n_operands, "needs an operand");
    int64_t axis = op_int(c->op, ATTR_AXIS, 0);
    struct type t = {0};
    for (int i = 0; i < c->op->n_operands; i++) {
        const char *fault = check_tensor(c, i);
        if (fault)
            return fault;
        const struct type *u = operand(c, i);
        if (!i) {
            NEED(axis >= 0 && axis < u->rank, "axis %lld is not one of %s", (long long)axis, text(c, u));
            t = *u;
            continue;
        }
        bool fits = u->rank == t.rank && u->dtype == t.dtype;
        for (int d = 0; fits && d < t.rank; d++)
            fits = d == axis || u->dims[d] == t.dims[d];
        NEED(fits, "%s and %s differ in more than axis %lld", text(c, operand(c, 0)), text(c, u), (long long)axis);
        t.dims[axis] = dims_add(c->m, t.dims[axis], u->dims[axis]);
    }
    c->types[0] = type_tensor(c->m, t.dtype, t.rank, t.dims);
    return NULL;
}

const char *check_take(const struct checker *c)
{
    const char *fault = check_tensor(c, 0);
    if (!fault)
        fault = check_tensor(c, 1);
    if (fault)
        return fault;
    const struct type *x = operand(c, 0), *indices = operand(c, 1);
    int64_t axis = op_int(c->op, ATTR_AXIS, 0);
    NEED(axis >= 0 && axis < x->rank, "axis %lld is not one of %s", (long long)axis, text(c, x));
    NEED(dtype_is_int(indices->dtype), "indices are integers, not %s", text(c, indices));
    int rank = x->rank - 1 + indices->rank;
    NEED(rank <= MAX_RANK, "the result would have %d dimensions; %d is the most", rank, MAX_RANK);
    dim dims[2 * MAX_RANK];
    memcpy(dims, x->dims, sizeof(dim) * (size_t)axis);
    memcpy(dims + axis, indices->dims, sizeof(dim) * (size_t)indices->rank);
    memcpy(dims + axis + indices->rank, x->dims + axis + 1, sizeof(dim) * (size_t)(x->rank - axis - 1));
    c->types[0] = type_tensor(c->m, x->dtype, rank, dims);
    return NULL;
}

const char *check_composite(const struct checker *c)
{
    const struct block *b = c->op->blocks[0];
    NEED(op_attr(c->op, ATTR_NAME), "needs a name");
    NEED(b->n_args == c->op->n_operands, "has %d operands and its block %d arguments", c->op->n_operands, b->n_args);
    for (int i = 0; i < b->n_args; i++)
        NEED(b->args[i]->type == operand(c, i), "argument %d is %s and the operand %s", i + 1,
             text(c, b->args[i]->type), text(c, operand(c, i)));
    const struct op *end = block_terminator(b);
    NEED(end && end->code == OP_YIELD && end->n_operands == c->op->n_results, "its block must yield %d values",
         c->op->n_results);
    for (int i = 0; i < c->op->n_results; i++)
        c->types[i] = end->operands[i]->type;
    return NULL;
}

const char *check_assert(const struct checker *c)
{
    NEED(operand(c, 0)->kind == TYPE_SCALAR && operand(c, 0)->dtype == DTYPE_I1, "the condition must be i1, not %s",
         text(c, operand(c, 0)));
    return NULL;
}

static const char *check_stated_view(const struct checker *c)
{
    NEED(stated(c, 0) && stated(c, 0)->kind == TYPE_VIEW, "needs a view type");
    c->types[0] = (struct type *)stated(c, 0);
    return NULL;
}

const char *check_buffer(const struct checker *c)
{
    NEED(c->op->n_operands <= 1 && (!c->op->n_operands || is_index(operand(c, 0))), "takes an offset in bytes");
    return check_stated_view(c);
}

const char *check_subview(const struct checker *c)
{
    NEED(operand(c, 0)->kind == TYPE_VIEW && is_index(operand(c, 1)), "takes a view and the index of an element");
    const char *fault = check_stated_view(c);
    if (!fault)
        NEED(stated(c, 0)->dtype == operand(c, 0)->dtype, "does not change the element type");
    return fault;
}

const char *check_launch(const struct checker *c)
{
    const struct function *k = module_function(c->m, op_attr(c->op, ATTR_KERNEL)->string);
    NEED(k && k->kind == FUNCTION_KERNEL, "there is no kernel @%s", op_attr(c->op, ATTR_KERNEL)->string);
    int n = k->n_params;
    for (int i = 0; i < k->n_symbols; i++)
        n += k->symbols[i] != NULL;
    NEED(c->op->n_operands == n, "kernel @%s takes %d arguments with its symbols, not %d", k->name, n,
         c->op->n_operands);
    for (int i = 0; i < n; i++) {
        const struct type *t = operand(c, i);
        if (i >= k->n_params)
            NEED(is_index(t), "argument %d of kernel @%s is a size", i + 1, k->name);
        else
            NEED(t->kind == k->params[i]->type->kind && t->dtype == k->params[i]->type->dtype,
                 "argument %d of kernel @%s is %s, not %s", i + 1, k->name, text(c, k->params[i]->type), text(c, t));
    }
    return NULL;
}
