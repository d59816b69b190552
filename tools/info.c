// tegula info: what a model is made of, and what of it is not supported.
#include <dlfcn.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/data_type.h"
#include "frontend/census.h"
#include "ir/dims.h"
#include "ir/einsum.h"
#include "tools/command.h"
#include "tools/library.h"
#include "tools/run_model.h"

struct info {
    struct model *model;   // of the source
    struct module *module; // NULL: it could not be imported
    const struct census_row *operators;
    int64_t n_nodes, n_unsupported, parameters, weight_bytes;
    dim multiply_adds, bytes; // sizes of the module; bytes are those of inputs, weights and outputs
    bool loops;               // whose bodies are counted once
    struct arena arena;
};

// ---- Work ------------------------------------------------------------------------------------------------------

static void add(struct info *x, dim *sum, dim more)
{
    *sum = dims_add(x->module, *sum, more);
}

static dim elements(struct info *x, const struct type *t)
{
    return dims_product(x->module, t->rank, t->dims);
}

static void count_einsum(struct info *x, const struct op *op)
{
    struct einsum e;
    dim all = 1;
    bool counted[EINSUM_LABELS] = {false};
    if (einsum_parse(op_attr(op, ATTR_LABELS)->string, &e))
        return;
    for (int o = 0; o < 2; o++)
        for (int d = 0; d < op->operands[o]->type->rank; d++)
            if (!counted[e.axis[o][d]]) {
                counted[e.axis[o][d]] = true;
                all = dims_mul(x->module, all, op->operands[o]->type->dims[d]);
            }
    add(x, &x->multiply_adds, all);
}

static void count_conv(struct info *x, const struct op *op)
{
    const struct type *weights = op->operands[1]->type;
    dim inner = dims_product(x->module, weights->rank - 1, weights->dims + 1);
    add(x, &x->multiply_adds, dims_mul(x->module, elements(x, op->results[0]->type), inner));
}

static void count_block(struct info *x, const struct block *b)
{
    for (const struct op *op = b->first; op; op = op->next) {
        if (op->code == OP_EINSUM)
            count_einsum(x, op);
        else if (op->code == OP_CONV)
            count_conv(x, op);
        x->loops |= op->code == OP_FOR || op->code == OP_WHILE;
        for (int i = 0; i < op->n_blocks; i++)
            count_block(x, op->blocks[i]);
    }
}

static void count_bytes(struct info *x, const struct type *t)
{
    if (t->kind == TYPE_TENSOR)
        add(x, &x->bytes, dims_mul(x->module, elements(x, t), dims_from_int(x->module, dtype_bytes(t->dtype))));
}

static void count_work(struct info *x)
{
    const struct function *f = x->module->first_function;
    const struct op *results = block_terminator(f->body);
    x->bytes = dims_from_int(x->module, x->weight_bytes);
    count_block(x, f->body);
    for (int i = 0; i < f->n_params; i++)
        count_bytes(x, f->params[i]->type);
    for (int i = 0; results && i < results->n_operands; i++)
        count_bytes(x, results->operands[i]->type);
}

static void count_weights(struct info *x)
{
    const TgOnnx__GraphProto *g = x->model->graph->proto;
    for (size_t i = 0; i < g->n_initializer; i++) {
        const TgOnnx__TensorProto *t = g->initializer[i];
        enum dtype dtype = onnx_type_dtype(t->data_type);
        int64_t n = 1, bytes = 0;
        for (size_t d = 0; d < t->n_dims; d++)
            if (t->dims[d] < 0 || __builtin_mul_overflow(n, t->dims[d], &n))
                n = 0; // reading it says so
        if (dtype != DTYPE_NONE)
            bytes = dtype_array_bytes(dtype, n);
        x->parameters += n;
        x->weight_bytes += bytes;
    }
}

// ---- Text ------------------------------------------------------------------------------------------------------

static void print_source_port(struct info *x, const TgOnnx__ValueInfoProto *v)
{
    const TgOnnx__TypeProto *t = v->type;
    printf("  ");
    run_print_name(v->name ? v->name : "");
    if (!t || t->value_case != TG_ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE || !t->tensor_type) {
        printf(": no tensor\n");
        return;
    }
    enum dtype dtype = onnx_type_dtype(t->tensor_type->elem_type);
    printf(": %s [",
           dtype == DTYPE_NONE ? onnx_type_name(&x->arena, t->tensor_type->elem_type) : dtype_info[dtype].name);
    const TgOnnx__TensorShapeProto *shape = t->tensor_type->shape;
    for (size_t d = 0; shape && d < shape->n_dim; d++) {
        fputs(d ? ", " : "", stdout);
        if (shape->dim[d]->value_case == TG_ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE)
            printf("%" PRId64, shape->dim[d]->dim_value);
        else if (shape->dim[d]->value_case == TG_ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM)
            run_print_name(shape->dim[d]->dim_param);
        else
            putchar('?');
    }
    printf(shape ? "]\n" : "of unknown rank]\n");
}

static bool is_initializer(const struct info *x, const char *name)
{
    const struct model_name *n = name ? model_lookup(x->model->graph, name) : NULL;
    return n && n->initializer;
}

// In groups of three digits.
static void print_number(int64_t n)
{
    char text[32];
    int length = snprintf(text, sizeof text, "%" PRId64, n);
    for (int i = 0; i < length; i++)
        printf("%s%c", i && (length - i) % 3 == 0 ? "," : "", text[i]);
}

static void print_size(struct info *x, const char *what, dim d, const char *unit)
{
    int64_t n;
    printf("%-15s", what);
    if (dims_to_int(x->module, d, &n))
        print_number(n);
    else
        run_print_name(d == DIM_UNKNOWN ? "too long an expression; give sizes by --dim"
                                        : dim_string(&x->arena, x->module, d));
    printf("%s\n", unit);
}

static void print_info(struct info *x)
{
    const TgOnnx__ModelProto *p = x->model->proto;
    const TgOnnx__GraphProto *g = x->model->graph->proto;
    run_print_name(x->model->file);
    printf(": ONNX, IR version %" PRId64 ", operators of version %" PRId64, p->ir_version, x->model->opset);
    if (p->producer_name && *p->producer_name) {
        printf(", made by ");
        run_print_name(p->producer_name);
        if (p->producer_version && *p->producer_version) {
            printf(" ");
            run_print_name(p->producer_version);
        }
    }
    printf("\ninputs\n");
    for (size_t i = 0; i < g->n_input; i++)
        if (!is_initializer(x, g->input[i]->name))
            print_source_port(x, g->input[i]);
    printf("outputs\n");
    for (size_t i = 0; i < g->n_output; i++)
        print_source_port(x, g->output[i]);
    printf("operators      ");
    print_number(x->n_nodes);
    printf("\n");
    for (const struct census_row *i = x->operators; i; i = i->next) {
        printf("  %-4" PRId64 " ", i->count);
        run_print_name(*i->domain ? arena_printf(&x->arena, "%s::%s", i->domain, i->op) : i->op);
        if (!i->supported)
            printf("  (not supported; first at node %s)", i->first.node ? model_quote(x->model, i->first.node) : "?");
        printf("\n");
    }
    printf("parameters     ");
    print_number(x->parameters);
    printf(", ");
    print_number(x->weight_bytes);
    printf(" bytes\n");
    if (x->module) {
        print_size(x, "multiply-adds", x->multiply_adds, x->loops ? ", those of loops once" : "");
        print_size(x, "bytes", x->bytes, " of inputs, parameters and outputs");
    } else if (x->n_unsupported) {
        printf("not supported  ");
        print_number(x->n_unsupported);
        printf(" of the operators\n");
    }
}

// ---- Models that come compiled ---------------------------------------------------------------------------------

static void print_port(const tg_model *code, const tg_port *port)
{
    printf("  ");
    run_print_name(port->name);
    printf(": %s [", dtype_info[data_type_dtype(port->dtype)].name);
    for (int d = 0; d < port->rank; d++) {
        fputs(d ? ", " : "", stdout);
        if (port->dims[d] >= 0)
            printf("%" PRId64, port->dims[d]);
        else
            run_print_name(port->dims[d] == INT64_MIN ? "?" : code->symbols[-1 - port->dims[d]]);
    }
    printf("]\n");
}

// What it has code for; which of that this machine runs.
static void print_targets(const tg_model *code)
{
    const tg_env env = {.version = TG_ENV_VERSION, .error = run_note_message};
    int32_t chosen = -1;
    bool fails = code->load(&env, NULL, &chosen);
    printf("targets\n");
    for (int i = 0; i < code->n_targets; i++)
        printf("  %s%s\n", code->targets[i], i == chosen ? "  (runs here)" : "");
    if (fails)
        printf("does not run here: %s\n", run_message());
}

static int run_compiled(const char *path, struct diags *diags)
{
    void *library;
    const tg_model *code = library_open(path, &library, diags);
    if (!code)
        return EXIT_ERROR;
    run_print_name(path);
    printf(": model '");
    run_print_name(code->name);
    printf("', compiled\ninputs\n");
    for (int i = 0; i < code->n_inputs; i++)
        print_port(code, &code->inputs[i]);
    printf("outputs\n");
    for (int i = 0; i < code->n_outputs; i++)
        print_port(code, &code->outputs[i]);
    print_targets(code);
    dlclose(library);
    return EXIT_OK;
}

// ---- The command -----------------------------------------------------------------------------------------------

static int run(const struct command *c, const char *path, const struct shared_options *shared, struct diags *diags)
{
    struct info x = {0};
    arena_init(&x.arena);
    const struct import_dim *dims = command_dims(c, &x.arena, &shared->dims);
    struct command_source source = {0};
    int status = dims ? command_open_model(path, &source, diags) : EXIT_USAGE;
    x.model = source.model;
    if (x.model) {
        x.operators = census_take(x.model, &x.arena);
        for (const struct census_row *i = x.operators; i; i = i->next) {
            x.n_nodes += i->count;
            x.n_unsupported += i->supported ? 0 : i->count;
        }
        count_weights(&x);
        const struct import_options options = {shared->dims.n, dims, 0, NULL};
        if (!x.n_unsupported) {
            x.module = import_model(x.model, &options, diags);
            status = x.module ? EXIT_OK : EXIT_ERROR;
        }
        if (x.module)
            count_work(&x);
        print_info(&x);
    }
    module_destroy(x.module);
    if (dims)
        command_close(&source);
    arena_finish(&x.arena);
    return status;
}

int command_info(int argc, char *const *argv)
{
    static struct words files;
    static struct shared_options shared;
    const struct command c = {
        .name = "info",
        .summary = "Tells what an ONNX model is made of, and what of it is not supported; of a compiled one (.so) "
                   "what it takes and which of its code runs here.",
        .files = "MODEL",
        .least_files = 1,
        .most_files = 1,
        .shared_sets = SHARED_DIM,
        .shared = &shared};
    int status = options_parse(&c, argc, argv, &files);
    if (status >= 0)
        return status;
    bool compiled = command_ends_in(files.word[0], ".so");
    if (compiled && shared.dims.n)
        return options_fail(&c, "--dim is for ONNX models");
    struct diags diags;
    diag_init(&diags);
    status = compiled ? run_compiled(files.word[0], &diags) : run(&c, files.word[0], &shared, &diags);
    return command_finish(&c, &diags, status);
}
