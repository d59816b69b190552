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
    int scope; // the bindings from here on are of the current block
    int depth;
    bool declares;        // the parameters are being read: new names in types are sizes
    struct lexer payload; // at the elements of the statement's constant, which wait for its type
    bool failed;          // the current statement
    // Of the current function: names that mean nothing may be of its signature, or of its compile-time parameters.
    bool faulty_signature, faulty_parameters;
    bool poisoned;            // it launches a kernel with a faulty signature or name
    bool nameless;            // there is a function whose name is faulty
    struct function **faulty; // those with a faulty signature
    int n_faulty, room_faulty;
};

// Reports the first error of a statement.
#define FAIL(p, ...) FAIL_AT(p, parse_here(p), __VA_ARGS__)
#define FAIL_AT(p, loc, ...)                                                                                           \
    do {                                                                                                               \
        if (!(p)->failed)                                                                                              \
            diag_error((p)->diags, loc, __VA_ARGS__);                                                                  \
        (p)->failed = true;                                                                                            \
    } while (0)

// Reports what a faulty signature may be the reason of, such as a name that means nothing, unless that has been
// reported.
#define FAIL_UNKNOWN(p, loc, ...)                                                                                      \
    do {                                                                                                               \
        if ((p)->faulty_signature)                                                                                     \
            (p)->failed = true;                                                                                        \
        FAIL_AT(p, loc, __VA_ARGS__);                                                                                  \
    } while (0)

// ---- parse_expression.c ----

// Where the current token stands.
struct loc parse_here(const struct parser *p);
// The current token for a message.
const char *parse_seen(const struct parser *p);
// What stands where something else is missing, and where it is missed: at the end of a line, not in the next one.
const char *parse_instead(const struct parser *p, struct loc *loc);
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
// Reports a literal that is not a value of the element type.
bool parse_check_literal(struct parser *p, const struct operand *o, enum dtype d);
// A literal becomes a constant of the element type. NULL for what is faulty.
struct value *parse_materialise(struct parser *p, struct operand *o, enum dtype d);
struct operand parse_expression(struct parser *p);
struct operand parse_primary(struct parser *p);
// The literal is 2^63 or more, which only u64 holds.
bool parse_is_large(const struct operand *o);
// Known while compiling.
struct number parse_constant(struct parser *p);
int64_t parse_int(struct parser *p);
// A quoted string with its escapes resolved.
const char *parse_string(struct parser *p);

// ---- parse_dims.c ----

// Of a size or stride: reports a negative one.
dim parse_checked_dim(struct parser *p, int64_t x);
// A size or stride by its name or number. symbols: unknown names become symbols.
dim parse_named_dim(struct parser *p, const char *name, size_t n, bool symbols);
// A size or stride by an expression.
dim parse_dim(struct parser *p);
// The name begins a call in an expression, as in floordiv(N, 2).
bool parse_dim_is_call(const char *name, size_t n, const char *end);
// An expression in parentheses or a call, up to and without the closing parenthesis: an x behind it is no name.
dim parse_dim_in_shape(struct parser *p);
// One expression or a list in brackets; may be negative.
struct dims parse_dims(struct parser *p);

// ---- parse_data.c ----

// The name of a constant. Its elements are passed over, and read by parse_data_finish once the type is known.
void parse_data(struct parser *p, struct data *data);
void parse_data_finish(struct parser *p, struct data *data, const struct type *type);

// ---- parse.c ----

void parse_block(struct parser *p, struct block *b);
// Up to the block's closing brace.
void parse_statements(struct parser *p, struct block *b);
// Over what is left of a faulty function.
void parse_skip_block(struct parser *p);

// ---- parse_type.c ----

enum dtype parse_dtype_name(struct parser *p, const char *name, size_t n);
// NULL after reporting.
struct type *parse_type(struct parser *p);
void parse_attr(struct parser *p, struct attr *a);
// An enum attr_key, or -1.
int parse_attr_key(const char *name, size_t n);

#endif
