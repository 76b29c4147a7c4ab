"""What is the same for all frames of a stream."""

from dataclasses import dataclass
from typing import Literal

from cellgate.inputs import GivenState
from cellgate.models import Model, Returns
from cellgate.stream import frames


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """What is the same for all frames of a stream."""

    model: str | None = None
    version: str | None = None
    returns: Returns | None = None
    outputs: tuple[str, ...] = ()
    encoding: Literal["json", "binary"] | None = None
    """None: binary, where the model has one input of numbers and no outputs are named."""
    in_flight: int = 1
    """Frames without a reply, at most; the server may allow fewer."""
    state: GivenState | None = None
    """What a new session begins from."""
    return_state: bool = False
    """Whether each reply has a token of the state after it; then in JSON."""

    def encoding_for(self, model: Model) -> Literal["json", "binary"]:
        """The encoding of the frames."""
        if self.encoding is not None:
            return self.encoding
        is_listed = self.returns not in (None, "last", "all")
        needs_json = is_listed or bool(self.outputs) or self.return_state or not frames.takes_binary(model)
        return "json" if needs_json else "binary"

    @property
    def names_number(self) -> bool:
        """Whether the version is named by its number. An alias may stand for another one later."""
        return self.version is not None and self.version.isdecimal()
