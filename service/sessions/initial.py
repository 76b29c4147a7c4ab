"""A named initial state as a file: safetensors, with the recurrent tensors by name, without the batch axis.

PyTorch, numpy and others read and write this format. It has no inputs that are given once a sequence: each
sequence gives its own. This file knows the format and the layout of states; it knows no folders.
"""

from collections.abc import Mapping

import safetensors
import safetensors.numpy

from service.errors import InvalidField
from service.sequence import State
from service.sessions.rules import Binding
from service.state import StateLayout

SUFFIX = ".safetensors"
MAX_HEADER_BYTES = 64 << 10  # of a file, beside its tensors


def max_bytes(layout: StateLayout) -> int:
    """The most bytes of a file for this layout."""
    return layout.num_bytes + MAX_HEADER_BYTES


def write(packed: bytes, layout: StateLayout, metadata: Mapping[str, str]) -> bytes:
    """The recurrent tensors of a state as a file. `metadata` is for people: `read` ignores it."""
    named = layout.unpack_named(packed)
    tensors = {name: named[name] for name in layout.recurrent}
    return safetensors.numpy.save(tensors, metadata=dict(metadata))


def metadata_of(binding: Binding, step: int) -> dict[str, str]:
    """Where a state comes from."""
    return {
        "model": binding.model,
        "version": binding.version,
        "fingerprint": binding.graph.hex(),
        "step": str(step),
    }


def read(blob: bytes, layout: StateLayout, *, allows_non_finite: bool = False) -> State:
    """The state of a file. Raises InvalidField, WrongShape or NonFinite if it is none of this layout."""
    try:
        arrays = safetensors.numpy.load(blob)
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise InvalidField(f"not a safetensors file, or with a dtype that no state has: {error}") from error
    state = layout.with_recurrent(arrays)
    if not allows_non_finite:
        layout.check_finite(layout.pack(state))
    return state
