"""Which methods a path allows: decided before the router, which looks at one route at a time, not at the path."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from secateur.api.failures import failure


class Methods:
    """Allows HEAD wherever GET is allowed, and OPTIONS everywhere; a 405 lists all methods that the path allows."""

    def __init__(self, app: ASGIApp, *, routes: Sequence[Route]) -> None:
        self._app = app
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not (allowed := self._allowed(scope["path"])):
            await self._app(scope, receive, send)
            return
        method, allow = scope["method"], {"Allow": ", ".join(sorted(allowed))}
        if method == "OPTIONS":
            await Response(status_code=HTTPStatus.NO_CONTENT, headers=allow)(scope, receive, send)
        elif method not in allowed:
            message = f"{scope['path']} does not allow {method}; it allows {allow['Allow']}"
            await failure(HTTPStatus.METHOD_NOT_ALLOWED, message, headers=allow)(scope, receive, send)
        elif method == "HEAD":
            # A copy, because the server omits the body according to the method in its own scope.
            # Without `Accept`: a stream has no head alone.
            headers = [(name, value) for name, value in scope["headers"] if name != b"accept"]
            await self._app({**scope, "method": "GET", "headers": headers}, receive, _without_body(send))
        else:
            await self._app(scope, receive, send)

    def _allowed(self, path: str) -> set[str]:
        """The path's methods; none if there is no such path. A literal path precedes one with a parameter."""
        fitting = [route for route in self._routes if route.path_regex.match(path)]
        routes = [route for route in fitting if route.path == path] or fitting
        methods = {method for route in routes for method in route.methods or ()}
        if "GET" in methods:
            methods.add("HEAD")
        return methods | {"OPTIONS"} if methods else methods


def _without_body(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return sending
