// Coordinates: linear maps over bits, computed from the lane and warp numbers.
#include "codegen/nvptx_internal.h"

static LLVMValueRef xor_to(struct nvptx *n, LLVMValueRef sum, LLVMValueRef x)
{
    return sum ? LLVMBuildXor(n->l.b, sum, x, "") : x;
}

// Bits that go to as many neighbouring bits are moved together.
static LLVMValueRef map_bits(struct nvptx *n, LLVMValueRef sum, LLVMValueRef x, const uint32_t *basis, int bits)
{
    struct lower *l = &n->l;
    for (int i = 0; i < bits;) {
        int run = 1;
        if (!basis[i]) {
            i++;
            continue;
        }
        bool single = !(basis[i] & (basis[i] - 1));
        while (single && i + run < bits && basis[i + run] == basis[i] << run)
            run++;
        LLVMValueRef y = x;
        if (i)
            y = LLVMBuildLShr(l->b, y, lower_i32(l, i), "");
        if (i + run < bits) // what lies above the number's last bit is 0
            y = LLVMBuildAnd(l->b, y, lower_i32(l, (1 << run) - 1), "");
        if (basis[i] != 1)
            y = single ? LLVMBuildShl(l->b, y, lower_i32(l, __builtin_ctz(basis[i])), "")
                       : LLVMBuildMul(l->b, y, lower_i32(l, basis[i]), "");
        sum = xor_to(n, sum, y);
        i += run;
    }
    return sum;
}

LLVMValueRef nvptx_thread_map(struct nvptx *n, const uint32_t *lane_basis, const uint32_t *warp_basis)
{
    LLVMValueRef sum = map_bits(n, NULL, n->lane, lane_basis, 5);
    sum = map_bits(n, sum, n->warp, warp_basis, n->warp_bits);
    return sum ? sum : lower_i32(&n->l, 0);
}

struct position nvptx_position(struct nvptx *n, const struct layout *l, enum layout_dim d)
{
    uint32_t lane[5] = {0}, warp[LAYOUT_MAX_BITS] = {0}, thread = 0, reg = 0;
    for (unsigned i = 0; i < 5 && i < l->in.bits[LAYOUT_LANE]; i++)
        thread |= lane[i] = layout_basis(l, LAYOUT_LANE, i, d);
    for (unsigned i = 0; i < l->in.bits[LAYOUT_WARP]; i++)
        thread |= warp[i] = layout_basis(l, LAYOUT_WARP, i, d);
    for (unsigned i = 0; i < l->in.bits[LAYOUT_REG]; i++)
        reg |= layout_basis(l, LAYOUT_REG, i, d);
    return (struct position){nvptx_thread_map(n, lane, warp), !(thread & reg)};
}

uint32_t nvptx_register_coordinate(const struct layout *l, int r, enum layout_dim d)
{
    uint32_t x = 0;
    for (unsigned i = 0; i < l->in.bits[LAYOUT_REG]; i++)
        if (r >> i & 1)
            x ^= layout_basis(l, LAYOUT_REG, i, d);
    return x;
}

LLVMValueRef nvptx_coordinate(struct nvptx *n, struct position p, uint32_t of_register)
{
    struct lower *l = &n->l;
    if (!of_register)
        return p.thread;
    LLVMValueRef c = lower_i32(l, of_register);
    if (LLVMIsConstant(p.thread))
        return LLVMConstXor(p.thread, c);
    return p.apart ? LLVMBuildNSWAdd(l->b, p.thread, c, "") : LLVMBuildXor(l->b, p.thread, c, "");
}

LLVMValueRef nvptx_first_holder(struct nvptx *n, const struct layout *l)
{
    struct lower *w = &n->l;
    uint32_t lanes = layout_free_mask(l, LAYOUT_LANE), warps = layout_free_mask(l, LAYOUT_WARP);
    LLVMValueRef rest = NULL;
    if (lanes)
        rest = LLVMBuildAnd(w->b, n->lane, lower_i32(w, lanes), "");
    if (warps) {
        LLVMValueRef x = LLVMBuildAnd(w->b, n->warp, lower_i32(w, warps), "");
        rest = rest ? LLVMBuildOr(w->b, rest, x, "") : x;
    }
    return rest ? LLVMBuildICmp(w->b, LLVMIntEQ, rest, lower_i32(w, 0), "") : NULL;
}
