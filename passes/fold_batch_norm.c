// fold-batch-norm: multiplies factors that follow a convolution or a product into its constant weights, where they are
// one constant per filter, and adds constants up that then follow each other.
//
//     %c = conv %x, %w                          %f = reshape %a : tensor<Fx1x1x1xf32>
//     %d = mul %c, %a                    =>     %g = mul %w, %f
//     %y = add %d, %b                           %c = conv %x, %g
//                                               %y = add %c, %b
//
// By the rules of group FOLD_BATCH_NORM in rules.def. What it leaves to compute of constants is fold-graph's.
#include "passes/rules.h"

bool pass_fold_batch_norm(struct module *m, struct pass_context *c)
{
    return rules_run(m, c, RULES_FOLD_BATCH_NORM);
}
