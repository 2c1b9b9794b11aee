"""Accuracy under the strongest attacks that the harness has: adaptive PGD, then transfer and random search."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import Field, NonNegativeInt

from bench.attacks.adaptive import KNOWN_LOSSES
from bench.attacks.libraries import TorchattacksSquare
from bench.attacks.losses import get_loss
from bench.attacks.spec import Attack
from bench.attacks.transfer import TransferAttack
from bench.evaluate.base import Column, Outcome
from bench.evaluate.robust.accuracies import (
    RobustAccuracies,
    attack_seeds,
    item_arrays,
    no_value,
    paired_test,
    per_item,
    repeated,
    share_number,
    stacked,
)
from bench.evaluate.robust.adaptive_losses import LossesConfig, white_box_flags
from bench.evaluate.robust.budgets import OnBudgets
from bench.evaluate.robust.kept import AdversarialsConfig, broken_by_runs
from bench.evaluate.robust.search import search_facts
from bench.evaluate.robust.under_attack import Subject
from bench.spec import FamilySpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.attacks import Chain, Flag

__all__ = ["Adaptive", "AdaptiveConfig"]

OF_ITSELF = "it is this model"
"""The reason why transfer from a model to itself is left out."""
GRADIENTS = "gradients"
"""Name of adaptive PGD as a member of the chain."""


@dataclass(frozen=True)
class Search:
    """One attack that needs no gradient of the model.

    Attributes:
        name: Name in columns: ``"from-softmax"``, ``"square"``.
        described: Name in sentences.
        attack: The attack with its parameters.
        source: The other model that provides its gradients, or None.
    """

    name: str
    described: str
    attack: Attack
    source: str | None = None


class AdaptiveConfig(LossesConfig, AdversarialsConfig):
    """Parameters of the worst case at fixed budgets."""

    complete: bool = Field(
        False, description="Every loss attacks every item, so that the items which it alone broke are known"
    )
    transfer: tuple[str, ...] = Field(
        (),
        description="Models of the suite whose adversarial images (PGD on their margin) are tried on what the losses "
        "left; a model is not tried on itself",
    )
    square: bool = Field(True, description="Square, a search without gradients, on what is left after all others")
    queries: NonNegativeInt = Field(1000, description="Queries of Square an item")

    @property
    def searches(self) -> tuple[Search, ...]:
        """The attacks after the losses, in order; transfer comes first, because it costs less."""
        searches = [
            Search(f"from-{source}", f"transfer from {source}", self._transfer, source) for source in self.transfer
        ]
        if self.square:
            searches.append(Search("square", "Square", TorchattacksSquare(n_queries=self.queries)))
        return tuple(searches)

    @property
    def _transfer(self) -> TransferAttack:
        names = ("steps", "step", "search_precision")
        return TransferAttack().configured({"loss": "margin", **{name: getattr(self, name) for name in names}})

    def definition(self, eps: str) -> str:
        """Definition of the accuracy under the losses alone."""
        return self.attack.definition(self.threat(eps))

    def worst_definition(self, eps: str) -> str:
        """Definition of the accuracy under all attacks."""
        parts = ["worst case per item over all losses"]
        if self.transfer:
            attack = self._transfer.definition(self.threat(eps))
            parts.append(f"then {attack} from {', '.join(self.transfer)} (other models only)")
        if self.square:
            parts.append(
                f"then torchattacks.Square with {self.queries} queries (schedule not rescaled, batches of "
                f"{self.batch_size})"
            )
        left = " on what they left" if len(parts) > 1 else ""
        return f"{', '.join(parts)}{left}: {self.definition(eps)}"

    def winner_definition(self, attack: str, eps: str) -> str:
        """Definition of the share of items that a loss or a search broke first."""
        return f"share of all items that {attack} broke first: {self.worst_definition(eps)}"

    def alone_definition(self, loss: str, eps: str) -> str:
        """Definition of the share of items that only one loss broke."""
        return f"share of all items that {loss} broke and no other loss did: {self.definition(eps)}"


def _column(loss: str) -> str:
    return get_loss(loss, KNOWN_LOSSES).column


class Adaptive(OnBudgets):
    """The worst case over adaptive PGD with several losses, transfer and Square, at fixed budgets.

    Every budget is an independent attack and a separate job. All numbers are upper bounds. ``robust`` is the worst
    case; ``white-box`` is the accuracy under the losses alone, with the flag BLACKBOX if searches without the model's
    gradients break more; ``winner.<attack>`` is the share of items that an attack broke first.
    """

    name = "adaptive"
    version = 2
    summary = "Worst-case accuracy over adaptive PGD with several losses, transfer and Square, with who won."
    source = "Tramèr et al. 2020; Carlini et al. 2019; Andriushchenko et al. 2020 for Square"
    Config = AdaptiveConfig
    model_fields = ("transfer",)

    def label(self, config: AdaptiveConfig) -> str:
        """The name with steps and restarts."""
        return f"adaptive-{config.steps}x{config.restarts}"

    def columns(self, config: AdaptiveConfig) -> tuple[Column, ...]:
        """Worst case, gradients alone, and the share of items that each loss and search broke first."""
        return tuple(column for eps in config.eps for column in self._columns(config, eps))

    def _columns(self, config: AdaptiveConfig, eps: str) -> list[Column]:
        common: dict[str, Any] = {"argument": eps, "group": f"{self.label(config)}, {eps}", "unit": "fraction"}
        accuracy: dict[str, Any] = {**common, "direction": "up", "test": paired_test(config)}
        worst = repeated(config, config.worst_definition(eps))
        gradients = repeated(config, config.definition(eps))
        columns = [
            Column(metric="robust", label="worst case", definition=worst, primary=True, **accuracy),
            Column(metric="white-box", label="gradients", definition=gradients, **accuracy),
        ]
        named = {_column(loss): loss for loss in config.losses} | {s.name: s.described for s in config.searches}
        shares = [
            (f"winner.{name}", f"won by {told}", config.winner_definition(told, eps)) for name, told in named.items()
        ]
        if config.complete:
            shares += [
                (f"alone.{_column(loss)}", f"{loss} alone", config.alone_definition(loss, eps))
                for loss in config.losses
            ]
        for metric, label, text in shares:
            definition = repeated(config, text)
            columns.append(Column(metric=metric, label=label, direction=None, definition=definition, **common))
        return columns

    def passes(self, config: AdaptiveConfig, items: int, family: FamilySpec) -> float:  # noqa: ARG002
        """An upper bound, reached if every item survives; broken items cost less."""
        searches = sum(search.attack.passes() for search in config.searches)
        each = config.attack_seeds * (config.attack.passes() + searches) + 2
        return min(config.items, items) * len(config.eps) * each

    def impossible(self, config: AdaptiveConfig, image_shape: tuple[int, int, int], classes: int) -> str | None:
        """Why no loss applies, or None. A search that cannot run on these images is left out instead."""
        return config.attack.impossible(config.norm, image_shape, classes)

    def measure(self, config: AdaptiveConfig, subject: Subject) -> Outcome:
        """Attack with every loss, then attack the remaining items with the searches."""
        from bench.attacks import Member, attack_in_turn

        (eps,) = config.eps
        inputs, test = subject.inputs, subject.test
        members = [Member(GRADIENTS, config.attack, eps)]
        left_out = {}
        for search in config.searches:
            loads = None if search.source is None else partial(inputs.other, search.source)
            members.append(Member(search.name, search.attack, eps, loads))
            # Searches that cannot run are left out and recorded before anything is computed.
            why = search.attack.impossible(config.norm, test.image_shape, inputs.num_classes)
            if search.source is not None and search.source not in inputs.task.others:
                why = OF_ITSELF
            if why is not None:
                left_out[search.name] = why

        def chain(seed: int, done: Callable[[int], None]) -> Chain:
            found = attack_in_turn(
                members, subject.model, subject.images, test.labels, ids=test.ids, seed=seed, left_out=left_out,
                done=done, **subject.common,
            )  # fmt: skip
            subject.finite(found.clean_finite)
            return found

        chains = subject.each_seed(chain, len(members))
        return _outcome(config, eps, chains, subject.output_flags())


def _outcome(config: AdaptiveConfig, eps: str, chains: Sequence[Chain], outputs: Sequence[Flag]) -> Outcome:
    """Numbers, arrays and images of one budget, from one chain for each attack seed."""
    import numpy as np

    from bench.attacks.diagnostics import blackbox_flag
    from bench.attacks.verdict import coverage_flag

    results = [chain.results[GRADIENTS][1] for chain in chains]
    first, n = results[0], len(results[0].ids)
    robust, white = stacked([chain.robust for chain in chains]), stacked([result.robust for result in results])
    shared = [*white_box_flags(results, config.restarts), *outputs]
    # A search counts as made if it was made under every attack seed.
    absent = {name: why for chain in chains for name, why in chain.left_out.items()}
    made = [search.described for search in config.searches if search.name not in absent]
    black = [blackbox_flag(white, robust, " and ".join(made))] if made else []
    left_out = {name: why for name, why in absent.items() if why != OF_ITSELF}
    fewer = [coverage_flag(left_out)] if left_out else []
    accuracies = RobustAccuracies(eps, attack_seeds(config))
    accuracies.add("robust", repeated(config, config.worst_definition(eps)), robust, [*shared, *fewer])
    accuracies.add("white-box", repeated(config, config.definition(eps)), white, [*shared, *black])
    numbers = accuracies.numbers
    compositions = [result.composition for result in results if result.composition is not None]
    members = compositions[0].members if compositions else ()
    nobody = np.full(n, -1, dtype=np.int64)
    winners = [run.winner for run in compositions] or [nobody] * len(results)
    alone = [run.alone for run in compositions] or [nobody] * len(results)

    def share(metric: str, definition: str, won: NDArray[np.bool_] | None, missing: str) -> None:
        text = repeated(config, definition)
        numbers.append(no_value(metric, eps, text, missing) if won is None else share_number(metric, eps, text, won))

    def of_loss(loss: str, found: Sequence[NDArray[np.int64]]) -> NDArray[np.bool_] | None:
        """(N,) or (N, A); None if the loss does not apply. All false if no item is classified correctly."""
        if compositions and loss not in members:
            return None
        number = members.index(loss) if compositions else 0
        return stacked([run == number for run in found])

    lacking = "the model does not admit this loss"
    for loss in config.losses:
        share(f"winner.{_column(loss)}", config.winner_definition(loss, eps), of_loss(loss, winners), lacking)
    won: dict[str, NDArray[np.bool_]] = {}
    for search in config.searches:
        if search.name not in absent:
            won[search.name] = stacked([chain.won(search.name) for chain in chains])
        definition = config.winner_definition(search.described, eps)
        share(f"winner.{search.name}", definition, won.get(search.name), absent.get(search.name, ""))
    for loss in config.losses if config.complete else ():
        share(f"alone.{_column(loss)}", config.alone_definition(loss, eps), of_loss(loss, alone), lacking)
    restarts = compositions[0].broken_at if compositions else nobody[:, None]
    names = [search.name for search in config.searches]
    items: dict[str, NDArray[Any]] = {
        **{name: per_item(broken) for name, broken in won.items()},
        "winner": winners[0],
        **item_arrays(first),
        "restart": np.where(winners[0] < 0, -1, restarts[np.arange(n), winners[0]]),
        "search_forwards": chains[0].forwards(names),
    }
    facts: Mapping[str, Any] = {k: dict(v) for k, v in compositions[0].facts.items()} if compositions else {}
    made_as = {name: chain.results[name][1].definition for chain in chains for name in names if name in chain.results}
    details = {
        "losses": facts,
        "winners": list(members),
        "searches": made_as,
        **({"left_out": left_out} if left_out else {}),
        **search_facts(config, first),
    }
    broken = broken_by_runs("robust", config.norm, eps, chains) if config.adversarials else None
    return accuracies.outcome(first, items, details, broken)
