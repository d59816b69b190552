// What others see of a model.
//
//   const tg_model NAME__model, of a shared object also tegula_model
//   int32_t NAME(const void *input, ..., void *output, ..., int64_t size, ...)     the sizes that the inputs leave open
//   int32_t NAME_env(const tg_env *env, the same)
#include <stddef.h>
#include <string.h>

#include <tegula/kernel.h>

#include "codegen/data_type.h"
#include "codegen/lower_model.h"

// ---- The description -------------------------------------------------------------------------------------------

static LLVMValueRef constant_table(struct lower *l, LLVMTypeRef type, int n, LLVMValueRef *rows)
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
                               lower_i32(l, t->rank), constant_table(l, l->i64, t->rank, dims)};
    return LLVMConstStructInContext(l->context, members, 4, false);
}

static LLVMValueRef describe_ports(struct lower *l, const struct symbols *s, int first, int n)
{
    LLVMTypeRef members[4] = {l->ptr, l->i32, l->i32, l->ptr};
    LLVMValueRef *rows = ARENA_ARRAY(&l->arena, LLVMValueRef, n);
    for (int i = 0; i < n; i++)
        rows[i] = describe_port(l, s, first + i);
    return constant_table(l, LLVMStructTypeInContext(l->context, members, 4, false), n, rows);
}

static LLVMValueRef exported(struct lower *l, const char *suffix)
{
    return LLVMGetNamedFunction(l->module, arena_printf(&l->arena, "%s%s", l->kernel->name, suffix));
}

void model_make_description(struct lower *l, const struct symbols *s)
{
    const struct function *f = l->kernel;
    LLVMValueRef *names = ARENA_ARRAY(&l->arena, LLVMValueRef, s->n);
    for (int i = 0; i < s->n; i++)
        names[i] = host_text(l, f->module->symbols[s->id[i]]);
    LLVMValueRef members[10] = {lower_i32(l, TG_MODEL_VERSION),
                                lower_i32(l, f->n_inputs),
                                lower_i32(l, f->n_outputs),
                                lower_i32(l, s->n),
                                host_text(l, f->name),
                                describe_ports(l, s, 0, f->n_inputs),
                                describe_ports(l, s, f->n_inputs, f->n_outputs),
                                constant_table(l, l->ptr, s->n, names),
                                exported(l, "__shapes"),
                                exported(l, "__run")};
    LLVMValueRef value = LLVMConstStructInContext(l->context, members, 10, false);
    LLVMValueRef model = LLVMAddGlobal(l->module, LLVMTypeOf(value), arena_printf(&l->arena, "%s__model", f->name));
    LLVMSetInitializer(model, value);
    LLVMSetGlobalConstant(model, true);
    LLVMSetAlignment(model, 8);
    if (l->host->form == MODEL_FOUND)
        LLVMAddAlias2(l->module, LLVMTypeOf(value), 0, model, "tegula_model");
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

static LLVMTypeRef entry_type(struct lower *l, const struct symbols *s, bool with_env)
{
    int n = 0, pointers = with_env + l->kernel->n_inputs + l->kernel->n_outputs;
    LLVMTypeRef *types = ARENA_ARRAY(&l->arena, LLVMTypeRef, pointers + s->n + 1);
    while (n < pointers)
        types[n++] = l->ptr;
    while (n < pointers + s->n)
        types[n++] = l->i64;
    return lower_function_type(l->i32, n, types);
}

static LLVMValueRef make_entry_env(struct lower *l, const struct symbols *s)
{
    const struct function *k = l->kernel;
    int n = k->n_inputs + k->n_outputs;
    LLVMValueRef f = model_add_function(l, "_env", entry_type(l, s, true), LOWER_EVERYBODY);
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
    LLVMBuildRet(l->b, LLVMBuildCall2(l->b, lower_function_type(l->i32, 4, params), exported(l, "__run"), args, 4, ""));
    LLVMPositionBuilderAtEnd(l->b, l->host->failed);
    model_end_failed(l);
    model_end_entry(l, body);
    return f;
}

void model_make_entries(struct lower *l, const struct symbols *s)
{
    LLVMValueRef inner = make_entry_env(l, s);
    LLVMTypeRef type = entry_type(l, s, false);
    LLVMValueRef f = model_add_function(l, "", type, LOWER_EVERYBODY);
    unsigned n = LLVMCountParams(f);
    LLVMValueRef *args = ARENA_ARRAY(&l->arena, LLVMValueRef, n + 1);
    lower_begin_function(l, f);
    args[0] = LLVMConstNull(l->ptr);
    for (unsigned i = 0; i < n; i++)
        args[1 + i] = LLVMGetParam(f, i);
    LLVMBuildRet(l->b, LLVMBuildCall2(l->b, entry_type(l, s, true), inner, args, n + 1, ""));
}

// ---- Constants -------------------------------------------------------------------------------------------------

void model_define_weights(struct lower *l)
{
    struct host *h = l->host;
    char *bytes = ARENA_ARRAY(&l->arena, char, h->bytes);
    for (int i = 0; i < h->n_pieces; i++)
        if (h->pieces[i].size)
            memcpy(bytes + h->pieces[i].offset, h->pieces[i].bytes, (size_t)h->pieces[i].size);
    LLVMValueRef value = LLVMConstStringInContext2(l->context, bytes, (size_t)h->bytes, true);
    LLVMValueRef blob = LLVMAddGlobal(l->module, LLVMTypeOf(value), "weights");
    LLVMSetInitializer(blob, value);
    LLVMSetLinkage(blob, LLVMPrivateLinkage);
    LLVMSetGlobalConstant(blob, true);
    LLVMSetAlignment(blob, 64);
    LLVMReplaceAllUsesWith(h->weights_symbol, blob);
    LLVMDeleteGlobal(h->weights_symbol);
}
