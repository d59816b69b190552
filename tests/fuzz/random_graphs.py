#!/usr/bin/python3
"""Random graphs, each compiled and compared with its interpretation by `tegula check`.

    random_graphs.py --tegula PATH [--seed N] [--count N | --seconds S | --all] [--save DIR] [--no-reduce]
    random_graphs.py --tegula PATH --seed N --print      the graph of one seed, not run

What fails is shortened, for as long as it fails alike, and kept in DIR with the command that shows it.

The generator grows a pool of values from the inputs on: an operation is drawn, takes values of the pool that fit, and
makes what is missing (inputs, constants) in the shape that it needs. So that a difference always is a fault, every
value is known to be exact (no rounding on its way: it may be compared and cast to an integer) or not, with a bound of
its magnitude; values that may be infinite are wild, and only moved from then on.

Every other graph is compiled with a random schedule: what was chosen for its kernels, each number replaced.

A graph that is refused counts as a failure unless the refusal is one of LIMITS, which say what the lowering does not do.

Exit status: 0 all is well, 1 some graph failed.
"""

import argparse
import os
import random
import re
import subprocess
import sys
import tempfile
import time

TIMEOUT_SECONDS = 60
TARGETS = ("x86-64-v3", "x86-64-v4", "x86-64-v2")
MOST_BOUND = 8        # of values that are rounded

LIMITS = (
    "window_reduce: windows over batch and channels are not supported",
    "the weights' sizes are not constant",
    "dimensions that cannot be walked as fewer than",
    "more than 8 axes",
    "compiled for sizes that are not constant it takes at most",
    "conv: groups in . spatial dimensions are not supported",
)

FLOATS = ("f32", "f64", "f16", "bf16")
INTS = ("i64", "i32", "i8", "u8", "i16")


def is_float(t):
    return t in FLOATS


# ---- Sizes -------------------------------------------------------------------------------------------------------

class Dim:
    """A polynomial over names; a name may also be the text of an expression. Equal ones are equal sizes."""

    def __init__(self, terms):
        self.terms = {k: c for k, c in terms.items() if c}

    @staticmethod
    def of(x):
        return x if isinstance(x, Dim) else Dim({(): x} if isinstance(x, int) else {(x,): 1})

    def key(self):
        return tuple(sorted(self.terms.items()))

    def __eq__(self, other):
        return self.key() == Dim.of(other).key()

    def __hash__(self):
        return hash(self.key())

    def __add__(self, other):
        terms = dict(self.terms)
        for k, c in Dim.of(other).terms.items():
            terms[k] = terms.get(k, 0) + c
        return Dim(terms)

    def __mul__(self, other):
        terms = {}
        for k, c in self.terms.items():
            for l, d in Dim.of(other).terms.items():
                m = tuple(sorted(k + l))
                terms[m] = terms.get(m, 0) + c * d
        return Dim(terms)

    def constant(self):
        return self.terms.get((), 0) if set(self.terms) <= {()} else None

    def text(self):
        if self.constant() is not None:
            return str(self.constant())
        parts = [" * ".join(([str(c)] if c != 1 or not k else []) + list(k)) for k, c in sorted(self.terms.items())]
        return parts[0] if len(parts) == 1 and re.fullmatch(r"\w+", parts[0]) else "(%s)" % " + ".join(parts)

    def value(self, sizes):
        env = {"floordiv": lambda a, b: a // b, "max": max, "min": min, "__builtins__": {},
               "broadcast": lambda a, b: b if a == 1 else a}
        return sum(c * product(eval(name, env, sizes) for name in k) for k, c in self.terms.items())

    def factors(self):
        """Whose product it is: atoms and primes, or itself."""
        if len(self.terms) != 1:
            return [self]
        (names, c), = self.terms.items()
        out, p = [Dim.of(n) for n in names], 2
        if c <= 0:
            return [self]
        while c > 1:
            while c % p:
                p += 1
            out.append(Dim.of(p))
            c //= p
        return out


def product(xs):
    n = 1
    for x in xs:
        n = n * x
    return n


ONE = Dim.of(1)


def type_text(dtype, dims):
    return "tensor<%s%s>" % ("".join(d.text() + "x" for d in dims), dtype)


def list_text(xs):
    return "[%s]" % ", ".join(x.text() if isinstance(x, Dim) else str(x) for x in xs)


class Value:
    def __init__(self, name, dtype, dims, exact=True, bound=1, wild=False):
        self.name, self.dtype, self.dims, self.exact, self.bound, self.wild = name, dtype, dims, exact, bound, wild
        self.uses = 0

    def __str__(self):
        self.uses += 1
        return self.name


class Graph:
    """text() is what `tegula check` reads. types: of each value, for the reducer."""

    def __init__(self, params, lines, outputs, sizes, types, narrow):
        self.params, self.lines, self.outputs, self.sizes = params, lines, outputs, sizes
        self.types, self.narrow = types, narrow

    def text(self):
        return "graph @g(%s) {\n%s\n  yield %s\n}\n" % (
            ", ".join(self.params), "\n".join(self.lines), ", ".join(self.outputs))


# ---- The generator -----------------------------------------------------------------------------------------------

class Generator:
    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.params, self.lines, self.types = [], [], {}
        self.pools = [[]]
        self.count = 0
        self.narrow = self.chance(0.15)
        self.large = self.chance(0.1)  # few operations on more than one tile of everything
        self.most_elements = 60000 if self.large else 6000        # of a value
        self.most_work = 3000000 if self.large else 150000  # multiplications of an operation
        self.budget = self.pick((2, 3) if self.large else (2, 4, 6, 10, 15))
        self.sizes = {n: self.pick((37, 140, 260) if self.large else (0, 1, 1, 1, 2, 3, 5, 8, 17, 33)) for n in ("N", "S", "T")[:self.pick((0, 0, 1, 1, 2, 3))]}
        self.focus = self.pick(self.OPERATIONS)[0]  # drawn more often in this graph

    def chance(self, p):
        return self.rng.random() < p

    def pick(self, things):
        return self.rng.choice(list(things))

    # -- Sizes

    def size(self, symbols=True):
        if symbols and self.sizes and self.chance(0.45):
            return Dim.of(self.pick(self.sizes))
        if self.large and self.chance(0.6):
            return Dim.of(self.pick((40, 65, 96, 129, 200, 257)))
        return Dim.of(self.rng.choices((1, 2, 3, 4, 5, 7, 8, 16, 17, 33, 64, 100, 0),
                                       (4, 4, 4, 4, 3, 2, 4, 4, 2, 1, 1, 0.5, 0.2))[0])

    def value_of(self, d):
        return d.value(self.sizes)

    def elements(self, dims):
        return product(self.value_of(d) for d in dims)

    def fits(self, dims):
        # Sizes are small, but compiled for any: what is known must not make memory of its own large.
        return self.elements(dims) <= self.most_elements and len(dims) <= 8 and all(self.value_of(d) >= 0 for d in dims)

    def shape(self, rank=None, symbols=True):
        rank = self.rng.choices((0, 1, 2, 3, 4, 5), (1, 3, 6, 6, 3, 1))[0] if rank is None else rank
        while True:
            dims = []
            for _ in range(rank):
                known = [d for v in self.pool() for d in v.dims if symbols or d.constant() is not None]
                dims.append(self.pick(known) if known and self.chance(0.5) else self.size(symbols))
            if self.fits(dims):
                return tuple(dims)

    def dtype(self):
        if self.narrow:
            return self.rng.choices(("f32", "f16", "bf16"), (2, 2, 2))[0]
        return self.rng.choices(("f32", "f64", "i64", "i32", "i8", "u8", "i16", "i1"), (12, 0.7, 2, 1.5, 1, 0.5, 0.3, 0.7))[0]

    # -- Text

    def emit(self, text):
        self.lines.append("  " * len(self.pools) + text)

    def define(self, text, dtype, dims, exact=True, bound=1, wild=False):
        self.count += 1
        v = Value("%%v%d" % self.count, dtype, tuple(dims), exact, bound, wild)
        self.emit("%s = %s" % (v.name, text))
        self.types[v.name] = type_text(dtype, v.dims)
        self.pools[-1].append(v)
        return v

    def pool(self, dtype=None, wild=False):
        return [v for p in self.pools for v in p if dtype in (None, v.dtype) and (wild or not v.wild)]

    def old(self, good=lambda v: True, wild=False):
        """A value of the pool, later ones rather; None if there is none."""
        some = [v for v in self.pool(wild=wild) if good(v)]
        return self.rng.choices(some, [1 + 3 * (v.uses == 0) + 2 * i / len(some) for i, v in enumerate(some)])[0] if some else None

    def usual_bound(self, dtype):
        return {"i8": 128, "u8": 255, "i1": 1}.get(dtype, 1 if is_float(dtype) else 15)

    def input(self, dtype, dims):
        self.count += 1
        v = Value("%%p%d" % self.count, dtype, tuple(dims), True, self.usual_bound(dtype))
        self.types[v.name] = type_text(dtype, dims)
        self.params.append("%s: %s" % (v.name, self.types[v.name]))
        self.pools[0].append(v)
        return v

    def element(self, dtype):
        if dtype == "i1":
            return str(self.rng.randrange(2))
        if not is_float(dtype):
            return str(self.rng.randrange(0 if dtype == "u8" else -9, 10))
        return repr(self.rng.randrange(-64, 65) / 64)

    def data(self, dtype, dims):
        if any(d.constant() is None for d in dims) or self.elements(dims) > (30000 if self.large else 2500):
            return self.input(dtype, dims)
        listed = ", ".join(self.element(dtype) for _ in range(self.elements(dims)))
        return self.define("data [%s] : %s" % (listed, type_text(dtype, dims)), dtype, dims, True,
                           1 if is_float(dtype) else 9)

    def constant(self, dtype, dims):
        x = self.element(dtype)
        return self.define("constant %s : %s" % (x, type_text(dtype, dims)), dtype, dims, True, 10)

    def new(self, dtype, dims):
        return self.rng.choices((self.input, self.data, self.constant), (5, 4, 0.7))[0](dtype, dims)

    def some(self, good=lambda v: True, dtype=None, rank=None, fresh=0.15, wild=False):
        v = None if self.chance(fresh) else self.old(
            lambda v: good(v) and dtype in (None, v.dtype) and rank in (None, len(v.dims)), wild)
        return v or self.new(dtype or self.dtype(), self.shape(rank))

    # -- Element-wise

    def tame(self, v):
        """Keeps the magnitude of what is rounded in bounds, for the tolerance is relative to 1."""
        if is_float(v.dtype) and v.bound > MOST_BOUND and not v.wild:
            x = 2.0 ** -(int(v.bound / MOST_BOUND).bit_length())
            return self.define("mul %s, %r" % (v, x), v.dtype, v.dims, v.exact and v.dtype == "f64", v.bound * x)
        return v

    def smaller(self, dims):
        """A shape that broadcasts to or with dims."""
        new = [ONE if self.chance(0.3) else d for d in dims]
        if self.chance(0.15):
            new = [self.size() if d == ONE and self.chance(0.5) else n for n, d in zip(new, dims)]
        return tuple(new[self.rng.randrange(len(new)) if new and self.chance(0.3) else 0:])

    @staticmethod
    def joined(a, b):
        """The shape of a and b broadcast against each other, or None."""
        n = max(len(a), len(b))
        out = []
        for x, y in zip((ONE,) * (n - len(a)) + tuple(a), (ONE,) * (n - len(b)) + tuple(b)):
            if x != y and ONE not in (x, y):
                return None
            out.append(y if x == ONE else x)
        return tuple(out)

    def partner(self, x, dtype=None):
        dtype = dtype or x.dtype
        good = lambda v: v.dtype == dtype and self.joined(x.dims, v.dims) and self.fits(self.joined(x.dims, v.dims))
        y = self.old(good) if self.chance(0.6) else None
        dims = self.smaller(x.dims)
        return y or self.new(dtype, dims if self.fits(self.joined(x.dims, dims)) else ())

    def unary(self, x=None):
        x = x or self.some()
        if x.dtype == "i1":
            return self.define("not %s" % x, "i1", x.dims)
        if not is_float(x.dtype):
            op = self.pick(("neg", "abs", "relu", "sign", "not"))
            return self.define("%s %s" % (op, x), x.dtype, x.dims, True, 1 << 62)
        op = self.pick(("neg", "abs", "relu", "exp", "tanh", "sigmoid", "silu", "gelu", "erf", "sin", "cos", "square", "sqrt",
                        "log", "floor", "round", "sign", "softplus", "recip"))
        if op in ("neg", "abs", "relu"):
            return self.define("%s %s" % (op, x), x.dtype, x.dims, x.exact, x.bound)
        if op in ("floor", "round", "sign"):
            return self.define("%s %s" % (op, x), x.dtype, x.dims, True, x.bound + 1) if x.exact else None
        if x.dtype == "f64" and op not in ("square", "sqrt", "recip"):
            return None
        x = self.tame(x)
        if op == "exp":
            x = x if x.bound <= 2 else self.define("mul %s, %r" % (x, 2 / x.bound), x.dtype, x.dims, False, 2)
            return self.define("exp %s" % x, x.dtype, x.dims, False, 7.5)
        if op == "square":
            return self.tame(self.define("mul %s, %s" % (x, x), x.dtype, x.dims, False, x.bound ** 2))
        if op in ("sqrt", "log", "recip"):
            return self.define("%s add(abs(%s), 0.5)" % (op, x), x.dtype, x.dims, False, x.bound + 2)
        return self.define("%s %s" % (op, x), x.dtype, x.dims, False, x.bound + 1)

    def binary(self, x=None):
        x = x or self.some()
        y = x if self.chance(0.05) else self.partner(x)
        dims = self.joined(x.dims, y.dims)
        if self.chance(0.15):
            y = Value(self.element(x.dtype), x.dtype, (), True, 10) if x.dtype != "i1" else y
            dims = x.dims if y.dims == () and y.name[0] != "%" else dims
        if self.chance(0.5):
            x, y = y, x
        if x.name[0] != "%":
            x, y = y, x
        if x.dtype == "i1":
            return self.define("%s %s, %s" % (self.pick(("and", "or", "xor")), x, y), "i1", dims)
        op = self.pick(("add", "sub", "mul", "max", "min", "div"))
        exact = x.exact and y.exact and (not is_float(x.dtype) or op in ("max", "min"))
        if not is_float(x.dtype):
            return self.define("%s %s, %s" % (op, x, y), x.dtype, dims, True, 1 << 62)
        if op == "div" and y.name[0] != "%":
            op = "sub"
        if op == "div":
            return self.tame(self.define("div %s, add(abs(%s), 0.5)" % (x, y), x.dtype, dims, False, 2 * x.bound))
        bound = x.bound * y.bound if op == "mul" else x.bound + y.bound
        return self.tame(self.define("%s %s, %s" % (op, x, y), x.dtype, dims, exact, bound))

    def compare(self):
        x = self.some(lambda v: v.exact and v.dtype != "i1")
        y = self.partner(x)
        return self.define("%s %s, %s" % (self.pick(("lt", "le", "gt", "ge", "eq", "ne")), x, y), "i1",
                           self.joined(x.dims, y.dims)) if x.exact and y.exact else None

    def select(self):
        c = self.some(dtype="i1", fresh=0)
        x = self.partner(c, self.dtype())
        y = self.partner(x)
        dims = self.joined(self.joined(c.dims, x.dims), y.dims) if self.joined(c.dims, x.dims) else None
        if not dims or not self.fits(dims):
            return None
        return self.define("select %s, %s, %s" % (c, x, y), x.dtype, dims, x.exact and y.exact, max(x.bound, y.bound))

    def cast(self):
        x = self.some()
        to = self.dtype()
        if not is_float(to) and is_float(x.dtype) and not x.exact:
            return None
        narrows = is_float(to) and (x.bound > 1e6 or (is_float(x.dtype) and to in ("f16", "bf16") and to != x.dtype))
        if is_float(to) and x.bound > 1000:
            return None
        return self.define("cast %s %s" % (to, x), to, x.dims, x.exact and not narrows, x.bound if is_float(to) else 1 << 62)

    def scalar(self):
        """An operation of a scalar and a tensor."""
        x = self.some(lambda v: is_float(v.dtype) and v.bound <= 100, dtype=self.pick([t for t in ("f32", "f16") if self.narrow or t == "f32"]))
        if self.sizes and self.chance(0.5):
            self.count += 1
            name = "%%s%d" % self.count
            n = self.pick(self.sizes)
            if self.sizes[n] > 40:
                return None
            self.emit("%s = cast %s %s" % (name, x.dtype, self.pick((n, "add(mul(%s, 2), 1)" % n))))
            return self.tame(self.define("mul %s, %s" % (x, name), x.dtype, x.dims, False, x.bound * 81))
        y = self.some(lambda v: not v.dims or all((d.constant() or 0) > 0 for d in v.dims), dtype=x.dtype)
        if any((d.constant() or 0) <= 0 for d in y.dims):
            return None
        self.count += 1
        name = "%%s%d" % self.count
        self.emit("%s = extract %s[%s]" % (name, y, ", ".join(str(self.rng.randrange(d.constant())) for d in y.dims)))
        return self.tame(self.define("%s %s, %s" % (self.pick(("mul", "add", "max")), x, name), x.dtype, x.dims, False,
                                     (x.bound + 1) * (y.bound + 1)))

    # -- Over axes

    def reduce(self, x=None):
        x = x or self.some(lambda v: v.dims)
        if not x.dims:
            return None
        axes = sorted(self.rng.sample(range(len(x.dims)), self.rng.randrange(1, len(x.dims) + 1)))
        n = product(self.value_of(x.dims[a]) for a in axes)
        op = self.pick(("and", "or", "xor")) if x.dtype == "i1" else self.pick(
            ("add", "add", "max", "min") + (("mul",) if not is_float(x.dtype) else ("maximum",)))
        if op == "add" and is_float(x.dtype) and x.bound * n > 300:
            return None
        dims = [ONE if d in axes else s for d, s in enumerate(x.dims)]
        wild = n == 0 and op in ("max", "min", "maximum") and is_float(x.dtype)
        exact = x.exact and (not is_float(x.dtype) or op != "add")
        v = self.define("reduce %s %s, %s" % (op, x, axes), x.dtype, dims, exact, x.bound * max(n, 1) if op == "add" else x.bound, wild)
        v = self.tame(v)
        if self.chance(0.4):
            kept = [s for d, s in enumerate(x.dims) if d not in axes]
            v = self.define("reshape %s : %s" % (v, type_text(v.dtype, kept)), v.dtype, kept, v.exact, v.bound, v.wild)
        elif self.chance(0.5) and not wild and is_float(x.dtype) and x.bound <= MOST_BOUND:
            v = self.tame(self.define("sub %s, %s" % (x, v), x.dtype, x.dims, False, x.bound + v.bound))
        return v

    def scan(self):
        x = self.some(lambda v: v.dims and v.dtype != "i1")
        if not x.dims or x.dtype == "i1":
            return None
        axis = self.rng.randrange(len(x.dims))
        n = self.value_of(x.dims[axis])
        if is_float(x.dtype) and x.bound * n > 200:
            return None
        return self.tame(self.define("scan add %s, %d%s%s" % (x, axis, self.pick(("", " exclusive")), self.pick(("", " reverse"))),
                                     x.dtype, x.dims, not is_float(x.dtype), x.bound * max(n, 1)))

    # -- Layout

    def moved(self, text, x, dims, bound=0):
        return self.define(text, x.dtype, dims, x.exact, max(x.bound, bound), x.wild)

    def transpose(self, x=None):
        x = x or self.some(lambda v: len(v.dims) > 1, wild=True)
        order = list(range(len(x.dims)))
        self.rng.shuffle(order)
        return self.moved("transpose %s, %s" % (x, order), x, [x.dims[d] for d in order])

    def reshape(self):
        x = self.some(wild=True)
        factors = [f for d in x.dims for f in d.factors()]
        if self.chance(0.25):
            self.rng.shuffle(factors)
        dims = []
        for f in factors:
            if dims and (self.chance(0.5) or len(dims) >= 6):
                dims[-1] = dims[-1] * f
            else:
                dims.append(f)
        while self.chance(0.25) and len(dims) < 7:
            dims.insert(self.rng.randrange(len(dims) + 1), ONE)
        return self.moved("reshape %s : %s" % (x, type_text(x.dtype, dims)), x, dims) if self.fits(dims) else None

    def stretched(self, d):
        """What an open size and another one broadcast to."""
        own = self.value_of(d)
        others = [s for s, n in self.sizes.items() if s != d.text() and (n == own or 1 in (n, own))]
        if d.text() not in self.sizes or not others:
            return d
        return Dim.of("broadcast(%s, %s)" % (d.text(), self.pick(others)))

    def broadcast(self):
        x = self.some(wild=True)
        dims = [self.size() if d == ONE and self.chance(0.7) else self.stretched(d)
                for d in x.dims]
        while self.chance(0.4) and len(dims) < 6:
            dims.insert(0, self.size())
        return self.moved("broadcast %s : %s" % (x, type_text(x.dtype, dims)), x, dims) if self.fits(dims) else None

    def slice(self):
        x = self.some(lambda v: v.dims, wild=True)
        starts, steps, dims = [], [], []
        for d in x.dims:
            n = d.constant()
            step = self.pick((1, 1, 1, 2, 3, -1, -1, -2))
            if n is None:
                way = self.rng.randrange(4)
                size, start, step = ((d, Dim.of(0), 1), (d, d + -1, -1), (Dim.of("floordiv(%s, 2)" % d.text()), Dim.of(0), 2),
                                     (d, Dim.of(0), 1))[way]
            elif n == 0:
                size, start = d, Dim.of(0)
            elif self.chance(0.4):
                size, start, step = d, Dim.of(0), 1
            else:
                first = self.rng.randrange(n)
                most = (first // -step if step < 0 else (n - 1 - first) // step) + 1
                size, start = Dim.of(self.rng.randrange(1 if self.chance(0.95) else 0, most + 1)), Dim.of(first)
            starts.append(start)
            steps.append(step)
            dims.append(size)
        text = "" if all(s == 1 for s in steps) and self.chance(0.5) else " steps %s" % steps
        return self.moved("slice %s, %s%s : %s" % (x, list_text(starts), text, type_text(x.dtype, dims)), x, dims)

    def pad(self):
        x = self.some(lambda v: v.dims, wild=True)
        low, high, dims = [], [], []
        for d in x.dims:
            low.append(self.pick((0, 0, 1, 2, -1)))
            high.append(self.pick((0, 0, 1, 3, -1)))
            if d.constant() is None or d.constant() < 3:
                low[-1], high[-1] = max(low[-1], 0), max(high[-1], 0)
            if d.constant() is None and self.chance(0.2):
                high[-1] = d
            dims.append(d + low[-1] + high[-1])
        if not self.fits(dims):
            return None
        value = "" if self.chance(0.6) else " value %s" % (self.element(x.dtype) if x.dtype != "i1" else "1")
        return self.moved("pad %s, %s, %s%s" % (x, list_text(low), list_text(high), value), x, dims, 10)

    def concat(self):
        x = self.some(lambda v: v.dims, wild=True)
        if not x.dims:
            return None
        axis = self.rng.randrange(len(x.dims))
        parts = [x]
        for _ in range(self.pick((1, 1, 2, 3))):
            good = lambda v: v.dtype == x.dtype and len(v.dims) == len(x.dims) and all(
                a == b for d, (a, b) in enumerate(zip(v.dims, x.dims)) if d != axis)
            y = self.old(good, True) if self.chance(0.7) else None
            parts.append(y or self.new(x.dtype, x.dims[:axis] + (self.size(),) + x.dims[axis + 1:]))
        self.rng.shuffle(parts)
        total = Dim.of(0)
        for p in parts:
            total = total + p.dims[axis]
        dims = x.dims[:axis] + (total,) + x.dims[axis + 1:]
        if not self.fits(dims):
            return None
        return self.define("concat %d, %s" % (axis, ", ".join(map(str, parts))), x.dtype, dims, all(p.exact for p in parts),
                           max(p.bound for p in parts), any(p.wild for p in parts))

    def take(self):
        x = self.some(lambda v: v.dims, wild=True)
        if not x.dims:
            return None
        axis = self.rng.randrange(len(x.dims))
        n = self.value_of(x.dims[axis])
        i = self.some(lambda v: v.dtype in ("i64", "i32", "i8", "u8"), fresh=0.5)
        if i.dtype not in INTS:
            shape = self.shape(self.pick((0, 1, 1, 2)), symbols=False)
            listed = ", ".join(str(self.rng.randrange(-1, n + 1)) for _ in range(self.elements(shape)))
            t = self.pick(("i64", "i32"))
            i = self.define("data [%s] : %s" % (listed, type_text(t, shape)), t, shape, True, 200)
        dims = x.dims[:axis] + i.dims + x.dims[axis + 1:]
        return self.moved("take %s, %s, %d" % (x, i, axis), x, dims) if self.fits(dims) else None

    # -- Made of nothing

    def iota(self):
        t = self.dtype()
        dims = self.shape()
        if not dims or t not in INTS:
            return None
        axis = self.rng.randrange(len(dims))
        v = self.define("iota %d : %s" % (axis, type_text(t, dims)), t, dims, True, self.value_of(dims[axis]) + 1)
        return self.tame(v)

    def sizes_of(self):
        exprs = [self.pick([Dim.of(n) for n in self.sizes] + [Dim.of(3)]) * self.pick((1, 2)) + self.pick((0, 1))
                 for _ in range(self.rng.randrange(1, 5))]
        t = self.pick(("i64", "i32"))
        if self.narrow:
            return None
        if self.chance(0.4):
            return self.define("sizes %s : tensor<%s>" % (exprs[0].text(), t), t, (), True, 100)
        dims = (Dim.of(len(exprs)),)
        return self.define("sizes %s : %s" % (list_text(exprs), type_text(t, dims)), t, dims, True, 100)

    # -- Products and windows

    def factor(self, dtype, dims):
        """Of this shape: there already, or made; often by a transpose."""
        v = self.old(lambda v: v.dtype == dtype and v.dims == tuple(dims) and v.bound <= 16) if self.chance(0.3) else None
        if not v and len(dims) > 1 and self.chance(0.3):
            order = list(range(len(dims)))
            self.rng.shuffle(order)
            source = self.new(dtype, [dims[d] for d in order])
            back = [order.index(d) for d in range(len(dims))]
            v = self.moved("transpose %s, %s" % (source, back), source, dims)
        return v or self.new(dtype, dims)

    def einsum(self, x=None):
        t = self.pick(("f32", "f32", "f32", "f16", "bf16")) if self.narrow else self.rng.choices(
            ("f32", "f64", "i32", "i8", "i64"), (10, 1, 1, 1, 0.5))[0]
        t = x.dtype if x else t
        x = x or self.some(lambda v: v.bound <= 16 or not is_float(v.dtype), dtype=t)
        if is_float(t) and x.bound > 16:
            return None
        labels = "abcdefghijklmnop"
        mine = list(labels[:len(x.dims)])
        size = dict(zip(mine, x.dims))
        batch, k, m, lone = [], [], [], []
        for l in mine:
            self.rng.choices((batch, k, m, lone), (2, 4, 4, 0.3))[0].append(l)
        new = list(labels[len(mine):len(mine) + self.pick((0, 1, 1, 1, 2))])
        for l in new:
            size[l] = self.pick(x.dims) if x.dims and self.chance(0.2) else self.size()
        theirs = batch + k + new
        if len(theirs) > 6:
            return None
        out = batch + m + new
        if new and self.chance(0.05):
            out.remove(self.pick(new))
        self.rng.shuffle(theirs)
        if self.chance(0.5):
            self.rng.shuffle(out)
        work = self.elements(size.values())
        n = self.elements([size[l] for l in size if l not in out])
        if work > self.most_work or not self.fits([size[l] for l in theirs]) or not self.fits([size[l] for l in out]):
            return None
        other = {"i8": self.pick(("i8", "u8"))}.get(t, t)
        y = self.factor(other, [size[l] for l in theirs])
        to = {"i8": "i32", "i32": "i32", "i64": "i64"}.get(t) or (self.pick((t, "f32")) if t in ("f16", "bf16") else t)
        bound = x.bound * y.bound * max(n, 1)
        if is_float(t) and bound > 300:
            return None
        a, b, p, q = (mine, theirs, x, y) if self.chance(0.5) or t == "i8" else (theirs, mine, y, x)
        stated = " to %s" % to if to != p.dtype or self.chance(0.2) else ""
        v = self.define('einsum "%s,%s->%s" %s, %s%s' % ("".join(a), "".join(b), "".join(out), p, q, stated), to,
                        [size[l] for l in out], not is_float(t), bound if is_float(t) else 1 << 62)
        return self.tame(v)

    def window_lists(self, n):
        return ([self.pick((1, 2, 3, 3)) for _ in range(n)], [self.pick((1, 1, 1, 2, 3)) for _ in range(n)],
                [self.pick((1, 1, 1, 2)) for _ in range(n)])

    def windows(self, d, window, stride, dilation, low, high):
        """The size of the result along one dimension."""
        free = d + (low + high - (window - 1) * dilation - 1)
        n = free.constant()
        if n is not None:
            return Dim.of(max(n // stride + 1, 0))
        if stride > 1:
            free = Dim.of("floordiv(%s, %d)" % (free.text(), stride))
        least = low + high - (window - 1) * dilation - 1
        return free + 1 if least >= -stride else Dim.of("max(%s, 0)" % (free + 1).text())

    def conv(self):
        n = self.pick((1, 2, 2, 2, 3))
        t = self.pick(("f32", "f16", "bf16")) if self.narrow else self.rng.choices(("f32", "f64"), (12, 1))[0]
        groups = self.pick((1, 1, 1, 2, 3, 4))
        depthwise = self.chance(0.3)
        channels = groups if depthwise else groups * self.pick((1, 2, 3, 5, 8, 16))
        filters = groups * self.pick((1, 1, 2, 3, 8, 17))
        x = self.old(lambda v: v.dtype == t and len(v.dims) == n + 2 and v.bound <= 4) if self.chance(0.5) else None
        if x and (x.dims[1].constant() or 0) > 0:
            channels = x.dims[1].constant()
            groups = self.pick([g for g in (1, 2, 3, 4, channels) if channels % g == 0])
            filters = groups * self.pick((1, 1, 2, 3, 8, 17))
        else:
            dims = (self.size(), Dim.of(channels)) + tuple(self.size() for _ in range(n))
            if not self.fits(dims):
                return None
            x = self.new(t, dims)
        window, strides, dilations = self.window_lists(n)
        low, high = [self.pick((0, 0, 1, 2)) for _ in range(n)], [self.pick((0, 0, 1, 2, -1)) for _ in range(n)]
        dims = [x.dims[0], Dim.of(filters)] + [
            self.windows(*a) for a in zip(x.dims[2:], window, strides, dilations, low, high)]
        per = channels // groups * product(window)
        if not self.fits(dims) or self.elements(dims) * per > self.most_work or per * x.bound > 300:
            return None
        w = self.factor(t, [Dim.of(v) for v in (filters, channels // groups, *window)])
        if w.bound > 1:
            return None
        v = self.define("conv %s, %s strides %s dilations %s pads %s groups %d" % (x, w, strides, dilations, low + high, groups),
                        t, dims, False, per * x.bound)
        return self.tame(v)

    def window_reduce(self):
        n = self.pick((1, 2, 2, 2, 3))
        x = self.some(lambda v: v.dtype != "i1" and (not is_float(v.dtype) or v.bound <= 16), rank=n + 2)
        if x.dtype == "i1" or x.bound > 16 and is_float(x.dtype):
            return None
        window, strides, dilations = self.window_lists(n)
        low, high = [self.pick((0, 0, 1, 2)) for _ in range(n)], [self.pick((0, 0, 1, 2, -1)) for _ in range(n)]
        dims = list(x.dims[:2]) + [self.windows(*a) for a in zip(x.dims[2:], window, strides, dilations, low, high)]
        op = self.pick(("max", "add", "add", "min"))
        if not self.fits(dims) or self.elements(dims) * product(window) > self.most_work:
            return None
        wild = op != "add" and is_float(x.dtype)
        text = "window_reduce %s %s, %s strides %s dilations %s pads %s" % (
            op, x, [1, 1] + window, [1, 1] + strides, [1, 1] + dilations, [0, 0] + low + [0, 0] + high)
        return self.tame(self.define(text, x.dtype, dims, x.exact and (op != "add" or not is_float(x.dtype)),
                                     x.bound * (product(window) if op == "add" else 1), wild))

    def layer(self, x):
        """A product or a convolution of x, in x's shape; None if that is too much."""
        if not x.dims:
            return None
        n, channels = len(x.dims) - 2, x.dims[1].constant() if len(x.dims) > 2 else None
        if channels and n <= 3 and self.chance(0.6):
            width = self.pick((1, 3))
            factor, terms = [Dim.of(d) for d in (channels, channels, *[width] * n)], channels * width ** n
        else:
            factor, terms = [x.dims[-1]] * 2, self.value_of(x.dims[-1])
        if not self.fits(factor) or self.elements(x.dims) * terms > self.most_work or terms * x.bound > 300:
            return None
        w = self.new(x.dtype, factor)
        if len(factor) > 2:
            text = "conv %s, %s pads %s" % (x, w, [width // 2] * 2 * n)
        else:
            labels = "abcdefghij"[:len(x.dims)]
            text = 'einsum "%s,%sz->%sz" %s, %s' % (labels, labels[-1], labels[:-1], x, w)
        return self.tame(self.define(text, x.dtype, x.dims, False, max(x.bound * w.bound * terms, 1)))

    def residual(self):
        """A layer's input is added to its result, which the next layer takes."""
        t = self.pick(("f32", "f16", "bf16")) if self.narrow else "f32"
        x = self.layer(self.some(lambda v: v.dims and v.bound <= MOST_BOUND, dtype=t))
        y = x and self.layer(x)
        if not y:
            return None
        y = self.layer(y) or y if self.chance(0.7) else y
        y = self.tame(self.define("add %s, %s" % self.pick(((x, y), (y, x))), t, x.dims, False, x.bound + y.bound))
        for _ in range(self.pick((0, 0, 1, 2))):
            y = self.pick((self.unary, self.binary))(y) or y
        return self.layer(y) or y

    def merged(self, dims, most):
        """Neighbours of dims multiplied as chance has it, to so many dimensions at most."""
        out = []
        for d in dims:
            if out and (len(out) >= most or self.chance(0.4)):
                out[-1] = out[-1] * d
            else:
                out.append(d)
        return out

    def rearranged(self):
        """What is computed has its dimensions split, exchanged and merged, and is read like that."""
        t = self.pick(("f32", "f16", "bf16")) if self.narrow else "f32"
        x = self.some(lambda v: 1 < len(v.dims) < 6 and v.bound <= MOST_BOUND, dtype=t)
        x = self.layer(x) or x
        y = x.dims and self.chance(0.3) and (self.layer(x) or self.unary(x))
        if y and y.dtype == t and y.dims == x.dims and not y.wild:
            axis = self.rng.randrange(len(x.dims))
            dims = x.dims[:axis] + (x.dims[axis] * 2,) + x.dims[axis + 1:]
            if self.fits(dims):
                x = self.define("concat %d, %s, %s" % (axis, x, y), t, dims, x.exact and y.exact, max(x.bound, y.bound))
        split = [part for d in x.dims for part in self.merged(d.factors(), self.pick((1, 1, 2, 3)))]
        if not 1 < len(split) < 9:
            return None
        order = list(range(len(split)))
        if self.chance(0.3):
            self.rng.shuffle(order)
        else:
            a = self.rng.randrange(len(split))
            order[a], order[a - 1] = order[a - 1], order[a]
        x = self.moved("reshape %s : %s" % (x, type_text(t, split)), x, split)
        x = self.moved("transpose %s, %s" % (x, order), x, [split[d] for d in order])
        dims = self.merged(x.dims, self.pick((2, 3, 4, 4, 5)))
        x = self.moved("reshape %s : %s" % (x, type_text(t, dims)), x, dims)
        for _ in range(self.pick((1, 1, 2))):
            x = self.pick((self.layer, self.layer, self.unary, self.binary, self.reduce, self.einsum))(x) or x
            if x.dtype != t or x.bound > MOST_BOUND or x.wild:
                break
        return x

    # -- Control

    def branch(self, x):
        self.pools.append([])
        v = x
        for _ in range(self.pick((0, 1, 1, 2))):
            f = self.pick((self.unary, self.binary, self.reduce, self.einsum, self.transpose))
            made = f(v) if f != self.einsum or is_float(v.dtype) else None
            if made and made.dtype == x.dtype and made.dims == x.dims and made.bound <= MOST_BOUND and not made.wild:
                v = made
            elif made and made.dtype == x.dtype and self.joined(made.dims, x.dims) == x.dims and made.bound <= MOST_BOUND and not made.wild:
                v = self.define("max %s, %s" % (made, x), x.dtype, x.dims, False, max(made.bound, x.bound))
        if self.chance(0.3):
            v = self.old(lambda u: u.dtype == x.dtype and u.dims == x.dims and u.bound <= MOST_BOUND) or v
        self.emit("yield %s" % v)
        self.pools.pop()

    def if_(self):
        if len(self.pools) > 2:
            return None
        x = self.some(lambda v: is_float(v.dtype) and v.bound <= MOST_BOUND, dtype="f32")
        if x.bound > MOST_BOUND:
            return None
        if self.sizes and self.chance(0.5):
            condition = "gt(%s, %d)" % (self.pick(self.sizes), self.pick((0, 1, 4)))
        else:
            self.count += 1
            condition = "%%c%d" % self.count
            self.emit("%s = extract %s[]" % (condition, self.input("i1", ())))
        self.count += 1
        v = Value("%%v%d" % self.count, x.dtype, x.dims, False, MOST_BOUND)
        start = len(self.lines)
        self.emit("%s = if %s {" % (v.name, condition))
        self.branch(x)
        self.emit("} else {")
        self.branch(x)
        self.emit("}")
        block = "\n".join(self.lines[start:])
        self.lines[start:] = [block]
        self.types[v.name] = type_text(v.dtype, v.dims)
        self.pools[-1].append(v)
        return v

    def named(self, x, dims=None):
        """A value that an operation with blocks names."""
        self.count += 1
        v = Value("%%v%d" % self.count, x.dtype, x.dims if dims is None else dims, False, MOST_BOUND)
        self.types[v.name] = type_text(v.dtype, v.dims)
        return v

    def next_state(self, x, states):
        """What an iteration makes of the state x: of its type and bounded, if only its own or another's old value."""
        v = x
        for _ in range(self.pick((0, 1, 1, 2))):
            f = self.pick((self.unary, self.binary, self.reduce, self.einsum))
            made = f(v) if f != self.einsum or is_float(v.dtype) else None
            if made and made.dtype == x.dtype and self.joined(made.dims, x.dims) == x.dims and made.bound <= MOST_BOUND and not made.wild:
                v = made if made.dims == x.dims else self.define("max %s, %s" % (made, x), x.dtype, x.dims, False, max(made.bound, x.bound))
        if v is x or self.chance(0.2):
            v = self.pick([s for s in states if s.dtype == x.dtype and s.dims == x.dims])
        return v

    def for_(self):
        """States, and rows of a tensor read and written at the counter or a place computed from it."""
        if len(self.pools) > 2:
            return None
        bounded = lambda v: is_float(v.dtype) and v.bound <= MOST_BOUND
        initial = [self.some(bounded, dtype="f32") for _ in range(self.pick((1, 1, 2)))]
        if self.chance(0.4):
            initial.append(initial[0])
        rows = self.some(lambda v: v.dims and bounded(v), dtype="f32")
        if not rows.dims or not all(bounded(v) for v in (rows, *initial)):
            return None
        axis = self.rng.randrange(len(rows.dims))
        size, n = rows.dims[axis].text(), self.value_of(rows.dims[axis])
        walks = re.fullmatch(r"\w+", size) and n <= 5
        trips = size if walks and self.chance(0.8) else str(self.rng.randrange(min(n, 4) + 1))
        y = rows if self.chance(0.3) else self.define("constant 0.0 : %s" % type_text(rows.dtype, rows.dims), rows.dtype, rows.dims)
        start = len(self.lines)
        initial.append(y)
        states, results = [self.named(v) for v in initial], [self.named(v) for v in initial]
        self.count += 1
        t = "%%t%d" % self.count
        self.emit("%s = for %s = 0 to %s step 1 with (%s) {" % (
            ", ".join(v.name for v in results), t, trips, ", ".join("%s = %s" % (a.name, v) for a, v in zip(states, initial))))
        self.pools.append(list(states[:-1] if self.chance(0.7) else states))
        place = t if trips != size or self.chance(0.6) else "sub(sub(%s, 1), %s)" % (size, t)
        dims = rows.dims[:axis] + (ONE,) + rows.dims[axis + 1:]
        source = self.pick((rows, rows, states[-1]))
        row = self.define("dynamic_slice %s, %s, %d : %s" % (source, place, axis, type_text(rows.dtype, dims)), rows.dtype, dims,
                          False, MOST_BOUND)
        following = [self.next_state(v, states[:-1]) for v in states[:-1]]
        fits = lambda v: v.dtype == row.dtype and v.dims == dims and v.bound <= MOST_BOUND
        made = self.old(fits) if self.chance(0.4) else self.unary(row)
        part = made and self.tame(made)
        part = part if part and fits(part) and not part.wild else row
        self.count += 1
        self.emit("%%u%d = slice_update %s, %s, %s, %d" % (self.count, states[-1], part, place, axis))
        self.emit("yield %s" % ", ".join([str(v) for v in following] + ["%%u%d" % self.count]))
        self.pools.pop()
        self.emit("}")
        self.lines[start:] = ["\n".join(self.lines[start:])]
        self.pools[-1].extend(results)
        return results[0]

    OPERATIONS = (("unary", 6), ("binary", 12), ("compare", 1), ("select", 1.5), ("cast", 1.5), ("scalar", 0.5), ("reduce", 5),
                  ("scan", 0.7), ("transpose", 3), ("reshape", 4), ("broadcast", 1.5), ("slice", 3), ("pad", 1.5),
                  ("concat", 2), ("take", 1.5), ("iota", 0.7), ("sizes_of", 0.4), ("einsum", 5), ("conv", 3),
                  ("window_reduce", 2), ("residual", 1.5), ("rearranged", 2), ("if_", 0.7), ("for_", 1.5))

    def step(self):
        names = [n for n, _ in self.OPERATIONS]
        weights = [w + 8 * (n == self.focus) for n, w in self.OPERATIONS]
        getattr(self, self.rng.choices(names, weights)[0])()

    def graph(self):
        for _ in range(self.pick((1, 1, 2))):
            self.input(self.dtype(), self.shape())
        for _ in range(self.budget):
            self.step()
        while not [v for v in self.pool(wild=True) if v.name.startswith("%v")]:
            self.step()
        pool = self.pool(wild=True)
        left = [v for v in pool if not v.uses and v.name.startswith("%v")] or [pool[-1]]
        outputs = [v.name for v in left[-10:]]
        for _ in range(self.pick((0, 0, 0, 1, 1, 2))):  # twice, of others too, of inputs
            outputs.append(self.pick(pool).name)
        self.rng.shuffle(outputs)
        for n in list(self.sizes):
            if not any(d == n for v in self.pools[0] if v.name.startswith("%p") for d in v.dims):
                if re.search(r"\b%s\b" % n, "\n".join(self.params + self.lines).replace("x", " ")):
                    self.input("f32", (Dim.of(n),))
                else:
                    del self.sizes[n]
        return Graph(self.params, self.lines, outputs, dict(self.sizes), dict(self.types), self.narrow)


# ---- Schedules ---------------------------------------------------------------------------------------------------

MOST = {"rows": 150, "columns": 150, "depth": 200, "columns_first": 1, "panel": 80, "positions": 100, "width": 40,
        "channels": 80, "elements": 3000}
MOST_OF_ANY = {"register_rows": 32, "register_vectors": 6, "unroll": 16, "pack": 1}


def random_schedule(seed, chosen):
    """The file's text with other numbers, and some for all kernels."""
    r = random.Random(seed)
    draw = lambda most: r.choice([0 if most == 1 else 1, most, r.randint(0 if most == 1 else 1, most)])
    number = lambda m: re.sub(r"\d+", str(draw(MOST[m[1]])), m[0])
    text = re.sub(r"(\w+) = \d+", number, chosen)
    for key, most in MOST_OF_ANY.items():
        if chosen and r.random() < 0.5:
            text += "*: %s = %d\n" % (key, draw(most))
    return text


# ---- Running -----------------------------------------------------------------------------------------------------

class Runner:
    def __init__(self, tegula, folder, optimize):
        self.tegula, self.target, self.optimize = tegula, "native", optimize
        self.path, self.schedule = os.path.join(folder, "graph.tile"), os.path.join(folder, "schedule")
        self.seed = 0

    def command(self, graph, path):
        header = re.sub(r"(?<=[<x)])(\w+?)(?=x)", r" \1 ", " ".join(graph.params).replace("x", " "))
        dims = [a for n, x in sorted(graph.sizes.items()) if re.search(r"\b%s\b" % n, header)
                for a in ("--dim", "%s=%d" % (n, x))]
        return [self.tegula, "check", path, "-O%d" % self.optimize, "--target", self.target, "--tolerance",
                "0.1" if graph.narrow else "1e-3"] + dims + (["--schedule", self.schedule] if self.is_scheduled() else [])

    def is_scheduled(self):
        return self.seed // len(TARGETS) % 2 == 1

    def write_schedule(self):
        command = [self.tegula, "opt", self.path, "--passes=graph", "-o", os.devnull, "--write-schedule", self.schedule]
        chosen = subprocess.run(command, capture_output=True, timeout=TIMEOUT_SECONDS).returncode == 0
        text = ""
        if chosen:
            with open(self.schedule) as f:
                text = f.read()
        with open(self.schedule, "w") as f:
            f.write(random_schedule(self.seed, text))

    def run(self, graph):
        """('ok' | 'refused' | 'limit' | 'mismatch' | 'crash' | 'timeout', what was said)"""
        with open(self.path, "w") as f:
            f.write(graph.text())
        if self.is_scheduled():
            self.write_schedule()
        try:
            p = subprocess.run(self.command(graph, self.path), capture_output=True, text=True, errors="replace",
                               timeout=TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            return "timeout", ""
        said = p.stderr.replace(self.path, "").strip()
        if p.returncode == 0:
            return "ok", ""
        if p.returncode != 1 or "a thread running compiled code got a fault" in said:
            return "crash", "exit status %d\n%s" % (p.returncode, said[-3000:])
        if any(re.search(x, said) for x in LIMITS):
            return "limit", said
        if re.search(r"compiled and|the compiled model|on one thread and", said):
            return "mismatch", said
        return "refused", said


def symptom(status, said):
    """What two failures of one cause have in common."""
    line = said.split("\n")[0]
    if status == "crash":
        found = re.search(r"(SUMMARY: .*|.*runtime error.*|Assertion .*|LLVM ERROR.*|exit status .*)", said)
        line = found.group(1) if found else line
    line = re.sub(r"\boutput \d+\[[^]]*\]|%\w+|\binput \d+|-?\b(nan|inf)\b|-?\b\d[\d.e+-]*\b", "#", line)
    line = re.sub(r"@\w+|\w+<[^>]*>", "@", line)
    line = re.sub(r"elements? (is|are) wrong|memory # bytes", "", line)
    return "%s: %s" % (status, line[:120])


# ---- Shortening --------------------------------------------------------------------------------------------------

class Reducer:
    """Drops outputs and operations of a graph, and makes values inputs, for as long as it fails alike."""

    def __init__(self, runner, graph, wanted, deadline):
        self.runner, self.graph, self.wanted, self.deadline = runner, graph, wanted, deadline

    def attempt(self, params, lines, outputs, sizes=None):
        if time.time() > self.deadline or not outputs:
            return False
        params, lines = self.alive(params, lines, outputs)
        g = Graph(params, lines, outputs, sizes or self.graph.sizes, self.graph.types, self.graph.narrow)
        if g.text() == self.graph.text() and g.sizes == self.graph.sizes:
            return False
        status, said = self.runner.run(g)
        if symptom(status, said) != self.wanted:
            return False
        self.graph = g
        return True

    @staticmethod
    def defined(line):
        m = re.match(r"\s*(%\w+) = ", line)
        return m.group(1) if m else None

    def alive(self, params, lines, outputs):
        used, kept = set(outputs), []
        for line in reversed(lines):
            names = re.match(r"\s*((?:%\w+, )*%\w+) = ", line)
            if names and used.intersection(names.group(1).split(", ")):
                used |= set(re.findall(r"%\w+", line))
                kept.append(line)
        symbols = set(re.findall(r"\b[NST]\b", re.sub("x", " ", "\n".join(kept))))
        names = lambda p: set(re.findall(r"\b[NST]\b", re.sub("x", " ", p)))
        stay = [p for p in params if p.split(":")[0] in used]
        for s in symbols:
            if not any(s in names(p) for p in stay):
                stay += [p for p in params if s in names(p)][:1]
        return stay, kept[::-1]

    def run(self):
        changed = True
        while changed and time.time() < self.deadline:
            changed = False
            for i in range(len(self.graph.outputs) - 1, -1, -1):
                g = self.graph
                if i < len(g.outputs):
                    changed |= self.attempt(g.params, g.lines, g.outputs[:i] + g.outputs[i + 1:])
            for i in range(len(self.graph.lines) - 1, -1, -1):
                g = self.graph
                name = self.defined(g.lines[i]) if i < len(g.lines) else None
                if not name or name not in g.types:
                    continue
                if self.attempt(g.params, g.lines[:i + 1], [name]):  # what it is made of is enough
                    changed = True
                    continue
                g = self.graph
                if i < len(g.lines) and self.defined(g.lines[i]) == name:
                    changed |= self.attempt(g.params + ["%s: %s" % (name, g.types[name])], g.lines[:i] + g.lines[i + 1:],
                                            g.outputs)
            for n, x in sorted(self.graph.sizes.items()):
                for smaller in (1, 2, x - 1):
                    if 0 <= smaller < x and self.attempt(self.graph.params, self.graph.lines, self.graph.outputs,
                                                         dict(self.graph.sizes, **{n: smaller})):
                        changed = True
                        break
        return self.graph


# ---- The command -------------------------------------------------------------------------------------------------

def main():
    p = argparse.ArgumentParser()
    p.add_argument("--tegula", default="tegula")
    p.add_argument("--seed", type=int, default=1, help="of the first graph")
    p.add_argument("--count", type=int, help="how many graphs")
    p.add_argument("--seconds", type=float, help="stop after this time")
    p.add_argument("--all", action="store_true", help="3000 graphs")
    p.add_argument("--target", help="[%s in turn]" % ", ".join(TARGETS))
    p.add_argument("--optimize", type=int, default=0, help="LLVM's effort, 0 to 3 [0]")
    p.add_argument("--save", help="where failures are kept")
    p.add_argument("--no-reduce", action="store_true")
    p.add_argument("--reduce-seconds", type=float, default=30, help="for one graph")
    p.add_argument("--each", type=int, default=2, help="failures of one symptom that are shortened")
    p.add_argument("--print", action="store_true")
    o = p.parse_args()
    if o.print:
        g = Generator(o.seed).graph()
        print(g.text() + "// " + " ".join("--dim %s=%d" % x for x in sorted(g.sizes.items())))
        return 0
    count = o.count or (3000 if o.all else 10 ** 9 if o.seconds else 60)
    start, tally, seen = time.time(), {}, {}
    with tempfile.TemporaryDirectory() as folder:
        runner = Runner(o.tegula, folder, o.optimize)
        for seed in range(o.seed, o.seed + count):
            if o.seconds and time.time() - start > o.seconds:
                break
            graph = Generator(seed).graph()
            runner.seed = seed
            runner.target = o.target or TARGETS[seed % len(TARGETS)]
            status, said = runner.run(graph)
            if "this machine cannot run code" in said:
                runner.target = "native"
                status, said = runner.run(graph)
            tally[status] = tally.get(status, 0) + 1
            if status == "ok":
                continue
            what = symptom(status, said)
            seen.setdefault(what, []).append(seed)
            if status == "limit":
                continue
            print("seed %d: %s\n    %s" % (seed, what, said[:300].replace("\n", "\n    ")), flush=True)
            if len(seen[what]) <= o.each and not o.no_reduce:
                graph = Reducer(runner, graph, what, time.time() + o.reduce_seconds).run()
                status, said = runner.run(graph)
            if o.save and len(seen[what]) <= o.each:
                os.makedirs(o.save, exist_ok=True)
                with open(os.path.join(o.save, "%s-%d.tile" % (status, seed)), "w") as f:
                    f.write("// seed %d: tegula %s\n%s\n%s" % (
                        seed, " ".join(runner.command(graph, "FILE")[1:]),
                        "\n".join("// " + line for line in said.split("\n")[:12]), graph.text()))
    print("%d graphs in %.0f s: %s" % (sum(tally.values()), time.time() - start,
                                      ", ".join("%d %s" % (n, s) for s, n in sorted(tally.items()))))
    for what, seeds in sorted(seen.items(), key=lambda x: -len(x[1])):
        print("%5d  %s  (seeds %s)" % (len(seeds), what, ", ".join(map(str, seeds[:8]))))
    return 1 if set(tally) - {"ok", "limit"} else 0


if __name__ == "__main__":
    sys.exit(main())
