"""The report's tables, picture and figures say the same."""

from xml.etree import ElementTree as ET

from deploy.reasoner_tables import HEADER, Section, figures, markdown, picture
from training.metrics import Interval
from training.reasoner_quality import CHANCE, Measured, Way
from training.retrieval import Retrieval, chance


def _measured(mean, **told):
    interval = Interval(mean, mean - 0.1, mean + 0.1)
    return Measured(Way("llm_slot", "LLM <x>", "slot (here)"), Retrieval(interval, interval, interval, 40), **told)


RAW = Retrieval(Interval(0.2, 0.1, 0.3), Interval(0.25, 0.2, 0.3), Interval(0.3, 0.2, 0.4), 40)
ROWS = (_measured(0.5, raw=RAW, gain=Interval(-0.1, -0.2, 0.05)), Measured(CHANCE, chance(10)))
SECTION = Section("topics", "Topics", 10, ROWS)
SCOPED = Section("bot", "Bot", 10, (_measured(0.5, auroc=Interval(0.7, 0.6, 0.8)), ROWS[1]))
SVG = "{http://www.w3.org/2000/svg}"


def test_markdown_has_a_row_a_way_and_equal_columns():
    lines = [line for line in markdown("Report", ["a note"], [SECTION]).splitlines() if line.startswith("|")]
    assert {line.count("|") for line in lines} == {len(HEADER) + 1}
    assert "| LLM <x> | slot (here) | 40 | 0.500 | 0.500 [0.400, 0.600] | 0.250 | " in lines[2]
    assert "-0.100 [-0.200, +0.050]" in lines[2]


def test_the_scope_column_is_there_only_where_something_is_out_of_scope():
    assert "AUROC" not in markdown("Report", [], [SECTION])
    assert "0.700 [0.600, 0.800]" in markdown("Report", [], [SCOPED])


def test_the_picture_is_well_formed_and_puts_better_further_right():
    better = Section("topics", "Topics", 10, (_measured(0.8), ROWS[1]))
    drawn = [ET.fromstring(picture("Report", "note", [section])) for section in (SECTION, better)]
    low, high = ([float(dot.get("cx", 0)) for dot in root.iter(f"{SVG}circle")] for root in drawn)
    assert low[0] < low[1] < high[0]
    assert any(text.text == "LLM <x>: slot" for text in drawn[0].iter(f"{SVG}text"))


def test_figures_are_flat_and_name_set_way_and_metric():
    found = figures([SECTION, SCOPED])
    assert found["topics_llm_slot_recall_at_3"] == 0.5
    assert found["topics_llm_slot_raw_recall_at_3"] == 0.25
    assert found["topics_llm_slot_mrr_gain_low"] == -0.2
    assert found["bot_llm_slot_scope_auroc"] == 0.7
    assert found["topics_chance_recall_at_3"] == 0.3
    assert all(value is None or isinstance(value, int | float) for value in found.values())
