// The elementary functions as machine code, against the C library in double precision: compiled for each x86 level, and
// run at those that this machine has. Prints the largest error of each, and fails if one exceeds its bound
// (passes/expand_math.def).
//
//   math_exhaustive STRIDE [FUNCTION ...]    every STRIDE-th of the 2^32 arguments; as many samples of two arguments.
//                                            0: none, as on a machine that has none of the levels
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/compile.h"
#include "codegen/jit.h"
#include "ir/scalar.h"
#include "passes/expand_math.h"
#include "tegula/kernel.h"
#include "tests/ulp.h"

#define CHUNK (1 << 20)

static const char *const levels[] = {"x86-64-v2", "x86-64-v3", "x86-64-v4"};
#define N_LEVELS 3

// One function at one level.
struct variant {
    struct jit *jit;
    const tg_kernel *kernel; // NULL: it is not run
    double bound, error;
    float worst[2];
    float *result;
};

static float x[CHUNK], y[CHUNK];
static double want[CHUNK];

static void die(const char *what, struct diags *diags, const char *error)
{
    fprintf(stderr, "%s: %s\n", what, error ? error : "");
    diag_print(diags, stderr, false);
    exit(1);
}

static void load(struct variant *v, const struct driver_buffer *object, const char *level, struct diags *diags)
{
    char *error = NULL;
    void *kernel;
    if (jit_create(&v->jit, &error) || jit_add_object(v->jit, object, &error) ||
        jit_lookup(v->jit, "k__kernel", &kernel, &error))
        die(level, diags, error);
    v->kernel = kernel;
    v->result = malloc(CHUNK * sizeof *v->result);
    if (!v->result)
        die(level, diags, "out of memory");
}

static void compile(struct variant *v, enum opcode code, const char *level, bool runs)
{
    static const char format[] =
        "kernel @k(%%x: view<%dxf32>, %%y: view<%dxf32>, %%r: view<%dxf32>) grid [%d] {\n"
        "  %%p = program_id 0\n  %%i = mul %%p, 4096\n"
        "  %%a = load %%x[%%i] : tile<4096xf32>\n%s  %%v = %s %%a%s\n  store %%v, %%r[%%i]\n}\n";
    bool two = op_info[code].n_operands > 1;
    char text[1024];
    snprintf(text, sizeof text, format, CHUNK, CHUNK, CHUNK, CHUNK / 4096,
             two ? "  %b = load %y[%i] : tile<4096xf32>\n" : "", op_info[code].name, two ? ", %b" : "");
    struct diags diags;
    diag_init(&diags);
    struct compile_options options = {.opt_level = 2};
    if (compile_target(level, &options.target, &diags))
        die(level, &diags, NULL);
    for (int i = 0; i < EXPAND_MATH_ROWS; i++)
        if (expand_math_rows[i].code == code)
            v->bound = options.target.fma ? expand_math_rows[i].ulp : expand_math_rows[i].ulp_without_fma;
    struct module *m = compile_read(text, strlen(text), "math", 0, NULL, &diags);
    struct driver_buffer object;
    if (!m || compile_module(m, &options, COMPILE_OBJECT, &object, &diags))
        die(level, &diags, NULL);
    if (runs && target_runs_here(&options.target))
        load(v, &object, level, &diags);
    driver_buffer_finish(&object);
    module_destroy(m);
    diag_finish(&diags);
}

static void run(struct variant *v)
{
    tg_arg args[] = {{.pointer = x}, {.pointer = y}, {.pointer = v->result}};
    v->kernel->range(args, 0, v->kernel->grid(args), NULL);
}

static void measure(struct variant *v, bool of_argument)
{
    for (int i = 0; i < CHUNK; i++) {
        // The nearest float is at most half a unit off. Most are, and this is quicker.
        if (v->error >= 0.5 && !of_argument && v->result[i] == (float)want[i] && v->result[i] != 0)
            continue;
        double error = ulp_error(v->result[i], want[i], of_argument ? x[i] : want[i]);
        if (error > v->error) {
            v->error = error;
            v->worst[0] = x[i];
            v->worst[1] = y[i];
        }
    }
}

// Levels with FMA must agree to the last bit.
static bool agree(const struct variant *a, const struct variant *b)
{
    if (!a->kernel || !b->kernel)
        return true;
    for (int i = 0; i < CHUNK; i++)
        if (memcmp(&a->result[i], &b->result[i], sizeof *a->result) && !(isnan(a->result[i]) && isnan(b->result[i])))
            return false;
    return true;
}

static bool check(const struct expand_math_row *row, uint64_t stride)
{
    struct variant variants[N_LEVELS] = {0};
    const char *name = op_info[row->code].name;
    bool two = op_info[row->code].n_operands > 1, ok = true;
    for (int l = 0; l < N_LEVELS; l++)
        compile(&variants[l], row->code, levels[l], stride > 0);
    uint64_t total = stride ? (((uint64_t)1 << 32) + stride - 1) / stride : 0;
    for (uint64_t at = 0; at < total; at += CHUNK) {
        for (int i = 0; i < CHUNK; i++) {
            uint32_t bits = (uint32_t)((at + (uint64_t)i) * stride); // past the end it starts again
            memcpy(&x[i], &bits, sizeof bits);
            if (two)
                ulp_second_operand(row->code, (uint32_t)(at + (uint64_t)i), &x[i], &y[i]);
            want[i] = scalar_eval(row->code, DTYPE_F64, (union scalar){.f = x[i]}, (union scalar){.f = y[i]},
                                  (union scalar){.f = 0})
                          .f;
        }
        for (int l = 0; l < N_LEVELS; l++)
            if (variants[l].kernel)
                run(&variants[l]);
        bool same = agree(&variants[1], &variants[2]);
        if (ok && !same) {
            printf("%s: %s and %s differ\n", name, levels[1], levels[2]);
            ok = false;
        }
        for (int l = 0; l < N_LEVELS; l++)
            if (variants[l].kernel && !(l == 2 && same && variants[1].kernel))
                measure(&variants[l], row->of_argument);
        if (same && variants[1].kernel && variants[2].error < variants[1].error) {
            variants[2].error = variants[1].error;
            memcpy(variants[2].worst, variants[1].worst, sizeof variants[1].worst);
        }
    }
    for (int l = 0; l < N_LEVELS; l++) {
        struct variant *v = &variants[l];
        if (!v->kernel) {
            printf("%-8s %s compiled\n", name, levels[l]);
            continue;
        }
        bool good = v->error <= v->bound;
        printf("%-8s %s %.3f ulp at %a", name, levels[l], v->error, (double)v->worst[0]);
        if (two)
            printf(", %a", (double)v->worst[1]);
        printf(good ? "\n" : ": more than %g\n", v->bound);
        ok &= good;
        jit_destroy(v->jit);
        free(v->result);
    }
    fflush(stdout);
    return ok;
}

int main(int argc, char **argv)
{
    char *end = NULL;
    uint64_t stride = argc > 1 ? strtoull(argv[1], &end, 10) : 0;
    bool ok = true;
    if (!end || end == argv[1] || *end) {
        fprintf(stderr, "usage: math_exhaustive STRIDE [FUNCTION ...]\n");
        return 2;
    }
    for (int i = 2; i < argc; i++) {
        bool known = false;
        for (int r = 0; r < EXPAND_MATH_ROWS; r++)
            known |= !strcmp(argv[i], op_info[expand_math_rows[r].code].name);
        if (!known) {
            fprintf(stderr, "math_exhaustive: there is no function '%s'\n", argv[i]);
            return 2;
        }
    }
    for (int r = 0; r < EXPAND_MATH_ROWS; r++) {
        bool wanted = argc == 2;
        for (int i = 2; i < argc; i++)
            wanted |= !strcmp(argv[i], op_info[expand_math_rows[r].code].name);
        if (wanted)
            ok &= check(&expand_math_rows[r], stride);
    }
    return !ok;
}
