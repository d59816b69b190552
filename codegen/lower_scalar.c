// The scalar operations: one row each. A row names the code for floats (f32 and f64; narrower floats are computed in
// f32) and for integers. Rows without code are expanded by earlier passes.
#include "codegen/lower_internal.h"
#include "ir/scalar.h"

typedef LLVMValueRef scalar_code(struct lower *l, enum dtype t, LLVMValueRef *x);

static LLVMValueRef number_like(struct lower *l, enum dtype t, double f, LLVMValueRef like)
{
    return lower_splat_like(
        l, lower_number(l, t, (struct number){.is_float = dtype_is_float(t), .f = f, .i = (int64_t)f}), like);
}

static LLVMValueRef zero_like(LLVMValueRef like)
{
    return LLVMConstNull(LLVMTypeOf(like));
}

// ---- One instruction -------------------------------------------------------------------------------------------

#define BINARY(name, Build)                                                                                            \
    static LLVMValueRef name(struct lower *l, enum dtype t, LLVMValueRef *x)                                           \
    {                                                                                                                  \
        (void)t;                                                                                                       \
        return LLVMBuild##Build(l->b, x[0], x[1], "");                                                                 \
    }
BINARY(f_add, FAdd)
BINARY(f_sub, FSub)
BINARY(f_mul, FMul)
BINARY(f_div, FDiv)
BINARY(i_add, Add)
BINARY(i_sub, Sub)
BINARY(i_mul, Mul)
BINARY(i_and, And)
BINARY(i_or, Or)
BINARY(i_xor, Xor)

#define FLOAT_COMPARE(name, predicate)                                                                                 \
    static LLVMValueRef name(struct lower *l, enum dtype t, LLVMValueRef *x)                                           \
    {                                                                                                                  \
        (void)t;                                                                                                       \
        return LLVMBuildFCmp(l->b, predicate, x[0], x[1], "");                                                         \
    }
FLOAT_COMPARE(f_eq, LLVMRealOEQ)
FLOAT_COMPARE(f_ne, LLVMRealUNE)
FLOAT_COMPARE(f_lt, LLVMRealOLT)
FLOAT_COMPARE(f_le, LLVMRealOLE)
FLOAT_COMPARE(f_gt, LLVMRealOGT)
FLOAT_COMPARE(f_ge, LLVMRealOGE)

#define INT_COMPARE(name, with_sign, without)                                                                          \
    static LLVMValueRef name(struct lower *l, enum dtype t, LLVMValueRef *x)                                           \
    {                                                                                                                  \
        return LLVMBuildICmp(l->b, dtype_is_signed(t) ? with_sign : without, x[0], x[1], "");                          \
    }
INT_COMPARE(i_eq, LLVMIntEQ, LLVMIntEQ)
INT_COMPARE(i_ne, LLVMIntNE, LLVMIntNE)
INT_COMPARE(i_lt, LLVMIntSLT, LLVMIntULT)
INT_COMPARE(i_le, LLVMIntSLE, LLVMIntULE)
INT_COMPARE(i_gt, LLVMIntSGT, LLVMIntUGT)
INT_COMPARE(i_ge, LLVMIntSGE, LLVMIntUGE)

#define INTRINSIC(function, name, n)                                                                                   \
    static LLVMValueRef function(struct lower *l, enum dtype t, LLVMValueRef *x)                                       \
    {                                                                                                                  \
        (void)t;                                                                                                       \
        return lower_intrinsic(l, name, 1, (LLVMTypeRef[]){LLVMTypeOf(x[0])}, n, x);                                   \
    }
INTRINSIC(f_copysign, "llvm.copysign", 2)
INTRINSIC(f_abs, "llvm.fabs", 1)
INTRINSIC(f_sqrt, "llvm.sqrt", 1)
INTRINSIC(f_floor, "llvm.floor", 1)
INTRINSIC(f_ceil, "llvm.ceil", 1)
INTRINSIC(f_round, "llvm.roundeven", 1)
INTRINSIC(f_trunc, "llvm.trunc", 1)

// ---- Several ---------------------------------------------------------------------------------------------------

#define CHOICE(name, compare)                                                                                          \
    static LLVMValueRef name(struct lower *l, enum dtype t, LLVMValueRef *x)                                           \
    {                                                                                                                  \
        return LLVMBuildSelect(l->b, compare(l, t, x), x[0], x[1], "");                                                \
    }
CHOICE(f_max, f_gt)
CHOICE(f_min, f_lt)
CHOICE(i_max, i_gt)
CHOICE(i_min, i_lt)

// Of equal ones, which differ in the sign of a zero at most, the bits' and is the greater and their or the less. LLVM's
// own intrinsics are narrowed to f16 where operands were that, and then lose NaN; only targets that convert f16 by an
// instruction have any that LLVM could see.
static LLVMValueRef extreme(struct lower *l, enum dtype t, LLVMValueRef *x, bool most)
{
    LLVMTypeRef type = LLVMTypeOf(x[0]);
    if (l->target->kind != TARGET_KIND_X86 || !l->target->f16c)
        return lower_intrinsic(l, most ? "llvm.maximum" : "llvm.minimum", 1, &type, 2, x);
    LLVMTypeRef bits = t == DTYPE_F64 ? l->i64 : l->i32;
    if (lower_lanes(x[0]) > 1)
        bits = LLVMVectorType(bits, (unsigned)lower_lanes(x[0]));
    LLVMValueRef a = LLVMBuildBitCast(l->b, x[0], bits, ""), b = LLVMBuildBitCast(l->b, x[1], bits, "");
    LLVMValueRef equal = most ? LLVMBuildAnd(l->b, a, b, "") : LLVMBuildOr(l->b, a, b, "");
    LLVMValueRef y = most ? f_max(l, t, x) : f_min(l, t, x); // x[1] if that is NaN
    y = LLVMBuildSelect(l->b, f_eq(l, t, x), LLVMBuildBitCast(l->b, equal, type, ""), y, "");
    return LLVMBuildSelect(l->b, LLVMBuildFCmp(l->b, LLVMRealUNO, x[0], x[0], ""), x[0], y, "");
}

static LLVMValueRef f_maximum(struct lower *l, enum dtype t, LLVMValueRef *x)
{
    return extreme(l, t, x, true);
}

static LLVMValueRef f_minimum(struct lower *l, enum dtype t, LLVMValueRef *x)
{
    return extreme(l, t, x, false);
}

static LLVMValueRef f_fma(struct lower *l, enum dtype t, LLVMValueRef *x)
{
    return lower_fma(l, t, x[0], x[1], x[2]);
}

static LLVMValueRef f_neg(struct lower *l, enum dtype t, LLVMValueRef *x)
{
    (void)t;
    return LLVMBuildFNeg(l->b, x[0], "");
}

static LLVMValueRef i_neg(struct lower *l, enum dtype t, LLVMValueRef *x)
{
    (void)t;
    return LLVMBuildNeg(l->b, x[0], "");
}

static LLVMValueRef i_abs(struct lower *l, enum dtype t, LLVMValueRef *x)
{
    if (!dtype_is_signed(t))
        return x[0];
    return lower_intrinsic(l, "llvm.abs", 1, (LLVMTypeRef[]){LLVMTypeOf(x[0])}, 2,
                           (LLVMValueRef[]){x[0], LLVMConstInt(l->i1, 0, false)});
}

static LLVMValueRef f_sign(struct lower *l, enum dtype t, LLVMValueRef *x)
{
    LLVMValueRef zero = zero_like(x[0]), above = LLVMBuildFCmp(l->b, LLVMRealOGT, x[0], zero, ""),
                 below = LLVMBuildFCmp(l->b, LLVMRealOLT, x[0], zero, ""),
                 nan = LLVMBuildFCmp(l->b, LLVMRealUNO, x[0], zero, "");
    LLVMValueRef s = LLVMBuildSelect(l->b, below, number_like(l, t, -1, x[0]), zero, "");
    s = LLVMBuildSelect(l->b, above, number_like(l, t, 1, x[0]), s, "");
    return LLVMBuildSelect(l->b, nan, x[0], s, "");
}

static LLVMValueRef i_sign(struct lower *l, enum dtype t, LLVMValueRef *x)
{
    LLVMValueRef zero = zero_like(x[0]);
    LLVMValueRef s = LLVMBuildZExt(l->b, LLVMBuildICmp(l->b, LLVMIntNE, x[0], zero, ""), LLVMTypeOf(x[0]), "");
    if (!dtype_is_signed(t))
        return s;
    return LLVMBuildSelect(l->b, LLVMBuildICmp(l->b, LLVMIntSLT, x[0], zero, ""), LLVMConstAllOnes(LLVMTypeOf(x[0])), s,
                           "");
}

static LLVMValueRef f_recip(struct lower *l, enum dtype t, LLVMValueRef *x)
{
    return LLVMBuildFDiv(l->b, number_like(l, t, 1, x[0]), x[0], "");
}

static LLVMValueRef f_rsqrt(struct lower *l, enum dtype t, LLVMValueRef *x)
{
    LLVMValueRef root = f_sqrt(l, t, x);
    return f_recip(l, t, &root);
}

// One maxps: its second operand is the result when an operand is NaN.
static LLVMValueRef f_relu(struct lower *l, enum dtype t, LLVMValueRef *x)
{
    (void)t;
    LLVMValueRef zero = zero_like(x[0]);
    return LLVMBuildSelect(l->b, LLVMBuildFCmp(l->b, LLVMRealOLT, x[0], zero, ""), zero, x[0], "");
}

static LLVMValueRef i_relu(struct lower *l, enum dtype t, LLVMValueRef *x)
{
    return dtype_is_signed(t) ? lower_max(l, x[0], zero_like(x[0])) : x[0];
}

static LLVMValueRef same(struct lower *l, enum dtype t, LLVMValueRef *x)
{
    (void)l, (void)t;
    return x[0];
}

static LLVMValueRef i_not(struct lower *l, enum dtype t, LLVMValueRef *x)
{
    (void)t;
    return LLVMBuildNot(l->b, x[0], "");
}

static LLVMValueRef f_isnan(struct lower *l, enum dtype t, LLVMValueRef *x)
{
    (void)t;
    return LLVMBuildFCmp(l->b, LLVMRealUNO, x[0], x[0], "");
}

static LLVMValueRef f_isinf(struct lower *l, enum dtype t, LLVMValueRef *x)
{
    LLVMValueRef infinity = lower_splat_like(l, LLVMConstReal(lower_type(l, t), 1.0 / 0.0), x[0]);
    return LLVMBuildFCmp(l->b, LLVMRealOEQ, f_abs(l, t, x), infinity, "");
}

// ---- Shifts and division ---------------------------------------------------------------------------------------

static LLVMValueRef width_like(struct lower *l, enum dtype t, int less, LLVMValueRef like)
{
    return number_like(l, t, dtype_info[t].bits - less, like);
}

// A shift too far is poison, which select drops.
static LLVMValueRef i_shl(struct lower *l, enum dtype t, LLVMValueRef *x)
{
    LLVMValueRef ok = LLVMBuildICmp(l->b, LLVMIntULT, x[1], width_like(l, t, 0, x[1]), "");
    return LLVMBuildSelect(l->b, ok, LLVMBuildShl(l->b, x[0], x[1], ""), zero_like(x[0]), "");
}

static LLVMValueRef i_shr(struct lower *l, enum dtype t, LLVMValueRef *x)
{
    LLVMValueRef ok = LLVMBuildICmp(l->b, LLVMIntULT, x[1], width_like(l, t, 0, x[1]), "");
    if (!dtype_is_signed(t))
        return LLVMBuildSelect(l->b, ok, LLVMBuildLShr(l->b, x[0], x[1], ""), zero_like(x[0]), "");
    return LLVMBuildAShr(l->b, x[0], LLVMBuildSelect(l->b, ok, x[1], width_like(l, t, 1, x[1]), ""), "");
}

struct quotient {
    LLVMValueRef quotient, remainder;
};

static LLVMValueRef at_least(struct lower *l, enum dtype t, LLVMValueRef x, int least) // without sign
{
    LLVMTypeRef type = LLVMTypeOf(x);
    return lower_intrinsic(l, "llvm.umax", 1, &type, 2, (LLVMValueRef[]){x, number_like(l, t, least, x)});
}

// Truncating. x / 0 gives 0 and 0; the least integer by -1 wraps.
static struct quotient divide(struct lower *l, enum dtype t, LLVMValueRef *x)
{
    bool is_signed = dtype_is_signed(t);
    LLVMValueRef zero = zero_like(x[0]), divisor = x[1], by_zero = NULL, by_minus = NULL;
    int64_t c;
    bool constant = lower_is_constant(x[1], &c);
    if (!constant || c == 0)
        by_zero = LLVMBuildICmp(l->b, LLVMIntEQ, x[1], zero, "");
    if (is_signed && (!constant || c == -1))
        by_minus = LLVMBuildICmp(l->b, LLVMIntEQ, x[1], LLVMConstAllOnes(LLVMTypeOf(x[1])), "");
    // What is divided by instead is made without a choice: LLVM divides by each side of one in turn, and takes a side
    // that has a zero in any lane for one that never comes about.
    if (constant)
        divisor = by_zero || by_minus ? number_like(l, t, 1, x[0]) : divisor;
    else if (is_signed) // 0 and -1 to 1
        divisor = LLVMBuildSub(l->b, at_least(l, t, LLVMBuildAdd(l->b, divisor, number_like(l, t, 1, x[0]), ""), 2),
                               number_like(l, t, 1, x[0]), "");
    else
        divisor = at_least(l, t, divisor, 1);
    struct quotient q;
    q.quotient = is_signed ? LLVMBuildSDiv(l->b, x[0], divisor, "") : LLVMBuildUDiv(l->b, x[0], divisor, "");
    q.remainder = LLVMBuildSub(l->b, x[0], LLVMBuildMul(l->b, q.quotient, divisor, ""), "");
    if (by_minus) // the remainder of a division by 1 is 0 as well
        q.quotient = LLVMBuildSelect(l->b, by_minus, LLVMBuildNeg(l->b, x[0], ""), q.quotient, "");
    if (by_zero)
        q.quotient = LLVMBuildSelect(l->b, by_zero, zero, q.quotient, "");
    return q;
}

static LLVMValueRef i_div(struct lower *l, enum dtype t, LLVMValueRef *x)
{
    return divide(l, t, x).quotient;
}

static LLVMValueRef i_rem(struct lower *l, enum dtype t, LLVMValueRef *x)
{
    return divide(l, t, x).remainder;
}

static int power_of_two(LLVMValueRef x) // the exponent, or -1
{
    int64_t c;
    if (!lower_is_constant(x, &c) || c <= 0 || c & (c - 1))
        return -1;
    return __builtin_ctzll((unsigned long long)c);
}

// The quotient is below zero and not whole: truncation rounded it up. NULL: never.
static LLVMValueRef rounded_up(struct lower *l, enum dtype t, LLVMValueRef *x, LLVMValueRef remainder)
{
    if (!dtype_is_signed(t))
        return NULL;
    int64_t c;
    LLVMValueRef zero = zero_like(x[0]);
    if (lower_is_constant(x[1], &c) && c > 0)
        return LLVMBuildICmp(l->b, LLVMIntSLT, remainder, zero, "");
    // The remainder has the dividend's sign.
    LLVMValueRef signs = LLVMBuildICmp(l->b, LLVMIntSLT, LLVMBuildXor(l->b, remainder, x[1], ""), zero, "");
    return LLVMBuildAnd(l->b, LLVMBuildICmp(l->b, LLVMIntNE, remainder, zero, ""), signs, "");
}

static LLVMValueRef i_floordiv(struct lower *l, enum dtype t, LLVMValueRef *x)
{
    int shift = power_of_two(x[1]);
    if (shift >= 0 && dtype_is_signed(t))
        return LLVMBuildAShr(l->b, x[0], number_like(l, t, shift, x[0]), "");
    struct quotient q = divide(l, t, x);
    LLVMValueRef up = rounded_up(l, t, x, q.remainder);
    return up ? LLVMBuildAdd(l->b, q.quotient, LLVMBuildSExt(l->b, up, LLVMTypeOf(q.quotient), ""), "") : q.quotient;
}

static LLVMValueRef i_ceildiv(struct lower *l, enum dtype t, LLVMValueRef *x)
{
    struct quotient q = divide(l, t, x);
    LLVMValueRef rest = LLVMBuildICmp(l->b, LLVMIntNE, q.remainder, zero_like(x[0]), "");
    if (dtype_is_signed(t)) {
        LLVMValueRef negative =
            LLVMBuildICmp(l->b, LLVMIntSLT, LLVMBuildXor(l->b, q.remainder, x[1], ""), zero_like(x[0]), "");
        rest = LLVMBuildAnd(l->b, rest, LLVMBuildNot(l->b, negative, ""), "");
    }
    // By zero the remainder is that of a division by 1.
    return LLVMBuildAdd(l->b, q.quotient, LLVMBuildZExt(l->b, rest, LLVMTypeOf(q.quotient), ""), "");
}

static LLVMValueRef i_mod(struct lower *l, enum dtype t, LLVMValueRef *x)
{
    int shift = power_of_two(x[1]);
    if (shift >= 0)
        return LLVMBuildAnd(l->b, x[0], LLVMBuildSub(l->b, x[1], number_like(l, t, 1, x[0]), ""), "");
    struct quotient q = divide(l, t, x);
    LLVMValueRef up = rounded_up(l, t, x, q.remainder);
    if (!up)
        return q.remainder;
    return LLVMBuildAdd(l->b, q.remainder, LLVMBuildSelect(l->b, up, x[1], zero_like(x[0]), ""), "");
}

// ---- By AVX-512 ------------------------------------------------------------------------------------------------

static LLVMValueRef f_scalef(struct lower *l, enum dtype t, LLVMValueRef *x)
{
    int n = lower_lanes(x[0]), part = n > 4 ? n > 8 ? 16 : 8 : 4, lane[128];
    LLVMValueRef y = NULL;
    for (int first = 0; first < n; first += part) {
        LLVMValueRef args[5], all = NULL;
        for (int i = 0; i < 2; i++) {
            LLVMValueRef v = n == 1 ? lower_splat(l, x[i], part) : x[i];
            for (int j = 0; j < part; j++)
                lane[j] = n == 1 ? j : first + j < n ? first + j : first;
            args[i] = lower_shuffle(l, v, NULL, part, lane);
        }
        args[2] = LLVMConstNull(LLVMTypeOf(args[0]));
        args[3] = LLVMConstInt(part == 16 ? l->i16 : l->i8, part == 16 ? 0xffff : 0xff, false);
        args[4] = lower_i32(l, 4); // as the current rounding mode says
        char name[64];
        snprintf(name, sizeof name, "llvm.x86.avx512.mask.scalef.ps.%d", part * 32);
        all = lower_intrinsic(l, name, 0, NULL, part == 16 ? 5 : 4, args);
        if (n == 1)
            return lower_pick(l, all, 0);
        if (n <= part) {
            for (int j = 0; j < n; j++)
                lane[j] = j;
            return lower_shuffle(l, all, NULL, n, lane);
        }
        if (!y)
            y = LLVMGetPoison(LLVMTypeOf(x[0]));
        for (int j = 0; j < part && first + j < n; j++)
            y = lower_insert(l, y, lower_pick(l, all, j), first + j);
    }
    (void)t;
    return y;
}

// ---- The table -------------------------------------------------------------------------------------------------

static const struct scalar_row {
    scalar_code *on_floats, *on_ints;
} rows[SCALAR_COUNT] = {
    [OP_ADD] = {f_add, i_add},        [OP_SUB] = {f_sub, i_sub},
    [OP_MUL] = {f_mul, i_mul},        [OP_DIV] = {f_div, i_div},
    [OP_REM] = {NULL, i_rem},         [OP_FLOORDIV] = {NULL, i_floordiv},
    [OP_CEILDIV] = {NULL, i_ceildiv}, [OP_MOD] = {NULL, i_mod},
    [OP_MAX] = {f_max, i_max},        [OP_MIN] = {f_min, i_min},
    [OP_MAXIMUM] = {f_maximum, NULL}, [OP_MINIMUM] = {f_minimum, NULL},
    [OP_FMA] = {f_fma, NULL},         [OP_COPYSIGN] = {f_copysign, NULL},
    [OP_NEG] = {f_neg, i_neg},        [OP_ABS] = {f_abs, i_abs},
    [OP_SIGN] = {f_sign, i_sign},     [OP_SQRT] = {f_sqrt, NULL},
    [OP_RSQRT] = {f_rsqrt, NULL},     [OP_RECIP] = {f_recip, NULL},
    [OP_FLOOR] = {f_floor, NULL},     [OP_CEIL] = {f_ceil, NULL},
    [OP_ROUND] = {f_round, NULL},     [OP_TRUNC] = {f_trunc, NULL},
    [OP_RELU] = {f_relu, i_relu},     [OP_IDENTITY] = {same, same},
    [OP_AND] = {NULL, i_and},         [OP_OR] = {NULL, i_or},
    [OP_XOR] = {NULL, i_xor},         [OP_NOT] = {NULL, i_not},
    [OP_SHL] = {NULL, i_shl},         [OP_SHR] = {NULL, i_shr},
    [OP_EQ] = {f_eq, i_eq},           [OP_NE] = {f_ne, i_ne},
    [OP_LT] = {f_lt, i_lt},           [OP_LE] = {f_le, i_le},
    [OP_GT] = {f_gt, i_gt},           [OP_GE] = {f_ge, i_ge},
    [OP_ISNAN] = {f_isnan, NULL},     [OP_ISINF] = {f_isinf, NULL},
    [OP_SCALEF] = {f_scalef, NULL},
};

LLVMValueRef lower_apply(struct lower *l, const struct op *op, enum opcode code, enum dtype t, LLVMValueRef *x)
{
    if (code == OP_SELECT)
        return LLVMBuildSelect(l->b, x[0], x[1], x[2], "");
    scalar_code *make = dtype_is_float(t) ? rows[code].on_floats : rows[code].on_ints;
    if (code == OP_SCALEF && (t == DTYPE_F64 || !l->target->avx512))
        make = NULL;
    if (!make) {
        lower_error(l, op, "'%s' of %s has no machine code and was not expanded", op_info[code].name,
                    dtype_info[t].name);
        return NULL;
    }
    if (!lower_is_narrow(t) || make == same)
        return make(l, t, x);
    LLVMValueRef wide[3];
    for (int i = 0; i < op_info[code].n_operands; i++)
        wide[i] = lower_cast(l, DTYPE_F32, t, x[i]);
    LLVMValueRef y = make(l, DTYPE_F32, wide);
    bool compares = op_info[code].types == SCALAR_TYPES_C || op_info[code].types == SCALAR_TYPES_D;
    return compares ? y : lower_cast(l, t, DTYPE_F32, y);
}

LLVMValueRef lower_fma(struct lower *l, enum dtype t, LLVMValueRef a, LLVMValueRef b, LLVMValueRef c)
{
    if (!dtype_is_float(t))
        return LLVMBuildAdd(l->b, LLVMBuildMul(l->b, a, b, ""), c, "");
    if (lower_is_narrow(t)) {
        LLVMValueRef y = lower_fma(l, DTYPE_F32, lower_cast(l, DTYPE_F32, t, a), lower_cast(l, DTYPE_F32, t, b),
                                   lower_cast(l, DTYPE_F32, t, c));
        return lower_cast(l, t, DTYPE_F32, y);
    }
    if (l->target->fma)
        return lower_intrinsic(l, "llvm.fma", 1, (LLVMTypeRef[]){LLVMTypeOf(a)}, 3, (LLVMValueRef[]){a, b, c});
    return lower_contract(LLVMBuildFAdd(l->b, lower_contract(LLVMBuildFMul(l->b, a, b, "")), c, ""));
}

LLVMValueRef lower_identity(struct lower *l, enum opcode combine, enum dtype t, bool output)
{
    union scalar x = scalar_identity(combine, t);
    if (combine == OP_ADD && dtype_is_float(t) && !output)
        x.f = -0.0;
    if (t == DTYPE_F32 || t == DTYPE_F64)
        return LLVMConstReal(lower_type(l, t), x.f);
    return LLVMConstInt(lower_type(l, t), dtype_bits(t, x), false);
}
