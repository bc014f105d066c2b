"""The way to Elasticsearch: a client with the credentials of the settings, and what its errors mean in a sentence."""

import logging
import ssl
from typing import Any, Final

import orjson
from elastic_transport import ConnectionError as Unreachable
from elastic_transport import ConnectionTimeout, SerializationError, TlsError, TransportError
from elasticsearch import ApiError, AsyncElasticsearch, UnsupportedProductError
from elasticsearch.serializer import JsonSerializer

from app.exporters.elasticsearch.templates import HISTORY_TEMPLATES, TEMPLATES, other_templates
from app.settings import Settings, SettingsError

_REQUEST_SECONDS: Final = 60
#: How Elasticsearch says that two index templates would hold for one index.
_SAME_PRIORITY: Final = "matching patterns from existing templates"
_CREDENTIALS: Final = "TALLY_ELASTICSEARCH_API_KEY, or TALLY_ELASTICSEARCH_USERNAME and TALLY_ELASTICSEARCH_PASSWORD"


class _Serializer(JsonSerializer):
    """JSON by orjson; what is bytes already goes as it is."""

    def dumps(self, data: Any) -> bytes:
        return data if type(data) is bytes else orjson.dumps(data)

    def loads(self, data: bytes) -> Any:
        try:
            return orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise SerializationError(_shown(data), errors=(error,)) from None


class _CompatibleSerializer(_Serializer):
    mimetype = "application/vnd.elasticsearch+json"


class _Client(AsyncElasticsearch):
    """One that asks at every answer whether it is Elasticsearch's: a proxy between may answer for it at any time."""

    async def perform_request(self, method: str, path: str, **options: Any) -> Any:
        reply = await super().perform_request(method, path, **options)
        if reply.meta.headers.get("x-elastic-product") != "Elasticsearch":
            raise UnsupportedProductError("this is no Elasticsearch", reply.meta, reply.body)
        return reply


def connect(settings: Settings) -> AsyncElasticsearch:
    """A client with the credentials of the settings. It tries each request once: whoever asks decides what then.

    Raises SettingsError where the certificates cannot be read.
    """
    assert settings.elasticsearch_url is not None
    options: dict[str, Any] = {}
    nodes = settings.elasticsearch_url.split(",")
    if any(node.startswith("https:") for node in nodes):
        try:
            options["ssl_context"] = ssl.create_default_context(cafile=settings.elasticsearch_ca_file)
        except OSError as error:
            raise SettingsError(
                f"TALLY_ELASTICSEARCH_CA_FILE: {settings.elasticsearch_ca_file} cannot be used ({error})."
            ) from None
    # It has a line for every request, and one of alarm for every failure, which `_Trouble` tells.
    logging.getLogger("elastic_transport").setLevel(logging.CRITICAL)
    if settings.elasticsearch_api_key is not None:
        options["api_key"] = settings.elasticsearch_api_key
    elif settings.elasticsearch_username is not None:
        options["basic_auth"] = (settings.elasticsearch_username, settings.elasticsearch_password)
    return _Client(
        nodes,
        max_retries=0,
        request_timeout=_REQUEST_SECONDS,
        serializers={"application/json": _Serializer(), "application/vnd.elasticsearch+json": _CompatibleSerializer()},
        **options,
    )


def sentence(error: Exception, settings: Settings) -> str:
    """What is wrong and what helps, in one sentence without secrets."""
    where = f"Elasticsearch at {settings.elasticsearch_url}"
    if isinstance(error, TlsError):
        return (
            f"{where} has a certificate that is not trusted ({_cause(error)}): name the certificates that it is "
            "checked with in TALLY_ELASTICSEARCH_CA_FILE."
        )
    if isinstance(error, ConnectionTimeout):
        return f"{where} does not answer in time."
    if isinstance(error, (SerializationError, UnsupportedProductError)):
        answer = error.message if isinstance(error, SerializationError) else _shown(error.body)
        status = "" if isinstance(error, SerializationError) else f" {error.status_code}"
        return (
            f"What answers at {settings.elasticsearch_url} is no Elasticsearch: it says{status} {answer}. Set "
            "TALLY_ELASTICSEARCH_URL to Elasticsearch itself: a proxy may answer there, or its port is another's."
        )
    if isinstance(error, Unreachable):
        return f"{where} cannot be reached ({_cause(error)})."
    if isinstance(error, ApiError):
        if error.status_code == 401:
            given = (
                "the API key in TALLY_ELASTICSEARCH_API_KEY"
                if settings.elasticsearch_api_key is not None
                else "the user and password in TALLY_ELASTICSEARCH_USERNAME and TALLY_ELASTICSEARCH_PASSWORD"
                if settings.elasticsearch_username is not None
                else ""
            )
            return f"{where} refuses {given} (401)." if given else f"{where} asks for credentials: set {_CREDENTIALS}."
        reason = reason_of(error.body)
        if _SAME_PRIORITY in reason:
            return f"{where} has another index template for indices of Tally's ({reason}): give it a lower priority."
        return f"{where} answers {error.status_code}: {reason}."
    return f"{where} cannot be used ({_cause(error)})."


def kind_of(error: TransportError | ApiError) -> str:
    """What kind of trouble an error is."""
    return f"{error.status_code} {type_of(error.body)}" if isinstance(error, ApiError) else type(error).__name__


def is_too_much(error: TransportError | ApiError) -> bool:
    """Whether less may succeed where this failed."""
    return error.status_code in (413, 429) if isinstance(error, ApiError) else isinstance(error, ConnectionTimeout)


def _shown(body: Any) -> str:
    """The beginning of what somebody else has answered."""
    text = body.decode(errors="replace") if type(body) is bytes else "nothing" if body in (None, "") else str(body)
    return " ".join(text.split())[:60] or "nothing"


def _cause(error: Exception) -> str:
    """The message of the innermost error, which is the one that says something."""
    while isinstance(error, TransportError) and error.errors:
        error = error.errors[0]
    text = str(error.message) if isinstance(error, TransportError) else str(error) or type(error).__name__
    return text.replace("\n", " ")[:300]


def type_of(body: Any) -> str:
    """The type of an error in Elasticsearch's words; empty where there is none."""
    error = body.get("error", body) if type(body) is dict else None
    return str(error.get("type", "")) if type(error) is dict else ""


def reason_of(body: Any) -> str:
    """Elasticsearch's own words for an error: its type, its reason and the cause of it."""
    error = body.get("error", body) if type(body) is dict else body
    if type(error) is not dict:
        return str(error)[:500]
    words = [str(error.get("type", "")), str(error.get("reason", ""))]
    cause = error.get("caused_by")
    if type(cause) is dict and cause.get("reason"):
        words.append(f"({cause['reason']})")
    return " ".join(word for word in words if word)[:1000].rstrip(".")


async def _closed(client: AsyncElasticsearch) -> list[str]:
    """The indices of counts that the user may not write; none where nobody is asked for credentials."""
    wanted = [{"names": [*HISTORY_TEMPLATES], "privileges": ["write"]}]
    try:
        found = (await client.security.has_privileges(index=wanted)).body["index"]
    except ApiError:
        return []
    return [name for name in HISTORY_TEMPLATES if not found[name]["write"]]


async def problem(settings: Settings) -> str | None:
    """What keeps a worker from writing documents, in one sentence, as far as can be seen without writing any.

    Raises SettingsError where the certificates cannot be read.
    """
    client = connect(settings)
    try:
        others = await other_templates(client.options(request_timeout=10), TEMPLATES | HISTORY_TEMPLATES)
        if others:
            return others[0].sentence(f"Elasticsearch at {settings.elasticsearch_url}")
        closed = await _closed(client.options(request_timeout=10))
        if closed:
            return (
                f"Elasticsearch at {settings.elasticsearch_url} lets this user not write {' and '.join(closed)}: "
                "give it the privileges auto_configure, read and write there."
            )
    except (TransportError, ApiError) as error:
        return sentence(error, settings)
    finally:
        await client.close()
    return None
