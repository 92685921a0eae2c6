"""What the name of a key says, for the families that one word alone does not decide."""

from __future__ import annotations

import pytest

from guardrail.core.redaction.key_names import CLASSES, Scope, classify, rank, stricter


@pytest.mark.parametrize(
    ("name", "cls"),
    [
        ("access_tokens", "secret"), ("refreshTokens", "secret"), ("auth", "secret"), ("basic_authentication", "secret"), ("seed phrase", "secret"),
        ("db_connection", "secret"), ("pin_number", "secret"), ("one_time_code", "secret"), ("security_answer", "secret"), ("user_pass", "secret"),
        ("drivers_license", "government_id"), ("driving licence", "government_id"), ("national_id_card", "government_id"),
        ("card_expiration_month", "payment"), ("card_issue_year", "payment"), ("bank_account", "payment"), ("from_account", "payment"),
        ("billing_details", "payment"), ("bank_info", "payment"), ("last_four", "payment"), ("last_digits", "payment"), ("last_4", "payment"),
        ("motDePasse", "secret"), ("clé_api", "secret"), ("Şifreniz", "secret"), ("datenbankpasswort", "secret"), ("пароль_бд", "secret"), ("新しいパスワード", "secret"),
        ("用户密码", "secret"), ("비밀번호 확인", "secret"), ("X-Goog-Signature", "secret"), ("retina", "biometric"), ("biometric_scan", "biometric"), ("face_id_voiceprint", "biometric"),
        ("MOT_DE_PASSE_BDD", "secret"), ("mdp_utilisateur", "secret"), ("haslo_db", "secret"), ("parolaSegreta", "secret"), ("phrase_secrète", "secret"), ("数据库密码", "secret"),
        ("SecretString", "secret"), ("私钥", "secret"), ("合言葉", "secret"), ("개인키", "secret"), ("비밀 번호", "secret"), ("закрытый_ключ", "secret"), ("tajny_klucz", "secret"), ("lösenfras", "secret"), ("psk", "secret"),
        ("login_id", "person_id"), ("screen_name", "person_id"), ("nick_name", "person_id"),
        ("net_worth", "financial"), ("advertising_id", "device"), ("marital_status", "special"), ("union_member", "special"), ("is_union_member", "special"), ("has_allergies", "health"), ("mtan", "secret"), ("tan_code", "secret"), ("postal_code", "address"),
    ],
)  # fmt: skip
def test_the_words_of_a_name_decide_together(name: str, cls: str) -> None:
    """The last word that carries meaning, and the words before it."""
    assert classify(name).cls == cls


@pytest.mark.parametrize(
    "name",
    [
        "completion_tokens", "tokens", "phrase", "catch_phrase", "software_license_number", "software_license", "credit_account", "account", "accounts",
        "last", "digits", "birth_certificate", "project_info", "boarding_pass", "database_string", "answer", "error_codes", "zip_line", "certificate", "",
        "_", "42", "medical_center", "gift", "id", "tcp_connection", "connection_id", "密码长度", "Длина пароля", "parola_chiave", "użytkownik", "密码数量", "文字数", "mdp_longueur", "base_client", "db", "名前", "signature", "mot",
    ],
)  # fmt: skip
def test_words_that_only_resemble_decide_nothing(name: str) -> None:
    """The same words without those that would make them personal."""
    assert classify(name).cls is None


def test_a_name_that_is_a_mark_says_nothing() -> None:
    """It stands for a key, numbered or not, and is neither classified nor odd."""
    for name in ("gr1:secret:-:" + "a" * 24, "gr1:name:k1:" + "b" * 24 + "-2"):
        info = classify(name)
        assert (info.cls, info.hints_secret, info.odd) == (None, False, False)


def test_a_name_that_is_too_long_is_taken_for_data() -> None:
    """Nobody writes such a field name."""
    info = classify("password" * 20)
    assert (info.cls, info.odd, info.scope) == (None, True, Scope.ANY)


def test_the_stricter_of_two_classes_is_the_first_in_order() -> None:
    """A class that guardrail does not know ranks after secret."""
    assert stricter("name", "secret") == "secret"
    assert stricter("custom", "government_id") == "custom"
    assert stricter("custom", "secret") == "secret"
    assert stricter("custom", "other") == "custom"
    assert [*CLASSES] == sorted(CLASSES, key=rank)
