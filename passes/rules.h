// Rewriting of graph functions by the rules of rules.def.
//
//     %s = sigmoid %x
//     %y = mul %s, %x            =>     %y = silu %x
//
// The patterns are parsed once per pass. A walk visits operations in order of dominance and tries the rules whose last
// operation is of that kind; what a rule has built is visited in turn, and walks are repeated until nothing changes.
// Numbers of uses are kept, so that operations die as soon as nothing needs them.
#ifndef TEGULA_PASSES_RULES_H
#define TEGULA_PASSES_RULES_H

#include "passes/pass.h"

enum rule_group { RULES_REWRITE, RULES_FOLD_BATCH_NORM, RULES_RAISE };

// Applies a group to the graph functions of the module, and takes away operations whose results nothing uses. Returns
// whether anything changed. The context's `rules_applied` counts how often each rule was applied, by its row.
bool rules_run(struct module *m, struct pass_context *c, enum rule_group group);

int rules_count(void);
const char *rules_name(int rule);

#endif
