"""`cepstra data prepare`, `train` and `evaluate` as a person runs them."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import yaml

from model.checkpoint import Bundle, load_bundle, save_bundle
from tests.arpa import word_list_arpa
from training.corpora import read_corpus
from training.recipe import Recipe


def cepstra(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli", *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def test_from_a_corpus_to_a_bundle_to_numbers(tiny_recipe: Recipe, tones_manifest: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "prepared.tsv"
    prepared = cepstra("data", "prepare", tones_manifest, manifest)
    assert prepared.returncode == 0, prepared.stderr
    assert "12 utterances" in prepared.stdout
    assert [u.duration_s for u in read_corpus(manifest)] == [u.duration_s for u in read_corpus(tones_manifest)]

    recipe = replace(tiny_recipe, data=replace(tiny_recipe.data, train=(), dev=""))
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(asdict(recipe)))))
    run = ("train", tmp_path / "tiny.yaml", "--out", tmp_path / "run", "--accelerator", "cpu", "--epochs", 2)
    missing = cepstra(*run)
    assert missing.returncode == 1
    assert "names no training corpus" in missing.stderr
    trained = cepstra(*run, "--train", manifest, "--dev", manifest)
    assert trained.returncode == 0, trained.stderr
    assert trained.stdout.strip() == str(tmp_path / "run" / "bundle")
    assert "pass 2/2" in trained.stderr
    assert list((tmp_path / "run" / "tensorboard").glob("events.*"))

    numbers = tmp_path / "numbers.json"
    evaluated = cepstra(
        "evaluate", "--manifest", manifest, "--bundle", tmp_path / "run" / "bundle", "--greedy", "--json", numbers
    )
    assert evaluated.returncode == 0, evaluated.stderr
    assert "words (WER)" in evaluated.stdout
    assert json.loads(numbers.read_text())["utterances"] == 12


def test_evaluation_takes_a_part(tiny_bundle: Bundle, tones_manifest: Path, tmp_path: Path) -> None:
    save_bundle(tiny_bundle, tmp_path / "bundle")
    shutil.copytree(tones_manifest.parent, tmp_path / "corpus")
    text = tones_manifest.read_text().splitlines()
    marked = ["\t".join([text[0], "set"]), *("\t".join([row, "ab"[i % 2]]) for i, row in enumerate(text[1:]))]
    (tmp_path / "corpus" / "m.tsv").write_text("\n".join(marked) + "\n")
    for arguments, expected in ((("--where", "set=b"), 6), (("--where", "set=b", "--limit", 2), 2)):
        command = ("evaluate", "--manifest", tmp_path / "corpus" / "m.tsv", "--bundle", tmp_path / "bundle")
        result = cepstra(*command, *arguments, "--json", tmp_path / "n.json")
        assert result.returncode == 0, result.stderr
        assert json.loads((tmp_path / "n.json").read_text())["utterances"] == expected


def test_where_numbers_and_report_go_is_made_first_or_refused(
    tiny_bundle: Bundle, tones_manifest: Path, tmp_path: Path
) -> None:
    save_bundle(tiny_bundle, tmp_path / "bundle")
    (tmp_path / "file").write_text("in the way")
    command = ("evaluate", "--manifest", tones_manifest, "--bundle", tmp_path / "bundle", "--limit", 1)
    result = cepstra(*command, "--json", tmp_path / "new" / "n.json", "--report", tmp_path / "new" / "page")
    assert result.returncode == 0, result.stderr
    assert json.loads((tmp_path / "new" / "n.json").read_text())["utterances"] == 1
    refusal = cepstra(*command, "--report", tmp_path / "file")
    assert (refusal.returncode, refusal.stdout) == (1, "")  # said before anything was recognised
    assert refusal.stderr.startswith("cepstra: ") and len(refusal.stderr.splitlines()) == 1


def test_a_language_model_is_attached_and_led_by(tiny_bundle: Bundle, tones_manifest: Path, tmp_path: Path) -> None:
    save_bundle(tiny_bundle, tmp_path / "plain")
    (tmp_path / "words.txt").write_text("ABC 12\nCAB 7\n\n")
    (tmp_path / "words.arpa").write_text(word_list_arpa("ABC", "CAB"))
    arguments = (tmp_path / "plain", tmp_path / "words.arpa", tmp_path / "words.txt", "--out", tmp_path / "led")
    attached = cepstra("lm", "attach", *arguments, "--name", "led", "--word-bonus", 0.5)
    assert attached.returncode == 0, attached.stderr
    assert "2 words" in attached.stdout
    bundle = load_bundle(tmp_path / "led")
    assert bundle.name == "led"
    assert bundle.language_model is not None
    assert bundle.language_model.words == ("ABC", "CAB")
    assert bundle.language_model.search.word_bonus == 0.5
    (tmp_path / "words.txt").write_bytes(b"ABC\ncaf\xe9\n")
    refused = cepstra("lm", "attach", *arguments)
    assert refused.returncode == 1
    assert f"{tmp_path / 'words.txt'} cannot be read: 'utf-8' codec can't decode" in refused.stderr
    assert "Traceback" not in refused.stderr
    (tmp_path / "words.txt").write_text("ABC\nCAB\n")
    (tmp_path / "words.arpa").write_text("nothing")
    refused = cepstra("lm", "attach", *arguments)
    assert refused.returncode == 1
    assert "words.arpa is no language model" in refused.stderr


def test_a_bundle_is_packed_in_place(tiny_bundle: Bundle, tmp_path: Path) -> None:
    save_bundle(tiny_bundle, tmp_path / "bundle")
    before = (tmp_path / "bundle" / "model.safetensors").stat().st_size
    packed = cepstra("pack", tmp_path / "bundle", "--out", tmp_path / "bundle")
    assert packed.returncode == 0, packed.stderr
    assert "MB of weights before" in packed.stdout
    assert (tmp_path / "bundle" / "model.safetensors").stat().st_size < before
    assert load_bundle(tmp_path / "bundle").weight_format == "int8"


@pytest.mark.parametrize(
    ("version", "message"),
    [(99, "has bundle format 99; this version of Cepstra reads formats 1 to 4"), (None, "no bundle at")],
)
def test_a_bundle_that_cannot_be_read_is_said_in_one_line(
    tiny_bundle: Bundle, tones_manifest: Path, tmp_path: Path, version: int | None, message: str
) -> None:
    if version is not None:
        save_bundle(tiny_bundle, tmp_path / "bundle")
        config = json.loads((tmp_path / "bundle" / "config.json").read_text())
        (tmp_path / "bundle" / "config.json").write_text(json.dumps({**config, "format_version": version}))
    result = cepstra("evaluate", "--manifest", tones_manifest, "--bundle", tmp_path / "bundle")
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_refusals_are_one_line_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "m.tsv").write_text("path\ttranscript\nx.wav\t\n")
    for arguments in (
        ("data", "prepare", tmp_path / "m.tsv", tmp_path / "out.tsv"),
        ("data", "prepare", tmp_path / "nothing", tmp_path / "out.tsv"),
        ("train", "no-such-recipe"),
    ):
        result = cepstra(*arguments)
        assert result.returncode == 1
        assert result.stderr.startswith("cepstra: ")
        assert "Traceback" not in result.stderr
    assert cepstra("data", "prepare", tmp_path / "m.tsv", tmp_path / "o.tsv", "--where", "nonsense").returncode == 2
