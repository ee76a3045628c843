"""What secure connections share: the TLS context, which always verifies, and the error of being refused."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from pathlib import Path

HANDSHAKE_DEADLINE_S = 5.0


class AccessRefused(RuntimeError):
    """A service answers and does not let us in, or we do not trust it: trying again is no use, a person must act."""


def tls_context(service: str, cafile: Path | None, certfile: Path | None, keyfile: Path | None) -> ssl.SSLContext:
    """A client's context that verifies the certificate and its host name; without `cafile` by the system's authorities.

    `service` is KAFKA or REDIS, as the variables begin. Raises `AccessRefused` for a file that cannot be used.
    """
    for name, path in (("CAFILE", cafile), ("CERTFILE", certfile), ("KEYFILE", keyfile)):
        if path is not None and not path.is_file():
            raise AccessRefused(f"{service}_SSL_{name} names {path}, where no file is; expected a PEM file: correct it")
    try:
        context = ssl.create_default_context(cafile=cafile)
    except (ssl.SSLError, OSError) as error:
        raise AccessRefused(
            f"{service}_SSL_CAFILE names {cafile}, which holds no certificate that can be read ({error}); expected "
            "the authority's certificates as PEM"
        ) from error
    if certfile is not None:
        try:
            context.load_cert_chain(certfile, keyfile, password="")  # an encrypted key fails instead of asking
        except (ssl.SSLError, OSError) as error:
            raise AccessRefused(
                f"{service}_SSL_CERTFILE {certfile} and its key {keyfile or 'in the same file'} do not load ({error}); "
                "expected a certificate and its unencrypted key as PEM"
            ) from error
    return context


def certificate_fault(error: BaseException | None) -> ssl.SSLCertVerificationError | None:
    """The refusal of a certificate behind an error, if that was the cause."""
    for cause in causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return cause
    return None


def causes(error: BaseException | None) -> list[BaseException]:
    """An error and what led to it."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


async def speaks_tls(host: str, port: int) -> bool:
    """Whether a server answers a TLS greeting, trusted or not; nothing is sent to it."""
    try:
        async with asyncio.timeout(HANDSHAKE_DEADLINE_S):
            _, writer = await asyncio.open_connection(host, port, ssl=ssl.create_default_context())
    except ssl.SSLCertVerificationError:
        return True
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True
