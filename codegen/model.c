#include "codegen/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/error.h"
#include "codegen/jit.h"
#include "codegen/model_objects.h"
#include "runtime/memory.h"

struct loaded_model {
    struct jit *jit;
    void *weights;
    const tg_model *code;
};

// ---- Placing code and constants --------------------------------------------------------------------------------

// Copies the constants to memory of the model's own and gives the code its address.
static int place_weights(struct loaded_model *l, const struct model_objects *objects, char **error)
{
    const struct weights *weights = &objects->weights;
    char *symbol;
    if (!weights->n)
        return 0;
    l->weights = memory_alloc((size_t)weights->bytes);
    if (!l->weights)
        return error_set(error, "there is no memory for the %lld bytes of the model's constants",
                         (long long)weights->bytes);
    for (int i = 0; i < weights->n; i++)
        if (weights->pieces[i].size)
            memcpy((char *)l->weights + weights->pieces[i].offset, weights->pieces[i].bytes,
                   (size_t)weights->pieces[i].size);
    if (asprintf(&symbol, "%s__weights", objects->name) < 0)
        return error_set(error, "out of memory");
    int status = jit_define(l->jit, symbol, l->weights, error);
    free(symbol);
    return status;
}

static int find_model(struct loaded_model *l, const struct model_objects *objects, char **error)
{
    char *symbol;
    void *address;
    if (asprintf(&symbol, "%s__model", objects->name) < 0)
        return error_set(error, "out of memory");
    int status = jit_lookup(l->jit, symbol, &address, error);
    free(symbol);
    if (!status)
        l->code = address;
    return status;
}

// ---- Loading ---------------------------------------------------------------------------------------------------

// What a load holds until it is done.
struct load {
    struct module *m;
    const struct compile_options *options;
    struct diags *diags;
    struct model_objects *objects;
    struct loaded_model *model;
    char *message; // of the code generator
    int status;
};

// Other threads are at work on the objects while the constants are copied.
static int load_objects(struct load *w)
{
    struct loaded_model *model = w->model;
    if (jit_create(&model->jit, &w->message) || place_weights(model, w->objects, &w->message) ||
        model_objects_wait(w->objects, w->diags))
        return 1;
    for (int i = 0; i < model_objects_count(w->objects); i++)
        if (jit_add_object(model->jit, model_objects_get(w->objects, i), &w->message))
            return 1;
    return find_model(model, w->objects, &w->message);
}

static void load(void *load)
{
    struct load *w = load;
    int errors = w->diags->n_errors;
    w->objects = model_objects_create(w->m, w->options, w->diags);
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
    struct load w = {.m = m, .options = &here, .diags = diags};
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

void model_unload(struct loaded_model *l)
{
    if (!l)
        return;
    jit_destroy(l->jit);
    memory_free(l->weights);
    free(l);
}

const tg_model *model_code(const struct loaded_model *l)
{
    return l->code;
}
