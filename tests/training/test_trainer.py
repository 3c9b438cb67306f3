"""Training, resuming and refusing, on a corpus of tones that a tiny network learns in seconds."""

import io
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from rich.console import Console
from torch import nn

from model.acoustic_model import AcousticModel
from model.checkpoint import Bundle, load_bundle, save_bundle
from model.phones import N_PHONES
from model.transcriber import Transcriber
from training import trainer
from training.corpora import Utterance, read_corpus, write_manifest
from training.errors import CorpusError, DivergedError, RecipeError, StorageError
from training.evaluate import evaluate
from training.objectives import Losses, Objective, ObjectiveConfig
from training.progress import ProgressReport
from training.recipe import Recipe
from training.trainer import schedule, train

QUIET = ProgressReport(quiet=True)
KILLS = int(os.environ.get("CEPSTRA_KILLS", "2"))  # `make prove-resume` asks for many


def with_epochs(recipe: Recipe, epochs: int) -> Recipe:
    return replace(recipe, optimizer=replace(recipe.optimizer, epochs=epochs))


def history(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]


def results(out: Path) -> list[tuple[float, float]]:
    return [(line["loss"], line.get("dev_cer", math.nan)) for line in history(out)]


def test_a_tiny_network_learns_what_it_is_taught(tiny_recipe: Recipe, tmp_path: Path) -> None:
    recipe = replace(
        with_epochs(tiny_recipe, 45),
        evaluate_every=45,
        augment=replace(tiny_recipe.augment, speeds=(1.0,), gain_db=0.0, freq_masks=0, time_masks=0),
        acoustic_model=replace(tiny_recipe.acoustic_model, hidden_size=32, dropout=0.0),
    )
    bundle = train(recipe, tmp_path, accelerator="cpu", report=QUIET)
    losses = [line["loss"] for line in history(tmp_path)]
    assert losses[-1] < 0.05 * losses[0]
    assert history(tmp_path)[-1]["dev_wer"] == evaluate(load_bundle(bundle), recipe.data.dev).wer
    (utterance,) = [u for u in read_corpus(recipe.data.dev) if u.transcript == "CAB A"]
    assert Transcriber.from_bundle(bundle).transcribe(utterance.path).text == "cab a"
    record = load_bundle(bundle).training
    assert record["passes"] == 45
    assert record["utterances"] == 12
    assert record["hours"] == pytest.approx(sum(u.duration_s for u in read_corpus(recipe.data.dev)) / 3600, abs=1e-3)


def command(recipe_file: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "cli", "train", str(recipe_file), "--out", str(out), "--accelerator", "cpu"]


def test_killed_at_any_moment_a_run_goes_on_to_the_same_losses(tiny_recipe: Recipe, tmp_path: Path) -> None:
    joined = replace(tiny_recipe, augment=replace(tiny_recipe.augment, join_probability=0.4))
    recipe = with_epochs(joined, 6 * KILLS)
    train(recipe, tmp_path / "undisturbed", accelerator="cpu", report=QUIET)
    recipe_file = tmp_path / "tiny.yaml"
    recipe_file.write_text(yaml.safe_dump(json.loads(json.dumps(asdict(recipe)))))
    out = tmp_path / "killed"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    kills = 0
    waits_s = random.Random(7)
    for wait_s in [waits_s.uniform(0.0, 0.4) for _ in range(KILLS)] + [None]:
        process = subprocess.Popen(command(recipe_file, out), env=environment, stderr=subprocess.PIPE)
        if wait_s is None:
            _, stderr = process.communicate(timeout=600)
            assert process.returncode == 0, stderr.decode()
            continue
        before = checkpoint_time(out)
        while process.poll() is None and checkpoint_time(out) == before:
            time.sleep(0.005)  # until this life has written a checkpoint of its own
        time.sleep(wait_s)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
    assert kills >= KILLS / 2  # a run that had ended before it was to be killed does not count
    assert results(out) == results(tmp_path / "undisturbed")
    whole, resumed = load_bundle(tmp_path / "undisturbed" / "bundle"), load_bundle(out / "bundle")
    for name, weight in whole.acoustic_model.state_dict().items():
        assert torch.equal(weight, resumed.acoustic_model.state_dict()[name]), name


def checkpoint_time(out: Path) -> int:
    checkpoint = out / "last.ckpt"
    return checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0


def test_two_processes_give_the_losses_of_one(tiny_recipe: Recipe, tmp_path: Path) -> None:
    recipe = replace(
        with_epochs(tiny_recipe, 3),
        augment=replace(tiny_recipe.augment, join_probability=0.4),
        checkpoint_minutes=0.0003,  # 18 ms: the clocks of two processes disagree about it now and then
        acoustic_model=replace(tiny_recipe.acoustic_model, dropout=0.0),
    )
    recipe_file = tmp_path / "tiny.yaml"
    recipe_file.write_text(yaml.safe_dump(json.loads(json.dumps(asdict(recipe)))))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def run(out: Path, processes: int, epochs: int) -> list[float]:
        arguments = ["--devices", str(processes), "--epochs", str(epochs)]
        subprocess.run(
            [*command(recipe_file, out), *arguments], env=environment, check=True, capture_output=True, timeout=120
        )
        return [line["loss"] for line in history(out)]

    one = run(tmp_path / "one", 1, 3)
    two = run(tmp_path / "two", 2, 3)
    assert two == pytest.approx(one, rel=1e-4)
    longer = [run(tmp_path / "two", processes, epochs) for processes, epochs in ((2, 4), (1, 5))]
    assert [len(losses) for losses in longer] == [4, 5]  # resumed, by as many processes and by fewer
    assert longer[1][:3] == two


def test_a_run_can_be_made_longer_but_not_otherwise_changed(tiny_recipe: Recipe, tmp_path: Path) -> None:
    train(with_epochs(tiny_recipe, 1), tmp_path, accelerator="cpu", report=QUIET)
    train(with_epochs(tiny_recipe, 2), tmp_path, accelerator="cpu", report=QUIET)
    assert [line["epoch"] for line in history(tmp_path)] == [1, 2]
    with pytest.raises(RecipeError, match="holds a run of another recipe"):
        train(replace(tiny_recipe, seed=2), tmp_path, accelerator="cpu", report=QUIET)


def test_a_warm_start_begins_with_the_bundle_it_is_given(tiny_recipe: Recipe, tmp_path: Path) -> None:
    first = train(with_epochs(tiny_recipe, 12), tmp_path / "first", accelerator="cpu", report=QUIET)
    gentle = replace(tiny_recipe, optimizer=replace(tiny_recipe.optimizer, epochs=1, peak_lr=1e-6))
    train(gentle, tmp_path / "second", warm_start=first, accelerator="cpu", report=QUIET)
    cold = results(tmp_path / "first")
    assert results(tmp_path / "second")[0][0] < 0.5 * (cold[0][0] + cold[-1][0])
    assert load_bundle(tmp_path / "second" / "bundle").training["warm_start"] == str(first)


def test_a_warm_start_may_have_frames_at_another_distance(tiny_recipe: Recipe, tmp_path: Path) -> None:
    first = train(with_epochs(tiny_recipe, 12), tmp_path / "first", accelerator="cpu", report=QUIET)
    gentle = replace(tiny_recipe.optimizer, epochs=1, peak_lr=1e-6)
    denser = replace(tiny_recipe, optimizer=gentle, front_end=replace(tiny_recipe.front_end, hop_ms=8.0))
    path = train(denser, tmp_path / "second", warm_start=first, accelerator="cpu", report=QUIET)
    assert load_bundle(path).front_end.config.hop_ms == 8.0
    assert results(tmp_path / "second")[0][0] < results(tmp_path / "first")[0][0]


def test_a_warm_start_leaves_the_speller_to_be_trained_anew(tiny_recipe: Recipe, tmp_path: Path) -> None:
    plain = load_bundle(train(with_epochs(tiny_recipe, 1), tmp_path / "first", accelerator="cpu", report=QUIET))
    config = replace(plain.acoustic_model.config, n_phones=N_PHONES, spelling_layers=2, spelling_size=8)
    save_bundle(replace(plain, acoustic_model=AcousticModel(config).eval()), tmp_path / "spelling")
    (tmp_path / "tones.dict").write_text("abc AA B S\n")
    spoken = replace(
        with_epochs(tiny_recipe, 1),
        acoustic_model=replace(tiny_recipe.acoustic_model, n_phones=N_PHONES),
        objective=ObjectiveConfig(phone_weight=1.0, phone_dictionary=str(tmp_path / "tones.dict")),
    )
    path = train(spoken, tmp_path / "second", warm_start=tmp_path / "spelling", accelerator="cpu", report=QUIET)
    assert load_bundle(path).acoustic_model.config == spoken.acoustic_model


def test_a_warm_start_of_other_sizes_is_refused(tiny_recipe: Recipe, tmp_path: Path) -> None:
    first = train(with_epochs(tiny_recipe, 1), tmp_path / "first", accelerator="cpu", report=QUIET)
    wider = replace(tiny_recipe, acoustic_model=replace(tiny_recipe.acoustic_model, hidden_size=25))
    with pytest.raises(RecipeError, match=r"hidden_size=24.*hidden_size=25"):
        train(wider, tmp_path / "wider", warm_start=first, accelerator="cpu", report=QUIET)
    other = replace(tiny_recipe, front_end=replace(tiny_recipe.front_end, f_max_hz=5000.0))
    with pytest.raises(RecipeError, match=r"f_max_hz=4000.*f_max_hz=5000"):
        train(other, tmp_path / "other", warm_start=first, accelerator="cpu", report=QUIET)


def test_an_infinite_loss_stops_with_the_batch_named(
    tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = Objective.losses
    calls = 0

    def explode_in_the_fourth_batch(*arguments: Any) -> Losses:
        nonlocal calls
        calls += 1
        losses = honest(*arguments)
        return replace(losses, total=losses.total * math.nan) if calls == 4 else losses

    monkeypatch.setattr(Objective, "losses", explode_in_the_fourth_batch)
    with pytest.raises(DivergedError, match=r"loss is nan; pass \d+, batch \d+ \(.+\).*last\.ckpt"):
        train(tiny_recipe, tmp_path, accelerator="cpu", report=QUIET)
    monkeypatch.undo()
    train(tiny_recipe, tmp_path, accelerator="cpu", report=QUIET)
    assert all(math.isfinite(loss) for loss, _ in results(tmp_path))


def test_a_gradient_that_is_no_number_stops_before_it_spoils_anything(
    tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = Objective.losses

    def root_of_nothing(*arguments: Any) -> Losses:
        losses = honest(*arguments)
        at_zero = torch.sqrt(losses.total * 0)  # 0, with an infinite slope
        return replace(losses, total=losses.total + at_zero)

    monkeypatch.setattr(Objective, "losses", root_of_nothing)
    with pytest.raises(
        DivergedError, match=r"gradient's norm is nan.*pass 1, batch 1 \(.+\).*there is no checkpoint yet"
    ):
        train(tiny_recipe, tmp_path, accelerator="cpu", report=QUIET)
    monkeypatch.undo()
    train(tiny_recipe, tmp_path, accelerator="cpu", report=QUIET)
    train(tiny_recipe, tmp_path / "undisturbed", accelerator="cpu", report=QUIET)
    assert results(tmp_path) == results(tmp_path / "undisturbed")


def test_a_gradient_of_muon_that_is_no_number_is_noticed_too(
    tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its matrices are not among those whose norm is bounded, and nothing that AdamW moves is touched here."""
    honest = Objective.losses

    def broken(objective: Objective, network: nn.Module, *arguments: Any) -> Losses:
        recurrent = next(p for name, p in network.named_parameters() if "weight_hh" in name)
        recurrent.register_hook(lambda gradient: gradient * math.nan)  # type: ignore[no-untyped-call]  # of torch
        return honest(objective, network, *arguments)

    monkeypatch.setattr(Objective, "losses", broken)
    recipe = replace(tiny_recipe, optimizer=replace(tiny_recipe.optimizer, muon_lr=1e-3))
    with pytest.raises(DivergedError, match=r"gradient's norm is nan.*pass 1, batch 1 \(.+\)"):
        train(recipe, tmp_path, accelerator="cpu", report=QUIET)


def test_a_run_does_not_go_on_with_other_utterances(tiny_recipe: Recipe, tones_manifest: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "corpus.tsv"
    write_manifest(read_corpus(tones_manifest), manifest)
    recipe = replace(with_epochs(tiny_recipe, 1), data=replace(tiny_recipe.data, train=(str(manifest),)))
    train(recipe, tmp_path / "run", accelerator="cpu", report=QUIET)
    write_manifest(read_corpus(tones_manifest)[:6], manifest)
    with pytest.raises(RecipeError, match="holds a run of other utterances"):
        train(with_epochs(recipe, 2), tmp_path / "run", accelerator="cpu", report=QUIET)
    write_manifest(read_corpus(tones_manifest), manifest)
    train(with_epochs(recipe, 2), tmp_path / "run", accelerator="cpu", report=QUIET)
    assert len(history(tmp_path / "run")) == 2


def test_an_exploding_loss_stops_and_the_checkpoint_is_from_before(
    tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(with_epochs(tiny_recipe, 36), evaluate_every=36, checkpoint_minutes=0.01)
    monkeypatch.setattr(trainer, "schedule", lambda share, warmup: 1e3 if share > 0.5 else schedule(share, warmup))
    with pytest.raises(DivergedError, match=r"(explodes|gradient's norm is).*pass \d+, batch \d+ \(.+\).*last\.ckpt"):
        train(recipe, tmp_path, accelerator="cpu", report=QUIET)
    before = torch.load(tmp_path / "last.ckpt", weights_only=True)["position"]["watch"]
    assert before["mean_nats"] < 6
    monkeypatch.undo()
    train(recipe, tmp_path, accelerator="cpu", report=QUIET)
    assert len(history(tmp_path)) == 36
    assert history(tmp_path)[-1]["loss"] < 2 * before["lowest_nats"]


def test_a_network_that_emits_only_blanks_is_said(
    tiny_recipe: Recipe, tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.no_grad():
        tiny_bundle.acoustic_model.head.bias[0] = 50.0
    save_bundle(tiny_bundle, tmp_path / "blank")
    monkeypatch.setattr(trainer, "WER_EVERY", 1)
    slow = replace(tiny_recipe.optimizer, peak_lr=1e-9, epochs=5)
    said = io.StringIO()
    train(
        replace(tiny_recipe, optimizer=slow),
        tmp_path / "run",
        warm_start=tmp_path / "blank",
        accelerator="cpu",
        report=ProgressReport(console=Console(file=said)),
    )
    assert "nothing but blanks in 10 looks" in said.getvalue()


def test_a_checkpoint_from_before_an_option_existed_goes_on(tiny_recipe: Recipe, tmp_path: Path) -> None:
    train(with_epochs(tiny_recipe, 1), tmp_path, accelerator="cpu", report=QUIET)
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)
    values = json.loads(state["recipe"])
    del values["augment"]["time_mask_share"]  # tiny_recipe has its default
    (optimizer,) = state.pop("optimizers")  # from before there could be two
    torch.save({**state, "recipe": json.dumps(values), "optimizer": optimizer}, tmp_path / "last.ckpt")
    train(with_epochs(tiny_recipe, 2), tmp_path, accelerator="cpu", report=QUIET)
    assert len(history(tmp_path)) == 2
    other = replace(tiny_recipe, augment=replace(tiny_recipe.augment, time_mask_share=0.5))
    with pytest.raises(RecipeError, match="another recipe"):
        train(other, tmp_path, accelerator="cpu", report=QUIET)


def test_a_full_disk_is_said_and_the_last_checkpoint_kept(
    tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(with_epochs(tiny_recipe, 1), tmp_path, accelerator="cpu", report=QUIET)
    kept = (tmp_path / "last.ckpt").read_bytes()

    def no_space(_state: object, path: Path) -> None:
        path.write_bytes(b"half a checkpo")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", no_space)
    with pytest.raises(StorageError, match="No space left on device"):
        train(with_epochs(tiny_recipe, 2), tmp_path, accelerator="cpu", report=QUIET)
    assert (tmp_path / "last.ckpt").read_bytes() == kept
    assert not list(tmp_path.glob(".*.tmp"))


def corpus_with(tones: Path, folder: Path, *extra: Utterance, copies: int = 1) -> str:
    write_manifest([*(read_corpus(tones) * copies), *extra], folder / "corpus.tsv")
    return str(folder / "corpus.tsv")


def refused(recipe: Recipe, corpus: str, out: Path) -> str:
    with pytest.raises(CorpusError) as refusal:
        train(replace(recipe, data=replace(recipe.data, train=(corpus,))), out, accelerator="cpu", report=QUIET)
    return str(refusal.value)


def test_targets_longer_than_their_frames_are_refused_by_name(
    tiny_recipe: Recipe, tones_manifest: Path, tmp_path: Path
) -> None:
    clip = read_corpus(tones_manifest)[0]
    chatter = replace(clip, id="chatterbox", transcript="A B C " * 40)
    message = refused(tiny_recipe, corpus_with(tones_manifest, tmp_path, chatter), tmp_path / "run")
    assert "1 of 13" in message
    assert "target longer than its frames" in message
    assert "chatterbox: 239 units" in message


def test_characters_without_a_unit_are_refused_by_name(
    tiny_recipe: Recipe, tones_manifest: Path, tmp_path: Path
) -> None:
    odd = replace(read_corpus(tones_manifest)[0], id="odd", transcript="7 B")
    message = refused(tiny_recipe, corpus_with(tones_manifest, tmp_path, odd), tmp_path / "run")
    assert "'7'" in message
    assert "odd" in message


def test_one_utterance_in_a_hundred_that_cannot_be_used_is_left_out(
    tiny_recipe: Recipe, tones_manifest: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    odd = replace(read_corpus(tones_manifest)[0], id="odd", transcript="7 B")
    corpus = corpus_with(tones_manifest, tmp_path, odd, copies=9)
    recipe = replace(with_epochs(tiny_recipe, 1), data=replace(tiny_recipe.data, train=(corpus,), dev=""))
    bundle = train(recipe, tmp_path / "run", accelerator="cpu", report=QUIET)
    assert load_bundle(bundle).training["utterances"] == 108
    assert "left out" in caplog.text
    assert "odd" in caplog.text


def test_a_corpus_whose_audio_cannot_be_read_is_refused(
    tiny_recipe: Recipe, tones_manifest: Path, tmp_path: Path
) -> None:
    (tmp_path / "noise.wav").write_bytes(os.urandom(2000))
    broken = Utterance("broken", tmp_path / "noise.wav", "A", "", 1.0)
    message = refused(tiny_recipe, corpus_with(tones_manifest, tmp_path, broken), tmp_path / "run")
    assert "audio that cannot be read" in message
    assert "noise.wav" in message


def test_processes_count_audio_that_cannot_be_read_together_and_end_together(
    tiny_recipe: Recipe, tones_manifest: Path, tmp_path: Path
) -> None:
    """One of two would tolerate its own broken file: 1 of 110. They are the longest, so that each gets one."""
    (tmp_path / "noise.wav").write_bytes(os.urandom(2000))
    (tmp_path / "other.wav").write_bytes(os.urandom(2000))
    broken = [Utterance(name, tmp_path / f"{name}.wav", "A", "", 2.0) for name in ("noise", "other")]
    corpus = corpus_with(tones_manifest, tmp_path, *broken, copies=9)
    data = replace(tiny_recipe.data, train=(corpus,), dev="", max_batch_s=16.0)
    recipe_file = tmp_path / "tiny.yaml"
    recipe_file.write_text(
        yaml.safe_dump(json.loads(json.dumps(asdict(replace(with_epochs(tiny_recipe, 1), data=data)))))
    )
    run = subprocess.run(
        [*command(recipe_file, tmp_path / "run"), "--devices", "2"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 1
    assert "cepstra: 2 of 110 utterances have audio that cannot be read" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_process_whose_companion_is_killed_says_so_in_a_line(tiny_recipe: Recipe, tmp_path: Path) -> None:
    recipe_file = tmp_path / "tiny.yaml"
    recipe_file.write_text(yaml.safe_dump(json.loads(json.dumps(asdict(with_epochs(tiny_recipe, 10_000))))))
    out, log = tmp_path / "run", tmp_path / "log"
    with log.open("w") as stream:
        first = subprocess.Popen(
            [*command(recipe_file, out), "--devices", "2"],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=stream,
            stderr=stream,
        )
        deadline = time.monotonic() + 90
        while not checkpoint_time(out) and time.monotonic() < deadline:
            time.sleep(0.1)
        first.kill()
        first.wait()
    while "another process" not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert "cepstra: another process of this run has ended" in log.read_text()
    assert "Traceback" not in log.read_text()


def test_an_accelerator_that_is_not_there_is_named(
    tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for accelerator, message in (("gpu0", "accelerator is 'gpu0'; auto, cpu and cuda"), ("cuda", "use cpu")):
        with pytest.raises(RecipeError, match=message):
            train(tiny_recipe, tmp_path / "run", accelerator=accelerator, report=QUIET)
    assert not (tmp_path / "run").exists()


def test_a_damaged_checkpoint_is_named_and_left_as_it_is(tiny_recipe: Recipe, tmp_path: Path) -> None:
    recipe = replace(with_epochs(tiny_recipe, 1), data=replace(tiny_recipe.data, dev=""))
    train(recipe, tmp_path, accelerator="cpu", report=QUIET)
    checkpoint = tmp_path / "last.ckpt"
    whole = checkpoint.read_bytes()
    for damaged in (b"", b"hello", whole[: len(whole) // 2]):
        checkpoint.write_bytes(damaged)
        with pytest.raises(StorageError, match=r"last\.ckpt is damaged: .*remove it to begin anew") as refusal:
            train(recipe, tmp_path, accelerator="cpu", report=QUIET)
        assert "\n" not in str(refusal.value)
        assert checkpoint.read_bytes() == damaged


def test_an_over_long_utterance_is_left_out_by_name(
    tiny_recipe: Recipe, tones_manifest: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = replace(with_epochs(tiny_recipe, 1), data=replace(tiny_recipe.data, dev="", max_utterance_s=1.15))
    bundle = train(recipe, tmp_path, accelerator="cpu", report=QUIET)
    longer = [u.id for u in read_corpus(tones_manifest) if u.duration_s > 1.15]
    assert longer
    assert load_bundle(bundle).training["utterances"] == 12 - len(longer)
    assert all(f"{name}: " in caplog.text for name in longer)


def test_the_learning_rate_rises_and_falls(tiny_recipe: Recipe) -> None:
    shares = [i / 1000 for i in range(1001)]
    warmup_share = tiny_recipe.optimizer.warmup_share
    rates = [schedule(share, warmup_share) for share in shares]
    top = rates.index(max(rates))
    assert shares[top] == pytest.approx(warmup_share, abs=2e-3)
    assert max(rates) == pytest.approx(1, rel=1e-3)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[0] > 0
    assert rates[-1] == pytest.approx(0, abs=1e-12)
