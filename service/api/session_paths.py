"""How a path below /sessions names a session: percent-encoded, and apart from the action on the session.

    /sessions/call-42/export               the export of `call-42`
    /sessions/v2/vowels/7/export           the export of `v2/vowels/7`
    /sessions/v2%2Fvowels%2Fs%2Fexport     the session `v2/vowels/s/export`

A plain "/" may stand for itself in a name, but a last segment that names a sub-resource is one; as part of a
name it is written with %2F. So the encoded path is matched, which ASGI has in `raw_path`.
"""

from urllib.parse import unquote

from starlette.routing import Match
from starlette.types import Scope

from service.api.bodies import BoundedRoute

SUB_RESOURCES = frozenset({"export", "import", "fork", "rewind", "forecast", "migrate"})
ROOT = "/sessions/"
_WHOLE = "/sessions/{session:path}"


class SessionRoute(BoundedRoute):
    """A route of a session."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match the encoded path; the parameter is the decoded name."""
        root = scope.get("root_path", "")
        encoded = _encoded_path(scope)
        if not encoded.startswith(root + ROOT):
            return super().matches(scope)
        name, _, last = encoded.rpartition("/")
        is_of_a_part = len(name) >= len(root + ROOT) and last in SUB_RESOURCES
        if self.path == _WHOLE and is_of_a_part:
            return Match.NONE, {}
        match, child = super().matches({**scope, "path": encoded})
        if match is not Match.NONE:
            parameters = {key: unquote(value) for key, value in child["path_params"].items()}
            child = {**child, "path_params": parameters}
        return match, child


def _encoded_path(scope: Scope) -> str:
    raw: bytes | None = scope.get("raw_path")
    return str(scope["path"]) if raw is None else raw.decode("latin-1")
