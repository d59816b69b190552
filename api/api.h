// What the files of the public API (include/tegula/tegula.h) share.
//
//   context.c        contexts, their messages, and what guards the work of the compiler
//   kernel.c         kernels compiled in memory;  kernel_launch.c  their tensors checked
//   model.c          ONNX models compiled in memory and run
#ifndef TEGULA_API_API_H
#define TEGULA_API_API_H

#include <pthread.h>

#include <tegula/tegula.h>

#include "codegen/jit.h"
#include "codegen/target.h"
#include "ir/ir.h"

#define API_MOST_ARGS 256
#define API_MOST_WORDS 10000 // definitions and sizes in options

// What the last call of a thread that failed has to say.
struct api_message {
    pthread_t thread;
    char *text; // NULL: out of memory
    struct api_message *next;
};

struct tg_context {
    tg_pool *pool;
    pthread_mutex_t mutex;        // over what follows
    struct api_message *messages; // one for each thread whose call has failed
    bool lost;                    // there was no memory for one
};

struct api_param {
    const char *name;
    struct type type;
    bool written;
};

struct tg_kernel_handle {
    tg_context *ctx;
    struct jit *jit;
    const tg_kernel *code;
    struct arena arena; // holds what follows
    int n_params, n_symbols;
    struct api_param *params;
    const char **symbols; // names, by id
    int *slots;           // the argument of each symbol, by id; -1: the kernel has no use for it
};

// These note a message and return 1.
int api_fail(tg_context *ctx, const char *format, ...) __attribute__((format(printf, 2, 3)));
int api_out_of_memory(tg_context *ctx);

// Calls body(work, diags) on a thread of its own, since nobody knows how much stack the caller's has left. Where it
// returns 1 the diagnostics become the caller's message, as running out of memory in the compiler does, which comes
// back here by arena_recovery: what body makes has to hang on `work`, to be released by the caller. Returns 0 or 1.
typedef int api_body(void *work, struct diags *diags);
int api_attempt(tg_context *ctx, api_body *body, void *work);

// The target of that name (NULL: this machine), which must be one whose code runs here. Returns 0, or 1 after
// reporting.
int api_target(const char *name, struct target_desc *target, struct diags *diags);
// The schedule of a text (NULL: none), which lives as long as the diagnostics. Returns 0, or 1 after reporting.
struct pipeline_options;
int api_schedule(const char *text, struct pipeline_options *options, struct diags *diags);

#endif
