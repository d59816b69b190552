#include "codegen/weights.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include <xxhash.h>

#include "codegen/error.h"
#include "runtime/memory.h"

// ---- Identity --------------------------------------------------------------------------------------------------

static uint64_t identify(uint64_t before, const struct weight *piece)
{
    const int64_t place[2] = {piece->offset, piece->size};
    uint64_t h = XXH3_64bits_withSeed(place, sizeof place, before);
    return XXH3_64bits_withSeed(piece->bytes, (size_t)piece->size, h);
}

// ---- A file that grows -----------------------------------------------------------------------------------------

int weights_begin(struct weights_file *file, const char *path, int64_t start, char **error)
{
    *file = (struct weights_file){.start = start, .identity = 1};
    return file_begin(&file->pending, path, &file->f, error);
}

// What lies between pieces is left out, and reads as zeros.
static void go_to(FILE *f, int64_t at)
{
    if (ftello(f) != at)
        fseeko(f, at, SEEK_SET);
}

static void put(struct weights_file *file, const struct weight *piece)
{
    go_to(file->f, file->start + piece->offset);
    if (piece->size) // a failure is found at the end
        fwrite(piece->bytes, 1, (size_t)piece->size, file->f);
    file->identity = identify(file->identity, piece);
    if (piece->mapped)
        memory_let_go(piece->bytes, (size_t)piece->size);
}

static void unmap(struct weights_file *file)
{
    if (file->map)
        munmap(file->map, file->map_bytes);
    file->map = NULL;
}

// The pages that were read since the last time leave memory.
static int map_again(struct weights_file *file, struct weights *w, char **error)
{
    unmap(file);
    const struct weight *last = &w->pieces[w->n - 1];
    file->map_bytes = (size_t)(file->start + last->offset + last->size);
    void *map = mmap(NULL, file->map_bytes, PROT_READ, MAP_SHARED, fileno(file->f), 0);
    if (map == MAP_FAILED)
        return error_set(error, "%s: cannot be mapped: %s", file->pending.final, strerror(errno));
    file->map = map;
    for (int i = 0; i < w->n; i++)
        if (w->pieces[i].size) {
            w->pieces[i].bytes = (const char *)map + file->start + w->pieces[i].offset;
            w->pieces[i].mapped = true;
        }
    return 0;
}

int weights_add(struct weights_file *file, struct weights *w, char **error)
{
    if (file->n == w->n)
        return 0;
    for (; file->n < w->n; file->n++)
        put(file, &w->pieces[file->n]);
    if (fflush(file->f) || ferror(file->f))
        return error_set(error, "%s: cannot write: %s", file->pending.final, strerror(errno));
    return map_again(file, w, error);
}

void weights_go_to_end(const struct weights_file *file, const struct weights *w)
{
    go_to(file->f, file->start + w->bytes);
}

int weights_close(struct weights_file *file, char **error)
{
    FILE *f = file->f;
    file->f = NULL;
    unmap(file);
    return file_end(&file->pending, f, error);
}

void weights_discard(struct weights_file *file)
{
    unmap(file);
    if (file->f)
        fclose(file->f);
    file_discard(&file->pending);
}

// ---- A file for constants alone --------------------------------------------------------------------------------

int64_t weights_file_bytes(const struct weights *w)
{
    return WEIGHTS_FILE_START + w->bytes;
}

int weights_end_file(struct weights_file *file, const struct weights *w, uint64_t *identity, char **error)
{
    *identity = XXH3_64bits_withSeed(&w->bytes, sizeof w->bytes, file->identity);
    struct loader_file header = {.magic = LOADER_FILE_MAGIC, .bytes = weights_file_bytes(w), .identity = *identity};
    go_to(file->f, 0);
    fwrite(&header, sizeof header, 1, file->f);
    weights_go_to_end(file, w);
    return weights_close(file, error);
}
