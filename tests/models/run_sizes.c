// Compiles a model once, runs it for many sizes of its inputs, and compares each run with the interpreter of graphs.
//
//     run_sizes MODEL TARGET SIZES...        SIZES: "N=3", or "batch=2,sequence=7"; "" for a model without open sizes
//
// Every run is done three times: on one thread; with loops cut into uneven pieces that run in an odd order, each with
// scratch of its own; and on a pool of threads. All three must give the same bits. Inputs, outputs and scratch end, and
// in the next run start, at memory that may not be touched. Inputs that are booleans are tried both ways.
//
// Prints a line for each run, `ok`, or what is wrong, and at the end how many loops there were and in how many pieces.
// Status 1 if something is wrong.
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tegula/runtime.h>

#include "codegen/data_type.h"
#include "codegen/model.h"
#include "frontend/import.h"
#include "ir/interp_graph.h"
#include "tools/fence.h"
#include "tools/random_input.h"

#define MOST_TENSORS 16

// ---- An environment that cuts loops ----------------------------------------------------------------------------

struct cutter {
    tg_env env;
    uint64_t state;
    int64_t loops, pieces;
    char message[600];
};

static int64_t below(struct cutter *c, int64_t n)
{
    c->state = c->state * 6364136223846793005u + 1442695040888963407u;
    return (int64_t)((c->state >> 33) % (uint64_t)n);
}

static int32_t run_piece(struct cutter *c, tg_range *range, const tg_arg *args, int64_t begin, int64_t end,
                         int64_t bytes)
{
    struct fence scratch = {0};
    if (!fence_init(&scratch, (size_t)(bytes + 63) / 64 * 64, below(c, 2) ? FENCE_END : FENCE_START))
        return 1;
    c->pieces++;
    int32_t status = range(args, begin, end, bytes ? scratch.data : NULL);
    if (!fence_intact(&scratch)) {
        snprintf(c->message, sizeof c->message, "a kernel wrote beyond its scratch");
        status = 1;
    }
    fence_finish(&scratch);
    return status;
}

// What lies behind a cut runs first.
static int32_t cut_loop(const tg_env *env, int64_t n, tg_range *range, const tg_arg *args, int64_t bytes)
{
    struct cutter *c = env->user;
    c->loops++;
    int64_t first = n > 1 ? 1 + below(c, n - 1) : n, second = first > 1 ? 1 + below(c, first - 1) : first;
    int32_t status = first < n ? run_piece(c, range, args, first, n, bytes) : 0;
    if (!status)
        status = run_piece(c, range, args, 0, second, bytes);
    return status || second == first ? status : run_piece(c, range, args, second, first, bytes);
}

static void *cutter_alloc(const tg_env *env, size_t bytes)
{
    (void)env;
    return aligned_alloc(64, (bytes / 64 + 1) * 64);
}

static void cutter_free(const tg_env *env, void *memory)
{
    (void)env;
    free(memory);
}

static void cutter_error(const tg_env *env, const char *message)
{
    struct cutter *c = env->user;
    snprintf(c->message, sizeof c->message, "%s", message);
}

static void cutter_init(struct cutter *c)
{
    *c = (struct cutter){.state = 1};
    c->env = (tg_env){TG_ENV_VERSION, c, cut_loop, cutter_alloc, cutter_free, cutter_error, NULL};
}

// ---- The model -------------------------------------------------------------------------------------------------

struct test {
    struct diags diags;
    struct model *source;
    struct module *graph; // for the interpreter; another one is compiled
    const struct function *g;
    struct loaded_model *loaded;
    const tg_model *code;
    struct cutter cutter;
    tg_pool *pool;
    int64_t sizes[64];
    int runs;
};

static struct module *import(struct test *t, const char *path, struct model **source)
{
    *source = model_read_file(path, &t->diags);
    struct module *m = *source ? import_model(*source, NULL, &t->diags) : NULL;
    return m && verify_module(m, &t->diags) ? m : NULL;
}

static bool load(struct test *t, const char *path, const char *target)
{
    struct compile_options options = {.opt_level = 1};
    struct model *source;
    t->graph = import(t, path, &t->source);
    struct module *m = t->graph ? import(t, path, &source) : NULL;
    if (!m || compile_target(target, &options.target, &t->diags) || graph_compile(m, &options, &t->diags) ||
        model_load(m, &options, &t->loaded, &t->diags))
        return false;
    module_destroy(m);
    model_destroy(source);
    t->g = t->graph->first_function;
    t->code = model_code(t->loaded);
    return t->code->n_inputs <= MOST_TENSORS && t->code->n_outputs <= MOST_TENSORS && t->code->n_symbols <= 64;
}

static bool read_sizes(struct test *t, const char *text)
{
    for (int i = 0; i < t->code->n_symbols; i++) {
        const char *name = t->code->symbols[i], *at = text;
        size_t n = strlen(name);
        while (*at && (strncmp(at, name, n) || at[n] != '='))
            at += strcspn(at, ",") + (strchr(at, ',') != NULL);
        if (!*at)
            return false;
        t->sizes[i] = strtoll(at + n + 1, NULL, 10);
    }
    return true;
}

// ---- A run -----------------------------------------------------------------------------------------------------

struct tensor {
    tg_tensor t;
    int64_t shape[MAX_RANK], bytes;
    struct fence fence;
};

static bool make_tensor(struct tensor *x, const tg_port *port, enum fence_side side)
{
    x->t = (tg_tensor){.device = {TG_DEVICE_CPU, 0}, .ndim = port->rank, .dtype = port->dtype, .shape = x->shape};
    x->bytes = dtype_bytes(data_type_dtype(port->dtype));
    for (int d = 0; d < port->rank; d++)
        x->bytes *= x->shape[d];
    if (!fence_init(&x->fence, (size_t)x->bytes, side))
        return false;
    x->t.data = x->fence.data;
    return true;
}

// Random; masks (integers of rank 2) keep the first of each row, so that no row of a softmax is empty.
static void fill(const struct tensor *x, int position, int flag)
{
    enum dtype t = data_type_dtype(x->t.dtype);
    int64_t n = x->bytes / dtype_bytes(t), row = x->t.ndim ? x->shape[x->t.ndim - 1] : 1;
    random_input(t, 1, (uint64_t)position, x->t.data, n);
    for (int64_t i = 0; i < n && t == DTYPE_I64; i++)
        ((int64_t *)x->t.data)[i] = i % row ? ((int64_t *)x->t.data)[i] & 1 : 1;
    if (t == DTYPE_I1)
        memset(x->t.data, flag, (size_t)n);
}

static double element(const void *data, enum dtype d, int64_t i)
{
    union scalar x = dtype_load(d, (const char *)data + i * dtype_bytes(d));
    return dtype_is_float(d) ? x.f : (double)x.i;
}

// Relative to the largest magnitude, which is what rounding in sums is proportional to.
static bool is_close(const struct tensor *have, const struct interp_tensor *want)
{
    bool same = have->t.ndim == want->rank && have->bytes == want->bytes;
    for (int d = 0; d < want->rank && same; d++)
        same = have->shape[d] == want->dims[d];
    int64_t n = have->bytes / dtype_bytes(want->dtype);
    double magnitude = 0;
    for (int64_t i = 0; i < n && same; i++)
        magnitude = fmax(magnitude, fabs(element(want->data, want->dtype, i)));
    for (int64_t i = 0; i < n && same; i++) {
        double a = element(have->t.data, want->dtype, i), b = element(want->data, want->dtype, i);
        same = fabs(a - b) <= 1e-3 * fabs(b) + 1e-5 * magnitude;
    }
    return same;
}

static const char *run_with(struct test *t, const tg_env *env, const struct tensor *in, struct tensor *out)
{
    tg_tensor inputs[MOST_TENSORS], outputs[MOST_TENSORS];
    int64_t *shapes[MOST_TENSORS], bytes;
    enum fence_side side = t->runs % 2 ? FENCE_START : FENCE_END;
    for (int i = 0; i < t->code->n_inputs; i++)
        inputs[i] = in[i].t;
    for (int i = 0; i < t->code->n_outputs; i++)
        shapes[i] = out[i].shape;
    if (t->code->shapes(&t->cutter.env, inputs, shapes, &bytes))
        return t->cutter.message;
    for (int i = 0; i < t->code->n_outputs; i++) {
        if (!make_tensor(&out[i], &t->code->outputs[i], side))
            return "out of memory";
        memset(out[i].t.data, 0xa5, (size_t)out[i].bytes);
        outputs[i] = out[i].t;
    }
    struct fence arena = {0};
    if (!fence_init(&arena, (size_t)(bytes + 63) / 64 * 64, side)) // aligned at both ends
        return "out of memory";
    memset(arena.data, 0xff, arena.bytes); // NaN, should a run read what it has not written
    const char *fault = NULL;
    if (t->code->run(env, inputs, outputs, arena.data))
        fault = env == &t->cutter.env ? t->cutter.message : "the run failed";
    for (int i = 0; i < t->code->n_outputs && !fault; i++)
        if (!fence_intact(&out[i].fence))
            fault = "a kernel wrote beyond an output";
    if (!fault && !fence_intact(&arena))
        fault = "a kernel wrote beyond the arena";
    fence_finish(&arena);
    return fault;
}

static const char *interpret(struct test *t, const struct tensor *in, struct interp_tensor *want)
{
    struct interp_tensor inputs[MOST_TENSORS] = {0};
    for (int i = 0; i < t->code->n_inputs; i++) {
        struct interp_tensor *x = &inputs[i];
        *x = (struct interp_tensor){
            .dtype = data_type_dtype(in[i].t.dtype), .rank = in[i].t.ndim, .data = in[i].t.data, .bytes = in[i].bytes};
        memcpy(x->dims, in[i].shape, sizeof x->dims);
    }
    return interp_graph(t->g, inputs, want, 0, &t->diags) ? diag_string(&t->diags) : NULL;
}

static const char *compare(struct test *t, const struct tensor *in, struct tensor out[3][MOST_TENSORS])
{
    tg_env pool = *tg_pool_env(t->pool);
    const tg_env *envs[] = {NULL, &t->cutter.env, &pool};
    for (int e = 0; e < 3; e++) {
        const char *fault = run_with(t, envs[e], in, out[e]);
        if (fault)
            return fault;
    }
    struct interp_tensor want[MOST_TENSORS] = {0};
    const char *fault = interpret(t, in, want);
    for (int i = 0; i < t->code->n_outputs; i++) {
        size_t bytes = (size_t)out[0][i].bytes;
        if (!fault && !is_close(&out[0][i], &want[i]))
            fault = "differs from the interpreter";
        for (int e = 1; e < 3 && !fault; e++)
            if (memcmp(out[0][i].t.data, out[e][i].t.data, bytes))
                fault = e == 1 ? "depends on where loops are cut" : "differs on threads";
        free(want[i].data);
    }
    return fault;
}

static bool run(struct test *t, const char *sizes, int flag)
{
    struct tensor in[MOST_TENSORS] = {0}, out[3][MOST_TENSORS] = {0};
    const char *fault = read_sizes(t, sizes) ? NULL : "these sizes are not those of the model";
    for (int i = 0; i < t->code->n_inputs && !fault; i++) {
        const tg_port *port = &t->code->inputs[i];
        for (int d = 0; d < port->rank; d++)
            in[i].shape[d] = port->dims[d] < 0 ? t->sizes[-1 - port->dims[d]] : port->dims[d];
        if (!make_tensor(&in[i], port, t->runs % 2 ? FENCE_START : FENCE_END))
            fault = "out of memory";
        else
            fill(&in[i], i, flag);
    }
    if (!fault)
        fault = compare(t, in, out);
    printf("%s%s%s: %s\n", sizes, flag ? " " : "", flag ? "true" : "", fault ? fault : "ok");
    fflush(stdout);
    t->runs++;
    for (int i = 0; i < MOST_TENSORS; i++) {
        fence_finish(&in[i].fence);
        for (int e = 0; e < 3; e++)
            fence_finish(&out[e][i].fence);
    }
    return !fault;
}

int main(int argc, char **argv)
{
    struct test t = {0};
    if (argc < 4)
        return 1;
    diag_init(&t.diags);
    cutter_init(&t.cutter);
    bool good = load(&t, argv[1], argv[2]) && !tg_pool_create(3, &t.pool);
    bool flags = false;
    for (int i = 0; good && i < t.code->n_inputs; i++)
        flags |= data_type_dtype(t.code->inputs[i].dtype) == DTYPE_I1;
    bool ran = good;
    for (int i = 3; ran && i < argc; i++)
        for (int flag = 0; flag <= flags; flag++)
            good &= run(&t, argv[i], flag);
    diag_print(&t.diags, stdout, false);
    printf("%" PRId64 " loops, %" PRId64 " pieces\n", t.cutter.loops, t.cutter.pieces);
    tg_pool_destroy(t.pool);
    model_unload(t.loaded);
    module_destroy(t.graph);
    model_destroy(t.source);
    diag_finish(&t.diags);
    return good ? 0 : 1;
}
