#!/usr/bin/python3
"""Equal layers share kernels: what is compiled does not depend on how many there are, and each adds as many launches.

    layers.py TEGULA

Exit status: 0 passed, 1 failed, 77 Python packages are missing.
"""

import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent

sys.path += [str(ROOT / "tests"), str(ROOT / "examples/models")]
import packages  # noqa: E402

try:
    import language
except ImportError:
    packages.run_again("numpy and onnx")


def count(tegula, inner_widths):
    """The kernels and the launches of a stack of layers."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "layers.onnx")
        path.write_bytes(language.bert_stack(inner_widths, 32, 2).model("layers").SerializeToString())
        done = subprocess.run([tegula, "opt", path, "--passes=graph"], capture_output=True, text=True, check=True)
    lines = [line.split() for line in done.stdout.splitlines()]
    return tuple(sum(line[:1] == [word] for line in lines) for word in ("kernel", "launch"))


def main():
    tegula = sys.argv[1]
    equal = {n: count(tegula, [64] * n) for n in (2, 3, 12)}
    print("equal layers, their kernels and launches:", equal)
    kernels, launches = equal[2]
    each = equal[3][1] - launches
    failed = equal[12] != (kernels, launches + 10 * each) or each < 1
    others = count(tegula, range(64, 64 + 3))
    print("three with other inner widths:", others)
    failed |= others[0] <= kernels or others[1] != equal[3][1]  # the count does see kernels
    print("FAILED" if failed else "passed")
    return failed


if __name__ == "__main__":
    sys.exit(main())
