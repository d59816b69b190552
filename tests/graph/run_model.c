// Imports models, interprets them, and compares with the outputs to expect.
//
//     run_model < CASES        a case a line: MODEL INPUTS OUTPUTS, folders with input_0.pb, output_0.npy ...
//
// Prints a line for each: `ok`, `refused: MESSAGE` (the importer), `failed: MESSAGE`, `differs: WHERE`. Messages are
// the first of several. Status 1 if a line could not be read.
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/import.h"
#include "ir/interp_graph.h"
#include "tools/tensor_file.h"

#define MOST_TENSORS 64

struct test {
    struct arena arena;
    struct diags diags;
    struct model *model;
    struct module *module;
    struct interp_tensor inputs[MOST_TENSORS], outputs[MOST_TENSORS];
    int n_outputs;
};

static void say(const char *word, struct diags *diags)
{
    const char *text = diag_string(diags);
    printf("%s: %.*s\n", word, (int)strcspn(text, "\n"), text);
}

static bool read_tensors(struct test *t, const char *folder, const char *prefix, int n, struct tensor_file *out)
{
    struct tensor_dir list;
    if (n > MOST_TENSORS || tensor_dir_list(folder, prefix, &t->arena, &list, &t->diags) || list.n < n) {
        diag_error(&t->diags, (struct loc){0}, "%s has less than %d files %s_I", folder, n, prefix);
        return false;
    }
    for (int i = 0; i < n; i++)
        if (tensor_file_read(list.paths[i], &t->arena, &out[i], &t->diags))
            return false;
    return true;
}

static double element(const void *data, enum dtype d, int64_t i)
{
    union scalar x = dtype_load(d, (const char *)data + i * dtype_bytes(d));
    return dtype_is_float(d) ? x.f : (double)x.i;
}

static double tolerance(enum dtype d)
{
    return d == DTYPE_F64 ? 1e-7 : d == DTYPE_F32 ? 1e-4 : d == DTYPE_BF16 ? 2e-2 : 5e-3;
}

// The first element that differs, in words; NULL: none.
static const char *compare(struct test *t, const struct interp_tensor *have, const struct tensor_file *want)
{
    bool same = have->dtype == want->dtype && have->rank == want->rank;
    int64_t n = 1;
    for (int d = 0; d < want->rank && same; d++) {
        same = have->dims[d] == want->dims[d];
        n *= want->dims[d];
    }
    if (!same) {
        const char *text = arena_printf(&t->arena, "%s", dtype_info[have->dtype].name);
        for (int d = 0; d < have->rank; d++)
            text = arena_printf(&t->arena, "%s %" PRId64, text, have->dims[d]);
        text = arena_printf(&t->arena, "%s, not %s", text, dtype_info[want->dtype].name);
        for (int d = 0; d < want->rank; d++)
            text = arena_printf(&t->arena, "%s %" PRId64, text, want->dims[d]);
        return text;
    }
    for (int64_t i = 0; i < n; i++) {
        double a = element(have->data, have->dtype, i), b = element(want->data, have->dtype, i);
        bool good = a == b || (isnan(a) && isnan(b));
        if (!good && dtype_is_float(have->dtype))
            good = fabs(a - b) <= tolerance(have->dtype) * fmax(1, fabs(b));
        if (!good)
            return arena_printf(&t->arena, "element %" PRId64 " is %.9g, not %.9g", i, a, b);
    }
    return NULL;
}

static void run(struct test *t, const char *path, const char *inputs, const char *outputs)
{
    t->model = model_read_file(path, &t->diags);
    if (!t->model) {
        say("failed", &t->diags);
        return;
    }
    t->module = import_model(t->model, NULL, &t->diags);
    if (!t->module != (t->diags.n_errors > 0)) {
        printf("failed: the importer returned %s with %d errors\n", t->module ? "a module" : "nothing",
               t->diags.n_errors);
        return;
    }
    if (!t->module) {
        say("refused", &t->diags);
        return;
    }
    const struct function *g = t->module->first_function;
    struct tensor_file in[MOST_TENSORS], want[MOST_TENSORS];
    bool good = verify_module(t->module, &t->diags) && read_tensors(t, inputs, "input", g->n_params, in) &&
                read_tensors(t, outputs, "output", g->n_outputs, want);
    for (int i = 0; i < g->n_params && good; i++) {
        struct interp_tensor *x = &t->inputs[i];
        *x = (struct interp_tensor){.dtype = in[i].dtype, .rank = in[i].rank, .data = in[i].data, .bytes = in[i].bytes};
        memcpy(x->dims, in[i].dims, sizeof(int64_t) * (size_t)x->rank);
    }
    if (!good || interp_graph(g, t->inputs, t->outputs, 0, &t->diags)) {
        say("failed", &t->diags);
        return;
    }
    t->n_outputs = g->n_outputs;
    for (int i = 0; i < g->n_outputs; i++) {
        const char *fault = compare(t, &t->outputs[i], &want[i]);
        if (fault) {
            printf("differs: output %d: %s\n", i, fault);
            return;
        }
    }
    printf("ok\n");
}

int main(void)
{
    char line[8192];
    while (fgets(line, sizeof line, stdin)) {
        const char *words[3];
        char *rest = line;
        for (int i = 0; i < 3; i++)
            words[i] = strtok_r(NULL, " \n", &rest);
        if (!words[2])
            return 1;
        struct test t = {0};
        arena_init(&t.arena);
        diag_init(&t.diags);
        run(&t, words[0], words[1], words[2]);
        fflush(stdout);
        for (int i = 0; i < t.n_outputs; i++)
            free(t.outputs[i].data);
        module_destroy(t.module);
        model_destroy(t.model);
        diag_finish(&t.diags);
        arena_finish(&t.arena);
    }
    return 0;
}
