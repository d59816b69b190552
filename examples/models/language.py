"""BERT as PyTorch's TorchScript exporter writes it (opset 14: before LayerNormalization)."""

import numpy as np
from onnx import TensorProto

from graph import Graph, TorchNames, normal_f32

INT64 = TensorProto.INT64


def bert_mask(t, mask):
    mask = t.unsqueeze("", mask, 1, 2)
    mask = t("", "Sub", t.constant("", 1.0), t("", "Cast", mask, to=TensorProto.FLOAT))
    return t("", "Mul", mask, t.constant("", -10000.0))


def bert_block(t, prefix, x, mask, hidden, heads, inner):
    """One layer; prefix: of its nodes, its parameters are called alike."""
    head, parameter = hidden // heads, prefix.replace("/", ".").removeprefix(".") + "." * bool(prefix)

    at = f"{prefix}/attention/self"
    query = t.linear(f"{at}/query", f"{parameter}attention.self.query", x, hidden, hidden)
    key = t.linear(f"{at}/key", f"{parameter}attention.self.key", x, hidden, hidden)
    key = t(at, "Transpose", t.view(at, key, heads, head), perm=[0, 2, 3, 1])
    value = t.linear(f"{at}/value", f"{parameter}attention.self.value", x, hidden, hidden)
    value = t(at, "Transpose", t.view(at, value, heads, head), perm=[0, 2, 1, 3])
    query = t(at, "Transpose", t.view(at, query, heads, head), perm=[0, 2, 1, 3])
    scores = t(at, "Div", t(at, "MatMul", query, key), t.constant(at, head**0.5))
    weights = t(at, "Softmax", t(at, "Add", scores, mask), axis=-1)
    context = t(at, "Transpose", t(at, "MatMul", weights, value), perm=[0, 2, 1, 3])
    context = t.view(at, context, hidden)

    at = f"{prefix}/attention/output"
    y = t.linear(f"{at}/dense", f"{parameter}attention.output.dense", context, hidden, hidden)
    x = t.layer_norm(f"{at}/LayerNorm", f"{parameter}attention.output.LayerNorm", t(at, "Add", y, x), hidden)

    y = t.linear(f"{prefix}/intermediate/dense", f"{parameter}intermediate.dense", x, hidden, inner)
    y = t.gelu(f"{prefix}/intermediate/intermediate_act_fn", y)
    y = t.linear(f"{prefix}/output/dense", f"{parameter}output.dense", y, inner, hidden)
    y = t(f"{prefix}/output", "Add", y, x)
    return t.layer_norm(f"{prefix}/output/LayerNorm", f"{parameter}output.LayerNorm", y, hidden)


def padding(batch, sequence):
    """Each row of the batch is padded a little more than the one before, as a tokenizer pads."""
    kept = sequence - np.arange(1, batch + 1) * (sequence // 6)
    return (np.arange(sequence) < kept[:, None]).astype(np.int64)


def bert(small, batch, sequence, fixed):
    g = Graph(4, opset=14)
    t = TorchNames(g)
    hidden, heads, inner = (64, 4, 256) if small else (768, 12, 3072)
    shape = [batch, sequence] if fixed else ["batch", "sequence"]
    x = g.input("hidden_states", [*shape, hidden])
    mask = bert_mask(t, g.input("attention_mask", shape, INT64))
    g.output(bert_block(t, "", x, mask, hidden, heads, inner), [*shape, hidden])
    return g, [normal_f32(g.rng, batch, sequence, hidden), padding(batch, sequence)]


def bert_layer(small):
    """One BERT-base layer as PyTorch's exporter decomposes it; dynamic batch and sequence."""
    return bert(small, 2, 11 if small else 37, False)


def bert_layer_static(small):
    """The same nodes and weights with the inputs fixed to 1x128 (1x16 when small): every shape chain folds."""
    return bert(small, 1, 16 if small else 128, True)


BUILDERS = [bert_layer, bert_layer_static]
