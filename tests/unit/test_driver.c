// The LLVM driver: targets, emission, JIT, linking, and what happens when each goes wrong.
#include "codegen/driver.h"
#include "codegen/file.h"
#include "codegen/jit.h"
#include "codegen/link.h"
#include "runtime/isa.h"
#include "tests/unit/suite.h"

#include <llvm-c/Core.h>

#include <dirent.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// --- Helpers --------------------------------------------------------------------------------------------------------

static struct driver *make_driver(const char *target, int opt_level)
{
    struct target_desc t;
    struct driver *d = NULL;
    char *error = NULL;
    ck_assert_msg(target_parse(target, &t, &error) == 0, "%s", error);
    ck_assert_msg(driver_create(&t, opt_level, &d, &error) == 0, "%s", error);
    return d;
}

// void NAME(ptr a, ptr b, ptr c): c = a + b, `lanes` floats, as one vector.
static LLVMModuleRef make_add(struct driver *d, const char *name, unsigned lanes)
{
    LLVMContextRef context = driver_context(d);
    LLVMModuleRef module = driver_new_module(d, "add", NULL);
    ck_assert_ptr_nonnull(module);
    unsigned space = driver_target(d)->kind == TARGET_KIND_NVPTX ? 1 : 0;
    LLVMTypeRef pointer = LLVMPointerTypeInContext(context, space);
    LLVMTypeRef vector = LLVMVectorType(LLVMFloatTypeInContext(context), lanes);
    LLVMTypeRef type =
        LLVMFunctionType(LLVMVoidTypeInContext(context), (LLVMTypeRef[]){pointer, pointer, pointer}, 3, 0);
    LLVMValueRef function = LLVMAddFunction(module, name, type);
    if (driver_target(d)->kind == TARGET_KIND_NVPTX)
        LLVMSetFunctionCallConv(function, 71); // ptx_kernel
    LLVMBuilderRef builder = LLVMCreateBuilderInContext(context);
    LLVMPositionBuilderAtEnd(builder, LLVMAppendBasicBlockInContext(context, function, "entry"));
    LLVMValueRef a = LLVMBuildLoad2(builder, vector, LLVMGetParam(function, 0), "a");
    LLVMValueRef b = LLVMBuildLoad2(builder, vector, LLVMGetParam(function, 1), "b");
    LLVMValueRef store = LLVMBuildStore(builder, LLVMBuildFAdd(builder, a, b, "c"), LLVMGetParam(function, 2));
    LLVMSetAlignment(a, 4);
    LLVMSetAlignment(b, 4);
    LLVMSetAlignment(store, 4);
    LLVMBuildRetVoid(builder);
    LLVMDisposeBuilder(builder);
    return module;
}

// A module with one function `f` of no parameters that calls `callee`, an external function, if not NULL, and runs the
// inline assembly, if not NULL.
static LLVMModuleRef make_call(struct driver *d, const char *callee, const char *assembly)
{
    LLVMContextRef context = driver_context(d);
    LLVMModuleRef module = driver_new_module(d, "call", NULL);
    LLVMTypeRef type = LLVMFunctionType(LLVMVoidTypeInContext(context), NULL, 0, 0);
    LLVMValueRef function = LLVMAddFunction(module, "f", type);
    LLVMBuilderRef builder = LLVMCreateBuilderInContext(context);
    LLVMPositionBuilderAtEnd(builder, LLVMAppendBasicBlockInContext(context, function, "entry"));
    if (callee)
        LLVMBuildCall2(builder, type, LLVMAddFunction(module, callee, type), NULL, 0, "");
    if (assembly) {
        LLVMValueRef text = LLVMGetInlineAsm(type, assembly, strlen(assembly), "", 0, 1, 0, LLVMInlineAsmDialectATT, 0);
        LLVMBuildCall2(builder, type, text, NULL, 0, "");
    }
    LLVMBuildRetVoid(builder);
    LLVMDisposeBuilder(builder);
    return module;
}

static void check_add(void *function)
{
    float a[16], b[16], c[16] = {0};
    for (int i = 0; i < 16; i++) {
        a[i] = (float)i;
        b[i] = (float)(100 * i);
    }
    void (*add)(const float *, const float *, float *);
    memcpy(&add, &function, sizeof add);
    add(a, b, c);
    for (int i = 0; i < 16; i++)
        ck_assert_float_eq(c[i], (float)(101 * i));
}

// The message of a call that had to fail; freed here, so valid until the next.
static const char *failure(int status, char *error)
{
    static char text[4096];
    ck_assert_int_ne(status, 0);
    ck_assert_ptr_nonnull(error);
    snprintf(text, sizeof text, "%s", error);
    free(error);
    return text;
}

#define FAILS(text, call)                                                                                              \
    do {                                                                                                               \
        char *error = NULL;                                                                                            \
        int status = (call);                                                                                           \
        const char *message = failure(status, error);                                                                  \
        ck_assert_msg(strstr(message, text), "\"%s\" is not in \"%s\"", text, message);                                \
    } while (0)

#define WORKS(call)                                                                                                    \
    do {                                                                                                               \
        char *error = NULL;                                                                                            \
        ck_assert_msg((call) == 0, "%s", error);                                                                       \
    } while (0)

static char folder[64];

static void make_folder(void)
{
    strcpy(folder, "/tmp/tegula-driver-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

static const char *in_folder(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static int count_files(void)
{
    DIR *d = opendir(folder);
    int n = -2; // . and ..
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static void remove_folder(void)
{
    DIR *d = opendir(folder);
    for (struct dirent *e; (e = readdir(d));)
        unlinkat(dirfd(d), e->d_name, 0);
    closedir(d);
    rmdir(folder);
}

// --- Targets --------------------------------------------------------------------------------------------------------

START_TEST(target_facts)
{
    static const struct {
        const char *name;
        int bytes, unit, registers;
        bool fma, avx512, vnni, bf16, amx;
        int sm;
    } rows[] = {
        {"x86-64-v2", 16, 16, 16, false, false, false, false, false, 0},
        {"x86-64-v3", 32, 32, 16, true, false, false, false, false, 0},
        {"x86-64-v4", 64, 64, 32, true, true, false, false, false, 0},
        {"x86-64-v3+vnni", 32, 32, 16, true, false, true, false, false, 0},
        {"x86-64-v4+vnni+bf16+amx", 64, 64, 32, true, true, true, true, true, 0},
        {"skylake-avx512", 64, 64, 32, true, true, false, false, false, 0},
        {"sapphirerapids", 64, 64, 32, true, true, true, true, true, 0},
        {"sapphirerapids+noamx", 64, 64, 32, true, true, true, true, false, 0},
        {"sapphirerapids+noavx512", 32, 32, 16, true, false, true, false, false, 0},
        {"znver4", 64, 32, 32, true, true, true, true, false, 0},
        {"alderlake", 32, 32, 16, true, false, true, false, false, 0},
        {"sm_80", 16, 16, 255, true, false, false, false, false, 80},
        {"sm_90a", 16, 16, 255, true, false, false, false, false, 90},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct target_desc t;
        WORKS(target_parse(rows[i].name, &t, &error));
        ck_assert_str_eq(t.name, rows[i].name);
        ck_assert_msg(t.vector_bytes == rows[i].bytes && t.unit_bytes == rows[i].unit &&
                          t.n_vector_registers == rows[i].registers && t.fma == rows[i].fma &&
                          t.avx512 == rows[i].avx512 && t.vnni == rows[i].vnni && t.bf16 == rows[i].bf16 &&
                          t.amx == rows[i].amx && t.sm == rows[i].sm,
                      "%s", t.name);
        ck_assert_int_eq(t.kind, t.sm ? TARGET_KIND_NVPTX : TARGET_KIND_X86);
        ck_assert_int_eq(t.l1d_bytes > 0 && t.l2_bytes > t.l1d_bytes, !t.sm);
    }
}
END_TEST

START_TEST(target_native)
{
    struct target_desc t, v2;
    WORKS(target_parse("native", &t, &error));
    ck_assert(target_runs_here(&t));
    ck_assert_uint_eq(t.isa, isa_here()); // LLVM and we ask the CPU alike
    ck_assert_int_ge(t.l1d_bytes, 8192);
    ck_assert_int_gt(t.l2_bytes, t.l1d_bytes);
    WORKS(target_parse("x86-64-v2", &v2, &error));
    ck_assert(target_runs_here(&v2));
    WORKS(target_parse("sm_80", &t, &error));
    ck_assert(!target_runs_here(&t));
}
END_TEST

START_TEST(target_errors)
{
    struct target_desc t = {.sm = 7};
    FAILS("unknown target 'pentium'; known are native, x86-64-v2", target_parse("pentium", &t, &error));
    FAILS("sm_90a", target_parse("sm_20", &t, &error));
    FAILS("unknown target ''", target_parse("", &t, &error));
    FAILS("unknown extension '+x'; known are avx512, vnni, bf16, fp16, amx", target_parse("haswell+x", &t, &error));
    FAILS("unknown extension '+'", target_parse("haswell+", &t, &error));
    FAILS("'+amx' needs a CPU with AVX-512", target_parse("haswell+amx", &t, &error));
    FAILS("'+vnni' needs a CPU with AVX2", target_parse("nehalem+vnni", &t, &error));
    char name[5000];
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    FAILS("very long", target_parse(name, &t, &error));
    ck_assert_int_ne(target_parse("pentium", &t, NULL), 0);
    ck_assert_int_eq(t.sm, 7); // untouched
}
END_TEST

// LLVM says "not a recognized processor" (or feature) on stderr, and goes on.
START_TEST(target_names_are_llvms)
{
    static const char *const names[] = {
#define TARGET_X86(name, isa, l1d, l2, unit) name,
#define TARGET_SM(name, sm, ptx) name,
#define TARGET_EXTENSION(name, needs, adds, drops) "x86-64-v4+" name, "sapphirerapids+no" name,
#include "codegen/target.def"
    };
    FILE *log = tmpfile();
    fflush(stderr);
    int saved = dup(2);
    dup2(fileno(log), 2);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct driver *d = make_driver(names[i], 0);
        struct driver_buffer text;
        WORKS(driver_emit(d, make_add(d, "add", 4), DRIVER_ASSEMBLY, &text, &error));
        driver_buffer_finish(&text);
        driver_destroy(d);
    }
    dup2(saved, 2);
    close(saved);
    char line[256] = "";
    rewind(log);
    ck_assert_msg(!fgets(line, sizeof line, log), "%s", line);
    fclose(log);
}
END_TEST

// --- Compiling ------------------------------------------------------------------------------------------------------

static const struct {
    const char *target, *instruction;
} levels[] = {
    {"native", NULL},      {"x86-64-v2", "\taddps\t"},     {"x86-64-v3", "%ymm"},
    {"x86-64-v4", "%zmm"}, {"x86-64-v4+noavx512", "%ymm"}, {"skylake-avx512", "%zmm"}, // whose tuning prefers 256 bits
};

START_TEST(compile_and_run)
{
    for (int opt_level = 0; opt_level <= 3; opt_level++) {
        struct driver *d = make_driver(levels[_i].target, opt_level);
        LLVMModuleRef module = make_add(d, "add", 16);
        struct driver_buffer object, text, again;
        WORKS(driver_verify(d, module, &error));
        WORKS(driver_optimize(d, module, NULL, &error));
        WORKS(driver_emit(d, module, DRIVER_LLVM_IR, &text, &error));
        ck_assert_ptr_nonnull(strstr(text.data, "fadd <16 x float>"));
        ck_assert_ptr_nonnull(strstr(text.data, "x86_64-pc-linux-gnu"));
        driver_buffer_finish(&text);
        ck_assert_ptr_null(text.data);
        WORKS(driver_emit(d, module, DRIVER_ASSEMBLY, &text, &error));
        if (levels[_i].instruction)
            ck_assert_msg(strstr(text.data, levels[_i].instruction), "%s", text.data);
        ck_assert_uint_eq(strlen(text.data), text.size);
        driver_buffer_finish(&text);
        WORKS(driver_emit(d, module, DRIVER_OBJECT, &object, &error));
        ck_assert_mem_eq(object.data, "\177ELF", 4);
        WORKS(driver_emit(d, module, DRIVER_OBJECT, &again, &error));
        ck_assert_uint_eq(object.size, again.size);
        ck_assert_mem_eq(object.data, again.data, object.size);
        driver_buffer_finish(&again);

        if (target_runs_here(driver_target(d))) {
            struct jit *j;
            void *add;
            WORKS(jit_create(&j, &error));
            WORKS(jit_add_object(j, &object, &error));
            WORKS(jit_lookup(j, "add", &add, &error));
            check_add(add);
            jit_destroy(j);
        }
        driver_buffer_finish(&object);
        driver_destroy(d);
    }
}
END_TEST

START_TEST(emit_ptx)
{
    static const char *const targets[][3] = {
        {"sm_80", ".target sm_80", ".version 8.0"},
        {"sm_90a", ".target sm_90a", ".version 8.0"},
    };
    for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++) {
        struct driver *d = make_driver(targets[i][0], 2);
        LLVMModuleRef module = make_add(d, "add", 4);
        struct driver_buffer text;
        WORKS(driver_optimize(d, module, NULL, &error));
        WORKS(driver_emit(d, module, DRIVER_ASSEMBLY, &text, &error));
        ck_assert_ptr_nonnull(strstr(text.data, targets[i][1]));
        ck_assert_ptr_nonnull(strstr(text.data, targets[i][2]));
        ck_assert_ptr_nonnull(strstr(text.data, ".visible .entry add("));
        ck_assert_ptr_nonnull(strstr(text.data, "add.rn.f32"));
        driver_buffer_finish(&text);
        FAILS("has no object files", driver_emit(d, module, DRIVER_OBJECT, &text, &error));
        struct jit *j;
        WORKS(jit_create(&j, &error));
        FAILS("cannot run code for target 'sm_", jit_add_module(j, d, module, &error));
        jit_destroy(j);
        driver_destroy(d);
    }
}
END_TEST

START_TEST(driver_errors)
{
    struct target_desc t;
    struct driver *d = NULL;
    WORKS(target_parse("x86-64-v3", &t, &error));
    FAILS("optimisation level 4", driver_create(&t, 4, &d, &error));
    FAILS("optimisation level -1", driver_create(&t, -1, &d, &error));
    t.triple = "pdp11-unknown-none";
    FAILS("cannot compile for pdp11", driver_create(&t, 0, &d, &error));
    ck_assert_ptr_null(d);
    driver_destroy(NULL);

    d = make_driver("x86-64-v3", 2);
    LLVMModuleRef module = make_add(d, "add", 8);
    FAILS("unknown pass name 'no-such-pass'", driver_optimize(d, module, "no-such-pass", &error));
    WORKS(driver_optimize(d, module, "", &error));
    WORKS(driver_optimize(d, module, "default<O2>", &error));

    LLVMModuleRef bad = driver_new_module(d, "bad", NULL); // a block without an end
    LLVMTypeRef type = LLVMFunctionType(LLVMVoidTypeInContext(driver_context(d)), NULL, 0, 0);
    LLVMAppendBasicBlockInContext(driver_context(d), LLVMAddFunction(bad, "f", type), "entry");
    FAILS("invalid LLVM IR: Basic Block in function 'f' does not have terminator", driver_verify(d, bad, &error));
    ck_assert_int_ne(driver_verify(d, bad, NULL), 0);

    struct driver_buffer out = {.size = 7};
    FAILS("invalid instruction mnemonic 'no_such_instruction'",
          driver_emit(d, make_call(d, NULL, "no_such_instruction"), DRIVER_OBJECT, &out, &error));
    ck_assert_uint_eq(out.size, 7);
    WORKS(driver_emit(d, module, DRIVER_OBJECT, &out, &error)); // the driver goes on
    driver_buffer_finish(&out);
    driver_destroy(d);
}
END_TEST

// LeakSanitizer's, where it is there.
void __lsan_disable(void) __attribute__((weak));

// An instruction the target lacks is fatal to LLVM: it must not be to us.
START_TEST(fatal_error_comes_back)
{
    if (__lsan_disable)
        __lsan_disable(); // the driver leaks, by design
    struct driver *d = make_driver("x86-64-v2", 2);
    LLVMContextRef context = driver_context(d);
    LLVMModuleRef module = driver_new_module(d, "fatal", NULL);
    LLVMTypeRef vector = LLVMVectorType(LLVMInt32TypeInContext(context), 4);
    LLVMTypeRef type = LLVMFunctionType(vector, (LLVMTypeRef[]){vector, vector, vector}, 3, 0);
    LLVMValueRef vnni = LLVMAddFunction(module, "llvm.x86.avx512.vpdpbusd.128", type);
    LLVMValueRef function = LLVMAddFunction(module, "f", type);
    LLVMBuilderRef builder = LLVMCreateBuilderInContext(context);
    LLVMPositionBuilderAtEnd(builder, LLVMAppendBasicBlockInContext(context, function, "entry"));
    LLVMValueRef args[] = {LLVMGetParam(function, 0), LLVMGetParam(function, 1), LLVMGetParam(function, 2)};
    LLVMBuildRet(builder, LLVMBuildCall2(builder, type, vnni, args, 3, ""));
    LLVMDisposeBuilder(builder);
    WORKS(driver_verify(d, module, &error));
    struct driver_buffer out;
    FAILS("LLVM failed: Cannot select", driver_emit(d, module, DRIVER_OBJECT, &out, &error));
    FAILS("failed earlier", driver_emit(d, module, DRIVER_OBJECT, &out, &error));
    driver_destroy(d);

    d = make_driver("x86-64-v4+vnni", 2); // others are unharmed
    WORKS(driver_emit(d, make_add(d, "add", 16), DRIVER_OBJECT, &out, &error));
    driver_buffer_finish(&out);
    driver_destroy(d);
}
END_TEST

// --- JIT ------------------------------------------------------------------------------------------------------------

static int called;

static void callee(void)
{
    called++;
}

START_TEST(jit_links_objects)
{
    struct driver *d = make_driver("native", 1);
    struct jit *j;
    void *f, *add;
    WORKS(jit_create(&j, &error));
    WORKS(jit_define(j, "tegula_test_callee", (void *)(uintptr_t)callee, &error));
    WORKS(jit_add_module(j, d, make_add(d, "add", 16), &error));
    WORKS(jit_add_module(j, d, make_call(d, "tegula_test_callee", NULL), &error));
    WORKS(jit_lookup(j, "f", &f, &error));
    WORKS(jit_lookup(j, "add", &add, &error));
    driver_destroy(d); // the code stays
    check_add(add);
    ((void (*)(void))(uintptr_t)f)();
    ck_assert_int_eq(called, 1);
    jit_destroy(j);
}
END_TEST

START_TEST(jit_errors)
{
    struct driver *d = make_driver("native", 1);
    struct jit *j;
    void *f = NULL;
    WORKS(jit_create(&j, &error));
    FAILS("nowhere", jit_lookup(j, "nowhere", &f, &error));
    FAILS("not recognized", jit_add_object(j, &(struct driver_buffer){"not an object", 13}, &error));
    FAILS("not recognized", jit_add_object(j, &(struct driver_buffer){"", 0}, &error));
    WORKS(jit_add_module(j, d, make_add(d, "add", 16), &error));
    FAILS("add", jit_add_module(j, d, make_add(d, "add", 16), &error));
    FAILS("add", jit_define(j, "add", (void *)(uintptr_t)callee, &error));
    WORKS(jit_add_module(j, d, make_call(d, "tegula_missing_callee", NULL), &error));
    FAILS("tegula_missing_callee", jit_lookup(j, "f", &f, &error));
    ck_assert_ptr_null(f);
    WORKS(jit_lookup(j, "add", &f, &error)); // the jit goes on
    check_add(f);
    jit_destroy(j);
    jit_destroy(NULL);
    driver_destroy(d);
}
END_TEST

START_TEST(jit_perf_map)
{
    setenv("TEGULA_PERF", "1", 1);
    setenv("TEGULA_GDB", "1", 1);
    struct driver *d = make_driver("native", 1);
    struct jit *j;
    void *add;
    WORKS(jit_create(&j, &error));
    WORKS(jit_add_module(j, d, make_add(d, "tegula_perf_add", 16), &error));
    WORKS(jit_lookup(j, "tegula_perf_add", &add, &error));
    check_add(add);
    char path[64], line[128], expected[64];
    snprintf(path, sizeof path, "/tmp/perf-%ld.map", (long)getpid());
    FILE *map = fopen(path, "r");
    ck_assert_ptr_nonnull(map);
    ck_assert_ptr_nonnull(fgets(line, sizeof line, map));
    fclose(map);
    unlink(path);
    snprintf(expected, sizeof expected, "%llx ", (unsigned long long)(uintptr_t)add);
    ck_assert_int_eq(strncmp(line, expected, strlen(expected)), 0);
    ck_assert_ptr_nonnull(strstr(line, " tegula_perf_add\n"));
    jit_destroy(j);
    driver_destroy(d);
}
END_TEST

static void *compile_many(void *count)
{
    for (int i = 0; i < 8; i++) {
        struct driver *d = make_driver("native", 2);
        struct jit *j;
        void *add;
        WORKS(jit_create(&j, &error));
        LLVMModuleRef module = make_add(d, "add", 16);
        WORKS(driver_optimize(d, module, NULL, &error));
        WORKS(jit_add_module(j, d, module, &error));
        WORKS(jit_lookup(j, "add", &add, &error));
        check_add(add);
        ++*(int *)count;
        jit_destroy(j);
        driver_destroy(d);
    }
    return NULL;
}

START_TEST(threads)
{
    pthread_t thread;
    int counts[2] = {0};
    ck_assert_int_eq(pthread_create(&thread, NULL, compile_many, &counts[0]), 0);
    compile_many(&counts[1]);
    pthread_join(thread, NULL);
    ck_assert_int_eq(counts[0] + counts[1], 16);
}
END_TEST

// --- Linking --------------------------------------------------------------------------------------------------------

static struct driver_buffer make_object(LLVMModuleRef (*make)(struct driver *))
{
    struct driver *d = make_driver("x86-64-v2", 2);
    struct driver_buffer object;
    WORKS(driver_emit(d, make(d), DRIVER_OBJECT, &object, &error));
    driver_destroy(d);
    return object;
}

static LLVMModuleRef add_module(struct driver *d)
{
    return make_add(d, "add", 16);
}

static LLVMModuleRef missing_module(struct driver *d)
{
    return make_call(d, "tegula_missing_callee", NULL);
}

// int main(void) { return 42; }
static LLVMModuleRef main_module(struct driver *d)
{
    LLVMContextRef context = driver_context(d);
    LLVMModuleRef module = driver_new_module(d, "main", NULL);
    LLVMTypeRef i32 = LLVMInt32TypeInContext(context);
    LLVMValueRef function = LLVMAddFunction(module, "main", LLVMFunctionType(i32, NULL, 0, 0));
    LLVMBuilderRef builder = LLVMCreateBuilderInContext(context);
    LLVMPositionBuilderAtEnd(builder, LLVMAppendBasicBlockInContext(context, function, "entry"));
    LLVMBuildRet(builder, LLVMConstInt(i32, 42, 0));
    LLVMDisposeBuilder(builder);
    return module;
}

static void check_library(const char *path)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    ck_assert_msg(library, "%s", dlerror());
    check_add(dlsym(library, "add"));
    dlclose(library);
}

START_TEST(link_shared)
{
    struct driver_buffer object = make_object(add_module);
    char output[256];
    strcpy(output, in_folder("lib add.so"));
    const char *soname = "-Wl,-soname,add.so";
    struct link_job job = {.kind = LINK_SHARED,
                           .output = output,
                           .objects = &object,
                           .n_objects = 1,
                           .arguments = &soname,
                           .n_arguments = 1};
    static const char *const compilers[] = {NULL, "", "cc", " gcc  -O2 "};
    for (size_t i = 0; i < sizeof compilers / sizeof compilers[0]; i++) {
        if (compilers[i])
            setenv("CC", compilers[i], 1);
        else
            unsetenv("CC");
        WORKS(link_run(&job, &error));
        ck_assert_int_eq(count_files(), 1);
        check_library(output);
        unlink(output);
    }

    // A name of its own, relative, that looks like an option.
    char *previous = getcwd(NULL, 0);
    ck_assert_int_eq(chdir(folder), 0);
    job.output = "-x.so";
    WORKS(link_run(&job, &error));
    check_library("./-x.so");
    ck_assert_int_eq(chdir(previous), 0);
    free(previous);
    driver_buffer_finish(&object);
}
END_TEST

START_TEST(link_by_ld)
{
    // A PATH with ld and no cc.
    char path[256], target[256];
    strcpy(path, in_folder("ld"));
    FILE *which = popen("command -v ld", "r");
    ck_assert_ptr_nonnull(fgets(target, sizeof target, which));
    pclose(which);
    target[strcspn(target, "\n")] = '\0';
    ck_assert_int_eq(symlink(target, path), 0);
    setenv("PATH", folder, 1);
    unsetenv("CC");

    struct driver_buffer object = make_object(add_module);
    struct link_job job = {LINK_SHARED, in_folder("add.so"), &object, 1, NULL, 0};
    WORKS(link_run(&job, &error));
    check_library(in_folder("add.so"));
    job.kind = LINK_EXECUTABLE;
    FAILS("cannot run the linker 'cc'", link_run(&job, &error));
    job.kind = LINK_SHARED;
    job.arguments = &(const char *){"-Wl,-soname,x"};
    job.n_arguments = 1;
    FAILS("cannot run the linker 'cc'", link_run(&job, &error));
    driver_buffer_finish(&object);
}
END_TEST

START_TEST(link_executable)
{
    struct driver_buffer object = make_object(main_module);
    struct link_job job = {LINK_EXECUTABLE, in_folder("program"), &object, 1, NULL, 0};
    WORKS(link_run(&job, &error));
    ck_assert_int_eq(count_files(), 1);
    int status = system(job.output);
    ck_assert_int_eq(WEXITSTATUS(status), 42);
    driver_buffer_finish(&object);
}
END_TEST

START_TEST(link_errors)
{
    struct driver_buffer object = make_object(missing_module);
    char output[256];
    strcpy(output, in_folder("out"));
    const char *undefined = "-Wl,-z,defs";
    struct link_job job = {.kind = LINK_SHARED,
                           .output = output,
                           .objects = &object,
                           .n_objects = 1,
                           .arguments = &undefined,
                           .n_arguments = 1};
    FAILS("undefined reference to `tegula_missing_callee'", link_run(&job, &error));
    ck_assert_int_eq(count_files(), 0);

    // What was there stays.
    WORKS(file_write(output, "old", 3, &error));
    ck_assert_int_ne(link_run(&job, NULL), 0);
    struct stat st;
    ck_assert_int_eq(stat(output, &st), 0);
    ck_assert_int_eq(st.st_size, 3);
    ck_assert_int_eq(count_files(), 1);

    struct driver_buffer garbage = {"garbage", 7};
    job.objects = &garbage;
    FAILS("failed with status 1", link_run(&job, &error));
    setenv("CC", "/no/such/compiler -x", 1);
    FAILS("cannot run the linker '/no/such/compiler -x': No such file", link_run(&job, &error));
    setenv("CC", "false", 1);
    FAILS("'false' failed with status 1", link_run(&job, &error));
    setenv("CC", "true", 1); // claims success, makes nothing
    FAILS("out: cannot create", link_run(&job, &error));
    ck_assert_int_eq(count_files(), 1);
    job.output = "/no/such/folder/out";
    FAILS("/no/such/folder/out: cannot create: No such file", link_run(&job, &error));
    job.output = "/dev/null";
    FAILS("not a regular file", link_run(&job, &error));
    job.output = folder;
    FAILS("not a regular file", link_run(&job, &error));
    driver_buffer_finish(&object);
}
END_TEST

START_TEST(write_file)
{
    char path[256], link[256];
    struct stat st;
    strcpy(path, in_folder("file"));
    strcpy(link, in_folder("link"));
    WORKS(file_write(path, "hello", 5, &error));
    WORKS(file_write(path, "", 0, &error));
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_size, 0);
    ck_assert_int_eq(symlink("file", link), 0);
    WORKS(file_write(link, "through", 7, &error));
    ck_assert_int_eq(lstat(link, &st), 0);
    ck_assert(S_ISLNK(st.st_mode));
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_size, 7);
    ck_assert_int_eq(count_files(), 2);

    WORKS(file_write("/dev/null", "x", 1, &error));
    ck_assert_int_eq(stat("/dev/null", &st), 0);
    ck_assert(S_ISCHR(st.st_mode));
    FAILS("cannot write: No space left", file_write("/dev/full", "x", 1, &error));
    FAILS("cannot create", file_write("/no/such/folder/file", "x", 1, &error));
    FAILS("cannot open", file_write(folder, "x", 1, &error));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("driver");

    TCase *targets = tcase_create("targets");
    tcase_set_timeout(targets, 100);
    tcase_add_test(targets, target_facts);
    tcase_add_test(targets, target_native);
    tcase_add_test(targets, target_errors);
    tcase_add_test(targets, target_names_are_llvms);
    suite_add_tcase(suite, targets);

    TCase *compile = tcase_create("compile");
    tcase_set_timeout(compile, 100);
    tcase_add_loop_test(compile, compile_and_run, 0, sizeof levels / sizeof levels[0]);
    tcase_add_test(compile, emit_ptx);
    tcase_add_test(compile, driver_errors);
    tcase_add_test(compile, fatal_error_comes_back);
    suite_add_tcase(suite, compile);

    TCase *jit = tcase_create("jit");
    tcase_set_timeout(jit, 100);
    tcase_add_test(jit, jit_links_objects);
    tcase_add_test(jit, jit_errors);
    tcase_add_test(jit, jit_perf_map);
    tcase_add_test(jit, threads);
    suite_add_tcase(suite, jit);

    TCase *link = tcase_create("link");
    tcase_set_timeout(link, 100);
    tcase_add_checked_fixture(link, make_folder, remove_folder);
    tcase_add_test(link, link_shared);
    tcase_add_test(link, link_by_ld);
    tcase_add_test(link, link_executable);
    tcase_add_test(link, link_errors);
    tcase_add_test(link, write_file);
    suite_add_tcase(suite, link);

    return suite_run(suite, CK_FORK_GETENV);
}
