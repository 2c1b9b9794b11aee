"""Shared parts of all evaluations under attack: the model, the attacked items, and the loop over attack seeds."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from bench.evaluate.base import Evaluation, Outcome
from bench.evaluate.robust.accuracies import attack_seeds, nothing_finite

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.attacks import AttackResult, CleanPass, Flag
    from bench.attacks.spec import Attack
    from bench.data.spec import Split
    from bench.evaluate.inputs import Inputs
    from bench.family import Classifier

__all__ = ["NEXT_RANDOM", "NothingFiniteError", "Subject", "UnderAttack", "next_random"]

Result = TypeVar("Result")

LOOKED_AT = 64
"""Number of images for the checks of a model's outputs."""
NEXT_RANDOM = "targets (y + r) mod K with r uniform in 1..K-1 by seed and id"
"""Text of definitions on the target classes."""


class NothingFiniteError(Exception):
    """No output of the model is finite, so no image can be attacked."""


class UnderAttack(Evaluation):
    """An evaluation that attacks the model itself.

    Attributes:
        any_batch: Whether results do not depend on the batch size beyond the last bits of kernels, so that a GPU may
            take more images at once than the parameter says. Libraries may let a batch decide.
    """

    any_batch: ClassVar[bool] = False
    reads_model = True
    at_most = True

    def spent(self, config: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> float | None:
        """Two passes for every forward pass of an attack, because of the input gradient; one for those of searches,
        most of which take none. Every attack seed costs the same; the passes of the judge are left out.
        """
        each = {name: 2.0 for name in arrays if name == "forwards" or name.endswith(".forwards")}
        each |= {name: 1.0 for name in arrays if name == "search_forwards"}
        if not each:
            return None
        seeds = config.get("attack_seeds")
        total = sum(passes * float(arrays[name].sum()) for name, passes in each.items())
        return total * (seeds if isinstance(seeds, int) else 1)

    @abstractmethod
    def measure(self, config: Any, subject: Subject) -> Outcome:
        """Attack and measure. Runs in a worker.

        Raises:
            NothingFiniteError: No output of the model is finite.
        """

    def evaluate(self, config: Any, inputs: Inputs) -> Outcome:
        """Attack; the judge of ``bench.attacks`` decides. A model without any finite output has no values."""
        subject = Subject(config, inputs, any_batch=self.any_batch)
        try:
            outcome = self.measure(config, subject)
            if subject.batch_size != config.batch_size:
                outcome = replace(outcome, details={**outcome.details, "batch_size": subject.batch_size})
            return outcome
        except NothingFiniteError:
            return nothing_finite(self.columns(config), len(subject.test))


@dataclass
class Subject:
    """The model under attack and the attacked items.

    Attributes:
        config: Parameters of the evaluation.
        inputs: Inputs of the job.
        any_batch: Whether a GPU may take larger batches than the parameters say.
    """

    config: Any
    inputs: Inputs
    any_batch: bool = False

    @cached_property
    def model(self) -> Classifier:
        """The trained classifier."""
        return self.inputs.model()

    @cached_property
    def test(self) -> Split:
        """The attacked items: the first of the fixed order."""
        import numpy as np

        test = self.inputs.splits.test
        return test.take(np.arange(min(self.config.items, len(test))))

    @cached_property
    def images(self) -> NDArray[np.float32]:
        """(N, C, H, W) images of the items, in [0, 1]."""
        return self.test.unit_images()

    @cached_property
    def batch_size(self) -> int:
        """Items per forward pass: as the parameters say, or more if a GPU has room and results do not depend on it."""
        least: int = self.config.batch_size
        if not self.any_batch:
            return least
        import torch

        from bench.attacks.room import batch_size_for

        return batch_size_for(self.model, torch.from_numpy(self.images), least, self.inputs.share)

    @cached_property
    def clean(self) -> CleanPass:
        """The clean pass that all attacks share."""
        from bench.attacks import CleanPass

        return CleanPass(self.model, self.batch_size)

    @cached_property
    def targets(self) -> dict[str, Any]:
        """The argument ``targets`` (N,) of `bench.attacks.run`, if the parameters ask for targets; else nothing."""
        if getattr(self.config, "targets", "none") == "none":
            return {}
        test = self.test
        return {"targets": next_random(test.labels, test.ids, self.inputs.num_classes, self.config.seed)}

    @cached_property
    def common(self) -> dict[str, Any]:
        """Arguments of `bench.attacks.run` and related functions that do not depend on attack and seed."""
        return {
            "norm": getattr(self.config, "norm", "l2"),
            "batch_size": self.batch_size,
            "journal": self.inputs.journal,
            "clean": self.clean,
        }

    def attack(
        self, attack: Attack, *, seed: int, eps: str | None = None, rows: NDArray[np.int64] | None = None, **more: Any
    ) -> AttackResult:
        """Run one attack on all items, or on the items ``rows`` (M,).

        Args:
            attack: With its parameters.
            seed: Seed of the attack.
            eps: Budget; None for attacks that minimise the norm.
            rows: Indices of the attacked items; None: all of them.
            **more: Further arguments of `bench.attacks.run`.

        Raises:
            NothingFiniteError: No output of the model is finite.
        """
        from bench import attacks

        images, labels, ids = self.images, self.test.labels, self.test.ids
        if rows is not None:
            images, labels, ids = images[rows], labels[rows], ids[rows]
        told: Mapping[str, Any] = {**self.common, **more}
        result = attacks.run(attack, self.model, images, labels, eps=eps, seed=seed, ids=ids, **told)
        self.finite(result.clean_finite)
        return result

    def finite(self, clean_finite: NDArray[np.bool_]) -> None:
        """Refuse a model that has no finite output.

        Raises:
            NothingFiniteError: The model has no finite output.
        """
        if not clean_finite.any():
            raise NothingFiniteError

    def each_seed(self, make: Callable[[int, Callable[[int], None]], Result], steps: int = 1) -> list[Result]:
        """The results of ``make(seed, done)`` for all attack seeds.

        Args:
            make: Attacks under a seed; it may call ``done`` with the number of steps that are finished under that seed.
            steps: Number of steps under each seed.
        """
        seeds = attack_seeds(self.config)
        found = []
        for run, seed in enumerate(seeds):
            done = partial(self._tell, run * steps, len(seeds) * steps)
            found.append(make(seed, done))
            done(steps)
        return found

    def _tell(self, before: int, total: int, steps: int) -> None:
        self.inputs.progress({"done": before + steps, "total": total})

    def output_flags(self) -> list[Flag]:
        """LOGITS, RANDOM and DYNAMIC, from three forward passes of the first images."""
        import torch

        from bench.attacks import inspect_outputs
        from bench.attacks.verdict import dynamic_flag, logits_flag, random_flag

        traits = inspect_outputs(self.model, torch.from_numpy(self.images[:LOOKED_AT]).to(self.inputs.device))
        return [
            logits_flag(traits.probabilities, traits.not_finite_share),
            random_flag(traits.random, traits.batch_dependent),
            dynamic_flag(traits.dynamic),
        ]


def next_random(labels: NDArray[np.int64], ids: NDArray[np.int64], classes: int, seed: int) -> NDArray[np.int64]:
    """Targets (y + r) mod K, where r is uniform in 1..K-1 and depends on (seed, id) alone.

    Args:
        labels: (N,) true classes y.
        ids: (N,) identities of the items.
        classes: K >= 2.
        seed: Seed of the evaluation.

    Returns:
        (N,) targets, never equal to the label.
    """
    import numpy as np

    from bench.rng import uniform

    # Restart -1 is a separate stream that no attack uses.
    drawn = uniform(seed, np.asarray(ids), -1, 1)[:, 0].astype(np.float64)
    shift = 1 + np.floor(drawn * (classes - 1)).astype(np.int64)
    targets: NDArray[np.int64] = (labels + shift) % classes
    return targets
