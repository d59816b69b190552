#include <stdio.h>
#include <string.h>

#include "tools/options_internal.h"

static const char *tool(const struct command *c)
{
    return c->program ? "" : "tegula ";
}

// ---- For terminals ---------------------------------------------------------------------------------------------

static void print_option(const struct option_row *row)
{
    const struct option *o = &row->option;
    char left[80];
    snprintf(left, sizeof left, "%s%.*s%s%s%s%s%s", o->letter ? "-" : "    ", o->letter ? 1 : 0, &o->letter,
             o->letter ? (o->name ? ", " : "") : "", o->name ? "--" : "", o->name ? o->name : "",
             o->argument ? " " : "", o->argument ? o->argument : "");
    printf(strlen(left) > 25 ? "  %s\n%27s %s" : "  %-25s%s %s", left, "", o->help);
    printf(*row->initial ? " [%s]\n" : "\n", row->initial);
}

void options_print_help(const struct option_table *t)
{
    const struct command *c = t->command;
    printf("usage: %s%s%s%s [options]\n%s\n\n", tool(c), c->name, c->files ? " " : "", c->files ? c->files : "",
           c->summary);
    for (int i = 0; i < t->n; i++)
        print_option(&t->rows[i]);
}

// ---- For man ---------------------------------------------------------------------------------------------------

// Text that roff takes as it is: a backslash, a hyphen and the first character of a line mean something to it.
static void print_roff(const char *text)
{
    bool starts_line = true;
    for (; *text; text++) {
        if (starts_line && (*text == '.' || *text == '\''))
            fputs("\\&", stdout);
        starts_line = *text == '\n';
        if (*text == '\\')
            fputs("\\e", stdout);
        else if (*text == '-')
            fputs("\\-", stdout);
        else
            putchar(*text);
    }
}

static void print_man_option(const struct option_row *row)
{
    const struct option *o = &row->option;
    printf(".TP\n");
    if (o->letter)
        printf("\\fB\\-%c\\fR%s", o->letter, o->name ? ", " : "");
    if (o->name) {
        printf("\\fB\\-\\-");
        print_roff(o->name);
        printf("\\fR");
    }
    if (o->argument) {
        printf(" \\fI");
        print_roff(o->argument);
        printf("\\fR");
    }
    printf("\n");
    print_roff(o->help);
    printf(*row->initial ? " [%s]\n" : "\n", row->initial);
}

void options_print_man(const struct option_table *t)
{
    const struct command *c = t->command;
    printf(".SS \"%s%s%s%s [options]\"\n", tool(c), c->name, c->files ? " " : "", c->files ? c->files : "");
    print_roff(c->summary);
    printf("\n");
    for (int i = 0; i < t->n; i++)
        print_man_option(&t->rows[i]);
}
