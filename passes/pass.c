#include "passes/pass.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "passes/rules.h"
#include "passes/schedule.h"

const struct pass_info pass_info[PASS_COUNT] = {
#define PASS(e, name, function, skip, doc) [PASS_##e] = {name, function, SKIP_##skip, doc},
#include "passes/passes.def"
#undef PASS
};

const char *const *pipeline_for(const struct target_desc *target)
{
    static const char *const x86[] = {"canonicalize", "widen",       "sever",        "shape",
                                      "canonicalize", "expand-math", "canonicalize", NULL};
    static const char *const nvptx[] = {"canonicalize", "widen",        "strip-mine",
                                        "canonicalize", "shape-gpu",    "canonicalize",
                                        "expand-math",  "canonicalize", NULL};
    return target->kind == TARGET_KIND_X86 ? x86 : nvptx;
}

// Constants and shapes first, then larger operations, then kernels.
const char *const graph_pipeline[] = {
    "fold-graph", "rewrite",      "fold-batch-norm", "fold-graph",  "rewrite",     "raise", "inline-composites",
    "rewrite",    "sink-reshape", "canonicalize",    "lower-graph", "plan-memory", NULL};

// What --bisect counts, as a search for the step that breaks something needs it: the same steps get the same numbers
// however many of them are done, up to the first that is not.
struct bisection {
    int64_t limit, n;
    const char *pass; // that runs
    FILE *log;
};

struct runner {
    struct module *m;
    const struct pipeline_options *options;
    struct pass_context context;
    struct bisection bisection;
    struct arena scratch, lasting; // of a pass, of all of them
    FILE *log;
    int times_run[PASS_COUNT];
    double seconds[PASS_COUNT];
    bool stopped;
};

static struct loc module_loc(const struct module *m)
{
    return (struct loc){.file = m->first_function ? m->first_function->loc.file : NULL};
}

// For people and for comparison: constants are never changed in place, so their elements are left out.
static const char *module_text(struct arena *a, const struct module *m)
{
    char *text;
    print_module_with(a, m, &(struct print_options){.elide_data = true}, &text);
    return text;
}

static void release(void *runner)
{
    struct runner *r = runner;
    arena_finish(&r->scratch);
    arena_finish(&r->lasting);
}

#ifndef NDEBUG
static void release_arena(void *arena)
{
    arena_finish(arena);
}
#endif

static void empty_scratch(struct runner *r)
{
    arena_finish(&r->scratch);
    arena_init(&r->scratch);
}

// Of `PASS` or `PASS:N`, with text at the end of the pass's name; false: that is no positive number.
static bool stop_ordinal(const char *text, int *nth)
{
    char *end = NULL;
    if (!*text)
        return true;
    long n = text[1] >= '0' && text[1] <= '9' ? strtol(text + 1, &end, 10) : 0;
    *nth = n > 0 && n < INT_MAX ? (int)n : 0;
    return *nth && !*end;
}

static bool is_word(const char *name, size_t n, const char *word)
{
    return n == strlen(word) && !memcmp(name, word, n);
}

// Why the passes did not stop where --stop-after says.
static void report_no_stop(const struct runner *r)
{
    const char *stop = r->options->stop_after;
    size_t n = strcspn(stop, ":");
    int nth, i = 0;
    while (i < PASS_COUNT && !is_word(stop, n, pass_info[i].name))
        i++;
    if (i < PASS_COUNT && !stop_ordinal(stop + n, &nth))
        diag_error(r->context.diags, (struct loc){0}, "--stop-after wants PASS or PASS:N, N from 1 on, not '%s'", stop);
    else if (i < PASS_COUNT && r->times_run[i])
        diag_error(r->context.diags, (struct loc){0}, "pass '%s', to stop after, ran only %d time%s, not %d",
                   pass_info[i].name, r->times_run[i], r->times_run[i] == 1 ? "" : "s", nth);
    else
        diag_error(r->context.diags, (struct loc){0}, "pass '%.*s', to stop after, is not among those that ran", (int)n,
                   stop);
}

// Whether --stop-after means the run of pass p that has just ended.
static bool stops_here(const struct runner *r, enum pass p)
{
    const char *stop = r->options->stop_after;
    if (!stop)
        return false;
    size_t n = strcspn(stop, ":");
    int nth = 1;
    stop_ordinal(stop + n, &nth);
    return strlen(pass_info[p].name) == n && !memcmp(stop, pass_info[p].name, n) && r->times_run[p] == nth;
}

bool pass_step(struct pass_context *c, const char *what, struct loc loc)
{
    struct bisection *b = c->bisection;
    if (!b)
        return true;
    bool done = b->n++ < b->limit;
    fprintf(b->log, "bisect: %" PRId64 " %s: %s", b->n, done ? "done" : "left out", b->pass);
    if (what)
        fprintf(b->log, ": %s", what);
    if (loc.node)
        fprintf(b->log, ", node '%s'", loc.node);
    else if (loc.line)
        fprintf(b->log, ", line %d", loc.line);
    fputc('\n', b->log);
    return done;
}

// How many steps --bisect asks for. Returns 0, or 1 after reporting what is no number.
static int begin_bisection(struct runner *r, const char *limit)
{
    char *end;
    errno = 0;
    r->bisection = (struct bisection){.limit = strtoll(limit, &end, 10), .log = r->log};
    if (*limit && !*end && !errno && r->bisection.limit >= 0) {
        r->context.bisection = &r->bisection;
        return 0;
    }
    diag_error(r->context.diags, (struct loc){0}, "--bisect wants a number of steps, not '%s'", limit);
    return 1;
}

static int run_one(struct runner *r, enum pass p)
{
    const char *name = pass_info[p].name;
    struct diags *diags = r->context.diags;
#ifndef NDEBUG
    struct arena kept;
    struct arena_hold hold;
    arena_init(&kept);
    arena_hold(&hold, release_arena, &kept);
    const char *before = module_text(&kept, r->m);
#endif
    int errors = diags->n_errors;
    int64_t start = phase_now();
    r->bisection.pass = name;
    bool runs = pass_info[p].skip != SKIP_WHOLE || pass_step(&r->context, NULL, (struct loc){0});
    bool progress = runs && pass_info[p].run(r->m, &r->context);
    r->seconds[p] += 1e-9 * (double)(phase_now() - start);
    phase_end(r->options->phases, name, start);
    r->times_run[p]++;
    bool ok = errors == diags->n_errors;
    if (ok && !verify_module(r->m, diags)) {
        diag_note(diags, module_loc(r->m), "this is a fault of pass %s, not of the input", name);
        ok = false;
    }
#ifndef NDEBUG
    if (ok && !progress && strcmp(before, module_text(&r->scratch, r->m))) {
        diag_error(diags, module_loc(r->m), "pass %s changed the module and did not say so", name);
        ok = false;
    }
    arena_let_go(&hold);
    arena_finish(&kept);
#else
    (void)progress;
#endif
    if (r->options->print_after_all)
        fprintf(r->log, "// after %s (run %d)\n%s\n", name, r->times_run[p], module_text(&r->scratch, r->m));
    empty_scratch(r);
    r->stopped = stops_here(r, p);
    return !ok;
}

static int run_named(struct runner *r, const char *name, size_t n)
{
    const char *const *list = is_word(name, n, "default") ? pipeline_for(r->context.target)
                              : is_word(name, n, "graph") ? graph_pipeline
                                                          : NULL;
    if (list) {
        for (; *list && !r->stopped; list++)
            if (run_named(r, *list, strlen(*list)))
                return 1;
        return 0;
    }
    for (int i = 0; i < PASS_COUNT; i++)
        if (is_word(name, n, pass_info[i].name))
            return run_one(r, (enum pass)i);
    char known[1024] = "default graph";
    for (int i = 0; i < PASS_COUNT; i++) {
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, " %s", pass_info[i].name);
    }
    diag_error(r->context.diags, (struct loc){0}, "there is no pass '%.*s'; known are %s", (int)n, name, known);
    return 1;
}

static void print_times(const struct runner *r)
{
    double total = 0;
    for (int i = 0; i < PASS_COUNT; i++)
        total += r->seconds[i];
    fprintf(r->log, "%10s %7s %5s  pass\n", "ms", "%", "runs");
    for (int i = 0; i < PASS_COUNT; i++)
        if (r->times_run[i])
            fprintf(r->log, "%10.3f %7.1f %5d  %s\n", 1e3 * r->seconds[i], total > 0 ? 100 * r->seconds[i] / total : 0,
                    r->times_run[i], pass_info[i].name);
    fprintf(r->log, "%10.3f %7.1f %5s  total\n", 1e3 * total, 100.0, "");
    for (int i = 0; i < rules_count(); i++)
        if (r->context.rules_applied[i])
            fprintf(r->log, "%24d  rule %s\n", r->context.rules_applied[i], rules_name(i));
}

static bool has_kernels(const struct module *m)
{
    for (const struct function *f = m->first_function; f; f = f->next)
        if (f->kind == FUNCTION_KERNEL)
            return true;
    return false;
}

int pipeline_run(struct module *m, const struct target_desc *target, const struct pipeline_options *options,
                 struct diags *diags)
{
    struct runner r = {.m = m, .options = options, .log = options->log ? options->log : stderr};
    struct arena_hold hold;
    arena_init(&r.scratch);
    arena_init(&r.lasting);
    arena_hold(&hold, release, &r);
    r.context = (struct pass_context){.target = target,
                                      .diags = diags,
                                      .scratch = &r.scratch,
                                      .schedules = options->schedules,
                                      .keep_composites = options->keep_composites,
                                      .unfused = options->unfused,
                                      .keep_graphs = options->keep_graphs,
                                      .remarks = options->remarks ? r.log : NULL,
                                      .rules_applied = ARENA_ARRAY(&r.lasting, int, rules_count())};
    int status = options->bisect && begin_bisection(&r, options->bisect);
    const char *names = options->passes ? options->passes : "default";
    while (*names && !status && !r.stopped) {
        size_t n = strcspn(names, ",");
        if (n)
            status = run_named(&r, names, n);
        names += n + (names[n] == ',');
    }
    if (!status && options->stop_after && !r.stopped) {
        report_no_stop(&r);
        status = 1;
    }
    if (!status && has_kernels(m))
        status = schedules_check(options->schedules, m, diags);
    if (options->time_passes)
        print_times(&r);
    arena_let_go(&hold);
    release(&r);
    return status;
}
