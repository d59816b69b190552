// Shaping and code generation for GPUs, without one: kernels are shaped for sm_80, lowered by the code that makes PTX,
// compiled for this machine with the hardware's own operations emulated (gpu_emulator.h), and compared with the
// reference interpreter, which also runs the kernels before and after shaping. Buffers end at a page that may not be
// touched, so a stray access ends the test; once they are aligned to 16 bytes, once to their elements only.
#include <math.h>
#include <stdio.h>

#include "tests/unit/gpu_emulator.h"

#include "codegen/jit.h"
#include "codegen/nvptx.h"
#include "codegen/nvptx_plan.h"
#include "ir/interp.h"
#include "ir/layout.h"
#include "ir/scalar.h"
#include "passes/pass.h"
#include "tests/unit/random_elements.h"
#include "tests/unit/suite.h"

#ifndef EXAMPLE_KERNELS
#define EXAMPLE_KERNELS "examples/kernels"
#endif
#define PAGE 4096
#define MOST 16 // parameters
#define CANARY 0x5A

// ---- Data --------------------------------------------------------------------------------------------------------

struct buffer {
    char *map, *data;
    int64_t bytes, mapped, slack; // between its end and the page
};

// Aligned to 16 bytes, or to those of an element and no more.
static struct buffer buffer_create(int64_t bytes, bool aligned, int64_t element)
{
    struct buffer b = {.bytes = bytes};
    int64_t pages = (bytes + PAGE + 15) / PAGE;
    b.mapped = (pages + 1) * PAGE;
    b.map = mmap(NULL, (size_t)b.mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert(b.map != MAP_FAILED && !mprotect(b.map + pages * PAGE, PAGE, PROT_NONE));
    b.slack = aligned ? -bytes & 15 : bytes % 16 || element == 16 ? 0 : element;
    b.data = b.map + pages * PAGE - b.slack - bytes;
    memset(b.data + bytes, CANARY, (size_t)b.slack);
    return b;
}

static void check_slack(const struct buffer *b)
{
    for (int64_t i = 0; i < b->slack; i++)
        ck_assert_msg(b->data[b->bytes + i] == CANARY, "byte %lld behind a buffer was written", (long long)i);
}

static void compare(const struct type *t, const char *have, const char *want, int64_t bytes, double tolerance,
                    const char *what)
{
    for (int64_t i = 0; i < bytes / dtype_bytes(t->dtype); i++) {
        union scalar x = dtype_load(t->dtype, have + i * dtype_bytes(t->dtype)),
                     y = dtype_load(t->dtype, want + i * dtype_bytes(t->dtype));
        if (!dtype_is_float(t->dtype))
            ck_assert_msg(x.i == y.i, "%s: [%lld] is %lld, not %lld", what, (long long)i, (long long)x.i,
                          (long long)y.i);
        else
            ck_assert_msg((isnan(x.f) && isnan(y.f)) || x.f == y.f || fabs(x.f - y.f) <= tolerance * fmax(1, fabs(y.f)),
                          "%s: [%lld] is %.9g, not %.9g", what, (long long)i, x.f, y.f);
    }
}

// ---- One kernel --------------------------------------------------------------------------------------------------

struct size {
    const char *name;
    int64_t value;
};

struct run {
    const char *file, *text; // one of them
    const char *target;      // NULL: sm_80
    struct define defines[6];
    struct size sizes[6];
    double tolerance;
    bool shaped; // the text has layouts already
};

static struct {
    int64_t args[MOST + 8];
    void (*kernel)(int64_t, ...);
} launch;

static void call(void)
{
    int64_t *a = launch.args;
    launch.kernel(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11]);
}

static char *read_file(const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s.tile", EXAMPLE_KERNELS, name);
    FILE *f = fopen(path, "r");
    ck_assert_msg(f, "cannot open %s", path);
    char *text = calloc(1, 1 << 16);
    ck_assert(fread(text, 1, (1 << 16) - 1, f) > 0);
    fclose(f);
    return text;
}

static void evaluate_grid(const struct function *k, const int64_t *symbols, int64_t grid[3])
{
    union scalar *value = calloc((size_t)k->n_values, sizeof *value);
    for (int i = 0; i < k->n_symbols; i++)
        if (k->symbols[i])
            value[k->symbols[i]->id].i = symbols[i];
    for (const struct op *op = k->grid->first; op; op = op->next) {
        union scalar x[3] = {0};
        for (int i = 0; i < op->n_operands && i < 3; i++)
            x[i] = value[op->operands[i]->id];
        if (op->code == OP_CONSTANT)
            value[op->results[0]->id] = scalar_from_number(DTYPE_INDEX, op_attr(op, ATTR_VALUE)->number);
        else if (opcode_is_scalar(op->code))
            value[op->results[0]->id] = scalar_eval(op->code, DTYPE_INDEX, x[0], x[1], x[2]);
        for (int i = 0; op->code == OP_YIELD && i < op->n_operands; i++)
            grid[i] = x[i].i;
    }
    free(value);
}

static void make_args(const struct function *k, const int64_t *symbols, bool aligned, struct interp_arg *args,
                      struct buffer *buffers)
{
    random_begin(1);
    for (int i = 0; i < k->n_params; i++) {
        const struct type *t = k->params[i]->type;
        ck_assert(t->kind == TYPE_VIEW && !interp_view_fill(&args[i].view, t, symbols));
        int64_t bytes = dtype_bytes(t->dtype);
        for (int d = 0; d < t->rank; d++)
            bytes *= args[i].view.sizes[d];
        buffers[i] = buffer_create(bytes, aligned, dtype_bytes(t->dtype));
        fill_plain(t->dtype, buffers[i].data, bytes / dtype_bytes(t->dtype));
        args[i].view.data = buffers[i].data;
        args[i].view.bytes = bytes;
    }
}

static void release(const struct function *k, struct buffer *buffers)
{
    for (int i = 0; i < k->n_params; i++)
        munmap(buffers[i].map, (size_t)buffers[i].mapped);
}

static void compare_all(const struct function *k, const struct buffer *have, const struct buffer *want,
                        double tolerance, const char *what)
{
    for (int i = 0; i < k->n_params; i++)
        compare(k->params[i]->type, have[i].data, want[i].data, want[i].bytes, tolerance, what);
}

static void emulate(const struct run *r, struct function *k, const struct target_desc *target, const int64_t *symbols,
                    const struct buffer *want, struct diags *diags)
{
    struct target_desc here;
    struct driver *d;
    struct jit *jit;
    char *error = NULL;
    ck_assert(!target_parse("native", &here, &error) && !driver_create(&here, 1, &d, &error));
    LLVMModuleRef module = driver_new_module(d, "test", &error);
    ck_assert_msg(!lower_nvptx(k, target, driver_context(d), module, true, diags), "%s", diag_string(diags));
    ck_assert_msg(!driver_verify(d, module, &error), "%s", error);
    ck_assert_msg(!driver_optimize(d, module, NULL, &error), "%s", error);
    ck_assert_msg(!jit_create(&jit, &error), "%s", error);
    const struct {
        const char *name;
        void *address;
    } functions[] = {{"emu_thread", (void *)emu_thread},
                     {"emu_program", (void *)emu_program},
                     {"emu_programs", (void *)emu_programs},
                     {"emu_shared", (void *)emu_shared},
                     {"emu_barrier", (void *)emu_barrier},
                     {"emu_shuffle_xor", (void *)emu_shuffle_xor},
                     {"emu_shuffle_from", (void *)emu_shuffle_from},
                     {"emu_ldmatrix", (void *)emu_ldmatrix},
                     {"emu_mma", (void *)emu_mma}};
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        ck_assert_msg(!jit_define(jit, functions[i].name, functions[i].address, &error), "%s", error);
    ck_assert_msg(!jit_add_module(jit, d, module, &error), "%s", error);
    void *entry, *info;
    char name[80];
    snprintf(name, sizeof name, "%s__launch", k->name);
    ck_assert_msg(!jit_lookup(jit, k->name, &entry, &error) && !jit_lookup(jit, name, &info, &error), "%s", error);
    int32_t threads = ((int32_t *)info)[0];
    ck_assert_int_le(((int32_t *)info)[1], EMU_SHARED);
    int64_t grid[3] = {1, 1, 1};
    evaluate_grid(k, symbols, grid);
    launch.kernel = (void (*)(int64_t, ...))entry;
    for (int variant = 0; variant < 4; variant++) {
        struct interp_arg args[MOST] = {0};
        struct buffer have[MOST];
        int n = 0;
        make_args(k, symbols, variant & 1, args, have);
        for (int i = 0; i < k->n_params; i++)
            launch.args[n++] = (int64_t)(intptr_t)have[i].data;
        for (int i = 0; i < k->n_symbols; i++)
            if (k->symbols[i])
                launch.args[n++] = symbols[i];
        ck_assert_int_le(n, 12);
        emu_launch(threads, grid, variant & 2, call);
        char what[120];
        snprintf(what, sizeof what, "%s, %s, threads %s", k->name, variant & 1 ? "aligned" : "not aligned",
                 variant & 2 ? "backwards" : "forwards");
        compare_all(k, have, want, r->tolerance, what);
        for (int i = 0; i < k->n_params; i++)
            check_slack(&have[i]);
        release(k, have);
    }
    jit_destroy(jit);
    driver_destroy(d);
}

static void run_passes(struct module *m, const struct target_desc *target, const char *passes, struct diags *diags)
{
    struct pipeline_options options = {.passes = passes};
    ck_assert_msg(!pipeline_run(m, target, &options, diags), "%s", diag_string(diags));
}

static void interpret(struct function *k, const int64_t *symbols, struct buffer *have, struct diags *diags)
{
    struct interp_arg args[MOST] = {0};
    make_args(k, symbols, false, args, have);
    ck_assert_msg(!interp_run(k, args, symbols, 0, diags), "%s", diag_string(diags));
}

// The module's text says all of it.
static void check_text(struct module *m, struct diags *diags)
{
    struct arena a;
    char *text, *again;
    arena_init(&a);
    print_module(&a, m, &text);
    struct module *copy = parse_module(text, strlen(text), "shaped", 0, NULL, diags);
    ck_assert_msg(copy && verify_module(copy, diags), "%s\n%s", diag_string(diags), text);
    print_module(&a, copy, &again);
    ck_assert_str_eq(text, again);
    module_destroy(copy);
    arena_finish(&a);
}

static void check_run(const struct run *r)
{
    struct diags diags;
    struct target_desc target;
    char *text = r->file ? read_file(r->file) : strdup(r->text);
    int n_defines = 0;
    while (n_defines < 6 && r->defines[n_defines].name)
        n_defines++;
    diag_init(&diags);
    ck_assert(!target_parse(r->target ? r->target : "sm_80", &target, NULL));
    struct module *m = parse_module(text, strlen(text), "test", n_defines, r->defines, &diags);
    ck_assert_msg(m && verify_module(m, &diags), "%s\n%s", diag_string(&diags), text);
    struct function *k = m->first_function;
    int64_t symbols[32] = {0};
    for (int i = 0; i < 6 && r->sizes[i].name; i++)
        symbols[module_symbol(m, r->sizes[i].name, strlen(r->sizes[i].name))] = r->sizes[i].value;
    struct buffer want[MOST], strips[MOST], have[MOST];
    interpret(k, symbols, want, &diags);
    if (!r->shaped)
        run_passes(m, &target, "canonicalize,widen,strip-mine,canonicalize", &diags);
    interpret(k, symbols, strips, &diags);
    compare_all(k, strips, want, r->tolerance, "in strips, interpreted"); // sums in another order
    if (!r->shaped)
        run_passes(m, &target, "shape-gpu,canonicalize", &diags);
    check_text(m, &diags);
    interpret(k, symbols, have, &diags);
    compare_all(k, have, strips, 0, "shaped, interpreted");
    release(k, have);
    release(k, strips);
    run_passes(m, &target, "expand-math,canonicalize", &diags);
    emulate(r, k, &target, symbols, want, &diags);
    release(k, want);
    module_destroy(m);
    diag_finish(&diags);
    free(text);
}

#define CHECK(...) check_run(&(struct run){__VA_ARGS__})
#define DEFINES(...) .defines = {__VA_ARGS__}
#define SIZES(...) .sizes = {__VA_ARGS__}

// ---- Example kernels ---------------------------------------------------------------------------------------------

START_TEST(vector_add)
{
    static const int64_t sizes[] = {1, 31, 1024, 1028, 3000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        CHECK(.file = "vector_add", DEFINES({"BN", "1024"}, {"LARGE", "1025"}), SIZES({"N", sizes[i]}));
    CHECK(.file = "vector_add", DEFINES({"BN", "2048"}, {"T", "f16"}), SIZES({"N", 4000}));
    CHECK(.file = "vector_add", DEFINES({"BN", "64"}, {"T", "i64"}), SIZES({"N", 99})); // smaller than the block
    CHECK(.file = "vector_add", DEFINES({"BN", "1024"}, {"T", "i8"}), SIZES({"N", 2048}));
}
END_TEST

START_TEST(elementwise)
{
    CHECK(.file = "elementwise", SIZES({"M", 35}, {"N", 516}), .tolerance = 1e-6);
    CHECK(.file = "elementwise", DEFINES({"T", "f16"}, {"ACT", "relu"}), SIZES({"M", 16}, {"N", 333}),
          .tolerance = 2e-3);
    CHECK(.file = "elementwise", DEFINES({"T", "bf16"}, {"ACT", "tanh"}), SIZES({"M", 20}, {"N", 256}),
          .tolerance = 1e-2);
}
END_TEST

START_TEST(softmax)
{
    CHECK(.file = "softmax", DEFINES({"N", "1024"}, {"BN", "1024"}), SIZES({"R", 17}), .tolerance = 1e-6);
    CHECK(.file = "softmax", DEFINES({"BN", "1024"}), SIZES({"R", 16}, {"N", 1000}), .tolerance = 1e-6);
    CHECK(.file = "softmax", DEFINES({"BM", "1"}, {"BN", "2048"}), SIZES({"R", 3}, {"N", 1999}), .tolerance = 1e-6);
    CHECK(.file = "softmax", DEFINES({"BM", "2"}, {"BN", "16"}), SIZES({"R", 5}, {"N", 10}), .tolerance = 1e-6);
}
END_TEST

START_TEST(layer_norm)
{
    CHECK(.file = "layer_norm", DEFINES({"N", "1024"}, {"BN", "1024"}), SIZES({"R", 9}), .tolerance = 3e-5);
    CHECK(.file = "layer_norm", DEFINES({"BN", "1024"}), SIZES({"R", 8}, {"N", 777}), .tolerance = 3e-5);
    CHECK(.file = "layer_norm", DEFINES({"BM", "1"}, {"BN", "1024"}), SIZES({"R", 2}, {"N", 512}), .tolerance = 3e-5);
}
END_TEST

START_TEST(row_reduce)
{
    CHECK(.file = "row_reduce", DEFINES({"BN", "512"}, {"BM", "4"}), SIZES({"R", 9}, {"N", 500}), .tolerance = 1e-4);
    CHECK(.file = "row_reduce", DEFINES({"BN", "1024"}, {"F", "max"}, {"T", "i32"}), SIZES({"R", 2}, {"N", 1000}));
    CHECK(.file = "row_reduce", DEFINES({"BN", "1024"}, {"F", "add"}, {"T", "f16"}), SIZES({"R", 2}, {"N", 64}),
          .tolerance = 1e-3);
    CHECK(.file = "row_reduce", DEFINES({"BN", "256"}, {"F", "xor"}, {"T", "i64"}), SIZES({"R", 2}, {"N", 200}));
}
END_TEST

START_TEST(matmul)
{
    CHECK(.file = "matmul", DEFINES({"T", "f16"}, {"BM", "64"}, {"BN", "64"}), SIZES({"M", 70}, {"N", 72}, {"K", 104}),
          .tolerance = 3e-3);
    CHECK(.file = "matmul", DEFINES({"T", "bf16"}, {"BM", "32"}, {"BN", "128"}, {"BK", "64"}, {"ACT", "relu"}),
          SIZES({"M", 32}, {"N", 100}, {"K", 99}), .tolerance = 2e-2);
    CHECK(.file = "matmul", DEFINES({"T", "f16"}, {"BM", "16"}, {"BN", "8"}, {"BK", "16"}), // one warp
          SIZES({"M", 20}, {"N", 20}, {"K", 40}), .tolerance = 3e-3);
    CHECK(.file = "matmul", DEFINES({"BM", "64"}, {"BN", "64"}, {"BK", "8"}), SIZES({"M", 65}, {"N", 60}, {"K", 17}),
          .tolerance = 1e-4); // multiply-add
    CHECK(.file = "matmul", DEFINES({"T", "f16"}, {"M", "64"}, {"N", "64"}, {"K", "64"}, {"BM", "64"}, {"BN", "64"}),
          .tolerance = 3e-3);
}
END_TEST

START_TEST(others)
{
    CHECK(.file = "transpose", SIZES({"M", 70}, {"N", 130}));
    CHECK(.file = "transpose", DEFINES({"T", "f16"}), SIZES({"M", 64}, {"N", 64}));
    CHECK(.file = "transpose", DEFINES({"T", "i8"}, {"BN", "32"}), SIZES({"M", 64}, {"N", 64}));
    CHECK(.file = "gather", SIZES({"V", 50}, {"M", 19}, {"N", 300}));
    CHECK(.file = "batched_matmul", DEFINES({"T", "f16"}, {"BM", "32"}, {"BN", "32"}),
          SIZES({"M", 40}, {"N", 33}, {"K", 48}, {"Z", 2}), .tolerance = 3e-3);
}
END_TEST

// ---- Strips ------------------------------------------------------------------------------------------------------

// Rows as long as their tiles allow: far more than a block's registers hold.
START_TEST(long_rows)
{
    static const int64_t sizes[] = {0, 1000, 50000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        CHECK(.file = "softmax", DEFINES({"BM", "1"}), SIZES({"R", 1}, {"N", sizes[i]}), .tolerance = 1e-6);
        CHECK(.file = "row_reduce", SIZES({"R", 1}, {"N", sizes[i]}), .tolerance = 1e-3);
    }
    CHECK(.file = "softmax", SIZES({"R", 17}, {"N", 1025}), .tolerance = 1e-6);
    CHECK(.file = "softmax", DEFINES({"N", "5000"}), SIZES({"R", 3}), .tolerance = 1e-6);
    CHECK(.file = "layer_norm", SIZES({"R", 9}, {"N", 1}), .tolerance = 3e-5);
    CHECK(.file = "layer_norm", SIZES({"R", 1}, {"N", 50000}), .tolerance = 3e-4);
    CHECK(.file = "row_reduce", DEFINES({"F", "max"}, {"T", "i32"}), SIZES({"R", 1}, {"N", 50000}));
    CHECK(.file = "row_reduce", DEFINES({"F", "xor"}, {"T", "i64"}, {"BM", "4"}), SIZES({"R", 5}, {"N", 3000}));
    CHECK(.file = "row_reduce", DEFINES({"T", "f16"}), SIZES({"R", 2}, {"N", 50000}), .tolerance = 2e-3);
}
END_TEST

// Tiles of several elements more than registers hold: rows of few at a time, doubles, sums of a dot.
START_TEST(large_tiles)
{
    CHECK(.file = "softmax", DEFINES({"BN", "2048"}), SIZES({"R", 17}, {"N", 2000}), .tolerance = 1e-6);
    CHECK(.file = "layer_norm", DEFINES({"BN", "4096"}), SIZES({"R", 9}, {"N", 4000}), .tolerance = 3e-5);
    CHECK(.file = "vector_add", DEFINES({"T", "f64"}, {"LARGE", "17000"}), SIZES({"N", 16500}));
    CHECK(.file = "vector_add", DEFINES({"T", "f64"}, {"LARGE", "17000"}), SIZES({"N", 33000}));
    CHECK(.file = "matmul", DEFINES({"T", "f16"}, {"BM", "256"}, {"BK", "64"}),
          SIZES({"M", 270}, {"N", 100}, {"K", 100}), .tolerance = 3e-3);
    CHECK(.file = "flash_attention", SIZES({"B", 1}, {"S", 70}, {"T", 90}), .tolerance = 1e-5);
    CHECK(.file = "flash_attention", DEFINES({"CAUSAL", "1"}), SIZES({"B", 1}, {"S", 70}, {"T", 90}),
          .tolerance = 1e-5);
}
END_TEST

// What a strip is made of: indices, rows that others are looked up by, transposed results, sums of sums, blocks.
START_TEST(strips_of_everything)
{
    CHECK(.text = "kernel @k(%x: view<4xNxf32>, %ids: view<Nxi32>, %table: view<50xf32>, %y: view<Nx4xf32>,\n"
                  "          %s: view<1x1xf32>, %z: view<4xNxf32>) grid [1] {\n"
                  "  %a = load %x[0, 0] : tile<4x65536xf32>\n"
                  "  %id = load %ids[0] pad -1 : tile<65536xi32>\n"
                  "  %g = gather %table[%id] pad 2.0\n"
                  "  %i = iota 1 : tile<1x65536xi32>\n"
                  "  %f = cast f32 %i\n"
                  "  %h = mul %f, 1e-3\n"
                  "  %b = mul %a, %g\n"
                  "  %c = add %b, %h\n"
                  "  %t = transpose %c, [1, 0]\n"
                  "  store %t, %y[0, 0]\n"
                  "  %m = reduce max %c, 0\n"
                  "  %n = reduce add %m, 1 count N - 3\n"
                  "  %l = reduce min %c, [0, 1]\n"
                  "  %r = sub %n, %l\n"
                  "  store %r, %s[0, 0]\n"
                  "  if lt(N, 9000) {\n"
                  "    %d = sub %c, %l\n"
                  "    %e = select gt(%m, %d), %d, %b\n"
                  "    store %e, %z[0, 0]\n"
                  "  }\n"
                  "}\n",
          SIZES({"N", 8700}), .tolerance = 1e-5);
}
END_TEST

// ---- Rules -------------------------------------------------------------------------------------------------------

// Threads read what others have stored, loops carry tiles, conditions choose between them, reductions of several axes.
START_TEST(memory_and_control)
{
    CHECK(.text = "kernel @k(%x: view<64x64xf32>, %y: view<64x64xf32>) grid [1] {\n"
                  "  %z = constant 0.0 : tile<64x64xf32>\n"
                  "  %s = for %i = 0 to 3 step 1 with (%c = %z) {\n"
                  "    %a = load %x[0, 0] : tile<64x64xf32>\n"
                  "    %t = transpose %a, [1, 0]\n"
                  "    store %t, %y[0, 0]\n"
                  "    %b = load %y[0, 0] : tile<64x64xf32>\n"
                  "    store %b, %x[0, 0]\n"
                  "    %d = add %c, %t\n"
                  "    yield %d\n"
                  "  }\n"
                  "  %m = reduce max %s, [0, 1]\n"
                  "  %u = sub %s, %m\n"
                  "  store %u, %y[0, 0]\n"
                  "}\n",
          .tolerance = 1e-6);
    CHECK(.text = "kernel @k(%x: view<Nx64xf32>, %y: view<Nx64xf32>) grid [1] {\n"
                  "  %a = load %x[0, 0] : tile<64x64xf32>\n"
                  "  %n, %s = while (%i = 0, %b = %a) {\n"
                  "    %c = lt %i, N\n"
                  "    condition %c\n"
                  "  } do (%j, %d) {\n"
                  "    %odd = mod %j, 2\n"
                  "    %is = eq %odd, 1\n"
                  "    %e = if %is {\n"
                  "      %f = transpose %d, [1, 0]\n"
                  "      yield %f\n"
                  "    } else {\n"
                  "      %r = reduce add %d, [1]\n"
                  "      %g = sub %d, %r\n"
                  "      yield %g\n"
                  "    }\n"
                  "    %k = add %j, 17\n"
                  "    yield %k, %e\n"
                  "  }\n"
                  "  store %s, %y[0, 0]\n"
                  "}\n",
          SIZES({"N", 63}), .tolerance = 1e-2);
}
END_TEST

// Rows of indices meet columns of them; what is written may be a tile, or one number everywhere.
START_TEST(scatters)
{
    static const char *const values[] = {"%a", "7"};
    static const char *const operations[] = {"scatter", "atomic add"};
    for (int i = 0; i < 4; i++) {
        char text[1000];
        snprintf(text, sizeof text,
                 "kernel @k(%%x: view<MxNxi32>, %%y: view<MxNxi32>) grid [1] {\n"
                 "  %%a = load %%x[0, 0] : tile<8x16xi32>\n"
                 "  %%i = iota 0 : tile<8x1xi32>\n"
                 "  %%r = sub 6, %%i\n"
                 "  %%j = iota 0 : tile<16xi32>\n"
                 "  %%c = xor %%j, 5\n"
                 "  %s %s, %%y[%%r, %%c]\n"
                 "  %s %s, %%y[M - 1, %%c]\n"
                 "}\n",
                 operations[i % 2], values[i / 2], operations[i % 2], "3");
        CHECK(.text = text, SIZES({"M", 7}, {"N", 13}));
    }
}
END_TEST

START_TEST(windows_and_borders)
{
    CHECK(.text = "kernel @k(%x: view<HxWxf32>, %y: view<HxWxf32>) grid [1] {\n"
                  "  %p = window %x[-1, -1] (h, w, i, j) -> (h + i, w * 2 + j)\n"
                  "  %a = load %p[0, 0, 0, 0] pad 1.0 : tile<16x16x4x4xf32>\n"
                  "  %s = reduce add %a, [2, 3]\n"
                  "  %r = reshape %s : tile<16x16xf32>\n"
                  "  store %r, %y[0, 0]\n"
                  "}\n",
          SIZES({"H", 13}, {"W", 15}), .tolerance = 1e-5);
}
END_TEST

// ---- Conversions -------------------------------------------------------------------------------------------------

static struct layout random_layout(unsigned rank, const unsigned *bits, unsigned warps, bool linear)
{
    struct layout l = {.out.rank = (uint8_t)rank};
    unsigned total = 0, order[16], inputs = 5 + warps;
    for (unsigned d = 0; d < rank; d++)
        total += l.out.bits[LAYOUT_DIM0 + d] = (uint8_t)bits[d];
    for (unsigned i = 0; i < total; i++)
        order[i] = i;
    for (unsigned i = total; i-- > 1;) {
        unsigned j = random32() % (i + 1), t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
    unsigned registers = total > inputs ? total - inputs : 0;
    if (random32() % 3 == 0) // lanes or warps that hold copies
        registers++;
    if (registers > total)
        registers = total;
    l.in.bits[LAYOUT_REG] = (uint8_t)registers;
    l.in.bits[LAYOUT_LANE] = 5;
    l.in.bits[LAYOUT_WARP] = (uint8_t)warps;
    // Which lane and warp bits carry nothing is drawn.
    unsigned n = registers + inputs, spare = n - total, next = 0;
    for (unsigned i = 0; i < n; i++) {
        bool copy = i >= registers && spare && (n - i == spare || random32() % 3 == 0);
        spare -= copy;
        l.basis[i] = copy ? 0 : 1u << order[next++];
    }
    for (unsigned i = 0; linear && i < 6; i++) { // adding one vector to another keeps them independent
        unsigned from = random32() % n, to = random32() % n;
        if (from != to && l.basis[to])
            l.basis[to] ^= l.basis[from];
    }
    return l;
}

START_TEST(conversions)
{
    static const char *const types[] = {"f32", "f16", "i8", "f64", "i1"};
    char a[LAYOUT_TEXT_MAX], b[LAYOUT_TEXT_MAX], *text = malloc(16384);
    int seen[3] = {0}, choices = 0;
    for (int i = 0; i < 60; i++) {
        random_begin((uint32_t)i * 7919u + 12345);
        unsigned bits[2] = {random32() % 4 + 2, random32() % 4 + 3}, warps = random32() % 3;
        const char *t = types[random32() % 5];
        struct layout from = random_layout(2, bits, warps, i % 2), to = random_layout(2, bits, warps, i % 2);
        if (i % 5 >= 3) { // within a thread or a warp: what warps hold stays
            to = from;
            unsigned n = (unsigned)from.in.bits[LAYOUT_REG] + (i % 5 == 3 ? 0 : 5);
            for (unsigned j = n; j-- > 1;) {
                unsigned k = random32() % (j + 1);
                uint32_t x = to.basis[j];
                to.basis[j] = to.basis[k];
                to.basis[k] = x;
            }
        }
        ck_assert(layout_surjective(&from) && layout_surjective(&to));
        struct convert_plan plan;
        enum dtype d = dtype_from_name(t, strlen(t));
        ck_assert(convert_plan_make(&from, &to, (unsigned)dtype_bytes(d) * 8, &plan));
        seen[plan.kind]++;
        choices += plan.kind == PLAN_SHUFFLE && plan.n_choices;
        layout_print(&from, a, sizeof a);
        layout_print(&to, b, sizeof b);
        snprintf(text, 16384,
                 "kernel @convert%d(%%x: view<MxNx%s>, %%y: view<MxNx%s>) grid [1] {\n"
                 "  %%a = load %%x[0, 0] : tile<%ux%ux%s, %s>\n"
                 "  %%b = convert_layout %%a : tile<%ux%ux%s, %s>\n"
                 "  store %%b, %%y[0, 0]\n}\n",
                 i, t, t, 1u << bits[0], 1u << bits[1], t, a, 1u << bits[0], 1u << bits[1], t, b);
        CHECK(.text = text, .shaped = true, SIZES({"M", (1 << bits[0]) - i % 2}, {"N", 1 << bits[1]}));
    }
    for (int i = 0; i < 3; i++)
        ck_assert_msg(seen[i], "no conversion of kind %d was tried", i);
    ck_assert(choices);
    free(text);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("gpu");
    TCase *c = tcase_create("gpu");
    tcase_set_timeout(c, 280);
    tcase_add_test(c, vector_add);
    tcase_add_test(c, elementwise);
    tcase_add_test(c, softmax);
    tcase_add_test(c, layer_norm);
    tcase_add_test(c, row_reduce);
    tcase_add_test(c, matmul);
    tcase_add_test(c, others);
    tcase_add_test(c, long_rows);
    tcase_add_test(c, large_tiles);
    tcase_add_test(c, strips_of_everything);
    tcase_add_test(c, memory_and_control);
    tcase_add_test(c, scatters);
    tcase_add_test(c, windows_and_borders);
    tcase_add_test(c, conversions);
    suite_add_tcase(s, c);
    return suite_run(s, CK_FORK_GETENV);
}
