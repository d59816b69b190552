// sink-reshape: element-wise operations before dimensions are merged, where no view can have the merged ones.
//
//     %b = broadcast %x : tensor<8x2xf32>            %b = broadcast %x : tensor<8x2xf32>
//     %r = reshape %b : tensor<16xf32>         =>    %t = reshape %y : tensor<8x2xf32>
//     %z = add %r, %y                                %a = add %b, %t
//                                                    %z = reshape %a : tensor<16xf32>
//
// As memory, %r is a copy of %x with every element twice, while %b is a view, which the sum reads where it lies. The
// result is written in the order of %z in any case. What follows element by element goes along.
//
// A reshape stays where its operand's producer can write in its order (lower_graph.c), which costs nothing.
#include <string.h>

#include "ir/dims.h"
#include "passes/pass.h"
#include "passes/replace.h"
#include "passes/tensor_view.h"

struct sinker {
    struct module *m;
    struct function *f;
    struct replace replace;
    bool *moved; // by id of the function's first values: results that were split, as seen from before
    bool progress;
};

// Dimension d of a tensor is made of dimensions first[d] to first[d + 1] of another.
struct merge {
    int rank, first[MAX_RANK + 1];
    const struct type *split;
};

static bool read_merge(struct module *m, const struct op *reshape, struct merge *g)
{
    const struct type *from = reshape->operands[0]->type, *to = reshape->results[0]->type;
    int at = 0;
    *g = (struct merge){.rank = to->rank, .split = from};
    for (int d = 0; d < to->rank; d++) {
        dim product = 1;
        g->first[d] = at;
        while (at < from->rank && (product != to->dims[d] || from->dims[at] == 1)) {
            product = dims_mul(m, product, from->dims[at++]);
            if (d + 1 < to->rank && product == to->dims[d])
                break;
        }
        if (product != to->dims[d])
            return false;
    }
    g->first[to->rank] = at;
    return at == from->rank && from->rank > to->rank;
}

// Whether the result is a view of what it is made of, if that lies row by row.
static bool is_view(struct module *m, const struct value *v, struct tensor_view *view)
{
    if (!v->def || !tensor_view_is_layout(v->def)) {
        *view = tensor_view_create(m, v->type, NULL);
        return true;
    }
    if (!is_view(m, v->def->operands[0], view))
        return false;
    if (v->def->code != OP_DYNAMIC_SLICE)
        return tensor_view_apply(m, v->def, view);
    memcpy(view->sizes, v->type->dims, sizeof(dim) * (size_t)v->type->rank); // wherever it begins
    return true;
}

static bool is_computed(const struct value *v)
{
    return v->def && v->def->code != OP_DATA && v->def->code != OP_CONSTANT;
}

// Whether what it is made of can be written as it lies.
static bool is_order(struct module *m, const struct value *v)
{
    struct tensor_view view = tensor_view_create(m, v->type, NULL);
    while (v->def && tensor_view_is_layout(v->def)) {
        if (!tensor_view_invert(m, v->def, &view))
            return false;
        v = v->def->operands[0];
    }
    return is_computed(v);
}

static bool sinks(struct sinker *s, const struct value *v, const struct type *t, bool moved, struct merge *g)
{
    struct tensor_view view;
    bool same = v->type->rank == t->rank && !memcmp(v->type->dims, t->dims, sizeof(dim) * (size_t)t->rank);
    return same && v->def && v->def->code == OP_RESHAPE && read_merge(s->m, v->def, g) &&
           (moved || (!is_view(s->m, v, &view) && !is_order(s->m, v)));
}

static bool is_map(const struct op *op)
{
    bool map = opcode_is_scalar(op->code) || op->code == OP_CAST || op->code == OP_BITCAST;
    return map && op->n_results == 1 && op->results[0]->type->kind == TYPE_TENSOR;
}

// An operand, as it meets the split dimensions; NULL: it does not.
static struct value *split(struct sinker *s, struct builder *b, struct value *v, const struct type *whole,
                           const struct merge *g)
{
    const struct type *t = v->type;
    if (t->kind != TYPE_TENSOR)
        return v;
    struct merge own;
    bool alike = v->def && v->def->code == OP_RESHAPE && t->rank == g->rank && read_merge(s->m, v->def, &own) &&
                 own.split->rank == g->split->rank &&
                 !memcmp(own.split->dims, g->split->dims, sizeof(dim) * (size_t)g->split->rank);
    if (alike)
        return v->def->operands[0];
    dim dims[MAX_RANK];
    int rank = 0;
    for (int d = 0; d < t->rank; d++) {
        int of = d + g->rank - t->rank;
        if (t->dims[d] != 1 && t->dims[d] != whole->dims[of])
            return NULL;
        for (int i = g->first[of]; i < g->first[of + 1]; i++)
            dims[rank++] = t->dims[d] == 1 ? 1 : g->split->dims[i];
    }
    struct type *type = type_tensor(s->m, t->dtype, rank, dims);
    if (v->def && v->def->code == OP_CONSTANT) // stays a number
        return build_value(b, OP_CONSTANT, 0, NULL, 1, op_attr(v->def, ATTR_VALUE), type);
    return type == t ? v : build_value(b, OP_RESHAPE, 1, &v, 0, NULL, type);
}

// Makes the operation again on split dimensions, and merges its result.
static void sink(struct sinker *s, struct op *op, const struct merge *g)
{
    struct builder b = {.function = s->f, .block = op->block, .before = op, .loc = op->loc};
    struct value *operands[MAX_OPERANDS], *result = op->results[0];
    for (int i = 0; i < op->n_operands; i++)
        if (!(operands[i] = split(s, &b, op->operands[i], result->type, g)))
            return;
    struct type *t = type_tensor(s->m, result->type->dtype, g->split->rank, g->split->dims);
    struct value *v = build_value(&b, op->code, op->n_operands, operands, op->n_attrs, op->attrs, t);
    replace_set(&s->replace, result, build_value(&b, OP_RESHAPE, 1, &v, 0, NULL, result->type));
    s->moved[result->id] = true;
    op_remove(op);
    s->progress = true;
}

static void walk(struct sinker *s, struct block *block)
{
    for (struct op *op = block->first, *next; op; op = next) {
        struct merge g;
        next = op->next;
        bool moved[MAX_OPERANDS] = {false};
        for (int i = 0; i < op->n_operands; i++)
            moved[i] = s->moved[op->operands[i]->id];
        replace_operands(&s->replace, op);
        for (int i = 0; i < op->n_blocks; i++)
            walk(s, op->blocks[i]);
        for (int i = 0; is_map(op) && i < op->n_operands; i++)
            if (op->operands[i]->type->kind == TYPE_TENSOR &&
                sinks(s, op->operands[i], op->results[0]->type, moved[i], &g)) {
                sink(s, op, &g);
                break;
            }
    }
}

bool pass_sink_reshape(struct module *m, struct pass_context *c)
{
    bool progress = false;
    for (struct function *f = m->first_function; f; f = f->next) {
        if (f->kind != FUNCTION_GRAPH)
            continue;
        struct sinker s = {.m = m, .f = f, .moved = ARENA_ARRAY(c->scratch, bool, f->n_values + 1)};
        replace_init(&s.replace, c->scratch, f);
        walk(&s, f->body);
        progress |= s.progress;
    }
    return progress;
}
