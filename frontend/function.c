#include "frontend/function.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define LONGEST_PATH_SHOWN 16

// ---- The table ----

size_t function_key(const char *domain, const char *name, const char *overload, char *key)
{
    const char *parts[3] = {model_domain(domain), name, overload ? overload : ""};
    size_t length = 0;
    for (int i = 0; i < 3; i++) {
        size_t n = strlen(parts[i]) + 1; // the NUL separates the parts
        if (key)
            memcpy(key + length, parts[i], n);
        length += n;
    }
    return length;
}

static const char *where(struct model *m, const struct model_function *f)
{
    return f ? arena_printf(&m->arena, "function %s: ", f->title) : "";
}

bool function_read_opsets(struct model *m, TgOnnx__OperatorSetIdProto **list, size_t n, const struct model_function *f,
                          struct model_opsets *out, struct diags *diags)
{
    struct loc loc = {.file = m->file};
    struct map seen;
    map_init(&seen, m->secret);
    out->list = ARENA_ARRAY(&m->arena, struct model_opset, n);
    for (size_t i = 0; i < n; i++) {
        struct model_opset opset = {model_domain(list[i]->domain), list[i]->version};
        const char *shown = *opset.domain ? model_quote(m, opset.domain) : "ai.onnx";
        struct model_opset *slot = &out->list[out->n], *old;
        *slot = opset;
        // One byte more than the domain: a key of length 0 is as good as any, but the NUL costs nothing.
        old = map_insert(&seen, &m->scratch, slot->domain, strlen(slot->domain) + 1, slot);
        if (!old) {
            out->n++;
        } else if (old->version != opset.version) {
            diag_error(diags, loc, "%simports operator set %s twice, as version %" PRId64 " and as %" PRId64,
                       where(m, f), shown, old->version, opset.version);
            return false;
        }
        if (!*opset.domain && (opset.version < MODEL_OPSET_MIN || opset.version > MODEL_OPSET_MAX)) {
            diag_error(diags, loc, "%sversion %" PRId64 " of operator set ai.onnx is not supported: %s; %d to %d are",
                       where(m, f), opset.version,
                       opset.version > MODEL_OPSET_MAX ? "it is newer than this compiler" : "it is too old",
                       MODEL_OPSET_MIN, MODEL_OPSET_MAX);
            return false;
        }
    }
    return true;
}

void function_read_all(struct model *m, struct diags *diags)
{
    struct loc loc = {.file = m->file};
    m->n_functions = m->proto->n_functions;
    m->functions = ARENA_ARRAY(&m->arena, struct model_function, m->n_functions + 1);
    map_init(&m->function_names, m->secret);
    for (size_t i = 0; i < m->n_functions; i++) {
        struct model_function *f = &m->functions[i];
        const TgOnnx__FunctionProto *p = m->proto->functions[i];
        const char *name = p->name ? p->name : "", *overload = p->overload ? p->overload : "";
        f->proto = p;
        f->domain = model_domain(p->domain);
        f->title = model_quote(m, arena_printf(&m->scratch, "%s%s%s%s%s", f->domain, *f->domain ? "::" : "", name,
                                               *overload ? ":" : "", overload));
        size_t length = function_key(f->domain, name, overload, NULL);
        char *key = arena_alloc(&m->arena, length);
        function_key(f->domain, name, overload, key);
        if (!*name)
            diag_error(diags, loc, "function %zu has no name", i + 1);
        else if (map_insert(&m->function_names, &m->arena, key, length, f))
            diag_error(diags, loc, "function %s is defined twice", f->title);
        if (m->longest_key < length)
            m->longest_key = length;
        function_read_opsets(m, p->opset_import, p->n_opset_import, f, &f->opsets, diags);
    }
    m->key = arena_alloc(&m->arena, m->longest_key);
    m->functions[m->n_functions].title = "the main graph";
}

// ---- Calls ----

void function_add_call(struct model *m, struct model_function *caller, struct function_call call)
{
    if (caller->n_calls == caller->n_calls_room) {
        size_t room = caller->n_calls_room ? caller->n_calls_room * 2 : 4;
        struct function_call *calls = ARENA_ARRAY(&m->arena, struct function_call, room);
        if (caller->n_calls)
            memcpy(calls, caller->calls, caller->n_calls * sizeof *calls);
        caller->calls = calls;
        caller->n_calls_room = room;
    }
    caller->calls[caller->n_calls++] = call;
}

// A depth-first search without recursion: chains of calls may be as long as the file has functions.
struct visit {
    struct model_function *function;
    size_t next; // of its calls
};

static void report_recursion(struct model *m, const struct visit *stack, size_t from, size_t n, struct diags *diags)
{
    const char *path = "";
    for (size_t i = from; i < n; i++) {
        if (i - from == LONGEST_PATH_SHOWN) {
            path = arena_printf(&m->arena, "%s -> %zu more", path, n - i);
            break;
        }
        path = arena_printf(&m->arena, "%s%s%s", path, i > from ? " -> " : "", stack[i].function->title);
    }
    const struct function_call *call = &stack[n - 1].function->calls[stack[n - 1].next - 1];
    diag_error(diags, model_loc(m, call->node), "functions call themselves: %s -> %s", path,
               stack[from].function->title);
}

// All its callees have been measured.
static void measure(struct model_function *f)
{
    f->depth = 1;
    f->n_inlined_nodes = f->n_nodes;
    for (size_t i = 0; i < f->n_calls; i++) {
        const struct model_function *callee = f->calls[i].callee;
        int depth = f->calls[i].depth + 1 + callee->depth;
        if (f->depth < depth)
            f->depth = depth < 2 * MODEL_MAX_CALL_DEPTH ? depth : 2 * MODEL_MAX_CALL_DEPTH;
        f->n_inlined_nodes += callee->n_inlined_nodes;
        if (f->n_inlined_nodes > 2 * MODEL_MAX_INLINED_NODES)
            f->n_inlined_nodes = 2 * MODEL_MAX_INLINED_NODES;
    }
}

void function_check_calls(struct model *m, struct diags *diags)
{
    enum { NEW, OPEN, DONE };
    size_t n = m->n_functions + 1, height = 0;
    unsigned char *state = ARENA_ARRAY(&m->scratch, unsigned char, n);
    struct visit *stack = ARENA_ARRAY(&m->scratch, struct visit, n);
    size_t *position = ARENA_ARRAY(&m->scratch, size_t, n);
    int n_reported = 0;
    for (size_t root = 0; root < n; root++) {
        if (state[root] == NEW) {
            stack[height++] = (struct visit){&m->functions[root], 0};
            state[root] = OPEN;
            position[root] = 0;
        }
        while (height) {
            struct visit *top = &stack[height - 1];
            if (top->next == top->function->n_calls) {
                measure(top->function);
                state[top->function - m->functions] = DONE;
                height--;
                continue;
            }
            size_t callee = (size_t)(top->function->calls[top->next++].callee - m->functions);
            if (state[callee] == NEW) {
                state[callee] = OPEN;
                position[callee] = height;
                stack[height++] = (struct visit){&m->functions[callee], 0};
            } else if (state[callee] == OPEN && n_reported++ < LONGEST_PATH_SHOWN) {
                report_recursion(m, stack, position[callee], height, diags);
            }
        }
    }
    const struct model_function *main = &m->functions[m->n_functions];
    if (n_reported)
        return;
    if (main->depth > MODEL_MAX_CALL_DEPTH)
        diag_error(diags, (struct loc){.file = m->file}, "function calls nest deeper than %d levels",
                   MODEL_MAX_CALL_DEPTH);
    if (main->n_inlined_nodes > MODEL_MAX_INLINED_NODES)
        diag_error(diags, (struct loc){.file = m->file},
                   "with its function calls inlined the model has more than %" PRId64 " nodes",
                   MODEL_MAX_INLINED_NODES);
}
