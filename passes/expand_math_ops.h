// The words in which the functions of expand-math are written: single operations on f32, u32 and i1, scalars or tiles.
//
//   cst(c) icst(c)                       f32 and u32 constants
//   add sub mul divi root fma_           f32; divi and root (square root) correctly rounded. fma_(x,y,z) = x*y + z with
//                                        one rounding, or two on a target without FMA
//   neg absf rnd                         f32 sign bit (also of NaN); to the nearest even integer
//   ceq cne clt cle cgt cge              f32 comparisons: false where an operand is NaN, but cne true
//   iceq iult                            u32 comparisons
//   band bor                             on i1
//   sel(c,x,y)                           x where c holds, else y
//   bits flt                             bit cast f32 -> u32, u32 -> f32
//   iadd isub imul iand ior ixor         u32, wrapping
//   ishl isar ishr                       shift left, arithmetic right, logical right; by 0..31 only
//   umulh                                high half of the 64-bit product
//   tofloat                              the u32's bits as a signed number -> f32 (to nearest even)
#ifndef TEGULA_PASSES_EXPAND_MATH_OPS_H
#define TEGULA_PASSES_EXPAND_MATH_OPS_H

#include <stdbool.h>
#include <stdint.h>

#include "ir/ir.h"

// What the functions write to, and what the target has for them.
typedef struct math_builder {
    struct builder builder;
    bool has_scalef;   // the operation of this name
    bool has_fma;      // with one rounding
    bool not_positive; // no operand of the function being written is above 0
} B;
typedef struct value *V;

static inline V cst(B *b, float c)
{
    return build_float(&b->builder, type_scalar(b->builder.function->module, DTYPE_F32), (double)c);
}

static inline V icst(B *b, uint32_t c)
{
    return build_int(&b->builder, type_scalar(b->builder.function->module, DTYPE_U32), c);
}

static inline V expand_math_convert(B *b, enum opcode code, enum dtype to, V x)
{
    return build_value(&b->builder, code, 1, &x, 1, &(struct attr){ATTR_TO, {.dtype = to}}, NULL);
}

#define EXPAND_MATH_UNARY(name, code)                                                                                  \
    static inline V name(B *b, V x)                                                                                    \
    {                                                                                                                  \
        return build_unary(&b->builder, code, x);                                                                      \
    }
#define EXPAND_MATH_BINARY(name, code)                                                                                 \
    static inline V name(B *b, V x, V y)                                                                               \
    {                                                                                                                  \
        return build_binary(&b->builder, code, x, y);                                                                  \
    }
#define EXPAND_MATH_CONVERT(name, code, to)                                                                            \
    static inline V name(B *b, V x)                                                                                    \
    {                                                                                                                  \
        return expand_math_convert(b, code, to, x);                                                                    \
    }

EXPAND_MATH_BINARY(add, OP_ADD)
EXPAND_MATH_BINARY(sub, OP_SUB)
EXPAND_MATH_BINARY(mul, OP_MUL)
EXPAND_MATH_BINARY(divi, OP_DIV)
EXPAND_MATH_UNARY(root, OP_SQRT)
EXPAND_MATH_UNARY(neg, OP_NEG)
EXPAND_MATH_UNARY(absf, OP_ABS)
EXPAND_MATH_UNARY(rnd, OP_ROUND)
EXPAND_MATH_BINARY(ceq, OP_EQ)
EXPAND_MATH_BINARY(cne, OP_NE)
EXPAND_MATH_BINARY(clt, OP_LT)
EXPAND_MATH_BINARY(cle, OP_LE)
EXPAND_MATH_BINARY(cgt, OP_GT)
EXPAND_MATH_BINARY(cge, OP_GE)
EXPAND_MATH_BINARY(iceq, OP_EQ)
EXPAND_MATH_BINARY(iult, OP_LT)
EXPAND_MATH_BINARY(band, OP_AND)
EXPAND_MATH_BINARY(bor, OP_OR)
EXPAND_MATH_CONVERT(bits, OP_BITCAST, DTYPE_U32)
EXPAND_MATH_CONVERT(flt, OP_BITCAST, DTYPE_F32)
EXPAND_MATH_CONVERT(as_signed, OP_BITCAST, DTYPE_I32)
EXPAND_MATH_BINARY(iadd, OP_ADD)
EXPAND_MATH_BINARY(isub, OP_SUB)
EXPAND_MATH_BINARY(imul, OP_MUL)
EXPAND_MATH_BINARY(iand, OP_AND)
EXPAND_MATH_BINARY(ior, OP_OR)
EXPAND_MATH_BINARY(ixor, OP_XOR)
EXPAND_MATH_BINARY(ishl, OP_SHL)
EXPAND_MATH_BINARY(ishr, OP_SHR)

static inline V fma_(B *b, V x, V y, V z)
{
    return build_value(&b->builder, OP_FMA, 3, (V[]){x, y, z}, 0, NULL, NULL);
}

static inline V sel(B *b, V c, V x, V y)
{
    return build_select(&b->builder, c, x, y);
}

static inline V isar(B *b, V x, V n)
{
    return expand_math_convert(b, OP_BITCAST, DTYPE_U32, ishr(b, as_signed(b, x), as_signed(b, n)));
}

static inline V tofloat(B *b, V x)
{
    return expand_math_convert(b, OP_CAST, DTYPE_F32, as_signed(b, x));
}

static inline V umulh(B *b, V x, V y)
{
    V wide = mul(b, expand_math_convert(b, OP_CAST, DTYPE_U64, x), expand_math_convert(b, OP_CAST, DTYPE_U64, y));
    wide = ishr(b, wide, build_int(&b->builder, type_scalar(b->builder.function->module, DTYPE_U64), 32));
    return expand_math_convert(b, OP_CAST, DTYPE_U32, wide);
}

#endif
