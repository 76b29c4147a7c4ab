"""Draw the pictures of "How it works": python -m deploy.site.drawings

Writes docs/batching.svg, docs/exactness.svg and docs/durability.svg. The chunks in the first are those that
the scheduler chooses. Each picture has its own light background, so it is readable on a dark page too.
"""

from collections.abc import Iterator
from html import escape
from pathlib import Path

import numpy as np

from service.engine.scheduler import Scheduler
from service.sequence import Batch, Result, Sequence

FOLDER = Path(__file__).parents[2] / "docs"
COLOURS = ("#3f6fd8", "#d9722e", "#2d8a57", "#8a4fb5")
INK, GREY, LINE = "#1d2330", "#5d6678", "#c9cfdb"
LENGTHS = {"A": 10, "B": 3, "C": 12, "D": 5}  # steps of each sequence
CHUNK = 4


def svg(title: str, description: str, width: int, height: int, parts: Iterator[str]) -> str:
    """A picture with its alternative as text."""
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img"',
        '  font-family="system-ui, sans-serif" font-size="14" aria-labelledby="title description">',
        f'<title id="title">{escape(title)}</title>',
        f'<desc id="description">{escape(description)}</desc>',
        f'<rect width="{width}" height="{height}" rx="10" fill="#fafbfd" stroke="{LINE}"/>',
        *parts,
        "</svg>\n",
    ])  # fmt: skip


def text(
    x: float, y: float, words: str, *, fill: str = INK, anchor: str = "start", bold: bool = False
) -> str:
    """A line of text at its baseline."""
    weight = ' font-weight="600"' if bold else ""
    return f'<text x="{x}" y="{y}" fill="{fill}" text-anchor="{anchor}"{weight}>{escape(words)}</text>'


def box(x: float, y: float, width: float, *, fill: str, height: float = 22, stroke: str = "none") -> str:
    """A rounded rectangle."""
    size = f'width="{width}" height="{height}" rx="3"'
    return f'<rect x="{x}" y="{y}" {size} fill="{fill}" stroke="{stroke}"/>'


def arrow(x: float, y: float, to_x: float, to_y: float) -> str:
    """A line with a dot at its end."""
    line = f'<line x1="{x}" y1="{y}" x2="{to_x}" y2="{to_y}" stroke="{GREY}" stroke-width="1.5"/>'
    return f'{line}<circle cx="{to_x}" cy="{to_y}" r="3.5" fill="{GREY}"/>'


def calls() -> list[dict[str, tuple[int, int]]]:
    """The steps [start, stop) of each sequence in each call, as scheduled. D arrives in call 1."""
    scheduler = Scheduler(max_batch=8, chunk_steps=CHUNK, max_waiting=8)
    sequences = {name: Sequence((np.zeros((steps, 1)),), ()) for name, steps in LENGTHS.items()}
    names = {id(sequence): name for name, sequence in sequences.items()}
    late = sequences.pop("D")
    for sequence in sequences.values():
        scheduler.add(sequence)
    found = []
    while (batch := scheduler.schedule(0.0)) is not None:
        found.append({names[id(each.sequence)]: (each.start, each.stop) for each in batch.chunks})
        scheduler.commit(batch, _results(batch))
        if len(found) == 1:
            scheduler.add(late)
    return found


def _results(batch: Batch) -> list[Result]:
    return [Result(np.zeros((chunk.steps, 1)), ()) for chunk in batch.chunks]


def batching() -> str:
    """Four sequences in the calls of the model."""
    found, cell, gap, left = calls(), 24, 34, 120
    width_of_call = CHUNK * cell + gap

    def parts() -> Iterator[str]:
        for number in range(len(found)):
            middle = left + number * width_of_call + CHUNK * cell / 2
            yield text(middle, 34, f"call {number + 1}", anchor="middle", bold=True)
        for row, (name, colour) in enumerate(zip(LENGTHS, COLOURS, strict=True)):
            y = 52 + row * 40
            yield text(22, y + 16, f"{name}: {LENGTHS[name]} steps", fill=colour, bold=True)
            for number, call in enumerate(found):
                if name in call:
                    yield from chunk(left + number * width_of_call, y, *call[name], colour)
        y = 52 + len(LENGTHS) * 40 + 16
        yield text(
            22, y, "B has its answer after call 1. D arrives during call 1 and joins call 2.", fill=GREY
        )
        yield text(22, y + 20, "Pale cells are padding: at most a chunk, and without effect.", fill=GREY)

    def chunk(x: float, y: float, start: int, stop: int, colour: str) -> Iterator[str]:
        for place in range(CHUNK):
            is_step = place < stop - start
            fill = colour if is_step else "#e9edf5"
            yield box(x + place * cell, y, cell - 2, fill=fill)
            if is_step:
                yield text(x + place * cell + 11, y + 16, str(start + place), fill="#fff", anchor="middle")

    described = "; ".join(
        f"call {number}: "
        + ", ".join(f"{name} {start} to {stop - 1}" for name, (start, stop) in call.items())
        for number, call in enumerate(found, 1)
    )
    width = left + len(found) * width_of_call
    return svg(
        "Cellular batching", f"Chunks of four sequences share calls. {described}.", width, 260, parts()
    )


def exactness() -> str:
    """One sequence computed in three ways."""
    ways = (
        ("one request", [(0, 12)], False),
        ("three requests of a session", [(0, 5), (5, 6), (6, 12)], False),
        ("in a batch with other sequences", [(0, 8), (8, 12)], True),
    )

    def parts() -> Iterator[str]:
        for row, (name, pieces, has_others) in enumerate(ways):
            y = 46 + row * 74
            yield text(22, y - 8, name, bold=True)
            for start, stop in pieces:
                x = 22 + start * 34 + pieces.index((start, stop)) * 12
                yield box(x, y, (stop - start) * 34 - 4, fill=COLOURS[0])
                words = f"{start}–{stop - 1}" if stop - start > 1 else str(start)
                yield text(x + (stop - start) * 17 - 2, y + 16, words, fill="#fff", anchor="middle")
                if has_others:
                    yield box(x, y + 25, (stop - start) * 22, fill=COLOURS[1], height=7)
                    yield box(x, y + 34, (stop - start) * 30, fill=COLOURS[2], height=7)
            yield arrow(470, y + 11, 560, 131)
        yield box(572, 106, 150, fill="#fff", height=50, stroke=LINE)
        yield text(647, 128, "the same output,", anchor="middle")
        yield text(647, 146, "the same bits", anchor="middle", bold=True)

    described = (
        "One request, three requests of a session, and a batch with other sequences give the same bits."
    )
    return svg("Exactness", described, 744, 262, parts())


def durability() -> str:
    """The way of one request, and what a kill at each point means."""
    lanes = {"client": 50, "worker": 110, "store": 170}
    steps = (
        (140, "client", "worker", "request, at: 120"),
        (250, "store", "worker", "read the state"),
        (530, "worker", "store", "commit: state, step, reply"),
        (740, "worker", "client", "reply, step: 121"),
    )

    def parts() -> Iterator[str]:
        for name, y in lanes.items():
            yield text(22, y + 5, name, bold=True)
            yield f'<line x1="90" y1="{y}" x2="850" y2="{y}" stroke="{LINE}" stroke-width="2"/>'
        for x, start, end, words in steps:
            yield arrow(x, lanes[start], x, lanes[end])
            yield text(x + 8, (lanes[start] + lanes[end]) / 2 + 5, words)
        yield box(380, lanes["worker"] - 13, 110, fill=COLOURS[0], height=26)
        yield text(435, lanes["worker"] + 5, "compute", fill="#fff", anchor="middle")
        dashes = 'stroke-width="2" stroke-dasharray="6 4"'
        yield f'<line x1="530" y1="28" x2="530" y2="262" stroke="{COLOURS[1]}" {dashes}/>'
        yield text(520, 226, "killed before the commit: nothing has changed;", anchor="end")
        yield text(520, 246, "the repeated request runs", anchor="end", fill=GREY)
        yield text(540, 226, "killed after it: the step is applied;")
        yield text(540, 246, "the repeated request gets the stored reply", fill=GREY)

    described = (
        "A request with at 120 reaches a worker. It reads the state, computes, commits the state, step 121 "
        "and the reply in one transaction, and then replies. Killed before the commit, nothing has changed. "
        "Killed after it, the repeated request gets the stored reply."
    )
    return svg("Durability", described, 880, 274, parts())


PICTURES = {"batching.svg": batching, "exactness.svg": exactness, "durability.svg": durability}


if __name__ == "__main__":
    for file, draw in PICTURES.items():
        (FOLDER / file).write_text(draw())
