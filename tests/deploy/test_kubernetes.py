"""The Kubernetes manifests: every object is valid, hardened, and consistent with the others."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kubernetes_validate
import pytest
import yaml

from service.server.run import CLOSE_S, STOP_S
from service.settings import Settings
from tests.deploy.redis_memory import assert_room

ROOT = Path(__file__).parents[2] / "deploy" / "kubernetes"
OVERLAYS = sorted(path.parent for path in ROOT.glob("overlays/*/kustomization.yaml"))
VERSION = "1.32"
Object = dict[str, Any]


def resolve(folder: Path) -> list[Object]:
    """All objects of a kustomization and of those that it includes."""
    objects: list[Object] = []
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    for name in kustomization["resources"]:
        path = (folder / name).resolve()
        assert path.exists(), f"{folder}: no {name}"
        if path.is_dir():
            objects += resolve(path)
        else:
            objects += [item for item in yaml.safe_load_all(path.read_text()) if item]
    for entry in kustomization.get("secretGenerator", []):
        lines = list(entry.get("literals", []))
        for name in entry.get("envs", []):
            lines += (folder / name).read_text().splitlines()
        pairs = dict(line.split("=", 1) for line in lines)
        metadata = {"name": entry["name"]}
        objects.append({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": pairs})
    return objects


@pytest.fixture(params=OVERLAYS, ids=[path.name for path in OVERLAYS])
def objects(request: pytest.FixtureRequest) -> list[Object]:
    return resolve(request.param)


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    return [item for item in objects if item["kind"] in kinds]


def test_every_object_follows_the_schema_of_its_kind(objects: list[Object]) -> None:
    for item in objects:
        kubernetes_validate.validate(item, VERSION, strict=True)


def test_names_are_unique(objects: list[Object]) -> None:
    names = [(item["kind"], item["metadata"]["name"]) for item in objects]
    assert len(set(names)) == len(names)


def test_every_pod_runs_without_privileges_and_within_limits(objects: list[Object]) -> None:
    for owner in of_kind(objects, "Deployment", "StatefulSet"):
        pod = owner["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] > 0
        assert pod["automountServiceAccountToken"] is False and pod["enableServiceLinks"] is False
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] and not context["allowPrivilegeEscalation"]
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert {"cpu", "memory"} <= set(container["resources"]["limits"])
            assert container["readinessProbe"] and container["livenessProbe"]


def test_selectors_match_pods_and_references_exist(objects: list[Object]) -> None:
    owners = of_kind(objects, "Deployment", "StatefulSet")
    labels = [owner["spec"]["template"]["metadata"]["labels"] for owner in owners]

    def matches(selector: dict[str, str]) -> bool:
        return any(selector.items() <= pod.items() for pod in labels)

    for service in of_kind(objects, "Service"):
        assert matches(service["spec"]["selector"])
    for item in of_kind(objects, "PodDisruptionBudget"):
        assert matches(item["spec"]["selector"]["matchLabels"])
    for item in of_kind(objects, "NetworkPolicy"):
        assert matches(item["spec"]["podSelector"]["matchLabels"])
    for hpa in of_kind(objects, "HorizontalPodAutoscaler"):
        target = hpa["spec"]["scaleTargetRef"]
        assert any(owner["metadata"]["name"] == target["name"] for owner in of_kind(objects, target["kind"]))
    secrets = {item["metadata"]["name"] for item in of_kind(objects, "Secret")}
    assert "cellgate-redis" in secrets


def environment_of(objects: list[Object]) -> dict[str, str]:
    """The environment of the server's container, with the values of its secrets."""
    (deployment,) = of_kind(objects, "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    secrets = {item["metadata"]["name"]: item["stringData"] for item in of_kind(objects, "Secret")}
    environment = {}
    for entry in container["env"]:
        source = entry.get("valueFrom", {}).get("secretKeyRef")
        environment[entry["name"]] = secrets[source["name"]][source["key"]] if source else entry["value"]
    return environment


def test_redis_has_room_for_the_sessions_of_the_pods() -> None:
    objects = resolve(ROOT / "overlays" / "redis")
    (redis,) = of_kind(objects, "StatefulSet")
    arguments = redis["spec"]["template"]["spec"]["containers"][0]["args"]
    bound = Settings.load({}, environment_of(objects)).max_session_bytes
    assert_room(arguments[arguments.index("--maxmemory") + 1], bound)


def test_settings_of_the_pods_are_valid_and_agree_with_the_probes(objects: list[Object]) -> None:
    (deployment,) = of_kind(objects, "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    settings = Settings.load({}, environment_of(objects))
    assert settings.store == "redis"
    sleep_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    stop_s = settings.drain_s + CLOSE_S + STOP_S
    assert pod["terminationGracePeriodSeconds"] > sleep_s + stop_s, "the pod is killed while it stops"
    # Until the balancers of the cluster have noticed, the pod still serves: it is not asked to stop yet.
    assert sleep_s > container["readinessProbe"]["periodSeconds"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["path"].partition("?")[0] in ("/health/live", "/health/ready")


def test_the_network_policy_allows_the_port_of_redis_and_the_patch_changes_it() -> None:
    folder = ROOT / "overlays" / "external-redis"
    (policy,) = of_kind(resolve(folder), "NetworkPolicy")
    open_ports = [entry["port"] for rule in policy["spec"]["egress"] for entry in rule["ports"]]
    url = urlsplit((folder / "redis.env").read_text().partition("=")[2].strip())
    assert url.port in open_ports
    text = (folder / "kustomization.yaml").read_text()
    (entry,) = yaml.safe_load(re.sub("^#", "", text[text.index("#patches:") :], flags=re.MULTILINE))[
        "patches"
    ]
    assert (entry["target"]["kind"], entry["target"]["name"]) == ("NetworkPolicy", policy["metadata"]["name"])
    (change,) = yaml.safe_load(entry["patch"])
    value: Any = policy
    for part in change["path"].strip("/").split("/"):
        value = value[int(part) if part.isdigit() else part]
    assert change["op"] == "replace" and value == url.port
