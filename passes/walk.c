// By which parts of its dimensions a group walks them.
//
//   %t = transpose %y, [0, 2, 1, 3, 4]              %y is computed over positions of 4 x 7, not of 28, and written so
//   %r = reshape %t : tensor<Nx28x28x64xf32>   =>   that %r lies row by row; or it lies as it likes, and what reads
//   %z = add %r, %b                                 %r walks 4 x 7
//
// A dimension is split where a tensor that the group reads or writes lies in memory with that dimension split. Every
// other tensor is then walked by the same parts. Dimensions stay whole whose positions are counted, those that a lookup
// indexes, those of windows, and the columns of constant factors, which lie in panels. The channels of a convolution
// in groups are split by these.
#include "ir/dims.h"
#include "passes/lower_graph.h"

bool walk_is_counted(const struct group *g, int d)
{
    for (int i = 0; i < g->n_ops; i++) {
        const struct op *op = g->ops[i];
        int shift = g->rank - op->results[0]->type->rank;
        if ((op->code == OP_SCAN || op->code == OP_IOTA) && op_int(op, ATTR_AXIS, 0) + shift == d)
            return true;
    }
    return false;
}

static bool looks_up(const struct group *g)
{
    for (int i = 0; i < g->n_ops; i++)
        if (g->ops[i]->code == OP_TAKE)
            return true;
    return false;
}

static bool is_constant(struct value *v)
{
    const struct op *source = group_source(v)->def;
    return source && source->code == OP_DATA;
}

// Whether a dimension of a product's result is one of a constant factor alone.
static bool is_column(const struct op *einsum, const struct einsum *s, int d)
{
    int label = s->axis[2][d];
    return (is_constant(einsum->operands[0]) && !s->in[1][label]) ||
           (is_constant(einsum->operands[1]) && !s->in[0][label]);
}

void walk_sums(struct group *g, const struct einsum *s)
{
    const struct op *op = g->ops[0];
    for (int x = 0; x < s->n_axes; x++) {
        const dim *size = NULL;
        for (int o = 0; o < 2; o++)
            for (int d = 0; d < s->rank[o]; d++)
                if (s->axis[o][d] == x && !s->in[2][x])
                    size = &op->operands[o]->type->dims[d];
        if (size)
            tensor_space_add(&g->walk, 1, size, false);
    }
}

static void begin_einsum(struct group *g)
{
    const struct op *op = g->ops[0];
    struct einsum s;
    einsum_parse(op_attr(op, ATTR_LABELS)->string, &s);
    for (int d = 0; d < g->rank; d++)
        tensor_space_add(&g->walk, 1, &g->space[d], is_column(op, &s, d));
    walk_sums(g, &s);
}

// The groups in which a convolution's channels are made; 1: they are not, or each is one.
static int64_t groups_of(const struct group *g)
{
    const struct op *op = g->ops[0];
    int64_t groups = g->kind == GROUP_CONV ? op_int(op, ATTR_GROUPS, 1) : 1;
    bool depthwise = groups > 1 && op->operands[1]->type->dims[0] == groups && op->operands[1]->type->dims[1] == 1;
    return depthwise ? 1 : groups;
}

void walk_begin(struct lowering *l, struct group *g)
{
    if (g->kind == GROUP_EINSUM) {
        begin_einsum(g);
        return;
    }
    bool maps = g->kind < GROUP_EINSUM && !looks_up(g);
    int64_t groups = groups_of(g);
    for (int d = 0; d < g->rank; d++) {
        dim parts[2] = {groups, groups > 1 ? dims_exact(l->m, g->space[d], groups) : 0};
        if (d == 1 && groups > 1)
            tensor_space_add(&g->walk, 2, parts, true);
        else
            tensor_space_add(&g->walk, 1, &g->space[d], !maps || walk_is_counted(g, d));
    }
}

int walk_label(const struct group *g, const struct einsum *s, int label)
{
    int at = g->rank;
    for (int x = 0; x < label; x++)
        at += !s->in[2][x];
    for (int d = 0; d < g->rank; d++)
        if (s->axis[2][d] == label)
            at = d;
    return at;
}

void walk_dims(const struct group *g, int rank, int *dims)
{
    for (int d = 0; d < rank; d++)
        dims[d] = d + g->rank - rank;
}

// Splits the walk so that it fits a view too; where results are written is settled.
static bool refine(struct lowering *l, struct group *g, const struct tensor_view *v, const int *dims)
{
    struct tensor_space s = g->walk;
    dim strides[SPACE_PARTS];
    if (!tensor_space_refine(l->m, &s, v, dims) || !tensor_space_strides(l->m, &s, v, dims, strides))
        return false;
    for (int i = 0; i < g->n_ops; i++) {
        const struct value *result = g->ops[i]->results[0];
        const struct place *p = &l->places[result->id];
        int own[MAX_RANK];
        walk_dims(g, result->type->rank, own);
        if (p->storage && p->view.tensor_rank && !tensor_space_strides(l->m, &s, &p->view, own, strides))
            return false;
    }
    g->walk = s;
    return true;
}

bool walk_reads(struct lowering *l, struct group *g, const struct op *op, int operand)
{
    const struct value *v = op->operands[operand];
    int dims[MAX_RANK];
    if (op->code == OP_TAKE || g->kind > GROUP_WINDOW || (op == g->ops[0] && g->kind > GROUP_EINSUM))
        return false;
    walk_dims(g, v->type->rank, dims);
    if (g->kind == GROUP_EINSUM && op == g->ops[0]) {
        struct einsum s;
        einsum_parse(op_attr(op, ATTR_LABELS)->string, &s);
        for (int d = 0; d < v->type->rank; d++)
            dims[d] = walk_label(g, &s, s.axis[operand][d]);
    }
    struct place p = lower_graph_walked(l, v);
    return refine(l, g, &p.view, dims);
}

bool walk_writes(struct lowering *l, struct group *g, const struct value *result, const struct tensor_view *v)
{
    int dims[MAX_RANK];
    walk_dims(g, result->type->rank, dims);
    return g->kind <= GROUP_WINDOW && refine(l, g, v, dims);
}
