// Diagnostics: collected, each with its place; printed together.
#ifndef TEGULA_IR_DIAG_H
#define TEGULA_IR_DIAG_H

#include <stdbool.h>
#include <stdio.h>

#include "ir/arena.h"

struct origin;

// Where an operation came from; survives passes. `node` is the ONNX node's name, NULL for kernels, `op_type` what it
// does and `output` the name of its first output.
struct loc {
    const char *file;
    const char *node, *op_type, *output;
    int line;                    // 0: unknown
    const struct loc *with;      // further nodes that became this operation, from the first on; NULL: none
    const struct origin *origin; // of a launch: all that its kernel does (passes/origin.h); NULL: unknown
};

enum diag_severity { DIAG_ERROR, DIAG_WARNING, DIAG_NOTE };

struct diag {
    enum diag_severity severity;
    struct loc loc;
    const char *text;
    struct diag *next;
};

struct diags {
    struct arena arena;
    struct diag *first, *last;
    int n_errors;
    int n_told; // those that differ
};

bool loc_same_node(const struct loc *x, const struct loc *y);

void diag_init(struct diags *d);
void diag_finish(struct diags *d);

// Appends a diagnostic, unless the same one is there already: at the same place, in the same words. After 100 errors
// further ones are counted but not kept.
void diag_error(struct diags *d, struct loc loc, const char *format, ...) __attribute__((format(printf, 3, 4)));
void diag_warning(struct diags *d, struct loc loc, const char *format, ...) __attribute__((format(printf, 3, 4)));
void diag_note(struct diags *d, struct loc loc, const char *format, ...) __attribute__((format(printf, 3, 4)));

// One line each: `file:line: error: text`, `file: node 'n': error: text`; color: for a terminal, the severity stands
// out.
void diag_print(const struct diags *d, FILE *out, bool color);
// The same without colours, as one string that lives as long as d.
const char *diag_string(struct diags *d);

#endif
