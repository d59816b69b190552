#!/usr/bin/env python3
"""Writes a file's bytes as a C array: embed.py FILE NAME OUTPUT."""

import sys

path, name, output = sys.argv[1:]
with open(path, "rb") as file:
    data = file.read()
with open(output, "w") as out:
    out.write(f"#include <stddef.h>\nextern const unsigned char {name}[];\nextern const size_t {name}_size;\n")
    out.write(f"const unsigned char {name}[] = {{\n")
    for i in range(0, len(data), 24):
        out.write(",".join(map(str, data[i : i + 24])) + ",\n")
    out.write(f"}};\nconst size_t {name}_size = sizeof {name};\n")
