"""LibriSpeech and mini LibriSpeech: the parts that OpenSLR offers, and what to do with them.

Panayotov, Chen, Povey and Khudanpur, "LibriSpeech: an ASR corpus based on public domain audio books", ICASSP 2015.
Sizes and checksums are those of openslr.org/12 and openslr.org/31.
"""

import os
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from training.errors import DownloadError

OPENSLR = "https://www.openslr.org/resources"
CORPUS_FOLDER = "LibriSpeech"  # what every archive unpacks to


@dataclass(frozen=True)
class Part:
    """A part of the corpus, one archive.

    Attributes:
        name: of its folder, and of its archive without `.tar.gz`.
        resource: OpenSLR's number for the corpus.
        size_bytes: of the archive.
        md5: of the archive, hexadecimal, from the `md5sum.txt` beside it.
    """

    name: str
    resource: int
    size_bytes: int
    md5: str


PARTS = {
    part.name: part
    for part in (
        Part("dev-clean", 12, 337_926_286, "42e2234ba48799c1f50f24a7926300a1"),
        Part("dev-other", 12, 314_305_928, "c8d0bcc9cca99d4f8b62fcc847357931"),
        Part("test-clean", 12, 346_663_984, "32fa31d27d2e1cad72775fee3f4849a9"),
        Part("test-other", 12, 328_757_843, "fb5a50374b501bb3bac4815ee91d3135"),
        Part("train-clean-100", 12, 6_387_309_499, "2a93770f6d5c6c964bc36631d331a522"),
        Part("train-clean-360", 12, 23_049_477_885, "c0e676e450a7ff2f54aeade5171606fa"),
        Part("train-other-500", 12, 30_593_501_606, "d1a0fd59409feb2c614ce4d30c387708"),
        Part("dev-clean-2", 31, 126_046_265, "6d7ab67ac6a1d2c993d050e16d61080d"),
        Part("train-clean-5", 31, 332_954_390, "5df7d4e78065366204ca6845bb08f490"),
    )
}
RESOURCES = {"librispeech": 12, "mini_librispeech": 31}
RECIPE_DATA = Path("data")  # where the recipes that come along look for the corpus
RECIPES = {  # their parts, for training and for dev
    "mini": (("train-clean-5",), "dev-clean-2"),
    "clean100": (("train-clean-100",), "dev-clean"),
    "all960": (("train-clean-100", "train-clean-360", "train-other-500"), "dev-clean"),
}


def find_parts(corpus: str, names: Iterable[str] | None = None) -> list[Part]:
    """The named parts of `librispeech` or `mini_librispeech`, each once; all of them for None.

    Raises:
        DownloadError: there is no such corpus, or it has no such part.
    """
    if corpus not in RESOURCES:
        raise DownloadError(f"no corpus {corpus!r}; there are {', '.join(RESOURCES)}")
    known = {name: part for name, part in PARTS.items() if part.resource == RESOURCES[corpus]}
    wanted = list(known if names is None else dict.fromkeys(names))
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise DownloadError(f"{corpus} has no part {', '.join(map(repr, unknown))}; it has {', '.join(known)}")
    return [known[name] for name in wanted]


def next_commands(parts: Sequence[Part], out: str | os.PathLike[str]) -> list[str]:
    """What to type once `parts` are in `out`: train with the recipe of that size and evaluate, or only the latter."""
    corpus = Path(out) / CORPUS_FOLDER
    names = [part.name for part in parts if part.name.startswith("train-")]
    if not names:
        return [shlex.join(["cepstra", "evaluate", "--manifest", str(corpus / part.name)]) for part in parts]
    recipe = next((recipe for recipe, (train, _) in RECIPES.items() if set(names) == set(train)), "clean100")
    train, dev = RECIPES[recipe]
    there = sorted(folder.name for folder in corpus.glob("dev-*"))
    found = dev if dev in there or not there else there[0]
    commands = []
    if not there:
        offers = {resource: name for name, resource in RESOURCES.items()}
        commands.append(["cepstra", "data", "download", offers[PARTS[dev].resource], "--parts", dev, "--out", str(out)])
    options = []
    if (corpus, set(names), found) != (RECIPE_DATA / CORPUS_FOLDER, set(train), dev):
        options = [word for name in names for word in ("--train", str(corpus / name))] + ["--dev", str(corpus / found)]
    commands.append(["cepstra", "train", recipe, *options])
    bundle = f"runs/cepstra-{recipe}/bundle"
    commands.append(["cepstra", "evaluate", "--manifest", str(corpus / found), "--bundle", bundle])
    return [shlex.join(command) for command in commands]
