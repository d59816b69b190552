// tegula run: runs a model, which it compiles in memory unless it comes compiled, on files or on random inputs.
#include <dlfcn.h>
#include <string.h>

#include "codegen/model.h"
#include "tools/command.h"
#include "tools/library.h"
#include "tools/profile.h"
#include "tools/run.h"

#define DEFAULT_TARGET "native"
#define DEFAULT_OPTIMIZE 2

// What is to be told of a run besides its results.
struct telling {
    bool profile;
    const char *trace; // a file; NULL: none
};

// ---- Models that are to be compiled ----------------------------------------------------------------------------

// What --input names is an input, even if the model has a default for it.
int run_open(const struct command *c, const struct run_request *r, struct command_source *source, struct diags *diags)
{
    const char **names = ARENA_ARRAY(&diags->arena, const char *, r->inputs.n + 1);
    struct command_given given = {.sizes = NULL, .inputs = names};
    for (int i = 0; i < r->inputs.n; i++)
        if (run_split_input(&diags->arena, r->inputs.word[i], &names[given.n_inputs]))
            given.n_inputs++;
    return command_open(c, r->file, &given, source, diags);
}

static int compile_and_run(const struct command *c, const struct run_request *r, const struct compile_options *options,
                           struct profile *profile, struct diags *diags)
{
    struct command_source source = {0};
    struct loaded_model *loaded = NULL;
    double start = run_now_ms();
    int64_t begun = phase_now();
    int status = run_open(c, r, &source, diags);
    phase_end(options->pipeline.phases, "import", begun);
    if (status == EXIT_OK &&
        (graph_compile(source.module, options, diags) || model_load(source.module, options, &loaded, diags)))
        status = EXIT_ERROR;
    if (status == EXIT_OK && profile)
        profile_loaded(profile, source.module);
    if (status == EXIT_OK)
        status = run_model(c, r, model_code(loaded), run_now_ms() - start, diags);
    model_unload(loaded);
    command_close(&source);
    return status;
}

// With a profile, whose listeners go with the options.
static int watch_and_run(const struct command *c, struct run_request *r, const struct telling *tell,
                         struct compile_options *options, struct diags *diags)
{
    struct profile profile;
    profile_init(&profile);
    profile.table = tell->profile;
    profile.trace_file = tell->trace;
    profile.trace = tell->trace ? trace_create() : NULL;
    if (tell->trace && !profile.trace) {
        profile_finish(&profile);
        return command_report(diags, NULL);
    }
    struct phase_listener phases = trace_listener(profile.trace);
    struct launch_hook hook = profile_hook(&profile);
    struct run_watch watch = profile_watch(&profile);
    options->pipeline.phases = profile.trace ? &phases : NULL;
    options->hook = &hook;
    r->watch = &watch;
    int status = compile_and_run(c, r, options, &profile, diags);
    r->watch = NULL;
    trace_destroy(profile.trace);
    profile_finish(&profile);
    return status;
}

static int run_source(const struct command *c, struct run_request *r, const struct telling *tell, struct diags *diags)
{
    struct compile_options options;
    int status = command_compile_options(c, &r->shared, &options, diags);
    if (status != EXIT_OK)
        return status;
    options.n_threads = (int)r->shared.threads;
    return tell->profile || tell->trace ? watch_and_run(c, r, tell, &options, diags)
                                        : compile_and_run(c, r, &options, NULL, diags);
}

// ---- Models that come compiled ---------------------------------------------------------------------------------

// The option that speaks of compiling; NULL: none was given.
static const char *compiler_option(const struct shared_options *s, const struct telling *tell)
{
    const struct pipeline_options *p = &s->pipeline;
    return tell->profile                       ? "--profile"
           : tell->trace                       ? "--trace"
           : strcmp(s->target, DEFAULT_TARGET) ? "--target"
           : s->opt_level != DEFAULT_OPTIMIZE  ? "-O"
           : s->schedule                       ? "--schedule"
           : p->print_after_all                ? "--print-after-all"
           : p->time_passes                    ? "--time-passes"
           : p->remarks                        ? "--remarks"
                                               : NULL;
}

static int load_and_run(const struct command *c, const struct run_request *r, const struct telling *tell,
                        struct diags *diags)
{
    const char *option = compiler_option(&r->shared, tell);
    if (option)
        return options_fail(c, "%s is for models that are yet to be compiled", option);
    double start = run_now_ms();
    void *library;
    const tg_model *code = library_open(r->file, &library, diags);
    if (!code)
        return EXIT_ERROR;
    int status = run_model(c, r, code, run_now_ms() - start, diags);
    dlclose(library);
    return status;
}

// ---- The command -----------------------------------------------------------------------------------------------

int command_run(int argc, char *const *argv)
{
    static struct words files;
    static struct run_request r = {.format = "npy",
                                   .shared = {.target = DEFAULT_TARGET, .opt_level = DEFAULT_OPTIMIZE}};
    static struct telling tell;
    struct option options[RUN_OPTIONS + 2] = {
        [RUN_OPTIONS] = {"profile", 0, OPTION_FLAG, &tell.profile, NULL,
                         "print what the time goes on, launch by launch, on average of --repeat"},
        [RUN_OPTIONS + 1] = {"trace", 0, OPTION_STRING, &tell.trace, "FILE",
                             "write phases of the compiler, launches and threads for ui.perfetto.dev"},
    };
    run_options(&r, options);
    const struct command c = {
        .name = "run",
        .summary =
            "Runs a model: ONNX and text of the IR are compiled first, .so has been. Sizes of random inputs that "
            "stay open are 1.",
        .files = "FILE",
        .least_files = 1,
        .most_files = 1,
        .n_options = sizeof options / sizeof options[0],
        .options = options,
        .shared_sets = SHARED_TARGET | SHARED_OPTIMIZE | SHARED_DIM | SHARED_THREADS | SHARED_SEED | SHARED_SCHEDULE |
                       SHARED_TRACE,
        .shared = &r.shared};
    int status = options_parse(&c, argc, argv, &files);
    if (status >= 0 || (status = run_check_options(&c, &r)) >= 0)
        return status;
    r.file = files.word[0];
    struct diags diags;
    diag_init(&diags);
    status = command_ends_in(r.file, ".so") ? load_and_run(&c, &r, &tell, &diags) : run_source(&c, &r, &tell, &diags);
    return command_finish(&c, &diags, status);
}
