"""Which prompts model v0 sees embedded is decided by chance alone."""

from deploy.model_zero import _without_words, sampled

PROMPTS = [f"prompt {n}" for n in range(1000)]


def test_the_sample_depends_on_the_set_of_prompts_and_the_seed_alone():
    chosen = sampled([*reversed(PROMPTS), *PROMPTS[:300] * 5], seed=7, size=200)
    assert chosen == sampled(PROMPTS, seed=7, size=200)
    assert len(set(chosen)) == 200
    assert chosen != sampled(PROMPTS, seed=8, size=200)


def test_early_and_late_prompts_have_the_same_chance():
    early = set(PROMPTS[:500])
    shares = [len(early & set(sampled(PROMPTS, seed, size=200))) / 200 for seed in range(20)]
    assert abs(sum(shares) / len(shares) - 0.5) < 0.03


def test_fewer_prompts_than_wanted_are_all_taken():
    assert sorted(sampled(["b", "a", "b"], seed=0)) == ["a", "b"]


def test_new_words_do_not_make_a_new_model_but_new_code_does():
    code = 'def f(x):\n    """Says."""\n    return x + 1  # adds\n'
    assert _without_words(code) == _without_words('def f(x):\n    """Tells."""\n    return (x + 1)\n')
    assert _without_words(code) != _without_words(code.replace("+ 1", "+ 2"))
