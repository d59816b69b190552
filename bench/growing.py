"""Models that grow: layers of BERT, and graphs of N nodes in shapes that exporters write, with small tensors."""

import sys
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "examples/models"))
import language  # noqa: E402

ROWS, COLUMNS = 8, 16


def equal_layers(n):
    """Layers of one shape, a third of BERT-base's width."""
    return language.bert_stack([1024] * n, 256, 4).model("layers")


def distinct_layers(n):
    """Each has an inner width of its own, which two of its products and the GELU between them depend on."""
    return language.bert_stack([1024 + 16 * i for i in range(n)], 256, 4).model("layers")


class Growing:
    """A graph whose nodes are appended; `last` is what the next one reads."""

    def __init__(self):
        self.rng = np.random.default_rng(0)
        self.nodes, self.weights, self.last = [], [], "x"

    def weight(self, *shape):
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(self.rng.standard_normal(shape, np.float32) / 8, name))
        return name

    def node(self, op, *inputs, **attributes):
        self.last = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [self.last], **attributes))
        return self.last

    def model(self, rows=ROWS):
        value = helper.make_tensor_value_info
        x = value("x", TensorProto.FLOAT, [ROWS, COLUMNS])
        y = value(self.last, TensorProto.FLOAT, [rows, COLUMNS])
        graph = helper.make_graph(self.nodes, "growing", [x], [y], self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def adds(n):
    """A chain of additions of one constant."""
    g = Growing()
    c = g.weight(COLUMNS)
    for _ in range(n):
        g.node("Add", g.last, c)
    return g.model()


def constants(n):
    """A chain of products with and sums of constants, each another."""
    g = Growing()
    for i in range(n):
        g.node("Mul" if i % 2 else "Add", g.last, g.weight(COLUMNS))
    return g.model()


def diamonds(n):
    """x = relu(x) + tanh(x), again and again."""
    g = Growing()
    for _ in range(n // 3):
        x = g.last
        g.node("Add", g.node("Relu", x), g.node("Tanh", x))
    return g.model()


def residuals(n):
    """x = x + tanh(x W), each with another W."""
    g = Growing()
    for _ in range(n // 3):
        x = g.last
        g.node("Add", x, g.node("Tanh", g.node("MatMul", x, g.weight(COLUMNS, COLUMNS))))
    return g.model()


def softmaxes(n):
    """A chain of them."""
    g = Growing()
    for _ in range(n):
        g.node("Softmax", g.last)
    return g.model()


def fan_out(n):
    """Many nodes read the input, and a tree adds up what they make."""
    g = Growing()
    made = [g.node("Mul", "x", g.weight(COLUMNS)) for _ in range(n // 2)]
    while len(made) > 1:
        pairs = [g.node("Add", *made[i : i + 2]) for i in range(0, len(made) - 1, 2)]
        made = pairs + made[2 * len(pairs) :]
    return g.model()


def concat(n):
    """One Concat of all values of a chain."""
    g = Growing()
    made = [g.node("Tanh" if i % 2 else "Relu", g.last) for i in range(n - 1)]
    g.node("Concat", *made, axis=0)
    return g.model(ROWS * len(made))


LAYERS = (equal_layers, distinct_layers)
GRAPHS = (adds, constants, diamonds, residuals, softmaxes, fan_out, concat)
