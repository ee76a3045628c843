"""Real questions are read by path, with their own labels; what is missing is named."""

import gzip
import json

import pytest

from features.prompt import SLOT
from training.issue_texts import DataMissing, abcd, bitext, hint3


def _gz(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()))


def _lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def _policy(*instructions):
    return {"instructions": [*instructions, "Be kind."], "actions": [{"text": "Pull up the account.", "subtext": []}]}


@pytest.fixture
def folder(tmp_path):
    subflows = {"Start a Refund": _policy("They want money back."), "Refund Status": _policy("They wait for money.")}
    guidelines = {"Product Defect": {"description": "refunds and returns", "subflows": subflows}}
    labels = {"product_defect": ["refund_initiate", "refund_status"]}
    (tmp_path / "abcd").mkdir()
    (tmp_path / "abcd/guidelines.json").write_text(json.dumps(guidelines))
    (tmp_path / "abcd/ontology.json").write_text(json.dumps({"intents": {"subflows": labels}}))
    gold = {"1": "product_defect.refund_status", "2": None, "3": "product_defect.unheard_of"}
    _gz(
        tmp_path / "abcd/weak_labels_10042.jsonl.gz",
        _lines({"convo_id": convo, "weak_intent": "x", "p": 0.5, "gold": label} for convo, label in gold.items()),
    )
    _gz(
        tmp_path / "abcd/summaries_abcd_gpt4_01_issues_gpt4.jsonl.gz",
        _lines({"convo_id": convo, "issue": f"Issue {convo}."} for convo in gold),
    )
    train = "".join(f'"{label}, {number}",{label}\n' for label in ("EMI", "100_NIGHTS") for number in range(4))
    _gz(tmp_path / "hint3/v2/sofmattress_train.csv.gz", "sentence,label\n" + train)
    _gz(
        tmp_path / "hint3/v2/sofmattress_test.csv.gz",
        "sentence,label\ninstalments?,EMI\nhello,NO_NODES_DETECTED\n",
    )
    rows = "".join(f"cancel it {number},cancel_order,ORDER\n" for number in range(5))
    for split in ("Training", "Testing"):
        _gz(
            tmp_path / f"bitext/Bitext_Sample_Customer_Service_{split}_Dataset.csv.gz",
            "utterance,intent,category\n" + rows,
        )
    return tmp_path


def test_policies_and_labels_meet_by_their_order(folder):
    found = abcd(folder, 9, seed=1)
    assert [answer.id for answer in found.answers] == ["product_defect.refund_initiate", "product_defect.refund_status"]
    assert "Refund Status refunds and returns They wait for money." in found.answers[1].words


def test_only_questions_with_a_label_that_people_gave_and_the_ontology_knows_are_asked(folder):
    (question,) = abcd(folder, 9, seed=1).questions
    assert (question.words, question.truth) == ("Issue 1.", "product_defect.refund_status")


def test_a_sentence_of_many_policies_stands_behind_a_policys_own(folder):
    words = abcd(folder, 9, seed=1).answers[0].words
    assert words.index("They want money back.") < words.index("Be kind.")


def test_a_message_that_nothing_answers_is_a_question_without_a_truth(folder):
    found = hint3(folder, 9, seed=1)
    assert [question.truth for question in found.questions] == ["EMI", None]
    assert [question.truth for question in found.in_scope] == ["EMI"]


def test_answers_are_worded_by_examples_of_the_training_split_alone(folder):
    found = hint3(folder, 9, seed=1)
    assert {answer.id for answer in found.answers} == {"EMI", "100_NIGHTS"}
    assert "EMI, " in next(answer.words for answer in found.answers if answer.id == "EMI")
    assert not any("instalments" in answer.words + answer.prompt for answer in found.answers)


def test_questions_become_prompts_and_are_sampled_alike_each_time(folder):
    found = bitext(folder, 3, seed=1)
    assert found.questions == bitext(folder, 3, seed=1).questions
    assert len(found.questions) == 3
    assert all("cancel it" in q.prompt and q.prompt.endswith(SLOT) for q in found.questions)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataMissing, match=r"guidelines\.json is not there.*--data"):
        abcd(tmp_path, 9, seed=1)
