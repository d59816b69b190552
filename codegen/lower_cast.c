// Conversions between element types, in instructions only. Floats narrower than f32 are kept as their bits; f16 goes
// through F16C where there is one, the others through integer arithmetic (ties to even, as dtype_round).
#include "codegen/lower_internal.h"

struct narrow {
    int exponent_bits, mantissa_bits, bias;
    bool finite_only; // no infinities; all ones is NaN
};

static struct narrow narrow_format(enum dtype t)
{
    switch (t) {
    case DTYPE_F16:
        return (struct narrow){5, 10, 15, false};
    case DTYPE_BF16:
        return (struct narrow){8, 7, 127, false};
    case DTYPE_F8E4M3:
        return (struct narrow){4, 3, 7, true};
    default:
        return (struct narrow){5, 2, 15, false};
    }
}

// A type with as many lanes as x.
static LLVMTypeRef type_like(LLVMTypeRef element, LLVMValueRef x)
{
    int lanes = lower_lanes(x);
    return lanes > 1 ? LLVMVectorType(element, (unsigned)lanes) : element;
}

static LLVMValueRef int_like(struct lower *l, uint32_t x, LLVMValueRef like)
{
    return lower_splat_like(l, LLVMConstInt(l->i32, x, false), like);
}

static LLVMValueRef float_like(struct lower *l, double x, LLVMValueRef like)
{
    return lower_splat_like(l, LLVMConstReal(l->f32, x), like);
}

static double power(int e)
{
    double x = 1;
    for (; e > 0; e--)
        x *= 2;
    for (; e < 0; e++)
        x /= 2;
    return x;
}

static LLVMValueRef widen(struct lower *l, enum dtype t, LLVMValueRef x) // to f32
{
    if (t == DTYPE_F16 && l->target->f16c) {
        LLVMTypeRef half = type_like(LLVMHalfTypeInContext(l->context), x);
        return LLVMBuildFPExt(l->b, LLVMBuildBitCast(l->b, x, half, ""), type_like(l->f32, x), "");
    }
    struct narrow n = narrow_format(t);
    int bits = dtype_info[t].bits, shift = 23 - n.mantissa_bits;
    LLVMTypeRef i32 = type_like(l->i32, x), f32 = type_like(l->f32, x);
    LLVMValueRef u = LLVMBuildZExt(l->b, x, i32, "");
    if (t == DTYPE_BF16)
        return LLVMBuildBitCast(l->b, LLVMBuildShl(l->b, u, int_like(l, 16, x), ""), f32, "");
    uint32_t ones = (1u << (bits - 1)) - 1, top = ((1u << n.exponent_bits) - 1) << n.mantissa_bits;
    LLVMValueRef magnitude = LLVMBuildAnd(l->b, u, int_like(l, ones, x), "");
    LLVMValueRef sign =
        LLVMBuildShl(l->b, LLVMBuildXor(l->b, u, magnitude, ""), int_like(l, (uint32_t)(32 - bits), x), "");
    LLVMValueRef shifted = LLVMBuildShl(l->b, magnitude, int_like(l, (uint32_t)shift, x), "");
    // Scaling moves the exponent to f32's bias, and makes denormals normal.
    LLVMValueRef value =
        LLVMBuildFMul(l->b, LLVMBuildBitCast(l->b, shifted, f32, ""), float_like(l, power(127 - n.bias), x), "");
    LLVMValueRef special = LLVMBuildICmp(l->b, LLVMIntUGE, magnitude, int_like(l, n.finite_only ? ones : top, x), "");
    LLVMValueRef infinite = LLVMBuildOr(l->b, shifted, int_like(l, 0x7F800000, x), ""); // or NaN
    LLVMValueRef all = LLVMBuildSelect(l->b, special, infinite, LLVMBuildBitCast(l->b, value, i32, ""), "");
    return LLVMBuildBitCast(l->b, LLVMBuildOr(l->b, all, sign, ""), f32, "");
}

static LLVMValueRef narrow(struct lower *l, enum dtype t, LLVMValueRef x) // from f32
{
    LLVMTypeRef out = type_like(lower_type(l, t), x);
    if (t == DTYPE_F16 && l->target->f16c) {
        LLVMTypeRef half = type_like(LLVMHalfTypeInContext(l->context), x);
        return LLVMBuildBitCast(l->b, LLVMBuildFPTrunc(l->b, x, half, ""), out, "");
    }
    struct narrow n = narrow_format(t);
    int bits = dtype_info[t].bits, shift = 23 - n.mantissa_bits;
    uint32_t ones = (1u << (bits - 1)) - 1, top = ((1u << n.exponent_bits) - 1) << n.mantissa_bits;
    LLVMTypeRef i32 = type_like(l->i32, x);
    LLVMValueRef u = LLVMBuildBitCast(l->b, x, i32, "");
    LLVMValueRef a = LLVMBuildAnd(l->b, u, int_like(l, 0x7FFFFFFF, x), "");
    LLVMValueRef odd =
        LLVMBuildAnd(l->b, LLVMBuildLShr(l->b, a, int_like(l, (uint32_t)shift, x), ""), int_like(l, 1, x), "");
    uint32_t rounding = (1u << (shift - 1)) - 1 - ((uint32_t)(127 - n.bias) << 23);
    LLVMValueRef sum = LLVMBuildAdd(l->b, LLVMBuildAdd(l->b, a, odd, ""), int_like(l, rounding, x), "");
    LLVMValueRef code = LLVMBuildLShr(l->b, sum, int_like(l, (uint32_t)shift, x), "");
    if (t != DTYPE_BF16) {
        // Adding a number whose last place is the smallest denormal rounds to it.
        double magic = power(1 - n.bias - n.mantissa_bits + 23);
        LLVMValueRef magnitude = LLVMBuildBitCast(l->b, a, type_like(l->f32, x), "");
        LLVMValueRef rounded = LLVMBuildFAdd(l->b, magnitude, float_like(l, magic, x), "");
        LLVMValueRef denormal = LLVMBuildSub(l->b, LLVMBuildBitCast(l->b, rounded, i32, ""),
                                             LLVMBuildBitCast(l->b, float_like(l, magic, x), i32, ""), "");
        LLVMValueRef small = LLVMBuildICmp(l->b, LLVMIntULT, a, int_like(l, (uint32_t)(127 + 1 - n.bias) << 23, x), "");
        LLVMValueRef limit = int_like(l, n.finite_only ? ones : top, x);
        code = LLVMBuildSelect(l->b, LLVMBuildICmp(l->b, LLVMIntULT, code, limit, ""), code, limit, "");
        code = LLVMBuildSelect(l->b, small, denormal, code, "");
    }
    uint32_t nan = n.finite_only ? ones : top | 1u << (n.mantissa_bits - 1);
    LLVMValueRef is_nan = LLVMBuildICmp(l->b, LLVMIntUGT, a, int_like(l, 0x7F800000, x), "");
    code = LLVMBuildSelect(l->b, is_nan, int_like(l, nan, x), code, "");
    LLVMValueRef sign = LLVMBuildLShr(l->b, LLVMBuildXor(l->b, u, a, ""), int_like(l, (uint32_t)(32 - bits), x), "");
    return LLVMBuildTrunc(l->b, LLVMBuildOr(l->b, code, sign, ""), out, "");
}

// f64 to f32, inexact results made odd: rounding those again to fewer bits is as one rounding of the f64.
static LLVMValueRef round_to_odd(struct lower *l, LLVMValueRef x)
{
    LLVMTypeRef f32 = type_like(l->f32, x), f64 = type_like(l->f64, x), i32 = type_like(l->i32, x);
    LLVMValueRef y = LLVMBuildFPTrunc(l->b, x, f32, ""), back = LLVMBuildFPExt(l->b, y, f64, "");
    LLVMValueRef a[2] = {
        lower_intrinsic(l, "llvm.fabs", 1, &f64, 1, &back),
        lower_intrinsic(l, "llvm.fabs", 1, &f64, 1, &x),
    };
    LLVMValueRef away = LLVMBuildFCmp(l->b, LLVMRealOGT, a[0], a[1], ""),
                 inexact = LLVMBuildFCmp(l->b, LLVMRealONE, a[0], a[1], "");
    LLVMValueRef bits = LLVMBuildBitCast(l->b, y, i32, "");
    bits = LLVMBuildAdd(l->b, bits, LLVMBuildSExt(l->b, away, i32, ""), ""); // towards zero
    bits = LLVMBuildOr(l->b, bits, LLVMBuildZExt(l->b, inexact, i32, ""), "");
    return LLVMBuildBitCast(l->b, bits, f32, "");
}

static LLVMValueRef float_to_float(struct lower *l, enum dtype to, enum dtype from, LLVMValueRef x)
{
    if (lower_is_narrow(from)) {
        x = widen(l, from, x);
        from = DTYPE_F32;
    }
    if (to == from)
        return x;
    if (to == DTYPE_F64)
        return LLVMBuildFPExt(l->b, x, type_like(l->f64, x), "");
    if (to == DTYPE_F32)
        return LLVMBuildFPTrunc(l->b, x, type_like(l->f32, x), "");
    return narrow(l, to, from == DTYPE_F64 ? round_to_odd(l, x) : x);
}

static LLVMValueRef int_to_float(struct lower *l, enum dtype to, enum dtype from, LLVMValueRef x)
{
    enum dtype via = !lower_is_narrow(to) ? to : dtype_info[from].bits > 16 ? DTYPE_F64 : DTYPE_F32;
    LLVMTypeRef t = type_like(lower_type(l, via), x);
    LLVMValueRef y = dtype_is_signed(from) ? LLVMBuildSIToFP(l->b, x, t, "") : LLVMBuildUIToFP(l->b, x, t, "");
    return via == to ? y : float_to_float(l, to, via, y);
}

static LLVMValueRef float_to_int(struct lower *l, enum dtype to, enum dtype from, LLVMValueRef x)
{
    if (lower_is_narrow(from))
        x = widen(l, from, x);
    LLVMTypeRef types[2] = {type_like(lower_type(l, to), x), LLVMTypeOf(x)};
    return lower_intrinsic(l, dtype_is_signed(to) ? "llvm.fptosi.sat" : "llvm.fptoui.sat", 2, types, 1, &x);
}

LLVMValueRef lower_cast(struct lower *l, enum dtype to, enum dtype from, LLVMValueRef x)
{
    if (to == from)
        return x;
    if (to == DTYPE_I1) {
        if (lower_is_narrow(from))
            x = widen(l, from, x);
        LLVMValueRef zero = LLVMConstNull(LLVMTypeOf(x));
        return dtype_is_float(from) ? LLVMBuildFCmp(l->b, LLVMRealUNE, x, zero, "")
                                    : LLVMBuildICmp(l->b, LLVMIntNE, x, zero, "");
    }
    if (dtype_is_float(to))
        return dtype_is_float(from) ? float_to_float(l, to, from, x) : int_to_float(l, to, from, x);
    if (dtype_is_float(from))
        return float_to_int(l, to, from, x);
    LLVMTypeRef t = type_like(lower_type(l, to), x);
    if (dtype_info[to].bits < dtype_info[from].bits)
        return LLVMBuildTrunc(l->b, x, t, "");
    if (dtype_info[to].bits == dtype_info[from].bits)
        return x;
    return dtype_is_signed(from) ? LLVMBuildSExt(l->b, x, t, "") : LLVMBuildZExt(l->b, x, t, "");
}
