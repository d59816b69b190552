// What the reader of ONNX files checks of a graph: names, the order of nodes, subgraphs, attributes, functions.
#include "tests/unit/onnx_builder.h"

// ---- Names and order ----

START_TEST(test_names)
{
    TgOnnx__GraphProto *g = graph("x", "y");
    add(g, node("A", "a", "x", "y"));
    add(g, node("A", "b", "x", "y"));
    refused(model(g), 1,
            "m.onnx: node 'b': error: 'y' is defined twice: as output 1 of node 'a' and as output 1 of node 'b'");
    g = graph("x,x", "y");
    add(g, node("A", "", "x", "y,y"));
    refused(model(g), 2, "'x' is defined twice: as an input and as an input");
    g = graph("x", "y");
    add(g, node("A", "", "x,p,,q", "x,y"));
    refused(model(g), 3, "node 'A -> x': error: input 4 is 'q', which is not defined");
    g = graph("x", "y,z,w");
    add(g, node("A", "", "x", ",y"));
    refused(model(g), 2, "output 'w' is not defined");
    g = graph("x", "");
    refused(model(g), 1, "the graph has no outputs");
    g = graph("x", "x"); // straight through
    model_destroy(read_model(model(g)));
    g = graph("x", "y");
    add(g, node("", "a", "x", "y"));
    refused(model(g), 1, "the node has no operator");
    g->node[0]->op_type = NULL;
    refused(model(g), 1, "the node has no operator");
    g->node[0]->op_type = arena_strdup(&arena, "A");
    g->input[0]->name = NULL;
    refused(model(g), 2, "an input 1 has no name");
    g->input[0] = value("x");
    g->input[0]->type = NULL;
    refused(model(g), 1, "input 'x' has no type");
    g->input[0] = value("x");
    g->output[0]->name = NULL;
    refused(model(g), 1, "output 1 has no name");

    // After a thousand errors it is enough.
    g = graph("x", "y");
    char *in = arena_alloc(&arena, 20001);
    for (int i = 0; i < 10000; i++)
        memcpy(in + 2 * i, "u,", 2);
    add(g, node("A", "a", in, "y"));
    refused(model(g), 1000, "900 more errors");
}
END_TEST

START_TEST(test_initializers)
{
    const int64_t two = 2;
    TgOnnx__ModelProto *p = relu();
    PUSH(p->graph->n_initializer, p->graph->initializer, raw(tensor("x", ONNX_FLOAT, 1, &two), "12345678", 8));
    struct model *m = read_model(p);
    ck_assert_int_eq(model_lookup(m->graph, "x")->kind, MODEL_INPUT);
    ck_assert_ptr_eq(model_lookup(m->graph, "x")->initializer, m->graph->proto->initializer[0]);
    model_destroy(m);
    PUSH(p->graph->n_initializer, p->graph->initializer, tensor("x", ONNX_FLOAT, 1, &two));
    refused(p, 1, "'x' is defined twice: as an input with an initializer and as an initializer");
    p->graph->initializer[1] = tensor("", ONNX_FLOAT, 1, &two);
    refused(p, 1, "an initializer 2 has no name");
    p->graph->initializer[1] = tensor("y", ONNX_FLOAT, 1, &two);
    refused(p, 1, "'y' is defined twice: as an initializer and as output 1 of node 'relu'");
    p->graph->n_initializer = 1;
    p->graph->initializer[0]->data_type = ONNX_INT64;
    refused(p, 1, "input 'x' is of type FLOAT, its initializer of type INT64");
    p->graph->initializer[0]->data_type = ONNX_FLOAT;
    TgOnnx__TensorShapeProto *shape = p->graph->input[0]->type->tensor_type->shape =
        NEW(TgOnnx__TensorShapeProto, TG_ONNX__TENSOR_SHAPE_PROTO__INIT);
    refused(p, 1, "the shape of input 'x' is not that of its initializer");
    PUSH(shape->n_dim, shape->dim,
         NEW(TgOnnx__TensorShapeProto__Dimension, TG_ONNX__TENSOR_SHAPE_PROTO__DIMENSION__INIT));
    model_destroy(read_model(p)); // unknown size
    shape->dim[0]->value_case = TG_ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
    shape->dim[0]->dim_value = 3;
    refused(p, 1, "the shape of input 'x'");

    p = relu();
    TgOnnx__SparseTensorProto *s = NEW(TgOnnx__SparseTensorProto, TG_ONNX__SPARSE_TENSOR_PROTO__INIT);
    PUSH(p->graph->n_sparse_initializer, p->graph->sparse_initializer, s);
    refused(p, 1, "sparse initializer 1 has no values");
    s->values = tensor("s", ONNX_FLOAT, 1, &two);
    refused(p, 1, "sparse initializer 1 has no indices");
    s->indices = tensor("", ONNX_INT64, 1, &two);
    m = read_model(p);
    ck_assert_int_eq(model_lookup(m->graph, "s")->kind, MODEL_SPARSE_INITIALIZER);
    model_destroy(m);
}
END_TEST

START_TEST(test_order)
{
    TgOnnx__GraphProto *g = graph("x", "d");
    add(g, node("A", "e", "x", "e"));
    add(g, node("A", "d", "c,b", "d"));
    add(g, node("A", "f", "x", "f"));
    add(g, node("A", "b", "a", "b"));
    add(g, node("A", "c", "a", "c"));
    add(g, node("A", "a", "x", "a"));
    struct model *m = read_model(model(g));
    check_names(m->graph, "e a c b d f"); // what d needs moves before it, the rest stays
    ck_assert_int_eq((int)model_lookup(m->graph, "a")->index, 5);
    model_destroy(m);

    g = graph("x", "y");
    add(g, node("A", "first", "r,x", "p"));
    add(g, node("A", "second", "p", "q"));
    add(g, node("A", "third", "q", "r"));
    add(g, node("A", "self", "y", "y"));
    refused(model(g), 2, "the node needs its own result: 'first' -> 'second' -> 'third' -> 'first'");
    refused(model(g), 2, "node 'self': error: the node needs its own result: 'self' -> 'self'");
    g = graph("x", "y");
    add(g, node("A", "0", "y", "v0"));
    for (int i = 1; i < 100; i++)
        add(g, node("A", arena_printf(&arena, "%d", i), arena_printf(&arena, "v%d", i - 1),
                    i == 99 ? "y" : arena_printf(&arena, "v%d", i)));
    refused(model(g), 1, "-> '15' -> '16' -> 83 more -> '0'");
}
END_TEST

START_TEST(test_long_chains)
{
    int n = 200000; // the last node comes first in the file
    TgOnnx__GraphProto *g = graph("v0", arena_printf(&arena, "v%d", n));
    g->n_node = (size_t)n;
    g->node = ARENA_ARRAY(&arena, TgOnnx__NodeProto *, n);
    for (int i = 0; i < n; i++)
        g->node[n - 1 - i] = node("A", "", arena_printf(&arena, "v%d", i), arena_printf(&arena, "v%d", i + 1));
    struct model *m = read_model(model(g));
    for (int i = 0; i < n; i++)
        ck_assert_int_eq(atoi(m->graph->nodes[i]->output[0] + 1), i + 1);
    model_destroy(m);
}
END_TEST

START_TEST(test_subgraphs)
{
    // The body uses an outer value that is computed later in the file: its node moves.
    TgOnnx__GraphProto *g = graph("c", "y"), *body = graph("", "r"), *inner = graph("", "s");
    add(inner, node("A", "s", "late,c,local", "s"));
    add(body, node("A", "local", "c", "local"));
    subgraph(add(body, node("If", "inner", "local", "r")), "body", inner);
    subgraph(add(g, node("If", "if", "c", "y")), "then_branch", body);
    add(g, node("A", "late", "c", "late"));
    struct model *m = read_model(model(g));
    check_names(m->graph, "late if");
    const struct model_graph *b = model_subgraph(m, m->graph->nodes[1]->attribute[0]->g);
    const struct model_graph *i = model_subgraph(m, b->nodes[1]->attribute[0]->g);
    ck_assert_ptr_eq(b->outer, m->graph);
    ck_assert_ptr_eq(i->outer, b);
    ck_assert_ptr_eq(model_lookup(i, "late")->graph, m->graph);
    ck_assert_ptr_eq(model_lookup(i, "local")->graph, b);
    ck_assert_ptr_null(model_lookup(m->graph, "local"));
    ck_assert_ptr_null(model_subgraph(m, m->graph->proto));
    model_destroy(m);

    g->node[1]->input[0] = arena_strdup(&arena, "y");
    refused(model(g), 1, "the node needs its own result: 'if' -> 'late' -> 'if'");
    g->node[1]->input[0] = arena_strdup(&arena, "r"); // names of a subgraph are not visible outside
    refused(model(g), 1, "node 'late': error: input 1 is 'r', which is not defined");
    g->node[1]->input[0] = arena_strdup(&arena, "c");
    inner->output[0] = value("t");
    refused(model(g), 1, "node 'inner': error: output 't' is not defined");
    inner->output[0] = value("late"); // an outer value as a subgraph's result
    model_destroy(read_model(model(g)));
    inner->output[0] = value("s");

    // Names of its own hide outer ones; the node's own output may have the name of the body's.
    body->output[0] = value("y");
    body->node[1]->output[0] = arena_strdup(&arena, "y");
    m = read_model(model(g));
    b = model_subgraph(m, m->graph->nodes[1]->attribute[0]->g);
    ck_assert_ptr_eq(model_lookup(b, "y")->graph, b);
    model_destroy(m);
    // Both branches may use the same names.
    subgraph(g->node[0], "else_branch", body);
    model_destroy(read_model(model(g)));
}
END_TEST

START_TEST(test_attributes)
{
    TgOnnx__ModelProto *p = relu();
    TgOnnx__NodeProto *n = p->graph->node[0];
    TgOnnx__AttributeProto *a = attribute(n, "a", ATTRIBUTE_INT);
    model_destroy(read_model(p)); // zero, left out
    a->has_f = true;
    refused(p, 1, "node 'relu': error: attribute 'a' is of type INT, but its value is of type FLOAT");
    a->has_i = true;
    refused(p, 1, "attribute 'a' has values of several types");
    a->has_f = false;
    model_destroy(read_model(p));
    a->type = 99;
    refused(p, 1, "attribute 'a' has the unknown type 99");
    a->type = 0;
    struct model *m = read_model(p); // old files lack the type
    ck_assert_int_eq(attribute_type(m->graph->nodes[0]->attribute[0]), ATTRIBUTE_INT);
    model_destroy(m);
    a->has_i = false;
    refused(p, 1, "attribute 'a' has no type and no value");
    a->type = ATTRIBUTE_TENSOR;
    refused(p, 1, "attribute 'a' has no value");
    a->type = ATTRIBUTE_INTS;
    model_destroy(read_model(p)); // an empty list
    a->ref_attr_name = arena_strdup(&arena, "alpha");
    refused(p, 1, "attribute 'a' refers to 'alpha', which is no attribute of a function");
    a->ref_attr_name = NULL;
    attribute(n, "a", ATTRIBUTE_INTS);
    refused(p, 1, "attribute 'a' is given twice");
    n->attribute[1]->name = NULL;
    refused(p, 1, "an attribute has no name");
}
END_TEST

// ---- Functions ----

START_TEST(test_functions)
{
    TgOnnx__ModelProto *p = with_function();
    TgOnnx__FunctionProto *f = p->functions[0], *g = function(p, "f", "a", "b");
    g->overload = arena_strdup(&arena, "v");
    PUSH(g->n_node, g->node, node("A", "two", "one", "b"));
    PUSH(g->n_node, g->node, node("A", "one", "a", "one"));
    g->opset_import[0]->version = 20;
    struct model *m = read_model(p);
    ck_assert_ptr_eq(model_function(m, "d", "f", ""), &m->functions[0]);
    ck_assert_ptr_eq(model_function(m, "d", "f", "v"), &m->functions[1]);
    ck_assert_ptr_null(model_function(m, "d", "f", "w"));
    ck_assert_ptr_null(model_function(m, "", "f", NULL));
    ck_assert_ptr_null(model_function(m, "d", "a name that is longer than all of them", NULL));
    ck_assert_ptr_eq(model_callee(m, m->graph->nodes[0]), &m->functions[0]);
    check_names(m->functions[1].body, "one two");
    ck_assert_int_eq(model_opset(m, &m->functions[1], ""), 20);
    ck_assert_int_eq(model_lookup(m->functions[1].body, "a")->kind, MODEL_INPUT);
    model_destroy(m);

    p->graph->node[0]->overload = arena_strdup(&arena, "w");
    refused(p, 1, "there is no function 'f' with overload 'w'");
    p->graph->node[0]->overload = NULL;
    g->opset_import[0]->version = 29;
    refused(p, 1, "function 'd::f:v': version 29 of operator set ai.onnx");
    g->opset_import[0]->version = 20;
    g->overload = NULL;
    refused(p, 1, "function 'd::f' is defined twice");
    p->n_functions = 1;
    f->node[0]->input[0] = arena_strdup(&arena, "x");
    refused(p, 1, "node 'in f': error: in function 'd::f': input 1 is 'x', which is not defined");
    f->node[0]->input[0] = arena_strdup(&arena, "a");
    f->output[0] = arena_strdup(&arena, "c");
    refused(p, 1, "in function 'd::f': output 'c' is not defined");
    f->output[0] = arena_strdup(&arena, "b");
    p->graph->node[0]->input = split("x,x", &p->graph->node[0]->n_input);
    p->graph->node[0]->output = split("y,z", &p->graph->node[0]->n_output);
    refused(p, 2, "2 inputs are given to function 'd::f', which takes 1");
    p = with_function();
    f = p->functions[0];
    TgOnnx__AttributeProto *a = attribute(f->node[0], "alpha", ATTRIBUTE_FLOAT);
    a->ref_attr_name = arena_strdup(&arena, "beta");
    refused(p, 1, "attribute 'alpha' refers to 'beta', which is no attribute of the function");
    f->attribute = split("beta", &f->n_attribute);
    model_destroy(read_model(p));
    a->has_f = true;
    refused(p, 1, "has a value and refers to an attribute of the function as well");
    a->has_f = false;
    PUSH(f->n_attribute_proto, f->attribute_proto, attribute(NULL, "beta", ATTRIBUTE_FLOAT));
    refused(p, 1, "the function has two attributes 'beta'");
    // Attributes of a call are the function's, with a default or without; also where the function comes later.
    p = with_function();
    p->functions[0]->node[0] = call("g", "a", "b");
    f = function(p, "g", "a", "b");
    PUSH(f->n_node, f->node, node("A", "", "a", "b"));
    f->attribute = split("beta", &f->n_attribute);
    PUSH(f->n_attribute_proto, f->attribute_proto, attribute(NULL, "gamma", ATTRIBUTE_FLOAT));
    attribute(p->functions[0]->node[0], "beta", ATTRIBUTE_INT);
    attribute(p->functions[0]->node[0], "gamma", ATTRIBUTE_INT);
    model_destroy(read_model(p));
    attribute(p->functions[0]->node[0], "delta", ATTRIBUTE_INT);
    refused(p, 1, "node 'g -> b': error: in function 'd::f': function 'd::g' has no attribute 'delta'; remove it");
    attribute(p->graph->node[0], "beta", ATTRIBUTE_INT);
    refused(p, 2, "node 'f -> y': error: function 'd::f' has no attribute 'beta'; remove it");
    p = with_function();
    p->functions[0]->node[0]->domain = arena_strdup(&arena, "other");
    refused(p, 1, "in function 'd::f': the node is of operator set 'other', which is not imported");
}
END_TEST

START_TEST(test_recursion)
{
    TgOnnx__ModelProto *p = with_function();
    TgOnnx__FunctionProto *f = p->functions[0], *g = function(p, "g", "a", "b");
    PUSH(f->n_node, f->node, call("g", "a", "c"));
    TgOnnx__NodeProto *holder = node("If", "holder", "a", "b");
    TgOnnx__GraphProto *body = graph("", "r");
    PUSH(g->n_node, g->node, holder);
    add(body, call("f", "a", "r"));
    subgraph(holder, "then_branch", body);
    refused(p, 1, "functions call themselves: 'd::f' -> 'd::g' -> 'd::f'");
    body->node[0] = call("g", "a", "r");
    refused(p, 1, "functions call themselves: 'd::g' -> 'd::g'");
    body->node[0] = node("A", "", "a", "r");
    model_destroy(read_model(p));

    // Each calls the next twice.
    p = with_function();
    p->functions[0]->node[0] = call("f1", "a", "b");
    for (int i = 1; i <= 60; i++) {
        f = function(p, arena_printf(&arena, "f%d", i), "a", "b");
        const char *next = arena_printf(&arena, "f%d", i + 1);
        PUSH(f->n_node, f->node, i == 60 ? node("A", "", "a", "b") : call(next, "a", "b"));
        PUSH(f->n_node, f->node, i == 60 ? node("A", "", "a", "c") : call(next, "a", "c"));
    }
    refused(p, 1, "with its function calls inlined the model has more than 16777216 nodes");
    // Each calls the next once, far too deep for a stack.
    p = with_function();
    int n = 100000;
    p->functions[0]->node[0] = call("f1", "a", "b");
    p->functions = memcpy(ARENA_ARRAY(&arena, TgOnnx__FunctionProto *, n + 1), p->functions, sizeof *p->functions);
    for (int i = 1; i <= n; i++) {
        f = NEW(TgOnnx__FunctionProto, TG_ONNX__FUNCTION_PROTO__INIT);
        *f = *p->functions[0];
        f->name = arena_printf(&arena, "f%d", i);
        f->node = arena_alloc(&arena, sizeof *f->node);
        f->node[0] = i == n ? node("A", "", "a", "b") : call(arena_printf(&arena, "f%d", i + 1), "a", "b");
        p->functions[p->n_functions++] = f;
    }
    refused(p, 1, "function calls nest deeper than 256 levels");
}
END_TEST

int main(void)
{
    static const struct {
        const char *name;
        const TTest *const *tests[8]; // NULL at the end
    } cases[] = {
        {"graphs",
         {&test_names, &test_initializers, &test_order, &test_long_chains, &test_subgraphs, &test_attributes}},
        {"functions", {&test_functions, &test_recursion}},
    };
    Suite *s = suite_create("validate");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        TCase *c = tcase_create(cases[i].name);
        tcase_add_checked_fixture(c, begin, end);
        tcase_set_timeout(c, 120);
        for (const TTest *const *const *t = cases[i].tests; *t; t++)
            tcase_add_test(c, **t);
        suite_add_tcase(s, c);
    }
    return suite_run(s, CK_FORK_GETENV);
}
