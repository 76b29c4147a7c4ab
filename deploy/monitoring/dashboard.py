"""Make the Grafana dashboard from `panels`: python -m deploy.monitoring.dashboard

It writes grafana/dashboards/cellgate.json, which Grafana's provisioning loads.
"""

import json
from pathlib import Path
from typing import Any

from deploy.monitoring.panels import ROWS, Panel

FILE = Path(__file__).parent / "grafana" / "dashboards" / "cellgate.json"
SOURCE = {"type": "prometheus", "uid": "cellgate-prometheus"}
COLUMNS, WIDTH, HEIGHT = 4, 6, 8  # of a row; of a panel, in Grafana's grid of 24 columns


def build() -> dict[str, Any]:
    """The dashboard's JSON model."""
    panels: list[dict[str, Any]] = []
    top = 0
    for row in ROWS:
        place = {"x": 0, "y": top, "w": COLUMNS * WIDTH, "h": 1}
        panels.append(
            {"id": len(panels) + 1, "type": "row", "title": row.title, "gridPos": place, "panels": []}
        )
        for column, panel in enumerate(row.panels):
            place = {"x": column * WIDTH, "y": top + 1, "w": WIDTH, "h": HEIGHT}
            panels.append({"id": len(panels) + 1, "gridPos": place} | _panel(panel))
        top += 1 + HEIGHT
    return {
        "uid": "cellgate",
        "title": "Cellgate",
        "tags": ["cellgate"],
        "timezone": "browser",
        "schemaVersion": 38,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "panels": panels,
    }


def _panel(panel: Panel) -> dict[str, Any]:
    return {
        "type": "timeseries",
        "title": panel.title,
        "description": panel.text,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "datasource": SOURCE,
                "expr": each.expression,
                "legendFormat": each.legend,
            }
            for place, each in enumerate(panel.queries)
        ],
    }


def render() -> str:
    """The file's text."""
    return json.dumps(build(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(render())
