#include "codegen/model_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/error.h"
#include "codegen/model_objects.h"

// What writing a file holds until it is done.
struct writing {
    struct module *m;
    const struct compile_options *options;
    enum link_kind kind;
    const struct driver_buffer *program;
    const char *path;
    struct diags *diags;
    struct model_objects *objects;
    struct driver_buffer *list; // of the objects; they are not its own
    char *symbol;
    char *message;
    int status;
};

static int link_objects(struct writing *w)
{
    size_t n = (size_t)model_objects_count(w->objects);
    w->list = calloc(n + 2, sizeof *w->list);
    if (!w->list || asprintf(&w->symbol, "%s__weights", w->objects->name) < 0) {
        w->symbol = NULL;
        return error_set(&w->message, "out of memory");
    }
    for (size_t i = 0; i < n; i++)
        w->list[i] = *model_objects_get(w->objects, (int)i);
    if (w->program)
        w->list[n++] = *w->program;
    static const char *const libraries[] = {"-pthread", "-lm"};
    const struct link_job job = {.kind = w->kind,
                                 .output = w->path,
                                 .objects = w->list,
                                 .n_objects = n,
                                 .weights = w->objects->weights.n ? &w->objects->weights : NULL,
                                 .weights_symbol = w->symbol,
                                 .arguments = libraries,
                                 .n_arguments = w->program ? 2 : 0};
    return link_run(&job, &w->message);
}

static void write_model(void *writing)
{
    struct writing *w = writing;
    w->objects = model_objects_create(w->m, w->options, w->diags);
    w->status = !w->objects || model_objects_wait(w->objects, w->diags);
    if (w->status || !link_objects(w))
        return;
    w->status = 1;
    diag_error(w->diags, (struct loc){0}, "%s", w->message ? w->message : "out of memory");
}

int model_write(struct module *m, const struct compile_options *options, enum link_kind kind,
                const struct driver_buffer *program, const char *path, struct diags *diags)
{
    struct compile_options o = *options;
    o.model_form = kind == LINK_RELOCATABLE ? MODEL_OBJECT : MODEL_FOUND;
    struct writing w = {.m = m, .options = &o, .kind = kind, .program = program, .path = path, .diags = diags};
    bool done = arena_attempt(write_model, &w);
    model_objects_destroy(w.objects);
    free(w.list);
    free(w.symbol);
    free(w.message);
    if (!done)
        arena_unwind();
    return w.status;
}
