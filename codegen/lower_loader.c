// What others see of a model in a file, and how they come to the code for this machine.
//
//   const tg_model NAME__model, if it is to be found also tegula_model
//   int32_t NAME(const void *input, ..., void *output, ..., int64_t size, ...)     the sizes that the inputs leave open
//   int32_t NAME_env(const tg_env *env, the same)
//   int32_t NAME_load(const tg_env *env, const char *weights, int32_t *target)
//   hidden int32_t NAME__shapes(...), NAME__run(...)                               of the description
//   hidden struct loader NAME__loader                                              runtime/loader.h
//
// Whatever runs the model goes through the code that was chosen, and has it chosen first if that has not been done:
//
//     if (!loader.chosen && NAME_load(env, NULL, NULL)) return 1
//     return loader.chosen->run(...)
#include <stddef.h>

#include "codegen/lower_model.h"
#include "runtime/loader.h"

_Static_assert(sizeof(struct loader) == 64 && sizeof(struct loader_target) == 40, "see make_loader");

// ---- The loader's data -----------------------------------------------------------------------------------------

static LLVMValueRef code_of(struct lower *l, const char *host, const char *suffix)
{
    LLVMValueRef f = LLVMAddFunction(l->module, arena_printf(&l->arena, "%s%s", host, suffix),
                                     lower_function_type(l->i32, 0, NULL)); // called through pointers only
    LLVMSetVisibility(f, LLVMHiddenVisibility);
    return f;
}

static LLVMValueRef make_loader(struct lower *l, const struct loader_facts *facts)
{
    int n = facts->n_targets;
    const struct lowered_target *targets = facts->targets;
    LLVMValueRef *rows = ARENA_ARRAY(&l->arena, LLVMValueRef, n);
    for (int i = 0; i < n; i++) {
        const char *host = targets[i].host;
        LLVMValueRef members[5] = {host_text(l, targets[i].target->name), lower_i64(l, (int64_t)targets[i].target->isa),
                                   code_of(l, host, "__shapes"), code_of(l, host, "__run"),
                                   code_of(l, host, "__entry")};
        rows[i] = LLVMConstStructInContext(l->context, members, 5, false);
    }
    LLVMValueRef null = LLVMConstNull(l->ptr);
    LLVMValueRef members[8] = {host_text(l, l->kernel->name),
                               lower_i64(l, n),
                               model_table(l, LLVMTypeOf(rows[0]), n, rows),
                               null,
                               facts->weights_file ? host_text(l, facts->weights_file) : null,
                               lower_i64(l, facts->weights_bytes),
                               lower_i64(l, (int64_t)facts->weights_identity),
                               null};
    LLVMValueRef value = LLVMConstStructInContext(l->context, members, 8, false);
    LLVMValueRef loader =
        LLVMAddGlobal(l->module, LLVMTypeOf(value), arena_printf(&l->arena, "%s__loader", l->kernel->name));
    LLVMSetInitializer(loader, value);
    LLVMSetVisibility(loader, LLVMHiddenVisibility);
    LLVMSetAlignment(loader, 8);
    return loader;
}

// ---- Functions -------------------------------------------------------------------------------------------------

struct entrance {
    struct lower *l;
    LLVMValueRef loader, load;
    LLVMTypeRef load_type;
};

static LLVMValueRef *params_of(struct lower *l, LLVMValueRef f, int room_before)
{
    unsigned n = LLVMCountParams(f);
    LLVMValueRef *all = ARENA_ARRAY(&l->arena, LLVMValueRef, (int)n + room_before);
    for (unsigned i = 0; i < n; i++)
        all[room_before + (int)i] = LLVMGetParam(f, i);
    return all;
}

static void make_load(struct entrance *e)
{
    struct lower *l = e->l;
    LLVMTypeRef params[4] = {l->ptr, l->ptr, l->ptr, l->ptr};
    e->load_type = lower_function_type(l->i32, 3, params);
    LLVMTypeRef type = lower_function_type(l->i32, 4, params);
    LLVMValueRef common = LLVMAddFunction(l->module, arena_printf(&l->arena, "%s__loader_load", l->kernel->name), type);
    LLVMSetVisibility(common, LLVMHiddenVisibility);
    e->load = model_add_function(l, "_load", e->load_type, LOWER_EVERYBODY);
    lower_begin_function(l, e->load);
    LLVMValueRef *args = params_of(l, e->load, 1);
    args[0] = e->loader;
    LLVMBuildRet(l->b, LLVMBuildCall2(l->b, type, common, args, 4, ""));
}

static LLVMValueRef load_chosen(const struct entrance *e)
{
    struct lower *l = e->l;
    LLVMValueRef at = host_offset(l, e->loader, lower_i64(l, (int64_t)offsetof(struct loader, chosen))),
                 chosen = LLVMBuildLoad2(l->b, l->ptr, at, "chosen");
    LLVMSetOrdering(chosen, LLVMAtomicOrderingAcquire);
    LLVMSetAlignment(chosen, 8);
    return chosen;
}

// A function whose first parameter is an environment, and which does what the chosen target's function at `member`
// does.
static LLVMValueRef make_entrance(const struct entrance *e, const char *suffix, LLVMTypeRef type, size_t member,
                                  enum lower_reach reach)
{
    struct lower *l = e->l;
    LLVMValueRef f = model_add_function(l, suffix, type, reach), null = LLVMConstNull(l->ptr);
    lower_begin_function(l, f);
    LLVMBasicBlockRef load = lower_new_block(l, "load"), failed = lower_new_block(l, "failed"),
                      run = lower_new_block(l, "run");
    LLVMBuildCondBr(l->b, LLVMBuildIsNull(l->b, load_chosen(e), ""), load, run);

    LLVMPositionBuilderAtEnd(l->b, load);
    LLVMValueRef args[3] = {LLVMGetParam(f, 0), null, null};
    LLVMValueRef status = LLVMBuildCall2(l->b, e->load_type, e->load, args, 3, "status");
    LLVMBuildCondBr(l->b, LLVMBuildICmp(l->b, LLVMIntEQ, status, lower_i32(l, 0), ""), run, failed);

    LLVMPositionBuilderAtEnd(l->b, failed);
    LLVMBuildRet(l->b, status);

    LLVMPositionBuilderAtEnd(l->b, run);
    LLVMValueRef at = host_offset(l, load_chosen(e), lower_i64(l, (int64_t)member)),
                 code = LLVMBuildLoad2(l->b, l->ptr, at, "code");
    LLVMBuildRet(l->b, LLVMBuildCall2(l->b, type, code, params_of(l, f, 0), LLVMCountParams(f), ""));
    return f;
}

// NAME: what NAME_env does without an environment.
static void make_plain(struct lower *l, const struct symbols *s, LLVMValueRef with_env)
{
    LLVMValueRef f = model_add_function(l, "", model_entry_type(l, s, false), LOWER_EVERYBODY);
    lower_begin_function(l, f);
    LLVMValueRef *args = params_of(l, f, 1);
    args[0] = LLVMConstNull(l->ptr);
    LLVMTypeRef type = model_entry_type(l, s, true);
    LLVMBuildRet(l->b, LLVMBuildCall2(l->b, type, with_env, args, LLVMCountParams(f) + 1, ""));
}

static void make_all(struct lower *l, const struct loader_facts *facts)
{
    struct symbols s = {0};
    if (!model_learn_symbols(l, &s))
        return;
    struct entrance e = {.l = l, .loader = make_loader(l, facts)};
    make_load(&e);
    LLVMTypeRef params[4] = {l->ptr, l->ptr, l->ptr, l->ptr}, type = lower_function_type(l->i32, 4, params);
    make_entrance(&e, "__shapes", type, offsetof(struct loader_target, shapes), LOWER_PROGRAM);
    make_entrance(&e, "__run", type, offsetof(struct loader_target, run), LOWER_PROGRAM);
    make_plain(l, &s,
               make_entrance(&e, "_env", model_entry_type(l, &s, true), offsetof(struct loader_target, entry),
                             LOWER_EVERYBODY));
    LLVMValueRef model = model_make_description(l, &s, facts->n_targets, facts->targets);
    if (facts->found)
        LLVMAddAlias2(l->module, LLVMGlobalGetValueType(model), 0, model, "tegula_model");
}

int lower_loader(struct function *host, const struct loader_facts *facts, const struct target_desc *target,
                 LLVMContextRef context, LLVMModuleRef out, struct diags *diags)
{
    struct host h = {.form = MODEL_IN_FILE, .model = host->name};
    struct lower l = {.host = &h};
    lower_init(&l, host, target, context, out, diags);
    if (!l.failed)
        make_all(&l, facts);
    lower_finish(&l);
    return l.failed;
}
