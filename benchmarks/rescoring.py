"""What rescoring costs: judging N-best lists with an LSTM language model, and a training step of one.

The network has random weights, whose speed is that of trained ones, and the sizes that `cepstra lm train-neural` gives
by default. Words are drawn as often as Zipf's law has them.

usage: python -m benchmarks.rescoring [--threads N] [--n-best N] [--words N] [--width N] [--layers N]
"""

import argparse
import time
from collections.abc import Callable

import torch

from model.neural_language_model import SPECIAL_WORDS, NeuralLanguageModel, NeuralLanguageModelConfig
from training.memory import keep_freed_memory
from training.neural_recipe import CUTOFFS, NeuralLMRecipe

VOCABULARY = 30_000
TRIALS = 10


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--n-best", type=int, default=50, help="hypotheses of a stretch")
    parser.add_argument("--words", type=int, default=35, help="words of a hypothesis: about 15 s of speech")
    parser.add_argument("--width", type=int, default=NeuralLMRecipe().width)
    parser.add_argument("--layers", type=int, default=NeuralLMRecipe().layers)
    arguments = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(arguments.threads)
    config = NeuralLanguageModelConfig(width=arguments.width, n_layers=arguments.layers, cutoffs=CUTOFFS)
    words = [f"w{rank}" for rank in range(VOCABULARY)]
    model = NeuralLanguageModel(words, config)
    print(
        f"{sum(p.numel() for p in model.parameters())} weights, {arguments.threads} threads, torch {torch.__version__}"
    )

    frequencies = 1 / torch.arange(2, VOCABULARY + 2).float()
    drawn = torch.multinomial(frequencies, arguments.n_best * arguments.words, replacement=True).tolist()
    starts = range(0, len(drawn), arguments.words)
    hypotheses = [[words[rank] for rank in drawn[at : at + arguments.words]] for at in starts]
    model.eval()
    judged_s = fastest(lambda: model.word_log10probs(hypotheses))
    print(f"judging {arguments.n_best} hypotheses of {arguments.words} words: {1000 * judged_s:.0f} ms")

    rows = NeuralLMRecipe().batch_words // 25
    targets_BU = torch.multinomial(frequencies, rows * 25, replacement=True).view(rows, 25) + len(SPECIAL_WORDS)
    lengths_B = torch.full((rows,), 25)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    model.train()
    for precision, bf16 in (("fp32", False), ("bf16", True)):

        def step(bf16: bool = bf16) -> None:
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                loss = -model(targets_BU, lengths_B).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        print(f"training, {precision}: {targets_BU.numel() / fastest(step):.0f} words/s")


def fastest(work: Callable[[], object]) -> float:
    """Seconds that the fastest of some trials took."""
    work()  # warm-up
    seconds = []
    for _ in range(TRIALS):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


if __name__ == "__main__":
    main()
