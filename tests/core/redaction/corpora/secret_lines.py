"""Labelled lines of code and configuration, each of which holds one secret."""

from __future__ import annotations

import random
from collections.abc import Iterator

__all__ = ["secret_lines"]

_LINES = {
    "env": "export {K}={v}¦{K}={v}¦{K}='{v}'¦set {K}={v}¦$env:{K} = \"{v}\"¦ENV {K} {v}¦setenv {K} {v}¦{K} ?= {v}¦declare -x {K}=\"{v}\"",
    "yaml": "{k}: {v}¦  {k}: \"{v}\"¦- name: {K}\n  value: {v}¦{{\"name\": \"{K}\", \"value\": \"{v}\"}}¦{k}: !!str {v}¦- {K}={v}¦{k}: &cred {v}",
    "ini": "{k} = {v}¦{k}={v}¦{k}\t{v}¦{k} : {v}¦db.{k}={v}¦spring.datasource.{k}={v}¦{k} \"{v}\"",
    "toml": "{k} = \"{v}\"¦{k} = '{v}'¦auth = {{ {k} = \"{v}\" }}¦\"{k}\" = \"{v}\"",
    "json": "{{\"{k}\": \"{v}\"}}¦\"{c}\": \"{v}\",¦{{\"settings\": {{\"{c}\": \"{v}\"}}}}¦{{\\\"{c}\\\": \\\"{v}\\\"}}¦['{k}' => '{v}']",
    "python": "{k} = \"{v}\"¦os.environ[\"{K}\"] = \"{v}\"¦client = Client({k}=\"{v}\")¦config['{k}'] = '{v}'¦self._{k} = '{v}'¦{k}: str = \"{v}\"¦def login(user, {k}=\"{v}\"):¦{K} = b'{v}'¦d.setdefault('{k}', '{v}')¦if {k} == \"{v}\":",
    "java": "private static final String {K} = \"{v}\";¦props.put(\"{k}\", \"{v}\");¦.{c}(\"{v}\")¦set{P}(\"{v}\");¦@Value(\"${{{k}:{v}}}\")¦String {c} = \"{v}\";¦System.setProperty(\"app.{k}\", \"{v}\");",
    "js": "const {c} = '{v}';¦{c}: \"{v}\",¦process.env.{K} || '{v}'¦headers['{k}'] = \"{v}\"¦let {c} = `{v}`;¦new Client({{ {c}: '{v}' }})¦localStorage.setItem('{k}', '{v}')¦module.exports.{c} = '{v}'",
    "go": "{c} := \"{v}\"¦const {P} = \"{v}\"¦os.Setenv(\"{K}\", \"{v}\")¦{P}: \"{v}\",¦var {c} string = \"{v}\"¦flag.String(\"{k}\", \"{v}\", \"help\")",
    "other": "${k} = \"{v}\";¦define('{K}', '{v}');¦#define {K} \"{v}\"¦let {c}: &str = \"{v}\";¦val {c} = \"{v}\"¦{k} => '{v}'¦static const char *{k} = \"{v}\";¦@{k} = \"{v}\"¦NSString *{c} = @\"{v}\";¦{k} <- \"{v}\"¦string {c} = @\"{v}\";¦set({K} \"{v}\")",
    "cli": "deploy --{h}={v} --verbose¦deploy --{h} {v}¦tool -{c} {v}¦app login --user bob --{h} '{v}'¦docker run -e {K}={v} img¦kubectl create secret generic db --from-literal={h}={v}¦helm install x --set auth.{c}={v}¦-D{k}={v}¦/{k}:{v}",
    "header": "X-{H}: {v}¦curl -H \"X-{H}: {v}\" https://api.example.com¦Authorization: Bearer {v}¦Authorization: {v}¦-H 'Authorization: token {v}'¦req.Header.Set(\"X-{H}\", \"{v}\")¦Cookie: session={v}¦Authorization: ApiKey {v}",
    "connection": "postgres://app:{v}@db.internal:5432/main¦Server=db;User Id=sa;Password={v};¦mongodb+srv://root:{v}@cluster0.example.net/x¦redis://:{v}@cache:6379/0¦amqp://guest:{v}@mq//¦jdbc:mysql://h/db?user=a&password={v}¦DefaultEndpointsProtocol=https;AccountName=x;AccountKey={v};¦host=db user=app password={v} dbname=x¦https://user:{v}@git.example.com/r.git",
    "xml": "<{c}>{v}</{c}>¦<add key=\"{k}\" value=\"{v}\"/>¦<property name=\"{k}\" value=\"{v}\"/>¦<entry key=\"{k}\">{v}</entry>¦<string name=\"{k}\">{v}</string>¦<{P} type=\"text\">{v}</{P}>",
    "log": "DEBUG using {k} {v}¦login failed: {k}={v}¦{k} is {v}¦{k}: '{v}' rejected¦The {s} is {v}¦{s}: {v}¦with {k}=[{v}]",
    "sql": "CREATE USER app WITH PASSWORD '{v}';¦ALTER USER app IDENTIFIED BY '{v}';¦INSERT INTO conf ({k}) VALUES ('{v}');¦UPDATE users SET {k} = '{v}' WHERE id = 3;¦SET PASSWORD FOR bob = '{v}';¦GRANT ALL ON *.* TO a@b IDENTIFIED BY '{v}'",
}  # fmt: skip
_NAMES = (
    "db password|api key|secret key|access token|auth token|client secret|smtp pass|root pwd|private key|jwt secret|signing secret|webhook secret|"
    "encryption key|session token|user passwd|bot token|service password|master key|refresh token|license key|app secret|admin password|"
    "consumer secret|storage key|deploy token|credentials|passphrase|stripe api key|redis auth|account key|mail pass|api token|secret token|db pass|"
    "oauth token|shared secret|pwd|token|api secret|security token|vault token|wifi password|keystore password|proxy password|security key"
)
_WORDS = "tiger falcon winter sunrise orchid copper lantern harbor maple cobalt"


def _word(rng: random.Random) -> str:
    return rng.choice(_WORDS.split())


def _value(rng: random.Random) -> str:
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    kind = rng.random()
    if kind < 0.35:
        return "".join(rng.choice(letters) for _ in range(rng.choice([20, 24, 32, 40])))
    if kind < 0.5:
        return "".join(rng.choice("0123456789abcdef") for _ in range(rng.choice([32, 40, 64])))
    if kind < 0.7:
        return f"{_word(rng).title()}{rng.choice('!@#-_')}{rng.randint(10, 9999)}"
    if kind < 0.8:
        return f"{_word(rng)}{rng.randint(1, 99)}"
    if kind < 0.9:
        return "".join(rng.choice(letters) for _ in range(rng.randint(8, 12)))
    return f"{_word(rng)}-{_word(rng)}-{_word(rng)}"


def secret_lines(seed: int, rounds: int = 6) -> Iterator[tuple[str, str, str]]:
    """Yield (form, line, secret)."""
    rng = random.Random(seed)
    names = _NAMES.split("|")
    for _ in range(rounds):
        for form, lines in _LINES.items():
            for line in lines.split("¦"):
                words = rng.choice(names).split()
                value = _value(rng)
                camel = words[0] + "".join(word.title() for word in words[1:])
                spelt = line.format(
                    K="_".join(words).upper(), k="_".join(words), h="-".join(words), c=camel, P=camel[0].upper() + camel[1:],
                    H="-".join(word.title() for word in words), s=" ".join(words), v=value,
                )  # fmt: skip
                yield form, spelt, value
