// What happened when, as a file of Chrome's trace events, which https://ui.perfetto.dev shows: phases of the compiler,
// runs, launches, and what each thread did of them.
#ifndef TEGULA_TOOLS_TRACE_H
#define TEGULA_TOOLS_TRACE_H

#include <tegula/kernel.h>

#include "ir/phase.h"
#include "tools/launch.h"
#include "tools/outputs.h"

struct trace;

struct trace *trace_create(void); // NULL without memory; belongs to the caller
void trace_destroy(struct trace *t);

// All of these may be given NULL, for there is no trace then. Times are those of phase_now. Events for which there is
// no memory are left out.
void trace_add(struct trace *t, const char *category, const char *name, int64_t start, int64_t end);
struct phase_listener trace_listener(struct trace *t);
void trace_begin_launch(struct trace *t, int launch);
void trace_end_launch(struct trace *t, int launch, int64_t start, int64_t end);
// What env->parallel_for does, noting what each thread works on. Not for NULL.
int32_t trace_parallel_for(struct trace *t, const tg_env *env, int64_t n, tg_range *range, const tg_arg *args,
                           int64_t scratch_bytes);

// Adds the file to the outputs; what it holds lives as long as the trace. Returns an exit status after reporting.
int trace_write(struct trace *t, const char *path, const struct launch *launches, struct outputs *outputs,
                struct diags *diags);

#endif
