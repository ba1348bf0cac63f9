"""The report: a folder with each artefact in all formats, and a page that shows everything."""

from pathlib import Path

from tqdm import tqdm

from analysis.artefacts.artefact import Artefact, Claim
from analysis.reading.runs import Runs
from analysis.report.figures import Drawing, draw, drawing_of
from analysis.report.latex import to_latex
from analysis.report.manifest import digest_of_code, read_manifest, write_manifest
from analysis.report.markdown import claims_to_markdown, runs_to_markdown, to_markdown
from analysis.report.page import to_page
from analysis.report.csv_files import claims_to_csv, csv_files, runs_to_csv
from src.utils.errors import UserError
from src.utils.files import write_atomically

PAGE = "index.html"


def write_report(
    artefacts: list[Artefact],
    claims: list[Claim],
    runs: Runs,
    folder: Path,
    commands: dict[str, str],
    whole: bool = True,
) -> list[Path]:
    """Writes the files of all artefacts, claims and runs; those that would not change are left as they are.

    Args:
        commands: the command that makes each run, by its id.
        whole: whether this is all there is to report. If not, the page and the files of other artefacts are left.

    Returns:
        The files of this report, whether they had to be written or not.

    Raises:
        UserError: the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be made: {error.strerror}") from error
    drawings = [drawing for artefact in artefacts for drawing in _drawings(artefact)]
    of_each = {artefact.name: _texts(artefact) for artefact in artefacts}
    texts = _of_all(artefacts, claims, runs, commands, whole) | {k: v for of in of_each.values() for k, v in of.items()}
    names = {*texts, *(file for drawing in drawings for file in drawing.files)} | ({PAGE} if whole else set())
    drawn, before = read_manifest(folder)
    drawn = _draw(drawings, drawn, before | names, folder)
    for name, text in texts.items():
        _write(folder / name, text)
    if whole:
        svgs = {name: (folder / name).read_text() for drawing in drawings for name in drawing.svgs}
        files = {a.name: [*of_each[a.name], *(p for d in _drawings(a) for p in d.pictures)] for a in artefacts}
        page = to_page(artefacts, claims, runs, commands, svgs, files, last=_read(folder / PAGE))
        _write(folder / PAGE, page)
        for name in before - names:
            (folder / name).unlink(missing_ok=True)
        drawn = {drawing.name: drawn[drawing.name] for drawing in drawings}
    write_manifest(folder, drawn, names if whole else before | names)
    return [folder / name for name in sorted(names)]


def _drawings(artefact: Artefact) -> list[Drawing]:
    return [drawing_of(artefact, place) for place, section in enumerate(artefact.sections) if section.panels]


def _of_all(
    artefacts: list[Artefact], claims: list[Claim], runs: Runs, commands: dict[str, str], whole: bool
) -> dict[str, str]:
    texts = {"runs.md": runs_to_markdown(artefacts, runs, commands), "runs.csv": runs_to_csv(runs, commands)}
    if claims or whole:
        texts |= {"claims.md": claims_to_markdown(claims, links=True), "claims.csv": claims_to_csv(claims)}
    return texts


def _texts(artefact: Artefact) -> dict[str, str]:
    texts = {f"{artefact.name}.md": to_markdown(artefact, links=True)}
    if any(section.tables for section in artefact.sections):
        texts[f"{artefact.name}.tex"] = to_latex(artefact)
    return texts | csv_files(artefact)


def _draw(drawings: list[Drawing], drawn: dict[str, str], files: set[str], folder: Path) -> dict[str, str]:
    """Draws what is not there already; returns the digests of all that is."""
    code = digest_of_code()
    digests = {drawing.name: drawing.digest(code) for drawing in drawings}
    stale = [
        drawing
        for drawing in drawings
        if drawn.get(drawing.name) != digests[drawing.name] or not all((folder / f).is_file() for f in drawing.files)
    ]
    # Noted before the first of them changes: a report that is stopped must not pass for one that was not.
    write_manifest(folder, {name: d for name, d in drawn.items() if name not in {s.name for s in stale}}, files)
    for drawing in tqdm(stale, "draw", unit="figure", disable=None, leave=False):
        draw(drawing, folder)
    return drawn | digests


def _write(file: Path, text: str) -> None:
    if _read(file) != text:
        write_atomically(file, lambda temporary: temporary.write_bytes(text.encode(errors="backslashreplace")))


def _read(file: Path) -> str | None:
    try:
        return file.read_bytes().decode()
    except (OSError, UnicodeDecodeError):
        return None
