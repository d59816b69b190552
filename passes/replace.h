// Values that others stand for. A pass that walks a kernel in order of dominance notes what replaces a value, and
// rewrites the operands of each operation as it comes to it; so no lists of uses are needed.
#ifndef TEGULA_PASSES_REPLACE_H
#define TEGULA_PASSES_REPLACE_H

#include "ir/ir.h"

struct replace {
    struct arena *arena;
    struct value **by_id; // NULL: the value itself
    int n;
};

void replace_init(struct replace *r, struct arena *a, const struct function *k);
// `to` may be replaced in turn, now or later. It takes over the name if it has none.
void replace_set(struct replace *r, const struct value *from, struct value *to);
struct value *replace_find(const struct replace *r, struct value *v);
// Returns whether an operand changed.
bool replace_operands(const struct replace *r, struct op *op);

#endif
