"""Where the browser's files come from: ours beside this module, ECharts from the NiceGUI wheel.

NiceGUI ships ECharts as ES modules and keeps them current; it is never imported
(docs/decisions/0005-viewer-library.md).
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from schemas.errors import ConfigurationError

HERE = Path(__file__).parent
_ECHARTS = Path("elements", "echart", "dist")


def echarts_folder() -> Path:
    """The folder whose `index.js` exports `echarts`.

    Raises:
        ConfigurationError: the installed NiceGUI has no such file.
    """
    # The search alone: executing the package would cost 41 MB and most of a second for nothing.
    spec = importlib.util.find_spec("nicegui")
    for place in (spec.submodule_search_locations if spec else None) or ():
        folder = Path(place) / _ECHARTS
        if (folder / "index.js").is_file():
            return folder
    raise ConfigurationError(
        "viewer: needs the ECharts modules of nicegui >= 3.18, < 4; install sluiceway's requirements"
    )
