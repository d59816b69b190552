#include "passes/replace.h"

#include <string.h>

void replace_init(struct replace *r, struct arena *a, const struct function *k)
{
    *r = (struct replace){.arena = a, .n = k->n_values, .by_id = ARENA_ARRAY(a, struct value *, k->n_values)};
}

void replace_set(struct replace *r, const struct value *from, struct value *to)
{
    if (from->id >= r->n) {
        int n = from->id * 2 + 1;
        struct value **grown = ARENA_ARRAY(r->arena, struct value *, n);
        memcpy(grown, r->by_id, sizeof *grown * (size_t)r->n);
        r->by_id = grown;
        r->n = n;
    }
    r->by_id[from->id] = to;
    if (!to->name && to->symbol < 0)
        to->name = from->name;
}

struct value *replace_find(const struct replace *r, struct value *v)
{
    while (v->id < r->n && r->by_id[v->id])
        v = r->by_id[v->id];
    return v;
}

bool replace_operands(const struct replace *r, struct op *op)
{
    bool changed = false;
    for (int i = 0; i < op->n_operands; i++) {
        struct value *v = replace_find(r, op->operands[i]);
        changed |= v != op->operands[i];
        op->operands[i] = v;
    }
    return changed;
}
