"""The benchmarks: one row each. A row makes its operands once; tegula and the peers read the same arrays."""

import fnmatch

import numpy as np

import peers
import rows_onnx
from row import Benchmark, Target, aligned, operands, volume


def matmul(m, n, k, constant):
    """c = a b + bias. constant: the peer may repack b when it loads the model; tegula gets b at run time either way."""
    fixed = ("b", "bias") if constant else ()
    return Benchmark(
        name=f"matmul-{m}x{n}x{k}" + ("-constant" if constant else ""),
        tile="matmul",
        defines={"BM": 128, "BN": 128, "BK": 32},
        operands=operands(("c", (m, n)), a=(m, k), b=(k, n), bias=(n,)),
        dims={"M": m, "K": k, "N": n},
        reference=lambda a, b, bias: a @ b + bias,
        peers={"onnxruntime": lambda o: peers.Model(o, [("MatMul", "a b", "p"), ("Add", "p bias", "c")], fixed)},
        flops=2.0 * m * n * k,
        bytes=volume((m, k), (k, n), (n,), (m, n)),
    )


def flash_attention(batch, sequence, head):
    """o = softmax(q k^T / sqrt(D)) v, not causal. Peers: the decomposed graph, and fused operators with one head."""
    scale = head**-0.5
    shape = (batch, sequence, head)

    def reference(q, k, v):
        scores = np.exp(q @ k.transpose(0, 2, 1) * scale)  # normal operands: no overflow in f64
        return scores / scores.sum(-1, keepdims=True) @ v

    def decomposed(o):
        nodes = [
            ("Transpose", "k", "kt", {"perm": [0, 2, 1]}),
            ("MatMul", "q kt", "s"),
            ("Mul", "s scale", "t"),
            ("Softmax", "t", "p", {"axis": -1}),
            ("MatMul", "p v", "o"),
        ]
        return peers.Model({"scale": np.float32(scale), **o}, nodes, ("scale",))

    return Benchmark(
        name=f"flash_attention-{batch}x{sequence}x{head}",
        tile="flash_attention",
        operands=operands(("o", shape), q=shape, k=shape, v=shape),
        dims={"B": batch, "S": sequence, "T": sequence},
        defines={"D": head, "SCALE": scale},
        reference=reference,
        peers={
            "onnxruntime MatMul-Softmax-MatMul": decomposed,
            "onnxruntime Attention": lambda o: peers.Model(
                o, [("Attention", "q k v", "o", {"q_num_heads": 1, "kv_num_heads": 1})], opset=23
            ),
            "onnxruntime MultiHeadAttention": lambda o: peers.Model(
                o, [("com.microsoft.MultiHeadAttention", "q k v", "o", {"num_heads": 1})]
            ),
        },
        flops=4.0 * batch * sequence * sequence * head,
        bytes=volume(*[shape] * 4),
    )


def softmax(rows, columns):
    shape = (rows, columns)

    def reference(x):
        e = np.exp(x - x.max(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True)

    return Benchmark(
        name=f"softmax-{rows}x{columns}",
        tile="softmax",
        operands=operands(("y", shape), x=shape),
        dims={"R": rows},
        defines={"N": columns, "BN": columns},
        reference=reference,
        peers={"onnxruntime": lambda o: peers.Model(o, [("Softmax", "x", "y", {"axis": -1})])},
        bytes=volume(shape, shape),
    )


def layer_norm(rows, columns):
    shape = (rows, columns)

    def reference(x, gamma, beta):
        centred = x - x.mean(-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * gamma + beta

    node = ("LayerNormalization", "x gamma beta", "y", {"axis": -1, "epsilon": 1e-5})
    return Benchmark(
        name=f"layer_norm-{rows}x{columns}",
        tile="layer_norm",
        operands=operands(("y", shape), x=shape, gamma=(columns,), beta=(columns,)),
        dims={"R": rows},
        defines={"N": columns, "BN": columns},
        reference=reference,
        peers={"onnxruntime": lambda o: peers.Model(o, [node], ("gamma", "beta"))},
        bytes=volume(shape, shape, (columns,), (columns,)),
    )


def vector_add(count):
    return Benchmark(
        name=f"vector_add-{count >> 20}M",
        tile="vector_add",
        operands=operands(("c", (count,)), a=(count,), b=(count,)),
        dims={"N": count},
        reference=lambda a, b: a + b,
        peers={"onnxruntime": lambda o: peers.Model(o, [("Add", "a b", "c")])},
        bytes=volume((count,)) * 3,
    )


def transpose(rows, columns):
    return Benchmark(
        name=f"transpose-{rows}x{columns}",
        tile="transpose",
        operands=operands(("y", (columns, rows)), x=(rows, columns)),
        dims={"M": rows, "N": columns},
        reference=lambda x: x.T,
        peers={"onnxruntime": lambda o: peers.Model(o, [("Transpose", "x", "y", {"perm": [1, 0]})])},
        bytes=2 * volume((rows, columns)),
        tolerance=0,
    )


def shifted(x, h, w):
    """The nine views of a zero-padded NHWC array that a 3x3 window sees."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return ((i, j, padded[:, i : i + h, j : j + w]) for i in range(3) for j in range(3))


def convolution_peers(kernel_to_onnx, channels, **attributes):
    """The peer computes in NCHW; its own blocked layout (with the reorders at both ends) is tried with and without."""

    def model(blocked):
        def make(o):
            nchw = {
                "x": np.ascontiguousarray(o["x"].transpose(0, 3, 1, 2)),
                "w": np.ascontiguousarray(kernel_to_onnx(o["w"])),
            }
            batch, height, width, _ = o["x"].shape
            nchw["y"] = aligned((batch, channels, height, width))
            return peers.Model(
                nchw,
                [("Conv", "x w", "y", attributes)],
                ("w",),
                blocked_layout=blocked,
                compare=lambda y: y.transpose(0, 2, 3, 1),
            )

        return make

    return {"onnxruntime NCHWc": model(True), "onnxruntime NCHW": model(False)}


def conv3x3(channels, size, filters):
    """y = x * w, stride 1, zero padding 1 by the kernel. x [B, H, W, C], w [3, 3, C, F], y [B, H, W, F]."""
    x, w, y = (1, size, size, channels), (3, 3, channels, filters), (1, size, size, filters)
    return Benchmark(
        name=f"conv3x3-{channels}-{filters}@{size}",
        tile="conv3x3",
        operands=operands(("y", y), x=x, w=w),
        dims={"B": 1, "H": size, "W": size, "F": filters, "OH": size, "OW": size},
        defines={"C": channels},
        reference=lambda x, w: sum(view @ w[i, j] for i, j, view in shifted(x, size, size)),
        peers=convolution_peers(lambda w: w.transpose(3, 2, 0, 1), filters, kernel_shape=[3, 3], pads=[1] * 4),
        flops=2.0 * 9 * channels * filters * size * size,
        bytes=volume(x, w, y),
    )


def conv1x1(channels, size, filters):
    """On NHWC a matmul of [H W, C] and [C, F]; so it runs matmul.tile, with a bias of zero on neither side but ours."""
    row = matmul(size * size, filters, channels, constant=True)
    plain = row.operands

    def make():
        made = plain()
        made["bias"].fill(0)
        return made

    def model(blocked):
        def build(o):
            nchw = {
                "x": np.ascontiguousarray(o["a"].T).reshape(1, channels, size, size),
                "w": np.ascontiguousarray(o["b"].T).reshape(filters, channels, 1, 1),
                "y": aligned((1, filters, size, size)),
            }
            return peers.Model(
                nchw,
                [("Conv", "x w", "y", {"kernel_shape": [1, 1]})],
                ("w",),
                blocked_layout=blocked,
                compare=lambda y: y.reshape(filters, -1).T,
            )

        return build

    row.name, row.operands = f"conv1x1-{channels}-{filters}@{size}", make
    row.peers = {"onnxruntime NCHWc": model(True), "onnxruntime NCHW": model(False)}
    return row


def depthwise_conv(channels, size):
    """y = x * w per channel, stride 1, zero padding 1 by the kernel. x and y [B, H, W, C], w [3, 3, C]."""
    x, w = (1, size, size, channels), (3, 3, channels)
    return Benchmark(
        name=f"depthwise_conv-{channels}@{size}",
        tile="depthwise_conv",
        operands=operands(("y", x), x=x, w=w),
        dims={"B": 1, "H": size, "W": size, "OH": size, "OW": size},
        defines={"C": channels, "BC": channels},
        reference=lambda x, w: sum(view * w[i, j] for i, j, view in shifted(x, size, size)),
        peers=convolution_peers(
            lambda w: w.transpose(2, 0, 1)[:, None], channels, kernel_shape=[3, 3], pads=[1] * 4, group=channels
        ),
        flops=2.0 * 9 * channels * size * size,
        bytes=volume(x, w, x),
    )


# A row that stands in two suites runs once, under the first one asked for.
SUITES = {
    "gemm": [
        matmul(1024, 1024, 1024, False),
        matmul(1024, 1024, 1024, True),
        matmul(512, 512, 512, False),
        matmul(384, 768, 768, True),
        matmul(384, 3072, 768, True),
    ],
    "conv": [
        conv3x3(64, 56, 64),
        conv3x3(128, 28, 128),
        conv3x3(256, 14, 256),
        conv1x1(256, 56, 64),
        depthwise_conv(96, 112),
    ],
    "kernels": [
        flash_attention(8, 1024, 64),
        softmax(1536, 128),
        layer_norm(128, 768),
        vector_add(16 << 20),
        transpose(1024, 1024),
        conv3x3(64, 56, 64),
        depthwise_conv(96, 112),
    ],
    # The same kinds of work as ONNX models.
    "operators": [
        *[
            rows_onnx.matmul(*sizes, constant)
            for sizes in (
                (512, 512, 512),
                (1024, 1024, 1024),
                (384, 768, 768),
                (384, 3072, 768),
                (384, 768, 3072),
            )
            for constant in (True, False)
        ],
        rows_onnx.conv(64, 56, 64, 3),
        rows_onnx.conv(128, 28, 128, 3),
        rows_onnx.conv(256, 14, 256, 3),
        rows_onnx.conv(256, 56, 64, 1),
        rows_onnx.depthwise(96, 112),
        rows_onnx.softmax(1536, 128),
        rows_onnx.layer_norm(128, 768),
        rows_onnx.gelu(128, 3072),
    ],
    # Of examples/models.
    "models": [
        rows_onnx.example_model("mlp", "mlp"),
        rows_onnx.example_model("tiny_gemms", "tiny_gemms"),
        rows_onnx.example_model("resnet_stage-1", "resnet_stage", batch=1),
        rows_onnx.example_model("mobilenet_block", "mobilenet_block"),
        rows_onnx.example_model("bert_layer_static-128", "bert_layer_static"),
        rows_onnx.example_model(
            "bert_layer-128", "bert_layer", inputs_of="bert_layer_static", beside="bert_layer_static"
        ),
    ],
}

# Whole models of examples/models. They take minutes and gigabytes, so they are measured when asked for by name.
SUITES["whole"] = [
    rows_onnx.example_model(label, label.split("-")[0])
    for label in (
        "resnet50",
        "densenet121",
        "squeezenet",
        "shufflenet",
        "vgg19",
        "alexnet",
        "inception_v1",
        "inception_v2",
        "zfnet512",
        "mobilenet_v2",
        "bert_base-128",
        "gpt2_decode-255",
        "text_detector-736x1280",
        "keyword_net",
        "lstm-100",
    )
]
BY_DEFAULT = [suite for suite in SUITES if suite != "whole"]

# What rows are meant to reach; of several patterns of SUITE/ROW the first one that fits counts.
TARGETS = [
    ("gemm/matmul-1024x1024x1024", Target(ratio=0.85)),
    ("kernels/flash_attention-*x1024x64", Target(of_limit=0.5)),
    ("kernels/softmax-1536x128", Target(ratio=1.5)),
    ("kernels/layer_norm-128x768", Target(ratio=2.0)),
    ("kernels/vector_add-16M", Target(of_limit=0.9)),
    ("operators/MatMul-*", Target(ratio=0.95)),
    ("operators/Conv3x3-depthwise-*", Target(ratio=1.0)),
    ("operators/Conv1x1-*", Target(ratio=1.0)),
    ("operators/Conv*", Target(ratio=0.95)),
    ("operators/Softmax-*", Target(ratio=1.5)),
    ("operators/LayerNorm-*", Target(ratio=2.0)),
    ("operators/*", Target(ratio=1.0)),
    ("models/resnet_stage-*", Target(ratio=0.9)),
    ("models/bert_layer-*", Target(ratio=0.9, beside=1.15)),
    ("models/bert_layer_static-*", Target(ratio=0.9)),
    ("models/*", Target(ratio=1.0)),
    *[
        (f"whole/{name}*", Target(ratio=0.9))
        for name in ("resnet50", "densenet121", "squeezenet", "shufflenet", "vgg19", "mobilenet_v2", "bert_base", "gpt2")
    ],
    ("whole/text_detector*", Target(ratio=1.5)),
    ("whole/keyword_net", Target(ratio=2.0)),
    ("whole/lstm*", Target(ratio=2.0)),
]
# What the geometric mean of several rows' ratios is meant to reach, by patterns of SUITE/ROW.
MEANS = {"operators/MatMul-*": 1.0, "whole/*": 1.0}


def fits(pattern, suite, name):
    return fnmatch.fnmatchcase(f"{suite}/{name}", pattern)


def target_of(suite, name):
    """The row's target; None: it has none."""
    return next((target for pattern, target in TARGETS if fits(pattern, suite, name)), None)
