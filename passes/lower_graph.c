// Graphs to kernels and host functions.
//
//   graph @main(%x: tensor<Nx784xf32>) -> ("y") { .. }
//     becomes
//   kernel @k0_einsum_add_relu(..) grid [..] { .. }      one per group of operations (group.c)
//   host @main(%x: view<Nx784xf32>, %y: view<Nx10xf32>) { %t = buffer .. launch "k0_einsum_add_relu" %x, .. }
//
// Every value that more than its group reads gets memory, in an order of dimensions that suits its producer: a buffer,
// or that of an operand which nothing needs any more (in_place.c). Layout operations are views of memory: transposes,
// reshapes, slices and broadcasts launch nothing. Values that are handed over by the block, concatenated, or reshaped
// in a way that no plain view can express are written where they end up, or read by the parts of their dimensions.
// Copies remain where an input or a constant is handed over, where one value ends up in two places, and where a kernel
// needs a dimension whole that is split in memory.
#include "passes/lower_graph.h"

#include <stdarg.h>
#include <string.h>

#include "ir/dims.h"
#include "runtime/memory.h"

void lower_graph_error(struct lowering *l, struct loc loc, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (!l->failed)
        diag_error(l->diags, loc, "%s", arena_vprintf(&l->diags->arena, format, args));
    va_end(args);
    l->failed = true;
}

// ---- Places ----------------------------------------------------------------------------------------------------

struct place lower_graph_allocate(struct lowering *l, const struct type *t, const int *order)
{
    struct storage *s = ARENA_NEW(l->arena, struct storage);
    struct type *view = type_view(l->m, t->dtype, t->rank, t->dims, NULL);
    s->type = view;
    s->view = build_value(&l->b, OP_BUFFER, 0, NULL, 0, NULL, view);
    return (struct place){s, tensor_view_create(l->m, t, order)};
}

struct storage *lower_graph_constant(struct lowering *l, const struct type *t, struct data data)
{
    struct storage *s = ARENA_NEW(l->arena, struct storage);
    s->type = t;
    s->data = data;
    return s;
}

void lower_graph_let_go(const struct storage *s)
{
    if (s->data.mapped)
        memory_let_go(s->data.bytes, (size_t)s->data.size);
}

struct value *lower_graph_memory(struct lowering *l, struct storage *s)
{
    if (!s->view) { // a constant
        struct type *t = type_view(l->m, s->type->dtype, s->type->rank, s->type->dims, NULL);
        struct builder first = l->b;
        first.block = l->host->body;
        first.before = l->host->body->first;
        s->view = build_value(&first, OP_DATA, 0, NULL, 1, &(struct attr){ATTR_DATA, {.data = s->data}}, t);
    }
    return s->view;
}

// One element as a tensor of equal ones.
static struct place repeat(struct storage *s, const struct type *t)
{
    struct place p = {s, {.rank = t->rank}};
    memcpy(p.view.sizes, t->dims, sizeof(dim) * (size_t)t->rank);
    return p;
}

// A constant tensor with equal elements, where memory is needed.
static struct place splat(struct lowering *l, const struct type *t, struct number n)
{
    int bytes = (t->dtype == DTYPE_I1 ? 8 : dtype_info[t->dtype].bits + 7) / 8;
    union scalar x = {.i = n.i};
    if (dtype_is_float(t->dtype))
        x.f = n.is_float ? n.f : (double)n.i;
    uint64_t bits = dtype_bits(t->dtype, x);
    char *p = arena_alloc(&l->m->arena, sizeof bits);
    memcpy(p, &bits, sizeof bits);
    return repeat(lower_graph_constant(l, type_tensor(l->m, t->dtype, 0, NULL), (struct data){NULL, p, bytes, false}),
                  t);
}

// A scalar of the host where memory is needed.
static struct place store_scalar(struct lowering *l, const struct value *v)
{
    struct place p = lower_graph_allocate(l, type_tensor(l->m, v->type->dtype, 0, NULL), NULL);
    build_store(&l->b, lower_graph_scalar(l, (struct value *)v), p.storage->view, NULL);
    return p;
}

// The value's elements lie in the storage.
static void note_stored(struct lowering *l, struct storage *storage, const struct value *v)
{
    struct storage *root = storage_root(storage);
    struct stored *s = ARENA_NEW(l->arena, struct stored);
    *s = (struct stored){v, root->values};
    root->values = s;
}

struct place *lower_graph_set_place(struct lowering *l, const struct value *v, struct place p)
{
    note_stored(l, p.storage, v);
    l->places[v->id] = p;
    return &l->places[v->id];
}

// Copies a value from where its dimensions are split.
static void write_whole(struct lowering *l, const struct value *v, const struct place *from, struct place *to)
{
    int order[MAX_RANK];
    *to = lower_graph_allocate(l, v->type, layout_order(l, v, order));
    note_stored(l, to->storage, v);
    emit_copy(l, v->type, from, to, v->def->loc);
}

struct place *lower_graph_place(struct lowering *l, const struct value *v)
{
    struct place *p = &l->places[v->id];
    struct op *op = v->def;
    if (p->storage && p->view.tensor_rank) {
        if (!l->whole[v->id].storage)
            write_whole(l, v, p, &l->whole[v->id]);
        return &l->whole[v->id];
    }
    if (p->storage)
        return p;
    if (op && op->code == OP_DATA)
        *p = (struct place){lower_graph_constant(l, v->type, op_attr(op, ATTR_DATA)->data),
                            tensor_view_create(l->m, v->type, NULL)};
    else if (op && op->code == OP_CONSTANT)
        *p = splat(l, v->type, op_attr(op, ATTR_VALUE)->number);
    else if (v->type->kind == TYPE_SCALAR)
        *p = store_scalar(l, v);
    if (p->storage || !op)
        return p;
    if (!tensor_view_is_layout(op)) {
        lower_graph_error(l, op->loc, "%s: its result has no memory", op_info[op->code].name);
        p->storage = lower_graph_constant(l, v->type, (struct data){0});
        return p;
    }
    if (op->code == OP_DYNAMIC_SLICE)
        return *p = lower_loop_part(l, op, lower_graph_place(l, op->operands[0]), v->type, op->operands[1]), p;
    int order[MAX_RANK];
    struct place from = lower_graph_walked(l, op->operands[0]);
    bool has = tensor_split_apply(l->m, op, &from.view);
    if (!has) { // of the operand as it is split; of a copy that is not, perhaps
        from = *lower_graph_place(l, op->operands[0]);
        has = tensor_split_apply(l->m, op, &from.view);
    }
    if (has) {
        if (from.view.tensor_rank)
            write_whole(l, v, &from, p);
        else
            *p = from;
        return p;
    }
    // No view: the operand is written again, without gaps.
    const struct type *t = op->operands[0]->type;
    if (op->code == OP_RESHAPE) {
        tensor_view_order(l->m, &from.view, order); // as it lies, if that will do
        struct tensor_view view = tensor_view_create(l->m, t, order);
        lower_graph_set_place(l, v, lower_graph_allocate(l, t, tensor_view_apply(l->m, op, &view) ? order : NULL));
        emit_copy(l, t, &from, p, op->loc);
        if (!tensor_view_apply(l->m, op, &p->view))
            lower_graph_error(l, op->loc, "reshape: the sizes of %s and %s do not correspond",
                              type_string(l->arena, l->m, t), type_string(l->arena, l->m, v->type));
        return p;
    }
    lower_graph_set_place(l, v, lower_graph_allocate(l, v->type, layout_order(l, v, order)));
    emit_slice(l, op, &from, p);
    return p;
}

struct place lower_graph_walked(struct lowering *l, const struct value *v)
{
    if (l->places[v->id].storage)
        return l->places[v->id];
    if (v->def && tensor_view_is_layout(v->def)) {
        struct place from = lower_graph_walked(l, v->def->operands[0]);
        if (tensor_split_apply(l->m, v->def, &from.view)) {
            if (!from.view.tensor_rank)
                l->places[v->id] = from;
            return from;
        }
    }
    return *lower_graph_place(l, v);
}

struct place *lower_graph_result(struct lowering *l, struct value *v, const int *order)
{
    struct place *p = &l->places[v->id];
    return p->storage ? p : lower_graph_set_place(l, v, lower_graph_allocate(l, v->type, order));
}

void lower_graph_order_channels_last(int rank, int *order)
{
    order[0] = 0;
    for (int d = 2; d < rank; d++)
        order[d - 1] = d;
    order[rank - 1] = 1;
}

bool lower_graph_is_channels_last(const struct place *p)
{
    return p->view.sizes[1] == 1 || p->view.strides[1] == 1;
}

struct place *lower_graph_channels_last(struct lowering *l, const struct value *v)
{
    struct place *p = lower_graph_place(l, v), *copy = &l->channels_last[v->id];
    int order[MAX_RANK];
    if (lower_graph_is_channels_last(p))
        return p;
    if (copy->storage)
        return copy;
    lower_graph_order_channels_last(v->type->rank, order);
    *copy = lower_graph_allocate(l, v->type, order);
    emit_copy(l, v->type, p, copy, l->b.loc);
    return copy;
}

bool lower_graph_escapes(const struct lowering *l, const struct value *v)
{
    return l->places[v->id].storage || l->grouping.escapes[v->id];
}

// ---- Host ------------------------------------------------------------------------------------------------------

// One element of a tensor.
static struct value *load_element(struct lowering *l, const struct op *op)
{
    struct builder *b = &l->b;
    struct place p = *lower_graph_place(l, op->operands[0]);
    struct value *at = dims_build(b, p.view.offset);
    const char *outside = "extract: an index is not inside of the tensor";
    if (op->loc.node)
        outside = arena_printf(&l->m->arena, "node '%s': %s", op->loc.node, outside);
    for (int d = 0; d < p.view.rank; d++) {
        struct value *i = lower_graph_scalar(l, op->operands[1 + d]), *size = dims_build(b, p.view.sizes[d]);
        struct value *inside =
            build_binary(b, OP_AND, build_binary(b, OP_GE, i, build_index(b, 0)), build_binary(b, OP_LT, i, size));
        struct attr message = {ATTR_MESSAGE, {.string = outside}};
        build_op(b, OP_ASSERT, 1, &inside, 1, &message, 0, NULL);
        at = build_binary(b, OP_ADD, at, build_binary(b, OP_MUL, i, dims_build(b, p.view.strides[d])));
    }
    struct value *operands[2] = {lower_graph_memory(l, p.storage), at};
    enum dtype t = p.storage->type->dtype;
    struct value *view = build_value(b, OP_SUBVIEW, 2, operands, 0, NULL, type_view(l->m, t, 0, NULL, NULL));
    return build_load(b, view, NULL, type_scalar(l->m, t), NULL);
}

// A scalar in the host function: arithmetic on sizes and on single elements of tensors.
struct value *lower_graph_scalar(struct lowering *l, struct value *v)
{
    struct value **have = &l->host_scalars[v->id];
    if (*have)
        return *have;
    if (v->symbol >= 0)
        return *have = function_symbol(l->host, v->symbol);
    const struct op *op = v->def;
    struct value *x[MAX_OPERANDS];
    if (op && op->code == OP_DIM)
        return *have = dims_build(&l->b, op->operands[0]->type->dims[op_int(op, ATTR_DIM, 0)]);
    if (op && op->code == OP_EXTRACT)
        return *have = load_element(l, op);
    bool scalar =
        op && (opcode_is_scalar(op->code) || op->code == OP_CAST || op->code == OP_CONSTANT || op->code == OP_ASSUME);
    for (int i = 0; scalar && i < op->n_operands; i++)
        scalar = op->operands[i]->type->kind == TYPE_SCALAR;
    if (!scalar) {
        lower_graph_error(l, op ? op->loc : l->graph->loc, "%s: gives a scalar that the host cannot compute",
                          op ? op_info[op->code].name : "parameter");
        return *have = build_index(&l->b, 0);
    }
    for (int i = 0; i < op->n_operands; i++)
        x[i] = lower_graph_scalar(l, op->operands[i]);
    return *have = build_value(&l->b, op->code, op->n_operands, x, op->n_attrs, op->attrs, v->type);
}

static void lower_assert(struct lowering *l, const struct op *op)
{
    struct value *condition = lower_graph_scalar(l, op->operands[0]);
    build_op(&l->b, OP_ASSERT, 1, &condition, op->n_attrs, op->attrs, 0, NULL);
}

// ---- Nested blocks ---------------------------------------------------------------------------------------------

struct lower_graph_made lower_graph_remember(struct lowering *l)
{
    size_t n = (size_t)l->graph->n_values + 1;
    struct lower_graph_made now = {
        ARENA_ARRAY(l->arena, struct place, (int64_t)n), ARENA_ARRAY(l->arena, struct place, (int64_t)n),
        ARENA_ARRAY(l->arena, struct place, (int64_t)n), ARENA_ARRAY(l->arena, struct value *, (int64_t)n)};
    memcpy(now.places, l->places, sizeof *now.places * n);
    memcpy(now.channels_last, l->channels_last, sizeof *now.channels_last * n);
    memcpy(now.whole, l->whole, sizeof *now.whole * n);
    memcpy(now.host_scalars, l->host_scalars, sizeof *now.host_scalars * n);
    return now;
}

void lower_graph_go_back(struct lowering *l, const struct lower_graph_made *to)
{
    size_t n = (size_t)l->graph->n_values + 1;
    memcpy(l->places, to->places, sizeof *to->places * n);
    memcpy(l->channels_last, to->channels_last, sizeof *to->channels_last * n);
    memcpy(l->whole, to->whole, sizeof *to->whole * n);
    memcpy(l->host_scalars, to->host_scalars, sizeof *to->host_scalars * n);
}

static void lower_if(struct lowering *l, struct op *op)
{
    struct place results[MAX_OPERANDS];
    struct value *condition = lower_graph_scalar(l, op->operands[0]);
    for (int i = 0; i < op->n_results; i++)
        results[i] = *lower_graph_result(l, op->results[i], NULL);
    struct lower_graph_made before = lower_graph_remember(l);
    struct op *host = build_if(&l->b, condition, 0, NULL);
    for (int i = 0; i < 2; i++) {
        build_enter(&l->b, host->blocks[i]);
        lower_graph_block(l, op->blocks[i], results, false);
        build_yield(&l->b, 0, NULL);
        lower_graph_go_back(l, &before);
    }
    build_end(&l->b, host);
}

static void lower_sizes(struct lowering *l, struct op *op)
{
    struct value *v = op->results[0];
    struct place *p = lower_graph_result(l, v, NULL);
    struct dims dims = op_attr(op, ATTR_DIMS)->dims;
    struct value *at[2] = {p->storage->view, dims_build(&l->b, p->view.offset)};
    struct type *t = type_view(l->m, v->type->dtype, 1, (dim[]){dims.n}, NULL);
    struct value *view = build_value(&l->b, OP_SUBVIEW, 2, at, 0, NULL, t);
    for (int i = 0; i < dims.n; i++) {
        struct value *x = build_cast(&l->b, v->type->dtype, dims_build(&l->b, dims.v[i]));
        struct value *index = build_binary(&l->b, OP_MUL, build_index(&l->b, i),
                                           dims_build(&l->b, v->type->rank ? p->view.strides[0] : 1));
        build_store(&l->b, x, view, &index);
    }
}

static void lower_host(struct lowering *l, struct op *op)
{
    if (op->code == OP_IF)
        lower_if(l, op);
    else if (op->code == OP_FOR || op->code == OP_WHILE)
        lower_loop(l, op);
    else if (op->code == OP_ASSERT)
        lower_assert(l, op);
    else // scalars are made where they are asked for
        for (int i = 0; i < op->n_results; i++)
            if (op->results[i]->type->kind != TYPE_SCALAR)
                lower_graph_error(l, op->loc, "%s: is not supported by the lowering", op_info[op->code].name);
}

// ---- Blocks ----------------------------------------------------------------------------------------------------

static void lower_group(struct lowering *l, struct group *g)
{
    l->b.loc = g->ops[0]->loc;
    if (g->kind != GROUP_HOST && g->kind != GROUP_CONCAT)
        for (int i = 0; i < g->n_ops; i++)
            for (int o = 0; o < g->ops[i]->n_operands; o++) {
                struct value *v = g->ops[i]->operands[o];
                if (v->type->kind == TYPE_TENSOR && l->grouping.of[v->id] != g && !walk_reads(l, g, g->ops[i], o))
                    lower_graph_place(l, v);
            }
    switch (g->kind) {
    case GROUP_MAP:
    case GROUP_REDUCE:
        emit_map(l, g);
        break;
    case GROUP_EINSUM:
        emit_einsum(l, g);
        break;
    case GROUP_CONV:
        emit_conv(l, g);
        break;
    case GROUP_WINDOW:
        emit_window(l, g);
        break;
    case GROUP_PAD:
        emit_pad(l, g);
        break;
    case GROUP_CONCAT:
        bind_concat_rest(l, g->ops[0]);
        break;
    case GROUP_UPDATE:
        lower_loop_update(l, g);
        break;
    case GROUP_SIZES:
        if (g->ops[0]->results[0]->type->rank || lower_graph_escapes(l, g->ops[0]->results[0]))
            lower_sizes(l, g->ops[0]);
        break;
    case GROUP_HOST:
        lower_host(l, g->ops[0]);
        break;
    }
}

void lower_graph_block(struct lowering *l, struct block *b, const struct place *results, bool carries)
{
    struct grouping outer = l->grouping;
    group_operations(l, b, &l->grouping);
    layout_choose(l, b);
    for (int i = 0; i < l->grouping.n; i++)
        walk_begin(l, l->grouping.list[i]);
    const struct op *end = block_terminator(b);
    if (carries)
        lower_loop_bind(l, b, results);
    for (int i = 0; i < end->n_operands && !carries; i++)
        bind_value(l, b, end->operands[i], results[i]);
    bind_operands(l, b);
    for (int i = 0; i < l->grouping.n && !l->failed; i++)
        lower_group(l, l->grouping.list[i]);
    if (carries)
        lower_loop_hand_on(l, b, results);
    for (int i = 0; i < end->n_operands && !l->failed && !carries; i++)
        bind_put(l, end->operands[i], results[i], end->loc);
    l->grouping = outer;
}

static struct place parameter(struct lowering *l, const struct type *t, const char *name)
{
    struct storage *s = ARENA_NEW(l->arena, struct storage);
    s->type = type_view(l->m, t->dtype, t->rank, t->dims, NULL);
    s->view = function_add_param(l->host, name, (struct type *)s->type);
    return (struct place){s, tensor_view_create(l->m, t, NULL)};
}

static bool lower_function(struct module *m, struct function *graph, struct pass_context *c)
{
    struct lowering l = {.m = m,
                         .graph = graph,
                         .target = c->target,
                         .schedules = c->schedules,
                         .diags = c->diags,
                         .arena = c->scratch,
                         .unfused = c->unfused};
    const struct op *end = block_terminator(graph->body);
    lower_loop_prepare(graph->body, &(struct builder){.function = graph, .diags = c->diags});
    l.host = function_create(m, graph->name, graph->loc);
    l.host->kind = FUNCTION_HOST;
    l.host->n_inputs = graph->n_params;
    l.host->n_outputs = end->n_operands;
    l.host->input_names = graph->input_names;
    l.host->output_names = graph->output_names;
    l.b = (struct builder){.function = l.host, .block = l.host->body, .loc = graph->loc, .diags = c->diags};
    l.texts.arena = l.arena;
    l.places = ARENA_ARRAY(l.arena, struct place, graph->n_values + 1);
    l.channels_last = ARENA_ARRAY(l.arena, struct place, graph->n_values + 1);
    l.whole = ARENA_ARRAY(l.arena, struct place, graph->n_values + 1);
    l.host_scalars = ARENA_ARRAY(l.arena, struct value *, graph->n_values + 1);
    l.parts = ARENA_ARRAY(l.arena, struct place, graph->n_values + 1);
    for (int i = 0; i < graph->n_params; i++)
        lower_graph_set_place(&l, graph->params[i],
                              parameter(&l, graph->params[i]->type, arena_printf(&m->arena, "input%d", i)));
    struct place *results = ARENA_ARRAY(l.arena, struct place, end->n_operands + 1);
    for (int i = 0; i < end->n_operands; i++)
        results[i] = parameter(&l, end->operands[i]->type, arena_printf(&m->arena, "output%d", i));
    lower_graph_block(&l, graph->body, results, false);
    if (l.b.failed && !l.failed)
        lower_graph_error(&l, graph->loc, "the host function of @%s could not be built", graph->name);
    // The arena's size is known once memory is planned.
    struct builder grid = {.function = l.host, .block = l.host->grid, .loc = graph->loc, .diags = c->diags};
    struct value *zero = build_index(&grid, 0);
    build_yield(&grid, 1, &zero);
    build_yield(&l.b, 0, NULL);
    return !l.failed;
}

static void remove_function(struct module *m, const struct function *f)
{
    struct function **at = &m->first_function;
    while (*at != f)
        at = &(*at)->next;
    *at = f->next;
    m->last_function = m->first_function;
    while (m->last_function && m->last_function->next)
        m->last_function = m->last_function->next;
}

bool pass_lower_graph(struct module *m, struct pass_context *c)
{
    bool changed = false;
    for (struct function *f = m->first_function, *next; f; f = next) {
        next = f->next;
        if (f->kind != FUNCTION_GRAPH)
            continue;
        if (!lower_function(m, f, c))
            return true;
        remove_function(m, f);
        changed = true;
    }
    if (!c->keep_graphs)
        module_free_unread(m); // of what panels have been made
    return changed;
}
