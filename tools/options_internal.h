// What options.c, which reads command lines, and options_help.c, which describes them, share.
#ifndef TEGULA_TOOLS_OPTIONS_INTERNAL_H
#define TEGULA_TOOLS_OPTIONS_INTERNAL_H

#include "tools/options.h"

#define OPTIONS_MOST 40

// An option of a command, and its default as text.
struct option_row {
    struct option option;
    char initial[32]; // empty: it is a flag, or the help tells it
};

// All that a command has.
struct option_table {
    const struct command *command;
    int n;
    struct option_row rows[OPTIONS_MOST];
};

void options_print_help(const struct option_table *t);
// The same as a section of the man page.
void options_print_man(const struct option_table *t);

#endif
