// The layouts that operations on a GPU would like best, and the number of warps.
//
// Memory: 16 bytes side by side per lane, lanes side by side along the contiguous dimension, so a warp's access is made
// of whole 128-byte lines; warps along the slowest dimensions, so a row that is reduced lies in one warp where it can.
// Products of f16 and bf16 summed in f32: the fragments of mma.m16n8k16, warps in a grid as square as the tile allows.
// Other products: blocks of 4 x 4 sums per thread, multiplied and added element by element.
#include <string.h>

#include "passes/shape.h"
#include "passes/shape_gpu.h"

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void shape_of(const struct type *t, uint32_t *shape)
{
    for (int d = 0; d < t->rank; d++)
        shape[d] = (uint32_t)t->dims[d];
}

// ---- Memory ----------------------------------------------------------------------------------------------------

static const struct type *accessed(const struct op *op)
{
    return op->code == OP_LOAD ? op->results[0]->type : op->operands[0]->type;
}

// The tile dimension along which the root is contiguous; the last if none is.
static int fast_dimension(const struct op *op)
{
    const struct value *root;
    struct affine_map map;
    struct value *terms[MAX_RANK][MAX_RANK];
    int n_terms[MAX_RANK];
    bounds_access(op, &root, &map, terms, n_terms);
    const struct type *t = accessed(op);
    for (int r = map.n_out - 1; r >= 0; r--) {
        if (root->type->strided ? root->type->strides[r] != 1 : r != map.n_out - 1)
            continue;
        for (int d = t->rank - 1; d >= 0; d--)
            if (map.coefficient[r][d] == 1 && t->dims[d] > 1)
                return d;
    }
    return t->rank - 1;
}

static struct gpu_access *find(const struct gpu_shaper *g, const struct type *t, int fast)
{
    for (struct gpu_access *a = g->accesses; a; a = a->next)
        if (a->rank == t->rank && a->fast == fast && !memcmp(a->dims, t->dims, sizeof(dim) * (size_t)t->rank))
            return a;
    return NULL;
}

static void note_access(struct gpu_shaper *g, const struct op *op)
{
    const struct type *t = accessed(op);
    int fast = fast_dimension(op), bits = (int)(8 * dtype_bytes(t->dtype));
    struct gpu_access *a = find(g, t, fast);
    if (!a) {
        a = ARENA_NEW(g->scratch, struct gpu_access);
        *a = (struct gpu_access){.rank = t->rank, .fast = fast, .element_bits = bits, .next = g->accesses};
        memcpy(a->dims, t->dims, sizeof a->dims);
        g->accesses = a;
    }
    if (bits < a->element_bits)
        a->element_bits = bits;
}

void gpu_note_accesses(struct gpu_shaper *g, const struct block *b)
{
    for (const struct op *op = b->first; op; op = op->next) {
        if ((op->code == OP_LOAD || op->code == OP_STORE) && accessed(op)->kind == TYPE_TILE)
            note_access(g, op);
        for (int i = 0; i < op->n_blocks; i++)
            gpu_note_accesses(g, op->blocks[i]);
    }
}

static struct layout blocked(const struct gpu_shaper *g, const struct type *t, int fast, int64_t width)
{
    struct layout_blocked b;
    uint32_t shape[MAX_RANK];
    int64_t elements = type_elements(t), lanes = GPU_LANES, warps = g->warps, threads = lanes * warps;
    if (t->rank == 0) {
        struct layout l = layout_empty(0), none = layout_broadcast(LAYOUT_LANE, 5),
                      others = layout_broadcast(LAYOUT_WARP, (unsigned)layout_log2((uint32_t)warps));
        none = layout_product(&l, &none);
        return layout_product(&none, &others);
    }
    shape_of(t, shape);
    int n = 0;
    b.order[n++] = (unsigned)fast;
    for (int d = t->rank - 1; d >= 0; d--)
        if (d != fast)
            b.order[n++] = (unsigned)d;
    for (int d = 0; d < t->rank; d++)
        b.per_thread[d] = b.lanes[d] = b.warps[d] = 1;
    width = least(width, shape[fast]);
    if (elements / threads < width)
        width = elements / threads < 1 ? 1 : elements / threads;
    b.per_thread[fast] = (uint32_t)width;
    for (int i = 0; i < n; i++) {
        unsigned d = b.order[i];
        b.lanes[d] = (uint32_t)least(lanes, shape[d] / b.per_thread[d]);
        lanes /= b.lanes[d];
    }
    for (int i = n - 1; i >= 0; i--) {
        unsigned d = b.order[i];
        b.warps[d] = (uint32_t)least(warps, shape[d] / b.per_thread[d] / b.lanes[d]);
        warps /= b.warps[d];
    }
    b.lanes[fast] *= (uint32_t)lanes; // what is left over holds copies
    b.warps[fast] *= (uint32_t)warps;
    return layout_blocked(&b, (unsigned)t->rank, shape);
}

struct layout gpu_access_layout(const struct gpu_shaper *g, const struct op *op)
{
    const struct type *t = accessed(op);
    int fast = fast_dimension(op);
    const struct gpu_access *a = find(g, t, fast);
    return blocked(g, t, fast, 128 / (a ? a->element_bits : 8 * dtype_bytes(t->dtype)));
}

struct layout gpu_default_layout(const struct gpu_shaper *g, const struct type *t)
{
    const struct gpu_access *a = find(g, t, t->rank - 1);
    return blocked(g, t, t->rank - 1, 128 / (a ? a->element_bits : 8 * dtype_bytes(t->dtype)));
}

int64_t gpu_access_width(const struct op *op, const struct layout *l)
{
    const struct type *t = accessed(op);
    if (t->rank == 0)
        return 1;
    uint32_t run[LAYOUT_MAX_BITS];
    return layout_run(l, LAYOUT_DIM0 + (unsigned)fast_dimension(op), (uint32_t)(16 / dtype_bytes(t->dtype)), run);
}

// ---- Products --------------------------------------------------------------------------------------------------

// A dot that mma.m16n8k16 computes: the dimensions of each operand that are m, n and k; all others are of size 1.
struct mma {
    int m[3], n[3], k[3]; // by operand; -1: it has none
    int64_t size[3];
};

static bool find_mma(const struct op *dot, struct mma *mma)
{
    struct einsum e;
    if (einsum_parse(op_attr(dot, ATTR_LABELS)->string, &e))
        return false;
    *mma = (struct mma){{-1, -1, -1}, {-1, -1, -1}, {-1, -1, -1}, {0}};
    enum dtype t = dot->operands[0]->type->dtype;
    if ((t != DTYPE_F16 && t != DTYPE_BF16) || dot->operands[1]->type->dtype != t ||
        dot->operands[2]->type->dtype != DTYPE_F32)
        return false;
    for (int x = 0; x < e.n_axes; x++) {
        int at[3] = {-1, -1, -1};
        int64_t size = 1;
        for (int i = 0; i < 3; i++)
            for (int d = 0; d < e.rank[i]; d++)
                if (e.axis[i][d] == x) {
                    at[i] = d;
                    size = dot->operands[i]->type->dims[d];
                }
        if (size == 1)
            continue;
        int role = at[2] < 0 ? 2 : at[1] < 0 ? 0 : at[0] < 0 ? 1 : -1;
        if (role < 0 || mma->size[role] || (role == 2 && (at[0] < 0 || at[1] < 0)))
            return false;
        memcpy(role == 0 ? mma->m : role == 1 ? mma->n : mma->k, at, sizeof at);
        mma->size[role] = size;
    }
    return mma->size[0] >= 16 && mma->size[1] >= 8 && mma->size[2] >= 16;
}

static void mma_layouts(const struct gpu_shaper *g, const struct op *dot, const struct mma *mma, struct layout *layouts)
{
    uint32_t warps[2] = {1, 1}, m = (uint32_t)mma->size[0], n = (uint32_t)mma->size[1], k = (uint32_t)mma->size[2];
    while ((int)(warps[0] * warps[1]) < g->warps) {
        bool can_m = m / warps[0] > 16, can_n = n / warps[1] > 8;
        if (can_m && (m / warps[0] >= n / warps[1] || !can_n))
            warps[0] *= 2;
        else
            warps[1] *= 2;
    }
    const uint32_t shapes[3][2] = {{m, k}, {k, n}, {m, n}};
    const int *rows[3] = {mma->m, mma->k, mma->m}, *columns[3] = {mma->k, mma->n, mma->n};
    for (int i = 0; i < 3; i++) {
        struct layout l = layout_mma(i == 0   ? LAYOUT_MMA_A
                                     : i == 1 ? LAYOUT_MMA_B
                                              : LAYOUT_MMA_ACC,
                                     16, 16, warps, shapes[i]);
        int source[MAX_RANK], rank = dot->operands[i]->type->rank;
        for (int d = 0; d < rank; d++)
            source[d] = d == rows[i][i] ? 0 : d == columns[i][i] ? 1 : -1;
        layouts[i] = layout_remap(&l, (unsigned)rank, source);
    }
}

bool gpu_dot_layouts(const struct gpu_shaper *g, const struct op *dot, struct layout layouts[3])
{
    struct mma mma;
    if (find_mma(dot, &mma)) {
        mma_layouts(g, dot, &mma, layouts);
        return true;
    }
    struct einsum e;
    einsum_parse(op_attr(dot, ATTR_LABELS)->string, &e);
    const struct type *t = dot->operands[2]->type;
    struct layout_blocked b;
    uint32_t shape[MAX_RANK];
    shape_of(t, shape);
    int64_t lanes = GPU_LANES, warps = g->warps, left = type_elements(t) / (lanes * warps);
    for (int d = 0; d < t->rank; d++) {
        b.per_thread[d] = b.lanes[d] = b.warps[d] = 1;
        b.order[d] = (unsigned)(t->rank - 1 - d);
    }
    for (int i = 0, n = 0; i < t->rank && n < 2; i++) { // the last two dimensions with several elements
        unsigned d = b.order[i];
        if (shape[d] == 1)
            continue;
        b.per_thread[d] = (uint32_t)least(4, least(shape[d], left > 1 ? left : 1));
        left /= b.per_thread[d];
        b.lanes[d] = (uint32_t)least(n++ ? lanes : 8, shape[d] / b.per_thread[d]);
        lanes /= b.lanes[d];
    }
    for (int d = 0; d < t->rank; d++) {
        b.warps[d] = (uint32_t)least(warps, shape[d] / b.per_thread[d] / b.lanes[d]);
        warps /= b.warps[d];
    }
    if (t->rank) {
        b.lanes[t->rank - 1] *= (uint32_t)lanes;
        b.warps[t->rank - 1] *= (uint32_t)warps;
    }
    layouts[2] = layout_blocked(&b, (unsigned)t->rank, shape);
    for (int i = 0; i < 2; i++)
        layouts[i] = layout_factor(&layouts[2], &e, i, dot->operands[i]->type);
    return false;
}

// ---- Warps -----------------------------------------------------------------------------------------------------

struct census {
    int64_t elements; // of the largest tile
    int64_t sums;     // of the largest sum of a dot
    int64_t most;     // warps that an mma can use
};

static void count_block(const struct block *b, struct census *c)
{
    for (const struct op *op = b->first; op; op = op->next) {
        for (int i = 0; i < op->n_results; i++) {
            int64_t n = type_elements(op->results[i]->type);
            if (n > c->elements)
                c->elements = n;
            if (op->code == OP_DOT && n > c->sums)
                c->sums = n;
        }
        struct mma mma;
        if (op->code == OP_DOT && find_mma(op, &mma))
            c->most = least(c->most, mma.size[0] / 16 * (mma.size[1] / 8));
        for (int i = 0; i < op->n_blocks; i++)
            count_block(op->blocks[i], c);
    }
}

int gpu_warps(struct gpu_shaper *g)
{
    struct census c = {1, 0, GPU_MOST_WARPS};
    count_block(g->k->body, &c);
    // 32 elements of the largest tile in a thread; of sums 64, so that an operand read serves more products.
    int64_t want = c.sums ? c.sums / (GPU_LANES * 64) : c.elements / (GPU_LANES * 32), warps = 4;
    while (warps < want && warps < (c.sums ? 8 : GPU_MOST_WARPS))
        warps *= 2;
    while (warps > c.most)
        warps /= 2;
    return (int)warps;
}
