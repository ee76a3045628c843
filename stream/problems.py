"""How the gateway says no: RFC 9457 problem documents that tell what was wrong and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"


class ProblemDocument(BaseModel):
    """The body of every error (RFC 9457); a problem may carry further members, e.g. `results`."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(default="about:blank", description="a stable name of the kind of problem")
    title: str
    status: int
    detail: str = Field(description="what was found, and what was expected")
    action: str = Field(description="what the caller can do about it")


class Problem(Exception):
    """An error that is answered as a problem document; `name` is its stable, hyphenated kind."""

    def __init__(
        self, status: int, name: str, detail: str, action: str, *, retry_after_s: int | None = None, **members: Any
    ) -> None:
        super().__init__(detail)
        self.headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
        self.document = ProblemDocument(
            type=f"urn:rgalign:problem:{name}",
            title=name.replace("-", " ").capitalize(),
            status=status,
            detail=detail,
            action=action,
            **members,
        )


def _reply(document: ProblemDocument, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse(document.model_dump(mode="json"), document.status, headers, MEDIA_TYPE)


async def _on_problem(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Problem)
    return _reply(error.document, error.headers)


async def _on_bad_parameters(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    fault = error.errors()[0]
    where = ".".join(str(part) for part in fault["loc"])
    detail = f"{where}: {fault['msg']}; found {ascii(fault.get('input'))[:120]}"
    return _reply(Problem(400, "bad-parameter", detail, "correct the named parameter; see /openapi.json").document)


async def _on_http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    detail = f"{request.method} {request.url.path}: {error.detail}"
    name = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
    document = Problem(error.status_code, name, detail, "see /openapi.json for the paths and their methods").document
    return _reply(document, error.headers)


async def _on_bug(request: Request, error: Exception) -> JSONResponse:
    log.error("request_failed", method=request.method, path=request.url.path, exc_info=error)
    detail = "the gateway met an error of its own; nothing is known about your request's effect"
    return _reply(Problem(500, "internal-error", detail, "send it again with the same ids, and tell us").document)


def answer_with_problems(app: FastAPI) -> None:
    """Makes `app` answer every error as application/problem+json."""
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(RequestValidationError, _on_bad_parameters)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(Exception, _on_bug)
