// What runs of a model spend their time on, launch by launch: a table, and slices of a trace.
#ifndef TEGULA_TOOLS_PROFILE_H
#define TEGULA_TOOLS_PROFILE_H

#include "tools/launch.h"
#include "tools/run_model.h"
#include "tools/trace.h"

struct profile_row {
    int64_t calls, ns;
};

struct profile {
    tg_env env;          // of the runs; first: what gets a pointer to it finds the profile
    const tg_env *inner; // that it is made of
    struct arena arena;
    bool table;          // is to be printed
    struct trace *trace; // NULL: nobody wants one
    const char *trace_file;
    struct outputs outputs; // that
    struct run_facts facts;
    int n_launches;
    const struct launch *launches;
    struct profile_row *rows; // by launch
    bool counts;              // the run that goes on
    int64_t n_runs, runs_ns, run_start, launch_start;
};

void profile_init(struct profile *p);
void profile_finish(struct profile *p);

// Who watches its runs.
struct run_watch profile_watch(struct profile *p);

#endif
