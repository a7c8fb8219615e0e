"""The `sluiceway` command: what goes wrong is one line on stderr and exit code 2; a traceback needs --debug."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer
from typer.exceptions import TyperException

from schemas.errors import ConfigurationError, SluicewayError
from schemas.shown import shown_lines
from sluiceway.commands import (
    alerts,
    audit,
    collector_config,
    config,
    dashboards,
    deadletters,
    demo,
    doctor,
    query,
    redaction,
    running,
    schema,
    slo,
    version,
)

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130

app = typer.Typer(
    name="sluiceway",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""OTLP in, answers out: traces, metrics and logs, each item exactly once in ClickHouse.

Start the pipeline with `sluiceway up`, send OTLP to 127.0.0.1:4317 (gRPC) or :4318 (HTTP), look at
http://127.0.0.1:8080, ask with `sluiceway query "SELECT ..."`, and prove that nothing is missing with
`sluiceway audit`. Every setting is listed by `sluiceway config show`.""",
)


@app.callback()
def _global(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    # `main` looks for --debug itself, as errors can come up before this runs.
    pass


app.command("up")(running.up)
app.command("ingest")(running.ingest)
app.command("process")(running.process)
app.command("demo")(demo.demo)
app.command("query")(query.query)
app.command("audit")(audit.audit)
app.add_typer(alerts.app, name="alerts")
app.add_typer(dashboards.app, name="dashboards")
app.add_typer(deadletters.app, name="deadletters")
app.add_typer(redaction.app, name="redaction")
app.add_typer(schema.app, name="schema")
app.add_typer(slo.app, name="slo")
app.command("doctor")(doctor.doctor)
app.add_typer(config.app, name="config")
app.add_typer(collector_config.app, name="collector-config")
app.command("version")(version.version)


def main(arguments: list[str] | None = None) -> None:
    """Run the command and exit with its code: 0 well, 1 the answer is no, 2 an error, 130 interrupted."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    try:
        code = app(arguments, prog_name="sluiceway", standalone_mode=False)
    except BrokenPipeError:
        # The reader (`| head`) left. Point stdout elsewhere, or the interpreter complains when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except (KeyboardInterrupt, typer.Abort):
        code = EXIT_INTERRUPTED
    except Exception as error:
        if debug:
            raise
        _print_error(error)
        code = EXIT_ERROR
    sys.exit(code if isinstance(code, int) else 0)


def _print_error(error: Exception) -> None:
    if isinstance(error, TyperException):
        text = f"{error.format_message().rstrip('.')}; see --help"
    elif isinstance(error, ConfigurationError):
        # One line for each wrong setting.
        text = str(error).replace("\n", "\nsluiceway: ")
    elif isinstance(error, SluicewayError | OSError):
        text = " ".join(str(error).split())
    else:
        text = f"internal error: {type(error).__name__}: {' '.join(str(error).split())[:300]} (--debug shows where)"
    print(shown_lines(f"sluiceway: {text}"), file=sys.stderr)
