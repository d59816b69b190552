"""OpenVINO on whole models: a second opinion of what the machine can do. Its arithmetic is f32, as asked of it: by default
it takes less exact types where the machine has them. Installed by `scripts/setup --bench`."""

import time

import numpy as np
from onnx import TensorProto, helper

from row import spoil

try:
    import openvino
except ImportError:
    openvino = None

VERSION = openvino and f"openvino {openvino.__version__.split('-')[0]}"


class Peer:
    """A model of peers.py, ready to run; as peers.Peer."""

    def __init__(self, model, threads):
        core = openvino.Core()
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": "1",
            "ENABLE_CPU_PINNING": False,
        }
        read = core.read_model(model.bytes)
        # With all sizes known, as onnxruntime knows them from its first call on.
        read.reshape({i: list(model.operands[name].shape) for i, name in enumerate(model.inputs)})
        self.request = core.compile_model(read, "CPU", settings).create_infer_request()
        self.model, self.results = model, [np.empty_like(model.operands[name]) for name in model.outputs]
        for i, name in enumerate(model.inputs):
            self.request.set_input_tensor(i, openvino.Tensor(model.operands[name], shared_memory=True))
        for i, result in enumerate(self.results):
            self.request.set_output_tensor(i, openvino.Tensor(result, shared_memory=True))

    def time_calls(self, calls, warm=0):
        run = self.request.infer
        for _ in range(warm):
            run()
        start = time.perf_counter_ns()
        for _ in range(calls):
            run()
        return (time.perf_counter_ns() - start) / calls

    def call(self):
        for result in self.results:
            spoil(result)
        self.time_calls(1)
        return [self.model.compare(result) for result in self.results]


class Identity:
    """A model that does nothing: what a call from Python costs."""

    inputs, outputs = ["x"], ["y"]

    def __init__(self):
        one = np.ones(1, np.float32)
        self.operands = {"x": one, "y": one.copy()}
        value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
        graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "identity", value[:1], value[1:])
        opsets = [helper.make_opsetid("", 17)]
        self.bytes = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
