#include "codegen/model.h"

#include <stdlib.h>
#include <string.h>

#include "codegen/jit.h"
#include "codegen/lower.h"
#include "codegen/units.h"
#include "runtime/memory.h"

struct loaded_model {
    struct jit *jit;
    void *weights;
    const tg_model *code;
};

// What a load holds until it is done.
struct load {
    struct module *m;
    const struct function *host;
    const struct compile_options *options;
    struct diags *diags;
    struct loaded_model *model;
    struct units *units;
    char *message; // of the code generator; to be freed
};

static const struct function *find_host(struct module *m, struct diags *diags)
{
    const struct function *host = NULL;
    struct loc loc = {.file = m->first_function ? m->first_function->loc.file : NULL};
    for (const struct function *f = m->first_function; f; f = f->next) {
        if (f->kind != FUNCTION_HOST)
            continue;
        if (host) {
            diag_error(diags, f->loc, "@%s and @%s are both host functions; a model has one", host->name, f->name);
            return NULL;
        }
        host = f;
    }
    if (!host)
        diag_error(diags, loc, "there is no host function to run");
    return host;
}

// Copies the constants to memory of the model's own and gives the code its address.
static int place_weights(struct load *w, const struct weights *weights, const char *symbol)
{
    if (!weights->n)
        return 0;
    w->model->weights = memory_alloc((size_t)weights->bytes);
    if (!w->model->weights) {
        diag_error(w->diags, w->host->loc, "there is no memory for the %lld bytes of the model's constants",
                   (long long)weights->bytes);
        return 1;
    }
    for (int i = 0; i < weights->n; i++)
        if (weights->pieces[i].size)
            memcpy((char *)w->model->weights + weights->pieces[i].offset, weights->pieces[i].bytes,
                   (size_t)weights->pieces[i].size);
    return jit_define(w->model->jit, symbol, w->model->weights, &w->message);
}

// Runs under the recovery point.
static int load(struct load *w)
{
    const struct compile_options *o = w->options;
    w->host = find_host(w->m, w->diags);
    if (!w->host)
        return 1;
    const char *name = w->host->name;
    if (!target_runs_here(&o->target)) {
        diag_error(w->diags, (struct loc){0}, "this machine cannot run code for %s", o->target.name);
        return 1;
    }
    if (pipeline_run(w->m, &o->target, &o->pipeline, w->diags))
        return 1;
    struct weights weights = {0};
    w->units = units_create(w->m, o);
    if (!w->units || units_lower(w->units, &weights, w->diags))
        return 1;
    // Other threads are at work on the units meanwhile.
    const char *symbol = arena_printf(&w->m->arena, "%s__weights", name);
    if (jit_create(&w->model->jit, &w->message) || place_weights(w, &weights, symbol) || units_wait(w->units, w->diags))
        return 1;
    for (int i = 0; i < units_count(w->units); i++)
        if (jit_add_object(w->model->jit, units_object(w->units, i), &w->message))
            return 1;
    void *address;
    if (jit_lookup(w->model->jit, arena_printf(&w->m->arena, "%s__model", name), &address, &w->message))
        return 1;
    w->model->code = address;
    return 0;
}

static void load_finish(struct load *w)
{
    units_destroy(w->units);
    model_unload(w->model);
    free(w->message);
    free(w);
}

int model_load(struct module *m, const struct compile_options *options, struct loaded_model **out, struct diags *diags)
{
    struct load *const w = calloc(1, sizeof *w);
    struct loaded_model *const model = calloc(1, sizeof *model);
    struct arena_recovery inner, *const outer = arena_get_recovery();
    if (!w || !model) {
        free(w);
        free(model);
        diag_error(diags, (struct loc){0}, "out of memory");
        return 1;
    }
    *w = (struct load){.m = m, .options = options, .diags = diags, .model = model};
    // Running out of memory on the way must not lose what LLVM holds.
    volatile int status = 1;
    const int errors = diags->n_errors;
    if (setjmp(inner.jump)) {
        load_finish(w);
        arena_set_recovery(outer);
        longjmp(outer->jump, 1);
    }
    if (outer)
        arena_set_recovery(&inner);
    if (!load(w)) {
        *out = w->model;
        w->model = NULL;
        status = 0;
    } else if (diags->n_errors == errors) {
        diag_error(diags, w->host ? w->host->loc : (struct loc){0}, "%s", w->message ? w->message : "out of memory");
    }
    arena_set_recovery(outer);
    load_finish(w);
    return status;
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
