"""The command line, one file a command group: flags become `Settings`, results become text or JSON.

It knows click and how to print. It does not know how a server, a model or a session works: each command
imports the package that does inside its function, so that `--help` loads neither uvicorn nor ONNX Runtime.
"""

from service.cli.demo import demo
from service.cli.import_ import import_
from service.cli.inspect import inspect
from service.cli.keys import keys
from service.cli.models import models
from service.cli.options import CONTEXT
from service.cli.policy import policy
from service.cli.predict import predict
from service.cli.serve import serve
from service.cli.sessions import sessions

__all__ = [
    "CONTEXT",
    "demo",
    "import_",
    "inspect",
    "keys",
    "models",
    "policy",
    "predict",
    "serve",
    "sessions",
]
