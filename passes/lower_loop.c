// Loops of graphs: loops of the host function around launches.
//
//   %h, %y = for %t = 0 to S step 1 with (%a = %h0, %o = %y0) {       launch @k0_copy(%h0, %h)
//     %x = dynamic_slice %xs, %t, 0                                   for %t = 0 to S step 1 {
//     %z = add einsum(%a, %w), %x                                       %x = subview %xs[%t * N]
//     %b = tanh %z                                             =>       launch @k1_einsum_add_tanh(%h, %w, %x, %z)
//     %p = slice_update %o, %b, %t, 0                                   ..
//     yield %b, %p                                                    }
//   }
//
// A carried tensor has one place, that of the loop's result: it holds the initial value, then what each iteration
// yields. The kernel that computes the next value writes it there at once if what it overwrites is not read later in
// the iteration, and by that kernel only element by element where it writes (in_place.c). Otherwise the next value is
// copied there at the end of the iteration, all the values as if at the same time. Carried scalars are carried by the
// host's loop.
//
// A part of a tensor at a place that is found out at run time is a subview. Where a carried tensor is only passed
// through slice_update, the part is written into the loop's result and nothing is copied. If the parts of all
// iterations are the whole, what the loop starts from is not even written.
#include <string.h>

#include "ir/dims.h"
#include "passes/lower_graph.h"

int lower_loop_uses(const struct block *b, const struct value *v)
{
    int n = 0;
    for (const struct op *op = b->first; op; op = op->next) {
        for (int i = 0; i < op->n_operands; i++)
            n += op->operands[i] == v;
        for (int i = 0; i < op->n_blocks; i++)
            n += lower_loop_uses(op->blocks[i], v);
    }
    return n;
}

// ---- Counters --------------------------------------------------------------------------------------------------

// An index as a size expression; DIM_UNKNOWN if it is none.
static dim size_of(struct lowering *l, const struct value *v)
{
    const struct op *op = v->def;
    if (v->symbol >= 0)
        return dim_symbol(v->symbol);
    if (!op || v->type->kind != TYPE_SCALAR || v->type->dtype != DTYPE_INDEX)
        return DIM_UNKNOWN;
    switch (op->code) {
    case OP_CONSTANT:
        return dims_from_int(l->m, op_attr(op, ATTR_VALUE)->number.i);
    case OP_DIM:
        return op->operands[0]->type->dims[op_int(op, ATTR_DIM, 0)];
    case OP_ADD:
        return dims_add(l->m, size_of(l, op->operands[0]), size_of(l, op->operands[1]));
    case OP_SUB:
        return dims_sub(l->m, size_of(l, op->operands[0]), size_of(l, op->operands[1]));
    case OP_MUL:
        return dims_mul(l->m, size_of(l, op->operands[0]), size_of(l, op->operands[1]));
    default:
        return DIM_UNKNOWN;
    }
}

// The counter of `for %i = 0 to size step 1`.
static bool counts_to(struct lowering *l, const struct value *v, dim size)
{
    const struct op *loop = v->block ? v->block->parent : NULL;
    return loop && loop->code == OP_FOR && v == v->block->args[0] && size != DIM_UNKNOWN &&
           size_of(l, loop->operands[0]) == 0 && size_of(l, loop->operands[1]) == size &&
           size_of(l, loop->operands[2]) == 1;
}

// The counter of which v is each position of an axis once, forwards or backwards; NULL: there is none.
static const struct value *counter_of(struct lowering *l, const struct value *v, dim size)
{
    const struct op *op = v->def;
    if (op && op->code == OP_SUB && size_of(l, op->operands[0]) == dims_sub(l->m, size, 1))
        v = op->operands[1];
    return counts_to(l, v, size) ? v : NULL;
}

// Whether the host can compute a scalar where the block begins.
static bool known_at_start(const struct lowering *l, const struct block *b, const struct value *v)
{
    const struct op *op = v->def;
    if (l->host_scalars[v->id] || !op)
        return true;
    bool known = opcode_is_scalar(op->code) || op->code == OP_CAST || op->code == OP_CONSTANT ||
                 op->code == OP_ASSUME || op->code == OP_DIM;
    for (int i = 0; known && op->code != OP_DIM && i < op->n_operands; i++)
        known = op->operands[i]->type->kind == TYPE_SCALAR && known_at_start(l, b, op->operands[i]);
    return known;
}

// ---- Parts -----------------------------------------------------------------------------------------------------

static void assert_inside(struct lowering *l, const struct op *op, struct value *at, dim size, dim part)
{
    struct builder *b = &l->b;
    struct value *last = dims_build(b, dims_sub(l->m, size, part));
    struct value *inside =
        build_binary(b, OP_AND, build_binary(b, OP_GE, at, build_index(b, 0)), build_binary(b, OP_LE, at, last));
    const char *message =
        arena_printf(&l->m->arena, "%s: the part is not inside of the tensor", op_info[op->code].name);
    build_op(b, OP_ASSERT, 1, &inside, 1, &(struct attr){ATTR_MESSAGE, {.string = message}}, 0, NULL);
}

struct place lower_loop_part(struct lowering *l, const struct op *op, const struct place *whole, const struct type *t,
                             struct value *index)
{
    struct builder *b = &l->b;
    int64_t axis = op_int(op, ATTR_AXIS, 0);
    dim size = whole->view.sizes[axis], part = t->dims[axis];
    struct value *at = lower_graph_scalar(l, index);
    if (part != 1 || !counter_of(l, index, size))
        assert_inside(l, op, at, size, part);
    struct storage *s = ARENA_NEW(l->arena, struct storage);
    struct type *memory = type_view(l->m, t->dtype, 1, (dim[]){DIM_UNKNOWN}, NULL);
    at = build_binary(b, OP_MUL, at, dims_build(b, whole->view.strides[axis]));
    struct value *operands[2] = {lower_graph_memory(l, whole->storage), at};
    *s = (struct storage){.type = memory, .whole = whole->storage};
    s->view = build_value(b, OP_SUBVIEW, 2, operands, 0, NULL, memory);
    struct place p = {s, whole->view};
    p.view.sizes[axis] = part;
    return p;
}

void lower_loop_update(struct lowering *l, struct group *g)
{
    const struct op *op = g->ops[0];
    const struct value *result = op->results[0];
    struct place whole = *lower_graph_place(l, op->operands[0]);
    if (!l->places[result->id].storage && in_place_updates(l, g))
        lower_graph_set_place(l, result, whole);
    struct place to = *lower_graph_result(l, op->results[0], NULL), part = l->parts[result->id];
    if (!bind_same_place(&whole, &to))
        emit_copy(l, result->type, &whole, &to, op->loc);
    struct place from = *lower_graph_place(l, op->operands[1]);
    if (!part.storage)
        part = lower_loop_part(l, op, &to, op->operands[1]->type, op->operands[2]);
    if (!bind_same_place(&from, &part))
        emit_copy(l, op->operands[1]->type, &from, &part, op->loc);
}

// ---- The values that a loop carries ----------------------------------------------------------------------------

static int first_carried(const struct op *loop) // operand
{
    return loop->n_operands - loop->n_results;
}

// The body's name for carried value i.
static struct value *carried(const struct block *body, int i)
{
    return body->args[(body->parent->code == OP_FOR) + i];
}

static bool is_tensor(const struct value *v)
{
    return v->type->kind == TYPE_TENSOR;
}

// The updates between a carried tensor and what is yielded for it, if nothing else reads what they update: their
// number, else 0.
static int updates_only(const struct block *body, int i)
{
    int n = 0;
    const struct value *v = block_terminator(body)->operands[i], *arg = carried(body, i);
    while (v != arg) {
        if (!v->def || v->def->block != body || v->def->code != OP_SLICE_UPDATE ||
            lower_loop_uses(body, v->def->operands[0]) != 1)
            return 0;
        v = v->def->operands[0];
        n++;
    }
    return n;
}

// The part of a single update is bound. Those of several would be written in the order of their producers.
static void bind_updates(struct lowering *l, struct block *body, int i, int n, const struct place *at)
{
    struct value *v = block_terminator(body)->operands[i];
    const struct op *update = v->def;
    for (int u = 0; u < n; u++, v = v->def->operands[0])
        lower_graph_set_place(l, v, *at);
    if (n > 1 || !known_at_start(l, body, update->operands[2]))
        return;
    struct place part = lower_loop_part(l, update, at, update->operands[1]->type, update->operands[2]);
    l->parts[update->results[0]->id] = part;
    bind_value(l, body, update->operands[1], part);
}

// Groups that write all of their result once they have read what they need.
static bool may_overwrite(const struct group *g)
{
    return g->kind <= GROUP_PAD;
}

static void bind_next(struct lowering *l, struct block *body, struct value *v, struct place to)
{
    struct value *producer = bind_producer(l, body, v, &to);
    struct group *g = producer ? l->grouping.of[producer->id] : NULL;
    if (g && may_overwrite(g) && in_place_allows(l, g, producer, &to))
        lower_graph_set_place(l, producer, to);
}

void lower_loop_bind(struct lowering *l, struct block *body, const struct place *at)
{
    const struct op *end = block_terminator(body);
    for (int i = 0; i < end->n_operands; i++) {
        int n = is_tensor(end->operands[i]) ? updates_only(body, i) : 0;
        if (n)
            bind_updates(l, body, i, n, &at[i]);
    }
    for (int i = 0; i < end->n_operands; i++)
        if (is_tensor(end->operands[i]) && !l->places[end->operands[i]->id].storage)
            bind_next(l, body, end->operands[i], at[i]);
}

static bool lies_in_carried(const struct place *p, const struct block *body, const struct place *at)
{
    for (int i = 0; i < block_terminator(body)->n_operands; i++)
        if (is_tensor(block_terminator(body)->operands[i]) && storage_root(p->storage) == storage_root(at[i].storage))
            return true;
    return false;
}

void lower_loop_hand_on(struct lowering *l, struct block *body, const struct place *at)
{
    const struct op *end = block_terminator(body);
    struct place from[MAX_OPERANDS];
    for (int i = 0; i < end->n_operands && !l->failed; i++) // before memory changes that they may be loaded from
        if (!is_tensor(end->operands[i]))
            lower_graph_scalar(l, end->operands[i]);
    for (int i = 0; i < end->n_operands && !l->failed; i++) {
        if (!is_tensor(end->operands[i]))
            continue;
        from[i] = *lower_graph_place(l, end->operands[i]);
        if (bind_same_place(&from[i], &at[i]) || !lies_in_carried(&from[i], body, at))
            continue;
        struct place kept = lower_graph_allocate(l, end->operands[i]->type, NULL);
        emit_copy(l, end->operands[i]->type, &from[i], &kept, end->loc);
        from[i] = kept;
    }
    for (int i = 0; i < end->n_operands && !l->failed; i++)
        if (is_tensor(end->operands[i]) && !bind_same_place(&from[i], &at[i]))
            emit_copy(l, end->operands[i]->type, &from[i], &at[i], end->loc);
}

// ---- Loops -----------------------------------------------------------------------------------------------------

// Whether iterations write all of a carried tensor before anything reads it.
static bool is_overwritten(struct lowering *l, const struct op *loop, int i)
{
    const struct block *body = loop->blocks[0];
    if (loop->code != OP_FOR || updates_only(body, i) != 1)
        return false;
    const struct op *update = block_terminator(body)->operands[i]->def;
    int64_t axis = op_int(update, ATTR_AXIS, 0);
    return update->operands[1]->type->dims[axis] == 1 && lower_loop_uses(body, update->results[0]) == 1 &&
           counter_of(l, update->operands[2], update->results[0]->type->dims[axis]) == body->args[0];
}

static void place_initial(struct lowering *l, const struct op *op, int i, struct place *at)
{
    struct value *initial = op->operands[first_carried(op) + i];
    *at = *lower_graph_result(l, op->results[i], NULL);
    if (is_overwritten(l, op, i))
        return;
    struct place from = *lower_graph_place(l, initial);
    if (!bind_same_place(&from, at))
        emit_copy(l, initial->type, &from, at, op->loc);
}

// A loop of the host with the bounds and carried scalars.
static struct op *build_loop(struct lowering *l, const struct op *op)
{
    struct value *operands[MAX_OPERANDS];
    int first = first_carried(op), n = 0;
    for (int i = 0; i < op->n_operands; i++)
        if (i < first || !is_tensor(op->operands[i]))
            operands[n++] = lower_graph_scalar(l, op->operands[i]);
    if (op->code == OP_FOR)
        return build_for(&l->b, operands[0], operands[1], operands[2], n - 3, operands + 3);
    struct type *types[MAX_OPERANDS];
    for (int i = 0; i < n; i++)
        types[i] = operands[i]->type;
    struct op *loop = build_op(&l->b, OP_WHILE, n, operands, 0, NULL, n, types);
    for (int b = 0; b < 2; b++)
        for (int i = 0; i < n; i++)
            block_add_arg(l->host, loop->blocks[b], NULL, types[i]);
    return loop;
}

// What the graph's block names stands for the carried places and the host block's arguments.
static void name_carried(struct lowering *l, const struct op *op, const struct block *b, const struct block *host,
                         const struct place *at)
{
    int counter = op->code == OP_FOR, n = counter;
    if (counter)
        l->host_scalars[b->args[0]->id] = host->args[0];
    for (int i = 0; i < op->n_results; i++)
        if (is_tensor(op->results[i]))
            lower_graph_set_place(l, b->args[counter + i], at[i]);
        else
            l->host_scalars[b->args[counter + i]->id] = host->args[n++];
}

static void end_block(struct lowering *l, const struct op *op, const struct op *end)
{
    struct value *x[MAX_OPERANDS];
    int n = 0;
    for (int i = 0; i < end->n_operands; i++)
        if (!is_tensor(end->operands[i]))
            x[n++] = lower_graph_scalar(l, end->operands[i]);
    l->b.loc = op->loc;
    if (end->code == OP_CONDITION)
        build_op(&l->b, OP_CONDITION, 1, x, 0, NULL, 0, NULL);
    else
        build_yield(&l->b, n, x);
}

void lower_loop(struct lowering *l, struct op *op)
{
    struct place at[MAX_OPERANDS];
    for (int i = 0; i < op->n_results; i++)
        if (is_tensor(op->results[i]))
            place_initial(l, op, i, &at[i]);
    struct op *loop = build_loop(l, op);
    struct lower_graph_made before = lower_graph_remember(l);
    for (int b = 0; b < op->n_blocks && !l->failed; b++) {
        build_enter(&l->b, loop->blocks[b]);
        name_carried(l, op, op->blocks[b], loop->blocks[b], at);
        lower_graph_block(l, op->blocks[b], at, true);
        end_block(l, op, block_terminator(op->blocks[b]));
        lower_graph_go_back(l, &before);
    }
    build_end(&l->b, loop);
    for (int i = 0, n = 0; i < op->n_results; i++)
        if (!is_tensor(op->results[i]))
            l->host_scalars[op->results[i]->id] = loop->results[n++];
}

// ---- Values with two places ------------------------------------------------------------------------------------

static struct value **source_of(struct value **at)
{
    while ((*at)->def && ((*at)->def->code == OP_RESHAPE || (*at)->def->code == OP_TRANSPOSE))
        at = &(*at)->def->operands[0];
    return at;
}

static bool is_yielded(const struct block *body, const struct value *v)
{
    const struct op *end = block_terminator(body);
    for (int i = 0; i < end->n_operands; i++)
        if (*source_of(&end->operands[i]) == v)
            return true;
    return false;
}

static void split(struct block *body, struct op *update, struct builder *build)
{
    struct value **at = source_of(&update->operands[1]), *v = *at;
    if (!is_yielded(body, v) || !v->def || v->def->block != body || !opcode_is_scalar(v->def->code))
        return;
    build->block = body;
    build->before = v->def->next;
    build->loc = v->def->loc;
    *at = build_unary(build, OP_IDENTITY, v);
}

void lower_loop_prepare(struct block *b, struct builder *build)
{
    for (struct op *op = b->first; op; op = op->next) {
        for (int i = 0; i < op->n_blocks; i++)
            lower_loop_prepare(op->blocks[i], build);
        bool in_loop = b->parent && (b->parent->code == OP_FOR || b->parent->code == OP_WHILE);
        if (in_loop && op->code == OP_SLICE_UPDATE)
            split(b, op, build);
    }
}
