#include "runtime/loader.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/isa.h"

// Appends to the message as far as there is room.
__attribute__((format(printf, 2, 3))) static void say(char message[LOADER_MESSAGE_BYTES], const char *format, ...)
{
    size_t used = strlen(message);
    va_list args;
    va_start(args, format);
    vsnprintf(message + used, LOADER_MESSAGE_BYTES - used, format, args);
    va_end(args);
}

// ---- Targets ---------------------------------------------------------------------------------------------------

static void say_lacking(char *message, const struct loader_target *t, uint64_t have)
{
    const char *before = "";
    for (int bit = 0; bit < ISA_COUNT; bit++)
        if (t->isa & ~have & UINT64_C(1) << bit) {
            say(message, "%s%s", before, isa_name(bit));
            before = ", ";
        }
}

static void say_targets(char *message, const struct loader *l)
{
    for (int64_t i = 0; i < l->n_targets; i++)
        say(message, "%s%s", i ? ", " : "", l->targets[i].name);
}

static const struct loader_target *choose_forced(const struct loader *l, uint64_t have, const char *forced,
                                                 char *message)
{
    for (int64_t i = 0; i < l->n_targets; i++) {
        const struct loader_target *t = &l->targets[i];
        if (strcmp(t->name, forced))
            continue;
        if (!(t->isa & ~have))
            return t;
        say(message, "TEGULA_TARGET asks for %s, which this machine cannot run; it lacks ", forced);
        say_lacking(message, t, have);
        return NULL;
    }
    say(message, "TEGULA_TARGET asks for '%s', and the model was compiled for ", forced);
    say_targets(message, l);
    return NULL;
}

const struct loader_target *loader_choose(const struct loader *l, uint64_t have, const char *forced,
                                          char message[LOADER_MESSAGE_BYTES])
{
    message[0] = 0;
    if (forced)
        return choose_forced(l, have, forced, message);
    for (int64_t i = l->n_targets; i-- > 0;)
        if (!(l->targets[i].isa & ~have))
            return &l->targets[i];
    say(message, "the model was compiled for ");
    say_targets(message, l);
    say(message, "%s, which this machine cannot run; for %s it lacks ", l->n_targets > 1 ? "" : " alone",
        l->targets[0].name);
    say_lacking(message, &l->targets[0], have);
    return NULL;
}

// ---- Loading ---------------------------------------------------------------------------------------------------

static int32_t fail(const tg_env *env, const char *message)
{
    if (env && env->error)
        env->error(env, message);
    return 1;
}

int32_t loader_load(struct loader *l, const tg_env *env, const char *weights, int32_t *target)
{
    const struct loader_target *t = atomic_load_explicit(&l->chosen, memory_order_acquire);
    if (!t) {
        char message[LOADER_MESSAGE_BYTES];
        const char *forced = getenv("TEGULA_TARGET");
        t = loader_choose(l, isa_here(), forced && *forced ? forced : NULL, message);
        if (!t)
            return fail(env, message);
        if (weights)
            return fail(env, "the model has its weights inside and takes no file of them");
        atomic_store_explicit(&l->chosen, t, memory_order_release);
    }
    if (target)
        *target = (int32_t)(t - l->targets);
    return 0;
}
