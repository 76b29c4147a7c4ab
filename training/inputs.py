"""What stands before the cell: inputs of several kinds, fused per step. Knows nothing of the cell.

    numbers ─────────────────── normalised ─────────────────────────────┐
    numbers with gaps ───────── normalised ─ filled ─ whether it was seen ─┼─ channels [batch, time, width]
    token ids ───────────────── embedding ──────────────────────────────┤
    many numbers, frames ────── normalised ─ learnt encoder ────────────┘

A missing number is filled with the last one seen, which fades towards the mean: exp(-rate · age), the rate
learnt for each feature (the input decay of GRU-D; Che, Purushotham, Cho, Sontag, Liu 2018, Scientific Reports
8:6085, equation 5). The last one seen and its age are recurrent states, so that a cut changes nothing.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.cells.cell import Affine, State
from training.data.dataset import Input, Sequence
from training.encoders import Encoder, Frames, Projection

FRAME_WIDTH = 32  # channels that a frame becomes, where nothing else is asked for
SLOW = -4.6  # the rate that fading starts at: softplus(-4.6) = 0.01 a step


class Read(NamedTuple):
    """What the front makes of a batch."""

    channels: Tensor  # [batch, time, width]
    level: Tensor  # [batch, time, columns of the first input]: its last seen values, in the input's units
    state: State


class Front(nn.Module):
    """Turns the columns of a sequence into channels for the cell."""

    shift: Tensor
    scale: Tensor

    def __init__(self, inputs: tuple[Input, ...], *, embedding: int, projection: int = 0) -> None:
        """`projection`: what every input of numbers that does not say is projected to; 0: nothing is."""
        super().__init__()
        self.inputs = inputs
        columns = sum(given.columns for given in inputs)
        self.register_buffer("shift", torch.zeros(columns))
        self.register_buffer("scale", torch.ones(columns))
        # By place: torch takes neither a name with a dot for a key, nor one that a module's attribute has.
        self._keys = {given.name: str(place) for place, given in enumerate(inputs)}
        keyed = list(zip(self._keys.values(), inputs, strict=True))
        self.tables = nn.ModuleDict(
            {key: nn.Embedding(len(i.vocabulary), embedding) for key, i in keyed if i.kind == "token"}
        )
        self.rates = nn.ParameterDict(
            {key: nn.Parameter(torch.full((i.columns,), SLOW)) for key, i in keyed if i.has_gaps}
        )
        self.encoders = nn.ModuleDict(
            {key: made for key, i in keyed if (made := _encoder(i, projection)) is not None}
        )
        self.register_load_state_dict_pre_hook(_keyed_by_place)  # type: ignore[no-untyped-call]
        self.width = sum(map(self._width_of, inputs))

    @property
    def states(self) -> dict[str, int]:
        """The recurrent tensors, each with its width: per input with gaps what was seen, and its age."""
        gapped = [given for given in self.inputs if given.has_gaps]
        return {f"{given.in_graph}_{what}": given.columns for given in gapped for what in ("seen", "age")}

    def places(self) -> list[tuple[Input, slice]]:
        """Each input with its columns."""
        ends = np.cumsum([given.columns for given in self.inputs])
        return [
            (given, slice(int(end) - given.columns, int(end)))
            for given, end in zip(self.inputs, ends, strict=True)
        ]

    def learn(self, sequences: tuple[Sequence, ...]) -> None:
        """Take mean and spread of each number over all steps given; a constant one is not scaled."""
        steps = np.concatenate(sequences).astype(np.float64)  # [steps, columns]
        spread = np.nanstd(steps, axis=0)
        mean = np.nanmean(steps, axis=0)
        for given, place in self.places():
            if given.kind != "token":
                self.shift[place] = torch.from_numpy(mean[place])
                self.scale[place] = torch.from_numpy(1 / np.where(spread > 0, spread, 1)[place])

    def affine(self) -> Affine:
        """What the graph leaves to the cell to do to channels first; nothing to filled or embedded ones."""
        shifts, scales = [], []
        for given, place in self.places():
            is_plain = given.kind != "token" and not given.has_gaps and self.encoder(given.name) is None
            width = place.stop - place.start if is_plain else self._width_of(given)
            shifts.append(self.shift[place] if is_plain else torch.zeros(width))
            scales.append(self.scale[place] if is_plain else torch.ones(width))
        return Affine(*(torch.cat(parts).cpu().double().numpy() for parts in (shifts, scales)))

    def table(self, name: str) -> Tensor:
        """The embedding of a token input: [vocabulary, width]."""
        found = self.tables[self._keys[name]].weight
        assert isinstance(found, Tensor)
        return found

    def encoder(self, name: str) -> Encoder | None:
        """What encodes the steps of an input, where it has one."""
        key = self._keys[name]
        if key not in self.encoders:
            return None
        found = self.encoders[key]
        assert isinstance(found, Encoder)
        return found

    def table_key(self, name: str) -> str:
        """The name, within the front, of a token input's embeddings."""
        return f"tables.{self._keys[name]}.weight"

    def rate(self, name: str) -> Tensor:
        """How fast what was seen fades, a step: [columns]."""
        return functional.softplus(self.rates[self._keys[name]])

    def forward(self, x: Tensor, lengths: Tensor, state: State) -> Read:
        """[batch, time, columns] → channels; the state at each row's last true step."""
        channels: list[Tensor] = []
        after: list[Tensor] = []
        level: Tensor | None = None
        for given, place in self.places():
            values = x[..., place]
            if given.kind == "token":
                channels.append(functional.embedding(values[..., 0].long(), self.table(given.name)))
                continue
            values = (values - self.shift[place]) * self.scale[place]
            if given.has_gaps:
                seen, age, ends = _last_seen(values, lengths, state[len(after)], state[len(after) + 1])
                after += ends
                parts = [seen * torch.exp(-age * self.rate(given.name)), (age == 0).to(x.dtype)]
                made, values = torch.cat(parts, dim=-1), seen
            else:
                made = values
            encoder = self.encoder(given.name)
            channels.append(made if encoder is None else encoder(made))
            level = values / self.scale[place] + self.shift[place] if level is None else level
        assert level is not None or not after
        whole = channels[0] if len(channels) == 1 else torch.cat(channels, dim=-1)
        return Read(whole, x if level is None else level, tuple(after))

    def _width_of(self, given: Input) -> int:
        """How many channels an input becomes."""
        if given.kind == "token":
            return self.table(given.name).shape[1]
        encoder = self.encoder(given.name)
        return _raw_width(given) if encoder is None else encoder.width


def _keyed_by_place(front: nn.Module, weights: dict[str, Any], prefix: str, *_: object) -> None:
    """Read the weights of an older run, which were keyed by the names of the inputs."""
    assert isinstance(front, Front)
    places = {given.name: str(place) for place, given in enumerate(front.inputs)}
    for kind in ("tables", "rates", "encoders"):
        start = f"{prefix}{kind}."
        found = [key for key in weights if key.startswith(start)]
        if all(key.removeprefix(start).split(".")[0] in places.values() for key in found):
            continue
        moved = {key: weights.pop(key) for key in found}
        for key, value in moved.items():
            name, *rest = key.removeprefix(start).split(".", 1)  # older names had no dot
            weights[".".join([start + places.get(name, name), *rest])] = value


def _raw_width(given: Input) -> int:
    return given.columns * (2 if given.has_gaps else 1)


def _encoder(given: Input, projection: int) -> Encoder | None:
    width = given.projection or projection
    if given.kind == "video":
        return Frames(given.frame, width or FRAME_WIDTH)
    return Projection(_raw_width(given), width) if width and given.kind != "token" else None


def _last_seen(z: Tensor, lengths: Tensor, seen: Tensor, age: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Forward fill of z [batch, time, width] from `seen` and `age` [1, batch, width]: both at every step."""
    time = torch.arange(1, z.shape[1] + 1, device=z.device)[None, :, None]
    is_true = time <= lengths.to(z.device)[:, None, None]
    when = torch.where(~z.isnan() & is_true, time, 0).cummax(dim=1).values  # 0: not in this piece
    earlier = torch.cat([seen[0][:, None], z], dim=1)
    filled = earlier.gather(1, when)
    ages = torch.where(when > 0, time - when, age[0][:, None] + time)
    last = (torch.arange(len(z), device=z.device), lengths.to(z.device) - 1)
    return filled, ages, [filled[last][None], ages[last][None]]
