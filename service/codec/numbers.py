"""Arrays of numbers → JSON, in pieces: during each of them, no other thread of the process runs."""

from typing import Any

import numpy as np
import orjson

from service.sequence import Array

PIECE = 1 << 16  # numbers, which orjson writes within some 3 ms


def writable(array: Array) -> Any:
    """What orjson writes as the array: itself, or its JSON if it is large. NaN and infinities become null."""
    if not array.ndim:
        # A float32 is written in its own digits. ONNX Runtime's int64 is numpy's longlong, unknown to orjson.
        return array[()] if array.dtype.kind == "f" else array.item()
    array = np.ascontiguousarray(array)
    return array if array.size <= PIECE else orjson.Fragment(_write(array))


def _write(array: Array) -> bytes:
    if array.size <= PIECE:
        return orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY)
    per_row = array.size // len(array)
    if per_row > PIECE:
        return b"[%b]" % b",".join([_write(row) for row in array])
    rows = PIECE // per_row
    pieces = [_write(array[start : start + rows])[1:-1] for start in range(0, len(array), rows)]
    return b"[%b]" % b",".join(pieces)
