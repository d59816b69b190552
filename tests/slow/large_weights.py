#!/usr/bin/python3
"""A model with 2.4 GB of weights, which 32 bits do not reach: in a shared object, and in a file beside it.

    large_weights.py TEGULA

Exit status: 0 passed, 1 failed, 77 Python packages or the disk's space are missing.
"""

import pathlib
import shutil
import subprocess
import sys
import tempfile

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent))
import packages  # noqa: E402

try:
    import numpy as np
    import onnx
    from onnx import TensorProto, helper
except ImportError:
    packages.run_again("numpy and onnx")

ROWS, COLUMNS = 600000, 1024
TABLE_BYTES = 4 * ROWS * COLUMNS
FILLED = {0: 1, ROWS // 2: 2, ROWS - 1: 3}  # other rows are zeros, which take no room on the disk


def external(name, shape, offset):
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape, data_location=TensorProto.EXTERNAL)
    for key, value in {"location": "large.bin", "offset": offset, "length": 4 * int(np.prod(shape))}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def make_model(folder):
    """Rows of a table that `i` names, plus a vector that lies behind the table."""
    with open(folder / "large.bin", "wb") as file:
        for row, value in FILLED.items():
            file.seek(4 * row * COLUMNS)
            file.write(np.full(COLUMNS, value, np.float32).tobytes())
        file.seek(TABLE_BYTES)
        file.write(np.arange(COLUMNS, dtype=np.float32).tobytes())
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "i"], ["rows"]), helper.make_node("Add", ["rows", "bias"], ["y"])], "g",
        [helper.make_tensor_value_info("i", TensorProto.INT64, ["N"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", COLUMNS])],
        [external("table", [ROWS, COLUMNS], 0), external("bias", [COLUMNS], TABLE_BYTES)])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "large.onnx")
    np.save(folder / "i.npy", np.array([*FILLED, 1]))
    return np.array([*FILLED.values(), 0])[:, None] + np.arange(COLUMNS, dtype=np.float32)


def main(folder, tegula):
    want, bad = make_model(folder), 0
    for name, options in {"inside": [], "beside": ["--weights", folder / "beside.weights"]}.items():
        library = folder / f"{name}.so"
        subprocess.run([tegula, "compile", folder / "large.onnx", "-o", library, "--target=v2,v3", *options], check=True)
        subprocess.run([tegula, "run", library, "-i", f"i={folder / 'i.npy'}", "--output-dir", folder / name], check=True)
        good = np.array_equal(np.load(folder / name / "output_0.npy"), want)
        print(f"{name}: {'ok' if good else 'wrong numbers'}")
        bad += not good
        library.unlink()
    return 1 if bad else 0


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        if shutil.disk_usage(temporary).free < 4 * TABLE_BYTES:
            print("SKIP hardware: the disk is too full")
            sys.exit(77)
        sys.exit(main(pathlib.Path(temporary), sys.argv[1]))
