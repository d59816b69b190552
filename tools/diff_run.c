// The compiled model runs twice, and after each launch what it left in memory is compared with what the interpreter has
// for the same value of the graph, the n-th time with the n-th time. The first run goes as any other. In the second the
// interpreter's elements take the place of those that were compared: so each launch has exact operands, and differs by
// what it does itself.
//
// The graph is what the passes over graphs made of the model; the interpreter computes the model as it is read, too,
// and its outputs must be the same.
#include <stdlib.h>
#include <string.h>

#include "codegen/data_type.h"
#include "ir/dims.h"
#include "tools/diff.h"

#define MOST_RECORDED ((int64_t)1 << 32) // bytes

double diff_limit(const struct diff *d, enum dtype t)
{
    return check_limit(t, d->tolerance);
}

static const struct origin_result *result_of(const struct diff *d, const struct diff_row *row)
{
    return &d->launches.list[row->launch]->loc.origin->results[row->result];
}

const struct value *diff_value(const struct diff *d, const struct diff_row *row)
{
    return result_of(d, row)->value;
}

const struct interp_tensor *diff_tensor(const struct diff *d, const struct diff_row *row)
{
    return &d->records[diff_value(d, row)->id].x[0];
}

// ---- The interpreter -------------------------------------------------------------------------------------------

static bool is_compared(void *diff, const struct value *v)
{
    const struct diff *d = diff;
    for (int i = 0; i < d->n_rows; i++)
        if (diff_value(d, &d->rows[i]) == v)
            return true;
    return false;
}

static void record(void *diff, const struct value *v, struct interp_tensor *x)
{
    struct diff *d = diff;
    struct diff_record *r = &d->records[v->id];
    if (r->n == r->room && d->recorded + x->bytes <= MOST_RECORDED) {
        int room = 2 * r->room + 1;
        struct interp_tensor *grown = realloc(r->x, sizeof *grown * (size_t)room);
        r->x = grown ? grown : r->x;
        r->room = grown ? room : r->room;
    }
    if (r->n == r->room || d->recorded + x->bytes > MOST_RECORDED) {
        d->forgot = true;
        free(x->data);
        return;
    }
    r->x[r->n++] = *x;
    d->recorded += x->bytes;
}

static int interpret(struct diff *d, const struct function *g, const struct interp_watch *watch,
                     struct interp_tensor **outputs)
{
    const tg_model *code = d->facts.code;
    struct interp_tensor *in = ARENA_ARRAY(&d->arena, struct interp_tensor, code->n_inputs + 1);
    for (int i = 0; i < code->n_inputs; i++) {
        const tg_tensor *x = &d->facts.in[i];
        in[i] = (struct interp_tensor){.dtype = g->params[i]->type->dtype, .rank = x->ndim, .data = x->data};
        in[i].bytes = dtype_bytes(in[i].dtype);
        for (int k = 0; k < x->ndim; k++)
            in[i].bytes *= in[i].dims[k] = x->shape[k];
    }
    *outputs = ARENA_ARRAY(&d->arena, struct interp_tensor, code->n_outputs + 1);
    return interp_graph_watched(g, in, *outputs, 0, watch, d->diags);
}

static const struct function *find_graph(const struct module *m)
{
    const struct function *f = m->first_function;
    while (f && f->kind != FUNCTION_GRAPH)
        f = f->next;
    return f;
}

// The file is read again, for the passes have changed what was read.
static int interpret_original(struct diff *d)
{
    struct command_source original;
    int status = run_open(d->command, &d->request, &original, d->diags);
    if (status == EXIT_OK)
        status = interpret(d, find_graph(original.module), NULL, &d->outputs[0]);
    command_close(&original);
    return status;
}

static const tg_env *begin(void *diff, const struct run_facts *facts, const tg_env *env)
{
    struct diff *d = diff;
    const struct interp_watch watch = {is_compared, record, d};
    d->facts = *facts;
    d->n_outputs = facts->code->n_outputs;
    d->symbols = launches_symbols(&d->launches, facts->code, facts->symbols, &d->arena);
    d->output_differences = ARENA_ARRAY(&d->arena, struct check_difference, d->n_outputs + 1);
    bool failed = (!d->launches_only && interpret_original(d) != EXIT_OK) ||
                  (d->graph && interpret(d, d->graph, &watch, &d->outputs[1]) != EXIT_OK);
    return failed ? NULL : env; // what the interpreter refuses would be told again by the run
}

// ---- Memory of launches ----------------------------------------------------------------------------------------

// Calls move(memory, packed, bytes) for each element of a value that lies in memory with strides, in row-major order.
static void walk(const struct interp_tensor *x, const int64_t *strides, char *memory, char *packed,
                 void (*move)(char *memory, char *packed, size_t bytes))
{
    int64_t index[MAX_RANK] = {0}, width = dtype_bytes(x->dtype), n = x->bytes / width, at = 0;
    for (int64_t i = 0; i < n; i++) {
        move(memory + at * width, packed + i * width, (size_t)width);
        for (int k = x->rank - 1; k >= 0; k--) {
            at += strides[k];
            if (++index[k] < x->dims[k])
                break;
            at -= index[k] * strides[k];
            index[k] = 0;
        }
    }
}

static void take(char *memory, char *packed, size_t bytes)
{
    memcpy(packed, memory, bytes);
}

static void put(char *memory, char *packed, size_t bytes)
{
    memcpy(memory, packed, bytes);
}

static void merge(struct check_difference *into, const struct check_difference *d)
{
    struct check_difference sum = d->worst > into->worst ? *d : *into;
    sum.n_wrong = into->n_wrong + d->n_wrong;
    sum.n_lost = into->n_lost + d->n_lost;
    sum.n_nan = into->n_nan + d->n_nan;
    sum.n_infinite = into->n_infinite + d->n_infinite;
    sum.absolute = into->absolute > d->absolute ? into->absolute : d->absolute;
    sum.relative = into->relative > d->relative ? into->relative : d->relative;
    sum.ulp = into->ulp > d->ulp ? into->ulp : d->ulp;
    *into = sum;
}

static void keep_first(const struct diff_row **first, struct check_difference *found, const struct diff_row *row,
                       const struct check_difference *d)
{
    if (*first)
        return;
    *first = row;
    *found = *d;
}

static void note_exact(struct diff *d, struct diff_row *row, int time, const struct check_difference *found)
{
    merge(&row->own, found);
    if (found->worst <= 1)
        return;
    d->first_time = d->first ? d->first_time : time;
    keep_first(&d->first, &d->first_found, row, found);
}

static void note_run(struct diff *d, struct diff_row *row, const struct check_difference *found)
{
    row->times++;
    merge(&row->run, found);
    if (found->worst > 1)
        keep_first(&d->drifted, &d->drifted_found, row, found);
    if (found->n_nan + found->n_infinite)
        keep_first(&d->nonfinite, &d->nonfinite_found, row, found);
}

static void compare(struct diff *d, struct diff_row *row, const tg_arg *args)
{
    const struct origin_result *r = result_of(d, row);
    const struct diff_record *record = &d->records[r->value->id];
    int time = d->times[r->value->id]++;
    int64_t strides[MAX_RANK];
    if (time >= record->n)
        return;
    const struct interp_tensor *x = &record->x[time];
    for (int k = 0; k < x->rank; k++)
        if (!dims_eval(d->launches.m, r->strides[k], d->symbols, &strides[k]))
            return;
    char *memory = args[r->param].pointer, *have = malloc((size_t)x->bytes + 1);
    if (!have) {
        d->forgot = true;
        return;
    }
    walk(x, strides, memory, have, take);
    struct check_difference found =
        check_compare(x->dtype, x->data, have, x->bytes / dtype_bytes(x->dtype), diff_limit(d, x->dtype));
    if (d->exact) {
        note_exact(d, row, time, &found);
        walk(x, strides, memory, x->data, put);
    } else {
        note_run(d, row, &found);
    }
    free(have);
}

static void note_launch(void *user, int32_t launch, int32_t ended, const tg_arg *args)
{
    struct diff *d = user;
    if (ended)
        for (int i = d->row_of[launch]; i < d->row_of[launch + 1]; i++)
            compare(d, &d->rows[i], args);
}

// ---- Runs ------------------------------------------------------------------------------------------------------

static void before_run(void *diff, bool counts)
{
    struct diff *d = diff;
    d->exact = counts; // the run that is no warming up
    if (d->graph)
        memset(d->times, 0, sizeof *d->times * ((size_t)d->graph->n_values + 1));
}

static void after_run(void *diff)
{
    struct diff *d = diff;
    for (int i = 0; i < d->n_outputs && d->outputs[0] && !d->exact; i++) {
        const struct interp_tensor *want = &d->outputs[0][i];
        int64_t n = want->bytes / dtype_bytes(want->dtype);
        d->output_differences[i] =
            check_compare(want->dtype, want->data, d->facts.out[i].data, n, diff_limit(d, want->dtype));
    }
}

static void print_nothing(void *diff, bool json)
{
    (void)diff;
    (void)json;
}

static void find_rows(struct diff *d)
{
    struct arena *a = &d->arena;
    d->launches = launches_find(d->source.module, a);
    int n = 0;
    d->row_of = ARENA_ARRAY(a, int, d->launches.n + 1);
    for (int i = 0; i < d->launches.n; i++) {
        const struct origin *o = d->launches.list[i]->loc.origin;
        d->graph = o ? o->graph : d->graph;
        d->row_of[i] = n;
        n += o ? o->n_results : 0;
    }
    d->row_of[d->launches.n] = d->n_rows = n;
    d->rows = ARENA_ARRAY(a, struct diff_row, n + 1);
    for (int i = 0; i < d->launches.n; i++)
        for (int r = d->row_of[i]; r < d->row_of[i + 1]; r++)
            d->rows[r] = (struct diff_row){.launch = i, .result = r - d->row_of[i]};
    int n_values = d->graph ? d->graph->n_values : 0;
    d->records = ARENA_ARRAY(a, struct diff_record, n_values + 1);
    d->times = ARENA_ARRAY(a, int, n_values + 1);
}

int diff_run(struct diff *d)
{
    arena_init(&d->arena);
    struct launch_hook hook = {note_launch, d};
    struct run_watch watch = {.data = d,
                              .begin = begin,
                              .before_run = before_run,
                              .after_run = after_run,
                              .print = print_nothing,
                              .alone = true};
    d->options.hook = &hook;
    d->request.watch = &watch;
    d->request.repeat = 1;
    int status = run_open(d->command, &d->request, &d->source, d->diags);
    if (status == EXIT_OK && !find_graph(d->source.module)) {
        diag_error(d->diags, (struct loc){.file = d->request.file}, "holds no graph, so there is nothing to interpret");
        status = EXIT_ERROR;
    }
    if (status == EXIT_OK && (graph_compile(d->source.module, &d->options, d->diags) ||
                              model_load(d->source.module, &d->options, &d->loaded, d->diags)))
        status = EXIT_ERROR;
    if (status == EXIT_OK) {
        find_rows(d);
        status = run_model(d->command, &d->request, model_code(d->loaded), 0, d->diags);
    }
    return status;
}

void diff_finish(struct diff *d)
{
    for (int i = 0; d->graph && i < d->graph->n_values; i++) {
        for (int k = 0; k < d->records[i].n; k++)
            free(d->records[i].x[k].data);
        free(d->records[i].x);
    }
    for (int i = 0; i < 2; i++)
        for (int k = 0; d->outputs[i] && k < d->n_outputs; k++)
            free(d->outputs[i][k].data);
    model_unload(d->loaded);
    command_close(&d->source);
    arena_finish(&d->arena);
}
