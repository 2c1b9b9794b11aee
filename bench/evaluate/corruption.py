"""Accuracy under common corruptions (Hendrycks and Dietterich, ICLR 2019): fifteen corruptions at five severities."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, PositiveInt, field_validator

from bench.data.cifar_c import CORRUPTIONS, PUBLISHED, SEVERITIES
from bench.evaluate.base import Column, Evaluation, EvaluationConfig, Outcome, Used
from bench.evaluate.corrupted import LIBRARY, VERSION, eight_bits, kept_corruptions, not_installed, unfit
from bench.evaluate.corruption_numbers import MEAN, corruption_numbers
from bench.evaluate.robust.accuracies import nothing_finite
from bench.spec import FamilySpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.data.spec import Split
    from bench.evaluate.inputs import Inputs
    from bench.family import Classifier

__all__ = ["Corruption", "CorruptionConfig"]

_CIFAR = (3, 32, 32)


class CorruptionConfig(EvaluationConfig):
    """Parameters of the evaluation."""

    source: Literal["generated", "published"] = Field(
        "generated",
        description=f'"generated": corruptions of the test images made by {LIBRARY} with the severities of ImageNet-C; '
        '"published": CIFAR-10-C or CIFAR-100-C, for cifar10 and cifar100 only',
    )
    corruptions: tuple[str, ...] = Field(
        CORRUPTIONS, min_length=1, description="Corruptions over which the mean is taken; the default is the benchmark"
    )
    severities: tuple[int, ...] = Field(
        tuple(range(1, SEVERITIES + 1)),
        min_length=1,
        description="Severities over which the mean is taken, 1 to 5; the default is the benchmark",
    )
    items: PositiveInt = Field(1000, description="Test items: the first of the fixed order")
    batch_size: PositiveInt = Field(128, description="Items of a forward pass; changes no image")

    @field_validator("corruptions")
    @classmethod
    def _known(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        from bench.errors import did_you_mean

        for value in values:
            if value not in CORRUPTIONS:
                raise ValueError(f"unknown corruption {value!r}; {did_you_mean(value, CORRUPTIONS)}")
        return _once(values)

    @field_validator("severities")
    @classmethod
    def _in_range(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        for value in values:
            if not 1 <= value <= SEVERITIES:
                raise ValueError(f"a severity is 1 to {SEVERITIES}, got {value}")
        return _once(values)

    @property
    def made(self) -> str:
        """The text of definitions on the images."""
        if self.source == "published":
            return "CIFAR-10-C or CIFAR-100-C as published"
        return f"{LIBRARY} {VERSION} on 8-bit images, severities of ImageNet-C"

    def over(self, corruptions: Sequence[str], severities: Sequence[int]) -> str:
        """The definition of the accuracy under one corruption, or of the mean over several."""
        whole = tuple(corruptions) == CORRUPTIONS
        names = f"{len(CORRUPTIONS)} corruptions" if whole else ", ".join(corruptions)
        levels = f"{'severity' if len(severities) == 1 else 'severities'} {', '.join(map(str, severities))}"
        if len(corruptions) > 1:
            return f"accuracy[argmax of logits, mean over {names} at {levels}; {self.made}]"
        at = f"mean over {levels}" if len(severities) > 1 else f"at {levels}"
        return f"accuracy[argmax of logits, {names}, {at}; {self.made}]"


def _once(values: tuple[Any, ...]) -> tuple[Any, ...]:
    twice = [value for place, value in enumerate(values) if value in values[:place]]
    if twice:
        raise ValueError(f"{twice[0]!r} is listed twice")
    return values


class Corruption(Evaluation):
    """Share of test items that are classified correctly under common corruptions, which no attacker chose.

    The mean corruption error is unnormalised: 1 less the mean accuracy. The paper divides the errors under a corruption
    by those of AlexNet on ImageNet-C; for other images there are no such errors, and papers on CIFAR-10-C print the
    unnormalised mean. A generated image depends on its pixels and on (seed, id of the item, corruption, severity)
    alone, so all models see the same images. A corruption that cannot be made for the size of the images is n/a, and so
    is every mean over it.
    """

    name = "corruption"
    version = 1
    summary = "Accuracy under 15 common corruptions at 5 severities, generated or CIFAR-10-C."
    source = "Hendrycks & Dietterich, ICLR 2019, arXiv:1903.12261; imagecorruptions; Zenodo 2535967, 3555552"
    Config = CorruptionConfig
    reads_model = True

    def label(self, config: CorruptionConfig) -> str:
        """Which images, and how many corruptions and severities if not all."""
        count, levels = len(config.corruptions), len(config.severities)
        told = "" if count == len(CORRUPTIONS) else f"{count} "
        at = "" if levels == SEVERITIES else f" at {levels} of {SEVERITIES} severities"
        return f"{told}corruptions{at} ({'CIFAR-C' if config.source == 'published' else 'generated'})"

    def columns(self, config: CorruptionConfig) -> tuple[Column, ...]:
        """Mean accuracy and error, the loss against clean images, clean accuracy; the mean at each severity; the mean
        under each corruption, and the accuracy under each at each severity.
        """
        return tuple(self._columns(config))

    def _columns(self, config: CorruptionConfig) -> Iterator[Column]:
        group = self.label(config)
        shares: dict[str, Any] = {"group": group, "unit": "fraction", "direction": "up", "test": "permutation"}
        names, levels = config.corruptions, config.severities
        mean = config.over(names, levels)
        yield Column(metric=MEAN, label="mean", definition=mean, primary=True, **shares)
        yield Column(
            metric="error",
            label="mCE (unnormalised)",
            definition=f"mean corruption error, unnormalised (not divided by AlexNet's errors): 1 - {mean}",
            **{**shares, "direction": "down"},
        )
        clean = "accuracy[argmax of logits, the same test items without corruption]"
        yield Column(
            metric="drop",
            label="drop",
            definition=f"{clean} less {mean}",
            within=(-1.0, 1.0),
            **{**shares, "direction": "down"},
        )
        yield Column(metric="clean", label="clean", definition=clean, **{**shares, "test": "mcnemar"})
        for level in levels:
            told = config.over(names, [level])
            yield Column(
                metric="severity",
                argument=str(level),
                label=f"severity {level}",
                definition=told,
                axis="severity",
                **shares,
            )
        for name in names:
            said = name.replace("_", " ")
            yield Column(metric=name, label=said, definition=config.over([name], levels), **shares)
            for level in levels:
                yield Column(
                    metric=name,
                    argument=str(level),
                    label=f"{said} {level}",
                    definition=config.over([name], [level]),
                    axis="severity",
                    **{**shares, "test": "mcnemar"},
                )

    def passes(self, config: CorruptionConfig, items: int, family: FamilySpec) -> float:  # noqa: ARG002
        """A forward pass for each corrupted and each clean image; making the images is no pass."""
        return float(min(config.items, items) * (1 + len(config.corruptions) * len(config.severities)))

    def impossible(self, config: CorruptionConfig, image_shape: tuple[int, int, int], classes: int) -> str | None:  # noqa: ARG002
        """Why no corruption can be had for such images, or that the library is missing; None if some can."""
        channels, height, width = image_shape
        shape = "x".join(map(str, image_shape))
        if config.source == "published":
            known = " and ".join(PUBLISHED)
            other = f"corrupted images are published for {known} at 3x32x32, not for images of {shape}"
            return None if image_shape == _CIFAR else other
        if channels not in (1, 3):
            return f"the corruptions are for grey and colour images, not for {channels} channels"
        if len(_absent(config, height, width)) == len(config.corruptions) * len(config.severities):
            return f"none of these corruptions can be made for images of {shape}"
        return not_installed()

    def published_sets(self, config: CorruptionConfig, dataset: str) -> tuple[str, ...] | str:
        """The corrupted set that belongs to the data set."""
        if config.source == "generated":
            return ()
        if dataset in PUBLISHED:
            return (PUBLISHED[dataset],)
        return f"corrupted images are published for {' and '.join(PUBLISHED)}, not for {dataset}"

    def uses(self, config: CorruptionConfig) -> tuple[Used, ...]:
        """The library in its one version."""
        return (Used("library", f"{LIBRARY} {VERSION}", 1, "imagecorruptions"),) if config.source == "generated" else ()

    def evaluate(self, config: CorruptionConfig, inputs: Inputs) -> Outcome:
        """Classify the corrupted images. An item without finite logits counts as wrong."""
        import numpy as np

        from bench.metrics.predictions import NO_CLASS

        test = inputs.splits.test
        test = test.take(np.arange(min(config.items, len(test))))
        _, height, width = test.image_shape
        absent = _absent(config, height, width) if config.source == "generated" else {}
        images = _images(config, inputs, test)
        model = inputs.model()
        identity = (
            "corruption",
            config.made,
            str(config.seed),
            inputs.digests[inputs.task.train.key],
            test.ids.tobytes(),
        )
        pages = inputs.journal.pages(*identity, test.unit_images().tobytes(), str(config.batch_size))
        clean = pages.remember("clean", lambda: {"classes": _classes(model, test.unit_images(), config, inputs)})
        if (clean["classes"] == NO_CLASS).all():
            return nothing_finite(self.columns(config), len(test))
        found: dict[tuple[str, int], NDArray[np.int64]] = {}
        every = [(name, level) for name in config.corruptions for level in config.severities]
        for done, (name, level) in enumerate(every):
            if (name, level) not in absent:

                def classify(name: str = name, level: int = level) -> Mapping[str, NDArray[Any]]:
                    return {"classes": _classes(model, images(name, level), config, inputs)}

                found[name, level] = np.asarray(pages.remember(f"{name}@{level}", classify)["classes"], dtype=np.int64)
            inputs.progress({"done": done + 1, "total": len(every)})
        answers = np.asarray(clean["classes"], dtype=np.int64)
        numbers, items = corruption_numbers(self.columns(config), test.labels, answers, found, absent)
        details = {"left_out": {f"{name}@{level}": why for (name, level), why in absent.items()}} if absent else {}
        return Outcome(numbers, {"ids": test.ids, **items}, details=details)


def _absent(config: CorruptionConfig, height: int, width: int) -> dict[tuple[str, int], str]:
    """Why combinations of corruption and severity cannot be made for the size of the images."""
    every = ((name, level) for name in config.corruptions for level in config.severities)
    reasons = {which: unfit(*which, height, width) for which in every}
    return {
        (name, level): f"{name} at severity {level} cannot be made for {height}x{width} pixels: {why}"
        for (name, level), why in reasons.items()
        if why is not None
    }


def _images(config: CorruptionConfig, inputs: Inputs, test: Split) -> Callable[[str, int], NDArray[np.float32]]:
    """Function from corruption and severity to the images of the test items, (N, C, H, W) in [0, 1]."""
    import numpy as np

    if config.source == "generated":
        made = kept_corruptions(eight_bits(test), test.ids, config.seed, inputs.task.train.data.dataset)
        return lambda name, level: made(name, level).astype(np.float32) / np.float32(255)
    from bench.data.cifar_c import published_images, published_labels
    from bench.data.spec import DamagedData

    (which,) = inputs.task.sets
    labels = published_labels(inputs.data_root, which)
    if test.ids.max() >= len(labels) or (labels[test.ids] != test.labels).any():
        raise DamagedData(f"the labels of {which} are not those of the test items of {inputs.task.train.data.dataset}")

    @lru_cache(maxsize=1)  # the severities of a corruption follow each other
    def last(name: str) -> NDArray[np.uint8]:
        return published_images(inputs.data_root, which, name)

    def published(name: str, level: int) -> NDArray[np.float32]:
        chosen: NDArray[np.float32] = last(name)[level - 1, test.ids].astype(np.float32) / np.float32(255)
        return chosen

    return published


def _classes(
    model: Classifier, images: NDArray[np.float32], config: CorruptionConfig, inputs: Inputs
) -> NDArray[np.int64]:
    """(N,) predicted classes, ``NO_CLASS`` without finite logits."""
    import numpy as np
    import torch

    from bench.metrics.predictions import predicted_classes

    found = []
    with torch.no_grad():
        for start in range(0, len(images), config.batch_size):
            batch = torch.from_numpy(images[start : start + config.batch_size]).to(inputs.device)
            found.append(predicted_classes(model(batch).double().cpu().numpy()))
    return np.concatenate(found)
