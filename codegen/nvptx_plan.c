// Conversions that stay in a thread rename registers; those within a warp shuffle, where each target register comes
// from at most two source registers; all others go through shared memory. There, layouts in the order of either side
// are tried, plain and swizzled, and the one with the fewest wavefronts is taken; ldmatrix is tried for 16-bit
// elements.
#include "codegen/nvptx_plan.h"

#include <string.h>

#include "ir/layout_tile.h"

static bool plan_shuffle(struct convert_plan *p)
{
    p->n_choices = 0;
    for (unsigned i = 0; i < 32; i++) {
        enum layout_dim d = i < 5 ? LAYOUT_LANE : LAYOUT_WARP;
        unsigned bit = i < 5 ? i : i - 5;
        if (bit >= p->map.in.bits[d])
            continue;
        uint32_t reg = layout_basis(&p->map, d, bit, LAYOUT_REG);
        if (!reg || (p->n_choices == 1 && reg == p->choice[0]))
            continue;
        if (p->n_choices == 1)
            return false;
        p->choice[p->n_choices++] = reg;
    }
    return true;
}

// ---- Shared memory ---------------------------------------------------------------------------------------------

static unsigned registers(const struct layout *l)
{
    return 1u << l->in.bits[LAYOUT_REG];
}

// The widest access of the registers; returns its cost in wavefronts of a warp, all registers together.
static unsigned choose_width(struct plan_access *a, const struct layout *reg, const struct layout *shared,
                             unsigned element_bits)
{
    struct layout l = layout_solve(shared, reg);
    a->offset = layout_sublayout(&l, 1u << LAYOUT_REG | 1u << LAYOUT_LANE | 1u << LAYOUT_WARP, 1u << LAYOUT_OFFSET);
    uint32_t run[LAYOUT_MAX_BITS];
    a->width = layout_run(&a->offset, LAYOUT_OFFSET, 128 / element_bits, run);
    memcpy(a->run, run, sizeof a->run);
    for (; a->width > 1; a->width /= 2) {
        unsigned n = layout_wavefronts(reg, shared, element_bits, a->width);
        if (n)
            return n * (registers(reg) / a->width);
    }
    return layout_wavefronts(reg, shared, element_bits, 1) * registers(reg);
}

static void choose_matrices(struct convert_plan *p, const struct layout *to)
{
    uint32_t pair = p->transposed ? 1 : p->load.run[0];
    p->matrix_bits = 0;
    for (unsigned i = 0; i < to->in.bits[LAYOUT_REG] && p->matrix_bits < 2; i++)
        if ((UINT32_C(1) << i) != pair)
            p->matrix[p->matrix_bits++] = UINT32_C(1) << i;
}

static unsigned try_shared(struct convert_plan *p, const struct layout *from, const struct layout *to,
                           const struct layout *shared, unsigned element_bits)
{
    if (!layout_valid(shared))
        return UINT32_MAX;
    unsigned store = choose_width(&p->store, from, shared, element_bits),
             load = choose_width(&p->load, to, shared, element_bits);
    if (!store || !load)
        return UINT32_MAX;
    p->ldmatrix = p->transposed = false;
    for (int transposed = 0; transposed < 2 && element_bits == 16 && registers(to) >= 2; transposed++) {
        unsigned matrices = layout_ldmatrix_wavefronts(to, shared, 16, transposed) * (registers(to) / 2);
        bool pairs = transposed || (p->load.run[0] && !(p->load.run[0] & (p->load.run[0] - 1)));
        if (!matrices || !pairs || (p->ldmatrix && matrices >= load))
            continue;
        p->ldmatrix = true;
        p->transposed = transposed;
        load = matrices;
    }
    return store + load;
}

static bool plan_shared(struct convert_plan *best, const struct layout *from, const struct layout *to,
                        unsigned element_bits)
{
    unsigned rank = to->out.rank, least = UINT32_MAX;
    uint32_t shape[LAYOUT_MAX_RANK], elements = 1;
    for (unsigned d = 0; d < rank; d++) {
        shape[d] = (uint32_t)layout_out_size(to, LAYOUT_DIM0 + d);
        elements *= shape[d];
    }
    best->bytes = (int64_t)elements * element_bits / 8;
    for (unsigned fast = 0; fast < rank; fast++) {
        if (shape[fast] == 1 && !(elements == 1 && fast == 0))
            continue;
        unsigned order[LAYOUT_MAX_RANK], n = 0;
        order[n++] = fast;
        for (unsigned d = rank; d-- > 0;)
            if (d != fast)
                order[n++] = d;
        uint32_t row_bytes = shape[fast] * element_bits / 8, phase = row_bytes < 128 ? 128 / row_bytes : 1;
        for (int swizzled = 0; swizzled < 3; swizzled++) {
            struct layout shared =
                swizzled == 0
                    ? layout_shared(rank, shape, order)
                    : layout_shared_swizzled(
                          rank, shape, order,
                          (swizzled == 1 ? 128 : 32) / element_bits ? (swizzled == 1 ? 128 : 32) / element_bits : 1,
                          swizzled == 1 ? phase : 1, swizzled == 1 ? 8 / (phase > 8 ? 8 : phase) : 32);
            struct convert_plan p = *best;
            unsigned cost = try_shared(&p, from, to, &shared, element_bits);
            if (cost >= least)
                continue;
            least = cost;
            *best = p;
        }
    }
    if (least == UINT32_MAX)
        return false;
    if (best->ldmatrix)
        choose_matrices(best, to);
    return true;
}

bool convert_plan_make(const struct layout *from, const struct layout *to, unsigned element_bits,
                       struct convert_plan *plan)
{
    *plan = (struct convert_plan){.kind = PLAN_SHARED};
    enum layout_move move = layout_conversion(from, to, &plan->map);
    switch (move) {
    case LAYOUT_MOVE_NONE:
    case LAYOUT_MOVE_REGISTERS:
        plan->kind = PLAN_RENAME;
        return true;
    case LAYOUT_MOVE_LANES:
        plan->kind = PLAN_SHUFFLE;
        if (plan_shuffle(plan))
            return true;
        plan->kind = PLAN_SHARED;
        return plan_shared(plan, from, to, element_bits);
    case LAYOUT_MOVE_WARPS:
        return plan_shared(plan, from, to, element_bits);
    default:
        return false;
    }
}

uint32_t convert_plan_row(const struct convert_plan *p, unsigned lane_bit)
{
    const struct layout *o = &p->load.offset;
    if (lane_bit >= 3) { // which matrix
        if (lane_bit - 3 >= p->matrix_bits)
            return 0;
        uint32_t reg = p->matrix[lane_bit - 3];
        return layout_apply_packed(o, reg);
    }
    if (!p->transposed) // row r of a matrix is what lanes 4 r to 4 r + 3 hold
        return layout_basis(o, LAYOUT_LANE, 2 + lane_bit, LAYOUT_OFFSET);
    return lane_bit == 0 ? layout_basis(o, LAYOUT_REG, 0, LAYOUT_OFFSET)
                         : layout_basis(o, LAYOUT_LANE, lane_bit - 1, LAYOUT_OFFSET);
}
