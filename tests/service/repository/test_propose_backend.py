"""Every kind of graph in onnx's own backend tests gets a draft, complete or explained; none raises."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx.backend.test.case.node import collect_testcases

from service.repository import propose

EVERY = 25  # of the operators that no recurrent graph is about, one in so many
RECURRENT = ("lstm", "gru", "rnn", "scan", "loop", "attention", "cumsum", "conv", "castlike", "constant")

collect: Callable[[Any], list[Any]] = collect_testcases


def cases() -> list[Any]:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [case for case in collect(None) if case.model is not None]
    chosen = [case for case in found if any(name in case.name for name in RECURRENT)]
    rest = [case for case in found if case not in chosen]
    return sorted((*chosen[::4], *rest[::EVERY]), key=lambda case: str(case.name))


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_a_draft_is_made(case: Any, tmp_path: Path) -> None:
    onnx.save(case.model, tmp_path / "x.onnx")
    draft = propose(tmp_path / "x.onnx")
    assert (draft.manifest is None) == bool(draft.open)
    assert draft.text.endswith("}\n")
