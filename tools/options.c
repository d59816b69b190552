#include "tools/options.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int options_fail(const struct command *c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "tegula %s: ", c->name);
    vfprintf(stderr, format, args);
    fprintf(stderr, "\ntegula %s: see tegula %s --help\n", c->name, c->name);
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

static void print_option(const struct option *o)
{
    char left[80];
    snprintf(left, sizeof left, "%s%.*s%s%s%s%s%s", o->letter ? "-" : "    ", o->letter ? 1 : 0, &o->letter,
             o->letter ? (o->name ? ", " : "") : "", o->name ? "--" : "", o->name ? o->name : "",
             o->argument ? " " : "", o->argument ? o->argument : "");
    printf(strlen(left) > 25 ? "  %s\n%27s %s\n" : "  %-25s%s %s\n", left, "", o->help);
}

static void print_help(const struct command *c)
{
    printf("usage: tegula %s%s%s [options]\n%s\n\n", c->name, c->files ? " " : "", c->files ? c->files : "",
           c->summary);
    for (int i = 0; i < c->n_options; i++)
        print_option(&c->options[i]);
    print_option(&(struct option){"help", 'h', OPTION_FLAG, NULL, NULL, "print this"});
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
    case OPTION_INT:
        return option_int(text, o->value) ? -1 : options_fail(c, "%s wants a whole number, not '%s'", shown, text);
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
static const struct option *find_option(const struct command *c, const char *word, const char **attached)
{
    *attached = NULL;
    bool is_long = word[1] == '-';
    size_t n = is_long ? strcspn(word + 2, "=") : 1;
    for (int i = 0; i < c->n_options; i++) {
        const struct option *o = &c->options[i];
        if (is_long ? o->name && strlen(o->name) == n && !memcmp(o->name, word + 2, n) : o->letter == word[1]) {
            const char *rest = is_long ? word + 2 + n : word + 2;
            if (*rest)
                *attached = is_long ? rest + 1 : rest;
            return o;
        }
    }
    return NULL;
}

int options_parse(const struct command *c, int argc, char *const *argv, struct words *files)
{
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
            print_help(c);
            return EXIT_OK;
        }
        const char *value;
        const struct option *o = find_option(c, word, &value);
        if (!o)
            return options_fail(c, "unknown option '%s'", word);
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
