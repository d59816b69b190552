// Which operations become one kernel: greedy, in the order of the graph.
//
// An element-wise operation joins the group of an operand when it walks the same space: the group's elements, or the
// rows of a reduction. A reduction joins a group whose space it reduces, and opens it for what follows; so a softmax
// or a layer norm with its neighbours is one group. Products, convolutions and pools start a group; element-wise
// operations on their results follow in it. A lookup by indices is element-wise too, but what it looks up must lie in
// memory: it starts a group. A group never joins where another group would have to run both before and after it. Layout
// operations belong to no group: they are views (tensor_view.h) where that is possible.
//
// Nor does a group grow beyond what a kernel takes as parameters: long chains and wide sums become several kernels.
//
// Does not recompute: a value that two groups read is stored.
//
// Unfused, each operation is a group: that is for looking for faults, and slow.
#include <string.h>

#include "ir/dims.h"
#include "passes/lower_graph.h"

struct value *group_source(struct value *v)
{
    while (v->def && tensor_view_is_layout(v->def))
        v = v->def->operands[0];
    return v;
}

static bool is_tensor(const struct value *v)
{
    return v->type->kind == TYPE_TENSOR;
}

static bool is_map(const struct op *op)
{
    return opcode_is_scalar(op->code) || op->code == OP_CAST || op->code == OP_BITCAST || op->code == OP_IOTA;
}

struct group_reader {
    struct group *group;
    struct group_reader *next;
};

struct work {
    struct lowering *l;
    struct grouping *out;
    int *seen; // by group: the last search that came by
    int search;
    int *uses;              // by the id of a value: how many are not in its group
    struct group **waiting; // groups whose readers may have to be moved on
    int n_waiting;
};

static struct group *group_of(struct work *w, struct value *v)
{
    return w->out->of[group_source(v)->id];
}

static struct group *new_group(struct work *w, enum group_kind kind)
{
    struct grouping *g = w->out;
    struct group *new = ARENA_NEW(w->l->arena, struct group);
    if (g->n == g->room) {
        struct group **grown = ARENA_ARRAY(w->l->arena, struct group *, 2 * g->n + 16);
        if (g->n)
            memcpy(grown, g->list, sizeof *grown * (size_t)g->n);
        g->list = grown;
        g->room = 2 * g->n + 16;
    }
    new->kind = kind;
    new->index = g->n;
    g->list[g->n++] = new;
    return new;
}

static void append_op(struct work *w, struct group *g, struct op *op)
{
    if (g->n_ops == g->room) {
        struct op **grown = ARENA_ARRAY(w->l->arena, struct op *, 2 * g->n_ops + 4);
        if (g->n_ops)
            memcpy(grown, g->ops, sizeof *grown * (size_t)g->n_ops);
        g->ops = grown;
        g->room = 2 * g->n_ops + 4;
    }
    g->ops[g->n_ops++] = op;
    for (int i = 0; i < op->n_results; i++)
        w->out->of[op->results[i]->id] = g;
}

// ---- What a group reads and writes -----------------------------------------------------------------------------

bool group_is_immediate(const struct value *v)
{
    return v->def && (v->def->code == OP_CONSTANT || (v->def->code == OP_SIZES && !v->type->rank));
}

// Where an open size may broadcast, a kernel sees the elements in two ways (emit_load).
static bool may_stretch(const struct value *v)
{
    for (; v->def && tensor_view_is_layout(v->def); v = v->def->operands[0]) {
        const struct type *from = v->def->operands[0]->type, *to = v->type;
        for (int d = 0; v->def->code == OP_BROADCAST && d < from->rank; d++)
            if (from->dims[d] != 1 && from->dims[d] != to->dims[to->rank - from->rank + d])
                return true;
    }
    return false;
}

static bool note_size(const struct module *m, struct group_reads *r, dim size)
{
    int64_t constant;
    if (dims_to_int(m, size, &constant))
        return true;
    for (int i = 0; i < r->n_sizes; i++)
        if (r->sizes[i] == size)
            return true;
    if (r->n_sizes == GROUP_SIZES_READ)
        return false;
    r->sizes[r->n_sizes++] = size;
    return true;
}

// False: there are too many.
static bool note_read(const struct module *m, struct group_reads *r, struct value *v)
{
    if (group_is_immediate(v))
        return true;
    for (int i = 0; i < r->n; i++)
        if (r->v[i] == v)
            return true;
    if (r->n == GROUP_TENSORS)
        return false;
    r->v[r->n++] = v;
    r->n_params += 1 + may_stretch(v);
    const struct type *t = group_source(v)->type;
    bool fits = true;
    for (int d = 0; d < t->rank && t->kind == TYPE_TENSOR; d++)
        fits &= note_size(m, r, t->dims[d]);
    return fits;
}

// What the group would read with the operation. False: too much.
static bool reads_with(const struct work *w, const struct group *g, const struct op *op, struct group_reads *out)
{
    *out = g->reads;
    bool fits = true;
    for (int i = 0; i < op->n_operands; i++)
        if (w->out->of[op->operands[i]->id] != g)
            fits &= note_read(w->l->m, out, op->operands[i]);
    return fits;
}

static bool has_room(struct work *w, const struct group *g, const struct op *op)
{
    struct group_reads reads;
    return reads_with(w, g, op, &reads) && reads.n_params + g->n_writes + op->n_results <= GROUP_TENSORS;
}

static void add_op(struct work *w, struct group *g, struct op *op)
{
    reads_with(w, g, op, &g->reads);
    append_op(w, g, op);
    for (int i = 0; i < op->n_operands; i++) {
        const struct value *v = op->operands[i];
        if (w->out->of[v->id] == g && --w->uses[v->id] == 0)
            g->n_writes--;
    }
    for (int i = 0; i < op->n_results; i++)
        g->n_writes += w->uses[op->results[i]->id] > 0;
}

static void count_uses(struct work *w, const struct block *b)
{
    for (const struct op *op = b->first; op; op = op->next) {
        for (int i = 0; i < op->n_operands; i++)
            w->uses[op->operands[i]->id]++;
        for (int i = 0; i < op->n_blocks; i++)
            count_uses(w, op->blocks[i]);
    }
}

static void set_space(struct group *g, const struct type *t)
{
    g->rank = t->rank;
    memcpy(g->space, t->dims, sizeof(dim) * (size_t)t->rank);
}

// ---- Order -----------------------------------------------------------------------------------------------------

typedef bool visit_group(struct work *, struct group *, void *);

// The group that v comes from, and those of the indices of slices in between.
static bool any_source_of(struct work *w, struct value *v, visit_group *visit, void *data)
{
    for (; v->def && tensor_view_is_layout(v->def); v = v->def->operands[0])
        if (v->def->code == OP_DYNAMIC_SLICE && any_source_of(w, v->def->operands[1], visit, data))
            return true;
    struct group *g = w->out->of[v->id];
    return g && visit(w, g, data);
}

// Calls visit for each group that an operation, with the operations nested in it, reads from; stops when it is true.
static bool any_source(struct work *w, const struct op *op, visit_group *visit, void *data)
{
    for (int i = 0; i < op->n_operands; i++)
        if (any_source_of(w, op->operands[i], visit, data))
            return true;
    for (int i = 0; i < op->n_blocks; i++)
        for (const struct op *inner = op->blocks[i]->first; inner; inner = inner->next)
            if (any_source(w, inner, visit, data))
                return true;
    return false;
}

static bool reaches(struct work *w, struct group *from, void *to);

// The search does not go below the order of what it looks for, so it does not walk through the whole graph.
static bool group_reaches(struct work *w, struct group *from, struct group *to)
{
    if (from == to)
        return true;
    if (from->order <= to->order || w->seen[from->index] == w->search)
        return false;
    w->seen[from->index] = w->search;
    for (int i = 0; i < from->n_ops; i++)
        if (any_source(w, from->ops[i], reaches, to))
            return true;
    return false;
}

static bool reaches(struct work *w, struct group *from, void *to)
{
    return group_reaches(w, from, to);
}

// Whether some operand of op that does not come straight from g needs g to have run.
static bool would_wait(struct work *w, const struct op *op, struct group *g)
{
    w->search++;
    for (int i = 0; i < op->n_operands; i++)
        if (w->out->of[op->operands[i]->id] != g && any_source_of(w, op->operands[i], reaches, g))
            return true;
    return false;
}

static void set_order(struct work *w, struct group *g, int order)
{
    if (g->order >= order)
        return;
    g->order = order;
    if (w->seen[g->index] != w->search) {
        w->seen[g->index] = w->search;
        w->waiting[w->n_waiting++] = g;
    }
}

static bool note_source(struct work *w, struct group *source, void *reader)
{
    struct group *g = reader;
    if (source == g)
        return false;
    if (!source->readers || source->readers->group != g) {
        struct group_reader *r = ARENA_NEW(w->l->arena, struct group_reader);
        *r = (struct group_reader){g, source->readers};
        source->readers = r;
    }
    set_order(w, g, source->order + 1);
    return false;
}

// Keeps the order of the group above those that the operation reads, and that of its readers above its own.
static void keep_order(struct work *w, struct group *g, const struct op *op)
{
    w->search++;
    any_source(w, op, note_source, g);
    while (w->n_waiting) {
        struct group *moved = w->waiting[--w->n_waiting];
        w->seen[moved->index] = 0; // it may have to move on once more
        for (const struct group_reader *r = moved->readers; r; r = r->next)
            set_order(w, r->group, moved->order + 1);
    }
}

// ---- Joining ---------------------------------------------------------------------------------------------------

// Every dimension is the space's, or 1 along what has been reduced.
static bool fits(const struct group *g, const struct type *t)
{
    if (t->rank != g->rank)
        return false;
    for (int d = 0; d < t->rank; d++)
        if (t->dims[d] != g->space[d] && !(g->reduced[d] && t->dims[d] == 1))
            return false;
    return true;
}

static bool takes_members(const struct group *g)
{
    return g->kind <= GROUP_WINDOW;
}

static bool may_join_map(const struct group *g, const struct op *op)
{
    return takes_members(g) && fits(g, op->results[0]->type);
}

static bool may_join_reduce(const struct group *g, const struct op *op)
{
    const struct type *t = op->operands[0]->type;
    if ((g->kind != GROUP_MAP && g->kind != GROUP_REDUCE) || t->rank != g->rank ||
        memcmp(t->dims, g->space, sizeof(dim) * (size_t)t->rank))
        return false;
    if (g->kind == GROUP_MAP)
        return true;
    struct ints axes = op_ints(op, ATTR_AXES);
    int n = 0;
    for (int d = 0; d < g->rank; d++)
        n += g->reduced[d];
    bool same = n == axes.n;
    for (int i = 0; i < axes.n; i++)
        same &= g->reduced[axes.v[i]];
    return same;
}

#define MOST_MEMBERS 48 // compile time

static struct group *find_group(struct work *w, const struct op *op,
                                bool (*may)(const struct group *, const struct op *))
{
    struct group *best = NULL;
    for (int i = 0; i < op->n_operands && !w->l->unfused; i++) {
        struct group *g = is_tensor(op->operands[i]) ? w->out->of[op->operands[i]->id] : NULL;
        if (!g || g == best || g->n_ops >= MOST_MEMBERS || !may(g, op) || !has_room(w, g, op) || would_wait(w, op, g))
            continue;
        // A product's epilogue is free; among equals the later group has fewer waiting for it.
        if (!best || (best->kind < GROUP_EINSUM && (g->kind >= GROUP_EINSUM || g->index > best->index)))
            best = g;
    }
    return best;
}

static void mark_reduced(struct group *g, const struct op *op)
{
    g->kind = GROUP_REDUCE;
    struct ints axes = op_ints(op, ATTR_AXES);
    for (int i = 0; i < axes.n; i++)
        g->reduced[axes.v[i]] = true;
    if (op->code == OP_SCAN)
        g->reduced[op_int(op, ATTR_AXIS, 0)] = true;
}

static void place_op(struct work *w, struct op *op)
{
    struct group *g;
    switch (op->code) {
    case OP_DATA:
    case OP_CONSTANT:
    case OP_YIELD:
        return;
    case OP_REDUCE:
        g = find_group(w, op, may_join_reduce);
        if (!g) {
            g = new_group(w, GROUP_REDUCE);
            set_space(g, op->operands[0]->type);
        }
        mark_reduced(g, op);
        break;
    case OP_SCAN:
        g = new_group(w, GROUP_REDUCE);
        set_space(g, op->results[0]->type);
        mark_reduced(g, op);
        break;
    case OP_EINSUM:
    case OP_CONV:
    case OP_WINDOW_REDUCE:
        g = new_group(w, op->code == OP_EINSUM ? GROUP_EINSUM : op->code == OP_CONV ? GROUP_CONV : GROUP_WINDOW);
        set_space(g, op->results[0]->type);
        break;
    case OP_TAKE:
        g = new_group(w, GROUP_MAP);
        set_space(g, op->results[0]->type);
        break;
    case OP_PAD:
        g = new_group(w, GROUP_PAD);
        break;
    case OP_CONCAT:
        g = new_group(w, GROUP_CONCAT);
        break;
    case OP_SLICE_UPDATE:
        g = new_group(w, GROUP_UPDATE);
        break;
    case OP_SIZES:
        g = new_group(w, GROUP_SIZES);
        break;
    case OP_IF:
    case OP_FOR:
    case OP_WHILE:
    case OP_ASSERT:
    case OP_EXTRACT:
        g = new_group(w, GROUP_HOST);
        break;
    default:
        if (tensor_view_is_layout(op))
            return;
        if (op->n_results != 1 || !is_tensor(op->results[0])) {
            g = new_group(w, GROUP_HOST); // arithmetic on scalars
            break;
        }
        g = is_map(op) ? find_group(w, op, may_join_map) : NULL;
        if (!g) {
            g = new_group(w, GROUP_MAP);
            set_space(g, op->results[0]->type);
        }
    }
    keep_order(w, g, op);
    add_op(w, g, op);
}

// ---- Backwards -------------------------------------------------------------------------------------------------

struct users {
    struct group *only; // the one group that reads the values of a group
    bool many;
};

static void note_use(struct work *w, struct users *users, const struct group *by, const struct op *op)
{
    for (int i = 0; i < op->n_operands; i++) {
        struct value *v = op->operands[i];
        struct group *g = group_of(w, v);
        if (!g || g == by)
            continue;
        struct users *u = &users[g->index];
        bool direct = w->out->of[v->id] == g && by && op->n_blocks == 0 && op->code != OP_TAKE;
        if (!direct || (u->only && u->only != by))
            u->many = true;
        else
            u->only = (struct group *)by;
    }
    for (int i = 0; i < op->n_blocks; i++)
        for (struct op *inner = op->blocks[i]->first; inner; inner = inner->next)
            note_use(w, users, NULL, inner);
}

static bool looks_up(const struct group *g)
{
    for (int i = 0; i < g->n_ops; i++)
        if (g->ops[i]->code == OP_TAKE)
            return true;
    return false;
}

// An element-wise group that only one other reads, in the same space, becomes part of it.
static void merge_into_users(struct work *w, struct block *b)
{
    struct users *users = ARENA_ARRAY(w->l->arena, struct users, w->out->n);
    for (int i = 0; i < w->out->n; i++)
        for (int j = 0; j < w->out->list[i]->n_ops; j++)
            note_use(w, users, w->out->list[i], w->out->list[i]->ops[j]);
    if (block_terminator(b))
        note_use(w, users, NULL, block_terminator(b));
    for (int i = w->out->n - 1; i >= 0; i--) {
        struct group *g = w->out->list[i], *into = users[i].only;
        while (into && into->merged)
            into = into->merged;
        if (g->kind != GROUP_MAP || !into || users[i].many || !takes_members(into) ||
            into->n_ops + g->n_ops > MOST_MEMBERS || into->rank != g->rank ||
            memcmp(into->space, g->space, sizeof(dim) * (size_t)g->rank))
            continue;
        int roots = into->kind >= GROUP_EINSUM; // the product does not take computed operands
        bool feeds_root = roots && looks_up(g); // and its epilogue looks nothing up
        for (int o = 0; roots && o < into->ops[0]->n_operands; o++)
            feeds_root |= group_of(w, into->ops[0]->operands[o]) == g;
        if (feeds_root)
            continue;
        struct group_reads reads = g->reads;
        bool fits = true;
        for (int r = 0; r < into->reads.n; r++)
            if (w->out->of[into->reads.v[r]->id] != g)
                fits &= note_read(w->l->m, &reads, (struct value *)into->reads.v[r]);
        if (!fits || reads.n_params + into->n_writes > GROUP_TENSORS)
            continue;
        into->reads = reads;
        struct group merged = *into;
        merged.ops = NULL;
        merged.n_ops = merged.room = 0;
        struct group *m = ARENA_NEW(w->l->arena, struct group);
        *m = merged;
        if (roots)
            append_op(w, m, into->ops[0]);
        for (int o = 0; o < g->n_ops; o++)
            append_op(w, m, g->ops[o]);
        for (int o = roots; o < into->n_ops; o++)
            append_op(w, m, into->ops[o]);
        g->merged = into;
        into->ops = m->ops;
        into->n_ops = m->n_ops;
        into->room = m->room;
        for (int o = 0; o < into->n_ops; o++)
            for (int r = 0; r < into->ops[o]->n_results; r++)
                w->out->of[into->ops[o]->results[r]->id] = into;
    }
}

// ---- The order they run in -------------------------------------------------------------------------------------

struct sorting {
    struct group **list;
    int n;
};

static bool emit_after(struct work *w, struct group *g, void *data)
{
    struct sorting *s = data;
    if (w->seen[g->index] == w->search)
        return false;
    w->seen[g->index] = w->search;
    for (int i = 0; i < g->n_ops; i++)
        any_source(w, g->ops[i], emit_after, s);
    s->list[s->n++] = g;
    return false;
}

// ---- Who reads values ------------------------------------------------------------------------------------------

// Marks what is read, and is not computed by the group that reads it.
static void note_escapes(struct grouping *g, const struct op *op, const struct group *by)
{
    for (int i = 0; i < op->n_operands; i++)
        if (!by || g->of[op->operands[i]->id] != by)
            g->escapes[op->operands[i]->id] = true;
    for (int i = 0; i < op->n_blocks; i++)
        for (const struct op *inner = op->blocks[i]->first; inner; inner = inner->next)
            note_escapes(g, inner, by);
}

// Notes that a group reads what the operation does. An element that becomes a scalar of the host is loaded where that
// is first asked for.
static void note_reads(struct grouping *g, const struct op *op, int by)
{
    if (op->code == OP_EXTRACT)
        by = g->n;
    for (int i = 0; i < op->n_operands; i++)
        for (const struct value *v = op->operands[i]; g->last_read[v->id] < by; v = v->def->operands[0]) {
            g->last_read[v->id] = by;
            if (!v->def || !tensor_view_is_layout(v->def))
                break;
        }
    for (int i = 0; i < op->n_blocks; i++)
        for (const struct op *inner = op->blocks[i]->first; inner; inner = inner->next)
            note_reads(g, inner, by);
}

static void find_readers(struct lowering *l, const struct block *b, struct grouping *g)
{
    int n = l->graph->n_values + 1;
    g->escapes = ARENA_ARRAY(l->arena, bool, n);
    for (const struct op *op = b->first; op; op = op->next)
        note_escapes(g, op, op->n_results ? g->of[op->results[0]->id] : NULL);
    g->last_read = ARENA_ARRAY(l->arena, int, n);
    memset(g->last_read, -1, sizeof *g->last_read * (size_t)n);
    note_reads(g, block_terminator(b), g->n);
    for (int i = g->n - 1; i >= 0; i--) // the last first: a view's source has been noted when the view has
        for (int o = 0; o < g->list[i]->n_ops; o++)
            note_reads(g, g->list[i]->ops[o], i);
}

void group_operations(struct lowering *l, struct block *b, struct grouping *out)
{
    int n = 0;
    for (struct op *op = b->first; op; op = op->next)
        n++;
    struct work w = {.l = l, .out = out};
    *out = (struct grouping){.of = ARENA_ARRAY(l->arena, struct group *, l->graph->n_values + 1)};
    w.seen = ARENA_ARRAY(l->arena, int, n + 1);
    w.waiting = ARENA_ARRAY(l->arena, struct group *, n + 1);
    w.uses = ARENA_ARRAY(l->arena, int, l->graph->n_values + 1);
    count_uses(&w, b);
    for (struct op *op = b->first; op; op = op->next)
        place_op(&w, op);
    if (!l->unfused)
        merge_into_users(&w, b);
    struct sorting s = {ARENA_ARRAY(l->arena, struct group *, out->n + 1), 0};
    w.search++;
    for (int i = 0; i < out->n; i++)
        if (!out->list[i]->merged)
            emit_after(&w, out->list[i], &s);
    out->list = s.list;
    out->n = s.n;
    for (int i = 0; i < out->n; i++)
        out->list[i]->index = i;
    find_readers(l, b, out);
}
