"""The three kinds of job: train, predict and evaluate.

Training saves a checkpoint when it is asked to end. A model that comes with its weights is adopted. Before and after a
job, the code of its family, backbone and evaluation is compared with the code in its key. Data are compared where they
are parsed (`bench.data.job`), weights where they are loaded (`bench.weights.load.adopt`).
"""

from __future__ import annotations

import math
import signal
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bench.data.job import hold_loader
from bench.errors import BenchError, RequestError
from bench.evaluate.base import EVALUATIONS
from bench.execute import context
from bench.files.atomic import write_atomically, write_json
from bench.plan.tasks import EvaluateTask, PredictTask, Task, TrainTask
from bench.plugins.sources import component
from bench.rng import seeded
from bench.spec import BACKBONES, FAMILIES
from bench.store import HISTORY, ITEMS, OUTPUTS, STATE, WEIGHTS, JobFolder, Measured, Prediction, Training
from bench.weights.find import Found

if TYPE_CHECKING:
    from bench.train.loop import Trainer

__all__ = ["STOP", "hold_code", "run", "uses_network"]


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


def run(task: Task, work: context.Work) -> context.Result:
    """Do the work of a task, with all global generators seeded.

    Raises:
        BenchError: Code or a file has changed since the suite was read.
    """
    hold_code(task)
    with seeded(task.random_seed):
        result = _done(task, work)
    hold_code(task)  # again: the code was imported between the two checks
    return result


def _done(task: Task, work: context.Work) -> context.Result:
    match task:
        case TrainTask():
            return _train(task, work)
        case PredictTask():
            return _predict(task, work)
        case EvaluateTask():
            return _evaluate(task, work)


def uses_network(task: Task) -> bool:
    """Whether a task needs torch and a device."""
    if not isinstance(task, EvaluateTask):
        return True
    try:
        return EVALUATIONS.get(task.evaluation).reads_model
    except RequestError:
        return True  # the evaluation is gone since the plan was made: the job will fail with the reason


def hold_code(task: Task) -> None:
    """Compare the code, and the files that the family declares, with those that the job was planned with. The code of
    data sets counts, too.

    The code of a component with a declared version is not compared: its version identifies it.

    Raises:
        BenchError: Code or a file has changed since the suite was read; the message names it.
    """
    model, planned = task.train.model, task.train.identity
    family, backbone = FAMILIES.get(model.family), BACKBONES.get(model.backbone)
    found: dict[str, Mapping[str, Any]] = {
        "family": component(family.name, family.version, family.implementation),
        "backbone": component(backbone.name, backbone.version, backbone.implementation),
    }
    if isinstance(task, EvaluateTask):
        evaluation = EVALUATIONS.get(task.evaluation)
        found["evaluation"] = component(evaluation.name, evaluation.version, f"{type(evaluation).__module__}:_")
        config = evaluation.Config.read(task.config)
        found |= dict(used.identity for used in evaluation.uses(config))
    for kind, expected in task.code.items():
        if dict(found.get(kind, {})) != dict(expected):
            name = expected["name"]
            raise BenchError(
                f"the code of {kind.partition(' ')[0]} {name!r} has changed since the suite was read; run again"
            )
    hold_loader(task.train.data)
    if isinstance(task, PredictTask) and task.ood is not None:
        hold_loader(task.ood)
    if family.identity is None or planned is None:
        return
    facts = dict(family.identity(family.config.read(model.config)))
    for name in sorted(facts.keys() | planned.keys()):
        if facts.get(name) != planned.get(name):
            given = model.config.get(name, model.config.get("callable", ""))
            raise BenchError(
                f"{name} of family {family.name!r} ({given}) has changed since the suite was read; run again"
            )


def _train(task: TrainTask, work: context.Work) -> context.Result:
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


def _predict(task: PredictTask, work: context.Work) -> context.Result:
    """Store the outputs of the model for every item of a split."""
    from bench.data.job import job_dataset, job_ood, job_splits
    from bench.files.arrays import save_arrays
    from bench.predict import outputs
    from bench.weights.load import load

    data, root = task.train.data, work.site.data
    classes, splits = job_dataset(data).num_classes, job_splits(data, root)
    assert classes is not None
    folder = work.store.folder(task.train.key)
    model, digest = load(folder, task.train.model, classes, splits.train.image_shape, work.site.device)
    split = job_ood(data, task.ood, root) if task.ood is not None else getattr(splits, task.split)
    save_arrays(work.folder.file(OUTPUTS), outputs.predict(task.output, model, split, work.progress))
    prediction = Prediction(n=len(split), batch_size=outputs.BATCH, file=OUTPUTS)
    return replace(work.record, weights=digest, prediction=prediction), [OUTPUTS]


def _evaluate(task: EvaluateTask, work: context.Work) -> context.Result:
    """Run the evaluation, and check its outcome against the columns that it declared."""
    from bench.evaluate.inputs import Inputs
    from bench.evaluate.outcome import check_outcome
    from bench.files.arrays import save_arrays

    site, folder = work.site, work.folder
    evaluation = EVALUATIONS.get(task.evaluation)
    config = evaluation.Config.read(task.config)
    inputs = Inputs(
        task,
        work.store,
        site.data,
        site.weights,
        site.device,
        work.progress,
        folder.path,
        context.CHECKPOINT_EVERY,
        site.share,
    )
    readouts = FAMILIES.get(task.train.model.family).readouts
    outcome = check_outcome(evaluation, config, evaluation.evaluate(config, inputs), readouts)
    train = work.store.folder(task.train.key).record()
    arrays = outcome.arrays
    if arrays:
        save_arrays(folder.file(ITEMS), arrays)
    for name, content in outcome.files.items():
        write_atomically(folder.file(name), content)
    measured = Measured(
        kind=task.evaluation,
        config=task.config,
        read=dict(inputs.digests),
        data=task.train.data.as_json(),
        numbers=tuple(outcome.numbers),
        items=ITEMS if arrays else None,
        files=list(outcome.files),
        details=outcome.details,
    )
    weights = inputs.digests.get(task.train.key, train.weights if train is not None else None)
    files = [*([ITEMS] if arrays else []), *outcome.files]
    return replace(work.record, weights=weights, measured=measured), files
