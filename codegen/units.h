// The code of a model, made in units: each is an LLVM module with a context and a target machine of its own, so that
// several threads can optimise and emit at the same time. LLVM takes nearly all of the time that loading takes.
//
// Which functions share a unit depends on the functions alone, and objects come in the order of units: the bytes are
// the same for any number of threads. Lowering interns types and sizes in the module, so the caller's thread does it,
// while others are already busy with the first units.
//
//     struct units *u = units_create(m, options);
//     if (u && !units_lower(u, &weights, diags) && !units_wait(u, diags))
//         for (int i = 0; i < units_count(u); i++)
//             ... units_object(u, i) ...
//     units_destroy(u);
#ifndef TEGULA_CODEGEN_UNITS_H
#define TEGULA_CODEGEN_UNITS_H

#include "codegen/compile.h"
#include "codegen/lower.h"

struct units;

// For the functions of a module that the passes have prepared; both arguments must outlive the units. Starts
// options->n_threads - 1 threads, or as many as the system grants. NULL without memory. Belongs to the caller.
struct units *units_create(struct module *m, const struct compile_options *options);

// Lowers all functions; kernels only with what host functions call. weights as in lower.h. Returns 0, or 1 after
// reporting. May unwind to the recovery point of ir/arena.h; units_destroy is then still to be called.
int units_lower(struct units *u, struct weights *weights, struct diags *diags);

// Takes part in the work until it is done. Returns 0, or 1 after reporting.
int units_wait(struct units *u, struct diags *diags);

// After units_wait: the object files, which the units own.
int units_count(const struct units *u);
const struct driver_buffer *units_object(const struct units *u, int i);

// Waits for units that are being worked on, leaves out the others, and frees everything. u may be NULL.
void units_destroy(struct units *u);

#endif
