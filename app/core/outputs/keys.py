"""The keys by which `/api` names models: `namespace/service/predictor/model@version`, each part percent-encoded."""

from urllib.parse import quote, unquote

from app.core.events import Identity


def key_of(identity: Identity) -> str:
    """The key of a model. One without version has no `@`."""
    *leg, version = (quote(part, safe="", errors="replace") for part in identity)
    return "/".join(leg) + (f"@{version}" if version else "")


def parse_key(key: str) -> Identity | None:
    """The names in a key; None where it is none. `/` and `@` within a name are written %2F and %40."""
    leg, _, version = key.partition("@")
    names = leg.split("/")
    if len(names) != len(Identity._fields) - 1:
        return None
    namespace, service, predictor, model = map(unquote, names)
    return Identity(namespace, service, predictor, model, unquote(version))
