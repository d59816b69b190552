// What the files of the parser share.
#ifndef TEGULA_IR_PARSE_INTERNAL_H
#define TEGULA_IR_PARSE_INTERNAL_H

#include "ir/lex.h"

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

// Reports the first error of a statement.
#define FAIL(p, ...) FAIL_AT(p, parse_here(p), __VA_ARGS__)
#define FAIL_AT(p, loc, ...)                                                                                           \
    do {                                                                                                               \
        if (!(p)->failed)                                                                                              \
            diag_error((p)->diags, loc, __VA_ARGS__);                                                                  \
        (p)->failed = true;                                                                                            \
    } while (0)

// ---- parse_expression.c ----

// Where the current token stands.
struct loc parse_here(const struct parser *p);
// The current token for a message.
const char *parse_seen(const struct parser *p);
// The current token is this word; accept also goes past it, expect reports if it is not.
bool parse_is(const struct parser *p, const char *word);
bool parse_accept(struct parser *p, const char *word);
bool parse_expect(struct parser *p, const char *word);
// Brings a name into scope; value NULL after a fault.
void parse_bind(struct parser *p, const char *name, size_t length, struct value *v);
// NULL if there is none.
const struct binding *parse_lookup(const struct parser *p, const char *name, size_t length);
const struct parameter *parse_find_parameter(const struct parser *p, const char *name, size_t length);
void parse_add_parameter(struct parser *p, struct parameter q);
// The value given with -D, or NULL.
const char *parse_take_define(struct parser *p, const char *name, size_t length);
// The id of a size that a parameter names, or -1.
int parse_known_symbol(const struct parser *p, const char *name, size_t length);
struct operand parse_literal_int(struct parser *p, int64_t x);
// A literal becomes a constant of the element type. NULL for what is faulty.
struct value *parse_materialise(struct parser *p, struct operand *o, enum dtype d);
struct operand parse_expression(struct parser *p);
struct operand parse_primary(struct parser *p);
// Known while compiling.
struct number parse_constant(struct parser *p);
int64_t parse_int(struct parser *p);
// ---- parse_type.c ----

enum dtype parse_dtype_name(struct parser *p, const char *name, size_t n);
// NULL after reporting.
struct type *parse_type(struct parser *p);
void parse_attr(struct parser *p, struct attr *a);
// An enum attr_key, or -1.
int parse_attr_key(const char *name, size_t n);

#endif
