"""What was measured of a graph: its main input, its axes and states, and whether sequences may be cut."""

import functools
from dataclasses import dataclass, field

from service.repository.graph_file import GraphFile
from service.repository.probe import Port
from service.repository.proposal import advice
from service.repository.proposal.axes import Influence, Layout, all_layouts, choose_layout
from service.repository.proposal.cuts import Cutter
from service.repository.proposal.growth import measure_growth
from service.repository.proposal.names import ONCE, STATE_INPUT, TIME_AXIS
from service.repository.proposal.options import NO_AXIS, Options
from service.repository.proposal.pairing import Pairing
from service.repository.proposal.states import pair, settle
from service.repository.proposal.subject import Subject


@dataclass
class Analysis:
    """A graph and what is known of it."""

    subject: Subject
    file: GraphFile
    options: Options
    pairing: Pairing
    main: Port  # the input whose axes are those of the manifest
    layout: Layout  # of the main input
    along_batch: Influence | None  # what one row changes
    along_time: Influence | None  # what one step changes
    causal: bool = True
    notes: list[str] = field(default_factory=list)  # what should be checked
    details: list[str] = field(default_factory=list)  # open points that no field can express

    @functools.cached_property
    def batch_group(self) -> int | None:
        """The group of sizes of the batch; None: it is fixed, or there is none."""
        batch = self.layout.batch
        return None if batch is None else self.subject.input_groups(self.main)[batch]

    @functools.cached_property
    def batch_size(self) -> int | None:
        """The fixed size of the batch; None: it can change, or there is none."""
        return self._fixed_size(self.layout.batch)

    @functools.cached_property
    def time_size(self) -> int | None:
        """The fixed number of steps of a call."""
        return self._fixed_size(self.layout.time)

    @property
    def rows_are_independent(self) -> bool:
        """Whether a row changes no other, as far as it is measured."""
        return self.along_batch is None or self.along_batch.is_independent

    @property
    def inner_layout(self) -> Layout:
        """The axes of an input without a time axis: those behind it move up."""
        batch, time = self.layout.batch, self.layout.time
        is_behind = batch is not None and time is not None and batch > time
        return Layout(batch - 1 if is_behind and batch else batch, None)

    @property
    def left_out(self) -> list[str]:
        """The outputs that only repeat an input, unless they are asked for."""
        return [name for name in self.subject.echoes if name not in self.options.answers]

    @property
    def window(self) -> tuple[int | None, int | None, int | None]:
        """Window, hop and carry."""
        return _window(self.file, self.options, self.main)

    def _fixed_size(self, axis: int | None) -> int | None:
        if axis is None or self.subject.input_groups(self.main)[axis] is not None:
            return None
        return self.main.sized(self.subject.sizes.base)[axis]


def analyse(subject: Subject, file: GraphFile, options: Options) -> Analysis:
    """Measure a graph that runs."""
    no_states = frozenset((*options.no_states, *options.per_sequence))
    pairing = pair(subject, _known_pairs(subject, options), no_states)
    main = _main_input(subject, pairing, options)
    state_groups = {
        group
        for port in subject.ports
        if port.name in pairing.pairs
        for group in subject.input_groups(port)
        if group is not None
    }
    chosen = choose_layout(subject, main, state_groups, _wanted(file, options, main))
    analysis = Analysis(subject, file, options, pairing, main, *chosen)
    _settle_growth(analysis)
    _settle(analysis)
    return analysis


def _settle_growth(analysis: Analysis) -> None:
    """States that grow up to a bound are states like others; the rest stays open."""
    pairing, main, time = analysis.pairing, analysis.main, analysis.layout.time
    if not pairing.growing:
        return
    steps = 1 if time is None else main.sized(analysis.subject.sizes.base)[time]
    found, reason = measure_growth(analysis.subject, pairing.pairs, pairing.growing, steps)
    analysis.details += [reason] if reason else []
    if found:
        analysis.subject.growth = found
        pairing.pairs |= pairing.growing
        pairing.growing = {}
        pairing.notes += [
            f"{name!r} is taken for a cache that is empty at step 0 and grows to {growth.entries} entries"
            for name, growth in found.items()
        ]


def _known_pairs(subject: Subject, options: Options) -> dict[str, str]:
    """The given pairs of names that are there."""
    inputs = {port.name for port in subject.ports}
    outputs = {port.name for port in subject.probe.outputs}
    return {name: output for name, output in options.states.items() if name in inputs and output in outputs}


def _main_input(subject: Subject, pairing: Pairing, options: Options) -> Port:
    """The input with most axes that change, then with most axes, then the first."""
    known = {*pairing.pairs, *pairing.growing, *options.per_sequence, subject.lengths}
    rest = [port for port in subject.ports if port.name not in known] or subject.ports or subject.inputs

    def rank(port: Port) -> tuple[bool, int, bool, int]:
        groups = {group for group in subject.input_groups(port) if group is not None}
        says = STATE_INPUT.search(port.name), ONCE.search(port.name)
        return (not says[0], len(groups), not says[1], len(port.shape))

    return max(rest, key=rank)


def _wanted(file: GraphFile, options: Options, main: Port) -> list[Layout] | None:
    """The layouts that the options allow; None: all."""
    time, batch = options.time_axis, options.batch_axis
    if time is None and any(size is not None for size in _window(file, options, main)):
        time = NO_AXIS
    if time is None and batch is None:
        return None
    wanted = [
        each
        for each in all_layouts(len(main.shape))
        if (time is None or each.time == (None if time == NO_AXIS else time))
        and (batch is None or each.batch == (None if batch == NO_AXIS else batch))
    ]
    return wanted or None


def _window(file: GraphFile, options: Options, main: Port) -> tuple[int | None, int | None, int | None]:
    """Window, hop and carry: given, or what a streaming exporter wrote into the file."""
    if options.window is None and options.hop is None and options.carry is None:
        window, hop = file.metadata.get("T", ""), file.metadata.get("decode_chunk_len", "")
        if window.isdecimal() and hop.isdecimal() and int(window) in main.shape:
            return int(window), int(hop), None
    return options.window, options.hop, options.carry


def _settle(analysis: Analysis) -> None:
    """Settle the states that are left, and whether a sequence may be cut."""
    subject, pairing, time = analysis.subject, analysis.pairing, analysis.along_time
    cutter = Cutter.of(subject, analysis.main, analysis.layout)
    can_cut = settle(subject, pairing, analysis.main, cutter)
    pairing.notes += [advice.fed_back(before, after) for before, after in pairing.fed_back.items()]
    pairing.notes += [advice.echo(name, str(subject.lengths)) for name in analysis.left_out]
    if cutter and time and time.ignores_steps and subject.lengths is None:
        analysis.details.append(advice.ignored_steps(analysis.main))
    if pairing.open or pairing.growing:
        return
    if cutter is None:
        analysis.causal = time is None or not time.looks_ahead
    elif not pairing.pairs:
        repeats = any(analysis.window[1:])  # what is carried over is all that a cut keeps
        analysis.causal = cutter.keeps_prefixes() and (not repeats or time is None or time.is_independent)
    elif not can_cut and _is_window_of_samples(analysis):
        analysis.layout = Layout(analysis.layout.batch, None)
    else:
        analysis.causal = can_cut
    _note_steps(analysis)


def _note_steps(analysis: Analysis) -> None:
    """Say what a sequence is, where it is not any number of steps that continue each other."""
    size, main, layout = analysis.time_size, analysis.main, analysis.layout
    if not analysis.causal:
        once = layout.time is not None and not _answers_follow(analysis)
        analysis.notes.append(
            advice.not_causal(main, analysis.pairing, layout, time_size=size, answers_once=once)
        )
    elif not analysis.pairing.pairs and (layout.time is None or size == 1):
        analysis.notes.append("the graph has no states: each step is answered by itself")
    elif not analysis.pairing.pairs and size is not None:
        analysis.notes.append(advice.exact_steps(main, layout, size))


def _answers_follow(analysis: Analysis) -> bool:
    """Whether an answer has the time axis."""
    subject, main, time = analysis.subject, analysis.main, analysis.layout.time
    group = None if time is None else subject.input_groups(main)[time]
    if group is None:
        return analysis.time_size != 1
    answers = [port.name for port in subject.probe.outputs if port.name not in analysis.pairing.taken]
    return any(group in subject.output_groups(answer) for answer in answers)


def _is_window_of_samples(analysis: Analysis) -> bool:
    """Whether what looked like a time axis of single numbers is a window of a size that is not known."""
    main, time = analysis.main, analysis.layout.time
    if time is None or len(main.shape) != 2 or not main.is_float:
        return False
    name = main.shape[time]
    return not _answers_follow(analysis) and not (isinstance(name, str) and TIME_AXIS.search(name))
