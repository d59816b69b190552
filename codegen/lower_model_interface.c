// What others see of a model.
//
//   const tg_model NAME__model                                                         the description
//   int32_t NAME__entry(const tg_env *env, const void *input, ..., void *output, ..., int64_t size, ...)
//                                                      runs with the sizes that the inputs leave open; hidden
#include <stddef.h>
#include <string.h>

#include <tegula/kernel.h>

#include "codegen/data_type.h"
#include "codegen/lower_model.h"

// ---- The description -------------------------------------------------------------------------------------------

LLVMValueRef model_table(struct lower *l, LLVMTypeRef type, int n, LLVMValueRef *rows)
{
    LLVMValueRef table = LLVMConstArray2(type, rows, (uint64_t)n);
    LLVMValueRef global = LLVMAddGlobal(l->module, LLVMTypeOf(table), "table");
    LLVMSetInitializer(global, table);
    LLVMSetLinkage(global, LLVMPrivateLinkage);
    LLVMSetGlobalConstant(global, true);
    LLVMSetAlignment(global, 8);
    return global;
}

static LLVMValueRef describe_port(struct lower *l, const struct symbols *s, int i)
{
    struct port p = model_port(l->kernel, i);
    const struct type *t = p.param->type;
    LLVMValueRef dims[MAX_RANK];
    for (int d = 0; d < t->rank; d++) {
        int64_t x = t->dims[d];
        if (dim_is_symbol(t->dims[d])) {
            int at = s->position[dim_symbol_id(t->dims[d])];
            x = at < 0 ? INT64_MIN : -1 - (int64_t)at;
        }
        dims[d] = lower_i64(l, x);
    }
    LLVMValueRef members[4] = {host_text(l, p.name), lower_i32(l, model_data_type(data_type_of(t->dtype))),
                               lower_i32(l, t->rank), model_table(l, l->i64, t->rank, dims)};
    return LLVMConstStructInContext(l->context, members, 4, false);
}

static LLVMValueRef describe_ports(struct lower *l, const struct symbols *s, int first, int n)
{
    LLVMTypeRef members[4] = {l->ptr, l->i32, l->i32, l->ptr};
    LLVMValueRef *rows = ARENA_ARRAY(&l->arena, LLVMValueRef, n);
    for (int i = 0; i < n; i++)
        rows[i] = describe_port(l, s, first + i);
    return model_table(l, LLVMStructTypeInContext(l->context, members, 4, false), n, rows);
}

// A function of the model, which may be elsewhere.
static LLVMValueRef function_of(struct lower *l, const char *suffix)
{
    const char *name = arena_printf(&l->arena, "%s%s", l->kernel->name, suffix);
    LLVMTypeRef params[4] = {l->ptr, l->ptr, l->ptr, l->ptr};
    return lower_library_function(l, name, lower_function_type(l->i32, 4, params));
}

static LLVMValueRef table_of_texts(struct lower *l, int n, const char *const *texts)
{
    LLVMValueRef *rows = ARENA_ARRAY(&l->arena, LLVMValueRef, n);
    for (int i = 0; i < n; i++)
        rows[i] = host_text(l, texts[i]);
    return model_table(l, l->ptr, n, rows);
}

// Lists that are the same, as those for several targets mostly are, are there once.
static LLVMValueRef table_of_launches(struct lower *l, int n, const struct lowered_target *targets)
{
    LLVMValueRef *rows = ARENA_ARRAY(&l->arena, LLVMValueRef, n);
    for (int i = 0; i < n; i++) {
        struct data x = targets[i].launches;
        for (int j = 0; j < i && !rows[i]; j++) {
            struct data y = targets[j].launches;
            if (x.size == y.size && !memcmp(x.bytes, y.bytes, (size_t)x.size))
                rows[i] = rows[j];
        }
        if (!rows[i])
            rows[i] = host_bytes(l, x.bytes, (size_t)x.size);
    }
    return model_table(l, l->ptr, n, rows);
}

LLVMValueRef model_make_description(struct lower *l, const struct symbols *s, int n_targets,
                                    const struct lowered_target *targets)
{
    const struct function *f = l->kernel;
    const char **target_names = ARENA_ARRAY(&l->arena, const char *, n_targets);
    for (int i = 0; i < n_targets; i++)
        target_names[i] = targets[i].target->name;
    const char **names = ARENA_ARRAY(&l->arena, const char *, s->n);
    for (int i = 0; i < s->n; i++)
        names[i] = f->module->symbols[s->id[i]];
    LLVMValueRef members[14] = {lower_i32(l, TG_MODEL_VERSION),
                                lower_i32(l, f->n_inputs),
                                lower_i32(l, f->n_outputs),
                                lower_i32(l, s->n),
                                host_text(l, f->name),
                                describe_ports(l, s, 0, f->n_inputs),
                                describe_ports(l, s, f->n_inputs, f->n_outputs),
                                table_of_texts(l, s->n, names),
                                function_of(l, "__shapes"),
                                function_of(l, "__run"),
                                lower_i32(l, n_targets),
                                table_of_texts(l, n_targets, target_names),
                                function_of(l, "_load"),
                                table_of_launches(l, n_targets, targets)};
    LLVMValueRef value = LLVMConstStructInContext(l->context, members, 14, false);
    LLVMValueRef model = LLVMAddGlobal(l->module, LLVMTypeOf(value), arena_printf(&l->arena, "%s__model", f->name));
    LLVMSetInitializer(model, value);
    LLVMSetGlobalConstant(model, true);
    LLVMSetAlignment(model, 8);
    return model;
}

// ---- Entries ---------------------------------------------------------------------------------------------------

// A tensor in stack memory: row-major, of the sizes that the model says.
static void fill_tensor(struct lower *l, LLVMValueRef tensor, const struct port *p, LLVMValueRef data)
{
    const struct type *t = p->param->type;
    LLVMValueRef shape = lower_stack(l, l->i64, t->rank ? t->rank : 1, 8);
    for (int d = 0; d < t->rank; d++)
        model_store(l, host_size(l, t->dims[d]), shape, 8 * (size_t)d);
    model_fill_tensor(l, tensor, t, data);
    model_store(l, shape, tensor, offsetof(tg_tensor, shape));
}

// Memory is the caller's: an output without any would get memory that nobody learns of.
static LLVMValueRef output_memory(struct lower *l, const struct port *p, LLVMValueRef data)
{
    LLVMValueRef given = LLVMBuildIsNotNull(l->b, data, ""), fine = given;
    const struct type *t = p->param->type;
    for (int d = 0; d < t->rank; d++)
        fine =
            LLVMBuildOr(l->b, fine, LLVMBuildICmp(l->b, LLVMIntEQ, host_size(l, t->dims[d]), lower_i64(l, 0), ""), "");
    host_require(l, fine, "%s '%s' has no memory", ARGS(host_text(l, p->role), host_text(l, p->name)));
    return LLVMBuildSelect(l->b, given, data, lower_stack(l, l->i64, 1, 64), "");
}

LLVMTypeRef model_entry_type(struct lower *l, const struct symbols *s, bool with_env)
{
    int n = 0, pointers = with_env + l->kernel->n_inputs + l->kernel->n_outputs;
    LLVMTypeRef *types = ARENA_ARRAY(&l->arena, LLVMTypeRef, pointers + s->n + 1);
    while (n < pointers)
        types[n++] = l->ptr;
    while (n < pointers + s->n)
        types[n++] = l->i64;
    return lower_function_type(l->i32, n, types);
}

void model_make_entry(struct lower *l, const struct symbols *s)
{
    const struct function *k = l->kernel;
    int n = k->n_inputs + k->n_outputs;
    LLVMValueRef f = model_add_function(l, "__entry", model_entry_type(l, s, true), LOWER_PROGRAM);
    host_begin(l, f, LLVMGetParam(f, 0));
    LLVMBasicBlockRef body = model_begin_body(l);
    LLVMValueRef *known = ARENA_ARRAY(&l->arena, LLVMValueRef, s->n + 1);
    for (int i = 0; i < s->n; i++)
        known[i] = LLVMGetParam(f, (unsigned)(1 + n + i));
    model_bind_symbols(l, s, known);
    LLVMValueRef tensors = lower_stack(l, l->i64, (int64_t)sizeof(tg_tensor) / 8 * (n + 1), 8);
    for (int i = 0; i < n; i++) {
        struct port p = model_port(k, i);
        LLVMValueRef data = LLVMGetParam(f, (unsigned)(1 + i)),
                     at = host_offset(l, tensors, lower_i64(l, (int64_t)sizeof(tg_tensor) * i));
        fill_tensor(l, at, &p, i < k->n_inputs ? data : output_memory(l, &p, data));
    }
    LLVMTypeRef params[4] = {l->ptr, l->ptr, l->ptr, l->ptr};
    LLVMValueRef outputs = host_offset(l, tensors, lower_i64(l, (int64_t)sizeof(tg_tensor) * k->n_inputs)),
                 args[4] = {l->host->env, tensors, outputs, LLVMConstNull(l->ptr)};
    LLVMBuildRet(l->b,
                 LLVMBuildCall2(l->b, lower_function_type(l->i32, 4, params), function_of(l, "__run"), args, 4, ""));
    LLVMPositionBuilderAtEnd(l->b, l->host->failed);
    model_end_failed(l);
    model_end_entry(l, body);
}

// ---- Constants -------------------------------------------------------------------------------------------------

void model_define_weights(struct lower *l)
{
    struct host *h = l->host;
    const struct weights *w = h->weights;
    char *bytes = ARENA_ARRAY(&l->arena, char, w->bytes);
    for (int i = 0; i < w->n; i++)
        if (w->pieces[i].size)
            memcpy(bytes + w->pieces[i].offset, w->pieces[i].bytes, (size_t)w->pieces[i].size);
    LLVMValueRef value = LLVMConstStringInContext2(l->context, bytes, (size_t)w->bytes, true);
    LLVMValueRef blob = LLVMAddGlobal(l->module, LLVMTypeOf(value), "weights");
    LLVMSetInitializer(blob, value);
    LLVMSetLinkage(blob, LLVMPrivateLinkage);
    LLVMSetGlobalConstant(blob, true);
    LLVMSetAlignment(blob, 64);
    LLVMReplaceAllUsesWith(h->weights_symbol, blob);
    LLVMDeleteGlobal(h->weights_symbol);
}
