// Operations of graphs alone: convolution, windowed reduction, and tensors put together and taken apart.
#include <string.h>

#include "ir/interp_state.h"

static int64_t work_of(int64_t results, const struct walk *each)
{
    for (int d = 0; d < each->rank; d++)
        if (__builtin_mul_overflow(results, each->dims[d], &results))
            return INT64_MAX;
    return results;
}

// ---- Windows ---------------------------------------------------------------------------------------------------

// Element k of window o lies at o * stride + k * dilation - low.
struct windows {
    int64_t stride[MAX_RANK], dilation[MAX_RANK], low[MAX_RANK];
};

static bool find_windows(struct interp *in, const struct op *op, int n, struct windows *w)
{
    struct ints strides = op_ints(op, ATTR_STRIDES), dilations = op_ints(op, ATTR_DILATIONS);
    const struct attr *pads = op_attr(op, ATTR_PADS);
    for (int d = 0; d < n; d++) {
        w->stride[d] = strides.n ? strides.v[d] : 1;
        w->dilation[d] = dilations.n ? dilations.v[d] : 1;
        w->low[d] = 0;
        if (pads && !interp_size(in, op, pads->dims.v[d], &w->low[d]))
            return false;
    }
    return true;
}

// False if the element is in the padding.
static bool window_at(const struct windows *w, int d, int64_t o, int64_t k, int64_t size, int64_t *at)
{
    int64_t from, reach;
    if (__builtin_mul_overflow(o, w->stride[d], &from) || __builtin_mul_overflow(k, w->dilation[d], &reach) ||
        __builtin_add_overflow(from, reach, at) || __builtin_sub_overflow(*at, w->low[d], at))
        return false;
    return *at >= 0 && *at < size;
}

bool interp_conv(struct interp *in, const struct op *op)
{
    const struct type *x = interp_type(in, op->operands[0]), *w = interp_type(in, op->operands[1]);
    const struct type *t = interp_type(in, op->results[0]);
    int n = x->rank - 2;
    struct windows windows;
    struct walk outer = walk_create(t->rank, t->dims), inner = walk_create(n + 1, w->dims + 1);
    int64_t x_strides[MAX_RANK], w_strides[MAX_RANK];
    tile_strides(x, x_strides);
    tile_strides(w, w_strides);
    memcpy(inner.step[0], w_strides + 1, sizeof *w_strides * (size_t)(n + 1));
    union scalar *result = interp_result(in, op, op->results[0]);
    if (!result || !find_windows(in, op, n, &windows) || !interp_charge(in, op, work_of(type_elements(t), &inner)))
        return false;
    const union scalar *xs = interp_elements(in, op->operands[0]), *ws = interp_elements(in, op->operands[1]);
    int64_t filters = w->dims[0] / op_int(op, ATTR_GROUPS, 1); // of a group
    for (bool more = walk_first(&outer); more; more = walk_next(&outer)) {
        int64_t filter = outer.index[1], channel = filter / filters * w->dims[1];
        const union scalar *image = xs + outer.index[0] * x_strides[0];
        double sum = 0;
        for (bool within = walk_first(&inner); within; within = walk_next(&inner)) {
            int64_t at = (channel + inner.index[0]) * x_strides[1], i;
            bool inside = true;
            for (int d = 0; inside && d < n; d++) {
                inside = window_at(&windows, d, outer.index[2 + d], inner.index[1 + d], x->dims[2 + d], &i);
                at += inside ? i * x_strides[2 + d] : 0;
            }
            if (inside)
                sum += image[at].f * ws[filter * w_strides[0] + inner.at[0]].f;
        }
        (result++)->f = dtype_round(t->dtype, sum);
    }
    return true;
}

bool interp_window_reduce(struct interp *in, const struct op *op)
{
    const struct type *x = interp_type(in, op->operands[0]), *t = interp_type(in, op->results[0]);
    enum opcode combine = op_attr(op, ATTR_COMBINE)->opcode;
    struct windows windows;
    struct walk outer = walk_create(t->rank, t->dims), inner = walk_create(t->rank, op_ints(op, ATTR_SIZES).v);
    int64_t strides[MAX_RANK];
    tile_strides(x, strides);
    union scalar *result = interp_result(in, op, op->results[0]);
    if (!result || !find_windows(in, op, x->rank, &windows) ||
        !interp_charge(in, op, work_of(type_elements(t), &inner)))
        return false;
    const union scalar *xs = interp_elements(in, op->operands[0]);
    for (bool more = walk_first(&outer); more; more = walk_next(&outer)) {
        union scalar sum = scalar_identity(combine, t->dtype);
        for (bool within = walk_first(&inner); within; within = walk_next(&inner)) {
            int64_t at = 0, i;
            bool inside = true;
            for (int d = 0; inside && d < x->rank; d++) {
                inside = window_at(&windows, d, outer.index[d], inner.index[d], x->dims[d], &i);
                at += inside ? i * strides[d] : 0;
            }
            if (inside)
                sum = interp_combine(combine, t->dtype, sum, dtype_cast(t->dtype, x->dtype, xs[at]));
        }
        *result++ = interp_finished(t->dtype, sum);
    }
    return true;
}

// ---- Parts -----------------------------------------------------------------------------------------------------

bool interp_slice(struct interp *in, const struct op *op)
{
    const struct type *from = interp_type(in, op->operands[0]), *to = interp_type(in, op->results[0]);
    struct ints steps = op_ints(op, ATTR_STEPS);
    struct walk w = walk_create(to->rank, to->dims);
    int64_t strides[MAX_RANK], at = 0;
    tile_strides(from, strides);
    for (int d = 0; d < to->rank; d++) {
        int64_t start, last, step = steps.n ? steps.v[d] : 1;
        if (!interp_size(in, op, op_attr(op, ATTR_STARTS)->dims.v[d], &start))
            return false;
        if (!to->dims[d])
            continue;
        bool outside = __builtin_mul_overflow(to->dims[d] - 1, step, &last) ||
                       __builtin_add_overflow(last, start, &last) || last < 0 || last >= from->dims[d];
        if (outside || start < 0 || start >= from->dims[d])
            return interp_fail(in, op,
                               "%lld elements from %lld on by %lld steps are not within the size %lld of "
                               "dimension %d",
                               (long long)to->dims[d], (long long)start, (long long)step, (long long)from->dims[d], d);
        at += start * strides[d];
        w.step[0][d] = to->dims[d] > 1 ? step * strides[d] : 0;
    }
    union scalar *result = interp_result(in, op, op->results[0]);
    if (!result || !interp_charge(in, op, type_elements(to)))
        return false;
    const union scalar *x = interp_elements(in, op->operands[0]);
    for (bool more = walk_first(&w); more; more = walk_next(&w))
        *result++ = x[at + w.at[0]];
    return true;
}

bool interp_pad(struct interp *in, const struct op *op)
{
    const struct type *from = interp_type(in, op->operands[0]), *to = interp_type(in, op->results[0]);
    const struct attr *value = op_attr(op, ATTR_VALUE);
    union scalar filling = scalar_from_number(to->dtype, value ? value->number : (struct number){0});
    int64_t low[MAX_RANK], strides[MAX_RANK];
    for (int d = 0; d < to->rank; d++)
        if (!interp_size(in, op, op_attr(op, ATTR_LOW)->dims.v[d], &low[d]))
            return false;
    union scalar *result = interp_result(in, op, op->results[0]);
    if (!result || !interp_charge(in, op, type_elements(to)))
        return false;
    const union scalar *x = interp_elements(in, op->operands[0]);
    tile_strides(from, strides);
    struct walk w = walk_create(to->rank, to->dims);
    for (bool more = walk_first(&w); more; more = walk_next(&w)) {
        int64_t at = 0, i;
        bool inside = true;
        for (int d = 0; inside && d < to->rank; d++) {
            inside = !__builtin_sub_overflow(w.index[d], low[d], &i) && i >= 0 && i < from->dims[d];
            at += inside ? i * strides[d] : 0;
        }
        *result++ = inside ? x[at] : filling;
    }
    return true;
}

// The elements of the dimensions from `first` up to `end`.
static int64_t elements_between(const struct type *t, int first, int end)
{
    int64_t n = 1;
    for (int d = first; d < end; d++)
        n *= t->dims[d];
    return n;
}

// The runs of elements next to each other that a part of a tensor has in the whole; false after an error.
struct part {
    int64_t rows, row, whole_row, at;
};

static bool find_part(struct interp *in, const struct op *op, const struct type *whole, const struct type *part,
                      const struct value *index, struct part *p)
{
    int axis = (int)op_int(op, ATTR_AXIS, 0);
    int64_t i = interp_index(in, index), size = part->dims[axis],
            inner = elements_between(whole, axis + 1, whole->rank);
    if (i < 0 || size > whole->dims[axis] || i > whole->dims[axis] - size)
        return interp_fail(in, op, "%lld elements from %lld on are not within the size %lld of dimension %d",
                           (long long)size, (long long)i, (long long)whole->dims[axis], axis);
    *p = (struct part){elements_between(whole, 0, axis), size * inner, whole->dims[axis] * inner, i * inner};
    return true;
}

bool interp_dynamic_slice(struct interp *in, const struct op *op)
{
    const struct type *from = interp_type(in, op->operands[0]), *to = interp_type(in, op->results[0]);
    struct part p;
    union scalar *result = interp_result(in, op, op->results[0]);
    if (!result || !find_part(in, op, from, to, op->operands[1], &p) || !interp_charge(in, op, type_elements(to)))
        return false;
    const union scalar *x = interp_elements(in, op->operands[0]);
    for (int64_t r = 0; r < p.rows; r++)
        memcpy(result + r * p.row, x + r * p.whole_row + p.at, sizeof *x * (size_t)p.row);
    return true;
}

bool interp_slice_update(struct interp *in, const struct op *op)
{
    const struct type *t = interp_type(in, op->results[0]), *part = interp_type(in, op->operands[1]);
    struct part p;
    union scalar *result = interp_result(in, op, op->results[0]);
    if (!result || !find_part(in, op, t, part, op->operands[2], &p) || !interp_charge(in, op, type_elements(t)))
        return false;
    const union scalar *x = interp_elements(in, op->operands[1]);
    memcpy(result, interp_elements(in, op->operands[0]), sizeof *result * (size_t)type_elements(t));
    for (int64_t r = 0; r < p.rows; r++)
        memcpy(result + r * p.whole_row + p.at, x + r * p.row, sizeof *x * (size_t)p.row);
    return true;
}

bool interp_concat(struct interp *in, const struct op *op)
{
    const struct type *to = interp_type(in, op->results[0]);
    int axis = (int)op_int(op, ATTR_AXIS, 0);
    union scalar *result = interp_result(in, op, op->results[0]);
    if (!result || !interp_charge(in, op, type_elements(to)))
        return false;
    int64_t rows = elements_between(to, 0, axis), row = elements_between(to, axis, to->rank);
    for (int i = 0; i < op->n_operands; i++) {
        const struct type *from = interp_type(in, op->operands[i]);
        const union scalar *x = interp_elements(in, op->operands[i]);
        int64_t part = elements_between(from, axis, from->rank);
        for (int64_t r = 0; r < rows; r++)
            memcpy(result + r * row, x + r * part, sizeof *x * (size_t)part);
        result += part;
    }
    return true;
}

bool interp_take(struct interp *in, const struct op *op)
{
    const struct type *from = interp_type(in, op->operands[0]), *to = interp_type(in, op->results[0]);
    int axis = (int)op_int(op, ATTR_AXIS, 0);
    union scalar *result = interp_result(in, op, op->results[0]);
    if (!result || !interp_charge(in, op, type_elements(to)))
        return false;
    const union scalar *x = interp_elements(in, op->operands[0]), *indices = interp_elements(in, op->operands[1]);
    int64_t rows = elements_between(from, 0, axis), part = elements_between(from, axis + 1, from->rank);
    int64_t size = from->dims[axis], n = type_elements(interp_type(in, op->operands[1]));
    union scalar zero = scalar_from_number(to->dtype, (struct number){0});
    for (int64_t r = 0; r < rows; r++)
        for (int64_t k = 0; k < n; k++, result += part) {
            int64_t i = indices[k].i; // a u64 beyond the signed numbers is below 0, and out of range as well
            for (int64_t e = 0; e < part; e++)
                result[e] = i >= 0 && i < size ? x[(r * size + i) * part + e] : zero;
        }
    return true;
}
