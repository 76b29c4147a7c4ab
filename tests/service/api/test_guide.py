"""`GET /docs/guide/`: the files of the website, and no other ones; what browsers may do with them."""

from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import pytest

from service.errors import NotFound
from service.repository import Repository
from service.settings import Settings
from tests.service.api.parts import Api

SCRIPT, STYLE = "go()", ".a{" + "color:red;" * 100 + "}"


def hashed(source: str) -> str:
    return f"'sha256-{b64encode(sha256(source.encode()).digest()).decode()}'"


@pytest.fixture
def website(tmp_path: Path) -> Path:
    (tmp_path / "secret.html").write_text("secret")
    folder = tmp_path / "website"
    (folder / "reference" / "http").mkdir(parents=True)
    (folder / "index.html").write_text(f"<h1>Start</h1><script>{SCRIPT}</script>")
    (folder / "reference" / "http" / "index.html").write_text("<h1>HTTP</h1>")
    (folder / "search.js").write_text(f"let style='{STYLE}';")
    (folder / "graph.onnx").write_bytes(b"no page")
    return folder


@pytest.fixture
def guide(website: Path, repository: Repository) -> Api:
    return Api(repository, website=website)


def test_pages_are_served_by_their_folders(guide: Api) -> None:
    assert "Start" in guide.request("GET", "/docs/guide/").text
    assert "HTTP" in guide.request("GET", "/docs/guide/reference/http/").text
    assert guide.request("GET", "/docs/guide/search.js").headers["content-type"].startswith("text/javascript")


@pytest.mark.parametrize(
    ("path", "location"), [("/docs/guide", "guide/"), ("/docs/guide/reference/http", "http/")]
)
def test_a_folder_without_its_slash_is_redirected_below_any_prefix(
    guide: Api, path: str, location: str
) -> None:
    answer = guide.request("GET", path)
    assert (answer.status_code, answer.headers["location"]) == (307, location)


@pytest.mark.parametrize(
    "path",
    ["nowhere/", "nowhere", "reference/", "reference", "graph.onnx", "../secret.html", "..%2fsecret.html",
     "%2e%2e/secret.html", "reference/http/../../../secret.html", "/secret.html", "//", "%00"],
)  # fmt: skip
def test_no_other_file_is_served(guide: Api, path: str) -> None:
    with pytest.raises(NotFound):
        guide.request("GET", f"/docs/guide/{path}")


def test_only_the_scripts_and_styles_of_the_website_run(guide: Api) -> None:
    policy = guide.request("GET", "/docs/guide/").headers["content-security-policy"]
    assert f"script-src 'self' {hashed(SCRIPT)};" in policy and f"style-src 'self' {hashed(STYLE)};" in policy
    assert "default-src 'none'" in policy and "unsafe" not in policy
    other = guide.request("GET", "/docs/guide/reference/http/").headers["content-security-policy"]
    assert "script-src 'self';" in other


def test_a_page_that_the_browser_has_is_not_sent_again(guide: Api) -> None:
    """A compressed page has a weak tag."""
    tag = guide.request("GET", "/docs/guide/").headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", W/{tag}'):
        again = guide.request("GET", "/docs/guide/", headers={"if-none-match": known})
        assert (again.status_code, again.content) == (304, b"")
    assert guide.request("GET", "/docs/guide/", headers={"if-none-match": '"other"'}).status_code == 200


def test_a_page_that_was_removed_meanwhile_is_not_found(guide: Api, website: Path) -> None:
    (website / "index.html").unlink()
    with pytest.raises(NotFound, match="restart the server"):
        guide.request("GET", "/docs/guide/")


def test_docs_link_to_the_guide_only_where_there_is_one(guide: Api, api: Api) -> None:
    assert "(docs/guide/)" in guide.openapi()["info"]["description"]
    assert "guide" not in api.openapi()["info"]["description"]
    with pytest.raises(NotFound, match="no guide"):
        api.request("GET", "/docs/guide/")
    assert Settings().guide
