"""What `make bench-questions` prints, and what CI may take from its exit code."""

from __future__ import annotations

import pytest

from bench import questions

FOUND = {
    "rollups": {"gauge": 12.25, "services": 300.0, "deployments": 300.1},
    "searches": {"log search": 900.0},
    "traces": {"a": 90.0, "b": 101.0, "c": 250.0},
}


def test_every_figure_has_its_bound_beside_it_and_those_over_it_are_named() -> None:
    assert questions.table(FOUND).splitlines() == [
        "    12.2 ms  <= 300  gauge",
        "   300.0 ms  <= 300  services",
        "   300.1 ms  <= 300  deployments OVER",
        "   900.0 ms          log search",
        "   101.0 ms  <= 100  trace by id (median) OVER",
        "   250.0 ms          trace by id (slowest)",
        "over the bound: deployments, trace by id (median)",
    ]
    assert questions.table({**FOUND, "rollups": {"gauge": 1.0}, "traces": {"a": 1.0}}).endswith("bound: none")


def test_slow_answers_are_no_failure_and_a_missing_one_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["bench.questions", "--items", "12"])
    monkeypatch.setattr(questions, "measure", lambda *_: FOUND)
    assert questions.main() == 0
    assert capsys.readouterr().out.startswith("12 spans, points and log records over 7 days")

    def without_answer(*_: object) -> dict[str, dict[str, float]]:
        raise RuntimeError("must have an answer, has none: SELECT 1")

    monkeypatch.setattr(questions, "measure", without_answer)
    with pytest.raises(RuntimeError, match="has none"):
        questions.main()
