"""One grammar: a request has the same answer on each way that its size and its packets lead it.

body below 512 bytes | simdjson | above 128 kB in a thread     one read: fast path | many, or a "?": ASGI
"""

import asyncio
import json
import re
from typing import Any, cast

import uvicorn
from hypothesis import example, given
from hypothesis import strategies as st
from uvicorn.server import ServerState

from service.codec.fast_json import SMALL_BODY
from service.http.body import BodyLimits
from service.http.codings import Codings
from service.http.fast_path import CellgateProtocol
from service.http.fastapi_bridge import ApplicationHandler
from service.http.gate import Gate
from service.http.router import Router
from service.memory import MemoryBudget
from service.predict import Aside, Generator, OpenInference
from service.predict.aside import LARGE_BODY
from tests.service.http.gates import no_content, readiness
from tests.service.http.wire import App, Wire
from tests.service.predict.parts import LETTERS, SPEAKERS, LetterSums, Parts, SpeakerSums

PATHS = ["/predict", "/generate", "/v2/models/m/infer"]
MODELS: dict[str, Any] = {
    "numbers": {},
    "letters": {"engine": LetterSums, "manifest": LETTERS},
    "speakers": {"engine": SpeakerSums, "manifest": SPEAKERS},
}

NUMBER = st.one_of(
    st.integers(-3, 5),
    st.sampled_from([0.5, -0.0, 1e39, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 1e308]),
)
LEAF: Any = st.one_of(
    NUMBER, st.booleans(), st.none(), st.sampled_from(["a", "ab", "", "[", "]\\\u00e9", "x"])
)
ROWS: Any = st.one_of(
    st.lists(st.lists(NUMBER, min_size=1, max_size=1), min_size=1, max_size=4),
    st.lists(st.lists(LEAF, max_size=2), max_size=3),
    st.lists(LEAF, max_size=4),
    st.recursive(LEAF, lambda inner: st.lists(inner, max_size=2), max_leaves=6),
    LEAF,
)
NAMED = st.dictionaries(st.sampled_from(["x", "speaker", "ids"]), ROWS, max_size=3)
SESSION: Any = st.one_of(st.just("s"), LEAF)
FIELDS: dict[str, Any] = {"session": SESSION, "at": st.one_of(st.integers(-1, 2), LEAF), "end": st.booleans()}
SEQUENCE = st.one_of(
    ROWS, NAMED, st.fixed_dictionaries({}, optional={"steps": st.one_of(ROWS, NAMED), "text": LEAF, **FIELDS})
)
RETURN = st.sampled_from(["last", "all", "some", None, 1])
PREDICT = st.fixed_dictionaries(
    {"sequences": st.one_of(st.lists(SEQUENCE, max_size=3), LEAF)},
    optional={
        "return": RETURN,
        "model": st.sampled_from(["m", "n", 1]),
        "outputs": st.lists(st.sampled_from(["y", "odds", "z", 1]), max_size=2),
        "trim_padding": LEAF,
        "\u00e9/~": LEAF,
        "\x00": LEAF,
    },
)
GENERATE = st.fixed_dictionaries(
    {"prompt": st.one_of(ROWS, st.lists(st.sampled_from(["a", "b", 0, 1]), max_size=4)), "seed": st.just(1)},
    optional={
        "max_steps": st.one_of(st.integers(0, 4), LEAF),
        "top_k": st.sampled_from([1, 2, 0, 2**53, None]),
        "temperature": st.sampled_from([0, 0.5, 101, "a"]),
        "stop": st.one_of(st.lists(LEAF, max_size=2), LEAF),
        **FIELDS,
    },
)
TENSOR = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["x", "x", "x", "speaker", "lengths", 1]),
        "datatype": st.sampled_from(["FP32", "FP32", "INT64", "INT32", "FP99"]),
        "shape": st.sampled_from([[1, 2, 1], [2, 1, 1], [0, 1, 1], [1, 0, 1], [1, 2], [2], [1, -1, 1], 1]),
    },
    optional={
        "data": st.one_of(ROWS, st.lists(NUMBER, min_size=2, max_size=2), st.just([[[1], [2]]])),
        "parameters": st.one_of(st.fixed_dictionaries({"binary_data_size": NUMBER}), LEAF),
    },
)
PARAMETERS = st.fixed_dictionaries(
    {}, optional={"sequence_id": LEAF, "sequence_start": st.booleans(), "return": RETURN, "at": LEAF}
)
INFER = st.fixed_dictionaries(
    {"inputs": st.one_of(st.lists(TENSOR, max_size=2), LEAF)},
    optional={
        "id": LEAF,
        "parameters": st.one_of(PARAMETERS, LEAF),
        "outputs": st.one_of(st.lists(st.fixed_dictionaries({"name": LEAF}), max_size=2), LEAF),
    },
)
BODIES = zip(PATHS, (PREDICT, GENERATE, INFER), strict=True)
REQUESTS = st.one_of([st.tuples(st.just(path), body) for path, body in BODIES])


def infer(datatype: str, shape: list[int], data: list[Any]) -> tuple[str, Any]:
    return PATHS[2], {"inputs": [{"name": "x", "datatype": datatype, "shape": shape, "data": data}]}


class Server:
    """All inference routes in front of one model; nothing is shared with another."""

    def __init__(self, model: str) -> None:
        predictor = Parts(**MODELS[model]).predictor
        open_inference = OpenInference(predictor)
        router = Router(predictor, Generator(predictor), open_inference, ApplicationHandler(no_content))
        self.app = App(
            gate=Gate(
                router,
                readiness(),
                BodyLimits(1 << 20, 10, MemoryBudget(1 << 40)),
                codings=Codings(Aside(), min_bytes=0),
                server_timing=False,
            )
        )

    async def answer(self, *packets: bytes) -> bytes:
        """What is written to a connection that receives these packets."""
        config = uvicorn.Config(
            cast(Any, self.app),
            log_config=None,
            lifespan="off",
            server_header=False,
            date_header=False,
            proxy_headers=False,
        )
        protocol = CellgateProtocol(config=config, server_state=ServerState(), app_state={})
        wire = Wire()
        protocol.connection_made(wire)
        for packet in packets:
            protocol.data_received(packet)
            await asyncio.sleep(0)
        async with asyncio.timeout(30):
            while not wire.writes:
                await asyncio.sleep(0)
        protocol.connection_lost(None)
        return b"".join(wire.writes)


def request(path: str, body: bytes) -> tuple[bytes, bytes]:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nX-Request-ID: r\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode(), body


def code_of(answer: bytes) -> str:
    """Of an error; of a body that is not JSON, the message has the place where that was found."""
    found = re.search(rb'"code":"(\w+)"', answer)
    return found[1].decode() if found else ""


async def check(model: str, path: str, body: bytes) -> None:
    head, _ = request(path, body)
    expected = await Server(model).answer(head + body)
    assert expected.startswith(b"HTTP/1.1 ") and not expected.startswith(b"HTTP/1.1 500")
    middle = len(body) // 2
    ways = [(head, body), (head + body[:middle], body[middle:]), (head[:20], head[20:] + body)]
    ways.append((request(path + "?", body)[0], body))
    for packets in ways:
        assert await Server(model).answer(*packets) == expected, packets
    for size in (SMALL_BODY - 1, SMALL_BODY, LARGE_BODY, LARGE_BODY + 1):
        large_head, large = request(path, body.ljust(size))
        answer = await Server(model).answer(large_head + large)
        assert answer == expected or code_of(answer) == code_of(expected) == "invalid_json", size


@given(st.sampled_from(sorted(MODELS)), REQUESTS)
@example("letters", ("/predict", {"sequences": [{"steps": {"x": "ab"}}]}))
@example("letters", ("/predict", {"sequences": [{"steps": [[0], [1]]}]}))
@example("letters", ("/predict", {"sequences": [{"text": "ab[["}]}))
@example("numbers", ("/predict", {"sequences": [[[1], [None]], [[None]]], "return": "all"}))
@example("numbers", infer("FP32", [1, 2, 1], [1, None]))
@example("letters", infer("INT64", [1, 2], [1, 2**63]))
@example("letters", infer("INT64", [1, 2], [1, 1.0]))
def test_a_request_has_one_answer_on_every_way(model: str, sent: tuple[str, Any]) -> None:
    path, document = sent
    asyncio.run(check(model, path, json.dumps(document).encode()))


@given(st.sampled_from(sorted(MODELS)), REQUESTS, st.integers(0, 200), st.sampled_from(b'[]{},:"\\x\xff0 -.'))
def test_so_has_one_with_a_wrong_byte(model: str, sent: tuple[str, Any], at: int, byte: int) -> None:
    path, document = sent
    body = bytearray(json.dumps(document, ensure_ascii=False).encode())
    body[at % len(body)] = byte
    asyncio.run(check(model, path, bytes(body)))
