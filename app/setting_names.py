"""Which environment variables that begin with `TALLY_` are settings, which are others', which are mistakes."""

import re
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from typing import Final

PREFIX: Final = "TALLY_"
#: The tests' own, which a shell that runs them may have set.
_OF_TESTS: Final = "TALLY_TEST_"
#: What Kubernetes sets in every container for a Service that is called tally, or tally-something.
_OF_A_SERVICE: Final = re.compile(
    r"TALLY_([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_OF_A_SERVICES_PORT: Final = re.compile(r"TALLY_([A-Z0-9_]+_)?PORT")
_AN_ADDRESS: Final = re.compile(r"(tcp|udp|sctp)://.*")
#: How like a setting's name another must be for the setting to be meant, as difflib measures it.
_ALIKE: Final = 0.6


def unknown_names(environment: Mapping[str, str], settings: Collection[str]) -> Iterator[str]:
    """A sentence for each variable that looks like a setting and is none; `settings` are their names in lower case."""
    known = [name.upper() for name in settings]
    for given in sorted(environment):
        name = given.upper()
        if not name.startswith(PREFIX) or name[len(PREFIX) :] in known or name.startswith(_OF_TESTS):
            continue
        if _OF_A_SERVICE.fullmatch(name) or (
            _OF_A_SERVICES_PORT.fullmatch(name) and _AN_ADDRESS.fullmatch(environment[given])
        ):
            continue
        meant = get_close_matches(name[len(PREFIX) :], known, n=1, cutoff=_ALIKE)
        hint = f"{PREFIX}{meant[0]} may be meant" if meant else "`tally check` lists them; unset it"
        yield f"{given} is no setting: {hint}."
