// tegula kernel: kernels to object code, a shared object, PTX, or any stage on the way.
#include <stdlib.h>
#include <string.h>

#include "codegen/file.h"
#include "codegen/header.h"
#include "codegen/link.h"
#include "tools/command.h"
#include "tools/outputs.h"

// How an output is called on the command line, and the endings of files that ask for it.
static const struct {
    const char *name, *ending, *other_ending;
    enum compile_output output;
} outputs[] = {
    {"obj", ".o", NULL, COMPILE_OBJECT},   {"asm", ".s", ".ptx", COMPILE_ASSEMBLY},
    {"llvm", ".ll", NULL, COMPILE_LLVM},   {"shaped", ".shaped", NULL, COMPILE_SHAPED},
    {"tile", ".tile", NULL, COMPILE_TILE},
};

struct job {
    const char *input, *output, *emit, *header;
    struct shared_options shared;
    enum compile_output kind; // from emit or the output's name
    bool shared_object;       // the object is to be linked
};

static int choose_output(const struct command *c, struct job *j)
{
    j->shared_object = !j->emit && j->output && command_ends_in(j->output, ".so");
    j->kind = COMPILE_OBJECT;
    bool known = j->shared_object;
    for (size_t i = 0; i < sizeof outputs / sizeof outputs[0]; i++)
        if (j->emit ? !strcmp(j->emit, outputs[i].name)
                    : j->output && (command_ends_in(j->output, outputs[i].ending) ||
                                    command_ends_in(j->output, outputs[i].other_ending))) {
            j->kind = outputs[i].output;
            known = true;
        }
    if (!j->output && j->kind == COMPILE_OBJECT)
        return options_fail(c, "-o is missing");
    if (!known)
        return options_fail(c, "cannot tell from '%s' what to make; name it .o, .so, .ptx, .s or .ll, or give --emit",
                            j->output);
    return -1;
}

static int link_shared(const struct job *j, const struct driver_buffer *object, struct diags *diags)
{
    const char *arguments[] = {"-lm"};
    const struct link_job link = {.kind = LINK_SHARED,
                                  .output = j->output,
                                  .objects = object,
                                  .n_objects = 1,
                                  .arguments = arguments,
                                  .n_arguments = 1};
    char *message = NULL;
    if (!link_run(&link, &message))
        return EXIT_OK;
    return command_report(diags, message);
}

static int write_output(const struct job *j, struct module *m, const struct compile_options *options,
                        struct diags *diags)
{
    struct driver_buffer code = {0}, header = {0};
    struct outputs pending = {0}; // the header appears when the code has
    int status = EXIT_ERROR;
    if (!compile_module(m, options, j->kind, &code, diags) && (!j->header || !header_print(m, &header, diags)))
        status = EXIT_OK;
    if (status == EXIT_OK && !j->shared_object)
        status = outputs_add(&pending, j->output, code.data, code.size, diags);
    if (status == EXIT_OK && j->header)
        status = outputs_add(&pending, j->header, header.data, header.size, diags);
    if (status == EXIT_OK && j->shared_object)
        status = link_shared(j, &code, diags);
    if (status == EXIT_OK)
        status = outputs_commit(&pending, diags);
    outputs_discard(&pending);
    driver_buffer_finish(&code);
    driver_buffer_finish(&header);
    return status;
}

static int run(const struct command *c, const struct job *j, struct diags *diags)
{
    struct compile_options options;
    int status = command_compile_options(c, &j->shared, &options, diags);
    if (status != EXIT_OK)
        return status;
    const struct output_name names[] = {
        {"-o", j->output ? j->output : "-", false}, {"--header", j->header, false}, {"the kernel", j->input, true}};
    status = outputs_differ(c, sizeof names / sizeof *names, names);
    if (status >= 0)
        return status;
    bool gpu = options.target.kind == TARGET_KIND_NVPTX;
    if (gpu && j->header)
        return options_fail(c, "--header declares launchers, which code for %s has none of", j->shared.target);
    if (!gpu && !j->emit && j->output && command_ends_in(j->output, ".ptx"))
        return options_fail(c, "'%s' is for PTX, which a GPU's --target makes, such as sm_80; .s is for assembly",
                            j->output);
    struct command_source source;
    struct command_given given = {.definitions = &j->shared.definitions};
    status = command_open(c, j->input, &given, &source, diags);
    if (status == EXIT_OK)
        status = write_output(j, source.module, &options, diags);
    command_close(&source);
    return status;
}

int command_kernel(int argc, char *const *argv)
{
    static struct job j = {.shared = {.target = "native", .opt_level = 2}};
    static struct words files;
    const struct option options[] = {
        {"output", 'o', OPTION_STRING, &j.output, "FILE",
         "what to write; the ending says what: .o .so .ptx .s .ll [-, for text]"},
        {"emit", 0, OPTION_CHOICE, &j.emit, "tile|shaped|llvm|asm|obj", "what to make; asm is PTX for sm_* [by -o]"},
        {"header", 0, OPTION_STRING, &j.header, "FILE", "also write a C header that declares the kernels"},
    };
    const struct command c = {.name = "kernel",
                              .summary = "Compiles the kernels of a file.",
                              .files = "FILE",
                              .least_files = 1,
                              .most_files = 1,
                              .n_options = sizeof options / sizeof options[0],
                              .options = options,
                              .shared_sets = SHARED_TARGET | SHARED_OPTIMIZE | SHARED_DEFINE | SHARED_PASSES |
                                             SHARED_SCHEDULE | SHARED_TRACE,
                              .shared = &j.shared};
    int status = options_parse(&c, argc, argv, &files);
    if (status >= 0 || (status = choose_output(&c, &j)) >= 0)
        return status;
    struct diags diags;
    diag_init(&diags);
    j.input = files.word[0];
    status = run(&c, &j, &diags);
    return command_finish(&c, &diags, status);
}
