// Operations of the interpreter that tiles and tensors share: values from values, no memory.
#include <string.h>

#include "ir/interp_state.h"

// ---- Walking ---------------------------------------------------------------------------------------------------

struct walk walk_create(int rank, const dim *dims)
{
    struct walk w = {.rank = rank};
    for (int d = 0; d < rank; d++)
        w.dims[d] = dims[d];
    return w;
}

void tile_strides(const struct type *t, int64_t *strides)
{
    int64_t stride = 1;
    for (int d = t->rank - 1; d >= 0; d--) {
        strides[d] = t->dims[d] == 1 ? 0 : stride;
        stride *= t->dims[d];
    }
}

void walk_broadcast(struct walk *w, int which, const struct type *t)
{
    tile_strides(t, w->step[which] + w->rank - t->rank);
}

bool walk_first(const struct walk *w)
{
    for (int d = 0; d < w->rank; d++)
        if (w->dims[d] == 0)
            return false;
    return true;
}

bool walk_next(struct walk *w)
{
    for (int d = w->rank - 1; d >= 0; d--) {
        w->index[d]++;
        for (int o = 0; o < WALK_OPERANDS; o++)
            w->at[o] += w->step[o][d];
        if (w->index[d] < w->dims[d])
            return true;
        for (int o = 0; o < WALK_OPERANDS; o++)
            w->at[o] -= w->step[o][d] * w->dims[d];
        w->index[d] = 0;
    }
    return false;
}

// ---- Element by element ----------------------------------------------------------------------------------------

union scalar interp_element(const struct op *op, const union scalar *x)
{
    enum dtype from = op->operands[op->code == OP_SELECT]->type->dtype, to = op->results[0]->type->dtype;
    if (op->code == OP_CAST)
        return dtype_cast(to, from, x[0]);
    if (op->code == OP_BITCAST)
        return dtype_from_bits(to, dtype_bits(from, x[0]));
    return scalar_eval(op->code, from, x[0], x[1], x[2]);
}

bool interp_map(struct interp *in, const struct op *op)
{
    const struct type *t = interp_type(in, op->results[0]);
    union scalar *result = interp_result(in, op, op->results[0]);
    if (!result || !interp_charge(in, op, type_elements(t)))
        return false;
    struct walk w = walk_create(t->rank, t->dims);
    const union scalar *operand[3] = {0};
    for (int i = 0; i < op->n_operands; i++) {
        operand[i] = interp_elements(in, op->operands[i]);
        walk_broadcast(&w, i, interp_type(in, op->operands[i]));
    }
    for (bool more = walk_first(&w); more; more = walk_next(&w)) {
        union scalar x[3] = {{0}};
        for (int i = 0; i < op->n_operands; i++)
            x[i] = operand[i][w.at[i]];
        *result++ = interp_element(op, x);
    }
    return true;
}

bool interp_constant(struct interp *in, const struct op *op)
{
    const struct type *t = interp_type(in, op->results[0]);
    int64_t n = type_elements(t);
    union scalar *result = interp_result(in, op, op->results[0]);
    if (!result || !interp_charge(in, op, n))
        return false;
    for (int64_t i = 0; i < n; i++)
        result[i] = scalar_from_number(t->dtype, op_attr(op, ATTR_VALUE)->number);
    return true;
}

bool interp_iota(struct interp *in, const struct op *op)
{
    const struct type *t = interp_type(in, op->results[0]);
    int64_t axis = op_int(op, ATTR_AXIS, 0);
    union scalar *result = interp_result(in, op, op->results[0]);
    if (!result || !interp_charge(in, op, type_elements(t)))
        return false;
    struct walk w = walk_create(t->rank, t->dims);
    for (bool more = walk_first(&w); more; more = walk_next(&w))
        (result++)->i = dtype_wrap(t->dtype, w.index[axis]);
    return true;
}

// ---- Rearranging -----------------------------------------------------------------------------------------------

// Sizes that were open may not broadcast.
static bool check_stretch(struct interp *in, const struct op *op, const struct type *from, const struct type *to)
{
    for (int d = 0; d < from->rank; d++) {
        dim have = from->dims[d], want = to->dims[to->rank - from->rank + d];
        if (have != 1 && have != want)
            return interp_fail(in, op, "dimension %d is %lld, which does not broadcast to %lld", d, (long long)have,
                               (long long)want);
    }
    return true;
}

bool interp_rearranged(struct interp *in, const struct op *op, struct walk *w)
{
    const struct type *from = interp_type(in, op->operands[0]), *to = interp_type(in, op->results[0]);
    *w = walk_create(to->rank, to->dims);
    if (op->code == OP_BROADCAST && !check_stretch(in, op, from, to))
        return false;
    if (op->code != OP_TRANSPOSE) {
        walk_broadcast(w, 0, op->code == OP_BROADCAST ? from : to);
        return true;
    }
    int64_t strides[MAX_RANK];
    tile_strides(from, strides);
    for (int d = 0; d < to->rank; d++) // dimension d of the result is dimension axes[d] of the operand
        w->step[0][d] = strides[op_ints(op, ATTR_AXES).v[d]];
    return true;
}

bool interp_rearrange(struct interp *in, const struct op *op)
{
    struct walk w;
    union scalar *result = interp_result(in, op, op->results[0]);
    if (!result || !interp_charge(in, op, type_elements(interp_type(in, op->results[0]))) ||
        !interp_rearranged(in, op, &w))
        return false;
    const union scalar *x = interp_elements(in, op->operands[0]);
    for (bool more = walk_first(&w); more; more = walk_next(&w))
        *result++ = x[w.at[0]];
    return true;
}

bool interp_extract(struct interp *in, const struct op *op)
{
    const struct type *t = interp_type(in, op->operands[0]);
    union scalar *result = interp_result(in, op, op->results[0]);
    if (!result)
        return false;
    int64_t at = 0;
    for (int d = 0; d < t->rank; d++) {
        int64_t i = interp_index(in, op->operands[1 + d]);
        if (i < 0 || i >= t->dims[d])
            return interp_fail(in, op, "index %d is %lld, outside of the tile's size %lld", d, (long long)i,
                               (long long)t->dims[d]);
        at = at * t->dims[d] + i;
    }
    *result = interp_elements(in, op->operands[0])[at];
    return true;
}

// ---- Combining -------------------------------------------------------------------------------------------------

static enum dtype accumulator(enum opcode combine, enum dtype t)
{
    return dtype_is_float(t) && (combine == OP_ADD || combine == OP_MUL) ? DTYPE_F64 : t;
}

union scalar interp_combine(enum opcode combine, enum dtype t, union scalar a, union scalar b)
{
    return scalar_eval(combine, accumulator(combine, t), a, b, (union scalar){0});
}

union scalar interp_finished(enum dtype t, union scalar x)
{
    if (dtype_is_float(t))
        x.f = dtype_round(t, x.f);
    return x;
}

bool interp_reduce(struct interp *in, const struct op *op)
{
    const struct type *from = interp_type(in, op->operands[0]), *to = interp_type(in, op->results[0]);
    enum opcode combine = op_attr(op, ATTR_COMBINE)->opcode;
    struct ints axes = op_ints(op, ATTR_AXES);
    int64_t n = type_elements(to);
    union scalar *result = interp_result(in, op, op->results[0]);
    if (!result || !interp_charge(in, op, type_elements(from)))
        return false;
    const union scalar *x = interp_elements(in, op->operands[0]);
    int64_t count = op->n_operands > 1 ? interp_index(in, op->operands[1]) : INT64_MAX;
    for (int64_t i = 0; i < n; i++)
        result[i] = scalar_identity(combine, to->dtype);
    struct walk w = walk_create(from->rank, from->dims);
    walk_broadcast(&w, 0, to); // the reduced dimensions have size 1
    for (bool more = walk_first(&w); more; more = walk_next(&w)) {
        if (count == INT64_MAX || w.index[axes.v[0]] < count)
            result[w.at[0]] = interp_combine(combine, to->dtype, result[w.at[0]], *x);
        x++;
    }
    for (int64_t i = 0; i < n; i++)
        result[i] = interp_finished(to->dtype, result[i]);
    return true;
}

bool interp_scan(struct interp *in, const struct op *op)
{
    const struct type *t = interp_type(in, op->operands[0]);
    enum opcode combine = op_attr(op, ATTR_COMBINE)->opcode;
    int64_t axis = op_int(op, ATTR_AXIS, 0), size = t->dims[axis];
    bool exclusive = op_attr(op, ATTR_EXCLUSIVE), reverse = op_attr(op, ATTR_REVERSE);
    const struct value *carry = op->n_operands > 1 ? op->operands[1] : NULL;
    union scalar *result = interp_result(in, op, op->results[0]);
    if (!result || !interp_charge(in, op, type_elements(t)))
        return false;
    const union scalar *x = interp_elements(in, op->operands[0]);
    int64_t strides[MAX_RANK] = {0};
    tile_strides(t, strides);
    struct walk w = walk_create(t->rank, t->dims); // over the rows along the axis
    w.dims[axis] = 1;
    memcpy(w.step[0], strides, sizeof strides);
    if (carry)
        walk_broadcast(&w, 1, interp_type(in, carry));
    for (bool more = walk_first(&w); more; more = walk_next(&w)) {
        union scalar sum = carry ? interp_elements(in, carry)[w.at[1]] : scalar_identity(combine, t->dtype);
        for (int64_t i = 0; i < size; i++) {
            int64_t at = w.at[0] + (reverse ? size - 1 - i : i) * strides[axis];
            union scalar next = interp_combine(combine, t->dtype, sum, x[at]);
            result[at] = interp_finished(t->dtype, exclusive ? sum : next);
            sum = next;
        }
    }
    return true;
}

bool interp_dot(struct interp *in, const struct op *op)
{
    struct einsum e;
    const char *fault = einsum_parse(op_attr(op, ATTR_LABELS)->string, &e);
    if (fault)
        return interp_fail(in, op, "%s", fault);
    const struct type *types[3];
    int64_t sizes[EINSUM_LABELS] = {0}, steps[3][EINSUM_LABELS] = {{0}};
    for (int i = 0; i < 3; i++) {
        types[i] = interp_type(in, i < 2 ? op->operands[i] : op->results[0]);
        int64_t strides[MAX_RANK];
        tile_strides(types[i], strides);
        for (int d = 0; d < types[i]->rank; d++) {
            sizes[e.axis[i][d]] = types[i]->dims[d];
            steps[i][e.axis[i][d]] = strides[d];
        }
    }
    struct walk outer = walk_create(types[2]->rank, types[2]->dims), inner = {0};
    for (int d = 0; d < outer.rank; d++)
        for (int i = 0; i < 2; i++)
            outer.step[i][d] = steps[i][e.axis[2][d]];
    int64_t work = type_elements(types[2]);
    for (int axis = 0; axis < e.n_axes; axis++) {
        if (!einsum_contracts(&e, axis))
            continue;
        if (__builtin_mul_overflow(work, sizes[axis], &work))
            work = INT64_MAX;
        for (int i = 0; i < 2; i++)
            inner.step[i][inner.rank] = steps[i][axis];
        inner.dims[inner.rank++] = sizes[axis];
    }
    union scalar *result = interp_result(in, op, op->results[0]);
    if (!result || !interp_charge(in, op, work))
        return false;
    const union scalar *a = interp_elements(in, op->operands[0]), *b = interp_elements(in, op->operands[1]);
    const union scalar *c = op->code == OP_DOT ? interp_elements(in, op->operands[2]) : NULL;
    enum dtype t = types[2]->dtype;
    union scalar zero = scalar_identity(OP_ADD, t);
    for (bool more = walk_first(&outer); more; more = walk_next(&outer)) {
        union scalar sum = c ? *c++ : zero;
        for (bool within = walk_first(&inner); within; within = walk_next(&inner)) {
            union scalar x = a[outer.at[0] + inner.at[0]], y = b[outer.at[1] + inner.at[1]];
            if (dtype_is_float(t))
                sum.f += x.f * y.f;
            else
                sum.i = (int64_t)((uint64_t)sum.i + (uint64_t)x.i * (uint64_t)y.i);
        }
        if (dtype_is_float(t))
            sum.f = dtype_round(t, sum.f);
        else
            sum.i = dtype_wrap(t, sum.i);
        *result++ = sum;
    }
    return true;
}
