"""``bench plan``: the jobs of a suite and their price."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from bench.cli import options
from bench.cli.say import echo, echo_json
from bench.plain import several

if TYPE_CHECKING:
    from bench.api import Bench
    from bench.execute.price import Estimate, Price, Pricing
    from bench.execute.states import Status
    from bench.plan.jobs import Job, Plan

__all__ = ["plan", "price", "to_run"]

_WORKERS = (1, 2, 4, 8, 16)
_NAMED = 3
"""So many names at most stand in a line."""


@click.command()
@options.suite_argument()
@options.profile
@options.only
@options.kind_of_device
@options.workers
@options.as_json
def plan(
    suite: str | None, profile: str | None, only: tuple[str, ...], device: str, workers: int | None, as_json: bool
) -> None:
    """List the jobs of a suite with their state and cost, without running anything.

    Without SUITE: the default suite, as for `bench run`.

    Cost is in network passes: one forward pass of one image; a backward pass towards the input counts as one more,
    towards the weights as two more. Seconds come from jobs of the same kind in this store, else from the calibration
    of the device (`bench doctor --speed`), and the last column says from which. Those of an attack that has not run are
    for the most passes that it can take (<=), if every item survives, unless a finished job of the same attack tells
    what it spent. The number of passes is a bound, the time of a pass an estimate.

    Below the jobs stand the time of all that is left, the critical path (the longest chain of jobs that wait for each
    other), and the time on several workers; also for other devices with a calibration in the same cache folder.
    """
    from bench.api import Bench
    from bench.execute.devices import slots

    bench = Bench.here()
    chosen = bench.plan(suite, profile=profile, only=only)
    if suite is None:
        echo(f"the default suite: {chosen.suite.name}", err=True)
    for text in bench.warnings(chosen.suite):
        echo(f"warning: {text}", err=True)
    states = bench.states(chosen)
    counts = sorted({*_WORKERS, len(slots(device, None))}) if workers is None else [len(slots(device, workers))]
    every, estimates = _priced(bench, chosen, states, device)
    prices = [every] if device != "auto" else [every, *_elsewhere(bench, chosen, states, every)]
    if as_json:
        rows = [
            {
                "job": job.id,
                "kind": job.kind,
                "key": job.key,
                "state": states[job.key].state,
                "reason": states[job.key].reason,
                "passes": 0.0 if states[job.key].state == "n/a" else job.passes,
                "seconds": estimates[job.key].seconds,
                "at_most": estimates[job.key].at_most,
                "source": estimates[job.key].source,
            }
            for job in chosen.jobs
        ]
        found = [priced.as_json(counts) for priced in prices]
        echo_json({"suite": chosen.suite.name, "profile": profile, "jobs": rows, "prices": found})
        return
    _show_jobs(chosen, states, estimates)
    whole = sum({job.key: job.passes for job in chosen.jobs if states[job.key].state != "n/a"}.values())
    echo(f"{several(len(chosen.jobs), 'job')}, {whole:,.0f} network passes")
    echo(to_run(every))
    for priced in prices if every.jobs else ():
        _show_price(priced, counts)
    if any(job.passes and every.estimates[job.key].source == "unknown" for job in every.jobs):
        echo("to learn the speed of this machine in half a minute: bench doctor --speed" + _of(suite, profile))


def price(bench: Bench, chosen: Plan, states: Mapping[str, Status], device: str = "auto") -> Price:
    """The cost of what is left of a plan on this machine."""
    return _priced(bench, chosen, states, device)[0]


def to_run(priced: Price) -> str:
    """The work that is left, in jobs, network passes and, as far as anything tells, seconds."""
    passes = sum(job.passes for job in priced.jobs)
    text = f"{len(priced.jobs)} to run: {passes:,.0f} network passes"
    return text if not priced.jobs else f"{text}, {_whole(priced)}"


def _priced(bench: Bench, chosen: Plan, states: Mapping[str, Status], device: str) -> tuple[Price, dict[str, Estimate]]:
    """The price of what is left on this machine, and the estimate of every job of the plan, by key."""
    from bench.execute.devices import slots
    from bench.execute.estimate import Rates
    from bench.execute.price import Pricing
    from bench.execute.scheduler import to_do
    from bench.execute.speed import calibration, device_name, machine_facts

    used = slots(device, None)[0]
    pricing = Pricing(chosen, bench.store, Rates.from_store(bench.store, used), calibration(used))
    estimates = {job.key: _estimate(job, states[job.key], pricing) for job in chosen.jobs}
    facts = machine_facts(used)
    return pricing.price(to_do(chosen, states), device_name(facts), facts["device"]), estimates


def _estimate(job: Job, status: Status, pricing: Pricing) -> Estimate:
    """The time of a job: what it took if it is done; what cannot run has none."""
    from bench.execute.price import Estimate

    if status.state == "n/a":
        return Estimate("unknown")
    done = status.state in ("done", "diverged") and not status.inherited
    took = pricing.rates.took(job) if done else None
    return pricing.estimate(job) if took is None else Estimate("measured", took)


def _elsewhere(bench: Bench, chosen: Plan, states: Mapping[str, Status], here: Price) -> list[Price]:
    """The price on other devices with a calibration in the cache folder."""
    from bench.execute.estimate import Rates
    from bench.execute.price import Pricing
    from bench.execute.scheduler import to_do
    from bench.execute.speed import stored

    todo, found = to_do(chosen, states), []
    for other in stored():
        if other.name == here.device:
            continue
        # The store does not say on which CPU a job ran, so its times are taken for this machine's alone.
        rates = Rates() if other.device == here.kind else Rates.from_store(bench.store, other.device)
        found.append(Pricing(chosen, bench.store, rates, other).price(todo, other.name, other.device))
    return found


def _show_jobs(chosen: Plan, states: Mapping[str, Status], estimates: Mapping[str, Estimate]) -> None:
    """A line for each job, then the reasons that the lines refer to."""
    width = max(len(job.id) for job in chosen.jobs)
    given = dict.fromkeys(status.reason for job in chosen.jobs if (status := states[job.key]).reason)
    reasons = {reason: index + 1 for index, reason in enumerate(given)}
    for job in chosen.jobs:
        status, estimate = states[job.key], estimates[job.key]
        able = status.state != "n/a"
        passes = f"{job.passes:,.0f}" if job.passes and able else "-"
        took = _took(estimate) if able else "-"
        known = estimate.source if estimate.counted is not None else ""
        note = f"  [{reasons[status.reason]}]" if status.reason else ""
        echo(f"{job.id:<{width}}  {status.state:<8} {passes:>16} passes {took:>14}  {known:<10}{note}".rstrip())
    for reason, index in reasons.items():
        echo(f"[{index}] {reason}")


def _took(estimate: Estimate) -> str:
    from bench.execute.displays import duration

    if estimate.counted is None:
        return "?"
    return f"{'<= ' if estimate.bound_only else ''}{duration(estimate.counted)}"


def _whole(priced: Price) -> str:
    """The time of all jobs one after the other, with what it leaves out."""
    from bench.execute.displays import duration

    if not priced.known:
        return "unknown time"
    text = f"about {duration(priced.seconds)} on one worker"
    missing = len(priced.unknown)
    text += f" without {missing} job{'s' if missing > 1 else ''} of unknown time" if missing else ""
    return f"{text}, if every attacked item survives" if priced.bounds else text


def _show_price(priced: Price, counts: Sequence[int]) -> None:
    """What the jobs cost on a device, and where each figure comes from."""
    from bench.execute.displays import duration
    from bench.execute.price import SOURCES

    if not priced.known:
        return
    echo(f"\n{priced.device}: {_whole(priced)}")
    at_most = priced.at_most
    if at_most is not None and not priced.bounds:
        echo(f"  if every item survives every attack: about {duration(at_most)}")
    elif priced.bounds:
        echo(f"  {several(len(priced.bounds), 'attack')} priced as if every item survives, for none such has run yet")
    seconds, chain = priced.critical_path()
    echo(f"  critical path: {duration(seconds)}, {' -> '.join(chain)}")
    made = [(n, priced.makespan(n)) for n in counts]
    # More workers than help are left out.
    shown = [one for place, one in enumerate(made) if place == 0 or one[1] < made[place - 1][1]]
    echo(f"  workers: {', '.join(f'{n}: {duration(took)}' for n, took in shown)}; at most one job on each")
    for source, count in priced.sources().items():
        if count:
            echo(f"  {count} job{'s' if count > 1 else ''} {SOURCES[source]}{_detail(priced, source)}")
    shares = {e.share_of: e.share for job in priced.jobs if (e := priced.estimates[job.key]).share_of}
    if shares:
        parts = [f"{name} took {share:.0%}" for name, share in shares.items() if share is not None]
        echo(f"  attacks that have run on other networks, as a share of their bound: {_some(parts)}")


def _detail(priced: Price, source: str) -> str:
    """A remark on jobs of one source."""
    jobs = [job for job in priced.jobs if priced.estimates[job.key].source == source]
    if source == "calibrated":
        return f" of {priced.calibrated}"
    if source == "scaled":
        names = dict.fromkeys(f"{job.task.train.model.backbone} from {priced.estimates[job.key].like}" for job in jobs)
        return f": {_some(list(names))}"
    if source == "unknown" and not any(job.passes for job in jobs):
        return ": no network passes"
    return ""


def _some(names: Sequence[str]) -> str:
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _of(suite: str | None, profile: str | None) -> str:
    return (f" --suite {suite}" if suite else "") + (f" --profile {profile}" if profile else "")
