"""The reference of a site's interface: what /openapi.json says of each route, and the same as a page for people.

The page is plain HTML without a script; nothing of it comes from another server.
"""

from html import escape
from typing import Any

_ERROR = {
    "type": "object",
    "required": ["schema", "error", "field", "fix"],
    "properties": {name: {"type": "string"} for name in ("schema", "error", "field", "fix")},
}
_BYTES = {"schema": {"type": "string", "format": "binary"}}
_OCTETS = {"content": {"application/octet-stream": _BYTES}, "required": True}
_DIGEST = {"type": "string", "pattern": "^[0-9a-f]{64}$"}


def _header(name: str, text: str, *, required: bool = True) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": required, "description": text, "schema": {"type": "string"}}


def _path(name: str, text: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "description": text, "schema": {"type": "string"}}


def _json(**properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "additionalProperties": False, "properties": properties}
    return {"content": {"application/json": {"schema": schema}}, "required": True}


_METADATA = _header("Glasshouse-Metadata", "base64url of canonical JSON: what is said of the file")
_LENGTH = _header("Upload-Length", "size of the content in bytes")
_SHA256, _HANDLE = _path("sha256", "SHA-256 of the content"), _path("handle", "public name of an object")
_NAME, _REGION = _path("name", "name of an upload under way"), _path("region", "the region's id")
# Method and path → summary, answer where all is well, statuses of refusals, parameters, body.
_ROUTES: dict[tuple[str, str], tuple[str, int, tuple[int, ...], list[dict[str, Any]], dict[str, Any] | None]] = {
    ("PUT", "/intake/v1/files/{sha256}"): (
        "Send a file; answered with its receipt once it is durable at as many sites as the charter asks for",
        201,
        (401, 403, 408, 411, 413, 421, 422, 429, 503),
        [_SHA256, _METADATA],
        _OCTETS,
    ),
    ("POST", "/intake/v1/uploads"): (
        "Begin an upload that may go on after a broken connection",
        201,
        (401, 403, 413, 421, 422, 429, 503),
        [_header("Glasshouse-SHA256", "SHA-256 of the content"), _LENGTH, _METADATA],
        None,
    ),
    ("HEAD", "/intake/v1/uploads/{name}"): ("How far an upload is", 204, (401, 404, 421, 429), [_NAME], None),
    ("PATCH", "/intake/v1/uploads/{name}"): (
        "Go on with an upload; after the last part, its receipt",
        204,
        (401, 404, 408, 409, 415, 421, 422, 429, 503),
        [
            _NAME,
            _header("Upload-Offset", "where the part begins"),
            _header("Upload-Complete", "?1 with the last part, else ?0"),
        ],
        {"content": {"application/partial-upload": _BYTES}},
    ),
    ("DELETE", "/intake/v1/uploads/{name}"): ("Cancel an upload", 204, (401, 404, 409, 421, 429), [_NAME], None),
    ("POST", "/intake/v1/telemetry"): (
        "Send a batch of typed records (canonical JSON)",
        201,
        (401, 403, 408, 413, 421, 422, 429, 503),
        [],
        _json(
            category={"type": "string"},
            records={"type": "array", "minItems": 1, "items": {"type": "object"}},
            schema={"const": "glasshouse.telemetry/v1"},
        ),
    ),
    ("GET", "/intake/v1/uploads"): (
        "What this customer has sent",
        200,
        (401, 421, 422, 429),
        [{"name": "after", "in": "query", "description": "next of the page before", "schema": {"type": "string"}}],
        None,
    ),
    ("GET", "/intake/v1/objects/{handle}/receipt"): ("A receipt again", 200, (401, 404, 421, 429), [_HANDLE], None),
    ("DELETE", "/intake/v1/objects/{handle}"): (
        "Erase an object, with the customer's signature",
        200,
        (401, 403, 404, 421, 422, 429, 503),
        [_HANDLE, _header("Glasshouse-Signature", "Ed25519 signature over the erasure request (base64)")],
        None,
    ),
    ("GET", "/intake/v1/policy"): ("What the customer allows", 200, (401, 421, 429), [], None),
    ("PUT", "/intake/v1/policy"): (
        "Limit uploads, or switch them off",
        200,
        (401, 413, 421, 422, 429),
        [],
        _json(
            off={"type": "boolean"},
            categories_off={"type": "array", "items": {"type": "string"}},
            bytes_per_day={"type": ["integer", "null"], "minimum": 0},
        ),
    ),
    ("GET", "/intake/v1/site"): ("The site, its region and its rules; no sign-in", 200, (503,), [], None),
    ("POST", "/reputation/v1/lookup"): (
        "What the released lists say of up to 1,000 digests",
        200,
        (401, 404, 413, 421, 422, 429),
        [],
        _json(sha256={"type": "array", "maxItems": 1000, "items": _DIGEST}),
    ),
    ("GET", "/reputation/v1/files/{sha256}"): (
        "What the released lists say of one",
        200,
        (401, 404, 421, 422, 429),
        [_SHA256],
        None,
    ),
    ("GET", "/inventory/v1/{region}/newest"): ("The newest inventory of this site", 200, (404, 503), [_REGION], None),
    ("GET", "/inventory/v1/{region}/proof/{handle}"): (
        "Proof that an object is, or is not, among the held and among the erased",
        200,
        (404, 422, 503),
        [_REGION, _HANDLE],
        None,
    ),
    ("GET", "/inventory/v1/{region}/rows"): (
        "All rows of the newest inventory",
        200,
        (404, 422, 503),
        [_REGION, {"name": "tree", "in": "query", "description": "held or erased", "schema": {"type": "string"}}],
        None,
    ),
    ("GET", "/inventory/v1/{region}/deltas/{epoch}"): (
        "What one epoch changed",
        200,
        (404, 503),
        [_REGION, _path("epoch", "number of an inventory")],
        None,
    ),
}
_COUNTRY = _header("Glasshouse-Country", "country of the account: another region's data is sent away", required=False)
_TOKEN = _header("Authorization", "Bearer and the customer's token")


def describe(method: str, path: str) -> dict[str, Any]:
    """What FastAPI is told of a route."""
    summary, status, refusals, parameters, body = _ROUTES[method, path]
    is_public = path == "/intake/v1/site" or path.startswith("/inventory/")
    known = [] if is_public else [_TOKEN, _COUNTRY]
    error = {"description": "refused", "content": {"application/json": {"schema": _ERROR}}}
    more: dict[str, Any] = {"parameters": [*known, *parameters]}
    if body is not None:
        more["requestBody"] = body
    return {
        "summary": summary,
        "status_code": status,
        "responses": dict.fromkeys(refusals, error),
        "openapi_extra": more,
        "operation_id": f"{method.lower()}{path}".replace("/", "_").replace("{", "").replace("}", ""),
    }


def page(openapi: dict[str, Any]) -> str:
    """The reference as a page."""
    title = "Glasshouse intake"
    parts = [f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><h1>{title}</h1>"]
    for path, methods in openapi["paths"].items():
        for method, shown in methods.items():
            parts.append(f"<h2><code>{escape(method.upper())} {escape(path)}</code></h2><p>{escape(shown['summary'])}")
            rows = (f"<li><code>{escape(p['name'])}</code> {escape(p['description'])}" for p in shown["parameters"])
            parts.append(f"<ul>{''.join(rows)}</ul><p>Answers: {', '.join(shown['responses'])}")
    return "\n".join([*parts, '<p><a href="openapi.json">openapi.json</a></html>'])
