// Text of functions that were built rather than read.
#include <stdio.h>
#include <string.h>

#include "ir/dims.h"
#include "tests/unit/suite.h"

static struct module *m;
static struct function *g;
static struct builder b;
static struct diags diags;
static struct arena arena;

static void setup(void)
{
    diag_init(&diags);
    arena_init(&arena);
    m = module_create();
    g = function_create(m, "main", (struct loc){.file = "built"});
    g->kind = FUNCTION_GRAPH;
    b = (struct builder){.function = g, .block = g->body, .diags = &diags};
}

static void teardown(void)
{
    module_destroy(m);
    arena_finish(&arena);
    diag_finish(&diags);
}

static struct value *data(const void *bytes, int64_t size, const char *name, struct type *type)
{
    struct attr a = {ATTR_DATA, {.data = {.name = name, .bytes = bytes, .size = size}}};
    return build_value(&b, OP_DATA, 0, NULL, 1, &a, type);
}

// Prints the module, reads the text and prints again; gives the text.
static const char *round_trip(void)
{
    char *first, *second;
    ck_assert_msg(verify_module(m, &diags), "%s", diag_string(&diags));
    print_module(&arena, m, &first);
    struct module *again = parse_module(first, strlen(first), "again", 0, NULL, &diags);
    ck_assert_msg(again && verify_module(again, &diags), "%s\n%s", first, diag_string(&diags));
    print_module(&arena, again, &second);
    ck_assert_str_eq(first, second);
    module_destroy(again);
    return first;
}

// Names of graphs' values are free text, and may clash as words.
START_TEST(names_become_words)
{
    dim N = dim_symbol(module_symbol(m, "max_len", 7));
    struct type *t = type_tensor(m, DTYPE_F32, 1, &N);
    struct value *x = function_add_param(g, "input.1", t), *y = function_add_param(g, "input/1", t);
    struct value *z = function_add_param(g, "0", t);
    static const char *names[] = {"input.1", "\"\x7f\xff\n", NULL}, *outputs[] = {"out"};
    g->n_inputs = 3;
    g->n_outputs = 1;
    g->input_names = names;
    g->output_names = outputs;
    struct value *sum = build_binary(&b, OP_ADD, build_binary(&b, OP_ADD, x, y), z);
    sum->name = "";
    build_yield(&b, 1, &sum);
    const char *text = round_trip();
    ck_assert_ptr_nonnull(strstr(text, "graph @main(%input_1 \"input.1\": tensor<(max_len)xf32>, %input_1_1 "
                                       "\"\\\"\\x7f\xff\\n\": tensor<(max_len)xf32>, %_0: tensor<(max_len)xf32>) -> "
                                       "(\"out\") {\n"));
    ck_assert_ptr_nonnull(strstr(text, "%1 = add %0, %_0"));
}
END_TEST

START_TEST(long_names_are_whole)
{
    char name[2000];
    memset(name, 'n', sizeof name);
    name[sizeof name - 1] = 0;
    struct value *x = function_add_param(g, name, type_tensor(m, DTYPE_F32, 0, NULL));
    g->n_inputs = g->n_outputs = 1;
    build_yield(&b, 1, &x);
    const char *text = round_trip(), *at = strstr(text, "yield %n");
    ck_assert_ptr_nonnull(at);
    ck_assert_int_eq(strspn(at + 7, "n"), sizeof name - 1);
}
END_TEST

START_TEST(long_data_is_elided_for_people)
{
    static const float few[16] = {1, 2}, many[17] = {3};
    dim n = 16, n_many = 17;
    g->n_outputs = 2;
    struct value *both[] = {data(few, sizeof few, "few", type_tensor(m, DTYPE_F32, 1, &n)),
                            data(many, sizeof many, "many", type_tensor(m, DTYPE_F32, 1, &n_many))};
    build_yield(&b, 2, both);
    ck_assert_ptr_nonnull(strstr(round_trip(), "data \"many\" \"0x00004040"));
    char *text;
    print_module_with(&arena, m, &(struct print_options){.elide_data = true}, &text);
    ck_assert_ptr_nonnull(strstr(text, "data \"many\" elided : tensor<17xf32>"));
    ck_assert_ptr_nonnull(strstr(text, "data \"few\" [1.0, 2.0, "));
    ck_assert_ptr_null(parse_module(text, strlen(text), "elided", 0, NULL, &diags));
}
END_TEST

// Every bit pattern of the narrow types, and some of the wide ones.
START_TEST(elements_keep_their_bits)
{
    static unsigned char bytes[65536 * 8];
    uint64_t seed = 1;
    for (int t = 0; t < DTYPE_COUNT; t++) {
        int width = (int)dtype_bytes((enum dtype)t);
        int n = t == DTYPE_I1 ? 2 : width == 1 ? 256 : width == 2 ? 65536 : 4000;
        for (int i = 0; i < n; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            uint64_t bits = width > 2 ? seed ^ seed >> 29 : (uint64_t)i;
            memcpy(bytes + (size_t)i * (size_t)width, &bits, (size_t)width);
        }
        // Lists hold 16.
        for (int i = 0; i < n; i += 16) {
            teardown();
            setup();
            dim size = n - i < 16 ? n - i : 16;
            struct value *x =
                data(bytes + (size_t)i * (size_t)width, size * width, NULL, type_tensor(m, (enum dtype)t, 1, &size));
            g->n_outputs = 1;
            build_yield(&b, 1, &x);
            char *text;
            print_module(&arena, m, &text);
            ck_assert_ptr_nonnull(strstr(text, "data ["));
            struct module *again = parse_module(text, strlen(text), "again", 0, NULL, &diags);
            ck_assert_msg(again, "%s\n%s", text, diag_string(&diags));
            struct data read = op_attr(again->first_function->body->first, ATTR_DATA)->data;
            ck_assert_int_eq(read.size, size * width);
            ck_assert_msg(!memcmp(read.bytes, bytes + (size_t)i * (size_t)width, (size_t)read.size), "%s", text);
            module_destroy(again);
        }
    }
}
END_TEST

static const char *first_error(void)
{
    ck_assert(!verify_module(m, &diags));
    return diag_string(&diags);
}

START_TEST(attributes_are_verified)
{
    struct value *x = function_add_param(g, "x", type_tensor(m, DTYPE_F32, 0, NULL));
    g->n_inputs = g->n_outputs = 1;
    struct attr a = {ATTR_DIMS, {.dims = {1, (dim[]){3}}}};
    struct value *sizes = build_value(&b, OP_SIZES, 0, NULL, 1, &a, NULL);
    build_yield(&b, 1, &x);
    ((dim *)sizes->def->attrs[0].dims.v)[0] = DIM_UNKNOWN;
    ck_assert_ptr_nonnull(strstr(first_error(), "a list with a size that is not known"));
    ((dim *)sizes->def->attrs[0].dims.v)[0] = dim_symbol(7);
    ck_assert_ptr_nonnull(strstr(first_error(), "a list with a symbol that the module does not have"));
    ((dim *)sizes->def->attrs[0].dims.v)[0] = dim_symbol(module_symbol(m, "N", 1));
    ck_assert_ptr_nonnull(strstr(first_error(), "the size N is not one of a parameter of graph @main"));
}
END_TEST

START_TEST(functions_are_verified)
{
    dim twice = dims_mul(m, 2, dim_symbol(module_symbol(m, "batch size", 10)));
    function_add_param(g, "x", type_tensor(m, DTYPE_F32, 1, &twice));
    function_symbol(g, dim_symbol_id(twice));
    build_yield(&b, 0, NULL);
    struct function *k = function_create(m, "k", (struct loc){.file = "built"});
    function_add_param(k, "x", type_view(m, DTYPE_F32, 1, &twice, NULL));
    struct builder in_grid = {.function = k, .block = k->grid, .diags = &diags};
    struct value *one = build_index(&in_grid, 1);
    build_yield(&in_grid, 1, &one);
    const char *text = first_error();
    ck_assert_ptr_nonnull(strstr(text, "graph @main has 1 parameters for 0 inputs and 0 outputs"));
    ck_assert_ptr_nonnull(strstr(text, "the size (2 * batch size) of graph @main is an expression"));
    ck_assert_ptr_nonnull(strstr(text, "the size 'batch size' of graph @main is not a C identifier"));
    ck_assert_ptr_nonnull(strstr(text, "(2 * batch size) in %x of kernel @k is an expression"));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("text");
    TCase *t = tcase_create("text");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, names_become_words);
    tcase_add_test(t, long_names_are_whole);
    tcase_add_test(t, long_data_is_elided_for_people);
    tcase_add_test(t, elements_keep_their_bits);
    tcase_add_test(t, attributes_are_verified);
    tcase_add_test(t, functions_are_verified);
    suite_add_tcase(s, t);
    return suite_run(s, CK_FORK_GETENV);
}
