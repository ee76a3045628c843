"""The long-running roles: worker, embedder and gateway, each one process."""

from __future__ import annotations


def worker() -> None:
    """Run a stream worker: events in, features, decisions out. Scale by starting more.

    Example: `KAFKA_URL=127.0.0.1:9092 REDIS_URL=redis://127.0.0.1:6379/0 rgalign worker`
    """
    from stream.app import main

    main()


def embedder() -> None:
    """Run the reasoner: turns requested prompts into latent queries, on a GPU when there is one.

    Example: `KAFKA_URL=127.0.0.1:9092 REDIS_URL=redis://127.0.0.1:6379/0 rgalign embedder`
    """
    from stream.embedder import main

    main()


def gateway() -> None:
    """Run the HTTP gateway: events and outcomes in, decisions out over server-sent events, and the page.

    Example: `RGALIGN_HTTP_PORT=8080 rgalign gateway`
    """
    from stream.gateway import main

    main()


COMMANDS = (worker, embedder, gateway)
