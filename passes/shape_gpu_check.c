// What kernels for a GPU cannot have: operations and tiles that no thread could do or hold. All faults are reported.
#include "passes/shape_gpu.h"

#include <stdarg.h>

void gpu_fail(struct gpu_shaper *g, struct loc loc, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    diag_error(g->c->diags, loc, "kernel %s: %s", g->k->name, arena_vprintf(g->scratch, format, args));
    va_end(args);
    g->failed = true;
}

const char *gpu_text(struct gpu_shaper *g, const struct type *t)
{
    return type_string(g->scratch, g->m, t);
}

static void check_type(struct gpu_shaper *g, const struct op *op, const struct type *t)
{
    const char *name = op_info[op->code].name, *target = g->c->target->name;
    if (t->kind != TYPE_TILE)
        return;
    if (t->rank > LAYOUT_MAX_RANK) {
        gpu_fail(g, op->loc, "%s: %s has more than %d dimensions, which %s does not support; reshape it", name,
                 gpu_text(g, t), LAYOUT_MAX_RANK, target);
        return;
    }
    if (dtype_info[t->dtype].bits < 8 && t->dtype != DTYPE_I1) {
        gpu_fail(g, op->loc, "%s: elements of type %s are not supported on %s", name, dtype_info[t->dtype].name,
                 target);
        return;
    }
    for (int d = 0; d < t->rank; d++)
        if (t->dims[d] & (t->dims[d] - 1)) {
            gpu_fail(g, op->loc,
                     "%s: dimension %d of %s is no power of two, as %s needs; choose a size such as 64 or 128", name, d,
                     gpu_text(g, t), target);
            return;
        }
    int64_t bytes = type_elements(t) * (dtype_bytes(t->dtype) > 4 ? 8 : 4);
    int registers = (gpu_thread_registers(g->warps) + 1) / 2; // the other half is for all else
    int64_t most = (int64_t)registers * 4 * GPU_LANES * g->warps;
    // Factors of a dot are smaller than their sum, or were loaded and would be reported there.
    if (bytes > most && op->code != OP_CONSTANT && op->code != OP_IOTA && op->code != OP_BROADCAST)
        gpu_fail(g, op->loc,
                 "%s: %s needs %lld registers in each of %d threads on %s, where %d are reasonable; "
                 "choose smaller tiles, or loop over them",
                 name, gpu_text(g, t), (long long)(bytes / 4 / GPU_LANES / g->warps), GPU_LANES * g->warps, target,
                 registers);
}

static void check_block(struct gpu_shaper *g, const struct block *b)
{
    for (const struct op *op = b->first; op; op = op->next) {
        int errors = g->c->diags->n_errors;
        switch (op->code) {
        case OP_SCAN:
        case OP_EXTRACT:
        case OP_SCRATCH:
            gpu_fail(g, op->loc, "%s is not supported on %s", op_info[op->code].name, g->c->target->name);
            break;
        default:
            for (int i = 0; i < op->n_results && g->c->diags->n_errors == errors; i++)
                check_type(g, op, op->results[i]->type);
        }
        for (int i = 0; i < op->n_blocks; i++)
            check_block(g, op->blocks[i]);
    }
}

void gpu_warn_of_spills(struct gpu_shaper *g)
{
    const struct op *op;
    int64_t pressure = gpu_pressure(g, NULL, &op);
    int registers = gpu_thread_registers(g->warps);
    if (pressure > registers)
        diag_warning(
            g->c->diags, op->loc,
            "kernel %s: %s: about %lld registers are live in each of %d threads, which have %d on %s: some will "
            "be spilled to memory; choose smaller tiles",
            g->k->name, op_info[op->code].name, (long long)pressure, GPU_LANES * g->warps, registers,
            g->c->target->name);
}

bool gpu_check(struct gpu_shaper *g)
{
    check_block(g, g->k->body);
    return !g->failed;
}
