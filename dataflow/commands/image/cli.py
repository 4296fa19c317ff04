"""The command line of `image …`: commands and options."""

import click


@click.group()
def image() -> None:
    """The container image: builds it, pushes it to a registry, shows its contents."""


@image.command()
@click.option("--base", metavar="IMAGE", help="The base image.  [default: the slim image of this Python]")
@click.option("--registry", metavar="HOST/PATH", help="The prefix of the image's name.")
@click.option("--boot", metavar="FILE", help="Beam's boot program; by default Go builds it.")
@click.option("--prism/--no-prism", default=True, help="Includes the program that runs endless jobs without a cluster.")
@click.option("--context", metavar="DIR", help="Only fills this folder, for another builder.")
def build(base: str | None, registry: str | None, boot: str | None, prism: bool, context: str | None) -> None:
    """Builds the image of this checkout, and checks it."""
    from dataflow.commands.image import image as command

    command.build(base, registry, boot, prism=prism, context=context)


@image.command()
@click.argument("name", metavar="[IMAGE]", required=False)
@click.option("--registry", metavar="HOST/PATH", required=True, help="The target, such as localhost:5000/team.")
def push(name: str | None, registry: str) -> None:
    """Pushes the image of this checkout, or another one of ours."""
    from dataflow.commands.image import image as command

    command.push(registry, name)


@image.command()
@click.argument("name", metavar="[IMAGE]", required=False)
@click.option("--sbom", is_flag=True, help="Prints the whole bill of materials, CycloneDX as JSON.")
@click.pass_context
def inspect(ctx: click.Context, name: str | None, sbom: bool) -> None:
    """Shows an image's labels, size, versions and bill of materials; exit code 1 if it does not fit this Python."""
    from dataflow.commands.image import image as command

    ctx.exit(command.inspect(name, sbom=sbom))
