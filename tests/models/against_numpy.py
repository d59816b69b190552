#!/usr/bin/python3
"""Operators where numbers go wrong first, compiled and run, against numpy in f64.

    against_numpy.py TEGULA

Exit status: 0 passed, 1 failed, 77 the Python packages numpy and onnx are missing.
"""

import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent

sys.path.append(str(ROOT / "tests"))
import packages  # noqa: E402

try:
    import numpy as np
    import onnx.parser
except ImportError:
    packages.run_again("numpy and onnx")

TARGETS = ("v2", "native")


class Failure(Exception):
    pass


def run(tegula, folder, text, inputs, target):
    """The outputs of a model that is given as text."""
    path, out = folder / "model.onnx", folder / "out"
    model = onnx.parser.parse_model('<ir_version: 10, opset_import: ["" : 22]>\n' + text)
    path.write_bytes(model.SerializeToString())
    arguments = []
    for name, array in inputs.items():
        np.save(folder / f"{name}.npy", array)
        arguments += ["--input", f"{name}={folder / name}.npy"]
    result = subprocess.run([tegula, "run", path, "--target", target, "--output-dir", out, *arguments],
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    if result.returncode:
        raise Failure(f"status {result.returncode}: {result.stdout.strip()}")
    return [np.load(out / f"output_{i}.npy") for i in range(len(model.graph.output))]


def compare(have, want, relative):
    want = np.asarray(want)
    if have.shape != want.shape:
        raise Failure(f"the shape is {have.shape}, not {want.shape}")
    if have.dtype.kind != "f":
        wrong = have != want
    else:
        magnitude = np.abs(want[np.isfinite(want)]).max(initial=0)
        wrong = ~np.isclose(have.astype(np.float64), want, rtol=relative, atol=relative * magnitude, equal_nan=True)
    if wrong.any():
        raise Failure(f"{wrong.sum()} of {have.size} differ: {have[wrong][:4]}, not {want[wrong][:4]}")


# ---- Sums of narrow floats -------------------------------------------------------------------------------------

NARROW = {"float16": 2 ** -10, "bfloat16": 2 ** -7}  # the distance of neighbours at 1


def f64(x):
    return x.astype(np.float64)


def centred(x, axes):
    return x - x.mean(axis=axes, keepdims=True)


def normalized(x, axes):
    return centred(x, axes) / np.sqrt((centred(x, axes) ** 2).mean(axis=axes, keepdims=True) + 1e-5)


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


# Operators on x of a narrow type, which is cast from f32 and back; what they compute; and x. Elements are such that a
# sum in the type loses most of them, or is infinite.
def ones(*shape):
    return np.ones(shape, np.float32)


def noise(*shape, scale=1.0):
    return (np.random.default_rng(1).uniform(-1, 1, shape) * scale).astype(np.float32).astype(np.float16)


OPERATORS = {
    "ReduceSum, rows": ("y = ReduceSum<keepdims = 1>(x, one)", lambda x: x.sum(axis=1, keepdims=True), ones(3, 2999)),
    "ReduceSum, columns": ("y = ReduceSum(x, zero)", lambda x: x.sum(axis=0, keepdims=True), ones(2999, 40)),
    "ReduceProd": ("y = ReduceProd(x, one)", lambda x: x.prod(axis=1, keepdims=True),
                   np.float32(1) + np.float32(2 ** -7) * (np.arange(600) % 2).astype(np.float32).reshape(2, 300)),
    "ReduceMean": ("y = ReduceMean(x, one)", lambda x: x.mean(axis=1, keepdims=True), 8 * ones(2, 12544)),
    "ReduceL2": ("y = ReduceL2(x, one)", lambda x: np.sqrt((x * x).sum(axis=1, keepdims=True)), 100 * ones(2, 900)),
    "ReduceSumSquare": ("y = ReduceSumSquare(x, one)", lambda x: (x * x).sum(axis=1, keepdims=True), ones(2, 3000)),
    "ReduceLogSum": ("y = ReduceLogSum(x, one)", lambda x: np.log(x.sum(axis=1, keepdims=True)), 50 * ones(2, 3000)),
    "ReduceLogSumExp": ("y = ReduceLogSumExp(x, one)", lambda x: np.log(np.exp(x).sum(axis=1, keepdims=True)),
                        ones(2, 3000)),
    "CumSum": ("y = CumSum(x, scalar)", lambda x: x.cumsum(axis=1), ones(3, 2999)),
    "Softmax": ("y = Softmax(x)", softmax, 0 * ones(2, 3000)),
    "LogSoftmax": ("y = LogSoftmax(x)", lambda x: np.log(softmax(x)), 0 * ones(2, 3000)),
    "AveragePool": ("y = AveragePool<kernel_shape = [56, 56]>(x)", lambda x: x.mean(axis=(2, 3), keepdims=True),
                    30 * ones(1, 2, 56, 56)),
    "AveragePool, padded": ("y = AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 2]>(x)",
                            lambda x: x[:, :, ::2, ::2], 20000 * ones(1, 3, 9, 9)),
    "GlobalAveragePool": ("y = GlobalAveragePool(x)", lambda x: x.mean(axis=(2, 3), keepdims=True),
                          30 * ones(1, 2, 56, 56)),
    "depthwise Conv": ("""weights = Constant<value = float[2, 1, 20, 20] {%s}>()
        w = CastLike(weights, x)
        y = Conv<group = 2>(x, w)""" % ", ".join(["20.0"] * 800), lambda x: (20 * x).sum(axis=(2, 3), keepdims=True),
                       np.concatenate([ones(1, 2, 20, 19) * 20, -19 * 20 * ones(1, 2, 20, 1)], axis=3)),
    "LRN": ("y = LRN<size = 3, alpha = 3.0>(x)",
            lambda x: x / (1 + (x * x * np.array([2, 3, 3, 2]).reshape(1, 4, 1, 1))) ** 0.75, 300 * ones(1, 4, 2, 3)),
    "InstanceNormalization": ("y = InstanceNormalization(x, unit, unit)", lambda x: normalized(x, (2,)) + 1,
                              noise(1, 2, 3000, scale=600.0)),
    "LayerNormalization": ("scale = Expand(unit1, columns)\n y = LayerNormalization(x, scale)",
                           lambda x: normalized(x, (1,)), noise(3, 600, scale=600.0)),
    "LayerNormalization, decomposed": ("""mean = ReduceMean(x, one)
        d = Sub(x, mean)
        square = Mul(d, d)
        variance = ReduceMean(square, one)
        deviation = Sqrt(variance)
        y = Div(d, deviation)""", lambda x: normalized(x, (1,)), noise(3, 600, scale=200.0)),
}


def narrow(tegula, folder, target):
    for name, (operator, meaning, x) in OPERATORS.items():
        for dtype, step in NARROW.items():
            dims = ", ".join("NMHW"[:x.ndim] if x.ndim != 4 else ["N", str(x.shape[1]), "H", "W"])
            # Windows have constant positions here; rows are open.
            if "Pool<" in operator or "Conv<" in operator or x.ndim == 3:
                dims = ", ".join(map(str, x.shape))
            text = f"""g (float[{dims}] f) => (float[...] r) {{
                zero = Constant<value_ints = [0]>()
                one = Constant<value_ints = [1]>()
                columns = Shape<start = 1>(f)
                scalar = Constant<value = int64 {{1}}>()
                units = Constant<value_floats = [1.0, 1.0]>()
                units1 = Constant<value_floats = [1.0]>()
                x = Cast<to = {10 if dtype == "float16" else 16}>(f)
                unit = CastLike(units, x)
                unit1 = CastLike(units1, x)
                {operator}
                r = Cast<to = 1>(y)
            }}""".replace("float[...]", "float[" + ", ".join("ABCD"[:x.ndim]) + "]")
            if x.dtype == np.float16:  # bfloat16 has fewer digits
                x = (x.view(np.uint16) & np.uint16(0xffc0)).view(np.float16)
            inputs = {"f": x.astype(np.float32)}
            try:
                compare(run(tegula, folder, text, inputs, target)[0], meaning(f64(x)), 2 * step)
            except Failure as failure:
                yield f"{name} of {dtype}: {failure}"


# ---- More operands than a kernel takes -------------------------------------------------------------------------

def weights(n):
    return np.random.default_rng(2).uniform(-1, 1, (n, 3)).astype(np.float32)


def constants(n):
    return [f"w{i} = Constant<value = float[3] {{{', '.join(map(repr, map(float, w)))}}}>()"
            for i, w in enumerate(weights(n))]


# Nodes that read x[N, 3] and n constants, the outputs, and what they are.
def chain(n):
    nodes = [f"t{i + 1} = Add({f't{i}' if i else 'x'}, w{i})" for i in range(n)]
    return nodes, [f"t{n}"], lambda x: [x + f64(weights(n)).sum(axis=0)]


def wide_sum(n):
    nodes = [f"t{i} = Mul(x, w{i})" for i in range(n)]
    return (nodes + [f"s = Sum({', '.join(f't{i}' for i in range(n))})"], ["s"],
            lambda x: [x * f64(weights(n)).sum(axis=0)])


def sum_of_products(n):
    nodes = [f"m{i} = Expand(w{i}, square)\n t{i} = MatMul(x, m{i})" for i in range(n)]
    return (["square = Constant<value_ints = [3, 3]>()"] + nodes +
            [f"s = Sum({', '.join(f't{i}' for i in range(n))})"], ["s"],
            lambda x: [x @ np.broadcast_to(f64(weights(n)).sum(axis=0), (3, 3))])


def fan_out(n):
    nodes = ["r = Relu(x)"] + [f"t{i} = Add(r, w{i})" for i in range(n)]
    return nodes, [f"t{i}" for i in range(n)], lambda x: [np.maximum(x, 0) + w for w in f64(weights(n))]


def many_rows(n):
    """A row of each, so that reductions share a kernel."""
    nodes = [f"a{i} = Mul(x, w{i})\n t{i} = Softmax(a{i})" for i in range(n)]
    return (nodes + [f"s = Sum({', '.join(f't{i}' for i in range(n))})"], ["s"],
            lambda x: [sum(softmax(x * w) for w in f64(weights(n)))])


WIDE = [(chain, 47), (chain, 200), (chain, 2000), (wide_sum, 48), (wide_sum, 200), (sum_of_products, 47),
        (sum_of_products, 200), (fan_out, 47), (fan_out, 60), (many_rows, 100)]


def wide(tegula, folder, target):
    if target != TARGETS[-1]:
        return
    x = np.random.default_rng(3).uniform(-1, 1, (5, 3)).astype(np.float32)
    for make, n in WIDE:
        nodes, outputs, meaning = make(n)
        text = "\n".join([f"g (float[N, 3] x) => ({', '.join(f'float[N, 3] {name}' for name in outputs)}) {{",
                          *constants(n), *nodes, "}"])
        try:
            for have, want in zip(run(tegula, folder, text, {"x": x}, target), meaning(f64(x))):
                compare(have, want, 1e-5)
        except Failure as failure:
            yield f"{make.__name__} of {n}: {failure}"


# ---- Remainders ------------------------------------------------------------------------------------------------

def mod(tegula, folder, target):
    random = np.random.default_rng(4)
    with np.errstate(all="ignore"):
        for dtype, onnx_type in ((np.float32, "float"), (np.float16, "float16")):
            bits = random.integers(0, 2 ** (8 * np.dtype(dtype).itemsize), (2, 40000))
            x, y = bits.astype(f"uint{8 * np.dtype(dtype).itemsize}").view(dtype)
            x[:100], y[:200] = np.repeat(np.array([0, -0.0, np.inf, -np.inf, np.nan], dtype), 20), x[:200]
            y[:100] = np.tile(np.array([0, -0.0, np.inf, -np.inf, np.nan, 1, -1, 3, 1e-7, -6e4], dtype), 10)
            text = f"g ({onnx_type}[N] x, {onnx_type}[N] y) => ({onnx_type}[N] f, {onnx_type}[N] m) {{\n" \
                   "f = Mod<fmod = 1>(x, y)\n small = Abs(x)\n m = Sub(small, f)\n}"
            try:
                have = run(tegula, folder, text, {"x": x, "y": y}, target)[0]
            except Failure as failure:
                yield str(failure)
                continue
            # numpy's fmod of f32 is C's.
            want = np.fmod(x.astype(np.float32), y.astype(np.float32)).astype(dtype)
            same = (np.isnan(have) & np.isnan(want)) | ((have == want) & (np.signbit(have) == np.signbit(want)))
            if not same.all():
                at = np.flatnonzero(~same)[:3]
                yield f"{np.dtype(dtype)}: {(~same).sum()} differ: {x[at]} by {y[at]}: {have[at]}, not {want[at]}"


# ---- Positions of extremes -------------------------------------------------------------------------------------

def extremes(tegula, folder, target):
    random = np.random.default_rng(5)
    for dtype, onnx_type in ((np.float32, "float"), (np.float16, "float16"), (np.int32, "int32")):
        x = random.integers(-9, 9, (300, 37)).astype(dtype)  # many are equal
        if dtype != np.int32:
            x[random.integers(0, 300, 200), random.integers(0, 37, 200)] = np.nan  # of some rows several
            x[0], x[1], x[2] = np.nan, np.inf, -np.inf
            x[3:5, 1], x[3:5, 5], x[3, 7], x[4, 7] = np.nan, np.nan, np.inf, -np.inf
        text = f"""g ({onnx_type}[N, M] x) => (int64[N, A] a, int64[N, A] b, int64[B, M] c, int64[N, A] d, int64[N, A] e) {{
            a = ArgMax<axis = 1>(x)
            b = ArgMin<axis = 1>(x)
            c = ArgMax<axis = 0>(x)
            d = ArgMax<axis = 1, select_last_index = 1>(x)
            e = ArgMin<axis = 1, select_last_index = 1>(x)
        }}"""
        last = x.shape[1] - 1
        high, low = (np.where(np.isnan(x), sign * np.inf, x) for sign in (1, -1))
        want = [high.argmax(axis=1)[:, None], low.argmin(axis=1)[:, None], high.argmax(axis=0)[None],
                last - high[:, ::-1].argmax(axis=1)[:, None], last - low[:, ::-1].argmin(axis=1)[:, None]]
        try:
            for name, one, other in zip("abcde", run(tegula, folder, text, {"x": x}, target), want):
                if not (one == other).all():
                    yield f"{np.dtype(dtype)}: {(one != other).sum()} of {name} differ"
        except Failure as failure:
            yield str(failure)


# ---- Rows of open length ---------------------------------------------------------------------------------------

# The sizes of x, an operator, and what it gives; each for short rows, for some on either side of 65536, and long ones.
LENGTHS = (5, 65536, 65537, 150001)
ROWS = {
    "Softmax": ("N, K", lambda k: (3, k), "y = Softmax(x)", softmax),
    "ReduceMean, columns": ("K, N", lambda k: (k, 3), "y = ReduceMean(x, zero)", lambda x: x.mean(axis=0, keepdims=True)),
    "ReduceMax, all": ("N, K", lambda k: (3, k), "y = ReduceMax(x)", lambda x: x.max(keepdims=True)),
    "GlobalAveragePool": ("N, 2, H, W", lambda k: (1, 2, 3, k), "y = GlobalAveragePool(x)",
                          lambda x: x.mean(axis=(2, 3), keepdims=True)),
    "InstanceNormalization": ("N, 2, H, W", lambda k: (1, 2, k // 4 + 1, 4), "y = InstanceNormalization(x, two, two)",
                              lambda x: normalized(x, (2, 3)) + 1),
    "LayerNormalization": ("N, H, W", lambda k: (2, k // 5 + 1, 5), """shape = Shape<start = 1>(x)
        scale = Expand(unit, shape)
        y = LayerNormalization<axis = 1>(x, scale)""", lambda x: normalized(x, (1, 2))),
    "CumSum": ("N, K", lambda k: (3, k), "y = CumSum(x, one0)", lambda x: x.cumsum(axis=1)),
    "ArgMax": ("N, K", lambda k: (3, k), "i = ArgMax<axis = 1>(x)\n y = CastLike(i, x)",
               lambda x: x.argmax(axis=1)[:, None]),
    # The axes between them are kept, so that they do not make one.
    "ReduceSum, two axes": ("K, 3, W", lambda k: (k // 50 + 1, 3, 50), "y = ReduceSum(x, outer)",
                            lambda x: x.sum(axis=(0, 2), keepdims=True)),
}
# What no tile holds names the node.
TOO_LONG = ("g (float[K, 3, W] x) => (float[A, B, C] z) {\n a = Constant<value_ints = [0, 2]>()\n z = ReduceSum(x, a)\n}",
            (40000, 3, 2), "model.onnx: node 'ReduceSum -> z': a reduction over K or W elements")


def open_rows(tegula, folder, target):
    random = np.random.default_rng(6)
    for name, (sizes, shape, operator, meaning) in ROWS.items():
        for length in LENGTHS:
            x = random.uniform(-1, 1, shape(length)).astype(np.float32)
            text = f"""g (float[{sizes}] x) => (float[{", ".join("ABCD"[:x.ndim])}] y) {{
                zero = Constant<value_ints = [0]>()
                one0 = Constant<value = int64 {{1}}>()
                outer = Constant<value_ints = [0, 2]>()
                unit = Constant<value_floats = [1.0]>()
                two = Constant<value_floats = [1.0, 1.0]>()
                {operator}
            }}"""
            try:
                compare(run(tegula, folder, text, {"x": x}, target)[0], meaning(f64(x)), 1e-4)
            except Failure as failure:
                yield f"{name} of {length}: {failure}"
    text, shape, message = TOO_LONG
    try:
        run(tegula, folder, text, {"x": np.zeros(shape, np.float32)}, target)
        yield "rows that are too long are taken"
    except Failure as failure:
        if message not in str(failure):
            yield f"rows that are too long: {failure}"


TESTS = {"rows of open length": open_rows, "positions of extremes": extremes, "narrow floats": narrow, "many operands": wide, "remainders": mod}


def main():
    bad = 0
    with tempfile.TemporaryDirectory() as temporary:
        for name, test in TESTS.items():
            for target in TARGETS:
                for failure in test(sys.argv[1], pathlib.Path(temporary), target):
                    print(f"{target}: {failure}")
                    bad += 1
            print(f"{name}: {'done' if bad else 'ok'}")
    return 1 if bad else 0


sys.exit(main())
