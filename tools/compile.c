// tegula compile: models ahead of time, to objects, shared objects, or any stage on the way.
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/file.h"
#include "codegen/header.h"
#include "codegen/model_file.h"
#include "ir/lex.h"
#include "tools/command.h"

// What --emit asks for; compilation goes no further.
enum stage { STAGE_GRAPH, STAGE_TILE, STAGE_SHAPED, STAGE_LLVM, STAGE_ASSEMBLY, STAGE_OBJECT, STAGE_COUNT };
static const char *const stages[STAGE_COUNT] = {"graph", "tile", "shaped", "llvm", "asm", "obj"};

// The object of tools/program.c and what it needs, made by tools/embed.py.
extern const unsigned char tegula_program[];
extern const size_t tegula_program_size;

struct job {
    const char *input, *output, *emit, *header, *name;
    struct shared_options shared;
    enum stage stage;
    enum link_kind kind; // of STAGE_OBJECT
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
    bool shared = j->output && command_ends_in(j->output, ".so");
    bool object = j->emit || command_ends_in(j->output, ".o");
    const char *slash = object || shared ? NULL : strrchr(j->output, '/');
    if (!object && !shared && strchr(slash ? slash : j->output, '.'))
        return options_fail(
            c, "cannot tell from '%s' what to make: .o, .so, or an executable without an ending; or give --emit",
            j->output);
    j->kind = shared ? LINK_SHARED : object ? LINK_RELOCATABLE : LINK_EXECUTABLE;
    if (j->header && j->stage != STAGE_OBJECT)
        return options_fail(c, "--header is for objects");
    return -1;
}

// What is left of the output's name, or the input's.
static const char *name_of_file(const struct job *j, struct arena *a)
{
    const char *path = j->output && strcmp(j->output, "-") ? j->output : j->input, *slash = strrchr(path, '/');
    const char *base = slash ? slash + 1 : path;
    size_t n = strcspn(base, ".");
    char *name = arena_printf(a, "%s%.*s", isdigit((unsigned char)*base) || !n ? "model_" : "", (int)n, base);
    lex_make_identifier(name);
    return name;
}

// The symbols begin with --name. Without one an ONNX model is called after a file; text has a name of its own.
static void name_model(const struct job *j, struct module *m)
{
    const char *name = j->name ? j->name : command_is_model(j->input) ? name_of_file(j, &m->arena) : NULL;
    for (struct function *f = m->first_function; f && name; f = f->next)
        if (f->kind != FUNCTION_KERNEL)
            f->name = name;
}

// ---- Making it -------------------------------------------------------------------------------------------------

static int write_text(const struct job *j, struct module *m, const struct compile_options *options, struct diags *diags)
{
    static const enum compile_output outputs[] = {
        [STAGE_GRAPH] = COMPILE_TILE, [STAGE_TILE] = COMPILE_TILE,         [STAGE_SHAPED] = COMPILE_SHAPED,
        [STAGE_LLVM] = COMPILE_LLVM,  [STAGE_ASSEMBLY] = COMPILE_ASSEMBLY,
    };
    struct driver_buffer text = {0};
    int status = EXIT_ERROR;
    if (!compile_module(m, options, outputs[j->stage], &text, diags))
        status = command_write(j->output, text.data, text.size, diags);
    driver_buffer_finish(&text);
    return status;
}

// The header appears when the object has.
static int write_object(const struct job *j, struct module *m, const struct compile_options *options,
                        struct diags *diags)
{
    const struct driver_buffer program = {(char *)tegula_program, tegula_program_size}; // is only read
    struct driver_buffer text = {0};
    struct file_pending header = {0};
    char *message = NULL;
    int status = EXIT_OK;
    if (j->header && header_print_model(m, j->input, &text, diags))
        return EXIT_ERROR;
    if (j->header && file_prepare(&header, j->header, text.data, text.size, &message))
        status = command_report(diags, message);
    if (status == EXIT_OK &&
        model_write(m, options, j->kind, j->kind == LINK_EXECUTABLE ? &program : NULL, j->output, diags))
        status = EXIT_ERROR;
    if (status == EXIT_OK && j->header && file_commit(&header, &message))
        status = command_report(diags, message);
    file_discard(&header);
    driver_buffer_finish(&text);
    return status;
}

static int run(const struct command *c, const struct job *j, struct diags *diags)
{
    struct compile_options options;
    if (command_compile_options(&j->shared, &options, diags))
        return EXIT_ERROR;
    options.n_threads = (int)j->shared.threads;
    struct command_source source;
    struct command_given given = {.sizes = &j->shared.dims};
    int status = command_open(c, j->input, &given, &source, diags);
    if (status == EXIT_OK)
        name_model(j, source.module);
    if (status == EXIT_OK && j->stage != STAGE_GRAPH && graph_compile(source.module, &options, diags))
        status = EXIT_ERROR;
    if (status == EXIT_OK)
        status = j->stage == STAGE_OBJECT ? write_object(j, source.module, &options, diags)
                                          : write_text(j, source.module, &options, diags);
    command_close(&source);
    return status;
}

int command_compile(int argc, char *const *argv)
{
    static struct job j = {.shared = {.target = "native", .opt_level = 2}};
    static struct words files;
    const struct option options[] = {
        {"output", 'o', OPTION_STRING, &j.output, "FILE",
         "what to write: .o, .so, an executable without an ending; with --emit any name [-, for text]"},
        {"emit", 0, OPTION_CHOICE, &j.emit, "graph|tile|shaped|llvm|asm|obj", "where to stop [by -o]"},
        {"header", 0, OPTION_STRING, &j.header, "FILE", "also write a C header that declares the model's functions"},
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
    if (j.name && !lex_is_identifier(j.name))
        return options_fail(&c, "--name is a C identifier, not '%s'", j.name);
    struct diags diags;
    diag_init(&diags);
    j.input = files.word[0];
    status = run(&c, &j, &diags);
    return command_finish(&c, &diags, status);
}
