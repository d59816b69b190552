// The statements of functions. docs/tile.md and docs/graph.md have the grammar; parse_function.c reads what is around
// them.
//
// Errors are collected: after one, reading goes on at the next line, and values that the faulty line would have defined
// are silent about themselves.
#include <string.h>

#include "ir/parse_internal.h"

struct statement {
    struct token names[MAX_OPERANDS];
    int n_names;
    struct operand operands[MAX_OPERANDS];
    int n_operands;
    struct attr attrs[ATTR_COUNT];
    int n_attrs;
    struct type *type;
    struct loc loc;
};

static void add_operand(struct parser *p, struct statement *s)
{
    if (s->n_operands == MAX_OPERANDS) {
        FAIL(p, "more than %d operands", MAX_OPERANDS);
        return;
    }
    struct operand o = parse_expression(p);
    s->operands[s->n_operands++] = o;
}

static void parse_formatted(struct parser *p, struct statement *s, const char *format)
{
    for (const char *f = format; *f && !p->failed;) {
        size_t n = strcspn(f, " ");
        char word[32];
        snprintf(word, sizeof word, "%.*s", (int)n, f);
        if (*f == '@' || *f == '?') {
            int key = parse_attr_key(f + 1, n - 1);
            if (*f == '@' || parse_accept(p, word + 1)) {
                struct attr *a = &s->attrs[s->n_attrs++];
                a->key = (enum attr_key)key;
                parse_attr(p, a);
            }
        } else if (*f == '%' && n > 1 && f[1] == '?') {
            if (parse_accept(p, word + 2))
                add_operand(p, s);
        } else if (*f == '%' && n > 1 && f[1] == '*') {
            // Until what closes the list: a bracket, or the end of the line.
            bool none = f[n] ? parse_is(p, "]") : p->lex.token.first || parse_is(p, ":") || parse_is(p, "}");
            if (!none)
                do
                    add_operand(p, s);
                while (!p->failed && parse_accept(p, ","));
        } else if (*f == '%') {
            add_operand(p, s);
        } else {
            parse_expect(p, word);
        }
        f += n + (f[n] == ' ');
    }
}

// The element type that a literal operand takes: index where an index belongs, else as another operand or the result.
static enum dtype literal_dtype(enum opcode code, const struct statement *s, int i)
{
    enum op_effect effect = op_info[code].effect;
    bool first_is_view =
        effect == EFFECT_READ || code == OP_PREFETCH || code == OP_WINDOW || code == OP_SUBVIEW || code == OP_EXTRACT;
    int view = effect == EFFECT_WRITE ? 1 : first_is_view ? 0 : -1;
    bool index = view >= 0
                     ? i > view
                     : code == OP_SCRATCH || code == OP_BUFFER || code == OP_ASSUME || (code == OP_REDUCE && i == 1) ||
                           (code == OP_DYNAMIC_SLICE && i == 1) || (code == OP_SLICE_UPDATE && i == 2);
    if (index)
        return DTYPE_INDEX;
    if (code == OP_SELECT && i == 0)
        return DTYPE_I1;
    for (int j = code == OP_SELECT; j < s->n_operands; j++)
        if (!s->operands[j].literal && s->operands[j].value)
            return s->operands[j].value->type->dtype;
    if (s->type)
        return s->type->dtype;
    return s->operands[i].number.is_float ? DTYPE_F32 : DTYPE_INDEX;
}

// Brings names into scope, each of which the block has once.
static void bind_names(struct parser *p, const struct token *names, int n, struct value *const *values, int n_values,
                       struct loc loc)
{
    for (int i = 0; i < n; i++) {
        const struct binding *same = parse_lookup(p, names[i].text, names[i].length);
        if (same && same - p->bindings >= p->scope)
            FAIL_AT(p, loc, "%%%.*s is defined twice in a block", (int)names[i].length, names[i].text);
        parse_bind(p, names[i].text, names[i].length, i < n_values ? values[i] : NULL);
    }
}

static void bind_results(struct parser *p, const struct statement *s, const struct op *op)
{
    bind_names(p, s->names, s->n_names, op ? op->results : NULL, op ? op->n_results : 0, s->loc);
}

// `(%a = init : type, ...)`; the initial values go into operands from `first` on.
static void parse_carried(struct parser *p, struct statement *s, struct token *names, int *n, int first)
{
    parse_expect(p, "(");
    s->n_operands = first;
    while (!p->failed && !parse_is(p, ")")) {
        if (s->n_operands == MAX_OPERANDS) {
            FAIL(p, "more than %d carried values", MAX_OPERANDS - first);
            return;
        }
        if (p->lex.token.kind != TOKEN_VALUE)
            FAIL(p, "expected the name of a carried value, found %s", parse_seen(p));
        names[(*n)++] = p->lex.token;
        lex_next(&p->lex);
        parse_expect(p, "=");
        struct operand o = parse_expression(p);
        struct type *t = parse_accept(p, ":") ? parse_type(p) : NULL;
        if (p->failed)
            return;
        if (!o.literal && t && o.value && t != o.value->type) {
            FAIL_AT(p, o.loc, "the value is %s, not %s", type_string(&p->module->arena, p->module, o.value->type),
                    type_string(&p->module->arena, p->module, t));
            return;
        }
        if (o.literal) {
            p->b.loc = o.loc;
            if (!t)
                t = type_scalar(p->module, o.number.is_float ? DTYPE_F32 : DTYPE_INDEX);
            if (!parse_check_literal(p, &o, t->dtype))
                return;
            o.value = dtype_is_float(t->dtype) ? build_float(&p->b, t, o.number.f) : build_int(&p->b, t, o.number.i);
            o.literal = false;
        }
        s->operands[s->n_operands++] = o;
        if (!parse_accept(p, ","))
            break;
    }
    parse_expect(p, ")");
}

void parse_skip_block(struct parser *p)
{
    int depth = 0;
    do {
        if (parse_is(p, "{"))
            depth++;
        if (parse_is(p, "}"))
            depth--;
        lex_next(&p->lex);
    } while (p->lex.token.kind != TOKEN_END && depth > 0);
}

// Whether the value is a constant of the text, and which.
static bool known(const struct value *v, int64_t *x)
{
    if (!v || !v->def || v->def->code != OP_CONSTANT || !dtype_is_int(v->type->dtype))
        return false;
    *x = op_attr(v->def, ATTR_VALUE)->number.i;
    return true;
}

// What the verifier does not ask for, since passes may make it where it never runs.
static void check_constants(struct parser *p, enum opcode code, const struct statement *s, const struct op *op)
{
    for (int i = 0; i < op->n_attrs; i++)
        if (attr_info[op->attrs[i].key].kind == ATTR_KIND_NUMBER) {
            struct operand o = {.literal = true, .number = op->attrs[i].number, .loc = s->loc};
            parse_check_literal(p, &o, op->results[0]->type->dtype);
        }
    int64_t at;
    const struct type *t = code == OP_EXTRACT ? op->operands[0]->type : NULL;
    for (int i = 1; t && t->kind == TYPE_TILE && i < op->n_operands; i++)
        if (known(op->operands[i], &at) && (at < 0 || at >= t->dims[i - 1]))
            FAIL_AT(p, s->loc, "index %lld is outside of %s", (long long)at,
                    type_string(&p->module->arena, p->module, t));
}

static struct op *create_structured(struct parser *p, enum opcode code, struct statement *s)
{
    struct value *values[MAX_OPERANDS];
    struct type *types[MAX_OPERANDS] = {0};
    bool named = code == OP_IF || code == OP_COMPOSITE; // results by the names before the '='
    int carried = code == OP_FOR ? 3 : code == OP_WHILE ? 0 : s->n_operands;
    for (int i = 0; i < s->n_operands; i++) {
        values[i] = parse_materialise(p, &s->operands[i], code == OP_IF ? DTYPE_I1 : DTYPE_INDEX);
        if (!values[i])
            return NULL;
        if (i >= carried)
            types[i - carried] = values[i]->type;
    }
    int64_t step;
    if (code == OP_FOR && known(values[2], &step) && step < 1) {
        FAIL_AT(p, s->operands[2].loc, "the step is %lld; it must be positive", (long long)step);
        return NULL;
    }
    p->b.loc = s->loc;
    int n_results = named ? s->n_names : s->n_operands - carried;
    return build_op(&p->b, code, s->n_operands, values, s->n_attrs, s->attrs, n_results, types);
}

// Reads a nested block in which names stand for the block's arguments.
static void parse_nested(struct parser *p, struct block *b, int n, const struct token *names)
{
    struct block *outer = p->b.block;
    int mark = p->n_bindings, scope = p->scope;
    p->scope = mark;
    bind_names(p, names, n, b->args, n, p->b.loc);
    parse_block(p, b);
    p->n_bindings = mark;
    p->scope = scope;
    p->b.block = outer;
    p->b.before = NULL;
}

// Reading a block resets `failed`, for its statements have their own errors; the operation around it is then checked
// only if nothing in it failed.
static void parse_structured(struct parser *p, enum opcode code, struct statement *s)
{
    struct token names[MAX_OPERANDS], others[MAX_OPERANDS];
    int n = 0, n_others = 0, errors = p->diags->n_errors;
    if (code == OP_FOR) {
        if (p->lex.token.kind != TOKEN_VALUE)
            FAIL(p, "expected the name of the loop's index, found %s", parse_seen(p));
        names[n++] = p->lex.token;
        lex_next(&p->lex);
        static const char *const words[] = {"=", "to", "step"};
        for (int i = 0; i < 3 && !p->failed; i++)
            if (i < 2 || parse_is(p, "step")) {
                parse_expect(p, words[i]);
                add_operand(p, s);
            } else {
                s->operands[s->n_operands++] = parse_literal_int(p, 1);
            }
        if (!p->failed && parse_accept(p, "with"))
            parse_carried(p, s, names, &n, 3);
    } else if (code == OP_WHILE) {
        parse_carried(p, s, names, &n, 0);
    } else if (code == OP_COMPOSITE) {
        s->attrs[s->n_attrs++] = (struct attr){ATTR_NAME, {.string = parse_string(p)}};
        parse_carried(p, s, names, &n, 0);
    } else if (code == OP_ONCE) {
        parse_expect(p, "(");
        while (!p->failed && !parse_is(p, ")")) {
            add_operand(p, s);
            if (!parse_accept(p, ","))
                break;
        }
        parse_expect(p, ")");
    } else {
        add_operand(p, s);
    }
    struct op *op = p->failed ? NULL : create_structured(p, code, s);
    if (!op) {
        p->failed = true;
        while (p->lex.token.kind != TOKEN_END && !parse_is(p, "{") && !parse_is(p, "}"))
            lex_next(&p->lex);
        if (parse_is(p, "{"))
            parse_skip_block(p);
        bind_results(p, s, NULL);
        return;
    }
    if (code == OP_FOR)
        block_add_arg(p->b.function, op->blocks[0], NULL, type_scalar(p->module, DTYPE_INDEX));
    bool has_args = code == OP_FOR || code == OP_WHILE || code == OP_COMPOSITE;
    for (int i = code == OP_FOR ? 3 : 0; has_args && i < s->n_operands; i++)
        block_add_arg(p->b.function, op->blocks[0], NULL, op->operands[i]->type);
    parse_nested(p, op->blocks[0], n, names);
    if (code == OP_WHILE && parse_expect(p, "do")) {
        parse_expect(p, "(");
        while (!p->failed && p->lex.token.kind == TOKEN_VALUE && n_others < op->n_operands) {
            others[n_others] = p->lex.token;
            block_add_arg(p->b.function, op->blocks[1], NULL, op->operands[n_others++]->type);
            lex_next(&p->lex);
            parse_accept(p, ",");
        }
        parse_expect(p, ")");
        if (!p->failed)
            parse_nested(p, op->blocks[1], n_others, others);
    }
    if (code == OP_IF || code == OP_COMPOSITE) {
        const struct op *end = block_terminator(op->blocks[0]);
        for (int i = 0; end && i < op->n_results && i < end->n_operands; i++)
            op->results[i]->type = end->operands[i]->type;
        if (code == OP_IF && parse_accept(p, "else"))
            parse_nested(p, op->blocks[1], 0, NULL);
    }
    // A loop that carries nothing, and a branch that gives nothing, need no yield.
    for (int i = 0; i < op->n_blocks && errors == p->diags->n_errors; i++) {
        bool absent = code == OP_IF && i == 1 && !op->blocks[1]->first && !op->n_results;
        if (!block_terminator(op->blocks[i]) && !op->n_results && !absent) {
            build_enter(&p->b, op->blocks[i]);
            build_yield(&p->b, 0, NULL);
            build_enter(&p->b, op->block);
        }
    }
    if (errors == p->diags->n_errors)
        build_finish(&p->b, op);
    p->failed |= errors != p->diags->n_errors;
    for (int i = 0; i < op->n_results; i++)
        if (!op->results[i]->type)
            op->results[i]->type = type_scalar(p->module, DTYPE_INDEX);
    if (!p->failed && s->n_names != op->n_results)
        FAIL_AT(p, s->loc, "%s has %d results and %d names", op_info[code].name, op->n_results, s->n_names);
    bind_results(p, s, p->failed ? NULL : op);
}

// `launch @kernel(%a, %b, N = %n)`: the kernel's parameters in order, then its sizes by name in any order.
static void parse_launch(struct parser *p, struct statement *s)
{
    struct token name = p->lex.token;
    if (name.kind != TOKEN_SYMBOL) {
        FAIL(p, "expected the kernel's name, as in @matmul, found %s", parse_seen(p));
        return;
    }
    const char *text = arena_strndup(&p->module->arena, name.text, name.length);
    const struct function *k = module_function(p->module, text);
    if (!k && p->nameless) {
        p->poisoned = p->failed = true; // perhaps that one
        return;
    }
    if (!k || k->kind != FUNCTION_KERNEL) {
        FAIL(p, "there is no kernel @%s above; kernels stand before the functions that launch them", text);
        return;
    }
    for (int i = 0; i < p->n_faulty; i++)
        if (p->faulty[i] == k) { // which arguments it takes is not known
            p->poisoned = p->failed = true;
            return;
        }
    lex_next(&p->lex);
    s->attrs[s->n_attrs++] = (struct attr){ATTR_KERNEL, {.string = text}};
    struct operand sizes[MAX_OPERANDS];
    const char *size_names[MAX_OPERANDS];
    int n_sizes = 0;
    for (int i = 0; i < k->n_symbols; i++) {
        if (k->symbols[i] && n_sizes == MAX_OPERANDS)
            FAIL(p, "kernel @%s has too many sizes", text);
        if (k->symbols[i] && n_sizes < MAX_OPERANDS)
            size_names[n_sizes++] = p->module->symbols[i];
    }
    bool given[MAX_OPERANDS] = {false};
    parse_expect(p, "(");
    while (!p->failed && !parse_is(p, ")")) {
        struct lexer before = p->lex;
        bool named = p->lex.token.kind == TOKEN_NAME;
        lex_next(&p->lex);
        named = named && parse_is(p, "=");
        if (!named) {
            p->lex = before;
            add_operand(p, s);
        } else {
            int i = 0;
            while (i < n_sizes && (strlen(size_names[i]) != before.token.length ||
                                   memcmp(size_names[i], before.token.text, before.token.length)))
                i++;
            if (i == n_sizes || given[i]) {
                FAIL(p, i == n_sizes ? "kernel @%s has no size '%.*s'" : "kernel @%s gets its size '%.*s' twice", text,
                     (int)before.token.length, before.token.text);
                return;
            }
            lex_next(&p->lex);
            given[i] = true;
            sizes[i] = parse_expression(p);
        }
        if (!parse_accept(p, ","))
            break;
    }
    parse_expect(p, ")");
    if (!p->failed && parse_accept(p, "least"))
        s->attrs[s->n_attrs++] = (struct attr){ATTR_LEAST, {.i = parse_int(p)}};
    if (!p->failed && s->n_operands != k->n_params)
        FAIL_AT(p, s->loc, "kernel @%s has %d parameters, and %d are given", text, k->n_params, s->n_operands);
    for (int i = 0; i < n_sizes && !p->failed; i++) {
        if (!given[i])
            FAIL_AT(p, s->loc, "kernel @%s takes its size %s, as in %s = %%n", text, size_names[i], size_names[i]);
        else if (s->n_operands == MAX_OPERANDS)
            FAIL_AT(p, s->loc, "more than %d operands", MAX_OPERANDS);
        else
            s->operands[s->n_operands++] = sizes[i];
    }
    for (int i = 0; i < s->n_operands && !p->failed; i++) {
        struct operand *o = &s->operands[i];
        o->value = parse_materialise(p, o, i < k->n_params ? k->params[i]->type->dtype : DTYPE_INDEX);
        o->literal = false;
        p->failed |= !o->value;
    }
}

// Of a scalar operation, which may be a parameter of the kernel: its name need not stand here.
static void parse_operands(struct parser *p, const struct op_info *info, struct statement *s)
{
    for (int i = 0; i < info->n_operands && !p->failed; i++) {
        struct loc loc;
        const char *found = parse_instead(p, &loc);
        if (i && !parse_accept(p, ","))
            FAIL_AT(p, loc, "expected ',', found %s; %s takes %d operands", found, info->name, info->n_operands);
        else
            add_operand(p, s);
    }
}

static void parse_plain(struct parser *p, enum opcode code, struct statement *s)
{
    const struct op_info *info = &op_info[code];
    if (code == OP_LAUNCH)
        parse_launch(p, s);
    else if (info->format)
        parse_formatted(p, s, info->format);
    else
        parse_operands(p, info, s);
    if (!p->failed && parse_accept(p, ":"))
        s->type = parse_type(p);
    for (int i = 0; i < s->n_attrs && !p->failed; i++)
        if (attr_info[s->attrs[i].key].kind == ATTR_KIND_DATA)
            parse_data_finish(p, &s->attrs[i].data, s->type);
    struct value *values[MAX_OPERANDS];
    for (int i = 0; i < s->n_operands && !p->failed; i++)
        if (!(values[i] = parse_materialise(p, &s->operands[i], literal_dtype(code, s, i))))
            p->failed = true;
    int n_results = info->n_results;
    if (!p->failed && s->n_names != n_results)
        FAIL_AT(p, s->loc, "%s has %d result%s and %d name%s", info->name, n_results, n_results == 1 ? "" : "s",
                s->n_names, s->n_names == 1 ? "" : "s");
    if (!p->failed && !p->lex.token.first && p->lex.token.kind != TOKEN_END && !parse_is(p, "}"))
        FAIL(p, "expected the end of the line, found %s", parse_seen(p));
    struct op *op = NULL;
    if (!p->failed) {
        p->b.loc = s->loc;
        p->b.failed = false;
        op = build_op(&p->b, code, s->n_operands, values, s->n_attrs, s->attrs, n_results, &s->type);
        p->failed |= p->b.failed;
    }
    if (!p->failed)
        check_constants(p, code, s, op);
    bind_results(p, s, p->failed ? NULL : op);
}

static void parse_statement(struct parser *p)
{
    struct statement s = {.loc = parse_here(p)};
    const char *start = p->lex.token.start;
    p->failed = false;
    while (p->lex.token.kind == TOKEN_VALUE && s.n_names < MAX_OPERANDS) {
        s.names[s.n_names++] = p->lex.token;
        lex_next(&p->lex);
        if (!parse_accept(p, ","))
            break;
    }
    if (s.n_names)
        parse_expect(p, "=");
    struct token t = p->lex.token;
    const struct parameter *q = t.kind == TOKEN_NAME ? parse_find_parameter(p, t.text, t.length) : NULL;
    enum opcode code = q && q->kind == PARAMETER_OPCODE ? q->opcode
                       : t.kind == TOKEN_NAME           ? opcode_from_name(t.text, t.length)
                                                        : OP_NONE;
    if (code != OP_NONE)
        lex_next(&p->lex);
    else if (p->faulty_parameters && t.kind == TOKEN_NAME)
        p->failed = true; // perhaps an operation by the name of a parameter
    else
        FAIL(p, "expected an operation, found %s", parse_seen(p));
    if (p->failed || code == OP_NONE) {
        bind_results(p, &s, NULL);
    } else if (op_info[code].n_blocks) {
        if (p->depth == MAX_DEPTH) {
            FAIL(p, "nested too deeply");
            parse_skip_block(p);
        } else {
            p->depth++;
            parse_structured(p, code, &s);
            p->depth--;
        }
    } else {
        parse_plain(p, code, &s);
    }
    if (p->failed && p->lex.token.start == start)
        lex_next(&p->lex);
    // On to the next line, or behind the block that this one begins.
    while (p->failed && p->lex.token.kind != TOKEN_END && !p->lex.token.first && !parse_is(p, "}")) {
        if (parse_is(p, "{"))
            parse_skip_block(p);
        else
            lex_next(&p->lex);
    }
}

void parse_block(struct parser *p, struct block *b)
{
    if (parse_expect(p, "{"))
        parse_statements(p, b);
}

void parse_statements(struct parser *p, struct block *b)
{
    build_enter(&p->b, b);
    while (p->lex.token.kind != TOKEN_END && !parse_is(p, "}")) {
        parse_statement(p);
        build_enter(&p->b, b);
    }
    p->failed = false;
    parse_expect(p, "}");
}
