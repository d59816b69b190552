// Caches of compiled models by the public API: what is found again and what is not, entries that are damaged, writers
// that are killed, full devices, processes that share a folder.
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <tegula/tegula.h>

#include "ir/bytes.h"
#include "tests/unit/suite.h"

#define MODEL EXAMPLE_DIGITS "/digits.onnx"
#define PIXELS (28 * 28)

static char folder[200], cache[300];
static tg_context *ctx;

static void setup(void)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/cache-XXXXXX", tmp ? tmp : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(cache, sizeof cache, "%s/of/models", folder); // is made with the folder around it
    ck_assert_int_eq(tg_context_create(1, &ctx), 0);
}

static void teardown(void)
{
    char command[300];
    tg_context_destroy(ctx);
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    ck_assert_int_eq(system(command), 0);
}

static tg_model_options options(void)
{
    tg_model_options o = TG_MODEL_OPTIONS_INIT;
    o.cache_dir = cache;
    return o;
}

// ---- Files -----------------------------------------------------------------------------------------------------

struct text {
    char *data;
    size_t size;
};

static struct text read_file(const char *path)
{
    struct stat st;
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f && !fstat(fileno(f), &st), "%s", path);
    struct text t = {malloc((size_t)st.st_size + 1), (size_t)st.st_size};
    ck_assert_uint_eq(fread(t.data, 1, t.size, f), t.size);
    fclose(f);
    return t;
}

static void write_file(const char *path, const void *data, size_t size)
{
    FILE *f = fopen(path, "wb");
    ck_assert_msg(f && fwrite(data, 1, size, f) == size && !fclose(f), "%s", path);
}

// How many files the cache has; the path of one.
static int files(char path[600])
{
    int n = 0;
    DIR *dir = opendir(cache);
    for (const struct dirent *d = dir ? readdir(dir) : NULL; d; d = readdir(dir))
        if (d->d_name[0] != '.') {
            n++;
            if (path)
                snprintf(path, 600, "%s/%s", cache, d->d_name);
        }
    if (dir)
        closedir(dir);
    return n;
}

// ---- Loads -----------------------------------------------------------------------------------------------------

// The sum of the logits' bits, which tells whether a model is right.
static uint64_t run(tg_model_handle *model)
{
    static float picture[PIXELS];
    float logits[10];
    int64_t image_shape[] = {1, 1, 28, 28}, logits_shape[] = {1, 10};
    const tg_data_type f32 = {TG_CODE_FLOAT, 32, 1};
    for (int i = 0; i < PIXELS; i++)
        picture[i] = (float)(i % 17) / 17;
    tg_tensor image = {picture, {TG_DEVICE_CPU, 0}, 4, f32, image_shape, NULL, 0};
    tg_tensor out = {logits, {TG_DEVICE_CPU, 0}, 2, f32, logits_shape, NULL, 0};
    ck_assert_msg(!tg_model_run(model, &image, 1, &out, 1), "%s", tg_last_error(ctx));
    uint64_t sum = 0;
    for (int i = 0; i < 10; i++) {
        uint32_t bits;
        memcpy(&bits, &logits[i], sizeof bits);
        sum = sum * 31 + bits;
    }
    return sum;
}

// Loads the digits, by which options ever, and checks what they say. Whether they came from the cache.
static bool load(const char *path, const tg_model_options *o)
{
    static uint64_t by_target[2]; // this machine's, and the one that tests ask for
    uint64_t *right = &by_target[o->target != NULL];
    tg_model_handle *model = NULL;
    if (!*right) {
        tg_model_options plain = *o;
        plain.cache_dir = NULL;
        ck_assert_msg(!tg_model_load_file(ctx, MODEL, &plain, &model), "%s", tg_last_error(ctx));
        ck_assert(!tg_model_cached(model));
        *right = run(model);
        tg_model_destroy(model);
    }
    ck_assert_msg(!tg_model_load_file(ctx, path, o, &model), "%s", tg_last_error(ctx));
    bool cached = tg_model_cached(model);
    ck_assert_uint_eq(run(model), *right);
    tg_model_destroy(model);
    return cached;
}

START_TEST(what_was_compiled_is_found)
{
    tg_model_options o = options();
    ck_assert(!load(MODEL, &o));
    ck_assert(load(MODEL, &o));
    ck_assert_int_eq(files(NULL), 1);
    // Several at once, and one that outlives the entry.
    tg_model_handle *a = NULL, *b = NULL;
    char path[600];
    ck_assert(!tg_model_load_file(ctx, MODEL, &o, &a) && !tg_model_load_file(ctx, MODEL, &o, &b));
    files(path);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_uint_eq(run(a), run(b));
    tg_model_destroy(a);
    ck_assert(!load(MODEL, &o));
    run(b);
    tg_model_destroy(b);
}
END_TEST

START_TEST(what_differs_is_compiled)
{
    tg_model_options o = options();
    ck_assert(!load(MODEL, &o));
    o.opt_level = 1;
    ck_assert(!load(MODEL, &o));
    ck_assert(load(MODEL, &o));
    o.schedule = "# none\n";
    ck_assert(load(MODEL, &o)); // says nothing
    o = options();
    o.n_dims = 1;
    o.dims = &(tg_model_size){"N", 1};
    ck_assert(!load(MODEL, &o));
    ck_assert(load(MODEL, &o));
    o = options();
    o.target = "v2";
    ck_assert(!load(MODEL, &o));
    ck_assert(load(MODEL, &o));
    // Another name, which messages have; other bytes.
    char copy[300];
    snprintf(copy, sizeof copy, "%s/copy.onnx", folder);
    struct text model = read_file(MODEL);
    write_file(copy, model.data, model.size);
    o = options();
    ck_assert(!load(copy, &o));
    ck_assert(load(copy, &o));
    const char extra[] = {0x32, 0x01, 'x'}; // ModelProto.doc_string
    FILE *f = fopen(copy, "ab");
    ck_assert(f && fwrite(extra, 1, sizeof extra, f) == sizeof extra && !fclose(f));
    ck_assert(!load(copy, &o));
    ck_assert(load(MODEL, &o));
    free(model.data);
}
END_TEST

START_TEST(models_from_memory)
{
    tg_model_options o = options();
    struct text bytes = read_file(MODEL);
    for (int i = 0; i < 2; i++) {
        tg_model_handle *model = NULL;
        ck_assert(!tg_model_compile(ctx, bytes.data, bytes.size, "memory", &o, &model));
        ck_assert_int_eq(tg_model_cached(model), i);
        run(model);
        tg_model_destroy(model);
    }
    free(bytes.data);
}
END_TEST

// ---- Damage ----------------------------------------------------------------------------------------------------

START_TEST(damaged_entries)
{
    tg_model_options o = options();
    o.opt_level = 0; // compiles fastest
    char path[600];
    ck_assert(!load(MODEL, &o));
    files(path);
    struct text good = read_file(path);
    ck_assert_uint_gt(good.size, 1000);
    // Each byte of what is read first, and some of the others.
    for (size_t at = 0; at < good.size; at += at < 160 ? 7 : good.size / 13) {
        good.data[at] ^= 0x20;
        write_file(path, good.data, good.size);
        good.data[at] ^= 0x20;
        ck_assert_msg(!load(MODEL, &o), "byte %zu does not matter", at);
    }
    const size_t sizes[] = {0, 1, 16, 40, 95, 96, 200, good.size / 2, good.size - 1};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        write_file(path, good.data, sizes[i]);
        ck_assert_msg(!load(MODEL, &o), "%zu bytes are enough", sizes[i]);
    }
    ck_assert(load(MODEL, &o)); // is whole again
    struct text again = read_file(path);
    ck_assert(again.size == good.size && !memcmp(again.data, good.data, good.size));
    ck_assert_int_eq(files(NULL), 1);
    free(good.data);
    free(again.data);
}
END_TEST

START_TEST(an_entry_that_is_another)
{
    tg_model_options o = options(), other = options();
    char path[600];
    ck_assert(!load(MODEL, &o));
    files(path);
    struct text good = read_file(path);
    other.target = "v2";
    ck_assert_int_eq(unlink(path), 0);
    ck_assert(!load(MODEL, &other));
    files(path);
    write_file(path, good.data, good.size); // a right entry, of a wrong model
    ck_assert(!load(MODEL, &other));
    ck_assert(load(MODEL, &other));
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(mkdir(path, 0700), 0); // nothing can be there
    ck_assert(!load(MODEL, &other));
    ck_assert(!load(MODEL, &other));
    free(good.data);
}
END_TEST

// ---- Processes -------------------------------------------------------------------------------------------------

// Loads in a process of its own; the status says whether all went well, and whether the last one was cached.
static pid_t loads(int n)
{
    pid_t child = fork();
    if (child)
        return child;
    tg_model_options o = options();
    tg_context *own;
    bool cached = false;
    if (tg_context_create(1, &own))
        _exit(2);
    ctx = own;
    for (int i = 0; i < n; i++) {
        tg_model_handle *model = NULL;
        if (tg_model_load_file(ctx, MODEL, &o, &model))
            _exit(3);
        cached = tg_model_cached(model);
        run(model);
        tg_model_destroy(model);
    }
    _exit(cached ? 0 : 1);
}

START_TEST(processes_share_a_folder)
{
    pid_t children[4];
    for (int i = 0; i < 4; i++)
        ck_assert_int_gt(children[i] = loads(3), 0);
    for (int i = 0; i < 4; i++) {
        int status;
        ck_assert_int_eq(waitpid(children[i], &status, 0), children[i]);
        ck_assert_int_eq(status, 0);
    }
    tg_model_options o = options();
    ck_assert_int_eq(files(NULL), 1);
    ck_assert(load(MODEL, &o));
}
END_TEST

// Whenever a writer is killed, what it leaves is no entry or a whole one, and in time nothing else.
START_TEST(killed_writers)
{
    tg_model_options o = options();
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    load(MODEL, &o);
    clock_gettime(CLOCK_MONOTONIC, &end);
    long whole_us = (end.tv_sec - start.tv_sec) * 1000000 + (end.tv_nsec - start.tv_nsec) / 1000;
    char path[600];
    for (int i = 0; i < 12; i++) {
        while (files(path))
            unlink(path);
        pid_t child = loads(1);
        ck_assert_int_gt(child, 0);
        usleep((useconds_t)(whole_us * (i + 1) / 10));
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        bool was_there = files(path) && !strstr(path, ".tmp");
        ck_assert_int_eq(load(MODEL, &o), was_there);
        ck_assert(load(MODEL, &o));
    }
}
END_TEST

START_TEST(what_dead_writers_left)
{
    tg_model_options o = options();
    char old[700], young[700], other[700], path[600];
    ck_assert(!load(MODEL, &o));
    files(path);
    snprintf(old, sizeof old, "%s.tmp1-1", path);
    snprintf(young, sizeof young, "%s.tmp1-2", path);
    snprintf(other, sizeof other, "%s/notes.txt", cache);
    write_file(old, "x", 1);
    write_file(young, "x", 1);
    write_file(other, "x", 1);
    const struct timespec long_ago[2] = {{1000000, 0}, {1000000, 0}};
    ck_assert(!utimensat(AT_FDCWD, old, long_ago, 0) && !utimensat(AT_FDCWD, other, long_ago, 0));
    o.opt_level = 1;
    o.cache_limit = 1;
    ck_assert(!load(MODEL, &o)); // stores, and sweeps
    ck_assert_int_ne(access(old, F_OK), 0);
    ck_assert_int_eq(access(young, F_OK), 0);
    ck_assert_int_eq(access(other, F_OK), 0);
}
END_TEST

// ---- Space -----------------------------------------------------------------------------------------------------

START_TEST(what_was_used_least_recently_goes)
{
    tg_model_options o = options();
    struct stat st;
    char path[600];
    ck_assert(!load(MODEL, &o));
    files(path);
    ck_assert_int_eq(stat(path, &st), 0);
    const struct timespec long_ago[2] = {{1000000, 0}, {1000000, 0}};
    ck_assert_int_eq(utimensat(AT_FDCWD, path, long_ago, 0), 0);
    o.opt_level = 1;
    ck_assert(!load(MODEL, &o));
    usleep(50000); // the clock of files has ticks
    o.opt_level = 2;
    ck_assert(load(MODEL, &o)); // is young again
    o.opt_level = 3;
    o.cache_limit = st.st_size * 5 / 2; // of three about that large
    ck_assert(!load(MODEL, &o));
    ck_assert_int_eq(files(NULL), 2);
    ck_assert(load(MODEL, &o));
    o.opt_level = 2;
    ck_assert(load(MODEL, &o));
    o.opt_level = 1;
    o.cache_limit = 1; // what has just been written stays
    ck_assert(!load(MODEL, &o));
    ck_assert(load(MODEL, &o));
    ck_assert_int_eq(files(NULL), 1);
}
END_TEST

START_TEST(a_full_device)
{
    pid_t child = fork();
    if (!child) {
        signal(SIGXFSZ, SIG_IGN);
        const struct rlimit little = {20000, 20000};
        _exit(setrlimit(RLIMIT_FSIZE, &little) ||
              load(MODEL, &(tg_model_options){sizeof(tg_model_options), NULL, 2, 0, NULL, NULL, 0, NULL, cache, 0}));
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(files(NULL), 0);
}
END_TEST

static void refuse(const char *dir, const char *message)
{
    tg_model_options o = options();
    tg_model_handle *model = NULL;
    o.cache_dir = dir;
    ck_assert_int_eq(tg_model_load_file(ctx, MODEL, &o, &model), 1);
    ck_assert_msg(strstr(tg_last_error(ctx), message), "%s", tg_last_error(ctx));
    ck_assert_ptr_null(model);
}

START_TEST(folders_that_cannot_be)
{
    char path[400];
    refuse("", ": error: cannot be a cache: No such file or directory");
    refuse("/dev/null", "/dev/null: error: cannot be a cache: Not a directory");
    snprintf(path, sizeof path, "%s/file", folder);
    write_file(path, "x", 1);
    refuse(path, "/file: error: cannot be a cache: Not a directory");
    snprintf(path, sizeof path, "%s/file/cache", folder);
    refuse(path, "/file/cache: error: cannot be a cache: Not a directory");
    tg_model_options o = options();
    tg_model_handle *model = NULL;
    o.cache_limit = -1;
    ck_assert_int_eq(tg_model_load_file(ctx, MODEL, &o, &model), 1);
    ck_assert_str_eq(tg_last_error(ctx), "cache_limit is -1; it is a number of bytes");
}
END_TEST

// What an entry is made from must be what was read.
START_TEST(files_that_change)
{
    char path[400], other[400];
    struct diags diags;
    struct file_bytes bytes;
    diag_init(&diags);
    snprintf(path, sizeof path, "%s/w.bin", folder);
    snprintf(other, sizeof other, "%s/v.bin", folder);
    write_file(path, "abc", 3);
    write_file(other, "abc", 3);
    ck_assert_int_eq(bytes_open(path, &bytes, &diags), 0);
    ck_assert(file_stamp_holds(&bytes.stamp, path));
    ck_assert(!file_stamp_holds(&bytes.stamp, other));
    ck_assert(!file_stamp_holds(&bytes.stamp, folder));
    usleep(50000); // the clock of files has ticks
    write_file(path, "abd", 3);
    ck_assert(!file_stamp_holds(&bytes.stamp, path));
    bytes_close(&bytes);
    ck_assert_int_eq(bytes_open(path, &bytes, &diags), 0);
    ck_assert_int_eq(rename(other, path), 0);
    ck_assert(!file_stamp_holds(&bytes.stamp, path));
    ck_assert_int_eq(unlink(path), 0);
    ck_assert(!file_stamp_holds(&bytes.stamp, path));
    bytes_close(&bytes);
    diag_finish(&diags);
}
END_TEST

// What is wrong with a model is said each time.
START_TEST(faulty_models)
{
    tg_model_options o = options();
    tg_model_handle *model = NULL;
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(tg_model_compile(ctx, "{", 1, "m", &o, &model), 1);
        ck_assert_ptr_nonnull(strstr(tg_last_error(ctx), "JSON"));
    }
    ck_assert_int_eq(files(NULL), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cache");
    TCase *tc = tcase_create("cache");
    tcase_set_timeout(tc, 250);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, what_was_compiled_is_found);
    tcase_add_test(tc, what_differs_is_compiled);
    tcase_add_test(tc, models_from_memory);
    tcase_add_test(tc, damaged_entries);
    tcase_add_test(tc, an_entry_that_is_another);
    tcase_add_test(tc, processes_share_a_folder);
    tcase_add_test(tc, killed_writers);
    tcase_add_test(tc, what_dead_writers_left);
    tcase_add_test(tc, what_was_used_least_recently_goes);
    tcase_add_test(tc, a_full_device);
    tcase_add_test(tc, folders_that_cannot_be);
    tcase_add_test(tc, files_that_change);
    tcase_add_test(tc, faulty_models);
    suite_add_tcase(suite, tc);
    return suite_run(suite, CK_FORK);
}
