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

// A function of a model is imported for each of its calls, with the same faults each time.
static bool is_told(const struct diags *d, struct loc loc, const char *text)
{
    for (const struct diag *g = d->first; g; g = g->next)
        if (loc_same_node(&g->loc, &loc) && !strcmp(g->text, text))
            return true;
    return false;
}

static void append(struct diags *d, enum diag_severity severity, struct loc loc, const char *format, va_list args)
{
    const char *text = arena_vprintf(&d->arena, format, args);
    if (severity == DIAG_ERROR)
        d->n_errors++;
    if (is_told(d, loc, text))
        return;
    if (severity == DIAG_ERROR)
        d->n_told++;
    if (d->n_told > MOST_KEPT)
        return;
    struct diag *g = ARENA_NEW(&d->arena, struct diag);
    g->severity = severity;
    // The diagnostic may outlive the module that the location's strings belong to.
    g->loc = (struct loc){.file = loc.file ? arena_strdup(&d->arena, loc.file) : NULL,
                          .node = loc.node ? arena_strdup(&d->arena, loc.node) : NULL,
                          .line = loc.line};
    g->text = text;
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

void diag_warning(struct diags *d, struct loc loc, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    append(d, DIAG_WARNING, loc, format, args);
    va_end(args);
}

void diag_note(struct diags *d, struct loc loc, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    append(d, DIAG_NOTE, loc, format, args);
    va_end(args);
}

// The colours of clang.
static const struct {
    const char *word, *color;
} severities[] = {
    [DIAG_ERROR] = {"error", "\033[1;31m"},
    [DIAG_WARNING] = {"warning", "\033[1;35m"},
    [DIAG_NOTE] = {"note", "\033[1;36m"},
};

static const char *line(struct arena *a, const struct diag *g, bool color)
{
    char place[32] = "";
    if (g->loc.line > 0)
        snprintf(place, sizeof place, ":%d", g->loc.line);
    const char *node = g->loc.node ? arena_printf(a, " node '%s':", g->loc.node) : "";
    return arena_printf(a, "%s%s:%s %s%s:%s %s", g->loc.file ? g->loc.file : "tegula", place, node,
                        color ? severities[g->severity].color : "", severities[g->severity].word,
                        color ? "\033[0m" : "", g->text);
}

// What stands for the errors that were not kept.
static struct diag more_errors(struct arena *a, const struct diags *d)
{
    return (struct diag){.severity = DIAG_NOTE, .text = arena_printf(a, "%d more errors", d->n_told - MOST_KEPT)};
}

const char *diag_string(struct diags *d)
{
    char *all = arena_strdup(&d->arena, "");
    for (struct diag *g = d->first; g; g = g->next)
        all = arena_printf(&d->arena, "%s%s\n", all, line(&d->arena, g, false));
    if (d->n_told > MOST_KEPT) {
        struct diag more = more_errors(&d->arena, d);
        all = arena_printf(&d->arena, "%s%s\n", all, line(&d->arena, &more, false));
    }
    return all;
}

void diag_print(const struct diags *d, FILE *out, bool color)
{
    struct arena scratch;
    arena_init(&scratch);
    for (struct diag *g = d->first; g; g = g->next)
        fprintf(out, "%s\n", line(&scratch, g, color));
    if (d->n_told > MOST_KEPT) {
        struct diag more = more_errors(&scratch, d);
        fprintf(out, "%s\n", line(&scratch, &more, color));
    }
    arena_finish(&scratch);
}
