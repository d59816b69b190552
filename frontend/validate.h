// Checks of a model that need no knowledge of operators. Steps of reading a model.
#ifndef TEGULA_FRONTEND_VALIDATE_H
#define TEGULA_FRONTEND_VALIDATE_H

#include "frontend/model.h"

// Checks every graph and function and fills m->graph, m->graphs, and the functions' bodies.
void validate_model(struct model *m, struct diags *diags);

// The nodes whose outputs a node needs, in the order in which it names them.
struct order_edges {
    size_t *start; // of each node's edges; n_nodes + 1
    size_t *producer;
    size_t n, room;
};

// Sorts the nodes of a graph topologically into g->nodes, and reports cycles. Nodes stay in the file's order where that
// is already right; else a producer moves to just before its first user. `where` begins every message.
void order_nodes(struct model *m, struct model_graph *g, const struct order_edges *edges, const char *where,
                 struct diags *diags);

#endif
