// Operations at the current windows: what stands in the innermost loops.
#include <string.h>

#include "ir/einsum.h"
#include "passes/shape.h"

struct type *leaf_type(struct shaper *s, const struct value *old)
{
    const struct type *t = old->type;
    if (t->kind != TYPE_TILE)
        return type_scalar(s->m, t->dtype);
    dim dims[MAX_RANK];
    int vector_axis = 0, lanes = 1;
    for (int d = 0; d < t->rank; d++) {
        int axis = axes_of(&s->axes, old, d);
        dims[d] = axis == AXIS_NONE ? 1 : s->window[axis].size;
        if (axis != AXIS_NONE && axis == s->vector_axis && s->lanes > 1) {
            vector_axis = d;
            lanes = s->lanes;
        }
    }
    return type_shaped(s->m, type_tile(s->m, t->dtype, t->rank, dims), lanes, vector_axis);
}

static struct value *offset_of(struct shaper *s, const struct value *tile, int d)
{
    int axis = axes_of(&s->axes, tile, d);
    return axis == AXIS_NONE ? NULL : s->window[axis].offset;
}

void leaf_indices(struct shaper *s, const struct op *op, const struct value *tile, struct value **indices)
{
    int v = op_view_operand(op);
    for (int i = v + 1; i < op->n_operands; i++) {
        struct value *x = shape_scalar(s, op->operands[i]);
        indices[i - v - 1] = tile->type->kind == TYPE_TILE ? shape_add(s, x, offset_of(s, tile, i - v - 1)) : x;
    }
}

static struct attr inbounds_attr(struct shaper *s, const struct op *op, const struct value *tile)
{
    int v = op_view_operand(op), n = 0;
    int rank = view_root(op->operands[v])->type->rank;
    int64_t *dims = ARENA_ARRAY(s->scratch, int64_t, rank);
    for (int r = 0; r < rank; r++)
        if (bounds_proven(s, op, tile, r))
            dims[n++] = r;
    return (struct attr){ATTR_INBOUNDS, {.ints = {n, dims}}};
}

static struct value *leaf_load(struct shaper *s, struct op *op)
{
    struct value *tile = op->results[0], *operands[MAX_RANK + 1] = {shape_scalar(s, op->operands[0])};
    leaf_indices(s, op, tile, operands + 1);
    struct attr attrs[2];
    int n = 0;
    const struct attr *pad = op_attr(op, ATTR_PAD);
    attrs[n] = inbounds_attr(s, op, tile);
    n += attrs[n].ints.n > 0;
    if (pad && attrs[0].ints.n < view_root(op->operands[0])->type->rank)
        attrs[n++] = *pad;
    return build_value(&s->b, OP_LOAD, op->n_operands, operands, n, attrs, leaf_type(s, tile));
}

static struct value *leaf_iota(struct shaper *s, struct op *op)
{
    struct value *old = op->results[0];
    struct type *t = leaf_type(s, old);
    struct value *x = build_value(&s->b, OP_IOTA, 0, NULL, op->n_attrs, op->attrs, t);
    struct value *offset = offset_of(s, old, (int)op_int(op, ATTR_AXIS, 0));
    if (!offset)
        return x;
    if (t->dtype != DTYPE_INDEX)
        offset = build_cast(&s->b, t->dtype, offset);
    return build_binary(&s->b, OP_ADD, x, offset);
}

static struct value *leaf_made(struct shaper *s, struct value *old);

static struct value *leaf_make(struct shaper *s, struct value *old)
{
    struct op *op = old->def;
    struct builder *b = &s->b;
    b->loc = op->loc;
    if (op->code == OP_LOAD)
        return leaf_load(s, op);
    if (op->code == OP_IOTA)
        return leaf_iota(s, op);
    struct value *operands[MAX_OPERANDS];
    for (int i = 0; i < op->n_operands; i++)
        operands[i] = leaf_made(s, op->operands[i]);
    b->loc = op->loc;
    bool stated = op->code == OP_CONSTANT || op->code == OP_BROADCAST || op->code == OP_RESHAPE;
    struct value *x =
        build_value(b, op->code, op->n_operands, operands, op->n_attrs, op->attrs, stated ? leaf_type(s, old) : NULL);
    // Operands without the vector axis give a result without it; the rest of the nest expects the windows' shape.
    struct type *want = leaf_type(s, old);
    if (x->type != want)
        x = build_value(b, OP_BROADCAST, 1, &x, 0, NULL, want);
    return x;
}

// The operands that are tiles have been made.
static struct value *leaf_made(struct shaper *s, struct value *old)
{
    if (old->type->kind != TYPE_TILE)
        return shape_scalar(s, old);
    struct binding b = s->bind[old->id];
    struct value *x = NULL;
    if (b.kind == BIND_DIRECT)
        return b.value;
    if (b.kind == BIND_MEMORY)
        x = place_load(s, b.place, old);
    else if (old->def && shape_is_lazy(s, old->def))
        x = leaf_make(s, old);
    if (!x) {
        struct loc loc = old->def ? old->def->loc : s->old->loc;
        shape_fail(s, loc, "internal error: a tile is used before it is made");
        struct type *t = leaf_type(s, old);
        return dtype_is_float(t->dtype) ? build_float(&s->b, t, 0) : build_int(&s->b, t, 0);
    }
    shape_bind(s, old, (struct binding){BIND_DIRECT, x, NULL});
    return x;
}

static bool is_made(const struct shaper *s, const struct value *old)
{
    return old->type->kind != TYPE_TILE || s->bind[old->id].kind == BIND_DIRECT;
}

// Chains of operations may be long: what a value is computed from is made first, in the order of operands, by a stack.
struct value *leaf_value(struct shaper *s, struct value *old)
{
    struct waiting {
        struct value *value;
        int next; // operand
        struct waiting *below;
    } *top = NULL, *spare = NULL;
    for (struct value *v = old; !is_made(s, old);) {
        struct waiting *w = spare ? spare : ARENA_NEW(s->scratch, struct waiting);
        spare = spare ? spare->below : NULL;
        *w = (struct waiting){v, 0, top};
        for (top = w; top; spare = w) {
            const struct op *op = top->value->def;
            bool computed = s->bind[top->value->id].kind != BIND_MEMORY && op && shape_is_lazy(s, op) &&
                            op->code != OP_LOAD && op->code != OP_IOTA;
            while (computed && top->next < op->n_operands && is_made(s, op->operands[top->next]))
                top->next++;
            if (computed && top->next < op->n_operands) {
                v = op->operands[top->next++];
                break;
            }
            w = top;
            leaf_made(s, w->value);
            top = w->below;
            w->below = spare;
        }
        if (!top)
            break;
    }
    return leaf_made(s, old);
}

// ---- Products --------------------------------------------------------------------------------------------------

static void dot_leaf(struct shaper *s, struct nest *n, struct value **acc)
{
    struct op *op = n->data;
    struct value *operands[3] = {leaf_value(s, op->operands[0]), leaf_value(s, op->operands[1]), acc[0]};
    s->b.loc = op->loc;
    acc[0] = build_value(&s->b, OP_DOT, 3, operands, op->n_attrs, op->attrs, NULL);
}

#define INNER_UNROLL 4

static void leaf_dot(struct shaper *s, struct op *op)
{
    const struct dot_axes *x = &s->group->dot_axes;
    struct split splits[2 * MAX_RANK];
    struct nest n = {.splits = splits, .leaf = dot_leaf, .n_acc = 1, .data = op};
    int64_t said = schedule_said(s->c->schedules, s->old, SCHEDULE_UNROLL),
            unroll = said == SCHEDULE_OPEN ? INNER_UNROLL : said;
    for (int i = 0; i < x->n_inner; i++) {
        int axis = x->inner[i];
        int64_t size = s->window[axis].size;
        bool last = i == x->n_inner - 1, clipped = s->clip[axis].known;
        int64_t step = last && !clipped && (size % unroll == 0 || size < unroll) ? (size < unroll ? size : unroll) : 1;
        splits[n.n_splits++] = (struct split){axis, step};
    }
    struct value *acc = leaf_value(s, op->operands[2]);
    nest_emit(s, &n, 0, &acc);
    shape_bind(s, op->results[0], (struct binding){BIND_DIRECT, acc, NULL});
}

// A loop around dots, within the nest of the sums' axes.
static void leaf_loop(struct shaper *s, struct op *op)
{
    struct block *body = op->blocks[0];
    struct value *initial[MAX_OPERANDS], *next[MAX_OPERANDS];
    for (int i = 0; i < op->n_results; i++)
        initial[i] = leaf_value(s, op->operands[3 + i]);
    s->b.loc = op->loc;
    struct op *loop = build_for(&s->b, shape_scalar(s, op->operands[0]), shape_scalar(s, op->operands[1]),
                                shape_scalar(s, op->operands[2]), op->n_results, initial);
    struct undo *mark = shape_mark(s);
    for (int i = 0; i < body->n_args; i++)
        shape_bind(s, body->args[i], (struct binding){BIND_DIRECT, loop->blocks[0]->args[i], NULL});
    shape_clone_scalars(s, body);
    for (struct op *inner = body->first; inner; inner = inner->next)
        if (inner->code == OP_DOT)
            leaf_dot(s, inner);
    struct op *end = block_terminator(body);
    for (int i = 0; i < op->n_results; i++)
        next[i] = leaf_value(s, end->operands[i]);
    build_yield(&s->b, op->n_results, next);
    shape_rollback(s, mark);
    build_end(&s->b, loop);
    for (int i = 0; i < op->n_results; i++)
        shape_bind(s, op->results[i], (struct binding){BIND_DIRECT, loop->results[i], NULL});
}

// ---- Reductions ------------------------------------------------------------------------------------------------

struct carry {
    struct anchor *anchors[MAX_OPERANDS];
    int n_anchors;
    struct op *ops[MAX_OPERANDS]; // reduce and scan, one per carried value
    int axes[MAX_RANK], n_axes;   // that the loops walk
};

static bool walks(const struct carry *c, int axis)
{
    for (int i = 0; i < c->n_axes; i++)
        if (c->axes[i] == axis)
            return true;
    return false;
}

static int axis_of_reduced(const struct shaper *s, const struct op *op, int i)
{
    return axes_of(&s->axes, op->operands[0], (int)op_ints(op, ATTR_AXES).v[i]);
}

// The dimension of a reduce that lies along the nest's vectors, if it is reduced; else -1.
static int reduced_vector_dimension(const struct shaper *s, const struct op *op)
{
    struct ints axes = op_ints(op, ATTR_AXES);
    for (int i = 0; op->code == OP_REDUCE && i < axes.n; i++)
        if (s->lanes > 1 && axis_of_reduced(s, op, i) == s->vector_axis && s->vector_axis != AXIS_NONE)
            return (int)axes.v[i];
    return -1;
}

static struct value *build_reduce(struct shaper *s, enum opcode combine, struct value *x, int n, const int64_t *axes,
                                  struct value *count)
{
    if (!n)
        return x;
    struct attr attrs[2] = {{ATTR_COMBINE, {.opcode = combine}}, {ATTR_AXES, {.ints = {n, axes}}}};
    struct value *operands[2] = {x, count};
    return build_value(&s->b, OP_REDUCE, count ? 2 : 1, operands, 2, attrs, NULL);
}

// x with what lies at `count` or beyond along the axis replaced by the identity.
static struct value *mask_counted(struct shaper *s, const struct op *op, struct value *x, int d)
{
    int axis = axes_of(&s->axes, op->operands[0], d);
    enum opcode combine = op_attr(op, ATTR_COMBINE)->opcode;
    if (op->n_operands < 2 || (axis != AXIS_NONE && s->clip[axis].known && s->window[axis].inside))
        return x;
    const struct op *count = op->operands[1]->def;
    if (count && count->code == OP_CONSTANT && op_attr(count, ATTR_VALUE)->number.i >= op->operands[0]->type->dims[d])
        return x;
    if (axis == AXIS_NONE) { // one position, or none
        struct value *any = build_binary(&s->b, OP_GT, shape_scalar(s, op->operands[1]), build_index(&s->b, 0));
        return build_select(&s->b, any, x, build_identity(&s->b, combine, type_scalar(s->m, x->type->dtype)));
    }
    dim dims[MAX_RANK];
    for (int i = 0; i < x->type->rank; i++)
        dims[i] = i == d ? x->type->dims[i] : 1;
    bool vector = x->type->lanes > 1 && x->type->vector_axis == d;
    struct type *t =
        type_shaped(s->m, type_tile(s->m, DTYPE_INDEX, x->type->rank, dims), vector ? x->type->lanes : 1, d);
    struct value *index = build_value(&s->b, OP_IOTA, 0, NULL, 1, &(struct attr){ATTR_AXIS, {.i = d}}, t);
    struct value *left = shape_sub(s, shape_scalar(s, op->operands[1]), s->window[axis].offset);
    struct value *in = build_binary(&s->b, OP_LT, index, left);
    return build_select(&s->b, in, x, build_identity(&s->b, combine, type_scalar(s->m, x->type->dtype)));
}

static struct value *leaf_reduce(struct shaper *s, const struct op *op, const struct carry *c, struct value *acc)
{
    enum opcode combine = op_attr(op, ATTR_COMBINE)->opcode;
    struct ints axes = op_ints(op, ATTR_AXES);
    struct value *x = leaf_value(s, op->operands[0]);
    int64_t now[MAX_RANK];
    int n = 0;
    s->b.loc = op->loc;
    int vector = reduced_vector_dimension(s, op);
    for (int i = 0; i < axes.n; i++) {
        int axis = axis_of_reduced(s, op, i);
        x = mask_counted(s, op, x, (int)axes.v[i]);
        bool later = axes.v[i] == vector && c && walks(c, axis);
        if (axis != AXIS_NONE && !later)
            now[n++] = axes.v[i];
    }
    x = build_reduce(s, combine, x, n, now, NULL);
    return acc ? build_binary(&s->b, combine, acc, x) : x;
}

static struct value *leaf_scan(struct shaper *s, const struct op *op, struct value **acc)
{
    enum opcode combine = op_attr(op, ATTR_COMBINE)->opcode;
    struct value *operands[2] = {leaf_value(s, op->operands[0]), NULL};
    if (acc)
        operands[1] = *acc;
    else if (op->n_operands > 1)
        operands[1] = leaf_value(s, op->operands[1]);
    s->b.loc = op->loc;
    struct value *x = build_value(&s->b, OP_SCAN, operands[1] ? 2 : 1, operands, op->n_attrs, op->attrs, NULL);
    if (acc) {
        int64_t axis = op_int(op, ATTR_AXIS, 0);
        struct value *all = build_reduce(s, combine, operands[0], 1, &axis, NULL);
        *acc = build_binary(&s->b, combine, *acc, all);
    }
    return x;
}

static void run_anchor(struct shaper *s, struct anchor *a);

static void carry_leaf(struct shaper *s, struct nest *n, struct value **acc)
{
    struct carry *c = n->data;
    int next = 0;
    for (int i = 0; i < c->n_anchors; i++) {
        struct op *op = c->anchors[i]->kind == ANCHOR_OP ? c->anchors[i]->op : NULL;
        if (next < n->n_acc && op == c->ops[next]) {
            if (op->code == OP_REDUCE) {
                acc[next] = leaf_reduce(s, op, c, acc[next]);
            } else {
                struct value *x = leaf_scan(s, op, &acc[next]);
                shape_bind(s, op->results[0], (struct binding){BIND_DIRECT, x, NULL});
            }
            next++;
        } else {
            run_anchor(s, c->anchors[i]);
        }
    }
}

// Sums along the vector axis: per lane while a stretch of the axis is walked.
static void carry_enter_vector(struct shaper *s, struct nest *n, struct value **acc)
{
    struct carry *c = n->data;
    for (int i = 0; i < n->n_acc; i++) {
        int d = reduced_vector_dimension(s, c->ops[i]);
        if (d < 0)
            continue;
        struct type t = *acc[i]->type;
        t.dims[d] = s->window[s->vector_axis].size;
        acc[i] = build_identity(&s->b, op_attr(c->ops[i], ATTR_COMBINE)->opcode,
                                type_shaped(s->m, type_tile(s->m, t.dtype, t.rank, t.dims), s->lanes, d));
    }
}

static void carry_leave_vector(struct shaper *s, struct nest *n, struct value *const *outer, struct value **acc)
{
    struct carry *c = n->data;
    for (int i = 0; i < n->n_acc; i++) {
        int64_t d = reduced_vector_dimension(s, c->ops[i]);
        if (d < 0)
            continue;
        enum opcode combine = op_attr(c->ops[i], ATTR_COMBINE)->opcode;
        acc[i] = build_binary(&s->b, combine, outer[i], build_reduce(s, combine, acc[i], 1, &d, NULL));
    }
}

static struct type *carried_type(struct shaper *s, const struct op *op)
{
    if (op->code == OP_REDUCE) {
        struct type t = *leaf_type(s, op->operands[0]);
        struct ints axes = op_ints(op, ATTR_AXES);
        for (int i = 0; i < axes.n; i++) {
            t.dims[axes.v[i]] = 1;
            if (t.lanes > 1 && t.vector_axis == axes.v[i])
                t.lanes = 1;
        }
        return type_shaped(s->m, type_tile(s->m, t.dtype, t.rank, t.dims), t.lanes, t.vector_axis);
    }
    struct type t = *leaf_type(s, op->operands[0]);
    int axis = (int)op_int(op, ATTR_AXIS, 0);
    t.dims[axis] = 1;
    if (t.lanes > 1 && t.vector_axis == axis)
        t.lanes = 1;
    return type_shaped(s->m, type_tile(s->m, t.dtype, t.rank, t.dims), t.lanes, t.vector_axis);
}

// Whether a reduction or scan goes along an axis that the loops walk. Others are done within each step.
static bool is_carried(const struct shaper *s, const struct carry *c, const struct op *op)
{
    if (op->code == OP_SCAN)
        return walks(c, axes_of(&s->axes, op->operands[0], (int)op_int(op, ATTR_AXIS, 0)));
    for (int i = 0; op->code == OP_REDUCE && i < op_ints(op, ATTR_AXES).n; i++)
        if (walks(c, axis_of_reduced(s, op, i)))
            return true;
    return false;
}

static void run_carry(struct shaper *s, const struct group *g, struct carry *c)
{
    struct split splits[3 * MAX_RANK];
    struct nest n = {.splits = splits,
                     .leaf = carry_leaf,
                     .data = c,
                     .enter_vector = carry_enter_vector,
                     .leave_vector = carry_leave_vector};
    for (int vector = 0; vector < 2; vector++) // the vector axis goes innermost
        for (int i = 0; i < g->n_splits; i++)
            if (walks(c, g->splits[i].axis) && (g->splits[i].axis == s->vector_axis) == (vector == 1))
                splits[n.n_splits++] = g->splits[i];
    struct value *acc[MAX_OPERANDS];
    for (int i = 0; i < c->n_anchors; i++) {
        struct op *op = c->anchors[i]->kind == ANCHOR_OP ? c->anchors[i]->op : NULL;
        if (!op || !is_carried(s, c, op))
            continue;
        c->ops[n.n_acc] = op;
        if (op->code == OP_SCAN && op->n_operands > 1)
            acc[n.n_acc++] = leaf_value(s, op->operands[1]);
        else
            acc[n.n_acc++] = build_identity(&s->b, op_attr(op, ATTR_COMBINE)->opcode, carried_type(s, op));
    }
    nest_emit(s, &n, 0, acc);
    for (int i = 0; i < n.n_acc; i++)
        if (c->ops[i]->code == OP_REDUCE)
            shape_bind(s, c->ops[i]->results[0], (struct binding){BIND_DIRECT, acc[i], NULL});
}

// ---- Anchors ---------------------------------------------------------------------------------------------------

static void leaf_store(struct shaper *s, struct op *op)
{
    struct value *tile = op->operands[0];
    struct value *operands[MAX_RANK + 2] = {leaf_value(s, tile), shape_scalar(s, op->operands[1])};
    s->b.loc = op->loc;
    leaf_indices(s, op, tile, operands + 2);
    struct attr attrs[2] = {inbounds_attr(s, op, tile)};
    int n = attrs[0].ints.n > 0;
    const struct attr *stream = op_attr(op, ATTR_STREAM);
    if (stream)
        attrs[n++] = *stream;
    build_op(&s->b, OP_STORE, op->n_operands, operands, n, attrs, 0, NULL);
}

static void run_anchor(struct shaper *s, struct anchor *a)
{
    struct op *op = a->op;
    if (a->kind == ANCHOR_EXPORT) {
        place_store(s, a->place, a->value, leaf_value(s, a->value));
        return;
    }
    if (a->kind == ANCHOR_LOOP) {
        leaf_loop(s, op);
        return;
    }
    struct value *x = NULL, *operands[MAX_OPERANDS];
    switch (op->code) {
    case OP_STORE:
        leaf_store(s, op);
        return;
    case OP_LOAD:
        x = leaf_load(s, op);
        break;
    case OP_DOT:
        leaf_dot(s, op);
        return;
    case OP_REDUCE:
        x = leaf_reduce(s, op, NULL, NULL);
        break;
    case OP_SCAN:
        x = leaf_scan(s, op, NULL);
        break;
    default: // scatter, atomic, gather
        for (int i = 0; i < op->n_operands; i++)
            operands[i] = leaf_value(s, op->operands[i]);
        s->b.loc = op->loc;
        struct op *made =
            build_op(&s->b, op->code, op->n_operands, operands, op->n_attrs, op->attrs, op->n_results, NULL);
        if (made->n_results)
            x = made->results[0];
    }
    if (x)
        shape_bind(s, op->results[0], (struct binding){BIND_DIRECT, x, NULL});
}

static bool touches_carried(const struct carry *c, const struct anchor *a)
{
    for (int i = 0; i < c->n_axes; i++)
        if (a->axes[c->axes[i]])
            return true;
    return false;
}

// Whether an anchor needs the result of one that runs in the carrying loops.
static bool needs_carried(const struct carry *c, const struct anchor *a)
{
    for (int i = 0; i < c->n_anchors; i++) {
        const struct anchor *b = c->anchors[i];
        for (int r = 0; b->op && b->kind == ANCHOR_OP && r < b->op->n_results; r++)
            if (a->cone[b->op->results[r]->id])
                return true;
    }
    return false;
}

static void group_leaf(struct shaper *s, struct nest *n, struct value **acc)
{
    (void)acc;
    struct group *g = n->data;
    struct carry c = {0};
    for (int i = 0; i < g->n_splits; i++) {
        bool parallel = false;
        for (int j = 0; j < n->n_splits; j++)
            parallel |= n->splits[j].axis == g->splits[i].axis;
        if (!parallel)
            c.axes[c.n_axes++] = g->splits[i].axis;
    }
    for (int i = 0; i < g->n_anchors; i++)
        if (c.n_axes && touches_carried(&c, &g->anchors[i]))
            c.anchors[c.n_anchors++] = &g->anchors[i];
    if (g->dot)
        prefetch_around_dot(s, g, s->n_later, s->later);
    // What the carrying loops may need, the loops, and the rest.
    for (int i = 0; i < g->n_anchors; i++)
        if (!touches_carried(&c, &g->anchors[i]) && !needs_carried(&c, &g->anchors[i]) && c.n_anchors)
            run_anchor(s, &g->anchors[i]);
    if (c.n_anchors)
        run_carry(s, g, &c);
    for (int i = 0; i < g->n_anchors; i++)
        if (!touches_carried(&c, &g->anchors[i]) && (needs_carried(&c, &g->anchors[i]) || !c.n_anchors))
            run_anchor(s, &g->anchors[i]);
}

static void group_before_level(struct shaper *s, struct nest *n, int level)
{
    pack_operands(s, n->data, level);
}

static bool carried_by(const struct shaper *s, const struct group *g, int axis)
{
    for (int i = 0; i < g->n_anchors; i++) {
        const struct anchor *a = &g->anchors[i];
        if (a->kind != ANCHOR_OP || g->dot)
            continue;
        if (a->op->code == OP_REDUCE) {
            struct ints axes = op_ints(a->op, ATTR_AXES);
            for (int k = 0; k < axes.n; k++)
                if (axis_of_reduced(s, a->op, k) == axis)
                    return true;
        }
        if (a->op->code == OP_SCAN && axes_of(&s->axes, a->op->operands[0], (int)op_int(a->op, ATTR_AXIS, 0)) == axis)
            return true;
    }
    return false;
}

static void emit_group(struct shaper *s, struct group *g)
{
    s->group = g;
    // Axes that a reduction walks go innermost, within the leaf; an axis whose step covers it needs no loop.
    struct split parallel[3 * MAX_RANK];
    struct nest n = {
        .splits = parallel, .leaf = group_leaf, .before_level = g->dot ? group_before_level : NULL, .data = g};
    struct group kept = *g;
    kept.n_splits = 0;
    for (int i = 0; i < g->n_splits; i++) {
        struct split x = g->splits[i];
        bool whole = x.step >= s->axes.size[x.axis] && !s->clip[x.axis].known;
        if (whole)
            continue;
        kept.splits[kept.n_splits++] = x;
        if (!carried_by(s, g, x.axis))
            parallel[n.n_splits++] = x;
    }
    *g = kept;
    struct undo *mark = shape_mark(s);
    nest_emit(s, &n, 0, NULL);
    shape_rollback(s, mark);
}

// The last split is of the rows.
static struct group group_for_few(const struct group *g)
{
    struct group few = *g;
    for (int i = 0; i < few.n_splits; i++)
        if (few.splits[i].axis == few.vector_axis)
            few.splits[i].step = few.few_columns;
    few.splits[few.n_splits - 1].step = few.few_rows;
    return few;
}

void leaf_group(struct shaper *s, struct group *g)
{
    s->vector_axis = g->vector_axis;
    s->lanes = g->lanes;
    for (int i = 0; i < g->n_anchors; i++)
        if (g->anchors[i].kind == ANCHOR_EXPORT && !g->anchors[i].place)
            g->anchors[i].place = place_create(s, g->anchors[i].value, 0, NULL);
    struct value *rows = g->few_rows ? nest_trip(s, g->splits[g->n_splits - 1].axis) : NULL;
    if (rows) {
        struct group few = group_for_few(g);
        struct value *most = build_index(&s->b, 2 * g->few_rows);
        struct op *which = build_if(&s->b, build_binary(&s->b, OP_LE, rows, most), 0, NULL);
        emit_group(s, &few);
        build_yield(&s->b, 0, NULL);
        build_enter(&s->b, which->blocks[1]);
        emit_group(s, g);
        build_yield(&s->b, 0, NULL);
        build_end(&s->b, which);
    } else {
        emit_group(s, g);
    }
    for (int i = 0; i < g->n_anchors; i++)
        if (g->anchors[i].kind == ANCHOR_EXPORT)
            shape_bind(s, g->anchors[i].value, (struct binding){BIND_MEMORY, NULL, g->anchors[i].place});
    s->group = NULL;
}
