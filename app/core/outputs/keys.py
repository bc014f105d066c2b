"""The keys by which `/api` names models: `namespace/service/predictor/model@version`, each part percent-encoded."""

from urllib.parse import quote, unquote

from app.core.events import Identity


def key_of(identity: Identity) -> str:
    """The key of a model. One without version has no `@`."""
    *leg, version = (quote(part, safe="", errors="replace") for part in identity)
    return "/".join(leg) + (f"@{version}" if version else "")


def parse_key(key: str) -> Identity | None:
    """The names in a key; None where it is none.

    `/` within a name is written %2F, and `@` within that of the model %40; some clients decode it elsewhere.
    """
    names = key.split("/")
    if len(names) != len(Identity._fields) - 1:
        return None
    *before, last = names
    model, _, version = last.partition("@")
    namespace, service, predictor = map(unquote, before)
    return Identity(namespace, service, predictor, unquote(model), unquote(version))
