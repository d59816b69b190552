"""Rows that are ONNX models, read by tegula and by the peers from the same bytes: single operators, and the models that
examples/models/make.py writes."""

import functools
import math
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

import peers
from row import Benchmark, aligned, operands, spoil, volume

sys.path.append(str(Path(__file__).resolve().parent.parent / "examples/models"))
import evaluate  # noqa: E402
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
    """A model of make.py, its inputs, and its outputs in float64 (see evaluate.expected)."""

    def __init__(self, name, inputs_of=None, batch=None):
        graph, inputs = make.MODELS[name](False)
        if inputs_of:
            inputs = make.MODELS[inputs_of](False)[1]
        model = graph.model(name)
        self.bytes = model.SerializeToString()
        names = [value.name for value in model.graph.input]
        self.feeds = {key: array[:batch] for key, array in zip(names, inputs, strict=True)}
        self.outputs = [value.name for value in model.graph.output]
        self.expected = evaluate.expected(name, model, self.feeds)
        moved = [numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
        moved += [*self.expected, *self.feeds.values()]
        self.late = {
            "flops": flops(model, self.feeds),
            "bytes": float(sum(array.nbytes for array in moved)),
            "outputs": len(self.outputs),
        }

    def operands(self):
        made = {}
        for name, array in (*self.feeds.items(), *zip(self.outputs, self.expected)):
            made[name] = aligned(array.shape, array.dtype)
            if name in self.feeds:
                made[name][...] = array
            else:
                spoil(made[name])
        return made

    def stored(self, operands, blocked_layout=True):
        return peers.Stored(operands, self.bytes, len(self.outputs), blocked_layout)


def flops(model, feeds):
    """Of products, convolutions and recurrent cells, by the sizes that a run with these inputs meets."""
    seen = onnx.ModelProto()
    seen.CopyFrom(model)
    sizes = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    sizes |= {name: array.shape for name, array in feeds.items()}
    nodes = [node for node in model.graph.node if node.op_type in FLOPS]
    names = {name for node in nodes for name in (*node.input[:2], node.output[0])} - sizes.keys()
    del seen.graph.output[:]
    seen.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    values = evaluate.run_onnxruntime(seen, feeds) if names else []
    sizes |= {value.name: array.shape for value, array in zip(seen.graph.output, values)}
    total = 0
    for node in nodes:
        shapes = [sizes.get(name) for name in node.input]
        transposed = any(a.name == "transB" and a.i for a in node.attribute)
        total += 2 * FLOPS[node.op_type](sizes[node.output[0]], transposed, *shapes)
    return float(total)


# operator -> (shapes of the result, whether the second input is transposed, shapes of the inputs) -> multiplications
FLOPS = {
    "MatMul": lambda result, transposed, a, b: math.prod(result) * b[-2],
    "Gemm": lambda result, transposed, a, b, *c: math.prod(result) * b[-1 if transposed else -2],
    "Conv": lambda result, transposed, x, w, *b: math.prod(result) * math.prod(w[1:]),
    "ConvTranspose": lambda result, transposed, x, w, *b: math.prod(x) * math.prod(w[1:]),
    "LSTM": lambda result, transposed, x, w, r, *rest: math.prod(x[:2]) * (math.prod(w) + math.prod(r)),
}
FLOPS["GRU"] = FLOPS["LSTM"]


@functools.lru_cache(maxsize=2)  # what one row needs; some take a gigabyte
def example(name, inputs_of=None, batch=None):
    return Example(name, inputs_of, batch)


def example_model(label, name, inputs_of=None, batch=None, beside=None):
    """Made when the row runs. beside: a model of make.py on the same inputs, timed by tegula in the same turns."""
    get = functools.partial(example, name, inputs_of, batch)
    others = {beside: lambda o: example(beside).stored(o)} if beside else {}
    return Benchmark(
        name=label,
        operands=lambda: get().operands(),
        reference=lambda *_: get().expected,
        model=lambda o: get().stored(o),
        beside=others,
        peers={
            "onnxruntime NCHWc": lambda o: get().stored(o),
            "onnxruntime NCHW": lambda o: get().stored(o, blocked_layout=False),
        },
        openvino=lambda o: get().stored(o),
        late=lambda: get().late,
        tolerance=1e-4,
    )
