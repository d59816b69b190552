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
    return &d->ops[row->launch]->loc.origin->results[row->result];
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

static bool has_row(const struct diff *d, const struct value *v)
{
    for (int i = 0; i < d->n_rows; i++)
        if (diff_value(d, &d->rows[i]) == v)
            return true;
    return false;
}

static bool is_compared(void *diff, const struct value *v)
{
    return has_row(diff, v);
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

static void count_odd_inputs(struct diff *d)
{
    const tg_model *code = d->facts.code;
    d->inputs = ARENA_ARRAY(&d->arena, struct check_difference, code->n_inputs + 1);
    for (int i = 0; i < code->n_inputs; i++) {
        const tg_tensor *x = &d->facts.in[i];
        enum dtype t = d->graph ? d->graph->params[i]->type->dtype : DTYPE_I1;
        int64_t n = 1;
        for (int k = 0; k < x->ndim; k++)
            n *= x->shape[k];
        if (dtype_is_float(t))
            d->inputs[i] = check_compare(t, x->data, x->data, n, 0);
    }
}

static const struct function *find_function(const struct module *m, enum function_kind kind)
{
    const struct function *f = m->first_function;
    while (f && f->kind != kind)
        f = f->next;
    return f;
}

// The file is read again, for the passes have changed what was read.
static int interpret_original(struct diff *d)
{
    struct command_source original;
    int status = run_open(d->command, &d->request, &original, d->diags);
    if (status == EXIT_OK)
        status = interpret(d, find_function(original.module, FUNCTION_GRAPH), NULL, &d->outputs[0]);
    command_close(&original);
    return status;
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

static void note_sight(struct diff_list *list, const struct diff_row *row, struct diff_sight *sight, int time,
                       const struct check_difference *found)
{
    if (sight->seen)
        return;
    *sight = (struct diff_sight){true, time, *found};
    list->rows[list->n++] = row;
}

static void note_exact(struct diff *d, struct diff_row *row, int time, const struct check_difference *found)
{
    merge(&row->own, found);
    if (found->worst > 1)
        note_sight(&d->faults, row, &row->fault, time, found);
}

static void note_run(struct diff *d, struct diff_row *row, int time, const struct check_difference *found)
{
    row->times++;
    merge(&row->run, found);
    if (found->worst > 1)
        note_sight(&d->drifted, row, &row->drift, time, found);
    if (found->n_nan + found->n_infinite)
        note_sight(&d->nonfinite, row, &row->nonfinite, time, found);
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
        if (!dims_eval(d->source.module, r->strides[k], d->symbols, &strides[k]))
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
        note_run(d, row, time, &found);
    }
    free(have);
}

static void note_launch(const tg_env *env, int32_t launch, int32_t ended, const tg_arg *args)
{
    struct diff *d = (struct diff *)(void *)env;
    if (ended)
        for (int i = d->row_of[launch]; i < d->row_of[launch + 1]; i++)
            compare(d, &d->rows[i], args);
}

// ---- Causes ----------------------------------------------------------------------------------------------------

// Looks for rows that a value is computed from by what is not compared: operations within a kernel, and views.
struct search {
    const struct diff *d;
    const struct diff_list *rows;
    int launch;    // that they must be of; -1: any
    bool *visited; // by value id
};

// Whether it is an input with elements that are no numbers, when rows with such elements are looked for.
static bool is_odd_input(const struct search *s, const struct value *v)
{
    const struct diff *d = s->d;
    for (int i = 0; s->launch < 0 && i < d->facts.code->n_inputs; i++)
        if (d->graph->params[i] == v)
            return d->inputs[i].n_nan + d->inputs[i].n_infinite;
    return false;
}

static bool is_found(const struct search *s, const struct value *v)
{
    if (is_odd_input(s, v))
        return true;
    for (int i = 0; i < s->rows->n; i++) {
        const struct diff_row *row = s->rows->rows[i];
        if (diff_value(s->d, row) == v && (s->launch < 0 || row->launch == s->launch))
            return true;
    }
    return false;
}

static bool comes_from(struct search *s, const struct value *v)
{
    if (!v->def || s->visited[v->id])
        return false;
    s->visited[v->id] = true;
    for (int i = 0; i < v->def->n_operands; i++) {
        const struct value *x = v->def->operands[i];
        if (is_found(s, x) || (!has_row(s->d, x) && comes_from(s, x)))
            return true;
    }
    return false;
}

static struct diff_list list_for(int n, struct arena *a)
{
    return (struct diff_list){.rows = ARENA_ARRAY(a, const struct diff_row *, n + 1)};
}

// Leaves out rows that are what they are because others are. Where launches have exact operands, those are others of
// the same kernel.
static void keep_causes(struct diff *d, struct diff_list *list, bool exact)
{
    struct diff_list kept = list_for(list->n, &d->arena);
    for (int i = 0; i < list->n; i++) {
        const struct diff_row *row = list->rows[i];
        struct search s = {d, list, exact ? row->launch : -1, ARENA_ARRAY(&d->arena, bool, d->graph->n_values + 1)};
        if (!comes_from(&s, diff_value(d, row)))
            kept.rows[kept.n++] = row;
    }
    *list = kept;
}

// ---- Runs ------------------------------------------------------------------------------------------------------

static int64_t *symbol_values(struct diff *d)
{
    const struct module *m = d->source.module;
    const tg_model *code = d->facts.code;
    int64_t *values = ARENA_ARRAY(&d->arena, int64_t, m->n_symbols + 1);
    for (int i = 0; i < m->n_symbols; i++) {
        values[i] = -1;
        for (int j = 0; j < code->n_symbols; j++)
            if (!strcmp(m->symbols[i], code->symbols[j]))
                values[i] = d->facts.symbols[j];
    }
    return values;
}

static const tg_env *begin(void *diff, const struct run_facts *facts, const tg_env *env)
{
    struct diff *d = diff;
    const struct interp_watch watch = {is_compared, record, d};
    d->facts = *facts;
    d->n_outputs = facts->code->n_outputs;
    launches_read(facts->code->launches[facts->target], &d->arena, &d->launches);
    d->symbols = symbol_values(d);
    d->output_differences = ARENA_ARRAY(&d->arena, struct check_difference, d->n_outputs + 1);
    count_odd_inputs(d);
    if ((!d->launches_only && interpret_original(d) != EXIT_OK) ||
        (d->graph && interpret(d, d->graph, &watch, &d->outputs[1]) != EXIT_OK))
        return NULL; // what the interpreter refuses would be told again by the run
    d->env = *env;
    d->env.on_launch = note_launch;
    return &d->env;
}

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
    d->n_launches = launches_of(find_function(d->source.module, FUNCTION_HOST), a, &d->ops);
    int n = 0;
    d->row_of = ARENA_ARRAY(a, int, d->n_launches + 1);
    for (int i = 0; i < d->n_launches; i++) {
        const struct origin *o = d->ops[i]->loc.origin;
        d->graph = o ? o->graph : d->graph;
        d->row_of[i] = n;
        n += o ? o->n_results : 0;
    }
    d->row_of[d->n_launches] = d->n_rows = n;
    d->rows = ARENA_ARRAY(a, struct diff_row, n + 1);
    d->faults = list_for(n, a);
    d->drifted = list_for(n, a);
    d->nonfinite = list_for(n, a);
    for (int i = 0; i < d->n_launches; i++)
        for (int r = d->row_of[i]; r < d->row_of[i + 1]; r++)
            d->rows[r] = (struct diff_row){.launch = i, .result = r - d->row_of[i]};
    int n_values = d->graph ? d->graph->n_values : 0;
    d->records = ARENA_ARRAY(a, struct diff_record, n_values + 1);
    d->times = ARENA_ARRAY(a, int, n_values + 1);
}

int diff_run(struct diff *d)
{
    arena_init(&d->arena);
    struct run_watch watch = {.data = d,
                              .begin = begin,
                              .before_run = before_run,
                              .after_run = after_run,
                              .print = print_nothing,
                              .alone = true};
    d->request.watch = &watch;
    d->request.repeat = 1;
    d->options.pipeline.keep_graphs = true;
    int status = run_open(d->command, &d->request, &d->source, d->diags);
    if (status == EXIT_OK && !find_function(d->source.module, FUNCTION_GRAPH)) {
        diag_error(d->diags, (struct loc){.file = d->request.file}, "holds no graph, so there is nothing to interpret");
        status = EXIT_ERROR;
    }
    if (status == EXIT_OK && (graph_compile(d->source.module, &d->options, d->diags) ||
                              model_load(d->source.module, &d->options, &d->loaded, d->diags)))
        status = EXIT_ERROR;
    if (status == EXIT_OK) {
        find_rows(d);
        status = run_model(d->command, &d->request, model_code(d->loaded), &(struct run_load){0}, d->diags);
        keep_causes(d, &d->faults, true);
        keep_causes(d, &d->nonfinite, false);
    }
    return status;
}

void diff_finish(struct diff *d)
{
    if (d->single)
        diff_finish(d->single);
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
