// The public API: ONNX models compiled in memory, and run.
//
// What a run works in is kept by the model for the next one, growing where the inputs do: memory fresh from the system
// costs more than the kernels of a small model. Runs at the same time have one each.
#include "codegen/model.h"

#include <stdlib.h>

#include "api/api.h"
#include "codegen/cache.h"
#include "frontend/import.h"
#include "runtime/memory.h"

// Memory that a run works in, which follows.
struct workspace {
    struct workspace *next;
    int64_t bytes;
};

#define WORKSPACE_AT MEMORY_ALIGNMENT // bytes, from the struct to the memory

struct tg_model_handle {
    tg_env env; // first: what gets a pointer to it finds the handle. The pool's, but for messages
    tg_context *ctx;
    struct loaded_model *loaded;
    const tg_model *code;
    bool cached;
    pthread_mutex_t mutex;
    struct workspace *idle; // that no run works in
};

// ---- Compiling -------------------------------------------------------------------------------------------------

// What a call has made so far, to be released where it ends.
struct import {
    const void *data; // NULL: the file's at `name`
    size_t length;
    const char *name;
    const tg_model_options *options;
    struct file_bytes file;
    struct cache *cache;
    bool cached;
    struct model *source;
    struct module *m;
    struct loaded_model *loaded;
};

// Where the options name a cache. Returns 0, or 1 after reporting.
static int open_cache(struct import *w, struct compile_options *options, const struct import_options *import,
                      struct diags *diags)
{
    const struct cache_request request = {.folder = w->options->cache_dir,
                                          .limit = w->options->cache_limit,
                                          .options = options,
                                          .name = w->name,
                                          .bytes = w->data ? w->data : w->file.data,
                                          .size = w->data ? w->length : w->file.size,
                                          .stamp = w->data ? NULL : &w->file.stamp,
                                          .import = import};
    if (request.folder && cache_open(&request, &w->cache, diags))
        return 1;
    options->cache = w->cache;
    return 0;
}

static int compile_source(struct import *w, const struct compile_options *options, const struct import_options *import,
                          struct diags *diags)
{
    w->source = w->data ? model_read_memory(w->data, w->length, w->name, NULL, diags)
                        : model_read_bytes(&w->file, w->name, diags);
    w->m = w->source ? import_model(w->source, import, diags) : NULL;
    if (!w->m || !verify_module(w->m, diags) || graph_compile(w->m, options, diags))
        return 1;
    cache_note_files(w->cache, w->source, &diags->arena);
    return model_load(w->m, options, &w->loaded, diags);
}

static int compile(void *work, struct diags *diags)
{
    struct import *w = work;
    struct compile_options options = {.opt_level = w->options->opt_level};
    if (api_target(w->options->target, &options.target, diags) ||
        api_schedule(w->options->schedule, &options.pipeline, diags))
        return 1;
    struct import_dim *dims = ARENA_ARRAY(&diags->arena, struct import_dim, w->options->n_dims + 1);
    for (size_t i = 0; i < w->options->n_dims; i++)
        dims[i] = (struct import_dim){w->options->dims[i].name, w->options->dims[i].value};
    const struct import_options import = {(int)w->options->n_dims, dims, (int)w->options->n_inputs, w->options->inputs};
    if ((!w->data && bytes_open(w->name, &w->file, diags)) || open_cache(w, &options, &import, diags))
        return 1;
    w->cached = cache_load(w->cache, &w->loaded, diags);
    return w->cached ? 0 : compile_source(w, &options, &import, diags);
}

static void note_message(const tg_env *env, const char *message)
{
    api_fail(((const struct tg_model_handle *)(const void *)env)->ctx, "%s", message);
}

// NULL, or what the options announce and do not hold.
static const char *missing_words(const tg_model_options *o)
{
    if (o->n_dims && !o->dims)
        return "n_dims is not 0 and dims is NULL";
    if (o->n_inputs && !o->inputs)
        return "n_inputs is not 0 and inputs is NULL";
    for (size_t i = 0; i < o->n_dims; i++)
        if (!o->dims[i].name)
            return "a size in the options has no name";
    for (size_t i = 0; i < o->n_inputs; i++)
        if (!o->inputs[i])
            return "an input in the options has no name";
    return NULL;
}

// data may be NULL, as above.
static int load(tg_context *ctx, const void *data, size_t length, const char *name, const tg_model_options *options,
                tg_model_handle **out)
{
    static const tg_model_options usual = TG_MODEL_OPTIONS_INIT;
    if (!options)
        options = &usual;
    if (options->size != sizeof *options)
        return api_fail(ctx, "the options are not of this version of the library; start from TG_MODEL_OPTIONS_INIT");
    if (options->opt_level < 0 || options->opt_level > 3)
        return api_fail(ctx, "opt_level is %d; it is 0 to 3", options->opt_level);
    if (options->n_dims > API_MOST_WORDS)
        return api_fail(ctx, "more than %d sizes", API_MOST_WORDS);
    if (options->cache_limit < 0)
        return api_fail(ctx, "cache_limit is %lld; it is a number of bytes", (long long)options->cache_limit);
    if (options->n_inputs > API_MOST_WORDS)
        return api_fail(ctx, "more than %d names of inputs", API_MOST_WORDS);
    const char *missing = missing_words(options);
    if (missing || !name)
        return api_fail(ctx, "%s", missing ? missing : "the model has no name or path; messages need one");
    struct import w = {.data = data, .length = length, .name = name, .options = options};
    tg_model_handle *model = calloc(1, sizeof *model);
    int status = model ? api_attempt(ctx, compile, &w) : api_out_of_memory(ctx);
    if (!status) {
        *model = (tg_model_handle){.env = *tg_pool_env(ctx->pool), .ctx = ctx, .loaded = w.loaded, .cached = w.cached};
        model->code = model_code(w.loaded);
        model->env.error = note_message;
        pthread_mutex_init(&model->mutex, NULL);
        *out = model;
    } else {
        free(model);
    }
    module_destroy(w.m);
    model_destroy(w.source);
    cache_close(w.cache);
    bytes_close(&w.file);
    return status;
}

int tg_model_compile(tg_context *ctx, const void *data, size_t length, const char *name,
                     const tg_model_options *options, tg_model_handle **out)
{
    return load(ctx, data ? data : "", data ? length : 0, name, options, out);
}

int tg_model_load_file(tg_context *ctx, const char *path, const tg_model_options *options, tg_model_handle **out)
{
    return load(ctx, NULL, 0, path, options, out);
}

void tg_model_destroy(tg_model_handle *model)
{
    if (!model)
        return;
    model_unload(model->loaded);
    for (struct workspace *w = model->idle, *next; w; w = next) {
        next = w->next;
        memory_free(w);
    }
    pthread_mutex_destroy(&model->mutex);
    free(model);
}

const tg_model *tg_model_code(const tg_model_handle *model)
{
    return model->code;
}

int tg_model_cached(const tg_model_handle *model)
{
    return model->cached;
}

// ---- Running ---------------------------------------------------------------------------------------------------

static int check_numbers(const tg_model_handle *model, int n_inputs, int n_outputs)
{
    const tg_model *code = model->code;
    if (n_inputs == code->n_inputs && n_outputs == code->n_outputs)
        return 0;
    return api_fail(model->ctx, "@%s has %d inputs and %d outputs, not %d and %d", code->name, (int)code->n_inputs,
                    (int)code->n_outputs, n_inputs, n_outputs);
}

int tg_model_output_sizes(tg_model_handle *model, const tg_tensor *inputs, int n_inputs, int64_t *const *sizes,
                          int n_outputs)
{
    return check_numbers(model, n_inputs, n_outputs) || model->code->shapes(&model->env, inputs, sizes, NULL);
}

static struct workspace *take_idle(tg_model_handle *model)
{
    pthread_mutex_lock(&model->mutex);
    struct workspace *w = model->idle;
    if (w)
        model->idle = w->next;
    pthread_mutex_unlock(&model->mutex);
    return w;
}

static void give_back(tg_model_handle *model, struct workspace *w)
{
    pthread_mutex_lock(&model->mutex);
    w->next = model->idle;
    model->idle = w;
    pthread_mutex_unlock(&model->mutex);
}

// NULL after noting that there is no memory.
static struct workspace *begin_work(tg_model_handle *model, int64_t bytes)
{
    struct workspace *w = take_idle(model);
    if (w && w->bytes >= bytes)
        return w;
    memory_free(w);
    w = memory_alloc(WORKSPACE_AT + (size_t)bytes);
    if (w)
        w->bytes = bytes;
    else
        api_fail(model->ctx, "there is no memory for the %lld bytes that @%s works in", (long long)bytes,
                 model->code->name);
    return w;
}

int tg_model_run(tg_model_handle *model, const tg_tensor *inputs, int n_inputs, tg_tensor *outputs, int n_outputs)
{
    int64_t bytes;
    if (check_numbers(model, n_inputs, n_outputs) || model->code->shapes(&model->env, inputs, NULL, &bytes))
        return 1;
    struct workspace *w = begin_work(model, bytes);
    if (!w)
        return 1;
    tg_pool_begin(model->ctx->pool);
    int status = model->code->run(&model->env, inputs, outputs, (char *)w + WORKSPACE_AT);
    tg_pool_end(model->ctx->pool);
    give_back(model, w);
    return status != 0;
}
