"""Hold the law for many graphs: python -m tests.service.foreign --graphs 5000 [--drafts 1000] [--seed 1]."""

import argparse
import logging
import re
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.service.foreign import law
from tests.service.foreign.kind import Kind
from tests.service.foreign.strategy import cases, kinds

EVERY = 100  # graphs between two lines of progress


class Campaign:
    """Counts what became of graphs, and shows the law where it is broken."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()
        self._started = time.perf_counter()

    def hold(self, title: str, check: Callable[[Path], law.Verdict | None]) -> None:
        """Check one graph in an empty folder."""
        with tempfile.TemporaryDirectory() as folder:
            try:
                self._count(check(Path(folder)))
            except Exception as error:  # noqa: BLE001
                self._show(title, error if isinstance(error, AssertionError) else traceback.format_exc())
        if self.counts.total() % EVERY == 0:
            _say(f"{time.perf_counter() - self._started:.0f} s: {self}")

    def _show(self, title: str, fault: object) -> None:
        """Show a fault, unless there was one alike."""
        self.counts["broken"] += 1
        alike = re.sub(r"/\S+|\d\S*", "", str(fault))
        self._faults[alike] += 1
        if self._faults[alike] == 1:
            _say(f"{title}: {fault}")

    def _count(self, verdict: law.Verdict | None) -> None:
        if verdict is None:
            self.counts["not false"] += 1
        elif verdict.served and verdict.message:
            self.counts["served, read otherwise"] += 1
        elif verdict.served:
            self.counts["served, exact" if verdict.exact else "served"] += 1
        else:
            self.counts["refused with the reason"] += 1

    def __str__(self) -> str:
        parts = [f"{count} {name}" for name, count in sorted(self.counts.items())]
        return f"{self.counts.total()} graphs: {', '.join(parts) or 'none'}"


def main() -> int:
    """The command: exit status 1 if the law is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--graphs", type=int, default=1000, help="with right and false manifests")
    parser.add_argument("--drafts", type=int, default=0, help="with the manifest that is proposed")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    campaigns = [_with_manifests(options.graphs, options.seed), _with_drafts(options.drafts, options.seed)]
    return int(any(campaign.counts["broken"] for campaign in campaigns))


def _with_manifests(count: int, number: int) -> Campaign:
    campaign = Campaign()

    @given(cases())
    def hold(case: tuple[Kind, str]) -> None:
        kind, lie = case
        campaign.hold(f"{lie} {kind}", lambda root: law.check(kind, root, lie=lie))

    return _run(campaign, hold, count, number)


def _with_drafts(count: int, number: int) -> Campaign:
    campaign = Campaign()

    @given(kinds())
    def hold(kind: Kind) -> None:
        campaign.hold(f"draft {kind}", lambda root: law.check_draft(kind, root))

    return _run(campaign, hold, count, number)


def _run(campaign: Campaign, hold: Callable[[], None], count: int, number: int) -> Campaign:
    if count:
        bounds = settings(
            max_examples=count,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        seed(number)(bounds(hold))()
        _say(f"in all {campaign}")
    return campaign


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
