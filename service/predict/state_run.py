"""One sequence whose state the client keeps: it begins from a token or a named state, and may return a token.

    beginning ──→ compute ──→ encode ──→ answer, with the token of the state after it

Nothing is stored, so a request that is sent again is computed again, from the same state to the same answer.
"""

from functools import partial

from service.codec.reply import add_state
from service.codec.request import Item
from service.predict.aside import LARGE_BODY, Aside, is_large
from service.predict.beginning import Beginning, Beginnings
from service.predict.kept import opening_state
from service.predict.request import Request
from service.predict.session_run import Answer
from service.repository import Model
from service.sequence import Origin, Sequence
from service.stages import Stages


class StateRun:
    """Runs the sequences of one request that have no session."""

    def __init__(self, request: Request, origin: Origin, aside: Aside, beginnings: Beginnings) -> None:
        self._request = request
        self._origin = origin
        self._aside = aside
        self._beginnings = beginnings

    async def answer(self, index: int, item: Item, read_for: Model, stages: Stages) -> Answer:
        """Run a sequence, which was read for one version, from its state.

        Raises InvalidState, StateMismatch or UnknownState among others.
        """
        request, given = self._request, item.state
        model, begin = request.model, 0
        if given is None:
            state = opening_state(model, item)
        else:
            beginning = await self._beginnings.find(request.tenant, given)
            model, begin = self._model_of(beginning), beginning.step
            if model is not read_for:
                item = request.decode_for(model, index)
            state = beginning.state(model, item)
        stages.decoded()
        sequence = await request.compute(
            model, item, state, keep_all=request.keeps_all(model), origin=self._origin
        )
        stages.computed(sequence.run_s)
        step = begin + sequence.steps
        encode = partial(self._encode, model, sequence, step)
        has_large_state = request.returns_state and model.layout.num_bytes > LARGE_BODY
        body = await self._aside.run(encode) if has_large_state or is_large(sequence) else encode()
        return Answer(body, model.version, sequence.steps, step)

    def _model_of(self, beginning: Beginning) -> Model:
        request = self._request
        return self._beginnings.model_of(beginning, request.model, is_pinned=request.is_pinned)

    def _encode(self, model: Model, sequence: Sequence, step: int) -> bytes:
        request = self._request
        body = request.encode(model, sequence, session=None, step=None)
        if not request.returns_state:
            return body
        packed = model.pack_state(sequence.state)
        return add_state(body, self._beginnings.write(request.tenant, model, step, packed), step)
