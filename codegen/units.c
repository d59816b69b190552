#include "codegen/units.h"

#include <llvm-c/Core.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "codegen/thread.h"
#include "runtime/cpus.h"

// A unit is closed when it has that many LLVM instructions: one costs 2 ms by itself, a thousand instructions 20 ms.
#define UNIT_INSTRUCTIONS 500

struct unit {
    struct driver *driver;
    LLVMModuleRef module;
    struct driver_buffer object;
    int status;
    char *message;
    const char *first; // of its functions
};

struct units {
    struct module *m;
    const struct compile_options *options;
    struct unit *list; // one for every function, which is enough
    int n_threads;     // besides the caller's
    pthread_t *threads;
    pthread_mutex_t mutex; // of what follows
    pthread_cond_t more;
    int n, next; // units that are lowered; the first of them that nobody has begun with
    bool closed; // no more will come
};

// ---- Work ------------------------------------------------------------------------------------------------------

static void make_object(const struct units *units, struct unit *u)
{
    char title[128];
    int64_t start = phase_now();
    u->status = driver_verify(u->driver, u->module, &u->message) ||
                driver_optimize(u->driver, u->module, NULL, &u->message) ||
                driver_emit(u->driver, u->module, DRIVER_OBJECT, &u->object, &u->message);
    driver_destroy(u->driver); // now, for it is large
    u->driver = NULL;
    snprintf(title, sizeof title, "code of %s ...", u->first);
    phase_end(units->options->pipeline.phases, title, start);
}

static void *work(void *units)
{
    struct units *u = units;
    pthread_mutex_lock(&u->mutex);
    for (;;) {
        while (u->next == u->n && !u->closed)
            pthread_cond_wait(&u->more, &u->mutex);
        if (u->next == u->n)
            break;
        struct unit *mine = &u->list[u->next++];
        pthread_mutex_unlock(&u->mutex);
        make_object(u, mine);
        pthread_mutex_lock(&u->mutex);
    }
    pthread_mutex_unlock(&u->mutex);
    return NULL;
}

// ---- Lowering --------------------------------------------------------------------------------------------------

static int begin_unit(struct units *u, const struct function *first, int opt_level, struct diags *diags)
{
    struct unit *unit = &u->list[u->n];
    unit->first = first->name;
    if (!driver_create(&u->options->target, opt_level, &unit->driver, &unit->message))
        unit->module = driver_new_module(unit->driver, u->m->first_function->name, &unit->message);
    if (!unit->module)
        diag_error(diags, u->m->first_function->loc, "%s", unit->message ? unit->message : "out of memory");
    return !unit->module;
}

static void end_unit(struct units *u)
{
    pthread_mutex_lock(&u->mutex);
    u->n++;
    pthread_cond_signal(&u->more);
    pthread_mutex_unlock(&u->mutex);
}

static bool is_full(LLVMModuleRef module)
{
    int n = 0;
    for (LLVMValueRef f = LLVMGetFirstFunction(module); f; f = LLVMGetNextFunction(f))
        for (LLVMBasicBlockRef b = LLVMGetFirstBasicBlock(f); b; b = LLVMGetNextBasicBlock(b))
            for (LLVMValueRef i = LLVMGetFirstInstruction(b); i; i = LLVMGetNextInstruction(i))
                if (++n == UNIT_INSTRUCTIONS)
                    return true;
    return false;
}

// Lowers the functions that are host functions, or those that are not.
static int lower_those(struct units *u, bool host, int opt_level, struct weights *weights, struct diags *diags)
{
    int failed = 0;
    bool open = false;
    for (struct function *f = u->m->first_function; f; f = f->next) {
        if ((f->kind != FUNCTION_KERNEL) != host)
            continue;
        if (!open && begin_unit(u, f, opt_level, diags))
            return 1;
        struct unit *unit = &u->list[u->n];
        failed |= compile_function(f, u->options, COMPILE_FOR_HOST, unit->driver, unit->module, weights, diags);
        open = !is_full(unit->module);
        if (!open && !failed)
            end_unit(u);
        if (failed && !open)
            break; // the unit is of no use, nor are others
    }
    if (open && !failed)
        end_unit(u);
    return failed;
}

int units_lower(struct units *u, struct weights *weights, struct diags *diags)
{
    // Kernels first: host functions ask for their arguments. A host function runs straight through, once a call: code
    // that is made fast is as good.
    return lower_those(u, false, u->options->opt_level, weights, diags) || lower_those(u, true, 0, weights, diags);
}

// ---- Life ------------------------------------------------------------------------------------------------------

struct units *units_create(struct module *m, const struct compile_options *options)
{
    int n_functions = 0, n_threads = options->n_threads > 0 ? options->n_threads : cpus_count();
    for (const struct function *f = m->first_function; f; f = f->next)
        n_functions++;
    n_threads = (n_threads < n_functions ? n_threads : n_functions) - 1;
    struct units *u = calloc(1, sizeof *u);
    struct unit *list = calloc((size_t)n_functions + 1, sizeof *list);
    pthread_t *threads = calloc((size_t)n_threads + 2, sizeof *threads);
    if (!u || !list || !threads) {
        free(u);
        free(list);
        free(threads);
        return NULL;
    }
    *u = (struct units){.m = m, .options = options, .list = list, .threads = threads};
    pthread_mutex_init(&u->mutex, NULL);
    pthread_cond_init(&u->more, NULL);
    while (u->n_threads < n_threads && !thread_start(&threads[u->n_threads], work, u))
        u->n_threads++;
    return u;
}

static void join(struct units *u)
{
    pthread_mutex_lock(&u->mutex);
    u->closed = true;
    pthread_cond_broadcast(&u->more);
    pthread_mutex_unlock(&u->mutex);
    work(u);
    for (int i = 0; i < u->n_threads; i++)
        pthread_join(u->threads[i], NULL);
    u->n_threads = 0;
}

int units_wait(struct units *u, struct diags *diags)
{
    join(u);
    for (int i = 0; i < u->n; i++)
        if (u->list[i].status) {
            const char *message = u->list[i].message;
            diag_error(diags, u->m->first_function->loc, "%s", message ? message : "out of memory");
            return 1;
        }
    return 0;
}

int units_count(const struct units *u)
{
    return u->n;
}

const struct driver_buffer *units_object(const struct units *u, int i)
{
    return &u->list[i].object;
}

void units_destroy(struct units *u)
{
    if (!u)
        return;
    pthread_mutex_lock(&u->mutex);
    int n = u->n;
    u->n = u->next; // nobody begins with the others
    pthread_mutex_unlock(&u->mutex);
    join(u);
    for (int i = 0; i <= n; i++) { // the last may be one that has not been lowered completely
        driver_destroy(u->list[i].driver);
        driver_buffer_finish(&u->list[i].object);
        free(u->list[i].message);
    }
    pthread_cond_destroy(&u->more);
    pthread_mutex_destroy(&u->mutex);
    free(u->threads);
    free(u->list);
    free(u);
}
