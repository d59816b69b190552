// The time of a launch is that between the two calls that tell of it. Beside it stands what the machine could do in
// that time: its limits are measured when the table is printed, after the runs and their peak of memory.
#include "tools/profile.h"

#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "tools/json.h"

#define MOST_NODES 4 // of a launch, in the table

void profile_init(struct profile *p)
{
    *p = (struct profile){0};
    arena_init(&p->arena);
}

void profile_finish(struct profile *p)
{
    outputs_discard(&p->outputs);
    arena_finish(&p->arena);
}

// ---- Being told ------------------------------------------------------------------------------------------------

static struct profile *profile_of(const tg_env *env)
{
    return (struct profile *)(void *)env;
}

static void note_launch(const tg_env *env, int32_t launch, int32_t ended, const tg_arg *args)
{
    struct profile *p = profile_of(env);
    (void)args;
    if (!ended) {
        trace_begin_launch(p->trace, launch);
        p->launch_start = phase_now();
        return;
    }
    int64_t end = phase_now();
    if (p->counts) {
        p->rows[launch].calls++;
        p->rows[launch].ns += end - p->launch_start;
    }
    trace_end_launch(p->trace, launch, p->launch_start, end);
}

static int32_t run_parts(const tg_env *env, int64_t n, tg_range *range, const tg_arg *args, int64_t scratch_bytes)
{
    const struct profile *p = profile_of(env);
    return trace_parallel_for(p->trace, p->inner, n, range, args, scratch_bytes);
}

static const tg_env *begin(void *data, const struct run_facts *facts, const tg_env *env)
{
    struct profile *p = data;
    p->facts = *facts;
    p->n_launches = launches_read(facts->code->launches[facts->target], &p->arena, &p->launches);
    p->rows = ARENA_ARRAY(&p->arena, struct profile_row, p->n_launches + 1);
    p->inner = env;
    p->env = *env;
    p->env.on_launch = note_launch;
    if (p->trace)
        p->env.parallel_for = run_parts;
    return &p->env;
}

static void before_run(void *data, bool counts)
{
    struct profile *p = data;
    p->counts = counts;
    p->run_start = phase_now();
}

static void after_run(void *data)
{
    struct profile *p = data;
    int64_t end = phase_now();
    trace_add(p->trace, "run", "run", p->run_start, end);
    p->n_runs += p->counts;
    p->runs_ns += p->counts ? end - p->run_start : 0;
}

// ---- What the machine can do -----------------------------------------------------------------------------------

double limits_rate(const char *name, int threads, int trials); // bench/limits.c

enum level { LEVEL_L2, LEVEL_L3, LEVEL_MEMORY, LEVEL_COUNT };

struct limits {
    double gflops, gbs[LEVEL_COUNT]; // not above 0: not known
    double holds[LEVEL_COUNT];       // bytes that are read at that rate when they are all there is
};

#define MOST_L3 64e6 // that one of many virtual machines may count on
#define TRIALS 5     // of each limit, of which the best counts

static double cache_bytes(int name, double otherwise)
{
    long size = sysconf(name);
    return size > 0 ? (double)size : otherwise;
}

static struct limits measure_limits(int threads)
{
    static const char *const names[LEVEL_COUNT] = {"l2_read", "l3_read", "memory_read"};
    struct limits l = {.gflops = limits_rate("fma", threads, TRIALS)};
    for (int i = 0; i < LEVEL_COUNT; i++)
        l.gbs[i] = limits_rate(names[i], threads, TRIALS);
    double l3 = cache_bytes(_SC_LEVEL3_CACHE_SIZE, 0);
    l.holds[LEVEL_L2] = cache_bytes(_SC_LEVEL2_CACHE_SIZE, 1 << 20) * threads;
    l.holds[LEVEL_L3] = l3 < MOST_L3 ? l3 : MOST_L3;
    return l;
}

// ---- The table -------------------------------------------------------------------------------------------------

// A launch, on average of the runs.
struct line {
    int launch;
    double calls, ms, share;
    bool known; // what follows
    double flops, bytes, gflops, gbs, roof;
};

static struct line make_line(const struct profile *p, int i, const struct limits *limits)
{
    const struct profile_row *row = &p->rows[i];
    double seconds = 1e-9 * (double)row->ns, calls = (double)row->calls, runs = (double)p->n_runs;
    struct line x = {i, calls / runs, 1e3 * seconds / runs, (double)row->ns / (double)p->runs_ns, false, 0, 0, 0, 0, 0};
    const struct launch *launch = &p->launches[i];
    const struct run_facts *f = &p->facts;
    if (!row->ns || !launch_value(f->code, f->symbols, launch->flops, &x.flops) ||
        !launch_value(f->code, f->symbols, launch->bytes, &x.bytes))
        return x;
    x.known = true;
    x.gflops = 1e-9 * x.flops * calls / seconds;
    x.gbs = 1e-9 * x.bytes * calls / seconds;
    enum level level = x.bytes <= limits->holds[LEVEL_L2]   ? LEVEL_L2
                       : x.bytes <= limits->holds[LEVEL_L3] ? LEVEL_L3
                                                            : LEVEL_MEMORY;
    double compute = limits->gflops > 0 ? x.gflops / limits->gflops : 0;
    double memory = limits->gbs[level] > 0 ? x.gbs / limits->gbs[level] : 0;
    x.roof = compute > memory ? compute : memory;
    return x;
}

static int slower_first(const void *a, const void *b)
{
    const struct line *x = a, *y = b;
    return x->ms != y->ms ? (x->ms < y->ms) - (x->ms > y->ms) : x->launch - y->launch;
}

// The launches that ran; those that a choice in the host function leaves out do not count.
static int make_lines(struct profile *p, const struct limits *limits, struct line **lines)
{
    int n = 0;
    *lines = ARENA_ARRAY(&p->arena, struct line, p->n_launches + 1);
    for (int i = 0; i < p->n_launches; i++)
        if (p->rows[i].calls)
            (*lines)[n++] = make_line(p, i, limits);
    qsort(*lines, (size_t)n, sizeof **lines, slower_first);
    return n;
}

static double run_ms(const struct profile *p)
{
    return 1e-6 * (double)p->runs_ns / (double)p->n_runs;
}

static double outside_ms(const struct profile *p, int n, const struct line *lines)
{
    double ms = run_ms(p);
    for (int i = 0; i < n; i++)
        ms -= lines[i].ms;
    return ms;
}

static void print_text(struct profile *p, const struct limits *l, int n, const struct line *lines)
{
    printf("%7s %10s %6s %8s %8s %6s  what\n", "calls", "ms", "share", "GFLOP/s", "GB/s", "roof");
    for (int i = 0; i < n; i++) {
        const struct line *x = &lines[i];
        const struct launch *launch = &p->launches[x->launch];
        printf("%7.4g %10.4f %5.1f%% ", x->calls, x->ms, 100 * x->share);
        if (x->known)
            printf("%8.2f %8.2f %5.0f%%", x->gflops, x->gbs, 100 * x->roof);
        else
            printf("%8s %8s %6s", "-", "-", "-");
        printf("  %s: %s\n", launch_operators(launch, &p->arena), launch_nodes(launch, MOST_NODES, &p->arena));
    }
    double outside = outside_ms(p, n, lines);
    printf("%7s %10.4f %5.1f%% %*s  outside of kernels\n", "", outside, 100 * outside / run_ms(p), 24, "");
    printf("%7" PRId64 " %10.4f %6s %*s  run%s\n", p->n_runs, run_ms(p), "", 24, "",
           p->n_runs == 1 ? "" : "s, average");
    printf(
        "roof: the share of %.4g GFLOP/s, or of GB/s: %.4g where a launch's bytes fit the L2 cache, %.4g the L3, %.4g\n"
        "beyond; measured just now, on %d thread%s\n",
        l->gflops, l->gbs[LEVEL_L2], l->gbs[LEVEL_L3], l->gbs[LEVEL_MEMORY], p->facts.n_threads,
        p->facts.n_threads == 1 ? "" : "s");
}

static void json_member(const char *name, double x)
{
    printf(", \"%s\": ", name);
    json_number(stdout, x);
}

static void print_json(struct profile *p, const struct limits *l, int n, const struct line *lines)
{
    printf(", \"profile\": {\"runs\": %" PRId64 ", \"threads\": %d", p->n_runs, p->facts.n_threads);
    json_member("run_ms", run_ms(p));
    json_member("outside_ms", outside_ms(p, n, lines));
    json_member("limit_gflops", l->gflops);
    json_member("limit_l2_gbs", l->gbs[LEVEL_L2]);
    json_member("limit_l3_gbs", l->gbs[LEVEL_L3]);
    json_member("limit_memory_gbs", l->gbs[LEVEL_MEMORY]);
    printf(", \"launches\": [");
    for (int i = 0; i < n; i++) {
        const struct line *x = &lines[i];
        printf(i ? ", {\"nodes\": " : "{\"nodes\": ");
        launch_json_nodes(stdout, &p->launches[x->launch], &p->arena);
        printf(", \"kernel\": ");
        json_string(stdout, p->launches[x->launch].kernel);
        json_member("calls", x->calls);
        json_member("ms", x->ms);
        json_member("share", x->share);
        if (x->known) {
            json_member("flops", x->flops);
            json_member("bytes", x->bytes);
            json_member("gflops", x->gflops);
            json_member("gbs", x->gbs);
            json_member("roof", x->roof);
        }
        printf("}");
    }
    printf("]}");
}

static void print(void *data, bool json)
{
    struct profile *p = data;
    struct line *lines;
    if (!p->table)
        return;
    struct limits limits = measure_limits(p->facts.n_threads);
    int n = make_lines(p, &limits, &lines);
    (json ? print_json : print_text)(p, &limits, n, lines);
}

static int prepare_trace(void *data, struct diags *diags)
{
    struct profile *p = data;
    return trace_write(p->trace, p->trace_file, p->launches, &p->outputs, diags);
}

static int commit_trace(void *data, struct diags *diags)
{
    struct profile *p = data;
    return outputs_commit(&p->outputs, diags);
}

struct run_watch profile_watch(struct profile *p)
{
    return (struct run_watch){.data = p,
                              .begin = begin,
                              .before_run = before_run,
                              .after_run = after_run,
                              .print = print,
                              .prepare = p->trace ? prepare_trace : NULL,
                              .commit = p->trace ? commit_trace : NULL};
}
