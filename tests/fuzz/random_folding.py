#!/usr/bin/python3
"""Random operations on constant tensors, folded by `tegula opt` and computed here from their definitions.

    random_folding.py --tegula PATH [--seed N] [--count N]

What folds is the interpreter of graphs, the reference for all else; so this reference shares nothing with it: elements
are kept by index tuples, and every loop runs over all indices there are. Values are small whole numbers, so that sums in
any order are exact. Where numpy and onnx are at hand, this file's own results are held against theirs.

Exit status: 0 all is well, 1 some result differs, or does not fold.
"""

import argparse
import itertools
import math
import random
import re
import struct
import subprocess
import sys
import tempfile

try:
    import numpy
except ImportError:
    numpy = None
try:
    from onnx import TensorProto, helper
    from onnx.reference import ReferenceEvaluator
except ImportError:
    ReferenceEvaluator = None


def indices(shape):
    return itertools.product(*(range(n) for n in shape))


class Tensor:
    """Elements by index."""

    def __init__(self, shape, dtype, of):
        self.shape, self.dtype = tuple(shape), dtype
        self.at = {i: of(i) for i in indices(shape)}

    def type(self):
        return "tensor<%s%s>" % ("".join("%dx" % n for n in self.shape), self.dtype)

    def list(self):
        return [self.at[i] for i in indices(self.shape)]

    def text(self):
        suffix = ".0" if self.dtype[0] == "f" else ""
        return "data [%s] : %s" % (", ".join("%d%s" % (x, suffix) for x in self.list()), self.type())

    def array(self):
        return numpy.array(self.list(), dtype="float64").reshape(self.shape)


def wrapped(x, dtype):
    return (x + 128) % 256 - 128 if dtype == "i8" else x


class Case:
    """An operation: its operands, its text after `%name = `, and what it gives."""

    def __init__(self, operands, text, result, check=None):
        self.operands, self.text, self.result, self.check = operands, text, result, check


def draw(rng, shape, dtype):
    return Tensor(shape, dtype, lambda _: rng.randint(-9, 9))


def numbers(values):
    return "[%s]" % ", ".join(str(v) for v in values)


# ---- Operations --------------------------------------------------------------------------------------------------


def make_einsum(rng):
    labels = "abcdef"[:rng.randint(1, 5)]
    size = {c: rng.choice((0, 1, 1, 2, 3)) if rng.random() < 0.2 else rng.randint(1, 4) for c in labels}
    left = [c for c in labels if rng.random() < 0.7]
    right = [c for c in labels if c not in left or rng.random() < 0.5]
    out = [c for c in labels if rng.random() < 0.6]
    for some in (left, right, out):
        rng.shuffle(some)
    dtype = rng.choice(("f32", "f64", "i32", "i8"))
    to = "i32" if dtype == "i8" and rng.random() < 0.5 else dtype
    x, y = (draw(rng, [size[c] for c in some], dtype) for some in (left, right))
    summed = [c for c in labels if c not in out]

    def element(index):
        total = 0
        for inner in indices([size[c] for c in summed]):
            at = dict(zip(out + summed, index + inner))
            total += x.at[tuple(at[c] for c in left)] * y.at[tuple(at[c] for c in right)]
        return wrapped(total, to)

    result = Tensor([size[c] for c in out], to, element)
    text = "%s,%s->%s" % ("".join(left), "".join(right), "".join(out))

    def check():
        return to == "i8" or (numpy.einsum(text, x.array(), y.array()) == result.array()).all()

    return Case((x, y), 'einsum "%s" %%x, %%y to %s' % (text, to), result, check)


def count(size, window, stride, dilation, low, high):
    return max(0, (size + low + high - (window - 1) * dilation - 1) // stride + 1)


def make_conv(rng):
    rank, groups, inputs, filters = rng.choice(((1, 1, 2, 3), (1, 2, 1, 1), (2, 1, 1, 2), (2, 3, 2, 1), (3, 1, 1, 1)))
    size = [rng.randint(0 if rng.random() < 0.1 else 1, 5) for _ in range(rank)]
    window, stride, dilation, low, high = (
        [rng.randint(a, b) for _ in range(rank)] for a, b in ((1, 3), (1, 3), (1, 2), (-1, 2), (0, 2)))
    x = draw(rng, [rng.randint(0 if rng.random() < 0.1 else 1, 2), groups * inputs] + size, "f32")
    w = draw(rng, [groups * filters, inputs] + window, "f32")
    shape = [count(*sizes) for sizes in zip(size, window, stride, dilation, low, high)]

    def element(index):
        n, f, *o = index
        total = 0
        for c in range(inputs):
            for k in indices(window):
                at = tuple(o[d] * stride[d] + k[d] * dilation[d] - low[d] for d in range(rank))
                total += x.at.get((n, f // filters * inputs + c) + at, 0) * w.at[(f, c) + k]
        return total

    result = Tensor([x.shape[0], groups * filters] + shape, "f32", element)

    def check():
        if not ReferenceEvaluator or 0 in result.shape or 0 in x.shape or min(low) < 0:
            return True
        node = helper.make_node("Conv", ["x", "w"], ["y"], strides=stride, dilations=dilation, pads=low + high,
                                group=groups)
        names = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in "xwy"]
        model = helper.make_model(helper.make_graph([node], "g", names[:2], names[2:]))
        feed = {"x": x.array().astype("float32"), "w": w.array().astype("float32")}
        return (ReferenceEvaluator(model).run(None, feed)[0] == result.array()).all()

    return Case((x, w), "conv %%x, %%y strides %s dilations %s pads %s groups %d" % (
        numbers(stride), numbers(dilation), numbers(low + high), groups), result, check)


def make_window_reduce(rng):
    rank = rng.randint(1, 3)
    size = [rng.randint(0 if rng.random() < 0.1 else 1, 5) for _ in range(rank)]
    window, stride, dilation, low, high = (
        [rng.randint(a, b) for _ in range(rank)] for a, b in ((1, 3), (1, 3), (1, 2), (-1, 1), (-1, 2)))
    name, combine, identity = rng.choice((("add", sum, 0), ("mul", math.prod, 1), ("max", max, None),
                                          ("min", min, None)))
    dtype = rng.choice(("f64", "i64", "i8"))
    if name == "mul" and dtype == "i8":
        dtype = "i64"
    if identity is None:  # that of the type
        least = {"i8": -128, "i64": -2 ** 63, "f64": -math.inf}[dtype]
        identity = least if name == "max" else -least - (dtype != "f64")
    x = draw(rng, size, dtype)

    def element(index):
        found = []
        for k in indices(window):
            at = tuple(index[d] * stride[d] + k[d] * dilation[d] - low[d] for d in range(rank))
            found += [x.at[at]] if at in x.at else []
        return wrapped(combine(found), dtype) if found else identity

    result = Tensor([count(*sizes) for sizes in zip(size, window, stride, dilation, low, high)], dtype, element)
    return Case((x,), "window_reduce %s %%x, %s strides %s dilations %s pads %s" % (
        name, numbers(window), numbers(stride), numbers(dilation), numbers(low + high)), result)


def make_slice(rng):
    x = draw(rng, [rng.randint(0, 5) for _ in range(rng.randint(1, 3))], rng.choice(("f32", "i8")))
    start, step, shape = [], [], []
    for n in x.shape:
        step.append(rng.choice((-3, -2, -1, 1, 2, 3)))
        start.append(rng.randrange(n) if n else 0)
        room = len(range(start[-1], n if step[-1] > 0 else -1, step[-1])) if n else 0
        shape.append(rng.randint(0, room))
    result = Tensor(shape, x.dtype, lambda i: x.at[tuple(a + b * c for a, b, c in zip(start, i, step))])
    return Case((x,), "slice %%x, %s steps %s : %s" % (numbers(start), numbers(step), result.type()), result)


def make_pad(rng):
    x = draw(rng, [rng.randint(0, 4) for _ in range(rng.randint(1, 3))], rng.choice(("f64", "i32")))
    low = [rng.randint(-min(n, 2), 2) for n in x.shape]
    high = [rng.randint(max(-2, -n - a), 2) for n, a in zip(x.shape, low)]
    value = rng.randint(-5, 5)
    shape = [n + a + b for n, a, b in zip(x.shape, low, high)]
    result = Tensor(shape, x.dtype, lambda i: x.at.get(tuple(a - b for a, b in zip(i, low)), value))

    def check():
        if min(low + high) < 0:
            return True
        return (numpy.pad(x.array(), list(zip(low, high)), constant_values=value) == result.array()).all()

    return Case((x,), "pad %%x, %s, %s value %d" % (numbers(low), numbers(high), value), result, check)


def make_take(rng):
    x = draw(rng, [rng.randint(0, 3) for _ in range(rng.randint(1, 3))], rng.choice(("f32", "i64")))
    axis = rng.randrange(len(x.shape))
    y = Tensor([rng.randint(0, 3) for _ in range(rng.randint(0, 2))], "i64", lambda _: rng.randint(-2, 4))
    end = axis + len(y.shape)

    def element(index):
        return x.at.get(index[:axis] + (y.at[index[axis:end]],) + index[end:], 0)

    result = Tensor(x.shape[:axis] + y.shape + x.shape[axis + 1:], x.dtype, element)
    return Case((x, y), "take %%x, %%y, %d" % axis, result)


def make_concat(rng):
    shape = [rng.randint(1, 3) for _ in range(rng.randint(1, 3))]
    axis = rng.randrange(len(shape))
    parts = [draw(rng, shape[:axis] + [rng.randint(0, 3)] + shape[axis + 1:], "i16") for _ in range(2)]
    first = parts[0].shape[axis]

    def element(index):
        i = index[axis]
        part, i = (parts[0], i) if i < first else (parts[1], i - first)
        return part.at[index[:axis] + (i,) + index[axis + 1:]]

    result = Tensor(shape[:axis] + [first + parts[1].shape[axis]] + shape[axis + 1:], "i16", element)
    return Case(parts, "concat %d, %%x, %%y" % axis, result)


def make_scan(rng):
    x = draw(rng, [rng.randint(0, 4) for _ in range(rng.randint(1, 3))], rng.choice(("f32", "i32")))
    axis, exclusive, reverse = rng.randrange(len(x.shape)), rng.random() < 0.5, rng.random() < 0.5

    def element(index):
        i = index[axis]
        part = range(i + exclusive, x.shape[axis]) if reverse else range(0, i + (not exclusive))
        return sum(x.at[index[:axis] + (j,) + index[axis + 1:]] for j in part)

    flags = (" exclusive" if exclusive else "") + (" reverse" if reverse else "")
    return Case((x,), "scan add %%x, %d%s" % (axis, flags), Tensor(x.shape, x.dtype, element))


def make_reduce(rng):
    x = draw(rng, [rng.randint(0, 4) for _ in range(rng.randint(1, 3))], rng.choice(("f32", "i8")))
    axes = sorted(rng.sample(range(len(x.shape)), rng.randint(1, len(x.shape))))

    def element(index):
        inner = [range(n) if d in axes else (index[d],) for d, n in enumerate(x.shape)]
        return wrapped(sum(x.at[i] for i in itertools.product(*inner)), x.dtype)

    shape = [1 if d in axes else n for d, n in enumerate(x.shape)]
    return Case((x,), "reduce add %%x, %s" % numbers(axes), Tensor(shape, x.dtype, element))


MAKERS = (make_einsum, make_conv, make_window_reduce, make_slice, make_pad, make_take, make_concat, make_scan,
          make_reduce)

# ---- Running -----------------------------------------------------------------------------------------------------


def graph(number, case):
    lines = ["graph @g%d() {" % number]
    lines += ["  %%%s = %s" % (name, x.text()) for name, x in zip("xy", case.operands)]
    text = case.text if " : " in case.text else "%s : %s" % (case.text, case.result.type())
    return "\n".join(lines + ["  %%z = %s" % text, "  yield %z", "}"])


def number_of(word):
    return float(word) if not re.fullmatch(r"-?\d+", word) else int(word)


def result_of(text):
    """The type and the elements that %z is, or None if it is no constant."""
    found = re.search(r'%z = (?:constant (\S+)|data \[(.*?)\]|data "0x(.*?)") : (tensor<[0-9x]*(\w)(\d+)>)', text)
    if not found:
        return None
    one, many, digits, type_text, kind, bits = found.groups()
    if one is not None:
        shape = [int(n) for n in re.findall(r"(\d+)x", type_text)]
        return type_text, [number_of(one)] * math.prod(shape)
    if digits is not None:
        code = {"f32": "f", "f64": "d", "i8": "b", "i16": "h", "i32": "i", "i64": "q"}[kind + bits]
        return type_text, [x for x, in struct.iter_unpack("<" + code, bytes.fromhex(digits))]
    return type_text, [number_of(word) for word in many.split(", ")]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tegula", required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=600)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    cases = [MAKERS[i % len(MAKERS)](rng) for i in range(args.count)]
    failed = 0
    with tempfile.NamedTemporaryFile("w", suffix=".tile") as f:
        f.write("\n".join(graph(i, case) for i, case in enumerate(cases)) + "\n")
        f.flush()
        done = subprocess.run([args.tegula, "opt", "--passes=fold-graph,dce", f.name], capture_output=True, text=True)
    if done.returncode:
        print(done.stderr)
        return 1
    graphs = dict(re.findall(r"graph @g(\d+)\(\) \{\n(.*?)\n\}", done.stdout, re.S))
    for i, case in enumerate(cases):
        want = (case.result.type(), case.result.list())
        have = result_of(graphs.get(str(i), ""))
        if have != want:
            failed += 1
            print("%s\nis %s\nnot %s\n" % (graph(i, case), have, want))
        if numpy and case.check and not case.check():
            failed += 1
            print("%s\nis not what numpy and onnx give\n" % graph(i, case))
    print("%d cases, %d failed" % (len(cases), failed))
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
