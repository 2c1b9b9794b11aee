"""``bench train``, ``sample``, ``import`` and ``export``."""

from __future__ import annotations

import re
from pathlib import Path

import click

from bench.cli import options
from bench.cli.run import run
from bench.cli.say import echo, echo_json
from bench.plain import several

__all__ = ["export", "import_", "sample", "train"]

MOST_SHOWN = 20
"""Largest number of names of ignored tensors that are printed."""


@click.command()
@options.suite_argument()
@options.profile
@options.only
@options.kind_of_device
@options.workers
@click.pass_context
def train(
    ctx: click.Context,
    suite: str | None,
    profile: str | None,
    only: tuple[str, ...],
    device: str,
    workers: int | None,
) -> None:
    """Train the models of a suite without evaluating them: `bench run` with the train jobs alone."""
    ctx.invoke(
        run,
        suite=suite,
        profile=profile,
        only=tuple(_training(glob) for glob in only) or ("*/train",),
        device=device,
        workers=workers,
        tables=False,
    )


def _training(glob: str) -> str:
    """A glob pattern of train jobs; a model's name such as ``softmax`` stands for all its seeds."""
    return f"{glob}/*/train" if "/" not in glob else f"{glob.removesuffix('/train')}/train"


@click.command()
@click.argument("model")
@options.last_suite
@options.profile
@click.option("--n", "count", type=int, default=100, show_default=True, help="Images, in all; at most 10,000.")
@click.option(
    "--class", "classes", type=int, multiple=True, help="Only this class; may be repeated. Default: all in turn."
)
@click.option("--steps", type=int, help="Sampler steps of fresh chains. Default: as in training.")
@click.option(
    "--source",
    type=click.Choice(["fresh", "buffer"]),
    default="fresh",
    show_default=True,
    help="New chains, or the replay buffer as training left it.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the chains' noise.")
@options.device
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("samples.png"),
    show_default=True,
    help="The file to write, *.png.",
)
@options.as_json
def sample(
    model: str,
    suite: str | None,
    profile: str | None,
    count: int,
    classes: tuple[int, ...],
    steps: int | None,
    source: str,
    seed: int,
    device: str,
    out: Path,
    as_json: bool,
) -> None:
    """Draw images from a trained or imported generative model into a picture, with energies and confidences.

    MODEL is the name of a model in the suite, such as gmmc-gen, or of one seed, gmmc-gen/digits/seed1. Rows of the
    picture are classes.
    """
    from bench.api import Bench
    from bench.commands.sample import draw

    facts = draw(
        Bench.here(),
        model,
        suite=suite,
        profile=profile,
        count=count,
        classes=classes,
        steps=steps,
        source=source,
        seed=seed,
        device=device,
        out=out,
    )
    if as_json:
        echo_json({**facts})
        return
    echo(f"{several(facts['n'], 'image')} in {out}")
    for row in facts["classes"]:
        echo(
            f"class {row['class']}: {several(row['n'], 'image')}, mean energy {row['energy']:.3g}, "
            f"mean confidence {row['confidence']:.1%}, classified as intended {row['agreement']:.1%}"
        )


@click.command(name="import")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--format", "format_", required=True, help="state-dict, or a format that the family declares: gmmc, jem.")
@click.option("--as", "family", required=True, metavar="FAMILY", help="The family that the weights belong to.")
@click.option("--backbone", required=True, metavar="NAME", help="The network of the weights, such as wrn-28-10.")
@click.option("--name", required=True, help='Suites then say weights = "NAME".')
@click.option("--classes", "num_classes", type=int, default=10, show_default=True, help="Number of classes.")
@click.option("--shape", default="3x32x32", show_default=True, help="Channels x height x width of the images.")
def import_(file: Path, format_: str, family: str, backbone: str, name: str, num_classes: int, shape: str) -> None:
    """Bring in weights that others trained; nothing in the file is executed.

    \b
    Example:
      bench import best_valid_ckpt.pt --format gmmc --as gmmc-gen --backbone wrn-28-10 --name gmmc-authors
    """
    from bench.api import Bench
    from bench.errors import RequestError
    from bench.weights.convert import import_model

    if not re.fullmatch(r"[1-9][0-9]{0,8}(x[1-9][0-9]{0,8}){2}", shape, re.ASCII):
        raise RequestError(f"--shape {shape[:100]}: expected channels x height x width, such as 3x32x32")
    sizes = shape.split("x")
    report = import_model(
        file,
        format_=format_,
        family=family,
        backbone=backbone,
        name=name,
        num_classes=num_classes,
        image_shape=(int(sizes[0]), int(sizes[1]), int(sizes[2])),
        weights_root=Bench.here().settings.weights,
    )
    echo(f"{name}: {report.tensors} tensors, {report.buffer:,} buffer images, sha256 {report.weights[:12]}")
    echo(f'in {report.folder}; use it in a suite: family = "{family}", weights = "{name}"')
    for tensor, reason in list(report.ignored.items())[:MOST_SHOWN]:
        echo(f"ignored {tensor}: {reason}")
    if len(report.ignored) > MOST_SHOWN:
        echo(f"and {len(report.ignored) - MOST_SHOWN} more were ignored; all are in {report.folder}/model.json")
    for stubbed in report.stubbed:
        echo(f"not executed: {stubbed}")
    for note in report.notes:
        echo(note)


@click.command()
@click.argument("model")
@options.last_suite
@options.profile
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="*.safetensors or *.pt")
def export(model: str, suite: str | None, profile: str | None, out: Path) -> None:
    """Write the weights of a trained model as safetensors or as a plain state dict."""
    from bench.api import Bench
    from bench.weights.convert import check_target, export_model
    from bench.weights.unpickle import shown

    check_target(out)
    export_model(Bench.here().load_model(model, suite=suite, profile=profile), out)
    echo(shown(out))
