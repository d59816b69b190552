// rewrite: takes away what changes nothing, and uses cheaper operations and those that stand for several.
//
//     %a = reshape %x : tensor<Nx1x8xf32>
//     %b = reshape %a : tensor<Nx8xf32>
//     %s = sigmoid %b                           =>     %y = silu %x
//     %y = mul %b, %s
//
// By the rules of group REWRITE in rules.def. Constants are not computed: that is fold-graph's.
#include "passes/rules.h"

bool pass_rewrite(struct module *m, struct pass_context *c)
{
    return rules_run(m, c, RULES_REWRITE);
}
