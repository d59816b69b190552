// The conditions of rules: functions of what their names are bound to.
#include <math.h>
#include <string.h>

#include "ir/dims.h"
#include "ir/einsum.h"
#include "ir/scalar.h"
#include "passes/rules_internal.h"

#define MOST_STEPS 8 // back to the constant that a splat is computed from

// ---- Splat constants -------------------------------------------------------------------------------------------

static bool splat_data(const struct op *op, union scalar *x)
{
    struct data data = op_attr(op, ATTR_DATA)->data;
    enum dtype t = op->results[0]->type->dtype;
    int64_t size = dtype_bytes(t);
    const char *bytes = data.bytes;
    if (data.size < size || dtype_info[t].bits % 8 > 1 || memcmp(bytes, bytes + size, (size_t)(data.size - size)) != 0)
        return false;
    *x = dtype_load(t, bytes);
    return true;
}

static bool find_splat(struct rewriter *r, const struct value *v, union scalar *x, int steps);

static bool compute_splat(struct rewriter *r, const struct op *op, union scalar *x, int steps)
{
    union scalar operands[3] = {0};
    enum dtype t = op->operands[op->n_operands - 1]->type->dtype;
    for (int i = 0; i < op->n_operands; i++)
        if (!find_splat(r, op->operands[i], &operands[i], steps - 1))
            return false;
    switch (op->code) {
    case OP_BROADCAST:
    case OP_RESHAPE:
    case OP_TRANSPOSE:
        *x = operands[0];
        return true;
    case OP_CAST:
        *x = dtype_cast(op->results[0]->type->dtype, t, operands[0]);
        return true;
    default:
        *x = scalar_eval(op->code, t, operands[0], operands[1], operands[2]);
        return true;
    }
}

static bool find_splat(struct rewriter *r, const struct value *v, union scalar *x, int steps)
{
    const struct op *op = v->def;
    struct fact *f = rewriter_fact(r, v);
    if (!op || !steps || !f->constant)
        return false;
    if (f->splat == SPLAT_UNKNOWN) {
        bool moves = op->code == OP_BROADCAST || op->code == OP_RESHAPE || op->code == OP_TRANSPOSE;
        bool found = false;
        if (op->code == OP_CONSTANT) {
            *x = scalar_from_number(v->type->dtype, op_attr(op, ATTR_VALUE)->number);
            found = true;
        } else if (op->code == OP_DATA) {
            found = splat_data(op, x);
        } else if (moves || op->code == OP_CAST || opcode_is_scalar(op->code)) {
            if (!compute_splat(r, op, x, steps))
                return false; // maybe for lack of steps
            found = true;
        }
        f = rewriter_fact(r, v);
        f->splat = found ? SPLAT_YES : SPLAT_NO;
        if (found)
            f->element = *x;
    }
    *x = f->element;
    return f->splat == SPLAT_YES;
}

bool rewriter_splat(struct rewriter *r, const struct value *v, union scalar *x)
{
    return find_splat(r, v, x, MOST_STEPS);
}

// ---- Constants -------------------------------------------------------------------------------------------------

static bool constant(struct match *m, const struct binding **v)
{
    return rewriter_fact(m->rewriter, v[0]->value)->constant;
}

static bool splat(struct match *m, const struct binding **v)
{
    union scalar x;
    return rewriter_splat(m->rewriter, v[0]->value, &x);
}

static bool power_of_two(struct match *m, const struct binding **v)
{
    union scalar x;
    int exponent;
    const struct type *t = v[0]->value->type;
    if (!dtype_is_float(t->dtype) || !rewriter_splat(m->rewriter, v[0]->value, &x) || !isfinite(x.f))
        return false;
    // Far from the ends of the types, where the reciprocal is not exact or a machine flushes it to 0.
    return fabs(frexp(x.f, &exponent)) == 0.5 && fabs(x.f) >= 1.0 / 256 && fabs(x.f) <= 256 &&
           dtype_round(t->dtype, 1 / x.f) == 1 / x.f;
}

// The number of elements along the last axis of v: a constant, or sizes.
static bool is_length(struct match *m, const struct value *n, const struct type *of)
{
    union scalar x;
    if (!of->rank)
        return false;
    dim want = of->dims[of->rank - 1];
    if (rewriter_splat(m->rewriter, n, &x))
        return want > 0 &&
               (dtype_is_float(n->type->dtype) ? x.f == dtype_round(n->type->dtype, (double)want) : x.i == want);
    const struct op *op = n->def;
    for (int i = 0; op && i < MOST_STEPS; i++) {
        if (op->code == OP_SIZES) {
            struct dims sizes = op_attr(op, ATTR_DIMS)->dims;
            return sizes.n == 1 && sizes.v[0] == want;
        }
        if (op->code != OP_CAST && op->code != OP_RESHAPE && op->code != OP_BROADCAST)
            return false;
        op = op->operands[0]->def;
    }
    return false;
}

static bool length(struct match *m, const struct binding **v)
{
    return is_length(m, v[0]->value, v[1]->value->type);
}

static bool reciprocal_length(struct match *m, const struct binding **v)
{
    union scalar x;
    const struct type *of = v[1]->value->type;
    const struct value *r = v[0]->value;
    if (rewriter_splat(m->rewriter, r, &x)) {
        if (!dtype_is_float(r->type->dtype) || !of->rank || of->dims[of->rank - 1] <= 0)
            return false;
        double want = 1 / (double)of->dims[of->rank - 1];
        return fabs(x.f - want) <= 1e-6 * want || x.f == dtype_round(r->type->dtype, want);
    }
    const struct op *op = r->def;
    if (op && op->code == OP_RECIP)
        return is_length(m, op->operands[0], of);
    return op && op->code == OP_DIV && rewriter_splat(m->rewriter, op->operands[0], &x) && x.f == 1 &&
           is_length(m, op->operands[1], of);
}

// ---- Types -----------------------------------------------------------------------------------------------------

static bool is_float(struct match *m, const struct binding **v)
{
    (void)m;
    return dtype_is_float(v[0]->value->type->dtype);
}

static bool is_integer(struct match *m, const struct binding **v)
{
    (void)m;
    return dtype_is_int(v[0]->value->type->dtype);
}

static bool same_type(struct match *m, const struct binding **v)
{
    (void)m;
    return v[0]->value->type == v[1]->value->type;
}

// a, which broadcasts to b, has size 1 where b does not.
static bool smaller(struct match *m, const struct binding **v)
{
    (void)m;
    const struct type *a = v[0]->value->type, *b = v[1]->value->type;
    for (int d = 0; d < b->rank; d++) {
        int i = d - (b->rank - a->rank);
        if (b->dims[d] != 1 && (i < 0 || a->dims[i] == 1))
            return true;
    }
    return false;
}

static bool empty(struct match *m, const struct binding **v)
{
    (void)m;
    const struct type *t = v[0]->value->type;
    for (int d = 0; d < t->rank; d++)
        if (t->dims[d] == 0)
            return true;
    return false;
}

// Every number of b's type is one of a's type.
static bool holds(struct match *m, const struct binding **v)
{
    (void)m;
    enum dtype a = v[0]->value->type->dtype, b = v[1]->value->type->dtype;
    if (a == b || b == DTYPE_I1)
        return true;
    int more = dtype_info[a].bits - dtype_info[b].bits;
    if (dtype_is_float(a) && dtype_is_float(b)) // of the same width they differ in range
        return more > 0;
    if (dtype_is_float(a))
        return dtype_info[b].bits <= (a == DTYPE_F64   ? 32
                                      : a == DTYPE_F32 ? 16
                                                       : 8) &&
               a != DTYPE_F8E4M3 && a != DTYPE_F8E5M2 && (a != DTYPE_BF16 || dtype_info[b].bits == 8);
    if (!dtype_is_int(a) || !dtype_is_int(b))
        return false;
    return dtype_is_signed(a) ? more > 0 || (more == 0 && dtype_is_signed(b)) : more >= 0 && !dtype_is_signed(b);
}

// ---- Axes ------------------------------------------------------------------------------------------------------

// A permutation that only moves axes of size 1.
static bool keeps_order(struct match *m, const struct binding **v)
{
    (void)m;
    struct ints p = attr_axes(v[0]->attr);
    const struct type *t = v[1]->value->type;
    int64_t last = -1;
    for (int i = 0; i < p.n; i++) {
        if (t->dims[p.v[i]] == 1)
            continue;
        if (p.v[i] < last)
            return false;
        last = p.v[i];
    }
    return true;
}

static bool one_axis(struct match *m, const struct binding **v)
{
    (void)m;
    return attr_axes(v[0]->attr).n == 1;
}

// Of size 1 but for one axis, counted from the front of `of`, where it broadcasts.
static bool only_along(const struct type *a, const struct type *of, int axis)
{
    if (a->kind != TYPE_TENSOR || a->dtype != of->dtype || a->rank > of->rank)
        return false;
    for (int i = 0; i < a->rank; i++) {
        int d = i + of->rank - a->rank;
        if (a->dims[i] != 1 && (d != axis || a->dims[i] != of->dims[d]))
            return false;
    }
    return true;
}

// a has one element, of w's type, and no sizes that make w's more.
static bool scalar(struct match *m, const struct binding **v)
{
    (void)m;
    return v[0]->value->type->rank == 0 && v[0]->value->type->dtype == v[1]->value->type->dtype;
}

static bool per_channel(struct match *m, const struct binding **v)
{
    (void)m;
    return only_along(v[0]->value->type, v[1]->value->type, 1);
}

static bool row(struct match *m, const struct binding **v)
{
    (void)m;
    const struct type *of = v[1]->value->type;
    return only_along(v[0]->value->type, of, of->rank - 1);
}

// a is a row of the result of the einsum p, whose last axis is the last of its factor w and none of the other factor.
static bool columns(struct match *m, const struct binding **v)
{
    const struct type *w = v[1]->value->type, *p = v[2]->value->type;
    struct einsum e;
    (void)m;
    if (einsum_parse(op_attr(v[2]->value->def, ATTR_LABELS)->string, &e) || !p->rank || !w->rank ||
        w->dtype != p->dtype || !only_along(v[0]->value->type, p, p->rank - 1))
        return false;
    int axis = e.axis[2][p->rank - 1];
    return e.axis[1][w->rank - 1] == axis && !e.in[0][axis];
}

static bool same_sizes(const struct type *a, const struct type *b)
{
    return a->rank == b->rank && !memcmp(a->dims, b->dims, sizeof *a->dims * (size_t)a->rank);
}

// Reductions of a composite go along the last axis of its operand.
static bool reduces_last(const struct op *composite)
{
    bool any = false;
    for (const struct op *op = composite->blocks[0]->first; op; op = op->next) {
        if (op->code == OP_REDUCE) {
            struct ints axes = op_ints(op, ATTR_AXES);
            const struct type *t = op->operands[0]->type;
            any = true;
            if (axes.n != 1 || axes.v[0] != t->rank - 1 || !same_sizes(t, composite->operands[0]->type))
                return false;
        }
        if (op->n_blocks)
            return false;
    }
    return any;
}

// s are scores of queries and keys, o sums values by the softmax of t, which has the axes of s: the last one, which
// the softmax goes along, counts keys, and o sums over it alone.
static bool attention(struct match *m, const struct binding **v)
{
    struct einsum scores, out;
    (void)m;
    const struct op *s = v[0]->value->def, *o = v[2]->value->def;
    if (einsum_parse(op_attr(s, ATTR_LABELS)->string, &scores) || einsum_parse(op_attr(o, ATTR_LABELS)->string, &out) ||
        !scores.rank[2] || !reduces_last(o->operands[0]->def))
        return false;
    int keys = scores.axis[2][scores.rank[2] - 1], summed = out.axis[0][out.rank[0] - 1], contracted = 0;
    for (int i = 0; i < scores.n_axes; i++)
        contracted += einsum_contracts(&scores, i);
    for (int i = 0; i < out.n_axes; i++)
        if (einsum_contracts(&out, i) != (i == summed))
            return false;
    return contracted == 1 && !scores.in[0][keys] && scores.in[1][keys] && out.in[1][summed];
}

// ---- The table -------------------------------------------------------------------------------------------------

static const struct {
    struct rule_function function;
    bool (*holds)(struct match *m, const struct binding **variables);
} conditions[] = {
    {{"constant", 1}, constant},                   // computed from constants alone
    {{"splat", 1}, splat},                         // a constant whose elements are equal
    {{"power_of_two", 1}, power_of_two},           // a splat of floats
    {{"length", 2}, length},                       // n, x: the length of x's last axis
    {{"reciprocal_length", 2}, reciprocal_length}, // r, x: 1 / that
    {{"float", 1}, is_float},                      //
    {{"integer", 1}, is_integer},                  //
    {{"same_type", 2}, same_type},                 //
    {{"smaller", 2}, smaller},                     // a, b: a has fewer elements, and broadcasts to b
    {{"empty", 1}, empty},                         // has no elements
    {{"holds", 2}, holds},                         // a, b: casting from b's type to a's loses nothing
    {{"keeps_order", 2}, keeps_order},             // p, x: transposing x by p moves axes of size 1 only
    {{"one_axis", 1}, one_axis},                   // p
    {{"scalar", 2}, scalar},                       // a, w: one element of w's type
    {{"per_channel", 2}, per_channel},             // a, x: a factor of x for each index of axis 1
    {{"row", 2}, row},                             // a, x: a factor of x for each index of the last axis
    {{"columns", 3}, columns},                     // a, w, p: a factor of einsum p for each column of its factor w
    {{"attention", 3}, attention},                 // s, t, o: scores, what softmax is taken of, output
};

const struct rule_function *condition_function(int n)
{
    return n < (int)(sizeof conditions / sizeof *conditions) ? &conditions[n].function : NULL;
}

bool condition_holds(struct match *m, const struct condition *c)
{
    const struct binding *bound[3] = {0};
    for (int i = 0; i < conditions[c->function].function.n_variables; i++) {
        bound[i] = &m->bound[c->variables[i]];
        if (!bound[i]->value && !bound[i]->attr)
            return true;
    }
    return conditions[c->function].holds(m, bound) != c->negated;
}
