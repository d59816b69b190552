// tegula opt: text of functions or an ONNX model in, text out.
#include <stdio.h>
#include <string.h>

#include "passes/schedule.h"
#include "tools/command.h"
#include "tools/outputs.h"

static void print_pipeline(const char *name, const char *const *passes)
{
    printf("%-18s ", name);
    for (; *passes; passes++)
        printf("%s%s", *passes, passes[1] ? "," : "\n");
}

static int list_passes(const struct command *c, const char *target_name)
{
    struct diags diags;
    diag_init(&diags);
    struct target_desc target;
    if (compile_target(target_name, &target, &diags))
        return command_finish(c, &diags, EXIT_ERROR);
    for (int i = 0; i < PASS_COUNT; i++)
        printf("%-18s %s\n", pass_info[i].name, pass_info[i].doc);
    print_pipeline("default", pipeline_for(&target));
    print_pipeline("graph", graph_pipeline);
    return command_finish(c, &diags, EXIT_OK);
}

struct places {
    const char *text, *schedule; // NULL: not wanted
};

static int write_outputs(const struct places *places, const struct driver_buffer *text, const struct module *m,
                         struct diags *diags)
{
    struct outputs outputs = {0};
    char *schedule;
    int status = outputs_add(&outputs, places->text, text->data, text->size, diags);
    if (status == EXIT_OK && places->schedule) {
        schedules_print(&diags->arena, m, &schedule);
        status = outputs_add(&outputs, places->schedule, schedule, strlen(schedule), diags);
    }
    if (status == EXIT_OK)
        status = outputs_commit(&outputs, diags);
    outputs_discard(&outputs);
    return status;
}

static const char *passes_to_stop_in(const struct module *m, const char *stop_after)
{
    for (const struct function *f = m->first_function; f && stop_after; f = f->next)
        if (f->kind == FUNCTION_GRAPH)
            return "graph,default";
    return stop_after ? "default" : "";
}

// Writes the text of a file after the passes.
static int run(const struct command *c, const char *file, const struct places *places,
               const struct shared_options *shared, struct diags *diags)
{
    struct compile_options options;
    int status = command_compile_options(c, shared, &options, diags);
    if (status != EXIT_OK)
        return status;
    struct command_source source;
    struct command_given given = {.definitions = &shared->definitions, .sizes = &shared->dims};
    status = command_open(c, file, &given, &source, diags);
    if (status == EXIT_OK && !options.pipeline.passes)
        options.pipeline.passes = passes_to_stop_in(source.module, options.pipeline.stop_after);
    struct driver_buffer text = {0};
    if (status == EXIT_OK && compile_module(source.module, &options, COMPILE_SHAPED, &text, diags))
        status = EXIT_ERROR;
    if (status == EXIT_OK)
        status = write_outputs(places, &text, source.module, diags);
    driver_buffer_finish(&text);
    command_close(&source);
    return status;
}

int command_opt(int argc, char *const *argv)
{
    struct places places = {"-", NULL};
    bool list = false;
    static struct words files;
    static struct shared_options shared = {.target = "native"};
    const struct option options[] = {
        {"output", 'o', OPTION_STRING, &places.text, "FILE", "where the text goes; - is standard output"},
        {"write-schedule", 0, OPTION_STRING, &places.schedule, "FILE", "where what was chosen for kernels goes"},
        {"keep-composites", 0, OPTION_STRING, &shared.pipeline.keep_composites, "A,B",
         "composites that inline-composites leaves alone"},
        {"list-passes", 0, OPTION_FLAG, &list, NULL,
         "print the passes, the target's default and those for graphs, and exit"},
    };
    const struct command c = {.name = "opt",
                              .summary = "Runs passes over the functions of a file, or over a model, and prints them.",
                              .files = "FILE",
                              .most_files = 1,
                              .n_options = sizeof options / sizeof options[0],
                              .options = options,
                              .shared_sets = SHARED_TARGET | SHARED_DEFINE | SHARED_DIM | SHARED_PASSES |
                                             SHARED_SCHEDULE | SHARED_TRACE,
                              .shared = &shared};
    int status = options_parse(&c, argc, argv, &files);
    if (status >= 0)
        return status;
    if (list)
        return list_passes(&c, shared.target);
    if (!files.n)
        return options_fail(&c, "FILE is missing");
    const struct output_name names[] = {{"-o", places.text, false}, {"--write-schedule", places.schedule, false}};
    status = outputs_differ(&c, sizeof names / sizeof *names, names);
    if (status >= 0)
        return status;
    struct diags diags;
    diag_init(&diags);
    status = run(&c, files.word[0], &places, &shared, &diags);
    return command_finish(&c, &diags, status);
}
