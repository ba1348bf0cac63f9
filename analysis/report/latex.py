"""Tables as LaTeX with booktabs and graphicx."""

import re
import unicodedata
from collections.abc import Iterable

from analysis.artefacts.artefact import Artefact, Cell, Measured, Published, Table
from analysis.artefacts.number_format import groups_of, notes_of, to_text
from analysis.report.contents import number_columns

SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "#": r"\#",
    "$": r"\$",
    "%": r"\%",
    "&": r"\&",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"$<$",
    ">": r"$>$",
    "|": r"$|$",
    '"': "''",
    "[": "{[}",
    "]": "{]}",
    "±": r"$\pm$",
    "−": "$-$",
    "×": r"$\times$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "→": r"$\rightarrow$",
    "·": r"$\cdot$",
    "≈": r"$\approx$",
    "∞": r"$\infty$",
    "†": r"\textsuperscript{$\dagger$}",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
    "“": "``",
    "”": "''",
    "‘": "`",
    "’": "'",
    "√": r"$\surd$",
    "°": r"$^\circ$",
    "²": "$^2$",
    "³": "$^3$",
    "µ": r"$\mu$",
    "½": "1/2",
}
LIGATURES = {"--", "''", "``", ",,", "<<", ">>", "!`", "?`"}  # LaTeX sets each of these as one character
# Omicron, and the capitals that look like Latin ones, have no command.
GREEK_CAPITALS = {"gamma", "delta", "theta", "lambda", "xi", "pi", "sigma", "upsilon", "phi", "psi", "omega"}
GREEK = GREEK_CAPITALS | {"alpha", "beta", "epsilon", "zeta", "eta", "iota", "kappa", "mu", "nu", "rho", "tau", "chi"}


def escape(text: str) -> str:
    """Return the LaTeX that prints this text as it is; a character that LaTeX lacks becomes U+ and its code."""
    words = " ".join(str(text).split())
    pairs = zip(words, f"{words} "[1:], strict=True)
    return "".join(_escape(letter) + ("{}" if letter + after in LIGATURES else "") for letter, after in pairs)


def _escape(letter: str) -> str:
    if letter in SPECIAL:
        return SPECIAL[letter]
    if greek := re.fullmatch(r"GREEK (SMALL|CAPITAL) LETTER (\w+)", unicodedata.name(letter, "")):
        small, name = greek[1] == "SMALL", greek[2].lower().replace("lamda", "lambda")
        if name in (GREEK if small else GREEK_CAPITALS):
            return f"$\\{name if small else name.capitalize()}$"
    latin = letter.isascii() or ("À" <= letter <= "ÿ" and letter not in "×÷ÐðÞþ")
    return letter if latin and letter.isprintable() else f"U+{ord(letter):04X}"


def to_latex(artefact: Artefact) -> str:
    """Return all tables of an artefact, for a document that loads booktabs and graphicx."""
    tables = [
        _table(artefact, table, section.setting, f"-{number}" if number > 1 else "")
        for number, section in enumerate(artefact.sections, start=1)
        for table in section.tables
    ]
    return "\n".join(["% needs \\usepackage{booktabs,graphicx}", *tables])


def _table(artefact: Artefact, table: Table, setting: str, suffix: str) -> str:
    # LaTeX numbers tables itself, so the paper's number comes last.
    number, title = artefact.title.split(": ", 1)
    of_setting = f" ({setting})" if setting else ""
    caption = f"{title[0].upper()}{title[1:]}. {table.title}{of_setting}. {number} of the paper."
    alignment = "".join("r" if is_number else "l" for is_number in number_columns(table))
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape(caption)}}}",
        rf"\label{{tab:{artefact.name}-{table.name}{suffix}}}",
        r"\small",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{% as wide as the text at most",
        rf"\begin{{tabular}}{{{alignment}}}",
        r"\toprule",
        *_heading(table),
        r"\midrule",
        *(_row(map(_cell, row)) for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}}",
        *(rf"\par\smallskip{{\footnotesize {escape(note)}}}" for note in notes_of(table)),
        r"\end{table}",
        "",
    ]
    return "\n".join(lines)


def _heading(table: Table) -> list[str]:
    """Return the lines of the column names, below those of their groups and the rules between the two."""
    names = _row(escape(name) for _, name in table.columns)
    first, groups, rules = 1, [], []
    for group, span in groups_of(table.columns):
        groups.append(rf"\multicolumn{{{span}}}{{c}}{{{escape(group)}}}")
        if group:
            rules.append(rf"\cmidrule(lr){{{first}-{first + span - 1}}}")
        first += span
    return [_row(groups), " ".join(rules), names] if rules else [names]


def _row(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _cell(cell: Cell) -> str:
    text = escape(to_text(cell))
    if isinstance(cell, Measured | Published) and cell.best:
        text = rf"\textbf{{{text}}}"
    return rf"\textit{{{text}}}" if isinstance(cell, Published) else text
