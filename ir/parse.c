// Text -> IR, for kernels written by hand and for printed ones. docs/tile.md has the grammar.
//
// Errors are collected: after one, reading goes on at the next line, and values that the faulty line would have defined
// are silent about themselves.
#include <string.h>

#include "ir/parse_internal.h"

// ---- Statements ------------------------------------------------------------------------------------------------

static void parse_block(struct parser *p, struct block *b);

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
    int view = effect == EFFECT_WRITE ? 1 : effect == EFFECT_READ || code == OP_WINDOW || code == OP_EXTRACT ? 0 : -1;
    bool index = view >= 0 ? i > view : code == OP_SCRATCH || code == OP_ASSUME || (code == OP_REDUCE && i == 1);
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

static void bind_results(struct parser *p, const struct statement *s, const struct op *op)
{
    for (int i = 0; i < s->n_names; i++)
        parse_bind(p, s->names[i].text, s->names[i].length, op && i < op->n_results ? op->results[i] : NULL);
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
        if (o.literal) {
            p->b.loc = o.loc;
            if (!t)
                t = type_scalar(p->module, o.number.is_float ? DTYPE_F32 : DTYPE_INDEX);
            o.value = dtype_is_float(t->dtype) ? build_float(&p->b, t, o.number.f) : build_int(&p->b, t, o.number.i);
            o.literal = false;
        }
        s->operands[s->n_operands++] = o;
        if (!parse_accept(p, ","))
            break;
    }
    parse_expect(p, ")");
}

static void skip_block(struct parser *p)
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

static struct op *create_structured(struct parser *p, enum opcode code, struct statement *s)
{
    struct value *values[MAX_OPERANDS];
    struct type *types[MAX_OPERANDS] = {0};
    bool carries = code == OP_FOR || code == OP_WHILE;
    int carried = code == OP_FOR ? 3 : carries ? 0 : s->n_operands;
    for (int i = 0; i < s->n_operands; i++) {
        values[i] = parse_materialise(p, &s->operands[i], code == OP_IF ? DTYPE_I1 : DTYPE_INDEX);
        if (!values[i])
            return NULL;
        if (i >= carried)
            types[i - carried] = values[i]->type;
    }
    p->b.loc = s->loc;
    int n_results = code == OP_IF ? s->n_names : s->n_operands - carried;
    return build_op(&p->b, code, s->n_operands, values, 0, NULL, n_results, types);
}

// Reads a nested block in which names stand for the block's arguments.
static void parse_nested(struct parser *p, struct block *b, int n, const struct token *names)
{
    struct block *outer = p->b.block;
    int mark = p->n_bindings;
    for (int i = 0; i < n; i++)
        parse_bind(p, names[i].text, names[i].length, b->args[i]);
    parse_block(p, b);
    p->n_bindings = mark;
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
            skip_block(p);
        return;
    }
    if (code == OP_FOR)
        block_add_arg(p->b.function, op->blocks[0], NULL, type_scalar(p->module, DTYPE_INDEX));
    for (int i = code == OP_FOR ? 3 : 0; (code == OP_FOR || code == OP_WHILE) && i < s->n_operands; i++)
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
    if (code == OP_IF) {
        const struct op *end = block_terminator(op->blocks[0]);
        for (int i = 0; end && i < op->n_results && i < end->n_operands; i++)
            op->results[i]->type = end->operands[i]->type;
        if (parse_accept(p, "else"))
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

static void parse_plain(struct parser *p, enum opcode code, struct statement *s)
{
    const struct op_info *info = &op_info[code];
    parse_formatted(p, s,
                    info->format            ? info->format
                    : info->n_operands == 1 ? "%"
                    : info->n_operands == 2 ? "% , %"
                                            : "% , % , %");
    if (!p->failed && parse_accept(p, ":"))
        s->type = parse_type(p);
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
    if (code == OP_NONE)
        FAIL(p, "expected an operation, found %s", parse_seen(p));
    else
        lex_next(&p->lex);
    if (p->failed) {
        bind_results(p, &s, NULL);
    } else if (op_info[code].n_blocks) {
        if (p->depth == MAX_DEPTH) {
            FAIL(p, "nested too deeply");
            skip_block(p);
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
    if (p->failed) // on to the next line
        while (p->lex.token.kind != TOKEN_END && !p->lex.token.first && !parse_is(p, "}"))
            lex_next(&p->lex);
}

static void parse_block(struct parser *p, struct block *b)
{
    if (!parse_expect(p, "{"))
        return;
    build_enter(&p->b, b);
    while (p->lex.token.kind != TOKEN_END && !parse_is(p, "}")) {
        parse_statement(p);
        build_enter(&p->b, b);
    }
    p->failed = false;
    parse_expect(p, "}");
}

// ---- Kernels ---------------------------------------------------------------------------------------------------

static void parse_parameter(struct parser *p)
{
    struct token name = p->lex.token;
    if (name.kind != TOKEN_NAME) {
        FAIL(p, "expected the name of a compile-time parameter, found %s", parse_seen(p));
        return;
    }
    lex_next(&p->lex);
    struct parameter q = {.name = name.text, .length = name.length};
    if (parse_accept(p, ":")) {
        if (parse_accept(p, "dtype"))
            q.kind = PARAMETER_DTYPE;
        else if (parse_accept(p, "op"))
            q.kind = PARAMETER_OPCODE;
        else
            FAIL(p, "expected 'dtype' or 'op', found %s", parse_seen(p));
    }
    const char *given = parse_take_define(p, name.text, name.length);
    bool has_default = parse_accept(p, "=");
    if (!given && !has_default)
        FAIL(p, "'%.*s' has no default; give it with -D %.*s=...", (int)name.length, name.text, (int)name.length,
             name.text);
    // A -D value replaces the default's text.
    for (int i = has_default ? 0 : 1; i < 2 && !p->failed; i++) {
        struct lexer outer = p->lex;
        if (i == 1) {
            if (!given)
                break;
            lex_init(&p->lex, given, strlen(given));
            p->lex.line = p->lex.token.line = outer.token.line;
        }
        struct attr a = {.key = q.kind == PARAMETER_DTYPE    ? ATTR_TO
                                : q.kind == PARAMETER_OPCODE ? ATTR_COMBINE
                                                             : ATTR_VALUE};
        parse_attr(p, &a);
        q.number = a.number;
        if (q.kind == PARAMETER_DTYPE)
            q.dtype = a.dtype;
        if (q.kind == PARAMETER_OPCODE)
            q.opcode = a.opcode;
        if (i == 1) {
            if (!p->failed && p->lex.token.kind != TOKEN_END)
                FAIL(p, "-D %.*s=%s is not a value", (int)name.length, name.text, given);
            p->lex = outer;
        }
    }
    parse_add_parameter(p, q);
}

static void parse_params(struct parser *p)
{
    parse_expect(p, "(");
    while (!p->failed && !parse_is(p, ")")) {
        struct token name = p->lex.token;
        if (name.kind != TOKEN_VALUE)
            FAIL(p, "expected a parameter, found %s", parse_seen(p));
        lex_next(&p->lex);
        if (!p->failed)
            parse_expect(p, ":");
        struct type *t = p->failed ? NULL : parse_type(p);
        if (!t)
            return;
        if (t->kind == TYPE_TILE)
            FAIL(p, "a kernel takes views and scalars, not tiles");
        if (parse_lookup(p, name.text, name.length))
            FAIL(p, "%%%.*s stands twice", (int)name.length, name.text);
        parse_bind(p, name.text, name.length, function_add_param(p->b.function, NULL, t));
        for (int i = 0; i < t->rank; i++) {
            if (dim_is_symbol(t->dims[i]))
                function_symbol(p->b.function, dim_symbol_id(t->dims[i]));
            if (t->strided && dim_is_symbol(t->strides[i]))
                function_symbol(p->b.function, dim_symbol_id(t->strides[i]));
        }
        if (!parse_accept(p, ","))
            break;
    }
    parse_expect(p, ")");
}

static void parse_grid(struct parser *p)
{
    build_enter(&p->b, p->b.function->grid);
    if (parse_is(p, "{")) {
        int mark = p->n_bindings;
        parse_block(p, p->b.function->grid);
        p->n_bindings = mark;
        return;
    }
    struct value *sizes[3];
    int n = 0;
    parse_expect(p, "[");
    do {
        struct operand o = parse_expression(p);
        if (p->failed || !(sizes[n++] = parse_materialise(p, &o, DTYPE_INDEX)))
            return;
    } while (n < 3 && parse_accept(p, ","));
    parse_expect(p, "]");
    p->b.loc = parse_here(p);
    if (!p->failed)
        build_yield(&p->b, n, sizes);
}

// To behind the next block.
static void skip_kernel(struct parser *p)
{
    while (p->lex.token.kind != TOKEN_END && !parse_is(p, "{"))
        lex_next(&p->lex);
    skip_block(p);
}

static void parse_kernel(struct parser *p)
{
    struct loc loc = parse_here(p);
    struct token name = p->lex.token;
    p->n_parameters = p->n_bindings = 0;
    if (name.kind != TOKEN_SYMBOL) {
        FAIL(p, "expected the kernel's name, as in @matmul, found %s", parse_seen(p));
        skip_kernel(p);
        return;
    }
    lex_next(&p->lex);
    const char *text = arena_strndup(&p->module->arena, name.text, name.length);
    if (module_function(p->module, text))
        FAIL_AT(p, loc, "a kernel named @%s stands above", text);
    p->b = (struct builder){.function = function_create(p->module, text, loc), .diags = p->diags, .loc = loc};
    p->b.block = p->b.function->body;
    if (parse_accept(p, "<")) {
        do
            parse_parameter(p);
        while (!p->failed && parse_accept(p, ","));
        parse_expect(p, ">");
    }
    if (!p->failed)
        parse_params(p);
    bool grid = !p->failed && parse_accept(p, "grid");
    if (grid)
        parse_grid(p);
    if (p->failed || !parse_is(p, "{")) {
        FAIL(p, "expected '{', found %s", parse_seen(p));
        skip_kernel(p);
        return;
    }
    if (!grid) { // the printed form has the grid inside
        lex_next(&p->lex);
        if (!parse_accept(p, "grid"))
            FAIL(p, "expected the grid, as in grid [ceildiv(M, 128)], found %s", parse_seen(p));
        if (!p->failed)
            parse_grid(p);
        build_enter(&p->b, p->b.function->body);
        while (p->lex.token.kind != TOKEN_END && !parse_is(p, "}")) {
            parse_statement(p);
            build_enter(&p->b, p->b.function->body);
        }
        p->failed = false;
        parse_expect(p, "}");
    } else {
        parse_block(p, p->b.function->body);
    }
}

struct module *parse_module(const char *text, size_t length, const char *file, int n_defines,
                            const struct define *defines, struct diags *diags)
{
    int errors = diags->n_errors;
    struct module *m = module_create();
    struct parser p = {.module = m,
                       .diags = diags,
                       .file = arena_strdup(&m->arena, file),
                       .defines = defines,
                       .n_defines = n_defines,
                       .define_used = ARENA_ARRAY(&m->arena, bool, n_defines)};
    lex_init(&p.lex, text, length);
    while (p.lex.token.kind != TOKEN_END) {
        p.failed = false;
        if (parse_accept(&p, "kernel")) {
            parse_kernel(&p);
        } else {
            FAIL(&p, "expected 'kernel', found %s", parse_seen(&p));
            while (p.lex.token.kind != TOKEN_END && !(p.lex.token.first && parse_is(&p, "kernel")))
                lex_next(&p.lex);
        }
    }
    if (!m->first_function && errors == diags->n_errors)
        diag_error(diags, (struct loc){.file = p.file}, "there is no kernel in this file");
    for (int i = 0; i < n_defines && errors == diags->n_errors; i++)
        if (!p.define_used[i])
            diag_error(diags, (struct loc){.file = p.file}, "-D %s: no kernel has a parameter or size of this name",
                       defines[i].name);
    if (errors == diags->n_errors)
        return m;
    module_destroy(m);
    return NULL;
}
