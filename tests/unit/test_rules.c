// Rewriting graphs does not change what they compute: the graphs of the text tests, by the interpreter, before and
// after each pass. Every rule is applied somewhere in them.
#include "passes/rules.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ir/dims.h"
#include "ir/interp_graph.h"
#include "passes/rules_internal.h"
#include "tests/unit/suite.h"

#define MOST_SYMBOLS 512
#define MOST_TENSORS 16

static int applied[512];

static char *read_file(const char *name, size_t *size)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", PASS_TESTS, name);
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "%s", path);
    ck_assert_int_eq(fseek(f, 0, SEEK_END), 0);
    *size = (size_t)ftell(f);
    rewind(f);
    char *text = malloc(*size + 1);
    ck_assert_uint_eq(fread(text, 1, *size, f), *size);
    text[*size] = 0;
    fclose(f);
    return text;
}

static struct module *read_module(const char *name, struct diags *diags)
{
    size_t size;
    char *text = read_file(name, &size);
    struct module *m = parse_module(text, size, name, 0, NULL, diags);
    ck_assert_msg(m && verify_module(m, diags), "%s", diag_string(diags));
    free(text);
    return m;
}

// Numbers of both signs, none close to 0; one NaN if wanted.
static struct interp_tensor make_input(const struct module *m, const struct type *t, bool nan)
{
    int64_t symbols[MOST_SYMBOLS], n = 1;
    ck_assert_int_lt(m->n_symbols, MOST_SYMBOLS);
    for (int i = 0; i < MOST_SYMBOLS; i++)
        symbols[i] = 2 + i % 3;
    struct interp_tensor x = {.dtype = t->dtype, .rank = t->rank};
    for (int d = 0; d < t->rank; d++) {
        ck_assert(dims_eval(m, t->dims[d], symbols, &x.dims[d]));
        n *= x.dims[d];
    }
    x.bytes = n * dtype_bytes(t->dtype);
    x.data = n ? malloc((size_t)x.bytes) : NULL;
    for (int64_t i = 0; i < n; i++) {
        union scalar e = {.i = t->dtype == DTYPE_I1 ? rand() % 2 : rand() % 9 - 4};
        if (dtype_is_float(t->dtype)) {
            double size = 0.125 + rand() % 1000 / 400.0;
            e.f = dtype_round(t->dtype, nan && i == 0 ? NAN : rand() % 2 ? size : -size);
        }
        dtype_store(t->dtype, (char *)x.data + i * dtype_bytes(t->dtype), e);
    }
    return x;
}

static int count_outputs(const struct function *f)
{
    return block_terminator(f->body)->n_operands;
}

static void expect_equal(const struct function *f, const char *pass, int output, const struct interp_tensor *a,
                         const struct interp_tensor *b)
{
    ck_assert_int_eq(a->bytes, b->bytes);
    int64_t size = dtype_bytes(a->dtype);
    bool narrow = dtype_info[a->dtype].bits <= 16; // then what is built of several operations cancels digits
    for (int64_t i = 0; i < a->bytes / size; i++) {
        union scalar x = dtype_load(a->dtype, (char *)a->data + i * size);
        union scalar y = dtype_load(b->dtype, (char *)b->data + i * size);
        bool ok = dtype_is_float(a->dtype)
                      ? x.f == y.f || (isnan(x.f) && isnan(y.f)) ||
                            fabs(x.f - y.f) <= (narrow ? 0.01 : 1e-4) * fmax(fabs(x.f), narrow ? 1 : 0.01)
                      : x.i == y.i;
        ck_assert_msg(ok, "@%s, output %d, element %lld: %.9g, after %s %.9g", f->name, output, (long long)i, x.f, pass,
                      y.f);
    }
}

static void compare(const char *file, enum pass pass)
{
    const char *name = pass_info[pass].name;
    for (int round = 0; round < 4; round++) {
        struct diags diags;
        diag_init(&diags);
        struct arena scratch;
        arena_init(&scratch);
        struct module *before = read_module(file, &diags), *after = read_module(file, &diags);
        struct pass_context c = {.diags = &diags, .scratch = &scratch, .rules_applied = applied};
        pass_info[pass].run(after, &c);
        ck_assert_msg(!diags.n_errors && verify_module(after, &diags), "%s", diag_string(&diags));
        ck_assert_msg(!pass_info[pass].run(after, &c), "%s of %s changes something a second time", name, file);
        for (struct function *f = before->first_function; f; f = f->next) {
            struct interp_tensor inputs[MOST_TENSORS], x[MOST_TENSORS] = {0}, y[MOST_TENSORS] = {0};
            for (int i = 0; i < f->n_params; i++)
                inputs[i] = make_input(before, f->params[i]->type, round == 3);
            struct function *g = module_function(after, f->name);
            ck_assert_msg(!interp_graph(f, inputs, x, 0, &diags), "%s", diag_string(&diags));
            ck_assert_msg(!interp_graph(g, inputs, y, 0, &diags), "%s", diag_string(&diags));
            for (int i = 0; i < count_outputs(f); i++) {
                expect_equal(f, name, i, &x[i], &y[i]);
                free(x[i].data);
                free(y[i].data);
            }
            for (int i = 0; i < f->n_params; i++)
                free(inputs[i].data);
        }
        module_destroy(before);
        module_destroy(after);
        arena_finish(&scratch);
        diag_finish(&diags);
    }
}

START_TEST(same_values)
{
    static const char *const files[] = {"rewrite.graph", "fold-batch-norm.graph", "raise.graph",
                                        "inline-composites.graph"};
    static const enum pass passes[] = {PASS_REWRITE, PASS_FOLD_BATCH_NORM, PASS_RAISE, PASS_INLINE_COMPOSITES};
    srand(1);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        for (size_t j = 0; j < sizeof passes / sizeof *passes; j++)
            compare(files[i], passes[j]);
    ck_assert_int_lt(rules_count(), (int)(sizeof applied / sizeof *applied));
    bool all = true;
    for (int i = 0; i < rules_count(); i++) {
        all &= applied[i] > 0;
        if (!applied[i])
            fprintf(stderr, "no text test applies rule '%s'\n", rules_name(i));
    }
    ck_assert(all);
}
END_TEST

static void expect_fault(const char *pattern, const char *conditions, const char *replacement, const char *fault)
{
    struct arena a;
    arena_init(&a);
    struct rule r = {0};
    const char *got = rule_parse(&a, pattern, conditions, replacement, &r);
    ck_assert_msg(got && strstr(got, fault), "'%s' where '%s' is wanted", got ? got : "nothing", fault);
    arena_finish(&a);
}

START_TEST(faulty_rules)
{
    expect_fault("add(x, 0", "", "x", "')' is missing");
    expect_fault("add(x)", "", "x", "add takes 2 operands, not 1");
    expect_fault("sub(x, y, z)", "", "x", "sub takes 2 operands, not 3");
    expect_fault("ad(x, 0)", "", "x", "there is no operation 'ad'");
    expect_fault("add(x, add)", "", "x", "'add' is an operation");
    expect_fault("reduce(x, axis3=last)", "", "x", "missing");
    expect_fault("reduce(x, axe=last)", "", "x", "there is no attribute 'axe'");
    expect_fault("reduce(x, axes=[0, a])", "", "x", "a number is missing");
    expect_fault("y:x", "", "x", "only what a pattern matches gets a name");
    expect_fault("neg(x))", "", "x", "something is left over");
    expect_fault("neg(x)", "", "y", "'y' stands in no pattern");
    expect_fault("neg(x)", "", "x y", "something is left over");
    expect_fault("neg(x)", "constant(y)", "x", "'y' stands in no pattern");
    expect_fault("neg(x)", "Constant(x)", "x", "there is no function 'Constant'");
    expect_fault("neg(x)", "same_type(x)", "x", "',' is missing");
    expect_fault("y:neg(x)", "same_type(x, y", "x", "')' is missing");
    expect_fault("neg(x)", "", "reshape(x, type=type(x))", "there is no function 'type'");
    expect_fault("(neg(x) | )", "", "x", "a name is missing");
    expect_fault("@(x)", "", "x", "a name is missing");
    expect_fault("", "", "x", "a name is missing");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("rules");
    TCase *c = tcase_create("rules");
    tcase_set_timeout(c, 120);
    tcase_add_test(c, same_values);
    tcase_add_test(c, faulty_rules);
    suite_add_tcase(s, c);
    return suite_run(s, CK_FORK_GETENV);
}
