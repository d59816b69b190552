#include "ir/arena.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALIGNMENT 16
#define FIRST_CHUNK ((size_t)16 << 10)
#define LARGEST_CHUNK ((size_t)1 << 20)

struct arena_chunk {
    struct arena_chunk *next;
    size_t padding; // keeps the payload aligned
};

static _Thread_local struct arena_recovery *recovery;
static _Thread_local struct arena_hold *holds; // newest first

void arena_set_recovery(struct arena_recovery *r)
{
    recovery = r;
}

struct arena_recovery *arena_get_recovery(void)
{
    return recovery;
}

_Noreturn void arena_unwind(void)
{
    if (recovery) {
        while (holds && holds->recovery == recovery) {
            struct arena_hold *h = holds;
            holds = h->outer;
            h->release(h->data);
        }
        longjmp(recovery->jump, 1);
    }
    fputs("tegula: out of memory\n", stderr);
    exit(1);
}

void arena_hold(struct arena_hold *h, void (*release)(void *data), void *data)
{
    *h = (struct arena_hold){release, data, holds, recovery};
    holds = h;
}

void arena_let_go(struct arena_hold *h)
{
    holds = h->outer;
}

bool arena_attempt(void (*body)(void *), void *data)
{
    struct arena_recovery inner, *const outer = recovery;
    volatile bool done = false;
    if (!setjmp(inner.jump)) {
        if (outer)
            recovery = &inner;
        body(data);
        done = true;
    }
    recovery = outer;
    return done;
}

void arena_init(struct arena *a)
{
    *a = (struct arena){0};
}

void arena_finish(struct arena *a)
{
    for (struct arena_chunk *c = a->chunks, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    *a = (struct arena){0};
}

void *arena_alloc(struct arena *a, size_t bytes)
{
    if (bytes > SIZE_MAX / 2)
        arena_unwind();
    bytes = (bytes + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    if (bytes > a->size - a->used || !a->chunks) {
        size_t size = a->size ? a->size * 2 : FIRST_CHUNK;
        if (size > LARGEST_CHUNK)
            size = LARGEST_CHUNK;
        if (size < bytes)
            size = bytes;
        struct arena_chunk *c = calloc(1, sizeof *c + size);
        if (!c)
            arena_unwind();
        c->next = a->chunks;
        a->chunks = c;
        a->size = size;
        a->used = 0;
    }
    void *p = (char *)(a->chunks + 1) + a->used;
    a->used += bytes;
    return p;
}

void *arena_copy(struct arena *a, const void *data, size_t bytes)
{
    void *p = arena_alloc(a, bytes);
    if (bytes)
        memcpy(p, data, bytes);
    return p;
}

char *arena_strndup(struct arena *a, const char *s, size_t n)
{
    char *p = arena_alloc(a, n + 1);
    memcpy(p, s, n);
    return p;
}

char *arena_strdup(struct arena *a, const char *s)
{
    return arena_strndup(a, s, strlen(s));
}

char *arena_vprintf(struct arena *a, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    char *p = arena_alloc(a, (size_t)(n < 0 ? 0 : n) + 1);
    if (n > 0)
        vsnprintf(p, (size_t)n + 1, format, again);
    va_end(again);
    return p;
}

char *arena_printf(struct arena *a, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *p = arena_vprintf(a, format, args);
    va_end(args);
    return p;
}
