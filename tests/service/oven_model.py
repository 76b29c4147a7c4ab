"""A model of a table, made by hand: running sums, so that a wrong time is a wrong number.

oven,mode,temperature,at             output at each step: the sums of temperature and of the minutes since
a,run,40,2026-01-01T00:00            the step before, each plus 1000 times the id of the mode
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper

from service.manifest import GRAPH_FILE, MANIFEST_FILE, Manifest
from tests.service.graphs import FLOAT, INT64, model

MODES = ["<other>", "<missing>", "run", "7"]
MANIFEST: dict[str, Any] = {
    "task": "forecast",
    "inputs": [
        {"name": "numbers", "dims": [2], "features": ["temperature", "since_previous"], "units": ["", "min"]},
        {"name": "mode", "tensor": "category_0", "kind": "token", "dtype": "int64", "vocabulary": MODES,
         "unknown": 0, "missing_token": 1, "numbers": "tokens"},
    ],
    "states": [{"input": "h", "output": "h_out", "shape": ["batch", 2]}],
    "outputs": [
        {"name": "y", "dims": [2],
         "forecasts": [{"feature": "temperature", "steps": 6, "quantile": level} for level in (0.05, 0.5)]},
    ],
    "example": {"steps": {"numbers": [[1, 2], [3, 4]], "mode": ["run", "7"]}, "output": [3004, 3006]},
    "table": {
        "id_column": "oven",
        "time": {"column": "at", "unit": "min", "zone": "Europe/Berlin"},
        "columns": [
            {"name": "mode", "kind": "category", "input": "mode"},
            {"name": "temperature", "kind": "number", "input": "numbers"},
            {"name": "since_previous", "kind": "number", "input": "numbers", "place": 1, "unit": "min",
             "derived": "since_previous"},
        ],
        "unused": ["note"],
        "targets": ["temperature"],
        "missing": ["", "NA"],
    },
}  # fmt: skip

STATIC_INPUTS: list[dict[str, Any]] = [
    {"name": "maker", "kind": "token", "dtype": "int64", "per": "sequence", "vocabulary": ["<other>", "Acme"],
     "unknown": 0, "numbers": "tokens"},
    {"name": "static", "dims": [2], "features": ["power", "depth"], "per": "sequence"},
]  # fmt: skip
STATIC_COLUMNS: list[dict[str, Any]] = [
    {"name": "maker", "kind": "category", "input": "maker"},
    {"name": "power", "kind": "number", "input": "static"},
    {"name": "depth", "kind": "number", "input": "static", "place": 1},
]


def with_static() -> Manifest:
    """The manifest of an oven that also has a maker, a power and a depth, which never change."""
    table = MANIFEST["table"] | {"columns": [*STATIC_COLUMNS, *MANIFEST["table"]["columns"]]}
    return Manifest.model_validate(
        MANIFEST | {"inputs": [*MANIFEST["inputs"], *STATIC_INPUTS], "table": table}
    )


def with_known() -> Manifest:
    """The manifest of an oven whose fuel is known one and two steps ahead, as the time of day is."""
    numbers, mode = MANIFEST["inputs"]
    of_step = {"name": "fuel", "kind": "number", "input": "numbers", "place": 2}
    fuel = [
        {"name": f"fuel+{ahead}", "kind": "number", "input": "known", "place": ahead - 1, "of": "fuel",
         "ahead": ahead} for ahead in (1, 2)
    ]  # fmt: skip
    of_hour = {"name": "hour_sin+2", "kind": "number", "input": "known", "derived": "hour_sin"}
    hour: dict[str, Any] = of_hour | {"place": 2, "ahead": 2}
    table = MANIFEST["table"]
    table = table | {
        "columns": [*table["columns"], of_step, *fuel, hour],
        "time": table["time"] | {"spacing": 180.0},
    }
    inputs = [
        numbers | {"dims": [3], "features": [*numbers["features"], "fuel"], "units": []},
        mode,
        {"name": "known", "dims": [3], "features": ["fuel+1", "fuel+2", "hour_sin+2"]},
    ]
    return Manifest.model_validate(MANIFEST | {"inputs": inputs, "table": table})


def graph() -> onnx.ModelProto:
    """numbers [N, T, 2], category_0 [N, T], h [N, 2] → y [N, T, 2], h_out [N, 2]."""
    nodes = [
        helper.make_node("ReduceSum", ["numbers", "time"], ["added"], keepdims=0),
        helper.make_node("Add", ["h", "added"], ["h_out"]),
        helper.make_node("CumSum", ["numbers", "time_axis"], ["sums"]),
        helper.make_node("Unsqueeze", ["h", "time"], ["before"]),
        helper.make_node("Add", ["sums", "before"], ["so_far"]),
        helper.make_node("Cast", ["category_0"], ["ids"], to=FLOAT),
        helper.make_node("Mul", ["ids", "thousand"], ["thousands"]),
        helper.make_node("Unsqueeze", ["thousands", "last"], ["column"]),
        helper.make_node("Add", ["so_far", "column"], ["y"]),
    ]
    return model(
        nodes,
        {"numbers": (FLOAT, ["N", "T", 2]), "category_0": (INT64, ["N", "T"]), "h": (FLOAT, ["N", 2])},
        {"y": (FLOAT, ["N", "T", 2]), "h_out": (FLOAT, ["N", 2])},
        {"time": [1], "time_axis": 1, "last": [2], "thousand": np.float32(1000)},
    )


def write(root: Path) -> Path:
    """Write `root`/oven/1."""
    folder = root / "oven" / "1"
    folder.mkdir(parents=True)
    onnx.save(graph(), folder / GRAPH_FILE)
    (folder / MANIFEST_FILE).write_text(json.dumps(MANIFEST))
    return folder
