// What the files of the fold pass share.
#ifndef TEGULA_PASSES_FOLD_H
#define TEGULA_PASSES_FOLD_H

#include "passes/replace.h"

struct fold {
    struct function *k;
    struct replace replace;
    bool progress;
};

// The value of a constant, or of every element of a constant tile.
bool fold_constant(const struct value *v, union scalar *x);
bool fold_index(const struct value *v, int64_t *x); // of an integer or i1

struct value *fold_make_constant(struct fold *f, struct op *before, struct type *type, union scalar x);
// x broadcast to a type; NULL if that cannot be said here.
struct value *fold_as(struct fold *f, struct op *before, struct value *x, struct type *type);

// Moves a block's operations before op, and lets op's results stand for what it yields. Returns the first one moved, or
// what followed op; op is gone.
struct op *fold_unwrap(struct fold *f, struct op *op, struct block *b);

// What the result of a scalar operation is equal to; NULL: itself. May change the operation into a simpler one.
struct value *fold_scalar(struct fold *f, struct op *op);

#endif
