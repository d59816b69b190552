// The algebra of the fold pass.
#include "passes/fold.h"

#include <string.h>

#include "ir/scalar.h"

// ---- Rules of one operation --------------------------------------------------------------------------------------

enum fact { SAME, RIGHT_ZERO, RIGHT_ONE, RIGHT_ONES, RIGHT_LOWEST, RIGHT_HIGHEST }; // about the operands
enum gives { LEFT, RIGHT, ZERO, ONE, ONES };
enum domain { INTS, ALL };

// Constants stand on the right: see order_operands.
static const struct rule {
    enum opcode code;
    enum fact when;
    enum gives gives;
    enum domain domain;
} rules[] = {
    {OP_ADD, RIGHT_ZERO, LEFT, INTS},      // -0 + 0 is 0
    {OP_SUB, RIGHT_ZERO, LEFT, INTS},      // becomes an addition unless unsigned
    {OP_SUB, SAME, ZERO, INTS},            // inf - inf is NaN
    {OP_MUL, RIGHT_ONE, LEFT, ALL},        //
    {OP_MUL, RIGHT_ZERO, ZERO, INTS},      // -1 * 0 is -0
    {OP_DIV, RIGHT_ONE, LEFT, ALL},        //
    {OP_DIV, RIGHT_ZERO, ZERO, INTS},      // by definition, as is what follows
    {OP_REM, RIGHT_ONE, ZERO, INTS},       //
    {OP_REM, RIGHT_ZERO, ZERO, INTS},      //
    {OP_REM, SAME, ZERO, INTS},            //
    {OP_FLOORDIV, RIGHT_ONE, LEFT, INTS},  //
    {OP_FLOORDIV, RIGHT_ZERO, ZERO, INTS}, //
    {OP_CEILDIV, RIGHT_ONE, LEFT, INTS},   //
    {OP_CEILDIV, RIGHT_ZERO, ZERO, INTS},  //
    {OP_MOD, RIGHT_ONE, ZERO, INTS},       //
    {OP_MOD, RIGHT_ZERO, ZERO, INTS},      //
    {OP_MOD, SAME, ZERO, INTS},            //
    {OP_MAX, SAME, LEFT, ALL},             //
    {OP_MAX, RIGHT_LOWEST, LEFT, INTS},    // max of NaN and -inf is -inf
    {OP_MAX, RIGHT_HIGHEST, RIGHT, INTS},  //
    {OP_MIN, SAME, LEFT, ALL},             //
    {OP_MIN, RIGHT_HIGHEST, LEFT, INTS},   //
    {OP_MIN, RIGHT_LOWEST, RIGHT, INTS},   //
    {OP_MAXIMUM, SAME, LEFT, ALL},         //
    {OP_MINIMUM, SAME, LEFT, ALL},         //
    {OP_AND, SAME, LEFT, INTS},            //
    {OP_AND, RIGHT_ONES, LEFT, INTS},      //
    {OP_AND, RIGHT_ZERO, ZERO, INTS},      //
    {OP_OR, SAME, LEFT, INTS},             //
    {OP_OR, RIGHT_ZERO, LEFT, INTS},       //
    {OP_OR, RIGHT_ONES, ONES, INTS},       //
    {OP_XOR, SAME, ZERO, INTS},            //
    {OP_XOR, RIGHT_ZERO, LEFT, INTS},      //
    {OP_SHL, RIGHT_ZERO, LEFT, INTS},      //
    {OP_SHR, RIGHT_ZERO, LEFT, INTS},      //
    {OP_EQ, SAME, ONE, INTS},              // NaN differs from itself
    {OP_LE, SAME, ONE, INTS},              //
    {OP_GE, SAME, ONE, INTS},              //
    {OP_NE, SAME, ZERO, INTS},             //
    {OP_LT, SAME, ZERO, ALL},              //
    {OP_GT, SAME, ZERO, ALL},              //
};

static bool equals(enum dtype t, union scalar x, int64_t n)
{
    return dtype_is_float(t) ? x.f == (double)n : x.i == dtype_wrap(t, n);
}

static bool holds(const struct op *op, enum fact when)
{
    union scalar x;
    if (when == SAME)
        return op->operands[0] == op->operands[1];
    if (!fold_constant(op->operands[1], &x))
        return false;
    enum dtype t = op->operands[1]->type->dtype;
    switch (when) {
    case RIGHT_ZERO:
        return equals(t, x, 0);
    case RIGHT_ONE:
        return equals(t, x, 1);
    case RIGHT_ONES:
        return equals(t, x, -1);
    case RIGHT_LOWEST:
        return x.i == scalar_identity(OP_MAX, t).i;
    case RIGHT_HIGHEST:
        return x.i == scalar_identity(OP_MIN, t).i;
    default:
        return false;
    }
}

static struct value *apply_rules(struct fold *f, struct op *op)
{
    struct type *type = op->results[0]->type;
    bool is_float = dtype_is_float(op->operands[0]->type->dtype);
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        const struct rule *r = &rules[i];
        if (r->code != op->code || (is_float && r->domain == INTS) || !holds(op, r->when))
            continue;
        if (r->gives == LEFT || r->gives == RIGHT)
            return fold_as(f, op, op->operands[r->gives == RIGHT], type);
        int64_t n = r->gives == ZERO ? 0 : r->gives == ONE ? 1 : dtype_wrap(type->dtype, -1);
        return fold_make_constant(f, op, type, (union scalar){.i = n});
    }
    return NULL;
}

// ---- A usual form ------------------------------------------------------------------------------------------------

static enum opcode mirrored(enum opcode code)
{
    switch (code) {
    case OP_LT:
        return OP_GT;
    case OP_GT:
        return OP_LT;
    case OP_LE:
        return OP_GE;
    case OP_GE:
        return OP_LE;
    default:
        return code;
    }
}

// Max and min of integers commute too; those of floats choose which NaN.
static bool commutes(const struct op *op)
{
    bool is_float = dtype_is_float(op->operands[0]->type->dtype);
    return op_info[op->code].flags & SCALAR_COMMUTES || mirrored(op->code) != op->code ||
           (!is_float && (op->code == OP_MAX || op->code == OP_MIN));
}

// A lone constant goes to the right; x - 3 becomes x + -3.
static void order_operands(struct fold *f, struct op *op)
{
    union scalar x;
    bool right = fold_constant(op->operands[1], &x);
    enum dtype t = op->operands[1]->type->dtype;
    if (!right && commutes(op) && fold_constant(op->operands[0], &x)) {
        struct value *constant = op->operands[0];
        op->operands[0] = op->operands[1];
        op->operands[1] = constant;
        op->code = mirrored(op->code);
        f->progress = true;
    } else if (right && op->code == OP_SUB && dtype_is_int(t) && dtype_is_signed(t) &&
               x.i != scalar_identity(OP_MAX, t).i) { // the least number has no negative
        x.i = dtype_wrap(t, (int64_t)(0 - (uint64_t)x.i));
        op->operands[1] = fold_make_constant(f, op, op->operands[1]->type, x);
        op->code = OP_ADD;
    }
}

// (x + a) + b = x + (a + b), for integers.
static void reassociate(struct fold *f, struct op *op)
{
    const struct op *inner = op->operands[0]->def;
    struct type *type = op->results[0]->type;
    enum dtype t = op->operands[0]->type->dtype;
    union scalar a, b;
    bool associates = op_info[op->code].flags & SCALAR_ASSOCIATES && !dtype_is_float(t);
    if (!associates || !inner || inner->code != op->code || inner->results[0]->type != type ||
        !fold_constant(inner->operands[1], &a) || !fold_constant(op->operands[1], &b))
        return;
    struct value *x = inner->operands[0];
    struct type *constant = x->type == type ? type_scalar(f->k->module, t) : type;
    op->operands[0] = x;
    op->operands[1] = fold_make_constant(f, op, constant, scalar_eval(op->code, t, a, b, (union scalar){0}));
}

// Whether scalar operations would do the same. Only they do not know sizes that may be 1 when the graph runs.
static bool stretches_ones(const struct op *broadcast)
{
    const struct type *from = broadcast->operands[0]->type, *to = broadcast->results[0]->type;
    for (int d = 0; d < from->rank; d++)
        if (from->dims[d] != 1 && from->dims[d] != to->dims[to->rank - from->rank + d])
            return false;
    return true;
}

// Scalar operations broadcast by themselves where another operand has the result's shape.
static void drop_broadcasts(struct fold *f, struct op *op)
{
    const struct type *type = op->results[0]->type;
    for (int i = 0; i < op->n_operands; i++) {
        const struct op *from = op->operands[i]->def;
        if (!from || from->code != OP_BROADCAST || type->lanes || !stretches_ones(from))
            continue;
        bool shaped_by_other = false;
        for (int j = 0; j < op->n_operands; j++) {
            const struct type *t = op->operands[j]->type;
            shaped_by_other |= j != i && t->kind == type->kind && t->rank == type->rank &&
                               !memcmp(t->dims, type->dims, sizeof(dim) * (size_t)t->rank);
        }
        if (!shaped_by_other)
            continue;
        op->operands[i] = from->operands[0];
        f->progress = true;
    }
}

// ---- All of it ---------------------------------------------------------------------------------------------------

static struct value *fold_unary(struct op *op)
{
    struct value *x = op->operands[0];
    if (op->code == OP_IDENTITY)
        return x;
    bool involution = op->code == OP_NEG || op->code == OP_NOT;
    if (involution && x->def && x->def->code == op->code)
        return x->def->operands[0];
    return NULL;
}

static struct value *fold_select(struct fold *f, struct op *op)
{
    struct type *type = op->results[0]->type;
    union scalar c, x, y;
    struct value *condition = op->operands[0];
    if (fold_constant(condition, &c))
        return fold_as(f, op, op->operands[c.i ? 1 : 2], type);
    if (op->operands[1] == op->operands[2])
        return fold_as(f, op, op->operands[1], type);
    if (type->dtype == DTYPE_I1 && fold_constant(op->operands[1], &x) && fold_constant(op->operands[2], &y) && x.i &&
        !y.i)
        return fold_as(f, op, condition, type);
    return NULL;
}

// All operands are constants.
static struct value *evaluate(struct fold *f, struct op *op)
{
    union scalar x[3] = {0};
    for (int i = 0; i < op->n_operands; i++)
        if (!fold_constant(op->operands[i], &x[i]))
            return NULL;
    enum dtype t = op->operands[op->code == OP_SELECT]->type->dtype;
    return fold_make_constant(f, op, op->results[0]->type, scalar_eval(op->code, t, x[0], x[1], x[2]));
}

struct value *fold_scalar(struct fold *f, struct op *op)
{
    struct value *known = evaluate(f, op);
    if (known)
        return known;
    if (op->n_operands == 1)
        return fold_unary(op);
    drop_broadcasts(f, op);
    if (op->code == OP_SELECT)
        return fold_select(f, op);
    if (op->n_operands != 2)
        return NULL;
    order_operands(f, op);
    reassociate(f, op);
    return apply_rules(f, op);
}
