"""The command line `cellgate-train`, also `python -m training`.

Torch takes seconds to import, so each command imports it when it runs: `--help` is instant.
"""

import click

from training.commands.compress import compress
from training.commands.evaluate import evaluate
from training.commands.explain import explain
from training.commands.export import export
from training.commands.lag import lag
from training.commands.scores import scores
from training.commands.sweep import sweep
from training.commands.train import train


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="cellgate")
def main() -> None:
    """Train recurrent networks, evaluate them, and export them for `cellgate serve`.

    \b
    cellgate-train train vowels --export models/vowels/2
    cellgate-train evaluate runs/vowels
    cellgate-train export models/vowels/3 --run runs/vowels
    """


for command in (train, evaluate, export, sweep, scores, explain, compress, lag):
    main.add_command(command)

if __name__ == "__main__":
    main()
