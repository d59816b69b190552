#include "passes/rules_internal.h"

#include <string.h>

#define MOST_WALKS 16 // over a function; each needs what the one before uncovered
#define MOST_BUILT 32 // replacements for each operation that there was, against rules that feed each other

static const struct {
    const char *name;
    enum rule_group group;
    const char *pattern, *conditions, *replacement;
} rows[] = {
#define RULE(group, name, pattern, conditions, replacement) {name, RULES_##group, pattern, conditions, replacement},
#include "passes/rules.def"
#undef RULE
};

int rules_count(void)
{
    return sizeof rows / sizeof *rows;
}

const char *rules_name(int rule)
{
    return rows[rule].name;
}

// ---- Facts -----------------------------------------------------------------------------------------------------

struct fact *rewriter_fact(struct rewriter *r, const struct value *v)
{
    if (v->id >= r->n_facts) {
        int n = v->id * 2 + 16;
        struct fact *grown = ARENA_ARRAY(r->arena, struct fact, n);
        if (r->n_facts)
            memcpy(grown, r->facts, sizeof *grown * (size_t)r->n_facts);
        r->facts = grown;
        r->n_facts = n;
    }
    return &r->facts[v->id];
}

static void count_uses(struct rewriter *r, const struct op *op)
{
    for (int i = 0; i < op->n_operands; i++)
        rewriter_fact(r, op->operands[i])->uses++;
    for (int i = 0; i < op->n_blocks; i++)
        for (const struct op *inner = op->blocks[i]->first; inner; inner = inner->next)
            count_uses(r, inner);
}

static void learn_constant(struct rewriter *r, const struct op *op)
{
    if (op->n_blocks || op->n_results != 1 || op_info[op->code].effect != EFFECT_PURE || op->code == OP_SIZES)
        return;
    for (int i = 0; i < op->n_operands; i++)
        if (!rewriter_fact(r, op->operands[i])->constant)
            return;
    rewriter_fact(r, op->results[0])->constant = true;
}

// ---- Taking away -----------------------------------------------------------------------------------------------

// Nothing but its results is seen of it.
static bool is_pure(const struct op *op)
{
    if (op->code == OP_ASSERT || op_info[op->code].effect == EFFECT_WRITE)
        return false;
    for (int i = 0; i < op->n_blocks; i++)
        for (const struct op *inner = op->blocks[i]->first; inner; inner = inner->next)
            if (!is_pure(inner))
                return false;
    return true;
}

static bool is_dead(struct rewriter *r, const struct op *op)
{
    if (!op->n_results || !is_pure(op))
        return false;
    for (int i = 0; i < op->n_results; i++)
        if (rewriter_fact(r, op->results[i])->uses)
            return false;
    return true;
}

struct dying {
    struct op *op;
    struct dying *next;
};

// What is inside of an operation that is gone does not die a second time.
static void detach_inside(const struct op *op)
{
    for (int i = 0; i < op->n_blocks; i++)
        for (struct op *inner = op->blocks[i]->first; inner; inner = inner->next) {
            inner->block = NULL;
            detach_inside(inner);
        }
}

// The operands lose the uses that op and what is in it are; those that then are dead are put on the list.
static void release(struct rewriter *r, const struct op *op, struct dying **list)
{
    detach_inside(op);
    for (int i = 0; i < op->n_operands; i++) {
        struct value *v = op->operands[i];
        if (!--rewriter_fact(r, v)->uses && v->def && v->def->block && is_dead(r, v->def)) {
            struct dying *d = ARENA_NEW(r->arena, struct dying);
            *d = (struct dying){v->def, *list};
            *list = d;
        }
    }
    for (int i = 0; i < op->n_blocks; i++)
        for (const struct op *inner = op->blocks[i]->last; inner; inner = inner->previous)
            release(r, inner, list);
}

// Removes op and what nothing needs without it.
static void remove_dead(struct rewriter *r, struct op *op)
{
    struct dying *list = &(struct dying){op, NULL};
    while (list) {
        op = list->op;
        list = list->next;
        if (!op->block)
            continue;
        op_remove(op);
        release(r, op, &list);
    }
    r->progress = true;
}

static void remove_all_dead(struct rewriter *r, struct block *b)
{
    for (struct op *op = b->last, *previous; op; op = previous) {
        previous = op->previous;
        if (is_dead(r, op)) {
            struct dying *list = NULL;
            op_remove(op);
            release(r, op, &list); // the walk comes to them
            r->progress = true;
            continue;
        }
        for (int i = 0; i < op->n_blocks; i++)
            remove_all_dead(r, op->blocks[i]);
    }
}

// ---- The walk --------------------------------------------------------------------------------------------------

struct walk {
    struct rewriter rewriter;
    struct pass_context *context;
    const struct rule *rules;
    int n_rules;
    int64_t budget;  // replacements
    bool composites; // walk into them
    bool changed;
};

// Replaces the root by v; returns the first operation that has been built for it, or what follows.
static struct op *replace_root(struct walk *w, struct op *root, struct op *before, struct value *v)
{
    struct rewriter *r = &w->rewriter;
    struct op *first = before ? before->next : root->block->first, *next = root->next;
    for (const struct op *op = first; op != root; op = op->next)
        count_uses(r, op);
    rewriter_fact(r, v)->uses += rewriter_fact(r, root->results[0])->uses;
    rewriter_fact(r, root->results[0])->uses = 0;
    replace_set(&r->replace, root->results[0], v);
    if (first == root)
        first = next;
    remove_dead(r, root);
    return first;
}

// Applies the first rule that fits op; *next is then where the walk goes on.
static void apply_rules(struct walk *w, struct op *op, struct op **next)
{
    struct rewriter *r = &w->rewriter;
    for (int i = 0; i < w->n_rules && w->budget > 0; i++) {
        struct match m;
        if (!rule_match(r, &w->rules[i], op, &m) || !pass_step(w->context, w->rules[i].name, op->loc))
            continue;
        struct op *before = op->previous;
        struct value *v = rule_build(&m);
        if (!v)
            continue;
        *next = replace_root(w, op, before, v);
        w->budget--;
        w->changed = true;
        if (w->context->rules_applied)
            w->context->rules_applied[w->rules[i].row]++;
        return;
    }
}

// Without applying rules.
static void pass_by(struct rewriter *r, const struct block *b)
{
    for (struct op *op = b->first; op; op = op->next) {
        replace_operands(&r->replace, op);
        for (int i = 0; i < op->n_blocks; i++)
            pass_by(r, op->blocks[i]);
    }
}

static void walk_block(struct walk *w, struct block *b)
{
    struct rewriter *r = &w->rewriter;
    for (struct op *op = b->first, *next; op; op = next) {
        next = op->next;
        replace_operands(&r->replace, op);
        learn_constant(r, op);
        for (int i = 0; i < op->n_blocks; i++)
            if (op->code == OP_COMPOSITE && !w->composites)
                pass_by(r, op->blocks[i]);
            else
                walk_block(w, op->blocks[i]);
        if (is_dead(r, op))
            remove_dead(r, op);
        else
            apply_rules(w, op, &next);
    }
}

static int64_t count_ops(const struct block *b)
{
    int64_t n = 0;
    for (const struct op *op = b->first; op; op = op->next) {
        n++;
        for (int i = 0; i < op->n_blocks; i++)
            n += count_ops(op->blocks[i]);
    }
    return n;
}

static void run_on(struct walk *w, struct function *f)
{
    for (int i = 0; i < MOST_WALKS; i++) {
        w->changed = false;
        walk_block(w, f->body);
        w->rewriter.progress |= w->changed;
        if (!w->changed)
            break;
    }
}

// Parses the rules of a group. NULL after reporting a faulty one.
static struct rule *parse_rules(struct pass_context *c, enum rule_group group, int *n)
{
    struct rule *rules = ARENA_ARRAY(c->scratch, struct rule, rules_count());
    *n = 0;
    for (int i = 0; i < rules_count(); i++) {
        if (rows[i].group != group)
            continue;
        struct rule *r = &rules[(*n)++];
        r->name = rows[i].name;
        r->row = i;
        const char *fault = rule_parse(c->scratch, rows[i].pattern, rows[i].conditions, rows[i].replacement, r);
        if (fault) {
            diag_error(c->diags, (struct loc){.file = "rules.def"}, "rule '%s': %s", r->name, fault);
            return NULL;
        }
    }
    return rules;
}

bool rules_run(struct module *m, struct pass_context *c, enum rule_group group)
{
    int n_rules;
    struct rule *rules = parse_rules(c, group, &n_rules);
    bool progress = false;
    for (struct function *f = m->first_function; f && rules; f = f->next) {
        if (f->kind != FUNCTION_GRAPH)
            continue;
        struct walk w = {.rewriter = {.function = f, .arena = c->scratch, .diags = c->diags},
                         .context = c,
                         .budget = MOST_BUILT * (count_ops(f->body) + 1),
                         .composites = group != RULES_RAISE};
        replace_init(&w.rewriter.replace, c->scratch, f);
        for (const struct op *op = f->body->first; op; op = op->next)
            count_uses(&w.rewriter, op);
        remove_all_dead(&w.rewriter, f->body);
        // Larger patterns contain smaller ones, which must not be first: raising takes the rules one by one.
        for (int i = 0; i < (group == RULES_RAISE ? n_rules : 1); i++) {
            w.rules = group == RULES_RAISE ? &rules[i] : rules;
            w.n_rules = group == RULES_RAISE ? 1 : n_rules;
            run_on(&w, f);
        }
        progress |= w.rewriter.progress;
    }
    return progress;
}
