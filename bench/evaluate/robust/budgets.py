"""What all evaluations at fixed budgets share: their parameters, one job a budget, and the model under attack."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import Field, PositiveInt, ValidationInfo, field_validator

from bench.attacks.losses import LOSSES, get_loss
from bench.attacks.threat import LARGEST, ThreatModel, format_eps, parse_eps, parse_step
from bench.evaluate.base import Column, Evaluation, Outcome, Part
from bench.evaluate.robust.accuracies import nothing_finite
from bench.evaluate.robust.attack_seeds import AttackSeedsConfig, attack_seeds, paired_test, repeated

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.attacks import AttackResult, CleanPass, Flag
    from bench.attacks.spec import Attack
    from bench.data.spec import Split
    from bench.evaluate.inputs import Inputs
    from bench.family import Classifier

__all__ = ["BudgetsConfig", "OnBudgets", "Subject", "listed_losses", "written_budgets"]

Result = TypeVar("Result")

LOOKED_AT = 64
"""Images that the checks of a model's outputs look at."""


class BudgetsConfig(AttackSeedsConfig):
    """Parameters of every evaluation at budgets."""

    norm: Literal["linf", "l2"] = Field("linf", description="Norm of the perturbation")
    eps: tuple[str, ...] = Field(min_length=1, description='Budgets in units of the pixel range, such as "8/255"')
    items: PositiveInt = Field(1000, description="Attacked test items: the first of the fixed order")
    batch_size: PositiveInt = Field(128, description="Items of a forward pass; changes no verdict of the gradients")

    @field_validator("eps")
    @classmethod
    def _budgets(cls, values: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        return written_budgets(values, info.data.get("norm"))

    @field_validator("step", check_fields=False)
    @classmethod
    def _step(cls, value: str) -> str:
        return parse_step(value).text

    def threat(self, eps: str) -> ThreatModel:
        """The threat model of a budget."""
        return ThreatModel(self.norm, parse_eps(eps))


def written_budgets(values: Iterable[str], norm: str | None) -> tuple[str, ...]:
    """Budgets the way papers write them, ``"8/255"``, in the given order.

    An L_inf budget is at most 1, the whole range of a pixel: every image is within 1 of every other, and what is
    larger was meant in grey levels. An L2 budget has no such bound: its largest distance is the square root of the
    number of pixel values, which a schema does not know, and budgets of 1 to 3 are usual.

    Args:
        values: Fractions or decimals, in units of the pixel range [0, 1].
        norm: ``"linf"``, ``"l2"``, or None if it is not known because it was itself wrong.

    Raises:
        ValueError: A value is no budget, an L_inf budget above 1, any budget above `LARGEST`, or there twice.

    >>> written_budgets(["8/255", "0.5"], "linf")
    ('8/255', '0.5')
    """
    budgets = []
    for value in values:
        eps = parse_eps(value)
        if norm == "linf" and eps > 1:
            meant = format_eps(eps / 255) if eps == int(eps) and eps < 255 else "8/255"
            raise ValueError(
                f'an L_inf eps is in units of the pixel range, so at most 1, got "{value}"; did you mean "{meant}"?'
            )
        if eps > LARGEST:
            raise ValueError(f'an eps is at most {LARGEST:g}, got "{value}"')
        budgets.append(format_eps(eps))
    if len(set(budgets)) != len(budgets):
        raise ValueError("a budget is listed twice")
    return tuple(budgets)


def listed_losses(values: Sequence[str], known: Iterable[str] = LOSSES) -> tuple[str, ...]:
    """Losses of a list under the names that definitions print.

    Raises:
        ValueError: One is unknown, or listed twice.
    """
    names = tuple(get_loss(value, tuple(known)).name for value in values)
    if len(set(names)) != len(names):
        raise ValueError("a loss is listed twice")
    return names


class NothingFiniteError(Exception):
    """No output of the model is finite: there is nothing to attack."""


class OnBudgets(Evaluation):
    """An evaluation at fixed budgets: every budget is an independent attack and a job of its own."""

    reads_model = True

    @abstractmethod
    def measure(self, config: Any, subject: Subject) -> Outcome:
        """Attack at the budgets of a part. Runs in a worker."""

    def evaluate(self, config: Any, inputs: Inputs) -> Outcome:
        """Attack; the judge of ``bench.attacks`` decides. A model without a finite output has no number."""
        subject = Subject(config, inputs)
        try:
            return self.measure(config, subject)
        except NothingFiniteError:
            return nothing_finite(self.columns(config), len(subject.test))

    def parts(self, config: Any) -> tuple[Part, ...]:
        """One a budget: adding one recomputes none of the others."""
        return tuple(Part(eps, config.model_copy(update={"eps": (eps,)})) for eps in config.eps)

    def robust_columns(self, config: Any, definition: Callable[[str], str]) -> tuple[Column, ...]:
        """Robust accuracy at each budget; ``definition`` gives that under one attack seed."""
        return tuple(
            Column(
                metric="robust",
                argument=eps,
                label=eps,
                group=self.label(config),
                unit="fraction",
                direction="up",
                definition=repeated(config, definition(eps)),
                primary=True,
                test=paired_test(config),
            )
            for eps in config.eps
        )


@dataclass
class Subject:
    """The model under attack, and the items on which.

    Attributes:
        config: Of the evaluation.
        inputs: Of the job.
    """

    config: Any
    inputs: Inputs

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
        """(N, C, H, W) in [0, 1]."""
        return self.test.unit_images()

    @cached_property
    def clean(self) -> CleanPass:
        """The clean pass that all attacks share."""
        from bench.attacks import CleanPass

        return CleanPass(self.model, self.config.batch_size)

    @cached_property
    def common(self) -> dict[str, Any]:
        """What `bench.attacks.run` and its relatives are told, whatever the attack and the seed."""
        return {
            "norm": getattr(self.config, "norm", "l2"),
            "batch_size": self.config.batch_size,
            "journal": self.inputs.journal,
            "clean": self.clean,
        }

    def attack(
        self, attack: Attack, *, seed: int, eps: str | None, rows: NDArray[np.int64] | None = None, **more: Any
    ) -> AttackResult:
        """One attack on the items, or on the ``rows`` (M,) of them.

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

    def norms(self, attack: Attack, **more: Any) -> AttackResult:
        """One attack that minimises the L2 norm, without a budget; a model without a finite output is attacked too."""
        from bench import attacks

        told: Mapping[str, Any] = {**self.common, **more}
        seed = self.config.seed
        return attacks.run(attack, self.model, self.images, self.test.labels, seed=seed, ids=self.test.ids, **told)

    def finite(self, clean_finite: NDArray[np.bool_]) -> None:
        """Refuse a model that has no finite output.

        Raises:
            NothingFiniteError: It has none.
        """
        if not clean_finite.any():
            raise NothingFiniteError

    def each_seed(self, make: Callable[[int, int], Result], steps: int = 1) -> list[Result]:
        """What ``make`` does with each attack seed and its number; progress counts ``steps`` a seed."""
        seeds = attack_seeds(self.config)
        found = []
        for run, seed in enumerate(seeds):
            found.append(make(seed, run))
            self.inputs.progress({"done": (run + 1) * steps, "total": steps * len(seeds)})
        return found

    def output_flags(self) -> list[Flag]:
        """LOGITS, RANDOM and DYNAMIC, from a few forward passes of the first images."""
        import torch

        from bench.attacks import inspect_outputs
        from bench.attacks.diagnostics import dynamic_flag, logits_flag, random_flag

        traits = inspect_outputs(self.model, torch.from_numpy(self.images[:LOOKED_AT]).to(self.inputs.device))
        return [
            logits_flag(traits.probabilities, traits.not_finite_share),
            random_flag(traits.random, traits.batch_dependent),
            dynamic_flag(traits.dynamic),
        ]
