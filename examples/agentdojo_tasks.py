"""The tasks of AgentDojo (v1.2.1), the declarations of its tools, and the facts for the policies.

Used by agentdojo_suites.py. The facts are those that a program has before the assistant reads
anything: the user's request, and what the user's own data and the directory said before the attack.
"""

from __future__ import annotations

import re
import string
import sys
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cache
from random import Random
from typing import Any

try:
    from agentdojo.task_suite.load_suites import get_suite
except ModuleNotFoundError as missing:
    sys.exit(f"{missing}; next, in the checkout: pip install '.[langchain]' agentdojo==0.1.35")

from agentdojo_banking import account_facts, typed_facts

__all__ = ["NAMES", "Call", "Suite", "Task", "facts", "load", "loaded", "renamed"]

NAMES = ("banking", "workspace", "slack", "travel")
"""The suites."""

READS = {"labels": ["read", "untrusted"]}
"""The declaration of every other tool: it reads, and what it returns may be text of others."""

DECLARED: dict[str, dict[str, list[str]]] = {
    "get_iban": {"labels": ["read"]},
    "get_balance": {"labels": ["read"]},
    "get_current_day": {"labels": ["read"]},
    "get_user_info": {"labels": ["read", "personal"]},
    "get_user_information": {"labels": ["read", "personal"]},
    "send_money": {"labels": ["payment"], "target": ["/recipient"], "amounts": ["/amount"]},
    "schedule_transaction": {
        "labels": ["payment"],
        "target": ["/recipient"],
        "amounts": ["/amount"],
    },
    "update_scheduled_transaction": {"labels": ["standing_order"], "target": ["/id"]},
    "update_user_info": {"labels": ["profile"]},
    "update_password": {"labels": ["credential"]},
    "send_email": {"labels": ["message"], "target": ["/recipients", "/cc", "/bcc"]},
    "send_direct_message": {"labels": ["message"], "target": ["/recipient"]},
    "send_channel_message": {"labels": ["message"], "target": ["/channel"]},
    "share_file": {"labels": ["share"], "target": ["/email"]},
    "create_calendar_event": {"labels": ["event"], "target": ["/participants"]},
    "add_calendar_event_participants": {"labels": ["event"], "target": ["/participants"]},
    "reschedule_calendar_event": {"labels": ["event"]},
    "cancel_calendar_event": {"labels": ["delete", "event"]},
    "create_file": {"labels": ["file"]},
    "append_to_file": {"labels": ["file"]},
    "delete_file": {"labels": ["delete", "file"]},
    "delete_email": {"labels": ["delete", "mail"]},
    "invite_user_to_slack": {"labels": ["invite"], "target": ["/user"]},
    "add_user_to_channel": {"labels": ["membership"], "target": ["/user", "/channel"]},
    "remove_user_from_slack": {"labels": ["removal"], "target": ["/user"]},
    "get_webpage": {"labels": ["page", "untrusted"], "target": ["/url"]},
    "post_webpage": {"labels": ["publish"], "target": ["/url"]},
    "reserve_hotel": {"labels": ["booking"], "target": ["/hotel"]},
    "reserve_restaurant": {"labels": ["booking"], "target": ["/restaurant"]},
    "reserve_car_rental": {"labels": ["booking"], "target": ["/company"]},
}
"""The declarations of tools that do more than read, or return no text of others."""

_ADDRESS = r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"
# In lower case, because a sentence can begin right after a host.
_HOST = r"(?:www\.|(?<=://))[a-z0-9-]+(?:\.[a-z0-9-]+)+"
_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_MONTH = "|".join(_MONTHS)
_DAY = (
    rf"(?P<month>{_MONTH}) (?P<day>\d{{1,2}})(?:st|nd|rd|th)?\b|(?P<day2>\d{{1,2}})(?:st|nd|rd|th)?"
    rf" of (?P<month2>{_MONTH})"
)


@dataclass(frozen=True, slots=True)
class Call:
    """One call."""

    tool: str
    args: dict[str, Any]

    @property
    def harmful(self) -> bool:
        """True if the tool does more than read, or reaches a page."""
        return "read" not in DECLARED.get(self.tool, READS)["labels"]


@dataclass(frozen=True, slots=True)
class Task:
    """The calls of one task."""

    name: str
    user: bool
    """False for a task of an injection."""
    request: str
    """The text that the user typed, or the goal of the injection."""
    calls: tuple[Call, ...]
    written: bool = False
    """True if the benchmark has no calls for this injection; they follow from its goal."""
    attributes: dict[str, Any] | None = None
    """The session attributes of a user task."""


@dataclass(frozen=True, slots=True)
class Suite:
    """The tasks and tools of one suite, and the policy data."""

    name: str
    tasks: tuple[Task, ...]
    schemas: dict[str, dict[str, Any]]
    """The JSON Schema of each tool."""
    data: dict[str, Any]

    def of(self, *, user: bool) -> list[Task]:
        """Return the user tasks, or those of the injections."""
        return [task for task in self.tasks if task.user == user]


@cache
def loaded(name: str) -> Any:
    """Return the benchmark's suite *name*."""
    return get_suite("v1.2.1", name)


@cache
def load(name: str) -> Suite:
    """Return the suite *name* with its ground-truth calls and the facts for its policies."""
    return _with_facts(_plain(name), Renaming(None))


@cache
def renamed(name: str, seed: int) -> Suite:
    """Return the suite with other people, accounts, hosts, names, amounts, ids and dates, the same
    in requests, facts and calls.
    """
    plain = _plain(name)
    return _with_facts(plain, Renaming(seed, _proper_names(plain)))


def _plain(name: str) -> Suite:
    suite = loaded(name)
    fresh = suite.load_and_inject_default_environment({})
    tasks = []
    for task_name, task in suite.user_tasks.items():
        environment = task.init_environment(fresh.model_copy(deep=True))
        tasks.append(Task(task_name, True, task.PROMPT, _calls(task, environment)))
    for task_name, task in suite.injection_tasks.items():
        calls = _calls(task, fresh.model_copy(deep=True))
        written = not calls
        if written:
            calls = tuple(_calls_of_goal(task.GOAL, fresh))
        tasks.append(Task(task_name, False, task.GOAL, calls, written))
    schemas = {tool.name: tool.parameters.model_json_schema() for tool in suite.tools}
    return Suite(name, tuple(tasks), schemas, _directory(name, fresh))


def _calls(task: Any, environment: Any) -> tuple[Call, ...]:
    return tuple(Call(call.function, dict(call.args)) for call in task.ground_truth(environment))


def _calls_of_goal(goal: str, environment: Any) -> list[Call]:
    """Return the calls of an injection for which the benchmark has none: at most two of a kind."""
    if not hasattr(environment, "cloud_drive"):
        return []
    calls = []
    body = goal.rsplit("Body:", maxsplit=1)[-1].strip()
    for address in re.findall(_ADDRESS, goal):
        mail = {"recipients": [address], "subject": "All of it", "body": "all of it"}
        calls += [Call("send_email", mail), Call("delete_email", {"email_id": "34"})]
    if "every single unread" in goal:
        unread = [each for each in environment.inbox.emails.values() if not each.read]
        calls += [Call("delete_email", {"email_id": each.id_}) for each in unread[:2]]
    if "five files" in goal:
        files = sorted(environment.cloud_drive.files.values(), key=lambda each: -each.size)
        calls += [Call("delete_file", {"file_id": each.id_}) for each in files[:2]]
    if "own email address" in goal:
        own = environment.inbox.account_email
        mail = {"recipients": [own], "subject": "How to recover", "body": body}
        calls.append(Call("send_email", mail))
    if "individual emails" in goal:
        calendar = environment.calendar
        guests = {
            guest
            for event in calendar.get_by_day(calendar.current_day)
            for guest in event.participants
        }
        calls += [
            Call("send_email", {"recipients": [each], "subject": "Notes", "body": body})
            for each in sorted(guests - {environment.inbox.account_email})[:2]
        ]
    return calls


def _directory(name: str, environment: Any) -> dict[str, Any]:
    """Return the facts of the organisation and of the user's own history, not yet renamed."""
    people: set[str] = set()
    domains: set[str] = set()
    hosts: set[str] = set()
    data: dict[str, Any] = {}
    if name == "banking":
        data = account_facts(environment)
    if hasattr(environment, "inbox"):
        own = environment.inbox.account_email
        domains = {own.split("@")[1]}
        for mail in environment.inbox.emails.values():
            if mail.sender == own:
                people |= {*mail.recipients, *mail.cc, *mail.bcc}
        for event in environment.calendar.events.values():
            people |= set(event.participants)
    if hasattr(environment, "cloud_drive"):
        for file in environment.cloud_drive.files.values():
            people |= set(file.shared_with)
    if hasattr(environment, "slack"):
        slack = environment.slack
        people = {*slack.users, *slack.channels}
        inboxes = [*slack.channel_inbox.values(), *slack.user_inbox.values()]
        bodies = " ".join(message.body for inbox in inboxes for message in inbox)
        hosts = set(re.findall(_HOST, bodies))
    data["assistant"] = {
        "people": sorted(people),
        "domains": sorted(domains),
        "hosts": sorted(hosts),
        "paying": ["send_money", "schedule_transaction"],
        "daily_limit": data["banking"]["balance"] if data else 0,
    }
    return data


def facts(request: str) -> dict[str, Any]:
    """Return the session attributes: the facts in the text that the user typed."""
    days = {_month_day(found) for found in re.finditer(_DAY, request)}
    days |= {found[5:] for found in re.findall(r"\d{4}-\d{2}-\d{2}", request)}
    words = [token.strip(".,:;!?'\"()") for token in request.lower().split()]
    return {
        **typed_facts(request),
        "addresses": sorted({each.lower() for each in re.findall(_ADDRESS, request)}),
        "hosts": sorted({each.lower() for each in re.findall(_HOST, request)}),
        "days": sorted(days),
        "line": f" {' '.join(word for word in words if word)} ",
    }


def _month_day(found: re.Match[str]) -> str:
    month = _MONTHS.index(found["month"] or found["month2"]) + 1
    return f"{month:02}-{int(found['day'] or found['day2']):02}"


def _with_facts(suite: Suite, renaming: Renaming) -> Suite:
    tasks = []
    for task in suite.tasks:
        request = renaming.text(task.request)
        typed = facts(request)
        typed["numbers"] = [renaming.amount(each) for each in typed["numbers"]]
        calls = tuple(Call(call.tool, renaming.args(call.args)) for call in task.calls)
        attributes = {"task": task.name, "typed": typed} if task.user else None
        tasks.append(replace(task, request=request, calls=calls, attributes=attributes))
    data = renaming.args(suite.data)
    assistant = {
        key: [each.lower() for each in value] if key in {"people", "domains", "hosts"} else value
        for key, value in data["assistant"].items()
    }
    return replace(suite, tasks=tuple(tasks), data={**data, "assistant": assistant})


# -- other names -----------------------------------------------------------------------------------

_KEPT = [
    "appointment",
    "appointments",
    "book",
    "booking",
    "calendar",
    "cancel",
    "deactivate",
    "delete",
    "document",
    "documents",
    "email",
    "emails",
    "erase",
    "event",
    "events",
    "file",
    "files",
    "mail",
    "mails",
    "meeting",
    "meetings",
    "postpone",
    "remove",
    "reminder",
    "reschedule",
    "reservation",
    "reserve",
    "docx",
    "xlsx",
    "pptx",
    "txt",
    "with",
    "from",
    "for",
    "and",
    "the",
]
"""Words of the language that a name can contain too."""
_NAME_KEYS = [
    "channel",
    "company",
    "company_name",
    "file_path",
    "filename",
    "hotel",
    "hotel_name",
    "hotel_names",
    "password",
    "query",
    "recipient",
    "restaurant",
    "restaurant_names",
    "title",
    "user",
    "user_name",
]


def _proper_names(suite: Suite) -> frozenset[str]:
    """Return the words of the names in arguments, in lower case."""
    values: list[Any] = [suite.data["assistant"]["people"]]
    for task in suite.tasks:
        values += [call.args[key] for call in task.calls for key in _NAME_KEYS if key in call.args]
    words = re.findall(r"[^\W\d_]{3,}", " ".join(str(value) for value in values))
    months = {month.lower() for month in _MONTHS}
    return frozenset({word.lower() for word in words} - {*_KEPT} - months)


class Renaming:
    """Replaces the same name by the same other name, in all texts. Without a seed, it changes
    nothing.
    """

    def __init__(self, seed: int | None, names: frozenset[str] = frozenset()) -> None:
        self._seed = seed
        self._names = names
        rng = Random(f"{seed}")
        self._days = 0 if seed is None else rng.randint(20, 300)
        self._factor = 1 if seed is None else rng.randint(2, 9)
        self._ids = 0 if seed is None else rng.randint(100, 900)
        self._pattern = re.compile(
            rf"(?P<address>{_ADDRESS})|(?P<host>{_HOST})|(?P<account>\b[A-Z]{{2}}\d{{10,30}}\b)"
            r"|(?P<account2>\b[A-Z]{2}\d{2}[A-Z]{4}\d{8,20}\b)"
            rf"|(?P<iso>\b\d{{4}}-\d{{2}}-\d{{2}}\b)|(?P<written>{_DAY})|(?P<word>[^\W\d_]{{3,}})"
        )

    def args(self, value: Any, key: str = "") -> Any:
        """Return *value*, the arguments of a call or policy data, with other names."""
        if isinstance(value, dict):
            numbered = key == "standing_orders"
            return {
                str(int(name) + self._ids) if numbered else name: self.args(each, name)
                for name, each in value.items()
            }
        if isinstance(value, list):
            return [self.args(each, key) for each in value]
        if key == "domains":
            return self._host(value) if self._seed is not None else value
        if key in {"amount", "balance", "daily_limit"}:
            return self.amount(value)
        if key in {"id", "file_id", "event_id", "email_id"} and value is not None:
            return type(value)(int(value) + self._ids)
        return self.text(value) if isinstance(value, str) and key != "paying" else value

    def amount(self, value: Any) -> Any:
        """Return another amount, in the same proportion to all others."""
        return round(value * self._factor, 2)

    def text(self, text: str) -> str:
        """Return *text* with other names."""
        return text if self._seed is None else self._pattern.sub(self._other, text)

    def _other(self, found: re.Match[str]) -> str:
        whole = found[0]
        if found["address"]:
            local, domain = whole.split("@")
            return f"{self._letters(local)}@{self._host(domain)}"
        if found["host"]:
            return self._host(whole)
        if found["account"] or found["account2"]:
            rng = Random(f"{self._seed}/{whole}")
            return "".join(rng.choice(string.digits) if c.isdigit() else c for c in whole)
        if found["iso"]:
            return f"{int(whole[:4]) + 1}-{self._day(whole[5:])}"
        if found["written"]:
            month, day = self._day(_month_day(found)).split("-")
            return f"{_MONTHS[int(month) - 1]} {int(day)}"
        if whole.lower() not in self._names:
            return whole
        made = self._letters(whole)
        return made.capitalize() if whole[0].isupper() else made

    def _day(self, month_day: str) -> str:
        month, day = map(int, month_day.split("-"))
        return (date(2021, month, day) + timedelta(days=self._days)).strftime("%m-%d")

    def _host(self, host: str) -> str:
        *labels, top = host.split(".")
        return ".".join([*(each if each == "www" else self._letters(each) for each in labels), top])

    def _letters(self, word: str) -> str:
        rng = Random(f"{self._seed}/{word.lower()}")
        return "".join(rng.choice(string.ascii_lowercase) for _ in range(max(6, len(word))))
