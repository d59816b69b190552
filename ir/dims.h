// Sizes as expressions: integer polynomials over symbols, and floordiv, mod, min, max and broadcast of such.
//
// An expression that is not a constant is a symbol of the module whose name is its canonical text, so equal expressions
// are equal dims. Free symbols are non-negative sizes; nothing here overflows silently: a constant beyond 2^62, and
// an expression too long to be of use, becomes DIM_UNKNOWN, which every operation passes on.
#ifndef TEGULA_IR_DIMS_H
#define TEGULA_IR_DIMS_H

#include "ir/ir.h"

// A constant, which may be negative; and back: false if d is not constant.
dim dims_from_int(struct module *m, int64_t x);
bool dims_to_int(const struct module *m, dim d, int64_t *x);

// A symbol that stands for other symbols or for a negative number.
bool dims_is_expression(const struct module *m, dim d);
// Symbols, sums and products of such; whether min or max occurs in it.
bool dims_is_polynomial(const struct module *m, dim d);
bool dims_is_clamped(const struct module *m, dim d);

dim dims_add(struct module *m, dim a, dim b);
dim dims_sub(struct module *m, dim a, dim b);
dim dims_mul(struct module *m, dim a, dim b);
dim dims_floordiv(struct module *m, dim a, dim b); // unknown if b is 0
dim dims_ceildiv(struct module *m, dim a, dim b);
dim dims_mod(struct module *m, dim a, dim b);
dim dims_min(struct module *m, dim a, dim b);
dim dims_max(struct module *m, dim a, dim b);

// The size of what a and b broadcast to: b where a is 1, else a. The caller sees to it that they are equal where
// neither is 1; so the order of operands, and how several are nested, makes no difference.
dim dims_broadcast(struct module *m, dim a, dim b);
bool dims_may_be_one(struct module *m, dim d);
// Whether a dimension of size `from` broadcasts to `to` for all values of the symbols that broadcasting allows: they
// are equal, `from` is 1, or `to` is what `from` and another size broadcast to.
bool dims_stretches(struct module *m, dim from, dim to);
// 0 if d is 1, else 1 (or anything if d is 0): what a stride along a dimension of size d is multiplied by when it is
// broadcast.
dim dims_unless_one(struct module *m, dim d);

// The product of some sizes: a tensor's elements.
dim dims_product(struct module *m, int n, const dim *dims);

// The quotient of products that differ by common factors: dims_exact(6*N*S, 2*N) = 3*S. DIM_UNKNOWN if b does not
// divide a for every value of the symbols.
dim dims_exact(struct module *m, dim a, dim b);

// d = *content * result, with the greatest *content that divides every coefficient; 0 and DIM_UNKNOWN are themselves,
// once.
dim dims_content(struct module *m, dim d, int64_t *content);

// Bounds of the value, given that free symbols are at least 0. INT64_MAX: none.
void dims_range(const struct module *m, dim d, int64_t *lo, int64_t *hi);

// The value, with free symbols' values by id. False on overflow, division by 0 or DIM_UNKNOWN.
bool dims_eval(const struct module *m, dim d, const int64_t *symbols, int64_t *value);

// Reads an expression as messages and types have it; names become symbols. DIM_UNKNOWN: it is none.
dim dims_parse(struct module *m, const char *text);

// Operations that compute the value in an index from the free symbols of the function being built.
struct value *dims_build(struct builder *b, dim d);

// Calls use(data, id) for each free symbol in d.
void dims_symbols(const struct module *m, dim d, void (*use)(void *data, int id), void *data);

#endif
