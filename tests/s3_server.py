"""A real S3 server on the loopback address (moto's), with faults that a test asks for."""

import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Thread
from typing import Any

from moto.backends import get_backend
from moto.core import DEFAULT_ACCOUNT_ID
from moto.moto_server import utilities
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from log_ingest.storage import ObjectUrl

SECRET = "canary/Secret+Key0123456789"
KEY_ID = "AKIACANARYKEYID00000"

Answer = Iterable[bytes]
Forward = Callable[[], Answer]
Fault = Callable[["Request", Callable[..., Any], Forward], Answer | None]


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    """Decoded, such as /bucket/key."""
    query: str
    headers: dict[str, str]

    @property
    def is_list(self) -> bool:
        return "list-type=2" in self.query


@dataclass
class S3Server:
    """faults are asked in turn; one that gives an answer takes the place of the server. requests: what was asked."""

    faults: list[Fault] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    def start(self) -> None:
        # moto's routes do not match keys with line ends.
        start = utilities.RegexConverter.__init__

        def dotall(self: Any, url_map: Any, *items: Any) -> None:
            start(self, url_map, f"(?s:{items[0]})", *items[1:])

        utilities.RegexConverter.__init__ = dotall  # type: ignore[method-assign]
        self._app = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self, threaded=True, request_handler=_Quiet)
        Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Answer:
        request = Request(
            environ["REQUEST_METHOD"],
            environ["PATH_INFO"].encode("latin-1").decode(),
            environ.get("QUERY_STRING", ""),
            {name: value for name, value in environ.items() if name.startswith("HTTP_")},
        )
        self.requests.append(request)
        for fault in list(self.faults):
            answer = fault(request, start_response, lambda: self._app(environ, start_response))
            if answer is not None:
                return answer
        return self._app(environ, start_response)

    def environment(self) -> dict[str, str]:
        """What a user would set."""
        return {
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._server.server_port}",
            "AWS_DEFAULT_REGION": "eu-central-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "NO_PROXY": "127.0.0.1",
        }

    # Behind the server's back: quick, and no request is counted.

    def make_bucket(self, name: str) -> None:
        _backend().create_bucket(name, "eu-central-1")

    def put(self, url: ObjectUrl, content: bytes, *, modified_at: float | None = None) -> None:
        key = _backend().put_object(url.bucket, url.prefix, content)
        if modified_at is not None:
            key.last_modified = datetime.fromtimestamp(modified_at, UTC).replace(tzinfo=None)

    def get(self, url: ObjectUrl) -> bytes:
        return _backend().get_object(url.bucket, url.prefix).value

    def delete(self, url: ObjectUrl) -> None:
        _backend().delete_object(url.bucket, url.prefix)

    def keys(self, bucket: str) -> list[str]:
        return sorted(_backend().get_bucket(bucket).keys)


def refuse(
    code: str, status: int, *, method: str = "GET", holds: str = "", is_list: bool = False, times: int = 10**9
) -> Fault:
    """A fault: the server answers with an error where the path (of a listing: the prefix) holds a text."""
    left = [times]

    def fault(request: Request, start_response: Callable[..., Any], forward: Forward) -> Answer | None:
        where = urllib.parse.unquote(request.query) if is_list else request.path
        if request.method != method or request.is_list != is_list or holds not in where or not left[0]:
            return None
        left[0] -= 1
        start_response(f"{status} {code}", [("Content-Type", "application/xml")])
        return [f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()]

    return fault


def break_off(holds: str, after: int, times: int) -> Fault:
    """A fault: the connection ends after some bytes of an object."""
    left = [times]

    def fault(request: Request, start_response: Callable[..., Any], forward: Forward) -> Answer | None:
        if request.method != "GET" or request.is_list or holds not in request.path or not left[0]:
            return None
        left[0] -= 1
        return cut(forward(), after)

    return fault


def cut(answer: Answer, after: int, then: Callable[[], None] = lambda: None) -> Iterator[bytes]:
    """The first bytes of an answer; then something happens, and the connection ends."""
    for chunk in answer:
        yield chunk[:after]
        after -= len(chunk)
        if after <= 0:
            then()
            raise ConnectionAbortedError("as the test asked")


def before(method: str, holds: str, action: Callable[[], None], *, nth: int = 1) -> Fault:
    """A fault: something happens just before the n-th such request is served."""
    left = [nth]

    def fault(request: Request, start_response: Callable[..., Any], forward: Forward) -> Answer | None:
        if request.method == method and not request.is_list and holds in request.path:
            left[0] -= 1
            if left[0] == 0:
                action()
        return None

    return fault


class _Quiet(MotoRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:
        pass


def _backend() -> Any:
    return get_backend("s3")[DEFAULT_ACCOUNT_ID]["aws"]
