"""Rows that are ONNX models, read by tegula and by the peers from the same bytes: single operators, and the models that
examples/models/make.py writes."""

import functools
import math
import sys
from pathlib import Path

import numpy as np
import onnx

import peers
from row import Benchmark, aligned, operands, volume

sys.path.append(str(Path(__file__).resolve().parent.parent / "examples/models"))
import make  # noqa: E402


def one_node(node, constants=(), opset=20):
    """The model of a row, as the row's operands are its inputs, its constants and its output."""
    return lambda o: peers.Model(o, [node], constants, opset)


# ---- Operators -----------------------------------------------------------------------------------------------------


def matmul(m, n, k, constant):
    model = one_node(("MatMul", "a b", "c"), ("b",) if constant else ())
    return Benchmark(
        name=f"MatMul-{m}x{n}x{k}" + ("-constant" if constant else ""),
        operands=operands(("c", (m, n)), a=(m, k), b=(k, n)),
        reference=lambda a, b: a @ b,
        model=model,
        peers={"onnxruntime": model},
        flops=2.0 * m * n * k,
        bytes=volume((m, k), (k, n), (m, n)),
    )


def convolution(name, channels, size, filters, kernel, group=1):
    """y = x * w + b, NCHW, stride 1, padded to the same size, w and b constant. The peer's own blocked layout, with the
    reorders at both ends, is tried with and without."""
    x, w, y = (1, channels, size, size), (filters, channels // group, kernel, kernel), (1, filters, size, size)
    border = kernel // 2
    node = ("Conv", "x w b", "y", {"kernel_shape": [kernel] * 2, "pads": [border] * 4, "group": group})

    def model(blocked):
        return lambda o: peers.Model(o, [node], ("w", "b"), blocked_layout=blocked)

    def reference(x, w, b):
        padded = np.pad(x[0], ((0, 0), (border, border), (border, border)))
        total = np.broadcast_to(b[:, None, None], y[1:]).copy()
        for i in range(kernel):
            for j in range(kernel):
                view, tap = padded[:, i : i + size, j : j + size], w[:, :, i, j]
                total += tap[:, :, None] * view if group > 1 else np.tensordot(tap, view, 1)
        return total[None]

    return Benchmark(
        name=name,
        operands=operands(("y", y), x=x, w=w, b=(filters,)),
        reference=reference,
        model=model(True),
        peers={"onnxruntime NCHWc": model(True), "onnxruntime NCHW": model(False)},
        flops=2.0 * kernel * kernel * channels // group * filters * size * size,
        bytes=volume(x, w, (filters,), y),
    )


def conv(channels, size, filters, kernel):
    return convolution(f"Conv{kernel}x{kernel}-{channels}-{filters}@{size}", channels, size, filters, kernel)


def depthwise(channels, size):
    return convolution(f"Conv3x3-depthwise-{channels}@{size}", channels, size, channels, 3, channels)


def softmax(rows, columns):
    def reference(x):
        e = np.exp(x - x.max(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True)

    model = one_node(("Softmax", "x", "y", {"axis": -1}))
    return Benchmark(
        name=f"Softmax-{rows}x{columns}",
        operands=operands(("y", (rows, columns)), x=(rows, columns)),
        reference=reference,
        model=model,
        peers={"onnxruntime": model},
        bytes=2 * volume((rows, columns)),
    )


def layer_norm(rows, columns):
    def reference(x, gamma, beta):
        centred = x - x.mean(-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * gamma + beta

    node = ("LayerNormalization", "x gamma beta", "y", {"axis": -1, "epsilon": 1e-5})
    model = one_node(node, ("gamma", "beta"))
    return Benchmark(
        name=f"LayerNorm-{rows}x{columns}",
        operands=operands(("y", (rows, columns)), x=(rows, columns), gamma=(columns,), beta=(columns,)),
        reference=reference,
        model=model,
        peers={"onnxruntime": model},
        bytes=2 * volume((rows, columns)) + 2 * volume((columns,)),
    )


def gelu(rows, columns):
    erf = np.vectorize(math.erf, otypes=["d"])
    model = one_node(("Gelu", "x", "y"))
    return Benchmark(
        name=f"Gelu-{rows}x{columns}",
        operands=operands(("y", (rows, columns)), x=(rows, columns)),
        reference=lambda x: 0.5 * x * (1 + erf(x * 0.5**0.5)),
        model=model,
        peers={"onnxruntime": model},
        bytes=2 * volume((rows, columns)),
    )


# ---- Models --------------------------------------------------------------------------------------------------------


class Example:
    """A model of make.py, its inputs, and its output in float64 (see make.expected)."""

    def __init__(self, name, inputs_of=None, batch=None):
        graph, inputs = make.MODELS[name](False)
        if inputs_of:
            inputs = make.MODELS[inputs_of](False)[1]
        model = graph.model(name)
        self.bytes = model.SerializeToString()
        names = [value.name for value in model.graph.input]
        self.feeds = {key: array[:batch] for key, array in zip(names, inputs, strict=True)}
        self.output = model.graph.output[0].name
        self.expected = make.expected(name, model, self.feeds)[0][0]
        weights = sum(onnx.numpy_helper.to_array(tensor).nbytes for tensor in model.graph.initializer)
        self.work = flops(model, self.feeds), float(
            weights + self.expected.nbytes + sum(array.nbytes for array in self.feeds.values())
        )

    def operands(self):
        made = {name: aligned(array.shape, array.dtype) for name, array in self.feeds.items()}
        for name, array in self.feeds.items():
            made[name][...] = array
        made[self.output] = aligned(self.expected.shape)
        made[self.output].fill(np.nan)
        return made


def flops(model, feeds):
    """Of products and convolutions, for inputs of these sizes."""
    sized = onnx.ModelProto()
    sized.CopyFrom(model)
    for value in sized.graph.input:
        for dim, size in zip(value.type.tensor_type.shape.dim, feeds[value.name].shape, strict=True):
            dim.dim_value = size
    for value in sized.graph.output:  # the sizes there may be names that no longer fit
        value.type.tensor_type.ClearField("shape")
    graph = onnx.shape_inference.infer_shapes(sized, strict_mode=True, data_prop=True).graph
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        shapes[value.name] = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    total = 0
    for node in graph.node:
        if node.op_type not in ("MatMul", "Gemm", "Conv"):
            continue
        factor, result = shapes[node.input[1]], shapes[node.output[0]]
        transposed = any(a.name == "transB" and a.i for a in node.attribute)
        inner = math.prod(factor[1:]) if node.op_type == "Conv" else factor[-1] if transposed else factor[-2]
        assert inner > 0 and all(size > 0 for size in result), f"{node.name}: no sizes"
        total += 2 * inner * math.prod(result)
    return float(total)


@functools.cache
def example(name, inputs_of=None, batch=None):
    return Example(name, inputs_of, batch)


def example_model(label, name, inputs_of=None, batch=None, beside=None):
    """Made when the row runs. beside: a model of make.py on the same inputs, timed by tegula in the same turns."""
    get = functools.partial(example, name, inputs_of, batch)
    others = {beside: lambda o: peers.Stored(o, example(beside).bytes)} if beside else {}
    return Benchmark(
        name=label,
        operands=lambda: get().operands(),
        reference=lambda *_: get().expected,
        model=lambda o: peers.Stored(o, get().bytes),
        beside=others,
        peers={
            "onnxruntime NCHWc": lambda o: peers.Stored(o, get().bytes),
            "onnxruntime NCHW": lambda o: peers.Stored(o, get().bytes, blocked_layout=False),
        },
        work=lambda: get().work,
        tolerance=1e-4,
    )
