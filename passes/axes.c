#include "passes/axes.h"

#include <string.h>

#include "ir/einsum.h"

struct finder {
    struct axes *axes;
    const struct value **tiles; // by number of a dimension: whose it is
    const struct op **dots;     // seen so far
    int n_dots;
    struct op *op; // whose edge to `operand` is being followed
    int operand;
    struct axes_conflict *conflict;
    bool failed;
};

static int root(const struct axes *axes, int i)
{
    while (axes->parent[i] != i)
        i = axes->parent[i] = axes->parent[axes->parent[i]];
    return i;
}

int axes_of(const struct axes *axes, const struct value *v, int dimension)
{
    if (v->type->kind != TYPE_TILE || v->type->dims[dimension] == 1)
        return AXIS_NONE;
    return root(axes, axes->first[v->id] + dimension);
}

bool axes_has(const struct axes *axes, const struct value *v, int axis)
{
    for (int d = 0; v->type->kind == TYPE_TILE && d < v->type->rank; d++)
        if (axes_of(axes, v, d) == axis)
            return true;
    return false;
}

static bool labels_axis(const struct axes *axes, const struct op *dot, int axis)
{
    for (int i = 0; i < dot->n_operands; i++)
        if (axes_has(axes, dot->operands[i], axis))
            return true;
    return false;
}

// Whether a tile has a dimension in either of two axes, or a dot a label.
static bool meet(const struct finder *f, int x, int y)
{
    for (int i = 0; i < f->axes->n; i++) {
        const struct value *v = f->tiles[i];
        if (root(f->axes, i) != x)
            continue;
        if (axes_has(f->axes, v, y))
            return true;
    }
    for (int i = 0; i < f->n_dots; i++)
        if (labels_axis(f->axes, f->dots[i], x) && labels_axis(f->axes, f->dots[i], y))
            return true;
    return false;
}

static void fail(struct finder *f)
{
    if (!f->failed)
        *f->conflict = (struct axes_conflict){f->op, f->operand};
    f->failed = true;
}

static void unite(struct finder *f, const struct value *a, int da, const struct value *b, int db)
{
    int x = axes_of(f->axes, a, da), y = axes_of(f->axes, b, db);
    if (f->failed || x == AXIS_NONE || y == AXIS_NONE || x == y)
        return;
    if (meet(f, x, y))
        fail(f);
    else
        f->axes->parent[y > x ? y : x] = y > x ? x : y;
}

// Dimension by dimension, from the last on.
static void unite_all(struct finder *f, const struct value *a, const struct value *b)
{
    if (a->type->kind != TYPE_TILE || b->type->kind != TYPE_TILE)
        return;
    for (int i = 1; i <= a->type->rank && i <= b->type->rank; i++)
        unite(f, a, a->type->rank - i, b, b->type->rank - i);
}

bool reshape_is_trivial(const struct type *from, const struct type *to)
{
    int i = 0, j = 0;
    for (;;) {
        while (i < from->rank && from->dims[i] == 1)
            i++;
        while (j < to->rank && to->dims[j] == 1)
            j++;
        if (i == from->rank || j == to->rank)
            return i == from->rank && j == to->rank;
        if (from->dims[i++] != to->dims[j++])
            return false;
    }
}

static void unite_reshape(struct finder *f, const struct value *from, const struct value *to)
{
    if (!reshape_is_trivial(from->type, to->type))
        return;
    int j = 0;
    for (int i = 0; i < from->type->rank; i++) {
        if (from->type->dims[i] == 1)
            continue;
        while (to->type->dims[j] == 1)
            j++;
        unite(f, from, i, to, j++);
    }
}

static void follow(struct finder *f, struct op *op, int operand)
{
    f->op = op;
    f->operand = operand;
}

// The sum first: of two factors that are one tile, the second goes through memory.
static void unite_dot(struct finder *f, struct op *op)
{
    static const int order[3] = {2, 0, 1};
    struct einsum e;
    einsum_parse(op_attr(op, ATTR_LABELS)->string, &e);
    const struct value *have[EINSUM_LABELS] = {NULL};
    int dimension[EINSUM_LABELS];
    for (int n = 0; n < 3; n++) {
        int i = order[n];
        follow(f, op, i);
        for (int d = 0; d < e.rank[i]; d++) {
            int x = e.axis[i][d];
            if (have[x])
                unite(f, have[x], dimension[x], op->operands[i], d);
            have[x] = op->operands[i];
            dimension[x] = d;
        }
        for (int x = 0; x < e.n_axes && !f->failed; x++)
            for (int y = 0; y < x; y++) {
                int axis = have[x] ? axes_of(f->axes, have[x], dimension[x]) : AXIS_NONE;
                if (axis != AXIS_NONE && have[y] && axes_of(f->axes, have[y], dimension[y]) == axis)
                    fail(f);
            }
    }
    follow(f, op, 2);
    unite_all(f, op->operands[2], op->results[0]);
    f->dots[f->n_dots++] = op;
}

static void unite_yield(struct finder *f, const struct op *op, const struct block *b)
{
    struct op *end = block_terminator(b);
    for (int i = 0; end && end->code == OP_YIELD && i < op->n_results; i++) {
        follow(f, end, i);
        unite_all(f, op->results[i], end->operands[i]);
    }
}

static void unite_carried(struct finder *f, struct op *op, int first)
{
    for (int i = 0; i < op->n_results; i++) {
        follow(f, op, first + i);
        for (int b = 0; b < op->n_blocks; b++)
            unite_all(f, op->results[i], op->blocks[b]->args[i + (op->code == OP_FOR)]);
        unite_all(f, op->operands[first + i], op->results[i]);
    }
}

static void unite_operands(struct finder *f, struct op *op, int first, const struct value *with)
{
    for (int i = first; i < op->n_operands; i++) {
        follow(f, op, i);
        unite_all(f, op->operands[i], with);
    }
}

static void unite_op(struct finder *f, struct op *op)
{
    follow(f, op, 0);
    switch (op->code) {
    case OP_RESHAPE:
        unite_reshape(f, op->operands[0], op->results[0]);
        break;
    case OP_TRANSPOSE:
        for (int d = 0; d < op->results[0]->type->rank; d++)
            unite(f, op->operands[0], (int)op_ints(op, ATTR_AXES).v[d], op->results[0], d);
        break;
    case OP_DOT:
        unite_dot(f, op);
        break;
    case OP_FOR:
    case OP_WHILE:
        unite_carried(f, op, op->code == OP_FOR ? 3 : 0);
        break;
    case OP_GATHER:
        unite_operands(f, op, 1, op->results[0]);
        break;
    case OP_SCATTER:
    case OP_ATOMIC:
        if (op->operands[0]->type->kind == TYPE_TILE)
            unite_operands(f, op, 2, op->operands[0]);
        for (int i = 2; i < op->n_operands; i++)
            unite_operands(f, op, i + 1, op->operands[i]);
        break;
    case OP_IF:
    case OP_EXTRACT:
    case OP_YIELD:
    case OP_STORE:
    case OP_LOAD:
        break;
    default: // element by element, also reduce and scan: reduced dimensions are of size 1
        if (op->n_results == 1)
            unite_operands(f, op, 0, op->results[0]);
    }
}

static void walk(struct finder *f, struct block *b)
{
    for (struct op *op = b->first; op && !f->failed; op = op->next) {
        unite_op(f, op);
        for (int i = 0; i < op->n_blocks; i++)
            walk(f, op->blocks[i]);
        if (op->code == OP_IF)
            unite_yield(f, op, op->blocks[0]);
        if (op->n_blocks)
            unite_yield(f, op, op->blocks[op->n_blocks - 1]);
    }
}

static void number_value(struct finder *f, const struct value *v)
{
    struct axes *axes = f->axes;
    if (v->type->kind != TYPE_TILE)
        return;
    axes->first[v->id] = axes->n;
    for (int d = 0; d < v->type->rank; d++, axes->n++) {
        f->tiles[axes->n] = v;
        axes->parent[axes->n] = axes->n;
        axes->size[axes->n] = v->type->dims[d];
    }
}

static void number_block(struct finder *f, const struct block *b)
{
    for (int i = 0; i < b->n_args; i++)
        number_value(f, b->args[i]);
    for (const struct op *op = b->first; op; op = op->next) {
        for (int i = 0; i < op->n_results; i++)
            number_value(f, op->results[i]);
        for (int i = 0; i < op->n_blocks; i++)
            number_block(f, op->blocks[i]);
    }
}

bool axes_find(struct arena *a, struct function *k, struct axes *axes, struct axes_conflict *conflict)
{
    *axes = (struct axes){0};
    size_t most = (size_t)k->n_values * MAX_RANK;
    axes->parent = ARENA_ARRAY(a, int, most);
    axes->size = ARENA_ARRAY(a, int64_t, most);
    axes->first = ARENA_ARRAY(a, int, k->n_values);
    struct finder f = {.axes = axes, .conflict = conflict};
    f.tiles = ARENA_ARRAY(a, const struct value *, most);
    number_block(&f, k->body);
    f.dots = ARENA_ARRAY(a, const struct op *, k->n_values + 1);
    walk(&f, k->body);
    return !f.failed;
}
