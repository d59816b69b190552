// Which operators a model has, in its graph, the graphs within, and the functions that are called.
#ifndef TEGULA_FRONTEND_CENSUS_H
#define TEGULA_FRONTEND_CENSUS_H

#include "frontend/model.h"

struct census_row {
    struct loc first;        // a node
    const char *domain, *op; // "" for ai.onnx
    int64_t version;         // of the operator set
    int64_t count;           // of nodes; those of a function once, however often it is called
    bool supported;
    struct census_row *next;
};

// In the order in which they come up; NULL if the model has no nodes. The rows live in the arena.
const struct census_row *census_take(struct model *m, struct arena *a);

#endif
