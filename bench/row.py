"""What a benchmark row is, and helpers to make one."""

from dataclasses import dataclass, field
from typing import Callable

import numpy as np


@dataclass
class Benchmark:
    """tegula runs a kernel (tile, dims, defines) or an ONNX model (model)."""

    name: str
    operands: Callable  # () -> {name: array}, in the order of the kernel's parameters or model's inputs, outputs last
    reference: Callable  # (operands as f64, without the outputs) -> expected output, or a list of them
    peers: dict  # name -> (operands) -> peers.Model; the fastest one is compared with
    tile: str = None  # file in examples/kernels, and the kernel's name
    dims: dict = field(default_factory=dict)  # the kernel's symbolic dimensions, in order of first appearance
    defines: dict = field(default_factory=dict)
    model: Callable = None  # (operands) -> peers.Model
    openvino: Callable = None  # (operands) -> peers.Model, for the second peer; None: it is not asked
    beside: dict = field(default_factory=dict)  # name -> (operands) -> peers.Model, timed by tegula in the same turns
    flops: float = 0  # a multiply-add is two
    bytes: float = 0  # read + written once each
    outputs: int = 1  # how many operands are outputs
    late: Callable = None  # () -> {field: value}, for rows that are made when they run
    tolerance: float = 1e-5  # of the largest magnitude in the reference


@dataclass
class Target:
    """What a row is meant to reach. None: nothing."""

    ratio: float = None  # at least: the best peer's time by tegula's
    of_limit: float = None  # at least: the least time that the machine allows (the row's limit) by tegula's
    beside: float = None  # at most: tegula's time by its own for the row's other models

    def judge(self, row):
        """What is asked of a result, and what falls short, both in words."""
        figures = [("ratio", self.ratio, row["ratio"]), ("of limit", self.of_limit, row["fraction_of_limit"])]
        short = [f"{what} {figure:.3f} < {least:g}" for what, least, figure in figures if least and figure < least]
        asked = [f"{what} {least:g}" for what, least, _ in figures if least]
        for name, other in row["beside"].items() if self.beside else ():
            asked.append(f"{self.beside:g} x {name}")
            if other["ratio"] > self.beside:
                short.append(f"{other['ratio']:.3f} > {self.beside:g} x {name}")
        return asked, short


def operands(output, **shapes):
    """Seeded normal arrays, then the output, full of NaN so that an unwritten element shows."""

    def make():
        generator = np.random.default_rng(1)
        made = {name: aligned(shape) for name, shape in shapes.items()}
        for array in made.values():
            array[...] = generator.standard_normal(array.shape, dtype=np.float32)
        made[output[0]] = aligned(output[1])
        spoil(made[output[0]])
        return made

    return make


def aligned(shape, dtype=np.float32):
    """An array at a 64-byte boundary, as allocators of inference engines give."""
    bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.empty(bytes + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + bytes].view(dtype).reshape(shape)


def spoil(output):
    """Fills it with what no row computes, so that an unwritten element shows."""
    output.fill(np.nan if output.dtype.kind == "f" else -99 if output.dtype.kind == "i" else 1)


def volume(*shapes):
    return 4.0 * sum(float(np.prod(shape)) for shape in shapes)
