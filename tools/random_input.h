// Random tensors from a seed, the same on every machine.
#ifndef TEGULA_TOOLS_RANDOM_INPUT_H
#define TEGULA_TOOLS_RANDOM_INPUT_H

#include "ir/dtype.h"

// Fills n elements. Element i depends on the type, the seed, the stream (say, the input's position) and i alone.
//
//   floats             uniform on [-1, 1), multiples of 2^(1-p) for p significant bits of the type: none is rounded
//   8-bit integers     all values: such inputs are quantised
//   other integers     0 to 15: such inputs are mostly indices
//   booleans           0 and 1
//
// Numbers are those of splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014), which is
// a function of the position: mix(key + (i + 1) * 0x9E3779B97F4A7C15), with key = mix(mix(seed) ^ stream) here. An
// element takes the highest bits.
void random_input(enum dtype t, uint64_t seed, uint64_t stream, void *data, int64_t n);

#endif
