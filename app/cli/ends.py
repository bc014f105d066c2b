"""How a command ends when something outside the program is wrong: one sentence, and exit code 2."""

from app.core.events import RefusedError
from app.core.join.store import StoreError
from app.exporters.elasticsearch.errors import HistoryError
from app.replay.stretch import StretchError
from app.settings import SettingsError
from app.worker.kafka.client import SetupError
from app.worker.letters.box import LetterError

#: A setting, the brokers, a topic or what was given is wrong: it must change before the command can work.
EXIT_WRONG = 2


class InputError(Exception):
    """What was given to a command cannot be used; the message is one sentence that says why."""


def sentence_of(error: BaseException) -> str | None:
    """The sentence of an error that the user can do something about, None for a bug."""
    known = (HistoryError, InputError, LetterError, RefusedError, SettingsError, SetupError, StoreError, StretchError)
    return str(error) if isinstance(error, known) else None
