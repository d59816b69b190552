// Shaped kernels as machine code against the reference interpreter. They are compiled for each x86 level, and run at
// those that this machine has. Buffers end (or begin) at a page that may not be touched, so a stray access ends the
// test.
#ifndef TEGULA_TESTS_UNIT_KERNEL_CODE_H
#define TEGULA_TESTS_UNIT_KERNEL_CODE_H

#include "codegen/driver.h"
#include "codegen/jit.h"
#include "ir/ir.h"
#include "ir/scalar.h"
#include "tegula/kernel.h"
#include "tests/unit/random_elements.h"

#define LEAST_LEVEL "x86-64-v2"

// Numbers of all kinds.
void fill_special(enum dtype t, char *p, int64_t n);

struct run {
    const char *text;
    void (*fill)(enum dtype, char *, int64_t);
    double tolerance;                    // relative to the larger of 1 and the number
    int64_t symbols[4];                  // by the module's ids
    union scalar scalars[4];             // the scalar parameters in order
    const char *(*row)(int64_t element); // what to call an element of the last parameter
    double (*row_tolerance)(int64_t element, const char *level);
    bool once;                 // not again with code that is hardly optimised and buffers that begin at a page
    bool machine_lacks_levels; // as on a machine that has none of them: compiled alone
};

void check_run(const struct run *r);

#define CHECK(...) check_run(&(struct run){.fill = fill_plain, __VA_ARGS__})

// A text with `by` in place of each `word`, in `room`.
const char *with(char *room, size_t size, const char *text, const char *word, const char *by);

// Machine code of a kernel named k, which needs nothing but what kernels may.
struct kernel_code {
    struct target_desc target;
    struct driver *driver;
    struct driver_buffer object;
};

struct kernel_code kernel_code_make(const char *level, int opt_level, struct function *k, struct diags *diags);
const tg_kernel *kernel_code_load(const struct kernel_code *code, struct jit *jit);
void kernel_code_finish(struct kernel_code *code);

#endif
