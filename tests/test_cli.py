"""`cepstra transcribe` and `cepstra --help`; `cepstra serve` is in tests/service/test_real_server.py."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import soundfile
from typer.testing import CliRunner, Result

import cli
from features.audio import decode_audio
from model.checkpoint import Bundle, save_bundle
from model.stream_events import Final
from model.streaming import StreamingConfig
from model.text_format import format_transcript
from model.transcriber import Transcriber
from service.formats import to_json, to_verbose_json
from tests.model.conftest import make_bundle, tiny_bundle
from tests.service.caption_readers import read_srt, read_vtt

__all__ = ["make_bundle", "tiny_bundle"]  # fixtures of the model's tests, used here too

ROOT = Path(__file__).resolve().parents[1]

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Bundle) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "tiny"
    save_bundle(tiny_bundle, path)
    return path


@pytest.fixture
def run(bundle: Path) -> Run:
    """Runs `cepstra transcribe` with the tiny bundle, in this process."""

    def transcribe(*arguments: object, stdin: bytes | None = None) -> Result:
        command = ["transcribe", "--bundle", str(bundle), *map(str, arguments)]
        return CliRunner().invoke(cli.app, command, input=stdin)

    return transcribe


def speech(path: Path, name: str) -> Path:
    """A synthetic clip as WAV; the network is not asked about what cannot be speech."""
    waveform = decode_audio(ROOT / "tests" / "clips" / f"{name}.flac")
    soundfile.write(path, waveform.samples_N, waveform.sample_rate_hz)
    return path


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return speech(tmp_path / "clip.wav", "train")


@pytest.fixture
def other(tmp_path: Path) -> Path:
    return speech(tmp_path / "other [1].wav", "cups")


@pytest.fixture(scope="module")
def transcriber(bundle: Path) -> Transcriber:
    return Transcriber.from_bundle(bundle)


def test_text_alone_goes_to_stdout(run: Run, clip: Path, transcriber: Transcriber) -> None:
    result = run(clip)
    assert result.exit_code == 0
    assert result.stdout == transcriber.transcribe(clip).text + "\n"
    assert str(clip) in result.stderr


@pytest.mark.parametrize("option", ["--format=text", "--format=json", "--format=verbose_json", "--format=srt"])
def test_stdin_is_the_same_as_a_file(run: Run, clip: Path, option: str) -> None:
    assert run("-", option, stdin=clip.read_bytes()).stdout == run(clip, option).stdout != ""


def test_listen_writes_a_line_for_each_utterance(bundle: Path, transcriber: Transcriber) -> None:
    samples_N = decode_audio(ROOT / "tests" / "clips" / "train.flac").samples_N
    pcm = (samples_N * 32767).astype("<i2").tobytes()
    result = CliRunner().invoke(cli.app, ["listen", "--bundle", str(bundle), "--right-context", "0.5"], input=pcm)
    session = transcriber.stream(config=StreamingConfig(right_s=0.5))
    events = [*session.feed(np.frombuffer(pcm, "<i2").astype(np.float32) / 32768), *session.flush()]
    lines = [event.segment.text for event in events if isinstance(event, Final)]
    assert result.exit_code == 0
    assert lines
    assert result.stdout.splitlines() == lines


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--rate", "7000"], 1, "sample rate is 7000 Hz"),
        (["--right-context", "9"], 1, "right context 9.0 s"),
        (["--device", "desk"], 2, "it goes with --microphone"),
        (["--hot-word", "Foster"], 1, "only a language model's search has hot words"),
    ],
)
def test_listen_says_what_is_wrong(bundle: Path, arguments: list[str], status: int, message: str) -> None:
    result = CliRunner().invoke(cli.app, ["listen", "--bundle", str(bundle), *arguments], input=b"")
    assert (result.exit_code, result.stdout) == (status, "")
    assert message in result.stderr


def test_json(run: Run, clip: Path, transcriber: Transcriber) -> None:
    transcript = transcriber.transcribe(clip)
    assert json.loads(run(clip, "--format", "json").stdout) == to_json(transcript)
    verbose = json.loads(run(clip, "--format", "verbose_json").stdout)
    assert verbose == to_verbose_json(transcript, ("segment", "word"))
    assert verbose["words"]


def test_captions(run: Run, clip: Path) -> None:
    as_srt, as_vtt = run(clip, "--format", "srt").stdout, run(clip, "--format", "vtt").stdout
    assert read_srt(as_srt) == read_vtt(as_vtt) != []


@pytest.mark.parametrize("command", [["transcribe", "-"], ["listen"]])
def test_a_closed_standard_input_is_one_line(command: list[str]) -> None:
    closed = ["sh", "-c", '"$@" <&-', "sh", sys.executable, "-m", "cli", *command]
    result = subprocess.run(closed, cwd=ROOT, capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert result.stderr.startswith("cepstra: ")


def test_several_files_in_text_are_a_line_each(run: Run, clip: Path, other: Path, transcriber: Transcriber) -> None:
    assert run(clip, other).stdout.splitlines() == [
        f"{path}\t{transcriber.transcribe(path).text}" for path in (clip, other)
    ]


def test_several_files_in_json_are_an_object_each(run: Run, clip: Path, other: Path) -> None:
    objects = [json.loads(line) for line in run(clip, other, "--format", "json").stdout.splitlines()]
    assert [entry.pop("file") for entry in objects] == [str(clip), str(other)]
    assert objects[1] == json.loads(run(other, "--format", "json").stdout)


def test_a_name_that_is_no_utf8_does_not_end_the_others(run: Run, clip: Path, other: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(clip.parent) + b"/\xff.wav"))
    odd.write_bytes(clip.read_bytes())
    lines = run(odd, other).stdout.splitlines()
    assert [line.split("\t")[0] for line in lines] == [f"{clip.parent}/\ufffd.wav", str(other)]
    objects = [json.loads(line) for line in run(odd, other, "--format", "json").stdout.splitlines()]
    assert [entry["file"] for entry in objects] == [f"{clip.parent}/\ufffd.wav", str(other)]


@pytest.mark.parametrize("caption_format", ["srt", "vtt"])
def test_several_files_make_no_captions(run: Run, clip: Path, other: Path, caption_format: str) -> None:
    result = run(clip, other, "--format", caption_format)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "takes a single file" in result.stderr


def test_bad_files_do_not_stop_the_others(run: Run, clip: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes.wav"
    notes.write_text("these are notes")
    missing = tmp_path / "missing.wav"
    result = run(notes, clip, missing, tmp_path)
    assert result.exit_code == 1
    assert [line.split("\t")[0] for line in result.stdout.splitlines()] == [str(clip)]
    errors = [line for line in result.stderr.splitlines() if line.startswith("cepstra: ")]
    assert len(errors) == 3
    assert errors[0].startswith(f"cepstra: {notes}: not audio")
    assert errors[1:] == [f"cepstra: {missing}: No such file or directory", f"cepstra: {tmp_path}: Is a directory"]


def test_no_bundle(clip: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(cli.app, ["transcribe", str(clip), "--bundle", str(tmp_path / "none")])
    assert (result.exit_code, result.stdout) == (1, "")
    assert str(tmp_path / "none") in result.stderr
    assert "Traceback" not in result.stderr


def test_the_bundle_can_come_from_the_environment(clip: Path, bundle: Path) -> None:
    result = CliRunner().invoke(cli.app, ["transcribe", str(clip)], env={"CEPSTRA_BUNDLE": str(bundle)})
    assert result.exit_code == 0
    assert result.stdout.strip()


@pytest.mark.parametrize("command", ["transcribe", "listen"])
def test_a_full_disk_is_told_in_one_line(clip: Path, bundle: Path, command: str) -> None:
    """In a process of its own: Python writes what is in its buffers once more at the end, with an error of its own."""
    arguments = [command, "--bundle", str(bundle), *([str(clip)] if command == "transcribe" else [])]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "cli", *arguments],
            cwd=ROOT,
            input=(decode_audio(clip).samples_N * 32767).astype("<i2").tobytes(),
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=240,
        )
    said = done.stderr.decode().splitlines()
    assert said[-1] == "cepstra: standard output cannot be written: No space left on device"
    assert len(said) == (2 if command == "transcribe" else 1)  # the first names the file
    assert done.returncode == 1


def test_a_terminal_gets_a_bar(clip: Path, other: Path, bundle: Path) -> None:
    """A process of its own with a terminal for standard error, and a pipe for standard output."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "cli", "transcribe", "--bundle", str(bundle), str(clip), str(other)]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=theirs, env={**os.environ, "TERM": "xterm", "COLUMNS": "200"}
    )
    os.close(theirs)
    shown = b""
    while chunk := read_terminal(ours):
        shown += chunk
    os.close(ours)
    stdout, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert len(stdout.decode().splitlines()) == 2
    assert b"\x1b" not in stdout
    assert b"[1/2]" in shown
    assert "━".encode() in shown


def read_terminal(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # what Linux says when the other end has closed
        return b""


def test_help_names_the_commands() -> None:
    result = CliRunner().invoke(cli.app, ["--help"])
    assert result.exit_code == 0
    assert "serve" in result.stdout
    assert "transcribe" in result.stdout


def test_export_writes_what_onnx_runtime_reads(bundle: Path, tiny_bundle: Bundle, tmp_path: Path) -> None:
    sizes = []
    for options in ([], ["--int8"]):
        path = tmp_path / "model.onnx"
        result = CliRunner().invoke(cli.app, ["export", str(path), "--bundle", str(bundle), *options])
        assert result.exit_code == 0, result.output
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        inputs = {"features": np.zeros((3, 20, 80), np.float32), "lengths": np.array([20, 5, 1])}
        log_probs_BSV, lengths_B = session.run(["log_probs", "output_lengths"], inputs)
        assert log_probs_BSV.shape == (3, 5, tiny_bundle.tokenizer.vocabulary_size)
        assert lengths_B.tolist() == [5, 2, 1]
        sizes.append(path.stat().st_size)
    assert sizes[1] < sizes[0]
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_export_says_what_is_wrong(bundle: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(cli.app, ["export", str(tmp_path / "model.pt"), "--bundle", str(bundle)])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "model.pt does not end in .onnx" in result.stderr
    result = CliRunner().invoke(cli.app, ["export", str(tmp_path / "no" / "model.onnx"), "--bundle", str(bundle)])
    assert result.exit_code == 1
    assert "No such file" in result.stderr


def test_text_can_be_formatted(run: Run, clip: Path, transcriber: Transcriber) -> None:
    result = run("--format-text", clip)
    assert result.exit_code == 0
    assert result.stdout == format_transcript(transcriber.transcribe(clip)).text + "\n" != run(clip).stdout


def test_hot_words_need_a_language_model_and_have_limits(run: Run, clip: Path) -> None:
    result = run("--hot-word", "Birket Foster", "--hot-word-boost", 3, clip)
    assert result.exit_code == 1
    assert "decoded greedily" in result.stderr
    result = run("--hot-word", "Foster", "--hot-word-boost", 21, clip)
    assert result.exit_code == 1
    assert "21; 0 to 20 is possible" in result.stderr
