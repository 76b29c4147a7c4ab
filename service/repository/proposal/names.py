"""What names of inputs, outputs and axes say: which are states, which belong together. Measures nothing."""

import re

STATE_INPUT = re.compile(
    r"(^|[^a-z])(h|c|h0|c0|hn|cn|h_in|c_in|hx|cx)([^a-z]|$)|hidden|state|cell|memor|cache|past|prev|carry"
    r"|buffer|context",
    re.IGNORECASE,
)
NO_STATE = re.compile(r"embed|speaker|spk|style|cond|static|covar|mask|valid|label|target", re.IGNORECASE)
KEPT = re.compile(  # what is a state of the graph, not an answer that is fed back
    r"(^|[^a-z])(h|c|h0|c0|hn|cn|h_in|c_in|hx|cx)([^a-z]|$)|hidden|state|cell|memor|cache|buffer|context|key"
    r"|value|conv",
    re.IGNORECASE,
)
ONCE = re.compile(r"encoder|memory|speaker|spk|style|static|covar|prompt", re.IGNORECASE)
NEW_STATE = re.compile(
    r"(^|[^a-z])(hn|cn|hx|cx)([^a-z]|$)|state|hidden|new|next|present|updat", re.IGNORECASE
)
BATCH_AXIS = re.compile(r"batch|rows|samples?_dim|^(n|b|bs|unk__0)$", re.IGNORECASE)
TIME_AXIS = re.compile(r"time|seq|step|len|frame|^(t|l)$", re.IGNORECASE)
LENGTHS = re.compile(r"len", re.IGNORECASE)

MADE_UP = re.compile(r"^onnx::|^\d+$")
WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
LETTER = re.compile(r"([hc])(n|x|t|in|out|prev|next|new)?")  # h, hn, hx, cx, …
BEFORE = {"in", "input", "inputs", "prev", "previous", "past", "old", "init", "initial", "before", "0"}
AFTER = {"out", "output", "outputs", "next", "new", "present", "final", "last", "after", "updated", "n", "1"}
OTHER = {"cur", "current", "t", "serving", "default"}
NUMBERS = {"0", "1"}


def match_by_name(fits: dict[str, list[str]]) -> dict[str, str]:
    """State inputs with the outputs that their names say are the new values.

    `fits`: by input, the outputs of its shape and dtype. A match must be the only one, from both sides.
    """
    matched: dict[str, str] = {}
    for level in (_same_words, _same_stem, _same_ending, _before_and_after):
        found = {
            name: [other for other in fits[name] if other not in matched.values() and level(name, other)]
            for name in fits
            if name not in matched
        }
        for name, others in found.items():
            rivals = [rival for rival in found if rival != name and others[:1] == found[rival][:1]]
            if len(others) == 1 and not rivals:
                matched[name] = others[0]
    return matched


def is_fed_back(before: str, after: str) -> bool:
    """Whether a pair is an answer that the next step takes, such as prev_action ← action."""
    says_before = set(words(before)) & (BEFORE - NUMBERS)
    says_after = set(words(after)) & (AFTER - NUMBERS - {"output", "outputs"})
    return bool(says_before) and not says_after and not KEPT.search(before)


def words(name: str) -> list[str]:
    """The words of a name, in lower case: "lstm.stateN" → lstm, state, n; hx → h."""
    found = [word.lower() for word in WORDS.findall(name)]
    return [letter[1] if (letter := LETTER.fullmatch(word)) else word for word in found]


def _stem(name: str) -> list[str]:
    """The words that name the state itself. A name that is one word is that word: xLSTM calls a state n.

    Names that an exporter made up, such as onnx::Mul_3 and 162, say nothing.
    """
    parts = [] if MADE_UP.search(name) else words(name)
    return [word for word in parts if word not in (BEFORE | AFTER | OTHER) - NUMBERS] or parts[:1]


def _without_number(stem: list[str]) -> list[str]:
    return stem[:-1] if len(stem) > 1 and stem[-1] in NUMBERS else stem


def _same_words(before: str, after: str) -> bool:
    """h_in, h_out; state_in_0, state_out_0."""
    stem = _stem(before)
    return bool(stem) and stem == _stem(after)


def _same_stem(before: str, after: str) -> bool:
    """h0, hn; state, stateN; h, h.1."""
    stem = _without_number(_stem(before))
    return bool(stem) and stem == _without_number(_stem(after))


def _same_ending(before: str, after: str) -> bool:
    """past_key_values.0.key, present.0.key."""
    a, b = _stem(before), _stem(after)
    short, long = sorted((a, b), key=len)
    return bool(short) and long[-len(short) :] == short


def _before_and_after(before: str, after: str) -> bool:
    """prev, next; h, new."""
    says_before = set(words(before)) & (BEFORE - NUMBERS - {"in", "input", "inputs"})
    says_after = set(words(after)) & (AFTER - NUMBERS - {"out", "output", "outputs", "last", "n"})
    return bool(says_after) and bool(says_before or STATE_INPUT.search(before))
