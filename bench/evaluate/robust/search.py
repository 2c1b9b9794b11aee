"""The precision in which own attacks of an evaluation search, as a parameter and in records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from bench.evaluate.base import EvaluationConfig

if TYPE_CHECKING:
    from bench.attacks import AttackResult

__all__ = ["SearchConfig", "search_facts"]


class SearchConfig(EvaluationConfig):
    """The parameter of evaluations whose attack is ours and takes gradients."""

    later: ClassVar[frozenset[str]] = frozenset({"search_precision"})

    search_precision: Literal["float32", "bf16", "auto"] = Field(
        "float32",
        description="Arithmetic in which the backbone proposes images; every verdict is computed in float32. bf16 "
        "takes about half the time on a CPU with AVX512-BF16; auto: bf16 where the device has instructions for it, "
        "else float32, so that which images are broken may depend on the machine; the record says which it was",
    )


def search_facts(config: Any, result: AttackResult) -> dict[str, Any]:
    """What ``details`` of a record say of it; nothing if it is the default or ``config`` has no choice."""
    asked = getattr(config, "search_precision", "float32")
    return {} if asked == "float32" else {"search_precision": {"asked": asked, "used": result.search_precision}}
