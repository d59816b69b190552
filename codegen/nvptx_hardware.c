// What only a GPU has, each in two forms: PTX, by LLVM's intrinsics or, for predicated accesses to memory, which LLVM
// does not make, inline assembly; and calls for emulation. The functions called, all of the thread that calls:
//
//   int32_t emu_thread(void), emu_program(int32_t d), emu_programs(int32_t d)    threadIdx.x, blockIdx, gridDim
//   char *emu_shared(void)                                                       dynamic shared memory
//   void emu_barrier(void)
//   int32_t emu_shuffle_xor(int32_t x, int32_t mask), emu_shuffle_from(int32_t x, int32_t lane)
//   void emu_ldmatrix(const char *row, int32_t matrices, int32_t transposed, int32_t *x)
//   void emu_mma(int32_t bf16, const int32_t a[4], const int32_t b[2], float c[4])
#include "codegen/nvptx_internal.h"

#include <stdio.h>
#include <string.h>

static LLVMTypeRef pointer_type(struct nvptx *n, unsigned space)
{
    return LLVMPointerTypeInContext(n->l.context, space);
}

static LLVMValueRef call_emulation(struct nvptx *n, const char *name, LLVMTypeRef result, int n_args,
                                   LLVMValueRef *args)
{
    struct lower *l = &n->l;
    LLVMTypeRef types[4];
    for (int i = 0; i < n_args; i++)
        types[i] = LLVMTypeOf(args[i]);
    LLVMTypeRef type = LLVMFunctionType(result, types, (unsigned)n_args, false);
    LLVMValueRef f = LLVMGetNamedFunction(l->module, name);
    if (!f)
        f = LLVMAddFunction(l->module, name, type);
    return LLVMBuildCall2(l->b, type, f, args, (unsigned)n_args, "");
}

static LLVMTypeRef void_type(struct nvptx *n)
{
    return LLVMVoidTypeInContext(n->l.context);
}

// ---- Threads -----------------------------------------------------------------------------------------------------

static LLVMValueRef special(struct nvptx *n, const char *intrinsic, const char *emulation, int d)
{
    struct lower *l = &n->l;
    LLVMValueRef dim_number = lower_i32(l, d);
    if (n->emulate)
        return call_emulation(n, emulation, l->i32, d >= 0, &dim_number);
    return lower_intrinsic(l, intrinsic, 0, NULL, 0, NULL);
}

void nvptx_begin(struct nvptx *n)
{
    struct lower *l = &n->l;
    LLVMValueRef thread = special(n, "llvm.nvvm.read.ptx.sreg.tid.x", "emu_thread", -1);
    n->lane = LLVMBuildAnd(l->b, thread, lower_i32(l, 31), "lane");
    n->warp = n->warp_bits ? LLVMBuildLShr(l->b, thread, lower_i32(l, 5), "warp") : lower_i32(l, 0);
    static const char *const ids[] = {"llvm.nvvm.read.ptx.sreg.ctaid.x", "llvm.nvvm.read.ptx.sreg.ctaid.y",
                                      "llvm.nvvm.read.ptx.sreg.ctaid.z"};
    static const char *const sizes[] = {"llvm.nvvm.read.ptx.sreg.nctaid.x", "llvm.nvvm.read.ptx.sreg.nctaid.y",
                                        "llvm.nvvm.read.ptx.sreg.nctaid.z"};
    for (int d = 0; d < 3; d++) {
        l->program_id[d] = LLVMBuildZExt(l->b, special(n, ids[d], "emu_program", d), l->i64, "");
        l->num_programs[d] = LLVMBuildZExt(l->b, special(n, sizes[d], "emu_programs", d), l->i64, "");
    }
    if (n->emulate) {
        LLVMValueRef p = call_emulation(n, "emu_shared", pointer_type(n, 0), 0, NULL);
        n->shared = LLVMBuildAddrSpaceCast(l->b, p, pointer_type(n, NVPTX_SHARED), "");
        return;
    }
    n->shared = LLVMGetNamedGlobal(l->module, "tegula_shared");
    if (!n->shared) {
        n->shared = LLVMAddGlobalInAddressSpace(l->module, LLVMArrayType2(l->i8, 0), "tegula_shared", NVPTX_SHARED);
        LLVMSetAlignment(n->shared, 1024);
    }
}

void nvptx_barrier(struct nvptx *n)
{
    if (n->emulate)
        call_emulation(n, "emu_barrier", void_type(n), 0, NULL);
    else
        lower_intrinsic(&n->l, "llvm.nvvm.barrier0", 0, NULL, 0, NULL);
}

// ---- Shuffles ----------------------------------------------------------------------------------------------------

static LLVMValueRef shuffle32(struct nvptx *n, LLVMValueRef x, LLVMValueRef by, bool exclusive)
{
    struct lower *l = &n->l;
    LLVMValueRef args[] = {lower_i32(l, -1), x, by, lower_i32(l, 31)};
    if (n->emulate)
        return call_emulation(n, exclusive ? "emu_shuffle_xor" : "emu_shuffle_from", l->i32, 2, args + 1);
    return lower_intrinsic(l, exclusive ? "llvm.nvvm.shfl.sync.bfly.i32" : "llvm.nvvm.shfl.sync.idx.i32", 0, NULL, 4,
                           args);
}

static LLVMValueRef shuffle(struct nvptx *n, LLVMValueRef x, LLVMValueRef by, bool exclusive)
{
    struct lower *l = &n->l;
    LLVMTypeRef type = LLVMTypeOf(x);
    LLVMTypeRef bits = type == l->f32 ? l->i32 : type == l->f64 ? l->i64 : type;
    unsigned width = LLVMGetIntTypeWidth(bits);
    x = LLVMBuildBitCast(l->b, x, bits, "");
    if (width == 64) {
        LLVMValueRef high = LLVMBuildTrunc(l->b, LLVMBuildLShr(l->b, x, lower_i64(l, 32), ""), l->i32, "");
        LLVMValueRef low = shuffle32(n, LLVMBuildTrunc(l->b, x, l->i32, ""), by, exclusive);
        high = LLVMBuildZExt(l->b, shuffle32(n, high, by, exclusive), l->i64, "");
        x = LLVMBuildOr(l->b, LLVMBuildShl(l->b, high, lower_i64(l, 32), ""), LLVMBuildZExt(l->b, low, l->i64, ""), "");
    } else if (width == 32) {
        x = shuffle32(n, x, by, exclusive);
    } else {
        x = LLVMBuildTrunc(l->b, shuffle32(n, LLVMBuildZExt(l->b, x, l->i32, ""), by, exclusive), bits, "");
    }
    return LLVMBuildBitCast(l->b, x, type, "");
}

LLVMValueRef nvptx_shuffle_xor(struct nvptx *n, LLVMValueRef x, int mask)
{
    return shuffle(n, x, lower_i32(&n->l, mask), true);
}

LLVMValueRef nvptx_shuffle_from(struct nvptx *n, LLVMValueRef x, LLVMValueRef lane)
{
    return shuffle(n, x, lane, false);
}

// ---- Global memory -------------------------------------------------------------------------------------------------

static LLVMTypeRef word_type(struct nvptx *n, int bits)
{
    return LLVMIntTypeInContext(n->l.context, (unsigned)bits);
}

static void plain_load(struct nvptx *n, LLVMValueRef p, int words, int bits, LLVMValueRef *x)
{
    struct lower *l = &n->l;
    LLVMTypeRef type = word_type(n, bits);
    LLVMValueRef v = LLVMBuildLoad2(l->b, words > 1 ? LLVMVectorType(type, (unsigned)words) : type, p, "");
    LLVMSetAlignment(v, (unsigned)(words * bits / 8));
    for (int i = 0; i < words; i++)
        x[i] = lower_pick(l, v, i);
}

static void plain_store(struct nvptx *n, LLVMValueRef p, int words, int bits, LLVMValueRef *x)
{
    struct lower *l = &n->l;
    LLVMValueRef v = x[0];
    if (words > 1) {
        v = LLVMGetPoison(LLVMVectorType(word_type(n, bits), (unsigned)words));
        for (int i = 0; i < words; i++)
            v = lower_insert(l, v, x[i], i);
    }
    LLVMSetAlignment(LLVMBuildStore(l->b, v, p), (unsigned)(words * bits / 8));
}

// A slot on the stack instead of memory that may not be touched.
static LLVMValueRef emulated_pointer(struct nvptx *n, LLVMValueRef p, LLVMValueRef condition)
{
    struct lower *l = &n->l;
    LLVMValueRef slot = LLVMBuildAddrSpaceCast(l->b, lower_stack(l, l->i8, 16, 16), pointer_type(n, NVPTX_GLOBAL), "");
    return LLVMBuildSelect(l->b, condition, p, slot, "");
}

static const char *letter(int bits) // of a register in inline assembly
{
    return bits == 64 ? "l" : bits == 32 ? "r" : "h";
}

// `{$0, $1}` or `$0`, numbered from `first` on
static void print_registers(char *text, size_t size, int first, int words)
{
    size_t at = 0;
    if (words > 1)
        at += (size_t)snprintf(text, size, "{");
    for (int i = 0; i < words; i++)
        at += (size_t)snprintf(text + at, size - at, "%s$%d", i ? ", " : "", first + i);
    if (words > 1)
        snprintf(text + at, size - at, "}");
}

void nvptx_load_global(struct nvptx *n, LLVMValueRef p, LLVMValueRef condition, int words, int bits, uint64_t pad,
                       LLVMValueRef *x)
{
    struct lower *l = &n->l;
    if (!condition) {
        plain_load(n, p, words, bits, x);
        return;
    }
    if (n->emulate) {
        plain_load(n, emulated_pointer(n, p, condition), words, bits, x);
        for (int i = 0; i < words; i++)
            x[i] = LLVMBuildSelect(l->b, condition, x[i], LLVMConstInt(word_type(n, bits), pad, false), "");
        return;
    }
    // The registers are filled with padding, and the load happens or not.
    int width = bits == 8 ? 16 : bits; // of the register
    char text[512], constraints[64] = "", registers[64];
    size_t at = 0;
    for (int i = 0; i < words; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "mov.b%d $%d, 0x%llx;\n\t", width, i,
                               (unsigned long long)pad);
    print_registers(registers, sizeof registers, 0, words);
    const char *vector = words == 4 ? ".v4" : words == 2 ? ".v2" : "";
    snprintf(text + at, sizeof text - at, "@$%d ld.global%s.%c%d %s, [$%d];", words + 1, vector, bits == 8 ? 'u' : 'b',
             bits, registers, words);
    for (int i = 0; i < words; i++)
        snprintf(constraints + strlen(constraints), sizeof constraints - strlen(constraints), "=&%s,", letter(bits));
    strcat(constraints, "l,b,~{memory}");
    LLVMTypeRef type = word_type(n, width), types[4] = {type, type, type, type};
    LLVMTypeRef result = words > 1 ? LLVMStructTypeInContext(l->context, types, (unsigned)words, false) : type;
    LLVMTypeRef params[] = {pointer_type(n, NVPTX_GLOBAL), l->i1};
    LLVMTypeRef function = LLVMFunctionType(result, params, 2, false);
    LLVMValueRef code = LLVMGetInlineAsm(function, text, strlen(text), constraints, strlen(constraints), true, false,
                                         LLVMInlineAsmDialectATT, false);
    LLVMValueRef y = LLVMBuildCall2(l->b, function, code, (LLVMValueRef[]){p, condition}, 2, "");
    for (int i = 0; i < words; i++) {
        x[i] = words > 1 ? LLVMBuildExtractValue(l->b, y, (unsigned)i, "") : y;
        if (bits == 8)
            x[i] = LLVMBuildTrunc(l->b, x[i], l->i8, "");
    }
}

void nvptx_store_global(struct nvptx *n, LLVMValueRef p, LLVMValueRef condition, int words, int bits, LLVMValueRef *x)
{
    struct lower *l = &n->l;
    if (!condition || n->emulate) {
        plain_store(n, condition ? emulated_pointer(n, p, condition) : p, words, bits, x);
        return;
    }
    int width = bits == 8 ? 16 : bits;
    char text[256], constraints[64] = "b,l", registers[64];
    const char *vector = words == 4 ? ".v4" : words == 2 ? ".v2" : "";
    print_registers(registers, sizeof registers, 2, words);
    snprintf(text, sizeof text, "@$0 st.global%s.%c%d [$1], %s;", vector, bits == 8 ? 'u' : 'b', bits, registers);
    LLVMTypeRef params[6] = {l->i1, pointer_type(n, NVPTX_GLOBAL)};
    LLVMValueRef args[6] = {condition, p};
    for (int i = 0; i < words; i++) {
        snprintf(constraints + strlen(constraints), sizeof constraints - strlen(constraints), ",%s", letter(bits));
        params[2 + i] = word_type(n, width);
        args[2 + i] = bits == 8 ? LLVMBuildZExt(l->b, x[i], params[2], "") : x[i];
    }
    strcat(constraints, ",~{memory}");
    LLVMTypeRef function = LLVMFunctionType(void_type(n), params, (unsigned)words + 2, false);
    LLVMValueRef code = LLVMGetInlineAsm(function, text, strlen(text), constraints, strlen(constraints), true, false,
                                         LLVMInlineAsmDialectATT, false);
    LLVMBuildCall2(l->b, function, code, args, (unsigned)words + 2, "");
}

// ---- Words ---------------------------------------------------------------------------------------------------------

int nvptx_word_bits(enum dtype t, int width)
{
    int bits = (int)dtype_bytes(t) * 8;
    if (bits == 64)
        return 64;
    return bits * width < 32 ? bits * width : 32;
}

void nvptx_unpack(struct nvptx *n, enum dtype t, int bits, int words, const LLVMValueRef *word, LLVMValueRef *x)
{
    struct lower *l = &n->l;
    int element = (int)dtype_bytes(t) * 8, each = bits / element;
    LLVMTypeRef type = lower_type(l, t), stored = word_type(n, element);
    for (int i = 0; i < words; i++)
        for (int j = 0; j < each; j++) {
            LLVMValueRef y = word[i];
            if (each == 2 && bits == 32) {
                y = lower_pick(l, LLVMBuildBitCast(l->b, y, LLVMVectorType(stored, 2), ""), j);
            } else if (each > 1) {
                if (j)
                    y = LLVMBuildLShr(l->b, y, LLVMConstInt(word_type(n, bits), (unsigned)(j * element), false), "");
                y = LLVMBuildTrunc(l->b, y, stored, "");
            }
            x[i * each + j] = t == DTYPE_I1 ? LLVMBuildTrunc(l->b, y, type, "") : LLVMBuildBitCast(l->b, y, type, "");
        }
}

void nvptx_pack(struct nvptx *n, enum dtype t, int bits, int words, const LLVMValueRef *x, LLVMValueRef *word)
{
    struct lower *l = &n->l;
    int element = (int)dtype_bytes(t) * 8, each = bits / element;
    LLVMTypeRef stored = word_type(n, element), type = word_type(n, bits);
    for (int i = 0; i < words; i++) {
        LLVMValueRef y = each == 2 && bits == 32 ? LLVMGetPoison(LLVMVectorType(stored, 2)) : NULL;
        for (int j = 0; j < each; j++) {
            LLVMValueRef e = x[i * each + j];
            e = t == DTYPE_I1 ? LLVMBuildZExt(l->b, e, stored, "") : LLVMBuildBitCast(l->b, e, stored, "");
            if (each == 2 && bits == 32) {
                y = lower_insert(l, y, e, j);
            } else if (each == 1) {
                y = e;
            } else {
                e = LLVMBuildZExt(l->b, e, type, "");
                if (j)
                    e = LLVMBuildShl(l->b, e, LLVMConstInt(type, (unsigned)(j * element), false), "");
                y = y ? LLVMBuildOr(l->b, y, e, "") : e;
            }
        }
        word[i] = LLVMBuildBitCast(l->b, y, type, "");
    }
}

// ---- Matrices ------------------------------------------------------------------------------------------------------

static LLVMValueRef array_slot(struct nvptx *n, LLVMTypeRef type, int count, LLVMValueRef *x)
{
    struct lower *l = &n->l;
    LLVMValueRef slot = lower_stack(l, type, count, 16);
    for (int i = 0; x && i < count; i++) {
        LLVMValueRef at = lower_i64(l, i);
        LLVMBuildStore(l->b, x[i], LLVMBuildInBoundsGEP2(l->b, type, slot, &at, 1, ""));
    }
    return slot;
}

static void read_slot(struct nvptx *n, LLVMTypeRef type, LLVMValueRef slot, int count, LLVMValueRef *x)
{
    struct lower *l = &n->l;
    for (int i = 0; i < count; i++) {
        LLVMValueRef at = lower_i64(l, i);
        x[i] = LLVMBuildLoad2(l->b, type, LLVMBuildInBoundsGEP2(l->b, type, slot, &at, 1, ""), "");
    }
}

void nvptx_ldmatrix(struct nvptx *n, LLVMValueRef p, int matrices, bool transposed, LLVMValueRef *x)
{
    struct lower *l = &n->l;
    if (n->emulate) {
        LLVMValueRef slot = array_slot(n, l->i32, 4, NULL);
        LLVMValueRef args[] = {LLVMBuildAddrSpaceCast(l->b, p, pointer_type(n, 0), ""), lower_i32(l, matrices),
                               lower_i32(l, transposed), slot};
        call_emulation(n, "emu_ldmatrix", void_type(n), 4, args);
        read_slot(n, l->i32, slot, matrices, x);
        return;
    }
    char name[80];
    snprintf(name, sizeof name, "llvm.nvvm.ldmatrix.sync.aligned.m8n8.x%d%s.b16", matrices, transposed ? ".trans" : "");
    LLVMTypeRef type = LLVMTypeOf(p);
    LLVMValueRef y = lower_intrinsic(l, name, 1, &type, 1, &p);
    for (int i = 0; i < matrices; i++)
        x[i] = matrices > 1 ? LLVMBuildExtractValue(l->b, y, (unsigned)i, "") : y;
}

void nvptx_mma(struct nvptx *n, enum dtype t, LLVMValueRef *a, LLVMValueRef *b, LLVMValueRef *c)
{
    struct lower *l = &n->l;
    if (n->emulate) {
        LLVMValueRef slot = array_slot(n, l->f32, 4, c);
        LLVMValueRef args[] = {lower_i32(l, t == DTYPE_BF16), array_slot(n, l->i32, 4, a), array_slot(n, l->i32, 2, b),
                               slot};
        call_emulation(n, "emu_mma", void_type(n), 4, args);
        read_slot(n, l->f32, slot, 4, c);
        return;
    }
    LLVMTypeRef half = LLVMVectorType(LLVMHalfTypeInContext(l->context), 2);
    LLVMValueRef args[10];
    for (int i = 0; i < 6; i++) {
        args[i] = i < 4 ? a[i] : b[i - 4];
        if (t == DTYPE_F16)
            args[i] = LLVMBuildBitCast(l->b, args[i], half, "");
    }
    memcpy(args + 6, c, 4 * sizeof *c);
    LLVMValueRef d = lower_intrinsic(
        l, t == DTYPE_F16 ? "llvm.nvvm.mma.m16n8k16.row.col.f32.f32" : "llvm.nvvm.mma.m16n8k16.row.col.bf16", 0, NULL,
        10, args);
    for (int i = 0; i < 4; i++)
        c[i] = LLVMBuildExtractValue(l->b, d, (unsigned)i, "");
}
