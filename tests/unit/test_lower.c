// Shaped kernels, compiled for each x86 level that this machine runs, against the reference interpreter: every row of
// the scalar table, casts, memory with bounds, and the tile operations. Buffers end (or begin) at a page that may not
// be touched, so a stray access ends the test.
#include <sys/mman.h>

#include <elf.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/header.h"
#include "codegen/jit.h"
#include "codegen/lower.h"
#include "ir/interp.h"
#include "ir/scalar.h"
#include "tegula/kernel.h"
#include "tests/unit/suite.h"

static const char *const levels[] = {"x86-64-v2", "x86-64-v3", "x86-64-v4"};
#define N_LEVELS 3
#define PAGE 4096

// ---- Data ------------------------------------------------------------------------------------------------------

static uint32_t state;

static uint32_t random32(void)
{
    state = state * 1664525u + 1013904223u;
    return state >> 8 ^ state << 13;
}

// Small numbers, such that sums come out alike in any order but for rounding.
static void fill_plain(enum dtype t, char *p, int64_t n)
{
    for (int64_t i = 0; i < n; i++, p += dtype_bytes(t)) {
        union scalar x;
        if (dtype_is_float(t))
            x.f = dtype_round(t, ((int)(random32() % 2001) - 1000) / 250.0);
        else
            x.i = dtype_wrap(t, (int)(random32() % 201) - 100);
        if (t == DTYPE_I1)
            x.i &= 1;
        dtype_store(t, p, x);
    }
}

static void fill_special(enum dtype t, char *p, int64_t n)
{
    static const double floats[] = {0,       -0.0,         INFINITY,      -INFINITY,    NAN,          1,
                                    -1,      0.5,          1.5,           2.5,          -0.5,         -2.5,
                                    3.25,    1e-3,         -7e4,          65504,        65520,        448,
                                    464,     480,          57344,         61440,        1e-7,         6e-8,
                                    3e-8,    1e-38,        1e-40,         3e38,         3.4e38,       1e300,
                                    -1e-310, 2147483647.0, -2147483648.0, 4294967295.0, 9.3e18,       -9.3e18,
                                    1.9e19,  127.5,        255.5,         0.001953125,  0.0009765625, 0.015625};
    static const int64_t ints[] = {0,         1,          -1,        2,         -2,       3,     5,     7,
                                   8,         15,         16,        31,        32,       33,    63,    64,
                                   127,       128,        255,       256,       32767,    32768, 65535, INT32_MAX,
                                   INT32_MIN, UINT32_MAX, INT64_MAX, INT64_MIN, 16777217, -100,  100};
    for (int64_t i = 0; i < n; i++, p += dtype_bytes(t)) {
        union scalar x;
        uint64_t bits = (uint64_t)random32() << 32 | random32();
        unsigned pick = random32() % 4;
        if (dtype_is_float(t) && pick < 2)
            x.f = dtype_round(t, floats[random32() % (sizeof floats / sizeof *floats)]);
        else if (dtype_is_float(t) && pick == 2)
            x.f = dtype_round(t, ((int)(random32() % 2001) - 1000) / 64.0);
        else if (!dtype_is_float(t) && pick < 3)
            x.i = dtype_wrap(t, ints[random32() % (sizeof ints / sizeof *ints)]);
        else
            x = dtype_from_bits(t, t == DTYPE_I1 ? bits & 1 : bits & (UINT64_MAX >> (64 - dtype_info[t].bits)));
        if (t == DTYPE_I1)
            x.i &= 1;
        dtype_store(t, p, x);
    }
}

// ---- One kernel ------------------------------------------------------------------------------------------------

struct buffer {
    char *map, *data;
    int64_t bytes, mapped;
};

// Memory with a forbidden page behind it, or before it.
static struct buffer buffer_create(int64_t bytes, bool guard_before)
{
    struct buffer b = {.bytes = bytes};
    int64_t pages = (bytes + PAGE - 1) / PAGE;
    b.mapped = (pages + 1) * PAGE;
    b.map = mmap(NULL, (size_t)b.mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert(b.map != MAP_FAILED);
    ck_assert(!mprotect(b.map + (guard_before ? 0 : pages * PAGE), PAGE, PROT_NONE));
    b.data = guard_before ? b.map + PAGE : b.map + pages * PAGE - bytes;
    return b;
}

struct run {
    const char *text;
    void (*fill)(enum dtype, char *, int64_t);
    double tolerance;                    // relative to the larger of 1 and the number
    int64_t symbols[4];                  // by the module's ids
    union scalar scalars[4];             // the scalar parameters in order
    const char *(*row)(int64_t element); // what to call an element of the last parameter
    double (*row_tolerance)(int64_t element, const char *level);
    bool once; // not again with code that is hardly optimised and buffers that begin at a page
};

static void check_symbols(const struct driver_buffer *object)
{
    static const char *const allowed[] = {"memset", "memcpy", "memmove", "aligned_alloc", "free"};
    const Elf64_Ehdr *h = (const Elf64_Ehdr *)object->data;
    const Elf64_Shdr *sections = (const Elf64_Shdr *)(object->data + h->e_shoff);
    for (int s = 0; s < h->e_shnum; s++) {
        if (sections[s].sh_type != SHT_SYMTAB)
            continue;
        const Elf64_Sym *symbol = (const Elf64_Sym *)(object->data + sections[s].sh_offset);
        const char *names = object->data + sections[sections[s].sh_link].sh_offset;
        for (uint64_t i = 1; i < sections[s].sh_size / sizeof *symbol; i++) {
            bool known = symbol[i].st_shndx != SHN_UNDEF;
            for (size_t a = 0; a < sizeof allowed / sizeof *allowed; a++)
                known |= !strcmp(names + symbol[i].st_name, allowed[a]);
            ck_assert_msg(known, "the object needs %s", names + symbol[i].st_name);
        }
    }
}

static const tg_kernel *compile(struct jit *jit, struct driver **d, const char *level, int opt_level,
                                struct function *k, struct diags *diags)
{
    struct target_desc target;
    char *error = NULL;
    ck_assert(!target_parse(level, &target, &error));
    if (!target_runs_here(&target))
        return NULL;
    ck_assert(!driver_create(&target, opt_level, d, &error));
    LLVMModuleRef module = driver_new_module(*d, "test", &error);
    ck_assert_msg(!lower_kernel(k, false, &target, driver_context(*d), module, diags), "%s", diag_string(diags));
    ck_assert_msg(!driver_verify(*d, module, &error), "%s", error);
    ck_assert_msg(!driver_optimize(*d, module, NULL, &error), "%s", error);
    struct driver_buffer object;
    ck_assert_msg(!driver_emit(*d, module, DRIVER_OBJECT, &object, &error), "%s", error);
    check_symbols(&object);
    ck_assert_msg(!jit_add_object(jit, &object, &error), "%s", error);
    driver_buffer_finish(&object);
    void *kernel;
    ck_assert_msg(!jit_lookup(jit, "k__kernel", &kernel, &error), "%s", error);
    return kernel;
}

static void compare(const struct run *r, const struct type *t, const char *have, const char *want, int64_t bytes,
                    const char *level, int param, bool last)
{
    for (int64_t i = 0; i < bytes / dtype_bytes(t->dtype); i++) {
        union scalar x = dtype_load(t->dtype, have + i * dtype_bytes(t->dtype)),
                     y = dtype_load(t->dtype, want + i * dtype_bytes(t->dtype));
        double tolerance = r->row_tolerance ? r->row_tolerance(i, level) : r->tolerance;
        const char *row = r->row && last ? r->row(i) : "";
        if (!dtype_is_float(t->dtype))
            ck_assert_msg(x.i == y.i, "%s: parameter %d [%lld] %s is %lld, not %lld", level, param, (long long)i, row,
                          (long long)x.i, (long long)y.i);
        else if (isnan(y.f))
            ck_assert_msg(isnan(x.f), "%s: parameter %d [%lld] %s is %.9g, not NaN", level, param, (long long)i, row,
                          x.f);
        else
            ck_assert_msg((x.f == y.f && !signbit(x.f) == !signbit(y.f)) || (tolerance && x.f == y.f) ||
                              fabs(x.f - y.f) <= tolerance * fmax(1, fabs(y.f)),
                          "%s: parameter %d [%lld] %s is %.9g, not %.9g", level, param, (long long)i, row, x.f, y.f);
    }
}

static void run_level(const struct run *r, struct function *k, const char *level, struct buffer *want,
                      struct diags *diags, bool before)
{
    struct jit *jit;
    struct driver *d = NULL;
    struct buffer have[16];
    tg_arg args[24];
    int n = 0, scalar = 0;
    char *error = NULL;
    ck_assert_msg(!jit_create(&jit, &error), "%s", error);
    const tg_kernel *kernel = compile(jit, &d, level, before ? 1 : 2, k, diags);
    if (kernel) {
        state = 1;
        for (int i = 0; i < k->n_params; i++) {
            const struct type *t = k->params[i]->type;
            if (t->kind == TYPE_SCALAR) {
                args[n].integer = 0;
                dtype_store(t->dtype, &args[n++], r->scalars[scalar++]);
                continue;
            }
            have[i] = buffer_create(want[i].bytes, before);
            r->fill(t->dtype, have[i].data, want[i].bytes / dtype_bytes(t->dtype));
            args[n++].pointer = have[i].data;
        }
        for (int i = 0; i < k->n_symbols; i++)
            if (k->symbols[i])
                args[n++].integer = r->symbols[i];
        ck_assert_int_eq(kernel->n_args, n);
        int64_t scratch = kernel->scratch(args), total = kernel->grid(args);
        void *memory = scratch ? aligned_alloc(64, (size_t)scratch) : NULL;
        int64_t half = total / 2; // in two parts
        ck_assert_int_eq(kernel->range(args, half, total, memory), 0);
        ck_assert_int_eq(kernel->range(args, 0, half, memory), 0);
        free(memory);
        for (int i = 0; i < k->n_params; i++) {
            if (k->params[i]->type->kind == TYPE_SCALAR)
                continue;
            compare(r, k->params[i]->type, have[i].data, want[i].data, want[i].bytes, level, i, i == k->n_params - 1);
            munmap(have[i].map, (size_t)have[i].mapped);
        }
    }
    jit_destroy(jit);
    driver_destroy(d);
}

static void check_run(const struct run *r)
{
    struct diags diags;
    diag_init(&diags);
    struct module *m = parse_module(r->text, strlen(r->text), "test", 0, NULL, &diags);
    ck_assert_msg(m && verify_module(m, &diags), "%s\n%s", diag_string(&diags), r->text);
    struct function *k = m->first_function;
    struct interp_arg args[16] = {0};
    struct buffer want[16];
    int scalar = 0;
    state = 1;
    for (int i = 0; i < k->n_params; i++) {
        const struct type *t = k->params[i]->type;
        if (t->kind == TYPE_SCALAR) {
            args[i].scalar = r->scalars[scalar++];
            continue;
        }
        ck_assert(!interp_view_fill(&args[i].view, t, r->symbols));
        int64_t bytes = dtype_bytes(t->dtype);
        for (int d = 0; d < t->rank; d++) // from the largest stride on: the views here do not overlap
            bytes = bytes > args[i].view.sizes[d] * args[i].view.strides[d] * dtype_bytes(t->dtype)
                        ? bytes
                        : args[i].view.sizes[d] * args[i].view.strides[d] * dtype_bytes(t->dtype);
        want[i] = buffer_create(bytes, false);
        r->fill(t->dtype, want[i].data, bytes / dtype_bytes(t->dtype));
        args[i].view.data = want[i].data;
        args[i].view.bytes = bytes;
    }
    ck_assert_msg(!interp_run(k, args, r->symbols, 0, &diags), "%s\n%s", diag_string(&diags), r->text);
    for (int i = 0; i < 2 * N_LEVELS; i += r->once ? 2 : 1)
        run_level(r, k, levels[i / 2], want, &diags, i % 2);
    for (int i = 0; i < k->n_params; i++)
        if (k->params[i]->type->kind == TYPE_VIEW)
            munmap(want[i].map, (size_t)want[i].mapped);
    module_destroy(m);
    diag_finish(&diags);
}

// Replaces `word` in a text.
static const char *with(char *room, size_t size, const char *text, const char *word, const char *by)
{
    char *to = room;
    while (*text) {
        bool found = !strncmp(text, word, strlen(word));
        ck_assert((size_t)(to - room) + strlen(by) + 2 < size);
        if (found) {
            to = stpcpy(to, by);
            text += strlen(word);
        } else {
            *to++ = *text++;
        }
    }
    *to = 0;
    return room;
}

#define CHECK(...) check_run(&(struct run){.fill = fill_plain, __VA_ARGS__})

// ---- Scalar operations -----------------------------------------------------------------------------------------

#define N 19
static const char *row_names[2 * SCALAR_COUNT];

static const char *row_name(int64_t element)
{
    return row_names[element / N];
}

static enum dtype row_dtype;

// A multiply-add of f32 or f64 has two roundings where there is no instruction for it; narrow floats are rounded twice;
// a reciprocal root has two roundings.
static double row_tolerance(int64_t element, const char *level)
{
    const char *name = row_names[element / N];
    bool narrow = dtype_info[row_dtype].bits < 32;
    if (!strcmp(name, "rsqrt"))
        return narrow ? 1e-2 : row_dtype == DTYPE_F32 ? 1e-6 : 1e-15;
    return !strcmp(name, "fma") && (narrow || !strcmp(level, levels[0])) ? 1e-2 : 0;
}

static bool has_code(enum opcode c)
{
    static const enum opcode expanded[] = {
        OP_POW,   OP_ATAN2, OP_EXP,  OP_EXP2,    OP_EXPM1,    OP_LOG,  OP_LOG2, OP_LOG1P, OP_SIN,
        OP_COS,   OP_TAN,   OP_ASIN, OP_ACOS,    OP_ATAN,     OP_SINH, OP_COSH, OP_TANH,  OP_ASINH,
        OP_ACOSH, OP_ATANH, OP_ERF,  OP_SIGMOID, OP_SOFTPLUS, OP_GELU, OP_SILU, OP_SCALEF}; // one target only: by the
                                                                                            // tests of the functions
                                                                                            // made of it
    for (size_t i = 0; i < sizeof expanded / sizeof *expanded; i++)
        if (expanded[i] == c)
            return false;
    return true;
}

static bool defined_for(enum opcode c, enum dtype t)
{
    switch (op_info[c].types) {
    case SCALAR_TYPES_N:
        return t != DTYPE_I1 && !(c == OP_REM && dtype_is_float(t));
    case SCALAR_TYPES_F:
    case SCALAR_TYPES_D:
        return dtype_is_float(t);
    case SCALAR_TYPES_I:
        return dtype_is_int(t);
    case SCALAR_TYPES_B:
        return !dtype_is_float(t);
    default:
        return true;
    }
}

// All operations on one element type: a row of the last parameter each. Comparisons come out as 0 and 1 of the type.
// Each has a block of its own: LLVM's scheduler takes quadratic time over long ones.
static void scalar_rows(enum dtype t, int lanes, bool constant)
{
    static const int64_t divisors[] = {0, 1, 7, 8};
    const char *name = dtype_info[t].name;
    char *text = malloc(131072), *body = malloc(131072), *at = body, layout[16];
    int rows = 0;
    row_dtype = t;
    snprintf(layout, sizeof layout, lanes > 1 ? "v0x%d" : "s", lanes);
    for (int c = 0; c < SCALAR_COUNT; c++) {
        if (!has_code((enum opcode)c) || !defined_for((enum opcode)c, t))
            continue;
        enum scalar_types types = op_info[c].types;
        bool compares = (types == SCALAR_TYPES_C || types == SCALAR_TYPES_D) && t != DTYPE_I1,
             chooses = types == SCALAR_TYPES_S;
        int n = op_info[c].n_operands;
        bool by_constant = constant && dtype_is_int(t) && n == 2;
        for (int i = 0; i < (by_constant ? 4 : 1); i++, rows++) {
            row_names[rows] = op_info[c].name;
            at += sprintf(at, "  if %%go {\n    %%r = window %%out[%d, 0] (d0) -> (0, d0)\n", rows);
            for (int x = 0; x < 3; x++)
                at += sprintf(at, "    %%%c = load %%%c[0] : tile<%dx%s, %s>\n", 'a' + x, 'x' + x, N, name, layout);
            at += sprintf(at, "    %%p = lt %%a, %%b\n    %%v = %s %s%%a", op_info[c].name, chooses ? "%p, " : "");
            if (by_constant)
                at += sprintf(at, ", %lld", (long long)divisors[i]);
            else if (n > 1)
                at += sprintf(at, n > 2 && !chooses ? ", %%b, %%c" : ", %%b");
            at += sprintf(at,
                          compares ? "\n    %%w = cast %s %%v\n    store %%w, %%r[0]\n  }\n"
                                   : "\n    store %%v, %%r[0]\n  }\n",
                          name);
        }
    }
    sprintf(text,
            "kernel @k(%%go: i1, %%x: view<%dx%s>, %%y: view<%dx%s>, %%z: view<%dx%s>,\n    %%out: view<%dx%dx%s>) "
            "grid [1] {\n%s}\n",
            N, name, N, name, N, name, rows, N, name, body);
    check_run(&(struct run){.text = text,
                            .fill = fill_special,
                            .row = row_name,
                            .row_tolerance = row_tolerance,
                            .scalars = {{.i = 1}},
                            .once = true});
    free(text);
    free(body);
}

START_TEST(test_scalar_rows)
{
    scalar_rows((enum dtype)_i, 16, false);
}
END_TEST

START_TEST(test_scalar_rows_other_layouts)
{
    scalar_rows((enum dtype)_i, _i % 2 ? 1 : 4, dtype_is_int((enum dtype)_i));
}
END_TEST

START_TEST(test_casts)
{
    const char *from = dtype_info[_i].name;
    char text[8192], *at = text;
    at += sprintf(at, "kernel @k(%%x: view<128x%s>", from);
    for (int t = 0; t < DTYPE_COUNT - 1; t++)
        at += sprintf(at, ", %%r%d: view<128x%s>", t, dtype_info[t].name);
    at += sprintf(at, ") grid [1] {\n");
    for (int t = 0; t < DTYPE_COUNT - 1; t++)
        at += sprintf(
            at,
            "  for %%i = 0 to 128 step 16 {\n    %%a = load %%x[%%i] : tile<16x%s, v0x16>\n    %%v = cast %s %%a\n"
            "    store %%v, %%r%d[%%i]\n  }\n",
            from, dtype_info[t].name, t);
    sprintf(at, "}\n");
    check_run(&(struct run){.text = text, .fill = fill_special, .once = true});
}
END_TEST

START_TEST(test_bitcast)
{
    CHECK(.text = "kernel @k(%x: view<40xf32>, %y: view<40xu32>, %h: view<40xbf16>, %g: view<40xf16>) grid [1] {\n"
                  "  %a = load %x[0] : tile<40xf32, v0x8>\n  %b = bitcast u32 %a\n  store %b, %y[0]\n"
                  "  %c = load %h[0] : tile<40xbf16, v0x8>\n  %d = bitcast f16 %c\n  store %d, %g[0]\n}\n");
}
END_TEST

// ---- Matrix products -------------------------------------------------------------------------------------------

static const char matmul[] = "kernel @k(%a: view<MxKxTA>, %b: view<KxNxTB>, %c: view<MxNxTC>)\n"
                             "    grid [ceildiv(M, 6), ceildiv(N, 32)] {\n"
                             "  %p = program_id 0\n  %q = program_id 1\n  %m = mul %p, 6\n  %n = mul %q, 32\n"
                             "  %z = load %c[%m, %n] : tile<6x32xTC, v1x16>\n"
                             "  %s = for %k = 0 to K step 4 with (%acc = %z) {\n"
                             "    %x = load %a[%m, %k] : tile<6x4xTA, s>\n"
                             "    %y = load %b[%k, %n] : tile<4x32xTB, v1x16>\n"
                             "    %d = dot \"mk,kn->mn\" %x, %y, %acc\n    yield %d\n  }\n"
                             "  store %s, %c[%m, %n]\n}\n";

static void matmul_of(const char *a, const char *b, const char *c, double tolerance)
{
    static const int64_t sizes[][3] = {{12, 64, 8}, {13, 45, 7}, {1, 1, 1}, {5, 33, 0}};
    char x[2048], y[2048], z[2048];
    for (int i = 0; i < 4; i++)
        CHECK(.text = with(z, 2048, with(y, 2048, with(x, 2048, matmul, "TA", a), "TB", b), "TC", c),
              .tolerance = tolerance, .symbols = {sizes[i][0], sizes[i][2], sizes[i][1]});
}

START_TEST(test_matmul)
{
    matmul_of("f32", "f32", "f32", 1e-5);
    matmul_of("bf16", "f16", "f32", 1e-5);
    matmul_of("u8", "i8", "i32", 0);
    matmul_of("f64", "f64", "f64", 1e-14);
}
END_TEST

// ---- Memory ----------------------------------------------------------------------------------------------------

START_TEST(test_bounds)
{
    static const char *const types[] = {"f32", "u8", "f64", "i16", "i1", "bf16"};
    char room[2048], a[16];
    // Tiles that stick out on all sides, with padding.
    const char *text = "kernel @k(%x: view<HxWxT>, %y: view<PxQxT>) grid [4, 4] {\n"
                       "  %i = program_id 0\n  %j = program_id 1\n  %m = mul %i, 5\n  %n = mul %j, 17\n"
                       "  %u = sub %m, 3\n  %v = sub %n, 2\n"
                       "  %a = load %x[%u, %v] pad 1 : tile<5x17xT, v1x8>\n  store %a, %y[%u, %v]\n}\n";
    for (int i = 0; i < 6; i++) {
        snprintf(a, sizeof a, "x%s", types[i]);
        CHECK(.text = with(room, sizeof room, text, "xT", a), .symbols = {13, 40, 11, 50});
    }
}
END_TEST

START_TEST(test_windows)
{
    // Every second row and third column, a diagonal, and a dimension that is repeated.
    CHECK(.text = "kernel @k(%x: view<9x40xf32>, %y: view<5x20xf32>, %z: view<24xf32>, %w: view<4x16xf32>) grid [1] {\n"
                  "  %s = window %x[1, -2] (d0, d1) -> (d0 * 2, d1 * 3)\n"
                  "  %a = load %s[0, 0] pad 7.0 : tile<5x20xf32, v1x8>\n  store %a, %y[0, 0]\n"
                  "  %d = window %x[-1, -1] (d0) -> (d0, d0)\n"
                  "  %b = load %d[0] : tile<24xf32, v0x8>\n  store %b, %z[0]\n"
                  "  %r = window %x[2, 3] (d0, d1) -> (d1, 0)\n"
                  "  %c = load %r[0, 0] : tile<4x16xf32, v0x4>\n  store %c, %w[0, 0]\n"
                  "  %t = window %s[1, 1] (d0, d1) -> (d0, d1 * 2)\n"
                  "  %e = load %t[0, 0] : tile<3x8xf32, v1x8>\n  store %e, %w[1, 5]\n}\n");
}
END_TEST

START_TEST(test_transposing)
{
    static const char *const types[] = {"f32", "f64", "u8", "bf16", "i1"};
    char room[2048], a[16];
    const char *text = "kernel @k(%x: view<20x37xT>, %y: view<20x37xT>) grid [1] {\n"
                       "  %a = load %x[0, 0] : tile<20x37xT, v0x16>\n"
                       "  %b = load %x[3, 30] : tile<16x16xT, v0x16>\n"
                       "  store %a, %y[0, 0]\n  store %b, %y[9, 25]\n  store %b, %y[-9, -5]\n}\n";
    for (int i = 0; i < 5; i++) {
        snprintf(a, sizeof a, "x%s", types[i]);
        CHECK(.text = with(room, sizeof room, text, "xT", a));
    }
}
END_TEST

START_TEST(test_strides)
{
    CHECK(.text = "kernel @k(%x: view<6x20xf32, strides [24, 1]>, %y: view<MxNxf32, strides [S, 1]>, %z: "
                  "view<20x6xf32, strides [1, 20]>) grid [1] {\n"
                  "  %a = load %x[0, 0] : tile<6x20xf32, v1x8>\n  store %a, %y[0, 0]\n"
                  "  %t = transpose %a, [1, 0]\n  store %t, %z[0, 0]\n}\n",
          .symbols = {5, 18, 23});
}
END_TEST

START_TEST(test_streaming)
{
    // Aligned rows, rows that are not, and a tile that sticks out.
    CHECK(.text = "kernel @k(%x: view<32x32xf32>, %y: view<32x32xf32>, %z: view<32x32xf32>, %w: view<32x32xf32>) grid "
                  "[1] {\n"
                  "  %a = load %x[0, 0] : tile<2x32xf32, v1x16>\n  store %a, %y[1, 0] stream inbounds [0, 1]\n"
                  "  store %a, %z[3, 0] stream inbounds [0, 1]\n  %b = load %x[7, 0] : tile<3x16xf32, v1x4>\n"
                  "  store %b, %z[9, 5] stream inbounds [0, 1]\n  store %b, %w[30, 28] stream\n}\n");
    // Far outside too.
    CHECK(.text = "kernel @k(%x: view<32x32xf32>, %y: view<32x32xf32>) grid [1] {\n"
                  "  prefetch %x[0, 0], [32, 32]\n  prefetch %y[-100000, 1000000000], [3, 17] write\n"
                  "  %a = load %x[0, 0] : tile<2x32xf32, v1x16>\n  store %a, %y[1, 0]\n}\n");
}
END_TEST

START_TEST(test_gather)
{
    CHECK(.text = "kernel @k(%x: view<30x40xf32>, %i: view<12x16xi32>, %y: view<12x16xf32>, %z: view<12x16xf32>,\n"
                  "          %w: view<30x40xf32>) grid [1] {\n"
                  "  %a = load %i[0, 0] : tile<12x16xi32, v1x8>\n"
                  "  %g = gather %x[%a, 3] pad 2.0\n  store %g, %y[0, 0]\n"
                  "  %r = load %i[0, 0] : tile<12x1xi32, s>\n  %c = iota 1 : tile<1x16xindex, v1x8>\n"
                  "  %d = add %c, 20\n  %h = gather %x[%r, %d]\n  store %h, %z[0, 0]\n"
                  "  %e = iota 0 : tile<12x1xindex, s>\n  scatter %g, %w[%e, %d]\n  scatter %h, %w[%a, %c]\n}\n");
}
END_TEST

START_TEST(test_atomic)
{
    CHECK(.text =
              "kernel @k(%i: view<64xi32>, %f: view<50xf32>, %n: view<50xi32>, %u: view<50xu8>, %h: view<50xbf16>,\n"
              "          %v: view<64xf32>, %w: view<64xi32>, %x: view<64xu8>, %y: view<64xbf16>) grid [1] {\n"
              "  %a = load %i[0] : tile<64xi32, v0x16>\n  %b = load %v[0] : tile<64xf32, v0x16>\n"
              "  %c = load %w[0] : tile<64xi32, v0x16>\n  %d = load %x[0] : tile<64xu8, v0x16>\n"
              "  %e = load %y[0] : tile<64xbf16, v0x16>\n"
              "  atomic add %b, %f[%a]\n  atomic max %b, %f[%a]\n  atomic max %c, %n[%a]\n  atomic mul %c, %n[%a]\n"
              "  atomic or %d, %u[%a]\n  atomic min %d, %u[%a]\n  atomic add %e, %h[%a]\n}\n",
          .tolerance = 1e-2);
}
END_TEST

// ---- Tiles -----------------------------------------------------------------------------------------------------

START_TEST(test_reduce)
{
    static const char *const ops[] = {"add", "max", "minimum", "mul"};
    char room[4096];
    const char *text =
        "kernel @k(%x: view<9x37xf32>, %n: index, %a: view<9x1xf32>, %b: view<1x37xf32>, %c: view<1x1xf32>,\n"
        "          %d: view<9x1xf32>, %e: view<1x37xf32>, %h: view<9x37xbf16>, %g: view<9x1xbf16>) grid [1] {\n"
        "  %v = load %x[0, 0] : tile<9x37xf32, v1x16>\n"
        "  %r = reduce OP %v, [1]\n  store %r, %a[0, 0]\n"
        "  %s = reduce OP %v, [0]\n  store %s, %b[0, 0]\n"
        "  %t = reduce OP %v, [0, 1]\n  store %t, %c[0, 0]\n"
        "  %u = reduce OP %v, [1] count %n\n  store %u, %d[0, 0]\n"
        "  %w = reduce OP %v, [0] count %n\n  store %w, %e[0, 0]\n"
        "  %z = load %h[0, 0] : tile<9x37xbf16, v1x8>\n  %y = reduce OP %z, [1]\n  store %y, %g[0, 0]\n}\n";
    static const int64_t counts[] = {0, 1, 5, 20, 33, 100};
    for (int i = 0; i < 6; i++)
        CHECK(.text = with(room, sizeof room, text, "OP", ops[i % 4]), .tolerance = i % 4 == 0 ? 1e-2 : 1e-5,
              .scalars = {{.i = counts[i]}});
}
END_TEST

START_TEST(test_scan)
{
    static const char *const flags[] = {"", " exclusive", " reverse", " exclusive reverse"};
    char room[4096];
    const char *text =
        "kernel @k(%x: view<5x37xi32>, %f: view<5x37xf32>, %p: view<5x1xi32>, %q: view<1x37xi32>,\n"
        "          %a: view<5x37xi32>, %b: view<5x37xi32>, %c: view<5x37xi32>, %d: view<5x37xf32>) grid [1] {\n"
        "  %v = load %x[0, 0] : tile<5x37xi32, v1x8>\n  %w = load %f[0, 0] : tile<5x37xf32, v1x8>\n"
        "  %i = load %p[0, 0] : tile<5x1xi32, s>\n  %j = load %q[0, 0] : tile<1x37xi32, v1x8>\n"
        "  %r = scan add %v, 1FLAGS\n  store %r, %a[0, 0]\n"
        "  %s = scan max %v, 0FLAGS carry %j\n  store %s, %b[0, 0]\n"
        "  %t = scan add %v, 1FLAGS carry %i\n  store %t, %c[0, 0]\n"
        "  %u = scan add %w, 1FLAGS\n  store %u, %d[0, 0]\n}\n";
    for (int i = 0; i < 4; i++)
        CHECK(.text = with(room, sizeof room, text, "FLAGS", flags[i]), .tolerance = 1e-5);
}
END_TEST

START_TEST(test_moving)
{
    CHECK(.text =
              "kernel @k(%x: view<6x20xf32>, %n: index, %a: view<20x6xf32>, %b: view<4x30xf32>, %c: view<6x20xf32>,\n"
              "          %d: view<3x2x20xf32>, %e: view<1xf32>, %f: view<6x20xf32>, %g: view<6x20xi1>) grid [1] {\n"
              "  %v = load %x[0, 0] : tile<6x20xf32, v1x8>\n"
              "  %t = transpose %v, [1, 0]\n  store %t, %a[0, 0]\n"
              "  %r = reshape %v : tile<4x30xf32, v1x8>\n  store %r, %b[0, 0]\n"
              "  %s = reshape %v : tile<3x2x20xf32, v2x8>\n  store %s, %d[0, 0, 0]\n"
              "  %m = reduce max %v, [1]\n  %w = broadcast %m : tile<6x20xf32, v1x8>\n  store %w, %c[0, 0]\n"
              "  %p = extract %v[%n, 3]\n  %q = broadcast %p : tile<1xf32, s>\n  store %q, %e[0]\n"
              "  %i = iota 1 : tile<6x20xi32, v1x8>\n  %j = cast f32 %i\n  %o = mul %j, %m\n  store %o, %f[0, 0]\n"
              "  %y = gt %v, %o\n  store %y, %g[0, 0]\n}\n",
          .scalars = {{.i = 4}});
}
END_TEST

START_TEST(test_dots)
{
    // Batches, two contracted axes, vectors along the contracted axis, sums in scalars.
    CHECK(.text = "kernel @k(%x: view<2x3x5xf32>, %y: view<2x5x16xf32>, %z: view<2x3x16xf32>, %u: view<4x37xf32>,\n"
                  "          %v: view<3x37xf32>, %w: view<4x3xf32>, %s: view<3xf32>, %h: view<3x37xbf16>) grid [1] {\n"
                  "  %a = load %x[0, 0, 0] : tile<2x3x5xf32, s>\n  %b = load %y[0, 0, 0] : tile<2x5x16xf32, v2x8>\n"
                  "  %c = load %z[0, 0, 0] : tile<2x3x16xf32, v2x8>\n  %d = dot \"bmk,bkn->bmn\" %a, %b, %c\n"
                  "  store %d, %z[0, 0, 0]\n"
                  "  %e = load %u[0, 0] : tile<4x37xf32, v1x8>\n  %f = load %v[0, 0] : tile<3x37xf32, v1x8>\n"
                  "  %g = load %w[0, 0] : tile<4x3xf32, s>\n  %i = dot \"mk,nk->mn\" %e, %f, %g\n  store %i, %w[0, 0]\n"
                  "  %j = load %s[0] : tile<3xf32, s>\n  %l = load %x[1, 0, 0] : tile<1x3x5xf32, s>\n"
                  "  %m = reshape %l : tile<3x5xf32, s>\n  %n = dot \"nk,nk->n\" %m, %m, %j\n  store %n, %s[0]\n"
                  "  %o = load %h[0, 0] : tile<3x37xbf16, v1x8>\n  %p = dot \"mk,nk->mn\" %e, %o, %i\n  store %p, "
                  "%w[0, 0]\n}\n",
          .tolerance = 1e-5);
}
END_TEST

// ---- Control flow ----------------------------------------------------------------------------------------------

START_TEST(test_control)
{
    CHECK(.text = "kernel @k(%x: view<NxNxf32>, %y: view<NxNxf32>, %n: index, %z: view<4xi64>) grid [1] {\n"
                  "  %o = constant 0.0 : tile<1x16xf32, v1x8>\n"
                  "  %v = load %x[1, 2] : tile<1x16xf32, v1x8>\n"
                  "  %t = for %i = 2 to N step 3 with (%s = %o) {\n"
                  "    %r = load %x[%i, 0] : tile<1x16xf32, v1x8>\n    %a = add %r, %s\n"
                  "    %c = lt %i, %n\n"
                  "    %q = if %c {\n      %m = mul %a, %v\n      yield %m\n    } else {\n      store %a, %y[%i, 0]\n  "
                  "    yield %s\n    }\n"
                  "    %w = load %y[%i, 1] : tile<1x16xf32, v1x8>\n    %e = add %w, %q\n    store %e, %y[%i, 1]\n"
                  "    yield %q\n  }\n  %p = add %t, %v\n  store %p, %y[0, 0]\n"
                  "  %h, %g = while (%l = %n, %k = 1) {\n    %c = gt %l, 1\n    condition %c\n  } do (%l, %k) {\n"
                  "    %d = floordiv %l, 2\n    %f = add %k, 1\n    yield %d, %f\n  }\n"
                  "  %i2 = cast i64 %g\n  %b2 = broadcast %i2 : tile<1xi64, s>\n  store %b2, %z[2]\n}\n",
          .tolerance = 1e-5, .symbols = {20}, .scalars = {{.i = 9}});
}
END_TEST

START_TEST(test_scratch)
{
    CHECK(.text =
              "kernel @k(%x: view<Nxf32>, %y: view<Nxf32>) grid [2] {\n"
              "  %s = scratch N : view<?xf32>\n  %t = scratch : view<3x5xi1>\n"
              "  for %i = 0 to N step 8 {\n    %v = load %x[%i] : tile<8xf32, v0x8>\n    %w = mul %v, 2.0\n"
              "    store %w, %s[%i]\n  }\n"
              "  for %j = 0 to N step 16 {\n    %a = load %s[%j] : tile<16xf32, v0x16>\n    store %a, %y[%j]\n  }\n}\n",
          .symbols = {29});
}
END_TEST

// ---- Entry points ----------------------------------------------------------------------------------------------

struct calls {
    int n;
    int64_t total, scratch;
};

static int32_t in_two_parts(const tg_env *env, int64_t n, tg_range *range, const tg_arg *args, int64_t scratch)
{
    struct calls *calls = env->user;
    *calls = (struct calls){calls->n + 1, n, scratch};
    void *memory = scratch ? aligned_alloc(64, (size_t)scratch) : NULL;
    int32_t status = range(args, n / 3, n, memory);
    status |= range(args, 0, n / 3, memory);
    free(memory);
    return status;
}

static void *no_large_memory(size_t alignment, size_t size)
{
    return size > 1 << 30 ? NULL : aligned_alloc(alignment, size);
}

START_TEST(test_launchers)
{
    // y[i] = x[i] * s through scratch of n floats, 8 elements an instance; a flag and a byte to pass as well.
    static const char text[] =
        "kernel @k(%x: view<Nxf32>, %s: f32, %up: i8, %on: i1, %y: view<Nxf32>, %n: index)\n"
        "    grid [2, ceildiv(N, 16), 1] {\n"
        "  %p = program_id 0\n  %q = program_id 1\n  %m = mul %q, 2\n  %r = add %m, %p\n"
        "  %i = mul %r, 8\n  %t = scratch %n : view<?xf32>\n  %v = load %x[%i] : tile<8xf32, v0x8>\n"
        "  %w = mul %v, %s\n  store %w, %t[3]\n  %z = load %t[3] : tile<8xf32, v0x8>\n"
        "  %o = select %on, %z, 0.0\n  %c = cast f32 %up\n  %a = add %o, %c\n  store %a, %y[%i]\n}\n";
    struct diags diags;
    diag_init(&diags);
    struct module *m = parse_module(text, strlen(text), "test", 0, NULL, &diags);
    ck_assert_msg(m && verify_module(m, &diags), "%s", diag_string(&diags));
    struct jit *jit;
    struct driver *d = NULL;
    char *error = NULL;
    void *(*allocate)(size_t, size_t) = no_large_memory;
    void *address;
    memcpy(&address, &allocate, sizeof address);
    ck_assert(!jit_create(&jit, &error) && !jit_define(jit, "aligned_alloc", address, &error));
    const tg_kernel *kernel = compile(jit, &d, levels[0], 2, m->first_function, &diags);
    ck_assert_str_eq(kernel->name, "k");
    float x[40], y[41];
    void *launch, *launch_env;
    ck_assert(!jit_lookup(jit, "k", &launch, &error) && !jit_lookup(jit, "k_env", &launch_env, &error));
    int (*k)(const float *, float, int8_t, uint8_t, float *, int64_t, int64_t);
    int (*k_env)(const tg_env *, const float *, float, int8_t, uint8_t, float *, int64_t, int64_t);
    memcpy(&k, &launch, sizeof k);
    memcpy(&k_env, &launch_env, sizeof k_env);
    struct calls calls = {0};
    tg_env env = {.version = TG_ENV_VERSION, .user = &calls, .parallel_for = in_two_parts};
    for (int way = 0; way < 4; way++) {
        int64_t n = way == 1 ? 100000 : 20; // of scratch: on the stack or not
        for (int i = 0; i < 41; i++) {
            x[i % 40] = (float)(i % 40);
            y[i] = -9;
        }
        int status = way < 2    ? k(x, 0.5f, -3, 1, y, n, 37)
                     : way == 2 ? k_env(NULL, x, 0.5f, -3, 1, y, n, 37)
                                : k_env(&env, x, 0.5f, -3, 1, y, n, 37);
        ck_assert_int_eq(status, 0);
        for (int i = 0; i < 41; i++)
            ck_assert_float_eq(y[i], i < 37 ? (float)i * 0.5f - 3 : -9);
    }
    ck_assert_int_eq(calls.n, 1);
    ck_assert_int_eq(calls.total, 6);
    ck_assert_int_eq(calls.scratch, 128);
    ck_assert_int_eq(k(x, 1, 1, 1, y, -1, 0), 0); // nothing to do
    ck_assert_int_eq(k(x, 1, 1, 1, y, INT64_MAX / 8, 37), 1);
    jit_destroy(jit);
    driver_destroy(d);
    struct driver_buffer header;
    ck_assert(!header_print(m, &header, &diags));
    ck_assert_ptr_nonnull(strstr(header.data,
                                 "int32_t k(const float *x, float s, int8_t up, uint8_t on, float *y, int64_t n, "
                                 "int64_t N);\n"));
    ck_assert_ptr_nonnull(strstr(header.data, "//   y: N of f32, row-major; written\n"));
    driver_buffer_finish(&header);
    module_destroy(m);
    diag_finish(&diags);
}
END_TEST

// Bytes that do not fit an int64_t must not come out as a few, or as none.
START_TEST(test_scratch_overflow)
{
    static const char text[] = "kernel @k(%y: view<8xf32>, %n: index, %m: index) grid [1] {\n"
                               "  %a = scratch : view<16xf32>\n  %s = scratch %n, %m : view<?x?xf32>\n"
                               "  %v = constant 1.0 : tile<8xf32, v0x8>\n  store %v, %a[0]\n"
                               "  %u = constant 2.0 : tile<1x8xf32, v1x8>\n  store %u, %s[0, 0]\n"
                               "  %w = load %a[0] : tile<8xf32, v0x8>\n  store %w, %y[0]\n}\n";
    static const int64_t sizes[][3] = {{INT64_C(1) << 62, 1, 1},   {INT64_C(1) << 31, INT64_C(1) << 31, 1},
                                       {INT64_MAX / 4, 1, 1},      {INT64_C(1) << 32, (INT64_C(1) << 32) + 1, 1},
                                       {INT64_C(1) << 62, 0, 0},   {INT64_MAX, INT64_MAX, 1},
                                       {0, INT64_C(1) << 62, 0},   {3, 7, 0},
                                       {-(INT64_C(1) << 62), 1, 0}};
    struct diags diags;
    diag_init(&diags);
    struct module *m = parse_module(text, strlen(text), "test", 0, NULL, &diags);
    ck_assert_msg(m && verify_module(m, &diags), "%s", diag_string(&diags));
    char *error = NULL;
    void *(*allocate)(size_t, size_t) = no_large_memory;
    void *address, *launch;
    memcpy(&address, &allocate, sizeof address);
    for (int opt = 0; opt < 3; opt += 2) {
        struct driver *d = NULL;
        struct jit *jit;
        ck_assert(!jit_create(&jit, &error) && !jit_define(jit, "aligned_alloc", address, &error));
        compile(jit, &d, levels[0], opt, m->first_function, &diags);
        ck_assert(!jit_lookup(jit, "k", &launch, &error));
        int (*k)(float *, int64_t, int64_t);
        memcpy(&k, &launch, sizeof k);
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            float y[8] = {0};
            ck_assert_int_eq(k(y, sizes[i][0], sizes[i][1]), (int)sizes[i][2]);
            ck_assert_float_eq(y[7], sizes[i][2] ? 0 : 1);
        }
        jit_destroy(jit);
        driver_destroy(d);
    }
    module_destroy(m);
    diag_finish(&diags);
}
END_TEST

static void check_refused(const char *text, const char *why)
{
    struct diags diags;
    diag_init(&diags);
    struct module *m = parse_module(text, strlen(text), "test", 0, NULL, &diags);
    ck_assert_msg(m && verify_module(m, &diags), "%s", diag_string(&diags));
    struct driver *d;
    struct target_desc target;
    ck_assert(!target_parse(levels[0], &target, NULL) && !driver_create(&target, 2, &d, NULL));
    ck_assert(
        lower_kernel(m->first_function, false, &target, driver_context(d), driver_new_module(d, "test", NULL), &diags));
    ck_assert_msg(strstr(diag_string(&diags), why), "%s", diag_string(&diags));
    ck_assert_int_eq(diags.n_errors, 1);
    driver_destroy(d);
    module_destroy(m);
    diag_finish(&diags);
}

START_TEST(test_refused)
{
    check_refused("kernel @k(%x: view<8xf32>) grid [1] {\n  %v = load %x[0] : tile<8xf32, v0x8>\n  %w = exp %v\n"
                  "  store %w, %x[0]\n}\n",
                  "was not expanded");
    check_refused("kernel @k(%x: view<8xf32>) grid [1] {\n  %v = load %x[0] : tile<8xf32>\n  store %v, %x[0]\n}\n",
                  "no register layout");
    check_refused("kernel @k(%x: view<8xf32>) grid [1] {\n  %p = program_id 0\n  %s = scratch %p : view<?xf32>\n"
                  "  %v = load %x[0] : tile<8xf32, v0x8>\n  store %v, %s[0]\n}\n",
                  "not computed from");
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("lower");
    TCase *scalars = tcase_create("scalars");
    tcase_set_timeout(scalars, 120);
    tcase_add_loop_test(scalars, test_scalar_rows, 0, DTYPE_COUNT);
    tcase_add_loop_test(scalars, test_scalar_rows_other_layouts, 0, DTYPE_COUNT);
    tcase_add_loop_test(scalars, test_casts, 0, DTYPE_COUNT);
    tcase_add_test(scalars, test_bitcast);
    suite_add_tcase(s, scalars);
    TCase *tiles = tcase_create("tiles");
    tcase_set_timeout(tiles, 120);
    tcase_add_test(tiles, test_matmul);
    tcase_add_test(tiles, test_bounds);
    tcase_add_test(tiles, test_windows);
    tcase_add_test(tiles, test_transposing);
    tcase_add_test(tiles, test_strides);
    tcase_add_test(tiles, test_streaming);
    tcase_add_test(tiles, test_gather);
    tcase_add_test(tiles, test_atomic);
    tcase_add_test(tiles, test_reduce);
    tcase_add_test(tiles, test_scan);
    tcase_add_test(tiles, test_moving);
    tcase_add_test(tiles, test_dots);
    tcase_add_test(tiles, test_control);
    tcase_add_test(tiles, test_scratch);
    suite_add_tcase(s, tiles);
    TCase *entries = tcase_create("entry points");
    tcase_add_test(entries, test_launchers);
    tcase_add_test(entries, test_scratch_overflow);
    tcase_add_test(entries, test_refused);
    suite_add_tcase(s, entries);
    return s;
}

int main(void)
{
    return suite_run(suite(), CK_FORK_GETENV);
}
