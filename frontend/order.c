// Topological order by a depth-first search in the file's order, without recursion: a chain of nodes may be as long as
// the file. A file in order comes out as it is.
#include <string.h>

#include "frontend/validate.h"

#define MOST_CYCLES 8
#define LONGEST_PATH_SHOWN 16

struct visit {
    size_t node, next_edge;
};

static bool in_order(const struct model_graph *g, const struct order_edges *edges)
{
    for (size_t i = 0; i < g->n_nodes; i++)
        for (size_t k = edges->start[i]; k < edges->start[i + 1]; k++)
            if (edges->producer[k] >= i)
                return false;
    return true;
}

// stack[from] needs stack[from + 1], ..., which needs stack[n - 1], which needs stack[from].
static void report_cycle(struct model *m, const struct model_graph *g, const struct visit *stack, size_t from, size_t n,
                         const char *where, struct diags *diags)
{
    struct loc first = model_loc(m, g->file_nodes[stack[from].node]);
    const char *path = arena_printf(&m->scratch, "'%s'", first.node);
    for (size_t i = n; i-- > from + 1;) {
        if (n - i > LONGEST_PATH_SHOWN) {
            path = arena_printf(&m->scratch, "%s -> %zu more", path, i - from);
            break;
        }
        path = arena_printf(&m->scratch, "%s -> '%s'", path, model_loc(m, g->file_nodes[stack[i].node]).node);
    }
    diag_error(diags, first, "%sthe node needs its own result: %s -> '%s'", where, path, first.node);
}

void order_nodes(struct model *m, struct model_graph *g, const struct order_edges *edges, const char *where,
                 struct diags *diags)
{
    g->nodes = g->file_nodes;
    if (in_order(g, edges))
        return;

    enum { NEW, OPEN, DONE };
    size_t n = g->n_nodes, height = 0, n_done = 0;
    unsigned char *state = ARENA_ARRAY(&m->scratch, unsigned char, n);
    size_t *position = ARENA_ARRAY(&m->scratch, size_t, n);
    struct visit *stack = ARENA_ARRAY(&m->scratch, struct visit, n);
    int n_cycles = 0;
    g->nodes = ARENA_ARRAY(&m->arena, TgOnnx__NodeProto *, n);
    for (size_t root = 0; root < n; root++) {
        if (state[root] == NEW) {
            stack[height++] = (struct visit){root, edges->start[root]};
            state[root] = OPEN;
            position[root] = 0;
        }
        while (height) {
            struct visit *top = &stack[height - 1];
            if (top->next_edge == edges->start[top->node + 1]) {
                g->nodes[n_done++] = g->file_nodes[top->node];
                state[top->node] = DONE;
                height--;
                continue;
            }
            size_t producer = edges->producer[top->next_edge++];
            if (state[producer] == NEW) {
                state[producer] = OPEN;
                position[producer] = height;
                stack[height++] = (struct visit){producer, edges->start[producer]};
            } else if (state[producer] == OPEN && n_cycles++ < MOST_CYCLES) {
                report_cycle(m, g, stack, position[producer], height, where, diags);
            }
        }
    }
}
