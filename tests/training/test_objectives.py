"""What is asked of the network besides CTC, against plain loops, truncated networks and formulas written by hand."""

import io
import json
import math
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from features.front_end import FrontEnd, mel_centres
from features.normalization import GlobalCMVN
from model.acoustic_model import AcousticModel
from model.checkpoint import load_bundle
from model.phones import N_PHONES, PHONES
from model.tokenizer import CharacterTokenizer
from training.augment import spec_augment, warp_frequencies
from training.dataset import Batch, SpeechDataset
from training.denominator import PhoneDenominator, phone_trigram
from training.errors import RecipeError
from training.objectives import SECOND_VIEW, Objective, ObjectiveConfig, TrainedNetwork, consistency_loss
from training.phones import PhoneTargets, read_pronunciations
from training.progress import ProgressReport
from training.recipe import Recipe, build_recipe
from training.sampler import BatchPlan
from training.selection import select_utterances
from training.trainer import train

QUIET = ProgressReport(quiet=True)
UNITS = ("blank", "/", *PHONES)  # what the phone head writes
EVERYTHING = ObjectiveConfig(
    consistency_weight=0.2,
    intermediate_weight=0.3,
    intermediate_layers=(1,),
    phone_weight=0.5,
    phone_dictionary="tones.dict",
    phone_mmi=0.9,
)
SPOKEN = ((4, 5, 1, 6), (6, 5, 4))  # phones that a trigram is made of
# What some of the sung "words" might be spoken like; CAB, CC and others are left out.
DICTIONARY = "abc EY1 B IY0 S IY1\na AH0\na(2) EY1\nb B IY1\nc S IY1\nca K AA1\nab AE1 B\nbca B K AA0\nbab B AE1 B\n"


@pytest.fixture(scope="module")
def recipe(tiny_recipe: Recipe) -> Recipe:
    """Two layers, so that one can be in the middle, and masks that are never empty for long."""
    return replace(
        tiny_recipe,
        acoustic_model=replace(tiny_recipe.acoustic_model, n_layers=2, dropout=0.0),
        augment=replace(tiny_recipe.augment, freq_mask_bins=8, time_masks=3, time_mask_share=0.2),
    )


@pytest.fixture(scope="module")
def batch(recipe: Recipe) -> Batch:
    utterances, targets = select_utterances(recipe, CharacterTokenizer())
    return SpeechDataset(utterances, targets)[BatchPlan((((0,), 1.0), ((3,), 1.0), ((7,), 1.0)), seed=11)]


@pytest.fixture(scope="module")
def dictionary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("phones") / "tones.dict"
    path.write_text(DICTIONARY)
    return path


def parts(recipe: Recipe, config: ObjectiveConfig, dictionary: Path | None = None) -> tuple[Objective, TrainedNetwork]:
    torch.manual_seed(5)
    n_phones = N_PHONES if config.phone_weight else 0
    acoustic_model = AcousticModel(replace(recipe.acoustic_model, n_phones=n_phones))
    front_end, cmvn = FrontEnd(recipe.front_end), GlobalCMVN(recipe.front_end.n_features)
    phones = PhoneTargets(read_pronunciations(dictionary), CharacterTokenizer()) if dictionary else None
    denominator = PhoneDenominator(phone_trigram(SPOKEN)) if config.phone_mmi else None
    objective = Objective(config, recipe.augment, front_end, cmvn, phones, denominator)
    return objective, TrainedNetwork(acoustic_model, config)


def ctc_by_hand(model: AcousticModel, features_BTF: Tensor, lengths_B: Tensor, batch: Batch) -> Tensor:
    """Row by row, each alone, without padding."""
    losses = []
    for row, target_U, n_units in zip(range(len(batch.ids)), batch.targets_BU, batch.target_lengths_B, strict=True):
        log_probs_1SV, lengths_1 = model(features_BTF[row : row + 1, : lengths_B[row]], lengths_B[row : row + 1])
        log_probs_SV, length = log_probs_1SV[0], int(lengths_1)
        losses.append(
            nn.functional.ctc_loss(
                log_probs_SV[:length], target_U[:n_units], torch.tensor(length), n_units, reduction="sum"
            )
        )
    return torch.stack(losses).sum()


def features_by_hand(recipe: Recipe, batch: Batch, shift: int) -> tuple[Tensor, Tensor]:
    features_BTF, lengths_B = FrontEnd(recipe.front_end)(batch.samples_BN, batch.lengths_B)
    seeds = [seed + shift for seed in batch.seeds]
    if recipe.augment.frequency_warp:
        centres_F = mel_centres(recipe.front_end)
        features_BTF = warp_frequencies(features_BTF, centres_F, recipe.augment.frequency_warp, seeds)
    features_BTF = GlobalCMVN(recipe.front_end.n_features)(features_BTF, lengths_B)
    return spec_augment(features_BTF, lengths_B, recipe.augment, seeds), lengths_B


def test_the_consistency_loss_is_that_of_a_plain_loop() -> None:
    logits_RSV = torch.randn(4, 6, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    log_probs_RSV, lengths = logits_RSV.log_softmax(-1), [6, 3, 6, 3]
    expected = 0.0
    for row in (0, 1):
        for frame in range(lengths[row]):
            first, second = log_probs_RSV[row, frame].tolist(), log_probs_RSV[row + 2, frame].tolist()
            for p, q in ((first, second), (second, first)):
                expected += 0.5 * sum(math.exp(a) * (a - b) for a, b in zip(p, q, strict=True))
    assert consistency_loss(log_probs_RSV, torch.tensor(lengths)).item() == pytest.approx(expected, rel=1e-12)
    same_RSV = log_probs_RSV[:2].repeat(2, 1, 1)
    assert consistency_loss(same_RSV, torch.tensor(lengths)).item() == pytest.approx(0, abs=1e-12)


def test_no_gradient_flows_through_the_target_of_consistency() -> None:
    """Of KL(q ‖ softmax(z)), with q fixed, the gradient is softmax(z) - q; of a q that moves there would be more."""
    logits_RSV = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    logits_RSV.requires_grad_()
    torch.autograd.backward(consistency_loss(logits_RSV.log_softmax(-1), torch.tensor([3, 2])))
    probabilities_RSV = logits_RSV.detach().softmax(-1)
    expected_RSV = 0.5 * (probabilities_RSV - probabilities_RSV.flip(0))
    expected_RSV[1, 2] = 0  # beyond its length
    expected_RSV[0, 2] = 0.5 * (probabilities_RSV[0, 2] - probabilities_RSV[1, 2])
    assert logits_RSV.grad is not None
    torch.testing.assert_close(logits_RSV.grad, expected_RSV)


@pytest.mark.parametrize("warp", [0.0, 0.1])
def test_two_views_give_the_mean_of_their_losses_and_what_sets_them_apart(
    recipe: Recipe, batch: Batch, warp: float
) -> None:
    recipe = replace(recipe, augment=replace(recipe.augment, frequency_warp=warp))
    objective, network = parts(recipe, ObjectiveConfig(consistency_weight=0.7))
    losses = objective.losses(network, batch, 0)
    views = [features_by_hand(recipe, batch, shift) for shift in (0, SECOND_VIEW)]
    assert all(not torch.equal(one, other) for one, other in zip(views[0][0], views[1][0], strict=True))
    ctc = torch.stack([ctc_by_hand(network.acoustic_model, *view, batch) for view in views]).mean()
    outputs = [network.acoustic_model(*view) for view in views]
    consistency = consistency_loss(torch.cat([out for out, _ in outputs]), torch.cat([size for _, size in outputs]))
    assert consistency.item() > 0
    torch.testing.assert_close(losses.ctc, ctc.detach())
    torch.testing.assert_close(losses.total, ctc + 0.7 * consistency)
    assert len(losses.log_probs_BSV) == len(losses.lengths_B) == len(batch.ids)
    frames = outputs[0][0].shape[1]
    torch.testing.assert_close(losses.log_probs_BSV[:, :frames], outputs[0][0].detach())


def test_before_spec_augment_begins_there_is_one_view(recipe: Recipe, batch: Batch) -> None:
    later = replace(recipe, augment=replace(recipe.augment, spec_augment_from_epoch=2))
    objective, network = parts(later, ObjectiveConfig(consistency_weight=0.7))
    plain, _ = parts(later, ObjectiveConfig())
    assert torch.equal(objective.losses(network, batch, 1).total, plain.losses(network, batch, 1).total)
    assert objective.losses(network, batch, 2).total > plain.losses(network, batch, 2).total


def test_an_intermediate_loss_is_that_of_a_network_cut_off_there(recipe: Recipe, batch: Batch) -> None:
    objective, network = parts(recipe, ObjectiveConfig(intermediate_weight=0.3, intermediate_layers=(1,)))
    losses = objective.losses(network, batch, 0)
    cut = AcousticModel(replace(recipe.acoustic_model, n_layers=1))
    weights = network.acoustic_model.state_dict()
    cut.load_state_dict({name: weights[name] for name in cut.state_dict()})
    features = features_by_hand(recipe, batch, 0)
    whole, inner = (ctc_by_hand(model, *features, batch) for model in (network.acoustic_model, cut))
    torch.testing.assert_close(losses.ctc, whole.detach())
    torch.testing.assert_close(losses.total, 0.7 * whole + 0.3 * inner)
    assert abs(whole.item() - inner.item()) > 0.1


def test_an_intermediate_loss_of_weight_0_is_the_plain_loss(recipe: Recipe, batch: Batch) -> None:
    objective, network = parts(recipe, ObjectiveConfig(intermediate_layers=(1,)))
    plain, plain_network = parts(recipe, ObjectiveConfig())
    assert torch.equal(objective.losses(network, batch, 0).total, plain.losses(plain_network, batch, 0).total)


def test_the_phone_loss_is_that_of_the_utterances_that_can_be_pronounced(
    recipe: Recipe, batch: Batch, dictionary: Path
) -> None:
    config = ObjectiveConfig(phone_weight=0.5, phone_dictionary=str(dictionary))
    objective, network = parts(recipe, config, dictionary)
    losses = objective.losses(network, batch, 0)
    texts = [read_text(batch, row) for row in range(3)]
    assert texts == ["abc", "a b c", "b cab"]  # the last one has a word that nobody pronounces
    features_BTF, lengths_B = features_by_hand(recipe, batch, 0)
    expected = 0.0
    for row, spoken in ((0, "EY B IY S IY"), (1, "AH / B IY / S IY")):
        target_U = torch.tensor([UNITS.index(phone) for phone in spoken.split()])
        outputs, lengths_1 = network.acoustic_model.encode(
            features_BTF[row : row + 1, : lengths_B[row]], lengths_B[row : row + 1]
        )
        model = network.acoustic_model
        log_probs_SP = model.phone_head(model.phone_norm(outputs[-1]))[0, : int(lengths_1)].log_softmax(-1)
        loss = nn.functional.ctc_loss(
            log_probs_SP, target_U, lengths_1[0], torch.tensor(len(target_U)), reduction="sum"
        )
        expected += loss.item()
    assert (losses.total - losses.ctc).item() == pytest.approx(0.5 * expected, rel=1e-4)
    both, _ = parts(recipe, replace(config, consistency_weight=1e-9), dictionary)
    twice = both.losses(network, batch, 0)
    assert (twice.total - twice.ctc).item() == pytest.approx(0.5 * expected, rel=0.2)  # the mean, not the sum


def test_what_is_said_competes_with_all_that_could_be(recipe: Recipe, batch: Batch, dictionary: Path) -> None:
    config = ObjectiveConfig(phone_weight=0.5, phone_dictionary=str(dictionary))
    plain, network = parts(recipe, config, dictionary)
    competing, _ = parts(recipe, replace(config, phone_mmi=0.8), dictionary)
    features_BTF, lengths_B = features_by_hand(recipe, batch, 0)
    outputs, lengths_B = network.acoustic_model.encode(features_BTF, lengths_B)
    log_probs_BSP = network.acoustic_model.classify_phones(outputs[-1])
    log_total_R = PhoneDenominator(phone_trigram(SPOKEN)).log_total(log_probs_BSP[:2], lengths_B[:2])  # not "b cab"
    assert (log_total_R < -1).all()
    added = competing.losses(network, batch, 0).total - plain.losses(network, batch, 0).total
    assert added.item() == pytest.approx(0.5 * 0.8 * log_total_R.sum().item(), rel=1e-4)


def test_more_phones_than_frames_compete_with_nothing(recipe: Recipe, batch: Batch, tmp_path: Path) -> None:
    """CTC has no way to write them and leaves them out; their denominator alone would be driven to 0."""
    (tmp_path / "long.dict").write_text("abc " + "B IY1 " * 500 + "\n")
    config = ObjectiveConfig(phone_weight=0.5, phone_dictionary=str(tmp_path / "long.dict"), phone_mmi=0.9)
    objective, network = parts(recipe, config, tmp_path / "long.dict")
    losses = objective.losses(network, batch, 0)
    assert losses.total.item() == losses.ctc.item()


def test_a_batch_that_nobody_can_pronounce_has_no_phone_loss(recipe: Recipe, batch: Batch, tmp_path: Path) -> None:
    (tmp_path / "none.dict").write_text("zebra Z IY1 B R AH0\n")
    config = ObjectiveConfig(phone_weight=0.5, phone_dictionary=str(tmp_path / "none.dict"))
    objective, network = parts(recipe, config, tmp_path / "none.dict")
    losses = objective.losses(network, batch, 0)
    assert losses.total.item() == losses.ctc.item()
    torch.autograd.backward(losses.total)
    assert all(
        weight.grad is not None and not weight.grad.any() for weight in network.acoustic_model.phone_head.parameters()
    )


def test_the_losses_of_a_batch_are_the_sums_of_its_shards(recipe: Recipe, dictionary: Path) -> None:
    """What lets several processes share a batch; a shard may have nothing that can be pronounced."""
    utterances, targets = select_utterances(recipe, CharacterTokenizer())
    dataset = SpeechDataset(utterances, targets)
    plan = BatchPlan((((0,), 1.0), ((7,), 1.0), ((3,), 1.0)), seed=11)
    objective, network = parts(recipe, EVERYTHING, dictionary)
    whole = objective.losses(network, dataset[plan], 0)
    shards = [objective.losses(network, dataset[plan.shard(rank, 2)], 0) for rank in range(2)]
    assert [len(shard.lengths_B) for shard in shards] == [2, 1]
    torch.testing.assert_close(shards[0].total + shards[1].total, whole.total)
    torch.testing.assert_close(shards[0].ctc + shards[1].ctc, whole.ctc)


def read_text(batch: Batch, row: int) -> str:
    return CharacterTokenizer().decode(batch.targets_BU[row, : batch.target_lengths_B[row]].tolist())


def test_a_batch_without_utterances_gives_every_weight_a_gradient_of_zero(
    recipe: Recipe, batch: Batch, dictionary: Path
) -> None:
    objective, network = parts(recipe, EVERYTHING, dictionary)
    nothing = replace(batch, ids=(), seeds=(), samples_BN=batch.samples_BN[:0], lengths_B=batch.lengths_B[:0])
    torch.autograd.backward(objective.losses(network, nothing, 0).total)
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert not weight.grad.any(), name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"consistency_weight": -0.1}, "consistency_weight is -0.1"),
        ({"intermediate_weight": 1.0, "intermediate_layers": [1]}, "intermediate_weight is 1.0"),
        ({"intermediate_weight": 0.3}, "must name a layer"),
        ({"intermediate_layers": [2]}, r"intermediate_layers has 2; with 2 layers it must lie in 1\.\.1"),
        ({"intermediate_layers": ["one"]}, "intermediate_layers has 'one'"),
        ({"phone_weight": 0.5}, "phone_dictionary must name a file"),
        ({"phone_weight": 0.5, "phone_dictionary": "x"}, "phone_weight is 0.5 and acoustic_model.n_phones 0"),
        ({"phone_weight": -1}, "phone_weight is -1"),
        ({"phone_mmi": 0.9}, "phone_mmi is 0.9; it needs a phone_weight"),
        ({"phone_mmi": 1.1}, r"phone_mmi is 1.1; it must lie in 0\.\.1"),
        ({"strength": 1}, "unknown option 'strength'"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(recipe: Recipe, options: dict[str, Any], message: str) -> None:
    values = json.loads(json.dumps(asdict(recipe)))
    with pytest.raises(RecipeError, match=message):
        build_recipe({**values, "objective": options}, "mine.yaml")


def test_two_views_without_masks_are_refused(recipe: Recipe) -> None:
    with pytest.raises(RecipeError, match="two views of an utterance would be the same"):
        replace(
            recipe,
            objective=EVERYTHING,
            acoustic_model=replace(recipe.acoustic_model, n_phones=N_PHONES),
            augment=replace(recipe.augment, freq_masks=0, time_masks=0),
        )


def test_a_speller_is_not_what_a_recipe_trains(recipe: Recipe, dictionary: Path) -> None:
    with pytest.raises(RecipeError, match=r"spelling_layers is 2; .*`cepstra train-speller` adds it"):
        replace(
            recipe,
            objective=replace(EVERYTHING, phone_dictionary=str(dictionary)),
            acoustic_model=replace(recipe.acoustic_model, n_phones=N_PHONES, spelling_layers=2),
        )


@pytest.fixture
def everything(recipe: Recipe, dictionary: Path) -> Recipe:
    return replace(
        recipe,
        objective=replace(EVERYTHING, phone_dictionary=str(dictionary)),
        acoustic_model=replace(recipe.acoustic_model, n_phones=N_PHONES),
        optimizer=replace(recipe.optimizer, epochs=2, muon_lr=2e-3),
        data=replace(recipe.data, dev=""),
    )


def test_interrupted_with_every_objective_a_run_goes_on_to_the_same_weights(
    everything: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(everything, acoustic_model=replace(everything.acoustic_model, dropout=0.1))
    said = io.StringIO()
    report = ProgressReport(console=Console(file=said))
    train(recipe, tmp_path / "undisturbed", accelerator="cpu", report=report)
    assert "7 of 12 utterances have no phone loss" in said.getvalue()
    honest, calls = Objective.losses, 0

    def interrupt(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 6:
            raise KeyboardInterrupt
        return honest(*arguments)

    monkeypatch.setattr(Objective, "losses", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "killed", accelerator="cpu", report=QUIET)
    train(recipe, tmp_path / "killed", accelerator="cpu", report=QUIET)
    whole, resumed = (
        torch.load(tmp_path / name / "last.ckpt", weights_only=True) for name in ("undisturbed", "killed")
    )
    for part in ("acoustic_model", "averaged"):
        assert whole[part].keys() == resumed[part].keys()
        assert all(torch.equal(weight, resumed[part][name]) for name, weight in whole[part].items()), part
    shipped = load_bundle(tmp_path / "killed" / "bundle").acoustic_model
    assert shipped.state_dict().keys() == AcousticModel(recipe.acoustic_model).state_dict().keys()


@pytest.mark.parametrize("objective", [None, {"phone_layer": 0}])
def test_a_checkpoint_with_the_options_of_earlier_versions_goes_on(
    recipe: Recipe, objective: dict[str, Any] | None, tmp_path: Path
) -> None:
    plain = replace(recipe, optimizer=replace(recipe.optimizer, epochs=1), data=replace(recipe.data, dev=""))
    train(plain, tmp_path, accelerator="cpu", report=QUIET)
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)
    values = json.loads(state["recipe"])
    if objective is None:
        del values["objective"]
    else:
        values["objective"] |= objective
    torch.save({**state, "auxiliary": {}, "recipe": json.dumps(values)}, tmp_path / "last.ckpt")
    longer = replace(plain, optimizer=replace(plain.optimizer, epochs=2))
    train(longer, tmp_path, accelerator="cpu", report=QUIET)
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 2


def test_two_processes_give_the_losses_of_one_with_every_objective(everything: Recipe, tmp_path: Path) -> None:
    recipe_file = tmp_path / "everything.yaml"
    recipe_file.write_text(json.dumps(asdict(everything)))
    command = [sys.executable, "-m", "cli", "train", str(recipe_file), "--accelerator", "cpu", "--devices", "2"]
    subprocess.run(
        [*command, "--out", str(tmp_path / "two")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
        timeout=240,
    )
    train(everything, tmp_path / "one", accelerator="cpu", report=QUIET)
    one, two = (
        [json.loads(line)["loss"] for line in (tmp_path / name / "history.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    )
    assert two == pytest.approx(one, rel=1e-4)
