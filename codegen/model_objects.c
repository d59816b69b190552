#include "codegen/model_objects.h"

#include <stdlib.h>
#include <string.h>

#include "codegen/units.h"
#include "ir/lex.h"

static struct function *find_host(struct module *m, struct diags *diags)
{
    struct function *host = NULL;
    struct loc loc = {.file = m->first_function ? m->first_function->loc.file : NULL};
    for (struct function *f = m->first_function; f; f = f->next) {
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

// ---- Names -----------------------------------------------------------------------------------------------------

static const char *full_name(struct module *m, const struct function *host, const char *kernel)
{
    return arena_printf(&m->arena, "%s__%s", host->name, kernel);
}

static void rename_launches(struct module *m, const struct function *host, const struct block *b)
{
    for (struct op *op = b->first; op; op = op->next) {
        for (int i = 0; i < op->n_attrs; i++)
            if (op->attrs[i].key == ATTR_KERNEL)
                op->attrs[i].string = full_name(m, host, op->attrs[i].string);
        for (int i = 0; i < op->n_blocks; i++)
            rename_launches(m, host, op->blocks[i]);
    }
}

// Two models in one program must not have functions of the same name, nor the code for two targets in one file.
static void name_functions(struct module *m, struct function *host, const struct compile_options *options)
{
    if (options->model_form != MODEL_IN_PROCESS) {
        char *name = arena_printf(&m->arena, "%s__%s", host->name, options->target.name);
        lex_make_identifier(name);
        host->name = name;
    }
    for (struct function *f = m->first_function; f; f = f->next)
        if (f->kind == FUNCTION_KERNEL)
            f->name = full_name(m, host, f->name);
    rename_launches(m, host, host->body);
}

// ---- Life ------------------------------------------------------------------------------------------------------

// What is made under the recovery point.
struct making {
    struct module *m;
    struct diags *diags;
    struct model_objects *objects;
    struct weights *weights;
    int status;
};

static void make(void *making)
{
    struct making *w = making;
    struct model_objects *objects = w->objects;
    w->status = 1;
    objects->host = find_host(w->m, w->diags);
    struct compile_options *options = &objects->options;
    if (!objects->host)
        return;
    int64_t start = phase_now();
    objects->name = options->model_name = objects->host->name;
    name_functions(w->m, objects->host, options);
    objects->units = units_create(w->m, options);
    if (!objects->units)
        diag_error(w->diags, objects->host->loc, "out of memory");
    else
        w->status = units_lower(objects->units, w->weights, w->diags);
    phase_end(options->pipeline.phases, "lowering to LLVM", start);
}

struct model_objects *model_objects_create(struct module *m, const struct compile_options *options,
                                           struct weights *weights, struct diags *diags)
{
    struct model_objects *objects = calloc(1, sizeof *objects);
    if (!objects) {
        diag_error(diags, (struct loc){0}, "out of memory");
        return NULL;
    }
    objects->options = *options;
    struct making w = {m, diags, objects, weights, 1};
    bool done = arena_attempt(make, &w);
    if (done && !w.status)
        return objects;
    model_objects_destroy(objects);
    if (!done)
        arena_unwind();
    return NULL;
}

int model_objects_wait(struct model_objects *objects, struct diags *diags)
{
    return units_wait(objects->units, diags);
}

int model_objects_count(const struct model_objects *objects)
{
    return units_count(objects->units);
}

const struct driver_buffer *model_objects_get(const struct model_objects *objects, int i)
{
    return units_object(objects->units, i);
}

void model_objects_destroy(struct model_objects *objects)
{
    if (!objects)
        return;
    units_destroy(objects->units);
    free(objects);
}
