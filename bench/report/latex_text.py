"""Foreign text as LaTeX: names, definitions and notes that people wrote."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["escaped"]

# Characters that LaTeX would read as a command, as an argument of the `\\` before it (`[`, `*`) or as a ligature; and
# those that the default font encoding OT1 has elsewhere (`<`, `>`, `|`) or lacks.
_COMMANDS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"$<$",
    ">": r"$>$",
    "|": r"$|$",
    "[": "{[}",
    "*": "{*}",
    "`": "{`}",
    '"': "{''}",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "→": r"$\rightarrow$",
    "←": r"$\leftarrow$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "≠": r"$\neq$",
    "≈": r"$\approx$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "−": r"$-$",
    "∞": r"$\infty$",
    "√": r"$\surd$",
    "∈": r"$\in$",
    "°": r"$^\circ$",
    "¹": r"$^1$",
    "²": r"$^2$",
    "³": r"$^3$",
    "₀": r"$_0$",
    "₁": r"$_1$",
    "₂": r"$_2$",
    "…": r"\dots{}",
    "†": r"$\dag$",
    "‡": r"$\ddag$",
    "§": r"\S{}",
    "–": "--",
    "—": "---",
    "‘": "`",
    "’": "'",
    "“": "``",
    "”": "''",
    "\u00a0": "~",
    "α": r"$\alpha$",
    "β": r"$\beta$",
    "γ": r"$\gamma$",
    "δ": r"$\delta$",
    "ε": r"$\varepsilon$",
    "η": r"$\eta$",
    "θ": r"$\theta$",
    "λ": r"$\lambda$",
    "μ": r"$\mu$",
    "µ": r"$\mu$",
    "π": r"$\pi$",
    "ρ": r"$\rho$",
    "σ": r"$\sigma$",
    "τ": r"$\tau$",
    "φ": r"$\varphi$",
    "χ": r"$\chi$",
    "ψ": r"$\psi$",
    "ω": r"$\omega$",
    "Δ": r"$\Delta$",
    "Σ": r"$\Sigma$",
    "ℓ": r"$\ell$",
    "æ": r"{\ae}",
    "Æ": r"{\AE}",
    "ø": r"{\o}",
    "Ø": r"{\O}",
    "ß": r"{\ss}",
    "ł": r"{\l}",
    "Ł": r"{\L}",
    "œ": r"{\oe}",
    "Œ": r"{\OE}",
    "ı": r"{\i}",
}

# White space except the no-break space, which LaTeX has, too.
_SPACES = re.compile(r"[^\S\u00a0]+")

# Combining accents that OT1 can set on any letter.
_ACCENTS = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0304": "=",
    "\u0306": "u",
    "\u0307": ".",
    "\u0308": '"',
    "\u030a": "r",
    "\u030b": "H",
    "\u030c": "v",
    "\u0327": "c",
}


def escaped(text: str) -> str:
    r"""Text as pure-ASCII LaTeX that is printed as it is spelt; runs of white space and line breaks become one space.

    A character that the standard fonts lack is printed as its code point, ``[U+4E2D]``, so that the document compiles.
    Two hyphens stay two hyphens. The marks † and ‡ are not superscript here; the caller raises them.
    """
    pieces: list[str] = []
    previous = ""
    for character in unicodedata.normalize("NFC", _SPACES.sub(" ", text).strip(" ")):
        # TeX joins two hyphens to a dash and two apostrophes to a quotation mark.
        if character == previous and character in "-'":
            pieces.append("{}")
        pieces.append(_character(character))
        previous = character
    return "".join(pieces)


def _character(character: str) -> str:
    if character in _COMMANDS:
        return _COMMANDS[character]
    if " " <= character <= "~":
        return character
    base, *marks = list(unicodedata.normalize("NFD", character))
    if len(marks) == 1 and marks[0] in _ACCENTS and base.isascii() and base.isalpha():
        # i and j have no dot below an accent.
        letter = {"i": r"\i", "j": r"\j"}.get(base, base)
        return rf"\{_ACCENTS[marks[0]]}{{{letter}}}"
    return f"{{[}}U+{ord(character):04X}]"
