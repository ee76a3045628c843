"""Sets of questions keep their promises."""

import pytest

from features.intent import LocaleText
from features.knowledge import KnowledgeBase
from features.prompt import SLOT
from tests.training.builders import intent
from training.locale_questions import TITLES, cross_locale
from training.questions import Question, QuestionSet, answer_of, sampled, typed_prompt

ANSWERS = tuple(answer_of(intent(name, "goods")) for name in ("sizes", "colours"))
QUESTIONS = [Question(f"q{number}", f"p{number}", "sizes", str(number)) for number in range(20)]


def test_a_truth_that_is_no_answer_is_refused():
    with pytest.raises(ValueError, match="'shapes'"):
        QuestionSet("goods", "Goods", ANSWERS, (Question("q", "p", "shapes", "c"),))


def test_truths_are_places_of_answers_and_skip_questions_without_one():
    asked = (Question("q", "p", "colours", "c"), Question("q", "p", None, "c"), QUESTIONS[0])
    assert QuestionSet("goods", "Goods", ANSWERS, asked).truths() == [1, 0]


def test_a_sample_keeps_the_order_and_depends_on_the_seed_alone():
    some = sampled(QUESTIONS, 7, seed=1)
    assert some == sampled(QUESTIONS, 7, seed=1) != sampled(QUESTIONS, 7, seed=2)
    assert list(some) == [question for question in QUESTIONS if question in some]
    assert len(some) == 7
    assert sampled(QUESTIONS, 50, seed=1) == tuple(QUESTIONS)


def test_a_typed_text_is_told_as_a_shoppers_would_be():
    prompt = typed_prompt("call me at 0171 2345678", "es")
    assert "call me at" in prompt
    assert "2345678" not in prompt
    assert "language es" in prompt
    assert prompt.endswith(SLOT)


def test_only_intents_with_spanish_texts_are_asked_across_languages():
    spanish = LocaleText(title="¿Qué talla?", description="Explica las tallas.")
    sizes = intent("sizes", "goods").model_copy(update={"texts": {"es": spanish}})
    sets = cross_locale(KnowledgeBase((sizes, intent("colours", "goods"))), {"sizes": ["wat size"]}, 9, seed=1)
    assert [found.name for found in sets] == list(TITLES)
    assert all(found.truths() == [0] for found in sets)
    english, crossed, shown = sets
    assert "wat size" in english.questions[0].prompt
    assert "talla" in crossed.questions[0].prompt
    assert crossed.answers == english.answers
    assert "talla" in shown.answers[0].prompt
    assert "About sizes" not in shown.answers[0].words + shown.answers[0].prompt
