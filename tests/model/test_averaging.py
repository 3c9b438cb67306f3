"""The mean of two bundles."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import cli
from model.averaging import average_bundles
from model.checkpoint import Bundle, load_bundle, save_bundle
from model.errors import OptionError
from model.rejection import RejectionConfig
from tests.model.conftest import BundleMaker


def begun_from(other: Bundle, made: Bundle) -> Bundle:
    """`made` with what a warm start takes over besides weights."""
    return replace(made, cmvn=other.cmvn, rejection=RejectionConfig(), training={"hours": 2.0, "dev_wer": 0.1})


def test_weights_are_averaged_and_all_else_is_the_first_ones(make_bundle: BundleMaker) -> None:
    other = make_bundle(0)
    bundle = begun_from(other, make_bundle(1, n_phones=41))
    before = {name: weight.clone() for name, weight in bundle.acoustic_model.state_dict().items()}
    averaged = average_bundles(bundle, other, 0.25)
    others = other.acoustic_model.state_dict()
    for name, weight in averaged.acoustic_model.state_dict().items():
        expected = 0.25 * before[name] + 0.75 * others[name] if name in others else before[name]
        torch.testing.assert_close(weight, expected)
        assert torch.equal(bundle.acoustic_model.state_dict()[name], before[name])  # the first one is as it was
    assert len(before) > len(others)
    assert averaged.rejection is None and averaged.confidence is None
    assert averaged.training["hours"] == 2.0 and "dev_wer" not in averaged.training
    assert averaged.training["averaged"]["share"] == 0.25
    assert averaged.training["averaged"]["with"]["created_at"] == other.created_at
    whole = average_bundles(bundle, other, 1.0).acoustic_model.state_dict()
    assert all(torch.equal(whole[name], weight) for name, weight in before.items())


def test_what_has_no_common_ancestor_is_refused(make_bundle: BundleMaker) -> None:
    bundle = make_bundle(0)
    with pytest.raises(OptionError, match=r"the share is 1.5; it must lie in 0..1"):
        average_bundles(bundle, bundle, 1.5)
    with pytest.raises(OptionError, match="normalise differently"):
        average_bundles(bundle, make_bundle(1), 0.5)
    with pytest.raises(OptionError, match=r"different networks: .*n_layers=2.*n_layers=3"):
        average_bundles(bundle, begun_from(bundle, make_bundle(1, n_layers=3)), 0.5)


def test_a_speller_is_averaged_where_both_have_one_of_the_same_sizes(make_bundle: BundleMaker) -> None:
    sizes = {"n_phones": 41, "spelling_layers": 2, "spelling_size": 16}
    plain, other = make_bundle(0, n_phones=41), make_bundle(2, **sizes)
    bundle = begun_from(plain, make_bundle(1, **sizes))
    name = "speller.layers.1.linear.weight"
    mine, theirs = (found.acoustic_model.state_dict()[name] for found in (bundle, other))
    alone = average_bundles(bundle, plain, 0.25).acoustic_model.state_dict()[name]
    assert torch.equal(alone, mine)
    both = average_bundles(bundle, begun_from(plain, other), 0.25).acoustic_model.state_dict()[name]
    torch.testing.assert_close(both, 0.25 * mine + 0.75 * theirs)
    assert not average_bundles(plain, begun_from(plain, other), 0.25).acoustic_model.config.spelling_layers
    wider = begun_from(plain, make_bundle(2, **(sizes | {"spelling_size": 20})))
    with pytest.raises(OptionError, match="spells with 2 layers of 16 and 'tiny' with 2 of 20"):
        average_bundles(bundle, wider, 0.5)


def test_the_command_writes_a_bundle_that_loads(make_bundle: BundleMaker, tmp_path: Path) -> None:
    other = make_bundle(0)
    save_bundle(other, tmp_path / "other")
    save_bundle(begun_from(other, make_bundle(1)), tmp_path / "one")
    save_bundle(make_bundle(2), tmp_path / "stranger")
    words = ["average", str(tmp_path / "one"), str(tmp_path / "other"), "--out", str(tmp_path / "both")]
    done = CliRunner().invoke(cli.app, [*words, "--share", "0.3"])
    assert done.exit_code == 0, done.output
    assert "0.3 of" in done.output
    assert load_bundle(tmp_path / "both").training["averaged"]["share"] == 0.3
    words[2], words[-1] = str(tmp_path / "stranger"), str(tmp_path / "none")
    refused = CliRunner().invoke(cli.app, words)
    assert refused.exit_code == 1 and "normalise differently" in refused.output
    assert not (tmp_path / "none").exists()
