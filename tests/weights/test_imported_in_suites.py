"""Imported weights in suites: their results, and what happened to them since the import."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

from bench.errors import DamagedFileError
from bench.files.tensors import load_tensors, save_tensors
from bench.keys import file_digest
from bench.store import Store
from bench.weights.find import Found, find_weights
from bench.weights.load import adopt
from tests.weights.conftest import SUITE, authors, bring, command, imported, run_suite, write_jem

if TYPE_CHECKING:
    from tests.conftest import Project


def digits(part: str = "test") -> tuple[Tensor, Tensor]:
    from bench.data.loading import load_splits
    from bench.data.registry import DATASETS

    split = getattr(load_splits(DATASETS.get("digits"), Path("/"), seed=0, validation=200), part)
    return torch.from_numpy(split.unit_images()), torch.from_numpy(split.labels)


def test_a_suite_evaluates_imported_weights_without_training(
    project: Project, write_gmmc: Callable[..., tuple[Path, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.train.loop import Trainer

    monkeypatch.setattr(Trainer, "run", lambda *_: pytest.fail("it was trained"))
    state = authors.gmmc_state(channels=1)
    path, marker = write_gmmc(state)
    bring(path, project.bench.settings.weights, image_shape=(1, 8, 8))
    records = run_suite(project, "gmmc-gen")
    train = records["gmmc-gen/digits/seed1/train"]
    assert train["status"] == "ok"
    assert "history" not in train

    images, labels = digits()
    logits = authors.gmmc_logits(state, images * 2 - 1, authors.centers())
    (accuracy,) = records["gmmc-gen/digits/seed1/accuracy"]["numbers"]
    assert accuracy["value"] == pytest.approx(float((logits.argmax(1) == labels).double().mean()))
    assert accuracy["n"] == len(labels)
    # gamma^2 over the clean training set, and the read-out of the paper's Eq. 11 with it.
    weights, _ = load_tensors(project.bench.store.folder(train["key"]).file("weights.safetensors"))
    train_images, train_labels = digits("train")
    distance = -2 * authors.gmmc_logits(state, train_images * 2 - 1, authors.centers()).gather(1, train_labels[:, None])
    assert float(weights["gamma2"]) == pytest.approx(float(distance.double().mean()) / 64, rel=1e-4)
    metrics = {
        (number["metric"], number["argument"]): number
        for number in records["gmmc-gen/digits/seed1/calibration"]["numbers"]
    }
    assert metrics["ece", "paper"]["value"] != metrics["ece", ""]["value"]
    assert 0 <= metrics["ece", "paper"]["value"] <= 1
    # The buffer came along, for `bench sample --source buffer` and evaluations of generation.
    model = project.bench.load_model("gmmc-gen")
    samples = model.stored_samples()
    assert samples is not None
    assert samples.labels.tolist() == [i % 10 for i in range(20)]
    assert not marker.exists()


def test_everything_downstream_uses_the_centers_in_the_file(
    project: Project, write_gmmc: Callable[..., tuple[Path, Path]]
) -> None:
    """After the import and after the way through the store: to the bit those that the model was trained with."""
    from bench.attacks.frozen import FrozenModel

    theirs = authors.centers()
    assert float(theirs[9, 9]) == pytest.approx(0.006, abs=5e-4)  # ours is 0
    state = authors.gmmc_state(channels=1)
    bring(write_gmmc(state)[0], project.bench.settings.weights, image_shape=(1, 8, 8))
    records = run_suite(project, "gmmc-gen")
    images = digits()[0][:64]
    features = authors.features({name.removeprefix("f."): tensor for name, tensor in state.items()}, images * 2 - 1)
    for model in (
        imported(project.bench.settings.weights, "gmmc-gen", shape=(1, 8, 8)),
        project.bench.load_model("gmmc-gen"),
    ):
        assert torch.equal(model.class_centers(), theirs)
        assert torch.equal(FrozenModel(model).class_centers(), theirs)
        expected = -0.5 * (features[:, None] - theirs).square().sum(2)
        with torch.no_grad():
            assert torch.allclose(model(images), expected, rtol=1e-5, atol=1e-3)
            read = {name: readout(model.features(images)) for name, readout in model.readouts().items()}
        assert torch.allclose(read["code"], expected.log_softmax(1), atol=1e-3)
        shares = ((9 * features @ theirs.T / 100 + 1) / 10).clamp(1e-12, 1)
        assert torch.allclose(read["linear"].exp(), shares / shares.sum(1, keepdim=True), atol=1e-4)
    facts = records["gmmc-gen/digits/seed1/train"]["imported"]
    assert facts["facts"]["centers"]["max_difference"] == float(theirs[9, 9])
    assert facts["facts"]["centers"]["cosine_min"] == pytest.approx(-1 / 9, abs=1e-6)
    assert facts["format"] == "gmmc"
    assert any("the model keeps the centers in the checkpoint" in note for note in facts["notes"])


def test_other_centers_are_another_model(project: Project, write_gmmc: Callable[..., tuple[Path, Path]]) -> None:
    root = project.bench.settings.weights
    path, _ = write_gmmc(authors.gmmc_state(channels=1))
    keys = []
    for centers in (authors.centers(), None):
        if centers is None:  # the file of a code that keeps no head: the exact ones
            torch.save({"model_state_dict": authors.gmmc_state(channels=1)}, path)
        bring(path, root, image_shape=(1, 8, 8))
        keys.append({job.key for job in project.plan(SUITE.format(family="gmmc-gen", backbone="wrn-10-1")).jobs})
        shutil.rmtree(root / "theirs")
    assert not keys[0] & keys[1]


def test_a_scale_that_is_not_that_of_the_centers(
    project: Project, write_gmmc: Callable[..., tuple[Path, Path]]
) -> None:
    """The read-out "linear" divides by S^2: with another S than that of the centers it would be wrong in silence."""
    bring(write_gmmc(authors.gmmc_state(channels=1))[0], project.bench.settings.weights, image_shape=(1, 8, 8))
    text = SUITE.format(family="gmmc-gen", backbone="wrn-10-1").replace('"theirs"\n[[', '"theirs"\nscale = 3.0\n[[')
    outcome = project.bench.run(project.suite(text), in_process=True, device="cpu")
    (train,) = [job for job in outcome.plan.jobs if job.kind == "train"]
    error = project.bench.store.folder(train.key).error() or {}
    assert "its class centers have norms 10 to 10, the model has scale 3" in error["message"]


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        ("weights gone", "weights.safetensors is missing; import it again: delete "),
        ("weights edited", "weights.safetensors was changed or damaged after the import (another SHA-256)"),
        ("weights cut", "weights.safetensors was changed or damaged after the import"),
        ("buffer gone", "state.safetensors is missing; import it again"),
        ("buffer edited", "state.safetensors was changed or damaged after the import"),
        ("facts cut", "model.json is damaged; import it again"),
        ("facts of no text", "model.json is damaged; import it again"),
        ("facts of another kind", "model.json is damaged; import it again"),
        ("another model", "has num_classes 7, the suite says 10"),
        ("all gone", "no imported model 'theirs' in "),
    ],
)
def test_what_happened_to_imported_weights_is_told_when_planning(
    project: Project, write_gmmc: Callable[..., tuple[Path, Path]], harm: str, message: str
) -> None:
    root = project.bench.settings.weights
    bring(write_gmmc(authors.gmmc_state(channels=1))[0], root, image_shape=(1, 8, 8))
    suite = project.suite(SUITE.format(family="gmmc-gen", backbone="wrn-10-1"))
    assert {job.blocked for job in project.bench.plan(suite).jobs} == {None}
    what, _, how = harm.partition(" ")
    names = {"weights": "weights.safetensors", "buffer": "state.safetensors", "facts": "model.json"}
    file = root / "theirs" / names.get(what, "model.json")
    content = file.read_bytes()
    match how:
        case "gone":
            file.unlink()
        case "edited":
            file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        case "cut":
            file.write_bytes(content[: len(content) // 2])
        case "of no text":
            file.write_bytes(b"\xff" + content)
        case "of another kind":
            file.write_bytes(b"[1, 2]")
        case "model":
            file.write_bytes(content.replace(b'"num_classes": 10', b'"num_classes": 7'))
    checked = command("check", str(suite))
    assert message in checked.stdout
    assert {str(job.blocked) for job in project.bench.plan(suite).jobs} == {
        next(line.removeprefix("n/a: ") for line in checked.stdout.splitlines() if line.startswith("n/a: "))
    }
    assert project.bench.run(suite, in_process=True, device="cpu").exit_code() == 5


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../../etc", "no imported model"),
        ("x" * 300, "File name too long"),
        ("~nobody-has-this-name/a.safetensors", "cannot be read"),
        ("folder.safetensors", "is not a file"),
        ("text.safetensors", "is not a readable safetensors file"),
        ("none.safetensors", "not found"),
    ],
)
def test_weights_that_cannot_be(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "text.safetensors").write_text("these are not weights")
    found = find_weights(name, tmp_path / "weights", tmp_path)
    assert isinstance(found, str)
    assert message in found


def test_batch_normalised_weights_in_a_suite(project: Project, tmp_path: Path) -> None:
    """Running statistics are part of what is imported, and evaluation uses them."""
    state = authors.jem_state("batch", channels=1)
    path = write_jem(tmp_path / "a.pt", state)
    bring(
        path,
        project.bench.settings.weights,
        format_="jem",
        family="softmax",
        backbone="wrn-10-1-batch",
        image_shape=(1, 8, 8),
    )
    records = run_suite(project, "softmax", "wrn-10-1-batch")
    images, labels = digits()
    expected = (authors.jem_logits(state, images * 2 - 1).argmax(1) == labels).double().mean()
    (accuracy,) = records["softmax/digits/seed1/accuracy"]["numbers"]
    assert accuracy["value"] == pytest.approx(float(expected))


def test_weights_that_are_not_there_are_not_applicable(project: Project) -> None:
    outcome = project.bench.run(
        project.suite(SUITE.format(family="gmmc-gen", backbone="wrn-10-1")), in_process=True, device="cpu"
    )
    assert outcome.exit_code() == 5
    reasons = {status.reason for status in outcome.summary.states.values()}
    assert len(reasons) == 1
    assert "no imported model 'theirs'" in reasons.pop()


def test_other_weights_under_the_same_name_are_another_model(project: Project, tmp_path: Path) -> None:
    root = project.bench.settings.weights
    keys = []
    for seed in (0, 1):
        path = write_jem(tmp_path / "a.pt", authors.jem_state(channels=1, seed=seed))
        bring(path, root, format_="jem", family="jem", image_shape=(1, 8, 8))
        plan = project.plan(SUITE.format(family="jem", backbone="wrn-10-1"))
        keys.append({job.id: job.key for job in plan.jobs})
        for file in (root / "theirs").iterdir():
            file.unlink()
    assert all(keys[0][name] != keys[1][name] for name in keys[0])


def test_weights_that_changed_since_the_plan_are_not_used(project: Project, tmp_path: Path) -> None:
    from bench.execute.context import Site
    from bench.execute.worker import run_job

    root = project.bench.settings.weights
    bring(
        write_jem(tmp_path / "a.pt", authors.jem_state(channels=1)),
        root,
        format_="jem",
        family="jem",
        image_shape=(1, 8, 8),
    )
    (train,) = [
        job for job in project.plan(SUITE.format(family="jem", backbone="wrn-10-1")).jobs if job.kind == "train"
    ]
    weights, _ = load_tensors(root / "theirs" / "weights.safetensors")
    save_tensors(root / "theirs" / "weights.safetensors", {name: tensor + 1 for name, tensor in weights.items()})
    store = project.bench.store
    run_job(train, Site(store.root, project.bench.settings.data, root, "cpu", "test"))
    error = store.folder(train.key).error()
    assert error is not None
    assert "has changed since the suite was read" in error["message"]


def test_a_safetensors_file_beside_the_suite(project: Project, tmp_path: Path) -> None:
    """Without an import: a file with our names, relative to the suite."""
    bring(
        write_jem(tmp_path / "a.pt", authors.jem_state(channels=1)),
        tmp_path,
        format_="jem",
        family="jem",
        image_shape=(1, 8, 8),
    )
    (project.root / "suites").mkdir()
    (tmp_path / "theirs" / "weights.safetensors").rename(project.root / "suites" / "mine.safetensors")
    text = SUITE.format(family="jem", backbone="wrn-10-1").replace('"theirs"\n[[', '"mine.safetensors"\n[[')
    plan = project.plan(text)
    assert {job.blocked for job in plan.jobs} == {None}
    missing = project.plan(text.replace("mine.safetensors", "none.safetensors"))
    assert all("none.safetensors not found" in str(job.blocked) for job in missing.jobs)


def test_a_buffer_beside_imported_weights_is_in_the_key_and_held_to_its_digest(project: Project) -> None:
    """Another buffer beside equal weights used to be answered from the results of the first."""
    folder = project.bench.settings.weights / "theirs"

    class Network(torch.nn.Linear):
        def check_loaded(self) -> None:
            """As a classifier's: all is well."""

    network = Network(2, 2)
    weights = save_tensors(folder / "weights.safetensors", network.state_dict())
    facts = {
        "family": "gmmc-gen",
        "backbone": "wrn-10-1",
        "num_classes": 10,
        "image_shape": [1, 8, 8],
        "weights": weights,
    }
    (folder / "model.json").write_text(json.dumps(facts))

    def planned() -> Any:
        plan = project.plan(SUITE.format(family="gmmc-gen", backbone="wrn-10-1"))
        (train,) = [job for job in plan.jobs if job.kind == "train"]
        return train

    without = planned()
    assert without.blocked is None
    save_tensors(folder / "state.safetensors", {"images": torch.zeros(3)})
    first = planned()
    found = first.task.train.weights
    assert isinstance(found, Found)
    assert found.state_digest == file_digest(folder / "state.safetensors")
    save_tensors(folder / "state.safetensors", {"images": torch.ones(3)})
    assert len({without.key, first.key, planned().key}) == 3
    family, splits = None, None  # not reached
    with pytest.raises(DamagedFileError, match=r"state\.safetensors does not have the content that was recorded"):
        adopt(found, family, network, splits, Store(project.root).folder("ab" * 20), seed=1)  # type: ignore[arg-type]
