"""Invented people and their data, from a seeded generator."""

from __future__ import annotations

import random
from collections.abc import Callable

__all__ = ["VALUES", "Maker", "full_name"]

Maker = Callable[[random.Random], str]


def _split(text: str) -> list[str]:
    return text.split()


FIRST = _split(
    "Anna Jonas Priya Kwame Sofia Mateusz Ingrid Yusuf Chiara Hendrik Aoife Dmitri Leila Tomás Noémie Bjørn Zsófia Rahul "
    "Mei Oluwaseun Katarzyna Luca Fatima Pedro Elif Marek Johanna Thabo Camille Stefan Siobhan Arjun Valentina Mehmet Greta "
    "Oscar Nadia Viktor Amélie Diego Hanna Tariq Beatriz Wojciech Paulina Emeka Satoshi Margaux Ruben Carla"
)
LAST = _split(
    "Kowalska Bergström Nakamura Okafor Fernández Dubois Schneider Murphy Rossi Yılmaz Novák Sørensen Iyer Haddad Petrov "
    "Ramírez Lindqvist Moreau Costa Jansen Horváth Achterberg O'Connor Papadopoulos Virtanen Mbeki Castellanos Weissmann "
    "Thompson Delacroix Bianchi Almeida Szymański Chowdhury Rahman Eriksen Zimmermann Vasquez Halloran Brandt Popescu "
    "Quintero Whitfield Larsson Nguyen Bauer Kaya Silva Meijer Adeyemi"
)
_STREETS = (
    "High Street",
    "Mill Lane",
    "Station Road",
    "Oakwood Avenue",
    "Chestnut Drive",
    "King's Road",
)


def _digits(rng: random.Random, count: int) -> str:
    return str(rng.randint(1, 9)) + "".join(rng.choice("0123456789") for _ in range(count - 1))


def full_name(rng: random.Random) -> str:
    first, last = rng.choice(FIRST), rng.choice(LAST)
    form = rng.random()
    if form < 0.7:
        return f"{first} {last}"
    if form < 0.8:
        return f"{first} {rng.choice('ABDEJKLM')}. {last}"
    if form < 0.9:
        return f"{last}, {first}"
    return f"{first} {last}-{rng.choice(LAST)}"


def _pattern(*patterns: str) -> Maker:
    """Return a maker of strings: ``#`` becomes a digit, ``@`` a capital, ``%`` a non-zero digit."""

    def make(rng: random.Random) -> str:
        text = rng.choice(patterns)
        return "".join(
            rng.choice("0123456789") if char == "#"
            else rng.choice("123456789") if char == "%"
            else rng.choice("ABCDEFGHJKLMNPRSTUVWXYZ") if char == "@"
            else char
            for char in text
        )  # fmt: skip

    return make


def _iban(rng: random.Random) -> str:
    country, size = rng.choice(
        [("DE", 18), ("PL", 24), ("ES", 20), ("BE", 12), ("AT", 16), ("DK", 14)]
    )
    body = _digits(rng, size)
    digits = "".join(str(int(char, 36)) for char in body + country + "00")
    iban = f"{country}{98 - int(digits) % 97:02d}{body}"
    return (
        " ".join(iban[at : at + 4] for at in range(0, len(iban), 4)) if rng.random() < 0.4 else iban
    )


def _card(rng: random.Random) -> str:
    body = rng.choice(["4", "51", "55", "37"])
    size = 14 if body == "37" else 15
    body += "".join(rng.choice("0123456789") for _ in range(size - len(body)))
    odd = [int(char) for char in body[::-1]]
    total = sum(sum(divmod(2 * one, 10)) for one in odd[::2]) + sum(odd[1::2])
    number = body + str(-total % 10)
    return (
        " ".join(number[at : at + 4] for at in range(0, 16, 4))
        if len(number) == 16 and rng.random() < 0.4
        else number
    )


def _email(rng: random.Random) -> str:
    first = rng.choice(["anna", "j.bauer", "priya_iyer", "k.o", "marek77", "sofia-rossi", "tariq"])
    return f"{first}{rng.randint(1, 99)}@{rng.choice(['example.com', 'posteo.example', 'mail.example.org'])}"


def _birth(rng: random.Random) -> str:
    year, month, day = rng.randint(1940, 2005), rng.randint(1, 12), rng.randint(1, 28)
    return rng.choice(
        [
            f"{year}-{month:02d}-{day:02d}",
            f"{day:02d}/{month:02d}/{year}",
            f"{day:02d}.{month:02d}.{year}",
        ]
    )


def _address(rng: random.Random) -> str:
    return rng.choice(
        [f"{rng.randint(1, 240)} {rng.choice(_STREETS)}", f"Lindenstraße {rng.randint(1, 99)}", f"{rng.randint(1, 99)} rue des Lilas",
         f"Calle Mayor {rng.randint(1, 99)}, 2º B", f"ul. Długa {rng.randint(1, 99)}/{rng.randint(1, 40)}", f"Via Garibaldi {rng.randint(1, 99)}"]
    )  # fmt: skip


VALUES: dict[str, Maker] = {
    "name": full_name,
    "first": lambda rng: rng.choice(FIRST),
    "last": lambda rng: rng.choice(LAST),
    "email": _email,
    "phone": _pattern(
        "+44 20 7946 0###", "+49 30 %######", "+33 6 12 3# ## ##", "+34 612 3# ## ##", "+48 512 3## ###", "+91 98765 #####",
        "+61 412 3## ###", "+81 90-1234-####", "+55 11 91234-####", "+1 (415) 555-0###", "+4915123######", "020 7946 0###",
        "07700 900###", "06 12 3# ## ##", "030 23######", "0412 3## ###", "(02) 9876 5###", "+353 87 123 4###", "+31 6 1234####",
        "+46 70 123 4# ##", "+39 333 123 4###", "+27 82 123 4###", "+86 138 0013 8###", "415-555-0###", "0151 234#####",
    ),
    "account": _pattern("########", "%#########", "%##-#######-##", "%###########", "####-####-##", "@@########"),
    "customer": _pattern("%#######", "C-%######", "CUST%#####", "%##.###.###", "@@-%#####-#"),
    "contract": _pattern("%########", "CT-20##-%####", "V%######", "%####/####", "@@@-%######"),
    "policy": _pattern("POL-%######", "%###-####-##", "@@%#######", "HV %## ###"),
    "iban": _iban,
    "card": _card,
    "birth": _birth,
    "address": _address,
    "national": _pattern("%##-%#-####", "@@ ## ## ## @", "########@", "%#########", "###.###.###-##", "%######-####"),
    "tax": _pattern("%########", "## ### ### ###", "@@#########", "%##/####/####"),
    "plate": _pattern("@@## @@@", "@-@@ ####", "@@-###-@@", "#### @@@", "@@@ ####"),
    "device": _pattern("35%###########", "8944%##############", "26201%#########"),
    "meter": _pattern("%#########", "1ESY%#########", "@##@#####"),
    "ip": _pattern("203.0.113.2#", "198.51.100.1#", "81.2.69.1##", "2001:db8:85a3::8a2e:370:7###", "10.24.1#.5#"),
}  # fmt: skip
"""Makers of values by kind."""
