// What compiled kernels and models share with the programs that run them. Plain C: nothing to link.
#ifndef TEGULA_KERNEL_H
#define TEGULA_KERNEL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// One argument of a kernel, an 8-byte slot: a pointer, an integer widened to 64 bits, or a number in its low bytes
// (f16, bf16 and f8 by their bits, in `integer`).
typedef union tg_arg {
    void *pointer;
    int64_t integer;
    double f64;
    float f32;
} tg_arg;

// Runs the instances [begin, end) of a kernel's flattened grid, one after the other. scratch holds what the kernel's
// `scratch` function asks for, aligned to 64 bytes; calls that run at the same time need one each. Returns 0.
typedef int32_t tg_range(const tg_arg *args, int64_t begin, int64_t end, void *scratch);

// A compiled kernel NAME is exported as the data symbol NAME__kernel.
typedef struct tg_kernel {
    const char *name;
    tg_range *range;
    int64_t (*grid)(const tg_arg *args);    // the number of instances; 0 when a size is not positive
    int64_t (*scratch)(const tg_arg *args); // bytes of scratch of one thread
    int64_t n_args;                         // parameters, then the sizes that are not constant
} tg_kernel;

#define TG_ENV_VERSION 1

// The services a program lends to compiled code. A null pointer instead of an environment means: one thread, malloc and
// free, no messages.
typedef struct tg_env {
    int32_t version; // TG_ENV_VERSION
    void *user;      // for the functions below
    // Calls range(args, begin, end, scratch) so that the ranges cover [0, n) once, on as many threads as it likes, and
    // returns when all are done: 0, or the first status that was not 0. scratch_bytes of 64-byte aligned memory go to
    // each call (NULL for 0 bytes); if they cannot be had it returns 1.
    int32_t (*parallel_for)(const struct tg_env *env, int64_t n, tg_range *range, const tg_arg *args,
                            int64_t scratch_bytes);
    // Memory aligned to 64 bytes, or NULL; and its release (NULL is fine).
    void *(*alloc)(const struct tg_env *env, size_t bytes);
    void (*free)(const struct tg_env *env, void *memory);
    // Takes note of a message, one line without its end. The text is not kept by the caller.
    void (*error)(const struct tg_env *env, const char *message);
} tg_env;

#ifdef __cplusplus
}
#endif

#endif
