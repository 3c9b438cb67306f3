"""The page at / in a real browser."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from service.keys import KeyFile
from service.settings import Settings
from tests.service.caption_readers import read_srt, read_vtt, text_of
from tests.service.conftest import Server, serving, wait_until
from tests.service.fakes import SENTENCES, TEXT, FakeTranscriber, wav

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OPTIONS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --autoplay-policy=no-user-gesture-required"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM:
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail("no Chromium; scripts/browser installs it")
        pytest.skip("no Chromium; scripts/browser installs it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS.split())
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def page_server() -> Iterator[Server]:
    with serving(Settings(), FakeTranscriber()) as server:
        yield server


@pytest.fixture
def page(browser: Browser, page_server: Server) -> Iterator[Page]:
    """The page, opened; whatever its console complains of fails the test."""
    context = browser.new_context(accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(20_000)
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.goto(page_server.url)
    expect(page.locator("#model")).to_have_text("fake-base")
    yield page
    context.close()
    assert [complaint for complaint in complaints if "status of 4" not in complaint] == []


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    path = tmp_path / "my speech.wav"
    path.write_bytes(wav(8.0))
    return path


def choose(page: Page, path: Path) -> None:
    page.set_input_files("#file", path)


def test_a_chosen_file_becomes_words(page: Page, speech: Path) -> None:
    choose(page, speech)
    expect(page.locator("#name")).to_have_text("my speech.wav")
    expect(page.get_by_role("status").filter(has_text="Done")).to_have_text(f"Done, {len(TEXT.split())} words")
    assert " ".join(page.locator(".word").all_text_contents()) == TEXT
    levels = [word.get_attribute("data-level") for word in page.locator(".word").all()[:4]]
    assert levels == ["3", "2", "1", "0"]  # confidences 0.98, 0.75, 0.5, 0.2
    page.hover(".word >> nth=1")
    expect(page.locator("#tip")).to_have_text("0.50 s – 0.75 s · 75 % sure")


def test_a_tip_tells_what_else_was_heard(page: Page, page_server: Server, tmp_path: Path) -> None:
    (tmp_path / "searched.wav").write_bytes(wav(2.0))
    choose(page, tmp_path / "searched.wav")
    page.focus(".word >> nth=0")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#tip")).to_have_text("0.80 s – 1.05 s · 50 % sure\nor hop 25 %, (no word) 10 %")
    page_server.fake.greedy = True
    try:
        (tmp_path / "greedy.wav").write_bytes(wav(2.25))
        choose(page, tmp_path / "greedy.wav")
        expect(page.locator("#name")).to_have_text("greedy.wav")
    finally:
        page_server.fake.greedy = False
    page.focus(".word >> nth=2")
    expect(page.locator("#tip")).to_have_text("0.80 s – 1.05 s · 50 % sure")


def test_a_model_without_alternatives_is_sent_a_file_once(browser: Browser, tmp_path: Path) -> None:
    fake = FakeTranscriber()
    fake.greedy = True
    (tmp_path / "greedy.wav").write_bytes(wav(2.5))
    with serving(Settings(), fake) as server:
        page = browser.new_page()
        uploads: list[str] = []
        page.on("request", lambda request: uploads.append(request.url) if request.method == "POST" else None)
        page.goto(server.url)
        expect(page.locator("#model")).to_have_text("fake-base")
        choose(page, tmp_path / "greedy.wav")
        expect(page.locator("#name")).to_have_text("greedy.wav")
        page.close()
    assert len(uploads) == 1


def test_a_dropped_file_becomes_words(page: Page, speech: Path) -> None:
    handle = page.evaluate_handle(
        """bytes => {
            const transfer = new DataTransfer();
            for (const name of ["dropped.wav", "second.wav"])
                transfer.items.add(new File([new Uint8Array(bytes)], name, {type: "audio/wav"}));
            return transfer;
        }""",
        list(speech.read_bytes()),
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": handle})
    expect(page.locator("#name")).to_have_text("dropped.wav")
    expect(page.locator(".word")).to_have_count(len(TEXT.split()))
    expect(page.locator("#one-only")).to_contain_text("of 2 only dropped.wav")
    choose(page, speech)
    expect(page.locator("#one-only")).to_be_hidden()


def test_a_dropped_folder_is_told_from_a_server_that_is_away(page: Page, tmp_path: Path) -> None:
    box = page.locator("#drop").bounding_box()
    assert box
    data = {"items": [], "files": [str(tmp_path)], "dragOperationsMask": 1}
    devtools = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        at = {"type": kind, "x": box["x"] + 9, "y": box["y"] + 9, "data": data}
        devtools.send("Input.dispatchDragEvent", at)
    expect(page.locator("#problem-text")).to_contain_text(f"{tmp_path.name} cannot be read: it is a folder")


def test_progress_and_cancel(page: Page, page_server: Server, tmp_path: Path) -> None:
    page_server.fake.hold()
    unheard = tmp_path / "long.wav"
    unheard.write_bytes(wav(1.25))
    choose(page, unheard)
    expect(page.locator("#work-text")).to_have_text("Listening …")
    expect(page.locator("#bar")).to_be_visible()
    expect(page.locator("#work-time")).to_have_text(re.compile(r"^\d+ s$"))
    expect(page.get_by_role("status").filter(has_text="Listening")).to_have_text("Listening …")  # without the seconds
    wait_until(lambda: page_server.fake.running == 1)
    page.focus("#cancel")
    page.keyboard.press("Enter")
    expect(page.locator("#work")).to_be_hidden()
    expect(page.locator("#said")).to_have_text("Cancelled")
    expect(page.locator("#file")).to_be_focused()
    wait_until(lambda: page_server.fake.running == 0)
    page_server.fake.release()


def test_a_word_is_heard_and_followed(page: Page, speech: Path) -> None:
    choose(page, speech)
    page.click(".word >> nth=5")
    expect(page.locator(".word.now")).to_have_count(1)
    assert page.evaluate("document.querySelector('#player').currentTime") >= 1.7
    wait_until(lambda: bool(page.evaluate("document.querySelector('.word.now').dataset.index > 6")))  # by itself


def test_a_long_recording_is_followed(page: Page, speech: Path) -> None:
    page.set_viewport_size({"width": 300, "height": 260})  # in which few words are long
    choose(page, speech)
    expect(page.locator(".word").first).to_be_visible()
    page.evaluate("document.querySelector('#player').currentTime = 4.8")  # paused: the page stays where it is
    expect(page.locator(".word.now")).not_to_be_in_viewport()
    page.evaluate("document.querySelector('#player').play()")
    expect(page.locator(".word.now")).to_be_in_viewport()
    assert page.evaluate("document.querySelector('#player').paused") is False
    page.locator(".word").last.scroll_into_view_if_needed()
    expect(page.locator("#player")).to_be_in_viewport(ratio=1)


def test_by_keyboard_alone(page: Page, speech: Path) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "file"
    choose(page, speech)
    expect(page.locator(".word").first).to_be_visible()
    page.locator("#player").focus()
    while page.evaluate("!document.activeElement.classList.contains('word')"):
        page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#tip")).to_contain_text("0.80 s")
    page.keyboard.press("Control+ArrowRight")
    expect(page.locator(".word >> nth=2")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".word.now")).to_have_count(1)
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.textContent") == TEXT.split()[-1]


def download(page: Page, button: str) -> tuple[str, str]:
    """Name and content of what a button gives."""
    with page.expect_download() as download:
        page.click(button)
    return download.value.suggested_filename, Path(download.value.path()).read_text()


def test_downloads(page: Page, page_server: Server, speech: Path) -> None:
    choose(page, speech)
    expect(page.locator(".word").first).to_be_visible()
    calls = page_server.fake.calls
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    assert download(page, "#txt") == ("my speech.txt", "\n".join(SENTENCES) + "\n")
    assert not any("transcriptions" in url for url in sent)  # the page has the text
    (srt_name, srt), (vtt_name, vtt) = download(page, "[data-format=srt]"), download(page, "[data-format=vtt]")
    assert (srt_name, vtt_name) == ("my speech.srt", "my speech.vtt")
    assert text_of(read_srt(srt)) == TEXT
    assert read_vtt(vtt) == read_srt(srt)
    assert page_server.fake.calls == calls  # the server remembers; nothing is transcribed again


def test_a_download_can_be_watched_and_cancelled(page: Page, speech: Path) -> None:
    choose(page, speech)
    expect(page.locator(".word").first).to_be_visible()
    page.route("**/v1/audio/transcriptions", lambda route: None)  # no answer
    page.click("[data-format=vtt]")
    expect(page.locator("#work-text")).to_be_visible()
    expect(page.locator(".word").first).to_be_visible()
    page.click("#cancel")
    expect(page.locator("#work")).to_be_hidden()
    expect(page.locator(".word").first).to_be_visible()


def test_errors_are_readable(page: Page, tmp_path: Path) -> None:
    (tmp_path / "notes.wav").write_text("these are notes")
    choose(page, tmp_path / "notes.wav")
    expect(page.locator("#problem-text")).to_contain_text("not audio that can be read")
    expect(page.locator("#problem-id")).to_contain_text("req_")


def refuse(page: Page, status: int, code: str) -> None:
    """Answer what the page asks for with an error, until `page.unroute_all()`."""
    error = {"error": {"message": f"told {code}", "code": code}}
    page.route("**/v1/audio/transcriptions", lambda route: route.fulfill(status=status, json=error))


def test_a_download_that_fails_leaves_the_transcript(page: Page, speech: Path) -> None:
    choose(page, speech)
    expect(page.locator(".word").first).to_be_visible()
    refuse(page, 429, "rate_limit_exceeded")
    page.click("[data-format=srt]")
    expect(page.locator("#problem-text")).to_have_text("told rate_limit_exceeded")
    expect(page.locator(".word").first).to_be_visible()
    page.unroute_all()
    with page.expect_download():
        page.click("#again")
    expect(page.locator("#problem")).to_be_hidden()
    refuse(page, 401, "invalid_api_key")
    page.click("[data-format=srt]")
    expect(page.locator("#key")).to_be_focused()
    expect(page.locator(".word").first).to_be_visible()


def test_a_later_upload_that_ends_badly_leaves_the_transcript(page: Page, page_server: Server, tmp_path: Path) -> None:
    (tmp_path / "first.wav").write_bytes(wav(1.5))
    (tmp_path / "later.wav").write_bytes(wav(1.75))
    (tmp_path / "notes.wav").write_text("these are notes")
    choose(page, tmp_path / "first.wav")
    expect(page.locator(".word").first).to_be_visible()
    page_server.fake.hold()
    choose(page, tmp_path / "later.wav")
    expect(page.locator(".word").first).to_be_hidden()
    page.click("#cancel")
    expect(page.locator(".word").first).to_be_visible()
    page_server.fake.release()
    choose(page, tmp_path / "notes.wav")
    expect(page.locator("#problem-text")).to_contain_text("not audio that can be read")
    expect(page.locator("#again")).to_be_hidden()  # it would be no different
    expect(page.locator(".word").first).to_be_visible()
    expect(page.locator("#name")).to_have_text("first.wav")


def test_silence(page: Page, tmp_path: Path) -> None:
    (tmp_path / "silence.wav").write_bytes(wav(1.0, amplitude=0))
    choose(page, tmp_path / "silence.wav")
    expect(page.locator("#transcript")).to_have_text("No speech was heard.")


def test_the_page_asks_for_a_key_where_one_is_needed(browser: Browser, speech: Path, tmp_path: Path) -> None:
    secret = KeyFile(tmp_path).create("ada")
    other = KeyFile(tmp_path).create("prometheus", scopes=("metrics",))
    context = browser.new_context()
    with serving(Settings(state_dir=tmp_path), FakeTranscriber()) as server:
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.goto(server.url)
        choose(page, speech)
        for sent, wrong in (("wrong", "not valid"), ("kľúč", "no key"), (other, "scope")):
            page.fill("#key", sent)
            page.keyboard.press("Enter")
            expect(page.locator("#ask-why")).to_contain_text(wrong)
            assert page.evaluate("sessionStorage.length") == 0
        page.fill("#key", secret)
        page.keyboard.press("Enter")
        expect(page.locator(".word")).to_have_count(len(TEXT.split()))
        expect(page.locator("#ask")).to_be_hidden()
        page.reload()
        choose(page, speech)  # the key is still there
        expect(page.locator(".word")).to_have_count(len(TEXT.split()))
        context.close()


def test_nothing_comes_from_elsewhere(browser: Browser, page_server: Server) -> None:
    context = browser.new_context()
    page = context.new_page()
    urls: list[str] = []
    page.on("request", lambda sent: urls.append(sent.url))
    page.goto(page_server.url)
    expect(page.locator("#model")).to_have_text("fake-base")
    context.close()
    assert len(urls) >= 4
    assert all(url.startswith(page_server.url) for url in urls)
