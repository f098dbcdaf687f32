"""What a request under WSGI is called: by its route, where the framework tells."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import flask
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client

from tether import Context, Scope, current
from tether.ext.prometheus import instrument
from tether.ext.wsgi import ContextWSGI


def tell(**_: object) -> str:
    return current().label


def ask(app: Any, path: str) -> str:
    """The answer, once the request is over."""
    with closing(Client(app).get(path)) as answer:
        return answer.text


def application() -> flask.Flask:
    app, shop = flask.Flask("named"), flask.Blueprint("shop", "shop")
    app.add_url_rule("/", "home", tell)
    app.add_url_rule("/carts/<int:id>", "cart", tell, methods=["GET", "POST"])
    app.add_url_rule("/<any('eu', 'us'):where>/<path:rest>", "files", tell)
    shop.add_url_rule("/carts/<string(length=2):id>", "theirs", tell)
    app.register_blueprint(shop, url_prefix="/shops/<slug>")
    app.register_error_handler(404, lambda _: (tell(), 404))
    return app


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("/", "GET /"),
        ("/carts/17", "GET /carts/{id}"),
        ("/eu/a/b", "GET /{where}/{rest}"),
        ("/shops/mine/carts/ab", "GET /shops/{slug}/carts/{id}"),
        ("/b\xfccher", "GET"),
        ("/carts/none", "GET"),
    ],
)
def test_flask_tells_the_route(path: str, label: str) -> None:
    app: Any = ContextWSGI(application(), timeout=30.0)
    assert ask(app, path) == label
    mounted: Any = DispatcherMiddleware(application(), {"/v1": application()})
    below = label.replace("GET /", "GET /v1/")
    assert ask(ContextWSGI(mounted), f"/v1{path}") == below


def test_so_is_the_work_that_began_before() -> None:
    known: list[Scope] = []
    app = application()

    def outer(environ: Any, start_response: Any) -> Any:
        known.append(current().with_cancel())
        known.append(current().with_cancel(label="mine"))
        return inner(environ, start_response)

    inner = ContextWSGI(app.wsgi_app, timeout=10.0)
    app.wsgi_app = ContextWSGI(outer, timeout=30.0)  # type: ignore[method-assign]
    with closing(app.test_client().post("/carts/17")) as answer:
        assert answer.text == "POST /carts/{id}"
    assert [one.label for one in known] == ["POST /carts/{id}", "mine"]
    for one in known:
        one.cancel()


def test_others_are_called_by_their_path() -> None:
    seen: list[Context] = []

    def app(_: Any, start_response: Any) -> list[bytes]:
        seen.append(current())
        start_response("200 OK", [])
        return []

    ask(ContextWSGI(app), "/carts/17")
    assert seen[0].label == "GET /carts/17"


def test_the_metrics_have_a_name_for_each_route_and_none_for_each_path() -> None:
    registry = CollectorRegistry()
    undo = instrument(registry, roots=1000)  # contexts of other tests have names, too
    app: Any = ContextWSGI(application(), timeout=30.0)
    for n in range(10):
        ask(app, f"/us/counted-{n}")
        ask(app, f"/unknown-{n}")
    text = generate_latest(registry).decode()
    undo()
    for root in ("GET /{where}/{rest}", "GET"):
        assert f'tether_contexts_done_total{{cause="left",root="{root}"}}' in text
    assert "counted-" not in text
    assert "unknown-" not in text
