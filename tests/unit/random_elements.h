// Random numbers that are the same in every run.
#ifndef TEGULA_TESTS_UNIT_RANDOM_ELEMENTS_H
#define TEGULA_TESTS_UNIT_RANDOM_ELEMENTS_H

#include <stdint.h>

#include "ir/dtype.h"

void random_begin(uint32_t seed);
uint32_t random32(void);

// Small numbers, such that sums come out alike in any order but for rounding.
void fill_plain(enum dtype t, char *p, int64_t n);

#endif
