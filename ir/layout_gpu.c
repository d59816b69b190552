// Linear layouts of NVIDIA GPUs: coalesced access, tensor core fragments, swizzled shared memory, and what an access
// between registers and shared memory costs. layout.h gives the contracts, layout.c the algebra.
#include "ir/layout.h"

#include <string.h>

static struct layout invalid(void)
{
    return layout_empty(LAYOUT_MAX_RANK + 1);
}

// 2^bits indices of `in`, side by side along `out`; out == NOWHERE: a broadcast.
struct piece {
    enum layout_dim in;
    int bits;
    enum layout_dim out;
};

#define ROW LAYOUT_DIM0
#define COL (LAYOUT_DIM0 + 1)
#define NOWHERE LAYOUT_DIMS

// Tiles l by the piece.
static void extend(struct layout *l, struct piece p)
{
    struct layout piece = p.bits < 0         ? invalid()
                          : p.out == NOWHERE ? layout_broadcast(p.in, (unsigned)p.bits)
                                             : layout_strided(p.in, (unsigned)p.bits, p.out, 0);
    *l = layout_product(l, &piece);
}

// ---- Register layouts ------------------------------------------------------------------------------------------

struct layout layout_blocked(const struct layout_blocked *b, unsigned rank, const uint32_t *shape)
{
    const struct {
        enum layout_dim dim;
        const uint32_t *counts;
    } levels[] = {{LAYOUT_REG, b->per_thread}, {LAYOUT_LANE, b->lanes}, {LAYOUT_WARP, b->warps}};
    struct layout l = layout_empty(rank);
    for (unsigned level = 0; level < sizeof levels / sizeof *levels; level++)
        for (unsigned i = 0; i < l.out.rank; i++) {
            unsigned k = b->order[i];
            if (k >= rank)
                return invalid();
            extend(&l, (struct piece){levels[level].dim, layout_log2(levels[level].counts[k]), LAYOUT_DIM0 + k});
        }
    return layout_fit(&l, shape, b->order);
}

// PTX ISA, "Matrix Fragments for mma.m16n8k8 / mma.m16n8k16 / mma.m16n8k32". In all of them groupID = lane >> 2 and
// threadID_in_group = lane % 4, and a 32-bit register holds 32 / element_bits operands that are neighbours along k.
struct layout layout_mma_fragment(enum layout_mma operand, unsigned element_bits, unsigned k)
{
    struct layout l = layout_empty(2);
    if (operand == LAYOUT_MMA_ACC) {
        extend(&l, (struct piece){LAYOUT_REG, 1, COL});
        extend(&l, (struct piece){LAYOUT_LANE, 2, COL});
        extend(&l, (struct piece){LAYOUT_LANE, 3, ROW});
        extend(&l, (struct piece){LAYOUT_REG, 1, ROW});
        return l;
    }
    if (element_bits != 8 && element_bits != 16 && element_bits != 32)
        return invalid();
    int packed = layout_log2(32 / element_bits), halves = layout_log2(k) - packed - 2; // of 4 registers each along k
    if (halves != 0 && halves != 1)
        return invalid();
    enum layout_dim k_dim = operand == LAYOUT_MMA_A ? COL : ROW;
    enum layout_dim mn_dim = operand == LAYOUT_MMA_A ? ROW : COL;
    extend(&l, (struct piece){LAYOUT_REG, packed, k_dim});
    extend(&l, (struct piece){LAYOUT_LANE, 2, k_dim});
    extend(&l, (struct piece){LAYOUT_LANE, 3, mn_dim});
    if (operand == LAYOUT_MMA_A)
        extend(&l, (struct piece){LAYOUT_REG, 1, ROW}); // m is 16, n is 8
    extend(&l, (struct piece){LAYOUT_REG, halves, k_dim});
    return l;
}

struct layout layout_mma(enum layout_mma operand, unsigned element_bits, unsigned k, const uint32_t warps[2],
                         const uint32_t shape[2])
{
    struct layout l = layout_mma_fragment(operand, element_bits, k);
    extend(&l, (struct piece){LAYOUT_WARP, layout_log2(warps[0]), operand == LAYOUT_MMA_B ? NOWHERE : ROW});
    extend(&l, (struct piece){LAYOUT_WARP, layout_log2(warps[1]), operand == LAYOUT_MMA_A ? NOWHERE : COL});
    if (layout_out_size(&l, ROW) > shape[0] || layout_out_size(&l, COL) > shape[1])
        return invalid(); // wrapping around would hand the instruction an element twice
    const unsigned row_first[] = {0, 1}, col_first[] = {1, 0};
    return layout_fit(&l, shape, operand == LAYOUT_MMA_B ? row_first : col_first);
}

// PTX ISA, "Register Fragments and Shared Memory Matrix Layouts" of wgmma: warp w of the warpgroup holds rows 16 w to
// 16 w + 15 like mma's accumulator, repeated along n in further registers.
struct layout layout_wgmma_acc(const uint32_t warps[2], const uint32_t shape[2])
{
    return warps[0] < 4 ? invalid() : layout_mma(LAYOUT_MMA_ACC, 32, 0, warps, shape);
}

// ---- Shared memory layouts -------------------------------------------------------------------------------------

struct layout layout_shared(unsigned rank, const uint32_t *shape, const unsigned *order)
{
    // One lane that holds the whole tile in registers, renamed.
    struct layout l = layout_empty(rank);
    l = layout_fit(&l, shape, order);
    l.in.bits[LAYOUT_OFFSET] = l.in.bits[LAYOUT_REG];
    l.in.bits[LAYOUT_REG] = 0;
    return l;
}

struct layout layout_swizzle(unsigned offset_bits, unsigned bits, unsigned base, unsigned shift)
{
    struct layout l = layout_strided(LAYOUT_OFFSET, offset_bits, LAYOUT_OFFSET, 0);
    if (!layout_valid(&l) || shift == 0)
        return invalid();
    for (unsigned i = 0; i < bits && base + shift + i < offset_bits; i++)
        l.basis[base + shift + i] ^= UINT32_C(1) << (base + i);
    return l;
}

static struct layout swizzled(const struct layout *plain, int bits, int base, int shift)
{
    if (!layout_valid(plain) || bits <= 0)
        return *plain;
    struct layout swizzle =
        layout_swizzle(plain->in.bits[LAYOUT_OFFSET], (unsigned)bits, (unsigned)base, (unsigned)shift);
    return layout_compose(plain, &swizzle);
}

// The fastest dimension.
static unsigned row_dim(unsigned rank, const unsigned *order)
{
    return order ? order[0] : rank - 1;
}

struct layout layout_shared_swizzled(unsigned rank, const uint32_t *shape, const unsigned *order, uint32_t vec,
                                     uint32_t per_phase, uint32_t max_phase)
{
    struct layout plain = layout_shared(rank, shape, order);
    int vec_bits = layout_log2(vec), per_phase_bits = layout_log2(per_phase), bits = layout_log2(max_phase);
    if (!layout_valid(&plain) || rank == 0 || vec_bits < 0 || per_phase_bits < 0 || bits < 0)
        return invalid();
    int row_bits = plain.out.bits[LAYOUT_DIM0 + row_dim(rank, order)];
    if (bits > row_bits - vec_bits)
        bits = row_bits - vec_bits;
    return swizzled(&plain, bits, vec_bits, row_bits + per_phase_bits - vec_bits);
}

struct layout layout_shared_tma(unsigned rank, const uint32_t *shape, const unsigned *order, unsigned element_bits,
                                unsigned swizzle_bytes)
{
    if (swizzle_bytes == 0)
        return layout_shared(rank, shape, order);
    if (rank == 0 || rank > LAYOUT_MAX_RANK || row_dim(rank, order) >= rank || layout_log2(element_bits) < 2 ||
        element_bits > 64 || (swizzle_bytes != 32 && swizzle_bytes != 64 && swizzle_bytes != 128))
        return invalid();
    unsigned row = row_dim(rank, order), panel_width = swizzle_bytes * 8 / element_bits;
    if (shape[row] < panel_width)
        return invalid();
    uint32_t panel[LAYOUT_MAX_RANK];
    memcpy(panel, shape, rank * sizeof *panel);
    panel[row] = panel_width;
    struct layout l = layout_shared(rank, panel, order);
    extend(&l, (struct piece){LAYOUT_OFFSET, layout_log2(shape[row]) - layout_log2(panel_width), LAYOUT_DIM0 + row});
    // Address bits 4.. are XORed with bits 7..; in elements that is as far from bit 0 as 16 bytes have elements.
    return swizzled(&l, layout_log2(swizzle_bytes / 16), layout_log2(128 / element_bits), 3);
}

// ---- Accesses between registers and shared memory --------------------------------------------------------------

// (reg, lane, warp) -> offset of its element.
static struct layout offsets(const struct layout *reg, const struct layout *shared)
{
    struct layout l = layout_solve(shared, reg);
    return layout_sublayout(&l, 1u << LAYOUT_REG | 1u << LAYOUT_LANE | 1u << LAYOUT_WARP, 1u << LAYOUT_OFFSET);
}

static unsigned dimension(const uint32_t *vectors, unsigned n)
{
    struct layout l = {.in.bits[LAYOUT_OFFSET] = (uint8_t)n, .out.bits[LAYOUT_OFFSET] = 32};
    memcpy(l.basis, vectors, n * sizeof *vectors);
    return layout_image_bits(&l);
}

// One pass's accesses are all XORs of n offsets. Of the 2^dimension distinct words they touch, equally many lie in each
// bank touched, and those take turns.
static unsigned turns(const uint32_t *offset, unsigned n, unsigned element_bits)
{
    uint32_t word[LAYOUT_MAX_BITS], bank[LAYOUT_MAX_BITS];
    for (unsigned i = 0; i < n; i++) {
        word[i] = element_bits >= 32 ? offset[i] * (element_bits / 32) : offset[i] / (32 / element_bits);
        bank[i] = word[i] % 32;
    }
    return 1u << (dimension(word, n) - dimension(bank, n));
}

static bool element_bits_ok(unsigned element_bits)
{
    return element_bits >= 4 && element_bits <= 64 && layout_log2(element_bits) >= 0;
}

unsigned layout_wavefronts(const struct layout *reg, const struct layout *shared, unsigned element_bits, unsigned vec)
{
    struct layout l = offsets(reg, shared);
    if (!layout_valid(&l) || l.in.bits[LAYOUT_LANE] > 5 || !element_bits_ok(element_bits) || layout_log2(vec) < 0 ||
        vec > 128 / element_bits || vec * element_bits < 8 || layout_vector_width(&l, LAYOUT_OFFSET, NULL) < vec)
        return 0;
    unsigned access_bits = vec * element_bits, lane_bits = l.in.bits[LAYOUT_LANE];
    unsigned pass_bits = access_bits <= 32 ? 5 : access_bits == 64 ? 4 : 3; // log2 of the lanes that go together
    uint32_t offset[LAYOUT_MAX_BITS];
    unsigned n = 0;
    for (unsigned i = 0; i < lane_bits && i < pass_bits; i++)
        offset[n++] = layout_basis(&l, LAYOUT_LANE, i, LAYOUT_OFFSET);
    for (uint32_t element = 1; element < vec; element *= 2)
        offset[n++] = element;
    unsigned passes = lane_bits > pass_bits ? 1u << (lane_bits - pass_bits) : 1;
    return passes * turns(offset, n, element_bits);
}

// Whether no basis vector of an input dimension has any of the bits of `mask` in its offset.
static bool avoids(const struct layout *l, enum layout_dim d, unsigned first_bit, unsigned last_bit, uint32_t mask)
{
    for (unsigned i = first_bit; i < last_bit; i++)
        if (layout_basis(l, d, i, LAYOUT_OFFSET) & mask)
            return false;
    return true;
}

// Whether the basis vectors of lane bits first.. are the offsets unit, 2 unit, ... (n of them).
static bool lanes_count(const struct layout *l, unsigned first, unsigned n, uint32_t unit)
{
    for (unsigned i = 0; i < n; i++)
        if (layout_basis(l, LAYOUT_LANE, first + i, LAYOUT_OFFSET) != unit << i)
            return false;
    return true;
}

unsigned layout_ldmatrix_wavefronts(const struct layout *reg, const struct layout *shared, unsigned element_bits,
                                    bool transposed)
{
    struct layout l = offsets(reg, shared);
    if (!layout_valid(&l) || l.in.bits[LAYOUT_LANE] != 5 ||
        (element_bits != 16 && (transposed || (element_bits != 8 && element_bits != 32))))
        return 0;
    unsigned reg_bits = l.in.bits[LAYOUT_REG], warp_bits = l.in.bits[LAYOUT_WARP];
    uint32_t per_reg = 32 / element_bits, per_row = 128 / element_bits; // elements in 4 and in 16 bytes
    uint32_t in_row = per_row - 1;                                      // these bits of an offset must be 0 for a row
    uint32_t row[3], offset[LAYOUT_MAX_BITS];
    if (transposed) {
        if (reg_bits < 1 || !avoids(&l, LAYOUT_REG, 0, reg_bits, in_row) || !avoids(&l, LAYOUT_LANE, 0, 2, in_row) ||
            !lanes_count(&l, 2, 3, 1))
            return 0;
        row[0] = layout_basis(&l, LAYOUT_REG, 0, LAYOUT_OFFSET);
        row[1] = layout_basis(&l, LAYOUT_LANE, 0, LAYOUT_OFFSET);
        row[2] = layout_basis(&l, LAYOUT_LANE, 1, LAYOUT_OFFSET);
    } else {
        // Which of a 32-bit register's elements comes first is free, so only the bits above them count.
        if (layout_vector_width(&l, LAYOUT_OFFSET, NULL) < per_reg ||
            !avoids(&l, LAYOUT_REG, 0, reg_bits, in_row & ~(per_reg - 1)) || !lanes_count(&l, 0, 2, per_reg) ||
            !avoids(&l, LAYOUT_LANE, 2, 5, in_row))
            return 0;
        for (unsigned i = 0; i < 3; i++)
            row[i] = layout_basis(&l, LAYOUT_LANE, 2 + i, LAYOUT_OFFSET);
    }
    if (!avoids(&l, LAYOUT_WARP, 0, warp_bits, in_row))
        return 0;
    unsigned n = 3;
    memcpy(offset, row, sizeof row);
    for (uint32_t element = 1; element < per_row; element *= 2)
        offset[n++] = element;
    return turns(offset, n, element_bits);
}
