#include "tools/run_model.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tegula/runtime.h>

#include "codegen/data_type.h"
#include "ir/phase.h"
#include "runtime/memory.h"
#include "tools/fence.h"
#include "tools/random_input.h"
#include "tools/tensor_file.h"

#define MOST_RUNS 1000000
#define MOST_NAMES 16 // in a message

struct session {
    const struct run_request *r;
    const struct command *command;
    struct diags *diags;
    struct arena arena;
    const tg_model *code;
    tg_pool *pool;
    tg_env env;
    const tg_env *run_env; // that, or the watch's
    int64_t *symbols;      // values by position; -1: not known
    tg_tensor *in, *out;
    struct tensor_dir_pending files; // of the outputs
    void *scratch;                   // the arena that runs work in
    double *run_ms;
    int status; // of the last run
    int32_t target;
};

double run_now_ms(void)
{
    return 1e-6 * (double)phase_now();
}

static int fail(struct session *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int fail(struct session *s, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    diag_error(s->diags, (struct loc){.file = s->r->file}, "%s", arena_vprintf(&s->arena, format, args));
    va_end(args);
    return EXIT_ERROR;
}

// ---- Inputs ----------------------------------------------------------------------------------------------------

const char *run_split_input(struct arena *a, const char *word, const char **name)
{
    const char *equals = strrchr(word, '=');
    if (!equals || equals == word || !equals[1])
        return NULL;
    *name = arena_strndup(a, word, (size_t)(equals - word));
    return equals + 1;
}

static int find_input(const struct session *s, const char *name)
{
    for (int i = 0; i < s->code->n_inputs; i++)
        if (!strcmp(s->code->inputs[i].name, name))
            return i;
    return -1;
}

// "'x', 'mask'", for messages.
static const char *input_names(struct session *s)
{
    const char *text = s->code->n_inputs ? "" : "none";
    for (int i = 0; i < s->code->n_inputs && i < MOST_NAMES; i++)
        text = arena_printf(&s->arena, "%s%s'%s'", text, i ? ", " : "", s->code->inputs[i].name);
    return s->code->n_inputs > MOST_NAMES ? arena_printf(&s->arena, "%s, ...", text) : text;
}

static const char *size_names(struct session *s)
{
    const char *text = s->code->n_symbols ? "" : "none";
    for (int i = 0; i < s->code->n_symbols && i < MOST_NAMES; i++)
        text = arena_printf(&s->arena, "%s%s%s", text, i ? ", " : "", s->code->symbols[i]);
    return s->code->n_symbols > MOST_NAMES ? arena_printf(&s->arena, "%s, ...", text) : text;
}

// The files by position in the folder; as many as it has.
static int choose_in_dir(struct session *s, const char **paths)
{
    struct tensor_dir dir;
    if (tensor_dir_list(s->r->input_dir, "input", &s->arena, &dir, s->diags))
        return EXIT_ERROR;
    if (!dir.n && s->code->n_inputs)
        return fail(s, "%s has no input_0.npy or input_0.pb; --input-dir takes inputs by position", s->r->input_dir);
    if (dir.n > s->code->n_inputs)
        return fail(s, "%s has %d inputs and the model takes %d", s->r->input_dir, dir.n, s->code->n_inputs);
    for (int i = 0; i < dir.n; i++)
        paths[i] = dir.paths[i];
    return EXIT_OK;
}

// Everything that is wrong with the model's inputs is reported; what is wrong with the usage, at once.
static int choose_files(struct session *s, const char **paths)
{
    int status = s->r->input_dir ? choose_in_dir(s, paths) : EXIT_OK;
    for (int i = 0; i < s->r->inputs.n; i++) {
        const char *word = s->r->inputs.word[i], *name, *path = run_split_input(&s->arena, word, &name);
        if (!path)
            return options_fail(s->command, "--input wants NAME=FILE, not '%s'", word);
        const char *before;
        for (int j = 0; j < i; j++)
            if (run_split_input(&s->arena, s->r->inputs.word[j], &before) && !strcmp(before, name))
                return options_fail(s->command, "--input gives '%s' twice", name);
        int at = find_input(s, name);
        if (at < 0)
            status = fail(s, "the model has no input '%s'; it has %s", name, input_names(s));
        else
            paths[at] = path;
    }
    return status;
}

// Whether the name is the symbol where everything but letters and digits is _.
static bool equal_letters(const char *name, const char *symbol)
{
    for (; *name && *symbol; name++, symbol++)
        if (*symbol != (isalnum((unsigned char)*name) && (unsigned char)*name < 128 ? *name : '_'))
            return false;
    return *name == *symbol;
}

// What the importer makes of names that are no identifiers: "seq len" is seq_len, "2" is _2.
static bool becomes(const char *name, const char *symbol)
{
    return equal_letters(name, symbol) || (*symbol == '_' && equal_letters(name, symbol + 1));
}

static int find_symbol(const struct session *s, const char *name)
{
    for (int i = 0; i < s->code->n_symbols; i++)
        if (!strcmp(s->code->symbols[i], name))
            return i;
    for (int i = 0; i < s->code->n_symbols; i++)
        if (becomes(name, s->code->symbols[i]))
            return i;
    return -1;
}

static int read_dims(struct session *s)
{
    int status = EXIT_OK;
    for (int i = 0; i < s->r->shared.dims.n; i++) {
        char name[256];
        const char *value;
        int64_t x;
        if (!option_split(s->r->shared.dims.word[i], name, sizeof name, &value) || !value || !option_int(value, &x) ||
            x < 0)
            return options_fail(s->command, "--dim wants NAME=SIZE, not '%s'", s->r->shared.dims.word[i]);
        int at = find_symbol(s, name);
        if (at >= 0 && s->symbols[at] >= 0)
            return options_fail(s->command, "--dim gives '%s' twice", name);
        if (at < 0)
            status = fail(s, "no input has an open size called %s; there is %s", name, size_names(s));
        else
            s->symbols[at] = x;
    }
    return status;
}

// numpy lacks some types: files hold their bits.
static tg_data_type file_type(enum dtype file, tg_data_type wanted)
{
    enum dtype want = data_type_dtype(wanted);
    bool bits = (want == DTYPE_BF16 && file == DTYPE_U16) ||
                ((want == DTYPE_F8E4M3 || want == DTYPE_F8E5M2) && file == DTYPE_U8);
    return bits ? wanted : data_type_of(file);
}

static int read_input(struct session *s, int i, const char *path)
{
    const tg_port *port = &s->code->inputs[i];
    struct tensor_file file;
    if (tensor_file_read(path, &s->arena, &file, s->diags))
        return EXIT_ERROR;
    tg_data_type type = file_type(file.dtype, port->dtype);
    if (memcmp(&type, &port->dtype, sizeof type))
        return fail(s, "%s holds %s, and input '%s' is %s; convert it", path, dtype_info[file.dtype].name, port->name,
                    dtype_info[data_type_dtype(port->dtype)].name);
    if (file.rank != port->rank)
        return fail(s, "%s has %d dimensions, and input '%s' %d; reshape it", path, file.rank, port->name, port->rank);
    int64_t *shape = ARENA_ARRAY(&s->arena, int64_t, file.rank + 1);
    memcpy(shape, file.dims, sizeof *shape * (size_t)file.rank);
    s->in[i] =
        (tg_tensor){.data = file.data, .device = {TG_DEVICE_CPU, 0}, .ndim = file.rank, .dtype = type, .shape = shape};
    int status = EXIT_OK;
    for (int d = 0; d < port->rank; d++) {
        int64_t size = port->dims[d];
        if (size == INT64_MIN || size == shape[d]) // computed from others: the run checks it
            continue;
        int symbol = (int)(-1 - size);
        if (size >= 0)
            status = fail(s, "size %d of %s, input '%s', is %" PRId64 ", and must be %" PRId64, d, path, port->name,
                          shape[d], size);
        else if (s->symbols[symbol] >= 0 && s->symbols[symbol] != shape[d])
            status =
                fail(s, "size %d of %s, input '%s', is %" PRId64 ", but %s is %" PRId64 " by --dim or another input", d,
                     path, port->name, shape[d], s->code->symbols[symbol], s->symbols[symbol]);
        else
            s->symbols[symbol] = shape[d];
    }
    return status;
}

static int random_tensor(struct session *s, int i)
{
    const tg_port *port = &s->code->inputs[i];
    enum dtype t = data_type_dtype(port->dtype);
    int64_t *shape = ARENA_ARRAY(&s->arena, int64_t, port->rank + 1), n = 1;
    for (int d = 0; d < port->rank; d++) {
        int64_t size = port->dims[d];
        if (size == INT64_MIN)
            return fail(s, "size %d of input '%s' is computed from others; give the input by --input", d, port->name);
        if (size < 0) {
            int symbol = (int)(-1 - size);
            if (s->symbols[symbol] < 0) {
                diag_note(s->diags, (struct loc){.file = s->r->file}, "%s is taken to be 1; --dim %s=SIZE chooses it",
                          s->code->symbols[symbol], s->code->symbols[symbol]);
                s->symbols[symbol] = 1;
            }
            size = s->symbols[symbol];
        }
        shape[d] = size;
        if (__builtin_mul_overflow(n, size, &n))
            return fail(s, "input '%s' is too large to be addressed", port->name);
    }
    if (n > INT64_MAX / 64)
        return fail(s, "input '%s' is too large to be addressed", port->name);
    void *data = memory_alloc((size_t)(n * dtype_bytes(t)));
    if (!data)
        return fail(s, "there is no memory for input '%s'", port->name);
    random_input(t, (uint64_t)s->r->shared.seed, (uint64_t)i, data, n);
    s->in[i] = (tg_tensor){data, {TG_DEVICE_CPU, 0}, port->rank, port->dtype, shape, NULL, 0};
    return EXIT_OK;
}

static int make_inputs(struct session *s, const char **paths)
{
    for (int i = 0; i < s->code->n_symbols; i++)
        s->symbols[i] = -1;
    int status = choose_files(s, paths), sizes = status == EXIT_USAGE ? EXIT_USAGE : read_dims(s);
    if (status == EXIT_USAGE || sizes == EXIT_USAGE)
        return EXIT_USAGE;
    status |= sizes;
    for (int i = 0; i < s->code->n_inputs; i++)
        if (paths[i])
            status |= read_input(s, i, paths[i]);
    for (int i = 0; i < s->code->n_inputs && status == EXIT_OK; i++)
        if (!paths[i])
            status = random_tensor(s, i);
    return status;
}

// ---- Running ---------------------------------------------------------------------------------------------------

static _Thread_local char last_message[1024];

void run_note_message(const tg_env *env, const char *message)
{
    (void)env;
    snprintf(last_message, sizeof last_message, "%s", message);
}

const char *run_message(void)
{
    return last_message;
}

static int make_outputs(struct session *s)
{
    const tg_model *code = s->code;
    int64_t **shapes = ARENA_ARRAY(&s->arena, int64_t *, code->n_outputs + 1), bytes;
    for (int i = 0; i < code->n_outputs; i++)
        shapes[i] = ARENA_ARRAY(&s->arena, int64_t, code->outputs[i].rank + 1);
    if (code->shapes(&s->env, s->in, shapes, &bytes))
        return fail(s, "%s", last_message);
    for (int i = 0; i < code->n_outputs; i++) {
        const tg_port *port = &code->outputs[i];
        int64_t n = dtype_bytes(data_type_dtype(port->dtype));
        for (int d = 0; d < port->rank; d++)
            n *= shapes[i][d]; // `shapes` has seen to it that this is a number
        s->out[i] =
            (tg_tensor){memory_alloc((size_t)n), {TG_DEVICE_CPU, 0}, port->rank, port->dtype, shapes[i], NULL, 0};
        if (!s->out[i].data)
            return fail(s, "there is no memory for the %" PRId64 " bytes of output '%s'", n, port->name);
    }
    s->scratch = memory_alloc((size_t)bytes);
    return s->scratch ? EXIT_OK
                      : fail(s, "there is no memory for the %" PRId64 " bytes that the model works in", bytes);
}

static void run_once(void *session)
{
    struct session *s = session;
    s->status = s->code->run(s->run_env, s->in, s->out, s->scratch);
}

static int guarded_run(struct session *s, bool counts)
{
    int number;
    const char *address;
    const struct run_watch *watch = s->r->watch;
    if (watch)
        watch->before_run(watch->data, counts);
    bool survived = fence_call(run_once, s, &number, &address);
    if (watch)
        watch->after_run(watch->data);
    if (!survived)
        return fail(s, "the compiled model got signal %d (%s) at address %p; this is a fault of tegula", number,
                    strsignal(number), (const void *)address);
    return s->status ? fail(s, "%s", last_message) : EXIT_OK;
}

static int compare_times(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// Once, and then --repeat times.
static int run_all(struct session *s)
{
    int64_t n = s->r->repeat;
    s->run_ms = ARENA_ARRAY(&s->arena, double, n + 1);
    const struct run_watch *watch = s->r->watch;
    const struct run_facts facts = {s->code, s->in, s->out, s->symbols, tg_pool_threads(s->pool), s->target};
    s->run_env = watch ? watch->begin(watch->data, &facts, &s->env) : &s->env;
    if (!s->run_env)
        return EXIT_ERROR;
    tg_pool_begin(s->pool);
    int status = guarded_run(s, !n);
    for (int64_t i = 0; i < n && status == EXIT_OK; i++) {
        double start = run_now_ms();
        status = guarded_run(s, true);
        s->run_ms[i] = run_now_ms() - start;
    }
    tg_pool_end(s->pool);
    qsort(s->run_ms, (size_t)n, sizeof *s->run_ms, compare_times);
    return status;
}

// ---- Outputs ---------------------------------------------------------------------------------------------------

static int prepare_outputs(struct session *s)
{
    if (!s->r->output_dir)
        return EXIT_OK;
    struct tensor_file *files = ARENA_ARRAY(&s->arena, struct tensor_file, s->code->n_outputs + 1);
    for (int i = 0; i < s->code->n_outputs; i++) {
        const tg_tensor *x = &s->out[i];
        struct tensor_file *file = &files[i];
        enum dtype t = data_type_dtype(x->dtype);
        *file = (struct tensor_file){
            .dtype = t, .rank = x->ndim, .data = x->data, .bytes = dtype_bytes(t), .name = s->code->outputs[i].name};
        for (int d = 0; d < x->ndim; d++)
            file->bytes *= file->dims[d] = x->shape[d];
    }
    return tensor_dir_prepare(&s->files, s->r->output_dir, "output", s->r->format, s->code->n_outputs, files, &s->arena,
                              s->diags);
}

// What has been printed is known to have arrived only now.
static int finish_printing(struct session *s)
{
    return fflush(stdout) || ferror(stdout) ? fail(s, "cannot write to standard output") : EXIT_OK;
}

// ---- Code ------------------------------------------------------------------------------------------------------

// What else it could have been is to be known: other machines take that.
static void tell_target(struct session *s)
{
    const tg_model *code = s->code;
    bool program = s->command->program;
    if (code->n_targets == 1 || (program && !getenv("TEGULA_TARGET")))
        return;
    fprintf(stderr, "%s%s: note: runs the code for %s, of that for", program ? "" : "tegula ", s->command->name,
            code->targets[s->target]);
    for (int i = 0; i < code->n_targets; i++)
        fprintf(stderr, "%s %s", i ? "," : "", code->targets[i]);
    fputc('\n', stderr);
}

static int load_code(struct session *s)
{
    if (s->code->load(&s->env, NULL, &s->target))
        return fail(s, "%s", last_message);
    tell_target(s);
    return EXIT_OK;
}

// ---- All of it -------------------------------------------------------------------------------------------------

static void print_results(struct session *s, const struct run_load *load)
{
    if (s->r->watch && s->r->watch->alone) {
        s->r->watch->print(s->r->watch->data, s->r->json);
        return;
    }
    const struct run_results results = {
        .code = s->code,
        .target = s->code->targets[s->target],
        .out = s->out,
        .n_runs = s->r->repeat,
        .run_ms = s->run_ms,
        .load = *load,
        .watch = s->r->watch,
    };
    (s->r->json ? run_print_json : run_print_text)(&results);
}

// Files appear when the results have been printed: what fails has left nothing.
static int tell_results(struct session *s, const struct run_load *load)
{
    const struct run_watch *watch = s->r->watch;
    int status = prepare_outputs(s);
    if (status == EXIT_OK && watch && watch->prepare)
        status = watch->prepare(watch->data, s->diags);
    if (status == EXIT_OK) {
        print_results(s, load);
        status = finish_printing(s);
    }
    if (status == EXIT_OK)
        status = tensor_dir_commit(&s->files, s->diags);
    if (status == EXIT_OK && watch && watch->commit)
        status = watch->commit(watch->data, s->diags);
    tensor_dir_discard(&s->files);
    return status;
}

static int run_session(struct session *s, const char **paths, const struct run_load *load)
{
    const char *made = NULL;
    int status = load_code(s);
    if (status == EXIT_OK)
        status = make_inputs(s, paths);
    if (status == EXIT_OK && s->r->output_dir) // before the work, which may take long
        status = tensor_dir_make(s->r->output_dir, &made, &s->arena, s->diags);
    if (status == EXIT_OK)
        status = make_outputs(s);
    if (status == EXIT_OK)
        status = run_all(s);
    if (status == EXIT_OK)
        status = tell_results(s, load);
    if (status != EXIT_OK && made)
        tensor_dir_remove(s->r->output_dir, made, &s->arena);
    return status;
}

int run_model(const struct command *c, const struct run_request *r, const tg_model *code, const struct run_load *load,
              struct diags *diags)
{
    struct session s = {.r = r, .command = c, .diags = diags, .code = code};
    if (tg_pool_create((int)r->shared.threads, &s.pool))
        return fail(&s, "out of memory");
    arena_init(&s.arena);
    s.env = *tg_pool_env(s.pool);
    s.env.error = run_note_message;
    const char **paths = ARENA_ARRAY(&s.arena, const char *, code->n_inputs + 1);
    s.symbols = ARENA_ARRAY(&s.arena, int64_t, code->n_symbols + 1);
    s.in = ARENA_ARRAY(&s.arena, tg_tensor, code->n_inputs + 1);
    s.out = ARENA_ARRAY(&s.arena, tg_tensor, code->n_outputs + 1);
    int status = run_session(&s, paths, load);
    for (int i = 0; i < code->n_inputs; i++)
        if (!paths[i]) // the others lie in the arena
            memory_free(s.in[i].data);
    for (int i = 0; i < code->n_outputs; i++)
        memory_free(s.out[i].data);
    memory_free(s.scratch);
    tg_pool_destroy(s.pool);
    arena_finish(&s.arena);
    return status;
}

// ---- Options ---------------------------------------------------------------------------------------------------

void run_options(struct run_request *r, struct option *options)
{
    const struct option rows[RUN_OPTIONS] = {
        {"input", 'i', OPTION_WORDS, &r->inputs, "NAME=FILE", "an input's tensor, .npy or .pb [random numbers]"},
        {"input-dir", 0, OPTION_STRING, &r->input_dir, "DIR",
         "inputs by position: DIR/input_0.npy, DIR/input_1.pb ..."},
        {"output-dir", 0, OPTION_STRING, &r->output_dir, "DIR", "write the outputs: DIR/output_0.npy ..."},
        {"format", 0, OPTION_CHOICE, &r->format, "npy|pb", "of the outputs"},
        {"repeat", 'r', OPTION_INT, &r->repeat, "N", "run N times more and print how long that took", 0, MOST_RUNS},
        {"json", 0, OPTION_FLAG, &r->json, NULL, "print JSON"},
    };
    memcpy(options, rows, sizeof rows);
}

int run_check_options(const struct command *c, const struct run_request *r)
{
    if (r->output_dir && !*r->output_dir)
        return options_fail(c, "--output-dir wants the name of a folder");
    return -1;
}
