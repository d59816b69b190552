// Sizes and strides: numbers, names, and expressions of these, which become the canonical sizes of dims.h.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ir/dims.h"
#include "ir/parse_internal.h"

static dim div_dims(struct module *m, dim a, dim b)
{
    int64_t x, y;
    return dims_to_int(m, a, &x) && dims_to_int(m, b, &y) && y ? dims_from_int(m, x / y) : DIM_UNKNOWN;
}

static const struct size_function {
    const char *name;
    dim (*apply)(struct module *m, dim a, dim b);
} functions[] = {
    {"floordiv", dims_floordiv}, {"ceildiv", dims_ceildiv},    {"mod", dims_mod}, {"min", dims_min}, {"max", dims_max},
    {"div", div_dims},           {"broadcast", dims_broadcast}};

static const struct size_function *find_function(const char *name, size_t n)
{
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++)
        if (strlen(functions[i].name) == n && !memcmp(functions[i].name, name, n))
            return &functions[i];
    return NULL;
}

bool parse_dim_is_call(const char *name, size_t n, const char *end)
{
    const char *c = name + n;
    while (c < end && (*c == ' ' || *c == '\t'))
        c++;
    return c < end && *c == '(' && find_function(name, n);
}

dim parse_checked_dim(struct parser *p, int64_t x)
{
    if (!p->failed && x < 0)
        FAIL(p, "%lld is not a size or stride; these are at least 0", (long long)x);
    return p->failed ? 1 : x;
}

// What a name stands for, which may be negative. symbols: unknown names become symbols.
static dim meaning_of_name(struct parser *p, const char *name, size_t n, bool symbols)
{
    const struct parameter *q = parse_find_parameter(p, name, n);
    if (q && q->kind == PARAMETER_NUMBER && !q->number.is_float)
        return dims_from_int(p->module, q->number.i);
    struct lexer word = {.token = {.kind = TOKEN_NAME, .text = name, .length = n}};
    if (q || !symbols || lex_is(&word, "inf") || lex_is(&word, "nan")) {
        FAIL_UNKNOWN(p, parse_here(p), "'%.*s' is not a compile-time size", (int)n, name);
        return 1;
    }
    // The sizes of a graph or host function are those that its parameters name.
    if (!p->declares && p->b.function->kind != FUNCTION_KERNEL) {
        int known = parse_known_symbol(p, name, n);
        if (known < 0)
            FAIL_UNKNOWN(p, parse_here(p), "'%.*s' is not a size of a parameter", (int)n, name);
        return known < 0 ? 1 : dim_symbol(known);
    }
    // A size may be fixed with -D; it is then a compile-time parameter from here on.
    const char *given = parse_take_define(p, name, n);
    if (given) {
        char *end;
        errno = 0;
        long long size = strtoll(given, &end, 10);
        if (*end || end == given || size < 0 || errno) {
            FAIL(p, "-D %.*s=%s is not a size", (int)n, name, given);
            return 1;
        }
        parse_add_parameter(p, (struct parameter){.name = name, .length = n, .number = {.i = size, .f = (double)size}});
        return dims_from_int(p->module, size);
    }
    return dim_symbol(module_symbol(p->module, name, n));
}

// A size is not negative; in a kernel, which gets its sizes as arguments, it is a number or a name.
static dim check_size(struct parser *p, dim d)
{
    int64_t x;
    if (p->failed)
        return 1;
    if (dims_to_int(p->module, d, &x))
        return parse_checked_dim(p, x);
    if (d != DIM_UNKNOWN && p->b.function->kind == FUNCTION_KERNEL && dims_is_expression(p->module, d)) {
        FAIL(p, "%s is not a size of a kernel; give it a name, and pass its value",
             dim_string(&p->module->arena, p->module, d));
        return 1;
    }
    return d;
}

dim parse_named_dim(struct parser *p, const char *name, size_t n, bool symbols)
{
    if (name[0] >= '0' && name[0] <= '9') {
        bool ok;
        struct number x = lex_number(&(struct token){.text = name, .length = n}, &ok);
        if (!ok || x.is_float)
            FAIL(p, "'%.*s' is not a size", (int)n, name);
        return x.i;
    }
    return check_size(p, meaning_of_name(p, name, n, symbols));
}

// ---- Expressions -----------------------------------------------------------------------------------------------

static dim parse_sum(struct parser *p);
static dim parse_call(struct parser *p);

// An expression or the rest of a call. How deep it nests is its own affair, not that of the blocks around it: what is
// printed reads back anywhere.
static dim parse_whole(struct parser *p, dim (*parse)(struct parser *p))
{
    int outer = p->depth;
    p->depth = 0;
    dim d = parse(p);
    p->depth = outer;
    return d;
}

// Reports a size that does not exist.
static dim known(struct parser *p, dim d, struct loc loc)
{
    if (!p->failed && d == DIM_UNKNOWN)
        FAIL_AT(p, loc, "this size is not known: it divides by 0, or is too large");
    return p->failed ? 1 : d;
}

// Up to its closing parenthesis.
static dim parse_call(struct parser *p)
{
    struct loc loc = parse_here(p);
    const struct size_function *f = find_function(p->lex.token.text, p->lex.token.length);
    lex_next(&p->lex);
    parse_expect(p, "(");
    dim a = p->failed ? 1 : parse_sum(p);
    parse_expect(p, ",");
    dim b = p->failed ? 1 : parse_sum(p);
    return p->failed ? 1 : known(p, f->apply(p->module, a, b), loc);
}

static dim parse_atom(struct parser *p)
{
    struct token t = p->lex.token;
    dim d = 1;
    if (p->depth > MAX_DEPTH) {
        FAIL(p, "nested too deeply");
        return d;
    }
    p->depth++;
    if (t.kind == TOKEN_NUMBER) {
        bool ok;
        struct number x = lex_number(&t, &ok);
        if (ok && x.is_float)
            FAIL(p, "expected a whole number");
        d = known(p, ok ? dims_from_int(p->module, x.i) : DIM_UNKNOWN, parse_here(p));
        lex_next(&p->lex);
    } else if (parse_accept(p, "-")) {
        d = dims_sub(p->module, 0, parse_atom(p));
    } else if (parse_accept(p, "(")) {
        d = parse_sum(p);
        parse_expect(p, ")");
    } else if (t.kind == TOKEN_NAME && parse_dim_is_call(t.text, t.length, p->lex.end)) {
        d = parse_call(p);
        parse_expect(p, ")");
    } else if (t.kind == TOKEN_NAME) {
        d = meaning_of_name(p, t.text, t.length, true);
        lex_next(&p->lex);
    } else {
        FAIL(p, "expected a size, found %s", parse_seen(p));
    }
    p->depth--;
    return d;
}

static dim parse_product_of_sizes(struct parser *p)
{
    dim d = parse_atom(p);
    while (!p->failed && parse_is(p, "*")) {
        struct loc loc = parse_here(p);
        lex_next(&p->lex);
        dim by = parse_atom(p);
        d = p->failed ? 1 : known(p, dims_mul(p->module, d, by), loc);
    }
    return d;
}

static dim parse_sum(struct parser *p)
{
    dim d = parse_product_of_sizes(p);
    while (!p->failed && (parse_is(p, "+") || parse_is(p, "-"))) {
        bool adds = parse_is(p, "+");
        struct loc loc = parse_here(p);
        lex_next(&p->lex);
        dim other = parse_product_of_sizes(p);
        if (!p->failed)
            d = known(p, adds ? dims_add(p->module, d, other) : dims_sub(p->module, d, other), loc);
    }
    return p->failed ? 1 : d;
}

dim parse_dim(struct parser *p)
{
    return check_size(p, parse_whole(p, parse_sum));
}

dim dims_parse(struct module *m, const char *text)
{
    struct diags faults; // nobody's
    diag_init(&faults);
    size_t n = strlen(text);
    struct parser p = {.text_end = text + n, .module = m, .diags = &faults, .declares = true};
    lex_init(&p.lex, text, n);
    dim d = parse_sum(&p);
    bool whole = !p.failed && p.lex.token.kind == TOKEN_END;
    diag_finish(&faults);
    return whole ? d : DIM_UNKNOWN;
}

dim parse_dim_in_shape(struct parser *p)
{
    dim d;
    if (p->lex.token.kind == TOKEN_NAME) {
        d = parse_whole(p, parse_call);
    } else {
        lex_next(&p->lex);
        d = parse_whole(p, parse_sum);
    }
    return check_size(p, d);
}

struct dims parse_dims(struct parser *p)
{
    dim v[MAX_OPERANDS];
    struct dims dims = {.v = v};
    bool list = parse_accept(p, "[");
    do {
        if (list && parse_is(p, "]"))
            break;
        if (dims.n == MAX_OPERANDS) {
            FAIL(p, "too many sizes");
            break;
        }
        v[dims.n++] = parse_whole(p, parse_sum);
    } while (list && !p->failed && parse_accept(p, ","));
    if (list)
        parse_expect(p, "]");
    dims.v = arena_copy(&p->module->arena, v, sizeof *v * (size_t)dims.n);
    return dims;
}
