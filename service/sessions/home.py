"""The model version that a session runs on."""

from typing import Protocol

from service.errors import SessionMismatch, SessionNotSupported
from service.manifest import Manifest
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
