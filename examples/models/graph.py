"""Graphs under construction, and the parts that several models share."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper


class Graph:
    """A graph under construction; each emitter returns the name of the value it made."""

    def __init__(self, seed=0, opset=17):
        self.rng = np.random.default_rng(seed)
        self.opset = opset
        self.nodes, self.weights, self.inputs, self.outputs = [], [], [], []

    def input(self, name, shape, dtype=TensorProto.FLOAT):
        self.inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def output(self, name, shape, dtype=TensorProto.FLOAT):
        self.outputs.append(helper.make_tensor_value_info(name, dtype, shape))

    def weight(self, name, value, dtype=np.float32):
        self.weights.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def normal(self, name, shape, std, dtype=np.float32):
        return self.weight(name, np.float32(std) * self.rng.standard_normal(shape, np.float32), dtype)

    def uniform(self, name, shape, low, high):
        return self.weight(name, low + np.float32(high - low) * self.rng.random(shape, np.float32))

    def node(self, op, inputs, output, **attributes):
        """output: a name, or a list of them."""
        outputs = [output] if isinstance(output, str) else output
        self.nodes.append(
            helper.make_node(op, inputs, outputs, name=outputs[0].removesuffix("_output_0"), **attributes)
        )
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


class TorchNames:
    """Emits nodes the way PyTorch's TorchScript exporter does: path-like names, and constants as Constant nodes."""

    def __init__(self, g):
        self.g, self.counts, self.weights = g, {}, 0

    def __call__(self, scope, op, *inputs, outputs=1, **attributes):
        at = self.counts.get((scope, op), 0)
        self.counts[scope, op] = at + 1
        stem = f"{scope}/{op}{f'_{at}' if at else ''}_output"
        made = f"{stem}_0" if outputs == 1 else [f"{stem}_{i}" for i in range(outputs)]
        return self.g.node(op, list(inputs), made, **attributes)

    def constant(self, scope, value, dtype=np.float32):
        return self(scope, "Constant", value=numpy_helper.from_array(np.asarray(value, dtype)))

    def ints(self, scope, value):
        return self.constant(scope, value, np.int64)

    def linear(self, scope, parameter, x, fan_in, fan_out, gain=1.4):
        """nn.Linear of more than two dimensions."""
        # Wider than BERT's 0.02, so that the softmax is not almost uniform.
        w = self.matrix(fan_in, fan_out, gain)
        return self(scope, "Add", self.g.normal(f"{parameter}.bias", fan_out, 0.1), self(scope, "MatMul", x, w))

    def matrix(self, fan_in, fan_out, gain):
        """A transposed weight, which the exporter gives a name of its own."""
        self.weights += 1
        return self.g.normal(f"onnx::MatMul_{self.weights}", (fan_in, fan_out), gain * fan_in**-0.5)

    def size(self, scope, x, axis):
        """x.size(axis), a scalar."""
        return self(scope, "Gather", self(scope, "Shape", x), self.ints(scope, axis), axis=0)

    def list(self, scope, *sizes):
        """A shape of integers and of scalars."""
        parts = [
            self.ints(scope, [size])
            if isinstance(size, int)
            else self(scope, "Unsqueeze", size, self.ints(scope, [0]))
            for size in sizes
        ]
        return self(scope, "Concat", *parts, axis=0)

    def view(self, scope, x, *tail):
        """x.view(x.size(0), x.size(1), *tail)"""
        return self.reshape(scope, x, self.size(scope, x, 0), self.size(scope, x, 1), *tail)

    def reshape(self, scope, x, *sizes):
        return self(scope, "Reshape", x, self.list(scope, *sizes), allowzero=0)

    def unsqueeze(self, scope, x, *axes):
        for axis in axes:
            x = self(scope, "Unsqueeze", x, self.ints(scope, [axis]))
        return x

    def slice(self, scope, x, start, end, axis):
        """Of one axis. start, end: integers or lists of one."""
        start, end = (self.ints(scope, [v]) if isinstance(v, int) else v for v in (start, end))
        return self(scope, "Slice", x, start, end, self.ints(scope, [axis]), self.ints(scope, [1]))

    def layer_norm(self, scope, parameter, x, width, epsilon=1e-12):
        centred = self(scope, "Sub", x, self(scope, "ReduceMean", x, axes=[-1], keepdims=1))
        square = self(scope, "Pow", centred, self.constant(scope, 2.0))
        variance = self(scope, "ReduceMean", square, axes=[-1], keepdims=1)
        deviation = self(scope, "Sqrt", self(scope, "Add", variance, self.constant(scope, epsilon)))
        scale = self.g.uniform(f"{parameter}.weight", width, 0.5, 1.5)
        shift = self.g.normal(f"{parameter}.bias", width, 0.1)
        return self(scope, "Add", self(scope, "Mul", self(scope, "Div", centred, deviation), scale), shift)

    def gelu(self, scope, y):
        erf = self(scope, "Erf", self(scope, "Div", y, self.constant(scope, 2**0.5)))
        y = self(scope, "Mul", y, self(scope, "Add", erf, self.constant(scope, 1.0)))
        return self(scope, "Mul", y, self.constant(scope, 0.5))


def normal_f32(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def conv(g, x, name, c_in, c_out, kernel, stride=1, group=1, gain=2.0, bias=True):
    """A convolution of the same size, or with what BatchNormalization left folded into its bias."""
    fan_in = c_in // group * kernel * kernel
    inputs = [x, g.normal(f"{name}.weight", (c_out, c_in // group, kernel, kernel), (gain / fan_in) ** 0.5)]
    if bias:
        inputs.append(g.normal(f"{name}.bias", c_out, 0.1))
    same = {"kernel_shape": [kernel, kernel], "pads": [kernel // 2] * 4, "strides": [stride, stride]}
    return g.node("Conv", inputs, f"{name}.conv", group=group, dilations=[1, 1], **same)


def batch_norm(g, x, name, channels, low=0.5, high=1.5):
    """low, high: of the scale."""
    statistics = [
        g.uniform(f"{name}.bn.weight", channels, low, high),
        g.normal(f"{name}.bn.bias", channels, 0.2),
        g.normal(f"{name}.bn.running_mean", channels, 0.2),
        g.uniform(f"{name}.bn.running_var", channels, 0.5, 1.5),
    ]
    return g.node("BatchNormalization", [x, *statistics], f"{name}.bn", epsilon=1e-5, momentum=0.9)


def conv_bn(g, x, name, c_in, c_out, kernel, stride=1, group=1, gain=2.0):
    """A convolution without a bias and its BatchNormalization, as exported in training-preserving form."""
    return batch_norm(g, conv(g, x, name, c_in, c_out, kernel, stride, group, gain, bias=False), name, c_out)


def scalar(g, name, value, dtype=np.float32):
    return g.node("Constant", [], name, value=numpy_helper.from_array(np.asarray(value, dtype)))


def relu6(g, x, name):
    return g.node("Clip", [x, scalar(g, f"{name}.min", 0), scalar(g, f"{name}.max", 6)], name)
