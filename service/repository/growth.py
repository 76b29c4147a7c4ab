"""Lets states that grow reach their full size, before a graph is tried with them.

k [0, 4] → [5, 4] → [10, 4] → [15, 4] → [16, 4] → [16, 4]
                              before    full
"""

from service.manifest import Manifest
from service.repository.findings import GROWTH_HINT, Findings
from service.repository.rows import Bench, RowSource
from service.sequence import State

MOST_STEPS = 8192  # after which a state that still grows is refused


def fill(
    manifest: Manifest, bench: Bench, findings: Findings, source: RowSource, steps: int
) -> tuple[State, State]:
    """The states before and after those that grow stop growing. `steps`: of one call.

    They have stopped if they keep their sizes for as many steps as they have grown, or once they are as large
    as the manifest says. Raises StartupError if they grow beyond that, or never stop.
    """
    full = source.new("example", steps).state
    before, sizes = full, _sizes(manifest, full)
    done = grown = 0
    with findings.running("as its states grow", GROWTH_HINT):
        while not _have_stopped(done, grown, sizes == _largest(manifest), steps):
            after = bench.alone(source.new("example", steps, full), steps).state
            done += steps
            if _sizes(manifest, after) != sizes:
                before, grown, sizes = full, done, _sizes(manifest, after)
            full = after
    if grown >= MOST_STEPS:
        raise findings.refusal(f"a state grows without bound: {max(sizes)} entries after {grown} steps")
    return before, full


def _have_stopped(done: int, grown: int, are_largest: bool, steps: int) -> bool:
    """`done`, `grown`: steps in all, and up to the last growth."""
    if grown >= MOST_STEPS:
        return True
    return done - grown >= (steps if are_largest else max(grown, 2 * steps))


def _largest(manifest: Manifest) -> tuple[int, ...]:
    return tuple(spec.row_shape[spec.row_grows] for spec in manifest.states if spec.row_grows is not None)


def _sizes(manifest: Manifest, state: State) -> tuple[int, ...]:
    pairs = zip(manifest.states, state, strict=False)
    return tuple(array.shape[spec.row_grows] for spec, array in pairs if spec.row_grows is not None)
