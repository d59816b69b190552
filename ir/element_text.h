// Elements of constants as text. What element_string writes, element_parse reads as the same bits.
#ifndef TEGULA_IR_ELEMENT_TEXT_H
#define TEGULA_IR_ELEMENT_TEXT_H

#include "ir/ir.h"

// A number, inf, -inf or nan, or 0x and the bits of a NaN that is not the ordinary one.
const char *element_string(struct arena *a, enum dtype t, uint64_t bits);
// NULL, or what is wrong. negative: a minus stands before the word, which is a number without a sign, inf or nan.
const char *element_parse(struct arena *a, enum dtype t, bool negative, const char *word, size_t length,
                          uint64_t *bits);

#endif
