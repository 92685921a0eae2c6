"""Literals that code falls back to are secrets; names that it looks up are none."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail.core.redaction.detectors.scan import scan_secrets
from tests.support.detectors import without_secrets

_CODE = [
    'password = os.environ.get("DB_PASSWORD", "{}")', 'x = os.getenv("API_KEY", "{}")', 'api_key = token or "{}"', 'return token or "{}"', 'const k = process.env.API_KEY || "{}";',
    'const k = process.env.API_KEY ?? "{}"', 'password = config.get("db_pw", fallback="{}")', 'password = cfg["x"] if cfg else "{}"', 'password = args.password or "{}"',
    'password = SecretStr("{}")', 'password = b64decode("{}")', 'connect(host, password=os.environ.get("X", "{}"))', '{{"password": os.environ.get("X", "{}")}}',
    'ENV.fetch("API_TOKEN", "{}")', 'env("APP_SECRET", "{}")', 'System.getProperty("db.password", "{}")', 'password = (pw or "{}")', 'password = "Bearer " + "{}"', 'password = "" or "{}"',
    'secret = user ? user.secret : "{}"', 'password = getenv("X") ?: "{}"', 'token = os.environ["TOKEN"] or "{}"', 'x = os.environ["TOKEN"] or "{}"', 'x = os.getenv("TOKEN") or "{}"',
    'password = getpass() if tty else "{}"', 'password = "{}" + "{}"', 'password = os.environ.get(\n    "DB_PASSWORD",\n    "{}",\n)', '$password = getenv("DB_PASS") ?: "{}";',
    'db = connect(os.getenv("DB_PASSWORD", default="{}"))', 'password = new SecretKey("{}")', 'os.environ.setdefault("API_KEY", "{}")', 'key = getenv("X_SECRET") || "{}"',
    'password = f(x, g(1), default=h("a")) or "{}"', 'x = token if token else "{}"', 'password = get("a", {{"b": 1}})["c"] or "{}"', "password = `${{x}}` || `{}`",
    'password = $x ?? "{}"', 'password = env("A", "{}")', 'password ||= "{}"', 'x = os.environ["TOKEN"] if "TOKEN" in os.environ else "{}"', 'print(token or "{}")', 'ds.setPassword("{}")', 'b.with_token("{}")', 'define("DB_PASSWORD", "{}")', 'p.put("password", "{}")', 'req.setRequestHeader("X-Api-Key", "{}")',
    'password: str = "{}"', 'private apiKey: string = "{}";', "let token: &'static str = \"{}\"", 'password: Optional[str] = "{}"', 'token: str | None = "{}"', 'auth=("bob", "{}")', 'auth=("bob","{}")',
]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(_CODE),
    st.text("abcXYZ019!%^*@;:,.()[]+=-_ ", max_size=12),
    st.sampled_from(["{}", "def f():\n    {}\n    return 1\n", "{} # default"]),
    st.booleans(),
)
def test_a_literal_that_is_taken_for_a_secret_goes(
    code: str, body: str, around: str, single: bool
) -> None:
    """Defaults, fallbacks, wrapped and joined literals, in the syntax of several languages."""
    code = code.replace('"', "'") if single else code
    assert "Qz7" not in without_secrets(around.format(code.format(*[f"Qz7{body}Qz7"] * 2)))


@pytest.mark.parametrize(
    "text",
    [
        "password: ${DB_PASSWORD:-Qz7}", "echo ${API_TOKEN:-Qz7}", "echo ${API_TOKEN-Qz7}", "url: x?k=${my-db.password:Qz7}", '{{ db_password | default("Qz7") }}', "{{ .Values.password | default 'Qz7' }}",
        'password = os.environ.get(\\"X\\", \\"Qz7\\")', 'password = "" "Qz7"', 'password = "a" "Qz7"',
        'ConvertTo-SecureString "Qz7" -AsPlainText -Force', "convertto-secureString -String 'Qz7'", 'h.append("Authorization", "Token Qz7")',
        'os.environ[\\"TOKEN\\"] or \\"Qz7\\"', 'x = token if y else \\"Qz7\\"', 'process.env.TOKEN ?? "Qz7"', 'user.setPassword("Qz7")', "password=(Qz7)",
        'p.put("password", "Qz7Pass99")', "auth=('bob', 'Qz7Pw99')", 'set("password", "MyPass!Qz7")', 'c.SetBasicAuth("bob", "Qz7")',
    ],
)  # fmt: skip
def test_defaults_of_shells_and_templates_go(text: str) -> None:
    """By the name that is looked up, or the one that is assigned to."""
    assert "Qz7" not in without_secrets(text)


@pytest.mark.parametrize(
    "code",
    [
        'token = get_token("service", "user")', 'password = config.get("db", "password")', "password = getpass('Password: ')", 'token = keyring.get_password("svc", "alice")', 'password = os.environ["X"]',
        'token = data["access"]["value"]', 'if token == get_x("a"): print("y")', 'the token or "key"', 'use a password or "passphrase" here', 'password = os.environ.get("X", "")',
        'password = os.environ.get("X", "<your-password>")', 'password = os.environ.get("X", None)', 'password = os.environ.get("X", "none")', 'token = request.headers.get("Authorization", "")',
        "echo ${X:0:5}", 'token = f(x, "lit")', 'password = secrets.get("path", "key")', 'token = resp.json()["a"] if resp else None', 'token = jwt.encode({"sub": "x"}, key, algorithm="HS256")',
        'password = input("x") or None', 'config.get("timeout", "30")', 'os.getenv("LOG_LEVEL", "info")', 'name || "anonymous"', 'level or "debug"', 'auth = get_auth(type="basic")',
        '"Authorization": "Bearer " + token', 'password = hashlib.new("sha256")', 'x = y["z"] or "a b"', "|| 'x'", 'getenv("API_KEY", other="x")', 'getenv("API_KEY", "none")', 'frob("API_KEY", "x")', '("API_KEY", "x")',
        'token = f(a, b)) or "x"', 'token = self.get(1, 2), "x"', "token = self.get()\nx = 'y'", 'token = get_x(a["b"] == "c")', 'token = get_x("a" == y)', "echo ${HOME:-x}",
        "password = get_x(" + "a, " * 40 + '"x")', 'password = get_x(a).b: "x"', 'password = get_x(a ? b : "true")', "token = get_x() ~ 'x'", 'password = get_x(y "z")', "password = get_x(-'a', b)",
        'password = get_x() # or "x"',
        'setKey("theme")', 'setPasswordHint("the usual")', 'getByLabelText("Password")', 'labels.put("password", "Your password")', 'x.add("token", "Token")', "user.setPassword(encoder.encode(raw))",
        'setPassword("Enter your password")', 'setToken("<your token>")', 'setToken("none")', 'f("x")', "password: Mapped[str] = mapped_column('password', String)", "password: string = ''", "auth=(user, password)",
        'ConvertTo-SecureString "$PASSWORD"', "Secure x", "Auth::guard('web')", "let s = Secret::new();", ".token::after { content: 'x'; }", 'if token == "if" or token == "else":',
        "parser.add_argument('--password', required=True)", "forms.CharField(widget=forms.PasswordInput, max_length=128)", "api_key: SecretStr", "password = @password",
        "print('token' or 'x')", 'print("token" or "x")', "select 'token' || 'x'", "t('password') ?? y", "state = 'y' if token else 'x'", 'print("on" if self.token else "off")',
        'if "a" in token or "b" in token:', 'if (!token || "x" === y) {', 'token or "b" == x', 'token or "missing"', 'token or "(none)"', 'token or "not set"', "{{ 'token' | default('x') }}", "${token-count}",
    ],
)  # fmt: skip
def test_names_keys_and_prose_stay(code: str) -> None:
    """What is looked up, compared, asked for, or taken for something else."""
    assert without_secrets(code) == code


def test_a_fallback_within_a_call_goes() -> None:
    """It is the argument, or a part of it."""
    assert without_secrets('password = self.get(pw or "Qz7")') == 'password = self.get(pw or "#")'
    assert (
        without_secrets('password = self.seal(prefix + "Qz7")')
        == 'password = self.seal(prefix + "#")'
    )


@pytest.mark.parametrize(
    "unit", ["password=f(", "password=a or 'b' ", "password: get('", "x || 'y", "${A:-"]
)
def test_the_work_grows_with_the_text(unit: str) -> None:
    """However many expressions begin in it, none is read on over all of the rest."""

    def steps(size: int) -> int:
        count = 0

        def step(*_: object) -> None:
            nonlocal count
            count += 1

        before = sys.getprofile()
        sys.setprofile(step)
        try:
            scan_secrets(unit * size)
        finally:
            sys.setprofile(before)
        return count

    assert steps(800) < 2.6 * steps(400) + 500
