// Running graphs: symbols from the sizes of inputs, values made from memory and back, and when they end. Values live
// from the operation that makes them to the last one that reads them; constants only while an operation reads them.
#include "ir/interp_graph.h"

#include <stdlib.h>
#include <string.h>

#include "ir/dims.h"
#include "ir/interp_state.h"

// ---- Sizes -----------------------------------------------------------------------------------------------------

struct unbound {
    const bool *bound;
    int id; // a symbol without a value; -1: none
};

static void find_unbound(void *data, int id)
{
    struct unbound *u = data;
    if (!u->bound[id])
        u->id = id;
}

bool interp_size(struct interp *in, const struct op *op, dim d, int64_t *size)
{
    const struct module *m = in->k->module;
    if (d == DIM_UNKNOWN)
        return interp_fail(in, op, "a size is unknown");
    struct unbound unbound = {in->bound, -1};
    dims_symbols(m, d, find_unbound, &unbound);
    if (unbound.id >= 0) {
        in->undecided = true;
        return !in->quiet && interp_fail(in, op, "the size %s has no value: %s is not the size of an input",
                                         dim_string(&in->diags->arena, m, d), m->symbols[unbound.id]);
    }
    if (!dims_eval(m, d, in->symbols, size))
        return interp_fail(in, op, "the size %s overflows or divides by 0 for these inputs",
                           dim_string(&in->diags->arena, m, d));
    return true;
}

bool interp_resolve(struct interp *in, const struct op *op, const struct value *v)
{
    struct content *c = &in->contents[v->id];
    if (c->type || in->k->kind != FUNCTION_GRAPH || v->type->kind != TYPE_TENSOR)
        return true;
    struct type t = *v->type;
    int64_t elements = 1;
    for (int d = 0; d < t.rank; d++) {
        if (!interp_size(in, op, v->type->dims[d], &t.dims[d]))
            return false;
        if (t.dims[d] < 0)
            return interp_fail(in, op, "the size %s is %lld for these inputs",
                               dim_string(&in->diags->arena, in->k->module, v->type->dims[d]), (long long)t.dims[d]);
        if (t.dims[d] && __builtin_mul_overflow(elements, t.dims[d], &elements))
            return interp_fail(in, op, "the tensor is too large");
    }
    c->owned_type = malloc(sizeof t);
    if (!c->owned_type)
        return interp_fail(in, op, "out of memory");
    *c->owned_type = t;
    c->type = c->owned_type;
    return true;
}

bool interp_sizes(struct interp *in, const struct op *op)
{
    struct dims dims = op_attr(op, ATTR_DIMS)->dims;
    union scalar *result = interp_result(in, op, op->results[0]);
    for (int i = 0; result && i < dims.n; i++) {
        int64_t size;
        if (!interp_size(in, op, dims.v[i], &size))
            return false;
        result[i].i = dtype_wrap(op->results[0]->type->dtype, size);
    }
    return result != NULL;
}

bool interp_assert(struct interp *in, const struct op *op)
{
    return interp_index(in, op->operands[0]) || interp_fail(in, op, "%s", op_attr(op, ATTR_MESSAGE)->string);
}

// ---- Values from and to memory ---------------------------------------------------------------------------------

static bool read_elements(struct interp *in, const struct op *op, const struct value *v, const void *bytes)
{
    union scalar *x = interp_result(in, op, v);
    int64_t n = x ? type_elements(interp_type(in, v)) : 0;
    if (!x || !interp_charge(in, op, n))
        return false;
    for (int64_t i = 0; i < n; i++)
        x[i] = dtype_array_load(v->type->dtype, bytes, i);
    return true;
}

static bool make_tensor(struct interp *in, const struct op *op, const struct value *v, struct interp_tensor *tensor)
{
    const struct type *t = interp_type(in, v);
    int64_t bytes = dtype_array_bytes(t->dtype, type_elements(t));
    *tensor = (struct interp_tensor){.dtype = t->dtype, .rank = t->rank, .bytes = bytes};
    memcpy(tensor->dims, t->dims, sizeof *t->dims * (size_t)t->rank);
    tensor->data = bytes >= 0 ? calloc((size_t)bytes + 1, 1) : NULL; // there may be no elements
    return tensor->data || interp_fail(in, op, "out of memory");
}

static bool write_tensor(struct interp *in, const struct op *op, const struct value *v, struct interp_tensor *tensor)
{
    const struct type *t = interp_type(in, v);
    const union scalar *x = interp_elements(in, v);
    int64_t n = type_elements(t);
    if (!make_tensor(in, op, v, tensor))
        return false;
    for (int64_t i = 0; i < n; i++)
        dtype_array_store(t->dtype, tensor->data, i, x[i]);
    return true;
}

// All of them, or none.
static bool write_tensors(struct interp *in, const struct op *op, int n, struct value *const *values,
                          struct interp_tensor *tensors)
{
    struct interp_tensor *made = calloc((size_t)n + 1, sizeof *made);
    bool ok = made || interp_fail(in, op, "out of memory");
    int done = 0;
    for (; ok && done < n; done++)
        ok = write_tensor(in, op, values[done], &made[done]);
    if (ok)
        memcpy(tensors, made, sizeof *made * (size_t)n);
    for (int i = 0; !ok && i < done; i++)
        free(made[i].data);
    free(made);
    return ok;
}

// ---- The life of values ----------------------------------------------------------------------------------------

bool interp_show(struct interp *in, const struct op *op)
{
    const struct interp_watch *watch = in->watch;
    for (int i = 0; i < op->n_results; i++) {
        const struct value *v = op->results[i];
        struct interp_tensor x;
        if (v->type->kind != TYPE_TENSOR || !watch->wants(watch->user, v))
            continue;
        if (!write_tensor(in, op, v, &x))
            return false;
        watch->call(watch->user, v, &x);
    }
    return true;
}

static bool is_constant(const struct value *v)
{
    return v->def && (v->def->code == OP_CONSTANT || v->def->code == OP_DATA);
}

static bool make_operand(struct interp *in, const struct op *op, const struct value *v)
{
    if (in->contents[v->id].elements)
        return true;
    if (is_constant(v)) {
        if (!interp_resolve(in, v->def, v))
            return false;
        return v->def->code == OP_CONSTANT ? interp_constant(in, v->def)
                                           : read_elements(in, v->def, v, op_attr(v->def, ATTR_DATA)->data.bytes);
    }
    in->undecided = true;
    return !in->quiet && interp_fail(in, op, "an operand has no value yet");
}

bool interp_prepare(struct interp *in, const struct op *op)
{
    if (in->k->kind != FUNCTION_GRAPH)
        return true;
    for (int i = 0; i < op->n_operands; i++)
        if (!make_operand(in, op, op->operands[i]))
            return false;
    for (int i = 0; i < op->n_results; i++)
        if (!interp_resolve(in, op, op->results[i]))
            return false;
    return true;
}

static void drop(struct interp *in, const struct value *v)
{
    struct content *c = &in->contents[v->id];
    if (!c->elements)
        return;
    in->room += type_elements(interp_type(in, v));
    free(c->elements);
    c->elements = NULL;
}

// What op and its blocks read, if `at` is the last to read it; and all that its blocks define.
static void drop_read(struct interp *in, const struct op *op, const struct op *at)
{
    for (int i = 0; i < op->n_operands; i++)
        if (is_constant(op->operands[i]) || in->last_use[op->operands[i]->id] == at)
            drop(in, op->operands[i]);
    for (int i = 0; i < op->n_blocks; i++) {
        const struct block *b = op->blocks[i];
        for (int j = 0; j < b->n_args; j++)
            drop(in, b->args[j]);
        for (const struct op *inner = b->first; inner; inner = inner->next) {
            drop_read(in, inner, at);
            for (int j = 0; j < inner->n_results; j++)
                drop(in, inner->results[j]);
        }
    }
}

void interp_retire(struct interp *in, const struct op *op)
{
    if (!in->last_use)
        return;
    drop_read(in, op, op);
    for (int i = 0; i < op->n_results; i++)
        if (!in->last_use[op->results[i]->id])
            drop(in, op->results[i]);
}

static void find_last_uses(struct interp *in, const struct block *b)
{
    for (const struct op *op = b->first; op; op = op->next) {
        for (int i = 0; i < op->n_operands; i++) {
            const struct value *v = op->operands[i];
            const struct block *home = v->def ? v->def->block : v->block ? v->block : in->k->body;
            const struct op *user = op;
            while (user->block != home)
                user = user->block->parent;
            in->last_use[v->id] = user;
        }
        for (int i = 0; i < op->n_blocks; i++)
            find_last_uses(in, op->blocks[i]);
    }
}

// ---- Graphs ----------------------------------------------------------------------------------------------------

static const char *input_name(const struct interp *in, int i)
{
    const struct function *g = in->k;
    if (g->input_names && i < g->n_inputs && g->input_names[i])
        return g->input_names[i];
    return g->params[i]->name ? g->params[i]->name : "";
}

static bool check_input(struct interp *in, int i, const struct interp_tensor *x)
{
    const struct type *t = in->k->params[i]->type;
    const char *name = input_name(in, i);
    if (x->dtype != t->dtype)
        return interp_fail(in, NULL, "input %d '%s' holds %s; give %s", i, name, dtype_info[x->dtype].name,
                           dtype_info[t->dtype].name);
    if (x->rank != t->rank)
        return interp_fail(in, NULL, "input %d '%s' has %d dimensions; give %d", i, name, x->rank, t->rank);
    int64_t n = 1;
    bool empty = false;
    for (int d = 0; d < x->rank; d++) {
        if (x->dims[d] < 0)
            return interp_fail(in, NULL, "input %d '%s' has size %lld in dimension %d", i, name, (long long)x->dims[d],
                               d);
        empty |= x->dims[d] == 0;
        if (x->dims[d] && __builtin_mul_overflow(n, x->dims[d], &n))
            return interp_fail(in, NULL, "input %d '%s' is too large", i, name);
    }
    int64_t bytes = empty ? 0 : dtype_array_bytes(t->dtype, n);
    if (bytes < 0)
        return interp_fail(in, NULL, "input %d '%s' is too large", i, name);
    if (x->bytes != bytes || (bytes && !x->data))
        return interp_fail(in, NULL, "input %d '%s' has %lld bytes; its sizes take %lld", i, name,
                           (long long)(x->data ? x->bytes : 0), (long long)bytes);
    return true;
}

struct only {
    int id, n;
};

static void count_symbols(void *data, int id)
{
    struct only *o = data;
    o->id = id;
    o->n++;
}

// The symbol that a size is; -1 if it is an expression or a constant.
static int free_symbol(const struct module *m, dim d)
{
    struct only o = {-1, 0};
    dims_symbols(m, d, count_symbols, &o);
    return o.n == 1 && d == dim_symbol(o.id) ? o.id : -1;
}

// Symbols get their values where they first stand for a whole size; all the sizes must then be what the types say.
static bool bind_inputs(struct interp *in, const struct interp_tensor *inputs, int64_t *symbols, bool *bound)
{
    const struct function *g = in->k;
    for (int i = 0; i < g->n_params; i++) {
        if (!check_input(in, i, &inputs[i]))
            return false;
        for (int d = 0; d < inputs[i].rank; d++) {
            int id = free_symbol(g->module, g->params[i]->type->dims[d]);
            if (id < 0 || bound[id])
                continue;
            bound[id] = true;
            symbols[id] = inputs[i].dims[d];
        }
    }
    for (int i = 0; i < g->n_params; i++)
        for (int d = 0; d < inputs[i].rank; d++) {
            dim want = g->params[i]->type->dims[d];
            int64_t size;
            if (want == DIM_UNKNOWN)
                return interp_fail(in, NULL, "the size of input %d '%s' in dimension %d is unknown", i,
                                   input_name(in, i), d);
            if (!interp_size(in, NULL, want, &size))
                return false;
            if (size != inputs[i].dims[d])
                return interp_fail(in, NULL, "input %d '%s' has size %lld in dimension %d; %s%s%lld is wanted", i,
                                   input_name(in, i), (long long)inputs[i].dims[d], d,
                                   dim_is_symbol(want) ? dim_string(&in->diags->arena, g->module, want) : "",
                                   dim_is_symbol(want) ? " = " : "", (long long)size);
        }
    return true;
}

static bool set_values(struct interp *in, const struct interp_tensor *inputs)
{
    const struct function *g = in->k;
    for (int i = 0; i < g->n_symbols; i++) {
        int64_t size;
        if (!g->symbols[i])
            continue;
        union scalar *x = interp_result(in, NULL, g->symbols[i]);
        if (!x || !interp_size(in, NULL, dim_symbol(i), &size))
            return false;
        x->i = size;
    }
    for (int i = 0; i < g->n_params; i++)
        if (!read_elements(in, NULL, g->params[i], inputs[i].data))
            return false;
    return true;
}

static bool run_graph(struct interp *in, const struct interp_tensor *inputs, struct interp_tensor *outputs)
{
    const struct function *g = in->k;
    const struct op *end = block_terminator(g->body);
    if (!end)
        return interp_fail(in, NULL, "its body yields nothing");
    find_last_uses(in, g->body);
    return set_values(in, inputs) && interp_block(in, g->body) &&
           write_tensors(in, end, end->n_operands, end->operands, outputs);
}

static void finish(struct interp *in, int64_t *symbols, bool *bound)
{
    free(in->contents);
    free(in->last_use);
    free(symbols);
    free(bound);
}

static struct interp start(const struct function *g, int64_t budget, struct diags *diags, int64_t **symbols,
                           bool **bound)
{
    struct interp in = {
        .k = (struct function *)g, .diags = diags, .budget = budget > 0 ? budget : INTERP_BUDGET, .room = INTERP_ROOM};
    size_t n = (size_t)g->module->n_symbols + 1;
    in.contents = calloc((size_t)g->n_values + 1, sizeof *in.contents);
    in.symbols = *symbols = calloc(n, sizeof **symbols);
    in.bound = *bound = calloc(n, sizeof **bound);
    return in;
}

int interp_graph(const struct function *g, const struct interp_tensor *inputs, struct interp_tensor *outputs,
                 int64_t budget, struct diags *diags)
{
    return interp_graph_watched(g, inputs, outputs, budget, NULL, diags);
}

int interp_graph_watched(const struct function *g, const struct interp_tensor *inputs, struct interp_tensor *outputs,
                         int64_t budget, const struct interp_watch *watch, struct diags *diags)
{
    int64_t *symbols;
    bool *bound;
    struct interp in = start(g, budget, diags, &symbols, &bound);
    in.watch = watch;
    in.last_use = calloc((size_t)g->n_values + 1, sizeof *in.last_use);
    bool ok = false;
    if (g->kind != FUNCTION_GRAPH)
        diag_error(diags, g->loc, "@%s is not a graph", g->name);
    else if (!in.contents || !symbols || !bound || !in.last_use)
        interp_fail(&in, NULL, "out of memory");
    else
        ok = bind_inputs(&in, inputs, symbols, bound) && run_graph(&in, inputs, outputs);
    for (int i = 0; in.contents && i < g->n_values; i++)
        interp_release(&in, &in.contents[i]);
    finish(&in, symbols, bound);
    return !ok;
}

// ---- Single operations -----------------------------------------------------------------------------------------

// Elements in memory, or one that stands for all.
struct source {
    const void *bytes;
    union scalar splat;
};

static bool find_source(struct interp *in, const struct op *op, const struct value *v,
                        const struct interp_tensor *given, struct source *s)
{
    *s = (struct source){0};
    if (!interp_resolve(in, op, v))
        return false;
    if (given)
        s->bytes = given->data;
    else if (v->def && v->def->code == OP_DATA)
        s->bytes = op_attr(v->def, ATTR_DATA)->data.bytes;
    else if (v->def && v->def->code == OP_CONSTANT)
        s->splat = scalar_from_number(v->type->dtype, op_attr(v->def, ATTR_VALUE)->number);
    else
        in->undecided = true;
    return !in->undecided;
}

static bool is_rearranging(const struct op *op)
{
    return op->code == OP_TRANSPOSE || op->code == OP_RESHAPE || op->code == OP_BROADCAST;
}

// Element by element from memory to memory: as elements of the interpreter large weights would take several times the
// room.
static bool stream(struct interp *in, const struct op *op, const struct interp_tensor *operands,
                   struct interp_tensor *result)
{
    const struct value *r = op->results[0];
    struct source from[3];
    for (int i = 0; i < op->n_operands; i++)
        if (!find_source(in, op, op->operands[i], operands ? &operands[i] : NULL, &from[i]))
            return false;
    if (!interp_resolve(in, op, r) || !interp_charge(in, op, type_elements(interp_type(in, r))))
        return false;
    struct walk w = walk_create(r->type->rank, interp_type(in, r)->dims);
    for (int i = 0; i < op->n_operands && !is_rearranging(op); i++)
        walk_broadcast(&w, i, interp_type(in, op->operands[i]));
    struct interp_tensor made;
    if ((is_rearranging(op) && !interp_rearranged(in, op, &w)) || !make_tensor(in, op, r, &made))
        return false;
    int64_t at = 0;
    for (bool more = walk_first(&w); more; more = walk_next(&w)) {
        union scalar x[3] = {{0}};
        for (int i = 0; i < op->n_operands; i++)
            x[i] =
                from[i].bytes ? dtype_array_load(op->operands[i]->type->dtype, from[i].bytes, w.at[i]) : from[i].splat;
        dtype_array_store(r->type->dtype, made.data, at++, is_rearranging(op) ? x[0] : interp_element(op, x));
    }
    *result = made;
    return true;
}

static bool run_one(struct interp *in, const struct op *op, const struct interp_tensor *operands,
                    struct interp_tensor *results)
{
    if (opcode_is_scalar(op->code) || op->code == OP_CAST || op->code == OP_BITCAST || is_rearranging(op))
        return stream(in, op, operands, results);
    for (int i = 0; operands && i < op->n_operands; i++)
        if (!in->contents[op->operands[i]->id].elements && !read_elements(in, op, op->operands[i], operands[i].data))
            return false;
    return interp_op(in, op) && write_tensors(in, op, op->n_results, op->results, results);
}

// Not all values of the graph, of which there may be many more.
static void release_op(struct interp *in, const struct op *op)
{
    for (int i = 0; i < op->n_operands; i++)
        interp_release(in, &in->contents[op->operands[i]->id]);
    for (int i = 0; i < op->n_results; i++)
        interp_release(in, &in->contents[op->results[i]->id]);
    for (int i = 0; i < op->n_blocks; i++) {
        const struct block *b = op->blocks[i];
        for (int j = 0; j < b->n_args; j++)
            interp_release(in, &in->contents[b->args[j]->id]);
        for (const struct op *inner = b->first; inner; inner = inner->next)
            release_op(in, inner);
    }
}

int interp_graph_op(const struct op *op, const struct function *g, const struct interp_tensor *operands,
                    struct interp_tensor *results, int64_t budget, struct diags *diags)
{
    int64_t *symbols;
    bool *bound;
    struct interp in = start(g, budget, diags, &symbols, &bound);
    in.quiet = true;
    bool ok = false;
    if (!in.contents || !symbols || !bound)
        interp_fail(&in, op, "out of memory");
    else
        ok = run_one(&in, op, operands, results);
    bool undecided = in.undecided;
    if (in.contents)
        release_op(&in, op);
    finish(&in, symbols, bound);
    return ok ? 0 : undecided ? 2 : 1;
}
