"""The Kubernetes manifests: every object is valid, hardened, and consistent with the others."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema  # type: ignore[import-untyped]
import kubernetes_validate
import pytest
import yaml

from service.http.router import METRICS_PATH
from service.metrics import Metrics, Registry
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


TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
COUNT = {"type": "integer", "minimum": 0}


def fields(required: str, **properties: Any) -> dict[str, Any]:
    """The schema of an object with these fields and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


# The fields of KEDA's CRD (keda.sh/docs/latest/reference/scaledobject-spec) that ours may use.
SCALED_OBJECT = fields(
    "apiVersion kind metadata spec",
    apiVersion={"const": "keda.sh/v1alpha1"},
    kind={"const": "ScaledObject"},
    metadata=fields("name", name={"type": "string"}),
    spec=fields(
        "scaleTargetRef triggers",
        scaleTargetRef=fields("name", apiVersion={}, kind={}, name={}),
        minReplicaCount=COUNT,
        maxReplicaCount=COUNT,
        pollingInterval=COUNT,
        advanced=fields("", horizontalPodAutoscalerConfig=fields("", behavior={"type": "object"})),
        triggers={
            "type": "array",
            "items": fields(
                "type metadata",
                type={"enum": ["prometheus", "cpu"]},
                metricType={"enum": ["AverageValue", "Value", "Utilization"]},
                metadata=TEXTS,
            ),
        },
    ),
)


def test_keda_scales_the_deployment_between_the_same_bounds_on_a_metric_that_exists() -> None:
    scaled, hpa = (
        yaml.safe_load((ROOT / name).read_text())
        for name in ("components/keda/scaledobject.yaml", "base/hpa.yaml")
    )
    jsonschema.validate(scaled, SCALED_OBJECT)
    spec = scaled["spec"]
    assert spec["scaleTargetRef"] == hpa["spec"]["scaleTargetRef"]
    bounds = (hpa["spec"]["minReplicas"], hpa["spec"]["maxReplicas"])
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == bounds
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    as_hpa = hpa | {"spec": hpa["spec"] | {"behavior": behavior}}
    kubernetes_validate.validate(as_hpa, VERSION, strict=True)
    prometheus, _ = (trigger["metadata"] for trigger in spec["triggers"])
    (used,) = re.findall(r"cellgate_\w+", prometheus["query"])
    assert used in {each.name for each in Metrics(Registry()).registry.described if each.kind == "gauge"}
    assert float(prometheus["threshold"]) < Settings().max_wait_ms / 1000
    component = yaml.safe_load((ROOT / "components/keda/kustomization.yaml").read_text())
    deleted = yaml.safe_load(component["patches"][0]["patch"])
    assert (deleted["kind"], deleted["metadata"]) == (hpa["kind"], hpa["metadata"])


def test_prometheus_is_told_where_the_metrics_are(objects: list[Object]) -> None:
    (deployment,) = of_kind(objects, "Deployment")
    template = deployment["spec"]["template"]
    (port,) = template["spec"]["containers"][0]["ports"]
    annotations = template["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(port["containerPort"])
    assert annotations["prometheus.io/path"] == METRICS_PATH and annotations["prometheus.io/scrape"] == "true"
