#!/usr/bin/env python3
"""Writes models that no tool would write, NAME.onnx in the current folder, and what their external data leads to.

    write_hostile.py
"""

import os

from onnx import TensorProto as T
from onnx import helper as H

EVIL = '*/ int evil(void); /*"\n\\ $(touch pwned) `touch pwned` ;%s\''


def model(nodes, tensors=(), functions=(), domain="d", **inputs):
    types = [H.make_tensor_value_info("x", T.FLOAT, ["N", 4])]
    types += [H.make_tensor_value_info(name, kind, []) for name, kind in inputs.items()]
    graph = H.make_graph(nodes, "g", types, [H.make_tensor_value_info("y", T.FLOAT, None)], list(tensors))
    sets = [H.make_opsetid("", 21)] + ([H.make_opsetid(domain, 1)] if functions else [])
    return H.make_model(graph, ir_version=10, opset_imports=sets, functions=list(functions))


def function(nodes, name="f", domain="d"):
    sets = [H.make_opsetid("", 21), H.make_opsetid(domain, 1)]
    return H.make_function(domain, name, ["a", "c"], ["b"], nodes, sets)


def branches(node):
    """An If that does the node, which computes r, or nothing."""
    result = [H.make_tensor_value_info("r", T.FLOAT, None)]
    other = H.make_node("Identity", ["a"], ["r"])
    return H.make_node("If", ["c"], ["b"], name="if", then_branch=H.make_graph([node], "t", [], result),
                       else_branch=H.make_graph([other], "e", [], result))


def add(tensor):
    """y = x + w."""
    tensor.name = "w"
    return model([H.make_node("Add", ["x", "w"], ["y"], name="add")], [tensor])


def tensor(dims, data=b"", **external):
    t = T(dims=dims, data_type=T.FLOAT, raw_data=data)
    if external:
        t.ClearField("raw_data")
        t.data_location = T.EXTERNAL
        for key, value in external.items():
            t.external_data.add(key=key, value=value)
    return t


def message(field, content):
    """A field of the wire format that holds a message."""
    length, text = len(content), bytearray([field << 3 | 2])
    while length > 127:
        text.append(length & 127 | 128)
        length >>= 7
    return bytes(text + bytes([length])) + content


def nest(op, attribute, levels):
    """Graphs in attributes of nodes: what libraries refuse to write."""
    graph = b""
    for _ in range(levels):
        body = message(1, attribute) + message(6, graph) + b"\xa0\x01\x05"
        graph = message(1, message(4, op) + message(5, body))
    return b"\x08\x0a" + message(7, graph) + message(8, b"\x10\x15")


os.makedirs("in/real", exist_ok=True)
for path in ("outside.bin", "in/real/w.bin", "in/other.bin"):
    with open(path, "wb") as file:
        file.write(bytes(16))
os.symlink("../outside.bin", "in/link.bin")
os.symlink("..", "in/folder")
os.link("outside.bin", "in/hard.bin")

MODELS = {
    "ifs": nest(b"If", b"then_branch", 1000),
    "loops": nest(b"Loop", b"body", 1000),
    "recursion": model([H.make_node("f", ["x", "c"], ["y"], domain="d")], c=T.BOOL, functions=[
        function([branches(H.make_node("f", ["a", "c"], ["r"], name="again", domain="d"))])]),
    "deep": model([H.make_node("f0", ["x", "c"], ["y"], domain="d")], c=T.BOOL, functions=[
        function([branches(H.make_node(f"f{i + 1}" if i < 150 else "Neg", ["a", "c"][:1 + (i < 150)], ["r"],
                                       domain="d" if i < 150 else ""))], f"f{i}") for i in range(151)]),
    "attribute": model([H.make_node("f", ["x", "x"], ["y"], name="call", domain="d", alpha=1.0)],
                       functions=[function([H.make_node("Relu", ["a"], ["b"])])]),
    "names": model([H.make_node(EVIL, ["x"], ["y"], name="call" + EVIL, domain=EVIL, **{"a" + EVIL: 1})],
                   functions=[function([H.make_node("Relu", ["a"], ["b"])], EVIL, EVIL)], domain=EVIL),
    "negative": add(tensor([-4], bytes(16))),
    "short": add(tensor([4], bytes(15))),
    "large": add(tensor([1 << 62, 1 << 62], bytes(16))),
    "absent": add(tensor([1 << 40])),
    "up": add(tensor([4], location="../outside.bin")),
    "around": add(tensor([4], location="real/../../outside.bin")),
    "absolute": add(tensor([4], location=os.path.abspath("outside.bin"))),
    "link": add(tensor([4], location="link.bin")),
    "linked-folder": add(tensor([4], location="folder/outside.bin")),
    "hard": add(tensor([4], location="hard.bin")),
    "before": add(tensor([4], location="other.bin", offset="-16")),
    "behind": add(tensor([4], location="other.bin", offset="18446744073709551600")),
    "beyond": add(tensor([4], location="other.bin", offset="4")),
}
for name, content in MODELS.items():
    with open(f"in/{name}.onnx", "wb") as file:
        file.write(content if isinstance(content, bytes) else content.SerializeToString())
