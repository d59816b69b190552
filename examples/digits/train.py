#!/usr/bin/env python3
"""Trains the digit classifier and writes digits.onnx and samples/ beside this file, or into the folder given.

    train.py [OUTDIR]

Needs only numpy and onnx. The data are drawn here: each digit is a few polylines (several ways of writing it), bent,
rotated, sheared, scaled, and rasterised with anti-aliasing. The network is a small CNN with its gradients by hand.
Everything is seeded; another BLAS may still change the last bits of the weights.
"""

import pathlib
import sys
import time

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE = 28
SEGMENTS = 48  # every digit is resampled to so many line segments
CLASSES = 10
HIDDEN = 64
SAMPLE_DIGITS = (0, 2, 3, 5, 7, 9)


# Strokes, in a box of x 0..1 and y 0..1 with y downwards. A variant is a list of strokes, a stroke a list of points.


def arc(cx, cy, rx, ry, start, end, steps=14):
    """An elliptic arc in degrees: 0 is right, 90 is down."""
    return [(cx + rx * np.cos(a), cy + ry * np.sin(a)) for a in np.radians(np.linspace(start, end, steps))]


DIGITS = {
    0: [
        [arc(0.5, 0.5, 0.36, 0.5, -90, 270, 28)],
        [arc(0.5, 0.5, 0.25, 0.5, -70, 290, 28)],
        [arc(0.5, 0.5, 0.42, 0.46, -110, 235, 28)],
    ],
    1: [
        [[(0.5, 0.0), (0.5, 1.0)]],
        [[(0.3, 0.22), (0.52, 0.0), (0.52, 1.0)]],
        [[(0.3, 0.2), (0.5, 0.0), (0.5, 1.0)], [(0.28, 1.0), (0.72, 1.0)]],
    ],
    2: [
        [arc(0.48, 0.28, 0.34, 0.28, 190, 390) + [(0.14, 1.0), (0.88, 1.0)]],
        [arc(0.45, 0.26, 0.32, 0.26, 200, 400) + [(0.4, 0.75), (0.12, 0.97), (0.3, 0.88), (0.62, 1.0), (0.9, 0.93)]],
        [arc(0.45, 0.3, 0.36, 0.3, 200, 380) + arc(0.26, 0.9, 0.12, 0.1, 20, -280, 10) + [(0.6, 0.98), (0.9, 0.96)]],
    ],
    3: [
        [arc(0.45, 0.25, 0.32, 0.25, 200, 445) + arc(0.45, 0.74, 0.36, 0.26, -90, 155)],
        [[(0.14, 0.0), (0.8, 0.0), (0.42, 0.4)] + arc(0.44, 0.7, 0.36, 0.3, -95, 150)],
        [arc(0.45, 0.24, 0.36, 0.24, 190, 430) + [(0.4, 0.48)] + arc(0.42, 0.74, 0.42, 0.26, -75, 165)],
    ],
    4: [
        [[(0.62, 0.0), (0.1, 0.66), (0.92, 0.66)], [(0.68, 0.34), (0.68, 1.0)]],
        [[(0.68, 1.0), (0.68, 0.0), (0.1, 0.66), (0.92, 0.66)]],
        [[(0.2, 0.0), (0.16, 0.5), (0.82, 0.5)], [(0.78, 0.0), (0.72, 1.0)]],
        [[(0.22, 0.05), (0.14, 0.4), (0.3, 0.55), (0.76, 0.46)], [(0.82, 0.0), (0.66, 1.0)]],
    ],
    5: [
        [[(0.84, 0.0), (0.24, 0.0), (0.2, 0.44)] + arc(0.46, 0.68, 0.36, 0.31, -125, 150)],
        [[(0.26, 0.04), (0.2, 0.44)] + arc(0.44, 0.69, 0.36, 0.31, -115, 150), [(0.26, 0.04), (0.86, 0.0)]],
        [[(0.82, 0.02), (0.34, 0.02), (0.24, 0.4), (0.5, 0.42)] + arc(0.48, 0.7, 0.3, 0.28, -70, 130) + [(0.12, 0.98)]],
    ],
    6: [
        [[(0.7, 0.0), (0.36, 0.28)] + arc(0.48, 0.7, 0.34, 0.3, 190, -190, 24)],
        [[(0.56, 0.0), (0.24, 0.4)] + arc(0.46, 0.72, 0.3, 0.27, 185, -160, 24)],
        [arc(0.62, 0.5, 0.48, 0.5, 280, 180, 10) + arc(0.46, 0.73, 0.32, 0.26, 170, -170, 24)],
    ],
    7: [
        [[(0.1, 0.0), (0.88, 0.0), (0.4, 1.0)]],
        [[(0.1, 0.02), (0.86, 0.0), (0.36, 1.0)], [(0.3, 0.5), (0.82, 0.5)]],
        [[(0.12, 0.16), (0.14, 0.02), (0.86, 0.02), (0.58, 0.45), (0.48, 1.0)]],
        [[(0.1, 0.06), (0.5, 0.1), (0.84, 0.0), (0.6, 0.5), (0.54, 1.0)]],
    ],
    8: [
        [arc(0.5, 0.25, 0.28, 0.25, 90, 450, 20), arc(0.5, 0.75, 0.34, 0.25, -90, 270, 20)],
        [[(0.78, 0.1)] + arc(0.48, 0.24, 0.28, 0.24, -50, -200, 12) + [(0.5, 0.48)]
         + arc(0.5, 0.75, 0.32, 0.25, -40, 220, 16) + [(0.5, 0.48), (0.78, 0.1)]],
        [arc(0.5, 0.24, 0.24, 0.24, 90, 450, 20), arc(0.48, 0.74, 0.3, 0.26, -80, 280, 20)],
    ],
    9: [
        [arc(0.48, 0.3, 0.32, 0.3, 0, -360, 24) + [(0.78, 0.6), (0.7, 1.0)]],
        [arc(0.48, 0.28, 0.32, 0.28, -20, -340, 24) + [(0.8, 0.05), (0.78, 1.0)]],
        [arc(0.5, 0.3, 0.32, 0.3, 0, -360, 24) + arc(0.42, 0.6, 0.4, 0.4, 0, 130, 12)],
    ],
}


def segments(variant):
    """The variant's strokes as [SEGMENTS, 2 ends, 2 coordinates], shared out by length."""
    strokes = [np.array(stroke, float) for stroke in variant]
    lengths = [np.r_[0, np.cumsum(np.hypot(*np.diff(s, axis=0).T))] for s in strokes]
    total = sum(length[-1] for length in lengths)
    counts = [max(2, int(SEGMENTS * length[-1] / total)) for length in lengths]
    counts[int(np.argmax(counts))] += SEGMENTS - sum(counts)
    parts = []
    for stroke, length, count in zip(strokes, lengths, counts):
        at = np.linspace(0, length[-1], count + 1)
        points = np.stack([np.interp(at, length, stroke[:, axis]) for axis in (0, 1)], axis=1)
        parts.append(np.stack([points[:-1], points[1:]], axis=1))
    return np.concatenate(parts)


VARIANTS = [(digit, segments(variant)) for digit, variants in DIGITS.items() for variant in variants]


def draw(rng, count):
    """count random digits: images float32 [count, 1, 28, 28] in 0..1, labels int64 [count]. Classes are balanced."""
    labels = rng.permutation(np.arange(count) % CLASSES)
    of_digit = [[segs for d, segs in VARIANTS if d == digit] for digit in range(CLASSES)]
    images = np.empty((count, 1, SIDE, SIDE), np.float32)
    ys, xs = np.mgrid[0:SIDE, 0:SIDE]
    pixels = np.stack([xs, ys], axis=-1).reshape(-1, 2).astype(np.float32) + np.float32(0.5)
    pixels2 = (pixels * pixels).sum(1, keepdims=True)
    for i, digit in enumerate(labels):
        strokes = of_digit[digit][rng.integers(len(of_digit[digit]))] - 0.5
        # An unsteady hand: a slow wave along each axis, the same for both ends that meet at a point.
        phase = strokes @ rng.normal(0, 3, (2, 2)) + rng.uniform(0, 2 * np.pi, 2)
        strokes = strokes + 0.045 * np.sin(phase)
        turn, shear = rng.normal(0, 0.13), rng.normal(0, 0.16)
        width, height = rng.uniform(10, 17), rng.uniform(15, 21)
        rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        strokes = strokes @ (rotation @ np.array([[1, -shear], [0, 1]]) @ np.diag([width, height])).T
        strokes = (strokes + SIDE / 2 + rng.normal(0, 1.3, 2)).astype(np.float32)

        start, along = strokes[:, 0], strokes[:, 1] - strokes[:, 0]
        length2 = np.maximum((along * along).sum(1), np.float32(1e-6))
        reach = pixels @ along.T - (start * along).sum(1)  # (pixel - start) . along, [784, SEGMENTS]
        t = np.clip(reach / length2, 0, 1)
        from_start2 = pixels2 - 2 * (pixels @ start.T) + (start * start).sum(1)
        distance = np.sqrt(np.maximum((from_start2 + t * (t * length2 - 2 * reach)).min(axis=1), 0))
        ink = np.clip(rng.uniform(0.7, 1.7) + 0.5 - distance, 0, 1) * rng.uniform(0.75, 1)
        ink += rng.normal(0, rng.uniform(0, 0.06), ink.shape)
        images[i, 0] = np.clip(ink, 0, 1).reshape(SIDE, SIDE)
    return images, labels


# The network: Conv3x3(8) Relu MaxPool Conv3x3(16) Relu MaxPool Flatten Gemm(64) Relu Gemm(10), all NCHW.


def columns(x):
    """im2col of a 3x3 window with padding 1: [N, C, H, W] to [N, C*9, H*W]."""
    n, c, h, w = x.shape
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    out = np.empty((n, c, 3, 3, h, w), np.float32)
    for dy in range(3):
        for dx in range(3):
            out[:, :, dy, dx] = padded[:, :, dy : dy + h, dx : dx + w]
    return out.reshape(n, c * 9, h * w)


def columns_grad(grad, c, h, w):
    """The adjoint of columns: adds each window's gradient back where it was read."""
    grad = grad.reshape(-1, c, 3, 3, h, w)
    padded = np.zeros((len(grad), c, h + 2, w + 2), np.float32)
    for dy in range(3):
        for dx in range(3):
            padded[:, :, dy : dy + h, dx : dx + w] += grad[:, :, dy, dx]
    return padded[:, :, 1:-1, 1:-1]


def conv_relu_pool(x, weight, bias):
    n, _, h, w = x.shape
    cols = columns(x)
    act = np.maximum(weight.reshape(len(weight), -1) @ cols + bias[:, None], 0)
    quads = act.reshape(n, -1, h // 2, 2, w // 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(n, -1, h // 2, w // 2, 4)
    winner = quads.argmax(axis=-1)
    pooled = np.take_along_axis(quads, winner[..., None], axis=-1)[..., 0]
    return pooled, (cols, winner, pooled > 0)


def conv_relu_pool_grad(grad, saved, weight):
    """Gradients of the weight, the bias, and the columns."""
    cols, winner, positive = saved
    n, c, h, w = grad.shape
    quads = np.zeros((n, c, h, w, 4), np.float32)
    np.put_along_axis(quads, winner[..., None], (grad * positive)[..., None], axis=-1)
    act = quads.reshape(n, c, h, w, 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(n, c, -1)
    flat = weight.reshape(c, -1)
    return (act @ cols.transpose(0, 2, 1)).sum(0).reshape(weight.shape), act.sum((0, 2)), flat.T @ act


def initial(rng):
    def he(*shape):
        return (rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)

    flat = 16 * (SIDE // 4) ** 2
    weights = {"conv1": he(8, 1, 3, 3), "conv2": he(16, 8, 3, 3), "fc1": he(HIDDEN, flat), "fc2": he(CLASSES, HIDDEN)}
    params = {}
    for name, weight in weights.items():
        params[name + ".weight"], params[name + ".bias"] = weight, np.zeros(len(weight), np.float32)
    return params


def forward(p, x):
    pool1, saved1 = conv_relu_pool(x, p["conv1.weight"], p["conv1.bias"])
    pool2, saved2 = conv_relu_pool(pool1, p["conv2.weight"], p["conv2.bias"])
    flat = pool2.reshape(len(x), -1)
    hidden = np.maximum(flat @ p["fc1.weight"].T + p["fc1.bias"], 0)
    return hidden @ p["fc2.weight"].T + p["fc2.bias"], (saved1, pool1, saved2, pool2, flat, hidden)


def loss_and_grads(p, x, labels):
    """Mean cross-entropy of the batch and its gradient by each parameter."""
    logits, (saved1, pool1, saved2, pool2, flat, hidden) = forward(p, x)
    prob = np.exp(logits - logits.max(axis=1, keepdims=True))
    prob /= prob.sum(axis=1, keepdims=True)
    rows = np.arange(len(x))
    loss = -np.log(prob[rows, labels] + 1e-12).mean()
    prob[rows, labels] -= 1
    top = prob / len(x)
    g = {"fc2.weight": top.T @ hidden, "fc2.bias": top.sum(0)}
    mid = (top @ p["fc2.weight"]) * (hidden > 0)
    g["fc1.weight"], g["fc1.bias"] = mid.T @ flat, mid.sum(0)
    down = (mid @ p["fc1.weight"]).reshape(pool2.shape)
    g["conv2.weight"], g["conv2.bias"], cols = conv_relu_pool_grad(down, saved2, p["conv2.weight"])
    down = columns_grad(cols, *pool1.shape[1:])
    g["conv1.weight"], g["conv1.bias"], _ = conv_relu_pool_grad(down, saved1, p["conv1.weight"])
    return loss, g


def accuracy(p, x, labels):
    right = sum((forward(p, x[i : i + 500])[0].argmax(1) == labels[i : i + 500]).sum() for i in range(0, len(x), 500))
    return right / len(x)


def train(rng, x, labels, epochs=6, batch=64, rate=2e-3):
    """Adam (Kingma and Ba, 2015) with a learning rate that falls to zero along a cosine."""
    p = initial(rng)
    first = {k: np.zeros_like(v) for k, v in p.items()}
    second = {k: np.zeros_like(v) for k, v in p.items()}
    steps, step = epochs * (len(x) // batch), 0
    for epoch in range(epochs):
        order, total = rng.permutation(len(x)), 0.0
        for i in range(0, len(x) - batch + 1, batch):
            pick = order[i : i + batch]
            loss, grads = loss_and_grads(p, x[pick], labels[pick])
            step, total = step + 1, total + loss
            lr = rate * 0.5 * (1 + np.cos(np.pi * step / steps))
            for k, grad in grads.items():
                first[k] = 0.9 * first[k] + 0.1 * grad
                second[k] = 0.999 * second[k] + 0.001 * grad * grad
                update = first[k] / (1 - 0.9**step) / (np.sqrt(second[k] / (1 - 0.999**step)) + 1e-8)
                p[k] = (p[k] - lr * update).astype(np.float32)
        print(f"epoch {epoch + 1}: loss {total / (len(x) // batch):.4f}", flush=True)
    return p


def export(p, path):
    def node(op, inputs, output, **attributes):
        return helper.make_node(op, inputs, [output], name=output, **attributes)

    same = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    half = {"kernel_shape": [2, 2], "strides": [2, 2]}
    nodes = [
        node("Conv", ["image", "conv1.weight", "conv1.bias"], "conv1", **same),
        node("Relu", ["conv1"], "relu1"),
        node("MaxPool", ["relu1"], "pool1", **half),
        node("Conv", ["pool1", "conv2.weight", "conv2.bias"], "conv2", **same),
        node("Relu", ["conv2"], "relu2"),
        node("MaxPool", ["relu2"], "pool2", **half),
        node("Flatten", ["pool2"], "flat", axis=1),
        node("Gemm", ["flat", "fc1.weight", "fc1.bias"], "fc1", transB=1),
        node("Relu", ["fc1"], "relu3"),
        node("Gemm", ["relu3", "fc2.weight", "fc2.bias"], "logits", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASSES])],
        [numpy_helper.from_array(value, name) for name, value in p.items()],
    )
    model = helper.make_model(
        graph, producer_name="tegula-examples", opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def write_samples(folder, x, labels):
    """The first held-out image of each sample digit, as P5 and as the same 256 levels in float32 [1, 1, 28, 28]."""
    folder.mkdir(exist_ok=True)
    for digit in SAMPLE_DIGITS:
        grey = np.rint(x[np.flatnonzero(labels == digit)[0], 0] * 255).astype(np.uint8)
        (folder / f"digit_{digit}.pgm").write_bytes(b"P5\n%d %d\n255\n" % (SIDE, SIDE) + grey.tobytes())
        np.save(folder / f"digit_{digit}.npy", (grey / np.float32(255)).astype(np.float32).reshape(1, 1, SIDE, SIDE))


def main():
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent
    out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    images, labels = draw(np.random.default_rng(1), 12000)
    held_images, held_labels = draw(np.random.default_rng(2), 4000)
    print(f"drew {len(images)} + {len(held_images)} digits in {time.monotonic() - started:.0f} s", flush=True)
    params = train(np.random.default_rng(3), images, labels)
    print(f"held-out accuracy {100 * accuracy(params, held_images, held_labels):.2f} % of {len(held_labels)}")
    export(params, out / "digits.onnx")
    write_samples(out / "samples", held_images, held_labels)
    print(f"wrote {out / 'digits.onnx'} in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
