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
// A reshape stays where its operand's producer can write in its order (lower_graph.c), which costs nothing. But what
// follows a product element by element becomes part of its kernel only if no dimensions are merged in between: a
// transposed convolution's filters for the phases of the result make such dimensions, and a normalisation follows. A
// transposition goes along.
#include <string.h>

#include "ir/dims.h"
#include "passes/pass.h"
#include "passes/replace.h"
#include "passes/tensor_view.h"

struct sinker {
    struct module *m;
    struct function *f;
    struct replace replace;
    bool *moved;       // by id of the function's first values: results that were split, as seen from before
    int n_uses, *uses; // by id of the function's first values: how often they are operands
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

static bool is_map(const struct op *op)
{
    bool map = opcode_is_scalar(op->code) || op->code == OP_CAST || op->code == OP_BITCAST;
    return map && op->n_results == 1 && op->results[0]->type->kind == TYPE_TENSOR;
}

#define LEAST_ROW 8 // elements next to each other in a product's result, for what follows to be done in its kernel

static bool has_rows(struct module *m, const struct type *t)
{
    int d = t->rank - 1;
    int64_t size;
    while (d > 0 && t->dims[d] == 1)
        d--;
    return !dims_to_int(m, t->dims[d], &size) || size >= LEAST_ROW;
}

// Whether nobody else reads the value. What the pass has made is read where it was made for.
static bool is_read_once(const struct sinker *s, const struct value *v)
{
    return v->id >= s->n_uses || s->uses[v->id] == 1;
}

// Whether a value is a product's, or made of one element by element, and read once all the way.
static bool follows_product(const struct sinker *s, const struct value *v)
{
    const struct op *op = v->def;
    if (!op || !is_read_once(s, v))
        return false;
    if (op->code == OP_EINSUM || op->code == OP_CONV)
        return true;
    for (int i = 0; is_map(op) && i < op->n_operands; i++)
        if (follows_product(s, op->operands[i]))
            return true;
    return false;
}

// Whether what follows a reshape could be done in the kernel of the product that it is made of.
static bool is_epilogue(const struct sinker *s, const struct value *reshaped)
{
    const struct value *v = reshaped->def->operands[0];
    return is_read_once(s, reshaped) && follows_product(s, v) && has_rows(s->m, v->type);
}

static bool has_type(const struct value *v, const struct type *t)
{
    return v->type->rank == t->rank && !memcmp(v->type->dims, t->dims, sizeof(dim) * (size_t)t->rank);
}

static bool sinks(struct sinker *s, const struct value *v, const struct type *t, bool moved, struct merge *g)
{
    struct tensor_view view;
    return has_type(v, t) && v->def && v->def->code == OP_RESHAPE && read_merge(s->m, v->def, g) &&
           (moved || (!is_view(s->m, v, &view) && !is_order(s->m, v)) || is_epilogue(s, v));
}

// Whether a transposition of such a value could go behind the operation.
static bool sinks_transposed(struct sinker *s, const struct value *v, const struct type *t)
{
    struct merge g;
    const struct op *op = v->def;
    return has_type(v, t) && op && op->code == OP_TRANSPOSE && is_read_once(s, v) && op->operands[0]->def &&
           op->operands[0]->def->code == OP_RESHAPE && read_merge(s->m, op->operands[0]->def, &g) &&
           is_epilogue(s, op->operands[0]);
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
    if (result->id < s->n_uses)
        s->moved[result->id] = true;
    op_remove(op);
    s->progress = true;
}

// An operand as it lay before a transposition; NULL: it has other dimensions.
static struct value *transpose_back(struct sinker *s, struct builder *b, struct value *v, struct ints axes)
{
    int64_t back[MAX_RANK];
    dim dims[MAX_RANK];
    const struct type *t = v->type;
    if (t->kind != TYPE_TENSOR)
        return v;
    if (t->rank > axes.n)
        return NULL;
    for (int d = 0; d < axes.n; d++) {
        back[axes.v[d]] = d;
        dims[d] = d < axes.n - t->rank ? 1 : t->dims[d - (axes.n - t->rank)];
    }
    if (t->rank < axes.n)
        v = build_value(b, OP_RESHAPE, 1, &v, 0, NULL, type_tensor(s->m, t->dtype, axes.n, dims));
    return build_value(b, OP_TRANSPOSE, 1, &v, 1, &(struct attr){ATTR_AXES, {.ints = {axes.n, back}}}, NULL);
}

// Makes the operation again on what was transposed, and transposes its result. Returns the operation, NULL if it cannot
// be.
static struct op *sink_transposed(struct sinker *s, struct op *op, const struct op *transpose)
{
    struct builder b = {.function = s->f, .block = op->block, .before = op, .loc = op->loc};
    struct ints axes = op_ints(transpose, ATTR_AXES);
    struct value *operands[MAX_OPERANDS], *result = op->results[0];
    for (int i = 0; i < op->n_operands; i++) {
        struct value *v = op->operands[i];
        operands[i] = v == transpose->results[0] ? transpose->operands[0] : transpose_back(s, &b, v, axes);
        if (!operands[i])
            return NULL;
    }
    const struct type *before = transpose->operands[0]->type;
    struct type *t = type_tensor(s->m, result->type->dtype, before->rank, before->dims);
    struct value *v = build_value(&b, op->code, op->n_operands, operands, op->n_attrs, op->attrs, t);
    replace_set(&s->replace, result, build_value(&b, OP_TRANSPOSE, 1, &v, 1, op_attr(transpose, ATTR_AXES), NULL));
    op_remove(op);
    s->progress = true;
    return v->def;
}

static void count_uses(struct sinker *s, const struct block *block)
{
    for (const struct op *op = block->first; op; op = op->next) {
        for (int i = 0; i < op->n_operands; i++)
            s->uses[op->operands[i]->id]++;
        for (int i = 0; i < op->n_blocks; i++)
            count_uses(s, op->blocks[i]);
    }
}

static void walk(struct sinker *s, struct block *block)
{
    for (struct op *op = block->first, *next; op; op = next) {
        struct merge g;
        next = op->next;
        bool moved[MAX_OPERANDS] = {false};
        for (int i = 0; i < op->n_operands; i++)
            moved[i] = op->operands[i]->id < s->n_uses && s->moved[op->operands[i]->id];
        replace_operands(&s->replace, op);
        for (int i = 0; i < op->n_blocks; i++)
            walk(s, op->blocks[i]);
        for (int i = 0; is_map(op) && i < op->n_operands; i++)
            if (op->operands[i]->type->kind == TYPE_TENSOR &&
                sinks_transposed(s, op->operands[i], op->results[0]->type)) {
                struct op *before = sink_transposed(s, op, op->operands[i]->def);
                if (before) {
                    next = before->next; // the transposition, whose operand may be replaced
                    op = before;
                    memset(moved, 0, sizeof moved);
                }
                break;
            }
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
        s.n_uses = f->n_values;
        s.uses = ARENA_ARRAY(c->scratch, int, f->n_values + 1);
        count_uses(&s, f->body);
        replace_init(&s.replace, c->scratch, f);
        walk(&s, f->body);
        progress |= s.progress;
    }
    return progress;
}
