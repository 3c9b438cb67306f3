"""The report as a file, and as a real browser shows it."""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser
from pathlib import Path

import pytest
import soundfile
from playwright.sync_api import Browser, Page
from typer.testing import CliRunner

import cli
from model.checkpoint import Bundle, save_bundle
from model.transcriber import Transcriber
from tests.service.test_page import browser
from tests.training.conftest import sing
from training.bootstrap import RESAMPLES
from training.breakdown import certainty
from training.corpora import Utterance
from training.errors import ReportError
from training.evaluate import Evaluation, UtteranceResult, evaluate
from training.history import Pass
from training.metrics import character_errors, word_errors
from training.report import Subject, write_report

__all__ = ["browser"]  # the fixture of the page's tests, used here too

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = '<script>window.hacked=1</script><img src="http://evil.example/x.png" onerror="window.hacked=1">"\'{{ 7*7 }}'
SUBJECT = Subject(f"bundle {HOSTILE}", "dev.tsv", date(2026, 11, 21), (("Commit that trained", "abc1234"),))
HISTORY = (Pass(1, 2.5, 1.02, 0.5), Pass(2, 1.5), Pass(3, 1.0, 0.7, 0.3))
# The texts whose contrast with what they stand on is below 4.5, and how light both are.
POOR_CONTRASTS = """() => {
    const channels = text => text.match(/[\\d.]+/g).map(Number);
    const light = rgb => rgb.slice(0, 3).map(c => c / 255)
        .map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const ground = element => {
        for (let at = element; at; at = at.parentElement) {
            const colour = channels(getComputedStyle(at).backgroundColor);
            if (colour.length === 3 || colour[3] === 1) return colour;
        }
        throw "no ground";
    };
    const poor = [];
    for (const element of document.querySelectorAll("body *")) {
        const own = [...element.childNodes].some(n => n.nodeType === 3 && n.data.trim());
        if (!own || element.closest("title, desc")) continue;
        const style = getComputedStyle(element);
        const ink = channels(element.namespaceURI.endsWith("svg") ? style.fill : style.color);
        const [a, b] = [light(ink), light(ground(element))].sort((x, y) => y - x);
        if ((a + 0.05) / (b + 0.05) < 4.5) poor.push([element.className, element.textContent, a, b]);
    }
    return poor;
}"""
# The length of every player's audio, or -1 where it cannot be played; then, how far the first one came.
LENGTHS = """() => Promise.all([...document.querySelectorAll("audio")].map(player => new Promise(done => {
    const look = () => player.error ? done(-1) : player.readyState ? done(player.duration) : setTimeout(look, 20);
    look();
})))"""
PLAY = """async () => {
    const player = document.querySelector("audio");
    player.muted = true;
    await player.play();
    await new Promise(done => { player.ontimeupdate = () => player.currentTime && done(); });
    return player.currentTime;
}"""
VOID = {"meta", "link", "img", "input", "br", "hr", "path", "rect", "circle", "polyline"}


class Outline(HTMLParser):
    """What a page consists of: its elements with their attributes, and their texts, all spaces in them plain."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[list[str]] = []
        self.feed(html)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append([tag, ""])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element[1] += data

    def handle_endtag(self, tag: str) -> None:
        opened, text = self._open.pop()
        assert opened == tag, f"</{tag}> closes <{opened}>"
        self.texts.append((tag, " ".join(text.split())))

    def all(self, tag: str) -> list[str]:
        """The text of every element of that name."""
        return [text for name, text in self.texts if name == tag]

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every element of that name."""
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    """Three speakers; the texts and names of one utterance are hostile."""
    folder = tmp_path_factory.mktemp("audio")
    results: list[UtteranceResult] = []
    for id, speaker, said, heard, text in (
        ("first", "ann", "the cat sat on the mat", "a cat sat on mat", "abc"),
        ("second", "bob", "a dog", "a dog", "cab a b c abc b c"),
        ("third", "cyd", "the sun in the sky", "the son in the sky is", "a b c a b c a b c a b c a b c"),
        (HOSTILE, HOSTILE, f"x {HOSTILE}", "y", "bb"),
    ):
        path = folder / f"{len(results)}.wav"
        samples = sing(text)
        soundfile.write(path, samples, 16_000)
        results.append(
            UtteranceResult(
                Utterance(id, path, said, speaker),
                said,
                heard,
                word_errors([said], [heard]),
                character_errors([said], [heard]),
                len(samples) / 16_000,
                tuple(0.1 + 0.8 / (place + 1) for place in range(len(heard.split()))),
            )
        )
    return Evaluation(tuple(results), sum(result.duration_s for result in results), 0.5)


@pytest.fixture(scope="module")
def page_file(evaluation: Evaluation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(evaluation, SUBJECT, tmp_path_factory.mktemp("report") / "new", history=HISTORY)


@pytest.fixture(scope="module")
def outline(page_file: Path) -> Outline:
    return Outline(page_file.read_text(encoding="utf-8"))


def test_the_head_says_what_was_evaluated(outline: Outline, evaluation: Evaluation) -> None:
    assert outline.all("h1") == [f"{SUBJECT.bundle} on dev.tsv"]
    facts = dict(zip(outline.all("dt"), outline.all("dd"), strict=True))
    assert facts["Corpus"] == "dev.tsv"
    assert facts["Date"] == "2026-11-21"
    assert facts["Utterances"] == "4"
    assert facts["Speakers"] == "4"
    assert facts["Audio"] == f"{evaluation.audio_s / 60:.1f} min"
    assert facts["Commit that trained"] == "abc1234"


def test_the_rates_stand_there_with_their_interval_and_how_it_came_about(
    outline: Outline, evaluation: Evaluation
) -> None:
    sure = certainty(evaluation.results)
    assert sure is not None and sure.by_speaker
    tiles = [text for text in outline.all("p") if "error rate" in text and "interval" in text]
    for tile, rate, interval in zip(
        tiles[:2], (evaluation.wer, evaluation.cer), (sure.words, sure.characters), strict=True
    ):
        assert f"{rate * 100:.1f} %" in tile
        assert f"{interval.low * 100:.1f}–{interval.high * 100:.1f} %" in tile
    how = next(text for text in outline.all("p") if "bootstrap" in text)
    assert f"over speakers: {RESAMPLES:,} times".replace(",", " ") in how
    assert "The seed is 0." in how


def test_the_tables_hold_the_counts(outline: Outline, evaluation: Evaluation) -> None:
    rows = outline.all("tr")
    w, c = evaluation.words, evaluation.characters
    for name, counts in (("words (WER)", w), ("characters (CER)", c)):
        (row,) = (row for row in rows if row.startswith(name))
        assert row.endswith(
            f"{counts.hits}{counts.substitutions}{counts.deletions}{counts.insertions}{counts.reference_units}"
        )
    assert outline.all("caption") == [
        "Errors by kind", "By duration", "By speaker", "Words", "Characters", "Words left out", "Words put in",
    ]  # fmt: skip
    assert any(row.startswith("under 4 s") for row in rows)
    assert {"sunson1", "thea1"} <= set(rows)
    assert {"the1", "is1"} <= set(rows)


def test_the_worst_utterances_are_aligned_and_marked_by_more_than_colour(outline: Outline) -> None:
    articles = outline.all("article")
    assert len(articles) == 3  # one of the four is without error
    assert articles[0].startswith(HOSTILE[:20])
    third = next(article for article in articles if article.startswith("third"))
    assert "sun heard as sonS" in third
    assert "is heard, not said" in third
    first = next(article for article in articles if article.startswith("first"))
    assert "the not heard" in first
    assert len(outline.attributes("audio")) == 3
    assert [label for audio in outline.attributes("audio") if (label := audio["aria-label"])][1:] == ["third", "first"]


def test_fewer_utterances_on_demand(evaluation: Evaluation, tmp_path: Path) -> None:
    one = Outline(write_report(evaluation, SUBJECT, tmp_path, worst=1).read_text())
    assert len(one.all("article")) == 1
    none = Outline(write_report(evaluation, SUBJECT, tmp_path, worst=0).read_text())
    assert none.attributes("audio") == []
    with pytest.raises(ReportError, match="worst is -1"):
        write_report(evaluation, SUBJECT, tmp_path, worst=-1)


def test_learning_curves_only_where_there_is_a_history(
    outline: Outline, evaluation: Evaluation, tmp_path: Path
) -> None:
    assert "How it learned" in outline.all("h2")
    titles = outline.all("title")
    assert {"Training loss", "Error rates on the dev corpus"} <= set(titles)
    assert (
        "WER from 1.02 after pass 1 to 0.7 after pass 3; CER from 0.5 after pass 1 to 0.3 after pass 3."
        in outline.all("desc")
    )
    without = Outline(write_report(evaluation, SUBJECT, tmp_path).read_text())
    assert "How it learned" not in without.all("h2")


def test_what_is_shown_can_be_heard_and_read_by_all(outline: Outline) -> None:
    tables = len(outline.attributes("table"))
    assert len(outline.all("caption")) == tables
    assert all(header.get("scope") in ("col", "row") for header in outline.attributes("th"))
    pictures = [svg for svg in outline.attributes("svg") if svg.get("aria-hidden") != "true"]
    assert len(pictures) == len(outline.all("figure")) == len(outline.all("figcaption")) == 4
    assert all(svg["role"] == "img" and svg["aria-labelledby"] for svg in pictures)
    assert all(outline.all("title")) and all(outline.all("desc"))
    ids = [attributes["id"] for _, attributes in outline.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert outline.attributes("html") == [{"lang": "en"}]


def test_strangers_texts_are_only_text(outline: Outline) -> None:
    assert outline.attributes("script") == outline.attributes("img") == []
    assert not [name for _, attributes in outline.elements for name in attributes if name.startswith("on")]
    assert any(HOSTILE in text for text in outline.all("h3"))


def test_nothing_is_fetched(outline: Outline, page_file: Path) -> None:
    urls = [
        value
        for _, attributes in outline.elements
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "data", "poster", "action", "xlink:href")
    ]
    assert urls and all(url and url.startswith("data:") for url in urls)
    style = "".join(outline.all("style"))
    assert style and "url(" not in style and "@import" not in style
    (policy,) = (meta["content"] for meta in outline.attributes("meta") if "http-equiv" in meta)
    assert policy and policy.startswith("default-src 'none'") and "script-src" not in policy
    # What is left of strangers' addresses is text: nothing else in the file looks like one.
    page = re.sub("http://evil.example", "", page_file.read_text())
    assert "http://" not in page and "https://" not in page


def test_the_same_evaluation_is_the_same_page(evaluation: Evaluation, page_file: Path, tmp_path: Path) -> None:
    again = write_report(evaluation, SUBJECT, tmp_path, history=HISTORY)
    assert again.read_bytes() == page_file.read_bytes()


def test_little_to_report_is_a_page_too(evaluation: Evaluation, tmp_path: Path) -> None:
    silent = replace(
        evaluation.results[1], hypothesis="", words=word_errors(["a dog"], [""]), confidences=(),
        utterance=replace(evaluation.results[1].utterance, path=tmp_path / "gone.wav", speaker=""),
    )  # fmt: skip
    page = Outline(write_report(Evaluation((silent,), 1.0, 0.0), SUBJECT, tmp_path, history=HISTORY[:1]).read_text())
    assert "No such file or directory" in "".join(page.all("article"))
    assert not any("bootstrap" in text for text in page.all("p"))
    assert len(page.all("figure")) == 1
    with pytest.raises(ReportError, match="no utterance"):
        write_report(Evaluation((), 0.0, 0.0), SUBJECT, tmp_path)


def test_a_subject_is_what_the_transcriber_says_of_itself(tiny_bundle: Bundle) -> None:
    bundle = replace(tiny_bundle, training={"hours": 8.0, "passes": 12, "commit": "d050f38"})
    transcriber = Transcriber(bundle)
    subject = Subject.of(transcriber, corpus="dev.tsv", day=date(2026, 1, 2), commit="bad4fc0")
    facts = dict(subject.facts)
    size = sum(parameter.numel() for parameter in bundle.acoustic_model.parameters())
    assert subject.bundle == "tiny"
    assert facts["Parameters"].replace("\u202f", "") == str(size)
    assert (facts["Decoding"], facts["Trained"]) == ("greedy", "8.0 h, 12 passes")
    assert (facts["Commit that trained"], facts["Commit that evaluated"]) == ("d050f38", "bad4fc0")
    assert "Trained" not in dict(Subject.of(Transcriber(tiny_bundle), corpus="", day=date.today(), commit="").facts)


def test_an_evaluation_of_a_bundle_is_reported(tiny_bundle: Bundle, tones_manifest: Path, tmp_path: Path) -> None:
    transcriber = Transcriber(tiny_bundle)
    subject = Subject.of(transcriber, corpus="tones.tsv", day=date(2026, 1, 2), commit="bad4fc0")
    page = Outline(write_report(evaluate(transcriber, tones_manifest), subject, tmp_path).read_text())
    how = next(text for text in page.all("p") if "bootstrap" in text)
    assert "over utterances" in how and "only one" in how  # the tones have one speaker


def test_the_command_writes_it(tiny_bundle: Bundle, tones_manifest: Path, tmp_path: Path) -> None:
    save_bundle(tiny_bundle, tmp_path / "run" / "bundle")
    command = ["evaluate", "--manifest", str(tones_manifest), "--bundle", str(tmp_path / "run" / "bundle")]
    command += ["--limit", "5", "--report", str(tmp_path / "report"), "--worst", "2"]

    def report(*arguments: str) -> Outline:
        done = CliRunner().invoke(cli.app, [*command, *arguments])
        assert done.exit_code == 0, done.output
        assert done.stdout.splitlines()[-1] == str(tmp_path / "report" / "report.html")
        return Outline((tmp_path / "report" / "report.html").read_text())

    page = report()
    assert page.all("h1") == [f"tiny on {tones_manifest}, first 5 utterances"]
    assert len(page.attributes("audio")) == 2
    assert "Training loss" not in page.all("title")
    beside, named = tmp_path / "run" / "history.jsonl", tmp_path / "other.jsonl"
    beside.write_text('{"epoch": 1, "loss": 3}\n{"epoch": 2, "loss": 2}\n')
    named.write_text('{"epoch": 1, "loss": 9}\n{"epoch": 2, "loss": 8}\n')
    assert "loss from 3 after pass 1 to 2 after pass 2." in report().all("desc")
    assert "loss from 9 after pass 1 to 8 after pass 2." in report("--history", str(named)).all("desc")
    named.write_text("nothing")
    refused = CliRunner().invoke(cli.app, [*command, "--history", str(named)])
    assert refused.exit_code == 1
    assert "other.jsonl, line 1" in refused.stderr


def test_what_the_page_is_made_of_is_installed() -> None:
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["*"]
    parts = [path for path in (ROOT / "training").glob("report.*") if path.suffix != ".py"]
    assert {path.name for path in parts} == {"report.html.j2", "report.css"}
    assert all(any(path.match(pattern) for pattern in patterns) for path in parts)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page, as wide as a phone."""
    page = browser.new_page(viewport={"width": 360, "height": 740})
    yield page
    page.close()


def test_a_browser_shows_and_plays_it_and_asks_nobody(page: Page, page_file: Path) -> None:
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(page_file.as_uri())
    assert page.locator("h1").inner_text().endswith("on dev.tsv")
    assert page.locator("figure svg").count() == 4
    box = page.locator("figure svg").first.bounding_box()
    assert box and box["width"] > 200 and box["height"] > 100
    assert page.evaluate("document.documentElement.scrollWidth") <= 360  # nothing sticks out on a phone
    assert all(length_s > 0.3 for length_s in page.evaluate(LENGTHS))
    assert page.evaluate(PLAY) > 0
    assert page.evaluate("window.hacked") is None
    assert [url for url in asked if not url.startswith("data:")] == [page_file.as_uri()]
    assert complaints == []


def test_text_stands_out_in_light_and_dark(page: Page, page_file: Path) -> None:
    """Contrast of at least 4.5 to 1 (WCAG 2.2, 1.4.3) of every text against what it stands on."""
    page.goto(page_file.as_uri())
    grounds = set()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert page.evaluate(POOR_CONTRASTS) == []
    assert len(grounds) == 2
