#!/usr/bin/python3
"""Random tile kernels, each run by `tegula check` for several targets.

    random_kernels.py --tegula PATH [--seed N] [--count N | --seconds S | --all] [--save DIR] [--no-reduce]
    random_kernels.py --tegula PATH --seed N --print      the kernel of one seed, not run

A kernel is right when the interpreter gives the same memory before and after the passes, and machine code does too.
What fails is shortened, for as long as it fails alike, and kept in DIR with the command that shows it.

The generator works from the result: a tile of a shape and an element type is asked for, an operation is drawn that can
give it, and its operands are asked for in turn. So that a difference always is a fault, every float is known to be
  INT    a whole number, small enough that sums in any order are exact
  LOAD   the same bits in every run, as it was loaded
  REAL   rounded on its way, perhaps differently: never compared or cast to an integer
together with a bound of its magnitude; and no two instances store to one element.

Exit status: 0 all is well, 1 some kernel failed.
"""

import argparse
import os
import random
import re
import subprocess
import sys
import tempfile
import time

TARGETS = ("x86-64-v3", "x86-64-v4", "x86-64-v2")
TOLERANCE = 1e-3
TIMEOUT_SECONDS = 20

# ---- Values ------------------------------------------------------------------------------------------------------

INT, LOAD, REAL = 0, 1, 2
MOST_REAL = 128  # bound that REAL values are scaled down to

FLOATS = {"f32": 2 ** 22, "f64": 2 ** 50, "f16": 2 ** 10, "bf16": 2 ** 7}  # whole numbers up to these are INT
INTS = {"i32": 32, "i64": 64, "i8": 8, "u8": 8, "i16": 16, "u32": 32, "index": 64}
LOADED_INT = {"i32": 100, "i64": 100, "i16": 100, "u32": 100, "i8": 128, "u8": 255}


def is_float(t):
    return t in FLOATS


def is_narrow(t):
    return t in ("f16", "bf16")


class Value:
    """shape None: a scalar. bound: of the magnitude; None: not known (integers)."""

    def __init__(self, name, dtype, shape, kind=INT, bound=None):
        self.name, self.dtype, self.shape, self.kind, self.bound = name, dtype, shape, kind, bound

    def __str__(self):
        return self.name


def product(dims):
    n = 1
    for d in dims:
        n *= d
    return n


def tile_text(shape, dtype):
    return "tile<%sx%s>" % ("x".join(map(str, shape)), dtype) if shape is not None else dtype


class Kernel:
    """The text of a kernel, and what `tegula check` needs to run it. types: of each value, for the reducer."""

    def __init__(self, header, lines, sizes, types):
        self.header, self.lines, self.sizes, self.types = header, lines, sizes, types

    def text(self):
        return "%s {\n%s\n}\n" % (self.header, "\n".join(self.lines))


# ---- The generator -----------------------------------------------------------------------------------------------

class Generator:
    MOST_ELEMENTS = 2048
    MOST_WORK = 20000

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.lines, self.types, self.params, self.sizes = [], {}, [], {}
        self.scopes = [[]]
        self.count, self.depth_of_blocks = 0, 0
        self.trips = 1  # of the loops around
        self.budget = self.rng.choice((6, 12, 20, 35))
        self.narrow = self.rng.random() < 0.15
        self.views = []  # read only: (name, dtype, dims, sizes)
        self.loop_index = []
        self.scratch = []

    # -- Drawing

    def chance(self, p):
        return self.rng.random() < p

    def pick(self, things):
        return self.rng.choice(list(things))

    def weighted(self, table):
        return self.rng.choices([k for k, _ in table], [w for _, w in table])[0]

    def extent(self):
        return self.weighted([(1, 2), (2, 2), (3, 2), (4, 3), (5, 2), (7, 2), (8, 4), (12, 1), (13, 1), (16, 4),
                              (17, 2), (24, 1), (32, 2), (33, 1), (40, 1), (64, 1), (100, 0.4), (300, 0.2)])

    def shape(self, rank=None):
        rank = rank or self.weighted([(1, 2), (2, 6), (3, 3), (4, 1)])
        while True:
            s = [self.pick(self.blocks) if self.chance(0.5) else self.extent() for _ in range(rank)]
            if product(s) <= self.MOST_ELEMENTS:
                return tuple(s)

    def dtype(self):
        if self.narrow and self.chance(0.3):
            return self.pick(("f16", "bf16"))
        return self.weighted([("f32", 10), ("f64", 1.5), ("i32", 3), ("i64", 1.5), ("i8", 1.2), ("i1", 0.7),
                              ("u8", 0.3), ("u32", 0.3), ("i16", 0.3)])

    # -- Text

    def emit(self, text):
        self.lines.append("  " * (1 + self.depth_of_blocks) + text)

    def fresh(self):
        self.count += 1
        return "%%v%d" % self.count

    def define(self, text, dtype, shape, kind=INT, bound=None, hidden=False):
        v = Value(self.fresh(), dtype, shape, kind, bound)
        self.emit("%s = %s" % (v, text))
        self.types[v.name] = (dtype, shape)
        if not hidden:
            self.scopes[-1].append(v)
        self.budget -= 1
        return v

    def typed(self, text, dtype, shape, kind=INT, bound=None, hidden=False):
        return self.define("%s : %s" % (text, tile_text(shape, dtype)), dtype, shape, kind, bound, hidden)

    def known(self, shape, dtype):
        return [v for scope in self.scopes for v in scope if v.shape == shape and v.dtype == dtype]

    def open(self, text):
        self.emit(text)
        self.depth_of_blocks += 1
        self.scopes.append([])
        self.scratch.append(None)  # scratch of an inner block may never have been written

    def close(self, text="}"):
        self.depth_of_blocks -= 1
        self.scopes.pop()
        while self.scratch.pop() is not None:
            pass
        self.emit(text)

    # -- Sizes and indices

    def symbol(self, size):
        """A symbol of that size: one there is, or a new one."""
        same = [s for s, n in self.sizes.items() if n == size]
        if same and self.chance(0.7):
            return self.pick(same)
        name = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[len(self.sizes)] if len(self.sizes) < 26 else "S%d" % len(self.sizes)
        self.sizes[name] = size
        return name

    def dimension(self, size):
        return self.symbol(size) if self.chance(0.6) else size

    def index(self, dim=None):
        """An index scalar, as text; dim: of the tile that it places."""
        r = self.rng.random()
        if r < 0.35:
            return "0"
        if r < 0.45:
            return str(self.pick((1, 2, 3, 5, -1, -2)))
        if r < 0.75 and self.loop_index:
            i = self.pick(self.loop_index)
            if self.chance(0.7):
                return i
            return self.define("mul %s, %d" % (i, dim or self.pick((2, 3))), "index", None, hidden=True).name
        p = self.pick(self.pids)
        if self.chance(0.3):
            return p
        return self.define("mul %s, %d" % (p, dim or self.pick((2, 3))), "index", None, hidden=True).name

    def scalar(self, dtype):
        """A scalar value, as text or literal; with its kind and bound."""
        have = self.known(None, dtype)
        if have and self.chance(0.6):
            return self.pick(have)
        if dtype == "index":
            r = self.rng.random()
            if r < 0.3:
                return Value(str(self.pick((0, 1, 2, 3, 7, 16))), dtype, None, INT, 16)
            if r < 0.6 and self.sizes:
                return Value(self.pick(self.sizes), dtype, None, INT, 1000)
            return Value(self.index(), dtype, None, INT, None)
        tiles = [v for scope in self.scopes for v in scope if v.dtype == dtype and v.shape is not None]
        r = self.rng.random()
        if tiles and r < 0.35:
            v = self.pick(tiles)
            at = []
            for d in v.shape:
                if self.chance(0.4):
                    at.append(str(self.rng.randrange(d)))
                else:
                    at.append(self.define("mod %s, %d" % (self.pick(self.pids + self.loop_index), d), "index", None,
                                          hidden=True).name)
            return self.define("extract %s[%s]" % (v, ", ".join(at)), dtype, None, v.kind, v.bound)
        if r < 0.6 and dtype in ("f32", "f64", "i32", "i64", "i8"):
            name = "%%p%d" % len(self.params)
            self.params.append("%s: %s" % (name, dtype))
            v = Value(name, dtype, None, LOAD if is_float(dtype) else INT, 1 if is_float(dtype) else LOADED_INT[dtype])
            self.types[name] = (dtype, None)
            self.scopes[0].append(v)
            return v
        if r < 0.8 and dtype != "i1":
            name, rank = self.view(dtype, (1,) * self.pick((1, 2)))
            return self.define("load %s[%s]" % (name, ", ".join(self.index() for _ in range(rank))), dtype, None,
                               LOAD if is_float(dtype) else INT, 1 if is_float(dtype) else LOADED_INT[dtype])
        if dtype == "i1":
            a, b = self.scalar("index"), self.scalar("index")
            if b.name.lstrip("-").isdigit() and a.name.lstrip("-").isdigit():
                a = Value(self.pick(self.pids), "index", None)
            return self.define("%s %s, %s" % (self.pick(("lt", "le", "eq", "ne", "gt", "ge")), a, b), "i1", None)
        return self.constant(dtype, None)

    # -- Leaves

    def constant(self, dtype, shape):
        if dtype == "i1":
            return self.typed("constant %d" % self.pick((0, 1)), dtype, shape)
        if is_float(dtype):
            x = self.pick((0.0, 1.0, 2.0, -1.0, 3.0))
            return self.typed("constant %r" % x, dtype, shape, INT, abs(x))
        x = self.pick((0, 1, 2, 3, 7)) if dtype.startswith("u") else self.pick((0, 1, -1, 2, 5))
        return self.typed("constant %d" % x, dtype, shape, INT, abs(x))

    def view(self, dtype, shape):
        """A view to read tiles of that shape from: (name, rank)."""
        have = [v for v in self.views if v[1] == dtype and len(v[2]) == len(shape)]
        if have and self.chance(0.4):
            return self.pick(have)[0], len(shape)
        dims, sizes = [], []
        for d in shape:
            if d in self.blocks and self.chance(0.6):
                g = self.blocks.index(d)
                dims.append(self.grid_size[g])
                sizes.append(self.sizes.get(self.grid_size[g], self.grid_size[g]))
                continue
            n = self.pick((d, d, max(1, d - 1), max(1, d - self.rng.randrange(d)), d + 1, d + self.rng.randrange(20)))
            if self.chance(0.02):
                n = 0
            sizes.append(n)
            dims.append(self.dimension(n) if n else self.symbol(0))
        name = "%%x%d" % len(self.params)
        text = "view<%sx%s" % ("x".join(map(str, dims)), dtype)
        if self.chance(0.15):
            order = list(range(len(shape)))
            self.rng.shuffle(order)
            stride, strides = 1, [0] * len(shape)
            for d in order:
                strides[d] = stride
                stride *= sizes[d] + self.pick((0, 0, 1, 3))
            if self.chance(0.2):
                strides[self.rng.randrange(len(shape))] = self.pick((0, 1, 2))
            text += ", strides [%s]" % ", ".join(self.symbol(n) if n and self.chance(0.4) else str(n) for n in strides)
        self.params.append("%s: %s>" % (name, text))
        self.views.append((name, dtype, dims, sizes))
        return name, len(shape)

    def pad(self, dtype):
        if not self.chance(0.2):
            return "", 0
        x = self.pick((1, 2, 3)) if dtype != "i1" else 1
        return " pad %s" % (float(x) if is_float(dtype) else x), x

    def indices(self, shape):
        at = []
        for d in shape:
            if d in self.blocks and self.chance(0.6):
                at.append(self.block_offset(self.blocks.index(d)))
            else:
                at.append(self.index(d))
        return ", ".join(at)

    def block_offset(self, g):
        if g not in self.offsets:
            self.offsets[g] = self.pids[g]
            if self.blocks[g] != 1:
                # Made at the top of the kernel, where all of it can see it.
                self.offsets[g] = "%%o%d" % g
                self.lines.insert(len(self.pids), "  %%o%d = mul %s, %d" % (g, self.pids[g], self.blocks[g]))
                self.types["%%o%d" % g] = ("index", None)
        return self.offsets[g]

    def load(self, shape, dtype):
        if dtype == "index":
            return self.iota(shape, dtype)
        bound = 1 if is_float(dtype) else LOADED_INT.get(dtype, 1)
        if self.chance(0.2) and len(shape) <= 4:
            name = self.window(shape, dtype)
        else:
            name, _ = self.view(dtype, shape)
        pad, x = self.pad(dtype)
        return self.typed("load %s[%s]%s" % (name, self.indices(shape), pad), dtype, shape,
                          LOAD if is_float(dtype) else INT, max(bound, x))

    def window(self, shape, dtype):
        """A window on a new view with overlap, strides, dropped and merged dimensions."""
        names = "abcdefgh"[:len(shape)]
        left = list(range(len(shape)))
        if self.chance(0.3):
            self.rng.shuffle(left)
        terms, root = [], []
        while left or not terms:
            take = [left.pop(0) for _ in range(min(len(left), self.pick((1, 1, 1, 2))))]
            if take and self.chance(0.1):
                take.append(self.rng.randrange(len(shape)))
            coefficients = {}
            for d in take:
                coefficients[d] = self.pick((1, 1, 1, 2, 3))
            extent = 1 + sum(c * (shape[d] - 1) for d, c in coefficients.items())
            terms.append(" + ".join(names[d] if c == 1 else "%s * %d" % (names[d], c)
                                    for d, c in coefficients.items()) or "0")
            root.append(min(extent, 400))
        while product(root) > 40000:
            root = [max(1, n // 2) for n in root]
        name, rank = self.view(dtype, tuple(root))
        offsets = []
        for r in range(rank):
            offsets.append(self.define("add %s, %d" % (self.pick(self.pids + self.loop_index), self.pick((-1, -2, 1))),
                                       "index", None, hidden=True).name if self.chance(0.4) else self.index())
        w = self.fresh()
        self.emit("%s = window %s[%s] (%s) -> (%s)" % (w, name, ", ".join(offsets), ", ".join(names), ", ".join(terms)))
        return w

    def iota(self, shape, dtype):
        axis = self.rng.randrange(len(shape))
        if INTS.get(dtype, 0) == 8 and shape[axis] > 127:
            return self.constant(dtype, shape)
        thin = tuple(d if i == axis or self.chance(0.5) else 1 for i, d in enumerate(shape))
        v = self.typed("iota %d" % axis, dtype, thin, INT, shape[axis])
        if dtype == "index" and self.chance(0.5):
            v = self.define("add %s, %s" % (v, self.pick(self.pids + self.loop_index)), dtype, thin, INT, None)
        return v if thin == shape else self.typed("broadcast %s" % v, dtype, shape, INT, v.bound)

    def leaf(self, shape, dtype):
        r = self.rng.random()
        if r < 0.7:
            return self.load(shape, dtype)
        if r < 0.85 and dtype in INTS:
            return self.iota(shape, dtype)
        return self.constant(dtype, shape)

    # -- Bounds

    def scaled(self, v):
        """v, made smaller by a power of two if its bound is large."""
        if not is_float(v.dtype) or (v.kind == INT and v.bound <= FLOATS[v.dtype]) or v.bound <= MOST_REAL:
            return v
        f = 1.0
        while v.bound * f > MOST_REAL:
            f /= 2
        return self.define("mul %s, %r" % (v, f), v.dtype, v.shape, REAL, v.bound * f)

    def limited(self, v, most):
        """v held to [-most, most], as what a loop carries."""
        if not is_float(v.dtype) or v.bound <= most:
            return v
        v = self.define("min %s, %r" % (v, float(most)), v.dtype, v.shape, v.kind, v.bound)
        return self.define("max %s, %r" % (v, float(-most)), v.dtype, v.shape, v.kind, most)

    @staticmethod
    def kind_of_sum(dtype, kind, bound):
        return INT if kind == INT and bound <= FLOATS[dtype] else REAL

    # -- Operations that give a tile of a shape and type

    def tile(self, shape, dtype, depth):
        have = self.known(shape, dtype)
        if have and self.chance(0.5):
            return self.pick(have[-6:])
        if depth <= 0 or self.budget <= 0:
            return self.pick(have) if have and self.chance(0.5) else self.leaf(shape, dtype)
        table = [("load", 4), ("binary", 6), ("unary", 1.5), ("select", 1), ("cast", 1.5), ("broadcast", 0.7),
                 ("transpose", 1), ("reshape", 1), ("reduce", 2.5), ("normal", 1), ("dot", 2), ("scan", 0.7),
                 ("gather", 0.7), ("iota", 0.3), ("constant", 0.3), ("through_scratch", 0.4), ("twice", 0.4)]
        if self.depth_of_blocks < 3 and self.trips <= 8:
            table += [("loop", 1), ("sum_loop", 1.2), ("branch", 0.7), ("repeat", 0.3)]
        for _ in range(20):
            v = getattr(self, "tile_" + self.weighted(table))(shape, dtype, depth - 1)
            if v is not None:
                assert v.shape == shape and v.dtype == dtype, (v.name, v.shape, shape, v.dtype, dtype)
                return self.scaled(v)
        return self.leaf(shape, dtype)

    def tile_load(self, shape, dtype, depth):
        return self.load(shape, dtype)

    def tile_iota(self, shape, dtype, depth):
        return self.iota(shape, dtype) if dtype in INTS else None

    def tile_constant(self, shape, dtype, depth):
        return self.constant(dtype, shape)

    def part(self, shape, dtype, depth):
        """Something that broadcasts to the shape."""
        r = self.rng.random()
        if r < 0.5:
            return self.tile(shape, dtype, depth)
        if r < 0.65:
            return self.scalar(dtype)
        shape = tuple(1 if self.chance(0.4) else d for d in shape)
        if self.chance(0.4):
            shape = shape[self.rng.randrange(len(shape)):]
        return self.tile(shape, dtype, depth)

    def pair(self, shape, dtype, depth):
        if len(shape) > 1 and self.chance(0.12):
            d = self.rng.randrange(len(shape))
            a = self.tile(shape[:d] + (1,) + shape[d + 1:], dtype, depth)
            b = self.tile((1,) * d + (shape[d],) + (1,) * (len(shape) - d - 1), dtype, depth)
        else:
            a, b = self.tile(shape, dtype, depth), self.part(shape, dtype, depth)
        return (b, a) if self.chance(0.3) else (a, b)

    def tile_binary(self, shape, dtype, depth):
        if dtype == "i1":
            return self.compare(shape, depth) if self.chance(0.6) else self.logic(shape, depth)
        a, b = self.pair(shape, dtype, depth)
        if not is_float(dtype):
            op = self.pick(("add", "add", "sub", "mul", "max", "min", "and", "or", "xor", "div", "mod", "rem",
                            "floordiv", "shl", "shr"))
            bound = None
            if a.bound is not None and b.bound is not None:
                bound = {"add": a.bound + b.bound, "mul": a.bound * b.bound, "max": max(a.bound, b.bound),
                         "min": max(a.bound, b.bound)}.get(op)
                if op == "sub" and not dtype.startswith("u"):
                    bound = a.bound + b.bound
                if bound is not None and bound >= 2 ** (INTS[dtype] - 1):
                    bound = None
            return self.define("%s %s, %s" % (op, a, b), dtype, shape, INT, bound)
        kind = max(a.kind, b.kind)
        op = self.pick(("add", "add", "mul", "mul", "sub", "max", "min"))
        if op in ("max", "min"):
            return self.define("%s %s, %s" % (op, a, b), dtype, shape, kind, max(a.bound, b.bound))
        bound = a.bound * b.bound if op == "mul" else a.bound + b.bound
        kind = self.kind_of_sum(dtype, kind, bound)
        if is_narrow(dtype) and kind != INT:
            return self.define("max %s, %s" % (a, b), dtype, shape, max(a.kind, b.kind), max(a.bound, b.bound))
        return self.define("%s %s, %s" % (op, a, b), dtype, shape, kind, bound)

    def compare(self, shape, depth):
        for _ in range(6):
            dtype = self.pick(("index", "i32", "f32", "i64", "i8"))
            if self.chance(0.3):
                a, b = self.iota(shape, dtype if dtype in INTS else "index"), None
                b = self.scalar(a.dtype)
            else:
                a, b = self.pair(shape, dtype, depth)
            if a.kind != REAL and b.kind != REAL:
                return self.define("%s %s, %s" % (self.pick(("lt", "le", "gt", "ge", "eq", "ne")), a, b), "i1", shape)
        return self.constant("i1", shape)

    def logic(self, shape, depth):
        a, b = self.pair(shape, "i1", depth)
        whole = [v for v in (a, b) if v.shape == shape]
        if whole and self.chance(0.2):
            return self.define("not %s" % whole[0], "i1", shape)
        return self.define("%s %s, %s" % (self.pick(("and", "or", "xor")), a, b), "i1", shape)

    def tile_unary(self, shape, dtype, depth):
        if dtype == "i1":
            return None
        a = self.tile(shape, dtype, depth)
        if not is_float(dtype):
            op = self.pick(("neg", "abs", "sign", "relu", "not"))
            return self.define("%s %s" % (op, a), dtype, shape, INT, None)
        if a.kind != REAL and self.chance(0.3) and not is_narrow(dtype):
            op = self.pick(("floor", "ceil", "round", "trunc", "sign"))
            return self.define("%s %s" % (op, a), dtype, shape, INT, a.bound)
        if self.chance(0.2) and not is_narrow(dtype):
            a = self.define("abs %s" % a, dtype, shape, a.kind, a.bound)
            a = self.define("add %s, 1.0" % a, dtype, shape, REAL, a.bound + 1)
            op = self.pick(("sqrt", "rsqrt", "recip"))
            return self.define("%s %s" % (op, a), dtype, shape, REAL, a.bound if op == "sqrt" else 1)
        if self.chance(0.3) and dtype == "f32":
            a = self.limited(a, 3)
            op, bound = self.pick((("exp", 21), ("tanh", 1), ("sigmoid", 1), ("erf", 1), ("sin", 1), ("gelu", 3),
                                   ("silu", 3), ("exp2", 8)))
            return self.define("%s %s" % (op, a), dtype, shape, REAL, bound)
        return self.define("%s %s" % (self.pick(("neg", "abs", "relu")), a), dtype, shape, a.kind, a.bound)

    def tile_select(self, shape, dtype, depth):
        c = self.tile(shape, "i1", depth) if self.chance(0.6) else self.part(shape, "i1", depth)
        a = self.tile(shape, dtype, depth)
        b = self.part(shape, dtype, depth)
        bound = None if a.bound is None or b.bound is None else max(a.bound, b.bound)
        return self.define("select %s, %s, %s" % (c, a, b), dtype, shape, max(a.kind, b.kind), bound)

    def tile_cast(self, shape, dtype, depth):
        if dtype == "index":
            return None
        source = self.pick(("f32", "f64", "i32", "i64", "i8", "i1", "u8") + (("f16", "bf16") if self.narrow else ()))
        if source == dtype:
            return None
        a = self.tile(shape, source, depth)
        kind, bound = a.kind, a.bound
        if source == "i1":
            kind, bound = INT, 1
        elif dtype == "i1":
            if is_float(source):
                return None
            kind, bound = INT, 1
        elif is_float(source) and not is_float(dtype):
            if kind == REAL or bound >= 2 ** (INTS[dtype] - 1) or dtype.startswith("u"):
                return None
            kind = INT
        elif is_float(source):
            if is_narrow(dtype) and (kind == REAL or bound > FLOATS[dtype]):
                return None
            if kind == INT and bound > FLOATS[dtype]:
                kind = REAL
        elif is_float(dtype):
            if bound is None:
                if source.startswith("u"):
                    return None
                m = self.pick((3, 7, 15, 100))
                a = self.define("mod %s, %d" % (a, m), source, shape, INT, m)
                bound = m
            if bound > FLOATS[dtype]:
                return None
        elif bound is not None and (bound >= 2 ** (INTS[dtype] - 1) or dtype.startswith("u")):
            bound = None
        return self.define("cast %s %s" % (dtype, a), dtype, shape, kind, bound)

    def tile_broadcast(self, shape, dtype, depth):
        r = self.rng.random()
        if r < 0.2:
            a = self.scalar(dtype)
            if a.name.lstrip("-").isdigit():
                return None
        else:
            s = tuple(1 if self.chance(0.5) else d for d in shape)
            if self.chance(0.3):
                s = s[self.rng.randrange(len(s)):]
            a = self.tile(s, dtype, depth)
        return self.typed("broadcast %s" % a, dtype, shape, a.kind, a.bound)

    def tile_transpose(self, shape, dtype, depth):
        if len(shape) < 2:
            return None
        order = list(range(len(shape)))
        self.rng.shuffle(order)
        source = [0] * len(shape)
        for d, o in enumerate(order):
            source[o] = shape[d]
        a = self.tile(tuple(source), dtype, depth)
        return self.define("transpose %s, [%s]" % (a, ", ".join(map(str, order))), dtype, shape, a.kind, a.bound)

    def tile_twice(self, shape, dtype, depth):
        """%x + transpose of %x: one axis twice."""
        same = [(i, j) for i in range(len(shape)) for j in range(i) if shape[i] == shape[j]]
        if not same or dtype == "i1" or is_narrow(dtype):
            return None
        i, j = self.pick(same)
        order = list(range(len(shape)))
        order[i], order[j] = j, i
        a = self.tile(shape, dtype, depth)
        b = self.define("transpose %s, [%s]" % (a, ", ".join(map(str, order))), dtype, shape, a.kind, a.bound)
        if not is_float(dtype):
            return self.define("add %s, %s" % (a, b), dtype, shape)
        return self.define("add %s, %s" % (a, b), dtype, shape, self.kind_of_sum(dtype, a.kind, 2 * a.bound),
                           2 * a.bound)

    def tile_reshape(self, shape, dtype, depth):
        dims = list(shape)
        for _ in range(self.pick((1, 1, 2))):
            r = self.rng.random()
            if r < 0.35 and len(dims) < 5:
                dims.insert(self.rng.randrange(len(dims) + 1), 1)
            elif r < 0.5 and 1 in dims and len(dims) > 1:
                dims.remove(1)
            elif r < 0.8 and len(dims) > 1:
                d = self.rng.randrange(len(dims) - 1)
                dims[d:d + 2] = [dims[d] * dims[d + 1]]
            else:
                d = self.rng.randrange(len(dims))
                by = [k for k in range(2, dims[d]) if dims[d] % k == 0]
                if by and len(dims) < 5:
                    k = self.pick(by)
                    dims[d:d + 1] = [k, dims[d] // k]
        a = self.tile(tuple(dims), dtype, depth)
        return self.typed("reshape %s" % a, dtype, shape, a.kind, a.bound)

    def combiner(self, dtype):
        if dtype == "i1":
            return self.pick(("and", "or", "xor"))
        if is_float(dtype):
            return self.pick(("max", "min")) if is_narrow(dtype) else self.pick(("add", "add", "add", "max", "min"))
        return self.pick(("add", "add", "max", "min", "mul", "and", "or", "xor"))

    def combined(self, text, op, a, dtype, shape, n, extra=None):
        """The result of a reduction or scan of n elements of a; extra: a carry."""
        if not is_float(dtype):
            return self.define(text, dtype, shape, INT, None)
        kind, bound = a.kind, a.bound
        if extra is not None:
            kind = max(kind, extra.kind)
        if op == "add":
            bound = bound * n + (extra.bound if extra is not None else 0)
            kind = self.kind_of_sum(dtype, kind, bound)
        elif extra is not None:
            bound = max(bound, extra.bound)
        return self.define(text, dtype, shape, kind, bound)

    def tile_reduce(self, shape, dtype, depth):
        if dtype == "index":
            return None
        ones = [d for d, n in enumerate(shape) if n == 1]
        full, drop = list(shape), None
        if not ones or self.chance(0.2):
            if len(full) > 4:
                return None
            drop = self.rng.randrange(len(full) + 1)
            full.insert(drop, 1)
            ones = [drop]
        axes = [d for d in ones if self.chance(0.7)] or [self.pick(ones)]
        self.rng.shuffle(axes)
        if drop is not None and drop not in axes:
            return None
        source = list(full)
        for d in axes:
            source[d] = self.extent()
        if product(source) > self.MOST_ELEMENTS:
            return None
        a = self.tile(tuple(source), dtype, depth)
        r = self.reduction(a, axes, tuple(full))
        return r if drop is None else self.typed("reshape %s" % r, dtype, shape, r.kind, r.bound)

    def reduction(self, a, axes, shape):
        op = self.combiner(a.dtype)
        text = "reduce %s %s, %s" % (op, a, axes[0] if len(axes) == 1 and self.chance(0.7) else str(axes))
        if len(axes) == 1 and self.chance(0.3):
            count = self.pick([1, a.shape[axes[0]], a.shape[axes[0]] + 3, max(1, a.shape[axes[0]] - 1)])
            if self.chance(0.6):
                count = self.symbol(count)
            if op == "add" or not is_float(a.dtype):  # a count of 0 would give an infinity otherwise
                if self.chance(0.1):
                    count = self.scalar("index")
            text += " count %s" % count
        return self.combined(text, op, a, a.dtype, shape, product(a.shape[d] for d in axes))

    def tile_normal(self, shape, dtype, depth):
        """Several reductions over one row, then element by element."""
        if dtype not in ("f32", "f64", "i32"):
            return None
        a = self.tile(shape, dtype, depth)
        axis = self.rng.randrange(len(shape)) if self.chance(0.3) else len(shape) - 1
        row = shape[:axis] + (1,) + shape[axis + 1:]
        for _ in range(self.pick((1, 2, 2, 3))):
            r = self.scaled(self.reduction(a, [axis], row))
            op = self.pick(("add", "sub", "max", "min", "mul"))
            if not is_float(dtype):
                a = self.define("%s %s, %s" % (op, a, r), dtype, shape)
                continue
            kind = max(a.kind, r.kind)
            bound = {"mul": a.bound * r.bound, "max": max(a.bound, r.bound), "min": max(a.bound, r.bound)}
            bound = bound.get(op, a.bound + r.bound)
            if op not in ("max", "min"):
                kind = self.kind_of_sum(dtype, kind, bound)
            a = self.scaled(self.define("%s %s, %s" % (op, a, r), dtype, shape, kind, bound))
        return a

    def tile_scan(self, shape, dtype, depth):
        if dtype in ("index", "i1"):
            return None
        axis = self.rng.randrange(len(shape))
        a = self.tile(shape, dtype, depth)
        op = self.combiner(dtype)
        text, carry = "scan %s %s, %d" % (op, a, axis), None
        need = is_float(dtype) and op != "add"  # else an exclusive scan starts with an infinity
        if self.chance(0.4):
            carry = self.tile(shape[:axis] + (1,) + shape[axis + 1:], dtype, depth)
        if self.chance(0.3) and (carry is not None or not need):
            text += " exclusive"
        if self.chance(0.3):
            text += " reverse"
        if carry is not None:
            text += " carry %s" % carry
        return self.combined(text, op, a, dtype, shape, shape[axis], carry)

    def factors(self, shape, most=None):
        """Labels and shapes of the factors of a dot with a sum of that shape, and what is summed over."""
        names = list("abcdefgh"[:len(shape)])
        size = dict(zip(names, shape))
        inner = list("klm"[:self.weighted([(1, 6), (2, 2), (3, 0.5)])])
        for k in inner:
            size[k] = self.extent() if self.chance(0.7) else self.pick(self.blocks)
        left, right = list(inner), list(inner)
        half = self.rng.randrange(len(names) + 1)
        for n, name in enumerate(names):
            where = "b" if self.chance(0.15) else ("l" if n < half else "r") if self.chance(0.7) else self.pick("lr")
            if where != "r":
                left.append(name)
            if where != "l":
                right.append(name)
        if self.chance(0.05):
            left.append("z")  # summed in one factor only
            size["z"] = self.pick((2, 3))
            inner.append("z")
        for labels in (left, right):
            if self.chance(0.7):
                labels.sort(key=lambda c: ((c in inner) if labels is left else (c not in inner), c))
                labels.sort(key=lambda c: not (c in left and c in right and c not in inner))
            else:
                self.rng.shuffle(labels)
        shapes = [tuple(size[c] for c in labels) for labels in (left, right)]
        n = product(size[k] for k in inner)
        if product(shape) * n > self.MOST_WORK / self.trips or max(map(product, shapes)) > self.MOST_ELEMENTS:
            return None
        if max(len(left), len(right)) > 5:
            return None
        return left, right, names, shapes, n, inner

    def factor_type(self, dtype):
        if is_float(dtype):
            return self.weighted([(dtype, 8), ("f32", 1)] + ([("bf16", 3), ("f16", 2)] if self.narrow else []))
        return self.weighted([(dtype, 4), ("i8", 2), ("i32", 1)])

    def tile_dot(self, shape, dtype, depth):
        if dtype in ("i1", "index") or is_narrow(dtype) or not self.factors(shape):
            return None
        left, right, names, shapes, n, _ = self.factors(shape) or (0, 0, 0, 0, 0, 0)
        if not left:
            return None
        x = self.tile(shapes[0], self.factor_type(dtype), depth)
        y = self.tile(shapes[1], self.factor_type(dtype), depth)
        c = self.constant(dtype, shape) if self.chance(0.5) else self.tile(shape, dtype, depth)
        return self.dot(left, right, names, x, y, c, n)

    def dot(self, left, right, names, x, y, c, n):
        text = 'dot "%s,%s->%s" %s, %s, %s' % ("".join(left), "".join(right), "".join(names), x, y, c)
        if not is_float(c.dtype):
            return self.define(text, c.dtype, c.shape)
        bound = c.bound + x.bound * y.bound * n
        kind = self.kind_of_sum(c.dtype, max(x.kind, y.kind, c.kind), bound)
        return self.define(text, c.dtype, c.shape, kind, bound)

    def tile_gather(self, shape, dtype, depth):
        if dtype in ("i1", "index"):
            return None
        rank = self.pick((1, 2))
        name, _ = self.view(dtype, tuple(self.extent() for _ in range(rank)))
        at, full = [], self.rng.randrange(rank)
        for r in range(rank):
            s = shape if r == full else tuple(1 if self.chance(0.4) else d for d in shape)
            t = self.pick(("i32", "i64", "index"))
            i = self.tile(s, t, depth)
            if self.chance(0.7):
                i = self.define("mod %s, %d" % (i, self.pick((3, 8, 17, 50))), t, s, INT, 50)
            at.append(i.name)
        pad, x = self.pad(dtype)
        return self.define("gather %s[%s]%s" % (name, ", ".join(at), pad), dtype, shape,
                           LOAD if is_float(dtype) else INT,
                           max(x, 1 if is_float(dtype) else LOADED_INT[dtype]))

    def tile_through_scratch(self, shape, dtype, depth):
        if dtype == "index":
            return None
        have = [s for s in self.scratch if s is not None and s[1] == dtype and s[2] == shape]
        if have and self.chance(0.7):
            name, _, _, kind, bound = self.pick(have)
        else:
            a = self.tile(shape, dtype, depth)
            name, kind, bound = self.fresh(), a.kind, a.bound
            self.emit("%s = scratch : view<%sx%s>" % (name, "x".join(map(str, shape)), dtype))
            self.emit("store %s, %s[%s]" % (a, name, ", ".join("0" for _ in shape)))
            self.scratch.append((name, dtype, shape, kind, bound))
        at = [self.pick((0, 0, 0, 1, -1)) if d > 1 else 0 for d in shape]
        return self.typed("load %s[%s]" % (name, ", ".join(map(str, at))), dtype, shape, kind, bound)

    # -- Control flow

    def trip(self):
        """Bounds and step of a loop, as text, and how often it runs at most."""
        n = self.weighted([(0, 0.5), (1, 1), (2, 3), (3, 3), (4, 1), (5, 1)])
        step = self.weighted([(1, 4), (2, 2), (4, 1), (8, 2), (16, 1)])
        last = n * step - self.rng.randrange(step) if n else 0
        lo = 0 if self.chance(0.8) else self.pick((1, 2))
        hi = self.symbol(last + lo) if self.chance(0.6) else last + lo
        return str(lo), str(hi), str(step), n

    def carried_shape(self):
        return self.shape() if self.chance(0.5) else None

    def carried_from(self, shape, dtype, depth):
        v = self.tile(shape, dtype, depth) if shape is not None else self.scalar(dtype)
        if re.fullmatch(r"-?\d+", v.name) or v.name in self.sizes:
            v = self.define("add %s, 0" % v, dtype, None) if v.name in self.sizes else self.typed(
                "constant %s" % v, dtype, None)
        return self.limited(v, 64)

    def carry(self, shape, dtype, depth):
        """Initial values of what a loop carries, the first of that shape, and fresh arguments for the body."""
        initial = [self.carried_from(shape, dtype, depth)]
        for _ in range(self.weighted([(0, 4), (1, 3), (2, 1)])):
            r = self.rng.random()
            s, t = (shape, dtype) if r < 0.4 else (None, self.pick(("i32", "index", "f32"))) if r < 0.6 else (
                self.shape(), self.pick(("f32", "i32", dtype)))
            if is_narrow(t):
                t = "f32"
            initial.append(self.carried_from(s, t, depth))
        return initial

    def arguments(self, initial):
        args = []
        for v in initial:
            a = Value(self.fresh(), v.dtype, v.shape, REAL if is_float(v.dtype) else INT,
                      64 if is_float(v.dtype) else None)
            self.types[a.name] = (a.dtype, a.shape)
            args.append(a)
        return args

    def yielded(self, args, i, depth):
        a = args[i]
        same = [b for b in args if b.shape == a.shape and b.dtype == a.dtype]
        r = self.rng.random()
        if r < 0.25:
            return self.pick(same)  # itself, or swapped
        if a.shape is None:
            b = self.scalar(a.dtype)
            if a.dtype == "i1":
                return a
            if is_float(a.dtype):
                v = self.define("%s %s, %s" % (self.pick(("add", "max", "min")), a, b), a.dtype, None, REAL,
                                a.bound + b.bound)
                return self.limited(v, 64)
            return self.define("%s %s, %s" % (self.pick(("add", "max", "xor")), a, b), a.dtype, None)
        v = self.tile(a.shape, a.dtype, depth)
        if r < 0.7 and a.dtype != "i1" and v is not a:
            op = self.pick(("add", "sub", "max"))
            v = self.define("%s %s, %s" % (op, a, v), a.dtype, a.shape, REAL if is_float(a.dtype) else INT,
                            a.bound + v.bound if is_float(a.dtype) else None)
        return self.limited(v, 64)

    def results(self, args):
        out = [Value(self.fresh(), a.dtype, a.shape, a.kind, a.bound) for a in args]
        for v in out:
            self.types[v.name] = (v.dtype, v.shape)
        return out

    @staticmethod
    def names(values):
        return ", ".join(v.name for v in values)

    def tile_loop(self, shape, dtype, depth):
        if is_narrow(dtype) or dtype in ("index",):
            return None
        initial = self.carry(shape, dtype, depth)
        args = self.arguments(initial)
        out = self.results(args)
        lo, hi, step, n = self.trip()
        i = self.fresh()
        self.types[i] = ("index", None)
        self.open("%s = for %s = %s to %s step %s with (%s) {" % (
            self.names(out), i, lo, hi, step, ", ".join("%s = %s" % x for x in zip(args, initial))))
        self.loop_index.append(i)
        self.trips *= max(1, n)
        self.scopes[-1] += args
        if self.chance(0.3):
            self.statement(depth)
        if self.chance(0.2) and args[0].shape is not None:
            self.store(self.pick([a for a in args if a.shape is not None]))
        values = [self.yielded(args, k, depth) for k in range(len(args))]
        self.emit("yield %s" % self.names(values))
        self.trips //= max(1, n)
        self.loop_index.pop()
        self.close()
        self.scopes[-1] += out
        return out[0]

    def tile_sum_loop(self, shape, dtype, depth):
        """A loop that accumulates products, as in a matmul."""
        if dtype not in ("f32", "f64", "i32"):
            return None
        f = self.factors(shape)
        if not f:
            return None
        left, right, names, shapes, n, inner = f
        c = self.constant(dtype, shape) if self.chance(0.6) else self.limited(self.tile(shape, dtype, depth), 64)
        lo, hi, step, trips = self.trip()
        k = self.pick([x for x in inner])
        size = dict(zip(left + right, shapes[0] + shapes[1]))
        if self.chance(0.7):
            step = str(size[k])
            last = max(0, trips * size[k] - self.rng.randrange(size[k] + 1))
            lo, hi = "0", self.symbol(last) if self.chance(0.7) else str(last)
        arg = Value(self.fresh(), dtype, shape, c.kind, 64 if is_float(dtype) else None)
        out, i = self.fresh(), self.fresh()
        self.types[arg.name] = self.types[out] = (dtype, shape)
        self.types[i] = ("index", None)
        self.open("%s = for %s = %s to %s step %s with (%s = %s) {" % (out, i, lo, hi, step, arg, c))
        self.loop_index.append(i)
        self.trips *= max(1, trips)
        factors = []
        for labels, s in zip((left, right), shapes):
            t = self.factor_type(dtype)
            if self.chance(0.75):
                dims = tuple(self.pick((d, d, d + 1)) if x != k else max(1, int(self.sizes.get(hi, hi)))
                             for x, d in zip(labels, s))
                if product(dims) > 20000:
                    dims = s
                name, _ = self.view(t, dims)
                at = [i if x == k else self.block_offset(self.blocks.index(d)) if d in self.blocks and self.chance(0.6)
                      else "0" for x, d in zip(labels, s)]
                v = self.typed("load %s[%s]" % (name, ", ".join(at)), t, s, LOAD if is_float(t) else INT,
                               1 if is_float(t) else LOADED_INT[t])
                if t != dtype and self.chance(0.5):
                    v = self.define("cast %s %s" % (dtype, v), dtype, s, v.kind, v.bound)
            else:
                v = self.tile(s, t, min(depth, 2))
            factors.append(v)
        d = self.dot(left, right, names, factors[0], factors[1], arg, n)
        self.emit("yield %s" % d)
        self.trips //= max(1, trips)
        self.loop_index.pop()
        self.close()
        bound = None
        if is_float(dtype):
            bound = c.bound + trips * n * factors[0].bound * factors[1].bound
        kind = self.kind_of_sum(dtype, max(factors[0].kind, factors[1].kind, c.kind), bound) if bound else INT
        v = Value(out, dtype, shape, kind if is_float(dtype) else INT, bound)
        v = self.scaled(v)
        self.scopes[-1].append(v)
        return v

    def tile_repeat(self, shape, dtype, depth):
        """A while loop: a counter and tiles."""
        if is_narrow(dtype) or dtype == "index":
            return None
        initial = self.carry(shape, dtype, depth)
        zero = self.typed("constant 0", "index", None, hidden=True)
        first, second, out = self.arguments(initial), self.arguments(initial), self.results(self.arguments(initial))
        counter, again, ignored = self.fresh(), self.fresh(), self.fresh()
        for name in (counter, again, ignored):
            self.types[name] = ("index", None)
        n = self.pick((0, 1, 2, 3))
        self.open("%s, %s = while (%s, %s = %s) {" % (self.names(out), ignored, ", ".join(
            "%s = %s" % x for x in zip(first, initial)), counter, zero))
        c = self.define("lt %s, %d" % (counter, n), "i1", None)
        self.emit("condition %s" % c)
        self.close("} do (%s, %s) {" % (self.names(second), again))
        self.depth_of_blocks += 1
        self.scopes.append(list(second))
        self.scratch.append(None)
        self.trips *= max(1, n)
        values = [self.yielded(second, k, depth) for k in range(len(second))]
        following = self.define("add %s, 1" % again, "index", None, hidden=True)
        self.emit("yield %s, %s" % (self.names(values), following))
        self.trips //= max(1, n)
        self.close()
        self.scopes[-1] += out
        return out[0]

    def condition(self):
        for _ in range(5):
            c = self.scalar("i1")
            if c.name.startswith("%"):
                return c
        return self.define("lt %s, 1" % self.pids[0], "i1", None)

    def tile_branch(self, shape, dtype, depth):
        c = self.condition()
        kinds = [(shape, dtype)]
        if self.chance(0.3):
            kinds.append((self.shape(), "f32"))
        both, names = [], [self.fresh() for _ in kinds]
        for b in range(2):
            if b == 0:
                self.open("%s = if %s {" % (", ".join(names), c))
            else:
                self.close("} else {")
                self.depth_of_blocks += 1
                self.scopes.append([])
                self.scratch.append(None)
            both.append([self.tile(s, t, depth) for s, t in kinds])
            self.emit("yield %s" % self.names(both[-1]))
        self.close()
        out = []
        for k, (s, t) in enumerate(kinds):
            x, y = both[0][k], both[1][k]
            bound = None if x.bound is None or y.bound is None else max(x.bound, y.bound)
            out.append(Value(names[k], t, s, max(x.kind, y.kind), bound))
            self.types[names[k]] = (t, s)
        self.scopes[-1] += out
        return out[0]

    # -- Effects

    def linear(self):
        """The instance's number, made at the top."""
        if not self.linear_name:
            at = len(self.pids)
            name, text = self.pids[0], []
            for g in range(1, len(self.pids)):
                text.append("  %%n%d = num_programs %d" % (g, g))
                text.append("  %%l%d = mul %s, %%n%d" % (g, name, g))
                text.append("  %%m%d = add %%l%d, %s" % (g, g, self.pids[g]))
                name = "%%m%d" % g
                for x in "nlm":
                    self.types["%%%s%d" % (x, g)] = ("index", None)
            self.lines[at:at] = text
            self.linear_name = name
        return self.linear_name

    def output(self, dtype, dims, sizes):
        name = "%%y%d" % len(self.params)
        text = "view<%sx%s" % ("x".join(map(str, dims)), dtype)
        if self.chance(0.1):
            order = list(range(len(dims)))
            self.rng.shuffle(order)
            stride, strides = 1, [0] * len(dims)
            for d in order:
                strides[d] = stride
                stride *= max(1, sizes[d]) + self.pick((0, 0, 1, 3))
            text += ", strides [%s]" % ", ".join(self.symbol(n) if self.chance(0.4) else str(n) for n in strides)
        self.params.append("%s: %s>" % (name, text))
        return name

    def place(self, shape):
        """Where a tile goes so that no two instances meet: (rank added, indices, dims, sizes)."""
        at, dims, sizes = [None] * len(shape), [None] * len(shape), [0] * len(shape)
        leading = []
        for g, n in enumerate(self.grid):
            free = [d for d in range(len(shape)) if at[d] is None]
            same = [d for d in free if shape[d] == self.blocks[g]]
            if same and self.chance(0.8):
                d = self.pick(same)
                at[d] = self.block_offset(g)
                dims[d] = self.grid_size[g]
                sizes[d] = self.sizes.get(dims[d], dims[d])
            elif free and self.chance(0.3):
                d = self.pick(free)
                if shape[d] == 1:
                    at[d] = self.pids[g]
                else:
                    at[d] = self.define("mul %s, %d" % (self.pids[g], shape[d]), "index", None, hidden=True).name
                sizes[d] = max(1, n * shape[d] - self.rng.randrange(shape[d]))
                dims[d] = self.dimension(sizes[d])
            else:
                leading.append((self.pids[g], self.dimension(n), n))
        for d in range(len(shape)):
            if at[d] is None:
                at[d] = self.index(shape[d]) if self.chance(0.3) else "0"
                sizes[d] = max(1, shape[d] + self.pick((0, 0, 0, 1, -1, 5, -shape[d] // 2)))
                dims[d] = self.dimension(sizes[d])
        for p, dim, n in leading:
            at.insert(0, p)
            dims.insert(0, dim)
            sizes.insert(0, n)
        return len(leading), at, dims, sizes

    def store(self, v):
        added, at, dims, sizes = self.place(v.shape)
        dtype = v.dtype
        if added:
            v = self.typed("reshape %s" % v, dtype, (1,) * added + v.shape, v.kind, v.bound)
        if dtype == "index":
            dtype = "i64"
            v = self.define("cast i64 %s" % v, dtype, v.shape)
        if product(sizes) > 60000:
            return
        name = self.output(dtype, dims, sizes)
        if self.chance(0.12):  # through a window that reorders and spreads
            w, letters = self.fresh(), "abcdefgh"[:len(at)]
            order = list(range(len(at)))
            if self.chance(0.5):
                self.rng.shuffle(order)
            # root dimension r holds dimension order[r] of the window, whose tile must fit there without meeting others
            if order == list(range(len(at))):
                self.emit("%s = window %s[%s] (%s) -> (%s)" % (w, name, ", ".join(at), ", ".join(letters),
                                                               ", ".join(letters)))
                name, at = w, ["0"] * len(at)
            else:
                moved = [None] * len(at)
                for r, o in enumerate(order):
                    moved[o] = at[r]
                t = [0] * len(at)
                for d, o in enumerate(order):
                    t[o] = v.shape[d]
                v = self.define("transpose %s, [%s]" % (v, ", ".join(str(order.index(d)) for d in range(len(at)))),
                                dtype, tuple(t), v.kind, v.bound)
                self.emit("%s = window %s[%s] (%s) -> (%s)" % (w, name, ", ".join("0" for _ in at), ", ".join(letters),
                                                               ", ".join(letters[o] for o in order)))
                name, at = w, moved
        self.emit("store %s, %s[%s]%s" % (v, name, ", ".join(at), " stream" if self.chance(0.05) else ""))

    def effect_store(self, depth):
        self.store(self.tile(self.shape(), self.dtype(), depth))

    def effect_in_place(self, depth):
        """Loads and stores of one view: each instance has a slice of its own."""
        dtype = self.pick(("f32", "f32", "i32", "f64", "i8"))
        rank = self.pick((1, 2))
        shape = self.shape(rank)
        size = [d + self.pick((0, 0, 1, 4)) for d in shape]
        n = product(self.grid)
        name = self.output(dtype, [self.dimension(n)] + [self.dimension(d) for d in size], [n] + size)
        full = (1,) + shape
        lin = self.linear()
        for _ in range(self.pick((1, 1, 2))):
            at = [lin] + [str(self.pick((0, 0, 0, 1, -1))) for _ in shape]
            v = self.typed("load %s[%s]" % (name, ", ".join(at)), dtype, full, REAL if is_float(dtype) else INT,
                           200 if is_float(dtype) else None)
            if self.chance(0.2):
                v = self.define("transpose %s, [0, 2, 1]" % v, dtype, (1, shape[1], shape[0]), v.kind,
                                v.bound) if rank == 2 and shape[0] == shape[1] else v
            a = self.part(full, dtype, depth)
            if is_float(dtype):
                v = self.define("%s %s, %s" % (self.pick(("add", "max", "sub")), v, a), dtype, full, REAL,
                                v.bound + a.bound)
            else:
                v = self.define("%s %s, %s" % (self.pick(("add", "max", "xor")), v, a), dtype, full)
            if self.chance(0.3):
                red = self.pick((1, len(shape)))
                row = full[:red] + (1,) + full[red + 1:]
                r = self.scaled(self.reduction(v, [red], row))
                v = self.define("max %s, %s" % (v, r), dtype, full, v.kind, max(v.bound, r.bound)
                                if is_float(dtype) else None)
            v = self.limited(v, 100)
            if not self.chance(0.6):
                at = [lin] + [str(self.pick((0, 0, 1, -1))) for _ in shape]
            self.emit("store %s, %s[%s]" % (v, name, ", ".join(at)))

    def effect_scatter(self, depth):
        dtype = self.pick(("f32", "i32", "i64", "f64"))
        shape = self.shape(self.pick((1, 2)))
        v = self.tile(shape, dtype, depth)
        if v.kind == REAL and v.bound > MOST_REAL:
            v = self.scaled(v)
        n = product(self.grid)
        at, dims, sizes = [self.linear()], [self.dimension(n)], [n]
        t = self.pick(("i32", "i64", "index"))
        for d, extent in enumerate(shape):
            s = (1,) * d + (extent,) + (1,) * (len(shape) - d - 1)
            i = self.typed("iota %d" % d, t, s, INT, extent)
            scale = self.pick((1, 1, 2))
            if scale != 1:
                i = self.define("mul %s, %d" % (i, scale), t, s)
            if self.chance(0.3):
                c = self.typed("constant %d" % ((extent - 1) * scale), t, s, hidden=True)
                i = self.define("sub %s, %s" % (c, i), t, s)
            at.append(i.name)
            sizes.append(max(1, extent * scale + self.pick((0, 0, 1, -1))))
            dims.append(self.dimension(sizes[-1]))
        name = self.output(dtype, dims, sizes)
        self.emit("scatter %s, %s[%s]" % (v, name, ", ".join(at)))

    def effect_atomic(self, depth):
        dtype = self.pick(("i32", "i64", "f32", "f64", "i32"))
        shape = self.shape(self.pick((1, 2)))
        if is_float(dtype):
            a = self.tile(shape, "i32", depth)
            a = self.define("mod %s, 5" % a, "i32", shape, INT, 5)
            v = self.define("cast %s %s" % (dtype, a), dtype, shape, INT, 5)
            op = self.pick(("add", "max", "min"))
            op = "max" if op == "add" else op  # the memory's own elements are not whole
        else:
            v = self.tile(shape, dtype, depth)
            op = self.pick(("add", "add", "max", "min", "xor", "and", "or"))
        t = self.pick(("i32", "i64"))
        i = self.tile(shape, t, depth)
        size = self.extent()
        if self.chance(0.7):
            i = self.define("mod %s, %d" % (i, size + self.pick((0, 2))), t, shape, INT, size + 2)
        name = self.output(dtype, [self.dimension(size)], [size])
        # A view without strides that overlap; other instances only combine as well.
        self.emit("atomic %s %s, %s[%s]" % (op, v, name, i))

    def effect_branch(self, depth):
        c = self.condition()
        self.open("if %s {" % c)
        self.statement(depth)
        if self.chance(0.5):
            self.close("} else {")
            self.depth_of_blocks += 1
            self.scopes.append([])
            self.scratch.append(None)
            self.statement(depth)
        self.close()

    def effect_loop(self, depth):
        lo, hi, step, n = self.trip()
        i = self.fresh()
        self.types[i] = ("index", None)
        self.open("for %s = %s to %s step %s {" % (i, lo, hi, step))
        self.loop_index.append(i)
        self.trips *= max(1, n)
        self.statement(depth)
        if self.chance(0.3):
            self.statement(depth)
        self.trips //= max(1, n)
        self.loop_index.pop()
        self.close()

    def statement(self, depth):
        table = [("store", 8), ("in_place", 1.2), ("scatter", 0.7), ("atomic", 0.7)]
        if self.depth_of_blocks < 2 and self.trips <= 5:
            table += [("branch", 0.8), ("loop", 1)]
        getattr(self, "effect_" + self.weighted(table))(depth)

    # -- A kernel

    def kernel(self):
        n_grid = self.weighted([(1, 4), (2, 4), (3, 1)])
        self.blocks, self.grid, self.grid_size, grid = [], [], [], []
        for g in range(n_grid):
            block = self.extent() if n_grid < 3 else self.pick((1, 2, 4, 8))
            n = self.weighted([(1, 3), (2, 3), (3, 1)])
            if self.chance(0.4) and n == 1:
                size = max(1, block - self.rng.randrange(block))  # a tile larger than the view
            else:
                size = max(1, n * block - (self.rng.randrange(block) if self.chance(0.7) else 0))
            n = -(-size // block)
            dim = self.symbol(size) if self.chance(0.75) else size
            self.blocks.append(block)
            self.grid.append(n)
            self.grid_size.append(dim)
            grid.append(str(dim) if block == 1 else "ceildiv(%s, %d)" % (dim, block))
        self.pids = ["%%i%d" % g for g in range(n_grid)]
        self.offsets, self.linear_name = {}, None
        for g, p in enumerate(self.pids):
            self.emit("%s = program_id %d" % (p, g))
            self.types[p] = ("index", None)
        for _ in range(self.weighted([(1, 5), (2, 3), (3, 1), (4, 1)])):
            self.statement(self.pick((2, 3, 4, 5)))
        left = [v for v in self.scopes[0] if v.shape is not None and v.name not in self.dead()]
        self.rng.shuffle(left)
        for v in left[:self.pick((0, 0, 1, 2))]:
            self.store(v)
        self.own_sizes(grid)
        header = "kernel @k(%s)\n    grid [%s]" % (",\n    ".join(self.params), ", ".join(grid))
        return Kernel(header, self.lines, dict(self.sizes), self.types)

    def own_sizes(self, grid):
        """Symbols that no parameter has become sizes of a view of their own, or constants."""
        for name, n in list(self.sizes.items()):
            word = r"\b%s\b" % name
            if any(re.search(r"[<x,\[ ]%s(?=x|\]|,)" % name, p) for p in self.params):
                continue
            if n and self.chance(0.5):
                self.lines[:] = [re.sub(word, str(n), x) for x in self.lines]
                grid[:] = [re.sub(word, str(n), x) for x in grid]
                del self.sizes[name]
            else:
                self.params.append("%%z%d: view<%sxi8>" % (len(self.params), name))

    def dead(self):
        text = "\n".join(self.lines)
        return {v.name for v in self.scopes[0] if re.search(re.escape(v.name) + r"\b(?! =)", text)}


# ---- Running -----------------------------------------------------------------------------------------------------

class Runner:
    def __init__(self, tegula, stages, targets, folder, optimize):
        self.tegula, self.stages, self.targets, self.optimize = tegula, stages, targets, optimize
        self.path = os.path.join(folder, "kernel.tile")

    def command(self, kernel, target, path):
        sizes = [a for name, n in sorted(kernel.sizes.items()) for a in ("--size", "%s=%d" % (name, n))
                 if re.search(r"(?<!%%)\b%s\b" % name, kernel.text()) or ("%sx" % name) in kernel.header]
        return [self.tegula, "check", path, "--target", target, "--stages", self.stages, "--tolerance",
                repr(TOLERANCE), "-O%d" % self.optimize] + sizes

    def run(self, kernel, target, timeout=TIMEOUT_SECONDS):
        """('ok' | 'rejected' | 'error' | 'mismatch' | 'crash' | 'timeout', what was said)"""
        with open(self.path, "w") as f:
            f.write(kernel.text())
        try:
            p = subprocess.run(self.command(kernel, target, self.path), capture_output=True, text=True,
                               errors="replace", timeout=timeout)
        except subprocess.TimeoutExpired:
            return "timeout", ""
        said = p.stderr.replace(self.path + ":", "").strip()
        if p.returncode < 0 or p.returncode > 2:
            return "crash", "exit status %d\n%s" % (p.returncode, said[-2000:])
        if p.returncode == 0:
            return "ok", ""
        if "@k: tile:" not in p.stdout and "in stage" not in said:
            return "rejected", said
        if re.search(r"in stage|native code touched|native code wrote|native code got", said):
            return "mismatch", said
        if "marked as in bounds" in said:
            return "mismatch", said
        return "error", said

    def first_failure(self, kernel, targets=None):
        for target in targets or self.targets:
            status, said = self.run(kernel, target)
            if status != "ok":
                return status, target, said
        return "ok", None, ""


def symptom(status, said):
    """What two failures of one cause have in common."""
    line = said.split("\n")[0]
    line = re.sub(r"@k: |^\d+: |%\w+(\[[^]]*\])?|-?\b\d[\d.e+-]*\b|x86-64-v", "#", line)
    if status == "mismatch":
        line = re.sub(r"is .* in stage", "in stage", line)
        line = re.sub(r"in stage (\w+).*? and .*", r"in stage \1", line)
        line = re.sub(r"\bnative \(page-aligned\)", "native", line)
    if status == "crash":
        found = re.search(r"(SUMMARY: .*|Assertion .*|LLVM ERROR.*|exit status .*)", said)
        line = found.group(1) if found else line
    return "%s: %s" % (status, line[:120])


# ---- Shortening --------------------------------------------------------------------------------------------------

class Reducer:
    """Drops and simplifies lines of a kernel for as long as it fails alike."""

    def __init__(self, runner, kernel, target, wanted, deadline):
        self.runner, self.kernel, self.target, self.wanted, self.deadline = runner, kernel, target, wanted, deadline

    def fails(self, kernel):
        if time.time() > self.deadline or self.reads_nothing(kernel.lines):
            return False
        status, said = self.runner.run(kernel, self.target)
        return symptom(status, said) == self.wanted

    def reads_nothing(self, lines):
        """Whether scratch is read that no statement writes."""
        text = "\n".join(lines)
        return any("load %s[" % name in text and not re.search(r"store %%\w+, %s\[" % name, text)
                   for name in re.findall(r"(%\w+) = scratch", text))

    def attempt(self, lines, header=None, sizes=None):
        k = Kernel(header or self.kernel.header, lines, sizes or self.kernel.sizes, self.kernel.types)
        if (k.lines, k.header, k.sizes) == (self.kernel.lines, self.kernel.header, self.kernel.sizes):
            return False
        if self.fails(k):
            self.kernel = k
            return True
        return False

    @staticmethod
    def statement_end(lines, i):
        depth, j = 0, i
        while j < len(lines):
            text = lines[j].strip()
            depth += text.endswith("{") - text.startswith("}")
            if depth <= 0:
                return j + 1
            j += 1
        return None

    @staticmethod
    def defined(line):
        m = re.match(r"\s*((?:%\w+, )*%\w+) = ", line)
        return m.group(1).split(", ") if m else []

    @staticmethod
    def used(lines, name):
        return any(re.search(re.escape(name) + r"\b", line) for line in lines)

    def drop_statements(self):
        changed, i = False, len(self.kernel.lines) - 1
        while i >= 0:
            lines = self.kernel.lines
            if i < len(lines) and not lines[i].strip().startswith(("}", "yield", "condition")):
                end = self.statement_end(lines, i)
                if end:
                    rest = lines[:i] + lines[end:]
                    if not any(self.used(lines[end:], n) for n in self.defined(lines[i])):
                        changed |= self.attempt(rest)
            i -= 1
        return changed

    def constants(self):
        """Replaces what a statement makes by constants."""
        changed, i = False, len(self.kernel.lines) - 1
        while i >= 0:
            lines = self.kernel.lines
            names = self.defined(lines[i]) if i < len(lines) else []
            if names and " = constant" not in lines[i] and all(n in self.kernel.types for n in names):
                end = self.statement_end(lines, i)
                indent = lines[i][:len(lines[i]) - len(lines[i].lstrip())]
                for x in (0, 1):
                    new = []
                    for n in names:
                        dtype, shape = self.kernel.types[n]
                        value = "%.1f" % x if is_float(dtype) else "%d" % x
                        new.append("%s%s = constant %s : %s" % (indent, n, value, tile_text(shape, dtype)))
                    if self.attempt(lines[:i] + new + lines[end:]):
                        changed = True
                        break
            i -= 1
        return changed

    def forward(self):
        """Uses an earlier value of the same type instead."""
        changed = False
        for i in range(len(self.kernel.lines) - 1, -1, -1):
            lines = self.kernel.lines
            if i >= len(lines):
                continue
            names = self.defined(lines[i])
            if len(names) != 1 or names[0] not in self.kernel.types or " = constant" in lines[i]:
                continue
            end = self.statement_end(lines, i)
            here = re.findall(r"%\w+", lines[i].split(" = ", 1)[1])
            for other in here[:4]:
                if other in self.kernel.types and self.kernel.types[other] == self.kernel.types[names[0]]:
                    rest = [re.sub(re.escape(names[0]) + r"\b", other, x) for x in lines[end:]]
                    if self.attempt(lines[:i] + rest):
                        changed = True
                        break
        return changed

    def unwrap(self):
        """Replaces a block without results by what is in it."""
        changed = False
        for i in range(len(self.kernel.lines) - 1, -1, -1):
            lines = self.kernel.lines
            if i >= len(lines) or not lines[i].rstrip().endswith("{") or lines[i].strip().startswith("}"):
                continue
            end = self.statement_end(lines, i)
            inner = lines[i + 1:end - 1]
            if self.defined(lines[i]) or any(x.strip() == "} else {" for x in inner):
                continue
            m = re.match(r"\s*for (%\w+) = (\S+) ", lines[i])
            if m:
                inner = [re.sub(re.escape(m.group(1)) + r"\b", m.group(2), x) for x in inner]
            changed |= self.attempt(lines[:i] + inner + lines[end:])
        return changed

    def shorten_header(self):
        header, changed = self.kernel.header, False
        params = re.findall(r"%\w+: [^%]*?(?=,\n|\)\n)", header)
        for p in params:
            name = p.split(":")[0]
            if not self.used(self.kernel.lines, name):
                new = self.kernel.header.replace(p + ",\n    ", "").replace(",\n    " + p, "")
                changed |= self.attempt(self.kernel.lines, new)
        for name, n in sorted(self.kernel.sizes.items()):
            for smaller in (1, n // 2, n - 1):
                if 0 < smaller < n:
                    sizes = dict(self.kernel.sizes)
                    sizes[name] = smaller
                    if self.attempt(self.kernel.lines, None, sizes):
                        changed = True
                        break
        return changed

    def renumbered(self):
        """Other sizes of tiles, everywhere at once."""
        changed = False
        text = self.kernel.text()
        for n in sorted({int(x) for x in re.findall(r"(?<=[<x])(\d+)(?=x)", text)}, reverse=True):
            for m in (2, 3, n // 2, n - 1):
                if 1 < m < n and time.time() < self.deadline:
                    change = lambda s: re.sub(r"(?<![%%\w.])%d(?=x|\b(?!\.))(?![\w.]*\w*\d\.)" % n, str(m),
                                              re.sub(r"(?<=x)%d(?=x)" % n, str(m), s))
                    types = {k: (t, None if s is None else tuple(m if d == n else d for d in s))
                             for k, (t, s) in self.kernel.types.items()}
                    k = Kernel(change(self.kernel.header), [change(x) for x in self.kernel.lines],
                               {a: m if b == n else b for a, b in self.kernel.sizes.items()}, types)
                    if self.fails(k):
                        self.kernel, changed = k, True
                        break
        return changed

    def run(self):
        while time.time() < self.deadline:
            changed = self.drop_statements()
            changed |= self.constants()
            changed |= self.forward()
            changed |= self.unwrap()
            changed |= self.drop_statements()
            changed |= self.shorten_header()
            changed |= self.renumbered()
            if not changed:
                break
        return self.kernel


# ---- The command -------------------------------------------------------------------------------------------------

def reproducer(kernel, runner, target, said, seed):
    command = " ".join(runner.command(kernel, target, "FILE")[1:])
    said = "\n".join("// " + line for line in said.split("\n")[:12])
    return "// seed %d: tegula %s\n%s\n%s" % (seed, command, said, kernel.text())


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--tegula", default="tegula")
    p.add_argument("--seed", type=int, default=1, help="of the first kernel")
    p.add_argument("--count", type=int, help="how many kernels")
    p.add_argument("--seconds", type=float, help="stop after this time")
    p.add_argument("--all", action="store_true", help="3000 kernels, every target for each")
    p.add_argument("--stages", default="tile,shaped,native")
    p.add_argument("--target", action="append", help="[%s]" % ", ".join(TARGETS))
    p.add_argument("--optimize", type=int, default=1, help="LLVM's effort, 0 to 3 [1]")
    p.add_argument("--save", help="where failures are kept")
    p.add_argument("--no-reduce", action="store_true")
    p.add_argument("--reduce-seconds", type=float, default=40, help="for one kernel")
    p.add_argument("--each", type=int, default=2, help="failures of one symptom that are shortened")
    p.add_argument("--print", action="store_true")
    o = p.parse_args()
    if o.print:
        k = Generator(o.seed).kernel()
        print(k.text() + "// " + " ".join("--size %s=%d" % x for x in sorted(k.sizes.items())))
        return 0
    count = o.count or (3000 if o.all else 10 ** 9 if o.seconds else 150)
    start, tally, seen = time.time(), {}, {}
    with tempfile.TemporaryDirectory() as folder:
        runner = Runner(o.tegula, o.stages, o.target or list(TARGETS), folder, o.optimize)
        for seed in range(o.seed, o.seed + count):
            if o.seconds and time.time() - start > o.seconds:
                break
            kernel = Generator(seed).kernel()
            # Each kernel for one target, in turn; all of them where there is time.
            targets = runner.targets if o.all else [runner.targets[seed % len(runner.targets)]]
            status, target, said = runner.first_failure(kernel, targets)
            tally[status] = tally.get(status, 0) + 1
            if status == "ok":
                continue
            what = symptom(status, said)
            seen.setdefault(what, []).append(seed)
            if status != "rejected":
                print("seed %d, %s: %s\n    %s" % (seed, target, what, said[:300].replace("\n", "\n    ")), flush=True)
            if len(seen[what]) <= o.each and not o.no_reduce:
                kernel = Reducer(runner, kernel, target, what, time.time() + o.reduce_seconds).run()
                status, said = runner.run(kernel, target)
            if o.save and len(seen[what]) <= 5:
                os.makedirs(o.save, exist_ok=True)
                with open(os.path.join(o.save, "%s-%d.tile" % (what.split(":")[0], seed)), "w") as f:
                    f.write(reproducer(kernel, runner, target, said, seed))
    print("%d kernels in %.0f s: %s" % (sum(tally.values()), time.time() - start,
                                       ", ".join("%d %s" % (n, s) for s, n in sorted(tally.items()))))
    for what, seeds in sorted(seen.items(), key=lambda x: -len(x[1])):
        print("%5d  %s  (seeds %s)" % (len(seeds), what, ", ".join(map(str, seeds[:8]))))
    return 1 if set(tally) - {"ok"} else 0


if __name__ == "__main__":
    sys.exit(main())
