// Elements of constants as text. What element_string writes, element_parse reads as the same bits.
#ifndef TEGULA_IR_ELEMENT_TEXT_H
#define TEGULA_IR_ELEMENT_TEXT_H

#include "ir/ir.h"

// An element in struct data takes this many bits.
static inline int element_bits(enum dtype t)
{
    return t == DTYPE_I1 ? 8 : dtype_info[t].bits;
}

uint64_t element_get(enum dtype t, const void *bytes, int64_t i);
// Elements are set in order; bytes are 0 at first.
void element_set(enum dtype t, void *bytes, int64_t i, uint64_t bits);

// A number, inf, -inf or nan, or 0x and the bits of a NaN that is not the ordinary one.
const char *element_string(struct arena *a, enum dtype t, uint64_t bits);
// NULL, or what is wrong. negative: a minus stands before the word, which is a number without a sign, inf or nan.
const char *element_parse(struct arena *a, enum dtype t, bool negative, const char *word, size_t length,
                          uint64_t *bits);

#endif
