#!/usr/bin/env python3
"""Writes ONNX models with seeded random weights, and for each its inputs and the outputs to expect.

    make.py [--small] OUTDIR [NAME...]    NAME.onnx, NAME.inputs/input_I.npy, NAME.outputs/output_I.npy
    make.py --list

The expected outputs are computed in float64 (evaluate.py) and rounded to the type the model declares. The float32 model
always runs in ONNX Runtime too, and has to agree. --small keeps each graph's shape and shrinks its sizes and the number
of its layers, for tests. All of the models in full take 4 GB.
"""

import argparse
import pathlib
import shutil
import time

import numpy as np
import onnx

import blocks
import language
import light
import sequences
import vision
from evaluate import expected

# A builder takes small (bool) and returns the graph, or anything else with .model(name), and its list of input arrays.
MODULES = (blocks, light, vision, language, sequences)
MODELS = {build.__name__: build for module in MODULES for build in module.BUILDERS}


def save_arrays(folder, stem, arrays):
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
    for i, array in enumerate(arrays):
        np.save(folder / f"{stem}_{i}.npy", array)


def make(name, small, out):
    start = time.perf_counter()
    graph, inputs = MODELS[name](small)
    model = graph.model(name)
    onnx.checker.check_model(model, full_check=True)
    feeds = {value.name: array for value, array in zip(model.graph.input, inputs, strict=True)}
    outputs = expected(name, model, feeds)
    (out / f"{name}.onnx").write_bytes(model.SerializeToString(deterministic=True))
    save_arrays(out / f"{name}.inputs", "input", inputs)
    save_arrays(out / f"{name}.outputs", "output", outputs)
    print(f"{name}: {len(model.graph.node)} nodes, {time.perf_counter() - start:.1f} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="list the models and end")
    parser.add_argument("--small", action="store_true", help="small sizes, for tests")
    parser.add_argument("outdir", nargs="?", type=pathlib.Path)
    parser.add_argument("names", nargs="*", metavar="NAME", help="models to write (all)")
    args = parser.parse_args()
    if args.list:
        for name, build in MODELS.items():
            print(f"{name:20} {build.__doc__}")
        return
    if args.outdir is None:
        parser.error("OUTDIR is missing")
    unknown = [name for name in args.names if name not in MODELS]
    if unknown:
        parser.error(f"no model is named {', '.join(unknown)}; see --list")
    args.outdir.mkdir(parents=True, exist_ok=True)
    for name in args.names or MODELS:
        make(name, args.small, args.outdir)


if __name__ == "__main__":
    main()
