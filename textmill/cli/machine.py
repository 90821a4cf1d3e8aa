"""Commands for a machine and its project: the configuration, the local servers, what is missing."""

from typing import Annotated

import typer

from textmill.commands.options import DEFAULT, ConfigFile, project_of


def init(
    start: Annotated[str, typer.Argument(metavar="URL", help="Where the site starts: a page, a feed or a sitemap.")],
    name: Annotated[str, typer.Option(help="Name of the model; the site's host name if left out.")] = "",
    config: ConfigFile = DEFAULT,
) -> None:
    """Write a commented textmill.yaml for a site."""
    from textmill.settings import yaml_file as configuration

    chosen = configuration.write_template(config, start, name)
    typer.echo(f"{config} is written: the model's name is '{chosen}'. Next: textmill up")


def up(config: ConfigFile = DEFAULT) -> None:
    """Start the local servers: article store, MLflow, TensorBoard."""
    from textmill.console import output
    from textmill.ground.environment import without_password
    from textmill.local_servers import servers

    project = project_of(config)
    with output.waiting("Starting the article store, MLflow and TensorBoard"):
        addresses = servers.up(project.config.data_dir, mirrored=project.config.name)
    output.done("Article store", without_password(addresses.mongodb))
    output.done("MLflow", without_password(addresses.mlflow))
    output.done("TensorBoard", addresses.tensorboard or "")
    output.say("Next: textmill crawl")


def down(config: ConfigFile = DEFAULT) -> None:
    """Stop the local servers."""
    from textmill.console import output
    from textmill.local_servers import servers

    stopped = servers.down(project_of(config).config.data_dir)
    output.say(f"Stopped: {', '.join(stopped)}." if stopped else "Nothing was running.")


def doctor(config: ConfigFile = DEFAULT) -> None:
    """Check what Textmill needs on this machine, and say how to put right what is missing."""
    from textmill.commands import doctor

    raise typer.Exit(0 if doctor.doctor(config) else 2)
