// How compiled models find the code for a machine.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "codegen/weights.h"
#include "runtime/isa.h"
#include "runtime/loader.h"
#include "tests/unit/suite.h"

#define AVX2 (UINT64_C(1) << ISA_BIT_AVX2)
#define FMA (UINT64_C(1) << ISA_BIT_FMA)
#define AVX512F (UINT64_C(1) << ISA_BIT_AVX512F)

static const struct loader_target targets[] = {
    {.name = "small", .isa = 0}, {.name = "middle", .isa = AVX2 | FMA}, {.name = "large", .isa = AVX2 | FMA | AVX512F}};
static const struct loader all = {.name = "m", .n_targets = 3, .targets = targets},
                           better = {.name = "m", .n_targets = 2, .targets = targets + 1},
                           best = {.name = "m", .n_targets = 1, .targets = targets + 2};

START_TEST(chooses)
{
    static const struct {
        uint64_t have;
        const char *forced, *want;
    } rows[] = {
        {0, NULL, "small"},
        {AVX2, NULL, "small"},
        {AVX512F, NULL, "small"}, // no machine: one set does not stand for others
        {AVX2 | FMA, NULL, "middle"},
        {~UINT64_C(0), NULL, "large"},
        {~UINT64_C(0), "small", "small"},
        {~UINT64_C(0), "middle", "middle"},
        {AVX2 | FMA, "middle", "middle"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char message[LOADER_MESSAGE_BYTES];
        const struct loader_target *t = loader_choose(&all, rows[i].have, rows[i].forced, message);
        ck_assert_msg(t && !strcmp(t->name, rows[i].want), "row %zu: %s", i, t ? t->name : message);
    }
}
END_TEST

START_TEST(says_what_is_lacking)
{
    static const struct {
        const struct loader *l;
        uint64_t have;
        const char *forced, *want;
    } rows[] = {
        {&better, FMA, NULL,
         "the model was compiled for middle, large, which this machine cannot run; for middle it lacks avx2"},
        {&best, 0, NULL,
         "the model was compiled for large alone, which this machine cannot run; for large it lacks fma, avx2, "
         "avx512f"},
        {&all, AVX2 | FMA, "large", "TEGULA_TARGET asks for large, which this machine cannot run; it lacks avx512f"},
        {&better, ~UINT64_C(0), "small",
         "TEGULA_TARGET asks for 'small', and the model was compiled for middle, large"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char message[LOADER_MESSAGE_BYTES] = "";
        ck_assert(!loader_choose(rows[i].l, rows[i].have, rows[i].forced, message));
        ck_assert_str_eq(message, rows[i].want);
    }
}
END_TEST

START_TEST(long_messages_end)
{
    char name[2 * LOADER_MESSAGE_BYTES];
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = 0;
    char message[LOADER_MESSAGE_BYTES];
    ck_assert(!loader_choose(&all, 0, name, message));
    ck_assert_uint_eq(strlen(message), LOADER_MESSAGE_BYTES - 1);
}
END_TEST

// ---- Weights ---------------------------------------------------------------------------------------------------

// What lies between pieces takes no room in the file.
#define FAR (INT64_C(5) << 30)
#define MOST_PIECES 2
static const char near_bytes[] = "near", far_bytes[] = "far";
static struct weight pieces[] = {{near_bytes, sizeof near_bytes, 64, false}, {far_bytes, sizeof far_bytes, FAR, false}};
static const struct weights large = {.n = 2, .bytes = FAR + 128, .pieces = pieces};

static void note(const tg_env *env, const char *message)
{
    snprintf(env->user, LOADER_MESSAGE_BYTES, "%s", message);
}

// A loader of the weights, and the path of their file, which is written.
static struct loader write_weights(const struct weights *w, char path[64])
{
    struct loader l = {.name = "m", .n_targets = 1, .targets = targets, .file = "m.weights"};
    struct weights_file file;
    struct weight here[MOST_PIECES];
    memcpy(here, w->pieces, sizeof *here * (size_t)w->n);
    struct weights some = {.n = 0, .pieces = here};
    char *error = NULL;
    snprintf(path, 64, "/tmp/tegula-weights-%ld", (long)getpid());
    ck_assert_msg(!weights_begin(&file, path, WEIGHTS_FILE_START, &error), "%s", error);
    while (some.n++ < w->n) { // one after the other, each of which is in the file from then on
        ck_assert_msg(!weights_add(&file, &some, &error), "%s", error);
        for (int i = 0; i < some.n; i++) {
            ck_assert_ptr_ne(here[i].bytes, w->pieces[i].bytes);
            ck_assert_mem_eq(here[i].bytes, w->pieces[i].bytes, (size_t)w->pieces[i].size);
        }
    }
    ck_assert_msg(!weights_end_file(&file, w, &l.file_identity, &error), "%s", error);
    ck_assert(!file_commit(&file.pending, &error));
    l.file_bytes = weights_file_bytes(w);
    return l;
}

START_TEST(weights_beyond_4_gib)
{
    char path[64];
    struct loader l = write_weights(&large, path), again = l;
    int32_t target = -1;
    ck_assert(!loader_load(&l, NULL, path, &target));
    ck_assert_int_eq(target, 0);
    const char *weights = atomic_load(&l.weights);
    ck_assert_uint_eq((uintptr_t)weights % 64, 0);
    ck_assert_str_eq(weights + 64, near_bytes);
    ck_assert_str_eq(weights + FAR, far_bytes);
    ck_assert_int_eq(weights[FAR + 127], 0);
    ck_assert(!truncate(path, l.file_bytes - 64)); // the last piece is whole, but for the zeros behind it
    char message[LOADER_MESSAGE_BYTES] = "";
    const tg_env env = {.version = TG_ENV_VERSION, .user = message, .error = note};
    ck_assert(loader_load(&again, &env, path, NULL));
    ck_assert_msg(strstr(message, "has 5368709248 bytes instead of the 5368709312"), "%s", message);
    ck_assert(!loader_load(&l, &env, "/nonexistent", &target)); // loaded is loaded
    unlink(path);
}
END_TEST

START_TEST(other_weights_are_told_apart)
{
    char bytes[24] = "weights of some length";
    struct weight one = {bytes, sizeof bytes, 0, false};
    const struct weights w = {.n = 1, .bytes = 64, .pieces = &one};
    char path[64];
    struct loader first = write_weights(&w, path);
    for (size_t i = 0; i < 8 * sizeof bytes; i++) {
        bytes[i / 8] ^= (char)(1 << i % 8);
        struct loader other = write_weights(&w, path), l = first;
        ck_assert_uint_ne(other.file_identity, first.file_identity);
        ck_assert(loader_load(&l, NULL, path, NULL));
        bytes[i / 8] ^= (char)(1 << i % 8);
    }
    struct loader same = write_weights(&w, path);
    ck_assert_uint_eq(same.file_identity, first.file_identity);
    ck_assert(!loader_load(&first, NULL, path, NULL));
    one.offset = 8; // and where they are matters
    ck_assert_uint_ne(write_weights(&w, path).file_identity, same.file_identity);
    unlink(path);
}
END_TEST

struct racer {
    pthread_t thread;
    struct loader *l;
    const char *path, *weights;
};

static void *race(void *racer)
{
    struct racer *r = racer;
    if (!loader_load(r->l, NULL, r->path, NULL))
        r->weights = atomic_load(&r->l->weights);
    return NULL;
}

START_TEST(threads_load_at_once)
{
    char path[64], bytes[64] = "here";
    struct weight piece = {bytes, sizeof bytes, 0, false};
    const struct weights w = {.n = 1, .bytes = sizeof bytes, .pieces = &piece};
    struct loader l = write_weights(&w, path);
    struct racer racers[8];
    for (size_t i = 0; i < sizeof racers / sizeof *racers; i++) {
        racers[i] = (struct racer){.l = &l, .path = path};
        ck_assert(!pthread_create(&racers[i].thread, NULL, race, &racers[i]));
    }
    for (size_t i = 0; i < sizeof racers / sizeof *racers; i++) {
        pthread_join(racers[i].thread, NULL);
        ck_assert_ptr_eq(racers[i].weights, racers[0].weights);
        ck_assert_str_eq(racers[i].weights, "here");
    }
    unlink(path);
}
END_TEST

START_TEST(weights_inside_take_no_file)
{
    struct loader l = all;
    char message[LOADER_MESSAGE_BYTES] = "";
    const tg_env env = {.version = TG_ENV_VERSION, .user = message, .error = note};
    ck_assert(loader_load(&l, &env, "some.weights", NULL));
    ck_assert_str_eq(message, "the model has its weights inside and takes no file of them");
    ck_assert(!loader_load(&l, &env, NULL, NULL));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("loader");
    TCase *c = tcase_create("targets");
    tcase_add_test(c, chooses);
    tcase_add_test(c, says_what_is_lacking);
    tcase_add_test(c, long_messages_end);
    suite_add_tcase(s, c);
    c = tcase_create("weights");
    tcase_add_test(c, weights_beyond_4_gib);
    tcase_add_test(c, other_weights_are_told_apart);
    tcase_add_test(c, threads_load_at_once);
    tcase_add_test(c, weights_inside_take_no_file);
    suite_add_tcase(s, c);
    return suite_run(s, CK_FORK_GETENV);
}
