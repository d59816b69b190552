// IR -> text. The parser reads what this writes; both follow the format strings of ops.def.
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "ir/dims.h"
#include "ir/element_text.h"
#include "ir/layout.h"

#define MOST_LISTED 16 // elements of a constant; longer ones are printed as bytes, or left out

struct text {
    char *data;
    size_t length, room;
};

struct printer {
    struct arena *arena;
    const struct module *module;
    struct print_options options;
    const char **names; // by value id, of the function being printed
    int n_names, next_number;
    const char **taken; // hash table of names in use
    size_t taken_size;
    struct text out;
    int depth;
};

static void put_n(struct printer *p, const char *s, size_t n)
{
    struct text *t = &p->out;
    if (t->length + n + 1 > t->room) {
        size_t room = (t->room + n + 256) * 2;
        char *grown = arena_alloc(p->arena, room);
        if (t->length)
            memcpy(grown, t->data, t->length);
        t->data = grown;
        t->room = room;
    }
    memcpy(t->data + t->length, s, n);
    t->length += n;
    t->data[t->length] = 0;
}

static void put(struct printer *p, const char *s)
{
    put_n(p, s, strlen(s));
}

__attribute__((format(printf, 2, 3))) static void putf(struct printer *p, const char *format, ...)
{
    char line[512];
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(line, sizeof line, format, args);
    if (n >= (int)sizeof line)
        put(p, arena_vprintf(p->arena, format, again));
    else if (n > 0)
        put_n(p, line, (size_t)n);
    va_end(again);
    va_end(args);
}

// ---- Types, numbers, attributes --------------------------------------------------------------------------------

const char *dim_string(struct arena *a, const struct module *m, dim d)
{
    if (d == DIM_UNKNOWN)
        return "?";
    if (dim_is_symbol(d))
        return m->symbols[dim_symbol_id(d)];
    return arena_printf(a, "%lld", (long long)d);
}

// A size within a shape, where an x would end a name.
static const char *size_string(struct arena *a, const struct module *m, dim d)
{
    const char *s = dim_string(a, m, d);
    return dim_is_symbol(d) && !dims_is_expression(m, d) && strchr(s, 'x') ? arena_printf(a, "(%s)", s) : s;
}

const char *type_string(struct arena *a, const struct module *m, const struct type *t)
{
    if (!t)
        return "nothing";
    if (t->kind == TYPE_SCALAR)
        return dtype_info[t->dtype].name;
    char *s = arena_strdup(a, t->kind == TYPE_TILE ? "tile<" : t->kind == TYPE_VIEW ? "view<" : "tensor<");
    for (int i = 0; i < t->rank; i++)
        s = arena_printf(a, "%s%sx", s, size_string(a, m, t->dims[i]));
    s = arena_printf(a, "%s%s", s, dtype_info[t->dtype].name);
    if (t->linear) {
        char layout[LAYOUT_TEXT_MAX];
        layout_print(t->linear, layout, sizeof layout);
        s = arena_printf(a, "%s, %s", s, layout);
    } else if (t->lanes == 1)
        s = arena_printf(a, "%s, s", s);
    else if (t->lanes > 1)
        s = arena_printf(a, "%s, v%dx%d", s, t->vector_axis, t->lanes);
    if (t->strided) {
        s = arena_printf(a, "%s, strides [", s);
        for (int i = 0; i < t->rank; i++)
            s = arena_printf(a, "%s%s%s", s, i ? ", " : "", dim_string(a, m, t->strides[i]));
        s = arena_printf(a, "%s]", s);
    }
    return arena_printf(a, "%s>", s);
}

const char *number_string(struct arena *a, struct number n, enum dtype of)
{
    if (!n.is_float && of == DTYPE_U64)
        return arena_printf(a, "%llu", (unsigned long long)n.i);
    if (!n.is_float)
        return arena_printf(a, "%lld", (long long)n.i);
    if (isnan(n.f))
        return "nan";
    if (isinf(n.f))
        return n.f < 0 ? "-inf" : "inf";
    char *s = arena_printf(a, "%.9g", n.f);
    if (strtod(s, NULL) != n.f)
        s = arena_printf(a, "%.17g", n.f);
    return strpbrk(s, ".e") ? s : arena_printf(a, "%s.0", s);
}

static void put_ints(struct printer *p, struct ints v)
{
    put(p, "[");
    for (int i = 0; i < v.n; i++)
        putf(p, "%s%lld", i ? ", " : "", (long long)v.v[i]);
    put(p, "]");
}

static void put_dims(struct printer *p, struct dims v)
{
    put(p, "[");
    for (int i = 0; i < v.n; i++) {
        int64_t x;
        put(p, i ? ", " : "");
        if (dims_to_int(p->module, v.v[i], &x))
            putf(p, "%lld", (long long)x);
        else
            put(p, dim_string(p->arena, p->module, v.v[i]));
    }
    put(p, "]");
}

// Quoted, so that lex_string gives it back.
static void put_string(struct printer *p, const char *s)
{
    put(p, "\"");
    for (; *s; s++) {
        static const char special[] = "\\\"\n\r\t", letters[] = "\\\"nrt";
        const char *known = strchr(special, *s);
        if (known)
            putf(p, "\\%c", letters[known - special]);
        else if ((unsigned char)*s < ' ' || *s == 127)
            putf(p, "\\x%02x", (unsigned)(unsigned char)*s);
        else
            put_n(p, s, 1);
    }
    put(p, "\"");
}

// The number of elements if a list of them gives these bytes back, else -1: they are few, and what is in and between
// them is as it should be.
static int64_t listed(const struct type *t, struct data data)
{
    int64_t n = 1;
    for (int d = 0; d < t->rank; d++)
        if (t->dims[d] < 0 || t->dims[d] > MOST_LISTED || (n *= t->dims[d]) > MOST_LISTED)
            return -1;
    if (data.size != dtype_array_bytes(t->dtype, n))
        return -1;
    uint64_t again[MOST_LISTED] = {0};
    for (int64_t i = 0; i < n; i++) {
        uint64_t bits = dtype_array_bits(t->dtype, data.bytes, i);
        if (t->dtype == DTYPE_I1 && bits > 1)
            return -1;
        dtype_array_set_bits(t->dtype, again, i, bits);
    }
    return !data.size || !memcmp(again, data.bytes, (size_t)data.size) ? n : -1;
}

static void put_data(struct printer *p, struct data data, const struct type *t)
{
    if (data.name) {
        put_string(p, data.name);
        put(p, " ");
    }
    int64_t n = listed(t, data);
    if (n >= 0) {
        put(p, "[");
        for (int64_t i = 0; i < n; i++)
            putf(p, "%s%s", i ? ", " : "",
                 element_string(p->arena, t->dtype, dtype_array_bits(t->dtype, data.bytes, i)));
        put(p, "]");
    } else if (p->options.elide_data) {
        put(p, "elided");
    } else {
        static const char digits[] = "0123456789abcdef";
        put(p, "\"0x");
        for (int64_t i = 0; i < data.size; i++) {
            unsigned char byte = ((const unsigned char *)data.bytes)[i];
            put_n(p, (const char[]){digits[byte >> 4], digits[byte & 15]}, 2);
        }
        put(p, "\"");
    }
}

static void put_map(struct printer *p, const struct affine_map *map)
{
    put(p, "(");
    for (int d = 0; d < map->n_in; d++)
        putf(p, "%sd%d", d ? ", " : "", d);
    put(p, ") -> (");
    for (int r = 0; r < map->n_out; r++) {
        put(p, r ? ", " : "");
        bool any = false;
        for (int d = 0; d < map->n_in; d++) {
            int64_t k = map->coefficient[r][d];
            if (!k)
                continue;
            put(p, any ? " + " : "");
            putf(p, k == 1 ? "d%d" : "d%d * %lld", d, (long long)k);
            any = true;
        }
        put(p, any ? "" : "0");
    }
    put(p, ")");
}

static void put_attr(struct printer *p, const struct op *op, const struct attr *a)
{
    switch (attr_info[a->key].kind) {
    case ATTR_KIND_INT:
        putf(p, "%lld", (long long)a->i);
        break;
    case ATTR_KIND_NUMBER:
        put(p, number_string(p->arena, a->number, op->results[0]->type->dtype));
        break;
    case ATTR_KIND_INTS:
        put_ints(p, a->ints);
        break;
    case ATTR_KIND_STRING:
        put_string(p, a->string);
        break;
    case ATTR_KIND_OPCODE:
        put(p, op_info[a->opcode].name);
        break;
    case ATTR_KIND_DTYPE:
        put(p, dtype_info[a->dtype].name);
        break;
    case ATTR_KIND_AFFINE:
        put_map(p, a->map);
        break;
    case ATTR_KIND_FLAG:
        break;
    case ATTR_KIND_DIMS:
        put_dims(p, a->dims);
        break;
    case ATTR_KIND_DATA:
        put_data(p, a->data, op->results[0]->type);
        break;
    }
}

// ---- Names -----------------------------------------------------------------------------------------------------

static bool take(struct printer *p, const char *name)
{
    uint64_t h = 14695981039346656037u;
    for (const char *c = name; *c; c++)
        h = (h ^ (unsigned char)*c) * 1099511628211u;
    for (size_t i = h & (p->taken_size - 1);; i = (i + 1) & (p->taken_size - 1)) {
        if (!p->taken[i]) {
            p->taken[i] = name;
            return true;
        }
        if (!strcmp(p->taken[i], name))
            return false;
    }
}

// The name as a word of the language: names of graphs' values are free text.
static const char *word_of(struct printer *p, const char *name)
{
    bool numeric = *name >= '0' && *name <= '9'; // numbers are for values without a name
    char *word = arena_printf(p->arena, "%%%s%s", numeric ? "_" : "", name);
    for (char *c = word + 1; *c; c++)
        if (!(*c == '_' || (*c >= '0' && *c <= '9') || (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z')))
            *c = '_';
    return word;
}

// Names are kept where they are unique; a clone's name gets a number behind it.
static const char *name_of(struct printer *p, const struct value *v)
{
    if (!v)
        return "%<none>";
    if (v->symbol >= 0)
        return p->module->symbols[v->symbol];
    if (v->id >= p->n_names)
        return "%<foreign>";
    if (p->names[v->id])
        return p->names[v->id];
    const char *name;
    if (v->name && *v->name) {
        const char *word = name = word_of(p, v->name);
        for (int i = 1; !take(p, name); i++)
            name = arena_printf(p->arena, "%s_%d", word, i);
    } else {
        do
            name = arena_printf(p->arena, "%%%d", p->next_number++);
        while (!take(p, name));
    }
    return p->names[v->id] = name;
}

// ---- Operations ------------------------------------------------------------------------------------------------

static void put_block(struct printer *p, const struct block *b);

static void put_operand(struct printer *p, const struct op *op, int i)
{
    put(p, i < op->n_operands ? name_of(p, op->operands[i]) : "%<missing>");
}

static void put_carried(struct printer *p, const struct op *op, const struct block *b, int first_arg, int first_operand)
{
    put(p, "(");
    for (int i = first_arg; i < b->n_args; i++) {
        putf(p, "%s%s = ", i > first_arg ? ", " : "", name_of(p, b->args[i]));
        put_operand(p, op, first_operand + i - first_arg);
    }
    put(p, ")");
}

static void put_structured(struct printer *p, const struct op *op)
{
    const struct block *b = op->blocks[0];
    if (op->code == OP_FOR) {
        putf(p, "for %s = ", b->n_args ? name_of(p, b->args[0]) : "%<none>");
        put_operand(p, op, 0);
        put(p, " to ");
        put_operand(p, op, 1);
        put(p, " step ");
        put_operand(p, op, 2);
        if (b->n_args > 1) {
            put(p, " with ");
            put_carried(p, op, b, 1, 3);
        }
        put(p, " ");
        put_block(p, b);
    } else if (op->code == OP_WHILE) {
        put(p, "while ");
        put_carried(p, op, b, 0, 0);
        put(p, " ");
        put_block(p, b);
        put(p, " do (");
        for (int i = 0; i < op->blocks[1]->n_args; i++)
            putf(p, "%s%s", i ? ", " : "", name_of(p, op->blocks[1]->args[i]));
        put(p, ") ");
        put_block(p, op->blocks[1]);
    } else if (op->code == OP_COMPOSITE) {
        const struct attr *name = op_attr(op, ATTR_NAME);
        put(p, "composite ");
        put_string(p, name ? name->string : "");
        put(p, " ");
        put_carried(p, op, b, 0, 0);
        put(p, " ");
        put_block(p, b);
    } else if (op->code == OP_ONCE) {
        put(p, "once (");
        for (int i = 0; i < op->n_operands; i++) {
            put(p, i ? ", " : "");
            put_operand(p, op, i);
        }
        put(p, ") ");
        put_block(p, b);
    } else {
        put(p, "if ");
        put_operand(p, op, 0);
        put(p, " ");
        put_block(p, b);
        if (op->blocks[1]->first) {
            put(p, " else ");
            put_block(p, op->blocks[1]);
        }
    }
}

static void put_formatted(struct printer *p, const struct op *op, const char *format)
{
    int operand = 0;
    bool glue = false; // no blank before the next word
    for (const char *f = format; *f;) {
        size_t n = strcspn(f, " ");
        const struct attr *attr = NULL;
        for (int i = 0; (*f == '@' || *f == '?') && i < op->n_attrs; i++) {
            const char *name = attr_info[op->attrs[i].key].name;
            if (strlen(name) == n - 1 && !memcmp(name, f + 1, n - 1))
                attr = &op->attrs[i];
        }
        const char *blank = glue ? "" : " ";
        glue = false;
        if (*f == '@') {
            put(p, blank);
            if (attr)
                put_attr(p, op, attr);
        } else if (*f == '?') {
            if (attr) {
                putf(p, "%s%.*s", blank, (int)n - 1, f + 1);
                if (attr_info[attr->key].kind != ATTR_KIND_FLAG) {
                    put(p, " ");
                    put_attr(p, op, attr);
                }
            }
        } else if (*f == '%' && n > 1 && f[1] == '?') {
            if (operand < op->n_operands) {
                putf(p, "%s%.*s ", blank, (int)n - 2, f + 2);
                put_operand(p, op, operand++);
            }
        } else if (*f == '%' && n > 1 && f[1] == '*') {
            for (bool first = true; operand < op->n_operands; first = false) {
                put(p, first ? blank : ", ");
                put_operand(p, op, operand++);
            }
        } else if (*f == '%') {
            put(p, blank);
            put_operand(p, op, operand++);
        } else { // punctuation
            put_n(p, f, n);
            glue = *f == '[';
        }
        f += n + (f[n] == ' ');
    }
}

// The kernel's parameters, then its sizes by their names: the order in which the module knows them is not in the text.
static void put_launch(struct printer *p, const struct op *op)
{
    const struct attr *name = op_attr(op, ATTR_KERNEL);
    const struct function *k = name ? module_function((struct module *)p->module, name->string) : NULL;
    const char *sizes[MAX_OPERANDS];
    int operands[MAX_OPERANDS], n = 0, at = k ? k->n_params : op->n_operands;
    for (int i = 0; k && i < k->n_symbols && at < op->n_operands && n < MAX_OPERANDS; i++) {
        if (!k->symbols[i])
            continue;
        int j = n++;
        for (; j > 0 && strcmp(sizes[j - 1], p->module->symbols[i]) > 0; j--) {
            sizes[j] = sizes[j - 1];
            operands[j] = operands[j - 1];
        }
        sizes[j] = p->module->symbols[i];
        operands[j] = at++;
    }
    putf(p, "launch @%s(", name ? name->string : "");
    for (int i = 0; i < op->n_operands - n; i++) {
        put(p, i ? ", " : "");
        put_operand(p, op, i);
    }
    for (int i = 0; i < n; i++) {
        putf(p, "%s%s = ", i || op->n_operands > n ? ", " : "", sizes[i]);
        put_operand(p, op, operands[i]);
    }
    put(p, ")");
    if (op_attr(op, ATTR_LEAST))
        putf(p, " least %lld", (long long)op_int(op, ATTR_LEAST, 0));
}

static void put_indent(struct printer *p)
{
    for (int i = 0; i < p->depth; i++)
        put(p, "  ");
}

static void put_op(struct printer *p, const struct op *op)
{
    put_indent(p);
    for (int i = 0; i < op->n_results; i++)
        putf(p, "%s%s", i ? ", " : "", name_of(p, op->results[i]));
    if (op->n_results)
        put(p, " = ");
    if (op->n_blocks) {
        put_structured(p, op);
    } else if (op->code == OP_LAUNCH) {
        put_launch(p, op);
    } else {
        put(p, op_info[op->code].name);
        if (opcode_is_scalar(op->code)) {
            for (int i = 0; i < op->n_operands; i++) {
                put(p, i ? ", " : " ");
                put_operand(p, op, i);
            }
        } else {
            put_formatted(p, op, op_info[op->code].format);
        }
        // A lone result without a type is an index.
        const struct type *t = op->n_results == 1 ? op->results[0]->type : NULL;
        if (t && !(t->kind == TYPE_SCALAR && t->dtype == DTYPE_INDEX))
            putf(p, " : %s", type_string(p->arena, p->module, t));
    }
    put(p, "\n");
}

static void put_block(struct printer *p, const struct block *b)
{
    put(p, "{\n");
    p->depth++;
    for (const struct op *op = b->first; op; op = op->next)
        put_op(p, op);
    p->depth--;
    put_indent(p);
    put(p, "}");
}

static void put_params(struct printer *p, const struct function *k)
{
    put(p, "(");
    for (int i = 0; i < k->n_params; i++) {
        bool output = k->kind == FUNCTION_HOST && i >= k->n_inputs;
        const char **names = output ? k->output_names : k->input_names;
        int at = output ? i - k->n_inputs : i, n = output ? k->n_outputs : k->n_inputs;
        putf(p, "%s%s", i ? ", " : "", name_of(p, k->params[i]));
        if (names && at < n && names[at]) {
            put(p, " ");
            put_string(p, names[at]);
        }
        put(p, ": ");
        put(p, type_string(p->arena, p->module, k->params[i]->type));
    }
    put(p, ")");
}

static void put_result_names(struct printer *p, const struct function *g)
{
    bool any = false;
    for (int i = 0; g->output_names && i < g->n_outputs; i++)
        any |= g->output_names[i] != NULL;
    for (int i = 0; any && i < g->n_outputs; i++) {
        put(p, i ? ", " : " -> (");
        if (g->output_names[i])
            put_string(p, g->output_names[i]);
        else
            put(p, "?");
    }
    put(p, any ? ")" : "");
}

static void put_schedule(struct printer *p, const struct schedule *s)
{
    put(p, " schedule ");
    if (s->problem) {
        put_string(p, s->problem);
        put(p, " ");
    }
    put(p, "{");
    bool any = false;
    for (int i = 0; i < SCHEDULE_COUNT; i++)
        if (s->value[i] != SCHEDULE_OPEN) {
            putf(p, "%s%s = %lld", any ? ", " : "", schedule_info[i].name, (long long)s->value[i]);
            any = true;
        }
    put(p, "}");
}

static void put_function(struct printer *p, const struct function *k)
{
    static const char *const words[] = {"kernel", "graph", "host"};
    p->names = ARENA_ARRAY(p->arena, const char *, k->n_values);
    p->n_names = k->n_values;
    p->next_number = 0;
    p->taken_size = 16;
    while (p->taken_size < 2 * (size_t)k->n_values)
        p->taken_size *= 2;
    p->taken = ARENA_ARRAY(p->arena, const char *, p->taken_size);
    putf(p, "%s @", words[k->kind]);
    put(p, k->name);
    put_params(p, k);
    if (k->kind == FUNCTION_GRAPH)
        put_result_names(p, k);
    if (k->kind == FUNCTION_HOST)
        putf(p, " outputs %d", k->n_outputs);
    if (k->schedule)
        put_schedule(p, k->schedule);
    put(p, " {\n");
    p->depth = 1;
    if (k->kind == FUNCTION_KERNEL || k->grid->first) {
        put(p, k->kind == FUNCTION_KERNEL ? "  grid " : "  arena ");
        put_block(p, k->grid);
        put(p, "\n");
    }
    for (const struct op *op = k->body->first; op; op = op->next)
        put_op(p, op);
    put(p, "}\n");
}

void print_module_with(struct arena *a, const struct module *m, const struct print_options *options, char **text)
{
    struct printer p = {.arena = a, .module = m, .options = *options};
    put(&p, "");
    // What is launched stands above what launches it.
    for (int hosts = 0; hosts < 2; hosts++)
        for (const struct function *k = m->first_function; k; k = k->next) {
            if ((k->kind == FUNCTION_HOST) != hosts)
                continue;
            if (p.out.length)
                put(&p, "\n");
            put_function(&p, k);
        }
    *text = p.out.data;
}

void print_module(struct arena *a, const struct module *m, char **text)
{
    print_module_with(a, m, &(struct print_options){0}, text);
}
