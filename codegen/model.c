#include "codegen/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/cache_entry.h"
#include "codegen/error.h"
#include "codegen/jit.h"
#include "codegen/model_objects.h"
#include "runtime/memory.h"

struct loaded_model {
    struct jit *jit;
    int n_weights;
    void **weights;          // memory of constants
    struct file_bytes entry; // the same in a cache's file
    const tg_model *code;
};

// ---- Placing code and constants --------------------------------------------------------------------------------

static bool is_aligned(const void *p)
{
    return (uintptr_t)p % MEMORY_ALIGNMENT == 0;
}

static size_t padded(int64_t size)
{
    return ((size_t)size + MEMORY_ALIGNMENT - 1) / MEMORY_ALIGNMENT * MEMORY_ALIGNMENT;
}

static int define_piece(struct loaded_model *l, const char *name, int i, void *address, char **error)
{
    char *symbol;
    if (asprintf(&symbol, "%s__weights_%d", name, i) < 0)
        return error_set(error, "out of memory");
    int status = jit_define(l->jit, symbol, address, error);
    free(symbol);
    return status;
}

// Gives the code the addresses of the constants. What the passes made of them is taken over from the module; the rest,
// which may lie in the model's file, is copied.
static int place_weights(struct loaded_model *l, struct module *m, const char *name, const struct weights *weights,
                         char **error)
{
    if (!weights->n)
        return 0;
    l->weights = calloc((size_t)weights->n + 1, sizeof *l->weights);
    if (!l->weights)
        return error_set(error, "out of memory");
    size_t copied = 0;
    for (int i = 0; i < weights->n; i++) {
        void *bytes = (void *)weights->pieces[i].bytes; // written to by nobody
        if (is_aligned(bytes) && module_disown(m, bytes))
            l->weights[i] = bytes;
        else
            copied += padded(weights->pieces[i].size);
    }
    char *to = l->weights[weights->n] = memory_alloc(copied);
    l->n_weights = weights->n + 1;
    if (!to)
        return error_set(error, "there is no memory for the %zu bytes of the model's constants", copied);
    for (int i = 0; i < weights->n; i++) {
        const struct weight *piece = &weights->pieces[i];
        char *at = l->weights[i] ? l->weights[i] : to;
        if (at == to) {
            if (piece->size)
                memcpy(to, piece->bytes, (size_t)piece->size);
            if (piece->mapped)
                memory_let_go(piece->bytes, (size_t)piece->size);
            to += padded(piece->size);
        }
        if (define_piece(l, name, i, at, error))
            return -1;
    }
    return 0;
}

static int find_model(struct loaded_model *l, const char *name, char **error)
{
    char *symbol;
    void *address;
    if (asprintf(&symbol, "%s__model", name) < 0)
        return error_set(error, "out of memory");
    int status = jit_lookup(l->jit, symbol, &address, error);
    free(symbol);
    if (!status)
        l->code = address;
    return status;
}

// The code is there, for this machine.
static int32_t load_nothing(const tg_env *env, const char *weights, int32_t *target)
{
    (void)env, (void)weights;
    if (target)
        *target = 0;
    return 0;
}

static int define_load(struct loaded_model *l, const char *name, char **error)
{
    char *symbol;
    if (asprintf(&symbol, "%s_load", name) < 0)
        return error_set(error, "out of memory");
    int status = jit_define(l->jit, symbol, (void *)load_nothing, error);
    free(symbol);
    return status;
}

// ---- Loading ---------------------------------------------------------------------------------------------------

// What a load holds until it is done.
struct load {
    struct module *m;
    const struct compile_options *options;
    struct diags *diags;
    struct model_objects *objects;
    struct weights weights;
    struct loaded_model *model;
    char *message; // of the code generator
    int status;
};

// Other threads are at work on the objects while the constants are copied.
static int load_objects(struct load *w)
{
    struct loaded_model *model = w->model;
    if (jit_create(&model->jit, &w->message) ||
        place_weights(model, w->m, w->objects->name, &w->weights, &w->message) ||
        define_load(model, w->objects->name, &w->message) || model_objects_wait(w->objects, w->diags))
        return 1;
    int64_t start = phase_now();
    for (int i = 0; i < model_objects_count(w->objects); i++)
        if (jit_add_object(model->jit, model_objects_get(w->objects, i), &w->message))
            return 1;
    if (find_model(model, w->objects->name, &w->message))
        return 1;
    phase_end(w->options->pipeline.phases, "linking", start);
    cache_store(w->options->cache, w->objects, &w->weights, w->diags);
    return 0;
}

static void load(void *load)
{
    struct load *w = load;
    int errors = w->diags->n_errors;
    w->objects = model_objects_create(w->m, w->options, &w->weights, w->diags);
    w->model = w->objects ? calloc(1, sizeof *w->model) : NULL;
    w->status = w->model ? load_objects(w) : 1;
    if (w->status && w->diags->n_errors == errors)
        diag_error(w->diags, (struct loc){.file = w->m->first_function->loc.file}, "%s",
                   w->message ? w->message : "out of memory");
}

int model_load(struct module *m, const struct compile_options *options, struct loaded_model **out, struct diags *diags)
{
    if (!target_runs_here(&options->target)) {
        diag_error(diags, (struct loc){0}, "this machine cannot run code for %s", options->target.name);
        return 1;
    }
    struct compile_options here = *options;
    here.model_form = MODEL_IN_PROCESS;
    struct load w = {.m = m, .options = &here, .diags = diags, .weights = {.placed = {.arena = &m->arena}}};
    // Running out of memory on the way must not lose what LLVM holds.
    bool done = arena_attempt(load, &w);
    model_objects_destroy(w.objects);
    free(w.message);
    if (done && !w.status) {
        *out = w.model;
        return 0;
    }
    model_unload(w.model);
    if (!done)
        arena_unwind();
    return 1;
}

// ---- Loading from a cache --------------------------------------------------------------------------------------

static int link_entry(struct loaded_model *l, const struct cache_entry *e, char **error)
{
    if (jit_create(&l->jit, error) || define_load(l, e->name, error))
        return -1;
    for (int i = 0; i < e->n_weights; i++)
        if (define_piece(l, e->name, i, (void *)(e->bytes + e->weights[i].offset), error))
            return -1;
    for (int i = 0; i < e->n_objects; i++) {
        const struct driver_buffer object = {(char *)e->bytes + e->objects[i].offset, e->objects[i].bytes};
        if (jit_add_object(l->jit, &object, error))
            return -1;
    }
    return find_model(l, e->name, error);
}

int model_load_entry(const struct cache_entry *entry, struct file_bytes *file, struct loaded_model **out, char **error)
{
    struct loaded_model *l = calloc(1, sizeof *l);
    if (!l)
        return error_set(error, "out of memory");
    if (link_entry(l, entry, error)) {
        model_unload(l);
        return -1;
    }
    l->entry = *file;
    *file = (struct file_bytes){0};
    *out = l;
    return 0;
}

void model_unload(struct loaded_model *l)
{
    if (!l)
        return;
    jit_destroy(l->jit);
    for (int i = 0; i < l->n_weights; i++)
        memory_free(l->weights[i]);
    free(l->weights);
    bytes_close(&l->entry);
    free(l);
}

const tg_model *model_code(const struct loaded_model *l)
{
    return l->code;
}
