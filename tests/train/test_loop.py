from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from bench.train.forward import tf32
from bench.train.loop import Trainer, TrainingInterrupted, TrainingResult


def selected(result: TrainingResult) -> tuple[int, float]:
    assert result.selected is not None
    return result.selected.epoch, result.selected.validation_accuracy


# --- which epoch counts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "epoch", "accuracy"),
    [((3, 9, 5), 2, 0.9), ((9, 3, 5), 1, 0.9), ((3, 8, 8, 5), 3, 0.8), ((4, 4, 4), 3, 0.4), ((0, 0), 2, 0.0)],
)
def test_the_best_validation_accuracy_is_selected_and_the_later_epoch_wins_a_tie(
    scripted: Callable[..., Trainer], script: tuple[int, ...], epoch: int, accuracy: float
) -> None:
    trainer = scripted(script)
    result = trainer.run()
    assert selected(result) == (epoch, accuracy)
    assert [entry["validation_accuracy"] for entry in result.history] == [right / 10 for right in script]


def test_a_validation_item_without_finite_logits_is_wrong(
    scripted: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logits that are all NaN would otherwise count as class 0, which five of the ten items have."""
    trainer = scripted((9,))
    classify = trainer.model.classify

    def without(features: torch.Tensor) -> torch.Tensor:
        logits = classify(features)
        return torch.where((features[:, :1] * 100).round() < 4, float("nan"), logits)

    monkeypatch.setattr(trainer.model, "classify", without)
    assert selected(trainer.run()) == (1, 0.5)  # nine are right, four of them have no output


def test_the_last_epoch_where_that_is_asked_for(scripted: Callable[..., Trainer]) -> None:
    assert selected(scripted((3, 9, 5), select="last").run()) == (3, 0.5)


def test_selection_keeps_weights_and_state_of_its_epoch(scripted: Callable[..., Trainer]) -> None:
    """Adam with a constant gradient moves the weight by lr a step; three steps are an epoch."""
    trainer = scripted((3, 9, 5), lr=0.125)
    result = trainer.run()
    assert result.selected is not None
    assert result.selected.weights["weight"].item() == pytest.approx(-6 * 0.125, rel=1e-4)
    assert result.selected.state["steps"].item() == 6
    assert result.selected.weights["epoch"].item() == 1
    # The model itself is left with the selected weights, and what comes after training saw them.
    family: Any = trainer.family
    assert family.finished_with == result.selected.weights["weight"].item()
    assert trainer.model.state_dict()["weight"].item() == family.finished_with
    assert not trainer.model.training


# --- one epoch --------------------------------------------------------------------------------------------------


def test_iterations_know_where_they_are(scripted: Callable[..., Trainer]) -> None:
    trainer = scripted((1, 1))
    trainer.run()
    family: Any = trainer.family
    assert trainer.per_epoch == 3
    assert [(it.index, it.epoch, it.per_epoch) for it in family.iterations] == [
        (index, index // 3, 3) for index in range(6)
    ]
    assert len({id(it.generator) for it in family.iterations}) == 1


def test_each_step_reads_one_batch_of_every_stream(scripted: Callable[..., Trainer]) -> None:
    trainer = scripted((1, 1), sigma=0.0)
    trainer.run()
    family: Any = trainer.family
    for name in ("first", "second"):
        labels = [batches[name].images.flatten() for batches in family.batches]
        for epoch in (labels[:3], labels[3:]):
            assert (torch.cat(epoch) * 100).round().long().sort().values.tolist() == list(range(12))
    assert not torch.equal(family.batches[0]["first"].images, family.batches[0]["second"].images)


def test_validation_sees_clean_images_in_eval_mode(scripted: Callable[..., Trainer]) -> None:
    trainer = scripted((4,), sigma=0.5)
    trainer.run()
    model: Any = trainer.model
    ((training, images),) = model.seen
    assert not training
    assert torch.equal(images, torch.arange(10).view(10, 1, 1, 1) / 100)


def test_after_training_the_clean_training_set_is_there_in_order(scripted: Callable[..., Trainer]) -> None:
    trainer = scripted((4,), sigma=0.5)
    trainer.run()
    family: Any = trainer.family
    images = torch.cat([batch.images for batch in family.cleaned])
    assert torch.equal(images, torch.arange(12).view(12, 1, 1, 1) / 100)
    assert torch.cat([batch.labels for batch in family.cleaned]).tolist() == [i % 2 for i in range(12)]


def test_before_training_and_its_state_the_clean_training_set_is_there_too(scripted: Callable[..., Trainer]) -> None:
    family: Any = scripted((4,), sigma=0.5).family
    assert family.calls == ["before_training", "start"]
    assert torch.equal(torch.cat([batch.images for batch in family.fitted]), torch.arange(12).view(12, 1, 1, 1) / 100)
    assert not family.batches


def test_history_holds_means_over_the_epoch(scripted: Callable[..., Trainer]) -> None:
    result = scripted((2, 7), losses=float, warmup=2, decay_epochs=[1]).run()
    first, second = ({key: value for key, value in entry.items() if key != "seconds"} for entry in result.history)
    assert first == {
        "epoch": 1,
        "iterations": 3,
        "lr": 0.5,
        "loss": 1.0,
        "twice": 2.0,
        "validation_accuracy": 0.2,
    }
    assert (second["loss"], second["twice"], second["lr"]) == (4.0, 8.0, pytest.approx(0.15))
    assert all(entry["seconds"] >= 0 for entry in result.history)


def test_the_first_step_of_a_warm_up_changes_nothing(trainer: Callable[..., Trainer]) -> None:
    one = trainer("softmax", epochs=1, batch_size=96, warmup=1000)
    before = {name: tensor.clone() for name, tensor in one.model.state_dict().items()}
    one.run()
    assert all(torch.equal(tensor, before[name]) for name, tensor in one.model.state_dict().items())
    other = trainer("softmax", epochs=2, batch_size=96, warmup=1000)
    other.run()
    assert not all(torch.equal(tensor, before[name]) for name, tensor in other.model.state_dict().items())


def test_progress_is_told_after_every_step(scripted: Callable[..., Trainer]) -> None:
    told: list[dict[str, Any]] = []
    scripted((3, 9)).run(lambda facts: told.append(dict(facts)))
    assert [facts["done"] for facts in told] == [1, 2, 3, 4, 5, 6]
    assert {facts["total"] for facts in told} == {6}
    assert [facts["epoch"] for facts in told] == [1, 1, 1, 2, 2, 2]
    assert [facts["validation_accuracy"] for facts in told] == [None] * 3 + [0.3] * 3


def test_the_scalars_of_the_first_iterations_are_kept_where_asked_for(scripted: Callable[..., Trainer]) -> None:
    result = scripted((1, 1), losses=float, log_iterations=4).run()
    assert result.iterations == [{"iteration": index, "loss": float(index), "twice": 2.0 * index} for index in range(4)]
    assert scripted((1, 1)).run().iterations == []


# --- randomness -------------------------------------------------------------------------------------------------


def run(trainer: Trainer) -> list[torch.Tensor]:
    result = trainer.run()
    assert result.selected is not None
    return [*result.selected.weights.values(), *result.selected.state.values()]


def same(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return all(torch.equal(a.nan_to_num(-1), b.nan_to_num(-1)) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("family", ["softmax", "gmmc-gen"])
def test_a_run_depends_on_its_seed_alone(trainer: Callable[..., Trainer], family: str) -> None:
    config: dict[str, Any] = {"epochs": 1}
    if family != "softmax":
        config["sampler"] = {"steps": 1, "buffer": 20}
    torch.manual_seed(0)
    first = run(trainer(family, **config))
    torch.manual_seed(1)
    assert same(first, run(trainer(family, **config)))
    assert not same(first, run(trainer(family, seed=2, **config)))


def test_the_global_generator_is_left_alone(trainer: Callable[..., Trainer]) -> None:
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    trainer("jem", epochs=1, sampler={"steps": 1, "buffer": 20}).run()
    assert torch.equal(torch.random.get_rng_state(), before)


def test_streams_of_one_run_are_independent(trainer: Callable[..., Trainer]) -> None:
    jem = trainer("jem", sampler={"steps": 1, "buffer": 20})
    orders = [stream.next().labels.tolist() for stream in jem.streams.values()]
    assert len(orders) == 2
    for one, other in itertools.combinations(orders, 2):
        assert one != other


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("family", ["softmax", "jem", "gmmc-gen"])
def test_training_on_the_gpu(trainer: Callable[..., Trainer], family: str) -> None:
    config: dict[str, Any] = {"epochs": 2}
    if family != "softmax":
        config["sampler"] = {"steps": 2, "buffer": 50}
    result = trainer(family, device="cuda", **config).run()
    assert result.diverged is None
    assert len(result.history) == 2
    assert all(math.isfinite(entry["loss"]) for entry in result.history)


@pytest.mark.parametrize("outside", [False, True])
@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_tf32_holds_in_training_steps_alone_and_the_flags_are_given_back(
    scripted: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch, precision: str, outside: bool
) -> None:
    """Validation and what follows training compute in float32, whatever training does or the process allows."""
    seen: dict[str, set[tuple[bool, bool]]] = {}
    flags = torch.backends.cuda.matmul, torch.backends.cudnn
    trainer = scripted((5,), precision=precision)

    def watch(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def watched(*arguments: Any) -> Any:
            seen.setdefault(name, set()).add((flags[0].allow_tf32, flags[1].allow_tf32))
            return original(*arguments)

        monkeypatch.setattr(owner, name, watched)

    watch(trainer.family, "training_step")
    watch(trainer.optimizer, "step")  # the backward pass is before it
    watch(trainer.model, "logits")
    watch(trainer.family, "after_training")
    with tf32(outside):
        trainer.run()
        assert [flag.allow_tf32 for flag in flags] == [outside, outside]
    asked = precision == "tf32"
    assert seen == {
        "training_step": {(asked, asked)},
        "step": {(asked, asked)},
        "logits": {(False, False)},
        "after_training": {(False, False)},
    }


# --- scalars that are read late, as on a GPU --------------------------------------------------------------------


def test_an_interrupt_loses_no_scalars_that_were_not_read_yet(scripted: Callable[..., Trainer]) -> None:
    """A checkpoint then knows every iteration that the weights know."""
    trainer = scripted((1, 1), log_iterations=100)
    trainer.read_every = 20
    with pytest.raises(TrainingInterrupted):
        trainer.run(should_stop=lambda: trainer.iteration == 2)
    assert [entry["iteration"] for entry in trainer.iterations] == [0, 1]
    assert [entry["iteration"] for entry in trainer.run().iterations] == list(range(6))


def test_an_interrupt_right_after_an_iteration_that_diverged(scripted: Callable[..., Trainer]) -> None:
    """The weights after it must not be saved as if nothing had been."""
    trainer = scripted((1, 1), losses=lambda index: math.nan if index == 1 else 1.0, guard={"restarts": 0})
    trainer.read_every = 20
    result = trainer.run(should_stop=lambda: trainer.iteration == 2)
    assert result.diverged is not None
    assert result.diverged["reason"] == "loss is nan"


def test_an_interrupt_right_after_an_iteration_that_is_done_again(scripted: Callable[..., Trainer]) -> None:
    once = iter([math.nan])
    trainer = scripted((1, 1), losses=lambda index: next(once, 1.0) if index == 1 else 1.0)
    trainer.read_every = 20
    with pytest.raises(TrainingInterrupted):
        trainer.run(should_stop=lambda: trainer.iteration == 2)
    assert trainer.iteration == 0  # back at the last good epoch
    assert [trip["reason"] for trip in trainer.trips] == ["loss is nan"]
    assert len(trainer.run().history) == 2
