// Arithmetic in 64 bits that wraps, as that of the index type does: for numbers of the user's, which may be any.
//
// Addresses may be computed so as well. A sum or product that wraps is right modulo 2^64, and so is the address of
// every element that exists, since that fits.
#ifndef TEGULA_IR_WRAP_H
#define TEGULA_IR_WRAP_H

#include <stdint.h>

static inline int64_t wrap_add(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a + (uint64_t)b);
}

static inline int64_t wrap_mul(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a * (uint64_t)b);
}

#endif
