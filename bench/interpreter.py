"""The interpreter that has numpy, onnx and onnxruntime."""

import os
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.dont_write_bytecode = True


def reexecute(program):
    """Continues under the interpreter that TEGULA_PYTHON names, or the project's."""
    wanted = os.environ.get("TEGULA_PYTHON")
    if wanted:
        wanted = shutil.which(wanted) or sys.exit(f"{program}: TEGULA_PYTHON: cannot run '{wanted}'")
    elif (ROOT / ".venv/bin/python").exists():
        wanted = str(ROOT / ".venv/bin/python")
    if wanted and os.path.abspath(wanted) != os.path.abspath(sys.executable):
        os.execv(wanted, [wanted, *sys.argv])
