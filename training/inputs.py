"""The layer before the cell: turns inputs of several kinds into one row of numbers a step. Knows no cell.

    numbers ─────────────────── normalised ──────────────────────────────┐
    numbers with gaps ───────── normalised ─ filled, with an observed flag ─┼─ channels [batch, time, width]
    token ids ───────────────── embedding ───────────────────────────────┤
    many numbers, frames ────── normalised ─ learned encoder ─────────────┘
    numbers of later steps ──── normalised ─── ahead [batch, time, ahead_width], for the head alone

A missing number is replaced by the last observed one, which decays towards the mean: exp(-rate · age), with a
learned rate for each feature (the input decay of GRU-D; Che, Purushotham, Cho, Sontag, Liu 2018, Scientific
Reports 8:6085, equation 5). The last observed value and its age are recurrent states, so cutting a sequence
into pieces does not change the result.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.cells.cell import CellError, Layout, State
from training.data.dataset import Input, Sequence
from training.encoders import Encoder, Frames, Projection

FRAME_WIDTH = 32  # default width of an encoded frame
INITIAL_RATE = -4.6  # before the softplus: softplus(-4.6) = 0.01 a step


class Encoded(NamedTuple):
    """The output of the input layer for a batch."""

    channels: Tensor  # [batch, time, width]
    level: Tensor  # [batch, time, columns of the first input]: last observed values, in the input's units
    state: State
    ahead: Tensor | None = None  # [batch, time, ahead_width]: what is known of later steps; None: nothing


class InputLayer(nn.Module):
    """Turns the columns of a sequence into channels for the cell."""

    shift: Tensor
    scale: Tensor

    def __init__(
        self, inputs: tuple[Input, ...], *, embedding: int, projection: int = 0, has_frames: bool = False
    ) -> None:
        """`projection`: the default width for numeric inputs that do not set their own; 0: no projection.

        `has_frames`: frames of video are not encoded, and their pixels are channels.
        """
        super().__init__()
        self.inputs = inputs
        columns = sum(input_.columns for input_ in inputs)
        self.register_buffer("shift", torch.zeros(columns))
        self.register_buffer("scale", torch.ones(columns))
        # Keyed by position: torch accepts no key with a dot, and none that is an attribute of a module.
        self._keys = {input_.name: str(position) for position, input_ in enumerate(inputs)}
        keyed = list(zip(self._keys.values(), inputs, strict=True))
        self.tables = nn.ModuleDict(
            {key: nn.Embedding(len(i.vocabulary), embedding) for key, i in keyed if i.kind == "token"}
        )
        self.rates = nn.ParameterDict(
            {
                key: nn.Parameter(torch.full((i.columns,), INITIAL_RATE))
                for key, i in keyed
                if i.has_gaps and not i.is_ahead
            }
        )
        encoders = {key: _new_encoder(i, projection, has_frames) for key, i in keyed}
        self.encoders = nn.ModuleDict({key: each for key, each in encoders.items() if each is not None})
        self.register_load_state_dict_pre_hook(_rekey_by_position)  # type: ignore[no-untyped-call]
        self.width = sum(self._width_of(input_) for input_ in inputs if not input_.is_ahead)
        self.ahead_width = sum(_raw_width(input_) for input_ in inputs if input_.is_ahead)

    @property
    def states(self) -> dict[str, int]:
        """Widths of the states by name: for each input with gaps the last observed value and its age."""
        with_gaps = [input_ for input_ in self.inputs if input_.has_gaps and not input_.is_ahead]
        return {
            f"{input_.in_graph}_{what}": input_.columns for input_ in with_gaps for what in ("seen", "age")
        }

    def layout(self, reads: tuple[str, ...]) -> Layout:
        """These fields of the layout of the channels. Raises CellError where an input cannot be read so."""
        return Layout(
            elapsed=self._elapsed() if "elapsed" in reads else None,
            frame=self._frame() if "frame" in reads else None,
        )

    def slices(self) -> list[tuple[Input, slice]]:
        """Each input with its columns of a sequence."""
        ends = np.cumsum([input_.columns for input_ in self.inputs])
        return [
            (input_, slice(int(end) - input_.columns, int(end)))
            for input_, end in zip(self.inputs, ends, strict=True)
        ]

    def learn(self, sequences: tuple[Sequence, ...]) -> None:
        """Set mean and spread of each number from all steps; a constant number is not scaled."""
        steps = np.concatenate(sequences).astype(np.float64)  # [steps, columns]
        spread = np.nanstd(steps, axis=0)
        varies = np.nanmax(steps, axis=0) > np.nanmin(steps, axis=0)  # by rounding, a constant has a spread
        mean = np.nanmean(steps, axis=0)
        for input_, columns in self.slices():
            if input_.kind != "token":
                self.shift[columns] = torch.from_numpy(mean[columns])
                self.scale[columns] = torch.from_numpy(1 / np.where(varies, spread, 1)[columns])

    @torch.no_grad()
    def learn_unknown(self, sequences: tuple[Sequence, ...]) -> None:
        """Set the embedding of an unknown category to the mean of the known ones, weighted by their steps.

        Training never reads it, unless the sequences of the training part have it.
        """
        for input_, columns in self.slices():
            if input_.kind != "token" or input_.unknown is None or input_.numbers != "tokens":
                continue
            ids = np.concatenate([sequence[:, columns] for sequence in sequences]).ravel().astype(np.int64)
            counts = np.bincount(ids, minlength=len(input_.vocabulary))
            table = self.table(input_.name)
            if not counts[input_.unknown]:
                shares = torch.from_numpy(counts / counts.sum()).to(table)
                table[input_.unknown] = shares @ table

    def table(self, name: str) -> Tensor:
        """The embedding of a token input: [vocabulary, width]."""
        weight = self.tables[self._keys[name]].weight
        assert isinstance(weight, Tensor)
        return weight

    def encoder(self, name: str) -> Encoder | None:
        """The encoder of an input; None if it has none."""
        key = self._keys[name]
        if key not in self.encoders:
            return None
        encoder = self.encoders[key]
        assert isinstance(encoder, Encoder)
        return encoder

    def table_key(self, name: str) -> str:
        """The parameter name, within this layer, of a token input's embedding."""
        return f"tables.{self._keys[name]}.weight"

    def rate(self, name: str) -> Tensor:
        """The decay rate per step of each number of an input: [columns]."""
        return functional.softplus(self.rates[self._keys[name]])

    def forward(self, x: Tensor, lengths: Tensor, state: State) -> Encoded:
        """[batch, time, columns] → channels; the state at each row's last true step."""
        channels: list[Tensor] = []
        after: list[Tensor] = []
        level: Tensor | None = None
        ahead: Tensor | None = None
        for input_, columns in self.slices():
            values = x[..., columns]
            if input_.kind == "token":
                channels.append(functional.embedding(values[..., 0].long(), self.table(input_.name)))
                continue
            values = part = (values - self.shift[columns]) * self.scale[columns]
            if input_.is_ahead:
                ahead = _ahead(values, has_gaps=input_.has_gaps)
                continue
            if input_.has_gaps:
                values, age, ends = _last_observed(values, lengths, state[len(after)], state[len(after) + 1])
                after += ends
                filled = values * torch.exp(-age * self.rate(input_.name))
                part = torch.cat([filled, (age == 0).to(x.dtype)], dim=-1)
            encoder = self.encoder(input_.name)
            channels.append(part if encoder is None else encoder(part))
            level = values / self.scale[columns] + self.shift[columns] if level is None else level
        assert level is not None or not after
        joined = channels[0] if len(channels) == 1 else torch.cat(channels, dim=-1)
        return Encoded(joined, x if level is None else level, tuple(after), ahead)

    def _elapsed(self) -> int | None:
        start = 0
        for input_ in self.inputs:
            if input_.elapsed is not None:
                if self.encoder(input_.name) is not None:
                    time = input_.features[input_.elapsed]
                    raise CellError(f"a projection hides {time!r}, the time that this cell reads")
                return start + input_.elapsed
            start += self._width_of(input_)
        return None

    def _frame(self) -> tuple[int, int] | None:
        frames = [input_.frame for input_ in self.inputs if input_.kind == "video"]
        if frames and len(self.inputs) > 1:
            raise CellError(f"this cell reads one input of frames alone, not {len(self.inputs)} inputs")
        return frames[0] if frames else None

    def _width_of(self, input_: Input) -> int:
        """The number of channels of an input."""
        if input_.kind == "token":
            return self.table(input_.name).shape[1]
        encoder = self.encoder(input_.name)
        return _raw_width(input_) if encoder is None else encoder.width


def _rekey_by_position(layer: nn.Module, weights: dict[str, Any], prefix: str, *_: object) -> None:
    """Accept the weights of an older run, which were keyed by the names of the inputs."""
    assert isinstance(layer, InputLayer)
    positions = {input_.name: str(position) for position, input_ in enumerate(layer.inputs)}
    for kind in ("tables", "rates", "encoders"):
        start = f"{prefix}{kind}."
        keys = [key for key in weights if key.startswith(start)]
        if all(key.removeprefix(start).split(".")[0] in positions.values() for key in keys):
            continue
        old = {key: weights.pop(key) for key in keys}
        for key, value in old.items():
            name, *rest = key.removeprefix(start).split(".", 1)  # older names had no dot
            weights[".".join([start + positions.get(name, name), *rest])] = value


def _raw_width(input_: Input) -> int:
    return input_.columns * (2 if input_.has_gaps else 1)


def _new_encoder(input_: Input, projection: int, has_frames: bool) -> Encoder | None:
    width = 0 if input_.is_ahead else input_.projection or projection
    if input_.kind == "video":
        if has_frames:
            return None
        return Frames(input_.frame, width or FRAME_WIDTH)
    return Projection(_raw_width(input_), width) if width and input_.kind != "token" else None


def _ahead(z: Tensor, *, has_gaps: bool) -> Tensor:
    """Known later numbers; where some may be missing, the mean in their place, and which are there."""
    if not has_gaps:
        return z
    is_there = ~z.isnan()
    return torch.cat([torch.where(is_there, z, 0), is_there.to(z.dtype)], dim=-1)


def _last_observed(
    z: Tensor, lengths: Tensor, last: Tensor, age: Tensor
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Forward fill of z [batch, time, width] from `last` and `age` [1, batch, width].

    Returns the last observed value and its age at every step, and both at each row's last true step.
    """
    time = torch.arange(1, z.shape[1] + 1, device=z.device)[None, :, None]
    is_true = time <= lengths.to(z.device)[:, None, None]
    when = torch.where(~z.isnan() & is_true, time, 0).cummax(dim=1).values  # 0: before this piece
    earlier = torch.cat([last[0][:, None], z], dim=1)
    filled = earlier.gather(1, when)
    ages = torch.where(when > 0, time - when, age[0][:, None] + time)
    end = (torch.arange(len(z), device=z.device), lengths.to(z.device) - 1)
    return filled, ages, [filled[end][None], ages[end][None]]
