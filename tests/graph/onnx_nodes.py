#!/usr/bin/python3
"""ONNX's own backend tests of operators through the importer and the interpreter of graphs.

    onnx_nodes.py RUN_MODEL [--list] [PATTERN]

Every test runs twice: as it is, and with all sizes of its inputs open. What the importer accepts must give the expected
outputs. It may refuse what operators.def has no row for, and what REFUSED below lists with its reason; with open sizes,
anything. --list prints all that is refused. Exit status: 0 passed, 1 failed, 77 the onnx package is missing.
"""

import collections
import os
import re
import subprocess
import sys
import tempfile
import warnings

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

sys.path.append(os.path.join(ROOT, "tests"))
import packages  # noqa: E402

try:
    import numpy as np
    import onnx
    from onnx import numpy_helper
    from onnx.backend.test.case.node import collect_testcases
except ImportError:
    packages.run_again("onnx")

# What the importer may refuse although it knows the operator: a pattern of its messages.
REFUSED = [
    r"operator \S+ of .* is not supported",  # checked against operators.def below
    r"the element type \S+ .* is not supported",
    r"[Ee]lement type \S+ is not supported",
    r"is not a tensor; only tensors are supported",  # sequences, optionals
    r"has no shape",
    r"must be made of sizes and of constants",  # shapes as inputs: the tests give everything as an input
    r"must be constant",
    r"needs start, limit and step made of sizes and constants",
    r"the padding value .* must be a constant",
    r"version 8, over batches, is not supported",
    r"the number of its iterations is not known before it runs",
    r"training mode is not supported",
    r"the indices of the maxima, output 2, are not supported",
    r"the depth must be constant",
    r"the scales .* must be constant",
    r"the region of interest, input 2, must be constant",
    r"is not supported for \S+, the type of input .*; cast it to a float",
    r"'stash_type' \d+ is not supported",
    r"is not supported; only dense numbers are",
]
TOO_OLD = r"version [1-6] of operator set ai\.onnx is not supported"  # says the reader

# Tests whose outputs are not the operator's business alone.
SKIPPED = re.compile(r"test_(bernoulli|dropout_default_mask_ratio_x)")


def rows():
    path = os.path.join(ROOT, "frontend", "operators.def")
    with open(path) as file:
        return set(re.findall(r"^OPERATOR\((\w+),", file.read(), re.M))


def open_sizes(model):
    """The model with the sizes of its inputs left open; None if it has none."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    changed = False
    for i, value in enumerate(model.graph.input):
        if not value.type.HasField("tensor_type"):
            return None
        for d, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.WhichOneof("value") == "dim_value":
                dim.dim_param = f"s{i}_{d}"
                changed = True
    for value in model.graph.output:
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")
    return model if changed else None


def constant_inputs(model, inputs):
    """The model with the inputs that say what to do as initialisers: shapes, axes, bounds, scales."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    kept, values = [], []
    for value, array in zip(model.graph.input, inputs):
        if not isinstance(array, np.ndarray):
            return None, None
        if array.dtype.kind in "iub" and array.ndim <= 1 or array.size == 1 or value.name in ("scales", "roi"):
            model.graph.initializer.append(numpy_helper.from_array(array, value.name))
        else:
            kept.append(value)
            values.append(array)
    if len(kept) == len(model.graph.input):
        return None, None
    del model.graph.input[:]
    model.graph.input.extend(kept)
    return model, values


class Cases:
    def __init__(self, folder):
        self.folder = folder
        self.cases = []

    def add(self, name, model, inputs, outputs):
        folder = os.path.join(self.folder, name)
        os.makedirs(folder)
        for prefix, values in (("input", inputs), ("output", outputs)):
            for i, array in enumerate(values):
                if not isinstance(array, onnx.TensorProto):
                    array = numpy_helper.from_array(np.asarray(array))
                with open(os.path.join(folder, f"{prefix}_{i}.pb"), "wb") as file:
                    file.write(array.SerializeToString())
        path = os.path.join(folder, "model.onnx")
        with open(path, "wb") as file:
            file.write(model.SerializeToString())
        self.cases.append((name, path, folder))

    def run(self, program):
        text = "".join(f"{path} {folder} {folder}\n" for _, path, folder in self.cases)
        result = subprocess.run([program], input=text, stdout=subprocess.PIPE, universal_newlines=True)
        lines = result.stdout.splitlines()
        if result.returncode or len(lines) != len(self.cases):
            at = self.cases[len(lines)][0] if len(lines) < len(self.cases) else "?"
            print(f"{program} ended with status {result.returncode} at {at}")
            sys.exit(1)
        return zip((name for name, _, _ in self.cases), lines)


def collect(cases, pattern):
    for case in collect_testcases(None):
        if case.model is None or not re.search(pattern, case.name) or SKIPPED.match(case.name):
            continue
        data = case.data_sets
        data = data() if callable(data) else data
        inputs, outputs = data[0]
        try:
            cases.add(case.name, case.model, inputs, outputs)
            constant, values = constant_inputs(case.model, inputs)
            if constant:
                cases.add(case.name + ".constant", constant, values, outputs)
            for suffix, model, given in ((".open", case.model, inputs), (".constant.open", constant, values)):
                model = model and open_sizes(model)
                if model:
                    cases.add(case.name + suffix, model, given, outputs)
        except (TypeError, ValueError, AttributeError, NotImplementedError):  # sequences, types numpy lacks
            continue


def main():
    listing = "--list" in sys.argv
    words = [w for w in sys.argv[1:] if w != "--list"]
    known, counts, wrong, refused = rows(), collections.Counter(), [], collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")  # of numpy, about the tests' data
        cases = Cases(folder)
        collect(cases, words[1] if len(words) > 1 else "")
        for name, line in cases.run(words[0]):
            word, _, text = line.partition(": ")
            kind = "open" if name.endswith(".open") else "fixed"
            counts[kind, word] += 1
            if word == "refused":
                missing = re.search(r"operator '(\w+)' of ai.onnx ", text)
                allowed = any(re.search(p, text) for p in REFUSED) and not (missing and missing[1] in known)
                if not allowed and kind == "fixed":
                    wrong.append(f"{name}: {line}")
                if listing:
                    print(f"{name}: {text}")
            elif word != "ok" and not (word == "failed" and re.search(TOO_OLD, text)):
                wrong.append(f"{name}: {line}")
    print("\n".join(wrong))
    print(", ".join(f"{kind} {word}: {n}" for (kind, word), n in sorted(counts.items())))
    few = len(words) < 2 and counts["fixed", "ok"] < 1000
    sys.exit(1 if wrong or few else 0)


main()
