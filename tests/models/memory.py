#!/usr/bin/python3
"""Memory that compiling takes for weights, for files of three targets and in a process.

    memory.py TEGULA

Every weight is scaled by channel and then packed, so that memory might hold it as it is in the file, scaled, and packed
for each of two widths of registers. It is to hold two of them at a time, where the code is as it is for small weights.

Exit status: 0 passed, 1 failed, 77 the Python packages numpy and onnx are missing.
"""

import os
import pathlib
import sys
import tempfile

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent))
import packages  # noqa: E402

try:
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper
except ImportError:
    packages.run_again("numpy and onnx")

import compiled  # noqa: E402

LAYERS, LARGE, SMALL = 4, 2048, 64
MOST_TIMES = 2.3


def write(path, n):
    """Returns the bytes of the weights."""
    rng, nodes, weights, x = np.random.default_rng(1), [], [], "x"
    for i in range(LAYERS):
        weights += [numpy_helper.from_array(rng.standard_normal(shape, np.float32), f"{name}{i}")
                    for name, shape in (("w", (n, n)), ("s", (n,)))]
        nodes += [helper.make_node("Mul", [f"w{i}", f"s{i}"], [f"v{i}"]),
                  helper.make_node("MatMul", [x, f"v{i}"], [f"x{i}"])]
        x = f"x{i}"
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", n]) for name in ("x", x)]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return 4 * LAYERS * n * (n + 1)


def main(folder, tegula):
    models = {n: folder / f"{n}.onnx" for n in (SMALL, LARGE)}
    weights = {n: write(path, n) for n, path in models.items()}
    bad = 0
    for what, command in {"compile": lambda path: ["compile", path, "-o", path.with_suffix(".so")],
                          "run": lambda path: ["run", path, "--dim", "N=1"]}.items():
        peaks = {n: compiled.peak_bytes(tegula, *command(path)) for n, path in models.items()}
        times = (peaks[LARGE] - peaks[SMALL]) / (weights[LARGE] - weights[SMALL])
        good = times <= MOST_TIMES
        print(f"{what}: {times:.2f} times the weights{'' if good else ': WRONG'}")
        bad += not good
    return 1 if bad else 0


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        sys.exit(main(pathlib.Path(temporary), os.path.abspath(sys.argv[1])))
