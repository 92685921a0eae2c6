"""A call that a person must approve pauses a LangGraph graph; resuming it is the answer. With the
real framework.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, interrupt

from guardrail.errors import UsageError
from guardrail.integrations.langchain import govern
from tests.support.approvals import BOB, Asks, bench, guarded, records
from tests.support.langchain import Scripted


def pays(*amounts: int) -> AIMessage:
    calls = [
        {
            "name": "transfer",
            "args": {"amount": amount},
            "id": f"call-{amount}",
            "type": "tool_call",
        }
        for amount in amounts
    ]
    return AIMessage("", tool_calls=calls)


class Scene:
    """An agent with a tool that needs an approval, in a graph that can be resumed."""

    def __init__(
        self, *amounts: int, policy: Asks | None = None, checkpointer: Any = None, **sections: Any
    ) -> None:
        self.made = bench(policy, **sections)
        self.paid: list[int] = []
        paid = self.paid

        @tool
        def transfer(amount: int) -> str:
            """Transfer money."""
            paid.append(amount)
            return f"paid {amount}"

        tools = govern([transfer], self.made.guard, approvals="interrupt")
        model = Scripted(responses=[pays(*amounts), AIMessage("done")])
        saver = InMemorySaver() if checkpointer is None else checkpointer
        self.agent = create_agent(model, tools=tools, checkpointer=saver or None)
        self.config: Any = {"configurable": {"thread_id": "1"}}

    def run(self, given: Any = None) -> dict[str, Any]:
        given = {"messages": [("user", "pay")]} if given is None else given
        with self.made.guard.session(principal="alice", agent="bot", id="s-1"):
            result: dict[str, Any] = self.agent.invoke(given, self.config)
        return result

    @property
    def types(self) -> list[str]:
        return [record["type"] for record in self.made.ledger.records[1:]]

    def answer(self, *args: Any, **more: Any) -> dict[str, Any]:
        """Resume with an answer to what the graph waits for."""
        return self.run(answer(self.asked()[0]["approval"], *args, **more))

    def asked(self) -> list[dict[str, Any]]:
        """What the graph waits for."""
        return [item.value for item in self.agent.get_state(self.config).interrupts]


def answer(
    approval: str | None, approved: bool = True, who: str = "bob", **more: Any
) -> Command[Any]:
    """What a person says; with no approval, to whom it may concern."""
    named = {} if approval is None else {"approval": approval}
    said = {"approved": approved, "approver": who, "reason": "looked at it"}
    return Command(resume=named | said | more)


def said(result: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (message.status, str(message.content))
        for message in result["messages"]
        if isinstance(message, ToolMessage)
    ]


def test_a_graph_pauses_and_goes_on_when_a_person_has_approved() -> None:
    """One request, one answer, one allowed call: nothing is recorded twice by the second run of the
    node.
    """
    scene = Scene(5)
    scene.run()
    assert scene.types == ["call.decision"]
    (asked,) = scene.asked()
    assert (asked["type"], asked["tool"], asked["args"]) == (
        "guardrail_approval",
        "transfer",
        {"amount": 5},
    )
    assert (asked["given"], asked["needed"], asked["state"]) == ([], 1, "pending")
    assert asked["answer"] == {
        "approval": asked["approval"],
        "approved": None,
        "approver": None,
        "reason": None,
    }
    result = scene.answer()
    assert said(result) == [("success", "paid 5")]
    assert scene.types == ["call.decision", "approval.granted", "call.decision", "call.outcome"]
    grant, used = scene.made.ledger.records[2:4]
    assert grant["approver"] == {"id": "bob", "assurance": "asserted", "method": "langgraph_resume"}
    assert grant["approval"]["id"] == asked["approval"] == used["approval"]["id"]
    assert used["approval"]["unsafe_asserted"] is True
    assert scene.paid == [5]


def test_a_person_can_refuse() -> None:
    """Recorded, and the model reads that it was refused."""
    scene = Scene(5)
    scene.run()
    result = scene.answer(approved=False)
    assert said(result) == [("error", "denied: a person refused this call")]
    assert scene.types == ["call.decision", "approval.refused", "call.decision"]
    assert scene.paid == []


async def test_an_awaited_graph_pauses_as_well() -> None:
    """The same records."""
    made = bench()

    @tool
    async def transfer(amount: int) -> str:
        """Transfer money."""
        return f"paid {amount}"

    agent = create_agent(
        Scripted(responses=[pays(5), AIMessage("done")]),
        tools=govern([transfer], made.guard, approvals="interrupt"),
        checkpointer=InMemorySaver(),
    )
    config: Any = {"configurable": {"thread_id": "1"}}
    async with made.guard.session(principal="alice", agent="bot", id="s-1"):
        paused = await agent.ainvoke({"messages": [("user", "pay")]}, config)
        approval = paused["__interrupt__"][0].value["approval"]
        result = await agent.ainvoke(answer(approval), config)
    assert said(result) == [("success", "paid 5")]
    assert [record["type"] for record in made.ledger.records[1:]] == [
        "call.decision",
        "approval.granted",
        "call.decision",
        "call.outcome",
    ]


@pytest.mark.parametrize(
    ("said_", "code"),
    [
        ({}, "approver_unknown"),
        ({"approved": "yes", "approver": "bob"}, "approver_unknown"),
        ({"approved": 1, "approver": "bob"}, "approver_unknown"),
        ({"approved": True}, "approver_unknown"),
        ({"approved": True, "approver": ""}, "approver_unknown"),
        ({"approved": True, "approver": "bob", "reason": 5}, "approver_unknown"),
        ({"approved": True, "approver": " "}, "approver_unknown"),
        ({"approved": True, "approver": "alice"}, "approver_is_requester"),
        ({"approved": True, "approver": "Alice "}, "approver_is_requester"),
        ({"approved": True, "approver": "bob", "args": {"amount": 0}}, "answer_changed"),
        ({"approved": True, "approver": "bob", "type": "edit"}, "answer_changed"),
        (
            {"approved": True, "approver": "bob", "edited_action": {"args": {"amount": 0}}},
            "answer_changed",
        ),
        ({"approved": True, "approver": "bob", "comment": "ok"}, "answer_changed"),
        ({"approved": False, "approver": "bob", 5: 5}, "answer_changed"),
    ],
)
def test_an_answer_that_does_not_count_is_recorded_and_the_call_denied(
    said_: dict[str, Any], code: str
) -> None:
    """The model reads what was wrong with the answer; the graph goes on."""
    scene = Scene(5)
    scene.run()
    result = scene.run(Command(resume={"approval": scene.asked()[0]["approval"], **said_}))
    words = {
        "approver_unknown": "the answer does not identify an approver, or is neither yes nor no",
        "approver_is_requester": "the requester of a call can't approve it",
        "answer_changed": "the answer contains more than an approval or a refusal",
    }
    assert said(result) == [("error", f"denied: {words[code]}")]
    assert scene.types == ["call.decision", "approval.rejected", "call.decision"]
    assert scene.made.ledger.of("approval.rejected")[0]["code"] == code
    assert scene.paid == []


@pytest.mark.parametrize("approval", [None, "0" * 26, 5])
def test_an_answer_that_does_not_name_the_request_counts_for_none(approval: Any) -> None:
    """Also where only one waits: the graph asks again, and takes the answer that does."""
    scene = Scene(5)
    scene.run()
    scene.run(answer(approval))
    scene.run(Command(resume="yes"))
    assert len(scene.asked()) == 1
    assert scene.types == ["call.decision"]
    assert said(scene.answer()) == [("success", "paid 5")]


def test_answers_do_not_count_without_the_setting() -> None:
    """Whoever resumes a graph is believed only where the settings say so."""
    scene = Scene(5, approvals={"unsafe_asserted_approvals": False})
    scene.run()
    scene.answer()
    assert scene.made.ledger.of("approval.rejected")[0]["code"] == "asserted"
    assert scene.paid == []


def test_two_people_answer_one_after_the_other() -> None:
    """The graph pauses twice; the first answer is recorded once although the node runs three
    times.
    """
    scene = Scene(5, policy=Asks(approvers=2))
    scene.run()
    scene.answer(who="bob")
    (asked,) = scene.asked()
    assert [given["approver"]["id"] for given in asked["given"]] == ["bob"]
    result = scene.answer(who="carol")
    assert said(result) == [("success", "paid 5")]
    assert [grant["approver"]["id"] for grant in scene.made.ledger.of("approval.granted")] == [
        "bob",
        "carol",
    ]
    assert scene.made.ledger.of("approval.rejected") == []


def test_one_person_twice_is_turned_down() -> None:
    """Recorded, and the call denied."""
    scene = Scene(5, policy=Asks(approvers=2))
    scene.run()
    scene.answer(who="bob")
    result = scene.answer(who="bob")
    assert said(result) == [("error", "denied: another person must approve this call as well")]
    assert scene.made.ledger.of("approval.rejected")[0]["code"] == "approver_counted"


def test_a_policy_that_asks_for_more_meanwhile_pauses_the_graph_again() -> None:
    """What was approved does not cover the new rule: a second request, and an answer that names it.

    The first answer is handed out again each time the node runs: it must not count for the second
    request.
    """
    scene = Scene(5)
    scene.run()
    scene.made.policy.rules = ("large", "foreign")
    scene.answer()
    (asked,) = scene.asked()
    assert [rule["rule"] for rule in asked["rules"]] == ["large", "foreign"]
    scene.run(answer(None, who="carol"))
    assert scene.asked() == [asked | {"age_s": scene.asked()[0]["age_s"]}]
    assert [who["approver"]["id"] for who in scene.made.ledger.of("approval.granted")] == ["bob"]
    assert scene.paid == []
    assert said(scene.answer(who="carol")) == [("success", "paid 5")]
    assert scene.types == [
        "call.decision",
        "approval.granted",
        "call.decision",
        "approval.granted",
        "call.decision",
        "call.outcome",
    ]


def test_a_paused_call_can_be_approved_on_the_command_line() -> None:
    """Then the graph need only be run again; what it is resumed with does not matter."""
    scene = Scene(5)
    scene.run()
    scene.made.guard.approvals.approve(scene.asked()[0]["approval"], BOB, "elsewhere")
    assert said(scene.answer(approved=False, who="mallory")) == [("success", "paid 5")]
    assert scene.made.ledger.of("approval.refused") == []


def test_parallel_calls_are_answered_one_by_one() -> None:
    """Each by the interrupt that asked: one approved, one refused."""
    scene = Scene(5, 6)
    scene.run()
    state = scene.agent.get_state(scene.config)
    assert len(state.interrupts) == 2
    resume = {
        item.id: {
            "approved": item.value["args"]["amount"] == 6,
            "approver": "bob",
            "reason": "looked",
            "approval": item.value["approval"],
        }
        for item in state.interrupts
    }
    result = scene.run(Command(resume=resume))
    assert sorted(said(result)) == [
        ("error", "denied: a person refused this call"),
        ("success", "paid 6"),
    ]
    assert scene.paid == [6]


def test_an_answer_never_reaches_another_call_of_the_same_node() -> None:
    """Several tools in one node get answers by their order: what names one request never approves
    another.
    """
    made = bench()
    paid: list[int] = []

    @tool
    def transfer(amount: int) -> str:
        """Transfer money."""
        paid.append(amount)
        return f"paid {amount}"

    graph = StateGraph(MessagesState)
    graph.add_node("tools", ToolNode(govern([transfer], made.guard, approvals="interrupt")))
    graph.add_edge(START, "tools")
    graph.add_edge("tools", END)
    app = graph.compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    with made.guard.session(principal="alice", agent="bot", id="s-1"):
        app.invoke({"messages": [pays(5, 6)]}, config)
        requests = {
            record["input"]["action"]["properties"]["args"]["amount"]: record["call"]
            for record in made.ledger.of("call.decision")
        }
        assert set(requests) == {5, 6}
        for _ in range(6):
            if not app.get_state(config).interrupts:
                break
            app.invoke(answer(requests[6]), config)
        granted = {record["approval"]["id"] for record in made.ledger.of("approval.granted")}
    assert granted <= {requests[6]}
    assert 5 not in paid


def test_an_old_answer_never_reaches_a_later_request_of_the_same_node() -> None:
    """LangGraph hands the answer to the first call out again when the second call asks."""
    made = bench()
    paid: list[int] = []

    @tool
    def transfer(amount: int) -> str:
        """Transfer money."""
        paid.append(amount)
        return f"paid {amount}"

    (governed,) = govern([transfer], made.guard, approvals="interrupt")

    def node(state: MessagesState) -> dict[str, Any]:
        for amount in (5, 6):
            call = {"name": "transfer", "args": {"amount": amount}, "id": f"c-{amount}"}
            governed.invoke({**call, "type": "tool_call"})
        return {"messages": []}

    graph = StateGraph(MessagesState)
    graph.add_node("pay", node)
    graph.add_edge(START, "pay")
    graph.add_edge("pay", END)
    app = graph.compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    with made.guard.session(principal="alice", agent="bot", id="s-1"):
        app.invoke({"messages": []}, config)
        first = made.ledger.of("call.decision")[0]["call"]
        app.invoke(answer(first), config)
        assert paid == [5]
        # The node runs from its start once more: neither call may run by what was said about the
        # first.
        for named in (first, None, first):
            app.invoke(answer(named), config)
    assert paid == [5]
    grants = made.ledger.of("approval.granted")
    assert len(grants) == 1


def test_what_was_said_before_a_call_was_asked_about_is_no_answer_to_it() -> None:
    """A node's own question, answered in words that would approve: the request is newer than the
    answer.
    """
    made = bench()
    paid: list[int] = []

    @tool
    def transfer(amount: int) -> str:
        """Transfer money."""
        paid.append(amount)
        return "paid"

    (governed,) = govern([transfer], made.guard, approvals="interrupt")
    asked: list[str] = []

    def node(state: MessagesState) -> dict[str, Any]:
        if not asked:
            asked.append("own")
            interrupt({"question": "may we begin?"})
        governed.invoke(
            {"name": "transfer", "args": {"amount": 5}, "id": "c-5", "type": "tool_call"}
        )
        return {"messages": []}

    graph = StateGraph(MessagesState)
    graph.add_node("pay", node)
    graph.add_edge(START, "pay")
    graph.add_edge("pay", END)
    app = graph.compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    with made.guard.session(principal="alice", agent="bot", id="s-1"):
        app.invoke({"messages": []}, config)
        for _ in range(3):
            app.invoke(answer(None), config)
    assert len(made.ledger.of("call.decision")) == 1
    assert made.ledger.of("approval.granted") == []
    assert paid == []


def test_without_a_checkpointer_the_model_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """As without the option: an error message, one request."""
    scene = Scene(5, checkpointer=False)
    result = scene.run()
    assert said(result) == [
        ("error", "not run: a person must approve this call first: large says so")
    ]
    assert scene.types == ["call.decision"]


def test_without_the_option_the_model_is_told() -> None:
    """The default stays, also where the graph could pause."""
    made = bench()

    @tool
    def transfer(amount: int) -> str:
        """Transfer money."""
        return "never"

    agent = create_agent(
        Scripted(responses=[pays(5), AIMessage("done")]),
        tools=govern([transfer], made.guard),
        checkpointer=InMemorySaver(),
    )
    result = agent.invoke({"messages": [("user", "pay")]}, {"configurable": {"thread_id": "1"}})
    assert said(result)[0][0] == "error"


def test_a_request_of_a_nested_call_is_not_taken_for_the_tools_own() -> None:
    """A body that makes a governed call itself passes on what that call raised."""
    made = bench()
    made.policy.rules = ()
    guard = made.guard
    runs: list[int] = []

    @tool
    def outer(amount: int) -> str:
        """Pay through another governed tool."""
        runs.append(amount)
        made.policy.rules = ("large",)
        return str(guard.call("give", {"amount": amount}, made.body))

    calls = [{"name": "outer", "args": {"amount": 5}, "id": "c", "type": "tool_call"}]
    agent = create_agent(
        Scripted(responses=[AIMessage("", tool_calls=calls), AIMessage("done")]),
        tools=govern([outer], guard, approvals="interrupt"),
        checkpointer=InMemorySaver(),
    )
    with guard.session(principal="alice", agent="bot", id="s-1"):
        result = agent.invoke({"messages": [("user", "x")]}, {"configurable": {"thread_id": "1"}})
    assert said(result)[0][0] == "error"
    assert runs == [5]
    assert made.body.runs == 0


def test_a_word_that_is_no_option_is_refused() -> None:
    """Before anything is governed."""

    @tool
    def transfer(amount: int) -> str:
        """Transfer money."""
        return "never"

    with pytest.raises(UsageError):
        govern([transfer], bench().guard, approvals="sometimes")


def test_a_graph_resumed_by_another_guard_goes_on(tmp_path: Path) -> None:
    """After a restart: the request is found in the ledger, by the session's id."""
    saver = InMemorySaver()
    config: Any = {"configurable": {"thread_id": "1"}}
    results: list[Any] = []
    for response in (pays(5), AIMessage("done")):
        given: Any = {"messages": [("user", "pay")]}
        if results:
            given = answer(results[0]["__interrupt__"][0].value["approval"])
        with guarded(tmp_path) as guard:

            @tool
            def transfer(amount: int) -> str:
                """Transfer money."""
                return f"paid {amount}"

            agent = create_agent(
                Scripted(responses=[response]),
                tools=govern([transfer], guard, approvals="interrupt"),
                checkpointer=saver,
            )
            with guard.session(principal="alice", agent="bot", id="s-1"):
                results.append(agent.invoke(given, config))
    assert ("success", "paid 5") in said(results[1])
    effects = [record["decision"]["effect"] for record in records(tmp_path, "call.decision")]
    assert effects == ["require_approval", "allow"]
