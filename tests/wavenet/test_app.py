"""The web page: what it makes of recordings, and the page itself in a headless browser."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import soundfile
from small_generators import small_generator

from wavenet import load_model
from wavenet.classifier import app
from wavenet.errors import AudioError, MissingPackageError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """A second of the low tone and one of the high one."""
    t = np.arange(4000) / 4000
    tones = [0.4 * np.sin(2 * np.pi * pitch * t) for pitch in (150, 1500)]
    noise = 0.02 * np.random.default_rng(0).standard_normal(8000)
    path = tmp_path_factory.mktemp("recording") / "two tones.wav"
    soundfile.write(path, np.concatenate(tones) + noise, 4000)
    return path


def test_what_is_prepare_input(tones, recording):
    heard = app.LabelledRecording(load_model(tones.run), recording, 0.25, 0.1)
    assert heard.seconds == pytest.approx(2) and len(heard.top) == 3
    assert sum(probability for _, probability in heard.top) == pytest.approx(1)
    assert {label for label, _ in heard.top[:2]} == {"low", "high"}
    assert heard.segments[0].label == "low" and heard.segments[-1].label == "high"
    assert {text.get_text() for text in heard.picture.axes[0].texts} >= {"low", "high"}
    with pytest.raises(AudioError, match="none.wav: no such file"):
        app.LabelledRecording(load_model(tones.run), recording.with_name("none.wav"), 0.25, 0.1)


@pytest.fixture(scope="module")
def address(tones):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
        pytest.importorskip("gradio", reason="gradio is not installed")
        page = app.build({"tones": load_model(tones.run)}, 0.25, 0.1)
        yield app.launch(page, host="127.0.0.1", port=None, block=False)
        page.close(verbose=False)


def test_in_a_browser(address, recording, page, tmp_path):
    """A file is dropped, settings are changed, a broken file, a recording from the microphone."""
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    page.wait_for_selector("text=3 classes: high, low, middle")
    page.locator("input[type=file]").first.set_input_files(recording)
    picture = page.locator("img[alt='Labels over time']")
    picture.wait_for(timeout=60_000)
    assert picture.evaluate("i => i.decode().then(() => i.naturalWidth)") > 500
    first = picture.get_attribute("src")
    top = page.locator(".block", has_text="Top 5 of the whole recording").last.inner_text()
    assert {"low", "high", "middle"} <= set(top.split()) and "%" in top

    page.get_by_text("Segments and settings").click()
    page.get_by_label("number input for Window, s").fill("1")
    page.get_by_label("number input for Window, s").blur()
    page.wait_for_function(
        "before => document.querySelector(\"img[alt='Labels over time']\").src !== before",
        arg=first,
    )

    page.get_by_label("Clear").first.click()
    page.locator("img[alt='Labels over time']").wait_for(state="detached")
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF no audio")
    page.locator("input[type=file]").first.set_input_files(broken)
    page.wait_for_selector("text=broken.wav: can't be decoded as audio")

    assert all(url.startswith((address, "data:", "blob:")) for url in asked)


def test_from_the_microphone(address, page):
    page.goto(address)
    page.get_by_label("Record audio").click()
    page.get_by_role("button", name="Record", exact=True).click()
    page.wait_for_timeout(1200)
    page.get_by_role("button", name="Stop", exact=True).click()
    page.locator("img[alt='Labels over time']").wait_for(timeout=60_000)


SPEAKING = ("speakers", "mel repeated", "notes")


@pytest.fixture(scope="module")
def tabs(tones):
    """The address of a page with a classifier and a model that makes sound of each kind."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
        pytest.importorskip("gradio", reason="gradio is not installed")
        speaking = {name: small_generator(name) for name in SPEAKING}
        page = app.build({"tones": load_model(tones.run), **speaking})
        yield app.launch(page, host="127.0.0.1", port=None, block=False)
        page.close(verbose=False)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_tabs_that_speak_in_a_browser(tabs, recording, page, scheme):
    """Each is asked for sound and plays it; a vocoder without a recording says so."""
    page.emulate_media(color_scheme=scheme)
    page.goto(tabs)
    for name in SPEAKING:
        page.get_by_role("tab", name=name).click()
        shown = page.locator("[role=tabpanel]:visible")
        shown.get_by_text("The same seed makes the same sound").wait_for()
        assert page.locator("body").evaluate("b => b.scrollWidth <= b.clientWidth")
        if name == "mel repeated":
            shown.get_by_role("button", name="Make sound").click()
            page.get_by_text("there is no recording; drop one").wait_for()
            shown.locator("input[type=file]").first.set_input_files(recording)
            shown.get_by_label("Clear").first.wait_for()
        elif name == "notes":
            shown.locator("textarea").fill("0 0.05 60")
        else:
            shown.get_by_label("number input for Seconds").fill("0.1")
        with page.expect_response(lambda answer: answer.url.endswith(".wav")) as sound:
            shown.get_by_role("button", name="Make sound").click()
        assert sound.value.status in (200, 206)


def test_a_tab_for_each_model_that_speaks(tones):
    """Sound by a speaker, or of a tune; what is wrong is said."""
    gradio = pytest.importorskip("gradio", reason="gradio is not installed")
    models = {"tones": load_model(tones.run), **{name: small_generator(name) for name in SPEAKING}}
    page = app.build(models)
    parts = page.get_config_file()["components"]
    tabs = [part["props"]["label"] for part in parts if part["type"] == "tabitem"]
    assert tabs == list(models)
    speaking, vocoder, playing = (f.fn for f in page.fns.values() if f.name == "make")
    rate, sound = speaking("george", 3, 0.9, 0.05, None, "")
    assert rate == 8000 and sound.shape == (400,) and sound.any()
    assert len(playing("george", None, 1.0, 1.0, None, "0 0.01 60")[1]) == 80
    with pytest.raises(gradio.Error, match="there is no recording"):
        vocoder(None, 0, 1.0, 1.0, None, "")
    alone = app.build({"speakers": models["speakers"]}).get_config_file()["components"]
    assert not [part for part in alone if part["type"] == "tabitem"]


def test_two_runs_of_one_name(tones, tmp_path, wavenet):
    done = wavenet("demo-app", tones.run, tones.run)
    assert done.code == 2 and f"two of the runs are called {tones.run.name}" in done.err


def test_gradio_is_asked_for(tones, monkeypatch, wavenet):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(MissingPackageError, match="pip install 'wavenet-kernels.app.'"):
        app.build({"tones": load_model(tones.run)})
    done = wavenet("demo-app", tones.run)
    assert done.code == 2 and "needs gradio: pip install" in done.err


@pytest.mark.parametrize("options", [("--port", 0), ("--port", 99999), ("--window", "nan")])
def test_numbers_out_of_range(tones, wavenet, options):
    done = wavenet("demo-app", tones.run, *options)
    assert done.code == 2 and f"Invalid value for '{options[0]}'" in done.err


def test_a_host_that_does_not_exist(tones, wavenet):
    done = wavenet("demo-app", tones.run, "--host", "no such host")
    assert done.code == 2 and "--host is 'no such host' (" in done.err


def test_a_port_that_is_taken(tones, address, wavenet):
    port = address.rstrip("/").rpartition(":")[2]
    done = wavenet("demo-app", tones.run, "--port", port)
    assert done.code == 2 and port in done.err
