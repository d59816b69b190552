// raise: wraps operations that together are a softmax, a normalisation of rows or an attention in composites of that
// name, for targets that have something special for them; inline-composites takes the rest apart again.
//
//     %m = reduce max %x, [1]
//     %d = sub %x, %m                           %y = composite "softmax" (%a = %x) {
//     %e = exp %d                        =>       (the same operations on %a)
//     %s = reduce add %e, [1]                   }
//     %y = div %e, %s
//
// By the rules of group RAISE in rules.def, which also say what the operands are:
//   softmax, log_softmax (x); layer_norm (x, scale, bias), rms_norm (x, scale), of the last axis, as far as there are
//   a scale and a bias; attention (queries, keys, values, mask), where the mask may be missing.
// Decompositions stay as they were found, so that taking a composite apart gives the same results.
#include "passes/rules.h"

bool pass_raise(struct module *m, struct pass_context *c)
{
    return rules_run(m, c, RULES_RAISE);
}
