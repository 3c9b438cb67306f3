"""The page of an inspection, as a real browser shows it without any network."""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, Request, expect
from typer.testing import CliRunner

import cli
from features.audio import decode_audio
from model.checkpoint import Bundle
from model.inspect import QUANTITIES, Inspection, inspect_audio
from model.inspect_page import inspection_page
from tests.service.test_page import browser

__all__ = ["browser"]  # the fixture of the page's tests, used here too


@pytest.fixture(scope="module")
def inside(shipped_bundle: Bundle, clips_folder: Path) -> Inspection:
    return inspect_audio(shipped_bundle, clips_folder / "dog.flac")


@pytest.fixture
def page(browser: Browser, inside: Inspection, tmp_path: Path) -> Iterator[Page]:
    """Opened from a file; whatever it complains of or asks for fails the test."""
    file = tmp_path / "inspection.html"
    file.write_text(inspection_page(inside, "</script><b>dog.flac"))
    page = browser.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)

    def note(request: Request) -> None:
        if not request.url.startswith(("file:", "data:")):
            complaints.append(request.url)

    page.on("request", note)
    page.goto(file.as_uri())
    yield page
    page.close()
    assert complaints == []


def test_words_stand_where_they_are_said_and_tell_what_else_they_may_be(page: Page, inside: Inspection) -> None:
    expect(page.locator("#text")).to_have_text(inside.transcript.text)
    expect(page.locator("#about")).to_contain_text("</script><b>dog.flac, 3.87 s")
    words = page.locator("#words button")
    assert words.all_text_contents() == [word.text for word in inside.transcript.words]
    lefts = [word.evaluate("word => word.offsetLeft") for word in words.all()]
    assert lefts == sorted(lefts)
    doubtful = min(inside.transcript.words, key=lambda word: word.confidence)
    button = words.nth(inside.transcript.words.index(doubtful))
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#word")).to_contain_text(f"right with {round(100 * doubtful.confidence)} %")
    expect(page.locator("#word td").first).to_have_text(doubtful.alternatives[0].text)
    assert page.evaluate("document.querySelector('#audio').currentTime") >= doubtful.start_s - 0.01


def test_pointing_reads_the_number_that_was_computed(page: Page, inside: Inspection) -> None:
    phones = next(head for head in inside.heads if head.name == "phones")
    frame, unit = divmod(int(phones.log_probs_SU[:, 2:].argmax()), len(phones.units) - 2)
    canvas = page.locator("#maps canvas").first
    box = canvas.bounding_box()
    assert box
    n_frames, n_units = phones.log_probs_SU.shape
    at = {"x": box["width"] * (frame + 0.5) / n_frames, "y": box["height"] * (unit + 2.5) / n_units}
    canvas.hover(position=at)  # type: ignore[arg-type]  # a Position is such a dictionary
    said = page.locator("#readout").text_content() or ""
    assert f"“{phones.units[unit + 2]}”" in said
    assert f"{frame * inside.frame_s:.2f} s" in said
    assert float(said.rsplit(" ", 1)[1]) == pytest.approx(np.exp(phones.log_probs_SU[frame, unit + 2]), abs=0.008)


def test_every_gate_of_every_layer_can_be_chosen(page: Page, inside: Inspection) -> None:
    canvas = page.locator("#gates canvas")
    pictures = set()
    for layer, direction, quantity in [
        (1, "forward", "input gate"),
        (5, "backward", "input gate"),
        (5, "backward", "cell"),
    ]:
        page.select_option("#layer", str(layer))
        page.select_option("#direction", direction)
        page.select_option("#quantity", quantity)
        pictures.add(canvas.evaluate("canvas => canvas.toDataURL()"))
        canvas.hover(position={"x": 2, "y": 1})
        said = page.locator("#readout").text_content() or ""
        assert f"layer {layer}, {direction}, {quantity} · unit 1 · " in said
        exact = inside.gates_LDQSH[
            layer - 1, ("forward", "backward").index(direction), QUANTITIES.index(quantity), 0, 0
        ]
        assert float(said.rsplit(" ", 1)[1]) == pytest.approx(exact, abs=0.03)
    assert len(pictures) == 3
    assert canvas.evaluate("canvas => [canvas.width, canvas.height]") == [inside.gates_LDQSH.shape[3], 256]


def test_a_phone_shows_all_but_what_is_scrolled(browser: Browser, inside: Inspection, tmp_path: Path) -> None:
    file = tmp_path / "inspection.html"
    file.write_text(inspection_page(inside, "a_recording_of_a_meeting_" * 4 + ".wav"))
    context = browser.new_context(viewport={"width": 360, "height": 700}, has_touch=True)
    page = context.new_page()
    page.goto(file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    for choice in page.locator("select").all():
        box = choice.bounding_box()
        assert box
        assert 0 <= box["x"] < box["x"] + box["width"] <= 360
    page.locator("#maps canvas").first.tap(position={"x": 2, "y": 2})
    expect(page.locator("#readout")).to_contain_text("probability of phones · “∅”")
    context.close()


def test_where_nobody_speaks_the_page_says_so(browser: Browser, inside: Inspection, tmp_path: Path) -> None:
    gates_LDQSH = inside.gates_LDQSH.copy()
    gates_LDQSH[:, :, :, :3] = np.nan
    file = tmp_path / "pause.html"
    file.write_text(inspection_page(replace(inside, gates_LDQSH=gates_LDQSH), "pause"))
    page = browser.new_page()
    page.goto(file.as_uri())
    page.locator("#gates canvas").hover(position={"x": 1, "y": 1})
    expect(page.locator("#readout")).to_contain_text("not asked: nobody speaks")
    page.close()


def test_the_sound_is_the_one_that_was_heard(inside: Inspection, tmp_path: Path) -> None:
    found = re.search(r'id="data">(.*?)</script>', inspection_page(inside, "dog"), re.DOTALL)
    assert found
    wav = base64.b64decode(json.loads(found[1])["wav"])
    np.testing.assert_allclose(decode_audio(wav).samples_N, inside.samples_N, rtol=0, atol=2 / 32768)


def test_the_command_writes_page_and_arrays(tmp_path: Path, clips_folder: Path) -> None:
    out, data = tmp_path / "clock.html", tmp_path / "clock.npz"
    arguments = ["inspect", str(clips_folder / "clock.flac"), "--out", str(out), "--data", str(data), "--to", "1.5"]
    done = CliRunner().invoke(cli.app, [*arguments, "--greedy"])
    assert done.exit_code == 0, done.output
    assert len(done.stdout.split()) > 2
    assert "clock.flac" in out.read_text()
    assert np.load(data)["samples"].shape == (24_000,)


def test_the_page_is_written_in_utf8_whatever_the_locale(tmp_path: Path, clips_folder: Path) -> None:
    out = tmp_path / "dog.html"
    ascii_ = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    command = [sys.executable, cli.__file__, "inspect", str(clips_folder / "dog.flac"), "--to", "0.5", "--greedy"]
    subprocess.run([*command, "--out", str(out)], env=os.environ | ascii_, check=True, capture_output=True)
    assert "“${map.names[row]}”" in out.read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["nothing.wav"], 1, "No such file or directory: 'nothing.wav'"),
        (["{clip}", "--from", "9"], 1, "ends before 9 s"),
        (["{clip}", "--data", "x.npy"], 2, "--data is x.npy; it has to end in .npz"),
        (["{clip}", "--out", "missing/x.html"], 1, "missing/x.html"),
        (["copy.flac", "--out", "./copy.flac"], 2, "FILE and --out are the same file, copy.flac"),
        (["copy.flac", "--data", "x.npz", "--out", "x.npz"], 2, "--out and --data are the same file, x.npz"),
    ],
)
def test_the_command_says_what_is_wrong(
    clips_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], status: int, message: str
) -> None:
    clip = (clips_folder / "clock.flac").resolve()
    monkeypatch.chdir(tmp_path)
    shutil.copy(clip, "copy.flac")
    named = [argument.format(clip=clip) for argument in arguments]
    done = CliRunner().invoke(cli.app, ["inspect", "--greedy", *named])
    assert (done.exit_code, message in done.stderr) == (status, True), done.output
    assert len(done.stderr.splitlines()) == 1
    assert Path("copy.flac").read_bytes() == clip.read_bytes()
