"""`sluiceway collector-config agent | gateway`."""

from __future__ import annotations

from typing import Annotated

import typer

from sluiceway.collector import configuration
from sluiceway.commands.options import ConfigFile, loaded

app = typer.Typer(
    no_args_is_help=True, help="Print the configuration of an OpenTelemetry Collector for this deployment."
)

Tenant = Annotated[str, typer.Option("--tenant", help="Tenant of everything that this Collector sends. Default: none.")]
Storage = Annotated[
    str, typer.Option("--storage", metavar="DIR", help="Folder of the persistent queue, on the Collector's machine.")
]


@app.command()
def agent(
    config_file: ConfigFile = None,
    endpoint: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Where agents reach our ingest. Default: the gRPC receiver's settings."),
    ] = None,
    tenant: Tenant = "",
    storage: Storage = configuration.DEFAULT_STORAGE,
) -> None:
    """Print the configuration of an agent: OTLP in, OTLP over gRPC to our ingest, nothing lost while ingest is away.

    Example: `sluiceway collector-config agent --endpoint ingest.example:4317 > agent.yaml`
    """
    config = loaded(config_file).config
    reached = endpoint or f"{config.ingest.grpc_host}:{config.ingest.grpc_port}"
    size = config.ingest.max_decompressed_bytes
    text = configuration.agent(reached, max_request_bytes=size, tenant=tenant, storage=storage)
    typer.echo(text, nl=False)


@app.command()
def gateway(
    config_file: ConfigFile = None,
    tenant: Tenant = "",
    storage: Storage = configuration.DEFAULT_STORAGE,
) -> None:
    """Print the configuration of a gateway: OTLP in, records into our Kafka topics, nothing lost without a broker.

    Brokers, topics and protection are those of `kafka.*`. The SASL password is not printed: the Collector takes it
    from KAFKA_SASL_PASSWORD in its environment.

    Example: `sluiceway collector-config gateway > gateway.yaml`
    """
    config = loaded(config_file).config
    size = config.ingest.max_decompressed_bytes
    text = configuration.gateway(config.kafka, max_request_bytes=size, tenant=tenant, storage=storage)
    typer.echo(text, nl=False)
