// Matches a pattern: a list of goals, each a pattern and the value it is to fit, is worked off from the front. Where
// there is a choice (orders of operands, alternatives), what follows is tried for each until the whole list and the
// conditions hold, so a choice that only fails later is taken back.
#include <math.h>
#include <string.h>

#include "ir/scalar.h"
#include "passes/rules_internal.h"

#define TOLERANCE 1e-6

struct goal {
    const struct pattern *pattern;
    unsigned parts; // of a commutative operation: the operands that are still to be found
    struct value *value;
    const struct goal *next;
};

static bool solve(struct match *m, const struct goal *g);

// ---- Numbers ---------------------------------------------------------------------------------------------------

static bool is_number(struct match *m, const struct value *v, double wanted)
{
    union scalar x;
    enum dtype t = v->type->dtype;
    if (t == DTYPE_I1 || !rewriter_splat(m->rewriter, v, &x))
        return false;
    if (!dtype_is_float(t))
        return wanted == nearbyint(wanted) && x.i == (int64_t)wanted;
    return fabs(x.f - wanted) <= TOLERANCE * fabs(wanted) || x.f == dtype_round(t, wanted);
}

// ---- Attributes ------------------------------------------------------------------------------------------------

struct ints attr_axes(const struct attr *a)
{
    return a && attr_info[a->key].kind == ATTR_KIND_INTS ? a->ints : (struct ints){0};
}

static bool equal_attrs(const struct attr *a, const struct attr *b)
{
    if (attr_info[a->key].kind != attr_info[b->key].kind)
        return false;
    switch (attr_info[a->key].kind) {
    case ATTR_KIND_INTS:
        return a->ints.n == b->ints.n && !memcmp(a->ints.v, b->ints.v, sizeof *a->ints.v * (size_t)a->ints.n);
    case ATTR_KIND_INT:
        return a->i == b->i;
    case ATTR_KIND_OPCODE:
        return a->opcode == b->opcode;
    case ATTR_KIND_DTYPE:
        return a->dtype == b->dtype;
    default: // no rule compares others
        return false;
    }
}

static bool all_are(const struct attr *a, int64_t x)
{
    struct ints v = attr_axes(a);
    if (a && attr_info[a->key].kind == ATTR_KIND_DIMS)
        v = (struct ints){a->dims.n, a->dims.v}; // constants that are not negative are themselves
    for (int i = 0; i < v.n; i++)
        if (v.v[i] != x)
            return false;
    return true;
}

static bool is_identity(struct ints v)
{
    for (int i = 0; i < v.n; i++)
        if (v.v[i] != i)
            return false;
    return true;
}

static bool bind_attr(struct match *m, int variable, const struct attr *a)
{
    struct binding *b = &m->bound[variable];
    if (b->attr || b->value)
        return b->attr && equal_attrs(b->attr, a);
    b->attr = a;
    return true;
}

static bool fits_setting(struct match *m, const struct setting *s, const struct op *op)
{
    const struct attr *a = op_attr(op, s->key);
    if (s->kind == SETTING_ZEROS || s->kind == SETTING_ONES)
        return all_are(a, s->kind == SETTING_ONES);
    if (!a)
        return false;
    switch (s->kind) {
    case SETTING_OPCODE:
        return a->opcode == s->opcode;
    case SETTING_INT:
        return attr_info[s->key].kind == ATTR_KIND_INT && a->i == s->ints.v[0];
    case SETTING_INTS:
        return equal_attrs(a, &(struct attr){.key = s->key, .ints = s->ints});
    case SETTING_LAST:
        return attr_axes(a).n == 1 && a->ints.v[0] == op->operands[0]->type->rank - 1;
    case SETTING_IDENTITY:
        return is_identity(attr_axes(a));
    case SETTING_VARIABLE:
        return bind_attr(m, s->variables[0], a);
    default: // of replacements
        return false;
    }
}

// ---- Operations ------------------------------------------------------------------------------------------------

static bool bind(struct match *m, int variable, struct value *v)
{
    struct binding *b = &m->bound[variable];
    if (b->attr || b->value)
        return b->value == v;
    b->value = v;
    return true;
}

static bool record(struct match *m, struct op *op, bool shared)
{
    for (int i = 0; i < m->n_ops; i++)
        if (m->ops[i] == op)
            return true;
    if (m->n_ops == MOST_MATCHED)
        return false;
    m->ops[m->n_ops] = op;
    m->shared[m->n_ops++] = shared;
    return true;
}

// The operation itself, without its operands.
static bool fits_op(struct match *m, const struct goal *g, struct op *op)
{
    const struct pattern *p = g->pattern;
    if (!op || op->code != p->code || op->n_results != 1 || (op->block != m->root->block && !p->shared))
        return false;
    if (p->composite && strcmp(op_attr(op, ATTR_NAME)->string, p->composite))
        return false;
    bool whole = g->parts == (1u << p->n_parts) - 1; // else a part of a tree that has been entered
    if (whole && p->variable >= 0 && !bind(m, p->variable, g->value))
        return false;
    for (int i = 0; i < p->n_settings; i++)
        if (!fits_setting(m, &p->settings[i], op))
            return false;
    return record(m, op, p->shared);
}

static bool solve_either(struct match *m, const struct goal *g)
{
    const struct match before = *m;
    for (int i = 0; i < g->pattern->n_parts; i++) {
        const struct pattern *p = g->pattern->parts[i];
        const struct goal part = {p, (1u << p->n_parts) - 1, g->value, g->next};
        if ((g->pattern->variable < 0 || bind(m, g->pattern->variable, g->value)) && solve(m, &part))
            return true;
        *m = before;
    }
    return false;
}

// Deals the parts out to the two operands, in every way.
static bool solve_commutative(struct match *m, const struct goal *g, const struct op *op)
{
    const struct match before = *m;
    for (unsigned left = g->parts & -g->parts; left < g->parts; left = (left - g->parts) & g->parts) {
        unsigned share[2] = {left, g->parts & ~left};
        struct goal goals[2];
        for (int i = 1; i >= 0; i--) {
            const struct goal *next = i ? g->next : &goals[1];
            goals[i] = (struct goal){g->pattern, share[i], op->operands[i], next};
            if (!(share[i] & (share[i] - 1))) { // one part
                const struct pattern *p = g->pattern->parts[__builtin_ctz(share[i])];
                goals[i] = (struct goal){p, (1u << p->n_parts) - 1, op->operands[i], next};
            }
        }
        if (solve(m, &goals[0]))
            return true;
        *m = before;
    }
    return false;
}

static bool solve_ordered(struct match *m, const struct goal *g, const struct op *op)
{
    const struct pattern *p = g->pattern;
    if (op->n_operands != p->n_parts)
        return false;
    struct goal goals[MOST_PARTS];
    for (int i = p->n_parts - 1; i >= 0; i--)
        goals[i] = (struct goal){p->parts[i], (1u << p->parts[i]->n_parts) - 1, op->operands[i],
                                 i + 1 < p->n_parts ? &goals[i + 1] : g->next};
    return solve(m, p->n_parts ? &goals[0] : g->next);
}

// ---- The whole -------------------------------------------------------------------------------------------------

static int uses_within(const struct match *m, const struct value *v)
{
    int n = 0;
    for (int i = 0; i < m->n_ops; i++)
        for (int j = 0; j < m->ops[i]->n_operands; j++)
            n += m->ops[i]->operands[j] == v;
    return n;
}

static bool holds(struct match *m)
{
    for (int i = 0; i < m->n_ops; i++) {
        const struct value *v = m->ops[i]->results[0];
        if (m->ops[i] != m->root && !m->shared[i] && uses_within(m, v) != rewriter_fact(m->rewriter, v)->uses)
            return false;
    }
    for (int i = 0; i < m->rule->n_conditions; i++)
        if (!condition_holds(m, &m->rule->conditions[i]))
            return false;
    return true;
}

static bool solve(struct match *m, const struct goal *g)
{
    if (!g)
        return holds(m);
    const struct pattern *p = g->pattern;
    switch (p->kind) {
    case PATTERN_VARIABLE:
        return bind(m, p->variable, g->value) && solve(m, g->next);
    case PATTERN_NUMBER:
        return is_number(m, g->value, p->number) && solve(m, g->next);
    case PATTERN_EITHER:
        return solve_either(m, g);
    case PATTERN_OP:
        break;
    }
    struct op *op = g->value->def;
    if (!fits_op(m, g, op))
        return false;
    bool commutes = op->n_operands == 2 && op_info[op->code].flags & SCALAR_COMMUTES;
    return commutes ? solve_commutative(m, g, op) : solve_ordered(m, g, op);
}

bool rule_match(struct rewriter *r, const struct rule *rule, struct op *op, struct match *m)
{
    if (!rule->starts[op->code] || op->n_results != 1)
        return false;
    *m = (struct match){.rewriter = r, .rule = rule, .root = op};
    const struct goal goal = {rule->pattern, (1u << rule->pattern->n_parts) - 1, op->results[0], NULL};
    return solve(m, &goal);
}
