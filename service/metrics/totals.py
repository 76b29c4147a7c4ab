"""The numbers of all workers, added up by metric and label values."""

from collections import defaultdict
from collections.abc import Callable, Iterable

from service.metrics.registry import Description
from service.metrics.values import Series

Totals = dict[tuple[str, ...], list[float]]  # by label values
Read = Callable[[], Iterable[tuple[Series, list[float]]]]


def add_up(described: Iterable[Description], read: Read) -> dict[str, Totals]:
    """The totals of each metric by its name. Raises OSError."""
    known = {each.name: each for each in described}
    totals: defaultdict[str, Totals] = defaultdict(dict)
    for series, values in read():
        description = known.get(series.name)
        if description is None or len(values) != description.size:
            continue  # of a worker of another version of the program
        before = totals[series.name].get(series.labels)
        if before is None:
            totals[series.name][series.labels] = values
        elif description.is_common:
            before[:] = map(max, before, values)
        else:
            before[:] = map(sum, zip(before, values, strict=True))
    return totals
