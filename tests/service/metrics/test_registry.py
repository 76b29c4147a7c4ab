"""Counts of all workers, whatever their deaths: no count is lost, none is doubled, none decreases."""

import logging
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from service.metrics import values as stored
from service.metrics.exposition import Workers, render
from service.metrics.registry import Counter, Family, Gauge, Histogram, Registry

BOUNDS = (1.0, 2.0, 4.0)


class Worker:
    """A registry as a worker has it."""

    def __init__(self, folder: Path | None) -> None:
        self.registry = Registry(folder)
        self.counter: Family[Counter] = self.registry.counter("steps", "Steps.", ("model",))
        self.gauge: Family[Gauge] = self.registry.gauge("waiting", "Waiting.")
        self.common: Family[Gauge] = self.registry.gauge("sessions", "Live.", is_common=True)
        self.histogram: Family[Histogram] = self.registry.histogram(
            "rows", "Rows.", ("model",), bounds=BOUNDS
        )

    def samples(self) -> dict[tuple[str, tuple[str, ...]], float]:
        """What a scrape of this worker shows, by name and label values; parsed by Prometheus' own parser."""
        self.registry.flush()
        text, _ = render(Workers(self.registry.described, self.registry.read), "text/plain")
        return {
            (sample.name, tuple(sample.labels.values())): sample.value
            for family in text_string_to_metric_families(text.decode())
            for sample in family.samples
        }


def test_each_kind_is_rendered_as_prometheus_reads_it() -> None:
    worker = Worker(None)
    worker.counter.labels("a").add()
    worker.counter.labels("a").add(2.5)
    worker.gauge.labels().set(7)
    for value in (0.5, 1.0, 1.5, 9.0):
        worker.histogram.labels("a").observe(value)
    assert worker.samples() == {
        ("steps_total", ("a",)): 3.5,
        ("waiting", ()): 7.0,
        ("rows_bucket", ("1.0", "a")): 2.0,
        ("rows_bucket", ("2.0", "a")): 3.0,
        ("rows_bucket", ("4.0", "a")): 3.0,
        ("rows_bucket", ("+Inf", "a")): 4.0,
        ("rows_count", ("a",)): 4.0,
        ("rows_sum", ("a",)): 12.0,
    }


def test_openmetrics_is_chosen_by_the_accept_header() -> None:
    worker = Worker(None)
    worker.counter.labels("a").add()
    accept = "application/openmetrics-text; version=1.0.0"
    text, content_type = render(Workers(worker.registry.described, worker.registry.read), accept)
    assert content_type.startswith("application/openmetrics-text") and text.endswith(b"# EOF\n")


@given(st.data())
def test_the_counts_of_all_workers_are_added_up_over_their_deaths(data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        workers = [Worker(Path(folder)) for _ in range(2)]
        steps: dict[str, float] = {}
        rows: dict[str, int] = {}
        for _ in range(data.draw(st.integers(1, 30))):
            place = data.draw(st.integers(0, 1))
            worker = workers[place]
            model = data.draw(st.sampled_from("ab"))
            match data.draw(st.sampled_from(["count", "observe", "set", "die", "scrape"])):
                case "count":
                    worker.counter.labels(model).add(2)
                    steps[model] = steps.get(model, 0) + 2
                case "observe":
                    worker.histogram.labels(model).observe(data.draw(st.floats(0, 9)))
                    worker.registry.flush()
                    rows[model] = rows.get(model, 0) + 1
                case "set":
                    worker.gauge.labels().set(3)
                case "die":
                    worker.registry.close()  # its lock is free, as after kill -9
                    assert ("waiting", ()) not in Worker(None).samples()
                    workers[place] = Worker(Path(folder))
                    assert len(list(Path(folder).iterdir())) == 2, "a dead worker's file is continued"
            shown = workers[0].samples()
            assert shown == workers[1].samples()
            assert {model: shown["steps_total", (model,)] for model in steps} == steps
            assert {model: shown["rows_count", (model,)] for model in rows} == rows


def test_gauges_are_of_living_workers_and_common_ones_are_not_added_up(tmp_path: Path) -> None:
    one, two = Worker(tmp_path), Worker(tmp_path)
    for worker in (one, two):
        worker.gauge.labels().set(3)
        worker.common.labels().set(5)
    assert (one.samples()["waiting", ()], one.samples()["sessions", ()]) == (6.0, 5.0)
    two.registry.close()
    assert one.samples()["waiting", ()] == 3.0


def test_a_full_file_counts_nothing_more_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(stored, "NUM_VALUES", 8)
    worker = Worker(None)
    with caplog.at_level(logging.WARNING):
        for model in "abcdefghijkl":
            worker.counter.labels(model).add()
            worker.histogram.labels(model).observe(1.0)
    samples = worker.samples()
    assert sum(name == "steps_total" for name, _ in samples) <= 8
    assert all(value == 1.0 for (name, _), value in samples.items() if name == "steps_total")
    assert caplog.text.count("no room for further metrics") == 1


def test_a_metric_is_defined_once_and_has_all_its_labels() -> None:
    worker = Worker(None)
    with pytest.raises(ValueError, match="defined twice"):
        worker.registry.counter("steps", "Again.")
    with pytest.raises(TypeError, match="has the labels"):
        worker.counter.labels()


def test_a_file_that_is_being_created_or_of_another_version_is_left_out(tmp_path: Path) -> None:
    worker = Worker(tmp_path)
    worker.counter.labels("a").add()
    (tmp_path / "metrics-9").write_bytes(b"")
    other = Registry(tmp_path)
    other.counter("unknown", "Of a later version.").labels().add()
    other.histogram("rows", "Rows.", ("model",), bounds=(1.0,)).labels("a").observe(1.0)
    assert worker.samples() == {("steps_total", ("a",)): 1.0}
