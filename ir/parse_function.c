// Text -> IR: modules and what is around the statements of their functions. docs/tile.md and docs/graph.md have the
// grammar.
#include <string.h>

#include "ir/dims.h"
#include "ir/parse_internal.h"

// ---- Faults ----------------------------------------------------------------------------------------------------

// A fault in a signature leaves the function's body readable: what the signature should have named is not asked for
// there, and everything else is checked.

static const char *const kind_names[] = {"kernel", "graph", "host"};

// The kind of function that the current word begins, or -1.
static int function_begins(const struct parser *p)
{
    for (int kind = 0; kind < 3; kind++)
        if (parse_is(p, kind_names[kind]))
            return kind;
    return -1;
}

// At what stands behind the parameters, or beyond the function.
static bool is_behind_parameters(const struct parser *p)
{
    static const char *const words[] = {"schedule", "grid", "->", "outputs", "{"};
    bool behind = p->lex.token.kind == TOKEN_END || (p->lex.token.first && function_begins(p) >= 0);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        behind |= parse_is(p, words[i]);
    return behind;
}

// To the body's brace, after a fault in what stands between the parameters and it.
static void go_to_body(struct parser *p)
{
    while (p->lex.token.kind != TOKEN_END && !parse_is(p, "{") && !(p->lex.token.first && function_begins(p) >= 0))
        lex_next(&p->lex);
    p->failed = false;
}

static void note_faulty(struct parser *p)
{
    if (p->n_faulty == p->room_faulty) {
        p->room_faulty = p->room_faulty * 2 + 16;
        struct function **grown = ARENA_ARRAY(&p->module->arena, struct function *, p->room_faulty);
        if (p->n_faulty)
            memcpy(grown, p->faulty, sizeof *grown * (size_t)p->n_faulty);
        p->faulty = grown;
    }
    p->faulty[p->n_faulty++] = p->b.function;
}

// ---- Parameters ------------------------------------------------------------------------------------------------

static void parse_parameter(struct parser *p)
{
    struct token name = p->lex.token;
    if (name.kind != TOKEN_NAME) {
        FAIL(p, "expected the name of a compile-time parameter, found %s", parse_seen(p));
        return;
    }
    lex_next(&p->lex);
    struct parameter q = {.name = name.text, .length = name.length};
    if (parse_find_parameter(p, name.text, name.length))
        FAIL(p, "'%.*s' stands twice", (int)name.length, name.text);
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
    struct operand number = {.literal = true, .number = q.number, .loc = parse_here(p)};
    if (!p->failed && q.kind == PARAMETER_NUMBER && !q.number.is_float)
        parse_check_literal(p, &number, DTYPE_I64);
    if (!p->failed)
        parse_add_parameter(p, q);
}

static void parse_parameters(struct parser *p)
{
    do {
        p->failed = false;
        parse_parameter(p);
        p->faulty_parameters |= p->failed;
    } while (parse_accept(p, ","));
    parse_expect(p, ">");
    p->faulty_parameters |= p->failed;
    while (p->failed && !parse_is(p, "(") && !is_behind_parameters(p))
        lex_next(&p->lex);
    p->failed = false;
    p->faulty_signature |= p->faulty_parameters;
}

// The names that users know inputs and outputs by, as they are read.
struct names {
    const char **v;
    int n, room;
    bool any;
};

static void add_name(struct parser *p, struct names *names, const char *name)
{
    if (names->n == names->room) {
        names->room = names->room * 2 + 16;
        const char **grown = ARENA_ARRAY(&p->module->arena, const char *, names->room);
        if (names->n)
            memcpy(grown, names->v, sizeof *grown * (size_t)names->n);
        names->v = grown;
    }
    names->v[names->n++] = name;
    names->any |= name != NULL;
}

static void use_symbol(void *function, int id)
{
    function_symbol(function, id);
}

static void parse_param(struct parser *p, struct names *names)
{
    enum function_kind kind = p->b.function->kind;
    struct token name = p->lex.token;
    if (name.kind != TOKEN_VALUE) {
        FAIL(p, "expected a parameter, found %s", parse_seen(p));
        return;
    }
    lex_next(&p->lex);
    bool named = kind != FUNCTION_KERNEL && p->lex.token.kind == TOKEN_STRING;
    add_name(p, names, named ? parse_string(p) : NULL);
    if (!p->failed)
        parse_expect(p, ":");
    struct type *t = p->failed ? NULL : parse_type(p);
    if (t && kind == FUNCTION_KERNEL && t->kind == TYPE_TILE)
        FAIL(p, "a kernel takes views and scalars, not tiles");
    if (parse_lookup(p, name.text, name.length))
        FAIL(p, "%%%.*s stands twice", (int)name.length, name.text);
    parse_bind(p, name.text, name.length, p->failed || !t ? NULL : function_add_param(p->b.function, NULL, t));
    for (int i = 0; t && i < t->rank; i++) {
        dims_symbols(p->module, t->dims[i], use_symbol, p->b.function);
        if (t->strided)
            dims_symbols(p->module, t->strides[i], use_symbol, p->b.function);
    }
}

static void parse_params(struct parser *p, struct names *names)
{
    parse_expect(p, "(");
    while (p->failed || !parse_is(p, ")")) {
        if (!p->failed)
            parse_param(p, names);
        if (!p->failed && parse_accept(p, ","))
            continue;
        if (!p->failed && parse_is(p, ")"))
            break;
        FAIL(p, "expected ')', found %s", parse_seen(p));
        p->faulty_signature = true;
        while (p->lex.token.kind != TOKEN_VALUE && !is_behind_parameters(p)) // to the next one
            lex_next(&p->lex);
        p->failed = false;
        if (p->lex.token.kind != TOKEN_VALUE)
            return;
    }
    lex_next(&p->lex);
}

// `-> ("logits", ?)`
static void parse_result_names(struct parser *p, struct names *names)
{
    parse_expect(p, "(");
    while (!p->failed && !parse_is(p, ")")) {
        add_name(p, names, parse_accept(p, "?") ? NULL : parse_string(p));
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
        p->scope = mark;
        parse_block(p, p->b.function->grid);
        p->n_bindings = mark;
        p->scope = 0;
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

// `schedule "product-m384-n768-k3072-f32" {rows = 128, depth = 1024}`
static void parse_schedule(struct parser *p)
{
    struct schedule *s = p->b.function->schedule = schedule_create(&p->module->arena);
    if (p->lex.token.kind == TOKEN_STRING)
        s->problem = parse_string(p);
    parse_expect(p, "{");
    while (!p->failed && !parse_is(p, "}")) {
        struct token name = p->lex.token;
        enum schedule_key key = schedule_key_from_name(name.text, name.length);
        if (name.kind != TOKEN_NAME || key == SCHEDULE_COUNT) {
            FAIL(p, "expected what a schedule may say, such as rows or register_rows, found %s", parse_seen(p));
            break;
        }
        const struct schedule_info *info = &schedule_info[key];
        lex_next(&p->lex);
        parse_expect(p, "=");
        struct loc loc = parse_here(p);
        int64_t value = p->failed ? 0 : parse_int(p);
        if (!p->failed && (value < info->least || value > info->most))
            FAIL_AT(p, loc, "%s is from %lld to %lld", info->name, (long long)info->least, (long long)info->most);
        if (!p->failed && s->value[key] != SCHEDULE_OPEN)
            FAIL_AT(p, loc, "%s stands twice", info->name);
        if (!p->failed && info->stage == SCHEDULE_STAGE_LOWER && !s->problem)
            FAIL_AT(p, loc, "%s is chosen when graphs are lowered; a kernel's own tiles are in its text", info->name);
        s->value[key] = value;
        if (!parse_accept(p, ","))
            break;
    }
    if (!p->failed)
        parse_expect(p, "}");
    // On with the grid, or the body, behind the closing brace.
    for (bool closed = false; p->failed && p->lex.token.kind != TOKEN_END; lex_next(&p->lex)) {
        p->failed = !parse_is(p, "grid") && !(closed && parse_is(p, "{"));
        if (!p->failed)
            return;
        closed |= parse_is(p, "}");
    }
}

// ---- Bodies ----------------------------------------------------------------------------------------------------

// Past the body's brace, which has its own errors after one in front of it; false if there is none.
static bool enter_body(struct parser *p)
{
    if (!p->failed && !parse_is(p, "{"))
        FAIL_UNKNOWN(p, parse_here(p), "expected '{', found %s", parse_seen(p));
    if (p->failed)
        go_to_body(p);
    return parse_accept(p, "{");
}

// A kernel's grid stands before its body, or in it, as it is printed.
static void parse_kernel_body(struct parser *p)
{
    struct function *k = p->b.function;
    if (parse_accept(p, "schedule"))
        parse_schedule(p);
    bool grid = parse_accept(p, "grid");
    if (grid)
        parse_grid(p);
    if (!enter_body(p))
        return;
    if (!grid && !parse_accept(p, "grid"))
        FAIL(p, "expected the grid, as in grid [ceildiv(M, 128)], found %s", parse_seen(p));
    if (!grid && !p->failed)
        parse_grid(p);
    parse_statements(p, k->body);
}

static void parse_graph_body(struct parser *p, const struct names *inputs)
{
    struct function *g = p->b.function;
    struct names outputs = {0};
    struct loc loc = parse_here(p);
    int errors = p->diags->n_errors;
    bool named = parse_accept(p, "->");
    if (named)
        parse_result_names(p, &outputs);
    if (!enter_body(p))
        return;
    parse_statements(p, g->body);
    const struct op *end = block_terminator(g->body);
    g->n_inputs = g->n_params;
    g->n_outputs = end ? end->n_operands : 0;
    g->input_names = inputs->any ? inputs->v : NULL;
    g->output_names = outputs.any ? outputs.v : NULL;
    if (named && errors == p->diags->n_errors && outputs.n != g->n_outputs)
        FAIL_AT(p, loc, "graph @%s yields %d values and names %d", g->name, g->n_outputs, outputs.n);
}

static void parse_host_body(struct parser *p, const struct names *names)
{
    struct function *h = p->b.function;
    struct loc loc = parse_here(p);
    int64_t n = 0;
    if (!parse_accept(p, "outputs"))
        FAIL(p, "expected how many of the parameters are outputs, as in outputs 1, found %s", parse_seen(p));
    else
        n = parse_int(p);
    if (!p->failed && (n < 0 || n > h->n_params))
        FAIL_AT(p, loc, "host @%s has %d parameters; %lld of them cannot be outputs", h->name, h->n_params,
                (long long)n);
    if (!p->failed) {
        h->n_outputs = (int)n;
        h->n_inputs = h->n_params - h->n_outputs;
        h->input_names = names->any ? names->v : NULL;
        h->output_names = names->any ? names->v + h->n_inputs : NULL;
    }
    if (!enter_body(p))
        return;
    if (parse_accept(p, "arena")) {
        int mark = p->n_bindings;
        p->scope = mark;
        parse_block(p, h->grid);
        p->n_bindings = mark;
        p->scope = 0;
    }
    parse_statements(p, h->body);
}

static void parse_function(struct parser *p, enum function_kind kind)
{
    struct loc loc = parse_here(p);
    struct token name = p->lex.token;
    struct names names = {0};
    p->n_parameters = p->n_bindings = p->scope = 0;
    p->faulty_signature = p->faulty_parameters = p->poisoned = false;
    bool named = name.kind == TOKEN_SYMBOL;
    if (named)
        lex_next(&p->lex);
    else
        diag_error(p->diags, loc, "expected the %s's name, as in @%s, found %s", kind_names[kind],
                   kind == FUNCTION_KERNEL ? "matmul" : "main", parse_seen(p));
    p->nameless |= !named;
    while (!named && !parse_is(p, "<") && !parse_is(p, "(") && !is_behind_parameters(p))
        lex_next(&p->lex);
    const char *text = named ? arena_strndup(&p->module->arena, name.text, name.length) : "";
    const struct function *same = module_function(p->module, text);
    if (same && named)
        diag_error(p->diags, loc, "a %s named @%s stands above", kind_names[same->kind], text);
    p->b = (struct builder){.function = function_create(p->module, text, loc), .diags = p->diags, .loc = loc};
    p->b.function->kind = kind;
    p->b.block = p->b.function->body;
    p->declares = true;
    if (parse_accept(p, "<"))
        parse_parameters(p);
    if (named || parse_is(p, "("))
        parse_params(p, &names);
    p->declares = false;
    if (p->faulty_signature)
        note_faulty(p);
    if (kind == FUNCTION_KERNEL)
        parse_kernel_body(p);
    else if (kind == FUNCTION_GRAPH)
        parse_graph_body(p, &names);
    else
        parse_host_body(p, &names);
}

struct module *parse_module(const char *text, size_t length, const char *file, int n_defines,
                            const struct define *defines, struct diags *diags)
{
    int errors = diags->n_errors;
    struct module *m = module_create();
    struct arena_hold hold;
    module_hold(&hold, m);
    struct parser p = {.module = m,
                       .diags = diags,
                       .file = arena_strdup(&m->arena, file),
                       .defines = defines,
                       .n_defines = n_defines,
                       .define_used = ARENA_ARRAY(&m->arena, bool, n_defines)};
    int n_sound = 0, room = 0;
    struct function **sound = NULL; // those without errors
    lex_init(&p.lex, text, length);
    while (p.lex.token.kind != TOKEN_END) {
        int before = diags->n_errors;
        p.failed = false;
        int kind = function_begins(&p);
        if (kind >= 0) {
            lex_next(&p.lex);
            parse_function(&p, (enum function_kind)kind);
            if (n_sound == room) {
                struct function **grown = ARENA_ARRAY(&m->arena, struct function *, room = room * 2 + 16);
                if (n_sound)
                    memcpy(grown, sound, sizeof *grown * (size_t)n_sound);
                sound = grown;
            }
            if (before == diags->n_errors && !p.poisoned)
                sound[n_sound++] = p.b.function;
        } else {
            FAIL(&p, "expected 'kernel', 'graph' or 'host', found %s", parse_seen(&p));
            while (p.lex.token.kind != TOKEN_END && !(p.lex.token.first && function_begins(&p) >= 0))
                lex_next(&p.lex);
        }
    }
    if (!m->first_function && errors == diags->n_errors)
        diag_error(diags, (struct loc){.file = p.file}, "there is no kernel, graph or host function in this file");
    for (int i = 0; i < n_defines && errors == diags->n_errors; i++)
        if (!p.define_used[i])
            diag_error(diags, (struct loc){.file = p.file}, "-D %s: no function has a parameter or size of this name",
                       defines[i].name);
    bool whole = errors == diags->n_errors;
    for (int i = 0; i < n_sound && !whole; i++)
        verify_function(sound[i], diags);
    arena_let_go(&hold);
    if (whole)
        return m;
    module_destroy(m);
    return NULL;
}
