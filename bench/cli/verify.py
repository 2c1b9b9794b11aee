"""``bench verify``."""

from __future__ import annotations

import click

from bench.cli import options
from bench.cli.say import echo, echo_json

__all__ = ["register"]


def register(cli: click.Group) -> None:
    """Add the commands of this module."""
    cli.add_command(verify)


@click.command()
@options.suite_argument()
@options.profile
@options.only
@click.option("--device", default="cpu", show_default=True, help="A torch device, such as cpu or cuda:0.")
@options.as_json
@click.pass_context
def verify(
    ctx: click.Context, suite: str | None, profile: str | None, only: tuple[str, ...], device: str, as_json: bool
) -> None:
    """Check kept adversarial images again: within the budget, and fooling the model, one by one.

    Attacks keep them with `adversarials = true` in their [[evaluation]]. SUITE defaults to the suite last run. Exits
    with 1 if a claim is not confirmed.
    """
    from bench.api import Bench
    from bench.commands.verify import Verified
    from bench.commands.verify import verify as check

    bench = Bench.here()
    path, profile = (suite, profile) if suite is not None else bench.last(profile)
    found = check(bench, bench.plan(path, profile=profile, only=only), device)
    failed = [one for one in found if not one.holds]
    if as_json:
        echo_json({"schema": 1, "verified": [one.as_json() for one in found]})
    else:
        name_width = max(len(one.job) for one in found)
        metric_width = max(len(one.metric) for one in found)

        def line(one: Verified) -> str:
            start = f"{one.job:<{name_width}}  {one.metric:<{metric_width}}  "
            if one.problem is not None:
                return f"{start}NOT CONFIRMED: {one.problem}"
            text = f"{one.confirmed} of {one.claimed} confirmed"
            text += f", {one.rounding} within rounding" if one.rounding else ""
            lost = one.claimed - one.confirmed - one.rounding
            text += f", {lost} NOT CONFIRMED" if lost else ""
            if one.largest is not None:
                budget = f" of {one.eps}" if one.eps is not None else ""
                size = (
                    f"{one.largest * 255:.4g}/255"
                    if one.eps is not None and "/255" in one.eps
                    else f"{one.largest:.4g}"
                )
                text += f"; largest norm {size}{budget}"
            if one.measured is not None and one.recorded is not None:
                shown = "{:.1%}" if one.eps is not None else "{:.4g}"
                text += f"; {shown.format(one.measured)} (record: {shown.format(one.recorded)})"
            return start + text

        for one in found:
            echo(line(one))
        total = sum(one.claimed for one in found)
        echo(
            f"{total} adversarial images of {len(found)} number{'s' if len(found) > 1 else ''}: "
            + ("every claim holds" if not failed else f"{len(failed)} {'does' if len(failed) == 1 else 'do'} not hold")
        )
    if failed:
        ctx.exit(1)
