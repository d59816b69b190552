// What the files of the public API share.
#ifndef TEGULA_CODEGEN_API_H
#define TEGULA_CODEGEN_API_H

#include <tegula/tegula.h>

#include "codegen/jit.h"
#include "ir/ir.h"

#define API_MOST_ARGS 256

struct tg_context {
    tg_pool *pool;
    char *error; // NULL: none, or out of memory
    bool failed;
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

// Notes a message and returns 1.
int api_fail(tg_context *ctx, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
