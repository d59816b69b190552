// Names in scope, operands and expressions of the tile language.
#include <math.h>
#include <string.h>

#include "ir/parse_internal.h"
#include "ir/scalar.h"

struct loc parse_here(const struct parser *p)
{
    return (struct loc){.file = p->file, .line = p->lex.token.line};
}

const char *parse_seen(const struct parser *p)
{
    const struct token *t = &p->lex.token;
    if (t->kind == TOKEN_END)
        return "the end of the file";
    size_t n = (size_t)(p->lex.p - t->start);
    return arena_printf(&p->module->arena, "'%.*s'", (int)(n < 40 ? n : 40), t->start);
}

bool parse_is(const struct parser *p, const char *word)
{
    return lex_is(&p->lex, word);
}

bool parse_accept(struct parser *p, const char *word)
{
    if (!parse_is(p, word))
        return false;
    lex_next(&p->lex);
    return true;
}

const char *parse_instead(const struct parser *p, struct loc *loc)
{
    bool next_line = p->lex.token.first && p->lex.token.kind != TOKEN_END && p->lex.last_line < p->lex.token.line;
    *loc = (struct loc){.file = p->file, .line = next_line ? p->lex.last_line : p->lex.token.line};
    return next_line ? "the end of the line" : parse_seen(p);
}

bool parse_expect(struct parser *p, const char *word)
{
    if (parse_accept(p, word))
        return true;
    struct loc loc;
    const char *found = parse_instead(p, &loc);
    FAIL_AT(p, loc, "expected '%s', found %s", word, found);
    return false;
}

const char *parse_string(struct parser *p)
{
    if (p->lex.token.kind != TOKEN_STRING) {
        FAIL(p, "expected a string, found %s", parse_seen(p));
        return "";
    }
    const char *fault, *s = lex_string(&p->lex.token, &p->module->arena, &fault);
    if (fault)
        FAIL(p, "%s", fault);
    lex_next(&p->lex);
    return s;
}

// ---- Names -----------------------------------------------------------------------------------------------------

void parse_bind(struct parser *p, const char *name, size_t length, struct value *v)
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

const struct binding *parse_lookup(const struct parser *p, const char *name, size_t length)
{
    for (int i = p->n_bindings - 1; i >= 0; i--)
        if (p->bindings[i].length == length && !memcmp(p->bindings[i].name, name, length))
            return &p->bindings[i];
    return NULL;
}

const struct parameter *parse_find_parameter(const struct parser *p, const char *name, size_t length)
{
    for (int i = 0; i < p->n_parameters; i++)
        if (p->parameters[i].length == length && !memcmp(p->parameters[i].name, name, length))
            return &p->parameters[i];
    return NULL;
}

void parse_add_parameter(struct parser *p, struct parameter q)
{
    struct parameter *grown = ARENA_ARRAY(&p->module->arena, struct parameter, p->n_parameters + 1);
    if (p->n_parameters)
        memcpy(grown, p->parameters, sizeof q * (size_t)p->n_parameters);
    grown[p->n_parameters++] = q;
    p->parameters = grown;
}

// The value given with -D, or NULL.
const char *parse_take_define(struct parser *p, const char *name, size_t length)
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
int parse_known_symbol(const struct parser *p, const char *name, size_t length)
{
    for (int i = 0; i < p->module->n_symbols; i++)
        if (strlen(p->module->symbols[i]) == length && !memcmp(p->module->symbols[i], name, length))
            return i < p->b.function->n_symbols && p->b.function->symbols[i] ? i : -1;
    return -1;
}

// ---- Operands and expressions ----------------------------------------------------------------------------------

struct operand parse_literal_int(struct parser *p, int64_t x)
{
    return (struct operand){.literal = true, .number = {.i = x, .f = (double)x}, .loc = parse_here(p)};
}

bool parse_is_large(const struct operand *o)
{
    return o->literal && !o->number.is_float && o->number.i < 0 && o->number.f > 0;
}

bool parse_check_literal(struct parser *p, const struct operand *o, enum dtype d)
{
    int bits = dtype_info[d].bits;
    bool fits = dtype_is_float(d) || !o->number.is_float;
    if (dtype_is_int(d) && bits == 64) {
        fits &= (d == DTYPE_U64 && o->number.i < 0) == parse_is_large(o);
    } else if (dtype_is_int(d)) {
        int64_t least = dtype_is_signed(d) ? -((int64_t)1 << (bits - 1)) : 0;
        fits &= o->number.i >= least && o->number.i - least < (int64_t)1 << bits;
    }
    if (!fits)
        FAIL_AT(p, o->loc, "%s is not a value of type %s",
                number_string(&p->module->arena, o->number, parse_is_large(o) ? DTYPE_U64 : DTYPE_I64),
                dtype_info[d].name);
    return fits;
}

// A literal becomes a constant of the type; kind view stands for "unknown".
struct value *parse_materialise(struct parser *p, struct operand *o, enum dtype d)
{
    if (!o->literal)
        return o->value;
    struct type *t = type_scalar(p->module, d);
    if (!parse_check_literal(p, o, d))
        return NULL;
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
    for (int i = 0; literal && ints && i < n; i++)
        if (parse_is_large(&args[i])) {
            FAIL_AT(p, args[i].loc, "%s does not fit in 64 bits with a sign, which literals are computed in",
                    number_string(&p->module->arena, args[i].number, DTYPE_U64));
            return result;
        }
    if (literal && n == 2) {
        struct number a = args[0].number, b = args[1].number;
        result.literal = true;
        bool known = true, wraps = false;
        int64_t whole = 0;
        switch (code) {
        case OP_ADD:
            wraps = __builtin_add_overflow(a.i, b.i, &whole);
            result.number = (struct number){!ints, a.f + b.f, whole};
            break;
        case OP_SUB:
            wraps = __builtin_sub_overflow(a.i, b.i, &whole);
            result.number = (struct number){!ints, a.f - b.f, whole};
            break;
        case OP_MUL:
            wraps = __builtin_mul_overflow(a.i, b.i, &whole);
            result.number = (struct number){!ints, a.f * b.f, whole};
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
            wraps = code != OP_MOD && a.i == INT64_MIN && b.i == -1;
            if (known)
                result.number.i =
                    scalar_eval(code, DTYPE_I64, (union scalar){.i = a.i}, (union scalar){.i = b.i}, (union scalar){0})
                        .i;
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
        if (known && ints && wraps)
            FAIL_AT(p, loc, "the result of '%s' does not fit in 64 bits", op_info[code].name);
        if (!result.number.is_float)
            result.number.f = (double)result.number.i;
        return result;
    }
    if (literal && n == 1 && code == OP_NEG) {
        result = args[0];
        if (!result.number.is_float && result.number.i == INT64_MIN)
            FAIL_AT(p, loc, "the result of 'neg' does not fit in 64 bits");
        result.number.f = -result.number.f;
        result.number.i = (int64_t)(0 - (uint64_t)result.number.i);
        return result;
    }
    if (literal && n == 1 && args[0].number.is_float)
        d = DTYPE_F32;
    struct value *values[3];
    for (int i = 0; i < n; i++)
        if (!(values[i] = parse_materialise(p, &args[i], code == OP_SELECT && i == 0 ? DTYPE_I1 : d)))
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
    parse_expect(p, "(");
    do
        args[n++] = parse_expression(p);
    while (!p->failed && n < 3 && parse_accept(p, ","));
    parse_expect(p, ")");
    if (!p->failed && n != op_info[code].n_operands)
        FAIL_AT(p, loc, "%s takes %d operands, not %d", op_info[code].name, op_info[code].n_operands, n);
    return p->failed ? (struct operand){.loc = loc} : apply(p, code, n, args, loc);
}

struct operand parse_primary(struct parser *p)
{
    struct operand o = {.loc = parse_here(p)};
    struct token t = p->lex.token;
    if (p->depth > MAX_DEPTH) {
        FAIL(p, "nested too deeply");
        return o;
    }
    if (t.kind == TOKEN_VALUE) {
        const struct binding *b = parse_lookup(p, t.text, t.length);
        if (!b)
            FAIL_UNKNOWN(p, o.loc, "%%%.*s is not defined", (int)t.length, t.text);
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
    } else if (parse_accept(p, "-")) {
        t = p->lex.token;
        if (t.kind == TOKEN_NUMBER && t.length == 19 &&
            !memcmp(t.text, "9223372036854775808", 19)) { // fits with its sign
            lex_next(&p->lex);
            o.literal = true;
            o.number = (struct number){.i = INT64_MIN, .f = (double)INT64_MIN};
            return o;
        }
        p->depth++;
        struct operand x = parse_primary(p);
        p->depth--;
        return p->failed ? o : apply(p, OP_NEG, 1, &x, o.loc);
    } else if (parse_accept(p, "(")) {
        p->depth++;
        o = parse_expression(p);
        p->depth--;
        parse_expect(p, ")");
    } else if (t.kind == TOKEN_NAME) {
        lex_next(&p->lex);
        const struct parameter *q = parse_find_parameter(p, t.text, t.length);
        enum opcode code = q && q->kind == PARAMETER_OPCODE ? q->opcode : opcode_from_name(t.text, t.length);
        int symbol = parse_known_symbol(p, t.text, t.length);
        if (parse_is(p, "(") && code != OP_NONE && opcode_is_scalar(code)) {
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
            o.value = function_symbol(p->b.function, symbol);
        } else {
            FAIL_UNKNOWN(p, o.loc, "'%.*s' is neither a compile-time parameter nor a size of a parameter",
                         (int)t.length, t.text);
        }
    } else {
        FAIL(p, "expected an operand, found %s", parse_seen(p));
    }
    return o;
}

static struct operand parse_product(struct parser *p)
{
    struct operand left = parse_primary(p);
    while (!p->failed && parse_is(p, "*")) {
        struct loc loc = parse_here(p);
        lex_next(&p->lex);
        struct operand both[2] = {left, parse_primary(p)};
        if (!p->failed)
            left = apply(p, OP_MUL, 2, both, loc);
    }
    return left;
}

struct operand parse_expression(struct parser *p)
{
    struct operand left = parse_product(p);
    while (!p->failed && (parse_is(p, "+") || parse_is(p, "-"))) {
        enum opcode code = parse_is(p, "+") ? OP_ADD : OP_SUB;
        struct loc loc = parse_here(p);
        lex_next(&p->lex);
        struct operand both[2] = {left, parse_product(p)};
        if (!p->failed)
            left = apply(p, code, 2, both, loc);
    }
    return left;
}

// An expression whose value is known while compiling.
struct number parse_constant(struct parser *p)
{
    struct operand o = parse_expression(p);
    if (!p->failed && !o.literal)
        FAIL_AT(p, o.loc, "expected a compile-time number");
    return o.number;
}

int64_t parse_int(struct parser *p)
{
    struct loc loc = parse_here(p);
    struct number n = parse_constant(p);
    struct operand o = {.literal = true, .number = n, .loc = loc};
    if (!p->failed && n.is_float)
        FAIL_AT(p, loc, "expected a whole number");
    else if (!p->failed)
        parse_check_literal(p, &o, DTYPE_I64);
    return n.i;
}
