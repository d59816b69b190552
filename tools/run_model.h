// A compiled model run on files or random numbers, and its results printed and written: what `tegula run` and compiled
// programs do alike. Needs nothing of the compiler.
#ifndef TEGULA_TOOLS_RUN_MODEL_H
#define TEGULA_TOOLS_RUN_MODEL_H

#include <tegula/kernel.h>

#include "ir/arena.h"
#include "ir/diag.h"
#include "tools/options.h"

// What is run: the inputs, room for the outputs, and the values of the model's symbols, by position; -1: no input has
// it.
struct run_facts {
    const tg_model *code;
    const tg_tensor *in, *out;
    const int64_t *symbols;
    int n_threads;
    int32_t target; // whose code runs
};

// Who wants to know what goes on. All functions get `data`.
struct run_watch {
    void *data;
    // Before the first run. Gives the environment that runs are to have: the one it gets, or one around that; NULL
    // after complaining, and nothing runs.
    const tg_env *(*begin)(void *data, const struct run_facts *facts, const tg_env *env);
    void (*before_run)(void *data, bool counts); // false: it is there to warm up
    void (*after_run)(void *data);
    void (*print)(void *data, bool json); // behind the results; JSON: further members of the object, or nothing
    bool alone;                           // that is all that is printed
    // Write a file, before anything is printed, and let it appear, once the outputs have. NULL: there is none. Both
    // return an exit status after complaining.
    int (*prepare)(void *data, struct diags *diags);
    int (*commit)(void *data, struct diags *diags);
};

struct run_request {
    const char *file;    // for messages
    struct words inputs; // NAME=FILE
    const char *input_dir, *output_dir, *format;
    int64_t repeat;
    bool json;
    struct shared_options shared;  // dims, threads, seed
    const struct run_watch *watch; // NULL: nobody
};

// The options of that: fills 6 rows, of which the first 2 say what the inputs are.
#define RUN_OPTIONS 6
#define RUN_INPUT_OPTIONS 2
void run_options(struct run_request *r, struct option *options);
// What options_parse cannot know: -1, or an exit status after complaining.
int run_check_options(const struct command *c, const struct run_request *r);

// NAME=FILE; names may have any characters but '='. The file, or NULL.
const char *run_split_input(struct arena *a, const char *word, const char **name);

// How the model came to be loaded.
struct run_load {
    double ms;
    bool cached; // it had been compiled before
};

// Returns the exit status.
int run_model(const struct command *c, const struct run_request *r, const tg_model *code, const struct run_load *load,
              struct diags *diags);

double run_now_ms(void);

// tg_env.error that keeps the message, and what it has kept on this thread.
void run_note_message(const tg_env *env, const char *message);
const char *run_message(void);

// ---- run_print.c ----

struct run_results {
    const tg_model *code;
    const char *target; // whose code has run
    const tg_tensor *out;
    int64_t n_runs;       // that were timed
    const double *run_ms; // sorted
    struct run_load load;
    const struct run_watch *watch;
};

void run_print_name(const char *text); // what is no character or could steer a terminal by its number
void run_print_text(const struct run_results *r);
void run_print_json(const struct run_results *r);

#endif
