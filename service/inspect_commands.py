"""`cepstra inspect`: wiring only, with imports where the command needs them."""

from itertools import combinations
from pathlib import Path
from typing import Annotated

import typer

from model.shipped import SHIPPED_BUNDLE
from service.command_options import fail, option


def inspect(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An audio file.")],
    out: Annotated[Path, typer.Option(help="The page to write, one HTML file that needs no network.")] = Path(
        "inspection.html"
    ),
    data: Annotated[
        Path | None, typer.Option(help="Also write all numbers as arrays of NumPy, into this .npz file.")
    ] = None,
    begin_s: Annotated[float, typer.Option("--from", help="Where to begin, seconds.")] = 0.0,
    end_s: Annotated[float | None, typer.Option("--to", help="Where to end, seconds; at most 30 s later.")] = None,
    greedy: Annotated[bool, typer.Option("--greedy", help="Decode without the bundle's language model.")] = False,
    bundle: Annotated[
        Path, option("BUNDLE", "Directory of the model bundle.", show_default="bundles/cepstra-base beside cli.py")
    ] = SHIPPED_BUNDLE,
) -> None:
    """Look inside a transcription: words with what else they may be, posteriors, features, every gate of every LSTM.

    For example: cepstra inspect speech.mp3 --from 12.5 --to 20
    """
    if data is not None and data.suffix != ".npz":
        fail(f"--data is {data}; it has to end in .npz", status=2)
    files = {"FILE": file, "--out": out} | ({} if data is None else {"--data": data})
    for (name, path), (other, other_path) in combinations(files.items(), 2):
        if path.resolve() == other_path.resolve():
            fail(f"{name} and {other} are the same file, {path}", status=2)

    from features.errors import CepstraError

    try:
        import numpy as np

        from model.checkpoint import load_bundle
        from model.inspect import inspect_audio
        from model.inspect_page import inspection_page

        inspection = inspect_audio(load_bundle(bundle), str(file), begin_s=begin_s, end_s=end_s, greedy=greedy)
        out.write_text(inspection_page(inspection, file.name), "utf-8")
        if data is not None:
            np.savez_compressed(data, allow_pickle=False, **inspection.arrays())
    except (CepstraError, OSError) as error:
        fail(str(error))
    typer.echo(inspection.transcript.text)
    typer.echo(f"{out}", err=True)
