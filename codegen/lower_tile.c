// Operations that make tiles or move their elements.
#include <string.h>

#include "codegen/lower_internal.h"

LLVMValueRef lower_constant(struct lower *l, struct op *op, int64_t r)
{
    (void)r;
    const struct type *t = op->results[0]->type;
    return lower_splat(l, lower_number(l, t->dtype, op_attr(op, ATTR_VALUE)->number), registers_of(t).lanes);
}

LLVMValueRef lower_op_iota(struct lower *l, struct op *op, int64_t r)
{
    const struct type *t = op->results[0]->type;
    struct registers s = registers_of(t);
    int axis = (int)op_int(op, ATTR_AXIS, 0);
    int64_t e[MAX_RANK];
    registers_element(&s, r, e);
    return lower_iota(l, lower_type(l, t->dtype), s.lanes, e[axis], axis == s.axis);
}

LLVMValueRef lower_op_cast(struct lower *l, struct op *op, int64_t r)
{
    struct value *x = op->operands[0];
    return lower_cast(l, op_attr(op, ATTR_TO)->dtype, x->type->dtype, lower_register(l, x, r));
}

LLVMValueRef lower_bitcast(struct lower *l, struct op *op, int64_t r)
{
    const struct type *t = op->results[0]->type;
    return LLVMBuildBitCast(l->b, lower_register(l, op->operands[0], r),
                            lower_vector_type(l, t->dtype, registers_of(t).lanes), "");
}

LLVMValueRef lower_op_broadcast(struct lower *l, struct op *op, int64_t r)
{
    return lower_broadcast(l, op->operands[0], op->results[0]->type, r);
}

LLVMValueRef lower_transpose(struct lower *l, struct op *op, int64_t r)
{
    struct registers s = registers_of(op->results[0]->type);
    struct ints axes = op_ints(op, ATTR_AXES);
    int64_t e[MAX_RANK], at[MAX_RANK] = {0};
    registers_element(&s, r, e);
    for (int d = 0; d < s.rank; d++)
        at[axes.v[d]] = e[d];
    return lower_vector(l, op->operands[0], at, s.axis < 0 ? -1 : (int)axes.v[s.axis], s.lanes);
}

static void unflatten(const struct type *t, int64_t i, int64_t *at)
{
    for (int d = t->rank - 1; d >= 0; d--) {
        at[d] = i % t->dims[d];
        i /= t->dims[d];
    }
}

// A register of the result whose lanes follow each other along an axis of the operand is a vector of it; others are
// put together element by element.
LLVMValueRef lower_reshape(struct lower *l, struct op *op, int64_t r)
{
    struct value *v = op->operands[0];
    const struct type *to = op->results[0]->type, *from = v->type;
    struct registers s = registers_of(to);
    int64_t e[MAX_RANK], at[MAX_RANK] = {0}, next[MAX_RANK] = {0}, flat = 0, stride = 1;
    registers_element(&s, r, e);
    for (int d = to->rank - 1, step = 1; d >= 0; d--) {
        flat += e[d] * step;
        if (d == s.axis)
            stride = step;
        step *= (int)to->dims[d];
    }
    unflatten(from, flat, at);
    if (s.axis < 0)
        return lower_element(l, v, at);
    int n = registers_valid(to, r), axis = -1;
    if (n == 1)
        axis = registers_of(from).axis;
    for (int d = 0; n > 1 && d < from->rank; d++) {
        bool along = true;
        for (int i = 1; i < n && along; i++) {
            unflatten(from, flat + i * stride, next);
            for (int k = 0; k < from->rank; k++)
                along = along && next[k] == at[k] + (k == d ? i : 0);
        }
        if (along)
            axis = d;
    }
    if (axis >= 0)
        return lower_vector(l, v, at, axis, s.lanes);
    LLVMValueRef x = LLVMGetPoison(lower_vector_type(l, to->dtype, s.lanes));
    for (int i = 0; i < n; i++) {
        unflatten(from, flat + i * stride, at);
        x = lower_insert(l, x, lower_element(l, v, at), i);
    }
    return x;
}

LLVMValueRef lower_extract(struct lower *l, struct op *op, int64_t r)
{
    (void)r;
    struct value *v = op->operands[0];
    const struct type *t = v->type;
    struct registers s = registers_of(t);
    LLVMValueRef index[MAX_RANK];
    int64_t at[MAX_RANK] = {0};
    bool constant = true;
    for (int d = 0; d < t->rank; d++) {
        index[d] = lower_scalar(l, op->operands[1 + d]);
        constant = constant && lower_is_constant(index[d], &at[d]) && at[d] >= 0 && at[d] < t->dims[d];
    }
    if (constant)
        return lower_element(l, v, at);

    // Registers do not take an index: the tile goes through the stack.
    LLVMTypeRef element = lower_memory_type(l, t->dtype, 1), vector = lower_memory_type(l, t->dtype, s.lanes);
    LLVMValueRef slot = lower_stack(l, element, s.total * s.lanes, 64);
    for (int64_t i = 0; i < s.total; i++) {
        LLVMValueRef x = lower_register(l, v, i), offset = lower_i64(l, i * s.lanes);
        if (t->dtype == DTYPE_I1)
            x = LLVMBuildZExt(l->b, x, vector, "");
        LLVMSetAlignment(LLVMBuildStore(l->b, x, LLVMBuildInBoundsGEP2(l->b, element, slot, &offset, 1, "")),
                         (unsigned)dtype_bytes(t->dtype));
    }
    LLVMValueRef position = lower_i64(l, 0), lane = lower_i64(l, 0);
    for (int d = 0; d < t->rank; d++) {
        LLVMValueRef i = lower_max(l, lower_min(l, index[d], lower_i64(l, t->dims[d] - 1)), lower_i64(l, 0));
        if (d == s.axis) {
            lane = LLVMBuildURem(l->b, i, lower_i64(l, s.lanes), "");
            i = LLVMBuildUDiv(l->b, i, lower_i64(l, s.lanes), "");
        }
        position = lower_add(l, lower_mul(l, position, lower_i64(l, s.n[d])), i);
    }
    position = lower_add(l, lower_mul(l, position, lower_i64(l, s.lanes)), lane);
    LLVMValueRef x = LLVMBuildLoad2(l->b, element, LLVMBuildInBoundsGEP2(l->b, element, slot, &position, 1, ""), "");
    return t->dtype == DTYPE_I1 ? LLVMBuildTrunc(l->b, x, l->i1, "") : x;
}
