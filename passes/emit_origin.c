// What a kernel does the work of (origin.h), told while the places of values are known.
#include <string.h>

#include "passes/lower_graph.h"
#include "passes/origin.h"

// The parameter that begins where the value lies; -1: the kernel does not write it.
static int param_at(const struct emit *e, const struct place *p)
{
    for (int i = 0; p->storage && i < e->kernel->n_params; i++)
        if (e->params[i].storage == p->storage && e->params[i].offset == p->view.offset)
            return i;
    return -1;
}

const struct origin *emit_origin(const struct emit *e)
{
    struct arena *a = &e->l->m->arena;
    struct origin *o = ARENA_NEW(a, struct origin);
    struct op **ops = ARENA_ARRAY(a, struct op *, e->n_ops + 1);
    struct origin_result *results = ARENA_ARRAY(a, struct origin_result, e->n_ops + 1);
    int n = 0;
    for (int i = 0; i < e->n_ops; i++) {
        const struct value *v = e->ops[i]->results[0];
        const struct place *p = &e->l->places[v->id];
        struct origin_result *r = &results[n];
        ops[i] = e->ops[i];
        *r = (struct origin_result){.value = v, .param = param_at(e, p)};
        memcpy(r->strides, p->view.strides, sizeof r->strides);
        n += r->param >= 0;
    }
    *o = (struct origin){e->l->graph, e->n_ops, (const struct op *const *)ops, e->copied, n, results};
    return o;
}
