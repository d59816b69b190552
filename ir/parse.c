// Text -> IR, for kernels written by hand and for printed ones. docs/tile.md has the grammar.
//
// Errors are collected: after one, reading goes on at the next line, and values that the faulty line would have defined
// are silent about themselves.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ir/layout.h"
#include "ir/lex.h"
#include "ir/scalar.h"

#define MAX_DEPTH 200

// A compile-time parameter with its value.
struct parameter {
    const char *name;
    size_t length;
    enum { PARAMETER_NUMBER, PARAMETER_DTYPE, PARAMETER_OPCODE } kind;
    struct number number;
    enum dtype dtype;
    enum opcode opcode;
};

// A name in scope. value NULL: its definition was faulty.
struct binding {
    const char *name;
    size_t length;
    struct value *value;
};

// What stands where an operand is expected; a literal gets its type from the other operands.
struct operand {
    bool literal;
    struct number number;
    struct value *value; // NULL with !literal: poisoned
    struct loc loc;
};

struct parser {
    struct lexer lex;
    const char *text_end, *file;
    struct module *module;
    struct diags *diags;
    struct builder b;
    const struct define *defines;
    int n_defines;
    bool *define_used;
    struct parameter *parameters;
    int n_parameters;
    struct binding *bindings;
    int n_bindings, room_bindings;
    int depth;
    bool failed; // the current statement
};

static struct loc here(const struct parser *p)
{
    return (struct loc){.file = p->file, .line = p->lex.token.line};
}

// Reports the first error of a statement.
#define FAIL(p, ...) FAIL_AT(p, here(p), __VA_ARGS__)
#define FAIL_AT(p, loc, ...)                                                                                           \
    do {                                                                                                               \
        if (!(p)->failed)                                                                                              \
            diag_error((p)->diags, loc, __VA_ARGS__);                                                                  \
        (p)->failed = true;                                                                                            \
    } while (0)

static const char *seen(const struct parser *p)
{
    const struct token *t = &p->lex.token;
    if (t->kind == TOKEN_END)
        return "the end of the file";
    size_t n = (size_t)(p->lex.p - t->start);
    return arena_printf(&p->module->arena, "'%.*s'", (int)(n < 40 ? n : 40), t->start);
}

static bool is(const struct parser *p, const char *word)
{
    return lex_is(&p->lex, word);
}

static bool accept(struct parser *p, const char *word)
{
    if (!is(p, word))
        return false;
    lex_next(&p->lex);
    return true;
}

static bool expect(struct parser *p, const char *word)
{
    if (accept(p, word))
        return true;
    FAIL(p, "expected '%s', found %s", word, seen(p));
    return false;
}

// ---- Names -----------------------------------------------------------------------------------------------------

static void bind(struct parser *p, const char *name, size_t length, struct value *v)
{
    if (p->n_bindings == p->room_bindings) {
        int room = p->room_bindings * 2 + 32;
        struct binding *grown = ARENA_ARRAY(&p->module->arena, struct binding, room);
        if (p->n_bindings)
            memcpy(grown, p->bindings, sizeof *grown * (size_t)p->n_bindings);
        p->bindings = grown;
        p->room_bindings = room;
    }
    p->bindings[p->n_bindings++] = (struct binding){name, length, v};
    bool number = length > 0 && name[0] >= '0' && name[0] <= '9';
    if (v && !number && !v->name)
        v->name = arena_strndup(&p->module->arena, name, length);
}

static const struct binding *lookup(const struct parser *p, const char *name, size_t length)
{
    for (int i = p->n_bindings - 1; i >= 0; i--)
        if (p->bindings[i].length == length && !memcmp(p->bindings[i].name, name, length))
            return &p->bindings[i];
    return NULL;
}

static const struct parameter *parameter(const struct parser *p, const char *name, size_t length)
{
    for (int i = 0; i < p->n_parameters; i++)
        if (p->parameters[i].length == length && !memcmp(p->parameters[i].name, name, length))
            return &p->parameters[i];
    return NULL;
}

static void add_parameter(struct parser *p, struct parameter q)
{
    struct parameter *grown = ARENA_ARRAY(&p->module->arena, struct parameter, p->n_parameters + 1);
    if (p->n_parameters)
        memcpy(grown, p->parameters, sizeof q * (size_t)p->n_parameters);
    grown[p->n_parameters++] = q;
    p->parameters = grown;
}

// The value given with -D, or NULL.
static const char *take_define(struct parser *p, const char *name, size_t length)
{
    const char *given = NULL;
    for (int i = 0; i < p->n_defines; i++)
        if (strlen(p->defines[i].name) == length && !memcmp(p->defines[i].name, name, length)) {
            given = p->defines[i].value;
            p->define_used[i] = true;
        }
    return given;
}

// The symbol of that name, if the kernel has it.
static int known_symbol(const struct parser *p, const char *name, size_t length)
{
    for (int i = 0; i < p->module->n_symbols; i++)
        if (strlen(p->module->symbols[i]) == length && !memcmp(p->module->symbols[i], name, length))
            return i < p->b.kernel->n_symbols && p->b.kernel->symbols[i] ? i : -1;
    return -1;
}

// ---- Operands and expressions ----------------------------------------------------------------------------------

static struct operand parse_expression(struct parser *p);

static struct operand literal_int(struct parser *p, int64_t x)
{
    return (struct operand){.literal = true, .number = {.i = x, .f = (double)x}, .loc = here(p)};
}

// A literal becomes a constant of the type; kind view stands for "unknown".
static struct value *materialise(struct parser *p, struct operand *o, enum dtype d)
{
    if (!o->literal)
        return o->value;
    struct type *t = type_scalar(p->module, d);
    if (!dtype_is_float(d) && o->number.is_float) {
        FAIL_AT(p, o->loc, "%s is not a value of type %s", number_string(&p->module->arena, o->number),
                dtype_info[d].name);
        return NULL;
    }
    p->b.loc = o->loc;
    return dtype_is_float(d) ? build_float(&p->b, t, o->number.f) : build_int(&p->b, t, o->number.i);
}

// Folds literals, builds an operation otherwise.
static struct operand apply(struct parser *p, enum opcode code, int n, struct operand *args, struct loc loc)
{
    struct operand result = {.loc = loc};
    bool literal = true, ints = true;
    enum dtype d = DTYPE_INDEX;
    for (int i = n - 1; i >= 0; i--) {
        literal &= args[i].literal;
        ints &= args[i].literal && !args[i].number.is_float;
        if (!args[i].literal && !args[i].value)
            return result;
        if (!args[i].literal && !(code == OP_SELECT && i == 0))
            d = args[i].value->type->dtype;
    }
    if (literal && n == 2) {
        struct number a = args[0].number, b = args[1].number;
        result.literal = true;
        bool known = true;
        switch (code) {
        case OP_ADD:
            result.number = (struct number){!ints, a.f + b.f, (int64_t)((uint64_t)a.i + (uint64_t)b.i)};
            break;
        case OP_SUB:
            result.number = (struct number){!ints, a.f - b.f, (int64_t)((uint64_t)a.i - (uint64_t)b.i)};
            break;
        case OP_MUL:
            result.number = (struct number){!ints, a.f * b.f, (int64_t)((uint64_t)a.i * (uint64_t)b.i)};
            break;
        case OP_MIN:
            result.number = (ints ? a.i < b.i : a.f < b.f) ? a : b;
            break;
        case OP_MAX:
            result.number = (ints ? a.i > b.i : a.f > b.f) ? a : b;
            break;
        case OP_DIV:
            if (!ints) {
                result.number = (struct number){true, a.f / b.f, 0};
                break;
            }
            // fall through
        case OP_FLOORDIV:
        case OP_CEILDIV:
        case OP_MOD:
            known = ints && b.i != 0;
            if (known)
                result.number.i =
                    scalar_eval(code, DTYPE_I64, (union scalar){.i = a.i}, (union scalar){.i = b.i}, (union scalar){0}).i;
            break;
        case OP_EQ:
        case OP_NE:
        case OP_LT:
        case OP_LE:
        case OP_GT:
        case OP_GE: {
            union scalar x = {.f = a.f}, y = {.f = b.f};
            if (ints)
                x.i = a.i, y.i = b.i;
            int64_t r = scalar_eval(code, ints ? DTYPE_I64 : DTYPE_F64, x, y, (union scalar){0}).i;
            result.literal = false;
            p->b.loc = loc;
            result.value = build_int(&p->b, type_scalar(p->module, DTYPE_I1), r);
            return result;
        }
        default:
            known = false;
        }
        if (!known) {
            FAIL_AT(p, loc, "'%s' of two literals is not known at compile time", op_info[code].name);
            result.literal = false;
        }
        if (!result.number.is_float)
            result.number.f = (double)result.number.i;
        return result;
    }
    if (literal && n == 1 && code == OP_NEG) {
        result = args[0];
        result.number.f = -result.number.f;
        result.number.i = (int64_t)(0 - (uint64_t)result.number.i);
        return result;
    }
    if (literal && n == 1 && args[0].number.is_float)
        d = DTYPE_F32;
    struct value *values[3];
    for (int i = 0; i < n; i++)
        if (!(values[i] = materialise(p, &args[i], code == OP_SELECT && i == 0 ? DTYPE_I1 : d)))
            return result;
    p->b.loc = loc;
    p->b.failed = false;
    result.value = build_value(&p->b, code, n, values, 0, NULL, NULL);
    if (p->b.failed) {
        p->failed = true;
        result.value = NULL;
    }
    return result;
}

static struct operand parse_call(struct parser *p, enum opcode code, struct loc loc)
{
    struct operand args[3];
    int n = 0;
    expect(p, "(");
    while (!p->failed && n < 3) {
        args[n++] = parse_expression(p);
        if (!accept(p, ","))
            break;
    }
    expect(p, ")");
    if (!p->failed && n != op_info[code].n_operands)
        FAIL_AT(p, loc, "%s takes %d operands, not %d", op_info[code].name, op_info[code].n_operands, n);
    return p->failed ? (struct operand){.loc = loc} : apply(p, code, n, args, loc);
}

static struct operand parse_primary(struct parser *p)
{
    struct operand o = {.loc = here(p)};
    struct token t = p->lex.token;
    if (p->depth > MAX_DEPTH) {
        FAIL(p, "nested too deeply");
        return o;
    }
    if (t.kind == TOKEN_VALUE) {
        const struct binding *b = lookup(p, t.text, t.length);
        if (!b)
            FAIL(p, "%%%.*s is not defined", (int)t.length, t.text);
        else if (!(o.value = b->value))
            p->failed = true; // its definition has been reported
        lex_next(&p->lex);
    } else if (t.kind == TOKEN_NUMBER) {
        bool ok;
        o.literal = true;
        o.number = lex_number(&t, &ok);
        if (!ok)
            FAIL(p, "the number %.*s does not fit", (int)(t.length < 40 ? t.length : 40), t.text);
        lex_next(&p->lex);
    } else if (accept(p, "-")) {
        p->depth++;
        struct operand x = parse_primary(p);
        p->depth--;
        return p->failed ? o : apply(p, OP_NEG, 1, &x, o.loc);
    } else if (accept(p, "(")) {
        p->depth++;
        o = parse_expression(p);
        p->depth--;
        expect(p, ")");
    } else if (t.kind == TOKEN_NAME) {
        lex_next(&p->lex);
        const struct parameter *q = parameter(p, t.text, t.length);
        enum opcode code = q && q->kind == PARAMETER_OPCODE ? q->opcode : opcode_from_name(t.text, t.length);
        int symbol = known_symbol(p, t.text, t.length);
        if (is(p, "(") && code != OP_NONE && opcode_is_scalar(code)) {
            p->depth++;
            o = parse_call(p, code, o.loc);
            p->depth--;
        } else if (q && q->kind == PARAMETER_NUMBER) {
            o.literal = true;
            o.number = q->number;
        } else if (lex_is(&(struct lexer){.token = t}, "inf") || lex_is(&(struct lexer){.token = t}, "nan")) {
            o.literal = true;
            o.number = (struct number){.is_float = true, .f = t.text[0] == 'i' ? INFINITY : NAN};
        } else if (symbol >= 0) {
            o.value = kernel_symbol(p->b.kernel, symbol);
        } else {
            FAIL_AT(p, o.loc, "'%.*s' is neither a compile-time parameter nor a size of a parameter", (int)t.length,
                    t.text);
        }
    } else {
        FAIL(p, "expected an operand, found %s", seen(p));
    }
    return o;
}

static struct operand parse_product(struct parser *p)
{
    struct operand left = parse_primary(p);
    while (!p->failed && is(p, "*")) {
        struct loc loc = here(p);
        lex_next(&p->lex);
        struct operand both[2] = {left, parse_primary(p)};
        if (!p->failed)
            left = apply(p, OP_MUL, 2, both, loc);
    }
    return left;
}

static struct operand parse_expression(struct parser *p)
{
    struct operand left = parse_product(p);
    while (!p->failed && (is(p, "+") || is(p, "-"))) {
        enum opcode code = is(p, "+") ? OP_ADD : OP_SUB;
        struct loc loc = here(p);
        lex_next(&p->lex);
        struct operand both[2] = {left, parse_product(p)};
        if (!p->failed)
            left = apply(p, code, 2, both, loc);
    }
    return left;
}

// An expression whose value is known while compiling.
static struct number parse_constant(struct parser *p)
{
    struct operand o = parse_expression(p);
    if (!p->failed && !o.literal)
        FAIL_AT(p, o.loc, "expected a compile-time number");
    return o.number;
}

static int64_t parse_int(struct parser *p)
{
    struct loc loc = here(p);
    struct number n = parse_constant(p);
    if (!p->failed && n.is_float)
        FAIL_AT(p, loc, "expected a whole number");
    return n.i;
}

// ---- Types -----------------------------------------------------------------------------------------------------

static bool name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static enum dtype dtype_of_name(struct parser *p, const char *name, size_t n)
{
    const struct parameter *q = parameter(p, name, n);
    return q && q->kind == PARAMETER_DTYPE ? q->dtype : dtype_from_name(name, n);
}

// Of a size or stride.
static dim checked_dim(struct parser *p, int64_t x)
{
    if (!p->failed && x < 0)
        FAIL(p, "%lld is not a size or stride; these are at least 0", (long long)x);
    return p->failed ? 1 : x;
}

// A size or stride by its name or number. symbols: unknown names become symbols.
static dim named_dim(struct parser *p, const char *name, size_t n, bool symbols)
{
    if (name[0] >= '0' && name[0] <= '9') {
        bool ok;
        struct number x = lex_number(&(struct token){.text = name, .length = n}, &ok);
        if (!ok || x.is_float)
            FAIL(p, "'%.*s' is not a size", (int)n, name);
        return x.i;
    }
    const struct parameter *q = parameter(p, name, n);
    if (q && q->kind == PARAMETER_NUMBER && !q->number.is_float)
        return checked_dim(p, q->number.i);
    struct lexer word = {.token = {.kind = TOKEN_NAME, .text = name, .length = n}};
    if (q || !symbols || lex_is(&word, "inf") || lex_is(&word, "nan")) {
        FAIL(p, "'%.*s' is not a compile-time size", (int)n, name);
        return 1;
    }
    // A size may be fixed with -D; it is then a compile-time parameter from here on.
    const char *given = take_define(p, name, n);
    if (given) {
        char *end;
        long long size = strtoll(given, &end, 10);
        if (*end || end == given || size < 0) {
            FAIL(p, "-D %.*s=%s is not a size", (int)n, name, given);
            return 1;
        }
        add_parameter(p, (struct parameter){.name = name, .length = n,
                                            .number = {.i = size, .f = (double)size}});
        return size;
    }
    return dim_symbol(module_symbol(p->module, name, n));
}

// `12x(2*BM)xf32`: sizes, each followed by x, and the element type. The lexer stands at '<'. Names in sizes therefore
// hold no x.
static bool parse_shape(struct parser *p, bool view, int *rank, dim *dims, enum dtype *dtype)
{
    const char *c = p->lex.token.start + 1, *end = p->lex.end;
    *rank = 0;
    for (;;) {
        while (c < end && (*c == ' ' || *c == '\t'))
            c++;
        const char *start = c;
        if (c < end && *c == '(') {
            lex_jump(&p->lex, c + 1);
            int64_t d = checked_dim(p, parse_int(p));
            if (p->failed)
                return false;
            if (!is(p, ")")) {
                FAIL(p, "expected ')', found %s", seen(p));
                return false;
            }
            c = p->lex.token.start + 1;
            if (*rank == MAX_RANK)
                goto too_many;
            dims[(*rank)++] = d;
        } else if (c < end && *c == '?' && view) {
            c++;
            if (*rank == MAX_RANK)
                goto too_many;
            dims[(*rank)++] = DIM_UNKNOWN;
        } else {
            while (c < end && name_char(*c) && *c != 'x')
                c++;
            // The element type: a name that no x follows, or that holds one (index).
            const char *whole = c;
            while (whole < end && name_char(*whole))
                whole++;
            enum dtype d = dtype_of_name(p, start, (size_t)(whole - start));
            if (d != DTYPE_NONE || (whole == c && c > start)) {
                if (d == DTYPE_NONE) {
                    FAIL(p, "'%.*s' is not an element type", (int)(whole - start), start);
                    return false;
                }
                *dtype = d;
                lex_jump(&p->lex, whole);
                return true;
            }
            if (c == start)
                break;
            if (*rank == MAX_RANK)
                goto too_many;
            dims[(*rank)++] = named_dim(p, start, (size_t)(c - start), view);
            if (p->failed)
                return false;
        }
        while (c < end && (*c == ' ' || *c == '\t'))
            c++;
        if (c == end || *c != 'x')
            break;
        c++;
    }
    FAIL(p, "expected sizes and an element type, each size followed by 'x', as in 128xNxf32");
    return false;
too_many:
    FAIL(p, "more than %d dimensions", MAX_RANK);
    return false;
}

static bool tile_dims_ok(struct parser *p, int rank, const dim *dims)
{
    int64_t n = 1;
    for (int i = 0; i < rank; i++) {
        if (dims[i] < 1 || dims[i] > ((int64_t)1 << 40) / n) {
            FAIL(p, "a tile's sizes are at least 1, and its elements at most 2^40");
            return false;
        }
        n *= dims[i];
    }
    return true;
}

// `#linear<...>`: a layout on a GPU (ir/layout.h).
static struct type *parse_linear(struct parser *p, struct type *tile)
{
    const char *start = p->lex.token.start;
    size_t left = (size_t)(p->lex.end - start);
    char text[LAYOUT_TEXT_MAX];
    snprintf(text, sizeof text, "%.*s", (int)(left < sizeof text ? left : sizeof text - 1), start);
    const char *cursor = text;
    struct layout l;
    const char *fault = layout_parse(&cursor, &l);
    if (fault) {
        FAIL(p, "%s", fault);
        return tile;
    }
    lex_jump(&p->lex, start + (cursor - text));
    struct type *type = type_linear(p->module, tile, &l);
    if (!type)
        FAIL(p, "this is not a layout of %s", type_string(&p->module->arena, p->module, tile));
    return type ? type : tile;
}

static struct type *parse_type(struct parser *p)
{
    struct token t = p->lex.token;
    bool tile = is(p, "tile"), view = is(p, "view");
    if (t.kind != TOKEN_NAME) {
        FAIL(p, "expected a type, found %s", seen(p));
        return NULL;
    }
    lex_next(&p->lex);
    if (!tile && !view) {
        enum dtype d = dtype_of_name(p, t.text, t.length);
        if (d == DTYPE_NONE) {
            FAIL(p, "'%.*s' is not a type", (int)t.length, t.text);
            return NULL;
        }
        return type_scalar(p->module, d);
    }
    if (!is(p, "<")) {
        FAIL(p, "expected '<', found %s", seen(p));
        return NULL;
    }
    int rank;
    dim dims[MAX_RANK], strides[MAX_RANK];
    enum dtype d;
    if (!parse_shape(p, view, &rank, dims, &d) || (tile && !tile_dims_ok(p, rank, dims)))
        return NULL;
    struct type *type = tile ? type_tile(p->module, d, rank, dims) : NULL;
    if (accept(p, ",")) {
        struct token word = p->lex.token;
        if (view && accept(p, "strides")) {
            expect(p, "[");
            for (int i = 0; i < rank && !p->failed; i++) {
                if (i)
                    expect(p, ",");
                struct token s = p->lex.token;
                if (s.kind == TOKEN_NAME || s.kind == TOKEN_NUMBER) {
                    strides[i] = named_dim(p, s.text, s.length, true);
                    lex_next(&p->lex);
                } else {
                    strides[i] = checked_dim(p, parse_int(p));
                }
            }
            expect(p, "]");
            if (!p->failed)
                type = type_view(p->module, d, rank, dims, strides);
        } else if (tile && accept(p, "s")) {
            type = type_shaped(p->module, type, 1, 0);
        } else if (tile && word.kind == TOKEN_NAME && word.length >= 4 && word.text[0] == 'v') {
            char text[16], *x;
            snprintf(text, sizeof text, "%.*s", (int)(word.length < 16 ? word.length : 0), word.text);
            long axis = strtol(text + !!*text, &x, 10), lanes = *x == 'x' ? strtol(x + 1, &x, 10) : 0;
            if (*x || axis < 0 || axis >= rank || lanes < 2 || lanes > 64)
                FAIL(p, "a register layout is s or v<axis>x<lanes>, found %s", seen(p));
            else
                type = type_shaped(p->module, type, (int)lanes, (int)axis);
            lex_next(&p->lex);
        } else if (tile && is(p, "#")) {
            type = parse_linear(p, type);
        } else {
            FAIL(p, "expected %s, found %s", tile ? "a register layout" : "strides", seen(p));
        }
    } else if (view) {
        type = type_view(p->module, d, rank, dims, NULL);
    }
    expect(p, ">");
    return p->failed ? NULL : type;
}

// ---- Attributes ------------------------------------------------------------------------------------------------

static const struct affine_map *parse_map(struct parser *p)
{
    struct affine_map map = {0};
    struct token names[MAX_RANK];
    expect(p, "(");
    while (!p->failed && !is(p, ")")) {
        if (map.n_in == MAX_RANK || p->lex.token.kind != TOKEN_NAME) {
            FAIL(p, "expected up to %d names of indices, found %s", MAX_RANK, seen(p));
            return NULL;
        }
        names[map.n_in++] = p->lex.token;
        lex_next(&p->lex);
        if (!accept(p, ","))
            break;
    }
    expect(p, ")");
    expect(p, "->");
    expect(p, "(");
    while (!p->failed && !is(p, ")")) {
        if (map.n_out == MAX_RANK) {
            FAIL(p, "more than %d dimensions", MAX_RANK);
            return NULL;
        }
        int64_t *row = map.coefficient[map.n_out++];
        do { // a sum of `name`, `name * k` or `0`
            struct token t = p->lex.token;
            if (t.kind == TOKEN_NUMBER && t.length == 1 && *t.text == '0') {
                lex_next(&p->lex);
                continue;
            }
            int d = 0;
            while (d < map.n_in && (names[d].length != t.length || memcmp(names[d].text, t.text, t.length)))
                d++;
            if (t.kind != TOKEN_NAME || d == map.n_in) {
                FAIL(p, "expected the name of an index, found %s (constants belong into the offsets)", seen(p));
                return NULL;
            }
            lex_next(&p->lex);
            int64_t k = 1;
            if (accept(p, "*")) {
                struct operand o = parse_primary(p);
                if (!p->failed && (!o.literal || o.number.is_float))
                    FAIL_AT(p, o.loc, "expected a compile-time whole number");
                k = o.number.i;
            }
            row[d] += k;
        } while (!p->failed && accept(p, "+"));
        if (!accept(p, ","))
            break;
    }
    expect(p, ")");
    return arena_copy(&p->module->arena, &map, sizeof map);
}

static struct ints parse_ints(struct parser *p)
{
    int64_t v[MAX_OPERANDS];
    struct ints ints = {.v = v};
    bool list = accept(p, "[");
    do {
        if (list && is(p, "]"))
            break;
        if (ints.n == MAX_OPERANDS) {
            FAIL(p, "too many numbers");
            break;
        }
        v[ints.n++] = parse_int(p);
    } while (list && !p->failed && accept(p, ","));
    if (list)
        expect(p, "]");
    ints.v = arena_copy(&p->module->arena, v, sizeof *v * (size_t)ints.n);
    return ints;
}

static void parse_attr(struct parser *p, struct attr *a)
{
    struct token t = p->lex.token;
    switch (attr_info[a->key].kind) {
    case ATTR_KIND_INT:
        a->i = parse_int(p);
        break;
    case ATTR_KIND_NUMBER:
        a->number = parse_constant(p);
        break;
    case ATTR_KIND_INTS:
        a->ints = parse_ints(p);
        break;
    case ATTR_KIND_STRING:
        if (t.kind != TOKEN_STRING)
            FAIL(p, "expected a string, found %s", seen(p));
        a->string = arena_strndup(&p->module->arena, t.text, t.length);
        lex_next(&p->lex);
        break;
    case ATTR_KIND_OPCODE: {
        const struct parameter *q = parameter(p, t.text, t.length);
        a->opcode = q && q->kind == PARAMETER_OPCODE ? q->opcode : opcode_from_name(t.text, t.length);
        if (t.kind != TOKEN_NAME || a->opcode == OP_NONE)
            FAIL(p, "expected the name of an operation, found %s", seen(p));
        lex_next(&p->lex);
        break;
    }
    case ATTR_KIND_DTYPE:
        a->dtype = dtype_of_name(p, t.text, t.length);
        if (t.kind != TOKEN_NAME || a->dtype == DTYPE_NONE)
            FAIL(p, "expected an element type, found %s", seen(p));
        lex_next(&p->lex);
        break;
    case ATTR_KIND_AFFINE:
        a->map = parse_map(p);
        break;
    case ATTR_KIND_FLAG:
        break;
    }
}

static int attr_named(const char *name, size_t n)
{
    for (int i = 0; i < ATTR_COUNT; i++)
        if (strlen(attr_info[i].name) == n && !memcmp(attr_info[i].name, name, n))
            return i;
    return -1;
}

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
            int key = attr_named(f + 1, n - 1);
            if (*f == '@' || accept(p, word + 1)) {
                struct attr *a = &s->attrs[s->n_attrs++];
                a->key = (enum attr_key)key;
                parse_attr(p, a);
            }
        } else if (*f == '%' && n > 1 && f[1] == '?') {
            if (accept(p, word + 2))
                add_operand(p, s);
        } else if (*f == '%' && n > 1 && f[1] == '*') {
            // Until what closes the list: a bracket, or the end of the line.
            bool none = f[n] ? is(p, "]") : p->lex.token.first || is(p, ":") || is(p, "}");
            if (!none)
                do
                    add_operand(p, s);
                while (!p->failed && accept(p, ","));
        } else if (*f == '%') {
            add_operand(p, s);
        } else {
            expect(p, word);
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
        bind(p, s->names[i].text, s->names[i].length, op && i < op->n_results ? op->results[i] : NULL);
}

// `(%a = init : type, ...)`; the initial values go into operands from `first` on.
static void parse_carried(struct parser *p, struct statement *s, struct token *names, int *n, int first)
{
    expect(p, "(");
    s->n_operands = first;
    while (!p->failed && !is(p, ")")) {
        if (s->n_operands == MAX_OPERANDS) {
            FAIL(p, "more than %d carried values", MAX_OPERANDS - first);
            return;
        }
        if (p->lex.token.kind != TOKEN_VALUE)
            FAIL(p, "expected the name of a carried value, found %s", seen(p));
        names[(*n)++] = p->lex.token;
        lex_next(&p->lex);
        expect(p, "=");
        struct operand o = parse_expression(p);
        struct type *t = accept(p, ":") ? parse_type(p) : NULL;
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
        if (!accept(p, ","))
            break;
    }
    expect(p, ")");
}

static void skip_block(struct parser *p)
{
    int depth = 0;
    do {
        if (is(p, "{"))
            depth++;
        if (is(p, "}"))
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
        values[i] = materialise(p, &s->operands[i], code == OP_IF ? DTYPE_I1 : DTYPE_INDEX);
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
        bind(p, names[i].text, names[i].length, b->args[i]);
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
            FAIL(p, "expected the name of the loop's index, found %s", seen(p));
        names[n++] = p->lex.token;
        lex_next(&p->lex);
        static const char *const words[] = {"=", "to", "step"};
        for (int i = 0; i < 3 && !p->failed; i++)
            if (i < 2 || is(p, "step")) {
                expect(p, words[i]);
                add_operand(p, s);
            } else {
                s->operands[s->n_operands++] = literal_int(p, 1);
            }
        if (!p->failed && accept(p, "with"))
            parse_carried(p, s, names, &n, 3);
    } else if (code == OP_WHILE) {
        parse_carried(p, s, names, &n, 0);
    } else if (code == OP_ONCE) {
        expect(p, "(");
        while (!p->failed && !is(p, ")")) {
            add_operand(p, s);
            if (!accept(p, ","))
                break;
        }
        expect(p, ")");
    } else {
        add_operand(p, s);
    }
    struct op *op = p->failed ? NULL : create_structured(p, code, s);
    if (!op) {
        p->failed = true;
        while (p->lex.token.kind != TOKEN_END && !is(p, "{") && !is(p, "}"))
            lex_next(&p->lex);
        if (is(p, "{"))
            skip_block(p);
        return;
    }
    if (code == OP_FOR)
        block_add_arg(p->b.kernel, op->blocks[0], NULL, type_scalar(p->module, DTYPE_INDEX));
    for (int i = code == OP_FOR ? 3 : 0; (code == OP_FOR || code == OP_WHILE) && i < s->n_operands; i++)
        block_add_arg(p->b.kernel, op->blocks[0], NULL, op->operands[i]->type);
    parse_nested(p, op->blocks[0], n, names);
    if (code == OP_WHILE && expect(p, "do")) {
        expect(p, "(");
        while (!p->failed && p->lex.token.kind == TOKEN_VALUE && n_others < op->n_operands) {
            others[n_others] = p->lex.token;
            block_add_arg(p->b.kernel, op->blocks[1], NULL, op->operands[n_others++]->type);
            lex_next(&p->lex);
            accept(p, ",");
        }
        expect(p, ")");
        if (!p->failed)
            parse_nested(p, op->blocks[1], n_others, others);
    }
    if (code == OP_IF) {
        const struct op *end = block_terminator(op->blocks[0]);
        for (int i = 0; end && i < op->n_results && i < end->n_operands; i++)
            op->results[i]->type = end->operands[i]->type;
        if (accept(p, "else"))
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
    parse_formatted(p, s, info->format ? info->format : info->n_operands == 1 ? "%" :
                          info->n_operands == 2 ? "% , %" : "% , % , %");
    if (!p->failed && accept(p, ":"))
        s->type = parse_type(p);
    struct value *values[MAX_OPERANDS];
    for (int i = 0; i < s->n_operands && !p->failed; i++)
        if (!(values[i] = materialise(p, &s->operands[i], literal_dtype(code, s, i))))
            p->failed = true;
    int n_results = info->n_results;
    if (!p->failed && s->n_names != n_results)
        FAIL_AT(p, s->loc, "%s has %d result%s and %d name%s", info->name, n_results, n_results == 1 ? "" : "s",
                s->n_names, s->n_names == 1 ? "" : "s");
    if (!p->failed && !p->lex.token.first && p->lex.token.kind != TOKEN_END && !is(p, "}"))
        FAIL(p, "expected the end of the line, found %s", seen(p));
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
    struct statement s = {.loc = here(p)};
    const char *start = p->lex.token.start;
    p->failed = false;
    while (p->lex.token.kind == TOKEN_VALUE && s.n_names < MAX_OPERANDS) {
        s.names[s.n_names++] = p->lex.token;
        lex_next(&p->lex);
        if (!accept(p, ","))
            break;
    }
    if (s.n_names)
        expect(p, "=");
    struct token t = p->lex.token;
    const struct parameter *q = t.kind == TOKEN_NAME ? parameter(p, t.text, t.length) : NULL;
    enum opcode code = q && q->kind == PARAMETER_OPCODE ? q->opcode
                       : t.kind == TOKEN_NAME          ? opcode_from_name(t.text, t.length)
                                                       : OP_NONE;
    if (code == OP_NONE)
        FAIL(p, "expected an operation, found %s", seen(p));
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
        while (p->lex.token.kind != TOKEN_END && !p->lex.token.first && !is(p, "}"))
            lex_next(&p->lex);
}

static void parse_block(struct parser *p, struct block *b)
{
    if (!expect(p, "{"))
        return;
    build_enter(&p->b, b);
    while (p->lex.token.kind != TOKEN_END && !is(p, "}")) {
        parse_statement(p);
        build_enter(&p->b, b);
    }
    p->failed = false;
    expect(p, "}");
}

// ---- Kernels ---------------------------------------------------------------------------------------------------

static void parse_parameter(struct parser *p)
{
    struct token name = p->lex.token;
    if (name.kind != TOKEN_NAME) {
        FAIL(p, "expected the name of a compile-time parameter, found %s", seen(p));
        return;
    }
    lex_next(&p->lex);
    struct parameter q = {.name = name.text, .length = name.length};
    if (accept(p, ":")) {
        if (accept(p, "dtype"))
            q.kind = PARAMETER_DTYPE;
        else if (accept(p, "op"))
            q.kind = PARAMETER_OPCODE;
        else
            FAIL(p, "expected 'dtype' or 'op', found %s", seen(p));
    }
    const char *given = take_define(p, name.text, name.length);
    bool has_default = accept(p, "=");
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
    add_parameter(p, q);
}

static void parse_params(struct parser *p)
{
    expect(p, "(");
    while (!p->failed && !is(p, ")")) {
        struct token name = p->lex.token;
        if (name.kind != TOKEN_VALUE)
            FAIL(p, "expected a parameter, found %s", seen(p));
        lex_next(&p->lex);
        if (!p->failed)
            expect(p, ":");
        struct type *t = p->failed ? NULL : parse_type(p);
        if (!t)
            return;
        if (t->kind == TYPE_TILE)
            FAIL(p, "a kernel takes views and scalars, not tiles");
        if (lookup(p, name.text, name.length))
            FAIL(p, "%%%.*s stands twice", (int)name.length, name.text);
        bind(p, name.text, name.length, kernel_add_param(p->b.kernel, NULL, t));
        for (int i = 0; i < t->rank; i++) {
            if (dim_is_symbol(t->dims[i]))
                kernel_symbol(p->b.kernel, dim_symbol_id(t->dims[i]));
            if (t->strided && dim_is_symbol(t->strides[i]))
                kernel_symbol(p->b.kernel, dim_symbol_id(t->strides[i]));
        }
        if (!accept(p, ","))
            break;
    }
    expect(p, ")");
}

static void parse_grid(struct parser *p)
{
    build_enter(&p->b, p->b.kernel->grid);
    if (is(p, "{")) {
        int mark = p->n_bindings;
        parse_block(p, p->b.kernel->grid);
        p->n_bindings = mark;
        return;
    }
    struct value *sizes[3];
    int n = 0;
    expect(p, "[");
    while (!p->failed && n < 3) {
        struct operand o = parse_expression(p);
        if (p->failed || !(sizes[n++] = materialise(p, &o, DTYPE_INDEX)))
            return;
        if (!accept(p, ","))
            break;
    }
    expect(p, "]");
    p->b.loc = here(p);
    if (!p->failed)
        build_yield(&p->b, n, sizes);
}

// To behind the next block.
static void skip_kernel(struct parser *p)
{
    while (p->lex.token.kind != TOKEN_END && !is(p, "{"))
        lex_next(&p->lex);
    skip_block(p);
}

static void parse_kernel(struct parser *p)
{
    struct loc loc = here(p);
    struct token name = p->lex.token;
    p->n_parameters = p->n_bindings = 0;
    if (name.kind != TOKEN_SYMBOL) {
        FAIL(p, "expected the kernel's name, as in @matmul, found %s", seen(p));
        skip_kernel(p);
        return;
    }
    lex_next(&p->lex);
    const char *text = arena_strndup(&p->module->arena, name.text, name.length);
    if (module_kernel(p->module, text))
        FAIL_AT(p, loc, "a kernel named @%s stands above", text);
    p->b = (struct builder){.kernel = kernel_create(p->module, text, loc), .diags = p->diags, .loc = loc};
    p->b.block = p->b.kernel->body;
    if (accept(p, "<"))
        do
            parse_parameter(p);
        while (!p->failed && accept(p, ","));
    if (is(p, ">"))
        lex_next(&p->lex);
    if (!p->failed)
        parse_params(p);
    bool grid = !p->failed && accept(p, "grid");
    if (grid)
        parse_grid(p);
    if (p->failed || !is(p, "{")) {
        FAIL(p, "expected '{', found %s", seen(p));
        skip_kernel(p);
        return;
    }
    if (!grid) { // the printed form has the grid inside
        lex_next(&p->lex);
        if (!accept(p, "grid"))
            FAIL(p, "expected the grid, as in grid [ceildiv(M, 128)], found %s", seen(p));
        if (!p->failed)
            parse_grid(p);
        build_enter(&p->b, p->b.kernel->body);
        while (p->lex.token.kind != TOKEN_END && !is(p, "}")) {
            parse_statement(p);
            build_enter(&p->b, p->b.kernel->body);
        }
        p->failed = false;
        expect(p, "}");
    } else {
        parse_block(p, p->b.kernel->body);
    }
}

struct module *parse_module(const char *text, size_t length, const char *file, int n_defines,
                            const struct define *defines, struct diags *diags)
{
    int errors = diags->n_errors;
    struct module *m = module_create();
    struct parser p = {.module = m, .diags = diags, .file = arena_strdup(&m->arena, file), .defines = defines,
                       .n_defines = n_defines, .define_used = ARENA_ARRAY(&m->arena, bool, n_defines)};
    lex_init(&p.lex, text, length);
    while (p.lex.token.kind != TOKEN_END) {
        p.failed = false;
        if (accept(&p, "kernel")) {
            parse_kernel(&p);
        } else {
            FAIL(&p, "expected 'kernel', found %s", seen(&p));
            while (p.lex.token.kind != TOKEN_END && !(p.lex.token.first && is(&p, "kernel")))
                lex_next(&p.lex);
        }
    }
    if (!m->first_kernel && errors == diags->n_errors)
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
