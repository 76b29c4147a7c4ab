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
FEW = 16  # numbers of a tensor that is left as it is: shapes, axes, biases of nothing


def stored(graph: bytes, bits: Bits) -> bytes:
    """The graph with its weights as 16-bit floats, or as 8-bit integers. Raises CompressError if it grows."""
    small = {"none": lambda: graph, "fp16": lambda: _fp16(graph), "int8": lambda: _int8(graph)}[bits]()
    if bits != "none" and len(small) >= len(graph):
        raise CompressError(
            f"--quantize {bits}: model.onnx has {len(graph)} bytes and would have {len(small)}; so small a "
            "network is mostly nodes, and not weights. Nothing was written"
        )
    return small


def _int8(graph: bytes) -> bytes:
    """Dynamic quantisation by ONNX Runtime: activations are scaled while it runs.

    The weights of most cells lie in the body of a `Scan`, which is a subgraph.
    """
    with tempfile.TemporaryDirectory() as folder:
        whole, small = Path(folder) / "whole.onnx", Path(folder) / "small.onnx"
        model = onnx.load_from_string(graph)
        # Else it advises to infer shapes first, which our graphs have.
        helper.set_model_props(model, {"onnx.infer": "onnxruntime.quant"})
        onnx.save(model, whole)
        with _quiet():
            quantize_dynamic(
                whole, small, weight_type=QuantType.QInt8, extra_options={"EnableSubgraph": True}
            )
        return small.read_bytes()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep to itself what ONNX Runtime's quantizer says to the root logger, which is nothing to act upon.

    It advises steps that our graphs do not need, and prints each input of tokens as one that it leaves alone.
    Without a handler its first word would give the root logger one for good.
    """
    root, nothing, was = logging.getLogger(), logging.NullHandler(), logging.root.manager.disable
    root.addHandler(nothing)
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(was)
        root.removeHandler(nothing)


def _fp16(graph: bytes) -> bytes:
    """Each weight as float16 and a Cast to float32, which ONNX Runtime does once, when it loads the graph.

    It computes in float32. A weight beyond float16's range stays as it is.
    """
    model = onnx.load_from_string(graph)
    for part in _graphs(model.graph):
        casts = []
        for tensor in part.initializer:
            values = numpy_helper.to_array(tensor)
            if tensor.data_type != TensorProto.FLOAT or values.size < FEW:
                continue
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
