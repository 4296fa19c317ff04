"""`image build`, `image push`, `image inspect`."""

import json
import platform
from pathlib import Path
from typing import Final

import click

from containers import build as builder
from containers import checkout, engine
from containers import image as images
from containers.contents import BILL
from containers.engine import EngineError
from dataflow import __version__
from dataflow.errors import UsageError

MEGABYTE: Final = 1_000_000
_SHORT: Final = 7


def build(base: str | None, registry: str | None, boot: str | None, *, prism: bool, context: str | None) -> None:
    """Builds the image of this checkout and prints its names, or only fills a folder to build it in.

    Raises:
        UsageError: if there is no engine, or anything fails.
    """
    try:
        here = checkout.read()
        on = None if context else engine.find()
        architecture = on.architecture if on else _architecture()
        recipe = builder.Recipe(
            here,
            __version__,
            base or builder.default_base(),
            _tags(here, registry),
            Path(boot) if boot else None,
            _prism(architecture) if prism else None,
        )
        if on is None:
            folder = Path(str(context))
            if folder.exists():
                raise UsageError(f"{folder} already exists")
            builder.prepare(folder, recipe, architecture)
            held = sum(path.stat().st_size for path in folder.rglob("*"))
            click.echo(f"{folder}: the image's build context, for linux/{architecture}, {_megabytes(held)}")
            return
        if not here.clean:
            click.echo("there are uncommitted changes: the image is tagged -dev", err=True)
        built = builder.build(recipe, on, lambda sentence: click.echo(sentence, err=True))
    except EngineError as error:
        raise UsageError(str(error)) from None
    click.echo(f"built in {built.seconds:.0f} s, {_megabytes(built.image.size_bytes)}, checked:")
    for tag in recipe.tags:
        click.echo(f"  {tag}")


def push(registry: str, image: str | None) -> None:
    """Pushes the image of this checkout, or a named one, to a registry under its names there.

    Raises:
        UsageError: if it does not exist, does not fit this Python, or the registry refuses it.
    """
    try:
        on = engine.find()
        here = checkout.read()
        source = image or _tags(here, None)[0]
        why = images.mismatch(source, on)
        if why is not None:
            raise UsageError(why)
        names = _tags(here, registry) if image is None else (f"{registry.rstrip('/')}/{image.rpartition('/')[2]}",)
        for name in names:
            on.ask("tag", source, name)
            on.ask("push", name)
            digests = on.inspect(name).get("RepoDigests") or []
            click.echo(f"pushed {name}")
        for digest in digests:
            if digest.startswith(f"{names[0].rpartition(':')[0]}@"):
                click.echo(f"  {digest}")
    except EngineError as error:
        raise UsageError(str(error)) from None


def inspect(image: str | None, *, sbom: bool) -> int:
    """Prints the facts and contents of an image, or its whole bill of materials.

    Returns:
        The exit code: 1 if it cannot run what this Python submits.

    Raises:
        UsageError: if it does not exist, or is not an image of Streamgauge.
    """
    try:
        on = engine.find()
        name = image or _tags(checkout.read(), None)[0]
        if sbom:
            click.echo(on.look(name, "cat", str(BILL)))
            return 0
        found = images.read(name, on)
        why = images.disagreement(found.labels, name)
        holds = images.contents(name, on) if why is None else {}
    except EngineError as error:
        raise UsageError(str(error)) from None
    _line("image", f"{name}  {found.identity}")
    _line("size", f"{_megabytes(found.size_bytes)} in {found.layers} layers, {found.architecture}, user {found.user}")
    if holds:
        _line("python", holds["python"])
        _line("beam", holds["beam"])
        _line("programs", ", ".join(holds["programs"]))
        _line("sbom", _bill(holds["sbom"]))
    for label, value in sorted(found.labels.items()):
        _line("label", f"{label}={value}")
    _line("fits", why or "yes: it can run what this Python submits")
    return 1 if why else 0


def _bill(summary: dict[str, object] | None) -> str:
    if summary is None:
        return "none"
    kinds = json.dumps(summary["kinds"]).strip("{}").replace('"', "")
    return f"{summary['format']}, {summary['components']} components ({kinds}); {summary['licensed']} state a licence"


def _tags(here: checkout.Checkout, registry: str | None) -> tuple[str, ...]:
    commit = here.commit[:_SHORT] if here.commit else None
    return images.tags(__version__, commit, clean=here.clean, registry=registry)


def _architecture() -> str:
    """This machine's architecture, in the engines' terms."""
    found = {machine: name for name, machine in builder.MACHINES.items()} | {"arm64": "arm64"}
    return found.get(platform.machine().lower(), platform.machine())


def _prism(architecture: str) -> Path | None:
    """The Prism of this machine, if the image can run it; building it needs Go, as Beam's boot program does."""
    from runners.prism_binary import PrismError
    from runners.prism_binary import build as build_prism

    if platform.system() != "Linux" or architecture != _architecture():
        click.echo(
            f"without Prism, which is not built for linux/{architecture} here: endless jobs need a cluster", err=True
        )
        return None
    try:
        return build_prism()
    except PrismError as error:
        raise UsageError(f"{error}; or --no-prism") from None


def _megabytes(size: int) -> str:
    return f"{size / MEGABYTE:,.0f} MB"


def _line(name: str, value: object) -> None:
    click.echo(f"{name:<10}{value}")
