"""`cepstra pronounce train` and `words` as a person runs them."""

from pathlib import Path

from typer.testing import CliRunner, Result

import cli
from model.letter_to_sound import load_letter_to_sound
from model.phones import PHONE_UNITS, parse_pronunciations

DICTIONARY = ";;; a comment\n" + "".join(
    f"{first}{vowel}{last} {first.upper()} {phone} {last.upper()}\n"
    for first in "bdfgk"
    for vowel, phone in (("a", "AE1"), ("i", "IH1"), ("o", "AA1"))
    for last in "lmnpt"
)


def cepstra(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, ["pronounce", *(str(argument) for argument in arguments)])


def test_from_a_dictionary_to_the_pronunciations_of_a_list(tmp_path: Path) -> None:
    dictionary, model, out = tmp_path / "small.dict", tmp_path / "model.safetensors", tmp_path / "list.dict"
    dictionary.write_text(DICTIONARY + "read R IY1 D\nread(2) R EH1 D # again\n")
    trained = cepstra("train", dictionary, "--out", model, "--held-out", 0.1, "--epochs", 2, "--precision", "fp32")
    assert trained.exit_code == 0, trained.output
    loaded = load_letter_to_sound(model)
    record = loaded.record
    assert (record["dictionary"], record["epochs"], record["recipe"]["seed"]) == ("small.dict", 2, 1)
    assert (record["words"], record["held_out_words"]) == (68, 8)
    rates = f"phone error rate {record['phone_error_rate']:.2%}, word error rate {record['word_error_rate']:.2%}"
    assert trained.stdout == f"{model}: {rates} on 8 words held out, after 2 passes\n"
    assert f"held-out {rates}" in trained.stderr

    (tmp_path / "list.txt").write_text("CEPSTRA 7\nread\n\nzürich\n")
    written = cepstra("words", tmp_path / "list.txt", "--dictionary", dictionary, "--model", model, "--out", out)
    assert written.exit_code == 0, written.output
    assert written.stdout == f"{out}: 2 words, 1 from {dictionary}, 1 by the model; 1 left out\n"
    assert written.stderr.startswith("left out: 'zürich' has the character 'ü'")
    (cepstra_way,) = loaded.pronounce(["cepstra"])
    phones = " ".join(PHONE_UNITS[phone - 1] for phone in cepstra_way)
    assert out.read_text() == f"cepstra {phones}\nread R IY D\nread(2) R EH D\n"
    assert parse_pronunciations(out.read_text())["cepstra"] == (cepstra_way,)


def test_what_is_wrong_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "bad.dict").write_text("the DH QQ\n")
    bad = cepstra("train", tmp_path / "bad.dict", "--out", tmp_path / "model.safetensors")
    assert (bad.exit_code, bad.stderr.count("\n")) == (1, 1)
    assert "bad.dict, line 1: 'QQ' is no phone" in bad.stderr
    share = cepstra("train", tmp_path / "bad.dict", "--out", tmp_path / "model.safetensors", "--held-out", 2)
    assert (share.exit_code, "held_out is 2.0" in share.stderr) == (1, True)
    no_model = cepstra(
        "words", tmp_path / "bad.dict", "--dictionary", tmp_path / "bad.dict", "--model", tmp_path / "bad.dict",
        "--out", tmp_path / "out.dict",
    )  # fmt: skip
    assert (no_model.exit_code, (tmp_path / "out.dict").exists()) == (1, False)
