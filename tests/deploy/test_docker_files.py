"""Dockerfile and docker-compose.yml are valid and hardened, and agree with the server's settings."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from deploy.image import rootfs
from service.server.run import CLOSE_S, STOP_S
from service.settings import PREFIX, Settings
from tests.deploy.redis_memory import assert_room

ROOT = Path(__file__).parents[2]
TOOLS = Path(sys.executable).parent
DOCKERFILE = (ROOT / "Dockerfile").read_text()
SETTINGS = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}


def accepts(*command: str | Path) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    document: dict[str, Any] = YAML(typ="safe").load(ROOT / "docker-compose.yml")
    return document


def copied() -> list[str]:
    lines = re.findall(r"^COPY (?!--from)(.+)", DOCKERFILE, re.MULTILINE)
    return [source for line in lines for source in line.split()[:-1]]


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    accepts(TOOLS / "hadolint", "Dockerfile")


def test_the_compose_file_follows_the_compose_specification() -> None:
    accepts(TOOLS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml")


def test_pre_commit_accepts_its_configuration() -> None:
    accepts(TOOLS / "pre-commit", "validate-config")


def test_every_stage_starts_from_a_tag_that_can_be_replaced() -> None:
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) == ["${PYTHON_IMAGE}", "packages", "scratch"]
    assert re.search(r"^ARG PYTHON_IMAGE=python:[\w.-]+$", DOCKERFILE, re.MULTILINE)
    assert not DOCKERFILE.startswith("# syntax"), "a syntax line is fetched from a registry"


def test_the_build_context_has_exactly_the_copied_files() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line.removeprefix("!") for line in lines if line.startswith("!")}
    for source in copied():
        assert (ROOT / source).exists()
        assert any(source == entry or source.startswith(f"{entry}/") for entry in allowed), source
    for entry in allowed:
        assert any(source == entry or source.startswith(f"{entry}/") for source in copied()), entry


def test_the_user_owns_the_data() -> None:
    assert f"USER {rootfs.USER_ID}:{rootfs.USER_ID}\n" in DOCKERFILE


def test_the_server_is_process_1_and_receives_the_signals() -> None:
    for instruction in ("ENTRYPOINT", "CMD", "    CMD"):
        assert re.search(rf"^{instruction} \[", DOCKERFILE, re.MULTILINE), f"{instruction} starts a shell"


@pytest.mark.parametrize("name", ["Dockerfile", "docker-compose.yml", "docs/docker.md"])
def test_every_named_setting_exists(name: str) -> None:
    named = set(re.findall(rf"\b{PREFIX}[A-Z_]+", (ROOT / name).read_text()))
    assert named, "no setting matches the pattern"
    assert named <= SETTINGS


def test_every_service_is_confined(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert {"mem_limit", "cpus", "pids_limit", "logging"} <= service.keys(), name
        assert "privileged" not in service, name


def test_published_ports_are_on_loopback(compose: dict[str, Any]) -> None:
    ports = {name: service["ports"] for name, service in compose["services"].items() if "ports" in service}
    assert ports == {
        "cellgate": ["${SERVER_PUBLISH:-127.0.0.1:8000}:8000"],
        "nginx": ["${CLUSTER_PUBLISH:-127.0.0.1:8080}:8080"],
        "prometheus": ["${PROMETHEUS_PUBLISH:-127.0.0.1:9090}:9090"],
        "grafana": ["${GRAFANA_PUBLISH:-127.0.0.1:3000}:3000"],
    }


def test_only_replicas_reach_redis_and_it_writes_before_it_acknowledges(
    compose: dict[str, Any],
) -> None:
    assert compose["networks"]["store"] == {"internal": True}
    members = {
        name for name, service in compose["services"].items() if "store" in service.get("networks", ())
    }
    assert members == {"redis", "replica-1", "replica-2", "replica-3"}
    assert "--appendonly yes --appendfsync always" in compose["services"]["redis"]["command"]


def test_redis_has_room_for_the_sessions_of_the_replicas(compose: dict[str, Any]) -> None:
    """A full Redis refuses every step; the store's limit was 8 GiB, 16 times the memory of Redis."""
    command = compose["services"]["redis"]["command"]
    max_memory = re.search(r"--maxmemory \$\{REDIS_MEMORY:-(\w+)\}", command)
    assert max_memory
    for number in (1, 2, 3):
        value = compose["services"][f"replica-{number}"]["environment"]["CELLGATE_MAX_SESSION_BYTES"]
        bound = re.fullmatch(r"\$\{REDIS_MEMORY_SESSIONS:-(\d+)\}", value)
        assert bound
        assert_room(max_memory[1], int(bound[1]))


def test_nginx_knows_every_replica(compose: dict[str, Any]) -> None:
    replicas = {name for name in compose["services"] if name.startswith("replica-")}
    assert {host.split(":")[0] for host in compose["services"]["nginx"]["extra_hosts"]} == replicas
    upstream = (ROOT / "deploy/nginx/upstream.conf").read_text()
    assert set(re.findall(r"server (replica-\d+):8000", upstream)) == replicas


def test_models_are_read_only_and_sessions_are_in_a_volume(compose: dict[str, Any]) -> None:
    assert compose["services"]["cellgate"]["volumes"] == [
        "${SERVER_MODELS:-./models}:/models:ro",
        "sessions:/data",
    ]
    assert "sessions" in compose["volumes"]


def test_compose_waits_longer_than_the_server_drains(compose: dict[str, Any]) -> None:
    grace_s = int(compose["services"]["cellgate"]["stop_grace_period"].removesuffix("s"))
    assert grace_s > Settings().drain_s + CLOSE_S + STOP_S, "the server is killed while it stops"


def test_prometheus_and_grafana_run_without_root_on_the_files_of_deploy_monitoring(
    compose: dict[str, Any],
) -> None:
    """Every path that they are given is in the folder that they mount; every target is a service."""
    services = compose["services"]
    for name in ("prometheus", "grafana"):
        assert services[name]["profiles"] == ["monitoring"]
        assert int(services[name]["user"].split(":")[0]) > 0
        assert "./deploy/monitoring:/etc/cellgate:ro" in services[name]["volumes"]
    folder = ROOT / "deploy" / "monitoring"
    provider = YAML(typ="safe").load(folder / "grafana/provisioning/dashboards/cellgate.yml")
    named = [*services["prometheus"]["command"], *services["grafana"]["environment"].values()]
    named.append(provider["providers"][0]["options"]["path"])
    paths = [text[text.index("/etc/cellgate/") :] for text in named if "/etc/cellgate/" in text]
    assert len(paths) == 4
    for path in paths:
        assert (folder / path.removeprefix("/etc/cellgate/")).exists(), path
    scraped = YAML(typ="safe").load(folder / "prometheus.yml")["scrape_configs"]
    targets = [target for job in scraped for each in job["static_configs"] for target in each["targets"]]
    assert {target.removesuffix(":8000") for target in targets} == {
        name for name, service in services.items() if service.get("image") == services["cellgate"]["image"]
    }
    source = YAML(typ="safe").load(folder / "grafana/provisioning/datasources/prometheus.yml")
    assert source["datasources"][0]["url"] == "http://prometheus:9090"
