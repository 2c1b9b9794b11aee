"""Runs one job and writes its result to the store. The scheduler learns of the result only from the store."""

from __future__ import annotations

import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path

from bench.errors import DamagedFileError, RequestError
from bench.execute import measuring, redirect, training
from bench.execute.context import Progress, Result, Site, Work
from bench.execute.devices import check_cuda
from bench.execute.fingerprints import hold_code
from bench.execute.provenance import provenance
from bench.execute.states import own_status
from bench.files.atomic import write_json
from bench.plan.jobs import Job
from bench.plan.tasks import EvaluateTask, PredictTask, Task, TrainTask
from bench.rng import seeded
from bench.store import LOG, JobFolder, Record, Store
from bench.store.folder import JOB

__all__ = ["run_job", "uses_network"]


def run_job(job: Job, site: Site) -> bool:
    """Run ``job`` unless it has a result; write ``record.json``, or ``error.json`` with the traceback.

    Returns:
        False if nothing was done, because another process is at work on the job or has finished it.

    Raises:
        KeyboardInterrupt: The job was interrupted; if it makes checkpoints, it has written one.
        OSError: Neither a result nor a failure could be written, for example because the disk is full.
    """
    store = Store(site.store)
    folder = store.folder(job.key)
    with folder.lock(wait=False) as own:
        if not own:
            return False
        folder.sweep()
        # Another run may have finished the job since this one looked. Stale and damaged results are dropped only here:
        # only the holder of the lock may delete them.
        status = own_status(job, store)
        if status.settled:
            return False
        if status.state in ("stale", "damaged"):
            folder.forget()
        write_json(folder.file(JOB), job.as_json())
        # The output of the job goes to its log, not into the display or the JSON of the command.
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
    """The text of an error; its class if the text is empty or cannot be made."""
    try:
        return str(error) or type(error).__name__
    except Exception as other:  # `__str__` of a plug-in's exception may raise anything
        return f"{type(error).__name__}, whose text cannot be had: {type(other).__name__}"


def _distrust(path: Path, store: Store) -> None:
    """Mark the job that owns an unreadable file, so that the next check hashes all of its files."""
    folder = store.containing(path)
    if folder is not None:
        folder.distrust()


def _run(job: Job, site: Site, store: Store, folder: JobFolder) -> None:
    began = time.time()
    network = uses_network(job.task)
    if network:
        check_cuda(site.device)
    train = job.task.train
    record = Record(
        job=job.id,
        kind=job.kind,
        model=job.model,
        family=train.model.family,
        backbone=train.model.backbone,
        dataset=train.data.dataset,
        seed=job.seed,
        evaluation=job.evaluation,
        argument=job.argument,
        passes=job.passes,
    )
    work = Work(site, store, folder, Progress(folder), record)
    hold_code(job.task)
    with seeded(job.task.random_seed):
        found, artefacts = _done(job.task, work)
    hold_code(job.task)  # again: the code was imported between the two checks
    whole = replace(
        found,
        seconds=round(time.time() - began, 3),
        finished=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        provenance=provenance(site.device if network else "none", site.command),
    )
    folder.finish(whole, artefacts)


def _done(task: Task, work: Work) -> Result:
    match task:
        case TrainTask():
            return training.run(task, work)
        case PredictTask():
            return measuring.predict(task, work)
        case EvaluateTask():
            return measuring.evaluate(task, work)


def uses_network(task: Task) -> bool:
    """Whether a task needs torch and a device."""
    from bench.evaluate.base import EVALUATIONS

    if not isinstance(task, EvaluateTask):
        return True
    try:
        return EVALUATIONS.get(task.evaluation).reads_model
    except RequestError:
        return True  # the evaluation is gone since the plan was made: the job will fail with the reason
