// Allocations that fail when a test says so: those of tegula's own code, in a program linked with --wrap for each of
// the functions in failing_allocation.c. What LLVM allocates is not among them: C++ has no way back from there.
#ifndef TEGULA_TESTS_UNIT_FAILING_ALLOCATION_H
#define TEGULA_TESTS_UNIT_FAILING_ALLOCATION_H

#include <stdbool.h>

enum allocation_failures {
    FAIL_ONCE, // one, as where much is asked for
    FAIL_EVER  // that and all after it, as where there is nothing left
};

// The next n allocations, of all threads together, succeed, and then some fail.
void allocations_fail_after(long n, enum allocation_failures which);
// All succeed again. Returns whether one has failed.
bool allocations_recover(void);

#endif
