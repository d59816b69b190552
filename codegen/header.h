// The C headers of compiled kernels and models: what another program includes to call them.
#ifndef TEGULA_CODEGEN_HEADER_H
#define TEGULA_CODEGEN_HEADER_H

#include "codegen/driver.h"
#include "ir/ir.h"

// Writes declarations of every kernel's launchers and descriptor (see codegen/lower.h) with a comment on its
// parameters. The text needs no other header than <stdint.h> and is released with driver_buffer_finish. Returns 0, or 1
// after reporting.
int header_print(struct module *m, struct driver_buffer *out, struct diags *diags);

// Why a model in a C or C++ program cannot have a name, which is a C identifier: what it is already; NULL: it can.
const char *header_objection(struct arena *a, const char *name);

// The same for the module's host functions, that is models: their functions (codegen/lower_model_interface.c), and what
// the arguments are.
struct header_about {
    const char *source;  // the name of what the models were made from
    const char *targets; // what the code is for
    const char *weights; // the name of the file of the constants; NULL: they are part of the code
};
int header_print_model(struct module *m, const struct header_about *about, struct driver_buffer *out,
                       struct diags *diags);

#endif
