"""`textmill up`, `down` and `mirror`: the local servers."""

from textmill.commands.project import DEFAULT, ConfigFile, project_of


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


def mirror(config: ConfigFile = DEFAULT) -> None:
    """Copy moves made on MLflow's page to stages, aliases and the log, until Ctrl-C."""
    import threading

    from textmill.console import output
    from textmill.local_servers.stage_mirror import EVERY_S, sentence
    from textmill.registry.reconciler import Reconciler

    registry = project_of(config).registry
    registry.check()
    output.say(f"Mirroring the moves made on MLflow's page for '{registry.name}'; Ctrl-C stops it.")
    Reconciler(registry, lambda move: output.say(sentence(move))).run(EVERY_S, threading.Event())
