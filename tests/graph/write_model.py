#!/usr/bin/env python3
"""Writes the models that a test holds in ONNX's text form.

    write_model.py TEST OUTDIR      OUTDIR/NAME.onnx for each part of TEST that starts with a line `//--- NAME`
"""

import os
import re
import sys

import onnx.parser

HEADER = '<ir_version: 10, opset_import: ["" : 21]>\n'

with open(sys.argv[1]) as file:
    parts = re.split(r"^//--- (\S+)\n", file.read(), flags=re.M)
os.makedirs(sys.argv[2], exist_ok=True)
for name, text in zip(parts[1::2], parts[2::2]):
    text = re.sub(r"^\s*//.*\n", "", text, flags=re.M)
    model = onnx.parser.parse_model(text if text.lstrip().startswith("<") else HEADER + text)
    for i, node in enumerate(model.graph.node):
        node.name = node.name or f"n{i}"
    with open(os.path.join(sys.argv[2], name + ".onnx"), "wb") as file:
        file.write(model.SerializeToString())
