#include "tools/options_internal.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/nearest.h"

// ---- Options that several commands take ------------------------------------------------------------------------

static const struct shared_row {
    unsigned set; // 0: every command takes it
    size_t at;    // where the value is in struct shared_options
    struct option option;
} shared_rows[] = {
// clang-format off
#define SHARED_ALWAYS 0
#define ROW(set, field, ...) {SHARED_##set, offsetof(struct shared_options, field), {__VA_ARGS__}}
    // clang-format on
    ROW(TARGET, target, "target", 0, OPTION_STRING, NULL, "NAME",
        "native, v2, v3, v4, a CPU of LLVM, with +vnni +noamx ...; sm_80 ... for PTX; compile: also A,B"),
    ROW(OPTIMIZE, opt_level, "optimize", 'O', OPTION_INT, NULL, "0..3", "effort of LLVM's optimisation", 0, 3),
    ROW(DEFINE, definitions, NULL, 'D', OPTION_WORDS, NULL, "NAME=VALUE",
        "value of a compile-time parameter, each given once [what the text says]"),
    ROW(DIM, dims, "dim", 'd', OPTION_WORDS, NULL, "NAME=SIZE",
        "value of a size that a model leaves open [it stays open]"),
    ROW(THREADS, threads, "threads", 'j', OPTION_INT, NULL, "N", "how many; 0: as many as there are CPUs", 0, 4096),
    ROW(SEED, seed, "seed", 0, OPTION_INT, NULL, "N", "of the random numbers"),
    ROW(PASSES, pipeline.passes, "passes", 0, OPTION_STRING, NULL, "A,B",
        "passes to run; `graph` makes kernels of graphs [default, of models graph,default; opt: none, or those with "
        "--stop-after]"),
    ROW(PASSES, pipeline.stop_after, "stop-after", 0, OPTION_STRING, NULL, "P[:N]",
        "stop the passes after the (Nth) run of pass P"),
    ROW(PASSES, pipeline.unfused, "no-fusion", 0, OPTION_FLAG, NULL, NULL,
        "give each operation of a graph a kernel of its own"),
    ROW(SCHEDULE, schedule, "schedule", 0, OPTION_STRING, NULL, "FILE",
        "what to choose for kernels, in lines `PATTERN: key = value, ...`"),
    ROW(TRACE, pipeline.print_after_all, "print-after-all", 0, OPTION_FLAG, NULL, NULL,
        "print the module after each pass, on stderr"),
    ROW(TRACE, pipeline.time_passes, "time-passes", 0, OPTION_FLAG, NULL, NULL,
        "print the time that passes took, on stderr"),
    ROW(TRACE, pipeline.bisect, "bisect", 0, OPTION_STRING, NULL, "N",
        "of what passes may leave out do the first N things; tell each, on stderr"),
    ROW(TRACE, pipeline.remarks, "remarks", 0, OPTION_FLAG, NULL, NULL, "print what passes have to tell, on stderr"),
    ROW(ALWAYS, color, "color", 0, OPTION_CHOICE, NULL, "auto|always|never",
        "of errors and notes on stderr [auto: on terminals, but for NO_COLOR and TERM=dumb]"),
#undef ROW
#undef SHARED_ALWAYS
};

static void add_option(struct option_table *t, struct option o)
{
    assert(t->n < OPTIONS_MOST);
    struct option_row *row = &t->rows[t->n++];
    *row = (struct option_row){.option = o};
    bool told = o.help[strlen(o.help) - 1] == ']';
    if (o.kind == OPTION_INT)
        snprintf(row->initial, sizeof row->initial, "%" PRId64, *(int64_t *)o.value);
    else if ((o.kind == OPTION_STRING || o.kind == OPTION_CHOICE) && *(const char **)o.value)
        snprintf(row->initial, sizeof row->initial, "%s", *(const char **)o.value);
    else if (o.kind != OPTION_FLAG && !told)
        snprintf(row->initial, sizeof row->initial, "none");
}

static void list_options(const struct command *c, struct option_table *t)
{
    t->command = c;
    t->n = 0;
    for (int i = 0; i < c->n_options; i++)
        add_option(t, c->options[i]);
    for (size_t i = 0; i < sizeof shared_rows / sizeof shared_rows[0]; i++)
        if (!shared_rows[i].set || c->shared_sets & shared_rows[i].set) {
            struct option o = shared_rows[i].option;
            o.value = (char *)c->shared + shared_rows[i].at;
            add_option(t, o);
        }
    add_option(t, (struct option){"help", 'h', OPTION_FLAG, NULL, NULL, "print this", 0, 0});
}

bool options_color(const struct command *c)
{
    const char *when = c->shared->color, *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    if (when && strcmp(when, "auto"))
        return !strcmp(when, "always");
    return isatty(STDERR_FILENO) && !(no_color && *no_color) && term && *term && strcmp(term, "dumb");
}

// ---- Values ----------------------------------------------------------------------------------------------------

int options_fail(const struct command *c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const char *tool = c->program ? "" : "tegula ";
    fprintf(stderr, "%s%s: ", tool, c->name);
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n%s%s: see %s%s --help\n", tool, c->name, tool, c->name);
    va_end(args);
    return EXIT_USAGE;
}

bool option_split(const char *word, char *name, size_t size, const char **value)
{
    size_t n = strcspn(word, "=");
    *value = word[n] ? word + n + 1 : NULL;
    if (n == 0 || n >= size)
        return false;
    memcpy(name, word, n);
    name[n] = 0;
    return true;
}

bool option_int(const char *text, int64_t *x)
{
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 0);
    if (end == text || *end || errno)
        return false;
    *x = v;
    return true;
}

bool option_number(const char *text, double *x)
{
    char *end;
    double v = strtod(text, &end);
    if (end == text || *end)
        return false;
    *x = v;
    return true;
}

// ---- Parsing ---------------------------------------------------------------------------------------------------

static int set_int(const struct command *c, const struct option *o, const char *shown, const char *text)
{
    int64_t x;
    if (!option_int(text, &x))
        return options_fail(c, "%s wants a whole number, not '%s'", shown, text);
    if (o->most > o->least && (x < o->least || x > o->most))
        return options_fail(c, "%s is %" PRId64 " to %" PRId64 ", not %s", shown, o->least, o->most, text);
    *(int64_t *)o->value = x;
    return -1;
}

// Of `a|b|c`.
static int set_choice(const struct command *c, const struct option *o, const char *shown, const char *text)
{
    char list[80] = "";
    size_t length = 0;
    for (const char *choice = o->argument; *choice;) {
        size_t n = strcspn(choice, "|");
        if (strlen(text) == n && !memcmp(choice, text, n)) {
            *(const char **)o->value = text;
            return -1;
        }
        const char *next = choice + n + (choice[n] == '|');
        const char *between = choice == o->argument ? "" : *next ? ", " : " or ";
        length += (size_t)snprintf(list + length, sizeof list - length, "%s%.*s", between, (int)n, choice);
        assert(length < sizeof list);
        choice = next;
    }
    return options_fail(c, "%s is %s, not '%s'", shown, list, text);
}

static int set_option(const struct command *c, const struct option *o, const char *shown, const char *text)
{
    switch (o->kind) {
    case OPTION_FLAG:
        *(bool *)o->value = true;
        return -1;
    case OPTION_STRING:
        *(const char **)o->value = text;
        return -1;
    case OPTION_CHOICE:
        return set_choice(c, o, shown, text);
    case OPTION_INT:
        return set_int(c, o, shown, text);
    case OPTION_NUMBER:
        return option_number(text, o->value) ? -1 : options_fail(c, "%s wants a number, not '%s'", shown, text);
    case OPTION_WORDS: {
        struct words *words = o->value;
        if (words->n == OPTIONS_MOST_WORDS)
            return options_fail(c, "%s is given more than %d times", shown, OPTIONS_MOST_WORDS);
        words->word[words->n++] = text;
        return -1;
    }
    }
    return -1;
}

// The option a word names, and the value that is part of the word, if any.
static const struct option *find_option(const struct option_table *t, const char *word, const char **attached)
{
    *attached = NULL;
    bool is_long = word[1] == '-';
    size_t n = is_long ? strcspn(word + 2, "=") : 1;
    for (int i = 0; i < t->n; i++) {
        const struct option *o = &t->rows[i].option;
        if (is_long ? o->name && strlen(o->name) == n && !memcmp(o->name, word + 2, n) : o->letter == word[1]) {
            const char *rest = is_long ? word + 2 + n : word + 2;
            if (*rest)
                *attached = is_long ? rest + 1 : rest;
            return o;
        }
    }
    return NULL;
}

static int fail_unknown(const struct option_table *t, const char *word)
{
    const char *names[OPTIONS_MOST];
    for (int i = 0; i < t->n; i++)
        names[i] = t->rows[i].option.name;
    const char *meant = word[1] == '-' ? nearest_name(word + 2, strcspn(word + 2, "="), t->n, names) : NULL;
    return options_fail(t->command, "unknown option '%s'%s%s%s", word, meant ? "; did you mean --" : "",
                        meant ? meant : "", meant ? "?" : "");
}

int options_parse(const struct command *c, int argc, char *const *argv, struct words *files)
{
    struct option_table table;
    list_options(c, &table);
    bool only_files = false;
    for (int i = 0; i < argc; i++) {
        const char *word = argv[i];
        if (only_files || word[0] != '-' || !word[1]) {
            if (files->n == c->most_files || files->n == OPTIONS_MOST_WORDS)
                return options_fail(c, "one word too many: '%s'", word);
            files->word[files->n++] = word;
            continue;
        }
        if (!strcmp(word, "--")) {
            only_files = true;
            continue;
        }
        if (!strcmp(word, "--help") || !strcmp(word, "-h")) {
            options_print_help(&table);
            return EXIT_OK;
        }
        if (!strcmp(word, "--help=man")) {
            options_print_man(&table);
            return EXIT_OK;
        }
        const char *value;
        const struct option *o = find_option(&table, word, &value);
        if (!o)
            return fail_unknown(&table, word);
        if (o->kind == OPTION_FLAG && value)
            return options_fail(c, "'%s' takes no value", word);
        if (o->kind != OPTION_FLAG && !value) {
            if (i + 1 == argc)
                return options_fail(c, "'%s' needs a value, %s", word, o->argument);
            value = argv[++i];
        }
        char shown[64];
        snprintf(shown, sizeof shown, "%.*s", word[1] == '-' ? (int)strcspn(word, "=") : 2, word);
        int status = set_option(c, o, shown, value);
        if (status >= 0)
            return status;
    }
    if (files->n < c->least_files)
        return options_fail(c, "%s is missing", c->files);
    return -1;
}
