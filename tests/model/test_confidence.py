import math
from dataclasses import asdict

import pytest

from model.confidence import ConfidenceConfig, ConfidenceWeights, word_confidence, word_features
from model.decoder import DecodedUnit, WordEvidence
from model.errors import OptionError

EVIDENCE = WordEvidence(-2.0, -1.0, 0.75, ())
UNITS = (DecodedUnit(5, 10, 11, -0.2, EVIDENCE), DecodedUnit(6, 13, 13, -1.0))
WEIGHTS = ConfidenceWeights(0.3, 2.0, 0.5, 0.1, -0.2, 0.4, 0.25, 0.6)


def test_what_is_seen_of_a_word_is_weighed_and_becomes_a_probability() -> None:
    odds = math.log(0.76 / 0.26)
    assert word_features(UNITS) == pytest.approx((-0.6, -1.0, 2.0, 2.0, -2.0, -1.0, odds))
    log_odds = 0.3 - 1.2 - 0.5 + 0.2 - 0.4 - 0.8 - 0.25 + 0.6 * odds
    assert word_confidence(UNITS, WEIGHTS) == pytest.approx(1 / (1 + math.exp(-log_odds)))


def test_without_weights_it_is_the_letters_posteriors() -> None:
    assert word_confidence(UNITS, None) == pytest.approx(math.exp(-0.6))


def test_a_greedy_word_is_weighed_by_its_letters_alone() -> None:
    letters = (DecodedUnit(5, 10, 11, -0.2), UNITS[1])
    assert word_features(letters) == pytest.approx((-0.6, -1.0, 2.0, 2.0, 0.0, 0.0, 0.0))


@pytest.mark.parametrize("bias", [-1e6, 1e6])
def test_no_weight_leaves_the_range_of_a_probability(bias: float) -> None:
    assert 0 <= word_confidence(UNITS, ConfidenceWeights(bias, 0.0)) <= 1


@pytest.mark.parametrize("search", [WEIGHTS, None], ids=["with search", "greedy only"])
def test_a_config_comes_back_from_json(search: ConfidenceWeights | None) -> None:
    config = ConfidenceConfig(search, ConfidenceWeights(0.1, 1.0), None, ConfidenceWeights(0.2, 1.0))
    assert ConfidenceConfig.from_json(asdict(config)) == config


def test_a_stream_has_weights_of_its_own_where_they_were_fitted() -> None:
    greedy, live, live_greedy = (ConfidenceWeights(bias, 1.0) for bias in (1.0, 2.0, 3.0))
    config = ConfidenceConfig(WEIGHTS, greedy, live, live_greedy)
    assert config.weights(searched=True, live=True) == live
    assert config.weights(searched=False, live=True) == live_greedy
    assert config.weights(searched=True, live=False) == WEIGHTS
    assert config.weights(searched=False, live=False) == greedy
    earlier = {"search": asdict(WEIGHTS), "greedy": asdict(greedy)}  # as bundles had it before
    assert ConfidenceConfig.from_json(earlier).weights(searched=True, live=True) == WEIGHTS
    assert ConfidenceConfig.from_json(earlier).weights(searched=False, live=True) == greedy


def test_a_weight_that_is_no_number_is_refused() -> None:
    with pytest.raises(OptionError, match="no finite number"):
        ConfidenceWeights(math.nan, 1.0)
