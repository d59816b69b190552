// Every allocation of tegula's own code may fail, in whatever it is asked to do: the call then returns an error,
// or does the same without that memory; what it held is released (the build with ASan sees to that).
//
// LLVM's allocations are left out: it ends the process when one fails, by C++'s operator new or by its own choice.
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/api.h"
#include "frontend/model.h"
#include "tests/unit/failing_allocation.h"
#include "tests/unit/suite.h"
#include "tools/tensor_file.h"

#define MOST_ALLOCATIONS 100000 // of a task; none comes near

// Does the task once. Returns 0 and what came out, as text; or 1 and the message, "" where nothing could hold one.
typedef int task(const char *path, char *text, size_t size);

static int finish(tg_context *ctx, int status, char *text, size_t size)
{
    if (status)
        snprintf(text, size, "%s", tg_last_error(ctx));
    tg_context_destroy(ctx);
    return status;
}

static void print_bytes(const void *data, size_t n, char *text, size_t size)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum = sum * 31 + ((const uint8_t *)data)[i];
    snprintf(text, size, "%zu bytes %llx", n, (unsigned long long)sum);
}

// ---- Tasks -----------------------------------------------------------------------------------------------------

static const tg_data_type f32 = {TG_CODE_FLOAT, 32, 1};

static tg_tensor tensor(float *data, int n_dims, int64_t *shape)
{
    return (tg_tensor){data, {TG_DEVICE_CPU, 0}, n_dims, f32, shape, NULL, 0};
}

static char cache[] = "/tmp/test_out_of_memory-XXXXXX"; // a folder

static int load_with(const tg_model_options *options, const char *path, char *text, size_t size)
{
    static float picture[28 * 28];
    float logits[10] = {0};
    tg_tensor image = tensor(picture, 4, (int64_t[]){1, 1, 28, 28}), out = tensor(logits, 2, (int64_t[]){1, 10});
    tg_context *ctx;
    tg_model_handle *model = NULL;
    *text = 0;
    if (tg_context_create(2, &ctx))
        return 1;
    int status = tg_model_load_file(ctx, path, options, &model) || tg_model_run(model, &image, 1, &out, 1);
    print_bytes(logits, sizeof logits, text, size);
    tg_model_destroy(model);
    return finish(ctx, status, text, size);
}

static int load_and_run(const char *path, char *text, size_t size)
{
    return load_with(NULL, path, text, size);
}

// Makes no allocations that could fail, nor checks, which make some.
static void empty_cache(void)
{
    DIR *dir = opendir(cache);
    for (const struct dirent *d = dir ? readdir(dir) : NULL; d; d = readdir(dir))
        unlinkat(dirfd(dir), d->d_name, 0);
    if (dir)
        closedir(dir);
}

static int load_cached(const char *path, char *text, size_t size)
{
    tg_model_options options = TG_MODEL_OPTIONS_INIT;
    options.cache_dir = cache;
    return load_with(&options, path, text, size);
}

// Compiles the model and stores it.
static int store_and_run(const char *path, char *text, size_t size)
{
    empty_cache();
    return load_cached(path, text, size);
}

static int compile_and_launch(const char *path, char *text, size_t size)
{
    float x[100], y[100] = {0};
    for (int i = 0; i < 100; i++)
        x[i] = (float)i;
    const tg_tensor in = tensor(x, 1, (int64_t[]){100}), out = tensor(y, 1, (int64_t[]){100});
    tg_context *ctx;
    tg_kernel_handle *k = NULL;
    *text = 0;
    if (tg_context_create(2, &ctx))
        return 1;
    int status = tg_kernel_load_file(ctx, path, NULL, &k) ||
                 tg_kernel_launch(k, (const tg_tensor *[]){&in, &in, &out}, 3, NULL, 0);
    print_bytes(y, sizeof y, text, size);
    tg_kernel_destroy(k);
    return finish(ctx, status, text, size);
}

// What the functions that are not public are run by.
struct reading {
    const char *path;
    char *text;
    size_t size;
    struct model *model;
    struct arena arena;
};

static int read_in_context(api_body *body, const char *path, char *text, size_t size)
{
    tg_context *ctx;
    struct reading r = {.path = path, .text = text, .size = size};
    arena_init(&r.arena);
    *text = 0;
    if (tg_context_create(1, &ctx))
        return 1;
    int status = api_attempt(ctx, body, &r);
    model_destroy(r.model);
    arena_finish(&r.arena);
    return finish(ctx, status, text, size);
}

static int read_model_body(void *reading, struct diags *diags)
{
    struct reading *r = reading;
    r->model = model_read_file(r->path, diags);
    if (r->model)
        snprintf(r->text, r->size, "%zu nodes", r->model->graph->n_nodes);
    return !r->model;
}

static int read_model(const char *path, char *text, size_t size)
{
    return read_in_context(read_model_body, path, text, size);
}

static int read_tensor_body(void *reading, struct diags *diags)
{
    struct reading *r = reading;
    struct tensor_file t;
    int status = tensor_file_read(r->path, &r->arena, &t, diags);
    if (!status)
        print_bytes(t.data, (size_t)t.bytes, r->text, r->size);
    return status;
}

static int read_tensor(const char *path, char *text, size_t size)
{
    return read_in_context(read_tensor_body, path, text, size);
}

// ---- Failures --------------------------------------------------------------------------------------------------

// What may be said where memory has run out. Without a context there is nobody to ask for the message.
static bool is_fit(const char *message)
{
    return !*message || strstr(message, "memory");
}

static void fail_all(task *run, const char *path, enum allocation_failures which)
{
    char usual[1000], text[1000];
    int status = run(path, usual, sizeof usual);
    long n = 0;
    for (;; n++) {
        ck_assert_msg(n < MOST_ALLOCATIONS, "%s: there is no end to its allocations", path);
        allocations_fail_after(n, which);
        int now = run(path, text, sizeof text);
        bool failed = allocations_recover(), same = now == status && !strcmp(text, usual);
        ck_assert_msg(same || (failed && now && is_fit(text)), "%s: allocation %ld: status %d, %s", path, n, now, text);
        if (!failed)
            break;
    }
    ck_assert_int_gt(n, 0);
}

static const struct {
    task *run;
    const char *path;
} tasks[] = {
    {load_and_run, EXAMPLE_DIGITS "/digits.onnx"},
    {store_and_run, EXAMPLE_DIGITS "/digits.onnx"},
    {load_cached, EXAMPLE_DIGITS "/digits.onnx"}, // it is there: the one before has stored it
    {compile_and_launch, EXAMPLE_KERNELS "/vector_add.tile"},
    {compile_and_launch, EXAMPLE_DIGITS "/README.md"}, // is no kernel
    {read_model, FUZZ_CORPUS "/onnx/functions.onnx"},
    {read_model, FUZZ_CORPUS "/onnx/external.onnx"},
    {read_model, FUZZ_CORPUS "/onnx/tensors.onnx"},
    {read_model, FUZZ_CORPUS "/onnx/recursion.onnx"},
    {read_model, FUZZ_CORPUS "/onnx/undefined.onnx"},
    {read_model, FUZZ_CORPUS "/onnx/cut.onnx"},
    {read_tensor, FUZZ_CORPUS "/tensor/f4-fortran-big.npy"},
    {read_tensor, FUZZ_CORPUS "/tensor/typed-half.pb"},
    {read_tensor, FUZZ_CORPUS "/tensor/huge-dims.pb"},
    {read_tensor, FUZZ_CORPUS "/tensor/length.npy"},
};

START_TEST(test_one_fails)
{
    fail_all(tasks[_i].run, tasks[_i].path, FAIL_ONCE);
}
END_TEST

START_TEST(test_all_fail_from_one_on)
{
    fail_all(tasks[_i].run, tasks[_i].path, FAIL_EVER);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("out of memory");
    if (!mkdtemp(cache))
        return 1;
    TCase *tc = tcase_create("failures");
    const int n = sizeof tasks / sizeof tasks[0];
    tcase_add_loop_test(tc, test_one_fails, 0, n);
    tcase_add_loop_test(tc, test_all_fail_from_one_on, 0, n);
    suite_add_tcase(suite, tc);
    int status = suite_run(suite, CK_NOFORK);
    empty_cache();
    rmdir(cache);
    return status;
}
