#!/usr/bin/python3
"""All the models of ONNX's own backend tests (2,033 in ONNX 1.23) through the reader.

    onnx_package.py FUZZ_ONNX

Each must be read, but those of operator sets that are too old, which must be refused for that. Exit status: 0 passed,
1 failed, 77 the onnx package is missing.
"""

import os
import re
import subprocess
import sys
import tempfile
import warnings

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TOO_OLD = re.compile(r".*: error: version [1-6] of operator set ai\.onnx is not supported: it is too old")

sys.path.append(os.path.join(ROOT, "tests"))
import packages  # noqa: E402

try:
    import onnx
except ImportError:
    packages.run_again("onnx")

from onnx.backend.test.case.node import collect_testcases

with tempfile.TemporaryDirectory() as folder:
    warnings.simplefilter("ignore")  # of numpy, about the tests' data
    for case in collect_testcases(None):
        if case.model is not None:
            with open(os.path.join(folder, case.name + ".onnx"), "wb") as file:
                file.write(case.model.SerializeToString())
    data = os.path.join(os.path.dirname(onnx.__file__), "backend", "test", "data")
    for path, _, names in os.walk(data):
        for name in names:
            if name.endswith(".onnx"):
                link = os.path.relpath(os.path.join(path, name), data).replace(os.sep, "-")
                with open(os.path.join(path, name), "rb") as old, open(os.path.join(folder, link), "wb") as new:
                    new.write(old.read())
    n_models = len(os.listdir(folder))
    result = subprocess.run([sys.argv[1], "-v", folder], stdout=subprocess.PIPE, universal_newlines=True)

lines = result.stdout.splitlines()
wrong = [line for line in lines[:-1] if not TOO_OLD.match(line)]
print("\n".join(wrong + lines[-1:]))
sys.exit(1 if result.returncode or wrong or n_models < 1800 or not lines[-1].startswith(f"{n_models} inputs") else 0)
