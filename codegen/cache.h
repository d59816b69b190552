// Compiled models kept in files: what was compiled once is mapped and linked the next time.
//
//     struct cache *c;
//     if (cache_open(&request, &c, diags))
//         return 1;
//     if (!cache_load(c, &loaded, diags)) {
//         ... make the module, cache_note_files(c, model, arena), graph_compile ..
//         model_load(m, options, c, &loaded, diags);          // which calls cache_store
//     }
//     cache_close(c);
//
// A folder holds one file for each entry, called by a hash of all that decides about the code: the model's bytes and
// name, the options, the target, and the builds of this compiler and of LLVM. Files that a model takes constants from
// are listed in the entry with hashes of their own. An entry appears under its name complete or not at all, so any
// number of processes may fill one folder; what is found damaged is compiled again. Whoever can write to the folder
// decides which code is run.
#ifndef TEGULA_CODEGEN_CACHE_H
#define TEGULA_CODEGEN_CACHE_H

#include "codegen/compile.h"
#include "codegen/model_objects.h"
#include "frontend/import.h"
#include "ir/bytes.h"

struct cache;
struct loaded_model;

#define CACHE_USUAL_LIMIT ((int64_t)16 << 30)

struct cache_request {
    const char *folder; // is made if it is not there
    int64_t limit;      // bytes that the folder's entries may take; what was used least recently goes. 0: the usual
    const struct compile_options *options;
    const char *name; // of the model's file, which code has in its messages
    const void *bytes;
    size_t size;
    const struct file_stamp *stamp;      // of the file that they are; NULL: they are none's
    const struct import_options *import; // NULL: none were given
};

// Returns 0 and stores the cache, which the caller closes, in *out; or 1 after reporting: there can be no folder of
// that name, or nothing tells this build from others. The request is read during the call alone. Where the options ask
// to be told of compiling, or the target's code cannot run here, NULL is stored: no cache, which all functions take.
int cache_open(const struct cache_request *request, struct cache **out, struct diags *diags);

// Releases what it holds; c may be NULL.
void cache_close(struct cache *c);

// Whether the model was there: then it is stored in *out, as by model_load. An entry that cannot be used is a warning.
bool cache_load(struct cache *c, struct loaded_model **out, struct diags *diags);

// Notes which files besides its own a model has taken constants from. It and the arena live until the entry is stored;
// m is NULL for what is no model.
void cache_note_files(struct cache *c, const struct model *m, struct arena *arena);

// Writes the entry of a model whose objects are made, in process, unless a file that it was made from has changed
// meanwhile. That this fails is a warning: the model itself is none the worse.
void cache_store(struct cache *c, const struct model_objects *objects, const struct weights *weights,
                 struct diags *diags);

#endif
