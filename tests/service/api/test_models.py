"""`GET /models`: how a loaded model is described."""

import pytest

from service.errors import UnknownModel
from service.repository import Repository
from tests.service.api.parts import Api


def test_a_model_shows_its_manifest_unchanged(api: Api, repository: Repository) -> None:
    (shown,) = api.request("GET", "/models").json()["models"]
    manifest = repository.get("vowels").manifest.model_dump(mode="json")
    for field in ("description", "task", "inputs", "outputs", "metrics", "example", "provenance"):
        assert shown[field] == manifest[field], field
    assert (shown["name"], shown["version"], shown["sessions"], shown["retiring"]) == (
        "vowels", "1", True, False,
    )  # fmt: skip
    assert shown["exact"] and shown["max_difference"] == 0


def test_one_model_shows_its_versions(api: Api) -> None:
    assert api.request("GET", "/models/vowels").json() == api.request("GET", "/models").json()
    with pytest.raises(UnknownModel):
        api.request("GET", "/models/none")
