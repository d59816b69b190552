// Which anchors share a nest of loops.
//
// Anchors join the current group in program order while that is legal: an anchor that needs a reduction's result along
// an axis that the group's loops walk must wait for the loops to end. A dot (or a loop around dots) starts a group,
// since it decides the register tile (shape_cut.c).
#include <string.h>

#include "passes/expand_math.h"
#include "passes/shape.h"

// ---- Cones -----------------------------------------------------------------------------------------------------

bool group_expensive(const struct op *op)
{
    return op->code == OP_GATHER || (op->n_operands > 0 && expand_math_has(op->code, op->operands[0]->type->dtype));
}

static void cone_value(struct shaper *s, struct anchor *a, struct value *v)
{
    if (a->cone[v->id])
        return;
    a->cone[v->id] = true;
    if (v->type->kind == TYPE_TILE)
        for (int d = 0; d < v->type->rank; d++) {
            int axis = axes_of(&s->axes, v, d);
            if (axis != AXIS_NONE)
                a->axes[axis] = true;
        }
    bool lazy = v->def && v->type->kind == TYPE_TILE && shape_is_lazy(s, v->def) &&
                (s->bind[v->id].kind == BIND_LAZY || s->bind[v->id].kind == BIND_NONE);
    for (int i = 0; lazy && i < v->def->n_operands; i++)
        cone_value(s, a, v->def->operands[i]);
}

// What a loop around dots reads from outside; the axes of that are the dot's affair.
static void cone_body(struct shaper *s, struct anchor *a, const struct block *body)
{
    bool *axes = a->axes;
    a->axes = ARENA_ARRAY(s->scratch, bool, s->axes.n + 1);
    for (const struct op *op = body->first; op; op = op->next)
        for (int i = 0; i < op->n_operands; i++)
            cone_value(s, a, op->operands[i]);
    a->axes = axes;
}

void group_cone(struct shaper *s, struct anchor *a)
{
    a->cone = ARENA_ARRAY(s->scratch, bool, s->old->n_values);
    a->axes = ARENA_ARRAY(s->scratch, bool, s->axes.n + 1);
    if (a->kind == ANCHOR_EXPORT) {
        cone_value(s, a, a->value);
        return;
    }
    for (int i = 0; i < a->op->n_operands; i++)
        cone_value(s, a, a->op->operands[i]);
    bool reads = a->op->code == OP_LOAD || a->op->code == OP_GATHER;
    for (int i = 0; (a->kind == ANCHOR_LOOP || reads) && i < a->op->n_results; i++)
        cone_value(s, a, a->op->results[i]);
    if (a->kind == ANCHOR_LOOP)
        cone_body(s, a, a->op->blocks[0]);
}

bool group_reduces(const struct shaper *s, const struct op *op, int axis)
{
    if (op->code == OP_SCAN)
        return axes_of(&s->axes, op->operands[0], (int)op_int(op, ATTR_AXIS, 0)) == axis;
    if (op->code != OP_REDUCE)
        return false;
    struct ints axes = op_ints(op, ATTR_AXES);
    for (int i = 0; i < axes.n; i++)
        if (axes_of(&s->axes, op->operands[0], (int)axes.v[i]) == axis)
            return true;
    return false;
}

static bool uses_result(const struct anchor *a, const struct op *op)
{
    for (int i = 0; op && i < op->n_results; i++)
        if (a->cone[op->results[i]->id])
            return true;
    return false;
}

// ---- Loops around dots -----------------------------------------------------------------------------------------

// A `for` that does nothing but accumulate: its carried tiles are sums of dots of operands that do not depend on them.
// It goes into the nest of its sums' axes, so that they stay in registers.
bool group_loop_fuses(struct shaper *s, const struct op *loop)
{
    if (loop->code != OP_FOR)
        return false;
    const struct op *end = block_terminator(loop->blocks[0]);
    int dots = 0;
    for (const struct op *op = loop->blocks[0]->first; op; op = op->next) {
        if (op == end)
            continue;
        if (op->n_blocks || op_info[op->code].effect == EFFECT_WRITE || op->code == OP_SCRATCH)
            return false;
        bool tile = op->n_results && op->results[0]->type->kind == TYPE_TILE;
        for (int i = 0; i < op->n_operands; i++)
            tile |= op->operands[i]->type->kind == TYPE_TILE;
        if (op->code == OP_DOT)
            dots++;
        else if (tile && !shape_is_lazy(s, op))
            return false;
    }
    if (dots != 1)
        return false;
    for (int i = 0; i < loop->n_results; i++) {
        const struct value *y = end->operands[i], *arg = loop->blocks[0]->args[1 + i];
        if (y->type->kind != TYPE_TILE)
            continue;
        if (!y->def || y->def->code != OP_DOT || y->def->block != loop->blocks[0] || y->def->operands[2] != arg)
            return false;
        struct anchor a = {.kind = ANCHOR_EXPORT};
        for (int j = 0; j < 2; j++) {
            a.value = y->def->operands[j];
            group_cone(s, &a);
            for (int k = 1; k < loop->blocks[0]->n_args; k++)
                if (a.cone[loop->blocks[0]->args[k]->id])
                    return false;
        }
    }
    return true;
}

struct op *group_loop_dot(const struct op *loop)
{
    for (struct op *op = loop->blocks[0]->first; op; op = op->next)
        if (op->code == OP_DOT)
            return op;
    return NULL;
}

// ---- Joining ---------------------------------------------------------------------------------------------------

static bool split_step(const struct group *g, int axis, int64_t *step)
{
    for (int i = 0; i < g->n_splits; i++)
        if (g->splits[i].axis == axis) {
            *step = g->splits[i].step;
            return true;
        }
    return false;
}

static const struct value *written_root(const struct anchor *a)
{
    if (a->kind != ANCHOR_OP || op_info[a->op->code].effect != EFFECT_WRITE)
        return NULL;
    return view_root(a->op->operands[1]);
}

static bool is_cut(const struct shaper *s, const struct group *g, int axis)
{
    int64_t step;
    return split_step(g, axis, &step) && (step < s->axes.size[axis] || s->clip[axis].known);
}

// The axes along which anchors reduce or scan are walked by one nest of loops: what is carried through it must have
// none of them left.
static bool carries_agree(const struct shaper *s, const struct group *g, const struct anchor *a)
{
    bool *walked = ARENA_ARRAY(s->scratch, bool, s->axes.n + 1);
    for (int i = 0; i <= g->n_anchors; i++) {
        const struct anchor *b = i < g->n_anchors ? &g->anchors[i] : a;
        for (int x = 0; b->kind == ANCHOR_OP && x < s->axes.n; x++)
            walked[x] |= group_reduces(s, b->op, x) && is_cut(s, g, x);
    }
    for (int i = 0; i <= g->n_anchors; i++) {
        const struct anchor *b = i < g->n_anchors ? &g->anchors[i] : a;
        bool carried = false, left = false;
        for (int x = 0; b->kind == ANCHOR_OP && x < s->axes.n; x++)
            if (walked[x] && group_reduces(s, b->op, x))
                carried = true;
            else if (walked[x] && b->axes[x])
                left = true;
        if (carried && left)
            return false;
    }
    return true;
}

static bool scans_backward(const struct shaper *s, const struct anchor *a, int axis)
{
    return a->kind == ANCHOR_OP && a->op->code == OP_SCAN && op_attr(a->op, ATTR_REVERSE) &&
           group_reduces(s, a->op, axis);
}

// Whether a scan would go against the direction in which the group walks its axis.
static bool turns_around(const struct shaper *s, const struct group *g, const struct anchor *a)
{
    if (a->kind != ANCHOR_OP || a->op->code != OP_SCAN)
        return false;
    for (int i = 0; i < g->n_splits; i++)
        if (group_reduces(s, a->op, g->splits[i].axis) &&
            g->splits[i].backward != scans_backward(s, a, g->splits[i].axis))
            return true;
    return false;
}

bool group_in_place(const struct shaper *s, const struct op *load, const struct op *store)
{
    const struct value *view = load->operands[0], *x = load->results[0], *y = store->operands[0];
    if (load->code != OP_LOAD || store->code != OP_STORE || store->operands[1] != view || view->type->strided ||
        (view->def && view->def->code == OP_WINDOW) || x->type->kind != TYPE_TILE || y->type->kind != TYPE_TILE)
        return false;
    for (int d = 0; d < view->type->rank; d++)
        if (load->operands[1 + d] != store->operands[2 + d] || x->type->dims[d] != y->type->dims[d] ||
            axes_of(&s->axes, x, d) != axes_of(&s->axes, y, d))
            return false;
    return true;
}

// Whether the order in which the group's loops would run an anchor and one before it matters to memory.
static bool collide(const struct shaper *s, const struct anchor *before, const struct anchor *a)
{
    if (before->kind != ANCHOR_OP || a->kind != ANCHOR_OP)
        return false;
    enum op_effect first = op_info[before->op->code].effect, second = op_info[a->op->code].effect;
    bool memory = first == EFFECT_WRITE ? second == EFFECT_READ || second == EFFECT_WRITE
                                        : first == EFFECT_READ && second == EFFECT_WRITE;
    return memory &&
           view_root(before->op->operands[op_view_operand(before->op)]) ==
               view_root(a->op->operands[op_view_operand(a->op)]) &&
           !group_in_place(s, before->op, a->op);
}

// Whether a store would write rows of a register tile apart from each other, while memory is contiguous along the
// tile's other axis. From scratch it writes whole vectors, square by square; worth it while the scratch stays close.
static bool scatters_rows(const struct shaper *s, const struct group *g, const struct anchor *a)
{
    if (!g->dot || g->vector_axis == AXIS_NONE || a->kind != ANCHOR_OP || a->op->code != OP_STORE)
        return false;
    const struct value *tile = a->op->operands[0];
    if (tile->type->kind != TYPE_TILE || bounds_unit_stride(s, a->op, tile, g->vector_axis))
        return false;
    if (type_elements(tile->type) * (int64_t)dtype_bytes(tile->type->dtype) > s->target->l1d_bytes * 3 / 4)
        return false;
    for (int x = 0; x < s->axes.n; x++)
        if (a->axes[x] && x != g->vector_axis && s->axes.size[x] >= g->lanes && bounds_unit_stride(s, a->op, tile, x))
            return true;
    return false;
}

// Whether the anchor reads, where it is emitted, what the group's loops would only have written in part.
static bool reads_written(const struct shaper *s, const struct group *g, const struct anchor *a)
{
    for (int id = 0; id < s->old->n_values; id++)
        if (a->cone[id] && s->settled[id] && g->written[s->settled[id]->id])
            return true;
    return false;
}

static bool fits(const struct shaper *s, const struct group *g, const struct anchor *a)
{
    if (scatters_rows(s, g, a))
        return false;
    for (int i = 0; i < g->n_anchors; i++)
        if (collide(s, &g->anchors[i], a))
            return false;
    if (a->kind == ANCHOR_LOOP || (a->kind == ANCHOR_OP && a->op->code == OP_DOT))
        return false;
    const struct value *root = written_root(a);
    if (reads_written(s, g, a))
        return false;
    if ((root && g->written[root->id]) || turns_around(s, g, a) || !carries_agree(s, g, a))
        return false;
    for (int x = 0; x < s->axes.n; x++) {
        int64_t step;
        bool in = split_step(g, x, &step);
        bool cut = in && (step < s->axes.size[x] || s->clip[x].known);
        if (a->axes[x] && !in)
            return false;
        if (cut && !a->axes[x])
            return false;
        // Loops of a dot's nest are parallel.
        if (g->dot && cut && a->kind == ANCHOR_OP && group_reduces(s, a->op, x))
            return false;
        if (!cut || !a->axes[x])
            continue;
        for (int i = 0; i < g->n_anchors; i++) {
            const struct anchor *b = &g->anchors[i];
            if (b->kind == ANCHOR_OP && b->op->code == OP_REDUCE && group_reduces(s, b->op, x) && uses_result(a, b->op))
                return false;
        }
    }
    return true;
}

static void join(struct shaper *s, struct group *g, const struct anchor *a)
{
    if (g->n_anchors == g->room) {
        g->room = g->room * 2 + 4;
        struct anchor *grown = ARENA_ARRAY(s->scratch, struct anchor, g->room);
        if (g->n_anchors)
            memcpy(grown, g->anchors, sizeof *grown * (size_t)g->n_anchors);
        g->anchors = grown;
    }
    g->anchors[g->n_anchors++] = *a;
    const struct value *root = written_root(a);
    if (root)
        g->written[root->id] = true;
}

// ---- A stretch of operations -----------------------------------------------------------------------------------

static void mark_later(struct shaper *s, struct op *op, struct anchor *later)
{
    for (int i = 0; i < op->n_operands; i++)
        cone_value(s, later, op->operands[i]);
    for (int i = 0; i < op->n_blocks; i++)
        for (struct op *inner = op->blocks[i]->first; inner; inner = inner->next)
            if (!shape_is_lazy(s, inner))
                mark_later(s, inner, later);
}

static int count_users(const struct anchor *list, int n, const struct value *v)
{
    int users = 0;
    for (int i = 0; i < n; i++)
        users += list[i].cone[v->id];
    return users;
}

// The anchors of [first, last) in program order. A costly tile that several of them, or later operations, need is
// computed once: it becomes an export.
static int list_anchors(struct shaper *s, struct op *first, struct op *last, int n_exports,
                        const struct anchor *exports, struct anchor *later, struct anchor **out)
{
    int n = 0;
    for (struct op *op = first; op != last; op = op->next)
        n++;
    struct anchor *plain = ARENA_ARRAY(s->scratch, struct anchor, n + n_exports + 1);
    struct anchor *list = ARENA_ARRAY(s->scratch, struct anchor, 2 * n + n_exports + 1);
    int n_plain = 0, n_list = 0;
    for (struct op *op = first; op != last; op = op->next) {
        bool tile = op->n_results && op->results[0]->type->kind == TYPE_TILE;
        for (int i = 0; i < op->n_operands; i++)
            tile |= op->operands[i]->type->kind == TYPE_TILE;
        if (!tile && op_info[op->code].effect != EFFECT_WRITE)
            continue;
        if (shape_is_lazy(s, op))
            continue;
        plain[n_plain] = (struct anchor){.kind = op->code == OP_FOR ? ANCHOR_LOOP : ANCHOR_OP, .op = op};
        group_cone(s, &plain[n_plain++]);
    }
    for (int i = 0; i < n_exports; i++) {
        plain[n_plain] = exports[i];
        group_cone(s, &plain[n_plain++]);
    }
    int next = 0;
    for (struct op *op = first; op != last; op = op->next) {
        if (next < n_plain && plain[next].op == op) {
            list[n_list++] = plain[next++];
        } else if (op->n_results == 1 && op->results[0]->type->kind == TYPE_TILE && shape_is_lazy(s, op) &&
                   group_expensive(op)) {
            struct value *v = op->results[0];
            if (count_users(plain, n_plain, v) + later->cone[v->id] >= 2) {
                list[n_list] = (struct anchor){.kind = ANCHOR_EXPORT, .value = v};
                group_cone(s, &list[n_list++]);
            }
        }
    }
    while (next < n_plain)
        list[n_list++] = plain[next++];
    *out = list;
    return n_list;
}

static bool used_after(const struct group *groups, int n, int g, const struct anchor *later, const struct value *v)
{
    if (later->cone[v->id])
        return true;
    for (int i = g + 1; i < n; i++)
        if (count_users(groups[i].anchors, groups[i].n_anchors, v))
            return true;
    return false;
}

void group_block(struct shaper *s, struct op *first, struct op *last, int n_exports, const struct anchor *exports,
                 int *n_groups, struct group **groups)
{
    struct anchor later = {.kind = ANCHOR_EXPORT};
    later.cone = ARENA_ARRAY(s->scratch, bool, s->old->n_values);
    later.axes = ARENA_ARRAY(s->scratch, bool, s->axes.n + 1);
    for (struct op *op = last; op; op = op->next)
        if (!shape_is_lazy(s, op) && !(op == last && op->code == OP_YIELD)) // what is handed over here are exports
            mark_later(s, op, &later);
    struct anchor *list;
    int n = list_anchors(s, first, last, n_exports, exports, &later, &list);
    struct group *all = ARENA_ARRAY(s->scratch, struct group, n + 1), *g = NULL;
    *groups = all;
    *n_groups = 0;
    for (int i = 0; i < n; i++) {
        struct anchor *a = &list[i];
        if (!g || !fits(s, g, a)) {
            g = &all[(*n_groups)++];
            g->lanes = 1;
            g->vector_axis = AXIS_NONE;
            g->written = ARENA_ARRAY(s->scratch, bool, s->old->n_values);
            cut_group(s, g, a);
            for (int j = 0; j < g->n_splits; j++)
                g->splits[j].backward = scans_backward(s, a, g->splits[j].axis);
        }
        join(s, g, a);
    }
    // Results that later groups need go to memory; exports that only their own group uses go.
    for (int i = 0; i < *n_groups; i++) {
        g = &all[i];
        struct group kept = *g;
        kept.n_anchors = kept.room = 0;
        kept.anchors = NULL;
        for (int j = 0; j < g->n_anchors; j++) {
            struct anchor *a = &g->anchors[j];
            if (a->kind == ANCHOR_EXPORT && !a->place && !used_after(all, *n_groups, i, &later, a->value))
                continue;
            join(s, &kept, a);
            for (int r = 0; a->op && r < a->op->n_results; r++) {
                struct value *v = a->op->results[r];
                if (v->type->kind != TYPE_TILE || !used_after(all, *n_groups, i, &later, v))
                    continue;
                struct anchor export = {.kind = ANCHOR_EXPORT, .value = v};
                group_cone(s, &export);
                join(s, &kept, &export);
            }
        }
        *g = kept;
    }
}
