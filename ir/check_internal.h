// What the files of the checker share.
#ifndef TEGULA_IR_CHECK_INTERNAL_H
#define TEGULA_IR_CHECK_INTERNAL_H

#include "ir/ir.h"

struct checker {
    struct module *m;
    const struct op *op;
    struct type **types; // out
};

// A check returns NULL, or what is wrong.
#define FAULT(...) return arena_printf(&c->m->arena, __VA_ARGS__)
#define NEED(condition, ...)                                                                                           \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            FAULT(__VA_ARGS__);                                                                                        \
    } while (0)

static inline const struct type *operand(const struct checker *c, int i)
{
    return c->op->operands[i]->type;
}

static inline const struct type *stated(const struct checker *c, int i)
{
    return c->op->results[i]->type;
}

static inline const char *text(const struct checker *c, const struct type *t)
{
    return type_string(&c->m->arena, c->m, t);
}

static inline const char *dim_text(const struct checker *c, dim d)
{
    return dim_string(&c->m->arena, c->m, d);
}

const char *check_combine(const struct checker *c, enum dtype d);
// The values a block hands to its operation must have the types of `want`.
const char *check_handed(const struct checker *c, const struct block *b, enum opcode code, int n,
                         struct value *const *want);

// check_graph.c
const char *check_reshape_tensor(const struct checker *c);
const char *check_data(const struct checker *c);
const char *check_sizes(const struct checker *c);
const char *check_einsum(const struct checker *c);
const char *check_conv(const struct checker *c);
const char *check_window_reduce(const struct checker *c);
const char *check_slice(const struct checker *c);
const char *check_dynamic_slice(const struct checker *c);
const char *check_slice_update(const struct checker *c);
const char *check_pad_tensor(const struct checker *c);
const char *check_concat(const struct checker *c);
const char *check_take(const struct checker *c);
const char *check_composite(const struct checker *c);
const char *check_assert(const struct checker *c);
const char *check_buffer(const struct checker *c);
const char *check_subview(const struct checker *c);
const char *check_launch(const struct checker *c);

#endif
