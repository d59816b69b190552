// Linear layouts: where the elements of a tile live, as a linear map over bits.
//
// A layout is a linear map over F2 from the bits of named input dimensions (register, lane, warp, block; offset for
// shared memory) to the bits of named output dimensions (the tile's dimensions; offset). It is stored as one basis
// vector per input bit: the image of an index is the XOR of the basis vectors of its set bits. All sizes are powers of
// two. mma fragments, coalesced loads, swizzled shared memory and every conversion between them are such maps, so one
// algebra (compose, solve, compare) answers for all of them. After Zhou et al., "Linear Layouts: Robust Code Generation
// of Efficient Tensor Computation Using F2", arXiv 2505.23819.
//
//     register fragment   (reg, lane, warp[, block]) -> tile coordinates     a "distributed" layout
//     shared buffer       offset, in elements        -> tile coordinates
//     conversion          (reg, lane, warp)          -> (reg, lane, warp)
//
// A layout is a plain value without pointers or padding: copy it, compare it with layout_equal, hash its bytes.
// An operation that cannot be carried out (sizes that do not fit, a size that is no power of two, an inverse that does
// not exist) returns the invalid layout; operations on an invalid layout return an invalid layout. So a chain of
// operations is checked once, at its end, with layout_valid.
#ifndef TEGULA_IR_LAYOUT_H
#define TEGULA_IR_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LAYOUT_MAX_RANK 6
#define LAYOUT_MAX_BITS 32   // on either side, all dimensions together
#define LAYOUT_TEXT_MAX 2048 // no layout's text is longer, the final NUL included

// A dimension without bits (of size 1) and an absent dimension are the same thing.
enum layout_dim {
    LAYOUT_REG,
    LAYOUT_LANE,
    LAYOUT_WARP,
    LAYOUT_BLOCK,
    LAYOUT_OFFSET,
    LAYOUT_DIM0, // the tile's dimension k is LAYOUT_DIM0 + k
    LAYOUT_DIMS = LAYOUT_DIM0 + LAYOUT_MAX_RANK
};

// One side of a layout. An index on that side packs into a 32-bit word: from the low bits up reg, lane, warp, block,
// offset, then the tile dimensions from the last to the first, so a tile coordinate packs to its row-major index.
struct layout_space {
    uint8_t rank;              // tile dimensions on this side
    uint8_t bits[LAYOUT_DIMS]; // log2 of each dimension's size
};

struct layout {
    struct layout_space in, out;
    uint32_t basis[LAYOUT_MAX_BITS]; // packed image of each bit of the packed input; 0 beyond the last bit
};

bool layout_valid(const struct layout *l);
bool layout_equal(const struct layout *a, const struct layout *b);

// log2 of a power of two; -1 of any other number.
int layout_log2(uint32_t n);

// ---- Looking at a layout ---------------------------------------------------------------------------------------

unsigned layout_in_bits(const struct layout *l); // of all input dimensions together
unsigned layout_out_bits(const struct layout *l);
// 2^bits; dimensions may be as large as 2^32.
uint64_t layout_in_size(const struct layout *l, enum layout_dim d);
uint64_t layout_out_size(const struct layout *l, enum layout_dim d);

// The out_dim coordinate of the basis vector of one bit of in_dim.
uint32_t layout_basis(const struct layout *l, enum layout_dim in_dim, unsigned bit, enum layout_dim out_dim);

// The image of one index. Input coordinates beyond their dimension are taken modulo its size; absent ones are ignored.
void layout_apply(const struct layout *l, const uint32_t in[LAYOUT_DIMS], uint32_t out[LAYOUT_DIMS]);
uint32_t layout_apply_packed(const struct layout *l, uint32_t in);
uint32_t layout_pack(const struct layout_space *s, const uint32_t coordinates[LAYOUT_DIMS]);
void layout_unpack(const struct layout_space *s, uint32_t word, uint32_t coordinates[LAYOUT_DIMS]);

unsigned layout_image_bits(const struct layout *l); // dimension of the image over F2
bool layout_injective(const struct layout *l);      // no element is held twice
bool layout_surjective(const struct layout *l);     // every element is held
bool layout_bijective(const struct layout *l);

// The bits of input dimension d along which elements only repeat: fixing them at 0 (in every dimension) leaves each
// element held exactly once. Where several bits could be the redundant one, it is the highest in the packed index.
// Used to predicate stores and atomics.
uint32_t layout_free_mask(const struct layout *l, enum layout_dim d);

// How many elements, consecutive along output dimension d and aligned to their number, each lane holds in its
// registers: the longest vector load or store. The register that holds element x of a run is the XOR of regs[j] over
// the set bits j of x, XORed with the run's first register; regs may be NULL.
uint64_t layout_vector_width(const struct layout *l, enum layout_dim d, uint32_t regs[LAYOUT_MAX_BITS]);

// ---- Building --------------------------------------------------------------------------------------------------

// 2^bits indices i of `in` to coordinates i << shift of `out`, whose size is 2^(bits + shift). shift 0: the identity.
struct layout layout_strided(enum layout_dim in, unsigned bits, enum layout_dim out, unsigned shift);
// 2^bits indices of `in`, all to coordinate 0: a broadcast.
struct layout layout_broadcast(enum layout_dim in, unsigned bits);
// No input bits, a tile of size 1 and the given rank: the neutral element of the product among layouts of that rank.
struct layout layout_empty(unsigned rank);
struct layout layout_identity(const struct layout_space *s);

// Direct sum. In dimensions that both have, a's bits are the low ones: `inner` is tiled by `outer`.
struct layout layout_product(const struct layout *inner, const struct layout *outer);

// ---- Algebra ---------------------------------------------------------------------------------------------------

// x -> outer(inner(x)). Dimensions of inner's output may be smaller than those of outer's input; ranks are equal.
struct layout layout_compose(const struct layout *outer, const struct layout *inner);
// The X with a o X = b, i.e. a^-1 o b; where a holds elements more than once, X points to the copy whose input bits are
// lowest. Invalid if b reaches an element that a does not, or if their output spaces differ.
struct layout layout_solve(const struct layout *a, const struct layout *b);
struct layout layout_invert(const struct layout *l); // of a bijective layout only
// Of a surjective layout: for each element its first place (free input bits are 0), so l o pseudo_invert(l) = id.
struct layout layout_pseudo_invert(const struct layout *l);

// Keeps the input and output dimensions whose bit (1u << dim) is set in the masks; drops the others' coordinates.
struct layout layout_sublayout(const struct layout *l, uint32_t in_mask, uint32_t out_mask);
// Row-major reshape of the output tile to new sizes (powers of two) of the same product.
struct layout layout_reshape(const struct layout *l, unsigned rank, const uint32_t *shape);
// Output tile dimension i of the result is dimension permutation[i] of l.
struct layout layout_transpose(const struct layout *l, const unsigned *permutation);
// Drops register bits that are redundant in the sense of layout_free_mask.
struct layout layout_drop_free_registers(const struct layout *l);
// Makes l cover a tile of the given shape (powers of two) exactly: coordinates beyond it wrap around, registers that
// become copies are dropped, and where l is smaller it is repeated in new registers, along order[0] first. `order`
// lists the dimensions from the fastest to the slowest; NULL is row-major.
struct layout layout_fit(const struct layout *l, const uint32_t *shape, const unsigned *order);

// ---- Conversions -----------------------------------------------------------------------------------------------

// How far data must travel in a conversion, from cheap to dear.
enum layout_move {
    LAYOUT_MOVE_NONE,      // every register stays
    LAYOUT_MOVE_REGISTERS, // a permutation or selection among a lane's own registers
    LAYOUT_MOVE_LANES,     // shuffles within each warp
    LAYOUT_MOVE_WARPS,     // through shared memory
    LAYOUT_MOVE_BLOCKS,    // through another block's shared memory
    LAYOUT_MOVE_IMPOSSIBLE // different tiles, numbers of lanes, warps or blocks; or src lacks elements
};

// The conversion of a tile from register layout src to dst: src^-1 o dst, which says for each (reg, lane, warp, block)
// of dst where in src to read its element (the pull direction, so copies that dst wants are filled too). Where src
// offers several copies, the nearest is read. `map` may be NULL; it is the invalid layout if impossible.
enum layout_move layout_conversion(const struct layout *src, const struct layout *dst, struct layout *map);

// ---- Text (layout_text.c) --------------------------------------------------------------------------------------

// #linear<reg=[[0,1],[8,0]], lane=[[0,2],[0,4],[1,0],[2,0],[4,0]], warp=[[16,0]]>
//
// Per input dimension (reg, lane, warp, block, offset, d0..d5) the basis vectors from the lowest bit up, each a list of
// coordinates. Sizes of the tile are the smallest that hold the coordinates; where that is not so, or the output is not
// a tile, they follow as `out=[32,16]` or `out=[reg:4, lane:32, d0:16]`.

// Writes at most `size` bytes with the final NUL, and returns the length without it, as snprintf does.
size_t layout_print(const struct layout *l, char *buffer, size_t size);
// Reads a layout at *cursor and moves *cursor behind it. Returns NULL, or what is wrong: then *cursor is at the fault
// and *l is untouched. Blanks are allowed between tokens. print and parse are inverse to each other.
const char *layout_parse(const char **cursor, struct layout *l);

// ---- Constructors for NVIDIA GPUs (layout_gpu.c) ---------------------------------------------------------------
//
// All counts and sizes are powers of two. Shapes and orders have `rank` entries, and orders are as in layout_fit.

struct layout_blocked {
    uint32_t per_thread[LAYOUT_MAX_RANK]; // elements that a lane holds side by side
    uint32_t lanes[LAYOUT_MAX_RANK];      // lanes of a warp
    uint32_t warps[LAYOUT_MAX_RANK];      // warps of a block
    unsigned order[LAYOUT_MAX_RANK];
};

// The layout of coalesced loads and stores, fitted to the shape (see layout_fit).
struct layout layout_blocked(const struct layout_blocked *b, unsigned rank, const uint32_t *shape);

enum layout_mma { LAYOUT_MMA_A, LAYOUT_MMA_B, LAYOUT_MMA_ACC };

// One warp's fragment of mma.sync.m16n8k<k>: A is 16 x k (row), B is k x 8 (col), the accumulator is 16 x 8. Registers
// count elements in the order of the PTX ISA's a_i, b_i, c_i. element_bits is the operands' width, 8, 16 or 32 (tf32);
// k x element_bits is 128 or 256 (m16n8k8 and k16 for 16 bits). The accumulator ignores element_bits and k.
struct layout layout_mma_fragment(enum layout_mma operand, unsigned element_bits, unsigned k);
// The fragments of warps[0] x warps[1] warps (along m and n; m is the fast one) over a whole tile: A m x k, B k x n,
// accumulator m x n. Warps that differ only along a dimension that an operand lacks hold copies. Further
// instructions lie in further registers, k (for the accumulator n) first. Invalid if the warps do not fit in the tile.
struct layout layout_mma(enum layout_mma operand, unsigned element_bits, unsigned k, const uint32_t warps[2],
                         const uint32_t shape[2]);
// The accumulator of wgmma.m64n<N>: a warpgroup is four warps along m, so warps[0] is a multiple of 4. A's fragment in
// registers is layout_mma's with the same warps.
struct layout layout_wgmma_acc(const uint32_t warps[2], const uint32_t shape[2]);

// Shared memory, offsets in elements. Plain: dimensions laid out in the given order without gaps.
struct layout layout_shared(unsigned rank, const uint32_t *shape, const unsigned *order);
// offset -> offset: bits [base, base + bits) are XORed with bits [base + shift, base + shift + bits). Its own inverse
// if shift >= bits.
struct layout layout_swizzle(unsigned offset_bits, unsigned bits, unsigned base, unsigned shift);
// Plain, except that within each row (along order[0]) groups of vec elements are permuted: by XOR of the group's number
// with (row / per_phase) mod max_phase, as far as the row has groups. Rows are counted over all other dimensions.
struct layout layout_shared_swizzled(unsigned rank, const uint32_t *shape, const unsigned *order, uint32_t vec,
                                     uint32_t per_phase, uint32_t max_phase);
// What TMA writes and wgmma reads with a 32-, 64- or 128-byte swizzle: panels of swizzle_bytes along order[0], each
// with all its rows one after the other; within a panel 16-byte chunks are XORed with address bits 7 and up (PTX ISA,
// "Swizzling modes"). The tile must be at least one panel wide. swizzle_bytes 0 is layout_shared.
struct layout layout_shared_tma(unsigned rank, const uint32_t *shape, const unsigned *order, unsigned element_bits,
                                unsigned swizzle_bytes);

// ---- Costs and capabilities of shared memory (layout_gpu.c) ----------------------------------------------------

// Wavefronts (passes through the 32 banks of 4 bytes) of one warp-wide load or store of `vec` consecutive elements per
// lane, between register layout `reg` and shared layout `shared` of the same tile. 64-bit accesses go by half-warps and
// 128-bit ones by quarter-warps, so 1, 2 and 4 are ideal; lanes that read the same word share it. By linearity the
// answer is the same for every warp and register. 0: the access is impossible (the lanes do not hold that many elements
// side by side, or the access is not of 8 to 128 bits).
unsigned layout_wavefronts(const struct layout *reg, const struct layout *shared, unsigned element_bits, unsigned vec);

// Wavefronts per 8 x 8 matrix of ldmatrix (and stmatrix): 1 is free of conflicts, 8 is the worst; 0 if the registers
// cannot be filled by it. The matrices are of 16-bit items, and their rows 16 contiguous, aligned bytes of shared
// memory. Not transposed: lane t holds item pair t % 4 of row t / 4 (elements of 8, 16 or 32 bits). Transposed: lane t
// holds items of column t / 4, rows 2 (t % 4) and 2 (t % 4) + 1 (16 bits only); bit 0 of the register number tells the
// two apart.
unsigned layout_ldmatrix_wavefronts(const struct layout *reg, const struct layout *shared, unsigned element_bits,
                                    bool transposed);

#endif
