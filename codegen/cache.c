#include "codegen/cache.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "codegen/build_id.h"
#include "codegen/cache_entry.h"
#include "codegen/cache_sweep.h"
#include "codegen/error.h"
#include "codegen/file.h"
#include "codegen/model.h"
#include "passes/schedule.h"

struct cache {
    char *folder, *path; // of the entry
    struct cache_hash key;
    int64_t limit;
    const struct phase_listener *phases;
    char *model;             // the file that the model's bytes are, NULL: they are none's
    struct file_stamp stamp; // its
    int n_files;
    const struct named_bytes *files;
};

// ---- Keys ------------------------------------------------------------------------------------------------------

static void add_bytes(XXH3_state_t *h, const void *bytes, size_t size)
{
    uint64_t n = size; // what follows must not begin earlier
    XXH3_128bits_update(h, &n, sizeof n);
    if (size)
        XXH3_128bits_update(h, bytes, size);
}

static void add_int(XXH3_state_t *h, int64_t x)
{
    add_bytes(h, &x, sizeof x);
}

// NULL is not the empty string.
static void add_text(XXH3_state_t *h, const char *text)
{
    add_bytes(h, text, text ? strlen(text) + 1 : 0);
}

// The other members follow from these.
static void add_target(XXH3_state_t *h, const struct target_desc *t)
{
    add_text(h, t->name);
    add_text(h, t->triple);
    add_text(h, t->cpu);
    add_text(h, t->features);
    add_int(h, (int64_t)t->isa);
    add_int(h, t->vector_bytes);
    add_int(h, t->packed_bytes);
    add_int(h, t->unit_bytes);
    add_int(h, t->l1d_bytes);
    add_int(h, t->l2_bytes);
}

static void add_schedules(XXH3_state_t *h, const struct schedules *s)
{
    add_int(h, s ? s->n : 0);
    for (int i = 0; s && i < s->n; i++) {
        add_text(h, s->lines[i].pattern);
        add_bytes(h, s->lines[i].value, sizeof s->lines[i].value);
    }
}

static void add_options(XXH3_state_t *h, const struct compile_options *options)
{
    const struct pipeline_options *p = &options->pipeline;
    add_target(h, &options->target);
    add_int(h, options->opt_level);
    add_text(h, p->passes);
    add_text(h, p->stop_after);
    add_text(h, p->keep_composites);
    add_int(h, p->unfused);
    add_schedules(h, p->schedules);
}

static void add_import(XXH3_state_t *h, const struct import_options *options)
{
    add_int(h, options->n_dims);
    for (int i = 0; i < options->n_dims; i++) {
        add_text(h, options->dims[i].name);
        add_int(h, options->dims[i].value);
    }
    add_int(h, options->n_inputs);
    for (int i = 0; i < options->n_inputs; i++)
        add_text(h, options->inputs[i]);
}

// Returns 0; -1 if there is nothing to tell builds by.
static int add_builds(XXH3_state_t *h)
{
    size_t own_size, llvm_size;
    const void *own = build_id_compiler(&own_size), *llvm = build_id_llvm(&llvm_size);
    if (!own || !llvm)
        return -1;
    add_bytes(h, own, own_size);
    add_bytes(h, llvm, llvm_size);
    return 0;
}

static int make_key(const struct cache_request *r, struct cache_hash *key, char **error)
{
    XXH3_state_t *h = XXH3_createState();
    if (!h)
        return error_set(error, "out of memory");
    XXH3_128bits_reset(h);
    int status = add_builds(h);
    add_options(h, r->options);
    add_text(h, r->name);
    add_int(h, r->stamp != NULL); // bytes that are no file's have none with external data beside them
    if (r->import)
        add_import(h, r->import);
    add_bytes(h, r->bytes, r->size);
    XXH128_hash_t hash = XXH3_128bits_digest(h);
    *key = (struct cache_hash){{hash.low64, hash.high64}};
    XXH3_freeState(h);
    return status ? error_set(error, "cannot be a cache: this compiler, or LLVM, was linked without --build-id, and so "
                                     "nothing tells it from others")
                  : 0;
}

// A message that is freed, as it lives on with the diagnostics; NULL: out of memory.
static const char *keep_message(char *message, struct diags *diags)
{
    if (!message)
        return "out of memory";
    struct arena_hold hold;
    arena_hold(&hold, free, message);
    const char *kept = arena_strdup(&diags->arena, message);
    arena_let_go(&hold);
    free(message);
    return kept;
}

// ---- Opening ---------------------------------------------------------------------------------------------------

// With the folders around it.
static int make_folder(const char *path, char **error)
{
    char *name = strdup(path);
    if (!name)
        return error_set(error, "out of memory");
    int reason = 0;
    for (char *end = name; *end && !reason;) {
        end += strspn(end, "/");
        end += strcspn(end, "/");
        char next = *end;
        *end = 0;
        if (mkdir(name, 0700) && errno != EEXIST) // code is run from there
            reason = errno;
        *end = next;
    }
    free(name);
    struct stat st;
    if (!reason && stat(path, &st))
        reason = errno;
    else if (!reason && !S_ISDIR(st.st_mode))
        reason = ENOTDIR;
    return reason ? error_set(error, "cannot be a cache: %s", strerror(reason)) : 0;
}

// Whether something is to be told of compiling, which then has to happen.
static bool wants_compiling(const struct pipeline_options *p)
{
    return p->bisect || p->print_after_all || p->time_passes || p->remarks;
}

static int open_cache(const struct cache_request *r, struct cache *c, char **error)
{
    c->limit = r->limit ? r->limit : CACHE_USUAL_LIMIT;
    c->phases = r->options->pipeline.phases;
    if (make_folder(r->folder, error) || make_key(r, &c->key, error))
        return -1;
    c->folder = strdup(r->folder);
    bool file = r->stamp && r->stamp->inode; // what was read from a pipe cannot change
    c->model = file ? strdup(r->name) : NULL;
    if (file)
        c->stamp = *r->stamp;
    if (!c->folder || (file && !c->model) ||
        asprintf(&c->path, "%s/%016" PRIx64 "%016" PRIx64 CACHE_ENDING, r->folder, c->key.word[1], c->key.word[0]) <
            0) {
        c->path = NULL;
        return error_set(error, "out of memory");
    }
    return 0;
}

int cache_open(const struct cache_request *request, struct cache **out, struct diags *diags)
{
    char *message = NULL;
    if (wants_compiling(&request->options->pipeline) || !target_runs_here(&request->options->target)) {
        *out = NULL;
        return 0;
    }
    struct cache *c = calloc(1, sizeof *c);
    if (c && !open_cache(request, c, &message)) {
        *out = c;
        return 0;
    }
    cache_close(c);
    diag_error(diags, (struct loc){.file = request->folder}, "%s", keep_message(message, diags));
    return 1;
}

void cache_close(struct cache *c)
{
    if (!c)
        return;
    free(c->folder);
    free(c->path);
    free(c->model);
    free(c);
}

// ---- Loading ---------------------------------------------------------------------------------------------------

// Of a file that constants come from. One that is not what it was, or is no more, is for the compiler to see.
static bool is_same(const char *path, struct cache_hash hash)
{
    struct file_bytes file = {0};
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK), error;
    bool same = fd >= 0 && !fstat(fd, &st) && S_ISREG(st.st_mode) && !bytes_map(fd, &file, &error) &&
                cache_hash_equal(cache_hash_bytes(file.data, file.size), hash);
    if (fd >= 0)
        close(fd);
    bytes_close(&file);
    return same;
}

static bool is_current(const struct cache_entry *e)
{
    for (int i = 0; i < e->n_sources; i++)
        if (!is_same(e->bytes + e->sources[i].path.offset, e->sources[i].hash))
            return false;
    return true;
}

// Makes a model of the entry's bytes, which it takes over. NULL, also if the entry is not current; else what is wrong.
static const char *load_entry(const struct cache *c, struct file_bytes *file, struct loaded_model **out, char **message)
{
    struct cache_entry entry;
    const char *wrong = cache_entry_read(file, c->key, &entry);
    if (wrong || !is_current(&entry))
        return wrong;
    return model_load_entry(&entry, file, out, message) ? *message ? *message : "out of memory" : NULL;
}

bool cache_load(struct cache *c, struct loaded_model **out, struct diags *diags)
{
    if (!c)
        return false;
    int64_t start = phase_now();
    struct loaded_model *loaded = NULL;
    struct file_bytes file = {0};
    char *message = NULL;
    int fd = open(c->path, O_RDONLY | O_CLOEXEC), error = fd < 0 && errno != ENOENT ? errno : 0;
    const char *wrong = error ? "cannot be opened" : NULL;
    if (fd >= 0) {
        wrong = bytes_map(fd, &file, &error);
        if (!wrong)
            wrong = load_entry(c, &file, &loaded, &message);
        futimens(fd, NULL); // used now: see cache_sweep
        close(fd);
        bytes_close(&file);
    }
    if (wrong)
        diag_warning(diags, (struct loc){.file = c->path}, "%s%s%s; the model is compiled again",
                     message ? keep_message(message, diags) : wrong, error ? ": " : "", error ? strerror(error) : "");
    if (!loaded)
        return false;
    phase_end(c->phases, "loading from the cache", start);
    *out = loaded;
    return true;
}

// ---- Storing ---------------------------------------------------------------------------------------------------

void cache_note_files(struct cache *c, const struct model *m, struct arena *arena)
{
    if (c && m)
        c->n_files = model_files(m, arena, &c->files);
}

// A file that is not any more what was read; NULL: none.
static const char *find_changed(const struct cache *c)
{
    if (c->model && !file_stamp_holds(&c->stamp, c->model))
        return c->model;
    for (int i = 0; i < c->n_files; i++)
        if (!file_stamp_holds(&c->files[i].stamp, c->files[i].path))
            return c->files[i].path;
    return NULL;
}

static int store(const struct cache *c, const struct model_objects *objects, const struct weights *weights,
                 char **error)
{
    struct file_pending pending;
    FILE *f;
    if (file_begin(&pending, c->path, &f, error))
        return -1;
    if (cache_entry_write(f, c->key, objects, weights, c->n_files, c->files)) {
        fclose(f);
        file_discard(&pending);
        return error_set(error, "out of memory");
    }
    if (file_end(&pending, f, error))
        return -1;
    // The hashes are of what the files hold now, the constants of what they held then.
    const char *changed = find_changed(c);
    if (!changed)
        return file_commit(&pending, error);
    file_discard(&pending);
    return error_set(error, "%s has changed while the model was compiled", changed);
}

void cache_store(struct cache *c, const struct model_objects *objects, const struct weights *weights,
                 struct diags *diags)
{
    if (!c)
        return;
    int64_t start = phase_now();
    char *message = NULL;
    int status = store(c, objects, weights, &message);
    cache_sweep(c->folder, c->path, c->limit);
    if (status)
        diag_warning(diags, (struct loc){0}, "%s; the model is not in the cache", keep_message(message, diags));
    phase_end(c->phases, "storing in the cache", start);
}
