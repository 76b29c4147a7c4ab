"""The run itself: read blocks, have them answered several at a time, write the answers in order.

It knows the parts of this package and how they meet; each of them knows less.
"""

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from service import cpus, memory
from service.engine import CPU, choose_provider
from service.errors import StartupError
from service.manifest import Manifest
from service.offline import lines
from service.offline.answering import EngineTask
from service.offline.answers import Encoder, LineEncoder
from service.offline.block import Answered, Block
from service.offline.engine_pool import EnginePool
from service.offline.job import Job, Summary, find_folder, format_of
from service.offline.part import FileMedium, Medium, Part
from service.offline.progress import Progress
from service.offline.remote import RemotePool, Target, manifest_of
from service.repository.folders import read_manifest
from service.repository.snapshot import fingerprint
from service.settings import Settings

ON_DEVICE = 2  # processes that share a GPU: one reads and writes while the other computes
BLOCKS_PER_PROCESS = 3  # in memory: one is computed, one waits, one is read or written
TABLES_MISSING = "tables are read by polars, which is not installed: pip install 'cellgate[table]'"


class Pool(Protocol):
    """What answers blocks."""

    num_at_once: int

    def answer(self, block: Block) -> Answered:
        """The answers of a block; called by several threads."""
        ...

    def close(self) -> None:
        """End what is under way."""
        ...


@dataclass(slots=True, frozen=True)
class Plan:
    """A job whose model, formats and columns are known."""

    job: Job
    manifest: Manifest
    identity: Mapping[str, Any]  # what the answers depend on
    encoder: Encoder
    keep_all: bool
    folder: Path | None  # of the version; None: the server's

    @property
    def key(self) -> str | None:
        """The column that tells the sequences of a table apart."""
        table = self.manifest.table
        return self.job.key or (None if table is None else table.id_column)

    @property
    def output_key(self) -> str:
        """The name of the output's column of keys."""
        return lines.ID if format_of(self.job.file) == "ndjson" else self.key or lines.ID


def predict_file(job: Job, settings: Settings, progress: Callable[[int], Progress]) -> Summary:
    """Answer every sequence of a file, each once, in the file's order; continue an earlier run.

    `progress`: called with the number of sequences that are answered already. The output appears when all
    are; until then, also after an error or KeyboardInterrupt, they are in `<output>.part`.
    Raises StartupError, or OSError of the files.
    """
    memory.keep_freed()
    plan = _plan(job, settings)
    with Part(job.output, plan.identity, _medium(plan)) as part:
        before = part.num_sequences
        shown = progress(before)
        shown.failed = part.num_failed
        head = b"" if before else plan.encoder.head(plan.manifest.outputs[0], plan.output_key)
        if head:
            part.append(head, 0, 0)
        pool = _open_pool(plan, settings)
        try:
            for answered in _in_order(_remaining(_blocks(plan), before), pool):
                part.append(answered.encoded, answered.num_sequences, answered.num_failed)
                shown.add(answered.num_sequences, answered.num_failed, answered.progress)
        finally:
            pool.close()
            shown.finish()
        part.finish()
        return Summary(part.num_sequences, part.num_failed, before, shown.seconds)


def _plan(job: Job, settings: Settings) -> Plan:
    if job.url:
        manifest, served = manifest_of(_target(job))
        folder, model = None, f"{served['name']}/{served['version']} {served['fingerprint']}"
    else:
        folder = find_folder(job.model, settings.models_dir)
        manifest, model = read_manifest(folder), fingerprint(folder).hex()
    keep_all = (job.returns or manifest.default_return) == "all"
    if keep_all and manifest.outputs[0].steps != "all":
        raise StartupError("--return all: the model has an output for the last step only")
    if job.output.resolve() == job.file.resolve():
        raise StartupError(f"{job.output} is the file to predict: name another output")
    status = job.file.stat()
    identity = {
        "input file": [str(job.file.resolve()), status.st_size, status.st_mtime_ns],
        "model": model,
        "--id": job.key,
        "--return": "all" if keep_all else "last",
    }
    encoder = _encoder(job, manifest, keep_all=keep_all)
    plan = Plan(job, manifest, identity, encoder, keep_all, folder)
    if plan.output_key in encoder.names(manifest.outputs[0]):
        raise StartupError(
            f"the output has an answer's {plan.output_key!r}, so the column of sequences cannot be called "
            f"that: rename it in {job.file}"
        )
    return plan


def _target(job: Job, *, keep_all: bool = False) -> Target:
    name, _, version = job.model.partition("/")
    return Target(job.url, name or None, version or None, job.api_key, keep_all)


def _encoder(job: Job, manifest: Manifest, *, keep_all: bool) -> Encoder:
    found = format_of(job.output)
    if found == "ndjson":
        return LineEncoder(by_name=manifest.names_forecasts)
    with _tables_needed():
        from service.offline.table_answers import TableEncoder

    return TableEncoder(is_parquet=found == "parquet", keep_all=keep_all)


def _medium(plan: Plan) -> Callable[[Path], Medium]:
    if format_of(plan.job.output) != "parquet":
        return FileMedium
    with _tables_needed():
        from service.offline.table_answers import ParquetMedium

    return ParquetMedium


def _blocks(plan: Plan) -> Iterator[Block]:
    if format_of(plan.job.file) == "ndjson":
        return lines.blocks(plan.job.file)
    with _tables_needed():
        from service.offline import tables

    return tables.blocks(plan.job.file, plan.manifest, plan.key)


@contextlib.contextmanager
def _tables_needed() -> Iterator[None]:
    """Around the import of what needs polars. Raises StartupError without it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != "polars":
            raise
        raise StartupError(TABLES_MISSING) from error


def _open_pool(plan: Plan, settings: Settings) -> Pool:
    job = plan.job
    if plan.folder is None:
        return RemotePool(
            _target(job, keep_all=plan.keep_all),
            plan.manifest,
            plan.encoder,
            job.at_once or 2 * cpus.usable(),
        )
    is_on_cpu = choose_provider(settings.provider) == CPU
    task = EngineTask(
        folder=plan.folder.resolve(),
        provider=settings.provider,
        threads=1,
        max_batch=settings.max_batch,
        chunk_steps=settings.chunk_steps,
        max_call_bytes=settings.request_memory // 2,
        max_steps=settings.max_steps,
        keep_all=plan.keep_all,
        encoder=plan.encoder,
    )
    return EnginePool(task, job.at_once or (cpus.usable() if is_on_cpu else ON_DEVICE))


def _remaining(blocks: Iterable[Block], skipped: int) -> Iterator[Block]:
    """Without the first sequences, which an earlier run has answered."""
    for block in blocks:
        if skipped >= len(block):
            skipped -= len(block)
            continue
        yield block.after(skipped) if skipped else block
        skipped = 0


def _in_order(blocks: Iterator[Block], pool: Pool) -> Iterator[Answered]:
    """The answers of all blocks in their order, with a bounded number of blocks in memory."""
    waiting: deque[Future[Answered]] = deque()
    most = BLOCKS_PER_PROCESS * pool.num_at_once
    executor = ThreadPoolExecutor(pool.num_at_once, thread_name_prefix="predict")
    try:
        for block in blocks:
            waiting.append(executor.submit(pool.answer, block))
            while waiting and (len(waiting) >= most or waiting[0].done()):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.close()  # so that no thread waits for an answer
        executor.shutdown(cancel_futures=True)
