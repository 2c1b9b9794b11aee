"""Jobs that read a trained model: one pass over a split, and evaluations."""

from __future__ import annotations

from dataclasses import replace

from bench.execute import context
from bench.files.atomic import write_atomically
from bench.plan.tasks import EvaluateTask, PredictTask
from bench.store import ITEMS, OUTPUTS, Measured, Prediction

__all__ = ["evaluate", "predict"]


def predict(task: PredictTask, work: context.Work) -> context.Result:
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


def evaluate(task: EvaluateTask, work: context.Work) -> context.Result:
    """Run the evaluation, and check its outcome against the columns that it declared."""
    from bench.evaluate.base import EVALUATIONS
    from bench.evaluate.inputs import Inputs
    from bench.evaluate.outcome import check_outcome
    from bench.files.arrays import save_arrays
    from bench.keys import canonical
    from bench.spec import FAMILIES

    site, folder = work.site, work.folder
    evaluation = EVALUATIONS.get(task.evaluation)
    config = evaluation.Config.model_validate_json(canonical(task.config))
    inputs = Inputs(
        task, work.store, site.data, site.weights, site.device, work.progress, folder.path, context.CHECKPOINT_EVERY
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
