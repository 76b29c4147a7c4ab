"""deploy/nginx: nginx accepts the configuration, which agrees with the server's settings."""

import re
from pathlib import Path

import pytest

from service.settings import Settings
from tests.e2e.nginx import CONF, Nginx, needs_nginx

WHOLE = (CONF / "nginx.conf").read_text()
STREAM = re.search(r"location = /stream \{.*?\}", WHOLE, re.DOTALL)
CONFIG = re.sub(r"location = /stream \{.*?\}", "", WHOLE, flags=re.DOTALL)
UPSTREAM = (CONF / "upstream.conf").read_text()
SETTINGS = Settings()


def seconds(directive: str, text: str = CONFIG) -> float:
    values = re.findall(rf"^ *{directive} (\d+)s;", text, re.MULTILINE)
    assert len(values) == 1, f"{directive}: {values}"
    return float(values[0])


@needs_nginx
def test_nginx_accepts_the_configuration(tmp_path: Path) -> None:
    nginx = Nginx(tmp_path, [1, 2, 3])
    nginx.write()
    assert nginx.check() == ""


def test_nginx_waits_longer_than_a_replica_may_take() -> None:
    longest_s = SETTINGS.request_timeout_s + 2 * SETTINGS.redis_timeout_s  # the state is read and written
    assert seconds("proxy_read_timeout") > longest_s


def test_nginx_carries_a_stream_for_longer_than_it_may_be_idle() -> None:
    assert STREAM is not None
    assert seconds("proxy_read_timeout", STREAM[0]) > SETTINGS.stream_idle_s
    assert seconds("proxy_send_timeout", STREAM[0]) > SETTINGS.stream_idle_s
    inherited = set(re.findall(r"^        proxy_set_header (\S+) ", CONFIG, re.MULTILINE))
    assert inherited <= set(re.findall(r"proxy_set_header (\S+) ", STREAM[0])), (
        "a location inherits none or all"
    )


def test_nginx_closes_idle_connections_before_a_replica_does() -> None:
    assert seconds("keepalive_timeout", UPSTREAM) < SETTINGS.keep_alive_s


def test_nginx_and_replicas_accept_bodies_of_the_same_size() -> None:
    size = re.search(r"client_max_body_size (\d+)m;", CONFIG)
    assert size is not None and int(size[1]) << 20 == SETTINGS.max_body_bytes


@pytest.mark.parametrize("word", ["ip_hash", "hash", "sticky", "least_conn", "random", "weight"])
def test_balancing_is_plain_round_robin(word: str) -> None:
    assert not re.search(rf"\b{word}\b", re.sub("#.*", "", CONFIG + UPSTREAM))


def test_every_replica_is_tried_again_when_all_are_skipped() -> None:
    servers = re.findall(r"^ *server (replica-\d+:8000) (.*);", UPSTREAM, re.MULTILINE)
    usual = [name for name, options in servers if options == "max_fails=1 fail_timeout=2s"]
    backups = [name for name, options in servers if options == "backup max_fails=0"]
    assert usual == backups and len(usual) + len(backups) == len(servers)
