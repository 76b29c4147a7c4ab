"""A block of sequences of plain numbers, in one array: the cheapest to send to another process, and to run.

It knows arrays; it knows nothing of files or columns.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from service.codec.arrays import check_num_steps, check_window
from service.codec.request import Item
from service.engine.flat import Flat
from service.errors import CellgateError
from service.manifest import InputSpec, Manifest
from service.offline.block import Keys, Plain, Read
from service.sequence import Array


def is_number(spec: InputSpec) -> bool:
    """Whether an input is floating-point numbers."""
    return spec.kind == "numeric" and spec.dtype.startswith("float")


def flat_input(manifest: Manifest) -> InputSpec | None:
    """The model's input, if it is the only one, of numbers, and not read by name."""
    (spec, *others) = manifest.inputs
    return None if manifest.table is not None or others or not is_number(spec) else spec


@dataclass(slots=True)
class FlatBlock:
    """Consecutive sequences of a model with one input of numbers, of which no number is at fault."""

    flat: Flat
    names: Keys
    progress: float

    def __len__(self) -> int:
        """Sequences."""
        return len(self.flat.ends)

    def after(self, skipped: int) -> "FlatBlock":
        """The same without its first sequences."""
        (values,), starts, ends = self.flat
        first = int(starts[skipped])
        names = self.names._replace(values=self.names.values[skipped:])
        return FlatBlock(
            Flat((values[first:],), starts[skipped:] - first, ends[skipped:] - first), names, self.progress
        )

    def only(self, chosen: Array) -> "FlatBlock":
        """The same with some of its sequences, [sequences] bool."""
        lengths = self.flat.lengths
        values = self.flat.inputs[0][np.repeat(chosen, lengths)]
        ends = np.cumsum(lengths[chosen])
        keys = [key for key, is_chosen in zip(self.names.values, chosen, strict=True) if is_chosen]
        return FlatBlock(
            Flat((values,), ends - lengths[chosen], ends), self.names._replace(values=keys), self.progress
        )

    def to_flat(self, manifest: Manifest) -> Plain:  # noqa: ARG002
        """As it is."""
        return Plain(self.names, self.flat, np.ones(len(self), np.bool_))

    def decode(self, manifest: Manifest, *, max_steps: int) -> Read[Item]:
        """Each sequence as an array of its own."""
        return Read(self.names, [_item(steps, manifest, max_steps) for steps in self._steps()])

    def to_json(self, manifest: Manifest, *, max_steps: int) -> Read[bytes]:  # noqa: ARG002
        """Each sequence as JSON."""
        options = orjson.OPT_SERIALIZE_NUMPY
        return Read(self.names, [orjson.dumps({"steps": steps}, option=options) for steps in self._steps()])

    def _steps(self) -> list[Array]:
        return np.split(self.flat.inputs[0], self.flat.ends[:-1])


def _item(steps: Any, manifest: Manifest, max_steps: int) -> Item | CellgateError:
    try:
        check_num_steps(len(steps), max_steps, "/steps")
        check_window(len(steps), manifest, "/steps")
    except CellgateError as error:
        return error
    return Item((steps,), kept=(None,) * len(manifest.sequence_inputs))
