"""The model version that a session runs on."""

from collections.abc import Mapping
from typing import Any, Protocol

from service.errors import InvalidField, SessionMismatch, SessionNotSupported, UnknownState
from service.manifest import Manifest
from service.sequence import State
from service.sessions.rules import Binding
from service.state import StateLayout, StateTensor, describe


class Home(Protocol):
    """The model version that a session runs on, loaded or on disk."""

    @property
    def manifest(self) -> Manifest:
        """The contract of the graph."""

    @property
    def binding(self) -> Binding:
        """The version, by name and fingerprint."""

    @property
    def layout(self) -> StateLayout:
        """The tensors of a state."""

    def named_state(self, name: str) -> State:
        """The version's initial state of that name, which is never written to. Raises UnknownState."""


def require_states(home: Home) -> None:
    """Raises SessionNotSupported where a model has no states to continue from."""
    if not home.manifest.chunkable:
        raise SessionNotSupported(f"{home.binding.model} cannot be run in pieces, so it has no sessions")


def require_same(tensors: tuple[StateTensor, ...], home: Home) -> None:
    """Raises SessionMismatch unless these are the tensors of the version's states."""
    require_states(home)
    own = home.layout.tensors
    if tensors != own:
        raise SessionMismatch(
            f"the session's state is {describe(tensors)}; {home.binding.model} version "
            f"{home.binding.version} has {describe(own)}"
        )


def names_state(state: Mapping[str, Any]) -> bool:
    """Whether a client's state is `{"name": …}`, not tensors by name: no tensor is a string."""
    return set(state) == {"name"} and isinstance(state["name"], str)


def pack_given(home: Home, state: Mapping[str, Any], step: int) -> bytes:
    """A client's state as bytes. Raises UnknownState or an InvalidField."""
    if not names_state(state):
        return home.layout.parse(state, allows_null=home.manifest.non_finite == "allow")
    if step:
        raise InvalidField(f"a named initial state is at step 0, not {step}", pointer="/step")
    try:
        return home.layout.pack(home.named_state(state["name"]))
    except UnknownState as error:
        error.pointer = "/state/name"
        raise
