"""What a model must give: its outputs in float64.

onnx.reference evaluates the graph. The operators below take the place of its own: those are wrong (LRN, older versions
of BatchNormalization and Softmax), incomplete (LSTM, GRU), round to float32 (Erf) or would take minutes.
"""

import math

import numpy as np
import onnx
import onnx.reference
import onnxruntime
from numpy.lib.stride_tricks import sliding_window_view
from onnx import AttributeProto, TensorProto, numpy_helper
from onnx.reference.op_run import OpRun


class Erf(OpRun):
    def _run(self, x):
        return (np.frompyfunc(math.erf, 1, 1)(x).astype(x.dtype),)


def padded(x, pads, value=0.0):
    n = x.ndim - 2
    pads = pads or [0] * 2 * n
    return np.pad(x, [(0, 0), (0, 0), *zip(pads[:n], pads[n:])], constant_values=value)


class Conv(OpRun):
    def _run(self, x, w, b=None, auto_pad=None, dilations=None, group=1, kernel_shape=None, pads=None, strides=None):
        assert auto_pad in (None, "NOTSET") and set(dilations or [1]) == {1}
        n, outer, kernel = x.ndim - 2, len(w) // group, w.shape[2:]
        windows = sliding_window_view(padded(x, pads), kernel, axis=tuple(range(2, 2 + n)))
        windows = windows[(slice(None), slice(None), *(slice(None, None, s) for s in strides or [1] * n))]
        sizes = windows.shape[2 : 2 + n]
        y = np.empty((len(x), len(w), *sizes))
        if group == x.shape[1] and outer == 1:
            y[...] = 0
            for tap in np.ndindex(*kernel):
                y += windows[(..., *tap)] * w[(slice(None), 0, *tap)].reshape(-1, *[1] * n)
        else:
            inner = x.shape[1] // group
            for i in range(group):
                part = windows[:, i * inner : (i + 1) * inner]
                # channels and taps first, places last
                part = np.moveaxis(part, range(2 + n, 2 + 2 * n), range(2, 2 + n)).reshape(len(x), -1, math.prod(sizes))
                product = w[i * outer : (i + 1) * outer].reshape(outer, -1) @ part
                y[:, i * outer : (i + 1) * outer] = product.reshape(len(x), outer, *sizes)
        return (y if b is None else y + b.reshape(-1, *[1] * n),)


class ConvTranspose(OpRun):
    def _run(
        self, x, w, b=None, auto_pad=None, dilations=None, group=1, kernel_shape=None, output_padding=None,
        output_shape=None, pads=None, strides=None
    ):  # fmt: skip
        assert group == 1 and not any(output_padding or []) and output_shape is None and set(dilations or [1]) == {1}
        n, kernel = x.ndim - 2, w.shape[2:]
        strides, pads = strides or [1] * n, pads or [0] * 2 * n
        full = [(size - 1) * s + k for size, s, k in zip(x.shape[2:], strides, kernel)]
        y = np.zeros((len(x), w.shape[1], *full))
        for tap in np.ndindex(*kernel):
            places = tuple(slice(t, t + (size - 1) * s + 1, s) for t, size, s in zip(tap, x.shape[2:], strides))
            y[(..., *places)] += np.einsum("bc...,co->bo...", x, w[(..., *tap)], optimize=True)
        y = y[(..., *(slice(low, size - high) for low, high, size in zip(pads[:n], pads[n:], full)))]
        return (y if b is None else y + b.reshape(-1, *[1] * n),)


class MaxPool(OpRun):
    def _run(self, x, kernel_shape=None, pads=None, strides=None, ceil_mode=0, dilations=None, **_):
        assert not ceil_mode and set(dilations or [1]) == {1}
        return (pool(x, kernel_shape, pads, strides, np.maximum, -np.inf),)


class AveragePool(OpRun):
    def _run(self, x, kernel_shape=None, pads=None, strides=None, ceil_mode=0, count_include_pad=0, dilations=None, **_):
        assert not ceil_mode and set(dilations or [1]) == {1}
        count = pool(np.ones_like(x[:1, :1]), kernel_shape, pads, strides, np.add, float(count_include_pad))
        return (pool(x, kernel_shape, pads, strides, np.add, 0.0) / count,)


def pool(x, kernel, pads, strides, combine, start):
    n = x.ndim - 2
    x, strides = padded(x, pads, start), strides or [1] * n
    sizes = [(size - k) // s + 1 for size, k, s in zip(x.shape[2:], kernel, strides)]
    y = np.full((*x.shape[:2], *sizes), -np.inf if start == -np.inf else 0.0)
    for tap in np.ndindex(*kernel):
        y = combine(y, x[(..., *(slice(t, t + (m - 1) * s + 1, s) for t, m, s in zip(tap, sizes, strides)))])
    return y


class BatchNormalization(OpRun):
    def _run(self, x, scale, shift, mean, variance, epsilon=1e-5, momentum=None, training_mode=0, spatial=1):
        factor = scale / np.sqrt(variance + epsilon)
        one = (-1, *[1] * (x.ndim - 2))
        return (x * factor.reshape(one) + (shift - mean * factor).reshape(one),)


class Softmax(OpRun):
    def _run(self, x, axis=-1):
        axes = axis
        if self.run_params["opsets"][""] < 13:  # the default is 1, and all dimensions from there on are one
            first = next((a.i for a in self.onnx_node.attribute if a.name == "axis"), 1)
            axes = tuple(range(first % x.ndim, x.ndim))
        y = np.exp(x - x.max(axis=axes, keepdims=True))
        return (y / y.sum(axis=axes, keepdims=True),)


class LRN(OpRun):
    def _run(self, x, alpha=1e-4, beta=0.75, bias=1.0, size=None):
        before = (size - 1) // 2
        squares = np.pad(x * x, [(0, 0), (before, size - 1 - before), (0, 0), (0, 0)])
        total = sum(squares[:, i : i + x.shape[1]] for i in range(size))
        return (x / (bias + alpha / size * total) ** beta,)


class Resize(OpRun):
    """Nearest (asymmetric, floor) and linear (half_pixel) of four dimensions, the last two of which change."""

    def _run(self, x, roi=None, scales=None, sizes=None, **how):
        mode, coordinates = how["mode"], how["coordinate_transformation_mode"]
        for axis in (2, 3):
            n = x.shape[axis]
            m = int(sizes[axis]) if sizes is not None else int(n * scales[axis])
            factor = m / n if sizes is not None else float(scales[axis])
            if mode == "nearest":
                assert (coordinates, how["nearest_mode"]) == ("asymmetric", "floor")
                x = np.take(x, np.minimum(np.arange(m) // factor, n - 1).astype(int), axis)
                continue
            assert (mode, coordinates) == ("linear", "half_pixel")
            at = np.clip((np.arange(m) + 0.5) / factor - 0.5, 0, n - 1)
            low = at.astype(int)
            part = (at - low).reshape(-1, *[1] * (3 - axis))
            x = np.take(x, low, axis) * (1 - part) + np.take(x, np.minimum(low + 1, n - 1), axis) * part
        return (x,)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def recur(x, directions, step, states):
    """Y and the last states of a step (x, direction, states) -> states, in both directions if there are two."""
    outputs, last = np.zeros((len(x), directions, *states[0].shape[1:])), []
    for d in range(directions):
        now = [state[d] for state in states]
        for t in range(len(x))[:: -1 if d else 1]:
            now = step(x[t], d, now)
            outputs[t, d] = now[0]
        last.append(now)
    return outputs, *(np.stack(each) for each in zip(*last))


class LSTM(OpRun):
    def _run(self, x, w, r, b, lengths=None, h=None, c=None, hidden_size=None, direction=None, **_):
        def step(x, d, states):
            h, c = states
            gates = x @ w[d].T + h @ r[d].T + b[d].reshape(2, -1).sum(0)
            i, o, f, g = np.split(gates, 4, -1)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            return sigmoid(o) * np.tanh(c), c

        assert lengths is None and direction in ("forward", "bidirectional")
        zero = np.zeros((len(w), x.shape[1], hidden_size))
        return recur(x, len(w), step, [zero if h is None else h, zero if c is None else c])


class GRU(OpRun):
    def _run(self, x, w, r, b, lengths=None, h=None, hidden_size=None, direction=None, linear_before_reset=0, **_):
        def step(x, d, states):
            (h,) = states
            wz, wr, wh = np.split(x @ w[d].T + b[d][: 3 * hidden_size], 3, -1)
            rz, rr, rh = np.split(h @ r[d].T + b[d][3 * hidden_size :], 3, -1)
            z = sigmoid(wz + rz)
            return ((1 - z) * np.tanh(wh + sigmoid(wr + rr) * rh) + z * h,)

        assert lengths is None and direction in ("forward", "bidirectional") and linear_before_reset
        return recur(x, len(w), step, [np.zeros((len(w), x.shape[1], hidden_size)) if h is None else h])


OPERATORS = [Erf, Conv, ConvTranspose, MaxPool, AveragePool, BatchNormalization, Softmax, LRN, Resize, LSTM, GRU]


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


def expected(name, model, feeds):
    """The outputs: of float32 ones those in float64, rounded once. The float32 model in ONNX Runtime has to agree."""
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    widen_graph(wide.graph)
    wide_feeds = {k: v.astype(np.float64) if v.dtype == np.float32 else v for k, v in feeds.items()}
    with np.errstate(all="ignore"):  # in what a Where leaves out
        outputs = onnx.reference.ReferenceEvaluator(wide, new_ops=OPERATORS).run(None, wide_feeds)
    for want, got in zip(outputs, run_onnxruntime(model, feeds), strict=True):
        if got.dtype != np.float32:
            np.testing.assert_array_equal(got, want, err_msg=name)
            continue
        assert want.dtype == np.float64 and np.isfinite(want).all(), name
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4 * np.abs(want).max(), err_msg=name)
    return [output.astype(np.float32) if output.dtype == np.float64 else output for output in outputs]
