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

#define TG_ENV_VERSION 2

// The services a program lends to compiled code. A null pointer instead of an environment means: one thread, malloc and
// free, no messages. So it is with each function that is a null pointer.
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
    // Is told of each launch of a kernel by a model, on the thread that runs the model: `launch` is its number in
    // tg_model.launches, `ended` 0 before the kernel runs and 1 when it has. args is what the kernel is given: a slot
    // for each of its parameters, which holds the address of its memory, then sizes. A launch that fails does not end.
    void (*on_launch)(const struct tg_env *env, int32_t launch, int32_t ended, const tg_arg *args);
} tg_env;

// ---- Tensors ---------------------------------------------------------------------------------------------------

// A tensor in memory, laid out as DLPack's DLTensor (https://dmlc.github.io/dlpack), which it is where dlpack.h has
// been included before; else a pointer to one may be cast to a pointer to the other.
#ifdef DLPACK_DLPACK_H_
typedef DLDevice tg_device;
typedef DLDataType tg_data_type;
typedef DLTensor tg_tensor;
#else
typedef struct tg_device {
    int32_t device_type; // TG_DEVICE_
    int32_t device_id;
} tg_device;

typedef struct tg_data_type {
    uint8_t code;   // TG_CODE_
    uint8_t bits;   // of one element
    uint16_t lanes; // 1
} tg_data_type;

typedef struct tg_tensor {
    void *data;
    tg_device device;
    int32_t ndim;
    tg_data_type dtype;
    int64_t *shape;       // ndim sizes
    int64_t *strides;     // ndim strides in elements; NULL: row-major without gaps
    uint64_t byte_offset; // of the first element from data
} tg_tensor;
#endif

enum { TG_DEVICE_CPU = 1, TG_DEVICE_CUDA = 2, TG_DEVICE_CUDA_HOST = 3 };
enum {
    TG_CODE_INT = 0,
    TG_CODE_UINT = 1,
    TG_CODE_FLOAT = 2,
    TG_CODE_BFLOAT = 4,
    TG_CODE_BOOL = 6, // 8 bits each
    TG_CODE_F8E4M3 = 10,
    TG_CODE_F8E5M2 = 12
};

// ---- Models ----------------------------------------------------------------------------------------------------

// A whole model, compiled. Its inputs' sizes are learnt at every call: a size that has a name in the model is what the
// first input with that name makes it, and later ones must agree.

// The type of an input or output. dims[d] is a size; -1 - i: the size that symbols[i] of the model names; INT64_MIN: a
// size that is computed from those.
typedef struct tg_port {
    const char *name;
    tg_data_type dtype;
    int32_t rank;
    const int64_t *dims;
} tg_port;

#define TG_MODEL_VERSION 3

// A compiled model NAME is exported as the data symbol NAME__model, from a shared object also as tegula_model. Its
// functions may run at the same time on several threads, with tensors and an arena of their own each. They return 0, or
// another number after env->error has taken note of what is wrong.
//
// It may have code for several targets. The first call of one of its functions decides for this process which of them
// runs: the last in `targets` that this machine can run, or the one that the environment variable TEGULA_TARGET names.
typedef struct tg_model {
    int32_t version; // TG_MODEL_VERSION
    int32_t n_inputs, n_outputs, n_symbols;
    const char *name;
    const tg_port *inputs, *outputs;
    const char *const *symbols;
    // Checks the types and sizes of the inputs, whose memory does not matter, and stores the outputs' sizes (rank
    // entries each) and how much memory a run works in. out_shapes, entries of it, and arena_bytes may be NULL.
    int32_t (*shapes)(const tg_env *env, const tg_tensor *in, int64_t *const *out_shapes, int64_t *arena_bytes);
    // Checks the inputs and computes the outputs. Tensors are in the CPU's memory, row-major without gaps, aligned to
    // their elements; outputs share no memory with anything else. An output with data must have the right type and
    // sizes. One without gets memory from env->alloc, or from aligned_alloc where there is none, which the caller
    // frees, and its fields are filled in; its `shape` must have room for the sizes. arena is memory of arena_bytes
    // aligned to 64 bytes, or NULL: it is allocated for the run. On failure outputs that had no data have none.
    int32_t (*run)(const tg_env *env, const tg_tensor *in, tg_tensor *out, void *arena);
    int32_t n_targets;
    const char *const *targets; // "x86-64-v3": what it was compiled for, the more they need the later
    // Gets ready to run, as the first call of the others does: fails on a machine that can run none of the targets.
    // *target, if not NULL, is set to the index of the one that runs. weights is NULL or, of a model that was compiled
    // with --weights, the path of that file; NULL then means a file of the name it had when it was written, in the
    // folder of the shared object or program that the model is part of. It is mapped until the process ends, and must
    // not change. After a success more calls do nothing.
    int32_t (*load)(const tg_env *env, const char *weights, int32_t *target);
    // For each target what its code launches, by the numbers that env->on_launch gets: one list of strings behind the
    // other, of which each ends with a 0 byte, and each list, and all of them, with an empty string. A list is the
    // kernel's name, how many operations on elements the launch does, how many bytes it reads and writes, and of each
    // node that became part of the kernel the operator and the name, or a colon and the line of a graph's text. The
    // numbers are expressions of symbols, which also have floordiv(a, b), mod, min, max and broadcast(a, b), which is
    // b where a is 1 and else a; or they are "?".
    const char *const *launches;
} tg_model;

#ifdef __cplusplus
}
#endif

#endif
