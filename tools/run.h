// What `tegula run` and `tegula diff` do alike before a model is compiled.
#ifndef TEGULA_TOOLS_RUN_H
#define TEGULA_TOOLS_RUN_H

#include "tools/command.h"
#include "tools/run_model.h"

// Opens the request's file as command_open does. What --input names is an input, even if the model has a default for
// it.
int run_open(const struct command *c, const struct run_request *r, struct command_source *source, struct diags *diags);

#endif
