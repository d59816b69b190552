// The launches of a compiled model, and how people are told what they do.
#ifndef TEGULA_TOOLS_LAUNCH_H
#define TEGULA_TOOLS_LAUNCH_H

#include <stdio.h>

#include "codegen/lower.h"
#include "passes/origin.h"

struct launches {
    const struct module *m;
    int n;
    const struct op *const *list;
};

// Of the module's host function, in the arena.
struct launches launches_find(const struct module *m, struct arena *a);

// The values of the module's symbols by id, given those of the compiled model's by position; -1: not known.
int64_t *launches_symbols(const struct launches *l, const tg_model *code, const int64_t *values, struct arena *a);

// "Conv + Add + Relu": the operators of the nodes, or operations where there are none; "copy (Conv)".
const char *launch_operators(const struct op *launch, struct arena *a);
// "'conv1', 'add1', 'relu1'": at most so many nodes; "line 7" where they have no names.
const char *launch_nodes(const struct op *launch, int most, struct arena *a);
// [{"name": .., "operator": ..}, ..]
void launch_json_nodes(FILE *out, const struct op *launch, struct arena *a);
// The kernel's name in the text of the IR.
const char *launch_kernel(const struct launches *l, int i);

#endif
