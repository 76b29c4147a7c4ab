"""One error of each class that the routes document: the samples of error responses on /docs.

The details are those of the code that raises the classes, for the model and the session of the other samples.
They fit every route: what a route alone says, and pointers into its body, it passes to `api.errors.errors`.
"""

from service import errors
from service.errors import CellgateError

_ERRORS: tuple[CellgateError, ...] = (
    errors.InvalidJson("the body is not JSON: unexpected end of data: line 1 column 42 (char 41)"),
    errors.BadHeader('Idempotency-Key: expected 1 to 255 printable ASCII characters, as "8e03978e-40d5"'),
    errors.Unauthorized("an API key is required: `Authorization: Bearer KEY`, or `X-API-Key: KEY`"),
    errors.Forbidden(
        "an API key with `admin = true` is needed; a server without keys needs admin_access = open"
    ),
    errors.OriginRefused("the origin 'https://app.example.org' is not one of cors_origins"),
    errors.UnknownModel("no model 'vowel'; there are vowels"),
    errors.UnknownVersion("no version '7' of vowels; there are 1"),
    errors.UnknownState("vowels version 1 has no initial state 'warm'; there are none"),
    errors.UnknownSession("no session of that name"),
    errors.BodyTimeout("the body did not arrive within 10 s"),
    errors.SessionConflict("the session is at step 145, the request says 144", members={"step": 145}),
    errors.UnknownCheckpoint(
        "the session keeps the steps 120, 130, 140, 145, not 100",
        members={"step": 145, "kept": [120, 130, 140, 145]},
    ),
    errors.SessionExists("the session is live, at step 145", members={"step": 145}),
    errors.SessionMismatch(
        "the session runs on vowels version 1, not on vowels version 2",
        members={"model": "vowels", "version": "1"},
    ),
    errors.StateMismatch(
        "the state token was made on version 2, not 1",
        members={"reason": "version", "model": "vowels", "version": "2"},
    ),
    errors.ReadOnlyModels("models/vowels: Read-only file system"),
    errors.IdempotencyInProgress("the first request with this Idempotency-Key is still in progress"),
    errors.EventMismatch(
        "Last-Event-ID belongs to another request, or this server computes other outputs than the one that "
        "sent it; without it, all events are sent from the start"
    ),
    errors.SessionGone(
        "the session expired at step 145",
        members={"reason": "expired", "step": 145},
    ),
    errors.BodyTooLarge("the body has 16777217 bytes or more; at most 16777216 are accepted"),
    errors.UnsupportedMediaType("expected application/json, got 'text/plain'"),
    errors.InvalidField("unknown field 'modell'"),
    errors.WrongShape("expected 12 numbers, got 11"),
    errors.NonFinite("1e+39 does not fit into float32"),
    errors.EmptySequence("a sequence needs at least one time step"),
    errors.SequenceTooLong("20001 time steps, the maximum is 20000"),
    errors.TooManySequences("2000 sequences, the maximum per request is 1024"),
    errors.TooManyValues(
        "the body has 2400000 JSON values, the maximum is 2000000; send several requests, "
        "or binary tensors to /v2"
    ),
    errors.ReplyTooLarge(
        "the reply could have 90000000 bytes, the maximum is 67108864: "
        'set "return" to "last", or send fewer steps or sequences in one request'
    ),
    errors.SessionNotSupported("vowels reads each sequence from both ends"),
    errors.GenerationNotSupported("the model's task is classify, not language"),
    errors.ForecastNotSupported("the manifest has no quantiles of 'x', so no value can be drawn: expected 1"),
    errors.GatesNotSupported("the model shows no gates; cellgate-train export --trace adds them to a graph"),
    errors.IdempotencyMismatch("this Idempotency-Key belongs to a request with another body or path"),
    errors.BadExport("the file does not match its checksum: it is incomplete or was changed"),
    errors.InvalidState("the token does not match its checksum: it is incomplete or was changed"),
    errors.StateSecretMissing("state tokens need the setting state_secret, since this server has API keys"),
    errors.RateLimited("more than 50 requests per second", retry_after_s=1),
    errors.UpgradeRequired("not a WebSocket handshake"),
    errors.TooManyStreams("the tenant has 10000 streams open on this worker"),
    errors.SessionQuota("the tenant has reached its limit of sessions or of session bytes"),
    errors.InternalError(),
    errors.NonFiniteOutput("the model's y has NaN or an infinity"),
    errors.CorruptRecord("a session record does not match its checksum", b""),
    errors.UnsupportedEncoding("content-encoding 'br': expected gzip or deflate"),
    errors.Overloaded("4096 sequences are waiting already"),
    errors.SessionCapacity(
        "the session store or its disk is full, and no session has been idle long enough to evict"
    ),
    errors.Draining("the server is stopping"),
    errors.ModelLoading("version 2 of vowels is being loaded"),
    errors.StoreUnavailable(
        "the session store (Redis) does not answer: TimeoutError; send the request again"
    ),
    errors.DeadlineExceeded("not computed before the request's deadline"),
)
BY_CLASS: dict[type[CellgateError], CellgateError] = {type(error): error for error in _ERRORS}
