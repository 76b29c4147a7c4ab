"""The `cellgate` command; `python -m service` is the same."""

import logging
import sys

import click

from service.cli import CONTEXT, demo, import_, inspect, keys, models, policy, predict, serve, sessions


@click.group(
    context_settings=CONTEXT,
    commands=[demo, serve, predict, models, policy, inspect, import_, sessions, keys],
)
@click.version_option(package_name="cellgate")
def main() -> None:
    """Serve recurrent sequence models over HTTP, with sessions that keep their state between requests.

    \b
    Examples:
      cellgate demo                                 see what it does, with an example model
      cellgate serve                                serve ./models on 127.0.0.1:8000
      cellgate predict vowels in.csv -o out.csv     predict every sequence of a file
      cellgate models                               load the models in ./models and list them
      cellgate inspect other.onnx                   propose a manifest for an ONNX graph
      cellgate import other.onnx --name other       propose it, try it, and place it in ./models
      cellgate sessions list                        list the sessions in the store
      cellgate policy show vowels                   show which versions of a model answer
      cellgate keys new acme                        create an API key
    """


if __name__ == "__main__":
    logging.captureWarnings(True)
    main(prog_name="cellgate" if sys.argv[0].endswith("__main__.py") else None)
