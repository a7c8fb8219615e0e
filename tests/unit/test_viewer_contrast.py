"""The colours that the style sheet pairs reach WCAG 2.2 AA: 4.5:1 for text, 3:1 for bars and lines."""

from __future__ import annotations

import re

import pytest

from dashboards.viewer import assets

TEXTS = ("text", "muted", "accent", "bad", "warn", "good", "calm")
GROUNDS = ("ground", "panel", "bad-ground")


def schemes() -> dict[str, dict[str, str]]:
    css = (assets.HERE / "static" / "viewer.css").read_text(encoding="utf-8")
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
        for block in re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    )
    return {"light": light, "dark": dark}


def contrast(one: str, other: str) -> float:
    def luminance(colour: str) -> float:
        parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_on_every_ground(scheme: str) -> None:
    colours = schemes()[scheme]
    poor = {
        (text, ground): round(contrast(colours[text], colours[ground]), 2)
        for text in TEXTS
        for ground in GROUNDS
        if contrast(colours[text], colours[ground]) < 4.5
    }
    assert poor == {}
    assert contrast(colours["badge-text"], colours["badge-bad"]) >= 4.5


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_bars_stand_out_from_their_lane(scheme: str) -> None:
    colours = schemes()[scheme]
    assert {n: c for n in range(8) if (c := contrast(colours[f"c{n}"], colours["panel"])) < 3} == {}


def test_black_on_white_is_twenty_one_to_one() -> None:
    assert pytest.approx(contrast("#000000", "#ffffff")) == 21
