// fold: computes what is known, and takes away what does nothing.
//
//     %a = constant 4                              %2 = constant 12
//     %b = mul %a, 2                      =>       %d = add %m, %2
//     %c = add %m, %b
//     %d = add %c, 4
//
// One walk in order of dominance (replace.h). Floats are changed only where the result is the same bit for bit: x * 1
// is x, but x + 0 is not when x is -0. Control flow that is decided is unwrapped: branches on a constant, loops that
// run never or once, and values that a loop carries unchanged. Does not look for equal operations (cse) and leaves
// operands that nothing uses any more (dce).
#include "passes/fold.h"

#include <string.h>

#include "ir/dims.h"
#include "ir/scalar.h"
#include "passes/pass.h"

bool fold_constant(const struct value *v, union scalar *x)
{
    if (!v->def || v->def->code != OP_CONSTANT)
        return false;
    *x = scalar_from_number(v->type->dtype, op_attr(v->def, ATTR_VALUE)->number);
    return true;
}

bool fold_index(const struct value *v, int64_t *x)
{
    union scalar s;
    if (dtype_is_float(v->type->dtype) || !fold_constant(v, &s))
        return false;
    *x = s.i;
    return true;
}

static struct builder builder_at(struct fold *f, struct op *op)
{
    return (struct builder){.function = f->k, .block = op->block, .before = op, .loc = op->loc};
}

struct value *fold_make_constant(struct fold *f, struct op *before, struct type *type, union scalar x)
{
    bool is_float = dtype_is_float(type->dtype);
    struct number n = {.is_float = is_float, .f = is_float ? x.f : (double)x.i, .i = is_float ? 0 : x.i};
    struct builder b = builder_at(f, before);
    f->progress = true;
    return build_value(&b, OP_CONSTANT, 0, NULL, 1, &(struct attr){ATTR_VALUE, {.number = n}}, type);
}

struct value *fold_as(struct fold *f, struct op *before, struct value *x, struct type *type)
{
    if (x->type == type)
        return x;
    if (type->lanes) // which register layouts a broadcast goes between is shaping's affair
        return NULL;
    struct builder b = builder_at(f, before);
    f->progress = true;
    return build_value(&b, OP_BROADCAST, 1, &x, 0, NULL, type);
}

// ---- Structural operations ---------------------------------------------------------------------------------------

static struct value *fold_dim(struct fold *f, struct op *op)
{
    struct value *view = op->operands[0];
    int64_t d = op_int(op, ATTR_DIM, 0);
    dim size = view->type->dims[d];
    if (view->def && view->def->code == OP_WINDOW)
        return NULL;
    if (dim_is_symbol(size)) {
        struct builder b = builder_at(f, op);
        return dims_build(&b, size);
    }
    if (size != DIM_UNKNOWN)
        return fold_make_constant(f, op, op->results[0]->type, (union scalar){.i = size});
    if (!view->def || view->def->code != OP_SCRATCH)
        return NULL;
    int operand = 0; // one per unknown size
    for (int i = 0; i < d; i++)
        operand += view->type->dims[i] == DIM_UNKNOWN;
    return view->def->operands[operand];
}

static struct value *fold_grid(struct fold *f, struct op *op)
{
    const struct op *end = block_terminator(f->k->grid);
    int64_t d = op_int(op, ATTR_DIM, 0), n;
    if (!end || d >= end->n_operands || !fold_index(end->operands[d], &n) || (op->code == OP_PROGRAM_ID && n != 1))
        return NULL;
    union scalar x = {.i = op->code == OP_PROGRAM_ID ? 0 : n};
    return fold_make_constant(f, op, op->results[0]->type, x);
}

static struct value *fold_conversion(struct fold *f, struct op *op)
{
    struct value *x = op->operands[0];
    enum dtype from = x->type->dtype, to = op_attr(op, ATTR_TO)->dtype;
    union scalar c;
    if (from == to)
        return x;
    if (!fold_constant(x, &c))
        return NULL;
    union scalar r = op->code == OP_CAST ? dtype_cast(to, from, c) : dtype_from_bits(to, dtype_bits(from, c));
    if (op->code == OP_BITCAST && dtype_is_float(to) && r.f != r.f)
        return NULL; // the text has one NaN
    return fold_make_constant(f, op, op->results[0]->type, r);
}

// Reshape, transpose, broadcast and extract: every element of a constant is the same.
static struct value *fold_movement(struct fold *f, struct op *op)
{
    struct value *x = op->operands[0];
    struct type *type = op->results[0]->type;
    union scalar c;
    if (fold_constant(x, &c))
        return fold_make_constant(f, op, type, c);
    if (op->code == OP_TRANSPOSE) {
        struct ints axes = op_ints(op, ATTR_AXES);
        for (int i = 0; i < axes.n; i++)
            if (axes.v[i] != i)
                return NULL;
    }
    if (op->code == OP_EXTRACT && x->def && x->def->code == OP_BROADCAST &&
        x->def->operands[0]->type->kind == TYPE_SCALAR)
        return x->def->operands[0];
    return x->type == type ? x : NULL;
}

// A tensor may have no elements along the axes; the result is then the identity.
static bool may_be_empty(struct fold *f, const struct type *t, struct ints axes)
{
    for (int i = 0; i < axes.n; i++) {
        int64_t least, most;
        dims_range(f->k->module, t->dims[axes.v[i]], &least, &most);
        if (least < 1)
            return true;
    }
    return false;
}

static struct value *fold_reduce(struct fold *f, struct op *op)
{
    struct value *x = op->operands[0];
    enum opcode combine = op_attr(op, ATTR_COMBINE)->opcode;
    union scalar c;
    if (op->n_operands > 1) // a count, which may be 0
        return NULL;
    bool idempotent = combine == OP_MAX || combine == OP_MIN || combine == OP_MAXIMUM || combine == OP_MINIMUM ||
                      combine == OP_AND || combine == OP_OR;
    if (idempotent && fold_constant(x, &c) && !may_be_empty(f, x->type, op_ints(op, ATTR_AXES)))
        return fold_make_constant(f, op, op->results[0]->type, c);
    return x->type == op->results[0]->type ? x : NULL; // every axis has one element
}

static struct value *fold_iota(struct fold *f, struct op *op)
{
    struct type *type = op->results[0]->type;
    return type->dims[op_int(op, ATTR_AXIS, 0)] == 1 ? fold_make_constant(f, op, type, (union scalar){.i = 0}) : NULL;
}

static struct value *fold_assume(struct op *op)
{
    union scalar c;
    return fold_constant(op->operands[0], &c) || !op->n_attrs ? op->operands[0] : NULL;
}

static struct value *fold_op(struct fold *f, struct op *op)
{
    if (opcode_is_scalar(op->code))
        return fold_scalar(f, op);
    switch (op->code) {
    case OP_DIM:
        return fold_dim(f, op);
    case OP_PROGRAM_ID:
    case OP_NUM_PROGRAMS:
        return fold_grid(f, op);
    case OP_CAST:
    case OP_BITCAST:
        return fold_conversion(f, op);
    case OP_RESHAPE:
    case OP_TRANSPOSE:
    case OP_BROADCAST:
    case OP_EXTRACT:
        return fold_movement(f, op);
    case OP_REDUCE:
        return fold_reduce(f, op);
    case OP_IOTA:
        return fold_iota(f, op);
    case OP_ASSUME:
        return fold_assume(op);
    default:
        return NULL;
    }
}

// ---- Control flow ----------------------------------------------------------------------------------------------

struct op *fold_unwrap(struct fold *f, struct op *op, struct block *b)
{
    struct op *end = block_terminator(b), *first = op->next;
    for (int i = 0; i < op->n_results; i++)
        replace_set(&f->replace, op->results[i], end->operands[i]);
    if (end)
        op_remove(end);
    if (b->first) {
        first = b->first;
        for (struct op *moved = b->first; moved; moved = moved->next)
            moved->block = op->block;
        b->first->previous = op->previous;
        *(op->previous ? &op->previous->next : &op->block->first) = b->first;
        b->last->next = op;
        op->previous = b->last;
        b->first = b->last = NULL;
    }
    op_remove(op);
    f->progress = true;
    return first;
}

enum trips { TRIPS_NONE, TRIPS_ONE, TRIPS_OTHER };

static enum trips loop_trips(const struct op *op)
{
    int64_t lo, hi, step;
    if (!fold_index(op->operands[2], &step) || step <= 0)
        return TRIPS_OTHER;
    if (op->operands[0] == op->operands[1])
        return TRIPS_NONE;
    if (!fold_index(op->operands[0], &lo) || !fold_index(op->operands[1], &hi))
        return TRIPS_OTHER;
    if (lo >= hi)
        return TRIPS_NONE;
    return (uint64_t)hi - (uint64_t)lo <= (uint64_t)step ? TRIPS_ONE : TRIPS_OTHER;
}

// Unwraps op if it is decided: then *next is where the walk goes on.
static bool fold_control(struct fold *f, struct op *op, struct op **next)
{
    int64_t condition;
    if (op->code == OP_IF && fold_index(op->operands[0], &condition)) {
        *next = fold_unwrap(f, op, op->blocks[condition ? 0 : 1]);
        return true;
    }
    if (op->code != OP_FOR)
        return false;
    struct block *b = op->blocks[0];
    enum trips trips = loop_trips(op);
    if (trips == TRIPS_NONE) {
        for (int i = 0; i < op->n_results; i++)
            replace_set(&f->replace, op->results[i], op->operands[3 + i]);
        op_remove(op);
        f->progress = true;
        return true;
    }
    if (trips == TRIPS_ONE) {
        for (int i = 0; i < b->n_args; i++)
            replace_set(&f->replace, b->args[i], op->operands[i ? i + 2 : 0]);
        *next = fold_unwrap(f, op, b);
        return true;
    }
    const struct op *end = block_terminator(b);
    for (int i = 0; i < op->n_results; i++)
        if (end->operands[i] == b->args[1 + i] || end->operands[i] == op->operands[3 + i]) { // carried unchanged
            replace_set(&f->replace, b->args[1 + i], op->operands[3 + i]);
            replace_set(&f->replace, op->results[i], op->operands[3 + i]);
        }
    return false;
}

static void walk(struct fold *f, struct block *b)
{
    for (struct op *op = b->first, *next; op; op = next) {
        next = op->next;
        f->progress |= replace_operands(&f->replace, op);
        if (op->n_blocks) {
            if (!fold_control(f, op, &next))
                for (int i = 0; i < op->n_blocks; i++)
                    walk(f, op->blocks[i]);
            continue;
        }
        struct value *same = op->n_results == 1 ? fold_op(f, op) : NULL;
        if (same) {
            replace_set(&f->replace, op->results[0], same);
            op_remove(op);
            f->progress = true;
        }
    }
}

bool pass_fold(struct module *m, struct pass_context *c)
{
    bool progress = false;
    for (struct function *k = m->first_function; k; k = k->next) {
        struct fold f = {.k = k};
        replace_init(&f.replace, c->scratch, k);
        walk(&f, k->grid);
        walk(&f, k->body);
        progress |= f.progress;
    }
    return progress;
}
