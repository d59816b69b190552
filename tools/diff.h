// What the files of `tegula diff` share: diff.c has the command and what it says, diff_run.c the comparison.
#ifndef TEGULA_TOOLS_DIFF_H
#define TEGULA_TOOLS_DIFF_H

#include "codegen/model.h"
#include "ir/interp_graph.h"
#include "tools/check.h"
#include "tools/launch.h"
#include "tools/run.h"

// A result of a launch, compared: each time that it is computed counts.
struct diff_row {
    int launch, result;
    int64_t times;                    // that it was compared; 0: the interpreter has not computed it
    struct check_difference run, own; // as it is in the run; given the operands that the interpreter has
};

// What the interpreter makes of a value, time after time.
struct diff_record {
    int n, room;
    struct interp_tensor *x;
};

struct diff {
    const struct command *command;
    struct run_request request;
    struct compile_options options;
    double tolerance;   // negative: by element type
    bool launches_only; // the model as it is read is not interpreted
    struct diags *diags;

    struct arena arena;
    struct command_source source; // compiled
    struct loaded_model *loaded;
    struct launches launches;
    const struct function *graph; // as the launches compute it, after the passes over graphs; NULL: there is none
    struct run_facts facts;
    int64_t *symbols;
    struct diff_record *records; // by the id of the graph's value
    int64_t recorded;            // bytes of them
    bool forgot;                 // some, for want of memory
    int *times;                  // by the id of a value: how often this run has computed it

    int n_rows;
    struct diff_row *rows; // in the order of launches
    int *row_of;           // by launch: its first row
    bool exact;            // this run gives each launch the interpreter's operands

    // The first rows, and how they were then: that differ given exact operands, that differ in the run, and that have
    // numbers in it which are none in the interpreter either. NULL: none.
    const struct diff_row *first, *drifted, *nonfinite;
    struct check_difference first_found, drifted_found, nonfinite_found;
    int first_time; // that the value was computed, from 0
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
