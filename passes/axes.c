#include "passes/axes.h"

#include <string.h>

#include "ir/einsum.h"

struct finder {
    struct axes *axes;
    struct kernel *kernel;
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

static void unite(struct finder *f, const struct value *a, int da, const struct value *b, int db)
{
    int x = axes_of(f->axes, a, da), y = axes_of(f->axes, b, db);
    if (x != AXIS_NONE && y != AXIS_NONE && x != y)
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

static void unite_dot(struct finder *f, const struct op *op)
{
    struct einsum e;
    einsum_parse(op_attr(op, ATTR_LABELS)->string, &e);
    for (int x = 0; x < e.n_axes; x++) {
        const struct value *have = NULL;
        int have_d = 0;
        for (int i = 0; i < 3; i++)
            for (int d = 0; d < e.rank[i]; d++) {
                if (e.axis[i][d] != x)
                    continue;
                if (have)
                    unite(f, have, have_d, op->operands[i], d);
                have = op->operands[i];
                have_d = d;
            }
    }
    unite_all(f, op->operands[2], op->results[0]);
}

static void unite_yield(struct finder *f, const struct op *op, const struct block *b)
{
    const struct op *end = block_terminator(b);
    for (int i = 0; end && end->code == OP_YIELD && i < op->n_results; i++)
        unite_all(f, op->results[i], end->operands[i]);
}

static void unite_op(struct finder *f, const struct op *op)
{
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
    case OP_WHILE: {
        int first = op->code == OP_FOR ? 3 : 0;
        for (int i = 0; i < op->n_results; i++) {
            unite_all(f, op->operands[first + i], op->results[i]);
            for (int b = 0; b < op->n_blocks; b++)
                unite_all(f, op->results[i], op->blocks[b]->args[i + (op->code == OP_FOR)]);
        }
        unite_yield(f, op, op->blocks[op->n_blocks - 1]);
        break;
    }
    case OP_IF:
        unite_yield(f, op, op->blocks[0]);
        unite_yield(f, op, op->blocks[1]);
        break;
    case OP_GATHER:
        for (int i = 1; i < op->n_operands; i++)
            unite_all(f, op->operands[i], op->results[0]);
        break;
    case OP_SCATTER:
    case OP_ATOMIC:
        for (int i = 2; i < op->n_operands; i++)
            unite_all(f, op->operands[i], op->operands[0]->type->kind == TYPE_TILE ? op->operands[0] : op->operands[2]);
        for (int i = 3; i < op->n_operands; i++)
            unite_all(f, op->operands[i], op->operands[2]);
        break;
    case OP_EXTRACT:
    case OP_YIELD:
    case OP_STORE:
    case OP_LOAD:
        break;
    default: // element by element, also reduce and scan: reduced dimensions are of size 1
        for (int i = 0; i < op->n_operands && op->n_results == 1; i++)
            unite_all(f, op->operands[i], op->results[0]);
    }
}

static bool holds_twice(const struct axes *axes, const struct value *v)
{
    if (v->type->kind != TYPE_TILE)
        return false;
    for (int i = 0; i < v->type->rank; i++)
        for (int j = 0; j < i; j++)
            if (axes_of(axes, v, i) != AXIS_NONE && axes_of(axes, v, i) == axes_of(axes, v, j))
                return true;
    return false;
}

static void check_op_axes(struct finder *f, struct op *op)
{
    if (f->failed)
        return;
    bool twice = false;
    for (int i = 0; i < op->n_operands; i++)
        twice |= holds_twice(f->axes, op->operands[i]);
    for (int i = 0; i < op->n_results; i++)
        twice |= holds_twice(f->axes, op->results[i]);
    // The operand to go through memory: the first tile (a dot of a tile with itself: its second factor).
    for (int i = op->code == OP_DOT ? 1 : 0; twice && i < op->n_operands; i++)
        if (op->operands[i]->type->kind == TYPE_TILE) {
            *f->conflict = (struct axes_conflict){op, i};
            f->failed = true;
            return;
        }
}

static void walk(struct finder *f, struct block *b, bool checking)
{
    for (struct op *op = b->first; op; op = op->next) {
        if (checking)
            check_op_axes(f, op);
        else
            unite_op(f, op);
        for (int i = 0; i < op->n_blocks; i++)
            walk(f, op->blocks[i], checking);
    }
}

static void number_value(struct axes *axes, const struct value *v)
{
    if (v->type->kind != TYPE_TILE)
        return;
    axes->first[v->id] = axes->n;
    for (int d = 0; d < v->type->rank; d++, axes->n++) {
        axes->parent[axes->n] = axes->n;
        axes->size[axes->n] = v->type->dims[d];
    }
}

static void number_block(struct axes *axes, const struct block *b)
{
    for (int i = 0; i < b->n_args; i++)
        number_value(axes, b->args[i]);
    for (const struct op *op = b->first; op; op = op->next) {
        for (int i = 0; i < op->n_results; i++)
            number_value(axes, op->results[i]);
        for (int i = 0; i < op->n_blocks; i++)
            number_block(axes, op->blocks[i]);
    }
}

bool axes_find(struct arena *a, struct kernel *k, struct axes *axes, struct axes_conflict *conflict)
{
    *axes = (struct axes){0};
    size_t most = (size_t)k->n_values * MAX_RANK;
    axes->parent = ARENA_ARRAY(a, int, most);
    axes->size = ARENA_ARRAY(a, int64_t, most);
    axes->first = ARENA_ARRAY(a, int, k->n_values);
    number_block(axes, k->body);
    struct finder f = {.axes = axes, .kernel = k, .conflict = conflict};
    walk(&f, k->body, false);
    walk(&f, k->body, true);
    return !f.failed;
}
