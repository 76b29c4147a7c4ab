"""`cellgate serve`: run the server."""

import click

from service.cli.options import CONTEXT, GroupedCommand, announce, settings_options
from service.settings import Settings


@click.command(cls=GroupedCommand, context_settings=CONTEXT)
@settings_options(*Settings.model_fields)
def serve(settings: Settings) -> None:
    """Serve the models in a model repository. Every option is also an environment variable.

    \b
    Examples:
      cellgate serve --port 9000 --workers 2
      CELLGATE_MODELS_DIR=/srv/models cellgate serve --host 0.0.0.0
      cellgate serve --config cellgate.toml
    """
    announce(f"loading the models in {settings.models_dir}")
    from service.server import run

    run(settings)
