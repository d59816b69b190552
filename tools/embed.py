#!/usr/bin/env python3
"""Writes a library as a C array that holds one object: embed.py LIBRARY NAME OUTPUT COMPILER..."""

import subprocess
import sys
import tempfile

library, name, output, *compiler = sys.argv[1:]
with tempfile.NamedTemporaryFile(suffix=".o") as file:
    subprocess.run([*compiler, "-r", "-nostdlib", "-Wl,-S", "-Wl,--whole-archive", library, "-o", file.name], check=True)
    data = file.read()
with open(output, "w") as out:
    out.write(f"#include <stddef.h>\nextern const unsigned char {name}[];\nextern const size_t {name}_size;\n")
    out.write(f"_Alignas(16) const unsigned char {name}[] = {{\n")
    for i in range(0, len(data), 24):
        out.write(",".join(map(str, data[i : i + 24])) + ",\n")
    out.write(f"}};\nconst size_t {name}_size = sizeof {name};\n")
