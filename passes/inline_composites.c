// inline-composites: replaces composites by the operations in their blocks.
//
//     %y = composite "silu" (%a = %x) {         %s = sigmoid %x
//       %s = sigmoid %a                  =>     %y = mul %x, %s
//       %p = mul %a, %s
//       yield %p
//     }
//
// Those whose names the context's keep_composites lists stay, and so does what is in them.
#include <string.h>

#include "passes/pass.h"
#include "passes/replace.h"

struct inliner {
    struct replace replace;
    const char *keep;
    bool progress;
};

static bool is_kept(const struct inliner *in, const struct op *op)
{
    const char *name = op_attr(op, ATTR_NAME)->string;
    for (const char *p = in->keep; p && *p;) {
        size_t n = strcspn(p, ",");
        if (strlen(name) == n && !memcmp(name, p, n))
            return true;
        p += n + (p[n] == ',');
    }
    return false;
}

static void replace_inside(struct inliner *in, struct op *op)
{
    replace_operands(&in->replace, op);
    for (int i = 0; i < op->n_blocks; i++)
        for (struct op *inner = op->blocks[i]->first; inner; inner = inner->next)
            replace_inside(in, inner);
}

// Moves the block's operations before op. Returns the first of them, or what followed op; op is gone.
static struct op *unwrap(struct inliner *in, struct op *op)
{
    struct block *b = op->blocks[0], *outer = op->block;
    struct op *end = block_terminator(b);
    for (int i = 0; i < b->n_args; i++)
        replace_set(&in->replace, b->args[i], op->operands[i]);
    for (int i = 0; i < op->n_results; i++)
        replace_set(&in->replace, op->results[i], end->operands[i]);
    op_remove(end);
    struct op *first = b->first ? b->first : op->next;
    if (b->first) {
        for (struct op *moved = b->first; moved; moved = moved->next)
            moved->block = outer;
        b->first->previous = op->previous;
        *(op->previous ? &op->previous->next : &outer->first) = b->first;
        b->last->next = op;
        op->previous = b->last;
        b->first = b->last = NULL;
    }
    op_remove(op);
    in->progress = true;
    return first;
}

static void walk(struct inliner *in, struct block *b)
{
    for (struct op *op = b->first, *next; op; op = next) {
        next = op->next;
        replace_operands(&in->replace, op);
        if (op->code != OP_COMPOSITE)
            for (int i = 0; i < op->n_blocks; i++)
                walk(in, op->blocks[i]);
        else if (is_kept(in, op))
            replace_inside(in, op);
        else
            next = unwrap(in, op);
    }
}

bool pass_inline_composites(struct module *m, struct pass_context *c)
{
    bool progress = false;
    for (struct function *f = m->first_function; f; f = f->next) {
        if (f->kind != FUNCTION_GRAPH)
            continue;
        struct inliner in = {.keep = c->keep_composites};
        replace_init(&in.replace, c->scratch, f);
        walk(&in, f->body);
        progress |= in.progress;
    }
    return progress;
}
