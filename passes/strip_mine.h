// Strip-mining of kernels for GPUs: what strip_mine.c, which decides, and strip_mine_cut.c, which cuts, share. The pass
// is described at the top of strip_mine.c.
#ifndef TEGULA_PASSES_STRIP_MINE_H
#define TEGULA_PASSES_STRIP_MINE_H

#include "passes/shape.h"

// What is known of a kernel's axes, for one cut.
struct strip_mine {
    struct function *k;
    struct pass_context *c;
    struct arena *scratch;
    struct shaper facts; // axes, clips, and the roots that are written
    int n_values;        // of the kernel when that was found
};

bool strip_has_axis(const struct strip_mine *s, const struct value *v, int axis);
// The tile's type where the axis is `size` long.
struct type *strip_type(const struct strip_mine *s, const struct value *v, int axis, int64_t size);

// Whether the kernel can walk the axis in strips, and whether it reduces along it and so may have to walk it again.
bool strip_can_cut(const struct strip_mine *s, int axis, bool *reduces);
// Cuts the axis into strips of `size` positions, a power of two. What is known of the kernel is stale then.
void strip_cut(struct strip_mine *s, int axis, int64_t size);

#endif
