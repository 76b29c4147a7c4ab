"""The defaults in docs/limits.md are those of the settings."""

import re

from service.settings import Settings
from tests.committed import ROOT

ROW = re.compile(r"^\| `(\w+)` \| ([\d,]+)(?: (KiB|MiB|ms|s))? \|", re.MULTILINE)
SCALES = {"KiB": 2**10, "MiB": 2**20}


def test_every_default_is_that_of_the_setting() -> None:
    rows = ROW.findall((ROOT / "docs" / "limits.md").read_text())
    assert len(rows) == 19
    for name, number, unit in rows:
        default = int(number.replace(",", "")) * SCALES.get(unit, 1)
        assert default == Settings.model_fields[name].default, name
        assert unit in SCALES if name.endswith("_bytes") else name.endswith(f"_{unit}") or not unit, name
