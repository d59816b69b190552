// The functions of a kernel that others call; lower.h lists them.
#include <string.h>

#include "codegen/lower_internal.h"

#define STACK_SCRATCH 16384 // bytes; more comes from the heap

int lower_n_args(const struct function *k)
{
    int n = k->n_params;
    for (int i = 0; i < k->n_symbols; i++)
        n += k->symbols[i] != NULL;
    return n;
}

struct value *lower_arg(const struct function *k, int i)
{
    if (i < k->n_params)
        return k->params[i];
    i -= k->n_params;
    for (int s = 0;; s++)
        if (k->symbols[s] && i-- == 0)
            return k->symbols[s];
}

static const char *const endings[] = {"", "_env", "__instance", "__range", "__grid", "__scratch", "__kernel"};
#define N_ENDINGS (sizeof endings / sizeof *endings)

// Whether the symbol is one that the kernel's code defines.
static bool defines(const struct function *k, const char *symbol)
{
    size_t n = strlen(k->name);
    for (size_t i = 0; i < N_ENDINGS && !strncmp(symbol, k->name, n); i++)
        if (!strcmp(symbol + n, endings[i]))
            return true;
    return false;
}

bool lower_is_kernels(const struct module *m, const char *name)
{
    for (const struct function *f = m->first_function; f; f = f->next)
        if (f->kind == FUNCTION_KERNEL && defines(f, name))
            return true;
    return false;
}

static bool has_word(struct arena *a, const char *words, const char *word)
{
    return strstr(words, arena_printf(a, " %s ", word)) != NULL;
}

bool lower_is_c_word(struct arena *a, const char *name)
{
    return has_word(a,
                    " alignas alignof asm auto bool break case char const constexpr continue default do double else "
                    "enum extern false float for goto if inline int long nullptr register restrict return short signed "
                    "sizeof static struct switch thread_local true typedef typeof union unsigned void volatile while "
                    "int8_t int16_t int32_t int64_t uint8_t uint16_t uint32_t uint64_t linux unix ",
                    name);
}

// Names that a kernel's C functions cannot have.
static void check_names(struct lower *l)
{
    // Of the C library: what the code here and what LLVM calls.
    static const char called[] = " aligned_alloc calloc free malloc realloc memcmp memcpy memmove memset snprintf fma "
                                 "fmaf fmod fmodf ";
    const struct function *k = l->kernel;
    for (size_t i = 0; i < N_ENDINGS; i++) {
        const char *symbol = arena_printf(&l->arena, "%s%s", k->name, endings[i]);
        if (has_word(&l->arena, called, symbol))
            lower_error(l, NULL, "the C library has a function '%s', which compiled code may call; rename the kernel",
                        symbol);
        for (const struct function *f = k->module->first_function; f && f != k; f = f->next)
            if (f->kind == FUNCTION_KERNEL && defines(f, symbol))
                lower_error(l, NULL, "kernels @%s and @%s both define the symbol '%s'; rename one", f->name, k->name,
                            symbol);
    }
    if (lower_is_c_word(&l->arena, k->name))
        lower_error(l, NULL, "'%s' is a word of C and cannot be called; rename the kernel", k->name);
}

struct functions {
    LLVMTypeRef instance_type, range_type, count_type;
    LLVMValueRef instance, range, grid, scratch;
};

static LLVMTypeRef arg_type(struct lower *l, const struct value *v) // in C
{
    if (v->type->kind == TYPE_VIEW)
        return l->ptr;
    return lower_memory_type(l, v->type->dtype, 1);
}

static enum lower_reach parts_reach(const struct lower *l)
{
    return l->launched ? LOWER_PROGRAM : LOWER_EVERYBODY;
}

// Leaves the function as it is, which takes LLVM much less time: for what runs once a launch.
static void leave_slow(struct lower *l, LLVMValueRef f)
{
    static const char *const names[] = {"noinline", "optnone"};
    for (int i = 0; i < 2; i++) {
        unsigned kind = LLVMGetEnumAttributeKindForName(names[i], strlen(names[i]));
        LLVMAddAttributeAtIndex(f, LLVMAttributeFunctionIndex, LLVMCreateEnumAttribute(l->context, kind, 0));
    }
}

static void attribute(struct lower *l, LLVMValueRef f, int param, const char *name, uint64_t value)
{
    unsigned kind = LLVMGetEnumAttributeKindForName(name, strlen(name));
    LLVMAddAttributeAtIndex(f, (LLVMAttributeIndex)(param + 1), LLVMCreateEnumAttribute(l->context, kind, value));
}

// ---- Inside ----------------------------------------------------------------------------------------------------

static void bind(struct lower *l, struct value *v, LLVMValueRef x)
{
    if (v->type->kind == TYPE_VIEW)
        l->roots[v->id]->pointer = x;
    else
        lower_set_register(l, v, 0, x);
}

static int instance_params(const struct function *k)
{
    return lower_n_args(k) + 8; // program ids, grid sizes, scratch, memory of `once` operations
}

static void make_instance(struct lower *l, struct functions *f)
{
    struct function *k = l->kernel;
    int n = lower_n_args(k), total = instance_params(k);
    LLVMTypeRef *types = ARENA_ARRAY(&l->arena, LLVMTypeRef, total);
    for (int i = 0; i < n; i++) {
        struct value *v = lower_arg(k, i);
        types[i] = v->type->kind == TYPE_VIEW ? l->ptr : lower_type(l, v->type->dtype);
    }
    for (int i = 0; i < 6; i++)
        types[n + i] = l->i64;
    types[n + 6] = types[n + 7] = l->ptr;
    f->instance_type = lower_function_type(LLVMVoidTypeInContext(l->context), total, types);
    f->instance = lower_add_function(l, "__instance", f->instance_type, LOWER_UNIT);
    lower_begin_function(l, f->instance);
    for (int i = 0; i < n; i++) {
        struct value *v = lower_arg(k, i);
        LLVMValueRef x = LLVMGetParam(f->instance, (unsigned)i);
        if (v->name)
            LLVMSetValueName2(x, v->name, strlen(v->name));
        if (v->type->kind == TYPE_VIEW) {
            attribute(l, f->instance, i, "noalias", 0);
            attribute(l, f->instance, i, "nocapture", 0);
            if (!l->written[v->id])
                attribute(l, f->instance, i, "readonly", 0);
        } else {
            lower_set_register(l, v, 0, x);
        }
    }
    for (int i = 0; i < 3; i++) {
        l->program_id[i] = LLVMGetParam(f->instance, (unsigned)(n + i));
        l->num_programs[i] = LLVMGetParam(f->instance, (unsigned)(n + 3 + i));
    }
    l->once_words = LLVMGetParam(f->instance, (unsigned)(n + 7));
    attribute(l, f->instance, n + 7, "noalias", 0);
    attribute(l, f->instance, n + 6, "noalias", 0);
    attribute(l, f->instance, n + 6, "nocapture", 0);
    attribute(l, f->instance, n + 6, "align", 64);
    LLVMBasicBlockRef body = lower_new_block(l, "body");
    LLVMPositionBuilderAtEnd(l->b, body);
    lower_roots(l, LLVMGetParam(f->instance, (unsigned)(n + 6)));
    for (int i = 0; i < k->n_params; i++)
        if (k->params[i]->type->kind == TYPE_VIEW)
            bind(l, k->params[i], LLVMGetParam(f->instance, (unsigned)i));
    lower_block(l, k->body);
    if (l->streams) // what went past the caches is ordered before what the caller does next
        lower_intrinsic(l, "llvm.x86.sse.sfence", 0, NULL, 0, NULL);
    LLVMBuildRetVoid(l->b);
    LLVMPositionBuilderAtEnd(l->b, l->entry);
    LLVMBuildBr(l->b, body);
    memset(l->program_id, 0, sizeof l->program_id);
    memset(l->num_programs, 0, sizeof l->num_programs);
}

// ---- From argument slots ---------------------------------------------------------------------------------------

static LLVMValueRef slot(struct lower *l, LLVMValueRef args, int i)
{
    LLVMValueRef index = lower_i64(l, i);
    return LLVMBuildInBoundsGEP2(l->b, l->i64, args, &index, 1, "");
}

// The arguments as the instance takes them.
static void unpack(struct lower *l, LLVMValueRef args, LLVMValueRef *x)
{
    for (int i = 0; i < lower_n_args(l->kernel); i++) {
        struct value *v = lower_arg(l->kernel, i);
        x[i] = LLVMBuildLoad2(l->b, arg_type(l, v), slot(l, args, i), "");
        LLVMSetAlignment(x[i], 8);
        if (v->type->kind != TYPE_VIEW && v->type->dtype == DTYPE_I1)
            x[i] = LLVMBuildICmp(l->b, LLVMIntNE, x[i], LLVMConstNull(l->i8), "");
    }
}

// Begins a function of argument slots, with the registers of scalars and symbols bound.
static void begin_unpacked(struct lower *l, LLVMValueRef f, LLVMValueRef *x)
{
    lower_begin_function(l, f);
    unpack(l, LLVMGetParam(f, 0), x);
    for (int i = 0; i < lower_n_args(l->kernel); i++)
        if (lower_arg(l->kernel, i)->type->kind != TYPE_VIEW)
            bind(l, lower_arg(l->kernel, i), x[i]);
    lower_roots(l, NULL);
}

static void grid_sizes(struct lower *l, LLVMValueRef *size)
{
    struct op *yield = block_terminator(l->kernel->grid);
    lower_block(l, l->kernel->grid);
    for (int i = 0; i < 3; i++)
        size[i] = yield && i < yield->n_operands ? lower_scalar(l, yield->operands[i]) : lower_i64(l, 1);
}

// Whether the kernel may have something to write, an i1: nothing runs for views without elements.
static LLVMValueRef has_room_to_write(struct lower *l)
{
    LLVMValueRef no = LLVMConstInt(l->i1, 0, false), yes = LLVMConstInt(l->i1, 1, false), room = no;
    bool writes = false;
    for (int i = 0; i < l->kernel->n_params; i++) {
        const struct value *view = l->kernel->params[i];
        if (view->type->kind != TYPE_VIEW || !block_writes(l->kernel->body, view))
            continue;
        struct root root = {0};
        lower_root_sizes(l, &root, view->type);
        LLVMValueRef some = yes;
        for (int d = 0; d < view->type->rank; d++)
            if (root.size[d])
                some = LLVMBuildAnd(l->b, some, LLVMBuildICmp(l->b, LLVMIntNE, root.size[d], lower_i64(l, 0), ""), "");
        room = LLVMBuildOr(l->b, room, some, "");
        writes = true;
    }
    return writes ? room : yes;
}

static void make_grid(struct lower *l, struct functions *f, LLVMValueRef *x)
{
    f->grid = lower_add_function(l, "__grid", f->count_type, parts_reach(l));
    leave_slow(l, f->grid);
    begin_unpacked(l, f->grid, x);
    LLVMValueRef size[3], all = lower_i64(l, 1), zero = lower_i64(l, 0);
    grid_sizes(l, size);
    for (int i = 0; i < 3; i++)
        all = lower_mul(l, all, lower_max(l, size[i], zero));
    LLVMBuildRet(l->b, LLVMBuildSelect(l->b, has_room_to_write(l), all, zero, ""));
}

static void make_scratch(struct lower *l, struct functions *f, LLVMValueRef *x)
{
    f->scratch = lower_add_function(l, "__scratch", f->count_type, parts_reach(l));
    leave_slow(l, f->scratch);
    begin_unpacked(l, f->scratch, x);
    LLVMBuildRet(l->b, lower_scratch_bytes(l));
}

static void make_range(struct lower *l, struct functions *f, LLVMValueRef *x)
{
    LLVMTypeRef types[4] = {l->ptr, l->i64, l->i64, l->ptr};
    int n = lower_n_args(l->kernel);
    f->range_type = lower_function_type(l->i32, 4, types);
    f->range = lower_add_function(l, "__range", f->range_type, parts_reach(l));
    begin_unpacked(l, f->range, x);
    LLVMValueRef *size = x + n + 3, begin = LLVMGetParam(f->range, 1), end = LLVMGetParam(f->range, 2);
    grid_sizes(l, size);
    x[n + 6] = LLVMGetParam(f->range, 3);
    x[n + 7] = lower_stack(l, l->i64, l->n_once_words ? l->n_once_words : 1, 8);
    if (l->n_once_words)
        LLVMBuildMemSet(l->b, x[n + 7], LLVMConstNull(l->i8), lower_i64(l, 8 * (int64_t)l->n_once_words), 8);
    LLVMBasicBlockRef start = lower_new_block(l, "start"), loop = lower_new_block(l, "instance"),
                      done = lower_new_block(l, "done");
    LLVMBuildCondBr(l->b, LLVMBuildICmp(l->b, LLVMIntSLT, begin, end, ""), start, done);

    // The first instance's ids by division, the next ones by counting.
    LLVMPositionBuilderAtEnd(l->b, start);
    LLVMValueRef first[4] = {begin}, id[4], next[4], one = lower_i64(l, 1), zero = lower_i64(l, 0);
    first[1] = LLVMBuildSRem(l->b, begin, size[0], "");
    LLVMValueRef rest = LLVMBuildSDiv(l->b, begin, size[0], "");
    first[2] = LLVMBuildSRem(l->b, rest, size[1], "");
    first[3] = LLVMBuildSDiv(l->b, rest, size[1], "");
    LLVMBuildBr(l->b, loop);
    LLVMPositionBuilderAtEnd(l->b, loop);
    for (int i = 0; i < 4; i++)
        id[i] = LLVMBuildPhi(l->b, l->i64, i ? "id" : "instance");
    memcpy(x + n, id + 1, 3 * sizeof *x);
    LLVMBuildCall2(l->b, f->instance_type, f->instance, x, (unsigned)instance_params(l->kernel), "");
    next[0] = LLVMBuildNSWAdd(l->b, id[0], one, "");
    LLVMValueRef carry = NULL;
    for (int i = 1; i < 4; i++) {
        LLVMValueRef up = LLVMBuildNSWAdd(l->b, id[i], one, "");
        next[i] = carry ? LLVMBuildSelect(l->b, carry, up, id[i], "") : up;
        if (i == 3)
            break;
        carry = LLVMBuildICmp(l->b, LLVMIntEQ, next[i], size[i - 1], "");
        next[i] = LLVMBuildSelect(l->b, carry, zero, next[i], "");
    }
    for (int i = 0; i < 4; i++)
        LLVMAddIncoming(id[i], (LLVMValueRef[]){first[i], next[i]}, (LLVMBasicBlockRef[]){start, loop}, 2);
    LLVMBuildCondBr(l->b, LLVMBuildICmp(l->b, LLVMIntSLT, next[0], end, ""), loop, done);
    LLVMPositionBuilderAtEnd(l->b, done);
    LLVMBuildRet(l->b, lower_i32(l, 0));
}

// ---- Launchers -------------------------------------------------------------------------------------------------

// Runs everything with memory for scratch: from the stack when it is little. Returns the status.
static void run_serially(struct lower *l, const struct functions *f, LLVMValueRef args, LLVMValueRef n,
                         LLVMValueRef bytes)
{
    LLVMValueRef zero = lower_i64(l, 0), slots, status, memory;
    LLVMBasicBlockRef heap = lower_new_block(l, "heap"), run = lower_new_block(l, "run"),
                      stack = lower_new_block(l, "stack"), failed = lower_new_block(l, "failed");
    LLVMBuildCondBr(l->b, LLVMBuildICmp(l->b, LLVMIntULE, bytes, lower_i64(l, STACK_SCRATCH), ""), stack, heap);

    LLVMPositionBuilderAtEnd(l->b, stack);
    slots = LLVMBuildArrayAlloca(l->b, l->i8, bytes, "scratch");
    LLVMSetAlignment(slots, 64);
    status = LLVMBuildCall2(l->b, f->range_type, f->range, (LLVMValueRef[]){args, zero, n, slots}, 4, "");
    LLVMBuildRet(l->b, status);

    LLVMPositionBuilderAtEnd(l->b, heap);
    LLVMTypeRef sizes[2] = {l->i64, l->i64};
    LLVMTypeRef alloc_type = lower_function_type(l->ptr, 2, sizes),
                free_type = lower_function_type(LLVMVoidTypeInContext(l->context), 1, &l->ptr);
    memory = LLVMBuildCall2(l->b, alloc_type, lower_library_function(l, "aligned_alloc", alloc_type),
                            (LLVMValueRef[]){lower_i64(l, 64), bytes}, 2, "");
    LLVMBuildCondBr(l->b, LLVMBuildIsNull(l->b, memory, ""), failed, run);
    LLVMPositionBuilderAtEnd(l->b, run);
    status = LLVMBuildCall2(l->b, f->range_type, f->range, (LLVMValueRef[]){args, zero, n, memory}, 4, "");
    LLVMBuildCall2(l->b, free_type, lower_library_function(l, "free", free_type), &memory, 1, "");
    LLVMBuildRet(l->b, status);
    LLVMPositionBuilderAtEnd(l->b, failed);
    LLVMBuildRet(l->b, lower_i32(l, 1));
}

static LLVMTypeRef env_type(struct lower *l)
{
    LLVMTypeRef members[6] = {l->i32, l->ptr, l->ptr, l->ptr, l->ptr, l->ptr};
    return LLVMStructTypeInContext(l->context, members, 6, false);
}

static void make_launcher(struct lower *l, const struct functions *f, bool with_env)
{
    struct function *k = l->kernel;
    int n = lower_n_args(k), skip = with_env;
    LLVMTypeRef *types = ARENA_ARRAY(&l->arena, LLVMTypeRef, n + 1);
    types[0] = l->ptr;
    for (int i = 0; i < n; i++)
        types[skip + i] = arg_type(l, lower_arg(k, i));
    LLVMValueRef launcher =
        lower_add_function(l, with_env ? "_env" : "", lower_function_type(l->i32, n + skip, types), LOWER_EVERYBODY);
    lower_begin_function(l, launcher);
    LLVMValueRef args = LLVMBuildAlloca(l->b, LLVMArrayType2(l->i64, (uint64_t)(n ? n : 1)), "args");
    for (int i = 0; i < n; i++) {
        struct value *v = lower_arg(k, i);
        LLVMValueRef x = LLVMGetParam(launcher, (unsigned)(skip + i));
        if (v->name)
            LLVMSetValueName2(x, v->name, strlen(v->name));
        if (types[skip + i] != l->ptr && types[skip + i] != l->f32 && types[skip + i] != l->f64) {
            if (types[skip + i] != l->i64) // the C calling convention
                attribute(l, launcher, skip + i, dtype_is_signed(v->type->dtype) ? "signext" : "zeroext", 0);
            enum dtype from = v->type->dtype; // by its bits
            if (lower_is_narrow(from) || from == DTYPE_I1)
                from = dtype_info[from].bits == 16 ? DTYPE_U16 : DTYPE_U8;
            x = lower_cast(l, DTYPE_I64, from, x);
        }
        LLVMBuildStore(l->b, x, slot(l, args, i));
    }
    LLVMValueRef count = LLVMBuildCall2(l->b, f->count_type, f->grid, &args, 1, "n"),
                 bytes = LLVMBuildCall2(l->b, f->count_type, f->scratch, &args, 1, "bytes");
    if (with_env) {
        LLVMValueRef env = LLVMGetParam(launcher, 0);
        LLVMBasicBlockRef parallel = lower_new_block(l, "parallel"), serial = lower_new_block(l, "serial");
        LLVMBuildCondBr(l->b, LLVMBuildIsNull(l->b, env, ""), serial, parallel);
        LLVMPositionBuilderAtEnd(l->b, parallel);
        LLVMTypeRef params[5] = {l->ptr, l->i64, l->ptr, l->ptr, l->i64};
        LLVMValueRef run = LLVMBuildLoad2(l->b, l->ptr, LLVMBuildStructGEP2(l->b, env_type(l), env, 2, ""), "");
        LLVMValueRef status = LLVMBuildCall2(l->b, lower_function_type(l->i32, 5, params), run,
                                             (LLVMValueRef[]){env, count, f->range, args, bytes}, 5, "");
        LLVMBuildRet(l->b, status);
        LLVMPositionBuilderAtEnd(l->b, serial);
    }
    run_serially(l, f, args, count, bytes);
}

static void make_descriptor(struct lower *l, const struct functions *f)
{
    const char *name = l->kernel->name;
    LLVMValueRef text = LLVMConstStringInContext2(l->context, name, strlen(name), false);
    LLVMValueRef string = LLVMAddGlobal(l->module, LLVMTypeOf(text), "name");
    LLVMSetInitializer(string, text);
    LLVMSetLinkage(string, LLVMPrivateLinkage);
    LLVMSetGlobalConstant(string, true);
    LLVMValueRef members[5] = {string, f->range, f->grid, f->scratch, lower_i64(l, lower_n_args(l->kernel))};
    LLVMValueRef value = LLVMConstStructInContext(l->context, members, 5, false);
    LLVMValueRef kernel = LLVMAddGlobal(l->module, LLVMTypeOf(value), arena_printf(&l->arena, "%s__kernel", name));
    LLVMSetInitializer(kernel, value);
    LLVMSetGlobalConstant(kernel, true);
    LLVMSetAlignment(kernel, 8);
}

void lower_abi(struct lower *l)
{
    struct functions f = {.count_type = lower_function_type(l->i64, 1, &l->ptr)};
    LLVMValueRef *x = ARENA_ARRAY(&l->arena, LLVMValueRef, instance_params(l->kernel));
    if (!l->launched)
        check_names(l);
    if (!l->failed)
        make_instance(l, &f);
    if (!l->failed)
        make_grid(l, &f, x);
    if (!l->failed)
        make_scratch(l, &f, x);
    if (l->failed)
        return;
    make_range(l, &f, x);
    if (l->launched)
        return;
    make_launcher(l, &f, false);
    make_launcher(l, &f, true);
    make_descriptor(l, &f);
}
