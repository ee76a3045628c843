"""Real questions to support as sets: ABCD's issue statements, Bitext's utterances, HINT3's messages to a shop's bot.

Each set is read by path from the folder of public data and asks for intents of its own. Where an intent's text is made
of examples, they come from another split than the questions.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from features.intent import Intent
from training.questions import Answer, Question, QuestionSet, answer_of, sampled, typed_prompt

EXAMPLES = 3
NO_INTENT = "NO_NODES_DETECTED"
"""HINT3's label for a message that none of the bot's answers fits."""
_MAX_SENTENCE = 300


class DataMissing(FileNotFoundError):
    """A file of the public data is not where the folder's README says."""


def abcd(folder: Path, most: int, seed: int) -> QuestionSet:
    """One-sentence customer issues with a label given by people, against the shop's policy texts (55 intents).

    A label that the ontology does not know is left out.
    """
    answers = _policies(folder / "abcd")
    known = {answer.id for answer in answers}
    label = {row["convo_id"]: row["gold"] for row in _jsonl(folder / "abcd/weak_labels_10042.jsonl.gz")}
    questions = [
        _question(row["issue"], label[row["convo_id"]], f"abcd-{row['convo_id']}")
        for row in _jsonl(folder / "abcd/summaries_abcd_gpt4_01_issues_gpt4.jsonl.gz")
        if label.get(row["convo_id"]) in known
    ]
    return QuestionSet("abcd", "ABCD issue statements, policy texts", answers, sampled(questions, most, seed))


def bitext(folder: Path, most: int, seed: int) -> QuestionSet:
    """Template-written utterances, against the intents' names and examples of the training split (27 intents).

    Utterances of one intent are variants of a few templates, so an intent is a cluster.
    """
    name = "bitext/Bitext_Sample_Customer_Service_{}_Dataset.csv.gz"
    shown, asked = (_csv(folder / name.format(split)) for split in ("Training", "Testing"))
    said = _by_label(shown, "utterance", "intent")
    family = {row["intent"]: row["category"] for row in shown}
    answers = tuple(_named(label, family[label], said[label], seed) for label in sorted(said))
    questions = [_question(row["utterance"], row["intent"], row["intent"]) for row in asked]
    return QuestionSet("bitext", "Bitext utterances, names and examples", answers, sampled(questions, most, seed))


def hint3(folder: Path, most: int, seed: int) -> QuestionSet:
    """Messages to a live shop's bot (corrected labels), against names and designers' examples (21 intents).

    Messages that no answer fits are questions without a truth; they keep their share.
    """
    said = _by_label(_csv(folder / "hint3/v2/sofmattress_train.csv.gz"), "sentence", "label")
    answers = tuple(_named(label, "mattress shop", said[label], seed) for label in sorted(said))
    rows = _csv(folder / "hint3/v2/sofmattress_test.csv.gz")
    questions = [
        _question(row["sentence"], None if row["label"] == NO_INTENT else row["label"], f"hint3-{number}")
        for number, row in enumerate(rows)
    ]
    return QuestionSet("hint3", "HINT3 messages to a shop's bot", answers, sampled(questions, most, seed))


def _question(text: str, truth: str | None, cluster: str) -> Question:
    return Question(words=text, prompt=typed_prompt(text), truth=truth, cluster=cluster)


def _policies(folder: Path) -> tuple[Answer, ...]:
    """ABCD's subflows as intents: title, what the flow is about, and the policy's first sentences of its own.

    Sentences that stand in several policies come last. The guidelines name subflows as people do, the ontology as
    labels do; both list them in the same order.
    """
    flows: dict[str, Any] = json.loads(_text(folder / "guidelines.json"))
    labels: dict[str, list[str]] = json.loads(_text(folder / "ontology.json"))["intents"]["subflows"]
    policies = [_sentences(policy) for flow in flows.values() for policy in flow["subflows"].values()]
    used = Counter(sentence for policy in policies for sentence in set(policy))
    answers = []
    for title, flow in flows.items():
        family = re.sub(r"[^a-z]+", "_", title.lower())
        for label, (name, policy) in zip(labels[family], flow["subflows"].items(), strict=True):
            rarest = sorted(_sentences(policy), key=lambda sentence: used[sentence] > 1)
            answers.append(_answer(f"{family}.{label}", family, name, flow["description"], rarest))
    return tuple(answers)


def _sentences(policy: Mapping[str, Any]) -> list[str]:
    """What a policy tells the agent: first the instructions, then the steps."""
    steps = [text for action in policy["actions"] for text in (action["text"], *action["subtext"])]
    return [*policy["instructions"], *steps]


def _named(label: str, family: str, said: Sequence[str], seed: int) -> Answer:
    """An intent known by its name and a few examples, the same few for the same seed."""
    chosen = np.random.default_rng([seed, len(said)]).permutation(len(said))[:EXAMPLES]
    name = label.replace("_", " ").capitalize()
    return _answer(label, family, name, family.lower(), [said[index] for index in sorted(chosen)])


def _answer(label: str, family: str, title: str, description: str, examples: Sequence[str]) -> Answer:
    """A label of a foreign set, worded by the same rules as our own intents."""
    texts = [" ".join(example.split())[:_MAX_SENTENCE] for example in examples if example.strip()]
    intent = Intent(
        id=_slug(label), family=_slug(family), title=title, description=description, examples=tuple(texts[:EXAMPLES])
    )
    return replace(answer_of(intent), id=label)


def _slug(label: str) -> str:
    return "label_" + re.sub(r"[^a-z0-9]+", "_", label.lower())


def _by_label(rows: Sequence[Mapping[str, str]], text: str, label: str) -> dict[str, list[str]]:
    said: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        said[row[label]].append(row[text])
    return said


def _text(path: Path) -> str:
    if not path.exists():
        raise DataMissing(f"{path} is not there; expected the public data as its README lists it: check --data")
    return gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()


def _jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in _text(path).splitlines()]


def _csv(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(_text(path))))
