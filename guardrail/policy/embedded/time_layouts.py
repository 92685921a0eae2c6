"""Times in Go's layouts, such as ``2006-01-02``.

Like ``substitutes``, this module is loaded by the worker and does not import guardrail. Reading is
stricter than in Go: a text that Go reads leniently raises ``ValueError``.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DAY", "Moment", "days_before", "formatted", "moment_at", "nanoseconds", "parsed"]

DAY = 86_400 * 10**9
"""Nanoseconds in a day."""
_MONTHS = "January February March April May June July August September October November December"
_WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday"
_MONTH_NAMES = _MONTHS.split()
_DAY_NAMES = _WEEKDAYS.split()
_DIGITS = frozenset("0123456789")
_LAYOUTS = {
    "ANSIC": "Mon Jan _2 15:04:05 2006",
    "UnixDate": "Mon Jan _2 15:04:05 MST 2006",
    "RubyDate": "Mon Jan 02 15:04:05 -0700 2006",
    "RFC822": "02 Jan 06 15:04 MST",
    "RFC822Z": "02 Jan 06 15:04 -0700",
    "RFC850": "Monday, 02-Jan-06 15:04:05 MST",
    "RFC1123": "Mon, 02 Jan 2006 15:04:05 MST",
    "RFC1123Z": "Mon, 02 Jan 2006 15:04:05 -0700",
    "RFC3339": "2006-01-02T15:04:05Z07:00",
    "RFC3339Nano": "2006-01-02T15:04:05.999999999Z07:00",
}
_LENGTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_TOKENS = (
    "January", "Monday", "MST",
    "01", "02", "03", "04", "05", "06", "002", "15", "1", "2006", "2", "_2", "__2", "3", "4", "5",
    "PM", "pm", "-070000", "-07:00:00", "-0700", "-07:00", "-07", "Z070000", "Z07:00:00", "Z0700",
    "Z07:00", "Z07",
)  # fmt: skip
"""Parts of a layout, besides ``Jan``, ``Mon`` and fractions."""
_OFFSETS = frozenset(["-0700", "-07:00", "-07", "Z0700", "Z07:00", "Z07"])


class Moment:
    """A time in UTC, in parts."""

    __slots__ = ("day", "month", "rest", "year")

    def __init__(self, year: int, month: int, day: int, rest: int) -> None:
        self.year = year
        self.month = month
        self.day = day
        self.rest = rest
        """Nanoseconds since the beginning of the day."""

    @property
    def hour(self) -> int:
        return self.rest // (3600 * 10**9)

    @property
    def minute(self) -> int:
        return self.rest // (60 * 10**9) % 60

    @property
    def second(self) -> int:
        return self.rest // 10**9 % 60


def _leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def _days_in(year: int, month: int) -> int:
    return _LENGTHS[month - 1] + (month == 2 and _leap(year))


def days_before(year: int, month: int) -> int:
    """Return the number of days from 1970 to the first day of a month."""
    before = year - 1
    days = before * 365 + before // 4 - before // 100 + before // 400 - 719162
    return days + sum(_days_in(year, each) for each in range(1, month))


def moment_at(value: int) -> Moment:
    """Return the time *value*, in nanoseconds since 1970."""
    days, rest = divmod(value, DAY)
    year = 1970 + days * 400 // 146097
    while days_before(year, 1) > days:
        year -= 1
    while days_before(year + 1, 1) <= days:
        year += 1
    days -= days_before(year, 1)
    month = 1
    while days >= _days_in(year, month):
        days -= _days_in(year, month)
        month += 1
    return Moment(year, month, days + 1, rest)


def nanoseconds(at: Moment) -> int:
    """Return a time in nanoseconds since 1970."""
    return (days_before(at.year, at.month) + at.day - 1) * DAY + at.rest


def _token(layout: str, at: int) -> str | None:
    """Return the part of a layout that begins at *at*, or None for a character that stands for
    itself.
    """
    for name in ("Jan", "Mon"):
        long = {"Jan": "January", "Mon": "Monday"}[name]
        after = layout[at + 3 : at + 4]
        if layout.startswith(name, at) and not layout.startswith(long, at):
            return None if "a" <= after <= "z" else name
    if layout[at] in ".," and layout[at + 1 : at + 2] in {"0", "9"}:
        end = at + 1
        while layout[end : end + 1] == layout[at + 1]:
            end += 1
        return layout[at:end] if layout[end : end + 1] not in _DIGITS else None
    if layout.startswith("_2006", at):
        return None
    found = [token for token in _TOKENS if layout.startswith(token, at)]
    return max(found, key=len) if found else None


def _pieces(layout: str) -> Iterator[tuple[str, bool]]:
    """Yield the parts of a layout in order, and True for each that stands for a part of a time."""
    if len(layout) > 1_000:
        raise ValueError("a long layout")
    at = 0
    while at < len(layout):
        token = _token(layout, at)
        yield token or layout[at], token is not None
        at += len(token or layout[at])


def formatted(at: Moment, layout: str) -> str:
    """Return a time in a layout, which may be the name of a common one."""
    pieces = _pieces(_LAYOUTS.get(layout, layout))
    return "".join([_written(at, piece) if token else piece for piece, token in pieces])


def _written(at: Moment, token: str) -> str:
    if token[0] in ".,":
        digits = f"{at.rest % 10**9:09}".ljust(len(token) - 1, "0")[: len(token) - 1]
        if token[1] == "9":
            digits = digits.rstrip("0")
        return token[0] + digits if digits else ""
    if token[0] == "Z":
        return "Z"
    if token[0] == "-":
        return "+" + token[1:].replace("7", "0")
    short_hour = at.hour % 12 or 12
    day_of_year = days_before(at.year, at.month) - days_before(at.year, 1) + at.day
    name = _DAY_NAMES[(days_before(at.year, at.month) + at.day + 2) % 7]
    month = _MONTH_NAMES[at.month - 1]
    half = "PM" if at.hour >= 12 else "AM"
    return {
        "Jan": month[:3],
        "January": month,
        "Mon": name[:3],
        "Monday": name,
        "MST": "UTC",
        "01": f"{at.month:02}",
        "1": str(at.month),
        "02": f"{at.day:02}",
        "_2": f"{at.day:2}",
        "2": str(at.day),
        "002": f"{day_of_year:03}",
        "__2": f"{day_of_year:3}",
        "03": f"{short_hour:02}",
        "3": str(short_hour),
        "15": f"{at.hour:02}",
        "04": f"{at.minute:02}",
        "4": str(at.minute),
        "05": f"{at.second:02}",
        "5": str(at.second),
        "06": f"{at.year % 100:02}",
        "2006": f"{at.year:04}",
        "PM": half,
        "pm": half.lower(),
    }[token]


class _Reader:
    """Reads a text in a layout."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.found: dict[str, int] = {}

    def take(self, size: int) -> str:
        """Return the next *size* characters."""
        part = self.text[self.at : self.at + size]
        if len(part) != size:
            raise ValueError("a text that ends early")
        self.at += size
        return part

    def digits(self, least: int, most: int) -> int:
        """Return the next number, of at least *least* and at most *most* digits."""
        size = 0
        while size < most and self.text[self.at + size : self.at + size + 1] in _DIGITS:
            if self.at + size >= len(self.text):
                break
            size += 1
        if size < least:
            raise ValueError("not a number")
        return int(self.take(size))

    def name(self, names: list[str]) -> int:
        """Return the place of the name that follows, from 1."""
        for place, name in enumerate(names, 1):
            if self.text.startswith(name, self.at):
                self.at += len(name)
                return place
        raise ValueError("not a name")

    def fraction(self) -> None:
        """Read a fraction of a second, if there is one."""
        if self.text[self.at : self.at + 1] not in {".", ","} or self.at + 1 >= len(self.text):
            return
        if self.text[self.at + 1] not in _DIGITS:
            return
        if self.take(1) == ",":
            raise ValueError("a comma before a fraction")
        start = self.at
        self.digits(1, 10)
        written = self.text[start : self.at]
        if len(written) > 9:
            raise ValueError("a long fraction")
        self.found["fraction"] = int(written.ljust(9, "0"))

    def offset(self, token: str) -> None:
        """Read an offset from UTC."""
        if token[0] == "Z" and self.text.startswith("Z", self.at):
            self.at += 1
            self.found["offset"] = 0
            return
        sign = self.take(1)
        if sign not in {"+", "-"}:
            raise ValueError("not an offset")
        hours, minutes = self.digits(2, 2), 0
        if ":" in token and self.take(1) != ":":
            raise ValueError("not an offset")
        if len(token) > 3:
            minutes = self.digits(2, 2)
        if hours > 23 or minutes > 59:
            raise ValueError("not an offset")
        self.found["offset"] = (hours * 60 + minutes) * (-60 if sign == "-" else 60)


_NUMBERS = {
    "01": ("month", 2), "1": ("month", 1), "02": ("day", 2), "2": ("day", 1), "_2": ("day", 1),
    "15": ("hour", 1), "03": ("half", 2), "3": ("half", 1), "04": ("minute", 2), "4": ("minute", 1),
    "05": ("second", 2), "5": ("second", 1),
}  # fmt: skip
"""Field and least number of digits of the parts that are numbers of at most two digits."""


def _read(reader: _Reader, piece: str, after: str) -> None:
    """Read one part of a time. *after* is the next piece of the layout."""
    if piece in _NUMBERS:
        field, least = _NUMBERS[piece]
        reader.found[field] = reader.digits(least, 2)
        if field == "second" and after[:1] not in {".", ","}:
            reader.fraction()
    elif piece == "2006":
        reader.found["year"] = reader.digits(4, 4)
    elif piece == "06":
        short = reader.digits(2, 2)
        reader.found["year"] = short + (1900 if short >= 69 else 2000)
    elif piece in {"Jan", "January"}:
        names = [name[:3] for name in _MONTH_NAMES] if piece == "Jan" else _MONTH_NAMES
        reader.found["month"] = reader.name(names)
    elif piece in {"Mon", "Monday"}:
        reader.name([name[:3] for name in _DAY_NAMES] if piece == "Mon" else _DAY_NAMES)
    elif piece in {"PM", "pm"}:
        halves = ["AM", "PM"] if piece == "PM" else ["am", "pm"]
        reader.found["late"] = reader.name(halves) - 1
    elif piece in _OFFSETS:
        reader.offset(piece)
    elif piece == "MST" and reader.take(3) == "UTC":
        reader.found["offset"] = 0
    elif piece[0] in ".,":
        start = reader.at
        reader.fraction()
        if piece[1] == "0" and reader.at - start != len(piece):
            raise ValueError("a fraction of another length")
    else:
        raise ValueError("a part of a layout that is not supported")


def parsed(layout: str, text: str) -> int:
    """Return the time in *text*, in nanoseconds since 1970. Raises ``ValueError``."""
    if "  " in text or not text.isascii():
        raise ValueError("a text with several spaces, or not ASCII")
    pieces = list(_pieces(_LAYOUTS.get(layout, layout)))
    names = [piece for piece, token in pieces if token]
    fields = [_NUMBERS[name][0] for name in names if name in _NUMBERS]
    if len(set(names)) < len(names) or len(set(fields)) < len(fields):
        raise ValueError("a layout that repeats a part")
    reader = _Reader(text)
    for index, (piece, token) in enumerate(pieces):
        after = pieces[index + 1][0] if index + 1 < len(pieces) else ""
        if not token:
            if reader.take(1) != piece:
                raise ValueError("not in this layout")
        else:
            _read(reader, piece, after)
    if reader.at != len(text):
        raise ValueError("a text that goes on")
    return _combined(reader.found)


def _combined(found: dict[str, int]) -> int:
    year, month, day = found.get("year", 0), found.get("month", 1), found.get("day", 1)
    if not 1 <= month <= 12 or not 1 <= day <= _days_in(year, month):
        raise ValueError("not a day")
    hour = found.get("hour", 0)
    if ("half" in found) != ("late" in found) or ("half" in found and "hour" in found):
        raise ValueError("half of a time of day")
    if "half" in found:
        if not 1 <= found["half"] <= 12:
            raise ValueError("not a time of day")
        hour = found["half"] % 12 + 12 * found["late"]
    minute, second = found.get("minute", 0), found.get("second", 0)
    if hour > 23 or minute > 59 or second > 59:
        raise ValueError("not a time of day")
    rest = (hour * 3600 + minute * 60 + second - found.get("offset", 0)) * 10**9
    return nanoseconds(Moment(year, month, day, rest + found.get("fraction", 0)))
