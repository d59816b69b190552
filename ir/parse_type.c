// Types and attributes of the tile language.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ir/layout.h"
#include "ir/parse_internal.h"

// ---- Types -----------------------------------------------------------------------------------------------------

static bool name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

enum dtype parse_dtype_name(struct parser *p, const char *name, size_t n)
{
    const struct parameter *q = parse_find_parameter(p, name, n);
    return q && q->kind == PARAMETER_DTYPE ? q->dtype : dtype_from_name(name, n);
}

// `12x(2*BM)xf32`: sizes, each followed by x, and the element type. The lexer stands at '<'. Names in sizes therefore
// hold no x.
static bool parse_shape(struct parser *p, enum type_kind kind, int *rank, dim *dims, enum dtype *dtype)
{
    bool symbols = kind != TYPE_TILE;
    const char *c = p->lex.token.start + 1, *end = p->lex.end;
    *rank = 0;
    for (;;) {
        while (c < end && (*c == ' ' || *c == '\t'))
            c++;
        const char *start = c, *run = c;
        while (run < end && name_char(*run))
            run++;
        if (c < end && (*c == '(' || (symbols && parse_dim_is_call(start, (size_t)(run - start), end)))) {
            lex_jump(&p->lex, symbols ? c : c + 1);
            dim d = symbols ? parse_dim_in_shape(p) : parse_checked_dim(p, parse_int(p));
            if (p->failed)
                return false;
            if (!parse_is(p, ")")) {
                FAIL(p, "expected ')', found %s", parse_seen(p));
                return false;
            }
            c = p->lex.token.start + 1;
            if (*rank == MAX_RANK)
                goto too_many;
            dims[(*rank)++] = d;
        } else if (c < end && *c == '?' && kind == TYPE_VIEW) {
            c++;
            if (*rank == MAX_RANK)
                goto too_many;
            dims[(*rank)++] = DIM_UNKNOWN;
        } else {
            while (c < end && name_char(*c) && *c != 'x')
                c++;
            // The element type: a name that no x follows, or that holds one (index).
            const char *whole = run, *next = run;
            while (next < end && (*next == ' ' || *next == '\t'))
                next++;
            bool size = next < end && next > run && *next == 'x';
            enum dtype d = parse_dtype_name(p, start, (size_t)(whole - start));
            if (d != DTYPE_NONE || (whole == c && c > start && !size)) {
                if (d == DTYPE_NONE) {
                    FAIL_UNKNOWN(p, parse_here(p), "'%.*s' is not an element type", (int)(whole - start), start);
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
            dims[(*rank)++] = parse_named_dim(p, start, (size_t)(c - start), symbols);
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
        if (dims[i] < 1) {
            FAIL(p, "a tile's sizes are at least 1");
            return false;
        }
        if (dims[i] > MOST_TILE_ELEMENTS / n) {
            FAIL(p, "this is a tile of more than 2^31 elements; use smaller tiles and a loop");
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

struct type *parse_type(struct parser *p)
{
    struct token t = p->lex.token;
    bool tile = parse_is(p, "tile"), view = parse_is(p, "view"), tensor = parse_is(p, "tensor");
    if (t.kind != TOKEN_NAME) {
        FAIL(p, "expected a type, found %s", parse_seen(p));
        return NULL;
    }
    lex_next(&p->lex);
    if (!tile && !view && !tensor) {
        enum dtype d = parse_dtype_name(p, t.text, t.length);
        if (d == DTYPE_NONE) {
            FAIL(p, "'%.*s' is not a type", (int)t.length, t.text);
            return NULL;
        }
        return type_scalar(p->module, d);
    }
    if (!parse_is(p, "<")) {
        FAIL(p, "expected '<', found %s", parse_seen(p));
        return NULL;
    }
    int rank;
    dim dims[MAX_RANK], strides[MAX_RANK];
    enum dtype d;
    enum type_kind kind = tile ? TYPE_TILE : view ? TYPE_VIEW : TYPE_TENSOR;
    if (!parse_shape(p, kind, &rank, dims, &d) || (tile && !tile_dims_ok(p, rank, dims)))
        return NULL;
    struct type *type = tile     ? type_tile(p->module, d, rank, dims)
                        : tensor ? type_tensor(p->module, d, rank, dims)
                                 : NULL;
    if (!tensor && parse_accept(p, ",")) {
        struct token word = p->lex.token;
        if (view && parse_accept(p, "strides")) {
            parse_expect(p, "[");
            for (int i = 0; i < rank && !p->failed; i++) {
                if (i)
                    parse_expect(p, ",");
                strides[i] = parse_dim(p);
            }
            parse_expect(p, "]");
            if (!p->failed)
                type = type_view(p->module, d, rank, dims, strides);
        } else if (tile && parse_accept(p, "s")) {
            type = type_shaped(p->module, type, 1, 0);
        } else if (tile && word.kind == TOKEN_NAME && word.length >= 4 && word.text[0] == 'v') {
            char text[16], *x;
            snprintf(text, sizeof text, "%.*s", (int)(word.length < 16 ? word.length : 0), word.text);
            long axis = strtol(text + !!*text, &x, 10), lanes = *x == 'x' ? strtol(x + 1, &x, 10) : 0;
            if (*x || axis < 0 || axis >= rank || lanes < 2 || lanes > 64)
                FAIL(p, "a register layout is s or v<axis>x<lanes>, found %s", parse_seen(p));
            else
                type = type_shaped(p->module, type, (int)lanes, (int)axis);
            lex_next(&p->lex);
        } else if (tile && parse_is(p, "#")) {
            type = parse_linear(p, type);
        } else {
            FAIL(p, "expected %s, found %s", tile ? "a register layout" : "strides", parse_seen(p));
        }
    } else if (view) {
        type = type_view(p->module, d, rank, dims, NULL);
    }
    parse_expect(p, ">");
    return p->failed ? NULL : type;
}

// ---- Attributes ------------------------------------------------------------------------------------------------

static const struct affine_map *parse_map(struct parser *p)
{
    struct affine_map map = {0};
    struct token names[MAX_RANK];
    parse_expect(p, "(");
    while (!p->failed && !parse_is(p, ")")) {
        if (map.n_in == MAX_RANK || p->lex.token.kind != TOKEN_NAME) {
            FAIL(p, "expected up to %d names of indices, found %s", MAX_RANK, parse_seen(p));
            return NULL;
        }
        for (int i = 0; i < map.n_in; i++)
            if (names[i].length == p->lex.token.length && !memcmp(names[i].text, p->lex.token.text, names[i].length)) {
                FAIL(p, "the index '%.*s' stands twice", (int)names[i].length, names[i].text);
                return NULL;
            }
        names[map.n_in++] = p->lex.token;
        lex_next(&p->lex);
        if (!parse_accept(p, ","))
            break;
    }
    parse_expect(p, ")");
    parse_expect(p, "->");
    parse_expect(p, "(");
    while (!p->failed && !parse_is(p, ")")) {
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
                FAIL(p, "expected the name of an index, found %s (constants belong into the offsets)", parse_seen(p));
                return NULL;
            }
            lex_next(&p->lex);
            int64_t k = 1;
            if (parse_accept(p, "*")) {
                struct operand o = parse_primary(p);
                if (!p->failed && (!o.literal || o.number.is_float || parse_is_large(&o)))
                    FAIL_AT(p, o.loc, "expected a compile-time whole number");
                k = o.number.i;
            }
            if (!p->failed && __builtin_add_overflow(row[d], k, &row[d]))
                FAIL(p, "the factors of '%.*s' add up to more than 64 bits hold", (int)t.length, t.text);
        } while (!p->failed && parse_accept(p, "+"));
        if (!parse_accept(p, ","))
            break;
    }
    parse_expect(p, ")");
    return arena_copy(&p->module->arena, &map, sizeof map);
}

static struct ints parse_ints(struct parser *p)
{
    int64_t v[MAX_OPERANDS];
    struct ints ints = {.v = v};
    bool list = parse_accept(p, "[");
    do {
        if (list && parse_is(p, "]"))
            break;
        if (ints.n == MAX_OPERANDS) {
            FAIL(p, "too many numbers");
            break;
        }
        v[ints.n++] = parse_int(p);
    } while (list && !p->failed && parse_accept(p, ","));
    if (list)
        parse_expect(p, "]");
    ints.v = arena_copy(&p->module->arena, v, sizeof *v * (size_t)ints.n);
    return ints;
}

void parse_attr(struct parser *p, struct attr *a)
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
        a->string = parse_string(p);
        break;
    case ATTR_KIND_OPCODE: {
        const struct parameter *q = parse_find_parameter(p, t.text, t.length);
        a->opcode = q && q->kind == PARAMETER_OPCODE ? q->opcode : opcode_from_name(t.text, t.length);
        if (t.kind != TOKEN_NAME || a->opcode == OP_NONE)
            FAIL_UNKNOWN(p, parse_here(p), "expected the name of an operation, found %s", parse_seen(p));
        lex_next(&p->lex);
        break;
    }
    case ATTR_KIND_DTYPE:
        a->dtype = parse_dtype_name(p, t.text, t.length);
        if (t.kind != TOKEN_NAME || a->dtype == DTYPE_NONE)
            FAIL_UNKNOWN(p, parse_here(p), "expected an element type, found %s", parse_seen(p));
        lex_next(&p->lex);
        break;
    case ATTR_KIND_AFFINE:
        a->map = parse_map(p);
        break;
    case ATTR_KIND_FLAG:
        break;
    case ATTR_KIND_DIMS:
        a->dims = parse_dims(p);
        break;
    case ATTR_KIND_DATA:
        parse_data(p, &a->data);
        break;
    }
}

int parse_attr_key(const char *name, size_t n)
{
    for (int i = 0; i < ATTR_COUNT; i++)
        if (strlen(attr_info[i].name) == n && !memcmp(attr_info[i].name, name, n))
            return i;
    return -1;
}
