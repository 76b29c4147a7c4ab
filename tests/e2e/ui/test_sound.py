"""Sound in a real Chromium, whose microphone is a file: recorded, read and streamed as the steps of a model.

The model has random weights: no recordings of raw sound with a free license are at hand to train one.
"""

import json
import re
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Browser, Page, Playwright, expect

from tests.e2e.server import Server, running
from tests.e2e.ui.pages import Open, answer, launched, send, serious, state_of
from tests.service.input_models import write
from training.data.dataset import Input

RATE, FRAME = 16_000, 256
HZ = 440
Samples = NDArray[np.float64]


def tone(seconds: float, rate: int) -> Samples:
    """A sine, half as loud as can be."""
    samples: Samples = 0.5 * np.sin(2 * np.pi * HZ * np.arange(round(seconds * rate)) / rate)
    return samples


def save(path: Path, samples: Samples, rate: int, channels: int = 1) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.repeat((samples * 32768).astype("<i2"), channels).tobytes())
    return path


@pytest.fixture(scope="module")
def sound_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("models")
    write(root, "ear", (Input("sound", kind="audio", samples=FRAME, sample_rate=RATE, projection=8),))
    write(root, "slow", (Input("sound", kind="audio", samples=4, sample_rate=500),))
    with running(tmp_path_factory.mktemp("sound"), models_dir=str(root)) as started:
        yield started


@pytest.fixture(scope="module")
def browser(playwright: Playwright, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    heard = save(tmp_path_factory.mktemp("heard") / "tone.wav", tone(20, 48_000), 48_000)
    with launched(
        playwright,
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={heard}",
        "--host-resolver-rules=MAP elsewhere.test 127.0.0.1",
    ) as opened:
        yield opened


def steps_of(page: Page) -> Samples:
    """What is in the editor: [steps, samples]."""
    page.click("text=JSON or CSV")
    steps: Samples = np.array(json.loads(page.input_value("#json")))
    page.click("button >> text=Sound")
    return steps


def is_tone(samples: Samples, seconds: float) -> bool:
    """Whether this is the sine, by its loudness and by how often it crosses zero."""
    crossings = np.count_nonzero(np.diff(np.signbit(samples)))
    return bool(
        0.3 < np.std(samples) < 0.4 and abs(crossings - 2 * HZ * seconds) < 0.02 * 2 * HZ * seconds + 3
    )


def test_a_second_is_recorded_and_sent_as_steps_at_the_rate_of_the_model(
    open_page: Open, sound_server: Server
) -> None:
    page = open_page(at=sound_server)
    expect(page.locator("#sound-hint")).to_have_text(
        "The model takes 16000 samples a second, 256 a step: 16 ms."
    )
    page.fill("#seconds", "0.5")
    page.click("#record-sound")
    expect(page.locator("#sound-hint")).to_have_text(
        "0.50 s: 31 steps; the last 64 samples are no whole step"
    )
    steps = steps_of(page)
    assert steps.shape == (31, FRAME) and is_tone(steps.ravel()[RATE // 10 :], 31 * FRAME / RATE - 0.1)
    page.set_viewport_size({"width": 360, "height": 900})
    assert not serious(page) and page.evaluate("document.documentElement.scrollWidth") <= 360
    page.select_option("#return", "last")
    send(page)
    shown = json.loads(page.locator("#reply").text_content() or "")
    body: dict[str, Any] = {"model": "ear", "sequences": [steps.tolist()], "return": "last"}
    assert shown == httpx.post(f"{sound_server.url}/predict", json=body).json()


def test_a_file_is_read_at_its_own_rate_and_converted_from_another(
    open_page: Open, sound_server: Server, tmp_path: Path
) -> None:
    page = open_page(at=sound_server)
    page.set_input_files("#sound-file", save(tmp_path / "own.wav", tone(0.1, RATE), RATE))
    expect(page.locator("#input-title")).to_have_text("Steps (6)")
    written = (tone(0.1, RATE) * 32768).astype("<i2") / 32768
    assert np.abs(steps_of(page).ravel() - written[: 6 * FRAME]).max() < 1e-4  # Chromium divides by 32767
    page.set_input_files("#sound-file", save(tmp_path / "other.wav", tone(0.25, 44_100), 44_100, channels=2))
    expect(page.locator("#input-title")).to_have_text("Steps (15)")
    converted = steps_of(page).ravel()
    assert np.abs(converted - tone(0.25, RATE)[: len(converted)])[100:-100].max() < 0.01
    (tmp_path / "text.wav").write_text("no sound")
    page.set_input_files("#sound-file", tmp_path / "text.wav")
    expect(page.locator("#problem")).to_have_text("text.wav is no sound file that this browser can read")
    assert not page.input_value("#sound-file"), "the steps are still those of other.wav"


def test_a_rate_that_the_browser_does_not_have_is_refused_and_no_microphone_left_open(
    open_page: Open, sound_server: Server, tmp_path: Path
) -> None:
    """It was left open, and the message was that of Chromium's constructor."""
    page = open_page(at=sound_server)
    page.evaluate(
        "() => { navigator.mediaDevices.getUserMedia = () => Promise.reject(new Error('opened')); }"
    )
    page.select_option("#model", "slow version 1")
    expect(page.locator("#sound-hint")).to_contain_text("500 samples a second")
    refused = "this browser cannot convert sound to 500 samples a second, the rate of the model"
    page.click("#record-sound")
    expect(page.locator("#problem")).to_have_text(refused)
    page.set_input_files("#sound-file", save(tmp_path / "own.wav", tone(0.1, RATE), RATE))
    expect(page.locator("#problem")).to_have_text(refused)


def test_the_microphone_is_streamed_into_a_session_until_it_is_stopped(
    open_page: Open, sound_server: Server
) -> None:
    page = open_page(at=sound_server)
    page.fill("#session", "ear-1")
    page.click("#listen")
    expect(page.locator("#answer")).to_contain_text("of session ear-1")
    expect(page.locator("#stop")).to_be_enabled()
    expect(page.locator("#answer")).to_have_text(re.compile(r"step ([2-9]\d|\d{3,}) of session ear-1"))
    page.click("#stop")
    expect(page.locator("#listen")).to_be_enabled()
    expect(page.locator("#problem")).to_be_hidden()
    step = state_of(sound_server, "ear-1")["step"]
    assert 20 <= step < 2000
    before = answer(page)
    page.click("#listen")
    expect(page.locator("#stop")).to_be_enabled()
    expect(page.locator("#answer")).not_to_have_text(before)
    page.click("#stop")
    expect(page.locator("#listen")).to_be_enabled()
    assert state_of(sound_server, "ear-1")["step"] > step


def test_only_models_of_sound_record_and_only_where_the_browser_allows_it(
    open_page: Open, server: Server, sound_server: Server, tmp_path: Path
) -> None:
    page = open_page(at=server)
    expect(page.locator("#model option")).to_have_count(1)
    expect(page.locator("#record-sound")).to_have_count(0)
    page = open_page(at=sound_server)
    page.goto(f"http://elsewhere.test:{sound_server.port}/ui")
    expect(page.locator("#sound-hint")).to_contain_text("only for pages on this machine or over https")
    expect(page.locator("#record-sound")).to_be_disabled()
    page.set_input_files("#sound-file", save(tmp_path / "own.wav", tone(0.1, RATE), RATE))
    expect(page.locator("#input-title")).to_have_text("Steps (6)")
