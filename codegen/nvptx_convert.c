// convert_layout: renaming, shuffles, or shared memory, as nvptx_plan.c has it.
//
// Conversions through shared memory that stand next to each other (a dot's factors) are made together: all are written,
// then one barrier, then all are read.
#include "codegen/nvptx_internal.h"

#include <string.h>

#define MOST_TOGETHER 8

static int element_bits(const struct op *op)
{
    return (int)dtype_bytes(op->results[0]->type->dtype) * 8;
}

static void lower_renamed(struct nvptx *n, struct op *op, const struct convert_plan *p)
{
    for (int r = 0; r < nvptx_registers(op->results[0]->type); r++)
        nvptx_set(n, op->results[0], r,
                  nvptx_register(n, op->operands[0], (int)nvptx_register_coordinate(&p->map, r, LAYOUT_REG)));
}

static void lower_shuffled(struct nvptx *n, struct op *op, const struct convert_plan *p)
{
    struct lower *l = &n->l;
    struct position lane = nvptx_position(n, &p->map, LAYOUT_LANE), reg = nvptx_position(n, &p->map, LAYOUT_REG);
    LLVMValueRef other = p->n_choices ? LLVMBuildICmp(l->b, LLVMIntNE, reg.thread, lower_i32(l, 0), "") : NULL;
    for (int r = 0; r < nvptx_registers(op->results[0]->type); r++) {
        int from = (int)nvptx_register_coordinate(&p->map, r, LAYOUT_REG);
        LLVMValueRef by = nvptx_coordinate(n, lane, nvptx_register_coordinate(&p->map, r, LAYOUT_LANE));
        LLVMValueRef x = nvptx_shuffle_from(n, nvptx_register(n, op->operands[0], from), by);
        if (other) {
            LLVMValueRef y = nvptx_register(n, op->operands[0], from ^ (int)p->choice[0]);
            x = LLVMBuildSelect(l->b, other, nvptx_shuffle_from(n, y, by), x, "");
        }
        nvptx_set(n, op->results[0], r, x);
    }
}

// ---- Shared memory -------------------------------------------------------------------------------------------------

static LLVMValueRef shared_pointer(struct nvptx *n, struct position thread, uint32_t offset, int64_t region, int bytes)
{
    struct lower *l = &n->l;
    LLVMValueRef at = LLVMBuildMul(l->b, nvptx_coordinate(n, thread, offset), lower_i32(l, bytes), "");
    if (thread.apart) // a distance that the instruction can hold
        at = LLVMBuildMul(l->b, thread.thread, lower_i32(l, bytes), "");
    at = LLVMBuildZExt(l->b, at, l->i64, "");
    LLVMValueRef p = LLVMBuildInBoundsGEP2(l->b, l->i8, n->shared, &at, 1, "");
    LLVMValueRef distance = lower_i64(l, region + (thread.apart ? (int64_t)offset * bytes : 0));
    return LLVMBuildInBoundsGEP2(l->b, l->i8, p, &distance, 1, "");
}

static int run_register(const struct plan_access *a, int first, unsigned x)
{
    uint32_t r = (uint32_t)first;
    for (int j = 0; x >> j; j++)
        if (x >> j & 1)
            r ^= a->run[j];
    return (int)r;
}

static void write_shared(struct nvptx *n, struct op *op, const struct convert_plan *p, int64_t region)
{
    struct lower *l = &n->l;
    struct value *v = op->operands[0];
    enum dtype t = v->type->dtype;
    const struct plan_access *a = &p->store;
    struct position thread = nvptx_position(n, &a->offset, LAYOUT_OFFSET);
    uint32_t copies = layout_free_mask(v->type->linear, LAYOUT_REG);
    int bytes = (int)dtype_bytes(t), bits = nvptx_word_bits(t, (int)a->width), words = bytes * 8 * (int)a->width / bits;
    for (int r = 0; r < nvptx_registers(v->type); r++) {
        uint32_t offset = nvptx_register_coordinate(&a->offset, r, LAYOUT_OFFSET);
        if (((uint32_t)r & copies) || offset % a->width)
            continue;
        LLVMValueRef element[16], word[4];
        for (unsigned i = 0; i < a->width; i++)
            element[i] = nvptx_register(n, v, run_register(a, r, i));
        nvptx_pack(n, t, bits, words, element, word);
        LLVMValueRef x = word[0];
        if (words > 1) {
            x = LLVMGetPoison(LLVMVectorType(LLVMTypeOf(x), (unsigned)words));
            for (int i = 0; i < words; i++)
                x = lower_insert(l, x, word[i], i);
        }
        LLVMValueRef s = LLVMBuildStore(l->b, x, shared_pointer(n, thread, offset, region, bytes));
        LLVMSetAlignment(s, (unsigned)(words * bits / 8));
    }
}

static void read_matrices(struct nvptx *n, struct op *op, const struct convert_plan *p, int64_t region)
{
    struct value *v = op->results[0];
    const struct plan_access *a = &p->load;
    uint32_t lane[5], warp[LAYOUT_MAX_BITS], of_threads = 0, of_registers = 0;
    for (unsigned i = 0; i < 5; i++)
        of_threads |= lane[i] = convert_plan_row(p, i);
    for (unsigned i = 0; i < a->offset.in.bits[LAYOUT_WARP]; i++)
        of_threads |= warp[i] = layout_basis(&a->offset, LAYOUT_WARP, i, LAYOUT_OFFSET);
    uint32_t pair = p->transposed ? 1 : a->run[0], others = pair;
    for (unsigned i = 0; i < p->matrix_bits; i++)
        others |= p->matrix[i];
    int registers = nvptx_registers(v->type);
    for (int r = 0; r < registers; r++)
        if (!((uint32_t)r & others))
            of_registers |= nvptx_register_coordinate(&a->offset, r, LAYOUT_OFFSET);
    struct position thread = {nvptx_thread_map(n, lane, warp), !(of_threads & of_registers)};
    for (int r = 0; r < registers; r++) {
        if ((uint32_t)r & others)
            continue;
        LLVMValueRef word[4], element[2];
        uint32_t offset = nvptx_register_coordinate(&a->offset, r, LAYOUT_OFFSET);
        nvptx_ldmatrix(n, shared_pointer(n, thread, offset, region, 2), 1 << p->matrix_bits, p->transposed, word);
        for (int i = 0; i < 1 << p->matrix_bits; i++) {
            uint32_t at = (uint32_t)r;
            for (unsigned b = 0; b < p->matrix_bits; b++)
                at ^= i >> b & 1 ? p->matrix[b] : 0;
            nvptx_unpack(n, v->type->dtype, 32, 1, &word[i], element);
            // Of two elements side by side the first lies at the even offset.
            bool swapped = !p->transposed && nvptx_register_coordinate(&a->offset, (int)at, LAYOUT_OFFSET) % 2;
            nvptx_set(n, v, (int)at, element[swapped]);
            nvptx_set(n, v, (int)(at ^ pair), element[!swapped]);
        }
    }
}

static void read_shared(struct nvptx *n, struct op *op, const struct convert_plan *p, int64_t region)
{
    struct lower *l = &n->l;
    struct value *v = op->results[0];
    enum dtype t = v->type->dtype;
    if (p->ldmatrix) {
        read_matrices(n, op, p, region);
        return;
    }
    const struct plan_access *a = &p->load;
    struct position thread = nvptx_position(n, &a->offset, LAYOUT_OFFSET);
    int bytes = (int)dtype_bytes(t), bits = nvptx_word_bits(t, (int)a->width), words = bytes * 8 * (int)a->width / bits;
    LLVMTypeRef type = LLVMIntTypeInContext(l->context, (unsigned)bits);
    for (int r = 0; r < nvptx_registers(v->type); r++) {
        uint32_t offset = nvptx_register_coordinate(&a->offset, r, LAYOUT_OFFSET);
        if (offset % a->width)
            continue;
        LLVMValueRef element[16], word[4];
        LLVMValueRef x = LLVMBuildLoad2(l->b, words > 1 ? LLVMVectorType(type, (unsigned)words) : type,
                                        shared_pointer(n, thread, offset, region, bytes), "");
        LLVMSetAlignment(x, (unsigned)(words * bits / 8));
        for (int i = 0; i < words; i++)
            word[i] = lower_pick(l, x, i);
        nvptx_unpack(n, t, bits, words, word, element);
        for (unsigned i = 0; i < a->width; i++)
            nvptx_set(n, v, run_register(a, r, i), element[i]);
    }
}

static bool make_plan(struct nvptx *n, const struct op *op, struct convert_plan *p)
{
    if (convert_plan_make(op->operands[0]->type->linear, op->results[0]->type->linear, (unsigned)element_bits(op), p))
        return true;
    lower_error(&n->l, op, "there is no way from one layout to the other");
    return false;
}

struct op *nvptx_convert(struct nvptx *n, struct op *op)
{
    struct convert_plan plans[MOST_TOGETHER];
    struct op *ops[MOST_TOGETHER], *last = op;
    int64_t regions[MOST_TOGETHER], bytes = 0;
    int together = 0;
    for (; op && op->code == OP_CONVERT_LAYOUT && together < MOST_TOGETHER; op = op->next) {
        bool depends = false;
        for (int i = 0; i < together; i++)
            depends |= op->operands[0]->def == ops[i];
        if (depends)
            break;
        struct convert_plan *p = &plans[together];
        if (!make_plan(n, op, p))
            return last;
        last = op;
        if (p->kind == PLAN_RENAME)
            lower_renamed(n, op, p);
        else if (p->kind == PLAN_SHUFFLE)
            lower_shuffled(n, op, p);
        else {
            ops[together++] = op;
            bytes += (p->bytes + 127) & ~INT64_C(127);
        }
    }
    if (!together)
        return last;
    int64_t region = nvptx_shared_region(n, bytes);
    for (int i = 0; i < together; i++) {
        regions[i] = region;
        region += (plans[i].bytes + 127) & ~INT64_C(127);
        nvptx_touch(n, NULL, regions[i], regions[i] + plans[i].bytes, true);
    }
    for (int i = 0; i < together; i++)
        write_shared(n, ops[i], &plans[i], regions[i]);
    for (int i = 0; i < together; i++)
        nvptx_touch(n, NULL, regions[i], regions[i] + plans[i].bytes, false);
    for (int i = 0; i < together; i++)
        read_shared(n, ops[i], &plans[i], regions[i]);
    return last;
}
