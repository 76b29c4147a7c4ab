"""Where a sequence begins whose client gives its state: a token, or a named initial state of the version.

    token ─ read ─→ its own version, if it is loaded ─→ its state and step
    name  ────────→ the request's version ────────────→ that version's state, step 0

It knows models and tokens; it knows nothing of sessions' rules or JSON.
"""

from dataclasses import dataclass
from functools import partial

from service.codec.fields import GivenState
from service.codec.frames import Frame
from service.codec.request import Item
from service.errors import CellgateError, InvalidState, ModelLoading, NotFound, StateMismatch, UnknownState
from service.predict.aside import LARGE_BODY, Aside
from service.predict.kept import check_unchanged, opening_state
from service.repository import Model, Repository
from service.sequence import State
from service.sessions import StateToken, StateTokens


@dataclass(slots=True, frozen=True)
class Beginning:
    """The state that a client gives, before the version that runs it is known."""

    given: GivenState
    token: StateToken | None  # None: a named state

    @property
    def step(self) -> int:
        """The steps that the state has consumed."""
        return 0 if self.token is None else self.token.step

    def state(self, model: Model, item: Item | Frame) -> State:
        """The state, for the version that the token names. Raises an error that points at the field."""
        self.check(model)
        try:
            if self.token is None:
                return opening_state(model, item, model.named_state(self.given.value))
            return _unpack(self.token, model, item)
        except CellgateError as error:
            error.pointer = error.pointer or self.given.pointer
            raise

    def check(self, model: Model) -> None:
        """Refuse a name that the version does not have, or a token of the version before it changed.

        Raises UnknownState or StateMismatch.
        """
        if self.token is None:
            try:
                model.named_state(self.given.value)
            except UnknownState as error:
                error.pointer = self.given.pointer
                raise
        elif self.token.binding.graph != model.binding.graph:
            raise _mismatch(self, "graph", f"before {model.name} version {model.version} was changed")


class Beginnings:
    """Finds where sequences begin."""

    def __init__(self, repository: Repository, tokens: StateTokens, aside: Aside) -> None:
        self._repository = repository
        self._tokens = tokens
        self._aside = aside

    async def find(self, tenant: str, given: GivenState) -> Beginning:
        """Read a token. Raises InvalidState or StateSecretMissing."""
        if given.is_name:
            return Beginning(given, None)
        largest = max([model.layout.num_bytes for model in self._repository], default=0)
        read = partial(self._tokens.read, tenant, given.value, max_state_bytes=largest, pointer=given.pointer)
        is_large = len(given.value) > LARGE_BODY
        return Beginning(given, await self._aside.run(read) if is_large else read())

    def model_of(self, beginning: Beginning, model: Model, *, is_pinned: bool) -> Model:
        """The version that continues: the token's own. `model`: what the request names or defaults to.

        `is_pinned`: whether it names a version's number.
        Raises StateMismatch, or ModelLoading if another worker has the version already.
        """
        token = beginning.token
        if token is None:
            return model
        name, version = token.binding.model, token.binding.version
        if name != model.name:
            raise _mismatch(beginning, "model", f"on model {name}, not {model.name}")
        if version != model.version:
            if is_pinned:
                raise _mismatch(beginning, "version", f"on version {version}, not {model.version}")
            model = self._find(beginning, name, version)
        beginning.check(model)
        return model

    def _find(self, beginning: Beginning, name: str, version: str) -> Model:
        try:
            return self._repository.get(name, version)
        except NotFound as error:
            if self._repository.is_ahead(name, version):
                raise ModelLoading(
                    f"the state token is of {name} version {version}, which is not loaded yet"
                ) from error
            raise _mismatch(beginning, "version", f"on version {version}, which is not loaded") from error

    def write(self, tenant: str, model: Model, step: int, packed: bytes) -> str:
        """The token of a state that a model has computed."""
        return self._tokens.write(tenant, StateToken(model.binding, step, packed))


def _mismatch(beginning: Beginning, reason: str, how: str) -> StateMismatch:
    assert beginning.token is not None
    binding = beginning.token.binding
    return StateMismatch(
        f"the state token was made {how}",
        pointer=beginning.given.pointer,
        members={"reason": reason, "model": binding.model, "version": binding.version},
    )


def _unpack(token: StateToken, model: Model, item: Item | Frame) -> State:
    """The token's state, with the inputs without a time axis that it was started with."""
    if fault := model.layout.fault(token.state):
        raise InvalidState(fault)
    if model.manifest.non_finite != "allow":
        model.layout.check_finite(token.state)
    state = model.layout.unpack(token.state)
    check_unchanged(model, item, state)
    return state
