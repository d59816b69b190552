// tegula diff: where a compiled model and the interpreter part, node by node.
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/diff.h"

#define MOST_NODES 8   // in a message
#define MOST_FAULTS 10 // that are told one by one

// ---- Words -----------------------------------------------------------------------------------------------------

static const char *index_text(const struct interp_tensor *x, int64_t at, struct arena *a)
{
    int64_t index[MAX_RANK];
    const char *text = "[";
    for (int k = x->rank - 1; k >= 0; k--) {
        index[k] = at % x->dims[k];
        at /= x->dims[k];
    }
    for (int k = 0; k < x->rank; k++)
        text = arena_printf(a, "%s%s%" PRId64, text, k ? ", " : "", index[k]);
    return arena_printf(a, "%s]", text);
}

// "output 'c2' of Conv, its `add`"
static const char *value_text(const struct value *v, struct arena *a)
{
    struct loc loc = v->def->loc;
    const char *op = op_info[v->def->code].name;
    return loc.op_type ? arena_printf(a, "output '%s' of %s, its `%s`", loc.output, loc.op_type, op)
                       : arena_printf(a, "`%s`", op);
}

// "at [3, 5] it is 1.5 compiled and 1.25 interpreted"
static const char *element_text(const struct diff *d, const struct interp_tensor *x,
                                const struct check_difference *found)
{
    return arena_printf(&d->diags->arena, "at %s it is %s compiled and %s interpreted",
                        index_text(x, found->at, &d->diags->arena), check_scalar_text(x->dtype, found->have, d->diags),
                        check_scalar_text(x->dtype, found->want, d->diags));
}

// "12 elements are wrong; greatest error 0.5, relative 0.3, 4e+06 units in the last place"
static const char *size_text(const struct check_difference *found, struct arena *a)
{
    const char *text =
        arena_printf(a, "%" PRId64 " element%s wrong", found->n_wrong, found->n_wrong == 1 ? " is" : "s are");
    if (found->n_lost)
        text = arena_printf(a, "%s, %" PRId64 " finite in one alone", text, found->n_lost);
    return arena_printf(a, "%s; greatest error %.3g, relative %.3g, %.3g units in the last place", text,
                        found->absolute, found->relative, found->ulp);
}

static struct loc loc_of(const struct diff *d, const struct diff_row *row)
{
    return diff_value(d, row)->def->loc;
}

// ---- One by one ------------------------------------------------------------------------------------------------

static bool has_node(const struct op *launch, const struct loc *node, struct arena *a)
{
    struct loc *nodes;
    int n = origin_nodes(launch, a, &nodes);
    for (int i = 0; i < n; i++)
        if (loc_same_node(&nodes[i], node))
            return true;
    return false;
}

// The first result of those nodes that differs, given exact operands; NULL: none.
static const struct diff_row *find_among(const struct diff *single, const struct op *fused, struct arena *a)
{
    for (int i = 0; i < single->n_rows; i++) {
        struct loc node = loc_of(single, &single->rows[i]);
        if (single->rows[i].own.worst > 1 && has_node(fused, &node, a))
            return &single->rows[i];
    }
    return NULL;
}

// Sizes that the first run chose are not chosen, and told of, again.
static void fix_sizes(struct run_request *r, const struct diff *before, struct arena *a)
{
    const struct module *m = before->source.module;
    r->shared.dims.n = 0;
    for (int i = 0; i < m->n_symbols && r->shared.dims.n < OPTIONS_MOST_WORDS; i++)
        if (before->symbols[i] >= 0)
            r->shared.dims.word[r->shared.dims.n++] = arena_printf(a, "%s=%" PRId64, m->symbols[i], before->symbols[i]);
}

// The model compiled with a kernel for each operation, to see what those that were fused do by themselves; NULL: that
// failed.
static const struct diff *run_unfused(struct diff *d)
{
    struct arena *a = &d->diags->arena;
    if (d->single)
        return d->single_status == EXIT_OK ? d->single : NULL;
    struct diff *single = d->single = ARENA_NEW(a, struct diff);
    *single = (struct diff){.command = d->command,
                            .request = d->request,
                            .options = d->options,
                            .tolerance = d->tolerance,
                            .diags = d->diags,
                            .launches_only = true};
    single->options.pipeline.unfused = true;
    fix_sizes(&single->request, d, a);
    d->single_status = diff_run(single);
    return d->single_status == EXIT_OK ? single : NULL;
}

static void look_inside(const struct diff *d, const struct diff *single, const struct diff_row *fused)
{
    struct arena *a = &d->diags->arena;
    const struct diff_row *row = find_among(single, d->ops[fused->launch], a);
    if (row)
        diag_note(d->diags, loc_of(single, row), "compiled by itself, %s differs: %s; %s",
                  value_text(diff_value(single, row), a), element_text(single, diff_tensor(single, row), &row->own),
                  size_text(&row->own, a));
    else
        diag_note(d->diags, loc_of(d, fused),
                  "compiled one by one, none of these differs: it is the kernel of all of them that is wrong, or their "
                  "fusion");
}

// ---- What differs ----------------------------------------------------------------------------------------------

// What exceeds the tolerance only because of what came before.
static void report_drift(const struct diff *d)
{
    struct arena *a = &d->diags->arena;
    if (!d->drifted.n)
        return;
    const struct diff_row *row = d->drifted.rows[0];
    if (!d->faults.n || row->launch < d->faults.rows[0]->launch)
        diag_note(
            d->diags, loc_of(d, row),
            "small differences add up: in the run %s is the first beyond the tolerance, %s; given the interpreter's "
            "operands it is within it (%.2g)",
            value_text(diff_value(d, row), a), element_text(d, diff_tensor(d, row), &row->drift.found), row->own.worst);
}

static bool is_fused(const struct diff *d, const struct diff_row *row)
{
    return d->ops[row->launch]->loc.origin->n_ops > 1;
}

static void report_fault(const struct diff *d, int i)
{
    struct arena *a = &d->diags->arena;
    const struct diff_row *row = d->faults.rows[i];
    const struct launch *launch = &d->launches[row->launch];
    struct loc loc = loc_of(d, row);
    const char *what = value_text(diff_value(d, row), a);
    if (i)
        what = arena_printf(a, "%s differs as well", what);
    else if (d->faults.n > 1)
        what = arena_printf(a, "the first of %d to differ is %s", d->faults.n, what);
    else
        what = arena_printf(a, "the only one to differ is %s", what);
    bool repeats = d->records[diff_value(d, row)->id].n > 1;
    const char *when = repeats ? arena_printf(a, " in iteration %d", row->fault.time) : "";
    diag_error(d->diags, loc, "%s%s: given the interpreter's operands, %s; %s", what, when,
               element_text(d, diff_tensor(d, row), &row->fault.found), size_text(&row->fault.found, a));
    if (is_fused(d, row))
        diag_note(d->diags, loc,
                  "one kernel, @%s, computes %s (%s); what is between is not in memory and cannot be seen",
                  launch->kernel, launch_operators(launch, a), launch_nodes(launch, MOST_NODES, a));
}

static bool any_fused(const struct diff *d, const struct diff_list *list, int n)
{
    for (int i = 0; i < n; i++)
        if (is_fused(d, list->rows[i]))
            return true;
    return false;
}

static int report_faults(struct diff *d)
{
    int shown = d->faults.n < MOST_FAULTS ? d->faults.n : MOST_FAULTS;
    const struct diff *single = any_fused(d, &d->faults, shown) ? run_unfused(d) : NULL;
    for (int i = 0; i < shown; i++) {
        report_fault(d, i);
        if (is_fused(d, d->faults.rows[i]) && single)
            look_inside(d, single, d->faults.rows[i]);
    }
    if (d->faults.n > shown)
        diag_note(d->diags, (struct loc){.file = d->request.file}, "and %d more differ; --all lists every launch",
                  d->faults.n - shown);
    return d->single ? d->single_status : EXIT_OK;
}

static const char *output_name(const struct diff *d, int i)
{
    return arena_printf(&d->diags->arena, "'%s'", d->facts.code->outputs[i].name);
}

// Each launch does what the graph says that it was compiled from, and an output of the model differs.
static void report_output(const struct diff *d, int i)
{
    struct arena *a = &d->diags->arena;
    const struct check_difference *found = &d->output_differences[i];
    const struct interp_tensor *want = &d->outputs[0][i], *after = d->outputs[1] ? &d->outputs[1][i] : want;
    int64_t n = want->bytes / dtype_bytes(want->dtype);
    struct loc loc = {.file = d->request.file};
    diag_error(d->diags, loc, "output %s differs, and no launch given the interpreter's operands: %s; %s",
               output_name(d, i), element_text(d, want, found), size_text(found, a));
    if (check_compare(want->dtype, want->data, after->data, n, diff_limit(d, want->dtype)).worst > 1)
        diag_note(d->diags, loc,
                  "the passes over the graph changed it: the interpreter's output of what they made is another; tegula "
                  "opt --passes=graph --print-after-all shows each");
    else if (!d->drifted.n)
        diag_note(d->diags, loc,
                  "the graph is right after its passes: it is what the host function does between "
                  "launches that is wrong");
}

static int worst_output(const struct diff *d)
{
    int worst = -1;
    for (int i = 0; i < d->n_outputs; i++)
        if (d->output_differences[i].worst > (worst < 0 ? 1 : d->output_differences[worst].worst))
            worst = i;
    return worst;
}

static void report_odd_inputs(const struct diff *d)
{
    const tg_model *code = d->facts.code;
    for (int i = 0; i < code->n_inputs; i++)
        if (d->inputs[i].n_nan + d->inputs[i].n_infinite)
            diag_note(d->diags, (struct loc){.file = d->request.file},
                      "input '%s' holds %" PRId64 " NaN and %" PRId64 " infinite elements", code->inputs[i].name,
                      d->inputs[i].n_nan, d->inputs[i].n_infinite);
}

// Where they arise, not what is computed from them. Within a kernel that is not seen: then the same is asked of the
// operations one by one.
static void report_nonfinite(struct diff *in_kernels)
{
    struct arena *a = &in_kernels->diags->arena;
    report_odd_inputs(in_kernels);
    bool fused = any_fused(in_kernels, &in_kernels->nonfinite, in_kernels->nonfinite.n);
    const struct diff *single = fused ? run_unfused(in_kernels) : NULL, *d = single ? single : in_kernels;
    const struct diff_list *list = &d->nonfinite;
    for (int i = 0; i < list->n && i < MOST_FAULTS; i++) {
        const struct diff_row *row = list->rows[i];
        const struct check_difference *found = &row->nonfinite.found;
        diag_note(d->diags, loc_of(d, row),
                  "%s holds %" PRId64 " NaN and %" PRId64
                  " infinite elements in the interpreter as well, the first at %s",
                  value_text(diff_value(d, row), a), found->n_nan, found->n_infinite,
                  index_text(diff_tensor(d, row), found->nonfinite_at, a));
    }
    if (list->n > MOST_FAULTS)
        diag_note(d->diags, (struct loc){.file = d->request.file}, "and %d more hold some that arise there",
                  list->n - MOST_FAULTS);
}

// ---- The table -------------------------------------------------------------------------------------------------

static int worse_first(const void *a, const void *b)
{
    const struct diff_row *x = *(const struct diff_row *const *)a, *y = *(const struct diff_row *const *)b;
    if (x->own.worst != y->own.worst)
        return x->own.worst < y->own.worst ? 1 : -1;
    if (x->run.worst != y->run.worst)
        return x->run.worst < y->run.worst ? 1 : -1;
    return (x > y) - (x < y);
}

static void print_table(struct diff *d, int n, const struct diff_row **rows)
{
    qsort(rows, (size_t)n, sizeof *rows, worse_first);
    printf("%9s %9s %9s %9s %9s %7s  what\n", "own", "run", "absolute", "relative", "ulp", "wrong");
    for (int i = 0; i < n; i++) {
        const struct check_difference *x = &rows[i]->own;
        const struct launch *launch = &d->launches[rows[i]->launch];
        printf("%9.3g %9.3g %9.3g %9.3g %9.3g %7" PRId64 "  %s: %s\n", x->worst, rows[i]->run.worst, x->absolute,
               x->relative, x->ulp, x->n_wrong, launch_operators(launch, &d->arena),
               launch_nodes(launch, MOST_NODES, &d->arena));
    }
}

static void print_summary(struct diff *d, bool all)
{
    const struct diff_row **rows = ARENA_ARRAY(&d->arena, const struct diff_row *, d->n_rows + 1);
    int n = 0;
    double worst = 0;
    for (int i = 0; i < d->n_rows; i++)
        if (d->rows[i].times)
            rows[n++] = &d->rows[i];
    for (int i = 0; i < n; i++)
        worst = fmax(worst, rows[i]->run.worst);
    if (all)
        print_table(d, n, rows);
    printf("%s: compared results of launches: %d, outputs: %d; the greatest difference is %.3g of the tolerance\n",
           d->request.file, n, d->n_outputs, worst);
}

// ---- The command -----------------------------------------------------------------------------------------------

static int report(struct diff *d, bool all)
{
    int status = EXIT_OK, output = worst_output(d);
    print_summary(d, all);
    if (d->faults.n)
        status = report_faults(d);
    else if (output >= 0)
        report_output(d, output);
    report_drift(d);
    report_nonfinite(d);
    if (d->forgot)
        diag_note(d->diags, (struct loc){.file = d->request.file},
                  "there was no memory to keep all that the interpreter computed; what was not kept is not compared");
    return d->faults.n || output >= 0 ? EXIT_ERROR : status;
}

int command_diff(int argc, char *const *argv)
{
    static struct diff d = {.tolerance = -INFINITY,
                            .request = {.format = "npy", .shared = {.target = "native", .opt_level = 2}}};
    static struct words files;
    static bool all;
    struct option options[RUN_OPTIONS + 2];
    struct option *own = options + RUN_INPUT_OPTIONS;
    run_options(&d.request, options);
    own[0] = (struct option){
        "tolerance",  0,   OPTION_NUMBER,
        &d.tolerance, "T", "allowed |x - y| / max(1, |x|) [by element type; 2e-5 for f32, 0 for integers]"};
    own[1] = (struct option){"all", 0, OPTION_FLAG, &all, NULL, "print how far each launch is off, the worst first"};
    const struct command c = {
        .name = "diff",
        .summary =
            "Runs a model (.onnx, or text of a graph) and the interpreter side by side, and names the nodes at which\n"
            "they part. Sizes of random inputs that stay open are 1.",
        .files = "FILE",
        .least_files = 1,
        .most_files = 1,
        .n_options = RUN_INPUT_OPTIONS + 2,
        .options = options,
        .shared_sets = SHARED_TARGET | SHARED_OPTIMIZE | SHARED_DIM | SHARED_THREADS | SHARED_SEED | SHARED_SCHEDULE |
                       SHARED_TRACE,
        .shared = &d.request.shared};
    int status = options_parse(&c, argc, argv, &files);
    if (status >= 0)
        return status;
    if (d.tolerance != -INFINITY && !(d.tolerance >= 0))
        return options_fail(&c, "--tolerance is 0 or more, not %g", d.tolerance);
    struct diags diags;
    diag_init(&diags);
    d.command = &c;
    d.diags = &diags;
    d.request.file = files.word[0];
    status = command_compile_options(&c, &d.request.shared, &d.options, &diags);
    if (status == EXIT_OK) {
        status = diff_run(&d);
        if (status == EXIT_OK)
            status = report(&d, all);
        diff_finish(&d);
    }
    return command_finish(&c, &diags, status);
}
