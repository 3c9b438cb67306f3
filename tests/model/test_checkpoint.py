import errno
import hashlib
import json
import os
import resource
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from onnx import numpy_helper

from features.front_end import FrontEnd, FrontEndConfig
from model import checkpoint
from model.acoustic_model import AcousticModel
from model.checkpoint import Bundle, load_bundle, save_bundle
from model.confidence import ConfidenceConfig, ConfidenceWeights
from model.errors import BundleFormatError, BundleHashError, BundleNotFoundError, OptionError
from model.export import export_onnx
from model.quantization import quantize_onnx
from model.tokenizer import CharacterTokenizer
from tests.model.conftest import BundleMaker


@pytest.fixture
def saved(tiny_bundle: Bundle, tmp_path: Path) -> Path:
    """A bundle on disk."""
    save_bundle(tiny_bundle, tmp_path / "bundle")
    return tmp_path / "bundle"


def test_a_bundle_comes_back_whole_in_full_precision(tiny_bundle: Bundle, tmp_path: Path) -> None:
    save_bundle(replace(tiny_bundle, weight_format="float32"), tmp_path / "a" / "b")
    loaded = load_bundle(tmp_path / "a" / "b")
    for part in ("acoustic_model", "cmvn"):
        expected, actual = getattr(tiny_bundle, part).state_dict(), getattr(loaded, part).state_dict()
        assert actual.keys() == expected.keys()
        assert all(torch.equal(actual[key], expected[key]) for key in expected)
    assert_same_settings(loaded, tiny_bundle)


def test_half_precision_rounds_each_weight_to_float16_and_leaves_the_statistics(
    tiny_bundle: Bundle, saved: Path
) -> None:
    loaded = load_bundle(saved)
    for key, weight in tiny_bundle.acoustic_model.state_dict().items():
        actual = loaded.acoustic_model.state_dict()[key]
        assert actual.dtype == torch.float32
        assert torch.equal(actual, weight.half().float())
        torch.testing.assert_close(actual, weight, rtol=2**-11, atol=2**-25)
    assert torch.equal(loaded.cmvn.get_buffer("std_F"), tiny_bundle.cmvn.get_buffer("std_F"))
    assert_same_settings(loaded, tiny_bundle)


def test_half_precision_is_half_the_bytes(tiny_bundle: Bundle, saved: Path, tmp_path: Path) -> None:
    save_bundle(replace(tiny_bundle, weight_format="float32"), tmp_path / "full")
    n_weights = sum(weight.numel() for weight in tiny_bundle.acoustic_model.parameters())
    half, full = ((folder / "model.safetensors").stat().st_size for folder in (saved, tmp_path / "full"))
    assert full - half == pytest.approx(2 * n_weights, abs=100)  # but for the table of offsets


def test_int8_halves_the_matrices_again_and_computes_as_the_8_bit_runtime_rounds(
    tiny_bundle: Bundle, saved: Path, tmp_path: Path
) -> None:
    save_bundle(replace(tiny_bundle, weight_format="int8"), tmp_path / "int8")
    loaded = load_bundle(tmp_path / "int8")
    assert loaded.weight_format == "int8"
    weights = tiny_bundle.acoustic_model.state_dict()
    for name, weight in weights.items():
        actual = loaded.acoustic_model.state_dict()[name]
        if weight.dim() == 2:
            step_O1 = weight.abs().amax(1, keepdim=True) / 127
            assert ((actual - weight).abs() <= step_O1 / 2 * (1 + 1e-5)).all()
            assert len((actual / step_O1).round().unique()) > 16  # 8 bits are used
        else:
            assert torch.equal(actual, weight.half().float())
    matrices = [weight for weight in weights.values() if weight.dim() == 2]
    spared = sum(weight.numel() - 4 * len(weight) for weight in matrices)
    half, eighth = ((folder / "model.safetensors").stat().st_size for folder in (saved, tmp_path / "int8"))
    assert half - eighth == pytest.approx(spared, abs=150 * len(matrices))  # but for the table of offsets


def test_integers_stay_the_same_however_often_they_are_stored(tiny_bundle: Bundle, tmp_path: Path) -> None:
    save_bundle(replace(tiny_bundle, weight_format="int8"), tmp_path / "once")
    save_bundle(load_bundle(tmp_path / "once"), tmp_path / "twice")
    once, twice = (safetensors.torch.load_file(tmp_path / name / "model.safetensors") for name in ("once", "twice"))
    assert once.keys() == twice.keys()
    for name, tensor in once.items():
        if tensor.dtype == torch.int8:
            assert torch.equal(tensor, twice[name])
        else:
            torch.testing.assert_close(twice[name], tensor, rtol=1e-6, atol=0)
    exported = export_onnx(load_bundle(tmp_path / "once").acoustic_model)
    integers = [
        numpy_helper.to_array(constant)
        for constant in quantize_onnx(exported).graph.initializer
        if constant.name.endswith(".integers")
    ]
    rounded = sorted(int(np.abs(array.astype(int)).sum()) for array in integers)
    assert sum(rounded) == sum(int(t.int().abs().sum()) for t in once.values() if t.dtype == torch.int8)


def test_what_8_bits_cannot_stand_for_is_refused(make_bundle: BundleMaker, tmp_path: Path) -> None:
    bundle = make_bundle(0)
    with torch.no_grad():
        next(weight for weight in bundle.acoustic_model.parameters() if weight.dim() == 2)[0, 0] = torch.inf
    with pytest.raises(OptionError, match=r"holds numbers that are not finite; 8 bits cannot"):
        save_bundle(replace(bundle, weight_format="int8"), tmp_path / "int8")
    assert not (tmp_path / "int8").exists()


def test_a_loaded_model_is_ready_to_serve(saved: Path) -> None:
    model = load_bundle(saved).acoustic_model
    assert not any(module.training for module in model.modules())
    assert not any(weight.requires_grad for weight in model.parameters())


def test_saving_again_replaces_the_bundle_and_leaves_nothing_else(make_bundle: BundleMaker, saved: Path) -> None:
    save_bundle(replace(make_bundle(1), name="second"), saved)
    assert load_bundle(saved).name == "second"
    assert os.listdir(saved.parent) == ["bundle"]
    assert sorted(os.listdir(saved)) == ["config.json", "model.safetensors"]


def test_saving_through_a_link_replaces_what_it_points_to(tiny_bundle: Bundle, saved: Path) -> None:
    link = saved.with_name("link")
    link.symlink_to("bundle")
    save_bundle(replace(tiny_bundle, name="second"), link)
    assert link.is_symlink()
    assert load_bundle(saved).name == "second"


@pytest.mark.parametrize(
    "can_exchange",
    [
        pytest.param(True, id="exchange", marks=pytest.mark.skipif(sys.platform != "linux", reason="Linux's call")),
        pytest.param(False, id="two renames"),
    ],
)
def test_who_reads_while_bundles_are_replaced_gets_one_of_them_whole(
    make_bundle: BundleMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_exchange: bool
) -> None:
    """The name says which weights belong to it. Where a system has no exchange, a moment without any bundle is left."""
    if not can_exchange:
        monkeypatch.setattr(checkpoint, "_exchange", lambda one, other: False)
    bundles = {name: replace(make_bundle(seed), name=name) for seed, name in enumerate(["even", "odd"])}
    biases = {name: bundle.acoustic_model.head.bias.half().float() for name, bundle in bundles.items()}
    path = tmp_path / "bundle"
    save_bundle(bundles["even"], path)
    stop, failures = threading.Event(), []

    def write() -> None:
        try:
            for index in range(1, 100_000):
                if stop.is_set():
                    return
                save_bundle(bundles[("even", "odd")[index % 2]], path)
        except OSError as error:
            failures.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    seen: set[str] = set()
    reads, give_up_s = 0, time.monotonic() + 60
    try:
        while (reads < 60 or len(seen) < 2) and time.monotonic() < give_up_s:
            reads += 1
            try:
                loaded = load_bundle(path)
            except BundleNotFoundError:
                assert not can_exchange
                continue
            assert torch.equal(loaded.acoustic_model.head.bias, biases[loaded.name])
            seen.add(loaded.name)
    finally:
        stop.set()
        writer.join()
    assert not failures
    assert seen == {"even", "odd"}
    assert os.listdir(tmp_path) == ["bundle"]


def test_a_full_disk_leaves_the_old_bundle_and_no_debris(
    make_bundle: BundleMaker, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, content: bytes) -> int:
        with self.open("wb") as file:
            file.write(content[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        save_bundle(replace(make_bundle(1), name="second"), saved)
    monkeypatch.undo()
    assert load_bundle(saved).name == "tiny"
    assert os.listdir(saved.parent) == ["bundle"]


def test_a_disk_that_really_refuses_is_an_oserror(tiny_bundle: Bundle, saved: Path) -> None:
    """A limit on the size of files makes the system itself refuse the write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError, match="too large") as refused:
            save_bundle(tiny_bundle, saved)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert refused.value.errno == errno.EFBIG
    assert load_bundle(saved).name == "tiny"
    assert os.listdir(saved.parent) == ["bundle"]


def test_a_failed_rename_puts_the_old_bundle_back(
    tiny_bundle: Bundle, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def refuse_the_new_one(self: Path, target: Path) -> Path:
        if target == saved and not self.name.endswith(".old"):
            raise PermissionError("not now")
        return rename(self, target)

    monkeypatch.setattr(checkpoint, "_exchange", lambda one, other: False)
    monkeypatch.setattr(Path, "rename", refuse_the_new_one)
    with pytest.raises(PermissionError, match="not now"):
        save_bundle(replace(tiny_bundle, name="second"), saved)
    assert load_bundle(saved).name == "tiny"
    assert os.listdir(saved.parent) == ["bundle"]


def test_what_is_no_bundle_is_not_overwritten(tiny_bundle: Bundle, tmp_path: Path) -> None:
    thesis = tmp_path / "documents" / "thesis.txt"
    thesis.parent.mkdir()
    thesis.write_text("years of work")
    for place in (thesis.parent, thesis):
        with pytest.raises(FileExistsError, match="is not a bundle"):
            save_bundle(tiny_bundle, place)
    assert thesis.read_text() == "years of work"


def test_an_empty_directory_may_be_taken(tiny_bundle: Bundle, tmp_path: Path) -> None:
    save_bundle(tiny_bundle, tmp_path)
    assert load_bundle(tmp_path).name == "tiny"


def test_nothing_there_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(BundleNotFoundError, match=f"no bundle at {place}"):
            load_bundle(place)


def test_one_flipped_bit_is_a_hash_error(saved: Path) -> None:
    weights = bytearray((saved / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (saved / "model.safetensors").write_bytes(weights)
    with pytest.raises(BundleHashError, match=r"model.safetensors has SHA-256 [0-9a-f]{64}; config.json promises"):
        load_bundle(saved)


def test_missing_weights_are_a_hash_error(saved: Path) -> None:
    (saved / "model.safetensors").unlink()
    with pytest.raises(BundleHashError, match=r"cannot be read, and the bundle's config.json lists it"):
        load_bundle(saved)


def test_a_speller_is_of_the_fourth_format_and_what_has_none_of_those_before(
    make_bundle: BundleMaker, tmp_path: Path
) -> None:
    """Earlier versions read what has no speller: nothing in it is new to them."""
    for options, version in (({}, 1), ({"n_phones": 41}, 3), ({"n_phones": 41, "spelling_layers": 2}, 4)):
        bundle = make_bundle(0, **options)
        save_bundle(bundle, tmp_path / "bundle")
        config = json.loads((tmp_path / "bundle" / "config.json").read_text())
        assert config["format_version"] == version
        assert ("spelling_layers" in config["acoustic_model"]) == (version == 4)
        loaded = load_bundle(tmp_path / "bundle").acoustic_model
        assert loaded.config == bundle.acoustic_model.config
        for name, weight in bundle.acoustic_model.state_dict().items():
            assert torch.equal(loaded.state_dict()[name], weight.half().float())


@pytest.mark.parametrize("version", [0, 5, "1", None])
def test_another_format_version_is_named(saved: Path, version: object) -> None:
    edit_config(saved, lambda config: config.update(format_version=version))
    with pytest.raises(BundleFormatError, match=f"has bundle format {version!r}; .* reads formats 1 to 4"):
        load_bundle(saved)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000], ids=["empty", "cut", "bytes", "deep"])
def test_a_config_that_is_not_json_is_a_format_error(saved: Path, content: bytes) -> None:
    (saved / "config.json").write_bytes(content)
    with pytest.raises(BundleFormatError, match="is not JSON"):
        load_bundle(saved)


@pytest.mark.parametrize("content", ["[]", "null", "1", '"bundle"', "{}"])
def test_json_of_another_kind_is_a_format_error(saved: Path, content: str) -> None:
    (saved / "config.json").write_text(content)
    with pytest.raises(BundleFormatError, match="has bundle format None"):
        load_bundle(saved)


@pytest.mark.parametrize(
    "part", ["front_end", "tokenizer", "acoustic_model", "sha256", "name", "created_at", "training"]
)
def test_a_missing_part_is_a_format_error(saved: Path, part: str) -> None:
    edit_config(saved, lambda config: config.pop(part))
    with pytest.raises(BundleFormatError, match=part):
        load_bundle(saved)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("front_end", {"kind": "plp"}),
        ("front_end", {"n_mels": 0}),
        ("front_end", {"n_mels": "80"}),
        ("front_end", {"hop_ms": 1e-9}),
        ("front_end", {"window_ms": 1e999, "hop_ms": 1e999}),
        ("front_end", {"colour": "blue"}),
        ("front_end", []),
        ("tokenizer", {"characters": ""}),
        ("acoustic_model", {"n_layers": 0}),
        ("acoustic_model", {"hidden_size": 17}),
        ("sha256", []),
        ("sha256", {}),
    ],
    ids=str,
)
def test_unusable_options_are_a_format_error(saved: Path, part: str, value: object) -> None:
    """Never an error from outside the bundle family: whoever starts a service catches that one."""

    def spoil(config: dict[str, Any]) -> None:
        config[part] = config[part] | value if isinstance(value, dict) and value else value

    edit_config(saved, spoil)
    with pytest.raises(BundleFormatError, match="not a bundle of format 1"):
        load_bundle(saved)


def test_weights_without_a_hash_are_not_loaded(saved: Path) -> None:
    edit_config(saved, lambda config: config.update(sha256={}))
    with pytest.raises(BundleFormatError):
        load_bundle(saved)


def test_weights_that_are_no_safetensors_are_a_format_error(saved: Path) -> None:
    garbage = b"not weights, but hashed all right"
    (saved / "model.safetensors").write_bytes(garbage)
    digest = hashlib.sha256(garbage).hexdigest()
    edit_config(saved, lambda config: config["sha256"].update({"model.safetensors": digest}))
    with pytest.raises(BundleFormatError, match="not a bundle of format 1"):
        load_bundle(saved)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "sub/file", "..", ".", ""])
def test_files_outside_the_bundle_are_not_touched(saved: Path, name: str) -> None:
    secret = saved.parent / "secret"
    secret.write_text("secret")
    digest = hashlib.sha256(b"secret").hexdigest()
    edit_config(saved, lambda config: config["sha256"].update({name: digest}))
    with pytest.raises(BundleFormatError, match="lie in its own directory"):
        load_bundle(saved)


def test_parts_that_do_not_fit_together_make_no_bundle(tiny_bundle: Bundle) -> None:
    with pytest.raises(OptionError, match="front end gives 40 feature bins; the acoustic model takes 80"):
        replace(tiny_bundle, front_end=FrontEnd(FrontEndConfig(kind="mfcc")))
    with pytest.raises(OptionError, match="tokenizer has 3 units with blank; the acoustic model gives 29"):
        replace(tiny_bundle, tokenizer=CharacterTokenizer("ab"))
    wider = AcousticModel(replace(tiny_bundle.acoustic_model.config, n_features=81))
    with pytest.raises(OptionError, match="front end gives 80 feature bins; the acoustic model takes 81"):
        replace(tiny_bundle, acoustic_model=wider)


def edit_config(bundle: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    config = json.loads((bundle / "config.json").read_text())
    edit(config)
    (bundle / "config.json").write_text(json.dumps(config))


def assert_same_settings(actual: Bundle, expected: Bundle) -> None:
    assert actual.front_end.config == expected.front_end.config
    assert actual.acoustic_model.config == expected.acoustic_model.config
    assert actual.tokenizer == expected.tokenizer
    assert (actual.name, actual.training, actual.created_at) == (
        expected.name,
        expected.training,
        expected.created_at,
    )


@pytest.mark.parametrize("search", [ConfidenceWeights(0.5, 1.25, agreement=2.0), None], ids=["search", "greedy only"])
def test_how_sure_words_are_comes_back(tiny_bundle: Bundle, tmp_path: Path, search: ConfidenceWeights | None) -> None:
    config = ConfidenceConfig(search, ConfidenceWeights(-0.1, 0.75))
    save_bundle(replace(tiny_bundle, confidence=config), tmp_path / "bundle")
    assert load_bundle(tmp_path / "bundle").confidence == config


def test_a_bundle_that_does_not_know_how_sure_words_are_loads(saved: Path) -> None:
    values = json.loads((saved / "config.json").read_text())
    del values["confidence"]
    (saved / "config.json").write_text(json.dumps(values))
    assert load_bundle(saved).confidence is None
