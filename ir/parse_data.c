// Constants: `"name" [1.0, 2.0]`, `"name" "0x00112233"` or `"name" elided`, the name being optional. The bits of an
// element depend on the type, which follows; so the elements are read after it.
#include <string.h>

#include "ir/element_text.h"
#include "ir/parse_internal.h"

static bool payload_begins(const struct parser *p)
{
    return p->lex.token.kind == TOKEN_STRING || parse_is(p, "[") || parse_is(p, "elided");
}

void parse_data(struct parser *p, struct data *data)
{
    *data = (struct data){0};
    if (p->lex.token.kind == TOKEN_STRING) {
        struct lexer first = p->lex;
        lex_next(&p->lex);
        bool named = payload_begins(p);
        p->lex = first;
        if (named)
            data->name = parse_string(p);
    }
    p->payload = p->lex;
    if (!payload_begins(p)) {
        FAIL(p, "expected the elements, as in [1.0, 2.0] or \"0x00112233\", found %s", parse_seen(p));
        return;
    }
    if (!parse_accept(p, "[")) {
        lex_next(&p->lex);
        return;
    }
    while (p->lex.token.kind != TOKEN_END && !parse_is(p, "]") && !parse_is(p, "}"))
        lex_next(&p->lex);
    parse_expect(p, "]");
}

// One element; 0x and digits are two tokens that touch.
static uint64_t parse_element(struct parser *p, enum dtype t)
{
    bool negative = parse_accept(p, "-");
    struct token word = p->lex.token;
    if (word.kind != TOKEN_NUMBER && word.kind != TOKEN_NAME) {
        FAIL(p, "expected an element, found %s", parse_seen(p));
        return 0;
    }
    lex_next(&p->lex);
    if (word.kind == TOKEN_NUMBER && p->lex.token.kind == TOKEN_NAME && p->lex.token.text == word.text + word.length) {
        word.length += p->lex.token.length;
        lex_next(&p->lex);
    }
    uint64_t bits = 0;
    const char *fault = element_parse(&p->module->arena, t, negative, word.text, word.length, &bits);
    if (fault)
        FAIL(p, "%s", fault);
    return bits;
}

static void parse_elements(struct parser *p, struct data *data, const struct type *type)
{
    int64_t n = 0, most = 1;
    for (struct lexer l = p->lex; l.token.kind != TOKEN_END && !lex_is(&l, "]"); lex_next(&l))
        most += lex_is(&l, ",");
    unsigned char *bytes = arena_alloc(&p->module->arena, (size_t)most * 8);
    while (!p->failed && !parse_is(p, "]")) {
        dtype_array_set_bits(type->dtype, bytes, n, parse_element(p, type->dtype));
        n++;
        if (!parse_accept(p, ","))
            break;
    }
    parse_expect(p, "]");
    data->bytes = bytes;
    data->size = dtype_array_bytes(type->dtype, n);
    int64_t wanted = 1;
    for (int d = 0; d < type->rank; d++)
        if (type->dims[d] < 0 || __builtin_mul_overflow(wanted, type->dims[d], &wanted))
            return; // the operation's own rules tell
    if (n != wanted)
        FAIL(p, "%s has %lld elements, and %lld are given", type_string(&p->module->arena, p->module, type),
             (long long)wanted, (long long)n);
}

static void parse_bytes(struct parser *p, struct data *data)
{
    struct token t = p->lex.token;
    unsigned char *bytes = arena_alloc(&p->module->arena, t.length / 2 + 1);
    data->bytes = bytes;
    data->size = lex_hex(t.text, t.length, bytes);
    if (data->size < 0)
        FAIL(p, "the bytes of a constant are written as 0x and two digits for each");
}

void parse_data_finish(struct parser *p, struct data *data, const struct type *type)
{
    struct lexer behind = p->lex;
    p->lex = p->payload;
    if (!type)
        FAIL(p, "needs a type, as in : tensor<2x3xf32>");
    else if (parse_is(p, "elided"))
        FAIL(p, "the elements of this constant were left out when it was printed; print them all to read it back");
    else if (parse_accept(p, "["))
        parse_elements(p, data, type);
    else
        parse_bytes(p, data);
    p->lex = behind;
}
