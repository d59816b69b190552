// The public API: contexts and their messages.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/api.h"
#include "codegen/compile.h"
#include "codegen/thread.h"
#include "passes/schedule.h"

static struct api_message *find_message(const tg_context *ctx)
{
    for (struct api_message *m = ctx->messages; m; m = m->next)
        if (pthread_equal(m->thread, pthread_self()))
            return m;
    return NULL;
}

static int note(tg_context *ctx, char *text)
{
    pthread_mutex_lock(&ctx->mutex);
    struct api_message *m = find_message(ctx);
    if (!m && (m = calloc(1, sizeof *m))) {
        m->thread = pthread_self();
        m->next = ctx->messages;
        ctx->messages = m;
    }
    if (m) {
        free(m->text);
        m->text = text;
    } else {
        free(text);
        ctx->lost = true;
    }
    pthread_mutex_unlock(&ctx->mutex);
    return 1;
}

int api_fail(tg_context *ctx, const char *format, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, format);
    if (vasprintf(&text, format, args) < 0)
        text = NULL;
    va_end(args);
    return note(ctx, text);
}

int api_out_of_memory(tg_context *ctx)
{
    return note(ctx, NULL);
}

struct attempt {
    api_body *body;
    void *work;
    struct diags *diags;
    int status;
    const char *text; // of the diagnostics, where it failed; NULL or empty: out of memory
};

static void *attempt(void *argument)
{
    struct attempt *a = argument;
    struct arena_recovery here;
    diag_init(a->diags);
    a->status = 1;
    if (setjmp(here.jump))
        return NULL;
    arena_set_recovery(&here);
    a->status = a->body(a->work, a->diags);
    a->text = a->status ? diag_string(a->diags) : NULL;
    return NULL;
}

static int note_failure(tg_context *ctx, const struct attempt *a)
{
    size_t n = a->text ? strlen(a->text) : 0;
    return n ? api_fail(ctx, "%.*s", (int)(n - 1), a->text) : api_out_of_memory(ctx); // the last line's end goes
}

int api_attempt(tg_context *ctx, api_body *body, void *work)
{
    struct diags diags;
    struct attempt a = {.body = body, .work = work, .diags = &diags};
    pthread_t thread;
    int status = thread_start(&thread, attempt, &a);
    if (status)
        return api_fail(ctx, "there is no thread to compile on: %s", strerror(status));
    pthread_join(thread, NULL);
    status = a.status ? note_failure(ctx, &a) : 0;
    diag_finish(&diags);
    return status;
}

int api_target(const char *name, struct target_desc *target, struct diags *diags)
{
    if (compile_target(name ? name : "native", target, diags))
        return 1;
    if (target_runs_here(target))
        return 0;
    diag_error(diags, (struct loc){0}, "this machine cannot run code for %s", target->name);
    return 1;
}

int api_schedule(const char *text, struct pipeline_options *options, struct diags *diags)
{
    if (text)
        options->schedules = schedules_read(&diags->arena, text, strlen(text), "schedule", diags);
    return text && !options->schedules;
}

int tg_context_create(int n_threads, tg_context **out)
{
    tg_context *ctx = calloc(1, sizeof *ctx);
    if (!ctx || tg_pool_create(n_threads, &ctx->pool)) {
        free(ctx);
        return 1;
    }
    pthread_mutex_init(&ctx->mutex, NULL);
    *out = ctx;
    return 0;
}

void tg_context_destroy(tg_context *ctx)
{
    if (!ctx)
        return;
    tg_pool_destroy(ctx->pool);
    for (struct api_message *m = ctx->messages, *next; m; m = next) {
        next = m->next;
        free(m->text);
        free(m);
    }
    pthread_mutex_destroy(&ctx->mutex);
    free(ctx);
}

const char *tg_last_error(tg_context *ctx)
{
    pthread_mutex_lock(&ctx->mutex);
    const struct api_message *m = find_message(ctx);
    const char *text = m && m->text ? m->text : m || ctx->lost ? "out of memory" : "";
    pthread_mutex_unlock(&ctx->mutex);
    return text;
}

tg_pool *tg_context_pool(tg_context *ctx)
{
    return ctx->pool;
}
