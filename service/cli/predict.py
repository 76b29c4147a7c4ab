"""`cellgate predict`: answer every sequence of a file, with the engine or through a server."""

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from service import forkserver
from service.cli.interrupts import as_ctrl_c
from service.cli.options import CONTEXT, announce, settings_options
from service.settings import Settings

if TYPE_CHECKING:
    from service.offline import Summary

INTERRUPTED = 130  # the exit status of a program that Ctrl-C has ended


@click.command(context_settings=CONTEXT)
@click.argument("model")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option(
    "--output",
    "-o",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="file to write: .ndjson, .csv or .parquet",
)
@click.option("--id", "key", metavar="COLUMN", help="column of a table that identifies the sequence")
@click.option(
    "--return",
    "returns",
    type=click.Choice(["last", "all"]),
    help="answer the last step, or every step; default: by the model's task",
)
@click.option("--url", default="", help="predict through this server, as http://127.0.0.1:8000")
@click.option("--api-key", default="", envvar="CELLGATE_API_KEY", help="for --url [CELLGATE_API_KEY]")
@click.option(
    "--jobs",
    default=0,
    type=click.IntRange(0),
    help="processes, or with --url requests at a time; 0 = one process for each CPU (2 on a GPU), or two "
    "requests for each CPU",
)
@click.option("--force", is_flag=True, help="replace an existing output")
@settings_options("models_dir", "provider", "max_batch", "chunk_steps", "max_steps")
def predict(
    settings: Settings,
    model: str,
    file: Path,
    output: Path,
    key: str | None,
    returns: Literal["last", "all"] | None,
    url: str,
    api_key: str,
    jobs: int,
    force: bool,
) -> None:
    """Predict every sequence of a FILE with a MODEL: a version's folder, or NAME or NAME/VERSION.

    FILE is NDJSON with a sequence a line, as /predict takes it, or a CSV or Parquet table with a row for each
    time step. The output has an answer for each sequence in the same order; one that cannot be answered has
    an error in its place. After a crash or Ctrl-C the same command continues.

    \b
    Examples:
      cellgate predict models/vowels/1 calls.ndjson -o answers.ndjson
      cellgate predict vowels calls.csv --id call -o answers.parquet --models-dir /srv/models
      cellgate predict vowels calls.parquet --id call -o answers.csv --url http://127.0.0.1:8000
    """
    if not url:
        forkserver.start()  # first, so that both processes import at the same time
    from service.errors import StartupError
    from service.offline import Job, predict_file
    from service.offline.progress import Progress

    if output.exists() and not force:
        raise StartupError(f"{output} exists; --force replaces it")
    is_terminal = sys.stderr.isatty()

    def progress(done: int) -> Progress:
        if done:
            click.echo(f"continuing after {done:,} sequences", err=True)
        return Progress(sys.stderr, done, is_terminal=is_terminal)

    job = Job(model, file, output, key, returns, url, api_key, jobs)
    announce(f"predicting {file}")
    try:
        with as_ctrl_c(signal.SIGTERM):
            summary = predict_file(job, settings, progress)
    except KeyboardInterrupt:
        click.echo(f"stopped; the same command continues; {output}.part has what is answered", err=True)
        sys.exit(INTERRUPTED)
    except OSError as error:
        raise StartupError(f"{error.filename or output}: {error.strerror}") from error
    click.echo(f"wrote {output}: {_described(summary)}")


def _described(summary: "Summary") -> str:
    from service.offline.progress import duration

    rate = (summary.num_sequences - summary.num_before) / max(summary.seconds, 1e-9)
    failed = f", {summary.num_failed:,} of them errors" if summary.num_failed else ""
    return f"{summary.num_sequences:,} sequences{failed}, in {duration(summary.seconds)} ({rate:,.0f}/s)"
