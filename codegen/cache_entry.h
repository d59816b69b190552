// The file of a compiled model in a cache: object files and constants, mapped where they are used.
//
//     struct cache_header | struct cache_span: name, objects, weights | struct cache_source | their bytes
#ifndef TEGULA_CODEGEN_CACHE_ENTRY_H
#define TEGULA_CODEGEN_CACHE_ENTRY_H

#include <stdint.h>
#include <stdio.h>

#include "codegen/cache.h"
#include "ir/bytes.h"

struct cache_hash {
    uint64_t word[2]; // XXH3, 128 bits
};

#define CACHE_MAGIC "tegula cache 1"

struct cache_header {
    char magic[16];         // CACHE_MAGIC
    struct cache_hash hash; // of all that is behind it
    struct cache_hash key;
    uint64_t bytes; // of the file
    uint32_t n_objects, n_weights, n_sources;
    uint32_t reserved; // 0
};

struct cache_span {
    uint64_t offset, bytes; // in the file
};

// A file besides the model when the entry was made.
struct cache_source {
    struct cache_span path; // its zero byte is in the file, too
    struct cache_hash hash;
};

// An entry that was read. All of it points into the file's bytes.
struct cache_entry {
    const char *bytes;
    const char *name; // of the model, all symbols begin with it
    int n_objects, n_weights, n_sources;
    const struct cache_span *objects, *weights;
    const struct cache_source *sources;
};

struct cache_hash cache_hash_bytes(const void *bytes, size_t size);
bool cache_hash_equal(struct cache_hash a, struct cache_hash b);

// Reads the bytes of a file. Returns NULL, or what is wrong with it.
const char *cache_entry_read(const struct file_bytes *file, struct cache_hash key, struct cache_entry *out);

// Writes an entry to a file that is new. Returns 0; or -1 without memory. A failure to write is found by ferror.
int cache_entry_write(FILE *f, struct cache_hash key, const struct model_objects *objects,
                      const struct weights *weights, int n_files, const struct named_bytes *files);

#endif
