"""Behind a real nginx below a prefix, with TLS: documentation, "Try it out", redirects, predictions."""

import contextlib
import os
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest

from tests.e2e.nginx import EXECUTABLE, needs_nginx
from tests.e2e.server import START_S, STOP_S, running
from tests.ports import free_port

pytestmark = needs_nginx

BODY: dict[str, Any] = {"sequences": [[[0.1] * 12] * 3]}
CONFIG = """
pid {folder}/nginx.pid; {user}
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
        location /ml {{ proxy_pass http://127.0.0.1:{backend}; }}
        location /team/ml/ {{
            proxy_pass http://127.0.0.1:{backend}/;
            proxy_set_header X-Forwarded-Prefix /team/ml;
        }}
    }}
    server {{
        listen 127.0.0.1:{plain_port};
        location /ml/ {{ proxy_pass http://127.0.0.1:{backend}/; }}
    }}
}}
"""


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """URLs below which nginx serves the server: the prefix is kept, cut off, or named in a header."""
    folder = tmp_path_factory.mktemp("prefix")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1", "-addext",
         "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    port, plain_port = free_port(), free_port()
    with running(folder, root_path="/ml", forwarded_prefix="true") as server:
        user = "user root;" if os.geteuid() == 0 else ""
        config = CONFIG.format(
            folder=folder, port=port, plain_port=plain_port, backend=server.port, user=user
        )
        (folder / "nginx.conf").write_text(config)
        command = [str(EXECUTABLE), "-e", "stderr", "-c", str(folder / "nginx.conf"), "-g", "daemon off;"]
        with (folder / "nginx.log").open("ab") as log:
            process = subprocess.Popen(command, stderr=log)
        try:
            _wait_for(port, process, folder / "nginx.log")
            yield {
                "kept": f"https://127.0.0.1:{port}/ml/",
                "cut off": f"http://127.0.0.1:{plain_port}/ml/",
                "in a header": f"https://127.0.0.1:{port}/team/ml/",
                "certificate": str(folder / "cert.pem"),
            }
        finally:
            process.terminate()
            process.wait(STOP_S)


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.02)
    raise AssertionError(log.read_text())


@pytest.fixture
def client(bases: dict[str, str]) -> Iterator[httpx.Client]:
    context = ssl.create_default_context(cafile=bases["certificate"])
    with httpx.Client(verify=context, timeout=30) as opened:
        yield opened


@pytest.mark.parametrize("way", ["kept", "cut off", "in a header"])
def test_predictions_and_errors_of_both_apis_work(
    client: httpx.Client, bases: dict[str, str], way: str
) -> None:
    base = bases[way]
    assert client.post(f"{base}predict", json=BODY).json()["predictions"][0]["label"]
    assert client.post(f"{base}predict?x=1", json=BODY).status_code == 200
    assert client.get(f"{base}v2/models/vowels/ready").status_code == 200
    refused = client.post(f"{base}v2/models/vowels/infer", json={})
    assert refused.status_code == 400 and refused.json()["error"]
    assert client.get(f"{base}nowhere").json()["code"] == "not_found"


@pytest.mark.parametrize("way", ["kept", "cut off", "in a header"])
def test_the_page_finds_its_files_and_sends_requests_below_the_prefix(
    client: httpx.Client, bases: dict[str, str], way: str
) -> None:
    base = bases[way]
    page = client.get(base, follow_redirects=True)
    assert page.url == f"{base}docs"
    for file in ("openapi.json", "swagger/swagger-ui-bundle.js", "swagger/swagger-ui.css"):
        assert file in page.text
        assert client.get(urljoin(str(page.url), file)).status_code == 200, file
    document = urljoin(str(page.url), "openapi.json")
    # As Swagger UI's "Try it out" does, and clients that are generated from the document.
    target = urljoin(document, client.get(document).json()["servers"][0]["url"]) + "/predict"
    assert target == f"{base}predict"
    assert client.post(target, json=BODY).status_code == 200


@pytest.mark.parametrize("way", ["kept", "cut off", "in a header"])
def test_redirects_stay_below_the_prefix_and_on_tls(
    client: httpx.Client, bases: dict[str, str], way: str
) -> None:
    response = client.get(f"{bases[way]}models/?a=1", follow_redirects=True)
    assert response.url == f"{bases[way]}models?a=1" and response.status_code == 200


def test_the_prefix_itself_leads_to_the_page(client: httpx.Client, bases: dict[str, str]) -> None:
    assert client.get(bases["kept"].rstrip("/"), follow_redirects=True).url == f"{bases['kept']}docs"
