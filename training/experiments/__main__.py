"""`python -m training.experiments NAME...`: run ablations, print their tables."""

from pathlib import Path
from typing import Annotated

import typer

from training.terminal import clear_errors

HERE = Path(__file__).parent

app = typer.Typer(add_completion=False)


@app.command()
def main(
    ablations: Annotated[
        list[str],
        typer.Argument(help="YAML files, or names of those that come along: objectives; all is each of them."),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the runs.", show_default="runs/ablations/<name of the base>")
    ] = None,
    accelerator: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    devices: Annotated[int, typer.Option(min=1, help="Processes that share every batch.")] = 1,
    only_tables: Annotated[
        bool, typer.Option("--only-tables", help="Train nothing; write the tables of what is there.")
    ] = False,
) -> None:
    """Train the variants of ablations one after the other; the same command again goes on where it was.

    A variant that fails does not hold up the others; the exit status is 1 then.
    """
    with clear_errors():
        from training.experiments.ablate import as_table, load_ablation, run_ablation, training_command

        if ablations == ["all"]:
            ablations = sorted(path.stem for path in HERE.glob("*.yaml"))
        loaded = [load_ablation(_file(name)) for name in ablations]  # what is wrong with any is said now
        train = training_command(accelerator, devices) if not only_tables else lambda *_: False
        failed = False
        for ablation in loaded:
            folder = out or Path("runs/ablations") / Path(ablation.base).stem
            results = run_ablation(ablation, folder, train)
            table = as_table(ablation, results)
            (folder / f"{ablation.name}.md").write_text(table, encoding="utf-8")
            typer.echo(f"## {ablation.name}\n\n{table}")
            failed = failed or None in results.values()
        if failed:
            raise typer.Exit(1)


def _file(ablation: str) -> Path:
    path = Path(ablation)
    return path if path.suffix or path.exists() else HERE / f"{ablation}.yaml"


if __name__ == "__main__":
    app()
