"""Names for passwords, keys and tokens in languages other than English, with or without accents."""

from __future__ import annotations

import re
import unicodedata

__all__ = [
    "FOREIGN_AFTER",
    "FOREIGN_ENDINGS",
    "FOREIGN_KEYS",
    "FOREIGN_SECRETS",
    "ends_phrase",
    "folded",
    "names_secret",
]

# Letters that Unicode decomposition does not turn into ASCII.
_LETTERS = str.maketrans(
    {"ł": "l", "Ł": "L", "\u0131": "i", "ø": "o", "Ø": "O", "đ": "d", "Đ": "D", "ß": "ss", "æ": "ae", "Æ": "Ae", "œ": "oe"}
)  # fmt: skip

_WORDS = (
    "passwort passworter kennwort kennworter geheimnis zugangsdaten contrasena contrasenas contrasenya clave claves secreto senha "
    "senhas palavrapasse segredo motdepasse mdp motsdepasse jeton jetons wachtwoord wachtwoorden parola segreto haslo hasla sekret "
    "losenord losenordet hemlighet poswiadczenia sifre sifresi sifreniz parolasi passord kodeord adgangskode salasana heslo jelszo parool lozinka "
    "geslo slaptazodis matkhau katasandi parol gettone losenfras mima paroladordine"
)
FOREIGN_SECRETS = frozenset(_WORDS.split())
"""Single words that mean password, secret or token, without accents."""
FOREIGN_ENDINGS = ("passwort", "kennwort", "losenord", "passord", "wachtwoord", "contrasena", "adgangskode", "salasana")  # fmt: skip
"""Endings of compound words, as in ``datenbankpasswort``."""
FOREIGN_KEYS = frozenset(
    {
        ("mot", "de", "passe"), ("mots", "de", "passe"), ("parola", "d", "ordine"), ("cle", "d", "api"), ("clef", "d", "api"), ("clave", "secreta"), ("llave", "secreta"), ("token", "dostepu"), ("palavra", "passe"), ("mat", "khau"), ("kata", "sandi"), ("code", "secret"),
        ("cle", "api"), ("cle", "secrete"), ("cle", "privee"), ("clef", "api"), ("clave", "api"), ("clave", "privada"), ("llave", "privada"), ("chave", "api"),
        ("chave", "privada"), ("chave", "secreta"), ("chiave", "api"), ("chiave", "segreta"), ("chiave", "privata"), ("codice", "segreto"),
        ("phrase", "secrete"), ("frase", "segreta"), ("frase", "secreta"), ("frase", "segreto"), ("parola", "segreta"), ("parola", "dordine"), ("tajny", "klucz"), ("tajne", "haslo"),
        ("klucz", "api"), ("klucz", "prywatny"), ("klucz", "tajny"), ("api", "nyckel"), ("privat", "nyckel"), ("hemlig", "nyckel"),
        ("gizli", "anahtar"), ("api", "anahtari"), ("ozel", "anahtar"), ("api", "schlussel"), ("geheimer", "schlussel"), ("privater", "schlussel"), ("api", "sleutel"),
    }
)  # fmt: skip
"""Sequences of words at the end of a name that together mean a secret."""
_AFTER = (
    "utilisateur utilisateurs usuario usuarios usuari utente utenti uzytkownika uzytkownik anvandare kullanici user bdd bd db base baza bazy admin root acces "
    "accesso acceso dostepu smtp wifi prod app api appli compte cuenta conto konta client cliente klienta"
)
FOREIGN_AFTER = frozenset(_AFTER.split())
"""Suffixes in languages that put the noun first, as in ``mdp_utilisateur`` and ``haslo_db``."""

_STEMS = (
    "парол", "секретный ключ", "закрытый ключ", "приватный ключ", "личный ключ", "ключ api", "api ключ", "секрет", "токен", "密码", "密碼", "口令", "密钥", "密鑰", "秘钥", "私钥", "私鑰", "令牌", "暗証番号", "パスワード", "パスフレーズ", "合言葉",
    "トークン", "秘密鍵", "apiキー", "비밀번호", "패스워드", "비번", "암호", "토큰", "비밀키", "비밀 키", "개인키", "개인 키", "api키", "api 키", "시크릿", "秘密のキー", "кодовое слово", "κωδικοσ", "سيسمه", "كلمة المرور", "كلمة السر", "סיסמה", "סיסמא", "पासवर्ड", "รหัสผ่าน",
)  # fmt: skip
# Length, count, kind, strength, policy, expiry, field, error, reset: words that describe a
# password, so the value is not the password itself.
_ABOUT = (
    "длин", "количеств", "тип", "политик", "срок", "长度", "長度", "数量", "數量", "类型", "類型", "强度", "強度", "策略", "过期", "長さ", "数量", "回数", "文字数", "桁数", "種類", "期限", "ポリシー", "길이", "개수",
    "유형", "강도", "정책", "만료",
)  # fmt: skip


def folded(name: str) -> str:
    """Return *name* in ASCII, without accents and without letters of other alphabets."""
    plain = unicodedata.normalize("NFKD", name.translate(_LETTERS))
    return plain.encode("ascii", "ignore").decode("ascii")


_LAST = frozenset(phrase[-1] for phrase in FOREIGN_KEYS)
_BEFORE = re.compile(r"(?:\w{1,24}[ _'\u2019]){1,3}\Z")
_BETWEEN = re.compile(r"[^a-z0-9]+")


def ends_phrase(text: str, start: int, name: str) -> bool:
    """Return True if *name*, which begins at *start* in *text*, is the end of a name that consists
    of several words: ``mot de passe``.
    """
    if name.isascii() and name.lower() not in _LAST:
        return False
    match = _BEFORE.search(text, max(0, start - 48), start)
    if match is None:
        return False
    phrase = match.group() + name
    parts = [part for part in _BETWEEN.split(folded(phrase).lower()) if part]
    if tuple(parts[-2:]) in FOREIGN_KEYS or tuple(parts[-3:]) in FOREIGN_KEYS:
        return True
    return not name.isascii() and names_secret(phrase)


def names_secret(name: str) -> bool:
    """Return True if *name*, in a non-Latin script, means a password, a key or a token."""
    plain = unicodedata.normalize("NFKC", name).casefold().replace("_", " ").replace("-", " ")
    plain = plain.replace("\u03cc", "\u03bf").replace("비밀 번호", "비밀번호")
    return any(stem in plain for stem in _STEMS) and not any(word in plain for word in _ABOUT)
