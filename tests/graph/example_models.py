#!/usr/bin/python3
"""The models of examples/models through the importer and the interpreter of graphs, against their expected outputs.

    example_models.py RUN_MODEL

Exit status: 0 passed, 1 failed, 77 the onnx package is missing.
"""

import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent

sys.path.append(str(ROOT / "tests"))
import packages  # noqa: E402

try:
    import onnx  # noqa: F401
    import onnxruntime  # noqa: F401
except ImportError:
    packages.run_again("onnx and onnxruntime")

sys.path.append(str(ROOT / "tests/models"))
from models import NOT_YET  # noqa: E402

with tempfile.TemporaryDirectory() as folder:
    subprocess.run([sys.executable, ROOT / "examples/models/make.py", "--small", folder], check=True)
    models = sorted(m for m in pathlib.Path(folder).glob("*.onnx") if m.stem not in NOT_YET)
    cases = "".join(f"{m} {m.with_suffix('.inputs')} {m.with_suffix('.outputs')}\n" for m in models)
    result = subprocess.run([sys.argv[1]], input=cases, stdout=subprocess.PIPE, universal_newlines=True)
lines = result.stdout.splitlines()
for model, line in zip(models, lines):
    print(f"{model.stem}: {line}")
sys.exit(1 if result.returncode or len(models) < 25 or lines != ["ok"] * len(models) else 0)
