// cse: an operation that computes what another, which dominates it, has computed is replaced by that one's result.
//
//     %x = add %a, %b                          %x = add %a, %b
//     for %i = 0 to N step 1 {                 for %i = 0 to N step 1 {
//       %y = add %b, %a                  =>      store %x, %c[%i]
//       store %y, %c[%i]                       }
//     }
//
// One walk, with a hash table whose entries leave it at the end of their block. Loads and gathers count as computations
// in kernels if nothing there writes to their root. Scratch and buffers are never shared.
#include <string.h>

#include "ir/table.h"
#include "passes/pass.h"
#include "passes/replace.h"

struct entry {
    struct op *op;
    uint64_t hash;
    struct entry *next;  // in its slot
    struct entry *older; // of all
};

struct cse {
    const struct function *k;
    struct arena *arena;
    struct replace replace;
    bool *written; // roots, by value id
    struct entry **slots, *newest;
    uint64_t mask;
    bool progress;
};

static bool is_candidate(const struct cse *s, const struct op *op)
{
    if (op->n_blocks || op->n_results != 1 || op->code == OP_SCRATCH || op->code == OP_BUFFER)
        return false;
    if (op_info[op->code].effect == EFFECT_READ) // launches write as well
        return s->k->kind == FUNCTION_KERNEL && !s->written[view_root(op->operands[op_view_operand(op)])->id];
    return op_info[op->code].effect == EFFECT_PURE;
}

// ---- Equality --------------------------------------------------------------------------------------------------

static bool commutes(const struct op *op)
{
    return op->n_operands == 2 && op_info[op->code].flags & SCALAR_COMMUTES;
}

static uint64_t mix(uint64_t hash, uint64_t x)
{
    hash = (hash ^ x) * 0x9E3779B97F4A7C15u;
    return hash ^ hash >> 32;
}

static uint64_t hash_attr(uint64_t hash, const struct attr *a)
{
    switch (attr_info[a->key].kind) {
    case ATTR_KIND_NUMBER:
        return a->number.is_float ? table_hash(hash, &a->number.f, sizeof a->number.f)
                                  : mix(hash, (uint64_t)a->number.i);
    case ATTR_KIND_INTS:
        return table_hash(hash, a->ints.v, sizeof *a->ints.v * (size_t)a->ints.n);
    case ATTR_KIND_STRING:
        return table_hash(hash, a->string, strlen(a->string));
    case ATTR_KIND_DIMS:
        return table_hash(hash, a->dims.v, sizeof *a->dims.v * (size_t)a->dims.n);
    case ATTR_KIND_DATA:
        return mix(hash, (uintptr_t)a->data.bytes);
    default:
        return mix(hash, (uint64_t)a->key); // the rest is left to the comparison
    }
}

static uint64_t hash_op(const struct op *op)
{
    uint64_t hash = mix((uint64_t)op->code, (uintptr_t)op->results[0]->type);
    if (commutes(op))
        hash = mix(hash, (uint64_t)op->operands[0]->id + (uint64_t)op->operands[1]->id);
    else
        for (int i = 0; i < op->n_operands; i++)
            hash = mix(hash, (uint64_t)op->operands[i]->id);
    for (int i = 0; i < op->n_attrs; i++)
        hash = hash_attr(hash, &op->attrs[i]);
    return hash;
}

static bool equal_attrs(const struct attr *a, const struct attr *b)
{
    if (a->key != b->key)
        return false;
    switch (attr_info[a->key].kind) {
    case ATTR_KIND_INT:
        return a->i == b->i;
    case ATTR_KIND_NUMBER: // by bits: 0 and -0 differ
        return a->number.is_float == b->number.is_float &&
               (a->number.is_float ? !memcmp(&a->number.f, &b->number.f, sizeof a->number.f)
                                   : a->number.i == b->number.i);
    case ATTR_KIND_INTS:
        return a->ints.n == b->ints.n && !memcmp(a->ints.v, b->ints.v, sizeof *a->ints.v * (size_t)a->ints.n);
    case ATTR_KIND_STRING:
        return !strcmp(a->string, b->string);
    case ATTR_KIND_OPCODE:
        return a->opcode == b->opcode;
    case ATTR_KIND_DTYPE:
        return a->dtype == b->dtype;
    case ATTR_KIND_AFFINE:
        if (a->map->n_in != b->map->n_in || a->map->n_out != b->map->n_out)
            return false;
        for (int r = 0; r < a->map->n_out; r++)
            for (int d = 0; d < a->map->n_in; d++)
                if (a->map->coefficient[r][d] != b->map->coefficient[r][d])
                    return false;
        return true;
    case ATTR_KIND_FLAG:
        return true;
    case ATTR_KIND_DIMS:
        return a->dims.n == b->dims.n && !memcmp(a->dims.v, b->dims.v, sizeof *a->dims.v * (size_t)a->dims.n);
    case ATTR_KIND_DATA:
        return a->data.size == b->data.size && a->data.bytes == b->data.bytes;
    }
    return false;
}

static bool equal_ops(const struct op *a, const struct op *b)
{
    if (a->code != b->code || a->n_operands != b->n_operands || a->n_attrs != b->n_attrs ||
        a->results[0]->type != b->results[0]->type)
        return false;
    bool same = true, swapped = commutes(a);
    for (int i = 0; i < a->n_operands; i++) {
        same &= a->operands[i] == b->operands[i];
        swapped = swapped && a->operands[i] == b->operands[1 - i];
    }
    for (int i = 0; i < a->n_attrs; i++)
        if (!equal_attrs(&a->attrs[i], &b->attrs[i]))
            return false;
    return same || swapped;
}

// ---- The walk --------------------------------------------------------------------------------------------------

static void merge(struct cse *s, struct op *op)
{
    uint64_t hash = hash_op(op);
    struct entry **slot = &s->slots[hash & s->mask];
    for (const struct entry *e = *slot; e; e = e->next)
        if (e->hash == hash && equal_ops(e->op, op)) {
            replace_set(&s->replace, op->results[0], e->op->results[0]);
            op_remove(op);
            s->progress = true;
            return;
        }
    struct entry *e = ARENA_NEW(s->arena, struct entry);
    *e = (struct entry){op, hash, *slot, s->newest};
    *slot = s->newest = e;
}

static void walk(struct cse *s, struct block *b)
{
    struct entry *outer = s->newest;
    for (struct op *op = b->first, *next; op; op = next) {
        next = op->next;
        s->progress |= replace_operands(&s->replace, op);
        for (int i = 0; i < op->n_blocks; i++)
            walk(s, op->blocks[i]);
        if (is_candidate(s, op))
            merge(s, op);
    }
    for (; s->newest != outer; s->newest = s->newest->older)
        s->slots[s->newest->hash & s->mask] = s->newest->next;
}

static void find_written(struct cse *s, const struct block *b)
{
    for (const struct op *op = b->first; op; op = op->next) {
        if (op_info[op->code].effect == EFFECT_WRITE)
            s->written[view_root(op->operands[op_view_operand(op)])->id] = true;
        for (int i = 0; i < op->n_blocks; i++)
            find_written(s, op->blocks[i]);
    }
}

bool pass_cse(struct module *m, struct pass_context *c)
{
    bool progress = false;
    for (struct function *k = m->first_function; k; k = k->next) {
        struct cse s = {.k = k, .arena = c->scratch, .mask = 15};
        while (s.mask < 2 * (uint64_t)k->n_values)
            s.mask = s.mask * 2 + 1;
        s.slots = ARENA_ARRAY(s.arena, struct entry *, s.mask + 1);
        s.written = ARENA_ARRAY(s.arena, bool, k->n_values);
        replace_init(&s.replace, s.arena, k);
        find_written(&s, k->body);
        walk(&s, k->grid);
        walk(&s, k->body);
        progress |= s.progress;
    }
    return progress;
}
