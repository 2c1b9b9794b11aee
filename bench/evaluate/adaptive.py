"""Accuracy under the strongest attacks that the harness has: adaptive PGD, then transfer and random search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import Field, NonNegativeInt, ValidationInfo, field_validator

from bench.attacks import definitions
from bench.attacks.threat import parse_eps
from bench.evaluate.adversarials import AdversarialsConfig, Broken, packed
from bench.evaluate.attack_seeds import attack_seeds, paired_test, per_item, repeated, stacked
from bench.evaluate.attacked import item_arrays
from bench.evaluate.base import Column, Evaluation, Number, Outcome, Part
from bench.evaluate.budgets import written_budgets
from bench.evaluate.inputs import Inputs
from bench.evaluate.robust import RobustAccuracies, nothing_finite, share_number
from bench.evaluate.searches import OF_ITSELF, Search, Searched, impossible_searches, search_on
from bench.evaluate.traits import output_flags
from bench.evaluate.white_box import (
    LossesConfig,
    attack_definition,
    attack_parameters,
    loss_metric,
    losses_impossible,
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
    version = 2
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
        accuracy: dict[str, Any] = {**common, "direction": "up", "test": paired_test(config)}
        worst = repeated(config, _worst_definition(config, eps))
        gradients = repeated(config, _definition(config, eps))
        columns = [
            Column(metric="robust", label="worst case", definition=worst, primary=True, **accuracy),
            Column(metric="white-box", label="gradients", definition=gradients, **accuracy),
        ]
        named = {loss: loss for loss in config.losses} | {s.name: s.described for s in _searches(config)}
        shares = [
            ("winner", f"won by {told}", name, _winner_definition(config, told, eps)) for name, told in named.items()
        ]
        if config.complete:
            shares += [("alone", f"{loss} alone", loss, _alone_definition(config, loss, eps)) for loss in config.losses]
        for kind, label, loss, text in shares:
            metric, definition = f"{kind}.{loss_metric(loss)}", repeated(config, text)
            columns.append(Column(metric=metric, label=label, direction=None, definition=definition, **common))
        return columns

    def parts(self, config: AdaptiveConfig) -> tuple[Part, ...]:
        """One a budget: adding one recomputes none of the others, and each is an attack of its own."""
        return tuple(Part(eps, config.model_copy(update={"eps": (eps,)})) for eps in config.eps)

    def passes(self, config: AdaptiveConfig, items: int, family: FamilySpec) -> float:  # noqa: ARG002
        """If every item survives; broken ones cost less."""
        queries = config.queries if config.square else 0
        queries += 2 * config.steps * len(config.transfer)
        each = config.attack_seeds * (passes_per_item(config) + queries) + 2
        return min(config.items, items) * len(config.eps) * each

    def impossible(self, config: AdaptiveConfig, image_shape: tuple[int, int, int], classes: int) -> str | None:
        """No loss applies. A search that images do not admit is left out instead."""
        return losses_impossible(config, image_shape, classes)

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
        searches = _searches(config)
        # Before anything is computed: what cannot be done is left out, and said.
        impossible = impossible_searches(searches, config.norm, test.image_shape, inputs.num_classes)
        seeds = attack_seeds(config)
        each, total = 1 + len(searches), (1 + len(searches)) * len(seeds)
        results, searched = [], []
        for run, seed in enumerate(seeds):
            result = attacks.run(
                "adaptive_pgd", model, images, test.labels, eps=eps, seed=seed, ids=test.ids, journal=inputs.journal,
                clean=clean, **parameters,
            )  # fmt: skip
            assert result.definition == _definition(config, eps)
            if not result.clean_finite.any():
                return nothing_finite(self.columns(config), len(test))
            inputs.progress({"done": each * run + 1, "total": total})
            found = search_on(
                searches, result, model, images, test.labels, inputs, impossible=impossible,
                done=partial(_tell, inputs, each * run + 1, total),
                norm=config.norm, eps=eps, seed=seed, batch_size=config.batch_size, clean=clean,
            )  # fmt: skip
            results.append(result)
            searched.append(found)
        return _outcome(config, eps, results, searched, output_flags(model, images, inputs.device))


def _tell(inputs: Inputs, before: int, total: int, searches: int) -> None:
    inputs.progress({"done": before + searches, "total": total})


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
    config: AdaptiveConfig,
    eps: str,
    results: Sequence[AttackResult],
    searched: Sequence[Searched],
    outputs: Sequence[Flag],
) -> Outcome:
    """Numbers, arrays and images of one budget, from one result and its searches for each attack seed."""
    import numpy as np

    from bench.attacks.diagnostics import blackbox_flag, coverage_flag

    first, n = results[0], len(results[0].ids)
    robust, white = stacked([found.robust for found in searched]), stacked([result.robust for result in results])
    shared = [*white_box_flags(results, config.restarts), *outputs]
    # A search counts as made if it was made under every attack seed.
    absent = {name: why for found in searched for name, why in found.absent.items()}
    made = [search.described for search in _searches(config) if search.name not in absent]
    black = [blackbox_flag(white, robust, " and ".join(made))] if made else []
    left_out = {name: why for name, why in absent.items() if why != OF_ITSELF}
    fewer = [coverage_flag(left_out)] if left_out else []
    accuracies = RobustAccuracies(eps, attack_seeds(config))
    accuracies.add("robust", repeated(config, _worst_definition(config, eps)), robust, [*shared, *fewer])
    accuracies.add("white-box", repeated(config, _definition(config, eps)), white, [*shared, *black])
    numbers = accuracies.numbers
    compositions = [result.composition for result in results if result.composition is not None]
    members = compositions[0].members if compositions else ()
    nobody = np.full(n, -1, dtype=np.int64)
    winners = [run.winner for run in compositions] or [nobody] * len(results)
    alone = [run.alone for run in compositions] or [nobody] * len(results)

    def share(kind: str, name: str, definition: str, won: NDArray[np.bool_] | None, missing: str) -> None:
        metric, text = f"{kind}.{loss_metric(name)}", repeated(config, definition)
        if won is None:
            numbers.append(Number(metric=metric, argument=eps, value=None, n=0, definition=text, reason=missing))
            return
        numbers.append(share_number(metric, eps, text, won))

    def of_loss(loss: str, found: Sequence[NDArray[np.int64]]) -> NDArray[np.bool_] | None:
        """(N,) or (N, A); None where the model does not admit the loss. Without a clean-correct item none won."""
        if compositions and loss not in members:
            return None
        number = members.index(loss) if compositions else 0
        return stacked([run == number for run in found])

    lacking = "the model does not admit this loss"
    for loss in config.losses:
        share("winner", loss, _winner_definition(config, loss, eps), of_loss(loss, winners), lacking)
    won: dict[str, NDArray[np.bool_]] = {}
    for search in _searches(config):
        definition = _winner_definition(config, search.described, eps)
        runs = [broken for found in searched if (broken := found.won[search.name]) is not None]
        if search.name not in absent:
            won[search.name] = stacked(runs)
        share("winner", search.name, definition, won.get(search.name), absent.get(search.name, ""))
    for loss in config.losses if config.complete else ():
        share("alone", loss, _alone_definition(config, loss, eps), of_loss(loss, alone), lacking)
    restarts = compositions[0].broken_at if compositions else nobody[:, None]
    items: dict[str, NDArray[Any]] = {
        "ids": first.ids,
        "clean": first.clean_correct,
        **accuracies.items,
        **{name: per_item(broken) for name, broken in won.items()},
        "winner": winners[0],
        **item_arrays(first),
        "restart": np.where(winners[0] < 0, -1, restarts[np.arange(n), winners[0]]),
        "search_forwards": searched[0].forwards,
    }
    facts: Mapping[str, Any] = {k: dict(v) for k, v in compositions[0].facts.items()} if compositions else {}
    details = {
        **accuracies.details,
        "losses": facts,
        "winners": list(members),
        "searches": {name: text for found in searched for name, text in found.definitions.items()},
        "not_finite": int((~first.clean_finite).sum()),
        **({"left_out": left_out} if left_out else {}),
    }
    if not config.adversarials:
        return Outcome(numbers, items, details=details)
    kept_items = [
        Broken(
            "robust", eps, config.norm, eps, result.clean_correct & ~found.robust, found.adversarials,
            run if len(results) > 1 else None,
        )
        for run, (result, found) in enumerate(zip(results, searched, strict=True))
    ]  # fmt: skip
    files, kept = packed(first.ids, kept_items)
    return Outcome(numbers, items, files, details | {"adversarials": kept})
