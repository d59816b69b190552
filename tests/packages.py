"""The Python packages that tests need. Where an import fails:

    except ImportError:
        packages.run_again("onnx and numpy")
"""

import os
import pathlib
import sys

VENV = pathlib.Path(__file__).resolve().parent.parent / ".venv"


def run_again(what):
    """Starts the program anew under .venv; there, or where there is none, it is a test that was skipped."""
    python = VENV / "bin" / "python"
    if python.exists() and pathlib.Path(sys.prefix).resolve() != VENV.resolve():
        os.execv(python, [str(python), *sys.argv])
    print(f"SKIP the Python packages {what} are missing: scripts/setup installs them")
    sys.exit(77)
