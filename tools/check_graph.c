// tegula check on graphs: the interpreter before any pass, and the compiled model, on the same random inputs.
//
// The model runs three times: on one thread with tensors that end, then start, at pages that may not be touched, and on
// several threads. The first run is compared with the interpreter, the others must have its bits. Memory that a run
// writes to holds other bytes each time, so that reading what nothing has written shows.
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <tegula/runtime.h>

#include "codegen/data_type.h"
#include "codegen/model.h"
#include "ir/dims.h"
#include "ir/interp_graph.h"
#include "tools/check.h"
#include "tools/fence.h"
#include "tools/random_input.h"

#define MOST_BYTES ((int64_t)1 << 33) // of one tensor

struct subject {
    const struct check_request *q;
    struct diags *diags;
    struct arena arena;
    struct loc loc;
    const char *name;
    int n_in, n_out;
    const char **in_names, **out_names;
    struct interp_tensor *in, *want; // inputs; what the interpreter makes of them
    struct loaded_model *loaded;
    const tg_model *code;
    tg_pool *one, *many;
};

// One run of the model: the memory of its inputs, its outputs and its arena.
struct run {
    const struct subject *s;
    const char *name;
    tg_env env;
    struct fence *memory; // inputs, outputs, arena
    tg_tensor *in, *out;
    char *arena;
    int status;
};

static int fail(const struct subject *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int fail(const struct subject *s, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    diag_error(s->diags, s->loc, "@%s: %s", s->name, arena_vprintf(&s->diags->arena, format, args));
    va_end(args);
    return EXIT_ERROR;
}

// ---- Inputs ----------------------------------------------------------------------------------------------------

struct sizes {
    struct subject *s;
    const struct module *m;
    int64_t *value; // by symbol; -1: not known
    bool *used;     // by symbol
    bool missing;
};

static void note_symbol(void *data, int id)
{
    struct sizes *z = data;
    const char *name = z->m->symbols[id];
    if (!z->used[id] && z->value[id] < 0) {
        fail(z->s, "give the size %s, as in --dim %s=4", name, name);
        z->missing = true;
    }
    z->used[id] = true;
}

static int read_sizes(struct subject *s, const struct function *g, int64_t *value)
{
    const struct module *m = g->module;
    struct sizes z = {s, m, value, ARENA_ARRAY(&s->arena, bool, m->n_symbols + 1), false};
    const struct words *words = &s->q->shared.dims;
    for (int i = 0; i < m->n_symbols; i++)
        value[i] = -1;
    for (int i = 0; i < words->n; i++) {
        char name[128];
        const char *text;
        int64_t x;
        if (!option_split(words->word[i], name, sizeof name, &text) || !text || !option_int(text, &x) || x < 0)
            return fail(s, "--dim wants NAME=SIZE, not '%s'", words->word[i]);
        for (int j = 0; j < m->n_symbols; j++)
            if (!strcmp(m->symbols[j], name))
                value[j] = x;
    }
    for (int i = 0; i < g->n_params; i++)
        for (int d = 0; d < g->params[i]->type->rank; d++)
            dims_symbols(m, g->params[i]->type->dims[d], note_symbol, &z);
    for (int i = 0; i < words->n; i++) {
        size_t n = strcspn(words->word[i], "=");
        bool known = false;
        for (int j = 0; j < m->n_symbols; j++)
            known |= z.used[j] && strlen(m->symbols[j]) == n && !memcmp(m->symbols[j], words->word[i], n);
        if (!known)
            return fail(s, "--dim %s: no input has such a size", words->word[i]);
    }
    return z.missing;
}

static int make_inputs(struct subject *s, const struct function *g)
{
    int64_t *value = ARENA_ARRAY(&s->arena, int64_t, g->module->n_symbols + 1);
    if (read_sizes(s, g, value))
        return EXIT_ERROR;
    for (int i = 0; i < g->n_params; i++) {
        const struct type *t = g->params[i]->type;
        struct interp_tensor *x = &s->in[i];
        *x = (struct interp_tensor){.dtype = t->dtype, .rank = t->rank};
        int64_t n = 1;
        for (int d = 0; d < t->rank; d++) {
            if (!dims_eval(g->module, t->dims[d], value, &x->dims[d]) || x->dims[d] < 0)
                return fail(s, "size %d of input %s is not a size with these symbols", d, s->in_names[i]);
            if (__builtin_mul_overflow(n, x->dims[d], &n))
                return fail(s, "input %s is too large", s->in_names[i]);
        }
        if (n > MOST_BYTES / dtype_bytes(t->dtype))
            return fail(s, "input %s is too large", s->in_names[i]);
        x->bytes = n * dtype_bytes(t->dtype);
        x->data = arena_alloc(&s->arena, (size_t)x->bytes + 1);
        random_input(t->dtype, (uint64_t)s->q->shared.seed, (uint64_t)i, x->data, n);
    }
    return EXIT_OK;
}

// Names of inputs or outputs, in quotes, or their positions.
static const char **port_names(struct subject *s, const char *const *names, int n, const char *what)
{
    const char **out = ARENA_ARRAY(&s->arena, const char *, n + 1);
    for (int i = 0; i < n; i++)
        out[i] =
            names && names[i] ? arena_printf(&s->arena, "'%s'", names[i]) : arena_printf(&s->arena, "%s %d", what, i);
    return out;
}

// ---- Runs ------------------------------------------------------------------------------------------------------

static _Thread_local char last_message[600];

static void note_message(const tg_env *env, const char *message)
{
    (void)env;
    snprintf(last_message, sizeof last_message, "%s", message);
}

static int64_t *shape_of(const struct subject *s, const struct interp_tensor *x)
{
    int64_t *shape = ARENA_ARRAY((struct arena *)&s->arena, int64_t, x->rank + 1);
    memcpy(shape, x->dims, sizeof *shape * (size_t)x->rank);
    return shape;
}

static tg_tensor tensor_of(const struct subject *s, const struct interp_tensor *x, char *data)
{
    return (tg_tensor){data, {TG_DEVICE_CPU, 0}, x->rank, data_type_of(x->dtype), shape_of(s, x), NULL, 0};
}

static const char *shape_text(const struct subject *s, int rank, const int64_t *shape)
{
    char *text = arena_printf(&s->diags->arena, "[");
    for (int d = 0; d < rank; d++)
        text = arena_printf(&s->diags->arena, "%s%s%" PRId64, text, d ? ", " : "", shape[d]);
    return arena_printf(&s->diags->arena, "%s]", text);
}

// The sizes that the model tells must be those that the interpreter found.
static int check_shapes(const struct subject *s, const struct run *r, int64_t *arena_bytes)
{
    int64_t **shapes = ARENA_ARRAY((struct arena *)&s->arena, int64_t *, s->n_out + 1);
    for (int i = 0; i < s->n_out; i++)
        shapes[i] = ARENA_ARRAY((struct arena *)&s->arena, int64_t, MAX_RANK);
    if (s->code->n_inputs != s->n_in || s->code->n_outputs != s->n_out)
        return fail(s, "the compiled model has %d inputs and %d outputs, not %d and %d", s->code->n_inputs,
                    s->code->n_outputs, s->n_in, s->n_out);
    if (s->code->shapes(&r->env, r->in, shapes, arena_bytes))
        return fail(s, "the compiled model refuses the inputs: %s", last_message);
    for (int i = 0; i < s->n_out; i++) {
        const struct interp_tensor *x = &s->want[i];
        const tg_port *port = &s->code->outputs[i];
        if (data_type_dtype(port->dtype) != data_type_dtype(data_type_of(x->dtype)) || port->rank != x->rank ||
            (x->rank && memcmp(shapes[i], x->dims, sizeof(int64_t) * (size_t)x->rank)))
            return fail(s, "%s is %s %s in the compiled model and %s %s in the interpreter", s->out_names[i],
                        dtype_info[data_type_dtype(port->dtype)].name, shape_text(s, port->rank, shapes[i]),
                        dtype_info[x->dtype].name, shape_text(s, x->rank, x->dims));
    }
    return EXIT_OK;
}

static void run_finish(struct run *r)
{
    for (int i = 0; r->memory && i < r->s->n_in + r->s->n_out + 1; i++)
        fence_finish(&r->memory[i]);
}

static int run_init(struct run *r, const struct subject *s, const char *name, tg_pool *pool, enum fence_side side,
                    int fill)
{
    struct arena *a = (struct arena *)&s->arena;
    *r = (struct run){.s = s, .name = name, .env = *tg_pool_env(pool)};
    r->env.error = note_message;
    r->memory = ARENA_ARRAY(a, struct fence, s->n_in + s->n_out + 1);
    r->in = ARENA_ARRAY(a, tg_tensor, s->n_in + 1);
    r->out = ARENA_ARRAY(a, tg_tensor, s->n_out + 1);
    for (int i = 0; i < s->n_in + s->n_out; i++) {
        const struct interp_tensor *x = i < s->n_in ? &s->in[i] : &s->want[i - s->n_in];
        if (!fence_init(&r->memory[i], (size_t)x->bytes, side))
            return fail(s, "out of memory");
        if (i < s->n_in)
            memcpy(r->memory[i].data, x->data, (size_t)x->bytes);
        else
            memset(r->memory[i].data, fill, (size_t)x->bytes);
        *(i < s->n_in ? &r->in[i] : &r->out[i - s->n_in]) = tensor_of(s, x, r->memory[i].data);
    }
    int64_t bytes;
    if (check_shapes(s, r, &bytes))
        return EXIT_ERROR;
    struct fence *arena = &r->memory[s->n_in + s->n_out];
    if (bytes < 0 || bytes > 8 * MOST_BYTES || !fence_init(arena, ((size_t)bytes + 63) / 64 * 64, side))
        return fail(s, "there is no memory for the %" PRId64 " bytes that the model works in", bytes);
    r->arena = arena->data;
    memset(r->arena, fill, arena->bytes);
    return EXIT_OK;
}

static void call_model(void *data)
{
    struct run *r = data;
    r->status = r->s->code->run(&r->env, r->in, r->out, r->arena);
}

static const char *memory_name(const struct subject *s, int i)
{
    return i < s->n_in ? s->in_names[i] : i < s->n_in + s->n_out ? s->out_names[i - s->n_in] : "its arena";
}

static int run_model(struct run *r)
{
    const struct subject *s = r->s;
    int number;
    const char *at;
    if (!fence_call(call_model, r, &number, &at)) {
        for (int i = 0; i <= s->n_in + s->n_out && (number == SIGSEGV || number == SIGBUS); i++) {
            const struct fence *f = &r->memory[i];
            if (at >= f->map && at < f->map + f->map_bytes)
                return fail(s, "the compiled model touched memory %" PRIdPTR " bytes %s %s",
                            at < f->data ? f->data - at : at - (f->data + f->bytes) + 1,
                            at < f->data ? "before the start of" : "past the end of", memory_name(s, i));
        }
        return fail(s, "the compiled model got signal %d (%s)", number, strsignal(number));
    }
    if (r->status)
        return fail(s, "the compiled model stopped: %s", last_message);
    for (int i = 0; i <= s->n_in + s->n_out; i++) {
        if (!fence_intact(&r->memory[i]))
            return fail(s, "the compiled model wrote beside the memory of %s", memory_name(s, i));
        if (i < s->n_in && memcmp(r->memory[i].data, s->in[i].data, (size_t)s->in[i].bytes))
            return fail(s, "the compiled model changed its input %s", s->in_names[i]);
    }
    return EXIT_OK;
}

// ---- Results ---------------------------------------------------------------------------------------------------

// `'y'[3, 5]`
static const char *element_name(const struct subject *s, int output, int64_t at)
{
    const struct interp_tensor *x = &s->want[output];
    int64_t index[MAX_RANK];
    for (int d = x->rank - 1; d >= 0; d--) {
        index[d] = at % x->dims[d];
        at /= x->dims[d];
    }
    return arena_printf(&s->diags->arena, "%s%s", s->out_names[output], shape_text(s, x->rank, index));
}

static int compare(const struct subject *s, const struct run *r)
{
    struct check_difference worst = {0};
    double largest = 0;
    int output = -1;
    int64_t n_wrong = 0;
    for (int i = 0; i < s->n_out; i++) {
        enum dtype t = s->want[i].dtype;
        struct check_difference d = check_compare(t, s->want[i].data, r->out[i].data, s->want[i].bytes / dtype_bytes(t),
                                                  check_limit(t, s->q->tolerance));
        n_wrong += d.n_wrong;
        largest = fmax(largest, d.absolute);
        if (d.worst > worst.worst) {
            worst = d;
            output = i;
        }
    }
    printf("@%s: compiled against interpreted: greatest difference %.3g", s->name, largest);
    if (output >= 0)
        printf(", worst at %s", element_name(s, output, worst.at));
    printf("\n");
    if (worst.worst <= 1)
        return EXIT_OK;
    enum dtype t = s->want[output].dtype;
    return fail(s, "%s is %s compiled and %s interpreted; %" PRId64 " element%s wrong",
                element_name(s, output, worst.at), check_scalar_text(t, worst.have, s->diags),
                check_scalar_text(t, worst.want, s->diags), n_wrong, n_wrong == 1 ? " is" : "s are");
}

// Bit for bit.
static int compare_runs(const struct subject *s, const struct run *first, const struct run *r)
{
    for (int i = 0; i < s->n_out; i++) {
        enum dtype t = s->want[i].dtype;
        int64_t width = dtype_bytes(t);
        const char *x = first->out[i].data, *y = r->out[i].data;
        for (int64_t at = 0; at < s->want[i].bytes; at += width)
            if (memcmp(x + at, y + at, (size_t)width))
                return fail(s, "%s is %s %s and %s %s", element_name(s, i, at / width),
                            check_scalar_text(t, dtype_load(t, x + at), s->diags), first->name,
                            check_scalar_text(t, dtype_load(t, y + at), s->diags), r->name);
    }
    return EXIT_OK;
}

static int run_and_compare(const struct subject *s)
{
    int threads = s->q->shared.threads > 2 ? (int)s->q->shared.threads : 2;
    const struct {
        const char *name;
        tg_pool *pool;
        enum fence_side side;
        int fill;
    } plan[] = {{"on one thread", s->one, FENCE_END, 0xFF},
                {"in other memory", s->one, FENCE_START, 0x5A},
                {arena_printf(&s->diags->arena, "on %d threads", threads), s->many, FENCE_END, 0x81}};
    struct run first = {0};
    int status = run_init(&first, s, plan[0].name, plan[0].pool, plan[0].side, plan[0].fill);
    if (status == EXIT_OK)
        status = run_model(&first);
    if (status == EXIT_OK)
        status = compare(s, &first);
    for (int i = 1; i < 3 && status == EXIT_OK; i++) {
        struct run r = {0};
        status = run_init(&r, s, plan[i].name, plan[i].pool, plan[i].side, plan[i].fill);
        if (status == EXIT_OK)
            status = run_model(&r);
        if (status == EXIT_OK)
            status = compare_runs(s, &first, &r);
        run_finish(&r);
    }
    run_finish(&first);
    return status;
}

// ---- The command -----------------------------------------------------------------------------------------------

static int check(struct subject *s, struct function *g, const struct compile_options *options)
{
    struct module *m = g->module;
    if (!target_runs_here(&options->target))
        return fail(s, "this machine cannot run code for %s", options->target.name);
    m->first_function = m->last_function = g;
    g->next = NULL;
    if (make_inputs(s, g))
        return EXIT_ERROR;
    struct interp_tensor *want = ARENA_ARRAY(&s->arena, struct interp_tensor, s->n_out + 1);
    if (interp_graph(g, s->in, want, 0, s->diags))
        return EXIT_ERROR;
    s->want = want;
    if (graph_compile(m, options, s->diags) || model_load(m, options, &s->loaded, s->diags))
        return EXIT_ERROR;
    s->code = model_code(s->loaded);
    int threads = s->q->shared.threads > 2 ? (int)s->q->shared.threads : 2;
    if (tg_pool_create(1, &s->one) || tg_pool_create(threads, &s->many))
        return fail(s, "out of memory");
    return run_and_compare(s);
}

int check_graph(const struct check_request *q, struct function *g, const struct compile_options *options,
                struct diags *diags)
{
    struct subject s = {.q = q, .diags = diags, .loc = g->loc, .name = g->name, .n_in = g->n_params};
    arena_init(&s.arena);
    s.n_out = block_terminator(g->body)->n_operands;
    s.in_names = port_names(&s, g->input_names, s.n_in, "input");
    s.out_names = port_names(&s, g->output_names, s.n_out, "output");
    s.in = ARENA_ARRAY(&s.arena, struct interp_tensor, s.n_in + 1);
    int status = check(&s, g, options);
    for (int i = 0; s.want && i < s.n_out; i++)
        free(s.want[i].data);
    tg_pool_destroy(s.one);
    tg_pool_destroy(s.many);
    model_unload(s.loaded);
    arena_finish(&s.arena);
    return status;
}
