// The launches of a compiled model, and how people are told what they do.
#ifndef TEGULA_TOOLS_LAUNCH_H
#define TEGULA_TOOLS_LAUNCH_H

#include <stdio.h>

#include <tegula/kernel.h>

#include "codegen/launches.h"

// "Conv + Add + Relu": the operators of the nodes, or operations where there are none; "copy (Conv)".
const char *launch_operators(const struct launch *x, struct arena *a);
// "'conv1', 'add1', 'relu1'": at most so many nodes; "line 7" where they have no names.
const char *launch_nodes(const struct launch *x, int most, struct arena *a);
// [{"name": .., "operator": ..}, ..]
void launch_json_nodes(FILE *out, const struct launch *x, struct arena *a);

// The value of launch.flops or .bytes, given those of the model's symbols by position; false: it is not known.
bool launch_value(const tg_model *code, const int64_t *symbols, const char *expression, double *value);

#endif
