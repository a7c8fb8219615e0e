"""Where the browser's files come from: all are beside this module, in the wheel.

`static/echarts` is Apache ECharts as its authors built it, with its licences and checksums
(docs/decisions/0024-chart-library-vendored.md).
"""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent
