"""What the notes of a draft advise, with the options that change it. It measures nothing."""

from service.repository.probe import Port
from service.repository.proposal.axes import Layout
from service.repository.proposal.pairing import Pairing


def not_causal(
    main: Port, pairing: Pairing, layout: Layout, *, time_size: int | None, answers_once: bool
) -> str:
    """Why a sequence may not be cut, and what may be meant instead."""
    window = f"If windows slide over a stream: {window_options(main, layout, time_size)}"
    if answers_once:
        kept = "cannot continue from its states" if pairing.pairs else "has no states"
        return (
            f"the graph answers once for all steps, and {kept}, so causal is false and there are no "
            f"sessions. {window}"
        )
    if time_size is not None:
        return (
            f"a step changes the answers to earlier ones among the {time_size} steps of a call, so causal is "
            f"false and there are no sessions. If the {time_size} steps are one chunk, and sessions continue "
            "chunk by chunk: --time-axis none"
        )
    if not pairing.pairs:
        return "a step changes the answers to others, so causal is false and there are no sessions"
    return (
        "a sequence that is cut in pieces is answered otherwise than a whole one, so causal is false and "
        "there are no sessions. If it should not look ahead, check the pairs of states (--state IN=OUT)"
    )


def exact_steps(main: Port, layout: Layout, time_size: int) -> str:
    """A graph without states that takes so many steps."""
    window = window_options(main, layout, time_size)
    return f"a sequence has exactly {time_size} steps. If windows slide over a stream: {window}"


def echo(output: str, lengths: str) -> str:
    """An output that is an input."""
    return f"output {output!r} is {lengths!r} again, so it is left out. To answer it: --answer {output}"


def window_options(main: Port, layout: Layout, time_size: int | None) -> str:
    """How to say that the time axis is a window, which is one step of the server's."""
    sizes = [
        str(size) if not main.variable(axis) else "STEPS" if axis == layout.time else "SIZE"
        for axis, size in enumerate(main.shape)
        if axis != layout.batch
    ]
    dims = "" if time_size is not None else f" --dims {main.name}={','.join(sizes)}"
    return f"--time-axis none{dims} --hop STEPS"


def ignored_steps(main: Port) -> str:
    """A time axis of which only some steps are read."""
    return (
        f"a later step of {main.name!r} changes no answer and no state: the graph reads only some steps, "
        "however many are given. Exporters write such graphs when they unroll a loop for the steps of one "
        "example. Export it with a loop or a recurrent operator, or for a fixed number of steps"
    )


def fed_back(before: str, after: str) -> str:
    """An answer that the next step takes."""
    return (
        f"{before!r} is taken for the answer {after!r} of the step before, which the server passes on as it "
        f"is. If requests give it (an action that was drawn, a teacher's value): --no-state {before}"
    )


def unclear_input(name: str, candidates: list[str]) -> str:
    """An input beside the steps, in a graph without a time axis."""
    text = f"{name!r} is given with each step. If once for each sequence: --per-sequence {name}"
    return f"{text}. If it is a state: --state {name}=OUTPUT" if candidates else text
