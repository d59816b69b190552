// tegula run: runs a model, which it compiles in memory unless it comes compiled, on files or on random inputs.
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/cache.h"
#include "codegen/model.h"
#include "tools/command.h"
#include "tools/library.h"
#include "tools/profile.h"
#include "tools/run.h"

#define USUAL_CACHE_GIB (CACHE_USUAL_LIMIT >> 30)
#define DEFAULT_TARGET "native"
#define DEFAULT_OPTIMIZE 2

struct job {
    const struct command *command;
    struct diags *diags;
    struct run_request request;
    // What is to be told of a run besides its results.
    bool profile;
    const char *trace; // a file; NULL: none
    // Where compiled models are kept.
    const char *cache_dir; // NULL: the environment may name one
    bool no_cache;
    int64_t cache_gib; // most that it takes
};

// ---- Models that are to be compiled ----------------------------------------------------------------------------

// What --input names is an input, even if the model has a default for it.
static int begin(const struct command *c, const struct run_request *r, struct command_source *source,
                 struct diags *diags)
{
    const char **names = ARENA_ARRAY(&diags->arena, const char *, r->inputs.n + 1);
    struct command_given given = {.sizes = NULL, .inputs = names};
    for (int i = 0; i < r->inputs.n; i++)
        if (run_split_input(&diags->arena, r->inputs.word[i], &names[given.n_inputs]))
            given.n_inputs++;
    return command_begin(c, r->file, &given, source, diags);
}

int run_open(const struct command *c, const struct run_request *r, struct command_source *source, struct diags *diags)
{
    int status = begin(c, r, source, diags);
    return status == EXIT_OK ? command_read(source, diags) : status;
}

// Where the options or the environment name a cache. Returns 0, or 1 after reporting.
static int open_cache(const struct job *j, const struct command_source *source, const struct compile_options *options,
                      struct cache **out)
{
    const char *folder = j->cache_dir ? j->cache_dir : getenv("TEGULA_CACHE_DIR");
    if (j->no_cache || !folder || !*folder)
        return 0;
    const struct cache_request request = {.folder = folder,
                                          .limit = j->cache_gib << 30,
                                          .options = options,
                                          .name = source->path,
                                          .bytes = source->bytes.data,
                                          .size = source->bytes.size,
                                          .stamp = strcmp(source->path, "-") ? &source->bytes.stamp : NULL,
                                          .import = &source->options};
    return cache_open(&request, out, j->diags);
}

static int compile_source(struct command_source *source, const struct compile_options *options,
                          struct loaded_model **out, struct diags *diags)
{
    int64_t begun = phase_now();
    int status = command_read(source, diags);
    phase_end(options->pipeline.phases, "import", begun);
    if (status != EXIT_OK)
        return status;
    if (graph_compile(source->module, options, diags))
        return EXIT_ERROR;
    cache_note_files(options->cache, source->model, &source->arena);
    return model_load(source->module, options, out, diags) ? EXIT_ERROR : EXIT_OK;
}

// Takes the model from the cache, or compiles it.
static int load_source(const struct job *j, struct command_source *source, struct compile_options options,
                       struct loaded_model **out, bool *cached)
{
    if (open_cache(j, source, &options, &options.cache))
        return EXIT_ERROR;
    *cached = cache_load(options.cache, out, j->diags);
    int status = *cached ? EXIT_OK : compile_source(source, &options, out, j->diags);
    cache_close(options.cache);
    return status;
}

static int compile_and_run(const struct job *j, const struct compile_options *options)
{
    struct command_source source = {0};
    struct loaded_model *loaded = NULL;
    struct run_load load = {0};
    double start = run_now_ms();
    int status = begin(j->command, &j->request, &source, j->diags);
    if (status == EXIT_OK)
        status = load_source(j, &source, *options, &loaded, &load.cached);
    load.ms = run_now_ms() - start;
    if (status == EXIT_OK)
        status = run_model(j->command, &j->request, model_code(loaded), &load, j->diags);
    model_unload(loaded);
    command_close(&source);
    return status;
}

// ---- Models that come compiled ---------------------------------------------------------------------------------

static int load_and_run(const struct job *j)
{
    double start = run_now_ms();
    void *library;
    const tg_model *code = library_open(j->request.file, &library, j->diags);
    if (!code)
        return EXIT_ERROR;
    const struct run_load load = {run_now_ms() - start, false};
    int status = run_model(j->command, &j->request, code, &load, j->diags);
    dlclose(library);
    return status;
}

// The option that speaks of compiling; NULL: none was given.
static const char *compiler_option(const struct job *j)
{
    const struct shared_options *s = &j->request.shared;
    const struct pipeline_options *p = &s->pipeline;
    return j->cache_dir                        ? "--cache-dir"
           : j->cache_gib != USUAL_CACHE_GIB   ? "--cache-limit"
           : strcmp(s->target, DEFAULT_TARGET) ? "--target"
           : s->opt_level != DEFAULT_OPTIMIZE  ? "-O"
           : s->schedule                       ? "--schedule"
           : p->print_after_all                ? "--print-after-all"
           : p->time_passes                    ? "--time-passes"
           : p->remarks                        ? "--remarks"
           : p->bisect                         ? "--bisect"
                                               : NULL;
}

// ---- Both ------------------------------------------------------------------------------------------------------

// options: what to compile with; NULL for a model that comes compiled.
static int run_file(const struct job *j, const struct compile_options *options)
{
    return options ? compile_and_run(j, options) : load_and_run(j);
}

// With a profile, whose listeners go with the options and the request.
static int watch_and_run(struct job *j, struct compile_options *options)
{
    struct profile profile;
    profile_init(&profile);
    profile.table = j->profile;
    profile.trace_file = j->trace;
    profile.trace = j->trace ? trace_create() : NULL;
    if (j->trace && !profile.trace) {
        profile_finish(&profile);
        return command_report(j->diags, NULL);
    }
    struct phase_listener phases = trace_listener(profile.trace);
    struct run_watch watch = profile_watch(&profile);
    if (options && profile.trace)
        options->pipeline.phases = &phases;
    j->request.watch = &watch;
    int status = run_file(j, options);
    j->request.watch = NULL;
    trace_destroy(profile.trace);
    profile_finish(&profile);
    return status;
}

static int run(struct job *j)
{
    bool compiled = command_ends_in(j->request.file, ".so");
    const char *option = compiled ? compiler_option(j) : NULL;
    if (option)
        return options_fail(j->command, "%s is for models that are yet to be compiled", option);
    struct compile_options options;
    int status = compiled ? EXIT_OK : command_compile_options(j->command, &j->request.shared, &options, j->diags);
    if (status != EXIT_OK)
        return status;
    options.n_threads = (int)j->request.shared.threads;
    struct compile_options *used = compiled ? NULL : &options;
    return j->profile || j->trace ? watch_and_run(j, used) : run_file(j, used);
}

// ---- The command -----------------------------------------------------------------------------------------------

int command_run(int argc, char *const *argv)
{
    static struct words files;
    static struct job j = {
        .request = {.format = "npy", .shared = {.target = DEFAULT_TARGET, .opt_level = DEFAULT_OPTIMIZE}},
        .cache_gib = USUAL_CACHE_GIB};
    struct option options[RUN_OPTIONS + 5] = {
        [RUN_OPTIONS] = {"profile", 0, OPTION_FLAG, &j.profile, NULL,
                         "print what the time goes on, launch by launch, on average of --repeat"},
        [RUN_OPTIONS + 1] = {"trace", 0, OPTION_STRING, &j.trace, "FILE",
                             "write phases of the compiler, launches and threads for ui.perfetto.dev"},
        [RUN_OPTIONS + 2] = {"cache-dir", 0, OPTION_STRING, &j.cache_dir, "DIR",
                             "keep compiled models in a folder, and take them from there [$TEGULA_CACHE_DIR, or none]"},
        [RUN_OPTIONS + 3] = {"no-cache", 0, OPTION_FLAG, &j.no_cache, NULL, "compile, and keep nothing"},
        [RUN_OPTIONS + 4] = {"cache-limit", 0, OPTION_INT, &j.cache_gib, "N",
                             "GiB that the folder may hold; what was used least recently goes first", 1, 1 << 20},
    };
    run_options(&j.request, options);
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
        .shared = &j.request.shared};
    int status = options_parse(&c, argc, argv, &files);
    if (status >= 0 || (status = run_check_options(&c, &j.request)) >= 0)
        return status;
    struct diags diags;
    diag_init(&diags);
    j.command = &c;
    j.diags = &diags;
    j.request.file = files.word[0];
    status = run(&j);
    return command_finish(&c, &diags, status);
}
