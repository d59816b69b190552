// The register tile of a product: how many rows by how many vectors of the sum are held in registers.
#include "passes/shape.h"

#define MOST_VECTORS 4
#define MOST_ROW_VECTORS 12

// Cycles per step of the summed axis for one tile: two multiply-adds and two loads a cycle, four cycles of latency; the
// right factor's vectors come from the second-level cache, which is partly hidden; and the loop itself.
static double tile_cycles(const struct target_desc *t, int vector_bytes, int64_t rows, int64_t vectors)
{
    double fma = (double)(rows * vectors) / (t->fma ? 2 : 1);
    double loads = (double)(rows + vectors) / 2, latency = 4;
    double stream = (double)(vectors * vector_bytes) / 40;
    double most = fma > loads ? fma : loads;
    most = most > latency ? most : latency;
    most = most > stream ? most : stream;
    return most + stream / 4 + 1;
}

struct register_tile tile_choose(const struct target_desc *t, int lanes, int element_bytes, int64_t rows,
                                 int64_t columns, int64_t most_rows)
{
    int vector_bytes = lanes * element_bytes;
    int64_t vectors = (columns + lanes - 1) / lanes;
    struct register_tile best = {1, 1};
    double best_cycles = 1e30;
    // A single row has no use for the right factor's vectors but once, and is not to skip over any that lie in between.
    int64_t most_vectors = rows == 1 ? MOST_ROW_VECTORS : MOST_VECTORS;
    for (int64_t v = 1; v <= most_vectors && v <= vectors; v++)
        for (int64_t r = 1; r <= most_rows && r <= rows; r++) {
            if (r * v + v + 1 > t->n_vector_registers)
                continue;
            double full = (double)(rows / r) * (double)(vectors / v) * tile_cycles(t, vector_bytes, r, v);
            double right = vectors % v ? (double)(rows / r) * tile_cycles(t, vector_bytes, r, vectors % v) : 0;
            double below = rows % r ? (double)(vectors / v) * tile_cycles(t, vector_bytes, rows % r, v) : 0;
            double corner = rows % r && vectors % v ? tile_cycles(t, vector_bytes, rows % r, vectors % v) : 0;
            double cycles = full + right + below + corner;
            // Fewer, larger tiles at equal cost.
            if (cycles < best_cycles * 0.999) {
                best_cycles = cycles;
                best = (struct register_tile){r, v};
            }
        }
    return best;
}

struct register_tile tile_for_few(const struct target_desc *t, struct register_tile usual, int64_t vectors)
{
    if (vectors <= usual.vectors || vectors > MOST_ROW_VECTORS)
        return (struct register_tile){0, 0};
    int64_t rows = (t->n_vector_registers - vectors - 1) / vectors;
    return (struct register_tile){rows < 1 ? 1 : rows, vectors};
}
