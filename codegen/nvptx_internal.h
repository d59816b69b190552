// What the files that lower shaped tile IR to PTX share.
//
// A value of a scalar type is the same in all threads of the block, so all control flow is uniform: every thread
// reaches every barrier and every shuffle. A tile is one LLVM value per register of its layout, each an element of the
// tile.
#ifndef TEGULA_CODEGEN_NVPTX_INTERNAL_H
#define TEGULA_CODEGEN_NVPTX_INTERNAL_H

#include "codegen/lower_internal.h"
#include "codegen/nvptx.h"
#include "codegen/nvptx_plan.h"
#include "ir/layout_tile.h"

#define NVPTX_GLOBAL 1
#define NVPTX_SHARED 3

// An access to memory that other threads may see only after a barrier. root NULL: shared memory, [from, to).
struct touch {
    const struct value *root;
    int64_t from, to;
    bool write;
};

struct touches {
    int n, room;
    struct touch *list;
};

// Where control flow parts: the accesses since the last barrier before it, and at the end of the first block of two.
struct paths {
    struct touches before, first;
};

struct nvptx {
    struct lower l; // types, constants, scalar values and operations: as on x86
    bool emulate;
    int warp_bits;
    LLVMValueRef lane, warp; // i32
    LLVMValueRef **tiles;    // registers by value id
    LLVMValueRef shared;     // dynamic shared memory
    int64_t shared_top, shared_bytes;
    struct touches touches; // since the last barrier
    struct paths *paths;    // of the operation whose blocks are being lowered
};

static inline int nvptx_registers(const struct type *t)
{
    return t->kind == TYPE_TILE ? 1 << t->linear->in.bits[LAYOUT_REG] : 1;
}
LLVMValueRef nvptx_register(struct nvptx *n, struct value *v, int r);
LLVMValueRef *nvptx_make(struct nvptx *n, struct value *v); // room for a tile's registers
void nvptx_set(struct nvptx *n, struct value *v, int r, LLVMValueRef x);
// For each register of the tile type, that of operand v which meets it.
LLVMValueRef *nvptx_operand(struct nvptx *n, struct value *v, const struct type *tile);

// ---- Where a thread's elements are (nvptx_layout.c) --------------------------------------------------------------

// The coordinate along output dimension d of a layout whose input is (reg, lane, warp), as i32: of the thread, XORed
// with that of the register. They have no bits in common if `apart`, and may then be added.
struct position {
    LLVMValueRef thread;
    bool apart;
};
struct position nvptx_position(struct nvptx *n, const struct layout *l, enum layout_dim d);
uint32_t nvptx_register_coordinate(const struct layout *l, int r, enum layout_dim d);
LLVMValueRef nvptx_coordinate(struct nvptx *n, struct position p, uint32_t of_register);
// XOR of lane_basis[i] over the set bits i of the lane number, and of warp_basis likewise.
LLVMValueRef nvptx_thread_map(struct nvptx *n, const uint32_t *lane_basis, const uint32_t *warp_basis);
// Whether the thread is the first of those that hold the same elements; NULL: every thread is.
LLVMValueRef nvptx_first_holder(struct nvptx *n, const struct layout *l);

// ---- Hardware (nvptx_hardware.c) ---------------------------------------------------------------------------------

void nvptx_begin(struct nvptx *n); // thread and program ids, shared memory
void nvptx_barrier(struct nvptx *n);
LLVMValueRef nvptx_shuffle_xor(struct nvptx *n, LLVMValueRef x, int mask); // any type of up to 64 bits
LLVMValueRef nvptx_shuffle_from(struct nvptx *n, LLVMValueRef x, LLVMValueRef lane);
// `words` (1, 2, 4) integers of `bits` bits (8, 16, 32, 64) from p in global memory, aligned to all of them. Where the
// condition does not hold (NULL: it does), words of padding.
void nvptx_load_global(struct nvptx *n, LLVMValueRef p, LLVMValueRef condition, int words, int bits, uint64_t pad,
                       LLVMValueRef *x);
void nvptx_store_global(struct nvptx *n, LLVMValueRef p, LLVMValueRef condition, int words, int bits, LLVMValueRef *x);
// 1, 2 or 4 matrices of 8x8 16-bit elements; x[i]: i32, two elements of matrix i.
void nvptx_ldmatrix(struct nvptx *n, LLVMValueRef p, int matrices, bool transposed, LLVMValueRef *x);
// D = A B + C of m16n8k16; a[4], b[2] are i32, two elements each; c[4] are f32 and become D.
void nvptx_mma(struct nvptx *n, enum dtype t, LLVMValueRef *a, LLVMValueRef *b, LLVMValueRef *c);

// Elements of type t in memory to and from words of `bits` bits, 8 * bytes(t) * k each.
void nvptx_unpack(struct nvptx *n, enum dtype t, int bits, int words, const LLVMValueRef *word, LLVMValueRef *x);
void nvptx_pack(struct nvptx *n, enum dtype t, int bits, int words, const LLVMValueRef *x, LLVMValueRef *word);
int nvptx_word_bits(enum dtype t, int width); // of an access to `width` elements

// ---- Shared memory and barriers (nvptx_shared.c) -----------------------------------------------------------------

int64_t nvptx_shared_region(struct nvptx *n, int64_t bytes); // its offset; valid until the next region is asked for
// Notes an access, behind a barrier if an earlier one is in its way.
void nvptx_touch(struct nvptx *n, const struct value *root, int64_t from, int64_t to, bool write);
void nvptx_touch_block(struct nvptx *n, const struct block *b); // everything that a loop's body will, at its entry
struct touches nvptx_touches_copy(struct nvptx *n);
void nvptx_touches_join(struct nvptx *n, const struct touches *other);

// ---- Operations --------------------------------------------------------------------------------------------------

void nvptx_load(struct nvptx *n, struct op *op);
void nvptx_store(struct nvptx *n, struct op *op);
void nvptx_gather(struct nvptx *n, struct op *op);
void nvptx_scatter(struct nvptx *n, struct op *op);       // and atomic
struct op *nvptx_convert(struct nvptx *n, struct op *op); // those that follow op too; returns the last
void nvptx_reduce(struct nvptx *n, struct op *op);
void nvptx_dot(struct nvptx *n, struct op *op);

#endif
