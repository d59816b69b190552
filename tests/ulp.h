// Errors of f32 functions, in units in the last place.
#ifndef TEGULA_TESTS_ULP_H
#define TEGULA_TESTS_ULP_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "ir/ir.h"

// The distance of `have` from `want` in units in the last place of `unit`: 2^-149 for those below 2^-126. 2^128 stands
// for infinity, and what exceeds it. Infinity where one is NaN and the other is not, or the sign differs.
static inline double ulp_error(float have, double want, double unit)
{
    if (want != want || have != have)
        return want != want && have != have ? 0 : INFINITY;
    if (!signbit(have) != !signbit(want))
        return INFINITY;
    double x = fmin(fabs((double)have), 0x1p128), y = fmin(fabs(want), 0x1p128), u = fmin(fabs(unit), 0x1.8p127);
    uint64_t bits;
    u = fmax(u, 0x1p-126);
    memcpy(&bits, &u, sizeof bits);
    bits = ((bits >> 52) - 23) << 52;
    memcpy(&u, &bits, sizeof bits);
    return fabs(x - y) / u;
}

static inline uint32_t ulp_random(uint32_t i) // splitmix32
{
    uint32_t z = i * 0x9E3779B9u;
    z = (z ^ z >> 16) * 0x85EBCA6Bu;
    z = (z ^ z >> 13) * 0xC2B2AE35u;
    return z ^ z >> 16;
}

// Chooses operands of pow, atan2 and rem from the i-th random pattern: a quarter are any two, the others such that the
// result is neither 0 nor infinite, or near 1; of rem such that the quotient is nearly whole, or one is a denormal.
static inline void ulp_second_operand(enum opcode code, uint32_t i, float *x, float *y)
{
    uint32_t first = ulp_random(2 * i), second = ulp_random(2 * i + 1), mode = i % 4;
    memcpy(x, &first, sizeof first);
    memcpy(y, &second, sizeof second);
    if (!mode)
        return;
    double r = (double)(int32_t)second * 0x1p-31;
    if (code == OP_ATAN2) {
        *y = (float)(mode == 1 ? *x * r : mode == 2 ? *x / r : *x * ldexp(r, (int)(second % 64) - 32));
        return;
    }
    if (code == OP_REM) {
        float multiple = *y * (float)(first >> first % 32);
        second = second & (mode == 2 ? 0x807fffffu : 0x83ffffffu); // tiny, but for mode 1
        if (mode == 1)
            *x = i % 8 < 4 ? multiple : nextafterf(multiple, i % 16 < 8 ? 0 : INFINITY);
        else
            memcpy(i % 8 < 4 ? y : x, &second, sizeof second);
        return;
    }
    if (mode == 3) { // near 1
        first = 0x3f800000u + (first >> (first % 24 + 8)) * (first % 2 ? 1u : 0xffffffffu);
        memcpy(x, &first, sizeof first);
    }
    double exponent = 152 * r / log2(fabs((double)*x));
    *y = (float)(*x < 0 ? rint(exponent) : exponent);
}

#endif
