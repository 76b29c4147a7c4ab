"""Cells whose state is a cache of the last steps: a convolution, and attention to the steps before.

A cache that grows is empty at step 0. The graph appends what is new, and keeps the last entries.
"""

from typing import Any

import numpy as np

from tests.service.foreign.kind import CONTEXT, FEATURES, HIDDEN, KERNEL, Kind

FAR = 2**40  # an end beyond every axis


def cache_shape(kind: Kind, batch: int | str) -> list[int | str]:
    """The largest shape of the cache; "batch" is the batch axis."""
    if kind.cell == "conv":
        return [batch, FEATURES, KERNEL - 1] if kind.has_batch else [FEATURES, KERNEL - 1]
    return [batch, CONTEXT, FEATURES] if kind.has_batch else [CONTEXT, FEATURES]


def cache_axis(kind: Kind) -> int:
    """The axis of `cache_shape` that holds steps."""
    return int(kind.has_batch) + (kind.cell == "conv")


def run_conv(builder: Any, x: str) -> str:
    """[time, batch, FEATURES] → [time, batch, HIDDEN]: causal, with the steps before in a cache."""
    kind = builder.kind
    x = builder.add("Transpose", x, perm=[1, 2, 0])  # [batch, features, time]
    before = KERNEL - 1
    if kind.states:
        cache = read_cache(builder)  # [batch, features, entries]
        x = builder.add("Concat", cache, x, axis=2)
        write_cache(builder, x, before, axis=2)
    kernel = builder.weight(HIDDEN, FEATURES, KERNEL)
    if not kind.states:
        y = builder.add("Conv", x, kernel, pads=[before, 0])
    else:
        if kind.grows:
            x = builder.add("Pad", x, _missing(builder, cache, before))
        y = builder.add("Conv", x, kernel)
    return str(builder.add("Transpose", builder.add("Tanh", y), perm=[2, 0, 1]))


def run_attention(builder: Any, x: str) -> str:
    """[time, batch, FEATURES] → [time, batch, HIDDEN]: each step attends to itself and CONTEXT before it."""
    x = builder.add("Transpose", x, perm=[1, 0, 2])  # [batch, time, features]
    seen = x
    if builder.kind.states:
        seen = builder.add("Concat", read_cache(builder), x, axis=1)
        write_cache(builder, seen, CONTEXT, axis=1)
    q, k, v = (builder.add("MatMul", each, builder.weight(FEATURES, HIDDEN)) for each in (x, seen, seen))
    scores = builder.add("MatMul", q, builder.add("Transpose", k, perm=[0, 2, 1]))
    share = builder.add("Softmax", builder.add("Add", scores, _mask(builder, x, seen)), axis=-1)
    return str(builder.add("Transpose", builder.add("MatMul", share, v), perm=[1, 0, 2]))


def read_cache(builder: Any) -> str:
    """With a batch axis."""
    value = builder.read_state("h")
    if builder.kind.has_batch:
        return str(value)
    return str(builder.add("Unsqueeze", value, builder.constant([0], np.int64)))


def write_cache(builder: Any, value: str, entries: int, axis: int) -> None:
    """The last `entries` of an axis."""
    bounds = (builder.constant([at], np.int64) for at in (-entries, FAR, axis))
    value = builder.add("Slice", value, *bounds)
    if not builder.kind.has_batch:
        value = builder.add("Squeeze", value, builder.constant([0], np.int64))
    output = builder.output("h_out", builder.kind.state_dtype, builder.graph_state("h"))
    builder.cast(value, builder.kind.state_dtype, output)


def _missing(builder: Any, cache: str, before: int) -> str:
    """The pads of a convolution whose cache is not full yet."""
    entries = builder.add("Gather", builder.add("Shape", cache), builder.constant([2], np.int64))
    missing = builder.add("Sub", builder.constant([before], np.int64), entries)
    zeros = [builder.constant([0] * count, np.int64) for count in (2, 3)]
    return str(builder.add("Concat", zeros[0], missing, zeros[1], axis=0))


def _mask(builder: Any, x: str, seen: str) -> str:
    """[time, entries]: 0 where a step may look, else a large negative number."""
    one, zero = builder.constant(1, np.int64), builder.constant(0, np.int64)
    total, time = (builder.add("Gather", builder.add("Shape", each), one) for each in (seen, x))
    rows = builder.add("Range", builder.add("Sub", total, time), total, one)
    columns = builder.add("Range", zero, total, one)
    back = builder.add("Sub", builder.add("Unsqueeze", rows, one), columns)
    is_past = builder.add("GreaterOrEqual", back, zero)
    is_near = builder.add("LessOrEqual", back, builder.constant(CONTEXT, np.int64))
    allowed = builder.add("And", is_past, is_near)
    lowest = builder.constant(-1e9, np.float32)
    return str(builder.add("Where", allowed, builder.constant(0, np.float32), lowest))
