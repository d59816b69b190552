"""Models of pictures: classifiers for phones, segmentation, detection of text, a transformer."""

import numpy as np
from onnx import numpy_helper

from graph import Graph, TorchNames, batch_norm, conv, conv_bn, normal_f32, relu6


def relu(g, x, name):
    return g.node("Relu", [x], name)


def hard_swish(g, x, name):
    return g.node("HardSwish", [x], name)


def hard_swish_apart(g, x, name):
    return g.node("Mul", [x, g.node("HardSigmoid", [x], f"{name}.gate", alpha=1 / 6, beta=0.5)], name)


def swish(g, x, name):
    return g.node("Mul", [x, g.node("Sigmoid", [x], f"{name}.sigmoid")], name)


def hard_gate(g, x, name):
    return g.node("HardSigmoid", [x], name, alpha=1 / 6, beta=0.5)


def soft_gate(g, x, name):
    return g.node("Sigmoid", [x], name)


def squeeze_excite(g, x, name, channels, squeezed, act, gate):
    """Every channel times a factor that comes from the means of all of them."""
    y = g.node("GlobalAveragePool", [x], f"{name}.avgpool")
    y = act(g, conv(g, y, f"{name}.fc1", channels, squeezed, 1), f"{name}.act")
    y = gate(g, conv(g, y, f"{name}.fc2", squeezed, channels, 1), f"{name}.gate")
    return g.node("Mul", [y, x], f"{name}.mul")


def divisible(channels):
    """Rounded to a multiple of eight, and not by much down."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8


def inverted(g, x, name, sizes, kernel, stride, act, unit, excite=None, gain=1.0):
    """An inverted residual block. unit: conv or conv_bn; excite: what comes before the projection,
    gain: makes up for it."""
    c_in, c_mid, c_out = sizes
    y = x
    if c_mid != c_in:
        y = act(g, unit(g, y, f"{name}.expand", c_in, c_mid, 1), f"{name}.act1")
    y = act(g, unit(g, y, f"{name}.depthwise", c_mid, c_mid, kernel, stride, c_mid), f"{name}.act2")
    if excite:
        y = excite(g, y, f"{name}.se")
    y = unit(g, y, f"{name}.project", c_mid, c_out, 1, gain=gain if excite else 1.0)
    return g.node("Add", [x, y], f"{name}.add") if stride == 1 and c_in == c_out else y


def classify(g, x, channels, classes, hidden=None):
    """The head: means of the channels, then one Gemm, or two with a HardSwish between."""
    y = g.node("Flatten", [g.node("GlobalAveragePool", [x], "avgpool")], "flatten", axis=1)
    for i, size in enumerate([hidden, classes] if hidden else [classes]):
        w = g.normal(f"classifier.{i}.weight", (size, channels), channels**-0.5)
        b = g.normal(f"classifier.{i}.bias", size, 0.1)
        y = g.node("Gemm", [y, w, b], "logits" if size == classes else f"classifier.{i}", transB=1)
        if size != classes:
            y, channels = hard_swish(g, y, f"classifier.{i}.act"), size
    g.output(y, ["N", classes])


def mobilenet_v2(small):
    """MobileNetV2, BatchNormalization folded as the exporter does for inference; symbolic batch."""
    g = Graph(31)
    part, side, classes = (4, 32, 10) if small else (1, 224, 1000)
    x, c_in = g.input("input", ["N", 3, side, side]), 32 // part
    x = relu6(g, conv(g, x, "features.0", 3, c_in, 3, 2), "features.0.act")
    table = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    at = 1
    for factor, c_out, repeats, stride in table:
        for i in range(min(repeats, 2 if at == 2 else 1) if small else repeats):
            sizes = c_in, c_in * factor, c_out // part
            x = inverted(g, x, f"features.{at}", sizes, 3, 1 if i else stride, relu6, conv)
            c_in, at = c_out // part, at + 1
    x = relu6(g, conv(g, x, f"features.{at}", c_in, 1280 // part, 1), f"features.{at}.act")
    classify(g, x, 1280 // part, classes)
    return g, [normal_f32(g.rng, 1, 3, side, side)]


# kernel, expanded, out, squeeze and excite?, HardSwish?, stride
MOBILENET_V3 = [
    (3, 16, 16, 0, 0, 1), (3, 64, 24, 0, 0, 2), (3, 72, 24, 0, 0, 1), (5, 72, 40, 1, 0, 2), (5, 120, 40, 1, 0, 1),
    (5, 120, 40, 1, 0, 1), (3, 240, 80, 0, 1, 2), (3, 200, 80, 0, 1, 1), (3, 184, 80, 0, 1, 1), (3, 184, 80, 0, 1, 1),
    (3, 480, 112, 1, 1, 1), (3, 672, 112, 1, 1, 1), (5, 672, 160, 1, 1, 2), (5, 960, 160, 1, 1, 1),
    (5, 960, 160, 1, 1, 1),
]  # fmt: skip


def mobilenet_v3_features(g, x, scale, swish_of, unit):
    """The values at the end of every scale of the picture with their channels: at a half, a quarter, ..."""
    c_in, ends = divisible(16 * scale), []
    x = swish_of(g, unit(g, x, "features.0", 3, c_in, 3, 2), "features.0.act")
    for i, (kernel, mid, c_out, excited, swished, stride) in enumerate(MOBILENET_V3, 1):
        mid, c_out = divisible(mid * scale), divisible(c_out * scale)

        def excite(g, y, name, mid=mid):
            return squeeze_excite(g, y, name, mid, divisible(mid / 4), relu, hard_gate)

        if stride == 2:
            ends.append((x, c_in))
        act = swish_of if swished else relu
        x = inverted(g, x, f"features.{i}", (c_in, mid, c_out), kernel, stride, act, unit, excite if excited else None)
        c_in = c_out
    last = divisible(960 * scale)
    x = swish_of(g, unit(g, x, "features.16", c_in, last, 1), "features.16.act")
    return [*ends, (x, last)]


def mobilenet_v3(small):
    """MobileNetV3-large, BatchNormalization kept; HardSwish, squeeze and excite; symbolic batch."""
    g = Graph(32)
    scale, side, hidden, classes = (0.25, 32, 40, 10) if small else (1.0, 224, 1280, 1000)
    x = g.input("input", ["N", 3, side, side])
    x, channels = mobilenet_v3_features(g, x, scale, hard_swish, conv_bn)[-1]
    classify(g, x, channels, classes, hidden)
    return g, [normal_f32(g.rng, 1, 3, side, side)]


def efficientnet_b0(small):
    """EfficientNet-B0: x times its Sigmoid, squeeze and excite, windows of 5x5; symbolic batch."""
    g = Graph(33)
    part, side, classes = (4, 32, 10) if small else (1, 224, 1000)
    x, c_in = g.input("input", ["N", 3, side, side]), 32 // part
    x = swish(g, conv(g, x, "stem", 3, c_in, 3, 2), "stem.act")
    table = [
        (1, 3, 16, 1, 1), (6, 3, 24, 2, 2), (6, 5, 40, 2, 2), (6, 3, 80, 3, 2), (6, 5, 112, 3, 1), (6, 5, 192, 4, 2),
        (6, 3, 320, 1, 1),
    ]  # fmt: skip
    for stage, (factor, kernel, c_out, repeats, stride) in enumerate(table):
        for i in range(min(repeats, 2 if stage == 1 else 1) if small else repeats):
            mid, squeezed = c_in * factor, max(1, c_in // 4)

            def excite(g, y, name, mid=mid, squeezed=squeezed):
                return squeeze_excite(g, y, name, mid, squeezed, swish, soft_gate)

            sizes = c_in, mid, c_out // part
            x = inverted(g, x, f"blocks.{stage}.{i}", sizes, kernel, 1 if i else stride, swish, conv, excite, 4.0)
            c_in = c_out // part
    x = swish(g, conv(g, x, "head", c_in, 1280 // part, 1), "head.act")
    classify(g, x, 1280 // part, classes)
    return g, [normal_f32(g.rng, 1, 3, side, side)]


def conv_transpose(g, x, name, c_in, c_out, gain=2.0):
    """Doubles both sides; no two windows overlap."""
    inputs = [x, g.normal(f"{name}.weight", (c_in, c_out, 2, 2), (gain / c_in) ** 0.5), g.normal(f"{name}.bias", c_out, 0.1)]
    return g.node(
        "ConvTranspose", inputs, name, dilations=[1, 1], group=1, kernel_shape=[2, 2], pads=[0] * 4, strides=[2, 2]
    )


def unet(small):
    """A U-Net of five levels: down by MaxPool, up by ConvTranspose, what is as large beside it; symbolic batch."""
    g = Graph(34)
    base, side = (4, 32) if small else (32, 256)
    x, c_in, skips = g.input("input", ["N", 3, side, side]), 3, []

    def double(x, name, c_in, c_out):
        for i in range(2):
            x = relu(g, conv_bn(g, x, f"{name}.{i}", c_out if i else c_in, c_out, 3), f"{name}.{i}.relu")
        return x

    for level in range(5):
        if level:
            skips.append(x)
            x = g.node("MaxPool", [x], f"down{level}.pool", kernel_shape=[2, 2], strides=[2, 2])
        x, c_in = double(x, f"down{level}", c_in, base << level), base << level
    for level, skip in reversed(list(enumerate(skips))):
        x = conv_transpose(g, x, f"up{level}.up", c_in, base << level, 1.0)
        x = double(g.node("Concat", [skip, x], f"up{level}.concat", axis=1), f"up{level}", c_in, base << level)
        c_in = base << level
    x = g.node("Sigmoid", [conv(g, x, "out", c_in, 2, 1, gain=0.5)], "mask")
    g.output(x, ["N", 2, side, side])
    return g, [normal_f32(g.rng, 1, 3, side, side)]


def resize(g, x, name, factor, mode):
    scales = g.weight(f"{name}.scales", [1, 1, factor, factor])
    if mode == "nearest":
        rest = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    else:
        rest = {"coordinate_transformation_mode": "half_pixel"}
    return g.node("Resize", [x, "", scales], name, mode=mode, **rest)


def text_detector(small):
    """Where text is, in the manner of DBNet: MobileNetV3 at half width, a pyramid of features; any batch and sides."""
    g = Graph(35)
    scale, inner, height, width = (0.125, 16, 64, 96) if small else (0.5, 96, 736, 1280)
    x = g.input("x", ["N", 3, "H", "W"])
    ends = mobilenet_v3_features(g, x, scale, hard_swish_apart, conv_bn)[1:]
    above, parts = None, []
    for level, (x, channels) in reversed(list(enumerate(ends, 2))):
        x = conv(g, x, f"neck.in{level}", channels, inner, 1, bias=False, gain=1.0)
        if above is not None:
            x = g.node("Add", [x, resize(g, above, f"neck.up{level}", 2, "nearest")], f"neck.add{level}")
        above = x
        part = conv(g, x, f"neck.out{level}", inner, inner // 4, 3, bias=False, gain=1.0)
        parts.append(resize(g, part, f"neck.part{level}", 1 << level - 2, "linear") if level > 2 else part)
    x = g.node("Concat", parts, "neck.concat", axis=1)
    x = relu(g, conv_bn(g, x, "head.conv1", inner, inner // 4, 3), "head.relu1")
    x = conv_transpose(g, x, "head.conv2", inner // 4, inner // 4)
    x = relu(g, batch_norm(g, x, "head.conv2", inner // 4), "head.relu2")
    x = g.node("Sigmoid", [conv_transpose(g, x, "head.conv3", inner // 4, 1, 0.05)], "maps")
    g.output(x, ["N", 1, "H", "W"])
    return g, [normal_f32(g.rng, 1, 3, height, width)]


def vit_tiny(small):
    """ViT-tiny: patches of 16x16, 12 layers 192 wide, everything decomposed as exported; dynamic batch."""
    g = Graph(36, opset=14)
    t = TorchNames(g)
    width, heads, layers, side, classes = (24, 3, 2, 48, 10) if small else (192, 3, 12, 224, 1000)
    head, patches = width // heads, (side // 16) ** 2
    x = g.input("input", ["batch", 3, side, side])
    at = "/patch_embed"
    w, b = g.normal("patch_embed.proj.weight", (width, 3, 16, 16), 768**-0.5), g.normal("patch_embed.proj.bias", width, 0.1)
    patch = {"kernel_shape": [16, 16], "strides": [16, 16]}
    x = t(f"{at}/proj", "Conv", x, w, b, dilations=[1, 1], group=1, pads=[0] * 4, **patch)
    sizes = t.slice(at, t(at, "Shape", x), 0, 2, 0)
    x = t(at, "Reshape", x, t(at, "Concat", sizes, t.ints(at, [-1]), axis=0), allowzero=0)
    x = t(at, "Transpose", x, perm=[0, 2, 1])
    # cls_token.expand(batch, -1, -1)
    sizes = t.list("", t.size("", x, 0), -1, -1)
    ones = t("", "ConstantOfShape", t.ints("", [3]), value=numpy_helper.from_array(np.ones(1, np.int64)))
    same = t("", "Equal", sizes, t("", "Mul", ones, t.ints("", -1)))
    first = t("", "Expand", g.normal("cls_token", (1, 1, width), 1.0), t("", "Where", same, ones, sizes))
    x = t("", "Concat", first, x, axis=1)
    x = t("", "Add", x, g.normal("pos_embed", (1, patches + 1, width), 0.5))
    for i in range(layers):
        at, name = f"/blocks/blocks.{i}", f"blocks.{i}"
        y = t.layer_norm(f"{at}/norm1", f"{name}.norm1", x, width, 1e-6)
        y = t.linear(f"{at}/attn/qkv", f"{name}.attn.qkv", y, width, 3 * width)
        here = f"{at}/attn"
        y = t.reshape(here, y, t.size(here, y, 0), t.size(here, y, 1), 3, heads, head)
        y = t(here, "Transpose", y, perm=[2, 0, 3, 1, 4])
        query, key, value = (t(here, "Gather", y, t.ints(here, part), axis=0) for part in range(3))
        query = t(here, "Mul", query, t.constant(here, head**-0.5))
        scores = t(here, "MatMul", query, t(here, "Transpose", key, perm=[0, 1, 3, 2]))
        y = t(here, "MatMul", t(here, "Softmax", scores, axis=-1), value)
        y = t.view(here, t(here, "Transpose", y, perm=[0, 2, 1, 3]), width)
        x = t(at, "Add", x, t.linear(f"{here}/proj", f"{name}.attn.proj", y, width, width, 0.7))
        y = t.layer_norm(f"{at}/norm2", f"{name}.norm2", x, width, 1e-6)
        y = t.gelu(f"{at}/mlp/act", t.linear(f"{at}/mlp/fc1", f"{name}.mlp.fc1", y, width, 4 * width))
        x = t(at, "Add", x, t.linear(f"{at}/mlp/fc2", f"{name}.mlp.fc2", y, 4 * width, width, 0.7))
    x = t("", "Gather", t.layer_norm("/norm", "norm", x, width, 1e-6), t.ints("", 0), axis=1)
    w, b = g.normal("head.weight", (classes, width), width**-0.5), g.normal("head.bias", classes, 0.1)
    g.output(t("/head", "Gemm", x, w, b, alpha=1.0, beta=1.0, transB=1), ["batch", classes])
    return g, [normal_f32(g.rng, 2 if small else 1, 3, side, side)]


BUILDERS = [mobilenet_v2, mobilenet_v3, efficientnet_b0, unet, text_detector, vit_tiny]
