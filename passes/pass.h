// Passes over tile IR: their table, the pipeline of a target, and the runner.
//
// A pass is one public function in a file of its own. It changes the module in place, reports what it cannot do in
// diags, and returns whether it changed anything. The runner does the rest: it verifies after each pass, prints, and
// times.
#ifndef TEGULA_PASSES_PASS_H
#define TEGULA_PASSES_PASS_H

#include <stdbool.h>
#include <stdio.h>

#include "ir/ir.h"
#include "ir/phase.h"
#include "ir/target.h"

struct bisection; // see pass_step

struct pass_context {
    const struct target_desc *target;
    struct diags *diags;
    struct arena *scratch;             // emptied after each pass; passes never free
    const struct schedules *schedules; // what a file says of kernels; may be NULL
    const char *keep_composites;       // names, separated by commas, that inline-composites leaves alone; may be NULL
    bool unfused;                      // lower-graph gives each operation a kernel of its own
    bool keep_graphs;                  // the graphs that launches come from (origin.h) are run later: constants stay
    int *rules_applied;                // how often each row of rules.def was; may be NULL
    FILE *remarks;                     // where passes may tell what they did; NULL: nobody wants to know
    struct bisection *bisection;       // NULL: nothing is left out
};

// Asked by passes of the kind STEPS before each thing they do, such as a rule applied at loc: false if it is to be left
// out (--bisect).
bool pass_step(struct pass_context *c, const char *what, struct loc loc);

typedef bool pass_function(struct module *m, struct pass_context *c);

enum pass {
#define PASS(e, name, function, skip, doc) PASS_##e,
#include "passes/passes.def"
#undef PASS
    PASS_COUNT
};

#define PASS(e, name, function, skip, doc) pass_function function;
#include "passes/passes.def"
#undef PASS

enum pass_skip { SKIP_NEVER, SKIP_WHOLE, SKIP_STEPS };

struct pass_info {
    const char *name;
    pass_function *run;
    enum pass_skip skip; // what may be left out of it
    const char *doc;
};

extern const struct pass_info pass_info[PASS_COUNT];

// The names of the passes that prepare a module for code generation, in order; ends with NULL.
const char *const *pipeline_for(const struct target_desc *target);
// The same of those that turn graphs into kernels and host functions, for any target.
extern const char *const graph_pipeline[];

struct pipeline_options {
    const char *passes; // names separated by commas; `default` is pipeline_for, `graph` graph_pipeline; NULL: default
    const char *stop_after;              // a pass's name; "name:2" is its second run; NULL: the last
    const char *bisect;                  // "N": of what may be left out, all but the first N is; tells each, to log
    bool print_after_all;                // the module's text, to log
    bool time_passes;                    // a table, and how often each rule was applied, to log
    const struct schedules *schedules;   // see pass_context; lines that mean no kernel are errors
    const char *keep_composites;         // see pass_context
    bool unfused, keep_graphs;           // see pass_context
    bool remarks;                        // what passes have to tell, to log
    const struct phase_listener *phases; // is told of passes, and of what code generation does; NULL: nobody
    FILE *log;                           // NULL: stderr
};

// Runs the passes over a verified module. Returns 0, or 1 after reporting errors; the module is then of no use.
int pipeline_run(struct module *m, const struct target_desc *target, const struct pipeline_options *options,
                 struct diags *diags);

#endif
