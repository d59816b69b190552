// expand-math: writes elementary functions with operations that every target has.
//
//     %y = tanh %x             =>     %0 = abs %x
//                                     %1 = mul %x, %x
//                                     %2 = fma %1, 0.0164378442, -0.0526710115
//                                     ...
//
// One walk in order of dominance (replace.h). The functions are in expand_math_exp.c, _log.c, _rem.c and _trig.c, the
// table of them in expand_math.def. They are for f32; narrower floats are computed in f32 and rounded. f64 is refused,
// for computing it in f32 would be silently wrong, once for each node. Nothing in a function depends on its operands'
// sizes or layouts.
#include "passes/expand_math.h"

#include <math.h>

#include "passes/expand_math_functions.h"
#include "passes/pass.h"
#include "passes/replace.h"

const struct expand_math_row expand_math_rows[EXPAND_MATH_ROWS] = {
#define MATH_1(e, name, ulp, ulp_without_fma, of_argument) {OP_##e, ulp, ulp_without_fma, of_argument},
#define MATH_2 MATH_1
#include "passes/expand_math.def"
#undef MATH_1
#undef MATH_2
};

bool expand_math_has(enum opcode code, enum dtype t)
{
    for (int i = 0; i < EXPAND_MATH_ROWS; i++)
        if (expand_math_rows[i].code == code)
            return dtype_is_float(t);
    return false;
}

static struct value *expansion(B *b, enum opcode code, struct value *const *x)
{
    switch (code) {
#define MATH_1(e, name, ...)                                                                                           \
    case OP_##e:                                                                                                       \
        return expand_math_##name(b, x[0]);
#define MATH_2(e, name, ...)                                                                                           \
    case OP_##e:                                                                                                       \
        return expand_math_##name(b, x[0], x[1]);
#include "passes/expand_math.def"
#undef MATH_1
#undef MATH_2
    default:
        return NULL;
    }
}

// What has been refused: a node may have become several operations, in several kernels.
struct refused {
    struct loc loc;
    struct refused *next;
};

struct expand {
    struct function *k;
    struct diags *diags;
    struct arena *scratch;
    struct refused **refused;
    bool has_scalef, has_fma;
    struct replace replace;
    bool progress;
};

static const struct value *behind_reshapes(const struct value *v)
{
    while (v->def && (v->def->code == OP_RESHAPE || v->def->code == OP_BROADCAST))
        v = v->def->operands[0];
    return v;
}

static bool is_lowest(const struct value *v)
{
    return v->def && v->def->code == OP_CONSTANT && op_attr(v->def, ATTR_VALUE)->number.f == -INFINITY;
}

// Whether every element of x is at most the element of top that it meets: top is a maximum over x, or of such and
// others. A maximum of -inf may have been replaced, against -inf - -inf.
static bool bounds(const struct value *x, const struct value *top, int depth)
{
    top = behind_reshapes(top);
    const struct op *op = top->def;
    if (!op || depth == 0)
        return false;
    if (op->code == OP_REDUCE)
        return op_attr(op, ATTR_COMBINE)->opcode == OP_MAX && op->n_operands == 1 && op->operands[0] == x;
    if (op->code == OP_MAX)
        return bounds(x, op->operands[0], depth - 1) || bounds(x, op->operands[1], depth - 1);
    if (op->code == OP_SELECT) {
        const struct op *c = op->operands[0]->def;
        return c && c->code == OP_EQ && c->operands[0] == op->operands[2] && is_lowest(c->operands[1]) &&
               bounds(x, op->operands[2], depth - 1);
    }
    return false;
}

// x minus its row's maximum, as in softmax.
static bool is_not_positive(const struct value *v)
{
    return v->def && v->def->code == OP_SUB && bounds(v->def->operands[0], v->def->operands[1], 4);
}

static void refuse(struct expand *e, const struct op *op, const char *remedy)
{
    for (const struct refused *r = *e->refused; r; r = r->next)
        if (op->loc.node && loc_same_node(&r->loc, &op->loc))
            return;
    struct refused *r = ARENA_NEW(e->scratch, struct refused);
    *r = (struct refused){op->loc, *e->refused};
    *e->refused = r;
    diag_error(e->diags, op->loc, "%s of %s is not available yet on this target; %s", op_info[op->code].name,
               dtype_info[op->operands[0]->type->dtype].name, remedy);
}

static void expand(struct expand *e, struct op *op)
{
    enum dtype t = op->operands[0]->type->dtype;
    if (t == DTYPE_F64) {
        refuse(e, op, "cast to f32");
        return;
    }
    B b = {.builder = {.function = e->k, .block = op->block, .before = op, .loc = op->loc, .diags = e->diags},
           .has_scalef = e->has_scalef,
           .has_fma = e->has_fma,
           .not_positive = op->n_operands == 1 && is_not_positive(op->operands[0])};
    struct value *x[2];
    for (int i = 0; i < op->n_operands; i++)
        x[i] = t == DTYPE_F32 ? op->operands[i] : build_cast(&b.builder, DTYPE_F32, op->operands[i]);
    struct value *y = expansion(&b, op->code, x);
    if (t != DTYPE_F32)
        y = build_cast(&b.builder, t, y);
    replace_set(&e->replace, op->results[0], y);
    op_remove(op);
    e->progress = true;
}

static void walk(struct expand *e, struct block *block)
{
    for (struct op *op = block->first, *next; op; op = next) {
        next = op->next;
        e->progress |= replace_operands(&e->replace, op);
        for (int i = 0; i < op->n_blocks; i++)
            walk(e, op->blocks[i]);
        if (op->n_operands > 0 && expand_math_has(op->code, op->operands[0]->type->dtype))
            expand(e, op);
    }
}

bool pass_expand_math(struct module *m, struct pass_context *c)
{
    bool progress = false;
    struct refused *refused = NULL;
    for (struct function *k = m->first_function; k; k = k->next) {
        if (k->kind != FUNCTION_KERNEL)
            continue;
        struct expand e = {.k = k,
                           .diags = c->diags,
                           .scratch = c->scratch,
                           .refused = &refused,
                           .has_scalef = c->target->avx512,
                           .has_fma = c->target->fma};
        replace_init(&e.replace, c->scratch, k);
        walk(&e, k->grid);
        walk(&e, k->body);
        progress |= e.progress;
    }
    return progress;
}
