"""How fast training is, beside what a plain PyTorch tutorial does with a network of the same size.

Both sides train two passes over the same utterances, in processes of their own, one after the other; the second pass
counts. Ours is `cepstra train` as a user runs it. The other side reads the same cached audio and computes the same
features, but takes utterances in random order, a fixed number a batch, packs them (`pack_padded_sequence`) into
`torch.nn.LSTM`, and computes in float32. What the recipe sends through a codec on the way is not: the other side sends
nothing, and a corpus can be encoded before (`cepstra data encode`). All else that ours draws (speeds, loudness) stays.

usage: python -m benchmarks.training [--manifest FILE] [--limit N] [--threads N] [--layers N] [--hidden N] [--gpu]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch
import yaml
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils.data import DataLoader

from features.front_end import FrontEnd
from model.acoustic_model import Subsampling
from model.tokenizer import CharacterTokenizer
from training.corpora import read_corpus, write_manifest
from training.dataset import SpeechDataset
from training.recipe import Recipe, load_recipe
from training.sampler import BatchPlan, padded_s, plan_epoch
from training.selection import select_utterances

ROOT = Path(__file__).resolve().parent.parent
BATCH_S = {False: 384.0, True: 3000.0}  # seconds of audio a batch of ours, on a CPU and on a GPU
ROWS = {False: 16, True: 64}  # utterances a batch of the other side


def main() -> None:
    """Measure both sides and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, default=ROOT / "tests" / "clips" / "clips.tsv")
    parser.add_argument("--limit", type=int, default=400, help="utterances")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="CPU cores for either side")
    parser.add_argument("--layers", type=int, default=5)
    parser.add_argument("--hidden", type=int, default=256, help="LSTM units a direction")
    parser.add_argument("--gpu", action="store_true", help="on the GPU instead of the CPU")
    parser.add_argument("--packed", type=Path, help=argparse.SUPPRESS)  # the other side, run by this module itself
    arguments = parser.parse_args()
    if arguments.packed:
        train_packed(load_recipe(str(arguments.packed)), arguments.packed.parent, gpu=arguments.gpu)
        return
    with tempfile.TemporaryDirectory() as folder:
        compare(arguments, Path(folder))


def compare(arguments: argparse.Namespace, folder: Path) -> None:
    """Run ours, then the other side, and print × real time of both."""
    utterances = read_corpus(arguments.manifest)
    utterances = utterances[:: max(1, len(utterances) // arguments.limit)][: arguments.limit]
    write_manifest(utterances, folder / "train.tsv")
    base = load_recipe("base")
    recipe = replace(
        base,
        checkpoint_minutes=1e6,
        augment=replace(base.augment, codec_probability=0.0),
        data=replace(base.data, train=(str(folder / "train.tsv"),), dev="", max_batch_s=BATCH_S[arguments.gpu]),
        acoustic_model=replace(base.acoustic_model, n_layers=arguments.layers, hidden_size=arguments.hidden),
        optimizer=replace(base.optimizer, epochs=2),
    )
    (folder / "recipe.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(asdict(recipe)))))
    processes = 1 if arguments.gpu else arguments.threads
    accelerator = "cuda" if arguments.gpu else "cpu"
    ours = [sys.executable, "-m", "cli", "train", str(folder / "recipe.yaml"), "--out", str(folder)]
    run([*ours, "--devices", str(processes), "--accelerator", accelerator], threads=1)
    theirs = [sys.executable, "-m", "benchmarks.training", "--packed", str(folder / "recipe.yaml")]
    run([*theirs, *(["--gpu"] if arguments.gpu else [])], threads=arguments.threads)

    kept, _ = select_utterances(recipe, CharacterTokenizer())
    plans = plan_epoch(kept, seed=recipe.seed, epoch=1, max_batch_s=recipe.data.max_batch_s)
    audio_s = sum(utterance.duration_s for utterance in kept)
    rows_s = sum(padded_s(max(kept[i].duration_s for (i,), _ in plan.items)) * len(plan.items) for plan in plans)
    first, second = (json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines())
    ours_s = second["wall_s"] - first["wall_s"]
    packed_s = float((folder / "packed.txt").read_text())
    where = torch.cuda.get_device_name() if arguments.gpu else f"{arguments.threads} CPU cores"
    print(f"{len(kept)} utterances, {audio_s / 3600:.2f} h, {where}, torch {torch.__version__}")
    print(f"cepstra train     {ours_s:7.1f} s a pass   {audio_s / ours_s:6.0f} x real time")
    print(f"packed, float32   {packed_s:7.1f} s a pass   {audio_s / packed_s:6.0f} x real time")
    print(f"{packed_s / ours_s:.2f} times as fast; {audio_s / ours_s / 60:.2f} h of audio a minute;")
    print(f"padding {1 - audio_s / rows_s:.1%} of a batch; {second['waiting']:.1%} of the time waiting for audio")


def run(command: list[str], *, threads: int) -> None:
    """Run one side to its end."""
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": str(threads)})


class PackedNetwork(nn.Module):
    """The same subsampling and the same number of layers and units, as `torch.nn.LSTM` with packed sequences."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        config = recipe.acoustic_model
        width = 2 * config.hidden_size
        self.subsampling = Subsampling(config, width)
        self.lstm = nn.LSTM(
            width, config.hidden_size, config.n_layers, batch_first=True, bidirectional=True, dropout=config.dropout
        )
        self.head = nn.Linear(width, config.vocabulary_size)

    def forward(self, features_BTF: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probs (B, S, V) and lengths."""
        x_BSD, lengths_B = self.subsampling(features_BTF, lengths_B)
        packed = pack_padded_sequence(x_BSD, lengths_B.cpu(), batch_first=True, enforce_sorted=False)
        x_BSD, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        return self.head(x_BSD).log_softmax(-1), lengths_B


def train_packed(recipe: Recipe, folder: Path, *, gpu: bool) -> None:
    """The other side: two passes, the seconds of the second one to `packed.txt`."""
    device = torch.device("cuda" if gpu else "cpu")
    utterances, targets = select_utterances(recipe, CharacterTokenizer())
    front_end, network = FrontEnd(recipe.front_end).to(device), PackedNetwork(recipe).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    seconds = 0.0
    for _ in range(2):
        began = time.perf_counter()
        order = torch.randperm(len(utterances)).tolist()
        plans = [
            BatchPlan(tuple(((index,), 1.0) for index in order[start : start + ROWS[gpu]]), 0)
            for start in range(0, len(order), ROWS[gpu])
        ]
        dataset = SpeechDataset(utterances, targets, cache_dir=folder / "cache")
        for batch in DataLoader(dataset, batch_size=None, sampler=plans, num_workers=recipe.data.workers):
            with torch.no_grad():
                features_BTF, lengths_B = front_end(batch.samples_BN.to(device), batch.lengths_B.to(device))
            log_probs_BSV, lengths_B = network(features_BTF, lengths_B)
            targets_BU, target_lengths_B = batch.targets_BU.to(device), batch.target_lengths_B.to(device)
            log_probs_SBV = log_probs_BSV.transpose(0, 1)
            loss = nn.functional.ctc_loss(log_probs_SBV, targets_BU, lengths_B, target_lengths_B, zero_infinity=True)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it without types
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
        if gpu:
            torch.cuda.synchronize()
        seconds = time.perf_counter() - began
    (folder / "packed.txt").write_text(str(seconds))


if __name__ == "__main__":
    main()
