#!/usr/bin/python3
"""ONNX's Loop and Scan, compiled.

    loops.py values TEGULA       against onnxruntime, on one thread and on two
    loops.py sizes RUN_SIZES     many sizes from one compilation, against the interpreter of graphs
    loops.py refused TEGULA      what is not supported is said

Exit status: 0 passed, 1 failed, 77 Python packages are missing.
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
    import numpy as np
    import onnx
    import onnx.parser
    import onnxruntime
except ImportError:
    packages.run_again("numpy, onnx and onnxruntime")

import compiled  # noqa: E402

SIZES = [{"S": s, "N": n} for s, n in ((5, 3), (1, 1), (0, 3), (4, 0), (2, 40))]

MODELS = {
    # A row at the counter; the state and all of them.
    "running_sum": """g (float[S, N] x, float[N] h) => (float[N] last, float[S, N] all) {
        shape = Shape(x)
        zero = Constant<value_ints = [0]>()
        count = Gather<axis = 0>(shape, zero)
        trips = Squeeze(count)
        last, all = Loop<body = b (int64 i, bool c, float[N] v) => (bool d, float[N] w, float[N] s) {
            d = Identity(c)
            row = Gather<axis = 0>(x, i)
            w = Add(v, row)
            s = Identity(w)
        }>(trips, , h)
    }""",
    # A constant number of iterations, a value from outside, two scan outputs of other sizes.
    "constant_trips": """g (float[S, N] x) => (float[S, N] y, float[4, N] t, int64[4] u) {
        trips = Constant<value = int64 {4}>()
        yes = Constant<value = bool {1}>()
        y, t, u = Loop<body = b (int64 i, bool c, float[S, N] v) => (bool d, float[S, N] w, float[N] s, int64 j) {
            d = Constant<value = bool {1}>()
            f = Cast<to = 1>(i)
            e = Add(v, f)
            w = Mul(e, x)
            s = ReduceSum<keepdims = 0>(w, axes)
            j = Mul(i, i)
        }>(trips, yes, x)
        axes = Constant<value_ints = [0]>()
    }""",
    # Until a condition; the number of iterations at most is an input.
    "until": """g (float[S, N] x, int64 most) => (float[S, N] y, int64 n) {
        zero = Constant<value = int64 {0}>()
        y, n = Loop<body = b (int64 i, bool c, float[S, N] v, int64 k) => (bool d, float[S, N] w, int64 l) {
            half = Constant<value = float {0.5}>()
            one = Constant<value = int64 {1}>()
            top = Constant<value = int64 {3}>()
            w = Mul(v, half)
            l = Add(k, one)
            d = Less(l, top)
        }>(most, , x, zero)
    }""",
    "while_only": """g (float[S, N] x) => (float[S, N] y, float n) {
        start = Constant<value = float {1.0}>()
        yes = Constant<value = bool {1}>()
        y, n = Loop<body = b (int64 i, bool c, float[S, N] v, float k) => (bool d, float[S, N] w, float l) {
            three = Constant<value = float {3.0}>()
            limit = Constant<value = float {100.0}>()
            l = Mul(k, three)
            w = Add(v, l)
            d = Less(l, limit)
        }>( , yes, x, start)
    }""",
    # A loop in a loop, whose states change places.
    "nested": """g (float[S, N] x, float[N] a, float[N] b) => (float[N] p, float[N] q, float[3, N] r) {
        trips = Constant<value = int64 {3}>()
        two = Constant<value = int64 {2}>()
        p, q, r = Loop<body = b1 (int64 i, bool c, float[N] v, float[N] w) => (bool d, float[N] v2, float[N] w2, float[N] s) {
            d = Identity(c)
            v2 = Identity(w)
            w2 = Loop<body = b2 (int64 j, bool e, float[N] u) => (bool f, float[N] u2) {
                f = Identity(e)
                t = Tanh(u)
                u2 = Sub(t, w)
            }>(two, , v)
            s = Add(v2, w2)
        }>(trips, , a, b)
    }""",
    "scan": """g (float[S, N] x, float[N] h) => (float[N] last, float[S, N] all, float[N, S] back) {
        last, all, back = Scan<num_scan_inputs = 1, scan_input_directions = [1], scan_output_axes = [0, 1],
                               scan_output_directions = [0, 1],
                               body = b (float[N] v, float[N] e) => (float[N] w, float[N] s, float[N] t) {
            w = Add(v, e)
            s = Mul(w, e)
            t = Identity(w)
        }>(h, x)
    }""",
    "scan_two": """g (float[S, N] x, float[N, S] z, float[2, N] h) => (float[2, N] last, float[S, 2, N] all) {
        last, all = Scan<num_scan_inputs = 2, scan_input_axes = [0, -1],
                         body = b (float[2, N] v, float[N] e, float[N] f) => (float[2, N] w, float[2, N] s) {
            p = Add(e, f)
            q = Tanh(v)
            w = Mul(q, p)
            s = Identity(w)
        }>(h, x, z)
    }""",
}

REFUSED = {
    "scan output of a loop that may end early": ("""g (float[N] x, int64 most) => (float[N] y, float[T, N] t) {
        y, t = Loop<body = b (int64 i, bool c, float[N] v) => (bool d, float[N] w, float[N] s) {
            d = Identity(c)
            w = Neg(v)
            s = Identity(w)
        }>(most, , x)
    }""", "the number of its iterations is not known before it runs"),
    "no end": ("""g (float[N] x) => (float[N] y) {
        y = Loop<body = b (int64 i, bool c, float[N] v) => (bool d, float[N] w) {
            d = Identity(c)
            w = Neg(v)
        }>( , , x)
    }""", "it has no number of iterations, and its condition always holds"),
    "growing state": ("""g (float[3] x) => (float[T] y) {
        trips = Constant<value = int64 {4}>()
        y = Loop<body = b (int64 i, bool c, float[T] v) => (bool d, float[U] w) {
            d = Identity(c)
            w = Concat<axis = 0>(v, x)
        }>(trips, , x)
    }""", "sizes 3 and 6 must be equal"),
    "another type": ("""g (float[3] x) => (float[3] y) {
        trips = Constant<value = int64 {4}>()
        y = Loop<body = b (int64 i, bool c, float[3] v) => (bool d, int64[3] w) {
            d = Identity(c)
            w = Cast<to = 7>(v)
        }>(trips, , x)
    }""", "begins as tensor<3xf32> and goes on as tensor<3xi64>; its type must not change"),
}


def write(path, text):
    model = onnx.parser.parse_model('<ir_version: 8, opset_import: ["" : 17]>\n' + text)
    path.write_bytes(model.SerializeToString())
    return model


def values(model, sizes):
    rng, made = np.random.default_rng(1), {}
    for value in model.graph.input:
        shape = [sizes[d.dim_param] if d.dim_param else d.dim_value for d in value.type.tensor_type.shape.dim]
        integers = value.type.tensor_type.elem_type == onnx.TensorProto.INT64
        made[value.name] = np.full(shape, 7, np.int64) if integers else rng.standard_normal(shape).astype(np.float32)
    return made


def wrong_values(tegula, text, folder):
    path = folder / "model.onnx"
    model = write(path, text)
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    for i, sizes in enumerate(SIZES[:2]):
        own = folder / str(i)
        own.mkdir()
        given = values(model, sizes)
        want = session.run(None, given)
        one, two = (compiled.run(tegula, path, given, own, threads) for threads in (1, 2))
        if isinstance(one, str) or isinstance(two, str):
            return one
        for name, w, a, b in zip(model.graph.output, want, one, two):
            if a.shape != w.shape or a.dtype != w.dtype or not np.allclose(a, w, rtol=1e-4, atol=1e-5):
                return f"{name.name} of {sizes} differs: {a} for {w}"
            if a.tobytes() != b.tobytes():
                return f"{name.name} of {sizes} is not the same on two threads"
    return None


def test_values(folder, tegula):
    bad = 0
    for name, text in MODELS.items():
        own = folder / name
        own.mkdir()
        wrong = wrong_values(tegula, text, own)
        print(f"{name}: {wrong or 'ok'}")
        bad += wrong is not None
    return 1 if bad else 0


def test_sizes(folder, run_sizes):
    bad = 0
    for name, text in MODELS.items():
        path = folder / f"{name}.onnx"
        write(path, text)
        sizes = [",".join(f"{k}={v}" for k, v in s.items() if f"{k}]" in text or f"{k}," in text) for s in SIZES]
        bad += not compiled.is_right_for(name, run_sizes, path, sizes)
    return 1 if bad else 0


def test_refused(folder, tegula):
    bad = 0
    for name, (text, message) in REFUSED.items():
        path = folder / "model.onnx"
        write(path, text)
        result = subprocess.run([tegula, "opt", path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                universal_newlines=True)
        good = result.returncode == 1 and message in result.stdout
        print(f"{name}: {'ok' if good else result.stdout}")
        bad += not good
    return 1 if bad else 0


TESTS = {"values": test_values, "sizes": test_sizes, "refused": test_refused}

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        sys.exit(TESTS[sys.argv[1]](pathlib.Path(temporary), os.path.abspath(sys.argv[2])))
