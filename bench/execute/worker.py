"""Runs one job and leaves its result in the store. The scheduler never sees more than the store shows."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import DamagedFileError, RequestError
from bench.execute import redirect
from bench.execute.devices import check_cuda
from bench.execute.fingerprints import hold_code
from bench.execute.provenance import provenance
from bench.execute.states import own_status
from bench.files.atomic import write_atomically, write_json
from bench.plan.jobs import Job
from bench.rng import job_seed, seeded
from bench.store import (
    HISTORY,
    ITEMS,
    LOG,
    OUTPUTS,
    STATE,
    WEIGHTS,
    JobFolder,
    Measured,
    Prediction,
    Record,
    Store,
    Training,
)
from bench.store.folder import JOB, PROGRESS

if TYPE_CHECKING:
    from bench.train.loop import Trainer

__all__ = ["Site", "main", "run_job"]

PROGRESS_EVERY = 0.4
"""Seconds between two reports of a job; reading the loss for one makes a GPU wait."""
INTERRUPTED = 130
UNWRITABLE = 74
"""Exit code of a worker that could write neither a result nor why there is none."""
HELD = 75
"""Exit code of a worker that did nothing, because another process is at work on the job."""
LOOK_EVERY = 0.5
"""Seconds between two looks at whether the server that a worker was forked from is still there."""
GRACE = 60.0
"""Seconds that a worker has to end by itself: training finishes its iteration and writes a buffer of a gigabyte."""


def _checkpoint_every() -> float:
    text = os.environ.get("BENCH_CHECKPOINT_SECONDS", "15")
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise RequestError(f"BENCH_CHECKPOINT_SECONDS={text}: expected seconds, such as 15")
    return seconds


CHECKPOINT_EVERY = _checkpoint_every()
"""Seconds of training or attacking that a kill may cost, unless an epoch or a batch is longer, or saving takes long:
15, or the variable ``BENCH_CHECKPOINT_SECONDS``; with 0 training saves after every epoch. It changes no number: what
goes on from a checkpoint is what would have been.
"""


@dataclass(frozen=True)
class Site:
    """Where and how jobs run: nothing here may change a number beyond what provenance records.

    Attributes:
        store: Root of the store.
        data: Data root.
        weights: Root of foreign weights.
        device: ``"cpu"`` or ``"cuda:<i>"``.
        command: What a person typed.
    """

    store: Path
    data: Path
    weights: Path
    device: str
    command: str


def run_job(job: Job, site: Site) -> bool:
    """Run ``job`` unless its result is there; leave ``record.json``, or ``error.json`` with the traceback.

    Returns:
        False if another process is at work on the job: then nothing was done.

    Raises:
        KeyboardInterrupt: Interrupted; a checkpoint, if the job makes any, was the last thing written.
        OSError: Neither a result nor a failure could be written: the disk is full, say.
    """
    store = Store(site.store)
    folder = store.folder(job.key)
    with folder.lock(wait=False) as own:
        if not own:
            return False
        folder.sweep()
        # Another run may have done the work since this one looked. What is stale or damaged is dropped here and
        # nowhere else: only who holds the lock may delete.
        status = own_status(job, store)
        if status.settled:
            return True
        if status.state in ("stale", "damaged"):
            folder.forget()
        write_json(folder.file(JOB), {"id": job.id, "kind": job.kind, "key": job.key, "spec": dict(job.spec)})
        # What the job prints goes to its log, not into somebody's progress display or JSON.
        with redirect.into(folder.file(LOG)):
            try:
                _run(job, site, store, folder)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                print(traceback.format_exc(), file=sys.stderr)  # noqa: T201 - into the job's log
                if isinstance(error, DamagedFileError):
                    _distrust(error.path, store)
                folder.fail(
                    {
                        "job": job.id,
                        "type": type(error).__name__,
                        "message": _message(error),
                        "traceback": traceback.format_exc(),
                        "provenance": provenance(site.device, site.command).as_json(),
                    }
                )
    return True


def _message(error: BaseException) -> str:
    """What an error says of itself; its class where that is nothing, or where saying it fails."""
    try:
        return str(error) or type(error).__name__
    except Exception as other:  # an exception of a plug-in may do anything when it is asked
        return f"{type(error).__name__}, whose text cannot be had: {type(other).__name__}"


def _distrust(path: Path, store: Store) -> None:
    """A file of another job could not be read: whoever looks at that job next hashes all of its files."""
    folder = store.containing(path)
    if folder is not None:
        folder.distrust()


def _run(job: Job, site: Site, store: Store, folder: JobFolder) -> None:
    began = time.time()
    network = job.kind != "evaluate" or _needs_torch(job)
    if network:
        check_cuda(site.device)
    progress = _Progress(folder)
    run = {"train": _train, "predict": _predict, "evaluate": _evaluate}[job.kind]
    record = Record(
        job=job.id,
        kind=job.kind,
        model=job.model,
        family=job.spec["family"],
        backbone=job.spec["backbone"],
        dataset=job.spec["data"]["dataset"],
        seed=job.seed,
        evaluation=job.evaluation,
        argument=job.argument,
        passes=job.passes,
    )
    hold_code(job.spec)
    with seeded(job_seed(job.kind, job.spec)):
        record, artefacts = run(job, site, store, folder, progress, record)
    hold_code(job.spec)  # again: what ran was imported between two equal states
    whole = replace(
        record,
        seconds=round(time.time() - began, 3),
        finished=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        provenance=provenance(site.device if network else "none", site.command),
    )
    folder.finish(whole, artefacts)


Result = tuple[Record, list[str]]
"""The record with what the job found, and the names of the files that belong to the result."""


def _train(job: Job, site: Site, store: Store, folder: JobFolder, progress: _Progress, record: Record) -> Result:
    from bench.data.job import job_dataset, job_splits
    from bench.files.tensors import save_tensors
    from bench.train import checkpoint
    from bench.train.loop import Trainer, TrainingInterrupted
    from bench.weights import load as trained

    dataset = job_dataset(job.spec)
    splits = job_splits(job.spec, site.data)
    assert dataset.num_classes is not None
    shape = splits.train.image_shape
    family, model = trained.build(job.spec, dataset.num_classes, shape, site.device)
    data = {**job.spec["data"], "n_train": len(splits.train.labels)}
    if not family.trains or job.spec.get("weights"):
        weights, training = trained.adopt(job.spec, family, model, splits, folder)
        whole = replace(record, weights=weights, training=replace(training, data=data))
        return whole, _existing(folder, WEIGHTS, STATE)
    init_from = None
    if job.spec.get("init_from"):
        source = store.folder(job.spec["init_from"])
        init_from = trained.start_from(model, source.file(WEIGHTS), sha256=source.artefacts().get(WEIGHTS))
    trainer = Trainer(family, model, splits, augmentation=dataset.augmentation, seed=job.spec["seed"])
    resumed = checkpoint.restore(trainer, folder.path)
    if resumed:
        print(resumed)  # noqa: T201 - into the job's log
    pace = checkpoint.Pace(CHECKPOINT_EVERY)
    _STOP.listen()

    def after_epoch() -> None:
        if pace.due():
            with pace.saving():
                _save_checkpoint(trainer, folder)

    try:
        result = trainer.run(progress, after_epoch, lambda: _STOP.asked)
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
        record = replace(record, status="diverged", reason=reason, training=training)
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
        record = replace(record, weights=weights, training=training)
    checkpoint.remove(folder.path)
    return record, _existing(folder, WEIGHTS, STATE, HISTORY)


def _existing(folder: JobFolder, *names: str) -> list[str]:
    return [name for name in names if folder.file(name).exists()]


def _save_checkpoint(trainer: Trainer, folder: JobFolder) -> None:
    """Save; where the disk is full, say so and go on: the checkpoint before it is unharmed."""
    from bench.train import checkpoint

    try:
        checkpoint.save(trainer, folder.path)
    except OSError as error:
        print(f"no checkpoint at iteration {trainer.iteration}: {error}", file=sys.stderr)  # noqa: T201


class _Stop:
    """Whether this process was asked to end: training then saves where it stands.

    Until training listens, SIGTERM ends the process at once: there is nothing to save while it waits or loads.
    """

    asked = False
    armed = False

    def listen(self) -> None:
        """From now on SIGTERM asks; only in a worker process, whose signals are its own."""
        if self.armed:
            signal.signal(signal.SIGTERM, self)

    def __call__(self, *_: object) -> None:
        self.asked = True


_STOP = _Stop()


def _predict(job: Job, site: Site, store: Store, folder: JobFolder, progress: _Progress, record: Record) -> Result:
    from bench.data.job import job_dataset, job_ood, job_splits
    from bench.files.arrays import save_arrays
    from bench.predict.outputs import BATCH, predict
    from bench.weights import load as trained

    dataset = job_dataset(job.spec)
    splits = job_splits(job.spec, site.data)
    assert dataset.num_classes is not None
    shape = splits.train.image_shape
    train = store.folder(job.spec["train"])
    model, digest = trained.load(train, job.spec, dataset.num_classes, shape, site.device)
    if job.spec["split"] == "ood":
        split = job_ood(job.spec, site.data)
    else:
        split = getattr(splits, job.spec["split"])
    arrays = predict(job.spec["output"], model, split, progress)
    save_arrays(folder.file(OUTPUTS), arrays)
    prediction = Prediction(n=len(split), batch_size=BATCH, file=OUTPUTS)
    return replace(record, weights=digest, prediction=prediction), [OUTPUTS]


def _evaluate(job: Job, site: Site, store: Store, folder: JobFolder, progress: _Progress, record: Record) -> Result:
    from bench.evaluate.base import EVALUATIONS
    from bench.evaluate.inputs import Inputs
    from bench.evaluate.outcome import check_outcome
    from bench.files.arrays import save_arrays
    from bench.keys import canonical
    from bench.spec import FAMILIES

    evaluation = EVALUATIONS.get(job.spec["evaluation"])
    config = evaluation.Config.model_validate_json(canonical(job.spec["evaluation_config"]))
    inputs = Inputs(job.spec, store, site.data, site.weights, site.device, progress, folder.path, CHECKPOINT_EVERY)
    readouts = FAMILIES.get(job.spec["family"]).readouts
    outcome = check_outcome(evaluation, config, evaluation.evaluate(config, inputs), readouts)
    train = store.folder(job.spec["train"]).record()
    if outcome.items:
        save_arrays(folder.file(ITEMS), outcome.items)
    for name, data in outcome.files.items():
        write_atomically(folder.file(name), data)
    measured = Measured(
        kind=job.spec["evaluation"],
        config=job.spec["evaluation_config"],
        read=dict(inputs.digests),
        data=job.spec["data"],
        numbers=tuple(outcome.numbers),
        items=ITEMS if outcome.items else None,
        files=list(outcome.files),
        details=outcome.details,
    )
    weights = inputs.digests.get(job.spec["train"], train.weights if train is not None else None)
    files = [*([ITEMS] if outcome.items else []), *outcome.files]
    return replace(record, weights=weights, measured=measured), files


def _finite(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """JSON has no NaN; a value that is not finite becomes its text."""
    import math

    return [
        {k: (str(v) if isinstance(v, float) and not math.isfinite(v) else v) for k, v in entry.items()}
        for entry in history
    ]


class _Progress:
    """Writes what a job says of itself, at most so often."""

    def __init__(self, folder: JobFolder) -> None:
        self._path = folder.file(PROGRESS)
        self._began = time.time()
        self._last = 0.0

    def __call__(self, facts: Mapping[str, Any]) -> None:
        now = time.monotonic()
        if now - self._last < PROGRESS_EVERY:
            return
        self._last = now
        plain = {k: (float(v) if hasattr(v, "item") else v) for k, v in facts.items()}
        # Not synced to disk: a report that a power cut or a full disk loses is no loss.
        temporary = self._path.with_suffix(".tmp")
        with contextlib.suppress(OSError):
            temporary.write_text(json.dumps({"began": self._began, **plain}), encoding="utf-8")
            temporary.replace(self._path)


def main(job: Job, site: Site) -> None:
    """Entry of a worker process: one job, one thread on a CPU, then the end."""
    _end_with_parent()
    redirect.free_stdout()  # for what is written outside of the job's log, such as while a plug-in is imported
    # The scheduler decides about an interrupt from the terminal; it ends us with SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _STOP.armed = True
    if job.kind != "evaluate" or _needs_torch(job):
        import torch

        if site.device == "cpu":
            torch.set_num_threads(1)
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
    try:
        began = run_job(job, site)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except OSError:
        sys.exit(UNWRITABLE)
    if not began:
        sys.exit(HELD)


def _end_with_parent() -> None:
    """End this process when the command that started it ends, or the server that it was forked from, through which
    the command learns how it ended; whatever ended these. Nobody would collect its work, and it would keep its device
    and its lock. Training saves where it stands; what does not go by itself is ended.
    """
    parent, server = multiprocessing.parent_process(), os.getppid()
    if parent is None:
        return

    def watch() -> None:
        while parent.is_alive() and os.getppid() == server:
            parent.join(LOOK_EVERY)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="end with parent", daemon=True).start()


def _needs_torch(job: Job) -> bool:
    from bench.evaluate.base import EVALUATIONS

    try:
        return EVALUATIONS.get(job.spec["evaluation"]).reads_model
    except RequestError:
        return True  # it is gone since the plan was made: running the job leaves the reason
