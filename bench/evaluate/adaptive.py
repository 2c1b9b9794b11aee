"""Accuracy under the strongest attacks that the harness has: adaptive PGD, then transfer and random search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field, NonNegativeInt, ValidationInfo, field_validator

from bench.attacks import definitions
from bench.attacks.threat import parse_eps
from bench.evaluate.adversarials import AdversarialsConfig, Broken, packed
from bench.evaluate.attacked import item_arrays
from bench.evaluate.base import Column, Evaluation, Number, Outcome, Part
from bench.evaluate.budgets import written_budgets
from bench.evaluate.inputs import Inputs
from bench.evaluate.robust import RobustAccuracies
from bench.evaluate.searches import Search, Searched, search_on
from bench.evaluate.traits import output_flags
from bench.evaluate.white_box import (
    LossesConfig,
    attack_definition,
    attack_parameters,
    loss_metric,
    passes_per_item,
    white_box_flags,
)
from bench.spec import FamilySpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.attacks import AttackResult, Flag

__all__ = ["Adaptive", "AdaptiveConfig"]


class AdaptiveConfig(LossesConfig, AdversarialsConfig):
    """Parameters of the worst case at fixed budgets."""

    eps: tuple[str, ...] = Field(min_length=1, description='Budgets in units of the pixel range, such as "8/255"')
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

    @field_validator("eps")
    @classmethod
    def _budgets(cls, values: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        return written_budgets(values, info.data.get("norm"))


class Adaptive(Evaluation):
    """The worst case over adaptive PGD with several losses, transfer and Square, at fixed budgets.

    Every budget is an independent attack and a job of its own. All numbers are upper bounds. ``robust`` is the worst
    case; ``white-box`` is what the losses alone left, and BLACKBOX marks it where searches without the model's
    gradients break more; ``winner.<attack>`` says which came first.
    """

    name = "adaptive"
    version = 1
    summary = "Worst-case accuracy over adaptive PGD with several losses, transfer and Square, with who won."
    source = "Tramèr et al. 2020; Carlini et al. 2019; Andriushchenko et al. 2020 for Square"
    Config = AdaptiveConfig
    model_fields = ("transfer",)
    reads_model = True

    def label(self, config: AdaptiveConfig) -> str:
        """With steps and restarts."""
        return f"adaptive-{config.steps}x{config.restarts}"

    def columns(self, config: AdaptiveConfig) -> tuple[Column, ...]:
        """Worst case, gradients alone, and the share that each loss and Square won."""
        return tuple(column for eps in config.eps for column in self._columns(config, eps))

    def _columns(self, config: AdaptiveConfig, eps: str) -> list[Column]:
        common: dict[str, Any] = {"argument": eps, "group": f"{self.label(config)}, {eps}", "unit": "fraction"}
        accuracy: dict[str, Any] = {**common, "direction": "up", "test": "mcnemar"}
        columns = [
            Column(
                metric="robust", label="worst case", definition=_worst_definition(config, eps), primary=True,
                **accuracy,
            ),
            Column(metric="white-box", label="gradients", definition=_definition(config, eps), **accuracy),
        ]  # fmt: skip
        named = {loss: loss for loss in config.losses} | {s.name: s.described for s in _searches(config)}
        shares = [
            ("winner", f"won by {told}", name, _winner_definition(config, told, eps)) for name, told in named.items()
        ]
        if config.complete:
            shares += [("alone", f"{loss} alone", loss, _alone_definition(config, loss, eps)) for loss in config.losses]
        columns += [
            Column(metric=f"{kind}.{loss_metric(loss)}", label=label, direction=None, definition=text, **common)
            for kind, label, loss, text in shares
        ]
        return columns

    def parts(self, config: AdaptiveConfig) -> tuple[Part, ...]:
        """One a budget: adding one recomputes none of the others, and each is an attack of its own."""
        return tuple(Part(eps, config.model_copy(update={"eps": (eps,)})) for eps in config.eps)

    def passes(self, config: AdaptiveConfig, items: int, family: FamilySpec) -> float:  # noqa: ARG002
        """If every item survives; broken ones cost less."""
        queries = config.queries if config.square else 0
        queries += 2 * config.steps * len(config.transfer)
        return min(config.items, items) * len(config.eps) * (passes_per_item(config) + queries + 2)

    def evaluate(self, config: AdaptiveConfig, inputs: Inputs) -> Outcome:
        """Attack with every loss, then with Square; the judge of ``bench.attacks`` decides."""
        import numpy as np

        from bench import attacks

        (eps,) = config.eps
        model = inputs.model()
        test = inputs.splits.test
        test = test.take(np.arange(min(config.items, len(test))))
        images = test.unit_images()
        parameters = {**attack_parameters(config), "complete": config.complete}
        clean = attacks.CleanPass(model, config.batch_size)
        result = attacks.run(
            "adaptive_pgd", model, images, test.labels, eps=eps, ids=test.ids, journal=inputs.journal, clean=clean,
            **parameters,
        )  # fmt: skip
        assert result.definition == _definition(config, eps)
        searches = _searches(config)
        total = 1 + len(searches)
        inputs.progress({"done": 1, "total": total})
        common = {"norm": config.norm, "eps": eps, "seed": config.seed, "batch_size": config.batch_size, "clean": clean}
        searched = search_on(
            searches, result, model, images, test.labels, inputs,
            done=lambda number: inputs.progress({"done": 1 + number, "total": total}), **common,
        )  # fmt: skip
        return _outcome(config, eps, result, searched, output_flags(model, images, inputs.device))


def _searches(config: AdaptiveConfig) -> tuple[Search, ...]:
    """What follows the losses, in order: other models first, they cost less."""
    transfer = {"loss": "margin", "steps": config.steps, "step": config.step}
    searches = [
        Search(f"from-{source}", f"transfer from {source}", "transfer", transfer, source) for source in config.transfer
    ]
    if config.square:
        searches.append(Search("square", "Square", "torchattacks.Square", {"n_queries": config.queries}))
    return tuple(searches)


def _definition(config: AdaptiveConfig, eps: str) -> str:
    return attack_definition(config, eps, complete=config.complete)


def _worst_definition(config: AdaptiveConfig, eps: str) -> str:
    parts = ["worst case per item over all losses"]
    if config.transfer:
        attack = definitions.transfer(
            norm=config.norm, eps=parse_eps(eps), steps=config.steps, step=config.step, loss="margin", restarts=1
        )
        parts.append(f"then {attack} from {', '.join(config.transfer)} (other models only)")
    if config.square:
        parts.append(
            f"then torchattacks.Square with {config.queries} queries (schedule not rescaled, batches of "
            f"{config.batch_size})"
        )
    left = " on what they left" if len(parts) > 1 else ""
    return f"{', '.join(parts)}{left}: {_definition(config, eps)}"


def _winner_definition(config: AdaptiveConfig, loss: str, eps: str) -> str:
    return f"share of all items that {loss} broke first: {_worst_definition(config, eps)}"


def _alone_definition(config: AdaptiveConfig, loss: str, eps: str) -> str:
    return f"share of all items that {loss} broke and no other loss did: {_definition(config, eps)}"


def _outcome(
    config: AdaptiveConfig, eps: str, result: AttackResult, searched: Searched, outputs: Sequence[Flag]
) -> Outcome:
    import numpy as np

    from bench.attacks.diagnostics import blackbox_flag
    from bench.metrics.intervals import wilson

    n, composition = len(result.ids), result.composition
    robust = searched.robust
    shared = [*white_box_flags(result, config.restarts), *outputs]
    made = [search.described for search in _searches(config) if searched.won[search.name] is not None]
    found = [blackbox_flag(result.robust, robust, " and ".join(made))] if made else []
    accuracies = RobustAccuracies(eps)
    accuracies.add("robust", _worst_definition(config, eps), robust, shared)
    accuracies.add("white-box", _definition(config, eps), result.robust, [*shared, *found])
    numbers = accuracies.numbers
    members = () if composition is None else composition.members
    winner = np.full(n, -1, dtype=np.int64) if composition is None else composition.winner.copy()
    alone = winner if composition is None else composition.alone
    restarts = np.full((n, 1), -1, dtype=np.int64) if composition is None else composition.broken_at

    def share(kind: str, name: str, definition: str, won: NDArray[np.bool_] | None, missing: str) -> Number:
        return Number(
            metric=f"{kind}.{loss_metric(name)}",
            argument=eps,
            value=None if won is None else int(won.sum()) / n,
            n=0 if won is None else n,
            interval=None if won is None else wilson(int(won.sum()), n),
            definition=definition,
            reason=None if won is not None else missing,
        )

    lacking = "the model does not admit this loss"
    nothing = composition is None  # no item is classified correctly: every loss broke none
    for loss in config.losses:
        won = winner == members.index(loss) if loss in members else None
        won = np.zeros(n, dtype=np.bool_) if nothing else won
        numbers.append(share("winner", loss, _winner_definition(config, loss, eps), won, lacking))
    for search in _searches(config):
        definition = _winner_definition(config, search.described, eps)
        numbers.append(share("winner", search.name, definition, searched.won[search.name], "it is this model"))
    for loss in config.losses if config.complete else ():
        sole = alone == members.index(loss) if loss in members else None
        sole = np.zeros(n, dtype=np.bool_) if nothing else sole
        numbers.append(share("alone", loss, _alone_definition(config, loss, eps), sole, lacking))
    items: dict[str, NDArray[Any]] = {
        "ids": result.ids,
        "clean": result.clean_correct,
        **accuracies.items,
        **{name: broken for name, broken in searched.won.items() if broken is not None},
        "winner": winner,
        **item_arrays(result),
        "restart": np.where(winner < 0, -1, restarts[np.arange(n), winner]),
        "search_forwards": searched.forwards,
    }
    facts: Mapping[str, Any] = {} if composition is None else {k: dict(v) for k, v in composition.facts.items()}
    details = {
        **accuracies.details,
        "losses": facts,
        "winners": list(members),
        "searches": searched.definitions,
    }
    if not config.adversarials:
        return Outcome(numbers, items, details=details)
    kept_items = Broken("robust", eps, config.norm, eps, result.clean_correct & ~robust, searched.adversarials)
    files, kept = packed(result.ids, [kept_items])
    return Outcome(numbers, items, files, details | {"adversarials": kept})
