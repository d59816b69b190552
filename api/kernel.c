// The public API: kernels compiled in memory.
#include "api/api.h"

#include <stdlib.h>

#include "codegen/compile.h"
#include "ir/bytes.h"

// ---- Compiling -------------------------------------------------------------------------------------------------

// What a call has made so far, to be released where it ends.
struct compilation {
    const char *source, *name;
    size_t length;
    const tg_kernel_options *options;
    struct diags *diags;
    struct module *m;
    struct driver_buffer object;
    tg_kernel_handle *k;
    char *message; // of the code generator, to be freed
};

static void find_written(const struct block *b, const struct function *kernel, struct api_param *params)
{
    for (const struct op *op = b->first; op; op = op->next) {
        const struct value *root = op_info[op->code].effect == EFFECT_WRITE ? view_root(op->operands[1]) : NULL;
        for (int i = 0; i < kernel->n_params; i++)
            params[i].written |= root == kernel->params[i];
        for (int i = 0; i < op->n_blocks; i++)
            find_written(op->blocks[i], kernel, params);
    }
}

// Copies what a launch must know of the kernel's interface.
static void describe(tg_kernel_handle *k, const struct function *kernel)
{
    struct arena *a = &k->arena;
    k->n_params = kernel->n_params;
    k->params = ARENA_ARRAY(a, struct api_param, kernel->n_params);
    for (int i = 0; i < kernel->n_params; i++)
        k->params[i] =
            (struct api_param){.name = arena_strdup(a, kernel->params[i]->name), .type = *kernel->params[i]->type};
    find_written(kernel->body, kernel, k->params);
    k->n_symbols = kernel->n_symbols;
    k->symbols = ARENA_ARRAY(a, const char *, kernel->n_symbols);
    k->slots = ARENA_ARRAY(a, int, kernel->n_symbols);
    int slot = kernel->n_params;
    for (int i = 0; i < kernel->n_symbols; i++) {
        k->symbols[i] = arena_strdup(a, kernel->module->symbols[i]);
        k->slots[i] = kernel->symbols[i] ? slot++ : -1;
    }
}

static struct function *choose_kernel(struct compilation *w)
{
    const char *name = w->options->kernel;
    struct function *k = name ? module_function(w->m, name) : w->m->first_function;
    struct loc loc = {.file = w->m->first_function->loc.file};
    if (!k)
        diag_error(w->diags, loc, "there is no kernel @%s in this text", name);
    else if (!name && k->next)
        diag_error(w->diags, loc, "there are several kernels in this text; choose one in the options");
    return w->diags->n_errors ? NULL : k;
}

static int load_code(struct compilation *w, const struct function *kernel)
{
    void *address;
    const char *symbol = arena_printf(&w->diags->arena, "%s__kernel", kernel->name);
    if (jit_create(&w->k->jit, &w->message) || jit_add_object(w->k->jit, &w->object, &w->message) ||
        jit_lookup(w->k->jit, symbol, &address, &w->message)) {
        diag_error(w->diags, kernel->loc, "%s", w->message ? w->message : "out of memory");
        return 1;
    }
    w->k->code = address;
    return 0;
}

static int compile(void *work, struct diags *diags)
{
    struct compilation *w = work;
    w->diags = diags;
    struct compile_options options = {.opt_level = w->options->opt_level};
    if (api_target(w->options->target, &options.target, diags) ||
        api_schedule(w->options->schedule, &options.pipeline, diags))
        return 1;
    struct define *defines = ARENA_ARRAY(&w->diags->arena, struct define, w->options->n_defines);
    for (size_t i = 0; i < w->options->n_defines; i++)
        defines[i] = (struct define){w->options->defines[i].name, w->options->defines[i].value};
    w->m = compile_read(w->source, w->length, w->name, (int)w->options->n_defines, defines, w->diags);
    struct function *kernel = w->m ? choose_kernel(w) : NULL;
    if (!kernel)
        return 1;
    // Before the passes: what the text says is written to.
    describe(w->k, kernel);
    if (compile_module(w->m, &options, COMPILE_OBJECT, &w->object, w->diags) || load_code(w, kernel))
        return 1;
    if (w->k->code->n_args <= API_MOST_ARGS)
        return 0;
    diag_error(w->diags, kernel->loc, "@%s has more than %d arguments", kernel->name, API_MOST_ARGS);
    return 1;
}

int tg_kernel_compile(tg_context *ctx, const char *source, size_t length, const char *name,
                      const tg_kernel_options *options, tg_kernel_handle **out)
{
    static const tg_kernel_options usual = TG_KERNEL_OPTIONS_INIT;
    if (!options)
        options = &usual;
    if (options->size != sizeof *options)
        return api_fail(ctx, "the options are not of this version of the library; start from TG_KERNEL_OPTIONS_INIT");
    if (options->opt_level < 0 || options->opt_level > 3)
        return api_fail(ctx, "opt_level is %d; it is 0 to 3", options->opt_level);
    if (options->n_defines > API_MOST_WORDS)
        return api_fail(ctx, "more than %d definitions", API_MOST_WORDS);
    if (options->n_defines && !options->defines)
        return api_fail(ctx, "n_defines is %zu and defines is NULL", options->n_defines);
    for (size_t i = 0; i < options->n_defines; i++)
        if (!options->defines[i].name || !options->defines[i].value)
            return api_fail(ctx, "definition %zu has no %s", i, options->defines[i].name ? "value" : "name");
    if (!name || (!source && length))
        return api_fail(ctx, "the text has no %s", name ? "bytes" : "name; it stands for the text in messages");
    struct compilation w = {.source = source, .length = length, .name = name, .options = options};
    w.k = calloc(1, sizeof *w.k);
    if (!w.k)
        return api_out_of_memory(ctx);
    w.k->ctx = ctx;
    arena_init(&w.k->arena);
    int status = api_attempt(ctx, compile, &w);
    if (!status)
        *out = w.k;
    else
        tg_kernel_destroy(w.k);
    module_destroy(w.m);
    driver_buffer_finish(&w.object);
    free(w.message);
    return status;
}

struct opening {
    const char *path;
    struct file_bytes text;
};

static int open_text(void *opening, struct diags *diags)
{
    struct opening *w = opening;
    return bytes_open(w->path, &w->text, diags);
}

int tg_kernel_load_file(tg_context *ctx, const char *path, const tg_kernel_options *options, tg_kernel_handle **out)
{
    struct opening w = {path, {0}};
    if (api_attempt(ctx, open_text, &w))
        return 1;
    int status = tg_kernel_compile(ctx, w.text.data, w.text.size, path, options, out);
    bytes_close(&w.text);
    return status;
}

void tg_kernel_destroy(tg_kernel_handle *k)
{
    if (!k)
        return;
    jit_destroy(k->jit);
    arena_finish(&k->arena);
    free(k);
}

const tg_kernel *tg_kernel_code(const tg_kernel_handle *k)
{
    return k->code;
}

// ---- Running ---------------------------------------------------------------------------------------------------

int tg_kernel_run(tg_kernel_handle *k, const tg_arg *args, int n_args)
{
    if (n_args != k->code->n_args)
        return api_fail(k->ctx, "@%s takes %lld arguments, not %d", k->code->name, (long long)k->code->n_args, n_args);
    const tg_env *env = tg_pool_env(k->ctx->pool);
    if (env->parallel_for(env, k->code->grid(args), k->code->range, args, k->code->scratch(args)))
        return api_out_of_memory(k->ctx);
    return 0;
}
