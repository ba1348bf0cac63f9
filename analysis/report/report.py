"""The report: a folder with each artefact in all formats, and a page that shows everything."""

from collections.abc import Collection
from pathlib import Path

from tqdm import tqdm

from analysis.artefacts.artefact import Artefact
from analysis.report.contents import ReportContents
from analysis.report.csv_files import claims_to_csv, runs_to_csv, to_csv
from analysis.report.html_page import to_html
from analysis.report.latex import to_latex
from analysis.report.manifest import digest_of_code, read_manifest, write_manifest
from analysis.report.markdown import claims_to_markdown, runs_to_markdown, to_markdown
from analysis.report.png_pdf_svg import Drawing, draw, drawings_of
from src.utils.errors import UserError
from src.utils.files import write_atomically

PAGE = "index.html"


def write_report(contents: ReportContents, folder: Path, names: Collection[str] = ()) -> list[Path]:
    """Write the files of artefacts, claims and runs; files that would not change are not written again.

    Args:
        names: of the artefacts to write; the page and the files of others stay. Without any: all, and the page.

    Returns:
        All files of this report, whether they were written again or not.

    Raises:
        UserError: the folder cannot be created or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot create {folder}: {error.strerror}") from error
    whole = not names
    artefacts = [artefact for artefact in contents.artefacts if whole or artefact.name in names]
    drawings = [drawing for artefact in artefacts for drawing in drawings_of(artefact)]
    texts_by_artefact = {artefact.name: _texts(artefact) for artefact in artefacts}
    texts = _texts_of_claims_and_runs(contents, whole)
    for artefact_texts in texts_by_artefact.values():
        texts |= artefact_texts
    names = {*texts, *(file for drawing in drawings for file in drawing.files)} | ({PAGE} if whole else set())
    digests, previous_names = read_manifest(folder)
    digests = _draw_stale(drawings, digests, previous_names | names, folder=folder)
    for name, text in texts.items():
        _write(folder / name, text)
    if whole:
        svgs = {name: (folder / name).read_text(encoding="utf-8") for drawing in drawings for name in drawing.svgs}
        files = {a.name: [*texts_by_artefact[a.name], *_pictures(a)] for a in artefacts}
        previous_page = (_read(folder / PAGE) or b"").decode(errors="replace")
        _write(folder / PAGE, to_html(contents, svgs, files, previous=previous_page))
        for name in previous_names - names:
            (folder / name).unlink(missing_ok=True)
        digests = {drawing.name: digests[drawing.name] for drawing in drawings}
    write_manifest(folder, digests, names if whole else previous_names | names)
    return [folder / name for name in sorted(names)]


def _pictures(artefact: Artefact) -> list[str]:
    return [picture for drawing in drawings_of(artefact) for picture in drawing.pictures]


def _texts_of_claims_and_runs(contents: ReportContents, whole: bool) -> dict[str, str]:
    """Return the files that show no artefact, by name; of runs if any were read."""
    texts = {}
    if contents.runs.all or whole:
        texts = {"runs.md": runs_to_markdown(contents), "runs.csv": runs_to_csv(contents.runs, contents.commands)}
    if contents.claims or whole:
        texts["claims.md"] = claims_to_markdown(contents.claims, links=True)
        texts["claims.csv"] = claims_to_csv(contents.claims)
    return texts


def _texts(artefact: Artefact) -> dict[str, str]:
    """Return an artefact's files of text by name."""
    texts = {f"{artefact.name}.md": to_markdown(artefact, links=True)}
    if any(section.tables for section in artefact.sections):
        texts[f"{artefact.name}.tex"] = to_latex(artefact)
    return texts | to_csv(artefact)


def _draw_stale(
    drawings: list[Drawing], previous_digests: dict[str, str], files: set[str], *, folder: Path
) -> dict[str, str]:
    """Draw the figures that are missing or out of date.

    Args:
        files: all files of the folder, for its manifest.

    Returns:
        The digests of all figures by name.
    """
    code = digest_of_code()
    digests = {drawing.name: drawing.digest(code) for drawing in drawings}
    stale = [
        drawing
        for drawing in drawings
        if previous_digests.get(drawing.name) != digests[drawing.name]
        or not all((folder / file).is_file() for file in drawing.files)
    ]
    # Before the first of them changes: an interrupted report must not pass for a complete one.
    stale_names = {drawing.name for drawing in stale}
    kept = {name: digest for name, digest in previous_digests.items() if name not in stale_names}
    write_manifest(folder, kept, files)
    for drawing in tqdm(stale, "draw", unit="figure", disable=None, leave=False):
        draw(drawing, folder)
    return previous_digests | digests


def _write(file: Path, text: str) -> None:
    """Write text, unless the file has it already; half a surrogate pair, which UTF-8 lacks, is written as its code."""
    content = text.encode(errors="backslashreplace")
    if _read(file) != content:
        write_atomically(file, lambda temporary: temporary.write_bytes(content))


def _read(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except OSError:
        return None
