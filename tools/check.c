// tegula check: runs one kernel on the same random data by the interpreter before the passes (tile), by the interpreter
// after them (shaped), and as machine code (native), and compares the memory they leave behind.
//
// Every view parameter, written to or not, starts with random elements, so an element that a stage should have left
// alone differs as well. Machine code runs twice, with memory that ends, then starts, at a page that may not be
// touched.
//
// Graphs are compared by check_graph.c.
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <tegula/runtime.h>

#include "codegen/jit.h"
#include "ir/interp.h"
#include "tools/check.h"
#include "tools/fence.h"

#define MOST_PARAMS 64
#define MOST_BYTES ((int64_t)1 << 33)

// What a kernel is run on.
struct subject {
    struct function *k;
    int64_t *symbols;                    // values by id
    struct interp_arg args[MOST_PARAMS]; // data is unset
    void *start[MOST_PARAMS];            // the contents before a run, of views
};

// The memory of one run; those of scalar parameters are empty.
struct run {
    struct fence memory[MOST_PARAMS];
};

static const struct type *param_type(const struct subject *s, int i)
{
    return s->k->params[i]->type;
}

static bool is_view(const struct subject *s, int i)
{
    return param_type(s, i)->kind == TYPE_VIEW;
}

static int fail(struct diags *diags, const struct subject *s, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static int fail(struct diags *diags, const struct subject *s, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    diag_error(diags, s->k->loc, "@%s: %s", s->k->name, arena_vprintf(&diags->arena, format, args));
    va_end(args);
    return 1;
}

// ---- Data ------------------------------------------------------------------------------------------------------

static uint64_t next_random(uint64_t *state) // splitmix64
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

struct range {
    double lo, hi;
};

static struct range usual_range(enum dtype t)
{
    if (dtype_is_float(t))
        return (struct range){-1, 1};
    if (dtype_info[t].bits <= 8) {
        double n = ldexp(1, dtype_info[t].bits - dtype_is_signed(t));
        return (struct range){dtype_is_signed(t) ? -n : 0, n - 1};
    }
    return (struct range){dtype_is_signed(t) ? -100 : 0, 100};
}

static union scalar random_scalar(uint64_t *state, enum dtype t, struct range r)
{
    uint64_t bits = next_random(state);
    if (dtype_is_float(t))
        return dtype_cast(t, DTYPE_F64, (union scalar){.f = r.lo + (r.hi - r.lo) * ldexp((double)(bits >> 11), -53)});
    uint64_t lo = (uint64_t)(int64_t)r.lo, n = (uint64_t)(int64_t)r.hi - lo + 1; // 0: all there are
    return (union scalar){.i = dtype_wrap(t, (int64_t)(lo + (n ? bits % n : bits)))};
}

// The value given for a name, as in `--size M=37`; NULL if none is.
static const char *given(const struct words *words, const char *name)
{
    for (int i = words->n - 1; i >= 0; i--) {
        char have[128];
        const char *value;
        if (option_split(words->word[i], have, sizeof have, &value) && value && !strcmp(have, name))
            return value;
    }
    return NULL;
}

// Every name given must be one the kernel has.
static int check_names(const struct subject *s, const char *option, const struct words *words, bool symbols,
                       struct diags *diags)
{
    int status = 0;
    for (int i = 0; i < words->n; i++) {
        char name[128];
        const char *value;
        bool known = false;
        if (!option_split(words->word[i], name, sizeof name, &value) || !value)
            return fail(diags, s, "%s wants NAME=VALUE, not '%s'", option, words->word[i]);
        for (int j = 0; symbols && j < s->k->module->n_symbols; j++)
            known |= !strcmp(s->k->module->symbols[j], name);
        size_t n = symbols ? strcspn(name, ".") : strlen(name);
        for (int j = 0; (!symbols || name[n]) && j < s->k->n_params; j++)
            known |= strlen(s->k->params[j]->name) == n && !memcmp(s->k->params[j]->name, name, n);
        if (!known)
            status =
                fail(diags, s, "%s %s: there is no such %s", option, words->word[i], symbols ? "size" : "parameter");
    }
    return status;
}

static int set_symbols(struct subject *s, const struct check_request *q, struct diags *diags)
{
    int status = 0;
    for (int i = 0; i < s->k->n_symbols; i++) {
        const char *name = s->k->module->symbols[i], *text = s->k->symbols[i] ? given(&q->sizes, name) : "0";
        if (!text)
            status = fail(diags, s, "give the size %s, as in --size %s=64", name, name);
        else if (!option_int(text, &s->symbols[i]) || s->symbols[i] < 0)
            status = fail(diags, s, "--size %s=%s is not a size", name, text);
    }
    return status;
}

static int set_view(struct subject *s, int i, const struct check_request *q, uint64_t *random, struct range r,
                    struct diags *diags)
{
    const struct type *t = param_type(s, i);
    struct interp_view *v = &s->args[i].view;
    const char *name = s->k->params[i]->name;
    for (int d = 0; d < t->rank; d++) {
        char full[160];
        snprintf(full, sizeof full, "%s.%d", name, d);
        const char *text = t->dims[d] == DIM_UNKNOWN ? given(&q->sizes, full) : "0";
        v->strides[d] = 1;
        if (!text || !option_int(text, &v->sizes[d]) || v->sizes[d] < 0)
            return fail(diags, s, "give the size of dimension %d of %%%s, as in --size %s=64", d, name, full);
    }
    if (interp_view_fill(v, t, s->symbols))
        return fail(diags, s, "%%%s is too large", name);
    int64_t last = 0, elements;
    bool empty = false;
    for (int d = 0; d < t->rank; d++) {
        int64_t n;
        empty |= v->sizes[d] == 0;
        if (!empty && (v->strides[d] < 0 || __builtin_mul_overflow(v->sizes[d] - 1, v->strides[d], &n) ||
                       __builtin_add_overflow(last, n, &last)))
            return fail(diags, s, "the strides of %%%s are negative or too large", name);
    }
    elements = empty ? 0 : last + 1;
    int64_t width = dtype_bytes(t->dtype);
    if (elements > MOST_BYTES / width)
        return fail(diags, s, "%%%s is too large", name);
    v->bytes = elements * width;
    char *data = s->start[i] = malloc((size_t)v->bytes + 1);
    if (!data)
        return fail(diags, s, "out of memory");
    for (int64_t e = 0; e < elements; e++)
        dtype_store(t->dtype, data + e * width, random_scalar(random, t->dtype, r));
    return 0;
}

static int set_scalar(struct subject *s, int i, const struct check_request *q, uint64_t *random, struct range r,
                      struct diags *diags)
{
    enum dtype t = param_type(s, i)->dtype;
    const char *name = s->k->params[i]->name, *text = given(&q->args, name);
    double f;
    int64_t n;
    s->args[i].scalar = random_scalar(random, t, r);
    if (!text)
        return 0;
    bool ok = dtype_is_float(t) ? option_number(text, &f) : option_int(text, &n);
    if (!ok)
        return fail(diags, s, "--arg %s=%s is not a value of type %s", name, text, dtype_info[t].name);
    s->args[i].scalar = dtype_is_float(t) ? dtype_cast(t, DTYPE_F64, (union scalar){.f = f})
                                          : dtype_cast(t, DTYPE_I64, (union scalar){.i = n});
    return 0;
}

static int subject_init(struct subject *s, const struct check_request *q, struct diags *diags)
{
    if (s->k->n_params > MOST_PARAMS)
        return fail(diags, s, "has more than %d parameters", MOST_PARAMS);
    int status = check_names(s, "--size", &q->sizes, true, diags) | check_names(s, "--arg", &q->args, false, diags) |
                 check_names(s, "--range", &q->ranges, false, diags);
    if (status || set_symbols(s, q, diags))
        return 1;
    for (int i = 0; i < s->k->n_params; i++) {
        const char *name = s->k->params[i]->name, *text = given(&q->ranges, name);
        struct range r = usual_range(param_type(s, i)->dtype);
        char end;
        if (text && (sscanf(text, "%lf:%lf%c", &r.lo, &r.hi, &end) != 2 || !(r.lo <= r.hi)))
            return fail(diags, s, "--range %s=%s is not a range, as in %s=0:99", name, text, name);
        uint64_t random = (uint64_t)q->shared.seed;
        for (const char *c = name; *c; c++)
            random = (random ^ (unsigned char)*c) * 1099511628211u;
        if (is_view(s, i) ? set_view(s, i, q, &random, r, diags) : set_scalar(s, i, q, &random, r, diags))
            return 1;
    }
    return 0;
}

static void subject_finish(struct subject *s)
{
    for (int i = 0; i < MOST_PARAMS; i++)
        free(s->start[i]);
    free(s->symbols);
}

// ---- Runs ------------------------------------------------------------------------------------------------------

static void run_finish(struct run *r)
{
    for (int i = 0; i < MOST_PARAMS; i++)
        fence_finish(&r->memory[i]);
}

static int run_init(struct run *r, const struct subject *s, enum fence_side side, struct diags *diags)
{
    run_finish(r);
    for (int i = 0; i < s->k->n_params; i++) {
        if (!is_view(s, i))
            continue;
        size_t bytes = (size_t)s->args[i].view.bytes;
        if (!fence_init(&r->memory[i], bytes, side))
            return fail(diags, s, "out of memory");
        memcpy(r->memory[i].data, s->start[i], bytes);
    }
    return 0;
}

static int interpret(const struct subject *s, struct run *r, struct diags *diags)
{
    struct interp_arg args[MOST_PARAMS];
    if (run_init(r, s, FENCE_END, diags))
        return 1;
    memcpy(args, s->args, sizeof args);
    for (int i = 0; i < s->k->n_params; i++)
        args[i].view.data = r->memory[i].data;
    return interp_run(s->k, args, s->symbols, 0, diags);
}

struct native {
    struct jit *jit;
    const tg_kernel *kernel;
    tg_pool *pool;
    tg_arg args[2 * MOST_PARAMS + 256];
    int n_args, status;
    int64_t grid;
};

static void native_finish(struct native *n)
{
    tg_pool_destroy(n->pool);
    jit_destroy(n->jit);
}

static int native_init(struct native *n, const struct subject *s, const struct check_request *q,
                       const struct driver_buffer *object, struct diags *diags)
{
    char *message = NULL;
    void *address = NULL;
    char *symbol = arena_printf(&s->k->module->arena, "%s__kernel", s->k->name);
    int status = jit_create(&n->jit, &message) || jit_add_object(n->jit, object, &message) ||
                 jit_lookup(n->jit, symbol, &address, &message);
    if (!status && tg_pool_create((int)q->shared.threads, &n->pool))
        status = fail(diags, s, "out of memory");
    else if (status)
        fail(diags, s, "%s", message ? message : "out of memory");
    free(message);
    n->kernel = address;
    return status;
}

static void set_native_args(struct native *n, const struct subject *s, const struct run *r)
{
    n->n_args = 0;
    for (int i = 0; i < s->k->n_params; i++) {
        enum dtype t = param_type(s, i)->dtype;
        tg_arg *a = &n->args[n->n_args++];
        *a = (tg_arg){0};
        if (is_view(s, i))
            a->pointer = r->memory[i].data;
        else if (t == DTYPE_F64)
            a->f64 = s->args[i].scalar.f;
        else if (t == DTYPE_F32)
            a->f32 = (float)s->args[i].scalar.f;
        else
            a->integer = dtype_is_float(t) ? (int64_t)dtype_bits(t, s->args[i].scalar) : s->args[i].scalar.i;
    }
    for (int i = 0; i < s->k->n_symbols; i++)
        if (s->k->symbols[i])
            n->args[n->n_args++].integer = s->symbols[i];
}

static void call_native(void *data)
{
    struct native *n = data;
    const tg_env *env = tg_pool_env(n->pool);
    n->grid = n->kernel->grid(n->args);
    n->status = env->parallel_for(env, n->grid, n->kernel->range, n->args, n->kernel->scratch(n->args));
}

// Names the parameter that an address is near.
static int report_fault(const struct subject *s, const struct run *r, int number, const char *at, struct diags *diags)
{
    for (int i = 0; i < s->k->n_params && (number == SIGSEGV || number == SIGBUS); i++) {
        const struct fence *f = &r->memory[i];
        if (f->map && at >= f->map && at < f->map + f->map_bytes)
            return fail(diags, s, "native code touched memory %" PRIdPTR " bytes %s %%%s",
                        at < f->data ? f->data - at : at - (f->data + f->bytes) + 1,
                        at < f->data ? "before the start of" : "past the end of", s->k->params[i]->name);
    }
    return fail(diags, s, "native code got signal %d (%s)", number, strsignal(number));
}

static int run_native(struct native *n, const struct subject *s, struct run *r, enum fence_side side,
                      struct diags *diags)
{
    if (run_init(r, s, side, diags))
        return 1;
    if (s->k->n_symbols > 256)
        return fail(diags, s, "has more than 256 sizes");
    set_native_args(n, s, r);
    if (n->kernel->n_args != n->n_args)
        return fail(diags, s, "the compiled kernel takes %" PRId64 " arguments where %d are meant", n->kernel->n_args,
                    n->n_args);
    int number;
    const char *address;
    if (!fence_call(call_native, n, &number, &address))
        return report_fault(s, r, number, address, diags);
    if (n->status)
        return fail(diags, s, "native code returned %d", n->status);
    for (int i = 0; i < s->k->n_params; i++)
        if (is_view(s, i) && !fence_intact(&r->memory[i]))
            return fail(diags, s, "native code wrote %s the memory of %%%s", side == FENCE_END ? "before" : "behind",
                        s->k->params[i]->name);
    return 0;
}

// ---- Results ---------------------------------------------------------------------------------------------------

// `%c[3, 5]`, from the position in memory.
static const char *element_name(const struct subject *s, int i, int64_t at, struct diags *diags)
{
    const struct interp_view *v = &s->args[i].view;
    const struct type *t = param_type(s, i);
    int64_t index[MAX_RANK] = {0}, rest = at;
    bool done[MAX_RANK] = {false};
    for (int n = 0; n < t->rank; n++) { // the largest stride first
        int best = -1;
        for (int d = 0; d < t->rank; d++)
            if (!done[d] && (best < 0 || v->strides[d] > v->strides[best]))
                best = d;
        done[best] = true;
        index[best] = v->strides[best] > 0 ? rest / v->strides[best] : 0;
        if (index[best] >= v->sizes[best])
            index[best] = v->sizes[best] - 1;
        rest -= index[best] * v->strides[best];
    }
    char *text = arena_printf(&diags->arena, "%%%s[", s->k->params[i]->name);
    for (int d = 0; d < t->rank; d++)
        text = arena_printf(&diags->arena, "%s%s%" PRId64, text, d ? ", " : "", index[d]);
    return arena_printf(&diags->arena, rest ? "%s] + %" PRId64 " (between elements)" : "%s]", text, rest);
}

static int compare(const struct subject *s, const struct run *want, const struct run *have, const char *want_name,
                   const char *have_name, double tolerance, struct diags *diags)
{
    struct check_difference worst = {0};
    double largest = 0;
    int worst_param = -1;
    int64_t n_wrong = 0;
    for (int i = 0; i < s->k->n_params; i++) {
        if (!is_view(s, i))
            continue;
        enum dtype t = param_type(s, i)->dtype;
        struct check_difference d = check_compare(t, want->memory[i].data, have->memory[i].data,
                                                  s->args[i].view.bytes / dtype_bytes(t), check_limit(t, tolerance));
        n_wrong += d.n_wrong;
        largest = fmax(largest, d.absolute);
        if (d.worst > worst.worst) {
            worst = d;
            worst_param = i;
        }
    }
    printf("@%s: %s against %s: greatest difference %.3g", s->k->name, have_name, want_name, largest);
    if (worst_param >= 0)
        printf(", worst at %s", element_name(s, worst_param, worst.at, diags));
    printf("\n");
    if (worst.worst <= 1)
        return 0;
    enum dtype t = param_type(s, worst_param)->dtype;
    return fail(diags, s, "%s is %s in stage %s and %s in stage %s; %" PRId64 " element%s wrong",
                element_name(s, worst_param, worst.at, diags), check_scalar_text(t, worst.have, diags), have_name,
                check_scalar_text(t, worst.want, diags), want_name, n_wrong, n_wrong == 1 ? " is" : "s are");
}

// A hash of what each parameter that changed has become.
static void print_digest(const struct subject *s, const struct run *r, const char *stage)
{
    for (int i = 0; i < s->k->n_params; i++) {
        size_t bytes = is_view(s, i) ? (size_t)s->args[i].view.bytes : 0;
        if (!bytes || !memcmp(s->start[i], r->memory[i].data, bytes))
            continue;
        uint64_t hash = 14695981039346656037u;
        for (size_t b = 0; b < bytes; b++)
            hash = (hash ^ (unsigned char)r->memory[i].data[b]) * 1099511628211u;
        printf("@%s: %s: %%%s %016" PRIx64 "\n", s->k->name, stage, s->k->params[i]->name, hash);
    }
}

static void print_contents(const struct subject *s, const struct run *r, const char *stage, const struct words *names,
                           struct diags *diags)
{
    for (int i = 0; i < s->k->n_params; i++) {
        bool wanted = false;
        for (int j = 0; j < names->n; j++)
            wanted |= !strcmp(names->word[j], s->k->params[i]->name);
        enum dtype t = param_type(s, i)->dtype;
        int64_t width = dtype_bytes(t), n = s->args[i].view.bytes / width;
        int64_t row = param_type(s, i)->rank ? s->args[i].view.sizes[param_type(s, i)->rank - 1] : 1;
        if (!wanted || !is_view(s, i))
            continue;
        printf("%s %%%s:\n", stage, s->k->params[i]->name);
        for (int64_t e = 0; e < n; e++)
            printf("%s%s", check_scalar_text(t, dtype_load(t, r->memory[i].data + e * width), diags),
                   e + 1 == n || (row > 0 && (e + 1) % row == 0) ? "\n" : " ");
    }
}

// ---- The command -----------------------------------------------------------------------------------------------

enum stage { STAGE_TILE, STAGE_SHAPED, STAGE_NATIVE, STAGE_COUNT };
static const char *const stage_names[STAGE_COUNT] = {"tile", "shaped", "native"};

static bool has_stage(const char *list, enum stage stage)
{
    if (!list)
        return true;
    size_t n = strlen(stage_names[stage]);
    for (const char *p = list; *p; p += *p == ',') {
        size_t m = strcspn(p, ",");
        if (m == n && !memcmp(p, stage_names[stage], n))
            return true;
        p += m;
    }
    return false;
}

struct comparison {
    struct run first, other;
    const char *first_name; // NULL: nothing has run
};

// A stage has run: into first if it is the first.
static int finish_stage(struct comparison *c, const struct subject *s, const struct check_request *q, const char *name,
                        const struct run *r, struct diags *diags)
{
    print_contents(s, r, name, &q->prints, diags);
    if (c->first_name)
        return compare(s, &c->first, r, c->first_name, name, q->tolerance, diags);
    c->first_name = name;
    print_digest(s, r, name);
    return 0;
}

static struct run *target_run(struct comparison *c)
{
    return c->first_name ? &c->other : &c->first;
}

static int check_code(struct comparison *c, const struct subject *s, const struct check_request *q,
                      const struct driver_buffer *object, struct diags *diags)
{
    struct native n = {0};
    int status = native_init(&n, s, q, object, diags);
    for (int side = 0; side < 2 && !status; side++) {
        struct run *r = target_run(c);
        status = run_native(&n, s, r, side ? FENCE_START : FENCE_END, diags) ||
                 finish_stage(c, s, q, side ? "native (page-aligned)" : "native", r, diags);
    }
    native_finish(&n);
    return status;
}

// Code for another machine is made all the same.
static int check_native(struct comparison *c, const struct subject *s, const struct check_request *q,
                        const struct compile_options *options, struct diags *diags)
{
    enum compile_output kind = options->target.kind == TARGET_KIND_X86 ? COMPILE_OBJECT : COMPILE_ASSEMBLY;
    struct driver_buffer code;
    if (compile_lower(s->k->module, options, kind, &code, diags))
        return 1;
    int status = 0;
    if (target_runs_here(&options->target))
        status = check_code(c, s, q, &code, diags);
    else
        printf("@%s: native: compiled; this machine cannot run code for %s\n", s->k->name, options->target.name);
    driver_buffer_finish(&code);
    return status;
}

static int run_stages(struct comparison *c, struct subject *s, const struct check_request *q,
                      const struct compile_options *options, struct diags *diags)
{
    if (has_stage(q->stages, STAGE_TILE)) {
        struct run *r = target_run(c);
        if (interpret(s, r, diags) || finish_stage(c, s, q, "tile", r, diags))
            return 1;
    }
    bool shaped = has_stage(q->stages, STAGE_SHAPED), native = has_stage(q->stages, STAGE_NATIVE);
    if ((shaped || native) && pipeline_run(s->k->module, &options->target, &options->pipeline, diags))
        return 1;
    int status = 0;
    if (shaped) {
        struct run *r = target_run(c);
        status = interpret(s, r, diags) || finish_stage(c, s, q, "shaped", r, diags);
    }
    if (native)
        status |= check_native(c, s, q, options, diags);
    return status;
}

static struct function *choose_function(struct module *m, const char *name, struct diags *diags)
{
    struct function *f = name ? module_function(m, name) : m->first_function;
    struct loc loc = {.file = m->first_function ? m->first_function->loc.file : NULL};
    if (!f)
        diag_error(diags, loc, name ? "there is no function @%s in this file" : "there is no function in this file",
                   name);
    else if (!name && f->next)
        diag_error(diags, loc, "there are several functions in this file; choose one with --kernel");
    else if (f->kind == FUNCTION_HOST)
        diag_error(diags, f->loc, "@%s is a host function; check takes kernels and graphs", f->name);
    return f;
}

// What is said of kernels only must not be said of a graph, and the other way round.
static int check_options(const struct check_request *q, bool graph, struct diags *diags)
{
    const struct {
        const char *name;
        bool given, of_graphs;
    } options[] = {{"size", q->sizes.n, false},
                   {"arg", q->args.n, false},
                   {"range", q->ranges.n, false},
                   {"print", q->prints.n, false},
                   {"stages", q->stages, false},
                   {"dim", q->shared.dims.n, true},
                   {"passes", q->shared.pipeline.passes, false},
                   {"stop-after", q->shared.pipeline.stop_after, false}};
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
        if (options[i].given && options[i].of_graphs != graph) {
            diag_error(diags, (struct loc){.file = q->file}, "--%s is for %s%s", options[i].name,
                       graph ? "kernels, and this is a graph" : "graphs, and this is a kernel",
                       !strcmp(options[i].name, "size") ? "; --dim gives its sizes"
                       : options[i].of_graphs           ? "; --size gives its sizes"
                                                        : "");
            return 1;
        }
    return 0;
}

static int check_kernel(const struct check_request *q, struct function *k, const struct compile_options *options,
                        struct diags *diags)
{
    int status = EXIT_ERROR;
    struct subject s = {.k = k};
    struct comparison c = {0};
    s.symbols = calloc((size_t)k->module->n_symbols + 1, sizeof *s.symbols);
    if (!s.symbols)
        diag_error(diags, (struct loc){0}, "out of memory");
    else if (!subject_init(&s, q, diags) && !run_stages(&c, &s, q, options, diags))
        status = EXIT_OK;
    run_finish(&c.first);
    run_finish(&c.other);
    subject_finish(&s);
    return status;
}

static int check_function(const struct check_request *q, struct module *m, const struct compile_options *options,
                          struct diags *diags)
{
    struct function *f = choose_function(m, q->kernel, diags);
    if (!f || diags->n_errors || check_options(q, f->kind == FUNCTION_GRAPH, diags))
        return EXIT_ERROR;
    return f->kind == FUNCTION_GRAPH ? check_graph(q, f, options, diags) : check_kernel(q, f, options, diags);
}

static int check(const struct command *c, const struct check_request *q, struct diags *diags)
{
    struct compile_options options;
    int status = command_compile_options(c, &q->shared, &options, diags);
    if (status != EXIT_OK)
        return status;
    struct command_source source;
    struct command_given given = {.definitions = &q->shared.definitions, .definitions_are_sizes = true};
    status = command_open(c, q->file, &given, &source, diags);
    if (status == EXIT_OK)
        status = check_function(q, source.module, &options, diags);
    command_close(&source);
    return status;
}

int command_check(int argc, char *const *argv)
{
    static struct check_request q = {.tolerance = -1,
                                     .shared = {.target = "native", .seed = 1, .opt_level = 2, .threads = 1}};
    static struct words files;
    const struct option options[] = {
        {"size", 's', OPTION_WORDS, &q.sizes, "NAME=N", "value of a size; a.0=N for an unknown size of %a"},
        {"arg", 'a', OPTION_WORDS, &q.args, "NAME=V", "value of a scalar parameter [random]"},
        {"range", 'r', OPTION_WORDS, &q.ranges, "NAME=LO:HI",
         "range of a parameter's random values [-1:1; integers -100:100, 8-bit ones all]"},
        {"kernel", 'k', OPTION_STRING, &q.kernel, "NAME", "which one [the only one]"},
        {"stages", 0, OPTION_STRING, &q.stages, "A,B",
         "what to run and compare: tile, shaped (both interpreted), native [all]"},
        {"tolerance", 0, OPTION_NUMBER, &q.tolerance, "T",
         "allowed |x - y| / max(1, |x|) [by element type; 2e-5 for f32, 0 for integers]"},
        {"print", 'p', OPTION_WORDS, &q.prints, "NAME", "print a parameter's contents after each stage"},
    };
    const struct command c = {
        .name = "check",
        .summary =
            "Runs a kernel on random data at several stages of compilation, and compares; or a graph (.onnx, or text)\n"
            "by the interpreter and as a compiled model, on one thread and on --threads, at least two. Sizes of a\n"
            "model that -D gives are compiled in; the code serves any that --dim gives.",
        .files = "FILE",
        .least_files = 1,
        .most_files = 1,
        .n_options = sizeof options / sizeof options[0],
        .options = options,
        .shared_sets = SHARED_TARGET | SHARED_OPTIMIZE | SHARED_DEFINE | SHARED_DIM | SHARED_THREADS | SHARED_SEED |
                       SHARED_PASSES | SHARED_SCHEDULE | SHARED_TRACE,
        .shared = &q.shared};
    int status = options_parse(&c, argc, argv, &files);
    if (status >= 0)
        return status;
    for (const char *p = q.stages ? q.stages : ""; *p; p += *p == ',') {
        size_t n = strcspn(p, ",");
        bool known = false;
        for (int i = 0; i < STAGE_COUNT; i++)
            known |= strlen(stage_names[i]) == n && !memcmp(p, stage_names[i], n);
        if (!known)
            return options_fail(&c, "there is no stage '%.*s'; there are tile, shaped and native", (int)n, p);
        p += n;
    }
    struct diags diags;
    diag_init(&diags);
    q.file = files.word[0];
    status = check(&c, &q, &diags);
    return command_finish(&c, &diags, status);
}
