// Builds what a rule replaces its match by, before the last matched operation.
#include <string.h>

#include "passes/rules_internal.h"

#define MOST_CLONED 64 // operations of a composite
#define MOST_STEPS 8   // of arithmetic on sizes that goes along

struct building {
    struct match *match;
    struct builder builder;
    struct loc loc;
    bool failed;
};

static void *fail(struct building *b, const char *what)
{
    if (!b->failed)
        diag_error(b->match->rewriter->diags, b->match->root->loc, "rule '%s': %s; this is a fault of the rule",
                   b->match->rule->name, what);
    b->failed = true;
    return NULL;
}

static struct value *bound_value(struct building *b, int variable)
{
    struct value *v = b->match->bound[variable].value;
    return v ? v : fail(b, "the replacement names a value that the match does not bind");
}

// ---- Functions that give attributes and types ------------------------------------------------------------------

// The permutation of a transposition by p and then by q.
static struct ints compose(struct arena *a, struct ints p, struct ints q)
{
    int64_t *v = ARENA_ARRAY(a, int64_t, q.n);
    for (int i = 0; i < q.n; i++)
        v[i] = p.v[q.v[i]];
    return (struct ints){q.n, v};
}

static const struct {
    struct rule_function function;
    struct ints (*give)(struct arena *a, struct ints p, struct ints q);
} attribute_functions[] = {
    {{"compose", 2}, compose},
};

const struct rule_function *attribute_function(int n)
{
    return n < (int)(sizeof attribute_functions / sizeof *attribute_functions) ? &attribute_functions[n].function
                                                                               : NULL;
}

// a, one factor per channel of a convolution's result, as one per filter of its weights w.
static struct type *per_filter(struct module *m, const struct type *a, const struct type *w)
{
    dim dims[MAX_RANK];
    int axis = a->rank - w->rank + 1;
    for (int d = 0; d < w->rank; d++)
        dims[d] = 1;
    if (axis >= 0)
        dims[0] = a->dims[axis];
    return type_tensor(m, a->dtype, w->rank, dims);
}

// The last axis of a.
static struct type *row(struct module *m, const struct type *a, const struct type *unused)
{
    (void)unused;
    dim size = a->rank ? a->dims[a->rank - 1] : 1;
    return type_tensor(m, a->dtype, 1, &size);
}

static const struct {
    struct rule_function function;
    struct type *(*give)(struct module *m, const struct type *a, const struct type *b);
} type_functions[] = {
    {{"per_filter", 2}, per_filter},
    {{"row", 1}, row},
};

const struct rule_function *type_function(int n)
{
    return n < (int)(sizeof type_functions / sizeof *type_functions) ? &type_functions[n].function : NULL;
}

static struct type *give_type(struct building *b, const struct setting *s)
{
    const struct type *types[2] = {0};
    for (int i = 0; i < type_functions[s->function].function.n_variables; i++) {
        const struct value *v = bound_value(b, s->variables[i]);
        if (!v)
            return NULL;
        types[i] = v->type;
    }
    return type_functions[s->function].give(b->builder.function->module, types[0], types[1]);
}

// ---- Operations ------------------------------------------------------------------------------------------------

static struct value *build(struct building *b, const struct pattern *p, bool last);

static struct value *build_number(struct building *b, double x, const struct type *like)
{
    struct module *m = b->builder.function->module;
    struct type *t =
        like->kind == TYPE_SCALAR ? type_scalar(m, like->dtype) : type_tensor(m, like->dtype, 0, &(dim){0});
    return dtype_is_float(like->dtype) ? build_float(&b->builder, t, x) : build_int(&b->builder, t, (int64_t)x);
}

// The attributes of a replacement's operation. Returns their number.
static int give_attrs(struct building *b, const struct pattern *p, struct attr *attrs, struct type **type)
{
    int n = 0;
    for (int i = 0; i < p->n_settings; i++) {
        const struct setting *s = &p->settings[i];
        const struct binding *bound = &b->match->bound[s->variables[0]];
        struct attr a = {.key = s->key};
        switch (s->kind) {
        case SETTING_LIKE:
            if (!bound->value || !bound->value->def || bound->value->def->n_attrs > ATTR_COUNT - n) {
                fail(b, "there is no operation to take the attributes from");
                return 0;
            }
            for (int j = 0; j < bound->value->def->n_attrs; j++)
                attrs[n++] = bound->value->def->attrs[j];
            continue;
        case SETTING_TYPE:
            *type = give_type(b, s);
            continue;
        case SETTING_VARIABLE:
            if (!bound->attr) {
                fail(b, "an attribute is not bound");
                return 0;
            }
            a = *bound->attr;
            a.key = s->key;
            break;
        case SETTING_FUNCTION:
            a.ints = attribute_functions[s->function].give(b->match->rewriter->arena, attr_axes(bound->attr),
                                                           attr_axes(b->match->bound[s->variables[1]].attr));
            break;
        case SETTING_OPCODE:
            a.opcode = s->opcode;
            break;
        case SETTING_INT:
            a.i = s->ints.v[0];
            break;
        case SETTING_INTS:
            a.ints = s->ints;
            break;
        default:
            fail(b, "an attribute of patterns stands in the replacement");
            return 0;
        }
        attrs[n++] = a;
    }
    return n;
}

static const struct loc *with_node(struct arena *a, const struct loc *first, const struct loc *node)
{
    for (const struct loc *x = first; x; x = x->with)
        if (loc_same_node(x, node))
            return first;
    struct loc *added = ARENA_NEW(a, struct loc);
    *added = *node;
    added->with = first;
    return added;
}

#define MOST_WITH 16 // nodes: what is rewritten again and again grows

static int count_with(const struct loc *x)
{
    int n = 0;
    for (; x; x = x->with)
        n++;
    return n;
}

// The root's location, with the nodes of all that has been matched.
static struct loc matched_loc(const struct match *m)
{
    struct arena *a = &m->rewriter->function->module->arena;
    struct loc loc = m->root->loc;
    for (int i = 0; i < m->n_ops; i++) { // the last first
        const struct loc *own = &m->ops[i]->loc;
        if (!loc_same_node(own, &loc) && count_with(loc.with) < MOST_WITH)
            loc.with = with_node(a, loc.with, own);
        for (const struct loc *x = own->with; x && count_with(loc.with) < MOST_WITH; x = x->with)
            loc.with = with_node(a, loc.with, x);
    }
    return loc;
}

// Where an operation comes from: from where the one comes that it is like, else from all that has been matched.
static struct loc loc_for(const struct building *b, const struct pattern *p)
{
    for (int i = 0; i < p->n_settings; i++)
        if (p->settings[i].kind == SETTING_LIKE)
            return b->match->bound[p->settings[i].variables[0]].value->def->loc;
    return b->loc;
}

static struct value *build_operation(struct building *b, const struct pattern *p, bool last)
{
    struct value *operands[MOST_PARTS] = {0};
    const struct type *like = NULL;
    for (int i = 0; i < p->n_parts; i++)
        if (p->parts[i]->kind != PATTERN_NUMBER) {
            operands[i] = build(b, p->parts[i], false);
            if (!operands[i])
                return NULL;
            like = like ? like : operands[i]->type;
        }
    for (int i = 0; i < p->n_parts; i++)
        if (!operands[i])
            operands[i] = build_number(b, p->parts[i]->number, like ? like : b->match->root->results[0]->type);
    struct attr attrs[ATTR_COUNT + MOST_SETTINGS];
    struct type *type = NULL;
    int n_attrs = give_attrs(b, p, attrs, &type);
    bool stated = p->code == OP_RESHAPE || p->code == OP_BROADCAST;
    if (!type && last && stated)
        type = b->match->root->results[0]->type;
    if (b->failed)
        return NULL;
    b->builder.loc = loc_for(b, p);
    struct value *v = build_value(&b->builder, p->code, p->n_parts, operands, n_attrs, attrs, type);
    b->builder.loc = b->loc;
    return v;
}

static struct value *build(struct building *b, const struct pattern *p, bool last)
{
    switch (p->kind) {
    case PATTERN_VARIABLE:
        return bound_value(b, p->variable);
    case PATTERN_NUMBER:
        return build_number(b, p->number, b->match->root->results[0]->type);
    case PATTERN_OP:
        if (p->code != OP_COMPOSITE)
            return build_operation(b, p, last);
        break;
    case PATTERN_EITHER:
        break;
    }
    return fail(b, "the replacement is no operation");
}

// ---- Composites ------------------------------------------------------------------------------------------------

struct cloning {
    struct building *building;
    int n;
    struct {
        const struct value *from;
        struct value *to;
    } values[2 * MOST_CLONED];
};

static struct value *cloned(const struct cloning *c, const struct value *v)
{
    for (int i = 0; i < c->n; i++)
        if (c->values[i].from == v)
            return c->values[i].to;
    return NULL;
}

static bool stands_for(struct cloning *c, const struct value *from, struct value *to)
{
    if (c->n == 2 * MOST_CLONED)
        return false;
    c->values[c->n].from = from;
    c->values[c->n++].to = to;
    return true;
}

// Computed from constants and sizes, in a few steps.
static bool is_known(struct rewriter *r, const struct value *v, int steps)
{
    if (!v->def || !steps || v->def->n_blocks)
        return false;
    if (v->def->code == OP_SIZES || rewriter_fact(r, v)->constant)
        return true;
    for (int i = 0; i < v->def->n_operands; i++)
        if (!is_known(r, v->def->operands[i], steps - 1))
            return false;
    return v->def->n_operands > 0;
}

static bool clone_block(struct cloning *c, const struct block *from, struct block *to);

// What a block names for a value of outside: the argument for it, or a copy of what is matched or known.
static struct value *clone_value(struct cloning *c, struct value *v, int depth);

static bool clone_op(struct cloning *c, const struct op *op, int depth)
{
    struct builder *b = &c->building->builder;
    struct value *operands[MAX_OPERANDS];
    for (int i = 0; i < op->n_operands; i++) {
        operands[i] = clone_value(c, op->operands[i], depth + 1);
        if (!operands[i])
            return false;
    }
    struct type *types[MAX_OPERANDS];
    for (int i = 0; i < op->n_results; i++)
        types[i] = op->results[i]->type;
    struct loc loc = b->loc;
    b->loc = op->loc;
    struct op *copy = build_op(b, op->code, op->n_operands, operands, op->n_attrs, op->attrs, op->n_results, types);
    b->loc = loc;
    for (int i = 0; i < op->n_blocks; i++)
        if (!clone_block(c, op->blocks[i], copy->blocks[i]))
            return false;
    if (op->n_blocks)
        build_finish(b, copy);
    for (int i = 0; i < op->n_results; i++) {
        copy->results[i]->name = op->results[i]->name;
        if (!stands_for(c, op->results[i], copy->results[i]))
            return false;
    }
    return true;
}

static bool clone_block(struct cloning *c, const struct block *from, struct block *to)
{
    struct builder *b = &c->building->builder;
    const struct builder outer = *b;
    for (int i = 0; i < from->n_args; i++) {
        struct value *arg = block_add_arg(b->function, to, from->args[i]->name, from->args[i]->type);
        if (!stands_for(c, from->args[i], arg))
            return false;
    }
    build_enter(b, to);
    for (const struct op *op = from->first; op; op = op->next)
        if (!clone_op(c, op, 0))
            return false;
    b->block = outer.block;
    b->before = outer.before;
    return true;
}

static struct value *clone_value(struct cloning *c, struct value *v, int depth)
{
    struct value *known = cloned(c, v);
    if (known || !v->def || depth > MOST_CLONED)
        return known;
    const struct match *m = c->building->match;
    bool matched = is_known(m->rewriter, v, MOST_STEPS);
    for (int i = 0; i < m->n_ops; i++)
        matched |= m->ops[i] == v->def;
    return matched && clone_op(c, v->def, depth) ? cloned(c, v) : NULL;
}

static struct value *wrap(struct building *b, const struct pattern *p)
{
    struct builder *builder = &b->builder;
    struct op *root = b->match->root;
    struct value *operands[MOST_PARTS] = {0};
    int n = 0;
    for (int i = 0; i < p->n_parts; i++)
        if (p->parts[i]->kind == PATTERN_VARIABLE && b->match->bound[p->parts[i]->variable].value)
            operands[n++] = b->match->bound[p->parts[i]->variable].value;
    struct attr name = {ATTR_NAME, {.string = p->composite}};
    struct op *op = build_op(builder, OP_COMPOSITE, n, operands, 1, &name, 1, NULL);
    struct cloning *c = ARENA_NEW(b->match->rewriter->arena, struct cloning);
    c->building = b;
    for (int i = 0; i < n; i++)
        stands_for(c, operands[i],
                   block_add_arg(builder->function, op->blocks[0], operands[i]->name, operands[i]->type));
    build_enter(builder, op->blocks[0]);
    if (!clone_op(c, root, 0)) { // too large, or a composite in it names what it should not
        op_remove(op);
        return NULL;
    }
    struct value *result = cloned(c, root->results[0]);
    build_yield(builder, 1, &result);
    build_end(builder, op);
    return op->results[0];
}

// ---- The whole -------------------------------------------------------------------------------------------------

// v in the type of what it replaces.
static struct value *fit(struct building *b, struct value *v)
{
    struct type *want = b->match->root->results[0]->type;
    if (v->type == want)
        return v;
    return build_value(&b->builder, OP_BROADCAST, 1, &v, 0, NULL, want);
}

struct value *rule_build(struct match *m)
{
    struct op *root = m->root;
    struct loc loc = matched_loc(m);
    struct building b = {.match = m,
                         .loc = loc,
                         .builder = {.function = m->rewriter->function,
                                     .block = root->block,
                                     .before = root,
                                     .loc = loc,
                                     .diags = m->rewriter->diags}};
    const struct pattern *p = m->rule->replacement;
    struct value *v = p->kind == PATTERN_OP && p->code == OP_COMPOSITE ? wrap(&b, p) : build(&b, p, true);
    if (v && !b.builder.failed)
        v = fit(&b, v);
    if (b.builder.failed)
        return fail(&b, "what it builds is not sound");
    return v;
}
