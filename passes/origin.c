#include "passes/origin.h"

#include "ir/dims.h"
#include "ir/einsum.h"
#include "passes/tensor_view.h"

// ---- Nodes -----------------------------------------------------------------------------------------------------

static int add_node(struct loc *nodes, int n, struct loc loc)
{
    for (int i = 0; i < n; i++)
        if (loc_same_node(&nodes[i], &loc))
            return n;
    loc.with = NULL;
    loc.origin = NULL;
    nodes[n] = loc;
    return n + 1;
}

static int count_nodes(const struct origin *o)
{
    int n = 0;
    for (int i = 0; i < o->n_ops; i++) {
        n++;
        for (const struct loc *with = o->ops[i]->loc.with; with; with = with->with)
            n++;
    }
    return n;
}

int origin_nodes(const struct op *launch, struct arena *a, struct loc **nodes)
{
    const struct origin *o = launch->loc.origin;
    int n = 0;
    *nodes = ARENA_ARRAY(a, struct loc, (o ? count_nodes(o) : 0) + 1);
    for (int i = 0; o && i < o->n_ops; i++) {
        for (const struct loc *with = o->ops[i]->loc.with; with; with = with->with)
            n = add_node(*nodes, n, *with);
        n = add_node(*nodes, n, o->ops[i]->loc);
    }
    return n ? n : add_node(*nodes, 0, launch->loc);
}

// ---- Work ------------------------------------------------------------------------------------------------------

static dim elements(struct module *m, const struct type *t)
{
    return dims_product(m, t->rank, t->dims);
}

static dim bytes(struct module *m, const struct type *t, dim elements)
{
    return dims_ceildiv(m, dims_mul(m, elements, t->dtype == DTYPE_I1 ? 8 : dtype_info[t->dtype].bits), 8);
}

static dim einsum_flops(struct module *m, const struct op *op)
{
    struct einsum e;
    if (einsum_parse(op_attr(op, ATTR_LABELS)->string, &e))
        return 0;
    dim n = 1;
    bool sums = false;
    for (int axis = 0; axis < e.n_axes; axis++) {
        int factor = e.in[0][axis] ? 0 : 1, d = 0;
        while (e.axis[factor][d] != axis)
            d++;
        n = dims_mul(m, n, op->operands[factor]->type->dims[d]);
        sums |= einsum_contracts(&e, axis);
    }
    return sums ? dims_mul(m, 2, n) : n;
}

static dim flops(struct module *m, const struct op *op)
{
    const struct type *result = op->results[0]->type;
    switch (op->code) {
    case OP_EINSUM:
        return einsum_flops(m, op);
    case OP_CONV: { // [f, c / groups, k ..]: for each element of the result, those of one f
        struct type window = *op->operands[1]->type;
        window.dims[0] = 2;
        return dims_mul(m, elements(m, result), elements(m, &window));
    }
    case OP_WINDOW_REDUCE: {
        dim n = elements(m, result);
        struct ints window = op_ints(op, ATTR_SIZES);
        for (int d = 0; d < window.n; d++)
            n = dims_mul(m, n, window.v[d]);
        return n;
    }
    case OP_REDUCE:
    case OP_SCAN:
        return elements(m, op->operands[0]->type);
    default:
        return opcode_is_scalar(op->code) && op->code != OP_IDENTITY ? elements(m, result) : 0;
    }
}

static const struct value *source_of(const struct value *v)
{
    while (v->def && tensor_view_is_layout(v->def))
        v = v->def->operands[0];
    return v;
}

// The elements of an operand that are read from memory: a view may repeat those of its source, or leave some out.
static dim read_by(struct module *m, const struct op *op, int operand)
{
    const struct value *v = op->operands[operand], *source = source_of(v);
    bool immediate = source->type->kind != TYPE_TENSOR ||
                     (source->def && (source->def->code == OP_CONSTANT || source->def->code == OP_SIZES));
    if (immediate)
        return 0;
    bool table = op->code == OP_TAKE && operand == 0;
    return dims_min(m, elements(m, source->type), elements(m, table ? op->results[0]->type : v->type));
}

// Whether the value is computed by the first n operations, or one of them reads it too.
static bool is_counted(const struct origin *o, int n, const struct value *v)
{
    for (int i = 0; i < n; i++) {
        for (int r = 0; r < o->ops[i]->n_results; r++)
            if (o->ops[i]->results[r] == v)
                return true;
        for (int x = 0; x < o->ops[i]->n_operands; x++)
            if (o->ops[i]->operands[x] == v)
                return true;
    }
    return false;
}

struct origin_work origin_work(const struct op *launch, struct module *m)
{
    const struct origin *o = launch->loc.origin;
    if (!o)
        return (struct origin_work){DIM_UNKNOWN, DIM_UNKNOWN};
    struct origin_work work = {0, 0};
    for (int i = 0; i < o->n_ops; i++) {
        const struct op *op = o->ops[i];
        work.flops = dims_add(m, work.flops, flops(m, op));
        for (int x = 0; x < op->n_operands; x++)
            if (!is_counted(o, i, op->operands[x]))
                work.bytes = dims_add(m, work.bytes, bytes(m, op->operands[x]->type, read_by(m, op, x)));
    }
    for (int i = 0; i < o->n_results; i++) {
        const struct type *t = o->results[i].value->type;
        work.bytes = dims_add(m, work.bytes, bytes(m, t, elements(m, t)));
    }
    if (o->copied)
        work.bytes = dims_mul(m, 2, bytes(m, o->copied, elements(m, o->copied)));
    return work;
}
