// The register tile of a product: how many rows by how many vectors of the sum are held in registers.
#include "passes/shape.h"

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
    for (int64_t v = 1; v <= 4 && v <= vectors; v++)
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
