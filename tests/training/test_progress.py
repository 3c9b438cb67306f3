import io

from rich.console import Console

from training.progress import ProgressReport


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def run(*, terminal: bool) -> str:
    """Two passes of four batches of 30 s, ten seconds each; resumed in the middle of the first."""
    clock, out = Clock(), io.StringIO()
    report = ProgressReport(console=Console(file=out, force_terminal=terminal, width=200), clock=clock)
    for epoch, done in ((0, 2), (1, 0)):
        report.start_epoch(epoch, 2, 4, done)
        for _ in range(done, 4):
            clock.now_s += 10
            report.wer(0.5)
            report.step(1.25, 30.0)
        report.end_epoch({"epoch": epoch + 1, "loss": 1.25, "dev_wer": 0.5})
    return out.getvalue()


def test_a_pass_ends_in_a_line_with_time_left_loss_wer_and_speed() -> None:
    assert run(terminal=False).splitlines() == [
        "pass 1/2  loss 1.25  dev_wer 0.5  0:00:40 left  loss 1.250  running WER 50.0%  3× real time",
        "pass 2/2  loss 1.25  dev_wer 0.5  0:00:00 left  loss 1.250  running WER 50.0%  3× real time",
    ]


def test_a_terminal_has_a_bar_that_shows_the_same_while_it_runs() -> None:
    shown = run(terminal=True)
    assert "pass 1/2" in shown
    assert "4/4" in shown
    assert "running WER 50.0%" in shown
    assert "nan" not in shown


def test_quiet_says_nothing() -> None:
    report = ProgressReport(quiet=True)
    report.say("something")
    report.start_epoch(0, 1, 1, 0)
    report.end_epoch({"epoch": 1})
    assert not report._bar
