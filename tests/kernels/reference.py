"""Compares compiled example kernels with numpy in f64, an implementation that shares nothing with the compiler.

    reference.py TEGULA TARGET [KERNEL]

Each kernel is compiled to a shared object and its launcher called: pointers and scalars in the order of the parameters, then
the sizes in the order in which they first appear. Levels that this machine lacks are not run.
"""

import ctypes
import os
import subprocess
import sys
import tempfile

import numpy as np

KERNELS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "examples", "kernels")
rng = np.random.default_rng(7)


class Library:
    def __init__(self, tegula, target, folder):
        self.tegula, self.target, self.folder, self.made = tegula, target, folder, {}

    def call(self, name, defines, args, sizes):
        """Runs kernel `name`; args are arrays and ctypes scalars, sizes integers."""
        key = (name, tuple(sorted(defines.items())))
        if key not in self.made:
            path = os.path.join(self.folder, f"k{len(self.made)}.so")
            command = [self.tegula, "kernel", f"{KERNELS}/{name}.tile", "-o", path, "--target", self.target]
            for item in defines.items():
                command += ["-D", "%s=%s" % item]
            subprocess.run(command, check=True)
            self.made[key] = getattr(ctypes.CDLL(path), name)
        values = []
        for x in args:
            if isinstance(x, np.ndarray):
                assert x.flags["C_CONTIGUOUS"]
                values.append(ctypes.c_void_p(x.ctypes.data))
            else:
                values.append(x)
        status = self.made[key](*values, *[ctypes.c_int64(n) for n in sizes])
        assert status == 0, f"{name}: status {status}"


def random(*shape, dtype=np.float32):
    return rng.standard_normal(shape).astype(dtype)


def close(what, have, want, tolerance=2e-5):
    want = np.asarray(want, np.float64)
    have = np.asarray(have, np.float64)
    assert have.shape == want.shape, what
    same = (have == want) | (np.isnan(have) & np.isnan(want))
    with np.errstate(invalid="ignore"):
        error = np.where(same, 0, np.abs(have - want) / np.maximum(1, np.abs(want)))
    worst = float(error.max(initial=0))
    assert worst <= tolerance, f"{what}: error {worst:.3g}"  # also when it is NaN
    print(f"{what}: {worst:.2g}")


def erf(x):
    from math import erf as one
    return np.vectorize(one, otypes=[np.float64])(x)


def gelu(x):
    return 0.5 * x * (1 + erf(x / np.sqrt(2)))


def test_matmul(lib):
    acts = {"identity": lambda x: x, "relu": lambda x: np.maximum(x, 0), "gelu": gelu, "tanh": np.tanh}
    for act, f in acts.items():
        for m, n, k in ((1, 1, 1), (37, 45, 61), (130, 65, 33), (3, 5, 0)):
            a, b, bias, c = random(m, k), random(k, n), random(n), random(m, n)
            lib.call("matmul", {"ACT": act}, [a, b, bias, c], [m, k, n])
            close(f"matmul {act} {m}x{n}x{k}", c, f(a.astype(float) @ b + bias), 1e-4)
    m, n, k = 37, 45, 61
    a, b, bias, c = (random(*s, dtype=np.float16) for s in ((m, k), (k, n), (n,), (m, n)))
    lib.call("matmul", {"T": "f16", "BM": 5, "BN": 17, "BK": 3}, [a, b, bias, c], [m, k, n])
    close("matmul f16", c, a.astype(float) @ b + bias, 2e-3)


def test_batched_matmul(lib):
    for z, m, n, k in ((1, 1, 1, 1), (3, 19, 37, 33), (2, 97, 129, 8)):
        a, b, c = random(z, m, k), random(z, k, n), random(z, m, n)
        lib.call("batched_matmul", {}, [a, b, c], [z, m, k, n])
        close(f"batched_matmul {z}x{m}x{n}x{k}", c, a.astype(float) @ b, 1e-4)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_softmax(lib):
    for r, n in ((1, 1), (3, 45), (17, 300), (33, 64), (3, 50000)):
        x, y = random(r, n) * 10, random(r, n)
        lib.call("softmax", {}, [x, y], [r, n])
        close(f"softmax {r}x{n}", y, softmax(x.astype(float)))


def test_layer_norm(lib):
    for r, n in ((1, 1), (3, 45), (9, 300), (16, 64), (3, 50000)):
        x, gamma, beta, y = random(r, n) + 3, random(n), random(n), random(r, n)
        lib.call("layer_norm", {}, [x, gamma, beta, y], [r, n])
        z = x.astype(float)
        z = (z - z.mean(-1, keepdims=True)) / np.sqrt(z.var(-1, keepdims=True) + 1e-5) * gamma + beta
        close(f"layer_norm {r}x{n}", y, z, 1e-4)


def test_flash_attention(lib):
    d = 64
    for causal in (0, 1):
        for b, s, t in ((1, 1, 1), (2, 37, 45), (1, 64, 64), (1, 5, 130), (1, 70, 200)):
            q, k, v, o = random(b, s, d), random(b, t, d), random(b, t, d), random(b, s, d)
            lib.call("flash_attention", {"CAUSAL": causal}, [q, k, v, o], [b, s, t])
            scores = 0.125 * q.astype(float) @ k.astype(float).transpose(0, 2, 1)
            if causal:
                scores = np.where(np.arange(t)[None, :] > np.arange(s)[:, None] + t - s, -np.inf, scores)
            close(f"flash_attention causal={causal} {b}x{s}x{t}", o, softmax(scores) @ v.astype(float), 1e-4)


def patches(x, size, stride, pad, fill):
    """BxOHxOWxSIZExSIZExC."""
    x = np.pad(x.astype(float), ((0, 0), (pad, pad), (pad, pad), (0, 0)), constant_values=fill)
    p = np.lib.stride_tricks.sliding_window_view(x, (size, size), (1, 2))[:, ::stride, ::stride]
    return p.transpose(0, 1, 2, 4, 5, 3)


def test_conv3x3(lib):
    for stride, pad in ((1, 1), (2, 1), (1, 0), (2, 0)):
        for c, f in ((3, 13), (17, 65)):
            x, w = random(2, 9, 11, c), random(3, 3, c, f)
            want = np.einsum("bhwijc,ijcf->bhwf", patches(x, 3, stride, pad, 0), w.astype(float))
            y = random(*want.shape)
            lib.call("conv3x3", {"C": c, "STRIDE": stride, "PAD": pad, "BH": 2, "BW": 5}, [x, w, y],
                     [2, 9, 11, f, *want.shape[1:3]])
            close(f"conv3x3 stride {stride} pad {pad} {c}->{f}", y, want, 1e-4)


def test_depthwise_conv(lib):
    for stride, pad in ((1, 1), (2, 1), (1, 0)):
        for c in (1, 19, 130):
            x, w = random(2, 9, 19, c), random(3, 3, c)
            want = np.einsum("bhwijc,ijc->bhwc", patches(x, 3, stride, pad, 0), w.astype(float))
            y = random(*want.shape)
            lib.call("depthwise_conv", {"STRIDE": stride, "PAD": pad}, [x, w, y], [2, 9, 19, c, *want.shape[1:3]])
            close(f"depthwise_conv stride {stride} pad {pad} {c}", y, want, 1e-4)


def test_max_pool(lib):
    for size, stride, pad in ((3, 2, 1), (2, 2, 0), (5, 1, 2)):
        for c in (1, 70):
            x = random(2, 9, 19, c)
            want = patches(x, size, stride, pad, -np.inf).max((3, 4))
            y = random(*want.shape)
            lib.call("max_pool", {"K": size, "STRIDE": stride, "PAD": pad}, [x, y], [2, 9, 19, c, *want.shape[1:3]])
            close(f"max_pool {size} stride {stride} pad {pad} {c}", y, want, 0)


def test_gather(lib):
    for v, n, m in ((1, 1, 1), (11, 37, 23), (9, 300, 20)):
        table, ids, y = random(v, n), rng.integers(-3, v + 3, m), random(m, n)
        lib.call("gather", {}, [table, ids, y], [v, n, m])
        want = np.where(((ids >= 0) & (ids < v))[:, None], table[np.clip(ids, 0, v - 1)], 0)
        close(f"gather {v}x{n} {m}", y, want, 0)


def test_prefix_sum(lib):
    for r, n in ((1, 1), (3, 300), (2, 513)):
        x, y = random(r, n), random(r, n)
        lib.call("prefix_sum", {}, [x, y], [r, n])
        close(f"prefix_sum {r}x{n}", y, x.astype(float).cumsum(1), 1e-4)
        x, y = rng.integers(-2**31, 2**31, (r, n)).astype(np.int32), np.zeros((r, n), np.int32)
        lib.call("prefix_sum", {"T": "i32"}, [x, y], [r, n])
        assert (y == x.cumsum(1, dtype=np.int32)).all(), "prefix_sum i32"


def test_histogram(lib):
    for n, v in ((1, 1), (0, 3), (5000, 17)):
        values, counts = rng.integers(-3, v + 3, n).astype(np.int32), rng.integers(0, 9, v).astype(np.int32)
        want = counts + np.bincount(values[(values >= 0) & (values < v)], minlength=v)
        lib.call("histogram", {}, [values, counts], [n, v])
        assert (counts == want).all(), "histogram"
        print(f"histogram {n} {v}: equal")


def test_transpose(lib):
    for t, dtype in (("f32", np.float32), ("f64", np.float64), ("i8", np.int8)):
        for m, n in ((1, 1), (37, 45), (65, 129)):
            x, y = (random(m, n) * 50).astype(dtype), np.zeros((n, m), dtype)
            lib.call("transpose", {"T": t, "BM": 32, "BN": 32}, [x, y], [m, n])
            assert (y == x.T).all(), f"transpose {t}"
    print("transpose: equal")


def test_row_reduce(lib):
    folds = {"add": np.sum, "mul": np.prod, "max": np.max, "min": np.min}
    for op, f in folds.items():
        for r, n in ((1, 1), (5, 77), (3, 1000), (3, 50000)):
            x, y = random(r, n), random(r, 1)
            lib.call("row_reduce", {"F": op}, [x, y], [r, n])
            close(f"row_reduce {op} {r}x{n}", y, f(x.astype(float), axis=1, keepdims=True), 1e-4)


def test_elementwise(lib):
    for act, f in (("gelu", gelu), ("exp", np.exp), ("sigmoid", lambda x: 1 / (1 + np.exp(-x))), ("erf", erf)):
        m, n = 37, 45
        x, scale, shift, y = random(m, n), random(m, 1), random(n), random(m, n)
        lib.call("elementwise", {"ACT": act}, [x, scale, shift, y], [m, n])
        close(f"elementwise {act}", y, f(x.astype(float) * scale + shift))


def test_vector_add(lib):
    for n in (0, 1, 16401):
        for large in (10, 1 << 22):
            a, b, c = random(n), random(n), random(n)
            lib.call("vector_add", {"LARGE": large}, [a, b, c], [n])
            assert (c == a + b).all(), "vector_add"


def runs_here(target):
    with open("/proc/cpuinfo") as file:
        flags = next((line.split() for line in file if line.startswith("flags")), [])
    needs = {"v3": ["avx2", "fma"], "v4": ["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"]}
    return all(flag in flags for flag in needs.get(target, []))


def main():
    tegula, target, *only = sys.argv[1:]
    if not runs_here(target):
        print(f"this machine cannot run {target}")
        return
    tests = [f for name, f in globals().items() if name.startswith("test_") and (not only or name[5:] in only)]
    with tempfile.TemporaryDirectory() as folder:
        library = Library(os.path.abspath(tegula), target, folder)
        for test in tests:
            test(library)


main()
