// Operators that repeat or fill in elements: Expand, Tile, Pad, and masks made of positions.
#include <string.h>

#include "frontend/import_internal.h"

void import_op_expand(struct node *n)
{
    struct import *im = n->im;
    const struct type *t = node_type(n, 0);
    struct list list;
    if (!node_list(n, 1, "the shape", &list))
        return;
    int rank = list.n > t->rank ? list.n : t->rank;
    if (rank > MAX_RANK) {
        node_error(n, "the result would have %d dimensions; %d is the most", rank, MAX_RANK);
        return;
    }
    dim dims[MAX_RANK];
    for (int d = 0; d < rank; d++) {
        int own = d - (rank - t->rank), given = d - (rank - list.n);
        dim have = own < 0 ? 1 : t->dims[own], want = given < 0 ? 1 : list.v[given];
        import_assert_size(n, want);
        if (n->failed)
            return;
        dims[d] = import_broadcast_size(n, have, want);
        if (dims[d] == DIM_UNKNOWN)
            return;
    }
    int64_t count;
    struct list own = n->inputs[0]->list;
    if (rank == 1 && own.v && own.n == 1 && dims_to_int(im->module, dims[0], &count) && count <= MOST_LISTED) {
        dim all[MOST_LISTED + 1];
        for (int64_t i = 0; i < count; i++)
            all[i] = own.v[0];
        node_output_list(n, 0, t->dtype, 1, (struct list){(int)count, all});
    } else if (rank == t->rank && !memcmp(dims, t->dims, sizeof(dim) * (size_t)rank)) {
        node_output_value(n, 0, n->inputs[0]);
    } else {
        struct value *v = import_stretch(im, node_input(n, 0), dims + rank - t->rank);
        node_output(n, 0, import_broadcast_to(im, v, rank, dims));
    }
}

// Repeats one axis after another: [A, B] with all from the axis on in B becomes [A, 1, B], then [A, count, B].
static struct value *repeat(struct import *im, struct value *v, int axis, dim count)
{
    struct module *m = im->module;
    dim dims[MAX_RANK];
    int rank = v->type->rank;
    memcpy(dims, v->type->dims, sizeof dims);
    dim rows = dims_product(m, axis, dims), rest = dims_product(m, rank - axis, dims + axis);
    v = import_reshape(im, v, 3, (dim[]){rows, 1, rest});
    v = import_broadcast_to(im, v, 3, (dim[]){rows, count, rest});
    dims[axis] = dims_mul(m, dims[axis], count);
    return import_reshape(im, v, rank, dims);
}

void import_op_tile(struct node *n)
{
    const struct type *t = node_type(n, 0);
    struct list list;
    if (!node_list(n, 1, "the list of repeats", &list))
        return;
    if (list.n != t->rank) {
        node_error(n, "%d repeats are given for rank %d", list.n, t->rank);
        return;
    }
    bool same = true;
    dim dims[MAX_RANK];
    for (int d = 0; d < t->rank; d++) {
        import_assert_size(n, list.v[d]);
        dims[d] = dims_mul(n->im->module, t->dims[d], list.v[d]);
        same &= list.v[d] == 1;
    }
    if (n->failed)
        return;
    if (dims_product(n->im->module, t->rank, dims) == DIM_UNKNOWN) {
        node_error(n, "the result, %s, is too large", import_dims_text(n->im, t->rank, dims));
        return;
    }
    if (same) {
        node_output_value(n, 0, n->inputs[0]);
        return;
    }
    struct value *v = node_input(n, 0);
    for (int d = 0; d < t->rank; d++)
        if (list.v[d] != 1)
            v = repeat(n->im, v, d, list.v[d]);
    node_output(n, 0, v);
}

// ---- Pad -------------------------------------------------------------------------------------------------------

enum pad_mode { PAD_CONSTANT, PAD_REFLECT, PAD_EDGE, PAD_WRAP, PAD_MODES };

static enum pad_mode read_mode(struct node *n)
{
    static const char *const names[] = {"constant", "reflect", "edge", "wrap"};
    const char *mode = node_string(n, "mode", "constant");
    int modes = n->version >= 19 ? PAD_MODES : PAD_WRAP;
    for (int i = 0; i < modes; i++)
        if (!strcmp(mode, names[i]))
            return (enum pad_mode)i;
    node_error(n, "'mode' must be constant, reflect or edge%s, not %s", modes == PAD_MODES ? " or wrap" : "",
               model_quote(n->im->model, mode));
    return PAD_MODES;
}

// The padding of every dimension: low, then high.
static bool read_pads(struct node *n, dim *low, dim *high)
{
    const struct type *t = node_type(n, 0);
    struct list pads;
    struct ints axes = {0};
    if (node_has(n, "pads")) {
        struct ints ints = node_ints(n, "pads");
        dim *v = ARENA_ARRAY(&n->im->arena, dim, ints.n + 1);
        for (int i = 0; i < ints.n; i++)
            v[i] = dims_from_int(n->im->module, ints.v[i]);
        pads = (struct list){ints.n, v};
    } else if (!node_list(n, 1, "the padding", &pads)) {
        return false;
    }
    bool chosen[MAX_RANK], all = !node_has_input(n, 3);
    if (!all && (!node_constants(n, 3, "the list of axes", &axes) || !node_axes(n, axes, t->rank, chosen)))
        return false;
    int count = all ? t->rank : axes.n;
    if (pads.n != 2 * count) {
        node_error(n, "has %d paddings for %d dimensions; each has two", pads.n, count);
        return false;
    }
    memset(low, 0, sizeof *low * MAX_RANK);
    memset(high, 0, sizeof *high * MAX_RANK);
    for (int i = 0; i < count; i++) {
        int64_t d = all ? i : axes.v[i] < 0 ? axes.v[i] + t->rank : axes.v[i];
        low[d] = pads.v[i];
        high[d] = pads.v[count + i];
    }
    return true;
}

// Padding below 0 takes elements away. Splits it off, and asserts what is open.
static struct value *crop(struct node *n, struct value *v, dim *low, dim *high)
{
    struct module *m = n->im->module;
    for (int d = 0; d < v->type->rank; d++) {
        dim cut[2] = {0, 0}, *pad[2] = {&low[d], &high[d]};
        for (int i = 0; i < 2; i++) {
            int64_t x;
            if (!dims_to_int(m, *pad[i], &x)) {
                import_assert_size(n, *pad[i]);
            } else if (x < 0) {
                cut[i] = dims_from_int(m, -x);
                *pad[i] = 0;
            }
        }
        if (cut[0] == 0 && cut[1] == 0)
            continue;
        dim size = dims_sub(m, v->type->dims[d], dims_add(m, cut[0], cut[1]));
        import_assert_size(n, size);
        if (n->failed)
            return NULL;
        v = import_slice_axis(n->im, v, d, cut[0], 1, size);
    }
    return v;
}

static struct value *pad_constant(struct node *n, struct value *v, const dim *low, const dim *high)
{
    struct import *im = n->im;
    double x = node_float(n, "value", 0);
    struct number number;
    int rank = v->type->rank;
    bool is_float = dtype_is_float(v->type->dtype), given = node_has_input(n, 2);
    if (given && !node_number(n, 2, 0, &x)) {
        node_error(n, "the padding value %s must be a constant", model_quote(im->model, n->inputs[2]->name));
        return NULL;
    }
    number = (struct number){is_float, x, is_float ? 0 : (int64_t)x};
    if (given && !is_float && (double)number.i != x) {
        node_error(n, "the padding value %g is not one of %s", x, dtype_info[v->type->dtype].name);
        return NULL;
    }
    struct attr attrs[] = {
        {ATTR_LOW, {.dims = {rank, low}}}, {ATTR_HIGH, {.dims = {rank, high}}}, {ATTR_VALUE, {.number = number}}};
    return build_value(&im->b, OP_PAD, 1, &v, x != 0 ? 3 : 2, attrs, NULL);
}

// Elements of the tensor itself on one side of an axis.
static struct value *border(struct node *n, struct value *v, int d, dim count, bool high, enum pad_mode mode)
{
    struct module *m = n->im->module;
    dim size = v->type->dims[d], dims[MAX_RANK];
    dim last = dims_sub(m, size, 1);
    if (mode == PAD_EDGE) {
        if (!import_assert_index(n, 0, size))
            return NULL;
        memcpy(dims, v->type->dims, sizeof dims);
        dims[d] = count;
        return import_broadcast_to(n->im, import_slice_axis(n->im, v, d, high ? last : 0, 1, 1), v->type->rank, dims);
    }
    dim room = mode == PAD_REFLECT ? last : size, left = dims_sub(m, room, count);
    import_assert_size(n, left); // the reference repeats itself; here once around is all
    if (n->failed)
        return NULL;
    if (mode == PAD_REFLECT)
        return import_slice_axis(n->im, v, d, high ? dims_sub(m, last, 1) : count, -1, count);
    return import_slice_axis(n->im, v, d, high ? 0 : left, 1, count);
}

static struct value *pad_border(struct node *n, struct value *v, const dim *low, const dim *high, enum pad_mode mode)
{
    for (int d = 0; d < v->type->rank; d++) {
        struct value *parts[3];
        int count = 0;
        if (low[d] != 0)
            parts[count++] = border(n, v, d, low[d], false, mode);
        parts[count++] = v;
        if (high[d] != 0)
            parts[count++] = border(n, v, d, high[d], true, mode);
        if (n->failed)
            return NULL;
        v = import_concat(n->im, d, count, parts);
    }
    return v;
}

void import_op_pad(struct node *n)
{
    dim low[MAX_RANK], high[MAX_RANK];
    enum pad_mode mode = read_mode(n);
    if (mode == PAD_MODES || !read_pads(n, low, high))
        return;
    struct value *v = crop(n, node_input(n, 0), low, high);
    bool none = true;
    for (int d = 0; v && d < v->type->rank; d++)
        none &= low[d] == 0 && high[d] == 0;
    if (!v || n->failed)
        return;
    if (none)
        node_output(n, 0, v);
    else
        node_output(n, 0, mode == PAD_CONSTANT ? pad_constant(n, v, low, high) : pad_border(n, v, low, high, mode));
}

// ---- Positions -------------------------------------------------------------------------------------------------

// column - row of each element of a matrix.
static struct value *diagonal_of(struct node *n, dim rows, dim columns)
{
    struct value *row = import_iota(n->im, DTYPE_I64, 2, (dim[]){rows, 1}, 0);
    struct value *column = import_iota(n->im, DTYPE_I64, 2, (dim[]){1, columns}, 1);
    return import_binary(n, OP_SUB, column, row);
}

void import_op_trilu(struct node *n)
{
    struct import *im = n->im;
    struct value *x = node_input(n, 0);
    const struct type *t = x->type;
    if (t->rank < 2) {
        node_error(n, "input %s is no matrix", type_string(&im->arena, im->module, t));
        return;
    }
    struct value *k = import_number(n, DTYPE_I64, 0);
    if (node_has_input(n, 1)) {
        const struct type *u = node_type(n, 1);
        if (u->dtype != DTYPE_I64 || dims_product(im->module, u->rank, u->dims) != 1) {
            node_error(n, "the diagonal %s must be one i64, not %s", model_quote(im->model, n->inputs[1]->name),
                       type_string(&im->arena, im->module, u));
            return;
        }
        k = import_reshape(im, node_input(n, 1), 0, NULL);
    }
    struct value *diagonal = diagonal_of(n, t->dims[t->rank - 2], t->dims[t->rank - 1]);
    struct value *kept = import_binary(n, node_int(n, "upper", 1) ? OP_GE : OP_LE, diagonal, k);
    node_output(n, 0, import_select(n, kept, x, import_number(n, t->dtype, 0)));
}

void import_op_eye_like(struct node *n)
{
    const struct type *t = node_type(n, 0);
    int64_t type = node_int(n, "dtype", 0);
    enum dtype d = node_has(n, "dtype") ? onnx_type_dtype((int32_t)type) : t->dtype;
    if (t->rank != 2) {
        node_error(n, "input %s is no matrix", type_string(&n->im->arena, n->im->module, t));
        return;
    }
    if (d == DTYPE_NONE) {
        node_error(n, "element type %s is not supported; take another", onnx_type_name(&n->im->arena, (int32_t)type));
        return;
    }
    struct value *k = build_int(&n->im->b, type_scalar(n->im->module, DTYPE_I64), node_int(n, "k", 0));
    node_output(n, 0, import_cast(n->im, import_binary(n, OP_EQ, diagonal_of(n, t->dims[0], t->dims[1]), k), d));
}

void import_op_one_hot(struct node *n)
{
    struct import *im = n->im;
    const struct type *t = node_type(n, 0), *u = node_type(n, 2);
    struct list depth;
    int axis, rank = t->rank + 1;
    double number;
    if (t->dtype == DTYPE_I1 || u->rank != 1 || u->dims[0] != 2 || rank > MAX_RANK) {
        node_error(n, "needs numbers as indices, the two values [off, on], and at most %d dimensions", MAX_RANK);
        return;
    }
    dim count;
    if (dtype_is_float(node_type(n, 1)->dtype)) {
        if (!node_number(n, 1, 0, &number) || !(number >= 0 && number < INT32_MAX)) {
            node_error(n, "the depth must be constant and not negative");
            return;
        }
        count = (dim)number;
    } else if (!node_list(n, 1, "the depth", &depth)) {
        return;
    } else {
        count = depth.n == 1 ? depth.v[0] : DIM_UNKNOWN;
    }
    if (count == DIM_UNKNOWN) {
        node_error(n, "the depth must be one number");
        return;
    }
    import_assert_size(n, count);
    if (n->failed || !node_axis(n, node_int(n, "axis", -1), rank, &axis))
        return;
    // Indices below 0 count from the end; those out of range are off everywhere.
    struct value *at = import_cast(im, node_input(n, 0), DTYPE_I64), *all = import_size(im, count, DTYPE_I64);
    at = import_select(n, import_binary(n, OP_LT, at, import_number(n, DTYPE_I64, 0)),
                       import_binary(n, OP_ADD, at, all), at);
    dim dims[MAX_RANK], line[MAX_RANK];
    for (int d = 0, from = 0; d < rank; d++) {
        line[d] = d == axis ? count : 1;
        dims[d] = d == axis ? 1 : t->dims[from++];
    }
    struct value *hot =
        import_binary(n, OP_EQ, import_reshape(im, at, rank, dims), import_iota(im, DTYPE_I64, rank, line, axis));
    struct value *values = node_input(n, 2), *pair[2];
    for (int i = 0; i < 2; i++)
        pair[i] = import_reshape(im, import_slice_axis(im, values, 0, i, 1, 1), 0, NULL);
    node_output(n, 0, import_select(n, hot, pair[1], pair[0]));
}
