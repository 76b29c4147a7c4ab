"""Write the tables of docs/metrics.md: python -m deploy.monitoring.reference

All metrics are from `service.metrics.Metrics`, all alerts from alerts.yml.
"""

import re
from pathlib import Path

import yaml

from service.metrics import Metrics, Registry

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
ALERTS = Path(__file__).parent / "alerts.yml"
TEMPLATE = re.compile(r"{{ \$(?:labels\.)?(.+?) }}")
EXAMPLES = {"instance": "a server", "value": "some", "value | humanizePercentage": "too many"}


def metrics_table() -> str:
    """A row for each metric."""
    rows = ["| metric | type | labels | meaning |", "|---|---|---|---|"]
    for each in Metrics(Registry()).registry.described:
        name = f"{each.name}_total" if each.kind == "counter" else each.name
        labels = ", ".join(f"`{label}`" for label in each.labels)
        rows.append(f"| `{name}` | {each.kind} | {labels} | {each.text} |")
    return "\n".join(rows)


def alerts_table() -> str:
    """A row for each alert."""
    rows = ["| alert | severity | when | then |", "|---|---|---|---|"]
    for rule in yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]:
        texts = rule["annotations"]
        when = TEMPLATE.sub(lambda found: EXAMPLES.get(found[1], f"`{found[1]}`"), texts["summary"])
        severity = rule["labels"]["severity"]
        rows.append(f"| `{rule['alert']}` | {severity} | {when} | {texts['description']} |")
    return "\n".join(rows)


def write(page: str) -> str:
    """The page with both tables as they are now."""
    for name, table in (("metrics", metrics_table()), ("alerts", alerts_table())):
        between = re.compile(f"(<!-- {name} -->\n).*?(\n<!-- end -->)", re.DOTALL)
        page = between.sub(lambda found, table=table: f"{found[1]}{table}{found[2]}", page)
    return page


if __name__ == "__main__":
    PAGE.write_text(write(PAGE.read_text()))
