// The main program of a model that `tegula compile -o NAME` makes an executable of: what `tegula run` does with a model
// that has been compiled.
#include "tools/run_model.h"
#include "tools/streams.h"

extern const tg_model tegula_model;

static int obey(int argc, char **argv)
{
    static struct words files;
    static struct run_request r = {.format = "npy"};
    struct option options[RUN_OPTIONS];
    run_options(&r, options);
    const struct command c = {
        .program = true,
        .name = argv[0],
        .summary = "Runs the model that it was compiled from. Sizes of random inputs that stay open are 1.",
        .n_options = RUN_OPTIONS,
        .options = options,
        .shared_sets = SHARED_DIM | SHARED_THREADS | SHARED_SEED,
        .shared = &r.shared};
    int status = options_parse(&c, argc - 1, argv + 1, &files);
    if (status >= 0 || (status = run_check_options(&c, &r)) >= 0)
        return status;
    r.file = argv[0];
    struct diags diags;
    diag_init(&diags);
    status = run_model(&c, &r, &tegula_model, &(struct run_load){0}, &diags);
    diag_print(&diags, stderr, options_color(&c));
    diag_finish(&diags);
    return status;
}

int main(int argc, char **argv)
{
    streams_begin();
    return streams_end(argv[0], obey(argc, argv));
}
