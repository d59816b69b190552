#!/usr/bin/python3
"""Random Resize and ConvTranspose nodes, alone and between convolutions, compiled, against onnxruntime.

    images.py TEGULA [--seed N] [--count N] [--keep DIR]

Half of the models leave batch and spatial sizes open. Exit status: 0 passed, 1 failed, 77 Python packages are missing.
"""

import argparse
import os
import pathlib
import random
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent

sys.path.append(str(ROOT / "tests"))
import packages  # noqa: E402

try:
    import numpy as np
    import onnx
    import onnx.printer
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper
except ImportError:
    packages.run_again("numpy, onnx and onnxruntime")

NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
COORDINATES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")


class Case:
    """One node, its input, and what may stand before and after it."""

    def __init__(self, seed):
        self.rng, self.data = random.Random(seed), np.random.default_rng(seed)
        self.nodes, self.weights, self.opset = [], [], 18
        self.open = self.rng.random() < 0.5
        self.rank = self.rng.choice((1, 2, 2, 2, 3))
        self.channels = self.rng.choice((1, 3, 8, 33))
        self.sizes = [self.rng.choice((1, 2, 3, 5, 8, 17)) for _ in range(self.rank)]
        self.shape = [self.rng.choice((1, 2)), self.channels] + self.sizes
        self.last = "x"
        if self.rank == 2 and self.rng.random() < 0.5:
            self.conv()
        self.rng.choice((self.resize, self.resize, self.resize_old, self.conv_transpose, self.conv_transpose))()
        if self.rng.random() < 0.3:
            self.node("Relu", [self.last])
        if self.rank == 2 and self.rng.random() < 0.4:
            self.conv()

    def weight(self, array):
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def node(self, op, inputs, **attributes):
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], **attributes))
        self.last = name

    def random(self, *shape):
        return self.data.uniform(-1, 1, shape).astype(np.float32)

    def conv(self):
        filters, size = self.rng.choice((4, 16)), self.rng.choice((1, 3))
        self.node("Conv", [self.last, self.weight(self.random(filters, self.channels, size, size))],
                  pads=[size // 2] * 4)
        self.channels = filters

    def resize(self):
        r = self.rng
        mode = r.choice(("nearest", "nearest", "linear", "linear", "cubic") if self.rank == 2 else ("nearest", "linear"))
        attributes = {"mode": mode, "coordinate_transformation_mode": r.choice(COORDINATES)}
        if mode == "nearest":
            attributes["nearest_mode"] = r.choice(NEAREST)
        if mode == "cubic":
            attributes["cubic_coeff_a"] = r.choice((-0.5, -0.75))
            attributes["exclude_outside"] = r.choice((0, 1))
        # onnxruntime takes scales that are no whole numbers to give sizes that are, with align_corners.
        exact = attributes["coordinate_transformation_mode"] == "align_corners"
        if r.random() < 0.5:
            scales = [r.choice((1, 2, 2, 3) if exact else (0.5, 0.7, 1, 1.5, 2, 2, 3)) for _ in range(self.rank)]
            scales = [s if int(s * n) else 2 for s, n in zip(scales, self.sizes)]
            inputs = [self.last, "", self.weight(np.array([1, 1] + scales, np.float32))]
        elif self.open:  # as exporters have it: sizes computed from others
            factor = self.weight(np.array([1, 1] + [r.choice((1, 2, 3)) for _ in range(self.rank)]))
            last = self.last
            self.node("Shape", [last])
            self.node("Mul", [self.last, factor])
            inputs = [last, "", "", self.last]
        else:
            attributes["axes"] = [2 + d for d in range(self.rank)]
            inputs = [self.last, "", "", self.weight(np.array([r.choice((1, 3, 7, 10, 16)) for _ in range(self.rank)]))]
        self.node("Resize", inputs, **attributes)

    def resize_old(self):
        """Before version 11: a mode and scales."""
        r = self.rng
        self.opset = r.choice((7, 9, 10))
        sizes = (1, 2, 2, 3) if self.opset < 10 else (0.5, 1, 2, 2, 3)
        scales = [1, 1] + [r.choice(sizes) for _ in range(self.rank)]
        scales = [float(s) if int(s * n) else 2.0 for s, n in zip(scales, self.shape)]
        # onnxruntime interpolates rows and columns only.
        attributes = {"mode": r.choice(("nearest", "linear")) if self.rank == 2 else "nearest"}
        if self.opset == 7:
            self.node("Upsample", [self.last], scales=scales, **attributes)
        else:
            self.node("Upsample" if self.opset == 9 else "Resize", [self.last, self.weight(np.array(scales, np.float32))],
                      **attributes)

    def conv_transpose(self):
        r = self.rng
        # Groups in three dimensions are more than the lowering walks.
        groups = r.choice([1, 1] + [g for g in (2, 3, 8) if self.channels % g == 0 and self.rank < 3])
        filters = r.choice((1, 3, 16))
        kernel, strides = [[r.choice(c) for _ in range(self.rank)] for c in ((1, 2, 3, 4, 5), (1, 2, 2, 3))]
        if r.random() < 0.3:
            kernel = strides
        attributes = {"strides": strides, "group": groups}
        if r.random() < 0.3:
            attributes["dilations"] = [r.choice((1, 2)) for _ in range(self.rank)]
        dilations = attributes.get("dilations", [1] * self.rank)
        inputs = [self.last, self.weight(self.random(self.channels, filters, *kernel))]
        if r.random() < 0.5:
            inputs.append(self.weight(self.random(filters * groups)))
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations)]
        how = r.choice(("pads", "pads", "output_padding", "same", ""))
        if how == "same" and all(a >= s for a, s in zip(reach, strides)):
            attributes["auto_pad"] = r.choice(("SAME_UPPER", "SAME_LOWER"))
        elif how == "pads":
            # Something is left of an input of one element.
            attributes["pads"] = [min((a - 1) // 2, r.choice((0, 1, 2))) for a in reach + reach]
        elif how == "output_padding":
            attributes["output_padding"] = [r.randrange(s) for s in strides]
        self.node("ConvTranspose", inputs, **attributes)
        self.channels = filters * groups

    def model(self):
        names = ["N", self.shape[1]] + ["D", "H", "W"][-self.rank:]
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, names if self.open else self.shape)
        y = helper.make_tensor_value_info(self.last, TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "images", [x], [y], self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=9)


def check(tegula, folder, seed):
    """What is wrong, "" if nothing is, None if onnxruntime cannot say."""
    case = Case(seed)
    model, x = case.model(), case.random(*case.shape)
    (folder / "in").mkdir(parents=True)
    np.save(folder / "in" / "input_0.npy", x)
    onnx.save(model, folder / "model.onnx")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        want = session.run(None, {"x": x})[0]
    except Exception as e:  # what it does not have
        return None if "NOT_IMPLEMENTED" in str(e) or "NotImplemented" in str(e) else f"onnxruntime: {str(e)[:300]}"
    result = subprocess.run([tegula, "run", folder / "model.onnx", "--input-dir", folder / "in", "--output-dir",
                             folder / "out"], capture_output=True, text=True)
    if result.returncode:
        return result.stderr.strip()
    have = np.load(next((folder / "out").iterdir()))
    if have.shape != want.shape:
        return f"the shape is {have.shape}, not {want.shape}"
    if not np.allclose(have, want, rtol=1e-3, atol=1e-4 * np.abs(want).max(initial=0)):
        return f"differs by up to {np.abs(have - want).max():.3g}; the magnitude is {np.abs(want).max():.3g}"
    return ""


def main():
    p = argparse.ArgumentParser()
    p.add_argument("tegula")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--count", type=int, default=40)
    p.add_argument("--keep", type=pathlib.Path)
    o = p.parse_args()
    bad = compared = 0
    with tempfile.TemporaryDirectory() as temporary:
        for seed in range(o.seed, o.seed + o.count):
            wrong = check(os.path.abspath(o.tegula), (o.keep or pathlib.Path(temporary)) / str(seed), seed)
            compared += wrong is not None
            if wrong:
                nodes = ", ".join(onnx.printer.to_text(n) for n in Case(seed).nodes)
                print(f"seed {seed} of {Case(seed).shape}{' open' if Case(seed).open else ''}: {wrong}\n    {nodes}")
                bad += 1
    print(f"{compared} models compared, {bad} wrong")
    return 1 if bad or compared < o.count // 2 else 0


sys.exit(main())
