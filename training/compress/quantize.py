"""Stores a graph's weights in fewer bits. Knows nothing of networks."""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from training.compress.prune import CompressError

Bits = Literal["none", "fp16", "int8"]
FEW = 16  # tensors with fewer numbers are not converted: shapes, axes
PRODUCTS = {"MatMul", "Gemm", "LSTM", "GRU", "RNN", "Conv", "Gather"}  # whose weights are converted


def quantized(graph: bytes, bits: Bits) -> bytes:
    """The graph with 16-bit float or 8-bit integer weights. Raises CompressError if it would grow."""
    small = {"none": lambda: graph, "fp16": lambda: _fp16(graph), "int8": lambda: _int8(graph)}[bits]()
    if bits != "none" and len(small) >= len(graph):
        raise CompressError(
            f"--quantize {bits}: model.onnx has {len(graph)} bytes and would have {len(small)}: a "
            "network this small is mostly nodes, not weights. Nothing was written"
        )
    return small


def _int8(graph: bytes) -> bytes:
    """Dynamic quantisation by ONNX Runtime: activations are scaled while it runs.

    The weights of most cells lie in the body of a `Scan`, which is a subgraph. Weights have 7 bits: with 8,
    sums of 16 bits overflow on processors without VNNI, and the answers are wrong there
    (https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html).
    """
    with tempfile.TemporaryDirectory() as folder:
        whole, small = Path(folder) / "whole.onnx", Path(folder) / "small.onnx"
        model = onnx.load_from_string(graph)
        # Otherwise it advises shape inference, which our graphs do not need.
        helper.set_model_props(model, {"onnx.infer": "onnxruntime.quant"})
        onnx.save(model, whole)
        with _quiet():
            quantize_dynamic(
                whole,
                small,
                weight_type=QuantType.QInt8,
                reduce_range=True,
                # Shapes and types are not inferred behind an operator of ONNX Runtime's own.
                extra_options={"EnableSubgraph": True, "DefaultTensorType": TensorProto.FLOAT},
            )
        return small.read_bytes()


@contextmanager
def _quiet() -> Iterator[None]:
    """Discard the messages of ONNX Runtime's quantizer to the root logger.

    It advises steps that our graphs do not need, and reports each token input as skipped. If the root logger
    has no handler, its first message would install one.
    """
    root, handler, level = logging.getLogger(), logging.NullHandler(), logging.root.manager.disable
    root.addHandler(handler)
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(level)
        root.removeHandler(handler)


def _fp16(graph: bytes) -> bytes:
    """Each weight of a product as float16 with a Cast to float32, which ONNX Runtime evaluates once, at load.

    It computes in float32. Not converted: a tensor beyond float16's range; means and scales, because a
    difference from a rounded mean loses its digits.
    """
    model = onnx.load_from_string(graph)
    for part in _graphs(model.graph):
        casts = []
        weights = {name for node in part.node if node.op_type in PRODUCTS for name in node.input}
        for tensor in part.initializer:
            values = numpy_helper.to_array(tensor)
            if tensor.data_type != TensorProto.FLOAT or values.size < FEW or tensor.name not in weights:
                continue
            with np.errstate(over="ignore"):  # infinite, and refused below
                half = values.astype(np.float16)
            if not np.isfinite(half).all():
                continue
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(half, f"{name}_fp16"))
            casts.append(helper.make_node("Cast", [f"{name}_fp16"], [name], to=TensorProto.FLOAT))
        nodes = [*casts, *part.node]
        del part.node[:]
        part.node.extend(nodes)
    onnx.checker.check_model(model, full_check=True)
    small: bytes = model.SerializeToString()
    return small


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)
