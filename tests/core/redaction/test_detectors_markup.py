"""Values in XML and HTML go by the name of their element or attribute, with entities or without."""

from __future__ import annotations

from html import escape

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from guardrail.core.redaction.detectors.scan import JOINT, scan
from guardrail.core.redaction.entities import decode_entities, holds_entity
from guardrail.core.redaction.session_memory import Memory
from tests.support.detectors import without_secrets
from tests.support.redaction import view

# One form each of saying in XML that a value is the password.
_FORMS = [
    "<password>{}</password>", "<ns:dbPassword enc='no'> {} </ns:dbPassword>", "<password >{}</password >", "<password>\n  {}\n</password>", "<Kennwort>{}</Kennwort>", "<パスワード>{}</パスワード>", "<şifre>{}</şifre>",
    '<add key="password" value="{}"/>', '<add value="{}" key="password" />', '<property name="db.password">{}</property>', '<property name="password"><value>{}</value></property>',
    "<property><name>password</name><value>{}</value></property>", "<dict><key>Password</key>\n<string>{}</string></dict>", '<wsse:Password Type="x#PasswordText">{}</wsse:Password>',
    '<S N="Password">{}</S>', '<input type="password" value="{}">', '<x password="{}"/>', "<secret><a>x</a><b>{}</b></secret>", "<password><!-- x -->{}</password>",
    '<add key=\\"password\\" value=\\"{}\\"/>', "<a><b>1</b></a><credentials><c><d>{}</d></c></credentials>", "<xsl:x/><RSAKeyValue><D>{}</D></RSAKeyValue>",
]  # fmt: skip


@pytest.mark.parametrize("form", _FORMS)
def test_a_value_goes_whatever_names_it(form: str) -> None:
    """Elements and attributes, in any order, nested."""
    assert "Qz7" not in without_secrets(form.format("Qz7"))


@pytest.mark.parametrize("value", ["my-secret", "password1", "secret", "db_password", "token9"])
@pytest.mark.parametrize("form", _FORMS)
def test_a_password_that_is_itself_a_word_for_one_goes(form: str, value: str) -> None:
    """People use such passwords; only what is written like a label is one."""
    if not form.startswith(("<string", "<secret>", "<a>", "<xsl")):
        assert f">{value}<" not in without_secrets(form.format(value))
        assert f'"{value}"' not in without_secrets(form.format(value))


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(_FORMS),
    st.text("abcXYZ019&<> '!;/=?#@", max_size=12),
    st.sampled_from(["{}", "<?xml version='1.0'?>\n<r>{}</r>", "see:\n{}\nend"]),
    st.integers(0, 2),
)
def test_a_value_goes_whatever_names_it_and_however_it_is_encoded(
    form: str, body: str, around: str, encoded: int
) -> None:
    """Elements and attributes, in any order, nested, and as HTML shows the source of either."""
    text = around.format(form.format(f"Qz7{escape(body)}Qz7"))
    for _ in range(encoded):
        text = escape(text, quote=False)
    assert "Qz7" not in without_secrets(text)


def test_an_encoded_element_is_found_in_a_long_text_too() -> None:
    """Long texts are scanned in steps, which report their work."""
    work: list[int] = []
    text = "plain words " * 60 + escape("<password>Qz7abc</password>")
    assert "Qz7abc" in {text[hit.start : hit.end] for hit in scan(text, work.append)}
    assert sum(work) > 2 * len(text)


def test_an_element_names_no_value_of_another_text() -> None:
    """Texts that are scanned at once are joined."""
    name, value = "<key>Password</key>", "<string>Qz7</string>"
    assert scan(f"{name}{value}")
    assert scan(f"{name}{JOINT}{value}") == []


@settings(max_examples=100, deadline=None)
@given(st.text("abcXYZ019&<>\"'!;/=?#@ ]", max_size=12))
@example("]]>")
def test_character_data_goes_whole(body: str) -> None:
    """Whatever signs stand in it."""
    assert "Qz7" not in without_secrets(f"<r><password><![CDATA[Qz7{body}Qz7]]></password></r>")


@pytest.mark.parametrize(
    "text",
    ["<config><password>Qz7", "<config><password><![CDATA[Qz7 x", "<secret><a>Qz7</a>", "<secret>\n <a>Qz7"],
)  # fmt: skip
def test_a_value_goes_although_its_element_is_cut_off(text: str) -> None:
    """As in the beginning of a long file."""
    assert ("Qz7" in without_secrets(text)) is (text.startswith("<secret>"))


def test_personal_data_goes_by_the_name_of_its_element() -> None:
    """As under a key of that name."""
    text = '<guest><lastName>Muller</lastName><field name="email" value="none of it"/><acmeKey>short</acmeKey></guest>'
    found = {(text[hit.start : hit.end], hit.cls) for hit in scan(text)}
    assert found == {("Muller", "name"), ("none of it", "contact")}
    assert without_secrets("<acmeKey>aB3dE5fG7hI9jK1l</acmeKey>") == "<acmeKey>#</acmeKey>"


@pytest.mark.parametrize(
    "text",
    [
        "mysql -u <user> -p <password> db", "https://<user>:<password>@host/x", "<p>Use <password> as</p>", "a <password>", "x<password>y", '<xs:element name="password" type="xs:string"/>',
        '<xs:element name="password"><xs:annotation>x</xs:annotation></xs:element>', '<div id="password">Enter your password</div>', '<label for="password">Password</label>',
        "<password>${DB_PW}</password>", "<password></password>", "<password/>", "<password>...</password>", '<string name="password">Password</string>', "a < b and password > c",
        "if (token<max && x>y)", '<string name="password_label">Your password</string>', "<title>Token rings</title>", "Map<String, Token> tokens", "vector<password> v;",
        "<key>CFBundleName</key><string>App</string>", '<field name="name" value="x"/>', "<tokens>5</tokens>", "<name>password</name><type>string</type>", "<name>password", "<email><b>x</b></email>",
        f'<add key="{"password" * 9}" value="x"/>', '<input type="text" value="x">', '<password value="">true</password>', "<paymentMethod>visa</paymentMethod>", "<user><password><a/></user>",
        "a &amp; b &lt;c&gt;", "Tom &amp; Jerry; password &gt; x", "?token=$T&amp;x=1", "&nosuchentity; &copy; x", "fish & chips; x", "<d>Qz7</d>",
        "<password>API key</password>", "<secret>Kennwort</secret>", "<password>密码</password>",
        "<li>token: see below</li>", "<p>Password: your account password</p>", "<td>API key:</td><td>x</td>", "<b>Password</b>: the one we sent", "<li>password: at least 12 characters</li>",
    ],
)  # fmt: skip
def test_what_only_looks_like_a_value_stays(text: str) -> None:
    """Placeholders, schemas, labels, types of code, and pages."""
    assert without_secrets(text) == text


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("password=Q&amp;Qz7&#90;Q", "password=#"),
        ("password=&quot;Qz7 Qz7&quot;", "password=#&quot;"),
        ("{&quot;password&quot;:&quot;Qz7 x&quot;}", "{&quot;password&quot;:&quot;#&quot;}"),
        ("pass&#119;ord=Qz7", "pass&#119;ord=#"),
        ("https://x.example/?token=Qz7&amp;page=2", "https://x.example/?token=#&amp;page=2"),
        ("A&#75;IA" + "Q7" * 8 + " x", "# x"),
        ("pass&#8203;word=Qz7", "pass&#8203;word=#"),
        ("&amp;lt;password&amp;gt;Qz7&amp;lt;/password&amp;gt;", "&amp;lt;password&amp;gt;#&amp;lt;/password&amp;gt;"),
    ],
)  # fmt: skip
def test_entities_hide_no_secret(text: str, left: str) -> None:
    """In names, in values and in keys, once or twice; parameters of a URL in a page end at
    theirs.
    """
    assert without_secrets(text) == left


@pytest.mark.parametrize(
    "form",
    ["{}", "<a>{}</a> and more", "x &amp; {}"],
)
@pytest.mark.parametrize("once", [True, False])
def test_a_known_value_is_known_behind_entities(form: str, once: bool) -> None:
    """In any of their spellings; what is remembered with entities is known without.

    A mark never contains the end of the value, because it has no 9.
    """
    value = "Qz7!&x<9>'k9w"
    spellings = [escape(value), escape(value, quote=False), "".join(f"&#{ord(c)};" for c in value)]
    memory = Memory()
    view({"password": value}, memory=memory)
    for spelling in spellings if once else map(escape, spellings):
        shown = view({"body": form.format(spelling)}, memory=memory).value
        assert "k9w" not in decode_entities(decode_entities(str(shown)))
    learnt = Memory()
    view({"page": f"<password>{escape(value)}</password>"}, memory=learnt)
    assert "k9w" not in str(view({"body": value}, memory=learnt).value)


def test_an_entity_has_a_name_or_a_number_and_an_end() -> None:
    """Anything else is text."""
    assert not holds_entity("a&b;c & d; &#; &x")
    assert decode_entities("&lt;&#x41;&#0;&nosuchentity;") == "<A\ufffd&nosuchentity;"
