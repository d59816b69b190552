#!/usr/bin/python3
"""The rows of frontend/operators.def against the schemas of the onnx package.

    operator_rows.py

A row holds for every version of its operator from `since` up to the next row: at each of them its attributes (names,
types, which are required) and the numbers of inputs and outputs must be those of the schema. Exit status: 0 passed,
1 failed, 77 the onnx package is missing.
"""

import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

sys.path.append(os.path.join(ROOT, "tests"))
import packages  # noqa: E402

try:
    import onnx.defs
except ImportError:
    packages.run_again("onnx")

LETTERS = {1: "f", 2: "i", 3: "s", 4: "t", 5: "g", 6: "F", 7: "I", 8: "S", 11: "x"}
OLDEST, NEWEST = 7, 28
UNBOUNDED = 2**31 - 1
ROW = re.compile(r'^OPERATOR\((\w+),\s*(\d+),\s*(-?\d+),\s*(-?\d+),\s*(-?\d+),\s*\w+,\s*\w+,\s*"([^"]*)"\)', re.M)


def wanted(schema):
    attributes = {}
    for name, a in schema.attributes.items():
        attributes[name] = LETTERS[int(a.type.value)] + ("!" if a.required else "")
    counts = [schema.min_input, schema.max_input, schema.max_output]
    return attributes, tuple(-1 if n == UNBOUNDED else n for n in counts)


def main():
    with open(os.path.join(ROOT, "frontend", "operators.def")) as file:
        rows = {}
        for name, since, least, most, outputs, attributes in ROW.findall(file.read()):
            have = dict(a.split(":") for a in attributes.split())
            rows.setdefault(name, []).append((int(since), have, (int(least), int(most), int(outputs))))
    wrong, checked = [], 0
    for name, mine in rows.items():
        for version in range(OLDEST, NEWEST + 1):
            row = max((r for r in mine if r[0] <= version), key=lambda r: r[0], default=None)
            try:
                schema = onnx.defs.get_schema(name, version, "")
            except onnx.defs.SchemaError:
                schema = None
            if schema is None or row is None:
                if (schema is None) != (row is None):
                    wrong.append(f"{name} {version}: {'no such operator' if row else 'no row'}")
                continue
            attributes, counts = wanted(schema)
            checked += 1
            if row[1] != attributes or row[2] != counts:
                wrong.append(f"{name} {version}: row {row}, schema since {schema.since_version}: {attributes} {counts}")
    seen = set()
    for line in wrong:
        key = re.sub(r"^(\w+) \d+", r"\1", line)
        if key not in seen:
            seen.add(key)
            print(line)
    print(f"{len(rows)} operators, {checked} versions, {len(wrong)} wrong")
    sys.exit(1 if wrong or checked < 1000 else 0)


main()
