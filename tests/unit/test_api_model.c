// Models by the public API: the digit classifier on batches of any size, memory of the caller's and of the library's,
// and what is said to models, options and tensors that are wrong.
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tegula/tegula.h>

#include "tests/unit/suite.h"

#define MODEL EXAMPLE_DIGITS "/digits.onnx"
#define PIXELS (28 * 28)
#define MOST 5 // pictures

static tg_context *ctx;
static float pictures[MOST][PIXELS];
static const int shown[MOST] = {0, 2, 3, 5, 7};

static const tg_data_type f32 = {TG_CODE_FLOAT, 32, 1};

static void read_picture(int digit, float *pixels)
{
    char path[400];
    snprintf(path, sizeof path, "%s/samples/digit_%d.npy", EXAMPLE_DIGITS, digit);
    FILE *file = fopen(path, "rb");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(fseek(file, -(long)(PIXELS * sizeof(float)), SEEK_END), 0);
    ck_assert_int_eq((int)fread(pixels, sizeof(float), PIXELS, file), PIXELS);
    fclose(file);
}

static void setup(void)
{
    ck_assert_int_eq(tg_context_create(2, &ctx), 0);
    for (int i = 0; i < MOST; i++)
        read_picture(shown[i], pictures[i]);
}

static void teardown(void)
{
    tg_context_destroy(ctx);
}

static tg_model_handle *load(const tg_model_options *options)
{
    tg_model_handle *model = NULL;
    int status = tg_model_load_file(ctx, MODEL, options, &model);
    ck_assert_msg(status == 0, "%s", tg_last_error(ctx));
    ck_assert_ptr_nonnull(model);
    return model;
}

// n pictures, and their logits.
struct data {
    float logits[MOST * 10 + 1];
    int64_t image_shape[4], logits_shape[2];
    tg_tensor image, out;
};

static void data_init(struct data *d, int n)
{
    memset(d, 0, sizeof *d);
    const int64_t image_shape[] = {n, 1, 28, 28}, logits_shape[] = {n, 10};
    memcpy(d->image_shape, image_shape, sizeof image_shape);
    memcpy(d->logits_shape, logits_shape, sizeof logits_shape);
    d->image = (tg_tensor){pictures, {TG_DEVICE_CPU, 0}, 4, f32, d->image_shape, NULL, 0};
    d->out = (tg_tensor){d->logits, {TG_DEVICE_CPU, 0}, 2, f32, d->logits_shape, NULL, 0};
}

static void check_digits(const float *logits, int n)
{
    for (int i = 0; i < n; i++) {
        int best = 0;
        for (int j = 1; j < 10; j++)
            best = logits[i * 10 + j] > logits[i * 10 + best] ? j : best;
        ck_assert_int_eq(best, shown[i]);
    }
}

START_TEST(batches_of_any_size)
{
    static struct data d;
    tg_model_handle *model = load(NULL);
    const tg_model *code = tg_model_code(model);
    ck_assert_int_eq(code->n_inputs, 1);
    ck_assert_int_eq(code->n_outputs, 1);
    ck_assert_str_eq(code->inputs[0].name, "image");
    ck_assert_str_eq(code->outputs[0].name, "logits");
    ck_assert_int_eq(code->inputs[0].rank, 4);
    ck_assert_int_lt(code->inputs[0].dims[0], 0);
    // Smaller after larger: what a run works in is kept.
    const int batches[] = {1, MOST, 2};
    for (int i = 0; i < 3; i++) {
        data_init(&d, batches[i]);
        ck_assert_msg(tg_model_run(model, &d.image, 1, &d.out, 1) == 0, "%s", tg_last_error(ctx));
        check_digits(d.logits, batches[i]);
        ck_assert_float_eq(d.logits[batches[i] * 10], 0);
    }
    tg_model_destroy(model);
    tg_model_destroy(NULL);
}
END_TEST

// Threads that share a model, each with batches and mistakes of its own. Checks are made by the test's thread.
struct user {
    tg_model_handle *model;
    int batch;
    bool alike; // every run gave the same
    float logits[MOST * 10];
    char message[200];
};

static void *use(void *user)
{
    struct user *u = user;
    struct data d;
    u->alike = true;
    for (int i = 0; i < 50; i++) {
        data_init(&d, u->batch);
        if (tg_model_run(u->model, &d.image, 1, &d.out, 1))
            u->alike = false;
        if (i)
            u->alike &= !memcmp(u->logits, d.logits, sizeof u->logits);
        memcpy(u->logits, d.logits, sizeof u->logits);
        d.logits_shape[1] = 11 + u->batch;
        if (!tg_model_run(u->model, &d.image, 1, &d.out, 1))
            u->alike = false;
    }
    snprintf(u->message, sizeof u->message, "%s", tg_last_error(ctx));
    return NULL;
}

static void *compile_and_use(void *user)
{
    struct user *u = user;
    if (tg_model_load_file(ctx, MODEL, NULL, &u->model))
        return NULL;
    use(u);
    tg_model_destroy(u->model);
    return NULL;
}

START_TEST(threads_share_a_context)
{
    static struct user users[6];
    pthread_t threads[6];
    tg_model_handle *model = load(NULL);
    for (int i = 0; i < 6; i++) {
        users[i] = (struct user){.model = model, .batch = 1 + i % MOST};
        ck_assert_int_eq(pthread_create(&threads[i], NULL, i < 4 ? use : compile_and_use, &users[i]), 0);
    }
    for (int i = 0; i < 6; i++) {
        pthread_join(threads[i], NULL);
        ck_assert_int_eq(users[i].alike, true);
        check_digits(users[i].logits, users[i].batch);
        char size[20];
        snprintf(size, sizeof size, "%d", 11 + users[i].batch);
        ck_assert_msg(strstr(users[i].message, size) != NULL, "%s", users[i].message);
    }
    ck_assert_str_eq(tg_last_error(ctx), ""); // of this thread
    tg_model_destroy(model);
}
END_TEST

START_TEST(library_memory)
{
    static struct data d;
    tg_model_handle *model = load(NULL);
    data_init(&d, 3);
    int64_t sizes[2] = {0};
    ck_assert_int_eq(tg_model_output_sizes(model, &d.image, 1, (int64_t *const[]){sizes}, 1), 0);
    ck_assert_int_eq(sizes[0], 3);
    ck_assert_int_eq(sizes[1], 10);
    int64_t shape[2] = {0};
    tg_tensor out = {.shape = shape};
    ck_assert_msg(tg_model_run(model, &d.image, 1, &out, 1) == 0, "%s", tg_last_error(ctx));
    ck_assert_int_eq(out.ndim, 2);
    ck_assert_int_eq(out.dtype.bits, 32);
    ck_assert_int_eq(shape[0], 3);
    ck_assert_int_eq(shape[1], 10);
    check_digits(out.data, 3);
    free(out.data);
    tg_model_destroy(model);
}
END_TEST

START_TEST(options)
{
    static struct data d;
    FILE *file = fopen(MODEL, "rb");
    ck_assert_ptr_nonnull(file);
    static char bytes[1 << 20];
    size_t length = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    for (int level = 0; level <= 3; level++) {
        tg_model_options o = TG_MODEL_OPTIONS_INIT;
        tg_model_size size = {"N", 2};
        o.opt_level = level;
        o.target = "x86-64-v2";
        o.n_dims = 1;
        o.dims = &size;
        o.schedule = "product*: rows = 3, panel = 8\n*: register_rows = 2 # of all kernels";
        tg_model_handle *model;
        int status = tg_model_compile(ctx, bytes, length, "bytes.onnx", &o, &model);
        ck_assert_msg(status == 0, "%s", tg_last_error(ctx));
        ck_assert_int_eq(tg_model_code(model)->inputs[0].dims[0], 2);
        data_init(&d, 2);
        ck_assert_msg(tg_model_run(model, &d.image, 1, &d.out, 1) == 0, "%s", tg_last_error(ctx));
        check_digits(d.logits, 2);
        data_init(&d, 3);
        ck_assert_int_ne(tg_model_run(model, &d.image, 1, &d.out, 1), 0);
        ck_assert_ptr_nonnull(strstr(tg_last_error(ctx), "input 'image': size 0 is 3 and must be 2"));
        tg_model_destroy(model);
    }
}
END_TEST

// g (float[2] x, float[2] w = {1, 2}) => (float[2] y) { y = Mul(x, w) }
// clang-format off
static const uint8_t with_default[] = {
    0x08, 0x0a, 0x3a, 0x5b, 0x0a, 0x10, 0x0a, 0x01, 0x78, 0x0a, 0x01, 0x77, 0x12, 0x01, 0x79, 0x22, 0x03, 0x4d, 0x75,
    0x6c, 0x3a, 0x00, 0x12, 0x01, 0x67, 0x2a, 0x11, 0x08, 0x02, 0x10, 0x01, 0x22, 0x08, 0x00, 0x00, 0x80, 0x3f, 0x00,
    0x00, 0x00, 0x40, 0x42, 0x01, 0x77, 0x5a, 0x0f, 0x0a, 0x01, 0x78, 0x12, 0x0a, 0x0a, 0x08, 0x08, 0x01, 0x12, 0x04,
    0x0a, 0x02, 0x08, 0x02, 0x5a, 0x0f, 0x0a, 0x01, 0x77, 0x12, 0x0a, 0x0a, 0x08, 0x08, 0x01, 0x12, 0x04, 0x0a, 0x02,
    0x08, 0x02, 0x62, 0x0f, 0x0a, 0x01, 0x79, 0x12, 0x0a, 0x0a, 0x08, 0x08, 0x01, 0x12, 0x04, 0x0a, 0x02, 0x08, 0x02,
    0x42, 0x04, 0x0a, 0x00, 0x10, 0x15
};
// clang-format on

// Of inputs x = {3, 3} and, if there are two, w = {5, 7}.
static void check_product(const tg_model_options *o, int n_inputs, float first, float second)
{
    tg_model_handle *model;
    float x[2] = {3, 3}, w[2] = {5, 7}, y[2];
    int64_t two = 2;
    tg_tensor in[2] = {{x, {TG_DEVICE_CPU, 0}, 1, f32, &two, NULL, 0}, {w, {TG_DEVICE_CPU, 0}, 1, f32, &two, NULL, 0}};
    tg_tensor out = {y, {TG_DEVICE_CPU, 0}, 1, f32, &two, NULL, 0};
    int status = tg_model_compile(ctx, with_default, sizeof with_default, "bytes.onnx", o, &model);
    ck_assert_msg(status == 0, "%s", tg_last_error(ctx));
    ck_assert_int_eq(tg_model_code(model)->n_inputs, n_inputs);
    ck_assert_msg(tg_model_run(model, in, n_inputs, &out, 1) == 0, "%s", tg_last_error(ctx));
    ck_assert_float_eq(y[0], first);
    ck_assert_float_eq(y[1], second);
    tg_model_destroy(model);
}

START_TEST(inputs_with_a_default)
{
    tg_model_options o = TG_MODEL_OPTIONS_INIT;
    o.inputs = (const char *const[]){"w", "x"};
    check_product(NULL, 1, 3, 6);
    o.n_inputs = 1;
    check_product(&o, 2, 15, 21);
    o.n_inputs = 2; // one that has no default
    check_product(&o, 2, 15, 21);
    tg_model_handle *model = NULL;
    o.inputs = (const char *const[]){"z"};
    o.n_inputs = 1;
    ck_assert_int_ne(tg_model_compile(ctx, with_default, sizeof with_default, "bytes.onnx", &o, &model), 0);
    ck_assert_ptr_nonnull(strstr(tg_last_error(ctx), "bytes.onnx: error: the model has no input 'z'; it has 'x'"));
    o.n_inputs = SIZE_MAX;
    ck_assert_int_ne(tg_model_compile(ctx, with_default, sizeof with_default, "bytes.onnx", &o, &model), 0);
    ck_assert_ptr_nonnull(strstr(tg_last_error(ctx), "more than 10000 names of inputs"));
    ck_assert_ptr_null(model);
}
END_TEST

START_TEST(wrong_tensors)
{
    static struct data d, before;
    tg_model_handle *model = load(NULL);
#define WRONG(change, message)                                                                                         \
    do {                                                                                                               \
        data_init(&d, 3);                                                                                              \
        change;                                                                                                        \
        before = d;                                                                                                    \
        ck_assert_int_ne(tg_model_run(model, &d.image, 1, &d.out, 1), 0);                                              \
        ck_assert_msg(strstr(tg_last_error(ctx), message) != NULL, "%s", tg_last_error(ctx));                          \
        ck_assert_int_eq(memcmp(&d, &before, sizeof d), 0);                                                            \
    } while (0)
    WRONG(d.image.ndim = 3, "input 'image' has 3 dimensions and must have 4");
    WRONG(d.image.dtype.bits = 64, "input 'image' has elements of code 2, 64 bits");
    WRONG(d.image.shape[2] = 27, "input 'image': size 2 is 27 and must be 28");
    WRONG(d.image.shape[0] = -3, "input 'image': size 0 is -3");
    WRONG(d.image.shape[0] = INT64_MAX / 2, "input 'image' is too large");
    WRONG(d.image.data = NULL, "input 'image' has no memory");
    WRONG(d.image.byte_offset = 2, "input 'image' is not aligned");
    WRONG(d.image.device.device_type = TG_DEVICE_CUDA, "input 'image' is on a device of type 2");
    WRONG(d.out.shape[0] = 4, "output 'logits': size 0 is 4 and must be 3");
    WRONG(d.out.data = pictures, "output 'logits' shares memory with 'image'");
#undef WRONG
    data_init(&d, 3);
    ck_assert_int_ne(tg_model_run(model, &d.image, 2, &d.out, 1), 0);
    ck_assert_ptr_nonnull(strstr(tg_last_error(ctx), "has 1 inputs and 1 outputs, not 2 and 1"));
    ck_assert_int_ne(tg_model_output_sizes(model, &d.image, 1, NULL, 0), 0);
    ck_assert_ptr_nonnull(strstr(tg_last_error(ctx), "has 1 inputs and 1 outputs, not 1 and 0"));
    // Sizes for which there is no memory to work in.
    d.image.shape[0] = INT64_C(1) << 40;
    ck_assert_int_ne(tg_model_run(model, &d.image, 1, &d.out, 1), 0);
    ck_assert_ptr_nonnull(strstr(tg_last_error(ctx), "there is no memory for the"));
    d.image.shape[0] = 3;
    ck_assert_msg(tg_model_run(model, &d.image, 1, &d.out, 1) == 0, "%s", tg_last_error(ctx));
    check_digits(d.logits, 3);
    tg_model_destroy(model);
}
END_TEST

START_TEST(wrong_models)
{
    tg_model_handle *model = (tg_model_handle *)&ctx;
#define WRONG(call, message)                                                                                           \
    do {                                                                                                               \
        ck_assert_int_ne(call, 0);                                                                                     \
        ck_assert_msg(strstr(tg_last_error(ctx), message) != NULL, "%s", tg_last_error(ctx));                          \
        ck_assert_ptr_eq(model, &ctx);                                                                                 \
    } while (0)
    WRONG(tg_model_load_file(ctx, "/nonexistent/x.onnx", NULL, &model), "/nonexistent/x.onnx");
    WRONG(tg_model_compile(ctx, "no model", 8, "bytes.onnx", NULL, &model), "bytes.onnx");
    WRONG(tg_model_compile(ctx, NULL, 0, "bytes.onnx", NULL, &model), "bytes.onnx");
    tg_model_options o = TG_MODEL_OPTIONS_INIT;
    o.target = "abacus";
    WRONG(tg_model_load_file(ctx, MODEL, &o, &model), "abacus");
    o.target = "sm_80";
    WRONG(tg_model_load_file(ctx, MODEL, &o, &model), "this machine cannot run code for sm_80");
    o = (tg_model_options)TG_MODEL_OPTIONS_INIT;
    o.opt_level = -1;
    WRONG(tg_model_load_file(ctx, MODEL, &o, &model), "opt_level is -1");
    o = (tg_model_options)TG_MODEL_OPTIONS_INIT;
    o.schedule = "product*: rows = x";
    WRONG(tg_model_load_file(ctx, MODEL, &o, &model), "schedule:1: error: expected 'rows = NUMBER'");
    o.schedule = "\nnothing: rows = 1";
    WRONG(tg_model_load_file(ctx, MODEL, &o, &model), "schedule:2: error: no kernel has a name or a problem");
    o = (tg_model_options)TG_MODEL_OPTIONS_INIT;
    tg_model_size size = {"M", 1};
    o.n_dims = 1;
    o.dims = &size;
    WRONG(tg_model_load_file(ctx, MODEL, &o, &model), "no input has an open size called 'M'");
    size = (tg_model_size){"N", -1};
    WRONG(tg_model_load_file(ctx, MODEL, &o, &model), "N=-1 is no size");
    size.name = NULL;
    WRONG(tg_model_load_file(ctx, MODEL, &o, &model), "a size in the options has no name");
    o.dims = NULL;
    WRONG(tg_model_load_file(ctx, MODEL, &o, &model), "n_dims is not 0 and dims is NULL");
    o.n_dims = SIZE_MAX;
    WRONG(tg_model_load_file(ctx, MODEL, &o, &model), "more than 10000 sizes");
    o.n_dims = 0;
    o.n_inputs = 1;
    WRONG(tg_model_load_file(ctx, MODEL, &o, &model), "n_inputs is not 0 and inputs is NULL");
    o.inputs = (const char *const[]){NULL};
    WRONG(tg_model_load_file(ctx, MODEL, &o, &model), "an input in the options has no name");
    WRONG(tg_model_load_file(ctx, NULL, NULL, &model), "the model has no name or path");
    WRONG(tg_model_compile(ctx, "", 0, NULL, NULL, &model), "the model has no name or path");
    o.size = 1;
    WRONG(tg_model_load_file(ctx, MODEL, &o, &model), "TG_MODEL_OPTIONS_INIT");
#undef WRONG
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("api_model");
    TCase *tests = tcase_create("api_model");
    tcase_set_timeout(tests, 120);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, batches_of_any_size);
    tcase_add_test(tests, threads_share_a_context);
    tcase_add_test(tests, library_memory);
    tcase_add_test(tests, options);
    tcase_add_test(tests, inputs_with_a_default);
    tcase_add_test(tests, wrong_tensors);
    tcase_add_test(tests, wrong_models);
    suite_add_tcase(suite, tests);
    return suite_run(suite, CK_NOFORK);
}
