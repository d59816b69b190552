// tegula kernel: kernels to object code, a shared object, PTX, or any stage on the way.
#include <stdlib.h>
#include <string.h>

#include "codegen/header.h"
#include "codegen/link.h"
#include "tools/command.h"

// How an output is called on the command line, and the endings of files that ask for it.
static const struct {
    const char *name, *ending, *other_ending;
    enum compile_output output;
} outputs[] = {
    {"obj", ".o", NULL, COMPILE_OBJECT},   {"asm", ".s", ".ptx", COMPILE_ASSEMBLY},
    {"llvm", ".ll", NULL, COMPILE_LLVM},   {"shaped", ".shaped", NULL, COMPILE_SHAPED},
    {"tile", ".tile", NULL, COMPILE_TILE},
};

static bool ends_in(const char *path, const char *ending)
{
    size_t n = strlen(path), m = ending ? strlen(ending) : 0;
    return m && n > m && !strcmp(path + n - m, ending);
}

struct job {
    const char *input, *output, *emit, *header, *target;
    int64_t opt_level;
    struct pipeline_options pipeline;
    int n_defines;
    struct define *defines;
    enum compile_output kind; // from emit or the output's name
    bool shared;              // the object is to be linked
};

static int choose_output(const struct command *c, struct job *j)
{
    j->shared = !j->emit && j->output && ends_in(j->output, ".so");
    j->kind = COMPILE_OBJECT;
    bool known = j->shared;
    for (size_t i = 0; i < sizeof outputs / sizeof outputs[0]; i++)
        if (j->emit
                ? !strcmp(j->emit, outputs[i].name)
                : j->output && (ends_in(j->output, outputs[i].ending) || ends_in(j->output, outputs[i].other_ending))) {
            j->kind = outputs[i].output;
            known = true;
        }
    if (j->emit && !known)
        return options_fail(c, "--emit is one of tile, shaped, llvm, asm and obj, not '%s'", j->emit);
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
    diag_error(diags, (struct loc){0}, "%s", message ? message : "out of memory");
    free(message);
    return EXIT_ERROR;
}

static int run(const struct job *j, struct diags *diags)
{
    struct compile_options options = {.opt_level = (int)j->opt_level, .pipeline = j->pipeline};
    if (compile_target(j->target, &options.target, diags))
        return EXIT_ERROR;
    struct module *m = command_read(j->input, j->n_defines, j->defines, diags);
    if (!m)
        return EXIT_ERROR;
    struct driver_buffer code = {0}, header = {0};
    int status = EXIT_ERROR;
    if (!compile_module(m, &options, j->kind, &code, diags) && (!j->header || !header_print(m, &header, diags))) {
        status = j->shared ? link_shared(j, &code, diags) : command_write(j->output, code.data, code.size, diags);
        if (status == EXIT_OK && j->header)
            status = command_write(j->header, header.data, header.size, diags);
    }
    driver_buffer_finish(&code);
    driver_buffer_finish(&header);
    module_destroy(m);
    return status;
}

int command_kernel(int argc, char *const *argv)
{
    struct job j = {.target = "native", .opt_level = 2};
    static struct words definitions, files;
    const struct option options[] = {
        {"output", 'o', OPTION_STRING, &j.output, "FILE",
         "what to write; the ending says what: .o .so .ptx .s .ll [-, for text]"},
        {"emit", 0, OPTION_STRING, &j.emit, "WHAT", "tile, shaped, llvm, asm (PTX for sm_*) or obj [by -o]"},
        {"header", 0, OPTION_STRING, &j.header, "FILE", "also write a C header that declares the kernels"},
        {"target", 0, OPTION_STRING, &j.target, "NAME",
         "native, v2, v3, v4, a CPU of LLVM, with +vnni +noamx ..., or sm_80 ... [native]"},
        {NULL, 'D', OPTION_WORDS, &definitions, "NAME=VALUE", "value of a compile-time parameter"},
        {"optimize", 'O', OPTION_INT, &j.opt_level, "0..3", "effort of LLVM's optimisation [2]"},
        {"passes", 0, OPTION_STRING, &j.pipeline.passes, "A,B", "passes to run [default, the target's]"},
        {"stop-after", 0, OPTION_STRING, &j.pipeline.stop_after, "P[:N]",
         "stop the passes after the (Nth) run of P; for --emit=shaped"},
        {"print-after-all", 0, OPTION_FLAG, &j.pipeline.print_after_all, NULL,
         "print the kernels after each pass, on stderr"},
        {"time-passes", 0, OPTION_FLAG, &j.pipeline.time_passes, NULL, "print the time that passes took, on stderr"},
    };
    const struct command c = {.name = "kernel",
                              .summary = "Compiles the kernels of a file.",
                              .files = "FILE",
                              .least_files = 1,
                              .most_files = 1,
                              .n_options = sizeof options / sizeof options[0],
                              .options = options};
    int status = options_parse(&c, argc, argv, &files);
    if (status >= 0)
        return status;
    if (j.opt_level < 0 || j.opt_level > 3)
        return options_fail(&c, "-O is 0, 1, 2 or 3");
    if ((status = choose_output(&c, &j)) >= 0)
        return status;

    struct arena a;
    arena_init(&a);
    static struct define defines[OPTIONS_MOST_WORDS];
    struct diags diags;
    diag_init(&diags);
    j.input = files.word[0];
    j.defines = defines;
    j.n_defines = command_defines(&c, &a, &definitions, defines);
    status = j.n_defines < 0 ? EXIT_USAGE : run(&j, &diags);
    arena_finish(&a);
    return command_finish(&diags, status);
}
