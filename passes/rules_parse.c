// Reads the language that rules.def describes.
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "passes/rules_internal.h"

struct parser {
    struct arena *arena;
    struct rule *rule;
    const char *at;
    const char *fault;
    bool replacement; // not a pattern
};

static struct pattern *parse_pattern(struct parser *p);

static void fail(struct parser *p, const char *what)
{
    if (!p->fault)
        p->fault = arena_printf(p->arena, "%s at '%s'", what, p->at);
}

static void skip_blanks(struct parser *p)
{
    while (*p->at == ' ')
        p->at++;
}

static bool accept(struct parser *p, char c)
{
    skip_blanks(p);
    if (*p->at != c)
        return false;
    p->at++;
    return true;
}

static void expect(struct parser *p, char c)
{
    if (!accept(p, c))
        fail(p, arena_printf(p->arena, "'%c' is missing", c));
}

static bool at_number(struct parser *p)
{
    skip_blanks(p);
    return isdigit((unsigned char)*p->at) || (*p->at == '-' && isdigit((unsigned char)p->at[1]));
}

static const char *parse_name(struct parser *p)
{
    skip_blanks(p);
    size_t n = 0;
    while (isalnum((unsigned char)p->at[n]) || p->at[n] == '_')
        n++;
    if (!n || isdigit((unsigned char)*p->at))
        fail(p, "a name is missing");
    const char *name = arena_strndup(p->arena, p->at, n);
    p->at += n;
    return name;
}

static int variable(struct parser *p, const char *name)
{
    struct rule *r = p->rule;
    for (int i = 0; i < r->n_variables; i++)
        if (!strcmp(r->variables[i], name))
            return i;
    if (p->replacement || r->n_variables == MOST_VARIABLES) {
        fail(p, arena_printf(p->arena, "'%s' stands in no pattern, or there are too many names", name));
        return 0;
    }
    r->variables[r->n_variables] = name;
    return r->n_variables++;
}

// (a, b, ...) of the function in that row of a table.
static int parse_call(struct parser *p, const char *name, const struct rule_function *(*table)(int row), int *variables)
{
    int row = 0;
    while (table(row) && strcmp(table(row)->name, name))
        row++;
    if (!table(row)) {
        fail(p, arena_printf(p->arena, "there is no function '%s'", name));
        return 0;
    }
    expect(p, '(');
    for (int i = 0; i < table(row)->n_variables && !p->fault; i++) {
        if (i)
            expect(p, ',');
        variables[i] = variable(p, parse_name(p));
    }
    expect(p, ')');
    return row;
}

// ---- Attributes ------------------------------------------------------------------------------------------------

static struct ints parse_ints(struct parser *p, char end)
{
    int64_t v[MAX_RANK];
    int n = 0;
    do {
        if (!at_number(p) || n == MAX_RANK) {
            fail(p, "a number is missing, or there are too many");
            break;
        }
        v[n++] = strtoll(p->at, (char **)&p->at, 10);
    } while (end && accept(p, ','));
    if (end)
        expect(p, end);
    return (struct ints){n, arena_copy(p->arena, v, sizeof *v * (size_t)n)};
}

static enum attr_key find_key(struct parser *p, const char *name)
{
    for (int i = 0; i < ATTR_COUNT; i++)
        if (!strcmp(attr_info[i].name, name))
            return (enum attr_key)i;
    fail(p, arena_printf(p->arena, "there is no attribute '%s'", name));
    return (enum attr_key)0;
}

static void parse_setting(struct parser *p, const char *key, struct setting *s)
{
    static const struct {
        const char *word;
        enum setting_kind kind;
    } words[] = {
        {"last", SETTING_LAST}, {"identity", SETTING_IDENTITY}, {"zeros", SETTING_ZEROS}, {"ones", SETTING_ONES}};
    *s = (struct setting){.kind = SETTING_VARIABLE};
    if (p->replacement && !strcmp(key, "like")) {
        s->kind = SETTING_LIKE;
        s->variables[0] = variable(p, parse_name(p));
        return;
    }
    if (p->replacement && !strcmp(key, "type")) {
        s->kind = SETTING_TYPE;
        s->function = parse_call(p, parse_name(p), type_function, s->variables);
        return;
    }
    s->key = find_key(p, key);
    if (accept(p, '[')) {
        s->kind = SETTING_INTS;
        s->ints = parse_ints(p, ']');
        return;
    }
    if (at_number(p)) {
        s->kind = SETTING_INT;
        s->ints = parse_ints(p, 0);
        return;
    }
    const char *name = parse_name(p);
    if (attr_info[s->key].kind == ATTR_KIND_OPCODE && opcode_from_name(name, strlen(name)) != OP_NONE) {
        s->kind = SETTING_OPCODE;
        s->opcode = opcode_from_name(name, strlen(name));
        return;
    }
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!p->replacement && !strcmp(name, words[i].word)) {
            s->kind = words[i].kind;
            return;
        }
    if (p->replacement && *p->at == '(') {
        s->kind = SETTING_FUNCTION;
        s->function = parse_call(p, name, attribute_function, s->variables);
        return;
    }
    s->variables[0] = variable(p, name);
}

// ---- Patterns --------------------------------------------------------------------------------------------------

static void add_part(struct parser *p, struct pattern *to, struct pattern *part)
{
    if (to->n_parts == MOST_PARTS)
        fail(p, "there are too many operands or alternatives");
    else
        to->parts[to->n_parts++] = part;
}

// Whether `key=` stands here: then it is taken.
static const char *accept_key(struct parser *p)
{
    skip_blanks(p);
    size_t n = 0;
    while (isalpha((unsigned char)p->at[n]) || p->at[n] == '_')
        n++;
    if (!n || p->at[n] != '=')
        return NULL;
    const char *key = arena_strndup(p->arena, p->at, n);
    p->at += n + 1;
    return key;
}

static void parse_operands(struct parser *p, struct pattern *x)
{
    if (accept(p, ')'))
        return;
    do {
        const char *key = accept_key(p);
        if (!key)
            add_part(p, x, parse_pattern(p));
        else if (x->n_settings == MOST_SETTINGS)
            fail(p, "there are too many attributes");
        else
            parse_setting(p, key, &x->settings[x->n_settings++]);
    } while (!p->fault && accept(p, ','));
    expect(p, ')');
}

static void check_operands(struct parser *p, const struct pattern *x)
{
    int n = op_info[x->code].n_operands;
    const unsigned tree = SCALAR_COMMUTES | SCALAR_ASSOCIATES;
    bool any = n < 0 || (!p->replacement && x->n_parts > n && (op_info[x->code].flags & tree) == tree);
    if (!any && x->n_parts != n)
        fail(p, arena_printf(p->arena, "%s takes %d operands, not %d", op_info[x->code].name, n, x->n_parts));
}

static struct pattern *parse_primary(struct parser *p, struct pattern *x)
{
    if (accept(p, '(')) {
        x->kind = PATTERN_EITHER;
        do
            add_part(p, x, parse_pattern(p));
        while (!p->fault && accept(p, '|'));
        expect(p, ')');
        return x;
    }
    if (at_number(p)) {
        x->kind = PATTERN_NUMBER;
        x->number = strtod(p->at, (char **)&p->at);
        return x;
    }
    bool composite = accept(p, '@');
    const char *name = parse_name(p);
    x->kind = PATTERN_OP;
    if (composite) {
        x->code = OP_COMPOSITE;
        x->composite = name;
    } else if (*p->at == '(') {
        x->code = opcode_from_name(name, strlen(name));
        if (x->code == OP_NONE) {
            fail(p, arena_printf(p->arena, "there is no operation '%s'", name));
            return x;
        }
    } else {
        if (opcode_from_name(name, strlen(name)) != OP_NONE)
            fail(p, arena_printf(p->arena, "'%s' is an operation", name));
        x->kind = PATTERN_VARIABLE;
        x->variable = variable(p, name);
        return x;
    }
    expect(p, '(');
    parse_operands(p, x);
    if (!p->fault)
        check_operands(p, x);
    return x;
}

static struct pattern *parse_pattern(struct parser *p)
{
    struct pattern *x = ARENA_NEW(p->arena, struct pattern);
    x->variable = -1;
    skip_blanks(p);
    size_t n = 0;
    while (isalpha((unsigned char)p->at[n]))
        n++;
    int name = -1;
    if (n && p->at[n] == ':') {
        name = variable(p, parse_name(p));
        p->at++;
    }
    x->shared = accept(p, '~');
    parse_primary(p, x);
    if (name >= 0) {
        if (x->kind == PATTERN_VARIABLE || p->replacement)
            fail(p, "only what a pattern matches gets a name");
        x->variable = name;
    }
    return x;
}

static void find_starts(const struct pattern *x, bool *starts)
{
    if (x->kind == PATTERN_OP)
        starts[x->code] = true;
    for (int i = 0; x->kind == PATTERN_EITHER && i < x->n_parts; i++)
        find_starts(x->parts[i], starts);
}

static void parse_conditions(struct parser *p)
{
    struct rule *r = p->rule;
    skip_blanks(p);
    if (!*p->at)
        return;
    do {
        if (r->n_conditions == MOST_CONDITIONS) {
            fail(p, "there are too many conditions");
            return;
        }
        struct condition *c = &r->conditions[r->n_conditions++];
        *c = (struct condition){.negated = accept(p, '!'), .variables = {-1, -1, -1}};
        c->function = parse_call(p, parse_name(p), condition_function, c->variables);
    } while (!p->fault && accept(p, ','));
}

static void expect_end(struct parser *p)
{
    skip_blanks(p);
    if (*p->at)
        fail(p, "something is left over");
}

const char *rule_parse(struct arena *a, const char *pattern, const char *conditions, const char *replacement,
                       struct rule *r)
{
    struct parser p = {.arena = a, .rule = r, .at = pattern};
    r->pattern = parse_pattern(&p);
    if (!p.fault)
        expect_end(&p);
    if (p.fault)
        return p.fault;
    find_starts(r->pattern, r->starts);
    p.replacement = true; // no new names from here on
    p.at = conditions;
    parse_conditions(&p);
    if (!p.fault)
        expect_end(&p);
    if (p.fault)
        return p.fault;
    p.at = replacement;
    r->replacement = parse_pattern(&p);
    if (!p.fault)
        expect_end(&p);
    return p.fault;
}
