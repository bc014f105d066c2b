"""What values of options must be, beyond what click says."""

import math

import click


def number(_ctx: click.Context, _: click.Parameter, value: float | None) -> float | None:
    """A number that may be left out; nan is none."""
    if value is not None and math.isnan(value):
        raise click.BadParameter("nan is no number.")
    return value


def required_number(_ctx: click.Context, _: click.Parameter, value: float) -> float:
    """A number; nan is none."""
    if math.isnan(value):
        raise click.BadParameter("nan is no number.")
    return value


#: Said in the place of an address where that of the settings is meant.
OF_SETTINGS = "TALLY_ELASTICSEARCH_URL"


def nodes(_ctx: click.Context, _: click.Parameter, value: str | None) -> str | None:
    """The address behind --elasticsearch; empty where that of the settings is meant."""
    from app.setting_values import check_nodes

    if value is None:
        return None
    try:
        return "" if value == OF_SETTINGS else check_nodes(value)
    except ValueError as error:
        shown = "" if "@" in value else f"{value!r} "  # which may hold a password
        reason = f"{shown}{error}; without an address write the option behind CURRENT and SHADOW."
        raise click.BadParameter(reason) from None
