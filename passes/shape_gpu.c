// shape-gpu: gives every tile a layout, which says what each thread of the block holds in its registers.
//
//   %x = load %a[%m, %k] : tile<128x32xf16>          %x = load %a[%m, %k] : tile<128x32xf16, #linear<..coalesced..>>
//   %y = load %b[%k, %n] : tile<32x128xf16>          %y = load %b[%k, %n] : tile<32x128xf16, #linear<..coalesced..>>
//   %d = dot "mk,kn->mn" %x, %y, %s            =>    %x2 = convert_layout %x : tile<128x32xf16, #linear<..fragment..>>
//                                                    %y2 = convert_layout %y : tile<32x128xf16, #linear<..fragment..>>
//                                                    %d = dot "mk,kn->mn" %x2, %y2, %s
//
// 1. The number of warps is fixed for the kernel, and it is refused if it has operations or sizes that the target
// cannot
//    do: all faults are reported, not the first alone.
// 2. Layouts are foreseen, forwards: memory accesses and dots have one they like best, all other operations follow
// their
//    operands; loops are walked again when what they yield changes what they carry.
// 3. Types are set in order. Where a value meets an operation in another layout than foreseen or wanted, it is made
//    again or converted (shape_gpu_convert.c), so step 2 decides speed and never correctness.
// Accesses that are in bounds for certain are marked as on CPUs. Which conversion goes how (renaming, shuffles, shared
// memory) is the lowering's affair and follows from the two layouts (codegen/nvptx_plan.c).
#include "passes/shape_gpu.h"

#include <string.h>

#include "passes/shape.h"

// ---- Accesses in bounds --------------------------------------------------------------------------------------------

static void set_inbounds(struct gpu_shaper *g, struct op *op, struct shaper *s)
{
    const struct type *t = op->code == OP_LOAD ? op->results[0]->type : op->operands[0]->type;
    const struct value *tile = t->kind != TYPE_TILE ? NULL : op->code == OP_LOAD ? op->results[0] : op->operands[0];
    int rank = view_root(op->operands[op_view_operand(op)])->type->rank, n = 0;
    int64_t *proven = ARENA_ARRAY(&g->m->arena, int64_t, MAX_RANK);
    for (int r = 0; r < rank; r++)
        if (bounds_proven(s, op, tile, r))
            proven[n++] = r;
    if (!n || op_attr(op, ATTR_INBOUNDS))
        return;
    struct attr *grown = ARENA_ARRAY(&g->m->arena, struct attr, op->n_attrs + 1);
    if (op->n_attrs)
        memcpy(grown, op->attrs, sizeof *grown * (size_t)op->n_attrs);
    grown[op->n_attrs++] = (struct attr){ATTR_INBOUNDS, {.ints = {n, proven}}};
    op->attrs = grown;
    g->changed = true;
}

static void prove_block(struct gpu_shaper *g, struct block *b, struct shaper *s)
{
    for (struct op *op = b->first; op; op = op->next) {
        if (op->code == OP_LOAD || op->code == OP_STORE)
            set_inbounds(g, op, s);
        for (int i = 0; i < op->n_blocks; i++)
            prove_block(g, op->blocks[i], s);
    }
}

static void prove_bounds(struct gpu_shaper *g)
{
    struct shaper s = {.m = g->m, .old = g->k, .c = g->c, .scratch = g->scratch, .target = g->c->target};
    struct axes_conflict conflict;
    axes_find(g->scratch, g->k, &s.axes, &conflict); // tiles are not split, so conflicts do not matter
    s.window = ARENA_ARRAY(g->scratch, struct window, s.axes.n + 1);
    s.clip = ARENA_ARRAY(g->scratch, struct clip, s.axes.n + 1);
    prove_block(g, g->k->body, &s);
}

// ---- Foreseeing ------------------------------------------------------------------------------------------------

static bool same_shape(const struct type *a, const struct type *b)
{
    return a->kind == TYPE_TILE && b->kind == TYPE_TILE && a->rank == b->rank &&
           !memcmp(a->dims, b->dims, sizeof(dim) * (size_t)a->rank);
}

static void foresee(struct gpu_shaper *g, const struct value *v, const struct layout *l)
{
    if (v->type->kind != TYPE_TILE || !l)
        return;
    struct type *t = type_linear(g->m, type_tile(g->m, v->type->dtype, v->type->rank, v->type->dims), l);
    g->of[v->id] = t ? t->linear : NULL;
}

// The layout of the first operand of the result's shape that has one.
static const struct layout *follow(const struct gpu_shaper *g, const struct op *op, int first, const struct type *t)
{
    for (int i = first; i < op->n_operands; i++)
        if (same_shape(op->operands[i]->type, t) && g->of[op->operands[i]->id])
            return g->of[op->operands[i]->id];
    return NULL;
}

static void foresee_block(struct gpu_shaper *g, const struct block *b);

static bool yields_dot(const struct value *v)
{
    for (int i = 0; v->def && i < 8; i++) {
        if (v->def->code == OP_DOT)
            return true;
        if (!opcode_is_scalar(v->def->code) || !v->def->n_operands)
            return false;
        v = v->def->operands[0];
    }
    return false;
}

static void foresee_loop(struct gpu_shaper *g, const struct op *op)
{
    int first = op->code == OP_FOR ? 3 : 0, args = op->code == OP_FOR;
    for (int i = 0; i < op->n_results; i++)
        if (op->operands[first + i]->type->kind == TYPE_TILE)
            g->of[op->results[i]->id] = g->of[op->operands[first + i]->id];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < op->n_results; i++)
            for (int j = 0; j < op->n_blocks; j++)
                g->of[op->blocks[j]->args[args + i]->id] = g->of[op->results[i]->id];
        for (int j = 0; j < op->n_blocks; j++)
            foresee_block(g, op->blocks[j]);
        const struct op *end = block_terminator(op->blocks[op->n_blocks - 1]);
        bool again = false;
        for (int i = 0; i < op->n_results; i++) {
            const struct layout **carried = &g->of[op->results[i]->id], *yielded = g->of[end->operands[i]->id];
            if (op->results[i]->type->kind != TYPE_TILE || !yielded || yielded == *carried)
                continue;
            if (*carried && !yields_dot(end->operands[i])) // converted inside, once an iteration
                continue;
            *carried = yielded;
            again = true;
        }
        if (!again)
            break;
    }
}

static void foresee_if(struct gpu_shaper *g, const struct op *op)
{
    for (int j = 0; j < op->n_blocks; j++) {
        foresee_block(g, op->blocks[j]);
        const struct op *end = block_terminator(op->blocks[j]);
        for (int i = 0; end && i < op->n_results; i++)
            if (!g->of[op->results[i]->id])
                g->of[op->results[i]->id] = g->of[end->operands[i]->id];
    }
}

static void foresee_op(struct gpu_shaper *g, const struct op *op)
{
    const struct value *result = op->n_results ? op->results[0] : NULL;
    const struct layout *x = op->n_operands ? g->of[op->operands[0]->id] : NULL;
    struct layout l, dot[3];
    switch (op->code) {
    case OP_FOR:
    case OP_WHILE:
        foresee_loop(g, op);
        return;
    case OP_IF:
        foresee_if(g, op);
        return;
    case OP_CONSTANT:
    case OP_IOTA:
    case OP_BROADCAST:
        return;
    default:
        break;
    }
    if (!result || result->type->kind != TYPE_TILE)
        return;
    switch (op->code) {
    case OP_LOAD:
        l = gpu_access_layout(g, op);
        foresee(g, result, &l);
        break;
    case OP_DOT:
        gpu_dot_layouts(g, op, dot);
        foresee(g, result, &dot[2]);
        break;
    case OP_REDUCE:
        if (x) {
            l = layout_reduced(x, result->type);
            foresee(g, result, &l);
        }
        break;
    case OP_TRANSPOSE:
        if (x) {
            unsigned permutation[MAX_RANK];
            for (int d = 0; d < result->type->rank; d++)
                permutation[d] = (unsigned)op_ints(op, ATTR_AXES).v[d];
            l = layout_transpose(x, permutation);
            foresee(g, result, &l);
        }
        break;
    case OP_RESHAPE:
        if (x) {
            uint32_t shape[MAX_RANK];
            for (int d = 0; d < result->type->rank; d++)
                shape[d] = (uint32_t)result->type->dims[d];
            l = layout_reshape(x, (unsigned)result->type->rank, shape);
            foresee(g, result, &l);
        }
        break;
    default:
        g->of[result->id] = follow(g, op, op->code == OP_GATHER ? 1 : 0, result->type);
    }
}

static void foresee_block(struct gpu_shaper *g, const struct block *b)
{
    for (const struct op *op = b->first; op; op = op->next)
        foresee_op(g, op);
}

void gpu_begin(struct gpu_shaper *g, struct function *k, struct pass_context *c)
{
    *g = (struct gpu_shaper){.m = k->module, .k = k, .c = c, .scratch = c->scratch};
    g->warps = gpu_warps(g);
}

void gpu_foresee(struct gpu_shaper *g)
{
    gpu_note_accesses(g, g->k->body);
    g->n_values = g->k->n_values;
    g->of = ARENA_ARRAY(g->scratch, const struct layout *, g->n_values);
    foresee_block(g, g->k->body);
}

// ---- Setting ---------------------------------------------------------------------------------------------------

static void set_type(struct gpu_shaper *g, struct value *v, const struct layout *l)
{
    if (v->type->kind != TYPE_TILE)
        return;
    struct layout otherwise;
    if (!l) {
        otherwise = gpu_default_layout(g, v->type);
        l = &otherwise;
    }
    struct type *t = type_linear(g->m, type_tile(g->m, v->type->dtype, v->type->rank, v->type->dims), l);
    if (!t) {
        gpu_fail(g, v->def ? v->def->loc : g->k->loc, "no layout on the GPU was found for %s", gpu_text(g, v->type));
        return;
    }
    v->type = t;
    g->changed = true;
}

static void set_block(struct gpu_shaper *g, struct block *b);

// Operands from `first` on meet the tile of layout l; one has its shape at least.
static void meet(struct gpu_shaper *g, struct op *op, int first, const struct type *tile, const struct layout *l)
{
    bool whole = false;
    int largest = -1;
    for (int i = first; i < op->n_operands; i++) {
        const struct type *t = op->operands[i]->type;
        whole |= same_shape(t, tile);
        if (t->kind == TYPE_TILE && (largest < 0 || type_elements(t) > type_elements(op->operands[largest]->type)))
            largest = i;
    }
    for (int i = first; i < op->n_operands; i++) {
        const struct type *t = op->operands[i]->type;
        if (t->kind != TYPE_TILE)
            continue;
        struct layout meets = layout_operand(l, t);
        gpu_need(g, op, i, &meets, type_elements(t) < type_elements(tile));
    }
    if (!whole && largest >= 0) {
        struct value **x = &op->operands[largest];
        struct builder b = {.function = g->k, .block = op->block, .before = op, .loc = op->loc, .diags = g->c->diags};
        struct type *t = type_linear(g->m, type_tile(g->m, (*x)->type->dtype, tile->rank, tile->dims), l);
        *x = build_value(&b, OP_BROADCAST, 1, x, 0, NULL, t);
    }
}

struct layout gpu_wanted_layout(const struct gpu_shaper *g, const struct value *v)
{
    const struct layout *l = v->id < g->n_values ? g->of[v->id] : NULL;
    return l ? *l : gpu_default_layout(g, v->type);
}

static void set_loop(struct gpu_shaper *g, struct op *op)
{
    int first = op->code == OP_FOR ? 3 : 0, args = op->code == OP_FOR;
    for (int i = 0; i < op->n_results; i++) {
        if (op->results[i]->type->kind != TYPE_TILE)
            continue;
        struct layout l = gpu_wanted_layout(g, op->results[i]);
        gpu_need(g, op, first + i, &l, false);
        set_type(g, op->results[i], &l);
        for (int j = 0; j < op->n_blocks; j++)
            set_type(g, op->blocks[j]->args[args + i], &l);
    }
    for (int j = 0; j < op->n_blocks; j++)
        set_block(g, op->blocks[j]);
}

static void set_yield(struct gpu_shaper *g, struct op *op)
{
    const struct op *parent = op->block->parent;
    for (int i = 0; parent && i < op->n_operands; i++)
        if (op->operands[i]->type->kind == TYPE_TILE)
            gpu_need(g, op, i, parent->results[i]->type->linear, false);
}

static void set_store(struct gpu_shaper *g, struct op *op)
{
    struct value *x = op->operands[0];
    if (x->type->kind != TYPE_TILE)
        return;
    struct layout best = gpu_access_layout(g, op);
    bool remade = x->def && (x->def->code == OP_CONSTANT || x->def->code == OP_IOTA || x->def->code == OP_BROADCAST);
    if (remade || gpu_access_width(op, x->type->linear) < gpu_access_width(op, &best))
        gpu_need(g, op, 0, &best, false);
}

static void set_reduce(struct gpu_shaper *g, struct op *op)
{
    struct ints axes = op_ints(op, ATTR_AXES);
    uint32_t mask = 0;
    for (int i = 0; i < axes.n; i++)
        mask |= UINT32_C(1) << axes.v[i];
    if (!layout_reduces(op->operands[0]->type->linear, mask)) {
        struct layout l = gpu_default_layout(g, op->operands[0]->type);
        if (!layout_reduces(&l, mask)) // copies along a reduced dimension: the tile is smaller than the block
            gpu_fail(g, op->loc, "reduce: %s cannot be reduced by %d warps", gpu_text(g, op->operands[0]->type),
                     g->warps);
        gpu_need(g, op, 0, &l, false);
    }
}

// The shape that operands broadcast to from `first` on, with the type's elements; NULL if all are scalars.
static struct type *broadcast_shape(struct gpu_shaper *g, const struct op *op, int first, enum dtype t)
{
    int rank = -1;
    dim from_end[MAX_RANK];
    for (int i = first; i < op->n_operands; i++) {
        const struct type *u = op->operands[i]->type;
        if (u->kind != TYPE_TILE)
            continue;
        for (int d = 0; d < u->rank; d++)
            if (d >= rank || from_end[d] == 1)
                from_end[d] = u->dims[u->rank - 1 - d];
        rank = u->rank > rank ? u->rank : rank;
    }
    dim dims[MAX_RANK];
    for (int d = 0; d < rank; d++)
        dims[d] = from_end[rank - 1 - d];
    return rank < 0 ? NULL : type_tile(g->m, t, rank, dims);
}

// Indices broadcast against each other; what goes there has their shape or is a scalar.
static void set_scatter(struct gpu_shaper *g, struct op *op)
{
    const struct type *tile = broadcast_shape(g, op, 2, op->operands[0]->type->dtype);
    if (!tile)
        return;
    struct layout l = gpu_default_layout(g, tile);
    for (int i = op->n_operands - 1; i >= 0; i--)
        if (same_shape(op->operands[i]->type, tile))
            l = *op->operands[i]->type->linear;
    if (op->operands[0]->type->kind == TYPE_TILE)
        gpu_need(g, op, 0, &l, false);
    meet(g, op, 2, tile, &l);
}

static void set_op(struct gpu_shaper *g, struct op *op)
{
    struct value *result = op->n_results ? op->results[0] : NULL;
    struct layout l, dot[3];
    switch (op->code) {
    case OP_FOR:
    case OP_WHILE:
        set_loop(g, op);
        return;
    case OP_IF:
        for (int i = 0; i < op->n_results; i++)
            if (op->results[i]->type->kind == TYPE_TILE) {
                l = gpu_wanted_layout(g, op->results[i]);
                set_type(g, op->results[i], &l);
            }
        for (int i = 0; i < op->n_blocks; i++)
            set_block(g, op->blocks[i]);
        return;
    case OP_YIELD:
        set_yield(g, op);
        return;
    case OP_STORE:
        set_store(g, op);
        return;
    case OP_SCATTER:
    case OP_ATOMIC:
        set_scatter(g, op);
        return;
    default:
        break;
    }
    if (!result || result->type->kind != TYPE_TILE || result->type->linear)
        return;
    switch (op->code) {
    case OP_LOAD:
    case OP_CONSTANT:
    case OP_IOTA:
        l = gpu_wanted_layout(g, result);
        break;
    case OP_DOT:
        gpu_dot_layouts(g, op, dot);
        for (int i = 0; i < 3; i++)
            gpu_need(g, op, i, &dot[i], false);
        l = dot[2];
        break;
    case OP_REDUCE:
        set_reduce(g, op);
        l = layout_reduced(op->operands[0]->type->linear, result->type);
        break;
    case OP_TRANSPOSE: {
        unsigned permutation[MAX_RANK];
        for (int d = 0; d < result->type->rank; d++)
            permutation[d] = (unsigned)op_ints(op, ATTR_AXES).v[d];
        l = layout_transpose(op->operands[0]->type->linear, permutation);
        break;
    }
    case OP_RESHAPE: {
        uint32_t shape[MAX_RANK];
        for (int d = 0; d < result->type->rank; d++)
            shape[d] = (uint32_t)result->type->dims[d];
        l = layout_reshape(op->operands[0]->type->linear, (unsigned)result->type->rank, shape);
        break;
    }
    case OP_BROADCAST:
        l = gpu_wanted_layout(g, result);
        if (op->operands[0]->type->kind == TYPE_TILE) {
            struct layout meets = layout_operand(&l, op->operands[0]->type);
            gpu_need(g, op, 0, &meets, true);
        }
        break;
    default:
        l = gpu_wanted_layout(g, result);
        meet(g, op, op->code == OP_GATHER ? 1 : 0, result->type, &l);
    }
    set_type(g, result, &l);
}

static void set_block(struct gpu_shaper *g, struct block *b)
{
    for (struct op *op = b->first; op && !g->failed; op = op->next)
        set_op(g, op);
}

static bool shape_kernel(struct function *k, struct pass_context *c)
{
    struct gpu_shaper g;
    gpu_begin(&g, k, c);
    if (!gpu_check(&g))
        return true;
    prove_bounds(&g);
    gpu_foresee(&g);
    gpu_warn_of_spills(&g);
    set_block(&g, k->body);
    return g.changed;
}

bool gpu_is_shaped(const struct block *b)
{
    for (const struct op *op = b->first; op; op = op->next) {
        for (int i = 0; i < op->n_results; i++)
            if (op->results[i]->type->kind == TYPE_TILE)
                return op->results[i]->type->lanes != 0;
        for (int i = 0; i < op->n_blocks; i++)
            if (gpu_is_shaped(op->blocks[i]))
                return true;
    }
    return false;
}

bool pass_shape_gpu(struct module *m, struct pass_context *c)
{
    bool changed = false;
    for (struct function *k = m->first_function; k; k = k->next)
        if (k->kind == FUNCTION_KERNEL && !gpu_is_shaped(k->body))
            changed |= shape_kernel(k, c);
    return changed;
}
