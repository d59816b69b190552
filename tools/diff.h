// What the files of `tegula diff` share: diff.c has the command and what it says, diff_run.c the comparison.
#ifndef TEGULA_TOOLS_DIFF_H
#define TEGULA_TOOLS_DIFF_H

#include "codegen/model.h"
#include "ir/interp_graph.h"
#include "passes/origin.h"
#include "tools/check.h"
#include "tools/launch.h"
#include "tools/run.h"

// How a result was when something was first seen in it.
struct diff_sight {
    bool seen;
    int time; // that the value was computed, from 0
    struct check_difference found;
};

// A result of a launch, compared: each time that it is computed counts.
struct diff_row {
    int launch, result;
    int64_t times;                    // that it was compared; 0: the interpreter has not computed it
    struct check_difference run, own; // as it is in the run; given the operands that the interpreter has
    // When it first differed given exact operands; when it differed in the run; when it had numbers in it which are
    // none in the interpreter either.
    struct diff_sight fault, drift, nonfinite;
};

// Rows in the order in which something was first seen in them.
struct diff_list {
    int n;
    const struct diff_row **rows;
};

// What the interpreter makes of a value, time after time.
struct diff_record {
    int n, room;
    struct interp_tensor *x;
};

struct diff {
    tg_env env; // of the runs; first: what gets a pointer to it finds the diff
    const struct command *command;
    struct run_request request;
    struct compile_options options;
    double tolerance;   // negative: by element type
    bool launches_only; // the model as it is read is not interpreted
    struct diags *diags;

    struct arena arena;
    struct command_source source; // compiled
    struct loaded_model *loaded;
    int n_launches;
    const struct op *const *ops;   // the launches as the module has them
    const struct launch *launches; // and as the code tells of them
    const struct function *graph;  // as the launches compute it, after the passes over graphs; NULL: there is none
    struct run_facts facts;
    int64_t *symbols;            // values by the module's id; -1: not known
    struct diff_record *records; // by the id of the graph's value
    int64_t recorded;            // bytes of them
    bool forgot;                 // some, for want of memory
    int *times;                  // by the id of a value: how often this run has computed it

    int n_rows;
    struct diff_row *rows; // in the order of launches
    int *row_of;           // by launch: its first row
    bool exact;            // this run gives each launch the interpreter's operands

    struct diff *single; // the same with a kernel for each operation, once it has been asked for
    int single_status;

    struct check_difference *inputs; // as they are: how many elements are no numbers

    // What was seen; once it is done, without rows that have it from those that they are computed from.
    struct diff_list faults, nonfinite;
    struct diff_list drifted; // with those
    int n_outputs;
    struct interp_tensor *outputs[2];            // of the model as it is read, and of the graph
    struct check_difference *output_differences; // of the run and the model as it is read
};

// Compiles the request's model, runs it beside the interpreter, and compares. Everything but `command` to `diags` is to
// be zero. Returns an exit status after reporting what does not let it; what differs is no error here. To be finished
// in any case.
int diff_run(struct diff *d);
void diff_finish(struct diff *d);

// The value of a row.
const struct value *diff_value(const struct diff *d, const struct diff_row *row);
// The interpreter's tensor of a row, for its sizes.
const struct interp_tensor *diff_tensor(const struct diff *d, const struct diff_row *row);
double diff_limit(const struct diff *d, enum dtype t);

#endif
