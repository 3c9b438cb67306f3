"""`python -m training.experiments FILE`: run an ablation, print its table."""

from pathlib import Path
from typing import Annotated

import typer

from training.commands import clear_errors

HERE = Path(__file__).parent

app = typer.Typer(add_completion=False)


@app.command()
def main(
    ablation: Annotated[str, typer.Argument(help="A YAML file, or the name of one that comes along: objectives.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the runs.", show_default="runs/<ablation>")] = None,
    accelerator: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    devices: Annotated[int, typer.Option(min=1, help="Processes that share every batch.")] = 1,
) -> None:
    """Train the variants of an ablation one after the other; the same command again goes on where it was."""
    with clear_errors():
        from training.experiments.ablate import as_table, load_ablation, run_ablation, training_command

        path = Path(ablation)
        if not path.suffix and not path.exists():
            path = HERE / f"{ablation}.yaml"
        loaded = load_ablation(path)
        folder = out or Path("runs") / loaded.name
        results = run_ablation(loaded, folder, training_command(accelerator, devices))
        table = as_table(loaded, results)
        (folder / "table.md").write_text(table, encoding="utf-8")
        typer.echo(table, nl=False)
        if None in results.values():
            raise typer.Exit(1)


if __name__ == "__main__":
    app()
