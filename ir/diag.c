#include "ir/diag.h"

#include <stdarg.h>
#include <string.h>

#define MOST_KEPT 100

static bool same(const char *a, const char *b)
{
    return a == b || (a && b && !strcmp(a, b));
}

bool loc_same_node(const struct loc *x, const struct loc *y)
{
    return same(x->node, y->node) && x->line == y->line && same(x->file, y->file);
}

void diag_init(struct diags *d)
{
    *d = (struct diags){0};
    arena_init(&d->arena);
}

void diag_finish(struct diags *d)
{
    arena_finish(&d->arena);
    *d = (struct diags){0};
}

static void append(struct diags *d, enum diag_severity severity, struct loc loc, const char *format, va_list args)
{
    if (severity == DIAG_ERROR)
        d->n_errors++;
    if (d->n_errors > MOST_KEPT)
        return;
    struct diag *g = ARENA_NEW(&d->arena, struct diag);
    g->severity = severity;
    // The diagnostic may outlive the module that the location's strings belong to.
    g->loc = (struct loc){.file = loc.file ? arena_strdup(&d->arena, loc.file) : NULL,
                          .node = loc.node ? arena_strdup(&d->arena, loc.node) : NULL,
                          .line = loc.line};
    g->text = arena_vprintf(&d->arena, format, args);
    if (d->last)
        d->last->next = g;
    else
        d->first = g;
    d->last = g;
}

void diag_error(struct diags *d, struct loc loc, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    append(d, DIAG_ERROR, loc, format, args);
    va_end(args);
}

void diag_note(struct diags *d, struct loc loc, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    append(d, DIAG_NOTE, loc, format, args);
    va_end(args);
}

static const char *line(struct arena *a, const struct diag *g)
{
    static const char *const words[] = {"error", "warning", "note"};
    char place[32] = "";
    if (g->loc.line > 0)
        snprintf(place, sizeof place, ":%d", g->loc.line);
    const char *node = g->loc.node ? arena_printf(a, " node '%s':", g->loc.node) : "";
    return arena_printf(a, "%s%s:%s %s: %s", g->loc.file ? g->loc.file : "tegula", place, node, words[g->severity],
                        g->text);
}

const char *diag_string(struct diags *d)
{
    char *all = arena_strdup(&d->arena, "");
    for (struct diag *g = d->first; g; g = g->next)
        all = arena_printf(&d->arena, "%s%s\n", all, line(&d->arena, g));
    if (d->n_errors > MOST_KEPT)
        all = arena_printf(&d->arena, "%stegula: note: %d more errors\n", all, d->n_errors - MOST_KEPT);
    return all;
}

void diag_print(const struct diags *d, FILE *out)
{
    struct arena scratch;
    arena_init(&scratch);
    for (struct diag *g = d->first; g; g = g->next)
        fprintf(out, "%s\n", line(&scratch, g));
    if (d->n_errors > MOST_KEPT)
        fprintf(out, "tegula: note: %d more errors\n", d->n_errors - MOST_KEPT);
    arena_finish(&scratch);
}
