"""The Open Inference Protocol's metadata and configuration, made from a manifest."""

import pytest

from service.api.v2 import EXTENSIONS, metadata
from service.engine.worker import Worker
from service.errors import Draining, InvalidField, UnknownModel, UnknownVersion
from service.manifest import Axes, InputSpec, Manifest, OutputSpec
from tests.service.api.parts import Api

PATHS = pytest.mark.parametrize("path", ["/v2/models/vowels", "/v2/models/vowels/versions/1"])


@pytest.mark.parametrize("path", ["/v2", "/v2/"])
def test_the_server_names_its_extensions(api: Api, path: str) -> None:
    reply = api.request("GET", path).json()
    assert reply["name"] == "cellgate" and reply["extensions"] == EXTENSIONS


@PATHS
def test_metadata_name_tensors_with_batch_and_time(api: Api, path: str) -> None:
    reply = api.request("GET", path).json()
    assert reply["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, -1, 12]}]
    assert reply["outputs"] == [
        {"name": "y", "datatype": "FP32", "shape": [-1, -1, 9], "labels": [*"123456789"]},
        {"name": "logits", "datatype": "FP32", "shape": [-1, -1, 9]},
    ]
    assert reply["versions"] == ["1"] and reply["properties"]["task"] == "classify"
    assert "INT32" in reply["properties"]["lengths"]


@PATHS
def test_the_configuration_has_the_same_tensors_without_the_batch_axis(api: Api, path: str) -> None:
    reply = api.request("GET", f"{path}/config").json()
    assert reply["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [-1, 12]}]
    assert reply["output"] == [
        {"name": name, "data_type": "TYPE_FP32", "dims": [-1, 9]} for name in ("y", "logits")
    ]
    assert reply["max_batch_size"] == 16 and reply["sequence_batching"] == {}


def test_metadata_show_fixed_times_every_output_and_inputs_without_time() -> None:
    manifest = Manifest(
        task="forecast",
        axes=Axes(time_size=7),
        inputs=(InputSpec(name="days", dims=(2,)), InputSpec(name="site", dtype="uint8", per="sequence")),
        outputs=(OutputSpec(name="spread", dims=(2,), steps="last"), OutputSpec(name="rising", dtype="bool")),
    )
    reply = metadata(manifest, ("float64", "bool"))
    assert [tensor.model_dump(exclude_none=True) for tensor in (*reply.inputs, *reply.outputs)] == [
        {"name": "days", "datatype": "FP32", "shape": [-1, 7, 2]},
        {"name": "site", "datatype": "UINT8", "shape": [-1]},
        {"name": "spread", "datatype": "FP64", "shape": [-1, 1, 2]},
        {"name": "rising", "datatype": "BOOL", "shape": [-1, 7]},
    ]
    states = [{"input": "h", "output": "h_out", "shape": ["batch", 1]}]
    pieces = metadata(
        Manifest.model_validate(manifest.model_dump() | {"states": states}), ("float64", "bool")
    )
    assert pieces.inputs[0].shape == [-1, -1, 2]  # any multiple of 7


@PATHS
def test_a_loaded_model_is_ready_until_it_fails(api: Api, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert api.request("GET", f"{path}/ready").json() == {"name": "vowels", "ready": True}
    monkeypatch.setattr(Worker, "is_alive", False)
    with pytest.raises(Draining):
        api.request("GET", f"{path}/ready")


def test_the_index_lists_every_version(api: Api) -> None:
    reply = api.request("POST", "/v2/repository/index").json()
    assert reply == [{"name": "vowels", "version": "1", "state": "READY", "reason": ""}]


@pytest.mark.parametrize("rest", ["", "/ready", "/config"])
def test_what_is_not_loaded_is_unknown(api: Api, rest: str) -> None:
    with pytest.raises(UnknownModel):
        api.request("GET", f"/v2/models/none{rest}")
    with pytest.raises(UnknownVersion):
        api.request("GET", f"/v2/models/vowels/versions/2{rest}")


@PATHS
def test_a_model_has_a_second_name_without_sequences(api: Api, path: str) -> None:
    """Its configuration makes load generators send stateless requests."""
    second = path.replace("vowels", "vowels:stateless")
    sequences, stateless = (
        api.request("GET", f"{path}/config").json(),
        api.request("GET", f"{second}/config").json(),
    )
    assert sequences.pop("sequence_batching") == {} and stateless == sequences | {"name": "vowels:stateless"}
    shown = api.request("GET", second).json()
    assert shown == api.request("GET", path).json() | {"name": "vowels:stateless"}
    assert api.request("GET", f"{second}/ready").json()["ready"] is True


@pytest.mark.parametrize("rest", ["", "/ready", "/config"])
@pytest.mark.parametrize("query", ["version=1", "a=b&version"])
def test_a_version_in_the_query_is_refused(api: Api, rest: str, query: str) -> None:
    """It was ignored, and another version answered."""
    with pytest.raises(InvalidField, match="'version' is not read"):
        api.request("GET", f"/v2/models/vowels{rest}?{query}")
    assert api.request("GET", f"/v2/models/vowels{rest}?trace=1").status_code == 200
