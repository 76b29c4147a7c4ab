"""A stored reply from outside is one that we could have written, or nothing."""

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.codec.reply import add_state, encode_outputs, encode_prediction
from service.codec.returned import with_inside
from service.codec.stored import last_outputs, regenerate
from service.codec.v2 import pack_outputs
from service.manifest import EstimateSpec, ForecastSpec, Manifest, OutputSpec

SPECS = (
    OutputSpec(name="y", dims=(3,), kind="probabilities", labels=("a", "b", "c")),
    OutputSpec(name="value", dims=()),
)
MANIFEST = Manifest.model_construct(task="label", inputs=(), outputs=SPECS)
ONE, ALL = np.array([0.1, 0.2, 0.7], np.float32), np.full((2, 3), 1 / 3, np.float32)
PREDICTIONS = [
    encode_prediction(SPECS[0], ONE, session="call", step=7),
    encode_prediction(SPECS[0], ALL, session="call", step=7),
    encode_prediction(SPECS[0], np.full(3, np.nan, np.float32), session="call", step=7),
    encode_outputs([(SPECS[0], ONE), (SPECS[1], np.int64(2**60))], session="call", step=7),  # type: ignore[list-item]
    b'{"model":"m","version":"1","ids":[1,2],"seed":3,"tokens":["x","y"],"text":"xy","session":"call","step":7}',
]
FORECAST = OutputSpec(
    name="y",
    dims=(2,),
    forecasts=(
        ForecastSpec(feature="t/1", steps=6, quantile=0.05),
        ForecastSpec(feature="t/1", steps=6, quantile=0.5),
    ),
)
ESTIMATE = OutputSpec(
    name="y", dims=(2,), estimates=(EstimateSpec(target="flow", quantile=0.1), EstimateSpec(target="level"))
)
BY_NAME = [
    encode_prediction(spec, ONE[:2], session="call", step=7, by_name=True) for spec in (FORECAST, ESTIMATE)
]
GATE = {"layer": 0, "direction": "forward", "gate": "open", "values": [0.5, None]}
WHERE = b'{"session":"call","step":7}'
INSIDE = [
    with_inside(PREDICTIONS[0], states={"h": [[0.5]]}, gates=None),
    orjson.dumps(orjson.loads(PREDICTIONS[1]) | {"states": {"h": [1, 2]}, "gates": [GATE]}),
    orjson.dumps(orjson.loads(WHERE) | {"gates": [GATE]}),
    orjson.dumps(orjson.loads(WHERE) | {"states": {}}),
]
PREDICTIONS += [add_state(PREDICTIONS[0], "AQ-_x"), add_state(PREDICTIONS[-1], "AQ")]
TENSORS = [
    pack_outputs("1", 7, {"y": ALL[np.newaxis]}),
    pack_outputs("1", 7, {"y": ALL[np.newaxis], "value": np.zeros((1, 1), np.int64)}),
]
CASES = [
    *(("call", reply) for reply in BY_NAME),
    *(("call", reply) for reply in PREDICTIONS),
    *(("call", reply) for reply in INSIDE),
    *(("v2/m/1", reply) for reply in TENSORS),
]


@pytest.mark.parametrize(("session", "reply"), CASES)
def test_our_own_replies_are_kept_byte_by_byte(session: str, reply: bytes) -> None:
    assert regenerate(reply, session=session, step=7, manifest=MANIFEST) == reply
    for other, step in (("other", 7), (session, 8), ("v2/m/1" if session == "call" else "call", 7)):
        is_v2 = session == other == "v2/m/1"
        if (other, step) != (session, 7) or is_v2:
            assert regenerate(reply, session=other, step=step, manifest=MANIFEST) is None or step == 7


@pytest.mark.parametrize(
    ("session", "reply"),
    [
        ("call", b""),
        ("call", b"<script>"),
        ("call", b"[]"),
        ("call", b'{"session":"call","step":7}'),
        ("call", b'{"output":1,"forecast":{"t":{"+6":1}},"session":"call","step":7}'),
        ("call", b'{"output":1,"forecast":{"t":{"+6":{"q50":"x"}}},"session":"call","step":7}'),
        ("call", b'{"output":[1],"session":"call","step":7.0}'),
        ("call", b'{"output":"text","session":"call","step":7}'),
        ("call", b'{"output":{"a":1},"session":"call","step":7}'),
        ("call", b'{"output":[1],"more":1,"session":"call","step":7}'),
        ("call", b'{"output":[1],"session":"call","step":7,"state":"<script>"}'),
        ("call", b'{"output":[1],"session":"call","step":7,"state":null}'),
        ("call", b'{"output":[1],"outputs":{},"session":"call","step":7}'),
        ("call", b'{"output":[[[[[[[[[1]]]]]]]]],"session":"call","step":7}'),
        *[
            ("call", orjson.dumps(orjson.loads(WHERE) | inside))
            for inside in (
                {"gates": [GATE | {"layer": True}]},
                {"gates": [GATE | {"gate": 1}]},
                {"gates": [GATE | {"values": ["x"]}]},
                {"gates": [GATE | {"more": 1}]},
                {"gates": GATE},
                {"states": [[1]]},
                {"states": {"h": "x"}},
                {"label": "a"},
            )
        ],
        ("call", b"[" * 100_000),
        ("v2/m/1", b"\n"),
        ("v2/m/1", b'["1",7,"O",[1,1,3]]\n' + bytes(24)),
        ("v2/m/1", b'["1",7,"complex64",[1,1,3]]\n' + bytes(24)),
        ("v2/m/1", b'["1",7,"float32",[-1,1,3]]\n' + bytes(12)),
        ("v2/m/1", b'["1",7,"float32",[1,1,4]]\n' + bytes(16)),
        ("v2/m/1", b'["1",7,"float32",[1,0,3]]\n'),
        ("v2/m/1", b'["1",7,"float32",[1,1,3]]\n' + bytes(13)),
        ("v2/m/1", b'["x y",7,"float32",[1,1,3]]\n' + bytes(12)),
        ("v2/m/1", b'["1",7,"bool",[1,1,3]]\n\x02\x00\x01'),
        ("v2/m/1", pack_outputs("1", 7, {"other": ALL[np.newaxis], "y": ALL[np.newaxis]})),
    ],
)
def test_what_no_server_writes_is_left_out(session: str, reply: bytes) -> None:
    assert regenerate(reply, session=session, step=7, manifest=MANIFEST) is None


def test_json_that_is_written_otherwise_is_written_anew() -> None:
    reply = b'{ "step": 1, "step": 7, "output": [1.50], "session": "c\\u0061ll" }'
    assert regenerate(reply, session="call", step=7, manifest=MANIFEST) == (
        b'{"step":7,"output":[1.5],"session":"call"}'
    )


@given(st.sampled_from(CASES), st.data())
def test_no_changed_byte_is_an_error_or_passed_on(case: tuple[str, bytes], data: st.DataObject) -> None:
    session, reply = case
    changed = bytearray(reply)
    at = data.draw(st.integers(0, len(reply) - 1))
    changed[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    taken = regenerate(bytes(changed), session=session, step=7, manifest=MANIFEST)
    if taken is not None:
        assert regenerate(taken, session=session, step=7, manifest=MANIFEST) == taken
        head = orjson.loads(taken.partition(b"\n")[0])
        assert head["step"] == 7 if session == "call" else head[1] == 7


LAST = [
    (PREDICTIONS[0], {0: ONE}),
    (PREDICTIONS[1], {0: ALL[-1]}),
    (PREDICTIONS[2], {}),
    (encode_outputs([(SPECS[0], ALL), (SPECS[1], ONE)], session="call", step=7), {0: ALL[-1], 1: ONE[-1]}),
    (PREDICTIONS[4], {}),
    (PREDICTIONS[5], {0: ONE}),
    (b"", {}),
]


@pytest.mark.parametrize(("reply", "outputs"), LAST)
def test_the_outputs_of_the_last_step_are_read_with_each_bit(
    reply: bytes, outputs: dict[int, np.ndarray]
) -> None:
    found = last_outputs(reply, "call", 7, MANIFEST)
    assert found.keys() == outputs.keys()
    for index, output in outputs.items():
        assert found[index].dtype == np.float32 and found[index].tolist() == [output.tolist()]
    assert last_outputs(reply, "call", 8, MANIFEST) == {}


@pytest.mark.parametrize("reply", TENSORS)
def test_the_outputs_of_the_last_step_are_read_from_tensors(reply: bytes) -> None:
    found = last_outputs(reply, "v2/m/1", 7, MANIFEST)
    assert found[0].tolist() == [ALL[-1].tolist()]
    assert last_outputs(reply, "v2/m/1", 6, MANIFEST) == {}
