#include "codegen/cache_entry.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "runtime/memory.h"

static struct cache_hash from_xxh(XXH128_hash_t h)
{
    return (struct cache_hash){{h.low64, h.high64}};
}

struct cache_hash cache_hash_bytes(const void *bytes, size_t size)
{
    return from_xxh(XXH3_128bits(bytes, size));
}

bool cache_hash_equal(struct cache_hash a, struct cache_hash b)
{
    return a.word[0] == b.word[0] && a.word[1] == b.word[1];
}

#define HASHED_FROM offsetof(struct cache_header, key)

// ---- Reading ---------------------------------------------------------------------------------------------------

static bool within(const struct file_bytes *file, struct cache_span s)
{
    return s.offset <= file->size && s.bytes <= file->size - s.offset;
}

static bool all_within(const struct file_bytes *file, const struct cache_span *spans, int n)
{
    bool all = true;
    for (int i = 0; i < n; i++)
        all &= within(file, spans[i]);
    return all;
}

static bool is_string(const struct file_bytes *file, struct cache_span s)
{
    return within(file, s) && s.bytes && !((const char *)file->data)[s.offset + s.bytes - 1];
}

const char *cache_entry_read(const struct file_bytes *file, struct cache_hash key, struct cache_entry *out)
{
    const struct cache_header *header = file->data;
    if (file->size < sizeof *header || strncmp(header->magic, CACHE_MAGIC, sizeof header->magic) != 0)
        return "is no cache entry of this version";
    if (header->bytes != file->size || !cache_hash_equal(header->key, key))
        return "is damaged";
    struct cache_hash hash = cache_hash_bytes(&header->key, file->size - HASHED_FROM);
    if (!cache_hash_equal(hash, header->hash))
        return "is damaged";
    // From here on it is what was written: what does not fit was written so.
    uint64_t n_spans = UINT64_C(1) + header->n_objects + header->n_weights;
    const struct cache_span *spans = (const void *)(header + 1);
    uint64_t table = n_spans * sizeof *spans + header->n_sources * sizeof *out->sources;
    if (header->n_objects > INT_MAX || header->n_weights > INT_MAX || header->n_sources > INT_MAX ||
        table > file->size - sizeof *header || !is_string(file, spans[0]))
        return "is malformed";
    *out = (struct cache_entry){.bytes = file->data,
                                .name = (const char *)file->data + spans[0].offset,
                                .n_objects = (int)header->n_objects,
                                .n_weights = (int)header->n_weights,
                                .n_sources = (int)header->n_sources,
                                .objects = spans + 1,
                                .weights = spans + 1 + header->n_objects,
                                .sources = (const void *)(spans + n_spans)};
    bool fits = all_within(file, out->objects, out->n_objects) && all_within(file, out->weights, out->n_weights);
    for (int i = 0; i < out->n_sources; i++)
        fits &= is_string(file, out->sources[i].path);
    return fits ? NULL : "is malformed";
}

// ---- Writing ---------------------------------------------------------------------------------------------------

// An entry before it is written. Tables and bytes are in the same order.
struct layout {
    struct cache_header header;
    const struct model_objects *objects;
    const struct weights *weights;
    const struct named_bytes *files;
    struct cache_span *spans; // the first table
    uint64_t n_spans;
    struct cache_source *sources;
};

static uint64_t padded(uint64_t at)
{
    return (at + MEMORY_ALIGNMENT - 1) / MEMORY_ALIGNMENT * MEMORY_ALIGNMENT;
}

// Where the next bytes go.
static struct cache_span place(struct layout *l, uint64_t bytes)
{
    struct cache_span s = {padded(l->header.bytes), bytes};
    l->header.bytes = s.offset + bytes;
    return s;
}

// Returns 0, or -1 without memory.
static int lay_out(struct layout *l)
{
    struct cache_header *h = &l->header;
    l->n_spans = UINT64_C(1) + h->n_objects + h->n_weights;
    l->spans = calloc(l->n_spans, sizeof *l->spans);
    l->sources = calloc(h->n_sources + 1, sizeof *l->sources);
    if (!l->spans || !l->sources)
        return -1;
    h->bytes = sizeof *h + l->n_spans * sizeof *l->spans + h->n_sources * sizeof *l->sources;
    struct cache_span *next = l->spans;
    *next++ = place(l, strlen(l->objects->name) + 1);
    for (uint32_t i = 0; i < h->n_objects; i++)
        *next++ = place(l, model_objects_get(l->objects, (int)i)->size);
    for (uint32_t i = 0; i < h->n_weights; i++)
        *next++ = place(l, (uint64_t)l->weights->pieces[i].size);
    for (uint32_t i = 0; i < h->n_sources; i++)
        l->sources[i] = (struct cache_source){place(l, strlen(l->files[i].path) + 1),
                                              cache_hash_bytes(l->files[i].data, l->files[i].size)};
    return 0;
}

// What is written is hashed.
struct sink {
    FILE *f;
    XXH3_state_t *hash;
    uint64_t at;
};

static void put(struct sink *s, const void *bytes, uint64_t size)
{
    if (size) { // a failure is found at the end
        fwrite(bytes, 1, (size_t)size, s->f);
        XXH3_128bits_update(s->hash, bytes, (size_t)size);
    }
    s->at += size;
}

static void put_at(struct sink *s, struct cache_span span, const void *bytes)
{
    static const char zeros[MEMORY_ALIGNMENT];
    put(s, zeros, span.offset - s->at);
    put(s, bytes, span.bytes);
}

static void put_all(struct sink *s, struct layout *l)
{
    struct cache_header *h = &l->header;
    fwrite(h, HASHED_FROM, 1, s->f);
    s->at = HASHED_FROM;
    put(s, &h->key, sizeof *h - HASHED_FROM);
    put(s, l->spans, l->n_spans * sizeof *l->spans);
    put(s, l->sources, h->n_sources * sizeof *l->sources);
    const struct cache_span *next = l->spans;
    put_at(s, *next++, l->objects->name);
    for (uint32_t i = 0; i < h->n_objects; i++)
        put_at(s, *next++, model_objects_get(l->objects, (int)i)->data);
    for (uint32_t i = 0; i < h->n_weights; i++)
        put_at(s, *next++, l->weights->pieces[i].bytes);
    for (uint32_t i = 0; i < h->n_sources; i++)
        put_at(s, l->sources[i].path, l->files[i].path);
    h->hash = from_xxh(XXH3_128bits_digest(s->hash));
    fseeko(s->f, 0, SEEK_SET);
    fwrite(h, HASHED_FROM, 1, s->f);
    fseeko(s->f, 0, SEEK_END);
}

int cache_entry_write(FILE *f, struct cache_hash key, const struct model_objects *objects,
                      const struct weights *weights, int n_files, const struct named_bytes *files)
{
    struct layout l = {.header = {.magic = CACHE_MAGIC,
                                  .key = key,
                                  .n_objects = (uint32_t)model_objects_count(objects),
                                  .n_weights = (uint32_t)weights->n,
                                  .n_sources = (uint32_t)n_files},
                       .objects = objects,
                       .weights = weights,
                       .files = files};
    struct sink s = {.f = f, .hash = XXH3_createState()};
    int status = s.hash ? lay_out(&l) : -1;
    if (!status) {
        XXH3_128bits_reset(s.hash);
        put_all(&s, &l);
    }
    XXH3_freeState(s.hash);
    free(l.spans);
    free(l.sources);
    return status;
}
