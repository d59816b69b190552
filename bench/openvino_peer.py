"""OpenVINO on whole models: a second opinion of what the machine can do. Its arithmetic is f32, as asked of it: by default
it takes less exact types where the machine has them. Installed by `scripts/setup --bench`."""

import numpy as np

import peers

try:
    import openvino
except ImportError:
    openvino = None

VERSION = openvino and f"openvino {openvino.__version__.split('-')[0]}"


class Peer(peers.Timed):
    """A model of peers.py, ready to run."""

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
        request = core.compile_model(read, "CPU", settings).create_infer_request()
        self.model, self.results = model, [np.empty_like(model.operands[name]) for name in model.outputs]
        for i, name in enumerate(model.inputs):
            request.set_input_tensor(i, openvino.Tensor(model.operands[name], shared_memory=True))
        for i, result in enumerate(self.results):
            request.set_output_tensor(i, openvino.Tensor(result, shared_memory=True))
        self.run = request.infer
