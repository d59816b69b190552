"""The peer: ONNX Runtime, on small models built here, with every input and output bound to memory of ours."""

import functools
import time

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from row import spoil

VERSION = f"onnxruntime {onnxruntime.__version__}"
ANY_VERSION_DOMAIN = "com.microsoft"


class Model:
    """A graph over `operands`, the last of which is the output.

    nodes: (operator, "inputs", output, attributes). constants: operands that the peer gets as initializers and may
    repack.
    blocked_layout: whether the peer may use its NCHWc layout. compare: brings the output to the reference's layout.
    """

    def __init__(self, operands, nodes, constants=(), opset=17, blocked_layout=True, compare=lambda output: output):
        *inputs, output = operands
        self.outputs = [output]
        self.inputs = [name for name in inputs if name not in constants]
        self.operands, self.compare = operands, compare
        self.optimisation = "ORT_ENABLE_ALL" if blocked_layout else "ORT_ENABLE_EXTENDED"
        graph = helper.make_graph(
            [make_node(*node) for node in nodes],
            "benchmark",
            [value_info(name, operands[name]) for name in self.inputs],
            [value_info(output, operands[output])],
            [onnx.numpy_helper.from_array(np.asarray(operands[name]), name) for name in constants],
        )
        opsets = [helper.make_opsetid("", opset), helper.make_opsetid(ANY_VERSION_DOMAIN, 1)]
        self.bytes = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


class Stored(Model):
    """A whole model, from its bytes. `operands`: its inputs in their order, then its outputs."""

    def __init__(self, operands, data, outputs=1, blocked_layout=True):
        names = list(operands)
        self.inputs, self.outputs = names[:-outputs], names[-outputs:]
        self.operands, self.compare, self.bytes = operands, lambda output: output, data
        self.optimisation = "ORT_ENABLE_ALL" if blocked_layout else "ORT_ENABLE_EXTENDED"


def make_node(operator, inputs, output, attributes=None):
    domain, _, operator = operator.rpartition(".")
    return helper.make_node(operator, inputs.split(), [output], domain=domain, **(attributes or {}))


def value_info(name, array):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape)


class Timed:
    """What is called by `run`, writes `results`, and has the `model` that it is of. time_calls(n) is in nanoseconds per
    call, after `warm` calls that do not count, and includes the cost of the Python call."""

    def time_calls(self, calls, warm=0):
        run = self.run
        for _ in range(warm):
            run()
        start = time.perf_counter_ns()
        for _ in range(calls):
            run()
        return (time.perf_counter_ns() - start) / calls

    def call(self):
        """The results of one call, in the reference's layout."""
        for result in self.results:
            spoil(result)
        self.time_calls(1)
        return [self.model.compare(result) for result in self.results]


class Peer(Timed):
    """A session ready to run."""

    def __init__(self, model, threads):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, model.optimisation)
        session = onnxruntime.InferenceSession(model.bytes, options, providers=["CPUExecutionProvider"])
        self.model, self.results = model, [np.empty_like(model.operands[name]) for name in model.outputs]
        binding = session.io_binding()
        for name in model.inputs:
            binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(model.operands[name]))
        for name, result in zip(model.outputs, self.results):
            binding.bind_ortvalue_output(name, onnxruntime.OrtValue.ortvalue_from_numpy(result))
        self.run = functools.partial(session.run_with_iobinding, binding)


def identity_model():
    """Does nothing: what a call of a peer costs from Python."""
    one = np.ones(1, np.float32)
    return Model({"x": one, "y": one.copy()}, [("Identity", "x", "y")])
