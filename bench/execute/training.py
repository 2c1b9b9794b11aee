"""Train jobs: training, which saves a checkpoint when it is asked to end, and models that come with their weights."""

from __future__ import annotations

import math
import signal
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bench.execute import context
from bench.files.atomic import write_json
from bench.plan.tasks import TrainTask
from bench.store import HISTORY, STATE, WEIGHTS, JobFolder, Training
from bench.weights.find import Found

if TYPE_CHECKING:
    from bench.train.loop import Trainer

__all__ = ["STOP", "run"]


class Stop:
    """Whether this process was asked to end: training then saves a checkpoint.

    Until ``listen`` is called, SIGTERM ends the process at once: before training there is nothing to save.
    """

    asked = False
    armed = False

    def listen(self) -> None:
        """Let SIGTERM set ``asked`` from now on, if the process is a worker, which handles its own signals."""
        if self.armed:
            signal.signal(signal.SIGTERM, self)

    def __call__(self, *_: object) -> None:
        self.asked = True


STOP = Stop()


def run(task: TrainTask, work: context.Work) -> context.Result:
    """Train the model of a task, or adopt it."""
    from bench.data.job import job_dataset, job_splits
    from bench.files.tensors import save_tensors
    from bench.train import checkpoint
    from bench.train.loop import Trainer, TrainingInterrupted
    from bench.weights import load as trained

    folder = work.folder
    dataset = job_dataset(task.data)
    splits = job_splits(task.data, work.site.data)
    assert dataset.num_classes is not None
    shape = splits.train.image_shape
    family, model = trained.build(task.model, dataset.num_classes, shape, work.site.device)
    data = {**task.data.as_json(), "n_train": len(splits.train.labels)}
    found = task.weights if isinstance(task.weights, Found) else None
    if not family.trains or found is not None:
        weights, adopted = trained.adopt(found, family, model, splits, folder, seed=task.model.seed)
        record = replace(work.record, weights=weights, training=replace(adopted, data=data))
        return record, _existing(folder, WEIGHTS, STATE)
    init_from = None
    if task.init_from is not None:
        source = work.store.folder(task.init_from.key)
        init_from = trained.start_from(model, source.file(WEIGHTS), sha256=source.artefacts().get(WEIGHTS))
    trainer = Trainer(family, model, splits, augmentation=dataset.augmentation, seed=task.model.seed)
    resumed = checkpoint.restore(trainer, folder.path)
    if resumed:
        print(resumed)  # noqa: T201 - into the job's log
    pace = checkpoint.Pace(context.CHECKPOINT_EVERY)
    STOP.listen()

    def after_epoch() -> None:
        if pace.due():
            with pace.saving():
                _save_checkpoint(trainer, folder)

    try:
        result = trainer.run(work.progress, after_epoch, lambda: STOP.asked)
    except TrainingInterrupted:
        _save_checkpoint(trainer, folder)
        raise KeyboardInterrupt from None
    write_json(folder.file(HISTORY), _finite(result.history))
    training = Training(
        data=data,
        init_from=init_from,
        history=HISTORY,
        epochs=len(result.history),
        iterations=_finite(result.iterations),
        trips=_finite(result.trips),
        restarts=len(result.trips) - (result.diverged is not None),
        resumed=resumed,
        **trainer.forward.facts(),
    )
    if result.diverged is not None:
        reason = f"training diverged at epoch {result.diverged['epoch']} after {training.restarts} restarts"
        training = replace(training, divergence=_finite([result.diverged])[0])
        record = replace(work.record, status="diverged", reason=reason, training=training)
    else:
        assert result.selected is not None
        weights = save_tensors(folder.file(WEIGHTS), result.selected.weights)
        if result.selected.state:
            save_tensors(folder.file(STATE), result.selected.state)
        training = replace(
            training,
            selected_epoch=result.selected.epoch,
            validation_accuracy=result.selected.validation_accuracy,
        )
        record = replace(work.record, weights=weights, training=training)
    checkpoint.remove(folder.path)
    return record, _existing(folder, WEIGHTS, STATE, HISTORY)


def _existing(folder: JobFolder, *names: str) -> list[str]:
    return [name for name in names if folder.file(name).exists()]


def _save_checkpoint(trainer: Trainer, folder: JobFolder) -> None:
    """Save a checkpoint; if the disk is full, log that and continue: the previous checkpoint is intact."""
    from bench.train import checkpoint

    try:
        checkpoint.save(trainer, folder.path)
    except OSError as error:
        print(f"no checkpoint at iteration {trainer.iteration}: {error}", file=sys.stderr)  # noqa: T201


def _finite(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Replace values that are not finite by their text, because JSON has no NaN."""
    return [
        {k: (str(v) if isinstance(v, float) and not math.isfinite(v) else v) for k, v in entry.items()}
        for entry in history
    ]
