// Reading a model: the bytes, the wire check, protobuf-c, the versions; then validate.c.
#include <inttypes.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "frontend/external.h"
#include "frontend/function.h"
#include "frontend/model.h"
#include "frontend/validate.h"

// ---- Memory for protobuf-c ----

// A field of two bytes can become a struct of 300, so what a file may take is limited, by its size without raw data.
// The most that proper files need is about 40 times (lists of small integers that are not packed).
#define BUDGET_BASE ((size_t)16 << 20)
#define BUDGET_FACTOR 64

struct block {
    _Alignas(16) struct block *next;
    struct block *previous;
    size_t size;
};

struct unpack {
    ProtobufCAllocator allocator;
    struct block all; // a ring
    size_t used, budget;
    bool over_budget, out_of_memory;
};

static void *block_alloc(void *data, size_t size)
{
    struct unpack *u = data;
    if (size > u->budget - u->used || sizeof(struct block) > u->budget - u->used - size) {
        u->over_budget = true;
        return NULL;
    }
    size += sizeof(struct block);
    struct block *b = malloc(size);
    if (!b) {
        u->out_of_memory = true;
        return NULL;
    }
    *b = (struct block){.next = u->all.next, .previous = &u->all, .size = size};
    b->next->previous = b;
    u->all.next = b;
    u->used += size;
    return b + 1;
}

static void block_free(void *data, void *p)
{
    struct unpack *u = data;
    struct block *b = (struct block *)p - 1;
    if (!p)
        return;
    u->used -= b->size;
    b->next->previous = b->previous;
    b->previous->next = b->next;
    free(b);
}

static void unpack_init(struct unpack *u, size_t message_size)
{
    *u = (struct unpack){.allocator = {.alloc = block_alloc, .free = block_free, .allocator_data = u}};
    u->all.next = u->all.previous = &u->all;
    if (__builtin_mul_overflow(message_size, (size_t)BUDGET_FACTOR, &u->budget) ||
        __builtin_add_overflow(u->budget, BUDGET_BASE, &u->budget))
        u->budget = SIZE_MAX;
}

static void unpack_finish(struct unpack *u)
{
    for (struct block *b = u->all.next, *next; b != &u->all; b = next) {
        next = b->next;
        free(b);
    }
}

// ---- Files that are not models ----

static const struct {
    size_t offset;
    const char *bytes, *what;
} other_formats[] = {
    {0, "version https://git-lfs.github.com/spec", "a git-lfs pointer, not the model itself; run 'git lfs pull'"},
    {0, "/annex/objects/", "a git-annex pointer, not the model itself; run 'git annex get'"},
    {0, "<!doctype", "an HTML page: the download went wrong"},
    {0, "<html", "an HTML page: the download went wrong"},
    {0, "<?xml", "an XML document"},
    {0, "ir_version:", "a model in protobuf's text form; convert it to the binary form"},
    {0, "<", "text, perhaps a model in ONNX's text form; convert it to the binary form"},
    {0, "{", "JSON; convert it to ONNX's binary form"},
    {0, "PK\x03\x04", "a zip archive (a PyTorch checkpoint?), not an ONNX model"},
    {0, "\x1f\x8b", "compressed with gzip; uncompress it first"},
    {0, "\x28\xb5\x2f\xfd", "compressed with zstd; uncompress it first"},
    {0, "\x80\x02", "a Python pickle (a PyTorch checkpoint?), not an ONNX model"},
    {0, "\x89HDF", "an HDF5 file (a Keras model?), not an ONNX model"},
    {0,
     "\x7f"
     "ELF",
     "code, perhaps a compiled model: `tegula run` takes shared objects, whose names end in .so"},
    {0, "GGUF", "a GGUF file, not an ONNX model"},
    {4, "ORTM", "an ONNX Runtime model (.ort), not an ONNX model"},
    {4, "TFL3", "a TensorFlow Lite model, not an ONNX model"},
    {8, "{\"", "a safetensors file, not an ONNX model"},
};

const char *model_other_format(const void *bytes, size_t size)
{
    const uint8_t *data = bytes;
    size_t skip = size >= 3 && !memcmp(data, "\xef\xbb\xbf", 3) ? 3 : 0; // byte order mark
    while (skip < size && strchr(" \t\r\n", data[skip]) && data[skip])
        skip++;
    for (size_t i = 0; i < sizeof other_formats / sizeof *other_formats; i++) {
        size_t at = other_formats[i].offset ? other_formats[i].offset : skip, n = strlen(other_formats[i].bytes);
        if (size >= at && size - at >= n && !strncasecmp((const char *)data + at, other_formats[i].bytes, n))
            return other_formats[i].what;
    }
    size_t zeros = 0;
    while (zeros < size && zeros < 4096 && !data[zeros])
        zeros++;
    return zeros && (zeros == size || zeros == 4096) ? "filled with zeros: the download went wrong" : NULL;
}

// ---- Unpacking ----

enum outcome { READ, REFUSED, OUT_OF_MEMORY };

static enum outcome refuse(const struct model *m, struct diags *diags, const char *text)
{
    diag_error(diags, (struct loc){.file = m->file}, "%s", text);
    return REFUSED;
}

static enum outcome unpack(struct model *m, struct diags *diags)
{
    struct loc loc = {.file = m->file};
    if (!m->wire.size)
        return refuse(m, diags, "the file is empty");
    if (!wire_slim(&m->wire)) {
        const char *other = model_other_format(m->wire.in, m->wire.size);
        if (!*m->wire.error)
            return OUT_OF_MEMORY;
        if (other)
            diag_error(diags, loc, "the file is %s", other);
        else if (m->wire.deep)
            diag_error(diags, loc, "%s", m->wire.error);
        else if (m->wire.truncated)
            diag_error(diags, loc, "the file is truncated, or no ONNX model: %s", m->wire.error);
        else
            diag_error(diags, loc, "the file is damaged, or no ONNX model: %s", m->wire.error);
        return REFUSED;
    }
    struct unpack *u = m->unpack;
    unpack_init(u, m->wire.out_size);
    TgOnnx__ModelProto *proto = tg_onnx__model_proto__unpack(&u->allocator, m->wire.out_size, m->wire.out);
    if (u->out_of_memory)
        return OUT_OF_MEMORY;
    if (u->over_budget) {
        diag_error(diags, loc, "unpacking would take more than %zu MiB, out of proportion to the file: it is damaged",
                   u->budget >> 20);
        return REFUSED;
    }
    if (!proto)
        return refuse(m, diags, "the file is damaged, or no ONNX model: protobuf-c cannot unpack it");
    wire_restore(&m->wire, proto, &u->allocator);
    m->proto = proto;
    free(m->wire.out);
    m->wire.out = NULL;
    return READ;
}

// ---- Checking ----

static bool check_versions(struct model *m, struct diags *diags)
{
    struct loc loc = {.file = m->file};
    const TgOnnx__ModelProto *p = m->proto;
    if (!p->graph) {
        refuse(m, diags, "no graph in it: not an ONNX model, or one without its end");
        return false;
    }
    if (p->ir_version < MODEL_IR_VERSION_MIN || p->ir_version > MODEL_IR_VERSION_MAX) {
        diag_error(diags, loc, "IR version %" PRId64 " is not supported: %s; %d to %d are", p->ir_version,
                   p->ir_version > MODEL_IR_VERSION_MAX ? "it is newer than this compiler"
                   : p->has_ir_version                  ? "it is too old"
                                                        : "the field is missing",
                   MODEL_IR_VERSION_MIN, MODEL_IR_VERSION_MAX);
        return false;
    }
    if (!p->n_opset_import) {
        refuse(m, diags, "no operator set is imported: the file is damaged or without its end");
        return false;
    }
    if (!function_read_opsets(m, p->opset_import, p->n_opset_import, NULL, &m->opsets, diags))
        return false;
    m->opset = model_opset(m, NULL, "");
    return true;
}

static enum outcome read_model(struct model *m, struct diags *diags)
{
    int n_errors = diags->n_errors;
    enum outcome outcome = unpack(m, diags);
    if (outcome != READ)
        return outcome;
    if (check_versions(m, diags))
        validate_model(m, diags);
    arena_finish(&m->scratch);
    return diags->n_errors == n_errors ? READ : REFUSED;
}

// ---- Public ----

static const char *folder_of(struct model *m, const char *path)
{
    const char *slash = strrchr(path, '/');
    return !slash ? "." : slash == path ? "/" : arena_strndup(&m->arena, path, (size_t)(slash - path));
}

struct source {
    const void *data;
    size_t size;
    bool mapped;
    const char *name, *path, *folder; // the first for messages, one of the others for external data, or neither
};

static enum outcome read_source(struct model *m, const struct source *s, struct diags *diags)
{
    arena_init(&m->arena);
    arena_init(&m->scratch);
    m->secret = map_secret();
    map_init(&m->tensors, m->secret);
    m->file = arena_strdup(&m->arena, s->name);
    m->unpack = ARENA_NEW(&m->arena, struct unpack);
    unpack_init(m->unpack, 0);
    const char *folder = s->path ? folder_of(m, s->path) : s->folder ? arena_strdup(&m->arena, s->folder) : NULL;
    m->external = external_create(&m->arena, m->secret, s->path ? m->file : NULL, folder);
    m->wire.in = s->data;
    m->wire.size = s->size;
    m->mapped = s->mapped;
    return read_model(m, diags);
}

// setjmp in a function of its own: nothing here changes after it.
static enum outcome read_guarded(struct model *m, const struct source *s, struct diags *diags)
{
    struct arena_recovery here;
    if (setjmp(here.jump))
        return OUT_OF_MEMORY;
    arena_set_recovery(&here);
    return read_source(m, s, diags);
}

// m is all zeros but for bytes of its own; NULL: there was no memory for it.
static struct model *read_or_recover(struct model *m, const struct source *s, struct diags *diags)
{
    struct arena_recovery *outer = arena_get_recovery();
    enum outcome outcome = OUT_OF_MEMORY;
    if (m) {
        outcome = read_guarded(m, s, diags);
        arena_set_recovery(outer);
    }
    if (outcome == READ)
        return m;
    model_destroy(m);
    if (outcome == OUT_OF_MEMORY && outer)
        longjmp(outer->jump, 1);
    if (outcome == OUT_OF_MEMORY)
        diag_error(diags, (struct loc){.file = s->name}, "out of memory");
    return NULL;
}

static struct source source_of(const struct file_bytes *bytes, const char *path)
{
    return (struct source){
        .data = bytes->data, .size = bytes->size, .mapped = bytes->mapped, .name = path, .path = path};
}

struct model *model_read_file(const char *path, struct diags *diags)
{
    struct file_bytes bytes = {0};
    if (bytes_open(path, &bytes, diags))
        return NULL;
    const struct source s = source_of(&bytes, path);
    struct model *m = calloc(1, sizeof *m);
    if (m)
        m->bytes = bytes;
    else
        bytes_close(&bytes);
    return read_or_recover(m, &s, diags);
}

struct model *model_read_bytes(const struct file_bytes *bytes, const char *path, struct diags *diags)
{
    const struct source s = source_of(bytes, path);
    return read_or_recover(calloc(1, sizeof(struct model)), &s, diags);
}

struct model *model_read_memory(const void *data, size_t size, const char *name, const char *folder,
                                struct diags *diags)
{
    const struct source s = {.data = data, .size = size, .name = name, .folder = folder};
    return read_or_recover(calloc(1, sizeof(struct model)), &s, diags);
}

void model_destroy(struct model *m)
{
    if (!m)
        return;
    external_destroy(m->external);
    if (m->unpack)
        unpack_finish(m->unpack);
    free(m->wire.out);
    bytes_close(&m->bytes);
    arena_finish(&m->scratch);
    arena_finish(&m->arena);
    free(m);
}

int model_files(const struct model *m, struct arena *arena, const struct named_bytes **out)
{
    return external_files(m->external, arena, out);
}
