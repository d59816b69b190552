#include "frontend/census.h"

#include <string.h>

#include "frontend/import_internal.h"

struct census {
    struct model *model;
    struct arena *arena;
    struct census_row *first, **end;
    struct map functions; // that were visited
};

static void count_graph(struct census *c, const struct model_graph *g);

static void count_operator(struct census *c, const struct model_graph *g, const TgOnnx__NodeProto *node)
{
    int64_t version = model_opset(c->model, g->function, node->domain);
    const char *domain = model_domain(node->domain), *op = node->op_type ? node->op_type : "";
    for (struct census_row *i = c->first; i; i = i->next)
        if (i->version == version && !strcmp(i->op, op) && !strcmp(i->domain, domain)) {
            i->count++;
            return;
        }
    struct census_row *new = ARENA_NEW(c->arena, struct census_row);
    *new =
        (struct census_row){model_loc(c->model, node), domain, op, version, 1, import_row(node, version) != NULL, NULL};
    *c->end = new;
    c->end = &new->next;
}

static void count_node(struct census *c, const struct model_graph *g, const TgOnnx__NodeProto *node)
{
    const struct model_function *f = model_callee(c->model, node);
    if (!f)
        count_operator(c, g, node);
    else if (!map_insert(&c->functions, c->arena, &f->proto, sizeof f->proto, (void *)f))
        count_graph(c, f->body);
    for (size_t i = 0; i < node->n_attribute; i++) {
        const struct model_graph *inner =
            node->attribute[i]->g ? model_subgraph(c->model, node->attribute[i]->g) : NULL;
        if (inner)
            count_graph(c, inner);
    }
}

static void count_graph(struct census *c, const struct model_graph *g)
{
    for (size_t i = 0; i < g->n_nodes; i++)
        count_node(c, g, g->nodes[i]);
}

const struct census_row *census_take(struct model *m, struct arena *a)
{
    struct census c = {.model = m, .arena = a};
    c.end = &c.first;
    map_init(&c.functions, m->secret);
    count_graph(&c, m->graph);
    return c.first;
}
