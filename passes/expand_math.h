// The functions that expand-math writes out, and how exact they are.
#ifndef TEGULA_PASSES_EXPAND_MATH_H
#define TEGULA_PASSES_EXPAND_MATH_H

#include <stdbool.h>

#include "ir/ir.h"

struct expand_math_row {
    enum opcode code;
    // Most error on f32, in units in the last place of the exact result (2^-149 where that is below 2^-126; 2^128
    // stands for infinity), on targets with a fused multiply-add and without. Holds for all 2^32 arguments; for two of
    // them, by sampling. An exp whose argument has had the maximum of its row subtracted, as softmax's, has a bound of
    // its own with a fused multiply-add: up to |x| / 21 more, and 4.7 in all was the most by sampling
    // (expand_math_exp).
    double ulp, ulp_without_fma;
    bool of_argument; // the error is counted in units of the argument instead: the sum cancels
};

enum expand_math_index {
#define MATH_1(e, name, ...) EXPAND_MATH_##e,
#define MATH_2 MATH_1
#include "passes/expand_math.def"
#undef MATH_1
#undef MATH_2
    EXPAND_MATH_ROWS
};

extern const struct expand_math_row expand_math_rows[EXPAND_MATH_ROWS];

// Whether an operation on elements of type t is one of them.
bool expand_math_has(enum opcode code, enum dtype t);

#endif
