"""Which prompts model v0 sees embedded is decided by how often they are asked alone."""

from deploy.model_zero import _without_words, most_asked

PROMPTS = [f"prompt {n}" for n in range(1000)]


def test_the_prompts_of_most_requests_are_embedded_whenever_these_came():
    asked = [*PROMPTS, *PROMPTS[300:310] * 5]
    chosen = most_asked(asked, 200)
    assert chosen == most_asked(reversed(asked), 200)
    assert (len(set(chosen)), set(chosen[:10])) == (200, set(PROMPTS[300:310]))


def test_fewer_prompts_than_wanted_are_all_taken():
    assert sorted(most_asked(["b", "a", "b"])) == ["a", "b"]


def test_new_words_do_not_make_a_new_model_but_new_code_does():
    code = 'def f(x):\n    """Says."""\n    return x + 1  # adds\n'
    assert _without_words(code) == _without_words('def f(x):\n    """Tells."""\n    return (x + 1)\n')
    assert _without_words(code) != _without_words(code.replace("+ 1", "+ 2"))
