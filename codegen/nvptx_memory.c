// load, store, gather, scatter, atomic.
//
// An address is made of a part that is the same for the block, one of the thread and one of the register, which is
// mostly a constant and goes into the instruction. Whether an element exists is one comparison per register and
// dimension that is not known to be in bounds: what is left from the thread's position on is computed once.
//
// Where a thread holds elements side by side, the access is made twice: with up to 16 bytes at once, and by element. A
// condition that is the same for the whole block picks one of them: that the first address is aligned, strides and
// window keep it so, and no vector lies across a bound. So pointers need no alignment beyond their elements', and
// sizes no divisibility.
#include "codegen/nvptx_internal.h"

#include <string.h>

struct site {
    const struct op *op;
    const struct type *tile; // NULL: a scalar
    struct access a;         // of the element at the tile's origin
    enum dtype dtype;
    struct position position[MAX_RANK];
    LLVMValueRef stride[MAX_RANK]; // along tile dimensions, i64, elements
    LLVMValueRef first;            // offset of the origin, elements
    LLVMValueRef pointer;          // of the thread's register at coordinate 0 (what is not `apart` is not in it)
    LLVMValueRef left[MAX_RANK]; // by root dimension: i32, positions from the thread's on that exist; NULL: see bounds
};

static bool moves(const struct site *s, int d)
{
    return s->tile && s->tile->dims[d] > 1;
}

static LLVMValueRef wide(struct nvptx *n, LLVMValueRef x)
{
    return LLVMBuildSExt(n->l.b, x, n->l.i64, "");
}

static LLVMValueRef gep(struct nvptx *n, const struct site *s, LLVMValueRef p, LLVMValueRef offset)
{
    int64_t c;
    if (lower_is_constant(offset, &c) && c == 0)
        return p;
    return LLVMBuildGEP2(n->l.b, lower_memory_type(&n->l, s->dtype, 1), p, &offset, 1, "");
}

static void make_left(struct nvptx *n, struct site *s, int r)
{
    struct lower *l = &n->l;
    const struct access *a = &s->a;
    bool counts_up = a->nonnegative[r], all_apart = true;
    LLVMValueRef left = LLVMBuildSub(l->b, a->root->size[r], a->base[r], "");
    for (int d = 0; d < a->rank; d++) {
        if (!moves(s, d) || !a->step[r][d])
            continue;
        counts_up = counts_up && a->step[r][d] > 0;
        all_apart = all_apart && s->position[d].apart;
        left = LLVMBuildSub(l->b, left, lower_mul(l, wide(n, s->position[d].thread), lower_i64(l, a->step[r][d])), "");
    }
    if (!counts_up || !all_apart)
        return;
    left = lower_max(l, lower_min(l, left, lower_i64(l, INT32_MAX)), lower_i64(l, 0));
    s->left[r] = LLVMBuildTrunc(l->b, left, l->i32, "left");
}

static bool site_init(struct nvptx *n, struct site *s, const struct op *op, const struct type *tile)
{
    struct lower *l = &n->l;
    *s = (struct site){.op = op, .tile = tile};
    access_init_op(l, &s->a, op);
    s->dtype = s->a.dtype;
    if (!s->a.root)
        return false;
    s->first = lower_i64(l, 0);
    for (int r = 0; r < s->a.root_rank; r++)
        s->first = lower_add(l, s->first, lower_mul(l, s->a.base[r], s->a.root->stride[r]));
    LLVMValueRef offset = lower_i64(l, 0);
    for (int d = 0; d < s->a.rank; d++) {
        if (!moves(s, d))
            continue;
        s->stride[d] = lower_i64(l, 0);
        for (int r = 0; r < s->a.root_rank; r++)
            s->stride[d] =
                lower_add(l, s->stride[d], lower_mul(l, s->a.root->stride[r], lower_i64(l, s->a.step[r][d])));
        s->position[d] = nvptx_position(n, tile->linear, LAYOUT_DIM0 + d);
        if (s->position[d].apart)
            offset = lower_add(l, offset, lower_mul(l, wide(n, s->position[d].thread), s->stride[d]));
    }
    s->pointer = gep(n, s, gep(n, s, s->a.root->pointer, s->first), offset);
    for (int r = 0; r < s->a.root_rank; r++)
        if (s->a.check[r])
            make_left(n, s, r);
    return true;
}

static uint32_t coordinate(const struct site *s, int reg, int d)
{
    return moves(s, d) ? nvptx_register_coordinate(s->tile->linear, reg, LAYOUT_DIM0 + d) : 0;
}

static LLVMValueRef address(struct nvptx *n, const struct site *s, int reg)
{
    struct lower *l = &n->l;
    LLVMValueRef variable = lower_i64(l, 0);
    int64_t distance = 0, stride;
    for (int d = 0; d < s->a.rank; d++) {
        if (!moves(s, d))
            continue;
        uint32_t c = coordinate(s, reg, d);
        if (!s->position[d].apart)
            variable =
                lower_add(l, variable, lower_mul(l, wide(n, nvptx_coordinate(n, s->position[d], c)), s->stride[d]));
        else if (lower_is_constant(s->stride[d], &stride))
            distance += stride * c;
        else if (c)
            variable = lower_add(l, variable, lower_mul(l, s->stride[d], lower_i64(l, c)));
    }
    return gep(n, s, gep(n, s, s->pointer, variable), lower_i64(l, distance));
}

static LLVMValueRef both(struct nvptx *n, LLVMValueRef x, LLVMValueRef y)
{
    return !x ? y : !y ? x : LLVMBuildAnd(n->l.b, x, y, "");
}

// Whether the element of a register exists; NULL: certainly.
static LLVMValueRef exists(struct nvptx *n, const struct site *s, int reg)
{
    struct lower *l = &n->l;
    LLVMValueRef all = NULL;
    for (int r = 0; r < s->a.root_rank; r++) {
        if (!s->a.check[r])
            continue;
        LLVMValueRef one;
        if (s->left[r]) {
            int64_t at = 0;
            for (int d = 0; d < s->a.rank; d++)
                at += s->a.step[r][d] * coordinate(s, reg, d);
            one = LLVMBuildICmp(l->b, LLVMIntSLT, lower_i32(l, at), s->left[r], "");
        } else {
            LLVMValueRef index = s->a.base[r];
            for (int d = 0; d < s->a.rank; d++)
                if (moves(s, d) && s->a.step[r][d])
                    index = lower_add(l, index,
                                      lower_mul(l, wide(n, nvptx_coordinate(n, s->position[d], coordinate(s, reg, d))),
                                                lower_i64(l, s->a.step[r][d])));
            one = LLVMBuildICmp(l->b, LLVMIntULT, index, s->a.root->size[r], "");
        }
        all = both(n, all, one);
    }
    return all;
}

// ---- Vectors -----------------------------------------------------------------------------------------------------

// `width` elements side by side: element x is in register first XOR (XOR of run[j] over the set bits j of x), for every
// register `first` whose coordinate along `fast` is a multiple of the width.
struct vectors {
    int width, fast;
    uint32_t run[LAYOUT_MAX_BITS];
    LLVMValueRef usable; // i1
};

static struct vectors find_vectors(struct nvptx *n, const struct site *s)
{
    struct lower *l = &n->l;
    struct vectors v = {.width = 1, .fast = -1};
    int64_t c;
    for (int d = s->a.rank - 1; d >= 0 && v.fast < 0; d--)
        if (moves(s, d) && lower_is_constant(s->stride[d], &c) && c == 1)
            v.fast = d;
    if (v.fast < 0)
        return v;
    int64_t bytes = dtype_bytes(s->dtype),
            most = layout_run(s->tile->linear, LAYOUT_DIM0 + (unsigned)v.fast, (uint32_t)(16 / bytes), v.run);
    for (int d = 0; d < s->a.rank; d++)
        while (most > 1 && moves(s, d) && d != v.fast && lower_is_constant(s->stride[d], &c) && c % most)
            most /= 2;
    for (int r = 0; r < s->a.root_rank; r++) {
        if (!s->a.check[r] || !s->a.step[r][v.fast])
            continue;
        if (s->a.step[r][v.fast] != 1)
            return v;
        for (int d = 0; d < s->a.rank; d++)
            while (d != v.fast && moves(s, d) && s->a.step[r][d] % most)
                most /= 2;
        while (most > 1 && lower_is_constant(s->a.root->size[r], &c) && c % most)
            most /= 2;
    }
    if (most <= 1)
        return v;
    v.width = (int)most;
    LLVMValueRef p = LLVMBuildPtrToInt(l->b, s->a.root->pointer, l->i64, "");
    LLVMValueRef bits = lower_mul(l, s->first, lower_i64(l, bytes));
    for (int d = 0; d < s->a.rank; d++)
        if (moves(s, d) && d != v.fast && !lower_is_constant(s->stride[d], &c))
            bits = LLVMBuildOr(l->b, bits, lower_mul(l, s->stride[d], lower_i64(l, bytes)), "");
    for (int r = 0; r < s->a.root_rank; r++)
        if (s->a.check[r] && s->a.step[r][v.fast])
            bits = LLVMBuildOr(
                l->b, bits,
                LLVMBuildMul(l->b, LLVMBuildOr(l->b, s->a.root->size[r], s->a.base[r], ""), lower_i64(l, bytes), ""),
                "");
    bits = LLVMBuildAnd(l->b, LLVMBuildOr(l->b, bits, p, ""), lower_i64(l, most * bytes - 1), "");
    v.usable = LLVMBuildICmp(l->b, LLVMIntEQ, bits, lower_i64(l, 0), "aligned");
    return v;
}

static int vector_register(const struct vectors *v, int first, int x)
{
    uint32_t r = (uint32_t)first;
    for (int j = 0; x >> j; j++)
        if (x >> j & 1)
            r ^= v->run[j];
    return (int)r;
}

// ---- Tiles -------------------------------------------------------------------------------------------------------

static uint64_t pad_bits(const struct site *s)
{
    union scalar x;
    if (dtype_is_float(s->dtype))
        x.f = dtype_round(s->dtype, s->a.pad.is_float ? s->a.pad.f : (double)s->a.pad.i);
    else
        x.i = s->a.pad.i;
    uint64_t bits = dtype_bits(s->dtype, x), all = 0;
    int element = (int)dtype_bytes(s->dtype) * 8;
    if (element == 64)
        return bits;
    for (int i = 0; i < 32; i += element)
        all |= (bits & ((UINT64_C(1) << element) - 1)) << i;
    return all;
}

static void load_vectors(struct nvptx *n, const struct site *s, const struct vectors *v, int width, LLVMValueRef *x)
{
    int registers = s->tile ? nvptx_registers(s->tile) : 1;
    int bits = nvptx_word_bits(s->dtype, width), words = (int)dtype_bytes(s->dtype) * 8 * width / bits;
    uint64_t pad = pad_bits(s);
    if (bits < 32)
        pad &= (UINT64_C(1) << bits) - 1;
    for (int r = 0; r < registers; r++) {
        LLVMValueRef word[4], element[16];
        if (width > 1 && coordinate(s, r, v->fast) % (uint32_t)width)
            continue;
        nvptx_load_global(n, address(n, s, r), exists(n, s, r), words, bits, pad, word);
        nvptx_unpack(n, s->dtype, bits, words, word, element);
        for (int i = 0; i < width; i++)
            x[vector_register(v, r, i)] = element[i];
    }
}

static void touch(struct nvptx *n, const struct op *op)
{
    nvptx_touch(n, view_root(op->operands[op_view_operand(op)]), 0, 1, op_info[op->code].effect == EFFECT_WRITE);
}

void nvptx_load(struct nvptx *n, struct op *op)
{
    struct lower *l = &n->l;
    struct value *result = op->results[0];
    bool tile = result->type->kind == TYPE_TILE;
    struct site s;
    touch(n, op);
    if (!site_init(n, &s, op, tile ? result->type : NULL))
        return;
    int registers = nvptx_registers(result->type);
    LLVMValueRef *x = tile ? nvptx_make(n, result) : ARENA_ARRAY(&l->arena, LLVMValueRef, 1);
    struct vectors v = find_vectors(n, &s), single = {.width = 1};
    if (v.width == 1) {
        load_vectors(n, &s, &single, 1, x);
    } else {
        LLVMValueRef *y = ARENA_ARRAY(&l->arena, LLVMValueRef, registers);
        LLVMBasicBlockRef fast = lower_new_block(l, "vectors"), slow = lower_new_block(l, "elements"),
                          after = lower_new_block(l, "loaded");
        LLVMBuildCondBr(l->b, v.usable, fast, slow);
        LLVMPositionBuilderAtEnd(l->b, fast);
        load_vectors(n, &s, &v, v.width, x);
        fast = LLVMGetInsertBlock(l->b);
        LLVMBuildBr(l->b, after);
        LLVMPositionBuilderAtEnd(l->b, slow);
        load_vectors(n, &s, &single, 1, y);
        slow = LLVMGetInsertBlock(l->b);
        LLVMBuildBr(l->b, after);
        LLVMPositionBuilderAtEnd(l->b, after);
        for (int r = 0; r < registers; r++) {
            LLVMValueRef phi = LLVMBuildPhi(l->b, LLVMTypeOf(x[r]), "");
            LLVMAddIncoming(phi, (LLVMValueRef[]){x[r], y[r]}, (LLVMBasicBlockRef[]){fast, slow}, 2);
            x[r] = phi;
        }
    }
    if (!tile)
        nvptx_set(n, result, 0, x[0]);
}

static void store_vectors(struct nvptx *n, const struct site *s, const struct vectors *v, int width,
                          LLVMValueRef holder, struct value *x)
{
    int registers = nvptx_registers(x->type);
    int bits = nvptx_word_bits(s->dtype, width), words = (int)dtype_bytes(s->dtype) * 8 * width / bits;
    uint32_t copies = s->tile ? layout_free_mask(s->tile->linear, LAYOUT_REG) : 0;
    for (int r = 0; r < registers; r++) {
        LLVMValueRef word[4], element[16];
        if (((uint32_t)r & copies) || (width > 1 && coordinate(s, r, v->fast) % (uint32_t)width))
            continue;
        for (int i = 0; i < width; i++)
            element[i] = nvptx_register(n, x, vector_register(v, r, i));
        nvptx_pack(n, s->dtype, bits, words, element, word);
        nvptx_store_global(n, address(n, s, r), both(n, holder, exists(n, s, r)), words, bits, word);
    }
}

static LLVMValueRef thread_zero(struct nvptx *n)
{
    struct lower *l = &n->l;
    return LLVMBuildICmp(l->b, LLVMIntEQ, LLVMBuildOr(l->b, n->lane, n->warp, ""), lower_i32(l, 0), "");
}

void nvptx_store(struct nvptx *n, struct op *op)
{
    struct lower *l = &n->l;
    struct value *x = op->operands[0];
    bool tile = x->type->kind == TYPE_TILE;
    struct site s;
    touch(n, op);
    if (!site_init(n, &s, op, tile ? x->type : NULL))
        return;
    LLVMValueRef holder = tile ? nvptx_first_holder(n, x->type->linear) : thread_zero(n);
    struct vectors v = find_vectors(n, &s), single = {.width = 1};
    if (v.width == 1) {
        store_vectors(n, &s, &single, 1, holder, x);
        return;
    }
    LLVMBasicBlockRef fast = lower_new_block(l, "vectors"), slow = lower_new_block(l, "elements"),
                      after = lower_new_block(l, "stored");
    LLVMBuildCondBr(l->b, v.usable, fast, slow);
    LLVMPositionBuilderAtEnd(l->b, fast);
    store_vectors(n, &s, &v, v.width, holder, x);
    LLVMBuildBr(l->b, after);
    LLVMPositionBuilderAtEnd(l->b, slow);
    store_vectors(n, &s, &single, 1, holder, x);
    LLVMBuildBr(l->b, after);
    LLVMPositionBuilderAtEnd(l->b, after);
}

// ---- Tiles of indices --------------------------------------------------------------------------------------------

// The largest tile among the operands from `first` on.
static const struct type *largest(const struct op *op, int first)
{
    const struct type *t = NULL;
    for (int i = first; i < op->n_operands; i++) {
        const struct type *u = op->operands[i]->type;
        if (u->kind == TYPE_TILE && (!t || type_elements(u) > type_elements(t)))
            t = u;
    }
    return t;
}

// Where one register's element lies; *condition: whether it does.
static LLVMValueRef indexed(struct nvptx *n, const struct op *op, LLVMValueRef *const *indices, int reg, struct site *s,
                            LLVMValueRef *condition)
{
    struct lower *l = &n->l;
    int v = op_view_operand(op);
    struct value *view = op->operands[v];
    LLVMValueRef index[MAX_RANK];
    bool nonnegative[MAX_RANK] = {false};
    for (int d = 0; d < view->type->rank; d++)
        index[d] = lower_cast(l, DTYPE_INDEX, op->operands[v + 1 + d]->type->dtype, indices[d][reg]);
    *s = (struct site){.op = op, .dtype = view->type->dtype};
    access_init(l, &s->a, op, view, index, nonnegative, (struct ints){0});
    if (!s->a.root)
        return NULL;
    LLVMValueRef offset = lower_i64(l, 0);
    *condition = NULL;
    for (int r = 0; r < s->a.root_rank; r++) {
        offset = lower_add(l, offset, lower_mul(l, s->a.base[r], s->a.root->stride[r]));
        *condition = both(n, *condition, LLVMBuildICmp(l->b, LLVMIntULT, s->a.base[r], s->a.root->size[r], ""));
    }
    return gep(n, s, s->a.root->pointer, offset);
}

static void index_registers(struct nvptx *n, const struct op *op, const struct type *tile, LLVMValueRef **indices)
{
    int v = op_view_operand(op);
    for (int i = v + 1; i < op->n_operands; i++)
        indices[i - v - 1] = nvptx_operand(n, op->operands[i], tile);
}

void nvptx_gather(struct nvptx *n, struct op *op)
{
    struct lower *l = &n->l;
    struct value *result = op->results[0];
    touch(n, op);
    LLVMValueRef *indices[MAX_RANK], *x = nvptx_make(n, result);
    index_registers(n, op, result->type, indices);
    int bits = nvptx_word_bits(result->type->dtype, 1);
    for (int r = 0; r < nvptx_registers(result->type) && !l->failed; r++) {
        struct site s;
        LLVMValueRef condition, word, p = indexed(n, op, indices, r, &s, &condition);
        if (!p)
            return;
        uint64_t pad = pad_bits(&s);
        if (bits < 64)
            pad &= (UINT64_C(1) << bits) - 1;
        nvptx_load_global(n, p, condition, 1, bits, pad, &word);
        nvptx_unpack(n, result->type->dtype, bits, 1, &word, &x[r]);
        nvptx_set(n, result, r, x[r]);
    }
}

static bool atomic_instruction(enum opcode combine, enum dtype t, LLVMAtomicRMWBinOp *out)
{
    return dtype_bytes(t) >= 4 && t != DTYPE_I1 && lower_atomic_instruction(combine, t, out);
}

// One update, by the threads for which the condition holds.
static void update(struct nvptx *n, struct op *op, LLVMAtomicRMWBinOp instruction, LLVMValueRef p,
                   LLVMValueRef condition, LLVMValueRef x)
{
    struct lower *l = &n->l;
    LLVMBasicBlockRef there = lower_new_block(l, "update"), after = lower_new_block(l, "updated");
    LLVMBuildCondBr(l->b, condition, there, after);
    LLVMPositionBuilderAtEnd(l->b, there);
    LLVMValueRef a = LLVMBuildAtomicRMW(l->b, instruction, p, x, LLVMAtomicOrderingMonotonic, false);
    LLVMSetAlignment(a, (unsigned)dtype_bytes(op->operands[1]->type->dtype));
    LLVMBuildBr(l->b, after);
    LLVMPositionBuilderAtEnd(l->b, after);
}

void nvptx_scatter(struct nvptx *n, struct op *op)
{
    struct lower *l = &n->l;
    const struct type *tile = largest(op, 0);
    enum dtype t = op->operands[1]->type->dtype;
    LLVMAtomicRMWBinOp instruction = LLVMAtomicRMWBinOpAdd;
    if (op->code == OP_ATOMIC && !atomic_instruction(op_attr(op, ATTR_COMBINE)->opcode, t, &instruction)) {
        lower_error(l, op, "'%s' of %s is not supported on %s", op_info[op_attr(op, ATTR_COMBINE)->opcode].name,
                    dtype_info[t].name, l->target->name);
        return;
    }
    touch(n, op);
    LLVMValueRef one[1], *x = one, *indices[MAX_RANK];
    if (tile) {
        x = nvptx_operand(n, op->operands[0], tile);
        index_registers(n, op, tile, indices);
    } else {
        one[0] = lower_scalar(l, op->operands[0]);
        for (int i = 2; i < op->n_operands; i++) {
            indices[i - 2] = ARENA_ARRAY(&l->arena, LLVMValueRef, 1);
            indices[i - 2][0] = lower_scalar(l, op->operands[i]);
        }
    }
    LLVMValueRef holder = tile ? nvptx_first_holder(n, tile->linear) : thread_zero(n);
    uint32_t copies = tile ? layout_free_mask(tile->linear, LAYOUT_REG) : 0;
    int bits = nvptx_word_bits(t, 1);
    for (int r = 0; r < (tile ? nvptx_registers(tile) : 1) && !l->failed; r++) {
        struct site s;
        LLVMValueRef condition, word;
        if ((uint32_t)r & copies)
            continue;
        LLVMValueRef p = indexed(n, op, indices, r, &s, &condition);
        if (!p)
            return;
        condition = both(n, holder, condition);
        if (!condition)
            condition = LLVMConstInt(l->i1, 1, false);
        if (op->code == OP_ATOMIC) {
            update(n, op, instruction, p, condition, x[r]);
            continue;
        }
        nvptx_pack(n, t, bits, 1, &x[r], &word);
        nvptx_store_global(n, p, condition, 1, bits, &word);
    }
}
