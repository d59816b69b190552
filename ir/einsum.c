#include "ir/einsum.h"

#include <string.h>

const char *einsum_parse(const char *text, struct einsum *e)
{
    *e = (struct einsum){0};
    int operand = 0;
    for (const char *p = text; *p; p++) {
        if (*p == ',' && operand == 0) {
            operand = 1;
        } else if (*p == '-' && p[1] == '>' && operand == 1) {
            operand = 2;
            p++;
        } else if ((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z')) {
            const char *known = memchr(e->label, *p, (size_t)e->n_axes);
            int axis = known ? (int)(known - e->label) : e->n_axes;
            if (!known) {
                if (operand == 2)
                    return "an axis of the sum stands in no factor";
                e->label[e->n_axes++] = *p;
            }
            if (e->in[operand][axis])
                return "an axis stands twice in one operand";
            if (e->rank[operand] == MAX_RANK)
                return "an operand has too many axes";
            e->in[operand][axis] = true;
            e->axis[operand][e->rank[operand]++] = axis;
        } else {
            return "labels are written like \"mk,kn->mn\"";
        }
        if (e->n_axes == EINSUM_LABELS)
            return "too many axes";
    }
    return operand == 2 ? NULL : "labels are written like \"mk,kn->mn\"";
}
