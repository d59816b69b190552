// Compiled models in this process.
#ifndef TEGULA_CODEGEN_MODEL_H
#define TEGULA_CODEGEN_MODEL_H

#include <tegula/kernel.h>

#include "codegen/compile.h"

struct loaded_model;

// Runs the passes of kernels over the module, which holds one host function whose memory is planned and its kernels,
// and loads its code. Constants that the module owns are taken over, the others copied. Returns 0 and stores the model,
// which the caller releases, in *out; or 1 after reporting. The module is of no use any more and may be destroyed.
// Running out of memory unwinds to the recovery point of ir/arena.h, if there is one, and leaves nothing behind.
int model_load(struct module *m, const struct compile_options *options, struct loaded_model **out, struct diags *diags);

// The same from a cache, whose entry's bytes the model takes over: *file is then empty. On failure *error receives a
// message that the caller frees.
struct cache_entry;
struct file_bytes;
int model_load_entry(const struct cache_entry *entry, struct file_bytes *file, struct loaded_model **out, char **error);

// Releases the code and the constants: the model must not be running. l may be NULL.
void model_unload(struct loaded_model *l);

// Lives as long as the loaded model. Any number of threads may run it at the same time.
const tg_model *model_code(const struct loaded_model *l);

#endif
