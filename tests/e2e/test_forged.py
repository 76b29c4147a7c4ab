"""Exported files with a valid checksum that no server wrote, and records that no server would write."""

import asyncio
import hashlib
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.names import MAX_STEP
from service.sessions import exported
from service.sessions.rules import session_key
from service.sessions.store import Limits, Record, Write
from service.sessions.store.lmdb import LmdbStore
from tests.e2e.conftest import first, predict
from tests.e2e.server import running

STATE_BYTES = 2 * 128 * 4  # h and c of the committed model
Steps = list[list[float]]


def export(client: httpx.Client, session: str) -> tuple[exported.Header, Record]:
    return exported.read(client.get(f"/sessions/{session}/export").content)


def import_changed(
    client: httpx.Client, name: str, header: exported.Header, record: Record
) -> httpx.Response:
    """Import a changed record with a valid checksum."""
    blob = exported.write(header.session, record, header.tensors)
    return client.put(f"/sessions/{name}/import", content=blob)


@pytest.mark.promise(10)
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"state": b""}, "bad_export"),
        ({"state": bytes(STATE_BYTES - 4)}, "bad_export"),
        ({"state": bytes(STATE_BYTES + 4)}, "bad_export"),
        ({"state": np.full(256, np.nan, "<f4").tobytes()}, "non_finite"),
        ({"state": np.full(256, -np.inf, "<f4").tobytes()}, "non_finite"),
        ({"step": MAX_STEP + 1}, "bad_export"),
        ({"step": 2**63 - 1}, "bad_export"),
        ({"at": 5}, "bad_export"),
        ({"step": MAX_STEP + 1, "at": MAX_STEP + 1}, "bad_export"),
    ],
    ids=["no state", "too short", "too long", "NaN", "infinite", "step", "far step", "at after step", "at"],
)
def test_a_file_that_no_server_wrote_is_refused(
    client: httpx.Client, utterance: Steps, session: str, changes: dict[str, Any], code: str
) -> None:
    name = session[-100:]
    predict(client, utterance[:4], session=name)
    header, record = export(client, name)
    refused = import_changed(client, f"{name}-x", header, replace(record, **changes))
    assert (refused.status_code, refused.json()["code"]) == (422, code), refused.text
    assert refused.headers["content-type"] == "application/problem+json"
    assert client.get(f"/sessions/{name}-x").status_code == 404, "it was stored"
    imported = import_changed(client, f"{name}-x", header, record)
    assert imported.status_code == 201, "the unchanged record"
    whole = first(predict(client, utterance))
    assert first(predict(client, utterance[4:], session=f"{name}-x", at=4))["output"] == whole["output"]


def test_a_session_from_the_future_is_as_old_as_its_import(client: httpx.Client, utterance: Steps) -> None:
    predict(client, utterance[:4], session="future")
    header, record = export(client, "future")
    client.delete("/sessions/future-x")
    imported = import_changed(client, "future-x", header, replace(record, created_ms=2**62))
    assert imported.status_code == 201, imported.text
    assert imported.json()["created"] >= client.get("/sessions/future").json()["created"]
    assert imported.json()["created"] < "3000"
    assert client.get("/sessions").status_code == 200


def test_sessions_with_invalid_records_can_be_listed(tmp_path: Path, utterance: Steps) -> None:
    """Such files were once imported, and each GET /sessions of their tenant was a 500."""
    with running(tmp_path) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        predict(client, utterance[:4], session="sound")
        _, record = export(client, "sound")
        now_ms = int(time.time() * 1000)
        odd = {
            "far": replace(record, created_ms=2**62, touched_ms=now_ms, ttl_ms=2**62, step=2**63 - 1),
            "nan": replace(record, state=np.full(256, np.nan, "<f4").tobytes(), touched_ms=now_ms),
            "short": replace(record, state=b"", touched_ms=now_ms),
        }
        asyncio.run(put(tmp_path / "sessions", odd))
        listed = client.get("/sessions")
        assert listed.status_code == 200, listed.text
        assert [entry["session"] for entry in listed.json()["sessions"]] == ["far", "nan", "short", "sound"]
        for name in odd:
            assert client.get(f"/sessions/{name}").status_code == 200
        assert client.get("/sessions/nan?state=true").json()["state"]["h"] == [[None] * 128]
        short = client.get("/sessions/short?state=true")
        assert (short.status_code, short.json()["code"]) == (409, "session_mismatch")


async def put(folder: Path, records: dict[str, Record]) -> None:
    """Write directly into the server's store."""
    store = LmdbStore(folder, Limits())
    await store.open()
    await store.commit([Write(session_key("", name), None, record) for name, record in records.items()], 0)
    await store.close()


def _mutated(data: st.DataObject, content: bytes) -> bytes:
    changed = bytearray(content)
    at = data.draw(st.integers(0, len(changed)))
    changed[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    return bytes(changed)


def _infer(client: httpx.Client, steps: Steps, number: int, **parameters: Any) -> httpx.Response:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, len(steps), len(steps[0])], "data": [steps]}
    body = {"inputs": [tensor], "parameters": {"sequence_id": number, **parameters}}
    return client.post("/v2/models/vowels/infer", json=body)


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), is_v2=st.booleans())
def test_no_forged_reply_is_an_error_of_the_server_or_sent_as_it_is(
    client: httpx.Client, utterance: Steps, data: st.DataObject, is_v2: bool
) -> None:
    """Raw bytes in the place of a reply were sent on to the retry, or answered 500."""
    name = "v2/vowels/4711" if is_v2 else "forged"

    def last(at: int) -> httpx.Response:
        if is_v2:
            return _infer(client, utterance[2:4], 4711, at=at)
        sequence = {"steps": utterance[2:4], "session": name, "at": at}
        return client.post("/predict", json={"sequences": [sequence]})

    client.delete(f"/sessions/{name}")
    if is_v2:
        started = _infer(client, utterance[:2], 4711, sequence_start=True)
        assert started.status_code == 200, started.text
    else:
        predict(client, utterance[:2], session=name)
    true = last(2)
    assert true.status_code == 200, true.text
    header, record = export(client, name)
    field = data.draw(
        st.sampled_from(["reply", "reply", "step", "at", "ttl_ms", "created_ms", "digest", "model"])
    )
    if field in ("reply", "digest"):
        forged = _mutated(data, getattr(record, field))
        setattr(record, field, forged[:16].ljust(16, b"0") if field == "digest" else forged)
    elif field == "model":
        record.model = data.draw(st.text(max_size=5))
    else:
        setattr(record, field, data.draw(st.integers(0, 2**63 - 1)))
    blob = exported.write(header.session, record, header.tensors)
    imported = client.put(f"/sessions/{name}/import?replace=true", content=blob)
    assert imported.status_code < 500, imported.text
    for at in (2, 4):
        again = last(at)
        assert again.status_code < 500, again.text
        assert again.json().keys() >= ({"code"} if again.status_code != 200 else set())


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_changed_byte_of_a_file_with_a_valid_checksum_is_an_error_of_the_server(
    client: httpx.Client, utterance: Steps, data: st.DataObject
) -> None:
    client.delete("/sessions/bytes")
    predict(client, utterance[:4], session="bytes")
    blob = client.get("/sessions/bytes/export").content
    prefix, rest = blob[:10], _mutated(data, blob[42:])
    forged = prefix + hashlib.sha256(rest).digest() + rest
    imported = client.put("/sessions/bytes/import?replace=true", content=forged)
    assert imported.status_code < 500, imported.text
    for path in ("/sessions", "/sessions/bytes?state=true", "/sessions/bytes/export"):
        assert client.get(path).status_code < 500
