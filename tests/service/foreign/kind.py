"""What a foreign graph can be: one value for each way in which exporters differ."""

from dataclasses import dataclass
from typing import Literal

Cell = Literal["lstm", "gru", "rnn", "sum", "conv", "attention", "none"]
Time = Literal["any", "one", "fixed", "none"]
FEATURES, HIDDEN, ANSWERS, TOKENS, STATIC, KERNEL, CARRY = 3, 4, 2, 7, 2, 3, 2
CONTEXT = 4  # steps that attention looks back
FIXED_STEPS, FIXED_ROWS = 4, 3


@dataclass(frozen=True)
class Kind:
    """A graph. Its axes are letters: b batch, t time, f features; "tbf" is time-major, "bf" one step."""

    cell: Cell = "gru"
    axes: str = "btf"
    has_states: bool = True
    state_axes: str = "1bh"  # of h and c; "2bh": both in one tensor
    state_dtype: str = "float32"
    dtype: str = "float32"
    is_scalar: bool = False  # one number a step, or a token id
    is_token: bool = False
    time: Time = "any"
    rows: int | None = None  # a fixed batch
    ahead: Literal["", "reverse", "bidirectional", "mean"] = ""
    answer: Literal["head", "number", "argmax", "state", "last"] = "head"
    has_second: bool = False  # a further output
    static: bool = False  # an input per sequence
    lengths: str = ""  # the dtype of the row lengths
    counts: bool = False  # an integer state: the number of steps so far
    has_flag: bool = False  # a boolean state: whether a number above 1 has come
    carry: bool = False
    grows: bool = False  # the cache of a convolution, or of attention, is empty at step 0
    couples: bool = False  # the rows of a call influence each other
    style: int = 0  # of names
    seed: int = 0

    @property
    def has_batch(self) -> bool:
        """Whether there is a batch axis."""
        return "b" in self.axes

    @property
    def has_time(self) -> bool:
        """Whether there is a time axis."""
        return "t" in self.axes

    @property
    def states(self) -> tuple[str, ...]:
        """The graph's states, without its counter and its flag."""
        if not self.has_states or self.cell == "none":
            return ()
        return ("h", "c") if self.cell == "lstm" and self.state_axes != "2bh" else ("h",)

    @property
    def keeps(self) -> bool:
        """Whether anything is passed on from call to call."""
        return bool(self.states) or self.counts or self.has_flag or self.carry

    @property
    def can_be_cut(self) -> bool:
        """Whether a step depends on no later step, and on earlier ones only by what is kept."""
        return not self.ahead and (bool(self.states) or self.cell == "none")

    @property
    def directions(self) -> int:
        """Of the cell."""
        return 2 if self.ahead == "bidirectional" else 1

    @property
    def width(self) -> int:
        """Numbers that the graph takes for a step."""
        return 1 if self.is_scalar or self.is_token else FEATURES

    @property
    def unit(self) -> int:
        """Steps of one call, where the graph fixes them."""
        return FIXED_STEPS if self.time == "fixed" else 1

    def name(self, role: str) -> str:
        """The graph's name of an input or output, by what it is."""
        index = ROLES.index(role)
        return STYLES[self.style][index] if self.style < len(STYLES) else f"onnx::{index + 3}"


ROLES = (
    "x", "h", "c", "count", "flag", "static", "lengths",
    "y", "h_out", "c_out", "count_out", "flag_out", "second",
)  # fmt: skip
STYLES = (
    ("x", "h", "c", "count", "flag", "speaker", "lengths",
     "y", "h_out", "c_out", "count_out", "flag_out", "value"),
    ("input", "h0", "c0", "step_state", "seen_state", "style", "input_lengths",
     "output", "hn", "cn", "new_step_state", "new_seen_state", "value"),
    ("args_0", "state", "state.1", "state.2", "state.3", "embedding", "sequence_lens",
     "output_0", "stateN", "stateN.1", "stateN.2", "stateN.3", "output_1"),
    ("waveform", "past.0.hidden", "past.0.cell", "past.1.position", "past.1.seen", "cond", "seq_len",
     "probs", "present.0.hidden", "present.0.cell", "present.1.position", "present.1.seen", "aux"),
)  # fmt: skip
