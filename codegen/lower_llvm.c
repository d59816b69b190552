// Small pieces of LLVM IR.
#include <string.h>

#include "codegen/lower_internal.h"
#include "ir/wrap.h"

LLVMValueRef lower_i64(struct lower *l, int64_t x)
{
    return LLVMConstInt(l->i64, (unsigned long long)x, true);
}

LLVMValueRef lower_i32(struct lower *l, int64_t x)
{
    return LLVMConstInt(l->i32, (unsigned long long)x, true);
}

LLVMTypeRef lower_type(struct lower *l, enum dtype t)
{
    if (t == DTYPE_F64)
        return l->f64;
    if (t == DTYPE_F32)
        return l->f32;
    return LLVMIntTypeInContext(l->context, (unsigned)dtype_info[t].bits);
}

LLVMTypeRef lower_vector_type(struct lower *l, enum dtype t, int lanes)
{
    LLVMTypeRef element = lower_type(l, t);
    return lanes > 1 ? LLVMVectorType(element, (unsigned)lanes) : element;
}

LLVMTypeRef lower_memory_type(struct lower *l, enum dtype t, int lanes)
{
    return lower_vector_type(l, t == DTYPE_I1 ? DTYPE_U8 : t, lanes);
}

LLVMValueRef lower_number(struct lower *l, enum dtype t, struct number n)
{
    union scalar x;
    if (dtype_is_float(t))
        x.f = dtype_round(t, n.is_float ? n.f : (double)n.i);
    else
        x.i = n.i;
    if (t == DTYPE_F32 || t == DTYPE_F64)
        return LLVMConstReal(lower_type(l, t), x.f);
    return LLVMConstInt(lower_type(l, t), dtype_bits(t, x), false);
}

int lower_lanes(LLVMValueRef x)
{
    LLVMTypeRef t = LLVMTypeOf(x);
    return LLVMGetTypeKind(t) == LLVMVectorTypeKind ? (int)LLVMGetVectorSize(t) : 1;
}

LLVMValueRef lower_insert(struct lower *l, LLVMValueRef vector, LLVMValueRef x, int lane)
{
    return LLVMBuildInsertElement(l->b, vector, x, lower_i32(l, lane), "");
}

LLVMValueRef lower_pick(struct lower *l, LLVMValueRef vector, int lane)
{
    if (lower_lanes(vector) == 1)
        return vector;
    return LLVMBuildExtractElement(l->b, vector, lower_i32(l, lane), "");
}

LLVMValueRef lower_shuffle(struct lower *l, LLVMValueRef x, LLVMValueRef y, int n, const int *lane)
{
    LLVMValueRef mask[128];
    for (int i = 0; i < n; i++)
        mask[i] = lane[i] < 0 ? LLVMGetUndef(l->i32) : lower_i32(l, lane[i]);
    return LLVMBuildShuffleVector(l->b, x, y ? y : LLVMGetPoison(LLVMTypeOf(x)), LLVMConstVector(mask, (unsigned)n),
                                  "");
}

LLVMValueRef lower_splat(struct lower *l, LLVMValueRef x, int lanes)
{
    if (lanes == 1)
        return x;
    if (LLVMIsConstant(x)) {
        LLVMValueRef all[128];
        for (int i = 0; i < lanes; i++)
            all[i] = x;
        return LLVMConstVector(all, (unsigned)lanes);
    }
    int zero[128] = {0};
    LLVMValueRef v = lower_insert(l, LLVMGetPoison(LLVMVectorType(LLVMTypeOf(x), (unsigned)lanes)), x, 0);
    return lower_shuffle(l, v, NULL, lanes, zero);
}

LLVMValueRef lower_splat_like(struct lower *l, LLVMValueRef x, LLVMValueRef like)
{
    return lower_splat(l, x, lower_lanes(like));
}

LLVMValueRef lower_iota(struct lower *l, LLVMTypeRef element, int lanes, int64_t base, int64_t scale)
{
    (void)l;
    LLVMValueRef all[128];
    for (int i = 0; i < lanes; i++)
        all[i] = LLVMConstInt(element, (unsigned long long)wrap_add(base, wrap_mul(scale, i)), true);
    return lanes == 1 ? all[0] : LLVMConstVector(all, (unsigned)lanes);
}

LLVMValueRef lower_intrinsic(struct lower *l, const char *name, int n_types, LLVMTypeRef *types, int n_args,
                             LLVMValueRef *args)
{
    unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
    LLVMValueRef f = LLVMGetIntrinsicDeclaration(l->module, id, types, (size_t)n_types);
    LLVMTypeRef t = LLVMIntrinsicGetType(l->context, id, types, (size_t)n_types);
    return LLVMBuildCall2(l->b, t, f, args, (unsigned)n_args, "");
}

bool lower_is_constant(LLVMValueRef x, int64_t *value)
{
    if (!LLVMIsConstant(x))
        return false;
    int n = lower_lanes(x);
    for (int i = 0; i < n; i++) {
        LLVMValueRef e = n > 1 ? LLVMGetAggregateElement(x, (unsigned)i) : x;
        if (!e || !LLVMIsAConstantInt(e))
            return false;
        int64_t v = LLVMConstIntGetSExtValue(e);
        if (i && v != *value)
            return false;
        *value = v;
    }
    return true;
}

LLVMValueRef lower_add(struct lower *l, LLVMValueRef x, LLVMValueRef y)
{
    int64_t c;
    if (lower_is_constant(x, &c) && c == 0)
        return y;
    if (lower_is_constant(y, &c) && c == 0)
        return x;
    return LLVMBuildNSWAdd(l->b, x, y, "");
}

LLVMValueRef lower_mul(struct lower *l, LLVMValueRef x, LLVMValueRef y)
{
    int64_t c;
    if (lower_is_constant(x, &c) && (c == 0 || c == 1))
        return c ? y : x;
    if (lower_is_constant(y, &c) && (c == 0 || c == 1))
        return c ? x : y;
    return LLVMBuildNSWMul(l->b, x, y, "");
}

LLVMTypeRef lower_function_type(LLVMTypeRef result, int n, LLVMTypeRef *params)
{
    return LLVMFunctionType(result, params, (unsigned)n, false);
}

LLVMValueRef lower_add_function(struct lower *l, const char *suffix, LLVMTypeRef type, enum lower_reach reach)
{
    const char *name = arena_printf(&l->arena, "%s%s", l->kernel->name, suffix);
    LLVMValueRef f = LLVMAddFunction(l->module, name, type);
    if (reach == LOWER_UNIT)
        LLVMSetLinkage(f, LLVMInternalLinkage);
    else if (reach == LOWER_PROGRAM)
        LLVMSetVisibility(f, LLVMHiddenVisibility);
    unsigned nounwind = LLVMGetEnumAttributeKindForName("nounwind", 8);
    LLVMAddAttributeAtIndex(f, LLVMAttributeFunctionIndex, LLVMCreateEnumAttribute(l->context, nounwind, 0));
    return f;
}

LLVMValueRef lower_library_function(struct lower *l, const char *name, LLVMTypeRef type)
{
    LLVMValueRef f = LLVMGetNamedFunction(l->module, name);
    return f ? f : LLVMAddFunction(l->module, name, type);
}

LLVMValueRef lower_stack(struct lower *l, LLVMTypeRef type, int64_t n, int align)
{
    LLVMBasicBlockRef here = LLVMGetInsertBlock(l->b);
    LLVMValueRef first = LLVMGetFirstInstruction(l->entry);
    if (first)
        LLVMPositionBuilderBefore(l->b, first);
    else
        LLVMPositionBuilderAtEnd(l->b, l->entry);
    LLVMValueRef p = LLVMBuildAlloca(l->b, LLVMArrayType2(type, (uint64_t)n), "slot");
    LLVMSetAlignment(p, (unsigned)align);
    LLVMPositionBuilderAtEnd(l->b, here);
    return p;
}

LLVMValueRef lower_min(struct lower *l, LLVMValueRef x, LLVMValueRef y)
{
    int64_t a, b;
    if (lower_is_constant(x, &a) && lower_is_constant(y, &b))
        return a < b ? x : y;
    return lower_intrinsic(l, "llvm.smin", 1, (LLVMTypeRef[]){LLVMTypeOf(x)}, 2, (LLVMValueRef[]){x, y});
}

LLVMValueRef lower_max(struct lower *l, LLVMValueRef x, LLVMValueRef y)
{
    int64_t a, b;
    if (lower_is_constant(x, &a) && lower_is_constant(y, &b))
        return a > b ? x : y;
    return lower_intrinsic(l, "llvm.smax", 1, (LLVMTypeRef[]){LLVMTypeOf(x)}, 2, (LLVMValueRef[]){x, y});
}

LLVMValueRef lower_contract(LLVMValueRef x)
{
    if (LLVMIsAInstruction(x))
        LLVMSetFastMathFlags(x, LLVMFastMathAllowContract);
    return x;
}

LLVMValueRef lower_lanes_below(struct lower *l, LLVMValueRef n, int lanes, int bits)
{
    int64_t c;
    if (lower_is_constant(n, &c))
        return lower_first_lanes(l, (int)c, lanes);
    LLVMTypeRef t = LLVMIntTypeInContext(l->context, (unsigned)bits);
    LLVMValueRef narrow = bits < 64 ? LLVMBuildTrunc(l->b, n, t, "") : n;
    return LLVMBuildICmp(l->b, LLVMIntSLT, lower_iota(l, t, lanes, 0, 1), lower_splat(l, narrow, lanes), "mask");
}

LLVMValueRef lower_first_lanes(struct lower *l, int n, int lanes)
{
    LLVMValueRef all[128];
    for (int i = 0; i < lanes; i++)
        all[i] = LLVMConstInt(l->i1, i < n, false);
    return LLVMConstVector(all, (unsigned)lanes);
}
