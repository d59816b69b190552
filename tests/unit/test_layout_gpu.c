// The layouts of a GPU's instructions and of its shared memory, against formulas written out by hand, and bank
// conflicts against brute force.
#include "tests/unit/layouts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- mma and wgmma fragments: the formulas of the PTX ISA --------------------------------------------------------

START_TEST(mma_m16n8k16_16_bit)
{
    struct layout a = layout_mma_fragment(LAYOUT_MMA_A, 16, 16), b = layout_mma_fragment(LAYOUT_MMA_B, 16, 16);
    struct layout c = layout_mma_fragment(LAYOUT_MMA_ACC, 16, 16);
    ck_assert_uint_eq(layout_in_size(&a, LAYOUT_REG), 8);
    ck_assert_uint_eq(layout_in_size(&b, LAYOUT_REG), 4);
    ck_assert_uint_eq(layout_in_size(&c, LAYOUT_REG), 4);
    for (uint32_t lane = 0; lane < 32; lane++) {
        uint32_t group = lane >> 2, in_group = lane % 4;
        for (uint32_t i = 0; i < 8; i++)
            check_at(&a, (struct place){i, lane, 0}, (i < 2) || (4 <= i && i < 6) ? group : group + 8,
                     in_group * 2 + (i & 1) + (i >= 4 ? 8 : 0));
        for (uint32_t i = 0; i < 4; i++)
            check_at(&b, (struct place){i, lane, 0}, in_group * 2 + (i & 1) + (i >= 2 ? 8 : 0), group);
        for (uint32_t i = 0; i < 4; i++)
            check_at(&c, (struct place){i, lane, 0}, i < 2 ? group : group + 8, in_group * 2 + (i & 1));
    }
    ck_assert(layout_bijective(&a) && layout_bijective(&b) && layout_bijective(&c));
}
END_TEST

START_TEST(mma_m16n8k8_16_bit)
{
    struct layout a = layout_mma_fragment(LAYOUT_MMA_A, 16, 8), b = layout_mma_fragment(LAYOUT_MMA_B, 16, 8);
    ck_assert(layout_bijective(&a) && layout_bijective(&b));
    for (uint32_t lane = 0; lane < 32; lane++) {
        uint32_t group = lane >> 2, in_group = lane % 4;
        for (uint32_t i = 0; i < 4; i++)
            check_at(&a, (struct place){i, lane, 0}, i < 2 ? group : group + 8, in_group * 2 + (i & 1));
        for (uint32_t i = 0; i < 2; i++)
            check_at(&b, (struct place){i, lane, 0}, in_group * 2 + i, group);
    }
}
END_TEST

START_TEST(mma_tf32)
{
    struct layout a4 = layout_mma_fragment(LAYOUT_MMA_A, 32, 4), b4 = layout_mma_fragment(LAYOUT_MMA_B, 32, 4);
    struct layout a8 = layout_mma_fragment(LAYOUT_MMA_A, 32, 8), b8 = layout_mma_fragment(LAYOUT_MMA_B, 32, 8);
    for (uint32_t lane = 0; lane < 32; lane++) {
        uint32_t group = lane >> 2, in_group = lane % 4;
        for (uint32_t i = 0; i < 2; i++)
            check_at(&a4, (struct place){i, lane, 0}, i == 0 ? group : group + 8, in_group);
        check_at(&b4, (struct place){0, lane, 0}, in_group, group);
        for (uint32_t i = 0; i < 4; i++)
            check_at(&a8, (struct place){i, lane, 0}, i == 0 || i == 2 ? group : group + 8,
                     i == 0 || i == 1 ? in_group : in_group + 4);
        for (uint32_t i = 0; i < 2; i++)
            check_at(&b8, (struct place){i, lane, 0}, i == 0 ? in_group : in_group + 4, group);
    }
}
END_TEST

START_TEST(mma_m16n8k32_8_bit)
{
    struct layout a = layout_mma_fragment(LAYOUT_MMA_A, 8, 32), b = layout_mma_fragment(LAYOUT_MMA_B, 8, 32);
    for (uint32_t lane = 0; lane < 32; lane++) {
        uint32_t group = lane >> 2, in_group = lane % 4;
        for (uint32_t i = 0; i < 16; i++)
            check_at(&a, (struct place){i, lane, 0}, i < 4 || (8 <= i && i < 12) ? group : group + 8,
                     in_group * 4 + (i & 3) + (i >= 8 ? 16 : 0));
        for (uint32_t i = 0; i < 8; i++)
            check_at(&b, (struct place){i, lane, 0}, in_group * 4 + (i & 3) + (i >= 4 ? 16 : 0), group);
    }
}
END_TEST

START_TEST(mma_of_several_warps)
{
    const uint32_t warps[] = {2, 4}, a_shape[] = {64, 32}, b_shape[] = {32, 128}, c_shape[] = {64, 128};
    struct layout a = layout_mma(LAYOUT_MMA_A, 16, 16, warps, a_shape);
    struct layout b = layout_mma(LAYOUT_MMA_B, 16, 16, warps, b_shape);
    struct layout c = layout_mma(LAYOUT_MMA_ACC, 16, 16, warps, c_shape);
    ck_assert(layout_surjective(&a) && layout_surjective(&b) && layout_bijective(&c));
    ck_assert_uint_eq(layout_free_mask(&a, LAYOUT_WARP), 6); // copies in the warps along n
    ck_assert_uint_eq(layout_free_mask(&b, LAYOUT_WARP), 1); // and along m
    ck_assert_uint_eq(layout_free_mask(&c, LAYOUT_WARP) | layout_free_mask(&c, LAYOUT_REG), 0);
    // The rows that a warp's accumulator has are those of its A, the columns those of its B, register by register.
    for (uint32_t warp = 0; warp < 8; warp++) {
        check_at(&a, (struct place){0, 0, warp}, warp % 2 * 16, 0);
        check_at(&b, (struct place){0, 0, warp}, 0, warp / 2 * 8);
        check_at(&c, (struct place){0, 0, warp}, warp % 2 * 16, warp / 2 * 8);
    }
    check_at(&a, (struct place){8, 0, 0}, 0, 16); // next instruction along k, then along m
    check_at(&a, (struct place){16, 0, 0}, 32, 0);
    check_at(&c, (struct place){4, 0, 0}, 0, 32);
    const uint32_t small[] = {16, 128};
    struct layout too_small = layout_mma(LAYOUT_MMA_ACC, 16, 16, warps, small);
    ck_assert(!layout_valid(&too_small));
}
END_TEST

START_TEST(wgmma_accumulator)
{
    for (uint32_t warpgroups = 1; warpgroups <= 2; warpgroups++)
        for (uint32_t n = 8; n <= 256; n *= 2) {
            const uint32_t warps[] = {4 * warpgroups, 1}, shape[] = {64 * warpgroups * 2, n};
            struct layout d = layout_wgmma_acc(warps, shape);
            ck_assert(layout_bijective(&d));
            for (uint32_t warp = 0; warp < 4 * warpgroups; warp++)
                for (uint32_t lane = 0; lane < 32; lane++)
                    for (uint32_t i = 0; i < n; i++) { // n / 2 registers per instruction, two instructions along m
                        uint32_t in_group = lane % 4, j = i % (n / 2);
                        uint32_t row = warp * 16 + lane / 4 + (j / 2 % 2) * 8 + i / (n / 2) * 64 * warpgroups;
                        check_at(&d, (struct place){i, lane, warp}, row, j / 4 * 8 + in_group * 2 + j % 2);
                    }
        }
    const uint32_t two[] = {2, 1}, shape[] = {64, 64};
    struct layout bad = layout_wgmma_acc(two, shape);
    ck_assert(!layout_valid(&bad));
}
END_TEST

START_TEST(constructors_reject_misfits)
{
    const uint32_t shape[] = {16, 24}, tile[] = {16, 32}, zero[] = {0, 4};
    const unsigned twice[] = {1, 1}, beyond[] = {0, 7};
    struct layout bad[] = {
        layout_mma_fragment(LAYOUT_MMA_A, 16, 32),
        layout_mma_fragment(LAYOUT_MMA_A, 64, 8),
        layout_mma_fragment(LAYOUT_MMA_B, 16, 12),
        layout_mma_fragment(LAYOUT_MMA_B, 16, 0),
        layout_shared(2, shape, NULL),
        layout_shared(2, zero, NULL),
        layout_shared(7, tile, NULL),
        layout_shared(2, tile, twice),
        layout_shared(2, tile, beyond),
        layout_shared_swizzled(2, tile, NULL, 3, 1, 8),
        layout_shared_tma(2, tile, NULL, 16, 128), // 64 bytes wide
        layout_shared_tma(2, tile, NULL, 16, 48),
        layout_shared_tma(2, tile, beyond + 1, 16, 32),
        layout_swizzle(33, 1, 1, 1),
        layout_strided(LAYOUT_REG, 30, LAYOUT_DIM0, 3),
        layout_empty(7),
        layout_mma(LAYOUT_MMA_A, 16, 16, zero, tile),
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ck_assert_msg(!layout_valid(&bad[i]), "%zu is %s", i, text(&bad[i]));
        // The fault travels through any further operation.
        struct layout ok = layout_empty(2), l[] = {layout_product(&bad[i], &ok),
                                                   layout_product(&ok, &bad[i]),
                                                   layout_compose(&bad[i], &ok),
                                                   layout_compose(&ok, &bad[i]),
                                                   layout_solve(&bad[i], &ok),
                                                   layout_solve(&ok, &bad[i]),
                                                   layout_invert(&bad[i]),
                                                   layout_pseudo_invert(&bad[i]),
                                                   layout_transpose(&bad[i], NULL),
                                                   layout_reshape(&bad[i], 0, NULL),
                                                   layout_sublayout(&bad[i], ~0u, ~0u),
                                                   layout_fit(&bad[i], tile, NULL),
                                                   layout_drop_free_registers(&bad[i])};
        for (size_t j = 0; j < sizeof l / sizeof *l; j++)
            ck_assert_msg(!layout_valid(&l[j]), "operation %zu", j);
        ck_assert(!layout_injective(&bad[i]) && !layout_surjective(&bad[i]));
        ck_assert_int_eq(layout_conversion(&bad[i], &ok, NULL), LAYOUT_MOVE_IMPOSSIBLE);
        ck_assert_uint_eq(layout_wavefronts(&bad[i], &ok, 16, 1), 0);
        ck_assert_uint_eq(layout_wavefronts(&ok, &bad[i], 16, 1), 0);
    }
}
END_TEST

// ---- Blocked layouts ---------------------------------------------------------------------------------------------

START_TEST(blocked_within_the_tile)
{
    // 4 elements per lane side by side, 8 lanes in a row of 32, 4 rows per warp, 2 warps along the rows.
    const struct layout_blocked b = {.per_thread = {1, 4}, .lanes = {4, 8}, .warps = {2, 1}, .order = {1, 0}};
    const uint32_t shape[] = {16, 64};
    struct layout l = layout_blocked(&b, 2, shape);
    ck_assert(layout_bijective(&l));
    ck_assert_uint_eq(layout_in_size(&l, LAYOUT_REG), 16);
    for (uint32_t warp = 0; warp < 2; warp++)
        for (uint32_t lane = 0; lane < 32; lane++)
            for (uint32_t reg = 0; reg < 16; reg++) // the tile is twice as wide and twice as high as the warps
                check_at(&l, (struct place){reg, lane, warp}, lane / 8 + warp * 4 + (reg >> 3) * 8,
                         reg % 4 + lane % 8 * 4 + (reg >> 2 & 1) * 32);
    uint32_t regs[LAYOUT_MAX_BITS];
    ck_assert_uint_eq(layout_vector_width(&l, TILE(1), regs), 4);
    ck_assert_uint_eq(regs[0], 1);
    ck_assert_uint_eq(regs[1], 2);
    ck_assert_uint_eq(layout_vector_width(&l, TILE(0), regs), 1);
}
END_TEST

START_TEST(blocked_larger_than_the_tile)
{
    const struct layout_blocked b = {.per_thread = {1, 8}, .lanes = {8, 4}, .warps = {4, 1}, .order = {1, 0}};
    const uint32_t shape[] = {16, 4};
    struct layout l = layout_blocked(&b, 2, shape);
    ck_assert(layout_surjective(&l));
    ck_assert_str_eq(text(&l), "#linear<reg=[[0,1],[0,2]], lane=[[0,0],[0,0],[1,0],[2,0],[4,0]], warp=[[8,0],[0,0]]>");
    ck_assert_uint_eq(layout_free_mask(&l, LAYOUT_REG), 0);
    ck_assert_uint_eq(layout_free_mask(&l, LAYOUT_LANE), 3);
    ck_assert_uint_eq(layout_free_mask(&l, LAYOUT_WARP), 2);
    const struct layout_blocked odd = {.per_thread = {1, 3}, .lanes = {8, 4}, .warps = {4, 1}, .order = {1, 0}};
    l = layout_blocked(&odd, 2, shape);
    ck_assert(!layout_valid(&l));
}
END_TEST

START_TEST(vector_width_of_permuted_registers)
{
    // Columns 0..3 of a run are registers 0, 2, 3 and 1: 2 is column 1, 3 is column 2.
    struct layout l = parsed("#linear<reg=[[0,3],[0,1]], lane=[[0,4],[1,0]]>");
    uint32_t regs[LAYOUT_MAX_BITS];
    ck_assert_uint_eq(layout_vector_width(&l, TILE(1), regs), 4);
    ck_assert_uint_eq(regs[0], 2);
    ck_assert_uint_eq(regs[1], 3);
    l = parsed("#linear<reg=[[1,1],[0,2]], lane=[[0,1]]>"); // (0,1) is in another lane
    ck_assert_uint_eq(layout_vector_width(&l, TILE(1), regs), 1);
}
END_TEST

// ---- Shared memory -----------------------------------------------------------------------------------------------

static uint32_t offset_of(const struct layout *shared, uint32_t row, uint32_t col)
{
    struct layout inverse = layout_invert(shared);
    ck_assert(layout_valid(&inverse));
    uint32_t in[LAYOUT_DIMS] = {[TILE(0)] = row, [TILE(1)] = col}, out[LAYOUT_DIMS];
    layout_apply(&inverse, in, out);
    return out[LAYOUT_OFFSET];
}

START_TEST(shared_plain)
{
    const uint32_t shape[] = {16, 64};
    const unsigned columns_first[] = {0, 1};
    struct layout rows = layout_shared(2, shape, NULL), cols = layout_shared(2, shape, columns_first);
    for (uint32_t r = 0; r < 16; r++)
        for (uint32_t c = 0; c < 64; c++) {
            ck_assert_uint_eq(offset_of(&rows, r, c), r * 64 + c);
            ck_assert_uint_eq(offset_of(&cols, r, c), c * 16 + r);
        }
}
END_TEST

START_TEST(shared_swizzled)
{
    static const struct {
        uint32_t rows, cols, vec, per_phase, max_phase;
    } cases[] = {{32, 64, 8, 1, 8}, {32, 32, 8, 2, 4},  {32, 16, 8, 4, 2}, {64, 32, 4, 1, 8},
                 {8, 16, 1, 1, 1},  {16, 16, 4, 1, 16}, {4, 64, 8, 2, 8},  {16, 8, 16, 1, 2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const uint32_t shape[] = {cases[i].rows, cases[i].cols}, vec = cases[i].vec;
        struct layout l = layout_shared_swizzled(2, shape, NULL, vec, cases[i].per_phase, cases[i].max_phase);
        ck_assert(layout_bijective(&l));
        uint32_t groups = shape[1] / vec ? shape[1] / vec : 1;
        for (uint32_t r = 0; r < shape[0]; r++)
            for (uint32_t c = 0; c < shape[1]; c++) {
                uint32_t phase = r / cases[i].per_phase % cases[i].max_phase % groups;
                ck_assert_uint_eq(offset_of(&l, r, c), r * shape[1] + ((c / vec) ^ phase) * vec + c % vec);
            }
    }
}
END_TEST

START_TEST(shared_tma)
{
    // Bytes: address bits 4.. of each panel XOR bits 7..
    for (unsigned swizzle = 32; swizzle <= 128; swizzle *= 2)
        for (unsigned element_bits = 8; element_bits <= 32; element_bits *= 2) {
            uint32_t bytes = element_bits / 8, panel_cols = swizzle / bytes;
            const uint32_t shape[] = {32, panel_cols * 2}; // two panels
            struct layout l = layout_shared_tma(2, shape, NULL, element_bits, swizzle);
            for (uint32_t r = 0; r < shape[0]; r++)
                for (uint32_t c = 0; c < shape[1]; c++) {
                    uint32_t address = (c / panel_cols * shape[0] + r) * swizzle + c % panel_cols * bytes;
                    address ^= (address >> 7 & (swizzle / 16 - 1)) << 4;
                    ck_assert_uint_eq(offset_of(&l, r, c) * bytes, address);
                }
        }
    const uint32_t shape[] = {64, 64};
    struct layout a = layout_shared_tma(2, shape, NULL, 16, 128), b = layout_shared_swizzled(2, shape, NULL, 8, 1, 8);
    check_equal(&a, &b);
    a = layout_shared_tma(2, shape, NULL, 16, 0);
    b = layout_shared(2, shape, NULL);
    check_equal(&a, &b);
    struct layout swizzle = layout_swizzle(12, 3, 3, 3), twice = layout_compose(&swizzle, &swizzle);
    struct layout one = layout_identity(&swizzle.in);
    check_equal(&twice, &one);
}
END_TEST

START_TEST(ldmatrix_conflicts)
{
    // A tile of 64 columns of 16 bits: rows are 128 bytes apart, so all eight rows of a matrix start in bank 0.
    const uint32_t warps[] = {1, 1}, a_shape[] = {16, 64}, b_shape[] = {64, 64};
    struct layout a = layout_mma(LAYOUT_MMA_A, 16, 16, warps, a_shape);
    struct layout plain = layout_shared(2, a_shape, NULL), swizzled = layout_shared_tma(2, a_shape, NULL, 16, 128);
    ck_assert_uint_eq(layout_ldmatrix_wavefronts(&a, &plain, 16, false), 8);
    ck_assert_uint_eq(layout_ldmatrix_wavefronts(&a, &swizzled, 16, false), 1);
    ck_assert_uint_eq(layout_ldmatrix_wavefronts(&a, &plain, 16, true), 0);
    // Narrower tiles with the narrower swizzles.
    for (unsigned bytes = 32; bytes <= 64; bytes *= 2) {
        const uint32_t shape[] = {16, bytes / 2};
        a = layout_mma(LAYOUT_MMA_A, 16, 16, warps, shape);
        plain = layout_shared(2, shape, NULL);
        swizzled = layout_shared_tma(2, shape, NULL, 16, bytes);
        ck_assert_uint_eq(layout_ldmatrix_wavefronts(&a, &plain, 16, false), bytes / 16);
        ck_assert_uint_eq(layout_ldmatrix_wavefronts(&a, &swizzled, 16, false), 1);
    }
    // B is k x n: n fastest wants .trans, k fastest does not.
    const unsigned k_fast[] = {0, 1};
    struct layout b = layout_mma(LAYOUT_MMA_B, 16, 16, warps, b_shape);
    struct layout row_major = layout_shared_tma(2, b_shape, NULL, 16, 128);
    struct layout col_major = layout_shared_tma(2, b_shape, k_fast, 16, 128);
    plain = layout_shared(2, b_shape, NULL);
    ck_assert_uint_eq(layout_ldmatrix_wavefronts(&b, &row_major, 16, true), 1);
    ck_assert_uint_eq(layout_ldmatrix_wavefronts(&b, &plain, 16, true), 8);
    ck_assert_uint_eq(layout_ldmatrix_wavefronts(&b, &row_major, 16, false), 0);
    ck_assert_uint_eq(layout_ldmatrix_wavefronts(&b, &col_major, 16, false), 1);
    ck_assert_uint_eq(layout_ldmatrix_wavefronts(&b, &col_major, 16, true), 0);
    // 8 and 32 bits without .trans only.
    const uint32_t shape32[] = {16, 32}, shape8[] = {16, 128};
    a = layout_mma(LAYOUT_MMA_A, 32, 8, warps, shape32);
    swizzled = layout_shared_tma(2, shape32, NULL, 32, 128);
    ck_assert_uint_eq(layout_ldmatrix_wavefronts(&a, &swizzled, 32, false), 1);
    ck_assert_uint_eq(layout_ldmatrix_wavefronts(&a, &swizzled, 32, true), 0);
    a = layout_mma(LAYOUT_MMA_A, 8, 32, warps, shape8);
    swizzled = layout_shared_tma(2, shape8, NULL, 8, 128);
    ck_assert_uint_eq(layout_ldmatrix_wavefronts(&a, &swizzled, 8, false), 1);
    // A swizzle of units smaller than 16 bytes breaks the rows up.
    const uint32_t shape16[] = {16, 64};
    a = layout_mma(LAYOUT_MMA_A, 16, 16, warps, shape16);
    swizzled = layout_shared_swizzled(2, shape16, NULL, 4, 1, 8);
    ck_assert_uint_eq(layout_ldmatrix_wavefronts(&a, &swizzled, 16, false), 0);
}
END_TEST

START_TEST(ldmatrix_wants_aligned_rows)
{
    static const struct {
        const char *reg;
        bool transposed, ok;
    } cases[] = {
        {"#linear<reg=[[0,1],[8,0]], lane=[[0,2],[0,4],[1,0],[2,0],[4,0]]>", false, true},
        {"#linear<reg=[[8,0],[0,1]], lane=[[0,2],[0,4],[1,0],[2,0],[4,0]]>", false, true},  // any order of registers
        {"#linear<reg=[[0,1],[8,1]], lane=[[0,2],[0,4],[1,0],[2,0],[4,0]]>", false, true},  // halves swapped
        {"#linear<reg=[[0,1],[8,4]], lane=[[0,2],[0,4],[1,0],[2,0],[4,0]]>", false, false}, // lanes rotated
        {"#linear<reg=[[0,1],[8,0]], lane=[[0,4],[0,2],[1,0],[2,0],[4,0]]>", false, false}, // lanes swapped
        {"#linear<reg=[[0,1]], lane=[[0,2],[0,4],[1,0],[2,0],[4,0]], warp=[[8,0]]>", false, true},
        {"#linear<reg=[[0,1]], lane=[[0,2],[0,4],[1,0],[2,0],[4,0]], warp=[[8,4]]>", false, false},
        {"#linear<reg=[[8,0]], lane=[[0,2],[0,4],[1,0],[2,0],[4,0]], warp=[[0,1]]>", false, false},
        {"#linear<reg=[[1,0],[8,0]], lane=[[2,0],[4,0],[0,1],[0,2],[0,4]]>", true, true},
        {"#linear<reg=[[1,0],[8,1]], lane=[[2,0],[4,0],[0,1],[0,2],[0,4]]>", true, false},
        {"#linear<reg=[[1,0],[8,0]], lane=[[2,4],[4,0],[0,1],[0,2],[0,4]]>", true, false},
        {"#linear<reg=[[1,0]], lane=[[2,0],[4,0],[0,1],[0,2],[0,4]], warp=[[8,2]]>", true, false},
        {"#linear<lane=[[2,0],[4,0],[0,1],[0,2],[0,4]], warp=[[1,0],[8,0]]>", true, false},
    };
    const uint32_t shape[] = {16, 8};
    struct layout shared = layout_shared(2, shape, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct layout reg = parsed(cases[i].reg);
        ck_assert(layout_bijective(&reg));
        bool ok = layout_ldmatrix_wavefronts(&reg, &shared, 16, cases[i].transposed);
        ck_assert_msg(ok == cases[i].ok, "%s", cases[i].reg);
        ck_assert_uint_eq(layout_ldmatrix_wavefronts(&reg, &shared, 16, !cases[i].transposed), 0);
    }
}
END_TEST

// What ldmatrix does, lane by lane, on a memory whose cells hold their own offset.
static void emulate_ldmatrix(const struct layout *reg, const struct layout *shared, bool transposed)
{
    struct layout offset = layout_solve(shared, reg);
    for (uint32_t warp = 0; warp < layout_in_size(reg, LAYOUT_WARP); warp++)
        for (uint32_t pair = 0; pair < layout_in_size(reg, LAYOUT_REG); pair += 2) {
            uint32_t row_address[8];
            for (uint32_t row = 0; row < 8; row++) {
                uint32_t in[LAYOUT_DIMS] = {[LAYOUT_WARP] = warp, [LAYOUT_REG] = pair}, out[LAYOUT_DIMS];
                in[LAYOUT_LANE] = transposed ? row / 2 : row * 4;
                in[LAYOUT_REG] += transposed ? row % 2 : 0;
                layout_apply(&offset, in, out);
                row_address[row] = out[LAYOUT_OFFSET];
                ck_assert_uint_eq(row_address[row] % 8, 0);
            }
            for (uint32_t lane = 0; lane < 32; lane++)
                for (uint32_t half = 0; half < 2; half++) {
                    uint32_t row = transposed ? lane % 4 * 2 + half : lane / 4;
                    uint32_t col = transposed ? lane / 4 : lane % 4 * 2 + half;
                    uint32_t in[LAYOUT_DIMS] = {[LAYOUT_WARP] = warp, [LAYOUT_REG] = pair + half, [LAYOUT_LANE] = lane};
                    uint32_t out[LAYOUT_DIMS];
                    layout_apply(&offset, in, out);
                    ck_assert_uint_eq(out[LAYOUT_OFFSET], row_address[row] + col);
                }
        }
}

START_TEST(ldmatrix_emulated)
{
    const uint32_t warps[] = {2, 2}, shape[] = {64, 64};
    const unsigned col_first[] = {0, 1};
    for (int operand = LAYOUT_MMA_A; operand <= LAYOUT_MMA_B; operand++)
        for (int by_columns = 0; by_columns < 2; by_columns++)
            for (unsigned swizzle = 0; swizzle <= 128; swizzle = swizzle ? swizzle * 2 : 32) {
                struct layout reg = layout_mma((enum layout_mma)operand, 16, 16, warps, shape);
                struct layout shared = layout_shared_tma(2, shape, by_columns ? col_first : NULL, 16, swizzle);
                bool transposed = (operand == LAYOUT_MMA_B) != (by_columns == 1);
                ck_assert_uint_ne(layout_ldmatrix_wavefronts(&reg, &shared, 16, transposed), 0);
                ck_assert_uint_eq(layout_ldmatrix_wavefronts(&reg, &shared, 16, !transposed), 0);
                emulate_ldmatrix(&reg, &shared, transposed);
            }
}
END_TEST

START_TEST(wavefronts_known)
{
    // A warp reads a row of 32 words: one wavefront; a column of a 32 x 32 matrix: 32; with a word-wise swizzle: 1.
    struct layout row = parsed("#linear<reg=[[1,0],[2,0],[4,0],[8,0],[16,0]], lane=[[0,1],[0,2],[0,4],[0,8],[0,16]]>");
    struct layout col = parsed("#linear<reg=[[0,1],[0,2],[0,4],[0,8],[0,16]], lane=[[1,0],[2,0],[4,0],[8,0],[16,0]]>");
    const uint32_t shape[] = {32, 32};
    struct layout plain = layout_shared(2, shape, NULL), swizzled = layout_shared_swizzled(2, shape, NULL, 1, 1, 32);
    ck_assert_uint_eq(layout_wavefronts(&row, &plain, 32, 1), 1);
    ck_assert_uint_eq(layout_wavefronts(&col, &plain, 32, 1), 32);
    ck_assert_uint_eq(layout_wavefronts(&row, &swizzled, 32, 1), 1);
    ck_assert_uint_eq(layout_wavefronts(&col, &swizzled, 32, 1), 1);
    ck_assert_uint_eq(layout_wavefronts(&col, &plain, 32, 4), 32); // 8 lanes x 16 bytes in 4 banks, four times
    ck_assert_uint_eq(layout_wavefronts(&col, &plain, 64, 2), 32); // the same 16 bytes per lane
    ck_assert_uint_eq(layout_wavefronts(&col, &plain, 32, 8), 0);  // 32 bytes
    ck_assert_uint_eq(layout_wavefronts(&row, &plain, 32, 2), 0);  // not side by side
    ck_assert_uint_eq(layout_wavefronts(&row, &plain, 16, 1), 1);
    ck_assert_uint_eq(layout_wavefronts(&row, &plain, 12, 1), 0);
    ck_assert_uint_eq(layout_wavefronts(&row, &plain, 32, 3), 0);
    // Coalesced stores of 16 bytes per lane into the 128-byte swizzle: the ideal 4.
    const struct layout_blocked b = {.per_thread = {1, 8}, .lanes = {4, 8}, .warps = {4, 1}, .order = {1, 0}};
    const uint32_t tile[] = {64, 64};
    struct layout blocked = layout_blocked(&b, 2, tile), tma = layout_shared_tma(2, tile, NULL, 16, 128);
    ck_assert_uint_eq(layout_wavefronts(&blocked, &tma, 16, 8), 4);
    ck_assert_uint_eq(layout_wavefronts(&blocked, &tma, 16, 16), 0);
    // All lanes read one word.
    struct layout one = parsed("#linear<reg=[[1]], lane=[[0],[0],[0],[0],[0]]>"), two = parsed("#linear<offset=[[1]]>");
    ck_assert_uint_eq(layout_wavefronts(&one, &two, 32, 1), 1);
}
END_TEST

static unsigned brute_force_wavefronts(const struct layout *reg, const struct layout *shared, unsigned element_bits,
                                       unsigned vec, struct place start)
{
    struct layout offset = layout_solve(shared, reg);
    uint32_t regs[LAYOUT_MAX_BITS];
    if (!layout_valid(&offset) || layout_vector_width(&offset, LAYOUT_OFFSET, regs) < vec)
        return 0;
    unsigned bits = vec * element_bits, group = bits <= 32 ? 32 : bits == 64 ? 16 : 8, wavefronts = 0;
    for (uint32_t first = 0; first < 32; first += group) {
        uint32_t words[32 * 16], n = 0;
        unsigned per_bank[32] = {0}, most = 0;
        for (uint32_t lane = first; lane < first + group; lane++)
            for (uint32_t x = 0; x < vec; x++) {
                uint32_t in[LAYOUT_DIMS] = {[LAYOUT_REG] = start.reg, [LAYOUT_LANE] = lane, [LAYOUT_WARP] = start.warp};
                uint32_t out[LAYOUT_DIMS];
                for (unsigned j = 0; j < 5; j++)
                    in[LAYOUT_REG] ^= x >> j & 1 ? regs[j] : 0;
                layout_apply(&offset, in, out);
                uint32_t word = (uint32_t)((uint64_t)out[LAYOUT_OFFSET] * element_bits / 32), i = 0;
                while (i < n && words[i] != word)
                    i++;
                if (i == n) {
                    words[n++] = word;
                    if (++per_bank[word % 32] > most)
                        most = per_bank[word % 32];
                }
            }
        wavefronts += most;
    }
    return wavefronts;
}

START_TEST(wavefronts_by_brute_force)
{
    seed(3);
    int possible = 0;
    for (int round = 0; round < 3000; round++) {
        unsigned per_lane = 1u << random_below(4), columns = 1u << random_below(6);
        struct layout_blocked b = {.per_thread = {1, per_lane},
                                   .lanes = {32 / columns, columns},
                                   .warps = {1, 2},
                                   .order = {random_below(2), 0}};
        b.order[1] = 1 - b.order[0];
        const uint32_t shape[] = {8u << random_below(4), 16u << random_below(4)};
        struct layout reg = layout_blocked(&b, 2, shape);
        struct layout shared =
            layout_shared_swizzled(2, shape, NULL, 1u << random_below(4), 1u << random_below(3), 1u << random_below(5));
        if (random_below(4) == 0) // anything at all
            for (unsigned i = 0; i < layout_in_bits(&reg); i++)
                reg.basis[i] = random_below(1u << layout_out_bits(&reg));
        unsigned element_bits = 8u << random_below(4), vec = 1;
        while (vec < 128 / element_bits && random_below(3))
            vec *= 2;
        unsigned n = layout_wavefronts(&reg, &shared, element_bits, vec);
        possible += n > 0;
        for (int i = 0; i < 4; i++) {
            struct place start = {random_below(1u << reg.in.bits[LAYOUT_REG]), 0, random_below(2)};
            ck_assert_uint_eq(brute_force_wavefronts(&reg, &shared, element_bits, vec, start), n);
        }
    }
    ck_assert_int_gt(possible, 1000);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("layout_gpu");
    TCase *fragments = tcase_create("fragments"), *shared = tcase_create("shared");
    TCase *all[] = {fragments, shared};
    tcase_add_test(fragments, mma_m16n8k16_16_bit);
    tcase_add_test(fragments, mma_m16n8k8_16_bit);
    tcase_add_test(fragments, mma_tf32);
    tcase_add_test(fragments, mma_m16n8k32_8_bit);
    tcase_add_test(fragments, mma_of_several_warps);
    tcase_add_test(fragments, wgmma_accumulator);
    tcase_add_test(fragments, constructors_reject_misfits);
    tcase_add_test(fragments, blocked_within_the_tile);
    tcase_add_test(fragments, blocked_larger_than_the_tile);
    tcase_add_test(fragments, vector_width_of_permuted_registers);
    tcase_add_test(shared, shared_plain);
    tcase_add_test(shared, shared_swizzled);
    tcase_add_test(shared, shared_tma);
    tcase_add_test(shared, ldmatrix_conflicts);
    tcase_add_test(shared, ldmatrix_wants_aligned_rows);
    tcase_add_test(shared, ldmatrix_emulated);
    tcase_add_test(shared, wavefronts_known);
    tcase_add_test(shared, wavefronts_by_brute_force);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        tcase_set_timeout(all[i], 120);
        suite_add_tcase(suite, all[i]);
    }
    return suite_run(suite, CK_FORK_GETENV);
}
