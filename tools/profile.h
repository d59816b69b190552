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
    struct arena arena;
    bool table;          // is to be printed
    struct trace *trace; // NULL: nobody wants one
    const char *trace_file;
    struct outputs outputs; // that
    struct launches launches;
    struct profile_row *rows; // by launch
    int64_t *symbols;         // values by the module's id; those that are not known are negative
    int n_threads;
    bool counts; // the run that goes on
    int64_t n_runs, runs_ns, run_start, launch_start;
};

void profile_init(struct profile *p);
void profile_finish(struct profile *p);

// What the model is to be compiled with, and, once it is, where its launches come from.
struct launch_hook profile_hook(struct profile *p);
void profile_loaded(struct profile *p, const struct module *m);
// Who watches its runs.
struct run_watch profile_watch(struct profile *p);

#endif
