import json

import pytest

from features.prompt_tokens import MAX_TOKENS, PromptTokens
from features.reasoner_identity import NotAModel
from tests.features.tiny_model import byte_tokenizer


@pytest.fixture
def folder(tmp_path):
    byte_tokenizer().save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": [0, 3]}))
    return tmp_path


def test_a_long_text_keeps_its_end(folder):
    tokens = PromptTokens(folder)
    (cut,), (end,) = tokens.of(["a" * 600 + "slot"]), tokens.of(["slot"])
    assert len(cut) == MAX_TOKENS
    assert cut[-4:] == end


def test_a_token_that_the_tokenizer_would_append_is_left_out(folder):
    plain = PromptTokens(folder).of(["slot"])
    byte_tokenizer(appends_end=True).save(str(folder / "tokenizer.json"))
    assert PromptTokens(folder).of(["slot"]) == plain


def test_tokens_become_their_text_without_the_special_ones(folder):
    tokens = PromptTokens(folder)
    assert tokens.end == 0
    assert tokens.text([*tokens.of(["Grüße"])[0], tokens.end]) == "Grüße"


def test_a_text_without_a_token_is_refused(folder):
    with pytest.raises(ValueError, match=r"at \[1\] have no token"):
        PromptTokens(folder).of(["a", ""])


def test_a_model_without_an_end_token_is_refused(folder):
    (folder / "config.json").write_text("{}")
    with pytest.raises(NotAModel, match="names no eos_token_id"):
        PromptTokens(folder)
