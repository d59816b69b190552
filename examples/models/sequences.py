"""Recurrent nets, and models of sound; and one whose weights are float16."""

import numpy as np
from onnx import TensorProto

from graph import Graph, normal_f32, scalar


def cells(g, op, gates, x, name, directions, fan_in, hidden, states, **attributes):
    """One layer, in both directions if there are two. Gives the node's outputs, Y as [steps, batch, directions hidden].
    PyTorch draws all of its parameters from within 1 / sqrt(hidden)."""
    bound = 1.5 * hidden**-0.5
    w = g.uniform(f"{name}.W", (directions, gates * hidden, fan_in), -bound, bound)
    r = g.uniform(f"{name}.R", (directions, gates * hidden, hidden), -bound, bound)
    b = g.uniform(f"{name}.B", (directions, 2 * gates * hidden), -bound, bound)
    made = [f"{name}.Y", *(f"{name}.Y_{kind}" for kind in "hc"[: len(states)])]
    direction = "forward" if directions == 1 else "bidirectional"
    y, *last = g.node(op, [x, w, r, b, "", *states], made, hidden_size=hidden, direction=direction, **attributes)
    if directions == 1:
        return g.node("Squeeze", [y, scalar(g, f"{name}.axes", [1], np.int64)], f"{name}.out"), last
    y = g.node("Transpose", [y], f"{name}.together", perm=[0, 2, 1, 3])
    return g.node("Reshape", [y, scalar(g, f"{name}.shape", [0, 0, -1], np.int64)], f"{name}.out"), last


def recurrent(small, seed, op, gates, kinds, directions, steps, **attributes):
    """Two layers with their states as inputs and as outputs, all layers' and directions' in one tensor each."""
    g = Graph(seed)
    features, hidden, batch = (10, 12, 2) if small else (80, 256, 1)
    x = g.input("input", ["steps", "batch", features])
    before = [g.input(f"{kind}0", [2 * directions, "batch", hidden]) for kind in kinds]
    after = [[] for _ in kinds]
    for layer in range(2):
        states = []
        for kind, whole in zip(kinds, before):
            bounds = [
                scalar(g, f"layer{layer}.{kind}.{what}", [value], np.int64)
                for what, value in (("start", layer * directions), ("end", (layer + 1) * directions), ("axis", 0))
            ]
            states.append(g.node("Slice", [whole, *bounds], f"layer{layer}.{kind}0"))
        fan_in = directions * hidden if layer else features
        x, last = cells(g, op, gates, x, f"layer{layer}", directions, fan_in, hidden, states, **attributes)
        for kept, value in zip(after, last):
            kept.append(value)
    g.output(g.node("Identity", [x], "output"), ["steps", "batch", directions * hidden])
    for kind, kept in zip(kinds, after):
        g.output(g.node("Concat", kept, f"{kind}n", axis=0), [2 * directions, "batch", hidden])
    states = [0.5 * normal_f32(g.rng, 2 * directions, batch, hidden) for _ in kinds]
    return g, [normal_f32(g.rng, 5 if small else steps, batch, features), *states]


def lstm(small):
    """A two-layer LSTM, 256 wide, with its states as inputs and outputs; any number of steps, any batch."""
    return recurrent(small, 51, "LSTM", 4, "hc", 1, 100)


def lstm_bidirectional(small):
    """The same in both directions."""
    return recurrent(small, 52, "LSTM", 4, "hc", 2, 100)


def gru(small):
    """A two-layer GRU as PyTorch exports it: linear_before_reset."""
    return recurrent(small, 53, "GRU", 3, "h", 1, 100, linear_before_reset=1)


def keyword_net(small):
    """Ten Gemms that find a word in 49 frames of ten features: half a million operations."""
    g = Graph(54)
    sizes = [60, *[16] * 9, 4] if small else [490, *[144] * 9, 12]
    x = g.input("features", [1, sizes[0]])
    for i, (fan_in, fan_out) in enumerate(zip(sizes, sizes[1:])):
        w = g.normal(f"fc{i}.weight", (fan_out, fan_in), (2 / fan_in) ** 0.5)
        x = g.node("Gemm", [x, w, g.normal(f"fc{i}.bias", fan_out, 0.1)], f"fc{i}", transB=1)
        if i < len(sizes) - 2:
            x = g.node("Relu", [x], f"relu{i}")
    g.output(g.node("Softmax", [x], "words", axis=-1), [1, sizes[-1]])
    return g, [normal_f32(g.rng, 1, sizes[0])]


def speech_features(small):
    """Log-mel spectra: windowed sines and cosines as a Conv, powers, mel bands by MatMul, the logarithm normalised."""
    g = Graph(55)
    window, hop, bands, samples = (32, 8, 6, 300) if small else (400, 160, 80, 48000)
    x = g.input("audio", ["N", "samples"])
    x = g.node("Unsqueeze", [x, g.weight("channel", [1], np.int64)], "one_channel")
    half = window // 2
    x = g.node("Pad", [x, g.weight("reflect", [0, 0, half, 0, 0, half], np.int64)], "padded", mode="reflect")
    angles = 2 * np.pi * np.outer(np.arange(half + 1), np.arange(window)) / window
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    squares = []
    for name, function in (("real", np.cos), ("imaginary", np.sin)):
        filters = g.weight(f"{name}.filters", (function(angles) * hann)[:, None])
        part = g.node("Conv", [x, filters], name, kernel_shape=[window], strides=[hop])
        squares.append(g.node("Pow", [part, scalar(g, f"{name}.two", 2)], f"{name}.square"))
    power = g.node("Add", squares, "power")
    # Triangles over the frequencies, wider as they rise.
    edges = half * (np.geomspace(1, 10, bands + 2) - 1) / 9
    at = np.arange(half + 1)
    low, mid, high = (edges[i : i + bands, None] for i in range(3))
    triangles = np.maximum(np.minimum((at - low) / (mid - low), (high - at) / (high - mid)), 0)
    x = g.node("MatMul", [g.weight("mel", triangles + 1e-3), power], "bands")
    x = g.node("Log", [g.node("Clip", [x, scalar(g, "floor", 1e-10)], "clipped")], "log")
    x = g.node("Div", [x, scalar(g, "log10", np.log(10))], "log10_power")
    peak = g.node("ReduceMax", [x], "peak", keepdims=0)
    x = g.node("Max", [x, g.node("Sub", [peak, scalar(g, "range", 8)], "least")], "limited")
    x = g.node("Div", [g.node("Add", [x, scalar(g, "four", 4)], "shifted"), scalar(g, "quarter", 4)], "spectra")
    g.output(x, ["N", bands, "frames"])
    return g, [0.1 * normal_f32(g.rng, 1, samples)]


def half_weights(small):
    """A small convolutional net whose weights are float16, each with a Cast to float32 before it is used."""
    g = Graph(56)
    channels, side, classes = ((3, 8, 16), 16, 10) if small else ((3, 32, 64, 128, 256), 64, 100)

    def widened(name, shape, std):
        return g.node("Cast", [g.normal(name, shape, std, np.float16)], f"{name}.f32", to=TensorProto.FLOAT)

    x = g.input("input", ["N", 3, side, side])
    for i, (c_in, c_out) in enumerate(zip(channels, channels[1:])):
        w = widened(f"conv{i}.weight", (c_out, c_in, 3, 3), (2 / (9 * c_in)) ** 0.5)
        b = widened(f"conv{i}.bias", c_out, 0.1)
        x = g.node("Conv", [x, w, b], f"conv{i}", kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2])
        x = g.node("Relu", [x], f"relu{i}")
    x = g.node("Flatten", [x], "flat")
    fan_in = channels[-1] * (side >> len(channels) - 1) ** 2
    w = widened("fc.weight", (classes, fan_in), fan_in**-0.5)
    g.output(g.node("Gemm", [x, w, widened("fc.bias", classes, 0.1)], "logits", transB=1), ["N", classes])
    return g, [normal_f32(g.rng, 2, 3, side, side)]


BUILDERS = [lstm, lstm_bidirectional, gru, keyword_net, speech_features, half_weights]
