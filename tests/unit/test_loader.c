// How compiled models find the code for a machine.
#include <string.h>

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

int main(void)
{
    Suite *s = suite_create("loader");
    TCase *c = tcase_create("targets");
    tcase_add_test(c, chooses);
    tcase_add_test(c, says_what_is_lacking);
    tcase_add_test(c, long_messages_end);
    suite_add_tcase(s, c);
    return suite_run(s, CK_FORK_GETENV);
}
