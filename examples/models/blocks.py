"""Parts of models, in the sizes of the whole."""

import numpy as np
from onnx import TensorProto

from graph import Graph, conv_bn, normal_f32, relu6


def mlp(small):
    """Three Gemm layers with Relu between; symbolic batch."""
    g = Graph(1)
    sizes = (33, 48, 48, 10) if small else (784, 512, 512, 10)
    x = g.input("x", ["N", sizes[0]])
    for i, (fan_in, fan_out) in enumerate(zip(sizes, sizes[1:])):
        w = g.normal(f"fc{i}.weight", (fan_out, fan_in), (2 / fan_in) ** 0.5)
        b = g.normal(f"fc{i}.bias", fan_out, 0.1)
        last = i == len(sizes) - 2
        x = g.node("Gemm", [x, w, b], "logits" if last else f"fc{i}", transB=1)
        if not last:
            x = g.node("Relu", [x], f"relu{i}")
    g.output(x, ["N", sizes[-1]])
    return g, [normal_f32(g.rng, 5, sizes[0])]


def resnet_stage(small):
    """ResNet-50's first stage: three bottlenecks, the first with a projection on the shortcut; symbolic batch."""
    g = Graph(2)
    narrow, wide, side = (8, 32, 14) if small else (64, 256, 56)
    x, c_in = g.input("x", ["N", narrow, side, side]), narrow
    for i in range(3):
        shortcut = x
        y = g.node("Relu", [conv_bn(g, x, f"block{i}.reduce", c_in, narrow, 1)], f"block{i}.relu1")
        y = g.node("Relu", [conv_bn(g, y, f"block{i}.spatial", narrow, narrow, 3)], f"block{i}.relu2")
        y = conv_bn(g, y, f"block{i}.expand", narrow, wide, 1)
        if c_in != wide:
            shortcut = conv_bn(g, x, f"block{i}.downsample", c_in, wide, 1)
        x, c_in = g.node("Relu", [g.node("Add", [y, shortcut], f"block{i}.add")], f"block{i}.out"), wide
    g.output(x, ["N", wide, side, side])
    return g, [normal_f32(g.rng, 2, narrow, side, side)]


def mobilenet_block(small):
    """Two inverted residuals of MobileNetV2: depthwise stride 1 with the residual, then stride 2 without."""
    g = Graph(3)
    c_in, c_mid, c_out, side = (4, 24, 6, 17) if small else (16, 96, 24, 112)
    x = g.input("x", ["N", c_in, side, side])
    y = relu6(g, conv_bn(g, x, "same.expand", c_in, c_mid, 1), "same.relu1")
    y = relu6(g, conv_bn(g, y, "same.depthwise", c_mid, c_mid, 3, group=c_mid), "same.relu2")
    x = g.node("Add", [x, conv_bn(g, y, "same.project", c_mid, c_in, 1)], "same.add")
    y = relu6(g, conv_bn(g, x, "down.expand", c_in, c_mid, 1), "down.relu1")
    y = relu6(g, conv_bn(g, y, "down.depthwise", c_mid, c_mid, 3, stride=2, group=c_mid), "down.relu2")
    y = conv_bn(g, y, "down.project", c_mid, c_out, 1)
    half = (side + 1) // 2
    g.output(y, ["N", c_out, half, half])
    return g, [normal_f32(g.rng, 1, c_in, side, side)]


def tiny_gemms(small):
    """A chain of ten Gemms, one for each way to transpose, scale and broadcast C."""
    g = Graph(5)
    rows, cols = (3, 5) if small else (8, 12)
    data = normal_f32(g.rng, rows, cols)
    x = g.input("x", [rows, cols])
    # transA, transB, alpha, beta, shape of C ("mn": full, "n": a row vector, "m": a column, "": a scalar, None: absent)
    table = [
        (0, 0, 1.0, 1.0, "n"),
        (0, 1, 1.0, 1.0, "n"),
        (1, 0, 1.0, 1.0, "mn"),
        (1, 1, 1.0, 1.0, "m"),
        (0, 0, 0.5, 1.0, ""),
        (0, 1, 1.0, 0.25, "1n"),
        (0, 0, 2.0, -1.5, "mn"),
        (1, 0, 1.0, 1.0, None),
        (1, 1, 0.75, 0.0, "n"),
        (0, 1, 1.0, 1.0, "n"),
    ]
    for i, (trans_a, trans_b, alpha, beta, c) in enumerate(table):
        m, k = (cols, rows) if trans_a else (rows, cols)
        n = 4 + 3 * (i % 4) if small else 8 + 4 * (i % 3)
        inputs = [x, g.normal(f"b{i}", (n, k) if trans_b else (k, n), k**-0.5)]
        if c is not None:
            shape = {"mn": (m, n), "n": (n,), "m": (m, 1), "1n": (1, n), "": ()}[c]
            inputs.append(g.normal(f"c{i}", shape, 0.5))
        x = g.node("Gemm", inputs, f"gemm{i}", transA=trans_a, transB=trans_b, alpha=alpha, beta=beta)
        rows, cols = m, n
    g.output(x, [rows, cols])
    return g, [data]


def branches(small, cond):
    g = Graph(6)
    width = 8 if small else 64
    g.input("cond", [], TensorProto.BOOL)
    g.input("x", ["N", width])
    g.normal("weight", (width, width), width**-0.5)
    then, other = Graph(), Graph()
    then.weight("then.bias", g.rng.standard_normal(width))
    then.node("MatMul", ["x", "weight"], "then.matmul")
    then.output(then.node("Add", ["then.matmul", "then.bias"], "then.out"), ["N", width])
    other.node("Relu", ["x"], "else.relu")
    other.weight("else.scale", 0.5)
    other.output(other.node("Mul", ["else.relu", "else.scale"], "else.out"), ["N", width])
    y = g.node("If", ["cond"], "branch", then_branch=then.graph("then"), else_branch=other.graph("else"))
    g.output(g.node("Add", [y, "x"], "y"), ["N", width])
    return g, [np.array(cond), normal_f32(g.rng, 3, width)]


def if_model(small):
    """An If whose branches read x and a weight of the outer graph; the input takes the then branch."""
    return branches(small, True)


def if_model_else(small):
    """The same model; the input takes the else branch."""
    return branches(small, False)


BUILDERS = [mlp, resnet_stage, mobilenet_block, tiny_gemms, if_model, if_model_else]
