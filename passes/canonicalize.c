// canonicalize: fold, cse and dce, until none of them finds anything.
#include "passes/pass.h"

#define MOST_ROUNDS 16 // each needs what the one before uncovered; a handful is usual

bool pass_canonicalize(struct module *m, struct pass_context *c)
{
    bool progress = false;
    for (int round = 0; round < MOST_ROUNDS; round++) {
        bool changed = pass_fold(m, c);
        changed |= pass_cse(m, c);
        changed |= pass_dce(m, c);
        if (!changed)
            break;
        progress = true;
    }
    return progress;
}
