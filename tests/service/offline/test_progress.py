"""The lines of progress: rate, time left, and the sequences of earlier runs apart."""

import io

from service.offline.progress import Progress, duration


def test_lines_have_rate_and_time_left() -> None:
    now = [0.0]
    stream = io.StringIO()
    progress = Progress(stream, 1000, is_terminal=False, clock=lambda: now[0])
    for second in range(1, 21):
        now[0] = second
        progress.add(50, second % 2, share=0.5 + second / 100)
    assert stream.getvalue().splitlines() == [
        " 60%  1,500 sequences, 5 failed, 50/s, 40 s left",
        " 70%  2,000 sequences, 10 failed, 50/s, 30 s left",
    ]


def test_a_terminal_has_one_line() -> None:
    now = [0.0]
    stream = io.StringIO()
    progress = Progress(stream, is_terminal=True, clock=lambda: now[0])
    now[0] = 1.0
    progress.add(1, 0, share=1.0)
    progress.finish()
    assert stream.getvalue() == "\r\033[K100%  1 sequences, 1/s\r\033[K"


def test_durations() -> None:
    assert [duration(seconds) for seconds in (48.2, 185, 3723)] == ["48 s", "3:05", "1:02:03"]
