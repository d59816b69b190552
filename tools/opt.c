// tegula opt: text of functions or an ONNX model in, text out.
#include <stdio.h>

#include "tools/command.h"

static void print_pipeline(const char *name, const char *const *passes)
{
    printf("%-18s ", name);
    for (; *passes; passes++)
        printf("%s%s", *passes, passes[1] ? "," : "\n");
}

static int list_passes(const char *target_name)
{
    struct diags diags;
    diag_init(&diags);
    struct target_desc target;
    if (compile_target(target_name, &target, &diags))
        return command_finish(&diags, EXIT_ERROR);
    for (int i = 0; i < PASS_COUNT; i++)
        printf("%-18s %s\n", pass_info[i].name, pass_info[i].doc);
    print_pipeline("default", pipeline_for(&target));
    print_pipeline("graph", graph_pipeline);
    return command_finish(&diags, EXIT_OK);
}

int command_opt(int argc, char *const *argv)
{
    const char *output = "-", *target = "native", *passes = NULL, *stop_after = NULL, *keep_composites = NULL;
    bool list = false, print_after_all = false, time_passes = false, remarks = false;
    static struct words definitions, sizes, files;
    const struct option options[] = {
        {"output", 'o', OPTION_STRING, &output, "FILE", "where the text goes [-, standard output]"},
        {"passes", 0, OPTION_STRING, &passes, "A,B",
         "passes to run: `graph` makes kernels of graphs, `default` prepares them [none; default with --stop-after]"},
        {"stop-after", 0, OPTION_STRING, &stop_after, "P[:N]", "stop after the (Nth) run of pass P"},
        {"keep-composites", 0, OPTION_STRING, &keep_composites, "A,B",
         "composites that inline-composites leaves alone"},
        {"target", 0, OPTION_STRING, &target, "NAME", "what the passes prepare for [native]"},
        {NULL, 'D', OPTION_WORDS, &definitions, "NAME=VALUE", "value of a compile-time parameter"},
        {"dim", 0, OPTION_WORDS, &sizes, "NAME=SIZE", "value of an open size of a model"},
        {"print-after-all", 0, OPTION_FLAG, &print_after_all, NULL, "print the kernels after each pass, on stderr"},
        {"time-passes", 0, OPTION_FLAG, &time_passes, NULL, "print the time that passes took, on stderr"},
        {"remarks", 0, OPTION_FLAG, &remarks, NULL, "print what passes have to tell, on stderr"},
        {"list-passes", 0, OPTION_FLAG, &list, NULL,
         "print the passes, the target's default and those for graphs, and exit"},
    };
    const struct command c = {.name = "opt",
                              .summary = "Runs passes over the functions of a file, or over a model, and prints them.",
                              .files = "FILE",
                              .most_files = 1,
                              .n_options = sizeof options / sizeof options[0],
                              .options = options};
    int status = options_parse(&c, argc, argv, &files);
    if (status >= 0)
        return status;
    if (list)
        return list_passes(target);
    if (!files.n)
        return options_fail(&c, "FILE is missing");

    struct arena a;
    arena_init(&a);
    static struct define defines[OPTIONS_MOST_WORDS];
    static struct import_dim dims[OPTIONS_MOST_WORDS];
    const char *file = files.word[0];
    int n_defines = command_defines(&c, &a, &definitions, defines), n_dims = command_dims(&c, &a, &sizes, dims);
    if (n_dims > 0 && !command_is_model(file)) {
        arena_finish(&a);
        return options_fail(&c, "--dim is for ONNX models");
    }
    if (n_defines < 0 || n_dims < 0) {
        arena_finish(&a);
        return EXIT_USAGE;
    }
    struct diags diags;
    diag_init(&diags);
    status = EXIT_ERROR;
    struct target_desc desc;
    struct module *m = NULL;
    struct model *model = NULL;
    const struct import_options import = {n_dims, dims};
    if (!compile_target(target, &desc, &diags))
        m = command_is_model(file) ? command_import(file, &import, &model, &diags)
                                   : command_read(file, n_defines, defines, &diags);
    if (m) {
        const struct pipeline_options pipeline = {.passes = passes       ? passes
                                                            : stop_after ? "default"
                                                                         : "",
                                                  .stop_after = stop_after,
                                                  .print_after_all = print_after_all,
                                                  .time_passes = time_passes,
                                                  .remarks = remarks,
                                                  .keep_composites = keep_composites};
        const struct compile_options compile = {.target = desc, .pipeline = pipeline};
        struct driver_buffer text = {0};
        if (!compile_module(m, &compile, COMPILE_SHAPED, &text, &diags))
            status = command_write(output, text.data, text.size, &diags);
        driver_buffer_finish(&text);
    }
    module_destroy(m);
    model_destroy(model);
    arena_finish(&a);
    return command_finish(&diags, status);
}
