"""Writes the page of scores, `scores.md`. Knows no run."""

from statistics import median

from training import elsewhere
from training.elsewhere import Row
from training.markdown import wrap
from training.scored import Scored, Scores, higher_is_better


def shares(scores: Scores) -> list[tuple[str, list[float]]]:
    """By data set and score: the error of each seed, relative to the best baseline's."""
    rows = []
    for scored in scores.sets:
        for measure in scored.seeds[0]:
            _, best = scored.best_baseline(measure)
            ours = scored.ours(measure)
            if higher_is_better(measure):
                best, ours = 1 - best, [1 - value for value in ours]
            rows.append((f"{scored.name}: {_words(measure)}", [value / best for value in ours]))
    return rows


def write(scores: Scores) -> str:
    """The page, as Markdown."""
    parts = [HEAD]
    parts += [_row(scored, measure) for scored in scores.sets for measure in scored.seeds[0]]
    worse = [name for name, errors in shares(scores) if median(errors) > 1]
    if worse:
        parts.append(f"\n{WORSE} {'; '.join(worse)}.\n")
    parts.append(elsewhere.write(_moved(scores), _processors(scores)))
    for scored in scores.sets:
        parts.append(_section(scored, [other for other in scores.sets if other.beside == scored.name]))
    return wrap("".join(parts))


HEAD = """# Scores

Written by `cellgate-train scores` from the run folders, never by hand. All scores are of the test part, which
each training evaluates once, at its end. Recipes were compared by validation alone; where a recipe replaced
another whose test scores were already known, the data set says so. Our scores are medians over seeds, with
the lowest and the highest. Each training ran on one thread of a shared machine.

![our errors relative to the best baseline](scores.png)

| data | score | ours | best baseline |
|---|---|---|---|
"""
WORSE = "**The best baseline is better than ours** by the median in:"


def _moved(scores: Scores) -> list[Row]:
    """The scores of the data sets that were trained on other processors too."""
    return [
        Row(
            title=f"[{scored.title}](#{scored.name})",
            score=_words(measure),
            here=[seed[measure] for seed in scored.seeds],
            elsewhere={one.where: [seed[measure] for seed in one.seeds] for one in scored.elsewhere},
        )
        for scored in scores.sets
        if scored.elsewhere
        for measure in scored.seeds[0]
    ]


def _processors(scores: Scores) -> dict[str, str]:
    return {one.where: one.processor for scored in scores.sets for one in scored.elsewhere}


def _row(scored: Scored, measure: str) -> str:
    name, value = scored.best_baseline(measure)
    cells = [f"[{scored.title}](#{scored.name})", _words(measure), _spread(scored, measure)]
    return f"| {' | '.join(cells)} | {_short(value)}, {name} |\n"


def _section(scored: Scored, yardsticks: list[Scored]) -> str:
    rows = list(scored.seeds[0])
    table = [["", *map(_words, rows)], ["---"] * (len(rows) + 1)]
    table += [[f"**ours**, {len(scored.seeds)} seeds", *(_spread(scored, measure) for measure in rows)]]
    for other in yardsticks:
        spreads = (_spread(other, measure) for measure in rows)
        table.append([f"[{other.title}](#{other.name}), {len(other.seeds)} seeds", *spreads])
    for name, scores in scored.baselines.items():
        table.append([name, *(_short(scores[m]) if m in scores else "" for m in rows)])
    lines = "\n".join(f"| {' | '.join(line)} |" for line in table)
    published = "".join(f"- {one.what}: {one.score} ({one.source})\n" for one in scored.published)
    if published:
        published = f"\nPublished:\n\n{published}"
    return f"""
## {scored.name}

{scored.about}

{lines}
{published}
`{scored.command}`: {median(scored.seconds):.0f} s per seed. {_made(scored)}

{scored.num_parameters:,} parameters, {scored.num_bytes / 1000:,.0f} kB. {scored.num_train:,} sequences for
training, {scored.num_validation:,} for validation, {scored.num_test:,} for the test.

{scored.citation}. {scored.license}.
"""


def _made(scored: Scored) -> str:
    versions = ", ".join(f"{name} {of}" for name, of in scored.versions.items())
    return (
        f"Trained on {scored.processor}, with {versions}."
        if scored.processor
        else f"Collected with {versions}."
    )


def _words(measure: str) -> str:
    return (
        measure.replace("error_", "RMSE ")
        .replace("r2_", "R² ")
        .replace("_f1", " F1")
        .replace("_", " ")
        .replace("bits", "bits per character")
    )


def _spread(scored: Scored, measure: str) -> str:
    ours = scored.ours(measure)
    return f"**{_short(median(ours))}** ({_short(ours[0])} to {_short(ours[-1])})"


def _short(value: float) -> str:
    return f"{value:.4f}" if value < 1 else f"{value:.4g}"
