// Fuzz target of the language of kernels, graphs and host functions: text -> parser -> verifier -> printer -> parser
// again; of kernels also the interpreter, the passes up to shape, and the interpreter again; small ones go all the way
// to LLVM IR, for CPUs and for GPUs.
//
//   clang -fsanitize=fuzzer,address,undefined -DFUZZ_TILE_LIBFUZZER ...   searches for faults
//   otherwise a main() that replays the files and folders it is given; the tests run it over all of tests and examples.
//
// A fault is a crash, a sanitizer's report, a text that prints but does not read back the same, or a pass that breaks
// what the verifier accepted.
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "codegen/compile.h"
#include "ir/interp.h"
#include "passes/pass.h"

#define BUDGET 20000                       // of the interpreter, in elements
#define MOST_VIEW_BYTES ((int64_t)1 << 20) // of one parameter
#define MOST_ELEMENTS ((int64_t)1 << 14)   // of a tile that is interpreted
#define MOST_OPS 400                       // of a module that is shaped
#define MOST_PARAMS 32
#define MOST_LOWERED_OPS 60                      // of a module that becomes LLVM IR,
#define MOST_LOWERED_ELEMENTS ((int64_t)1 << 12) // and of its tiles

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fault(const char *what, const char *text, struct diags *diags)
{
    fprintf(stderr, "fuzz_tile: %s\n%s\n%s\n", what, text ? text : "", diags ? diag_string(diags) : "");
    abort();
}

static struct module *read_text(const char *text, size_t n, struct diags *diags)
{
    struct module *m = parse_module(text, n, "fuzz.tile", 0, NULL, diags);
    if (m && !verify_module(m, diags)) {
        module_destroy(m);
        m = NULL;
    }
    return m;
}

static void round_trip(const struct module *m, const char *stage)
{
    struct diags diags;
    struct arena a;
    diag_init(&diags);
    arena_init(&a);
    char *first, *second;
    print_module(&a, m, &first);
    struct module *again = read_text(first, strlen(first), &diags);
    if (!again)
        fault(arena_printf(&a, "what was printed %s is not read back", stage), first, &diags);
    print_module(&a, again, &second);
    if (strcmp(first, second))
        fault(arena_printf(&a, "what was printed %s reads back as something else", stage), first, NULL);
    module_destroy(again);
    arena_finish(&a);
    diag_finish(&diags);
}

// ---- Running ---------------------------------------------------------------------------------------------------

static int count_ops(const struct block *b)
{
    int n = 0;
    for (const struct op *op = b->first; op; op = op->next) {
        n++;
        for (int i = 0; i < op->n_blocks; i++)
            n += count_ops(op->blocks[i]);
    }
    return n;
}

static bool tiles_are_small(const struct module *m, int64_t most)
{
    for (int i = 0; i < 256; i++)
        for (const struct type *t = m->types[i]; t; t = t->next)
            if (t->kind == TYPE_TILE && type_elements(t) > most)
                return false;
    return true;
}

// Memory for a view with the sizes that the symbols give, filled with small numbers. False: too large or odd.
static bool fill_view(const struct type *t, const int64_t *symbols, struct interp_view *v)
{
    for (int d = 0; d < t->rank; d++) {
        v->sizes[d] = 3;
        v->strides[d] = 1;
    }
    if (interp_view_fill(v, t, symbols))
        return false;
    int64_t last = 0;
    for (int d = 0; d < t->rank; d++) {
        int64_t n;
        if (v->sizes[d] == 0) {
            last = -1;
            break;
        }
        if (v->strides[d] < 0 || __builtin_mul_overflow(v->sizes[d] - 1, v->strides[d], &n) ||
            __builtin_add_overflow(last, n, &last) || last > MOST_VIEW_BYTES)
            return false;
    }
    int64_t width = dtype_bytes(t->dtype);
    v->bytes = (last + 1) * width;
    v->data = v->bytes > MOST_VIEW_BYTES ? NULL : calloc(1, (size_t)v->bytes + 1);
    for (int64_t i = 0; v->data && i <= last; i++) {
        union scalar x = dtype_cast(t->dtype, DTYPE_I64, (union scalar){.i = i % 7 - (t->dtype != DTYPE_I1 ? 2 : 0)});
        dtype_store(t->dtype, (char *)v->data + i * width, x);
    }
    return v->data != NULL;
}

// Errors of the kernel's are its own affair: only that the interpreter survives counts.
static void interpret(struct function *k)
{
    struct interp_arg args[MOST_PARAMS] = {0};
    int n_symbols = k->module->n_symbols;
    int64_t *symbols = calloc((size_t)n_symbols + 1, sizeof *symbols);
    bool ok = symbols && k->n_params <= MOST_PARAMS;
    for (int i = 0; ok && i < n_symbols; i++)
        symbols[i] = 1 + (5 * i + 2) % 9;
    for (int i = 0; ok && i < k->n_params; i++) {
        const struct type *t = k->params[i]->type;
        if (t->kind == TYPE_VIEW)
            ok = fill_view(t, symbols, &args[i].view);
        else
            args[i].scalar = dtype_cast(t->dtype, DTYPE_I64, (union scalar){.i = t->dtype == DTYPE_I1 ? 1 : 3});
    }
    struct diags diags;
    diag_init(&diags);
    if (ok)
        interp_run(k, args, symbols, BUDGET, &diags);
    diag_finish(&diags);
    for (int i = 0; i < k->n_params && i < MOST_PARAMS; i++)
        free(args[i].view.data);
    free(symbols);
}

static void interpret_all(struct module *m)
{
    for (struct function *k = m->first_function; k; k = k->next)
        if (k->kind == FUNCTION_KERNEL)
            interpret(k);
}

static void run_passes(struct module *m)
{
    static struct target_desc target;
    if (!target.name[0] && target_parse("x86-64-v3", &target, NULL))
        fault("no target", NULL, NULL);
    int n = 0;
    for (const struct function *k = m->first_function; k; k = k->next) {
        if (k->kind != FUNCTION_KERNEL)
            return;
        n += count_ops(k->body) + count_ops(k->grid);
    }
    if (n > MOST_OPS)
        return;
    static const char *const steps[] = {"canonicalize", "widen", "sever", "shape", "canonicalize"};
    for (int i = 0; i < 4; i++) {
        struct diags diags;
        diag_init(&diags);
        struct pipeline_options options = {.passes = steps[i]};
        if (pipeline_run(m, &target, &options, &diags)) { // what a pass cannot do it may refuse
            const char *text = diag_string(&diags);
            if (strstr(text, "fault of pass") || strstr(text, "internal error") || strstr(text, "did not say so"))
                fault(steps[i], text, NULL);
            diag_finish(&diags);
            return;
        }
        diag_finish(&diags);
        round_trip(m, steps[i]);
    }
    if (tiles_are_small(m, MOST_ELEMENTS))
        interpret_all(m);
}

// What cannot be lowered may be refused.
static void lower_for(const char *name, const char *text, size_t n)
{
    struct compile_options options = {.n_threads = 1};
    struct diags diags;
    struct driver_buffer out = {0};
    diag_init(&diags);
    struct module *m = read_text(text, n, &diags);
    if (!m || compile_target(name, &options.target, &diags))
        fault("what was read once is not read again", NULL, &diags);
    if (compile_module(m, &options, COMPILE_LLVM, &out, &diags)) {
        const char *said = diag_string(&diags);
        if (strstr(said, "fault of pass") || strstr(said, "internal error") || strstr(said, "did not say so"))
            fault(name, said, NULL);
    }
    driver_buffer_finish(&out);
    module_destroy(m);
    diag_finish(&diags);
}

static void lower_all(const struct module *m, const char *text, size_t n)
{
    int n_ops = 0;
    for (const struct function *k = m->first_function; k; k = k->next) {
        if (k->kind != FUNCTION_KERNEL)
            return;
        n_ops += count_ops(k->body) + count_ops(k->grid);
    }
    if (n_ops > MOST_LOWERED_OPS || !tiles_are_small(m, MOST_LOWERED_ELEMENTS))
        return;
    lower_for("x86-64-v2", text, n);
    lower_for("x86-64-v4", text, n);
    lower_for("sm_80", text, n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct diags diags;
    diag_init(&diags);
    struct module *m = read_text((const char *)data, size, &diags);
    if (m) {
        round_trip(m, "at first");
        if (tiles_are_small(m, MOST_ELEMENTS))
            interpret_all(m);
        lower_all(m, (const char *)data, size);
        run_passes(m);
    }
    module_destroy(m);
    diag_finish(&diags);
    return 0;
}

// ---- Replay ----------------------------------------------------------------------------------------------------

#ifndef FUZZ_TILE_LIBFUZZER

// The bytes end where the allocation ends, so that reading on is seen.
static int replay_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    char *data = NULL;
    size_t n = 0, room = 0;
    while (f && !feof(f) && !ferror(f)) {
        char *grown = realloc(data, room += 65536);
        if (!grown)
            break;
        data = grown;
        n += fread(data + n, 1, room - n, f);
    }
    bool ok = f && !ferror(f);
    if (f)
        fclose(f);
    char *exact = malloc(n ? n : 1);
    if (ok && exact) {
        memcpy(exact, data ? data : "", n);
        LLVMFuzzerTestOneInput((const uint8_t *)exact, n);
    } else {
        fprintf(stderr, "fuzz_tile: cannot read %s\n", path);
    }
    free(exact);
    free(data);
    return ok ? 0 : 1;
}

static int replay(const char *path, int *n_files)
{
    struct stat s;
    if (!stat(path, &s) && !S_ISDIR(s.st_mode)) {
        ++*n_files;
        return replay_file(path);
    }
    DIR *d = opendir(path);
    if (!d) {
        fprintf(stderr, "fuzz_tile: cannot open %s\n", path);
        return 1;
    }
    int status = 0;
    for (struct dirent *e; (e = readdir(d));) {
        char full[4096];
        if (e->d_name[0] != '.' && snprintf(full, sizeof full, "%s/%s", path, e->d_name) < (int)sizeof full)
            status |= replay(full, n_files);
    }
    closedir(d);
    return status;
}

int main(int argc, char **argv)
{
    int status = 0, n_files = 0;
    for (int i = 1; i < argc; i++)
        status |= replay(argv[i], &n_files);
    printf("%d files\n", n_files);
    return status || !n_files;
}

#endif
