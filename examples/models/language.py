"""BERT, GPT-2 and T5, as PyTorch's TorchScript exporter (opset 14: before LayerNormalization) and optimum write them."""

import numpy as np
from onnx import TensorProto

from graph import Graph, TorchNames, normal_f32

INT64 = TensorProto.INT64
LEAST = np.finfo(np.float32).min


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


def bert_stack(inner_widths, hidden, heads):
    """The graph of BERT layers after one another, one for each inner width; dynamic batch and sequence."""
    g = Graph(4, opset=14)
    t = TorchNames(g)
    shape = ["batch", "sequence"]
    x = g.input("hidden_states", [*shape, hidden])
    mask = bert_mask(t, g.input("attention_mask", shape, INT64))
    for i, inner in enumerate(inner_widths):
        x = bert_block(t, f"/layer.{i}", x, mask, hidden, heads, inner)
    g.output(x, [*shape, hidden])
    return g


def bert_base(small):
    """BERT-base, its embeddings and its pooler; dynamic batch and sequence."""
    g = Graph(41, opset=14)
    t = TorchNames(g)
    hidden, heads, inner, layers, words, places = (32, 2, 64, 2, 50, 24) if small else (768, 12, 3072, 12, 30522, 512)
    shape, batch, sequence = ["batch", "sequence"], 2 if small else 1, 12 if small else 128
    ids = g.input("input_ids", shape, INT64)
    mask = g.input("attention_mask", shape, INT64)
    kinds = g.input("token_type_ids", shape, INT64)

    at = "/embeddings"
    positions = g.weight("embeddings.position_ids", np.arange(places)[None], np.int64)
    end = t.unsqueeze(at, t.size(at, ids, 1), 0)
    positions = t.slice(at, positions, 0, end, 1)
    x = t(f"{at}/word_embeddings", "Gather", g.normal("embeddings.word_embeddings.weight", (words, hidden), 0.7), ids)
    kind = g.normal("embeddings.token_type_embeddings.weight", (2, hidden), 0.5)
    x = t(at, "Add", x, t(f"{at}/token_type_embeddings", "Gather", kind, kinds))
    place = g.normal("embeddings.position_embeddings.weight", (places, hidden), 0.5)
    x = t(at, "Add", x, t(f"{at}/position_embeddings", "Gather", place, positions))
    x = t.layer_norm(f"{at}/LayerNorm", "embeddings.LayerNorm", x, hidden)
    mask = bert_mask(t, mask)
    for i in range(layers):
        x = bert_block(t, f"/encoder/layer.{i}", x, mask, hidden, heads, inner)
    g.output(x, [*shape, hidden])

    first = t("/pooler", "Gather", x, t.ints("/pooler", 0), axis=1)
    w, b = g.normal("pooler.dense.weight", (hidden, hidden), hidden**-0.5), g.normal("pooler.dense.bias", hidden, 0.1)
    pooled = t("/pooler/dense", "Gemm", first, w, b, alpha=1.0, beta=1.0, transB=1)
    g.output(t("/pooler/activation", "Tanh", pooled), ["batch", hidden])
    tokens = g.rng.integers(0, words, (batch, sequence))
    second = (np.arange(sequence) >= sequence // 2) * np.ones((batch, 1), int)
    return g, [tokens, padding(batch, sequence), second]


def gpt2(small, batch, sequence, past):
    """Inputs and outputs as optimum names them; the mask of causality is a slice of a stored triangle."""
    g = Graph(42, opset=14)
    t = TorchNames(g)
    hidden, heads, layers, words, places = (32, 2, 6, 50, 32) if small else (768, 12, 12, 50257, 1024)
    head = hidden // heads
    ids = g.input("input_ids", ["batch", "sequence"], INT64)
    kept = ["batch", heads, "past", head]
    before = [
        [g.input(f"past_key_values.{i}.{kind}", kept) for kind in ("key", "value")] for i in range(layers)
    ]
    mask = g.input("attention_mask", ["batch", "total"], INT64)
    g.output("logits", ["batch", "sequence", words])
    # A stack of buffers is stored once for all layers, as optimum removes duplicates.
    triangle = g.weight("bias", np.tril(np.ones((1, 1, places, places))), np.bool_)
    embedding = g.normal("transformer.wte.weight", (words, hidden), 0.3)

    at = "/transformer"
    start, length = t.size(at, before[0][0], 2), t.size(at, ids, 1)
    places_of = t(at, "Range", start, t(at, "Add", start, length), t.ints(at, 1))
    places_of = t.unsqueeze(at, places_of, 0)
    mask = t(at, "Cast", t.unsqueeze(at, mask, 1, 2), to=TensorProto.FLOAT)
    mask = t(at, "Mul", t(at, "Sub", t.constant(at, 1.0), mask), t.constant(at, LEAST))
    x = t(f"{at}/wte", "Gather", embedding, ids)
    place = g.normal("transformer.wpe.weight", (places, hidden), 0.3)
    x = t(at, "Add", x, t(f"{at}/wpe", "Gather", place, places_of))

    def conv1d(at, parameter, x, fan_in, fan_out, gain=1.4):
        """transformers' Conv1D: a Gemm between two Reshapes."""
        flat = t.reshape(at, x, -1, fan_in)
        w = g.normal(f"{parameter}.weight", (fan_in, fan_out), gain * fan_in**-0.5)
        flat = t(at, "Gemm", flat, w, g.normal(f"{parameter}.bias", fan_out, 0.1), alpha=1.0, beta=1.0)
        return t.reshape(at, flat, t.size(at, x, 0), t.size(at, x, 1), fan_out)

    for i, (past_key, past_value) in enumerate(before):
        layer, parameter = f"/transformer/h.{i}", f"transformer.h.{i}"
        y = t.layer_norm(f"{layer}/ln_1", f"{parameter}.ln_1", x, hidden, 1e-5)
        at = f"{layer}/attn"
        packed = conv1d(f"{at}/c_attn", f"{parameter}.attn.c_attn", y, hidden, 3 * hidden)
        split = t(at, "Split", packed, t.ints(at, [hidden] * 3), axis=2, outputs=3)
        query, key, value = (
            t(at, "Transpose", t.view(at, part, heads, head), perm=[0, 2, 1, 3]) for part in split
        )
        key = g.node("Concat", [past_key, key], f"present.{i}.key", axis=-2)
        value = g.node("Concat", [past_value, value], f"present.{i}.value", axis=-2)
        scores = t(at, "MatMul", query, t(at, "Transpose", key, perm=[0, 1, 3, 2]))
        scores = t(at, "Div", scores, t.constant(at, head**0.5))
        total, new = t.size(at, key, 2), t.size(at, query, 2)
        first = t.unsqueeze(at, t(at, "Sub", total, new), 0)
        total = t.unsqueeze(at, total, 0)
        causal = t.slice(at, t.slice(at, triangle, first, total, 2), 0, total, 3)
        scores = t(at, "Where", causal, scores, t.constant(at, LEAST))
        weights = t(at, "Softmax", t(at, "Add", scores, mask), axis=-1)
        y = t(at, "Transpose", t(at, "MatMul", weights, value), perm=[0, 2, 1, 3])
        y = conv1d(f"{at}/c_proj", f"{parameter}.attn.c_proj", t.view(at, y, hidden), hidden, hidden, 0.7)
        x = t(layer, "Add", y, x)

        y = t.layer_norm(f"{layer}/ln_2", f"{parameter}.ln_2", x, hidden, 1e-5)
        y = conv1d(f"{layer}/mlp/c_fc", f"{parameter}.mlp.c_fc", y, hidden, 4 * hidden)
        at = f"{layer}/mlp/act"
        cubic = t(at, "Mul", t(at, "Pow", y, t.constant(at, 3.0)), t.constant(at, 0.044715))
        inner = t(at, "Mul", t(at, "Add", y, cubic), t.constant(at, (2 / np.pi) ** 0.5))
        factor = t(at, "Add", t(at, "Tanh", inner), t.constant(at, 1.0))
        y = t(at, "Mul", t(at, "Mul", y, t.constant(at, 0.5)), factor)
        y = conv1d(f"{layer}/mlp/c_proj", f"{parameter}.mlp.c_proj", y, 4 * hidden, hidden, 0.7)
        x = t(layer, "Add", x, y)
        for kind in ("key", "value"):
            g.output(f"present.{i}.{kind}", ["batch", heads, "total", head])
    x = t.layer_norm("/transformer/ln_f", "transformer.ln_f", x, hidden, 1e-5)
    g.node("MatMul", [x, t("/lm_head", "Transpose", embedding, perm=[1, 0])], "logits")

    cache = [normal_f32(g.rng, batch, heads, past, head) for _ in range(2 * layers)]
    attention = np.ones((batch, past + sequence), np.int64)
    attention[1:, :2] = 0  # the rows after the first begin later
    return g, [g.rng.integers(0, words, (batch, sequence)), *cache, attention]


def gpt2_prefill(small):
    """GPT-2 small with keys and values of the past, of which there are none yet; 64 tokens."""
    return gpt2(small, 1, 9 if small else 64, 0)


def gpt2_decode(small):
    """The same model; one token after 255."""
    return gpt2(small, 2 if small else 1, 1, 15 if small else 255)


class T5:
    """What encoder and decoder share: sizes, attention, and the normalisation by the root of the mean square."""

    def __init__(self, seed, small):
        self.g = Graph(seed, opset=14)
        self.t = TorchNames(self.g)
        self.width, self.heads, self.head, self.inner, self.layers, self.words = (
            (32, 4, 8, 64, 2, 50) if small else (512, 8, 64, 2048, 6, 32128)
        )

    def norm(self, at, parameter, x):
        t = self.t
        square = t(at, "Pow", x, t.constant(at, 2.0))
        variance = t(at, "Add", t(at, "ReduceMean", square, axes=[-1], keepdims=1), t.constant(at, 1e-6))
        factor = t(at, "Div", t.constant(at, 1.0), t(at, "Sqrt", variance))
        return t(at, "Mul", self.g.uniform(f"{parameter}.weight", self.width, 0.5, 1.5), t(at, "Mul", x, factor))

    def attention(self, at, parameter, x, memory, bias):
        """Of x to memory; the scores are not scaled, the weights make up for it."""
        t, width, flat = self.t, self.width, self.heads * self.head

        def project(name, of, gain):
            y = t(f"{at}/{name}", "MatMul", of, t.matrix(width, flat, gain))
            return t.reshape(at, y, t.size(at, of, 0), -1, self.heads, self.head)

        query = t(at, "Transpose", project("q", x, 1.4 * self.head**-0.5), perm=[0, 2, 1, 3])
        key = t(at, "Transpose", project("k", memory, 1.4), perm=[0, 2, 3, 1])
        value = t(at, "Transpose", project("v", memory, 1.0), perm=[0, 2, 1, 3])
        weights = t(at, "Softmax", t(at, "Add", t(at, "MatMul", query, key), bias), axis=-1)
        y = t(at, "Transpose", t(at, "MatMul", weights, value), perm=[0, 2, 1, 3])
        y = t.reshape(at, y, t.size(at, x, 0), -1, flat)
        return t(f"{at}/o", "MatMul", y, t.matrix(flat, width, 0.7))

    def position_bias(self, at, parameter, x, both):
        """[1, heads, length, length] by distance: exact when near, logarithmic buckets when far. both: directions."""
        t = self.t
        length, buckets = t.size(at, x, 1), 16 if both else 32
        to = t.unsqueeze(at, t(at, "Range", t.ints(at, 0), length, t.ints(at, 1)), 0)
        of = t.unsqueeze(at, t(at, "Range", t.ints(at, 0), length, t.ints(at, 1)), 1)
        distance = t(at, "Sub", to, of)
        if both:
            ahead = t(at, "Cast", t(at, "Greater", distance, t.ints(at, 0)), to=INT64)
            ahead = t(at, "Add", t(at, "Mul", ahead, t.ints(at, buckets)), t.ints(at, 0))
            distance = t(at, "Abs", distance)
        else:
            distance = t(at, "Neg", t(at, "Min", distance, t.ints(at, [[0]])))
        near = t(at, "Less", distance, t.ints(at, buckets // 2))
        far = t(at, "Div", t(at, "Cast", distance, to=TensorProto.FLOAT), t.constant(at, buckets // 2))
        # A little less than log(128 / near), so that no distance lies on the border of two buckets.
        far = t(at, "Div", t(at, "Log", far), t.constant(at, np.log(256 / buckets) - 1e-4))
        far = t(at, "Cast", t(at, "Mul", far, t.constant(at, buckets // 2)), to=INT64)
        far = t(at, "Min", t(at, "Add", far, t.ints(at, buckets // 2)), t.ints(at, [[buckets - 1]]))
        bucket = t(at, "Where", near, distance, far)
        if both:
            bucket = t(at, "Add", ahead, bucket)
        table = self.g.normal(f"{parameter}.relative_attention_bias.weight", (32, self.heads), 0.7)
        bias = t(f"{at}/relative_attention_bias", "Gather", table, bucket)
        return t.unsqueeze(at, t(at, "Transpose", bias, perm=[2, 0, 1]), 0)

    def mask(self, at, mask):
        """Adds nothing where the mask is 1."""
        t = self.t
        mask = t(at, "Sub", t.constant(at, 1.0), t(at, "Cast", mask, to=TensorProto.FLOAT))
        return t(at, "Mul", mask, t.constant(at, LEAST))

    def feed_forward(self, at, parameter, x):
        t = self.t
        y = self.norm(f"{at}/layer_norm", f"{parameter}.layer_norm", x)
        y = t(f"{at}/wi", "MatMul", y, t.matrix(self.width, self.inner, 1.4))
        y = t(f"{at}/wo", "MatMul", t(f"{at}/act", "Relu", y), t.matrix(self.inner, self.width, 0.7))
        return t(at, "Add", x, y)


def t5_encoder(small):
    """T5-small's encoder: relative positions in buckets, RMS normalisation; dynamic batch and sequence."""
    m = T5(43, small)
    g, t = m.g, m.t
    batch, sequence = (2, 13) if small else (1, 64)
    ids = g.input("input_ids", ["batch", "sequence"], INT64)
    mask = m.mask("/encoder", t.unsqueeze("/encoder", g.input("attention_mask", ["batch", "sequence"], INT64), 1, 2))
    x = t("/encoder/embed_tokens", "Gather", g.normal("shared.weight", (m.words, m.width), 1.0), ids)
    at = "/encoder/block.0/layer.0/SelfAttention"
    bias = t(at, "Add", m.position_bias(at, "encoder.block.0.layer.0.SelfAttention", x, True), mask)
    for i in range(m.layers):
        at, name = f"/encoder/block.{i}", f"encoder.block.{i}"
        y = m.norm(f"{at}/layer.0/layer_norm", f"{name}.layer.0.layer_norm", x)
        y = m.attention(f"{at}/layer.0/SelfAttention", f"{name}.layer.0.SelfAttention", y, y, bias)
        x = m.feed_forward(f"{at}/layer.1", f"{name}.layer.1", t(f"{at}/layer.0", "Add", x, y))
    x = m.norm("/encoder/final_layer_norm", "encoder.final_layer_norm", x)
    g.output(x, ["batch", "sequence", m.width])
    return g, [g.rng.integers(0, m.words, (batch, sequence)), padding(batch, sequence)]


def t5_decoder(small):
    """T5-small's decoder without a past: attention to what came before and to the encoder's states; tied weights."""
    m = T5(44, small)
    g, t = m.g, m.t
    batch, sequence, length = (2, 11, 7) if small else (1, 16, 64)
    ids = g.input("input_ids", ["batch", "sequence"], INT64)
    states = g.input("encoder_hidden_states", ["batch", "encoder_sequence", m.width])
    mask = g.input("encoder_attention_mask", ["batch", "encoder_sequence"], INT64)
    embedding = g.normal("shared.weight", (m.words, m.width), 1.0)
    x = t("/decoder/embed_tokens", "Gather", embedding, ids)

    at = "/decoder"
    memory_bias = m.mask(at, t.unsqueeze(at, mask, 1, 2))
    steps = t(at, "Range", t.ints(at, 0), t.size(at, ids, 1), t.ints(at, 1))
    causal = t(at, "LessOrEqual", t.unsqueeze(at, steps, 0), t.unsqueeze(at, steps, 1))
    causal = m.mask(at, t.unsqueeze(at, causal, 0, 1))
    at = "/decoder/block.0/layer.0/SelfAttention"
    bias = t(at, "Add", m.position_bias(at, "decoder.block.0.layer.0.SelfAttention", x, False), causal)
    for i in range(m.layers):
        at, name = f"/decoder/block.{i}", f"decoder.block.{i}"
        y = m.norm(f"{at}/layer.0/layer_norm", f"{name}.layer.0.layer_norm", x)
        y = m.attention(f"{at}/layer.0/SelfAttention", f"{name}.layer.0.SelfAttention", y, y, bias)
        x = t(f"{at}/layer.0", "Add", x, y)
        y = m.norm(f"{at}/layer.1/layer_norm", f"{name}.layer.1.layer_norm", x)
        y = m.attention(f"{at}/layer.1/EncDecAttention", f"{name}.layer.1.EncDecAttention", y, states, memory_bias)
        x = m.feed_forward(f"{at}/layer.2", f"{name}.layer.2", t(f"{at}/layer.1", "Add", x, y))
    x = m.norm("/decoder/final_layer_norm", "decoder.final_layer_norm", x)
    x = t("", "Mul", x, t.constant("", m.width**-0.5))
    logits = g.node("MatMul", [x, t("/lm_head", "Transpose", embedding, perm=[1, 0])], "logits")
    g.output(logits, ["batch", "sequence", m.words])
    inputs = [g.rng.integers(0, m.words, (batch, sequence)), normal_f32(g.rng, batch, length, m.width)]
    return g, [*inputs, padding(batch, length)]


BUILDERS = [bert_layer, bert_layer_static, bert_base, gpt2_prefill, gpt2_decode, t5_encoder, t5_decoder]
