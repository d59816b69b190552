#!/usr/bin/python3
"""Open sizes that may be 1 and then broadcast, or must be multiples: one compilation against the interpreter of graphs, at many sizes.

    broadcast.py RUN_SIZES

Exit status: 0 passed, 1 failed, 77 the onnx package is missing.
"""

import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent

sys.path.append(str(ROOT / "tests"))
import packages  # noqa: E402

try:
    import onnx
    import onnx.parser
except ImportError:
    packages.run_again("onnx")

PAIRS = [(5, 5), (5, 1), (1, 5), (1, 1), (0, 1), (1, 0), (0, 0), (70, 1), (1, 70), (70, 70)]
BOTH = [f"N={n},M={m}" for n, m in PAIRS]
# Rows and columns; columns that take several vectors and a rest.
MATRICES = [f"N={n},M={m},S={37 * s},T={37 * t}" if s > 1 and t > 1 else f"N={n},M={m},S={s},T={t}"
            for n, m in ((3, 3), (3, 1), (1, 3)) for s, t in PAIRS]
FOUR = [f"N={n},M={m}" for n, m in ((4, 4), (4, 1), (1, 4), (1, 1))]

MODELS = {
    "outer": (BOTH, """g (float[N, 4] x, float[M, 4] y) => (float[A, 4] z, float[A, 4] w) {
        s = Add(x, y)
        z = Relu(s)
        w = Mul(z, x)
    }"""),
    "inner": (MATRICES, """g (float[N, S] x, float[M, T] y) => (float[A, B] z, float[C, D] s, float[E, F] t) {
        z = Sub(x, y)
        s = Softmax<axis = 1>(z)
        t = Transpose<perm = [1, 0]>(z)
    }"""),
    "three": ([f"N={n},M={m},K={k}" for n in (1, 6) for m in (1, 6) for k in (1, 6)],
              """g (float[N, 2] x, float[M, 2] y, float[K, 1] t) => (float[A, 2] z, float[B, 2] w) {
        c = Greater(t, x)
        z = Where(c, x, y)
        w = Sum(x, y, t)
    }"""),
    "constant": (FOUR, """g (float[3, N] x, float[M] y) => (float[3, A] z, float[B] w) {
        k = Constant<value_floats = [1.0, -2.0, 3.0, 0.5]>()
        z = Add(x, k)
        w = Mul(k, y)
    }"""),
    "matmul": (BOTH, """g (float[N, 5, 6] x, float[M, 6, 7] y) => (float[A, 5, 7] z) {
        s = MatMul(x, y)
        z = Relu(s)
    }"""),
    "expand": (BOTH, """g (float[N, 3] x, float[M, 3] y) => (float[A, 3] z, float[B, C] f) {
        s = Shape(y)
        e = Expand(x, s)
        z = Neg(e)
        flat = Constant<value_ints = [1, -1]>()
        f = Reshape(e, flat)
    }"""),
    "one way": ([f"N={n},M={m},S={s},T={t}" for n, m in ((5, 5), (5, 1), (1, 1), (0, 1), (0, 0))
                 for s, t in ((40, 40), (40, 1), (1, 1))],
                """g (float[N, 6] x, float[6, S] y, float[M, T] c, float[T] scale)
        => (float[N, S] z, float[N, S] w) {
        z = Gemm(x, y, c)
        w = LayerNormalization(z, scale)
    }"""),
    "multiples": ([f"N={n},C={c},H={h},W={w}" for n, c, h, w in ((2, 4, 6, 8), (1, 8, 2, 2), (0, 4, 2, 4), (3, 12, 10, 34))],
                  """g (float[N, C, H, W] x, float[C] scale) => (float[N, A, B, D] y, float[N, E, F, G] z,
                                                                 float[N, C, H, W] w) {
        y = SpaceToDepth<blocksize = 2>(x)
        z = DepthToSpace<blocksize = 2, mode = "CRD">(x)
        g = GroupNormalization<num_groups = 2>(x, scale, scale)
        b = DepthToSpace<blocksize = 2>(y)
        s = Add(g, b)
        w = Add(s, x)
    }"""),
    "scores": ([f"N={n},M={m},S=9,T={t}" for n, m in ((2, 2), (2, 1), (1, 2)) for t in (9, 1)],
               """g (float[N, 4, S, 8] q, float[N, 4, S, 8] k, float[M, 1, T, T] mask) => (float[A, 4, S, S] z) {
        t = Transpose<perm = [0, 1, 3, 2]>(k)
        s = MatMul(q, t)
        m = Add(s, mask)
        z = Softmax<axis = -1>(m)
    }"""),
}


def main():
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, (sizes, text) in MODELS.items():
            path = os.path.join(folder, name.replace(" ", "_") + ".onnx")
            model = onnx.parser.parse_model('<ir_version: 10, opset_import: ["" : 21]>\n' + text)
            with open(path, "wb") as file:
                file.write(model.SerializeToString())
            for target in ("native", "v2"):  # with and without loads that take a mask
                result = subprocess.run([sys.argv[1], path, target, *sizes], stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, universal_newlines=True)
                lines = result.stdout.splitlines()
                good = result.returncode == 0 and sum(line.endswith(": ok") for line in lines) == len(sizes)
                print(f"{name}: {len(sizes)} runs" if good else "\n  ".join([f"{name} for {target}:"] + lines))
                bad += not good
    return 1 if bad else 0


sys.exit(main())
