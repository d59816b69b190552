// The public API: kernels are compiled and run, and every wrong argument is told apart by its message.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tegula/tegula.h>

#include "tests/unit/suite.h"

static const char axpy[] =
    "kernel @axpy<BN = 32>(%a: f32, %x: view<MxNxf32>, %y: view<MxNxf32>) grid [ceildiv(N, BN), M] {\n"
    "  %i = program_id 0\n"
    "  %m = program_id 1\n"
    "  %n = mul %i, BN\n"
    "  %u = load %x[%m, %n] : tile<1xBNxf32>\n"
    "  %v = load %y[%m, %n] : tile<1xBNxf32>\n"
    "  %w = mul %u, %a\n"
    "  %r = add %w, %v\n"
    "  store %r, %y[%m, %n]\n"
    "}\n";

static tg_context *ctx;

static void setup(void)
{
    ck_assert_int_eq(tg_context_create(2, &ctx), 0);
}

static void teardown(void)
{
    tg_context_destroy(ctx);
}

static tg_kernel_handle *compile(const char *text, const tg_kernel_options *options)
{
    tg_kernel_handle *k = NULL;
    int status = tg_kernel_compile(ctx, text, strlen(text), "test.tile", options, &k);
    ck_assert_msg(status == 0, "%s", tg_last_error(ctx));
    ck_assert_ptr_nonnull(k);
    return k;
}

#define ROWS 3
#define COLUMNS 45

struct data {
    float x[ROWS * COLUMNS + 1], y[ROWS * COLUMNS + 1];
    int64_t shape_x[2], shape_y[2], strides_x[2];
    tg_tensor tx, ty;
};

static void data_init(struct data *d)
{
    const tg_data_type f32 = {TG_CODE_FLOAT, 32, 1};
    memset(d, 0, sizeof *d);
    for (int i = 0; i < ROWS * COLUMNS; i++) {
        d->x[i] = (float)i;
        d->y[i] = 1000;
    }
    d->shape_x[0] = d->shape_y[0] = ROWS;
    d->shape_x[1] = d->shape_y[1] = COLUMNS;
    d->strides_x[0] = COLUMNS;
    d->strides_x[1] = 1;
    d->tx = (tg_tensor){.data = d->x, .device = {TG_DEVICE_CPU, 0}, .ndim = 2, .dtype = f32, .shape = d->shape_x};
    d->ty = (tg_tensor){.data = d->y, .device = {TG_DEVICE_CPU, 0}, .ndim = 2, .dtype = f32, .shape = d->shape_y};
}

static int launch(tg_kernel_handle *k, const struct data *d)
{
    return tg_kernel_launch(k, (const tg_tensor *[]){&d->tx, &d->ty}, 2, (tg_arg[]){{.f32 = 2}}, 1);
}

START_TEST(compile_and_launch)
{
    static struct data d;
    data_init(&d);
    tg_kernel_handle *k = compile(axpy, NULL);
    ck_assert_str_eq(tg_kernel_code(k)->name, "axpy");
    ck_assert_int_eq(tg_kernel_code(k)->n_args, 5);
    tg_pool_begin(tg_context_pool(ctx));
    ck_assert_msg(launch(k, &d) == 0, "%s", tg_last_error(ctx));
    d.tx.strides = d.strides_x;
    ck_assert_msg(launch(k, &d) == 0, "%s", tg_last_error(ctx));
    tg_pool_end(tg_context_pool(ctx));
    for (int i = 0; i < ROWS * COLUMNS; i++)
        ck_assert_float_eq(d.y[i], 1000 + 4 * (float)i);
    ck_assert_float_eq(d.y[ROWS * COLUMNS], 0);

    tg_arg args[5] = {{.f32 = 1}, {.pointer = d.x}, {.pointer = d.y}, {.integer = ROWS}, {.integer = COLUMNS}};
    ck_assert_int_eq(tg_kernel_run(k, args, 5), 0);
    for (int i = 0; i < ROWS * COLUMNS; i++)
        ck_assert_float_eq(d.y[i], 1000 + 5 * (float)i);
    ck_assert_int_ne(tg_kernel_run(k, args, 4), 0);
    ck_assert_ptr_nonnull(strstr(tg_last_error(ctx), "takes 5 arguments, not 4"));
    tg_kernel_destroy(k);
    tg_kernel_destroy(NULL);
}
END_TEST

START_TEST(empty_tensors)
{
    static struct data d;
    data_init(&d);
    d.shape_x[0] = d.shape_y[0] = 0;
    d.tx.data = d.ty.data = NULL;
    tg_kernel_handle *k = compile(axpy, NULL);
    ck_assert_msg(launch(k, &d) == 0, "%s", tg_last_error(ctx));
    tg_kernel_destroy(k);
}
END_TEST

START_TEST(wrong_tensors)
{
    static struct data d, before;
    tg_kernel_handle *k = compile(axpy, NULL);
#define WRONG(change, message)                                                                                         \
    do {                                                                                                               \
        data_init(&d);                                                                                                 \
        change;                                                                                                        \
        before = d;                                                                                                    \
        ck_assert_int_ne(launch(k, &d), 0);                                                                            \
        ck_assert_msg(strstr(tg_last_error(ctx), message) != NULL, "%s", tg_last_error(ctx));                          \
        ck_assert_int_eq(memcmp(&d, &before, sizeof d), 0);                                                            \
    } while (0)
    WRONG(d.tx.ndim = 1, "%x: has 1 dimensions and must have 2");
    WRONG(d.tx.dtype.bits = 16, "%x: the element type");
    WRONG(d.ty.dtype.lanes = 4, "%y: the element type");
    WRONG(d.ty.device.device_type = TG_DEVICE_CUDA, "%y: is on a device of type 2");
    WRONG(d.ty.shape[1] = 44, "%y: size 1 is 44 where %x makes N 45");
    WRONG(d.tx.shape[0] = -1, "%x: size 0 is -1");
    WRONG(d.tx.data = NULL, "%x: has no memory");
    WRONG(d.tx.byte_offset = 2, "%x: is not aligned");
    WRONG(d.tx.strides = d.strides_x; d.strides_x[0] = 46, "%x: stride 0 is 46 and must be 45");
    WRONG(d.tx.strides = d.strides_x; d.strides_x[1] = -1, "%x: stride 1 is -1");
    WRONG(d.tx.data = d.y; d.tx.byte_offset = 4, "%y: is written to and overlaps %x");
    WRONG(d.tx.shape[0] = INT64_MAX / 2, "%x: is too large");
#undef WRONG
    data_init(&d);
    ck_assert_int_ne(tg_kernel_launch(k, (const tg_tensor *[]){&d.tx}, 1, (tg_arg[]){{.f32 = 2}}, 1), 0);
    ck_assert_ptr_nonnull(strstr(tg_last_error(ctx), "takes 2 tensors and 1 scalars, not 1 and 1"));
    ck_assert_int_ne(tg_kernel_launch(k, (const tg_tensor *[]){&d.tx, NULL}, 2, (tg_arg[]){{.f32 = 2}}, 1), 0);
    ck_assert_ptr_nonnull(strstr(tg_last_error(ctx), "%y: no tensor is given"));
    tg_kernel_destroy(k);
}
END_TEST

static const char copy[] = "kernel @copy(%x: view<MxNxi32, strides [P, Q]>, %y: view<Mx4xi32>) grid [M] {\n"
                           "  %m = program_id 0\n"
                           "  %u = load %x[%m, 0] : tile<1x4xi32>\n"
                           "  store %u, %y[%m, 0]\n"
                           "}\n";

START_TEST(strided_tensors)
{
    int32_t x[12], y[12];
    for (int i = 0; i < 12; i++)
        x[i] = i;
    const tg_data_type i32 = {TG_CODE_INT, 32, 1};
    int64_t shape[2] = {3, 4}, strides[2] = {1, 3};
    tg_tensor tx = {
        .data = x, .device = {TG_DEVICE_CPU, 0}, .ndim = 2, .dtype = i32, .shape = shape, .strides = strides};
    tg_tensor ty = {.data = y, .device = {TG_DEVICE_CPU, 0}, .ndim = 2, .dtype = i32, .shape = shape};
    tg_kernel_handle *k = compile(copy, NULL);
    int status = tg_kernel_launch(k, (const tg_tensor *[]){&tx, &ty}, 2, NULL, 0);
    ck_assert_msg(status == 0, "%s", tg_last_error(ctx));
    for (int i = 0; i < 12; i++)
        ck_assert_int_eq(y[i], x[i / 4 + i % 4 * 3]);
    shape[1] = 3;
    ck_assert_int_ne(tg_kernel_launch(k, (const tg_tensor *[]){&tx, &ty}, 2, NULL, 0), 0);
    ck_assert_ptr_nonnull(strstr(tg_last_error(ctx), "%y: size 1 is 3 and must be 4"));
    tg_kernel_destroy(k);
}
END_TEST

START_TEST(wrong_kernels)
{
    tg_kernel_handle *k = (tg_kernel_handle *)&ctx;
#define WRONG(text, options, message)                                                                                  \
    do {                                                                                                               \
        ck_assert_int_ne(tg_kernel_compile(ctx, text, strlen(text), "test.tile", options, &k), 0);                     \
        ck_assert_msg(strstr(tg_last_error(ctx), message) != NULL, "%s", tg_last_error(ctx));                          \
        ck_assert_ptr_eq(k, &ctx);                                                                                     \
    } while (0)
    tg_kernel_options o = TG_KERNEL_OPTIONS_INIT;
    WRONG("", NULL, "there is no kernel");
    WRONG("kernel @f(%x: view<Nxf32>) grid [N] {\n  %y = add %z, 1\n}", NULL, "test.tile:2: error: %z is not defined");
    o.target = "abacus";
    WRONG(axpy, &o, "abacus");
    o.target = "sm_80";
    WRONG(axpy, &o, "this machine cannot run code for sm_80");
    o = (tg_kernel_options)TG_KERNEL_OPTIONS_INIT;
    o.kernel = "axpby";
    WRONG(axpy, &o, "there is no kernel @axpby");
    o = (tg_kernel_options)TG_KERNEL_OPTIONS_INIT;
    o.opt_level = 9;
    WRONG(axpy, &o, "opt_level is 9");
    o = (tg_kernel_options)TG_KERNEL_OPTIONS_INIT;
    o.schedule = "axpy: rows = 3";
    WRONG(axpy, &o, "schedule:1: error: no kernel with a problem like 'axpy' chooses rows");
    o = (tg_kernel_options)TG_KERNEL_OPTIONS_INIT;
    o.n_defines = 1;
    o.defines = &(tg_define){"BX", "3"};
    WRONG(axpy, &o, "BX");
    o.defines = &(tg_define){"BN", NULL};
    WRONG(axpy, &o, "definition 0 has no value");
    o.defines = &(tg_define){NULL, "3"};
    WRONG(axpy, &o, "definition 0 has no name");
    o.defines = NULL;
    WRONG(axpy, &o, "n_defines is 1 and defines is NULL");
    o.n_defines = 0;
    ck_assert_int_ne(tg_kernel_compile(ctx, axpy, strlen(axpy), NULL, &o, &k), 0);
    ck_assert_ptr_nonnull(strstr(tg_last_error(ctx), "the text has no name"));
    o.size = 1;
    WRONG(axpy, &o, "TG_KERNEL_OPTIONS_INIT");
#undef WRONG
    ck_assert_int_ne(tg_kernel_load_file(ctx, "/nonexistent/x.tile", NULL, &k), 0);
    ck_assert_ptr_nonnull(strstr(tg_last_error(ctx), "/nonexistent/x.tile"));
}
END_TEST

START_TEST(options)
{
    static struct data d;
    for (int level = 0; level <= 3; level++) {
        tg_kernel_options o = TG_KERNEL_OPTIONS_INIT;
        tg_define define = {"BN", "8"};
        o.opt_level = level;
        o.target = "x86-64-v2";
        o.kernel = "axpy";
        o.n_defines = 1;
        o.defines = &define;
        o.schedule = "axpy: unroll = 2";
        data_init(&d);
        tg_kernel_handle *k = compile(axpy, &o);
        ck_assert_msg(launch(k, &d) == 0, "%s", tg_last_error(ctx));
        ck_assert_float_eq(d.y[7], 1014);
        tg_kernel_destroy(k);
    }
}
END_TEST

// The callers are threads with little stack of their own, and blocks nest as deep as they may, or deeper.
struct nest {
    int depth, status;
    char message[100];
};

static void *compile_nest(void *nest)
{
    struct nest *n = nest;
    tg_kernel_handle *k = NULL;
    char *text;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    fprintf(out, "kernel @k(%%y: view<Mxf32>) grid [1] {\n");
    for (int i = 0; i < n->depth; i++)
        fprintf(out, "if eq(M, 1) {\n");
    fprintf(out, "%%a = load %%y[0] : tile<1xf32>\nstore %%a, %%y[0]\n");
    for (int i = 0; i <= n->depth; i++)
        fprintf(out, "}\n");
    fclose(out);
    n->status = tg_kernel_compile(ctx, text, length, "nest.tile", NULL, &k);
    snprintf(n->message, sizeof n->message, "%s", tg_last_error(ctx));
    tg_kernel_destroy(k);
    free(text);
    return NULL;
}

START_TEST(callers_with_little_stack)
{
    struct nest nests[] = {{.depth = 190}, {.depth = 1000}};
    for (int i = 0; i < 2; i++) {
        pthread_t thread;
        pthread_attr_t attributes;
        ck_assert_int_eq(pthread_attr_init(&attributes), 0);
        ck_assert_int_eq(pthread_attr_setstacksize(&attributes, 64 << 10), 0);
        ck_assert_int_eq(pthread_create(&thread, &attributes, compile_nest, &nests[i]), 0);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        pthread_attr_destroy(&attributes);
    }
    ck_assert_msg(nests[0].status == 0, "%s", nests[0].message);
    ck_assert_int_eq(nests[1].status, 1);
    ck_assert_msg(strstr(nests[1].message, "nest.tile:201: error: nested too deeply"), "%s", nests[1].message);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("api");
    TCase *tests = tcase_create("api");
    tcase_set_timeout(tests, 120);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, compile_and_launch);
    tcase_add_test(tests, empty_tensors);
    tcase_add_test(tests, wrong_tensors);
    tcase_add_test(tests, strided_tensors);
    tcase_add_test(tests, wrong_kernels);
    tcase_add_test(tests, options);
    tcase_add_test(tests, callers_with_little_stack);
    suite_add_tcase(suite, tests);
    return suite_run(suite, CK_NOFORK);
}
