"""The whole models that the onnx package carries without their weights (backend/test/data/light), with seeded ones.

Small: every channel count is divided, the picture is smaller, and what depends on either follows.
"""

import math
import pathlib

import numpy as np
import onnx
from onnx import numpy_helper

from evaluate import run_onnxruntime
from graph import normal_f32

FOLDER = pathlib.Path(onnx.__file__).parent / "backend/test/data/light"
SPREAD = 2.0  # standard deviation of what the last layer gives, so that a softmax over it is no peak


class Light:
    """One of the models; `weights` holds the values that the file leaves out."""

    def __init__(self, name, seed, divisor, side):
        self.onnx = onnx.load(FOLDER / f"light_{name}.onnx")
        self.onnx.ir_version = 4  # the first in which initialisers are no inputs
        self.rng = np.random.default_rng(seed)
        self.graph, self.divisor = self.onnx.graph, divisor
        self.stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in self.graph.initializer}
        self.holes = {
            node.output[0]: tuple(int(size) for size in self.stored[node.input[0]])
            for node in self.graph.node
            if node.op_type == "ConstantOfShape" and node.input[0] in self.stored
        }
        # What training left of small parameters does not fit to random ones.
        self.holes |= {name: value.shape for name, value in self.stored.items() if value.dtype == np.float32}
        nodes = [node for node in self.graph.node if node.output[0] not in self.holes]
        used = {name for node in nodes for name in node.input}
        (picture,) = [v for v in self.graph.input if v.name in used - self.stored.keys()]
        picture.type.tensor_type.shape.dim[2].dim_value = picture.type.tensor_type.shape.dim[3].dim_value = side
        del self.graph.node[:], self.graph.input[:]
        self.graph.node.extend(nodes)
        self.users = {name: (node, at) for node in self.graph.node for at, name in enumerate(node.input)}
        self.graph.input.append(picture)
        del self.graph.initializer[:], self.graph.value_info[:]
        self.constants = {k: v for k, v in self.stored.items() if k in used and v.dtype != np.float32}
        self.weights = {}
        self.fill(side)
        self.settle()

    def model(self, name):
        self.graph.name = name
        return self.onnx

    def user(self, name):
        """The operator that a parameter reaches, through Unsqueezes and Reshapes, and as which of its inputs."""
        node, at = self.users[name]
        return self.user(node.output[0]) if node.op_type in ("Unsqueeze", "Reshape") and at == 0 else (node, at)

    def fill(self, side):
        """Gives the parameters values, in the order in which they are used."""
        sizes = {self.graph.input[0].name: (1, 3, side, side)}
        for node in self.graph.node:
            for name in node.input:
                if name in self.holes:
                    self.draw(name, sizes)
            if self.divisor > 1:
                sizes[node.output[0]] = self.adapt(node, sizes)
        if self.divisor > 1:
            for dim, size in zip(self.graph.output[0].type.tensor_type.shape.dim, sizes[self.graph.output[0].name]):
                dim.dim_value = size
        for name, value in (self.weights | self.constants).items():
            self.graph.initializer.append(numpy_helper.from_array(value, name))

    def divided(self, name, sizes):
        """The shape of a parameter after division."""
        shape, (node, at) = self.holes[name], self.user(name)
        if self.divisor == 1:
            return shape
        if node.op_type == "Conv" and at == 1:
            group = next((a for a in node.attribute if a.name == "group"), None)
            outer = shape[0] // self.divisor
            if group is not None and group.i == shape[0]:  # one filter for each channel
                group.i = outer
            return (outer, shape[1] if shape[1] in (1, 3) else shape[1] // self.divisor, *shape[2:])
        if node.op_type == "Gemm" and at == 1:
            return (*shape[:-2], shape[-2] // self.divisor, sizes[node.input[0]][1])
        return tuple(size if size == 1 else size // self.divisor for size in shape)

    def draw(self, name, sizes):
        shape, (node, at) = self.divided(name, sizes), self.user(name)
        if at == 1 and node.op_type in ("Conv", "Gemm"):
            fan_in = math.prod(shape[1:]) if node.op_type == "Conv" else shape[-1]
            value = np.float32((2 / fan_in) ** 0.5) * self.rng.standard_normal(shape, np.float32)
        elif node.op_type == "Mul" or (node.op_type == "BatchNormalization" and at in (1, 4)):
            value = 0.5 + self.rng.random(shape, np.float32)
        else:
            value = np.float32(0.1) * self.rng.standard_normal(shape, np.float32)
        self.weights[name] = value

    def adapt(self, node, sizes):
        """Makes windows that cover all of the picture, and the shapes of Reshapes, fit. Returns the result's shape."""
        x = sizes.get(node.input[0]) or self.weights[node.input[0]].shape
        attributes = {a.name: a for a in node.attribute}
        if node.op_type == "Concat":
            return (1, sum(sizes[name][1] for name in node.input), *x[2:])
        if node.op_type == "Gemm":
            return (1, (sizes.get(node.input[1]) or self.weights[node.input[1]].shape)[0])
        if node.op_type == "GlobalAveragePool":
            return (*x[:2], 1, 1)
        if node.op_type == "Transpose":
            return tuple(x[axis] for axis in attributes["perm"].ints)
        if node.op_type == "Reshape":
            shape = self.constants[node.input[1]]
            if len(shape) == 5:  # the channels in groups
                shape = [1, shape[1], x[1] // shape[1], *x[2:]]
            elif len(shape) == 4:  # and joined again
                shape = [1, x[1] * x[2], *x[3:]]
            else:
                shape = x[-2:] if node.input[0] in self.holes else [1, math.prod(x)]
            self.constants[node.input[1]] = np.array(shape, np.int64)
            return tuple(shape)
        if node.op_type not in ("Conv", "MaxPool", "AveragePool"):
            return x
        kernel, pads = attributes["kernel_shape"].ints, list(attributes["pads"].ints) if "pads" in attributes else [0] * 4
        if list(kernel) == [7, 7] and node.op_type == "AveragePool":
            kernel[:] = [x[2] + pads[2], x[3] + pads[3]]
        strides = attributes["strides"].ints if "strides" in attributes else [1, 1]
        sides = [(x[2 + i] + pads[i] + pads[2 + i] - kernel[i]) // strides[i] + 1 for i in range(2)]
        return (1, len(self.weights[node.input[1]]) if node.op_type == "Conv" else x[1], *sides)

    def settle(self):
        """Scales the last layer, by a power of two so that the file does not depend on how sums are rounded."""
        last = [node for node in self.graph.node if node.op_type in ("Conv", "Gemm")][-1]
        cut = onnx.ModelProto()
        cut.CopyFrom(self.onnx)
        cut.graph.output[0].CopyFrom(onnx.ValueInfoProto(name=last.output[0], type=self.graph.output[0].type))
        cut.graph.output[0].type.tensor_type.ClearField("shape")
        (logits,) = run_onnxruntime(cut, {self.graph.input[0].name: self.picture()})
        name = next(name for name in self.weights if self.user(name) == (last, 1))
        factor = 2.0 ** np.round(np.log2(SPREAD / logits.std()))
        tensor = next(t for t in self.graph.initializer if t.name == name)
        tensor.CopyFrom(numpy_helper.from_array(self.weights[name] * np.float32(factor), name))

    def picture(self):
        shape = [dim.dim_value for dim in self.graph.input[0].type.tensor_type.shape.dim]
        return normal_f32(np.random.default_rng(1), *shape)


def builder(name, seed, file, divisor, side, text):
    def build(small):
        light = Light(file, seed, divisor if small else 1, side if small else 224)
        return light, [light.picture()]

    build.__name__, build.__doc__ = name, text
    return build


BUILDERS = [
    builder("alexnet", 21, "bvlc_alexnet", 8, 96, "AlexNet: grouped convolutions, LRN, and three large Gemms."),
    builder("densenet121", 22, "densenet121", 8, 64, "DenseNet-121: every layer reads all before it."),
    builder("inception_v1", 23, "inception_v1", 8, 64, "GoogLeNet: branches of convolutions and pools, LRN."),
    builder("inception_v2", 24, "inception_v2", 8, 64, "Inception v2: BatchNormalization and Mul, Add apart from it."),
    builder("resnet50", 25, "resnet50", 8, 64, "ResNet-50."),
    builder("shufflenet", 26, "shufflenet", 2, 64, "ShuffleNet: grouped and depthwise convolutions, shuffled channels."),
    builder("squeezenet", 27, "squeezenet", 8, 64, "SqueezeNet: 1x1 and 3x3 convolutions side by side."),
    builder("vgg19", 28, "vgg19", 8, 64, "VGG-19: 3x3 convolutions and three large Gemms, 574 MB of weights."),
    builder("zfnet512", 29, "zfnet512", 8, 96, "ZFNet-512: large windows, LRN, and three large Gemms."),
]
