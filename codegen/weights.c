#include "codegen/weights.h"

#include <string.h>

#include "codegen/error.h"
#include "runtime/loader.h"

// What lies between pieces is left out, and reads as zeros.
static void go_to(FILE *f, int64_t at)
{
    if (ftello(f) != at)
        fseeko(f, at, SEEK_SET);
}

void weights_put(FILE *f, const struct weights *w)
{
    int64_t start = ftello(f);
    for (int i = 0; i < w->n; i++) {
        const struct weight *piece = &w->pieces[i];
        go_to(f, start + piece->offset);
        if (piece->size) // a failure is found at the end
            fwrite(piece->bytes, 1, (size_t)piece->size, f);
    }
    go_to(f, start + w->bytes);
}

static uint64_t mix(uint64_t h, uint64_t x)
{
    h = (h ^ x) * UINT64_C(0x9e3779b97f4a7c15); // 2^64 by the golden ratio: Knuth, The Art of Computer Programming, 6.4
    return h ^ h >> 32;
}

static uint64_t identify(const struct weights *w)
{
    uint64_t h = mix(1, (uint64_t)w->bytes);
    for (int i = 0; i < w->n; i++) {
        const struct weight *piece = &w->pieces[i];
        h = mix(mix(h, (uint64_t)piece->offset), (uint64_t)piece->size);
        for (int64_t at = 0; at < piece->size; at += 8) {
            uint64_t word = 0;
            memcpy(&word, (const char *)piece->bytes + at, piece->size - at < 8 ? (size_t)(piece->size - at) : 8);
            h = mix(h, word);
        }
    }
    return h;
}

int64_t weights_file_bytes(const struct weights *w)
{
    return (int64_t)sizeof(struct loader_file) + w->bytes;
}

int weights_prepare_file(struct file_pending *pending, const char *path, const struct weights *w, uint64_t *identity,
                         char **error)
{
    FILE *f;
    if (file_begin(pending, path, &f, error))
        return -1;
    struct loader_file header = {
        .magic = LOADER_FILE_MAGIC, .bytes = weights_file_bytes(w), .identity = *identity = identify(w)};
    fwrite(&header, sizeof header, 1, f);
    weights_put(f, w);
    return file_end(pending, f, error);
}
