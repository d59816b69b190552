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

struct count {
    const struct module *m;
    const int64_t *symbols;
    bool known;
};

static double size_of(struct count *c, dim d)
{
    int64_t size = 0;
    c->known &= dims_eval(c->m, d, c->symbols, &size);
    return (double)size;
}

static double elements(struct count *c, const struct type *t)
{
    double n = 1;
    for (int d = 0; d < t->rank; d++)
        n *= size_of(c, t->dims[d]);
    return n;
}

static double bytes(const struct type *t, double elements)
{
    return elements * (t->dtype == DTYPE_I1 ? 8 : dtype_info[t->dtype].bits) / 8;
}

static double einsum_flops(struct count *c, const struct op *op)
{
    struct einsum e;
    if (einsum_parse(op_attr(op, ATTR_LABELS)->string, &e))
        return 0;
    double n = 1;
    bool sums = false;
    for (int axis = 0; axis < e.n_axes; axis++) {
        int factor = e.in[0][axis] ? 0 : 1, d = 0;
        while (e.axis[factor][d] != axis)
            d++;
        n *= size_of(c, op->operands[factor]->type->dims[d]);
        sums |= einsum_contracts(&e, axis);
    }
    return sums ? 2 * n : n;
}

static double flops(struct count *c, const struct op *op)
{
    const struct type *result = op->results[0]->type;
    switch (op->code) {
    case OP_EINSUM:
        return einsum_flops(c, op);
    case OP_CONV: { // [f, c / groups, k ..]: for each element of the result, those of one f
        struct type window = *op->operands[1]->type;
        window.dims[0] = 1;
        return 2 * elements(c, result) * elements(c, &window);
    }
    case OP_WINDOW_REDUCE: {
        double n = elements(c, result);
        struct ints window = op_ints(op, ATTR_SIZES);
        for (int d = 0; d < window.n; d++)
            n *= (double)window.v[d];
        return n;
    }
    case OP_REDUCE:
    case OP_SCAN:
        return elements(c, op->operands[0]->type);
    default:
        return opcode_is_scalar(op->code) && op->code != OP_IDENTITY ? elements(c, result) : 0;
    }
}

static const struct value *source_of(const struct value *v)
{
    while (v->def && tensor_view_is_layout(v->def))
        v = v->def->operands[0];
    return v;
}

static double least(double a, double b)
{
    return a < b ? a : b;
}

// The elements of an operand that are read from memory: a view may repeat those of its source, or leave some out.
static double read_by(struct count *c, const struct op *op, int operand)
{
    const struct value *v = op->operands[operand], *source = source_of(v);
    bool immediate = source->type->kind != TYPE_TENSOR ||
                     (source->def && (source->def->code == OP_CONSTANT || source->def->code == OP_SIZES));
    if (immediate)
        return 0;
    bool table = op->code == OP_TAKE && operand == 0;
    return least(elements(c, source->type), elements(c, table ? op->results[0]->type : v->type));
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

bool origin_work(const struct op *launch, const struct module *m, const int64_t *symbols, struct origin_work *work)
{
    const struct origin *o = launch->loc.origin;
    struct count c = {m, symbols, o != NULL};
    *work = (struct origin_work){0};
    for (int i = 0; o && i < o->n_ops; i++) {
        const struct op *op = o->ops[i];
        work->flops += flops(&c, op);
        for (int x = 0; x < op->n_operands; x++)
            if (!is_counted(o, i, op->operands[x]))
                work->bytes_read += bytes(op->operands[x]->type, read_by(&c, op, x));
    }
    for (int i = 0; o && i < o->n_results; i++) {
        const struct type *t = o->results[i].value->type;
        work->bytes_written += bytes(t, elements(&c, t));
    }
    if (o && o->copied)
        work->bytes_read = work->bytes_written = bytes(o->copied, elements(&c, o->copied));
    return c.known;
}
