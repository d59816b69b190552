// The code of a model before it is loaded or linked: object files in memory, and the pieces of its constants.
//
//     struct model_objects *objects = model_objects_create(m, &options, &weights, diags);
//     ... the weights can be put where they belong while other threads make the objects ...
//     if (objects && !model_objects_wait(objects, diags))
//         for (int i = 0; i < model_objects_count(objects); i++)
//             ... model_objects_get(objects, i) ...
//     model_objects_destroy(objects);
#ifndef TEGULA_CODEGEN_MODEL_OBJECTS_H
#define TEGULA_CODEGEN_MODEL_OBJECTS_H

#include "codegen/compile.h"
#include "codegen/lower.h"

struct model_objects {
    const char *name;               // all symbols begin with it
    struct function *host;          // of the module; in a file it is called NAME__TARGET
    struct compile_options options; // private
    struct units *units;            // private
};

// Lowers a module that graph_compile has prepared, which holds one host function and its kernels, and has other threads
// begin with the objects. Afterwards its kernels are named after the host function. The module must outlive the code,
// but not its constants. Those are added to *weights, which may have those of the same model for another target, that
// will be in the same file: they are the bytes at the symbol NAME__weights, which no object defines. What is added
// points into the module and what it was made from. NULL after reporting. Belongs to the caller. Running out of memory
// unwinds to the recovery point of ir/arena.h, if there is one, and leaves nothing behind.
struct model_objects *model_objects_create(struct module *m, const struct compile_options *options,
                                           struct weights *weights, struct diags *diags);

// Waits for the objects. Returns 0, or 1 after reporting.
int model_objects_wait(struct model_objects *objects, struct diags *diags);

// After model_objects_wait: the object files, which the code owns.
int model_objects_count(const struct model_objects *objects);
const struct driver_buffer *model_objects_get(const struct model_objects *objects, int i);

// Waits for what is being worked on and frees everything. objects may be NULL.
void model_objects_destroy(struct model_objects *objects);

#endif
