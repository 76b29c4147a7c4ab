"""What an API hands to `predict`, and what it gets back: values and small callables."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from service.codec.fields import GivenState
from service.codec.request import Item
from service.codec.returned import Returned, inside_bytes
from service.codec.sizes import prediction_bytes
from service.errors import CellgateError, InvalidField, SessionNotSupported
from service.manifest import Manifest
from service.predict.reply_budget import ReplyBudget
from service.predict.timed import with_times
from service.repository import Model
from service.sequence import Origin, Sequence, State
from service.sessions import Checkpoint, Opened, token_chars
from service.stages import Stages


@dataclass(slots=True)  # not frozen, for speed
class Reply:
    """The body of a successful response, and fields for the access log."""

    body: bytes
    model: str = ""
    version: str = ""
    sequences: int = 0
    steps: int = 0
    json_length: int | None = None  # of the JSON, where binary tensors follow it
    is_replayed: bool = False  # whether it is the stored reply to an earlier request with the same key
    stages: Stages | None = None
    step: int | None = None  # of the session after the request, if it is of one


class Encode(Protocol):
    """How an API writes the answer to one sequence: a session stores these bytes for a retry."""

    def __call__(self, model: Model, sequence: Sequence, *, session: str | None, step: int | None) -> bytes:
        """`sequence` is computed: each output is [time, *dims] with `return: all`, else [*dims]."""
        ...


class Compute(Protocol):
    """How one item is computed."""

    def __call__(
        self, model: Model, item: Item, state: State, *, keep_all: bool, origin: Origin
    ) -> Awaitable[Sequence]:
        """The computed sequence; its inputs are all steps that the model has consumed.

        Its `run_s` is the time of the computation, without waiting.
        """
        ...


def compute_steps(
    model: Model, item: Item, state: State, *, keep_all: bool, origin: Origin
) -> Awaitable[Sequence]:
    """Feed the item's steps to the model."""
    item = with_times(model, item, state)
    return model.worker.compute(
        Sequence(item.inputs, state, keep_all=keep_all, extra=item.extra, origin=origin)
    )


ChooseOutputs = Callable[[Manifest], tuple[int, ...]]  # which of a model's outputs a reply holds, in order
Decode = Callable[[int, Manifest], Item]  # the sequence at an index, for a model of this manifest
ReadBegin = Callable[[int], tuple[str | None, GivenState | None]]  # the session and state that it names


def first_output(manifest: Manifest) -> tuple[int, ...]:  # noqa: ARG001
    """The default of `/predict`."""
    return (0,)


def nothing_named(index: int) -> tuple[str | None, GivenState | None]:  # noqa: ARG001
    """Of requests that are read whole, or not at all."""
    return None, None


def every_output(manifest: Manifest) -> tuple[int, ...]:
    """The default of `/v2`: all but gates."""
    return tuple(range(len(manifest.outputs) - len(manifest.gates)))


def outputs_named(names: Iterable[str], manifest: Manifest) -> tuple[int, ...]:
    """The indexes of outputs, in the order requested. Raises InvalidField for an unknown name."""
    known = [spec.name for spec in manifest.outputs]
    indexes = []
    for place, name in enumerate(names):
        if name not in known:
            raise InvalidField(
                f"the model has no output {name!r}; it has {', '.join(map(repr, known))}",
                pointer=f"/outputs/{place}",
            )
        indexes.append(known.index(name))
    return tuple(indexes)


@dataclass(slots=True)
class Request:
    """A request that an API has read: the model, and how to decode, compute and encode its sequences."""

    model: Model
    num_sequences: int
    decode: Decode  # called again if a session is on another version
    encode: Encode
    compute: Compute = compute_steps
    digest: Callable[[Item, bool], bytes] = Item.digest  # tells a request of a session from any other
    returns: str | None = None  # "last", "all", or None: by task
    on_open: Callable[[Opened], None] | None = None  # called with the session, before it runs in it
    passed: tuple[Checkpoint, ...] = ()  # the states within the request that its own `compute` has kept
    is_pinned: bool = False  # whether the request names a version's number: a session must be on it
    is_free: bool = False  # whether it names neither that nor an alias: a new session may start on a canary
    is_keyed: bool = False  # whether it has an Idempotency-Key: its reply is stored, but apart from sessions
    tenant: str = ""
    outputs: ChooseOutputs = first_output
    read_begin: ReadBegin = nothing_named  # of a sequence that the model cannot read: another may
    returns_state: bool = False  # whether each answer has the state after it, as a token
    reply_budget: Callable[[int], ReplyBudget] | None = None  # None: the API bounds its reply itself
    body_bytes: int = 0
    returned: Returned | None = None  # what each answer holds; None: its output
    answers: ChooseOutputs = first_output  # where `returned` is set: the outputs without gates
    draws: bool = False  # whether outputs are drawn from the model's, and not the model's themselves
    stages: Stages = field(default_factory=Stages)  # measured since the request was there
    _budget: ReplyBudget | None = None  # made when it is needed: not for the last step of one sequence

    def keeps_all(self, model: Model) -> bool:
        """Whether the answer holds the output of every step."""
        if self.returns is not None or self.outputs is first_output:
            return (self.returns or model.manifest.default_return) == "all"
        return model.manifest.default_return == "all" and self._has_steps(model.manifest)

    def decode_for(self, model: Model, index: int) -> Item:
        """The sequence, decoded for a model. Raises a BadInput if it is not one that the model can serve."""
        manifest = model.manifest
        item = self.decode(index, manifest)
        if self.outputs is not first_output:
            item.extra = tuple([index for index in self.outputs(manifest) if index])
        if not manifest.chunkable:
            self._refuse_states(model, item, index)
        if self.is_keyed and item.session is not None and item.at is None:
            raise InvalidField(
                'with an Idempotency-Key, a sequence in a session needs "at": only that makes its retry safe',
                pointer=f"/sequences/{index}/session",
            )
        keeps_all = self.keeps_all(model)
        if keeps_all and not self._has_steps(manifest):
            raise InvalidField(f"{model.name} has an output for the last step only", pointer="/return")
        if self.returned is not None:
            self._check_returned(self.returned, model, keeps_all)
        has_more = keeps_all or self.num_sequences > 1 or self.returns_state or self.returned is not None
        if has_more and self.reply_budget is not None:
            if self._budget is None:
                self._budget = self.reply_budget(self.body_bytes)
            outputs = [(manifest.outputs[i], model.output_dtypes[i]) for i in self.outputs(manifest)]
            size = prediction_bytes(outputs, item.steps if keeps_all else 1, by_name=manifest.names_forecasts)
            if self.returns_state:
                size += token_chars(model.layout.num_bytes)
            if self.returned is not None:
                size += inside_bytes(model.layout, self.returned, manifest, item.steps if keeps_all else 1)
            self._budget.reserve(index, size)
        return item

    def _refuse_states(self, model: Model, item: Item, index: int) -> None:
        """Of a model that cannot be run in pieces. Raises SessionNotSupported if the request needs that."""
        uses = {
            f"/sequences/{index}/session": item.session is not None,
            f"/sequences/{index}/state": item.state is not None,
            "/return_state": self.returns_state,
        }
        if self.returned is not None and self.returned.state is not None:
            uses[self.returned.pointer(self.returned.state)] = True
        for field_pointer, is_used in uses.items():
            if is_used:
                reason = "has no state" if model.manifest.causal else "reads each sequence from both ends"
                raise SessionNotSupported(f"{model.name} {reason}", pointer=field_pointer)

    def _check_returned(self, returned: Returned, model: Model, keeps_all: bool) -> None:
        """Raises InvalidField if the model has no state after each step, and it is requested."""
        if returned.state is not None and keeps_all and model.manifest.step_multiple > 1:
            raise InvalidField(
                f"{model.name} has a state after every {model.manifest.step_multiple} steps only; with "
                '"last", the one after the last step is returned',
                pointer=returned.pointer(returned.state),
            )

    def close(self) -> None:
        """The reply is written, or will not be: its memory is no longer counted."""
        if self._budget is not None:
            self._budget.close()

    def _has_steps(self, manifest: Manifest) -> bool:
        """Whether some output is there for every step; the others are the last step's then."""
        return any(manifest.outputs[index].steps == "all" for index in self.outputs(manifest))


class Decoded:
    """A `Decode` whose sequences have been decoded for one manifest, all at once; others are when called."""

    def __init__(self, decode: Decode, num_sequences: int, manifest: Manifest) -> None:
        self._decode = decode
        self._manifest = manifest
        self._outcomes = [self._try(index) for index in range(num_sequences)]

    def __call__(self, index: int, manifest: Manifest) -> Item:
        """The sequence. Raises the BadInput that it is refused with."""
        if manifest is not self._manifest:
            return self._decode(index, manifest)
        outcome = self._outcomes[index]
        if isinstance(outcome, CellgateError):
            raise outcome
        return outcome

    def _try(self, index: int) -> Item | CellgateError:
        try:
            return self._decode(index, self._manifest)
        except CellgateError as error:
            return error
