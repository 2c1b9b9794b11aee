"""Anyone's images as the samples of a model: ``family = "samples"``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from bench.data.loading import load_splits
from bench.data.registry import DATASETS
from bench.errors import SuiteError

if TYPE_CHECKING:
    from bench.api import Run
    from tests.conftest import Project, Site

SUITE = """\
[suite]
name = "theirs"
[data]
dataset = "digits"
[[model]]
family = "samples"
{source}
[[evaluation]]
kind = "accuracy"
[[evaluation]]
kind = "ood"
sets = ["uniform"]
[[evaluation]]
kind = "likelihood"
[[evaluation]]
kind = "generation"
selection = "{selection}"
"""


@pytest.fixture(scope="module")
def digits() -> Any:
    return load_splits(DATASETS.get("digits"), Path("/"), seed=0, validation=200).train


def run(project: Project, source: str, selection: str = "buffer-or-fresh") -> Run:
    text = SUITE.format(source=source, selection=selection)
    return project.bench.run(project.suite(text), in_process=True, device="cpu")


def numbers(project: Project, outcome: Run) -> dict[str, dict[str, Any]]:
    (job,) = [job for job in outcome.plan.jobs if job.id.endswith("/generation")]
    record = project.bench.store.folder(job.key).record_json()
    assert record is not None
    return {f"{n['metric']}@{n['argument']}".rstrip("@"): n for n in record["numbers"]}


def why(project: Project, outcome: Run) -> str:
    (train,) = [job for job in outcome.plan.jobs if job.id.endswith("samples/digits/seed1/train")]
    error = project.bench.store.folder(train.key).error()
    assert error is not None
    return str(error["message"])


def as_folder(root: Path, images: Any) -> None:
    for place, image in enumerate(images):
        path = root / f"{place % 3}" / f"{place:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0]).save(path)


def test_archive_folder_and_callable_give_the_same_numbers(project: Project, site: Site, digits: Any) -> None:
    images = np.round(digits.unit_images()[:60] * 255).astype(np.uint8)
    np.savez(project.root / "suites.npz", images=images)
    ordered = images[np.argsort(np.arange(60) % 3, kind="stable")]  # the order of a folder: by its folders' names
    as_folder(project.root / "pictures", images)
    np.savez(project.root / "ordered.npz", arr_0=ordered.transpose(0, 2, 3, 1))
    site.module(
        "maker",
        f"""
        import numpy as np, torch
        def make(count, seed):
            with np.load({str(project.root / "ordered.npz")!r}) as arrays:
                images = torch.from_numpy(arrays["arr_0"]).permute(0, 3, 1, 2)[:count]
            return images.float() / 255
        """,
    )
    sources = ('path = "../pictures"', 'path = "../ordered.npz"', 'callable = "maker:make"\ncount = 60')
    found = [numbers(project, run(project, source)) for source in sources]
    values = [{name: number["value"] for name, number in one.items()} for one in found]
    assert values[0] == values[1] == values[2]
    # Copies of training images: at no distance from them, and inside of their balls.
    assert values[0]["nearest"] == pytest.approx(0, abs=0.02)
    assert values[0]["judge-precision"] == 1
    assert values[0]["fcd"] < values[0]["fcd@noise"] / 10


def test_what_needs_classes_or_a_density_is_not_applicable_and_says_why(project: Project, digits: Any) -> None:
    np.savez(project.root / "some.npz", images=digits.unit_images()[:40])
    outcome = run(project, 'path = "../some.npz"')
    assert outcome.exit_code() == 0
    reasons = {job.id.rpartition("/")[2]: job.blocked for job in outcome.plan.jobs if job.kind == "evaluate"}
    assert reasons == {
        "accuracy": "samples does not classify",
        "ood": "samples has no density model",
        "likelihood": "samples has no exact density",
        "generation": None,
    }
    assert not [job for job in outcome.plan.jobs if job.kind == "predict"]
    found = numbers(project, outcome)
    assert found["agreement"]["reason"] == "the images were made for no class"
    (job,) = [job for job in outcome.plan.jobs if job.id.endswith("/generation")]
    with Image.open(project.bench.store.folder(job.key).file("samples.png")) as picture:
        drawn = np.asarray(picture)
    assert (drawn != 128).any()  # images without a class are in the picture


def test_labels_say_for_which_class_an_image_was_made(project: Project, digits: Any) -> None:
    images, labels = digits.unit_images()[:80], digits.labels[:80]
    np.savez(project.root / "right.npz", images=images, labels=labels)
    np.savez(project.root / "wrong.npz", images=images, labels=(labels + 1) % 10)
    right, wrong = (numbers(project, run(project, f'path = "../{name}.npz"')) for name in ("right", "wrong"))
    assert right["agreement"]["value"] > 0.95
    assert wrong["agreement"]["value"] < 0.05


@pytest.mark.parametrize(
    ("selection", "reason"),
    [
        ("fresh-k-steps", "the model makes no new images"),
        ("buffer-top-k-per-class", "the model does not classify, so it is not more confident of some images"),
    ],
)
def test_what_only_a_network_could_do_gives_a_reason(
    project: Project, digits: Any, selection: str, reason: str
) -> None:
    np.savez(project.root / "some.npz", images=digits.unit_images()[:40])
    found = numbers(project, run(project, 'path = "../some.npz"', selection))
    assert reason in found["fcd"]["reason"]


def test_the_content_of_files_is_in_the_key(project: Project, digits: Any) -> None:
    def key() -> str:
        text = SUITE.format(source='path = "../pictures"', selection="buffer-or-fresh")
        return next(job.key for job in project.plan(text).jobs if job.id.endswith("samples/digits/seed1/train"))

    images = np.round(digits.unit_images()[:4] * 255).astype(np.uint8)
    as_folder(project.root / "pictures", images)
    before = key()
    assert key() == before
    (project.root / "pictures" / ".hidden.png").write_bytes(b"")
    assert key() == before
    as_folder(project.root / "pictures", images[::-1])
    assert key() != before


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "give either path or callable"),
        ('path = "a.npz"\ncallable = "a:b"', "give either path or callable"),
        ('path = "nowhere"', "there is no file or folder"),
        ('path = "../bench.toml"', "neither a folder nor an .npz archive"),
        ('path = "../empty"', "there is no image"),
        ('callable = "nowhere:make"', "no module 'nowhere'"),
        ('path = "a.npz"\nselect = "best-validation"', "select"),
    ],
)
def test_mistakes_are_found_before_anything_runs(project: Project, source: str, message: str) -> None:
    (project.root / "empty").mkdir()
    with pytest.raises(SuiteError, match=message):
        project.plan(SUITE.format(source=source, selection="buffer-all"))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"imagse": np.zeros((3, 8, 8))}, "did you mean 'images'?"),
        ({"images": np.zeros((3, 9, 9))}, r"images of shape \(1, 9, 9\)"),
        ({"images": np.full((3, 8, 8), 7.0)}, r"must lie in \[0, 1\]"),
        ({"images": np.zeros((3, 8, 8)), "labels": np.array([0, 1, 10])}, "label 10, and the data set has 10 classes"),
        ({"images": np.zeros((3, 8, 8)), "labels": np.array([0, 1])}, "expected integers of shape"),
    ],
)
def test_files_that_do_not_fit_fail_with_the_reason(project: Project, arrays: Any, message: str) -> None:
    np.savez(project.root / "some.npz", **arrays)
    outcome = run(project, 'path = "../some.npz"')
    assert outcome.exit_code() == 1
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(why(project, outcome))


def test_a_callable_that_breaks_its_contract_is_named(project: Project, site: Site) -> None:
    site.module(
        "maker",
        """
        import numpy as np
        few = lambda count, seed: np.zeros((count - 1, 1, 8, 8))
        text = lambda count, seed: "images"
        """,
    )
    assert "returned 9 images, and was asked for 10" in why(project, run(project, 'callable = "maker:few"\ncount = 10'))
    assert "returned a str, expected an array or tensor" in why(project, run(project, 'callable = "maker:text"'))
