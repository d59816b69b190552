// What the file of a compiled model has besides its code for each target: it finds out which of them this machine runs,
// and maps the weights if they are in a file of their own. Compiled into every such file (codegen/model_file.c); needs
// libc alone.
#ifndef TEGULA_RUNTIME_LOADER_H
#define TEGULA_RUNTIME_LOADER_H

#include <stdatomic.h>

#include <tegula/kernel.h>

#define LOADER_MESSAGE_BYTES 1024

// Code for one target.
struct loader_target {
    const char *name;
    uint64_t isa; // that it needs: rows of isa.def
    void *shapes, *run, *entry;
};

// Of one model. codegen/lower_loader.c writes it out.
struct loader {
    const char *name; // of the model
    int64_t n_targets;
    const struct loader_target *targets;          // the more they need, the later
    _Atomic(const struct loader_target *) chosen; // NULL: not yet
    // The weights' file, which is looked for beside the one that this code is in; NULL: there is none.
    const char *file;
    int64_t file_bytes;
    uint64_t file_identity;
    _Atomic(const char *) weights; // what is behind the header, mapped; set before `chosen`
};

// A file of weights: this and, aligned to 64 bytes, their bytes.
#define LOADER_FILE_MAGIC "tegula weights 1"
struct loader_file {
    char magic[16]; // LOADER_FILE_MAGIC
    int64_t bytes;  // of the file
    uint64_t identity;
    uint64_t reserved[4]; // 0
};
_Static_assert(sizeof(struct loader_file) == 64, "weights are aligned");

// Chooses what `have` can run and needs most, or the target that is called `forced`, unless that is NULL. NULL after
// saying in `message` why there is none.
const struct loader_target *loader_choose(const struct loader *l, uint64_t have, const char *forced,
                                          char message[LOADER_MESSAGE_BYTES]);

// tg_model.load (include/tegula/kernel.h). Any number of threads may be in it at once.
int32_t loader_load(struct loader *l, const tg_env *env, const char *weights, int32_t *target);

#endif
