"""The table of views and the rows that a state gives."""

from features.contract import from_ms
from features.events import EventKind, UserEvent
from features.fold import fold
from features.state import UserState
from features.views import ORDER_STATE, USER_ACTIVITY, VIEWS, activity_values, order_values, project

NOW_MS = 1_790_000_000_000


def folded(kind, **data):
    state = UserState()
    fold(state, UserEvent(id="e1", type=kind, time=from_ms(NOW_MS), user="a", data=data), NOW_MS, NOW_MS)
    return state


def test_a_states_rows_have_exactly_the_features_of_their_views():
    for state in (UserState(), folded("parcel_delayed", order_id="o1", delay_days=2.5)):
        assert activity_values(state).keys() == USER_ACTIVITY.features.keys()
        assert order_values(state).keys() == ORDER_STATE.features.keys()


def test_an_unknown_user_has_counts_of_zero_and_no_order():
    assert activity_values(UserState())["count_1d_searched"] == 0
    assert order_values(UserState()) == {
        "orders": 0, "order_id": "", "order_status": "", "order_changed_ms": 0, "delay_days": 0.0,
    }  # fmt: skip


def test_the_newest_order_is_the_one_shown():
    values = order_values(folded("parcel_delayed", order_id="o1", delay_days=2.5))
    assert (values["order_id"], values["order_status"], values["delay_days"]) == ("o1", "delayed", 2.5)
    assert values["order_changed_ms"] == NOW_MS


def test_counts_are_as_of_the_newest_event_of_their_kind():
    values = activity_values(folded("searched", query="parcel"))
    assert (values["count_1h_searched"], values["last_ms_searched"]) == (1.0, NOW_MS)
    assert values["session_id"] == f"s{NOW_MS}"


def test_an_event_changes_its_own_kind_the_windows_and_the_session_only():
    state = folded("searched", query="parcel")
    before = activity_values(state)
    told = UserEvent(id="e2", type="chat_opened", time=from_ms(NOW_MS), user="a")
    fold(state, told, NOW_MS + 5, NOW_MS)
    after = activity_values(state)
    changed = {name for name in after if after[name] != before[name]}
    own = {"count_1h_chat_opened", "count_1d_chat_opened", "last_ms_chat_opened"}
    assert changed == own | {"events_1m", "events_1h", "events_1d", "events_7d", "session_events"}


def test_view_names_and_keys_are_consistent():
    assert all(name == view.name for name, view in VIEWS.items())
    assert {view.join_key for view in VIEWS.values()} == {"shopper_id", "intent_key"}
    assert EventKind.OTHER not in {name.removeprefix("last_ms_") for name in USER_ACTIVITY.features}


def test_two_prefixes_never_share_a_project():
    assert project("a-b") == "rgalign_a_b"
    assert project("") != project("a")
