// Shaping for GPUs: what the files shape_gpu*.c share. The pass is described at the top of shape_gpu.c.
#ifndef TEGULA_PASSES_SHAPE_GPU_H
#define TEGULA_PASSES_SHAPE_GPU_H

#include "ir/layout_tile.h"
#include "passes/pass.h"

#define GPU_LANES 32
#define GPU_MOST_WARPS 16
#define GPU_REGISTERS 65536           // of 32 bits, for a block
#define GPU_ADDRESSABLE_REGISTERS 255 // of 32 bits, for a thread

// Accesses to memory of one shape, and along one dimension, share a layout.
struct gpu_access {
    int rank, fast;
    dim dims[MAX_RANK];
    int element_bits; // the least of theirs
    struct gpu_access *next;
};

struct gpu_shaper {
    struct module *m;
    struct function *k;
    struct pass_context *c;
    struct arena *scratch;
    int warps;
    struct gpu_access *accesses;
    const struct layout **of; // by value id: the layout foreseen; NULL: any will do
    int n_values;             // length of `of`
    bool changed, failed;
};

// shape_gpu_check.c: what cannot be done.
bool gpu_check(struct gpu_shaper *g);          // false after reporting all of it
void gpu_warn_of_spills(struct gpu_shaper *g); // after gpu_foresee
void gpu_fail(struct gpu_shaper *g, struct loc loc, const char *format, ...) __attribute__((format(printf, 3, 4)));
const char *gpu_text(struct gpu_shaper *g, const struct type *t);

// shape_gpu.c
void gpu_begin(struct gpu_shaper *g, struct function *k, struct pass_context *c);
// Finds the layouts of all values, by the types that they have. All sizes are powers of two.
void gpu_foresee(struct gpu_shaper *g);
// The layout foreseen for a tile, or the default.
struct layout gpu_wanted_layout(const struct gpu_shaper *g, const struct value *v);
bool gpu_is_shaped(const struct block *b); // has layouts already

// shape_gpu_pressure.c
int gpu_thread_registers(int warps); // of 32 bits, that a thread may have
// The most of them that live tiles take in a thread at once, after gpu_foresee, as long as one `among` them lives (by
// value id; NULL: all); *where is an operation at which they do.
int64_t gpu_pressure(struct gpu_shaper *g, const bool *among, const struct op **where);

// shape_gpu_choose.c: how many warps, and the layouts that operations would like best.
int gpu_warps(struct gpu_shaper *g);
// Notes the loads and stores of tiles.
void gpu_note_accesses(struct gpu_shaper *g, const struct block *b);
struct layout gpu_access_layout(const struct gpu_shaper *g, const struct op *op); // coalesced
struct layout gpu_default_layout(const struct gpu_shaper *g, const struct type *t);
// Layouts of a dot's factors and sum. Whether they are fragments of mma.
bool gpu_dot_layouts(const struct gpu_shaper *g, const struct op *dot, struct layout layouts[3]);
// Elements that a thread holds side by side in memory, where an access of layout l is made.
int64_t gpu_access_width(const struct op *op, const struct layout *l);

// shape_gpu_convert.c: brings operands into the layouts that operations want.
// Operand i of op, a tile, is replaced by one of layout l. With `reload`, loads that lead to it may be made again.
void gpu_need(struct gpu_shaper *g, struct op *op, int i, const struct layout *l, bool reload);

#endif
