#!/usr/bin/python3
"""RNN, GRU and LSTM, compiled.

    recurrent.py values TEGULA       in many variants against onnxruntime, on one thread and on two
    recurrent.py sizes RUN_SIZES     many lengths and batches from one compilation, against the interpreter of graphs
    recurrent.py launches TEGULA     how many kernels a step launches

Exit status: 0 passed, 1 failed, 77 Python packages are missing.
"""

import copy
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent

sys.path.append(str(ROOT / "tests"))
import packages  # noqa: E402

try:
    import numpy as np
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper
except ImportError:
    packages.run_again("numpy, onnx and onnxruntime")

import compiled  # noqa: E402

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
INPUTS, HIDDEN = 5, 7


class Variant:
    """A model of one node: `given` are the optional inputs, of B L h c P; `outputs` those that are wanted."""

    def __init__(self, op, given="B", outputs=None, opset=14, layout=0, both=False, constant=True, hidden=HIDDEN,
                 **attributes):
        self.op, self.given, self.opset, self.layout, self.constant = op, given, opset, layout, constant
        self.outputs = list(outputs or ["Y", "Y_h"] + ["Y_c"] * (op == "LSTM"))
        self.directions, self.hidden = 2 if both else 1, hidden
        self.attributes = {**attributes, "hidden_size": hidden}
        if both:
            self.attributes["direction"] = "bidirectional"
        if layout:
            self.attributes["layout"] = 1

    def name(self):
        words = [self.op, self.given, *self.outputs] + [f"{k}={v}" for k, v in self.attributes.items()]
        return " ".join(map(str, words)) + ("" if self.constant else " open weights")

    def state(self, batch):
        return [batch, self.directions, self.hidden] if self.layout else [self.directions, batch, self.hidden]

    def model(self, path):
        rng, rows, d = np.random.default_rng(1), GATES[self.op] * self.hidden, self.directions
        weights = {"W": (d, rows, INPUTS), "R": (d, rows, self.hidden)}
        weights.update({"B": (d, 2 * rows)} if "B" in self.given else {})
        weights.update({"P": (d, 3 * self.hidden)} if "P" in self.given else {})
        self.arrays = {k: (rng.standard_normal(s) * 0.5).astype(np.float32) for k, s in weights.items()}
        x = ["N", "S", INPUTS] if self.layout else ["S", "N", INPUTS]
        inputs = {"X": x}
        inputs.update({"L": ["N"]} if "L" in self.given else {})
        inputs.update({k: self.state("N") for k in "hc" if k in self.given})
        inputs.update({} if self.constant else {k: v.shape for k, v in self.arrays.items()})
        values = [helper.make_tensor_value_info(k, TensorProto.INT32 if k == "L" else TensorProto.FLOAT, s)
                  for k, s in inputs.items()]
        names = ["X", "W", "R"] + [k if k in self.given else "" for k in "BLh"]
        names += [k if k in self.given else "" for k in "cP"] if self.op == "LSTM" else []
        while not names[-1]:
            names.pop()
        y = ["N", "S", d, self.hidden] if self.layout else ["S", d, "N", self.hidden]
        shapes = {"Y": y, "Y_h": self.state("N"), "Y_c": self.state("N")}
        outputs = [helper.make_tensor_value_info(k, TensorProto.FLOAT, shapes[k]) for k in self.outputs]
        every = ["Y", "Y_h"] + ["Y_c"] * (self.op == "LSTM")
        node = helper.make_node(self.op, names, [k if k in self.outputs else "" for k in every], **self.attributes)
        initializers = [numpy_helper.from_array(v, k) for k, v in self.arrays.items()] if self.constant else []
        graph = helper.make_graph([node], "g", values, outputs, initializers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)
        path.write_bytes(model.SerializeToString())
        return [v.name for v in values]

    def values(self, names, steps, batch):
        rng = np.random.default_rng(steps * 100 + batch)
        shape = (batch, steps, INPUTS) if self.layout else (steps, batch, INPUTS)
        made = {"X": rng.standard_normal(shape).astype(np.float32),
                "L": rng.integers(1, steps, batch, endpoint=True, dtype=np.int32),
                "h": rng.standard_normal(self.state(batch)).astype(np.float32),
                "c": rng.standard_normal(self.state(batch)).astype(np.float32), **self.arrays}
        return {name: made[name] for name in names}


VARIANTS = [
    Variant("LSTM", ""), Variant("LSTM", "BLhcP", both=True), Variant("LSTM", "BLhcP", direction="reverse"),
    Variant("LSTM", "Bhc", opset=7), Variant("LSTM", "B", outputs=["Y"], opset=22),
    Variant("LSTM", "BL", outputs=["Y_h"]), Variant("LSTM", "B", outputs=["Y_c"], both=True),
    Variant("LSTM", "BP", clip=0.3), Variant("LSTM", "BP", input_forget=1), Variant("LSTM", "Bh", hidden=33),
    Variant("LSTM", "BLc", constant=False),
    Variant("LSTM", "BL", activations=["HardSigmoid", "Softsign", "Relu"], activation_alpha=[0.3],
            activation_beta=[0.4]),
    Variant("LSTM", "B", both=True, activation_alpha=[0.2, 0.7], activation_beta=[0.3],
            activations=["Sigmoid", "LeakyRelu", "Tanh", "HardSigmoid", "Tanh", "Softplus"]),
    Variant("GRU", ""), Variant("GRU", "BLh", both=True), Variant("GRU", "BLh", both=True, linear_before_reset=1),
    Variant("GRU", "B", opset=7, direction="reverse"), Variant("GRU", "B", outputs=["Y"], clip=0.4),
    Variant("GRU", "", linear_before_reset=1, outputs=["Y_h"]), Variant("GRU", "BL", constant=False, hidden=33),
    Variant("GRU", "Bh", activations=["HardSigmoid", "Elu"], activation_alpha=[0.25, 0.5], activation_beta=[0.6]),
    Variant("RNN", ""), Variant("RNN", "BLh", both=True), Variant("RNN", "B", direction="reverse", outputs=["Y"]),
    Variant("RNN", "Bh", activations=["Relu"], clip=1.5, opset=7), Variant("RNN", "BL", outputs=["Y_h"]),
    Variant("RNN", "B", activations=["Affine"], activation_alpha=[0.5], activation_beta=[0.1]),
    Variant("RNN", "B", activations=["ScaledTanh"], activation_alpha=[0.5], activation_beta=[0.8]),
    Variant("RNN", "B", activations=["ThresholdedRelu"], activation_alpha=[0.4]),
]
BATCH_FIRST = [Variant("LSTM", "BLhcP", both=True, layout=1), Variant("GRU", "BLh", both=True, layout=1, opset=22),
               Variant("RNN", "h", layout=1, direction="reverse")]


def expected(variant, path, values):
    """By onnxruntime. It has no layout 1, so the steps are made the first dimension before and after."""
    if not variant.layout:
        session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
        return session.run(variant.outputs, values)
    twin = copy.copy(variant)
    twin.layout, twin.attributes = 0, {k: v for k, v in variant.attributes.items() if k != "layout"}
    path = path.with_suffix(".twin")
    twin.model(path)
    moved = {k: v.swapaxes(0, 1) if k in "Xhc" else v for k, v in values.items()}
    return [np.moveaxis(v, 2, 0) if k == "Y" else v.swapaxes(0, 1)
            for k, v in zip(variant.outputs, expected(twin, path, moved))]


def wrong_values(tegula, variant, folder):
    path = folder / "model.onnx"
    names = variant.model(path)
    for steps, batch in ((6, 3), (1, 1), (9, 20)):
        values = variant.values(names, steps, batch)
        want = expected(variant, path, values)
        have = [compiled.run(tegula, path, values, folder / f"{steps}_{batch}", threads) for threads in (1, 2)]
        if isinstance(have[0], str) or isinstance(have[1], str):
            return have[0]
        for name, w, one, two in zip(variant.outputs, want, *have):
            if one.shape != w.shape or not np.allclose(one, w, rtol=1e-4, atol=1e-5):
                return f"{name} of {steps} steps and a batch of {batch} differs by {np.abs(one - w).max():.3g}"
            if one.tobytes() != two.tobytes():
                return f"{name} of {steps} steps and a batch of {batch} is not the same on two threads"
    return None


def test_values(folder, tegula):
    bad = 0
    for i, variant in enumerate(VARIANTS + BATCH_FIRST):
        own = folder / str(i)
        own.mkdir()
        wrong = wrong_values(tegula, variant, own)
        print(f"{variant.name()}: {wrong or 'ok'}")
        bad += wrong is not None
    return 1 if bad else 0


def test_sizes(folder, run_sizes):
    bad = 0
    sizes = [f"S={s},N={n}" for s, n in ((0, 3), (3, 0), (1, 1), (0, 0), (2, 1), (5, 4), (1, 9), (3, 33))]
    for variant in VARIANTS[::3] + BATCH_FIRST:
        path = folder / "model.onnx"
        variant.model(path)
        bad += not compiled.is_right_for(variant.name(), run_sizes, path, sizes)
    return 1 if bad else 0


# Launches of a step and around the loop, copies to begin with included.
LAUNCHES = [(Variant("LSTM", "Bhc"), 2, 3), (Variant("LSTM", "BLhcP"), 2, 3), (Variant("LSTM", "B", both=True), 4, 6),
            (Variant("GRU", "BLh"), 3, 2), (Variant("GRU", "BLh", linear_before_reset=1), 2, 2),
            (Variant("RNN", "Bh"), 2, 2)]


def test_launches(folder, tegula):
    bad = 0
    for variant, each, around in LAUNCHES:
        path = folder / "model.onnx"
        variant.model(path)
        text = subprocess.run([tegula, "opt", path, "--passes=graph", "--target", "v3"], check=True,
                              stdout=subprocess.PIPE, universal_newlines=True).stdout
        host = text[re.search(r"^host ", text, re.M).start():]
        loops = re.findall(r"^  for .*?^  }", host, re.M | re.S)
        have = sum(loop.count(" launch ") for loop in loops), host.count(" launch ")
        good = have == (each, each + around)
        print(f"{variant.name()}: {have[0]} launches in loops, {have[1]} in all{'' if good else ': WRONG'}")
        bad += not good
    return 1 if bad else 0


TESTS = {"values": test_values, "sizes": test_sizes, "launches": test_launches}

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        sys.exit(TESTS[sys.argv[1]](pathlib.Path(temporary), os.path.abspath(sys.argv[2])))
