// tegula compile: models ahead of time, to objects, shared objects, or any stage on the way.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "codegen/header.h"
#include "codegen/model_file.h"
#include "ir/lex.h"
#include "tools/command.h"
#include "tools/outputs.h"

// What --emit asks for; compilation goes no further.
enum stage { STAGE_GRAPH, STAGE_TILE, STAGE_SHAPED, STAGE_LLVM, STAGE_ASSEMBLY, STAGE_OBJECT, STAGE_COUNT };
static const char *const stages[STAGE_COUNT] = {"graph", "tile", "shaped", "llvm", "asm", "obj"};

// The object of tools/program.c and what it needs, made by tools/embed.py.
extern const unsigned char tegula_program[];
extern const size_t tegula_program_size;

// What --target is for files if nobody says: each level of the x86-64 psABI that there is code for. Text is for one.
static const char portable_targets[] = "x86-64-v2,x86-64-v3,x86-64-v4";
#define MOST_TARGETS 16

struct job {
    const char *input, *output, *emit, *header, *name, *weights;
    struct shared_options shared;
    enum stage stage;
    enum link_kind kind; // of STAGE_OBJECT
    int n_targets;
    struct compile_options options[MOST_TARGETS]; // for each, in the order of target_compare
    struct command_source source;                 // its module is for the first
};

// ---- What to make ----------------------------------------------------------------------------------------------

static int choose_output(const struct command *c, struct job *j)
{
    j->stage = STAGE_OBJECT;
    for (int i = 0; i < STAGE_COUNT && j->emit; i++)
        if (!strcmp(j->emit, stages[i]))
            j->stage = (enum stage)i;
    if (!j->output && j->stage == STAGE_OBJECT)
        return options_fail(c, "-o is missing");
    bool shared = !j->emit && j->output && command_ends_in(j->output, ".so");
    bool object = j->emit || command_ends_in(j->output, ".o");
    const char *slash = object || shared ? NULL : strrchr(j->output, '/');
    bool printed = j->output && !strcmp(j->output, "-");
    if (!object && !shared && (printed || strchr(slash ? slash : j->output, '.')))
        return options_fail(
            c, "cannot tell from '%s' what to make: .o, .so, or an executable without an ending; or give --emit",
            j->output);
    j->kind = shared ? LINK_SHARED : object ? LINK_RELOCATABLE : LINK_EXECUTABLE;
    if (j->stage == STAGE_OBJECT && printed && isatty(STDOUT_FILENO))
        return options_fail(c, "an object is not for a terminal; -o names a file");
    if (j->header && j->stage != STAGE_OBJECT)
        return options_fail(c, "--header is for objects");
    if (j->weights && j->stage != STAGE_OBJECT)
        return options_fail(c, "--weights is for objects");
    if (j->weights && (!*j->weights || command_ends_in(j->weights, "/") || !strcmp(j->weights, "-")))
        return options_fail(c, "--weights wants the name of a file, not '%s'", j->weights);
    const struct pipeline_options *p = &j->shared.pipeline;
    if (j->stage == STAGE_GRAPH && (p->passes || p->stop_after || p->bisect))
        return options_fail(c,
                            "--emit graph is what there is before all passes; --stop-after says how far they go with "
                            "--emit tile");
    return -1;
}

static int check_places(const struct command *c, const struct job *j)
{
    const struct output_name names[] = {{"-o", j->output, false},
                                        {"--header", j->header, false},
                                        {"--weights", j->weights, false},
                                        {"the model", j->input, true}};
    return outputs_differ(c, sizeof names / sizeof *names, names);
}

// What is left of the output's name, or the input's.
static const char *name_of_file(const struct job *j, struct arena *a)
{
    const char *path = j->output && strcmp(j->output, "-") ? j->output : j->input, *slash = strrchr(path, '/');
    const char *base = slash ? slash + 1 : path, *end = strrchr(base, '.');
    int n = (int)(end ? (size_t)(end - base) : strlen(base));
    char *name = arena_printf(a, "%.*s", n, base);
    lex_make_identifier(name);
    // In an executable nobody calls it, and it must not be in anybody's way.
    bool as_it_is = j->kind != LINK_EXECUTABLE && lex_is_identifier(name) && !header_objection(a, name);
    return as_it_is ? name : arena_printf(a, "model_%s", name);
}

// The symbols begin with --name. Without one an ONNX model is called after a file; text has a name of its own.
static void name_model(const struct job *j, struct module *m)
{
    const char *name = j->name ? j->name : j->source.model ? name_of_file(j, &m->arena) : NULL;
    for (struct function *f = m->first_function; f && name; f = f->next)
        if (f->kind != FUNCTION_KERNEL)
            f->name = name;
}

// ---- For what --------------------------------------------------------------------------------------------------

// Puts the options for one more target where they belong.
static int add_target(const struct command *c, struct job *j, const struct compile_options *options)
{
    if (j->n_targets == MOST_TARGETS)
        return options_fail(c, "--target has more than %d names", MOST_TARGETS);
    for (int i = 0; i < j->n_targets; i++)
        if (!strcmp(j->options[i].target.name, options->target.name))
            return options_fail(c, "--target names %s twice", options->target.name);
    int at = j->n_targets++;
    for (; at && target_compare(&j->options[at - 1].target, &options->target) > 0; at--)
        j->options[at] = j->options[at - 1];
    j->options[at] = *options;
    return EXIT_OK;
}

// Several targets tell one after the other what they are asked to tell.
static void tell_target(const struct job *j, int target)
{
    const struct pipeline_options *p = &j->shared.pipeline;
    if (j->n_targets > 1 && (p->print_after_all || p->time_passes || p->bisect || p->remarks))
        fprintf(stderr, "tegula compile: for %s\n", j->options[target].target.name);
}

static int read_targets(const struct command *c, struct job *j, struct diags *diags)
{
    struct shared_options shared = j->shared;
    char *list = arena_printf(&diags->arena, "%s", shared.target), *rest = list;
    shared.target = strsep(&rest, ",");
    if (rest && j->stage != STAGE_OBJECT)
        return options_fail(c, "--emit %s shows the code for one --target, not for '%s'", stages[j->stage],
                            j->shared.target);
    struct compile_options options;
    int status = command_compile_options(c, &shared, &options, diags);
    options.n_threads = (int)j->shared.threads;
    while (status == EXIT_OK) {
        if (options.target.kind == TARGET_KIND_NVPTX)
            return options_fail(c, "models cannot be compiled for GPUs yet; tegula kernel makes PTX of kernels");
        status = add_target(c, j, &options);
        const char *name = strsep(&rest, ",");
        if (!name)
            break;
        if (status == EXIT_OK && compile_target(name, &options.target, diags))
            status = EXIT_ERROR;
    }
    // The code for all targets shares its constants.
    int widest = 0;
    for (int i = 0; i < j->n_targets; i++)
        if (j->options[i].target.vector_bytes > widest)
            widest = j->options[i].target.vector_bytes;
    for (int i = 0; i < j->n_targets; i++)
        j->options[i].target.packed_bytes = widest;
    return status;
}

// ---- Making it -------------------------------------------------------------------------------------------------

// Returns 0, or 1 after reporting.
static int prepare_module(const struct job *j, int target, struct module *m, struct diags *diags)
{
    name_model(j, m);
    struct compile_options options = j->options[target];
    tell_target(j, target);
    if (j->stage == STAGE_TILE && !options.pipeline.passes)
        options.pipeline.passes = "graph";
    return j->stage != STAGE_GRAPH && graph_compile(m, &options, diags);
}

// What model_write asks for.
static struct module *module_for(void *job, int target, struct diags *diags)
{
    struct job *j = job;
    struct module *m = target ? command_make_module(&j->source, diags) : j->source.module;
    if (!target)
        j->source.module = NULL;
    struct arena_hold hold;
    module_hold(&hold, m);
    bool failed = !m || (target && prepare_module(j, target, m, diags));
    arena_let_go(&hold);
    if (!failed)
        return m;
    module_destroy(m);
    return NULL;
}

static int write_text(struct job *j, struct diags *diags)
{
    static const enum compile_output outputs[] = {
        [STAGE_GRAPH] = COMPILE_TILE, [STAGE_TILE] = COMPILE_TILE,         [STAGE_SHAPED] = COMPILE_SHAPED,
        [STAGE_LLVM] = COMPILE_LLVM,  [STAGE_ASSEMBLY] = COMPILE_ASSEMBLY,
    };
    struct driver_buffer text = {0};
    int status = EXIT_ERROR;
    if (!compile_lower(j->source.module, &j->options[0], outputs[j->stage], &text, diags))
        status = command_write(j->output, text.data, text.size, diags);
    driver_buffer_finish(&text);
    return status;
}

static const char *target_names(const struct job *j, struct arena *a)
{
    const char *text = j->options[0].target.name;
    for (int i = 1; i < j->n_targets; i++)
        text = arena_printf(a, "%s, %s", text, j->options[i].target.name);
    return text;
}

static int make_object(struct job *j, const char *path, struct diags *diags)
{
    const struct driver_buffer program = {(char *)tegula_program, tegula_program_size}; // is only read
    const struct model_job job = {.n_targets = j->n_targets,
                                  .options = j->options,
                                  .module = module_for,
                                  .user = j,
                                  .kind = j->kind,
                                  .program = j->kind == LINK_EXECUTABLE ? &program : NULL,
                                  .path = path,
                                  .weights_path = j->weights};
    return model_write(&job, diags) ? EXIT_ERROR : EXIT_OK;
}

// An object for standard output, which linkers do not write to: by way of a file in a folder of its own.
static int make_object_to_print(struct job *j, struct file_bytes *out, struct diags *diags)
{
    const char *place = getenv("TMPDIR");
    char *folder = arena_printf(&diags->arena, "%s/tegula-XXXXXX", place && *place ? place : "/tmp");
    if (file_make_folder(folder)) {
        diag_error(diags, (struct loc){0}, "%s: cannot create: %s", folder, strerror(errno));
        return EXIT_ERROR;
    }
    char *path = file_name_in(folder, "model.o");
    int status = path ? make_object(j, path, diags) : EXIT_ERROR;
    if (!path)
        diag_error(diags, (struct loc){0}, "out of memory");
    if (status == EXIT_OK && bytes_open(path, out, diags))
        status = EXIT_ERROR;
    free(path);
    file_remove_folder(folder);
    return status;
}

// The header appears when the object has.
static int write_object(struct job *j, struct diags *diags)
{
    struct driver_buffer text = {0};
    struct file_bytes object = {0};
    struct outputs outputs = {0};
    int status = EXIT_OK;
    const char *slash = j->weights ? strrchr(j->weights, '/') : NULL;
    const struct header_about about = {j->input, target_names(j, &diags->arena), slash ? slash + 1 : j->weights};
    if (j->header && header_print_model(j->source.module, &about, &text, diags))
        return EXIT_ERROR;
    if (j->header)
        status = outputs_add(&outputs, j->header, text.data, text.size, diags);
    bool print = !strcmp(j->output, "-");
    if (status == EXIT_OK)
        status = print ? make_object_to_print(j, &object, diags) : make_object(j, j->output, diags);
    if (status == EXIT_OK && print)
        status = outputs_add(&outputs, j->output, object.data, object.size, diags);
    if (status == EXIT_OK)
        status = outputs_commit(&outputs, diags);
    outputs_discard(&outputs);
    bytes_close(&object);
    driver_buffer_finish(&text);
    return status;
}

static int run(const struct command *c, struct job *j, struct diags *diags)
{
    int status = read_targets(c, j, diags);
    if (status != EXIT_OK)
        return status;
    struct command_given given = {.sizes = &j->shared.dims};
    status = command_open(c, j->input, &given, &j->source, diags);
    if (status == EXIT_OK && prepare_module(j, 0, j->source.module, diags))
        status = EXIT_ERROR;
    if (status == EXIT_OK)
        status = j->stage == STAGE_OBJECT ? write_object(j, diags) : write_text(j, diags);
    command_close(&j->source);
    return status;
}

int command_compile(int argc, char *const *argv)
{
    static struct job j = {.shared = {.opt_level = 2, .target = portable_targets}};
    static struct words files;
    const struct option options[] = {
        {"output", 'o', OPTION_STRING, &j.output, "FILE",
         "what to write: .o, .so, an executable without an ending; with --emit any name [-, for text]"},
        {"emit", 0, OPTION_CHOICE, &j.emit, "graph|tile|shaped|llvm|asm|obj",
         "where to stop [by -o]; text is for one target [native]"},
        {"header", 0, OPTION_STRING, &j.header, "FILE", "also write a C header that declares the model's functions"},
        {"weights", 0, OPTION_STRING, &j.weights, "FILE",
         "put the constants into a file, to lie beside what the code becomes part of"},
        {"name", 0, OPTION_STRING, &j.name, "NAME", "what its symbols begin with [by -o]"},
    };
    const struct command c = {.name = "compile",
                              .summary = "Compiles a model to code that needs nothing but the C library.",
                              .files = "MODEL",
                              .least_files = 1,
                              .most_files = 1,
                              .n_options = sizeof options / sizeof options[0],
                              .options = options,
                              .shared_sets = SHARED_TARGET | SHARED_OPTIMIZE | SHARED_DIM | SHARED_THREADS |
                                             SHARED_PASSES | SHARED_SCHEDULE | SHARED_TRACE,
                              .shared = &j.shared};
    int status = options_parse(&c, argc, argv, &files);
    if (status >= 0 || (status = choose_output(&c, &j)) >= 0)
        return status;
    if (j.shared.target == portable_targets && j.stage != STAGE_OBJECT)
        j.shared.target = "native";
    if (j.name && !lex_is_identifier(j.name))
        return options_fail(&c, "--name is a C identifier, not '%s'", j.name);
    struct diags diags;
    diag_init(&diags);
    j.input = files.word[0];
    const char *objection = j.name ? header_objection(&diags.arena, j.name) : NULL;
    if (objection)
        status = options_fail(&c, "--name: '%s' is %s", j.name, objection);
    else if ((status = check_places(&c, &j)) < 0)
        status = run(&c, &j, &diags);
    return command_finish(&c, &diags, status);
}
