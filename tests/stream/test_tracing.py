"""An event's trace goes on through the log to the decision and its push, and costs nothing when nobody asks."""

import contextlib
import http.server
import json
import socket
import subprocess
import sys
import threading
from typing import ClassVar

import pytest
from kafka import KafkaProducer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from deploy.log_reader import whole_topic
from stream import tracing
from stream.batching import Batch, Record
from stream.spans import Spans
from stream.topics import DECISIONS, EVENTS
from tests.stream import stage
from tests.stream.gateway_client import decision, event, gateway, publish, stream
from tests.stream.test_app import free_port
from tests.stream.test_gateway import logged

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE_ID = int(CALLER.split("-")[1], 16)


@pytest.fixture
def ended():
    """The spans that ended, by name."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.use(Spans(provider))
    yield lambda: {span.name: span for span in exporter.get_finished_spans()}
    tracing.use(None)


def batch(*traceparents: str | None) -> Batch:
    headers = [[] if parent is None else [("traceparent", parent.encode())] for parent in traceparents]
    records = tuple(Record(place, 1, b"demo:ada", b"{}", carried) for place, carried in enumerate(headers))
    return Batch("t", 0, 1, 0, records)


def processed(taken: Batch, *offsets: int) -> list[tracing.Headers]:
    with tracing.batch(taken):
        with tracing.stage("fold"):
            pass
        return [tracing.decided(decision(f"d{offset}", trigger_offset=f"t[0]@{offset}")) for offset in offsets]


def test_a_decision_stands_in_its_triggers_trace_and_carries_it_on(ended):
    ((name, value),), other = processed(batch(CALLER, None), 0, 1)
    decide = ended()["decide"]
    assert (name, value[:35].decode(), other) == ("traceparent", CALLER[:35], ())
    assert (decide.context.trace_id, f"{decide.parent.span_id:016x}") == (TRACE_ID, CALLER.split("-")[2])
    assert decide.attributes["rgalign.origin"] == "t[0]@0"
    assert [told.name for told in decide.events] == ["fold"]


def test_a_batch_is_linked_to_each_sampled_record_and_its_stages_are_its_children(ended):
    other = CALLER.replace("0af7", "1af7")
    processed(batch(CALLER, other, None, CALLER[:-1] + "0", "nonsense"))
    process, fold = ended()["process"], ended()["fold"]
    assert [f"{link.context.trace_id:032x}" for link in process.links] == [CALLER.split("-")[1], other.split("-")[1]]
    assert process.attributes["rgalign.records"] == "t[0]@0..4"
    assert fold.parent.span_id == process.context.span_id


def test_a_batch_without_a_sampled_record_leaves_no_span(ended):
    assert processed(batch(None, CALLER[:-1] + "0"), 0, 1) == [(), ()]
    assert ended() == {}


def test_a_failed_batch_names_the_kind_of_its_error_and_no_text(ended):
    def fails() -> None:
        with tracing.batch(batch(CALLER)):
            raise ValueError("ada said: hello")

    with pytest.raises(ValueError, match="hello"):
        fails()
    process = ended()["process"]
    assert (process.status.is_ok, process.attributes["error.type"], process.events) == (False, "ValueError", ())


async def test_the_gateway_carries_a_callers_trace_into_the_log(topics, ended):
    async with gateway(topics) as client:
        await client.post("/v1/events", json=event(), headers={"traceparent": CALLER})
    ((name, value),) = logged(topics, EVENTS)[0].headers
    posted = ended()["POST /v1/events"]
    assert (name, value.decode()) == ("traceparent", f"{CALLER[:35]}-{posted.context.span_id:016x}-01")
    assert "ada" not in posted.to_json()


async def test_what_is_not_sampled_is_not_carried(topics):
    tracing.use(Spans(TracerProvider(sampler=ALWAYS_OFF)))
    try:
        async with gateway(topics) as client:
            await client.post("/v1/events", json=event())
    finally:
        tracing.use(None)
    assert list(logged(topics, EVENTS)[0].headers) == []


async def test_a_push_ends_the_trace_that_the_decision_carries(topics, ended):
    async with gateway(topics) as client, stream(client) as events:
        assert (await events.next())["event"] == "hello"
        await publish(topics, decision("d1"), traceparent=CALLER)
        assert (await events.next())["event"] == "decision"
    push = ended()["push"]
    assert (push.context.trace_id, push.attributes["rgalign.decision_id"]) == (TRACE_ID, "d1")


class Collector(http.server.BaseHTTPRequestHandler):
    """Keeps what is posted to it, as an OpenTelemetry collector would."""

    bodies: ClassVar[list[bytes]] = []

    def do_POST(self):
        self.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def collector():
    """Where to send spans; `Collector.bodies` holds them."""
    Collector.bodies.clear()
    with http.server.HTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_worker_sends_the_spans_of_a_traced_decision_to_the_collector(topics, bundle, collector, tmp_path):
    stage.released(topics, bundle)
    sent = stage.event(1, user="ada-lovelace")
    with stage.worker(topics, tmp_path / "w.log", free_port(), OTEL_EXPORTER_OTLP_ENDPOINT=collector) as worker:
        worker.wait_ready()
        with contextlib.closing(KafkaProducer(bootstrap_servers=topics.kafka_url)) as producer:
            headers = [("traceparent", CALLER.encode())]
            producer.send(topics.named(EVENTS.name), sent.to_json(), sent.key.encode(), headers).get(20)
        (made,) = stage.decisions(topics, at_least=1)
        assert worker.stop() == 0
    ((_, carried),) = whole_topic(topics, DECISIONS.name)[0].headers
    requests = [ExportTraceServiceRequest.FromString(body) for body in Collector.bodies]
    scopes = [scope for request in requests for resource in request.resource_spans for scope in resource.scope_spans]
    spans = {span.name: span for scope in scopes for span in scope.spans}
    assert set(spans) >= {"process", "decide", "decode", "load", "fold", "rank", "commit", "publish"}
    assert {span.trace_id.hex() for span in spans.values()} == {CALLER.split("-")[1]}
    assert carried.decode() == f"{CALLER[:35]}-{spans['decide'].span_id.hex()}-01"
    assert made.decision_id.encode() in b"".join(Collector.bodies)
    assert b"lovelace" not in b"".join(Collector.bodies)
    assert b"Where is my order" not in b"".join(Collector.bodies)


def ran(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command, env = [sys.executable, "-c", code], {"PATH": "", **environment}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=env, timeout=60)


def test_without_a_collector_neither_spans_nor_exporter_are_imported():
    code = (
        "import stream.app, stream.gateway, sys; stream.app.tracing.start('worker');"
        "print({'stream.spans', 'opentelemetry.exporter', 'opentelemetry.sdk.trace.export'} & set(sys.modules))"
    )
    assert ran(code).stdout == "set()\n"


def test_a_collector_without_the_extra_is_a_warning_that_says_what_to_install():
    code = (
        "import sys; sys.modules['opentelemetry'] = None;"
        "from stream import telemetry, tracing; telemetry.configure_logging(); tracing.start('worker');"
        "assert tracing.outgoing() == (); tracing.stop()"
    )
    told = json.loads(ran(code, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9").stderr)
    assert (told["event"], "rgalign-rec[tracing]" in told["action"]) == ("not_tracing", True)


def test_a_collector_that_never_answers_does_not_keep_a_process_from_ending():
    code = (
        "from stream import tracing; tracing.start('gateway')\nwith tracing.request('GET /', {}): pass\ntracing.stop()"
    )
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert ran(code, OTEL_EXPORTER_OTLP_ENDPOINT=url, OTEL_EXPORTER_OTLP_TIMEOUT="600").returncode == 0
