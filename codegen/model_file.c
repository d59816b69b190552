#include "codegen/model_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/elf.h"
#include "codegen/error.h"
#include "codegen/launches.h"
#include "codegen/model_objects.h"
#include "codegen/weights.h"

// runtime/loader.c and what it needs as an object, made by tools/embed.py.
extern const unsigned char tegula_loader[];
extern const size_t tegula_loader_size;

// What writing a file holds until it is done.
struct writing {
    const struct model_job *job;
    struct diags *diags;
    struct arena arena;
    struct module *module; // of the target that is being made
    const char *name;      // of the model
    struct model_objects **targets;
    struct lowered_target *lowered;
    struct driver *driver; // of `entrance`
    struct driver_buffer entrance, loader;
    struct weights weights;           // of all targets
    struct weights_file weights_file; // to appear beside the code, or an object that becomes part of it
    uint64_t identity;                // of the weights, beside
    char *message;
    int status;
};

// ---- Objects ---------------------------------------------------------------------------------------------------

static int begin_weights(struct writing *w)
{
    const char *beside = w->job->weights_path;
    return weights_begin(&w->weights_file, beside ? beside : w->job->path,
                         beside ? WEIGHTS_FILE_START : ELF_WEIGHTS_START, &w->message);
}

// One after the other, for the constants and the IR of a target, and the code that is being made of it, take memory.
static int make_target(struct writing *w, int i)
{
    struct compile_options options = w->job->options[i];
    options.model_form = w->job->weights_path ? MODEL_BESIDE_WEIGHTS : MODEL_IN_FILE;
    module_destroy(w->module);
    w->module = NULL;
    struct module *m = w->module = w->job->module(w->job->user, i, w->diags);
    struct model_objects *made = m ? model_objects_create(m, &options, &w->weights, w->diags) : NULL;
    w->targets[i] = made;
    if (!made || weights_add(&w->weights_file, &w->weights, &w->message))
        return 1;
    module_free_constants(m);
    w->name = arena_strdup(&w->arena, made->name);
    w->lowered[i] = (struct lowered_target){arena_strdup(&w->arena, made->host->name), &w->job->options[i].target,
                                            launches_write(made->host, &w->arena)};
    return model_objects_wait(made, w->diags);
}

static int make_targets(struct writing *w)
{
    w->targets = ARENA_ARRAY(&w->arena, struct model_objects *, w->job->n_targets);
    w->lowered = ARENA_ARRAY(&w->arena, struct lowered_target, w->job->n_targets);
    for (int i = 0; i < w->job->n_targets; i++)
        if (make_target(w, i))
            return 1;
    return 0;
}

static int end_weights(struct writing *w)
{
    if (w->job->weights_path)
        return weights_end_file(&w->weights_file, &w->weights, &w->identity, &w->message);
    return elf_end_weights(&w->weights_file, arena_printf(&w->arena, "%s__weights", w->name), &w->weights, &w->message);
}

// What leads to the code for the targets. Their interfaces are the same: the last one's host function stands for all.
static int make_entrance(struct writing *w)
{
    int n = w->job->n_targets;
    struct function *host = w->targets[n - 1]->host;
    host->name = w->name;
    struct loader_facts facts = {.n_targets = n, .targets = w->lowered, .found = w->job->kind != LINK_RELOCATABLE};
    if (w->job->weights_path) {
        const char *slash = strrchr(w->job->weights_path, '/');
        facts.weights_file = slash ? slash + 1 : w->job->weights_path;
        facts.weights_bytes = weights_file_bytes(&w->weights);
        facts.weights_identity = w->identity;
    }
    struct target_desc any;
    target_any(&any);
    if (driver_create(&any, 0, &w->driver, &w->message))
        return 1;
    LLVMModuleRef module = driver_new_module(w->driver, host->name, &w->message);
    return !module || lower_loader(host, &facts, &any, driver_context(w->driver), module, w->diags) ||
           driver_verify(w->driver, module, &w->message) ||
           driver_emit(w->driver, module, DRIVER_OBJECT, &w->entrance, &w->message);
}

static int make_loader(struct writing *w)
{
    const struct driver_buffer loader = {(char *)tegula_loader, tegula_loader_size}; // is only read
    return elf_prefix_symbols(&loader, arena_printf(&w->arena, "%s__", w->name), &w->loader, &w->message);
}

// ---- The file --------------------------------------------------------------------------------------------------

// The objects are not the list's own.
static struct driver_buffer *list_objects(struct writing *w, size_t *n)
{
    size_t most = 3; // besides the targets'
    for (int i = 0; i < w->job->n_targets; i++)
        most += (size_t)model_objects_count(w->targets[i]);
    struct driver_buffer *list = ARENA_ARRAY(&w->arena, struct driver_buffer, most);
    list[0] = w->entrance;
    list[1] = w->loader;
    *n = 2;
    for (int i = 0; i < w->job->n_targets; i++)
        for (int j = 0; j < model_objects_count(w->targets[i]); j++)
            list[(*n)++] = *model_objects_get(w->targets[i], j);
    if (w->job->program)
        list[(*n)++] = *w->job->program;
    return list;
}

static int link_objects(struct writing *w)
{
    size_t n, n_words = 0;
    const struct driver_buffer *list = list_objects(w, &n);
    const char *words[3], *weights = w->weights_file.pending.temporary;
    if (w->weights.n && !w->job->weights_path) // "./": a name must not look like an option
        words[n_words++] = arena_printf(&w->arena, "%s%s", *weights == '/' ? "" : "./", weights);
    if (w->job->program) {
        words[n_words++] = "-pthread";
        words[n_words++] = "-lm";
    }
    const struct link_job job = {.kind = w->job->kind,
                                 .output = w->job->path,
                                 .objects = list,
                                 .n_objects = n,
                                 .arguments = words,
                                 .n_arguments = n_words};
    return link_run(&job, &w->message);
}

// The one file appears when the other has.
static int commit_weights(struct writing *w)
{
    return w->job->weights_path && file_commit(&w->weights_file.pending, &w->message);
}

static void write_model(void *writing)
{
    struct writing *w = writing;
    int errors = w->diags->n_errors;
    w->status = begin_weights(w) || make_targets(w) || end_weights(w) || make_entrance(w) || make_loader(w) ||
                link_objects(w) || commit_weights(w);
    if (w->status && w->diags->n_errors == errors)
        diag_error(w->diags, (struct loc){0}, "%s", w->message ? w->message : "out of memory");
}

int model_write(const struct model_job *job, struct diags *diags)
{
    struct writing w = {.job = job, .diags = diags, .status = 1};
    arena_init(&w.arena);
    w.weights.placed.arena = &w.arena;
    bool done = arena_attempt(write_model, &w);
    for (int i = 0; w.targets && i < job->n_targets; i++)
        model_objects_destroy(w.targets[i]);
    module_destroy(w.module);
    driver_destroy(w.driver);
    driver_buffer_finish(&w.entrance);
    driver_buffer_finish(&w.loader);
    weights_discard(&w.weights_file);
    free(w.message);
    arena_finish(&w.arena);
    if (!done)
        arena_unwind();
    return w.status;
}
