#include "tools/trace.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/command.h"
#include "tools/json.h"

#define MOST_THREADS 4096 // that have a name
#define MOST_SHOWN_NODES 3

enum event_kind { EVENT_PHASE, EVENT_LAUNCH, EVENT_PART };

struct event {
    enum event_kind kind;
    int thread; // the system's number
    int64_t start, end;
    char *name; // of a phase
    const char *category;
    int launch;
    int64_t first, behind; // instances of the kernel, of a part
};

struct trace {
    pthread_mutex_t lock; // of the events
    struct event *events;
    int64_t n, room, lost;
    int64_t start;
    int launch; // that the thread which runs the model is at
    char *text; // of the file, once it is written
};

// ---- Events ----------------------------------------------------------------------------------------------------

struct trace *trace_create(void)
{
    struct trace *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    pthread_mutex_init(&t->lock, NULL);
    t->start = phase_now();
    return t;
}

void trace_destroy(struct trace *t)
{
    if (!t)
        return;
    for (int64_t i = 0; i < t->n; i++)
        free(t->events[i].name);
    free(t->events);
    free(t->text);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

static bool has_room(struct trace *t)
{
    if (t->n < t->room)
        return true;
    int64_t room = 2 * t->room + 256;
    struct event *grown = realloc(t->events, sizeof *grown * (size_t)room);
    if (!grown)
        return false;
    t->events = grown;
    t->room = room;
    return true;
}

static void add(struct trace *t, struct event e)
{
    e.thread = gettid();
    pthread_mutex_lock(&t->lock);
    bool fits = has_room(t);
    if (fits)
        t->events[t->n++] = e;
    t->lost += !fits;
    pthread_mutex_unlock(&t->lock);
    if (!fits)
        free(e.name);
}

void trace_add(struct trace *t, const char *category, const char *name, int64_t start, int64_t end)
{
    if (t)
        add(t, (struct event){
                   .kind = EVENT_PHASE, .start = start, .end = end, .name = strdup(name), .category = category});
}

static void end_phase(void *user, const char *name, int64_t start, int64_t end)
{
    trace_add(user, "compiler", name, start, end);
}

struct phase_listener trace_listener(struct trace *t)
{
    return (struct phase_listener){end_phase, t};
}

void trace_begin_launch(struct trace *t, int launch)
{
    if (t)
        t->launch = launch;
}

void trace_end_launch(struct trace *t, int launch, int64_t start, int64_t end)
{
    if (t)
        add(t, (struct event){.kind = EVENT_LAUNCH, .start = start, .end = end, .launch = launch});
}

// ---- What threads do -------------------------------------------------------------------------------------------

// Stands for the arguments of a kernel on its way through the pool.
struct work {
    struct trace *trace;
    tg_range *range;
    const tg_arg *args;
    int launch;
};

static int32_t run_part(const tg_arg *args, int64_t begin, int64_t end, void *scratch)
{
    const struct work *w = (const struct work *)(const void *)args;
    int64_t start = phase_now();
    int32_t status = w->range(w->args, begin, end, scratch);
    struct event e = {.kind = EVENT_PART, .start = start, .launch = w->launch, .first = begin, .behind = end};
    e.end = phase_now();
    add(w->trace, e);
    return status;
}

int32_t trace_parallel_for(struct trace *t, const tg_env *env, int64_t n, tg_range *range, const tg_arg *args,
                           int64_t scratch_bytes)
{
    struct work w = {t, range, args, t->launch};
    return env->parallel_for(env, n, run_part, (const tg_arg *)(const void *)&w, scratch_bytes);
}

// ---- The file --------------------------------------------------------------------------------------------------

static void write_name(FILE *out, const struct event *e, const struct launch *launches, struct arena *a)
{
    if (e->kind == EVENT_PHASE) {
        json_string(out, e->name ? e->name : "");
        return;
    }
    const struct launch *launch = &launches[e->launch];
    const char *operators = launch_operators(launch, a);
    json_string(out, e->kind == EVENT_PART
                         ? operators
                         : arena_printf(a, "%s: %s", operators, launch_nodes(launch, MOST_SHOWN_NODES, a)));
}

static void write_args(FILE *out, const struct event *e, const struct launch *launches, struct arena *a)
{
    if (e->kind == EVENT_LAUNCH) {
        fputs(", \"args\": {\"kernel\": ", out);
        json_string(out, launches[e->launch].kernel);
        fputs(", \"nodes\": ", out);
        launch_json_nodes(out, &launches[e->launch], a);
        fputc('}', out);
    } else if (e->kind == EVENT_PART) {
        fprintf(out, ", \"args\": {\"instances\": \"%" PRId64 " to %" PRId64 "\"}", e->first, e->behind - 1);
    }
}

static void write_event(FILE *out, const struct trace *t, const struct event *e, const struct launch *launches)
{
    struct arena a; // names of many launches may be long
    arena_init(&a);
    const char *category = e->kind == EVENT_LAUNCH ? "launch" : e->kind == EVENT_PART ? "part" : e->category;
    fputs(",\n{\"name\": ", out);
    write_name(out, e, launches, &a);
    fprintf(out, ", \"cat\": \"%s\", \"ph\": \"X\", \"pid\": 1, \"tid\": %d, \"ts\": %.3f, \"dur\": %.3f", category,
            e->thread, 1e-3 * (double)(e->start - t->start), 1e-3 * (double)(e->end - e->start));
    write_args(out, e, launches, &a);
    fputc('}', out);
    arena_finish(&a);
}

// The thread that runs the model stands first, the others in the order in which they are met.
static void write_threads(FILE *out, const struct trace *t)
{
    int seen[MOST_THREADS];
    int n = 1;
    seen[0] = gettid();
    for (int64_t i = 0; i < t->n; i++) {
        int at = 0;
        while (at < n && seen[at] != t->events[i].thread)
            at++;
        if (at == n && n < MOST_THREADS)
            seen[n++] = t->events[i].thread;
    }
    for (int i = 0; i < n; i++)
        fprintf(
            out,
            "%s\n{\"name\": \"thread_name\", \"ph\": \"M\", \"pid\": 1, \"tid\": %d, \"args\": {\"name\": \"%s %d\"}}",
            i ? "," : "", seen[i], i ? "thread" : "main", i);
}

int trace_write(struct trace *t, const char *path, const struct launch *launches, struct outputs *outputs,
                struct diags *diags)
{
    size_t size = 0;
    FILE *out = open_memstream(&t->text, &size);
    if (!out)
        return command_report(diags, NULL);
    fputs("{\"displayTimeUnit\": \"ns\", \"traceEvents\": [", out);
    write_threads(out, t);
    for (int64_t i = 0; i < t->n; i++)
        write_event(out, t, &t->events[i], launches);
    fputs("\n]}\n", out);
    if (fclose(out) || !t->text)
        return command_report(diags, NULL);
    if (t->lost)
        diag_note(diags, (struct loc){.file = path}, "%" PRId64 " events are left out: there was no memory", t->lost);
    return outputs_add(outputs, path, t->text, size, diags);
}
