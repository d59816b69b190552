#include "codegen/compile.h"

#include <stdlib.h>
#include <string.h>

#include "codegen/nvptx.h"

static struct loc module_loc(const struct module *m)
{
    return (struct loc){.file = m->first_function ? m->first_function->loc.file : NULL};
}

// Takes over an error message of the driver.
static int report(struct diags *diags, struct loc loc, char *message)
{
    diag_error(diags, loc, "%s", message ? message : "out of memory");
    free(message);
    return 1;
}

int compile_target(const char *name, struct target_desc *target, struct diags *diags)
{
    char full[80];
    if (name[0] == 'v' && name[1] >= '2' && name[1] <= '4' && !strcspn(name + 2, "+")) {
        snprintf(full, sizeof full, "x86-64-%.64s", name);
        name = full;
    }
    char *message = NULL;
    if (target_parse(name, target, &message))
        return report(diags, (struct loc){0}, message);
    return 0;
}

struct module *compile_read(const char *text, size_t length, const char *file, int n_defines,
                            const struct define *defines, struct diags *diags)
{
    struct module *m = parse_module(text, length, file, n_defines, defines, diags);
    struct arena_hold hold;
    module_hold(&hold, m);
    bool sound = m && verify_module(m, diags);
    arena_let_go(&hold);
    if (sound)
        return m;
    module_destroy(m);
    return NULL;
}

static int text_output(const struct module *m, struct driver_buffer *out, struct diags *diags)
{
    struct arena scratch;
    arena_init(&scratch);
    char *text;
    print_module(&scratch, m, &text);
    size_t size = strlen(text);
    char *data = malloc(size + 1);
    if (data)
        memcpy(data, text, size + 1);
    arena_finish(&scratch);
    if (!data)
        return report(diags, module_loc(m), NULL);
    *out = (struct driver_buffer){data, size};
    return 0;
}

int compile_function(struct function *f, const struct compile_options *options, enum compile_callers callers,
                     struct driver *d, LLVMModuleRef module, struct weights *weights, struct diags *diags)
{
    const struct target_desc *target = &options->target;
    if (f->kind == FUNCTION_GRAPH) {
        diag_error(diags, f->loc, "@%s is a graph, which has not been lowered to kernels", f->name);
        return 1;
    }
    const struct model_linkage linkage = {options->model_form, options->model_name, weights};
    if (target->kind != TARGET_KIND_NVPTX)
        return f->kind == FUNCTION_HOST
                   ? lower_host(f, target, driver_context(d), module, &linkage, diags)
                   : lower_kernel(f, callers == COMPILE_FOR_HOST, target, driver_context(d), module, diags);
    if (f->kind == FUNCTION_KERNEL)
        return lower_nvptx(f, target, driver_context(d), module, false, diags);
    diag_error(diags, f->loc, "host function @%s cannot be compiled for a GPU", f->name);
    return 1;
}

static int lower_all(struct module *m, const struct compile_options *options, struct driver *d, LLVMModuleRef module,
                     struct diags *diags)
{
    int failed = 0;
    for (int others = 0; others < 2; others++) // kernels first: host functions ask for their arguments
        for (struct function *f = m->first_function; f; f = f->next)
            if ((f->kind != FUNCTION_KERNEL) == others)
                failed |= compile_function(f, options, COMPILE_FOR_ALL, d, module, NULL, diags);
    return failed;
}

static int lower_and_emit(struct module *m, const struct compile_options *options, enum compile_output kind,
                          struct driver *d, struct driver_buffer *out, struct diags *diags)
{
    char *message = NULL;
    struct loc loc = module_loc(m);
    LLVMModuleRef module = driver_new_module(d, m->first_function ? m->first_function->name : "empty", &message);
    if (!module)
        return report(diags, loc, message);
    if (lower_all(m, options, d, module, diags))
        return 1;
    static const enum driver_output outputs[] = {
        [COMPILE_LLVM] = DRIVER_LLVM_IR, [COMPILE_ASSEMBLY] = DRIVER_ASSEMBLY, [COMPILE_OBJECT] = DRIVER_OBJECT};
    if (driver_verify(d, module, &message) || driver_optimize(d, module, NULL, &message) ||
        driver_emit(d, module, outputs[kind], out, &message))
        return report(diags, loc, message);
    return 0;
}

struct lowering {
    struct module *m;
    const struct compile_options *options;
    enum compile_output kind;
    struct driver *driver;
    struct driver_buffer *out;
    struct diags *diags;
    int status;
};

static void lower_under_driver(void *lowering)
{
    struct lowering *w = lowering;
    w->status = lower_and_emit(w->m, w->options, w->kind, w->driver, w->out, w->diags);
}

int compile_lower(struct module *m, const struct compile_options *options, enum compile_output kind,
                  struct driver_buffer *out, struct diags *diags)
{
    if (kind <= COMPILE_SHAPED)
        return text_output(m, out, diags);
    struct lowering w = {m, options, kind, NULL, out, diags, 1};
    char *message = NULL;
    if (driver_create(&options->target, options->opt_level, &w.driver, &message))
        return report(diags, module_loc(m), message);
    bool done = arena_attempt(lower_under_driver, &w);
    driver_destroy(w.driver);
    if (!done)
        arena_unwind();
    return w.status;
}

int compile_module(struct module *m, const struct compile_options *options, enum compile_output kind,
                   struct driver_buffer *out, struct diags *diags)
{
    if (kind != COMPILE_TILE && pipeline_run(m, &options->target, &options->pipeline, diags))
        return 1;
    return compile_lower(m, options, kind, out, diags);
}

int graph_compile(struct module *m, const struct compile_options *options, struct diags *diags)
{
    struct pipeline_options pipeline = options->pipeline;
    if (!pipeline.passes)
        pipeline.passes = "graph,default";
    return pipeline_run(m, &options->target, &pipeline, diags);
}
