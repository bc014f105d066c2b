"""`/api/openapi.json`: the rows of the routes and the types of their answers, as OpenAPI 3.1 has them.

Source: the OpenAPI Specification 3.1.0. Schemas are those that msgspec makes of the types.
"""

import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec

from app.core.outputs.shapes import Failure
from app.settings import version
from app.worker.http.routes.route import Parameter, Route

_REF: Final = "#/components/schemas/{name}"
#: A part of a path with its pattern, which OpenAPI has no words for.
_PATTERN: Final = re.compile(r"\{(\w+):[^{}]*\}")
#: What any route may answer besides: to a parameter that it has not, without the token, to a page of another site,
#: for a defect, and before the worker has started.
_ALWAYS: Final = (400, 401, 403, 500, 503)


def description(routes: Sequence[Route]) -> dict[str, Any]:
    """The description of all these routes."""
    types = [Failure, *(one for route in routes for one in (route.answer, route.body) if one is not None)]
    found, components = msgspec.json.schema_components(types, ref_template=_REF)
    schemas = {id(type_): schema for type_, schema in zip(types, found, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = _PATTERN.sub(r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tally",
            "version": version(),
            "description": "What is known of models and of single predictions, as any worker answers it.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _operation(route: Route, schemas: dict[int, dict[str, Any]]) -> dict[str, Any]:
    said: dict[str, Any] = {
        "summary": route.says,
        "operationId": _name_of(route),
        "parameters": [_parameter(one) for one in route.parameters],
        "responses": {
            "200": {"description": "The answer.", "content": _json(schemas[id(route.answer)])},
            **_failures({*_ALWAYS, *route.errors}, schemas[id(Failure)]),
        },
    }
    if route.body is not None:
        said["requestBody"] = {"required": True, "content": _json(schemas[id(route.body)])}
    return said


def _name_of(route: Route) -> str:
    words = re.findall(r"[a-z]+", _PATTERN.sub(r"{\1}", route.path).removeprefix("/api"))
    return "_".join([route.method.lower(), *words])


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.needed,
        "description": parameter.says,
        "schema": dict(parameter.schema),
    }


def _failures(statuses: Iterable[int], schema: dict[str, Any]) -> dict[str, Any]:
    return {
        str(status): {"description": HTTPStatus(status).phrase, "content": _json(schema)} for status in sorted(statuses)
    }


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
