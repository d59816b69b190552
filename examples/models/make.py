#!/usr/bin/env python3
"""Writes ONNX models with seeded random weights, and for each its inputs and the outputs to expect.

    make.py [--small] OUTDIR [NAME...]    NAME.onnx, NAME.inputs/input_I.npy, NAME.outputs/output_I.npy
    make.py --list

The expected outputs are computed in float64 (weights and inputs widened) and rounded to the type the model declares: by
ONNX Runtime, or by onnx.reference where ONNX Runtime lacks a float64 kernel. The float32 model always runs in ONNX
Runtime too, and has to agree. --small keeps each graph's shape and shrinks its sizes, for tests.
"""

import argparse
import math
import pathlib
import shutil

import numpy as np
import onnx
import onnx.reference
import onnx.reference.op_run
import onnxruntime
from onnx import AttributeProto, TensorProto, helper, numpy_helper


class Graph:
    """A graph under construction; each emitter returns the name of the value it made."""

    def __init__(self, seed=0, opset=17):
        self.rng = np.random.default_rng(seed)
        self.opset = opset
        self.nodes, self.weights, self.inputs, self.outputs = [], [], [], []

    def input(self, name, shape, dtype=TensorProto.FLOAT):
        self.inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def output(self, name, shape):
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    def weight(self, name, value, dtype=np.float32):
        self.weights.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def normal(self, name, shape, std):
        return self.weight(name, std * self.rng.standard_normal(shape))

    def uniform(self, name, shape, low, high):
        return self.weight(name, self.rng.uniform(low, high, shape))

    def node(self, op, inputs, output, **attributes):
        self.nodes.append(helper.make_node(op, inputs, [output], name=output.removesuffix("_output_0"), **attributes))
        return output

    def graph(self, name):
        return helper.make_graph(self.nodes, name, self.inputs, self.outputs, self.weights)

    def model(self, name):
        return helper.make_model(
            self.graph(name),
            producer_name="tegula-examples",
            opset_imports=[helper.make_opsetid("", self.opset)],
            ir_version=8,
        )


def normal_f32(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


# A builder takes small (bool) and returns the graph and its list of input arrays.


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


def conv_bn(g, x, name, c_in, c_out, kernel, stride=1, group=1):
    """A convolution without a bias and its BatchNormalization, as exported in training-preserving form."""
    fan_in = c_in // group * kernel * kernel
    w = g.normal(f"{name}.weight", (c_out, c_in // group, kernel, kernel), (2 / fan_in) ** 0.5)
    same = {"kernel_shape": [kernel, kernel], "pads": [kernel // 2] * 4, "strides": [stride, stride]}
    x = g.node("Conv", [x, w], f"{name}.conv", group=group, dilations=[1, 1], **same)
    statistics = [
        g.uniform(f"{name}.bn.weight", c_out, 0.5, 1.5),
        g.normal(f"{name}.bn.bias", c_out, 0.2),
        g.normal(f"{name}.bn.running_mean", c_out, 0.2),
        g.uniform(f"{name}.bn.running_var", c_out, 0.5, 1.5),
    ]
    return g.node("BatchNormalization", [x, *statistics], f"{name}.bn", epsilon=1e-5, momentum=0.9)


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


def relu6(g, x, name):
    low = g.node("Constant", [], f"{name}.min", value=numpy_helper.from_array(np.float32(0)))
    high = g.node("Constant", [], f"{name}.max", value=numpy_helper.from_array(np.float32(6)))
    return g.node("Clip", [x, low, high], name)


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


class TorchNames:
    """Emits nodes the way PyTorch's TorchScript exporter does: path-like names, and constants as Constant nodes."""

    def __init__(self, g):
        self.g, self.counts, self.weights = g, {}, 0

    def __call__(self, scope, op, *inputs, **attributes):
        at = self.counts.get((scope, op), 0)
        self.counts[scope, op] = at + 1
        return self.g.node(op, list(inputs), f"{scope}/{op}{f'_{at}' if at else ''}_output_0", **attributes)

    def constant(self, scope, value, dtype=np.float32):
        return self(scope, "Constant", value=numpy_helper.from_array(np.asarray(value, dtype)))

    def linear(self, scope, parameter, x, fan_in, fan_out):
        self.weights += 1
        # Wider than BERT's 0.02, so that the softmax is not almost uniform.
        w = self.g.normal(f"onnx::MatMul_{self.weights}", (fan_in, fan_out), 1.4 * fan_in**-0.5)
        return self(scope, "Add", self.g.normal(f"{parameter}.bias", fan_out, 0.1), self(scope, "MatMul", x, w))

    def dim(self, scope, x, axis):
        """x.size(axis) as a [1] tensor, ready for a Concat."""
        size = self(scope, "Gather", self(scope, "Shape", x), self.constant(scope, axis, np.int64), axis=0)
        return self(scope, "Unsqueeze", size, self.constant(scope, [0], np.int64))

    def view(self, scope, x, *tail):
        """x.view(x.size(0), x.size(1), *tail)"""
        sizes = [self.dim(scope, x, 0), self.dim(scope, x, 1)]
        sizes += [self.constant(scope, [size], np.int64) for size in tail]
        return self(scope, "Reshape", x, self(scope, "Concat", *sizes, axis=0), allowzero=0)

    def layer_norm(self, scope, parameter, x, width):
        centred = self(scope, "Sub", x, self(scope, "ReduceMean", x, axes=[-1], keepdims=1))
        square = self(scope, "Pow", centred, self.constant(scope, 2.0))
        variance = self(scope, "ReduceMean", square, axes=[-1], keepdims=1)
        deviation = self(scope, "Sqrt", self(scope, "Add", variance, self.constant(scope, 1e-12)))
        scale = self.g.uniform(f"{parameter}.weight", width, 0.5, 1.5)
        shift = self.g.normal(f"{parameter}.bias", width, 0.1)
        return self(scope, "Add", self(scope, "Mul", self(scope, "Div", centred, deviation), scale), shift)


def bert(small, batch, sequence, fixed):
    # Opset 14: from 17 on the exporter keeps LayerNormalization whole.
    g = Graph(4, opset=14)
    t = TorchNames(g)
    hidden, heads, inner = (64, 4, 256) if small else (768, 12, 3072)
    head = hidden // heads
    shape = [batch, sequence] if fixed else ["batch", "sequence"]
    x = g.input("hidden_states", [*shape, hidden])
    mask = g.input("attention_mask", shape, TensorProto.INT64)

    mask = t("", "Unsqueeze", mask, t.constant("", [1], np.int64))
    mask = t("", "Unsqueeze", mask, t.constant("", [2], np.int64))
    mask = t("", "Sub", t.constant("", 1.0), t("", "Cast", mask, to=TensorProto.FLOAT))
    mask = t("", "Mul", mask, t.constant("", -10000.0))

    at = "/attention/self"
    query = t.linear(f"{at}/query", "attention.self.query", x, hidden, hidden)
    key = t.linear(f"{at}/key", "attention.self.key", x, hidden, hidden)
    key = t(at, "Transpose", t.view(at, key, heads, head), perm=[0, 2, 3, 1])
    value = t.linear(f"{at}/value", "attention.self.value", x, hidden, hidden)
    value = t(at, "Transpose", t.view(at, value, heads, head), perm=[0, 2, 1, 3])
    query = t(at, "Transpose", t.view(at, query, heads, head), perm=[0, 2, 1, 3])
    scores = t(at, "Div", t(at, "MatMul", query, key), t.constant(at, head**0.5))
    weights = t(at, "Softmax", t(at, "Add", scores, mask), axis=-1)
    context = t(at, "Transpose", t(at, "MatMul", weights, value), perm=[0, 2, 1, 3])
    context = t.view(at, context, hidden)

    at = "/attention/output"
    y = t.linear(f"{at}/dense", "attention.output.dense", context, hidden, hidden)
    x = t.layer_norm(f"{at}/LayerNorm", "attention.output.LayerNorm", t(at, "Add", y, x), hidden)

    y = t.linear("/intermediate/dense", "intermediate.dense", x, hidden, inner)
    at = "/intermediate/intermediate_act_fn"
    erf = t(at, "Erf", t(at, "Div", y, t.constant(at, 2**0.5)))
    y = t(at, "Mul", y, t(at, "Add", erf, t.constant(at, 1.0)))
    y = t(at, "Mul", y, t.constant(at, 0.5))

    y = t.linear("/output/dense", "output.dense", y, inner, hidden)
    x = t.layer_norm("/output/LayerNorm", "output.LayerNorm", t("/output", "Add", y, x), hidden)
    g.output(x, [*shape, hidden])

    # Each row of the batch is padded a little more than the one before, as a tokenizer pads.
    kept = sequence - np.arange(1, batch + 1) * (sequence // 6)
    attention = (np.arange(sequence) < kept[:, None]).astype(np.int64)
    return g, [normal_f32(g.rng, batch, sequence, hidden), attention]


def bert_layer(small):
    """One BERT-base layer as PyTorch's exporter decomposes it; dynamic batch and sequence."""
    return bert(small, 2, 11 if small else 37, False)


def bert_layer_static(small):
    """The same nodes and weights with the inputs fixed to 1x128 (1x16 when small): every shape chain folds."""
    return bert(small, 1, 16 if small else 128, True)


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


MODELS = {
    build.__name__: build
    for build in (
        mlp, resnet_stage, mobilenet_block, bert_layer, bert_layer_static, tiny_gemms, if_model, if_model_else
    )
}


# The expected outputs.


def widen_tensor(tensor):
    if tensor.data_type == TensorProto.FLOAT:
        wide = numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(numpy_helper.from_array(wide, tensor.name))


def widen_graph(graph):
    """Turns every float32 of the graph, its constants and its subgraphs into float64, in place."""
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    for tensor in graph.initializer:
        widen_tensor(tensor)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                widen_tensor(attribute.t)
            elif attribute.type == AttributeProto.GRAPH:
                widen_graph(attribute.g)
            elif node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.DOUBLE


def run_onnxruntime(model, feeds):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


class Erf(onnx.reference.op_run.OpRun):
    """In place of onnx.reference's own, which rounds to float32."""

    op_domain = ""

    def _run(self, x):
        return (np.vectorize(math.erf, otypes=["d"])(x).astype(x.dtype),)


def expected(name, model, feeds):
    """The outputs in float32, and which evaluator gave them."""
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    widen_graph(wide.graph)
    wide_feeds = {k: v.astype(np.float64) if v.dtype == np.float32 else v for k, v in feeds.items()}
    narrow = run_onnxruntime(model, feeds)
    try:
        outputs, by = run_onnxruntime(wide, wide_feeds), "ONNX Runtime"
    except onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented:
        outputs, by = onnx.reference.ReferenceEvaluator(wide, new_ops=[Erf]).run(None, wide_feeds), "onnx.reference"
    for want, got in zip(outputs, narrow, strict=True):
        assert want.dtype == np.float64 and np.isfinite(want).all(), name
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4 * np.abs(want).max(), err_msg=name)
    return [output.astype(np.float32) for output in outputs], by


def save_arrays(folder, stem, arrays):
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
    for i, array in enumerate(arrays):
        np.save(folder / f"{stem}_{i}.npy", array)


def make(name, small, out):
    graph, inputs = MODELS[name](small)
    model = graph.model(name)
    onnx.checker.check_model(model, full_check=True)
    feeds = {value.name: array for value, array in zip(model.graph.input, inputs, strict=True)}
    outputs, by = expected(name, model, feeds)
    (out / f"{name}.onnx").write_bytes(model.SerializeToString(deterministic=True))
    save_arrays(out / f"{name}.inputs", "input", inputs)
    save_arrays(out / f"{name}.outputs", "output", outputs)
    print(f"{name}: {len(model.graph.node)} nodes, float64 by {by}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="list the models and end")
    parser.add_argument("--small", action="store_true", help="small sizes, for tests")
    parser.add_argument("outdir", nargs="?", type=pathlib.Path)
    parser.add_argument("names", nargs="*", metavar="NAME", help="models to write (all)")
    args = parser.parse_args()
    if args.list:
        for name, build in MODELS.items():
            print(f"{name:18} {build.__doc__}")
        return
    if args.outdir is None:
        parser.error("OUTDIR is missing")
    unknown = [name for name in args.names if name not in MODELS]
    if unknown:
        parser.error(f"no model is named {', '.join(unknown)}; see --list")
    args.outdir.mkdir(parents=True, exist_ok=True)
    for name in args.names or MODELS:
        make(name, args.small, args.outdir)


if __name__ == "__main__":
    main()
