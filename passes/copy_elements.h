// Rearranging constants: weights may be gigabytes, and a copy of a size that the compiler knows is one instruction.
#ifndef TEGULA_PASSES_COPY_ELEMENTS_H
#define TEGULA_PASSES_COPY_ELEMENTS_H

#include <stdint.h>

// Copies n elements of 1, 2, 4 or 8 bytes, which need not be aligned. Strides count elements; the two do not overlap.
void copy_elements(void *to, int64_t to_stride, const void *from, int64_t from_stride, int64_t n, int bytes);

#endif
