"""What is seen of a transcription against it, and the gates against the layers and against each other."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch

from features.audio import Waveform, decode_audio
from features.errors import AudioError
from model.checkpoint import Bundle
from model.errors import OptionError
from model.inspect import BLANK, LONGEST_S, QUANTITIES, Inspection, inspect_audio
from model.transcriber import Transcriber
from tests.model.conftest import BundleMaker

RATE_HZ = 16_000


@pytest.fixture(scope="module")
def clock(clips_folder: Path) -> Path:
    return clips_folder / "clock.flac"


@pytest.fixture(scope="module")
def inside(shipped_bundle: Bundle, clock: Path) -> Inspection:
    return inspect_audio(shipped_bundle, clock)


def test_what_is_seen_is_what_is_served(shipped_transcriber: Transcriber, clock: Path, inside: Inspection) -> None:
    assert inside.transcript == shipped_transcriber.transcribe(clock, alternatives=5)
    assert inside.transcript.text == "nobody knew why the old clock had stopped at noon"
    assert any(word.alternatives for word in inside.transcript.words)
    waveform = decode_audio(clock)
    np.testing.assert_array_equal(inside.samples_N, waveform.samples_N)
    seen_SO = np.concatenate([head.log_probs_SU for head in inside.heads], axis=1)
    np.testing.assert_allclose(seen_SO, shipped_transcriber.log_probs(waveform), rtol=0, atol=1e-5)


def test_units_have_the_names_by_which_the_words_can_be_read(inside: Inspection) -> None:
    said = {}
    for head in inside.heads:
        best = [head.units[unit] for unit in head.log_probs_SU.argmax(1)]
        units = [unit for unit, before in zip(best, [BLANK, *best], strict=False) if unit not in (BLANK, before)]
        said[head.name] = ("" if head.name.startswith("letters") else "-").join(units)
    assert list(said) == ["letters", "letters as spelled", "phones"]
    assert "the old clock had" in said["letters as spelled"]
    assert "K-L-AA-K" in said["phones"]


@pytest.mark.parametrize("options", [{}, {"utterance_mean": False, "subsampling": 2}, {"n_layers": 3}])
def test_the_layers_are_made_of_the_gates(make_bundle: BundleMaker, clock: Path, options: dict[str, int]) -> None:
    """Each layer adds what its cells show: their hidden states in both directions."""
    bundle = make_bundle(0, **options)
    seen = inspect_audio(bundle, Waveform(decode_audio(clock).samples_N[: 2 * RATE_HZ]))
    features_BTF = torch.from_numpy(seen.features_TF).unsqueeze(0)
    assert not features_BTF.isnan().any()
    outputs, _ = bundle.acoustic_model.encode(features_BTF, torch.tensor([features_BTF.shape[1]]))
    hidden_LDSH = torch.from_numpy(seen.gates_LDQSH[:, :, QUANTITIES.index("hidden")])
    assert len(hidden_LDSH) == len(outputs)
    for number in range(1, len(outputs)):
        added_SD = (outputs[number] - outputs[number - 1])[0]
        torch.testing.assert_close(torch.cat([*hidden_LDSH[number]], dim=-1), added_SD, rtol=0, atol=1e-5)


def test_gates_obey_the_equations_of_the_cell(inside: Inspection) -> None:
    for layer in inside.gates_LDQSH:
        for direction, gates_QSH in zip(("forward", "backward"), layer, strict=True):
            in_order_QSH = gates_QSH if direction == "forward" else gates_QSH[:, ::-1]
            i, f, o, g, c, h = in_order_QSH
            for gate_SH in (i, f, o):
                assert gate_SH.min() >= 0
                assert gate_SH.max() <= 1
            before_SH = np.concatenate([np.zeros_like(c[:1]), c[:-1]])
            np.testing.assert_allclose(c, f * before_SH + i * g, rtol=0, atol=1e-5)
            np.testing.assert_allclose(h, o * np.tanh(c), rtol=0, atol=1e-5)


def test_where_nobody_speaks_there_is_nothing_to_see(shipped_bundle: Bundle) -> None:
    seen = inspect_audio(shipped_bundle, Waveform(np.zeros(3 * RATE_HZ, np.float32)), greedy=True)
    assert seen.transcript.text == ""
    assert np.isnan(seen.gates_LDQSH).all()
    assert np.isnan(seen.features_TF).all()
    for head in seen.heads:
        assert (head.log_probs_SU[:, 0] == 0).all()
        assert (head.log_probs_SU[:, 1:] < -20).all()


def test_stretches_between_long_silences_are_seen_where_they_are(shipped_bundle: Bundle, clock: Path) -> None:
    """And heard at all: in one piece with so much silence, their mean would be that of silence."""
    speech_N = decode_audio(clock).samples_N
    ten_s, nine_s = (np.zeros(seconds * RATE_HZ, np.float32) for seconds in (10, 9))
    seen = inspect_audio(shipped_bundle, Waveform(np.concatenate([ten_s, speech_N, nine_s, speech_N])))
    assert seen.transcript.text == " ".join(["nobody knew why the old clock had stopped at noon"] * 2)
    asked_S = ~np.isnan(seen.gates_LDQSH).all(axis=(0, 1, 2, 4))
    assert not np.isnan(seen.gates_LDQSH[:, :, :, asked_S]).any()
    for pause_s in ((0, 8), (15.5, 20.5)):
        assert not asked_S[slice(*(round(at_s / seen.frame_s) for at_s in pause_s))].any()
    for word in seen.transcript.words:
        assert asked_S[round(word.start_s / seen.frame_s) : round(word.end_s / seen.frame_s)].all()
    given_T, asked_T = ~np.isnan(seen.features_TF).any(1), np.repeat(asked_S, 4)[: len(seen.features_TF)]
    assert not (given_T & ~asked_T).any()
    assert (asked_T & ~given_T).sum() < 2 * 4  # a stretch may end within an output frame


def test_a_part_is_seen_as_if_it_were_all(shipped_bundle: Bundle, clock: Path) -> None:
    samples_N = decode_audio(clock).samples_N
    long_N = np.concatenate([np.zeros(2 * 60 * RATE_HZ, np.float32), samples_N, samples_N])
    part = inspect_audio(shipped_bundle, Waveform(long_N), begin_s=120.5, end_s=122.0)
    alone = inspect_audio(shipped_bundle, Waveform(samples_N[RATE_HZ // 2 : 2 * RATE_HZ]))
    assert part.begin_s == 120.5
    assert part.transcript == alone.transcript
    np.testing.assert_array_equal(part.gates_LDQSH, alone.gates_LDQSH)


@pytest.mark.parametrize(
    ("begin_s", "end_s", "message"),
    [
        (-1.0, None, "from -1 s"),
        (2.0, 1.0, "from 2 s to 1 s is none"),
        (2.0, 2.0, "is none"),
        (2.0, 2.00001, "is none"),
        (float("nan"), None, "from nan s"),
        (0.0, float("nan"), "to nan s"),
        (41.0, None, "ends before 41 s"),
        (0.0, None, "more than 30 s"),
        (0.0, float("inf"), "more than 30 s"),
        (0.0, 1e308, "more than 30 s"),
        (5.0, 5 + LONGEST_S + 0.1, "more than 30 s"),
    ],
)
def test_a_part_that_cannot_be_seen_is_refused(
    tiny_bundle: Bundle, begin_s: float, end_s: float | None, message: str
) -> None:
    forty_s = Waveform(np.zeros(40 * RATE_HZ, np.float32))
    with pytest.raises(OptionError, match=message):
        inspect_audio(tiny_bundle, forty_s, begin_s=begin_s, end_s=end_s)


def test_the_longest_part_is_seen(tiny_bundle: Bundle) -> None:
    forty_s = Waveform(np.zeros(40 * RATE_HZ, np.float32))
    assert inspect_audio(tiny_bundle, forty_s, begin_s=5, end_s=5 + LONGEST_S).transcript.duration_s == LONGEST_S


def test_an_end_that_never_comes_is_that_of_the_audio(tiny_bundle: Bundle) -> None:
    one_s = Waveform(np.zeros(RATE_HZ, np.float32))
    assert inspect_audio(tiny_bundle, one_s, end_s=float("inf")).transcript.duration_s == 1


def test_what_is_no_audio_is_refused(tiny_bundle: Bundle) -> None:
    with pytest.raises(AudioError):
        inspect_audio(tiny_bundle, b"no audio")


def test_arrays_are_read_again_without_pickle(inside: Inspection) -> None:
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **inside.arrays())
    file.seek(0)
    read = np.load(file, allow_pickle=False)
    assert read["gates"].shape == (5, 2, len(QUANTITIES), len(read["phones_log_probs"]), 256)
    for name, array in inside.arrays().items():
        np.testing.assert_array_equal(read[name], array)
    assert list(read["phones_units"][:3]) == [BLANK, " ", "AA"]


def test_the_bundle_is_as_it_was(tiny_bundle: Bundle, clock: Path) -> None:
    inspect_audio(tiny_bundle, clock)
    assert not any(module._forward_pre_hooks for module in tiny_bundle.acoustic_model.modules())
