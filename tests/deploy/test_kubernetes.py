"""The Kubernetes manifests: every object is valid by its schema, safe by default, and fits the others."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kubernetes_validate
import pytest
import yaml

from service.settings import Settings
from tests.deploy.redis_memory import assert_room

ROOT = Path(__file__).parents[2] / "deploy" / "kubernetes"
OVERLAYS = sorted(path.parent for path in ROOT.glob("overlays/*/kustomization.yaml"))
VERSION = "1.32"
Object = dict[str, Any]


def resolve(folder: Path) -> list[Object]:
    """All objects of a kustomization: of its own files and of those it builds on."""
    objects: list[Object] = []
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    for name in kustomization["resources"]:
        path = (folder / name).resolve()
        assert path.exists(), f"{folder}: {name} is not there"
        if path.is_dir():
            objects += resolve(path)
        else:
            objects += [found for found in yaml.safe_load_all(path.read_text()) if found]
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
    return [found for found in objects if found["kind"] in kinds]


def test_every_object_is_valid_by_the_schema_of_its_kind(objects: list[Object]) -> None:
    for found in objects:
        kubernetes_validate.validate(found, VERSION, strict=True)


def test_no_two_objects_have_one_name(objects: list[Object]) -> None:
    names = [(found["kind"], found["metadata"]["name"]) for found in objects]
    assert len(set(names)) == len(names)


def test_every_pod_runs_without_rights_within_limits(objects: list[Object]) -> None:
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


def test_selectors_find_pods_and_references_lead_somewhere(objects: list[Object]) -> None:
    owners = of_kind(objects, "Deployment", "StatefulSet")
    labels = [owner["spec"]["template"]["metadata"]["labels"] for owner in owners]

    def finds(selector: dict[str, str]) -> bool:
        return any(selector.items() <= found.items() for found in labels)

    for service in of_kind(objects, "Service"):
        assert finds(service["spec"]["selector"])
    for found in of_kind(objects, "PodDisruptionBudget"):
        assert finds(found["spec"]["selector"]["matchLabels"])
    for found in of_kind(objects, "NetworkPolicy"):
        assert finds(found["spec"]["podSelector"]["matchLabels"])
    for hpa in of_kind(objects, "HorizontalPodAutoscaler"):
        target = hpa["spec"]["scaleTargetRef"]
        assert any(owner["metadata"]["name"] == target["name"] for owner in of_kind(objects, target["kind"]))
    secrets = {found["metadata"]["name"] for found in of_kind(objects, "Secret")}
    assert "cellgate-redis" in secrets


def told_to(objects: list[Object]) -> dict[str, str]:
    """The environment of the server's container, with what it takes from secrets."""
    (deployment,) = of_kind(objects, "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    secrets = {found["metadata"]["name"]: found["stringData"] for found in of_kind(objects, "Secret")}
    told = {}
    for entry in container["env"]:
        source = entry.get("valueFrom", {}).get("secretKeyRef")
        told[entry["name"]] = secrets[source["name"]][source["key"]] if source else entry["value"]
    return told


def test_redis_has_room_for_what_the_pods_put_into_it() -> None:
    objects = resolve(ROOT / "overlays" / "redis")
    (redis,) = of_kind(objects, "StatefulSet")
    arguments = redis["spec"]["template"]["spec"]["containers"][0]["args"]
    bound = Settings.load({}, told_to(objects)).max_session_bytes
    assert_room(arguments[arguments.index("--maxmemory") + 1], bound)


def test_what_the_pods_are_told_the_server_understands(objects: list[Object]) -> None:
    (deployment,) = of_kind(objects, "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    settings = Settings.load({}, told_to(objects))
    assert settings.store == "redis"
    sleep_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > sleep_s + settings.drain_s, "it is killed while it drains"
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["path"].partition("?")[0] in ("/health/live", "/health/ready")


def test_the_port_of_redis_can_be_reached_and_the_patch_for_another_one_leads_to_it() -> None:
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
    found: Any = policy
    for part in change["path"].strip("/").split("/"):
        found = found[int(part) if part.isdigit() else part]
    assert change["op"] == "replace" and found == url.port
