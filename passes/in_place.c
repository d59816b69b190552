// Results in the memory of an operand.
//
//   %c = conv %x, %w                            launch @k0_conv(%x, %w, %a)
//   %d = conv %c, %v                     =>     launch @k1_conv_add_relu(%a, %v, %r)
//   %e = relu add(%d, %r)                       what follows reads %e from where %r was
//
// The lines that a kernel has read are in the cache when it writes them, and one buffer less is alive. The kernel sees
// one parameter, never two that overlap: parameters are compiled as memory of their own.
//
// The memory must be a buffer of the block that is being lowered, which nothing reads after the group, and which the
// group reads element by element only, each where its result will lie. A row that is reduced would be read again after
// its first part is written.
#include "ir/dims.h"
#include "passes/lower_graph.h"

// ---- Who reads a buffer ----------------------------------------------------------------------------------------

// The memory of a value, or of what it will be a view or a copy of; NULL: not decided.
static const struct storage *memory_of(const struct lowering *l, const struct value *v)
{
    while (!l->places[v->id].storage && v->def && tensor_view_is_layout(v->def))
        v = v->def->operands[0];
    return l->places[v->id].storage;
}

static bool reads(const struct lowering *l, const struct op *op, const struct storage *s)
{
    for (int i = 0; i < op->n_operands; i++)
        if (storage_root(memory_of(l, op->operands[i])) == storage_root(s))
            return true;
    for (int i = 0; i < op->n_blocks; i++)
        for (const struct op *inner = op->blocks[i]->first; inner; inner = inner->next)
            if (reads(l, inner, s))
                return true;
    return false;
}

static bool is_read_later(const struct lowering *l, const struct group *g, const struct storage *s)
{
    const struct storage *root = storage_root(s);
    for (const struct stored *x = root->values; x; x = x->next)
        if (storage_root(l->places[x->v->id].storage) == root && l->grouping.last_read[x->v->id] > g->index)
            return true;
    return false;
}

// ---- How the group reads it ------------------------------------------------------------------------------------

static bool is_element_wise(const struct op *op)
{
    return opcode_is_scalar(op->code) || op->code == OP_CAST || op->code == OP_BITCAST;
}

static bool same_view(const struct tensor_view *a, const struct tensor_view *b)
{
    bool same = a->rank == b->rank && a->offset == b->offset && !a->tensor_rank && !b->tensor_rank;
    for (int d = 0; same && d < a->rank; d++)
        same = a->sizes[d] == b->sizes[d] && a->sizes[d] != DIM_UNKNOWN &&
               (a->sizes[d] == 1 || (a->strides[d] == b->strides[d] && a->strides[d] != DIM_UNKNOWN));
    return same;
}

static bool depends(const struct group *g, const bool *derived, const struct value *v)
{
    for (int i = 0; i < g->n_ops; i++)
        if (g->ops[i] == v->def)
            return derived[i];
    return false;
}

// Whether the group reads the memory element by element only, through the view.
static bool reads_elements(const struct lowering *l, const struct group *g, const struct place *p)
{
    bool *derived = ARENA_ARRAY(l->arena, bool, g->n_ops);
    for (int i = 0; i < g->n_ops; i++) {
        const struct op *op = g->ops[i];
        for (int o = 0; o < op->n_operands; o++) {
            const struct value *v = op->operands[o];
            derived[i] |= depends(g, derived, v);
            if (l->grouping.of[v->id] == g || storage_root(memory_of(l, v)) != storage_root(p->storage))
                continue;
            if (!is_element_wise(op) || l->places[v->id].storage != p->storage ||
                !same_view(&l->places[v->id].view, &p->view))
                return false;
            derived[i] = true;
        }
        if (derived[i] && (op->code == OP_REDUCE || op->code == OP_SCAN))
            return false;
    }
    return true;
}

// ---- Taking over -----------------------------------------------------------------------------------------------

static dim elements(struct module *m, int n, const dim *sizes)
{
    dim all = 1;
    for (int i = 0; i < n; i++)
        all = dims_mul(m, all, sizes[i]);
    return all;
}

// Whether the place is all of a buffer that this block has made.
static bool is_own_buffer(const struct lowering *l, const struct place *p)
{
    const struct op *buffer = p->storage && p->storage->view ? p->storage->view->def : NULL;
    return buffer && buffer->code == OP_BUFFER && buffer->block == l->b.block && !p->view.tensor_rank &&
           elements(l->m, p->storage->type->rank, p->storage->type->dims) ==
               elements(l->m, p->view.rank, p->view.sizes);
}

static bool walks_space(const struct group *g, const struct type *t)
{
    bool same = t->rank == g->rank;
    for (int d = 0; same && d < t->rank; d++)
        same = t->dims[d] == g->space[d];
    return same;
}

void in_place_choose(struct lowering *l, const struct group *g, const struct value *result, const int *order)
{
    // An element of something smaller than the space may belong to several tiles.
    if (l->places[result->id].storage || !walks_space(g, result->type))
        return;
    struct tensor_view view = tensor_view_create(l->m, result->type, order);
    for (int i = 0; i < g->n_ops; i++)
        for (int o = 0; o < g->ops[i]->n_operands; o++) {
            const struct value *v = g->ops[i]->operands[o];
            const struct place *p = &l->places[v->id];
            if (v->type->kind == TYPE_TENSOR && v->type->dtype == result->type->dtype && l->grouping.of[v->id] != g &&
                is_own_buffer(l, p) && same_view(&p->view, &view) && reads_elements(l, g, p) &&
                !is_read_later(l, g, p->storage)) {
                p->storage->values = NULL; // nothing reads them any more
                lower_graph_set_place(l, result, *p);
                return;
            }
        }
}

bool in_place_allows(const struct lowering *l, const struct group *g, const struct value *result, const struct place *p)
{
    bool any = false;
    for (int i = 0; i < g->n_ops; i++)
        any |= reads(l, g->ops[i], p->storage);
    return !is_read_later(l, g, p->storage) && (!any || (walks_space(g, result->type) && reads_elements(l, g, p)));
}

bool in_place_updates(const struct lowering *l, const struct group *g)
{
    const struct op *update = g->ops[0];
    const struct place *p = &l->places[update->operands[0]->id];
    return is_own_buffer(l, p) && storage_root(memory_of(l, update->operands[1])) != p->storage &&
           !is_read_later(l, g, p->storage);
}
