"""The store child as `sluiceway.embedded.engine`, but for the look at what is foreign: a mutant that tests start."""

import sys

from sluiceway.embedded import engine


def look_at_nothing(*_: object, **__: object) -> list[str]:
    return []


if __name__ == "__main__":
    setattr(engine, "set_aside", look_at_nothing)  # noqa: B010  the name is not exported
    sys.exit(engine.main(sys.argv[1:]))
