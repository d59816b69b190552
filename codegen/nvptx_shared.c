// Shared memory: regions, and the barriers between what one thread writes and another reads.
//
// Each conversion and reduction gets a region of its own while there is room, so that what it writes need not wait for
// what an earlier one reads; then regions are handed out from the start again. Accesses since the last barrier are
// remembered (to the kernel's views, too: threads may touch the same element), and a barrier is put before one that
// meets an earlier one, unless both read.
#include "codegen/nvptx_internal.h"

#include <string.h>

#define COMFORTABLE (48 * 1024) // bytes of shared memory that need no permission

static int64_t most_shared(const struct target_desc *t) // of a block
{
    int64_t kib = t->sm == 80 || t->sm == 87 ? 163 : t->sm >= 90 ? 227 : 99;
    return kib * 1024;
}

int64_t nvptx_shared_region(struct nvptx *n, int64_t bytes)
{
    bytes = (bytes + 127) & ~INT64_C(127); // lines of the banks
    if (n->shared_top + bytes > COMFORTABLE)
        n->shared_top = 0;
    int64_t at = n->shared_top;
    n->shared_top += bytes;
    if (n->shared_top > n->shared_bytes)
        n->shared_bytes = n->shared_top;
    if (n->shared_bytes > most_shared(n->l.target))
        lower_error(&n->l, NULL, "needs %lld bytes of shared memory, and a block has %lld on %s; choose smaller tiles",
                    (long long)n->shared_bytes, (long long)most_shared(n->l.target), n->l.target->name);
    return at;
}

static void add(struct nvptx *n, struct touch t)
{
    struct touches *s = &n->touches;
    if (s->n == s->room) {
        struct touch *grown = ARENA_ARRAY(&n->l.arena, struct touch, 2 * s->n + 16);
        if (s->n)
            memcpy(grown, s->list, sizeof *grown * (size_t)s->n);
        s->list = grown;
        s->room = 2 * s->n + 16;
    }
    s->list[s->n++] = t;
}

void nvptx_touch(struct nvptx *n, const struct value *root, int64_t from, int64_t to, bool write)
{
    for (int i = 0; i < n->touches.n; i++) {
        const struct touch *t = &n->touches.list[i];
        if (t->root == root && (write || t->write) && from < t->to && t->from < to) {
            nvptx_barrier(n);
            n->touches.n = 0;
        }
    }
    add(n, (struct touch){root, from, to, write});
}

void nvptx_touch_block(struct nvptx *n, const struct block *b)
{
    for (const struct op *op = b->first; op; op = op->next) {
        enum op_effect effect = op_info[op->code].effect;
        if (effect == EFFECT_READ || effect == EFFECT_WRITE)
            add(n, (struct touch){view_root(op->operands[op_view_operand(op)]), 0, 1, effect == EFFECT_WRITE});
        else if (op->code == OP_CONVERT_LAYOUT || op->code == OP_REDUCE)
            add(n, (struct touch){NULL, 0, INT64_MAX, true});
        for (int i = 0; i < op->n_blocks; i++)
            nvptx_touch_block(n, op->blocks[i]);
    }
}

struct touches nvptx_touches_copy(struct nvptx *n)
{
    struct touches s = n->touches;
    s.room = s.n;
    if (s.n)
        s.list = arena_copy(&n->l.arena, s.list, sizeof *s.list * (size_t)s.n);
    return s;
}

void nvptx_touches_join(struct nvptx *n, const struct touches *other)
{
    for (int i = 0; i < other->n; i++)
        add(n, other->list[i]);
}
