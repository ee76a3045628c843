import torch

from training.meeting import Meeting
from training.qerec import create, unit
from training.qerec_shape import QERecShape
from training.scoring import Features

SHAPE = QERecShape(
    numeric=5,
    categories=(4, 7),
    event_kinds=6,
    sequence=3,
    text_width=8,
    query_width=12,
    intents=9,
    families=3,
    width=16,
)


def features(requests=4, seed=0):
    g = torch.Generator().manual_seed(seed)
    return Features(
        numeric=torch.rand(requests, 5, generator=g),
        categorical=torch.randint(0, 4, (requests, 2), generator=g),
        event_kinds=torch.randint(0, 6, (requests, 3), generator=g),
        event_ages=torch.rand(requests, 3, generator=g),
        query=torch.randn(requests, 12, generator=g),
        has_query=torch.ones(requests),
    )


def intents(seed=0):
    g = torch.Generator().manual_seed(seed)
    return (
        torch.arange(1, 10),
        torch.randn(9, 8, generator=g),
        torch.randn(9, 12, generator=g),
        torch.randint(0, 4, (9,), generator=g),
    )


def ready(seed=0):
    model = create(SHAPE, seed)
    model.settle(features(64).numeric, intents()[2])
    return model.eval()


def test_the_fast_meeting_equals_the_plain_formula_of_equation_5():
    torch.manual_seed(0)
    meeting = Meeting(SHAPE)
    u, q, v = torch.randn(3, 16), torch.randn(3, 16), torch.randn(5, 16)
    plain = torch.nn.MultiheadAttention(16, SHAPE.heads, batch_first=True)
    plain.load_state_dict(
        {
            "in_proj_weight": meeting.qkv.weight,
            "in_proj_bias": meeting.qkv.bias,
            "out_proj.weight": meeting.out.weight,
            "out_proj.bias": meeting.out.bias,
        }
    )
    for b in range(3):
        for i in range(5):
            tokens = torch.stack([u[b], q[b], v[i]]).unsqueeze(0)
            normed = meeting.norm(tokens)
            attended = (tokens + plain(normed, normed, normed, need_weights=False)[0]).flatten()
            pair = torch.cat([attended, u[b] * v[i], q[b] * v[i], u[b] * q[b]])
            hidden = meeting.hidden(pair).view(SHAPE.experts, -1)
            gate = torch.softmax(hidden[:, 0], 0)
            expected = (gate * (torch.nn.functional.gelu(hidden[:, 1:]) * meeting.score).sum(-1)).sum()
            torch.testing.assert_close(meeting(u, q, v)[b, i], expected, atol=1e-5, rtol=1e-5)


def test_permuting_intents_permutes_scores():
    model, order = ready(), torch.randperm(9)
    scores = model(features(), intents())
    permuted = model(features(), tuple(part[order] for part in intents()))
    torch.testing.assert_close(permuted, scores[:, order])


def test_requests_are_scored_independently():
    model = ready()
    together = model(features(4), intents())
    torch.testing.assert_close(model(features(4).take(torch.tensor([2])), intents())[0], together[2])


def test_without_a_query_its_values_change_nothing():
    model, given = ready(), features()
    null = Features(*given.tensors()[:4], given.query, torch.zeros(4))
    other = Features(*given.tensors()[:4], torch.zeros_like(given.query), torch.zeros(4))
    torch.testing.assert_close(model(null, intents()), model(other, intents()))
    assert not torch.allclose(model(null, intents()), model(given, intents()))


def test_padding_events_change_nothing():
    model, given = ready(), features()
    empty = torch.zeros_like(given.event_kinds)
    rest = (given.query, given.has_query)
    here = Features(given.numeric, given.categorical, empty, torch.zeros(4, 3), *rest)
    there = Features(given.numeric, given.categorical, empty, torch.ones(4, 3), *rest)
    torch.testing.assert_close(model(here, intents()), model(there, intents()))


def test_the_untrained_cosine_path_is_the_centred_cosine():
    model, query, state = ready(), features().query, intents()[2]
    _, query_key = model.head.query(query, torch.ones(4))
    _, intent_key = model.tower(*intents())
    centred = state - state.mean(0)
    _, _, basis = torch.linalg.svd(centred, full_matrices=False)
    torch.testing.assert_close(
        query_key @ intent_key.T, unit(query @ basis.T) @ unit(centred @ basis.T).T, atol=1e-4, rtol=1e-4
    )


def test_every_weight_gets_a_gradient():
    model = ready().train()
    model(features(64), intents()).square().sum().backward()
    still = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    assert still == ["position_bias"]


def test_equal_seeds_give_equal_weights_and_leave_the_generator_alone():
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    one, two = create(SHAPE, 3), create(SHAPE, 3)
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
