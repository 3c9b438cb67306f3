import math

import pytest

from training.watch import BATCHES_TO_SETTLE, BLANK_LOOKS, Watch


def watch_after(*losses: float) -> Watch:
    watch = Watch()
    for nats in losses:
        assert watch.loss(nats) == ""
    return watch


@pytest.mark.parametrize("nats", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_stops_at_once(nats: float) -> None:
    assert str(nats) in Watch().loss(nats)


def test_an_exploding_loss_stops_and_no_checkpoint_is_due_on_the_way_up() -> None:
    watch = watch_after(*[1.0] * 200)
    assert not watch.rises
    verdicts, warned_at = [], 0
    for batch in range(100):
        verdicts.append(watch.loss(50.0))
        warned_at = warned_at or (batch + 1 if watch.rises else 0)
        if verdicts[-1]:
            break
    assert "explodes" in verdicts[-1]
    assert 0 < warned_at <= len(verdicts) < BATCHES_TO_SETTLE


def test_one_odd_batch_does_not_stop_a_run() -> None:
    assert watch_after(*[1.0] * 200, 200.0, *[1.0] * 200).mean_nats == pytest.approx(1.0, abs=0.1)


def test_the_first_batches_of_an_untrained_network_do_not_stop_it() -> None:
    watch_after(*[40.0, 30.0, 20.0, 10.0], *[3.0] * 300)


def test_masks_that_double_the_loss_do_not_stop_a_run() -> None:
    watch_after(*[0.9] * 300, *[1.9] * 300)


def test_a_network_that_had_learnt_and_collapses_to_blanks_is_stopped_and_not_kept() -> None:
    watch = watch_after(*[0.5] * 500)
    safe = [watch.is_safe]
    watch.text(False)
    assert [*safe, watch.is_safe] == [True, False]
    assert any("explodes" in watch.loss(3.2) for _ in range(150))
    assert watch.rises


def test_a_batch_that_is_far_worse_than_the_mean_is_no_moment_for_a_checkpoint() -> None:
    watch = watch_after(*[1.0] * 300, 2.5)
    assert not watch.rises
    assert not watch.is_safe
    watch.loss(1.1)
    assert watch.is_safe


def test_blanks_before_anything_was_learnt_keep_no_checkpoint_back() -> None:
    watch = watch_after(*[3.0] * 300)
    watch.text(False)
    assert watch.is_safe


def test_nothing_but_blanks_is_said_again_and_again_and_words_end_it() -> None:
    watch = watch_after(*[3.0] * 60)
    warnings = [watch.text(False) for _ in range(2 * BLANK_LOOKS)]
    assert [index + 1 for index, warning in enumerate(warnings) if warning] == [BLANK_LOOKS, 2 * BLANK_LOOKS]
    assert "nothing but blanks" in warnings[-1]
    assert "3 nats" in warnings[-1]
    assert watch.text(True) == ""
    assert not any(watch.text(False) for _ in range(BLANK_LOOKS - 1))
