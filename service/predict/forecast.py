"""`POST /sessions/{session}/forecast`: a model runs ahead of a session, on a copy of its state.

    state of the session ─ row 1 ─→ output 1 ─ quantiles ─→ row 2 ─→ … ─→ output `horizon`
                             └── values that the client knows ──┘

The session is read and never written. Each step goes through the scheduler, so that a long forecast does not
block other requests; all samples of a step are in the queue together. It knows nothing of HTTP.
"""

import functools
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from service import trace
from service.codec import forecast as forecasts
from service.codec.feedback import Fed, feedback_of
from service.codec.forecast import Ahead, Forecast
from service.codec.reply import encode_forecast
from service.codec.request import Item
from service.codec.sizes import json_bytes, prediction_bytes
from service.codec.stored import last_outputs
from service.errors import CellgateError, ForecastNotSupported, InvalidField, NonFiniteOutput
from service.names import check_session_name
from service.predict.aside import LARGE_BODY
from service.predict.kept import check_unchanged, opening_state
from service.predict.predictor import Predictor
from service.predict.reply_budget import ReplyBudget
from service.predict.request import Reply
from service.predict.session_run import find_model
from service.predict.timed import spaced_inputs, timed_inputs
from service.repository import Model
from service.sequence import Array, Origin, Sequence, State
from service.sessions import Record, Sessions, replies, session_key
from service.sessions.rewind import state_at
from service.sessions.rules import graph_changed, require_live
from service.stages import Stages

Outputs = Mapping[int, Array]  # by index in `Manifest.outputs`, each [samples, *dims]


@dataclass(slots=True, frozen=True)
class Rollout:
    """A computed forecast."""

    output: Array  # [samples, horizon, *dims]: the first output after each step
    values: dict[str, Array]  # by feature that is fed back, each [samples, horizon]: the value in each step
    run_s: float


class Forecaster:
    """Answers requests for forecasts."""

    def __init__(
        self,
        predictor: Predictor,
        sessions: Sessions,
        *,
        timeout_s: float,
        clock: Callable[[], float],
    ) -> None:
        """`clock`: the event loop's, with which deadlines are compared."""
        self._predictor = predictor
        self._sessions = sessions
        self._timeout_s = timeout_s
        self._clock = clock

    async def forecast(self, session: str, body: bytes, *, tenant: str = "") -> Reply:
        """Answer a body of `POST /sessions/{session}/forecast`. Raises a CellgateError."""
        stages, predictor = Stages(), self._predictor
        deadline = self._clock() + self._timeout_s
        parse = functools.partial(
            forecasts.parse, body, max_steps=predictor.max_steps, max_sequences=predictor.max_sequences
        )
        forecast = await predictor.aside.run(parse, len(body)) if len(body) > LARGE_BODY else parse()
        record = await self._sessions.find(session_key(tenant, check_session_name(session)))
        live = require_live(record, self._sessions.now_ms())
        model = find_model(predictor.repository, live)
        if model.binding.graph != live.graph:
            raise graph_changed(live)
        origin = Origin(tenant, deadline, forecast.samples, trace.current.get())
        try:
            with ReplyBudget(predictor.max_reply_bytes, predictor.memory, len(body)) as budget:
                return await self._answer(model, live, session, forecast, origin, budget, stages)
        except CellgateError as error:
            error.model = model.name, model.version
            raise

    async def _answer(
        self,
        model: Model,
        live: Record,
        session: str,
        forecast: Forecast,
        origin: Origin,
        budget: ReplyBudget,
        stages: Stages,
    ) -> Reply:
        step = live.step if forecast.at is None else forecast.at
        packed = state_at(live, step, "/at")
        model.layout.check_size(packed)
        fed = feedback_of(model.manifest)
        ahead = forecasts.decode_ahead(forecast, model.manifest, fed)
        used = [one for place, one in enumerate(fed) if ahead.is_fed[:, place].any()]
        _check_samples(forecast, used)
        before: Outputs = {}
        if ahead.is_fed[0].any():
            held = replies.of(live) if step == live.step else []
            before = last_outputs(held[-1].reply, session, step, model.manifest) if held else {}
            _check_first(before, fed, ahead)
        budget.reserve(0, forecast.samples * _reply_bytes(model, forecast.horizon, len(used)))
        state = _state_of(model, ahead, step, model.layout.unpack(packed))
        if ahead.is_by_name:
            ahead = ahead._replace(inputs=_timed(model, ahead, state))
        stages.decoded()
        seed = forecast.seed if forecast.seed is not None else secrets.randbits(32)
        rollout = await _roll_out(model, ahead, fed, state, before, origin, forecast.samples, seed)
        stages.computed(rollout.run_s)
        encode = functools.partial(
            encode_forecast,
            model.name,
            model.version,
            session,
            step,
            model.manifest.outputs[0],
            rollout.output,
            rollout.values,
            seed if forecast.samples > 1 else None,
        )
        body = await self._predictor.aside.run(encode) if rollout.output.nbytes > LARGE_BODY else encode()
        stages.encoded()
        steps = forecast.horizon * forecast.samples
        return Reply(body, model.name, model.version, forecast.samples, steps, step=live.step, stages=stages)


def _timed(model: Model, ahead: Ahead, state: State) -> tuple[Array, ...]:
    """The inputs of records, with what follows from their times. Raises InvalidField."""
    if ahead.times is None:
        return spaced_inputs(model, ahead.inputs, state, "/inputs")
    return timed_inputs(model, ahead.inputs, ahead.times, state)


def _state_of(model: Model, ahead: Ahead, step: int, state: State) -> State:
    """The state to begin from, with the values of inputs without a time axis. Raises InvalidField."""
    item = Item(ahead.inputs, kept=ahead.kept)
    if step == 0:
        return opening_state(model, item, state)
    check_unchanged(model, item, state)
    return state


def _reply_bytes(model: Model, horizon: int, num_values: int) -> int:
    """At most: of one sample."""
    output = prediction_bytes([(model.manifest.outputs[0], model.output_dtypes[0])], horizon)
    return output + json_bytes("float64", horizon * num_values)


def _check_samples(forecast: Forecast, used: list[Fed]) -> None:
    if forecast.samples == 1:
        return
    if not used:
        raise InvalidField(
            "every value ahead is given, so all samples would be equal: expected 1", pointer="/samples"
        )
    for one in used:
        if not one.is_drawable:
            raise ForecastNotSupported(
                f"the manifest has no quantiles of {one.name!r}, so no value can be drawn: expected 1",
                pointer="/samples",
            )


def _check_first(before: Outputs, fed: tuple[Fed, ...], ahead: Ahead) -> None:
    """Refuse to feed back an output that is not known. Raises InvalidField."""
    for one, is_fed in zip(fed, ahead.is_fed[0], strict=True):
        if is_fed and one.output not in before:
            raise InvalidField(
                f"the first row needs a value of {one.name!r}: the output before it is not stored. It is "
                "after a request to `/predict` or `/v2`, or a JSON frame, whose reply has it",
                pointer="/inputs",
            )


async def _roll_out(
    model: Model,
    ahead: Ahead,
    fed: tuple[Fed, ...],
    state: State,
    before: Outputs,
    origin: Origin,
    samples: int,
    seed: int,
) -> Rollout:
    """Run the steps ahead: all at once where every value is known, else one after the other."""
    if not ahead.is_fed.any():
        sequence = _sequence(ahead.inputs, state, origin, ())
        await model.worker.predict(sequence)
        return Rollout(_steps_of(model, sequence)[None], {}, sequence.run_s)
    chances = _chances(ahead.is_fed.shape, samples, seed)
    values = np.zeros((len(fed), samples, len(ahead.is_fed)), np.float64)
    extra = tuple(sorted({one.output for one in fed} - {0}))
    states, outputs, run_s = [state] * samples, [], 0.0
    for step, is_fed in enumerate(ahead.is_fed):
        rows = [[x[step : step + 1].copy() for x in ahead.inputs] for _ in range(samples)]
        for place, one in enumerate(fed):
            if is_fed[place]:
                known = _value(one, before, None if samples == 1 else chances[:, step, place])
                _feed(model, one, rows, known, step)
            values[place, :, step] = [row[one.input].reshape(-1)[one.column] for row in rows]
        sequences = [_sequence(tuple(row), own, origin, extra) for row, own in zip(rows, states, strict=True)]
        await model.worker.predict(*sequences)
        states = [sequence.state for sequence in sequences]
        before = {
            index: np.stack([sequence.output(index)[-1] for sequence in sequences]) for index in (0, *extra)
        }
        outputs.append(before[0])
        run_s += max([sequence.run_s for sequence in sequences])
    series = {
        one.name: values[place].astype(model.manifest.step_inputs[one.input].dtype)
        for place, one in enumerate(fed)
    }
    return Rollout(np.stack(outputs, axis=1), series, run_s)


def _sequence(inputs: tuple[Array, ...], state: State, origin: Origin, extra: tuple[int, ...]) -> Sequence:
    return Sequence(inputs, state, keep_all=True, extra=extra, origin=origin)


def _steps_of(model: Model, sequence: Sequence) -> Array:
    """[horizon, *dims], or [1, *dims] of an output that the graph has for the last step only."""
    output = sequence.output()
    return output[-1:] if model.manifest.outputs[0].steps == "last" else output


def _chances(shape: tuple[int, ...], samples: int, seed: int) -> Array:
    """[samples, horizon, numbers]: sample i is the same for every number of samples."""
    each = [np.random.default_rng([seed, sample]).random(shape) for sample in range(samples)]
    return np.stack(each)


def _value(one: Fed, before: Outputs, chances: Array | None) -> Array:
    """[samples], or [1] where all begin from the same output."""
    outputs = before[one.output]
    if chances is None:
        return one.middle(outputs)
    return one.draw(np.broadcast_to(outputs, (len(chances), *outputs.shape[1:])), chances)


def _feed(model: Model, one: Fed, rows: list[list[Array]], known: Array, step: int) -> None:
    """Put the values [samples] into the rows. Raises NonFiniteOutput for one that the input does not take."""
    spec = model.manifest.step_inputs[one.input]
    with np.errstate(over="ignore", invalid="ignore"):
        values = known.astype(spec.dtype)
    if np.isinf(values).any() or (spec.missing == "error" and np.isnan(values).any()):
        raise NonFiniteOutput(
            f"the forecast of {one.name!r} at step {step} of the horizon is not a number that the model takes"
        )
    for row, value in zip(rows, values, strict=True):
        row[one.input].reshape(-1)[one.column] = value
